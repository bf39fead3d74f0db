//! The page's requests: a head comes in, and what is to be done comes out. Whoever has not signed in gets the sign-in
//! and nothing else; whoever is sent here by another page, or under a name that is not this box's, gets nothing at all.

use core::net::IpAddr;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::api::{self, ApiError, Call, Outcome};
use super::assets::{self, Visitor};
use super::dav;
use super::download::Conditions;
use super::host::{Names, Source};
use super::password::USER;
use super::path::{self, FilePath};
use super::qr;
use super::response::Response;
use super::session::{Sessions, Token, forget_cookie, set_cookie};
use super::signin::{Answer, Id, SignIns};
use super::tries::Tries;
use crate::base::Instant;
use crate::base::limits::{FILE_MAX, SIGN_IN_TIME};
use crate::node::io::OpError;

/// A request's head, as far as anybody looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, as they came.
    pub target: &'a str,
    /// Who asks.
    pub remote: IpAddr,
    /// The address of this box that was asked.
    pub local: IpAddr,
    /// `Host`, where there is exactly one.
    pub host: Option<&'a str>,
    /// Where it comes from.
    pub source: Source<'a>,
    /// `Cookie`; empty when there is none.
    pub cookie: &'a str,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// True with `Content-Range`, which is for answers.
    pub has_content_range: bool,
    /// `Range`.
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
}

/// What is to be done for a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// This is the answer.
    Answer(Response),
    /// Read the body, and give it to [`call`].
    Call,
    /// It is for WebDAV, by [`Dav::head`](super::dav::Dav::head).
    Dav,
    /// Set the password for WebDAV by [`password`] of the body, take it away without a body, or tell whether there is one.
    Password(Change),
    /// Open the key slot by [`unlock`] of the body; a wrong one is told to [`Page::guessed_wrong`].
    Unlock,
    /// Ask the box whether this page may sign in, by [`Page::ask_sign_in`].
    SignIn,
    /// List a directory, or send a file, whichever it is.
    Read {
        /// Where.
        path: FilePath,
        /// Of a directory, what comes after this name.
        after: Option<Vec<u8>>,
        /// Of a file.
        conditions: Conditions,
    },
    /// Take a file, by an [`Upload`](super::upload::Upload).
    Write {
        /// Where.
        path: FilePath,
        /// `If-None-Match: *`: only where there is nothing yet.
        no_replace: bool,
        /// Its bytes, where they were told.
        length: Option<u64>,
    },
    /// Delete a file, a symlink or an empty directory.
    Delete(FilePath),
    /// Make a directory.
    Mkdir(FilePath),
}

/// What is to be done with the password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing: tell whether there is one.
    None,
    /// Set it.
    Set,
    /// Take it away.
    Remove,
}

/// See the module.
pub struct Page {
    names: Names,
    sessions: Sessions,
    signins: SignIns,
    /// How often all sessions were forgotten.
    forgotten: u32,
    /// While the box is locked, the page takes its passphrase and does nothing else.
    locked: bool,
    guesses: Tries,
}

impl Page {
    /// A page that answers under these names; nobody is signed in.
    pub fn new(names: Names) -> Self {
        Self {
            names,
            sessions: Sessions::default(),
            signins: SignIns::default(),
            forgotten: 0,
            locked: false,
            guesses: Tries::default(),
        }
    }

    /// The page of a box that is locked.
    pub fn locked(self) -> Self {
        Self { locked: true, ..self }
    }

    /// Whoever gave the passphrase is signed in from the start on.
    pub fn keep_signed_in(&mut self, now: Instant, token: Token) {
        self.sessions.open(now, token);
    }

    /// Somebody there gave another passphrase.
    pub fn guessed_wrong(&mut self, now: Instant, from: IpAddr) {
        self.guesses.wrong(now, from);
    }

    /// All sessions were to be forgotten so often: where that is news, they are.
    pub fn forget(&mut self, times: u32) {
        if times != self.forgotten {
            self.forgotten = times;
            self.sessions = Sessions::default();
        }
    }

    /// Takes a request's head.
    pub fn head(&mut self, now: Instant, head: &Head<'_>) -> Step {
        self.route(now, head).unwrap_or_else(|error| Step::Answer(error.into()))
    }

    fn route(&mut self, now: Instant, head: &Head<'_>) -> Result<Step, ApiError> {
        let host = head.host.ok_or_else(|| ApiError::bad("the request does not say which host it is for"))?;
        if !self.names.knows(host, head.local) {
            return Err(ApiError::new(421, "this box does not answer under that name").with_remedy(
                "open it by its address or its name that ends in .local, or add the name to 'page_names' in its config",
            ));
        }
        let (path, query) = head.target.split_once('?').map_or((head.target, ""), |(path, query)| (path, query));
        if self.locked {
            return self.while_locked(now, head, host, path);
        }
        // Explorer looks above the tree first.
        if dav::is_target(path) || path == "/" && matches!(head.method, "OPTIONS" | "PROPFIND") {
            return match head.source.is_foreign(host) {
                true => Err(ApiError::new(403, "the request was sent by another page than this box's own")),
                false => Ok(Step::Dav),
            };
        }
        let reads = matches!(head.method, "GET" | "HEAD");
        if !reads && !head.source.is_own(head.method, host) {
            return Err(ApiError::new(403, "the request was sent by another page than this box's own"));
        }
        let signed_in = self.sessions.is_open(now, head.cookie);
        if let Some(rest) = path.strip_prefix("/v1/signin") {
            return self.sign_in(now, head, rest);
        }
        let visitor = if signed_in { Visitor::SignedIn } else { Visitor::Stranger };
        if let Some(response) = assets::answer(path, visitor, head.if_none_match) {
            return if reads { Ok(Step::Answer(response)) } else { Ok(Step::Answer(not_allowed("GET, HEAD"))) };
        }
        if !signed_in {
            return Err(ApiError::new(401, "sign in first").with_remedy("open the page of this box"));
        }
        if let Some(path) = path.strip_prefix("/files/") {
            return Self::files(head, FilePath::parse(path)?, query);
        }
        if path == "/v1/password" {
            return Ok(match head.method {
                "GET" => Step::Password(Change::None),
                "PUT" => Step::Password(Change::Set),
                "DELETE" => Step::Password(Change::Remove),
                _ => Step::Answer(not_allowed("GET, PUT, DELETE")),
            });
        }
        if path == "/v1/signout" {
            return Ok(Step::Answer(match head.method {
                "POST" => {
                    self.sessions.close(head.cookie);
                    Response::json(200, "{}").with("set-cookie", forget_cookie())
                }
                _ => not_allowed("POST"),
            }));
        }
        match api::allowed(path) {
            Some(method) if method == head.method => Ok(Step::Call),
            Some(method) => Ok(Step::Answer(not_allowed(method))),
            None => Err(ApiError::new(404, "there is nothing at this address")),
        }
    }

    fn while_locked(&mut self, now: Instant, head: &Head<'_>, host: &str, path: &str) -> Result<Step, ApiError> {
        if path == "/v1/unlock" && head.method == "POST" {
            if !head.source.is_own(head.method, host) {
                return Err(ApiError::new(403, "the request was sent by another page than this box's own"));
            }
            if !self.guesses.may(now, head.remote) {
                return Err(ApiError::new(429, "there were too many wrong passphrases").with_remedy("wait ten minutes"));
            }
            return Ok(Step::Unlock);
        }
        match assets::answer(path, Visitor::Locked, head.if_none_match) {
            Some(response) if matches!(head.method, "GET" | "HEAD") => Ok(Step::Answer(response)),
            _ => Err(OpError::Locked.into()),
        }
    }

    fn sign_in(&mut self, now: Instant, head: &Head<'_>, rest: &str) -> Result<Step, ApiError> {
        if rest.is_empty() {
            return Ok(if head.method == "POST" { Step::SignIn } else { Step::Answer(not_allowed("POST")) });
        }
        let id = rest.strip_prefix('/').and_then(|id| Id::try_from(HEXLOWER.decode(id.as_bytes()).ok()?).ok());
        let id = id.ok_or_else(|| ApiError::new(404, "there is nothing at this address"))?;
        if head.method != "GET" {
            return Ok(Step::Answer(not_allowed("GET")));
        }
        Ok(Step::Answer(match self.signins.poll(now, &id) {
            Some(Answer::Waiting) => Response::json(200, json!({ "state": "waiting" }).to_string()),
            Some(Answer::Refused(why)) => Response::json(200, json!({ "state": "refused", "error": why }).to_string()),
            Some(Answer::Allowed) => {
                // Only its own page knows the id, and it is used up: the cookie that it turns into is another secret.
                let token = token_of(&id);
                self.sessions.open(now, token);
                let response = Response::json(200, json!({ "state": "allowed" }).to_string());
                response.with("set-cookie", set_cookie(&token))
            }
            None => return Err(ApiError::new(404, "this sign-in is over").with_remedy("begin anew")),
        }))
    }

    /// Begins a sign-in. On success the node is to be asked for `code`, and [`Page::answered`] told its answer; `id` is
    /// 128 bits of the operating system's entropy.
    ///
    /// # Errors
    /// 409 while another is pending, 429 when there were too many.
    pub fn ask_sign_in(&mut self, now: Instant, from: IpAddr, id: Id, code: u8) -> Result<Response, ApiError> {
        self.signins.ask(now, from, id)?;
        let how = "press the button of the box, or run `dustfs press` on it";
        let told = json!({ "id": HEXLOWER.encode(&id), "code": code, "seconds": SIGN_IN_TIME.as_secs(), "how": how });
        Ok(Response::json(200, told.to_string()))
    }

    /// The box answered.
    pub fn answered(&mut self, now: Instant, id: &Id, answer: Result<(), String>) {
        self.signins.answered(now, id, answer);
    }

    /// True when the page that asked is gone: nobody needs to press any more.
    pub fn is_abandoned(&self, now: Instant, id: &Id) -> bool {
        self.signins.is_abandoned(now, id)
    }

    fn files(head: &Head<'_>, path: FilePath, query: &str) -> Result<Step, ApiError> {
        match (head.method, query) {
            ("GET" | "HEAD", query) => Ok(Step::Read {
                path,
                after: query.strip_prefix("after=").map(path::name).transpose()?,
                conditions: Conditions {
                    head_only: head.method == "HEAD",
                    save: query == "save",
                    range: head.range.map(str::to_owned),
                    if_range: head.if_range.map(str::to_owned),
                    if_none_match: head.if_none_match.map(str::to_owned),
                },
            }),
            ("PUT", "") if head.has_content_range => {
                Err(ApiError::bad("a part of a file cannot be put: send all of it"))
            }
            ("PUT", "") if head.length.is_some_and(|length| length > FILE_MAX) => {
                Err(ApiError::new(413, format!("a file has at most {FILE_MAX} bytes")))
            }
            ("PUT", "") => Ok(Step::Write { path, no_replace: head.if_none_match == Some("*"), length: head.length }),
            ("DELETE", "") => Ok(Step::Delete(path)),
            ("POST", "mkdir") => Ok(Step::Mkdir(path)),
            ("POST" | "PUT" | "DELETE", _) => {
                Err(ApiError::bad("the address ends in something that means nothing here"))
            }
            _ => Ok(Step::Answer(not_allowed("GET, HEAD, PUT, DELETE, POST"))),
        }
    }
}

/// Reads a request to the API that came by the page: what ends the node, or answers in the place of the box's button, is
/// for the box itself.
pub fn call(method: &str, target: &str, body: &[u8]) -> Result<Call, ApiError> {
    let call = api::route(method, target, body)?;
    match call {
        Call::Status
        | Call::Friends
        | Call::Transfers
        | Call::Invite { .. }
        | Call::Join { .. }
        | Call::Found { .. }
        | Call::Leave { .. }
        | Call::Lock
        | Call::Passphrase { .. }
        | Call::Versions { .. }
        | Call::Restore { .. }
        | Call::Held { .. }
        | Call::ImportDisk { .. }
        | Call::LeaveDisk { .. }
        | Call::Imported
        | Call::Pin { .. }
        | Call::Free { .. }
        | Call::Remove { .. }
        | Call::PrintSheet
        | Call::SheetWritten
        | Call::Recover { .. } => Ok(call),
        _ => Err(ApiError::new(403, "this is not for the page").with_remedy("use the command line on the box")),
    }
}

/// Reads the password that somebody chose, `{"password": TEXT}`.
///
/// # Errors
/// 400 with the reason.
pub fn password(body: &[u8]) -> Result<Zeroizing<String>, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        password: String,
    }
    let Body { password } = serde_json::from_slice(body)
        .map_err(|why| ApiError::bad(format!("the body is not the JSON that is expected: {why}")))?;
    Ok(Zeroizing::new(password))
}

/// Reads the passphrase that somebody gave a locked box, `{"passphrase": TEXT}`, as a call that signs the page in; `session`
/// is the operating system's entropy.
///
/// # Errors
/// 400 with the reason.
pub fn unlock(body: &[u8], session: Token) -> Result<Call, ApiError> {
    match api::route("POST", "/v1/unlock", body)? {
        Call::Unlock { passphrase, .. } => Ok(Call::Unlock { passphrase, session: Some(session) }),
        _ => Err(ApiError::bad("it asks for something else")),
    }
}

/// Tells whether there is a password, and the name that goes with it.
pub fn password_told(is_set: bool) -> Response {
    Response::json(200, json!({ "user": USER, "set": is_set }).to_string())
}

/// Bytes of the body that sets the password.
pub const PASSWORD_BODY_MAX: usize = 1_024;

/// What a call that came by the page came to: an invite or a recovery sheet is told as a QR code as well.
pub fn told(result: &Result<Outcome, ApiError>) -> Response {
    match result {
        Ok(Outcome::Invite(invite)) => {
            Response::json(200, json!({ "invite": invite, "qr": qr::rows(invite) }).to_string())
        }
        Ok(Outcome::Sheet(sheet)) => {
            let mut told = json!(sheet);
            told["qr"] = json!(qr::rows(&sheet.text));
            Response::json(200, told.to_string())
        }
        result => Response::of(result),
    }
}

fn not_allowed(methods: &str) -> Response {
    Response::from(ApiError::new(405, format!("this address is asked for by {methods}"))).with("allow", methods)
}

/// The cookie that a sign-in's id turns into.
fn token_of(id: &Id) -> Token {
    use sha2::{Digest, Sha256};
    let hash = Sha256::new().chain_update(b"dustfs session").chain_update(id).finalize();
    let mut token = Token::default();
    token.copy_from_slice(&hash[..16]);
    token
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    const BOX: &str = "10.0.0.1";

    fn page() -> Page {
        Page::new(Names::new(&[], &["attic"]))
    }

    fn head<'a>(method: &'a str, target: &'a str) -> Head<'a> {
        Head {
            method,
            target,
            remote: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
            local: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            host: Some(BOX),
            source: Source { origin: Some("http://10.0.0.1"), ..Source::default() },
            cookie: "",
            length: None,
            has_content_range: false,
            range: None,
            if_range: None,
            if_none_match: None,
        }
    }

    fn answer(page: &mut Page, head: &Head<'_>) -> Response {
        match page.head(Instant(1), head) {
            Step::Answer(response) => response,
            step => panic!("{head:?} -> {step:?}"),
        }
    }

    fn json_of(response: &Response) -> serde_json::Value {
        serde_json::from_slice(&response.body).expect("JSON")
    }

    /// Signs in, and returns the cookie.
    fn signed_in(page: &mut Page) -> String {
        let id = [7; 16];
        assert_eq!(page.head(Instant(1), &head("POST", "/v1/signin")), Step::SignIn);
        let from = head("GET", "/").remote;
        let told = json_of(&page.ask_sign_in(Instant(1), from, id, 47).expect("asked"));
        assert_eq!((&told["code"], &told["seconds"]), (&47.into(), &60.into()));
        let target = format!("/v1/signin/{}", told["id"].as_str().expect("an id"));
        assert_eq!(json_of(&answer(page, &head("GET", &target)))["state"], "waiting");
        page.answered(Instant(1), &id, Ok(()));
        let allowed = answer(page, &head("GET", &target));
        assert_eq!(json_of(&allowed)["state"], "allowed");
        let cookie = allowed.header("set-cookie").expect("a cookie");
        assert!(!cookie.contains(told["id"].as_str().expect("an id")), "the id is no secret of the session's");
        assert_eq!(answer(page, &head("GET", &target)).status, 404, "it is used up");
        cookie.split(';').next().expect("a first part").to_owned()
    }

    #[test]
    fn strangers_get_the_sign_in_and_nothing_else() {
        let mut page = page();
        for path in ["/", "/signin.js", "/page.css", "/icon.svg"] {
            assert_eq!(answer(&mut page, &head("GET", path)).status, 200, "{path}");
        }
        for (method, path) in [
            ("GET", "/page.js"),
            ("GET", "/v1/status"),
            ("GET", "/v1/friends"),
            ("POST", "/v1/invite"),
            ("POST", "/v1/stop"),
            ("POST", "/v1/signout"),
            ("GET", "/files/"),
            ("GET", "/files/a"),
            ("HEAD", "/files/a"),
            ("PUT", "/files/a"),
            ("DELETE", "/files/a"),
            ("POST", "/files/a?mkdir"),
            ("GET", "/v1/password"),
            ("PUT", "/v1/password"),
            ("DELETE", "/v1/password"),
            ("GET", "/nothing"),
        ] {
            let refused = answer(&mut page, &head(method, path));
            assert!(matches!(refused.status, 401 | 405), "{method} {path}: {}", refused.status);
            assert!(refused.status == 401 || path == "/", "{method} {path}");
        }
        let forged = Head { cookie: "dustfs=00000000000000000000000000000000", ..head("GET", "/v1/status") };
        assert_eq!(answer(&mut page, &forged).status, 401);
        assert_eq!(answer(&mut page, &head("GET", "/v1/signin/00000000000000000000000000000000")).status, 404);
        assert_eq!(answer(&mut page, &head("GET", "/v1/signin/x")).status, 404);
        assert_eq!(answer(&mut page, &head("GET", "/v1/signin")).status, 405);
    }

    #[test]
    fn who_signed_in_gets_the_rest() {
        let mut page = page();
        let cookie = signed_in(&mut page);
        let mut step = |method, target| page.head(Instant(2), &Head { cookie: &cookie, ..head(method, target) });
        let path = |text| FilePath::parse(text).expect("a path");
        assert_eq!(step("GET", "/v1/status"), Step::Call);
        assert_eq!(step("POST", "/v1/invite"), Step::Call);
        assert_eq!(step("PUT", "/files/a%20b"), Step::Write { path: path("a%20b"), no_replace: false, length: None });
        assert_eq!(step("DELETE", "/files/a"), Step::Delete(path("a")));
        assert_eq!(step("POST", "/files/a?mkdir"), Step::Mkdir(path("a")));
        let conditions = Conditions::default();
        let after = Some(b"x y".to_vec());
        assert_eq!(
            step("GET", "/files/d/?after=x%20y"),
            Step::Read { path: path("d"), after, conditions: conditions.clone() }
        );
        let saved = Conditions { save: true, ..conditions };
        assert_eq!(step("GET", "/files/d?save"), Step::Read { path: path("d"), after: None, conditions: saved });
        for (method, target, status) in [
            ("GET", "/", 200),
            ("GET", "/page.js", 200),
            ("POST", "/", 405),
            ("GET", "/nothing", 404),
            ("DELETE", "/v1/status", 405),
            ("GET", "/v1/signout", 405),
            ("GET", "/files/../etc", 400),
            ("GET", "/files/a%2fb", 400),
            ("PUT", "/files/a?b", 400),
            ("POST", "/files/a", 400),
            ("GET", "/files/d?after=%2f", 400),
            ("OPTIONS", "/files/a", 405),
            ("POST", "/v1/signout", 200),
            ("GET", "/v1/status", 401),
        ] {
            match step(method, target) {
                Step::Answer(response) => assert_eq!(response.status, status, "{method} {target}"),
                other => panic!("{method} {target}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_upload_is_checked_before_it_begins() {
        let mut page = page();
        let cookie = signed_in(&mut page);
        let put = Head { cookie: &cookie, ..head("PUT", "/files/a") };
        let large = Head { length: Some(FILE_MAX + 1), ..put };
        assert_eq!(answer(&mut page, &large).status, 413);
        assert_eq!(answer(&mut page, &Head { has_content_range: true, ..put }).status, 400);
        let Step::Write { no_replace, length, .. } =
            page.head(Instant(2), &Head { if_none_match: Some("*"), length: Some(5), ..put })
        else {
            panic!("it is taken");
        };
        assert_eq!((no_replace, length), (true, Some(5)));
    }

    #[test]
    fn names_that_are_not_ours_get_nothing() {
        let mut page = page();
        let cookie = signed_in(&mut page);
        for host in [Some("evil.example"), Some("10.0.0.9"), Some(""), None] {
            let origin = host.map(|host| format!("http://{host}"));
            let source = Source { origin: origin.as_deref(), ..Source::default() };
            for (method, target) in [("GET", "/"), ("GET", "/v1/status"), ("POST", "/v1/signin"), ("PUT", "/files/a")] {
                let refused = answer(&mut page, &Head { host, source, cookie: &cookie, ..head(method, target) });
                assert_eq!(refused.status, if host.is_none() { 400 } else { 421 }, "{host:?} {method} {target}");
            }
        }
        assert_eq!(answer(&mut page, &Head { host: Some("attic.local"), ..head("GET", "/") }).status, 200);
    }

    #[test]
    fn other_pages_change_nothing() {
        let mut page = page();
        let cookie = signed_in(&mut page);
        let source = Source { origin: Some("http://evil.example"), ..Source::default() };
        for (method, target) in [
            ("POST", "/v1/signin"),
            ("POST", "/v1/invite"),
            ("POST", "/v1/signout"),
            ("PUT", "/files/a"),
            ("DELETE", "/files/a"),
            ("POST", "/files/a?mkdir"),
            ("OPTIONS", "/files/a"),
        ] {
            let refused = answer(&mut page, &Head { source, cookie: &cookie, ..head(method, target) });
            assert_eq!(refused.status, 403, "{method} {target}");
        }
    }

    #[test]
    fn webdav_asks_for_itself_and_for_no_other_page() {
        let mut page = page();
        for (method, path) in [
            ("OPTIONS", "/"),
            ("PROPFIND", "/"),
            ("OPTIONS", "/dav/"),
            ("PROPFIND", "/dav"),
            ("GET", "/dav/a?b"),
            ("PUT", "/dav/a"),
        ] {
            let asked = Head { source: Source::default(), ..head(method, path) };
            assert_eq!(page.head(Instant(1), &asked), Step::Dav, "{method} {path}");
            let elsewhere = Head { host: Some("evil.example"), ..asked };
            assert_eq!(answer(&mut page, &elsewhere).status, 421, "{method} {path}");
            for source in [
                Source { origin: Some("http://evil.example"), ..Source::default() },
                Source { fetch_site: Some("cross-site"), ..Source::default() },
            ] {
                assert_eq!(answer(&mut page, &Head { source, ..asked }).status, 403, "{method} {path}");
            }
        }
        assert_eq!(answer(&mut page, &head("GET", "/davy")).status, 401);
    }

    #[test]
    fn the_password_is_set_by_who_signed_in() {
        let mut page = page();
        let cookie = signed_in(&mut page);
        for (method, change) in [("GET", Change::None), ("PUT", Change::Set), ("DELETE", Change::Remove)] {
            let asked = Head { cookie: &cookie, ..head(method, "/v1/password") };
            assert_eq!(page.head(Instant(1), &asked), Step::Password(change));
        }
        let text = password(b"{\"password\":\"correct horse\"}");
        assert_eq!(text.map(|text| text.as_str() == "correct horse"), Ok(true));
        for body in [&b""[..], b"{}", b"{\"password\":7}", b"{\"password\":\"correct horse\",\"x\":1}"] {
            assert_eq!(password(body).expect_err("refused").status, 400);
        }
    }

    #[test]
    fn some_calls_are_not_for_the_page() {
        assert_eq!(call("GET", "/v1/status", b""), Ok(Call::Status));
        assert_eq!(call("POST", "/v1/stop", b"").expect_err("refused").status, 403);
        assert_eq!(call("POST", "/v1/unmount", b"").expect_err("refused").status, 403);
        assert_eq!(call("POST", "/v1/join", b"x").expect_err("refused").status, 400);
    }
}

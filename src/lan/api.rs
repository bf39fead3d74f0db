//! The JSON API as a machine: a request's method, path and body in, a checked [`Call`] out; an [`Outcome`] or an
//! [`ApiError`] in, a status and JSON out. Who carries the bytes is `os::http`'s business.
//!
//! `GET /v1/status`, `/v1/friends`, `/v1/transfers`; `POST /v1/invite`, `/v1/join`, `/v1/found`, `/v1/remove`,
//! `/v1/leave`, `/v1/guest`, `/v1/export-torrent`, `/v1/press`,
//! `/v1/versions`, `/v1/restore`, `/v1/unmount`, `/v1/stop`. Errors are `{"error": WORDS, "remedy": WORDS}`, the remedy
//! where there is one.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::TransportKey;
use crate::node::io::{Answer, OpError};
use crate::node::status::{Friend, Status, Transfers, Versions};
use crate::wire::statement::{Role, check_label};

/// Bytes of a request's body.
pub const BODY_MAX: usize = 65_536;
/// Bytes of an invite's text.
pub const INVITE_MAX: usize = 4_096;
/// Longest time that an invite is open, in minutes: a week.
pub const INVITE_MINUTES_MAX: u32 = 10_080;
/// Time that an invite is open unless said otherwise, in minutes.
pub const INVITE_MINUTES: u32 = 60;

/// Longest press of the button, in milliseconds.
pub const PRESS_MAX_MS: u32 = 30_000;

/// What a request asks for, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Answered by [`Outcome::Status`].
    Status,
    /// Answered by [`Outcome::Friends`].
    Friends,
    /// Answered by [`Outcome::Transfers`].
    Transfers,
    /// Opens an invite. Answered by [`Outcome::Invite`].
    Invite {
        /// To which circle; `None` lets the node choose, see [`crate::node::io::Op::Invite`].
        circle: Option<String>,
        /// As what.
        role: Role,
        /// How long it is open, 1 to [`INVITE_MINUTES_MAX`].
        minutes: u32,
    },
    /// Joins a circle. Answered by [`Outcome::Circle`].
    Join {
        /// The invite's text, at most [`INVITE_MAX`] bytes.
        invite: String,
    },
    /// Founds a circle. Answered by [`Outcome::Circle`].
    Found {
        /// Its name.
        name: String,
    },
    /// Removes a member. Answered by [`Outcome::Done`].
    Remove {
        /// From which circle; `None` means the only one that has such a member.
        circle: Option<String>,
        /// The member's name or the start of its device id in hex.
        member: String,
    },
    /// Leaves a circle; what is here stays. Answered by [`Outcome::Done`].
    Leave {
        /// Its name.
        circle: String,
    },
    /// Admits a stock client, or renews its certificate. Answered by [`Outcome::Certificate`].
    Guest {
        /// To which circle; `None` lets the node choose, see [`crate::node::io::Op::Guest`].
        circle: Option<String>,
        /// Its name.
        name: String,
        /// Its Ed25519 key.
        key: TransportKey,
    },
    /// The `.torrent` file of a published file. Answered by [`Outcome::Torrent`].
    ExportTorrent {
        /// In the tree, as `Friends/film`.
        path: String,
        /// `HOST:PORT` of the tracker that it names; `None` lets the node choose.
        announce: Option<String>,
    },
    /// The older versions of a file, and what was deleted below a directory. Answered by [`Outcome::Versions`].
    Versions {
        /// In the tree, as `Friends/film`; empty means everything.
        path: String,
    },
    /// Puts an older version back, see [`crate::node::io::Op::Restore`]. Answered by [`Outcome::Restored`].
    Restore {
        /// In the tree, as `Friends/film`.
        path: String,
        /// Its number; `None` means the newest.
        version: Option<u64>,
        /// Another path, where nothing is yet; `None` means where it was.
        to: Option<String>,
    },
    /// A press or a hold of the button. Answered by [`Outcome::Done`].
    Press {
        /// How long, in milliseconds, at most [`PRESS_MAX_MS`].
        held_ms: u32,
    },
    /// Takes the mount away; the node goes on. Answered by [`Outcome::Done`].
    Unmount,
    /// Publishes what is written, and ends the node. Answered by [`Outcome::Done`].
    Stop,
}

impl Call {
    /// The method and the path that ask for this.
    pub fn endpoint(&self) -> (&'static str, &'static str) {
        match self {
            Call::Status => ("GET", "/v1/status"),
            Call::Friends => ("GET", "/v1/friends"),
            Call::Transfers => ("GET", "/v1/transfers"),
            Call::Invite { .. } => ("POST", "/v1/invite"),
            Call::Join { .. } => ("POST", "/v1/join"),
            Call::Found { .. } => ("POST", "/v1/found"),
            Call::Remove { .. } => ("POST", "/v1/remove"),
            Call::Leave { .. } => ("POST", "/v1/leave"),
            Call::Guest { .. } => ("POST", "/v1/guest"),
            Call::ExportTorrent { .. } => ("POST", "/v1/export-torrent"),
            Call::Versions { .. } => ("POST", "/v1/versions"),
            Call::Restore { .. } => ("POST", "/v1/restore"),
            Call::Press { .. } => ("POST", "/v1/press"),
            Call::Unmount => ("POST", "/v1/unmount"),
            Call::Stop => ("POST", "/v1/stop"),
        }
    }

    /// The body that asks for this; `None` for those that have none.
    pub fn body(&self) -> Option<Value> {
        match self {
            Call::Status | Call::Friends | Call::Transfers | Call::Unmount | Call::Stop => None,
            Call::Invite { circle, role, minutes } => {
                Some(json!({ "circle": circle, "role": role, "minutes": minutes }))
            }
            Call::Join { invite } => Some(json!({ "invite": invite })),
            Call::Found { name } => Some(json!({ "name": name })),
            Call::Remove { circle, member } => Some(json!({ "circle": circle, "member": member })),
            Call::Leave { circle } => Some(json!({ "circle": circle })),
            Call::Guest { circle, name, key } => Some(json!({ "circle": circle, "name": name, "key": key.hex() })),
            Call::ExportTorrent { path, announce } => Some(json!({ "path": path, "announce": announce })),
            Call::Versions { path } => Some(json!({ "path": path })),
            Call::Restore { path, version, to } => Some(json!({ "path": path, "version": version, "to": to })),
            Call::Press { held_ms } => Some(json!({ "held_ms": held_ms })),
        }
    }
}

/// The one method that `path` is asked for by; `None` when nothing is there.
pub fn allowed(path: &str) -> Option<&'static str> {
    match path.strip_prefix("/v1/")? {
        "status" | "friends" | "transfers" => Some("GET"),
        "invite" | "join" | "found" | "remove" | "leave" | "guest" | "export-torrent" | "versions" | "restore"
        | "press" | "unmount" | "stop" => Some("POST"),
        _ => None,
    }
}

/// Reads a request. `path` is the request's target as it came.
pub fn route(method: &str, path: &str, body: &[u8]) -> Result<Call, ApiError> {
    if body.len() > BODY_MAX {
        return Err(ApiError::body_too_large());
    }
    let allowed = allowed(path).ok_or_else(|| ApiError::not_found(path))?;
    if method != allowed {
        return Err(ApiError::new(405, format!("{path} is asked for by {allowed}, not by {}", shorten(method))));
    }
    match path.trim_start_matches("/v1/") {
        "status" => nothing(body).map(|()| Call::Status),
        "friends" => nothing(body).map(|()| Call::Friends),
        "transfers" => nothing(body).map(|()| Call::Transfers),
        "invite" => invite(body),
        "join" => join(body),
        "found" => {
            let FoundBody { name } = parse(body)?;
            check_name("the circle's name", &name)?;
            Ok(Call::Found { name })
        }
        "remove" => remove(body),
        "leave" => {
            let LeaveBody { circle } = parse(body)?;
            check_name("the circle's name", &circle)?;
            Ok(Call::Leave { circle })
        }
        "guest" => guest(body),
        "export-torrent" => export_torrent(body),
        "versions" => {
            let VersionsBody { path } = parse(body)?;
            check_path(&path)?;
            Ok(Call::Versions { path })
        }
        "restore" => {
            let RestoreBody { path, version, to } = parse(body)?;
            check_path(&path)?;
            to.as_deref().map_or(Ok(()), check_path)?;
            Ok(Call::Restore { path, version, to })
        }
        "press" => {
            let PressBody { held_ms } = parse(body)?;
            if held_ms > PRESS_MAX_MS {
                return Err(ApiError::bad(format!("a press lasts at most {PRESS_MAX_MS} ms")));
            }
            Ok(Call::Press { held_ms })
        }
        "unmount" => nothing(body).map(|()| Call::Unmount),
        _ => nothing(body).map(|()| Call::Stop),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteBody {
    circle: Option<String>,
    role: Option<String>,
    minutes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinBody {
    invite: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FoundBody {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaveBody {
    circle: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveBody {
    circle: Option<String>,
    member: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestBody {
    circle: Option<String>,
    name: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportBody {
    path: String,
    announce: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionsBody {
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    path: String,
    version: Option<u64>,
    to: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PressBody {
    #[serde(default)]
    held_ms: u32,
}

fn nothing(body: &[u8]) -> Result<(), ApiError> {
    if body.is_empty() {
        return Ok(());
    }
    parse::<Nothing>(body).map(|Nothing {}| ())
}

fn invite(body: &[u8]) -> Result<Call, ApiError> {
    let InviteBody { circle, role, minutes } =
        if body.is_empty() { InviteBody { circle: None, role: None, minutes: None } } else { parse(body)? };
    if let Some(circle) = &circle {
        check_name("the circle's name", circle)?;
    }
    let role = match role {
        None => Role::Member,
        Some(word) => Role::from_word(&word).ok_or_else(|| {
            ApiError::bad(format!("there is no role '{}': choose keeper, member, reader or cache", shorten(&word)))
        })?,
    };
    let minutes = minutes.unwrap_or(INVITE_MINUTES);
    if !(1..=INVITE_MINUTES_MAX).contains(&minutes) {
        return Err(ApiError::bad(format!(
            "an invite cannot be open for {minutes} minutes: choose 1 to {INVITE_MINUTES_MAX}"
        )));
    }
    Ok(Call::Invite { circle, role, minutes })
}

fn join(body: &[u8]) -> Result<Call, ApiError> {
    let JoinBody { invite } = parse(body)?;
    let invite = invite.trim();
    if invite.is_empty() {
        return Err(
            ApiError::bad("the invite is empty").with_remedy("copy the whole line that `dustfs invite` printed")
        );
    }
    if invite.len() > INVITE_MAX {
        return Err(ApiError::bad(format!("the invite has {} bytes, the limit is {INVITE_MAX}", invite.len())));
    }
    Ok(Call::Join { invite: invite.to_owned() })
}

fn remove(body: &[u8]) -> Result<Call, ApiError> {
    let RemoveBody { circle, member } = parse(body)?;
    if let Some(circle) = &circle {
        check_name("the circle's name", circle)?;
    }
    check_name("the member's name or id", &member)?;
    Ok(Call::Remove { circle, member })
}

fn guest(body: &[u8]) -> Result<Call, ApiError> {
    let GuestBody { circle, name, key } = parse(body)?;
    if let Some(circle) = &circle {
        check_name("the circle's name", circle)?;
    }
    check_name("the client's name", &name)?;
    let key = HEXLOWER.decode(key.as_bytes()).ok().and_then(|key| TransportKey::from_slice(&key));
    let key = key.ok_or_else(|| ApiError::bad("the client's key is not 64 lower-case hex digits"))?;
    Ok(Call::Guest { circle, name, key })
}

fn export_torrent(body: &[u8]) -> Result<Call, ApiError> {
    let ExportBody { path, announce } = parse(body)?;
    check_path(&path)?;
    if let Some(host) = &announce {
        check_host(host).map_err(ApiError::bad)?;
    }
    Ok(Call::ExportTorrent { path, announce })
}

fn check_path(path: &str) -> Result<(), ApiError> {
    if path.len() > PATH_MAX {
        return Err(ApiError::bad(format!("the path has {} bytes, the limit is {PATH_MAX}", path.len())));
    }
    Ok(())
}

/// Checks `HOST:PORT`, as it comes to stand in a tracker's address.
pub fn check_host(host: &str) -> Result<(), String> {
    let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    match port {
        Some((name, 1..)) if !name.is_empty() && host.len() <= HOST_MAX && name.chars().all(is_plain) => Ok(()),
        _ => Err(format!("'{}' is no HOST:PORT", shorten(host))),
    }
}

/// Bytes of a path in the tree.
const PATH_MAX: usize = 4_096;
/// Bytes of a host's name with its port.
const HOST_MAX: usize = 262;

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|why| ApiError::bad(format!("the body is not the JSON that is expected: {why}")))
}

fn check_name(what: &str, name: &str) -> Result<(), ApiError> {
    check_label(name).map_err(|why| ApiError::bad(format!("{what} cannot be used: {why}")))
}

/// At most 40 characters of what came from outside, for a message.
fn shorten(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// What a [`Call`] that went well is answered with.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The status.
    Status(Box<Status>),
    /// The friends, as an array.
    Friends(Vec<Friend>),
    /// The transfers.
    Transfers(Transfers),
    /// An invite's text, as `{"invite": TEXT}`.
    Invite(String),
    /// A circle's name, as `{"circle": NAME}`.
    Circle(String),
    /// A certificate, as `{"certificate": PEM}`.
    Certificate(String),
    /// A `.torrent` file, as `{"torrent": BASE64}`.
    Torrent(Vec<u8>),
    /// Older versions and what was deleted.
    Versions(Box<Versions>),
    /// How many files were put back, as `{"restored": NUMBER}`.
    Restored(u64),
    /// `{}`.
    Done,
}

/// The body that carries [`Outcome::Invite`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InviteAnswer {
    /// The text.
    pub invite: String,
}

/// The body that carries [`Outcome::Circle`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CircleAnswer {
    /// Its name.
    pub circle: String,
}

/// The body that carries [`Outcome::Certificate`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateAnswer {
    /// PEM.
    pub certificate: String,
}

/// The body that carries [`Outcome::Torrent`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TorrentAnswer {
    /// Base64.
    pub torrent: String,
}

/// The body that carries [`Outcome::Restored`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestoredAnswer {
    /// Files.
    pub restored: u64,
}

/// An operation's answer as the API tells it; `None` for answers that only a mount asks for.
pub fn outcome(answer: Answer) -> Option<Outcome> {
    match answer {
        Answer::Done => Some(Outcome::Done),
        Answer::Circle(name) => Some(Outcome::Circle(name)),
        Answer::Invite(text) => Some(Outcome::Invite(text)),
        Answer::Certificate(pem) => Some(Outcome::Certificate(pem)),
        Answer::Restored(files) => Some(Outcome::Restored(files)),
        Answer::Entry(_) | Answer::Created(..) | Answer::Opened(_) | Answer::Written(_) => None,
    }
}

/// The status and the JSON that answer a call.
pub fn render(result: &Result<Outcome, ApiError>) -> (u16, String) {
    let encoded = match result {
        Ok(Outcome::Status(status)) => serde_json::to_string(status),
        Ok(Outcome::Friends(friends)) => serde_json::to_string(friends),
        Ok(Outcome::Transfers(transfers)) => serde_json::to_string(transfers),
        Ok(Outcome::Invite(invite)) => serde_json::to_string(&InviteAnswer { invite: invite.clone() }),
        Ok(Outcome::Circle(circle)) => serde_json::to_string(&CircleAnswer { circle: circle.clone() }),
        Ok(Outcome::Certificate(pem)) => serde_json::to_string(&CertificateAnswer { certificate: pem.clone() }),
        Ok(Outcome::Torrent(bytes)) => serde_json::to_string(&TorrentAnswer { torrent: BASE64.encode(bytes) }),
        Ok(Outcome::Versions(versions)) => serde_json::to_string(versions),
        Ok(Outcome::Restored(restored)) => serde_json::to_string(&RestoredAnswer { restored: *restored }),
        Ok(Outcome::Done) => Ok("{}".to_owned()),
        Err(error) => return (error.status, error.body()),
    };
    match encoded {
        Ok(body) => (200, body),
        Err(why) => {
            let error = ApiError::new(500, format!("the answer cannot be written as JSON: {why}"));
            (error.status, error.body())
        }
    }
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    /// 400 to 599 (RFC 9110; 507 of RFC 4918).
    pub status: u16,
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// The body that carries an [`ApiError`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl ApiError {
    /// An error of this status.
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), remedy: None }
    }

    /// The same with what to do about it.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// 400: the request is not what it should be.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(400, error)
    }

    /// 413: the body is over [`BODY_MAX`].
    pub fn body_too_large() -> Self {
        Self::new(413, format!("the body is longer than {BODY_MAX} bytes"))
    }

    fn not_found(path: &str) -> Self {
        Self::new(404, format!("there is nothing at {}", shorten(path)))
            .with_remedy("this node speaks version 1 of the API: /v1/status, friends, transfers, invite, join, found, remove, leave, guest, export-torrent, press, unmount, stop")
    }

    fn body(&self) -> String {
        json!(ErrorAnswer { error: self.error.clone(), remedy: self.remedy.clone() }).to_string()
    }
}

impl From<OpError> for ApiError {
    fn from(error: OpError) -> Self {
        let status = match &error {
            OpError::NotFound => 404,
            OpError::Exists
            | OpError::NotEmpty
            | OpError::NotDirectory
            | OpError::IsDirectory
            | OpError::CrossCircle => 409,
            OpError::Invalid(_) | OpError::NameTooLong | OpError::BadHandle => 400,
            OpError::ReadOnly | OpError::NotPermitted(_) => 403,
            OpError::TooLarge => 413,
            OpError::Io(_) => 500,
            OpError::Unreachable | OpError::Interrupted | OpError::Busy | OpError::Stopping => 503,
            OpError::TimedOut => 504,
            OpError::NoSpace => 507,
        };
        Self::new(status, error.to_string())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        match &self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status_of(result: Result<Call, ApiError>) -> u16 {
        result.expect_err("refused").status
    }

    #[test]
    fn each_call_is_read_back_from_its_own_request() {
        let calls = [
            Call::Status,
            Call::Friends,
            Call::Transfers,
            Call::Invite { circle: None, role: Role::Cache, minutes: 5 },
            Call::Invite { circle: Some("Skiers".into()), role: Role::Keeper, minutes: INVITE_MINUTES_MAX },
            Call::Join { invite: "dust1abc".into() },
            Call::Found { name: "Skiers".into() },
            Call::Leave { circle: "Skiers".into() },
            Call::Guest { circle: None, name: "seedbox".into(), key: TransportKey([7; 32]) },
            Call::ExportTorrent { path: "Friends/a b".into(), announce: Some("[::1]:1".into()) },
            Call::Remove { circle: Some("Skiers".into()), member: "Ann's box".into() },
            Call::Remove { circle: None, member: "0badcafe".into() },
            Call::Press { held_ms: 0 },
            Call::Press { held_ms: PRESS_MAX_MS },
            Call::Unmount,
            Call::Stop,
        ];
        for call in calls {
            let (method, path) = call.endpoint();
            let body = call.body().map(|body| body.to_string()).unwrap_or_default();
            assert_eq!(route(method, path, body.as_bytes()), Ok(call));
        }
    }

    #[test]
    fn an_invite_has_defaults() {
        let expected = Call::Invite { circle: None, role: Role::Member, minutes: INVITE_MINUTES };
        assert_eq!(route("POST", "/v1/invite", b""), Ok(expected.clone()));
        assert_eq!(route("POST", "/v1/invite", b"{}"), Ok(expected));
    }

    #[test]
    fn an_invite_is_trimmed() {
        assert_eq!(route("POST", "/v1/join", br#"{"invite":" abc\n"}"#), Ok(Call::Join { invite: "abc".into() }));
    }

    #[test]
    fn bad_requests_are_refused_with_their_status() {
        assert_eq!(status_of(route("GET", "/", b"")), 404);
        assert_eq!(status_of(route("GET", "/v2/status", b"")), 404);
        assert_eq!(status_of(route("GET", "/v1/status?x=1", b"")), 404);
        assert_eq!(status_of(route("GET", "/v1/../v1/status", b"")), 404);
        assert_eq!(status_of(route("POST", "/v1/status", b"")), 405);
        assert_eq!(status_of(route("GET", "/v1/stop", b"")), 405);
        assert_eq!(status_of(route("POST", "/v1/join", &vec![b' '; BODY_MAX + 1])), 413);
        let bad: &[(&str, &[u8])] = &[
            ("/v1/stop", b"{\"now\":true}"),
            ("/v1/stop", b"null"),
            ("/v1/join", b""),
            ("/v1/join", b"{}"),
            ("/v1/join", b"{\"invite\":\"  \"}"),
            ("/v1/join", b"{\"invite\":7}"),
            ("/v1/join", b"{\"invite\":\"a\",\"name\":\"b\"}"),
            ("/v1/join", b"{\"invite\":\"a\"} {}"),
            ("/v1/join", b"\xff\xfe"),
            ("/v1/invite", b"{\"role\":\"owner\"}"),
            ("/v1/invite", b"{\"role\":\"Member\"}"),
            ("/v1/invite", b"{\"minutes\":0}"),
            ("/v1/invite", b"{\"minutes\":10081}"),
            ("/v1/invite", b"{\"minutes\":-1}"),
            ("/v1/invite", b"{\"minutes\":99999999999}"),
            ("/v1/invite", b"{\"circle\":\"a/b\"}"),
            ("/v1/found", b"{\"name\":\"..\"}"),
            ("/v1/found", b"{\"name\":\"a\\u0000b\"}"),
            ("/v1/found", b"{\"name\":\"\"}"),
            ("/v1/press", b"{\"held_ms\":30001}"),
            ("/v1/press", b"{\"hold\":true}"),
            ("/v1/remove", b"{\"member\":\"\"}"),
            ("/v1/remove", b"{\"circle\":\"Home\"}"),
        ];
        for (path, body) in bad {
            assert_eq!(status_of(route("POST", path, body)), 400, "{path} {}", String::from_utf8_lossy(body));
        }
        let long = json!({ "invite": "a".repeat(INVITE_MAX + 1) }).to_string();
        assert_eq!(status_of(route("POST", "/v1/join", long.as_bytes())), 400);
    }

    #[test]
    fn a_deep_body_is_refused_and_not_recursed_into() {
        let deep = "[".repeat(BODY_MAX);
        assert_eq!(status_of(route("POST", "/v1/join", deep.as_bytes())), 400);
        let inner = format!("{{\"invite\":{}", "[".repeat(60_000));
        assert_eq!(status_of(route("POST", "/v1/join", inner.as_bytes())), 400);
    }

    #[test]
    fn errors_carry_words_and_a_remedy() {
        let (status, body) = render(&Err(ApiError::new(409, "it is mounted").with_remedy("unmount it")));
        assert_eq!((status, body.as_str()), (409, r#"{"error":"it is mounted","remedy":"unmount it"}"#));
        let (status, body) = render(&Err(OpError::Busy.into()));
        assert_eq!((status, body.as_str()), (503, r#"{"error":"too much is waiting: try again"}"#));
    }

    #[test]
    fn outcomes_are_json_objects() {
        assert_eq!(render(&Ok(Outcome::Done)), (200, "{}".into()));
        assert_eq!(render(&Ok(Outcome::Invite("x".into()))), (200, r#"{"invite":"x"}"#.into()));
        assert_eq!(render(&Ok(Outcome::Circle("Home".into()))), (200, r#"{"circle":"Home"}"#.into()));
        assert_eq!(outcome(Answer::Written(1)), None);
        assert_eq!(outcome(Answer::Circle("a".into())), Some(Outcome::Circle("a".into())));
    }

    proptest! {
        #[test]
        fn any_request_gets_an_answer(method in "\\PC{0,8}", path in "(/v1/)?\\PC{0,12}", body in any::<Vec<u8>>()) {
            if let Err(error) = route(&method, &path, &body) {
                let (status, text) = render(&Err(error));
                prop_assert!((400..600).contains(&status));
                prop_assert!(serde_json::from_str::<ErrorAnswer>(&text).is_ok());
            }
        }

        #[test]
        fn any_name_that_passes_is_a_name_of_a_directory(name in "\\PC{0,80}") {
            let body = json!({ "name": name }).to_string();
            if let Ok(Call::Found { name }) = route("POST", "/v1/found", body.as_bytes()) {
                prop_assert!(!name.is_empty() && name.len() <= 64 && !name.contains('/'));
            }
        }
    }
}

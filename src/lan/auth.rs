//! Who knows the password: Digest (RFC 7616) and Basic (RFC 7617), for clients that have no page to sign in on.
//!
//! A nonce is a time and a MAC over it, so that handing one out keeps nothing; what is kept is which of its counts came, so
//! that nothing that was overheard is good for a second request. Wrong tries are counted by where they come from.

use std::collections::BTreeMap;

use core::net::IpAddr;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::api::ApiError;
use super::password::{Algorithm, Password, USER};
use super::response::Response;
use super::tries::{TRIES_TIME, Tries};
use crate::base::Instant;
use crate::base::limits::{NONCE_TIME, NONCES};

/// See the module.
pub struct Auth {
    password: Option<Password>,
    /// Of the nonces' MAC.
    key: [u8; 32],
    /// Counts of nonces that were used, by when the nonce was made.
    used: BTreeMap<Instant, Counts>,
    /// Nonces that were made by then are no longer good: which of them were used is forgotten.
    floor: Option<Instant>,
    wrong: Tries,
}

/// A request, as far as its sender's knowledge of the password goes.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Who asks.
    pub remote: IpAddr,
    /// The method.
    pub method: &'a str,
    /// Path and query, as they came.
    pub target: &'a str,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
}

impl Auth {
    /// Knows this password, or none; `key` is the operating system's entropy.
    pub fn new(password: Option<Password>, key: [u8; 32]) -> Self {
        Self { password, key, used: BTreeMap::new(), floor: None, wrong: Tries::default() }
    }

    /// Replaces the password, or takes it away.
    pub fn set(&mut self, password: Option<Password>) {
        self.password = password;
        self.wrong.clear();
    }

    /// The password, if one is set.
    pub fn password(&self) -> Option<&Password> {
        self.password.as_ref()
    }

    /// Looks at a request's proof.
    ///
    /// # Errors
    /// 401 with challenges; 429 when there were too many wrong tries from there.
    pub fn check(&mut self, now: Instant, claim: &Claim<'_>) -> Result<(), Response> {
        let Some(password) = &self.password else { return Err(none_set()) };
        let Some(authorization) = claim.authorization else { return Err(self.challenge(now, false)) };
        if !self.wrong.may(now, claim.remote) {
            let refused = ApiError::new(429, "there were too many wrong passwords");
            let refused = refused.with_remedy("wait ten minutes, or set the password anew on the page of this box");
            return Err(Response::from(refused).with("retry-after", TRIES_TIME.as_secs().to_string()));
        }
        let (scheme, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
        let proof = if scheme.eq_ignore_ascii_case("Basic") {
            basic(password, rest)
        } else if scheme.eq_ignore_ascii_case("Digest") {
            digest(password, claim, rest)
        } else {
            None
        };
        match proof {
            Some(Proof::Basic) => Ok(()),
            Some(Proof::Digest { nonce, count }) if self.takes(now, &nonce, count) => Ok(()),
            // It was made by somebody who knows the password, for a time that is over.
            Some(Proof::Digest { .. }) => Err(self.challenge(now, true)),
            None => {
                let refused = self.challenge(now, false);
                self.wrong.wrong(now, claim.remote);
                Err(refused)
            }
        }
    }

    /// The answer to who proves nothing. Clients that know one algorithm alone know MD5, and some of them look at the first
    /// challenge only, so it comes first; to one who listens and guesses, the two differ by the speed of the hash alone.
    fn challenge(&self, now: Instant, stale: bool) -> Response {
        let Some(realm) = self.password.as_ref().map(Password::realm) else { return none_set() };
        let nonce = self.nonce(now);
        let refused = ApiError::new(401, "the password is needed");
        let refused = refused.with_remedy(format!("the name is '{USER}'; the password is set on the page of this box"));
        let mut response = Response::from(refused);
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let stale = if stale { ", stale=true" } else { "" };
            let name = algorithm.name();
            let text = format!("Digest realm=\"{realm}\", qop=\"auth\", algorithm={name}, nonce=\"{nonce}\"{stale}");
            response.headers.push((CHALLENGE, text));
        }
        response.headers.push((CHALLENGE, format!("Basic realm=\"{realm}\"")));
        response
    }

    fn nonce(&self, made: Instant) -> String {
        let time = made.0.to_be_bytes();
        HEXLOWER.encode(&[&time[..], &self.mac(&time)].concat())
    }

    fn mac(&self, time: &[u8; 8]) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length is a key");
        mac.update(time);
        let mut short = [0; 16];
        short.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        short
    }

    /// True when the nonce is ours and good, and this count of it is new.
    fn takes(&mut self, now: Instant, nonce: &str, count: u32) -> bool {
        let Some(made) = self.made(nonce) else { return false };
        if made > now || now.since(made) >= NONCE_TIME || self.floor.is_some_and(|floor| made <= floor) {
            return false;
        }
        if !self.used.contains_key(&made) {
            self.used.retain(|made, _| now.since(*made) < NONCE_TIME);
            if self.used.len() >= NONCES
                && let Some((oldest, _)) = self.used.pop_first()
            {
                self.floor = Some(oldest);
                if made <= oldest {
                    return false;
                }
            }
        }
        self.used.entry(made).or_default().take(count)
    }

    fn made(&self, nonce: &str) -> Option<Instant> {
        let bytes = HEXLOWER.decode(nonce.as_bytes()).ok()?;
        let (time, mac) = bytes.split_first_chunk::<8>()?;
        bool::from(self.mac(time).ct_eq(mac)).then(|| Instant(u64::from_be_bytes(*time)))
    }
}

/// What a right `Authorization` header proved.
enum Proof {
    Basic,
    /// If the nonce is good.
    Digest {
        nonce: String,
        count: u32,
    },
}

fn basic(password: &Password, text: &str) -> Option<Proof> {
    let decoded = BASE64.decode(text.trim().as_bytes()).ok()?;
    let (user, given) = core::str::from_utf8(&decoded).ok()?.split_once(':')?;
    password.is(user, given).then_some(Proof::Basic)
}

fn digest(password: &Password, claim: &Claim<'_>, text: &str) -> Option<Proof> {
    let parameters = parameters(text)?;
    let told =
        |name: &str| parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
    let algorithm = match told("algorithm") {
        None => Algorithm::Md5,
        Some(name) => [Algorithm::Md5, Algorithm::Sha256].into_iter().find(|a| a.name().eq_ignore_ascii_case(name))?,
    };
    let (nonce, count, uri) = (told("nonce")?, told("nc")?, told("uri")?);
    let named = told("username")? == USER && told("realm")? == password.realm();
    if !named || told("qop")? != "auth" || count.len() != 8 || !is_target(uri, claim.target) {
        return None;
    }
    let asked = algorithm.hash(&[claim.method, uri]);
    let expected = algorithm.hash(&[password.hash(algorithm), nonce, count, told("cnonce")?, "auth", &asked]);
    let given = told("response")?.to_ascii_lowercase();
    let right = bool::from(expected.as_bytes().ct_eq(given.as_bytes()));
    let count = u32::from_str_radix(count, 16).ok()?;
    right.then(|| Proof::Digest { nonce: nonce.to_owned(), count })
}

/// True when what a client signed is what it asked for; some sign the whole address.
fn is_target(uri: &str, target: &str) -> bool {
    let path = uri.strip_prefix("http://").map(|rest| rest.find('/').map_or("/", |at| &rest[at..]));
    path.unwrap_or(uri) == target
}

/// The parameters of a challenge's answer: `name=token` and `name="quoted"`, with commas between them.
fn parameters(text: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name.trim(), value));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
        if found.len() > PARAMETERS {
            return None;
        }
    }
    Some(found)
}

/// What stands before the closing quote, and what comes after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

/// 401 as long as there is no password, with words where a browser shows them.
fn none_set() -> Response {
    let refused =
        ApiError::new(401, "no password is set yet").with_remedy("set one on the page of this box, under 'Box'");
    Response::from(refused).with(CHALLENGE, "Basic realm=\"DustFS: first set a password on the page of this box\"")
}

/// Which counts of a nonce came. They may overtake each other on several connections, but not by far.
#[derive(Default)]
struct Counts {
    highest: u32,
    /// Bit n: `highest - n` came.
    seen: u64,
}

impl Counts {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            self.seen = self.seen.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - count).unwrap_or(0);
        let is_new = count > 0 && bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        is_new
    }
}

const CHALLENGE: &str = "www-authenticate";
/// More than any client sends.
const PARAMETERS: usize = 16;

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant(1_000_000);

    fn auth() -> Auth {
        Auth::new(Some(Password::new("correct horse", [1; 4]).expect("a password")), [7; 32])
    }

    fn claim<'a>(authorization: Option<&'a str>) -> Claim<'a> {
        let remote = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
        Claim { remote, method: "PUT", target: "/dav/a%20b?c", authorization }
    }

    fn status(auth: &mut Auth, now: Instant, authorization: &str) -> u16 {
        auth.check(now, &claim(Some(authorization))).map_or_else(|refused| refused.status, |()| 200)
    }

    fn answer(auth: &Auth, algorithm: Algorithm, nonce: &str, count: u32, password: &str, uri: &str) -> String {
        let realm = auth.password().expect("a password").realm().to_owned();
        let first = algorithm.hash(&[USER, &realm, password]);
        let second = algorithm.hash(&["PUT", uri]);
        let response = algorithm.hash(&[&first, nonce, &format!("{count:08x}"), "c,\"x", "auth", &second]);
        format!(
            "Digest username=\"{USER}\", realm=\"{realm}\",nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={}, cnonce=\"c,\\\"x\", nc={count:08x}, qop=auth",
            algorithm.name()
        )
    }

    const URI: &str = "/dav/a%20b?c";

    #[test]
    fn challenges_are_told() {
        let refused = auth().check(NOW, &claim(None)).expect_err("refused");
        assert_eq!(refused.status, 401);
        let told: Vec<&str> =
            refused.headers.iter().filter(|(name, _)| *name == CHALLENGE).map(|(_, value)| value.as_str()).collect();
        assert_eq!(told.len(), 3);
        assert!(told[0].starts_with("Digest realm=\"DustFS 01010101\", qop=\"auth\", algorithm=MD5, nonce=\""));
        assert!(told[1].contains("algorithm=SHA-256"));
        assert_eq!(told[2], "Basic realm=\"DustFS 01010101\"");
    }

    #[test]
    fn without_a_password_nobody_gets_in() {
        let mut auth = Auth::new(None, [7; 32]);
        for authorization in [None, Some("Basic ZHVzdGZzOg==")] {
            let refused = auth.check(NOW, &claim(authorization)).expect_err("refused");
            assert_eq!(refused.status, 401);
            assert!(String::from_utf8_lossy(&refused.body).contains("set one on the page"));
            assert!(refused.header(CHALLENGE).is_some_and(|told| told.contains("first set a password")));
        }
    }

    #[test]
    fn basic_is_taken_when_it_is_right() {
        let mut auth = auth();
        let basic = |text: &str| format!("basic {}", BASE64.encode(text.as_bytes()));
        assert_eq!(status(&mut auth, NOW, &basic("dustfs:correct horse")), 200);
        for text in ["dustfs:correct hors", "root:correct horse", "dustfs", "", "dustfs:"] {
            assert_eq!(status(&mut auth, NOW, &basic(text)), 401, "{text}");
        }
        for text in ["Basic", "Basic !", "Bearer x", "", "Basic /w=="] {
            assert_eq!(status(&mut auth, NOW, text), 401, "{text}");
        }
    }

    #[test]
    fn digest_is_taken_once_for_each_count() {
        let mut auth = auth();
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let nonce = auth.nonce(Instant(algorithm as u64));
            let mut go = |count, password, uri| {
                let answer = answer(&auth, algorithm, &nonce, count, password, uri);
                status(&mut auth, NOW, &answer)
            };
            assert_eq!(go(1, "correct horse", URI), 200);
            assert_eq!(go(1, "correct horse", URI), 401, "replayed");
            assert_eq!(go(3, "correct horse", URI), 200);
            assert_eq!(go(2, "correct horse", URI), 200, "overtaken");
            assert_eq!(go(2, "correct horse", URI), 401);
            assert_eq!(go(0, "correct horse", URI), 401);
            assert_eq!(go(100, "correct horse", "http://box:80/dav/a%20b?c"), 200);
            assert_eq!(go(36, "correct horse", URI), 401, "too far behind");
            assert_eq!(go(37, "correct horse", URI), 200);
            assert_eq!(go(101, "correct horsf", URI), 401);
            assert_eq!(go(101, "correct horse", "/dav/other"), 401);
        }
    }

    #[test]
    fn old_nonces_and_others_are_stale() {
        let mut auth = auth();
        let stale = |auth: &mut Auth, now, nonce: &str| {
            let answer = answer(auth, Algorithm::Md5, nonce, 1, "correct horse", URI);
            let refused = auth.check(now, &claim(Some(&answer))).expect_err("refused");
            assert!(refused.headers.iter().any(|(_, value)| value.contains("stale=true")), "{refused:?}");
        };
        let nonce = auth.nonce(NOW);
        stale(&mut auth, NOW + NONCE_TIME, &nonce);
        stale(&mut auth, Instant(0), &nonce);
        stale(&mut auth, NOW, "0011");
        let other = Auth::new(None, [8; 32]).nonce(NOW);
        stale(&mut auth, NOW, &other);
        // A wrong password is no stale one.
        let wrong = answer(&auth, Algorithm::Md5, &other, 1, "wrong", URI);
        let refused = auth.check(NOW, &claim(Some(&wrong))).expect_err("refused");
        assert!(!refused.headers.iter().any(|(_, value)| value.contains("stale")));
        // What is forgotten is not taken a second time.
        let first = auth.nonce(Instant(10));
        for number in 0..=NONCES as u64 {
            let nonce = auth.nonce(Instant(10 + number));
            let answer = answer(&auth, Algorithm::Md5, &nonce, 1, "correct horse", URI);
            assert_eq!(status(&mut auth, NOW, &answer), 200);
        }
        assert!(auth.used.len() <= NONCES);
        stale(&mut auth, NOW, &first);
    }

    #[test]
    fn wrong_tries_are_bounded() {
        let mut auth = auth();
        let right = format!("Basic {}", BASE64.encode(b"dustfs:correct horse"));
        for _ in 0..10 {
            assert_eq!(status(&mut auth, NOW, "Basic eDp4"), 401);
        }
        assert_eq!(status(&mut auth, NOW, &right), 429);
        let other = Claim { remote: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), ..claim(Some(&right)) };
        assert!(auth.check(NOW, &other).is_ok());
        assert_eq!(status(&mut auth, NOW + TRIES_TIME, &right), 200);
        for host in 0..=u8::MAX {
            let wrong = Claim { remote: IpAddr::V4(Ipv4Addr::new(10, 0, 1, host)), ..claim(Some("x")) };
            assert_eq!(auth.check(NOW + TRIES_TIME, &wrong).expect_err("wrong").status, 401);
        }
        assert_eq!(status(&mut auth, NOW + TRIES_TIME, &right), 200);
        auth.set(Some(Password::new("another one", [2; 4]).expect("a password")));
        assert_eq!(status(&mut auth, NOW + TRIES_TIME, &right), 401);
    }

    proptest! {
        #[test]
        fn no_header_breaks_it(text in "(Digest|Basic)? ?[a-z=\",\\\\ ]{0,60}") {
            prop_assert_eq!(status(&mut auth(), NOW, &text), 401);
        }
    }
}

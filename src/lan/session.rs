//! Who has signed in: a few sessions, in memory alone, each known by a cookie that nobody can guess.

use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use crate::base::Instant;
use crate::base::limits::{SESSION_TIME, SESSIONS};

/// 128 bits of the operating system's entropy, which the browser keeps as a cookie.
pub type Token = [u8; 16];

/// See the module.
#[derive(Default)]
pub struct Sessions(Vec<Session>);

struct Session {
    token: Token,
    used: Instant,
}

impl Sessions {
    /// Opens one. Where there are too many, the one that was not used for the longest time ends.
    pub fn open(&mut self, now: Instant, token: Token) {
        self.expire(now);
        if self.0.len() >= SESSIONS
            && let Some(oldest) = (0..self.0.len()).min_by_key(|at| self.0[*at].used)
        {
            self.0.swap_remove(oldest);
        }
        self.0.push(Session { token, used: now });
    }

    /// True when a `Cookie` header (RFC 6265) names an open session, which is used by it.
    pub fn is_open(&mut self, now: Instant, cookies: &str) -> bool {
        self.expire(now);
        let Some(at) = self.find(cookies) else { return false };
        self.0[at].used = now;
        true
    }

    /// Ends the session that the header names.
    pub fn close(&mut self, cookies: &str) {
        if let Some(at) = self.find(cookies) {
            self.0.swap_remove(at);
        }
    }

    /// Sessions that are open.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nobody is signed in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, cookies: &str) -> Option<usize> {
        let values = cookies.split(';').filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
        let tokens = values.filter_map(|value| Token::try_from(HEXLOWER.decode(value.as_bytes()).ok()?).ok());
        // Cookies of one name may be several (RFC 6265, section 5.4): any that is right will do.
        tokens.take(COOKIES).find_map(|token| self.0.iter().position(|session| session.token.ct_eq(&token).into()))
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|session| now.since(session.used) < SESSION_TIME);
    }
}

/// The `Set-Cookie` header of a session. It goes with no request that another site's page makes, and no script sees it.
pub fn set_cookie(token: &Token) -> String {
    let seconds = SESSION_TIME.as_secs();
    format!("{COOKIE}={}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict", HEXLOWER.encode(token))
}

/// The `Set-Cookie` header that takes it away.
pub fn forget_cookie() -> String {
    format!("{COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict")
}

const COOKIE: &str = "dustfs";
/// Cookies of our name that are looked at.
const COOKIES: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cookie(token: &Token) -> String {
        set_cookie(token).split(';').next().expect("a first part").to_owned()
    }

    #[test]
    fn a_cookie_opens_what_it_was_made_for() {
        let mut sessions = Sessions::default();
        let token = [0xab; 16];
        assert!(!sessions.is_open(Instant(0), &cookie(&token)));
        sessions.open(Instant(0), token);
        assert_eq!(
            set_cookie(&token),
            "dustfs=abababababababababababababababab; Max-Age=604800; Path=/; HttpOnly; SameSite=Strict"
        );
        assert!(sessions.is_open(Instant(1), &cookie(&token)));
        assert!(sessions.is_open(Instant(1), &format!("a=b; dustfs=00; {}; c=d", cookie(&token))));
        for wrong in [
            "",
            "dustfs",
            "dustfs=",
            "dustfs=abab",
            "dustfs=ABABABABABABABABABABABABABABABAB",
            "dustfs=abababababababababababababababac",
            "dustfs=ababababababababababababababababab",
            "xdustfs=abababababababababababababababab",
            "dustfs =abababababababababababababababab",
            "abababababababababababababababab",
        ] {
            assert!(!sessions.is_open(Instant(1), wrong), "{wrong}");
        }
        sessions.close(&cookie(&token));
        assert!(!sessions.is_open(Instant(1), &cookie(&token)));
    }

    #[test]
    fn a_session_that_is_not_used_ends() {
        let mut sessions = Sessions::default();
        let token = [1; 16];
        sessions.open(Instant(0), token);
        let nearly = Instant(0) + (SESSION_TIME - Duration::from_secs(1));
        assert!(sessions.is_open(nearly, &cookie(&token)));
        let again = nearly + (SESSION_TIME - Duration::from_secs(1));
        assert!(sessions.is_open(again, &cookie(&token)), "its time starts anew with each use");
        assert!(!sessions.is_open(again + SESSION_TIME, &cookie(&token)));
        assert!(sessions.is_empty());
    }

    #[test]
    fn there_are_only_so_many() {
        let mut sessions = Sessions::default();
        let token = |number: usize| [number as u8 + 1; 16];
        for number in 0..SESSIONS {
            sessions.open(Instant(number as u64), token(number));
        }
        assert!(sessions.is_open(Instant(1_000), &cookie(&token(0))), "the first is used again");
        sessions.open(Instant(1_001), token(SESSIONS));
        assert_eq!(sessions.len(), SESSIONS);
        assert!(!sessions.is_open(Instant(1_002), &cookie(&token(1))));
        for number in (0..=SESSIONS).filter(|number| *number != 1) {
            assert!(sessions.is_open(Instant(1_002), &cookie(&token(number))), "{number}");
        }
    }
}

//! The password for the LAN: what it may be, and the little that is kept of it, which is what Digest and Basic compare.

use std::fmt;

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::api::ApiError;
use crate::base::limits::{PASSWORD_MAX, PASSWORD_MIN};

/// The name that goes with the password.
pub const USER: &str = "dustfs";

/// An algorithm of Digest (RFC 7616, section 6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// The one that Windows knows.
    Md5,
    /// The other.
    Sha256,
}

impl Algorithm {
    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// The hash of parts with colons between them, as lower-case hex digits.
    pub fn hash(self, parts: &[&str]) -> String {
        match self {
            Algorithm::Md5 => data_encoding::HEXLOWER.encode(&joined::<Md5>(parts)),
            Algorithm::Sha256 => data_encoding::HEXLOWER.encode(&joined::<Sha256>(parts)),
        }
    }
}

fn joined<D: Digest>(parts: &[&str]) -> Vec<u8> {
    let mut hash = D::new();
    for (at, part) in parts.iter().enumerate() {
        hash.update(if at == 0 { "" } else { ":" });
        hash.update(part);
    }
    hash.finalize().to_vec()
}

/// What is kept of a password: H(user:realm:password) under both algorithms, and the realm, of which a part is random, so
/// that equal passwords of two boxes are kept as different ones.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Password {
    realm: String,
    md5: String,
    sha256: String,
}

impl Password {
    /// Of what somebody chose; `salt` is the operating system's entropy.
    ///
    /// # Errors
    /// 400 when it is too short or too long, or has other characters than visible ASCII and spaces in it: clients disagree
    /// about how those are sent.
    pub fn new(text: &str, salt: [u8; 4]) -> Result<Self, ApiError> {
        if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&text.len()) {
            return Err(ApiError::bad(format!("a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")));
        }
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(ApiError::bad("a password is made of the letters from a to z, digits, and signs of ASCII"));
        }
        let realm = format!("DustFS {}", data_encoding::HEXLOWER.encode(&salt));
        let of = |algorithm: Algorithm| algorithm.hash(&[USER, &realm, text]);
        Ok(Self { md5: of(Algorithm::Md5), sha256: of(Algorithm::Sha256), realm })
    }

    /// Reads what [`Self::to_file`] wrote; `None` when it is something else.
    pub fn from_file(file: &[u8]) -> Option<Self> {
        let password: Self = serde_json::from_slice(file).ok()?;
        let good = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let realm = password.realm.strip_prefix("DustFS ").is_some_and(|salt| good(salt, 8));
        (realm && good(&password.md5, 32) && good(&password.sha256, 64)).then_some(password)
    }

    /// As it is kept in a file that only its owner reads: who has it can sign in.
    pub fn to_file(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("three strings are JSON")
    }

    /// What clients are told that the password is for.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// H(user:realm:password), called HA1.
    pub fn hash(&self, algorithm: Algorithm) -> &str {
        match algorithm {
            Algorithm::Md5 => &self.md5,
            Algorithm::Sha256 => &self.sha256,
        }
    }

    /// True when this is the name and the password.
    pub fn is(&self, user: &str, text: &str) -> bool {
        let hash = Algorithm::Sha256.hash(&[user, &self.realm, text]);
        // A name with a colon in it would shift what is hashed.
        bool::from(hash.as_bytes().ct_eq(self.sha256.as_bytes())) && user == USER
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").field("realm", &self.realm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        // RFC 7616, section 3.9.1.
        let md5 = |parts: &[&str]| Algorithm::Md5.hash(parts);
        let first = md5(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
        let second = md5(&["GET", "/dir/index.html"]);
        let nonce = ["7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "00000001"];
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let response = md5(&[&first, nonce[0], nonce[1], cnonce, "auth", &second]);
        assert_eq!(response, "8ca523f5e9506fed4657c9700eebdbec");
        let sha = |parts: &[&str]| Algorithm::Sha256.hash(parts);
        let first = sha(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
        let second = sha(&["GET", "/dir/index.html"]);
        let response = sha(&[&first, nonce[0], nonce[1], cnonce, "auth", &second]);
        assert_eq!(response, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn only_the_right_one_is_it() {
        let password = Password::new("correct horse", [1, 2, 3, 4]).expect("a password");
        assert!(password.is("dustfs", "correct horse"));
        for (user, text) in
            [("dustfs", "correct hors"), ("dustfs", ""), ("root", "correct horse"), ("", "correct horse")]
        {
            assert!(!password.is(user, text), "{user}:{text}");
        }
        let told = format!("{password:?}");
        assert!(told.contains("DustFS 01020304") && !told.contains(password.hash(Algorithm::Md5)), "{told}");
    }

    #[test]
    fn what_is_kept_is_read_back_and_holds_no_password() {
        let password = Password::new("correct horse", [1, 2, 3, 4]).expect("a password");
        let file = password.to_file();
        assert!(!String::from_utf8_lossy(&file).contains("correct"));
        assert_eq!(Password::from_file(&file), Some(password.clone()));
        assert_ne!(Password::new("correct horse", [0; 4]).expect("a password").to_file(), file);
        for broken in [&file[1..], b"", b"{}", b"{\"realm\":\"x\",\"md5\":\"\",\"sha256\":\"\"}"] {
            assert_eq!(Password::from_file(broken), None);
        }
    }

    #[test]
    fn bad_passwords_are_refused() {
        for text in ["", "1234567", "Skil\u{e4}ufer!", "12345678\n", &"x".repeat(PASSWORD_MAX + 1)] {
            assert_eq!(Password::new(text, [0; 4]).expect_err(text).status, 400);
        }
        assert!(Password::new("12345678", [0; 4]).is_ok());
        assert!(Password::new(&"~ ".repeat(PASSWORD_MAX / 2), [0; 4]).is_ok());
    }
}

//! An answer's head and, where it is all there at once, its body; every answer carries the headers that keep a browser
//! from doing with it what it is not for.

use bytes::Bytes;

use super::api::{ApiError, Outcome, render};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// RFC 9110.
    pub status: u16,
    /// Names in lower case, and values that are visible ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body, where it does not come in pieces.
    pub body: Bytes,
}

impl Response {
    /// An answer of this status without a body.
    pub fn new(status: u16) -> Self {
        let headers = SECURE.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { status, headers, body: Bytes::new() }
    }

    /// An answer in JSON, for nobody's cache.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let mut response = Self::new(status).with("content-type", "application/json").with("cache-control", "no-store");
        response.body = body.into();
        response
    }

    /// What a call came to.
    pub fn of(result: &Result<Outcome, ApiError>) -> Self {
        let (status, body) = render(result);
        Self::json(status, body)
    }

    /// The same with a header; one of this name that is there is replaced.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        match self.headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.headers.push((name, value)),
        }
        self
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Self {
        Self::of(&Err(error))
    }
}

/// Scripts, styles and pictures come from this box alone; no other page frames it; no name of a file goes elsewhere.
const SECURE: [(&str, &str); 5] = [
    (
        "content-security-policy",
        // A picture's preview is cut out of the file by the page itself: that is a blob.
        "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_secured() {
        for response in [
            Response::new(204),
            Response::json(200, "{}"),
            ApiError::bad("no").into(),
            Response::of(&Ok(Outcome::Done)),
        ] {
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
            let policy = response.header("content-security-policy").expect("a policy");
            assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"));
        }
    }

    #[test]
    fn a_header_is_there_once() {
        let response = Response::new(200).with("allow", "GET").with("allow", "PUT").with("referrer-policy", "origin");
        assert_eq!(response.header("allow"), Some("PUT"));
        assert_eq!(response.headers.iter().filter(|(name, _)| *name == "referrer-policy").count(), 1);
    }
}

//! A request's head, checked.

use std::time::Duration;

use core::net::IpAddr;

use super::super::api::ApiError;
use super::super::download::Conditions;
use super::super::path::FilePath;
use super::super::response::Response;
use super::condition::If;
use super::{Target, answer, below, lock, target_of};
use crate::base::WallTime;

/// A request's head as it came.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// `Host`.
    pub host: &'a str,
    /// Who asks.
    pub remote: IpAddr,
    /// Bytes of the body, where they were told.
    pub length: Option<u64>,
    /// There is a body.
    pub has_body: bool,
    /// Looks up a header, by its name in lower case; one that is no visible ASCII reads `?`.
    pub header: &'a dyn Fn(&'static str) -> Option<&'a str>,
}

/// See the module.
#[derive(Debug)]
pub struct Request {
    pub(super) method: Method,
    /// Where.
    pub path: FilePath,
    /// It is for what is above the tree.
    pub(super) is_host: bool,
    pub(super) depth: Option<Depth>,
    /// `Overwrite`.
    pub(super) overwrite: bool,
    pub(super) destination: Option<Target>,
    /// `If`.
    pub(super) named: If,
    pub(super) if_match: Option<String>,
    /// `Timeout`.
    pub(super) time: Duration,
    /// `Lock-Token`.
    pub(super) token: Option<String>,
    pub(super) length: Option<u64>,
    pub(super) has_body: bool,
    /// `Content-Range`, which is for answers.
    pub(super) is_part: bool,
    /// The time that a file is to have.
    pub(super) mtime: Option<WallTime>,
    pub(super) conditions: Conditions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    /// Or HEAD.
    Get,
    Put,
    Delete,
    Mkcol,
    Copy,
    Move,
    Propfind,
    Proppatch,
    Lock,
    Unlock,
}

/// `Depth`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Depth {
    Zero,
    One,
    Infinity,
}

impl Request {
    /// Reads a head.
    pub(super) fn read(head: &Head<'_>) -> Result<Self, Response> {
        let method = match head.method {
            "GET" | "HEAD" => Method::Get,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "MKCOL" => Method::Mkcol,
            "COPY" => Method::Copy,
            "MOVE" => Method::Move,
            "PROPFIND" => Method::Propfind,
            "PROPPATCH" => Method::Proppatch,
            "LOCK" => Method::Lock,
            "UNLOCK" => Method::Unlock,
            _ => return Err(answer::unknown()),
        };
        let header = |name| (head.header)(name);
        let owned = |name| header(name).map(str::to_owned);
        let path = head.target.split_once('?').map_or(head.target, |(path, _)| path);
        let depth = match header("depth").map(str::trim) {
            None => None,
            Some("0") => Some(Depth::Zero),
            Some("1") => Some(Depth::One),
            Some(word) if word.eq_ignore_ascii_case("infinity") => Some(Depth::Infinity),
            Some(_) => return Err(ApiError::bad("the header 'Depth' is 0, 1 or infinity").into()),
        };
        let token = header("lock-token").map(|token| {
            let token = token.trim().strip_prefix('<').and_then(|token| token.strip_suffix('>'));
            token.map(str::to_owned).ok_or_else(|| ApiError::bad("the header 'Lock-Token' cannot be read"))
        });
        Ok(Self {
            method,
            path: FilePath::parse(below(path).unwrap_or_default())?,
            is_host: path == "/",
            depth,
            overwrite: !header("overwrite").is_some_and(|word| word.trim().eq_ignore_ascii_case("f")),
            destination: header("destination").and_then(|address| target_of(address.trim(), head.host)),
            named: header("if").map_or(Ok(If::default()), |text| If::parse(text, head.host))?,
            if_match: owned("if-match"),
            time: lock::time_of(header("timeout")),
            token: token.transpose()?,
            length: head.length,
            has_body: head.has_body,
            is_part: header("content-range").is_some(),
            mtime: header("x-oc-mtime").and_then(seconds),
            conditions: Conditions {
                head_only: head.method == "HEAD",
                save: false,
                range: owned("range"),
                if_range: owned("if-range"),
                if_none_match: owned("if-none-match"),
            },
        })
    }

    /// True when its body is XML, to be read whole.
    pub fn has_xml(&self) -> bool {
        self.has_body && matches!(self.method, Method::Propfind | Method::Proppatch | Method::Lock)
    }
}

/// Seconds since 1970, perhaps with a fraction: how ownCloud's clients tell a file's time.
fn seconds(text: &str) -> Option<WallTime> {
    let whole = text.trim().split('.').next()?;
    Some(WallTime(whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?))
}

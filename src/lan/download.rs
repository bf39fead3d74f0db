//! A file on its way out: which answer a request for it gets, and span after span to be read for the body.
//!
//! A body is of one version of the file: when the file changes meanwhile, the answer breaks off, so that nobody takes a
//! mixture for a file.

use super::date::http_date;
use super::media::{disposition, media_type};
use super::range::{self, Range};
use super::response::Response;
use crate::base::limits::CHUNK_PLAIN;
use crate::node::io::{Attr, Inode};

/// The headers of a request that choose which answer it gets.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Conditions {
    /// HEAD: the answer's head alone.
    pub head_only: bool,
    /// To be saved as a file, whatever it is.
    pub save: bool,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
}

/// The bytes of a body that are still to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Download {
    file: Attr,
    at: u64,
    end: u64,
}

impl Download {
    /// Answers a request for a file: the head, and what to read for its body, if it has one.
    pub fn new(name: &[u8], file: Attr, conditions: &Conditions) -> (Response, Option<Self>) {
        let tag = entity_tag(&file);
        let mut response = Response::new(200).with("etag", &tag).with("cache-control", "private, no-cache");
        if let Some(date) = http_date(file.mtime) {
            response = response.with("last-modified", date);
        }
        if conditions.if_none_match.as_deref().is_some_and(|tags| matches(tags, &tag)) {
            return (Response { status: 304, ..response }, None);
        }
        let valid = conditions.if_range.as_deref().is_none_or(|known| known == tag);
        let range = conditions.range.as_deref().filter(|_| valid).map_or(Range::Whole, |r| range::parse(r, file.size));
        let (at, end) = match range {
            Range::Whole => (0, file.size),
            Range::Part(first, end) => {
                response.status = 206;
                response = response.with("content-range", format!("bytes {first}-{}/{}", end - 1, file.size));
                (first, end)
            }
            Range::Beyond => {
                let response = Response::new(416).with("content-range", format!("bytes */{}", file.size));
                return (response, None);
            }
        };
        let (media, shown) = media_type(name);
        let response = response
            .with("content-type", media)
            .with("content-disposition", disposition(name, shown && !conditions.save))
            .with("content-length", (end - at).to_string())
            .with("accept-ranges", "bytes")
            // What somebody put there never runs as this page.
            .with("content-security-policy", "default-src 'none'; sandbox");
        let body = (!conditions.head_only && at < end).then_some(Self { file, at, end });
        (response, body)
    }

    /// All of a file; `None` when it is empty.
    pub fn whole(file: Attr) -> Option<Self> {
        (file.size > 0).then_some(Self { file, at: 0, end: file.size })
    }

    /// The file.
    pub fn inode(&self) -> Inode {
        self.file.inode
    }

    /// Where to read next, and how much: up to the end of a chunk, so that no chunk is opened twice. `None` at the end.
    pub fn next(&self) -> Option<(u64, u32)> {
        let whole = self.at / CHUNK + CHUNKS_AT_ONCE;
        let length = (whole * CHUNK).min(self.end).checked_sub(self.at)?;
        (length > 0).then_some((self.at, length as u32))
    }

    /// So many bytes were read from there.
    pub fn took(&mut self, bytes: usize) {
        self.at = self.end.min(self.at.saturating_add(bytes as u64));
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.end - self.at
    }

    /// True while the file is as it was when the answer began.
    pub fn is_still(&self, file: &Attr) -> bool {
        (file.inode, file.size, file.mtime) == (self.file.inode, self.file.size, self.file.mtime)
    }
}

/// Tells versions of a file apart: a strong validator (RFC 9110, section 8.8.3).
pub fn entity_tag(file: &Attr) -> String {
    format!("\"{:x}-{:x}-{:x}\"", file.inode.0, file.mtime.0, file.size)
}

/// True when a list of entity tags has this one, compared weakly as If-None-Match wants it.
pub fn matches(tags: &str, tag: &str) -> bool {
    tags.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

const CHUNK: u64 = CHUNK_PLAIN as u64;
const CHUNKS_AT_ONCE: u64 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::WallTime;
    use crate::wire::record::Kind;

    fn file(size: u64) -> Attr {
        Attr {
            inode: Inode(0xbeef),
            kind: Kind::File,
            size,
            mode: 0o644,
            mtime: WallTime(784_111_777_000_000_000),
            links: 1,
        }
    }

    fn ask(size: u64, change: impl FnOnce(&mut Conditions)) -> (Response, Option<Download>) {
        let mut conditions = Conditions::default();
        change(&mut conditions);
        Download::new(b"a.jpg", file(size), &conditions)
    }

    #[test]
    fn a_whole_file() {
        let (response, body) = ask(100, |_| {});
        assert_eq!(response.status, 200);
        for (name, value) in [
            ("content-length", "100"),
            ("content-type", "image/jpeg"),
            ("accept-ranges", "bytes"),
            ("etag", "\"beef-ae1b981bc490a00-64\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
        ] {
            assert_eq!(response.header(name), Some(value), "{name}");
        }
        assert!(response.header("content-disposition").is_some_and(|value| value.starts_with("inline")));
        let mut body = body.expect("a body");
        assert_eq!(body.next(), Some((0, 100)));
        body.took(60);
        assert_eq!((body.next(), body.left()), (Some((60, 40)), 40));
        body.took(40);
        assert_eq!(body.next(), None);
        let saved = ask(100, |conditions| conditions.save = true).0;
        assert!(saved.header("content-disposition").is_some_and(|value| value.starts_with("attachment")));
    }

    #[test]
    fn parts_and_conditions() {
        let tag = entity_tag(&file(100));
        let (response, body) = ask(100, |conditions| conditions.range = Some("bytes=10-19".into()));
        assert_eq!((response.status, response.header("content-range")), (206, Some("bytes 10-19/100")));
        assert_eq!(response.header("content-length"), Some("10"));
        assert_eq!(body.expect("a body").next(), Some((10, 10)));
        let (response, body) = ask(100, |conditions| conditions.range = Some("bytes=100-".into()));
        assert_eq!((response.status, response.header("content-range"), body), (416, Some("bytes */100"), None));
        for (if_range, status) in [(tag.as_str(), 206), ("\"other\"", 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)] {
            let (response, _) = ask(100, |conditions| {
                conditions.range = Some("bytes=10-19".into());
                conditions.if_range = Some(if_range.into());
            });
            assert_eq!(response.status, status, "{if_range}");
        }
        for (tags, status) in [(tag.as_str(), 304), ("*", 304), ("\"x\"", 200), (&format!("\"x\", W/{tag}"), 304)] {
            let (response, body) = ask(100, |conditions| conditions.if_none_match = Some(tags.into()));
            assert_eq!((response.status, body.is_none()), (status, status == 304), "{tags}");
        }
        let (response, body) = ask(100, |conditions| conditions.head_only = true);
        assert_eq!((response.header("content-length"), body), (Some("100"), None));
        let (response, body) = ask(0, |_| {});
        assert_eq!((response.status, response.header("content-length"), body), (200, Some("0"), None));
    }

    #[test]
    fn a_file_that_changed_is_another() {
        let (_, body) = ask(100, |_| {});
        let body = body.expect("a body");
        assert!(body.is_still(&file(100)));
        assert!(!body.is_still(&file(99)));
        assert!(!body.is_still(&Attr { mtime: WallTime(0), ..file(100) }));
        assert!(!body.is_still(&Attr { inode: Inode(1), ..file(100) }));
    }

    proptest! {
        #[test]
        fn the_spans_are_the_part(size in 1u64..2_000_000, first: u64, length in 1u64..2_000_000, short in 1usize..200_000) {
            let first = first % size;
            let range = format!("bytes={first}-{}", first + length - 1);
            let (_, body) = ask(size, |conditions| conditions.range = Some(range));
            let mut body = body.expect("a body");
            let mut at = first;
            while let Some((offset, span)) = body.next() {
                prop_assert_eq!(offset, at);
                prop_assert!(span > 0 && u64::from(span) <= CHUNKS_AT_ONCE * CHUNK);
                let took = short.min(span as usize);
                body.took(took);
                at += took as u64;
            }
            prop_assert_eq!(at, size.min(first + length));
        }
    }
}

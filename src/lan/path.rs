//! The path of a file in a request's target (RFC 3986): percent-encoded segments to names in the tree, and back.

use std::fmt::Write;

use super::api::ApiError;
use crate::base::limits::{DEPTH_MAX, NAME_MAX};
use crate::node::io::{Attr, Inode, OpError};
use crate::wire::record::Kind;

/// Names below the root of the tree, none of them empty, `.`, `..`, or with a slash or a NUL in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FilePath(Vec<Vec<u8>>);

impl FilePath {
    /// Reads what follows `/files/` in a target, without the query. A slash at the end is taken as none.
    ///
    /// # Errors
    /// 400 with the reason.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let names: Vec<Vec<u8>> = text.split('/').take(DEPTH_MAX + 1).map(name).collect::<Result<_, _>>()?;
        if names.len() > DEPTH_MAX {
            return Err(ApiError::bad(format!("the path is deeper than {DEPTH_MAX}")));
        }
        Ok(Self(names))
    }

    /// The directory and the name in it; `None` for the root.
    pub fn split(&self) -> Option<(FilePath, &[u8])> {
        let (last, above) = self.0.split_last()?;
        Some((Self(above.to_vec()), last))
    }

    /// The last name; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.last().map_or(&[], Vec::as_slice)
    }

    /// What lies under this name in the directory.
    pub fn child(&self, name: &[u8]) -> Self {
        Self(self.0.iter().cloned().chain([name.to_vec()]).collect())
    }

    /// True when this is `above`, or lies below it.
    pub fn is_in(&self, above: &Self) -> bool {
        self.0.starts_with(&above.0)
    }

    /// Where this lies after `from`, in which it is, has become `to`.
    pub fn moved(&self, from: &Self, to: &Self) -> Self {
        Self(to.0.iter().chain(self.0.iter().skip(from.0.len())).cloned().collect())
    }

    /// The directory that it is in, and that one's, up to the root.
    pub fn above(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.0.len()).rev().map(|length| Self(self.0[..length].to_vec()))
    }

    /// The path as it stands in a request's target, without a slash before or after it.
    pub fn encode(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|name| encode(name)).collect();
        names.join("/")
    }

    /// The entry that the path leads to, by looking up name after name from the root.
    ///
    /// # Errors
    /// What `lookup` and `attr` answer; `NotDirectory` where something on the way is none.
    pub fn resolve(
        &self,
        attr: impl FnOnce(Inode) -> Result<Attr, OpError>,
        mut lookup: impl FnMut(Inode, &[u8]) -> Result<Attr, OpError>,
    ) -> Result<Attr, OpError> {
        let mut at = attr(Inode::ROOT)?;
        for name in &self.0 {
            if at.kind != Kind::Directory {
                return Err(OpError::NotDirectory);
            }
            at = lookup(at.inode, name)?;
        }
        Ok(at)
    }
}

/// Decodes one segment and checks that it can be a name.
pub fn name(segment: &str) -> Result<Vec<u8>, ApiError> {
    let name = decode(segment).ok_or_else(|| ApiError::bad("the path has a '%' that no two hex digits follow"))?;
    match &name[..] {
        b"" => Err(ApiError::bad("the path has an empty name in it")),
        b"." | b".." => Err(ApiError::bad("the path has '.' or '..' in it")),
        name if name.iter().any(|byte| matches!(byte, 0 | b'/')) => {
            Err(ApiError::bad("the path has a name with a slash or a NUL in it"))
        }
        name if name.len() > NAME_MAX => Err(ApiError::bad(format!("the path has a name over {NAME_MAX} bytes in it"))),
        _ => Ok(name),
    }
}

/// A name as a segment of a path.
pub fn encode(name: &[u8]) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => segment.push(char::from(*byte)),
            // Writing to a string does not fail.
            _ => drop(write!(segment, "%{byte:02X}")),
        }
    }
    segment
}

fn decode(segment: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::WallTime;

    #[test]
    fn paths_are_read() {
        let names = |text| FilePath::parse(text).expect("a path").0;
        assert_eq!(names(""), Vec::<Vec<u8>>::new());
        assert_eq!(names("a"), [b"a"]);
        assert_eq!(names("a/"), [b"a"]);
        assert_eq!(names("Fr%69ends/Ski%20l%C3%A4ufer/..."), [&b"Friends"[..], "Ski läufer".as_bytes(), b"..."]);
        assert_eq!(names("%ff%FE/a+b/%25"), [&b"\xff\xfe"[..], b"a+b", b"%"]);
        assert_eq!(FilePath::parse("a/b").expect("a path").split(), Some((FilePath(vec![b"a".to_vec()]), &b"b"[..])));
        assert_eq!(FilePath::parse("").expect("a path").split(), None);
        assert_eq!(FilePath::parse("a%20b/%c3%a4/").expect("a path").encode(), "a%20b/%C3%A4");
    }

    #[test]
    fn paths_lie_in_each_other() {
        let path = |text| FilePath::parse(text).expect("a path");
        assert!(path("a/b").is_in(&path("a")) && path("a").is_in(&path("a")) && path("a").is_in(&path("")));
        assert!(!path("ab").is_in(&path("a")) && !path("a").is_in(&path("a/b")));
        assert_eq!(path("a/b/c").above().collect::<Vec<_>>(), [path("a/b"), path("a"), path("")]);
        assert_eq!(path("a/b/c").moved(&path("a/b"), &path("x")), path("x/c"));
        assert_eq!(path("a").child(b"b"), path("a/b"));
    }

    #[test]
    fn bad_paths_are_refused() {
        for text in [
            "/",
            "//",
            "a//b",
            "/a",
            ".",
            "..",
            "a/../b",
            "a/./b",
            "a/..",
            "%2e%2e/etc",
            "a/%2E%2e",
            "%2e",
            "a%2fb",
            "a%2Fb",
            "%2f",
            "a%00",
            "%00",
            "%",
            "a%4",
            "%zz",
            "%+1",
            "%%",
        ] {
            assert_eq!(FilePath::parse(text).expect_err(text).status, 400, "{text}");
        }
        assert!(FilePath::parse(&"a".repeat(NAME_MAX)).is_ok());
        assert!(FilePath::parse(&"a".repeat(NAME_MAX + 1)).is_err());
        assert!(FilePath::parse(&"%61".repeat(NAME_MAX)).is_ok());
        assert!(FilePath::parse(&["a"; DEPTH_MAX].join("/")).is_ok());
        assert!(FilePath::parse(&["a"; DEPTH_MAX + 1].join("/")).is_err());
    }

    #[test]
    fn a_path_is_followed_from_the_root() {
        let attr =
            |inode: u64, kind| Attr { inode: Inode(inode), kind, size: 0, mode: 0, mtime: WallTime(0), links: 1 };
        let root = |inode| Ok(attr(Inode(inode).0, Kind::Directory));
        let lookup = |parent: Inode, name: &[u8]| match (parent.0, name) {
            (1, b"d") => Ok(attr(2, Kind::Directory)),
            (2, b"f") => Ok(attr(3, Kind::File)),
            _ => Err(OpError::NotFound),
        };
        let go = |text| FilePath::parse(text).expect("a path").resolve(|inode| root(inode.0), lookup);
        assert_eq!(go("").map(|attr| attr.inode), Ok(Inode(1)));
        assert_eq!(go("d/f").map(|attr| attr.inode), Ok(Inode(3)));
        assert_eq!(go("d/g"), Err(OpError::NotFound));
        assert_eq!(go("d/f/x"), Err(OpError::NotDirectory));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 1..=NAME_MAX)) {
            let good = !bytes.iter().any(|byte| matches!(byte, 0 | b'/')) && bytes != b"." && bytes != b"..";
            match name(&encode(&bytes)) {
                Ok(name) => prop_assert!(good && name == bytes),
                Err(_) => prop_assert!(!good),
            }
        }

        #[test]
        fn no_name_leads_elsewhere(text in "[a./%0-9A-F]{0,40}") {
            for name in FilePath::parse(&text).map(|path| path.0).unwrap_or_default() {
                prop_assert!(!name.is_empty() && name != b"." && name != b"..");
                prop_assert!(!name.iter().any(|byte| matches!(byte, 0 | b'/')));
            }
        }
    }
}

//! A directory as JSON: a page of its entries in the order of their names' bytes, and where the next page begins.

use serde::Serialize;

use super::path::encode;
use super::response::Response;
use crate::node::Presence;
use crate::node::io::Attr;
use crate::wire::record::Kind;

/// Entries in one answer.
pub const LISTED: usize = 500;

#[derive(Serialize)]
struct Listing {
    entries: Vec<Entry>,
    /// The last entry's `href`, to be asked for as `?after=`, where there are more.
    next: Option<String>,
}

#[derive(Serialize)]
struct Entry {
    /// For people: bytes that are no UTF-8 are replaced.
    name: String,
    /// The name as a segment of a path.
    href: String,
    kind: &'static str,
    size: u64,
    /// Milliseconds since 1970.
    mtime: i64,
    /// Where the bytes of a file are: here, partly or remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'static str>,
    /// It is pinned, or below what is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
}

/// An entry to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub attr: Attr,
    /// Where its bytes are, if it is a file.
    pub presence: Option<Presence>,
    /// It is pinned, or below what is.
    pub pinned: bool,
}

/// Renders entries; `more` when others follow.
pub fn render(entries: &[Told], more: bool) -> Response {
    let told = entries.iter().map(|Told { name, attr, presence, pinned }| Entry {
        name: String::from_utf8_lossy(name).into_owned(),
        href: encode(name),
        kind: match attr.kind {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
        },
        size: attr.size,
        mtime: attr.mtime.0 / 1_000_000,
        place: presence.map(Presence::word),
        pinned: *pinned,
    });
    let next = entries.last().filter(|_| more).map(|told| encode(&told.name));
    let listing = Listing { entries: told.collect(), next };
    match serde_json::to_vec(&listing) {
        Ok(body) => Response::json(200, body),
        Err(why) => super::api::ApiError::new(500, format!("the listing cannot be written as JSON: {why}")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::WallTime;
    use crate::node::io::Inode;

    #[test]
    fn names_are_told_for_people_and_for_paths() {
        let attr = Attr {
            inode: Inode(7),
            kind: Kind::File,
            size: 5,
            mode: 0o644,
            mtime: WallTime(1_234_567_890_123_456_789),
            links: 1,
        };
        let directory = Attr { kind: Kind::Directory, ..attr };
        let file = Told { name: b"<b>&\xff".to_vec(), attr, presence: Some(Presence::Remote), pinned: false };
        let entries = [file, Told { name: "Fotos ä".into(), attr: directory, presence: None, pinned: true }];
        let value: serde_json::Value = serde_json::from_slice(&render(&entries, true).body).expect("JSON");
        let expected = serde_json::json!({
            "entries": [
                { "name": "<b>&\u{fffd}", "href": "%3Cb%3E%26%FF", "kind": "file", "size": 5, "mtime": 1_234_567_890_123_i64,
                  "place": "remote" },
                { "name": "Fotos ä", "href": "Fotos%20%C3%A4", "kind": "directory", "size": 5,
                  "mtime": 1_234_567_890_123_i64, "pinned": true },
            ],
            "next": "Fotos%20%C3%A4",
        });
        assert_eq!(value, expected);
        let value: serde_json::Value = serde_json::from_slice(&render(&[], false).body).expect("JSON");
        assert_eq!(value, serde_json::json!({ "entries": [], "next": null }));
    }
}

//! The body register's value: kind, size, times, mode, and where the bytes are.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::WireError;
use super::record::Bytes2;
use super::xattr::Xattrs;
use crate::base::limits::{CHUNK_PLAIN, FILE_MAX, INLINE_MAX, SYMLINK_MAX};
use crate::base::{EpochId, InfoHash, WallTime};

/// File, directory or symlink. Immutable for an object's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// The body register's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// What it is.
    pub kind: Kind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Last modification.
    pub mtime: WallTime,
    /// Bytes of plaintext.
    pub size: u64,
    /// Where the bytes are.
    pub content: Content,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

/// Where a body's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Directories and empty files have none.
    None,
    /// Up to [`INLINE_MAX`] bytes of a file, or a symlink's target, in the record itself.
    Inline(Bytes),
    /// In a torrent.
    Torrent(TorrentRef),
}

/// How to find and open a body's sealed bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentRef {
    /// The torrent's info-hash; its lengths and piece hashes stand in the record's public part.
    pub info_hash: InfoHash,
    /// Which epoch sealed which run of chunks, in file order: chunks in the run, epoch.
    pub runs: Vec<(u32, EpochId)>,
    /// SHA-256 over the tags of all chunks in order.
    pub tags: [u8; 32],
}

#[derive(Serialize, Deserialize)]
pub(super) struct BodyWire {
    #[serde(rename = "a", default, skip_serializing_if = "Xattrs::is_empty")]
    xattrs: Xattrs,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    inline: Option<Bytes2>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    info_hash: Option<InfoHash>,
    #[serde(rename = "k")]
    kind: u8,
    #[serde(rename = "m")]
    mode: u32,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    runs: Vec<RunWire>,
    #[serde(rename = "s")]
    size: u64,
    #[serde(rename = "t")]
    mtime: i64,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    tags: Option<Bytes2>,
}

#[derive(Serialize, Deserialize)]
struct RunWire {
    #[serde(rename = "e")]
    epoch: EpochId,
    #[serde(rename = "n")]
    chunks: u32,
}

pub(super) fn to_wire(body: &Body) -> BodyWire {
    let mut wire = BodyWire {
        kind: match body.kind {
            Kind::File => 0,
            Kind::Directory => 1,
            Kind::Symlink => 2,
        },
        mode: body.mode,
        mtime: body.mtime.0,
        size: body.size,
        inline: None,
        info_hash: None,
        runs: Vec::new(),
        tags: None,
        xattrs: body.xattrs.clone(),
    };
    match &body.content {
        Content::None => {}
        Content::Inline(bytes) => wire.inline = Some(Bytes2::from(&bytes[..])),
        Content::Torrent(torrent) => {
            wire.info_hash = Some(torrent.info_hash);
            wire.runs = torrent.runs.iter().map(|&(chunks, epoch)| RunWire { chunks, epoch }).collect();
            wire.tags = Some(Bytes2::from(&torrent.tags[..]));
        }
    }
    wire
}

pub(super) fn from_wire(wire: BodyWire) -> Result<Body, WireError> {
    let refuse = |why: &str| Err(WireError::Malformed("a body", why.into()));
    let kind = match wire.kind {
        0 => Kind::File,
        1 => Kind::Directory,
        2 => Kind::Symlink,
        _ => return refuse("its kind is unknown"),
    };
    if wire.mode & !0o7777 != 0 {
        return refuse("its mode has more than permission bits");
    }
    if wire.size > FILE_MAX {
        return refuse("its size is over the limit");
    }
    let content = match (wire.inline, wire.info_hash, wire.tags) {
        (None, None, None) => Content::None,
        (Some(bytes), None, None) => Content::Inline(bytes.into_vec().into()),
        (None, Some(info_hash), Some(tags)) => Content::Torrent(TorrentRef {
            info_hash,
            runs: wire.runs.into_iter().map(|run| (run.chunks, run.epoch)).collect(),
            tags: match tags.as_ref().try_into() {
                Ok(tags) => tags,
                Err(_) => return refuse("its hash of tags is not 32 bytes"),
            },
        }),
        _ => return refuse("it must have one content"),
    };
    match (kind, &content) {
        (Kind::File, Content::None) if wire.size == 0 => {}
        (Kind::File, Content::Inline(bytes)) if bytes.len() <= INLINE_MAX && bytes.len() as u64 == wire.size => {}
        (Kind::File, Content::Torrent(torrent)) if wire.size > 0 => {
            if torrent.runs.iter().any(|run| run.0 == 0) {
                return refuse("one of its runs is empty");
            }
            let chunks: u64 = torrent.runs.iter().map(|run| u64::from(run.0)).sum();
            if chunks != wire.size.div_ceil(CHUNK_PLAIN as u64) {
                return refuse("its runs do not add up to its size");
            }
        }
        (Kind::Directory, Content::None) if wire.size == 0 => {}
        (Kind::Symlink, Content::Inline(target))
            if !target.is_empty()
                && target.len() <= SYMLINK_MAX
                && !target.contains(&0)
                && target.len() as u64 == wire.size => {}
        _ => return refuse("its content does not fit its kind and size"),
    }
    Ok(Body { kind, mode: wire.mode, mtime: WallTime(wire.mtime), size: wire.size, content, xattrs: wire.xattrs })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::xattr::tests::tables;
    use super::*;

    fn file(size: u64, content: Content) -> Body {
        Body { kind: Kind::File, mode: 0o644, mtime: WallTime(-1), size, content, xattrs: Xattrs::default() }
    }

    pub(in super::super) fn inline(length: usize) -> Body {
        file(length as u64, Content::Inline(vec![7; length].into()))
    }

    fn torrent(size: u64, runs: &[u32]) -> Body {
        let runs = runs.iter().map(|chunks| (*chunks, crate::base::StatementHash([8; 32]))).collect();
        file(size, Content::Torrent(TorrentRef { info_hash: InfoHash([9; 20]), runs, tags: [10; 32] }))
    }

    fn symlink(target: &[u8]) -> Body {
        let content = Content::Inline(Bytes::copy_from_slice(target));
        Body { kind: Kind::Symlink, size: target.len() as u64, ..file(0, content) }
    }

    /// Bodies that are taken, of every kind but directories.
    pub(in super::super) fn bodies() -> impl Strategy<Value = Body> {
        let body = prop_oneof![
            (0..=INLINE_MAX).prop_map(inline),
            (1..1_000_u32, 1..1_000_u32).prop_map(|(a, b)| torrent(u64::from(a + b) * CHUNK_PLAIN as u64, &[a, b])),
            proptest::collection::vec(1..=u8::MAX, 1..300).prop_map(|target| symlink(&target)),
        ];
        (body, 0..0o10_000_u32, any::<i64>(), tables()).prop_map(|(body, mode, mtime, xattrs)| Body {
            mode,
            mtime: WallTime(mtime),
            xattrs,
            ..body
        })
    }

    #[test]
    fn bodies_that_contradict_themselves_are_refused() {
        let chunk = CHUNK_PLAIN as u64;
        let directory = Body { kind: Kind::Directory, ..file(0, Content::None) };
        let good = [
            file(0, Content::None),
            inline(0),
            inline(INLINE_MAX),
            torrent(1, &[1]),
            torrent(chunk + 1, &[1, 1]),
            torrent(FILE_MAX, &[4_000_000, 194_304]),
            directory.clone(),
            symlink(b"../anywhere"),
            symlink(&[b'x'; SYMLINK_MAX]),
            Body { mode: 0o7777, mtime: WallTime(i64::MIN), ..inline(1) },
        ];
        for body in good {
            assert_eq!(from_wire(to_wire(&body)), Ok(body));
        }
        let bad = [
            file(1, Content::None),
            inline(INLINE_MAX + 1),
            Body { size: 2, ..inline(1) },
            torrent(0, &[]),
            torrent(1, &[]),
            torrent(1, &[2]),
            torrent(1, &[1, 0]),
            torrent(chunk + 1, &[1]),
            torrent(chunk, &[u32::MAX, 1]),
            torrent(FILE_MAX + 1, &[4_194_305]),
            Body { size: 1, ..directory.clone() },
            Body { kind: Kind::Directory, ..inline(0) },
            Body { kind: Kind::Directory, ..torrent(1, &[1]) },
            Body { kind: Kind::Symlink, ..file(0, Content::None) },
            Body { kind: Kind::Symlink, ..torrent(1, &[1]) },
            symlink(b""),
            symlink(b"a\0b"),
            symlink(&[b'x'; SYMLINK_MAX + 1]),
            Body { size: 3, ..symlink(b"ab") },
            Body { mode: 0o10_000, ..inline(1) },
            Body { mode: u32::MAX, ..inline(1) },
        ];
        for body in bad {
            assert!(matches!(from_wire(to_wire(&body)), Err(WireError::Malformed(..))), "{body:?}");
        }
    }

    /// Bodies that were written before there were extended attributes are read, and written, as they were.
    #[test]
    fn a_body_without_extended_attributes_is_what_it_was() {
        let old = b"d1:d1:\x071:ki0e1:mi420e1:si1e1:ti-1ee";
        let wire: BodyWire = super::super::bencode::decode("a body", old, old.len()).unwrap();
        assert_eq!(from_wire(wire), Ok(inline(1)));
        assert_eq!(super::super::bencode::encode(&to_wire(&inline(1))), old);
    }

    #[test]
    fn a_body_has_a_known_kind_and_one_content() {
        let wire = || to_wire(&inline(1));
        assert!(from_wire(wire()).is_ok());
        assert!(from_wire(BodyWire { kind: 3, ..wire() }).is_err());
        let tags = |length| Some(Bytes2::from(vec![0; length]));
        assert!(from_wire(BodyWire { tags: tags(32), ..wire() }).is_err(), "inline and in a torrent");
        let half = BodyWire { inline: None, info_hash: Some(InfoHash([9; 20])), ..wire() };
        assert!(from_wire(half).is_err(), "an info-hash without a hash of tags");
        let torrent = || to_wire(&torrent(1, &[1]));
        assert!(from_wire(BodyWire { tags: tags(32), ..torrent() }).is_ok());
        assert!(from_wire(BodyWire { tags: tags(31), ..torrent() }).is_err());
        assert!(from_wire(BodyWire { info_hash: None, ..torrent() }).is_err());
    }
}

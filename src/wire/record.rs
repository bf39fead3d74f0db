//! A record: one version of one register of one object. The outer part is for everybody, caches included; the inner
//! part is sealed for members.
//!
//! ```text
//! record = bencode { v: 1, e: epoch, s: nonce(12) | ciphertext | tag(16), i?: { l: sealed bytes, n: piece length, p: SHA-1s } }
//! inner  = bencode { c: circle, a: author, i: incarnation, q: sequence, o: object, x: context, p | b: value, z: padding }
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{WireError, bencode};
use crate::base::limits::{FILE_MAX, INLINE_MAX, NAME_MAX, RECORD_MAX, SYMLINK_MAX};
use crate::base::{CircleId, EpochId, InfoHash, MemberKey, ObjectId, RecordHash, WallTime};

pub use super::context::{Chain, Context, Dot};
pub use crate::base::Register;

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

/// A checked name of one directory entry: 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks `bytes` and keeps them.
    pub fn new(bytes: &[u8]) -> Result<Self, WireError> {
        let refuse = |why: &str| Err(WireError::Malformed("a name", why.into()));
        match bytes {
            [] => refuse("it is empty"),
            b"." | b".." => refuse("'.' and '..' are not names"),
            _ if bytes.len() > NAME_MAX => Err(WireError::OverLimit("a name's length in bytes", bytes.len(), NAME_MAX)),
            _ if bytes.contains(&b'/') => refuse("it has a '/'"),
            _ if bytes.contains(&0) => refuse("it has a NUL"),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes, as given to the kernel.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The place register's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The directory; the circle's root is [`root_of`].
    pub parent: ObjectId,
    /// The name in it.
    pub name: Name,
    /// Set when the object was deleted: the body versions that the deleter saw.
    pub deleted: Option<Context>,
}

/// The object id of a circle's root directory.
pub fn root_of(circle: &CircleId) -> ObjectId {
    let mut id = [0; 16];
    id.copy_from_slice(&circle.0[..16]);
    ObjectId(id)
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

/// What changes in the info dictionary between the torrents of a circle.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PublicInfo {
    /// Sealed bytes.
    #[serde(rename = "l")]
    pub length: u64,
    /// Bytes per piece, a power of two of at least 64 KiB.
    #[serde(rename = "n")]
    pub piece_length: u32,
    /// SHA-1 of each piece, 20 bytes each.
    #[serde(rename = "p")]
    pub pieces: Bytes2,
}

/// Bytes that serde takes as a byte string.
pub type Bytes2 = serde_bytes::ByteBuf;

/// The inner part of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inner {
    /// Where it was written; a mismatch is refused.
    pub circle: CircleId,
    /// The version's name; must be the commit's.
    pub dot: Dot,
    /// The object.
    pub object: ObjectId,
    /// What it supersedes.
    pub context: Context,
    /// The value, which also names the register.
    pub value: Value,
}

/// A register's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of the place register.
    Place(Place),
    /// Of the body register.
    Body(Body),
}

impl Value {
    /// The register that this is a value of.
    pub fn register(&self) -> Register {
        match self {
            Value::Place(_) => Register::Place,
            Value::Body(_) => Register::Body,
        }
    }
}

/// The outer part of a record, decoded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outer {
    #[serde(rename = "e")]
    /// The epoch whose key seals the inner part.
    pub epoch: EpochId,
    /// The torrent of this body, for caches.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub info: Option<PublicInfo>,
    /// Nonce, ciphertext and tag.
    #[serde(rename = "s")]
    pub sealed: Bytes2,
    /// Format version.
    #[serde(rename = "v")]
    pub version: u32,
}

impl Outer {
    /// The record's bytes.
    pub fn encode(&self) -> Bytes {
        bencode::encode(self).into()
    }

    /// Decodes and checks lengths.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let outer: Outer = bencode::decode("a record", bytes, RECORD_MAX)?;
        if outer.version != 1 {
            return Err(WireError::Version("a record", outer.version));
        }
        Ok(outer)
    }
}

/// The hash by which commits name a record.
pub fn record_hash(bytes: &[u8]) -> RecordHash {
    RecordHash(Sha256::digest(bytes).into())
}

#[derive(Serialize, Deserialize)]
struct InnerWire {
    #[serde(rename = "a")]
    author: MemberKey,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    body: Option<BodyWire>,
    #[serde(rename = "c")]
    circle: CircleId,
    #[serde(rename = "i")]
    incarnation: u32,
    #[serde(rename = "o")]
    object: ObjectId,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    place: Option<PlaceWire>,
    #[serde(rename = "q")]
    sequence: u64,
    #[serde(rename = "x")]
    context: Context,
    #[serde(rename = "z", default)]
    padding: Bytes2,
}

#[derive(Serialize, Deserialize)]
struct PlaceWire {
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    deleted: Option<Context>,
    #[serde(rename = "n")]
    name: Bytes2,
    #[serde(rename = "p")]
    parent: ObjectId,
}

#[derive(Serialize, Deserialize)]
struct BodyWire {
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

/// Inner parts are padded to one of these lengths, so that their lengths tell little: powers of two from 256 to 4,096
/// bytes, then multiples of 4,096.
fn bucket(number: usize) -> usize {
    if number < 4 { 256 << number } else { 4_096 * (number - 3) }
}

/// The padding by which an inner part of `bare` bytes with empty padding comes to exactly `bucket`, if there is one: the
/// padding's own length is written before it, so that a few lengths cannot be reached.
fn padding_between(bare: usize, bucket: usize) -> Option<usize> {
    let digits = |padding: usize| padding.to_string().len();
    let room = bucket.checked_sub(bare)?;
    let padding = (room + 1).checked_sub(digits(room))?;
    let exact = |padding: usize| padding + digits(padding) - 1 == room;
    [padding, padding + 1].into_iter().find(|padding| exact(*padding))
}

impl Inner {
    /// The plaintext to be sealed, padded to a bucket.
    pub fn encode(&self) -> Vec<u8> {
        let mut wire = InnerWire {
            circle: self.circle,
            author: self.dot.author,
            incarnation: self.dot.incarnation,
            sequence: self.dot.sequence,
            object: self.object,
            context: self.context.clone(),
            place: None,
            body: None,
            padding: Bytes2::new(),
        };
        match &self.value {
            Value::Place(place) => {
                wire.place = Some(PlaceWire {
                    parent: place.parent,
                    name: Bytes2::from(place.name.as_bytes()),
                    deleted: place.deleted.clone(),
                });
            }
            Value::Body(body) => wire.body = Some(body_to_wire(body)),
        }
        let bare = bencode::encode(&wire).len();
        let padding = (0..)
            .map(bucket)
            .find_map(|bucket| padding_between(bare, bucket))
            .expect("no two buckets in a row are out of reach");
        wire.padding = Bytes2::from(vec![0; padding]);
        bencode::encode(&wire)
    }

    /// Decodes an unsealed inner part and checks every value in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let wire: InnerWire = bencode::decode("a record's sealed part", bytes, RECORD_MAX)?;
        wire.context.check()?;
        if let Some(deleted) = wire.place.as_ref().and_then(|place| place.deleted.as_ref()) {
            deleted.check()?;
        }
        let value = match (wire.place, wire.body) {
            (Some(place), None) => {
                Value::Place(Place { parent: place.parent, name: Name::new(&place.name)?, deleted: place.deleted })
            }
            (None, Some(body)) => Value::Body(body_from_wire(body)?),
            _ => return Err(WireError::Malformed("a record", "it must have one of place and body".into())),
        };
        Ok(Inner {
            circle: wire.circle,
            dot: Dot { author: wire.author, incarnation: wire.incarnation, sequence: wire.sequence },
            object: wire.object,
            context: wire.context,
            value,
        })
    }
}

fn body_to_wire(body: &Body) -> BodyWire {
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

fn body_from_wire(wire: BodyWire) -> Result<Body, WireError> {
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
            if chunks != wire.size.div_ceil(crate::base::limits::CHUNK_PLAIN as u64) {
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
    Ok(Body { kind, mode: wire.mode, mtime: WallTime(wire.mtime), size: wire.size, content })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::limits::CHUNK_PLAIN;

    fn inner(value: Value) -> Inner {
        Inner {
            circle: CircleId([1; 32]),
            dot: Dot { author: MemberKey([2; 32]), incarnation: 3, sequence: 4 },
            object: ObjectId([5; 16]),
            context: Context::default(),
            value,
        }
    }

    fn file(size: u64, content: Content) -> Body {
        Body { kind: Kind::File, mode: 0o644, mtime: WallTime(-1), size, content }
    }

    fn inline(length: usize) -> Body {
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

    fn decode(body: Body) -> Result<Inner, WireError> {
        Inner::decode(&inner(Value::Body(body)).encode())
    }

    fn is_bucket(length: usize) -> bool {
        matches!(length, 256 | 512 | 1_024 | 2_048) || length > 0 && length.is_multiple_of(4_096)
    }

    #[test]
    fn every_length_is_padded_to_a_bucket() {
        for length in 1..=INLINE_MAX {
            let encoded = inner(Value::Body(inline(length))).encode();
            assert!(is_bucket(encoded.len()), "{length} bytes inline give {}", encoded.len());
            assert!(encoded.len() <= 8_192);
        }
        for bare in 0..20_000 {
            let (at, padding) =
                (0..).find_map(|at| padding_between(bare, bucket(at)).map(|padding| (at, padding))).unwrap();
            let padded = bare + padding + padding.to_string().len() - 1;
            assert!(padded == bucket(at) && is_bucket(padded));
            let next = (0..).find(|at| bucket(*at) >= bare).unwrap();
            assert!(at <= next + 1, "{bare}: only an unreachable bucket is passed over");
        }
        assert_eq!((0..6).map(bucket).collect::<Vec<_>>(), [256, 512, 1_024, 2_048, 4_096, 8_192]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = [b'x'; NAME_MAX + 1];
        let tricks =
            [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"/etc", b"a/", b"\0", b"a\0", b"..\0", b"a\0/b", &long];
        for trick in tricks {
            assert!(Name::new(trick).is_err(), "{trick:?}");
            // A member's own program could seal such a name all the same.
            let place = Place { parent: ObjectId([0; 16]), name: Name(trick.into()), deleted: None };
            let decoded = Inner::decode(&inner(Value::Place(place)).encode());
            assert!(decoded.is_err(), "{trick:?}");
        }
        for name in [&b"..."[..], b".x", b"a b", b"\xFF\xFE", b"\n", "ü".as_bytes(), &long[..NAME_MAX]] {
            assert_eq!(Name::new(name).unwrap().as_bytes(), name);
        }
        assert!(matches!(Name::new(&long), Err(WireError::OverLimit(_, 256, NAME_MAX))));
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
            assert_eq!(decode(body.clone()), Ok(inner(Value::Body(body))));
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
            assert!(matches!(decode(body.clone()), Err(WireError::Malformed(..))), "{body:?}");
        }
    }

    #[test]
    fn a_record_has_one_register_and_a_known_kind() {
        let wire = |body: Option<BodyWire>, place: Option<PlaceWire>| InnerWire {
            author: MemberKey([2; 32]),
            body,
            circle: CircleId([1; 32]),
            incarnation: 3,
            object: ObjectId([5; 16]),
            place,
            sequence: 4,
            context: Context::default(),
            padding: Bytes2::new(),
        };
        let body = || body_to_wire(&inline(1));
        let place = || PlaceWire { deleted: None, name: Bytes2::from(&b"name"[..]), parent: ObjectId([6; 16]) };
        let decode = |wire: InnerWire| Inner::decode(&bencode::encode(&wire));
        assert!(decode(wire(Some(body()), None)).is_ok());
        assert!(decode(wire(None, Some(place()))).is_ok());
        assert!(decode(wire(Some(body()), Some(place()))).is_err());
        assert!(decode(wire(None, None)).is_err());
        assert!(decode(wire(Some(BodyWire { kind: 3, ..body() }), None)).is_err());
        assert!(decode(wire(Some(BodyWire { tags: Some(Bytes2::from(vec![0; 32])), ..body() }), None)).is_err());
        let half = BodyWire { inline: None, info_hash: Some(InfoHash([9; 20])), ..body() };
        assert!(decode(wire(Some(half), None)).is_err(), "an info-hash without a hash of tags");
        let mut short = body_to_wire(&torrent(1, &[1]));
        short.tags = Some(Bytes2::from(vec![0; 31]));
        assert!(decode(wire(Some(short), None)).is_err());
        let dot = Dot { author: MemberKey([0; 32]), incarnation: 0, sequence: 1 };
        let long = Context { upto: vec![dot; crate::base::limits::CHAINS + 1], except: vec![] };
        assert!(matches!(
            decode(InnerWire { context: long.clone(), ..wire(Some(body()), None) }),
            Err(WireError::OverLimit(..))
        ));
        assert!(matches!(
            decode(wire(None, Some(PlaceWire { deleted: Some(long), ..place() }))),
            Err(WireError::OverLimit(..))
        ));
    }

    #[test]
    fn outer_parts_have_a_version_and_a_limit() {
        let outer = Outer {
            epoch: crate::base::StatementHash([1; 32]),
            info: Some(PublicInfo { length: 1, piece_length: 65_536, pieces: Bytes2::from(vec![0; 20]) }),
            sealed: Bytes2::from(vec![2; 284]),
            version: 1,
        };
        assert_eq!(Outer::decode(&outer.encode()), Ok(outer.clone()));
        let newer = Outer { version: 2, ..outer.clone() };
        assert_eq!(Outer::decode(&newer.encode()), Err(WireError::Version("a record", 2)));
        let longer = Outer { sealed: Bytes2::from(vec![0; RECORD_MAX]), ..outer.clone() };
        assert!(matches!(Outer::decode(&longer.encode()), Err(WireError::OverLimit(..))));
        assert_ne!(record_hash(&outer.encode()), record_hash(&newer.encode()));
        let negative = [&b"d1:e32:"[..], &[0; 32], b"1:id1:li-1e1:ni65536e1:p0:e1:s0:1:vi1ee"].concat();
        assert!(matches!(Outer::decode(&negative), Err(WireError::Malformed(..))));
    }

    fn dots() -> impl Strategy<Value = Dot> {
        (any::<[u8; 32]>(), any::<u32>(), 0..=i64::MAX as u64).prop_map(|(author, incarnation, sequence)| Dot {
            author: MemberKey(author),
            incarnation,
            sequence,
        })
    }

    fn contexts() -> impl Strategy<Value = Context> {
        let some = || proptest::collection::vec(dots(), 0..6);
        (some(), some()).prop_map(|(upto, except)| Context { upto, except })
    }

    fn values() -> impl Strategy<Value = Value> {
        let name = proptest::collection::vec(any::<u8>(), 1..=NAME_MAX)
            .prop_filter_map("a trick", |bytes| Name::new(&bytes).ok());
        let place = (any::<[u8; 16]>(), name, proptest::option::of(contexts()))
            .prop_map(|(parent, name, deleted)| Value::Place(Place { parent: ObjectId(parent), name, deleted }));
        let body = prop_oneof![
            (0..=INLINE_MAX).prop_map(inline),
            (1..1_000_u32, 1..1_000_u32).prop_map(|(a, b)| torrent(u64::from(a + b) * CHUNK_PLAIN as u64, &[a, b])),
            proptest::collection::vec(1..=u8::MAX, 1..300).prop_map(|target| symlink(&target)),
        ];
        prop_oneof![
            place,
            (body, 0..0o10_000_u32, any::<i64>()).prop_map(|(body, mode, mtime)| Value::Body(Body {
                mode,
                mtime: WallTime(mtime),
                ..body
            })),
        ]
    }

    proptest! {
        #[test]
        fn inner_parts_come_back(
            value in values(), dot in dots(), context in contexts(), object: [u8; 16], circle: [u8; 32]
        ) {
            let inner =
                Inner { circle: CircleId(circle), dot, object: ObjectId(object), context, ..inner(value) };
            let encoded = inner.encode();
            prop_assert!(is_bucket(encoded.len()));
            prop_assert_eq!(Inner::decode(&encoded).unwrap(), inner);
        }

        #[test]
        fn torn_parts_never_panic(value in values(), at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut torn = inner(value).encode();
            let at = at.index(torn.len());
            torn[at] = to;
            let _ = Inner::decode(&torn);
            let _ = Outer::decode(&torn);
            torn.truncate(cut.index(torn.len()));
            prop_assert!(Inner::decode(&torn).is_err());
        }

        #[test]
        fn garbage_is_refused(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Inner::decode(&garbage).is_err());
            prop_assert!(Outer::decode(&garbage).is_err());
        }
    }
}

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

/// Which of an object's two registers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Register {
    /// Parent and name.
    Place,
    /// Kind, size, times, mode and content.
    Body,
}

/// The name of one version: a place in one author's chain. The order is by author, incarnation and sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// Who wrote it.
    #[serde(rename = "a")]
    pub author: MemberKey,
    /// Which of the author's chains.
    #[serde(rename = "i")]
    pub incarnation: u32,
    /// Number of the commit in that chain, from 1.
    #[serde(rename = "q")]
    pub sequence: u64,
}

impl Dot {
    /// The chain that this dot is in.
    pub fn chain(&self) -> Chain {
        Chain { author: self.author, incarnation: self.incarnation }
    }
}

/// One author's commits between two losses of memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// Whose.
    #[serde(rename = "a")]
    pub author: MemberKey,
    /// Which, from 0.
    #[serde(rename = "i")]
    pub incarnation: u32,
}

/// What a version supersedes: in each chain all versions of its register up to a sequence, except some.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Context {
    /// The greatest superseded dot of each chain, in order, at most one per chain.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    pub upto: Vec<Dot>,
    /// Survivors below those that were not superseded, in order.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Dot>,
}

impl Context {
    /// True when the version at `dot` is superseded.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.upto.iter().any(|u| u.chain() == dot.chain() && dot.sequence <= u.sequence) && !self.except.contains(dot)
    }

    /// Adds `dot` to what is superseded.
    pub fn add(&mut self, dot: Dot) {
        self.except.retain(|x| *x != dot);
        match self.upto.iter_mut().find(|u| u.chain() == dot.chain()) {
            Some(u) => u.sequence = u.sequence.max(dot.sequence),
            None => self.upto.push(dot),
        }
        self.upto.sort_unstable();
    }

    /// Adds all that `other` supersedes. An exception of one side that the other covers is covered.
    pub fn join(&mut self, other: &Context) {
        let mut except: Vec<Dot> =
            self.except.iter().chain(&other.except).filter(|x| !self.covers(x) && !other.covers(x)).copied().collect();
        except.sort_unstable();
        except.dedup();
        for dot in &other.upto {
            self.add(*dot);
        }
        self.except = except;
    }
}

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

/// Inner parts are padded to the next of these many bytes, or to a multiple of the last, so that lengths tell little.
const BUCKETS: [usize; 5] = [256, 512, 1_024, 2_048, 4_096];

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
        let bare = bencode::encode(&wire);
        // The padding's own length prefix may be up to four digits longer than the empty one's single digit.
        let wanted = bare.len() + 4;
        let last = BUCKETS[BUCKETS.len() - 1];
        let bucket = BUCKETS.iter().copied().find(|b| *b >= wanted).unwrap_or(wanted.div_ceil(last) * last);
        let mut pad = bucket - bare.len();
        pad -= pad.to_string().len() - 1;
        wire.padding = Bytes2::from(vec![0; pad]);
        let padded = bencode::encode(&wire);
        debug_assert!(padded.len().abs_diff(bucket) <= 1);
        padded
    }

    /// Decodes an unsealed inner part and checks every value in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let wire: InnerWire = bencode::decode("a record's sealed part", bytes, RECORD_MAX)?;
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

//! The values of the tables that have a form of their own. The others are the bytes that travel.

use serde::{Deserialize, Serialize};

use crate::base::{CircleId, EpochId, InfoHash, Location, MemberKey, ObjectId, RecordHash};
use crate::wire::record::{Bytes2, Context, Dot, Xattrs};
use crate::wire::{WireError, bencode};

/// A value that is kept as a bencoded dictionary.
pub trait Value: Serialize + serde::de::DeserializeOwned {
    /// For errors.
    const WHAT: &'static str;

    /// The bytes.
    fn encode(&self) -> Vec<u8> {
        bencode::encode(self)
    }

    /// Reads the bytes back.
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        bencode::decode(Self::WHAT, bytes, usize::MAX)
    }
}

/// `meta` at [`IDENTITY`](super::keys::IDENTITY): who this node is.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The member key's public half.
    pub key: MemberKey,
    /// Seed of the member key, sealed under the state key as [`MEMBER_LABEL`].
    pub member: Bytes2,
    /// The name that friends see.
    pub name: String,
    /// Seed of the transport key.
    pub transport: Bytes2,
}

impl Value for Identity {
    const WHAT: &'static str = "this node's identity in the ledger";
}

/// Under which the state key seals the member key's seed.
pub const MEMBER_LABEL: &str = "the member key";
/// Under which the state key seals [`CircleSecrets`].
pub const CIRCLE_LABEL: &str = "a circle's keys";

/// `circles`: what a node knows of a circle besides the roster.
#[derive(Clone, Serialize, Deserialize)]
pub struct CircleEntry {
    /// True for the circle that every node founds for its owner.
    pub home: u8,
    /// Our own current chain.
    pub incarnation: u32,
    /// True when the owner left it.
    #[serde(default)]
    pub left: u8,
    /// Our leaf certificate, DER.
    pub leaf: Bytes2,
    /// [`CircleSecrets`], sealed under the state key as [`CIRCLE_LABEL`].
    pub secrets: Bytes2,
}

impl Value for CircleEntry {
    const WHAT: &'static str = "a circle in the ledger";
}

/// What of a circle must not be known to who finds the disk.
#[derive(Clone, Serialize, Deserialize)]
pub struct CircleSecrets {
    /// The circle that they are of.
    pub circle: CircleId,
    /// Epoch keys, oldest first.
    pub keys: Vec<EpochEntry>,
    /// The seed of the circle's root key, if this node is a keeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Bytes2>,
}

impl Value for CircleSecrets {
    const WHAT: &'static str = "a circle's keys in the ledger";
}

/// One epoch's key.
#[derive(Clone, Serialize, Deserialize)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: EpochId,
    /// The circle key.
    pub key: Bytes2,
    /// Its number.
    pub number: u64,
    /// Its chunk cipher.
    pub suite: u8,
}

/// A run of chunks that lie one after the other in a slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First chunk of the torrent.
    pub chunk: u32,
    /// How many chunks.
    pub chunks: u32,
    /// Where the first lies; each full chunk takes 16 units.
    pub location: Location,
}

/// `torrents`: where a torrent's chunks lie, and which pieces are there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentEntry {
    /// The circle whose root certificate is in it.
    pub circle: CircleId,
    /// A record whose public part has its lengths and piece hashes.
    pub record: RecordHash,
    /// The commit that introduced it here.
    pub introduced: Dot,
    /// In order of chunks, without gaps; none of what a cache evicted, whose `have` is empty then.
    pub extents: Vec<Extent>,
    /// The pieces that are here as a BEP 3 bitfield; `None` when all are.
    pub have: Option<Vec<u8>>,
    /// In a cache, the number of its last want; elsewhere when it was last opened, in powered-on milliseconds, or 0.
    pub wanted: u64,
    /// Bytes; 0 where an older program wrote the entry.
    pub length: u64,
    /// Since when no file shows it, in powered-on milliseconds; `None` while one does.
    pub kept: Option<u64>,
    /// Pieces that were here stopped to hash, and have not come anew.
    pub damaged: bool,
}

#[derive(Serialize, Deserialize)]
struct TorrentWire {
    #[serde(default, skip_serializing_if = "is_zero")]
    b: u64,
    c: CircleId,
    d: Dot,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h: Option<Bytes2>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    l: u64,
    r: RecordHash,
    #[serde(default, skip_serializing_if = "is_zero")]
    w: u64,
    /// chunk, chunks, slab, unit: four big-endian 32-bit numbers each.
    x: Bytes2,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The bytes of extents.
pub fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    let words = extents.iter().flat_map(|e| [e.chunk, e.chunks, e.location.slab, e.location.unit]);
    words.flat_map(u32::to_be_bytes).collect()
}

/// Extents from their bytes.
pub fn decode_extents(bytes: &[u8]) -> Result<Vec<Extent>, WireError> {
    if !bytes.len().is_multiple_of(16) {
        return Err(WireError::Malformed("extents in the ledger", "their length is broken".into()));
    }
    let word = |line: &[u8], at: usize| {
        u32::from_be_bytes(line[at * 4..at * 4 + 4].try_into().expect("a line has four words of four bytes"))
    };
    Ok(bytes
        .chunks_exact(16)
        .map(|line| Extent {
            chunk: word(line, 0),
            chunks: word(line, 1),
            location: Location { slab: word(line, 2), unit: word(line, 3) },
        })
        .collect())
}

impl TorrentEntry {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        bencode::encode(&TorrentWire {
            b: u64::from(self.damaged),
            c: self.circle,
            d: self.introduced,
            h: self.have.as_ref().map(|have| Bytes2::from(&have[..])),
            k: self.kept,
            l: self.length,
            r: self.record,
            w: self.wanted,
            x: Bytes2::from(encode_extents(&self.extents)),
        })
    }

    /// Reads the bytes back.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let wire: TorrentWire = bencode::decode("a torrent in the ledger", bytes, usize::MAX)?;
        Ok(Self {
            circle: wire.c,
            record: wire.r,
            introduced: wire.d,
            extents: decode_extents(&wire.x)?,
            have: wire.h.map(|have| have.into_vec()),
            wanted: wire.w,
            length: wire.l,
            kept: wire.k,
            damaged: wire.b > 0,
        })
    }
}

/// `drafts`, sealed: a body being written, as the last fsync left it.
#[derive(Clone, Serialize, Deserialize)]
pub struct DraftEntry {
    /// What publishing it will supersede.
    pub context: Context,
    /// Sealed chunks that differ from the base: five big-endian 32-bit numbers each, which are chunk, slab, unit, bytes of
    /// plaintext and index in `epochs`.
    pub chunks: Bytes2,
    /// The epochs that sealed them.
    #[serde(default)]
    pub epochs: Vec<EpochId>,
    /// The content itself, when it is small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<Bytes2>,
    /// The record of the version that it was opened on: versions may come to have other names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<RecordHash>,
    /// Bytes of the base that are still the draft's.
    pub base_size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    /// Parent and name, when the file is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Bytes2>,
    /// See `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectId>,
    /// Bytes.
    pub size: u64,
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "Xattrs::is_empty")]
    pub xattrs: Xattrs,
}

impl Value for DraftEntry {
    const WHAT: &'static str = "a draft in the ledger";
}

/// `meta` at [`SCRUB`](super::keys::SCRUB): how far the scrub has come.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ScrubEntry {
    /// The torrent at which it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Bytes2>,
    /// Bytes that this round has hashed.
    pub bytes: u64,
    /// Pieces of them that were damaged.
    pub damaged: u64,
    /// Bytes of the last round that came to its end.
    pub last_bytes: u64,
    /// Pieces of them that were damaged.
    pub last_damaged: u64,
    /// When it ended, in powered-on milliseconds; 0 where none did.
    pub last_ms: u64,
    /// The next piece.
    pub piece: u32,
}

impl Value for ScrubEntry {
    const WHAT: &'static str = "how far the scrub came";
}

/// Info-hashes as keys in `torrents`.
pub fn torrent_key(info_hash: &InfoHash) -> Vec<u8> {
    info_hash.0.to_vec()
}

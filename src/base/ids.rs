//! Ids and indices as types, so that one cannot be passed for another.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines a fixed-length byte id that prints as short hex and travels as a bencoded byte string.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $length:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Bytes in this id.
            pub const LENGTH: usize = $length;

            /// The id in these bytes, if they are exactly as many as it has.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The whole id in lower-case hex.
            pub fn hex(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0[..4]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes: serde_bytes::ByteBuf = serde_bytes::ByteBuf::deserialize(deserializer)?;
                Self::from_slice(&bytes).ok_or_else(|| {
                    serde::de::Error::invalid_length(bytes.len(), &concat!(stringify!($length), " bytes"))
                })
            }
        }
    };
}

byte_id!(
    /// SHA-256 of a device's transport and member keys.
    DeviceId, 32
);
byte_id!(
    /// Hash of the statement that founded a circle.
    CircleId, 32
);
byte_id!(
    /// Ed25519 public key that signs commits and statements.
    MemberKey, 32
);
byte_id!(
    /// Ed25519 public key of a node's TLS certificate.
    TransportKey, 32
);
byte_id!(
    /// Random id of a file, directory or symlink.
    ObjectId, 16
);
byte_id!(
    /// SHA-1 of a torrent's info dictionary (BEP 3).
    InfoHash, 20
);
byte_id!(
    /// SHA-256 of a record's bytes.
    RecordHash, 32
);
byte_id!(
    /// SHA-256 of a signed commit's bytes.
    CommitHash, 32
);
byte_id!(
    /// SHA-256 of a signed statement's bytes; also the id of the epoch that it starts.
    StatementHash, 32
);
byte_id!(
    /// Keyed tag of a register, by which a cache can tell two registers apart without knowing either.
    RegisterTag, 16
);

impl CommitHash {
    /// What the first commit of a chain names as its predecessor.
    pub const NONE: Self = Self([0; 32]);
}

impl ObjectId {
    /// The inode number of this object: its first eight bytes.
    pub fn inode(&self) -> u64 {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(prefix)
    }
}

/// Which of an object's two registers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Register {
    /// Parent and name.
    Place,
    /// Kind, size, times, mode and content.
    Body,
}

/// The epoch of a circle key, named by the statement that started it.
pub type EpochId = StatementHash;

/// A piece's position in its torrent (BEP 3). Minted where it is checked against the torrent's length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PieceIndex(pub u32);

/// A chunk's position in its file's plaintext.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkIndex(pub u32);

/// One TLS connection, numbered by `os` and never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// Ties a request to its one answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Where sealed bytes lie: a slab and an offset in units of [`UNIT`](crate::base::limits::UNIT) bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Location {
    /// Number of the slab file.
    pub slab: u32,
    /// Offset in the slab, in units.
    pub unit: u32,
}

impl Location {
    /// Offset in the slab, in bytes.
    pub fn offset_bytes(&self) -> u64 {
        u64::from(self.unit) * crate::base::limits::UNIT as u64
    }
}

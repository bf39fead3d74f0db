//! A record: one version of one register of one object. The outer part is for everybody, caches included; the inner
//! part is sealed for members.
//!
//! ```text
//! record = bencode { v: 1, e: epoch, s: nonce(12) | ciphertext | tag(16), i?: { b?: like it, l: sealed bytes, n: piece length, p: SHA-1s } }
//! inner  = bencode { c: circle, a: author, i: incarnation, q: sequence, o: object, x: context, p | b: value, z: padding }
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::body::{self, BodyWire};
use super::{WireError, bencode};
use crate::base::limits::{NAME_MAX, RECORD_MAX};
use crate::base::{CircleId, EpochId, InfoHash, MemberKey, ObjectId, RecordHash};

pub use super::body::{Body, Content, Kind, TorrentRef};
pub use super::context::{Chain, Context, Dot};
pub use super::xattr::Xattrs;
pub use crate::base::Register;

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

/// What changes in the info dictionary between the torrents of a circle.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PublicInfo {
    /// The torrent of a body before, some of whose pieces may be the same: a hint, of use to who holds it.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub base: Option<InfoHash>,
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

/// Inner parts are padded to one of these lengths, so that their lengths tell little: powers of two from 256 to 4,096
/// bytes, then multiples of 4,096.
fn bucket(number: usize) -> usize {
    if number < 4 { 256 << number } else { 4_096 * (number - 3) }
}

/// The padding by which an inner part of `bare` bytes with empty padding comes to exactly `bucket`, if there is one:
/// the padding's own length is written before it, so that a few lengths cannot be reached.
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
            Value::Body(body) => wire.body = Some(body::to_wire(body)),
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
            (None, Some(body)) => Value::Body(body::from_wire(body)?),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::body::tests::{bodies, inline};
    use super::*;
    use crate::base::limits::INLINE_MAX;

    fn inner(value: Value) -> Inner {
        Inner {
            circle: CircleId([1; 32]),
            dot: Dot { author: MemberKey([2; 32]), incarnation: 3, sequence: 4 },
            object: ObjectId([5; 16]),
            context: Context::default(),
            value,
        }
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
    fn a_record_has_one_register() {
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
        let body = || body::to_wire(&inline(1));
        let place = || PlaceWire { deleted: None, name: Bytes2::from(&b"name"[..]), parent: ObjectId([6; 16]) };
        let decode = |wire: InnerWire| Inner::decode(&bencode::encode(&wire));
        assert!(decode(wire(Some(body()), None)).is_ok());
        assert!(decode(wire(None, Some(place()))).is_ok());
        assert!(decode(wire(Some(body()), Some(place()))).is_err());
        assert!(decode(wire(None, None)).is_err());
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
            info: Some(PublicInfo { base: None, length: 1, piece_length: 65_536, pieces: Bytes2::from(vec![0; 20]) }),
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
        prop_oneof![place, bodies().prop_map(Value::Body)]
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

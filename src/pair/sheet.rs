//! A recovery sheet: the secret on it, the text of its QR code, what is sealed for it, and what is handed out to it.
//!
//! ```text
//! text     = "dustfs-sheet1-" | base32, lower case, no padding, of: content | checksum(4), as of an invite's text
//! content  = bencode { a: addresses, s: secret(16) }
//! key      = HKDF-SHA-256(salt "dustfs sheet 1", secret, "key"), the seed of the sheet's one key, for statements and TLS
//! parcel   = sealed as a secret of a state key (`seal::state`), which is HKDF-SHA-256(.., "parcel"), of:
//!            bencode { c: circle, e: (epoch(32) | its key(32))*, l: circle(32)*, r: seed of the root's key }
//! handout  = bencode { a: address records, m: how many handouts follow, s: statements, v: 1 }
//! ```
//! The parcel lies in the statement that admits the sheet, so every node of the circle has it, and none can open it. A
//! handout is given to who proves the sheet's key in the TLS handshake; a circle with many statements takes several, of
//! which the first begins with the founding. It is no secret, and nothing of it is believed before its parcel has opened:
//! only who printed the sheet can have sealed that, for the circle that it names.

use std::fmt;

use bytes::Bytes;
use core::net::SocketAddr;
use data_encoding::BASE32_NOPAD;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::invite::{address, check, compact};
use super::{PairError, Secret, words};
use crate::base::limits::{
    ADDRESS_MAX, CIRCLES, INVITE_ADDRESSES, INVITE_TEXT_MAX, MEMBERS, PARCEL_EPOCHS, PARCEL_MAX, STATEMENT_MAX,
    STATEMENTS, WELCOME_MAX,
};
use crate::base::{CircleId, EpochId};
use crate::seal::{MemberSecret, StateKey};
use crate::wire::record::Bytes2;
use crate::wire::statement::{Saying, SignedStatement};
use crate::wire::{WireError, bencode};

/// The secret of a recovery sheet, and where to go with it. Zeroed when dropped, and never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Sheet {
    secret: [u8; 16],
    /// Where those were who can hand out what it needs, the likeliest first. Twelve words name none.
    #[zeroize(skip)]
    pub addresses: Vec<SocketAddr>,
}

/// What follows from a sheet's secret.
#[derive(Clone, Debug)]
pub struct SheetKeys {
    /// Its one key.
    pub member: MemberSecret,
    parcel: StateKey,
}

impl Sheet {
    /// A sheet with this secret: the operating system's entropy.
    pub fn new(secret: [u8; 16], mut addresses: Vec<SocketAddr>) -> Self {
        addresses.truncate(INVITE_ADDRESSES);
        Self { secret, addresses }
    }

    /// Reads what somebody typed: the twelve words, or the text.
    pub fn parse(typed: &str) -> Result<Self, PairError> {
        let text: String = typed.chars().filter(|c| !c.is_whitespace()).take(INVITE_TEXT_MAX + 1).collect();
        let text = Zeroizing::new(text.to_ascii_uppercase());
        let Some(rest) = text.strip_prefix(NAME).filter(|_| text.len() <= INVITE_TEXT_MAX) else {
            if text.starts_with("DUSTFS") || typed.len() > INVITE_TEXT_MAX {
                return Err(PairError::NotSheet);
            }
            return Ok(Self { secret: *words::secret(typed)?, addresses: Vec::new() });
        };
        let (version, encoded) = rest.split_once('-').ok_or(PairError::SheetDamaged)?;
        match version.parse() {
            Ok(VERSION) => {}
            Ok(version) if version > VERSION => return Err(PairError::Newer(version)),
            _ => return Err(PairError::NotSheet),
        }
        let bytes = BASE32_NOPAD.decode(encoded.as_bytes()).map_err(|_| PairError::SheetDamaged)?;
        let bytes = Zeroizing::new(bytes);
        let (content, checksum) = bytes.split_last_chunk().ok_or(PairError::SheetDamaged)?;
        if *checksum != check(content) {
            return Err(PairError::SheetDamaged);
        }
        Self::decode(content)
    }

    fn decode(content: &[u8]) -> Result<Self, PairError> {
        let refuse = |why: &str| PairError::Message(WireError::Malformed(WHAT, why.into()));
        let mut content: Content = bencode::decode(WHAT, content, INVITE_TEXT_MAX)?;
        over("a sheet's addresses", content.addresses.len(), INVITE_ADDRESSES)?;
        let addresses = content.addresses.iter().map(|bytes| address(bytes)).collect::<Option<_>>();
        let secret = content.secret[..].try_into();
        content.secret.zeroize();
        Ok(Self {
            secret: secret.map_err(|_| refuse("its secret is not 16 bytes"))?,
            addresses: addresses.ok_or_else(|| refuse("it has an address that is none"))?,
        })
    }

    /// The twelve words.
    pub fn words(&self) -> Zeroizing<String> {
        words::words(&self.secret)
    }

    /// The text, on one line: the words' secret with the addresses.
    pub fn text(&self) -> Zeroizing<String> {
        let mut content = Content {
            addresses: self.addresses.iter().map(|at| Bytes2::from(compact(at))).collect(),
            secret: Bytes2::from(&self.secret[..]),
        };
        let mut bytes = Zeroizing::new(bencode::encode(&content));
        content.secret.zeroize();
        let checksum = check(&bytes);
        bytes.extend_from_slice(&checksum);
        Zeroizing::new(format!("{NAME}{VERSION}-{}", BASE32_NOPAD.encode(&bytes)).to_lowercase())
    }

    /// What follows from the secret.
    pub fn keys(&self) -> SheetKeys {
        let derive = |label: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            Hkdf::<Sha256>::new(Some(SALT), &self.secret).expand(label, &mut key[..]).expect("HKDF gives 32 bytes");
            *key
        };
        SheetKeys { member: MemberSecret::from_seed(derive(b"key")), parcel: StateKey::new(derive(b"parcel")) }
    }
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sheet").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What a box that takes the place of a sheet needs of one circle, beside the roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    /// The circle: its id is the hash of its founding, so all that a handout says is held against it.
    pub circle: CircleId,
    /// All circles that the sheet is for, this one too.
    pub all: Vec<CircleId>,
    /// The seed of the root's key.
    pub root_secret: Secret,
    /// Keys of the epochs up to the printing. Those of later ones are sealed to the sheet's key.
    pub epochs: Vec<(EpochId, Secret)>,
}

#[derive(Serialize, Deserialize)]
struct ParcelWire {
    #[serde(rename = "c")]
    circle: CircleId,
    #[serde(rename = "e", default)]
    epochs: Bytes2,
    #[serde(rename = "l")]
    all: Vec<CircleId>,
    #[serde(rename = "r")]
    root_secret: Bytes2,
}

impl Drop for ParcelWire {
    fn drop(&mut self) {
        self.epochs.zeroize();
        self.root_secret.zeroize();
    }
}

impl Parcel {
    /// Seals it for the sheet with these keys. `nonce` is fresh entropy.
    pub fn seal(&self, keys: &SheetKeys, nonce: [u8; 12]) -> Result<Vec<u8>, PairError> {
        over("a sheet's epochs", self.epochs.len(), PARCEL_EPOCHS)?;
        over("a sheet's circles", self.all.len(), CIRCLES)?;
        let mut epochs = Vec::with_capacity(self.epochs.len() * EPOCH_BYTES);
        for (epoch, key) in &self.epochs {
            epochs.extend_from_slice(&epoch.0);
            epochs.extend_from_slice(&key.0);
        }
        let wire = ParcelWire {
            circle: self.circle,
            epochs: Bytes2::from(epochs),
            all: self.all.clone(),
            root_secret: Bytes2::from(&self.root_secret.0[..]),
        };
        let plain = Zeroizing::new(bencode::encode(&wire));
        Ok(keys.parcel.seal(PARCEL, nonce, &plain))
    }

    /// Opens what was sealed.
    pub fn open(keys: &SheetKeys, sealed: &[u8]) -> Result<Self, PairError> {
        let plain = keys.parcel.open(PARCEL, sealed).map_err(|_| PairError::Parcel)?;
        let wire: ParcelWire = bencode::decode(PARCEL, &plain, PARCEL_MAX)?;
        over("a sheet's circles", wire.all.len(), CIRCLES)?;
        let (entries, rest) = wire.epochs.as_chunks::<EPOCH_BYTES>();
        over("a sheet's epochs", entries.len(), PARCEL_EPOCHS)?;
        let root_secret = wire.root_secret[..].try_into().map(Secret);
        let (Ok(root_secret), true) = (root_secret, rest.is_empty()) else {
            return Err(WireError::Malformed(PARCEL, "a key of it is not 32 bytes".into()).into());
        };
        let epochs = entries.iter().filter_map(|entry| {
            let (epoch, key) = entry.split_first_chunk::<32>()?;
            Some((EpochId::from_slice(epoch)?, Secret(key.try_into().ok()?)))
        });
        Ok(Self { circle: wire.circle, all: wire.all.clone(), root_secret, epochs: epochs.collect() })
    }
}

/// What a node hands out to a sheet of one circle, or a part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handout {
    /// The circle's signed statements, each after those that it names.
    pub statements: Vec<Bytes>,
    /// Signed address records of its nodes.
    pub addresses: Vec<Bytes>,
    /// How many others follow.
    pub more: u32,
}

#[derive(Serialize, Deserialize)]
struct HandoutWire {
    #[serde(rename = "a", default)]
    addresses: Vec<Bytes2>,
    #[serde(rename = "m")]
    more: u32,
    #[serde(rename = "s")]
    statements: Vec<Bytes2>,
    #[serde(rename = "v")]
    version: u32,
}

impl Handout {
    /// What is handed out of circles, by their statements and addresses, each in as many parts as its statements need.
    pub fn parts<I: Iterator<Item = Bytes>>(circles: impl Iterator<Item = (I, Vec<Bytes>)>) -> Vec<Self> {
        let mut parts = Vec::new();
        for (statements, addresses) in circles {
            let mut part = Self { statements: Vec::new(), addresses, more: 0 };
            let mut bytes = 0;
            for statement in statements {
                bytes += statement.len();
                if bytes > PART_BYTES {
                    bytes = statement.len();
                    let next = Self { statements: Vec::new(), addresses: Vec::new(), more: 0 };
                    parts.push(std::mem::replace(&mut part, next));
                }
                part.statements.push(statement);
            }
            parts.push(part);
        }
        let count = parts.len();
        parts.iter_mut().enumerate().for_each(|(at, part)| part.more = (count - 1 - at) as u32);
        parts
    }

    /// True for the first part of what is handed out of a circle: a founding comes before all other statements.
    pub fn begins(&self) -> bool {
        let first =
            self.statements.first().and_then(|first| SignedStatement::decode(first.clone(), |_, _, _| true).ok());
        first.is_some_and(|first| matches!(first.statement.saying, Saying::Found { .. }))
    }

    /// Adds the next part.
    pub fn join(&mut self, next: Self) -> Result<(), PairError> {
        self.statements.extend(next.statements);
        self.addresses.extend(next.addresses);
        self.more = next.more;
        over("a handout's statements", self.statements.len(), STATEMENTS)?;
        over("a handout's addresses", self.addresses.len(), MEMBERS)?;
        let bytes = self.statements.iter().map(Bytes::len).sum();
        Ok(over("the bytes of a circle's statements", bytes, HANDOUT_MAX)?)
    }

    /// The payload of the frame on channel 0.
    pub fn encode(&self) -> Result<Bytes, PairError> {
        let list = |all: &[Bytes]| all.iter().map(|bytes| Bytes2::from(&bytes[..])).collect();
        let (addresses, statements) = (list(&self.addresses), list(&self.statements));
        let bytes = bencode::encode(&HandoutWire { addresses, more: self.more, statements, version: VERSION });
        over("a handout's length in bytes", bytes.len(), WELCOME_MAX)?;
        Ok(bytes.into())
    }

    /// Reads a payload back.
    pub fn decode(payload: &[u8]) -> Result<Self, PairError> {
        let wire: HandoutWire = bencode::decode(HANDOUT, payload, WELCOME_MAX)?;
        if wire.version != VERSION {
            return Err(WireError::Version(HANDOUT, wire.version).into());
        }
        over("a handout's statements", wire.statements.len(), STATEMENTS)?;
        over("a handout's addresses", wire.addresses.len(), MEMBERS)?;
        over("the handouts that follow", wire.more as usize, PARTS)?;
        wire.statements.iter().try_for_each(|one| over("a roster statement", one.len(), STATEMENT_MAX))?;
        wire.addresses.iter().try_for_each(|one| over("an address record", one.len(), ADDRESS_MAX))?;
        let list = |all: Vec<Bytes2>| all.into_iter().map(|bytes| Bytes::from(bytes.into_vec())).collect();
        Ok(Self { statements: list(wire.statements), addresses: list(wire.addresses), more: wire.more })
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(rename = "a")]
    addresses: Vec<Bytes2>,
    #[serde(rename = "s")]
    secret: Bytes2,
}

fn over(what: &'static str, size: usize, limit: usize) -> Result<(), WireError> {
    if size > limit { Err(WireError::OverLimit(what, size, limit)) } else { Ok(()) }
}

const NAME: &str = "DUSTFS-SHEET";
const VERSION: u32 = 1;
const SALT: &[u8] = b"dustfs sheet 1";
const WHAT: &str = "the recovery sheet";
const PARCEL: &str = "a recovery sheet's parcel";
const HANDOUT: &str = "what is handed out to a recovery sheet";
const EPOCH_BYTES: usize = 64;
/// Bytes of the statements in one handout, unless it is a single one: with the addresses they fit a frame.
const PART_BYTES: usize = 1_048_576;
/// Bytes of the statements of one circle that a box takes.
const HANDOUT_MAX: usize = 16 * PART_BYTES;
/// Handouts that may follow one.
const PARTS: usize = 32 * CIRCLES;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::statement::{Device, Role, Statement};

    fn sheet() -> Sheet {
        Sheet::new([7; 16], vec!["192.0.2.7:47470".parse().unwrap(), "[2001:db8::1]:4500".parse().unwrap()])
    }

    fn parcel(epochs: usize) -> Parcel {
        let epoch = |n: usize| (EpochId::from_slice(&[n as u8; 32]).unwrap(), Secret([n as u8 ^ 0xff; 32]));
        Parcel {
            circle: CircleId([1; 32]),
            all: vec![CircleId([1; 32]); CIRCLES],
            root_secret: Secret([3; 32]),
            epochs: (0..epochs).map(epoch).collect(),
        }
    }

    #[test]
    fn a_sheet_is_read_from_its_words_and_from_its_text() {
        let sheet = sheet();
        assert_eq!(Sheet::parse(&sheet.text()), Ok(sheet.clone()));
        assert_eq!(Sheet::parse(&format!(" {}\n", sheet.text().to_uppercase())), Ok(sheet.clone()));
        let by_words = Sheet::parse(&sheet.words()).unwrap();
        assert_eq!((by_words.secret, &by_words.addresses[..]), ([7; 16], &[][..]));
        assert_eq!(by_words.keys().member.public(), sheet.keys().member.public());
        let debug = format!("{sheet:?} {:?}", sheet.keys());
        assert!(!debug.contains("secret") && !debug.contains("7, 7"), "{debug}");
    }

    #[test]
    fn other_texts_are_refused_and_told_apart() {
        let text = sheet().text();
        assert_eq!(Sheet::parse(&text.replace("sheet1", "sheet2")), Err(PairError::Newer(2)));
        assert_eq!(Sheet::parse(&text.replace("sheet1", "sheet0")), Err(PairError::NotSheet));
        assert_eq!(Sheet::parse("dustfs1-abc"), Err(PairError::NotSheet));
        assert_eq!(Sheet::parse("dustfs-sheet"), Err(PairError::SheetDamaged));
        assert_eq!(Sheet::parse(""), Err(PairError::WordCount(0)));
        assert_eq!(Sheet::parse(&"abandon ".repeat(9_999)), Err(PairError::NotSheet));
        for at in 14..text.len() {
            let mut torn = text.to_string();
            torn.replace_range(at..=at, if text[at..].starts_with('a') { "b" } else { "a" });
            assert_eq!(Sheet::parse(&torn), Err(PairError::SheetDamaged), "letter {at}");
            assert!(Sheet::parse(&text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_parcel_opens_for_its_sheet_alone_and_fits_a_statement() {
        let (keys, other) = (sheet().keys(), Sheet::new([8; 16], Vec::new()).keys());
        let parcel = parcel(PARCEL_EPOCHS);
        let sealed = parcel.seal(&keys, [9; 12]).unwrap();
        assert!(sealed.len() <= PARCEL_MAX, "{}", sealed.len());
        assert_eq!(Parcel::open(&keys, &sealed), Ok(parcel));
        assert_eq!(Parcel::open(&other, &sealed), Err(PairError::Parcel));
        assert_eq!(Parcel::open(&keys, &sealed[..sealed.len() - 1]), Err(PairError::Parcel));
        assert_eq!(Parcel::open(&keys, b""), Err(PairError::Parcel));
        assert!(super::tests::parcel(PARCEL_EPOCHS + 1).seal(&keys, [9; 12]).is_err());

        let device = Device::sheet("x".repeat(64), keys.member.public());
        let saying = Saying::Admit { device, role: Role::Keeper, parcel: Some(Bytes2::from(sealed)) };
        let heads = Vec::new();
        let author = keys.member.public();
        let statement = Statement { circle: CircleId([1; 32]), author, heads, nonce: [0; 16], saying };
        assert!(statement.sign(|_| [0; 64]).bytes.len() + 100 * 36 < STATEMENT_MAX, "with room for a hundred heads");
    }

    #[test]
    fn a_handout_comes_back_within_its_limits() {
        let handout = Handout {
            statements: vec![Bytes::from_static(b"found"), Bytes::from_static(b"admit")],
            addresses: vec![Bytes::from_static(b"here")],
            more: 3,
        };
        let payload = handout.encode().unwrap();
        assert_eq!(Handout::decode(&payload), Ok(handout.clone()));
        let newer = String::from_utf8(payload.to_vec()).unwrap().replace("1:vi1e", "1:vi2e");
        assert_eq!(Handout::decode(newer.as_bytes()), Err(WireError::Version(HANDOUT, 2).into()));
        for at in 0..payload.len() {
            assert!(Handout::decode(&payload[..at]).is_err(), "cut at {at}");
        }
        let large = Handout { statements: vec![vec![0; STATEMENT_MAX].into(); 33], ..handout.clone() };
        assert!(large.encode().is_err());
        let many = Handout { more: PARTS as u32 + 1, ..handout };
        assert!(Handout::decode(&many.encode().unwrap()).is_err());
    }

    #[test]
    fn a_large_roster_is_handed_out_in_parts() {
        let author = sheet().keys().member.public();
        let device = Device { member: author, name: "a".into(), transport: crate::base::TransportKey([1; 32]) };
        let saying = Saying::Found { name: "Friends".into(), root: Bytes2::from(&b"root"[..]), device };
        let founding = Statement { circle: CircleId([0; 32]), author, heads: Vec::new(), nonce: [0; 16], saying };
        let founding = founding.sign(|_| [0; 64]).bytes;
        let rest: Vec<Bytes> = (0..100u8).map(|n| vec![n; STATEMENT_MAX - 100].into()).collect();
        let all: Vec<Bytes> = [founding].into_iter().chain(rest).collect();
        let circle = (all.iter().cloned(), vec![vec![0; ADDRESS_MAX].into(); MEMBERS]);
        let parts = Handout::parts([circle].into_iter());
        assert_eq!(parts.iter().map(|part| part.more).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1, 0]);
        let mut parts = parts.iter().map(|part| Handout::decode(&part.encode().unwrap()).unwrap());
        let mut whole = parts.next().unwrap();
        assert!(whole.begins());
        for part in parts {
            assert!(!part.begins());
            whole.join(part).unwrap();
        }
        assert_eq!((whole.statements, whole.addresses.len(), whole.more), (all.clone(), MEMBERS, 0));
        // Who sends no end of them is not listened to for ever.
        let mut endless = Handout { statements: all.clone(), addresses: Vec::new(), more: 1 };
        let next = endless.clone();
        assert!((0..3).any(|_| endless.join(next.clone()).is_err()));
    }

    proptest! {
        #[test]
        fn garbage_is_refused(bytes: Vec<u8>, text: String) {
            prop_assert!(Handout::decode(&bytes).is_err());
            prop_assert!(Parcel::open(&sheet().keys(), &bytes).is_err());
            let _ = Sheet::parse(&text);
            let _ = Sheet::parse(&format!("dustfs-sheet1-{text}"));
        }
    }
}

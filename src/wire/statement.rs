//! A roster statement: one signed sentence about who is in a circle.
//!
//! ```text
//! signed = bencode { b: body, s: Ed25519 over "dustfs statement 1\0" | body }
//! body   = bencode { v: 1, c: circle, a: author, h: heads that the author saw, n: nonce(16), one of
//!                    f: found, m: admit, o: role, x: remove, e: epoch }
//! ```
//! A circle's id is the hash of the statement that founded it, in which `c` is all zeros.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::Bytes2;
use super::{WireError, bencode};
use crate::base::limits::{CHAINS, LABEL_MAX, MEMBERS, PARCEL_MAX, STATEMENT_MAX, STATEMENTS};
use crate::base::{CircleId, CommitHash, DeviceId, MemberKey, StatementHash, TransportKey};

const DOMAIN: &[u8] = b"dustfs statement 1\0";

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Stores and serves ciphertext; reads nothing.
    Cache,
    /// Reads.
    Reader,
    /// Reads and writes.
    Member,
    /// A member that invites and removes.
    Keeper,
}

impl Role {
    /// The role's word.
    pub fn word(self) -> &'static str {
        match self {
            Role::Cache => "cache",
            Role::Reader => "reader",
            Role::Member => "member",
            Role::Keeper => "keeper",
        }
    }

    /// The role with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Role::Cache, Role::Reader, Role::Member, Role::Keeper].into_iter().find(|role| role.word() == word)
    }

    /// May author commits.
    pub fn writes(self) -> bool {
        self >= Role::Member
    }

    /// Is given epoch keys.
    pub fn reads(self) -> bool {
        self >= Role::Reader
    }
}

/// A node's two public keys and its name for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Signs commits and statements.
    #[serde(rename = "m")]
    pub member: MemberKey,
    /// Shown by people's pages; up to 64 bytes, no control characters.
    #[serde(rename = "n")]
    pub name: String,
    /// The TLS key.
    #[serde(rename = "t")]
    pub transport: TransportKey,
}

impl Device {
    /// SHA-256 of both keys.
    pub fn id(&self) -> DeviceId {
        DeviceId(Sha256::new().chain_update(self.transport.0).chain_update(self.member.0).finalize().into())
    }

    /// A stock client with this key: it has no other, by which the roster tells it from a node.
    pub fn guest(name: String, key: TransportKey) -> Self {
        Self { member: MemberKey(key.0), name, transport: key }
    }

    /// A recovery sheet with this key: it has no other either, and is admitted as keeper, which no stock client is.
    pub fn sheet(name: String, key: MemberKey) -> Self {
        Self { member: key, name, transport: TransportKey(key.0) }
    }

    /// True for what is no node: a stock client, or a recovery sheet.
    pub fn is_guest(&self) -> bool {
        self.member.0 == self.transport.0
    }
}

/// Checks a name for people: 1 to 64 bytes, no control characters, no `/`, and neither `.` nor `..`.
pub fn check_label(label: &str) -> Result<(), WireError> {
    if label.is_empty() || label.len() > LABEL_MAX {
        return Err(WireError::OverLimit("a name's length in bytes", label.len(), LABEL_MAX));
    }
    if label.chars().any(|c| c.is_control() || c == '/') || matches!(label, "." | "..") {
        return Err(WireError::Malformed("a name", "it has a control character or '/', or is '.' or '..'".into()));
    }
    Ok(())
}

/// The last accepted commit of a removed author's chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// Its hash.
    #[serde(rename = "h")]
    pub hash: CommitHash,
    /// The chain.
    #[serde(rename = "i")]
    pub incarnation: u32,
    /// Its sequence.
    #[serde(rename = "q")]
    pub sequence: u64,
}

/// The epoch key, sealed to one member key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyFor {
    /// For whom.
    #[serde(rename = "m")]
    pub member: MemberKey,
    /// `seal::envelope`.
    #[serde(rename = "s")]
    pub sealed: Bytes2,
}

/// What a statement says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Saying {
    /// A circle begins: its name, its root certificate (DER) and its first keeper.
    Found {
        /// Shown as the circle's directory.
        name: String,
        /// Self-signed root certificate.
        root: Bytes2,
        /// The founder, a keeper.
        device: Device,
    },
    /// A device joins.
    Admit {
        /// Who.
        device: Device,
        /// As what.
        role: Role,
        /// Of a recovery sheet: what a box that takes its place needs, sealed so that the sheet alone opens it.
        parcel: Option<Bytes2>,
    },
    /// A member's role changes; on a demotion `cuts` are the last accepted commits.
    Role {
        /// Whose.
        member: MemberKey,
        /// To what.
        role: Role,
        /// One per chain; chains not named are cut before their first commit.
        cuts: Vec<Cut>,
    },
    /// A member key is removed for ever.
    Remove {
        /// Whose.
        member: MemberKey,
        /// One per chain; chains not named are cut before their first commit.
        cuts: Vec<Cut>,
    },
    /// A fresh circle key.
    Epoch {
        /// One more than the greatest that the author knew.
        number: u64,
        /// Chunk cipher: 1 AES-256-GCM, 2 ChaCha20-Poly1305.
        suite: u8,
        /// One for each member that reads.
        keys: Vec<KeyFor>,
    },
    /// A mass change is known to be meant, or was undone: what a chain's commits replaced need not be held back.
    Release {
        /// Whose chain.
        member: MemberKey,
        /// Which of them.
        incarnation: u32,
        /// From this commit on.
        from: u64,
        /// Up to this one.
        sequence: u64,
    },
}

/// A statement's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The circle; all zeros in the founding statement.
    pub circle: CircleId,
    /// Who says it.
    pub author: MemberKey,
    /// The statements without successors that the author knew, in order.
    pub heads: Vec<StatementHash>,
    /// Makes equal sayings differ.
    pub nonce: [u8; 16],
    /// What.
    pub saying: Saying,
}

/// A statement with the bytes that were signed and hashed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedStatement {
    /// The content.
    pub statement: Statement,
    /// The whole, as stored and sent.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`.
    pub hash: StatementHash,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "b")]
    body: Bytes2,
    #[serde(rename = "s")]
    signature: Bytes2,
}

#[derive(Serialize, Deserialize)]
struct StatementWire {
    #[serde(rename = "a")]
    author: MemberKey,
    #[serde(rename = "c")]
    circle: CircleId,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    epoch: Option<EpochWire>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    found: Option<FoundWire>,
    #[serde(rename = "h", default)]
    heads: Vec<StatementHash>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    admit: Option<AdmitWire>,
    #[serde(rename = "n")]
    nonce: Bytes2,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    role: Option<RoleWire>,
    #[serde(rename = "v")]
    version: u32,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    remove: Option<RemoveWire>,
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    release: Option<ReleaseWire>,
}

#[derive(Serialize, Deserialize)]
struct FoundWire {
    #[serde(rename = "d")]
    device: Device,
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "r")]
    root: Bytes2,
}

#[derive(Serialize, Deserialize)]
struct AdmitWire {
    #[serde(rename = "d")]
    device: Device,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    parcel: Option<Bytes2>,
    #[serde(rename = "r")]
    role: String,
}

#[derive(Serialize, Deserialize)]
struct RoleWire {
    #[serde(rename = "m")]
    member: MemberKey,
    #[serde(rename = "r")]
    role: String,
    #[serde(rename = "u", default)]
    cuts: Vec<Cut>,
}

#[derive(Serialize, Deserialize)]
struct RemoveWire {
    #[serde(rename = "m")]
    member: MemberKey,
    #[serde(rename = "u", default)]
    cuts: Vec<Cut>,
}

#[derive(Serialize, Deserialize)]
struct ReleaseWire {
    #[serde(rename = "f")]
    from: u64,
    #[serde(rename = "i")]
    incarnation: u32,
    #[serde(rename = "m")]
    member: MemberKey,
    #[serde(rename = "q")]
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct EpochWire {
    #[serde(rename = "k")]
    keys: Vec<KeyFor>,
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "s")]
    suite: u8,
}

impl Statement {
    /// Signs with `sign`, which is given the bytes to be signed.
    pub fn sign(self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> SignedStatement {
        let mut wire = StatementWire {
            version: 1,
            circle: self.circle,
            author: self.author,
            heads: self.heads.clone(),
            nonce: Bytes2::from(&self.nonce[..]),
            found: None,
            admit: None,
            role: None,
            remove: None,
            epoch: None,
            release: None,
        };
        match self.saying.clone() {
            Saying::Found { name, root, device } => wire.found = Some(FoundWire { name, root, device }),
            Saying::Admit { device, role, parcel } => {
                wire.admit = Some(AdmitWire { device, parcel, role: role.word().into() });
            }
            Saying::Role { member, role, cuts } => {
                wire.role = Some(RoleWire { member, role: role.word().into(), cuts });
            }
            Saying::Remove { member, cuts } => wire.remove = Some(RemoveWire { member, cuts }),
            Saying::Epoch { number, suite, keys } => wire.epoch = Some(EpochWire { number, suite, keys }),
            Saying::Release { member, incarnation, from, sequence } => {
                wire.release = Some(ReleaseWire { from, incarnation, member, sequence });
            }
        }
        let body = bencode::encode(&wire);
        let signature = sign(&[DOMAIN, &body].concat());
        let envelope = Envelope { body: Bytes2::from(body), signature: Bytes2::from(&signature[..]) };
        let bytes: Bytes = bencode::encode(&envelope).into();
        SignedStatement { statement: self, hash: StatementHash(Sha256::digest(&bytes).into()), bytes }
    }
}

impl SignedStatement {
    /// Decodes and checks form, limits and signature; `verify` as for commits.
    pub fn decode(bytes: Bytes, verify: impl FnOnce(&MemberKey, &[u8], &[u8; 64]) -> bool) -> Result<Self, WireError> {
        const WHAT: &str = "a roster statement";
        let refuse = |why: &str| Err(WireError::Malformed(WHAT, why.into()));
        let envelope: Envelope = bencode::decode(WHAT, &bytes, STATEMENT_MAX)?;
        // Whoever passes it on could otherwise change its hash, and so fork a chain that is not theirs.
        if bencode::encode(&envelope) != bytes {
            return refuse("it has more than a body and a signature");
        }
        let wire: StatementWire = bencode::decode(WHAT, &envelope.body, STATEMENT_MAX)?;
        if wire.version != 1 {
            return Err(WireError::Version(WHAT, wire.version));
        }
        if wire.heads.len() > STATEMENTS {
            return Err(WireError::OverLimit("a statement's heads", wire.heads.len(), STATEMENTS));
        }
        let Ok(nonce) = <[u8; 16]>::try_from(wire.nonce.as_ref() as &[u8]) else {
            return refuse("its nonce is not 16 bytes");
        };
        let Ok(signature) = <&[u8; 64]>::try_from(envelope.signature.as_ref() as &[u8]) else {
            return refuse("its signature is not 64 bytes");
        };
        if !verify(&wire.author, &[DOMAIN, &envelope.body].concat(), signature) {
            return Err(WireError::Signature(WHAT));
        }
        let role = |word: &str| {
            Role::from_word(word).ok_or_else(|| WireError::Malformed(WHAT, "it names an unknown role".into()))
        };
        let saying = match (wire.found, wire.admit, wire.role, wire.remove, wire.epoch, wire.release) {
            (Some(found), None, None, None, None, None) => {
                check_label(&found.name)?;
                check_label(&found.device.name)?;
                Saying::Found { name: found.name, root: found.root, device: found.device }
            }
            (None, Some(admit), None, None, None, None) => {
                check_label(&admit.device.name)?;
                let length = admit.parcel.as_ref().map_or(0, |parcel| parcel.len());
                if length > PARCEL_MAX {
                    return Err(WireError::OverLimit("a parcel's length in bytes", length, PARCEL_MAX));
                }
                Saying::Admit { device: admit.device, role: role(&admit.role)?, parcel: admit.parcel }
            }
            (None, None, Some(change), None, None, None) => {
                check_count(change.cuts.len(), CHAINS)?;
                Saying::Role { member: change.member, role: role(&change.role)?, cuts: change.cuts }
            }
            (None, None, None, Some(remove), None, None) => {
                check_count(remove.cuts.len(), CHAINS)?;
                Saying::Remove { member: remove.member, cuts: remove.cuts }
            }
            (None, None, None, None, Some(epoch), None) => {
                check_count(epoch.keys.len(), MEMBERS)?;
                if !matches!(epoch.suite, 1 | 2) {
                    return Err(WireError::Version("an epoch's suite", epoch.suite.into()));
                }
                Saying::Epoch { number: epoch.number, suite: epoch.suite, keys: epoch.keys }
            }
            (None, None, None, None, None, Some(ReleaseWire { from, incarnation, member, sequence })) => {
                Saying::Release { member, incarnation, from, sequence }
            }
            _ => return refuse("it must say one thing"),
        };
        let statement = Statement { circle: wire.circle, author: wire.author, heads: wire.heads, nonce, saying };
        Ok(SignedStatement { statement, hash: StatementHash(Sha256::digest(&bytes).into()), bytes })
    }
}

fn check_count(count: usize, limit: usize) -> Result<(), WireError> {
    if count > limit { Err(WireError::OverLimit("a statement's list", count, limit)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stand-in for signatures: as good as one here, since only equality matters.
    fn sign(message: &[u8]) -> [u8; 64] {
        let hash: [u8; 32] = Sha256::digest(message).into();
        [hash, hash].concat().try_into().unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<SignedStatement, WireError> {
        let verify = |_: &MemberKey, message: &[u8], signature: &[u8; 64]| sign(message) == *signature;
        SignedStatement::decode(Bytes::copy_from_slice(bytes), verify)
    }

    fn device(name: &str) -> Device {
        Device { member: MemberKey([1; 32]), name: name.into(), transport: TransportKey([2; 32]) }
    }

    fn cut(incarnation: u32) -> Cut {
        Cut { hash: CommitHash([3; 32]), incarnation, sequence: 4 }
    }

    fn statement(saying: Saying) -> Statement {
        Statement {
            circle: CircleId([5; 32]),
            author: MemberKey([6; 32]),
            heads: vec![StatementHash([7; 32]), StatementHash([8; 32])],
            nonce: [9; 16],
            saying,
        }
    }

    fn sayings() -> Vec<Saying> {
        let key = |member| KeyFor { member: MemberKey([member; 32]), sealed: Bytes2::from(vec![member; 80]) };
        vec![
            Saying::Found { name: "Friends".into(), root: Bytes2::from(vec![10; 300]), device: device("Ada's box") },
            Saying::Admit { device: device("ü"), role: Role::Cache, parcel: None },
            Saying::Admit { device: device("box"), role: Role::Keeper, parcel: Some(Bytes2::from(vec![11; 200])) },
            Saying::Role { member: MemberKey([1; 32]), role: Role::Reader, cuts: vec![cut(0), cut(1)] },
            Saying::Remove { member: MemberKey([1; 32]), cuts: vec![] },
            Saying::Epoch { number: 1, suite: 2, keys: vec![key(1), key(2)] },
            Saying::Release { member: MemberKey([1; 32]), incarnation: 2, from: 3, sequence: 4 },
        ]
    }

    /// Decodes a statement with its encoded content changed, and signed all the same.
    fn changed(saying: Saying, change: impl FnOnce(&mut StatementWire)) -> Result<SignedStatement, WireError> {
        let envelope: Envelope = bencode::decode("x", &statement(saying).sign(sign).bytes, STATEMENT_MAX).unwrap();
        let mut wire: StatementWire = bencode::decode("x", &envelope.body, STATEMENT_MAX).unwrap();
        change(&mut wire);
        let body = bencode::encode(&wire);
        let signature = Bytes2::from(&sign(&[DOMAIN, &body].concat())[..]);
        decode(&bencode::encode(&Envelope { body: Bytes2::from(body), signature }))
    }

    fn admit() -> Saying {
        Saying::Admit { device: device("box"), role: Role::Member, parcel: None }
    }

    #[test]
    fn every_saying_comes_back_and_no_byte_can_be_changed() {
        for saying in sayings() {
            let signed = statement(saying).sign(sign);
            assert_eq!(signed.hash.0, <[u8; 32]>::from(Sha256::digest(&signed.bytes)));
            for at in 0..signed.bytes.len() {
                let mut torn = signed.bytes.to_vec();
                torn[at] ^= 1;
                assert!(decode(&torn).is_err(), "byte {at} of {:?}", signed.statement.saying);
                assert!(decode(&signed.bytes[..at]).is_err(), "cut at {at}");
            }
            assert_eq!(decode(&signed.bytes), Ok(signed));
        }
    }

    /// A cache could add a key to the envelope: the signature held, the hash was another, and the chain was forked.
    #[test]
    fn the_signed_bytes_have_one_form() {
        let bytes = statement(admit()).sign(sign).bytes;
        let more = [&bytes[..bytes.len() - 1], b"1:zi1ee"].concat();
        let zero = [b"d01:b", &bytes[4..]].concat();
        for other in [more, zero] {
            assert!(matches!(decode(&other), Err(WireError::Malformed(..))), "{}", String::from_utf8_lossy(&other));
        }
    }

    #[test]
    fn the_author_is_asked_about_the_domain_and_the_body() {
        let signed = statement(admit()).sign(|message| {
            assert!(message.starts_with(b"dustfs statement 1\0d1:a32:"));
            sign(message)
        });
        let refused = SignedStatement::decode(signed.bytes, |author, _, _| {
            assert_eq!(*author, MemberKey([6; 32]));
            false
        });
        assert_eq!(refused, Err(WireError::Signature("a roster statement")));
    }

    #[test]
    fn a_statement_says_one_thing() {
        let remove = || Some(RemoveWire { member: MemberKey([1; 32]), cuts: vec![] });
        assert!(changed(admit(), |_| {}).is_ok());
        assert!(changed(admit(), |wire| wire.remove = remove()).is_err());
        assert!(changed(admit(), |wire| wire.admit = None).is_err());
        assert!(changed(admit(), |wire| (wire.admit, wire.remove) = (None, remove())).is_ok());
    }

    #[test]
    fn what_this_node_does_not_know_is_refused() {
        let unknown = |role: &str| {
            let role = role.to_owned();
            changed(admit(), move |wire| wire.admit.as_mut().unwrap().role = role)
        };
        assert!(unknown("keeper").is_ok());
        for role in ["", "Keeper", "owner", "keeper\0"] {
            assert!(matches!(unknown(role), Err(WireError::Malformed(..))), "{role:?}");
        }
        assert_eq!(changed(admit(), |wire| wire.version = 2), Err(WireError::Version("a roster statement", 2)));
        let epoch = |suite| changed(sayings().remove(5), move |wire| wire.epoch.as_mut().unwrap().suite = suite);
        assert!(epoch(1).is_ok());
        assert_eq!(epoch(0), Err(WireError::Version("an epoch's suite", 0)));
        assert_eq!(epoch(3), Err(WireError::Version("an epoch's suite", 3)));
        assert!(changed(admit(), |wire| wire.nonce.truncate(15)).is_err());
        let mut envelope: Envelope = bencode::decode("x", &statement(admit()).sign(sign).bytes, STATEMENT_MAX).unwrap();
        envelope.signature.pop();
        assert!(matches!(decode(&bencode::encode(&envelope)), Err(WireError::Malformed(..))));
    }

    #[test]
    fn names_for_people_are_checked_wherever_they_stand() {
        let long = "x".repeat(LABEL_MAX + 1);
        for bad in ["", ".", "..", "a/b", "a\nb", "\u{1b}[2J", "\0", "\u{85}", &long] {
            assert!(check_label(bad).is_err(), "{bad:?}");
            let found = |name: &str, device_name: &str| Saying::Found {
                name: name.into(),
                root: Bytes2::new(),
                device: device(device_name),
            };
            let admit = Saying::Admit { device: device(bad), role: Role::Member, parcel: None };
            for saying in [found(bad, "box"), found("Friends", bad), admit] {
                assert!(decode(&statement(saying).sign(sign).bytes).is_err(), "{bad:?}");
            }
        }
        for good in ["Ada", "Ada's box", "...", "家", &long[1..]] {
            assert_eq!(check_label(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn lists_are_held_to_their_limits() {
        let over = |saying| decode(&statement(saying).sign(sign).bytes);
        let keys = |count: usize| {
            let key = KeyFor { member: MemberKey([1; 32]), sealed: Bytes2::from(vec![0; 80]) };
            Saying::Epoch { number: 1, suite: 1, keys: vec![key; count] }
        };
        assert!(over(keys(MEMBERS)).is_ok(), "an epoch for the largest circle fits a statement");
        assert_eq!(over(keys(MEMBERS + 1)), Err(WireError::OverLimit("a statement's list", MEMBERS + 1, MEMBERS)));
        let cuts = vec![cut(0); CHAINS + 1];
        assert!(matches!(over(Saying::Remove { member: MemberKey([1; 32]), cuts }), Err(WireError::OverLimit(..))));
        let parcel = |length: usize| {
            let (device, role) = (device("sheet"), Role::Keeper);
            Saying::Admit { device, role, parcel: Some(Bytes2::from(vec![0; length])) }
        };
        assert!(over(parcel(PARCEL_MAX)).is_ok());
        assert!(matches!(over(parcel(PARCEL_MAX + 1)), Err(WireError::OverLimit("a parcel's length in bytes", ..))));
        let long = decode(&vec![b'd'; STATEMENT_MAX + 1]);
        assert_eq!(long, Err(WireError::OverLimit("a roster statement", STATEMENT_MAX + 1, STATEMENT_MAX)));
    }

    #[test]
    fn roles_are_in_the_order_of_their_rights() {
        let roles = [Role::Cache, Role::Reader, Role::Member, Role::Keeper];
        assert!(roles.is_sorted());
        assert_eq!(roles.map(Role::writes), [false, false, true, true]);
        assert_eq!(roles.map(Role::reads), [false, true, true, true]);
        assert_eq!(roles.map(|role| Role::from_word(role.word())), roles.map(Some));
        assert_ne!(device("a").id(), Device { member: MemberKey([2; 32]), ..device("a") }.id());
        assert_eq!(device("a").id(), device("b").id(), "a name is not identity");
    }

    proptest! {
        #[test]
        fn garbage_is_refused(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SignedStatement::decode(garbage.into(), |_, _, _| true).is_err());
        }

        #[test]
        fn torn_statements_never_panic(saying in proptest::sample::select(sayings()), at: prop::sample::Index, to: u8) {
            let mut torn = statement(saying).sign(sign).bytes.to_vec();
            let at = at.index(torn.len());
            torn[at] = to;
            let _ = SignedStatement::decode(torn.into(), |_, _, _| true);
        }
    }
}

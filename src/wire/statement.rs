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
use crate::base::limits::{CHAINS, LABEL_MAX, MEMBERS, STATEMENT_MAX, STATEMENTS};
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
        };
        match self.saying.clone() {
            Saying::Found { name, root, device } => wire.found = Some(FoundWire { name, root, device }),
            Saying::Admit { device, role } => wire.admit = Some(AdmitWire { device, role: role.word().into() }),
            Saying::Role { member, role, cuts } => {
                wire.role = Some(RoleWire { member, role: role.word().into(), cuts });
            }
            Saying::Remove { member, cuts } => wire.remove = Some(RemoveWire { member, cuts }),
            Saying::Epoch { number, suite, keys } => wire.epoch = Some(EpochWire { number, suite, keys }),
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
        let saying = match (wire.found, wire.admit, wire.role, wire.remove, wire.epoch) {
            (Some(found), None, None, None, None) => {
                check_label(&found.name)?;
                check_label(&found.device.name)?;
                Saying::Found { name: found.name, root: found.root, device: found.device }
            }
            (None, Some(admit), None, None, None) => {
                check_label(&admit.device.name)?;
                Saying::Admit { device: admit.device, role: role(&admit.role)? }
            }
            (None, None, Some(change), None, None) => {
                check_count(change.cuts.len(), CHAINS)?;
                Saying::Role { member: change.member, role: role(&change.role)?, cuts: change.cuts }
            }
            (None, None, None, Some(remove), None) => {
                check_count(remove.cuts.len(), CHAINS)?;
                Saying::Remove { member: remove.member, cuts: remove.cuts }
            }
            (None, None, None, None, Some(epoch)) => {
                check_count(epoch.keys.len(), MEMBERS)?;
                if !matches!(epoch.suite, 1 | 2) {
                    return Err(WireError::Version("an epoch's suite", epoch.suite.into()));
                }
                Saying::Epoch { number: epoch.number, suite: epoch.suite, keys: epoch.keys }
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

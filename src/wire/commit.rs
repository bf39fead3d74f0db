//! A commit: the signed list of the records that one author made together, chained by hash to the author's last.
//!
//! ```text
//! signed = bencode { b: body, s: Ed25519 over "dustfs commit 1\0" | body }
//! body   = bencode { v: 1, c: circle, a: author, i: incarnation, q: sequence, p: previous, l: Lamport time, d: dependencies,
//!                    r: (record hash(32) | register tag(16))*, w: wall time }
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{Bytes2, Chain, Dot};
use super::{WireError, bencode};
use crate::base::limits::{CHAINS, COMMIT_MAX, COMMIT_RECORDS};
use crate::base::{CircleId, CommitHash, MemberKey, RecordHash, RegisterTag, WallTime};

/// What the signature of a commit covers besides its body.
const DOMAIN: &[u8] = b"dustfs commit 1\0";

/// One line of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The record.
    pub record: RecordHash,
    /// Its register, keyed: equal tags are versions of one register.
    pub tag: RegisterTag,
}

/// A commit's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The circle.
    pub circle: CircleId,
    /// Author, incarnation and sequence; also the dot of every record in it.
    pub dot: Dot,
    /// The author's commit before this one in the chain.
    pub previous: CommitHash,
    /// One more than the greatest Lamport time that the chain had seen.
    pub lamport: u64,
    /// What else the author had applied: only chains that moved since the previous commit, own chain left out.
    pub deps: Vec<Dot>,
    /// The author's clock, for people.
    pub wall: WallTime,
    /// The records, at most one per register.
    pub entries: Vec<Entry>,
}

/// A commit with the bytes that were signed and hashed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedCommit {
    /// The content.
    pub commit: Commit,
    /// The whole, as stored and sent.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`.
    pub hash: CommitHash,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "b")]
    body: Bytes2,
    #[serde(rename = "s")]
    signature: Bytes2,
}

#[derive(Serialize, Deserialize)]
struct CommitWire {
    #[serde(rename = "a")]
    author: MemberKey,
    #[serde(rename = "c")]
    circle: CircleId,
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    deps: Vec<Dot>,
    #[serde(rename = "i")]
    incarnation: u32,
    #[serde(rename = "l")]
    lamport: u64,
    #[serde(rename = "p")]
    previous: CommitHash,
    #[serde(rename = "q")]
    sequence: u64,
    #[serde(rename = "r")]
    entries: Bytes2,
    #[serde(rename = "v")]
    version: u32,
    #[serde(rename = "w")]
    wall: i64,
}

const ENTRY: usize = RecordHash::LENGTH + RegisterTag::LENGTH;

impl Commit {
    /// The chain that this commit is in.
    pub fn chain(&self) -> Chain {
        self.dot.chain()
    }

    /// Signs with `sign`, which is given the bytes to be signed.
    pub fn sign(self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> SignedCommit {
        let mut entries = Vec::with_capacity(self.entries.len() * ENTRY);
        for entry in &self.entries {
            entries.extend_from_slice(&entry.record.0);
            entries.extend_from_slice(&entry.tag.0);
        }
        let body = bencode::encode(&CommitWire {
            version: 1,
            circle: self.circle,
            author: self.dot.author,
            incarnation: self.dot.incarnation,
            sequence: self.dot.sequence,
            previous: self.previous,
            lamport: self.lamport,
            deps: self.deps.clone(),
            wall: self.wall.0,
            entries: Bytes2::from(entries),
        });
        let signature = sign(&[DOMAIN, &body].concat());
        let envelope = Envelope { body: Bytes2::from(body), signature: Bytes2::from(&signature[..]) };
        let bytes: Bytes = bencode::encode(&envelope).into();
        SignedCommit { commit: self, hash: CommitHash(Sha256::digest(&bytes).into()), bytes }
    }
}

impl SignedCommit {
    /// Decodes and checks form, limits and signature: `verify` is given the author, the signed bytes and the
    /// signature. Bytes from our own ledger were verified when they came, and may pass `|_, _, _| true`.
    pub fn decode(bytes: Bytes, verify: impl FnOnce(&MemberKey, &[u8], &[u8; 64]) -> bool) -> Result<Self, WireError> {
        let envelope: Envelope = bencode::decode("a commit", &bytes, COMMIT_MAX)?;
        let wire: CommitWire = bencode::decode("a commit", &envelope.body, COMMIT_MAX)?;
        let refuse = |why: &str| Err(WireError::Malformed("a commit", why.into()));
        if wire.version != 1 {
            return Err(WireError::Version("a commit", wire.version));
        }
        if !wire.entries.len().is_multiple_of(ENTRY) {
            return refuse("its list of records has a broken length");
        }
        if wire.entries.len() / ENTRY > COMMIT_RECORDS {
            return Err(WireError::OverLimit("a commit's records", wire.entries.len() / ENTRY, COMMIT_RECORDS));
        }
        if wire.deps.len() > CHAINS {
            return Err(WireError::OverLimit("a commit's dependencies", wire.deps.len(), CHAINS));
        }
        if wire.sequence == 0 || wire.lamport == 0 {
            return refuse("its sequence and Lamport time start at 1");
        }
        if (wire.sequence == 1) != (wire.previous == CommitHash::NONE) {
            return refuse("only the first of a chain has no predecessor");
        }
        let Ok(signature) = <&[u8; 64]>::try_from(envelope.signature.as_ref() as &[u8]) else {
            return refuse("its signature is not 64 bytes");
        };
        if !verify(&wire.author, &[DOMAIN, &envelope.body].concat(), signature) {
            return Err(WireError::Signature("a commit"));
        }
        let entries: Vec<Entry> = wire
            .entries
            .chunks_exact(ENTRY)
            .map(|line| {
                let (record, tag) = line.split_at(RecordHash::LENGTH);
                Entry {
                    record: RecordHash::from_slice(record).expect("split at its length"),
                    tag: RegisterTag::from_slice(tag).expect("the rest of the line"),
                }
            })
            .collect();
        let tags: BTreeSet<RegisterTag> = entries.iter().map(|entry| entry.tag).collect();
        if tags.len() < entries.len() {
            return refuse("two of its records are of one register");
        }
        let commit = Commit {
            circle: wire.circle,
            dot: Dot { author: wire.author, incarnation: wire.incarnation, sequence: wire.sequence },
            previous: wire.previous,
            lamport: wire.lamport,
            deps: wire.deps,
            wall: WallTime(wire.wall),
            entries,
        };
        Ok(SignedCommit { commit, hash: CommitHash(Sha256::digest(&bytes).into()), bytes })
    }
}

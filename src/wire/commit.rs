//! A commit: the signed list of the records that one author made together, chained by hash to the author's last.
//!
//! ```text
//! signed = bencode { b: body, s: Ed25519 over "dustfs commit 1\0" | body }
//! body   = bencode { v: 1, c: circle, a: author, i: incarnation, q: sequence, p: previous, l: Lamport time, d: dependencies,
//!                    r: (record hash(32) | register tag(16))*, w: wall time, f?: [{ h: hash, i: incarnation, q: sequence }] }
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{Bytes2, Chain, Dot};
use super::{WireError, bencode};
use crate::base::limits::{CHAINS, COMMIT_MAX, COMMIT_RECORDS, INCARNATIONS};
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

/// What an author says of an earlier chain of its own that has two histories: after it was set back to an older state it
/// wrote other commits under numbers that were taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Branch {
    /// The commit of that number that counts; [`CommitHash::NONE`] says that the chain ends before it.
    #[serde(rename = "h")]
    pub hash: CommitHash,
    /// Which chain of the author's.
    #[serde(rename = "i")]
    pub incarnation: u32,
    /// The first number of which there are two commits.
    #[serde(rename = "q")]
    pub sequence: u64,
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
    /// What counts of earlier chains of the author's; mostly nothing.
    pub branches: Vec<Branch>,
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
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    branches: Vec<Branch>,
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
            branches: self.branches.clone(),
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
        let refuse = |why: &str| Err(WireError::Malformed("a commit", why.into()));
        let envelope: Envelope = bencode::decode("a commit", &bytes, COMMIT_MAX)?;
        // Whoever passes it on could otherwise change its hash, and so fork a chain that is not theirs.
        if bencode::encode(&envelope) != bytes {
            return refuse("it has more than a body and a signature");
        }
        let wire: CommitWire = bencode::decode("a commit", &envelope.body, COMMIT_MAX)?;
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
        if wire.branches.len() > INCARNATIONS {
            return Err(WireError::OverLimit("a commit's branches", wire.branches.len(), INCARNATIONS));
        }
        if wire.branches.iter().any(|branch| branch.incarnation == wire.incarnation || branch.sequence == 0) {
            return refuse("it speaks of its own chain, or of a commit 0");
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
            branches: wire.branches,
        };
        Ok(SignedCommit { commit, hash: CommitHash(Sha256::digest(&bytes).into()), bytes })
    }
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

    fn verify(_: &MemberKey, message: &[u8], signature: &[u8; 64]) -> bool {
        sign(message) == *signature
    }

    fn decode(bytes: &[u8]) -> Result<SignedCommit, WireError> {
        SignedCommit::decode(Bytes::copy_from_slice(bytes), verify)
    }

    fn entry(number: u32) -> Entry {
        let mut entry = Entry { record: RecordHash([1; 32]), tag: RegisterTag([2; 16]) };
        entry.record.0[..4].copy_from_slice(&number.to_be_bytes());
        entry.tag.0[..4].copy_from_slice(&number.to_be_bytes());
        entry
    }

    fn commit() -> Commit {
        Commit {
            circle: CircleId([3; 32]),
            dot: Dot { author: MemberKey([4; 32]), incarnation: 0, sequence: 2 },
            previous: CommitHash([5; 32]),
            lamport: 6,
            deps: vec![Dot { author: MemberKey([7; 32]), incarnation: 1, sequence: 8 }],
            wall: WallTime(-9),
            entries: vec![entry(0), entry(1)],
            branches: Vec::new(),
        }
    }

    /// Decodes the commit with its encoded content changed, and signed all the same.
    fn changed(change: impl FnOnce(&mut CommitWire)) -> Result<SignedCommit, WireError> {
        let envelope: Envelope = bencode::decode("x", &commit().sign(sign).bytes, COMMIT_MAX).unwrap();
        let mut wire: CommitWire = bencode::decode("x", &envelope.body, COMMIT_MAX).unwrap();
        change(&mut wire);
        let body = bencode::encode(&wire);
        let signature = Bytes2::from(&sign(&[DOMAIN, &body].concat())[..]);
        decode(&bencode::encode(&Envelope { body: Bytes2::from(body), signature }))
    }

    #[test]
    fn a_commit_comes_back_with_its_bytes_and_hash() {
        let signed = commit().sign(sign);
        let hash: [u8; 32] = Sha256::digest(&signed.bytes).into();
        assert_eq!(signed.hash.0, hash);
        assert_eq!(decode(&signed.bytes), Ok(signed));
        assert!(changed(|_| {}).is_ok());
    }

    #[test]
    fn the_author_is_asked_about_the_domain_and_the_body() {
        let signed = commit().sign(|message| {
            assert!(message.starts_with(b"dustfs commit 1\0d1:a32:"));
            sign(message)
        });
        let refused = SignedCommit::decode(signed.bytes, |author, _, _| {
            assert_eq!(*author, MemberKey([4; 32]));
            false
        });
        assert_eq!(refused, Err(WireError::Signature("a commit")));
    }

    /// A cache could add a key to the envelope: the signature held, the hash was another, and the chain was forked.
    #[test]
    fn the_signed_bytes_have_one_form() {
        let bytes = commit().sign(sign).bytes;
        let more = [&bytes[..bytes.len() - 1], b"1:zi1ee"].concat();
        let zero = [b"d01:b", &bytes[4..]].concat();
        for other in [more, zero] {
            assert!(matches!(decode(&other), Err(WireError::Malformed(..))), "{}", String::from_utf8_lossy(&other));
        }
    }

    #[test]
    fn no_byte_can_be_changed() {
        let bytes = commit().sign(sign).bytes;
        for at in 0..bytes.len() {
            let mut torn = bytes.to_vec();
            torn[at] ^= 1;
            assert!(decode(&torn).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let malformed = |change: fn(&mut CommitWire)| {
            assert!(matches!(changed(change), Err(WireError::Malformed("a commit", _))), "{:?}", changed(change));
        };
        malformed(|wire| wire.entries.push(0));
        malformed(|wire| wire.sequence = 0);
        malformed(|wire| wire.lamport = 0);
        malformed(|wire| wire.sequence = 1);
        malformed(|wire| wire.previous = CommitHash::NONE);
        malformed(|wire| wire.entries = Bytes2::from(wire.entries.repeat(2)));
        let branch = |incarnation, sequence| Branch { hash: CommitHash::NONE, incarnation, sequence };
        assert!(changed(|wire| wire.branches = vec![branch(1, 1)]).is_ok());
        assert!(matches!(changed(|wire| wire.branches = vec![branch(0, 1)]), Err(WireError::Malformed(..))));
        assert!(matches!(changed(|wire| wire.branches = vec![branch(1, 0)]), Err(WireError::Malformed(..))));
        let over = changed(|wire| wire.branches = vec![branch(1, 1); INCARNATIONS + 1]);
        assert_eq!(over, Err(WireError::OverLimit("a commit's branches", INCARNATIONS + 1, INCARNATIONS)));
        assert!(changed(|wire| (wire.sequence, wire.previous) = (1, CommitHash::NONE)).is_ok());
        assert!(changed(|wire| wire.entries.clear()).is_ok());
        assert_eq!(changed(|wire| wire.version = 2), Err(WireError::Version("a commit", 2)));
        let mut envelope: Envelope = bencode::decode("x", &commit().sign(sign).bytes, COMMIT_MAX).unwrap();
        envelope.signature.push(0);
        assert!(matches!(decode(&bencode::encode(&envelope)), Err(WireError::Malformed("a commit", _))));
    }

    #[test]
    fn lists_are_held_to_their_limits() {
        let records = |count: usize| Commit { entries: (0..count as u32).map(entry).collect(), ..commit() };
        let most = records(COMMIT_RECORDS).sign(sign);
        assert_eq!(decode(&most.bytes), Ok(most));
        let over = decode(&records(COMMIT_RECORDS + 1).sign(sign).bytes);
        assert_eq!(over, Err(WireError::OverLimit("a commit's records", COMMIT_RECORDS + 1, COMMIT_RECORDS)));
        let long = decode(&vec![b'd'; COMMIT_MAX + 1]);
        assert_eq!(long, Err(WireError::OverLimit("a commit", COMMIT_MAX + 1, COMMIT_MAX)));
    }

    proptest! {
        #[test]
        fn commits_come_back(
            circle: [u8; 32], author: [u8; 32], incarnation: u32, sequence in 2..=i64::MAX as u64,
            lamport in 1..=i64::MAX as u64, wall: i64, records in 0..20_u32, deps in 0..20_u8, branches in 0..3_u32
        ) {
            let dot = Dot { author: MemberKey(author), incarnation, sequence };
            let deps = (0..deps).map(|chain| Dot { author: MemberKey([chain; 32]), ..dot }).collect();
            let entries = (0..records).map(entry).collect();
            let branch = |number: u32| Branch {
                hash: CommitHash(circle),
                incarnation: incarnation.wrapping_add(number + 1),
                sequence,
            };
            let commit = Commit {
                circle: CircleId(circle),
                dot,
                lamport,
                wall: WallTime(wall),
                deps,
                entries,
                branches: (0..branches).map(branch).collect(),
                ..commit()
            };
            let signed = commit.sign(sign);
            prop_assert_eq!(decode(&signed.bytes).unwrap(), signed);
        }

        #[test]
        fn garbage_is_refused(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SignedCommit::decode(garbage.into(), |_, _, _| true).is_err());
        }

        #[test]
        fn torn_commits_never_panic(at: prop::sample::Index, to: u8) {
            let mut torn = commit().sign(sign).bytes.to_vec();
            let at = at.index(torn.len());
            torn[at] = to;
            let _ = SignedCommit::decode(torn.into(), |_, _, _| true);
        }
    }
}

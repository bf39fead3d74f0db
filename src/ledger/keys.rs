//! The keys of the tables, drawn as bytes. Numbers are big-endian, so that key order is number order.
//!
//! ```text
//! meta        name
//! circles     circle(32)
//! statements  circle(32) hash(32)
//! commits     circle(32) author(32) incarnation(4) sequence(8)
//! records     circle(32) hash(32)
//! torrents    info-hash(20)
//! drafts      circle(32) object(16), of a conflict's loser then author(32) incarnation(4) sequence(8)
//! addresses   transport key(32)
//! pledges     info-hash(20) transport key(32) round(8)
//! pins        circle(32) object(16)
//! ```

use crate::base::{CircleId, InfoHash, MemberKey, ObjectId, RecordHash, StatementHash, TransportKey};
use crate::wire::record::{Chain, Dot};

/// The name under which the node's own identity lies in `meta`.
pub const IDENTITY: &[u8] = b"identity";
/// The name under which `meta` keeps the end of what drafts lie on, slab and unit in four bytes each: a locked node cannot
/// open them, and must not write there.
pub const FRONTIER: &[u8] = b"frontier";

/// The name under which the powered-on time lies in `meta`: milliseconds, eight bytes.
pub const UPTIME: &[u8] = b"uptime";

/// The name under which `meta` keeps how far the scrub has come.
pub const SCRUB: &[u8] = b"scrub";

/// Key in `statements`.
pub fn statement(circle: &CircleId, hash: &StatementHash) -> Vec<u8> {
    [&circle.0[..], &hash.0].concat()
}

/// Key in `commits`.
pub fn commit(circle: &CircleId, dot: &Dot) -> Vec<u8> {
    [&circle.0[..], &dot.author.0, &dot.incarnation.to_be_bytes(), &dot.sequence.to_be_bytes()].concat()
}

/// The range of a chain's commits from a sequence on, as `from` and `to`.
pub fn chain_from(circle: &CircleId, chain: &Chain, sequence: u64) -> (Vec<u8>, Vec<u8>) {
    let at = |sequence| commit(circle, &Dot { author: chain.author, incarnation: chain.incarnation, sequence });
    (at(sequence), at(u64::MAX))
}

/// Key in `records`.
pub fn record(circle: &CircleId, hash: &RecordHash) -> Vec<u8> {
    [&circle.0[..], &hash.0].concat()
}

/// Key in `drafts`; `version` names the loser of a conflict.
pub fn draft(circle: &CircleId, object: &ObjectId, version: Option<&Dot>) -> Vec<u8> {
    let mut key = [&circle.0[..], &object.0].concat();
    if let Some(dot) = version {
        key.extend_from_slice(&dot.author.0);
        key.extend_from_slice(&dot.incarnation.to_be_bytes());
        key.extend_from_slice(&dot.sequence.to_be_bytes());
    }
    key
}

/// What a key in `drafts` says besides the circle.
pub fn draft_of(key: &[u8]) -> Option<(ObjectId, Option<Dot>)> {
    let object = ObjectId::from_slice(key.get(32..48)?)?;
    match key.get(48..)? {
        [] => Some((object, None)),
        // The rest is laid out as the end of a key in `commits`, which has 32 bytes before it too.
        _ => Some((object, Some(commit_dot(&key[16..])?))),
    }
}

/// The range of all keys that begin with a circle.
pub fn of_circle(circle: &CircleId) -> (Vec<u8>, Vec<u8>) {
    let mut end = circle.0.to_vec();
    end.extend_from_slice(&[0xff; 80]);
    (circle.0.to_vec(), end)
}

/// Key in `pledges`: to whom, and in which round.
pub fn pledge(info_hash: &InfoHash, to: &TransportKey, round: u64) -> Vec<u8> {
    [&info_hash.0[..], &to.0, &round.to_be_bytes()].concat()
}

/// What a key in `pledges` says.
pub fn pledge_of(key: &[u8]) -> Option<(InfoHash, TransportKey, u64)> {
    let info_hash = InfoHash::from_slice(key.get(..20)?)?;
    let to = TransportKey::from_slice(key.get(20..52)?)?;
    Some((info_hash, to, u64::from_be_bytes(key.get(52..)?.try_into().ok()?)))
}

/// Key in `pins`.
pub fn pin(circle: &CircleId, object: &ObjectId) -> Vec<u8> {
    [&circle.0[..], &object.0].concat()
}

/// What a key in `pins` says.
pub fn pin_of(key: &[u8]) -> Option<(CircleId, ObjectId)> {
    Some((CircleId::from_slice(key.get(..32)?)?, ObjectId::from_slice(key.get(32..)?)?))
}

/// What a key in `commits` says.
pub fn commit_dot(key: &[u8]) -> Option<Dot> {
    let rest = key.get(32..)?;
    Some(Dot {
        author: MemberKey::from_slice(rest.get(..32)?)?,
        incarnation: u32::from_be_bytes(rest.get(32..36)?.try_into().ok()?),
        sequence: u64::from_be_bytes(rest.get(36..44)?.try_into().ok()?),
    })
}

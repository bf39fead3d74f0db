//! A circle's chains as the ledger has them: how far each is held, then their records in the order in which they were
//! written.
//!
//! The ledger has records by their hashes, so those of one commit lie far apart. They are read ahead, in the order of
//! their hashes, a part of all at once: so each costs about the same however many there are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::vec::IntoIter;

use bytes::Bytes;

use super::circle::Tip;
use super::{Node, StartError};
use crate::base::{CircleId, RecordHash, Snapshot, StoreError, Table};
use crate::ledger::{Ledger, keys};
use crate::roster::Verdict;
use crate::wire::commit::{Commit, SignedCommit};
use crate::wire::record::Dot;

impl<S: Snapshot> Node<S> {
    /// Walks the commits of all chains, as far as the roster accepts them, and builds tips and tree.
    pub fn load_chains(&mut self, id: &CircleId) -> Result<(), StartError> {
        let Found { mut commits, records } = self.load_tips(id)?;
        // In the order in which they came to be, as far as that is known: so mass changes are found again.
        commits.sort_unstable();
        let (mut left, mut records, mut length) = (commits.into_iter(), records, USUAL_LENGTH);
        loop {
            // The tree has yet to take more memory for each.
            let room = ROOM.max(records * ROOM_PER_RECORD);
            let commits = self.commits_ahead(id, &mut left, room / length.max(1))?;
            if commits.is_empty() {
                return Ok(());
            }
            let ahead = Ahead::read(&self.ledger, id, &commits, room)?;
            length = ahead.length.unwrap_or(length);
            records = records.saturating_sub(ahead.places.len());
            let mut places = ahead.places.iter();
            for commit in &commits {
                for (at, (entry, place)) in commit.entries.iter().zip(&mut places).enumerate() {
                    if let Some(record) = ahead.bytes.get(place.clone()).filter(|record| !record.is_empty()) {
                        self.apply_record(id, commit, at, record);
                    } else if ahead.unread.is_some_and(|unread| entry.record >= unread)
                        && let Some(record) = self.ledger.get(Table::Records, &keys::record(id, &entry.record))?
                    {
                        self.apply_record(id, commit, at, &record);
                    }
                }
            }
        }
    }

    /// Reads how far each chain is held, and what goes before records.
    fn load_tips(&mut self, id: &CircleId) -> Result<Found, StartError> {
        let mut found = Found::default();
        let Some(circle) = self.circles.get_mut(id) else { return Ok(found) };
        let (from, to) = keys::of_circle(id);
        let (mut broken, mut branching, mut named) = (None, Vec::new(), BTreeMap::new());
        let (chains, roster, mine) = (&mut circle.chains, &circle.roster, circle.me);
        self.ledger.range(Table::Commits, &from, &to, &mut |_, value| {
            let signed = match SignedCommit::decode(Bytes::copy_from_slice(value), |_, _, _| true) {
                Ok(signed) => signed,
                Err(error) => {
                    broken = Some(StartError::from(error));
                    return false;
                }
            };
            let commit = &signed.commit;
            let follows = chains.get(&commit.chain()).map_or(1, |tip| tip.sequence + 1) == commit.dot.sequence;
            if !follows || roster.accepts(&commit.dot, &signed.hash) != Verdict::Accepted {
                return true;
            }
            let tip = Tip { sequence: commit.dot.sequence, hash: signed.hash, lamport: commit.lamport };
            chains.insert(commit.chain(), tip);
            if commit.dot.author == mine {
                named.extend(commit.deps.iter().map(|dep| (dep.chain(), dep.sequence)));
            }
            found.commits.push((commit.lamport, commit.dot));
            found.records += commit.entries.len();
            if !commit.branches.is_empty() {
                branching.push(signed.commit);
            }
            true
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        circle.named = named;
        circle.begin_mass();
        branching.iter().for_each(|commit| circle.learn_branches(commit));
        Ok(found)
    }

    /// The next commits that have at least so many records. Each is read again: all of them together would take more
    /// memory than the tree.
    fn commits_ahead(
        &self,
        id: &CircleId,
        left: &mut IntoIter<(u64, Dot)>,
        records: usize,
    ) -> Result<Vec<Commit>, StartError> {
        let (mut commits, mut listed) = (Vec::new(), 0);
        while listed < records.max(1)
            && let Some((_, dot)) = left.next()
        {
            let Some(bytes) = self.ledger.get(Table::Commits, &keys::commit(id, &dot))? else { continue };
            let commit = SignedCommit::decode(bytes, |_, _, _| true)?.commit;
            listed += commit.entries.len();
            commits.push(commit);
        }
        Ok(commits)
    }
}

/// The commits that count, by their Lamport times, and how many records they list.
#[derive(Default)]
struct Found {
    commits: Vec<(u64, Dot)>,
    records: usize,
}

/// Records that were read ahead.
struct Ahead {
    bytes: Vec<u8>,
    /// Where each record is that the commits list, in their order; nowhere when it is not here.
    places: Vec<Range<usize>>,
    /// There was no room for those from this hash on.
    unread: Option<RecordHash>,
    /// The mean of what was read, in bytes.
    length: Option<usize>,
}

impl Ahead {
    /// Reads what these commits list, as far as it takes at most `room` bytes or one record more.
    fn read<S: Snapshot>(
        ledger: &Ledger<S>,
        id: &CircleId,
        commits: &[Commit],
        room: usize,
    ) -> Result<Self, StoreError> {
        let listed = commits.iter().flat_map(|commit| &commit.entries).map(|entry| entry.record);
        let mut by_hash: Vec<(RecordHash, usize)> = listed.zip(0..).collect();
        by_hash.sort_unstable();
        let (mut bytes, mut places) = (Vec::with_capacity(room), vec![0..0; by_hash.len()]);
        let (mut count, mut unread) = (0, None);
        for (hash, at) in by_hash {
            if bytes.len() > room {
                unread = Some(hash);
                break;
            }
            if let Some(record) = ledger.get(Table::Records, &keys::record(id, &hash))? {
                places[at] = bytes.len()..bytes.len() + record.len();
                bytes.extend_from_slice(&record);
                count += 1;
            }
        }
        let length = bytes.len().checked_div(count);
        Ok(Self { bytes, places, unread, length })
    }
}

/// Bytes of records that are read ahead at least.
const ROOM: usize = 2 << 20;
/// And more by this for each record that is yet to be read: a tenth of what most are long.
const ROOM_PER_RECORD: usize = 32;
/// What a record's length is taken for, in bytes, before any was read.
const USUAL_LENGTH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Batch, CommitHash, MemberKey, MemoryStore, RegisterTag, WallTime};
    use crate::wire::commit::Entry;

    const CIRCLE: CircleId = CircleId([1; 32]);

    fn hash(number: u8) -> RecordHash {
        RecordHash([number; 32])
    }

    fn commit(sequence: u64, records: &[u8]) -> Commit {
        let entry = |number: &u8| Entry { record: hash(*number), tag: RegisterTag([*number; 16]) };
        Commit {
            circle: CIRCLE,
            dot: Dot { author: MemberKey([2; 32]), incarnation: 0, sequence },
            previous: CommitHash::NONE,
            lamport: sequence,
            deps: Vec::new(),
            wall: WallTime(0),
            entries: records.iter().map(entry).collect(),
            branches: Vec::new(),
        }
    }

    #[test]
    fn records_are_read_ahead_as_far_as_there_is_room() {
        let mut batch = Batch::default();
        for number in 1..=5 {
            batch.put(Table::Records, keys::record(&CIRCLE, &hash(number)), vec![number; 100]);
        }
        let mut store = MemoryStore::default();
        store.apply(&batch);
        let ledger = Ledger::new(store);
        // Of these 9 is not here.
        let commits = [commit(1, &[5, 1]), commit(2, &[]), commit(3, &[9, 3, 2])];
        let places_in = |room| {
            let ahead = Ahead::read(&ledger, &CIRCLE, &commits, room).unwrap();
            let read = |place: Range<usize>| ahead.bytes[place].first().copied();
            let read: Vec<Option<u8>> = ahead.places.iter().cloned().map(read).collect();
            assert!(ahead.places.iter().all(|place| place.is_empty() || place.len() == 100));
            (read, ahead.unread, ahead.length)
        };
        assert_eq!(places_in(1_000), (vec![Some(5), Some(1), None, Some(3), Some(2)], None, Some(100)));
        assert_eq!(places_in(150), (vec![None, Some(1), None, None, Some(2)], Some(hash(3)), Some(100)));
        let none = Ahead::read(&ledger, &CIRCLE, &[commit(1, &[9])], 1_000).unwrap();
        assert!(none.places.len() == 1 && none.places[0].is_empty());
        assert_eq!((none.unread, none.length), (None, None));
    }
}

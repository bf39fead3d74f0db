//! Mass changes: much of a tree deleted or overwritten by one author within a minute, as by a slip of the hand or by a
//! program that takes files hostage. They count like any change; only what they replaced is held until a keeper says that
//! it may go.
//!
//! A function of the commits that were applied and their clocks: who starts anew and applies them in the order of their
//! Lamport times comes to the same. Every node counts for itself, so at the edge of a limit two may differ.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::{InfoHash, ObjectId, WallTime};
use crate::wire::record::{Chain, Dot};

/// More objects than this.
pub const MASS_OBJECTS: usize = 100;
/// More than one object in so many of the tree.
pub const MASS_PART: usize = 10;
/// Changes of a very large tree are held from so many on, whatever its size: they are what is kept in mind of one author.
pub const MASS_MAX: usize = 20_000;
/// Where so many are held, those of one author become one.
const HELD_MAX: usize = 16;
/// Within this time of the author's clock, in nanoseconds.
const WINDOW_NS: u64 = 60_000_000_000;

/// A mass change that no keeper has released.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MassChange {
    /// Who changed, in which chain.
    pub chain: Chain,
    /// The first commit.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// Clock of the last.
    pub wall: WallTime,
    /// Files and symlinks whose contents were deleted or replaced.
    pub objects: BTreeSet<ObjectId>,
    /// What was shown before.
    torrents: BTreeSet<InfoHash>,
}

/// One object lost what it showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// By this commit.
    pub dot: Dot,
    /// Its author's clock.
    pub wall: WallTime,
    /// Which.
    pub object: ObjectId,
    /// The torrents that no file shows any more: of a conflict there may be several.
    pub torrents: Vec<InfoHash>,
}

/// See the module. One for each circle.
#[derive(Default, Debug)]
pub struct Mass {
    recent: BTreeMap<Chain, Window>,
    released: BTreeMap<Chain, Vec<(u64, u64)>>,
    held: Vec<MassChange>,
}

/// The changes of one author within the last minute, oldest first.
#[derive(Default, Debug)]
struct Window {
    changes: VecDeque<Change>,
    times: BTreeMap<ObjectId, u32>,
}

impl Window {
    fn push(&mut self, change: Change) {
        let is_over = |first: &Change| !is_near(first.wall, change.wall);
        while self.changes.front().is_some_and(is_over) || self.changes.len() > 2 * MASS_MAX {
            self.pop();
        }
        *self.times.entry(change.object).or_default() += 1;
        self.changes.push_back(change);
    }

    fn pop(&mut self) {
        let Some(first) = self.changes.pop_front() else { return };
        if let Some(times) = self.times.get_mut(&first.object) {
            *times -= 1;
            if *times == 0 {
                self.times.remove(&first.object);
            }
        }
    }
}

impl MassChange {
    fn take(&mut self, change: Change) {
        (self.to, self.wall) = (change.dot.sequence.max(self.to), change.wall);
        self.objects.insert(change.object);
        self.torrents.extend(change.torrents);
    }
}

impl Mass {
    /// Notes a change of a tree that shows so many objects after it. True when more is held now than before.
    pub fn note(&mut self, change: Change, shown: usize) -> bool {
        let chain = change.dot.chain();
        if self.is_released(&chain, change.dot.sequence) {
            return false;
        }
        let goes_on = |held: &&mut MassChange| held.chain == chain && is_near(held.wall, change.wall);
        if let Some(held) = self.held.iter_mut().find(goes_on) {
            held.take(change);
            return true;
        }
        let window = self.recent.entry(chain).or_default();
        window.push(change);
        let count = window.times.len();
        // What was deleted belonged to the tree as well.
        let much = count > MASS_OBJECTS && count * MASS_PART > shown + count || count > MASS_MAX;
        if much {
            self.hold(chain);
        }
        much
    }

    fn hold(&mut self, chain: Chain) {
        let Some(Window { changes, .. }) = self.recent.remove(&chain) else { return };
        let Some(first) = changes.front() else { return };
        let (from, wall) = (first.dot.sequence, first.wall);
        let many = self.held.len() >= HELD_MAX;
        let at = self.held.iter().rposition(|held| many && held.chain == chain).unwrap_or_else(|| {
            let (objects, torrents) = Default::default();
            self.held.push(MassChange { chain, from, to: from, wall, objects, torrents });
            self.held.len() - 1
        });
        changes.into_iter().for_each(|change| self.held[at].take(change));
    }

    /// Takes what keepers have released: by chain, from which commit to which. What ends among those is held no more:
    /// where it began, another node may have seen otherwise.
    pub fn release(&mut self, released: &BTreeMap<Chain, Vec<(u64, u64)>>) {
        self.released.clone_from(released);
        let mut held = std::mem::take(&mut self.held);
        held.retain(|held| !self.is_released(&held.chain, held.to));
        self.held = held;
        let mut recent = std::mem::take(&mut self.recent);
        for (chain, window) in &mut recent {
            while window.changes.front().is_some_and(|first| self.is_released(chain, first.dot.sequence)) {
                window.pop();
            }
        }
        self.recent = recent;
    }

    fn is_released(&self, chain: &Chain, sequence: u64) -> bool {
        let ranges = self.released.get(chain).into_iter().flatten();
        ranges.into_iter().any(|(from, to)| (*from..=*to).contains(&sequence))
    }

    /// True for what must not go.
    pub fn holds(&self, info_hash: &InfoHash) -> bool {
        self.held.iter().any(|held| held.torrents.contains(info_hash))
    }

    /// All that is held, in the order in which it came.
    pub fn held(&self) -> &[MassChange] {
        &self.held
    }
}

fn is_near(one: WallTime, other: WallTime) -> bool {
    one.0.abs_diff(other.0) <= WINDOW_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberKey;

    const SECOND: i64 = 1_000_000_000;

    fn chain(author: u8) -> Chain {
        Chain { author: MemberKey([author; 32]), incarnation: 0 }
    }

    fn change(author: u8, sequence: u64, second: i64, number: u16) -> Change {
        let mut object = [0; 16];
        object[..2].copy_from_slice(&number.to_be_bytes());
        let mut torrent = [0; 20];
        torrent[..2].copy_from_slice(&number.to_be_bytes());
        Change {
            dot: Dot { author: MemberKey([author; 32]), incarnation: 0, sequence },
            wall: WallTime(second * SECOND),
            object: ObjectId(object),
            torrents: vec![InfoHash(torrent)],
        }
    }

    /// So many changes of one author, a commit each, at so many per second. Returns after which one something was held.
    fn changes(mass: &mut Mass, author: u8, count: u16, per_second: i64, shown: usize) -> Option<u16> {
        (0..count).find(|at| mass.note(change(author, u64::from(*at) + 1, i64::from(*at) / per_second, *at), shown))
    }

    #[test]
    fn over_a_hundred_and_over_a_tenth_within_a_minute_is_held() {
        let mut mass = Mass::default();
        assert_eq!(changes(&mut mass, 1, 100, 10, 0), None, "a hundred are not over a hundred");
        assert!(!mass.holds(&change(1, 1, 0, 7).torrents[0]));
        assert!(mass.note(change(1, 101, 10, 100), 0));
        assert!(mass.holds(&change(1, 1, 0, 7).torrents[0]));
        let held = &mass.held()[0];
        assert_eq!((held.from, held.to, held.objects.len()), (1, 101, 101));

        let mut mass = Mass::default();
        assert_eq!(changes(&mut mass, 1, 400, 10, 3_000), Some(333), "334 of 3,334 are over a tenth");
        let mut mass = Mass::default();
        assert_eq!(changes(&mut mass, 1, 1_000, 1, 0), None, "at one each second 61 are within a minute");
        let mut mass = Mass::default();
        for author in 0..10 {
            assert_eq!(changes(&mut mass, author, 90, 10, 0), None, "each author is counted alone");
        }
    }

    #[test]
    fn one_object_counts_once_and_a_clock_may_jump() {
        let mut mass = Mass::default();
        for at in 0..500 {
            assert!(!mass.note(change(1, at, 0, 3), 0), "somebody saves the same file again and again");
        }
        let mut mass = Mass::default();
        for at in 0..90 {
            assert!(!mass.note(change(1, u64::from(at), i64::MAX / SECOND, at), 0));
        }
        for at in 90..180 {
            assert!(!mass.note(change(1, u64::from(at), i64::MIN / SECOND, at), 0));
        }
    }

    #[test]
    fn what_goes_on_joins_and_a_release_lets_all_of_it_go() {
        let mut mass = Mass::default();
        assert_eq!(changes(&mut mass, 1, 150, 10, 0), Some(100));
        for at in 101..150 {
            assert!(mass.note(change(1, u64::from(at) + 1, 15, at), 0));
        }
        assert!(!mass.note(change(1, 151, 500, 200), 0), "much later another begins");
        assert_eq!((mass.held().len(), mass.held()[0].to), (1, 150));
        mass.release(&BTreeMap::from([(chain(1), vec![(1, 149)])]));
        assert_eq!(mass.held().len(), 1, "its last commit was not seen by who released it");
        mass.release(&BTreeMap::from([(chain(1), vec![(1, 149), (140, 150)])]));
        assert!(mass.held().is_empty() && !mass.holds(&change(1, 1, 0, 7).torrents[0]));
        assert!(!mass.note(change(1, 150, 15, 300), 0), "what was released counts no more");
        assert_eq!(changes(&mut mass, 2, 150, 10, 0), Some(100), "another author's is held");
    }

    #[test]
    fn releasing_a_later_change_leaves_an_earlier_one_held() {
        let mut mass = Mass::default();
        for at in 0..120 {
            mass.note(change(1, u64::from(at) + 1, 0, at), 0);
        }
        for at in 0..120 {
            mass.note(change(1, u64::from(at) + 121, 7_200, at), 0);
        }
        assert_eq!(mass.held().iter().map(|held| (held.from, held.to)).collect::<Vec<_>>(), [(1, 120), (121, 240)]);
        mass.release(&BTreeMap::from([(chain(1), vec![(121, 240)])]));
        assert_eq!(mass.held().iter().map(|held| (held.from, held.to)).collect::<Vec<_>>(), [(1, 120)]);
    }

    #[test]
    fn very_many_of_one_author_become_one() {
        let mut mass = Mass::default();
        for minute in 0..40_u16 {
            for at in 0..101 {
                let sequence = u64::from(minute) * 101 + u64::from(at) + 1;
                mass.note(change(1, sequence, i64::from(minute) * 600, minute * 101 + at), 0);
            }
        }
        assert_eq!((mass.held().len(), mass.held()[HELD_MAX - 1].objects.len()), (HELD_MAX, 25 * 101));
        assert!(mass.holds(&change(1, 0, 0, 39 * 101).torrents[0]));
    }

    #[test]
    fn of_one_author_so_much_is_kept_in_mind() {
        let mut mass = Mass::default();
        let held = (0..=MASS_MAX as u64).find(|at| {
            let mut change = change(1, *at, 0, 0);
            change.object.0[..8].copy_from_slice(&at.to_be_bytes());
            mass.note(change, usize::MAX / 32)
        });
        assert_eq!(held, Some(MASS_MAX as u64), "a tenth of the largest tree is not waited for");
    }
}

//! Space that a power cut left: between the ledger's commit and the slabs stay bytes of what went, and of what was never
//! noted. It is given back at the next start.

use super::io::{DiskRequest, Segment};
use super::{Asked, Node};
use crate::base::limits::{SLAB_UNITS, UNIT};
use crate::base::{Location, Snapshot};

/// Stretches that are given back by one request.
const GAPS_AT_ONCE: usize = 1_024;

impl<S: Snapshot> Node<S> {
    /// At the start, gives back what nothing names.
    pub(super) fn reclaim(&mut self) {
        // What a draft lies on that was not opened is not known.
        if self.is_locked() || !self.files.unread.is_empty() {
            return;
        }
        let mut taken: Vec<(Location, u32)> = self.vault.shares.stretches().collect();
        taken.extend(self.draft_places().map(units_of));
        taken.sort_unstable();
        for gaps in gaps(&taken).chunks(GAPS_AT_ONCE) {
            self.ask(Asked::Punch, DiskRequest::Punch { segments: gaps.to_vec() });
        }
    }

    /// Where the sealed chunks of drafts lie.
    pub(super) fn draft_places(&self) -> impl Iterator<Item = Segment> {
        let chunks = self.files.drafts.values().flat_map(|draft| draft.chunks.values());
        chunks.filter_map(|chunk| chunk.placed).map(|placed| placed.segment)
    }
}

/// A segment that begins at a unit, in whole units.
pub(super) fn units_of(segment: Segment) -> (Location, u32) {
    let unit = (segment.offset / UNIT as u64) as u32;
    (Location { slab: segment.slab, unit }, segment.length.div_ceil(UNIT as u32))
}

/// What lies between stretches of so many units, in their order, from the first slab's begin on. What lies behind the last
/// is left: the next pieces are written there.
fn gaps(taken: &[(Location, u32)]) -> Vec<Segment> {
    let (mut at, mut gaps) = (Location { slab: 0, unit: 0 }, Vec::new());
    for (location, units) in taken {
        while at < *location {
            let same = at.slab == location.slab;
            let end = if same { location.unit } else { SLAB_UNITS };
            if at.unit < end {
                gaps.push(Segment::at(at, (end - at.unit) * UNIT as u32));
            }
            at = if same { *location } else { Location { slab: at.slab + 1, unit: 0 } };
        }
        at = at.max(Location { slab: location.slab, unit: location.unit + units });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slab: u32, unit: u32) -> Location {
        Location { slab, unit }
    }

    #[test]
    fn gaps_are_what_nobody_has_below_the_end() {
        let gap = |slab, from: u32, to: u32| Segment::at(at(slab, from), (to - from) * UNIT as u32);
        assert_eq!(gaps(&[]), []);
        assert_eq!(gaps(&[(at(0, 0), 16), (at(0, 16), 1)]), []);
        assert_eq!(gaps(&[(at(0, 4), 2), (at(0, 5), 3), (at(0, 10), 1)]), [gap(0, 0, 4), gap(0, 8, 10)]);
        assert_eq!(gaps(&[(at(0, 0), SLAB_UNITS), (at(1, 0), 1)]), []);
        let far = [(at(0, 0), 1), (at(2, 7), 1)];
        assert_eq!(gaps(&far), [gap(0, 1, SLAB_UNITS), gap(1, 0, SLAB_UNITS), gap(2, 0, 7)]);
    }
}

//! How many torrents refer to each stretch of the slabs: versions share the pieces that they have alike, and what the last
//! of them gives up is free.
//!
//! Only where the number changes is noted: a vault whose torrents lie one after the other takes a line for each slab.

use std::collections::BTreeMap;

use crate::base::Location;

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Shares {
    /// From here up to the next line.
    counts: BTreeMap<Location, u32>,
}

impl Shares {
    /// One more refers to `units` units from `at` on, all in one slab.
    pub fn add(&mut self, at: Location, units: u32) {
        self.change(at, units, |count| *count = count.saturating_add(1));
    }

    /// One less refers to them. Returns the stretches to which now none does.
    pub fn remove(&mut self, at: Location, units: u32) -> Vec<(Location, u32)> {
        self.change(at, units, |count| *count = count.saturating_sub(1));
        let (mut from, end) = (at, end(at, units));
        let mut free = Vec::new();
        while from < end {
            let next = self.counts.range(from..end).find(|(next, _)| **next > from).map_or(end, |(next, _)| *next);
            if self.count(from) == 0 {
                free.push((from, next.unit - from.unit));
            }
            from = next;
        }
        free
    }

    /// How many refer to the unit at `at`.
    pub fn count(&self, at: Location) -> u32 {
        self.counts.range(..=at).next_back().map_or(0, |(_, count)| *count)
    }

    /// The stretches that anybody refers to, with their units, in order. Those that touch may be told apart or together.
    pub fn stretches(&self) -> impl Iterator<Item = (Location, u32)> {
        let ends = self.counts.keys().skip(1);
        // A slab's last line counts none.
        let used = self.counts.iter().zip(ends).filter(|((_, count), _)| **count > 0);
        used.map(|((from, _), to)| (*from, to.unit - from.unit))
    }

    /// Units that anybody refers to.
    pub fn units(&self) -> u64 {
        self.stretches().map(|(_, units)| u64::from(units)).sum()
    }

    /// True where more than one refers to some of these units.
    pub fn is_shared(&self, at: Location, units: u32) -> bool {
        self.count(at) > 1 || self.counts.range(at..end(at, units)).any(|(_, count)| *count > 1)
    }

    /// Units to which exactly as many refer as in `part`, and at least one: those that only the torrents counted there use.
    pub fn units_only_in(&self, part: &Shares) -> u64 {
        let mut units = 0;
        let mut stretches = part.counts.iter().peekable();
        while let Some((from, count)) = stretches.next() {
            let Some((to, _)) = stretches.peek().filter(|(to, _)| to.slab == from.slab && *count > 0) else { continue };
            let mut at = *from;
            while at < **to {
                let next = self.counts.range(at..).find(|(next, _)| **next > at).map(|(next, _)| *next);
                let next = next.map_or(**to, |next| next.min(**to));
                if self.count(at) == *count {
                    units += u64::from(next.unit - at.unit);
                }
                at = next;
            }
        }
        units
    }

    /// Lines that are noted.
    pub fn lines(&self) -> usize {
        self.counts.len()
    }

    fn change(&mut self, at: Location, units: u32, change: impl Fn(&mut u32)) {
        if units == 0 {
            return;
        }
        let end = end(at, units);
        for edge in [at, end] {
            let count = self.count(edge);
            self.counts.insert(edge, count);
        }
        self.counts.range_mut(at..end).for_each(|(_, count)| change(count));
        for edge in [end, at] {
            let before = self.counts.range(..edge).next_back().map_or(0, |(_, count)| *count);
            if self.counts.get(&edge) == Some(&before) {
                self.counts.remove(&edge);
            }
        }
    }
}

fn end(at: Location, units: u32) -> Location {
    Location { unit: at.unit.saturating_add(units), ..at }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(unit: u32) -> Location {
        Location { slab: 1, unit }
    }

    #[test]
    fn what_lies_in_a_row_takes_one_line_and_its_end() {
        let mut shares = Shares::default();
        for number in 0..1_000 {
            shares.add(at(number * 16), 16);
        }
        assert_eq!(shares.lines(), 2);
        assert_eq!(shares.remove(at(160), 16), [(at(160), 16)]);
        assert_eq!((shares.lines(), shares.count(at(160)), shares.count(at(176))), (4, 0, 1));
    }

    #[test]
    fn only_what_nobody_shares_is_free() {
        let mut shares = Shares::default();
        shares.add(at(0), 64);
        shares.add(at(16), 16);
        assert_eq!(shares.remove(at(0), 64), [(at(0), 16), (at(32), 32)]);
        assert_eq!(shares.remove(at(16), 16), [(at(16), 16)]);
        assert_eq!(shares.lines(), 0);
        assert!(shares.remove(at(0), 0).is_empty());
    }

    proptest! {
        #[test]
        fn it_counts_as_a_list_of_numbers_does(steps in proptest::collection::vec((0u32..60, 1u32..20, 0u32..2), 1..40)) {
            let (mut shares, mut plain, mut held) = (Shares::default(), [0u32; 100], Vec::new());
            for (from, units, slab) in steps {
                let place = Location { slab, unit: from };
                if held.len() > 3 {
                    let (place, units): (Location, u32) = held.remove(0);
                    let free = shares.remove(place, units);
                    if place.slab == 0 {
                        let mut expected = Vec::new();
                        for unit in place.unit..place.unit + units {
                            plain[unit as usize] -= 1;
                            if plain[unit as usize] == 0 {
                                expected.push(unit);
                            }
                        }
                        let told: Vec<u32> = free.iter().flat_map(|(at, units)| at.unit..at.unit + units).collect();
                        prop_assert_eq!(told, expected);
                    }
                }
                shares.add(place, units);
                held.push((place, units));
                if slab == 0 {
                    (from..from + units).for_each(|unit| plain[unit as usize] += 1);
                }
                let told = shares.stretches().filter(|(at, _)| at.slab == 0);
                let told: Vec<u32> = told.flat_map(|(at, units)| at.unit..at.unit + units).collect();
                let used: Vec<u32> = (0..100).filter(|unit| plain[*unit as usize] > 0).collect();
                prop_assert_eq!(told, used);
                prop_assert_eq!(shares.is_shared(place, units), (from..from + units).any(|unit| shares.count(Location { unit, ..place }) > 1));
                for (unit, count) in plain.iter().enumerate() {
                    prop_assert_eq!(shares.count(Location { slab: 0, unit: unit as u32 }), *count);
                }
            }
            let mut part = Shares::default();
            held.iter().step_by(2).for_each(|(place, units)| part.add(*place, *units));
            let unit = |slab| (0..100).map(move |unit| Location { slab, unit });
            let only = (0..2).flat_map(unit).filter(|at| part.count(*at) > 0 && part.count(*at) == shares.count(*at));
            prop_assert_eq!(shares.units_only_in(&part), only.count() as u64);
        }
    }
}

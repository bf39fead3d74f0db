//! A set of statements, as bits by their position in the history: what a statement has seen.

/// Positions in a [`History`](super::history::History). Grows as it is filled; equal sets may differ in length.
#[derive(Clone, Default, Debug)]
pub(super) struct Past(Vec<u64>);

impl Past {
    /// Adds `at`.
    pub(super) fn insert(&mut self, at: usize) {
        if self.0.len() <= at / 64 {
            self.0.resize(at / 64 + 1, 0);
        }
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// True when `at` is in it.
    pub(super) fn contains(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Adds all of `other`.
    pub(super) fn join(&mut self, other: &Past) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// True when all of `other` is in it.
    pub(super) fn covers(&self, other: &Past) -> bool {
        other.0.iter().enumerate().all(|(i, word)| word & !self.0.get(i).copied().unwrap_or(0) == 0)
    }

    /// How many are in it.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_different_length_compare() {
        let (mut short, mut long) = (Past::default(), Past::default());
        short.insert(3);
        long.insert(3);
        long.insert(200);
        assert!(long.covers(&short) && !short.covers(&long));
        assert!(!short.contains(200) && !short.contains(9_999));
        short.join(&long);
        assert!(short.covers(&long));
        assert_eq!(short.count(), 2);
    }
}

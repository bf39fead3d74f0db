//! Spans of a sealed chunk's plaintext that were written anew while the rest of it stayed sealed: a small write costs its own
//! bytes, and the chunk is opened and sealed once for all of them.

/// Spans by where they begin in the chunk; no two overlap or touch.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Patches(Vec<(usize, Vec<u8>)>);

impl Patches {
    /// True where nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many spans there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Bytes of memory that they take, about.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes.len() + SPAN_BYTES).sum()
    }

    /// Writes `data` at `from`, over what is there.
    pub fn put(&mut self, from: usize, data: &[u8]) {
        let to = from + data.len();
        // Those that overlap it or touch it become one with it.
        let first = self.0.partition_point(|(start, bytes)| start + bytes.len() < from);
        let end = self.0.partition_point(|(start, _)| *start <= to);
        if first == end {
            return self.0.insert(first, (from, data.to_vec()));
        }
        let (last, beyond) = &self.0[end - 1];
        let rest = beyond.get(to.saturating_sub(*last)..).unwrap_or_default().to_vec();
        let (start, bytes) = &mut self.0[first];
        if *start > from {
            (*start, *bytes) = (from, Vec::with_capacity(data.len() + rest.len()));
        }
        bytes.truncate(from - *start);
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(&rest);
        self.0.drain(first + 1..end);
    }

    /// Writes all of `newer` over these.
    pub fn put_all(&mut self, newer: &Patches) {
        newer.0.iter().for_each(|(from, bytes)| self.put(*from, bytes));
    }

    /// The whole chunk of `length` bytes, if it was written from its begin to its end.
    pub fn whole(&mut self, length: usize) -> Option<Vec<u8>> {
        match &mut self.0[..] {
            [(0, bytes)] if bytes.len() >= length => Some(std::mem::take(bytes)),
            _ => None,
        }
    }

    /// Writes the spans into the plaintext of their chunk, as far as it reaches.
    pub fn apply(&self, plaintext: &mut [u8]) {
        for (from, bytes) in &self.0 {
            let length = bytes.len().min(plaintext.len().saturating_sub(*from));
            if let Some(place) = plaintext.get_mut(*from..from + length) {
                place.copy_from_slice(&bytes[..length]);
            }
        }
    }

    /// What of them lies between `from` and `to`, in order, each with where it begins.
    pub fn within(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let first = self.0.partition_point(|(start, bytes)| start + bytes.len() <= from);
        let met = self.0[first..].iter().take_while(move |(start, _)| *start < to);
        met.map(move |(start, bytes)| {
            let (begin, end) = ((*start).max(from), (start + bytes.len()).min(to));
            (begin, &bytes[begin - start..end - start])
        })
    }
}

/// Bytes of memory that a span takes besides its own, about.
const SPAN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    /// Spans put one over the other give what writing into a plain buffer gives, in as few spans as can be.
    #[test]
    fn patches_are_what_was_written() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut patches = Patches::default();
            let mut model: Vec<Option<u8>> = vec![None; 400];
            for round in 0..30 {
                let from = rng.below(360) as usize;
                let data = vec![round; 1 + rng.below(40) as usize];
                patches.put(from, &data);
                model[from..from + data.len()].fill(Some(round));
                let mut plain = vec![99; model.len()];
                patches.apply(&mut plain);
                let expected: Vec<u8> = model.iter().map(|byte| byte.unwrap_or(99)).collect();
                assert_eq!(plain, expected, "seed {seed}");
                let runs = model.chunk_by(|a, b| a.is_some() == b.is_some()).filter(|run| run[0].is_some()).count();
                assert_eq!(patches.count(), runs, "seed {seed}");
                let (from, to) = (rng.below(200) as usize, 200 + rng.below(200) as usize);
                let mut part = vec![99; model.len()];
                for (at, bytes) in patches.within(from, to) {
                    assert!(from <= at && at + bytes.len() <= to && !bytes.is_empty());
                    part[at..at + bytes.len()].copy_from_slice(bytes);
                }
                assert_eq!(part[from..to], expected[from..to], "seed {seed}");
            }
            let mut over = Patches::default();
            over.put(10, &[7; 100]);
            let mut both = patches.clone();
            both.put_all(&over);
            model[10..110].fill(Some(7));
            let mut plain = vec![99; model.len()];
            both.apply(&mut plain);
            assert!(plain.iter().zip(&model).all(|(byte, model)| *byte == model.unwrap_or(99)), "seed {seed}");
        }
    }

    #[test]
    fn a_chunk_written_in_order_becomes_whole() {
        let mut patches = Patches::default();
        for part in 0..4 {
            assert_eq!(patches.whole(64), None);
            patches.put(part * 16, &[part as u8; 16]);
        }
        assert_eq!(patches.whole(64), Some([[0; 16], [1; 16], [2; 16], [3; 16]].concat()));
    }
}

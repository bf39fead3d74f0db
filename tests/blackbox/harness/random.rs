//! Bytes and choices drawn from a seed, so that a run can be replayed.

/// splitmix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    /// The same seed draws the same.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            let drawn = self.next().to_le_bytes();
            word.copy_from_slice(&drawn[..word.len()]);
        }
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }
}

/// The run's seed: `DUSTFS_SEED`, else drawn anew; told, so that the run can be replayed.
pub fn seed(test: &str) -> u64 {
    let told = std::env::var("DUSTFS_SEED").ok().map(|text| text.parse().expect("DUSTFS_SEED is a number"));
    let seed = told.unwrap_or_else(|| {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        time.as_nanos() as u64 & 0xffff_ffff
    });
    println!("{test}: DUSTFS_SEED={seed}");
    seed
}

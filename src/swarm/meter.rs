//! How many bytes went by, and how fast of late.

use crate::base::Instant;

/// Counts bytes, and keeps the last two seconds of them in slots of a quarter of a second.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    total: u64,
    slots: [u64; SLOTS],
    newest: u64,
    first: Option<Instant>,
}

impl Meter {
    /// `bytes` more went by.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        let slot = now.0 / SLOT_MICROS;
        if slot > self.newest + SLOTS as u64 || self.first.is_none() {
            self.slots = [0; SLOTS];
            self.first = Some(now);
        } else {
            for passed in self.newest + 1..=slot {
                self.slots[passed as usize % SLOTS] = 0;
            }
        }
        self.newest = self.newest.max(slot);
        self.slots[self.newest as usize % SLOTS] += bytes;
        self.total += bytes;
    }

    /// All bytes so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes per second over the last two seconds, or since the bytes began to come.
    pub fn rate(&self, now: Instant) -> u64 {
        let Some(first) = self.first else { return 0 };
        let slot = now.0 / SLOT_MICROS;
        let oldest = (slot + 1).saturating_sub(SLOTS as u64);
        let bytes: u64 = (oldest..=self.newest).take(SLOTS).map(|slot| self.slots[slot as usize % SLOTS]).sum();
        let since = first.0.max(oldest * SLOT_MICROS);
        bytes * 1_000_000 / now.0.saturating_sub(since).max(SLOT_MICROS)
    }
}

const SLOTS: usize = 8;
const SLOT_MICROS: u64 = 250_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_two_seconds() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(Instant(5)), 0);
        for millis in 10_000..20_000 {
            meter.add(Instant(millis * 1_000), 500);
        }
        let rate = meter.rate(Instant(20_000_000));
        assert!((450_000..=550_000).contains(&rate), "{rate}");
        assert_eq!(meter.total(), 5_000_000);
        assert!(meter.rate(Instant(21_000_000)) < 300_000);
        assert_eq!(meter.rate(Instant(23_000_000)), 0);
        meter.add(Instant(60_000_000), 250_000);
        assert_eq!(meter.rate(Instant(60_000_000)), 1_000_000, "what was before a pause does not count");
    }
}

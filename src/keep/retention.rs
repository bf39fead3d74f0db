//! How long a torrent stays that no file shows any more: for the keep time, and while there is room.
//!
//! Ages count powered-on time, so a clock that jumps and a box that lies in a drawer let nothing go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::InfoHash;

/// Older versions are kept so long unless it is said otherwise, in powered-on time.
pub const KEEP_TIME: Duration = Duration::from_secs(30 * 86_400);
/// Of the disk, older versions take one part in so many unless it is said otherwise.
pub const DISK_PART: u64 = 10;

/// See the module. Times are powered-on milliseconds.
#[derive(Debug)]
pub struct Retention {
    since: BTreeMap<InfoHash, u64>,
    by_age: BTreeSet<(u64, InfoHash)>,
    keep_ms: u64,
    room: Option<u64>,
    /// The config says how much room there is, whatever the disk.
    fixed: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl Retention {
    /// Keeps for `time`, at most `room` bytes; `None` means [`KEEP_TIME`], and a part of the disk.
    pub fn new(time: Option<Duration>, room: Option<u64>) -> Self {
        let keep_ms = u64::try_from(time.unwrap_or(KEEP_TIME).as_millis()).unwrap_or(u64::MAX);
        Self { since: BTreeMap::new(), by_age: BTreeSet::new(), keep_ms, room, fixed: room.is_some() }
    }

    /// The disk has so many bytes.
    pub fn disk(&mut self, total: u64) {
        if !self.fixed {
            self.room = Some(total / DISK_PART);
        }
    }

    /// No file shows this torrent since then.
    pub fn note(&mut self, info_hash: InfoHash, since: u64) {
        self.forget(&info_hash);
        self.since.insert(info_hash, since);
        self.by_age.insert((since, info_hash));
    }

    /// A file shows it again, or nothing of it is here. Returns since when none did.
    pub fn forget(&mut self, info_hash: &InfoHash) -> Option<u64> {
        let since = self.since.remove(info_hash)?;
        self.by_age.remove(&(since, *info_hash));
        Some(since)
    }

    /// Since when no file shows it.
    pub fn since(&self, info_hash: &InfoHash) -> Option<u64> {
        self.since.get(info_hash).copied()
    }

    /// All of them, the oldest first.
    pub fn oldest(&self) -> impl Iterator<Item = InfoHash> {
        self.by_age.iter().map(|(_, info_hash)| *info_hash)
    }

    /// Those whose time is over, the oldest first.
    pub fn expired(&self, now: u64) -> Vec<InfoHash> {
        let over = self.by_age.iter().take_while(|(since, _)| since.saturating_add(self.keep_ms) <= now);
        over.map(|(_, info_hash)| *info_hash).collect()
    }

    /// When the next one's time is over, if it is not yet.
    pub fn next(&self, now: u64) -> Option<u64> {
        let mut ends = self.by_age.iter().map(|(since, _)| since.saturating_add(self.keep_ms));
        ends.find(|end| *end > now)
    }

    /// Bytes that they may take in all; `None` before the disk was looked at.
    pub fn room(&self) -> Option<u64> {
        self.room
    }

    /// The keep time in milliseconds.
    pub fn keep_ms(&self) -> u64 {
        self.keep_ms
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.since.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.since.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> InfoHash {
        InfoHash([number; 20])
    }

    #[test]
    fn they_go_when_their_time_is_over_the_oldest_first() {
        let mut kept = Retention::new(Some(Duration::from_millis(100)), None);
        kept.note(id(1), 50);
        kept.note(id(2), 10);
        kept.note(id(3), 10);
        assert_eq!(kept.next(0), Some(110));
        assert!(kept.expired(109).is_empty());
        assert_eq!(kept.expired(110), [id(2), id(3)]);
        assert_eq!(kept.next(110), Some(150));
        assert_eq!(kept.oldest().collect::<Vec<_>>(), [id(2), id(3), id(1)]);
        kept.note(id(2), 60);
        assert_eq!((kept.forget(&id(3)), kept.forget(&id(3))), (Some(10), None));
        assert_eq!((kept.expired(159), kept.len()), (vec![id(1)], 2));
        assert_eq!(kept.since(&id(2)), Some(60));
    }

    #[test]
    fn the_disk_says_how_much_room_there_is_unless_somebody_did() {
        let mut kept = Retention::default();
        assert_eq!((kept.room(), kept.keep_ms()), (None, 2_592_000_000));
        kept.disk(1_000);
        assert_eq!(kept.room(), Some(100));
        let mut kept = Retention::new(None, Some(7));
        kept.disk(1_000);
        assert_eq!(kept.room(), Some(7));
    }
}

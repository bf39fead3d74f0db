//! The scrub: everything that is here is hashed by and by, piece after piece, while nobody reads. How far it came survives
//! a restart.

use std::ops::Bound;
use std::time::Duration;

use super::care::{By, Doubted, Walk};
use super::status::ScrubStatus;
use super::{Asked, Node, StartError};
use crate::base::{InfoHash, Instant, Snapshot, Table};
use crate::ledger::keys;
use crate::ledger::values::{ScrubEntry, Value as _};
use crate::wire::record::Bytes2;

/// How fast the scrub reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ScrubRate {
    /// All in about 30 days of powered-on time.
    #[default]
    Month,
    /// So many bytes a second.
    Bytes(u64),
    /// Not at all.
    Off,
}

/// Powered-on time in which everything is hashed once, unless the config says how fast.
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// Without a rate of its own it reads no faster.
const FASTEST_BYTES: u64 = 8 << 20;
/// The start comes first.
const AFTER_START: Duration = Duration::from_secs(60);
/// While somebody reads, it is looked again so much later.
const WHILE_READ: Duration = Duration::from_secs(1);
/// Two pieces are at most so far apart, and two rounds at least.
const REST: Duration = Duration::from_secs(3_600);

/// See the module.
#[derive(Default)]
pub(super) struct Scrub {
    walk: Walk,
    /// Bytes that a round has, as counted at its begin; 0 before one was begun.
    total_bytes: u64,
    round_bytes: u64,
    round_damaged: u64,
    due: Option<Instant>,
    flying: bool,
    last: Option<Round>,
}

/// A round that came to its end.
#[derive(Clone, Copy)]
struct Round {
    /// Powered-on milliseconds.
    ended_ms: u64,
    bytes: u64,
    damaged: u64,
}

impl<S: Snapshot> Node<S> {
    /// Goes on from where the last start ended.
    pub(super) fn load_scrub(&mut self) -> Result<(), StartError> {
        let stored = self.ledger.get(Table::Meta, keys::SCRUB)?;
        let entry = stored.map(|bytes| ScrubEntry::decode(&bytes)).transpose()?.unwrap_or_default();
        let scrub = &mut self.care.scrub;
        if let Some(at) = entry.at.as_ref().and_then(|at| InfoHash::from_slice(at)) {
            scrub.walk.from = (Bound::Included(at), entry.piece);
        }
        (scrub.round_bytes, scrub.round_damaged) = (entry.bytes, entry.damaged);
        scrub.last = (entry.last_ms > 0).then_some(Round {
            ended_ms: entry.last_ms,
            bytes: entry.last_bytes,
            damaged: entry.last_damaged,
        });
        let on = self.config.scrub != ScrubRate::Off;
        scrub.due = on.then(|| self.now.instant + AFTER_START);
        Ok(())
    }

    /// Writes how far it came; called with what is written anyway.
    pub(super) fn store_scrub(&mut self) {
        let scrub = &self.care.scrub;
        if scrub.total_bytes == 0 && scrub.last.is_none() {
            return;
        }
        let (at, piece) = match scrub.walk.from {
            (Bound::Included(at) | Bound::Excluded(at), piece) => (Some(Bytes2::from(&at.0[..])), piece),
            (Bound::Unbounded, _) => (None, 0),
        };
        let entry = ScrubEntry {
            at,
            piece,
            bytes: scrub.round_bytes,
            damaged: scrub.round_damaged,
            last_ms: scrub.last.map_or(0, |last| last.ended_ms),
            last_bytes: scrub.last.map_or(0, |last| last.bytes),
            last_damaged: scrub.last.map_or(0, |last| last.damaged),
        };
        self.ledger.put(Table::Meta, keys::SCRUB.to_vec(), entry.encode());
    }

    /// When the next piece is due.
    pub(super) fn scrub_timeout(&self) -> Option<Instant> {
        self.care.scrub.due.filter(|_| !self.care.scrub.flying && self.stopping.is_none())
    }

    /// Has the next piece hashed, if it is time and nobody reads.
    pub(super) fn scrub_due(&mut self) {
        let now = self.now.instant;
        if self.scrub_timeout().is_none_or(|due| due > now) {
            return;
        }
        let reads = |asked: &Asked| {
            use Asked::{Anew, Compare, Fill, Hash, Upload};
            matches!(asked, Upload(_) | Fill(..) | Hash(..) | Compare(..) | Anew(..))
        };
        if self.is_checking() || !self.files.fetches.is_empty() || self.asked.values().any(reads) {
            self.care.scrub.due = Some(now + WHILE_READ);
            return;
        }
        if self.care.scrub.total_bytes == 0 {
            self.care.scrub.total_bytes = self.held_bytes();
        }
        let mut walk = std::mem::take(&mut self.care.scrub.walk);
        match self.next_piece(&mut walk, By::Scrub) {
            Some(doubted) => {
                (self.care.scrub.walk, self.care.scrub.flying) = (walk, true);
                self.hash_piece(doubted);
            }
            None => self.round_ended(),
        }
    }

    fn round_ended(&mut self) {
        let ended_ms = self.uptime_ms();
        let scrub = &mut self.care.scrub;
        if scrub.round_bytes > 0 {
            let (bytes, damaged) = (scrub.round_bytes, scrub.round_damaged);
            scrub.last = Some(Round { ended_ms, bytes, damaged });
            log::info!("a scrub hashed all {bytes} bytes here, and found {damaged} pieces damaged");
        }
        (scrub.total_bytes, scrub.round_bytes, scrub.round_damaged) = (0, 0, 0);
        scrub.due = Some(self.now.instant + REST);
        self.store_scrub();
        self.flush_soon();
    }

    /// A piece of the scrub was hashed.
    pub(super) fn scrubbed(&mut self, doubted: &Doubted, damaged: bool) {
        let bytes = doubted.bytes();
        let scrub = &mut self.care.scrub;
        scrub.flying = false;
        scrub.round_bytes += bytes;
        scrub.round_damaged += u64::from(damaged);
        let wait = wait_after(self.config.scrub, bytes, scrub.total_bytes);
        scrub.due = wait.map(|wait| self.now.instant + wait);
    }

    /// What is told of the scrub.
    pub(super) fn scrub_status(&self) -> Option<ScrubStatus> {
        let scrub = &self.care.scrub;
        let on = self.config.scrub != ScrubRate::Off;
        on.then(|| ScrubStatus {
            done_bytes: scrub.round_bytes,
            total_bytes: scrub.total_bytes.max(scrub.round_bytes),
            last_s: scrub.last.map(|last| self.uptime_ms().saturating_sub(last.ended_ms) / 1_000),
            last_bytes: scrub.last.map_or(0, |last| last.bytes),
            last_damaged: scrub.last.map_or(0, |last| last.damaged),
            damaged: scrub.round_damaged,
        })
    }
}

/// How long it rests after a piece of so many bytes; `None` for good.
fn wait_after(rate: ScrubRate, bytes: u64, total_bytes: u64) -> Option<Duration> {
    let micros = |bytes: u64, rate: u64| u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
    let micros = match rate {
        ScrubRate::Off => return None,
        ScrubRate::Bytes(rate) => micros(bytes, rate),
        ScrubRate::Month => {
            let even = MONTH.as_micros() * u128::from(bytes) / u128::from(total_bytes.max(bytes).max(1));
            even.clamp(micros(bytes, FASTEST_BYTES), REST.as_micros())
        }
    };
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_of_any_size_takes_about_a_month_and_a_small_one_less() {
        let piece = 1 << 20;
        let month = |total: u64| wait_after(ScrubRate::Month, piece, total).unwrap();
        assert_eq!(month(piece), REST);
        let tera = month(1 << 40);
        assert!((2_400..2_600).contains(&tera.as_millis()), "{tera:?}");
        // 100 TiB would be too much for one disk's month.
        assert_eq!(month(100 << 40), Duration::from_millis(125));
        assert_eq!(wait_after(ScrubRate::Bytes(piece), piece, 1 << 40), Some(Duration::from_secs(1)));
        assert_eq!(wait_after(ScrubRate::Off, piece, 1 << 40), None);
        assert_eq!(wait_after(ScrubRate::Bytes(0), 0, 0), Some(Duration::ZERO));
    }
}

//! Keeping what no file shows any more: for the keep time and while there is room, then its space is given back.
//!
//! A torrent goes only when nothing here needs it: no file and no loser of a conflict shows it, no draft lies on it, nobody
//! has it open, is sent it, or waits for it. Of its space goes what no other torrent here refers to, and only after the
//! commit that dropped it is durable. Its record stays, so a version that went is still listed, and can come back from
//! friends.

use std::collections::BTreeSet;
use std::time::Duration;

use super::io::Segment;
use super::read::{Spot, torrent_of};
use super::vault::{CHUNK_UNITS, State, Vault};
use super::{Asked, Effect, Node, StartError};
use crate::base::limits::{CHUNK_SEALED, UNIT};
use crate::base::{InfoHash, Instant, Snapshot, Table};
use crate::keep::Shares;
use crate::ledger::keys;
use crate::ledger::values::{Extent, torrent_key};

/// What may go is looked at no more often, unless the keep time is shorter.
const PACE: Duration = Duration::from_secs(60);
/// So many go at once; where there are more, the next go after [`SOON`].
const AT_ONCE: usize = 1_024;
/// See [`AT_ONCE`].
const SOON: Duration = Duration::from_secs(1);
/// With what is written anyway, the powered-on time is written as often.
const UPTIME_WITH_MS: u64 = 60_000;
/// It is written by itself as often: a power cut makes older versions stay that much longer.
const UPTIME_ALONE_MS: u64 = 3_600_000;

/// Powered-on time, as the ledger remembers it.
#[derive(Default)]
pub struct Uptime {
    before_ms: u64,
    started: Instant,
    written_ms: u64,
}

impl Uptime {
    fn now_ms(&self, now: Instant) -> u64 {
        self.before_ms + u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

/// The units of an extent of a torrent of `length` bytes; of the last chunk only what it takes.
pub(super) fn units_of(extent: &Extent, length: u64) -> u32 {
    let from = u64::from(extent.chunk) * CHUNK_SEALED as u64;
    let whole = extent.chunks * CHUNK_UNITS;
    match length.checked_sub(from).filter(|_| length > 0) {
        Some(left) => whole.min(u32::try_from(left.div_ceil(UNIT as u64)).unwrap_or(u32::MAX)),
        // Where the length cannot be told, too much is held rather than too little.
        None => whole,
    }
}

pub(super) fn share_in(shares: &mut Shares, extents: &[Extent], length: u64) {
    for extent in extents {
        shares.add(extent.location, units_of(extent, length));
    }
}

impl Vault {
    /// Nothing of a torrent is here any more, once what follows is durable; what it referred to is given up by the caller.
    pub(super) fn drop(&mut self, info_hash: &InfoHash) {
        if let Some(torrent) = self.torrents.get_mut(info_hash) {
            (torrent.state, torrent.damaged) = (State::Absent, false);
        }
        self.layouts.forget(info_hash);
        self.dirty.remove(info_hash);
        self.renumbered.remove(info_hash);
        self.starved.remove(info_hash);
        self.active.remove(info_hash);
    }

    /// One more torrent refers to these extents.
    pub(super) fn share(&mut self, extents: &[Extent], length: u64) {
        share_in(&mut self.shares, extents, length);
    }

    /// One less does. Returns what now none refers to.
    pub(super) fn unshare(&mut self, extents: &[Extent], length: u64) -> Vec<Segment> {
        let free = extents.iter().flat_map(|extent| self.shares.remove(extent.location, units_of(extent, length)));
        free.map(|(location, units)| Segment::at(location, units * UNIT as u32)).collect()
    }
}

impl<S: Snapshot> Node<S> {
    /// A surviving body is in this torrent.
    pub fn refer_torrent(&mut self, info_hash: &InfoHash) {
        if let Some(torrent) = self.vault.torrents.get_mut(info_hash)
            && !torrent.wanted
        {
            torrent.wanted = true;
            self.vault.queue.push_back(*info_hash);
            self.tell_lack(info_hash);
            self.unnote_kept(info_hash);
        }
    }

    /// No surviving body is in this torrent any more. What is here stays for the keep time.
    pub fn release_torrent(&mut self, info_hash: &InfoHash) {
        if let Some(torrent) = self.vault.torrents.get_mut(info_hash) {
            torrent.wanted = false;
            self.vault.starved.remove(info_hash);
            if !torrent.asked && self.vault.active.remove(info_hash).is_some() {
                self.swarm.forget(self.now.instant, *info_hash);
            }
            self.note_kept(info_hash);
            self.safety_soon();
            if self.vault.loading.is_none() && !self.is_locked() {
                self.forget_freed(info_hash);
            }
        }
    }

    /// Gives up what one torrent referred to.
    pub(super) fn give_up(&mut self, extents: &[Extent], length: u64) {
        let free = self.vault.unshare(extents, length);
        if !free.is_empty() {
            self.after_commit(Effect::Punch(free));
        }
    }

    /// A torrent that no file shows, if something of it is here, is kept from now on.
    pub(super) fn note_kept(&mut self, info_hash: &InfoHash) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let nothing = matches!(torrent.state, State::Absent);
        let busy = self.is_locked() || self.vault.loading.is_some();
        if torrent.wanted || nothing || busy || self.vault.kept.since(info_hash).is_some() {
            return;
        }
        let now = self.uptime_ms();
        self.vault.kept.note(*info_hash, now);
        self.rewrite_entry(info_hash);
        let pace = self.pace();
        let soon = self.now.instant + pace;
        self.vault.collect_at = Some(self.vault.collect_at.map_or(soon, |at| at.min(soon)));
    }

    fn unnote_kept(&mut self, info_hash: &InfoHash) {
        let busy = self.is_locked() || self.vault.loading.is_some();
        if !busy && self.vault.kept.forget(info_hash).is_some() {
            self.rewrite_entry(info_hash);
        }
    }

    fn rewrite_entry(&mut self, info_hash: &InfoHash) {
        match self.vault.torrents.get(info_hash).map(|torrent| &torrent.state) {
            Some(State::Whole) => drop(self.vault.renumbered.insert(*info_hash)),
            Some(State::Partial(_)) => drop(self.vault.dirty.insert(*info_hash)),
            Some(State::Absent) | None => return,
        }
        self.flush_soon();
    }

    /// From now on, until [`Self::loaded`], what the tree shows in between says nothing.
    pub(super) fn begin_loading(&mut self) {
        let kept = std::mem::take(&mut self.vault.loading).unwrap_or_default();
        let known = self.vault.kept.oldest().filter_map(|id| Some((id, self.vault.kept.since(&id)?)));
        self.vault.loading = Some(known.chain(kept).collect());
    }

    /// The tree is as the ledger has it: what no file shows is kept since it was known before, or since now.
    pub(super) fn loaded(&mut self) {
        let Some(known) = self.vault.loading.take() else { return };
        if self.is_locked() {
            // What files show is not known: all stays as it was.
            return known.into_iter().for_each(|(info_hash, since)| self.vault.kept.note(info_hash, since));
        }
        let ids: Vec<InfoHash> = self.vault.torrents.keys().copied().collect();
        for info_hash in ids {
            if !self.shows(&info_hash) {
                self.forget_freed(&info_hash);
            }
            let Some(torrent) = self.vault.torrents.get(&info_hash) else { continue };
            let kept = !torrent.wanted && !matches!(torrent.state, State::Absent);
            match (kept, known.get(&info_hash)) {
                (true, Some(since)) => self.vault.kept.note(info_hash, *since),
                (true, None) => self.note_kept(&info_hash),
                (false, Some(_)) => {
                    self.vault.kept.forget(&info_hash);
                    self.rewrite_entry(&info_hash);
                }
                (false, None) => {}
            }
        }
        self.quota_soon();
        self.safety_soon();
        let pace = self.pace();
        self.vault.collect_at = (!self.vault.kept.is_empty()).then(|| self.now.instant + pace);
    }

    /// Reads the powered-on time of all starts before this one.
    pub(super) fn load_uptime(&mut self) -> Result<(), StartError> {
        let stored = self.ledger.get(Table::Meta, keys::UPTIME)?;
        let before_ms = stored.and_then(|bytes| Some(u64::from_be_bytes(bytes[..].try_into().ok()?))).unwrap_or(0);
        self.uptime = Uptime { before_ms, started: self.now.instant, written_ms: before_ms };
        Ok(())
    }

    pub(super) fn uptime_ms(&self) -> u64 {
        self.uptime.now_ms(self.now.instant)
    }

    /// A batch goes to the disk: it takes the powered-on time with it, if that is old.
    pub(super) fn uptime_with_batch(&mut self) {
        if self.ledger.is_dirty() {
            self.store_uptime();
        }
    }

    fn store_uptime(&mut self) {
        let now = self.uptime_ms();
        if now >= self.uptime.written_ms + UPTIME_WITH_MS {
            self.uptime.written_ms = now;
            self.ledger.put(Table::Meta, keys::UPTIME.to_vec(), now.to_be_bytes().to_vec());
            self.store_scrub();
        }
    }

    /// More may go than a moment ago.
    pub(super) fn look_at_kept(&mut self) {
        if !self.vault.kept.is_empty() {
            self.vault.collect_at = Some(self.now.instant + SOON);
        }
    }

    fn pace(&self) -> Duration {
        PACE.min(Duration::from_millis((self.vault.kept.keep_ms() / 4).max(1_000)))
    }

    /// When [`Self::keep_due`] has something to do.
    pub(super) fn keep_timeout(&self) -> Option<Instant> {
        let write = self.uptime.written_ms + UPTIME_ALONE_MS - self.uptime.before_ms;
        [self.vault.collect_at, Some(self.uptime.started + Duration::from_millis(write))].into_iter().flatten().min()
    }

    /// Lets go what is to go, and writes the powered-on time.
    pub(super) fn keep_due(&mut self) {
        let now_ms = self.uptime_ms();
        if now_ms >= self.uptime.written_ms + UPTIME_ALONE_MS {
            self.store_uptime();
            self.flush_soon();
        }
        if self.vault.collect_at.is_none_or(|at| at > self.now.instant) {
            return;
        }
        let needed = self.needed();
        let may_go = |node: &Self, id: &InfoHash| !needed.contains(id) && node.may_go(id);
        let (mut free, mut left) = (Vec::new(), AT_ONCE);
        for info_hash in self.vault.kept.expired(now_ms) {
            if left > 0 && may_go(self, &info_hash) {
                free.extend(self.let_go(&info_hash));
                left -= 1;
            }
        }
        let mut over = if left > 0 { self.over_room() } else { 0 };
        let oldest: Vec<InfoHash> = if over > 0 { self.vault.kept.oldest().collect() } else { Vec::new() };
        for info_hash in oldest {
            if left > 0 && over > 0 && may_go(self, &info_hash) {
                let freed = self.let_go(&info_hash);
                over = over.saturating_sub(freed.iter().map(|segment| u64::from(segment.length)).sum());
                free.extend(freed);
                left -= 1;
            }
        }
        if !free.is_empty() {
            self.after_commit(Effect::Punch(free));
        }
        if left == 0 {
            self.vault.collect_at = Some(self.now.instant + SOON);
            return;
        }
        let wait = match self.vault.kept.next(now_ms) {
            // What is needed now may be let go then, and room may be short again.
            Some(_) | None if over > 0 || !self.vault.kept.expired(now_ms).is_empty() => Some(self.pace()),
            Some(next) => Some(Duration::from_millis(next - now_ms).max(SOON)),
            None => None,
        };
        self.vault.collect_at = wait.map(|wait| self.now.instant + wait);
    }

    /// True when some file shows a torrent, or, on a cache, when a commit named it.
    pub fn shows(&self, info_hash: &InfoHash) -> bool {
        self.vault.torrents.get(info_hash).is_some_and(|torrent| torrent.wanted)
    }

    /// The torrents that are wanted here and not whole, for the simulator.
    pub fn lacking(&self) -> Vec<InfoHash> {
        let torrents = self.vault.torrents.iter();
        let lacking =
            torrents.filter(|(_, torrent)| torrent.wanted && !torrent.freed && !matches!(torrent.state, State::Whole));
        lacking.map(|(info_hash, _)| *info_hash).collect()
    }

    /// The torrent that a published file is in, for the simulator.
    pub fn torrent_at(&self, inode: super::io::Inode) -> Option<InfoHash> {
        let Spot::In(id, seen) = self.spot(inode).ok()? else { return None };
        torrent_of(&self.circles.get(&id)?.tree.body(&seen)?.body)
    }

    /// Torrents that were let go since the start, because no file showed them any more.
    pub fn collected(&self) -> u64 {
        self.vault.collected
    }

    /// Bytes by which what only older versions take is over the room for it.
    fn over_room(&self) -> u64 {
        let Some(room) = self.vault.kept.room() else { return 0 };
        let length = |id: InfoHash| self.vault.torrents.get(&id).map_or(0, |torrent| torrent.length);
        // What must stay anyway is no reason to let other versions go.
        let may_go = |id: &InfoHash| {
            let held = |circle: &_| self.is_held_back(circle, id);
            self.vault.torrents.get(id).is_some_and(|torrent| !held(&torrent.circle))
        };
        // Most of what they take is shared with what is shown: only where all of it were too much is it counted.
        if self.vault.kept.oldest().filter(may_go).map(length).sum::<u64>() <= room {
            return 0;
        }
        let mut older = Shares::default();
        for info_hash in self.vault.kept.oldest().filter(may_go) {
            if let Some(extents) = self.layout(&info_hash) {
                share_in(&mut older, &extents, length(info_hash));
            }
        }
        (self.vault.shares.units_only_in(&older) * UNIT as u64).saturating_sub(room)
    }

    /// The torrents that something here needs, whether a file shows them or not.
    fn needed(&self) -> BTreeSet<InfoHash> {
        let drafts = self.files.drafts.values().filter_map(|draft| draft.base.as_ref());
        let pins = self.files.pins.values().filter_map(|pin| pin.view.as_ref());
        let open = drafts.chain(pins).filter_map(|view| torrent_of(&view.body));
        let storing = self.asked.values().filter_map(|asked| match asked {
            Asked::Piece(info_hash, _) => Some(*info_hash),
            _ => None,
        });
        open.chain(storing).chain(self.vault.active.keys().copied()).chain(self.awaited()).collect()
    }

    /// True for a torrent of a circle whose whole tree is known here, which nobody is sent just now.
    fn may_go(&self, info_hash: &InfoHash) -> bool {
        let Some(torrent) = self.vault.torrents.get(info_hash).filter(|torrent| !torrent.wanted) else { return false };
        let known = self.circles.get(&torrent.circle).is_some_and(|circle| circle.readable() && !circle.unopened);
        let strange = self.files.unread.contains(&torrent.circle);
        let held = self.is_held_back(&torrent.circle, info_hash) || self.is_pledged(info_hash);
        known && !strange && !held && torrent.length > 0 && !self.swarm.serves(*info_hash)
    }

    /// Returns what comes free once that is durable.
    fn let_go(&mut self, info_hash: &InfoHash) -> Vec<Segment> {
        let Some(extents) = self.layout(info_hash) else {
            log::error!("where an older version lies is not known: it stays");
            return Vec::new();
        };
        let Some(torrent) = self.vault.torrents.get_mut(info_hash) else { return Vec::new() };
        torrent.asked = false;
        let length = torrent.length;
        self.vault.collected += 1;
        self.vault.kept.forget(info_hash);
        self.vault.drop(info_hash);
        self.swarm.evict(self.now.instant, *info_hash);
        self.ledger.delete(Table::Torrents, torrent_key(info_hash));
        self.flush_soon();
        self.tell_changed(info_hash);
        self.vault.unshare(&extents, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Location;

    #[test]
    fn an_extent_takes_what_its_torrent_is_long() {
        let extent = |chunk, chunks| Extent { chunk, chunks, location: Location { slab: 0, unit: 0 } };
        let chunk = CHUNK_SEALED as u64;
        assert_eq!(units_of(&extent(0, 2), 2 * chunk), 32);
        assert_eq!(units_of(&extent(0, 2), chunk + 4_096), 17);
        assert_eq!(units_of(&extent(1, 1), chunk + 4_096), 1);
        assert_eq!(units_of(&extent(0, 1), 5 * chunk), 16);
        assert_eq!(units_of(&extent(3, 1), 0), 16);
    }

    #[test]
    fn powered_on_time_goes_on_from_the_last_start() {
        let uptime = Uptime { before_ms: 100, started: Instant(5_000_000), written_ms: 100 };
        assert_eq!((uptime.now_ms(Instant(5_000_000)), uptime.now_ms(Instant(8_500_000))), (100, 3_600));
        assert_eq!(uptime.now_ms(Instant(0)), 100);
    }
}

//! The cache's part: what is mirrored for a circle that this node cannot read, and what goes when room is short.
//!
//! What goes and what comes is decided by [`keep::cache`](crate::keep::cache); here its facts are gathered and its plans
//! carried out: peers are told (BEP 54, holdings), then the ledger, and only when that is durable is the space given back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::vault::{ACTIVE, State, Torrent};
use super::{Asked, Fetch, Node};
use crate::base::limits::{CHUNK_SEALED, UNIT};
use crate::base::{CircleId, ConnId, InfoHash, Instant, RecordHash, Snapshot};
use crate::keep::cache::{Standing, room};
use crate::keep::holdings::Offer;
use crate::ledger::values::TorrentEntry;
use crate::wire::commit::Commit;
use crate::wire::metainfo::Metainfo;
use crate::wire::record::Outer;
use crate::wire::statement::Role;

/// What peers hold and who is there changes all the time: it is looked at no more often.
const LOOK: Duration = Duration::from_secs(1);
/// Numbers of wants that wait to be written.
const RENUMBERED_MAX: usize = 256;

impl<S: Snapshot> Node<S> {
    /// True where this node keeps ciphertext for others and so fetches all of it.
    pub(super) fn mirrors(&self, circle: &CircleId) -> bool {
        self.circles.get(circle).and_then(|circle| circle.role()).is_some_and(|role| !role.reads())
    }

    /// True for a torrent that a reader asked for, or that the policy fetches.
    pub(super) fn is_to_be_fetched(&self, info_hash: &InfoHash, torrent: &Torrent) -> bool {
        let by_policy = || self.mirrors(&torrent.circle) || self.owner_wants(info_hash, torrent);
        torrent.asked || (torrent.wanted && by_policy())
    }

    /// True for what is to be here though nobody opens it.
    pub(super) fn owner_wants(&self, info_hash: &InfoHash, torrent: &Torrent) -> bool {
        let all = self.config.fetch == Fetch::Everything && !torrent.freed;
        all || self.is_pinned_body(&torrent.circle, info_hash)
    }

    /// True where this node never could read: there each torrent may go. What a member wrote stays also when it has become a
    /// cache.
    pub(super) fn is_cached(&self, circle: &CircleId) -> bool {
        self.circles
            .get(circle)
            .is_some_and(|circle| !circle.is_locked() && circle.epochs.is_empty() && !circle.readable())
    }

    /// True for a node that is a cache in some circle.
    pub(super) fn caches_any(&self) -> bool {
        self.circles.keys().any(|circle| self.is_cached(circle))
    }

    /// A cache mirrors what the public part of a record tells of.
    pub(super) fn note_public_torrent(&mut self, id: &CircleId, commit: &Commit, record: RecordHash, bytes: &[u8]) {
        let Some(circle) = self.circles.get(id) else { return };
        let Ok(Outer { info: Some(info), .. }) = Outer::decode(bytes) else { return };
        let Ok(metainfo) = Metainfo::from_public(&info) else { return };
        if !metainfo.length.is_multiple_of(UNIT as u64) {
            return;
        }
        let info_hash = metainfo.info_hash(&circle.root_pem);
        self.introduce_torrent(id, info_hash, record, commit.dot, metainfo.length);
        if self.is_cached(id) {
            self.vault.cache.publish(self.now.instant, info_hash, metainfo.length);
        }
        self.refer_torrent(&info_hash);
    }

    /// What the ledger says of a torrent, at the start.
    pub(super) fn load_cached(&mut self, info_hash: &InfoHash, entry: &TorrentEntry) {
        if self.is_cached(&entry.circle) {
            // A record of it tells the exact length later.
            let chunks: u64 = entry.extents.iter().map(|extent| u64::from(extent.chunks)).sum();
            let held = !entry.extents.is_empty();
            self.vault.cache.load(*info_hash, chunks * CHUNK_SEALED as u64, entry.wanted, held);
        }
    }

    /// A member lacks these torrents, or opens channels for them.
    pub(super) fn wanted_by(&mut self, conn: ConnId, wanted: &[InfoHash]) {
        for info_hash in wanted {
            let circle = self.vault.torrents.get(info_hash).map(|torrent| torrent.circle);
            if let Some(circle) = circle.filter(|circle| self.is_cached(circle))
                && self.role_of_peer(conn, &circle).is_some_and(Role::reads)
            {
                self.vault.cache.want(self.now.instant, info_hash);
                self.note_number(info_hash);
            }
        }
    }

    /// What is whole was wanted: its new number is written with what is to be written anyway, if that is not too much.
    pub(super) fn note_number(&mut self, info_hash: &InfoHash) {
        let whole = self.vault.torrents.get(info_hash).is_some_and(|torrent| matches!(torrent.state, State::Whole));
        if whole && self.vault.renumbered.len() < RENUMBERED_MAX {
            self.vault.renumbered.insert(*info_hash);
        }
    }

    /// Writes new numbers into the gathering batch.
    pub(super) fn store_numbers(&mut self) {
        for info_hash in std::mem::take(&mut self.vault.renumbered) {
            let whole =
                self.vault.torrents.get(&info_hash).is_some_and(|torrent| matches!(torrent.state, State::Whole));
            if let Some(extents) = self.layout(&info_hash).filter(|_| whole) {
                self.put_torrent(&info_hash, &extents, None);
            }
        }
    }

    /// Somebody came or went, or told what it holds.
    pub(super) fn mirror_soon(&mut self) {
        if self.caches_any() {
            self.vault.cache.stir(self.now.instant + LOOK);
        }
    }

    /// When [`Self::mirror_due`] has something to do.
    pub(super) fn mirror_timeout(&self) -> Option<Instant> {
        self.vault.cache.timeout().filter(|_| self.vault.active.len() < ACTIVE)
    }

    /// True for a torrent that the cache has no room for yet.
    pub(super) fn is_kept_out(&self, info_hash: &InfoHash) -> bool {
        matches!(self.vault.cache.standing(info_hash), Some(Standing::Lacked | Standing::Gone))
    }

    /// True when a torrent is fetched only once the cache has room for it, of which it is reminded.
    pub(super) fn waits_for_room(&mut self, info_hash: &InfoHash) -> bool {
        let waits = self.is_kept_out(info_hash);
        if waits {
            self.vault.cache.look_again(self.now.instant, info_hash);
        }
        waits
    }

    /// Lets out what is to go, and fetches what there is room for.
    pub(super) fn mirror_due(&mut self) {
        let now = self.now.instant;
        if self.mirror_timeout().is_none_or(|at| at > now) {
            return;
        }
        let pieces = self.asked.values().filter_map(|asked| match asked {
            Asked::Piece(info_hash, _) => Some(*info_hash),
            _ => None,
        });
        // Of these a piece is on its way to the disk.
        let storing: BTreeSet<InfoHash> = pieces.collect();
        let slots = ACTIVE - self.vault.active.len();
        let mut cache = std::mem::take(&mut self.vault.cache);
        let spare = |id: &InfoHash| !storing.contains(id) && self.is_spare(id);
        let plan = cache.plan(now, slots, |id| self.is_offered(id), spare);
        self.vault.cache = cache;
        for info_hash in &plan.evict {
            self.evict(info_hash);
        }
        for info_hash in plan.fetch {
            self.vault.cache.hold(&info_hash);
            self.activate(info_hash, false);
            if self.vault.torrents.get(&info_hash).is_none_or(|torrent| matches!(torrent.state, State::Absent)) {
                self.vault.cache.give_back(&info_hash);
            }
        }
        self.vault.starved.extend(plan.aside);
    }

    /// True when a torrent may go: a member that is here now has told that it holds it whole, and nobody is fetching it
    /// from us; or nothing is lost by it.
    fn is_spare(&self, info_hash: &InfoHash) -> bool {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return false };
        let Some(circle) = self.circles.get(&torrent.circle) else { return false };
        let nothing_here = matches!(&torrent.state, State::Partial(partial) if partial.have.is_empty());
        // Where this node is no longer in the circle, nobody can ask it.
        if circle.role().is_none() || nothing_here {
            return true;
        }
        if self.swarm.serves(*info_hash) || self.is_pledged(info_hash) {
            return false;
        }
        // Of a chain with two histories nobody knows which one a summary means.
        let mut introduced = torrent.introductions();
        introduced.retain(|dot| !circle.forks.contains_key(&dot.chain()));
        let holders = self.peers.in_circle(&torrent.circle).filter(|(conn, peer)| {
            let conn = *conn;
            let reads = self.role_of_peer(conn, &torrent.circle).is_some_and(Role::reads);
            let told = || peer.holdings(&torrent.circle).map(|holdings| holdings.offer(info_hash, &introduced));
            reads && told() == Some(Offer::Whole)
        });
        // Where a member has let its copy go because of this one, it takes as many as that took.
        let pledges = &self.freeing.pledges;
        let least = if pledges.is_relied_on(info_hash) { pledges.copies() } else { 1 };
        holders.take(least).count() == least
    }

    fn evict(&mut self, info_hash: &InfoHash) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let whole = matches!(torrent.state, State::Whole);
        let length = self.metainfo(&torrent.circle, &torrent.record).map(|meta| meta.length);
        let Some((extents, length)) = self.layout(info_hash).zip(length) else {
            log::error!("where a torrent lies is not known: it stays");
            return;
        };
        self.vault.drop(info_hash);
        self.swarm.evict(self.now.instant, *info_hash);
        self.vault.cache.drop(self.now.instant, info_hash, whole);
        self.put_torrent(info_hash, &[], Some(Vec::new()));
        self.give_up(&extents, length);
        self.end_reliance(info_hash);
        self.tell_changed(info_hash);
    }

    /// The disk has so many bytes in all, and so many free: `os` tells it now and then.
    pub fn space(&mut self, now: crate::base::Now, total: u64, free: u64) {
        self.now = now;
        if total > 0 {
            // Versions share what they have alike, which is on the disk once.
            let taken = self.vault.cache.used().min(self.vault.shares.units() * UNIT as u64);
            let written = taken.saturating_sub(self.unwritten());
            self.vault.cache.allow(now.instant, room(total, free, written));
            self.vault.kept.disk(total);
        }
        self.settle();
    }

    /// Bytes of the room that is taken and not written yet.
    fn unwritten(&self) -> u64 {
        let missing = |state: &State| match state {
            State::Partial(partial) => {
                let chunks: u64 = partial.extents.iter().map(|extent| u64::from(extent.chunks)).sum();
                let pieces = u64::from(partial.have.len()).max(1);
                chunks * CHUNK_SEALED as u64 / pieces * (pieces - u64::from(partial.have.count()))
            }
            State::Absent | State::Whole => 0,
        };
        self.vault.torrents.values().map(|torrent| missing(&torrent.state)).sum()
    }
}

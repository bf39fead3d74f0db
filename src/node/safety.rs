//! What would be lost with this box: the bodies that are whole here and, as far as anybody told since the start, nowhere else.
//!
//! It is counted by and by, some torrents at a time, after something changed: what is told is some seconds old at most. What
//! friends held when they went away counts, until they come back and tell anew.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::status::SafetyStatus;
use super::sync::Shared;
use super::vault::{State, Torrent};
use super::{Node, circle::Circle};
use crate::base::{CircleId, ConnId, InfoHash, Instant, Snapshot, TransportKey};
use crate::keep::holdings::{Holdings, Offer};
use crate::wire::record::Chain;

/// After something changed it is counted anew so much later,
const LOOK: Duration = Duration::from_secs(3);
/// and so many torrents at a time,
const AT_ONCE: usize = 500;
/// so long after each other.
const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Default)]
pub struct Safety {
    away: BTreeMap<(CircleId, TransportKey), Away>,
    look_at: Option<Instant>,
    walk: Option<Walk>,
    told: Option<SafetyStatus>,
    /// Some of it is of a circle with friends.
    friends_lack: bool,
}

/// What somebody told who is not connected now.
struct Away {
    holdings: Holdings,
    theirs: BTreeMap<Chain, u64>,
}

/// A count on its way: the last torrent that was looked at, and what was found.
#[derive(Default)]
struct Walk {
    last: Option<InfoHash>,
    found: SafetyStatus,
    friends_lack: bool,
    /// Something changed meanwhile.
    stale: bool,
}

impl<S: Snapshot> Node<S> {
    /// Something changed of what is here, or elsewhere.
    pub(super) fn safety_soon(&mut self) {
        match &mut self.safety.walk {
            Some(walk) => walk.stale = true,
            None => drop(self.safety.look_at.get_or_insert(self.now.instant + LOOK)),
        }
    }

    pub(super) fn safety_timeout(&self) -> Option<Instant> {
        self.safety.look_at
    }

    /// A connection ended: what its peer told is remembered.
    pub(super) fn remember_away(&mut self, transport: TransportKey, circles: BTreeMap<CircleId, Shared>) {
        for (id, Shared { holdings, theirs, .. }) in circles {
            let ours = self.circles.get(&id).map(Circle::chain);
            let theirs = theirs.into_iter().filter(|(chain, _)| Some(*chain) == ours).collect();
            self.safety.away.insert((id, transport), Away { holdings, theirs });
        }
        self.safety_soon();
    }

    /// Somebody has told anew what it holds.
    pub(super) fn forget_away(&mut self, conn: ConnId, id: &CircleId) {
        if let Some(peer) = self.peers.get(conn) {
            self.safety.away.remove(&(*id, peer.transport));
        }
    }

    /// Counts on.
    pub(super) fn safety_due(&mut self) {
        let now = self.now.instant;
        if self.safety.look_at.is_none_or(|at| at > now) {
            return;
        }
        if self.is_locked() {
            self.safety.look_at = None;
            return;
        }
        let mut walk = self.safety.walk.take().unwrap_or_default();
        let from = walk.last.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut last, mut looked) = (None, 0);
        let shared: Vec<CircleId> = self.friends_circles().map(|circle| circle.id).collect();
        for (info_hash, torrent) in self.vault.torrents.range((from, Bound::Unbounded)).take(AT_ONCE) {
            (last, looked) = (Some(*info_hash), looked + 1);
            if self.is_only_here(info_hash, torrent) {
                walk.friends_lack |= shared.contains(&torrent.circle);
                walk.found.files += 1;
                walk.found.bytes += torrent.length;
            }
        }
        if looked == AT_ONCE {
            walk.last = last;
            self.safety.walk = Some(walk);
            self.safety.look_at = Some(now + PAUSE);
            return;
        }
        walk.found.changes = self.circles.values().any(|circle| self.wrote_alone(circle));
        walk.friends_lack |= self.friends_circles().any(|circle| self.wrote_alone(circle));
        self.safety.look_at = walk.stale.then(|| now + LOOK);
        (self.safety.told, self.safety.friends_lack) = (Some(walk.found), walk.friends_lack);
    }

    /// True where something of what friends share is only here. Nobody else is to have what is in the owner's own circle.
    #[cfg(feature = "panel")]
    pub(super) fn friends_lack(&self) -> bool {
        self.safety.friends_lack && !self.is_locked()
    }

    /// What is only here; `None` before it was counted.
    pub(super) fn safety_status(&self) -> Option<SafetyStatus> {
        self.safety.told.filter(|_| !self.is_locked())
    }

    fn is_only_here(&self, info_hash: &InfoHash, torrent: &Torrent) -> bool {
        let Some(circle) = self.circles.get(&torrent.circle).filter(|circle| circle.readable()) else { return false };
        if !torrent.wanted || !matches!(torrent.state, State::Whole) || !self.whole_elsewhere(info_hash).is_empty() {
            return false;
        }
        let introduced = torrent.introductions();
        let held = |away: &Away| away.holdings.offer(info_hash, &introduced) == Offer::Whole;
        !self.away_from(circle).any(held)
    }

    /// Of those who are away, whoever is still in the circle.
    fn away_from<'a>(&'a self, circle: &'a Circle) -> impl Iterator<Item = &'a Away> {
        let (from, to) = ((circle.id, TransportKey([0; 32])), (circle.id, TransportKey([0xff; 32])));
        let known = |transport: &TransportKey| circle.roster.member_by_transport(transport).is_some();
        self.safety.away.range(from..=to).filter(move |((_, transport), _)| known(transport)).map(|(_, away)| away)
    }

    /// True where nobody else is known to have the last that was written here.
    fn wrote_alone(&self, circle: &Circle) -> bool {
        let chain = circle.chain();
        let written = circle.chains.get(&chain).map_or(0, |tip| tip.sequence);
        let has = |theirs: &BTreeMap<Chain, u64>| theirs.get(&chain).is_some_and(|upto| *upto >= written);
        let there = self.peers.in_circle(&circle.id).any(|(_, peer)| has(&peer.circles[&circle.id].theirs));
        circle.readable() && written > 0 && !there && !self.away_from(circle).any(|away| has(&away.theirs))
    }
}

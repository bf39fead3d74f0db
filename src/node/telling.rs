//! Telling each other which torrents are held: a summary first, then what changed.

use std::collections::BTreeSet;

use super::sync::Shared;
use super::vault::{State, Torrent};
use super::{Effect, Node};
use crate::base::limits::HOLDINGS;
use crate::base::{CircleId, ConnId, InfoHash, Snapshot};
use crate::keep::holdings::{Offer, Teller};
use crate::wire::control::{self, Control};
use crate::wire::statement::Role;

/// Torrents that are told of as lacked at most.
const LACKED_MAX: usize = 40_000;
/// Info-hashes in one message.
const HOLDINGS_AT_ONCE: usize = 2_000;

impl<S: Snapshot> Node<S> {
    /// A torrent is whole and durable here, or has gone.
    pub fn tell_changed(&mut self, info_hash: &InfoHash) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let id = torrent.circle;
        self.each_shared(&id, |shared| shared.untold.push(*info_hash));
    }

    /// A torrent came to be wanted: caches are told soon, if it is not here by then.
    pub(super) fn tell_lack(&mut self, info_hash: &InfoHash) {
        let Some(torrent) = self.vault.torrents.get(info_hash).filter(|torrent| self.lacks(info_hash, torrent)) else {
            return;
        };
        let id = torrent.circle;
        self.each_shared(&id, |shared| shared.lacked.push(*info_hash));
    }

    fn each_shared(&mut self, id: &CircleId, change: impl Fn(&mut Shared)) {
        let conns: Vec<_> = self.peers.in_circle(id).map(|(conn, _)| conn).collect();
        for conn in &conns {
            if let Some(shared) = self.peers.get_mut(*conn).and_then(|peer| peer.circles.get_mut(id)) {
                change(shared);
            }
        }
        if !conns.is_empty() {
            self.announce_later(id);
        }
    }

    /// True for what this node wants to read and does not have.
    fn lacks(&self, info_hash: &InfoHash, torrent: &Torrent) -> bool {
        let wanted = torrent.asked || (torrent.wanted && self.owner_wants(info_hash, torrent));
        let reads = self.circles.get(&torrent.circle).is_some_and(|circle| circle.readable());
        wanted && reads && !matches!(torrent.state, State::Whole)
    }

    pub(super) fn tell_untold(&mut self, id: &CircleId) {
        let undurable = self.undurable();
        let conns: Vec<_> = self.peers.in_circle(id).map(|(conn, _)| conn).collect();
        for conn in conns {
            let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) else { continue };
            let (untold, lacked) = (std::mem::take(&mut shared.untold), std::mem::take(&mut shared.lacked));
            shared.told += untold.len();
            if shared.told > HOLDINGS {
                // What the peer remembers by name is bounded: a summary takes its place.
                self.tell_holdings(conn, id);
                continue;
            }
            for part in untold.chunks(HOLDINGS_AT_ONCE) {
                let mut message = blank(id);
                for info_hash in part {
                    match self.offer_here(info_hash, &undurable) {
                        Offer::Whole => message.whole.push(*info_hash),
                        Offer::Partial => message.partial.push(*info_hash),
                        Offer::None => message.gone.push(*info_hash),
                    }
                }
                self.tell(conn, &Control::Holdings(message));
            }
            self.tell_lacked(conn, id, lacked);
        }
    }

    /// Tells a cache what is wanted of it, as far as it still is.
    fn tell_lacked(&mut self, conn: ConnId, id: &CircleId, mut lacked: Vec<InfoHash>) {
        if lacked.is_empty() || self.role_of_peer(conn, id) != Some(Role::Cache) {
            return;
        }
        lacked.retain(|info_hash| {
            self.vault.torrents.get(info_hash).is_some_and(|torrent| self.lacks(info_hash, torrent))
        });
        for part in lacked.chunks(HOLDINGS_AT_ONCE) {
            self.tell(conn, &Control::Holdings(control::Holdings { wanted: part.to_vec(), ..blank(id) }));
        }
    }

    /// Torrents that are whole here, though a power cut now would lose a part: they are not told of.
    pub(super) fn undurable(&self) -> BTreeSet<InfoHash> {
        let effects = self.effects.iter().chain(&self.flying_effects);
        effects
            .filter_map(|effect| if let Effect::Whole(info_hash) = effect { Some(*info_hash) } else { None })
            .collect()
    }

    fn offer_here(&self, info_hash: &InfoHash, undurable: &BTreeSet<InfoHash>) -> Offer {
        match self.vault.torrents.get(info_hash).map(|torrent| &torrent.state) {
            Some(State::Whole) if !undurable.contains(info_hash) => Offer::Whole,
            Some(State::Partial(_)) => Offer::Partial,
            _ => Offer::None,
        }
    }

    /// Tells a peer everything that is held of a circle, and a cache what is wanted.
    pub(super) fn tell_holdings(&mut self, conn: ConnId, id: &CircleId) {
        let messages = self.all_holdings(id);
        let names = |message: &control::Holdings| message.gone.len() + message.whole.len() + message.partial.len();
        if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) {
            shared.told = messages.iter().map(names).sum();
        }
        for message in messages {
            self.tell(conn, &Control::Holdings(message));
        }
        let of_circle = self.vault.torrents.iter().filter(|(_, torrent)| torrent.circle == *id);
        let lacked =
            of_circle.filter(|(info_hash, torrent)| self.lacks(info_hash, torrent)).map(|(info_hash, _)| *info_hash);
        let lacked = lacked.take(LACKED_MAX).collect();
        self.tell_lacked(conn, id, lacked);
    }

    /// Everything that is held of a circle, as a summary where that is shorter.
    fn all_holdings(&self, id: &CircleId) -> Vec<control::Holdings> {
        let undurable = self.undurable();
        let (mut whole, mut partial, mut absent) = (Vec::new(), Vec::new(), Vec::new());
        for (info_hash, _) in self.vault.torrents.iter().filter(|(_, torrent)| torrent.circle == *id) {
            match self.offer_here(info_hash, &undurable) {
                Offer::Whole => whole.push(*info_hash),
                Offer::Partial => partial.push(*info_hash),
                Offer::None => absent.push(*info_hash),
            }
        }
        let heads = self.heads(id).heads;
        // A summary covers what it does not name: it tells the truth only where every torrent is known, and all that are
        // lacked can be named.
        let known = self.circles.get(id).is_some_and(|circle| !circle.unopened);
        let lacked = absent.len() + partial.len();
        if known && lacked < whole.len() && lacked <= LACKED_MAX {
            Teller::new(*id).full(heads.into_iter().map(|head| head.dot).collect(), absent, Vec::new(), partial)
        } else {
            // Friends take it that authors hold what they wrote.
            let own = |info_hash: &InfoHash| {
                let commits = self.vault.torrents.get(info_hash).map(Torrent::introductions).unwrap_or_default();
                commits.iter().any(|dot| dot.author == self.me.device.member)
            };
            absent.retain(own);
            Teller::new(*id).full(Vec::new(), absent, whole, partial)
        }
    }

    /// A peer told what it holds.
    pub fn on_holdings(&mut self, conn: ConnId, message: control::Holdings) {
        let id = message.circle;
        if !self.shares(conn, &id) {
            return;
        }
        let sweeping = message.reset == 1 || !message.upto.is_empty();
        let mut named: Vec<InfoHash> = Vec::new();
        if !sweeping {
            named.extend(message.whole.iter().chain(&message.partial).chain(&message.gone));
        }
        let applied = match self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(&id)) {
            Some(shared) => shared.holdings.apply(&message),
            None => return,
        };
        if let Err(error) = applied {
            return self.close(conn, error.to_string());
        }
        if sweeping {
            named.extend(self.vault.active.keys());
            self.feed_starved();
        }
        if message.reset == 1 {
            self.forget_away(conn, &id);
        }
        self.safety_soon();
        self.quota_news();
        self.wanted_by(conn, &message.wanted);
        self.mirror_soon();
        for info_hash in named {
            self.feed_if_starved(&info_hash);
            if let (true, Some(torrent), Some(peer)) =
                (self.vault.active.contains_key(&info_hash), self.vault.torrents.get(&info_hash), self.peers.get(conn))
            {
                let offer = self.offer_of(peer, &info_hash, torrent);
                self.swarm.offer(self.now.instant, conn, info_hash, offer);
            }
        }
    }
}

/// A message that tells nothing.
fn blank(id: &CircleId) -> control::Holdings {
    control::Holdings {
        circle: *id,
        gone: Vec::new(),
        whole: Vec::new(),
        partial: Vec::new(),
        reset: 0,
        upto: Vec::new(),
        wanted: Vec::new(),
    }
}

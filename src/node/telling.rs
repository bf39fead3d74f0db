//! Telling each other which torrents are held: a summary first, then what changed.

use super::Node;
use super::vault::State;
use crate::base::{CircleId, ConnId, InfoHash, Snapshot};
use crate::keep::holdings::Teller;
use crate::wire::control::{self, Control};

/// Torrents told by name before a summary replaces them; a peer remembers 65,536.
const TOLD_MAX: usize = 40_000;
/// Info-hashes in one message.
const HOLDINGS_AT_ONCE: usize = 2_000;

impl<S: Snapshot> Node<S> {
    /// A torrent is whole and durable here.
    pub fn tell_whole(&mut self, info_hash: &InfoHash) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let id = torrent.circle;
        let conns: Vec<_> = self.peers.in_circle(&id).map(|(conn, _)| conn).collect();
        for conn in conns {
            if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(&id)) {
                shared.untold.push(*info_hash);
            }
        }
        self.announce_later(&id);
    }

    pub(super) fn tell_untold(&mut self, id: &CircleId) {
        let conns: Vec<_> = self.peers.in_circle(id).map(|(conn, _)| conn).collect();
        for conn in conns {
            let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) else { continue };
            let untold = std::mem::take(&mut shared.untold);
            shared.told += untold.len();
            if shared.told > TOLD_MAX {
                // What the peer remembers by name is bounded: a summary takes its place.
                shared.told = 0;
                for message in self.all_holdings(id) {
                    self.tell(conn, &Control::Holdings(message));
                }
                continue;
            }
            for part in untold.chunks(HOLDINGS_AT_ONCE) {
                let message = control::Holdings {
                    circle: *id,
                    gone: Vec::new(),
                    whole: part.to_vec(),
                    partial: Vec::new(),
                    reset: 0,
                    upto: Vec::new(),
                };
                self.tell(conn, &Control::Holdings(message));
            }
        }
    }

    /// Everything that is held of a circle, as a summary where that is shorter.
    pub(super) fn all_holdings(&self, id: &CircleId) -> Vec<control::Holdings> {
        let (mut whole, mut partial, mut absent) = (Vec::new(), Vec::new(), Vec::new());
        for (info_hash, torrent) in self.vault.torrents.iter().filter(|(_, torrent)| torrent.circle == *id) {
            match torrent.state {
                State::Whole => whole.push(*info_hash),
                State::Partial(_) => partial.push(*info_hash),
                State::Absent => absent.push(*info_hash),
            }
        }
        let heads = self.heads(id).heads;
        if absent.len() + partial.len() < whole.len() {
            Teller::new(*id).full(heads.into_iter().map(|head| head.dot).collect(), absent, Vec::new(), partial)
        } else {
            Teller::new(*id).full(Vec::new(), Vec::new(), whole, partial)
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

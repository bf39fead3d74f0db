//! Fetching: what is wanted, which requests go out now, and what becomes of the pieces.

use super::channel::useful;
use super::layout::Layout;
use super::picker::{Block, Idle};
use super::torrent::{Fetch, Offer, Torrent};
use super::{Event, Stored, Swarm};
use crate::base::limits::BLOCK;
use crate::base::{ConnId, InfoHash, Instant, PieceIndex};
use crate::wire::peer::{Bitfield, PeerMessage, Request};

impl Swarm {
    /// Begins to fetch what is not in `have`. What was told before of this torrent is replaced, unless it is wanted
    /// already: then only the offers count.
    ///
    /// # Panics
    /// When the layout is not valid or the bitfield has another length.
    pub fn want(
        &mut self,
        now: Instant,
        info_hash: InfoHash,
        layout: Layout,
        have: Bitfield,
        offers: Vec<(ConnId, Offer)>,
    ) {
        let torrent = self.torrents.entry(info_hash).or_insert_with(|| Torrent::new(layout, have.clone()));
        if torrent.fetch.is_none() {
            assert_eq!(torrent.layout, layout, "a torrent has one layout");
            torrent.have = have;
            self.next_order += 1;
            let mut fetch = Fetch::new(self.next_order, layout, &torrent.have, self.rng.next_u64());
            for (id, channel) in &torrent.channels {
                let Some(session) = self.conns.get_mut(id).and_then(|conn| conn.sessions.get_mut(channel)) else {
                    continue;
                };
                fetch.picker.joined(&session.has);
                session.useful = useful(&fetch.picker, &session.has);
            }
            torrent.fetch = Some(fetch);
        }
        let channels: Vec<(ConnId, u32)> = torrent.channels.iter().map(|(id, channel)| (*id, *channel)).collect();
        for (id, offer) in offers {
            self.note(id, info_hash, offer);
        }
        if self.is_whole(info_hash) {
            return self.complete(now, info_hash);
        }
        self.arm(now);
        for (id, channel) in channels {
            self.review_interest(now, id, channel);
        }
        self.recruit(now, info_hash);
        self.wake(now, info_hash);
    }

    /// What a connection is believed to hold has changed. Nothing is noted of a torrent that is not wanted.
    pub fn offer(&mut self, now: Instant, id: ConnId, info_hash: InfoHash, offer: Offer) {
        if self.note(id, info_hash, offer) {
            self.arm(now);
            if self.recruit(now, info_hash) {
                self.wake(now, info_hash);
            }
        }
    }

    /// A torrent is no longer wanted nor served; its channels are shut.
    pub fn forget(&mut self, now: Instant, info_hash: InfoHash) {
        self.drop_fetch(info_hash);
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        let channels: Vec<(ConnId, u32)> = torrent.channels.iter().map(|(id, channel)| (*id, *channel)).collect();
        for (id, channel) in channels {
            self.close(now, id, channel, true);
        }
        self.torrents.remove(&info_hash);
        self.fill_all(now);
    }

    /// A reader waits for these pieces until `by`, and for some time after: they come before all else, and a block
    /// that is late is asked of a second peer too.
    pub fn urgent(&mut self, now: Instant, info_hash: InfoHash, pieces: &[PieceIndex], by: Instant) {
        let Some(fetch) = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut()) else { return };
        for piece in pieces {
            fetch.picker.urge(*piece, by.max(now));
        }
        if fetch.picker.is_urgent() {
            self.urgent.insert(info_hash);
            self.arm(now);
            self.recruit(now, info_hash);
            self.wake(now, info_hash);
        }
    }

    /// Answers [`Event::Store`].
    pub fn stored(&mut self, now: Instant, info_hash: InfoHash, piece: PieceIndex, stored: Stored) {
        let Some(torrent) = self.torrents.get_mut(&info_hash) else { return };
        let Some(fetch) = &mut torrent.fetch else { return };
        match stored {
            Stored::Good if fetch.picker.keep(piece, &mut self.budget) => {
                torrent.have.set(piece);
                self.announce(now, info_hash, piece);
                if self.is_whole(info_hash) {
                    self.complete(now, info_hash);
                }
            }
            Stored::Good => return,
            Stored::Bad => {
                if let Some(culprit) = fetch.picker.refuse(piece, &mut self.budget) {
                    self.misbehave(now, culprit, format!("its piece {} of {info_hash} hashes wrong", piece.0));
                }
                self.wake(now, info_hash);
            }
            Stored::Failed => self.stop(now, info_hash),
        }
        self.fill_all(now);
    }

    /// Sends requests on this connection while its window has room: for readers first, then by the order in which
    /// torrents were wanted.
    pub(super) fn fill(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.ready.is_empty() || !conn.window.has_room(!self.urgent.is_empty()) || conn.condemned {
            return;
        }
        let block_length = if conn.down.rate(now) > FAST && !conn.stock { BLOCK_FAST } else { BLOCK };
        let due: Vec<u32> = self.urgent.iter().filter_map(|info_hash| conn.channels.get(info_hash).copied()).collect();
        for channel in due {
            while matches!(self.ask_next(now, id, channel, block_length, true), Ask::Sent | Ask::Retry) {}
        }
        let mut after = (0, 0);
        loop {
            let Some(next) = self.conns.get(&id).and_then(|conn| conn.ready.range(after..).next().copied()) else {
                return;
            };
            match self.ask_next(now, id, next.1, block_length, false) {
                Ask::Sent => after = next,
                Ask::Retry => {}
                Ask::Later => after = (next.0, next.1.saturating_add(1)),
                Ask::Full => return,
            }
        }
    }

    /// Memory became free: what was held back goes on, of those with the least under way first. In any fixed order the
    /// first of several fast peers would take all of it each time, and the others would stand idle.
    pub(super) fn fill_all(&mut self, now: Instant) {
        let mut order: Vec<(u64, ConnId)> =
            self.conns.iter().map(|(id, conn)| (conn.window.in_flight(), *id)).collect();
        order.sort_unstable();
        for (_, id) in order {
            self.fill(now, id);
        }
    }

    /// Sends the next request on a channel, if there is one. `urgent` asks for what readers wait for, and no more.
    fn ask_next(&mut self, now: Instant, id: ConnId, channel: u32, block_length: u32, urgent: bool) -> Ask {
        let Some(conn) = self.conns.get_mut(&id) else { return Ask::Full };
        if !conn.window.has_room(urgent) {
            return Ask::Full;
        }
        let Some(session) = conn.sessions.get(&channel) else { return Ask::Later };
        let fetch = self.torrents.get_mut(&session.info_hash).and_then(|torrent| torrent.fetch.as_mut());
        let Some(fetch) = fetch else { return Ask::Later };
        let share = fetch.share(block_length);
        if !session.can_ask() {
            return Ask::Later;
        }
        let (picker, budget) = (&mut fetch.picker, &mut self.budget);
        let picked = if urgent {
            picker.pick_due(now, id, &session.has, block_length, budget).ok_or(Idle::Later)
        } else if session.asked.len() >= share {
            Err(Idle::Later)
        } else {
            picker.pick(now, id, &session.has, block_length, budget)
        };
        match picked {
            // A piece that one of our own nodes began, and left.
            Ok(block) if conn.stock && block.length > BLOCK => {
                picker.release(id, block);
                if picker.recut(block.piece, budget) { Ask::Retry } else { Ask::Later }
            }
            Ok(block) => {
                self.ask(now, id, channel, block);
                Ask::Sent
            }
            Err(Idle::Nothing) => {
                conn.ready.remove(&(fetch.order, channel));
                Ask::Later
            }
            Err(Idle::Later) => Ask::Later,
        }
    }

    /// Sends a request, unless it is out already.
    pub(super) fn ask(&mut self, now: Instant, id: ConnId, channel: u32, block: Block) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(session) = conn.sessions.get_mut(&channel) else { return };
        if session.asked.contains_key(&block) {
            return;
        }
        session.asked.insert(block, now);
        conn.window.asked(now, block.length);
        if let Some(fetch) = self.torrents.get_mut(&session.info_hash).and_then(|torrent| torrent.fetch.as_mut()) {
            fetch.quiet_since.get_or_insert(now);
        }
        self.send(id, channel, &PeerMessage::Request(request(block)));
        self.arm(now);
    }

    /// Lets every source of a torrent look again for blocks to ask for.
    pub(super) fn wake(&mut self, now: Instant, info_hash: InfoHash) {
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        let Some(fetch) = &torrent.fetch else { return };
        let mut ids = Vec::with_capacity(torrent.channels.len());
        for (id, channel) in &torrent.channels {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            if conn.sessions.get(channel).is_some_and(|session| session.interested && !session.choked) {
                conn.ready.insert((fetch.order, *channel));
                ids.push(*id);
            }
        }
        for id in ids {
            self.fill(now, id);
        }
    }

    /// Tells the peer whether we are interested, when that changed, and has its channel looked at when we are.
    pub(super) fn review_interest(&mut self, now: Instant, id: ConnId, channel: u32) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(session) = conn.sessions.get_mut(&channel) else { return };
        let fetch = self.torrents.get_mut(&session.info_hash).and_then(|torrent| torrent.fetch.as_mut());
        let Some(fetch) = fetch else { return };
        let key = (fetch.order, channel);
        let interested = session.useful > 0;
        let changed = interested != session.interested;
        session.interested = interested;
        match (interested, changed) {
            (true, true) => {
                fetch.sources += 1;
                conn.ready.insert(key);
                self.send(id, channel, &PeerMessage::Interested);
            }
            (true, false) => {
                conn.ready.insert(key);
            }
            (false, true) => {
                fetch.sources -= 1;
                conn.ready.remove(&key);
                self.send(id, channel, &PeerMessage::NotInterested);
            }
            (false, false) => return,
        }
        self.fill(now, id);
    }

    /// Stops fetching a torrent; it goes on being served on the channels that peers need.
    pub(super) fn stop(&mut self, now: Instant, info_hash: InfoHash) {
        self.drop_fetch(info_hash);
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        if torrent.channels.is_empty() {
            self.torrents.remove(&info_hash);
            return;
        }
        let channels: Vec<(ConnId, u32)> = torrent.channels.iter().map(|(id, channel)| (*id, *channel)).collect();
        for (id, channel) in channels {
            let session = self.conns.get_mut(&id).and_then(|conn| conn.sessions.get_mut(&channel));
            let Some(session) = session else { continue };
            let was_interested = std::mem::take(&mut session.interested);
            if session.ours && !session.peer_interested {
                self.close(now, id, channel, true);
            } else if was_interested {
                self.send(id, channel, &PeerMessage::NotInterested);
            }
        }
    }

    fn complete(&mut self, now: Instant, info_hash: InfoHash) {
        self.events.push_back(Event::Complete { info_hash });
        self.stop(now, info_hash);
    }

    fn is_whole(&self, info_hash: InfoHash) -> bool {
        let fetch = self.torrents.get(&info_hash).and_then(|torrent| torrent.fetch.as_ref());
        fetch.is_some_and(|fetch| fetch.picker.missing() == 0)
    }

    /// Ends the fetching of a torrent and leaves its channels as they are.
    fn drop_fetch(&mut self, info_hash: InfoHash) {
        self.urgent.remove(&info_hash);
        let Some(torrent) = self.torrents.get_mut(&info_hash) else { return };
        let Some(fetch) = torrent.fetch.take() else { return };
        for id in fetch.offers.keys() {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.waiting.remove(&(fetch.order, info_hash));
            }
        }
        for (id, channel) in &torrent.channels {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.ready.remove(&(fetch.order, *channel));
            }
        }
        fetch.picker.close(&mut self.budget);
    }

    /// Tells the peers that we have this piece. Those that have it too are of less use now.
    fn announce(&mut self, now: Instant, info_hash: InfoHash, piece: PieceIndex) {
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        let channels: Vec<(ConnId, u32)> = torrent.channels.iter().map(|(id, channel)| (*id, *channel)).collect();
        let is_last = self.is_whole(info_hash);
        for (id, channel) in channels {
            let session = self.conns.get_mut(&id).and_then(|conn| conn.sessions.get_mut(&channel));
            let Some(session) = session else { continue };
            if !session.has.has(piece) {
                self.send(id, channel, &PeerMessage::Have(piece.0));
                continue;
            }
            session.useful = session.useful.saturating_sub(1);
            if session.useful == 0 && !is_last {
                self.review_interest(now, id, channel);
            }
        }
    }

    /// Notes what a connection offers; false when the torrent is not wanted or the connection not there.
    fn note(&mut self, id: ConnId, info_hash: InfoHash, offer: Offer) -> bool {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.condemned) else { return false };
        let fetch = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut());
        let Some(fetch) = fetch else { return false };
        if offer == Offer::None {
            fetch.offers.remove(&id);
            conn.waiting.remove(&(fetch.order, info_hash));
        } else {
            fetch.offers.insert(id, offer);
            fetch.refused.remove(&id);
        }
        true
    }
}

/// What came of looking for a block to ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// It was asked for.
    Sent,
    /// What stood in the way is gone.
    Retry,
    /// This channel has none for now.
    Later,
    /// The connection's window is full.
    Full,
}

/// The request for a block.
pub fn request(block: Block) -> Request {
    Request { piece: block.piece.0, begin: block.begin, length: block.length }
}

/// Bytes per second over which a connection is asked for blocks of [`BLOCK_FAST`] bytes.
const FAST: u64 = 4_000_000;
const BLOCK_FAST: u32 = 65_536;

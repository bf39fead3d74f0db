//! What a peer says on a torrent channel, and what it means for us.

use bytes::Bytes;

use super::channel::useful;
use super::fetch::request;
use super::has::Has;
use super::picker::{Block, Received};
use super::{Event, Swarm};
use crate::base::limits::REQUEST_QUEUE;
use crate::base::{ConnId, InfoHash, Instant, PieceIndex};
use crate::wire::peer::{Bitfield, DONTHAVE, ExtendedHandshake, PeerMessage, decode_donthave};

impl Swarm {
    /// A frame of a torrent channel came.
    pub fn message(&mut self, now: Instant, id: ConnId, channel: u32, payload: Bytes) {
        let Some(conn) = self.conns.get(&id).filter(|conn| !conn.condemned) else { return };
        let told = match conn.sessions.get(&channel) {
            Some(session) => self.take(now, id, channel, session.info_hash, &payload),
            None if conn.was_open(channel) => return,
            None => Err(format!("channel {channel} was never opened")),
        };
        if let Err(why) = told {
            self.misbehave(now, id, why);
        }
    }

    fn take(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: u32,
        info_hash: InfoHash,
        payload: &Bytes,
    ) -> Result<(), String> {
        match PeerMessage::decode(payload).map_err(|error| error.to_string())? {
            PeerMessage::Choke => self.choke(id, channel),
            PeerMessage::Unchoke => {
                self.session(id, channel)?.choked = false;
                self.review_interest(now, id, channel);
            }
            PeerMessage::Interested => self.interested(id, channel)?,
            PeerMessage::NotInterested => {
                self.session(id, channel)?.peer_interested = false;
                self.close_unneeded(now, id, channel);
            }
            PeerMessage::Have(number) => {
                let piece = self.mint(info_hash, number)?;
                self.have(now, id, channel, info_hash, piece)?;
            }
            PeerMessage::Bitfield(bits) => {
                let count = self.torrents.get(&info_hash).map_or(0, |torrent| torrent.layout.piece_count());
                let bits = Bitfield::from_bytes(&bits, count).map_err(|error| error.to_string())?;
                let has = if bits.is_full() { Has::All } else { Has::Some(bits) };
                self.told(now, id, channel, info_hash, has)?;
            }
            PeerMessage::HaveAll => self.told(now, id, channel, info_hash, Has::All)?,
            PeerMessage::HaveNone => {
                let count = self.torrents.get(&info_hash).map_or(0, |torrent| torrent.layout.piece_count());
                self.told(now, id, channel, info_hash, Has::Some(Bitfield::new(count)))?;
            }
            PeerMessage::Request(request) => self.requested(now, id, channel, info_hash, request)?,
            PeerMessage::Cancel(request) => self.cancelled(id, channel, request)?,
            PeerMessage::Piece { piece, begin, block } => {
                self.block(now, id, channel, info_hash, PieceIndex(piece), begin, block)?;
            }
            PeerMessage::Reject(request) => {
                let block = Block { piece: PieceIndex(request.piece), begin: request.begin, length: request.length };
                self.rejected(now, id, channel, info_hash, block);
            }
            PeerMessage::Extended { id: ExtendedHandshake::ID, payload } => {
                let handshake = ExtendedHandshake::decode(&payload).map_err(|error| error.to_string())?;
                let session = self.session(id, channel)?;
                let reqq = handshake.reqq.map_or(REQUEST_QUEUE, |reqq| reqq as usize);
                session.reqq = reqq.clamp(1, REQUEST_QUEUE);
                session.donthave = handshake.donthave;
            }
            PeerMessage::Extended { id: DONTHAVE, payload } => {
                let number = decode_donthave(&payload).map_err(|error| error.to_string())?;
                let piece = self.mint(info_hash, number)?;
                self.dont_have(now, id, channel, info_hash, piece)?;
            }
            PeerMessage::KeepAlive
            | PeerMessage::Suggest(_)
            | PeerMessage::AllowedFast(_)
            | PeerMessage::Extended { .. }
            | PeerMessage::Unknown(_) => {}
        }
        Ok(())
    }

    /// The index of a piece that a peer named.
    pub(super) fn mint(&self, info_hash: InfoHash, number: u32) -> Result<PieceIndex, String> {
        let piece = self.torrents.get(&info_hash).and_then(|torrent| torrent.layout.piece(number));
        piece.ok_or_else(|| format!("{info_hash} has no piece {number}"))
    }

    /// The session of an open channel.
    pub(super) fn session(&mut self, id: ConnId, channel: u32) -> Result<&mut super::session::Session, String> {
        let session = self.conns.get_mut(&id).and_then(|conn| conn.sessions.get_mut(&channel));
        session.ok_or_else(|| format!("channel {channel} is not open"))
    }

    /// Requests that are out are refused one by one (BEP 6), or time out.
    fn choke(&mut self, id: ConnId, channel: u32) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(session) = conn.sessions.get_mut(&channel) else { return };
        session.choked = true;
        if let Some(fetch) = self.torrents.get(&session.info_hash).and_then(|torrent| torrent.fetch.as_ref()) {
            conn.ready.remove(&(fetch.order, channel));
        }
    }

    fn interested(&mut self, id: ConnId, channel: u32) -> Result<(), String> {
        let session = self.session(id, channel)?;
        session.peer_interested = true;
        if !std::mem::replace(&mut session.unchoked, true) {
            self.send(id, channel, &PeerMessage::Unchoke);
        }
        Ok(())
    }

    /// The peer tells all that it has, once, before any `have`.
    fn told(&mut self, now: Instant, id: ConnId, channel: u32, info_hash: InfoHash, has: Has) -> Result<(), String> {
        let session = self.session(id, channel)?;
        if std::mem::replace(&mut session.told, true) {
            return Err(format!("it told twice what it has of {info_hash}"));
        }
        session.has = has;
        self.reckon(now, id, channel, info_hash);
        Ok(())
    }

    fn have(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: u32,
        info_hash: InfoHash,
        piece: PieceIndex,
    ) -> Result<(), String> {
        let count = self.torrents.get(&info_hash).map_or(0, |torrent| torrent.layout.piece_count());
        let session = self.session(id, channel)?;
        if !std::mem::replace(&mut session.told, true) {
            // A peer that has nothing need not say so (BEP 3).
            session.has = Has::Some(Bitfield::new(count));
            self.reckon(now, id, channel, info_hash);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Some(session) = conn.sessions.get_mut(&channel) else { return Ok(()) };
        if !session.has.gain(piece) {
            return Ok(());
        }
        let fetch = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut());
        if let Some(fetch) = fetch {
            fetch.picker.gained(piece);
            if fetch.picker.wants(piece) {
                session.useful += 1;
                self.review_interest(now, id, channel);
            }
        }
        Ok(())
    }

    fn dont_have(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: u32,
        info_hash: InfoHash,
        piece: PieceIndex,
    ) -> Result<(), String> {
        let Some(torrent) = self.torrents.get_mut(&info_hash) else { return Ok(()) };
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Some(session) = conn.sessions.get_mut(&channel) else { return Ok(()) };
        if !session.has.has(piece) {
            return Ok(());
        }
        let was_all = session.has == Has::All;
        let mut bits = match std::mem::replace(&mut session.has, Has::All) {
            Has::All => Bitfield::full(torrent.layout.piece_count()),
            Has::Some(bits) => bits,
        };
        bits.clear(piece);
        session.has = Has::Some(bits);
        if let Some(fetch) = &mut torrent.fetch {
            if was_all {
                fetch.picker.joined(&session.has);
            } else {
                fetch.picker.lost(piece);
            }
            if fetch.picker.wants(piece) {
                session.useful = session.useful.saturating_sub(1);
            }
            self.review_interest(now, id, channel);
            self.recruit(now, info_hash);
        }
        Ok(())
    }

    /// Counts anew what a peer that told all is good for.
    fn reckon(&mut self, now: Instant, id: ConnId, channel: u32, info_hash: InfoHash) {
        let Some(fetch) = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut()) else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(session) = conn.sessions.get_mut(&channel) else { return };
        fetch.picker.joined(&session.has);
        session.useful = useful(&fetch.picker, &session.has);
        self.review_interest(now, id, channel);
        self.recruit(now, info_hash);
    }

    #[expect(clippy::too_many_arguments, reason = "it is one message, taken apart")]
    fn block(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: u32,
        info_hash: InfoHash,
        piece: PieceIndex,
        begin: u32,
        data: Bytes,
    ) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Some(session) = conn.sessions.get_mut(&channel) else { return Ok(()) };
        let block = Block { piece, begin, length: data.len() as u32 };
        conn.down.add(now, data.len() as u64);
        let Some(asked_at) = session.asked.remove(&block) else {
            conn.unasked += data.len() as u64;
            return if conn.unasked > UNASKED { Err("it sends blocks that nobody asked for".into()) } else { Ok(()) };
        };
        conn.window.answered(now, asked_at, block.length);
        if let Some(fetch) = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut()) {
            fetch.meter.add(now, data.len() as u64);
            *fetch.got.entry(id).or_default() += data.len() as u64;
            let (other, whole) = match fetch.picker.receive(id, block, data) {
                Received::Unneeded => (None, None),
                Received::Kept(other) => (other, None),
                Received::Whole(other, blocks) => (other, Some(blocks)),
            };
            fetch.quiet_since = fetch.picker.is_under_way().then_some(now);
            if let Some(other) = other {
                self.take_back(other, info_hash, block);
            }
            if let Some(blocks) = whole {
                self.events.push_back(Event::Store { info_hash, piece, blocks });
            }
        }
        self.fill(now, id);
        Ok(())
    }

    /// A block that was asked of two peers came from the other. It stays among what this one may send, since it may
    /// be on its way.
    fn take_back(&mut self, id: ConnId, info_hash: InfoHash, block: Block) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Some(channel) = conn.channels.get(&info_hash).copied() else { return };
        if conn.sessions.get(&channel).is_some_and(|session| session.asked.contains_key(&block)) {
            self.send(id, channel, &PeerMessage::Cancel(request(block)));
        }
    }

    fn rejected(&mut self, now: Instant, id: ConnId, channel: u32, info_hash: InfoHash, block: Block) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(session) = conn.sessions.get_mut(&channel) else { return };
        if session.asked.remove(&block).is_none() {
            return;
        }
        conn.window.refused(block.length);
        let fetch = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut());
        let budget = &mut self.budget;
        let released = fetch.is_some_and(|fetch| {
            let released = fetch.picker.release(id, block);
            fetch.picker.pass_on(id, block.piece, budget);
            released
        });
        if released {
            if session.paused.is_none() {
                conn.window.halve();
            }
            session.paused = Some(now + PAUSE);
            self.arm(now);
            self.wake(now, info_hash);
        } else {
            self.fill(now, id);
        }
    }
}

/// Bytes of blocks that a peer may send without being asked, over the life of a connection.
const UNASKED: u64 = 1 << 20;
/// Time for which nothing is asked on a channel on which a request was refused.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

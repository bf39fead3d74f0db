//! Serving: requests wait in their channel's queue, and are read when the connection has room, channel by channel.

use bytes::Bytes;

use super::picker::Block;
use super::{Event, Swarm};
use crate::base::limits::REQUEST_QUEUE;
use crate::base::{ConnId, InfoHash, Instant, PieceIndex, Ticket};
use crate::wire::peer::{PeerMessage, Request, encode_donthave};

use super::fetch::request;

/// A block that is being read to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    conn: ConnId,
    channel: u32,
    block: Block,
}

impl Swarm {
    /// Answers [`Event::Read`]. `None` means that it could not be read, and is refused.
    pub fn read_done(&mut self, now: Instant, ticket: Ticket, data: Option<Bytes>) {
        let Some(Reading { conn: id, channel, block }) = self.reads.remove(&ticket) else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.upload.read(block.length);
        if conn.sessions.contains_key(&channel) {
            match data.filter(|data| data.len() == block.length as usize) {
                Some(data) => {
                    conn.up.add(now, data.len() as u64);
                    let message = PeerMessage::Piece { piece: block.piece.0, begin: block.begin, block: data };
                    self.send(id, channel, &message);
                }
                None => self.send(id, channel, &PeerMessage::Reject(request(block))),
            }
        }
        self.pump(now, id);
    }

    /// Bytes of frames on this connection were handed to the kernel, headers left out.
    pub fn sent(&mut self, now: Instant, id: ConnId, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.upload.credit(now, bytes);
            self.pump(now, id);
        }
    }

    /// The node put control messages of so many bytes on this connection, which [`Swarm::sent`] will credit too.
    pub fn charge(&mut self, id: ConnId, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.upload.put(bytes);
        }
    }

    /// A piece that was here is lost: peers are told (BEP 54), and it is fetched again if the torrent is wanted.
    pub fn lost(&mut self, now: Instant, info_hash: InfoHash, piece: PieceIndex) {
        let Some(torrent) = self.torrents.get_mut(&info_hash) else { return };
        if !torrent.have.has(piece) {
            return;
        }
        torrent.have.clear(piece);
        if let Some(fetch) = &mut torrent.fetch {
            fetch.picker.want(piece);
        }
        let is_wanted = torrent.fetch.is_some();
        let channels: Vec<(ConnId, u32)> = torrent.channels.iter().map(|(id, channel)| (*id, *channel)).collect();
        for (id, channel) in channels {
            let Ok(session) = self.session(id, channel) else { continue };
            let donthave = session.donthave;
            session.useful += u32::from(is_wanted && session.has.has(piece));
            if let Some(donthave) = donthave {
                let payload = encode_donthave(piece.0);
                self.send(id, channel, &PeerMessage::Extended { id: donthave, payload });
            }
            self.review_interest(now, id, channel);
        }
    }

    /// All of a torrent is given up: it is no longer fetched, requests that wait are refused, and peers are told of each
    /// piece (BEP 54).
    pub fn evict(&mut self, now: Instant, info_hash: InfoHash) {
        self.stop(now, info_hash);
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        let had: Vec<PieceIndex> = torrent.have.iter().collect();
        let channels: Vec<(ConnId, u32)> = torrent.channels.iter().map(|(id, channel)| (*id, *channel)).collect();
        for (id, channel) in channels {
            let waiting = self.session(id, channel).map(|session| std::mem::take(&mut session.wanted));
            let refused = waiting.and_then(|mut waiting| {
                waiting.drain(..).try_for_each(|block| self.refuse(id, channel, request(block)))
            });
            if let Err(why) = refused {
                self.misbehave(now, id, why);
            }
        }
        for piece in had {
            self.lost(now, info_hash, piece);
        }
    }

    /// True while some peer wants pieces of a torrent from us.
    pub fn serves(&self, info_hash: InfoHash) -> bool {
        let channels = self.torrents.get(&info_hash).into_iter().flat_map(|torrent| &torrent.channels);
        let mut sessions = channels.filter_map(|(id, channel)| self.conns.get(id)?.sessions.get(channel));
        sessions.any(|session| session.peer_interested)
    }

    /// The peer asks for a block.
    pub(super) fn requested(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: u32,
        info_hash: InfoHash,
        wanted: Request,
    ) -> Result<(), String> {
        let piece = self.mint(info_hash, wanted.piece)?;
        let Some(torrent) = self.torrents.get(&info_hash) else { return Ok(()) };
        if !torrent.layout.holds(piece, wanted.begin, wanted.length) {
            return Err(format!("it asked for bytes outside piece {} of {info_hash}", piece.0));
        }
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let Some(session) = conn.sessions.get_mut(&channel) else { return Ok(()) };
        if !torrent.have.has(piece) || session.wanted.len() >= REQUEST_QUEUE {
            return self.refuse(id, channel, wanted);
        }
        session.wanted.push_back(Block { piece, begin: wanted.begin, length: wanted.length });
        if session.wanted.len() == 1 {
            conn.upload.turns.push_back(channel);
        }
        self.pump(now, id);
        Ok(())
    }

    /// The peer takes a request back. One that waits is refused, as BEP 6 asks; one that is being read is answered.
    pub(super) fn cancelled(&mut self, id: ConnId, channel: u32, wanted: Request) -> Result<(), String> {
        let session = self.session(id, channel)?;
        match session.wanted.iter().position(|block| request(*block) == wanted) {
            Some(at) => {
                session.wanted.remove(at);
                self.refuse(id, channel, wanted)
            }
            None => Ok(()),
        }
    }

    fn refuse(&mut self, id: ConnId, channel: u32, wanted: Request) -> Result<(), String> {
        if self.conns.get_mut(&id).is_some_and(|conn| !conn.upload.refuse()) {
            return Err("it asks for more than it reads".into());
        }
        self.send(id, channel, &PeerMessage::Reject(wanted));
        Ok(())
    }

    /// Has blocks read while the connection has room.
    fn pump(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        while conn.upload.has_room(now)
            && let Some(channel) = conn.upload.turns.pop_front()
        {
            let Some(session) = conn.sessions.get_mut(&channel) else { continue };
            let Some(block) = session.wanted.pop_front() else { continue };
            if !session.wanted.is_empty() {
                conn.upload.turns.push_back(channel);
            }
            conn.upload.reads(block.length);
            self.next_ticket += 1;
            let ticket = Ticket(self.next_ticket);
            self.reads.insert(ticket, Reading { conn: id, channel, block });
            let Block { piece, begin, length } = block;
            self.events.push_back(Event::Read { ticket, info_hash: session.info_hash, piece, begin, length });
        }
    }
}

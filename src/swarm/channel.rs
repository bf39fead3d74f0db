//! Opening and shutting channels: whom to ask for a torrent, and what both sides say first.

use super::has::Has;
use super::layout::Layout;
use super::picker::Picker;
use super::session::Session;
use super::torrent::{Offer, Torrent};
use super::{Event, Swarm};
use crate::base::limits::REQUEST_QUEUE;
use crate::base::{ConnId, InfoHash, Instant};
use crate::wire::peer::{Bitfield, DONTHAVE, ExtendedHandshake, PeerMessage};

impl Swarm {
    /// The peer opened a channel. `share` is what we hold of the torrent; `None` refuses, unless it is wanted.
    ///
    /// When both sides open a channel for one torrent at once, the lower number stays and the opener of the other
    /// shuts it.
    ///
    /// # Panics
    /// When the layout of `share` is not valid or its bitfield has another length.
    pub fn opened(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: u32,
        info_hash: InfoHash,
        share: Option<(Layout, Bitfield)>,
    ) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.condemned) else { return };
        if !conn.takes(channel) {
            self.misbehave(now, id, format!("it opened channel {channel}, whose number it may not use"));
            return;
        }
        match conn.channels.get(&info_hash) {
            Some(other) if conn.sessions[other].ours && channel < *other => {
                let other = *other;
                self.events.push_back(Event::Shut { conn: id, channel: other });
                self.end(id, other);
            }
            Some(other) if conn.sessions[other].ours => return,
            Some(_) => return self.events.push_back(Event::Shut { conn: id, channel }),
            None => {}
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        // Without a share the peer has no right to know of the torrent, though it be wanted here.
        let Some((layout, have)) = share.filter(|_| conn.has_slot_for_peer()) else {
            return self.events.push_back(Event::Shut { conn: id, channel });
        };
        self.torrents.entry(info_hash).or_insert_with(|| Torrent::new(layout, have));
        let Some(torrent) = self.torrents.get_mut(&info_hash) else { return };
        torrent.channels.insert(id, channel);
        let choked = conn.stock;
        conn.insert(channel, Session { choked, ..Session::new(info_hash, torrent.layout, false, false) });
        if let Some(fetch) = &torrent.fetch {
            conn.waiting.remove(&(fetch.order, info_hash));
        }
        self.greet(id, channel, info_hash);
        self.wake(now, info_hash);
    }

    /// The peer shut a channel, or refused to open it.
    pub fn shut(&mut self, now: Instant, id: ConnId, channel: u32) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Some(session) = conn.sessions.get(&channel) else { return };
        let fetch = self.torrents.get_mut(&session.info_hash).and_then(|torrent| torrent.fetch.as_mut());
        if let Some(fetch) = fetch.filter(|_| session.ours) {
            fetch.refused.insert(id, now);
        }
        self.close(now, id, channel, false);
    }

    /// Opens channels until the torrent has the sources that it should have; true when it opened one.
    pub(super) fn recruit(&mut self, now: Instant, info_hash: InfoHash) -> bool {
        let mut opened = false;
        loop {
            let Some(torrent) = self.torrents.get(&info_hash) else { return opened };
            let Some(fetch) = &torrent.fetch else { return opened };
            let (conns, rng) = (&self.conns, &mut self.rng);
            let is_source = |(id, channel): &(&ConnId, &u32)| {
                conns.get(id).is_some_and(|conn| !conn.window.is_snubbed() && conn.sessions[channel].is_source())
            };
            let needs_more = torrent.channels.iter().filter(is_source).count() < fetch.fan(now);
            let urgent = fetch.picker.is_urgent();
            let candidates = fetch.offers.iter().filter_map(|(id, offer)| {
                let conn = conns.get(id)?;
                let fits = conn.has_slot(urgent) && fetch.may_ask(now, *id) && !torrent.channels.contains_key(id);
                fits.then(|| {
                    let load = (conn.window.is_snubbed(), *offer, conn.ours(), conn.window.in_flight());
                    (load, rng.next_u64(), *id, *offer)
                })
            });
            let best = if needs_more { candidates.min() } else { None };
            let Some((_, _, id, offer)) = best else {
                self.queue(info_hash, needs_more);
                return opened;
            };
            self.open(now, id, info_hash, offer);
            opened = true;
        }
    }

    /// A slot of this connection may be free: opens channels for torrents that wait for it.
    pub(super) fn recruit_for(&mut self, now: Instant, id: ConnId) {
        let mut after = (0, InfoHash([0; InfoHash::LENGTH]));
        loop {
            let Some(conn) = self.conns.get(&id) else { return };
            let Some(next) = conn.waiting.range(after..).next().copied().filter(|_| conn.has_slot(false)) else {
                return;
            };
            if !self.recruit(now, next.1) {
                after = (next.0 + 1, InfoHash([0; InfoHash::LENGTH]));
            }
        }
    }

    /// Ends a channel, and has others go on with what was asked on it. `tell` sends control `shut`.
    pub(super) fn close(&mut self, now: Instant, id: ConnId, channel: u32, tell: bool) {
        let Some(info_hash) = self.end(id, channel) else { return };
        if tell {
            self.events.push_back(Event::Shut { conn: id, channel });
        }
        match self.torrents.get(&info_hash) {
            Some(torrent) if torrent.fetch.is_some() => {
                self.recruit(now, info_hash);
                self.wake(now, info_hash);
            }
            Some(torrent) if torrent.channels.is_empty() => {
                self.torrents.remove(&info_hash);
            }
            _ => {}
        }
        self.recruit_for(now, id);
        self.fill(now, id);
    }

    /// Takes a channel out. What was asked on it is free to be asked of others.
    fn end(&mut self, id: ConnId, channel: u32) -> Option<InfoHash> {
        let conn = self.conns.get_mut(&id)?;
        let session = conn.remove(channel)?;
        let torrent = self.torrents.get_mut(&session.info_hash)?;
        torrent.channels.remove(&id);
        if let Some(fetch) = &mut torrent.fetch {
            conn.ready.remove(&(fetch.order, channel));
            fetch.sources -= usize::from(session.interested);
            fetch.picker.left(&session.has);
            fetch.picker.abandon(id, &mut self.budget);
        }
        Some(session.info_hash)
    }

    /// Shuts a channel of ours that neither side needs.
    pub(super) fn close_unneeded(&mut self, now: Instant, id: ConnId, channel: u32) {
        let session = self.conns.get(&id).and_then(|conn| conn.sessions.get(&channel));
        let Some(session) = session.filter(|session| session.ours && !session.peer_interested) else { return };
        if self.torrents.get(&session.info_hash).is_none_or(|torrent| torrent.fetch.is_none()) {
            self.close(now, id, channel, true);
        }
    }

    /// Ends all that is between us and a connection, but for the connection.
    pub(super) fn part(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.condemned = true;
        conn.waiting.clear();
        let channels: Vec<u32> = conn.sessions.keys().copied().collect();
        for fetch in self.torrents.values_mut().filter_map(|torrent| torrent.fetch.as_mut()) {
            fetch.offers.remove(&id);
            fetch.refused.remove(&id);
        }
        for channel in channels {
            self.close(now, id, channel, false);
        }
    }

    /// Has the node close a connection.
    pub(super) fn misbehave(&mut self, now: Instant, id: ConnId, why: String) {
        if self.conns.get(&id).is_some_and(|conn| !conn.condemned) {
            self.part(now, id);
            self.events.push_back(Event::Misbehaved { conn: id, why });
        }
    }

    /// Puts a message on a channel.
    pub(super) fn send(&mut self, id: ConnId, channel: u32, message: &PeerMessage) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (head, body) = (message.encode_head(), message.body());
        conn.upload.put(head.len() + body.len());
        self.events.push_back(Event::Send { conn: id, channel, head, body });
    }

    /// Tells the peer what it may use and what we have.
    fn greet(&mut self, id: ConnId, channel: u32, info_hash: InfoHash) {
        let handshake = ExtendedHandshake { donthave: Some(DONTHAVE), reqq: Some(REQUEST_QUEUE as u32), client: None };
        self.send(id, channel, &PeerMessage::Extended { id: ExtendedHandshake::ID, payload: handshake.encode() });
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        let have = match &torrent.have {
            have if have.is_full() => PeerMessage::HaveAll,
            have if have.is_empty() => PeerMessage::HaveNone,
            have => PeerMessage::Bitfield(bytes::Bytes::copy_from_slice(have.as_bytes())),
        };
        self.send(id, channel, &have);
    }

    fn open(&mut self, now: Instant, id: ConnId, info_hash: InfoHash, offer: Offer) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(torrent) = self.torrents.get_mut(&info_hash) else { return };
        let Some(fetch) = &torrent.fetch else { return };
        let Some(channel) = conn.number() else { return };
        conn.waiting.remove(&(fetch.order, info_hash));
        let mut session = Session::new(info_hash, torrent.layout, true, offer == Offer::Whole);
        session.useful = useful(&fetch.picker, &session.has);
        torrent.channels.insert(id, channel);
        conn.insert(channel, session);
        self.events.push_back(Event::Open { conn: id, channel, info_hash });
        self.greet(id, channel, info_hash);
        self.review_interest(now, id, channel);
    }

    /// Lets the connections that offer a torrent know whether it needs another source.
    fn queue(&mut self, info_hash: InfoHash, needs_more: bool) {
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        let Some(fetch) = &torrent.fetch else { return };
        for id in fetch.offers.keys() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            if needs_more && !torrent.channels.contains_key(id) {
                conn.waiting.insert((fetch.order, info_hash));
            } else {
                conn.waiting.remove(&(fetch.order, info_hash));
            }
        }
    }
}

/// Pieces that a peer has and we want.
pub fn useful(picker: &Picker, has: &Has) -> u32 {
    match has {
        Has::All => picker.missing(),
        Has::Some(bits) => bits.iter().filter(|piece| picker.wants(*piece)).count() as u32,
    }
}

//! A small world for swarms: nodes with uplinks and disks, links with delay, all in virtual time.

mod fetching;
mod hostile;
mod stock;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Event, Layout, Offer, Stored, Swarm};
use crate::base::limits::SEND_QUEUE;
use crate::base::{ConnId, InfoHash, Instant, PieceIndex, Rng, Ticket};
use crate::wire::peer::{Bitfield, PeerMessage};

/// Swarms that are linked to each other.
struct World {
    now: Instant,
    nodes: Vec<Node>,
    links: BTreeMap<ConnId, Link>,
    links_ever: BTreeMap<ConnId, Link>,
    contents: BTreeMap<InfoHash, (Layout, Bytes)>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    sequence: u64,
    next_conn: u64,
    /// Every event of every node, in order.
    trace: Vec<(Instant, usize, String)>,
}

struct Node {
    swarm: Swarm,
    /// Bytes per second; 0 is without limit.
    uplink: u64,
    uplink_free: Instant,
    store: BTreeMap<InfoHash, Bitfield>,
    stored: Vec<(InfoHash, PieceIndex)>,
    complete: BTreeSet<InfoHash>,
    misbehaved: Vec<(ConnId, String)>,
    /// Gives other bytes than it should.
    lies: bool,
    /// Reads nothing from its disk.
    mute: bool,
    disk: Duration,
    unsent: BTreeMap<ConnId, usize>,
    unsent_most: usize,
    channels: BTreeMap<ConnId, i64>,
    channels_most: i64,
    sent: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Copy)]
struct Link {
    ends: (usize, usize),
    delay: Duration,
}

enum Delivery {
    Frame { node: usize, conn: ConnId, channel: u32, payload: Bytes },
    Open { node: usize, conn: ConnId, channel: u32, info_hash: InfoHash },
    Shut { node: usize, conn: ConnId, channel: u32 },
    Credit { node: usize, conn: ConnId, bytes: usize },
    Offer { node: usize, conn: ConnId, info_hash: InfoHash, offer: Offer },
    Read { node: usize, ticket: Ticket, data: Option<Bytes> },
    Stored { node: usize, info_hash: InfoHash, piece: PieceIndex, stored: Stored },
}

impl World {
    /// Nodes with these uplinks.
    fn new(seed: u64, uplinks: &[u64]) -> Self {
        let node = |(number, uplink): (usize, &u64)| Node {
            swarm: Swarm::new(seed + number as u64),
            uplink: *uplink,
            uplink_free: Instant(0),
            store: BTreeMap::new(),
            stored: Vec::new(),
            complete: BTreeSet::new(),
            misbehaved: Vec::new(),
            lies: false,
            mute: false,
            disk: Duration::from_micros(100),
            unsent: BTreeMap::new(),
            unsent_most: 0,
            channels: BTreeMap::new(),
            channels_most: 0,
            sent: BTreeMap::new(),
        };
        Self {
            now: Instant(1_000_000),
            nodes: uplinks.iter().enumerate().map(node).collect(),
            links: BTreeMap::new(),
            links_ever: BTreeMap::new(),
            contents: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            next_conn: 0,
            trace: Vec::new(),
        }
    }

    fn link(&mut self, dialer: usize, other: usize, delay: Duration) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.links.insert(conn, Link { ends: (dialer, other), delay });
        self.links_ever.insert(conn, Link { ends: (dialer, other), delay });
        self.nodes[dialer].swarm.connected(self.now, conn, true);
        self.nodes[other].swarm.connected(self.now, conn, false);
        conn
    }

    fn unlink(&mut self, conn: ConnId) {
        let Link { ends, .. } = self.links.remove(&conn).expect("linked");
        for node in [ends.0, ends.1] {
            self.nodes[node].swarm.disconnected(self.now, conn);
            self.nodes[node].unsent.remove(&conn);
            self.drain(node);
        }
    }

    /// A torrent that these nodes hold whole.
    fn torrent(&mut self, number: u8, length: u64, piece_length: u32, holders: &[usize]) -> InfoHash {
        self.torrent_as(InfoHash([number; 20]), length, piece_length, holders)
    }

    fn torrent_as(&mut self, info_hash: InfoHash, length: u64, piece_length: u32, holders: &[usize]) -> InfoHash {
        let layout = Layout { length, piece_length };
        let mut content = vec![0; length as usize];
        Rng::new(info_hash.0[0].into()).fill(&mut content);
        self.contents.insert(info_hash, (layout, content.into()));
        for holder in holders {
            self.nodes[*holder].store.insert(info_hash, Bitfield::full(layout.piece_count()));
        }
        info_hash
    }

    /// A node holds only the pieces that are marked `#`.
    fn holds(&mut self, node: usize, info_hash: InfoHash, pieces: &str) {
        let mut have = Bitfield::new(pieces.len() as u32);
        for (piece, _) in pieces.chars().enumerate().filter(|(_, mark)| *mark == '#') {
            have.set(PieceIndex(piece as u32));
        }
        self.nodes[node].store.insert(info_hash, have);
    }

    fn offer_of(&self, node: usize, info_hash: InfoHash) -> Offer {
        match self.nodes[node].store.get(&info_hash) {
            Some(have) if have.is_full() => Offer::Whole,
            Some(have) if !have.is_empty() => Offer::Partial,
            _ => Offer::None,
        }
    }

    /// A node's holdings changed.
    fn tell_holdings(&mut self, node: usize, info_hash: InfoHash) {
        let offer = self.offer_of(node, info_hash);
        for (conn, Link { ends, delay }) in self.links.clone() {
            if ends.0 == node || ends.1 == node {
                let other = if ends.0 == node { ends.1 } else { ends.0 };
                let left = self.transmit(node, 60);
                self.push(left + delay, Delivery::Offer { node: other, conn, info_hash, offer });
            }
        }
    }

    fn want(&mut self, node: usize, info_hash: InfoHash) {
        let layout = self.contents[&info_hash].0;
        let nothing = Bitfield::new(layout.piece_count());
        let have = self.nodes[node].store.entry(info_hash).or_insert(nothing).clone();
        let offers = self.links.iter().filter_map(|(conn, link)| {
            let other = match link.ends {
                (a, b) if a == node => b,
                (a, b) if b == node => a,
                _ => return None,
            };
            Some((*conn, self.offer_of(other, info_hash)))
        });
        let offers = offers.collect();
        self.nodes[node].swarm.want(self.now, info_hash, layout, have, offers);
        self.drain(node);
    }

    fn push(&mut self, at: Instant, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), delivery);
    }

    /// Puts so many bytes on a node's uplink; returns when they have left.
    fn transmit(&mut self, node: usize, bytes: usize) -> Instant {
        let Node { uplink, uplink_free, .. } = &mut self.nodes[node];
        let start = self.now.max(*uplink_free);
        let took = (bytes as u64 * 1_000_000).checked_div(*uplink).unwrap_or(0);
        *uplink_free = start + Duration::from_micros(took);
        *uplink_free
    }

    fn drain(&mut self, node: usize) {
        while let Some(event) = self.nodes[node].swarm.poll() {
            self.trace.push((self.now, node, summary(&event)));
            self.play(node, event);
        }
    }

    fn play(&mut self, node: usize, event: Event) {
        let other = |link: &Link| if link.ends.0 == node { link.ends.1 } else { link.ends.0 };
        match event {
            Event::Send { conn, channel, head, body } => {
                let Some(link) = self.links.get(&conn).copied() else { return };
                let name = name(&head);
                *self.nodes[node].sent.entry(name).or_default() += 1;
                let bytes = head.len() + body.len();
                let unsent = self.nodes[node].unsent.entry(conn).or_default();
                *unsent += bytes;
                let unsent = *unsent;
                self.nodes[node].unsent_most = self.nodes[node].unsent_most.max(unsent);
                let left = self.transmit(node, bytes + 8);
                let mut payload = BytesMut::from(&head[..]);
                payload.extend_from_slice(&body);
                self.push(left, Delivery::Credit { node, conn, bytes });
                let frame = Delivery::Frame { node: other(&link), conn, channel, payload: payload.freeze() };
                self.push(left + link.delay, frame);
            }
            Event::Open { conn, channel, info_hash } => {
                let Some(link) = self.links.get(&conn).copied() else { return };
                let open = self.nodes[node].channels.entry(conn).or_default();
                *open += 1;
                let open = *open;
                self.nodes[node].channels_most = self.nodes[node].channels_most.max(open);
                let left = self.transmit(node, 60);
                self.push(left + link.delay, Delivery::Open { node: other(&link), conn, channel, info_hash });
            }
            Event::Shut { conn, channel } => {
                let Some(link) = self.links.get(&conn).copied() else { return };
                *self.nodes[node].channels.entry(conn).or_default() -= 1;
                let left = self.transmit(node, 30);
                self.push(left + link.delay, Delivery::Shut { node: other(&link), conn, channel });
            }
            Event::Read { ticket, info_hash, piece, begin, length } => {
                assert!(length > 0, "a read has bytes");
                let Node { lies, mute, disk, ref store, .. } = self.nodes[node];
                if mute {
                    return;
                }
                let (layout, content) = &self.contents[&info_hash];
                let data = store.get(&info_hash).is_some_and(|have| have.has(piece)).then(|| {
                    let from = (u64::from(piece.0) * u64::from(layout.piece_length)) as usize + begin as usize;
                    let right = content.slice(from..from + length as usize);
                    if lies { right.iter().map(|byte| !byte).collect() } else { right }
                });
                self.push(self.now + disk, Delivery::Read { node, ticket, data });
            }
            Event::Store { info_hash, piece, blocks } => {
                let (layout, content) = &self.contents[&info_hash];
                let from = (u64::from(piece.0) * u64::from(layout.piece_length)) as usize;
                let right = &content[from..from + layout.piece_size(piece) as usize];
                let stored = if blocks.concat() == right { Stored::Good } else { Stored::Bad };
                let disk = self.nodes[node].disk;
                self.push(self.now + disk, Delivery::Stored { node, info_hash, piece, stored });
            }
            Event::Complete { info_hash } => {
                assert!(self.nodes[node].store[&info_hash].is_full(), "complete means that all is stored");
                assert!(self.nodes[node].complete.insert(info_hash), "complete is told once");
            }
            Event::Misbehaved { conn, why } => {
                self.nodes[node].misbehaved.push((conn, why));
                self.unlink(conn);
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        let node = match delivery {
            Delivery::Frame { node, conn, channel, payload } if self.links.contains_key(&conn) => {
                self.nodes[node].swarm.message(now, conn, channel, payload);
                node
            }
            Delivery::Open { node, conn, channel, info_hash } if self.links.contains_key(&conn) => {
                let layout = self.contents[&info_hash].0;
                let share = self.nodes[node].store.get(&info_hash).map(|have| (layout, have.clone()));
                self.nodes[node].swarm.opened(now, conn, channel, info_hash, share);
                node
            }
            Delivery::Shut { node, conn, channel } if self.links.contains_key(&conn) => {
                *self.nodes[node].channels.entry(conn).or_default() -= 1;
                self.nodes[node].swarm.shut(now, conn, channel);
                node
            }
            Delivery::Credit { node, conn, bytes } if self.links.contains_key(&conn) => {
                *self.nodes[node].unsent.entry(conn).or_default() -= bytes;
                self.nodes[node].swarm.sent(now, conn, bytes);
                node
            }
            Delivery::Offer { node, conn, info_hash, offer } if self.links.contains_key(&conn) => {
                self.nodes[node].swarm.offer(now, conn, info_hash, offer);
                node
            }
            Delivery::Read { node, ticket, data } => {
                self.nodes[node].swarm.read_done(now, ticket, data);
                node
            }
            Delivery::Stored { node, info_hash, piece, stored } => {
                if stored == Stored::Good {
                    self.nodes[node].store.get_mut(&info_hash).expect("wanted").set(piece);
                    self.nodes[node].stored.push((info_hash, piece));
                }
                self.nodes[node].swarm.stored(now, info_hash, piece, stored);
                let have = &self.nodes[node].store[&info_hash];
                if stored == Stored::Good && (have.count() == 1 || have.is_full()) {
                    self.tell_holdings(node, info_hash);
                }
                node
            }
            _ => return,
        };
        self.drain(node);
    }

    /// Plays until `done`; returns the seconds that it took.
    ///
    /// # Panics
    /// When it takes more than `limit` seconds, or when nothing will ever happen again.
    fn run(&mut self, limit: u64, mut done: impl FnMut(&World) -> bool) -> f64 {
        let start = self.now;
        while !done(self) {
            assert!(self.step(), "nothing more will happen at {:?}", self.now);
            assert!(self.now.since(start) < Duration::from_secs(limit), "it takes too long");
        }
        self.now.since(start).as_secs_f64()
    }

    /// Plays for so long.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next().is_some_and(|next| next <= end) {
            self.step();
        }
        self.now = end;
    }

    fn next(&self) -> Option<Instant> {
        let delivery = self.queue.keys().next().map(|(at, _)| *at);
        let timers = self.nodes.iter().filter_map(|node| node.swarm.timeout());
        timers.chain(delivery).min()
    }

    fn step(&mut self) -> bool {
        let Some(next) = self.next() else { return false };
        self.now = self.now.max(next);
        for node in 0..self.nodes.len() {
            if self.nodes[node].swarm.timeout().is_some_and(|at| at <= self.now) {
                self.nodes[node].swarm.handle_timeout(self.now);
                self.drain(node);
                return true;
            }
        }
        if let Some((_, delivery)) = self.queue.pop_first() {
            self.deliver(delivery);
        }
        true
    }

    fn downloaded(&self, node: usize, conn: ConnId) -> u64 {
        self.nodes[node].swarm.traffic(self.now, conn).downloaded
    }

    /// Nothing is left that should not be when all is done.
    fn check_rest(&mut self) {
        self.pass(Duration::from_secs(5));
        for node in &self.nodes {
            assert_eq!(node.swarm.budget.used(), 0, "no piece is in memory");
            assert!(node.swarm.reads.is_empty(), "every read was answered");
            assert!(node.unsent_most <= SEND_QUEUE + 65_536, "the send queue was {}", node.unsent_most);
            for conn in node.swarm.conns.values() {
                assert_eq!(conn.window.in_flight(), 0, "nothing is in flight");
                assert_eq!(conn.upload.backlog(), 0, "nothing waits to be sent");
            }
        }
    }
}

fn name(head: &Bytes) -> &'static str {
    match PeerMessage::decode(head) {
        Ok(PeerMessage::Request(_)) => "request",
        Ok(PeerMessage::Cancel(_)) => "cancel",
        Ok(PeerMessage::Reject(_)) => "reject",
        Ok(PeerMessage::Have(_)) => "have",
        Ok(PeerMessage::Interested) => "interested",
        Ok(PeerMessage::Bitfield(_)) => "bitfield",
        Ok(PeerMessage::Extended { id, .. }) if id > 0 => "extension",
        Ok(_) => "other",
        Err(_) => "piece",
    }
}

fn summary(event: &Event) -> String {
    match event {
        Event::Send { conn, channel, head, body } => format!("send {conn:?} {channel} {head:?} {}", body.len()),
        Event::Store { info_hash, piece, .. } => format!("store {info_hash} {piece:?}"),
        other => format!("{other:?}"),
    }
}

const MS: Duration = Duration::from_millis(1);
const MIB: u64 = 1 << 20;

//! Peer sessions over torrent channels: which block to ask of whom, what to send whom, and how fast.
//!
//! One [`Swarm`] plays all torrents on all connections of a node. It never waits: the node tells it what happened,
//! then drains [`Swarm::poll`], then reads [`Swarm::timeout`]. It leaves to the node: control messages, who holds
//! what, whether a piece hashes right, and the disk. Blocks are slices of what came and are never copied.

mod channel;
mod conn;
mod fetch;
mod has;
mod layout;
mod meter;
mod peer;
mod picker;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod timer;
mod torrent;
mod upload;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

pub use self::layout::Layout;
pub use self::torrent::Offer;

use self::conn::Conn;
use self::picker::Budget;
use self::serve::Reading;
use self::torrent::Torrent;
use crate::base::limits::PIECES_MEMORY;
use crate::base::{ConnId, InfoHash, Instant, PieceIndex, Rng, Ticket};

/// All torrents on all connections of a node. Equal seeds and inputs give equal events.
#[derive(Debug)]
pub struct Swarm {
    rng: Rng,
    conns: BTreeMap<ConnId, Conn>,
    torrents: BTreeMap<InfoHash, Torrent>,
    urgent: BTreeSet<InfoHash>,
    budget: Budget,
    reads: BTreeMap<Ticket, Reading>,
    next_ticket: u64,
    next_order: u64,
    next_tick: Option<Instant>,
    next_review: Instant,
    events: VecDeque<Event>,
}

/// What the swarm asks of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Send a message of a torrent channel. Both parts count for [`Swarm::sent`].
    Send {
        /// To whom.
        conn: ConnId,
        /// Never 0.
        channel: u32,
        /// The message.
        head: Bytes,
        /// The block of a `Piece`, else empty.
        body: Bytes,
    },
    /// Send control `open`, before what follows.
    Open {
        /// To whom.
        conn: ConnId,
        /// Odd when we dialled, else even.
        channel: u32,
        /// The torrent.
        info_hash: InfoHash,
    },
    /// Send control `shut`. Nothing more comes on this channel.
    Shut {
        /// To whom.
        conn: ConnId,
        /// Of either side.
        channel: u32,
    },
    /// Read a block that is to be uploaded; answered once by [`Swarm::read_done`].
    Read {
        /// From a counter of the swarm's own.
        ticket: Ticket,
        /// The torrent.
        info_hash: InfoHash,
        /// The piece, which is here.
        piece: PieceIndex,
        /// First byte in the piece.
        begin: u32,
        /// Bytes, at most [`BLOCK_MAX`](crate::base::limits::BLOCK_MAX).
        length: u32,
    },
    /// Check and write a whole piece; answered once by [`Swarm::stored`].
    Store {
        /// The torrent.
        info_hash: InfoHash,
        /// The piece.
        piece: PieceIndex,
        /// In order, as long together as the piece.
        blocks: Vec<Bytes>,
    },
    /// Every piece of a wanted torrent is stored; it is no longer wanted, and goes on being served.
    Complete {
        /// The torrent.
        info_hash: InfoHash,
    },
    /// Close this connection. Nothing more comes for it.
    Misbehaved {
        /// Whose fault it is.
        conn: ConnId,
        /// For people.
        why: String,
    },
}

/// What became of a piece that was to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// It hashed right and is here.
    Good,
    /// It hashed wrong.
    Bad,
    /// The disk could not take it: the torrent is no longer wanted, until it is wanted again.
    Failed,
}

/// How the fetching of one torrent goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Pieces that are here.
    pub have: u32,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// Bytes that are neither here nor in a block that came.
    pub missing_bytes: u64,
    /// Bytes per second of late.
    pub rate: u64,
    /// Bytes that came from each connection since it was wanted.
    pub sources: Vec<(ConnId, u64)>,
}

/// What went over one connection in blocks; messages are not counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Bytes sent.
    pub uploaded: u64,
    /// Bytes that came, needed or not.
    pub downloaded: u64,
    /// Bytes sent per second of late.
    pub upload_rate: u64,
    /// Bytes that came per second of late.
    pub download_rate: u64,
}

impl Swarm {
    /// A swarm without connections and torrents.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            conns: BTreeMap::new(),
            torrents: BTreeMap::new(),
            urgent: BTreeSet::new(),
            budget: Budget::new(PIECES_MEMORY as u64),
            reads: BTreeMap::new(),
            next_ticket: 0,
            next_order: 0,
            next_tick: None,
            next_review: Instant(0),
            events: VecDeque::new(),
        }
    }

    /// A connection is up. `dialer` says that we dialled it.
    pub fn connected(&mut self, now: Instant, conn: ConnId, dialer: bool) {
        self.conns.insert(conn, Conn::new(now, dialer));
    }

    /// A stock client's connection is up, on which there is the one channel that comes next. It speaks as BEP 3 has it:
    /// it answers no request before it unchoked, and none of more than [`BLOCK`](crate::base::limits::BLOCK) bytes.
    pub fn connected_stock(&mut self, now: Instant, conn: ConnId) {
        self.conns.insert(conn, Conn::stock(now));
    }

    /// A connection is gone, and with it what it offered.
    pub fn disconnected(&mut self, now: Instant, conn: ConnId) {
        self.part(now, conn);
        self.conns.remove(&conn);
    }

    /// The next request to the node. Drain it after every other call.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Swarm::handle_timeout`] is to be called, if at all.
    pub fn timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// The wanted torrents, the earliest wanted first.
    pub fn progress(&self, now: Instant) -> Vec<Progress> {
        let wanted = self.torrents.iter().filter_map(|(info_hash, torrent)| {
            let fetch = torrent.fetch.as_ref()?;
            let progress = Progress {
                info_hash: *info_hash,
                have: torrent.have.count(),
                pieces: torrent.layout.piece_count(),
                missing_bytes: fetch.picker.missing_bytes(),
                rate: fetch.meter.rate(now),
                sources: fetch.got.iter().map(|(conn, bytes)| (*conn, *bytes)).collect(),
            };
            Some((fetch.order, progress))
        });
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by_key(|(order, _)| *order);
        wanted.into_iter().map(|(_, progress)| progress).collect()
    }

    /// What went over this connection; zeros for one that is not known.
    pub fn traffic(&self, now: Instant, conn: ConnId) -> Traffic {
        self.conns.get(&conn).map_or_else(Traffic::default, |conn| Traffic {
            uploaded: conn.up.total(),
            downloaded: conn.down.total(),
            upload_rate: conn.up.rate(now),
            download_rate: conn.down.rate(now),
        })
    }

    /// True when some connected peer has this piece of a wanted torrent, or is believed to. One that holds a part, and
    /// did not tell yet which, is believed to.
    pub fn is_reachable(&self, info_hash: InfoHash, piece: PieceIndex) -> bool {
        let Some(torrent) = self.torrents.get(&info_hash) else { return false };
        let session = |id| self.conns.get(id).and_then(|conn| conn.sessions.get(conn.channels.get(&info_hash)?));
        let mut offers = torrent.fetch.iter().flat_map(|fetch| fetch.offers.keys());
        offers.any(|id| session(id).is_none_or(|session| !session.told || session.has.has(piece)))
            || torrent.channels.keys().filter_map(session).any(|session| session.has.has(piece))
    }
}

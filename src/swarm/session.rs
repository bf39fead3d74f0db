//! One channel: what the two sides of a torrent told each other on it, and the requests that are out each way.
//!
//! Both sides begin, in any order, with the extended handshake and what they have (BEP 6, 10). Two things differ from
//! BEP 3, since members of a circle trust each other and are never choked: the opener may ask before it was unchoked,
//! and before it was told what the peer has, when the peer's holdings say that it has all. What bounds an uploader is
//! its queue of requests and its send queue.

use std::collections::{BTreeMap, VecDeque};

use super::has::Has;
use super::layout::Layout;
use super::picker::Block;
use crate::base::limits::REQUEST_QUEUE;
use crate::base::{InfoHash, Instant};
use crate::wire::peer::Bitfield;

/// The state of one channel.
#[derive(Debug)]
pub struct Session {
    /// The torrent.
    pub info_hash: InfoHash,
    /// We opened it, so we shut it.
    pub ours: bool,
    /// What the peer has, or is believed to have until it told.
    pub has: Has,
    /// The peer told what it has.
    pub told: bool,
    /// Pieces that the peer has and we want.
    pub useful: u32,
    /// We told the peer that we are interested.
    pub interested: bool,
    /// The peer said that it is.
    pub peer_interested: bool,
    /// The peer said that it answers no requests.
    pub choked: bool,
    /// We said that we answer requests.
    pub unchoked: bool,
    /// After a refusal: ask for nothing until then.
    pub paused: Option<Instant>,
    /// Requests that may be out, as the peer's handshake says.
    pub reqq: usize,
    /// The id under which the peer takes lt_donthave.
    pub donthave: Option<u8>,
    /// Blocks that the peer may send us, since we asked for them, and when.
    pub asked: BTreeMap<Block, Instant>,
    /// Blocks that the peer asked for and that are not being read yet, at most [`REQUEST_QUEUE`].
    pub wanted: VecDeque<Block>,
}

impl Session {
    /// A channel that was just opened by us or by the peer. `believed` says that the peer's holdings have it whole.
    pub fn new(info_hash: InfoHash, layout: Layout, ours: bool, believed: bool) -> Self {
        Self {
            info_hash,
            ours,
            has: if believed { Has::All } else { Has::Some(Bitfield::new(layout.piece_count())) },
            told: false,
            useful: 0,
            interested: false,
            peer_interested: false,
            choked: false,
            unchoked: false,
            paused: None,
            reqq: REQUEST_QUEUE,
            donthave: None,
            asked: BTreeMap::new(),
            wanted: VecDeque::new(),
        }
    }

    /// True when we may ask for blocks, if there is one.
    pub fn can_ask(&self) -> bool {
        self.interested && !self.choked && self.paused.is_none() && self.asked.len() < self.reqq
    }

    /// True when it can be expected to give us something.
    pub fn is_source(&self) -> bool {
        !self.choked && (self.interested || (self.ours && !self.told))
    }
}

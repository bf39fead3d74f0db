//! One torrent: what is here of it, who has a channel for it, and how its fetching goes.

use std::collections::BTreeMap;

use super::layout::Layout;
use super::meter::Meter;
use super::picker::Picker;
use crate::base::limits::BLOCK;
use crate::base::{ConnId, Instant};
use crate::wire::peer::Bitfield;

/// What a peer is believed to hold of a torrent, from its holdings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Offer {
    /// All of it.
    Whole,
    /// Some of it.
    Partial,
    /// Nothing.
    None,
}

/// The state of one torrent that is fetched or served.
#[derive(Debug)]
pub struct Torrent {
    /// Its shape.
    pub layout: Layout,
    /// Pieces that are here.
    pub have: Bitfield,
    /// The one channel of each connection that has one.
    pub channels: BTreeMap<ConnId, u32>,
    /// While pieces are wanted.
    pub fetch: Option<Fetch>,
}

/// The fetching of one torrent.
#[derive(Debug)]
pub struct Fetch {
    /// Torrents that were wanted earlier have a lower number.
    pub order: u64,
    /// Which block next.
    pub picker: Picker,
    /// What each connection is believed to hold; `None` is left out.
    pub offers: BTreeMap<ConnId, Offer>,
    /// Connections that shut our channel, and when.
    pub refused: BTreeMap<ConnId, Instant>,
    /// Channels on which we are interested.
    pub sources: usize,
    /// All blocks.
    pub meter: Meter,
    /// Bytes from each connection.
    pub got: BTreeMap<ConnId, u64>,
    /// Since when blocks are asked for and none came.
    pub quiet_since: Option<Instant>,
}

impl Torrent {
    /// A torrent that nobody has a channel for.
    ///
    /// # Panics
    /// When the layout is not valid or the bitfield has another length.
    pub fn new(layout: Layout, have: Bitfield) -> Self {
        assert!(layout.is_valid() && have.len() == layout.piece_count(), "metainfo was checked when it came");
        Self { layout, have, channels: BTreeMap::new(), fetch: None }
    }
}

impl Fetch {
    /// A fetch without sources.
    pub fn new(order: u64, layout: Layout, have: &Bitfield, seed: u64) -> Self {
        Self {
            order,
            picker: Picker::new(layout, have, seed),
            offers: BTreeMap::new(),
            refused: BTreeMap::new(),
            sources: 0,
            meter: Meter::default(),
            got: BTreeMap::new(),
            quiet_since: None,
        }
    }

    /// Requests that one of several sources may have out, so that towards the end none holds what others could bring.
    pub fn share(&self, block_length: u32) -> usize {
        if self.sources < 2 {
            return usize::MAX;
        }
        let blocks = self.picker.missing_bytes().div_ceil(block_length.into());
        usize::try_from(blocks).unwrap_or(usize::MAX).div_ceil(self.sources).max(2)
    }

    /// How many sources to have. Small torrents have few, since each channel costs a few messages.
    pub fn fan(&self, now: Instant) -> usize {
        if self.picker.is_urgent() || self.quiet_since.is_some_and(|since| now.since(since) > STALL) {
            return SOURCES;
        }
        let blocks = self.picker.missing_bytes() / u64::from(BLOCK);
        usize::try_from(blocks / BLOCKS_PER_SOURCE).unwrap_or(SOURCES).clamp(1, SOURCES)
    }

    /// True when this connection offers it and did not refuse it lately.
    pub fn may_ask(&self, now: Instant, conn: ConnId) -> bool {
        self.offers.contains_key(&conn) && self.refused.get(&conn).is_none_or(|at| now.since(*at) > REFUSAL)
    }
}

/// Sources of one torrent, at most.
const SOURCES: usize = 16;
/// Blocks of [`BLOCK`] bytes for which another source is worth its channel.
const BLOCKS_PER_SOURCE: u64 = 8;
/// Time without a block after which all sources are asked.
const STALL: std::time::Duration = std::time::Duration::from_secs(3);
/// Time for which a peer that shut our channel is not asked again.
const REFUSAL: std::time::Duration = std::time::Duration::from_secs(30);

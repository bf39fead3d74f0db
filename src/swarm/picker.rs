//! Which block to ask of whom, for one torrent.
//!
//! What a reader waits for comes first, by its deadline; then the pieces that this source has begun; then pieces that
//! nobody goes on with; then the rarest piece, ties by the seed; at last blocks of pieces that other sources have
//! begun. So a piece comes from one source where that costs no time, and a bad one can be blamed.
//!
//! Invariant: `open` holds exactly the started pieces with a free block, under their owner; `fresh` holds exactly the
//! pieces in state `Fresh`; `due` holds the urgent pieces that are in one of the two.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::has::Has;
use super::layout::Layout;
use crate::base::{ConnId, Instant, PieceIndex};
use crate::wire::peer::Bitfield;

/// The pieces of one torrent that are to be fetched.
#[derive(Debug)]
pub struct Picker {
    layout: Layout,
    seed: u64,
    pieces: Vec<Piece>,
    fresh: BTreeSet<(u16, u32, PieceIndex)>,
    started: BTreeMap<PieceIndex, Started>,
    open: BTreeSet<(Option<ConnId>, PieceIndex)>,
    deadlines: BTreeMap<PieceIndex, Instant>,
    due: BTreeSet<(Instant, PieceIndex)>,
    lone: BTreeSet<PieceIndex>,
    missing: u32,
    missing_bytes: u64,
}

/// Bytes that may be in pieces begun and not yet stored, over all torrents.
#[derive(Clone, Debug)]
pub struct Budget {
    used: u64,
    limit: u64,
}

/// A span of a piece, as it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Block {
    /// The piece.
    pub piece: PieceIndex,
    /// First byte in the piece.
    pub begin: u32,
    /// Bytes.
    pub length: u32,
}

/// A block that one source was asked for, and nobody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The block.
    pub block: Block,
    /// Who was asked.
    pub source: ConnId,
    /// When.
    pub at: Instant,
    /// A reader waits for it.
    pub urgent: bool,
}

/// Why there is no block to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// All that the source has is here or was asked for.
    Nothing,
    /// It has more, but may not be asked for it now: too much is in memory, or in flight.
    Later,
}

/// What became of a block that came.
#[derive(PartialEq, Eq, Debug)]
pub enum Received {
    /// It was here already, or its piece is not wanted.
    Unneeded,
    /// It is kept. Another source may have been asked for it too.
    Kept(Option<ConnId>),
    /// It was the last of its piece, whose blocks are here in order.
    Whole(Option<ConnId>, Vec<Bytes>),
}

#[derive(Debug)]
struct Piece {
    state: State,
    /// Sources that have it, those that have all left out.
    availability: u16,
}

#[derive(PartialEq, Eq, Debug)]
enum State {
    Kept,
    Fresh,
    Started,
    /// All blocks came, from these sources.
    Storing(BTreeSet<ConnId>),
}

#[derive(Debug)]
struct Started {
    block_length: u32,
    slots: Vec<Slot>,
    free: usize,
    got: usize,
    owner: Option<ConnId>,
}

#[derive(Clone, Debug)]
enum Slot {
    Free,
    Asked(Ask, Option<Ask>),
    Got(ConnId, Bytes),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ask {
    source: ConnId,
    at: Instant,
}

impl Budget {
    /// So many bytes may be used.
    pub fn new(limit: u64) -> Self {
        Self { used: 0, limit }
    }

    /// Bytes in use.
    #[cfg(test)]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Readers may use twice as much, so that a full budget does not make them wait.
    fn allows(&self, bytes: u32, urgent: bool) -> bool {
        self.used == 0 || self.used + u64::from(bytes) <= if urgent { 2 * self.limit } else { self.limit }
    }
}

impl Picker {
    /// A picker for all pieces that are not in `have`; `seed` breaks ties.
    pub fn new(layout: Layout, have: &Bitfield, seed: u64) -> Self {
        let mut picker = Self {
            layout,
            seed,
            pieces: Vec::with_capacity(layout.piece_count() as usize),
            fresh: BTreeSet::new(),
            started: BTreeMap::new(),
            open: BTreeSet::new(),
            deadlines: BTreeMap::new(),
            due: BTreeSet::new(),
            lone: BTreeSet::new(),
            missing: 0,
            missing_bytes: 0,
        };
        for piece in layout.pieces() {
            picker.pieces.push(Piece { state: State::Kept, availability: 0 });
            if !have.has(piece) {
                picker.want(piece);
            }
        }
        picker
    }

    /// Pieces that are not stored yet.
    pub fn missing(&self) -> u32 {
        self.missing
    }

    /// Bytes that are neither stored nor in a block that came.
    pub fn missing_bytes(&self) -> u64 {
        self.missing_bytes
    }

    /// True when this piece is not stored yet.
    pub fn wants(&self, piece: PieceIndex) -> bool {
        self.pieces.get(piece.0 as usize).is_some_and(|piece| piece.state != State::Kept)
    }

    /// True when every block that is missing has been asked for.
    pub fn is_exhausted(&self) -> bool {
        self.fresh.is_empty() && self.open.is_empty()
    }

    /// True when a piece was begun and is not whole.
    pub fn is_under_way(&self) -> bool {
        !self.started.is_empty()
    }

    /// True when a reader waits for a piece.
    pub fn is_urgent(&self) -> bool {
        !self.deadlines.is_empty()
    }

    /// This piece, which was stored, has been lost.
    pub fn want(&mut self, piece: PieceIndex) {
        if self.pieces[piece.0 as usize].state == State::Kept {
            self.missing += 1;
            self.missing_bytes += u64::from(self.layout.piece_size(piece));
            self.enter(piece);
        }
    }

    /// A source has this piece.
    pub fn gained(&mut self, piece: PieceIndex) {
        self.reorder(piece, 1);
    }

    /// A source no longer has this piece.
    pub fn lost(&mut self, piece: PieceIndex) {
        self.reorder(piece, -1);
    }

    /// A source told what it has. Those that have all change no order.
    pub fn joined(&mut self, has: &Has) {
        self.reorder_all(has, 1);
    }

    /// A source is gone that had told this.
    pub fn left(&mut self, has: &Has) {
        self.reorder_all(has, -1);
    }

    /// A reader waits for this piece until `by`; an earlier deadline stays.
    pub fn urge(&mut self, piece: PieceIndex, by: Instant) {
        if !self.wants(piece) || self.deadlines.get(&piece).is_some_and(|earlier| *earlier <= by) {
            return;
        }
        if let Some(later) = self.deadlines.insert(piece, by) {
            self.due.remove(&(later, piece));
        }
        self.index(piece);
    }

    /// Readers that waited until before `now` wait no longer.
    pub fn expire(&mut self, now: Instant) {
        self.deadlines.retain(|_, by| *by >= now);
        self.due.retain(|(by, _)| *by >= now);
    }

    /// Chooses a block to ask of `source`, and notes that it was asked. A piece that it starts is cut into blocks of
    /// `block_length` bytes.
    pub fn pick(
        &mut self,
        now: Instant,
        source: ConnId,
        has: &Has,
        block_length: u32,
        budget: &mut Budget,
    ) -> Result<Block, Idle> {
        let piece = self.choose(source, has, budget)?;
        Ok(self.take(now, source, piece, block_length, budget))
    }

    /// As [`Picker::pick`], but only what a reader waits for.
    pub fn pick_due(
        &mut self,
        now: Instant,
        source: ConnId,
        has: &Has,
        block_length: u32,
        budget: &mut Budget,
    ) -> Option<Block> {
        let piece = self.choose_due(source, has, budget)?;
        Some(self.take(now, source, piece, block_length, budget))
    }

    /// Every block that was asked of one source alone, and may be asked of another.
    pub fn pending(&self) -> impl Iterator<Item = Pending> {
        self.started.iter().filter(|(piece, _)| !self.lone.contains(piece)).flat_map(move |(piece, started)| {
            let urgent = self.deadlines.contains_key(piece);
            started.slots.iter().enumerate().filter_map(move |(slot, state)| match state {
                Slot::Asked(ask, None) => Some(Pending {
                    block: block_at(self.layout, *piece, started.block_length, slot),
                    source: ask.source,
                    at: ask.at,
                    urgent,
                }),
                _ => None,
            })
        })
    }

    /// Notes that a second source was asked for a block.
    pub fn duplicate(&mut self, now: Instant, source: ConnId, block: Block) {
        if let Some(Slot::Asked(_, second @ None)) = self.slot(block) {
            *second = Some(Ask { source, at: now });
        }
    }

    /// A block came from `source`.
    pub fn receive(&mut self, source: ConnId, block: Block, data: Bytes) -> Received {
        let Some(slot) = self.slot(block) else { return Received::Unneeded };
        let (other, was_free) = match slot {
            Slot::Free => (None, true),
            Slot::Asked(first, None) => (Some(first.source), false),
            Slot::Asked(first, Some(second)) => {
                (Some(if first.source == source { second.source } else { first.source }), false)
            }
            Slot::Got(..) => return Received::Unneeded,
        };
        let other = other.filter(|other| *other != source);
        *slot = Slot::Got(source, data);
        self.missing_bytes -= u64::from(block.length);
        let started = self.started.get_mut(&block.piece).expect("its slot was found");
        started.got += 1;
        started.free -= usize::from(was_free);
        if started.got < started.slots.len() {
            self.index(block.piece);
            return Received::Kept(other);
        }
        let started = self.started.remove(&block.piece).expect("its slot was found");
        self.open.remove(&(started.owner, block.piece));
        let mut sources = BTreeSet::new();
        let mut blocks = Vec::with_capacity(started.slots.len());
        for slot in started.slots {
            if let Slot::Got(from, data) = slot {
                sources.insert(from);
                blocks.push(data);
            }
        }
        self.pieces[block.piece.0 as usize].state = State::Storing(sources);
        self.index(block.piece);
        Received::Whole(other, blocks)
    }

    /// `source` will not send this block; false when nobody waited for it.
    pub fn release(&mut self, source: ConnId, block: Block) -> bool {
        let Some(slot) = self.slot(block) else { return false };
        let Some(is_free) = release_slot(slot, source) else { return false };
        if is_free {
            self.started.get_mut(&block.piece).expect("its slot was found").free += 1;
            self.index(block.piece);
        }
        true
    }

    /// `source` refused a block of this piece. One that must come from one source begins anew with another, once nothing of it
    /// is on its way.
    pub fn pass_on(&mut self, source: ConnId, piece: PieceIndex, budget: &mut Budget) {
        let owned = self.started.get(&piece).filter(|started| started.owner == Some(source));
        let under_way = |started: &Started| started.slots.iter().any(|slot| matches!(slot, Slot::Asked(..)));
        if self.lone.contains(&piece) && owned.is_some_and(|started| !under_way(started)) {
            self.begin_anew(piece, budget);
        }
    }

    /// `source` is gone or slow: others go on with its pieces. A piece that must come from one source begins anew.
    pub fn abandon(&mut self, source: ConnId, budget: &mut Budget) {
        let mut again = Vec::new();
        let mut touched = Vec::new();
        for (piece, started) in &mut self.started {
            for slot in &mut started.slots {
                started.free += usize::from(release_slot(slot, source) == Some(true));
            }
            if started.owner == Some(source) {
                self.open.remove(&(Some(source), *piece));
                started.owner = None;
                if self.lone.contains(piece) {
                    again.push(*piece);
                }
            }
            touched.push(*piece);
        }
        for piece in touched {
            self.index(piece);
        }
        for piece in again {
            self.begin_anew(piece, budget);
        }
    }

    /// When memory is short: drops what came of pieces of which nothing is on its way and that, as `is_held` says, no
    /// source has.
    pub fn drop_unreachable(&mut self, budget: &mut Budget, is_held: impl Fn(PieceIndex) -> bool) {
        if budget.used <= budget.limit / 2 {
            return;
        }
        let is_asked = |started: &Started| started.slots.iter().any(|slot| matches!(slot, Slot::Asked(..)));
        let unreachable = self.started.iter().filter(|(piece, started)| !is_asked(started) && !is_held(**piece));
        let unreachable: Vec<PieceIndex> = unreachable.map(|(piece, _)| *piece).collect();
        for piece in unreachable {
            self.begin_anew(piece, budget);
        }
    }

    /// The piece hashed right and is on the disk. False when that was not asked for.
    pub fn keep(&mut self, piece: PieceIndex, budget: &mut Budget) -> bool {
        let Some(Piece { state: state @ State::Storing(_), .. }) = self.pieces.get_mut(piece.0 as usize) else {
            return false;
        };
        *state = State::Kept;
        self.missing -= 1;
        self.lone.remove(&piece);
        self.deadlines.remove(&piece);
        budget.used -= u64::from(self.layout.piece_size(piece));
        true
    }

    /// The piece hashed wrong. Returns the source when there was one alone; else the piece comes from one source next.
    pub fn refuse(&mut self, piece: PieceIndex, budget: &mut Budget) -> Option<ConnId> {
        let Some(Piece { state: State::Storing(sources), .. }) = self.pieces.get(piece.0 as usize) else {
            return None;
        };
        let culprit = sources.first().copied().filter(|_| sources.len() == 1);
        self.lone.insert(piece);
        let size = self.layout.piece_size(piece);
        budget.used -= u64::from(size);
        self.missing_bytes += u64::from(size);
        self.enter(piece);
        culprit
    }

    /// Gives back what it uses of the budget, as it will not be used again.
    pub fn close(self, budget: &mut Budget) {
        for (piece, Piece { state, .. }) in self.layout.pieces().zip(&self.pieces) {
            if matches!(state, State::Started | State::Storing(_)) {
                budget.used -= u64::from(self.layout.piece_size(piece));
            }
        }
    }

    fn choose_due(&self, source: ConnId, has: &Has, budget: &Budget) -> Option<PieceIndex> {
        let mut due = self.due.iter().map(|(_, piece)| *piece).filter(|piece| has.has(*piece));
        due.find(|piece| match self.started.get(piece) {
            Some(started) => self.may_join(source, *piece, started),
            None => budget.allows(self.layout.piece_size(*piece), true),
        })
    }

    fn choose(&self, source: ConnId, has: &Has, budget: &Budget) -> Result<PieceIndex, Idle> {
        let has_piece = |piece: &PieceIndex| has.has(*piece);
        let owned = |owner| self.open.range((owner, PieceIndex(0))..=(owner, PieceIndex(u32::MAX))).map(|(_, p)| *p);
        let due = self.choose_due(source, has, budget);
        if let Some(piece) = due.or_else(|| owned(Some(source)).chain(owned(None)).find(has_piece)) {
            return Ok(piece);
        }
        let rarest = self.fresh.iter().map(|(_, _, piece)| *piece).find(has_piece);
        if let Some(piece) = rarest.filter(|piece| budget.allows(self.layout.piece_size(*piece), false)) {
            return Ok(piece);
        }
        let others = self.open.iter().map(|(_, piece)| *piece).filter(has_piece);
        let shared = others.filter(|piece| self.may_join(source, *piece, &self.started[piece]));
        let idle = if rarest.is_some() { Idle::Later } else { Idle::Nothing };
        shared.max_by_key(|piece| self.started[piece].free).ok_or(idle)
    }

    fn may_join(&self, source: ConnId, piece: PieceIndex, started: &Started) -> bool {
        started.owner.is_none_or(|owner| owner == source || !self.lone.contains(&piece))
    }

    fn take(
        &mut self,
        now: Instant,
        source: ConnId,
        piece: PieceIndex,
        block_length: u32,
        budget: &mut Budget,
    ) -> Block {
        if self.pieces[piece.0 as usize].state == State::Fresh {
            self.start(piece, block_length, budget);
        }
        let started = self.started.get_mut(&piece).expect("a chosen piece is started");
        if started.owner.is_none() {
            self.open.remove(&(None, piece));
            started.owner = Some(source);
        }
        let slot = started.slots.iter().position(|slot| matches!(slot, Slot::Free)).expect("an open piece has one");
        started.slots[slot] = Slot::Asked(Ask { source, at: now }, None);
        started.free -= 1;
        let block = block_at(self.layout, piece, started.block_length, slot);
        self.index(piece);
        block
    }

    fn start(&mut self, piece: PieceIndex, block_length: u32, budget: &mut Budget) {
        let Piece { state, availability } = &mut self.pieces[piece.0 as usize];
        *state = State::Started;
        self.fresh.remove(&(*availability, tie(self.seed, piece), piece));
        let size = self.layout.piece_size(piece);
        budget.used += u64::from(size);
        let count = size.div_ceil(block_length) as usize;
        let started = Started { block_length, slots: vec![Slot::Free; count], free: count, got: 0, owner: None };
        self.started.insert(piece, started);
    }

    /// A piece is to be cut into other blocks. False while others are asked for blocks of it.
    pub fn recut(&mut self, piece: PieceIndex, budget: &mut Budget) -> bool {
        let asked = |started: &Started| started.slots.iter().any(|slot| matches!(slot, Slot::Asked(..)));
        let free = self.started.get(&piece).is_some_and(|started| !asked(started));
        if free {
            self.begin_anew(piece, budget);
        }
        free
    }

    fn begin_anew(&mut self, piece: PieceIndex, budget: &mut Budget) {
        let Some(started) = self.started.remove(&piece) else { return };
        self.open.remove(&(started.owner, piece));
        budget.used -= u64::from(self.layout.piece_size(piece));
        for slot in started.slots {
            if let Slot::Got(_, data) = slot {
                self.missing_bytes += data.len() as u64;
            }
        }
        self.enter(piece);
    }

    fn enter(&mut self, piece: PieceIndex) {
        let Piece { state, availability } = &mut self.pieces[piece.0 as usize];
        *state = State::Fresh;
        self.fresh.insert((*availability, tie(self.seed, piece), piece));
        self.index(piece);
    }

    /// Brings `open` and `due` up to date after a change to this piece.
    fn index(&mut self, piece: PieceIndex) {
        let can_be_asked = match self.started.get(&piece) {
            Some(started) if started.free > 0 => {
                self.open.insert((started.owner, piece));
                true
            }
            Some(started) => {
                self.open.remove(&(started.owner, piece));
                false
            }
            None => self.pieces[piece.0 as usize].state == State::Fresh,
        };
        if let Some(by) = self.deadlines.get(&piece) {
            if can_be_asked {
                self.due.insert((*by, piece));
            } else {
                self.due.remove(&(*by, piece));
            }
        }
    }

    fn reorder_all(&mut self, has: &Has, change: i32) {
        if let Has::Some(bits) = has {
            for piece in self.layout.pieces().filter(|piece| bits.has(*piece)) {
                self.reorder(piece, change);
            }
        }
    }

    fn reorder(&mut self, piece: PieceIndex, change: i32) {
        let Piece { state, availability } = &mut self.pieces[piece.0 as usize];
        let tie = tie(self.seed, piece);
        let was = *availability;
        *availability = was.saturating_add_signed(change as i16);
        if *state == State::Fresh {
            self.fresh.remove(&(was, tie, piece));
            self.fresh.insert((*availability, tie, piece));
        }
    }

    /// The slot of exactly this block of a started piece.
    fn slot(&mut self, block: Block) -> Option<&mut Slot> {
        let layout = self.layout;
        let started = self.started.get_mut(&block.piece)?;
        let slot = (block.begin / started.block_length) as usize;
        if slot >= started.slots.len() || block_at(layout, block.piece, started.block_length, slot) != block {
            return None;
        }
        started.slots.get_mut(slot)
    }
}

/// Takes `source` out of a slot: `None` when it was not in it, else whether the slot is free now.
fn release_slot(slot: &mut Slot, source: ConnId) -> Option<bool> {
    let Slot::Asked(first, second) = *slot else { return None };
    *slot = match second {
        Some(second) if second.source == source => Slot::Asked(first, None),
        Some(second) if first.source == source => Slot::Asked(second, None),
        None if first.source == source => Slot::Free,
        _ => return None,
    };
    Some(matches!(slot, Slot::Free))
}

fn block_at(layout: Layout, piece: PieceIndex, block_length: u32, slot: usize) -> Block {
    let begin = slot as u32 * block_length;
    Block { piece, begin, length: block_length.min(layout.piece_size(piece) - begin) }
}

/// Orders pieces of equal rarity differently for each seed.
fn tie(seed: u64, piece: PieceIndex) -> u32 {
    let mixed = (seed ^ u64::from(piece.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32
}

#[cfg(test)]
mod tests;

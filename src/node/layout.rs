//! Laying a torrent out: it takes room, and refers to pieces of the body before that are here and the same.
//!
//! Pieces are the same by their SHA-1. Where a file has grown so much that its pieces became longer, the body before is
//! hashed by the new piece length first; mostly that reads once what would otherwise be sent.

use super::io::{DiskError, DiskRequest, Hashed, Segment};
use super::vault::{Partial, State, push_extent, segments};
use super::{Asked, Node};
use crate::base::limits::{CHUNK_SEALED, UNIT};
use crate::base::{InfoHash, Location, PieceIndex, Snapshot};
use crate::ledger::values::Extent;
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::Bitfield;

/// Nothing longer is hashed anew: 16 GiB.
const ANEW_MAX: u64 = 16 << 30;
/// Bytes that are hashed by one request: a multiple of every piece length.
const AT_ONCE: u64 = 256 << 20;
/// Torrents whose body before was hashed and that were not laid out yet: of more, some are forgotten.
const ANEW_KEPT: usize = 8;

/// A body before, by another piece length than its own.
pub struct Anew {
    before: InfoHash,
    piece_length: u32,
    /// Bytes of it that are hashed in the end.
    end: u64,
    /// Bytes that are hashed so far.
    hashed: u64,
    /// SHA-1 of each piece of them.
    pieces: Vec<u8>,
    done: bool,
}

impl<S: Snapshot> Node<S> {
    /// True while it waits for the body before to be hashed by this torrent's piece length; a reader does not wait, nor does
    /// anything else while one is being hashed.
    pub(super) fn hashes_anew(&mut self, info_hash: &InfoHash, meta: &Metainfo, reader: bool) -> bool {
        if let Some(anew) = self.vault.anew.get(info_hash) {
            return !anew.done && !reader;
        }
        if reader || self.stopping.is_some() || self.vault.anew.values().any(|anew| !anew.done) {
            return false;
        }
        let Some((before, old)) = self.body_before(info_hash) else { return false };
        let end = old.length.min(meta.length);
        if !self.is_all_here(&before) || old.piece_length == meta.piece_length || end > ANEW_MAX {
            return false;
        }
        if self.vault.anew.len() >= ANEW_KEPT {
            self.vault.anew.pop_first();
        }
        let piece_length = meta.piece_length;
        let anew = Anew { before, piece_length, end, hashed: 0, pieces: Vec::new(), done: false };
        self.vault.anew.insert(*info_hash, anew);
        self.hash_on(info_hash)
    }

    /// Has the next bytes of the body before hashed. False where that is over.
    fn hash_on(&mut self, info_hash: &InfoHash) -> bool {
        let Some(anew) = self.vault.anew.get(info_hash) else { return false };
        let (from, to) = (anew.hashed, anew.end.min(anew.hashed + AT_ONCE));
        let chunks = || {
            let extents = self.layout(&anew.before).filter(|_| self.is_all_here(&anew.before))?;
            let chunk = |at: u64| segments(&extents, at, (CHUNK_SEALED as u64).min(to - at))?.first().copied();
            (from..to).step_by(CHUNK_SEALED).map(chunk).collect::<Option<Vec<Segment>>>()
        };
        let chunks = chunks().filter(|chunks| !chunks.is_empty() && self.stopping.is_none());
        let piece_length = anew.piece_length;
        match chunks {
            Some(chunks) => {
                self.ask(Asked::Anew(*info_hash, from), DiskRequest::Hash { chunks, piece_length, known: Vec::new() });
                true
            }
            None => {
                self.vault.anew.entry(*info_hash).and_modify(|anew| anew.done = true);
                false
            }
        }
    }

    /// The disk hashed some of the body before a torrent, from this byte on.
    pub(super) fn hashed_anew(&mut self, info_hash: InfoHash, from: u64, result: Result<Hashed, DiskError>) {
        let Some(anew) = self.vault.anew.get_mut(&info_hash).filter(|anew| anew.hashed == from) else { return };
        match result {
            Ok(hashed) => {
                anew.hashed = anew.end.min(anew.hashed + AT_ONCE);
                anew.pieces.extend(hashed.pieces);
            }
            Err(error) => {
                log::warn!("a body before could not be hashed, so that more of the new one is fetched: {error}");
                anew.end = anew.hashed;
            }
        }
        if !self.hash_on(&info_hash) {
            // A cache may lay it out only at its next planning.
            self.activate(info_hash, false);
        }
    }

    fn is_all_here(&self, info_hash: &InfoHash) -> bool {
        self.vault.torrents.get(info_hash).is_some_and(|torrent| matches!(torrent.state, State::Whole))
    }

    /// Takes room for a torrent; pieces that the body before has alike are referred to.
    pub(super) fn lay_out(&mut self, info_hash: &InfoHash, meta: &Metainfo) {
        let before = self.body_before(info_hash).and_then(|(before, old)| Some((before, self.layout(&before)?, old)));
        let anew = self.vault.anew.remove(info_hash);
        let is_same = |piece: PieceIndex| {
            let Some((before, _, old)) = &before else { return false };
            let (hash, size) = (meta.piece_hash(piece), meta.piece_size(piece));
            if old.piece_length == meta.piece_length {
                let same = |p: PieceIndex| old.piece_hash(p) == hash && old.piece_size(p) == size;
                return old.piece(piece.0).is_some_and(same) && self.has_piece(before, piece);
            }
            let anew = anew.as_ref().filter(|anew| anew.before == *before && self.is_all_here(before));
            anew.is_some_and(|anew| {
                let from = u64::from(piece.0) * u64::from(anew.piece_length);
                let whole = anew.hashed.saturating_sub(from).min(anew.piece_length.into()) == u64::from(size);
                whole && anew.pieces.chunks_exact(20).nth(piece.0 as usize) == Some(&hash[..])
            })
        };
        let pieces = (0..meta.piece_count()).filter_map(|piece| meta.piece(piece));
        let same: Vec<PieceIndex> = pieces.filter(|piece| is_same(*piece)).collect();
        let mut have = Bitfield::new(meta.piece_count());
        let mut extents = Vec::new();
        let per_piece = meta.piece_length / CHUNK_SEALED as u32;
        let chunks = meta.length.div_ceil(CHUNK_SEALED as u64) as u32;
        let mut fresh_from = 0;
        for piece in same {
            let Some((_, layout, _)) = &before else { break };
            let (first, count) = (piece.0 * per_piece, per_piece.min(chunks - piece.0 * per_piece));
            let from = u64::from(first) * CHUNK_SEALED as u64;
            let Some(old) = segments(layout, from, u64::from(meta.piece_size(piece))) else { continue };
            self.vault.take_chunks(fresh_from, first - fresh_from, meta.length, &mut extents);
            let mut chunk = first;
            for segment in old {
                let chunks = segment.length.div_ceil(CHUNK_SEALED as u32);
                let unit = (segment.offset / UNIT as u64) as u32;
                push_extent(&mut extents, Extent { chunk, chunks, location: Location { slab: segment.slab, unit } });
                chunk += chunks;
            }
            have.set(piece);
            fresh_from = first + count;
        }
        self.vault.take_chunks(fresh_from, chunks - fresh_from, meta.length, &mut extents);
        self.vault.share(&extents, meta.length);
        if let Some(torrent) = self.vault.torrents.get_mut(info_hash) {
            torrent.state = State::Partial(Box::new(Partial { have, extents: extents.into() }));
        }
        self.note_kept(info_hash);
    }

    /// The torrent to which a new one may refer, if something of it is here: the one that its author told it is like, or
    /// else what it was written over.
    fn body_before(&self, info_hash: &InfoHash) -> Option<(InfoHash, Metainfo)> {
        let torrent = self.vault.torrents.get(info_hash)?;
        let told = self.public_info(&torrent.circle, &torrent.record).and_then(|info| info.base);
        [told, torrent.base].into_iter().flatten().filter(|before| before != info_hash).find_map(|before| {
            let old = self.vault.torrents.get(&before).filter(|old| old.circle == torrent.circle)?;
            if matches!(old.state, State::Absent) {
                return None;
            }
            Some((before, self.metainfo(&old.circle, &old.record)?))
        })
    }
}

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

/// A longer body is not hashed anew: 16 GiB.
const ANEW_CHUNKS: usize = 1 << 18;

/// A body before, by another piece length than its own.
pub struct Anew {
    before: InfoHash,
    /// SHA-1 of each piece.
    pieces: Vec<u8>,
}

impl<S: Snapshot> Node<S> {
    /// True while it waits for the body before to be hashed by this torrent's piece length; a reader does not wait.
    pub(super) fn hashes_anew(&mut self, info_hash: &InfoHash, meta: &Metainfo, reader: bool) -> bool {
        match self.vault.anew.get(info_hash) {
            Some(known) => return known.is_none() && !reader,
            None if reader => return false,
            None => {}
        }
        let Some((before, old)) = self.body_before(info_hash) else { return false };
        let whole = self.vault.torrents.get(&before).is_some_and(|before| matches!(before.state, State::Whole));
        if !whole || old.piece_length == meta.piece_length {
            return false;
        }
        let chunks = self.layout(&before).and_then(|extents| {
            let lengths = (0..old.length.min(meta.length)).step_by(CHUNK_SEALED);
            let chunk = |from: u64| {
                let length = (CHUNK_SEALED as u64).min(old.length - from);
                segments(&extents, from, length)?.first().copied()
            };
            lengths.map(chunk).collect::<Option<Vec<Segment>>>()
        });
        let Some(chunks) = chunks.filter(|chunks| chunks.len() <= ANEW_CHUNKS) else { return false };
        self.vault.anew.insert(*info_hash, None);
        let request = DiskRequest::Hash { chunks, piece_length: meta.piece_length, known: Vec::new() };
        self.ask(Asked::Anew(*info_hash, before), request);
        true
    }

    /// The disk hashed the body before a torrent.
    pub(super) fn hashed_anew(&mut self, info_hash: InfoHash, before: InfoHash, result: Result<Hashed, DiskError>) {
        let pieces = match result {
            Ok(hashed) => hashed.pieces,
            Err(error) => {
                log::warn!("a body before could not be hashed, so all of the new one is fetched: {error}");
                Vec::new()
            }
        };
        // A cache may lay it out only at its next planning. Of those that were never laid out none is left for long.
        self.vault.anew.retain(|_, known| known.is_none());
        self.vault.anew.insert(info_hash, Some(Anew { before, pieces }));
        self.activate(info_hash, false);
    }

    /// Takes room for a torrent; pieces that the body before has alike are referred to.
    pub(super) fn lay_out(&mut self, info_hash: &InfoHash, meta: &Metainfo) {
        let before = self.body_before(info_hash).and_then(|(before, old)| Some((before, self.layout(&before)?, old)));
        let anew = self.vault.anew.remove(info_hash).flatten();
        let is_same = |piece: PieceIndex| {
            let Some((before, _, old)) = &before else { return false };
            let hash = meta.piece_hash(piece);
            if old.piece_length == meta.piece_length {
                return old.piece(piece.0).is_some_and(|p| old.piece_hash(p) == hash) && self.has_piece(before, piece);
            }
            let anew = anew.as_ref().filter(|anew| anew.before == *before);
            let here = self.vault.torrents.get(before).is_some_and(|before| matches!(before.state, State::Whole));
            here && anew.and_then(|anew| anew.pieces.chunks_exact(20).nth(piece.0 as usize)) == Some(&hash[..])
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

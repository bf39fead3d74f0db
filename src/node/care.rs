//! Care for what lies in the vault: pieces are hashed when somebody asks for a check, when a read failed, and slowly in the
//! background ([`scrub`](super::scrub)). What no longer hashes is missing from then on, and is fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::io::{Answer, DiskError, DiskRequest, Hashed, Inode, OpError, Reply, Segment};
use super::quick::Measured;
use super::read::{Spot, torrent_of};
use super::scrub::Scrub;
use super::status::{CheckStatus, Damage, Damaged};
use super::vault::{CHUNK_UNITS, Partial, State, Torrent, push_extent};
use super::view::Part;
use super::{Asked, Effect, Node};
use crate::base::limits::{CHUNK_PLAIN, CHUNK_SEALED};
use crate::base::{InfoHash, Location, PieceIndex, Snapshot, Ticket};
use crate::ledger::values::Extent;
use crate::tree::Seen;
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::Bitfield;

/// Pieces that a check has hashed at once: one is read while the other is hashed.
const AT_ONCE: usize = 2;
/// Damaged files and other findings that are told by name.
pub(super) const NAMED: usize = 1_000;
/// Pieces that one doubt has hashed.
const DOUBTED: u32 = 64;

/// See the module.
#[derive(Default)]
pub struct Care {
    check: Option<Check>,
    /// See [`Node::written_up_to`], when the check that runs began.
    pub(super) written: Location,
    /// Reads that failed, and how many pieces each waits for.
    doubts: BTreeMap<Ticket, usize>,
    pub(super) scrub: Scrub,
}

/// A check that runs, or the last one.
#[derive(Default)]
struct Check {
    full: bool,
    running: bool,
    measured: bool,
    walk: Walk,
    /// Pieces that are being hashed.
    flying: usize,
    done_bytes: u64,
    total_bytes: u64,
    /// Damaged pieces by torrent.
    damaged: BTreeMap<InfoHash, u64>,
    notes: Vec<String>,
    unnamed_bytes: u64,
}

/// How far a walk over everything that is here has come.
pub(super) struct Walk {
    /// The next torrent, and its next piece if it is this one.
    pub(super) from: (Bound<InfoHash>, u32),
    now: Option<(InfoHash, Metainfo)>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { from: (Bound::Unbounded, 0), now: None }
    }
}

/// A piece that is hashed.
pub struct Doubted {
    pub(super) info_hash: InfoHash,
    piece: PieceIndex,
    sha1: [u8; 20],
    piece_length: u32,
    segments: Vec<Segment>,
    by: By,
}

/// Who has it hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Check,
    Scrub,
    Read(Ticket),
}

impl Doubted {
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.length)).sum()
    }
}

impl<S: Snapshot> Node<S> {
    /// Starts a check; of two the more thorough one goes on.
    pub(super) fn begin_check(&mut self, full: bool) -> Reply {
        if self.care.check.as_ref().is_some_and(|check| check.running && (check.full || !full)) {
            return Ok(Answer::Done);
        }
        let total_bytes = if full { self.held_bytes() } else { 0 };
        self.care.check = Some(Check { full, running: true, total_bytes, ..Check::default() });
        let slabs: BTreeSet<u32> = self.slabs_in_use();
        self.care.written = self.written_up_to();
        self.ask(Asked::Measure, DiskRequest::Measure { slabs });
        Ok(Answer::Done)
    }

    /// Bytes of all pieces that are here.
    pub(super) fn held_bytes(&self) -> u64 {
        let held = self.vault.torrents.values().map(|torrent| match &torrent.state {
            State::Absent => 0,
            State::Whole => torrent.length,
            State::Partial(partial) => {
                torrent.length / u64::from(partial.have.len()).max(1) * u64::from(partial.have.count())
            }
        });
        held.sum()
    }

    /// The slabs are as long as this: the ledger is held against them.
    pub(super) fn measured(&mut self, measured: Result<Measured, DiskError>) {
        let findings = match &measured {
            Ok(measured) => self.quick(measured),
            Err(error) => super::quick::Findings { notes: vec![error.to_string()], ..Default::default() },
        };
        let Some(mut check) = self.care.check.take_if(|check| check.running && !check.measured) else { return };
        // What was written meanwhile lies beyond what was measured: only who reads it knows.
        for (info_hash, piece) in findings.damaged {
            if let Some(doubted) = self.doubted(&info_hash, piece, By::Check) {
                check.flying += 1;
                self.hash_piece(doubted);
            }
        }
        (check.notes, check.unnamed_bytes) = (findings.notes, findings.unnamed_bytes);
        (check.measured, check.running) = (true, check.full || check.flying > 0);
        self.care.check = Some(check);
    }

    /// A piece that is here, to be hashed.
    fn doubted(&self, info_hash: &InfoHash, piece: PieceIndex, by: By) -> Option<Doubted> {
        let torrent = self.vault.torrents.get(info_hash)?;
        let piece_length = self.metainfo(&torrent.circle, &torrent.record)?.piece_length;
        let (sha1, segments) = self.piece_place(info_hash, piece).filter(|_| self.has_piece(info_hash, piece))?;
        Some(Doubted { info_hash: *info_hash, piece, sha1, piece_length, segments, by })
    }

    /// Goes on with what is due.
    pub(super) fn care_due(&mut self) {
        self.check_due();
        self.scrub_due();
    }

    fn check_due(&mut self) {
        let stopping = self.stopping.is_some();
        let Some(mut check) = self.care.check.take_if(|check| check.running && check.measured) else { return };
        while check.full && check.flying < AT_ONCE && !stopping {
            let Some(doubted) = self.next_piece(&mut check.walk, By::Check) else { break };
            check.flying += 1;
            self.hash_piece(doubted);
        }
        check.running = check.flying > 0;
        self.care.check = Some(check);
    }

    /// True while a check hashes everything, which a scrub need not do beside it.
    pub(super) fn is_checking(&self) -> bool {
        self.care.check.as_ref().is_some_and(|check| check.running)
    }

    /// The next piece that is here.
    pub(super) fn next_piece(&mut self, walk: &mut Walk, by: By) -> Option<Doubted> {
        loop {
            let held = |torrent: &Torrent| !matches!(torrent.state, State::Absent);
            let mut torrents = self.vault.torrents.range((walk.from.0, Bound::Unbounded));
            let (info_hash, torrent) = torrents.find(|(_, torrent)| held(torrent))?;
            let (info_hash, place) = (*info_hash, (torrent.circle, torrent.record));
            let number = if walk.from.0 == Bound::Included(info_hash) { walk.from.1 } else { 0 };
            if walk.now.as_ref().is_none_or(|(now, _)| *now != info_hash) {
                walk.now = self.metainfo(&place.0, &place.1).map(|meta| (info_hash, meta));
            }
            let piece = walk.now.as_ref().and_then(|(_, meta)| Some((meta.piece(number)?, meta)));
            let Some((piece, meta)) = piece else {
                walk.from = (Bound::Excluded(info_hash), 0);
                continue;
            };
            walk.from = (Bound::Included(info_hash), number + 1);
            let (sha1, piece_length, size) = (meta.piece_hash(piece), meta.piece_length, meta.piece_size(piece));
            if !self.has_piece(&info_hash, piece) {
                continue;
            }
            let from = u64::from(piece.0) * u64::from(piece_length);
            self.keep_layout(&info_hash);
            let segments =
                self.layout(&info_hash).and_then(|extents| super::vault::segments(&extents, from, u64::from(size)));
            if let Some(segments) = segments {
                return Some(Doubted { info_hash, piece, sha1, piece_length, segments, by });
            }
        }
    }

    pub(super) fn hash_piece(&mut self, doubted: Doubted) {
        let chunks = doubted.segments.iter().flat_map(chunks_of).collect();
        let piece_length = doubted.piece_length;
        self.ask(Asked::Verify(Box::new(doubted)), DiskRequest::Hash { chunks, piece_length, known: Vec::new() });
    }

    /// A piece was hashed.
    pub(super) fn verified(&mut self, doubted: &Doubted, result: &Result<Hashed, DiskError>) {
        let right = result.as_ref().is_ok_and(|hashed| hashed.pieces == doubted.sha1);
        // It may have gone or come to lie elsewhere meanwhile.
        let place = || self.piece_place(&doubted.info_hash, doubted.piece).map(|(_, segments)| segments);
        let is_there =
            || self.has_piece(&doubted.info_hash, doubted.piece) && place().as_ref() == Some(&doubted.segments);
        let damaged = !right && is_there();
        if damaged {
            let why = result.as_ref().err().map_or("it does not hash".into(), ToString::to_string);
            log::error!("piece {} of torrent {} is damaged: {why}", doubted.piece.0, doubted.info_hash);
            // What could not be read may be there the next time, and of a long piece most chunks still open: they are given
            // up only for a copy that somebody offers.
            let unread = matches!(result, Err(error) if *error != DiskError::Corrupt);
            let is_long = doubted.piece_length as usize > CHUNK_SEALED;
            if !(unread || is_long) || self.is_offered(&doubted.info_hash) {
                self.rotted(&doubted.info_hash, doubted.piece);
            } else if let Some(torrent) = self.vault.torrents.get_mut(&doubted.info_hash) {
                torrent.damaged = true;
            }
        } else if let Some(torrent) = self.vault.torrents.get_mut(&doubted.info_hash)
            && matches!(torrent.state, State::Whole)
        {
            torrent.damaged &= !right;
        }
        match doubted.by {
            By::Check => {
                let Some(check) = &mut self.care.check else { return };
                check.flying = check.flying.saturating_sub(1);
                check.done_bytes += doubted.bytes();
                if damaged {
                    *check.damaged.entry(doubted.info_hash).or_default() += 1;
                }
            }
            By::Scrub => self.scrubbed(doubted, damaged),
            By::Read(ticket) => {
                let left = self.care.doubts.get_mut(&ticket).map(|left| {
                    *left -= 1;
                    *left
                });
                if left == Some(0) {
                    self.care.doubts.remove(&ticket);
                    self.reply(ticket, Ok(Answer::Done));
                }
            }
        }
    }

    /// A read of these bytes failed: their pieces are hashed before it is tried again.
    pub(super) fn doubt(&mut self, ticket: Ticket, inode: Inode, offset: u64, length: u32) -> Option<Reply> {
        let body = match self.spot(inode) {
            Ok(Spot::In(id, seen)) => {
                let key = super::files::DraftKey { circle: id, object: seen.object, version: seen.version };
                match self.files.draft(&key) {
                    Some(draft) => draft.base.as_ref().map(|base| base.body.clone()),
                    None => self.body(&id, &seen).ok(),
                }
            }
            Ok(Spot::View(Part::Older(id, object, dot))) => {
                self.older_part(&id, &object, &dot).ok().map(|found| found.1)
            }
            _ => None,
        };
        let Some(info_hash) = body.as_ref().and_then(torrent_of) else { return Some(Ok(Answer::Done)) };
        let Some(torrent) = self.vault.torrents.get(&info_hash) else { return Some(Ok(Answer::Done)) };
        let Some(meta) = self.metainfo(&torrent.circle, &torrent.record) else { return Some(Ok(Answer::Done)) };
        let per_piece = u64::from(meta.piece_length) / CHUNK_SEALED as u64 * CHUNK_PLAIN as u64;
        let last = offset.saturating_add(u64::from(length).max(1)) - 1;
        let numbers = (offset / per_piece) as u32..=(last / per_piece) as u32;
        let mut found = Vec::new();
        for piece in numbers.take(DOUBTED as usize).filter_map(|number| meta.piece(number)) {
            found.extend(self.doubted(&info_hash, piece, By::Read(ticket)));
        }
        if found.is_empty() {
            return Some(Ok(Answer::Done));
        }
        self.care.doubts.insert(ticket, found.len());
        found.into_iter().for_each(|doubted| self.hash_piece(doubted));
        None
    }

    /// A piece that was here is not what it was: it is missing from now on, and comes to lie elsewhere.
    fn rotted(&mut self, info_hash: &InfoHash, piece: PieceIndex) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let (length, place) = (torrent.length, (torrent.circle, torrent.record));
        let Some((meta, old)) = self.metainfo(&place.0, &place.1).zip(self.layout(info_hash)) else { return };
        let mut have = match &torrent.state {
            State::Absent => return,
            State::Whole => Bitfield::full(meta.piece_count()),
            State::Partial(partial) => partial.have.clone(),
        };
        have.clear(piece);
        let (chunks, per_piece) =
            (meta.length.div_ceil(CHUNK_SEALED as u64) as u32, meta.piece_length / CHUNK_SEALED as u32);
        let first = piece.0 * per_piece;
        let end = (first + per_piece).min(chunks);
        let mut extents = Vec::new();
        clip(&old, 0, first, &mut extents);
        self.vault.take_chunks(first, end - first, meta.length, &mut extents);
        clip(&old, end, chunks, &mut extents);
        // The new places first: what both have is never free in between.
        self.vault.share(&extents, length);
        let free = self.vault.unshare(&old, length);
        if !free.is_empty() {
            self.after_commit(Effect::Punch(free));
        }
        if let Some(torrent) = self.vault.torrents.get_mut(info_hash) {
            torrent.state = State::Partial(Box::new(Partial { have, extents: Arc::new(extents) }));
            (torrent.asked, torrent.damaged) = (true, true);
        }
        self.vault.layouts.forget(info_hash);
        self.vault.renumbered.remove(info_hash);
        self.vault.dirty.insert(*info_hash);
        self.swarm.lost(self.now.instant, *info_hash, piece);
        if !self.vault.active.contains_key(info_hash) && !self.vault.queue.contains(info_hash) {
            self.vault.queue.push_back(*info_hash);
        }
        self.tell_changed(info_hash);
        self.tell_lack(info_hash);
        self.flush_soon();
    }

    /// How the check stands that runs, or how the last one ended; `None` when there was none since the start.
    pub fn check_status(&self) -> Option<CheckStatus> {
        let check = self.care.check.as_ref()?;
        let mut found = check.damaged.clone();
        for (info_hash, torrent) in self.vault.torrents.iter().filter(|(_, torrent)| torrent.damaged) {
            // Found by a check or a read before, and not mended since.
            let State::Partial(partial) = &torrent.state else { continue };
            found.entry(*info_hash).or_insert_with(|| u64::from(partial.have.len() - partial.have.count()));
        }
        let damaged = found.iter().take(NAMED).map(|(info_hash, pieces)| self.damage_of(info_hash, *pieces));
        Some(CheckStatus {
            running: check.running,
            full: check.full,
            done_bytes: check.done_bytes,
            total_bytes: check.total_bytes.max(check.done_bytes),
            torrents: self.vault.torrents.values().filter(|torrent| !matches!(torrent.state, State::Absent)).count()
                as u64,
            damaged: damaged.collect(),
            notes: check.notes.clone(),
            unnamed_bytes: check.unnamed_bytes,
        })
    }

    fn damage_of(&self, info_hash: &InfoHash, pieces: u64) -> Damage {
        let torrent = self.vault.torrents.get(info_hash);
        let now = match torrent {
            Some(torrent) if torrent.damaged && self.is_offered(info_hash) => Damaged::Fetching,
            Some(torrent) if torrent.damaged => Damaged::Lost,
            _ => Damaged::Repaired,
        };
        Damage { name: self.name_of(info_hash), pieces, now }
    }

    /// What is damaged and nobody who is connected has, by name.
    pub(super) fn lost_for_now(&self) -> Vec<String> {
        let damaged = self.vault.torrents.iter().filter(|(_, torrent)| torrent.damaged);
        damaged.filter(|(id, _)| !self.is_offered(id)).take(NAMED).map(|(id, _)| self.name_of(id)).collect()
    }

    /// Where a file shows whose body is in this torrent; else the torrent.
    fn name_of(&self, info_hash: &InfoHash) -> String {
        let shown = self.vault.torrents.get(info_hash).and_then(|torrent| {
            let circle = self.circles.get(&torrent.circle).filter(|circle| circle.readable())?;
            let (object, _) = circle.tree.holders(info_hash).next()?;
            self.shown_path(&torrent.circle, &Seen::of(object))
        });
        let older = self.vault.torrents.get(info_hash).is_some_and(|torrent| !torrent.wanted);
        let what = if older { "an older version, torrent" } else { "torrent" };
        shown.unwrap_or_else(|| format!("{what} {info_hash}"))
    }

    /// Why a read of what is missing ends, where nobody who is online has it.
    pub(super) fn unreachable(&self, info_hash: &InfoHash) -> OpError {
        match self.vault.torrents.get(info_hash) {
            Some(torrent) if torrent.damaged => OpError::Io(
                "it is damaged on this disk, and nobody who has it is online: try again when a friend is".into(),
            ),
            _ => OpError::Unreachable,
        }
    }
}

/// The part of a layout from one chunk to another.
fn clip(extents: &[Extent], from: u32, to: u32, out: &mut Vec<Extent>) {
    for extent in extents {
        let (first, end) = (extent.chunk.max(from), (extent.chunk + extent.chunks).min(to));
        if first < end {
            let unit = extent.location.unit + (first - extent.chunk) * CHUNK_UNITS;
            push_extent(
                out,
                Extent { chunk: first, chunks: end - first, location: Location { unit, ..extent.location } },
            );
        }
    }
}

/// The chunks of a run.
fn chunks_of(run: &Segment) -> impl Iterator<Item = Segment> + use<> {
    let run = *run;
    (0..run.length).step_by(CHUNK_SEALED).map(move |from| Segment {
        slab: run.slab,
        offset: run.offset + u64::from(from),
        length: (run.length - from).min(CHUNK_SEALED as u32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_whole_chunks_and_what_is_left() {
        let run = Segment { slab: 1, offset: 4_096, length: 2 * 65_536 + 8_192 };
        let chunks: Vec<_> = chunks_of(&run).map(|chunk| (chunk.offset, chunk.length)).collect();
        assert_eq!(chunks, [(4_096, 65_536), (69_632, 65_536), (135_168, 8_192)]);
    }

    #[test]
    fn a_layout_is_clipped_at_any_chunk() {
        let extent = |chunk, chunks, unit| Extent { chunk, chunks, location: Location { slab: 0, unit } };
        let layout = [extent(0, 4, 0), extent(4, 3, 160)];
        let clipped = |from, to| {
            let mut out = Vec::new();
            clip(&layout, from, to, &mut out);
            out
        };
        assert_eq!(clipped(0, 7), layout);
        assert_eq!(clipped(0, 0), []);
        assert_eq!(clipped(1, 3), [extent(1, 2, 16)]);
        assert_eq!(clipped(3, 6), [extent(3, 1, 48), extent(4, 2, 160)]);
    }
}

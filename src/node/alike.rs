//! What a new body has alike with one that is here: programs save by writing all of a file anew, or by writing it beside
//! the old one and renaming it over that. What is alike is neither stored nor sent twice.
//!
//! It is looked for once, when a draft's chunks are all sealed. Where a few chunks of a file that is here are the draft's
//! too, all are compared, byte by byte: a chunk of the old file is only taken for a new one that was read and found equal.
//! Under another epoch's key equal chunks seal to other bytes, so there the new one is sealed under the old key to be
//! compared.

use super::draft::{Draft, Placed, Publishing, Source, View};
use super::files::DraftKey;
use super::io::{DiskRequest, Hashed, Pair};
use super::read::{epoch_of, torrent_in, torrent_of};
use super::vault::State;
use super::{Asked, Node, Op};
use crate::base::limits::CHUNK_SEALED;
use crate::base::{CircleId, EpochId, InfoHash, Snapshot};
use crate::seal::chunk::{chunk_count, sealed_length};
use crate::seal::piece::TagsHash;
use crate::tree::Seen;
use crate::wire::metainfo::Metainfo;
use crate::wire::record::PublicInfo;

/// Chunks of its own that a draft has at least, to be compared with anything: 128 KiB.
const CHUNKS_MIN: usize = 2;
/// Bodies that a draft is compared with at most, and chunks of its own for each of them, if there are more than two: to look at
/// others costs a few reads of a disk that may be slow.
const CANDIDATES: usize = 32;
const CHUNKS_EACH: usize = 16;
/// Bodies that were opened or published last, and so may be saved anew.
const RECENT: usize = 64;
/// A directory with more entries is not looked through.
const SIBLINGS: usize = 256;
/// Chunks by which a body is judged.
const SAMPLES: usize = 3;
/// Chunks that are compared by one request: 256 MiB of a file.
const AT_ONCE: u32 = 4_096;
/// Bytes of a piece's hash.
const SHA1: usize = 20;

/// How far it is known which chunks of a draft are another body's.
#[derive(Default)]
pub enum Alike {
    /// It was not looked at.
    #[default]
    Unknown,
    /// A few chunks of each of these bodies are being compared, so many of each, by the request of this number.
    Sampling(u64, Vec<(View, usize)>),
    /// These chunks are being compared by the request of this number; what is known of those before is noted.
    Comparing(u64, Vec<u32>, Box<Likeness>),
    /// It is known of the draft as it was at this number.
    Known(u64, Option<Box<Likeness>>),
}

/// Which chunks of a draft are those of another body.
pub struct Likeness {
    pub view: View,
    /// For each chunk that was compared, in order.
    pub same: Vec<bool>,
}

impl Draft {
    /// What it has alike with a body that is here, as far as that is known of it as it is.
    pub fn likeness(&self) -> Option<&Likeness> {
        match &self.alike {
            Alike::Known(number, likeness) if *number == self.number => likeness.as_deref(),
            _ => None,
        }
    }

    /// True for a chunk of its own that another body has as well.
    pub fn is_alike(&self, chunk: u32) -> bool {
        self.likeness().is_some_and(|likeness| likeness.same.get(chunk as usize) == Some(&true))
    }

    /// The body whose chunks it has in part.
    pub fn predecessor(&self) -> Option<&View> {
        self.likeness().map(|likeness| &likeness.view).or(self.base.as_ref())
    }

    /// The chunks of its own that nothing needs where another body's are referred to.
    pub fn spare(&self) -> impl Iterator<Item = Placed> {
        let alike = self.chunks.iter().filter(|(chunk, _)| self.is_alike(**chunk));
        alike.filter_map(|(_, chunk)| chunk.placed.filter(|_| chunk.sealing.is_none()))
    }
}

impl<S: Snapshot> Node<S> {
    /// A body was opened, or published: it may be saved anew.
    pub(super) fn note_recent(&mut self, id: &CircleId, view: &View) {
        let Some(info_hash) = torrent_of(&view.body).filter(|_| chunk_count(view.body.size) as usize >= CHUNKS_MIN)
        else {
            return;
        };
        let recent = &mut self.files.recent;
        recent.retain(|(_, other)| torrent_of(&other.body) != Some(info_hash));
        recent.truncate(RECENT - 1);
        recent.push_front((*id, view.clone()));
    }

    /// Looks for a body that this draft is alike. True when the disk was asked, whose answer has publishing go on.
    pub(super) fn look_for_alike(&mut self, key: DraftKey) -> bool {
        let Some(draft) = self.files.drafts.get(&key) else { return false };
        let number = draft.number;
        // Who stops does not wait for more than must be.
        if self.stopping.is_some() || matches!(draft.alike, Alike::Known(known, _) if known == number) {
            return false;
        }
        let own = draft.chunks.iter().filter(|(_, chunk)| chunk.placed.is_some());
        let own: Vec<u32> = own.map(|(chunk, _)| *chunk).collect();
        let (mut pairs, mut sampled) = (Vec::new(), Vec::new());
        for view in self.candidates(&key, draft, |view| self.is_whole(view)) {
            let mut find = self.chunk_finder(&key.circle, &view);
            let end = own.partition_point(|chunk| *chunk < chunk_count(view.body.size));
            let found: Vec<Pair> =
                samples(&own[..end]).filter_map(|chunk| self.pair(&key, draft, &view, &mut find, chunk)).collect();
            drop(find);
            if !found.is_empty() {
                sampled.push((view, found.len()));
                pairs.extend(found);
            }
        }
        if pairs.is_empty() {
            self.set_alike(&key, Alike::Known(number, None));
            return false;
        }
        self.compare(key, number, pairs, |request| Alike::Sampling(request, sampled));
        true
    }

    /// The disk compared chunks of a draft with those of other bodies, as it was asked by the request of this number.
    pub(super) fn draft_compared(&mut self, key: DraftKey, number: u64, request: u64, same: &[bool]) {
        let Some(draft) = self.files.drafts.get(&key) else { return };
        // What was given up meanwhile was asked for anew since, or will be.
        let awaited = match &draft.alike {
            Alike::Sampling(awaited, sampled) => {
                *awaited == request && same.len() == sampled.iter().map(|(_, samples)| *samples).sum::<usize>()
            }
            Alike::Comparing(awaited, chunks, _) => *awaited == request && same.len() == chunks.len(),
            Alike::Unknown | Alike::Known(..) => false,
        };
        if !awaited || !self.is_as_asked(key, number) {
            return;
        }
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        let likeness = match std::mem::take(&mut draft.alike) {
            Alike::Sampling(_, sampled) => most_alike(sampled, same).map(|view| Likeness { view, same: Vec::new() }),
            Alike::Comparing(_, chunks, mut likeness) => {
                for (chunk, same) in chunks.iter().zip(same) {
                    likeness.same[*chunk as usize] = *same;
                }
                Some(*likeness)
            }
            Alike::Unknown | Alike::Known(..) => None,
        };
        match likeness.filter(|_| self.stopping.is_none()) {
            Some(likeness) => self.compare_on(key, number, likeness),
            None => {
                self.set_alike(&key, Alike::Known(number, None));
                self.go_on(key);
            }
        }
    }

    /// Has the next window compared, or goes on publishing.
    fn compare_on(&mut self, key: DraftKey, number: u64, mut likeness: Likeness) {
        loop {
            let Some(draft) = self.files.drafts.get(&key) else { return };
            let first = likeness.same.len() as u32;
            let end = draft.chunk_count().min(chunk_count(likeness.view.body.size)).min(first + AT_ONCE);
            if first >= end {
                break;
            }
            let mut find = self.chunk_finder(&key.circle, &likeness.view);
            let pair = |chunk| Some((chunk, self.pair(&key, draft, &likeness.view, &mut find, chunk)?));
            let (chunks, pairs): (Vec<u32>, Vec<Pair>) = (first..end).filter_map(pair).unzip();
            drop(find);
            likeness.same.resize(end as usize, false);
            if !pairs.is_empty() {
                let comparing = |request| Alike::Comparing(request, chunks, Box::new(likeness));
                return self.compare(key, number, pairs, comparing);
            }
        }
        let some = likeness.same.contains(&true);
        self.set_alike(&key, Alike::Known(number, some.then(|| Box::new(likeness))));
        self.go_on(key);
    }

    /// True where the body that a draft was found to be like is not here whole any more.
    pub(super) fn alike_is_gone(&self, key: &DraftKey) -> bool {
        let likeness = self.files.drafts.get(key).and_then(|draft| draft.likeness());
        likeness.is_some_and(|likeness| !self.is_whole(&likeness.view))
    }

    /// The draft is published as what it is by itself. False where it was so already.
    pub(super) fn forget_alike(&mut self, key: &DraftKey) -> bool {
        let Some(draft) = self.files.drafts.get_mut(key).filter(|draft| draft.likeness().is_some()) else {
            return false;
        };
        draft.alike = Alike::Known(draft.number, None);
        true
    }

    /// Chunks that were published since the start and are another body's, for the simulator.
    pub fn alike(&self) -> u64 {
        self.vault.alike
    }

    fn set_alike(&mut self, key: &DraftKey, alike: Alike) {
        if let Some(draft) = self.files.drafts.get_mut(key) {
            draft.alike = alike;
        }
    }

    fn compare(&mut self, key: DraftKey, number: u64, pairs: Vec<Pair>, alike: impl FnOnce(u64) -> Alike) {
        self.files.compared += 1;
        let request = self.files.compared;
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.publishing = Publishing::Hashing(number);
            draft.alike = alike(request);
        }
        self.ask(Asked::Compare(key, number, request), DiskRequest::Compare { pairs });
    }

    /// A chunk of the draft's own and the other body's, if both are here and equally long.
    fn pair(
        &self,
        key: &DraftKey,
        draft: &Draft,
        view: &View,
        find: &mut impl FnMut(u32) -> Option<(super::io::Segment, std::sync::Arc<crate::seal::ChunkKey>)>,
        chunk: u32,
    ) -> Option<Pair> {
        let mine = draft.chunks.get(&chunk)?.placed?;
        let (theirs, old) = find(chunk).filter(|(theirs, _)| theirs.length == mine.segment.length)?;
        let epoch: EpochId = epoch_of(torrent_in(&view.body)?, chunk)?;
        let keys = match epoch == mine.epoch {
            true => None,
            false => Some((self.circles.get(&key.circle)?.epochs.get(&mine.epoch)?.keys.chunk_key(), old)),
        };
        Some(Pair { mine: mine.segment, theirs, keys })
    }

    /// Bodies that this draft may be a new version of.
    fn candidates(&self, key: &DraftKey, draft: &Draft, of_use: impl Fn(&View) -> bool) -> Vec<View> {
        let own = draft.chunks.values().filter(|chunk| chunk.placed.is_some()).count();
        if own < CHUNKS_MIN {
            return Vec::new();
        }
        let most = (own / CHUNKS_EACH).clamp(2, CANDIDATES);
        let recent = self.files.recent.iter().filter(|(id, _)| *id == key.circle).map(|(_, view)| view.clone());
        let siblings = std::iter::once_with(|| self.siblings(key, draft)).flatten();
        let others = self.replaced(key, draft).into_iter().chain(recent).chain(siblings);
        // Chunks of two other bodies in one would have no piece length that suits both.
        let others = others.take(if draft.base_size == 0 { usize::MAX } else { 0 });
        let mut found: Vec<View> = Vec::new();
        for view in draft.base.iter().cloned().chain(others) {
            let near = view.body.size / 2 <= draft.size && draft.size / 2 <= view.body.size;
            let known = found.iter().any(|other| torrent_of(&other.body) == torrent_of(&view.body));
            if near && !known && of_use(&view) {
                found.push(view);
            }
            if found.len() == most {
                break;
            }
        }
        found
    }

    /// What those who wait for the draft's publishing will have it replace.
    fn replaced(&self, key: &DraftKey, draft: &Draft) -> Vec<View> {
        let targets = draft.renames.iter().filter_map(|(_, op)| match op {
            Op::Rename { new_parent, new_name, .. } | Op::Exchange { new_parent, new_name, .. } => {
                let (id, dir) = self.directory(*new_parent).ok()?;
                self.entry(&id, &dir, new_name)
            }
            _ => None,
        });
        targets.filter_map(|seen| self.view(&DraftKey::of(&key.circle, &seen))).collect()
    }

    /// What lies beside a new file, where that is not much.
    fn siblings(&self, key: &DraftKey, draft: &Draft) -> Vec<View> {
        let tree = self.circles.get(&key.circle).map(|circle| &circle.tree);
        let Some((tree, place)) = tree.zip(draft.staged.as_ref()) else { return Vec::new() };
        let listed: Vec<Seen> =
            tree.list(&place.parent, None, SIBLINGS + 1).into_iter().map(|(_, seen, ..)| seen).collect();
        if listed.len() > SIBLINGS {
            return Vec::new();
        }
        listed.iter().filter_map(|seen| self.view(&DraftKey::of(&key.circle, seen))).collect()
    }

    fn is_whole(&self, view: &View) -> bool {
        let torrent = torrent_of(&view.body).and_then(|info_hash| self.vault.torrents.get(&info_hash));
        torrent.is_some_and(|torrent| matches!(torrent.state, State::Whole) && !torrent.damaged)
    }

    /// The torrent that a record names so that whoever fetches the new one looks there for pieces: the body before, or else
    /// one that is at friends and has a piece as the new one has it.
    pub(super) fn told_base(&self, key: &DraftKey, info_hash: &InfoHash, info: &PublicInfo) -> Option<InfoHash> {
        let draft = self.files.drafts.get(key)?;
        if draft.base_size > 0 || draft.likeness().is_some() {
            return torrent_of(&draft.predecessor()?.body).filter(|before| before != info_hash);
        }
        let absent = self.candidates(key, draft, |view| !self.is_whole(view));
        let like = absent.iter().find(|view| {
            let old = self.metainfo(&key.circle, &view.record).filter(|old| old.piece_length == info.piece_length);
            old.is_some_and(|old| old.pieces.chunks(SHA1).zip(info.pieces.chunks(SHA1)).any(|(old, new)| old == new))
        });
        torrent_of(&like?.body).filter(|before| before != info_hash)
    }
}

/// Of these bodies, of each of which so many chunks were compared, the one that has most of them alike, if any has one.
fn most_alike(sampled: Vec<(View, usize)>, same: &[bool]) -> Option<View> {
    let (mut rest, mut best) = (same, None);
    for (view, samples) in sampled {
        let (mine, after) = rest.split_at(samples.min(rest.len()));
        rest = after;
        let score = mine.iter().filter(|same| **same).count();
        if score > best.as_ref().map_or(0, |(score, _)| *score) {
            best = Some((score, view));
        }
    }
    best.map(|(_, view)| view)
}

/// Chunks by which a body is judged: some that the draft wrote, from its beginning to its end.
fn samples(own: &[u32]) -> impl Iterator<Item = u32> {
    let (count, samples) = (own.len(), own.len().min(SAMPLES));
    (0..samples).map(move |sample| own[sample * count / samples])
}

/// The hashes of a file whose chunks are its pieces, where all were hashed as they were sealed.
pub fn hashed_chunks(draft: &Draft, piece_length: u32) -> Option<Hashed> {
    if piece_length as usize != CHUNK_SEALED || draft.base_size > 0 || draft.likeness().is_some() {
        return None;
    }
    let mut pieces = Vec::with_capacity(draft.chunk_count() as usize * SHA1);
    let mut tags = TagsHash::default();
    for chunk in 0..draft.chunk_count() {
        let hash = draft.chunks.get(&chunk)?.placed?.hash?;
        pieces.extend_from_slice(&hash.sha1);
        tags.update(&hash.tag);
    }
    Some(Hashed { pieces, tags: tags.finish() })
}

/// The hashes of pieces whose chunks are all still the ones that they were before.
pub fn known_pieces(draft: &Draft, old: Option<&Metainfo>, piece_length: u32) -> Vec<Option<[u8; SHA1]>> {
    let per_piece = piece_length / CHUNK_SEALED as u32;
    let chunks = draft.chunk_count();
    let pieces = chunks.div_ceil(per_piece);
    let old = old.filter(|old| old.piece_length == piece_length);
    (0..pieces)
        .map(|piece| {
            let is_old = |chunk: u32| matches!(draft.source(chunk), Source::Base) || draft.is_alike(chunk);
            if per_piece == 1
                && !is_old(piece)
                && let Some(hash) = draft.chunks.get(&piece).and_then(|chunk| chunk.placed?.hash)
            {
                return Some(hash.sha1);
            }
            let old = old?;
            let index = old.piece(piece)?;
            let (first, end) = (piece * per_piece, ((piece + 1) * per_piece).min(chunks));
            let whole = u64::from(old.piece_size(index)) == u64::from(end - first) * CHUNK_SEALED as u64
                || (end == chunks && old.length == sealed_length(draft.size));
            let same = whole && (first..end).all(is_old);
            same.then(|| old.piece_hash(index))
        })
        .collect()
}

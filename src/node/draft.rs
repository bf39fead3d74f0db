//! A draft: a body being written. Chunks are sealed as they fill; what is partly written waits in memory. Small writes into a
//! chunk that is sealed wait as patches of it, which the disk folds into it.
//!
//! Pure bookkeeping of one file: the node asks which chunks a change needs in memory, brings them, applies the change,
//! and seals what is to be sealed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::alike::Alike;
use super::io::{ChunkHash, DiskError, Inode, Op, OpError, Patches, Segment};
use crate::base::limits::{CHUNK_PLAIN, CHUNK_SEALED};
use crate::base::{EpochId, Instant, Ticket, WallTime};
use crate::seal::chunk::sealed_length;
use crate::wire::metainfo::piece_length_for;
use crate::wire::record::{Body, Content, Context, Dot, Kind, Place, Xattrs};

/// A body version that is open: shown to readers until the last handle closes, and the base of a draft.
#[derive(Clone, Debug)]
pub struct View {
    pub dot: Dot,
    pub body: Body,
    pub record: crate::base::RecordHash,
    /// What a body written over exactly this one supersedes.
    pub context: Context,
}

/// See the module.
pub struct Draft {
    /// Where the file is, while it is new and unpublished.
    pub staged: Option<Place>,
    /// What publishing supersedes.
    pub context: Context,
    pub base: Option<View>,
    /// The bytes of the base that are still the file's.
    pub base_size: u64,
    pub size: u64,
    pub mode: u32,
    pub mtime: WallTime,
    pub xattrs: Xattrs,
    pub chunks: BTreeMap<u32, Chunk>,
    /// Chunks in memory that are newer than what is sealed and not on their way.
    pub unsealed: BTreeSet<u32>,
    /// Chunks with patches that are not on their way, and the memory that the patches take.
    pub patched: BTreeSet<u32>,
    pub patched_bytes: usize,
    /// Which of them is folded next where there are too many: each in its turn, so that many come together meanwhile.
    pub fold_next: u32,
    /// Chunks on their way.
    pub sealing: usize,
    /// Open handles that write.
    pub handles: u32,
    pub dirty: bool,
    pub touched: Instant,
    /// The file has no name, no more or not yet: nothing is published.
    pub orphan: bool,
    /// The name that it gets by being published.
    pub link: Option<Link>,
    /// Changes that wait for chunks to be read, in order.
    pub parked: VecDeque<(Option<Ticket>, Change)>,
    /// Chunks being read.
    pub filling: BTreeSet<u32>,
    /// Counts changes, so that an answer can be told to be out of date.
    pub number: u64,
    pub fsyncs: Vec<Ticket>,
    pub publishing: Publishing,
    /// It is to be made durable as it is, though nobody waits: the node stops.
    pub keep: bool,
    /// Renames that wait until it is published: whatever a cut leaves under the new name is a whole file.
    pub renames: Vec<(Ticket, Op)>,
    /// Why its last chunk could not be stored, until one could.
    pub failed: Option<OpError>,
    /// Something that was written is lost, and nobody was told: whoever syncs or closes it next is.
    pub lost: bool,
    /// What of it another body has as well.
    pub alike: Alike,
    /// Sealed chunks that later ones replaced, though the ledger's entry may still name them.
    pub garbage: Vec<Segment>,
}

/// The name of an unnamed file to be, and who waits for it.
#[derive(Clone, Debug)]
pub struct Link {
    pub ticket: Ticket,
    pub parent: Inode,
    pub name: Vec<u8>,
    pub no_replace: bool,
}

/// A change of a draft.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes at an offset; `None` appends.
    Write(Option<u64>, Bytes),
    /// A new size.
    Truncate(u64),
    /// Zeros from an offset to an end; the file grows if it ends before.
    Zero(u64, u64),
}

/// How far publishing has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Publishing {
    /// It was not asked for.
    No,
    /// Chunks are being sealed.
    Sealing,
    /// The pieces of this number's state are being hashed.
    Hashing(u64),
}

/// One chunk that differs from the base.
#[derive(Default)]
pub struct Chunk {
    pub data: Option<Data>,
    pub placed: Option<Placed>,
    /// `data`, or what `patches` say, is newer than `placed`.
    pub dirty: bool,
    /// The seal under way.
    pub sealing: Option<u64>,
    /// What was written over the sealed chunk; nothing while `data` is there.
    pub patches: Patches,
    /// What the seal under way folds into the sealed chunk, which is read with it until then.
    pub folding: Option<Arc<Patches>>,
}

/// A chunk's plaintext.
pub enum Data {
    Open(Vec<u8>),
    Shared(Bytes),
}

/// Where a sealed chunk lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    pub segment: Segment,
    pub epoch: EpochId,
    pub plain: u32,
    /// Where the sealed chunk was hashed as it was written.
    pub hash: Option<ChunkHash>,
}

/// Where a draft's chunk comes from.
pub enum Source<'a> {
    Memory(&'a [u8]),
    Placed(Placed),
    Base,
    Zeros,
}

impl Data {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Data::Open(data) => data,
            Data::Shared(data) => data,
        }
    }

    fn open(&mut self) -> &mut Vec<u8> {
        if let Data::Shared(data) = self {
            *self = Data::Open(data.to_vec());
        }
        match self {
            Data::Open(data) => data,
            Data::Shared(_) => unreachable!("it was opened above"),
        }
    }

    /// The bytes to hand to the sealer, shared from now on.
    pub fn share(&mut self) -> Bytes {
        if let Data::Open(data) = self {
            *self = Data::Shared(std::mem::take(data).into());
        }
        match self {
            Data::Shared(data) => data.clone(),
            Data::Open(_) => unreachable!("it was shared above"),
        }
    }
}

impl Draft {
    pub fn new(now: Instant, mode: u32, mtime: WallTime) -> Self {
        Self {
            staged: None,
            context: Context::default(),
            base: None,
            base_size: 0,
            size: 0,
            mode,
            mtime,
            xattrs: Xattrs::default(),
            chunks: BTreeMap::new(),
            unsealed: BTreeSet::new(),
            patched: BTreeSet::new(),
            patched_bytes: 0,
            fold_next: 0,
            sealing: 0,
            handles: 0,
            dirty: false,
            touched: now,
            orphan: false,
            link: None,
            parked: VecDeque::new(),
            filling: BTreeSet::new(),
            number: 0,
            fsyncs: Vec::new(),
            publishing: Publishing::No,
            keep: false,
            renames: Vec::new(),
            failed: None,
            lost: false,
            alike: Alike::default(),
            garbage: Vec::new(),
        }
    }

    /// The body that it is with this content.
    pub fn body(&self, content: Content) -> Body {
        let (mode, mtime, xattrs) = (self.mode, self.mtime, self.xattrs.clone());
        Body { kind: Kind::File, mode, mtime, size: self.size, content, xattrs }
    }

    /// The base, where nothing was written over it: then only its attributes are new, and it need not be here.
    pub fn unwritten(&self) -> Option<&View> {
        let view = self.base.as_ref().filter(|view| matches!(view.body.content, Content::Torrent(_)))?;
        let written = |chunk: &Chunk| chunk.dirty || chunk.placed.is_some() || chunk.sealing.is_some();
        let same = view.body.size == self.size && self.base_size == self.size;
        (same && !self.chunks.values().any(written)).then_some(view)
    }

    /// True when it is not on its way to being published or kept.
    pub fn is_quiet(&self) -> bool {
        self.orphan || !self.dirty || (self.publishing == Publishing::No && !self.keep)
    }

    /// True as far as its size foretells that each chunk is a piece by itself.
    pub fn chunks_are_pieces(&self) -> bool {
        piece_length_for(sealed_length(self.size), None) as usize == CHUNK_SEALED
    }

    /// Chunks of the file as it is.
    pub fn chunk_count(&self) -> u32 {
        self.size.div_ceil(CHUNK_PLAIN as u64) as u32
    }

    /// Bytes of plaintext in a chunk of the file as it is.
    pub fn plain_length(&self, chunk: u32) -> usize {
        length_in(self.size, chunk)
    }

    /// Where a chunk's bytes are.
    pub fn source(&self, chunk: u32) -> Source<'_> {
        match self.chunks.get(&chunk) {
            Some(Chunk { data: Some(data), .. }) => Source::Memory(data.as_slice()),
            Some(Chunk { placed: Some(placed), .. }) => Source::Placed(*placed),
            _ if u64::from(chunk) * (CHUNK_PLAIN as u64) < self.base_size => Source::Base,
            _ => Source::Zeros,
        }
    }

    fn is_in_memory(&self, chunk: u32) -> bool {
        matches!(self.source(chunk), Source::Memory(_) | Source::Zeros)
    }

    /// The chunks that must be in memory before the change can be applied.
    pub fn needs(&self, change: &Change) -> Vec<u32> {
        let mut needed = BTreeSet::new();
        // A short last chunk that will not be the last any more, or not as short, is sealed anew.
        let short_last =
            |size: u64| (!size.is_multiple_of(CHUNK_PLAIN as u64)).then(|| (size / CHUNK_PLAIN as u64) as u32);
        match change {
            Change::Write(offset, data) => {
                let start = offset.unwrap_or(self.size);
                let end = start + data.len() as u64;
                let new_size = self.size.max(end);
                if new_size > self.size {
                    needed.extend(short_last(self.size));
                }
                for (chunk, from, to) in spans(start, data.len()) {
                    let covered = from == 0 && to >= length_in(new_size, chunk).min(CHUNK_PLAIN);
                    if covered {
                        needed.remove(&chunk);
                    } else {
                        needed.insert(chunk);
                    }
                }
            }
            Change::Zero(start, end) => {
                let new_size = self.size.max(*end);
                if new_size > self.size {
                    needed.extend(short_last(self.size));
                }
                for (chunk, from, to) in spans(*start, (end - start) as usize) {
                    if from == 0 && to >= length_in(new_size, chunk) {
                        needed.remove(&chunk);
                    } else {
                        needed.insert(chunk);
                    }
                }
            }
            Change::Truncate(size) if *size <= self.size => needed.extend(short_last(*size)),
            Change::Truncate(_) => needed.extend(short_last(self.size)),
        }
        needed.retain(|chunk| !self.is_in_memory(*chunk));
        needed.into_iter().collect()
    }

    /// Applies a change whose needs are met. Returns the chunks that are full now, to be sealed, and bytes written.
    pub fn apply(&mut self, now: Instant, wall: WallTime, change: &Change) -> (Vec<u32>, usize) {
        self.number += 1;
        self.dirty = true;
        self.touched = now;
        self.mtime = wall;
        match change {
            Change::Write(offset, data) => {
                let start = offset.unwrap_or(self.size);
                let end = start + data.len() as u64;
                if end > self.size {
                    self.grow(end);
                }
                let mut full = Vec::new();
                let mut taken = 0;
                for (chunk, from, to) in spans(start, data.len()) {
                    let part = &data[taken..taken + (to - from)];
                    taken += to - from;
                    let covered = from == 0 && to >= self.plain_length(chunk);
                    let in_memory = if covered || self.is_in_memory(chunk) {
                        self.buffer(chunk)[from..to].copy_from_slice(part);
                        true
                    } else {
                        self.patch(chunk, from, part)
                    };
                    if to == CHUNK_PLAIN && in_memory {
                        full.push(chunk);
                    }
                }
                (full, data.len())
            }
            Change::Zero(start, end) => {
                if *end > self.size {
                    self.grow(*end);
                }
                let mut full = Vec::new();
                for (chunk, from, to) in spans(*start, (end - start) as usize) {
                    if matches!(self.source(chunk), Source::Zeros) {
                        continue;
                    }
                    self.buffer(chunk)[from..to].fill(0);
                    if to == CHUNK_PLAIN {
                        full.push(chunk);
                    }
                }
                (full, (end - start) as usize)
            }
            Change::Truncate(size) if *size > self.size => {
                self.grow(*size);
                (Vec::new(), 0)
            }
            Change::Truncate(size) => {
                self.size = *size;
                self.base_size = self.base_size.min(*size);
                let count = self.chunk_count();
                let cut = self.chunks.split_off(&count);
                self.sealing -= cut.values().filter(|chunk| chunk.sealing.is_some()).count();
                self.unsealed.split_off(&count);
                self.patched.split_off(&count);
                self.patched_bytes -= cut.values().map(|chunk| chunk.patches.bytes()).sum::<usize>();
                if size % CHUNK_PLAIN as u64 != 0 {
                    let last = count - 1;
                    let length = self.plain_length(last);
                    self.buffer(last).truncate(length);
                }
                (Vec::new(), 0)
            }
        }
    }

    fn grow(&mut self, size: u64) {
        let old = self.size;
        self.size = size;
        if !old.is_multiple_of(CHUNK_PLAIN as u64) {
            // The chunk that was the last and short becomes longer.
            self.buffer((old / CHUNK_PLAIN as u64) as u32);
        }
    }

    /// A chunk's bytes for writing, as long as the file makes it.
    fn buffer(&mut self, chunk: u32) -> &mut Vec<u8> {
        let length = self.plain_length(chunk);
        let entry = self.chunks.entry(chunk).or_default();
        entry.dirty = true;
        if entry.sealing.is_none() {
            self.unsealed.insert(chunk);
        }
        if entry.data.is_none() {
            // Whoever writes without having the chunk writes all of it.
            self.patched.remove(&chunk);
            self.patched_bytes -= std::mem::take(&mut entry.patches).bytes();
            entry.folding = None;
        }
        let data = entry.data.get_or_insert_with(|| Data::Open(Vec::with_capacity(length))).open();
        if data.len() < length {
            data.resize(length, 0);
        }
        data
    }

    /// True where the change may be written over this chunk as it lies, without having it in memory.
    pub fn takes_patch(&self, change: &Change, chunk: u32) -> bool {
        let Change::Write(Some(start), data) = change else { return false };
        let count = self.chunks.get(&chunk).map_or(0, |chunk| chunk.patches.count());
        start + data.len() as u64 <= self.size && count < PATCHES_MAX && !self.filling.contains(&chunk)
    }

    /// Writes over a sealed chunk. True when all of it was written by now, and is in memory.
    fn patch(&mut self, chunk: u32, from: usize, part: &[u8]) -> bool {
        let length = self.plain_length(chunk);
        let entry = self.chunks.entry(chunk).or_default();
        self.patched_bytes -= entry.patches.bytes();
        entry.patches.put(from, part);
        if let Some(whole) = entry.patches.whole(length) {
            // It was counted out already.
            entry.patches = Patches::default();
            self.buffer(chunk).copy_from_slice(&whole[..length]);
            return true;
        }
        self.patched_bytes += entry.patches.bytes();
        entry.dirty = true;
        if entry.sealing.is_none() {
            self.patched.insert(chunk);
        }
        false
    }

    /// The chunk with patches that is folded next, where there are too many.
    pub fn next_patched(&mut self) -> Option<u32> {
        let next = self.patched.range(self.fold_next..).next().or_else(|| self.patched.first()).copied()?;
        self.fold_next = next + 1;
        Some(next)
    }

    /// Takes a chunk's patches, to be folded into it by the seal `number`.
    pub fn fold(&mut self, at: u32, number: u64) -> Option<Arc<Patches>> {
        let chunk = self.chunks.get_mut(&at).filter(|chunk| chunk.sealing.is_none() && !chunk.patches.is_empty())?;
        let patches = Arc::new(std::mem::take(&mut chunk.patches));
        chunk.folding = Some(patches.clone());
        chunk.dirty = false;
        chunk.sealing = Some(number);
        self.patched.remove(&at);
        self.patched_bytes -= patches.bytes();
        self.sealing += 1;
        Some(patches)
    }

    /// The seal `number` folded a chunk's patches into it, to this place, or failed to.
    pub fn folded(&mut self, at: u32, number: u64, result: Result<Placed, &DiskError>) {
        let Some(chunk) = self.chunks.get_mut(&at).filter(|chunk| chunk.sealing == Some(number)) else { return };
        chunk.sealing = None;
        self.sealing -= 1;
        let folding = chunk.folding.take();
        // A chunk that is being read into memory is read as it was before: it needs them once more.
        let again = result.is_ok() && self.filling.contains(&at)
            || matches!(result, Err(error) if *error != DiskError::Corrupt);
        if let Some(patches) = folding.as_ref().filter(|_| again) {
            self.patched_bytes -= chunk.patches.bytes();
            let newer = std::mem::replace(&mut chunk.patches, (**patches).clone());
            chunk.patches.put_all(&newer);
            self.patched_bytes += chunk.patches.bytes();
            chunk.dirty = true;
        }
        match (result, folding) {
            (Ok(placed), Some(_)) => {
                self.garbage.extend(chunk.placed.replace(placed).map(|old| old.segment));
            }
            // It was brought into memory meanwhile, with its patches.
            (Ok(placed), None) => self.garbage.push(placed.segment),
            // Where what was sealed is lost, so is what was written over it.
            (Err(DiskError::Corrupt), Some(_)) => self.lost = true,
            (Err(_), _) => {}
        }
        if chunk.dirty && chunk.data.is_some() {
            self.unsealed.insert(at);
        } else if !chunk.patches.is_empty() {
            self.patched.insert(at);
        } else if chunk.data.is_none() && chunk.placed.is_none() {
            self.chunks.remove(&at);
        }
    }

    /// A chunk came from the disk or the base.
    pub fn fill(&mut self, chunk: u32, plain: &[u8]) {
        self.filling.remove(&chunk);
        if self.is_in_memory(chunk) {
            return;
        }
        let known = match self.source(chunk) {
            Source::Base => length_in(self.base_size, chunk),
            _ => self.plain_length(chunk),
        };
        let mut data = plain[..known.min(plain.len())].to_vec();
        data.resize(self.plain_length(chunk), 0);
        let entry = self.chunks.entry(chunk).or_default();
        if entry.folding.is_some() || !entry.patches.is_empty() {
            entry.folding.take().iter().for_each(|patches| patches.apply(&mut data));
            entry.patches.apply(&mut data);
            self.patched.remove(&chunk);
            self.patched_bytes -= std::mem::take(&mut entry.patches).bytes();
            entry.dirty = true;
            if entry.sealing.is_none() {
                self.unsealed.insert(chunk);
            }
        }
        entry.data = Some(Data::Open(data));
    }

    /// True while seals are under way.
    pub fn is_sealing(&self) -> bool {
        self.sealing > 0
    }

    /// What is in memory for a change that was refused, and could be read again, is let go.
    pub fn forget_fills(&mut self) {
        if !matches!(self.base.as_ref().map(|base| &base.body.content), Some(Content::Inline(_))) {
            self.chunks.retain(|_, chunk| chunk.dirty || chunk.placed.is_some() || chunk.sealing.is_some());
        }
    }

    /// Chunks that nothing was ever written to, within the file.
    pub fn holes(&self) -> Vec<u32> {
        let first = self.base_size.div_ceil(CHUNK_PLAIN as u64) as u32;
        (first..self.chunk_count()).filter(|chunk| !self.chunks.contains_key(chunk)).collect()
    }

    /// A hole becomes a chunk of zeros.
    pub fn fill_hole(&mut self, chunk: u32) {
        self.buffer(chunk);
    }
}

impl Chunk {
    /// What is written over the sealed chunk and not sealed with it yet.
    pub fn overlay(&self) -> Option<Cow<'_, Patches>> {
        match &self.folding {
            _ if self.data.is_some() => None,
            Some(folding) => {
                let mut all = (**folding).clone();
                all.put_all(&self.patches);
                Some(Cow::Owned(all))
            }
            None => (!self.patches.is_empty()).then_some(Cow::Borrowed(&self.patches)),
        }
    }
}

/// Patches of one chunk; with more it is opened.
const PATCHES_MAX: usize = 64;

/// Bytes of plaintext in a chunk of a file of `size` bytes.
pub fn length_in(size: u64, chunk: u32) -> usize {
    size.saturating_sub(u64::from(chunk) * CHUNK_PLAIN as u64).min(CHUNK_PLAIN as u64) as usize
}

/// The chunks that `length` bytes from `start` touch, with the span in each.
pub fn spans(start: u64, length: usize) -> impl Iterator<Item = (u32, usize, usize)> {
    let end = start + length as u64;
    let first = (start / CHUNK_PLAIN as u64) as u32;
    let last = end.div_ceil(CHUNK_PLAIN as u64) as u32;
    (first..last).map(move |chunk| {
        let base = u64::from(chunk) * CHUNK_PLAIN as u64;
        let from = start.saturating_sub(base) as usize;
        let to = (end - base).min(CHUNK_PLAIN as u64) as usize;
        (chunk, from, to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn content(draft: &Draft, base: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        for chunk in 0..draft.chunk_count() {
            let length = draft.plain_length(chunk);
            let begin = all.len();
            match draft.source(chunk) {
                Source::Memory(data) => {
                    assert_eq!(data.len(), length, "chunk {chunk}");
                    all.extend_from_slice(data);
                }
                Source::Base => {
                    let from = chunk as usize * CHUNK_PLAIN;
                    let to = (from + length).min(draft.base_size as usize);
                    let mut part = base[from..to].to_vec();
                    part.resize(length, 0);
                    all.extend(part);
                }
                Source::Zeros => all.resize(all.len() + length, 0),
                Source::Placed(_) => panic!("nothing is sealed here"),
            }
            if let Some(overlay) = draft.chunks.get(&chunk).and_then(Chunk::overlay) {
                overlay.apply(&mut all[begin..]);
            }
        }
        all
    }

    /// A chunk was read into memory for a truncation while its patches were being folded: what was read was older than they,
    /// but came when they were folded, and without them.
    #[test]
    fn a_chunk_that_is_read_while_it_is_folded_has_its_patches() {
        let mut draft = Draft::new(Instant(0), 0o644, WallTime(0));
        (draft.size, draft.base_size) = (2 * CHUNK_PLAIN as u64, 2 * CHUNK_PLAIN as u64);
        draft.apply(Instant(1), WallTime(1), &Change::Write(Some(10), Bytes::from_static(b"new")));
        let number = draft.number;
        assert!(draft.fold(0, number).is_some() && draft.patched_bytes == 0);
        draft.filling.insert(0);
        let segment = Segment { slab: 0, offset: 0, length: CHUNK_SEALED as u32 };
        let placed = Placed {
            segment,
            epoch: EpochId::from_slice(&[0; 32]).expect("32 bytes"),
            plain: CHUNK_PLAIN as u32,
            hash: None,
        };
        draft.folded(0, number, Ok(placed));
        draft.fill(0, &[0; CHUNK_PLAIN]);
        let Source::Memory(data) = draft.source(0) else { panic!("it is in memory") };
        assert_eq!(&data[8..15], b"\0\0new\0\0");
        assert!(draft.unsealed.contains(&0) && draft.patched.is_empty() && draft.patched_bytes == 0);
    }

    /// Writes and truncations at random places give the same bytes as a plain vector.
    #[test]
    fn a_draft_is_the_file_that_was_written() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let base: Vec<u8> = (0..rng.below(200_000)).map(|at| at as u8).collect();
            let mut draft = Draft::new(Instant(0), 0o644, WallTime(0));
            (draft.size, draft.base_size) = (base.len() as u64, base.len() as u64);
            let mut model = base.clone();
            let mut folds: Vec<(u32, u64)> = Vec::new();
            for _ in 0..30 {
                let change = if rng.chance(1, 5) {
                    let start = rng.below(250_000);
                    Change::Zero(start, start + 1 + rng.below(150_000))
                } else if rng.chance(1, 4) {
                    Change::Truncate(if rng.chance(1, 4) { draft.size } else { rng.below(250_000) })
                } else {
                    let mut data = vec![0; rng.below(70_000) as usize + 1];
                    rng.fill(&mut data);
                    let offset = (!rng.chance(1, 4)).then(|| rng.below(250_000));
                    Change::Write(offset, data.into())
                };
                for chunk in draft.needs(&change) {
                    if draft.takes_patch(&change, chunk) && rng.chance(3, 4) {
                        continue;
                    }
                    let from = chunk as usize * CHUNK_PLAIN;
                    let plain = base[from..base.len().min(from + CHUNK_PLAIN)].to_vec();
                    draft.fill(chunk, &plain);
                }
                assert!(draft.needs(&change).iter().all(|chunk| draft.takes_patch(&change, *chunk)));
                draft.apply(Instant(1), WallTime(1), &change);
                if let Some(at) = draft.next_patched().filter(|_| rng.chance(1, 2)) {
                    folds.extend(draft.fold(at, draft.number).map(|_| (at, draft.number)));
                }
                if let Some((at, number)) = folds.pop().filter(|_| rng.chance(1, 2)) {
                    draft.folded(at, number, Err(&DiskError::Full));
                }
                let patches = draft.chunks.values().map(|chunk| chunk.patches.bytes());
                assert_eq!(draft.patched_bytes, patches.sum::<usize>(), "seed {seed}");
                for (at, chunk) in &draft.chunks {
                    let waits = !chunk.patches.is_empty() && chunk.sealing.is_none();
                    assert_eq!(draft.patched.contains(at), waits, "seed {seed} chunk {at}");
                }
                match &change {
                    Change::Truncate(size) => model.resize(*size as usize, 0),
                    Change::Zero(start, end) => {
                        model.resize(model.len().max(*end as usize), 0);
                        model[*start as usize..*end as usize].fill(0);
                    }
                    Change::Write(offset, data) => {
                        let start = offset.map_or(model.len(), |offset| offset as usize);
                        let end = start + data.len();
                        if model.len() < end {
                            model.resize(end, 0);
                        }
                        model[start..end].copy_from_slice(data);
                    }
                }
                assert_eq!(draft.size, model.len() as u64, "seed {seed}");
                assert!(content(&draft, &base) == model, "seed {seed}");
            }
        }
    }
}

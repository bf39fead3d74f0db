//! A disk that can lose power: slabs as pages, of which those that were not synced are lost, kept or torn.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use dustfs::base::limits::{CHUNK_SEALED, UNIT};
use dustfs::base::{Batch, MemoryStore, Rng, Snapshot, StoreError, Table, Ticket};
use dustfs::node::io::{ChunkHash, DiskError, DiskRequest, Done, Hashed, Pair, Patches, Segment, SlabSize};
use dustfs::seal::ChunkKey;
use dustfs::seal::piece::{self, PieceHash, TagsHash};

/// What is durable in the ledger; the node reads it while the disk writes it.
#[derive(Clone, Default)]
pub struct Store(Rc<RefCell<MemoryStore>>);

impl Store {
    pub fn apply(&self, batch: &Batch) {
        self.0.borrow_mut().apply(batch);
    }

    /// Every value of a table.
    pub fn values(&self, table: Table) -> Vec<Bytes> {
        let mut values = Vec::new();
        let all = self.range(table, &[], &[0xff; 96], &mut |_, value| {
            values.push(Bytes::copy_from_slice(value));
            true
        });
        all.expect("memory can be read");
        values
    }
}

impl Snapshot for Store {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.borrow().get(table, key)
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.0.borrow().range(table, from, to, visit)
    }
}

type Page = (u32, u64);

/// The slabs and the ledger of one machine.
#[derive(Default)]
pub struct Disk {
    pub store: Store,
    pages: BTreeMap<Page, Bytes>,
    /// Pages written since they were synced, with what is durable of them.
    unsynced: BTreeMap<Page, Option<Bytes>>,
    /// Requests under way, and the pages that each commit syncs, as they were when it was asked for.
    flying: BTreeMap<Ticket, Flying>,
    /// Writes fail with 'full'.
    pub full: bool,
    /// One write of so many fails; 0 is none.
    pub failing: u64,
    /// Reads for uploads give other bytes than were written: the peer lies.
    pub rotten: bool,
}

/// See [`Disk::backup`].
pub struct Backup {
    store: MemoryStore,
    pages: BTreeMap<Page, Bytes>,
}

struct Flying {
    request: DiskRequest,
    synced: Vec<(Page, Bytes)>,
}

impl Disk {
    /// Takes a request, to be carried out by [`Disk::finish`]. An error tells what two requests must not do at once.
    pub fn begin(&mut self, ticket: Ticket, request: DiskRequest) -> Result<(), String> {
        for (other, flying) in &self.flying {
            let (wrote, touched) = spans(&flying.request);
            let (writes, touches) = spans(&request);
            let meet = (wrote || writes) && overlap(&touched, &touches) && !same_piece(&flying.request, &request)
                || wrote && overlap(&touched, &patches_read(&request))
                || writes && overlap(&touches, &patches_read(&flying.request));
            // A piece that two torrents share may be stored again, as it is, while one of them is read.
            if meet && !(self.is_there(&flying.request) || self.is_there(&request)) {
                return Err(format!("requests {other:?} and {ticket:?} touch the same bytes: {request:?}"));
            }
        }
        let synced = match &request {
            DiskRequest::Commit { sync, .. } => self.dirty_pages(sync),
            _ => Vec::new(),
        };
        match self.flying.insert(ticket, Flying { request, synced }) {
            None => Ok(()),
            Some(_) => Err(format!("the disk was asked twice by {ticket:?}")),
        }
    }

    /// True for a piece to be stored where it is already.
    fn is_there(&self, request: &DiskRequest) -> bool {
        let DiskRequest::Store { blocks, segments, .. } = request else { return false };
        self.read(segments).is_ok_and(|here| here == blocks.concat())
    }

    fn dirty_pages(&self, slabs: &BTreeSet<u32>) -> Vec<(Page, Bytes)> {
        let dirty = self.unsynced.keys().filter(|(slab, _)| slabs.contains(slab));
        dirty.filter_map(|page| Some((*page, self.pages.get(page)?.clone()))).collect()
    }

    /// Requests under way.
    pub fn load(&self) -> usize {
        self.flying.len()
    }

    /// Carries a request out.
    pub fn finish(&mut self, ticket: Ticket, rng: &mut Rng) -> Done {
        let Flying { request, synced } = self.flying.remove(&ticket).expect("it was begun");
        let error = self.write_error(rng);
        match request {
            DiskRequest::Seal { segment, key, plaintext, hash } => {
                let sealed = seal(&segment, &key, &plaintext);
                let told = if hash { ChunkHash::of(&sealed) } else { None };
                Done::Sealed(self.write(&[segment], &sealed, error, rng).map(|()| told))
            }
            DiskRequest::Patch { from, opener, patches, segment, key, hash } => {
                match self.patched(from, &opener, &patches, &key) {
                    Ok(sealed) => {
                        let told = if hash { ChunkHash::of(&sealed) } else { None };
                        Done::Sealed(self.write(&[segment], &sealed, error, rng).map(|()| told))
                    }
                    Err(error) => Done::Sealed(Err(error)),
                }
            }
            DiskRequest::Store { sha1, blocks, segments } => {
                if piece::sha1(blocks.iter().map(Bytes::as_ref)) != sha1 {
                    return Done::Stored(Ok(false));
                }
                Done::Stored(self.write(&segments, &blocks.concat(), error, rng).map(|()| true))
            }
            DiskRequest::Read { segments } => {
                let mut read = self.read(&segments);
                if let (true, Ok(bytes)) = (self.rotten && rng.chance(1, 3), &mut read) {
                    let mut rotten = bytes.to_vec();
                    let at = rng.below(rotten.len() as u64) as usize;
                    if let Some(byte) = rotten.get_mut(at) {
                        *byte ^= 1 << rng.below(8);
                    }
                    *bytes = rotten.into();
                }
                Done::Read(read)
            }
            DiskRequest::Unseal { segment, key } => Done::Unsealed(self.unseal(segment, &key)),
            DiskRequest::Hash { chunks, piece_length, known } => Done::Hashed(self.hash(&chunks, piece_length, &known)),
            DiskRequest::Compare { pairs } => Done::Compared(pairs.iter().map(|pair| self.is_alike(pair)).collect()),
            DiskRequest::Commit { batch, .. } => Done::Committed(match error {
                Some(error) => Err(error),
                None => {
                    self.commit(&batch, synced);
                    Ok(())
                }
            }),
            DiskRequest::Measure { slabs } => {
                Done::Measured(Ok(slabs.into_iter().map(|s| (s, self.size(s))).collect()))
            }
            DiskRequest::Punch { segments } => {
                for segment in &segments {
                    let (from, units) = (segment.offset / UNIT as u64, u64::from(segment.length) / UNIT as u64);
                    let span = (segment.slab, from)..(segment.slab, from + units);
                    let pages: Vec<Page> = self.pages.range(span).map(|(page, _)| *page).collect();
                    for page in pages {
                        self.pages.remove(&page);
                        self.unsynced.remove(&page);
                    }
                }
                Done::Punched(Ok(()))
            }
        }
    }

    fn size(&self, slab: u32) -> Option<SlabSize> {
        let mut pages = self.pages.range((slab, 0)..(slab + 1, 0));
        let count = pages.clone().count() as u64;
        let ((_, last), _) = pages.next_back()?;
        Some(SlabSize { length: (last + 1) * UNIT as u64, allocated: count * UNIT as u64 })
    }

    fn write_error(&self, rng: &mut Rng) -> Option<DiskError> {
        if self.full {
            return Some(DiskError::Full);
        }
        (self.failing > 0 && rng.chance(1, self.failing)).then(|| DiskError::Io("a sector is broken".into()))
    }

    fn commit(&mut self, batch: &Batch, synced: Vec<(Page, Bytes)>) {
        for (page, bytes) in synced {
            match self.pages.get(&page) {
                // What was written after the sync began is no more durable than before.
                Some(now) if *now != bytes => self.unsynced.insert(page, Some(bytes)),
                _ => self.unsynced.remove(&page),
            };
        }
        self.store.apply(batch);
    }

    fn write(
        &mut self,
        segments: &[Segment],
        bytes: &[u8],
        error: Option<DiskError>,
        rng: &mut Rng,
    ) -> Result<(), DiskError> {
        let length: usize = segments.iter().map(|segment| segment.length as usize).sum();
        assert_eq!(length, bytes.len(), "what is written fits its place");
        for (page, bytes) in segments.iter().flat_map(pages_of).zip(bytes.chunks(UNIT)) {
            // A write that fails may have written a part.
            if error.is_none() || rng.chance(1, 2) {
                self.put(page, Bytes::copy_from_slice(bytes));
            }
        }
        error.map_or(Ok(()), Err)
    }

    fn put(&mut self, page: Page, bytes: Bytes) {
        let durable = self.pages.insert(page, bytes);
        self.unsynced.entry(page).or_insert(durable);
    }

    fn read_at(&self, slab: u32, offset: u64, out: &mut Vec<u8>, length: usize) -> Result<(), DiskError> {
        let (mut at, end) = (offset, offset + length as u64);
        while at < end {
            let (unit, from) = (at / UNIT as u64, (at % UNIT as u64) as usize);
            let take = (UNIT - from).min((end - at) as usize);
            match self.pages.get(&(slab, unit)) {
                Some(page) => out.extend_from_slice(&page[from..from + take]),
                None if self.pages.range((slab, unit)..(slab + 1, 0)).next().is_some() => {
                    out.resize(out.len() + take, 0);
                }
                None => return Err(DiskError::Corrupt),
            }
            at += take as u64;
        }
        Ok(())
    }

    fn read(&self, segments: &[Segment]) -> Result<Bytes, DiskError> {
        let mut out = Vec::new();
        for segment in segments {
            self.read_at(segment.slab, segment.offset, &mut out, segment.length as usize)?;
        }
        Ok(out.into())
    }

    /// Opens a chunk, as readers of the mount do beside the queue.
    pub fn unseal(&self, segment: Segment, key: &ChunkKey) -> Result<Bytes, DiskError> {
        let mut sealed = self.read(&[segment])?.to_vec();
        key.open(&mut sealed).map(|plain| Bytes::copy_from_slice(plain)).map_err(|_| DiskError::Corrupt)
    }

    fn patched(
        &self,
        from: Segment,
        opener: &ChunkKey,
        patches: &Patches,
        key: &ChunkKey,
    ) -> Result<Vec<u8>, DiskError> {
        let mut chunk = self.read(&[from])?.to_vec();
        patches.apply(opener.open(&mut chunk).map_err(|_| DiskError::Corrupt)?);
        key.seal_in_place(&mut chunk);
        Ok(chunk)
    }

    fn is_alike(&self, pair: &Pair) -> bool {
        let theirs = self.read(&[pair.theirs]);
        let mine = match &pair.keys {
            None => self.read(&[pair.mine]),
            Some((opens, seals)) => {
                let plain = self.unseal(pair.mine, opens);
                plain.map(|plain| seal(&pair.theirs, seals, &plain).into())
            }
        };
        matches!((mine, theirs), (Ok(mine), Ok(theirs)) if mine == theirs)
    }

    fn hash(&self, chunks: &[Segment], piece_length: u32, known: &[Option<[u8; 20]>]) -> Result<Hashed, DiskError> {
        let mut tags = TagsHash::default();
        let mut pieces = Vec::new();
        for (at, chunks) in chunks.chunks(piece_length as usize / CHUNK_SEALED).enumerate() {
            let mut hash = PieceHash::default();
            for chunk in chunks {
                let sealed = self.read(&[*chunk])?;
                hash.update(&sealed);
                assert!(tags.update_chunk(&sealed), "a chunk has a tag");
            }
            let known = known.get(at).copied().flatten();
            let sha1 = hash.finish();
            assert!(known.is_none_or(|known| known == sha1), "what is known of a piece is right");
            pieces.extend_from_slice(&sha1);
        }
        Ok(Hashed { pieces, tags: tags.finish() })
    }

    /// What is durable now, to be put back later by somebody who restores a backup.
    pub fn backup(&self) -> Backup {
        let mut pages = self.pages.clone();
        for (page, durable) in &self.unsynced {
            match durable {
                Some(durable) => pages.insert(*page, durable.clone()),
                None => pages.remove(page),
            };
        }
        Backup { store: self.store.0.borrow().clone(), pages }
    }

    /// Puts a backup in the place of what is there.
    pub fn restore(&mut self, backup: Backup) {
        self.store = Store(Rc::new(RefCell::new(backup.store)));
        self.pages = backup.pages;
        self.unsynced.clear();
        self.flying.clear();
    }

    /// The power is cut: what was under way happened or not, what was not synced is lost, kept or torn.
    pub fn cut(&mut self, rng: &mut Rng) {
        for (_, Flying { request, synced }) in std::mem::take(&mut self.flying) {
            match request {
                DiskRequest::Seal { segment, key, plaintext, .. } if rng.chance(1, 2) => {
                    let sealed = seal(&segment, &key, &plaintext);
                    let _ = self.write(&[segment], &sealed, Some(DiskError::Corrupt), rng);
                }
                DiskRequest::Patch { from, opener, patches, segment, key, .. } if rng.chance(1, 2) => {
                    if let Ok(sealed) = self.patched(from, &opener, &patches, &key) {
                        let _ = self.write(&[segment], &sealed, Some(DiskError::Corrupt), rng);
                    }
                }
                DiskRequest::Store { blocks, segments, .. } if rng.chance(1, 2) => {
                    let _ = self.write(&segments, &blocks.concat(), Some(DiskError::Corrupt), rng);
                }
                DiskRequest::Commit { batch, .. } if rng.chance(1, 2) => self.commit(&batch, synced),
                _ => {}
            }
        }
        for (page, durable) in std::mem::take(&mut self.unsynced) {
            let Some(written) = self.pages.remove(&page) else { continue };
            let left = match rng.below(3) {
                0 => Some(written),
                1 => durable,
                _ => {
                    let mut torn = durable.map_or_else(|| vec![0; UNIT], |old| old.to_vec());
                    let sectors = rng.below(8) as usize * 512;
                    torn[..sectors].copy_from_slice(&written[..sectors]);
                    Some(torn.into())
                }
            };
            if let Some(left) = left {
                self.pages.insert(page, left);
            }
        }
    }

    /// One bit of a page is not what it was.
    pub fn rot(&mut self, page: (u32, u64), bit: usize) {
        let mut rotten = self.pages[&page].to_vec();
        rotten[bit / 8] ^= 1 << (bit % 8);
        self.pages.insert(page, rotten.into());
    }

    /// Bytes that lie in the slabs.
    pub fn bytes(&self) -> u64 {
        (self.pages.len() * UNIT) as u64
    }

    /// True when `needle` lies anywhere on this disk.
    pub fn contains(&self, needle: &[u8]) -> bool {
        let values = Table::ALL.into_iter().flat_map(|table| self.store.values(table));
        self.pages.values().cloned().chain(values).any(|bytes| finds(&bytes, needle))
    }
}

fn finds(bytes: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    bytes.iter().enumerate().any(|(at, byte)| *byte == first && bytes[at..].starts_with(needle))
}

fn seal(segment: &Segment, key: &ChunkKey, plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    key.seal(plaintext, segment.length as usize, &mut sealed);
    sealed
}

fn pages_of(segment: &Segment) -> impl Iterator<Item = Page> + use<> {
    assert!(segment.offset.is_multiple_of(UNIT as u64) && segment.length.is_multiple_of(UNIT as u32));
    let (slab, first) = (segment.slab, segment.offset / UNIT as u64);
    (first..first + u64::from(segment.length) / UNIT as u64).map(move |unit| (slab, unit))
}

/// Whether a request writes, and what it touches.
fn spans(request: &DiskRequest) -> (bool, Vec<Segment>) {
    match request {
        // What a patch reads is looked at by `begin`, since others may read it meanwhile.
        DiskRequest::Seal { segment, .. } | DiskRequest::Patch { segment, .. } => (true, vec![*segment]),
        DiskRequest::Store { segments, .. } | DiskRequest::Punch { segments } => (true, segments.clone()),
        DiskRequest::Read { segments } => (false, segments.clone()),
        DiskRequest::Unseal { segment, .. } => (false, vec![*segment]),
        DiskRequest::Hash { chunks, .. } => (false, chunks.clone()),
        DiskRequest::Compare { pairs } => (false, pairs.iter().flat_map(|pair| [pair.mine, pair.theirs]).collect()),
        DiskRequest::Commit { .. } | DiskRequest::Measure { .. } => (false, Vec::new()),
    }
}

/// What a patch reads.
fn patches_read(request: &DiskRequest) -> Vec<Segment> {
    match request {
        DiskRequest::Patch { from, .. } => vec![*from],
        _ => Vec::new(),
    }
}

/// A piece that is stored twice: after a failure it is fetched again while another source's copy is on its way. Both
/// were checked against one hash, so both write the same bytes.
fn same_piece(one: &DiskRequest, other: &DiskRequest) -> bool {
    match (one, other) {
        (
            DiskRequest::Store { sha1: one, segments: here, .. },
            DiskRequest::Store { sha1: other, segments: there, .. },
        ) => one == other && here == there,
        _ => false,
    }
}

fn overlap(one: &[Segment], other: &[Segment]) -> bool {
    let meet = |a: &Segment, b: &Segment| {
        a.slab == b.slab && a.offset < b.offset + u64::from(b.length) && b.offset < a.offset + u64::from(a.length)
    };
    one.iter().any(|a| other.iter().any(|b| meet(a, b)))
}

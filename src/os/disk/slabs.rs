//! The slabs: files in which sealed pieces lie, read and written by position, never mapped.
//!
//! Any thread may read and write; what must not overlap in time (a read of a span being written, a write to a span
//! being punched) is kept apart by the core, which waits for the answer to one before it asks for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::counters::Counters;
use super::error::disk_error;
use super::files::{Files, System, VaultFile};
use crate::node::io::{DiskError, Segment, SlabSize};
use crate::os::state::parent_of;
use crate::seal::ChunkKey;

/// The slabs of one node. Clones share descriptors.
#[derive(Clone, Debug)]
pub struct Slabs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    files: Arc<dyn Files>,
    /// Most recently used last.
    open: Mutex<Vec<(u32, Arc<dyn VaultFile>)>>,
    /// A slab file was made since the directory was synced.
    made: AtomicBool,
    /// Slabs of which a sync failed: the kernel forgets what it could not write, and says so once.
    lost: Mutex<BTreeSet<u32>>,
    /// Bytes written since the disk was last told to begin with them.
    waiting: AtomicUsize,
    counters: Arc<Counters>,
}

impl Slabs {
    /// Opens the directory of the slabs, or makes it.
    pub(super) fn open(path: &Path, counters: Arc<Counters>) -> Result<Self, DiskError> {
        Self::open_on(path, counters, Arc::new(System))
    }

    /// The same on these files.
    pub(super) fn open_on(path: &Path, counters: Arc<Counters>, files: Arc<dyn Files>) -> Result<Self, DiskError> {
        match files.make_directory(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(disk_error(path, &error)),
            Err(_) => {}
            Ok(()) => files.sync_directory(parent_of(path)).map_err(|error| disk_error(path, &error))?,
        }
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            files,
            open: Mutex::default(),
            made: AtomicBool::new(false),
            lost: Mutex::default(),
            waiting: AtomicUsize::new(0),
            counters,
        })))
    }

    /// Reads a span; `out` is afterwards exactly as long as it.
    pub fn read(&self, segment: Segment, out: &mut Vec<u8>) -> Result<(), DiskError> {
        out.resize(segment.length as usize, 0);
        self.read_at(segment.slab, segment.offset, out)
    }

    /// Reads a sealed chunk and replaces `buffer` by its plaintext with the padding.
    pub fn unseal(&self, segment: Segment, key: &ChunkKey, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        // The nonce is read by itself, so that the plaintext comes to lie at the begin.
        let mut nonce = [0; NONCE];
        let rest = (segment.length as usize).checked_sub(NONCE).ok_or(DiskError::Corrupt)?;
        buffer.resize(rest, 0);
        self.read_at(segment.slab, segment.offset, &mut nonce)?;
        self.read_at(segment.slab, segment.offset + NONCE as u64, buffer)?;
        let length = key.open_parts(nonce, buffer).map_err(|_| DiskError::Corrupt)?.len();
        buffer.truncate(length);
        Ok(())
    }

    /// Bytes of the file system that the slabs lie on, and how many of them are free for this process; zeros when
    /// it does not tell.
    pub fn space(&self) -> (u64, u64) {
        self.0.files.space(&self.0.path).unwrap_or((0, 0))
    }

    /// Fills `out` from `offset` on.
    pub(super) fn read_at(&self, slab: u32, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let file = self.file(slab, false)?;
        match file.read_at(out, offset) {
            Ok(()) => Ok(()),
            // What was acknowledged was written, so a slab that ends before it has lost it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DiskError::Corrupt),
            Err(error) => Err(self.failed(Some(slab), &error)),
        }
    }

    /// Writes `bytes` at `offset`, making the slab if it is not there.
    pub(super) fn write_at(&self, slab: u32, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write_parts_at(slab, offset, &mut [IoSlice::new(bytes)])
    }

    /// Writes all of `parts`, one after the other, at `offset`.
    pub(super) fn write_parts_at(&self, slab: u32, offset: u64, parts: &mut [IoSlice]) -> Result<(), DiskError> {
        let file = self.file(slab, true)?;
        let length = parts.iter().map(|part| part.len()).sum();
        file.write_at(parts, offset).map_err(|error| self.failed(Some(slab), &error))?;
        self.begin_writing(&*file, length);
        Ok(())
    }

    /// How large each of these slabs is; `None` for one that is not there.
    pub(super) fn measure(&self, slabs: &BTreeSet<u32>) -> Result<BTreeMap<u32, Option<SlabSize>>, DiskError> {
        let measure = |slab: u32| match self.open_slab(slab, false) {
            Ok(file) => Ok(Some(SlabSize { length: file.len()?, allocated: file.allocated()? })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let measured = slabs.iter().map(|slab| match measure(*slab) {
            Ok(size) => Ok((*slab, size)),
            Err(error) => Err(self.failed(Some(*slab), &error)),
        });
        measured.collect()
    }

    /// Gives the span's space back to the file system, where that can be done.
    pub(super) fn punch(&self, slab: u32, offset: u64, length: u64) -> Result<(), DiskError> {
        let punched = match self.open_slab(slab, false) {
            Ok(file) => file.punch(offset, length),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        punched.map_err(|error| self.failed(Some(slab), &error))
    }

    /// Makes all that was written to `slabs` survive a power cut, names of new slabs included.
    ///
    /// A slab of which a sync failed stays failed until the process ends: a second sync would succeed, and say
    /// nothing of the bytes that the first one lost.
    pub(super) fn sync(&self, slabs: &BTreeSet<u32>) -> Result<(), DiskError> {
        for &slab in slabs {
            if self.lost().contains(&slab) {
                return Err(DiskError::Io(format!(
                    "{}: an earlier sync failed, what was written since is lost: restart the node",
                    self.slab_path(slab).display()
                )));
            }
            let file = self.file(slab, false)?;
            self.0.counters.synced();
            if let Err(error) = file.sync() {
                self.lost().insert(slab);
                return Err(self.failed(Some(slab), &error));
            }
        }
        if self.0.made.swap(false, Ordering::AcqRel) {
            self.0.counters.synced();
            if let Err(error) = self.0.files.sync_directory(&self.0.path) {
                self.0.made.store(true, Ordering::Release);
                return Err(self.failed(None, &error));
            }
        }
        Ok(())
    }

    /// Has the disk begin with what was written, every few MiB, so that it works while the next is sealed, and a sync has
    /// little left to wait for. The kernel alone would let a tenth of the memory come together first.
    fn begin_writing(&self, slab: &dyn VaultFile, written: usize) {
        if self.0.waiting.fetch_add(written, Ordering::Relaxed) + written >= WAITING_MAX {
            self.0.waiting.store(0, Ordering::Relaxed);
            slab.begin_writing();
        }
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, slab: u32, make: bool) -> Result<Arc<dyn VaultFile>, DiskError> {
        self.open_slab(slab, make).map_err(|error| self.failed(Some(slab), &error))
    }

    fn open_slab(&self, slab: u32, make: bool) -> io::Result<Arc<dyn VaultFile>> {
        // The lock is held while a file is opened, so that one slab never has two descriptors in the list.
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().rposition(|(number, _)| *number == slab) {
            let entry = open.remove(at);
            let file = entry.1.clone();
            open.push(entry);
            return Ok(file);
        }
        let path = self.slab_path(slab);
        let file = match self.0.files.open(&path) {
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                let file = self.0.files.make(&path)?;
                self.0.made.store(true, Ordering::Release);
                file
            }
            opened => opened?,
        };
        if open.len() >= DESCRIPTORS_MAX {
            open.remove(0);
        }
        open.push((slab, file.clone()));
        Ok(file)
    }

    fn slab_path(&self, slab: u32) -> PathBuf {
        self.0.path.join(format!("{slab:08x}"))
    }

    fn failed(&self, slab: Option<u32>, error: &io::Error) -> DiskError {
        disk_error(&slab.map_or_else(|| self.0.path.clone(), |slab| self.slab_path(slab)), error)
    }
}

/// Bytes of a chunk's nonce, which begins it.
const NONCE: usize = 12;
/// Bytes of a chunk's tag, which ends it.
pub(super) const TAG: usize = 16;
/// Bytes that may wait before the disk is told to begin with them.
const WAITING_MAX: usize = 8 << 20;
/// Descriptors kept open.
const DESCRIPTORS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::base::CircleId;
    use crate::os::state::tests::Scratch;
    use crate::seal::{CircleKey, EpochKeys, Suite};

    #[test]
    fn bytes_read_back_from_files_for_the_owner_alone() {
        let (scratch, slabs) = open();
        slabs.write_at(0x1f, 8_192, b"sealed").unwrap();
        let file = scratch.path().join("slabs/0000001f");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(scratch.path().join("slabs")).unwrap().permissions().mode() & 0o777, 0o700);
        let mut out = vec![1; 99];
        slabs.read(segment(0x1f, 8_192, 6), &mut out).unwrap();
        assert_eq!(out, b"sealed");
    }

    #[test]
    fn a_missing_slab_is_an_error_and_a_short_one_is_corrupt() {
        let (_scratch, slabs) = open();
        let error = slabs.read(segment(7, 0, 6), &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, DiskError::Io(why) if why.contains("slabs/00000007")), "{error}");
        slabs.write_at(7, 0, b"sealed").unwrap();
        assert_eq!(slabs.read(segment(7, 4, 3), &mut Vec::new()), Err(DiskError::Corrupt));
        assert!(slabs.sync(&BTreeSet::from([7, 8])).is_err());
        assert_eq!(slabs.sync(&BTreeSet::from([7])), Ok(()));
    }

    #[test]
    fn a_chunk_opens_and_an_altered_one_is_corrupt() {
        let (_scratch, slabs) = open();
        let key = EpochKeys::derive(&CircleId([1; 32]), 1, Suite::Aes256Gcm, &CircleKey([2; 32])).chunk_key();
        let mut sealed = Vec::new();
        key.seal(b"plaintext", 4_096, &mut sealed);
        slabs.write_at(1, 4_096, &sealed).unwrap();
        let mut buffer = vec![9; 70_000];
        slabs.unseal(segment(1, 4_096, 4_096), &key, &mut buffer).unwrap();
        assert_eq!(buffer.len(), 4_096 - 28);
        assert_eq!(&buffer[..9], b"plaintext");
        assert!(buffer[9..].iter().all(|byte| *byte == 0));
        slabs.write_at(1, 4_096 + 500, &[sealed[500] ^ 1]).unwrap();
        assert_eq!(slabs.unseal(segment(1, 4_096, 4_096), &key, &mut buffer), Err(DiskError::Corrupt));
        assert_eq!(slabs.unseal(segment(1, 4_096, 20), &key, &mut buffer), Err(DiskError::Corrupt));
    }

    #[test]
    fn few_descriptors_stay_open_however_many_slabs_there_are() {
        let (_scratch, slabs) = open();
        for slab in 0..200 {
            slabs.write_at(slab, 0, &slab.to_be_bytes()).unwrap();
        }
        for slab in (0..200).rev() {
            let mut out = [0; 4];
            slabs.read_at(slab, 0, &mut out).unwrap();
            assert_eq!(u32::from_be_bytes(out), slab);
            assert!(slabs.0.open.lock().unwrap().len() <= DESCRIPTORS_MAX);
        }
        let slots: Vec<u32> = slabs.0.open.lock().unwrap().iter().map(|(slab, _)| *slab).collect();
        assert!(slots.contains(&0) && !slots.contains(&199), "{slots:?}");
    }

    #[test]
    fn many_parts_are_written_one_after_the_other() {
        let (_scratch, slabs) = open();
        let bytes: Vec<u8> = (0..9_000).map(|number| (number % 251) as u8).collect();
        let mut parts: Vec<IoSlice> = bytes.chunks(3).map(IoSlice::new).collect();
        slabs.write_parts_at(2, 10, &mut parts).unwrap();
        let mut out = vec![0; bytes.len()];
        slabs.read_at(2, 10, &mut out).unwrap();
        assert!(out == bytes);
    }

    #[test]
    fn punched_space_is_given_back_and_its_neighbours_stay() {
        let (scratch, slabs) = open();
        slabs.write_at(3, 0, &vec![7; 1 << 20]).unwrap();
        slabs.sync(&BTreeSet::from([3])).unwrap();
        let file = scratch.path().join("slabs/00000003");
        let (size, before) = (fs::metadata(&file).unwrap().len(), fs::metadata(&file).unwrap().blocks());
        slabs.punch(3, 65_536, 524_288).unwrap();
        slabs.punch(4, 0, 4_096).unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!(after.len(), size);
        if after.blocks() == before {
            eprintln!("SKIPPED: this file system punches no holes");
            return;
        }
        assert!(before - after.blocks() >= 524_288 / 512, "{before} {}", after.blocks());
        let mut edges = [0; 2];
        slabs.read_at(3, 65_535, &mut edges).unwrap();
        assert_eq!(edges, [7, 0]);
        slabs.read_at(3, 65_536 + 524_287, &mut edges).unwrap();
        assert_eq!(edges, [0, 7]);
    }

    #[test]
    fn a_slab_that_lost_writes_stays_failed() {
        let (_scratch, slabs) = open();
        slabs.write_at(5, 0, b"x").unwrap();
        slabs.write_at(6, 0, b"x").unwrap();
        slabs.lost().insert(5);
        assert_eq!(slabs.sync(&BTreeSet::from([6])), Ok(()));
        let error = slabs.sync(&BTreeSet::from([5, 6])).unwrap_err();
        assert!(error.to_string().contains("restart the node"), "{error}");
    }

    #[test]
    fn names_of_new_slabs_are_synced_once() {
        let (_scratch, slabs) = open();
        slabs.write_at(1, 0, b"x").unwrap();
        slabs.write_at(2, 0, b"x").unwrap();
        for syncs in [3, 5] {
            slabs.sync(&BTreeSet::from([1, 2])).unwrap();
            assert_eq!(slabs.0.counters.stats().syncs, syncs);
        }
    }

    #[test]
    fn the_space_of_the_file_system_is_told() {
        let (_scratch, slabs) = open();
        let (total, free) = slabs.space();
        assert!(total >= free && total > 1 << 20, "{total} {free}");
    }

    fn open() -> (Scratch, Slabs) {
        let scratch = Scratch::new();
        let slabs = Slabs::open(&scratch.path().join("slabs"), Arc::default()).unwrap();
        (scratch, slabs)
    }

    fn segment(slab: u32, offset: u64, length: u32) -> Segment {
        Segment { slab, offset, length }
    }
}

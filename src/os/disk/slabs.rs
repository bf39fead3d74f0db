//! The slabs: files in which sealed pieces lie, read and written by position, never mapped.
//!
//! Any thread may read and write; what must not overlap in time (a read of a span being written, a write to a span
//! being punched) is kept apart by the core, which waits for the answer to one before it asks for the other.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;
use nix::sys::uio::pwritev;

use super::counters::Counters;
use super::disk_error;
use crate::node::io::{DiskError, Segment};
use crate::os::state::{DIRECTORY_MODE, private_file, sync_parent};
use crate::seal::ChunkKey;

/// The slabs of one node. Clones share descriptors.
#[derive(Clone, Debug)]
pub struct Slabs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    directory: File,
    /// Most recently used last.
    open: Mutex<Vec<(u32, Arc<File>)>>,
    /// A slab file was made since the directory was synced.
    made: AtomicBool,
    /// Slabs of which a sync failed: the kernel forgets what it could not write, and says so once.
    lost: Mutex<BTreeSet<u32>>,
    counters: Arc<Counters>,
}

impl Slabs {
    /// Opens the directory of the slabs, or makes it.
    pub(super) fn open(path: &Path, counters: Arc<Counters>) -> Result<Self, DiskError> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(disk_error(path, &error)),
            Err(_) => {}
            Ok(()) => sync_parent(path).map_err(|error| disk_error(path, &error))?,
        }
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            directory: File::open(path).map_err(|error| disk_error(path, &error))?,
            open: Mutex::default(),
            made: AtomicBool::new(false),
            lost: Mutex::default(),
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
        self.read(segment, buffer)?;
        let length = key.open(buffer).map_err(|_| DiskError::Corrupt)?.len();
        buffer.truncate(buffer.len() - TAG);
        buffer.drain(..buffer.len() - length);
        Ok(())
    }

    /// Bytes of the file system that the slabs lie on, and how many of them are free for this process; zeros when
    /// it does not tell.
    pub fn space(&self) -> (u64, u64) {
        let Ok(stat) = fstatvfs(&self.0.directory) else { return (0, 0) };
        let size = stat.fragment_size();
        (bytes(stat.blocks(), size), bytes(stat.blocks_available(), size))
    }

    /// Fills `out` from `offset` on.
    pub(super) fn read_at(&self, slab: u32, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let file = self.file(slab, false)?;
        match file.read_exact_at(out, offset) {
            Ok(()) => Ok(()),
            // What was acknowledged was written, so a slab that ends before it has lost it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(DiskError::Corrupt),
            Err(error) => Err(self.failed(Some(slab), &error)),
        }
    }

    /// Writes `bytes` at `offset`, making the slab if it is not there.
    pub(super) fn write_at(&self, slab: u32, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.file(slab, true)?;
        file.write_all_at(bytes, offset).map_err(|error| self.failed(Some(slab), &error))
    }

    /// Writes all of `parts`, one after the other, at `offset`.
    pub(super) fn write_parts_at(&self, slab: u32, offset: u64, mut parts: &mut [IoSlice]) -> Result<(), DiskError> {
        let file = self.file(slab, true)?;
        let mut position = offset;
        while !parts.is_empty() {
            let at = position.try_into().map_err(|_| self.failed(Some(slab), &Errno::EFBIG.into()))?;
            match pwritev(&file, &parts[..parts.len().min(IOV_MAX)], at) {
                Ok(0) => return Err(self.failed(Some(slab), &io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed(Some(slab), &errno.into())),
            }
        }
        Ok(())
    }

    /// Gives the span's space back to the file system, where that can be done.
    pub(super) fn punch(&self, slab: u32, offset: u64, length: u64) -> Result<(), DiskError> {
        let file = match self.open_slab(slab, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed(Some(slab), &error)),
        };
        let failed = |errno: Errno| self.failed(Some(slab), &errno.into());
        let at = offset.try_into().map_err(|_| failed(Errno::EFBIG))?;
        let length = length.try_into().map_err(|_| failed(Errno::EFBIG))?;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        loop {
            return match fallocate(&file, flags, at, length) {
                Err(Errno::EINTR) => continue,
                Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
                Err(errno) => Err(failed(errno)),
            };
        }
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
            if let Err(error) = file.sync_data() {
                self.lost().insert(slab);
                return Err(self.failed(Some(slab), &error));
            }
        }
        if self.0.made.swap(false, Ordering::AcqRel) {
            self.0.counters.synced();
            if let Err(error) = self.0.directory.sync_all() {
                self.0.made.store(true, Ordering::Release);
                return Err(self.failed(None, &error));
            }
        }
        Ok(())
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, slab: u32, make: bool) -> Result<Arc<File>, DiskError> {
        self.open_slab(slab, make).map_err(|error| self.failed(Some(slab), &error))
    }

    fn open_slab(&self, slab: u32, make: bool) -> io::Result<Arc<File>> {
        // The lock is held while a file is opened, so that one slab never has two descriptors in the list.
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().rposition(|(number, _)| *number == slab) {
            let entry = open.remove(at);
            let file = entry.1.clone();
            open.push(entry);
            return Ok(file);
        }
        let path = self.slab_path(slab);
        let file = match private_file().open(&path) {
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                let file = private_file().create(true).open(&path)?;
                self.0.made.store(true, Ordering::Release);
                file
            }
            opened => opened?,
        };
        if open.len() >= DESCRIPTORS_MAX {
            open.remove(0);
        }
        let file = Arc::new(file);
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

// The width of either differs between targets.
fn bytes(blocks: impl Into<u64>, size: impl Into<u64>) -> u64 {
    blocks.into().saturating_mul(size.into())
}

/// Bytes of a chunk's tag, which ends it.
pub(super) const TAG: usize = 16;
/// Descriptors kept open.
const DESCRIPTORS_MAX: usize = 64;
/// POSIX IOV_MAX on Linux.
const IOV_MAX: usize = 1_024;

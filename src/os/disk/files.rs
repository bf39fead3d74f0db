//! The files of the vault as the operating system has them. A test puts a disk that forgets in their place.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::libc;
use nix::sys::statvfs::statvfs;
use nix::sys::sysinfo::sysinfo;
use nix::sys::uio::pwritev;

use crate::os::state::{DIRECTORY_MODE, private_file};

/// A file, read and written by position.
pub(super) trait VaultFile: fmt::Debug + Send + Sync {
    /// Bytes.
    fn len(&self) -> io::Result<u64>;
    /// Bytes that it takes of the disk.
    fn allocated(&self) -> io::Result<u64>;
    /// Fills `out`; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `parts`, one after the other.
    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Cuts it short, or lets it grow by zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Tells the system that all of it is read soon: a hint, which it takes where there is memory to spare.
    fn read_soon(&self) {}
    /// Tells the disk to begin with what waits to be written: a hint, what cannot be written is told by the sync.
    fn begin_writing(&self) {}
    /// Makes what was written survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Gives a span back, which reads as zeros then; where that cannot be done, nothing is.
    fn punch(&self, offset: u64, length: u64) -> io::Result<()>;
}

/// Files by their names.
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>>;
    /// Makes a file, or opens what has its name.
    fn make(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>>;
    /// Makes a directory that nobody else can look into.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    /// True for a file, false for anything else that has this name.
    fn is_file(&self, path: &Path) -> io::Result<bool>;
    /// Takes a name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in the place of what has that.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Bytes of the file system, and those that are free for this process.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// The operating system's.
#[derive(Debug)]
pub(super) struct System;

impl Files for System {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>> {
        Ok(Arc::new(private_file().open(path)?))
    }

    fn make(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>> {
        Ok(Arc::new(private_file().create(true).open(path)?))
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIRECTORY_MODE).create(path)
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        fs::metadata(path).map(|metadata| metadata.is_file())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let stat = statvfs(path)?;
        let size = stat.fragment_size();
        Ok((bytes(stat.blocks(), size), bytes(stat.blocks_available(), size)))
    }
}

impl VaultFile for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        // stat(2) counts in units of 512 bytes, whatever the file system's are.
        self.metadata().map(|metadata| metadata.blocks() * 512)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    fn write_at(&self, mut parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut position = offset;
        while !parts.is_empty() {
            let at = position.try_into().map_err(|_| Errno::EFBIG)?;
            match pwritev(self, &parts[..parts.len().min(IOV_MAX)], at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn begin_writing(&self) {
        #[allow(unsafe_code)]
        // SAFETY: the descriptor is open as long as `self` is, and no memory is handed over. Neither std nor nix has this
        // call.
        let _ = unsafe { libc::sync_file_range(self.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    }

    fn read_soon(&self) {
        let spare = sysinfo().map_or(0, |system| system.ram_unused() / 2);
        let length = self.metadata().map_or(u64::MAX, |metadata| metadata.len());
        if length > spare {
            return;
        }
        // The kernel takes no more than this of one hint.
        let mut offsets = (0..length).step_by(HINT as usize).map_while(|offset| libc::off_t::try_from(offset).ok());
        let hint = |offset| posix_fadvise(self, offset, HINT, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
        let _ = offsets.try_for_each(hint);
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let at = offset.try_into().map_err(|_| Errno::EFBIG)?;
        let length = length.try_into().map_err(|_| Errno::EFBIG)?;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        loop {
            return match fallocate(self, flags, at, length) {
                Err(Errno::EINTR) => continue,
                Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
                Err(errno) => Err(errno.into()),
            };
        }
    }
}

// The width of either differs between targets.
fn bytes(blocks: impl Into<u64>, size: impl Into<u64>) -> u64 {
    blocks.into().saturating_mul(size.into())
}

/// POSIX IOV_MAX on Linux.
const IOV_MAX: usize = 1_024;
/// Bytes of one hint: the least that kernels read ahead at once.
const HINT: libc::off_t = 128 * 1_024;

//! What an import reads of the machine's files. Nothing of them is written, not even a time of access where the system lets
//! us say so.

use std::ffi::CString;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use bytes::Bytes;
use nix::libc::{self, O_NOATIME, O_NOFOLLOW, O_NONBLOCK};

use crate::base::WallTime;
use crate::wire::record::Xattrs;

/// Opens a file or directory to be read. What was a file a moment ago may have become a pipe, which nobody would write to.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = |flags| OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK | flags).open(path);
    // Only the owner may look without a trace.
    flags(O_NOATIME).or_else(|_| flags(0))
}

/// The extended attributes of an open file that the tree can hold; none where its file system knows none.
///
/// # Errors
/// In words: they cannot be read, or there are more than the tree holds.
pub(super) fn xattrs(file: &File) -> Result<Xattrs, String> {
    let mut xattrs = Xattrs::default();
    let mut list = vec![0; LIST_MAX];
    let length = match names(file, &mut list) {
        Ok(length) => length,
        Err(why) if why.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(xattrs),
        Err(why) => return Err(format!("its extended attributes: {}", words(&why))),
    };
    let mut room = Vec::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(OURS)) {
        if name.starts_with(RESERVED) {
            continue;
        }
        room.resize(VALUE_MAX, 0);
        let length = value(file, name, &mut room).map_err(|why| format!("its extended attributes: {}", words(&why)))?;
        xattrs.set(name, Bytes::copy_from_slice(&room[..length])).map_err(|why| why.to_string())?;
    }
    Ok(xattrs)
}

fn names(file: &File, list: &mut [u8]) -> io::Result<usize> {
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open as long as `file` is, and the kernel writes no more than the length that it is told.
    // Neither std nor nix has this call.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), list.as_mut_ptr().cast(), list.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn value(file: &File, name: &[u8], room: &mut [u8]) -> io::Result<usize> {
    let name = CString::new(name)?;
    #[allow(unsafe_code)]
    // SAFETY: as above; the name ends with its NUL.
    let length = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), room.as_mut_ptr().cast(), room.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

/// What something is that is neither a file nor a directory nor a symbolic link.
pub(super) fn kind(metadata: &Metadata) -> &'static str {
    match metadata.file_type() {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// Permissions, as the tree keeps them.
pub(super) fn mode_of(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// The time of the content.
pub(super) fn mtime_of(metadata: &Metadata) -> WallTime {
    WallTime(metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()))
}

/// The system's words, without its number.
pub(super) fn words(why: &io::Error) -> String {
    let told = why.to_string();
    told.split_once(" (os error").map_or(told.clone(), |(words, _)| words.to_lowercase())
}

const OURS: &[u8] = b"user.";
const RESERVED: &[u8] = b"user.dustfs.";
/// The kernel's own limits of a list of names and of a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const LIST_MAX: usize = 65_536;
const VALUE_MAX: usize = 65_536;

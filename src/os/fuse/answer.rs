//! The node's answers in the kernel's terms: errors as errno, attributes, times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};

use crate::base::WallTime;
use crate::node::io::{Answer, Attr, DiskError, OpError};
use crate::wire::record::Kind;

/// The one map to errno.
pub(super) fn errno(error: &OpError) -> Errno {
    match error {
        OpError::NotFound => Errno::ENOENT,
        OpError::Exists => Errno::EEXIST,
        OpError::NotEmpty => Errno::ENOTEMPTY,
        OpError::NotDirectory => Errno::ENOTDIR,
        OpError::IsDirectory => Errno::EISDIR,
        OpError::Invalid(_) => Errno::EINVAL,
        OpError::NameTooLong => Errno::ENAMETOOLONG,
        OpError::TooLarge => Errno::EFBIG,
        OpError::NoSpace => Errno::ENOSPC,
        OpError::Io(_) => Errno::EIO,
        OpError::ReadOnly => Errno::EROFS,
        OpError::CrossCircle => Errno::EXDEV,
        OpError::NotPermitted(_) => Errno::EPERM,
        OpError::BadHandle => Errno::EBADF,
        OpError::NoData => Errno::ENODATA,
        OpError::NotSupported => Errno::EOPNOTSUPP,
        OpError::Unreachable => Errno::EHOSTUNREACH,
        OpError::TimedOut => Errno::ETIMEDOUT,
        OpError::Interrupted => Errno::EINTR,
        OpError::Busy => Errno::EAGAIN,
        OpError::Stopping => Errno::ESHUTDOWN,
        OpError::Locked => Errno::from_i32(nix::libc::ENOKEY),
    }
}

/// The disk's failure as an operation's.
pub(super) fn disk_error(error: DiskError) -> OpError {
    match error {
        DiskError::Full => OpError::NoSpace,
        DiskError::Corrupt | DiskError::Io(_) => OpError::Io(error.to_string()),
    }
}

/// What an answer that an operation does not have comes to.
pub(super) fn unexpected(answer: &Answer) -> Errno {
    log::error!("the node answered {answer:?} to an operation that has other answers");
    Errno::EIO
}

/// Who owns all files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Owner {
    /// What stat(2) shows of what the tree tells.
    pub(super) fn attr(&self, attr: &Attr) -> FileAttr {
        let time = system_time(attr.mtime);
        FileAttr {
            ino: INodeNo(attr.inode.0),
            size: attr.size,
            blocks: attr.size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: file_type(attr.kind),
            perm: (attr.mode & PERMISSIONS) as u16,
            nlink: attr.links,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: BLOCK_SIZE,
            flags: 0,
        }
    }
}

/// The kernel's word for a kind.
pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
    }
}

/// The time that utimensat(2) was given; times that do not fit come as the nearest one that does.
pub(super) fn wall_time(time: TimeOrNow) -> WallTime {
    let clamp = |nanos: i128| WallTime(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
    match time {
        TimeOrNow::Now => match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => clamp(after.as_nanos() as i128),
            Err(before) => clamp(-(before.duration().as_nanos() as i128)),
        },
        TimeOrNow::SpecificTime(time) => match time.duration_since(UNIX_EPOCH) {
            Ok(after) => clamp(after.as_nanos() as i128),
            // fuser 0.18 subtracts the nanoseconds of a time before 1970 where they are to be added; this undoes it.
            Err(before) => {
                let before = before.duration();
                clamp(i128::from(before.subsec_nanos()) - i128::from(before.as_secs()) * NANOS)
            }
        },
    }
}

pub(super) fn system_time(time: WallTime) -> SystemTime {
    let distance = Duration::from_nanos(time.0.unsigned_abs());
    let shown = if time.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    // A 32-bit system may have no such time.
    shown.unwrap_or(UNIX_EPOCH)
}

/// Bits of a mode that chmod(2) sets.
pub(super) const PERMISSIONS: u32 = 0o7777;
/// What st_blksize recommends, in bytes: near a chunk's plaintext.
const BLOCK_SIZE: u32 = 65_536;
const NANOS: i128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::io::Inode;

    #[test]
    fn each_error_has_the_errno_that_its_doc_names() {
        for (error, expected) in [
            (OpError::NotFound, nix::libc::ENOENT),
            (OpError::Exists, nix::libc::EEXIST),
            (OpError::NotEmpty, nix::libc::ENOTEMPTY),
            (OpError::NotDirectory, nix::libc::ENOTDIR),
            (OpError::IsDirectory, nix::libc::EISDIR),
            (OpError::Invalid(String::new()), nix::libc::EINVAL),
            (OpError::NameTooLong, nix::libc::ENAMETOOLONG),
            (OpError::TooLarge, nix::libc::EFBIG),
            (OpError::NoSpace, nix::libc::ENOSPC),
            (OpError::Io(String::new()), nix::libc::EIO),
            (OpError::ReadOnly, nix::libc::EROFS),
            (OpError::CrossCircle, nix::libc::EXDEV),
            (OpError::NotPermitted(String::new()), nix::libc::EPERM),
            (OpError::BadHandle, nix::libc::EBADF),
            (OpError::NoData, nix::libc::ENODATA),
            (OpError::NotSupported, nix::libc::EOPNOTSUPP),
            (OpError::Unreachable, nix::libc::EHOSTUNREACH),
            (OpError::TimedOut, nix::libc::ETIMEDOUT),
            (OpError::Interrupted, nix::libc::EINTR),
            (OpError::Busy, nix::libc::EAGAIN),
            (OpError::Stopping, nix::libc::ESHUTDOWN),
            (OpError::Locked, nix::libc::ENOKEY),
            (disk_error(DiskError::Full), nix::libc::ENOSPC),
            (disk_error(DiskError::Corrupt), nix::libc::EIO),
        ] {
            assert_eq!(i32::from(errno(&error)), expected, "{error:?}");
        }
    }

    #[test]
    fn times_go_to_the_kernel_as_they_are() {
        for nanos in [0, 1, -1, -1_200_000_000, i64::MIN, i64::MAX] {
            let attr = Attr {
                inode: Inode(7),
                kind: Kind::File,
                size: 513,
                mode: 0o100_644,
                mtime: WallTime(nanos),
                links: 1,
            };
            let shown = Owner { uid: 1, gid: 2 }.attr(&attr);
            let back = match shown.mtime.duration_since(UNIX_EPOCH) {
                Ok(after) => after.as_nanos() as i128,
                Err(before) => -(before.duration().as_nanos() as i128),
            };
            assert_eq!(back, i128::from(nanos));
            assert_eq!((shown.blocks, shown.perm, shown.ctime), (2, 0o644, shown.mtime));
        }
    }

    #[test]
    fn times_beyond_the_range_come_as_its_ends() {
        let far = Duration::from_secs(1 << 40);
        assert_eq!(wall_time(TimeOrNow::SpecificTime(UNIX_EPOCH + far)), WallTime(i64::MAX));
        assert_eq!(wall_time(TimeOrNow::SpecificTime(UNIX_EPOCH - far)), WallTime(i64::MIN));
        assert!(wall_time(TimeOrNow::Now).0 != 0);
    }
}

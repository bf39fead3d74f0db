//! Why the tree could not be mounted or unmounted, and what helps.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// What kept a mount from coming or going.
#[derive(Debug)]
pub enum MountError {
    /// The kernel has no FUSE, or its device file is not there.
    NoDevice,
    /// The directory to mount on is not there.
    Missing(PathBuf),
    /// What is there is not a directory.
    NotDirectory(PathBuf),
    /// The directory holds files that the mount would hide.
    NotEmpty(PathBuf),
    /// Something is mounted there already; its type.
    InUse(PathBuf, String),
    /// The node that had mounted it died.
    Dead(PathBuf),
    /// There is nothing to unmount.
    NotMounted(PathBuf),
    /// What is mounted there is not DustFS; its type.
    Foreign(PathBuf, String),
    /// Files are open in it.
    Busy(PathBuf),
    /// An ordinary user needs a program that is not installed.
    NoHelper,
    /// fusermount3 refused, in its words.
    Refused(String),
    /// The operating system failed at this.
    Io(String, io::Error),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("/dev/fuse is missing: load the fuse module, or run with --cache"),
            Self::Missing(dir) => write!(f, "{} is missing: make the directory first", dir.display()),
            Self::NotDirectory(dir) => write!(f, "{} is not a directory: choose one", dir.display()),
            Self::NotEmpty(dir) => {
                write!(f, "{} is not empty, and a mount would hide what it holds: choose an empty one", dir.display())
            }
            Self::InUse(dir, kind) => write!(
                f,
                "{} is in use, a file system of type {kind} is mounted there: unmount it, or choose another directory",
                dir.display()
            ),
            Self::Dead(dir) => {
                let dir = dir.display();
                write!(f, "{dir} is in use by the mount of a node that died: run `dustfs unmount {dir}`")
            }
            Self::NotMounted(dir) => write!(f, "nothing is mounted on {}", dir.display()),
            Self::Foreign(dir, kind) => {
                write!(f, "{} is not a mount of DustFS but of type {kind}: use umount for it", dir.display())
            }
            Self::Busy(dir) => {
                write!(f, "{} is busy, files are open in it: close them, or unmount with --force", dir.display())
            }
            Self::NoHelper => f.write_str("fusermount3 is missing: install fuse3, or run as root"),
            Self::Refused(why) => write!(f, "fusermount3 refused: {why}"),
            Self::Io(what, error) => write!(f, "{what} failed: {error}"),
        }
    }
}

impl std::error::Error for MountError {}

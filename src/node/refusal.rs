//! Why an operation failed, in the words that people read.

use std::fmt;

use super::io::DiskError;

/// Why an operation failed. `os::fuse` maps each to an errno, `lan` to words and a status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpError {
    /// ENOENT.
    NotFound,
    /// EEXIST.
    Exists,
    /// ENOTEMPTY.
    NotEmpty,
    /// ENOTDIR.
    NotDirectory,
    /// EISDIR.
    IsDirectory,
    /// EINVAL, with the reason.
    Invalid(String),
    /// ENAMETOOLONG.
    NameTooLong,
    /// EFBIG.
    TooLarge,
    /// ENOSPC.
    NoSpace,
    /// EIO, with the reason.
    Io(String),
    /// EROFS: this node's role in the circle does not write.
    ReadOnly,
    /// EXDEV: a move from one circle to another.
    CrossCircle,
    /// EPERM, with the reason.
    NotPermitted(String),
    /// EBADF.
    BadHandle,
    /// EHOSTUNREACH: nobody who holds it is online.
    Unreachable,
    /// ETIMEDOUT: somebody holds it, but nothing came in time.
    TimedOut,
    /// EINTR.
    Interrupted,
    /// EAGAIN: a queue is full.
    Busy,
    /// ESHUTDOWN: the node is stopping.
    Stopping,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpError::NotFound => f.write_str("there is no such file"),
            OpError::Exists => f.write_str("it exists already"),
            OpError::NotEmpty => f.write_str("the directory is not empty"),
            OpError::NotDirectory => f.write_str("it is not a directory"),
            OpError::IsDirectory => f.write_str("it is a directory"),
            OpError::Invalid(why) | OpError::NotPermitted(why) | OpError::Io(why) => f.write_str(why),
            OpError::NameTooLong => f.write_str("the name is longer than 255 bytes"),
            OpError::TooLarge => f.write_str("the file would be too large"),
            OpError::NoSpace => f.write_str("the disk is full: free some space on it"),
            OpError::ReadOnly => {
                f.write_str("this node may not write in this circle: ask a keeper for the role 'member'")
            }
            OpError::CrossCircle => f.write_str("it would move from one circle to another: copy it instead"),
            OpError::BadHandle => f.write_str("the file is not open"),
            OpError::Unreachable => f.write_str("nobody who has it is online: try again when a friend is"),
            OpError::TimedOut => f.write_str("friends who have it sent nothing in time: try again"),
            OpError::Interrupted => f.write_str("it was interrupted"),
            OpError::Busy => f.write_str("too much is waiting: try again"),
            OpError::Stopping => f.write_str("the node is stopping"),
        }
    }
}

impl std::error::Error for OpError {}

impl From<DiskError> for OpError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full => OpError::NoSpace,
            other => OpError::Io(other.to_string()),
        }
    }
}

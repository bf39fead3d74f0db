//! Why the disk cannot be opened or used, in words that name the file and the remedy.

use std::fmt;
use std::io;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

use super::ledger::FORMAT;
use crate::node::io::DiskError;
use crate::os::state::{StateDir, StateError};

/// Why a disk cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOpenError {
    /// The state directory.
    State(StateError),
    /// The ledger.
    Ledger(LedgerError),
    /// The slabs.
    Slabs(DiskError),
    /// The operating system gives no threads: its words.
    Threads(String),
}

impl fmt::Display for DiskOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskOpenError::State(error) => error.fmt(f),
            DiskOpenError::Ledger(error) => error.fmt(f),
            DiskOpenError::Slabs(error) => error.fmt(f),
            DiskOpenError::Threads(why) => write!(f, "no thread for the disk can be started: {why}: free some memory"),
        }
    }
}

impl std::error::Error for DiskOpenError {}

impl From<StateError> for DiskOpenError {
    fn from(error: StateError) -> Self {
        DiskOpenError::State(error)
    }
}

impl From<LedgerError> for DiskOpenError {
    fn from(error: LedgerError) -> Self {
        DiskOpenError::Ledger(error)
    }
}

/// Why a ledger cannot be opened. It is left as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LedgerError {
    /// It is not what a node wrote.
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is gone, and what it described is not.
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A newer node wrote it.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The operating system refuses.
    Unusable(DiskError),
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::Broken { path, why } => write!(
                f,
                "the ledger {} is broken: {why}: put a backup of it in its place, or start anew with another --state",
                path.display()
            ),
            LedgerError::Gone { path } => write!(
                f,
                "the ledger {} is gone, but the slabs beside it are not: put it back, or move the slabs away to start anew",
                path.display()
            ),
            LedgerError::Newer { path, format } => write!(
                f,
                "the ledger {} has format {format}, and this version knows up to {FORMAT}: run a newer version",
                path.display()
            ),
            LedgerError::Unusable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LedgerError {}

/// What a panic means that came out of the database: redb takes a page that is not what it wrote for a fault of its
/// own, and checking each page at opening would read the whole file. For the program's panic hook.
pub fn ledger_panic(directory: &StateDir, panic: &PanicHookInfo<'_>) -> Option<LedgerError> {
    let location = panic.location().filter(|location| location.file().contains("redb"))?;
    let why = format!("a page of it is damaged ({}:{})", location.file(), location.line());
    Some(LedgerError::Broken { path: directory.ledger(), why })
}

/// The one map from the operating system's errors to ours.
pub(super) fn disk_error(path: &Path, error: &io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
        _ => DiskError::Io(format!("{}: {error}", path.display())),
    }
}

//! What the disk counts of itself.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts since the disk was opened; they wrap at the machine's word.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Commits made durable.
    pub commits: usize,
    /// Transactions of the ledger that carried them.
    pub groups: usize,
    /// Syncs of slabs, of their directory and of the ledger.
    pub syncs: usize,
}

/// Relaxed, since nothing is decided by them.
#[derive(Default, Debug)]
pub(super) struct Counters {
    commits: AtomicUsize,
    groups: AtomicUsize,
    syncs: AtomicUsize,
}

impl Counters {
    pub(super) fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, commits: usize) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.commits.fetch_add(commits, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            commits: self.commits.load(Ordering::Relaxed),
            groups: self.groups.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
        }
    }
}

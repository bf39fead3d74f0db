//! Tells the kernel what to forget, from threads that hold no lock and on which nobody waits.
//!
//! Two threads, because dropping pages waits for reads of them, and one of something that nobody has online takes
//! long. Attributes need no such wait, and a kernel that sees another size or time drops the pages by itself.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Condvar, Mutex, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use fuser::{INodeNo, Notifier};
use nix::libc::ENODEV;

use crate::node::io::{Inode, Stale};

use super::{lock, spawn};

/// Takes what is stale; clones send to the same mount.
#[derive(Clone, Debug)]
pub struct StaleSender(Arc<Queues>);

#[derive(Default, Debug)]
struct Queues {
    names: Queue<Stale>,
    pages: Queue<Inode>,
    answers: RwLock<()>,
}

impl StaleSender {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Has the kernel forget these soon. Never blocks; does nothing when the mount has ended.
    pub fn send(&self, stale: Vec<Stale>) {
        self.0.names.push(stale);
    }

    /// Held from reading the tree until the kernel has the answer, so that nothing older than what is sent as stale
    /// reaches the kernel after that was forgotten.
    pub(super) fn answering(&self) -> RwLockReadGuard<'_, ()> {
        self.0.answers.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Starts the threads; they end by [`StaleSender::close`].
    pub(super) fn spawn(&self, kernel: &Notifier) -> io::Result<Vec<JoinHandle<()>>> {
        let (names, pages) = ((self.0.clone(), kernel.clone()), (self.0.clone(), kernel.clone()));
        Ok(vec![
            spawn("fuse-stale", move || names.0.forget_names(&names.1))?,
            spawn("fuse-pages", move || pages.0.forget_pages(&pages.1))?,
        ])
    }

    pub(super) fn close(&self) {
        self.0.names.close();
        self.0.pages.close();
    }
}

impl Queues {
    fn forget_names(&self, kernel: &Notifier) {
        while let Some(batch) = self.names.take() {
            drop(self.answers.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
            let mut pages = Vec::new();
            for stale in batch {
                let told = match stale {
                    Stale::Entry(parent, name) => kernel.inval_entry(INodeNo(parent.0), OsStr::from_bytes(&name)),
                    Stale::Inode(inode) => {
                        pages.push(inode);
                        // A negative offset leaves the pages alone.
                        kernel.inval_inode(INodeNo(inode.0), -1, 0)
                    }
                };
                if has_ended(told) {
                    return self.names.close();
                }
            }
            self.pages.push(pages);
        }
    }

    fn forget_pages(&self, kernel: &Notifier) {
        while let Some(batch) = self.pages.take() {
            for inode in batch {
                if has_ended(kernel.inval_inode(INodeNo(inode.0), 0, 0)) {
                    return self.pages.close();
                }
            }
        }
    }
}

/// True when there is no kernel to tell any more.
fn has_ended(told: io::Result<()>) -> bool {
    let Err(error) = told else { return false };
    if error.raw_os_error() == Some(ENODEV) {
        return true;
    }
    log::debug!("the kernel did not forget: {error}");
    false
}

/// A set that one thread empties.
#[derive(Debug)]
struct Queue<T> {
    state: Mutex<QueueState<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct QueueState<T> {
    waiting: BTreeSet<T>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let state = Mutex::new(QueueState { waiting: BTreeSet::new(), closed: false });
        Self { state, filled: Condvar::new() }
    }
}

impl<T: Ord> Queue<T> {
    fn push(&self, items: Vec<T>) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        for item in items {
            if state.waiting.len() >= WAITING && !state.waiting.contains(&item) {
                log::warn!("more than {WAITING} changes wait for the kernel: it may show old ones for a minute");
                break;
            }
            state.waiting.insert(item);
        }
        self.filled.notify_one();
    }

    /// Waits for items; `None` when there will be none.
    fn take(&self) -> Option<BTreeSet<T>> {
        let idle = |state: &mut QueueState<T>| state.waiting.is_empty() && !state.closed;
        let mut state =
            self.filled.wait_while(lock(&self.state), idle).unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.closed { None } else { Some(std::mem::take(&mut state.waiting)) }
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.waiting.clear();
        self.filled.notify_all();
    }
}

/// Changes that wait for the kernel. What is beyond them ends with the time that the kernel keeps entries for.
const WAITING: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_merges_is_bounded_and_ends() {
        let queue = Queue::default();
        queue.push(vec![1, 2, 2]);
        queue.push(vec![1]);
        assert_eq!(queue.take(), Some(BTreeSet::from([1, 2])));
        queue.push((0..2 * WAITING).collect());
        queue.push(vec![5, 2 * WAITING]);
        assert_eq!(queue.take().map(|taken| taken.len()), Some(WAITING));
        queue.push(vec![7]);
        queue.close();
        queue.push(vec![8]);
        assert_eq!(queue.take(), None);
    }
}

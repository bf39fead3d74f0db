//! The disk: the vault's slabs and the ledger's database, worked on by threads so that the core never waits.
//!
//! What a commit refers to is durable before it: slabs are synced, then their directory, then the ledger's
//! transaction, and only then is the commit answered. Commits that wait together share one sync of each.

mod counters;
mod ledger;
mod queue;
mod slabs;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::base::{Batch, Ticket};
use crate::node::io::{DiskError, DiskRequest, Done};
use crate::os::state::{StateDir, StateError, StateLock};

pub use counters::Stats;
pub use ledger::{LedgerError, RedbStore};
pub use slabs::Slabs;

use counters::Counters;
use ledger::Ledger;
use queue::Queue;
use work::Worker;

/// How a disk is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// The state directory.
    pub directory: PathBuf,
    /// Bytes of memory that the ledger may use as its cache.
    pub cache_bytes: usize,
    /// Threads that seal, hash, read and write; at least one is started. One more commits.
    pub workers: usize,
}

impl DiskConfig {
    /// What fits a small box: 4 MiB of cache, two workers.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), cache_bytes: 4 << 20, workers: 2 }
    }
}

/// Told each answer, on a thread of the disk's.
pub type Complete = Arc<dyn Fn(Ticket, Done) + Send + Sync>;

/// The disk of one node. Dropping it answers everything that was asked, then ends its threads.
pub struct Disk {
    slabs: Slabs,
    ledger: Arc<Ledger>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    workers: usize,
    threads: Vec<JoinHandle<()>>,
    /// Released last, when nothing is written any more.
    _lock: StateLock,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("slabs", &self.slabs).field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens what the state directory holds, or makes it, and keeps other nodes out of it. Starts no thread.
    pub fn open(config: DiskConfig) -> Result<(Disk, RedbStore), DiskOpenError> {
        let state = StateDir::open_or_create(&config.directory)?;
        let lock = state.lock()?;
        let counters = Arc::new(Counters::default());
        let ledger = Arc::new(Ledger::open(&state.ledger(), config.cache_bytes, counters.clone())?);
        let slabs = Slabs::open(&state.slabs(), counters.clone()).map_err(DiskOpenError::Slabs)?;
        let store = RedbStore::new(ledger.clone());
        let disk = Disk {
            slabs,
            ledger,
            queue: Arc::default(),
            counters,
            workers: config.workers.max(1),
            threads: Vec::new(),
            _lock: lock,
        };
        Ok((disk, store))
    }

    /// Starts the threads; each answer is told to `complete`. What was asked before is worked on now.
    pub fn start(&mut self, complete: Complete) -> Result<(), DiskOpenError> {
        for number in 0..self.workers {
            let (queue, workers, complete) = (self.queue.clone(), self.workers, complete.clone());
            let worker = Worker::new(self.slabs.clone());
            self.spawn(format!("disk {number}"), move || work(&queue, workers, worker, &complete))?;
        }
        let (queue, ledger, slabs, counters) =
            (self.queue.clone(), self.ledger.clone(), self.slabs.clone(), self.counters.clone());
        self.spawn("ledger".to_owned(), move || {
            commit(&queue, &ledger, &slabs, &counters, &complete);
        })
    }

    /// Asks; never waits. Two requests are worked on in any order, commits in theirs.
    pub fn submit(&self, ticket: Ticket, request: DiskRequest) {
        self.queue.push(ticket, request);
    }

    /// For reading on the caller's own thread.
    pub fn slabs(&self) -> Slabs {
        self.slabs.clone()
    }

    /// What the disk did since it was opened.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// Answers everything that was asked, then ends the threads.
    pub fn stop(self) {
        drop(self);
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), DiskOpenError> {
        let thread = Builder::new().name(name).spawn(run).map_err(|error| DiskOpenError::Threads(error.to_string()))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said why already.
            let _ = thread.join();
        }
    }
}

fn work(queue: &Queue, workers: usize, mut worker: Worker, complete: &Complete) {
    while let Some((ticket, request)) = queue.next_work(workers) {
        let hash = matches!(request, DiskRequest::Hash { .. });
        let done = worker.work(request);
        if hash {
            queue.hashed();
        }
        complete(ticket, done);
    }
}

fn commit(queue: &Queue, ledger: &Ledger, slabs: &Slabs, counters: &Counters, complete: &Complete) {
    loop {
        let mut tickets = Vec::new();
        let mut group = Batch::default();
        let mut sync = BTreeSet::new();
        for commit in queue.next_commits() {
            tickets.push(commit.ticket);
            group.extend(commit.batch);
            sync.extend(commit.sync);
        }
        if tickets.is_empty() {
            return;
        }
        let committed = slabs.sync(&sync).and_then(|()| ledger.commit(&group));
        if committed.is_ok() {
            counters.committed(tickets.len());
        }
        for ticket in tickets {
            complete(ticket, Done::Committed(committed.clone()));
        }
    }
}

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

/// The one map from the operating system's errors to ours.
fn disk_error(path: &Path, error: &io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
        _ => DiskError::Io(format!("{}: {error}", path.display())),
    }
}

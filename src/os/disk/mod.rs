//! The disk: the vault's slabs and the ledger's database, worked on by threads so that the core never waits.
//!
//! What a commit refers to is durable before it: slabs are synced, then their directory, then the ledger's
//! transaction, and only then is the commit answered. Commits that wait together share one sync of each.

mod counters;
#[cfg(test)]
mod cuts;
mod error;
mod files;
mod ledger;
mod queue;
mod slabs;
mod storage;
mod store;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::base::{Batch, Ticket};
use crate::node::io::{DiskError, DiskRequest, Done};
use crate::os::state::{StateDir, StateLock};

pub use counters::Stats;
pub use error::{DiskOpenError, LedgerError, ledger_panic};
pub use slabs::Slabs;
pub use store::RedbStore;

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

/// Told each answer, on a thread of the disk's. It must not own the disk, which waits for its threads to end.
pub type Complete = Arc<dyn Fn(Ticket, Done) + Send + Sync>;

/// The disk of one node. Dropping it answers everything that was asked, then ends its threads.
pub struct Disk {
    slabs: Slabs,
    ledger: Arc<Ledger>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    workers: usize,
    threads: Vec<JoinHandle<()>>,
    /// Dropped after the ledger, which writes when it is closed.
    _lock: Arc<StateLock>,
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
        let lock = Arc::new(state.lock()?);
        let counters = Arc::new(Counters::default());
        let slabs_there = || fs::read_dir(state.slabs()).is_ok_and(|mut slabs| slabs.next().is_some());
        if !state.ledger().exists() && slabs_there() {
            return Err(LedgerError::Gone { path: state.ledger() }.into());
        }
        let ledger = Arc::new(Ledger::open(&state.ledger(), config.cache_bytes, counters.clone())?);
        let slabs = Slabs::open(&state.slabs(), counters.clone()).map_err(DiskOpenError::Slabs)?;
        let store = RedbStore::new(ledger.clone(), Some(lock.clone()));
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
        let hash = matches!(request, DiskRequest::Hash { .. } | DiskRequest::Compare { .. });
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
        let committed = make_durable(ledger, slabs, &group, &sync);
        if committed.is_ok() {
            counters.committed(tickets.len());
        }
        for ticket in tickets {
            complete(ticket, Done::Committed(committed.clone()));
        }
    }
}

/// What a batch refers to is durable before it.
fn make_durable(ledger: &Ledger, slabs: &Slabs, batch: &Batch, sync: &BTreeSet<u32>) -> Result<(), DiskError> {
    slabs.sync(sync).and_then(|()| ledger.commit(batch))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::*;
    use crate::base::{Rng, Snapshot, Table};
    use crate::node::io::Segment;
    use crate::os::state::StateError;
    use crate::os::state::tests::Scratch;
    use crate::seal::piece;

    #[test]
    fn everything_asked_is_answered_once_before_it_stops() {
        let scratch = Scratch::new();
        let (mut disk, _store) = Disk::open(DiskConfig::new(scratch.path())).unwrap();
        disk.submit(Ticket(0), DiskRequest::Punch { segments: Vec::new() });
        let answers = start(&mut disk);
        for number in 1..400 {
            disk.submit(
                Ticket(number),
                match number % 4 {
                    0 => store(number),
                    1 => DiskRequest::Hash { chunks: Vec::new(), piece_length: 65_536, known: Vec::new() },
                    2 => DiskRequest::Read { segments: Vec::new() },
                    _ => commit(number),
                },
            );
        }
        disk.stop();
        let mut tickets: Vec<u64> = answers.iter().map(|(ticket, _)| ticket.0).collect();
        tickets.sort_unstable();
        assert_eq!(tickets, Vec::from_iter(0..400));
    }

    #[test]
    fn commits_that_wait_together_share_their_syncs() {
        let scratch = Scratch::new();
        let (mut disk, ledger) = Disk::open(DiskConfig::new(scratch.path())).unwrap();
        disk.slabs().write_at(0, 0, b"piece").unwrap();
        let before = disk.stats().syncs;
        for number in 0..1_000 {
            disk.submit(Ticket(number), commit(number));
        }
        let answers = start(&mut disk);
        for number in 0..1_000 {
            let (ticket, done) = answers.recv().unwrap();
            assert_eq!(ticket, Ticket(number), "commits are answered in their order");
            assert!(matches!(done, Done::Committed(Ok(()))), "{done:?}");
            assert!(is_there(&ledger, number), "an answered commit is not seen");
        }
        let stats = disk.stats();
        assert_eq!((stats.commits, stats.groups), (1_000, 1));
        assert!(stats.syncs - before <= 6, "{stats:?}");
    }

    #[test]
    fn a_commit_whose_slab_cannot_be_synced_is_not_made() {
        let scratch = Scratch::new();
        let (mut disk, ledger) = Disk::open(DiskConfig::new(scratch.path())).unwrap();
        let answers = start(&mut disk);
        let DiskRequest::Commit { batch, .. } = commit(1) else { panic!() };
        disk.submit(Ticket(1), DiskRequest::Commit { batch, sync: BTreeSet::from([99]) });
        let (_, done) = answers.recv().unwrap();
        assert!(matches!(done, Done::Committed(Err(DiskError::Io(_)))), "{done:?}");
        assert!(!is_there(&ledger, 1));
        assert_eq!(disk.stats().commits, 0);
    }

    #[test]
    fn a_second_node_is_kept_out() {
        let scratch = Scratch::new();
        let (disk, ledger) = Disk::open(DiskConfig::new(scratch.path())).unwrap();
        let pid = Some(std::process::id());
        let in_use = DiskOpenError::State(StateError::InUse { path: scratch.path().to_owned(), pid });
        assert_eq!(Disk::open(DiskConfig::new(scratch.path())).unwrap_err(), in_use);
        drop(disk);
        // Whoever still reads keeps the database open.
        assert_eq!(Disk::open(DiskConfig::new(scratch.path())).unwrap_err(), in_use);
        drop(ledger);
        Disk::open(DiskConfig::new(scratch.path())).unwrap();
    }

    #[test]
    fn a_lost_ledger_is_not_replaced_by_an_empty_one() {
        let scratch = Scratch::new();
        let disk = Disk::open(DiskConfig::new(scratch.path())).unwrap();
        disk.0.slabs().write_at(0, 0, b"piece").unwrap();
        drop(disk);
        let path = scratch.path().join("ledger.redb");
        fs::remove_file(&path).unwrap();
        let error = Disk::open(DiskConfig::new(scratch.path())).unwrap_err();
        assert_eq!(error, DiskOpenError::Ledger(LedgerError::Gone { path: path.clone() }));
        assert!(!path.exists());
        fs::remove_dir_all(scratch.path().join("slabs")).unwrap();
        Disk::open(DiskConfig::new(scratch.path())).unwrap();
    }

    /// Ten rounds on one directory: the child commits as fast as it can and tells what was answered, until it is
    /// killed at a moment that the seed gives.
    #[test]
    fn what_was_answered_survives_a_kill_in_the_middle_of_commits() {
        const ROLE: &str = "DUSTFS_TEST_KILLED";
        const NAME: &str = "os::disk::tests::what_was_answered_survives_a_kill_in_the_middle_of_commits";
        if let Some(directory) = env::var_os(ROLE) {
            return commit_until_killed(&PathBuf::from(directory));
        }
        let scratch = Scratch::new();
        let mut rng = Rng::new(20_260);
        let (mut told, mut slowest) = (BTreeSet::new(), Duration::ZERO);
        for round in 0..10 {
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["--exact", "--nocapture", NAME])
                .env(ROLE, scratch.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut answered = BufReader::new(child.stdout.take().unwrap())
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| line.strip_prefix("answered ")?.parse::<u64>().ok());
            told.extend(answered.by_ref().take(1 + rng.below(100) as usize));
            child.kill().unwrap();
            told.extend(answered);
            assert!(!child.wait().unwrap().success(), "the child ended before it was killed");

            let opening = Instant::now();
            let (disk, ledger) = Disk::open(DiskConfig::new(scratch.path())).unwrap();
            slowest = slowest.max(opening.elapsed());
            let mut piece = Vec::new();
            for &number in &told {
                assert!(is_there(&ledger, number), "round {round}: commit {number} is lost");
                disk.slabs().read(segment(number), &mut piece).unwrap();
                assert!(piece == contents(number), "round {round}: piece {number} is lost");
            }
            assert_eq!(keys(&ledger, Table::Records), keys(&ledger, Table::Torrents), "round {round}: half a commit");
        }
        println!("{} commits over 10 kills; opening took at most {slowest:?}", told.len());
        assert!(slowest < Duration::from_secs(2), "opening took {slowest:?}");
    }

    fn commit_until_killed(directory: &Path) {
        let (mut disk, ledger) = Disk::open(DiskConfig::new(directory)).unwrap();
        let answers = start(&mut disk);
        let first = keys(&ledger, Table::Records).last().map_or(0, |last| last + 1);
        let mut next = first;
        while next < first + 100_000 {
            while next < first + 8 {
                disk.submit(Ticket(next), store(next));
                next += 1;
            }
            match answers.recv().unwrap() {
                (ticket, Done::Stored(Ok(true))) => disk.submit(ticket, commit(ticket.0)),
                (ticket, Done::Committed(Ok(()))) => {
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "answered {}", ticket.0).and_then(|()| out.flush()).unwrap();
                    disk.submit(Ticket(next), store(next));
                    next += 1;
                }
                (_, done) => panic!("{done:?}"),
            }
        }
    }

    /// On a file system of 16 MiB that is mounted for the child alone.
    #[test]
    fn a_full_disk_loses_nothing_and_serves_again_when_there_is_space() {
        const ROLE: &str = "DUSTFS_TEST_FULL";
        const NAME: &str = "os::disk::tests::a_full_disk_loses_nothing_and_serves_again_when_there_is_space";
        if let Some(directory) = env::var_os(ROLE) {
            return fill_and_free(&PathBuf::from(directory));
        }
        let scratch = Scratch::new();
        let mount = r#"mount -t tmpfs -o size=16m,mode=700 none "$DUSTFS_TEST_FULL""#;
        let unshare = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c", script]).env(ROLE, scratch.path());
            command
        };
        if !unshare(mount).output().is_ok_and(|probe| probe.status.success()) {
            eprintln!("SKIPPED: this machine lets no test mount a tmpfs in a namespace");
            return;
        }
        let output = unshare(&format!(r#"{mount} && exec "$0" --exact --nocapture "$1""#))
            .arg(env::current_exe().unwrap())
            .arg(NAME)
            .output()
            .unwrap();
        let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    fn fill_and_free(directory: &Path) {
        let config = DiskConfig::new(directory.join("state"));
        let (mut disk, ledger) = Disk::open(config.clone()).unwrap();
        let answers = start(&mut disk);
        let ask = |disk: &Disk, request| {
            disk.submit(Ticket(0), request);
            answers.recv().unwrap().1
        };
        assert!(matches!(ask(&disk, store(0)), Done::Stored(Ok(true))));
        assert!(matches!(ask(&disk, commit(0)), Done::Committed(Ok(()))));
        let full = (1..10_000).find(|&number| match ask(&disk, store(number)) {
            Done::Stored(Ok(true)) => false,
            Done::Stored(Err(DiskError::Full)) => true,
            done => panic!("{done:?}"),
        });
        let full = full.expect("16 MiB hold fewer than 10,000 pieces");

        let large = || {
            let DiskRequest::Commit { mut batch, sync } = commit(7) else { panic!() };
            batch.put(Table::Drafts, "large", vec![7; 4 << 20]);
            DiskRequest::Commit { batch, sync }
        };
        for _ in 0..3 {
            let done = ask(&disk, large());
            assert!(matches!(done, Done::Committed(Err(DiskError::Full))), "{done:?}");
        }
        assert!(!is_there(&ledger, 7) && ledger.get(Table::Drafts, b"large").unwrap().is_none());
        let still_there = |disk: &Disk, ledger: &RedbStore| {
            let mut piece = Vec::new();
            disk.slabs().read(segment(0), &mut piece).unwrap();
            assert!(is_there(ledger, 0) && piece == contents(0));
        };
        still_there(&disk, &ledger);

        let freed = (8..full).map(segment).collect();
        assert!(matches!(ask(&disk, DiskRequest::Punch { segments: freed }), Done::Punched(Ok(()))));
        assert!(matches!(ask(&disk, large()), Done::Committed(Ok(()))));
        assert!(matches!(ask(&disk, store(full)), Done::Stored(Ok(true))));
        still_there(&disk, &ledger);
        disk.stop();
        drop(ledger);
        let (disk, ledger) = Disk::open(config).unwrap();
        still_there(&disk, &ledger);
        assert!(is_there(&ledger, 7));
    }

    fn start(disk: &mut Disk) -> Receiver<(Ticket, Done)> {
        let (told, answers) = channel();
        disk.start(Arc::new(move |ticket, done| told.send((ticket, done)).unwrap())).unwrap();
        answers
    }

    /// Writes the piece of this number.
    fn store(number: u64) -> DiskRequest {
        let piece = Bytes::from(contents(number));
        DiskRequest::Store { sha1: piece::sha1([&piece[..]]), blocks: vec![piece], segments: vec![segment(number)] }
    }

    /// Notes the piece of this number in two tables.
    fn commit(number: u64) -> DiskRequest {
        let mut batch = Batch::default();
        batch.put(Table::Records, number.to_be_bytes(), vec![1]);
        batch.put(Table::Torrents, number.to_be_bytes(), vec![2; 300]);
        DiskRequest::Commit { batch, sync: BTreeSet::from([0]) }
    }

    fn segment(number: u64) -> Segment {
        Segment { slab: 0, offset: number * 65_536, length: 16_384 }
    }

    fn contents(number: u64) -> Vec<u8> {
        let mut bytes = vec![0; 16_384];
        Rng::new(number).fill(&mut bytes);
        bytes
    }

    fn is_there(ledger: &RedbStore, number: u64) -> bool {
        ledger.get(Table::Torrents, &number.to_be_bytes()).unwrap().is_some()
    }

    fn keys(ledger: &RedbStore, table: Table) -> Vec<u64> {
        let mut keys = Vec::new();
        ledger
            .range(table, &[0; 8], &[0xff; 9], &mut |key, _| {
                keys.push(u64::from_be_bytes(key.try_into().unwrap()));
                true
            })
            .unwrap();
        keys
    }
}

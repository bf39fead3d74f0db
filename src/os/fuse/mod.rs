//! The mount: kernel requests become tree operations, and answers become replies; the one map to errno.
//!
//! Requests that need no waiting (looking up, stat, listing, reading what is here) are answered on the FUSE thread
//! that took them. All others go to the node as an [`Op`] and take their reply with them, so that no FUSE thread ever
//! waits. A read of what is not here is parked until it was fetched, and then read on another thread.
//!
//! What the kernel caches is forgotten by [`StaleSender`]: entries and attributes stay in it for a minute, pages until
//! they are told stale. Whoever changes the tree by another way than this mount has to tell it.
//!
//! What cannot be is refused with the errno that its man page gives: hard links, device nodes, FIFOs, sockets and other
//! owners with EPERM; extended attributes outside `user.` and ways of fallocate(2) that move bytes with EOPNOTSUPP; leases
//! and file flags by the kernel. Locks of both kinds are the kernel's own, and so hold on one machine.

mod answer;
mod directory;
mod error;
mod mount;
mod parked;
mod pool;
mod read;
mod requests;
mod space;
mod stale;
mod stat;
#[cfg(test)]
mod tests;
mod xattr;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use fuser::{BackgroundSession, Session, SessionACL};

use crate::base::Ticket;
use crate::node::io::{Attr, DirEntry, DiskError, Inode, Op, OpError, ReadPlan, Reply, Segment};
use crate::seal::ChunkKey;
use crate::wire::record::Xattrs;

pub use error::MountError;
pub use mount::{abort_path, is_dead, unmount_path};
pub use stale::StaleSender;

use mount::MountPoint;
use read::Reads;
use requests::Requests;

/// The node, as the mount sees it.
pub trait Files: Send + Sync + 'static {
    /// The entry of a name in a directory. This and the next five answer from memory and wait for nothing.
    fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Attr, OpError>;

    /// What stat(2) tells. A file that is open is known until its last handle is released, also without a name.
    fn attr(&self, inode: Inode) -> Result<Attr, OpError>;

    /// At most `limit` entries of a directory in the order of their names' bytes, those after `after` alone, without
    /// `.` and `..`.
    fn list(&self, inode: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError>;

    /// What a symlink points to.
    fn readlink(&self, inode: Inode) -> Result<Bytes, OpError>;

    /// How to read `length` bytes from `offset`: less than that only at the end of the file.
    fn plan(&self, inode: Inode, offset: u64, length: u32) -> Result<ReadPlan, OpError>;

    /// The directory that holds this directory; the root's is itself.
    fn parent(&self, inode: Inode) -> Inode;

    /// Counts how often space of the vault was given up. Where it is the same before a plan was made and after its
    /// segments were read, nothing else was written to them between.
    fn freed(&self) -> u64;

    /// The extended attributes of a file or directory.
    fn xattrs(&self, _: Inode) -> Result<Xattrs, OpError> {
        Ok(Xattrs::default())
    }

    /// An extended attribute that the node tells by itself, whose name begins with [`RESERVED`](crate::node::RESERVED).
    fn told_xattr(&self, _: Inode, _: &[u8]) -> Result<Bytes, OpError> {
        Err(OpError::NoData)
    }

    /// lseek(2): the first byte of data, or of a hole, from `offset` on; `None` beyond the end.
    fn seek(&self, inode: Inode, offset: u64, data: bool) -> Result<Option<u64>, OpError> {
        let size = self.attr(inode)?.size;
        Ok((offset < size).then_some(if data { offset } else { size }))
    }

    /// Asks the node. `done` is called exactly once, at once on this thread or later on another; it
    /// does not wait, and asks nothing here.
    fn op(&self, op: Op, done: Box<dyn FnOnce(Reply) + Send>) -> Ticket;

    /// Whoever asked no longer waits.
    fn cancel(&self, ticket: Ticket);

    /// Reads a sealed chunk on this thread and replaces `buffer` by its plaintext with its padding.
    fn unseal(&self, segment: Segment, key: &ChunkKey, buffer: &mut Vec<u8>) -> Result<(), DiskError>;

    /// Bytes of the disk, and those that are free.
    fn space(&self) -> (u64, u64);
}

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// Where: a directory that is there and empty.
    pub directory: PathBuf,
    /// Threads that take requests, at least 1.
    pub threads: usize,
    /// Refuse all writing in the kernel.
    pub read_only: bool,
    /// Let other users than the mounting one in.
    pub allow_other: bool,
    /// Owner of all files shown.
    pub uid: u32,
    /// Group of all files shown.
    pub gid: u32,
}

/// A mounted tree. Dropping it unmounts as [`Mount::unmount`] does.
pub struct Mount {
    point: MountPoint,
    session: Option<BackgroundSession>,
    stale: StaleSender,
    reads: Arc<Reads>,
    end: Arc<End>,
    threads: Vec<JoinHandle<()>>,
}

impl Mount {
    /// Mounts, and serves requests until it is unmounted.
    ///
    /// # Errors
    /// Each with its remedy; nothing stays mounted.
    pub fn new(config: MountConfig, files: Arc<impl Files>) -> Result<Self, MountError> {
        let (point, device) = mount::mount(&config)?;
        Self::serve(config, files, point.clone(), device).inspect_err(|_| {
            // The device is closed by now, so the mount is dead and nothing can hold it.
            let _ = point.unmount();
        })
    }

    fn serve(
        config: MountConfig,
        files: Arc<dyn Files>,
        point: MountPoint,
        device: OwnedFd,
    ) -> Result<Self, MountError> {
        let io = |what: &'static str| move |error| MountError::Io(what.into(), error);
        let stale = StaleSender::new();
        let end = Arc::new(End::default());
        let requests = Requests::new(files, &config, stale.clone(), end.clone());
        let reads = requests.reads();
        let mut options = fuser::Config::default();
        options.n_threads = Some(config.threads.max(1));
        // The kernel itself keeps other users out unless `allow_other` was given.
        let session = Session::from_fd(requests, device, SessionACL::All, options).map_err(io("the handshake"))?;
        let mut threads = stale.spawn(&session.notifier()).map_err(io("starting a thread"))?;
        threads.extend(reads.spawn().map_err(io("starting a thread"))?);
        let session = session.spawn().map_err(io("starting a thread"))?;
        point.read_ahead();
        Ok(Self { point, session: Some(session), stale, reads, end, threads })
    }

    /// Where the node's [`Action::Invalidate`](crate::node::io::Action::Invalidate) goes.
    pub fn stale(&self) -> StaleSender {
        self.stale.clone()
    }

    /// True when it is no longer mounted: somebody unmounted it from outside.
    pub fn ended(&self) -> bool {
        lock(&self.end.state).ended
    }

    /// Calls `then` once when it is no longer mounted, whoever unmounted it; at once when that has happened. It runs
    /// on a thread of the mount and must not wait.
    pub fn on_end(&self, then: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.end.state);
        if state.ended {
            drop(state);
            then();
        } else {
            state.then.push(Box::new(then));
        }
    }

    /// Unmounts. What still has files open in it gets errors from then on.
    ///
    /// # Errors
    /// When the kernel or fusermount3 refuses, or files are open and nothing lets an ordinary user end that (fusectl is
    /// not mounted on `/sys/fs/fuse/connections`). They are then served until they are closed or this process ends.
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), MountError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        self.reads.let_go();
        if !self.ended() {
            self.point.unmount()?;
        }
        // Something may hold what is unmounted: an open file, or a mount of the same elsewhere.
        if !self.end.wait(GRACE) {
            self.point.abort();
            if !self.end.wait(GRACE) {
                return Err(MountError::Busy(self.point.directory().into()));
            }
        }
        let served = session.join();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the mount panicked");
            }
        }
        served.map_err(|error| MountError::Io("serving requests".into(), error))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::warn!("{error}");
        }
    }
}

/// Whether the mount ended, and whom to tell.
#[derive(Default)]
struct End {
    state: Mutex<EndState>,
    came: Condvar,
}

#[derive(Default)]
struct EndState {
    ended: bool,
    then: Vec<Box<dyn FnOnce() + Send>>,
}

impl End {
    fn come(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        let then = std::mem::take(&mut state.then);
        drop(state);
        self.came.notify_all();
        for then in then {
            then();
        }
    }

    /// False when it does not come in time.
    fn wait(&self, time: Duration) -> bool {
        let going_on = |state: &mut EndState| !state.ended;
        let waited = self.came.wait_timeout_while(lock(&self.state), time, going_on);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("point", &self.point).field("ended", &self.ended()).finish_non_exhaustive()
    }
}

/// What a mutex holds; a thread that panicked leaves nothing half done in this room's.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(body)
}

/// Time that what is unmounted has to end.
const GRACE: Duration = Duration::from_secs(2);

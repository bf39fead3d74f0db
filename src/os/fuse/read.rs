//! Reads of files: what is here at once, what is not after it was fetched.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use fuser::{Errno, ReplyData};

use crate::base::Ticket;
use crate::node::io::{Answer, Inode, Op, OpError, ReadPart, ReadPlan, Reply, Segment};
use crate::seal::ChunkKey;

use super::answer::{disk_error, errno, unexpected};
use super::parked::Parked;
use super::pool::Pool;
use super::{Files, lock, spawn};

/// The reads of one mount.
pub(super) struct Reads {
    files: Arc<dyn Files>,
    parked: Parked<Read>,
    opened: Opened,
    pool: Pool,
}

/// A read that the kernel asks for.
pub(super) struct Read {
    pub(super) inode: Inode,
    pub(super) offset: u64,
    pub(super) length: u32,
    /// The thread that waits; 0 when it cannot be seen from here.
    pub(super) process: u32,
    pub(super) reply: ReplyData,
}

impl Reads {
    pub(super) fn new(files: Arc<dyn Files>) -> Self {
        Self { files, parked: Parked::default(), opened: Opened::default(), pool: Pool::default() }
    }

    /// Starts the threads; they end by [`Reads::close`].
    pub(super) fn spawn(self: &Arc<Self>) -> io::Result<Vec<JoinHandle<()>>> {
        let mut threads = self.pool.spawn()?;
        let me = self.clone();
        threads.push(spawn("fuse-watch", move || me.parked.watch(|read, ticket| me.interrupt(read, ticket)))?);
        Ok(threads)
    }

    /// Threads for what may not be done in a callback.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Interrupts whoever waits; nobody waits any more.
    pub(super) fn let_go(&self) {
        self.parked.close();
    }

    /// Lets all readers go, and ends the threads.
    pub(super) fn close(&self) {
        self.let_go();
        self.pool.close();
    }

    /// Answers a read, at once or when it was fetched.
    pub(super) fn serve(self: &Arc<Self>, read: Read) {
        self.attempt(read, FETCHES);
    }

    fn attempt(self: &Arc<Self>, read: Read, fetches: usize) {
        match BUFFERS.with_borrow_mut(|buffers| self.gather(&read, buffers)) {
            Ok(None) => BUFFERS.with_borrow(|buffers| read.reply.data(&buffers.out)),
            Ok(Some(missing)) => self.fetch(read, missing, fetches),
            // What cannot be read may be damaged here, and whole with friends: that is found out once.
            Err(OpError::Io(_)) if fetches == FETCHES => {
                let op = Op::Doubt { inode: read.inode, offset: read.offset, length: read.length };
                self.ask(read, op, fetches - 1);
            }
            Err(error) => read.reply.error(errno(&error)),
        }
    }

    /// Reads into `buffers.out`, or tells after how many bytes it is missing.
    fn gather(&self, read: &Read, buffers: &mut Buffers) -> Result<Option<usize>, OpError> {
        for _ in 0..ATTEMPTS {
            let freed = self.files.freed();
            let plan = self.files.plan(read.inode, read.offset, read.length)?;
            if let Some(missing) = missing(&plan, read.length as usize) {
                return Ok(Some(missing));
            }
            let filled = self.fill(&plan, read.length as usize, freed, buffers);
            // Otherwise other bytes may have come to lie where the plan says.
            if self.files.freed() == freed {
                return filled.map(|()| None);
            }
        }
        Err(OpError::Busy)
    }

    fn fill(&self, plan: &ReadPlan, length: usize, freed: u64, buffers: &mut Buffers) -> Result<(), OpError> {
        buffers.out.clear();
        for part in &plan.parts {
            let room = length.saturating_sub(buffers.out.len());
            match part {
                ReadPart::Bytes(bytes) => buffers.out.extend_from_slice(&bytes[..bytes.len().min(room)]),
                ReadPart::Zeros(zeros) => buffers.out.resize(buffers.out.len() + room.min(*zeros), 0),
                ReadPart::Chunk { segment, key, skip, take } => {
                    let span = Span { skip: *skip, take: room.min(*take) };
                    self.opened.append(&*self.files, (*segment, freed), key, span, buffers)?;
                }
                ReadPart::Missing => break,
            }
        }
        Ok(())
    }

    fn fetch(self: &Arc<Self>, read: Read, missing: usize, fetches: usize) {
        let Some(left) = fetches.checked_sub(1) else { return read.reply.error(errno(&OpError::TimedOut)) };
        let op =
            Op::Fetch { inode: read.inode, offset: read.offset + missing as u64, length: read.length - missing as u32 };
        self.ask(read, op, left);
    }

    /// Asks the node, and attempts the read anew when that is done.
    fn ask(self: &Arc<Self>, read: Read, op: Op, left: usize) {
        match self.parked.park(read.process, read) {
            Ok(number) => {
                let me = self.clone();
                let ticket = self.files.op(op, Box::new(move |reply| me.fetched(number, reply, left)));
                self.parked.ticket(number, ticket);
            }
            Err(read) => read.reply.error(Errno::ESHUTDOWN),
        }
    }

    fn fetched(self: Arc<Self>, number: u64, reply: Reply, fetches: usize) {
        let Some(read) = self.parked.take(number) else { return };
        match reply {
            Ok(Answer::Done) => {
                let me = self.clone();
                self.pool.run(move || me.attempt(read, fetches));
            }
            Ok(other) => read.reply.error(unexpected(&other)),
            Err(error) => read.reply.error(errno(&error)),
        }
    }

    fn interrupt(&self, read: Read, ticket: Ticket) {
        read.reply.error(Errno::EINTR);
        self.files.cancel(ticket);
    }
}

/// How many bytes come before the missing ones.
fn missing(plan: &ReadPlan, length: usize) -> Option<usize> {
    let mut before = 0_usize;
    for part in &plan.parts {
        before = before.saturating_add(match part {
            ReadPart::Bytes(bytes) => bytes.len(),
            ReadPart::Zeros(zeros) => *zeros,
            ReadPart::Chunk { take, .. } => *take,
            ReadPart::Missing if before < length => return Some(before),
            ReadPart::Missing => 0,
        });
    }
    None
}

/// The chunks that were opened last and not read to their end: a reader's next request begins in one.
#[derive(Default)]
struct Opened(Mutex<VecDeque<OpenedChunk>>);

struct OpenedChunk {
    /// Where it lies, and how often space had been given up by then: later something else may lie there.
    at: (Segment, u64),
    plaintext: Arc<Vec<u8>>,
}

/// A span of a chunk's plaintext.
#[derive(Clone, Copy)]
struct Span {
    skip: usize,
    take: usize,
}

impl Opened {
    fn append(
        &self,
        files: &dyn Files,
        at: (Segment, u64),
        key: &ChunkKey,
        span: Span,
        buffers: &mut Buffers,
    ) -> Result<(), OpError> {
        let found = lock(&self.0).iter().find(|chunk| chunk.at == at).map(|chunk| chunk.plaintext.clone());
        if let Some(plaintext) = found {
            return span.copy(&plaintext, &mut buffers.out);
        }
        files.unseal(at.0, key, &mut buffers.chunk).map_err(disk_error)?;
        span.copy(&buffers.chunk, &mut buffers.out)?;
        if span.skip + span.take < buffers.chunk.len() {
            buffers.chunk = self.keep(at, mem::take(&mut buffers.chunk));
        }
        Ok(())
    }

    /// Keeps a chunk and gives a buffer back that is used again.
    fn keep(&self, at: (Segment, u64), plaintext: Vec<u8>) -> Vec<u8> {
        let mut chunks = lock(&self.0);
        let oldest = if chunks.len() < CHUNKS_KEPT { None } else { chunks.pop_front() };
        chunks.push_back(OpenedChunk { at, plaintext: Arc::new(plaintext) });
        oldest.and_then(|chunk| Arc::into_inner(chunk.plaintext)).unwrap_or_default()
    }
}

impl Span {
    fn copy(self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
        let end = self.skip.checked_add(self.take);
        let span = end.and_then(|end| plaintext.get(self.skip..end));
        out.extend_from_slice(span.ok_or_else(|| OpError::Io("a chunk is shorter than its file says".into()))?);
        Ok(())
    }
}

/// Used again by each read of a thread.
#[derive(Default)]
struct Buffers {
    /// The bytes read.
    out: Vec<u8>,
    /// A chunk being opened.
    chunk: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// Fetches for one read: more than one when what came is gone again, or the file changed.
const FETCHES: usize = 16;
/// Attempts of one read while space is given up all the time.
const ATTEMPTS: usize = 16;
/// Opened chunks kept, 64 KiB each: about as many as there are files being read at once.
const CHUNKS_KEPT: usize = 8;

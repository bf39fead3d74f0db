//! A node whose disk is simulated below redb and the slabs: everything above is what runs on a box.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::error::LedgerError;
use super::super::files::Files;
use super::super::ledger::Ledger;
use super::super::make_durable;
use super::super::slabs::Slabs;
use super::super::store::RedbStore;
use super::super::work::Worker;
use super::volatile::Image;
use crate::base::{Instant, Now, Rng, Snapshot, Table, Ticket, WallTime};
use crate::ledger::keys;
use crate::node::io::{Action, Answer, DiskRequest, Done, Handle, Inode, Input, Op, OpError, ReadPart, Reply};
use crate::node::{Node, NodeConfig, ScrubRate, new_identity};
use crate::seal::{StateKey, Suite};

/// The state directory.
pub(super) const STATE: &str = "/state";

thread_local! {
    /// A fault of ours that the cuts must find: commits do not wait for the slabs' sync.
    pub(super) static HASTY: Cell<bool> = const { Cell::new(false) };
    /// How often redb had to read a whole ledger on this thread.
    pub(super) static REPAIRS: Cell<usize> = const { Cell::new(0) };
}

/// See the module.
pub(super) struct Machine {
    pub(super) node: Node<RedbStore>,
    pub(super) store: RedbStore,
    slabs: Slabs,
    ledger: Arc<Ledger>,
    worker: Worker,
    now: Instant,
    tickets: u64,
    asked: VecDeque<(Ticket, DiskRequest)>,
    replies: BTreeMap<Ticket, Reply>,
}

/// A disk on which nothing is.
pub(super) fn blank() -> Image {
    Image::with_directory(Path::new(STATE))
}

impl Machine {
    /// Starts a node, which is made where there is none.
    pub(super) fn start(files: Arc<dyn Files>, seed: u64) -> Result<Self, String> {
        Self::start_with(files, seed, ScrubRate::Month)
    }

    /// The same, with another scrub.
    pub(super) fn start_with(files: Arc<dyn Files>, seed: u64, scrub: ScrubRate) -> Result<Self, String> {
        let state = Path::new(STATE);
        let ledger = Ledger::open_on(&state.join("ledger.redb"), 1 << 16, Arc::default(), files.clone());
        let ledger = Arc::new(ledger.map_err(|error: LedgerError| error.to_string())?);
        let slabs = Slabs::open_on(&state.join("slabs"), Arc::default(), files).map_err(|error| error.to_string())?;
        let store = RedbStore::new(ledger.clone(), None);
        let key = StateKey::new([9; 32]);
        let known = store.get(Table::Meta, keys::IDENTITY).map_err(|error| error.to_string())?;
        if known.is_none() {
            let identity = new_identity("box", [1; 32], [2; 32], &key, [3; 12]);
            ledger.commit(&identity).map_err(|error| error.to_string())?;
        }
        let now = Instant(0);
        let config = NodeConfig { versions_time: Some(Duration::from_secs(2)), scrub, ..NodeConfig::default() };
        let mut entropy = [0; 32];
        Rng::new(seed).fill(&mut entropy);
        let node = Node::start(Now { instant: now, wall: WallTime(0) }, store.clone(), config, entropy, Some(key));
        let node = node.map_err(|error| error.to_string())?;
        let worker = Worker::new(slabs.clone());
        let (asked, replies) = (VecDeque::new(), BTreeMap::new());
        let mut machine = Self { node, store, slabs, ledger, worker, now, tickets: 0, asked, replies };
        if !machine.node.has_home() {
            machine.node.found_home(Suite::ChaCha20Poly1305, [7; 96]).map_err(|error| error.to_string())?;
        }
        machine.tell(Input::Tick);
        Ok(machine)
    }

    fn tell(&mut self, input: Input) -> Option<Reply> {
        let reply = self.node.handle(Now { instant: self.now, wall: WallTime(self.now.0 as i64) }, input);
        while let Some(action) = self.node.poll_action() {
            match action {
                Action::Disk { ticket, request } => self.asked.push_back((ticket, request)),
                Action::Reply { ticket, reply } => drop(self.replies.insert(ticket, reply)),
                _ => {}
            }
        }
        reply
    }

    /// Does one of the things that wait for the disk; false when nothing does.
    pub(super) fn step(&mut self, rng: &mut Rng) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let at = rng.below(self.asked.len() as u64) as usize;
        let (ticket, request) = self.asked.remove(at).expect("it is one of them");
        let done = match request {
            DiskRequest::Commit { batch, sync } => Done::Committed(match HASTY.get() {
                false => make_durable(&self.ledger, &self.slabs, &batch, &sync),
                true => self.ledger.commit(&batch),
            }),
            request => self.worker.work(request),
        };
        self.tell(Input::Disk { ticket, done });
        true
    }

    /// Does everything that waits for the disk.
    pub(super) fn settle(&mut self, rng: &mut Rng) {
        while self.step(rng) {}
    }

    /// Time passes, with all that is due in it.
    pub(super) fn pass(&mut self, time: Duration, rng: &mut Rng) {
        let end = self.now + time;
        self.settle(rng);
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due) + Duration::from_micros(1);
            self.tell(Input::Tick);
            self.settle(rng);
        }
        self.now = end;
        self.tell(Input::Tick);
        self.settle(rng);
    }

    /// Asks; what came of it is told by [`Machine::reply`].
    pub(super) fn begin(&mut self, op: Op) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        if let Some(reply) = self.tell(Input::Op { ticket, op }) {
            self.replies.insert(ticket, reply);
        }
        ticket
    }

    /// Asks and waits.
    pub(super) fn ask(&mut self, op: Op, rng: &mut Rng) -> Reply {
        let ticket = self.begin(op);
        for _ in 0..100 {
            while !self.replies.contains_key(&ticket) && self.step(rng) {}
            if let Some(reply) = self.replies.remove(&ticket) {
                return reply;
            }
            self.pass(Duration::from_millis(200), rng);
        }
        panic!("an operation is never answered")
    }

    pub(super) fn open(&mut self, name: &str, rng: &mut Rng) -> Result<(Inode, Handle), OpError> {
        match self.node.lookup(Inode::ROOT, name.as_bytes()) {
            Ok(attr) => match self.ask(Op::Open { inode: attr.inode, write: true, truncate: false }, rng)? {
                Answer::Opened(handle) => Ok((attr.inode, handle)),
                answer => panic!("{answer:?}"),
            },
            Err(OpError::NotFound) => {
                let create = Op::Create { parent: Inode::ROOT, name: name.as_bytes().to_vec(), mode: 0o644 };
                match self.ask(create, rng)? {
                    Answer::Created(attr, handle) => Ok((attr.inode, handle)),
                    answer => panic!("{answer:?}"),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// All bytes of a file; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let attr = match self.node.lookup(Inode::ROOT, name.as_bytes()) {
            Err(OpError::NotFound) => return Ok(None),
            found => found.map_err(|error| error.to_string())?,
        };
        let plan = self.node.plan(attr.inode, 0, u32::MAX).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        let mut buffer = Vec::new();
        for part in plan.parts {
            match part {
                ReadPart::Bytes(bytes) => out.extend_from_slice(&bytes),
                ReadPart::Zeros(zeros) => out.resize(out.len() + zeros, 0),
                ReadPart::Chunk { segment, key, skip, take } => {
                    self.slabs.unseal(segment, &key, &mut buffer).map_err(|error| format!("{segment:?}: {error}"))?;
                    out.extend_from_slice(&buffer[skip..skip + take]);
                }
                ReadPart::Missing => return Err("a part of it is missing".into()),
            }
        }
        Ok(Some(out))
    }

    pub(super) fn write(&mut self, handle: Handle, offset: u64, data: Vec<u8>, rng: &mut Rng) -> Result<(), OpError> {
        self.ask(Op::Write { handle, offset: Some(offset), data: Bytes::from(data) }, rng).map(drop)
    }

    /// Bytes of a slab.
    pub(super) fn slab(&self, segment: crate::node::io::Segment) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.slabs.read(segment, &mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

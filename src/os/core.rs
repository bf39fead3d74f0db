//! The node among its threads: one lock around the machine, its actions carried to the disk, the net and the kernel.
//!
//! Actions are handed on while the lock is held, so that frames and commits leave in the order in which the node asked
//! for them; none of it waits. Replies are told after the lock is released, since whoever is told may ask again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Instant as SystemInstant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use tokio::sync::Notify;
#[cfg(feature = "panel")]
use tokio::sync::watch;

use crate::base::{CircleId, InfoHash, Instant, Now, Ticket, WallTime};
use crate::node::Node;
use crate::node::io::{Action, Announced, Announcement, Inode, Input, Op, OpError, Reply, Stale};
#[cfg(any(feature = "lan", feature = "mount"))]
use crate::node::io::{Attr, ReadPart};
use crate::node::status::OwnersDisk;
use crate::os::disk::{Disk, RedbStore, Slabs};
use crate::os::net::{Net, Stock};
use crate::wire::announce::Announce as Asked;

/// Who is told the answer to an operation.
pub type Done = Box<dyn FnOnce(Reply) + Send>;

/// Who says on the LAN what the node has to say.
pub type Announce = Box<dyn Fn(Announcement) + Send + Sync>;

/// The clocks, read for every input.
#[derive(Clone, Copy)]
pub struct Clock(SystemInstant);

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self(SystemInstant::now())
    }

    /// What both clocks show.
    pub fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
        };
        let micros = u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { instant: Instant(micros), wall: WallTime(wall) }
    }
}

/// What the panel asks of the program around the node.
#[cfg(feature = "panel")]
#[derive(Clone, Default)]
pub struct Wishes {
    /// What the LED plays; `None` before the node has told.
    pub light: Option<crate::panel::Light>,
    /// How often all who are signed in to the page, and the password for WebDAV, were to be forgotten.
    pub forget_sessions: u32,
    /// The box is to be turned off.
    pub power_off: bool,
}

/// See the module.
pub struct Core {
    clock: Clock,
    node: RwLock<Node<RedbStore>>,
    disk: Mutex<Option<Disk>>,
    slabs: Slabs,
    net: OnceLock<Net>,
    /// What was asked of the net before it was there: whom to trust, whom to dial.
    early: Mutex<Vec<Action>>,
    stale: OnceLock<Box<dyn Fn(Vec<Stale>) + Send + Sync>>,
    #[cfg(feature = "panel")]
    wishes: watch::Sender<Wishes>,
    lan: OnceLock<Announce>,
    /// What is to be said on the LAN once somebody says it.
    said: Mutex<Announcement>,
    waiting: Mutex<Waiting>,
    /// When the next tick is due, and who is told that it changed.
    due: Mutex<Option<Instant>>,
    due_changed: Notify,
}

/// Attempts of one read while space is given up all the time.
#[cfg(any(feature = "mount", feature = "lan"))]
const ATTEMPTS: usize = 16;

#[derive(Default)]
struct Waiting {
    last: u64,
    done: BTreeMap<Ticket, Done>,
}

/// A thread that panicked while it held a lock has said so; what it guarded is still told the truth by the ledger.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// A node that starts from what `disk` holds. The net and the mount are attached when they are there.
    pub fn new(clock: Clock, node: Node<RedbStore>, disk: Disk) -> Arc<Self> {
        let slabs = disk.slabs();
        Arc::new(Self {
            clock,
            node: RwLock::new(node),
            disk: Mutex::new(Some(disk)),
            slabs,
            net: OnceLock::new(),
            early: Mutex::default(),
            #[cfg(feature = "panel")]
            wishes: watch::Sender::default(),
            stale: OnceLock::new(),
            lan: OnceLock::new(),
            said: Mutex::default(),
            waiting: Mutex::default(),
            due: Mutex::new(None),
            due_changed: Notify::new(),
        })
    }

    /// What both clocks show.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// From now on dials and frames go there. `addresses` is where it listens.
    pub fn attach_net(&self, net: Net, addresses: Vec<SocketAddr>) {
        self.with(|node, now| {
            if self.net.set(net).is_ok() {
                for action in lock(&self.early).drain(..) {
                    self.carry_out(action, &mut Vec::new());
                }
                node.listening(now, addresses);
            }
        });
    }

    /// From now on invalidations go there.
    pub fn attach_kernel(&self, stale: Box<dyn Fn(Vec<Stale>) + Send + Sync>) {
        // A mount that was taken away and made anew keeps the first sender's queue; there is one mount in a run.
        let _ = self.stale.set(stale);
    }

    /// From now on what is to be said on the LAN goes there.
    pub fn attach_lan(&self, announce: Announce) {
        self.with(|_, _| {
            let announce = self.lan.get_or_init(|| announce);
            announce(lock(&self.said).clone());
        });
    }

    /// The addresses that it listens on have changed.
    pub fn listening(&self, addresses: Vec<SocketAddr>) {
        self.with(|node, now| node.listening(now, addresses));
    }

    /// Tells the node how much of the disk is free.
    pub fn look_at_space(&self) {
        let (total, free) = self.slabs.space();
        self.with(|node, now| node.space(now, total, free));
    }

    /// Tells the node which disks of their owner's are here.
    pub fn disks(&self, disks: Vec<OwnersDisk>) {
        self.with(|node, now| node.disks(now, disks));
    }

    /// Tells the node a fact.
    pub fn input(&self, input: Input) {
        self.with(|node, now| {
            let reply = node.handle(now, input);
            debug_assert!(reply.is_none(), "only operations are replied to, and they go through `op`");
        });
    }

    /// Asks the node; `done` is called once, at once or later.
    pub fn op(&self, op: Op, done: Done) -> Ticket {
        let ticket = {
            let mut waiting = lock(&self.waiting);
            waiting.last += 1;
            let ticket = Ticket(waiting.last);
            waiting.done.insert(ticket, done);
            ticket
        };
        let reply = self.with(|node, now| node.handle(now, Input::Op { ticket, op }));
        if let Some(reply) = reply {
            self.answer(ticket, reply);
        }
        ticket
    }

    /// Asks the node and waits for the answer, without holding the thread.
    pub async fn ask(&self, op: Op) -> Reply {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.op(op, Box::new(move |reply| drop(tell.send(reply))));
        told.await.unwrap_or(Err(OpError::Stopping))
    }

    /// What the panel asks for, as it changes.
    #[cfg(feature = "panel")]
    pub fn wishes(&self) -> watch::Receiver<Wishes> {
        self.wishes.subscribe()
    }

    /// Reads by `&self`, beside other readers.
    pub fn read<R>(&self, read: impl FnOnce(&Node<RedbStore>) -> R) -> R {
        read(&self.node.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Somebody other than the kernel changed what stands under this name: the kernel is told.
    pub fn forget_entry(&self, directory: Inode, name: &[u8]) {
        if let Some(send) = self.stale.get() {
            send(vec![Stale::Entry(directory, name.to_vec())]);
        }
    }

    /// The same of an inode's attributes.
    pub fn forget_attributes(&self, inode: Inode) {
        if let Some(send) = self.stale.get() {
            send(vec![Stale::Inode(inode)]);
        }
    }

    /// The slabs, for reading on the caller's thread.
    pub fn slabs(&self) -> &Slabs {
        &self.slabs
    }

    /// Reads a span of a file on this thread; `None` when not all of it is here.
    ///
    /// # Errors
    /// [`OpError::Interrupted`] once the file is no longer the one that `is_still` takes.
    #[cfg(any(feature = "mount", feature = "lan"))]
    pub fn read_here(
        &self,
        inode: Inode,
        offset: u64,
        length: u32,
        is_still: impl Fn(&Attr) -> bool,
    ) -> Result<Option<Bytes>, OpError> {
        let mut chunk = Vec::new();
        for _ in 0..ATTEMPTS {
            let (freed, plan) = self.read(|node| {
                if !is_still(&node.attr(inode)?) {
                    return Err(OpError::Interrupted);
                }
                Ok((node.freed(), node.plan(inode, offset, length)?))
            })?;
            if plan.parts.iter().any(|part| matches!(part, ReadPart::Missing)) {
                return Ok(None);
            }
            let mut out = Vec::with_capacity(length as usize);
            let filled = plan.parts.iter().try_for_each(|part| self.fill(part, &mut chunk, &mut out));
            // Otherwise other bytes may have come to lie where the plan says.
            if self.read(|node| node.freed()) == freed {
                return filled.map(|()| Some(out.into()));
            }
        }
        Err(OpError::Busy)
    }

    #[cfg(any(feature = "mount", feature = "lan"))]
    fn fill(&self, part: &ReadPart, chunk: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), OpError> {
        match part {
            ReadPart::Bytes(bytes) => out.extend_from_slice(bytes),
            ReadPart::Zeros(zeros) => out.resize(out.len() + zeros, 0),
            ReadPart::Chunk { segment, key, skip, take } => {
                self.slabs.unseal(*segment, key, chunk).map_err(|error| {
                    log::error!("a chunk of a file could not be read: {error}");
                    OpError::from(error)
                })?;
                let span = skip.checked_add(*take).and_then(|end| chunk.get(*skip..end));
                out.extend_from_slice(span.ok_or_else(|| OpError::Io("a chunk is shorter than its file says".into()))?);
            }
            ReadPart::Missing => {}
        }
        Ok(())
    }

    /// Ticks the node whenever it is due; ends never.
    pub async fn tick(&self) {
        loop {
            let due = *lock(&self.due);
            let changed = self.due_changed.notified();
            match due {
                None => changed.await,
                Some(due) => {
                    let wait = due.since(self.clock.now().instant);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => self.input(Input::Tick),
                        () = changed => {}
                    }
                }
            }
        }
    }

    /// Ends the disk's threads once everything that was asked of it is done.
    pub fn stop_disk(&self) {
        let disk = lock(&self.disk).take();
        if let Some(disk) = disk {
            disk.stop();
        }
    }

    /// Runs `turn` under the lock, then carries out what the node asks.
    fn with<R>(&self, turn: impl FnOnce(&mut Node<RedbStore>, Now) -> R) -> R {
        let mut replies = Vec::new();
        let result = {
            let mut node = self.node.write().unwrap_or_else(PoisonError::into_inner);
            let result = turn(&mut node, self.clock.now());
            while let Some(action) = node.poll_action() {
                self.carry_out(action, &mut replies);
            }
            self.arm(node.poll_timeout());
            result
        };
        for (ticket, reply) in replies {
            self.answer(ticket, reply);
        }
        result
    }

    fn carry_out(&self, action: Action, replies: &mut Vec<(Ticket, Reply)>) {
        match action {
            Action::Disk { ticket, request } => {
                if let Some(disk) = &*lock(&self.disk) {
                    disk.submit(ticket, request);
                }
            }
            Action::Reply { ticket, reply } => replies.push((ticket, reply)),
            Action::Announce(said) => match self.lan.get() {
                Some(announce) => announce(said),
                None => *lock(&self.said) = said,
            },
            Action::Invalidate(stale) => {
                if let Some(send) = self.stale.get() {
                    send(stale);
                }
            }
            #[cfg(feature = "panel")]
            Action::Show(light) => self.wishes.send_modify(|wishes| wishes.light = Some(*light)),
            #[cfg(feature = "panel")]
            Action::ForgetSessions => self.wishes.send_modify(|wishes| wishes.forget_sessions += 1),
            #[cfg(feature = "panel")]
            Action::PowerOff => self.wishes.send_modify(|wishes| wishes.power_off = true),
            action => match (self.net.get(), action) {
                (None, action) => lock(&self.early).push(action),
                (Some(net), Action::Dial { ticket, address, protocol, expect }) => {
                    net.dial(ticket, address, protocol, expect);
                }
                (Some(net), Action::DialSheet { ticket, address, key }) => net.dial_sheet(ticket, address, key),
                (Some(net), Action::Send { conn, channel, head, body }) => net.send(conn, channel, head, body),
                (Some(net), Action::Close { conn, why }) => net.close(conn, why),
                (Some(net), Action::Trust(trust)) => net.trust(trust),
                // Carried out above.
                (Some(_), Action::Disk { .. } | Action::Reply { .. } | Action::Invalidate(_) | Action::Announce(_)) => {
                }
                #[cfg(feature = "panel")]
                (Some(_), Action::Show(_) | Action::ForgetSessions | Action::PowerOff) => {}
            },
        }
    }

    fn answer(&self, ticket: Ticket, reply: Reply) {
        let done = lock(&self.waiting).done.remove(&ticket);
        match done {
            Some(done) => done(reply),
            None => log::error!("an operation was answered twice: {ticket:?}"),
        }
    }

    fn arm(&self, timeout: Option<Instant>) {
        let mut due = lock(&self.due);
        match (*due, timeout) {
            // What came to be due later is ticked once too early, which costs less than to move the alarm with each input.
            (Some(old), Some(new)) if old <= new && old > self.clock.now().instant => {}
            (Some(old), Some(new)) if old <= new => *due = Some(new),
            (_, None) => *due = None,
            (_, Some(new)) => {
                *due = Some(new);
                self.due_changed.notify_one();
            }
        }
    }
}

impl Stock for Core {
    fn circle_of(&self, info_hash: &InfoHash) -> Option<CircleId> {
        self.read(|node| node.circle_of_torrent(info_hash))
    }

    fn tracker(&self, host: Result<&str, IpAddr>, from: IpAddr) -> Option<(CircleId, Bytes)> {
        self.with(|node, _| node.tracker(host, from))
    }

    fn announce(&self, asked: &Announced, announce: &Asked) -> Result<(Vec<SocketAddr>, u64), String> {
        self.with(|node, now| node.announced(now, asked, announce))
    }
}

//! The composed machine: circles, trees, vault and swarm as one `handle` and one queue of actions.
//!
//! `handle(now, input)` returns the reply to that input's ticket when it is known at once; then `poll_action` is drained
//! until it is empty, then `poll_timeout` is read. Reads of names, attributes and local data go by `&self`
//! ([`read`]). Nothing here waits, and every queue has a limit at which the answer is 'full'.

pub mod io;
pub mod status;

mod alike;
mod author;
mod care;
mod chains;
mod circle;
mod cut;
mod done;
mod draft;
mod entries;
mod epochs;
mod exchange;
mod files;
mod fork;
mod freeing;
#[cfg(feature = "panel")]
mod front;
mod handles;
mod history;
mod identity;
mod invite;
mod keeping;
mod layout;
mod layouts;
mod leave;
mod mass;
mod mirror;
mod moved;
mod op;
mod pairing;
mod patches;
mod peers;
mod pins;
mod publish;
mod question;
mod quick;
mod quota;
mod read;
mod reclaim;
mod recovery;
mod safety;
mod scrub;
mod space;
mod stock;
mod stopping;
mod summary;
mod sync;
mod telling;
mod unnamed;
mod vault;
mod view;
mod waiting;
mod writing;
mod xattr;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use core::net::SocketAddr;
use sha2::{Digest, Sha256};

use self::care::Care;
use self::circle::Circle;
use self::files::Files;
pub use self::freeing::{Freed, Stay};
use self::identity::Me;
pub use self::identity::{StartError, new_identity};
use self::io::{
    Action, Answer, DiskError, DiskRequest, Input, Op, OpError, Reply, Segment, Stale, Trust, TrustedCircle,
};
use self::peers::Peers;
pub use self::pins::{Presence, RESERVED};
pub use self::recovery::PrintedSheet;
pub use self::scrub::ScrubRate;
use self::vault::Vault;
use crate::base::{CircleId, ConnId, InfoHash, Instant, Now, ObjectId, Rng, Snapshot, Ticket, TransportKey};
use crate::keep::Retention;
use crate::keep::pledges::Message;
use crate::ledger::Ledger;
use crate::pair::{Button, Inviter};
use crate::roster::address::AddressBook;
use crate::roster::dial::DialPlan;
use crate::seal::StateKey;
use crate::swarm::Swarm;
use crate::wire::record::Dot;

/// What a member fetches by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fetch {
    /// Every body, as it appears.
    #[default]
    Everything,
    /// What is read.
    OnDemand,
}

/// How a node behaves.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// What to fetch unasked.
    pub fetch: Fetch,
    /// What whoever started the node found wrong, in words: shown as a fault of the disk.
    pub problem: Option<String>,
    /// Bytes that are kept for circles in which this node is a cache, where `None` leaves it to the disk, and of the files
    /// of the others, where `None` sets no limit.
    pub quota: Option<u64>,
    /// How many others have to hold a body whole before this node lets it go; `None` means
    /// [`COPIES`](crate::keep::pledges::COPIES).
    pub copies: Option<usize>,
    /// How long older versions are kept, in powered-on time; `None` means [`KEEP_TIME`](crate::keep::KEEP_TIME).
    pub versions_time: Option<Duration>,
    /// Bytes that they may take; `None` means a tenth of the disk.
    pub versions_room: Option<u64>,
    /// How fast everything that is here is hashed by and by.
    pub scrub: ScrubRate,
    /// Bytes of memory that small writes to large files may take before they are sealed; `None` means
    /// [`PATCHES_MEMORY`](crate::base::limits::PATCHES_MEMORY).
    pub patches_memory: Option<usize>,
}

/// The node. `S` is what is durable: redb in a running node, memory in the simulator.
pub struct Node<S> {
    config: NodeConfig,
    now: Now,
    rng: Rng,
    /// Entropy of this start and a counter, from which object ids and statement nonces are made.
    fresh: ([u8; 32], u64),
    ledger: Ledger<S>,
    me: Me,
    circles: BTreeMap<CircleId, Circle>,
    vault: Vault,
    swarm: Swarm,
    peers: Peers,
    dials: DialPlan,
    /// What went over connections that ended, by device.
    past: BTreeMap<TransportKey, peers::Past>,
    book: AddressBook,
    inviter: Inviter,
    invites: invite::Invites,
    recovery: Option<recovery::Recovery>,
    pairing: pairing::Pairing,
    stock: stock::Stock,
    files: Files,
    freeing: freeing::Freeing,
    pins: pins::Pins,
    quota: quota::Quota,
    safety: safety::Safety,
    actions: VecDeque<Action>,
    next_ticket: u64,
    asked: BTreeMap<Ticket, Asked>,
    /// What happens when the batch that is gathering, and the one that is flying, are durable.
    effects: Vec<Effect>,
    flying_effects: Vec<Effect>,
    /// Space to be given back once all that was asked of the disk up to a ticket is answered.
    punches: VecDeque<(Ticket, Vec<Segment>)>,
    /// When the gathering batch goes to the disk at the latest.
    flush_at: Option<Instant>,
    /// Somebody waits for the gathering batch.
    awaited: bool,
    /// When a batch last went out, and how long after it the next gathers.
    flushed: Instant,
    gather_time: Duration,
    /// Why the disk could not, until it can again.
    trouble: Option<DiskError>,
    disks: Vec<status::OwnersDisk>,
    stopping: Option<Ticket>,
    /// Until what is durable was read.
    starting: bool,
    question: question::Question,
    #[cfg(feature = "panel")]
    panel: crate::panel::Panel,
    /// Pairing ended without a friend, and the LED has said so.
    #[cfg(feature = "panel")]
    pairing_over: bool,
    listening: Vec<SocketAddr>,
    /// When torrents that the disk failed on are tried again.
    retry_starved_at: Option<Instant>,
    uptime: keeping::Uptime,
    care: Care,
    /// The date at the start: the time of roots, which have no record.
    started: crate::base::WallTime,
}

/// What a disk request was for.
enum Asked {
    Commit,
    Upload(Ticket),
    Piece(InfoHash, crate::base::PieceIndex),
    Chunk(files::DraftKey, u32, u64),
    Fold(files::DraftKey, u32, u64, draft::Placed),
    Fill(files::DraftKey, u32),
    Hash(files::DraftKey, u64),
    Compare(files::DraftKey, u64, u64),
    Anew(InfoHash, u64),
    Punch,
    Measure,
    Verify(Box<care::Doubted>),
}

/// What waits for a batch to be durable.
enum Effect {
    Reply(Ticket, Reply),
    Stopped(Ticket),
    Push(CircleId, Dot),
    Announce(CircleId),
    Whole(InfoHash),
    Punch(Vec<Segment>),
    Frame(ConnId, Bytes),
    Paired(String),
    /// A pledge is to be told.
    Pledged(CircleId, Message),
    /// A body went, and these are to be told.
    LetGo(CircleId, Vec<Message>),
}

impl Effect {
    /// True where somebody does nothing else until it happens.
    fn is_awaited(&self) -> bool {
        matches!(self, Self::Reply(..) | Self::Stopped(_) | Self::Frame(..) | Self::Paired(_))
    }
}

/// The batch waits this long for more when nobody waits for it.
const FLUSH_TIME: Duration = Duration::from_secs(1);
/// Where one save follows the other, what was published since is committed together, and sent, so often at most.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// It gathers for so many times as long as the commit before took: where each of them makes a slow disk wait for its
/// platter or its flash, the disk is left to those who write for most of the time.
const GATHER_TIMES: u32 = 4;
/// Whoever joins, and whoever invited, has so long for it: a connection that says nothing is not kept.
const JOIN_TIME: Duration = Duration::from_secs(20);
/// After a commit failed it is tried again this much later.
const RETRY_TIME: Duration = Duration::from_secs(5);

impl<S: Snapshot> Node<S> {
    /// Reads what is durable and starts from it. `entropy` is 32 bytes of the operating system's, fresh for each start.
    /// Without the state key the node is locked: it keeps and serves ciphertext, and can read and sign nothing.
    pub fn start(
        now: Now,
        store: S,
        config: NodeConfig,
        entropy: [u8; 32],
        state: Option<StateKey>,
    ) -> Result<Self, StartError> {
        let me = Me::load(&store, state)?;
        let button = Button::new(me.device.clone());
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest([&entropy[..], b"decisions"].concat())[..8]);
        let seed = u64::from_be_bytes(first);
        let freeing = freeing::Freeing::new(config.copies);
        let quota = quota::Quota::new(config.quota);
        let vault = Vault::new(config.quota, Retention::new(config.versions_time, config.versions_room));
        let mut node = Self {
            config,
            now,
            rng: Rng::new(seed),
            fresh: (entropy, 0),
            ledger: Ledger::new(store),
            me,
            circles: BTreeMap::new(),
            vault,
            swarm: Swarm::new(seed),
            peers: Peers::default(),
            dials: DialPlan::default(),
            past: BTreeMap::new(),
            book: AddressBook::default(),
            inviter: Inviter::default(),
            invites: invite::Invites::default(),
            recovery: None,
            pairing: pairing::Pairing::new(button),
            stock: stock::Stock::default(),
            files: Files::default(),
            freeing,
            pins: pins::Pins::default(),
            quota,
            safety: safety::Safety::default(),
            actions: VecDeque::new(),
            next_ticket: 1,
            asked: BTreeMap::new(),
            effects: Vec::new(),
            flying_effects: Vec::new(),
            punches: VecDeque::new(),
            flush_at: None,
            flushed: Instant(0),
            gather_time: GATHER_TIME,
            awaited: false,
            trouble: None,
            disks: Vec::new(),
            stopping: None,
            starting: true,
            question: question::Question::default(),
            #[cfg(feature = "panel")]
            panel: crate::panel::Panel::new(),
            #[cfg(feature = "panel")]
            pairing_over: false,
            listening: Vec::new(),
            retry_starved_at: None,
            uptime: keeping::Uptime::default(),
            care: Care::default(),
            started: now.wall,
        };
        node.load()?;
        Ok(node)
    }

    /// Tells a fact. Returns the reply to an operation that is answered at once.
    pub fn handle(&mut self, now: Now, input: Input) -> Option<Reply> {
        self.now = now;
        let reply = match input {
            Input::Tick => None,
            #[cfg(feature = "panel")]
            Input::Panel(input) => {
                let _ = self.panel_input(input);
                None
            }
            Input::Connected(connected) => {
                self.connected(connected);
                None
            }
            Input::DialFailed { ticket, why } => {
                self.dial_failed(ticket, &why);
                None
            }
            Input::Frame { conn, channel, payload } => {
                self.frame(conn, channel, payload);
                None
            }
            Input::Sent { conn, bytes } => {
                self.sent(conn, bytes);
                None
            }
            Input::Closed { conn, why } => {
                self.closed(conn, &why);
                None
            }
            Input::Heard { said, address } => {
                self.heard(said, address);
                None
            }
            Input::Disk { ticket, done } => {
                self.disk_done(ticket, done);
                None
            }
            Input::Op { ticket, op } => self.op(ticket, op),
            Input::Cancel { ticket } => {
                self.cancel(ticket);
                None
            }
        };
        self.settle();
        reply
    }

    /// The next action; called until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `Input::Tick` is wanted at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.flush_at.filter(|_| !self.ledger.is_flying()),
            self.swarm.timeout(),
            // Nobody is dialled while the node stops: what is due then must not be waited for.
            self.dials.timeout().filter(|_| self.stopping.is_none()),
            self.files_timeout(),
            self.sync_timeout(),
            self.mirror_timeout(),
            self.keep_timeout(),
            self.scrub_timeout(),
            self.freeing_timeout(),
            self.pins_timeout(),
            self.quota_timeout(),
            self.safety_timeout(),
            self.inviter.poll_timeout(self.now.instant),
            self.question.poll_timeout(),
            #[cfg(feature = "panel")]
            self.front_timeout(),
            #[cfg(not(feature = "panel"))]
            None,
            self.pairing.poll_timeout(),
            self.stock_timeout(),
            self.peers.joining().map(|(_, since)| since + JOIN_TIME).min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// True when the owner's own circle is there.
    pub fn has_home(&self) -> bool {
        self.circles.values().any(|circle| circle.home)
    }

    /// The directory of the owner's own circle in the root of the tree; empty where the root is that circle.
    pub fn home_name(&self) -> Option<String> {
        let home = self.circles.values().find(|circle| circle.home)?;
        Some(if self.may_change(io::Inode::ROOT).is_ok() { String::new() } else { self.shown_name(home) })
    }

    /// True while the node has no state key: it waits for its passphrase.
    pub fn is_locked(&self) -> bool {
        self.me.secrets.is_none()
    }

    /// The seed of the TLS key, for the listener.
    pub fn transport_seed(&self) -> [u8; 32] {
        *self.me.transport.seed()
    }

    /// How often space of the vault was given up.
    pub fn freed(&self) -> u64 {
        self.vault.freed
    }

    /// The addresses at which this node really listens, told by `os` once it does and when they change.
    pub fn listening(&mut self, now: Now, addresses: Vec<SocketAddr>) {
        self.now = now;
        self.listening = addresses;
        self.tell_own_address();
        self.announce();
        self.settle();
    }

    /// Does what follows from what happened: everything that is due, until nothing is.
    fn settle(&mut self) {
        self.publish_due();
        self.sync_due();
        self.pins_due();
        self.swarm.handle_timeout(self.now.instant);
        self.feed_swarm();
        self.drain_swarm();
        self.keep_due();
        self.care_due();
        self.quota_due();
        self.freeing_due();
        self.safety_due();
        #[cfg(feature = "panel")]
        self.gestures_due();
        self.pairing_due();
        self.dial_due();
        self.stock_due();
        self.invites_due();
        self.sign_in_due();
        #[cfg(feature = "panel")]
        self.front_due();
        self.flush();
    }

    /// Sends the gathering batch to the disk when it is due and the disk is free.
    fn flush(&mut self) {
        if self.ledger.is_flying() {
            return;
        }
        let due = self.flush_at.is_some_and(|at| at <= self.now.instant);
        let awaited = self.trouble.is_none() && self.awaited;
        let gathers = self.trouble.is_none() && (!self.effects.is_empty() || self.has_open_commit());
        let paced = self.flushed + self.gather_time;
        if !(due || awaited || gathers && paced <= self.now.instant) {
            if gathers {
                self.flush_at = Some(self.flush_at.map_or(paced, |at| at.min(paced)));
            }
            return;
        }
        self.flushed = self.now.instant;
        self.awaited = false;
        self.close_commits();
        self.store_partials();
        self.uptime_with_batch();
        self.flush_at = None;
        match self.ledger.begin() {
            Some((batch, sync)) => {
                self.flying_effects = std::mem::take(&mut self.effects);
                self.ask(Asked::Commit, DiskRequest::Commit { batch, sync });
            }
            None => {
                for effect in std::mem::take(&mut self.effects) {
                    self.take_effect(effect);
                }
            }
        }
    }

    /// The gathering batch goes out within [`FLUSH_TIME`].
    fn flush_soon(&mut self) {
        self.flush_at.get_or_insert(self.now.instant + FLUSH_TIME);
    }

    /// `effect` happens when everything written so far is durable.
    fn when_durable(&mut self, effect: Effect) {
        if !self.ledger.is_dirty() && !self.has_open_commit() && !self.ledger.is_flying() {
            self.take_effect(effect);
        } else {
            self.after_commit(effect);
        }
    }

    /// `effect` happens when the gathering batch is durable, which goes out at once where somebody waits for it.
    fn after_commit(&mut self, effect: Effect) {
        self.awaited |= effect.is_awaited();
        self.effects.push(effect);
    }

    fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Reply(ticket, reply) => self.reply(ticket, reply),
            Effect::Stopped(ticket) => self.stopped(ticket, None),
            Effect::Push(circle, dot) => self.push(&circle, &dot),
            Effect::Announce(circle) => self.announce_later(&circle),
            Effect::Whole(info_hash) => {
                self.quota_soon();
                self.safety_soon();
                self.tell_changed(&info_hash);
            }
            Effect::Punch(segments) => {
                self.punches.push_back((Ticket(self.next_ticket), segments));
                self.punch_due();
            }
            Effect::Frame(conn, payload) => self.send(conn, 0, payload, Bytes::new()),
            Effect::Paired(circle) => self.paired(circle),
            Effect::Pledged(circle, told) => self.pledged(&circle, told),
            Effect::LetGo(circle, told) => self.tell_all(&circle, told),
        }
    }

    fn ask(&mut self, asked: Asked, request: DiskRequest) {
        let ticket = self.ticket();
        self.asked.insert(ticket, asked);
        self.actions.push_back(Action::Disk { ticket, request });
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.actions.push_back(Action::Reply { ticket, reply });
    }

    fn send(&mut self, conn: ConnId, channel: u32, head: Bytes, body: Bytes) {
        if !self.peers.queue(conn, head.len() + body.len()) {
            return;
        }
        if head.len() + body.len() > crate::base::limits::FRAME_MAX {
            return self.close(conn, "what is to be sent is over a frame's limit".into());
        }
        if channel == 0 {
            self.swarm.charge(conn, head.len() + body.len());
        }
        self.actions.push_back(Action::Send { conn, channel, head, body });
    }

    /// 32 bytes that nobody else has drawn: a hash of this start's entropy and a counter.
    fn fresh(&mut self) -> [u8; 32] {
        self.fresh.1 += 1;
        Sha256::new().chain_update(self.fresh.0).chain_update(self.fresh.1.to_be_bytes()).finalize().into()
    }

    fn fresh_object(&mut self) -> ObjectId {
        loop {
            let mut id = [0; 16];
            id.copy_from_slice(&self.fresh()[..16]);
            let id = ObjectId(id);
            // Inode 0 is none, and 1 is the root of the mount.
            if id.inode() > 1 {
                return id;
            }
        }
    }

    fn fresh_nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&self.fresh()[16..]);
        nonce
    }

    fn stale(&mut self, stale: Vec<Stale>) {
        if !stale.is_empty() {
            self.actions.push_back(Action::Invalidate(stale));
        }
    }

    /// Tells the listener and the diallers whom to trust; called whenever a roster or a circle changed.
    fn tell_trust(&mut self) {
        let circles = self
            .circles
            .values()
            .filter(|circle| circle.role().is_some())
            .map(|circle| TrustedCircle {
                circle: circle.id,
                server_name: crate::cert::server_name(&circle.id),
                root: circle.root_der.clone(),
                leaf: circle.leaf.clone(),
                allowed: circle.roster.allowed_transports(),
                removed: &circle.roster.removed_transports() | &circle.roster.sheet_transports(),
                guests: circle.roster.guest_transports(),
            })
            .collect();
        let invites = self.inviter.any_open(self.now.instant);
        self.invites.told_open = invites;
        let pairing = self.pairing.told_listening();
        let sheets = self.sheets();
        self.actions.push_back(Action::Trust(Trust { circles, invites, pairing, sheets }));
        self.announce();
    }

    fn op(&mut self, ticket: Ticket, op: Op) -> Option<Reply> {
        if self.stopping.is_some() && !matches!(op, Op::Shutdown | Op::Flush { .. } | Op::Release { .. }) {
            return Some(Err(OpError::Stopping));
        }
        let is_for_locked = match &op {
            Op::Shutdown | Op::SignIn { .. } | Op::Leave { .. } | Op::Check { .. } => true,
            #[cfg(feature = "panel")]
            Op::Panel(_) => true,
            _ => false,
        };
        if self.is_locked() && !is_for_locked {
            return Some(Err(OpError::Locked));
        }
        match op {
            Op::Shutdown => self.shutdown(ticket),
            Op::Check { full } => Some(self.begin_check(full)),
            Op::SignIn { code } => {
                let other = self.pairing_pending().then_some("pairing");
                self.sign_in(ticket, code, other)
            }
            #[cfg(feature = "panel")]
            Op::Panel(input) => Some(self.panel_input(input)),
            Op::Found { name, entropy } => Some(self.found_for_friends(&name, entropy).map(Answer::Circle)),
            Op::Invite { circle, role, time, entropy } => Some(self.invite(circle, role, time, entropy)),
            Op::Join { invite, entropy } => self.join(ticket, &invite, entropy),
            Op::PrintSheet { secret } => self.print_sheet(ticket, secret),
            Op::SheetWritten => self.sheet_written(ticket),
            Op::Recover { sheet, at } => self.recover(ticket, &sheet, at),
            Op::Guest { circle, name, key } => self.guest(ticket, circle, &name, key),
            Op::Leave { circle } => self.leave(ticket, circle.as_deref()),
            Op::Remove { circle, member, entropy } => self.remove_member(ticket, circle, &member, entropy),
            Op::Press { entropy } => Some(self.pair_press(entropy)),
            Op::Confirm { entropy } => Some(self.pair_confirm(entropy)),
            file => self.file_op(ticket, file),
        }
    }
}

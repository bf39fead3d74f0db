//! The world of one seed: machines, the queue of events, virtual time, the trace, and what must hold at every step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use core::net::SocketAddr;
use dustfs::base::{ConnId, InfoHash, Instant, Now, Rng, Ticket, TransportKey, WallTime};
use dustfs::node::io::{Action, Announcement, DiskRequest, Inode, Input, Op, Protocol, Reply, Said, Trust};
use dustfs::node::{Fetch, Node, NodeConfig, new_identity};
use dustfs::seal::{MemberSecret, StateKey, Suite, TransportSecret};
use dustfs::wire::control::Control;
use dustfs::wire::statement::Role;

use super::chaos::Chaos;
use super::disk::{Backup, Disk, Store};
use super::model::Model;
use super::net::{Link, Wire};
use super::work::Task;

/// What will happen.
pub enum Event {
    Tick {
        machine: usize,
        run: u32,
    },
    DiskDone {
        machine: usize,
        run: u32,
        ticket: Ticket,
    },
    Dialled {
        from: usize,
        run: u32,
        ticket: Ticket,
        to: SocketAddr,
        protocol: Protocol,
        expect: TransportKey,
        reached: bool,
    },
    DialledSheet {
        from: usize,
        run: u32,
        ticket: Ticket,
        to: SocketAddr,
        key: TransportKey,
    },
    Sent {
        link: u64,
        side: usize,
        bytes: usize,
    },
    Arrive {
        link: u64,
        side: usize,
        channel: u32,
        payload: Bytes,
    },
    Gone {
        link: u64,
        side: usize,
        why: String,
    },
    Unlock {
        machine: usize,
    },
    /// The thread that asked goes on with the answer.
    Answered {
        task: u64,
        reply: Reply,
    },
    /// A task that rested goes on.
    Resume {
        task: u64,
    },
    Start {
        machine: usize,
    },
    /// The world does something to somebody.
    Chaos,
    /// Somebody starts to work.
    Work,
    /// Somebody works on this machine.
    WorkOn {
        machine: usize,
    },
    /// A machine's disk is copied, or the copy is put back.
    SetBack {
        machine: usize,
    },
    /// A machine that was alone is among the others again.
    Rejoin {
        machine: usize,
    },
    /// What is said on the LAN is heard.
    Beacons,
    Heard {
        machine: usize,
        run: u32,
        said: Said,
        address: SocketAddr,
    },
}

/// A machine: its disk, and its node while it runs.
pub struct Machine {
    pub name: String,
    pub disk: Disk,
    pub node: Option<Node<Store>>,
    pub config: NodeConfig,
    /// How often it was started.
    pub run: u32,
    /// Virtual time of its last start: its own clock begins there.
    booted: u64,
    /// What it takes the date for at virtual time 0.
    wall_offset: i64,
    pub transport: TransportKey,
    pub member: MemberSecret,
    pub state: StateKey,
    /// Its next start is one without the state key.
    pub locked: bool,
    pub address: SocketAddr,
    pub trust: Trust,
    pub said: Announcement,
    pub conns: BTreeMap<ConnId, (u64, usize)>,
    last_conn: u64,
    /// When the tick that is in the queue comes.
    tick_at: Option<u64>,
    commit_free_at: u64,
    /// Operations that wait for their answer: who asked, and since when.
    pub asked: BTreeMap<Ticket, (u64, u64)>,
    last_ticket: u64,
    /// Requests of the node that wait, and the highest ticket that it drew.
    waiting: BTreeMap<Ticket, &'static str>,
    highest: u64,
    /// Steps in the current virtual second.
    steps: (u64, u64),
    /// The role by which it joined; `None` until it did.
    pub role: Option<Role>,
    pub removed: bool,
    /// A copy of its disk, and whether it was put back: it only watches from then on until all is well.
    pub backup: Option<Backup>,
    pub restored: bool,
    /// As a cache: whom it was last connected to when, and what it told that it holds whole.
    pub met: BTreeMap<usize, u64>,
    pub told_whole: BTreeSet<InfoHash>,
    /// It tells lies on the wire.
    pub liar: bool,
    /// Its disk is slow by so much.
    pub slow: u64,
}

impl Machine {
    pub fn next_conn(&mut self) -> ConnId {
        self.last_conn += 1;
        ConnId(self.last_conn)
    }
}

/// See the module.
pub struct World {
    pub seed: u64,
    pub rng: Rng,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pushed: u64,
    pub machines: Vec<Machine>,
    pub links: BTreeMap<u64, Link>,
    pub next_link: u64,
    pub addresses: BTreeMap<SocketAddr, usize>,
    pub wires: BTreeMap<(usize, usize), Wire>,
    /// Machines of one number reach each other.
    pub groups: Vec<u32>,
    /// Things go wrong.
    pub chaos: bool,
    pub tasks: BTreeMap<u64, Task>,
    pub next_task: u64,
    pub model: Model,
    pub hash: blake3::Hasher,
    pub lines: VecDeque<String>,
    pub print: bool,
    pub record: bool,
    /// Counts what happened, for people.
    pub counts: BTreeMap<String, u64>,
    pub work_left: u32,
    pub chaos_state: Chaos,
    /// Machines let older versions go while the world runs.
    pub lets_go: bool,
}

/// Steps of one machine in one virtual second, above which it is held to run in circles.
const STEPS_MAX: u64 = 60_000;
/// An operation is answered in this time, or the node has forgotten it.
const ANSWER_US: u64 = 200_000_000;
/// How long a date that cannot be trusted goes on.
const LEAP_US: u64 = 3_000_000;
const YEAR_2040_S: u64 = 2_208_988_800;
/// Requests of one node that may wait for its disk.
const DISK_LOAD: usize = 4_096;

impl World {
    pub fn new(seed: u64, record: bool, print: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x6475_7374_6673);
        Self {
            seed,
            lets_go: rng.chance(1, 2),
            rng,
            now: 0,
            queue: BTreeMap::new(),
            pushed: 0,
            machines: Vec::new(),
            links: BTreeMap::new(),
            next_link: 1,
            addresses: BTreeMap::new(),
            wires: BTreeMap::new(),
            groups: Vec::new(),
            chaos: false,
            tasks: BTreeMap::new(),
            next_task: 1,
            model: Model::default(),
            hash: blake3::Hasher::new(),
            lines: VecDeque::new(),
            print,
            record,
            counts: BTreeMap::new(),
            work_left: 0,
            chaos_state: Chaos::default(),
        }
    }

    /// A machine with a fresh identity.
    pub fn add_machine(&mut self, name: &str, home: bool) -> usize {
        self.add_machine_with(name, home, None)
    }

    /// One that keeps so many bytes as a cache.
    pub fn add_machine_with(&mut self, name: &str, home: bool, quota: Option<u64>) -> usize {
        let at = self.machines.len();
        let (member, transport) = (self.bytes32(), self.bytes32());
        let disk = Disk::default();
        let state = StateKey::new(self.bytes32());
        disk.store.apply(&new_identity(name, member, transport, &state, [0; 12]));
        let address = SocketAddr::from(([10, 0, 0, at as u8 + 1], 7_000));
        self.addresses.insert(address, at);
        let fetch = if self.rng.chance(1, 4) { Fetch::OnDemand } else { Fetch::Everything };
        let (lets_go, rng) = (self.lets_go, &mut self.rng);
        let versions_time = (lets_go && rng.chance(2, 3)).then(|| Duration::from_secs(1 + rng.below(12)));
        let versions_room = (lets_go && rng.chance(1, 3)).then(|| rng.below(600_000));
        let wall_offset = if self.rng.chance(1, 4) { 0 } else { 1_700_000_000 + self.rng.below(1_000_000) as i64 };
        self.machines.push(Machine {
            name: name.into(),
            disk,
            node: None,
            config: NodeConfig {
                fetch,
                quota,
                versions_time,
                versions_room,
                patches_memory: Some(20_000),
                ..NodeConfig::default()
            },
            run: 0,
            booted: 0,
            wall_offset: wall_offset * 1_000_000_000,
            transport: TransportSecret::from_seed(transport).public(),
            member: MemberSecret::from_seed(member),
            state,
            locked: false,
            address,
            trust: Trust::default(),
            said: Announcement::default(),
            conns: BTreeMap::new(),
            last_conn: 0,
            tick_at: None,
            commit_free_at: 0,
            asked: BTreeMap::new(),
            last_ticket: 0,
            waiting: BTreeMap::new(),
            highest: 0,
            steps: (0, 0),
            role: None,
            removed: false,
            backup: None,
            restored: false,
            met: BTreeMap::new(),
            told_whole: BTreeSet::new(),
            liar: false,
            slow: 1,
        });
        self.groups.push(0);
        self.start(at);
        if home {
            let entropy = self.bytes96();
            let suite = if self.rng.chance(1, 2) { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 };
            let node = self.machines[at].node.as_mut().expect("it was started");
            node.found_home(suite, entropy).expect("a first circle can be founded");
            self.deliver(at, Input::Tick);
        }
        at
    }

    /// Starts a machine's node from what is durable.
    pub fn start(&mut self, at: usize) {
        if self.machines[at].node.is_some() {
            return;
        }
        let entropy = self.bytes32();
        let machine = &mut self.machines[at];
        machine.run += 1;
        machine.booted = self.now;
        machine.tick_at = None;
        machine.trust = Trust::default();
        machine.said = Announcement::default();
        machine.highest = 0;
        let now = self.clock(at);
        self.note(at, "start", &[], String::new);
        let machine = &mut self.machines[at];
        let state = Some(machine.state.clone()).filter(|_| !machine.locked);
        let started = Node::start(now, machine.disk.store.clone(), machine.config.clone(), entropy, state);
        match started {
            Ok(node) => machine.node = Some(node),
            Err(error) => self.broken(&format!("{} does not start: {error}", self.machines[at].name)),
        }
        self.move_house(at);
        if !self.machines[at].locked {
            self.look_if_joined(at);
            self.check_durable(at);
        }
        let (now, address) = (self.clock(at), self.machines[at].address);
        if let Some(node) = self.machines[at].node.as_mut() {
            node.listening(now, vec![address]);
        }
        self.deliver(at, Input::Tick);
    }

    /// Now and then a machine comes back under another address. The first one stays where it is, to be found.
    fn move_house(&mut self, at: usize) {
        if at == 0 || !self.unlucky(4) {
            return;
        }
        let port = 7_001 + self.rng.below(1_000) as u16;
        let machine = &mut self.machines[at];
        self.addresses.remove(&machine.address);
        machine.address.set_port(port);
        self.addresses.insert(machine.address, at);
        *self.counts.entry("moved addresses".into()).or_default() += 1;
    }

    /// A locked machine starts anew with its key.
    pub fn unlock(&mut self, at: usize) {
        if std::mem::take(&mut self.machines[at].locked) {
            self.crash(at);
            self.start(at);
        }
    }

    /// The power of a machine is cut.
    pub fn crash(&mut self, at: usize) {
        if self.machines[at].node.is_none() {
            return;
        }
        self.note(at, "crash", &[], String::new);
        *self.counts.entry("crashes".into()).or_default() += 1;
        self.machines[at].disk.cut(&mut self.rng);
        self.stopped(at);
        self.model.crashed(at);
    }

    /// The machine's node is gone: so are its connections and its tasks.
    pub fn stopped(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if let Some(node) = machine.node.take().filter(|node| !node.is_locked()) {
            self.model.forget_unseen(at, |inode| node.attr(Inode(inode)).is_ok());
        }
        machine.conns.clear();
        machine.asked.clear();
        machine.waiting.clear();
        let mut cut = Vec::new();
        for (link, held) in &mut self.links {
            for end in held.ends.iter_mut().filter(|end| end.machine == at && end.open) {
                end.open = false;
                cut.push(*link);
            }
        }
        for link in cut {
            if self.links[&link].ends.iter().all(|end| !end.open) {
                self.links.remove(&link);
            } else {
                self.cut(link, Duration::from_secs(8));
            }
        }
        self.tasks.retain(|_, task| task.machine != at);
    }

    fn clock(&self, at: usize) -> Now {
        let machine = &self.machines[at];
        Now {
            instant: Instant(self.now - machine.booted),
            wall: WallTime(self.wall_jump(at).unwrap_or(machine.wall_offset) + self.now as i64 * 1_000),
        }
    }

    /// In each fourth world nobody's date can be trusted: each machine's leaps every few seconds, forth and back between
    /// 1970 and 2040. Nothing else of the world hangs on what it is.
    fn wall_jump(&self, at: usize) -> Option<i64> {
        let leaps = self.now / LEAP_US;
        let mut rng = Rng::new(self.seed << 32 ^ leaps << 8 ^ at as u64);
        // Now and then the epoch itself, as where there is no battery, or the very last of these years.
        let seconds = match rng.below(8) {
            0 => 0,
            1 => YEAR_2040_S,
            _ => rng.below(YEAR_2040_S),
        };
        (self.seed % 4 == 3).then_some(seconds as i64 * 1_000_000_000)
    }

    pub fn push(&mut self, delay_us: u64, event: Event) {
        self.push_at(self.now + delay_us, event);
    }

    pub fn push_at(&mut self, at: u64, event: Event) {
        self.pushed += 1;
        self.queue.insert((at.max(self.now), self.pushed), event);
    }

    /// True in one of so many cases, while things go wrong.
    pub fn unlucky(&mut self, of: u64) -> bool {
        self.chaos && self.rng.chance(1, of)
    }

    /// Takes the next event, if it comes before `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let Some(((at, _), _)) = self.queue.first_key_value() else {
            self.now = until;
            return false;
        };
        if *at > until {
            self.now = until;
            return false;
        }
        let ((at, _), event) = self.queue.pop_first().expect("there is one");
        self.now = at;
        self.happen(event);
        true
    }

    /// Lets time pass.
    pub fn run_until(&mut self, until: u64) {
        while self.step(until) {}
    }

    fn runs(&self, machine: usize, run: u32) -> bool {
        self.machines[machine].run == run && self.machines[machine].node.is_some()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { machine, run } => {
                if self.runs(machine, run) && self.machines[machine].tick_at == Some(self.now) {
                    self.machines[machine].tick_at = None;
                    self.deliver(machine, Input::Tick);
                }
            }
            Event::DiskDone { machine, run, ticket } => {
                if self.runs(machine, run) {
                    let done = self.machines[machine].disk.finish(ticket, &mut self.rng);
                    self.answered_node(machine, ticket);
                    self.deliver(machine, Input::Disk { ticket, done });
                }
            }
            Event::Dialled { from, run, ticket, to, protocol, expect, reached } => {
                if self.runs(from, run) {
                    self.answered_node(from, ticket);
                    if reached {
                        self.dialled(from, ticket, to, protocol, expect);
                    } else {
                        self.deliver(from, Input::DialFailed { ticket, why: "it did not answer".into() });
                    }
                }
            }
            Event::DialledSheet { from, run, ticket, to, key } => {
                if self.runs(from, run) {
                    self.answered_node(from, ticket);
                    self.dialled_sheet(from, ticket, to, key);
                }
            }
            Event::Sent { link, side, bytes } => self.sent(link, side, bytes),
            Event::Arrive { link, side, channel, payload } => self.arrive(link, side, channel, payload),
            Event::Gone { link, side, why } => self.gone(link, side, why),
            Event::Answered { task, reply } => self.go_on(task, Some(reply)),
            Event::Resume { task } => self.go_on(task, None),
            Event::Start { machine } => self.start(machine),
            Event::Unlock { machine } => self.unlock(machine),
            Event::Chaos => self.disturb(),
            Event::Work => self.begin_work(),
            Event::WorkOn { machine } => self.work_on(machine),
            Event::SetBack { machine } => self.restore_or_back_up(machine),
            Event::Rejoin { machine } => self.groups[machine] = 0,
            Event::Beacons => self.beacons(),
            Event::Heard { machine, run, said, address } => {
                if self.runs(machine, run) {
                    self.deliver(machine, Input::Heard { said, address });
                }
            }
        }
    }

    /// An operation of a task's.
    pub fn ask(&mut self, machine: usize, task: u64, op: Op) -> Ticket {
        let held = &mut self.machines[machine];
        held.last_ticket += 1;
        // Tickets of operations and of the node's own requests are different spaces.
        let ticket = Ticket(held.last_ticket);
        held.asked.insert(ticket, (task, self.now));
        self.deliver(machine, Input::Op { ticket, op });
        ticket
    }

    fn answered_node(&mut self, machine: usize, ticket: Ticket) {
        if self.machines[machine].waiting.remove(&ticket).is_none() {
            self.broken(&format!("the world answers {ticket:?} twice"));
        }
    }

    fn answered(&mut self, machine: usize, ticket: Ticket, reply: Reply) {
        self.note(machine, "reply", &ticket.0.to_be_bytes(), || format!("{ticket:?} {reply:?}"));
        let Some((task, _)) = self.machines[machine].asked.remove(&ticket) else {
            let name = &self.machines[machine].name;
            self.broken(&format!("{name} answers {ticket:?} that nobody waits for: {reply:?}"));
        };
        if let Err(error) = &reply {
            let name = format!("{error:?}").split(['(', ' ']).next().unwrap_or_default().to_string();
            *self.counts.entry(format!("error {name}")).or_default() += 1;
        }
        let delay = self.rng.below(200);
        self.push(delay, Event::Answered { task, reply });
    }

    /// Tells a node a fact, and carries out what it asks.
    pub fn deliver(&mut self, at: usize, input: Input) {
        let now = self.clock(at);
        if self.machines[at].node.is_none() {
            return;
        }
        self.note_input(at, &input);
        let asked = match &input {
            Input::Op { ticket, .. } => Some(*ticket),
            _ => None,
        };
        self.count_step(at);
        self.note_met(at);
        let node = self.machines[at].node.as_mut().expect("it runs");
        let reply = node.handle(now, input);
        let mut actions = Vec::new();
        while let Some(action) = node.poll_action() {
            actions.push(action);
        }
        match (asked, reply) {
            (Some(ticket), Some(reply)) => self.answered(at, ticket, reply),
            (None, Some(reply)) => self.broken(&format!("a fact is replied to: {reply:?}")),
            (_, None) => {}
        }
        for action in actions {
            self.carry_out(at, action);
        }
        self.arm(at);
    }

    fn count_step(&mut self, at: usize) {
        let second = self.now / 1_000_000;
        let steps = &mut self.machines[at].steps;
        *steps = if steps.0 == second { (second, steps.1 + 1) } else { (second, 1) };
        if steps.1 > STEPS_MAX {
            self.broken(&format!("{} runs in circles", self.machines[at].name));
        }
    }

    fn arm(&mut self, at: usize) {
        let Some(timeout) = self.machines[at].node.as_ref().and_then(Node::poll_timeout) else { return };
        let machine = &mut self.machines[at];
        let due = (machine.booted + timeout.0).max(self.now + 1);
        if machine.tick_at.is_none_or(|armed| due < armed) {
            machine.tick_at = Some(due);
            let run = machine.run;
            self.push_at(due, Event::Tick { machine: at, run });
        }
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        self.note_action(at, &action);
        match action {
            Action::Dial { ticket, address, protocol, expect } => {
                self.fresh_ticket(at, ticket, "a dial");
                self.dial(at, ticket, address, protocol, expect);
            }
            Action::DialSheet { ticket, address, key } => {
                self.fresh_ticket(at, ticket, "a dial");
                self.dial_sheet(at, ticket, address, key.public());
            }
            Action::Send { conn, channel, head, body } => {
                let payload = if body.is_empty() { head } else { Bytes::from([head, body].concat()) };
                self.check_sent(at, conn, channel, &payload);
                self.lie_or_send(at, conn, channel, payload);
            }
            Action::Close { conn, why } => self.close(at, conn, &why),
            Action::Trust(trust) => self.trust(at, trust),
            Action::Disk { ticket, request } => self.ask_disk(at, ticket, request),
            Action::Reply { ticket, reply } => self.answered(at, ticket, reply),
            Action::Announce(said) => self.say(at, said),
            Action::Invalidate(_) => {}
            #[cfg(feature = "panel")]
            Action::Show(_) | Action::ForgetSessions | Action::PowerOff => {}
        }
    }

    fn fresh_ticket(&mut self, at: usize, ticket: Ticket, what: &'static str) {
        let machine = &mut self.machines[at];
        let fresh = machine.waiting.insert(ticket, what).is_none() && ticket.0 > machine.highest;
        machine.highest = machine.highest.max(ticket.0);
        if !fresh {
            self.broken(&format!("{} draws {ticket:?} twice", self.machines[at].name));
        }
    }

    fn ask_disk(&mut self, at: usize, ticket: Ticket, request: DiskRequest) {
        self.fresh_ticket(at, ticket, "the disk");
        let slow = self.machines[at].slow;
        let commit = matches!(request, DiskRequest::Commit { .. });
        let delay = slow * if commit { 500 + self.rng.below(15_000) } else { 100 + self.rng.below(8_000) };
        if let Err(why) = self.machines[at].disk.begin(ticket, request) {
            self.broken(&format!("{}: {why}", self.machines[at].name));
        }
        if self.machines[at].disk.load() > DISK_LOAD {
            self.broken(&format!("{} asks its disk for ever more", self.machines[at].name));
        }
        let machine = &mut self.machines[at];
        let mut due = self.now + delay;
        if commit {
            due = due.max(machine.commit_free_at + 1);
            machine.commit_free_at = due;
        }
        let run = machine.run;
        self.push_at(due, Event::DiskDone { machine: at, run, ticket });
    }

    /// A removed key is told nothing any more, from the moment that the node told its listener.
    fn check_sent(&mut self, at: usize, conn: ConnId, channel: u32, payload: &Bytes) {
        let bytes = payload.len();
        if bytes > dustfs::base::limits::FRAME_MAX {
            self.broken(&format!("{} sends a frame of {bytes} bytes", self.machines[at].name));
        }
        let Some((link, side)) = self.machines[at].conns.get(&conn).copied() else { return };
        let end = &self.links[&link].ends[side];
        let (Protocol::Dustfs(id), peer) = (end.protocol, end.peer) else { return };
        let trust = &self.machines[at].trust;
        if !super::net::allows(trust, end.protocol, &peer, false) {
            self.broken(&format!("{} sends to {peer}, whom it does not trust", self.machines[at].name));
        }
        // Whose admission was not heard of is told which statements are here, and nothing else.
        let told =
            || channel == 0 && matches!(Control::decode(payload), Ok(Some(Control::Hello(_) | Control::Roster(_))));
        let known = trust.circles.iter().any(|circle| circle.circle == id && circle.allowed.contains(&peer));
        if channel == 0 {
            self.check_gone(at, payload);
            self.check_let_go(at, payload);
        }
        if !known {
            if !told() {
                self.broken(&format!("{} tells {peer} more than who is not known is told", self.machines[at].name));
            }
            *self.counts.entry("frames to unknown members".into()).or_default() += 1;
        }
    }

    /// What must hold whenever nothing is in the middle of happening.
    pub fn check_waiting(&mut self) {
        for at in 0..self.machines.len() {
            let late = self.machines[at].asked.iter().find(|(_, (_, since))| since + ANSWER_US < self.now);
            if let Some((ticket, (task, since))) = late {
                let task = self.tasks.get(task).map(|task| format!("{:?}", task.kind));
                let why = format!(
                    "{} does not answer {ticket:?}, asked at {:.3} by {task:?}",
                    self.machines[at].name,
                    *since as f64 / 1e6
                );
                self.broken(&why);
            }
        }
    }

    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill(&mut bytes);
        bytes
    }

    pub fn bytes96(&mut self) -> [u8; 96] {
        let mut bytes = [0; 96];
        self.rng.fill(&mut bytes);
        bytes
    }
}

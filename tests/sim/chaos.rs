//! What goes wrong: links and power cut, disks full, failing or slow, peers that lie, members removed, latecomers.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dustfs::base::{ConnId, ObjectId, Table};
use dustfs::ledger::values::{CIRCLE_LABEL, CircleEntry, CircleSecrets, Value as _};
use dustfs::node::io::{Answer, Op, Protocol, Reply};
use dustfs::seal::{CircleKey, EpochKeys, Suite};
use dustfs::wire::commit::{Commit, Entry};
use dustfs::wire::control::{Commits, Control};
use dustfs::wire::record::{
    Body, Bytes2, Content, Context, Dot, Inner, Kind, Name, Outer, Place, Register, Value, Xattrs, record_hash, root_of,
};
use dustfs::wire::statement::Role;

use super::work::{CIRCLE, What};
use super::world::{Event, World};

/// What may go wrong in this world, and what does now.
#[derive(Default)]
pub struct Chaos {
    cuts: bool,
    crashes: bool,
    disks: bool,
    pub lies: bool,
    backups: bool,
    /// Who was set back goes on working, alone at first.
    bold: bool,
    removals: u32,
    end: u64,
    /// Who is to join, and as what.
    joining: Option<(usize, Role)>,
    pub join_failed: bool,
    /// Frames that the liars sent, to be sent again.
    old: VecDeque<(u32, Bytes)>,
}

/// The name of what a reader forges.
pub const FORGED: &[u8] = b"marked-name-forged";

impl World {
    /// Draws what may go wrong until `end`.
    pub fn draw_chaos(&mut self, end: u64, latecomer: Option<(usize, Role)>) {
        let backups = self.rng.chance(1, 5);
        let removals = self.rng.below(6).saturating_sub(3) as u32;
        // Whether what a removed member wrote on a history that does not count is lost depends on who had seen it.
        let bold = backups && self.rng.chance(2, 3);
        self.chaos_state = Chaos {
            cuts: self.rng.chance(3, 4),
            crashes: self.rng.chance(1, 2),
            disks: self.rng.chance(1, 3),
            lies: self.rng.chance(1, 3),
            backups,
            bold,
            removals: if bold { 0 } else { removals },
            end,
            joining: latecomer,
            ..Chaos::default()
        };
        self.chaos = true;
        if bold {
            self.plan_set_backs(end);
        }
        self.push(500_000, Event::Chaos);
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    fn anybody(&mut self) -> usize {
        self.rng.below(self.machines.len() as u64) as usize
    }

    /// Something goes wrong, or ends.
    pub fn disturb(&mut self) {
        if self.now >= self.chaos_state.end {
            return;
        }
        let delay = self.rng.below(2_500_000);
        self.push(delay, Event::Chaos);
        let at = self.anybody();
        let state = &self.chaos_state;
        let (cuts, crashes, disks) = (state.cuts, state.crashes, state.disks);
        let (lies, backups, removals) = (state.lies, state.backups, state.removals);
        match self.rng.below(16) {
            0 | 1 if cuts => self.partition(),
            2 if cuts => self.groups.iter_mut().for_each(|group| *group = 0),
            3 | 4 if cuts => {
                let links: Vec<u64> = self.links.keys().copied().collect();
                let at = self.rng.below(links.len() as u64) as usize;
                if let Some(link) = links.get(at) {
                    self.count("links cut");
                    self.cut(*link, Duration::from_secs(3));
                }
            }
            5 if crashes => {
                self.crash(at);
                let delay = self.rng.below(6_000_000);
                self.push(delay, Event::Start { machine: at });
                if self.rng.chance(1, 3) && self.machines[at].role.is_some_and(Role::reads) {
                    self.count("locked boxes");
                    self.machines[at].locked = true;
                    let delay = delay + self.rng.below(12_000_000);
                    self.push(delay, Event::Unlock { machine: at });
                }
            }
            6 if crashes && self.machines[at].node.is_some() => {
                self.count("shutdowns");
                let task = self.new_task(at, What::Shutdown);
                self.ask(at, task, Op::Shutdown);
            }
            7 if disks => {
                self.machines[at].disk.full = true;
                self.count("full disks");
            }
            8 if disks => {
                self.machines[at].disk.failing = 8;
                self.count("failing disks");
            }
            9 => self.machines[at].slow = if self.machines[at].slow == 1 { 30 } else { 1 },
            10 => {
                let disk = &mut self.machines[at].disk;
                (disk.full, disk.failing) = (false, 0);
            }
            11 if lies => {
                self.machines[at].disk.rotten = true;
                self.machines[at].liar = self.rng.chance(2, 3);
                self.count("liars");
            }
            12 if lies => self.forge(at),
            14 if removals > 0 => self.remove(at),
            15 if backups => self.restore_or_back_up(at),
            13 => self.begin_join(),
            _ => {}
        }
    }

    /// Somebody copies a machine's disk, and puts the copy back later: the node has forgotten what it said since.
    pub fn restore_or_back_up(&mut self, at: usize) {
        let bold = self.chaos_state.bold;
        let machine = &mut self.machines[at];
        if machine.role.is_none() || machine.restored {
            return;
        }
        match machine.backup.take() {
            // A draft is published before the node has met anybody, under a number that it had used already.
            None if bold || machine.disk.store.values(Table::Drafts).is_empty() => {
                machine.backup = Some(machine.disk.backup());
            }
            None => {}
            Some(backup) => {
                self.crash(at);
                let machine = &mut self.machines[at];
                machine.disk.restore(backup);
                machine.restored = true;
                self.model.forget(at);
                self.count("restored backups");
                let delay = self.rng.below(6_000_000);
                self.push(delay, Event::Start { machine: at });
                if bold {
                    self.work_alone(at, delay);
                }
            }
        }
    }

    /// Some machines are copied and set back, whatever else happens.
    fn plan_set_backs(&mut self, end: u64) {
        for _ in 0..1 + self.rng.below(2) {
            let machine = self.anybody();
            let mut delay = 0;
            for _ in 0..2 {
                delay += self.rng.below((end - self.now) / 2);
                self.push(delay, Event::SetBack { machine });
            }
        }
    }

    /// Who was set back and does not know it works for a while before it meets anybody.
    fn work_alone(&mut self, at: usize, delay: u64) {
        self.groups[at] = u32::MAX;
        for _ in 0..self.rng.below(12) {
            let delay = delay + self.rng.below(6_000_000);
            self.push(delay, Event::WorkOn { machine: at });
        }
        self.push(delay + 6_000_000, Event::Rejoin { machine: at });
    }

    /// True when a machine that was set back only watches until all is well.
    pub fn only_watches(&self, at: usize) -> bool {
        self.machines[at].restored && !self.chaos_state.bold
    }

    fn partition(&mut self) {
        self.count("partitions");
        let groups = (0..self.groups.len()).map(|_| self.rng.below(2) as u32).collect();
        self.part(groups);
    }

    /// From now on only machines of one group reach each other.
    pub fn part(&mut self, groups: Vec<u32>) {
        self.groups = groups;
        let parted: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| self.groups[link.ends[0].machine] != self.groups[link.ends[1].machine])
            .map(|(link, _)| *link)
            .collect();
        for link in parted {
            self.cut(link, Duration::from_secs(5));
        }
    }

    /// Some keeper removes a member, perhaps while it is being removed itself. The first keeper is never removed.
    fn remove(&mut self, at: usize) {
        let by = self.anybody();
        let (keeper, gone) = (&self.machines[by], &self.machines[at]);
        let may = keeper.role == Some(Role::Keeper) && keeper.node.is_some() && by != at;
        if at == 0 || gone.removed || gone.role.is_none() || !may {
            return;
        }
        let member = gone.name.clone();
        self.chaos_state.removals -= 1;
        self.count("removals");
        self.machines[at].removed = true;
        self.model.cut_off(at);
        let entropy = self.bytes96();
        let task = self.new_task(by, What::Once);
        self.ask(by, task, Op::Remove { circle: Some(CIRCLE.into()), member, entropy });
    }

    /// Who was removed in the end, by the first keeper's roster.
    pub fn look_who_is_removed(&mut self) {
        let Some(node) = &self.machines[0].node else { return };
        let friends: Vec<_> = node.friends().into_iter().filter(|friend| friend.circle == CIRCLE).collect();
        for machine in self.machines.iter_mut().skip(1) {
            machine.removed = friends.iter().any(|friend| friend.name == machine.name && friend.removed);
        }
    }

    /// The one who is to join tries it, by an invite of the first machine's.
    pub fn begin_join(&mut self) {
        let Some((joiner, role)) = self.chaos_state.joining else { return };
        if self.machines[joiner].role.is_some() || self.machines[0].node.is_none() {
            return;
        }
        let entropy = self.bytes96();
        let time = Duration::from_secs(600);
        let task = self.new_task(0, What::Setup);
        self.ask(0, task, Op::Invite { circle: Some(CIRCLE.into()), role, time, entropy });
    }

    /// A join whose answer was lost may have become durable all the same.
    pub fn look_if_joined(&mut self, at: usize) {
        let Some((joiner, role)) = self.chaos_state.joining.filter(|(joiner, _)| *joiner == at) else { return };
        let Some(node) = &self.machines[joiner].node else { return };
        if node.status().circles.iter().any(|circle| circle.name == CIRCLE) {
            self.machines[joiner].role = Some(role);
            self.chaos_state.joining = None;
        }
    }

    /// Lets a machine join while nothing goes wrong.
    pub fn join_now(&mut self, joiner: usize, role: Role) {
        self.chaos_state.joining = Some((joiner, role));
        for _ in 0..40 {
            self.chaos_state.join_failed = false;
            self.begin_join();
            let end = self.now + 30_000_000;
            while self.machines[joiner].role.is_none() && !self.chaos_state.join_failed && self.step(end) {}
            if self.machines[joiner].role.is_some() {
                return;
            }
            let rest = self.now + 1_000_000;
            self.run_until(rest);
        }
        self.broken(&format!("{} cannot join", self.machines[joiner].name));
    }

    /// Makes the latecomer join at last.
    pub fn end_join(&mut self) {
        if let Some((joiner, role)) = self.chaos_state.joining {
            self.join_now(joiner, role);
        }
    }

    /// An answer to what [`World::begin_join`] asked.
    pub fn setup_answered(&mut self, _machine: usize, reply: Option<Reply>) {
        let Some((joiner, _)) = self.chaos_state.joining else { return };
        match reply {
            Some(Ok(Answer::Invite(invite))) if self.machines[joiner].node.is_some() => {
                let entropy = self.bytes96();
                let task = self.new_task(joiner, What::Setup);
                self.ask(joiner, task, Op::Join { invite, entropy });
            }
            Some(Ok(Answer::Circle(_))) => {
                self.look_if_joined(joiner);
                self.count("joins");
            }
            _ => self.chaos_state.join_failed = true,
        }
    }

    /// Sends a frame, or what a liar makes of it.
    pub fn lie_or_send(&mut self, at: usize, conn: ConnId, channel: u32, payload: Bytes) {
        if !self.machines[at].liar || !self.unlucky(12) {
            return self.send(at, conn, channel, payload);
        }
        self.count("lies");
        let old = &mut self.chaos_state.old;
        old.push_back((channel, payload.clone()));
        if old.len() > 30 {
            old.pop_front();
        }
        match self.rng.below(5) {
            // Withheld.
            0 => {}
            1 => {
                let mut garbled = payload.to_vec();
                let index = self.rng.below(garbled.len() as u64) as usize;
                if let Some(byte) = garbled.get_mut(index) {
                    *byte ^= 1 << self.rng.below(8);
                }
                self.send(at, conn, channel, garbled.into());
            }
            2 => {
                self.send(at, conn, channel, payload.clone());
                self.send(at, conn, channel, payload);
            }
            3 => {
                let mut garbage = vec![0; self.rng.below(300) as usize + 1];
                self.rng.fill(&mut garbage);
                let channel = self.rng.below(4) as u32;
                self.send(at, conn, channel, garbage.into());
            }
            _ => {
                let count = self.chaos_state.old.len() as u64;
                let index = self.rng.below(count) as usize;
                if let Some((channel, frame)) = self.chaos_state.old.get(index).cloned() {
                    self.send(at, conn, channel, frame);
                }
                self.send(at, conn, channel, payload);
            }
        }
    }

    /// A machine that may not write makes a commit all the same, rightly signed, and sends it to a friend.
    fn forge(&mut self, at: usize) {
        let machine = &self.machines[at];
        if machine.role != Some(Role::Reader) || machine.node.is_none() {
            return;
        }
        let mut friends = machine.conns.iter().filter_map(|(conn, (link, side))| {
            let end = &self.links[link].ends[*side];
            match end.protocol {
                Protocol::Dustfs(circle) => Some((*conn, circle)),
                Protocol::Invite | Protocol::Pair | Protocol::Recover | Protocol::Torrent(..) => None,
            }
        });
        let Some((conn, circle)) = friends.next_back() else { return };
        let entries = machine.disk.store.values(Table::Circles);
        let entry = entries.iter().filter_map(|bytes| CircleEntry::decode(bytes).ok()).find(|entry| entry.home == 0);
        let opened = entry.and_then(|entry| machine.state.open(CIRCLE_LABEL, &entry.secrets).ok());
        let secrets = opened.and_then(|opened| CircleSecrets::decode(&opened).ok());
        let Some(epoch) = secrets.and_then(|secrets| secrets.keys.first().cloned()) else { return };
        let Ok(key) = <[u8; 32]>::try_from(&epoch.key[..]) else { return };
        let Some(suite) = Suite::from_number(epoch.suite) else { return };
        let keys = EpochKeys::derive(&circle, epoch.number, suite, &CircleKey(key));
        let dot = Dot { author: machine.member.public(), incarnation: 0, sequence: 1 };
        let object = ObjectId([0x77; 16]);
        let place = Place { parent: root_of(&circle), name: Name::new(FORGED).expect("a name"), deleted: None };
        let body = Body {
            kind: Kind::File,
            mode: 0o644,
            mtime: dustfs::base::WallTime(0),
            size: 6,
            content: Content::Inline(Bytes::from_static(b"forged")),
            xattrs: Xattrs::default(),
        };
        let mut records = Vec::new();
        let mut entries = Vec::new();
        for (value, register) in [(Value::Place(place), Register::Place), (Value::Body(body), Register::Body)] {
            let inner = Inner { circle, dot, object, context: Context::default(), value };
            let sealed = keys.seal_record([records.len() as u8; 12], &inner.encode());
            let record = Outer { epoch: epoch.epoch, info: None, sealed: Bytes2::from(sealed), version: 1 }.encode();
            entries.push(Entry { record: record_hash(&record), tag: keys.register_tag(&object, register) });
            records.push(Bytes2::from(&record[..]));
        }
        let commit = Commit {
            circle,
            dot,
            previous: dustfs::base::CommitHash::NONE,
            lamport: 1,
            deps: Vec::new(),
            wall: dustfs::base::WallTime(0),
            entries,
            branches: Vec::new(),
        };
        let signed = commit.sign(|bytes| machine.member.sign(bytes));
        let commits = vec![Bytes2::from(&signed.bytes[..])];
        let frame = Control::Commits(Commits { circle, commits, last: 0, records }).encode();
        self.count("forged commits");
        self.send(at, conn, 0, frame.into());
    }

    /// Everything is well again, and everybody is up.
    pub fn heal(&mut self) {
        self.chaos = false;
        self.work_left = 0;
        self.groups.iter_mut().for_each(|group| *group = 0);
        for at in 0..self.machines.len() {
            let machine = &mut self.machines[at];
            let lied = std::mem::take(&mut machine.liar);
            (machine.disk.full, machine.disk.failing, machine.disk.rotten, machine.slow) = (false, 0, false, 1);
            if lied {
                self.crash(at);
            }
            self.unlock(at);
        }
        let stopping: Vec<usize> =
            self.tasks.values().filter(|task| task.kind == What::Shutdown).map(|task| task.machine).collect();
        for at in 0..self.machines.len() {
            if self.machines[at].node.is_none() && !stopping.contains(&at) {
                self.start(at);
            }
        }
    }
}

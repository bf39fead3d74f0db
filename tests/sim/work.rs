//! What people do with their files: tasks that ask one operation after the other, each after the answer to the last.

use bytes::Bytes;
use dustfs::base::WallTime;
use dustfs::base::limits::INLINE_MAX;
use dustfs::node::io::{Answer, Attr, DirEntry, Handle, Inode, Input, Op, OpError, ReadPlan, Reply};
use dustfs::wire::record::Kind;
use dustfs::wire::statement::Role;

use super::model::{self, Missing};
use super::world::{Event, World};

/// The circle's name.
pub const CIRCLE: &str = "Friends";
/// Stands at the start of everything that is written, so that it can be looked for where it must not be.
pub const MARK: &[u8] = b"<marked plaintext of the simulator>";
/// Stands in every name.
pub const NAME_MARK: &str = "marked-name-";
/// Bytes of the largest file.
const FILE_MAX: usize = 400_000;

/// Somebody who works on one machine.
pub struct Task {
    pub machine: usize,
    pub kind: What,
    inode: u64,
    handle: Option<Handle>,
    /// What the file holds, as this task's operations made it; known once it was read.
    content: Vec<u8>,
    /// What it holds if the operation that was asked succeeds.
    next: Vec<u8>,
    next_version: usize,
    /// The number of `content` in the model.
    version: Option<usize>,
    left: u32,
    step: Step,
    /// Nothing went wrong.
    clean: bool,
    /// How the file is to be read, and how often space had been given up when that was planned.
    plan: Option<(ReadPlan, u64)>,
    /// What was made before it was asked to be made durable.
    made: Vec<u64>,
    /// The name that the file gets at the end, if it has none yet.
    place: Option<(Inode, Vec<u8>)>,
}

/// See [`Task`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Write,
    Read,
    /// One operation whose answer is awaited and not needed.
    Once,
    /// A directory or a link that is made.
    Make,
    /// Everything before it is made durable.
    SyncAll,
    Shutdown,
    /// The world set it up; the answer is kept.
    Setup,
    /// A file of this content, written in one go.
    Put,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Opening,
    /// The content is being read: how often it was fetched.
    Reading(u32),
    /// What was planned is read, and how often it was fetched before.
    Gathering(u32),
    Writing,
    Copying,
    Truncating,
    Syncing,
    Resting,
    Flushing,
    Linking,
    Releasing,
    End,
}

impl World {
    pub fn new_task(&mut self, machine: usize, kind: What) -> u64 {
        let id = self.next_task;
        self.next_task += 1;
        let task = Task {
            machine,
            kind,
            inode: 0,
            handle: None,
            content: Vec::new(),
            next: Vec::new(),
            next_version: 0,
            version: None,
            left: 0,
            step: Step::Opening,
            clean: true,
            plan: None,
            made: Vec::new(),
            place: None,
        };
        self.tasks.insert(id, task);
        id
    }

    /// The root of the circle's tree on a machine.
    pub fn root_of(&self, machine: usize) -> Option<Inode> {
        let node = self.machines[machine].node.as_ref()?;
        match node.lookup(Inode::ROOT, CIRCLE.as_bytes()) {
            Ok(attr) if node.has_home() => Some(attr.inode),
            _ => (!node.has_home() && self.machines[machine].role.is_some_and(Role::reads)).then_some(Inode::ROOT),
        }
    }

    fn directory(&mut self, machine: usize) -> Option<Inode> {
        let mut at = self.root_of(machine)?;
        while self.rng.chance(1, 2) {
            let entries = self.machines[machine].node.as_ref()?.list(at, None, usize::MAX).ok()?;
            let directories: Vec<_> = entries.into_iter().filter(|entry| entry.kind == Kind::Directory).collect();
            match self.pick(&directories) {
                Some(entry) => at = entry.inode,
                None => break,
            }
        }
        Some(at)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.rng.below(from.len() as u64) as usize;
        from.get(at).cloned()
    }

    fn entry(&mut self, machine: usize, directory: Inode) -> Option<DirEntry> {
        let entries = self.machines[machine].node.as_ref()?.list(directory, None, usize::MAX).ok()?;
        self.pick(&entries)
    }

    fn name(&mut self) -> Vec<u8> {
        format!("{NAME_MARK}{}", self.rng.below(7)).into_bytes()
    }

    /// Somebody starts something, and the next one is planned.
    pub fn begin_work(&mut self) {
        let Some(left) = self.work_left.checked_sub(1) else { return };
        self.work_left = left;
        let delay = self.rng.below(300_000);
        self.push(delay, Event::Work);
        let machine = self.rng.below(self.machines.len() as u64) as usize;
        self.work_on(machine);
    }

    /// True for a machine that runs and is not locked.
    pub fn is_open(&self, machine: usize) -> bool {
        self.machines[machine].node.as_ref().is_some_and(|node| !node.is_locked())
    }

    /// Somebody starts something on this machine, if anybody can.
    pub fn work_on(&mut self, machine: usize) {
        let reads = self.machines[machine].role.is_some_and(Role::reads);
        if reads && self.is_open(machine) && !self.only_watches(machine) {
            let _ = self.work(machine);
        }
    }

    fn work(&mut self, machine: usize) -> Option<()> {
        let directory = self.directory(machine)?;
        match self.rng.below(27) {
            25 | 26 => self.keep_work(machine)?,
            0..6 => self.begin_write(machine, directory)?,
            6..9 => self.begin_read(machine, directory)?,
            9..11 => {
                let task = self.new_task(machine, What::Make);
                let name = self.name();
                let op = if self.rng.chance(4, 5) {
                    Op::Mkdir { parent: directory, name, mode: 0o755 }
                } else {
                    Op::Symlink { parent: directory, name, target: b"marked-name-0".to_vec() }
                };
                self.ask(machine, task, op);
            }
            11..16 => self.rename(machine, directory)?,
            16 => {
                let entry = self.entry(machine, directory)?;
                self.model.touched.insert((entry.inode.0, machine));
                self.once(
                    machine,
                    Op::SetAttr {
                        inode: entry.inode,
                        size: None,
                        mode: Some(0o600),
                        mtime: Some(WallTime(self.now as i64)),
                    },
                );
            }
            20..23 => self.move_directory(machine)?,
            23 => {
                let entry = self.entry(machine, directory)?;
                self.model.touched.insert((entry.inode.0, machine));
                let value = self.rng.chance(2, 3).then(|| Bytes::from(self.rng.next_u64().to_be_bytes().to_vec()));
                self.once(
                    machine,
                    Op::SetXattr { inode: entry.inode, name: b"user.drawn".to_vec(), value, expect: None },
                );
            }
            24 => {
                let (one, new_parent) = (self.entry(machine, directory)?, self.directory(machine)?);
                let other = self.entry(machine, new_parent)?;
                let (parent, name, new_name) = (directory, one.name, other.name);
                self.once(machine, Op::Exchange { parent, name, new_parent, new_name });
            }
            17 => {
                let task = self.new_task(machine, What::SyncAll);
                let made = self.model.made_by(machine);
                self.tasks.get_mut(&task)?.made = made;
                self.ask(machine, task, Op::Fsync { inode: directory });
            }
            18 | 19 => {
                let entry = self.entry(machine, directory)?;
                self.model.deleted.insert(entry.inode.0);
                let op = match entry.kind {
                    Kind::Directory => Op::Rmdir { parent: directory, name: entry.name },
                    _ => Op::Unlink { parent: directory, name: entry.name },
                };
                self.once(machine, op);
            }
            _ => {}
        }
        Some(())
    }

    /// Moves one directory of the root into another: where two do it apart, cycles come of it.
    fn move_directory(&mut self, machine: usize) -> Option<()> {
        let root = self.root_of(machine)?;
        let entries = self.machines[machine].node.as_ref()?.list(root, None, usize::MAX).ok()?;
        let directories: Vec<_> = entries.into_iter().filter(|entry| entry.kind == Kind::Directory).collect();
        let (from, into) = (self.pick(&directories)?, self.pick(&directories)?);
        let name = from.name.clone();
        if let Ok(replaced) = self.machines[machine].node.as_ref()?.lookup(into.inode, &name) {
            self.model.deleted.insert(replaced.inode.0);
        }
        let op =
            Op::Rename { parent: root, name: from.name, new_parent: into.inode, new_name: name, no_replace: false };
        self.once(machine, op);
        Some(())
    }

    fn once(&mut self, machine: usize, op: Op) {
        let task = self.new_task(machine, What::Once);
        self.ask(machine, task, op);
    }

    fn rename(&mut self, machine: usize, directory: Inode) -> Option<()> {
        let entry = self.entry(machine, directory)?;
        let new_parent = self.directory(machine)?;
        let new_name = if self.rng.chance(1, 2) { entry.name.clone() } else { self.name() };
        if let Ok(replaced) = self.machines[machine].node.as_ref()?.lookup(new_parent, &new_name) {
            self.model.deleted.insert(replaced.inode.0);
        }
        if entry.name.windows(9).any(|word| word == b"(conflict") || self.awaiting(&new_name).next().is_some() {
            self.model.deleted.insert(entry.inode.0);
        }
        let no_replace = self.rng.chance(1, 4);
        self.once(machine, Op::Rename { parent: directory, name: entry.name, new_parent, new_name, no_replace });
        Some(())
    }

    fn begin_write(&mut self, machine: usize, parent: Inode) -> Option<()> {
        let name = match self.entry(machine, parent) {
            Some(entry) if entry.kind == Kind::File && self.rng.chance(2, 3) => entry.name,
            _ => self.name(),
        };
        if self.rng.chance(1, 5) {
            let task = self.new_task(machine, What::Write);
            let held = self.tasks.get_mut(&task)?;
            held.place = Some((parent, name));
            held.left = 1 + self.rng.below(5) as u32;
            self.ask(machine, task, Op::Unnamed { directory: parent, mode: 0o644 });
            return Some(());
        }
        let found = self.machines[machine].node.as_ref()?.lookup(parent, &name);
        let writing = |world: &Self, attr: &Attr| {
            let mut writers = world.tasks.values().filter(|task| task.machine == machine && task.kind == What::Write);
            writers.any(|task| task.inode == attr.inode.0 || world.inode_of(task) == attr.inode.0)
        };
        let op = match found {
            Ok(attr) if attr.kind == Kind::File && !writing(self, &attr) => {
                let truncate = self.rng.chance(1, 3);
                if truncate {
                    self.model.write(machine, attr.inode.0, &[]);
                }
                if name.windows(9).any(|word| word == b"(conflict") {
                    // What shows beside the file is gone once it is written to: it is a version, not an object.
                    self.model.deleted.insert(attr.inode.0);
                }
                let op = Op::Open { inode: attr.inode, write: true, truncate };
                let task = self.new_task(machine, What::Write);
                let held = self.tasks.get_mut(&task).expect("it was just made");
                held.inode = attr.inode.0;
                held.left = 1 + self.rng.below(5) as u32;
                // A truncated file is known to be empty.
                held.step = if truncate { Step::Resting } else { Step::Opening };
                self.ask(machine, task, op);
                return Some(());
            }
            Ok(_) => return None,
            Err(_) if self.awaiting(&name).next().is_some() => return None,
            Err(_) => Op::Create { parent, name, mode: 0o644 },
        };
        let task = self.new_task(machine, What::Write);
        self.tasks.get_mut(&task)?.left = 1 + self.rng.below(5) as u32;
        self.ask(machine, task, op);
        Some(())
    }

    /// The file that a task has open: the loser of a conflict is another one once it was written to.
    fn inode_of(&self, task: &Task) -> u64 {
        let node = self.machines[task.machine].node.as_ref();
        let attr = node.zip(task.handle).and_then(|(node, handle)| node.attr_of_handle(handle).ok());
        attr.map_or(task.inode, |attr| attr.inode.0)
    }

    fn begin_read(&mut self, machine: usize, directory: Inode) -> Option<()> {
        let entry = self.entry(machine, directory).filter(|entry| entry.kind == Kind::File)?;
        let task = self.new_task(machine, What::Read);
        self.tasks.get_mut(&task)?.inode = entry.inode.0;
        self.ask(machine, task, Op::Open { inode: entry.inode, write: false, truncate: false });
        Some(())
    }

    /// Reads a file as a task that ends in the final checks.
    pub fn read_file(&mut self, machine: usize, inode: u64) -> u64 {
        let task = self.new_task(machine, What::Read);
        self.tasks.get_mut(&task).expect("it was just made").inode = inode;
        self.ask(machine, task, Op::Open { inode: Inode(inode), write: false, truncate: false });
        task
    }

    /// A task goes on, with the answer to what it asked or after a rest.
    pub fn go_on(&mut self, id: u64, reply: Option<Reply>) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        match task.kind {
            What::Once => {}
            What::Make => {
                if let Some(Ok(Answer::Entry(attr))) = reply {
                    self.model.made.insert((task.machine, attr.inode.0), false);
                }
            }
            What::SyncAll => {
                if let Some(Ok(_)) = reply {
                    self.model.made_durable(task.machine, &task.made);
                }
            }
            What::Shutdown => {
                self.note(task.machine, "stopped", &[], String::new);
                if let Some(Ok(_)) = reply {
                    self.model.shut_down(task.machine);
                } else {
                    self.model.crashed(task.machine);
                }
                self.machines[task.machine].disk.cut(&mut self.rng);
                self.stopped(task.machine);
                let delay = self.rng.below(5_000_000);
                self.push(delay, Event::Start { machine: task.machine });
            }
            What::Setup => self.setup_answered(task.machine, reply),
            What::Put => self.put_on(id, task, reply),
            What::Write | What::Read => {
                self.turn(id, &mut task, reply);
                if task.step != Step::End {
                    self.tasks.insert(id, task);
                }
            }
        }
    }

    /// Writes a new file, closes it, and ends.
    pub fn put(&mut self, machine: usize, parent: Inode, name: &str, content: Vec<u8>) {
        let task = self.new_task(machine, What::Put);
        self.tasks.get_mut(&task).expect("it was just made").next = content;
        self.ask(machine, task, Op::Create { parent, name: name.as_bytes().to_vec(), mode: 0o644 });
    }

    fn put_on(&mut self, id: u64, mut task: Task, reply: Option<Reply>) {
        let op = match reply {
            Some(Ok(Answer::Created(attr, handle))) => {
                self.model.write(task.machine, attr.inode.0, &task.next);
                task.handle = Some(handle);
                Op::Write { handle, offset: Some(0), data: task.next.clone().into() }
            }
            Some(Ok(Answer::Written(bytes))) if bytes as usize == task.next.len() => {
                Op::Release { handle: task.handle.expect("it was made") }
            }
            Some(Ok(Answer::Done)) => return,
            reply => self.broken(&format!("a file could not be put: {reply:?}")),
        };
        let machine = task.machine;
        self.tasks.insert(id, task);
        self.ask(machine, id, op);
    }

    fn turn(&mut self, id: u64, task: &mut Task, reply: Option<Reply>) {
        let inode = self.inode_of(task);
        if inode != std::mem::replace(&mut task.inode, inode) {
            task.version = Some(self.model.write(task.machine, inode, &task.content));
            task.next_version = self.model.write(task.machine, inode, &task.next);
        }
        match (task.step, reply) {
            (Step::Opening | Step::Resting, Some(Ok(Answer::Created(attr, handle)))) => {
                task.inode = attr.inode.0;
                task.handle = Some(handle);
                task.version = Some(self.model.write(task.machine, task.inode, &[]));
                if task.place.is_some() {
                    self.model.unnamed.insert(task.inode);
                }
                self.next_step(id, task);
            }
            (Step::Opening, Some(Ok(Answer::Opened(handle)))) => {
                task.handle = Some(handle);
                self.read_on(id, task, 0);
            }
            (Step::Resting, Some(Ok(Answer::Opened(handle)))) => {
                task.handle = Some(handle);
                self.next_step(id, task);
            }
            (Step::Opening | Step::Resting, Some(Err(_))) if task.handle.is_none() => task.step = Step::End,
            (Step::Reading(fetches), Some(Ok(Answer::Done))) => self.read_on(id, task, fetches + 1),
            (Step::Reading(_), Some(Err(_))) => {
                // What it holds was let go here, or never was: nothing is written to what cannot be read.
                task.clean = false;
                self.release(id, task);
            }
            (Step::Gathering(fetches), None) => self.gather(id, task, fetches),
            (Step::Writing | Step::Copying | Step::Truncating, Some(Ok(answer))) => {
                if task.step == Step::Copying {
                    *self.counts.entry("files copied by reference".into()).or_default() += 1;
                }
                if let Answer::Written(bytes) = answer
                    && bytes == 0
                {
                    self.broken("a write wrote nothing");
                }
                task.content = std::mem::take(&mut task.next);
                task.version = Some(task.next_version);
                self.check_own(task);
                self.next_step(id, task);
            }
            (Step::Writing | Step::Copying | Step::Truncating, Some(Err(_))) => {
                // Whether it was written is not known: the file tells.
                task.clean = false;
                task.version = None;
                self.read_on(id, task, 0);
            }
            (Step::Syncing, Some(reply)) => {
                match (reply, task.version) {
                    (Ok(_), Some(version)) => self.model.fsynced(task.machine, task.inode, version),
                    (Ok(_), None) => {}
                    (Err(_), _) => task.clean = false,
                }
                self.next_step(id, task);
            }
            (Step::Resting | Step::Flushing, _) => self.next_step(id, task),
            (Step::Linking, Some(reply)) => {
                if let Some((_, name)) = &task.place {
                    self.may_replace(name, task.inode);
                }
                task.place = None;
                task.clean = false;
                if let (Ok(Answer::Done), Some(version)) = (reply, task.version) {
                    *self.counts.entry("files linked".into()).or_default() += 1;
                    self.model.closed(task.machine, task.inode, &task.content);
                    self.model.fsynced(task.machine, task.inode, version);
                }
                self.release(id, task);
            }
            (Step::Releasing, Some(_)) => {
                if task.kind == What::Write && task.clean && task.place.is_none() {
                    self.model.closed(task.machine, task.inode, &task.content);
                }
                task.step = Step::End;
            }
            (step, reply) => self.broken(&format!("an operation in {step:?} is answered by {reply:?}")),
        }
    }

    /// The writer reads what it wrote.
    fn check_own(&mut self, task: &Task) {
        let machine = &self.machines[task.machine];
        let Some(node) = &machine.node else { return };
        match model::read_whole(node, &machine.disk, task.inode) {
            Ok(Ok(content)) => {
                if content != task.content {
                    let differs = content.iter().zip(&task.content).position(|(a, b)| a != b);
                    for (what, bytes) in [("expected", &task.content), ("read", &content)] {
                        let from = differs.unwrap_or(0);
                        self.note(task.machine, what, &[], || {
                            format!("{:02x?}", &bytes[from..bytes.len().min(from + 32)])
                        });
                    }
                    let machine = &self.machines[task.machine];
                    self.broken(&format!(
                        "{} wrote {} bytes to {:x} and reads {}, other from {differs:?} on; known: {}",
                        machine.name,
                        task.content.len(),
                        task.inode,
                        content.len(),
                        self.model.is_known(&content),
                    ));
                }
            }
            Ok(Err(Missing::After(_))) => {}
            Ok(Err(Missing::Broken(why))) => {
                self.broken(&format!("{} cannot read {:x}: {why}", machine.name, task.inode))
            }
            Err(OpError::NotFound) if self.model.deleted.contains(&task.inode) => {}
            Err(error) => {
                self.broken(&format!("{} cannot read {:x} that it writes: {error}", machine.name, task.inode))
            }
        }
    }

    /// Plans to read the whole file, as readers of the mount do: what the plan says is read later, without the node.
    fn read_on(&mut self, id: u64, task: &mut Task, fetches: u32) {
        let Some(node) = &self.machines[task.machine].node else { return };
        match node.plan(Inode(task.inode), 0, u32::MAX) {
            Err(_) => self.release(id, task),
            Ok(plan) => {
                task.plan = Some((plan, node.freed()));
                if self.rng.chance(1, 2) {
                    return self.gather(id, task, fetches);
                }
                task.step = Step::Gathering(fetches);
                let delay = self.rng.below(50_000);
                self.push(delay, Event::Resume { task: id });
            }
        }
    }

    /// Reads what was planned, fetching what is not here.
    fn gather(&mut self, id: u64, task: &mut Task, fetches: u32) {
        let machine = &self.machines[task.machine];
        let (Some(node), Some((plan, freed))) = (&machine.node, task.plan.take()) else { return };
        if node.freed() != freed {
            return self.read_on(id, task, fetches);
        }
        match model::gather(&machine.disk, &plan) {
            Err(Missing::Broken(why)) => self.broken(&format!("{} cannot read {:x}: {why}", machine.name, task.inode)),
            Ok(content) => {
                if !self.model.is_known(&content) {
                    self.broken(&format!(
                        "{} reads {} bytes of {:x} that nobody ever wrote",
                        machine.name,
                        content.len(),
                        task.inode
                    ));
                }
                *self.counts.entry("files read".into()).or_default() += 1;
                task.content = content;
                match task.kind {
                    What::Write => self.next_step(id, task),
                    _ => self.release(id, task),
                }
            }
            Err(Missing::After(_)) if fetches > 40 => self.release(id, task),
            Err(Missing::After(before)) => {
                *self.counts.entry("fetches".into()).or_default() += 1;
                task.step = Step::Reading(fetches);
                let op = Op::Fetch { inode: Inode(task.inode), offset: before as u64, length: 131_072 };
                let ticket = self.ask(task.machine, id, op);
                if self.unlucky(12) {
                    self.deliver(task.machine, Input::Cancel { ticket });
                }
            }
        }
    }

    /// A file is to replace what has this name when it is published, which may be another than has it now: directories
    /// come to show as one, what friends made arrives, and of two that are to have one name each may be the later.
    fn may_replace(&mut self, name: &[u8], by: u64) {
        let rivals: Vec<u64> = self.awaiting(name).map(|task| task.inode).filter(|inode| *inode != by).collect();
        if !rivals.is_empty() {
            self.model.deleted.insert(by);
            self.model.deleted.extend(rivals);
        }
        for at in 0..self.machines.len() {
            let shown = self.all_of(at, &[Kind::File, Kind::Symlink]);
            let named = shown.into_iter().filter(|(path, _)| path.rsplit(|byte| *byte == b'/').next() == Some(name));
            self.model.deleted.extend(named.map(|(_, inode)| inode).filter(|inode| *inode != by));
        }
    }

    /// What is about to get this name: what has it until then is replaced.
    fn awaiting(&self, name: &[u8]) -> impl Iterator<Item = &Task> {
        let linking = self.tasks.values().filter(|task| task.step == Step::Linking);
        linking.filter(move |task| task.place.as_ref().is_some_and(|(_, awaited)| awaited == name))
    }

    /// What a writer does next.
    fn next_step(&mut self, id: u64, task: &mut Task) {
        let Some(handle) = task.handle else { return };
        if task.left == 0 {
            return self.release(id, task);
        }
        task.left -= 1;
        if task.content.is_empty() && self.rng.chance(1, 3) && self.copy(id, task, handle).is_some() {
            return;
        }
        if task.content.is_empty() && self.rng.chance(1, 3) && self.save_anew(id, task, handle).is_some() {
            return;
        }
        match self.rng.below(11) {
            0..5 => self.write(id, task, handle),
            10 => {
                let size = task.content.len() as u64;
                let offset = self.rng.below(size * 3 / 2 + 2);
                let length = 1 + self.rng.below(150_000.min(FILE_MAX as u64 - offset.min(FILE_MAX as u64 - 1)));
                let grow = self.rng.chance(1, 2);
                let end = if grow { offset + length } else { (offset + length).min(size) };
                if end > FILE_MAX as u64 {
                    return self.release(id, task);
                }
                task.next = task.content.clone();
                task.next.resize(size.max(end) as usize, 0);
                if end > offset {
                    task.next[offset as usize..end as usize].fill(0);
                }
                task.next_version = self.model.write(task.machine, task.inode, &task.next);
                task.step = Step::Truncating;
                self.ask(task.machine, id, Op::Zero { handle, offset, length, grow });
            }
            5 => {
                let size = self.rng.below(task.content.len() as u64 * 3 / 2 + 2).min(FILE_MAX as u64);
                task.next = task.content.clone();
                task.next.resize(size as usize, 0);
                task.next_version = self.model.write(task.machine, task.inode, &task.next);
                task.step = Step::Truncating;
                let op = Op::SetAttr { inode: Inode(task.inode), size: Some(size), mode: None, mtime: None };
                self.ask(task.machine, id, op);
            }
            // What has no name promises nothing.
            6 | 7 if task.place.is_none() => {
                task.step = Step::Syncing;
                self.ask(task.machine, id, Op::Fsync { inode: Inode(task.inode) });
            }
            8 => {
                task.step = Step::Flushing;
                self.ask(task.machine, id, Op::Flush { handle });
            }
            _ => {
                task.step = Step::Resting;
                let rest = self.rng.below(4_000_000);
                self.push(rest, Event::Resume { task: id });
            }
        }
    }

    /// An empty file becomes a copy of another that is here whole.
    fn copy(&mut self, id: u64, task: &mut Task, handle: Handle) -> Option<()> {
        let directory = self.directory(task.machine)?;
        let source = self.entry(task.machine, directory)?.inode;
        let machine = &self.machines[task.machine];
        let content = model::read_whole(machine.node.as_ref()?, &machine.disk, source.0).ok()?.ok()?;
        if source.0 == task.inode || content.len() <= INLINE_MAX {
            return None;
        }
        let length = content.len() as u64;
        task.next_version = self.model.write(task.machine, task.inode, &content);
        task.next = content;
        task.step = Step::Copying;
        let op = Op::CopyRange { from: source, from_offset: 0, to: handle, to_offset: 0, length };
        self.ask(task.machine, id, op);
        Some(())
    }

    /// An empty file is written as another is, but for some bytes: as programs save.
    fn save_anew(&mut self, id: u64, task: &mut Task, handle: Handle) -> Option<()> {
        let directory = self.directory(task.machine)?;
        let source = self.entry(task.machine, directory)?.inode;
        let machine = &self.machines[task.machine];
        let mut content = model::read_whole(machine.node.as_ref()?, &machine.disk, source.0).ok()?.ok()?;
        if content.len() <= INLINE_MAX {
            return None;
        }
        if self.rng.chance(3, 4) {
            let at = self.rng.below(content.len() as u64) as usize;
            content[at] ^= 1;
        }
        if self.rng.chance(1, 4) {
            let more = self.rng.below(70_000).min((FILE_MAX - content.len()) as u64) as usize;
            content.resize(content.len() + more, 7);
        }
        *self.counts.entry("files saved anew".into()).or_default() += 1;
        task.next_version = self.model.write(task.machine, task.inode, &content);
        task.next = content;
        task.step = Step::Writing;
        let data = task.next.clone().into();
        self.ask(task.machine, id, Op::Write { handle, offset: Some(0), data });
        Some(())
    }

    fn write(&mut self, id: u64, task: &mut Task, handle: Handle) {
        let length = 1 + match self.rng.below(10) {
            0..5 => self.rng.below(3_000),
            5..8 => self.rng.below(20_000),
            _ => self.rng.below(150_000),
        } as usize;
        let size = task.content.len();
        let offset = match self.rng.below(4) {
            0 => None,
            1 => Some(0),
            2 => Some(self.rng.below(size as u64 + 1)),
            _ => Some(self.rng.below(size as u64 * 2 + 70_000)),
        };
        let start = offset.map_or(size, |offset| offset as usize);
        if start + length > FILE_MAX {
            return self.release(id, task);
        }
        let mut data = vec![0; length];
        self.rng.fill(&mut data);
        let mark = MARK.len().min(length);
        data[..mark].copy_from_slice(&MARK[..mark]);
        task.next = task.content.clone();
        if task.next.len() < start + length {
            task.next.resize(start + length, 0);
        }
        task.next[start..start + length].copy_from_slice(&data);
        task.next_version = self.model.write(task.machine, task.inode, &task.next);
        task.step = Step::Writing;
        self.ask(task.machine, id, Op::Write { handle, offset, data: data.into() });
    }

    fn release(&mut self, id: u64, task: &mut Task) {
        if let (Some((parent, name)), Some(handle), true) = (task.place.clone(), task.handle, task.clean)
            && self.rng.chance(3, 4)
        {
            task.step = Step::Linking;
            self.model.unnamed.remove(&task.inode);
            let no_replace = self.rng.chance(1, 4);
            if !no_replace {
                self.may_replace(&name, task.inode);
            }
            self.ask(task.machine, id, Op::Link { handle, parent, name, no_replace });
            return;
        }
        match task.handle.take() {
            Some(handle) => {
                task.step = Step::Releasing;
                self.ask(task.machine, id, Op::Release { handle });
            }
            None => task.step = Step::End,
        }
    }
}

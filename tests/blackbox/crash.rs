//! SIGKILL in the middle of writes, by seed: what fsync returned for reads back, and the nodes agree at the end.
//!
//! SIGKILL leaves the page cache, so a sync that is missing does not show here: the simulator cuts the power.
//!
//! The writer is a process of its own, and tells by a journal what it did. Were it a thread, the test could start no node as
//! long as the writer waits for the killed one: a new process gives back the files of its parent, which waits as well.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Node, Random, World, digest, long, must, seed, wait_for, wait_until};

/// Cuts in one run.
const ROUNDS: u64 = 50;
/// A node is up again within this time.
const START: Duration = Duration::from_secs(2);
/// How long several nodes are killed for, in minutes; `DUSTFS_SOAK_MINUTES` says otherwise.
const SOAK_MINUTES: f64 = 60.0;
const SOAK_MINUTES_SHORT: f64 = 0.25;
/// Files that are written to.
const NAMES: u64 = 12;
/// In the writer's environment: its seed, the directory to write to and its journal.
const WRITER: [&str; 3] = ["DUSTFS_WRITER_SEED", "DUSTFS_WRITER_ROOT", "DUSTFS_WRITER_JOURNAL"];

/// What the writer does, told before it does it, but for `Synced` and `Done`.
#[derive(Debug)]
enum Event {
    /// A name has this content from now on, or is gone.
    Becomes(String, Option<Vec<u8>>),
    /// What a name has is known to survive.
    Synced(String),
    /// What was synced under the first name is under the second from now on.
    Moves(String, String),
    /// One operation was done.
    Done,
    /// An operation failed.
    Failed(String),
}

impl Event {
    fn encode(&self) -> Vec<u8> {
        let (kind, first, second): (u8, &str, &[u8]) = match self {
            Event::Becomes(name, Some(content)) => (0, name, content),
            Event::Becomes(name, None) => (1, name, &[]),
            Event::Synced(name) => (2, name, &[]),
            Event::Moves(from, to) => (3, from, to.as_bytes()),
            Event::Done => (4, "", &[]),
            Event::Failed(why) => (5, why, &[]),
        };
        let lengths = [first.len() as u32, second.len() as u32].map(u32::to_be_bytes);
        [&[kind][..], &lengths[0], &lengths[1], first.as_bytes(), second].concat()
    }

    fn read(from: &mut impl io::Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let length = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
        let (mut first, mut second) = (vec![0; length(1)], vec![0; length(5)]);
        from.read_exact(&mut first)?;
        from.read_exact(&mut second)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(io::Error::other);
        let first = text(first)?;
        Ok(match head[0] {
            0 => Event::Becomes(first, Some(second)),
            1 => Event::Becomes(first, None),
            2 => Event::Synced(first),
            3 => Event::Moves(first, text(second)?),
            4 => Event::Done,
            5 => Event::Failed(first),
            other => return Err(io::Error::other(format!("no event is {other}"))),
        })
    }
}

/// What may be found under one name after a cut: any state since the last that was synced.
struct Name {
    /// Contents that a close, an fsync or a rename gave it, oldest first; `None` where it was not there.
    states: Vec<Option<Vec<u8>>>,
    /// The last that is known to survive.
    durable: usize,
}

impl Default for Name {
    fn default() -> Self {
        Self { states: vec![None], durable: 0 }
    }
}

impl Name {
    fn now(&self) -> Option<&Vec<u8>> {
        self.states.last().and_then(Option::as_ref)
    }

    fn is_synced(&self) -> bool {
        self.durable == self.states.len() - 1
    }

    /// The newest state that this is, if it may be found.
    fn position(&self, found: &Option<Vec<u8>>) -> Option<usize> {
        (self.durable..self.states.len()).rev().find(|at| self.states[*at] == *found)
    }
}

/// A synced file was renamed: it is under its old name or under the new one, at this state or a later one.
struct Renamed {
    from: String,
    to: String,
    state: usize,
    content: Vec<u8>,
}

/// What may be found in a directory after a cut.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, Name>,
    renamed: Vec<Renamed>,
    done: u64,
}

impl Model {
    /// What is there survives.
    fn of(root: &Path) -> io::Result<Self> {
        let mut model = Self::default();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            model.names.insert(name, Name { states: vec![Some(fs::read(entry.path())?)], durable: 0 });
        }
        Ok(model)
    }

    fn now(&self, name: &str) -> Option<&Vec<u8>> {
        self.names.get(name).and_then(Name::now)
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Becomes(name, content) => self.names.entry(name).or_default().states.push(content),
            Event::Synced(name) => {
                let name = self.names.entry(name).or_default();
                name.durable = name.states.len() - 1;
            }
            Event::Moves(from, to) => {
                let source = self.names.entry(from.clone()).or_default();
                let content = source.now().expect("it is there").clone();
                let synced = source.is_synced();
                source.states.push(None);
                let target = self.names.entry(to.clone()).or_default();
                target.states.push(Some(content.clone()));
                if synced {
                    self.renamed.push(Renamed { from, to, state: target.states.len() - 1, content });
                }
            }
            Event::Done => self.done += 1,
            Event::Failed(_) => {}
        }
    }

    /// Holds what is there against what may be.
    fn check(&self, root: &Path, round: u64) {
        let found = Self::of(root).unwrap_or_else(|error| panic!("round {round}: what is there is not read: {error}"));
        if let Some(name) = found.names.keys().find(|name| !self.names.contains_key(*name)) {
            panic!("round {round}: nobody wrote '{name}'");
        }
        let mut positions = BTreeMap::new();
        for (name, known) in &self.names {
            let content = found.now(name).cloned();
            let position = known.position(&content).unwrap_or_else(|| {
                let length = |state: &Option<Vec<u8>>| state.as_ref().map(Vec::len);
                let allowed: Vec<_> = known.states[known.durable..].iter().map(length).collect();
                let before = known.states.iter().position(|state| *state == content);
                panic!(
                    "round {round}: '{name}' has {:?} bytes (state {before:?}), from state {} on it had {allowed:?}",
                    length(&content),
                    known.durable
                )
            });
            positions.insert(name, position);
        }
        for Renamed { from, to, state, content } in &self.renamed {
            let kept = positions[to] >= *state || found.now(from) == Some(content);
            assert!(kept, "round {round}: '{from}' was synced and renamed to '{to}', and is under neither name");
        }
    }
}

/// Writes below one directory.
struct Writer {
    root: PathBuf,
    random: Random,
    model: Model,
    journal: File,
    temporary: u64,
}

impl Writer {
    fn note(&mut self, event: Event) {
        self.journal.write_all(&event.encode()).expect("the journal is written");
        self.model.note(event);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn name(&mut self) -> String {
        format!("file {}", self.random.below(NAMES))
    }

    fn bytes(&mut self) -> Vec<u8> {
        // In the record, in one chunk, in several chunks.
        let most = [4_000, 60_000, 400_000][self.random.below(3) as usize];
        let length = self.random.below(most) as usize + 1;
        self.random.bytes(length)
    }

    fn becomes(&mut self, name: &str, content: Option<Vec<u8>>) {
        self.note(Event::Becomes(name.into(), content));
    }

    fn synced(&mut self, name: &str) {
        self.note(Event::Synced(name.into()));
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }

    /// One operation drawn at random.
    fn act(&mut self) -> io::Result<()> {
        let name = self.name();
        match self.random.below(10) {
            0..=3 => self.write_whole(&name),
            4 | 5 => self.overwrite(&name),
            6 | 7 => self.replace(&name),
            8 => self.rename(&name),
            _ => self.unlink(&name),
        }
    }

    /// Truncates, writes in parts, and syncs between some of them.
    fn write_whole(&mut self, name: &str) -> io::Result<()> {
        let mut file = File::create(self.path(name))?;
        let mut content = Vec::new();
        for _ in 0..=self.random.below(3) {
            let part = self.bytes();
            file.write_all(&part)?;
            content.extend(part);
            if self.random.below(3) == 0 {
                self.becomes(name, Some(content.clone()));
                file.sync_all()?;
                self.synced(name);
            }
        }
        self.becomes(name, Some(content));
        Ok(())
    }

    fn overwrite(&mut self, name: &str) -> io::Result<()> {
        let Some(mut content) = self.model.now(name).cloned() else { return Ok(()) };
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        if self.random.below(4) == 0 {
            let length = self.random.below(content.len() as u64 * 2 + 1);
            file.set_len(length)?;
            content.resize(length as usize, 0);
        } else {
            let (at, part) = (self.random.below(content.len() as u64 + 1) as usize, self.bytes());
            file.write_all_at(&part, at as u64)?;
            content.resize(content.len().max(at + part.len()), 0);
            content[at..at + part.len()].copy_from_slice(&part);
        }
        self.becomes(name, Some(content));
        if self.random.below(2) == 0 {
            file.sync_data()?;
            self.synced(name);
        }
        Ok(())
    }

    /// As editors save: a temporary file, synced, renamed over the old one.
    fn replace(&mut self, name: &str) -> io::Result<()> {
        self.temporary += 1;
        let temporary = format!("temporary {} {}", std::process::id(), self.temporary);
        let content = self.bytes();
        let mut file = File::create(self.path(&temporary))?;
        file.write_all(&content)?;
        self.becomes(&temporary, Some(content.clone()));
        file.sync_all()?;
        self.synced(&temporary);
        if self.random.below(2) == 0 {
            drop(file);
        }
        self.rename_to(&temporary, name)
    }

    fn rename(&mut self, name: &str) -> io::Result<()> {
        if self.model.now(name).is_none() {
            return Ok(());
        }
        let to = self.name();
        if to == name {
            return Ok(());
        }
        self.rename_to(name, &to)
    }

    fn rename_to(&mut self, from: &str, to: &str) -> io::Result<()> {
        let synced = self.model.names[from].is_synced();
        self.note(Event::Moves(from.into(), to.into()));
        fs::rename(self.path(from), self.path(to))?;
        if synced && self.random.below(2) == 0 {
            self.sync_directory()?;
            self.synced(from);
            self.synced(to);
        }
        Ok(())
    }

    fn unlink(&mut self, name: &str) -> io::Result<()> {
        if self.model.now(name).is_none() {
            return Ok(());
        }
        self.becomes(name, None);
        fs::remove_file(self.path(name))?;
        if self.random.below(2) == 0 {
            self.sync_directory()?;
            self.synced(name);
        }
        Ok(())
    }
}

/// The writer's process: writes until an operation fails, or it is told to stop by a file beside its journal.
fn write_until_it_fails([seed, root, journal]: [String; 3]) {
    let root = PathBuf::from(root);
    let mut writer = Writer {
        model: Model::of(&root).expect("what is there is read"),
        root,
        random: Random::new(seed.parse().expect("a number")),
        journal: File::create(&journal).expect("a journal"),
        temporary: 0,
    };
    let stop = stop_file(Path::new(&journal));
    while !stop.exists() {
        let event = match writer.act() {
            Ok(()) => Event::Done,
            Err(error) => Event::Failed(error.to_string()),
        };
        let failed = matches!(event, Event::Failed(_));
        writer.note(event);
        if failed {
            return;
        }
    }
}

fn stop_file(journal: &Path) -> PathBuf {
    journal.with_extension("stop")
}

/// This test again, in a process of its own, as the writer.
fn start_writer(seed: u64, root: &Path, journal: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(
            ["--exact", concat!(module_path!(), "::sigkill_in_the_middle_of_writes")]
                .map(|part| part.strip_prefix("blackbox::").unwrap_or(part)),
        )
        .env(WRITER[0], seed.to_string())
        .env(WRITER[1], root)
        .env(WRITER[2], journal)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program runs once more")
}

/// Adds to what may be found what the writer did; how it failed.
fn replay(journal: &Path, model: &mut Model) -> Option<String> {
    let mut bytes = io::BufReader::new(File::open(journal).expect("the journal"));
    while let Ok(event) = Event::read(&mut bytes) {
        if let Event::Failed(why) = event {
            return Some(why);
        }
        model.note(event);
    }
    None
}

#[test]
fn sigkill_in_the_middle_of_writes() {
    if let [Ok(seed), Ok(root), Ok(journal)] = WRITER.map(std::env::var) {
        return write_until_it_fails([seed, root, journal]);
    }
    let test = "sigkill_in_the_middle_of_writes";
    let Some(world) = World::new(test) else { return };
    let seed = seed(test);
    let mut random = Random::new(seed);
    let mut a = world.started("A");
    let mut b = world.started("B");
    b.join(&a.invite("member"));
    let (root, journal) = (a.friends(""), world.path().join("journal"));
    let mut slowest = Duration::ZERO;
    let mut operations = 0;
    for round in 0..ROUNDS {
        let mut model = Model::of(&root).expect("what is there is read");
        let mut writer = start_writer(random.next(), &root, &journal);
        wait_until("the writer begins", START, || journal.exists());
        let end = Instant::now() + Duration::from_millis(random.below(400) + 5);
        wait_until("the time to kill", Duration::from_secs(20), || Instant::now() >= end);
        let ended = writer.try_wait().expect("a child");
        assert!(ended.is_none(), "round {round}: the writer ended: {:?}", replay(&journal, &mut model));
        a.kill();
        // What the writer asked for last may be answered by the next start alone.
        let begun = Instant::now();
        a.start();
        let took = begun.elapsed();
        slowest = slowest.max(took);
        assert!(took < START, "round {round}: the node took {took:?} to start");
        wait_for("the writer ends", Duration::from_secs(20), || writer.try_wait().expect("a child"));
        let failed = replay(&journal, &mut model);
        assert!(failed.is_some(), "round {round}: the writer did not say why it ended");
        operations += model.done;
        model.check(&root, round);
        fs::remove_file(&journal).expect("the journal is removed");
    }
    println!("{test}: {ROUNDS} rounds, {operations} operations, the slowest start took {} ms", slowest.as_millis());
    assert!(operations > ROUNDS, "only {operations} operations were done");
    wait_until("both nodes agree", Duration::from_secs(60), || {
        let (at_a, at_b) = (digest(&a.friends("")), digest(&b.friends("")));
        matches!((at_a, at_b), (Ok(at_a), Ok(at_b)) if at_a == at_b)
    });
    a.stop();
    b.stop();
}

/// Somebody at work on one node, in a directory of their own.
struct Desk {
    root: PathBuf,
    journal: PathBuf,
    model: Model,
    writer: Child,
}

impl Desk {
    fn new(node: &Node, seed: u64, world: &World) -> Self {
        let root = node.friends(&format!("of {}", node.name()));
        fs::create_dir_all(&root).expect("a directory");
        let journal = world.path().join(format!("journal {}", node.name()));
        let model = Model::of(&root).expect("what is there is read");
        let writer = start_writer(seed, &root, &journal);
        wait_until("the writer begins", START, || journal.exists());
        Self { root, journal, model, writer }
    }

    /// Whose node was killed has failed; the other one is told to stop. Returns how much was done.
    fn end(mut self, killed: bool, round: u64) -> u64 {
        let stop = stop_file(&self.journal);
        if !killed {
            File::create(&stop).expect("a file");
        }
        wait_for("the writer ends", Duration::from_secs(40), || self.writer.try_wait().expect("a child"));
        let failed = replay(&self.journal, &mut self.model);
        assert!(killed || failed.is_none(), "round {round}: a node that nobody killed failed: {failed:?}");
        self.model.check(&self.root, round);
        fs::remove_file(&self.journal).expect("the journal is removed");
        let _ = fs::remove_file(&stop);
        self.model.done
    }
}

/// Where two work and a cache helps, whoever is drawn is killed, for as long as is asked.
#[test]
fn work_goes_on_while_nodes_are_killed() {
    let test = "work_goes_on_while_nodes_are_killed";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let minutes = std::env::var("DUSTFS_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok());
    let minutes: f64 = minutes.unwrap_or(if long() { SOAK_MINUTES } else { SOAK_MINUTES_SHORT });
    let mut members = ["A", "B"].map(|name| world.node(name));
    for node in &mut members {
        fs::create_dir_all(node.state()).expect("a directory");
        must(&["chmod", "700", &node.state().to_string_lossy()]);
        // An hour's older versions would fill a disk.
        fs::write(node.state().join("config.toml"), "versions = \"100 MB\"\n").expect("written");
        node.start();
    }
    let mut cache = world.node("C");
    cache.run_as(&["--cache", "--quota", "200MB"]);
    members[1].join(&members[0].invite("member"));
    cache.join(&members[0].invite("cache"));

    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let (mut round, mut kills, mut operations, mut slowest) = (0, 0, 0, Duration::ZERO);
    let mut agreed = 0;
    while Instant::now() < end {
        let desks = [&members[0], &members[1]].map(|node| Desk::new(node, random.next(), &world));
        let cut = Instant::now() + Duration::from_millis(random.below(2_000) + 20);
        wait_until("the time to kill", START, || Instant::now() >= cut);
        // One or two of the three.
        let who = [0b001, 0b010, 0b100, 0b011, 0b101, 0b110][random.below(6) as usize];
        let killed = |at: usize| who & (1 << at) != 0;
        for (at, node) in members.iter_mut().chain([&mut cache]).enumerate().filter(|(at, _)| killed(*at)) {
            node.kill();
            kills += 1;
            let begun = Instant::now();
            if at == 2 {
                node.run_as(&["--cache", "--quota", "200MB"])
            } else {
                node.start()
            }
            slowest = slowest.max(begun.elapsed());
        }
        for (at, desk) in desks.into_iter().enumerate() {
            operations += desk.end(killed(at), round);
        }
        round += 1;
        if random.below(10) == 0 || Instant::now() >= end {
            wait_until("both nodes agree", Duration::from_secs(120), || {
                let [at_a, at_b] = [&members[0], &members[1]].map(|node| digest(&node.friends("")));
                matches!((at_a, at_b), (Ok(at_a), Ok(at_b)) if at_a == at_b)
            });
            agreed += 1;
        }
    }
    let took = slowest.as_millis();
    println!(
        "{test}: {round} rounds, {kills} kills, {operations} operations; agreed {agreed} times; the slowest start took {took} ms"
    );
    for node in &members {
        assert_eq!(node.run(&["check", "--full"]).code, Some(0), "{}", node.log());
    }
}

//! SIGKILL in the middle of writes, by seed: what fsync returned for reads back, and the nodes agree at the end.
//!
//! SIGKILL leaves the page cache, so a sync that is missing does not show here: the simulator cuts the power.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Random, World, digest, seed, wait_until};

/// Cuts in one run.
const ROUNDS: u64 = 50;
/// A node is up again within this time.
const START: Duration = Duration::from_secs(2);
/// Files that are written to.
const NAMES: u64 = 12;

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

    fn becomes(&mut self, content: Option<Vec<u8>>) {
        self.states.push(content);
    }

    fn synced(&mut self) {
        self.durable = self.states.len() - 1;
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

/// Writes below one directory, and knows what may be found there after a cut.
struct Writer {
    root: PathBuf,
    random: Random,
    names: BTreeMap<String, Name>,
    renamed: Vec<Renamed>,
    temporary: u64,
}

impl Writer {
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
        self.names.entry(name.into()).or_default().becomes(content);
    }

    fn synced(&mut self, name: &str) {
        self.names.entry(name.into()).or_default().synced();
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
        let Some(mut content) = self.names.get(name).and_then(Name::now).cloned() else { return Ok(()) };
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
        let temporary = format!("temporary {}", self.temporary);
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
        if self.names.get(name).and_then(Name::now).is_none() {
            return Ok(());
        }
        let to = self.name();
        if to == name {
            return Ok(());
        }
        self.rename_to(name, &to)
    }

    fn rename_to(&mut self, from: &str, to: &str) -> io::Result<()> {
        let source = &self.names[from];
        let content = source.now().expect("it is there").clone();
        let synced = source.durable == source.states.len() - 1;
        self.becomes(from, None);
        self.becomes(to, Some(content.clone()));
        if synced {
            let state = self.names[to].states.len() - 1;
            self.renamed.push(Renamed { from: from.into(), to: to.into(), state, content });
        }
        fs::rename(self.path(from), self.path(to))?;
        if synced && self.random.below(2) == 0 {
            self.sync_directory()?;
            self.synced(from);
            self.synced(to);
        }
        Ok(())
    }

    fn unlink(&mut self, name: &str) -> io::Result<()> {
        if self.names.get(name).and_then(Name::now).is_none() {
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

    /// Holds what is there against what may be, and goes on from it.
    fn check(&mut self, round: u64) {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.root).expect("the directory is listed") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            assert!(self.names.contains_key(&name), "round {round}: nobody wrote '{name}'");
            let content = read(&self.path(&name)).unwrap_or_else(|error| panic!("round {round}: {name}: {error}"));
            found.insert(name, content);
        }
        let mut positions = BTreeMap::new();
        for (name, known) in &self.names {
            let content = found.get(name).cloned();
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
            positions.insert(name.clone(), position);
        }
        for Renamed { from, to, state, content } in self.renamed.drain(..) {
            let kept = positions[&to] >= state || found.get(&from) == Some(&content);
            assert!(kept, "round {round}: '{from}' was synced and renamed to '{to}', and is under neither name");
        }
        self.names =
            found.into_iter().map(|(name, content)| (name, Name { states: vec![Some(content)], durable: 0 })).collect();
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

#[test]
fn sigkill_in_the_middle_of_writes() {
    let test = "sigkill_in_the_middle_of_writes";
    let Some(world) = World::new(test) else { return };
    let seed = seed(test);
    let mut random = Random::new(seed);
    let mut a = world.started("A");
    let mut b = world.started("B");
    b.join(&a.invite("member"));
    let root = a.friends("");
    let mut writer =
        Writer { root, random: Random::new(seed ^ 1), names: BTreeMap::new(), renamed: Vec::new(), temporary: 0 };
    let mut slowest = Duration::ZERO;
    let mut operations = 0;
    for round in 0..ROUNDS {
        let killed = AtomicBool::new(false);
        let time = Duration::from_millis(random.below(400) + 5);
        let mut took = Duration::ZERO;
        operations += std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let mut done = 0;
                loop {
                    match writer.act() {
                        Ok(()) => done += 1,
                        Err(_) if killed.load(Ordering::SeqCst) => return done,
                        Err(error) => panic!("round {round}: operation {done}: {error}"),
                    }
                }
            });
            let end = Instant::now() + time;
            wait_until("the time to kill", time + START, || Instant::now() >= end || writing.is_finished());
            killed.store(true, Ordering::SeqCst);
            a.kill();
            // What the writer asked for last may be answered by the next start alone.
            let begun = Instant::now();
            a.start();
            took = begun.elapsed();
            writing.join().expect("the writer")
        });
        slowest = slowest.max(took);
        assert!(took < START, "round {round}: the node took {took:?} to start");
        writer.check(round);
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

//! The power is cut after every write and every sync of ledger and slabs, which are the real ones on a simulated disk
//! that drops, keeps or tears what was not synced: nothing that was acknowledged may be lost.

mod machine;
mod volatile;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use self::machine::{HASTY, Machine, REPAIRS, STATE, blank};
use self::volatile::{Cutter, Event, Image, Variant, Volatile};
use super::files::Files;
use super::storage::faults::{Fault, Faulty};
use crate::base::limits::{CHUNK_SEALED, UNIT};
use crate::base::{Rng, Snapshot, Table};
use crate::ledger::values::TorrentEntry;
use crate::node::ScrubRate;
use crate::node::io::{Handle, Inode, Op, OpError, Segment};
use crate::node::status::Damaged;
use crate::seal::piece;

/// redb reads a whole ledger.
pub(super) fn repaired() {
    REPAIRS.set(REPAIRS.get() + 1);
}

/// Bytes of the largest file.
const FILE_MAX: u64 = 180_000;
/// Names that files have.
const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

/// What people did, and what of it was acknowledged.
#[derive(Default)]
struct Story {
    /// Of each name, all contents that it ever had, in their order; `None` where there was no such file.
    contents: BTreeMap<&'static str, Vec<Option<Vec<u8>>>>,
    /// From this event on the name has this content or a later one.
    acknowledged: Vec<(usize, &'static str, usize)>,
}

impl Story {
    fn now(&self, name: &str) -> Option<Vec<u8>> {
        self.contents.get(name).and_then(|all| all.last().cloned()).flatten()
    }

    fn write(&mut self, name: &'static str, content: Option<Vec<u8>>) {
        self.contents.entry(name).or_insert_with(|| vec![None]).push(content);
    }

    fn acknowledge(&mut self, at: usize, name: &'static str) {
        if let Some(all) = self.contents.get(name) {
            self.acknowledged.push((at, name, all.len() - 1));
        }
    }

    /// What is wrong with what a machine shows after so many events.
    fn check(&self, machine: &Machine, events: usize) -> Result<BTreeMap<&'static str, Option<Vec<u8>>>, String> {
        let mut shown = BTreeMap::new();
        for (name, contents) in &self.contents {
            let acknowledged = self.acknowledged.iter().filter(|(at, of, _)| *at <= events && of == name);
            let least = acknowledged.map(|(.., number)| *number).max().unwrap_or(0);
            let read = machine.read(name).map_err(|why| format!("{name}: {why}"))?;
            if !contents[least..].contains(&read) {
                let older = contents.iter().rposition(|content| *content == read);
                let bytes = read.map(|read| read.len());
                return Err(format!("{name} has content {older:?}, {bytes:?} bytes, and {least} was acknowledged"));
            }
            shown.insert(*name, read);
        }
        Ok(shown)
    }
}

/// Somebody at work.
struct Worker {
    machine: Machine,
    disk: Volatile,
    story: Story,
    rng: Rng,
    open: BTreeMap<&'static str, (Inode, Handle)>,
}

impl Worker {
    fn new(disk: Volatile, machine: Machine, seed: u64) -> Self {
        Self { machine, disk, story: Story::default(), rng: Rng::new(seed), open: BTreeMap::new() }
    }

    /// What was written last and not acknowledged may be there or not.
    fn look(&mut self) {
        for name in NAMES {
            let read = self.machine.read(name).unwrap();
            if self.story.now(name) != read {
                self.story.write(name, read);
            }
        }
    }

    /// One thing that people do. Refusals are told.
    fn act(&mut self) -> Result<(), OpError> {
        let name = NAMES[self.rng.below(NAMES.len() as u64) as usize];
        match self.rng.below(16) {
            0..6 => self.write(name),
            6..9 => self.sync(name),
            9..12 => self.close(name),
            12 => self.remove(name),
            13 => self.sync_all(),
            14 => {
                let rest = Duration::from_millis(self.rng.below(6_000));
                self.machine.pass(rest, &mut self.rng);
                Ok(())
            }
            _ => self.replace(name),
        }
    }

    fn handle(&mut self, name: &'static str) -> Result<(Inode, Handle), OpError> {
        if let Some(open) = self.open.get(name) {
            return Ok(*open);
        }
        let made = self.story.now(name).is_none();
        if made {
            self.story.write(name, Some(Vec::new()));
        }
        let opened = self.machine.open(name, &mut self.rng)?;
        self.open.insert(name, opened);
        Ok(opened)
    }

    fn write(&mut self, name: &'static str) -> Result<(), OpError> {
        let (inode, handle) = self.handle(name)?;
        let mut content = self.story.now(name).unwrap_or_default();
        if self.rng.chance(1, 8) {
            let size = self.rng.below(content.len() as u64 + 1);
            content.truncate(size as usize);
            self.story.write(name, Some(content));
            let op = Op::SetAttr { inode, size: Some(size), mode: None, mtime: None };
            return self.machine.ask(op, &mut self.rng).map(drop);
        }
        let offset = self.rng.below(content.len() as u64 + 1).min(FILE_MAX);
        let most = if self.rng.chance(1, 3) { 3_000 } else { FILE_MAX - offset };
        let mut data = vec![0; 1 + self.rng.below(most.max(1)) as usize];
        self.rng.fill(&mut data);
        content.resize(content.len().max(offset as usize + data.len()), 0);
        content[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
        self.story.write(name, Some(content));
        self.machine.write(handle, offset, data, &mut self.rng)
    }

    fn sync(&mut self, name: &'static str) -> Result<(), OpError> {
        let Some((inode, _)) = self.open.get(name).copied() else { return Ok(()) };
        self.machine.ask(Op::Fsync { inode }, &mut self.rng)?;
        self.story.acknowledge(self.disk.events(), name);
        Ok(())
    }

    fn close(&mut self, name: &'static str) -> Result<(), OpError> {
        let Some((_, handle)) = self.open.remove(name) else { return Ok(()) };
        self.machine.ask(Op::Flush { handle }, &mut self.rng)?;
        self.machine.ask(Op::Release { handle }, &mut self.rng)?;
        if self.rng.chance(1, 2) {
            self.machine.settle(&mut self.rng);
        }
        Ok(())
    }

    fn remove(&mut self, name: &'static str) -> Result<(), OpError> {
        self.close(name)?;
        if self.story.now(name).is_some() {
            // What is closed is still on its way into the tree.
            self.machine.settle(&mut self.rng);
            self.story.write(name, None);
            let op = Op::Unlink { parent: Inode::ROOT, name: name.as_bytes().to_vec() };
            self.machine.ask(op, &mut self.rng)?;
        }
        Ok(())
    }

    /// Everything that is closed is made durable.
    fn sync_all(&mut self) -> Result<(), OpError> {
        self.machine.settle(&mut self.rng);
        self.machine.ask(Op::Fsync { inode: Inode::ROOT }, &mut self.rng)?;
        for name in NAMES.into_iter().filter(|name| !self.open.contains_key(name)) {
            self.story.acknowledge(self.disk.events(), name);
        }
        Ok(())
    }

    /// Another file is written without a name, and takes the place of this one.
    fn replace(&mut self, name: &'static str) -> Result<(), OpError> {
        self.close(name)?;
        self.machine.settle(&mut self.rng);
        let unnamed = self.machine.ask(Op::Unnamed { directory: Inode::ROOT, mode: 0o644 }, &mut self.rng)?;
        let crate::node::io::Answer::Created(_, handle) = unnamed else { panic!("{unnamed:?}") };
        let mut data = vec![0; 1 + self.rng.below(FILE_MAX) as usize];
        self.rng.fill(&mut data);
        self.story.write(name, Some(data.clone()));
        self.machine.write(handle, 0, data, &mut self.rng)?;
        let link = Op::Link { handle, parent: Inode::ROOT, name: name.as_bytes().to_vec(), no_replace: false };
        self.machine.ask(link, &mut self.rng)?;
        self.story.acknowledge(self.disk.events(), name);
        self.machine.ask(Op::Release { handle }, &mut self.rng).map(drop)
    }
}

/// What was done on a disk from its making on, with starts in between.
struct Recorded {
    base: Image,
    log: Vec<Event>,
    story: Story,
}

fn record(seed: u64) -> Recorded {
    let base = blank();
    let disk = Volatile::new(base.clone());
    let machine = Machine::start(Arc::new(disk.clone()), seed).unwrap();
    let mut worker = Worker::new(disk.clone(), machine, seed);
    for start in 1..3 {
        for _ in 0..26 {
            worker.act().unwrap();
        }
        // It is killed: what the disk was told stays, what was open is gone.
        let Worker { story, rng, machine, .. } = worker;
        drop(machine);
        let mut machine = Machine::start(Arc::new(disk.clone()), seed * 10 + start).unwrap();
        let mut rng = rng;
        machine.settle(&mut rng);
        worker = Worker { machine, disk: disk.clone(), story, rng, open: BTreeMap::new() };
        worker.look();
    }
    Recorded { base, log: disk.log(), story: worker.story }
}

/// Starts from what a cut left, twice, and looks at everything.
fn survives(image: Image, story: &Story, events: usize, seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let disk = Volatile::new(image);
    let mut shown = None;
    for start in 0..2 {
        REPAIRS.set(0);
        let mut machine = Machine::start(Arc::new(disk.clone()), seed + start)?;
        if REPAIRS.get() > 0 {
            return Err("the whole ledger was read".into());
        }
        story.check(&machine, events).map_err(|why| format!("start {start}, at once: {why}"))?;
        machine.pass(Duration::from_secs(3), &mut rng);
        let now = story.check(&machine, events).map_err(|why| format!("start {start}: {why}"))?;
        if shown.replace(now.clone()).is_some_and(|before| before != now) {
            return Err("the second start shows something else than the first".into());
        }
        check_vault(&machine, &disk).map_err(|why| format!("start {start}: {why}"))?;
    }
    Ok(())
}

/// Every piece that the ledger names hashes, and nothing lies in the slabs that it does not name.
fn check_vault(machine: &Machine, disk: &Volatile) -> Result<(), String> {
    let mut named = BTreeSet::new();
    let mut wrong = None;
    let mut entries = Vec::new();
    let read = machine.store.range(Table::Torrents, &[], &[0xff; 21], &mut |_, value| {
        entries.push(TorrentEntry::decode(value));
        true
    });
    read.map_err(|error| error.to_string())?;
    let mut end = (0, 0);
    for entry in entries {
        let entry = entry.map_err(|error| error.to_string())?;
        let meta = machine.node.metainfo(&entry.circle, &entry.record).ok_or("a torrent's record is gone")?;
        let mut sealed = Vec::new();
        for extent in &entry.extents {
            let from = u64::from(extent.chunk) * CHUNK_SEALED as u64;
            let bytes = (meta.length - from).min(u64::from(extent.chunks) * CHUNK_SEALED as u64);
            let units = bytes.div_ceil(UNIT as u64) as u32;
            named.extend((0..units).map(|unit| (extent.location.slab, u64::from(extent.location.unit + unit))));
            end = end.max((extent.location.slab, u64::from(extent.location.unit + units)));
            match machine.slab(Segment::at(extent.location, bytes as u32)) {
                Ok(bytes) => sealed.extend(bytes),
                Err(why) => wrong = Some(why),
            }
        }
        if let Some(why) = wrong {
            return Err(format!("what a torrent names cannot be read: {why}"));
        }
        if entry.have.is_some() {
            return Err("a torrent of this node's own is not whole".into());
        }
        for number in (0..meta.piece_count()).filter_map(|number| meta.piece(number)) {
            let from = number.0 as usize * meta.piece_length as usize;
            let bytes = &sealed[from..from + meta.piece_size(number) as usize];
            if piece::sha1([bytes]) != meta.piece_hash(number) {
                return Err(format!("piece {} of a torrent at {:?} does not hash", number.0, entry.extents));
            }
        }
    }
    let slabs = Path::new(STATE).join("slabs");
    for path in disk.image().names(&slabs) {
        let slab =
            path.file_name().and_then(|name| u32::from_str_radix(name.to_str()?, 16).ok()).expect("a slab's name");
        let pages = disk.image().allocated(&path);
        let lost = pages.into_iter().map(|page| (slab, page)).find(|at| *at < end && !named.contains(at));
        if let Some((slab, unit)) = lost {
            return Err(format!("unit {unit} of slab {slab} takes space, and nothing names it"));
        }
    }
    Ok(())
}

/// Cuts a recorded story short at each event. Returns at how many, and how many disks that gave; or what was lost.
fn cut_everywhere(seed: u64) -> Result<(usize, usize), String> {
    let Recorded { base, log, story } = record(seed);
    let mut cutter = Cutter::new(base);
    let mut rng = Rng::new(seed ^ 0xc07);
    let mut images = 0;
    for (at, event) in log.iter().enumerate() {
        cutter.pass(event);
        let third = [Variant::Some, Variant::Torn][at % 2];
        let variants = [Variant::Dropped, Variant::Kept, third];
        for variant in variants.into_iter().take(if cutter.is_settled() { 1 } else { 3 }) {
            images += 1;
            let image = cutter.cut(variant, &mut rng);
            survives(image, &story, at + 1, seed).map_err(|why| {
                format!("seed {seed}, cut after event {} of {}, {variant:?}: {why}", at + 1, log.len())
            })?;
        }
    }
    Ok((log.len(), images))
}

fn is_long() -> bool {
    env::var_os("DUSTFS_LONG").is_some()
}

#[test]
fn a_cut_anywhere_loses_nothing_that_was_acknowledged() {
    let wanted = if is_long() { 50_000 } else { 2_000 };
    let (mut points, mut images, mut seed) = (0, 0, 1);
    while points < wanted {
        let (at, of) = cut_everywhere(seed).unwrap_or_else(|why| panic!("{why}"));
        (points, images, seed) = (points + at, images + of, seed + 1);
    }
    println!("{points} distinct cut points, {images} disks after a cut, {} stories", seed - 1);
}

#[test]
fn a_commit_that_does_not_wait_for_the_slabs_is_found() {
    HASTY.set(true);
    let found = (1..5).find_map(|seed| cut_everywhere(seed).err());
    HASTY.set(false);
    println!("{}", found.expect("cuts find a sync that is missing"));
}

/// What goes wrong on a disk.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// This access fails, once.
    Fails(usize),
    /// After so many writes there is no new space, until somebody makes some.
    Full(usize),
}

/// Has something go wrong: whoever asked is told, nothing that was acknowledged is lost, and afterwards all goes on; where
/// a slab's sync failed, after the start that the error asks for. False when it went by.
fn survives_trouble(seed: u64, trouble: Trouble) -> bool {
    let disk = Volatile::new(blank());
    let fault = Arc::new(Fault::default());
    let files = Arc::new(Faulty { under: Arc::new(disk.clone()), fault: fault.clone() });
    let machine = Machine::start(files, seed).unwrap();
    let mut worker = Worker::new(disk.clone(), machine, seed);
    worker.machine.settle(&mut worker.rng);
    match trouble {
        Trouble::Fails(access) => fault.arm(access, Errno::EIO, false),
        Trouble::Full(writes) => drop(disk.limit(Some(writes))),
    }
    let mut told = Vec::new();
    for _ in 0..40 {
        if let Err(error) = worker.act() {
            assert!(!error.to_string().is_empty() && error != OpError::Busy, "seed {seed}, {trouble:?}: {error:?}");
            told.push(error);
            worker.look();
        }
    }
    worker.machine.pass(Duration::from_secs(1), &mut worker.rng);
    // What was refused may be there or not.
    let whole = |worker: &Worker| {
        let checked = worker.story.check(&worker.machine, disk.events()).map(drop);
        checked.unwrap_or_else(|why| panic!("seed {seed}, {trouble:?}, {told:?}: {why}"));
    };
    whole(&worker);
    if !(fault.disarm() | disk.limit(None)) {
        return false;
    }
    let after = |worker: &mut Worker| -> Result<(), OpError> {
        worker.machine.pass(Duration::from_secs(10), &mut worker.rng);
        let (inode, handle) = worker.machine.open("after", &mut worker.rng)?;
        worker.machine.write(handle, 0, vec![7; 70_000], &mut worker.rng)?;
        worker.machine.ask(Op::Fsync { inode }, &mut worker.rng)?;
        worker.machine.ask(Op::Release { handle }, &mut worker.rng).map(drop)
    };
    if let Err(error) = after(&mut worker) {
        assert!(error.to_string().contains("restart the node"), "seed {seed}, {trouble:?}: {error}");
    }
    let Worker { story, rng, machine, .. } = worker;
    drop(machine);
    let machine = Machine::start(Arc::new(disk.clone()), seed + 1).unwrap();
    let mut worker = Worker { machine, disk: disk.clone(), story, rng, open: BTreeMap::new() };
    whole(&worker);
    after(&mut worker).unwrap_or_else(|error| panic!("seed {seed}, {trouble:?}, after a start: {error}"));
    whole(&worker);
    assert_eq!(worker.machine.read("after").unwrap(), Some(vec![7; 70_000]));
    true
}

#[test]
fn an_access_that_fails_is_told_and_loses_nothing() {
    let every = if is_long() { 1 } else { 5 };
    let count =
        |seed| (1..).step_by(every).take_while(|access| survives_trouble(seed, Trouble::Fails(*access))).count();
    let failed: usize = (1..4).map(count).sum();
    println!("{failed} accesses failed");
    assert!(failed > 20);
}

#[test]
fn a_disk_that_is_full_from_any_write_on_loses_nothing() {
    let every = if is_long() { 1 } else { 5 };
    let count = |seed| (0..).step_by(every).take_while(|writes| survives_trouble(seed, Trouble::Full(*writes))).count();
    let full: usize = (1..4).map(count).sum();
    println!("the disk was full from {full} writes on");
    assert!(full > 15);
}

/// A node that has one file of four chunks, and the page of the slab at which its second begins.
fn with_a_file(seed: u64) -> (Machine, Volatile, Rng) {
    let disk = Volatile::new(blank());
    let mut rng = Rng::new(seed);
    let mut machine = Machine::start(Arc::new(disk.clone()), seed).unwrap();
    let (_, handle) = machine.open("one", &mut rng).unwrap();
    machine.write(handle, 0, vec![5; 4 * 65_508], &mut rng).unwrap();
    machine.ask(Op::Release { handle }, &mut rng).unwrap();
    machine.ask(Op::Fsync { inode: Inode::ROOT }, &mut rng).unwrap();
    machine.pass(Duration::from_secs(3), &mut rng);
    (machine, disk, rng)
}

fn slab() -> std::path::PathBuf {
    Path::new(STATE).join("slabs/00000000")
}

#[test]
fn a_flipped_bit_is_found_by_a_full_check_named_and_reads_as_an_error() {
    let (mut machine, disk, mut rng) = with_a_file(1);
    let check = |machine: &mut Machine, full, rng: &mut Rng| {
        machine.ask(Op::Check { full }, rng).unwrap();
        machine.pass(Duration::from_secs(1), rng);
        machine.node.check_status().unwrap()
    };
    for full in [false, true] {
        let status = check(&mut machine, full, &mut rng);
        assert!(!status.running && status.damaged.is_empty() && status.notes.is_empty(), "{status:?}");
        assert_eq!((status.done_bytes, status.torrents), (if full { 4 * 65_536 } else { 0 }, 1));
    }
    disk.flip(&slab(), 65_536 + 77);
    let status = check(&mut machine, false, &mut rng);
    assert!(status.damaged.is_empty() && status.notes.is_empty(), "a quick check reads nothing: {status:?}");
    let status = check(&mut machine, true, &mut rng);
    assert_eq!(status.damaged.len(), 1, "{status:?}");
    let damage = &status.damaged[0];
    assert_eq!((damage.name.as_str(), damage.pieces, damage.now), ("Home/one", 1, Damaged::Lost));
    assert!(machine.read("one").is_err());
    for _ in 0..2 {
        let told = machine.node.status().problems;
        assert!(told.iter().any(|told| told.contains("Home/one") && told.contains("damaged")), "{told:?}");
        let inode = machine.node.lookup(Inode::ROOT, b"one").unwrap().inode;
        let fetch = Op::Fetch { inode, offset: 0, length: 1 << 20 };
        let read = machine.ask(fetch, &mut rng);
        assert!(matches!(&read, Err(OpError::Io(why)) if why.contains("damaged")), "{read:?}");
        // It is known after a start as well.
        drop(machine);
        machine = Machine::start(Arc::new(disk.clone()), 2).unwrap();
        machine.settle(&mut rng);
    }
    // What lay there was given back, and the rest is whole.
    let status = check(&mut machine, true, &mut rng);
    assert!(status.damaged.is_empty() && status.notes.is_empty(), "{status:?}");
    assert_eq!(status.done_bytes, 3 * 65_536);
    assert!(!disk.image().allocated(&slab()).contains(&16), "the damaged piece takes space still");
}

#[test]
fn a_read_that_fails_has_its_pieces_hashed() {
    let (mut machine, disk, mut rng) = with_a_file(3);
    let inode = machine.node.lookup(Inode::ROOT, b"one").unwrap().inode;
    let doubt = |offset| Op::Doubt { inode, offset, length: 4_096 };
    disk.flip(&slab(), 3 * 65_536 + 5);
    machine.ask(doubt(0), &mut rng).unwrap();
    machine.settle(&mut rng);
    assert!(machine.node.status().problems.is_empty(), "a piece that is whole was doubted");
    machine.ask(doubt(3 * 65_508 + 9), &mut rng).unwrap();
    assert_eq!(machine.node.status().problems.len(), 1);
    assert!(machine.read("one").unwrap_err().contains("missing"));
}

#[test]
fn a_slab_that_was_cut_short_is_found_by_a_quick_check() {
    let (mut machine, disk, mut rng) = with_a_file(4);
    Files::open(&disk, &slab()).unwrap().set_len(2 * 65_536 + 9).unwrap();
    machine.ask(Op::Check { full: false }, &mut rng).unwrap();
    machine.pass(Duration::from_secs(1), &mut rng);
    let status = machine.node.check_status().unwrap();
    assert_eq!(status.damaged.iter().map(|damage| damage.pieces).sum::<u64>(), 2, "{status:?}");
}

#[test]
fn a_scrub_goes_on_where_it_was_and_tells_what_it_found() {
    let (mut machine, disk, mut rng) = with_a_file(5);
    let scrub = |machine: &Machine| machine.node.status().scrub.unwrap();
    assert_eq!(scrub(&machine).done_bytes, 0);
    // Of a small vault each piece is an hour after the last.
    machine.pass(Duration::from_secs(2 * 3_600), &mut rng);
    assert_eq!(scrub(&machine).done_bytes, 2 * 65_536);
    disk.flip(&slab(), 3 * 65_536 + 5);
    drop(machine);
    machine = Machine::start(Arc::new(disk.clone()), 6).unwrap();
    assert_eq!(scrub(&machine).done_bytes, 2 * 65_536);
    machine.pass(Duration::from_secs(90), &mut rng);
    assert_eq!(scrub(&machine).done_bytes, 3 * 65_536);
    machine.pass(Duration::from_secs(3 * 3_600), &mut rng);
    let told = scrub(&machine);
    assert_eq!((told.last_bytes, told.last_damaged), (4 * 65_536, 1));
    assert!(told.last_s.is_some());
    assert_eq!(machine.node.status().problems.len(), 1);
    drop(machine);
    let off = Machine::start_with(Arc::new(disk), 7, ScrubRate::Off).unwrap();
    assert_eq!(off.node.status().scrub, None);
}

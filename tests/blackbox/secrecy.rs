//! What a cache and the wire may not learn: texts, names and keys are looked for in a cache's directory, in its memory
//! and in a capture of all packets, by a search that does find them where they are allowed to be.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dustfs::ledger::key::StoredKey;
use dustfs::ledger::values::{CIRCLE_LABEL, CircleSecrets, Value as _};

use crate::harness::{Node, Random, World, seed, wait_until, write};

/// What is looked for, each under a name for people.
pub type Marks = Vec<(&'static str, Vec<u8>)>;

#[test]
fn nothing_leaks_to_the_cache() {
    let test = "nothing_leaks_to_the_cache";
    let Some(world) = World::new(test) else { return };
    if Command::new("tcpdump").arg("--version").output().is_err() {
        println!("SKIPPED {test}: the command tcpdump is missing");
        return;
    }
    let mut random = Random::new(seed(test));
    let marks = marks(&mut random);
    let packets = world.path().join("packets");
    let capture = world.capture(&packets);
    let a = world.started("A");
    let b = world.started("B");
    let mut d = world.node("D");
    b.join(&a.invite("member"));
    d.start_cache();
    d.join(&a.invite("cache"));

    let mut text = |mark: usize, length: usize| {
        let mut text = Vec::with_capacity(length + 60);
        while text.len() < length {
            text.extend_from_slice(&marks[mark].1);
            // No chunk is another's: equal ones are sent and stored once.
            text.extend(random.bytes(20).iter().map(|byte| b' ' + byte % 64));
        }
        text
    };
    let name = |mark: usize| String::from_utf8(marks[mark].1.clone()).expect("marks are text");
    fs::create_dir(a.friends(&name(2))).expect("a directory");
    let large = a.friends(&format!("{}/{}", name(2), name(3)));
    let large_text = text(0, 3_000_000);
    write(&large, &large_text);
    write(&a.friends("inline"), &text(1, 600));
    std::os::unix::fs::symlink(name(4), a.friends("link")).expect("a symlink");
    write(&a.friends("last"), &random.bytes(70_000));
    wait_until("B has all", LIMIT, || b.holds_all(5));
    wait_until("D has all", LIMIT, || d.circle()["held_torrents"] == 2 && d.circle()["wanted_torrents"] == 0);
    assert!(fs::read(&large).expect("A reads it") == large_text);

    let keys = epoch_keys(&a);
    assert!(keys.len() >= 2, "A's ledger holds the keys of Home and of Friends: {}", keys.len());
    let mut sought = marks.clone();
    sought.extend(keys.iter().map(|key| ("an epoch key", key.clone())));

    // The same search finds each of them where it may be.
    let memory = in_memory(a.pid(), &sought);
    for (what, _) in &sought {
        assert!(memory.contains(what), "the search does not find {what} in A's memory: {memory:?}");
    }
    // On a member's disk the keys are sealed, too, under a key that is in a file of its own.
    assert_eq!(in_directory(&a.state(), &sought), Vec::<&str>::new(), "in A's directory");
    let state = fs::read(a.state().join("key")).expect("a key file");
    assert!(in_directory(&a.state(), &[("the state key", state)]).contains(&"the state key"));

    assert_eq!(in_memory(d.pid(), &sought), Vec::<&str>::new(), "in the cache's memory");
    assert_eq!(in_directory(&d.state(), &sought), Vec::<&str>::new(), "in the cache's directory");
    capture.end();
    let captured = fs::metadata(&packets).expect("a capture").len();
    assert!(captured > 3_000_000, "the capture has only {captured} bytes");
    assert_eq!(in_file(&packets, &sought), Vec::<&str>::new(), "on the wire");
    assert_eq!(in_directory(&b.state(), &sought), Vec::<&str>::new(), "on B's disk");

    let (stored, packed) = packed(&d.state().join("slabs"));
    assert!(stored > 3_000_000, "D stores only {stored} bytes");
    assert!(packed * 100 >= stored * 99, "{stored} bytes that D stores compress to {packed}");
    println!("{test}: {captured} bytes on the wire; {stored} bytes of slabs compress to {packed}");
}

const LIMIT: Duration = Duration::from_secs(60);

fn marks(random: &mut Random) -> Marks {
    let mut mark = |what| {
        let letters = random.bytes(40);
        (what, letters.iter().map(|byte| b'a' + byte % 26).collect())
    };
    vec![
        mark("the large file's text"),
        mark("the small file's text"),
        mark("the directory's name"),
        mark("the file's name"),
        mark("the symlink's target"),
    ]
}

/// The secrets of a node's circles, which its ledger holds sealed under the key of its key file; some perhaps twice.
pub fn circle_secrets(node: &Node) -> Vec<CircleSecrets> {
    const BEFORE: &[u8] = b"7:secrets";
    let file = fs::read(node.state().join("key")).expect("a key file");
    let Ok(StoredKey::Plain(state)) = StoredKey::decode(&file) else { panic!("{} is not unlocked", node.name()) };
    let ledger = fs::read(node.state().join("ledger.redb")).expect("a ledger");
    let mut found = Vec::new();
    for at in find_all(&ledger, BEFORE) {
        let rest = &ledger[at + BEFORE.len()..];
        let Some(colon) = rest.iter().take(6).position(|byte| *byte == b':') else { continue };
        let length = std::str::from_utf8(&rest[..colon]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let Some(sealed) = length.and_then(|length| rest.get(colon + 1..colon + 1 + length)) else { continue };
        if let Ok(opened) = state.open(CIRCLE_LABEL, sealed) {
            found.push(CircleSecrets::decode(&opened).expect("a circle's keys"));
        }
    }
    found
}

/// The epoch keys of a node's circles.
pub fn epoch_keys(node: &Node) -> Vec<Vec<u8>> {
    let epochs = circle_secrets(node).into_iter().flat_map(|secrets| secrets.keys);
    let mut keys: Vec<Vec<u8>> = epochs.map(|epoch| epoch.key.to_vec()).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn find_all<'a>(bytes: &'a [u8], sought: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(sought.len()).enumerate().filter(move |(_, window)| *window == sought).map(|(at, _)| at)
}

/// Adds to `found` what of `sought` is in `bytes`.
pub fn search(bytes: &[u8], sought: &[(&'static str, Vec<u8>)], found: &mut Vec<&'static str>) {
    for (what, mark) in sought {
        // A piece of a mark tells as much: half of it is looked for.
        let half = &mark[..mark.len() / 2];
        let first = half[0];
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == first) {
            if rest[at..].starts_with(half) {
                if !found.contains(what) {
                    found.push(what);
                }
                break;
            }
            rest = &rest[at + 1..];
        }
    }
}

/// Searches in everything that a process can read of its own memory.
pub fn in_memory(pid: u32, sought: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("proc(5)");
    let mut memory = File::open(format!("/proc/{pid}/mem")).expect("proc(5)");
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    let mut seen = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().expect("a range"), words.next().expect("rights"));
        // What the kernel lends to all processes cannot be read so, and is not the process's.
        if !rights.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let (from, to) = range.split_once('-').expect("a range");
        let number = |hex| u64::from_str_radix(hex, 16).expect("hex");
        let length = number(to) - number(from);
        memory.seek(SeekFrom::Start(number(from))).expect("a position");
        bytes.clear();
        // A mapping may have gone since it was listed.
        if (&memory).take(length).read_to_end(&mut bytes).is_ok() {
            seen += bytes.len();
            search(&bytes, sought, &mut found);
        }
    }
    assert!(seen > 1 << 20, "only {seen} bytes of the memory of {pid} can be read");
    found
}

pub fn in_directory(path: &Path, sought: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        search(entry.file_name().as_encoded_bytes(), sought, &mut found);
        if kind.is_dir() {
            found.extend(in_directory(&entry.path(), sought));
        } else if kind.is_file() {
            found.extend(in_file(&entry.path(), sought));
        }
    }
    found
}

fn in_file(path: &Path, sought: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let mut found = Vec::new();
    search(&fs::read(path).expect("a file"), sought, &mut found);
    found
}

/// The bytes in the slabs, holes left out, and how many remain when gzip has done its best.
fn packed(slabs: &Path) -> (u64, u64) {
    let mut stored = Vec::new();
    for entry in fs::read_dir(slabs).expect("slabs") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a slab");
        for unit in bytes.chunks(4_096).filter(|unit| unit.iter().any(|byte| *byte != 0)) {
            stored.extend_from_slice(unit);
        }
    }
    let mut gzip = Command::new("gzip").arg("-9c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut input = gzip.stdin.take().expect("piped");
    let length = stored.len() as u64;
    let feeder = std::thread::spawn(move || input.write_all(&stored));
    let output = gzip.wait_with_output().expect("gzip ends");
    feeder.join().expect("the feeder ends").expect("gzip takes all");
    (length, output.stdout.len() as u64)
}

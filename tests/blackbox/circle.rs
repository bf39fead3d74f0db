//! A circle of nodes shares a tree: several sources at once, a cache that carries it on, and what that costs.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{Node, Random, World, census, digest, long, must, random_file, seed, wait_until, write};

const MIB: u64 = 1 << 20;

/// The tree that the tests share: one big file, 1,000 small ones in 50 directories nested in each other.
struct Job {
    big_bytes: u64,
    bytes: u64,
    objects: u64,
}

/// Directories below each other.
const DEPTH: usize = 50;
/// Small files in each of them.
const FILES: usize = 20;
/// Bytes per second of an uplink that is shaped.
const UPLINK: u64 = 25 * MIB;

impl Job {
    fn write(root: &Path, random: &mut Random) -> Job {
        let told = std::env::var("DUSTFS_BIG_MIB").ok().map(|mib| mib.parse().expect("DUSTFS_BIG_MIB is a number"));
        let big_bytes = told.unwrap_or(if long() { 1_024 } else { 64 }) * MIB;
        random_file(&root.join("big"), big_bytes, random).expect("the big file is written");
        let mut directory = root.to_owned();
        let mut bytes = big_bytes;
        for depth in 0..DEPTH {
            directory.push(format!("d{depth:02}"));
            fs::create_dir(&directory).expect("a directory");
            for file in 0..FILES {
                // From nothing, over what travels within a record, to several chunks.
                let length = random.below(if file % 2 == 0 { 4_096 } else { 100_000 }) as usize;
                write(&directory.join(format!("{file} é.bin")), &random.bytes(length));
                bytes += length as u64;
            }
        }
        std::os::unix::fs::symlink("../big", root.join("d00/link")).expect("a symlink");
        // Written last: whoever holds it knows of all that its author wrote before.
        write(&root.join("last"), &random.bytes(100_000));
        Job { big_bytes, bytes: bytes + 100_000, objects: (DEPTH + DEPTH * FILES + 3) as u64 }
    }
}

/// Bytes that a node has had from each friend, by name.
fn downloaded(node: &Node) -> Vec<(String, u64)> {
    let transfers = node.json(&["transfers"]);
    let peers = transfers["traffic"].as_array().expect("traffic");
    let peer = |peer: &serde_json::Value| Some((peer["name"].as_str()?.to_owned(), peer["downloaded"].as_u64()?));
    peers.iter().map(|told| peer(told).expect("a name and a number")).collect()
}

fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / MIB as f64 / time.as_secs_f64()
}

fn patience() -> Duration {
    Duration::from_secs(if long() { 900 } else { 120 })
}

/// True when a cache holds every torrent that `author` knows of.
fn carries(cache: &Node, author: &Node) -> bool {
    let (held, all) = (cache.circle(), author.circle());
    held["held_torrents"] == all["held_torrents"] && held["wanted_torrents"] == 0
}

#[test]
fn four_nodes_and_a_cache() {
    let test = "four_nodes_and_a_cache";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let mut a = world.started("A");
    let mut b = world.started("B");
    let mut c = world.node("C");
    let mut d = world.node("D");
    b.join(&a.invite("member"));
    c.ok(&["init", "--name", "C"]);
    c.join(&a.invite("member"));
    d.start_cache();
    d.join(&a.invite("cache"));

    let begun = Instant::now();
    let job = Job::write(&a.friends(""), &mut random);
    let written = begun.elapsed();
    wait_until("A has published all", patience(), || a.holds_all(job.objects));
    wait_until("B has all", patience(), || b.holds_all(job.objects));
    let at_b = begun.elapsed();
    wait_until("D has all", patience(), || carries(&d, &a));
    let at_d = begun.elapsed();
    let truth = digest(&a.friends("")).expect("A's tree is read");
    assert_eq!(truth.len() as u64, job.objects);
    assert_eq!(digest(&b.friends("")).expect("B's tree is read"), truth);

    // A short job ends before its sources are up to speed, so theirs is that of a good uplink.
    let shaped = !long() && [&a, &b, &d].iter().all(|node| world.shape(node, UPLINK * 8));
    let begun = Instant::now();
    c.start();
    wait_until("C has all", patience(), || c.holds_all(job.objects));
    let at_c = begun.elapsed();
    if shaped {
        [&a, &b, &d].iter().for_each(|node| world.unshape(node));
        let sum = job.bytes as f64 / (3 * UPLINK) as f64 / at_c.as_secs_f64();
        println!("{test}: C fetched from three uplinks of {} MiB/s at {sum:.2} of their sum", UPLINK / MIB);
    }
    assert_eq!(digest(&c.friends("")).expect("C's tree is read"), truth);
    let sources = downloaded(&c);
    let total: u64 = sources.iter().map(|(_, bytes)| bytes).sum();
    assert!(total >= job.big_bytes, "{sources:?}");
    for name in ["A", "B", "D"] {
        let bytes = sources.iter().find(|(source, _)| source == name).map_or(0, |(_, bytes)| *bytes);
        assert!(bytes * 10 >= total, "C had {bytes} of {total} bytes from {name}: {sources:?}");
    }

    let mut e = world.node("E");
    e.ok(&["init", "--name", "E"]);
    e.join(&a.invite("member"));
    for node in [&mut a, &mut b, &mut c] {
        node.kill();
    }
    let begun = Instant::now();
    e.start();
    wait_until("E has all from D alone", patience(), || e.holds_all(job.objects));
    let at_e = begun.elapsed();
    assert_eq!(digest(&e.friends("")).expect("E's tree is read"), truth);

    println!(
        "{test}: {} MiB in one file, {} objects, {} MiB in all",
        job.big_bytes / MIB,
        job.objects,
        job.bytes / MIB
    );
    for (what, time) in [
        ("written on A", written),
        ("on B since the first byte on A", at_b),
        ("on D since the first byte on A", at_d),
        ("on C since its start", at_c),
        ("on E from D alone since its start", at_e),
    ] {
        println!("{test}: {what}: {:.2} s, {:.1} MiB/s", time.as_secs_f64(), rate(job.bytes, time));
    }
    for (name, bytes) in &sources {
        println!("{test}: C had {:.1} % from {name}", *bytes as f64 * 100.0 / total as f64);
    }
}

#[test]
fn close_to_readable() {
    let test = "close_to_readable";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let mut times = Vec::new();
    for round in 0..30 {
        let name = format!("small {round}");
        let bytes = random.bytes(if round % 2 == 0 { 1_000 } else { 50_000 });
        write(&a.friends(&name), &bytes);
        let closed = Instant::now();
        let there = b.friends(&name);
        // Spins: the pause between two looks would be most of what is measured.
        while fs::read(&there).ok().as_ref() != Some(&bytes) {
            assert!(closed.elapsed() < Duration::from_secs(5), "{name} is not readable on B 5 s after its close on A");
        }
        times.push(closed.elapsed());
    }
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1_000.0;
    println!("{test}: least {:.1} ms, median {:.1} ms, greatest {:.1} ms", ms(0), ms(15), ms(29));
}

#[test]
fn resident_memory() {
    let test = "resident_memory";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let (directories, files) = (100, 99);
    let objects = directories * (1 + files);
    let a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let fresh = a.resident_bytes();
    let begun = Instant::now();
    for directory in 0..directories {
        let path = a.friends(&format!("d{directory}"));
        fs::create_dir(&path).expect("a directory");
        for file in 0..files {
            write(&path.join(format!("f{file}")), &random.bytes(100));
        }
    }
    let created = begun.elapsed();
    wait_until("B has all", patience(), || b.holds_all(objects));
    let arrived = begun.elapsed();
    assert_eq!(census(&b.friends("")).expect("B's tree is listed") as u64, objects);
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    println!(
        "{test}: {objects} objects: A {:.1} MiB (fresh {:.1}), B {:.1} MiB resident; created {:.0}/s, arrived {:.0}/s",
        mib(a.resident_bytes()),
        mib(fresh),
        mib(b.resident_bytes()),
        objects as f64 / created.as_secs_f64(),
        objects as f64 / arrived.as_secs_f64(),
    );
}

#[test]
fn a_file_kept_open_is_published_when_it_is_quiet() {
    let test = "a_file_kept_open_is_published_when_it_is_quiet";
    let Some(world) = World::new(test) else { return };
    let a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let mut file = fs::File::create(a.friends("open")).expect("a file");
    std::io::Write::write_all(&mut file, b"not closed yet").expect("written");
    let there = b.friends("open");
    wait_until("B reads it", Duration::from_secs(10), || {
        let mut text = String::new();
        let read = fs::File::open(&there).and_then(|mut file| file.read_to_string(&mut text));
        read.is_ok() && text == "not closed yet"
    });
}

/// A program that starts another while it saves closes, by that one's exec(2), what the child inherited: the kernel tells as
/// of any close. Half of what is being saved is not published for that.
#[test]
fn who_starts_a_program_while_it_writes_publishes_once() {
    let Some(world) = World::new("who_starts_a_program_while_it_writes") else { return };
    let a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let content = Random::new(seed("who_starts_a_program_while_it_writes")).bytes(2_000_000);
    let mut file = fs::File::create(a.friends("song")).expect("a file");
    for half in content.chunks(1_000_000) {
        std::io::Write::write_all(&mut file, half).expect("written");
        (0..20).for_each(|_| drop(must(&["true"])));
    }
    drop(file);
    wait_until("B has it", patience(), || fs::read(b.friends("song")).is_ok_and(|read| read == content));
    let versions = a.json(&["versions", "Friends/song"]);
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(0), "no half was published: {versions}");
}

/// Whom to trust and whom to dial was asked of the net before there was one, and lost: nodes met after a join alone.
#[test]
fn friends_meet_again_when_both_start_anew() {
    let Some(world) = World::new("friends_meet_again_when_both_start_anew") else { return };
    let mut a = world.started("A");
    let mut b = world.started("B");
    b.join(&a.invite("member"));
    write(&a.friends("before"), b"1");
    wait_until("B has it", patience(), || b.holds_all(1));
    a.stop();
    b.stop();
    a.start();
    write(&a.friends("between"), b"2");
    b.start();
    wait_until("B has what was written while it was away", patience(), || b.holds_all(2));
    assert_eq!(fs::read(b.friends("between")).expect("it is read"), b"2");
}

/// Addresses went out before the statements that made their devices members, and were dropped: C waited for D to dial it
/// again, which D, refused once, did after a while.
#[test]
fn who_joined_meanwhile_is_dialled() {
    let Some(world) = World::new("who_joined_meanwhile_is_dialled") else { return };
    let a = world.started("A");
    let mut c = world.node("C");
    c.ok(&["init", "--name", "C"]);
    c.join(&a.invite("member"));
    let d = world.started("D");
    d.join(&a.invite("member"));
    // D cannot dial C.
    c.start_with(&["--listen", "127.0.0.1:0"]);
    wait_until("C has dialled D", patience(), || c.circle()["online"] == 2);
}

#[test]
fn a_cut_network_heals() {
    let Some(world) = World::new("a_cut_network_heals") else { return };
    let a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    write(&a.friends("before"), b"1");
    wait_until("B has it", patience(), || b.holds_all(1));
    world.link(&b, false);
    write(&a.friends("meanwhile on A"), b"2");
    write(&b.friends("meanwhile on B"), b"3");
    world.link(&b, true);
    wait_until("A and B have both", patience(), || a.holds_all(3) && b.holds_all(3));
    assert_eq!(digest(&a.friends("")).expect("A's tree is read"), digest(&b.friends("")).expect("B's tree is read"));
}

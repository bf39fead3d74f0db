//! Reads of what is not here: they fetch it, can be interrupted, and end in bounded time when nobody brings it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Node, Random, World, long, seed, wait_until, write};

const LENGTH: usize = 6_000_000;

/// A, which holds `one` and `two`, and B, which fetches on demand and knows of both.
fn world(test: &str) -> Option<(World, Node, Node, Vec<u8>)> {
    let world = World::new(test)?;
    let mut random = Random::new(seed(test));
    let bytes = random.bytes(LENGTH);
    let a = world.started("A");
    let mut b = world.node("B");
    b.start_with(&["--fetch", "ondemand"]);
    b.join(&a.invite("member"));
    write(&a.friends("one"), &bytes);
    write(&a.friends("two"), &random.bytes(LENGTH));
    wait_until("B knows of both", Duration::from_secs(20), || b.circle()["objects"] == 2);
    wait_until("B lists both", Duration::from_secs(20), || {
        ["one", "two"].iter().all(|name| fs::metadata(b.friends(name)).is_ok_and(|file| file.len() == LENGTH as u64))
    });
    Some((world, a, b, bytes))
}

fn had(node: &Node) -> u64 {
    let transfers = node.json(&["transfers"]);
    transfers["traffic"].as_array().expect("traffic").iter().filter_map(|peer| peer["downloaded"].as_u64()).sum()
}

fn read_at(path: &PathBuf, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open(path)?.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[test]
fn a_read_fetches_what_it_needs_and_several_at_once_do() {
    let test = "a_read_fetches_what_it_needs_and_several_at_once_do";
    let Some((_world, _a, b, bytes)) = world(test) else { return };
    assert_eq!(had(&b), 0, "nothing is fetched before it is read");
    let begun = Instant::now();
    let path = b.friends("one");
    assert_eq!(read_at(&path, 3_000_000, 100).expect("a read"), bytes[3_000_000..3_000_100]);
    println!("{test}: the first bytes of a remote file came after {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    std::thread::scope(|scope| {
        for reader in 0..16 {
            let (path, bytes) = (&path, &bytes);
            scope.spawn(move || {
                let from = reader * LENGTH / 16;
                let read = read_at(path, from as u64, LENGTH / 16).expect("a read");
                assert!(read == bytes[from..from + LENGTH / 16], "reader {reader} has other bytes");
            });
        }
    });
    assert!(fs::read(&path).expect("a read") == bytes);
    let had = had(&b);
    assert!(had >= LENGTH as u64, "{had} bytes came");
    assert!(had < 2 * LENGTH as u64, "{had} bytes came: as much as is there, and nobody read the other file");
}

#[test]
fn a_read_ends_when_nobody_has_it() {
    let test = "a_read_ends_when_nobody_has_it";
    let Some((_world, mut a, b, bytes)) = world(test) else { return };
    assert!(fs::read(b.friends("one")).expect("a read") == bytes);
    a.kill();
    assert!(fs::read(b.friends("one")).expect("what is here is read without anybody") == bytes);
    let begun = Instant::now();
    let error = fs::read(b.friends("two")).expect_err("nobody has it");
    println!("{test}: EHOSTUNREACH came after {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(error.raw_os_error(), Some(EHOSTUNREACH), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    a.start();
    wait_until("the read goes well when A is back", Duration::from_secs(30), || fs::read(b.friends("two")).is_ok());
}

#[test]
fn a_read_that_waits_can_be_interrupted_and_ends_by_itself() {
    let test = "a_read_that_waits_can_be_interrupted_and_ends_by_itself";
    let Some((_world, a, b, _)) = world(test) else { return };
    // A is there, and says nothing.
    a.signal("STOP");
    let path = b.friends("two");
    let patient = long().then(|| {
        let path = path.clone();
        std::thread::spawn(move || {
            let begun = Instant::now();
            (fs::read(path), begun.elapsed())
        })
    });
    for signal in ["INT", "TERM", "KILL"] {
        let mut reader = Command::new("cat").arg(&path).stdout(Stdio::null()).spawn().expect("cat can be run");
        wait_until("the reader waits in the mount", Duration::from_secs(10), || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", reader.id())).expect("proc(5)");
            stat.contains("(cat) S") || stat.contains("(cat) D")
        });
        let begun = Instant::now();
        let _ = Command::new("kill").args([format!("-{signal}"), reader.id().to_string()]).status();
        wait_until("the reader ends", Duration::from_secs(5), || reader.try_wait().expect("a child").is_some());
        println!("{test}: SIG{signal} ended a waiting read in {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
        // Others are served meanwhile.
        assert_eq!(fs::read_dir(b.friends("")).expect("a listing").count(), 2);
    }
    if let Some(patient) = patient {
        let (read, took) = patient.join().expect("a reader");
        let error = read.expect_err("nobody brought it");
        println!("{test}: a read from a silent friend ended after {:.1} s: {error}", took.as_secs_f64());
        assert!([Some(ETIMEDOUT), Some(EHOSTUNREACH)].contains(&error.raw_os_error()), "{error}");
        // The kernel asks a second time, for one page, when its read-ahead failed: twice the time of one read.
        assert!(took < Duration::from_secs(75), "it took {took:?}");
    }
    a.signal("CONT");
    wait_until("the read goes well when A speaks again", Duration::from_secs(60), || fs::read(&path).is_ok());
}

/// Linux's numbers.
const ETIMEDOUT: i32 = 110;
const EHOSTUNREACH: i32 = 113;

//! What the disk damaged is found, named, and fetched again from friends; a node moves to another disk.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use crate::harness::{Node, Random, World, seed, wait_until, write};

const LIMIT: Duration = Duration::from_secs(30);
/// Linux's number.
const EIO: i32 = 5;

/// Flips a bit at each of these places in the first slab of a node that does not run.
fn rot(node: &Node, places: &[u64]) {
    let slab = File::options().read(true).write(true).open(node.state().join("slabs/00000000")).expect("a slab");
    for place in places {
        let mut byte = [0];
        slab.read_exact_at(&mut byte, *place).expect("a byte");
        slab.write_all_at(&[byte[0] ^ 1], *place).expect("a byte is written");
    }
    slab.sync_all().expect("a sync");
}

fn problems(node: &Node) -> String {
    node.json(&["status"])["problems"].to_string()
}

#[test]
fn a_check_finds_what_rotted_and_the_friend_repairs_it() {
    let Some(world) = World::new("check_finds_what_rotted") else { return };
    let mut a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let content = Random::new(seed("check_finds_what_rotted")).bytes(3_000_000);
    write(&a.friends("film"), &content);
    wait_until("B has it", LIMIT, || b.holds_all(1));
    assert!(a.ok(&["check"]).contains("all is well"));
    let told = a.ok(&["check", "--full"]);
    assert!(told.contains("all is well: 1 torrents"), "{told}");

    a.stop();
    rot(&a, &[100_000, 2_000_000, 2_000_001]);
    a.start();
    assert!(a.ok(&["check"]).contains("all is well"), "a quick check reads nothing");
    let ran = a.run(&["check", "--full"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("Friends/film") && ran.out.contains("PIECES"), "{ran:?}");
    assert!(ran.err.contains("the check found 1"), "{ran:?}");
    wait_until("A is whole again", LIMIT, || a.holds_all(1));
    assert!(a.ok(&["check", "--full"]).contains("all is well"));
    assert_eq!(problems(&a), "[]");
    assert_eq!(fs::read(a.friends("film")).expect("a read"), content);
    // What it has now is its own: it survives a start, and was not only read from B.
    a.stop();
    a.start();
    assert!(a.ok(&["check", "--full"]).contains("all is well"));

    // A read that comes upon damage heals it as well.
    a.stop();
    rot(&a, &[1_000_000]);
    a.start();
    wait_until("they are connected", LIMIT, || a.json(&["status"])["connections"] == 1);
    assert_eq!(fs::read(a.friends("film")).expect("a read"), content);
    assert!(a.ok(&["check", "--full"]).contains("all is well"));
}

#[test]
fn what_nobody_else_has_is_named_and_reads_as_an_error_until_a_friend_comes() {
    let Some(world) = World::new("damage_that_nobody_mends") else { return };
    let mut a = world.started("A");
    let mut b = world.started("B");
    b.join(&a.invite("member"));
    let content = Random::new(seed("damage_that_nobody_mends")).bytes(600_000);
    write(&a.friends("film"), &content);
    wait_until("B has it", LIMIT, || b.holds_all(1));
    b.stop();
    a.stop();
    rot(&a, &[300_000]);
    a.start();
    let error = fs::read(a.friends("film")).expect_err("a damaged piece was read");
    assert_eq!(error.raw_os_error(), Some(EIO), "{error}");
    let told = problems(&a);
    assert!(told.contains("Friends/film") && told.contains("damaged"), "{told}");
    // Which is known before anybody reads it, and after a start.
    a.stop();
    a.start();
    assert!(problems(&a).contains("Friends/film"));
    let start = fs::read(a.friends("film")).expect_err("a damaged piece was read");
    assert_eq!(start.raw_os_error(), Some(EIO), "{start}");
    b.start();
    wait_until("B mends it", LIMIT, || problems(&a) == "[]" && a.holds_all(1));
    assert_eq!(fs::read(a.friends("film")).expect("a read"), content);
    assert!(a.ok(&["check", "--full"]).contains("all is well"));
}

//! Caches: two boxes that are never awake together get each other's files through one, also when it has little room.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::harness::{Node, Random, World, digest, seed, wait_until, write};

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(90);

/// A, which runs; B, which joined and does not; and a cache with these arguments.
fn world(test: &str, cache: &[&str]) -> Option<(World, Node, Node, Node)> {
    let world = World::new(test)?;
    let a = world.started("A");
    let mut b = world.node("B");
    b.ok(&["init", "--name", "B"]);
    b.join(&a.invite("member"));
    let mut d = world.node("D");
    d.run_as(&[&["--cache"], cache].concat());
    d.join(&a.invite("cache"));
    // B learns where the cache is while A is there to tell.
    b.start();
    wait_until("B has met the cache", PATIENCE, || b.circle()["online"] == 2);
    b.stop();
    Some((world, a, b, d))
}

fn held(cache: &Node) -> u64 {
    cache.json(&["status"])["cache"]["held_bytes"].as_u64().expect("a cache tells it")
}

fn evictions(cache: &Node) -> u64 {
    cache.json(&["status"])["cache"]["evictions"].as_u64().expect("a cache tells it")
}

/// Bytes that the cache's slabs take of the disk.
fn on_disk(cache: &Node) -> u64 {
    let slabs = fs::read_dir(cache.state().join("slabs")).expect("slabs");
    slabs.map(|slab| slab.and_then(|slab| slab.metadata()).expect("a slab").blocks() * 512).sum()
}

fn carries(cache: &Node, torrents: u64) -> bool {
    let circle = cache.circle();
    circle["held_torrents"] == torrents && circle["wanted_torrents"] == 0
}

#[test]
fn boxes_that_are_never_awake_together_converge_through_a_cache() {
    let test = "boxes_that_are_never_awake_together_converge_through_a_cache";
    let Some((_world, mut a, mut b, d)) = world(test, &[]) else { return };
    let mut random = Random::new(seed(test));
    write(&a.friends("of A"), &random.bytes(3 * MIB));
    write(&a.friends("small"), &random.bytes(1_000));
    wait_until("the cache has A's file", PATIENCE, || carries(&d, 1));
    let of_a = digest(&a.friends("")).expect("A's tree is read");
    a.stop();

    b.start();
    wait_until("B has all from the cache", PATIENCE, || b.holds_all(2));
    assert_eq!(digest(&b.friends("")).expect("B's tree is read"), of_a);
    write(&b.friends("of B"), &random.bytes(3 * MIB));
    fs::remove_file(b.friends("small")).expect("B deletes what A wrote");
    wait_until("the cache has B's file", PATIENCE, || carries(&d, 2));
    let of_both = digest(&b.friends("")).expect("B's tree is read");
    b.stop();

    a.start();
    wait_until("A has all from the cache", PATIENCE, || {
        a.holds_all(2) && digest(&a.friends("")).is_ok_and(|tree| tree == of_both)
    });
    let status = d.ok(&["status"]);
    assert!(status.contains("cache        6.0 MiB of "), "{status}");
}

#[test]
fn a_cache_keeps_its_quota_gives_space_back_and_never_lets_the_only_copy_go() {
    let test = "a_cache_keeps_its_quota_gives_space_back_and_never_lets_the_only_copy_go";
    let Some((_world, mut a, mut b, mut d)) = world(test, &["--quota", "5MiB"]) else { return };
    let mut random = Random::new(seed(test));
    for number in 0..8 {
        write(&a.friends(&format!("{number}")), &random.bytes(2 * MIB));
        wait_until("the cache has taken it", PATIENCE, || {
            evictions(&d) >= u64::max(number, 1) - 1
                && d.circle()["held_torrents"].as_u64() >= Some(u64::min(number + 1, 2))
        });
    }
    let quota = 5 * MIB as u64;
    wait_until("what went is off the disk", PATIENCE, || on_disk(&d) <= quota);
    let (now, gone) = (held(&d), evictions(&d));
    assert!(now > 4 * MIB as u64 && now <= quota, "{now}");
    assert_eq!(gone, 6);
    let truth = digest(&a.friends("")).expect("A's tree is read");

    // With A it has no more copies than one of the newest: they stay, whatever B publishes.
    a.kill();
    b.start();
    for name in ["6", "7"] {
        let there = b.friends(name);
        wait_until("B reads what the cache has", PATIENCE, || {
            fs::read(&there).is_ok_and(|bytes| bytes.len() == 2 * MIB)
        });
    }
    d.stop();
    d.run_as(&["--cache", "--quota", "5MiB"]);
    assert_eq!((held(&d), evictions(&d)), (now, 0), "a restart lets nothing go");
    write(&b.friends("of B"), &random.bytes(2 * MIB));
    wait_until("B's file has come in for one that B has", PATIENCE, || evictions(&d) == 1);
    wait_until("it is there", PATIENCE, || d.circle()["held_torrents"] == 2);
    assert!(held(&d) <= quota);

    // What neither the cache nor B has, A still has: all of it comes together again.
    a.start();
    wait_until("A and B have all", PATIENCE, || a.holds_all(9) && b.holds_all(9));
    let both = digest(&b.friends("")).expect("B's tree is read");
    assert_eq!(digest(&a.friends("")).expect("A's tree is read"), both);
    assert!(truth.iter().all(|(path, what)| both.get(path) == Some(what)), "what A wrote is all there");
    wait_until("the cache comes to rest within its quota", PATIENCE, || held(&d) <= quota && on_disk(&d) <= quota);
}

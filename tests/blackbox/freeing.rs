//! Letting go of what enough friends hold: space comes back, files come again when they are opened, and nothing becomes rarer
//! than two whole copies.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use crate::attributes::python;
use crate::harness::{Node, Random, World, digest, seed, wait_until, write};

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
const FILES: u64 = 6;

/// Bytes that a node's slabs take of the disk.
fn on_disk(node: &Node) -> u64 {
    let slabs = fs::read_dir(node.state().join("slabs")).expect("slabs");
    slabs.map(|slab| slab.and_then(|slab| slab.metadata()).expect("a slab").blocks() * 512).sum()
}

fn circle_of(world: &World, names: &[&str]) -> Vec<Node> {
    let nodes: Vec<Node> = names.iter().map(|name| world.started(name)).collect();
    for node in &nodes[1..] {
        node.join(&nodes[0].invite("member"));
    }
    for node in &nodes {
        wait_until("all have met", PATIENCE, || node.circle()["online"] == names.len() - 1);
    }
    nodes
}

fn write_films(node: &Node, random: &mut Random) {
    fs::create_dir(node.friends("films")).expect("a directory");
    for number in 0..FILES {
        write(&node.friends(&format!("films/{number}.bin")), &random.bytes(MIB));
    }
    write(&node.friends("films/small"), b"it travels in its record");
}

/// Everybody has everything, and the first knows of it.
fn wait_for_all(nodes: &[Node]) {
    for node in nodes {
        wait_until("all have all", PATIENCE, || node.holds_all(FILES + 2));
    }
    for friend in &nodes[1..] {
        wait_until("the first knows", PATIENCE, || told_whole(&nodes[0], friend, FILES));
    }
}

fn films(node: &Node) -> impl PartialEq + std::fmt::Debug + use<> {
    digest(&node.friends("films")).expect("the files are read")
}

/// Bodies that are whole here.
fn held(node: &Node) -> u64 {
    node.circle()["held_torrents"].as_u64().expect("a number")
}

#[test]
fn what_two_friends_hold_is_let_go_and_comes_again_when_it_is_opened() {
    let test = "what_two_friends_hold_is_let_go_and_comes_again_when_it_is_opened";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let mut nodes = circle_of(&world, &["A", "B", "C"]);
    write_films(&nodes[0], &mut random);
    wait_for_all(&nodes);
    let truth = films(&nodes[0]);
    let before = on_disk(&nodes[0]);

    let told = nodes[0].json(&["free", "Friends/films"]);
    assert_eq!((&told["files"], told["stay"].as_array().map(Vec::len)), (&FILES.into(), Some(0)), "{told}");
    wait_until("the space comes back", PATIENCE, || on_disk(&nodes[0]) + (FILES as usize * MIB) as u64 <= before);
    assert_eq!(held(&nodes[0]), 0);
    // Nothing is fetched unasked, also after a start.
    nodes[0].stop();
    nodes[0].start();
    wait_until("A has met the others", PATIENCE, || nodes[0].circle()["online"] == 2);
    assert_eq!((held(&nodes[0]), &nodes[0].circle()["wanted_torrents"]), (0, &0.into()));

    // Two whole copies are left: they stay.
    let refused = nodes[1].run(&["free", "Friends/films/0.bin"]);
    assert!(refused.code == Some(1) && refused.err.contains("held whole by too few friends"), "{refused:?}");
    assert_eq!(films(&nodes[0]), truth, "what is opened comes again");
    assert_eq!(held(&nodes[0]), FILES);
    wait_until("B knows that A holds it again, and lets it go", PATIENCE, || {
        nodes[1].run(&["free", &nodes[1].friends("films/0.bin").to_string_lossy()]).code == Some(0)
    });
    assert_eq!(held(&nodes[1]), FILES - 1);
    let again = nodes[1].ok(&["free", "Friends/films/0.bin", "Friends/films/small"]);
    assert!(again.contains("nothing of Friends/films/0.bin is here"), "{again}");

    // What is open stays, and so does what is nowhere.
    let open = fs::File::open(nodes[2].friends("films/1.bin")).expect("it opens");
    let refused = nodes[2].run(&["free", "Friends/films/1.bin"]);
    assert!(refused.code == Some(1) && refused.err.contains("1 file is open, or being written"), "{refused:?}");
    drop(open);
    let refused = nodes[2].run(&["free", "Friends/nothing"]);
    assert!(refused.code == Some(1) && refused.err.contains("there is no such file"), "{refused:?}");
    for node in &nodes {
        assert_eq!(films(node), truth);
    }
}

#[test]
fn two_nodes_let_nothing_go() {
    let test = "two_nodes_let_nothing_go";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let nodes = circle_of(&world, &["A", "B"]);
    write_films(&nodes[0], &mut random);
    wait_until("B has all", PATIENCE, || nodes[1].holds_all(FILES + 2));
    let before = on_disk(&nodes[0]);
    for path in ["Friends/films", "Friends/films/0.bin"] {
        let refused = nodes[0].run(&["free", path]);
        assert!(refused.code == Some(1) && refused.err.contains("two keep everything"), "{refused:?}");
    }
    assert_eq!((on_disk(&nodes[0]), held(&nodes[0])), (before, FILES));
}

/// Whoever pledged loses its power somewhere between the question and the end: at every moment two hold each file whole, and
/// when it is back nobody is bound any more.
#[test]
fn a_pledger_that_is_killed_leaves_nothing_too_rare_and_nobody_bound() {
    let test = "a_pledger_that_is_killed_leaves_nothing_too_rare_and_nobody_bound";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let mut nodes = circle_of(&world, &["A", "B", "C"]);
    write_films(&nodes[0], &mut random);
    wait_for_all(&nodes);
    let truth = films(&nodes[0]);
    for round in 0..6 {
        let mut freeing = nodes[0].command(&["free", "Friends/films"]);
        freeing.stdout(Stdio::piped()).stderr(Stdio::piped());
        let freeing = freeing.spawn().expect("it starts");
        let moment = Duration::from_millis(random.below(120));
        let begun = std::time::Instant::now();
        while begun.elapsed() < moment {
            std::hint::spin_loop();
        }
        nodes[2].kill();
        let ended = freeing.wait_with_output().expect("it ends");
        let gone = FILES - held(&nodes[0]);
        assert_eq!(ended.status.success(), gone > 0, "round {round}: {gone} went");
        nodes[2].start();
        for node in &nodes {
            wait_until("all have met", PATIENCE, || node.circle()["online"] == 2);
        }
        assert_eq!([held(&nodes[1]), held(&nodes[2])], [FILES, FILES], "round {round}");
        cold(&mut nodes[0]);
        assert_eq!(films(&nodes[0]), truth, "round {round}");
        assert_eq!(held(&nodes[0]), FILES, "round {round}");
        // Nobody is bound: each in its turn can let everything go.
        let turn = 1 + round % 2;
        wait_until("another lets go", PATIENCE, || {
            nodes[turn].run(&["free", "Friends/films"]);
            held(&nodes[turn]) == 0
        });
        cold(&mut nodes[turn]);
        assert_eq!(films(&nodes[turn]), truth, "round {round}");
        wait_until("A knows", PATIENCE, || told_whole(&nodes[0], &nodes[turn], FILES));
    }
    let log = nodes[0].log();
    assert!(!log.contains("panicked"), "{log}");
}

/// What a node tells of a file, by the extended attribute of this name.
fn told(node: &Node, name: &str, path: &str) -> String {
    let script = format!("import os; print(os.getxattr('{path}', 'user.dustfs.{name}').decode())");
    python(&node.friends(""), &script)
}

#[test]
fn what_is_pinned_is_fetched_and_stays() {
    let test = "what_is_pinned_is_fetched_and_stays";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let a = world.started("A");
    let mut b = world.node("B");
    b.start_with(&["--fetch", "ondemand"]);
    let c = world.started("C");
    for node in [&b, &c] {
        node.join(&a.invite("member"));
    }
    write_films(&a, &mut random);
    write(&a.friends("other.bin"), &random.bytes(MIB));
    wait_until("C has all", PATIENCE, || c.holds_all(FILES + 3));
    wait_until("B knows of all", PATIENCE, || b.circle()["objects"] == FILES + 3);
    assert_eq!((held(&b), told(&b, "state", "other.bin")), (0, "remote".into()));
    assert_eq!(
        (told(&b, "state", "films/small"), told(&b, "holders", "films/small")),
        ("here".into(), "everybody".into())
    );
    wait_until("B knows who has it", PATIENCE, || told(&b, "holders", "other.bin") == "A, C");

    assert!(b.ok(&["pin", "Friends/films"]).contains("is pinned"));
    wait_until("B has what is pinned", PATIENCE, || held(&b) == FILES);
    assert_eq!(told(&b, "state", "films/0.bin"), "here");
    assert_eq!((told(&b, "pinned", "films/0.bin"), told(&b, "pinned", "other.bin")), ("1".into(), "0".into()));
    assert_eq!(told(&a, "pinned", "films"), "0", "it is this node's own matter");
    let refused = b.run(&["free", "Friends/films/0.bin"]);
    assert!(refused.code == Some(1) && refused.err.contains("1 file is pinned"), "{refused:?}");
    let refused = b.run(&["unpin", "Friends/films/0.bin"]);
    assert!(refused.code == Some(1) && refused.err.contains("a directory above it is pinned"), "{refused:?}");

    // It follows the directory, also through a cut, and what comes to be there comes here.
    fs::rename(a.friends("films"), a.friends("cinema")).expect("renamed");
    fs::rename(a.friends("other.bin"), a.friends("cinema/other.bin")).expect("moved");
    wait_until("B has what was moved there", PATIENCE, || held(&b) == FILES + 1);
    b.kill();
    b.start_with(&["--fetch", "ondemand"]);
    write(&a.friends("cinema/new.bin"), &random.bytes(MIB));
    wait_until("B has what is new there", PATIENCE, || held(&b) == FILES + 2);

    // The same by extended attribute.
    let said = python(
        &b.friends(""),
        "import errno, os
def error(call, *arguments):
    try: call(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
print(os.listxattr('cinema'), error(os.setxattr, 'cinema', 'user.dustfs.state', b'here'),
    error(os.setxattr, 'cinema', 'user.dustfs.pinned', b'yes'), error(os.getxattr, 'cinema', 'user.dustfs.state'))
os.removexattr('cinema', 'user.dustfs.pinned')
print(os.getxattr('cinema', 'user.dustfs.pinned').decode(), error(os.removexattr, 'cinema', 'user.dustfs.pinned'))
os.setxattr('cinema/new.bin', 'user.dustfs.pinned', b'1')",
    );
    assert_eq!(said, "[] EPERM EINVAL ENODATA\n0 ENODATA");
    wait_until("A and C hold the new one", PATIENCE, || told(&b, "holders", "cinema/new.bin") == "B, A, C");
    let told = b.json(&["free", "Friends/cinema"]);
    assert_eq!((&told["files"], &told["stay"][0]["files"]), (&(FILES + 1).into(), &1.into()), "{told}");
    assert_eq!(held(&b), 1);
}

#[test]
fn a_quota_lets_go_what_was_opened_least_recently() {
    let test = "a_quota_lets_go_what_was_opened_least_recently";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let mut a = world.node("A");
    a.start_with(&["--quota", "3500 kB"]);
    let [b, c] = [world.started("B"), world.started("C")];
    for node in [&b, &c] {
        node.join(&a.invite("member"));
    }
    fs::create_dir(a.friends("films")).expect("a directory");
    for number in 0..FILES {
        write(&a.friends(&format!("films/{number}.bin")), &random.bytes(MIB));
        // What was written first was opened last.
        drop(fs::File::open(a.friends("films/0.bin")).expect("it opens"));
        wait_until("B and C have it", PATIENCE, || held(&b) == number + 1 && held(&c) == number + 1);
    }
    wait_until("the quota is kept", PATIENCE, || held(&a) == 3);
    let truth = films(&b);
    let states: Vec<String> = (0..FILES).map(|number| told(&a, "state", &format!("films/{number}.bin"))).collect();
    assert_eq!(states, ["here", "remote", "remote", "remote", "here", "here"]);
    wait_until("the space comes back", PATIENCE, || on_disk(&a) < 4 * MIB as u64);
    let status = a.ok(&["status"]);
    assert!(status.contains("quota        3.0 MiB of 3.3 MiB of files"), "{status}");
    a.stop();
    a.start_with(&["--quota", "3500 kB"]);
    wait_until("A has met the others", PATIENCE, || a.circle()["online"] == 2);
    assert_eq!(films(&a), truth, "what went comes again when it is read");
    wait_until("others go for it", PATIENCE, || held(&a) == 3);

    // Nothing goes where too few hold it.
    drop(c);
    write(&a.friends("films/last.bin"), &random.bytes(MIB));
    wait_until("B has it", PATIENCE, || held(&b) == FILES + 1);
    wait_until("too few hold it", PATIENCE, || {
        let refused = a.run(&["free", "Friends/films/last.bin"]);
        refused.code == Some(1) && refused.err.contains("held whole by too few friends")
    });
    assert_eq!(told(&a, "state", "films/last.bin"), "here");
}

#[test]
fn the_status_says_what_is_on_this_box_alone() {
    let test = "the_status_says_what_is_on_this_box_alone";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let a = world.started("A");
    let says = |node: &Node, words: &str| node.ok(&["status"]).contains(words);
    write(&a.mount().join("one.bin"), &random.bytes(MIB));
    wait_until("it is told", PATIENCE, || says(&a, "1 file (1.0 MiB) is only on this box."));
    fs::remove_file(a.mount().join("one.bin")).expect("removed");
    wait_until("it is told", PATIENCE, || says(&a, "The last changes are only on this box yet."));

    let [b, mut d] = [world.started("B"), world.node("D")];
    b.join(&a.invite("member"));
    write(&b.friends("two.bin"), &random.bytes(MIB));
    wait_until("both have it", PATIENCE, || a.holds_all(1) && b.holds_all(1));
    let safe = "Everything is safe elsewhere, too.";
    wait_until("B's files are on A", PATIENCE, || says(&b, safe));
    // A cache counts, and what a friend held when it went away.
    d.start_cache();
    d.join(&a.invite("cache"));
    wait_until("D has it", PATIENCE, || held(&d) == 1);
    drop(b);
    write(&a.friends("three.bin"), &random.bytes(MIB));
    wait_until("A knows that D has both", PATIENCE, || told_whole(&a, &d, 2));
    wait_until("nothing but Home is on A alone", PATIENCE, || says(&a, "The last changes are only on this box yet."));
    d.stop();
    write(&a.friends("four.bin"), &random.bytes(MIB));
    wait_until("it is told", PATIENCE, || says(&a, "1 file (1.0 MiB) is only on this box."));
}

/// What the kernel remembers of its files is forgotten.
fn cold(node: &mut Node) {
    node.stop();
    node.start();
    wait_until("all have met", PATIENCE, || node.circle()["online"] == 2);
}

/// True when `node` was told that `friend` holds so many bodies whole.
fn told_whole(node: &Node, friend: &Node, bodies: u64) -> bool {
    let friends = node.json(&["friends"]);
    let mut lines = friends.as_array().into_iter().flatten();
    lines.any(|line| line["name"] == friend.name() && line["holds_torrents"] == bodies)
}

//! What a save costs: bytes sent to a friend and stored on both, for each way in which programs save.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use crate::harness::{Node, Random, World, long, seed, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;

/// Bytes that a node's slabs take on its disk.
fn stored(node: &Node) -> u64 {
    let slabs = fs::read_dir(node.state().join("slabs")).expect("slabs");
    slabs.map(|slab| slab.and_then(|slab| slab.metadata()).map_or(0, |metadata| metadata.blocks() * 512)).sum()
}

/// Bytes that came from all friends.
fn downloaded(node: &Node) -> u64 {
    let friends = node.json(&["friends"]);
    let friends = friends.as_array().expect("a list");
    friends.iter().map(|friend| friend["downloaded"].as_u64().expect("a number")).sum()
}

/// What is known of each node: the author first, then a friend and a cache.
struct Cost<'a> {
    author: &'a Node,
    friend: &'a Node,
    cache: &'a Node,
    before: [u64; 5],
}

impl<'a> Cost<'a> {
    fn since(author: &'a Node, friend: &'a Node, cache: &'a Node) -> Self {
        let mut cost = Self { author, friend, cache, before: [0; 5] };
        cost.before = cost.now();
        cost
    }

    /// Received by the friend and the cache, stored by the author, the friend and the cache, in bytes.
    fn now(&self) -> [u64; 5] {
        let received = [self.friend, self.cache].map(downloaded);
        let stored = [self.author, self.friend, self.cache].map(stored);
        [received[0], received[1], stored[0], stored[1], stored[2]]
    }

    /// What it took until the friend and the cache had all of `content`.
    fn of(&mut self, what: &str, name: &str, content: &[u8]) -> [u64; 5] {
        let (here, there) = (self.author.friends(name), self.friend.friends(name));
        wait_until(what, LIMIT, || fs::read(&there).is_ok_and(|read| read == content));
        for node in [self.friend, self.cache] {
            wait_until("nothing is missing", LIMIT, || node.circle()["wanted_torrents"] == 0);
        }
        assert!(fs::read(here).expect("it is read") == content, "{what}");
        let now = self.now();
        let cost = std::array::from_fn(|at| now[at].saturating_sub(self.before[at]));
        self.before = now;
        let [friend, cache, author, by_friend, by_cache] = cost.map(|bytes| bytes as f64 / MIB as f64);
        println!(
            "{what}: sent {friend:.2} MiB to the friend and {cache:.2} MiB to the cache, stored {author:.2}, {by_friend:.2} \
             and {by_cache:.2} MiB"
        );
        cost
    }

    /// What a save of one changed MiB took.
    fn is_of_a_mib(&mut self, what: &str, name: &str, content: &[u8], piece: usize) {
        for (at, bytes) in self.of(what, name, content).into_iter().enumerate() {
            assert!(bytes <= bound(MIB, piece), "{what} {at}: {bytes} bytes for one changed MiB");
        }
    }
}

/// So many bytes changed may cost: rounded to pieces at both ends, and a little for what is not files.
fn bound(changed: usize, piece: usize) -> u64 {
    (changed + 2 * piece + changed / 10) as u64
}

fn change(path: &Path, content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
    let file = OpenOptions::new().write(true).open(path).expect("it opens");
    file.write_all_at(bytes, at as u64).expect("it is written");
}

#[test]
fn a_save_costs_what_it_changed() {
    let test = "a_save_costs_what_it_changed";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let (size, piece) = if long() { (1_024 * MIB, MIB) } else { (64 * MIB, 65_536) };
    let a = world.started("A");
    let b = world.started("B");
    let mut d = world.node("D");
    d.start_cache();
    b.join(&a.invite("member"));
    d.join(&a.invite("cache"));
    let path = a.friends("song");
    let mut content = random.bytes(size);
    fs::write(&path, &content).expect("it is written");
    let mut cost = Cost::since(&a, &b, &d);
    cost.of("the first version", "song", &content);

    change(&path, &mut content, size / 2 + 12_345, &random.bytes(MIB));
    cost.is_of_a_mib("changed in the middle", "song", &content, piece);
    let more = random.bytes(MIB);
    File::options().append(true).open(&path).and_then(|mut file| file.write_all(&more)).expect("it is appended");
    content.extend(&more);
    cost.is_of_a_mib("appended", "song", &content, piece);
    content[size / 4..size / 4 + MIB].copy_from_slice(&random.bytes(MIB));
    fs::write(&path, &content).expect("it is rewritten");
    cost.is_of_a_mib("truncated and rewritten", "song", &content, piece);
    let mut beside = |at: usize, name: &str, content: &mut Vec<u8>| {
        content[at..at + MIB].copy_from_slice(&random.bytes(MIB));
        let beside = a.friends(name);
        fs::write(&beside, content).and_then(|()| fs::rename(&beside, &path)).expect("it is replaced");
    };
    beside(size / 8, "song.tmp", &mut content);
    cost.is_of_a_mib("written beside and renamed over", "song", &content, piece);
    beside(size / 3, ".tmp-4711", &mut content);
    cost.is_of_a_mib("once more", "song", &content, piece);
    // From now on other keys seal: what is the same is known by its plaintext.
    let c = world.started("C");
    c.join(&a.invite("reader"));
    let removed = a.ok(&["remove", "C"]);
    println!("{removed}");
    beside(size / 5, "song.tmp", &mut content);
    cost.is_of_a_mib("written beside in a new epoch", "song", &content, piece);
    if long() {
        outgrow(&mut cost, &mut random);
    }
}

/// Who saves anew what only friends hold sends what differs: they know the rest by its pieces.
#[test]
fn what_is_at_friends_is_not_sent_to_them() {
    let test = "what_is_at_friends_is_not_sent_to_them";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let a = world.started("A");
    let mut b = world.node("B");
    b.start_with(&["--fetch", "ondemand"]);
    b.join(&a.invite("member"));
    let mut content = random.bytes(16 * MIB);
    fs::write(a.friends("song"), &content).expect("it is written");
    wait_until("B sees it", LIMIT, || fs::metadata(b.friends("song")).is_ok_and(|told| told.len() == 16 << 20));
    assert_eq!(downloaded(&b), 0, "nobody has opened it there");
    content[5 * MIB..6 * MIB].copy_from_slice(&random.bytes(MIB));
    fs::write(b.friends("new"), &content)
        .and_then(|()| fs::rename(b.friends("new"), b.friends("song")))
        .expect("saved");
    wait_until("A has it", LIMIT, || fs::read(a.friends("song")).is_ok_and(|read| read == content));
    let sent = downloaded(&a);
    assert!(sent <= bound(MIB, 65_536), "{sent} bytes for one changed MiB");
}

/// A file whose pieces become longer than those of the version before, so that none hashes as before, costs what it grew.
fn outgrow(cost: &mut Cost<'_>, random: &mut Random) {
    let path = cost.author.friends("film");
    let mut content = random.bytes(240 * MIB);
    fs::write(&path, &content).expect("it is written");
    cost.of("a film", "film", &content);
    let grown = 770 * MIB;
    let more = random.bytes(grown);
    File::options().append(true).open(&path).and_then(|mut file| file.write_all(&more)).expect("it is appended");
    content.extend(&more);
    for (at, bytes) in cost.of("grown past 16,000 pieces", "film", &content).into_iter().enumerate() {
        assert!(bytes <= bound(grown, MIB), "{at}: {bytes} bytes");
    }
}

//! What a save costs: bytes sent to a friend and stored on both, for each way in which programs save.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use crate::harness::{Node, Random, World, long, seed, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// Bytes that a node's slabs take on its disk.
fn stored(node: &Node) -> u64 {
    let slabs = fs::read_dir(node.state().join("slabs")).expect("slabs");
    slabs.map(|slab| slab.and_then(|slab| slab.metadata()).map_or(0, |metadata| metadata.blocks() * 512)).sum()
}

fn downloaded(node: &Node) -> u64 {
    node.json(&["friends"])[0]["downloaded"].as_u64().expect("a number")
}

/// What went over the wire and came to lie on the disks since it was taken last.
struct Cost<'a> {
    one: &'a Node,
    other: &'a Node,
    before: [u64; 3],
}

impl<'a> Cost<'a> {
    fn since(one: &'a Node, other: &'a Node) -> Self {
        Self { one, other, before: [downloaded(other), stored(one), stored(other)] }
    }

    /// Sent, stored here, stored there, in bytes, once the friend has all of `content`.
    fn of(&mut self, what: &str, name: &str, content: &[u8]) -> [u64; 3] {
        let (here, there) = (self.one.friends(name), self.other.friends(name));
        wait_until(what, LIMIT, || fs::read(&there).is_ok_and(|read| read == content));
        wait_until("nothing is missing", LIMIT, || self.other.circle()["wanted_torrents"] == 0);
        assert!(fs::read(here).expect("it is read") == content, "{what}");
        let now = [downloaded(self.other), stored(self.one), stored(self.other)];
        let cost = std::array::from_fn(|at| now[at].saturating_sub(self.before[at]));
        self.before = now;
        let mib = cost.map(|bytes| bytes as f64 / MIB as f64);
        println!("{what}: sent {:.2} MiB, stored {:.2} MiB here and {:.2} MiB there", mib[0], mib[1], mib[2]);
        cost
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
    b.join(&a.invite("member"));
    let path = a.friends("song");
    let mut content = random.bytes(size);
    fs::write(&path, &content).expect("it is written");
    let mut cost = Cost::since(&a, &b);
    cost.of("the first version", "song", &content);

    change(&path, &mut content, size / 2 + 12_345, &random.bytes(MIB));
    let middle = cost.of("changed in the middle", "song", &content);
    let more = random.bytes(MIB);
    File::options().append(true).open(&path).and_then(|mut file| file.write_all(&more)).expect("it is appended");
    content.extend(&more);
    let appended = cost.of("appended", "song", &content);
    for (what, cost) in [("middle", middle), ("append", appended)] {
        for (at, bytes) in cost.into_iter().enumerate() {
            assert!(bytes <= bound(MIB, piece), "{what} {at}: {bytes} bytes for one changed MiB");
        }
    }

    // Whoever rewrites a file writes all of it; sent is what differs.
    content[size / 4..size / 4 + MIB].copy_from_slice(&random.bytes(MIB));
    fs::write(&path, &content).expect("it is rewritten");
    let rewritten = cost.of("truncated and rewritten", "song", &content);
    content[size / 8..size / 8 + MIB].copy_from_slice(&random.bytes(MIB));
    let beside = a.friends("song.tmp");
    fs::write(&beside, &content).and_then(|()| fs::rename(&beside, &path)).expect("it is replaced");
    let replaced = cost.of("written beside and renamed over", "song", &content);
    println!("{test}: rewritten {rewritten:?}, replaced {replaced:?}");
}

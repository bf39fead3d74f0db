//! `dustfs import`: what comes into the tree and what not, how it goes on after a break, and how fast it is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::harness::{Node, Random, World, census, digest, long, must, random_file, seed, wait_until, write};

const LIMIT: Duration = Duration::from_secs(60);

/// A time with nanoseconds, so many days after 1970.
fn day(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(days * 86_400, 123_456_789)
}

fn date(path: &Path, days: u64) {
    File::open(path).and_then(|file| file.set_modified(day(days))).expect("it is dated");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// What lies in a tree, sorted: path, kind, modes, time in nanoseconds, and where links lead.
pub fn told(root: &Path) -> Vec<(PathBuf, u32, i128, Option<PathBuf>)> {
    let mut told = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry")) {
            let (path, metadata) = (entry.path(), entry.metadata().expect("metadata"));
            let time = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
            let below = path.strip_prefix(root).expect("below").to_owned();
            // The modes of symbolic links are nobody's.
            let mode = if metadata.is_symlink() { 0o120_000 } else { metadata.mode() };
            told.push((below, mode, time, fs::read_link(&path).ok()));
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    told.sort();
    told
}

/// Photos, directories, links, odd names.
fn some_tree(root: &Path, random: &mut Random) {
    for number in 0..120_u64 {
        let directory = root.join(format!("{}/{}", number % 5, number % 3));
        fs::create_dir_all(&directory).expect("directories");
        let size = [0, 1, 4_096, 4_097, 65_508, 300_000][number as usize % 6];
        let path = directory.join(format!("photo {number} ä.jpg"));
        write(&path, &random.bytes(size));
        fs::set_permissions(&path, PermissionsExt::from_mode([0o644, 0o600, 0o755][number as usize % 3]))
            .expect("modes");
        date(&path, 1_000 + number);
    }
    random_file(&root.join("film"), 20 << 20, random).expect("a film");
    write(&root.join(OsStr::from_bytes(b"a \\ \"b\"\t'")), b"odd");
    for (path, value) in [("film", "4"), ("0", "all")] {
        let script = "import os, sys; os.setxattr(sys.argv[1], 'user.stars', sys.argv[2].encode())";
        must(&["python3", "-c", script, text(&root.join(path)), value]);
    }
    symlink("film", root.join("link")).expect("a link");
    symlink("/nowhere/\u{e4}", root.join("0/dangling")).expect("a link");
    fs::create_dir(root.join("empty")).expect("a directory");
    for (number, directory) in ["0/0", "0", "empty"].into_iter().enumerate() {
        fs::set_permissions(root.join(directory), PermissionsExt::from_mode(0o750)).expect("modes");
        date(&root.join(directory), 500 + number as u64);
    }
}

fn import(node: &Node, from: &Path, into: &[&str]) -> serde_json::Value {
    node.json(&[&["import", text(from)], into].concat())
}

#[test]
fn a_directory_comes_in_whole_and_once() {
    let test = "a_directory_comes_in_whole_and_once";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    let from = world.path().join("Summer");
    fs::create_dir(&from).expect("a directory");
    some_tree(&from, &mut random);

    // Without a place, into the owner's own circle.
    let status = import(&a, &from, &[]);
    let all = census(&from).expect("a census");
    assert_eq!((&status["into"], &status["failed"]), (&"Home/Summer".into(), &0.into()), "{status}");
    assert_eq!((&status["files"], &status["there"]), (&122.into(), &0.into()), "{status}");
    assert_eq!((&status["total"], &status["done"]), (&all.into(), &all.into()), "{status}");
    assert_eq!((&status["bytes"], &status["done_bytes"]), (&status["total_bytes"], &status["total_bytes"]), "{status}");
    let there = a.mount().join("Home/Summer");
    assert_eq!(digest(&there).expect("a tree"), digest(&from).expect("a tree"));
    assert_eq!(told(&there), told(&from));
    let stars = |path: &str| {
        must(&[
            "python3",
            "-c",
            "import os, sys; print(end=os.getxattr(sys.argv[1], 'user.stars').decode())",
            text(&there.join(path)),
        ])
    };
    assert_eq!((stars("film"), stars("0")), ("4".into(), "all".into()));

    // Once more it has nothing to do; it survives a power cut, and so does what it knows.
    let status = import(&a, &from, &["Home/Summer/"]);
    assert_eq!(
        (&status["files"], &status["others"], &status["there"]),
        (&0.into(), &0.into(), &all.into()),
        "{status}"
    );
    let mut a = a;
    a.kill();
    a.start();
    assert_eq!(told(&there), told(&from));
    assert_eq!(import(&a, &from, &[])["there"], all);
    // So it has where a time alone is another, which it takes.
    date(&from.join("film"), 30_000);
    let status = import(&a, &from, &[]);
    assert_eq!((&status["files"], &status["there"]), (&0.into(), &all.into()), "{status}");
    assert_eq!(told(&there), told(&from));

    // What changed is brought in anew, what is newer in the tree stays, new modes come along.
    write(&from.join("0/0/photo 0 ä.jpg"), b"another");
    write(&there.join("1/1/photo 1 ä.jpg"), b"edited in the tree");
    fs::set_permissions(from.join("film"), PermissionsExt::from_mode(0o400)).expect("modes");
    let status = import(&a, &from, &[]);
    assert_eq!((&status["files"], &status["newer"]), (&1.into(), &1.into()), "{status}");
    assert_eq!(fs::read(there.join("0/0/photo 0 ä.jpg")).expect("it is read"), b"another");
    assert_eq!(fs::read(there.join("1/1/photo 1 ä.jpg")).expect("it is read"), b"edited in the tree");
    assert_eq!(fs::metadata(there.join("film")).expect("it is there").mode() & 0o777, 0o400);

    // Into a circle with friends, by its path below the mount; they get it.
    let status = import(&a, &from, &[text(&a.friends("trip/2026"))]);
    assert_eq!(status["into"], "Friends/trip/2026");
    wait_until("the friend has it", LIMIT, || {
        digest(&b.friends("trip/2026")).is_ok_and(|there| digest(&from).is_ok_and(|from| there == from))
    });
    assert_eq!(told(&b.friends("trip/2026")), told(&from));
}

#[test]
fn what_cannot_come_in_is_told_and_the_rest_comes() {
    let test = "what_cannot_come_in_is_told_and_the_rest_comes";
    let Some(world) = World::new(test) else { return };
    let a = world.started("A");
    let from = world.path().join("from");
    fs::create_dir_all(from.join("d")).expect("a directory");
    for name in ["one", "d/two"] {
        write(&from.join(name), name.as_bytes());
    }
    must(&["mkfifo", text(&from.join("pipe"))]);
    must(&["mknod", text(&from.join("null")), "c", "1", "3"]);
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).expect("a socket");
    // Root reads what others may not: a directory where the tree has a file, and the other way round, cannot come in.
    fs::create_dir(a.mount().join("into")).expect("a directory");
    write(&a.mount().join("into/d"), b"a file");
    fs::create_dir(a.mount().join("into/one")).expect("a directory");

    let ran = a.run(&["import", text(&from), "into"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for (name, why) in [
        ("pipe", "a named pipe"),
        ("null", "a device"),
        ("socket", "a socket"),
        ("d", "the tree has something else of that name"),
        ("one", "the tree has something else of that name"),
    ] {
        let line = format!("{}: ", from.join(name).display());
        assert!(ran.err.lines().any(|told| told.starts_with(&line) && told.contains(why)), "{name}: {ran:?}");
    }
    assert!(ran.err.ends_with("dustfs: 5 were not imported, as told above\n"), "{ran:?}");
    assert!(ran.out.starts_with("imported 0 files"), "{ran:?}");
    fs::remove_file(a.mount().join("into/d")).expect("it is removed");
    let ran = a.run(&["import", text(&from), "into"]);
    assert!(ran.code == Some(1) && ran.out.starts_with("imported 1 files"), "{ran:?}");
    assert_eq!(fs::read(a.mount().join("into/d/two")).expect("it is read"), b"d/two");

    for (line, why) in [
        (&["import", "/no/such/directory"][..], "/no/such/directory"),
        (&["import", text(&from.join("one"))], "the node cannot read"),
        (&["import", text(&a.mount()), "again"], "it is the node's own"),
        (&["import", text(&a.state().join("slabs")), "again"], "it is the node's own"),
    ] {
        let ran = a.run(line);
        assert!(ran.code == Some(1) && ran.err.contains(why), "{ran:?}");
    }
    a.ok(&["found", "Friends"]);
    let ran = a.run(&["import", text(&from), "Nowhere/x"]);
    assert!(ran.code == Some(1) && ran.err.contains("nothing can be put into Nowhere/x"), "{ran:?}");
    let ran = a.run(&["import", text(&from), "/"]);
    assert!(ran.code == Some(1) && ran.err.contains("name one, as Home/photos"), "{ran:?}");
}

/// An import that runs beside.
fn begin(node: &Node, from: &Path) -> Child {
    node.command(&["import", text(from), "into"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs")
}

#[test]
fn a_broken_import_goes_on_where_it_was() {
    let test = "a_broken_import_goes_on_where_it_was";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let mut a = world.started("A");
    let from = world.path().join("from");
    for number in 0..50 {
        fs::create_dir_all(from.join(number.to_string())).expect("directories");
    }
    for number in 0..3_000 {
        write(&from.join(format!("{}/{number}", number % 50)), &random.bytes(5_000));
    }
    random_file(&from.join("large"), 300 << 20, &mut random).expect("a file");
    let into = a.mount().join("into");
    let some = |least: usize| census(&into).is_ok_and(|count| count >= least);

    // The node is killed in the middle.
    let mut broken = begin(&a, &from);
    wait_until("some are there", LIMIT, || some(200));
    let ran = a.run(&["import", text(&from), "into"]);
    assert!(ran.code == Some(1) && ran.err.contains("an import runs already"), "{ran:?}");
    a.kill();
    assert!(!broken.wait().expect("a child").success());
    a.start();
    // Nothing of what is there is half there.
    for entry in fs::read_dir(&into).expect("a directory").flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(entry.path()).expect("a directory").flatten() {
            assert_eq!(file.metadata().expect("metadata").len(), 5_000);
        }
    }
    // The command is broken off: the import ends by itself, and another may begin.
    broken = begin(&a, &from);
    wait_until("more are there", LIMIT, || some(1_000));
    broken.kill().and_then(|()| broken.wait()).expect("a child");
    wait_until("another may begin", LIMIT, || a.run(&["import", text(&from), "into"]).code == Some(0));
    let status = import(&a, &from, &["into"]);
    assert_eq!((&status["files"], &status["there"]), (&0.into(), &census(&from).expect("a census").into()), "{status}");
    assert_eq!(digest(&into).expect("a tree"), digest(&from).expect("a tree"));
}

#[test]
fn it_is_faster_than_cp() {
    let test = "it_is_faster_than_cp";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let (files, large) = if long() { (20_000, 2_u64 << 30) } else { (2_000, 256 << 20) };
    let (small, film) = (world.path().join("small"), world.path().join("films"));
    for number in 0..20 {
        fs::create_dir_all(small.join(number.to_string())).expect("directories");
    }
    for number in 0..files {
        write(&small.join(format!("{}/{number}", number % 20)), &random.bytes(8_192));
    }
    fs::create_dir(&film).expect("a directory");
    random_file(&film.join("film"), large, &mut random).expect("a film");
    for (what, from, name) in [("small files", &small, "small"), ("one large file", &film, "films")] {
        // Each on a node of its own, since equal bytes are stored once.
        let (one, two) = (world.started(&format!("c{name}")), world.started(&format!("i{name}")));
        let begun = Instant::now();
        must(&["cp", "-a", text(from), text(&one.mount())]);
        let closed = begun.elapsed().as_secs_f64();
        // What is imported would survive a power cut: so must what is copied.
        must(&["sh", "-c", &format!("find {} -type f -exec sync {{}} +", text(&one.mount()))]);
        let copied = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        two.ok(&["import", text(from)]);
        let imported = begun.elapsed().as_secs_f64();
        println!("{test}: {what}: cp -a {closed:.2} s, with sync {copied:.2} s; dustfs import {imported:.2} s");
        assert_eq!(told(&two.mount().join(name)), told(from));
        // A busy machine and a program that is not optimized may make it slower, but not by much.
        let slack = if long() { 1.0 } else { 2.0 };
        assert!(imported < slack * copied, "{what}: {imported} s, and cp takes {copied}");
    }
}

/// A disk of somebody's, from a machine that lost its power: a look at it that plays its journal back would write.
#[test]
fn an_owners_disk_is_offered_and_never_written() {
    let test = "an_owners_disk_is_offered_and_never_written";
    let Some(world) = World::new(test) else { return };
    let Some(disk) = OwnersDisk::new(&world, test) else { return };
    let before = fs::read(&disk.image).expect("read");
    let (disks, at) = (disk.disks(), disk.at.clone());
    fs::create_dir_all(disks.join("other")).expect("an empty directory");

    let mut node = world.node("A");
    node.start_with(&["--disks", text(disks)]);
    wait_until("the disk is offered", LIMIT, || node.json(&["status"])["disks"][0]["answered"] == false);
    let status = node.json(&["status"]);
    assert_eq!(status["disks"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!((&status["disks"][0]["name"], &status["disks"][0]["kind"]), (&"Photos 2019".into(), &"ext4".into()));
    assert!(node.ok(&["status"]).contains("disk 'Photos 2019' with "));
    node.ok(&["import", text(&at)]);
    // Under its own name, not its mount's; and nobody asks again, also not after a start.
    assert_eq!(told(&node.mount().join("Photos 2019")), told(&at));
    assert_eq!(node.json(&["status"])["disks"][0]["answered"], true);
    node.stop();
    node.start_with(&["--disks", text(disks)]);
    wait_until("the disk is there", LIMIT, || node.json(&["status"])["disks"][0]["answered"] == true);
    must(&["umount", text(&at)]);
    wait_until("the disk is gone", LIMIT, || node.json(&["status"])["disks"].as_array().is_some_and(Vec::is_empty));
    assert!(fs::read(&disk.image).expect("read") == before, "the disk is another one than it was");
    node.stop();
}

/// A disk called `Photos 2019` with some files, whose journal was not played back, mounted as a box does it.
pub struct OwnersDisk {
    image: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
}

impl OwnersDisk {
    /// `None` where this machine has no loop devices.
    pub fn new(world: &World, test: &str) -> Option<Self> {
        let source = world.path().join("source");
        let disk = Self { image: world.path().join("disk.image"), at: world.path().join("disks/loop") };
        some_tree(&source, &mut Random::new(seed(test)));
        File::create(&disk.image).and_then(|file| file.set_len(64 << 20)).expect("an image");
        must(&["mkfs.ext4", "-q", "-F", "-L", "Photos 2019", "-d", text(&source), text(&disk.image)]);
        must(&["debugfs", "-w", "-R", "feature needs_recovery", text(&disk.image)]);
        fs::create_dir_all(&disk.at).expect("a directory");
        let options = "loop,ro,nosuid,nodev,noexec,noload";
        let mounted = crate::harness::system(&["mount", "-o", options, text(&disk.image), text(&disk.at)]);
        if !mounted.is_ok_and(|ran| ran.status.success()) {
            println!("SKIPPED {test}: this machine has no loop devices");
            return None;
        }
        Some(disk)
    }

    /// What `--disks` is to name.
    pub fn disks(&self) -> &Path {
        self.at.parent().expect("it is mounted below a directory")
    }
}

impl Drop for OwnersDisk {
    fn drop(&mut self) {
        let _ = crate::harness::system(&["umount", text(&self.at)]);
    }
}

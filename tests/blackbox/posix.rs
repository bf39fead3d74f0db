//! File operations on a real mount: held against a model on the local disk, against the tools that people use, and against
//! what a second node shows.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;

use crate::harness::{Node, Random, World, long, seed, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two nodes of one circle, each with a mount.
fn pair(world: &World) -> (Node, Node) {
    let (a, mut b) = (world.started("A"), world.node("B"));
    b.start();
    b.join(&a.invite("member"));
    (a, b)
}

fn errno(result: io::Result<impl Sized>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
}

/// Runs a line of the shell in a directory; what it printed.
#[track_caller]
fn shell(directory: &Path, line: &str) -> String {
    let output = Command::new("timeout")
        .args(["-s", "KILL", "60", "sh", "-ec", line])
        .current_dir(directory)
        .env("HOME", directory)
        .output()
        .expect("a shell");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {}: {out}{err}", output.status);
    out.into_owned()
}

fn installed(tool: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(tool).exists())
}

/// Mode, time of files in seconds and nanoseconds, and content.
type Seen = (u32, i64, i64, Vec<u8>);

/// Everything below a directory.
fn listing(root: &Path) -> io::Result<BTreeMap<Vec<u8>, Seen>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let told = fs::symlink_metadata(&path)?;
            let (mut time, content) = ((told.mtime(), told.mtime_nsec()), {
                if told.is_dir() {
                    left.push(path.clone());
                    Vec::new()
                } else if told.is_symlink() {
                    fs::read_link(&path)?.into_os_string().into_vec()
                } else {
                    fs::read(&path)?
                }
            });
            if told.is_dir() {
                // Those of directories are not shared.
                time = (0, 0);
            }
            let name = path.strip_prefix(root).expect("below it").as_os_str().as_bytes().to_vec();
            found.insert(name, (told.mode(), time.0, time.1, content));
        }
    }
    Ok(found)
}

/// Waits until both mounts show the same.
#[track_caller]
fn agree(a: &Node, b: &Node) {
    let differing = || {
        let (at_a, at_b) = (listing(&a.friends("")).ok()?, listing(&b.friends("")).ok()?);
        let names = at_a.keys().chain(at_b.keys()).filter(|name| at_a.get(*name) != at_b.get(*name));
        Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>())
    };
    wait_until("both mounts show the same", PATIENCE, || differing().is_some_and(|names| names.is_empty()));
}

/// One file with several handles, and the same on the local disk.
struct Twin {
    ours: PathBuf,
    model: PathBuf,
    handles: Vec<(File, File)>,
}

const LARGEST: u64 = 1 << 20;

impl Twin {
    fn open(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        self.handles.push((options.open(&self.ours)?, options.open(&self.model)?));
        Ok(())
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        let Some((ours, model)) = self.handles.last() else { return Ok(()) };
        let (mut here, mut there) = (vec![0; length], vec![0; length]);
        let (got, expected) = (read_at(ours, &mut here, offset)?, read_at(model, &mut there, offset)?);
        assert_eq!(got, expected, "bytes read at {offset}");
        assert!(here[..got] == there[..got], "bytes {offset}..{}", offset + got as u64);
        assert_eq!(ours.metadata()?.len(), model.metadata()?.len(), "the size");
        Ok(())
    }

    /// One operation on both.
    fn act(&mut self, random: &mut Random) -> io::Result<&'static str> {
        let at = random.below(self.handles.len() as u64) as usize;
        let (ours, model) = &mut self.handles[at];
        let offset = random.below(LARGEST);
        match random.below(100) {
            0..=39 => {
                let most = if random.below(4) == 0 { 200_000 } else { 5_000 };
                let length = random.below(most) as usize;
                let bytes = random.bytes(length);
                ours.write_all_at(&bytes, offset)?;
                model.write_all_at(&bytes, offset)?;
                Ok("pwrite")
            }
            40..=64 => {
                let length = random.below(150_000) as usize;
                self.check(offset, length)?;
                Ok("pread")
            }
            65..=74 => {
                let length = if random.below(3) == 0 { random.below(5_000) } else { offset };
                ours.set_len(length)?;
                model.set_len(length)?;
                Ok("truncate")
            }
            75..=79 => {
                let length = random.below(3_000) as usize;
                let bytes = random.bytes(length);
                for (file, path) in [(&self.ours, "ours"), (&self.model, "model")] {
                    let mut file = OpenOptions::new().append(true).open(file)?;
                    file.write_all(&bytes).map_err(|error| io::Error::other(format!("{path}: {error}")))?;
                }
                Ok("append")
            }
            80..=84 => {
                ours.sync_all()?;
                Ok("fsync")
            }
            85..=91 => {
                self.handles.swap_remove(at);
                if self.handles.is_empty() {
                    self.open()?;
                }
                Ok("close")
            }
            92..=95 if self.handles.len() < 4 => {
                self.open()?;
                Ok("open")
            }
            96 => {
                let to = |path: &Path| path.with_extension(if path.extension().is_some() { "" } else { "moved" });
                let (ours, model) = (to(&self.ours), to(&self.model));
                fs::rename(&self.ours, &ours)?;
                fs::rename(&self.model, &model)?;
                (self.ours, self.model) = (ours, model);
                Ok("rename")
            }
            97 => {
                // The handles go on with the file that has no name any more, until they are closed.
                fs::remove_file(&self.ours)?;
                fs::remove_file(&self.model)?;
                let length = random.below(100_000) as usize;
                let bytes = random.bytes(length);
                for (ours, model) in &self.handles {
                    ours.write_all_at(&bytes, offset)?;
                    model.write_all_at(&bytes, offset)?;
                }
                self.check(offset / 2, 300_000)?;
                self.handles.clear();
                self.open()?;
                Ok("unlink")
            }
            _ => {
                let (ours, model) = (fs::read(&self.ours)?, fs::read(&self.model)?);
                assert!(ours == model, "the whole file");
                Ok("read all")
            }
        }
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

#[test]
fn random_operations_do_what_they_do_on_a_disk() {
    let test = "random_operations_do_what_they_do_on_a_disk";
    let Some(world) = World::new(test) else { return };
    let (a, b) = pair(&world);
    let mut random = Random::new(seed(test));
    let model = world.path().join("model");
    fs::create_dir(&model).expect("a directory");
    let mut twins = Vec::new();
    for number in 0..4 {
        let name = format!("file{number}");
        let mut twin = Twin { ours: a.friends(&name), model: model.join(name), handles: Vec::new() };
        twin.open().expect("a new file");
        twins.push(twin);
    }
    let mut done = BTreeMap::<&str, u32>::new();
    for number in 0..if long() { 20_000 } else { 2_000 } {
        let which = random.below(twins.len() as u64) as usize;
        let act = twins[which].act(&mut random);
        *done.entry(act.unwrap_or_else(|error| panic!("operation {number} on file {which}: {error}"))).or_default() +=
            1;
    }
    println!("{test}: {done:?}");
    assert_eq!(done.len(), 10, "{done:?}");
    for twin in &mut twins {
        assert!(fs::read(&twin.ours).expect("it reads") == fs::read(&twin.model).expect("it reads"));
        twin.handles.clear();
    }
    agree(&a, &b);
    for twin in &twins {
        let name = twin.ours.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(fs::read(b.friends(&name)).expect("it reads") == fs::read(&twin.model).expect("it reads"), "{name}");
    }
}

#[test]
fn files_live_on_without_a_name() {
    let Some(world) = World::new("files_live_on_without_a_name") else { return };
    let a = world.started("A");
    a.invite("member");
    // A file that was never closed before it was unlinked was ENOENT to its own handle.
    let path = a.friends("fresh");
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).expect("made");
    file.write_all(b"still here").expect("written");
    fs::remove_file(&path).expect("unlinked");
    file.seek(SeekFrom::Start(0)).expect("seek");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "still here");
    file.write_all_at(&[7; 200_000], 5).expect("written");
    file.sync_all().expect("synced");
    assert_eq!(file.metadata().expect("stat").len(), 200_005);
    drop(file);
    assert_eq!(errno(fs::metadata(&path)), Some(Errno::ENOENT));

    let path = a.friends("old");
    fs::write(&path, vec![1; 300_000]).expect("written");
    let reader = File::open(&path).expect("opened");
    fs::remove_file(&path).expect("unlinked");
    fs::write(&path, b"another").expect("written");
    let mut bytes = vec![0; 300_000];
    reader.read_exact_at(&mut bytes, 0).expect("the old one");
    assert!(bytes.iter().all(|byte| *byte == 1));
    assert_eq!(fs::read(&path).expect("the new one"), b"another");
}

#[test]
fn renames_replace_and_refuse() {
    let Some(world) = World::new("renames_replace_and_refuse") else { return };
    let (a, b) = pair(&world);
    let at = |name: &str| a.friends(name);
    fs::write(at("one"), "one").expect("written");
    fs::write(at("two"), "two").expect("written");
    let mut two = File::open(at("two")).expect("opened");
    fs::rename(at("one"), at("two")).expect("replaced");
    assert_eq!(fs::read_to_string(at("two")).expect("read"), "one");
    let mut text = String::new();
    two.read_to_string(&mut text).expect("the replaced one");
    assert_eq!(text, "two");
    // While it is being written, and not published yet.
    let mut file = File::create(at("three")).expect("made");
    file.write_all(b"three").expect("written");
    fs::rename(at("three"), at("two")).expect("replaced");
    assert_eq!(fs::read_to_string(at("two")).expect("read"), "three");
    file.write_all(b" and more").expect("written");
    drop(file);
    assert_eq!(fs::read_to_string(at("two")).expect("read"), "three and more");
    assert_eq!(errno(fs::metadata(at("three"))), Some(Errno::ENOENT));

    fs::create_dir_all(at("d/e/f")).expect("made");
    fs::write(at("d/e/f/g"), "deep").expect("written");
    fs::rename(at("d"), at("moved")).expect("moved");
    assert_eq!(fs::read_to_string(at("moved/e/f/g")).expect("read"), "deep");
    assert_eq!(errno(fs::rename(at("moved"), at("moved/e/inside"))), Some(Errno::EINVAL));
    fs::create_dir(at("empty")).expect("made");
    assert_eq!(errno(fs::rename(at("empty"), at("moved"))), Some(Errno::ENOTEMPTY));
    assert_eq!(errno(fs::rename(at("two"), at("empty"))), Some(Errno::EISDIR));
    assert_eq!(errno(fs::rename(at("empty"), at("two"))), Some(Errno::ENOTDIR));
    fs::rename(at("moved"), at("empty")).expect("an empty directory is replaced");
    assert_eq!(errno(fs::remove_dir(at("empty"))), Some(Errno::ENOTEMPTY));
    assert_eq!(errno(fs::remove_file(at("empty"))), Some(Errno::EISDIR));
    assert_eq!(errno(fs::rename(a.mount().join("Friends/two"), a.mount().join("Home/two"))), Some(Errno::EXDEV));
    assert_eq!(errno(fs::hard_link(at("two"), at("hard"))), Some(Errno::EPERM));
    agree(&a, &b);
}

#[test]
fn names_times_and_modes() {
    let Some(world) = World::new("names_times_and_modes") else { return };
    let (a, b) = pair(&world);
    let root = a.friends("");
    let name = |bytes: &[u8]| root.join(std::ffi::OsStr::from_bytes(bytes));
    let long = [b'a'; 255];
    for bytes in [b"\xff\xfe\x80".as_slice(), "ü".as_bytes(), b"two\nlines", b" ", b"...", b"-rf", &long] {
        fs::write(name(bytes), bytes).expect("written");
        assert_eq!(fs::read(name(bytes)).expect("read"), bytes);
    }
    for (at, seconds, nanos) in [(1, -14_182_940, 0), (2, 2_214_000_000_i64, 123_456_789_u32), (3, 0, 0)] {
        let path = root.join(format!("time {at}"));
        File::create(&path).expect("made");
        shell(&root, &format!("touch -d @{seconds}.{nanos:09} 'time {at}'"));
        let told = fs::metadata(&path).expect("stat");
        assert_eq!((told.mtime(), told.mtime_nsec()), (seconds, i64::from(nanos)));
    }
    let script = root.join("script");
    fs::write(&script, "#!/bin/sh\necho ran\n").expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(shell(&root, "./script"), "ran\n");
    fs::copy("/bin/ls", root.join("ls")).expect("copied");
    assert!(shell(&root, "./ls").contains("script"));
    File::options().write(true).create_new(true).mode(0o600).open(root.join("private")).expect("made");
    assert_eq!(fs::metadata(root.join("private")).expect("stat").mode() & 0o7777, 0o600);
    assert_eq!(errno(File::create_new(root.join("private"))), Some(Errno::EEXIST));
    symlink("script", root.join("link")).expect("made");
    assert_eq!(fs::symlink_metadata(root.join("link")).expect("stat").len(), 6);
    let target = "x/".repeat(2_047);
    symlink(&target, root.join("long link")).expect("made");
    assert_eq!(fs::read_link(root.join("long link")).expect("read").as_os_str().len(), target.len());
    let told = nix::sys::statvfs::statvfs(&root).expect("statfs");
    assert!(told.name_max() == 255 && told.blocks() > 0 && told.blocks_available() > 0);
    agree(&a, &b);
}

#[test]
fn holes_and_mappings() {
    let Some(world) = World::new("holes_and_mappings") else { return };
    let (a, b) = pair(&world);
    let path = a.friends("holes");
    let file = File::create(&path).expect("made");
    file.write_all_at(b"end", 40_000_000).expect("written");
    drop(file);
    let bytes = fs::read(&path).expect("read");
    assert!(
        bytes.len() == 40_000_003 && bytes.ends_with(b"\0end") && bytes[..40_000_000].iter().all(|byte| *byte == 0)
    );
    // 300 MB of zeros were all in memory before they were published.
    let before = a.resident_bytes();
    File::create(a.friends("large")).and_then(|file| file.set_len(300_000_000)).expect("made");
    wait_until("it is published", PATIENCE, || {
        b.friends("large").metadata().is_ok_and(|told| told.len() == 300_000_000)
    });
    let after = a.resident_bytes();
    assert!(after < before + 64_000_000, "{before} bytes in memory became {after}");

    // Python's mmap is the system's: MAP_SHARED, also after the descriptor is closed.
    if !installed("python3") {
        println!("SKIPPED holes_and_mappings: python3 is missing");
        return;
    }
    fs::write(a.friends("mapped"), vec![b'a'; 200_000]).expect("written");
    let script = "import mmap
f = open('mapped', 'r+b')
m = mmap.mmap(f.fileno(), 0)
assert m[:3] == b'aaa'
m[100000:100005] = b'HELLO'
m.flush()
f.close()
m[199995:200000] = b'LATER'
m.close()";
    shell(&a.friends(""), &format!("python3 -c \"{script}\""));
    wait_until("B shows what was written through the mapping", PATIENCE, || {
        fs::read(b.friends("mapped"))
            .is_ok_and(|bytes| &bytes[100_000..100_005] == b"HELLO" && bytes.ends_with(b"LATER"))
    });
}

#[test]
fn tools_that_people_use() {
    let Some(world) = World::new("tools_that_people_use") else { return };
    let (a, b) = pair(&world);
    let root = a.friends("");
    let source = world.path().join("source");
    fs::create_dir_all(source.join("a/b c/d")).expect("made");
    fs::write(source.join("a/text"), "text").expect("written");
    fs::write(source.join("a/b c/large"), Random::new(1).bytes(3_000_000)).expect("written");
    fs::write(source.join("a/b c/d/.hidden"), "").expect("written");
    symlink("a/b c", source.join("link")).expect("made");
    shell(&source, "chmod 640 a/text; chmod 700 'a/b c'; find . -exec touch -h -d 2001-02-03 {} +");
    let from = source.display();
    shell(&root, &format!("cp -a '{from}' copied"));
    shell(&root, &format!("mkdir tarred; tar -C '{from}' -cf - . | tar -C tarred -xf -"));
    let mut copies = vec!["copied", "tarred"];
    if installed("rsync") {
        shell(&root, &format!("rsync -a '{from}/' synced/; rsync -a --checksum --delete '{from}/' synced/"));
        copies.push("synced");
    }
    let truth = listing(&source).expect("listed");
    for copy in copies {
        assert_eq!(listing(&root.join(copy)).expect("listed"), truth, "{copy}");
    }
    if installed("git") {
        let line = "git init -q repository; cd repository; git config user.email a@b; git config user.name A
            for n in 1 2 3 4 5; do echo $n > file$n; done; git add .; git commit -qm one
            echo more >> file1; git commit -qam two; git gc -q; git fsck --strict; git status --porcelain";
        assert_eq!(shell(&root, line), "");
    }
    if installed("sqlite3") {
        let line = "sqlite3 base 'create table t(a); with recursive c(x) as (select 1 union all select x+1 from c
            where x<2000) insert into t select x from c;'; sqlite3 base 'update t set a=a+1; delete from t where a%2=0;
            pragma integrity_check; select count(*) from t;'";
        assert_eq!(shell(&root, line), "ok\n1000\n");
    }
    shell(
        &root,
        "mkdir gone; for n in 1 2 3; do echo $n > gone/$n; done; rm -r gone; test ! -e gone; df . > /dev/null",
    );
    agree(&a, &b);
}

#[test]
fn large_and_deep_directories() {
    let Some(world) = World::new("large_and_deep_directories") else { return };
    let (a, b) = pair(&world);
    let many = a.friends("many");
    fs::create_dir(&many).expect("made");
    for number in 0..5_000 {
        File::create(many.join(format!("file {number:04}"))).expect("made");
    }
    let mut names: Vec<_> =
        fs::read_dir(&many).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 5_000);
    assert!(names.iter().enumerate().all(|(at, name)| *name == *format!("file {at:04}")));
    assert_eq!(shell(&many, "ls -l | wc -l").trim(), "5001");
    let deep = a.friends("deep");
    let mut path = deep.clone();
    for _ in 0..200 {
        path.push("d");
    }
    fs::create_dir_all(&path).expect("made");
    fs::write(path.join("bottom"), "bottom").expect("written");
    let below: PathBuf = path.strip_prefix(a.friends("")).expect("below it").join("bottom");
    wait_until("B shows the bottom", PATIENCE, || {
        fs::read(b.friends(&below.to_string_lossy())).is_ok_and(|bytes| bytes == b"bottom")
    });
    wait_until("B shows all", PATIENCE, || fs::read_dir(b.friends("many")).is_ok_and(|dir| dir.count() == 5_000));
    // Entries are taken away while the directory is being read.
    for entry in fs::read_dir(&many).expect("listed") {
        fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    fs::remove_dir(&many).expect("it is empty");
    fs::remove_dir_all(&deep).expect("removed");
    agree(&a, &b);
}

#[test]
fn several_read_and_write_at_once() {
    let test = "several_read_and_write_at_once";
    let Some(world) = World::new(test) else { return };
    let (a, b) = pair(&world);
    let seed = seed(test);
    let shared = a.friends("shared");
    fs::write(&shared, []).expect("made");
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let (shared, own) = (&shared, a.friends(&format!("own {writer}")));
            scope.spawn(move || {
                let mut random = Random::new(seed + u64::from(writer));
                let file = OpenOptions::new().write(true).open(shared).expect("opened");
                for round in 0..30 {
                    // Each has the blocks of its own in the shared file.
                    let block = (random.below(16) * 4 + u64::from(writer)) * 10_000;
                    file.write_all_at(&[writer + 1; 10_000], block).expect("written");
                    let length = random.below(100_000) as usize;
                    fs::write(&own, vec![writer + 1; length]).expect("written");
                    let bytes = fs::read(&own).expect("read");
                    assert!(bytes.len() == length && bytes.iter().all(|byte| *byte == writer + 1), "round {round}");
                }
            });
        }
        for _ in 0..2 {
            let shared = &shared;
            scope.spawn(move || {
                for _ in 0..50 {
                    for (at, block) in fs::read(shared).expect("read").chunks(10_000).enumerate() {
                        let own = at as u8 % 4 + 1;
                        assert!(block.iter().all(|byte| [0, own].contains(byte)), "block {at}");
                    }
                }
            });
        }
    });
    agree(&a, &b);
}

/// Two people make a file of one name at the same time: both see both.
#[test]
fn one_name_made_on_two_nodes_shows_both() {
    let Some(world) = World::new("one_name_made_on_two_nodes_shows_both") else { return };
    let (a, b) = pair(&world);
    for node in [&a, &b] {
        fs::write(node.friends(node.name()), "to see it").expect("written");
    }
    agree(&a, &b);
    world.link(&b, false);
    let bytes = |node: &Node| node.name().repeat(50_000).into_bytes();
    for node in [&a, &b] {
        fs::write(node.friends("same.txt"), bytes(node)).expect("written");
    }
    world.link(&b, true);
    let both = |node: &Node| -> io::Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(node.friends(""))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("same") {
                found.push(fs::read(entry.path())?);
            }
        }
        found.sort();
        Ok(found)
    };
    let all = vec![bytes(&a), bytes(&b)];
    wait_until("both show both", PATIENCE, || {
        [&a, &b].into_iter().all(|node| both(node).is_ok_and(|found| found == all))
    });
    agree(&a, &b);
    assert!(a.friends("same.txt").exists(), "the winner keeps the name");
}

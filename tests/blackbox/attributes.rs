//! What programs ask of a file beside its bytes: extended attributes, holes, locks, copies, places exchanged.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, RenameFlags, fallocate, renameat2};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Whence, linkat, lseek64, mkfifo};

use crate::harness::{Node, Random, World, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs Python in a directory; what it printed. It has what Rust's crates have not: extended attributes and locks.
#[track_caller]
pub fn python(directory: &Path, script: &str) -> String {
    let output = Command::new("timeout")
        .args(["-s", "KILL", "60", "python3", "-c", script])
        .current_dir(directory)
        .output()
        .expect("timeout can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    out.trim().to_owned()
}

/// Extended attributes of all files below a directory.
fn xattrs(directory: &Path) -> String {
    python(
        directory,
        "import os
for at, below, files in sorted(os.walk('.')):
    for path in sorted([at] + [os.path.join(at, name) for name in files]):
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            print(path, name, os.getxattr(path, name).hex())",
    )
}

fn has_python(test: &str) -> bool {
    let found = Command::new("python3").arg("-V").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED {test}: python3 is missing");
    }
    found
}

fn pair(world: &World) -> (Node, Node) {
    let (a, mut b) = (world.started("A"), world.node("B"));
    b.start();
    b.join(&a.invite("member"));
    (a, b)
}

#[test]
fn extended_attributes_are_shared_and_kept() {
    let test = "extended_attributes_are_shared_and_kept";
    if !has_python(test) {
        return;
    }
    let Some(world) = World::new(test) else { return };
    let (mut a, b) = pair(&world);
    let root = a.friends("");
    let said = python(
        &root,
        "import errno, os
def error(call, *arguments):
    try: call(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
open('small', 'w').write('small')
open('large', 'wb').write(bytes(300000))
os.makedirs('dir/below')
os.setxattr('small', 'user.colour', b'blue')
os.setxattr('small', 'user.gone', b'x')
os.removexattr('small', 'user.gone')
os.setxattr('dir', 'user.xdg.tags', 'süß'.encode())
os.setxattr('large', 'user.empty', b'')
os.setxattr('large', 'user.all', bytes(range(256)))
with open('open', 'wb') as file:
    os.setxattr(file.fileno(), 'user.while-open', b'1')
    file.write(bytes(100000))
    os.fsync(file.fileno())
print(error(os.setxattr, 'small', 'user.colour', b'', os.XATTR_CREATE), error(os.setxattr, 'small', 'user.x', b'', os.XATTR_REPLACE),
    error(os.removexattr, 'small', 'user.x'), error(os.getxattr, 'small', 'user.x'),
    error(os.setxattr, 'small', 'user.dustfs.state', b''), error(os.setxattr, 'small', 'user.big', bytes(20000)))
for name in ['trusted.x', 'security.x']: print(error(os.setxattr, 'small', name, b'x'), end=' ')",
    );
    assert_eq!(said, "EEXIST ENODATA ENODATA ENODATA EPERM ENOSPC\nENOTSUP ENOTSUP");
    let truth = xattrs(&root);
    assert_eq!(truth.lines().count(), 5, "{truth}");
    wait_until("B has them", PATIENCE, || xattrs(&b.friends("")) == truth);
    // What changes something else leaves them, on either node.
    fs::write(b.friends("small"), "written by B").expect("written");
    fs::rename(b.friends("large"), b.friends("moved")).expect("renamed");
    python(&b.friends(""), "import os; os.chmod('moved', 0o600); os.setxattr('dir', 'user.by', b'B')");
    let truth = xattrs(&b.friends(""));
    assert_eq!(truth.lines().count(), 6, "{truth}");
    wait_until("A has what B changed", PATIENCE, || xattrs(&root) == truth);
    a.stop();
    a.start();
    assert_eq!(xattrs(&root), truth, "after a restart");
    // Programs that carry them from file to file.
    let mut copies = vec!["cp -a"];
    copies.extend(Path::new("/usr/bin/rsync").exists().then_some("rsync -aX"));
    for (number, copy) in copies.iter().enumerate() {
        let line = format!("mkdir copy{number}; {copy} small moved dir copy{number}/");
        let ran = Command::new("sh").args(["-ec", &line]).current_dir(&root).status().expect("a shell");
        assert!(ran.success(), "{copy}");
        assert_eq!(xattrs(&root.join(format!("copy{number}"))).lines().count(), 5, "{copy}");
    }
}

/// What is durable by fsync has its extended attributes, also where the node was killed before it was published.
#[test]
fn extended_attributes_survive_a_cut() {
    let test = "extended_attributes_survive_a_cut";
    if !has_python(test) {
        return;
    }
    let Some(world) = World::new(test) else { return };
    let mut a = world.started("A");
    let file = File::create(a.mount().join("file")).expect("made");
    file.write_all_at(&[7; 200_000], 0).expect("written");
    python(&a.mount(), "import os; os.setxattr('file', 'user.kept', b'1')");
    file.sync_all().expect("synced");
    a.kill();
    drop(file);
    a.start();
    assert_eq!(xattrs(&a.mount()), "./file user.kept 31");
    assert_eq!(fs::metadata(a.mount().join("file")).expect("stat").len(), 200_000);
}

#[test]
fn places_are_exchanged() {
    let Some(world) = World::new("places_are_exchanged") else { return };
    let (a, b) = pair(&world);
    let at = |name: &str| a.friends(name);
    let rename = |one: &str, other: &str, flags| {
        renameat2(nix::fcntl::AT_FDCWD, &at(one), nix::fcntl::AT_FDCWD, &at(other), flags)
    };
    let exchange = |one: &str, other: &str| rename(one, other, RenameFlags::RENAME_EXCHANGE);
    fs::write(at("one"), "one").expect("written");
    fs::write(at("two"), vec![2; 200_000]).expect("written");
    exchange("one", "two").expect("exchanged, though neither was published yet");
    assert_eq!(
        (fs::read(at("one")).expect("read").len(), fs::read(at("two")).expect("read")),
        (200_000, b"one".into())
    );
    fs::create_dir_all(at("d/e")).expect("made");
    fs::write(at("d/e/f"), "f").expect("written");
    exchange("d", "two").expect("a directory and a file");
    assert_eq!(fs::read_to_string(at("two/e/f")).expect("read"), "f");
    assert_eq!(fs::read_to_string(at("d")).expect("read"), "one");
    // Two directories of one name show as one: here they must not, not even for a moment that stays.
    fs::create_dir(at("x")).expect("made");
    fs::write(at("x/inside"), "x").expect("written");
    exchange("x", "two").expect("two directories");
    assert_eq!(fs::read_to_string(at("two/inside")).expect("read"), "x");
    assert_eq!(fs::read_to_string(at("x/e/f")).expect("read"), "f");
    assert!(!at("x/inside").exists() && !at("two/e").exists());
    assert_eq!(exchange("x", "x/e"), Err(Errno::EINVAL));
    assert_eq!(exchange("x", "nothing"), Err(Errno::ENOENT));
    assert_eq!(rename("d", "one", RenameFlags::RENAME_NOREPLACE), Err(Errno::EEXIST));
    rename("d", "new", RenameFlags::RENAME_NOREPLACE).expect("nothing to replace");
    wait_until("B shows the same", PATIENCE, || {
        let read = |name: &str| fs::read_to_string(b.friends(name)).unwrap_or_default();
        let names = fs::read_dir(b.friends("")).map(|entries| entries.count()).unwrap_or_default();
        (read("two/inside"), read("x/e/f"), read("new"), names) == ("x".into(), "f".into(), "one".into(), 4)
    });
}

#[test]
fn holes_are_made_and_found() {
    let Some(world) = World::new("holes_are_made_and_found") else { return };
    let mut a = world.started("A");
    let path = a.mount().join("file");
    let options = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = options().expect("made");
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let zero = FallocateFlags::FALLOC_FL_ZERO_RANGE;
    let none = FallocateFlags::empty();
    let mut model = Random::new(5).bytes(1_000_000);
    file.write_all_at(&model, 0).expect("written");
    fallocate(&file, punch, 100_000, 300_001).expect("punched");
    model[100_000..400_001].fill(0);
    fallocate(&file, zero, 999_000, 5_000).expect("zeroed");
    model[999_000..].fill(0);
    model.resize(1_004_000, 0);
    fallocate(&file, none, 1_500_000, 500_000).expect("allocated");
    model.resize(2_000_000, 0);
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 3_000_000).expect("allocated");
    fallocate(&file, punch, 1_999_000, 5_000_000).expect("punched beyond the end");
    assert_eq!(file.metadata().expect("stat").len(), 2_000_000);
    assert!(fs::read(&path).expect("read") == model);
    // Once more over what is published.
    drop(file);
    let file = options().expect("opened");
    fallocate(&file, punch, 7, 65_600).expect("punched");
    model[7..65_607].fill(0);
    fallocate(&file, zero, 500_000, 10_000_000).expect("zeroed, in more than one step");
    model.truncate(500_000);
    model.resize(10_500_000, 0);
    assert!(fs::read(&path).expect("read") == model);
    drop(file);
    for refused in [FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, FallocateFlags::FALLOC_FL_INSERT_RANGE] {
        assert_eq!(fallocate(options().expect("opened"), refused, 0, 4_096), Err(Errno::EOPNOTSUPP));
    }
    assert_eq!(fallocate(options().expect("opened"), none, 0, 1 << 50), Err(Errno::EFBIG));

    let sparse = File::create_new(a.mount().join("sparse")).expect("made");
    sparse.write_all_at(b"data", 10_000_000).expect("written");
    let data = lseek64(&sparse, 0, Whence::SeekData).expect("there is data");
    assert!((9_900_000..=10_000_000).contains(&data), "data at {data}");
    assert_eq!(lseek64(&sparse, 0, Whence::SeekHole), Ok(0));
    assert_eq!(lseek64(&sparse, data, Whence::SeekHole), Ok(10_000_004), "the end is a hole");
    assert_eq!(lseek64(&sparse, 10_000_004, Whence::SeekData), Err(Errno::ENXIO));
    drop(sparse);
    a.stop();
    a.start();
    assert!(fs::read(&path).expect("read") == model, "after a restart");
}

/// Locks of one machine's processes: the kernel keeps them, the node is not asked.
#[test]
fn locks_hold_between_processes() {
    let test = "locks_hold_between_processes";
    if !has_python(test) {
        return;
    }
    let Some(world) = World::new(test) else { return };
    let a = world.started("A");
    let said = python(
        &a.mount(),
        "import errno, fcntl, subprocess, sys
file = open('file', 'wb'); file.write(bytes(100)); file.flush()
other = '''import errno, fcntl, sys
file = open('file', 'r+b')
def tries(lock, *arguments):
    try: lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *arguments)
    except OSError as error: return errno.errorcode[error.errno]
    return 'got'
print(tries(fcntl.flock), tries(fcntl.lockf, 10, 0), tries(fcntl.lockf, 10, 50), end=' ')'''
def others():
    sys.stdout.flush(); subprocess.run([sys.executable, '-c', other], check=True)
others()
fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_EX, 20, 40)
others()
fcntl.flock(file, fcntl.LOCK_UN); fcntl.lockf(file, fcntl.LOCK_UN, 20, 40)
others()",
    );
    assert_eq!(said, "got got got EAGAIN got EAGAIN got got got");
}

/// A copy of a whole file refers to the bytes that are there: nothing is sealed, and friends fetch nothing.
#[test]
fn a_copy_costs_no_bytes() {
    let Some(world) = World::new("a_copy_costs_no_bytes") else { return };
    let (mut a, b) = pair(&world);
    let bytes = Random::new(9).bytes(30_000_000);
    fs::write(a.friends("source"), &bytes).expect("written");
    wait_until("B has it", PATIENCE, || fs::read(b.friends("source")).is_ok_and(|read| read == bytes));
    let stored = |node: &Node| -> u64 {
        let slabs = walk(&node.state());
        slabs.values().sum()
    };
    let before = (stored(&a), stored(&b));
    // std asks for copy_file_range(2).
    let copy = |from: &str, to: &str| -> io::Result<u64> {
        io::copy(&mut File::open(a.friends(from))?, &mut File::create_new(a.friends(to))?)
    };
    assert_eq!(copy("source", "copy").expect("copied"), bytes.len() as u64);
    assert!(fs::read(a.friends("copy")).expect("read") == bytes);
    wait_until("B has the copy", PATIENCE, || fs::read(b.friends("copy")).is_ok_and(|read| read == bytes));
    assert_eq!(copy("copy", "copy of the copy").expect("copied"), bytes.len() as u64);
    let grown = (stored(&a) - before.0, stored(&b) - before.1);
    assert!(grown.0 < 8_000_000 && grown.1 < 8_000_000, "{grown:?} bytes more are stored");

    // A copy is a file of its own.
    let changed = OpenOptions::new().write(true).open(a.friends("copy")).expect("opened");
    changed.write_all_at(b"changed", 1_000_000).expect("written");
    drop(changed);
    fs::remove_file(a.friends("source")).expect("removed");
    let mut other = bytes.clone();
    other[1_000_000..1_000_007].copy_from_slice(b"changed");
    assert!(fs::read(a.friends("copy")).expect("read") == other);

    // One that was synced and not closed is there after a cut.
    let mut from = File::open(a.friends("copy of the copy")).expect("opened");
    let mut to = File::create_new(a.friends("synced")).expect("made");
    io::copy(&mut from, &mut to).expect("copied");
    to.write_all_at(b"and more", bytes.len() as u64).expect("written");
    to.sync_all().expect("synced");
    a.kill();
    drop((from, to));
    a.start();
    let mut more = bytes.clone();
    more.extend_from_slice(b"and more");
    assert!(fs::read(a.friends("synced")).expect("read") == more);
    assert!(fs::read(a.friends("copy")).expect("read") == other);
    assert!(fs::read(a.friends("copy of the copy")).expect("read") == bytes);
    wait_until("B has them all", PATIENCE, || {
        [("copy", &other), ("synced", &more), ("copy of the copy", &bytes)]
            .iter()
            .all(|(name, truth)| fs::read(b.friends(name)).is_ok_and(|read| read == **truth))
    });
}

/// Bytes on the disk of each file below a directory.
fn walk(directory: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(told) if told.is_dir() => found.extend(walk(&path)),
            Ok(told) => {
                found.insert(path.to_string_lossy().into_owned(), told.blocks() * 512);
            }
            Err(_) => {}
        }
    }
    found
}

#[test]
fn what_cannot_be_is_refused() {
    let Some(world) = World::new("what_cannot_be_is_refused") else { return };
    let a = world.started("A");
    let at = |name: &str| a.mount().join(name);
    fs::write(at("file"), "file").expect("written");
    assert_eq!(
        linkat(nix::fcntl::AT_FDCWD, &at("file"), nix::fcntl::AT_FDCWD, &at("link"), AtFlags::empty()),
        Err(Errno::EPERM)
    );
    assert_eq!(mkfifo(&at("fifo"), Mode::S_IRUSR), Err(Errno::EPERM));
    assert_eq!(mknod(&at("device"), SFlag::S_IFCHR, Mode::S_IRUSR, 0x103), Err(Errno::EPERM));
    let socket = std::os::unix::net::UnixListener::bind(at("socket"));
    assert_eq!(socket.expect_err("refused").raw_os_error(), Some(Errno::EPERM as i32));
    assert_eq!(nix::unistd::chown(&at("file"), Some(12_345.into()), None), Err(Errno::EPERM));
    assert_eq!(fs::read_dir(a.mount()).expect("listed").count(), 1);
}

/// `cp` over a program that runs was refused with ETXTBSY, and had emptied the program all the same.
#[test]
fn a_program_that_runs_is_not_truncated() {
    let Some(world) = World::new("a_program_that_runs_is_not_truncated") else { return };
    let a = world.started("A");
    let path = a.mount().join("sleep");
    let length = fs::copy("/bin/sleep", &path).expect("copied");
    let mut running = Command::new(&path).arg("60").spawn().expect("it runs");
    let refused = OpenOptions::new().write(true).truncate(true).open(&path);
    let left = fs::metadata(&path).expect("stat").len();
    running.kill().and_then(|()| running.wait()).expect("ended");
    assert_eq!(refused.expect_err("refused").raw_os_error(), Some(Errno::ETXTBSY as i32));
    assert_eq!(left, length);
}

#[test]
fn a_directory_tells_when_its_entries_changed() {
    let Some(world) = World::new("a_directory_tells_when_its_entries_changed") else { return };
    let a = world.started("A");
    let directory = a.mount().join("d");
    fs::create_dir(&directory).expect("made");
    let told = || fs::metadata(&directory).map(|told| ((told.mtime(), told.mtime_nsec()), told.nlink())).expect("stat");
    let mut last = told();
    assert_eq!(last.1, 2);
    let acts: [&dyn Fn() -> io::Result<()>; 5] = [
        &|| fs::write(directory.join("file"), "1"),
        &|| fs::create_dir(directory.join("below")),
        &|| fs::rename(directory.join("file"), directory.join("renamed")),
        &|| fs::remove_file(directory.join("renamed")),
        &|| fs::rename(directory.join("below"), a.mount().join("away")),
    ];
    for (number, (act, links)) in acts.iter().zip([2, 3, 3, 3, 2]).enumerate() {
        act().expect("it goes well");
        let now = told();
        assert!(now.0 > last.0 && now.1 == links, "act {number}: {last:?}, then {now:?}");
        last = now;
    }
    // What sets it beats what happened before, as programs that copy directories need.
    let ran = Command::new("touch").args(["-d", "@1000000000.5"]).arg(&directory).status().expect("touch can be run");
    assert!(ran.success());
    assert_eq!(told().0, (1_000_000_000, 500_000_000));
}

//! Reads of what is here and of what is not, the signals that end them, and the kernel's caches.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fake::Stored;
use super::{Fake, LONG, Mounted, eventually, within};
use crate::base::limits::CHUNK_PLAIN;
use crate::node::io::{Inode, OpError, Stale};

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 / 7) as u8).collect()
}

#[test]
fn a_sequential_reader_has_each_chunk_opened_once() {
    let Some(mounted) = Mounted::with(Fake::default(), |config| config.threads = 1) else { return };
    let data = pattern(100 * CHUNK_PLAIN + 1_000);
    mounted.fake.put("file", Stored::Sealed, data.clone());
    assert_eq!(fs::read(mounted.path("file")).expect("read"), data);
    let unsealed = mounted.fake.unsealed.load(Ordering::SeqCst);
    assert!((101..=105).contains(&unsealed), "{unsealed} chunks were opened");

    assert_eq!(fs::read(mounted.path("file")).expect("read"), data);
    assert_eq!(mounted.fake.unsealed.load(Ordering::SeqCst), unsealed, "the kernel keeps pages over an open");

    let file = File::open(mounted.path("file")).expect("opened");
    for at in [0, 1, CHUNK_PLAIN - 1, CHUNK_PLAIN, 37 * CHUNK_PLAIN + 5, data.len() - 10] {
        let mut read = vec![0; 5_000.min(data.len() - at)];
        file.read_exact_at(&mut read, at as u64).expect("read");
        assert_eq!(read, data[at..at + read.len()]);
    }
}

#[test]
fn what_is_overwritten_while_it_is_read_is_read_again() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    let data = pattern(300_000);
    mounted.fake.put("file", Stored::Sealed, data.clone());
    mounted.fake.overwritten.store(5, Ordering::SeqCst);
    assert_eq!(fs::read(mounted.path("file")).expect("read"), data);
    assert_eq!(mounted.fake.overwritten.load(Ordering::SeqCst), 0);

    mounted.fake.put("other", Stored::Sealed, data);
    mounted.fake.overwritten.store(usize::MAX, Ordering::SeqCst);
    let error = fs::read(mounted.path("other")).expect_err("no attempt can succeed");
    assert_eq!(error.raw_os_error(), Some(Errno::EAGAIN as i32));
}

#[test]
fn readers_of_what_is_far_away_keep_nobody_else_waiting() {
    let Some(mounted) = Mounted::with(Fake::later(), |config| config.threads = 1) else { return };
    let data = pattern(500_000);
    let far: Vec<Inode> =
        (0..100).map(|number| mounted.fake.put(&format!("far {number}"), Stored::Remote, data.clone())).collect();
    let readers: Vec<_> = (0..100)
        .map(|number| {
            let path = mounted.path(&format!("far {number}"));
            thread::spawn(move || fs::read(path))
        })
        .collect();
    eventually("all are parked", || mounted.fake.fetching() >= 100);

    mounted.fake.put("here", Stored::Sealed, data.clone());
    let (path, expected) = (mounted.path("here"), data.clone());
    let here = within(LONG, move || {
        fs::write(path.with_file_name("written"), "x").expect("written");
        fs::read(path).expect("read") == expected
    });
    assert_eq!(here, Some(true));
    for inode in far {
        mounted.fake.arrive(inode);
    }
    for reader in readers {
        assert_eq!(reader.join().expect("no panic").expect("read"), data);
    }
}

#[test]
fn a_read_that_nobody_can_serve_ends_with_the_nodes_errno() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    mounted.fake.put("far", Stored::Remote, pattern(100_000));
    for error in [OpError::Unreachable, OpError::TimedOut] {
        let path = mounted.path("far");
        let reader = thread::spawn(move || fs::read(path));
        while !reader.is_finished() {
            mounted.fake.fail(&error);
            thread::yield_now();
        }
        let failed = reader.join().expect("no panic").expect_err("nobody has it");
        let expected = if error == OpError::Unreachable { Errno::EHOSTUNREACH } else { Errno::ETIMEDOUT };
        assert_eq!(failed.raw_os_error(), Some(expected as i32));
    }
}

/// Starts a reader of a file that never comes, sends it a signal, and tells how it ended.
fn signalled(mounted: &Mounted, name: &str, program: &str, arguments: &[&str], signal: Signal) -> ExitStatus {
    mounted.fake.put(name, Stored::Remote, pattern(1_000_000));
    let path = mounted.path(name);
    let arguments = arguments.iter().map(|argument| argument.replace("FILE", path.to_str().expect("it is UTF-8")));
    let child = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = Reaped(child.expect("it starts"));
    eventually("its read is parked", || mounted.fake.fetching() > 0);
    kill(Pid::from_raw(child.0.id() as i32), signal).expect("it is there");
    eventually("the reader ends", || child.0.try_wait().expect("it is ours").is_some());
    eventually("the fetch is cancelled", || mounted.fake.fetching() == 0);
    child.0.wait().expect("it ended")
}

/// A child that does not outlive a failed test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[test]
fn readers_can_be_interrupted_and_killed() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    for (number, signal) in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL, Signal::SIGHUP].into_iter().enumerate() {
        let status = signalled(&mounted, &format!("cached {number}"), "cat", &["FILE"], signal);
        assert_eq!(status.signal(), Some(signal as i32));
        let dd = ["if=FILE", "iflag=direct", "bs=65536", "of=/dev/null"];
        let status = signalled(&mounted, &format!("direct {number}"), "dd", &dd, signal);
        assert_eq!(status.signal(), Some(signal as i32));
    }
    // dd takes SIGINT with a handler, which a wait for a page does not end for.
    let dd = ["if=FILE", "bs=65536", "of=/dev/null"];
    let status = signalled(&mounted, "handled", "dd", &dd, Signal::SIGINT);
    assert_eq!(status.signal(), Some(Signal::SIGINT as i32));
    assert!(mounted.fake.cancelled() > 0);
    assert_eq!(mounted.fake.fetching(), 0);
}

#[test]
fn a_killed_reader_takes_nobody_along() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    let data = pattern(500_000);
    let inode = mounted.fake.put("far", Stored::Remote, data.clone());
    let mut first =
        Reaped(Command::new("cat").arg(mounted.path("far")).stdout(Stdio::null()).spawn().expect("started"));
    eventually("its read is parked", || mounted.fake.fetching() > 0);
    let path = mounted.path("far");
    let second = thread::spawn(move || fs::read(path));
    first.0.kill().expect("it is there");
    first.0.wait().expect("it ends");
    eventually("the second reader asks itself", || mounted.fake.cancelled() > 0 && mounted.fake.fetching() > 0);
    mounted.fake.arrive(inode);
    assert_eq!(second.join().expect("no panic").expect("read"), data);
}

#[test]
fn nothing_is_forgotten_while_an_older_answer_is_under_way() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    let inode = mounted.fake.put("file", Stored::Plain, b"old".to_vec());
    let size = || fs::metadata(mounted.path("file")).expect("there").len();
    assert_eq!(size(), 3);
    let stale = mounted.mount.stale();
    let answering = stale.answering();
    mounted.fake.put("file", Stored::Plain, b"newer".to_vec());
    stale.send(vec![Stale::Inode(inode)]);
    let end = Instant::now() + Duration::from_millis(50);
    while Instant::now() < end {
        assert_eq!(size(), 3);
    }
    drop(answering);
    eventually("the size shows", || size() == 5);
}

#[test]
fn a_friends_change_shows_at_once() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    let inode = mounted.fake.put("file", Stored::Sealed, b"old".to_vec());
    let path = mounted.path("file");
    let held = File::open(&path).expect("opened");
    assert_eq!(fs::read(&path).expect("read"), b"old");

    for round in 0..200 {
        let text = format!("round {round}{}", "!".repeat(round));
        mounted.fake.put("file", Stored::Plain, text.clone().into_bytes());
        mounted.mount.stale().send(vec![Stale::Inode(inode)]);
        eventually("the size shows", || fs::metadata(&path).expect("there").len() == text.len() as u64);
        assert_eq!(fs::read(&path).expect("read"), text.as_bytes());
        let mut read = vec![0; text.len()];
        held.read_exact_at(&mut read, 0).expect("read");
        assert_eq!(read, text.as_bytes());
    }

    assert!(!mounted.path("new").exists());
    mounted.fake.put("new", Stored::Plain, Vec::new());
    assert!(mounted.path("new").exists(), "that a name is not there is not kept");
    mounted.fake.remove("new");
    mounted.mount.stale().send(vec![Stale::Entry(Inode::ROOT, b"new".to_vec())]);
    eventually("it is gone", || !mounted.path("new").exists());

    // What the kernel never heard of, and what cannot be.
    mounted.mount.stale().send(vec![Stale::Inode(Inode(1 << 50)), Stale::Entry(Inode(7), vec![b'n'; 5_000])]);
    mounted.fake.put("file", Stored::Plain, b"last".to_vec());
    mounted.mount.stale().send(vec![Stale::Inode(inode)]);
    eventually("the size shows", || fs::metadata(&path).expect("there").len() == 4);
}

#[test]
fn a_parked_read_keeps_no_change_from_showing() {
    let Some(mounted) = Mounted::new(Fake::default()) else { return };
    let far = mounted.fake.put("far", Stored::Remote, pattern(100_000));
    let near = mounted.fake.put("near", Stored::Plain, b"old".to_vec());
    assert_eq!(fs::read(mounted.path("near")).expect("read"), b"old");
    let held = File::open(mounted.path("near")).expect("opened");
    let path = mounted.path("far");
    let reader = thread::spawn(move || fs::read(path));
    eventually("the read is parked", || mounted.fake.fetching() > 0);

    mounted.mount.stale().send(vec![Stale::Inode(far), Stale::Entry(Inode::ROOT, b"far".to_vec())]);
    mounted.fake.put("near", Stored::Plain, b"newer".to_vec());
    mounted.mount.stale().send(vec![Stale::Inode(near)]);
    let path = mounted.path("near");
    let shown = within(LONG, move || {
        eventually("the size shows", || fs::metadata(&path).expect("there").len() == 5);
        io::read_to_string(held).expect("read")
    });
    assert_eq!(shown.as_deref(), Some("newer"));
    while !reader.is_finished() {
        mounted.fake.arrive(far);
        thread::yield_now();
    }
    assert_eq!(reader.join().expect("no panic").expect("read"), pattern(100_000));
}

#[test]
fn mappings_are_read_and_written() {
    let Some(mounted) = Mounted::new(Fake::later()) else { return };
    let data = pattern(1_000_000);
    let inode = mounted.fake.put("file", Stored::Plain, data.clone());
    let file = File::options().read(true).write(true).open(mounted.path("file")).expect("opened");
    let mapping = Mapping::new(&file, data.len());
    assert_eq!(mapping.bytes(), data);
    mapping.set(777_777, 42);
    // What is written through a mapping comes by any handle, so also by one that appends.
    let appender = File::options().append(true).open(mounted.path("file")).expect("opened");
    file.sync_all().expect("synced");
    assert_eq!(mounted.fake.data(inode)[777_777], 42);
    mapping.set(5, 43);
    drop(mapping);
    drop((file, appender));
    let mut written = data;
    (written[777_777], written[5]) = (42, 43);
    eventually("all is written", || mounted.fake.data(inode) == written);
    let mut read = Vec::new();
    File::open(mounted.path("file")).expect("opened").read_to_end(&mut read).expect("read");
    assert_eq!(read, written);
}

/// A shared mapping of a whole file.
struct Mapping {
    start: *mut u8,
    length: usize,
}

#[allow(unsafe_code)]
impl Mapping {
    fn new(file: &File, length: usize) -> Self {
        use std::os::fd::AsRawFd as _;
        let protection = nix::libc::PROT_READ | nix::libc::PROT_WRITE;
        // SAFETY: the kernel chooses where; nothing else is there.
        let start = unsafe {
            nix::libc::mmap(std::ptr::null_mut(), length, protection, nix::libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        assert_ne!(start, nix::libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { start: start.cast(), length }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is this long, lives as long as `self`, and nobody writes to it during the borrow.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    fn set(&self, at: usize, byte: u8) {
        assert!(at < self.length);
        // SAFETY: it is inside the mapping, and no borrow of `bytes` is alive.
        unsafe { self.start.add(at).write_volatile(byte) }
    }
}

#[allow(unsafe_code)]
impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no borrow of it is left.
        unsafe { nix::libc::munmap(self.start.cast(), self.length) };
    }
}

//! Tests with real mounts over a tree in memory.

mod fake;
mod mounting;
mod operations;
mod reads;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use super::{Mount, MountConfig, MountError, unmount_path};
use fake::Fake;

/// A directory of its own that takes whatever is mounted on it along when it goes, also when a test fails.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("dustfs-fuse-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("the directory for temporary files is writable");
        Self(dir.canonicalize().expect("it was just made"))
    }

    fn config(&self) -> MountConfig {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        MountConfig { directory: self.0.clone(), threads: 2, read_only: false, allow_other: false, uid, gid }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        while umount2(&self.0, MntFlags::MNT_DETACH | MntFlags::MNT_FORCE).is_ok() {}
        // An ordinary user's way; there is nothing to unmount after root's.
        let _ = unmount_path(&self.0, true);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A mounted fake tree. The mount goes before its place does.
struct Mounted {
    mount: Mount,
    fake: Arc<Fake>,
    place: Place,
}

impl Mounted {
    /// `None`, said aloud, where this machine cannot mount.
    fn new(fake: Fake) -> Option<Self> {
        Self::with(fake, |_| {})
    }

    fn with(fake: Fake, change: impl FnOnce(&mut MountConfig)) -> Option<Self> {
        let (place, fake) = (Place::new(), Arc::new(fake));
        let mut config = place.config();
        change(&mut config);
        let mount = can_mount(Mount::new(config, fake.clone()))?;
        Some(Self { mount, fake, place })
    }

    fn dir(&self) -> &Path {
        &self.place.0
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.0.join(name)
    }
}

/// What was mounted, or `None` where this machine cannot; said on stderr itself, since the harness hides what tests
/// that pass have printed.
fn can_mount<T>(mounted: Result<T, MountError>) -> Option<T> {
    match mounted {
        Ok(mounted) => Some(mounted),
        Err(error @ (MountError::NoDevice | MountError::NoHelper | MountError::Refused(_))) => {
            let name = thread::current().name().unwrap_or("a test of the mount").to_owned();
            let _ = std::io::stderr().write_all(format!("\nSKIPPED {name}: {error}\n").as_bytes());
            None
        }
        Err(error) => panic!("mounting failed: {error:?}"),
    }
}

/// What `job` gives, on a thread of its own; `None` when it takes longer than it may.
fn within<T: Send + 'static>(limit: Duration, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(job()));
    result.recv_timeout(limit).ok()
}

/// Waits for what another thread does.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "it did not come to this in {LONG:?}: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// More than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(30);

//! Bounds a test in time: what hangs in a mount is freed by ending the node behind it, and the test then fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ends the nodes of a world that takes too long.
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    watched: Mutex<Watched>,
    over: Condvar,
}

#[derive(Default)]
struct Watched {
    /// Processes that were started and not yet waited for, with where they mount.
    nodes: BTreeMap<u32, PathBuf>,
    over: bool,
}

/// Tells the watchdog of processes.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

impl Watchdog {
    /// Barks after `limit`.
    pub fn new(limit: Duration) -> Self {
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        let thread = std::thread::spawn(move || guard(&own, limit));
        Self { shared, thread: Some(thread) }
    }

    /// For a node.
    pub fn watch(&self) -> Watch {
        Watch(self.shared.clone())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        lock(&self.shared).over = true;
        self.shared.over.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Watch {
    /// A node runs as this process.
    pub fn started(&self, pid: u32, mount: PathBuf) {
        lock(&self.0).nodes.insert(pid, mount);
    }

    /// It was waited for: its pid may be another's from now on. The answer keeps the watchdog from it until dropped.
    pub fn ended(&self, pid: u32) {
        lock(&self.0).nodes.remove(&pid);
    }
}

fn guard(shared: &Shared, limit: Duration) {
    let end = Instant::now() + limit;
    let mut watched = lock(shared);
    loop {
        if watched.over {
            return;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        watched = shared.over.wait_timeout(watched, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    eprintln!("the test took longer than {} s: its nodes are ended", limit.as_secs());
    for (pid, mount) in &watched.nodes {
        let _ = super::system(&["kill", "-KILL", &pid.to_string()]);
        let _ = super::system(&["umount", "-f", "-l", &mount.to_string_lossy()]);
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Watched> {
    shared.watched.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What the tests stand on: a world of namespaces and nodes that is taken down however a test ends.

pub mod browser;
mod node;
mod random;
mod scratch;
mod tree;
mod watchdog;
pub mod web;
mod world;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub use node::{Node, Ran};
pub use random::{Random, seed};
pub use tree::{census, digest, random_file, write};
pub use world::World;

/// True when the tests take their time (`DUSTFS_LONG=1`).
pub fn long() -> bool {
    std::env::var_os("DUSTFS_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Waits until `ready` gives something; panics with `what` when it does not within `limit`.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited {} s in vain: {what}", limit.as_secs());
        pause();
    }
}

/// Waits until `ready` is true; panics with `what` when it is not within `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    wait_for(what, limit, || ready().then_some(()));
}

#[expect(clippy::disallowed_methods, reason = "another process tells nobody when it is ready: its state is polled")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Runs a command of the system's to its end.
pub fn system(line: &[&str]) -> std::io::Result<Output> {
    Command::new(line[0]).args(&line[1..]).output()
}

/// Runs a command of the system's that must go well.
#[track_caller]
pub fn must(line: &[&str]) -> String {
    let output = system(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

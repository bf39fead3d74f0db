//! Reads that wait for friends, and the watch over the processes that wait with them.
//!
//! The kernel tells a file system by FUSE_INTERRUPT that a process was signalled, and fuser 0.18 refuses that for good
//! at the first one. From then on a process whose read is here cannot even be killed (only readers of the page cache
//! can, and only by signals that they do not catch). So while any read is parked, its process is looked at every
//! tenth of a second, and is let go when it is to end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::base::Ticket;

use super::lock;

/// What waits, by number.
pub(super) struct Parked<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    last: u64,
    waiting: BTreeMap<u64, Waiting<T>>,
    closed: bool,
}

struct Waiting<T> {
    process: u32,
    ticket: Option<Ticket>,
    what: T,
}

impl<T> Default for Parked<T> {
    fn default() -> Self {
        let state = Mutex::new(State { last: 0, waiting: BTreeMap::new(), closed: false });
        Self { state, changed: Condvar::new() }
    }
}

impl<T> Parked<T> {
    /// Keeps `what` for a process until it is taken or the process is to end.
    ///
    /// # Errors
    /// Gives `what` back when the mount has ended.
    pub(super) fn park(&self, process: u32, what: T) -> Result<u64, T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(what);
        }
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, Waiting { process, ticket: None, what });
        self.changed.notify_one();
        Ok(number)
    }

    /// By which ticket the node knows it. Until then nothing is interrupted, so that no ticket stays uncancelled.
    pub(super) fn ticket(&self, number: u64, ticket: Ticket) {
        if let Some(waiting) = lock(&self.state).waiting.get_mut(&number) {
            waiting.ticket = Some(ticket);
            self.changed.notify_one();
        }
    }

    /// Takes it back; `None` when it was interrupted.
    pub(super) fn take(&self, number: u64) -> Option<T> {
        Some(lock(&self.state).waiting.remove(&number)?.what)
    }

    /// Hands what is interrupted to `interrupt`, until [`Parked::close`] interrupts all of it.
    pub(super) fn watch(&self, interrupt: impl Fn(T, Ticket)) {
        loop {
            let idle = |state: &mut State<T>| state.waiting.is_empty() && !state.closed;
            drop(self.changed.wait_while(lock(&self.state), idle));
            let resting =
                |state: &mut State<T>| !state.closed || state.waiting.values().any(|one| one.ticket.is_none());
            drop(self.changed.wait_timeout_while(lock(&self.state), PERIOD, resting));

            let mut state = lock(&self.state);
            let closed = state.closed;
            let processes: BTreeSet<u32> = state.waiting.values().map(|waiting| waiting.process).collect();
            drop(state);
            let ending: BTreeSet<u32> = processes.into_iter().filter(|process| closed || is_ending(*process)).collect();
            state = lock(&self.state);
            let interrupted: Vec<(T, Ticket)> = state
                .waiting
                .extract_if(.., |_, waiting| waiting.ticket.is_some() && ending.contains(&waiting.process))
                .filter_map(|(_, waiting)| Some((waiting.what, waiting.ticket?)))
                .collect();
            let done = state.closed && state.waiting.is_empty();
            drop(state);
            for (what, ticket) in interrupted {
                interrupt(what, ticket);
            }
            if done {
                return;
            }
        }
    }

    /// Interrupts all that is parked; nothing is parked any more.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }
}

/// True when a thread is gone, or a signal that ends processes waits for it. 0 is a process that we cannot see.
fn is_ending(process: u32) -> bool {
    let Ok(number @ 1..) = i32::try_from(process) else { return false };
    match fs::read_to_string(format!("/proc/{process}/status")) {
        Ok(status) => says_ending(&status),
        // A /proc that hides other users' processes says the same.
        Err(error) if error.kind() == io::ErrorKind::NotFound => kill(Pid::from_raw(number), None) == Err(Errno::ESRCH),
        Err(_) => false,
    }
}

/// Reads proc_pid_status(5). Other signals than those that end processes are not looked at: programs that take a
/// timer's or a child's signal do not expect a read of a file to fail with EINTR.
fn says_ending(status: &str) -> bool {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim)).unwrap_or_default()
    };
    let mask = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or_default();
    let pending = (mask("SigPnd") | mask("ShdPnd")) & !mask("SigBlk") & !mask("SigIgn");
    let ends = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL, Signal::SIGTERM]
        .iter()
        .fold(0, |ends, signal| ends | 1 << (*signal as u32 - 1));
    field("State").starts_with(['Z', 'X']) || pending & ends != 0
}

/// How often processes are looked at.
const PERIOD: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str, thread: u64, process: u64, blocked: u64, ignored: u64) -> String {
        format!(
            "Name:\tcat\nState:\t{state}\nSigQ:\t1/2\nSigPnd:\t{thread:016x}\nShdPnd:\t{process:016x}\n\
             SigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t0000000000000002\n"
        )
    }

    #[test]
    fn only_signals_that_end_and_get_through_count() {
        let bit = |signal: Signal| 1 << (signal as u32 - 1);
        let (int, term, kill, child) =
            (bit(Signal::SIGINT), bit(Signal::SIGTERM), bit(Signal::SIGKILL), bit(Signal::SIGCHLD));
        assert!(!says_ending(&status("S (sleeping)", 0, 0, 0, 0)));
        assert!(says_ending(&status("D (disk sleep)", kill, 0, 0, 0)));
        assert!(says_ending(&status("S (sleeping)", 0, int, 0, 0)));
        assert!(!says_ending(&status("S (sleeping)", 0, int, int, 0)));
        assert!(!says_ending(&status("S (sleeping)", 0, term, 0, term)));
        assert!(!says_ending(&status("S (sleeping)", child, child, 0, 0)));
        assert!(says_ending(&status("Z (zombie)", 0, 0, 0, 0)));
        assert!(!says_ending(""));
        assert!(!says_ending("SigPnd:\tnot hex\nState:"));
    }

    #[test]
    fn a_process_that_is_gone_is_ending_and_one_that_cannot_be_seen_is_not() {
        assert!(!is_ending(0));
        assert!(!is_ending(u32::MAX));
        assert!(!is_ending(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().expect("there is /bin/true");
        child.wait().expect("it ends");
        assert!(is_ending(child.id()));
    }

    #[test]
    fn closing_interrupts_what_is_parked_once_it_has_its_ticket() {
        let parked = Parked::default();
        let taken = parked.park(0, "taken").expect("it is open");
        let kept = parked.park(0, "kept").expect("it is open");
        assert_eq!(parked.take(taken), Some("taken"));
        assert_eq!(parked.take(taken), None);
        parked.close();
        parked.ticket(kept, Ticket(5));
        let interrupted = Mutex::new(Vec::new());
        parked.watch(|what, ticket| lock(&interrupted).push((what, ticket)));
        assert_eq!(lock(&interrupted).as_slice(), [("kept", Ticket(5))]);
        assert_eq!(parked.park(0, "late"), Err("late"));
        assert_eq!(parked.take(kept), None);
    }
}

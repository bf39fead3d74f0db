//! What waits for the disk: three classes of work for any worker, and the commits for the one thread that makes them.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::base::{Batch, Ticket};
use crate::node::io::DiskRequest;

/// Bounded by the core, which bounds what it has asked for.
#[derive(Default, Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    work_came: Condvar,
    commit_came: Condvar,
}

#[derive(Default, Debug)]
struct Waiting {
    /// By class, the more urgent first.
    work: [VecDeque<(Ticket, DiskRequest)>; 3],
    /// Workers that are hashing.
    hashing: usize,
    commits: Vec<Commit>,
    closed: bool,
}

/// A commit that waits.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) ticket: Ticket,
    pub(super) batch: Batch,
    pub(super) sync: BTreeSet<u32>,
}

impl Queue {
    pub(super) fn push(&self, ticket: Ticket, request: DiskRequest) {
        let mut waiting = self.waiting();
        let class = match request {
            DiskRequest::Commit { batch, sync } => {
                waiting.commits.push(Commit { ticket, batch, sync });
                return self.commit_came.notify_one();
            }
            DiskRequest::Read { .. } | DiskRequest::Unseal { .. } => READ,
            DiskRequest::Seal { .. }
            | DiskRequest::Patch { .. }
            | DiskRequest::Store { .. }
            | DiskRequest::Punch { .. }
            | DiskRequest::Measure { .. } => WRITE,
            DiskRequest::Hash { .. } | DiskRequest::Compare { .. } => HASH,
        };
        waiting.work[class].push_back((ticket, request));
        self.work_came.notify_one();
    }

    /// The next piece of work, waiting for it; `None` when the queue is closed and empty.
    ///
    /// A hash takes long, so one worker of several is always left to others' requests.
    pub(super) fn next_work(&self, workers: usize) -> Option<(Ticket, DiskRequest)> {
        let mut waiting = self.waiting();
        loop {
            let may_hash = waiting.hashing + 1 < workers.max(2);
            let classes = if may_hash { 0..=HASH } else { 0..=WRITE };
            for class in classes {
                if let Some(work) = waiting.work[class].pop_front() {
                    waiting.hashing += usize::from(class == HASH);
                    return Some(work);
                }
            }
            if waiting.closed && waiting.work[HASH].is_empty() {
                return None;
            }
            waiting = self.work_came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker is done with a hash.
    pub(super) fn hashed(&self) {
        self.waiting().hashing -= 1;
        self.work_came.notify_all();
    }

    /// All commits that wait, in the order in which they came; empty when the queue is closed and empty.
    pub(super) fn next_commits(&self) -> Vec<Commit> {
        let mut waiting = self.waiting();
        while waiting.commits.is_empty() && !waiting.closed {
            waiting = self.commit_came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        mem::take(&mut waiting.commits)
    }

    /// Nothing is pushed any more.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.work_came.notify_all();
        self.commit_came.notify_all();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const READ: usize = 0;
const WRITE: usize = 1;
const HASH: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_before_writes_and_writes_before_hashes() {
        let queue = Queue::default();
        queue.push(Ticket(1), hash());
        queue.push(Ticket(2), punch());
        queue.push(Ticket(3), read());
        queue.push(Ticket(4), punch());
        queue.push(Ticket(5), read());
        assert_eq!(drain(&queue, 1), [3, 5, 2, 4, 1]);
    }

    #[test]
    fn one_worker_of_several_is_left_to_others_requests() {
        let queue = Queue::default();
        for number in 1..=3 {
            queue.push(Ticket(number), hash());
        }
        assert_eq!(queue.next_work(3).unwrap().0, Ticket(1));
        assert_eq!(queue.next_work(3).unwrap().0, Ticket(2));
        queue.push(Ticket(4), punch());
        assert_eq!(queue.next_work(3).unwrap().0, Ticket(4));
        queue.hashed();
        assert_eq!(queue.next_work(3).unwrap().0, Ticket(3));
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::default();
        queue.push(Ticket(1), hash());
        queue.push(Ticket(2), hash());
        for number in 3..=4 {
            queue.push(Ticket(number), DiskRequest::Commit { batch: Batch::default(), sync: BTreeSet::new() });
        }
        queue.close();
        assert_eq!(drain(&queue, 1), [1, 2]);
        let commits: Vec<u64> = queue.next_commits().iter().map(|commit| commit.ticket.0).collect();
        assert_eq!(commits, [3, 4]);
        assert!(queue.next_commits().is_empty());
    }

    fn drain(queue: &Queue, workers: usize) -> Vec<u64> {
        queue.close();
        let mut tickets = Vec::new();
        while let Some((ticket, request)) = queue.next_work(workers) {
            if matches!(request, DiskRequest::Hash { .. }) {
                queue.hashed();
            }
            tickets.push(ticket.0);
        }
        tickets
    }

    fn hash() -> DiskRequest {
        DiskRequest::Hash { chunks: Vec::new(), piece_length: 65_536, known: Vec::new() }
    }

    fn punch() -> DiskRequest {
        DiskRequest::Punch { segments: Vec::new() }
    }

    fn read() -> DiskRequest {
        DiskRequest::Read { segments: Vec::new() }
    }
}

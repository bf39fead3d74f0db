//! A few threads for what a callback of the node's may not do on the node's thread.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{lock, spawn};

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs in about the order in which they came. Their number is bounded by that of the kernel's requests.
pub(super) struct Pool {
    jobs: Mutex<Option<Sender<Job>>>,
    waiting: Arc<Mutex<Receiver<Job>>>,
}

impl Default for Pool {
    fn default() -> Self {
        let (jobs, waiting) = mpsc::channel();
        Self { jobs: Mutex::new(Some(jobs)), waiting: Arc::new(Mutex::new(waiting)) }
    }
}

impl Pool {
    /// Starts the threads; they end by [`Pool::close`].
    pub(super) fn spawn(&self) -> io::Result<Vec<JoinHandle<()>>> {
        let thread = |_| {
            let waiting = self.waiting.clone();
            let next = move || lock(&waiting).recv();
            spawn("fuse-pool", move || {
                while let Ok(job) = next() {
                    job();
                }
            })
        };
        (0..THREADS).map(thread).collect()
    }

    /// Has a thread do it. Never waits; drops it when the pool is closed.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &*lock(&self.jobs) {
            // The receiver lives as long as the pool.
            let _ = jobs.send(Box::new(job));
        }
    }

    /// Ends the threads after the jobs that were taken in.
    pub(super) fn close(&self) {
        lock(&self.jobs).take();
    }
}

const THREADS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_jobs_run_before_the_threads_end() {
        let pool = Pool::default();
        let (done, results) = mpsc::channel();
        for number in 0..100 {
            let done = done.clone();
            pool.run(move || done.send(number).expect("the test listens"));
        }
        let threads = pool.spawn().expect("threads start");
        pool.close();
        let late = done.clone();
        pool.run(move || late.send(100).expect("the test listens"));
        drop(done);
        for thread in threads {
            thread.join().expect("no job panics");
        }
        let mut results: Vec<i32> = results.iter().collect();
        results.sort_unstable();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }
}

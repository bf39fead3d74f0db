//! The operating system: the only room with tokio, files, sockets, clocks, threads, locks and entropy.

pub mod disk;
pub mod state;

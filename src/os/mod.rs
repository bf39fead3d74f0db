//! The operating system: the one room with tokio, files, sockets, clocks, threads, locks and entropy.

pub mod net;

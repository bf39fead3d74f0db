//! The only room that touches the operating system: tokio, files, sockets, clocks, threads, entropy, redb, FUSE.

pub mod cli;
pub mod http;
pub mod run;

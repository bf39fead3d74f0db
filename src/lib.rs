//! DustFS: friends' nodes form a circle and share one tree of files over BitTorrent inside mutual TLS.
//!
//! The map of the rooms; arrows point down only, and a room never imports its neighbour (`tests/tidy.rs`):
//!
//! ```text
//! F5 os                                  tokio, files, sockets, clocks, threads, locks, entropy, redb, FUSE
//! F4 lan                                 the API, the page and WebDAV as machines
//! F3 node                                the composed machine: Input in, Action out, Ticket between
//! F2 swarm tree pair roster keep panel   protocol and policy
//! F1 ledger                              what must survive: reads of a snapshot, writes as batches
//! F0 wire seal cert base                 formats, ciphers, certificates, ids and limits
//! ```
//!
//! The contract of the machines on F2 and F3: `handle(now, input)` returns what belongs to that input at once, then
//! the `poll_*` functions are drained, then `poll_timeout()` is read. Below `os` nothing waits, nothing looks at a
//! clock, and nothing draws randomness that was not handed in.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod base;
pub mod cert;
pub mod keep;
pub mod lan;
pub mod ledger;
pub mod node;
pub mod os;
pub mod pair;
#[cfg(feature = "panel")]
pub mod panel;
pub mod roster;
pub mod seal;
pub mod swarm;
pub mod tree;
pub mod wire;

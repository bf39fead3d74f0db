//! The operating system: the one room with tokio, files, sockets, clocks, threads, locks, entropy, redb, FUSE and LEDs.

mod calls;
pub mod cli;
pub mod copy;
pub mod core;
pub mod disk;
#[cfg(feature = "mount")]
mod files;
#[cfg(feature = "panel")]
pub mod front;
#[cfg(feature = "mount")]
pub mod fuse;
#[cfg(feature = "panel")]
pub mod gpio;
pub mod handover;
pub mod http;
#[cfg(feature = "mount")]
pub mod import;
pub mod key;
pub mod locking;
#[cfg(feature = "mount")]
mod mounted;
pub mod net;
#[cfg(feature = "mount")]
mod offers;
pub mod run;
pub mod selftest;
pub mod state;

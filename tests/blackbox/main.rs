//! The built binary from outside: real nodes with real mounts, each in a network namespace of its own.
//!
//! `cargo test --test blackbox -- --test-threads=2`. It needs root, `ip`, `nsenter` and `/dev/fuse`; where they are
//! missing each test prints a line that starts with `SKIPPED`. `DUSTFS_LONG=1` takes the sizes of the issue,
//! `DUSTFS_SEED=N` draws the same bytes again.

mod absent;
mod attributes;
mod bad_input;
mod browser;
mod cache;
mod care;
mod circle;
mod commands;
mod conformance;
mod crash;
mod dav;
mod freeing;
mod harness;
mod held;
mod import;
mod locked;
mod page;
mod pairing;
mod posix;
mod recovery;
mod saves;
mod secrecy;
mod stock;
mod versions;

//! The only room that touches the operating system.

#[cfg(feature = "mount")]
pub mod fuse;

//! What the LAN is shown, as machines: the API, the page with its files, and WebDAV beside them.
//!
//! Nothing here reads a socket: a request's head and the pieces of its body go in, steps and answers come out, and
//! whoever drives it (`os::http`) carries them out, with its limits of time.

pub mod api;
#[cfg(feature = "lan")]
mod assets;
#[cfg(feature = "lan")]
pub mod auth;
#[cfg(feature = "lan")]
mod date;
#[cfg(feature = "lan")]
pub mod dav;
#[cfg(feature = "lan")]
pub mod download;
#[cfg(feature = "lan")]
pub mod host;
pub mod import;
#[cfg(feature = "lan")]
pub mod listing;
#[cfg(feature = "lan")]
mod media;
#[cfg(feature = "lan")]
pub mod page;
#[cfg(feature = "lan")]
pub mod password;
#[cfg(feature = "lan")]
pub mod path;
#[cfg(feature = "lan")]
pub mod qr;
#[cfg(feature = "lan")]
mod range;
#[cfg(feature = "lan")]
pub mod response;
#[cfg(feature = "lan")]
pub mod session;
#[cfg(feature = "lan")]
pub mod signin;
#[cfg(feature = "lan")]
mod tries;
#[cfg(feature = "lan")]
pub mod upload;

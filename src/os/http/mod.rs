//! The API over HTTP/1.1 on the state directory's Unix socket: the node's server and the CLI's client.

pub mod client;
pub mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

pub use client::{Client, ClientError};
pub use server::{Answering, Handler, Server, ServerError};

/// The socket of the node with this state directory.
pub fn socket_path(state: &Path) -> PathBuf {
    state.join("socket")
}

/// A path to a socket that fits `sockaddr_un`, whose 108 bytes many a state directory exceeds: the long ones go through
/// the directory's descriptor, which must stay open while the path is used.
struct ShortPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl ShortPath {
    fn new(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        if path.as_os_str().len() <= SUN_PATH_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let directory = File::open(parent)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

/// `sockaddr_un::sun_path` has 108 bytes (unix(7)), a NUL among them.
const SUN_PATH_MAX: usize = 107;

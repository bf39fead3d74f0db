//! Starting anew in the same process: the only way to be sure that no key is left in memory, and the same way back.
//!
//! execve(2) replaces the whole of a program's memory, so a box that is locked holds nothing of what it knew, whatever its
//! libraries had kept. What an unlocked start needs goes through a pipe that nobody else can open.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use zeroize::Zeroizing;

use crate::seal::StateKey;

/// What goes from one start to the next.
#[derive(Clone, Debug)]
pub struct Handed {
    /// The state key, of which the passphrase was given.
    pub key: StateKey,
    /// The page that gave it stays signed in: its cookie.
    pub session: Option<[u8; 16]>,
}

/// Starts the program anew with the arguments that it has. Returns only where that fails: why.
pub fn restart(handed: Option<&Handed>) -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("dustfs"));
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments).env_remove(VARIABLE);
    let pipe = match handed.map(fill).transpose() {
        Ok(pipe) => pipe,
        Err(error) => return error,
    };
    if let Some(pipe) = &pipe {
        command.env(VARIABLE, pipe.as_raw_fd().to_string());
    }
    command.exec()
}

/// What the start before this one handed over, once.
pub fn take() -> Option<Handed> {
    let number: RawFd = std::env::var(VARIABLE).ok()?.parse().ok()?;
    let read = read(number);
    // It is not left open for whatever this program starts.
    let _ = nix::unistd::close(number);
    read.map_err(|error| log::warn!("what was handed over could not be read: {error}")).ok()
}

fn read(number: RawFd) -> io::Result<Handed> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(format!("/proc/self/fd/{number}"))?.take(MOST as u64 + 1).read_to_end(&mut bytes)?;
    decode(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// A pipe that holds it all, and that stays open over the start.
fn fill(handed: &Handed) -> io::Result<OwnedFd> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(&encode(handed))?;
    let reader = OwnedFd::from(reader);
    fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(reader)
}

/// `key(32)`, then the cookie's 16 bytes where there is one.
fn encode(handed: &Handed) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST));
    bytes.extend_from_slice(handed.key.bytes());
    bytes.extend(handed.session.iter().flatten());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Handed> {
    let (key, rest) = bytes.split_first_chunk::<32>()?;
    let session = match rest {
        [] => None,
        rest => Some(<[u8; 16]>::try_from(rest).ok()?),
    };
    Some(Handed { key: StateKey::new(*key), session })
}

const VARIABLE: &str = "DUSTFS_HANDED";
const MOST: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_the_pipe_comes_out() {
        for session in [None, Some([9; 16])] {
            let pipe = fill(&Handed { key: StateKey::new([7; 32]), session }).unwrap();
            let read = read(pipe.as_raw_fd()).unwrap();
            assert_eq!((read.key.bytes(), read.session), (&[7; 32], session));
        }
    }

    #[test]
    fn other_lengths_are_refused() {
        for length in (0..100).filter(|length| ![32, 48].contains(length)) {
            assert!(decode(&vec![1; length]).is_none(), "{length}");
        }
    }
}

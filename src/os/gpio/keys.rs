//! Keys of the kernel (`/dev/input/event*`): the devices that offer the keys of a board's map, and their edges.
//!
//! Devices are not grabbed: on a machine with a desktop the map may name a key of the one keyboard.

use std::ffi::c_ulong;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;

use crate::panel::Key;

/// One device, and the keys of ours on it.
pub(super) struct KeyDevice {
    file: File,
    path: PathBuf,
    /// Code, key, and whether it was told to be down.
    keys: Vec<(u16, Key, bool)>,
    /// The start of a record whose end has not come yet.
    rest: Vec<u8>,
}

impl KeyDevice {
    /// All devices in `directory` (`/dev/input`) that offer one of the keys. A key that none offers is told in the log.
    pub(super) fn find(directory: &Path, keys: &[(u16, Key)]) -> Vec<Self> {
        let names = fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths: Vec<PathBuf> = names.filter(|path| is_event(path)).collect();
        paths.sort();
        let mut devices = Vec::new();
        for path in paths {
            match OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&path) {
                Ok(file) => {
                    let offered = bits(&file, Bits::Offered);
                    let own: Vec<(u16, Key)> =
                        keys.iter().copied().filter(|(code, _)| is_set(&offered, *code)).collect();
                    if !own.is_empty() {
                        devices.push(Self::new(file, path, &own));
                    }
                }
                Err(error) => log::warn!("the input device {} cannot be read: {error}", path.display()),
            }
        }
        for (code, key) in keys {
            if !devices.iter().any(|device| device.keys.iter().any(|(other, ..)| other == code)) {
                log::warn!("no input device has the key {code:#x}, which the board's map names as {key:?}");
            }
        }
        devices
    }

    /// The device at `path`, open without waiting.
    pub(super) fn new(file: File, path: PathBuf, keys: &[(u16, Key)]) -> Self {
        let keys = keys.iter().map(|(code, key)| (*code, *key, false)).collect();
        Self { file, path, keys, rest: Vec::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands on the edges that came. An error means that the device is gone.
    pub(super) fn read(&mut self, edge: &mut dyn FnMut(Key, bool)) -> io::Result<()> {
        let mut buffer = [0; RECORDS * RECORD_BYTES];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.take(&buffer[..length], edge),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], edge: &mut dyn FnMut(Key, bool)) {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() - self.rest.len() % RECORD_BYTES;
        let records: Vec<u8> = self.rest.drain(..whole).collect();
        for record in records.chunks_exact(RECORD_BYTES) {
            match Record::read(record) {
                Some(Record { kind: EV_KEY, code, value: value @ (RELEASED | PRESSED) }) => {
                    self.set(code, value == PRESSED, edge);
                }
                Some(Record { kind: EV_SYN, code: SYN_DROPPED, .. }) => self.catch_up(edge),
                _ => {}
            }
        }
    }

    fn set(&mut self, code: u16, down: bool, edge: &mut dyn FnMut(Key, bool)) {
        for (_, key, was_down) in self.keys.iter_mut().filter(|(own, ..)| *own == code) {
            *was_down = down;
            edge(*key, down);
        }
    }

    /// The kernel's buffer ran over, and edges were lost.
    fn catch_up(&mut self, edge: &mut dyn FnMut(Key, bool)) {
        let down = bits(&self.file, Bits::Down);
        for (code, _, was_down) in self.keys.clone() {
            let is_down = is_set(&down, code);
            if is_down != was_down {
                self.set(code, is_down, edge);
            }
        }
    }
}

impl AsFd for KeyDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn is_event(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("event"))
}

/// `struct input_event` without its time: two words of the kernel's, 4 or 8 bytes each, also where the C library's time
/// is wider (linux/input.h).
struct Record {
    kind: u16,
    code: u16,
    value: i32,
}

impl Record {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (_, fields) = bytes.split_at_checked(TIME_BYTES)?;
        let (kind, rest) = fields.split_first_chunk()?;
        let (code, rest) = rest.split_first_chunk()?;
        let value = rest.first_chunk()?;
        let (kind, code) = (u16::from_ne_bytes(*kind), u16::from_ne_bytes(*code));
        Some(Self { kind, code, value: i32::from_ne_bytes(*value) })
    }
}

/// A bit for each key code, in words of the kernel's.
type KeyBits = [c_ulong; (KEY_MAX as usize + 1).div_ceil(c_ulong::BITS as usize)];

#[derive(Clone, Copy)]
enum Bits {
    Offered,
    Down,
}

/// None is set when the file is no input device.
fn bits(file: &File, which: Bits) -> KeyBits {
    let mut bits = KeyBits::default();
    let request = match which {
        Bits::Offered => request::offered,
        Bits::Down => request::down,
    };
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is open as long as `file` is, and the kernel writes no more than the length of the array,
    // which is a part of the request's number. Neither std nor nix has these requests.
    let _ = unsafe { request(file.as_raw_fd(), &mut bits) };
    bits
}

fn is_set(bits: &KeyBits, code: u16) -> bool {
    let (word, bit) = (usize::from(code) / c_ulong::BITS as usize, u32::from(code) % c_ulong::BITS);
    bits.get(word).is_some_and(|word| word >> bit & 1 == 1)
}

/// Requests of linux/input.h.
#[allow(unsafe_code)]
mod request {
    use std::ffi::c_ulong;

    // EVIOCGBIT(EV_KEY, length) and EVIOCGKEY(length).
    nix::ioctl_read_buf!(offered, b'E', 0x20 + super::EV_KEY, c_ulong);
    nix::ioctl_read_buf!(down, b'E', 0x18, c_ulong);
}

const TIME_BYTES: usize = 2 * size_of::<c_ulong>();
const RECORD_BYTES: usize = TIME_BYTES + 8;
/// Records that one read takes.
const RECORDS: usize = 32;

/// linux/input-event-codes.h; a value of 2 repeats a key that is down.
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;
const KEY_MAX: u16 = 0x2ff;
const RELEASED: i32 = 0;
const PRESSED: i32 = 1;

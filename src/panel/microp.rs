//! The front controller of Synology boxes (`microP`): one byte each way, 9600 baud, 8N1.
//!
//! It tells each press by a byte, and no release. See [`Input::Stroke`](super::Input::Stroke) for how a hold is said.

use super::{Glow, Key};

/// Bits per second.
pub const BAUD: u32 = 9_600;
/// Sent once when the node takes the panel over: the power LED, which blinks from power-on, stays lit.
pub const START: &[u8] = b"4";

/// The key whose press the byte tells; `None` for bytes that tell of no key of ours.
pub fn key(byte: u8) -> Option<Key> {
    match byte {
        b'`' => Some(Key::Button),
        b'0' => Some(Key::Power),
        b'a' => Some(Key::Reset),
        _ => None,
    }
}

/// The byte that makes the status LED glow so: green, or orange for a fault.
pub fn byte(glow: Glow) -> u8 {
    match glow {
        Glow::Dark => b'7',
        Glow::Status => b'8',
        Glow::Fault => b':',
    }
}

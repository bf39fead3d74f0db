//! The front controller of QNAP TS-x19 boxes (PIC): one byte each way, 19200 baud, 8N1.
//!
//! It tells the power key alone; copy and reset are keys of the kernel's on these boxes.

use super::{Glow, Key};

/// Bits per second.
pub const BAUD: u32 = 19_200;
/// Sent once when the node takes the panel over: the power LED stays lit.
pub const START: &[u8] = &[0x4d];

/// The key whose press the byte tells; `None` for what it tells of the fan and the temperature.
pub fn key(byte: u8) -> Option<Key> {
    (byte == 0x40).then_some(Key::Power)
}

/// The byte that makes the status LED glow so: green, or red for a fault.
pub fn byte(glow: Glow) -> u8 {
    match glow {
        Glow::Dark => 0x59,
        Glow::Status => 0x56,
        Glow::Fault => 0x57,
    }
}

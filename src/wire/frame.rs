//! Frames between our own nodes: `length(4, BE) | channel(4, BE) | payload`. The length counts the payload only.

use super::WireError;
use crate::base::limits::FRAME_MAX;

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// The channel of control messages; every other is one torrent's.
pub const CONTROL: u32 = 0;

/// What stands before a frame's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of payload, at most [`FRAME_MAX`].
    pub length: u32,
    /// 0 is control.
    pub channel: u32,
}

impl Header {
    /// The header of a payload of `length` bytes.
    ///
    /// # Panics
    /// When the payload is over [`FRAME_MAX`]: senders split what may become so long.
    pub fn new(channel: u32, length: usize) -> Self {
        assert!(length <= FRAME_MAX, "no frame of ours is longer than its limit");
        Self { length: length as u32, channel }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4..].copy_from_slice(&self.channel.to_be_bytes());
        bytes
    }

    /// Decodes a header; one that announces too much is refused before anything of its payload is read.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, WireError> {
        let [a, b, c, d, e, f, g, h] = *bytes;
        let header = Self { length: u32::from_be_bytes([a, b, c, d]), channel: u32::from_be_bytes([e, f, g, h]) };
        if header.length as usize > FRAME_MAX {
            return Err(WireError::OverLimit("a frame's length in bytes", header.length as usize, FRAME_MAX));
        }
        Ok(header)
    }
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_two_numbers() {
        let header = Header::new(0x0102_0304, 0x0010_0000);
        assert_eq!(header.encode(), [0, 0x10, 0, 0, 1, 2, 3, 4]);
        assert_eq!(Header::decode(&[0; HEADER]), Ok(Header { length: 0, channel: CONTROL }));
    }

    #[test]
    fn a_frame_over_its_limit_is_refused() {
        assert!(Header::decode(&Header::new(0, FRAME_MAX).encode()).is_ok());
        for length in [FRAME_MAX as u32 + 1, 1 << 31, u32::MAX] {
            let refused = Header::decode(&Header { length, channel: 1 }.encode());
            assert_eq!(refused, Err(WireError::OverLimit("a frame's length in bytes", length as usize, FRAME_MAX)));
        }
    }

    proptest! {
        #[test]
        fn headers_come_back(channel: u32, length in 0..=FRAME_MAX) {
            let header = Header::new(channel, length);
            prop_assert_eq!(Header::decode(&header.encode()).unwrap(), header);
        }

        #[test]
        fn any_eight_bytes_are_refused_or_come_back(bytes: [u8; HEADER]) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}

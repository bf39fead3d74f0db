//! How friends recognise each other on the LAN: marks that only who knows the circle's root certificate can make or read.
//!
//! ```text
//! key  = HKDF-SHA-256 of the root certificate's DER, label "dustfs lan 1"
//! mark = HMAC(key, "circle" | nonce | port)[..8] | HMAC(key, "device" | nonce | port | transport key)[..8]
//! ```
//! Members and caches hold the root certificate, and it never crosses the LAN in the clear; a device that was removed
//! still knows it, and so do stock clients with a leaf. A mark is a hint whom to dial where, never a right: the dial pins
//! the device's key. Who replays one makes a friend dial in vain.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::base::TransportKey;

/// Makes and reads the marks of one circle.
pub struct LanKey([u8; 32]);

impl LanKey {
    /// The key of the circle with this root certificate, DER.
    pub fn new(root_der: &[u8]) -> Self {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, root_der)
            .expand(b"dustfs lan 1", &mut key)
            .expect("32 bytes are within what HKDF gives");
        Self(key)
    }

    /// The mark of a device that listens on `port`.
    pub fn mark(&self, nonce: &[u8; 16], port: u16, transport: &TransportKey) -> [u8; 16] {
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(&self.tag(b"circle", nonce, port, &[]));
        mark[8..].copy_from_slice(&self.tag(b"device", nonce, port, &transport.0));
        mark
    }

    /// Whose mark it is, among these; one hash when it is of another circle.
    pub fn recognise(
        &self,
        mark: &[u8; 16],
        nonce: &[u8; 16],
        port: u16,
        devices: impl IntoIterator<Item = TransportKey>,
    ) -> Option<TransportKey> {
        if mark[..8] != self.tag(b"circle", nonce, port, &[]) {
            return None;
        }
        devices.into_iter().find(|transport| mark[8..] == self.tag(b"device", nonce, port, &transport.0))
    }

    fn tag(&self, what: &[u8], nonce: &[u8; 16], port: u16, device: &[u8]) -> [u8; 8] {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        let mac = mac.chain_update(what).chain_update(nonce).chain_update(port.to_be_bytes()).chain_update(device);
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = mac.finalize().into_bytes().into();
        [a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_circle_recognises_its_devices() {
        let device = |seed| TransportKey([seed; 32]);
        let (ours, other) = (LanKey::new(b"root"), LanKey::new(b"another root"));
        let mark = ours.mark(&[1; 16], 47470, &device(2));
        let all = || (0..5).map(device);
        assert_eq!(ours.recognise(&mark, &[1; 16], 47470, all()), Some(device(2)));
        assert_eq!(other.recognise(&mark, &[1; 16], 47470, all()), None);
        assert_eq!(ours.recognise(&mark, &[2; 16], 47470, all()), None, "another nonce");
        assert_eq!(ours.recognise(&mark, &[1; 16], 47471, all()), None, "another port");
        assert_eq!(ours.recognise(&mark, &[1; 16], 47470, [device(3)]), None, "not on the roster");
        assert_ne!(mark, ours.mark(&[2; 16], 47470, &device(2)), "one start cannot be linked to the next");
    }
}

//! How friends recognise each other on the LAN: marks that only who holds the circle's roster can make or read.
//!
//! ```text
//! key  = HKDF-SHA-256 of the bytes of the statement that founded the circle, label "dustfs lan 2"
//! mark = HMAC(key, "circle" | nonce | port)[..8] | HMAC(key, "device" | nonce | port | transport key)[..8]
//! ```
//! Members and caches hold that statement, whose nonce and signature nobody can guess, and it is told to nobody else: a
//! stock client and an exported `.torrent` have the root certificate alone, and the circle's id is the statement's hash. It
//! is the same for as long as the circle lives, so that a node that missed statements still finds the friend who tells
//! them; a device that was removed still knows it. A mark is a hint whom to dial where, never a right: the dial pins the
//! device's key. Who replays one makes a friend dial in vain.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::base::TransportKey;

/// Makes and reads the marks of one circle.
pub struct LanKey([u8; 32]);

impl LanKey {
    /// The key of the circle that this signed statement founded.
    pub fn new(founding: &[u8]) -> Self {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, founding)
            .expand(b"dustfs lan 2", &mut key)
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
    use crate::base::MemberKey;
    use crate::roster::{Roster, found};
    use crate::wire::statement::Device;

    #[test]
    fn who_knows_the_root_and_the_founder_recognises_nobody() {
        let device = Device { member: MemberKey([1; 32]), name: "attic".into(), transport: TransportKey([2; 32]) };
        let founding = |nonce| {
            let statement = found([nonce; 16], "Friends".into(), b"root", device.clone()).sign(|_| [7; 64]);
            Roster::new(statement).expect("a circle")
        };
        let key = |roster: &Roster| LanKey::new(roster.founding());
        let mark = key(&founding(1)).mark(&[1; 16], 47470, &device.transport);
        let recognised = |key: LanKey| key.recognise(&mark, &[1; 16], 47470, [device.transport]);
        assert_eq!(recognised(key(&founding(1))), Some(device.transport));
        assert_eq!(recognised(key(&founding(2))), None, "the nonce is not to be guessed");
        assert_eq!(recognised(LanKey::new(b"root")), None);
        assert_eq!(recognised(LanKey::new(&founding(1).circle().0)), None);
    }

    #[test]
    fn only_the_circle_recognises_its_devices() {
        let device = |seed| TransportKey([seed; 32]);
        let (ours, other) = (LanKey::new(b"founding"), LanKey::new(b"another founding"));
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

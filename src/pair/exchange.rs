//! The messages by which two boxes in the window come to one code, and what is hashed and signed in them.
//!
//! ```text
//! commit  = bencode { c: commitment(32), t: "commit", v: 1 }
//! reveal  = bencode { d: device, n: nonce(32), s: signature(64), t: "reveal", v: 1, w: standing }
//! confirm = bencode { t: "confirm", v: 1 }
//! arrived = bencode { t: "arrived", v: 1 }
//! commitment = SHA-256 over "dustfs pair commit 1\0" | side(1) | exporter | nonce | standing(1) | device in bencode
//! signature  = Ed25519 of the member key over "dustfs pair 1\0" | side(1) | exporter | commitment
//! code       = the first 8 bytes, as a number, of SHA-256 over "dustfs pair code 1\0" | exporter | both commitments |
//!              both nonces, the dialler's first, modulo 10,000
//! secret     = the first 16 bytes of SHA-256 over "dustfs pair secret 1\0" | exporter | both nonces
//! ```
//! The dialler commits, the listener commits, the dialler reveals, the listener reveals: whoever chooses a nonce does so
//! before it sees the other's, and has one guess in 10,000. A man in the middle has two connections with two exporters
//! and shows keys of his own on both, so the two codes differ.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::base::TransportKey;
use crate::base::limits::PAIR_MESSAGE_MAX;
use crate::seal::member::verify;
use crate::wire::record::Bytes2;
use crate::wire::statement::{self, Device};
use crate::wire::{WireError, bencode};

/// What a box says of itself before the code is confirmed, besides its name and keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// In no circle with friends.
    Blank,
    /// A keeper of its one circle with friends: it may invite.
    Keeper,
    /// In one circle with friends, where it may not invite.
    Member,
    /// In several circles with friends: which one is meant is chosen on the page.
    Several,
}

impl Standing {
    const ALL: [Standing; 4] = [Standing::Blank, Standing::Keeper, Standing::Member, Standing::Several];

    /// The word on the wire.
    fn word(self) -> &'static str {
        match self {
            Standing::Blank => "blank",
            Standing::Keeper => "keeper",
            Standing::Member => "member",
            Standing::Several => "several",
        }
    }
}

/// Which end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Dialler,
    Listener,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Side::Dialler => Side::Listener,
            Side::Listener => Side::Dialler,
        }
    }
}

/// What one side commits to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) device: Device,
    pub(super) standing: Standing,
    pub(super) nonce: [u8; 32],
}

impl Part {
    pub(super) fn commitment(&self, side: Side, exporter: &[u8; 32]) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"dustfs pair commit 1\0")
            .chain_update([side as u8])
            .chain_update(exporter)
            .chain_update(self.nonce)
            .chain_update([self.standing as u8])
            .chain_update(bencode::encode(&self.device))
            .finalize()
            .into()
    }

    /// The message that opens the commitment.
    pub(super) fn reveal(&self, side: Side, exporter: &[u8; 32], sign: &dyn Fn(&[u8]) -> [u8; 64]) -> Message {
        let signature = sign(&signed(side, exporter, &self.commitment(side, exporter)));
        Message::Reveal { part: self.clone(), signature }
    }

    /// Checks what the other side revealed against what it committed to and against its connection.
    pub(super) fn check(
        &self,
        side: Side,
        exporter: &[u8; 32],
        commitment: &[u8; 32],
        key: &TransportKey,
        signature: &[u8; 64],
    ) -> bool {
        let own = self.commitment(side, exporter);
        bool::from(own.ct_eq(commitment))
            && self.device.transport == *key
            && verify(&self.device.member, &signed(side, exporter, commitment), signature)
    }
}

/// Without the nonce, which stays secret until it is revealed.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("device", &self.device).field("standing", &self.standing).finish_non_exhaustive()
    }
}

fn signed(side: Side, exporter: &[u8; 32], commitment: &[u8; 32]) -> Vec<u8> {
    [b"dustfs pair 1\0", &[side as u8][..], exporter, commitment].concat()
}

/// The code's digits, from both parts, the dialler's first.
pub(super) fn code(exporter: &[u8; 32], dialler: &Part, listener: &Part) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"dustfs pair code 1\0")
        .chain_update(exporter)
        .chain_update(dialler.commitment(Side::Dialler, exporter))
        .chain_update(listener.commitment(Side::Listener, exporter))
        .chain_update(dialler.nonce)
        .chain_update(listener.nonce)
        .finalize()
        .into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    // The bias is below 10,000 / 2^64.
    let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 10_000;
    [number / 1_000, number / 100 % 10, number / 10 % 10, number % 10].map(|digit| digit as u8)
}

/// The secret of the invite that follows, known to the two ends of the connection.
pub(super) fn secret(exporter: &[u8; 32], dialler: &Part, listener: &Part) -> [u8; 16] {
    let hash = Sha256::new()
        .chain_update(b"dustfs pair secret 1\0")
        .chain_update(exporter)
        .chain_update(dialler.nonce)
        .chain_update(listener.nonce)
        .finalize();
    let mut secret = [0; 16];
    secret.copy_from_slice(&hash[..16]);
    secret
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    Commit([u8; 32]),
    Reveal { part: Part, signature: [u8; 64] },
    Confirm,
    Arrived,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    commitment: Option<Bytes2>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    nonce: Option<Bytes2>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    signature: Option<Bytes2>,
    #[serde(rename = "t")]
    kind: String,
    #[serde(rename = "v")]
    version: u32,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    standing: Option<String>,
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        let mut wire = Wire {
            commitment: None,
            device: None,
            nonce: None,
            signature: None,
            kind: String::new(),
            version: VERSION,
            standing: None,
        };
        wire.kind = match self {
            Message::Commit(commitment) => {
                wire.commitment = Some(Bytes2::from(&commitment[..]));
                "commit"
            }
            Message::Reveal { part, signature } => {
                wire.device = Some(part.device.clone());
                wire.nonce = Some(Bytes2::from(&part.nonce[..]));
                wire.signature = Some(Bytes2::from(&signature[..]));
                wire.standing = Some(part.standing.word().into());
                "reveal"
            }
            Message::Confirm => "confirm",
            Message::Arrived => "arrived",
        }
        .into();
        bencode::encode(&wire).into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let wire: Wire = bencode::decode(WHAT, payload, PAIR_MESSAGE_MAX)?;
        if wire.version != VERSION {
            return Err(WireError::Version(WHAT, wire.version));
        }
        match (&wire.kind[..], wire.commitment, wire.device, wire.nonce, wire.signature, wire.standing) {
            ("commit", Some(commitment), None, None, None, None) => Ok(Message::Commit(exactly(&commitment)?)),
            ("reveal", None, Some(device), Some(nonce), Some(signature), Some(word)) => {
                statement::check_label(&device.name)?;
                let standing = Standing::ALL.into_iter().find(|standing| standing.word() == word);
                let standing = standing.ok_or_else(|| WireError::Malformed(WHAT, "its standing is unknown".into()))?;
                let part = Part { device, standing, nonce: exactly(&nonce)? };
                Ok(Message::Reveal { part, signature: exactly(&signature)? })
            }
            ("confirm", None, None, None, None, None) => Ok(Message::Confirm),
            ("arrived", None, None, None, None, None) => Ok(Message::Arrived),
            _ => Err(WireError::Malformed(WHAT, "it is of no kind that is known".into())),
        }
    }
}

fn exactly<const N: usize>(bytes: &Bytes2) -> Result<[u8; N], WireError> {
    let refuse = |_| WireError::Malformed(WHAT, format!("a field is not {N} bytes"));
    bytes.as_ref().try_into().map_err(refuse)
}

const WHAT: &str = "a message of pairing";
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::MemberSecret;

    fn part(seed: u8) -> Part {
        let device = Device {
            member: MemberSecret::from_seed([seed; 32]).public(),
            name: "attic".into(),
            transport: TransportKey([seed; 32]),
        };
        Part { device, standing: Standing::Blank, nonce: [seed; 32] }
    }

    #[test]
    fn messages_read_back() {
        let secret = MemberSecret::from_seed([1; 32]);
        let reveal = part(1).reveal(Side::Dialler, &[9; 32], &|bytes| secret.sign(bytes));
        for message in [Message::Commit([3; 32]), reveal, Message::Confirm, Message::Arrived] {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn bad_messages_are_refused() {
        let name = "a".repeat(60_000);
        let long =
            Message::Reveal { part: Part { device: Device { name, ..part(1).device }, ..part(1) }, signature: [0; 64] };
        assert!(matches!(Message::decode(&long.encode()), Err(WireError::OverLimit(..))));
        let odd = Device { name: "a/b".into(), ..part(1).device };
        let odd = Message::Reveal { part: Part { device: odd, ..part(1) }, signature: [0; 64] };
        assert!(Message::decode(&odd.encode()).is_err());
        for bad in
            [&b"d1:t7:confirm1:vi2ee"[..], b"d1:t5:other1:vi1ee", b"d1:t6:commit1:vi1ee", b"d1:c2:xx1:t6:commit1:vi1ee"]
        {
            assert!(Message::decode(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(Message::decode(b"d1:t7:confirm1:vi2ee"), Err(WireError::Version(WHAT, 2)));
    }

    #[test]
    fn what_was_committed_to_cannot_be_changed() {
        let secret = MemberSecret::from_seed([1; 32]);
        let exporter = [9; 32];
        let ours = part(1);
        let Message::Reveal { signature, .. } = ours.reveal(Side::Dialler, &exporter, &|bytes| secret.sign(bytes))
        else {
            panic!("a reveal");
        };
        let commitment = ours.commitment(Side::Dialler, &exporter);
        let key = ours.device.transport;
        assert!(ours.check(Side::Dialler, &exporter, &commitment, &key, &signature));
        assert!(!ours.check(Side::Listener, &exporter, &commitment, &key, &signature), "reflected");
        assert!(!ours.check(Side::Dialler, &[8; 32], &commitment, &key, &signature), "another connection");
        assert!(!ours.check(Side::Dialler, &exporter, &commitment, &TransportKey([7; 32]), &signature), "passed on");
        assert!(!ours.check(Side::Dialler, &exporter, &commitment, &key, &[0; 64]), "unsigned");
        for changed in [
            Part { nonce: [2; 32], ..ours.clone() },
            Part { standing: Standing::Keeper, ..ours.clone() },
            Part { device: Device { name: "cellar".into(), ..ours.device.clone() }, ..ours.clone() },
            Part { device: Device { member: part(2).device.member, ..ours.device.clone() }, ..ours.clone() },
        ] {
            assert!(!changed.check(Side::Dialler, &exporter, &commitment, &key, &signature), "{changed:?}");
        }
    }

    #[test]
    fn the_code_hangs_on_everything() {
        let (a, b) = (part(1), part(2));
        let usual = code(&[9; 32], &a, &b);
        assert!(usual.iter().all(|digit| *digit < 10));
        assert_eq!(usual, code(&[9; 32], &a, &b));
        let named = Part { device: Device { name: "x".into(), ..a.device.clone() }, ..a.clone() };
        for other in [
            code(&[8; 32], &a, &b),
            code(&[9; 32], &b, &a),
            code(&[9; 32], &named, &b),
            code(&[9; 32], &Part { nonce: [7; 32], ..a.clone() }, &b),
            code(&[9; 32], &a, &Part { standing: Standing::Keeper, ..b.clone() }),
        ] {
            assert_ne!(other, usual);
        }
        assert_ne!(secret(&[9; 32], &a, &b), secret(&[8; 32], &a, &b));
    }

    #[test]
    fn codes_are_spread_evenly() {
        let mut counts = [[0_u32; 10]; 4];
        for nonce in 0..4_000_u32 {
            let mut a = part(1);
            a.nonce[..4].copy_from_slice(&nonce.to_be_bytes());
            for (place, digit) in code(&[9; 32], &a, &part(2)).into_iter().enumerate() {
                counts[place][usize::from(digit)] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|count| (300..500).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn garbage_is_refused(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = Message::decode(&bytes);
            let mut message = Message::Commit([3; 32]).encode().to_vec();
            let at = at.index(message.len());
            message[at] = byte;
            if let Ok(decoded) = Message::decode(&message) {
                prop_assert!(matches!(decoded, Message::Commit(_)));
            }
        }
    }
}

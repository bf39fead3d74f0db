//! The two messages of joining, and the proofs in them.
//!
//! ```text
//! joiner  = bencode { d: device, e: invite id(8), p: proof(32), s: signature(64), v: 1 }
//! inviter = bencode { p: proof(32), v: 1, w: welcome }, or bencode { r: refusal, v: 1 }
//! invite id       = the first bytes of SHA-256 over "dustfs invite id 1" | secret
//! joiner's proof  = HMAC-SHA-256 with the secret over
//!                   "dustfs invite joiner 1" | exporter | transport key | member key
//! signature       = Ed25519 of the joiner's member key over "dustfs join 1\0" | exporter | transport key
//! inviter's proof = HMAC-SHA-256 with the secret over "dustfs invite inviter 1" | exporter | SHA-256 of welcome
//! ```
//! The exporter ties each proof to the one TLS connection on which it is worth anything, so that a man in the middle,
//! whose two connections have two exporters, cannot pass one on.

use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::base::TransportKey;
use crate::base::limits::{JOIN_MAX, WELCOME_MAX};
use crate::wire::record::Bytes2;
use crate::wire::statement::{self, Device};
use crate::wire::{WireError, bencode};

/// Names an invite without telling its secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct InviteId(pub [u8; 8]);

impl InviteId {
    /// The id of the invite with this secret.
    pub fn of(secret: &[u8; 16]) -> Self {
        let hash: [u8; 32] = Sha256::new().chain_update(b"dustfs invite id 1").chain_update(secret).finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        Self([a, b, c, d, e, f, g, h])
    }
}

/// Why an inviter refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The invite admitted another device.
    Used,
    /// Its time is over.
    Ended,
    /// There is no such invite here.
    Unknown,
    /// A proof or signature is wrong, or the key is not the connection's.
    Wrong,
    /// Too many tries were wrong.
    Busy,
    /// The joiner's message has another version than the inviter knows.
    Version,
    /// The joiner's message has not the right form.
    Malformed,
}

impl Refusal {
    const ALL: [Refusal; 7] = [
        Refusal::Used,
        Refusal::Ended,
        Refusal::Unknown,
        Refusal::Wrong,
        Refusal::Busy,
        Refusal::Version,
        Refusal::Malformed,
    ];

    /// The word on the wire.
    fn word(self) -> &'static str {
        match self {
            Refusal::Used => "used",
            Refusal::Ended => "ended",
            Refusal::Unknown => "unknown",
            Refusal::Wrong => "wrong",
            Refusal::Busy => "busy",
            Refusal::Version => "version",
            Refusal::Malformed => "malformed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Used => "this invite was used by another device: ask for a new one",
            Refusal::Ended => "this invite has ended: ask for a new one",
            Refusal::Unknown => {
                "this invite is not known there: it was used, has ended, or the box restarted: ask for a new one"
            }
            Refusal::Wrong => "the proof of this invite is wrong: somebody may sit between, try again from elsewhere",
            Refusal::Busy => "there were too many wrong tries: wait a minute and try again",
            Refusal::Version => "the box that invited has another version: update both",
            Refusal::Malformed => "the box that invited did not understand: update both",
        })
    }
}

/// The joiner's message.
pub(super) struct Join {
    pub(super) device: Device,
    pub(super) invite: InviteId,
    pub(super) proof: [u8; 32],
    pub(super) signature: [u8; 64],
}

#[derive(Serialize, Deserialize)]
struct JoinWire {
    #[serde(rename = "d")]
    device: Device,
    #[serde(rename = "e")]
    invite: Bytes2,
    #[serde(rename = "p")]
    proof: Bytes2,
    #[serde(rename = "s")]
    signature: Bytes2,
    #[serde(rename = "v")]
    version: u32,
}

impl Join {
    pub(super) fn encode(self) -> Bytes {
        let wire = JoinWire {
            device: self.device,
            invite: Bytes2::from(&self.invite.0[..]),
            proof: Bytes2::from(&self.proof[..]),
            signature: Bytes2::from(&self.signature[..]),
            version: VERSION,
        };
        bencode::encode(&wire).into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, WireError> {
        const WHAT: &str = "a message of joining";
        let version: VersionWire = bencode::decode(WHAT, payload, JOIN_MAX)?;
        if version.version != VERSION {
            return Err(WireError::Version(WHAT, version.version));
        }
        let wire: JoinWire = bencode::decode(WHAT, payload, JOIN_MAX)?;
        statement::check_label(&wire.device.name)?;
        Ok(Self {
            invite: InviteId(exactly(&wire.invite)?),
            proof: exactly(&wire.proof)?,
            signature: exactly(&wire.signature)?,
            device: wire.device,
        })
    }
}

/// The inviter's message.
pub(super) enum Answer {
    Welcome { proof: [u8; 32], welcome: Zeroizing<Vec<u8>> },
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
struct AnswerWire {
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    proof: Option<Bytes2>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(rename = "v")]
    version: u32,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    welcome: Option<Bytes2>,
}

impl Drop for AnswerWire {
    fn drop(&mut self) {
        if let Some(welcome) = &mut self.welcome {
            welcome.zeroize();
        }
    }
}

impl Answer {
    pub(super) fn encode(self) -> Bytes {
        let mut wire = AnswerWire { proof: None, refusal: None, version: VERSION, welcome: None };
        match self {
            Answer::Welcome { proof, welcome } => {
                wire.proof = Some(Bytes2::from(&proof[..]));
                wire.welcome = Some(Bytes2::from(&welcome[..]));
            }
            Answer::Refused(refusal) => wire.refusal = Some(refusal.word().into()),
        }
        bencode::encode(&wire).into()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, WireError> {
        const WHAT: &str = "the answer to joining";
        // A refusal stays readable in every version, so that it can say which.
        let mut wire: AnswerWire = bencode::decode(WHAT, payload, WELCOME_MAX)?;
        match (wire.refusal.take(), wire.proof.take(), wire.welcome.take()) {
            (Some(word), None, None) => {
                let known = Refusal::ALL.into_iter().find(|refusal| refusal.word() == word);
                Ok(Answer::Refused(known.unwrap_or(Refusal::Version)))
            }
            _ if wire.version != VERSION => Err(WireError::Version(WHAT, wire.version)),
            (None, Some(proof), Some(welcome)) => {
                let welcome = Zeroizing::new(welcome.into_vec());
                Ok(Answer::Welcome { proof: exactly(&proof)?, welcome })
            }
            _ => Err(WireError::Malformed(WHAT, "it must welcome or refuse".into())),
        }
    }
}

#[derive(Deserialize)]
struct VersionWire {
    #[serde(rename = "v")]
    version: u32,
}

fn exactly<const N: usize>(bytes: &Bytes2) -> Result<[u8; N], WireError> {
    let refuse = |_| WireError::Malformed("a message of pairing", format!("a field is not {N} bytes"));
    bytes.as_ref().try_into().map_err(refuse)
}

/// The joiner's proof.
pub(super) fn joiner_proof(secret: &[u8; 16], exporter: &[u8; 32], device: &Device) -> Hmac<Sha256> {
    keyed(secret)
        .chain_update(b"dustfs invite joiner 1")
        .chain_update(exporter)
        .chain_update(device.transport)
        .chain_update(device.member)
}

/// The inviter's proof.
pub(super) fn inviter_proof(secret: &[u8; 16], exporter: &[u8; 32], welcome: &[u8]) -> Hmac<Sha256> {
    keyed(secret).chain_update(b"dustfs invite inviter 1").chain_update(exporter).chain_update(Sha256::digest(welcome))
}

/// What the joiner's member key signs.
pub(super) fn signed_by_joiner(exporter: &[u8; 32], transport: &TransportKey) -> Vec<u8> {
    [b"dustfs join 1\0", &exporter[..], &transport.0].concat()
}

fn keyed(secret: &[u8; 16]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes keys of any length")
}

const VERSION: u32 = 1;

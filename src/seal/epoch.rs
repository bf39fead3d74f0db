//! The key schedule of an epoch: one circle key, from which HKDF-SHA-256 (RFC 5869) with labels derives the rest.
//!
//! ```text
//! key = HKDF-Expand(HKDF-Extract("dustfs epoch 1", circle key), label 0 circle(32) number(8, BE) suite(1), 32 bytes)
//! ```

use std::fmt;
use std::sync::Arc;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::chunk::{ChunkKey, Suite};
use super::{SealError, gcm};
use crate::base::{CircleId, ObjectId, Register, RegisterTag};

/// The secret of one epoch of a circle, from which everything else is derived.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct CircleKey(pub [u8; 32]);

impl fmt::Debug for CircleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CircleKey(..)")
    }
}

/// Makes a circle key of 32 bytes of the operating system's entropy.
pub fn circle_key_from_entropy(entropy: [u8; 32]) -> CircleKey {
    CircleKey(entropy)
}

/// The keys that follow from an epoch's circle key. Clones share them.
#[derive(Clone)]
pub struct EpochKeys(Arc<Keys>);

struct Keys {
    suite: Suite,
    chunk: Arc<ChunkKey>,
    record: Zeroizing<[u8; 32]>,
    tag: Zeroizing<[u8; 32]>,
    draft: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKeys").field("suite", &self.0.suite).finish_non_exhaustive()
    }
}

impl EpochKeys {
    /// Derives the keys of the epoch `number` of `circle`.
    pub fn derive(circle: &CircleId, number: u64, suite: Suite, key: &CircleKey) -> Self {
        let secret = Hkdf::<Sha256>::new(Some(SALT), &key.0);
        let number = number.to_be_bytes();
        let derive = |label: &[u8]| {
            let mut derived = Zeroizing::new([0; 32]);
            secret
                .expand_multi_info(&[label, &[0], &circle.0, &number, &[suite.number()]], &mut derived[..])
                .expect("HKDF gives 32 bytes");
            derived
        };
        Self(Arc::new(Keys {
            suite,
            chunk: Arc::new(ChunkKey::new(suite, derive(b"chunk"), derive(b"chunk nonce"))),
            record: derive(b"record"),
            tag: derive(b"register tag"),
            draft: derive(b"draft"),
        }))
    }

    /// Seals this epoch's chunks.
    pub fn chunk_key(&self) -> Arc<ChunkKey> {
        Arc::clone(&self.0.chunk)
    }

    /// The cipher of this epoch's chunks. Records are AES-256-GCM in every epoch.
    pub fn suite(&self) -> Suite {
        self.0.suite
    }

    /// Seals a record's inner part: `nonce | ciphertext | tag`. `nonce` is fresh entropy, never used before.
    pub fn seal_record(&self, nonce: [u8; 12], inner: &[u8]) -> Vec<u8> {
        seal(&self.0.record, nonce, inner)
    }

    /// Opens what [`EpochKeys::seal_record`] made.
    pub fn open_record(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        open("a record", &self.0.record, sealed)
    }

    /// Seals local state at rest, such as a draft's small writes: `nonce | ciphertext | tag`, `nonce` as for records.
    pub fn seal_draft(&self, nonce: [u8; 12], bytes: &[u8]) -> Vec<u8> {
        seal(&self.0.draft, nonce, bytes)
    }

    /// Opens what [`EpochKeys::seal_draft`] made.
    pub fn open_draft(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        open("a draft", &self.0.draft, sealed)
    }

    /// The tag by which commits name a register: HMAC-SHA-256, its first 16 bytes. Every tag of a circle is made by
    /// its first epoch's keys, so that a register keeps its tag.
    pub fn register_tag(&self, object: &ObjectId, register: Register) -> RegisterTag {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0.tag[..]).expect("HMAC takes a key of any length");
        mac.update(&object.0);
        mac.update(&[match register {
            Register::Place => 0,
            Register::Body => 1,
        }]);
        let whole = mac.finalize().into_bytes();
        RegisterTag::from_slice(&whole[..RegisterTag::LENGTH]).expect("cut to its length")
    }
}

fn seal(key: &[u8; 32], nonce: [u8; gcm::NONCE], plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(gcm::NONCE + plaintext.len() + gcm::TAG);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    gcm::seal(key, &nonce, &mut out, gcm::NONCE);
    out
}

fn open(what: &'static str, key: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    match sealed.split_first_chunk::<{ gcm::NONCE }>() {
        Some((nonce, rest)) if rest.len() >= gcm::TAG => gcm::open(what, key, nonce, rest),
        _ => Err(SealError::TooShort(what, sealed.len(), gcm::NONCE + gcm::TAG)),
    }
}

const SALT: &[u8] = b"dustfs epoch 1";

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
        gcm::seal_with_nonce(&self.0.record, nonce, inner)
    }

    /// Opens what [`EpochKeys::seal_record`] made.
    pub fn open_record(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        gcm::open_with_nonce("a record", &self.0.record, sealed)
    }

    /// Seals local state at rest, such as a draft's small writes: `nonce | ciphertext | tag`, `nonce` as for records.
    pub fn seal_draft(&self, nonce: [u8; 12], bytes: &[u8]) -> Vec<u8> {
        gcm::seal_with_nonce(&self.0.draft, nonce, bytes)
    }

    /// Opens what [`EpochKeys::seal_draft`] made.
    pub fn open_draft(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        gcm::open_with_nonce("a draft", &self.0.draft, sealed)
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

const SALT: &[u8] = b"dustfs epoch 1";

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn keys(circle: u8, number: u64, suite: Suite, key: u8) -> EpochKeys {
        EpochKeys::derive(&CircleId([circle; 32]), number, suite, &CircleKey([key; 32]))
    }

    /// RFC 5869, case 1, and RFC 4231, case 2.
    #[test]
    fn known_answers_of_the_primitives() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let mut okm = [0; 42];
        Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22]).expand(&info, &mut okm).unwrap();
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(HEXLOWER.encode(&okm), expected);

        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(HEXLOWER.encode(&mac.finalize().into_bytes()), expected);
    }

    /// Computed by another implementation (Python's cryptography) from the description at the top of this file: what
    /// is sealed today must open for ever.
    #[test]
    fn the_schedule_stays_as_it_is() {
        let epoch = keys(2, 3, Suite::Aes256Gcm, 1);
        let nonce = "04".repeat(12);
        let record = HEXLOWER.encode(&epoch.seal_record([4; 12], b"inner"));
        assert_eq!(record, nonce.clone() + "c8571a795640683bad26ff458e2aff80e7a55eb1b7");
        let draft = HEXLOWER.encode(&epoch.seal_draft([4; 12], b"inner"));
        assert_eq!(draft, nonce.clone() + "41a97edb2ac1ef137e23b6cd1a89f5a4fe806cf069");
        let tag = |register| epoch.register_tag(&ObjectId([5; 16]), register).hex();
        assert_eq!(tag(Register::Place), "777c4197e5122502d968db720853fda9");
        assert_eq!(tag(Register::Body), "e5c3128e1dee68007718ab31bc06cd57");
        let other = keys(2, 3, Suite::ChaCha20Poly1305, 1);
        let record = HEXLOWER.encode(&other.seal_record([4; 12], b"inner"));
        assert_eq!(record, nonce + "20183133aff572e8dec090dd8620d4d6e5a6885537");

        // The chunk's keys, likewise; its form has known answers of its own.
        let hex = |text: &str| Zeroizing::new(HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap());
        let cipher = hex("7da671b2c7edb679b3c464bc5ccb68b4cda4d33b226adff2607bff0592a7ce8e");
        let nonce = hex("6700ab8f934ac7ef15e52898b6b5edbef91884f7281ae8628a76d31eb52b88b5");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        epoch.chunk_key().seal(b"chunk", 4_096, &mut ours);
        ChunkKey::new(Suite::Aes256Gcm, cipher, nonce).seal(b"chunk", 4_096, &mut theirs);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn every_part_of_the_name_gives_other_keys() {
        let epoch = keys(1, 1, Suite::Aes256Gcm, 1);
        let record = epoch.seal_record([0; 12], b"inner");
        let mut chunk = Vec::new();
        epoch.chunk_key().seal(b"chunk", 4_096, &mut chunk);
        let tag = epoch.register_tag(&ObjectId([0; 16]), Register::Place);
        for other in [
            keys(2, 1, Suite::Aes256Gcm, 1),
            keys(1, 2, Suite::Aes256Gcm, 1),
            keys(1, 1, Suite::ChaCha20Poly1305, 1),
            keys(1, 1, Suite::Aes256Gcm, 2),
        ] {
            assert_eq!(other.open_record(&record), Err(SealError::Forged("a record")));
            assert!(other.chunk_key().open(&mut chunk.clone()).is_err());
            assert_ne!(other.register_tag(&ObjectId([0; 16]), Register::Place), tag);
        }
        assert_eq!(epoch.clone().open_record(&record).unwrap(), b"inner");
        assert_eq!(epoch.suite(), Suite::Aes256Gcm);
    }

    #[test]
    fn a_record_is_no_draft_and_no_byte_can_be_changed() {
        let epoch = keys(1, 1, Suite::ChaCha20Poly1305, 1);
        let record = epoch.seal_record([9; 12], b"inner part");
        assert_eq!(epoch.open_draft(&record), Err(SealError::Forged("a draft")));
        assert_eq!(epoch.open_record(&epoch.seal_draft([9; 12], b"x")), Err(SealError::Forged("a record")));
        assert_eq!(epoch.open_draft(&epoch.seal_draft([9; 12], b"")), Ok(Vec::new()));
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert_eq!(epoch.open_record(&changed), Err(SealError::Forged("a record")), "byte {at}");
            assert!(epoch.open_record(&record[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(epoch.open_record(&record[..27]), Err(SealError::TooShort("a record", 27, 28)));
    }

    #[test]
    fn secrets_print_nothing() {
        let key = circle_key_from_entropy([0xAB; 32]);
        assert_eq!(format!("{key:?}"), "CircleKey(..)");
        let epoch = EpochKeys::derive(&CircleId([0; 32]), 1, Suite::Aes256Gcm, &key);
        assert_eq!(format!("{epoch:?}"), "EpochKeys { suite: Aes256Gcm, .. }");
    }
}

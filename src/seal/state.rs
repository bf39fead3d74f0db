//! The state key: what a node keeps of secrets at rest is sealed under it; a passphrase, where there is one, seals the
//! state key itself in a key slot.
//!
//! ```text
//! sealed secret = nonce(12) | ciphertext | tag(16)   AES-256-GCM
//! its key       = HKDF-SHA-256(salt "dustfs state 1", state key, label)
//! key slot      = the state key, sealed under Argon2id(passphrase, salt) in the same form
//! ```
//! So a passphrase is changed by rewriting one slot, and nothing that it protects is sealed anew.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{SealError, gcm};
use crate::base::limits::{PASSPHRASE_MAX, PASSPHRASE_MIN};

/// See the module. Zeroed when dropped.
#[derive(Clone)]
pub struct StateKey(Zeroizing<[u8; 32]>);

impl StateKey {
    /// The key of 32 bytes of the operating system's entropy, or of what [`Self::bytes`] gave.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself: kept where there is no passphrase, and otherwise nowhere.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals a secret that is kept as `label`. `nonce` is fresh entropy, never used before.
    pub fn seal(&self, label: &'static str, nonce: [u8; gcm::NONCE], secret: &[u8]) -> Vec<u8> {
        gcm::seal_with_nonce(&self.derive(label), nonce, secret)
    }

    /// Opens what was sealed as `label`.
    pub fn open(&self, label: &'static str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        gcm::open_with_nonce(label, &self.derive(label), sealed).map(Zeroizing::new)
    }

    fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(SALT), &self.0[..])
            .expand(label.as_bytes(), &mut key[..])
            .expect("HKDF gives 32 bytes");
        key
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateKey(..)")
    }
}

/// What somebody chose to lock a box with. Zeroed when dropped, and prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Any text; whether it may be chosen is for [`KeySlot::new`] to say.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// How long and in how much memory a passphrase is hashed: Argon2id (RFC 9106) on one lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// What a box of 64 MiB can give, and a guesser pays for each guess: a second there, a tenth of one on a computer.
    pub const BOX: Self = Self { memory_kib: 16 << 10, passes: 3 };
    /// More is not tried: a slot that asks for it was not written by us, and would take the box's memory.
    const MOST: Self = Self { memory_kib: 256 << 10, passes: 64 };
}

/// The state key, sealed under a passphrase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySlot {
    /// What opening it costs.
    pub cost: Cost,
    /// 16 bytes of entropy.
    pub salt: [u8; 16],
    /// The sealed key.
    pub sealed: Vec<u8>,
}

impl KeySlot {
    /// Seals `key` under `passphrase`; `salt` and `nonce` are the operating system's entropy.
    ///
    /// # Errors
    /// [`SealError::Passphrase`] when it is too short or too long.
    pub fn new(
        key: &StateKey,
        passphrase: &Passphrase,
        cost: Cost,
        salt: [u8; 16],
        nonce: [u8; gcm::NONCE],
    ) -> Result<Self, SealError> {
        if !(PASSPHRASE_MIN..=PASSPHRASE_MAX).contains(&passphrase.text().len()) {
            return Err(SealError::Passphrase);
        }
        let hashed = hash(passphrase, cost, &salt)?;
        let sealed = gcm::seal_with_nonce(&hashed, nonce, key.bytes());
        Ok(Self { cost, salt, sealed })
    }

    /// The state key, if this is the passphrase. Takes as long as [`Self::cost`] says.
    ///
    /// # Errors
    /// [`SealError::Forged`] when it is another, or the slot was altered; [`SealError::Cost`] when it asks for more than
    /// is tried.
    pub fn open(&self, passphrase: &Passphrase) -> Result<StateKey, SealError> {
        let hashed = hash(passphrase, self.cost, &self.salt)?;
        let opened = Zeroizing::new(gcm::open_with_nonce("the key slot", &hashed, &self.sealed)?);
        match opened.first_chunk::<32>() {
            Some(key) if opened.len() == 32 => Ok(StateKey::new(*key)),
            _ => Err(SealError::TooShort("the key slot", opened.len(), 32)),
        }
    }
}

fn hash(passphrase: &Passphrase, cost: Cost, salt: &[u8; 16]) -> Result<Zeroizing<[u8; 32]>, SealError> {
    if cost.memory_kib > Cost::MOST.memory_kib || cost.passes > Cost::MOST.passes {
        return Err(SealError::Cost);
    }
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32)).map_err(|_| SealError::Cost)?;
    let mut memory = Zeroizing::new(vec![Block::new(); params.block_count()]);
    let mut hashed = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(passphrase.text().as_bytes(), salt, &mut hashed[..], &mut memory[..])
        .map_err(|_| SealError::Passphrase)?;
    Ok(hashed)
}

const SALT: &[u8] = b"dustfs state 1";

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// Cheap, for tests.
    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };

    fn said(text: &str) -> Passphrase {
        Passphrase::new(text.into())
    }

    /// Computed by another implementation (argon2-cffi over the reference's C) from the description at the top of this
    /// file: what is sealed today must open for ever.
    #[test]
    fn a_passphrase_hashes_as_the_reference_does() {
        let hashed = hash(&said("correct horse"), Cost { memory_kib: 64, passes: 3 }, &[7; 16]).unwrap();
        assert_eq!(HEXLOWER.encode(&hashed[..]), "3f5accb64f339ccd5170385d6f4ebf501ad614dde79b27fdd8ff40d6c11bb054");
    }

    #[test]
    fn a_secret_opens_under_its_label_and_no_byte_can_be_changed() {
        let key = StateKey::new([1; 32]);
        let sealed = key.seal("a secret", [2; 12], b"seed");
        assert_eq!(key.open("a secret", &sealed).unwrap()[..], b"seed"[..]);
        assert_eq!(key.open("another", &sealed).unwrap_err(), SealError::Forged("another"));
        assert!(StateKey::new([2; 32]).open("a secret", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("a secret", &changed).is_err(), "byte {at}");
            assert!(key.open("a secret", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(format!("{key:?}"), "StateKey(..)");
        assert_eq!(format!("{:?}", said("correct horse")), "Passphrase(..)");
    }

    #[test]
    fn a_slot_opens_by_its_passphrase_alone() {
        let key = StateKey::new([3; 32]);
        let slot = KeySlot::new(&key, &said("correct horse"), CHEAP, [4; 16], [5; 12]).unwrap();
        assert_eq!(slot.open(&said("correct horse")).unwrap().bytes(), key.bytes());
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert_eq!(slot.open(&said(wrong)).unwrap_err(), SealError::Forged("the key slot"), "{wrong}");
        }
        let moved = KeySlot { salt: [6; 16], ..slot.clone() };
        assert!(moved.open(&said("correct horse")).is_err());
        let cut = KeySlot { sealed: slot.sealed[..40].to_vec(), ..slot.clone() };
        assert!(cut.open(&said("correct horse")).is_err());
        for short in ["", "1234567", &"x".repeat(PASSPHRASE_MAX + 1)] {
            let refused = KeySlot::new(&key, &said(short), CHEAP, [4; 16], [5; 12]);
            assert_eq!(refused.unwrap_err(), SealError::Passphrase);
        }
    }

    #[test]
    fn a_slot_that_asks_for_too_much_is_refused_at_once() {
        let key = StateKey::new([3; 32]);
        let slot = KeySlot::new(&key, &said("correct horse"), CHEAP, [4; 16], [5; 12]).unwrap();
        for cost in [
            Cost { memory_kib: u32::MAX, passes: 1 },
            Cost { memory_kib: 64, passes: u32::MAX },
            Cost { memory_kib: 0, passes: 1 },
            Cost { memory_kib: 64, passes: 0 },
        ] {
            let slot = KeySlot { cost, ..slot.clone() };
            assert_eq!(slot.open(&said("correct horse")).unwrap_err(), SealError::Cost, "{cost:?}");
        }
    }
}

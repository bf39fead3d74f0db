//! The file `key` of a state directory: the state key itself, or the slot that a passphrase opens.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::seal::state::Cost;
use crate::seal::{KeySlot, StateKey};
use crate::wire::record::Bytes2;
use crate::wire::{WireError, bencode};

/// What the file holds.
#[derive(Clone, Debug)]
pub enum StoredKey {
    /// There is no passphrase: the node starts unlocked.
    Plain(StateKey),
    /// There is one: the node starts locked.
    Slot(KeySlot),
}

/// Bytes of the file at most.
pub const KEY_FILE_MAX: usize = 1_024;

#[derive(Serialize, Deserialize)]
struct File {
    /// The key, where there is no passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Bytes2>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<Slot>,
    version: u8,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    memory_kib: u32,
    passes: u32,
    salt: Bytes2,
    sealed: Bytes2,
}

impl StoredKey {
    /// The file's bytes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let (key, slot) = match self {
            StoredKey::Plain(key) => (Some(Bytes2::from(&key.bytes()[..])), None),
            StoredKey::Slot(slot) => {
                let Cost { memory_kib, passes } = slot.cost;
                let (salt, sealed) = (Bytes2::from(&slot.salt[..]), Bytes2::from(&slot.sealed[..]));
                (None, Some(Slot { memory_kib, passes, salt, sealed }))
            }
        };
        Zeroizing::new(bencode::encode(&File { key, slot, version: VERSION }))
    }

    /// Reads the bytes back.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let broken = |why: &str| WireError::Malformed(WHAT, why.into());
        let file: File = bencode::decode(WHAT, bytes, KEY_FILE_MAX)?;
        if file.version != VERSION {
            return Err(broken("it is of a later program: update this one"));
        }
        match (file.key, file.slot) {
            (Some(key), None) => {
                let key = <[u8; 32]>::try_from(&key[..]).map_err(|_| broken("the key is not 32 bytes"))?;
                Ok(StoredKey::Plain(StateKey::new(key)))
            }
            (None, Some(slot)) => {
                let salt = <[u8; 16]>::try_from(&slot.salt[..]).map_err(|_| broken("the salt is not 16 bytes"))?;
                let cost = Cost { memory_kib: slot.memory_kib, passes: slot.passes };
                Ok(StoredKey::Slot(KeySlot { cost, salt, sealed: slot.sealed.into_vec() }))
            }
            _ => Err(broken("it holds not exactly one key")),
        }
    }
}

const VERSION: u8 = 1;
const WHAT: &str = "the key file";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::state::Passphrase;

    #[test]
    fn both_forms_are_read_back() {
        let key = StateKey::new([7; 32]);
        let plain = StoredKey::Plain(key.clone()).encode();
        assert_eq!(&plain[..], [&b"d3:key32:"[..], &[7; 32], b"7:versioni1ee"].concat());
        assert!(matches!(StoredKey::decode(&plain), Ok(StoredKey::Plain(read)) if read.bytes() == key.bytes()));

        let cost = Cost { memory_kib: 8, passes: 1 };
        let slot = KeySlot::new(&key, &Passphrase::new("correct horse".into()), cost, [4; 16], [5; 12]).unwrap();
        let file = StoredKey::Slot(slot.clone()).encode();
        assert!(!file.windows(32).any(|window| window == key.bytes()));
        assert!(matches!(StoredKey::decode(&file), Ok(StoredKey::Slot(read)) if read == slot));
    }

    #[test]
    fn broken_files_are_refused() {
        let plain = StoredKey::Plain(StateKey::new([7; 32])).encode();
        for cut in 0..plain.len() {
            assert!(StoredKey::decode(&plain[..cut]).is_err(), "cut at {cut}");
        }
        for broken in [
            &b"d7:versioni1ee"[..],
            b"d3:key3:abc7:versioni1ee",
            b"d3:key32:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa7:versioni2ee",
            b"d4:slotd10:memory_kibi8e6:passesi1e4:salt1:a6:sealed1:be7:versioni1ee",
        ] {
            assert!(StoredKey::decode(broken).is_err(), "{}", String::from_utf8_lossy(broken));
        }
    }
}

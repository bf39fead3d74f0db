//! Ciphers of ours: chunks, records, the key schedule, SHA-1 of pieces.
//!
//! Nothing here draws randomness: nonces and ephemeral keys are handed in as entropy of the operating system, except a
//! chunk's nonce, which follows from its plaintext. Secrets are zeroed when dropped and print nothing.

pub mod chunk;
pub mod envelope;
pub mod epoch;
mod gcm;
pub mod member;
pub mod piece;
pub mod state;

use std::fmt;

pub use chunk::{ChunkKey, Suite};
pub use epoch::{CircleKey, EpochKeys};
pub use member::{MemberSecret, TransportSecret};
pub use state::{KeySlot, StateKey};

use crate::base::limits::{PASSPHRASE_MAX, PASSPHRASE_MIN};

/// Why something does not open, or cannot be sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SealError {
    /// Shorter than its nonce and tag: what, how many bytes, the least.
    TooShort(&'static str, usize, usize),
    /// Altered, or sealed under another key: what.
    Forged(&'static str),
    /// A public key that is no point of the curve, or one to which everybody can open what is sealed.
    WeakKey,
    /// A passphrase that is too short or too long.
    Passphrase,
    /// A key slot whose cost nobody would have chosen.
    Cost,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SealError::TooShort(what, length, least) => {
                write!(f, "{what} of {length} bytes is cut short: the least is {least}")
            }
            SealError::Forged(what) => write!(f, "{what} does not open: it was altered or sealed under another key"),
            SealError::WeakKey => f.write_str("the public key is weak or not a key: ask its owner for another"),
            SealError::Passphrase => {
                write!(f, "a passphrase has {PASSPHRASE_MIN} to {PASSPHRASE_MAX} bytes: choose another")
            }
            SealError::Cost => f.write_str("the key slot asks for more time or memory than it could need"),
        }
    }
}

impl std::error::Error for SealError {}

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

use std::fmt;

pub use chunk::{ChunkKey, Suite};
pub use epoch::{CircleKey, EpochKeys};
pub use member::{MemberSecret, TransportSecret};

/// Why something does not open, or cannot be sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SealError {
    /// Shorter than its nonce and tag: what, how many bytes, the least.
    TooShort(&'static str, usize, usize),
    /// Altered, or sealed under another key: what.
    Forged(&'static str),
    /// A public key that is no point of the curve, or one to which everybody can open what is sealed.
    WeakKey,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SealError::TooShort(what, length, least) => {
                write!(f, "{what} of {length} bytes is cut short: the least is {least}")
            }
            SealError::Forged(what) => write!(f, "{what} does not open: it was altered or sealed under another key"),
            SealError::WeakKey => f.write_str("the public key is weak or not a key: ask its owner for another"),
        }
    }
}

impl std::error::Error for SealError {}

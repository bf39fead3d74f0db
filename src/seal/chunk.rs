//! Chunks, the unit of sealing: `nonce(12) | ciphertext | tag(16)`, where equal plaintexts seal to equal bytes.
//!
//! The nonce is a keyed hash of the padded plaintext, so a nonce repeats only where the whole chunk does; the tag then
//! binds the key, not the place. Which chunk stands where is bound by the body's hash of tags
//! ([`TagsHash`](super::piece::TagsHash)).

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::SealError;
use crate::base::ChunkIndex;
use crate::base::limits::{CHUNK_OVERHEAD, CHUNK_PLAIN, CHUNK_SEALED, UNIT};

/// The cipher of an epoch's chunks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Suite {
    /// AES-256-GCM, for CPUs with AES instructions.
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439), three times faster where there are none.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// The suite that an epoch statement names, if this node knows it.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Suite::Aes256Gcm),
            2 => Some(Suite::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Its number in an epoch statement.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// The keys by which an epoch's chunks are sealed. Zeroed when dropped.
pub struct ChunkKey {
    suite: Suite,
    cipher: Zeroizing<[u8; 32]>,
    nonce: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl ChunkKey {
    /// Keys of the cipher and of the nonces, both derived from an epoch.
    pub(super) fn new(suite: Suite, cipher: Zeroizing<[u8; 32]>, nonce: Zeroizing<[u8; 32]>) -> Self {
        Self { suite, cipher, nonce }
    }

    /// Appends the sealed chunk to `out`: `plaintext`, padded with zeros to `sealed_length` - 28 bytes.
    ///
    /// # Panics
    /// When `plaintext` does not fit: callers take the length from [`sealed_chunk_length`] or [`chunk_span`].
    pub fn seal(&self, plaintext: &[u8], sealed_length: usize, out: &mut Vec<u8>) {
        assert!(plaintext.len() + CHUNK_OVERHEAD <= sealed_length, "the plaintext does not fit its chunk");
        assert!(sealed_length <= CHUNK_SEALED, "no chunk is longer than a full one");
        let start = out.len();
        let body = start + NONCE;
        out.reserve(sealed_length);
        out.resize(body, 0);
        out.extend_from_slice(plaintext);
        out.resize(start + sealed_length - TAG, 0);
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&blake3::keyed_hash(&self.nonce, &out[body..]).as_bytes()[..NONCE]);
        out[start..body].copy_from_slice(&nonce);
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut out[body..])
            .expect("a chunk is shorter than any cipher's limit");
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens a whole sealed chunk in place: its plaintext with the padding.
    pub fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        let length = sealed.len();
        let Some((nonce, body)) = sealed.split_first_chunk_mut::<NONCE>().filter(|(_, body)| body.len() >= TAG) else {
            return Err(SealError::TooShort("a chunk", length, CHUNK_OVERHEAD));
        };
        self.cipher()
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), body)
            .map_err(|_| SealError::Forged("a chunk"))
    }

    // Made anew for each chunk, because ring does not zero its keys; 64 KiB of work hide what that costs.
    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(self.suite.algorithm(), &self.cipher[..]).expect("both ciphers take 32 bytes");
        LessSafeKey::new(key)
    }
}

/// Sealed bytes of a chunk of `plain` bytes: the next multiple of 4,096 that holds it with nonce and tag.
///
/// # Panics
/// When `plain` is more than a full chunk's.
pub fn sealed_chunk_length(plain: usize) -> usize {
    assert!(plain <= CHUNK_PLAIN, "no chunk holds more than a full one");
    (plain + CHUNK_OVERHEAD).next_multiple_of(UNIT)
}

/// Sealed bytes of a whole file of `file_size` bytes; none for an empty file.
pub fn sealed_length(file_size: u64) -> u64 {
    let (full, rest) = (file_size / CHUNK_PLAIN as u64, (file_size % CHUNK_PLAIN as u64) as usize);
    full * CHUNK_SEALED as u64 + if rest == 0 { 0 } else { sealed_chunk_length(rest) as u64 }
}

/// Chunks of a file of `file_size` bytes, which is at most [`FILE_MAX`](crate::base::limits::FILE_MAX).
pub fn chunk_count(file_size: u64) -> u32 {
    u32::try_from(file_size.div_ceil(CHUNK_PLAIN as u64)).expect("the largest file has fewer than 2^32 chunks")
}

/// Plaintext and sealed bytes of one chunk of a file of `file_size` bytes; zeros for a chunk past its end.
pub fn chunk_span(file_size: u64, chunk: ChunkIndex) -> (usize, usize) {
    let before = u64::from(chunk.0) * CHUNK_PLAIN as u64;
    match file_size.saturating_sub(before).min(CHUNK_PLAIN as u64) as usize {
        0 => (0, 0),
        plain => (plain, sealed_chunk_length(plain)),
    }
}

const NONCE: usize = 12;
const TAG: usize = 16;

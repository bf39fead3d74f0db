//! AES-256-GCM (NIST SP 800-38D) in the form `ciphertext | tag(16)`, for records, drafts and envelopes.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};

use super::SealError;

/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;

/// Encrypts what stands in `out` from `start` on and appends the tag. A nonce may serve one plaintext per key.
pub(super) fn seal(key: &[u8; 32], nonce: &[u8; NONCE], out: &mut Vec<u8>, start: usize) {
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(nonce.into(), b"", InOutBuf::from(&mut out[start..]))
        .expect("records are shorter than the cipher's 64 GiB");
    out.extend_from_slice(&tag);
}

/// The plaintext of `ciphertext | tag`, which is `what`.
pub(super) fn open(
    what: &'static str,
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    sealed: &[u8],
) -> Result<Vec<u8>, SealError> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(SealError::TooShort(what, sealed.len(), TAG))?;
    let mut plaintext = ciphertext.to_vec();
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(nonce.into(), b"", InOutBuf::from(&mut plaintext[..]), tag.into())
        .map_err(|_| SealError::Forged(what))?;
    Ok(plaintext)
}

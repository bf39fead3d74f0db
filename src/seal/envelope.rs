//! Sealing to one member: X25519 (RFC 7748) with the member's Ed25519 key in its Montgomery form, then AES-256-GCM.
//!
//! ```text
//! envelope = ephemeral public key(32) | ciphertext | tag(16)
//! key(32) nonce(12) = HKDF-SHA-256(salt "dustfs envelope 1", shared secret, ephemeral key | member key)
//! ```
//! An envelope proves nothing about who sealed it: what carries it is signed.

use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::VerifyingKey;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::member::MemberSecret;
use super::{SealError, gcm};
use crate::base::MemberKey;

/// Seals `plaintext` so that only `member` can open it. `entropy` is the operating system's, fresh for each envelope.
/// Fails when `member` is a weak key.
pub fn seal_to(member: &MemberKey, entropy: [u8; 32], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    let entropy = Zeroizing::new(entropy);
    let point = VerifyingKey::from_bytes(&member.0).map_err(|_| SealError::WeakKey)?;
    if point.is_weak() {
        return Err(SealError::WeakKey);
    }
    let ephemeral = MontgomeryPoint::mul_base_clamped(*entropy).to_bytes();
    let (key, nonce) = agree(point.to_montgomery(), &entropy, &ephemeral, member)?;
    let mut out = Vec::with_capacity(KEY + plaintext.len() + gcm::TAG);
    out.extend_from_slice(&ephemeral);
    out.extend_from_slice(plaintext);
    gcm::seal(&key, &nonce, &mut out, KEY);
    Ok(out)
}

/// Opens an envelope that was sealed to `secret`'s public key.
pub fn open(secret: &MemberSecret, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    const WHAT: &str = "an envelope";
    let Some((ephemeral, rest)) = sealed.split_first_chunk::<KEY>().filter(|(_, rest)| rest.len() >= gcm::TAG) else {
        return Err(SealError::TooShort(WHAT, sealed.len(), KEY + gcm::TAG));
    };
    let scalar = Zeroizing::new(secret.to_scalar_bytes());
    let (key, nonce) = agree(MontgomeryPoint(*ephemeral), &scalar, ephemeral, &secret.public())?;
    gcm::open(WHAT, &key, &nonce, rest)
}

/// The key and nonce of an envelope, from one side's scalar and the other's point.
fn agree(
    point: MontgomeryPoint,
    scalar: &[u8; 32],
    ephemeral: &[u8; 32],
    member: &MemberKey,
) -> Result<(Zeroizing<[u8; 32]>, [u8; gcm::NONCE]), SealError> {
    let shared = Zeroizing::new(point.mul_clamped(*scalar).to_bytes());
    // All zeros come from a point of low order, whoever's scalar it was (RFC 7748, section 6.1).
    if *shared == [0; 32] {
        return Err(SealError::WeakKey);
    }
    let mut derived = Zeroizing::new([0; 32 + gcm::NONCE]);
    Hkdf::<Sha256>::new(Some(SALT), &shared[..])
        .expand_multi_info(&[ephemeral, &member.0], &mut derived[..])
        .expect("HKDF gives 44 bytes");
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&derived[..32]);
    let mut nonce = [0; gcm::NONCE];
    nonce.copy_from_slice(&derived[32..]);
    Ok((key, nonce))
}

const KEY: usize = 32;
const SALT: &[u8] = b"dustfs envelope 1";

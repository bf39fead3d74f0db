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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    /// RFC 7748, section 5.2.
    #[test]
    fn known_answer_of_x25519() {
        let hex = |text: &str| -> [u8; 32] { HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap() };
        let scalar = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let point = MontgomeryPoint(hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"));
        let expected = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(point.mul_clamped(scalar).to_bytes(), expected);
    }

    /// Computed by another implementation (Python's cryptography) from the description at the top of this file.
    #[test]
    fn the_form_stays_as_it_is() {
        let secret = MemberSecret::from_seed([6; 32]);
        let sealed = seal_to(&secret.public(), [7; 32], b"secret").unwrap();
        assert_eq!(
            HEXLOWER.encode(&sealed),
            concat!(
                "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d",
                "b4f20a4bd6557a69693afee13f32098dc90c22795bb7",
            )
        );
        assert_eq!(open(&secret, &sealed).unwrap(), b"secret");
    }

    #[test]
    fn only_the_member_opens_and_no_byte_can_be_changed() {
        let (ours, theirs) = (MemberSecret::from_seed([1; 32]), MemberSecret::from_seed([2; 32]));
        let sealed = seal_to(&ours.public(), [3; 32], &[0xAB; 32]).unwrap();
        assert_eq!(open(&theirs, &sealed), Err(SealError::Forged("an envelope")));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&ours, &changed), Err(SealError::Forged("an envelope")), "byte {at}");
            assert!(open(&ours, &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(open(&ours, &sealed[..47]), Err(SealError::TooShort("an envelope", 47, 48)));
        assert_ne!(sealed, seal_to(&ours.public(), [4; 32], &[0xAB; 32]).unwrap());
    }

    #[test]
    fn points_of_low_order_are_refused_on_both_sides() {
        let order_four = [0; 32];
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut order_two = [0xFF; 32];
        (order_two[0], order_two[31]) = (0xEC, 0x7F);
        for weak in [identity, order_two, order_four] {
            assert_eq!(seal_to(&MemberKey(weak), [3; 32], b"x"), Err(SealError::WeakKey));
        }
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert_eq!(seal_to(&MemberKey(no_point), [3; 32], b"x"), Err(SealError::WeakKey));

        let secret = MemberSecret::from_seed([1; 32]);
        for low in [[0; 32], identity] {
            assert_eq!(open(&secret, &[&low[..], &[0; 16]].concat()), Err(SealError::WeakKey));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_sealed_opens(
            seed: [u8; 32], entropy: [u8; 32], plaintext in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let secret = MemberSecret::from_seed(seed);
            let sealed = seal_to(&secret.public(), entropy, &plaintext).unwrap();
            prop_assert_eq!(open(&secret, &sealed).unwrap(), plaintext);
        }

        #[test]
        fn garbage_is_refused(
            member: [u8; 32], garbage in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            prop_assert!(open(&MemberSecret::from_seed([1; 32]), &garbage).is_err());
            let _ = seal_to(&MemberKey(member), [1; 32], &garbage);
        }
    }
}

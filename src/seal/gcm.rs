//! AES-256-GCM (NIST SP 800-38D) in the form `ciphertext | tag(16)`, for records, drafts and envelopes.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::SealError;

/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;
/// Bytes of a tag.
pub(super) const TAG: usize = 16;

/// Encrypts what stands in `out` from `start` on and appends the tag. A nonce may serve one plaintext per key.
pub(super) fn seal(key: &[u8; 32], nonce: &[u8; NONCE], out: &mut Vec<u8>, start: usize) {
    let tag = cipher(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut out[start..])
        .expect("records are shorter than the cipher's 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

/// The plaintext of `ciphertext | tag`, which is `what`.
pub(super) fn open(
    what: &'static str,
    key: &[u8; 32],
    nonce: &[u8; NONCE],
    sealed: &[u8],
) -> Result<Vec<u8>, SealError> {
    if sealed.len() < TAG {
        return Err(SealError::TooShort(what, sealed.len(), TAG));
    }
    let mut plaintext = sealed.to_vec();
    cipher(key)
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut plaintext)
        .map_err(|_| SealError::Forged(what))?;
    plaintext.truncate(sealed.len() - TAG);
    Ok(plaintext)
}

/// Seals as `nonce | ciphertext | tag`.
pub(super) fn seal_with_nonce(key: &[u8; 32], nonce: [u8; NONCE], plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(NONCE + plaintext.len() + TAG);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    seal(key, &nonce, &mut out, NONCE);
    out
}

/// Opens what [`seal_with_nonce`] made, which is `what`.
pub(super) fn open_with_nonce(what: &'static str, key: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    match sealed.split_first_chunk::<NONCE>() {
        Some((nonce, rest)) if rest.len() >= TAG => open(what, key, nonce, rest),
        _ => Err(SealError::TooShort(what, sealed.len(), NONCE + TAG)),
    }
}

// Made anew each time, because ring does not zero its keys.
fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the cipher takes 32 bytes"))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    /// Test cases 14 and 15 of the specification that NIST took over (McGrew and Viega, appendix B).
    #[test]
    fn known_answers() {
        let mut out = vec![0; 16];
        seal(&[0; 32], &[0; 12], &mut out, 0);
        assert_eq!(HEXLOWER.encode(&out), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");

        let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = hex("cafebabefacedbaddecaf888");
        let plaintext: [u8; 64] = hex(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        ));
        let mut out = plaintext.to_vec();
        seal(&key, &nonce, &mut out, 0);
        assert_eq!(
            HEXLOWER.encode(&out),
            concat!(
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
                "b094dac5d93471bdec1a502270e3cc6c",
            )
        );
        assert_eq!(open("x", &key, &nonce, &out).unwrap(), plaintext);
    }

    #[test]
    fn what_stands_before_is_left_alone() {
        let mut out = b"before".to_vec();
        seal(&[0; 32], &[0; 12], &mut out, 6);
        assert!(out.starts_with(b"before") && out.len() == 6 + TAG);
        assert_eq!(open("x", &[0; 32], &[0; 12], &out[6..]), Ok(Vec::new()));
        assert_eq!(open("x", &[0; 32], &[0; 12], &out[7..]), Err(SealError::TooShort("x", 15, 16)));
    }
}

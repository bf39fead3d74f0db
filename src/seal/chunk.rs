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
        out.reserve(sealed_length);
        out.resize(start + NONCE, 0);
        out.extend_from_slice(plaintext);
        out.resize(start + sealed_length, 0);
        self.seal_in_place(&mut out[start..]);
    }

    /// Seals a chunk whose padded plaintext lies where [`ChunkKey::open`] leaves it.
    ///
    /// # Panics
    /// When it is shorter than a nonce and a tag.
    pub fn seal_in_place(&self, chunk: &mut [u8]) {
        let (rest, tag_place) = chunk.split_last_chunk_mut::<TAG>().expect("a chunk has a tag");
        let (nonce_place, body) = rest.split_first_chunk_mut::<NONCE>().expect("a chunk has a nonce");
        nonce_place.copy_from_slice(&blake3::keyed_hash(&self.nonce, body).as_bytes()[..NONCE]);
        let nonce = Nonce::assume_unique_for_key(*nonce_place);
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(nonce, Aad::empty(), body)
            .expect("a chunk is shorter than any cipher's limit");
        tag_place.copy_from_slice(tag.as_ref());
    }

    /// Opens a whole sealed chunk in place: its plaintext with the padding.
    pub fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        let length = sealed.len();
        let Some((nonce, body)) = sealed.split_first_chunk_mut::<NONCE>() else {
            return Err(SealError::TooShort("a chunk", length, CHUNK_OVERHEAD));
        };
        self.open_parts(*nonce, body)
    }

    /// The same of a chunk whose nonce was read apart from the rest.
    pub fn open_parts<'a>(&self, nonce: [u8; NONCE], rest: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        if rest.len() < TAG {
            return Err(SealError::TooShort("a chunk", NONCE + rest.len(), CHUNK_OVERHEAD));
        }
        self.cipher()
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), rest)
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

#[cfg(test)]
mod tests {
    use aes_gcm::aead::inout::InOutBuf;
    use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

    fn key(suite: Suite, seed: u8) -> ChunkKey {
        ChunkKey::new(suite, [seed; 32].into(), [!seed; 32].into())
    }

    fn sealed(key: &ChunkKey, plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        key.seal(plaintext, sealed_chunk_length(plaintext.len()), &mut out);
        out
    }

    /// RFC 8439, section 2.8.2.
    #[test]
    fn known_answer_of_chacha20_poly1305() {
        let key: Vec<u8> = (0x80..=0x9f).collect();
        let key = LessSafeKey::new(UnboundKey::new(Suite::ChaCha20Poly1305.algorithm(), &key).unwrap());
        let nonce = Nonce::assume_unique_for_key(*b"\x07\0\0\0\x40\x41\x42\x43\x44\x45\x46\x47");
        let aad = Aad::from(b"\x50\x51\x52\x53\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7");
        let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                         sunscreen would be it."
            .to_vec();
        key.seal_in_place_append_tag(nonce, aad, &mut text).unwrap();
        assert_eq!(
            HEXLOWER.encode(&text),
            concat!(
                "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6",
                "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36",
                "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc",
                "3ff4def08e4b7a9de576d26586cec64b6116",
                "1ae10b594f09e26a7e902ecbd0600691",
            )
        );
    }

    /// The first keyed case of BLAKE3's own test vectors.
    #[test]
    fn known_answer_of_blake3() {
        let hash = blake3::keyed_hash(b"whats the Elvish word for friend", b"");
        assert_eq!(hash.to_hex().as_str(), "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26");
    }

    /// The aes-gcm crate must be able to take ring's place where it is the faster.
    #[test]
    fn two_implementations_give_the_same_bytes() {
        for length in [1, 4_068, 4_069, CHUNK_PLAIN] {
            let plaintext: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let key = key(Suite::Aes256Gcm, 3);
            let ours = sealed(&key, &plaintext);
            let mut theirs = plaintext.clone();
            theirs.resize(ours.len() - CHUNK_OVERHEAD, 0);
            let nonce: [u8; NONCE] = blake3::keyed_hash(&[!3; 32], &theirs).as_bytes()[..NONCE].try_into().unwrap();
            let tag = Aes256Gcm::new(&[3; 32].into())
                .encrypt_inout_detached(&nonce.into(), b"", InOutBuf::from(&mut theirs[..]))
                .unwrap();
            assert_eq!(ours, [&nonce[..], &theirs, &tag].concat(), "{length}");
        }
    }

    #[test]
    fn lengths_at_the_edges() {
        for (plain, sealed) in [(0, 4_096), (1, 4_096), (4_068, 4_096), (4_069, 8_192), (65_508, 65_536)] {
            assert_eq!(sealed_chunk_length(plain), sealed, "{plain}");
            for suite in SUITES {
                let key = key(suite, 1);
                let plaintext = vec![0xAB; plain];
                let mut out = b"before".to_vec();
                key.seal(&plaintext, sealed, &mut out);
                assert_eq!(out.len(), 6 + sealed);
                let opened = key.open(&mut out[6..]).unwrap();
                assert_eq!(opened.len(), sealed - CHUNK_OVERHEAD);
                assert!(opened.starts_with(&plaintext) && opened[plain..].iter().all(|byte| *byte == 0));
            }
        }
        for (size, chunks, sealed) in [
            (0, 0, 0),
            (1, 1, 4_096),
            (65_508, 1, 65_536),
            (65_509, 2, 69_632),
            (131_016, 2, 131_072),
            (crate::base::limits::FILE_MAX, 4_194_304, 1 << 38),
        ] {
            assert_eq!((chunk_count(size), sealed_length(size)), (chunks, sealed), "{size}");
            assert_eq!(chunk_span(size, ChunkIndex(chunks)), (0, 0), "past the end");
        }
        assert_eq!(chunk_span(65_509, ChunkIndex(0)), (65_508, 65_536));
        assert_eq!(chunk_span(65_509, ChunkIndex(1)), (1, 4_096));
        assert_eq!(chunk_span(u64::MAX, ChunkIndex(u32::MAX)), (65_508, 65_536));
    }

    #[test]
    fn no_byte_can_be_changed() {
        for suite in SUITES {
            let key = key(suite, 1);
            let whole = sealed(&key, &[5; 4_068]);
            for at in [0, 5, 11, 12, 13, 2_000, 4_079, 4_080, 4_095] {
                let mut changed = whole.clone();
                changed[at] ^= 0x80;
                assert_eq!(key.open(&mut changed), Err(SealError::Forged("a chunk")), "byte {at}");
            }
            assert_eq!(key.open(&mut whole[..4_095].to_vec()), Err(SealError::Forged("a chunk")));
            assert_eq!(key.open(&mut whole[..27].to_vec()), Err(SealError::TooShort("a chunk", 27, 28)));
            assert_eq!(key.open(&mut []), Err(SealError::TooShort("a chunk", 0, 28)));
            assert_eq!(super::tests::key(suite, 2).open(&mut whole.clone()), Err(SealError::Forged("a chunk")));
        }
        let other = key(Suite::ChaCha20Poly1305, 1).open(&mut sealed(&key(Suite::Aes256Gcm, 1), b"x")).is_err();
        assert!(other, "the other suite with the same key");
    }

    #[test]
    fn suites_keep_their_numbers_and_keys_print_nothing() {
        assert_eq!(SUITES.map(Suite::number), [1, 2]);
        for number in 0..=u8::MAX {
            let known = SUITES.into_iter().find(|suite| suite.number() == number);
            assert_eq!(Suite::from_number(number), known);
        }
        assert_eq!(format!("{:?}", key(Suite::Aes256Gcm, 1)), "ChunkKey { suite: Aes256Gcm, .. }");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn equal_plaintexts_seal_equal_and_others_do_not(
            plaintext in proptest::collection::vec(any::<u8>(), 1..9_000), at: prop::sample::Index
        ) {
            for suite in SUITES {
                let key = key(suite, 1);
                let once = sealed(&key, &plaintext);
                prop_assert_eq!(&once, &sealed(&key, &plaintext));
                let mut other = plaintext.clone();
                other[at.index(plaintext.len())] ^= 1;
                let other = sealed(&key, &other);
                prop_assert_ne!(&once[..NONCE], &other[..NONCE], "another nonce for another plaintext");
                let mut opened = once.clone();
                prop_assert_eq!(&key.open(&mut opened).unwrap()[..plaintext.len()], &plaintext[..]);
            }
        }

        #[test]
        fn spans_add_up(size in 0..20_000_000_u64) {
            let spans: Vec<_> = (0..chunk_count(size)).map(|chunk| chunk_span(size, ChunkIndex(chunk))).collect();
            prop_assert_eq!(spans.iter().map(|span| span.0 as u64).sum::<u64>(), size);
            prop_assert_eq!(spans.iter().map(|span| span.1 as u64).sum::<u64>(), sealed_length(size));
            prop_assert!(spans.iter().all(|(plain, sealed)| plain + CHUNK_OVERHEAD <= *sealed && sealed % UNIT == 0));
        }

        #[test]
        fn garbage_does_not_open(mut garbage in proptest::collection::vec(any::<u8>(), 0..5_000)) {
            prop_assert!(key(Suite::Aes256Gcm, 1).open(&mut garbage).is_err());
            prop_assert!(key(Suite::ChaCha20Poly1305, 1).open(&mut garbage).is_err());
        }
    }
}

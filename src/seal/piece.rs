//! Hashes over sealed bytes: SHA-1 of a piece (BEP 3), and SHA-256 over the tags of a body's chunks.

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// SHA-1 of a piece that lies in several blocks.
pub fn sha1<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> [u8; 20] {
    let mut hash = PieceHash::default();
    blocks.into_iter().for_each(|block| hash.update(block));
    hash.finish()
}

/// SHA-1 of a piece, block by block. Its author can make two pieces of one SHA-1, which is why bodies name
/// [`TagsHash`] besides.
#[derive(Clone, Default)]
pub struct PieceHash(Sha1);

impl PieceHash {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes taken.
    pub fn finish(self) -> [u8; 20] {
        self.0.finalize().into()
    }
}

/// SHA-256 over the tags of all chunks in order, which binds a body's content and the order of its chunks.
#[derive(Clone, Default)]
pub struct TagsHash(Sha256);

impl TagsHash {
    /// Takes the next chunk's tag.
    pub fn update(&mut self, tag: &[u8; 16]) {
        self.0.update(tag);
    }

    /// Takes the next chunk's tag from the end of its sealed bytes; false when they are too short to have one.
    #[must_use]
    pub fn update_chunk(&mut self, sealed: &[u8]) -> bool {
        sealed.last_chunk::<16>().map(|tag| self.update(tag)).is_some()
    }

    /// The hash of all tags taken.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    /// RFC 3174, section 7.3, test 1, and FIPS 180-2, appendix B.1.
    #[test]
    fn known_answers() {
        assert_eq!(HEXLOWER.encode(&sha1([&b"abc"[..]])), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let sha256 = HEXLOWER.encode(&Sha256::digest(b"abc"));
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn tags_are_the_ends_of_chunks_in_order() {
        let (one, two) = ([1; 4_096], [2; 8_192]);
        let mut hash = TagsHash::default();
        assert!(hash.update_chunk(&one) && hash.update_chunk(&two));
        let mut same = TagsHash::default();
        same.update(&[1; 16]);
        same.update(&[2; 16]);
        assert_eq!(hash.clone().finish(), same.finish());
        assert_eq!(hash.clone().finish(), <[u8; 32]>::from(Sha256::digest([[1; 16], [2; 16]].concat())));
        let mut swapped = TagsHash::default();
        assert!(swapped.update_chunk(&two) && swapped.update_chunk(&one));
        assert_ne!(hash.finish(), swapped.finish());
        assert!(!TagsHash::default().update_chunk(&[0; 15]));
    }

    proptest! {
        #[test]
        fn blocks_may_be_cut_anywhere(
            piece in proptest::collection::vec(any::<u8>(), 0..2_000), length in 1..500_usize
        ) {
            prop_assert_eq!(sha1(piece.chunks(length)), sha1([&piece[..]]));
        }
    }
}

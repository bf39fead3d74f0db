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

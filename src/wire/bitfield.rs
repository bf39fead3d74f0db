//! Which pieces of a torrent somebody has, as BEP 3 sends it: the first piece is the highest bit of the first byte.

use super::WireError;
use crate::base::PieceIndex;

/// A set of a torrent's pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bitfield {
    bits: Vec<u8>,
    len: u32,
    count: u32,
}

impl Bitfield {
    /// No piece of a torrent of `len` pieces.
    pub fn new(len: u32) -> Self {
        Self { bits: vec![0; len.div_ceil(8) as usize], len, count: 0 }
    }

    /// Every piece of a torrent of `len` pieces.
    pub fn full(len: u32) -> Self {
        let mut bits = vec![0xFF; len.div_ceil(8) as usize];
        if let Some(last) = bits.last_mut() {
            *last &= !spare_bits(len);
        }
        Self { bits, len, count: len }
    }

    /// The pieces in a peer's bitfield. It must be exactly as long as `len` pieces need, its spare bits zero (BEP 3).
    pub fn from_bytes(bytes: &[u8], len: u32) -> Result<Self, WireError> {
        let refuse = |why: &str| Err(WireError::Malformed("a bitfield", why.into()));
        if bytes.len() != len.div_ceil(8) as usize {
            return refuse("its length is not the torrent's");
        }
        if bytes.last().is_some_and(|last| last & spare_bits(len) != 0) {
            return refuse("its spare bits are set");
        }
        Ok(Self { bits: bytes.to_vec(), len, count: bytes.iter().map(|byte| byte.count_ones()).sum() })
    }

    /// Adds a piece; true when it was not there.
    ///
    /// # Panics
    /// When the torrent has no such piece: indices are minted by [`Metainfo::piece`](super::metainfo::Metainfo::piece).
    pub fn set(&mut self, piece: PieceIndex) -> bool {
        let new = !self.has(piece);
        let (byte, bit) = self.place(piece);
        self.bits[byte] |= bit;
        self.count += u32::from(new);
        new
    }

    /// Takes a piece out; true when it was there.
    ///
    /// # Panics
    /// As [`Bitfield::set`].
    pub fn clear(&mut self, piece: PieceIndex) -> bool {
        let old = self.has(piece);
        let (byte, bit) = self.place(piece);
        self.bits[byte] &= !bit;
        self.count -= u32::from(old);
        old
    }

    /// True when the piece is there; false for one that the torrent does not have.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.bits.get(piece.0 as usize / 8).is_some_and(|byte| byte & bit(piece) != 0)
    }

    /// Pieces that are there.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Pieces of the torrent.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True when no piece is there.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// True when every piece is there.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// The pieces that are there, in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        self.bits.iter().zip(0..).flat_map(|(byte, at)| {
            (0..8).filter(move |shift| byte & (0x80 >> shift) != 0).map(move |shift| PieceIndex(at * 8 + shift))
        })
    }

    /// The bytes for a peer.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn place(&self, piece: PieceIndex) -> (usize, u8) {
        assert!(piece.0 < self.len, "an index is minted by its torrent");
        (piece.0 as usize / 8, bit(piece))
    }
}

fn bit(piece: PieceIndex) -> u8 {
    0x80 >> (piece.0 % 8)
}

/// The bits of the last byte that belong to no piece.
fn spare_bits(len: u32) -> u8 {
    match len % 8 {
        0 => 0,
        used => 0xFF >> used,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_piece_is_the_highest_bit() {
        let mut bits = Bitfield::new(10);
        assert!(bits.set(PieceIndex(0)) && bits.set(PieceIndex(9)) && !bits.set(PieceIndex(9)));
        assert_eq!(bits.as_bytes(), [0x80, 0x40]);
        assert_eq!(Bitfield::full(10).as_bytes(), [0xFF, 0xC0]);
        assert_eq!(Bitfield::full(8).as_bytes(), [0xFF]);
        assert_eq!(Bitfield::full(0), Bitfield::new(0));
    }

    #[test]
    fn wrong_lengths_and_spare_bits_are_refused() {
        assert!(Bitfield::from_bytes(&[0xFF, 0xC0], 10).unwrap().is_full());
        for (bytes, len) in [(&[0xFF, 0xE0][..], 10), (&[0xFF, 0x01], 10), (&[0xFF], 10), (&[0; 3], 10), (&[0], 0)] {
            assert!(Bitfield::from_bytes(bytes, len).is_err(), "{bytes:?} {len}");
        }
        assert!(Bitfield::from_bytes(&[], 0).is_ok());
        assert!(!Bitfield::full(10).has(PieceIndex(10)) && !Bitfield::full(10).has(PieceIndex(u32::MAX)));
    }

    #[test]
    #[should_panic(expected = "an index is minted by its torrent")]
    fn an_index_of_another_torrent_is_our_own_mistake() {
        Bitfield::new(10).set(PieceIndex(10));
    }

    proptest! {
        #[test]
        fn it_is_a_set(len in 1..200_u32, steps in proptest::collection::vec((any::<bool>(), any::<u32>()), 0..300)) {
            let (mut bits, mut model) = (Bitfield::new(len), BTreeSet::new());
            for (set, piece) in steps {
                let piece = PieceIndex(piece % len);
                if set {
                    prop_assert_eq!(bits.set(piece), model.insert(piece));
                } else {
                    prop_assert_eq!(bits.clear(piece), model.remove(&piece));
                }
                prop_assert_eq!(bits.has(piece), set);
            }
            prop_assert_eq!(bits.count() as usize, model.len());
            prop_assert_eq!(bits.is_full(), model.len() == len as usize);
            prop_assert_eq!(bits.is_empty(), model.is_empty());
            prop_assert_eq!(Bitfield::from_bytes(bits.as_bytes(), len).unwrap(), bits.clone());
            prop_assert!(bits.iter().eq(model));
        }
    }
}

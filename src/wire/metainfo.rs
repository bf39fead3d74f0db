//! A torrent's metainfo (BEP 3), as our own torrents have it: one file of sealed bytes, private, with a root.
//!
//! Two torrents of one circle differ in [`PublicInfo`] only, so records carry that and a node adds the rest.

use bytes::Bytes;
use serde::Serialize;
use sha1::{Digest, Sha1};

use super::record::{Bytes2, PublicInfo};
use super::{WireError, bencode};
use crate::base::limits::PIECES;
use crate::base::{InfoHash, PieceIndex};

/// The least bytes per piece of our own torrents: one full chunk.
pub const PIECE_LENGTH_MIN: u32 = 65_536;
/// The most bytes per piece of our own torrents.
pub const PIECE_LENGTH_MAX: u32 = 4_194_304;

/// The lengths and hashes of one torrent, checked against each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metainfo {
    /// Sealed bytes, at least 1.
    pub length: u64,
    /// Bytes per piece but the last: a power of two from 64 KiB to 4 MiB.
    pub piece_length: u32,
    /// SHA-1 of each piece, 20 bytes each.
    pub pieces: Bytes,
}

#[derive(Serialize)]
struct InfoWire<'a> {
    length: u64,
    name: &'a str,
    #[serde(rename = "piece length")]
    piece_length: u32,
    #[serde(with = "serde_bytes")]
    pieces: &'a [u8],
    private: u8,
    #[serde(rename = "ssl-cert")]
    root: &'a str,
}

impl Metainfo {
    /// Checks lengths and hashes against each other. Every `Metainfo` is made here.
    pub fn new(length: u64, piece_length: u32, pieces: Bytes) -> Result<Self, WireError> {
        let refuse = |why: &str| Err(WireError::Malformed("a torrent", why.into()));
        if length == 0 {
            return refuse("it has no bytes");
        }
        if !piece_length.is_power_of_two() || !(PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX).contains(&piece_length) {
            return refuse("its piece length is no power of two from 64 KiB to 4 MiB");
        }
        let count = length.div_ceil(piece_length.into());
        if count > PIECES as u64 {
            return Err(WireError::OverLimit(
                "a torrent's pieces",
                usize::try_from(count).unwrap_or(usize::MAX),
                PIECES,
            ));
        }
        if pieces.len() as u64 != count * SHA1 as u64 {
            return refuse("it has not one hash for each piece");
        }
        Ok(Self { length, piece_length, pieces })
    }

    /// The torrent of a record's public part.
    pub fn from_public(info: &PublicInfo) -> Result<Self, WireError> {
        Self::new(info.length, info.piece_length, Bytes::copy_from_slice(&info.pieces))
    }

    /// What a record's public part says of this torrent.
    pub fn to_public(&self) -> PublicInfo {
        PublicInfo {
            base: None,
            length: self.length,
            piece_length: self.piece_length,
            pieces: Bytes2::from(&self.pieces[..]),
        }
    }

    /// Pieces, at least 1.
    pub fn piece_count(&self) -> u32 {
        (self.pieces.len() / SHA1) as u32
    }

    /// The piece with this number, if the torrent has it: the way from a peer's number to an index.
    pub fn piece(&self, number: u32) -> Option<PieceIndex> {
        (number < self.piece_count()).then_some(PieceIndex(number))
    }

    /// Bytes of a piece; only the last may be shorter than the others. `piece` is of this torrent.
    pub fn piece_size(&self, piece: PieceIndex) -> u32 {
        let before = u64::from(piece.0) * u64::from(self.piece_length);
        self.length.saturating_sub(before).min(self.piece_length.into()) as u32
    }

    /// What a piece must hash to. `piece` is of this torrent.
    pub fn piece_hash(&self, piece: PieceIndex) -> [u8; SHA1] {
        let hash = self.pieces.chunks_exact(SHA1).nth(piece.0 as usize).expect("an index is minted by its torrent");
        hash.try_into().expect("cut to its length")
    }

    /// The info dictionary. `root_pem` is the circle's root certificate (libtorrent's SSL torrents).
    pub fn info_dictionary(&self, root_pem: &str) -> Vec<u8> {
        bencode::encode(&InfoWire {
            length: self.length,
            name: NAME,
            piece_length: self.piece_length,
            pieces: &self.pieces,
            private: 1,
            root: root_pem,
        })
    }

    /// SHA-1 of the info dictionary.
    pub fn info_hash(&self, root_pem: &str) -> InfoHash {
        InfoHash(Sha1::digest(self.info_dictionary(root_pem)).into())
    }
}

/// A `.torrent` file for stock clients, whose trackers are asked in any order (BEP 12). `announce` names one at least.
pub fn torrent_file(metainfo: &Metainfo, root_pem: &str, announce: &[String]) -> Vec<u8> {
    let first = bencode::encode(&announce.first());
    let tiers = bencode::encode(&[announce]);
    let info = metainfo.info_dictionary(root_pem);
    [b"d8:announce", &first[..], b"13:announce-list", &tiers, b"4:info", &info, b"e"].concat()
}

/// The piece length for a body of `sealed_bytes`, whose earlier version had `predecessor`: that one while it gives no
/// more than 16,000 pieces, so that unchanged pieces keep their hashes; else the least power of two from 64 KiB that
/// gives fewer than 4,000 pieces, but over 1 MiB, and to 4 MiB, only where there would be more than 16,000.
pub fn piece_length_for(sealed_bytes: u64, predecessor: Option<u32>) -> u32 {
    let pieces = |length: u32| sealed_bytes.div_ceil(length.into());
    if let Some(length) = predecessor.filter(|length| pieces(*length) <= PIECES_KEPT) {
        return length;
    }
    let mut length = PIECE_LENGTH_MIN;
    while length < PIECE_LENGTH_USUAL && pieces(length) >= PIECES_USUAL {
        length *= 2;
    }
    while length < PIECE_LENGTH_MAX && pieces(length) > PIECES_KEPT {
        length *= 2;
    }
    length
}

/// The name of every torrent of ours, which tells nothing.
const NAME: &str = "dustfs";
const SHA1: usize = 20;
const PIECES_USUAL: u64 = 4_000;
const PIECES_KEPT: u64 = 16_000;
const PIECE_LENGTH_USUAL: u32 = 1_048_576;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn torrent(length: u64, piece_length: u32) -> Metainfo {
        let pieces: Vec<u8> = (0..length.div_ceil(piece_length.into())).flat_map(|n| [n as u8; SHA1]).collect();
        Metainfo::new(length, piece_length, pieces.into()).unwrap()
    }

    #[test]
    fn the_dictionary_is_what_stock_clients_read() {
        let metainfo = torrent(69_632, 65_536);
        let dictionary = metainfo.info_dictionary("PEM");
        let expected = [
            &b"d6:lengthi69632e4:name6:dustfs12:piece lengthi65536e6:pieces40:"[..],
            &[0; 20],
            &[1; 20],
            b"7:privatei1e8:ssl-cert3:PEMe",
        ]
        .concat();
        assert_eq!(dictionary, expected);
        assert_eq!(metainfo.info_hash("PEM").0, <[u8; 20]>::from(Sha1::digest(&expected)));
        assert_ne!(metainfo.info_hash("PEM"), metainfo.info_hash("another"));
        let file = torrent_file(&metainfo, "PEM", &["https://a/announce".into(), "b".into()]);
        let head = b"d8:announce18:https://a/announce13:announce-listll18:https://a/announce1:bee4:info";
        assert_eq!(file, [&head[..], &expected, b"e"].concat());
    }

    #[test]
    fn lengths_that_disagree_are_refused() {
        let hash = |n: usize| Bytes::from(vec![0; n * SHA1]);
        assert!(Metainfo::new(1, 65_536, hash(1)).is_ok());
        assert!(Metainfo::new(0, 65_536, hash(0)).is_err());
        assert!(Metainfo::new(1, 65_536, hash(2)).is_err());
        assert!(Metainfo::new(1, 65_536, Bytes::from_static(&[0; 19])).is_err());
        assert!(Metainfo::new(65_537, 65_536, hash(1)).is_err());
        for piece_length in [0, 1, 32_768, 65_535, 65_537, 98_304, 8_388_608, u32::MAX] {
            assert!(Metainfo::new(1, piece_length, hash(1)).is_err(), "{piece_length}");
        }
        let most = PIECES as u64 * u64::from(PIECE_LENGTH_MAX);
        assert!(Metainfo::new(most, PIECE_LENGTH_MAX, hash(PIECES)).is_ok());
        for length in [most + 1, u64::MAX] {
            let refused = Metainfo::new(length, PIECE_LENGTH_MAX, hash(1));
            assert!(matches!(refused, Err(WireError::OverLimit(_, _, PIECES))), "{length}");
        }
    }

    #[test]
    fn piece_lengths_follow_the_size() {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        for (sealed, length) in [
            (0, 64 * KIB),
            (4_096, 64 * KIB),
            (3_999 * 64 * KIB, 64 * KIB),
            (4_000 * 64 * KIB, 128 * KIB),
            (GIB, 512 * KIB),
            (4 * GIB, MIB),
            (16_000 * MIB, MIB),
            (16_000 * MIB + 1, 2 * MIB),
            (32_000 * MIB + 1, 4 * MIB),
            (256 * GIB, 4 * MIB),
        ] {
            assert_eq!(u64::from(piece_length_for(sealed, None)), length, "{sealed}");
        }
        assert_eq!(piece_length_for(16_000 * 64 * KIB, Some(65_536)), 65_536, "kept");
        assert_eq!(piece_length_for(16_000 * 64 * KIB + 1, Some(65_536)), 524_288, "outgrown");
        assert_eq!(piece_length_for(4_096, Some(1_048_576)), 1_048_576, "kept by a file that shrank");
    }

    proptest! {
        #[test]
        fn pieces_cover_the_torrent(length in 1..40_000_000_u64, shift in 16..=22_u32) {
            let metainfo = torrent(length, 1 << shift);
            let sizes: Vec<u32> =
                (0..metainfo.piece_count()).map(|n| metainfo.piece_size(metainfo.piece(n).unwrap())).collect();
            prop_assert_eq!(sizes.iter().map(|size| u64::from(*size)).sum::<u64>(), length);
            prop_assert!(sizes.iter().all(|size| *size > 0));
            prop_assert!(sizes.iter().rev().skip(1).all(|size| *size == 1 << shift));
            prop_assert_eq!(metainfo.piece(metainfo.piece_count()), None);
            let last = metainfo.piece_count() - 1;
            prop_assert_eq!(metainfo.piece_hash(PieceIndex(last)), [last as u8; SHA1]);
            prop_assert_eq!(Metainfo::from_public(&metainfo.to_public()).unwrap(), metainfo);
        }

        #[test]
        fn no_public_part_makes_it_panic(length: u64, piece_length: u32, pieces in 0..100_usize) {
            let info = PublicInfo { base: None, length, piece_length, pieces: Bytes2::from(vec![0; pieces]) };
            let _ = Metainfo::from_public(&info);
        }

        #[test]
        fn whatever_the_size_the_torrent_is_allowed(chunks in 1..=4_194_304_u64, predecessor in 16..=22_u32) {
            let length = piece_length_for(chunks * 65_536, Some(1 << predecessor));
            prop_assert!(length.is_power_of_two() && (PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX).contains(&length));
            prop_assert!((chunks * 65_536).div_ceil(length.into()) <= PIECES as u64);
        }
    }
}

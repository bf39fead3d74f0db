//! Where a torrent's pieces and blocks begin and end; the only place that mints a [`PieceIndex`] from a peer's number.

use crate::base::PieceIndex;
use crate::base::limits::PIECES;

/// The shape of a torrent: one file, cut into pieces of one length but for the last (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes of the file, at least 1.
    pub length: u64,
    /// Bytes of every piece but the last, at least 1.
    pub piece_length: u32,
}

impl Layout {
    /// True when it has between one and [`PIECES`] pieces. What else is said of a layout holds only for such.
    pub fn is_valid(&self) -> bool {
        self.length > 0 && self.piece_length > 0 && self.length.div_ceil(self.piece_length.into()) <= PIECES as u64
    }

    /// How many pieces there are.
    pub fn piece_count(&self) -> u32 {
        u32::try_from(self.length.div_ceil(self.piece_length.max(1).into())).unwrap_or(u32::MAX)
    }

    /// The piece with this number, if there is one.
    pub fn piece(&self, number: u32) -> Option<PieceIndex> {
        (number < self.piece_count()).then_some(PieceIndex(number))
    }

    /// Bytes of this piece.
    pub fn piece_size(&self, piece: PieceIndex) -> u32 {
        let begin = u64::from(piece.0) * u64::from(self.piece_length);
        let rest = self.length.saturating_sub(begin);
        u32::try_from(rest).map_or(self.piece_length, |rest| rest.min(self.piece_length))
    }

    /// All pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = PieceIndex> + use<> {
        (0..self.piece_count()).map(PieceIndex)
    }

    /// True when `length` bytes from `begin` are in this piece, and are at least one.
    pub fn holds(&self, piece: PieceIndex, begin: u32, length: u32) -> bool {
        length > 0 && begin.checked_add(length).is_some_and(|end| end <= self.piece_size(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_is_what_remains() {
        let layout = Layout { length: 150_000, piece_length: 65_536 };
        assert_eq!(layout.piece_count(), 3);
        assert_eq!(layout.piece_size(PieceIndex(1)), 65_536);
        assert_eq!(layout.piece_size(PieceIndex(2)), 150_000 - 2 * 65_536);
        assert_eq!(layout.piece(3), None);
        assert_eq!(layout.pieces().map(|piece| u64::from(layout.piece_size(piece))).sum::<u64>(), 150_000);
        assert_eq!(Layout { length: 131_072, piece_length: 65_536 }.piece_size(PieceIndex(1)), 65_536);
    }

    #[test]
    fn blocks_outside_a_piece_are_not_held() {
        let layout = Layout { length: 100_000, piece_length: 65_536 };
        assert!(layout.holds(PieceIndex(0), 49_152, 16_384));
        assert!(!layout.holds(PieceIndex(0), 49_153, 16_384));
        assert!(!layout.holds(PieceIndex(1), 32_768, 16_384));
        assert!(!layout.holds(PieceIndex(0), 0, 0));
        assert!(!layout.holds(PieceIndex(0), u32::MAX, 2));
    }

    #[test]
    fn empty_and_huge_layouts_are_not_valid() {
        assert!(!Layout { length: 0, piece_length: 65_536 }.is_valid());
        assert!(!Layout { length: 1, piece_length: 0 }.is_valid());
        assert!(!Layout { length: 1 << 42, piece_length: 65_536 }.is_valid());
        assert!(Layout { length: 1 << 36, piece_length: 1 << 20 }.is_valid());
    }
}

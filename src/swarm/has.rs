//! What a peer has of a torrent, as it told by bitfield, have-all, have and lt_donthave (BEP 3, 6, 54).

use crate::base::PieceIndex;
use crate::wire::peer::Bitfield;

/// The pieces that a peer has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Has {
    /// Every piece.
    All,
    /// These pieces.
    Some(Bitfield),
}

impl Has {
    /// True when the peer has this piece.
    pub fn has(&self, piece: PieceIndex) -> bool {
        match self {
            Has::All => true,
            Has::Some(bits) => bits.has(piece),
        }
    }

    /// The peer got this piece; true when that is news. `piece` is of this torrent.
    pub fn gain(&mut self, piece: PieceIndex) -> bool {
        match self {
            Has::All => false,
            Has::Some(bits) => bits.set(piece),
        }
    }
}

//! Pairing: on one LAN by the button ([`button`]), and apart by invites, by which a friend's box joins a circle over the
//! network.
//!
//! An [`InviteText`] names where the inviter is, pins its transport key and carries a one-time secret. The joiner
//! dials `dustfs-invite/1` and proves the secret, and the possession of its two keys, over the TLS exporter; the
//! inviter answers with a proof of its own and the [`Welcome`]. Each side is a pure machine: [`Joiner`], [`Inviter`].
//!
//! By a recovery [`Sheet`] a box takes the place of one that is gone.
//!
//! Invariant: an invite admits one device. Only success spends it; the same device may come again within its time, in
//! case the welcome was lost on the way.

pub mod button;
mod exchange;
mod invite;
mod inviter;
mod joiner;
mod message;
mod sheet;
mod welcome;
mod words;

use std::fmt;

use crate::wire::WireError;

pub use button::Button;
pub use invite::InviteText;
pub use inviter::{Inviter, InviterStep, Peer};
pub use joiner::Joiner;
pub use message::{InviteId, Refusal};
pub use sheet::{Handout, Parcel, Sheet, SheetKeys};
pub use welcome::{EpochKey, Secret, Welcome};

/// Why pairing fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PairError {
    /// Of the one who typed it: the text is no invite.
    NotInvite,
    /// Of the one who typed it: the text is an invite's, and not whole.
    Damaged,
    /// Of the one who typed it: an invite or a recovery sheet of a later version of DustFS.
    Newer(u32),
    /// Of the one who invites: too many invites are open.
    TooMany(usize),
    /// Of the inviter: it refused.
    Refused(Refusal),
    /// Of the peer: it does not know the invite's secret.
    Impostor,
    /// Of the peer: a message without the right form, or over its limit.
    Message(WireError),
    /// Of the one who typed it: neither a recovery sheet's words nor its text.
    NotSheet,
    /// Of the one who typed it: a recovery sheet's text that is not whole.
    SheetDamaged,
    /// Of the one who typed it: so many words, where a recovery sheet has twelve.
    WordCount(usize),
    /// Of the one who typed it: a word that is in no list.
    Word {
        /// Which, from 1.
        at: usize,
        /// The word, cut short where it is long.
        word: String,
        /// Words of the list that are like it.
        near: Vec<&'static str>,
    },
    /// Of the one who typed it: words of the list that do not belong together.
    WordsDiffer,
    /// Of the peer: what is sealed for the recovery sheet was not sealed for this one.
    Parcel,
    /// Of ourselves: a welcome for an invite that nobody was accepted on.
    NotAccepted,
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PairError::NotInvite => {
                f.write_str("this is not an invite: an invite begins with 'dustfs1-', copy the whole of it")
            }
            PairError::Damaged => f.write_str("the invite is cut short or mistyped: copy the whole of it again"),
            PairError::Newer(version) => {
                write!(f, "it has version {version}, which this node does not know: update it")
            }
            PairError::TooMany(limit) => {
                write!(f, "{limit} invites are open, which is the limit: wait until one is used or has ended")
            }
            PairError::Refused(refusal) => refusal.fmt(f),
            PairError::Impostor => {
                f.write_str("the peer does not know the invite's secret: it is not the box that invited")
            }
            PairError::Message(error) => error.fmt(f),
            PairError::NotSheet => f.write_str(
                "this is no recovery sheet: give its twelve words, or the line that begins with 'dustfs-sheet1-'",
            ),
            PairError::SheetDamaged => {
                f.write_str("the recovery sheet's line is cut short or mistyped: copy the whole of it, or give the words")
            }
            PairError::WordCount(count) => {
                write!(f, "a recovery sheet has twelve words, and these are {count}")
            }
            PairError::Word { at, word, near } => {
                write!(f, "word {at}, '{}', is on no recovery sheet: ", word.escape_debug())?;
                match &near[..] {
                    [] => f.write_str("look at it again"),
                    [one] => write!(f, "is it '{one}'?"),
                    near => write!(f, "is it one of {}?", near.join(", ")),
                }
            }
            PairError::WordsDiffer => f.write_str(
                "these words do not belong together: one of them is another on the sheet, or two are in the wrong order",
            ),
            PairError::Parcel => f.write_str("what is kept for the recovery sheet is not for this one"),
            PairError::NotAccepted => f.write_str("nobody was accepted on this invite"),
        }
    }
}

impl std::error::Error for PairError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PairError::Message(error) => Some(error),
            _ => None,
        }
    }
}

impl From<WireError> for PairError {
    fn from(error: WireError) -> Self {
        PairError::Message(error)
    }
}

#[cfg(test)]
mod tests;

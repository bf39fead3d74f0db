//! Pairing: on one LAN by the button ([`button`]), and apart by invites, by which a friend's box joins a circle over the
//! network.
//!
//! An [`InviteText`] names where the inviter is, pins its transport key and carries a one-time secret. The joiner
//! dials `dustfs-invite/1` and proves the secret, and the possession of its two keys, over the TLS exporter; the
//! inviter answers with a proof of its own and the [`Welcome`]. Each side is a pure machine: [`Joiner`], [`Inviter`].
//!
//! Invariant: an invite admits one device. Only success spends it; the same device may come again within its time, in
//! case the welcome was lost on the way.

pub mod button;
mod exchange;
mod invite;
mod inviter;
mod joiner;
mod message;
mod welcome;

use std::fmt;

use crate::wire::WireError;

pub use button::Button;
pub use invite::InviteText;
pub use inviter::{Inviter, InviterStep, Peer};
pub use joiner::Joiner;
pub use message::{InviteId, Refusal};
pub use welcome::{EpochKey, Secret, Welcome};

/// Why pairing fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PairError {
    /// Of the one who typed it: the text is no invite.
    NotInvite,
    /// Of the one who typed it: the text is an invite's, and not whole.
    Damaged,
    /// Of the one who typed it: an invite of a later version of DustFS.
    Newer(u32),
    /// Of the one who invites: too many invites are open.
    TooMany(usize),
    /// Of the inviter: it refused.
    Refused(Refusal),
    /// Of the peer: it does not know the invite's secret.
    Impostor,
    /// Of the peer: a message without the right form, or over its limit.
    Message(WireError),
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
                write!(f, "the invite has version {version}, which this node does not know: update it")
            }
            PairError::TooMany(limit) => {
                write!(f, "{limit} invites are open, which is the limit: wait until one is used or has ended")
            }
            PairError::Refused(refusal) => refusal.fmt(f),
            PairError::Impostor => {
                f.write_str("the peer does not know the invite's secret: it is not the box that invited")
            }
            PairError::Message(error) => error.fmt(f),
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

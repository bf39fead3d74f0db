//! One round of pairing, from a press to its end: the other box, the connection to it, and how far both are.

use core::net::SocketAddr;

use super::super::exchange::{Part, Side, Standing, code, secret};
use super::super::{InviteId, Inviter, Joiner};
use super::State;
use crate::base::{ConnId, Instant, TransportKey};
use crate::wire::beacon::Pairing as Beacon;
use crate::wire::statement::Role;

/// From a press to its end.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) beacon: Beacon,
    pub(super) ours: Part,
    /// When the window closes.
    pub(super) until: Instant,
    pub(super) candidate: Option<Candidate>,
    /// When the candidate is dialled; `None` while it is being.
    pub(super) dial_at: Option<Instant>,
    pub(super) link: Option<Link>,
}

/// The one other box in the window.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) key: TransportKey,
    pub(super) address: Option<SocketAddr>,
}

/// The connection to it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) side: Side,
    pub(super) exporter: [u8; 32],
    /// When the stage fails.
    pub(super) until: Instant,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Its commitment is awaited.
    Commit,
    /// Its nonce is awaited; as the dialler we revealed ours.
    Reveal([u8; 32]),
    Code {
        theirs: Part,
        here: bool,
        there: bool,
    },
    Joining {
        theirs: Part,
        join: Join,
    },
}

#[derive(Debug)]
pub(super) enum Join {
    /// We invite; the circle's name once it is known.
    Inviting { inviter: Inviter, circle: String, invite: Option<InviteId> },
    /// It was sent its welcome.
    Welcomed { circle: String },
    /// Its welcome is awaited.
    Waiting(Joiner),
    /// We are welcome, and it is being made durable.
    Installing,
}

/// What follows from who both are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Invite(Role),
    Join,
    Choose,
    NoKeeper,
    TheyNoKeeper,
}

impl Round {
    pub(super) fn is_joining(&self) -> bool {
        matches!(&self.link, Some(Link { stage: Stage::Joining { .. }, .. }))
    }

    pub(super) fn state(&self) -> State {
        let until = self.until;
        let Some(link) = &self.link else { return State::Window { until } };
        match &link.stage {
            Stage::Commit | Stage::Reveal(_) => State::Exchanging { until },
            Stage::Code { theirs, here, there } => State::Code {
                digits: link.code(&self.ours, theirs),
                name: theirs.device.name.clone(),
                here: *here,
                there: *there,
                until: link.until,
            },
            Stage::Joining { theirs, .. } => State::Joining { name: theirs.device.name.clone() },
        }
    }
}

impl Link {
    pub(super) fn code(&self, ours: &Part, theirs: &Part) -> [u8; 4] {
        match self.side {
            Side::Dialler => code(&self.exporter, ours, theirs),
            Side::Listener => code(&self.exporter, theirs, ours),
        }
    }

    pub(super) fn secret(&self, ours: &Part, theirs: &Part) -> [u8; 16] {
        match self.side {
            Side::Dialler => secret(&self.exporter, ours, theirs),
            Side::Listener => secret(&self.exporter, theirs, ours),
        }
    }
}

/// A friend who comes to a circle by a press is a member there and no keeper: it is one keeper's press, and a keeper can
/// remove all others. Two blank boxes have nothing to lose to each other.
pub(super) fn outcome(ours: &Part, theirs: &Part) -> Outcome {
    match (ours.standing, theirs.standing) {
        (Standing::Blank, Standing::Blank) if ours.device.id() < theirs.device.id() => Outcome::Invite(Role::Keeper),
        (Standing::Blank, Standing::Blank | Standing::Keeper) => Outcome::Join,
        (Standing::Keeper, Standing::Blank) => Outcome::Invite(Role::Member),
        (Standing::Member, Standing::Blank) => Outcome::NoKeeper,
        (Standing::Blank, Standing::Member) => Outcome::TheyNoKeeper,
        _ => Outcome::Choose,
    }
}

//! The inviter's side: the invites that are open, and who may come in by them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hmac::Mac;
use zeroize::Zeroizing;

use super::message::{Answer, InviteId, Join, Refusal, inviter_proof, joiner_proof, signed_by_joiner};
use super::{PairError, Welcome};
use crate::base::limits::{INVITE_TRIES, INVITE_TRIES_ALL, INVITES};
use crate::base::{CircleId, DeviceId, Instant, MemberKey, TransportKey};
use crate::wire::WireError;
use crate::wire::statement::{Device, Role};

/// The invites of this node. They live in memory alone, so a restart ends them.
#[derive(Debug, Default)]
pub struct Inviter {
    invites: BTreeMap<InviteId, Invite>,
    /// Wrong tries of all invites and of none.
    wrong: Tries,
}

struct Invite {
    secret: Zeroizing<[u8; 16]>,
    circle: CircleId,
    role: Role,
    /// By uptime: the box's clock is not trusted.
    end: Instant,
    state: State,
    wrong: Tries,
}

/// How far an invite is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// This device proved the secret; the node is admitting it.
    Accepted(DeviceId),
    /// This device was sent its welcome, and may ask for it again.
    Spent(DeviceId),
    /// The device has its welcome.
    Over,
}

/// The connection on which a message came.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The key of its certificate.
    pub transport: TransportKey,
    /// The connection's exporter.
    pub exporter: [u8; 32],
}

/// What a joiner's message leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InviterStep {
    /// The proofs are right. Admit `device` durably (once: it may come again), then answer with [`Inviter::welcome`],
    /// or give up with [`Inviter::release`].
    Accepted {
        /// To this circle.
        circle: CircleId,
        /// In this role.
        role: Role,
        /// The joiner.
        device: Device,
        /// By this invite.
        invite: InviteId,
    },
    /// Send `reply` on channel 0 and close.
    Refuse {
        /// The frame's payload.
        reply: Bytes,
        /// Why.
        reason: Refusal,
    },
}

impl Inviter {
    /// Opens an invite for `time` of uptime; `secret` is the operating system's entropy. At most
    /// [`INVITES`](crate::base::limits::INVITES) may be open.
    pub fn open(
        &mut self,
        now: Instant,
        circle: CircleId,
        role: Role,
        time: Duration,
        secret: [u8; 16],
    ) -> Result<InviteId, PairError> {
        if self.invites.len() >= INVITES {
            // What is over is kept only for the sake of a better refusal.
            let idle = |invite: &&Invite| !invite.answers(now);
            let oldest = self.invites.iter().filter(|(_, invite)| idle(invite)).min_by_key(|(_, invite)| invite.end);
            let id = oldest.map(|(id, _)| *id).ok_or(PairError::TooMany(INVITES))?;
            self.invites.remove(&id);
        }
        let id = InviteId::of(&secret);
        let invite = Invite {
            secret: Zeroizing::new(secret),
            circle,
            role,
            end: now + time,
            state: State::Open,
            wrong: Tries::default(),
        };
        self.invites.insert(id, invite);
        Ok(id)
    }

    /// True while the invite protocol must be answered: an invite is open, or its joiner may come again.
    pub fn any_open(&self, now: Instant) -> bool {
        self.invites.values().any(|invite| invite.answers(now))
    }

    /// When [`Inviter::any_open`] may change next.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.invites.values().filter(|invite| invite.answers(now)).map(|invite| invite.end).min()
    }

    /// Takes the first frame of a connection of the invite protocol. `verify` checks an Ed25519 signature.
    pub fn message(
        &mut self,
        now: Instant,
        peer: &Peer,
        payload: &[u8],
        verify: impl FnOnce(&MemberKey, &[u8], &[u8; 64]) -> bool,
    ) -> InviterStep {
        self.judge(now, peer, payload, verify).unwrap_or_else(|reason| {
            let reason = if self.wrong.note(now, reason, INVITE_TRIES_ALL) { Refusal::Busy } else { reason };
            InviterStep::Refuse { reply: Answer::Refused(reason).encode(), reason }
        })
    }

    fn judge(
        &mut self,
        now: Instant,
        peer: &Peer,
        payload: &[u8],
        verify: impl FnOnce(&MemberKey, &[u8], &[u8; 64]) -> bool,
    ) -> Result<InviterStep, Refusal> {
        let join = Join::decode(payload).map_err(|error| match error {
            WireError::Version(..) => Refusal::Version,
            _ => Refusal::Malformed,
        })?;
        let invite = self.invites.get_mut(&join.invite).ok_or(Refusal::Unknown)?;
        if invite.wrong.spent(now, INVITE_TRIES) {
            return Err(Refusal::Busy);
        }
        // The secret comes first, so that only who has it learns how the invite stands.
        let proof = joiner_proof(&invite.secret, &peer.exporter, &join.device).verify_slice(&join.proof);
        if proof.is_err()
            || peer.transport != join.device.transport
            || !verify(&join.device.member, &signed_by_joiner(&peer.exporter, &peer.transport), &join.signature)
        {
            invite.wrong.note(now, Refusal::Wrong, INVITE_TRIES);
            return Err(Refusal::Wrong);
        }
        let device = join.device.id();
        match invite.state {
            _ if invite.end <= now => Err(Refusal::Ended),
            State::Accepted(other) | State::Spent(other) if other != device => Err(Refusal::Used),
            State::Over => Err(Refusal::Used),
            State::Open | State::Accepted(_) | State::Spent(_) => {
                if invite.state == State::Open {
                    invite.state = State::Accepted(device);
                }
                let (circle, role) = (invite.circle, invite.role);
                Ok(InviterStep::Accepted { circle, role, device: join.device, invite: join.invite })
            }
        }
    }

    /// The reply that welcomes whom [`InviterStep::Accepted`] named, over the connection with this exporter. It spends the
    /// invite.
    pub fn welcome(&mut self, invite: &InviteId, exporter: &[u8; 32], welcome: &Welcome) -> Result<Bytes, PairError> {
        let invite = self.invites.get_mut(invite).ok_or(PairError::NotAccepted)?;
        let (State::Accepted(device) | State::Spent(device)) = invite.state else {
            return Err(PairError::NotAccepted);
        };
        let bytes = welcome.encode()?;
        let proof = inviter_proof(&invite.secret, exporter, &bytes).finalize().into_bytes().into();
        invite.state = State::Spent(device);
        Ok(Answer::Welcome { proof, welcome: bytes }.encode())
    }

    /// Opens the invite again, because the node could not admit whom it accepted.
    pub fn release(&mut self, invite: &InviteId) {
        if let Some(invite) = self.invites.get_mut(invite)
            && matches!(invite.state, State::Accepted(_))
        {
            invite.state = State::Open;
        }
    }

    /// The device showed that it has its welcome: its invite is over.
    pub fn arrived(&mut self, device: &DeviceId) {
        for invite in self.invites.values_mut() {
            if invite.state == State::Spent(*device) {
                invite.state = State::Over;
            }
        }
    }
}

impl Invite {
    fn answers(&self, now: Instant) -> bool {
        now < self.end && self.state != State::Over
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("circle", &self.circle)
            .field("role", &self.role)
            .field("end", &self.end)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Wrong tries, each within a minute of the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    last: Instant,
    count: u32,
}

impl Tries {
    /// True when no more are let through.
    fn spent(&mut self, now: Instant, limit: u32) -> bool {
        if now.since(self.last) >= PAUSE {
            self.count = 0;
        }
        self.count >= limit
    }

    /// Counts what might be a guess; true when there were too many before.
    fn note(&mut self, now: Instant, refusal: Refusal, limit: u32) -> bool {
        if !matches!(refusal, Refusal::Wrong | Refusal::Unknown | Refusal::Malformed) {
            return false;
        }
        let spent = self.spent(now, limit);
        if !spent {
            self.last = now;
            self.count += 1;
        }
        spent
    }
}

/// Time until tries are let through again.
const PAUSE: Duration = Duration::from_secs(60);

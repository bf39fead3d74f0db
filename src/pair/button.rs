//! Pairing by the button: one press opens a window, two boxes in it come to one code, and a hold on both lets one join
//! the other.
//!
//! The machine is told of presses, of beacons on the LAN and of its connections, and asks for dials and frames. It
//! answers a stranger only while its window is open, and then tells its name, its keys and its [`Standing`]. Whoever is
//! on the LAN can abort a window, by a beacon of their own, and never join: that takes a person's hold on both boxes
//! after both showed one code.
//!
//! Invariant: our nonce is revealed at most once for each press, since each time lets the other side guess at a code;
//! what ends a round after that is counted, and [`PAIR_FAILURES`] of them pause pairing. All of it lives in memory: a
//! restart ends it.

mod round;
mod state;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use core::net::SocketAddr;

use self::round::{Candidate, Join, Link, Outcome, Round, Stage, outcome};
use super::exchange::{Message, Part, Side};
use super::{InviteText, Inviter, InviterStep, Joiner, Peer, Welcome};
use crate::base::limits::{
    PAIR_CODE_TIME, PAIR_COOL_DOWN, PAIR_EXCHANGE_TIME, PAIR_FAILURES, PAIR_GATHER, PAIR_JOIN_TIME, PAIR_PAUSE,
    PAIR_WINDOW,
};
use crate::base::{CircleId, ConnId, Instant, TransportKey};
use crate::seal::member::verify;
use crate::wire::beacon::Pairing as Beacon;
use crate::wire::statement::{Device, Role};

pub use self::state::{Failure, Refused, State};
pub use super::exchange::Standing;

/// What the machine asks for.
#[derive(Debug)]
pub enum Event {
    /// Connect; answered by [`Button::connected`] or [`Button::dial_failed`].
    Dial {
        /// The key that the peer must have.
        key: TransportKey,
        /// Where.
        address: SocketAddr,
    },
    /// Send this as a frame on channel 0.
    Send {
        /// To whom.
        conn: ConnId,
        /// The payload.
        payload: Bytes,
    },
    /// Close after what was sent.
    Close {
        /// Which.
        conn: ConnId,
        /// For people.
        why: String,
    },
    /// Both confirmed, and the other box joins us: answered at once by [`Button::invite`] with the circle, which is to be
    /// founded where there is none.
    Invite,
    /// The other box proved all that it must: admit it durably, and answer by [`Button::welcome`].
    Admit {
        /// To this circle.
        circle: CircleId,
        /// As what.
        role: Role,
        /// The box.
        device: Device,
    },
    /// We are welcome: install it durably, and answer by [`Button::installed`].
    Install(Box<Welcome>),
}

/// Signs with the member key.
pub type Sign<'a> = &'a dyn Fn(&[u8]) -> [u8; 64];

/// See the module.
#[derive(Debug)]
pub struct Button {
    me: Device,
    phase: Phase,
    /// Rounds in which a code could be guessed at, since the last success or pause.
    failures: u32,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Phase {
    /// Closed, or a result that is shown until then.
    Rest(Option<(State, Instant)>),
    Paused(Instant),
    Overlap(Instant, Beacon),
    Open(Box<Round>),
}

impl Button {
    /// The button of this device.
    pub fn new(me: Device) -> Self {
        Self { me, phase: Phase::Rest(None), failures: 0, events: VecDeque::new() }
    }

    /// A press: opens a window, unless one is open. `entropy` is the operating system's, fresh for each press.
    pub fn press(&mut self, now: Instant, standing: Standing, entropy: [u8; 48]) -> Result<(), Refused> {
        self.handle_timeout(now);
        match &self.phase {
            Phase::Paused(until) => Err(Refused::Paused(*until - now)),
            Phase::Overlap(until, _) => Err(Refused::CoolDown(*until - now)),
            Phase::Open(round) => match round.link.as_ref().map(|link| &link.stage) {
                Some(Stage::Code { .. }) => Err(Refused::CodeWaits),
                Some(Stage::Joining { .. }) => Err(Refused::Joining),
                _ => Ok(()),
            },
            Phase::Rest(_) => {
                let (mut beacon, mut nonce) = ([0; 16], [0; 32]);
                beacon.copy_from_slice(&entropy[..16]);
                nonce.copy_from_slice(&entropy[16..]);
                self.phase = Phase::Open(Box::new(Round {
                    beacon: Beacon { nonce: beacon, key: self.me.transport, overlap: false },
                    ours: Part { device: self.me.clone(), standing, nonce },
                    until: now + PAIR_WINDOW,
                    candidate: None,
                    dial_at: None,
                    link: None,
                }));
                Ok(())
            }
        }
    }

    /// The person's hold: the codes are equal. Once more does nothing.
    pub fn confirm(&mut self, now: Instant, sign: Sign) -> Result<(), Refused> {
        self.handle_timeout(now);
        let Some(link) = self.link_mut() else { return Err(Refused::NoCode) };
        let conn = link.conn;
        match &mut link.stage {
            Stage::Code { here, .. } if !*here => *here = true,
            Stage::Code { .. } => return Ok(()),
            Stage::Joining { .. } => return Err(Refused::Joining),
            _ => return Err(Refused::NoCode),
        }
        self.send(conn, Message::Confirm.encode());
        self.join_when_both(now, sign);
        Ok(())
    }

    /// A beacon was heard on the LAN. `address` is where its box takes connections.
    pub fn heard(&mut self, now: Instant, beacon: &Beacon, address: SocketAddr) {
        self.handle_timeout(now);
        if beacon.key == self.me.transport {
            return;
        }
        let ours = self.me.transport;
        let Phase::Open(round) = &mut self.phase else { return };
        if round.is_joining() {
            return;
        }
        if beacon.overlap || round.candidate.as_ref().is_some_and(|known| known.key != beacon.key) {
            return self.overlap(now);
        }
        if round.candidate.as_ref().is_none_or(|known| known.address.is_none()) {
            // Of two, the one with the lower key dials.
            round.dial_at = (round.link.is_none() && ours < beacon.key).then(|| now + PAIR_GATHER);
        }
        round.candidate = Some(Candidate { key: beacon.key, address: Some(address) });
    }

    /// A dial came to nothing: it is tried again while the window is open.
    pub fn dial_failed(&mut self, now: Instant) {
        if let Phase::Open(round) = &mut self.phase
            && round.link.is_none()
            && round.candidate.is_some()
        {
            round.dial_at = Some(now + AGAIN);
        }
        self.handle_timeout(now);
    }

    /// A connection of pairing is up.
    pub fn connected(&mut self, now: Instant, conn: ConnId, peer: &Peer, dialled: bool) {
        self.handle_timeout(now);
        let Phase::Open(round) = &mut self.phase else {
            return self.close(conn, "no window is open");
        };
        if round.candidate.as_ref().is_some_and(|known| known.key != peer.transport) {
            let joining = round.is_joining();
            self.close(conn, OVERLAP);
            if !joining {
                self.overlap(now);
            }
            return;
        }
        if round.link.is_some() {
            return self.close(conn, "there is a connection already");
        }
        round.candidate.get_or_insert(Candidate { key: peer.transport, address: None });
        round.dial_at = None;
        let side = if dialled { Side::Dialler } else { Side::Listener };
        let until = now + PAIR_EXCHANGE_TIME;
        round.link = Some(Link { conn, side, exporter: peer.exporter, until, stage: Stage::Commit });
        if dialled {
            let commitment = round.ours.commitment(side, &peer.exporter);
            self.send(conn, Message::Commit(commitment).encode());
        }
    }

    /// A frame came on channel 0 of a connection of pairing.
    pub fn frame(&mut self, now: Instant, conn: ConnId, payload: &[u8], sign: Sign) {
        self.handle_timeout(now);
        let Some(link) = self.link_mut().filter(|link| link.conn == conn) else {
            return self.close(conn, "it is not the one that pairs");
        };
        if let Stage::Joining { join, .. } = &mut link.stage {
            match join {
                Join::Inviting { .. } => return self.asked_in(now, payload),
                Join::Waiting(_) => return self.answered(now, payload),
                Join::Welcomed { .. } | Join::Installing => {}
            }
        }
        match Message::decode(payload) {
            Ok(message) => self.message(now, message, sign),
            Err(error) => {
                log::warn!("pairing ends: {error}");
                self.give_up(now, Failure::Wrong);
            }
        }
    }

    fn message(&mut self, now: Instant, message: Message, sign: Sign) {
        let Phase::Open(round) = &mut self.phase else { return };
        let Some(link) = &mut round.link else { return };
        let (conn, side, exporter) = (link.conn, link.side, link.exporter);
        match (&mut link.stage, message) {
            (Stage::Commit, Message::Commit(theirs)) => {
                link.stage = Stage::Reveal(theirs);
                let answer = match side {
                    Side::Listener => Message::Commit(round.ours.commitment(side, &exporter)),
                    Side::Dialler => round.ours.reveal(side, &exporter, sign),
                };
                self.send(conn, answer.encode());
            }
            (Stage::Reveal(committed), Message::Reveal { part, signature }) => {
                let key = round.candidate.as_ref().map(|known| known.key).unwrap_or(part.device.transport);
                if !part.check(side.other(), &exporter, committed, &key, &signature) {
                    return self.give_up(now, Failure::Wrong);
                }
                if side == Side::Listener {
                    let reveal = round.ours.reveal(side, &exporter, sign).encode();
                    self.send(conn, reveal);
                }
                self.know(now, part);
            }
            (Stage::Code { there, .. }, Message::Confirm) if !*there => {
                *there = true;
                self.join_when_both(now, sign);
            }
            (Stage::Joining { theirs, join: Join::Welcomed { circle } }, Message::Arrived) => {
                let done = State::Done { name: theirs.device.name.clone(), circle: std::mem::take(circle) };
                self.failures = 0;
                self.end(now, done, "the boxes are paired");
            }
            _ => self.give_up(now, Failure::Wrong),
        }
    }

    /// Both know who the other is: a code is shown, unless there is nothing to confirm.
    fn know(&mut self, now: Instant, theirs: Part) {
        let Some((ours, link)) = self.linked() else { return };
        let name = theirs.device.name.clone();
        let over = match outcome(ours, &theirs) {
            Outcome::Choose => State::ChooseOnPage { name },
            Outcome::NoKeeper => State::Failed { why: Failure::NoKeeper },
            Outcome::TheyNoKeeper => State::Failed { why: Failure::TheyNoKeeper },
            Outcome::Invite(_) | Outcome::Join => {
                link.stage = Stage::Code { theirs, here: false, there: false };
                link.until = now + PAIR_CODE_TIME;
                return;
            }
        };
        self.end(now, over, "there is nothing to confirm");
    }

    fn join_when_both(&mut self, now: Instant, sign: Sign) {
        let Some((ours, link)) = self.linked() else { return };
        let Stage::Code { theirs, here: true, there: true } = &link.stage else { return };
        let theirs = theirs.clone();
        let (conn, exporter) = (link.conn, link.exporter);
        link.until = now + PAIR_JOIN_TIME;
        match outcome(ours, &theirs) {
            Outcome::Invite(_) => {
                let join = Join::Inviting { inviter: Inviter::default(), circle: String::new(), invite: None };
                link.stage = Stage::Joining { theirs, join };
                self.events.push_back(Event::Invite);
            }
            Outcome::Join => {
                let key = theirs.device.transport;
                let secret = link.secret(ours, &theirs);
                let invite = InviteText { addresses: Vec::new(), key, secret, minutes: 1, circle: None };
                let (joiner, message) = Joiner::new(invite, ours.device.clone(), exporter, sign);
                link.stage = Stage::Joining { theirs, join: Join::Waiting(joiner) };
                self.send(conn, message);
            }
            Outcome::Choose | Outcome::NoKeeper | Outcome::TheyNoKeeper => self.give_up(now, Failure::Wrong),
        }
    }

    /// Answers [`Event::Invite`]: the circle and its name, or why there is none.
    pub fn invite(&mut self, now: Instant, circle: Result<(CircleId, String), String>) {
        let (id, name) = match circle {
            Ok(circle) => circle,
            Err(why) => return self.give_up(now, Failure::Join(why)),
        };
        let Some((ours, link)) = self.linked() else { return };
        let Stage::Joining { theirs, .. } = &link.stage else { return };
        let Outcome::Invite(role) = outcome(ours, theirs) else { return };
        let secret = link.secret(ours, theirs);
        let Stage::Joining { join: Join::Inviting { inviter, circle, .. }, .. } = &mut link.stage else { return };
        *circle = name;
        if let Err(error) = inviter.open(now, id, role, PAIR_JOIN_TIME, secret) {
            self.give_up(now, Failure::Join(error.to_string()));
        }
    }

    /// The other box asks to join.
    fn asked_in(&mut self, now: Instant, payload: &[u8]) {
        let Some(link) = self.link_mut() else { return };
        let (conn, exporter) = (link.conn, link.exporter);
        let Stage::Joining { theirs, join: Join::Inviting { inviter, invite, .. } } = &mut link.stage else { return };
        let peer = Peer { transport: theirs.device.transport, exporter };
        match inviter.message(now, &peer, payload, verify) {
            InviterStep::Accepted { circle, role, device, invite: id }
                if device == theirs.device && invite.is_none() =>
            {
                *invite = Some(id);
                self.events.push_back(Event::Admit { circle, role, device });
            }
            InviterStep::Accepted { .. } => self.give_up(now, Failure::Wrong),
            InviterStep::Refuse { reply, reason } => {
                self.send(conn, reply);
                self.give_up(now, Failure::Join(reason.to_string()));
            }
        }
    }

    /// Answers [`Event::Admit`]. Returns the frame that is to be sent once the admission is durable.
    pub fn welcome(&mut self, now: Instant, welcome: Result<Welcome, String>) -> Option<(ConnId, Bytes)> {
        let link = self.link_mut()?;
        let (conn, exporter) = (link.conn, link.exporter);
        let Stage::Joining { join, .. } = &mut link.stage else { return None };
        let Join::Inviting { inviter, circle, invite: Some(id) } = join else { return None };
        let reply = welcome.and_then(|welcome| inviter.welcome(id, &exporter, &welcome).map_err(|e| e.to_string()));
        match reply {
            Ok(reply) => {
                *join = Join::Welcomed { circle: std::mem::take(circle) };
                Some((conn, reply))
            }
            Err(why) => {
                self.give_up(now, Failure::Join(why));
                None
            }
        }
    }

    /// The other box answers our wish to join.
    fn answered(&mut self, now: Instant, payload: &[u8]) {
        let Some(link) = self.link_mut() else { return };
        let Stage::Joining { join, .. } = &mut link.stage else { return };
        let Join::Waiting(joiner) = std::mem::replace(join, Join::Installing) else { return };
        match joiner.message(payload) {
            Ok(welcome) => self.events.push_back(Event::Install(Box::new(welcome))),
            Err(error) => self.give_up(now, Failure::Join(error.to_string())),
        }
    }

    /// Answers [`Event::Install`]: the circle's name once it is durable, or why it is not installed.
    pub fn installed(&mut self, now: Instant, circle: Result<String, String>) {
        let Some(link) = self.link_mut() else { return };
        let conn = link.conn;
        let Stage::Joining { theirs, join: Join::Installing } = &link.stage else { return };
        let name = theirs.device.name.clone();
        match circle {
            Ok(circle) => {
                self.failures = 0;
                self.send(conn, Message::Arrived.encode());
                self.end(now, State::Done { name, circle }, "the boxes are paired");
            }
            Err(why) => self.give_up(now, Failure::Join(why)),
        }
    }

    /// A connection of pairing is gone.
    pub fn closed(&mut self, now: Instant, conn: ConnId) {
        self.handle_timeout(now);
        let Phase::Open(round) = &mut self.phase else { return };
        let Some(link) = round.link.as_ref().filter(|link| link.conn == conn) else { return };
        if matches!(link.stage, Stage::Joining { join: Join::Installing, .. }) {
            // All that was to come has come.
            return;
        }
        self.give_up(now, Failure::Gone);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Rest(Some((_, until))) | Phase::Paused(until) | Phase::Overlap(until, _) if *until <= now => {
                self.phase = Phase::Rest(None);
            }
            Phase::Open(round) => match &round.link {
                Some(link) if link.until <= now => {
                    let why = match link.stage {
                        Stage::Code { .. } => Failure::Unconfirmed,
                        _ => Failure::Gone,
                    };
                    self.give_up(now, why);
                }
                None if round.until <= now => self.end(now, State::Failed { why: Failure::Nobody }, ""),
                None if round.dial_at.is_some_and(|at| at <= now) => {
                    round.dial_at = None;
                    if let Some(Candidate { key, address: Some(address) }) = round.candidate {
                        self.events.push_back(Event::Dial { key, address });
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// When to tell the time at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Rest(None) => None,
            Phase::Rest(Some((_, until))) | Phase::Paused(until) | Phase::Overlap(until, _) => Some(*until),
            Phase::Open(round) => match &round.link {
                Some(link) => Some(link.until),
                None => Some(round.dial_at.map_or(round.until, |at| at.min(round.until))),
            },
        }
    }

    /// What is asked for next; called until there is none.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How it stands.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Rest(None) => State::Closed,
            Phase::Rest(Some((state, _))) => state.clone(),
            Phase::Paused(until) => State::Paused { until: *until },
            Phase::Overlap(until, _) => State::Overlap { until: *until },
            Phase::Open(round) => round.state(),
        }
    }

    /// What is to be said on the LAN now. During the cool-down too, so that boxes that come late give up as well.
    pub fn beacon(&self) -> Option<Beacon> {
        match &self.phase {
            Phase::Open(round) if !round.is_joining() => Some(round.beacon),
            Phase::Overlap(_, beacon) => Some(*beacon),
            _ => None,
        }
    }

    /// True while a dialler is answered.
    pub fn listens(&self) -> bool {
        matches!(&self.phase, Phase::Open(round) if round.link.is_none())
    }

    fn overlap(&mut self, now: Instant) {
        let Phase::Open(round) = &self.phase else { return };
        let beacon = Beacon { overlap: true, ..round.beacon };
        let conn = round.link.as_ref().map(|link| link.conn);
        // Whoever sits between and sees that the codes differ could end the round by a beacon: that was a guess as well.
        let guessed = round.link.as_ref().is_some_and(|link| {
            matches!((&link.stage, link.side), (Stage::Code { .. }, _) | (Stage::Reveal(_), Side::Dialler))
        });
        self.phase = Phase::Overlap(now + PAIR_COOL_DOWN, beacon);
        if let Some(conn) = conn {
            self.close(conn, OVERLAP);
        }
        if guessed {
            self.count_guess(now);
        }
    }

    /// The connection came to nothing. Before our nonce was revealed another is made; after it the round is over, and
    /// counts as a guess unless both had confirmed.
    fn give_up(&mut self, now: Instant, why: Failure) {
        let Phase::Open(round) = &mut self.phase else { return };
        let Some(link) = &round.link else { return };
        let words = why.to_string();
        match (&link.stage, link.side) {
            (Stage::Commit, _) | (Stage::Reveal(_), Side::Listener) => {
                let (conn, dialled) = (link.conn, link.side == Side::Dialler);
                round.link = None;
                round.dial_at = dialled.then(|| now + AGAIN);
                return self.close(conn, &words);
            }
            (Stage::Joining { .. }, _) => return self.end(now, State::Failed { why }, &words),
            (Stage::Reveal(_) | Stage::Code { .. }, _) => {}
        }
        self.end(now, State::Failed { why }, &words);
        self.count_guess(now);
    }

    /// A round ended after our nonce was revealed.
    fn count_guess(&mut self, now: Instant) {
        self.failures += 1;
        if self.failures >= PAIR_FAILURES {
            self.failures = 0;
            self.phase = Phase::Paused(now + PAIR_PAUSE);
        }
    }

    /// The round is over; `state` is shown for a while.
    fn end(&mut self, now: Instant, state: State, words: &str) {
        if let Some(conn) = self.link_mut().map(|link| link.conn) {
            self.close(conn, words);
        }
        self.phase = Phase::Rest(Some((state, now + SHOWN)));
    }

    fn send(&mut self, conn: ConnId, payload: Bytes) {
        self.events.push_back(Event::Send { conn, payload });
    }

    fn close(&mut self, conn: ConnId, why: &str) {
        self.events.push_back(Event::Close { conn, why: why.to_string() });
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        self.linked().map(|(_, link)| link)
    }

    fn linked(&mut self) -> Option<(&Part, &mut Link)> {
        let Phase::Open(round) = &mut self.phase else { return None };
        let Round { ours, link, .. } = &mut **round;
        Some((ours, link.as_mut()?))
    }
}

/// Time that a result is shown.
const SHOWN: Duration = Duration::from_secs(30);
/// Time until what came to nothing is dialled again.
const AGAIN: Duration = Duration::from_secs(2);
const OVERLAP: &str = "several boxes are in the window";

#[cfg(test)]
mod tests;

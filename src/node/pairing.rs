//! Pairing by the button as the node carries it out, and what the node says and hears on the LAN.

use core::net::SocketAddr;
use zeroize::Zeroizing;

use super::invite::FRIENDS;
use super::io::{Action, Announcement, Answer, OpError, Protocol, Reply, Said};
use super::status::PairingStatus;
use super::{Effect, Node};
use crate::base::{CircleId, ConnId, Instant, Snapshot, Ticket};
use crate::pair::button::{Event, Standing, State};
use crate::pair::{Button, Peer};
use crate::roster::lan::LanKey;
use crate::wire::beacon::Presence;
use crate::wire::statement::Role;

/// The button, and what was told because of it.
pub struct Pairing {
    button: Button,
    /// Of the dial under way.
    dial: Option<Ticket>,
    /// For the circle that a confirmation may found.
    entropy: Option<Zeroizing<[u8; 96]>>,
    /// The trust that was told last allows the protocol.
    listening: bool,
    /// What is said on the LAN.
    said: Announcement,
    /// Of this start's presence.
    nonce: Option<[u8; 16]>,
}

impl Pairing {
    /// With nothing under way.
    pub fn new(button: Button) -> Self {
        let said = Announcement::default();
        Self { button, dial: None, entropy: None, listening: false, said, nonce: None }
    }

    /// When it wants to be told the time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.button.poll_timeout()
    }

    /// Whether the protocol is answered, as it is now told to the listener.
    pub fn told_listening(&mut self) -> bool {
        self.listening = self.button.listens();
        self.listening
    }
}

impl<S: Snapshot> Node<S> {
    /// How pairing stands.
    pub fn pairing_state(&self) -> State {
        self.pairing.button.state()
    }

    /// True while a press or a hold would answer pairing.
    pub(super) fn pairing_pending(&self) -> bool {
        use State::*;
        matches!(self.pairing_state(), Window { .. } | Exchanging { .. } | Code { .. } | Joining { .. })
    }

    /// The same as plain data.
    pub fn pairing_status(&self) -> PairingStatus {
        PairingStatus::new(&self.pairing_state(), self.now.instant)
    }

    /// A short press of the button.
    pub(super) fn pair_press(&mut self, entropy: [u8; 48]) -> Reply {
        self.me.member()?;
        if !self.has_home() {
            return Err(OpError::NotPermitted("a cache joins by an invite: ask a keeper for one".into()));
        }
        if self.lan_port().is_none() {
            return Err(OpError::NotPermitted(
                "this node listens on no network: connect it, or start it with --listen ADDRESS".into(),
            ));
        }
        let standing = self.standing();
        let pressed = self.pairing.button.press(self.now.instant, standing, entropy);
        pressed.map(|()| Answer::Done).map_err(|refused| OpError::NotPermitted(refused.to_string()))
    }

    /// The button was held: the codes are equal.
    pub(super) fn pair_confirm(&mut self, entropy: [u8; 96]) -> Reply {
        let member = self.me.member()?;
        self.pairing.entropy = Some(Zeroizing::new(entropy));
        let confirmed = self.pairing.button.confirm(self.now.instant, &|bytes| member.sign(bytes));
        confirmed.map(|()| Answer::Done).map_err(|refused| OpError::NotPermitted(refused.to_string()))
    }

    /// The circles with friends: those that a friend is in, or was invited to.
    pub(super) fn friends_circles(&self) -> impl Iterator<Item = &super::circle::Circle> {
        let in_use = |circle: &&super::circle::Circle| {
            !circle.home && circle.role().is_some() && circle.roster.present().count() > 1
        };
        self.circles.values().filter(in_use)
    }

    fn standing(&self) -> Standing {
        let mut circles = self.friends_circles();
        match (circles.next(), circles.next()) {
            (None, _) => Standing::Blank,
            (Some(circle), None) if may_invite(circle) => Standing::Keeper,
            (Some(_), None) => Standing::Member,
            (Some(_), Some(_)) => Standing::Several,
        }
    }

    /// Somebody said something on the LAN.
    pub(super) fn heard(&mut self, said: Said, address: SocketAddr) {
        match said {
            Said::Pairing(beacon) => self.pairing.button.heard(self.now.instant, &beacon, address),
            Said::Presence(presence) => self.recognise(&presence, address),
        }
    }

    /// A friend on the LAN is dialled there, unless it is connected already.
    fn recognise(&mut self, presence: &Presence, address: SocketAddr) {
        let mut known = Vec::new();
        for circle in self.circles.values().filter(|circle| circle.role().is_some()) {
            let key = LanKey::new(circle.roster.founding());
            let devices = || circle.roster.allowed_transports().into_iter();
            let marks = presence.marks.iter();
            known.extend(marks.filter_map(|mark| key.recognise(mark, &presence.nonce, address.port(), devices())));
        }
        known.retain(|transport| *transport != self.me.device.transport && self.peers.by_key(transport).is_none());
        for transport in known {
            self.dials.hear(transport, address);
        }
    }

    /// The port under which the LAN reaches this node.
    fn lan_port(&self) -> Option<u16> {
        self.listening.iter().find(|address| !address.ip().is_loopback()).map(SocketAddr::port)
    }

    /// Says on the LAN what is new.
    pub(super) fn announce(&mut self) {
        let mut now = Announcement::default();
        if let Some(port) = self.lan_port() {
            let nonce = self.pairing.nonce.unwrap_or_else(|| self.fresh_nonce());
            self.pairing.nonce = Some(nonce);
            let own = self.me.device.transport;
            let circles = self.circles.values().filter(|circle| circle.role().is_some());
            let marks = circles.map(|circle| LanKey::new(circle.roster.founding()).mark(&nonce, port, &own)).collect();
            let pairing = self.pairing.button.beacon();
            now = Announcement { port, presence: Some(Presence { nonce, marks }), pairing };
        }
        if now != self.pairing.said {
            self.pairing.said = now.clone();
            self.actions.push_back(Action::Announce(now));
        }
    }

    /// Does what the button asks for, and tells listener and LAN how it stands.
    pub(super) fn pairing_due(&mut self) {
        self.pairing.button.handle_timeout(self.now.instant);
        while let Some(event) = self.pairing.button.poll_event() {
            self.pair_event(event);
        }
        if self.pairing.button.listens() != self.pairing.listening {
            self.tell_trust();
        }
        if self.pairing.button.beacon() != self.pairing.said.pairing && self.lan_port().is_some() {
            self.announce();
        }
    }

    fn pair_event(&mut self, event: Event) {
        match event {
            Event::Dial { key, address } => {
                let ticket = self.ticket();
                self.pairing.dial = Some(ticket);
                self.actions.push_back(Action::Dial { ticket, address, protocol: Protocol::Pair, expect: key });
            }
            Event::Send { conn, payload } => self.send(conn, 0, payload, Default::default()),
            Event::Close { conn, why } => self.close(conn, why),
            Event::Invite => {
                let circle = self.circle_to_share();
                self.pairing.button.invite(self.now.instant, circle);
            }
            Event::Admit { circle, role, device } => {
                let name = device.name.clone();
                let welcome = self.admit_device(&circle, role, device);
                if let Some((conn, reply)) = self.pairing.button.welcome(self.now.instant, welcome) {
                    log::info!("{name} joins as {}, by the button", role.word());
                    self.flush_at = Some(self.now.instant);
                    self.when_durable(Effect::Frame(conn, reply));
                }
            }
            Event::Install(welcome) => match self.install(*welcome) {
                Ok(circle) => self.when_durable(Effect::Paired(circle)),
                Err(error) => self.pairing.button.installed(self.now.instant, Err(error.to_string())),
            },
        }
    }

    /// The circle that the other box comes into: the one with friends, else one that waits for its first, else a new one.
    fn circle_to_share(&mut self) -> Result<(CircleId, String), String> {
        let entropy = self.pairing.entropy.take();
        let with_friends = self.friends_circles().next().map(|circle| circle.id);
        let waiting = self.circles.values().find(|circle| !circle.home && may_invite(circle)).map(|circle| circle.id);
        let id = match (with_friends.or(waiting), entropy) {
            (Some(id), _) => id,
            (None, Some(entropy)) => {
                let suite = self.preferred_suite();
                self.found(&self.free_name(FRIENDS), false, suite, *entropy).map_err(|error| error.to_string())?
            }
            (None, None) => return Err("there is no entropy to found a circle with".into()),
        };
        let circle = self.circles.get(&id).ok_or("the circle is gone")?;
        if !may_invite(circle) {
            return Err("only a keeper of the circle invites".into());
        }
        Ok((id, self.shown_name(circle)))
    }

    /// The circle that we were let into is durable.
    pub(super) fn paired(&mut self, circle: String) {
        log::info!("joined {circle}, by the button");
        self.pairing.button.installed(self.now.instant, Ok(circle));
    }

    /// A connection of pairing is up.
    pub(super) fn pair_connected(&mut self, conn: ConnId, dialled: Option<Ticket>) {
        if dialled.is_some() && self.pairing.dial.take() != dialled {
            return self.close(conn, "nobody waits for this connection".into());
        }
        let Some(peer) = self.peers.get(conn) else { return };
        let who = Peer { transport: peer.transport, exporter: peer.exporter };
        self.pairing.button.connected(self.now.instant, conn, &who, dialled.is_some());
    }

    /// True when the dial was one of pairing.
    pub(super) fn pair_dial_failed(&mut self, ticket: Ticket, why: &str) -> bool {
        let ours = self.pairing.dial == Some(ticket);
        if ours {
            self.pairing.dial = None;
            log::info!("the other box in the window was not reached: {why}");
            self.pairing.button.dial_failed(self.now.instant);
        }
        ours
    }

    /// A connection of pairing is gone.
    pub(super) fn pair_closed(&mut self, conn: ConnId) {
        self.pairing.button.closed(self.now.instant, conn);
    }

    /// A frame of pairing came.
    pub(super) fn pair_frame(&mut self, conn: ConnId, payload: &[u8]) {
        if let Ok(member) = self.me.member() {
            self.pairing.button.frame(self.now.instant, conn, payload, &|bytes| member.sign(bytes));
        }
    }
}

fn may_invite(circle: &super::circle::Circle) -> bool {
    circle.role() == Some(Role::Keeper) && circle.root_seed.is_some()
}

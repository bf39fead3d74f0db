//! Invites as the node carries them out: opening one, admitting who proves it, joining by one, removing a member.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use core::net::SocketAddr;

use super::circle::CircleEntropy;
use super::io::{Action, Answer, OpError, Protocol, Reply};
use super::{Effect, JOIN_TIME, Node};
use crate::base::limits::CIRCLES;
use crate::base::{CircleId, ConnId, MemberKey, Snapshot, Table, Ticket};
use crate::ledger::keys;
use crate::pair::{EpochKey, InviteText, InviterStep, Joiner, Peer, Secret, Welcome};
use crate::roster::{Added, Roster};
use crate::seal::member::verify;
use crate::seal::{CircleKey, Suite};
use crate::wire::statement::{Cut, Device, Role, Saying, SignedStatement};

/// The name of the circle that the first invite founds.
pub(super) const FRIENDS: &str = "Friends";
/// Joins under way at once.
const JOINS: usize = 8;

/// Joins under way, and what was told of open invites.
#[derive(Default)]
pub struct Invites {
    joins: Vec<Joining>,
    /// The trust that was told last allows the invite protocol.
    pub told_open: bool,
}

struct Joining {
    /// Of the operation.
    ticket: Ticket,
    invite: InviteText,
    left: VecDeque<SocketAddr>,
    /// Of the dial under way.
    dial: Option<Ticket>,
    conn: Option<ConnId>,
    joiner: Option<Joiner>,
    /// Why the addresses before failed.
    why: String,
}

impl<S: Snapshot> Node<S> {
    /// Opens an invite and returns its text.
    pub(super) fn invite(&mut self, circle: Option<String>, role: Role, time: Duration, entropy: [u8; 96]) -> Reply {
        let id = match circle {
            // A mistyped name must not found a circle.
            Some(name) => self.circle_named(&name).ok_or_else(|| {
                OpError::Invalid(format!("there is no circle called '{name}': found it with `dustfs found {name}`"))
            })?,
            None => {
                let with_friends: Vec<_> =
                    self.circles.values().filter(|circle| !circle.home && !circle.left).collect();
                match with_friends[..] {
                    [] => {
                        let suite = self.preferred_suite();
                        self.found(&self.free_name(FRIENDS), false, suite, entropy)?
                    }
                    [circle] => circle.id,
                    _ => return Err(OpError::Invalid("there are several circles: name one with --circle".into())),
                }
            }
        };
        let circle = self.circles.get(&id).ok_or(OpError::NotFound)?;
        if circle.role() != Some(Role::Keeper) || circle.root_seed.is_none() {
            return Err(OpError::NotPermitted("only a keeper of the circle invites: ask one to".into()));
        }
        if self.listening.is_empty() {
            return Err(OpError::NotPermitted("this node listens nowhere: start it with --listen ADDRESS".into()));
        }
        let minutes = u16::try_from(time.as_secs().div_ceil(60)).unwrap_or(u16::MAX);
        let name = circle.roster.name().to_string();
        let mut secret = [0; 16];
        let hashed: [u8; 32] = {
            use sha2::{Digest, Sha256};
            Sha256::digest([&entropy[..], b"invite secret"].concat()).into()
        };
        secret.copy_from_slice(&hashed[..16]);
        let refused = |error: crate::pair::PairError| OpError::Invalid(error.to_string());
        self.inviter.open(self.now.instant, id, role, time, secret).map_err(refused)?;
        let addresses = self.listening.iter().take(8).copied().collect();
        let text = InviteText { addresses, key: self.me.device.transport, secret, minutes, circle: Some(name) };
        self.invites_due();
        Ok(Answer::Invite(text.text()))
    }

    /// Tells the listener when the first invite opens and the last one ends.
    pub(super) fn invites_due(&mut self) {
        let open = self.inviter.any_open(self.now.instant);
        if open != self.invites.told_open {
            self.tell_trust();
        }
        let now = self.now.instant;
        let late: Vec<_> = self.peers.joining().filter(|(_, since)| *since + JOIN_TIME <= now).collect();
        for (conn, _) in late {
            self.close(conn, format!("no join in {} s", JOIN_TIME.as_secs()));
        }
    }

    /// Joins by an invite's text.
    pub(super) fn join(&mut self, ticket: Ticket, text: &str, _entropy: [u8; 96]) -> Option<Reply> {
        let invite = match InviteText::parse(text) {
            Ok(invite) => invite,
            Err(error) => return Some(Err(OpError::Invalid(error.to_string()))),
        };
        if invite.key == self.me.device.transport {
            return Some(Err(OpError::Invalid("this invite is this node's own: give it to a friend".into())));
        }
        if self.circles.len() >= CIRCLES {
            return Some(Err(OpError::Invalid(format!("a node has at most {CIRCLES} circles"))));
        }
        if self.invites.joins.len() >= JOINS {
            return Some(Err(OpError::Busy));
        }
        let left = invite.addresses.iter().copied().collect();
        let why = "the invite names no address".to_string();
        self.invites.joins.push(Joining { ticket, invite, left, dial: None, conn: None, joiner: None, why });
        self.dial_invite(self.invites.joins.len() - 1);
        None
    }

    fn dial_invite(&mut self, at: usize) {
        let dial = self.ticket();
        let Some(joining) = self.invites.joins.get_mut(at) else { return };
        joining.conn = None;
        joining.joiner = None;
        match joining.left.pop_front() {
            Some(address) => {
                joining.dial = Some(dial);
                let expect = joining.invite.key;
                self.actions.push_back(Action::Dial { ticket: dial, address, protocol: Protocol::Invite, expect });
            }
            None => {
                let joining = self.invites.joins.remove(at);
                let why = format!("the box that invited was not reached: {}", joining.why);
                self.reply(joining.ticket, Err(OpError::NotPermitted(why)));
            }
        }
    }

    /// A dial of ours came to nothing.
    pub(super) fn invite_dial_failed(&mut self, ticket: Ticket, why: &str) {
        if let Some(at) = self.invites.joins.iter().position(|joining| joining.dial == Some(ticket)) {
            self.invites.joins[at].why = why.to_string();
            self.dial_invite(at);
        }
    }

    /// The inviter is there: we prove the secret.
    pub(super) fn invite_connected(&mut self, conn: ConnId, ticket: Ticket) {
        let Some(at) = self.invites.joins.iter().position(|joining| joining.dial == Some(ticket)) else {
            return self.close(conn, "nobody waits for this connection".into());
        };
        let Some(exporter) = self.peers.get(conn).map(|peer| peer.exporter) else { return };
        let Ok(member) = self.me.member() else { return };
        let joining = &mut self.invites.joins[at];
        let invite = joining.invite.clone();
        let (joiner, message) = Joiner::new(invite, self.me.device.clone(), exporter, |bytes| member.sign(bytes));
        joining.dial = None;
        joining.conn = Some(conn);
        joining.joiner = Some(joiner);
        self.send(conn, 0, message, Bytes::new());
    }

    /// A connection of the invite protocol is gone.
    pub(super) fn invite_closed(&mut self, conn: ConnId, why: &str) {
        if let Some(at) = self.invites.joins.iter().position(|joining| joining.conn == Some(conn)) {
            self.invites.joins[at].why = why.to_string();
            self.dial_invite(at);
        }
    }

    /// A frame of the invite protocol came: an answer to us, or somebody who wants to join.
    pub(super) fn invite_frame(&mut self, conn: ConnId, payload: Bytes) {
        match self.invites.joins.iter().position(|joining| joining.conn == Some(conn)) {
            Some(at) => {
                let mut joining = self.invites.joins.remove(at);
                let Some(joiner) = joining.joiner.take() else { return };
                let installed = joiner
                    .message(&payload)
                    .map_err(|error| OpError::NotPermitted(error.to_string()))
                    .and_then(|welcome| self.install(welcome));
                self.close(conn, "the invite is done with".into());
                match installed {
                    Ok(name) => {
                        self.when_durable(Effect::Reply(joining.ticket, Ok(Answer::Circle(name))));
                    }
                    Err(error) => self.reply(joining.ticket, Err(error)),
                }
            }
            None => self.admit(conn, &payload),
        }
    }

    /// Somebody proves an invite of ours.
    fn admit(&mut self, conn: ConnId, payload: &[u8]) {
        let Some(peer) = self.peers.get(conn) else { return };
        let who = Peer { transport: peer.transport, exporter: peer.exporter };
        match self.inviter.message(self.now.instant, &who, payload, verify) {
            InviterStep::Refuse { reply, reason } => {
                log::warn!("somebody at {} did not join: {reason}", peer.remote);
                self.send(conn, 0, reply, Bytes::new());
                self.close(conn, reason.to_string());
            }
            InviterStep::Accepted { circle, role, device, invite } => {
                let name = device.name.clone();
                let welcome = self.admit_device(&circle, role, device);
                let reply = welcome.and_then(|welcome| {
                    self.inviter.welcome(&invite, &who.exporter, &welcome).map_err(|error| error.to_string())
                });
                match reply {
                    Ok(reply) => {
                        log::info!("{name} joins as {}", role.word());
                        self.flush_at = Some(self.now.instant);
                        self.when_durable(Effect::Frame(conn, reply));
                    }
                    Err(why) => {
                        log::warn!("{name} could not be admitted: {why}");
                        self.inviter.release(&invite);
                        self.close(conn, why);
                    }
                }
            }
        }
    }

    /// Puts a device on the roster, unless it is there, and makes what it needs to begin.
    pub(super) fn admit_device(&mut self, id: &CircleId, role: Role, device: Device) -> Result<Welcome, String> {
        let circle = self.circles.get(id).ok_or("the circle is gone")?;
        if circle.role() != Some(Role::Keeper) {
            return Err("this node left the circle, or keeps it no longer".into());
        }
        let known = circle.roster.device(&device.member).is_some_and(|known| *known == device);
        let transport = device.transport;
        if !known || circle.roster.role_of(&device.member).is_none() {
            let nonce = self.fresh_nonce();
            let circle = self.circles.get(id).ok_or("the circle is gone")?;
            let statement = circle.roster.say(
                self.me.device.member,
                nonce,
                Saying::Admit { device: device.clone(), role, parcel: None },
            );
            let member = self.me.member().map_err(|error| error.to_string())?;
            let statement = statement.sign(|bytes| member.sign(bytes));
            if self.learn_statement(id, statement, None)? == Added::Waiting {
                return Err("the roster is not whole: try again when a friend is online".into());
            }
        }
        let serial = self.fresh_nonce();
        let circle = self.circles.get(id).ok_or("the circle is gone")?;
        let role = circle
            .roster
            .role_of(&device.member)
            .ok_or("the device was removed from the circle before: it joins again with new keys")?;
        let root = circle.root_seed.as_ref().ok_or("this node holds no root key")?;
        let leaf = crate::cert::issue_leaf(root, &circle.root_der, &transport, serial).map_err(|e| e.to_string())?;
        let epochs = circle.epochs.iter().filter(|_| role.reads()).map(|(epoch, held)| EpochKey {
            epoch: *epoch,
            number: held.number,
            suite: held.keys.suite().number(),
            key: Secret(held.key.0),
        });
        Ok(Welcome {
            circle: *id,
            statements: circle.roster.statements().map(|statement| statement.bytes.clone()).collect(),
            leaf: leaf.into(),
            root_secret: (role == Role::Keeper).then(|| Secret(**root)),
            epochs: epochs.collect(),
            addresses: self
                .book
                .iter()
                .filter(|signed| circle.roster.member_by_transport(&signed.transport).is_some())
                .map(|signed| signed.bytes.clone())
                .collect(),
        })
    }

    /// Checks a welcome and takes the circle that it brings.
    pub(super) fn install(&mut self, welcome: Welcome) -> Result<String, OpError> {
        let refused = |why: String| OpError::NotPermitted(format!("the welcome is not right: {why}"));
        let mut statements = Vec::new();
        for bytes in &welcome.statements {
            statements.push(SignedStatement::decode(bytes.clone(), verify).map_err(|e| refused(e.to_string()))?);
        }
        let (roster, refusals) = Roster::load(statements).map_err(|error| refused(error.to_string()))?;
        if let Some(refusal) = refusals.first() {
            log::warn!("a statement in the welcome is left out: {refusal:?}");
        }
        let id = roster.circle();
        if id != welcome.circle {
            return Err(refused("its statements are of another circle".into()));
        }
        let role =
            roster.role_of(&self.me.device.member).ok_or_else(|| refused("this node is not on its roster".into()))?;
        let key = crate::cert::check_chain(&welcome.leaf, roster.root_der()).map_err(|e| refused(e.to_string()))?;
        if key != self.me.device.transport {
            return Err(refused("its certificate is for another device".into()));
        }
        let root = welcome.root_secret.as_ref().filter(|_| role == Role::Keeper);
        if self.circles.contains_key(&id) {
            return self.install_anew(&id, &welcome, statements_of(&roster));
        }
        let mut circle = super::circle::Circle::new(roster, false, welcome.leaf.clone(), self.me.device.member);
        circle.root_seed = root.map(|secret| zeroize::Zeroizing::new(secret.0));
        for epoch in &welcome.epochs {
            let suite = Suite::from_number(epoch.suite).ok_or_else(|| refused("an epoch's suite is unknown".into()))?;
            circle.learn_epoch(epoch.epoch, epoch.number, suite, CircleKey(epoch.key.0));
        }
        if role.reads() && circle.current().is_none() {
            return Err(refused("it has no key to read with".into()));
        }
        self.take_in(circle, welcome.addresses.clone());
        Ok(self.circles.get(&id).map(|circle| self.shown_name(circle)).unwrap_or_default())
    }

    /// Takes in a circle that is new here, with where its nodes are.
    pub(super) fn take_in(&mut self, circle: super::circle::Circle, addresses: Vec<Bytes>) {
        let id = circle.id;
        for statement in circle.roster.statements() {
            let bytes = statement.bytes.clone();
            self.ledger.put(Table::Statements, keys::statement(&id, &statement.hash), bytes);
        }
        self.circles.insert(id, circle);
        self.name_authors(&id);
        self.save_circle(&id);
        self.learn_addresses(addresses);
        self.tell_trust();
        self.roster_changed(&id);
        self.root_changed();
        self.flush_at = Some(self.now.instant);
    }

    /// Says something in a circle as this member, once it is signed, and does what follows.
    pub(super) fn say(&mut self, id: &CircleId, saying: Saying) -> Result<(), OpError> {
        let nonce = self.fresh_nonce();
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        let statement = circle.roster.say(self.me.device.member, nonce, saying);
        let member = self.me.member()?;
        let statement = statement.sign(|bytes| member.sign(bytes));
        self.learn_statement(id, statement, None).map(drop).map_err(OpError::NotPermitted)
    }

    /// Takes from a welcome to a circle that is here what is new of it; its chains and its tree stay.
    fn install_anew(
        &mut self,
        id: &CircleId,
        welcome: &Welcome,
        statements: Vec<SignedStatement>,
    ) -> Result<String, OpError> {
        for statement in statements {
            self.learn_statement(id, statement, None).map_err(OpError::NotPermitted)?;
        }
        let circle = self.circles.get_mut(id).ok_or(OpError::NotFound)?;
        circle.leaf = welcome.leaf.clone();
        circle.left = false;
        if let (Some(secret), Some(Role::Keeper)) = (&welcome.root_secret, circle.role()) {
            circle.root_seed = Some(zeroize::Zeroizing::new(secret.0));
        }
        let mut new_keys = false;
        for epoch in &welcome.epochs {
            if let (Some(suite), false) = (Suite::from_number(epoch.suite), circle.epochs.contains_key(&epoch.epoch)) {
                circle.learn_epoch(epoch.epoch, epoch.number, suite, CircleKey(epoch.key.0));
                new_keys = true;
            }
        }
        let name = circle.roster.name().to_string();
        if new_keys {
            self.reload_tree(id);
        }
        self.save_circle(id);
        self.learn_addresses(welcome.addresses.clone());
        self.tell_trust();
        self.roster_changed(id);
        self.flush_at = Some(self.now.instant);
        Ok(name)
    }

    /// Removes a member; a fresh epoch follows.
    pub(super) fn remove_member(
        &mut self,
        ticket: Ticket,
        circle: Option<String>,
        who: &str,
        entropy: [u8; 96],
    ) -> Option<Reply> {
        match self.try_remove(circle, who, entropy) {
            Ok(()) => {
                self.flush_at = Some(self.now.instant);
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Done)));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn try_remove(&mut self, circle: Option<String>, who: &str, entropy: [u8; 96]) -> Result<(), OpError> {
        let (mut found, mut called) = (BTreeSet::<(CircleId, MemberKey)>::new(), BTreeSet::new());
        for held in self.circles.values() {
            if circle.as_ref().is_some_and(|name| *name != self.shown_name(held)) {
                continue;
            }
            for member in held.roster.current() {
                let by_id = who.len() >= 8 && member.device.id().hex().starts_with(who);
                if member.name == who || by_id {
                    found.insert((held.id, member.device.member));
                } else if member.device.name == who {
                    called.insert((held.id, member.device.member));
                }
            }
        }
        // Of two that call themselves alike, the circle shows one under another name.
        if found.is_empty() {
            found = called;
        }
        let (id, member) = match found.into_iter().collect::<Vec<_>>()[..] {
            [] => return Err(OpError::Invalid(format!("there is no member called '{who}'"))),
            [one] => one,
            _ => {
                return Err(OpError::Invalid(format!(
                    "'{who}' is the name of several: name the circle, or the device id as `dustfs friends` shows it"
                )));
            }
        };
        let held = &self.circles[&id];
        if held.role() != Some(Role::Keeper) {
            return Err(OpError::NotPermitted("only a keeper of the circle removes: ask one to".into()));
        }
        // A chain that is not named ends before its first commit; incarnations are bounded, so that all fit.
        let cuts = held
            .chains
            .iter()
            .filter(|(chain, _)| chain.author == member)
            .map(|(chain, tip)| Cut { incarnation: chain.incarnation, sequence: tip.sequence, hash: tip.hash })
            .collect();
        self.say(&id, Saying::Remove { member, cuts })?;
        // Whoever is removed does not come back by a sheet of its own.
        self.remove_sheets(&id, &member)?;
        let entropy = CircleEntropy::from(entropy);
        if self.circles[&id].roster.needs_epoch() {
            let suite = self.preferred_suite();
            self.mint_epoch(&id, suite, CircleKey(entropy.key), entropy.envelope)?;
        }
        Ok(())
    }
}

fn statements_of(roster: &Roster) -> Vec<SignedStatement> {
    roster.statements().cloned().collect()
}

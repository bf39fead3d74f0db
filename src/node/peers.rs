//! Connections to our own nodes: hello, who is who, dials, addresses. One connection per pair: of two, the one that the
//! lower transport key dialled stays.

use std::collections::BTreeMap;

use bytes::Bytes;
use core::net::SocketAddr;

use super::io::{Action, Connected, Protocol};
use super::sync::Shared;
use super::{Node, StartError};
use crate::base::limits::SEND_QUEUE;
use crate::base::{CircleId, ConnId, InfoHash, Instant, MemberKey, Snapshot, Table, Ticket, TransportKey};
use crate::keep::holdings::Holdings;
use crate::roster::address::SignedAddress;
use crate::seal::member::{verify, verify_transport};
use crate::wire::control::{self, Control, Hello, VERSIONS};
use crate::wire::record::Bytes2;
use crate::wire::statement::Role;

/// What the signature in a hello covers besides the exporter and the transport key.
const HELLO_DOMAIN: &[u8] = b"dustfs hello 1\0";
/// Two devices that dial each other at once are connected twice within this time.
const RACE_TIME: std::time::Duration = std::time::Duration::from_secs(5);
/// Address records in one message.
const ADDRESSES_AT_ONCE: usize = 256;

/// All connections.
#[derive(Default)]
pub struct Peers {
    conns: BTreeMap<ConnId, Peer>,
    dialing: BTreeMap<Ticket, (TransportKey, SocketAddr)>,
}

/// One connection.
pub struct Peer {
    pub transport: TransportKey,
    /// The member key, once a hello proved it.
    pub member: Option<MemberKey>,
    pub remote: SocketAddr,
    pub since: Instant,
    pub dialed: bool,
    pub protocol: Protocol,
    pub exporter: [u8; 32],
    /// Payload bytes that were given out to be sent and have not left.
    pub queued: usize,
    /// Circles that both are in; empty before the hello.
    pub circles: BTreeMap<CircleId, Shared>,
    /// The circle whose root issued its certificate, while nothing that this node has heard admits it: all that it can do
    /// is hand in statements.
    pub certified: Option<CircleId>,
    greeted: bool,
    closing: bool,
    /// The dialling plan was told of it.
    counted: bool,
}

/// What went between this node and a device over connections that ended.
#[derive(Default)]
pub struct Past {
    pub uploaded: u64,
    pub downloaded: u64,
    pub seen: Instant,
}

impl Peers {
    pub fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.conns.get(&conn)
    }

    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.conns.get_mut(&conn)
    }

    /// Connections whose peer is in the circle.
    pub fn in_circle(&self, circle: &CircleId) -> impl Iterator<Item = (ConnId, &Peer)> {
        self.conns.iter().filter(|(_, peer)| peer.shares(circle)).map(|(conn, peer)| (*conn, peer))
    }

    pub fn all(&self) -> impl Iterator<Item = (ConnId, &Peer)> {
        self.conns.iter().map(|(conn, peer)| (*conn, peer))
    }

    /// Connections of the invite protocol, by recovery sheets, and of those that only a certificate speaks for, with when
    /// they came.
    pub fn joining(&self) -> impl Iterator<Item = (ConnId, Instant)> {
        let guest = |peer: &Peer| matches!(peer.protocol, Protocol::Invite | Protocol::Recover);
        let joins = move |peer: &Peer| guest(peer) || peer.certified.is_some();
        let joining = self.all().filter(move |(_, peer)| joins(peer) && !peer.closing);
        joining.map(|(conn, peer)| (conn, peer.since))
    }

    /// The open connection to this key.
    pub fn by_key(&self, key: &TransportKey) -> Option<(ConnId, &Peer)> {
        self.all()
            .find(|(_, peer)| peer.transport == *key && !peer.closing && matches!(peer.protocol, Protocol::Dustfs(_)))
    }

    /// Counts bytes that are given out to be sent; false where nothing is sent any more, because it is being closed.
    pub fn queue(&mut self, conn: ConnId, bytes: usize) -> bool {
        let Some(peer) = self.conns.get_mut(&conn).filter(|peer| !peer.closing) else { return false };
        peer.queued += bytes;
        true
    }
}

impl Peer {
    pub fn shares(&self, circle: &CircleId) -> bool {
        !self.closing && self.circles.contains_key(circle)
    }

    /// True for a stock client's connection for this torrent.
    pub fn is_for(&self, info_hash: &InfoHash) -> bool {
        !self.closing && matches!(&self.protocol, Protocol::Torrent(_, served) if served == info_hash)
    }

    pub fn holdings(&self, circle: &CircleId) -> Option<&Holdings> {
        self.circles.get(circle).map(|shared| &shared.holdings)
    }
}

impl<S: Snapshot> Node<S> {
    /// A TLS connection is up.
    pub fn connected(&mut self, connected: Connected) {
        let Connected { conn, protocol, transport, exporter, dialed, remote } = connected;
        let address = dialed.and_then(|ticket| self.peers.dialing.remove(&ticket)).map(|(_, address)| address);
        let certified = match protocol {
            Protocol::Dustfs(id) if dialed.is_none() => self.certified_for(&id, &transport),
            _ => None,
        };
        if let Some(ticket) = dialed {
            self.stock_dialed(ticket);
        }
        let peer = Peer {
            transport,
            member: None,
            remote,
            since: self.now.instant,
            dialed: dialed.is_some(),
            protocol,
            exporter,
            queued: 0,
            circles: BTreeMap::new(),
            certified,
            greeted: false,
            closing: false,
            counted: matches!(protocol, Protocol::Dustfs(_)) && certified.is_none(),
        };
        if protocol.is_guest() {
            self.peers.conns.insert(conn, peer);
            match (protocol, dialed) {
                (Protocol::Pair, _) => self.pair_connected(conn, dialed),
                (Protocol::Recover, Some(ticket)) => self.recovery_connected(conn, ticket),
                (Protocol::Recover, None) => self.hand_out(conn),
                (_, Some(ticket)) => self.invite_connected(conn, ticket),
                (_, None) => {}
            }
            return;
        }
        if let Protocol::Torrent(_, info_hash) = protocol {
            self.peers.conns.insert(conn, peer);
            return self.stock_connected(conn, info_hash);
        }
        let other = self.peers.by_key(&transport).map(|(other, peer)| (other, peer.dialed, peer.since));
        self.peers.conns.insert(conn, peer);
        if certified.is_none() {
            self.dials.connected(self.now.instant, transport, address);
        }
        if let Some((other, other_dialed, since)) = other {
            let ours_wins = self.me.device.transport < transport;
            // Whoever has a connection dials no other: a device that comes long after the race has lost the one that is
            // held here, as after a power cut.
            let lost = dialed.is_none() && since + RACE_TIME <= self.now.instant;
            let new_stays = lost || dialed.is_some() == ours_wins || dialed.is_some() == other_dialed;
            let loser = if new_stays { other } else { conn };
            self.close(loser, "another connection to the same device stays".into());
            if !new_stays {
                return;
            }
        }
        self.swarm.connected(self.now.instant, conn, dialed.is_some());
        let signed = [HELLO_DOMAIN, &exporter, &self.me.device.transport.0].concat();
        // A locked node proves its device alone, and is given what a cache is given.
        let member = self.me.member().ok();
        let hello = Hello {
            version: VERSIONS.0,
            lowest: VERSIONS.1,
            circles: self
                .circles
                .values()
                .filter(|circle| circle.admits(&transport) || certified == Some(circle.id))
                .map(|circle| circle.id)
                .collect(),
            member: member.map(|member| member.public()),
            signature: member.map(|member| Bytes2::from(&member.sign(&signed)[..])),
        };
        self.tell(conn, &Control::Hello(hello));
    }

    /// The circle, if its certificate is all that speaks for this key here: no circle admits it, this one did not remove
    /// it.
    fn certified_for(&self, id: &CircleId, transport: &TransportKey) -> Option<CircleId> {
        let circle = self.circles.get(id).filter(|circle| circle.role().is_some())?;
        let known = self.is_member_anywhere(transport) || circle.roster.removed_transports().contains(transport);
        (!known).then_some(*id)
    }

    /// True for who may hand in statements of this circle.
    pub(super) fn is_certified(&self, conn: ConnId, id: &CircleId) -> bool {
        self.peers.get(conn).is_some_and(|peer| peer.certified == Some(*id) && peer.greeted && !peer.closing)
    }

    /// A dial came to nothing.
    pub fn dial_failed(&mut self, ticket: Ticket, why: &str) {
        match self.peers.dialing.remove(&ticket) {
            Some((transport, address)) => {
                log::debug!("dialling {address} failed: {why}");
                self.dials.failed(self.now.instant, &mut self.rng, transport, address);
            }
            None if self.stock_dialed(ticket) => log::debug!("dialling a stock client failed: {why}"),
            None if self.pair_dial_failed(ticket, why) => {}
            None if self.recovery_dial_failed(ticket, why) => {}
            None => self.invite_dial_failed(ticket, why),
        }
    }

    /// A connection is gone.
    pub fn closed(&mut self, conn: ConnId, why: &str) {
        let Some(peer) = self.peers.conns.remove(&conn) else { return };
        match peer.protocol {
            Protocol::Dustfs(_) | Protocol::Torrent(..) => {}
            Protocol::Invite => return self.invite_closed(conn, why),
            Protocol::Pair => return self.pair_closed(conn),
            Protocol::Recover => return self.recovery_closed(conn, why),
        }
        let traffic = self.swarm.traffic(self.now.instant, conn);
        let past = self.past.entry(peer.transport).or_default();
        past.uploaded += traffic.uploaded;
        past.downloaded += traffic.downloaded;
        past.seen = self.now.instant;
        self.swarm.disconnected(self.now.instant, conn);
        for circle in self.circles.values_mut() {
            if circle.pull.is_some_and(|(from, _)| from == conn) {
                (circle.pull, circle.recall) = (None, None);
            }
        }
        if peer.counted {
            self.dials.disconnected(self.now.instant, &mut self.rng, peer.transport);
        }
        self.remember_away(peer.transport, peer.circles);
        self.rest_unoffered();
        self.mirror_soon();
        self.pull_where_behind();
    }

    /// Closes a connection for a reason.
    pub fn close(&mut self, conn: ConnId, why: String) {
        if let Some(peer) = self.peers.conns.get_mut(&conn)
            && !peer.closing
        {
            peer.closing = true;
            log::info!("closing the connection to {}: {why}", peer.transport);
            self.actions.push_back(Action::Close { conn, why });
        }
    }

    /// A frame came.
    pub fn frame(&mut self, conn: ConnId, channel: u32, payload: Bytes) {
        let Some(peer) = self.peers.conns.get(&conn) else { return };
        if peer.closing {
            return;
        }
        if peer.queued > 8 * SEND_QUEUE {
            return self.close(conn, "it asks for more than it takes".into());
        }
        if peer.protocol == Protocol::Invite {
            self.invite_frame(conn, payload);
        } else if peer.protocol == Protocol::Pair {
            self.pair_frame(conn, &payload);
        } else if peer.protocol == Protocol::Recover {
            self.recovery_frame(conn, &payload);
        } else if matches!(peer.protocol, Protocol::Torrent(..)) {
            self.swarm.message(self.now.instant, conn, channel, payload);
        } else if peer.certified.is_some() && peer.greeted {
            // Nothing else that it says is heard, and nothing is answered.
            if let Ok(Some(Control::Statements(statements))) = Control::decode(&payload)
                && channel == 0
            {
                self.on_statements(conn, statements);
            }
        } else if channel != 0 {
            if peer.greeted {
                self.swarm.message(self.now.instant, conn, channel, payload);
            } else {
                self.close(conn, "a torrent's message came before hello".into());
            }
        } else {
            match Control::decode(&payload) {
                Ok(Some(message)) => self.control(conn, message),
                Ok(None) => {}
                Err(error) => self.close(conn, error.to_string()),
            }
        }
    }

    fn control(&mut self, conn: ConnId, message: Control) {
        let greeted = self.peers.get(conn).is_some_and(|peer| peer.greeted);
        match message {
            Control::Hello(hello) if !greeted => self.hello(conn, hello),
            Control::Hello(_) => self.close(conn, "hello came twice".into()),
            _ if !greeted => self.close(conn, "a message came before hello".into()),
            Control::Roster(roster) => self.on_roster(conn, roster),
            Control::Statements(statements) => self.on_statements(conn, statements),
            Control::Heads(heads) => self.on_heads(conn, heads),
            Control::Pull(heads) => self.on_pull(conn, heads),
            Control::Commits(commits) => self.on_commits(conn, commits),
            Control::Addresses(addresses) => self.on_addresses(conn, addresses),
            Control::Holdings(holdings) => self.on_holdings(conn, holdings),
            Control::Open(open) => {
                self.wanted_by(conn, &[open.info_hash]);
                let share = self.share_of(conn, &open.info_hash);
                self.swarm.opened(self.now.instant, conn, open.channel, open.info_hash, share);
            }
            Control::Clients(clients) => self.on_clients(conn, clients),
            Control::Pledge(pledge) => self.on_pledge(conn, pledge),
            Control::Shut(shut) => self.swarm.shut(self.now.instant, conn, shut.channel),
        }
    }

    fn hello(&mut self, conn: ConnId, hello: Hello) {
        if hello.version < VERSIONS.1 || hello.lowest > VERSIONS.0 {
            let why = format!(
                "the peer speaks versions {} to {}, this node {} to {}: update the older one",
                hello.lowest, hello.version, VERSIONS.1, VERSIONS.0
            );
            return self.close(conn, why);
        }
        let Some(peer) = self.peers.get(conn) else { return };
        let transport = peer.transport;
        let signed = [HELLO_DOMAIN, &peer.exporter, &transport.0].concat();
        let member = match (&hello.member, &hello.signature) {
            (None, None) => None,
            (Some(member), Some(signature)) => match <&[u8; 64]>::try_from(&signature[..]) {
                Ok(signature) if verify(member, &signed, signature) => Some(*member),
                _ => return self.close(conn, "the member key's signature in hello is wrong".into()),
            },
            _ => return self.close(conn, "hello names a member key without a signature".into()),
        };
        let mut common = BTreeMap::new();
        for circle in hello.circles.iter().filter_map(|id| self.circles.get(id)) {
            let known = circle.roster.member_by_transport(&transport).map(|(device, _)| device.member);
            let fits = known.is_some_and(|known| member.is_none_or(|member| member == known));
            if fits && circle.role().is_some() {
                common.insert(circle.id, Shared::default());
            }
        }
        let certified = self.peers.get(conn).and_then(|peer| peer.certified).filter(|id| hello.circles.contains(id));
        if let Some((id, circle)) =
            certified.and_then(|id| Some((id, self.circles.get(&id)?))).filter(|_| common.is_empty())
        {
            let have = circle.roster.hashes();
            if let Some(peer) = self.peers.get_mut(conn) {
                peer.greeted = true;
            }
            return self.tell(conn, &Control::Roster(control::Roster { circle: id, have }));
        }
        if common.is_empty() {
            return self.close(conn, "there is no circle that both are in".into());
        }
        let ids: Vec<_> = common.keys().copied().collect();
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.greeted = true;
            peer.member = member;
            peer.circles = common;
        }
        if let Some(device) = self.device_of(&transport) {
            self.inviter.arrived(&device);
        }
        self.tell_addresses(conn);
        for id in ids {
            self.greet_circle(conn, &id);
        }
        self.feed_starved();
    }

    fn device_of(&self, transport: &TransportKey) -> Option<crate::base::DeviceId> {
        self.circles.values().find_map(|circle| Some(circle.roster.member_by_transport(transport)?.0.id()))
    }

    /// Sends a control message.
    pub fn tell(&mut self, conn: ConnId, message: &Control) {
        self.send(conn, 0, message.encode().into(), Bytes::new());
    }

    /// Asks the peer for a channel of a torrent.
    pub fn send_open(&mut self, conn: ConnId, channel: u32, info_hash: crate::base::InfoHash) {
        self.tell(conn, &Control::Open(control::Open { channel, info_hash }));
    }

    /// Closes a channel of a torrent.
    pub fn send_shut(&mut self, conn: ConnId, channel: u32) {
        match self.peers.get(conn).map(|peer| peer.protocol) {
            Some(Protocol::Torrent(..)) => self.close(conn, "the torrent is not shared any more".into()),
            _ => self.tell(conn, &Control::Shut(control::Shut { channel })),
        }
    }

    /// Bytes have left.
    pub fn sent(&mut self, conn: ConnId, bytes: usize) {
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.queued = peer.queued.saturating_sub(bytes);
            self.swarm.sent(self.now.instant, conn, bytes);
            self.serve_pulls(conn);
        }
    }

    /// Who may connect has changed: connections of those who may not are closed, new ones are dialled.
    pub fn roster_changed(&mut self, id: &CircleId) {
        let Some(circle) = self.circles.get(id) else { return };
        let allowed = circle.roster.allowed_transports();
        let here = circle.role().is_some();
        let mut lost = Vec::new();
        let mut gained = Vec::new();
        for (conn, peer) in &mut self.peers.conns {
            if peer.protocol.is_guest() || !peer.greeted {
                continue;
            }
            let fits = here && allowed.contains(&peer.transport);
            if !fits && peer.circles.remove(id).is_some() {
                lost.push(*conn);
            } else if fits && !peer.circles.contains_key(id) {
                gained.push((*conn, peer.transport));
            }
        }
        for conn in lost {
            self.close(conn, "the device is in one circle less".into());
        }
        // The circles in common are agreed in hello: a connection that gained one is made anew.
        for (conn, _) in gained {
            self.close(conn, "the devices share a new circle: connecting anew".into());
        }
        self.forget_pledges(id);
        self.safety_soon();
        self.plan_dials();
    }

    /// Wants a connection to every device of every circle.
    pub fn plan_dials(&mut self) {
        let mut wanted = std::collections::BTreeSet::new();
        for circle in self.circles.values().filter(|circle| circle.role().is_some()) {
            wanted.extend(circle.roster.allowed_transports());
        }
        wanted.remove(&self.me.device.transport);
        self.dials.retain(|transport| wanted.contains(transport));
        for transport in wanted {
            self.dials.want(transport, true);
        }
    }

    /// Dials whoever is due.
    pub fn dial_due(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        while let Some((transport, address)) = self.dials.poll(self.now.instant) {
            let circle = self
                .circles
                .values()
                .find(|circle| circle.role().is_some() && circle.roster.allowed_transports().contains(&transport));
            let Some(circle) = circle.map(|circle| circle.id) else {
                self.dials.want(transport, false);
                continue;
            };
            let ticket = self.ticket();
            self.peers.dialing.insert(ticket, (transport, address));
            let protocol = Protocol::Dustfs(circle);
            self.actions.push_back(Action::Dial { ticket, address, protocol, expect: transport });
        }
    }

    /// Reads the addresses of everybody, ours too.
    pub fn load_addresses(&mut self) -> Result<(), StartError> {
        let mut records = Vec::new();
        self.ledger.range(Table::Addresses, &[], &[0xff; 33], &mut |_, value| {
            records.push(Bytes::copy_from_slice(value));
            true
        })?;
        for bytes in records {
            if let Ok(signed) = SignedAddress::decode(bytes, |_, _, _| true) {
                self.dials.learn(signed.transport, &signed.addresses);
                self.book.learn(signed);
            }
        }
        Ok(())
    }

    /// Signs and spreads an address record when our addresses are others than we told last.
    pub fn tell_own_address(&mut self) {
        let transport = self.me.device.transport;
        let told = self.book.get(&transport).map(|signed| signed.addresses.clone());
        let number = self.book.next_number(&transport);
        let signed = SignedAddress::sign(transport, number, &self.listening, |bytes| self.me.transport.sign(bytes));
        if !signed.addresses.is_empty() && told.as_ref() != Some(&signed.addresses) {
            self.learn_address(signed, None);
        }
    }

    fn learn_address(&mut self, signed: SignedAddress, from: Option<ConnId>) {
        let transport = signed.transport;
        let (bytes, addresses) = (signed.bytes.clone(), signed.addresses.clone());
        if !self.book.learn(signed) {
            return;
        }
        if transport != self.me.device.transport {
            self.dials.learn(transport, &addresses);
        }
        self.ledger.put(Table::Addresses, transport.0.to_vec(), bytes.clone());
        self.flush_soon();
        let message = Control::Addresses(control::Addresses { records: vec![Bytes2::from(&bytes[..])] });
        let others: Vec<_> =
            self.peers.all().filter(|(conn, peer)| peer.greeted && Some(*conn) != from).map(|(conn, _)| conn).collect();
        for conn in others {
            if self.knows_device(conn, &transport) {
                self.tell(conn, &message);
            }
        }
    }

    /// True when the peer shares a circle with that device, and so may know where it is.
    fn knows_device(&self, conn: ConnId, transport: &TransportKey) -> bool {
        self.peers.get(conn).is_some_and(|peer| {
            peer.circles.keys().filter_map(|id| self.circles.get(id)).any(|circle| {
                *transport == self.me.device.transport || circle.roster.member_by_transport(transport).is_some()
            })
        })
    }

    /// Tells where everybody is whom the peer may know.
    pub fn tell_addresses(&mut self, conn: ConnId) {
        let records: Vec<_> = self
            .book
            .iter()
            .filter(|signed| self.knows_device(conn, &signed.transport))
            .map(|signed| Bytes2::from(&signed.bytes[..]))
            .collect();
        for records in records.chunks(ADDRESSES_AT_ONCE) {
            self.tell(conn, &Control::Addresses(control::Addresses { records: records.to_vec() }));
        }
    }

    fn on_addresses(&mut self, conn: ConnId, addresses: control::Addresses) {
        if addresses.records.len() > ADDRESSES_AT_ONCE {
            return self.close(conn, "it told more addresses at once than the limit".into());
        }
        for bytes in addresses.records {
            match SignedAddress::decode(bytes.into_vec().into(), verify_transport) {
                Ok(signed) => {
                    // One of our own that is newer than ours was forgotten here: ours must be newer than that.
                    let ours = signed.transport == self.me.device.transport;
                    if ours && self.book.learn(signed.clone()) {
                        self.tell_own_address();
                    } else if !ours && self.is_member_anywhere(&signed.transport) {
                        self.learn_address(signed, Some(conn));
                    }
                }
                Err(error) => return self.close(conn, error.to_string()),
            }
        }
    }

    fn is_member_anywhere(&self, transport: &TransportKey) -> bool {
        self.circles.values().any(|circle| circle.roster.member_by_transport(transport).is_some())
    }

    /// Addresses learned by an invite are taken like gossip.
    pub fn learn_addresses(&mut self, records: Vec<Bytes>) {
        for bytes in records {
            match SignedAddress::decode(bytes, verify_transport) {
                Ok(signed) if self.is_member_anywhere(&signed.transport) => self.learn_address(signed, None),
                Ok(_) => {}
                Err(error) => log::warn!("an address record is left out: {error}"),
            }
        }
    }

    /// The role that a peer's key has in a circle.
    pub fn role_of_peer(&self, conn: ConnId, id: &CircleId) -> Option<Role> {
        let peer = self.peers.get(conn)?;
        self.circles.get(id)?.roster.member_by_transport(&peer.transport).map(|(_, role)| role)
    }
}

//! Stock clients (libtorrent, qBittorrent): their certificates, their torrents, the tracker that they ask, and dialling
//! those that announced themselves.
//!
//! A stock client is on the roster as a cache whose two keys are one. It is told nothing but torrents: ciphertext, piece
//! by piece, each on a connection of its own. It never counts as a holder.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use sha2::{Digest, Sha256};

use super::circle::Circle;
use super::io::{Action, Announced, Answer, Inode, OpError, Protocol, Reply};
use super::read::{Spot, torrent_of};
use super::vault::State;
use super::{Effect, Node};
use crate::base::limits::{ANNOUNCES, DIALS};
use crate::base::{CircleId, ConnId, InfoHash, Instant, Now, Snapshot, Ticket, TransportKey, WallTime};
use crate::cert;
use crate::roster::Added;
use crate::roster::address::can_be_dialled;
use crate::swarm::{Layout, Offer};
use crate::wire::announce::Announce;
use crate::wire::control::{self, Control};
use crate::wire::metainfo::torrent_file;
use crate::wire::peer::Bitfield;
use crate::wire::statement::{Device, Role, Saying, check_label};

/// What stock clients said of themselves, and which of them are being dialled.
#[derive(Default)]
pub struct Stock {
    clients: BTreeMap<Key, Client>,
    dialing: BTreeMap<Ticket, Key>,
    /// When it is looked whom to dial.
    review: Option<Instant>,
    /// Under which circles the tracker showed itself to a host since that announced itself.
    shown: BTreeMap<IpAddr, Vec<CircleId>>,
}

/// A torrent and the key of a stock client.
type Key = (InfoHash, TransportKey);

/// A stock client that announced itself for one torrent.
struct Client {
    circle: CircleId,
    address: SocketAddr,
    until: Instant,
    /// When the others were told of it, where it announced itself to this node.
    told: Option<Instant>,
    /// It is not dialled before.
    rests_until: Instant,
}

impl<S: Snapshot> Node<S> {
    /// Admits a stock client, or renews the certificate of one; answers it as PEM.
    pub(super) fn guest(
        &mut self,
        ticket: Ticket,
        circle: Option<String>,
        name: &str,
        key: TransportKey,
    ) -> Option<Reply> {
        match self.admit_guest(circle, name, key) {
            Ok(pem) => {
                self.flush_at = Some(self.now.instant);
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Certificate(pem))));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn admit_guest(&mut self, circle: Option<String>, name: &str, key: TransportKey) -> Result<String, OpError> {
        let refused = |why: String| OpError::NotPermitted(why);
        check_label(name).map_err(|error| OpError::Invalid(error.to_string()))?;
        if !cert::knows_date(self.now.wall) {
            return Err(refused("this box does not know the date, which a certificate needs: connect it first".into()));
        }
        let id = self.kept_circle(circle)?;
        let device = Device::guest(name.into(), key);
        let roster = &self.circles[&id].roster;
        if roster.role_of(&device.member).is_none() {
            let saying = Saying::Admit { device: device.clone(), role: Role::Cache, parcel: None };
            let nonce = self.fresh_nonce();
            let statement = self.circles[&id].roster.say(self.me.device.member, nonce, saying);
            let member = self.me.member()?;
            let statement = statement.sign(|bytes| member.sign(bytes));
            if self.learn_statement(&id, statement, None).map_err(refused)? == Added::Waiting {
                return Err(refused("the roster is not whole: try again when a friend is online".into()));
            }
        }
        let (serial, until) = (self.fresh_nonce(), self.now.wall.0.saturating_add(GUEST_TIME.as_nanos() as i64));
        let circle = &self.circles[&id];
        let root = circle.root_seed.as_ref().ok_or_else(|| refused("this node holds no root key".into()))?;
        let leaf = cert::issue_guest(root, &circle.root_der, &key, serial, WallTime(until));
        Ok(cert::pem(&leaf.map_err(|error| refused(error.to_string()))?))
    }

    /// The circle of this name, or the only one with friends, or the owner's own; this node keeps it.
    fn kept_circle(&self, name: Option<String>) -> Result<CircleId, OpError> {
        let circle = match name {
            Some(name) => self.circle_named(&name).and_then(|id| self.circles.get(&id)),
            None => {
                let mut shared = self.circles.values().filter(|circle| !circle.home && circle.role().is_some());
                let first = shared.next();
                if shared.next().is_some() {
                    return Err(OpError::Invalid("there are several circles: name one with --circle".into()));
                }
                first.or_else(|| self.circles.values().find(|circle| circle.home))
            }
        };
        let circle = circle.ok_or_else(|| OpError::Invalid("there is no such circle".into()))?;
        if !keeps(circle) {
            return Err(OpError::NotPermitted("only a keeper of the circle admits stock clients: ask one to".into()));
        }
        Ok(circle.id)
    }

    /// The `.torrent` file of what is published under a path (`Friends/film`), for stock clients. Its trackers are the
    /// circle's keepers where they are known to listen, or `host` (`NAME:PORT`) alone.
    pub fn export_torrent(&self, path: &str, host: Option<&str>) -> Result<Vec<u8>, OpError> {
        let mut inode = Inode::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            inode = self.lookup(inode, name.as_bytes())?.inode;
        }
        let Spot::In(id, seen) = self.spot(inode)? else { return Err(OpError::IsDirectory) };
        let body = self.body(&id, &seen)?;
        let info_hash = torrent_of(&body).ok_or_else(|| {
            OpError::Invalid("it has no torrent: a file that is being written, or of up to 4096 bytes, has none".into())
        })?;
        let circle = self.circles.get(&id).ok_or(OpError::NotFound)?;
        let torrent = self.vault.torrents.get(&info_hash).ok_or(OpError::NotFound)?;
        let metainfo = self.metainfo(&id, &torrent.record).ok_or(OpError::NotFound)?;
        let hosts = match host {
            Some(host) => vec![host.to_owned()],
            None => self.trackers(circle),
        };
        if hosts.is_empty() {
            return Err(OpError::Invalid(
                "no keeper of the circle is known to listen: name one with --announce HOST:PORT".into(),
            ));
        }
        let turns = (1..=TURNS).map(|turn| if turn == 1 { String::new() } else { format!("?{turn}") });
        let urls: Vec<String> =
            turns.flat_map(|turn| hosts.iter().map(move |host| format!("https://{host}/announce{turn}"))).collect();
        Ok(torrent_file(&metainfo, &circle.root_pem, &urls))
    }

    /// Where the circle's keepers listen, this node first.
    fn trackers(&self, circle: &Circle) -> Vec<String> {
        let keepers = circle.roster.current().filter(|member| member.role == Role::Keeper);
        let keepers = keepers.map(|member| member.device.transport);
        let mut others: Vec<TransportKey> = keepers.filter(|key| *key != self.me.device.transport).collect();
        if keeps(circle) {
            others.insert(0, self.me.device.transport);
        }
        let addresses = others.iter().filter_map(|key| self.book.get(key)).flat_map(|signed| &signed.addresses);
        let mut addresses: Vec<SocketAddr> = addresses.copied().collect();
        if addresses.iter().any(|address| !address.ip().is_loopback()) {
            addresses.retain(|address| !address.ip().is_loopback());
        }
        addresses.truncate(TRACKERS);
        addresses.iter().map(ToString::to_string).collect()
    }

    /// The circle of a torrent that may be shared with its stock clients.
    pub fn circle_of_torrent(&self, info_hash: &InfoHash) -> Option<CircleId> {
        let circle = self.vault.torrents.get(info_hash)?.circle;
        self.circles.get(&circle).and_then(Circle::role).map(|_| circle)
    }

    /// The circle whose tracker answers under a host's name or at an address, and the certificate for that host. Which of
    /// several circles a client means that asks `from` there is not said before the certificate is shown: each has its
    /// turn, and the torrent's further addresses ([`TURNS`]) make a client ask again at once.
    pub fn tracker(&mut self, host: Result<&str, IpAddr>, from: IpAddr) -> Option<(CircleId, Bytes)> {
        let kept = self.circles.values().filter(|circle| keeps(circle) && !circle.roster.guest_transports().is_empty());
        let kept: Vec<CircleId> = kept.map(|circle| circle.id).collect();
        let id = self.turn(&kept, from)?;
        let circle = self.circles.get(&id)?;
        let name = match host {
            Ok(name) => name.to_owned(),
            Err(ip) => ip.to_string(),
        };
        let mut serial = [0; 16];
        serial.copy_from_slice(&Sha256::digest(name)[..16]);
        let root = circle.root_seed.as_ref()?;
        let leaf = cert::issue_tracker(root, &circle.root_der, &self.me.device.transport, serial, host).ok()?;
        Some((circle.id, leaf.into()))
    }

    /// One of these that was not shown to that host since all were. By chance, since several clients of one host that
    /// ask in step would else never be shown the right ones.
    fn turn(&mut self, kept: &[CircleId], from: IpAddr) -> Option<CircleId> {
        if kept.len() < 2 {
            return kept.first().copied();
        }
        if self.stock.shown.len() >= HOSTS && !self.stock.shown.contains_key(&from) {
            self.stock.shown.pop_first();
        }
        let shown = self.stock.shown.entry(from).or_default();
        if kept.iter().all(|circle| shown.contains(circle)) {
            shown.clear();
        }
        let left: Vec<CircleId> = kept.iter().filter(|circle| !shown.contains(circle)).copied().collect();
        let circle = left[self.rng.below(left.len() as u64) as usize];
        shown.push(circle);
        Some(circle)
    }

    /// A stock client announces itself. It is told who of the circle holds or fetches the torrent, and in how many
    /// seconds it asks again.
    pub fn announced(
        &mut self,
        now: Now,
        asked: &Announced,
        announce: &Announce,
    ) -> Result<(Vec<SocketAddr>, u64), String> {
        self.now = now;
        self.stock.shown.remove(&asked.from);
        let info_hash = announce.info_hash;
        let torrent = self.vault.torrents.get(&info_hash).filter(|torrent| torrent.circle == asked.circle);
        let torrent = torrent.ok_or("the circle has no such torrent")?;
        let mut peers = vec![asked.here];
        peers.extend(self.book.get(&self.me.device.transport).iter().flat_map(|signed| &signed.addresses));
        if matches!(torrent.state, State::Absent) && !torrent.wanted {
            peers.clear();
        }
        for (_, peer) in self.peers.in_circle(&asked.circle) {
            if self.offer_of(peer, &info_hash, torrent) != Offer::None {
                peers.extend(peer.dialed.then_some(peer.remote));
                peers.extend(self.book.get(&peer.transport).iter().flat_map(|signed| &signed.addresses));
            }
        }
        let key = (info_hash, asked.transport);
        let others =
            self.stock.clients.range((info_hash, TransportKey([0; 32]))..=(info_hash, TransportKey([255; 32])));
        peers.extend(others.filter(|(other, _)| **other != key).map(|(_, client)| client.address));
        let mut told = std::collections::BTreeSet::new();
        peers.retain(|peer| (!peer.ip().is_loopback() || asked.here.ip().is_loopback()) && told.insert(*peer));
        peers.truncate(PEERS_TOLD);
        if announce.stopped || announce.port == 0 {
            self.stock.clients.remove(&key);
        } else if self.stock.clients.len() < ANNOUNCES || self.stock.clients.contains_key(&key) {
            let address = SocketAddr::new(asked.from, announce.port);
            let told = self.stock.clients.get(&key).filter(|client| client.address == address);
            let told = told.and_then(|client| client.told).filter(|told| now.instant.since(*told) < ANNOUNCE_EVERY / 2);
            self.learn_client(key, asked.circle, address, Some(told.unwrap_or(now.instant)));
            if told.is_none() {
                let clients = vec![as_told(&key, &address)];
                let message = Control::Clients(control::Clients { circle: asked.circle, clients });
                let conns: Vec<ConnId> = self.peers.in_circle(&asked.circle).map(|(conn, _)| conn).collect();
                conns.into_iter().for_each(|conn| self.tell(conn, &message));
            }
        }
        self.settle();
        Ok((peers, ANNOUNCE_EVERY.as_secs()))
    }

    fn learn_client(&mut self, key: Key, circle: CircleId, address: SocketAddr, told: Option<Instant>) {
        let now = self.now.instant;
        let client = Client { circle, address, until: now + ANNOUNCE_EVERY * 2, told, rests_until: now };
        self.stock.clients.insert(key, client);
        self.stock.review = Some(now);
    }

    /// Tells a node of the circle which stock clients announced themselves here.
    pub(super) fn tell_clients(&mut self, conn: ConnId, id: &CircleId) {
        let (now, clients) = (self.now.instant, self.stock.clients.iter());
        let ours = clients.filter(|(_, client)| client.circle == *id && client.told.is_some() && client.until > now);
        let clients: Vec<_> = ours.map(|(key, client)| as_told(key, &client.address)).collect();
        if !clients.is_empty() {
            self.tell(conn, &Control::Clients(control::Clients { circle: *id, clients }));
        }
    }

    /// A keeper, whose node is a tracker, tells of stock clients. Each is dialled by its key, wherever it is said to be.
    pub(super) fn on_clients(&mut self, conn: ConnId, told: control::Clients) {
        let shares = self.peers.get(conn).is_some_and(|peer| peer.shares(&told.circle));
        if !shares || self.role_of_peer(conn, &told.circle) != Some(Role::Keeper) {
            return;
        }
        let guests = self.circles.get(&told.circle).map(|circle| circle.roster.guest_transports()).unwrap_or_default();
        for client in told.clients.into_iter().take(ANNOUNCES) {
            let key = (client.info_hash, client.transport);
            let known = self.stock.clients.get(&key);
            let address = client.address.parse().ok().filter(can_be_dialled);
            let Some(address) = address.filter(|_| guests.contains(&key.1)) else { continue };
            if known.map_or(self.stock.clients.len() < ANNOUNCES, |known| known.told.is_none()) {
                self.learn_client(key, told.circle, address, None);
            }
        }
    }

    /// Somebody waits for pieces: stock clients that may have them are looked at now.
    pub(super) fn ask_stock(&mut self) {
        if !self.stock.clients.is_empty() {
            self.stock.review = Some(self.now.instant);
        }
    }

    pub(super) fn stock_timeout(&self) -> Option<Instant> {
        self.stock.review.filter(|_| self.stopping.is_none())
    }

    /// Dials the stock clients that have announced what is wanted here.
    pub(super) fn stock_due(&mut self) {
        let now = self.now.instant;
        if self.stopping.is_some() || self.stock.review.is_none_or(|at| at > now) {
            return;
        }
        let circles = &self.circles;
        let stays = |key: &TransportKey, client: &Client| {
            let roster = circles.get(&client.circle).map(|circle| &circle.roster);
            client.until > now && roster.is_some_and(|roster| roster.member_by_transport(key).is_some())
        };
        self.stock.clients.retain(|(_, key), client| stays(key, client));
        self.stock.review = (!self.stock.clients.is_empty()).then(|| now + REVIEW);
        let due: Vec<_> = self
            .stock
            .clients
            .iter()
            .filter(|(key, client)| client.rests_until <= now && self.seeks(&key.0) && !self.is_with_stock(key))
            .map(|(key, client)| (*key, client.circle, client.address))
            .take(DIALS.saturating_sub(self.stock.dialing.len()))
            .collect();
        for (key, circle, address) in due {
            let ticket = self.ticket();
            self.stock.dialing.insert(ticket, key);
            let protocol = Protocol::Torrent(circle, key.0);
            self.actions.push_back(Action::Dial { ticket, address, protocol, expect: key.1 });
        }
    }

    /// True for a torrent that is to be fetched, and has room.
    fn seeks(&self, info_hash: &InfoHash) -> bool {
        let torrent = self.vault.torrents.get(info_hash);
        torrent
            .is_some_and(|torrent| !matches!(torrent.state, State::Whole) && self.is_to_be_fetched(info_hash, torrent))
            && !self.is_kept_out(info_hash)
    }

    fn is_with_stock(&self, key: &Key) -> bool {
        self.stock.dialing.values().any(|dialed| dialed == key)
            || self.stock_conns(&key.0).any(|conn| self.peers.get(conn).is_some_and(|peer| peer.transport == key.1))
    }

    /// A dial of ours ended; true when it was to a stock client.
    pub(super) fn stock_dialed(&mut self, ticket: Ticket) -> bool {
        let Some(key) = self.stock.dialing.remove(&ticket) else { return false };
        if let Some(client) = self.stock.clients.get_mut(&key) {
            client.rests_until = self.now.instant + REST;
        }
        true
    }

    /// Connections of stock clients for a torrent.
    pub(super) fn stock_conns(&self, info_hash: &InfoHash) -> impl Iterator<Item = ConnId> {
        self.peers.all().filter(|(_, peer)| peer.is_for(info_hash)).map(|(conn, _)| conn)
    }

    /// A stock client is connected for a torrent.
    pub(super) fn stock_connected(&mut self, conn: ConnId, info_hash: InfoHash) {
        let Some(share) = self.share_with_stock(&info_hash) else {
            return self.close(conn, "the torrent is not shared any more".into());
        };
        let now = self.now.instant;
        self.swarm.connected_stock(now, conn);
        self.swarm.opened(now, conn, Protocol::STOCK_CHANNEL, info_hash, Some(share));
        self.swarm.offer(now, conn, info_hash, Offer::Partial);
        self.feed_if_starved(&info_hash);
    }

    /// What is here of a torrent, also when nothing is.
    fn share_with_stock(&self, info_hash: &InfoHash) -> Option<(Layout, Bitfield)> {
        let torrent = self.vault.torrents.get(info_hash)?;
        let meta = self.metainfo(&torrent.circle, &torrent.record)?;
        let have = match &torrent.state {
            State::Absent => Bitfield::new(meta.piece_count()),
            State::Partial(partial) => partial.have.clone(),
            State::Whole => Bitfield::full(meta.piece_count()),
        };
        Some((Layout { length: meta.length, piece_length: meta.piece_length }, have))
    }
}

fn as_told((info_hash, transport): &Key, address: &SocketAddr) -> control::Client {
    control::Client { address: address.to_string(), info_hash: *info_hash, transport: *transport }
}

/// True where this node may issue certificates.
fn keeps(circle: &Circle) -> bool {
    circle.role() == Some(Role::Keeper) && circle.root_seed.is_some()
}

/// How long a stock client's certificate holds.
const GUEST_TIME: Duration = Duration::from_secs(90 * 86_400);
/// How often a stock client announces itself.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(600);
/// How often it is looked whether a stock client has what is wanted.
const REVIEW: Duration = Duration::from_secs(5);
/// A stock client that was dialled is not dialled again before.
const REST: Duration = Duration::from_secs(30);
/// Peers that one answer tells of.
const PEERS_TOLD: usize = 64;
/// Trackers that a `.torrent` file names.
const TRACKERS: usize = 8;
/// How often it names each, under addresses that mean the same: a client that fails goes on to the next at once, and asks
/// again after a quarter of a minute. More circles of one keeper with stock clients take longer.
const TURNS: usize = 4;
/// Hosts of which it is remembered what was shown to them.
const HOSTS: usize = 64;

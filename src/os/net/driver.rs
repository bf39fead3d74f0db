//! The task that owns the net's state: who is connected, which handshakes are in flight, whom to trust.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, Outgoing};
use super::handshake::{self, Established};
use super::stock::Stock;
use super::tls::{Identity, Trusted};
use super::{Command, Events, NetLimits};
use crate::base::{ConnId, Ticket, TransportKey};
use crate::node::io::{Connected, Input, Protocol, Trust};

/// See the module.
pub(super) struct Driver {
    identity: Arc<Identity>,
    limits: NetLimits,
    events: Events,
    stock: Arc<dyn Stock>,
    commands: mpsc::UnboundedReceiver<Command>,
    trusted: Arc<Trusted>,
    tasks: JoinSet<Report>,
    conns: BTreeMap<ConnId, Held>,
    last_conn: u64,
    dials: BTreeSet<Ticket>,
    /// Inbound handshakes in flight.
    handshakes: BTreeMap<Source, usize>,
    refusals: Refusals,
}

/// What is shown and believed in a dial, and the name that is asked for.
type How = (Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>);

/// A connection, as the driver knows it.
struct Held {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    protocol: Protocol,
    transport: TransportKey,
    dialled: bool,
    remote: SocketAddr,
}

/// What a task ends with.
enum Report {
    Accepted { source: Source, remote: SocketAddr, result: Result<Option<Box<Established>>, String> },
    Dialled { ticket: Ticket, result: Result<Box<Established>, String> },
    Ended { conn: ConnId, why: String },
}

impl Driver {
    pub(super) fn new(
        identity: Identity,
        limits: NetLimits,
        events: Events,
        stock: Arc<dyn Stock>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let identity = Arc::new(identity);
        Self {
            trusted: Arc::new(Trusted::nobody(identity.clone())),
            identity,
            limits,
            events,
            stock,
            commands,
            tasks: JoinSet::new(),
            conns: BTreeMap::new(),
            last_conn: 0,
            dials: BTreeSet::new(),
            handshakes: BTreeMap::new(),
            refusals: Refusals::default(),
        }
    }

    /// Runs until it is told to stop or nobody is left to tell it.
    pub(super) async fn run(mut self, listeners: Vec<TcpListener>) {
        let (arrivals, mut arrived) = mpsc::channel(ARRIVALS);
        let mut listening = JoinSet::new();
        for listener in listeners {
            listening.spawn(listen(listener, arrivals.clone()));
        }
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = self.commands.recv_many(&mut batch, BATCH) => {
                    let stop = count == 0 || batch.iter().any(|command| matches!(command, Command::Stop));
                    for command in batch.drain(..) {
                        self.command(command);
                    }
                    if stop {
                        break;
                    }
                }
                Some(report) = self.tasks.join_next() => self.report(report),
                Some((socket, remote)) = arrived.recv() => self.arrival(socket, remote),
            }
        }
        drop((listening, arrived));
        self.shut().await;
    }

    /// Closes everything; each dial and each connection gets its last event.
    async fn shut(mut self) {
        for ticket in std::mem::take(&mut self.dials) {
            (self.events)(Input::DialFailed { ticket, why: STOPPING.into() });
        }
        for held in self.conns.values() {
            let _ = held.outgoing.send(Outgoing::Close(STOPPING.into()));
        }
        while !self.conns.is_empty() {
            match self.tasks.join_next().await {
                Some(Ok(Report::Ended { conn, why })) => self.ended(conn, why),
                Some(Ok(_)) => {}
                Some(Err(error)) => raise(error),
                None => break,
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Dial { ticket, address, protocol, expect } => self.dial(ticket, address, protocol, expect),
            Command::DialSheet { ticket, address, key } => {
                self.dial_as(ticket, address, Protocol::Recover, Trusted::dial_sheet(key.seed()));
            }
            Command::Send { conn, channel, head, body } => {
                self.tell(conn, Outgoing::Frame { channel, head, body });
            }
            Command::Close { conn, why } => self.tell(conn, Outgoing::Close(why)),
            Command::Trust(trust) => self.trust(trust),
            Command::Stop => {}
        }
    }

    /// A connection that has just ended hears nothing any more; its `Closed` is on the way.
    fn tell(&mut self, conn: ConnId, out: Outgoing) {
        if let Some(held) = self.conns.get(&conn) {
            let _ = held.outgoing.send(out);
        }
    }

    fn dial(&mut self, ticket: Ticket, address: SocketAddr, protocol: Protocol, expect: TransportKey) {
        self.dial_as(ticket, address, protocol, self.trusted.dial(protocol, expect));
    }

    fn dial_as(&mut self, ticket: Ticket, address: SocketAddr, protocol: Protocol, how: Result<How, String>) {
        let (config, name) = match how {
            Ok(how) => how,
            Err(why) => return (self.events)(Input::DialFailed { ticket, why }),
        };
        self.dials.insert(ticket);
        let time = self.limits.handshake_time;
        self.tasks.spawn(async move {
            let result = match timeout(time, handshake::dial(address, protocol, config, name)).await {
                Ok(result) => result,
                Err(_) => Err(format!("{address} did not answer within {} s", time.as_secs_f32())),
            };
            Report::Dialled { ticket, result }
        });
    }

    fn arrival(&mut self, socket: TcpStream, remote: SocketAddr) {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let source = Source::of(remote.ip());
        let in_flight: usize = self.handshakes.values().sum();
        let of_source = self.handshakes.get(&source).copied().unwrap_or(0);
        if in_flight >= self.limits.handshakes || of_source >= self.limits.handshakes_per_source {
            return self.refusals.warn(remote, "too many handshakes are in flight");
        }
        self.handshakes.insert(source, of_source + 1);
        let (trusted, stock, time) = (self.trusted.clone(), self.stock.clone(), self.limits.handshake_time);
        self.tasks.spawn(async move {
            let result = match timeout(time, handshake::accept(socket, remote, trusted, stock)).await {
                Ok(result) => result,
                Err(_) => Err(format!("its handshake took longer than {} s", time.as_secs_f32())),
            };
            Report::Accepted { source, remote, result }
        });
    }

    fn report(&mut self, report: Result<Report, JoinError>) {
        match report {
            Ok(Report::Accepted { source, remote, result }) => {
                if let Some(count) = self.handshakes.get_mut(&source) {
                    *count -= 1;
                    if *count == 0 {
                        self.handshakes.remove(&source);
                    }
                }
                let connected = result.and_then(|established| match established {
                    Some(established) => self.connected(established, None),
                    None => Ok(()),
                });
                if let Err(why) = connected {
                    self.refusals.warn(remote, &why);
                }
            }
            Ok(Report::Dialled { ticket, result }) => {
                self.dials.remove(&ticket);
                if let Err(why) = result.and_then(|established| self.connected(established, Some(ticket))) {
                    (self.events)(Input::DialFailed { ticket, why });
                }
            }
            Ok(Report::Ended { conn, why }) => self.ended(conn, why),
            Err(error) => raise(error),
        }
    }

    /// Holds a connection and tells the node, unless the trust changed meanwhile or there are too many.
    fn connected(&mut self, established: Box<Established>, dialed: Option<Ticket>) -> Result<(), String> {
        let Established { stream, protocol, transport, exporter, remote } = *established;
        if !self.trusted.allows(protocol, &transport, dialed.is_some()) {
            return Err(format!("key {transport} is no longer trusted"));
        }
        let same_key = |held: &&Held| held.protocol == protocol && held.transport == transport;
        if self.conns.values().filter(same_key).count() >= self.limits.connections_per_key {
            return Err(format!("key {transport} has {} connections already", self.limits.connections_per_key));
        }
        let guest = protocol.is_guest() && dialed.is_none();
        let guests = self.conns.values().filter(|held| held.protocol == protocol && !held.dialled);
        if guest && guests.count() >= self.limits.guest_connections {
            return Err("too many are answering an invite, or pairing, at once".into());
        }
        let stock = matches!(protocol, Protocol::Torrent(..));
        let stocks = self.conns.values().filter(|held| matches!(held.protocol, Protocol::Torrent(..)) && !held.dialled);
        if stock && dialed.is_none() && stocks.count() >= self.limits.stock_connections {
            return Err("too many stock clients are connected".into());
        }
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let (sender, outgoing) = mpsc::unbounded_channel();
        let dialled = dialed.is_some();
        self.conns.insert(conn, Held { outgoing: sender, protocol, transport, dialled, remote });
        log::info!("connection {} with key {transport} at {remote} is up", conn.0);
        (self.events)(Input::Connected(Connected { conn, protocol, transport, exporter, dialed, remote }));
        let lasts = match protocol {
            Protocol::Torrent(..) => Some(self.limits.stock_time),
            Protocol::Pair if guest => Some(self.limits.pair_time),
            _ => guest.then_some(self.limits.invite_time),
        };
        let connection =
            Connection::new(conn, stream, stock, outgoing, self.events.clone(), self.limits.clone(), lasts);
        self.tasks.spawn(async move {
            let (conn, why) = connection.run().await;
            Report::Ended { conn, why }
        });
        Ok(())
    }

    fn ended(&mut self, conn: ConnId, why: String) {
        if let Some(held) = self.conns.remove(&conn) {
            log::info!("connection {} with key {} at {} is closed: {why}", conn.0, held.transport, held.remote);
            (self.events)(Input::Closed { conn, why });
        }
    }

    fn trust(&mut self, trust: Trust) {
        self.trusted = Arc::new(Trusted::new(self.identity.clone(), trust));
        for held in self.conns.values() {
            // Whoever came by an invite stays when it is spent, for the answer that is on its way; whoever pairs, when the
            // window is closed to others.
            let stays = held.protocol.is_guest();
            if !stays && !self.trusted.allows(held.protocol, &held.transport, held.dialled) {
                let _ = held.outgoing.send(Outgoing::Cut("its key is no longer trusted".into()));
            }
        }
    }
}

/// Hands on what connects; waits a moment when the machine is out of descriptors.
async fn listen(listener: TcpListener, arrivals: mpsc::Sender<(TcpStream, SocketAddr)>) {
    loop {
        match listener.accept().await {
            Ok(arrival) => {
                if arrivals.send(arrival).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                log::warn!("a connection could not be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A task of ours panicked, which is a bug of ours; none is cancelled while the driver runs.
fn raise(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}

/// Who shares the bound on handshakes: an IPv4 address, or the /64 that one IPv6 host may well have to itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Source(u128);

impl Source {
    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 64 << 64),
        }
    }
}

/// Warns of refused handshakes, a few per second: one whose reason was not told in this second is told before the others.
#[derive(Default)]
struct Refusals {
    second: Option<Instant>,
    told: Vec<String>,
    silent: usize,
}

impl Refusals {
    fn warn(&mut self, remote: SocketAddr, why: &str) {
        let now = Instant::now();
        if self.second.is_none_or(|second| now >= second + Duration::from_secs(1)) {
            if self.silent > 0 {
                log::warn!("{} more connections were refused", self.silent);
            }
            *self = Self { second: Some(now), told: Vec::new(), silent: 0 };
        }
        let known = self.told.iter().any(|told| told == why);
        if self.told.len() < if known { WARNINGS_PER_SECOND } else { 2 * WARNINGS_PER_SECOND } {
            self.told.push(why.to_owned());
            log::warn!("a connection from {remote} was refused: {why}");
        } else {
            self.silent += 1;
        }
    }
}

/// Commands taken at once.
const BATCH: usize = 256;
/// Accepted connections that may wait for the driver.
const ARRIVALS: usize = 16;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Refusals told in full.
const WARNINGS_PER_SECOND: usize = 4;
const STOPPING: &str = "the node is stopping";

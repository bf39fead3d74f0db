//! TCP and rustls under the node: dials, listens, checks certificates, and carries frames.
//!
//! One connection is `length | channel | payload` frames (`wire::frame`) inside mutual TLS 1.3. The listener's first
//! frame is an empty one on channel 0: by it the dialler knows that its own certificate was accepted, since TLS 1.3
//! ends the dialler's handshake before the listener has seen it. A stranger gets no byte beyond the handshake.
//!
//! The net knows certificates and keys ([`Trust`]), never roles: those are the node's.
//!
//! Invariant: each dial is answered once, by `Connected` or `DialFailed`; each `Connected` gets exactly one `Closed`,
//! and nothing of that connection is told after it.

mod connection;
mod driver;
mod handshake;
#[cfg(feature = "panel")]
pub mod mdns;
#[cfg(feature = "panel")]
mod responder;
mod stock;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use self::driver::Driver;
pub use self::stock::{NoStock, Stock};
use self::tls::Identity;
use crate::base::{ConnId, Ticket, TransportKey, limits};
use crate::node::io::{Input, Protocol, Trust};
use crate::seal::TransportSecret;

/// What a net needs to start.
pub struct NetConfig {
    /// Where to listen; port 0 takes a free one, `[::]` takes IPv4 as well.
    pub listen: Vec<SocketAddr>,
    /// Seed of the Ed25519 transport key.
    pub transport_seed: [u8; 32],
    /// Bounds on what others can make the net hold.
    pub limits: NetLimits,
}

/// Bounds on what others can make the net hold.
#[derive(Clone, Debug)]
pub struct NetLimits {
    /// Inbound handshakes in flight; a connection beyond is dropped.
    pub handshakes: usize,
    /// Of these, from one source: an IPv4 address or an IPv6 /64.
    pub handshakes_per_source: usize,
    /// Time that a dial or a handshake may take.
    pub handshake_time: Duration,
    /// Time without a byte after which a connection is closed; a third of it is the rhythm of keep-alives.
    pub idle_time: Duration,
    /// Time that closing may take to bring out what was sent before.
    pub close_time: Duration,
    /// Connections of one key under one protocol; the newest beyond is refused.
    pub connections_per_key: usize,
    /// Inbound connections of the invite protocol, whose keys nobody knows yet; and as many of pairing.
    pub guest_connections: usize,
    /// Time that a connection of the invite protocol may last.
    pub invite_time: Duration,
    /// Time that a connection of pairing may last.
    pub pair_time: Duration,
    /// Connections of stock clients that dialled.
    pub stock_connections: usize,
    /// Time that a stock client's connection may last: its certificate is then looked at again.
    pub stock_time: Duration,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            handshakes: limits::HANDSHAKES,
            handshakes_per_source: 8,
            handshake_time: limits::HANDSHAKE_TIME,
            idle_time: limits::IDLE_TIME,
            close_time: Duration::from_secs(2),
            connections_per_key: 8,
            guest_connections: 8,
            invite_time: Duration::from_secs(60),
            stock_connections: 64,
            stock_time: Duration::from_secs(86_400),
            pair_time: limits::PAIR_EXCHANGE_TIME + limits::PAIR_CODE_TIME + limits::PAIR_JOIN_TIME,
        }
    }
}

/// Told of each event on the net's runtime thread: `Connected`, `DialFailed`, `Frame`, `Sent` and `Closed` only. It may
/// call [`Net`]'s methods, and must not wait.
pub type Events = Arc<dyn Fn(Input) + Send + Sync>;

/// Handle of a running net. The net stops when it is told to, or when the last handle is dropped.
#[derive(Clone)]
pub struct Net {
    commands: mpsc::UnboundedSender<Command>,
    addresses: Arc<[SocketAddr]>,
}

impl Net {
    /// Binds the listeners and starts the net on the current tokio runtime.
    /// `stock` is asked about stock clients.
    pub async fn start(config: NetConfig, events: Events, stock: Arc<dyn Stock>) -> Result<Net, NetError> {
        let identity = Identity::new(&config.transport_seed)?;
        let mut listeners = Vec::with_capacity(config.listen.len());
        let mut addresses = Vec::with_capacity(config.listen.len());
        for address in config.listen {
            let bound = async {
                let listener = TcpListener::bind(address).await?;
                let really = listener.local_addr()?;
                Ok((listener, really))
            };
            let (listener, really) = bound.await.map_err(|error| NetError::Listen(address, error))?;
            listeners.push(listener);
            addresses.push(really);
        }
        let (commands, receiver) = mpsc::unbounded_channel();
        let driver = Driver::new(identity, config.limits, events, stock, receiver);
        tokio::spawn(driver.run(listeners));
        Ok(Net { commands, addresses: addresses.into() })
    }

    /// The addresses that are listened on, ports resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.to_vec()
    }

    /// Connects to `address`; answered by `Connected` with `ticket`, or by `DialFailed`.
    pub fn dial(&self, ticket: Ticket, address: SocketAddr, protocol: Protocol, expect: TransportKey) {
        self.command(Command::Dial { ticket, address, protocol, expect });
    }

    /// Connects to whoever is at `address` with the key of a recovery sheet; answered as [`Net::dial`] is.
    pub fn dial_sheet(&self, ticket: Ticket, address: SocketAddr, key: TransportSecret) {
        self.command(Command::DialSheet { ticket, address, key });
    }

    /// Sends a frame whose payload is `head` and then `body`, together at most
    /// [`FRAME_MAX`](limits::FRAME_MAX) bytes. Does nothing when the connection is gone. What waits is not bounded here:
    /// the node counts the credit of [`Input::Sent`].
    ///
    /// # Panics
    /// When the payload is over the limit: senders split what may become so long.
    pub fn send(&self, conn: ConnId, channel: u32, head: Bytes, body: Bytes) {
        assert!(head.len() + body.len() <= limits::FRAME_MAX, "no frame of ours is longer than its limit");
        self.command(Command::Send { conn, channel, head, body });
    }

    /// Closes after what was sent has gone out, or after [`NetLimits::close_time`]. No frame is told any more.
    pub fn close(&self, conn: ConnId, why: String) {
        self.command(Command::Close { conn, why });
    }

    /// Replaces the trust. Connections of keys that are no longer allowed are closed at once.
    pub fn trust(&self, trust: Trust) {
        self.command(Command::Trust(trust));
    }

    /// Stops listening, answers dials in flight with `DialFailed`, and closes all connections. What is asked after it is
    /// not answered.
    pub fn stop(&self) {
        self.command(Command::Stop);
    }

    /// Returns when the net has stopped and told its last event.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    fn command(&self, command: Command) {
        // After the stop there is nobody to tell: every connection was told closed, every dial failed.
        let _ = self.commands.send(command);
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What the handle tells the driver.
enum Command {
    Dial { ticket: Ticket, address: SocketAddr, protocol: Protocol, expect: TransportKey },
    DialSheet { ticket: Ticket, address: SocketAddr, key: TransportSecret },
    Send { conn: ConnId, channel: u32, head: Bytes, body: Bytes },
    Close { conn: ConnId, why: String },
    Trust(Trust),
    Stop,
}

/// Why the net did not start.
#[derive(Debug)]
pub enum NetError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The transport key cannot be used.
    Identity(String),
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetError::Listen(address, error) => {
                write!(f, "{address} cannot be listened on ({error}): ")?;
                f.write_str(match error.kind() {
                    io::ErrorKind::AddrInUse => "stop the program that has it, or choose another with --listen",
                    io::ErrorKind::PermissionDenied => "choose a port above 1023 with --listen",
                    _ => "choose an address of this machine with --listen",
                })
            }
            NetError::Identity(why) => write!(f, "the transport key cannot be used: {why}"),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NetError::Listen(_, error) => Some(error),
            NetError::Identity(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;

//! From a TCP stream to an authenticated TLS connection, both ways, in bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use super::stock::{self, Stock};
use super::tls::{self, Answer, Trusted};
use crate::base::TransportKey;
use crate::cert;
use crate::node::io::{Announced, Protocol};
use crate::wire::frame;

/// rustls reads 4 KiB at a time; from this buffer that is a copy and not a system call.
const SOCKET_BUFFER: usize = 65_536;

/// An empty frame on channel 0: the listener's first word, by which the dialler knows that it was accepted.
const GREETING: [u8; frame::HEADER] = [0; frame::HEADER];

/// The stream of a connection.
pub(super) type Stream = TlsStream<BufReader<TcpStream>>;

/// An authenticated connection that the node was not told of yet.
pub(super) struct Established {
    pub(super) stream: Stream,
    pub(super) protocol: Protocol,
    pub(super) transport: TransportKey,
    pub(super) exporter: [u8; 32],
    pub(super) remote: SocketAddr,
}

/// Answers a connection that came in; nothing is left of one to the tracker. The error is for the log.
pub(super) async fn accept(
    socket: TcpStream,
    remote: SocketAddr,
    trusted: Arc<Trusted>,
    stock: Arc<dyn Stock>,
) -> Result<Option<Box<Established>>, String> {
    let words = |error: io::Error| tls::accept_words(&error);
    socket.set_nodelay(true).map_err(words)?;
    let here = socket.local_addr().map_err(words)?;
    let here = SocketAddr::new(here.ip().to_canonical(), here.port());
    let socket = BufReader::with_capacity(SOCKET_BUFFER, socket);
    let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await.map_err(words)?;
    let hello = start.client_hello();
    let alpn = hello.alpn().into_iter().flatten();
    let answer = trusted.answer(hello.server_name(), alpn, &*stock, here.ip(), remote.ip());
    let (protocol, config) = match answer {
        Answer::Handshake(protocol, config) => (protocol, config),
        Answer::Tracker(circle, config) => {
            let mut stream = TlsStream::from(start.into_stream(config).await.map_err(words)?);
            let asked = Announced { circle, transport: key_of(&stream)?, from: remote.ip(), here };
            stock::answer_announce(&mut stream, asked, &*stock).await?;
            return Ok(None);
        }
        Answer::Refuse(alert, why) => {
            let mut socket = start.io;
            // Whether the alert reaches a stranger or not, it is refused.
            let _ = refuse(&mut socket, alert).await;
            return Err(why.into());
        }
    };
    let mut stream = TlsStream::from(start.into_stream(config).await.map_err(words)?);
    match protocol {
        Protocol::Torrent(_, info_hash) => {
            stock::hear(&mut stream, &info_hash).await?;
            let name = exporter(&stream)?;
            stock::greet(&mut stream, &info_hash, &name).await.map_err(words)?;
        }
        _ => {
            stream.write_all(&GREETING).await.map_err(words)?;
            stream.flush().await.map_err(words)?;
        }
    }
    established(stream, protocol, remote).map(Some)
}

/// Connects to `remote` and authenticates it. The error is for people.
pub(super) async fn dial(
    remote: SocketAddr,
    protocol: Protocol,
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
) -> Result<Box<Established>, String> {
    let socket = TcpStream::connect(remote).await.map_err(|error| format!("{remote} does not answer: {error}"))?;
    let words = |error: io::Error| tls::dial_words(&error, protocol, &remote);
    socket.set_nodelay(true).map_err(words)?;
    let socket = BufReader::with_capacity(SOCKET_BUFFER, socket);
    let mut stream = TlsStream::from(TlsConnector::from(config).connect(name, socket).await.map_err(words)?);
    if let Protocol::Torrent(_, info_hash) = protocol {
        let name = exporter(&stream)?;
        stock::greet(&mut stream, &info_hash, &name).await.map_err(words)?;
        stock::hear(&mut stream, &info_hash).await?;
        return established(stream, protocol, remote);
    }
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).await.map_err(words)?;
    if greeting != GREETING {
        return Err(format!("the peer at {remote} does not greet as dustfs/1 does"));
    }
    established(stream, protocol, remote)
}

fn established(stream: Stream, protocol: Protocol, remote: SocketAddr) -> Result<Box<Established>, String> {
    let transport = key_of(&stream)?;
    let exporter = exporter(&stream)?;
    Ok(Box::new(Established { stream, protocol, transport, exporter, remote }))
}

fn exporter(stream: &Stream) -> Result<[u8; 32], String> {
    let exporter = match stream {
        Stream::Client(stream) => stream.get_ref().1.export_keying_material([0; 32], tls::EXPORTER, None),
        Stream::Server(stream) => stream.get_ref().1.export_keying_material([0; 32], tls::EXPORTER, None),
    };
    exporter.map_err(|error| error.to_string())
}

fn key_of(stream: &Stream) -> Result<TransportKey, String> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first()).ok_or("the peer shows no certificate")?;
    Ok(cert::transport_key_of(leaf).ok_or("the peer's certificate has no Ed25519 key")?)
}

/// Sends a fatal alert in the clear (RFC 8446, 6), as fits an unanswered ClientHello.
async fn refuse(socket: &mut BufReader<TcpStream>, alert: AlertDescription) -> io::Result<()> {
    socket.write_all(&[21, 3, 3, 0, 2, 2, alert.into()]).await?;
    socket.shutdown().await
}

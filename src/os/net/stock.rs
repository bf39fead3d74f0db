//! Stock clients on the node's listener: the handshake of BEP 3 inside TLS, and the tracker.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::handshake::Stream;
use crate::base::{CircleId, InfoHash};
use crate::node::io::Announced;
use crate::wire::announce::{self, Announce, REQUEST_MAX};
use crate::wire::peer::Handshake;

/// What the listener asks the node while it answers a stock client. It is asked on the net's runtime thread, and must
/// not wait.
pub trait Stock: Send + Sync {
    /// The circle of a torrent that may be shared with its stock clients.
    fn circle_of(&self, info_hash: &InfoHash) -> Option<CircleId>;

    /// The circle whose tracker answers `from` there under a host's name, or at an address, and the certificate for that
    /// host, DER.
    fn tracker(&self, host: Result<&str, IpAddr>, from: IpAddr) -> Option<(CircleId, Bytes)>;

    /// A stock client announces itself: the peers that it is told of, and in how many seconds it asks again.
    fn announce(&self, asked: &Announced, announce: &Announce) -> Result<(Vec<SocketAddr>, u64), String>;
}

/// A listener that knows no stock clients.
#[derive(Clone, Copy, Debug)]
pub struct NoStock;

impl Stock for NoStock {
    fn circle_of(&self, _: &InfoHash) -> Option<CircleId> {
        None
    }

    fn tracker(&self, _: Result<&str, IpAddr>, _: IpAddr) -> Option<(CircleId, Bytes)> {
        None
    }

    fn announce(&self, _: &Announced, _: &Announce) -> Result<(Vec<SocketAddr>, u64), String> {
        Err("this node has no tracker".into())
    }
}

/// Says which torrent is meant, under a name of this connection's own. No stock client with SSL torrents lacks BEP 6 and 10.
pub(super) async fn greet(stream: &mut Stream, info_hash: &InfoHash, name: &[u8; 32]) -> io::Result<()> {
    let mut handshake = Handshake { info_hash: *info_hash, peer_id: [0; 20], fast: true, extended: true };
    // A stock client closes all but one of the connections whose names are alike.
    handshake.peer_id[..8].copy_from_slice(PROGRAM);
    handshake.peer_id[8..].copy_from_slice(&name[..12]);
    stream.write_all(&handshake.encode()).await?;
    stream.flush().await
}

/// Reads the other side's handshake, which must be for the torrent that TLS was made for.
pub(super) async fn hear(stream: &mut Stream, info_hash: &InfoHash) -> Result<(), String> {
    let mut bytes = [0; Handshake::LENGTH];
    let words = |error: io::Error| format!("it did not say which torrent it means: {error}");
    stream.read_exact(&mut bytes).await.map_err(words)?;
    let handshake = Handshake::decode(&bytes).map_err(|error| error.to_string())?;
    if handshake.info_hash != *info_hash {
        return Err("it asks for another torrent than it named to TLS".into());
    }
    if !handshake.fast || !handshake.extended {
        return Err("it does not speak BEP 6 and BEP 10: use a client built on libtorrent".into());
    }
    Ok(())
}

/// Answers the one request of a connection to the tracker.
pub(super) async fn answer_announce(stream: &mut Stream, asked: Announced, stock: &dyn Stock) -> Result<(), String> {
    let words = |error: io::Error| format!("its announce broke off: {error}");
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() >= REQUEST_MAX {
            return Err(format!("its announce is longer than {REQUEST_MAX} bytes"));
        }
        if stream.read_buf(&mut head).await.map_err(words)? == 0 {
            return Err("its announce broke off".into());
        }
        if !head.starts_with(&METHOD[..head.len().min(METHOD.len())]) {
            return Err("it named no torrent to TLS, and does not announce itself either".into());
        }
    }
    let announce = Announce::of_request(&head);
    let told = match &announce {
        Ok(announce) => stock.announce(&asked, announce),
        Err(error) => Err(error.to_string()),
    };
    let response = match &told {
        Ok((peers, interval_s)) => {
            announce::response(Ok(peers), announce.as_ref().is_ok_and(|announce| announce.compact), *interval_s)
        }
        Err(why) => announce::response(Err(why), true, 0),
    };
    stream.write_all(&response).await.map_err(words)?;
    stream.shutdown().await.map_err(words)?;
    told.map(drop)
}

/// What an announce begins with.
const METHOD: &[u8] = b"GET ";
/// How this program's names begin.
const PROGRAM: &[u8; 8] = b"-DF0100-";

//! Stock clients at the listener: their streams are told as frames of one channel, and their certificates open no more.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::base::{InfoHash, WallTime};
use crate::node::io::Announced;
use crate::wire::announce::Announce;
use crate::wire::peer::{Handshake, PeerMessage};

const TORRENT: InfoHash = InfoHash([0xAB; 20]);
const GUEST: u8 = 9;

/// A node that has one torrent and a tracker for circle 7.
struct Shares;

impl Stock for Shares {
    fn circle_of(&self, info_hash: &InfoHash) -> Option<CircleId> {
        (*info_hash == TORRENT).then_some(CircleId([7; 32]))
    }

    fn tracker(&self, host: Result<&str, std::net::IpAddr>, _: std::net::IpAddr) -> Option<(CircleId, Bytes)> {
        let circle = Circle::new(7);
        let leaf = cert::issue_tracker(circle.root.secret.seed(), &circle.root.der, &key(2), [2; 16], host);
        Some((circle.id, leaf.expect("a leaf").into()))
    }

    fn announce(&self, asked: &Announced, announce: &Announce) -> Result<(Vec<SocketAddr>, u64), String> {
        assert_eq!((asked.transport, asked.circle), (key(GUEST), CircleId([7; 32])));
        if announce.info_hash == TORRENT { Ok((vec![asked.here], 60)) } else { Err("no such torrent".into()) }
    }
}

async fn node(guests: &[u8]) -> Node {
    let circle = Circle::of(7, &[2]);
    let guests = guests.iter().map(|seed| key(*seed)).collect();
    let (sender, events) = mpsc::unbounded_channel();
    let told: Events = Arc::new(move |input| {
        let _ = sender.send(input);
    });
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let config = NetConfig { listen, transport_seed: [2; 32], limits: NetLimits::default() };
    let net = Net::start(config, told, Arc::new(Shares)).await.expect("a net");
    net.trust(trust(&[TrustedCircle { guests, ..circle.seen_by(2) }]));
    Node { net, events }
}

/// The leaf of the stock client with this seed, which ends with a day after 1970.
fn guest_leaf(seed: u8, day: i64) -> Bytes {
    let circle = Circle::new(7);
    let until = WallTime(day * 86_400_000_000_000);
    cert::issue_guest(circle.root.secret.seed(), &circle.root.der, &key(seed), [seed; 16], until)
        .expect("a leaf")
        .into()
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// Connects as a stock client does, naming `name` to TLS.
async fn connect(at: SocketAddr, seed: u8, leaf: &Bytes, name: &str, dustfs: bool) -> Tls {
    let identity = Identity::new(&[seed; 32]).expect("an identity");
    let config = if dustfs { identity.stranger(leaf, key(2)) } else { identity.stock(leaf, key(2)) };
    let socket = TcpStream::connect(at).await.expect("a connection");
    let name = name.to_owned().try_into().expect("a name");
    tokio_rustls::TlsConnector::from(config).connect(name, socket).await.expect("half a handshake")
}

/// What is answered to `words`, until the end of the connection.
async fn answered(stream: &mut Tls, words: &[u8]) -> (Vec<u8>, String) {
    let mut got = Vec::new();
    // It may be refused before all is written.
    let _ = stream.write_all(words).await;
    let end = stream.read_to_end(&mut got).await.map_or_else(|error| error.to_string(), |_| "the end".into());
    (got, end)
}

fn handshake(info_hash: InfoHash) -> [u8; 68] {
    Handshake { info_hash, peer_id: [b'x'; 20], fast: true, extended: true }.encode()
}

#[test]
fn a_stream_is_told_as_frames_of_one_channel() {
    run(async {
        let mut node = node(&[GUEST]).await;
        let leaf = guest_leaf(GUEST, 40_000);
        let mut stream = connect(node.address(), GUEST, &leaf, &TORRENT.hex(), false).await;
        stream.write_all(&handshake(TORRENT)).await.expect("it is taken");
        let mut theirs = [0; Handshake::LENGTH];
        stream.read_exact(&mut theirs).await.expect("a handshake");
        let theirs = Handshake::decode(&theirs).expect("a handshake");
        assert_eq!((theirs.info_hash, theirs.fast, theirs.extended), (TORRENT, true, true));
        let connected = node.connected().await;
        assert_eq!(connected.protocol, Protocol::Torrent(CircleId([7; 32]), TORRENT));
        assert_eq!((connected.transport, connected.dialed), (key(GUEST), None));

        // A sign of life is told to nobody; what follows is.
        let interested = PeerMessage::Interested.encode_stream_head();
        stream.write_all(&[&[0; 4], &interested[..], &interested[..2]].concat()).await.expect("it is taken");
        assert_eq!(node.frame().await, (Protocol::STOCK_CHANNEL, Bytes::from_static(&[2])));
        stream.write_all(&interested[2..]).await.expect("it is taken");
        assert_eq!(node.frame().await, (Protocol::STOCK_CHANNEL, Bytes::from_static(&[2])));
        let (head, body) = (Bytes::from_static(&[7, 0, 0, 0, 0, 0, 0, 0, 0]), Bytes::from_static(b"block"));
        node.net.send(connected.conn, Protocol::STOCK_CHANNEL, head, body);
        let mut piece = [0; 18];
        stream.read_exact(&mut piece).await.expect("a piece");
        assert_eq!(&piece[..5], [0, 0, 0, 14, 7]);
        assert_eq!(&piece[13..], b"block");

        // Removed, it is cut off.
        node.net.trust(trust(&[Circle::of(7, &[2]).seen_by(2)]));
        assert_eq!(node.closed().await, "its key is no longer trusted");
    });
}

#[test]
fn a_message_over_its_limit_ends_the_stream() {
    run(async {
        let mut node = node(&[GUEST]).await;
        let mut stream = connect(node.address(), GUEST, &guest_leaf(GUEST, 40_000), &TORRENT.hex(), false).await;
        stream.write_all(&[&handshake(TORRENT)[..], &[0, 3, 0, 1]].concat()).await.expect("it is taken");
        node.connected().await;
        assert_eq!(node.closed().await, "a peer message's length in bytes is 196609, the limit is 196608");
    });
}

#[test]
fn a_stock_client_opens_nothing_else() {
    run(async {
        let mut node = node(&[GUEST]).await;
        let (at, leaf) = (node.address(), guest_leaf(GUEST, 40_000));
        let circle = cert::server_name(&CircleId([7; 32]));
        let refused = "received fatal alert: AccessDenied";
        let mut stream = connect(at, GUEST, &leaf, &circle, true).await;
        assert_eq!(answered(&mut stream, b"").await, (vec![], refused.into()), "as one of our own nodes");
        let mut stream = connect(at, 8, &guest_leaf(8, 40_000), &TORRENT.hex(), false).await;
        assert_eq!(answered(&mut stream, &handshake(TORRENT)).await, (vec![], refused.into()), "not on the roster");
        let mut stream = connect(at, GUEST, &guest_leaf(GUEST, 20_500), &TORRENT.hex(), false).await;
        let (got, end) = answered(&mut stream, &handshake(TORRENT)).await;
        assert_eq!((got, &end[..]), (vec![], "received fatal alert: CertificateExpired"), "its time is over");
        let node_leaf = Circle::of(7, &[2]).seen_by(GUEST).leaf;
        let mut stream = connect(at, GUEST, &node_leaf, &TORRENT.hex(), false).await;
        let (got, end) = answered(&mut stream, &handshake(TORRENT)).await;
        assert!(got.is_empty() && end.starts_with("received fatal alert"), "a node's leaf: {end}");
        let mut stream = connect(at, GUEST, &leaf, &TORRENT.hex(), false).await;
        let (got, _) = answered(&mut stream, &handshake(InfoHash([1; 20]))).await;
        assert!(got.is_empty(), "another torrent");
        node.silent().await;
    });
}

#[test]
fn the_tracker_answers_one_announce() {
    run(async {
        let mut node = node(&[GUEST]).await;
        let (at, leaf) = (node.address(), guest_leaf(GUEST, 40_000));
        for (hash, expected) in [("%ab", "8:intervali60e"), ("%ac", "14:failure reason15:no such torrent")] {
            let request = format!("GET /announce?info_hash={}&port=1 HTTP/1.1\r\nHost: a\r\n\r\n", hash.repeat(20));
            let mut stream = connect(at, GUEST, &leaf, "127.0.0.1", false).await;
            let (got, end) = answered(&mut stream, request.as_bytes()).await;
            let got = String::from_utf8_lossy(&got);
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains(expected), "{got}");
            assert_eq!(end, "the end");
        }
        let long = format!("GET /announce?{}", "a".repeat(5_000));
        for words in [&b"\x13BitTorrent protocol"[..], long.as_bytes()] {
            let mut stream = connect(at, GUEST, &leaf, "tracker.example.org", false).await;
            assert!(answered(&mut stream, words).await.0.is_empty());
        }
        node.silent().await;
    });
}

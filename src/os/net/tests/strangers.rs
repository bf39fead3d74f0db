//! Who is let in, who is not, in which words, and how many may ask.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::seal::TransportSecret;

#[test]
fn a_dial_names_what_is_wrong() {
    run(async {
        let circle = Circle::of(7, &[1, 2]);
        let mut a = Node::start(1, trust(&[circle.seen_by(1)])).await;
        let mut b = Node::start(2, trust(&[circle.seen_by(2)])).await;
        let at = b.address();
        let dustfs = Protocol::Dustfs(circle.id);

        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
        a.net.dial(Ticket(1), nobody, dustfs, key(2));
        let why = a.dial_failed().await;
        assert!(why.starts_with(&format!("{nobody} does not answer")), "{why}");

        a.net.dial(Ticket(2), at, Protocol::Dustfs(CircleId([9; 32])), key(2));
        assert_eq!(a.dial_failed().await, "this node is not in circle 09090909");

        a.net.dial(Ticket(3), at, dustfs, key(3));
        assert_eq!(a.dial_failed().await, format!("key {} is not of a member of circle 07070707", key(3)));

        a.net.dial(Ticket(4), at, Protocol::Invite, key(2));
        assert_eq!(a.dial_failed().await, format!("the peer at {at} has no invite open: ask for a new one"));
        b.silent().await;
        a.silent().await;
    });
}

#[test]
fn a_right_chain_with_another_key_is_refused() {
    run(async {
        let circle = Circle::of(7, &[1, 2, 3]);
        let mut a = Node::start(1, trust(&[circle.seen_by(1)])).await;
        let mut b = Node::start(2, trust(&[circle.seen_by(2)])).await;
        a.net.dial(Ticket(1), b.address(), Protocol::Dustfs(circle.id), key(3));
        assert_eq!(a.dial_failed().await, format!("the peer at {} has another key than expected", b.address()));
        b.silent().await;
    });
}

#[test]
fn who_is_not_in_the_circle_is_refused() {
    run(async {
        let circle = Circle { removed: [key(3)].into(), ..Circle::of(7, &[1, 2]) };
        let mut b = Node::start(2, trust(&[circle.seen_by(2)])).await;
        let at = b.address();
        let dustfs = Protocol::Dustfs(circle.id);

        // A leaf of the right root, whose key is in the roster no more; the removed one has not heard of it.
        let removed = Circle { root: circle.root.clone(), ..Circle::of(7, &[1, 2, 3]) };
        let mut c = Node::start(3, trust(&[removed.seen_by(3)])).await;
        c.net.dial(Ticket(1), at, dustfs, key(2));
        let why = format!("the peer at {at} refused our key: for it, this device is not in the circle");
        assert_eq!(c.dial_failed().await, why);

        // A stranger who knows the circle's id and B's key, and made a root of his own. He believes what B shows.
        let strange = Circle { root: cert::create_root([66; 32], [6; 16]).expect("a root"), ..Circle::of(7, &[2]) };
        assert_eq!(stranger(&strange, at, key(2)).await, "received fatal alert: UnknownCA");

        // He does not believe it, as our own nodes do not.
        let mut d = Node::start(66, trust(&[strange.seen_by(66)])).await;
        d.net.dial(Ticket(2), at, dustfs, key(2));
        assert_eq!(d.dial_failed().await, format!("the certificate of the peer at {at} is not of this circle"));

        // A member of another circle, which B is not in.
        let other = Circle::of(8, &[2, 4]);
        let mut e = Node::start(4, trust(&[other.seen_by(4)])).await;
        e.net.dial(Ticket(3), at, Protocol::Dustfs(other.id), key(2));
        assert_eq!(e.dial_failed().await, format!("the peer at {at} is not in this circle"));
        b.silent().await;
    });
}

/// Dials with a leaf of `circle`, believing any certificate with the key `expect`; returns the end.
async fn stranger(circle: &Circle, at: SocketAddr, expect: TransportKey) -> String {
    let identity = Identity::new(&[66; 32]).expect("an identity");
    let connector = identity.stranger(&circle.seen_by(66).leaf, expect);
    let socket = TcpStream::connect(at).await.expect("a connection");
    let name = cert::server_name(&circle.id).try_into().expect("a name");
    let mut stream = tokio_rustls::TlsConnector::from(connector).connect(name, socket).await.expect("half a handshake");
    let mut byte = [0];
    stream.read_exact(&mut byte).await.expect_err("not a byte").to_string()
}

/// A keeper that was set back to before it admitted somebody would else refuse the only one who can remind it.
#[test]
fn whom_the_root_certified_comes_in_unheard_of_and_is_not_dialled() {
    run(async {
        let before = Circle::of(7, &[2]);
        let after = Circle { root: before.root.clone(), ..Circle::of(7, &[2, 3]) };
        let mut keeper = Node::start(2, trust(&[before.seen_by(2)])).await;
        let mut admitted = Node::start(3, trust(&[after.seen_by(3)])).await;
        admitted.net.dial(Ticket(1), keeper.address(), Protocol::Dustfs(before.id), key(2));
        assert_eq!((admitted.connected().await.transport, keeper.connected().await.transport), (key(2), key(3)));
        keeper.net.dial(Ticket(2), admitted.address(), Protocol::Dustfs(before.id), key(3));
        assert_eq!(keeper.dial_failed().await, format!("key {} is not of a member of circle 07070707", key(3)));

        // What else was told of its circle does not end it, but its removal does.
        keeper.net.trust(trust(&[before.seen_by(2)]));
        keeper.silent().await;
        keeper.net.trust(trust(&[Circle { removed: [key(3)].into(), ..before }.seen_by(2)]));
        assert_eq!(keeper.closed().await, "its key is no longer trusted");
        admitted.closed().await;
    });
}

#[test]
fn a_root_of_one_circle_opens_no_other() {
    run(async {
        // Keeper 3 of circle 7 issues itself a leaf of 7 and shows it under the name of circle 8, where it is no member.
        let (one, two) = (Circle::of(7, &[2, 3]), Circle::of(8, &[2]));
        let mut b = Node::start(2, trust(&[one.seen_by(2), two.seen_by(2)])).await;
        let crossed = Circle { id: two.id, ..Circle::of(7, &[2, 3]) };
        let why = stranger(&crossed, b.address(), key(2)).await;
        assert_eq!(why, "received fatal alert: UnknownCA");
        b.silent().await;
    });
}

#[test]
fn invites_are_answered_while_one_is_open() {
    run(async {
        let mut a = Node::start(1, Trust::default()).await;
        let mut b = Node::start(2, Trust { invites: true, ..Trust::default() }).await;
        a.net.dial(Ticket(1), b.address(), Protocol::Invite, key(3));
        assert_eq!(a.dial_failed().await, format!("the peer at {} has another key than expected", b.address()));
        a.net.dial(Ticket(2), b.address(), Protocol::Invite, key(2));
        let (at_a, at_b) = (a.connected().await, b.connected().await);
        assert_eq!((at_a.protocol, at_b.protocol), (Protocol::Invite, Protocol::Invite));
        assert_eq!((at_a.transport, at_b.transport), (key(2), key(1)));
        assert_eq!(at_a.exporter, at_b.exporter);

        // The invite is spent: the answer still goes out, and nobody else comes in.
        b.net.trust(Trust::default());
        b.net.send(at_b.conn, 0, Bytes::from_static(b"welcome"), Bytes::new());
        b.net.close(at_b.conn, "joined".into());
        assert_eq!(a.frame().await, (0, Bytes::from_static(b"welcome")));
        assert_eq!(a.closed().await, "the peer closed it");
        assert_eq!(b.closed().await, "joined");
        a.net.dial(Ticket(3), b.address(), Protocol::Invite, key(2));
        assert_eq!(a.dial_failed().await, format!("the peer at {} has no invite open: ask for a new one", b.address()));
    });
}

#[test]
fn only_the_key_of_a_sheet_that_can_be_used_is_let_in() {
    run(async {
        let sheet = TransportSecret::from_seed([9; 32]);
        let other = TransportSecret::from_seed([8; 32]);
        let mut a = Node::start(1, Trust::default()).await;
        let mut b = Node::start(2, Trust { sheets: [sheet.public()].into(), ..Trust::default() }).await;
        a.net.dial_sheet(Ticket(1), b.address(), other.clone());
        let why = a.dial_failed().await;
        assert!(why.contains("knows no such sheet"), "{why}");
        a.net.dial_sheet(Ticket(2), b.address(), sheet.clone());
        let (at_a, at_b) = (a.connected().await, b.connected().await);
        assert_eq!((at_a.protocol, at_b.protocol), (Protocol::Recover, Protocol::Recover));
        assert_eq!((at_a.transport, at_b.transport), (key(2), sheet.public()));
        b.net.close(at_b.conn, "told".into());
        a.closed().await;
        b.closed().await;

        // It was used, and what is told of a connection that comes in meanwhile is nothing.
        b.net.trust(Trust { sheets: [other.public()].into(), ..Trust::default() });
        a.net.dial_sheet(Ticket(3), b.address(), sheet.clone());
        assert!(a.dial_failed().await.contains("knows no such sheet"));
        b.net.trust(Trust::default());
        a.net.dial_sheet(Ticket(4), b.address(), sheet);
        assert!(a.dial_failed().await.contains("knows no such sheet"));
        b.silent().await;
    });
}

#[test]
fn guests_are_bounded_in_number_and_time() {
    run(async {
        let limits = NetLimits { guest_connections: 1, invite_time: Duration::from_secs(1), ..NetLimits::default() };
        let mut b = Node::with_limits(2, Trust { invites: true, ..Trust::default() }, limits).await;
        let mut a = Node::start(1, Trust::default()).await;
        let mut c = Node::start(3, Trust::default()).await;
        a.net.dial(Ticket(1), b.address(), Protocol::Invite, key(2));
        a.connected().await;
        b.connected().await;
        // The second is greeted and dropped.
        c.net.dial(Ticket(2), b.address(), Protocol::Invite, key(2));
        c.connected().await;
        c.closed().await;
        assert_eq!(b.closed().await, "its time was over");
        assert_eq!(a.closed().await, "it was cut");
        b.silent().await;
    });
}

#[test]
fn strangers_get_no_byte() {
    run(async {
        let circle = Circle::of(7, &[1, 2]);
        let limits = NetLimits { handshake_time: Duration::from_millis(200), ..NetLimits::default() };
        let mut b = Node::with_limits(2, trust(&[circle.seen_by(2)]), limits).await;

        let mut silent = TcpStream::connect(b.address()).await.expect("a connection");
        let mut got = Vec::new();
        let asked = std::time::Instant::now();
        timeout(PATIENCE, silent.read_to_end(&mut got)).await.expect("an end in time").expect("an end");
        assert_eq!(got, b"");
        assert!(asked.elapsed() >= Duration::from_millis(150));

        let mut garbage = TcpStream::connect(b.address()).await.expect("a connection");
        garbage.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("a request");
        got.clear();
        timeout(PATIENCE, garbage.read_to_end(&mut got)).await.expect("an end in time").ok();
        // A TLS alert of seven bytes at most, never one of ours.
        assert!(got.is_empty() || (got.len() == 7 && got[0] == 21), "{got:?}");
        b.silent().await;
    });
}

#[test]
fn handshakes_in_flight_are_bounded() {
    run(async {
        let circle = Circle::of(7, &[1, 2]);
        let limits = NetLimits {
            handshakes: 3,
            handshakes_per_source: 2,
            handshake_time: Duration::from_secs(5),
            ..NetLimits::default()
        };
        let mut b = Node::with_limits(2, trust(&[circle.seen_by(2)]), limits).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(TcpStream::connect(b.address()).await.expect("a connection"));
        }
        let mut third = TcpStream::connect(b.address()).await.expect("a connection");
        let mut byte = [0];
        let asked = std::time::Instant::now();
        assert_eq!(third.read(&mut byte).await.ok(), Some(0), "the newest is dropped");
        assert!(asked.elapsed() < Duration::from_secs(4), "at once");

        // From another source there is room for one more.
        let other = tokio::net::TcpSocket::new_v4().expect("a socket");
        other.bind("127.0.0.2:0".parse().expect("an address")).expect("another source");
        let mut other = other.connect(b.address()).await.expect("a connection");
        assert!(timeout(Duration::from_millis(100), other.read(&mut byte)).await.is_err(), "it is held");
        drop((held, other));

        // When these are gone, there is room again.
        let mut a = Node::start(1, trust(&[circle.seen_by(1)])).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        a.net.dial(Ticket(1), b.address(), Protocol::Dustfs(circle.id), key(2));
        a.connected().await;
        b.connected().await;
    });
}

#[test]
fn connections_of_one_key_are_bounded() {
    run(async {
        let circle = Circle::of(7, &[1, 2]);
        let limits = NetLimits { connections_per_key: 1, ..NetLimits::default() };
        let mut a = Node::start(1, trust(&[circle.seen_by(1)])).await;
        let mut b = Node::with_limits(2, trust(&[circle.seen_by(2)]), limits).await;
        a.net.dial(Ticket(1), b.address(), Protocol::Dustfs(circle.id), key(2));
        a.connected().await;
        b.connected().await;
        a.net.dial(Ticket(2), b.address(), Protocol::Dustfs(circle.id), key(2));
        a.connected().await;
        assert_eq!(a.closed().await, "it was cut");
        b.silent().await;
    });
}

#[test]
fn a_removed_key_is_cut_off() {
    run(async {
        let (mut a, _, mut b, at_b) = pair().await;
        let circle = Circle { removed: [key(1)].into(), ..Circle::of(7, &[2]) };
        b.net.trust(trust(&[circle.seen_by(2)]));
        assert_eq!(b.closed().await, "its key is no longer trusted");
        a.closed().await;
        b.net.send(at_b, 0, Bytes::from_static(b"late"), Bytes::new());
        a.net.dial(Ticket(9), b.address(), Protocol::Dustfs(circle.id), key(2));
        let why = a.dial_failed().await;
        assert!(why.contains("this device is not in the circle"), "{why}");
        b.silent().await;
    });
}

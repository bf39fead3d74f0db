//! Nets on the loopback interface: what they carry, and how it ends.

mod pairing;
mod stock;
mod strangers;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::base::CircleId;
use crate::base::limits::FRAME_MAX;
use crate::cert::{self, Root};
use crate::node::io::{Connected, TrustedCircle};

/// More than any step here takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

struct Circle {
    id: CircleId,
    root: Root,
    allowed: BTreeSet<TransportKey>,
    removed: BTreeSet<TransportKey>,
}

impl Circle {
    fn new(number: u8) -> Self {
        let root = cert::create_root([number; 32], [number; 16]).expect("a root");
        Self { id: CircleId([number; 32]), root, allowed: BTreeSet::new(), removed: BTreeSet::new() }
    }

    fn of(number: u8, members: &[u8]) -> Self {
        Self { allowed: members.iter().map(|seed| key(*seed)).collect(), ..Self::new(number) }
    }

    fn seen_by(&self, seed: u8) -> TrustedCircle {
        let leaf = cert::issue_leaf(self.root.secret.seed(), &self.root.der, &key(seed), [seed; 16]).expect("a leaf");
        TrustedCircle {
            circle: self.id,
            server_name: cert::server_name(&self.id),
            root: self.root.der.clone().into(),
            leaf: leaf.into(),
            allowed: self.allowed.clone(),
            removed: self.removed.clone(),
            guests: BTreeSet::new(),
        }
    }
}

fn key(seed: u8) -> TransportKey {
    cert::transport_key_of(&cert::self_signed(&[seed; 32]).expect("a certificate")).expect("its key")
}

/// A net with its events.
struct Node {
    net: Net,
    events: mpsc::UnboundedReceiver<Input>,
}

impl Node {
    async fn start(seed: u8, trust: Trust) -> Self {
        Self::with_limits(seed, trust, NetLimits::default()).await
    }

    async fn with_limits(seed: u8, trust: Trust, limits: NetLimits) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let told: Events = Arc::new(move |input| {
            let _ = sender.send(input);
        });
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let net = Net::start(NetConfig { listen, transport_seed: [seed; 32], limits }, told, Arc::new(NoStock))
            .await
            .expect("a net");
        net.trust(trust);
        Self { net, events }
    }

    fn address(&self) -> SocketAddr {
        self.net.addresses()[0]
    }

    async fn next(&mut self) -> Input {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("a running net")
    }

    /// The next event that is not credit.
    async fn fact(&mut self) -> Input {
        loop {
            match self.next().await {
                Input::Sent { .. } => {}
                input => return input,
            }
        }
    }

    async fn connected(&mut self) -> Connected {
        match self.fact().await {
            Input::Connected(connected) => connected,
            other => panic!("no connection but {other:?}"),
        }
    }

    async fn dial_failed(&mut self) -> String {
        match self.fact().await {
            Input::DialFailed { why, .. } => why,
            other => panic!("no failure but {other:?}"),
        }
    }

    async fn frame(&mut self) -> (u32, Bytes) {
        match self.fact().await {
            Input::Frame { channel, payload, .. } => (channel, payload),
            other => panic!("no frame but {other:?}"),
        }
    }

    async fn closed(&mut self) -> String {
        match self.fact().await {
            Input::Closed { why, .. } => why,
            other => panic!("no end but {other:?}"),
        }
    }

    /// Nothing was told, also not of what was on its way.
    async fn silent(&mut self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Ok(input) = self.events.try_recv() {
            panic!("not silent: {input:?}");
        }
    }
}

fn trust(circles: &[TrustedCircle]) -> Trust {
    Trust { circles: circles.to_vec(), ..Trust::default() }
}

/// Nodes 1 and 2 of one circle, connected; 1 dialled.
async fn pair() -> (Node, ConnId, Node, ConnId) {
    let circle = Circle::of(7, &[1, 2]);
    let mut a = Node::start(1, trust(&[circle.seen_by(1)])).await;
    let mut b = Node::start(2, trust(&[circle.seen_by(2)])).await;
    a.net.dial(Ticket(5), b.address(), Protocol::Dustfs(circle.id), key(2));
    let (at_a, at_b) = (a.connected().await, b.connected().await);
    assert_eq!((at_a.transport, at_b.transport), (key(2), key(1)));
    assert_eq!((at_a.dialed, at_b.dialed), (Some(Ticket(5)), None));
    assert_eq!((at_a.protocol, at_b.protocol), (Protocol::Dustfs(circle.id), Protocol::Dustfs(circle.id)));
    assert_eq!(at_a.exporter, at_b.exporter);
    assert_ne!(at_a.exporter, [0; 32]);
    assert_eq!(at_a.remote, b.address());
    (a, at_a.conn, b, at_b.conn)
}

#[test]
fn frames_go_both_ways() {
    run(async {
        let (mut a, at_a, mut b, at_b) = pair().await;
        let large: Bytes = (0..FRAME_MAX).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into();
        for (channel, payload) in [(0, &b"hello"[..]), (9, b""), (u32::MAX, &large)] {
            let payload = Bytes::copy_from_slice(payload);
            let half = payload.len() / 2;
            a.net.send(at_a, channel, payload.slice(..half), payload.slice(half..));
            assert_eq!(b.frame().await, (channel, payload.clone()));
            b.net.send(at_b, channel, payload.clone(), Bytes::new());
            assert_eq!(a.frame().await, (channel, payload));
        }
        for number in 0..10_000u32 {
            a.net.send(at_a, number, Bytes::copy_from_slice(&number.to_be_bytes()), Bytes::from_static(b"body"));
        }
        for number in 0..10_000u32 {
            let expected = [&number.to_be_bytes()[..], b"body"].concat();
            assert_eq!(b.frame().await, (number, expected.into()));
        }
        a.net.close(at_a, "enough".into());
        assert_eq!(a.closed().await, "enough");
        assert_eq!(b.closed().await, "the peer closed it");
        a.silent().await;
        b.silent().await;
    });
}

/// Connects to `node` as member 1, and leaves what happens then to the test.
async fn raw(circle: &Circle, node: &mut Node) -> (Box<handshake::Established>, ConnId) {
    let identity = Arc::new(Identity::new(&[1; 32]).expect("an identity"));
    let trusted = tls::Trusted::new(identity, trust(&[circle.seen_by(1)]));
    let dustfs = Protocol::Dustfs(circle.id);
    let (config, name) = trusted.dial(dustfs, key(2)).expect("a way");
    let raw = handshake::dial(node.address(), dustfs, config, name).await.expect("a connection");
    (raw, node.connected().await.conn)
}

#[test]
fn a_member_of_two_circles_uses_one_name_for_each() {
    run(async {
        let (one, two) = (Circle::of(7, &[1, 2]), Circle::of(8, &[1, 2]));
        let mut a = Node::start(1, trust(&[one.seen_by(1), two.seen_by(1)])).await;
        let mut b = Node::start(2, trust(&[one.seen_by(2), two.seen_by(2)])).await;
        for (circle, conn) in [(one.id, 1), (two.id, 2)] {
            a.net.dial(Ticket(conn), b.address(), Protocol::Dustfs(circle), key(2));
            let (at_a, at_b) = (a.connected().await, b.connected().await);
            assert_eq!((at_a.protocol, at_b.protocol), (Protocol::Dustfs(circle), Protocol::Dustfs(circle)));
            assert_eq!((at_a.conn, at_b.conn), (ConnId(conn), ConnId(conn)));
        }
    });
}

#[test]
fn a_frame_over_the_limit_ends_it() {
    run(async {
        let circle = Circle::of(7, &[1, 2]);
        let mut b = Node::start(2, trust(&[circle.seen_by(2)])).await;
        let (mut raw, _) = raw(&circle, &mut b).await;
        let length = FRAME_MAX as u32 + 1;
        raw.stream.write_all(&[length.to_be_bytes(), [0; 4]].concat()).await.expect("a header");
        raw.stream.flush().await.expect("a flush");
        assert_eq!(b.closed().await, "a frame's length in bytes is 2097153, the limit is 2097152");
        b.silent().await;
    });
}

#[test]
fn silence_ends_a_connection_and_keep_alives_do_not_let_it_come() {
    run(async {
        let circle = Circle::of(7, &[1, 2]);
        let brief = NetLimits { idle_time: Duration::from_millis(600), ..NetLimits::default() };
        let mut a = Node::with_limits(1, trust(&[circle.seen_by(1)]), brief.clone()).await;
        let mut b = Node::with_limits(2, trust(&[circle.seen_by(2)]), brief).await;
        a.net.dial(Ticket(1), b.address(), Protocol::Dustfs(circle.id), key(2));
        let at_a = a.connected().await.conn;
        b.connected().await;
        // Each keeps the other awake, and neither is told of it.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        a.silent().await;
        b.silent().await;
        a.net.close(at_a, "enough".into());
        a.closed().await;
        b.closed().await;

        // A peer that says nothing after its handshake.
        let (raw, _) = raw(&circle, &mut b).await;
        assert_eq!(b.closed().await, "nothing came for 0.6 s");
        drop(raw);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    run(async {
        let circle = Circle::of(7, &[1, 2]);
        let brief = NetLimits {
            idle_time: Duration::from_secs(1),
            close_time: Duration::from_millis(200),
            ..NetLimits::default()
        };
        let mut b = Node::with_limits(2, trust(&[circle.seen_by(2)]), brief).await;
        let payload = Bytes::from(vec![0; FRAME_MAX]);

        // It says a word now and then, and reads nothing.
        let (mut mute, conn) = raw(&circle, &mut b).await;
        for _ in 0..8 {
            b.net.send(conn, 1, payload.clone(), Bytes::new());
        }
        let talk = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if mute.stream.write_all(&[0; 8]).await.is_err() || mute.stream.flush().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let why = tokio::select! {
            why = b.closed() => why,
            () = talk => unreachable!("it talks for ever"),
        };
        assert_eq!(why, "it took nothing for 1 s");

        // Closing waits for it no longer than it may.
        let (mute, conn) = raw(&circle, &mut b).await;
        for _ in 0..8 {
            b.net.send(conn, 1, payload.clone(), Bytes::new());
        }
        b.net.close(conn, "enough".into());
        let asked = std::time::Instant::now();
        assert_eq!(b.closed().await, "enough");
        assert!(asked.elapsed() < Duration::from_secs(2));
        drop(mute);
    });
}

#[test]
fn credit_adds_up_to_what_was_sent() {
    run(async {
        let (mut a, at_a, mut b, _) = pair().await;
        for number in 0..100 {
            a.net.send(at_a, 1, Bytes::from_static(b"head"), Bytes::from(vec![0; number * 100]));
        }
        let mut credit = 0;
        let mut events = 0;
        while credit < 100 * 4 + 495_000 {
            let Input::Sent { conn, bytes } = a.next().await else { panic!("not credit") };
            assert_eq!(conn, at_a);
            credit += bytes;
            events += 1;
        }
        assert_eq!(credit, 100 * 4 + 495_000);
        assert!(events < 50, "{events} events are not coalesced");
        for _ in 0..100 {
            b.frame().await;
        }
        a.silent().await;
    });
}

#[test]
fn what_was_sent_before_closing_arrives() {
    run(async {
        let (mut a, at_a, mut b, _) = pair().await;
        let payload = Bytes::from(vec![7; FRAME_MAX]);
        for _ in 0..4 {
            a.net.send(at_a, 3, payload.clone(), Bytes::new());
        }
        a.net.close(at_a, "done".into());
        for _ in 0..4 {
            assert_eq!(b.frame().await, (3, payload.clone()));
        }
        assert_eq!(b.closed().await, "the peer closed it");
        assert_eq!(a.closed().await, "done");
    });
}

#[test]
fn stopping_answers_everything() {
    run(async {
        let (mut a, _, mut b, _) = pair().await;
        // A listener that accepts into its backlog and never answers.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let circle = Circle::of(7, &[1, 2]);
        let at = mute.local_addr().expect("its address");
        a.net.dial(Ticket(1), at, Protocol::Dustfs(circle.id), key(2));
        a.net.stop();
        assert_eq!(a.dial_failed().await, "the node is stopping");
        assert_eq!(a.closed().await, "the node is stopping");
        assert_eq!(b.closed().await, "the peer closed it");
        a.net.stopped().await;
        assert!(TcpStream::connect(a.address()).await.is_err(), "it still listens");
    });
}

#[test]
fn an_address_in_use_is_named() {
    run(async {
        let a = Node::start(1, Trust::default()).await;
        let config = NetConfig { listen: vec![a.address()], transport_seed: [2; 32], limits: NetLimits::default() };
        let error = Net::start(config, Arc::new(|_| {}), Arc::new(NoStock))
            .await
            .expect_err("the address is in use")
            .to_string();
        assert!(error.starts_with(&format!("{} cannot be listened on", a.address())), "{error}");
        assert!(error.ends_with("stop the program that has it, or choose another with --listen"), "{error}");
    });
}

#[test]
fn throughput_is_printed() {
    run(async {
        const BLOCK: usize = 131_072;
        const BLOCKS: usize = 2_048;
        let (mut a, at_a, mut b, _) = pair().await;
        let block = Bytes::from(vec![7; BLOCK]);
        let started = std::time::Instant::now();
        let (mut queued, mut received) = (0, 0);
        let mut credit = 2 * 1_048_576;
        while received < BLOCKS {
            while queued < BLOCKS && credit >= BLOCK {
                a.net.send(at_a, 1, Bytes::from_static(b"head"), block.slice(4..));
                credit -= BLOCK;
                queued += 1;
            }
            tokio::select! {
                event = a.next() => if let Input::Sent { bytes, .. } = event { credit += bytes },
                (_, payload) = b.frame() => {
                    assert_eq!(payload.len(), BLOCK);
                    received += 1;
                }
            }
        }
        let rate = (BLOCK * BLOCKS) as f64 / started.elapsed().as_secs_f64() / 1_048_576.0;
        println!("both ends of a connection on one thread carry {rate:.0} MiB/s");
    });
}

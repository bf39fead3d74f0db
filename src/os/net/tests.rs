//! Two and more nets on the loopback interface, and strangers of several kinds.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::base::CircleId;
use crate::base::limits::FRAME_MAX;
use crate::cert::{self, Root};
use crate::node::io::{Connected, TrustedCircle};
use crate::wire::frame::Header;

/// More than any step here takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

struct Circle {
    id: CircleId,
    root: Root,
    allowed: BTreeSet<TransportKey>,
}

impl Circle {
    fn new(number: u8) -> Self {
        let root = cert::create_root([number; 32], [number; 16]).expect("a root");
        Self { id: CircleId([number; 32]), root, allowed: BTreeSet::new() }
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
        let net = Net::start(NetConfig { listen, transport_seed: [seed; 32], limits }, told).await.expect("a net");
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
    Trust { circles: circles.to_vec(), invites: false }
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

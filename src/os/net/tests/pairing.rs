//! Pairing over real TLS: two buttons on two nets come to one code, and a man in the middle makes two of it.

use super::*;
use crate::pair::Button;
use crate::pair::Peer;
use crate::pair::button::{Event, Standing, State};
use crate::seal::MemberSecret;
use crate::wire::beacon::Pairing;
use crate::wire::statement::Device;

/// A net with a button that was pressed.
struct Pressed {
    node: Node,
    button: Button,
    member: MemberSecret,
}

const NOW: crate::base::Instant = crate::base::Instant(1);

impl Pressed {
    async fn start(seed: u8) -> Self {
        let node = Node::start(seed, Trust { pairing: true, ..Trust::default() }).await;
        let member = MemberSecret::from_seed([seed; 32]);
        let device = Device { member: member.public(), name: format!("box {seed}"), transport: key(seed) };
        let mut button = Button::new(device);
        button.press(NOW, Standing::Blank, [seed; 48]).expect("a window");
        Self { node, button, member }
    }

    fn hear(&mut self, other: TransportKey, address: SocketAddr) {
        self.button.heard(NOW, &Pairing { nonce: [0; 16], key: other, overlap: false }, address);
    }

    /// Dials at once.
    fn dial(&mut self, address: SocketAddr, expect: TransportKey) {
        self.node.net.dial(Ticket(1), address, Protocol::Pair, expect);
    }

    /// Takes part until its button has nothing to wait for but a person, or has given up.
    async fn play(&mut self) {
        while !matches!(self.button.state(), State::Code { .. }) {
            let over = match self.node.fact().await {
                Input::Connected(told) => {
                    let peer = Peer { transport: told.transport, exporter: told.exporter };
                    self.button.connected(NOW, told.conn, &peer, told.dialed.is_some());
                    false
                }
                Input::Frame { conn, payload, .. } => {
                    let member = &self.member;
                    self.button.frame(NOW, conn, &payload, &|bytes| member.sign(bytes));
                    false
                }
                Input::Closed { conn, .. } => {
                    self.button.closed(NOW, conn);
                    true
                }
                other => panic!("not expected: {other:?}"),
            };
            while let Some(event) = self.button.poll_event() {
                match event {
                    Event::Send { conn, payload } => self.node.net.send(conn, 0, payload, Bytes::new()),
                    Event::Close { conn, why } => self.node.net.close(conn, why),
                    other => panic!("not expected: {other:?}"),
                }
            }
            if over {
                return;
            }
        }
    }

    fn digits(&self) -> Option<[u8; 4]> {
        match self.button.state() {
            State::Code { digits, .. } => Some(digits),
            _ => None,
        }
    }
}

#[test]
fn two_boxes_come_to_one_code() {
    run(async {
        let (mut a, mut b) = (Pressed::start(1).await, Pressed::start(2).await);
        a.hear(key(2), b.node.address());
        b.hear(key(1), a.node.address());
        a.dial(b.node.address(), key(2));
        tokio::join!(a.play(), b.play());
        assert!(a.digits().is_some());
        assert_eq!(a.digits(), b.digits());
    });
}

/// He stands between by a beacon of his own to each, and pairs with both at once.
#[test]
fn a_middleman_with_keys_of_his_own_shows_two_codes() {
    run(async {
        let (mut a, mut b) = (Pressed::start(1).await, Pressed::start(2).await);
        let (mut to_a, mut to_b) = (Pressed::start(66).await, Pressed::start(66).await);
        a.hear(key(66), to_a.node.address());
        b.hear(key(66), to_b.node.address());
        a.dial(to_a.node.address(), key(66));
        to_b.dial(b.node.address(), key(2));
        tokio::join!(a.play(), b.play(), to_a.play(), to_b.play());
        assert_eq!((a.digits(), b.digits()), (to_a.digits(), to_b.digits()));
        assert!(a.digits().is_some() && b.digits().is_some());
        assert_ne!(a.digits(), b.digits());
    });
}

/// He passes every frame on, word for word, from the one's connection to the other's.
#[test]
fn a_middleman_who_relays_brings_no_code_about() {
    run(async {
        let (mut a, mut b) = (Pressed::start(1).await, Pressed::start(2).await);
        let mut middle = Node::start(66, Trust { pairing: true, ..Trust::default() }).await;
        a.dial(middle.address(), key(66));
        let at_a = middle.connected().await;
        middle.net.dial(Ticket(1), b.node.address(), Protocol::Pair, key(2));
        let at_b = middle.connected().await;
        assert_ne!(at_a.exporter, at_b.exporter);
        let relay = async {
            loop {
                match middle.fact().await {
                    Input::Frame { conn, channel, payload } => {
                        let to = if conn == at_a.conn { at_b.conn } else { at_a.conn };
                        middle.net.send(to, channel, payload, Bytes::new());
                    }
                    Input::Closed { conn, .. } => {
                        let to = if conn == at_a.conn { at_b.conn } else { at_a.conn };
                        middle.net.close(to, "the other end is gone".into());
                        break;
                    }
                    other => panic!("not expected: {other:?}"),
                }
            }
        };
        tokio::join!(a.play(), b.play(), relay);
        assert_eq!((a.digits(), b.digits()), (None, None));
    });
}

#[test]
fn pairing_is_answered_while_the_window_is_open() {
    run(async {
        let mut a = Node::start(1, Trust::default()).await;
        let b = Node::start(2, Trust { invites: true, ..Trust::default() }).await;
        a.net.dial(Ticket(1), b.address(), Protocol::Pair, key(2));
        assert_eq!(a.dial_failed().await, format!("the box at {} has no window open: press both", b.address()));
        b.net.trust(Trust { pairing: true, ..Trust::default() });
        a.net.dial(Ticket(2), b.address(), Protocol::Pair, key(3));
        assert_eq!(a.dial_failed().await, format!("the peer at {} has another key than expected", b.address()));
        a.net.dial(Ticket(3), b.address(), Protocol::Invite, key(2));
        assert_eq!(a.dial_failed().await, format!("the peer at {} has no invite open: ask for a new one", b.address()));
        a.net.dial(Ticket(4), b.address(), Protocol::Pair, key(2));
        assert_eq!(a.connected().await.protocol, Protocol::Pair);
    });
}

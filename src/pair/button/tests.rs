//! Boxes with buttons on one LAN in virtual time, and those who should not come in.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::EpochId;
use crate::pair::{EpochKey, PairError, Secret};
use crate::seal::MemberSecret;

const CIRCLE: CircleId = CircleId([7; 32]);

/// One box: its button, and what became of it.
struct Unit {
    button: Button,
    member: MemberSecret,
    standing: Standing,
    admitted: Vec<(Device, Role)>,
    /// Why it cannot admit.
    broken: bool,
}

/// A LAN.
struct Lan {
    now: Instant,
    boxes: Vec<Unit>,
    /// Both ends of a connection, by box and number.
    peers: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    last: u64,
    flying: VecDeque<(usize, ConnId, Bytes)>,
    /// Boxes that do not hear each other.
    apart: Vec<(usize, usize)>,
}

fn device(seed: u8) -> Device {
    let member = MemberSecret::from_seed([seed; 32]).public();
    Device { member, name: format!("box {seed}"), transport: TransportKey([seed; 32]) }
}

fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, at as u8], 47_470))
}

fn welcome() -> Welcome {
    let key = EpochKey { epoch: EpochId::from_slice(&[4; 32]).expect("32"), number: 1, suite: 1, key: Secret([9; 32]) };
    Welcome {
        circle: CIRCLE,
        statements: vec![Bytes::from_static(b"found")],
        leaf: Bytes::from_static(b"leaf"),
        root_secret: None,
        epochs: vec![key],
        addresses: Vec::new(),
    }
}

impl Lan {
    /// Boxes with keys in rising order, so that the first dials.
    fn new(standings: &[Standing]) -> Self {
        let boxes = standings.iter().zip(1..).map(|(standing, seed)| Unit {
            button: Button::new(device(seed)),
            member: MemberSecret::from_seed([seed; 32]),
            standing: *standing,
            admitted: Vec::new(),
            broken: false,
        });
        Self {
            now: Instant(1_000_000),
            boxes: boxes.collect(),
            peers: BTreeMap::new(),
            last: 0,
            flying: VecDeque::new(),
            apart: Vec::new(),
        }
    }

    fn press(&mut self, at: usize) -> Result<(), Refused> {
        let (now, seed) = (self.now, self.now.0 ^ at as u64);
        let mut entropy = [0; 48];
        crate::base::Rng::new(seed).fill(&mut entropy);
        let pressed = &mut self.boxes[at];
        let result = pressed.button.press(now, pressed.standing, entropy);
        self.settle();
        result
    }

    fn confirm(&mut self, at: usize) -> Result<(), Refused> {
        let now = self.now;
        let Unit { button, member, .. } = &mut self.boxes[at];
        let result = button.confirm(now, &|bytes| member.sign(bytes));
        self.settle();
        result
    }

    fn state(&self, at: usize) -> State {
        self.boxes[at].button.state()
    }

    fn digits(&self, at: usize) -> [u8; 4] {
        match self.state(at) {
            State::Code { digits, .. } => digits,
            other => panic!("box {at} shows no code: {other:?}"),
        }
    }

    /// Lets time pass in steps of half a second, in each of which every box hears every other.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.now = self.now + Duration::from_millis(500);
            self.settle();
            self.speak();
        }
    }

    fn speak(&mut self) {
        let said: Vec<_> = self.boxes.iter().map(|told| told.button.beacon()).collect();
        for (from, beacon) in said.iter().enumerate() {
            let Some(beacon) = beacon else { continue };
            for to in 0..self.boxes.len() {
                if !self.apart.contains(&(from.min(to), from.max(to))) {
                    self.boxes[to].button.heard(self.now, beacon, address(from));
                }
            }
        }
        self.settle();
    }

    /// Carries everything that is asked for; a box is asked until it asks for nothing before a frame reaches it.
    fn settle(&mut self) {
        loop {
            let now = self.now;
            let mut quiet = true;
            for at in 0..self.boxes.len() {
                self.boxes[at].button.handle_timeout(now);
                while let Some(event) = self.boxes[at].button.poll_event() {
                    quiet = false;
                    self.carry_out(at, event);
                }
            }
            if !quiet {
                continue;
            }
            match self.flying.pop_front() {
                Some((at, conn, payload)) => self.deliver(at, conn, &payload),
                None => return,
            }
        }
    }

    fn carry_out(&mut self, at: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Dial { key, .. } => {
                let to = self.boxes.iter().position(|other| other.button.me.transport == key);
                match to.filter(|to| self.boxes[*to].button.listens()) {
                    Some(to) => self.connect(at, to),
                    None => self.boxes[at].button.dial_failed(now),
                }
            }
            Event::Send { conn, payload } => self.flying.push_back((at, conn, payload)),
            Event::Close { conn, .. } => {
                // What was sent before goes out first.
                while let Some(at) = self.flying.iter().position(|(from, of, _)| (*from, *of) == (at, conn)) {
                    let (from, conn, payload) = self.flying.remove(at).expect("it is there");
                    self.deliver(from, conn, &payload);
                }
                if let Some(peer) = self.peers.remove(&(at, conn)) {
                    self.peers.remove(&peer);
                    self.boxes[peer.0].button.closed(now, peer.1);
                }
            }
            Event::Invite => self.boxes[at].button.invite(now, Ok((CIRCLE, "Friends".into()))),
            Event::Admit { circle, role, device } => {
                assert_eq!(circle, CIRCLE);
                let known = &mut self.boxes[at];
                known.admitted.push((device, role));
                let answer = if known.broken { Err("the disk is full".into()) } else { Ok(welcome()) };
                if let Some((conn, reply)) = known.button.welcome(now, answer) {
                    self.flying.push_back((at, conn, reply));
                }
            }
            Event::Install(told) => {
                assert_eq!(*told, welcome());
                self.boxes[at].button.installed(now, Ok("Friends".into()));
            }
        }
    }

    fn connect(&mut self, from: usize, to: usize) {
        self.last += 2;
        let (ours, theirs) = (ConnId(self.last), ConnId(self.last + 1));
        self.peers.insert((from, ours), (to, theirs));
        self.peers.insert((to, theirs), (from, ours));
        let exporter = [self.last as u8; 32];
        let peer = |at: usize| Peer { transport: self.boxes[at].button.me.transport, exporter };
        let (listener, dialler) = (peer(to), peer(from));
        self.boxes[to].button.connected(self.now, theirs, &dialler, false);
        self.boxes[from].button.connected(self.now, ours, &listener, true);
    }

    fn deliver(&mut self, at: usize, conn: ConnId, payload: &[u8]) {
        if let Some((to, conn)) = self.peers.get(&(at, conn)).copied() {
            let now = self.now;
            let Unit { button, member, .. } = &mut self.boxes[to];
            button.frame(now, conn, payload, &|bytes| member.sign(bytes));
        }
    }

    /// Presses all, and waits until codes are shown.
    fn show_codes(&mut self, all: &[usize]) {
        for at in all {
            self.press(*at).expect("a window opens");
        }
        self.wait(4);
    }

    /// The connection that the box has.
    fn conn(&self, at: usize) -> ConnId {
        self.peers.keys().find(|(of, _)| *of == at).map(|(_, conn)| *conn).expect("a connection")
    }
}

use Standing::{Blank, Keeper, Member, Several};

fn failed(why: Failure) -> State {
    State::Failed { why }
}

#[test]
fn two_blank_boxes_pair_and_both_are_keepers() {
    let mut lan = Lan::new(&[Blank, Blank]);
    lan.show_codes(&[0, 1]);
    assert_eq!(lan.digits(0), lan.digits(1));
    lan.confirm(0).expect("it is confirmed");
    assert!(matches!(lan.state(0), State::Code { here: true, there: false, .. }));
    assert!(matches!(lan.state(1), State::Code { here: false, there: true, .. }));
    lan.confirm(1).expect("it is confirmed");
    for (at, other) in [(0, "box 2"), (1, "box 1")] {
        assert_eq!(lan.state(at), State::Done { name: other.into(), circle: "Friends".into() });
    }
    let founder = usize::from(device(2).id() < device(1).id());
    assert_eq!(lan.boxes[founder].admitted, [(device(2 - founder as u8), Role::Keeper)]);
    assert!(lan.boxes[1 - founder].admitted.is_empty());
    assert!(lan.boxes.iter().all(|told| told.button.beacon().is_none() && !told.button.listens()));
    lan.wait(30);
    assert_eq!((lan.state(0), lan.state(1)), (State::Closed, State::Closed));
}

#[test]
fn a_blank_box_joins_as_member_whichever_dials() {
    for keeper in [0, 1] {
        let mut standings = [Blank, Blank];
        standings[keeper] = Keeper;
        let mut lan = Lan::new(&standings);
        lan.show_codes(&[1, 0]);
        lan.confirm(1).expect("it is confirmed");
        lan.confirm(0).expect("it is confirmed");
        assert!(matches!(lan.state(0), State::Done { .. }) && matches!(lan.state(1), State::Done { .. }));
        assert_eq!(lan.boxes[keeper].admitted, [(device(2 - keeper as u8), Role::Member)]);
    }
}

#[test]
fn boxes_that_cannot_join_say_why_without_a_code() {
    for (standings, ends) in [
        (
            [Keeper, Keeper],
            [State::ChooseOnPage { name: "box 2".into() }, State::ChooseOnPage { name: "box 1".into() }],
        ),
        (
            [Several, Blank],
            [State::ChooseOnPage { name: "box 2".into() }, State::ChooseOnPage { name: "box 1".into() }],
        ),
        ([Member, Blank], [failed(Failure::NoKeeper), failed(Failure::TheyNoKeeper)]),
        ([Blank, Member], [failed(Failure::TheyNoKeeper), failed(Failure::NoKeeper)]),
    ] {
        for _ in 0..PAIR_FAILURES {
            let mut lan = Lan::new(&standings);
            lan.show_codes(&[0, 1]);
            assert_eq!([lan.state(0), lan.state(1)], ends, "{standings:?}");
        }
    }
}

#[test]
fn a_press_alone_closes_with_its_window() {
    let mut lan = Lan::new(&[Blank]);
    lan.press(0).expect("a window opens");
    let until = lan.now + PAIR_WINDOW;
    assert_eq!((lan.state(0), lan.boxes[0].button.poll_timeout()), (State::Window { until }, Some(until)));
    lan.wait(60);
    lan.press(0).expect("a second press does nothing");
    assert_eq!(lan.state(0), State::Window { until });
    assert_eq!(lan.confirm(0), Err(Refused::NoCode));
    lan.wait(60);
    assert_eq!(lan.state(0), failed(Failure::Nobody));
    lan.press(0).expect("nobody was there to guess");
    assert_eq!(lan.confirm(0), Err(Refused::NoCode));
}

#[test]
fn a_third_box_ends_every_window_and_a_cool_down_follows() {
    for late in [0, 2, 20] {
        let mut lan = Lan::new(&[Blank, Blank, Blank]);
        lan.press(0).expect("a window opens");
        lan.press(1).expect("a window opens");
        lan.wait(late);
        lan.press(2).expect("a window opens");
        lan.wait(1);
        for at in 0..3 {
            assert!(matches!(lan.state(at), State::Overlap { .. }), "{late} {at} {:?}", lan.state(at));
            assert!(matches!(lan.press(at), Err(Refused::CoolDown(_))));
        }
        assert!(lan.boxes.iter().all(|told| told.admitted.is_empty()));
        lan.wait(PAIR_COOL_DOWN.as_secs());
        lan.show_codes(&[0, 1]);
        assert_eq!(lan.digits(0), lan.digits(1), "two presses after the cool-down pair");
    }
}

/// The third hears only one of the two.
#[test]
fn an_overlap_that_one_box_saw_ends_all() {
    let mut lan = Lan::new(&[Blank, Blank, Blank]);
    lan.apart = vec![(1, 2)];
    for at in 0..3 {
        lan.press(at).expect("a window opens");
    }
    lan.wait(1);
    for at in 0..3 {
        assert!(matches!(lan.state(at), State::Overlap { .. }), "{at} {:?}", lan.state(at));
    }
}

#[test]
fn a_code_that_is_not_confirmed_on_both_fails() {
    for confirmed in [&[][..], &[0], &[1]] {
        let mut lan = Lan::new(&[Blank, Blank]);
        lan.show_codes(&[0, 1]);
        for at in confirmed {
            lan.confirm(*at).expect("it is confirmed");
            lan.confirm(*at).expect("again does nothing");
        }
        assert_eq!(lan.press(0), Err(Refused::CodeWaits), "an impatient press confirms nothing");
        lan.wait(PAIR_CODE_TIME.as_secs() - 2);
        assert!(matches!(lan.state(0), State::Code { .. }));
        lan.wait(2);
        for at in 0..2 {
            assert!(matches!(lan.state(at), State::Failed { .. }), "{:?}", lan.state(at));
        }
        assert!(lan.boxes.iter().all(|told| told.admitted.is_empty()));
    }
}

#[test]
fn three_failures_pause() {
    let mut lan = Lan::new(&[Blank, Blank]);
    for round in 0..PAIR_FAILURES {
        assert!(!matches!(lan.state(0), State::Paused { .. }), "{round}");
        lan.show_codes(&[0, 1]);
        lan.wait(PAIR_CODE_TIME.as_secs() + 1);
    }
    for at in 0..2 {
        assert!(matches!(lan.state(at), State::Paused { .. }), "{:?}", lan.state(at));
        assert!(matches!(lan.press(at), Err(Refused::Paused(_))));
        assert!(lan.boxes[at].button.beacon().is_none() && !lan.boxes[at].button.listens());
    }
    lan.wait(PAIR_PAUSE.as_secs());
    lan.show_codes(&[0, 1]);
    lan.confirm(0).expect("it is confirmed");
    lan.confirm(1).expect("it is confirmed");
    assert!(matches!(lan.state(0), State::Done { .. }));
}

#[test]
fn a_success_forgets_failures() {
    let mut lan = Lan::new(&[Blank, Blank]);
    for _ in 0..2 {
        for _ in 0..PAIR_FAILURES - 1 {
            lan.show_codes(&[0, 1]);
            lan.wait(PAIR_CODE_TIME.as_secs() + 1);
        }
        lan.show_codes(&[0, 1]);
        lan.confirm(0).expect("it is confirmed");
        lan.confirm(1).expect("it is confirmed");
        assert!(matches!(lan.state(0), State::Done { .. }), "{:?}", lan.state(0));
        lan.wait(31);
    }
}

/// The middleman keeps the two from hearing each other, and pairs with each under keys of his own.
#[test]
fn with_a_man_in_the_middle_the_codes_differ() {
    let mut equal = 0;
    for round in 0..200_u64 {
        // Boxes 1 and 2 are his.
        let mut lan = Lan::new(&[Blank, Blank, Blank, Blank]);
        lan.now = Instant(round * 7_919);
        lan.last = round * 16;
        lan.apart = vec![(0, 2), (0, 3), (1, 2), (1, 3)];
        lan.show_codes(&[0, 1, 2, 3]);
        assert_eq!((lan.digits(0), lan.digits(2)), (lan.digits(1), lan.digits(3)));
        equal += usize::from(lan.digits(0) == lan.digits(3));
    }
    assert!(equal <= 1, "{equal} of 200 codes are equal by chance of 1 in 10,000 each");
}

/// He passes on what the one sends to the other, word for word, over his own two connections.
#[test]
fn a_middleman_who_relays_is_found_out() {
    let mut lan = Lan::new(&[Blank, Blank, Blank, Blank]);
    lan.apart = vec![(0, 2), (0, 3), (1, 2), (1, 3)];
    for at in 0..4 {
        lan.press(at).expect("a window opens");
    }
    lan.wait(1);
    let now = lan.now;
    let Lan { boxes, .. } = &mut lan;
    let his = |exporter: u8| Peer { transport: TransportKey([99; 32]), exporter: [exporter; 32] };
    // Box 0 takes him for the listener, box 3 for the dialler: neither has heard another.
    let (mut a, mut b) = (Button::new(device(1)), Button::new(device(4)));
    a.press(now, Blank, [1; 48]).expect("a window");
    b.press(now, Blank, [2; 48]).expect("a window");
    a.connected(now, ConnId(1), &his(1), true);
    b.connected(now, ConnId(1), &his(2), false);
    let mut relayed = 0;
    while let Some((event, from_a)) = a.poll_event().map(|e| (e, true)).or_else(|| b.poll_event().map(|e| (e, false))) {
        if let Event::Send { payload, .. } = event {
            relayed += 1;
            let (to, member) = if from_a { (&mut b, &boxes[3].member) } else { (&mut a, &boxes[0].member) };
            to.frame(now, ConnId(1), &payload, &|bytes| member.sign(bytes));
        }
    }
    assert_eq!(relayed, 3, "two commitments and one nonce");
    assert!(matches!(b.state(), State::Window { .. }), "{:?}", b.state());
    a.closed(now, ConnId(1));
    assert_eq!(a.state(), failed(Failure::Gone));
}

/// Somebody plays the protocol by hand against a box in its window.
struct Player {
    button: Button,
    member: MemberSecret,
    part: Part,
}

impl Player {
    fn new() -> Self {
        let mut button = Button::new(device(1));
        button.press(Instant(1), Blank, [5; 48]).expect("a window");
        let part = Part { device: device(2), standing: Blank, nonce: [6; 32] };
        Self { button, member: MemberSecret::from_seed([1; 32]), part }
    }

    fn connect(&mut self, conn: u64, dialled: bool) {
        let peer = Peer { transport: device(2).transport, exporter: [8; 32] };
        self.button.connected(Instant(1), ConnId(conn), &peer, dialled);
    }

    fn tell(&mut self, conn: u64, payload: &[u8]) {
        let member = &self.member;
        self.button.frame(Instant(1), ConnId(conn), payload, &|bytes| member.sign(bytes));
    }

    fn sent(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while let Some(event) = self.button.poll_event() {
            if let Event::Send { payload, .. } = event {
                sent.extend(Message::decode(&payload));
            }
        }
        sent
    }

    fn reveal(&self, side: Side) -> Bytes {
        let his = MemberSecret::from_seed([2; 32]);
        self.part.reveal(side, &[8; 32], &|bytes| his.sign(bytes)).encode()
    }
}

#[test]
fn who_changes_his_mind_after_the_commitment_gets_no_code() {
    // As the dialler he learns nothing: the listener reveals last.
    let mut player = Player::new();
    player.connect(1, false);
    let commit = Message::Commit(player.part.commitment(Side::Dialler, &[8; 32])).encode();
    player.tell(1, &commit);
    assert!(matches!(player.sent()[..], [Message::Commit(_)]));
    player.part.nonce = [7; 32];
    let reveal = player.reveal(Side::Dialler);
    player.tell(1, &reveal);
    assert_eq!(player.sent(), []);
    assert!(matches!(player.button.state(), State::Window { .. }));
    // As the listener he knows our nonce and could guess on: that is counted, and takes another press.
    let mut player = Player::new();
    for round in 0..PAIR_FAILURES {
        assert!(matches!(player.button.state(), State::Window { .. } | State::Failed { .. }), "{round}");
        player.button.press(Instant(1), Blank, [5; 48]).expect("a window");
        player.part.nonce = [6; 32];
        player.connect(1, true);
        let commit = Message::Commit(player.part.commitment(Side::Listener, &[8; 32])).encode();
        player.tell(1, &commit);
        assert!(matches!(player.sent()[..], [Message::Commit(_), Message::Reveal { .. }]));
        player.part.nonce = [7; 32];
        let reveal = player.reveal(Side::Listener);
        player.tell(1, &reveal);
    }
    assert!(matches!(player.button.state(), State::Paused { .. }));
}

#[test]
fn messages_out_of_order_end_it() {
    let commit = Message::Commit([1; 32]).encode();
    let (confirm, arrived) = (Message::Confirm.encode(), Message::Arrived.encode());
    let his = Player::new().reveal(Side::Dialler);
    for bad in [&confirm, &arrived, &his, &Bytes::from_static(b"x")] {
        let mut player = Player::new();
        player.connect(1, false);
        player.tell(1, bad);
        assert_eq!(player.sent(), [], "nothing is told");
        assert!(matches!(player.button.state(), State::Window { .. }), "the window goes on");
        player.connect(2, false);
        player.tell(2, &commit);
        player.tell(2, &commit);
        assert!(matches!(player.button.state(), State::Window { .. }), "a replay");
    }
    // A confirmation before the code, and twice after it.
    let mut player = Player::new();
    player.connect(1, false);
    let commit = Message::Commit(player.part.commitment(Side::Dialler, &[8; 32])).encode();
    let reveal = player.reveal(Side::Dialler);
    player.tell(1, &commit);
    player.tell(1, &reveal);
    assert!(matches!(player.button.state(), State::Code { there: false, .. }));
    player.tell(1, &confirm);
    assert!(matches!(player.button.state(), State::Code { there: true, here: false, .. }));
    player.tell(1, &confirm);
    assert_eq!(player.button.state(), failed(Failure::Wrong));
}

#[test]
fn a_replayed_reveal_of_another_connection_is_refused() {
    let mut player = Player::new();
    let exporter = [8; 32];
    let his = MemberSecret::from_seed([2; 32]);
    let old = player.part.reveal(Side::Dialler, &[3; 32], &|bytes| his.sign(bytes)).encode();
    player.connect(1, false);
    let commit = Message::Commit(player.part.commitment(Side::Dialler, &exporter)).encode();
    player.tell(1, &commit);
    player.sent();
    player.tell(1, &old);
    assert_eq!(player.sent(), []);
    assert!(matches!(player.button.state(), State::Window { .. }));
}

#[test]
fn a_box_that_is_silent_is_left_and_another_connection_taken() {
    let mut lan = Lan::new(&[Blank, Blank]);
    lan.press(0).expect("a window opens");
    let silent = Peer { transport: device(2).transport, exporter: [1; 32] };
    let now = lan.now;
    lan.boxes[0].button.connected(now, ConnId(900), &silent, false);
    assert!(matches!(lan.state(0), State::Exchanging { .. }) && !lan.boxes[0].button.listens());
    lan.wait(PAIR_EXCHANGE_TIME.as_secs() + 1);
    assert!(matches!(lan.state(0), State::Window { .. }));
    lan.press(1).expect("a window opens");
    lan.wait(6);
    assert_eq!(lan.digits(0), lan.digits(1));
}

#[test]
fn a_stranger_who_dials_in_aborts_at_most() {
    let mut lan = Lan::new(&[Blank, Blank]);
    lan.show_codes(&[0, 1]);
    let stranger = Peer { transport: TransportKey([77; 32]), exporter: [1; 32] };
    let now = lan.now;
    lan.boxes[1].button.connected(now, ConnId(900), &stranger, false);
    lan.settle();
    lan.wait(1);
    assert!(matches!(lan.state(1), State::Overlap { .. }));
    assert!(!matches!(lan.state(0), State::Code { .. }));
    assert!(lan.boxes.iter().all(|told| told.admitted.is_empty()));
}

#[test]
fn without_a_window_nobody_is_answered() {
    let mut button = Button::new(device(1));
    let peer = Peer { transport: device(2).transport, exporter: [8; 32] };
    button.heard(Instant(1), &Beacon { nonce: [1; 16], key: device(2).transport, overlap: true }, address(1));
    assert_eq!((button.state(), button.beacon(), button.listens()), (State::Closed, None, false));
    button.connected(Instant(1), ConnId(1), &peer, false);
    button.frame(Instant(1), ConnId(1), b"x", &|_| [0; 64]);
    while let Some(event) = button.poll_event() {
        assert!(matches!(event, Event::Close { .. }), "{event:?}");
    }
}

#[test]
fn what_fails_after_the_confirmation_is_told() {
    let mut lan = Lan::new(&[Keeper, Blank]);
    lan.boxes[0].broken = true;
    lan.show_codes(&[0, 1]);
    lan.confirm(0).expect("it is confirmed");
    lan.confirm(1).expect("it is confirmed");
    assert_eq!(lan.state(0), failed(Failure::Join("the disk is full".into())));
    assert_eq!(lan.state(1), failed(Failure::Gone));
    // The next press mends it: the box is on the roster already.
    lan.boxes[0].broken = false;
    lan.show_codes(&[0, 1]);
    lan.confirm(0).expect("it is confirmed");
    lan.confirm(1).expect("it is confirmed");
    assert!(matches!(lan.state(1), State::Done { .. }));
}

#[test]
fn a_connection_that_breaks_while_a_code_is_shown_fails_both() {
    let mut lan = Lan::new(&[Blank, Blank]);
    lan.show_codes(&[0, 1]);
    let conn = lan.conn(0);
    lan.carry_out(0, Event::Close { conn, why: String::new() });
    let now = lan.now;
    lan.boxes[0].button.closed(now, conn);
    assert_eq!((lan.state(0), lan.state(1)), (failed(Failure::Gone), failed(Failure::Gone)));
}

#[test]
fn only_the_box_of_the_code_joins() {
    let mut lan = Lan::new(&[Keeper, Blank]);
    lan.show_codes(&[0, 1]);
    lan.confirm(0).expect("it is confirmed");
    let conn = lan.conn(0);
    let now = lan.now;
    let Unit { button, member, .. } = &mut lan.boxes[0];
    button.frame(now, conn, &Message::Confirm.encode(), &|bytes| member.sign(bytes));
    // Whoever sits at the other end now proves another secret.
    let invite =
        InviteText { addresses: Vec::new(), key: device(1).transport, secret: [0; 16], minutes: 1, circle: None };
    let other = MemberSecret::from_seed([2; 32]);
    let (joiner, message) = Joiner::new(invite, device(2), [0; 32], |bytes| other.sign(bytes));
    let Some(Event::Invite) = button.poll_event() else { panic!("it invites") };
    button.invite(now, Ok((CIRCLE, "Friends".into())));
    button.frame(now, conn, &message, &|bytes| member.sign(bytes));
    assert!(matches!(button.state(), State::Failed { why: Failure::Join(_) }), "{:?}", button.state());
    let Some(Event::Send { payload, .. }) = button.poll_event() else { panic!("it refuses") };
    assert!(matches!(joiner.message(&payload), Err(PairError::Refused(_))));
}

#[test]
fn nothing_secret_is_printed() {
    let mut button = Button::new(device(1));
    let mut entropy = [0xA7; 48];
    entropy[..16].fill(1);
    button.press(Instant(1), Blank, entropy).expect("a window");
    let printed = format!("{button:?}");
    assert!(!printed.contains("167, 167"), "{printed}");
}

proptest! {
    #[test]
    fn garbage_never_panics_nor_pairs(frames in proptest::collection::vec(any::<Vec<u8>>(), 0..8), dialled: bool) {
        let mut player = Player::new();
        player.connect(1, dialled);
        for frame in &frames {
            player.tell(1, frame);
        }
        let state = player.button.state();
        let paired = matches!(state, State::Code { .. } | State::Joining { .. } | State::Done { .. });
        prop_assert!(!paired, "{:?}", state);
    }

    /// A bit of any frame is flipped on the way: the boxes end with one code or none, and never with two.
    #[test]
    fn a_changed_frame_makes_no_second_code(which in 0_usize..4, at: prop::sample::Index, bit in 0_u32..8) {
        let now = Instant(5);
        let (mut a, mut b) = (Button::new(device(1)), Button::new(device(2)));
        let (one, two) = (MemberSecret::from_seed([1; 32]), MemberSecret::from_seed([2; 32]));
        a.press(now, Blank, [1; 48]).expect("a window");
        b.press(now, Blank, [2; 48]).expect("a window");
        let peer = |seed| Peer { transport: device(seed).transport, exporter: [8; 32] };
        b.connected(now, ConnId(1), &peer(1), false);
        a.connected(now, ConnId(1), &peer(2), true);
        let mut count = 0;
        while let Some((event, from_a)) = a.poll_event().map(|e| (e, true)).or_else(|| b.poll_event().map(|e| (e, false))) {
            let Event::Send { payload, .. } = event else { continue };
            let mut payload = payload.to_vec();
            if count == which {
                let at = at.index(payload.len());
                payload[at] ^= 1 << bit;
            }
            count += 1;
            let (to, member) = if from_a { (&mut b, &two) } else { (&mut a, &one) };
            to.frame(now, ConnId(1), &payload, &|bytes| member.sign(bytes));
        }
        if let (State::Code { digits: ours, .. }, State::Code { digits: theirs, .. }) = (a.state(), b.state()) {
            prop_assert_eq!(ours, theirs);
        }
    }
}

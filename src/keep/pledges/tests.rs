//! Rounds one by one, and many nodes that all want to let go, with a wire that loses, doubles and reorders, and power cuts.

use std::collections::VecDeque;

use super::*;
use crate::base::Rng;

fn node(n: u8) -> TransportKey {
    TransportKey([n; 32])
}

fn body(n: u8) -> InfoHash {
    InfoHash([n; 20])
}

const NOW: Instant = Instant(0);

#[test]
fn a_body_goes_with_enough_pledges_and_all_that_were_asked_are_told() {
    let mut evictor = Pledges::default();
    let asked = evictor.begin(NOW, body(1), 7, [node(1), node(2), node(3)]).unwrap();
    assert_eq!(asked.iter().map(|message| message.to).collect::<Vec<_>>(), [node(1), node(2), node(3)]);
    assert!(asked.iter().all(|message| message.step == Step::Ask && message.round == 7));
    assert_eq!(evictor.answered(node(1), body(1), 7, true), Verdict::Waiting);
    assert_eq!(evictor.answered(node(1), body(1), 7, true), Verdict::Waiting, "twice is once");
    assert_eq!(evictor.answered(node(9), body(1), 7, true), Verdict::Stray, "it was not asked");
    assert_eq!(evictor.answered(node(2), body(1), 6, true), Verdict::Stray, "that was another round");
    let Verdict::Enough(told) = evictor.answered(node(3), body(1), 7, true) else { panic!("two have pledged") };
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|message| message.step == Step::Gone));
    assert_eq!(evictor.answered(node(2), body(1), 7, true), Verdict::Stray);
    assert_eq!(evictor.timeout(), None);
}

#[test]
fn a_body_stays_where_too_few_hold_it_or_will() {
    let mut evictor = Pledges::default();
    assert_eq!(evictor.begin(NOW, body(1), 1, []), Err(Refusal::TooFew(0)));
    assert_eq!(evictor.begin(NOW, body(1), 1, [node(1), node(1)]), Err(Refusal::TooFew(1)));
    evictor.begin(NOW, body(1), 1, [node(1), node(2), node(3)]).unwrap();
    assert_eq!(evictor.begin(NOW, body(1), 2, [node(1), node(2)]), Err(Refusal::Busy));
    assert_eq!(evictor.answered(node(1), body(1), 1, false), Verdict::Waiting);
    assert_eq!(evictor.answered(node(1), body(1), 1, false), Verdict::Waiting);
    let Verdict::Failed(told) = evictor.answered(node(2), body(1), 1, false) else { panic!("one is left") };
    assert!(told.len() == 3 && told.iter().all(|message| message.step == Step::Kept));
    // Who does not answer is waited for so long.
    evictor.begin(NOW, body(1), 3, [node(1), node(2)]).unwrap();
    assert_eq!(evictor.timeout(), Some(NOW + ROUND_TIME));
    assert!(evictor.expired(Instant(0)).is_empty());
    let over = evictor.expired(NOW + ROUND_TIME);
    assert_eq!((over[0].0, over[0].1.len()), (body(1), 2));
}

#[test]
fn a_pledge_binds_until_its_own_round_ends() {
    let mut pledger = Pledges::default();
    assert_eq!(pledger.asked(node(1), body(1), 5, false), Reply::Refused);
    assert_eq!(pledger.asked(node(1), body(1), 5, true), Reply::Write);
    assert_eq!(pledger.asked(node(1), body(1), 5, true), Reply::Writing);
    assert!(pledger.is_pledged(&body(1)), "from the moment that it is written");
    assert!(pledger.reminders(&node(1)).is_empty());
    assert!(pledger.durable(node(1), body(1), 5));
    assert_eq!(pledger.asked(node(1), body(1), 5, true), Reply::Given);
    assert_eq!(pledger.begin(NOW, body(1), 9, [node(2), node(3)]), Err(Refusal::Busy));
    assert_eq!(pledger.asked(node(1), body(1), 6, true), Reply::Write);
    assert!(!pledger.released(node(1), body(1), 4, false));
    assert!(!pledger.released(node(2), body(1), 5, false));
    assert!(pledger.released(node(1), body(1), 5, false));
    assert!(pledger.is_pledged(&body(1)), "the other round goes on");
    assert!(pledger.released(node(1), body(1), 6, false));
    assert!(!pledger.durable(node(1), body(1), 6), "it ended before it was written");
    assert!(!pledger.is_pledged(&body(1)));
    for round in 0..PLEDGE_ROUNDS as u64 {
        assert_eq!(pledger.asked(node(1), body(1), round, true), Reply::Write);
    }
    assert_eq!(pledger.asked(node(1), body(1), 99, true), Reply::Refused);
    assert_eq!(pledger.forget(|_, to| *to == node(1)).len(), PLEDGE_ROUNDS);
}

#[test]
fn who_asks_pledges_to_nobody_and_a_cache_is_relied_on() {
    let mut node_a = Pledges::new(0);
    assert_eq!(node_a.copies(), 1);
    node_a.begin(NOW, body(1), 1, [node(2)]).unwrap();
    assert_eq!(node_a.asked(node(2), body(1), 1, true), Reply::Refused);
    assert_eq!(node_a.asked(node(2), body(2), 1, true), Reply::Write);
    assert!(node_a.durable(node(2), body(2), 1));
    assert_eq!(node_a.reminders(&node(2)).len(), 1);
    assert!(node_a.released(node(2), body(2), 1, true));
    assert!(!node_a.released(node(2), body(2), 1, true), "nothing is to be written twice");
    assert!(!node_a.is_pledged(&body(2)) && node_a.is_relied_on(&body(2)));
    assert!(node_a.reminders(&node(2)).is_empty());
    let mut again = Pledges::default();
    again.load(body(2), node(2), 1, true);
    again.load(body(3), node(2), 1, false);
    assert_eq!((again.is_relied_on(&body(2)), again.is_pledged(&body(3)), again.given()), (true, true, 1));
}

#[test]
fn steps_have_numbers() {
    for step in [Step::Ask, Step::Pledged, Step::Refused, Step::Gone, Step::Kept] {
        assert_eq!(Step::from_number(step.number()), Some(step));
    }
    assert_eq!((Step::from_number(0), Step::from_number(6)), (None, None));
}

/// What a node writes.
#[derive(Clone, Debug)]
enum Write {
    Pledge(InfoHash, TransportKey, u64),
    Release(InfoHash, TransportKey, u64),
    Drop(InfoHash, Vec<Message>),
}

/// A node: what is durable, what is on its way to the disk, and what a power cut takes.
struct Box {
    held: BTreeSet<InfoHash>,
    pledged: BTreeSet<(InfoHash, TransportKey, u64)>,
    writes: VecDeque<Write>,
    holds: BTreeSet<InfoHash>,
    pledges: Pledges,
    wants: BTreeSet<InfoHash>,
}

struct World {
    rng: Rng,
    now: Instant,
    copies: usize,
    boxes: Vec<Box>,
    wire: Vec<(usize, Message)>,
    went: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (count, bodies) = (3 + rng.below(6) as usize, 1 + rng.below(3) as u8);
        let copies = 1 + rng.below(3) as usize;
        let mut boxes = Vec::new();
        for _ in 0..count {
            let held: BTreeSet<InfoHash> = (0..bodies).filter(|_| rng.chance(9, 10)).map(body).collect();
            // All at once, mostly.
            let wants = held.iter().filter(|_| rng.chance(9, 10)).copied().collect();
            let (pledged, writes, holds) = (BTreeSet::new(), VecDeque::new(), held.clone());
            boxes.push(Box { held, pledged, writes, holds, pledges: Pledges::new(copies), wants });
        }
        Self { rng, now: NOW, copies, boxes, wire: Vec::new(), went: 0 }
    }

    fn copies_of(&self, body: &InfoHash) -> usize {
        self.boxes.iter().filter(|one| one.held.contains(body) && one.holds.contains(body)).count()
    }

    fn send(&mut self, from: usize, messages: impl IntoIterator<Item = Message>) {
        self.wire.extend(messages.into_iter().map(|message| (from, message)));
    }

    /// Somebody wants to let something go, by what others hold or held: that is not known for sure.
    fn begin(&mut self, at: usize) {
        let wanted: Vec<InfoHash> =
            self.boxes[at].wants.iter().filter(|body| self.boxes[at].holds.contains(*body)).copied().collect();
        for body in wanted {
            let others = (0..self.boxes.len()).filter(|other| *other != at);
            let told: Vec<usize> =
                others.filter(|other| self.rng.chance(1, 9) || self.boxes[*other].holds.contains(&body)).collect();
            let round = self.rng.next_u64() >> 1;
            let holders: Vec<TransportKey> = told.into_iter().map(|other| node(other as u8)).collect();
            if let Ok(messages) = self.boxes[at].pledges.begin(self.now, body, round, holders) {
                self.send(at, messages);
            }
        }
    }

    fn arrive(&mut self, from: usize, message: Message) {
        let at = usize::from(message.to.0[0]);
        let Message { step, body, round, .. } = message;
        let sender = node(from as u8);
        let answer = |step| Message { to: sender, step, body, round };
        let one = &mut self.boxes[at];
        let mut told = Vec::new();
        match step {
            Step::Ask => {
                let may = one.holds.contains(&body) && one.held.contains(&body);
                match one.pledges.asked(sender, body, round, may) {
                    Reply::Write => one.writes.push_back(Write::Pledge(body, sender, round)),
                    Reply::Given => told.push(answer(Step::Pledged)),
                    Reply::Refused => told.push(answer(Step::Refused)),
                    Reply::Writing => {}
                }
            }
            Step::Pledged | Step::Refused => match one.pledges.answered(sender, body, round, step == Step::Pledged) {
                Verdict::Waiting => {}
                Verdict::Failed(messages) => told = messages,
                Verdict::Stray => {
                    told.push(answer(if one.holds.contains(&body) { Step::Kept } else { Step::Gone }));
                }
                Verdict::Enough(messages) => {
                    assert!(one.holds.remove(&body), "it is let go twice");
                    one.writes.push_back(Write::Drop(body, messages));
                    self.went += 1;
                    let left = self.copies_of(&body);
                    assert!(left >= self.copies, "{left} copies are left, of at least {}", self.copies);
                }
            },
            Step::Gone | Step::Kept => {
                if one.pledges.released(sender, body, round, false) {
                    one.writes.push_back(Write::Release(body, sender, round));
                }
            }
        }
        self.send(at, told);
    }

    /// The disk has written what came first.
    fn write(&mut self, at: usize) {
        let one = &mut self.boxes[at];
        let mut told = Vec::new();
        match one.writes.pop_front() {
            Some(Write::Pledge(body, to, round)) => {
                one.pledged.insert((body, to, round));
                if one.pledges.durable(to, body, round) {
                    told.push(Message { to, step: Step::Pledged, body, round });
                }
            }
            Some(Write::Release(body, to, round)) => drop(one.pledged.remove(&(body, to, round))),
            Some(Write::Drop(body, messages)) => {
                one.held.remove(&body);
                told = messages;
            }
            None => {}
        }
        self.send(at, told);
    }

    fn crash(&mut self, at: usize) {
        let one = &mut self.boxes[at];
        one.writes.clear();
        one.holds = one.held.clone();
        one.pledges = Pledges::new(self.copies);
        for (body, to, round) in &one.pledged {
            one.pledges.load(*body, *to, *round, false);
        }
    }

    fn meet(&mut self, at: usize) {
        for other in 0..self.boxes.len() {
            let messages = self.boxes[at].pledges.reminders(&node(other as u8));
            self.send(at, messages);
        }
    }

    fn step(&mut self, chaos: bool) {
        let at = self.rng.below(self.boxes.len() as u64) as usize;
        match self.rng.below(40) {
            0..3 => self.begin(at),
            3..6 => {
                self.now = self.now + Duration::from_millis(self.rng.below(4_000));
                for (_, messages) in self.boxes[at].pledges.expired(self.now) {
                    self.send(at, messages);
                }
            }
            6 if chaos => self.crash(at),
            7 => self.meet(at),
            8..18 => self.write(at),
            _ if self.wire.is_empty() => {}
            _ => {
                let next = self.rng.below(self.wire.len() as u64) as usize;
                let (from, message) = self.wire[next];
                if !chaos || !self.rng.chance(1, 6) {
                    self.wire.swap_remove(next);
                }
                if !chaos || !self.rng.chance(1, 6) {
                    self.arrive(from, message);
                }
            }
        }
    }
}

/// All nodes want to let the same bodies go at once: whatever the wire and the power do, the copies never become fewer than
/// they must be, and when things are well again all that can go has gone and nobody is bound any more.
#[test]
fn however_many_let_go_at_once_the_copies_never_become_too_few() {
    let (mut went, mut stayed) = (0, 0);
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        let bodies: Vec<InfoHash> = (0..3).map(body).collect();
        let before: Vec<usize> = bodies.iter().map(|body| world.copies_of(body)).collect();
        for _ in 0..600 {
            world.step(true);
        }
        for _ in 0..4_000 {
            world.step(false);
        }
        for one in &mut world.boxes {
            one.wants.clear();
        }
        for _ in 0..4_000 {
            world.step(false);
        }
        for (body, before) in bodies.iter().zip(before) {
            let left = world.copies_of(body);
            assert!(left >= before.min(world.copies), "seed {seed}: {left} copies of {before}");
            stayed += left;
        }
        for one in &world.boxes {
            assert!(one.pledges.given() == 0 && one.pledged.is_empty(), "seed {seed}: somebody is still bound");
        }
        went += world.went;
    }
    assert!(went > 2_000, "{went} bodies went, {stayed} stayed");
}

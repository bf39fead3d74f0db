//! Which torrents a peer holds, and how it is told which we hold: summaries by chain, and what differs one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::KeepError;
use crate::base::limits::{CHAINS, HOLDINGS, HOLDINGS_MESSAGE};
use crate::base::{CircleId, InfoHash, Instant};
use crate::wire::control;
use crate::wire::record::{Chain, Dot};

/// Least time between two messages of changes.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Torrents told one by one at once; the rest of [`HOLDINGS`] is for what changes afterwards.
const FULL_MAX: usize = HOLDINGS / 4 * 3;

/// How much of a torrent somebody holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Offer {
    /// Nothing.
    None,
    /// Some pieces.
    Partial,
    /// All of it.
    Whole,
}

/// What one peer holds of one circle, as it says itself.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Holdings {
    told: BTreeMap<InfoHash, Offer>,
    upto: BTreeMap<Chain, u64>,
}

impl Holdings {
    /// Takes in what the peer told. What it tells one by one counts more than its summaries, and the later more than the
    /// earlier. Over [`HOLDINGS`] torrents or [`CHAINS`] chains the message is refused and the connection with it.
    pub fn apply(&mut self, message: &control::Holdings) -> Result<(), KeepError> {
        if message.reset == 1 {
            *self = Self::default();
        }
        let kinds = [(&message.gone, Offer::None), (&message.partial, Offer::Partial), (&message.whole, Offer::Whole)];
        for (ids, offer) in kinds {
            for id in ids {
                self.told.insert(*id, offer);
                if self.told.len() > HOLDINGS {
                    return Err(KeepError::Protocol("torrents one by one", HOLDINGS));
                }
            }
        }
        for dot in &message.upto {
            self.upto.insert(dot.chain(), dot.sequence);
            if self.upto.len() > CHAINS {
                return Err(KeepError::Protocol("chains", CHAINS));
            }
        }
        Ok(())
    }

    /// True when the peer told that it holds nothing of a torrent.
    pub fn denies(&self, info_hash: &InfoHash) -> bool {
        self.told.get(info_hash) == Some(&Offer::None)
    }

    /// How much the peer holds of a torrent that the commits at `introduced` brought.
    pub fn offer(&self, info_hash: &InfoHash, introduced: &[Dot]) -> Offer {
        let covered = |dot: &Dot| self.upto.get(&dot.chain()).is_some_and(|upto| dot.sequence <= *upto);
        match self.told.get(info_hash) {
            Some(offer) => *offer,
            None if introduced.iter().any(covered) => Offer::Whole,
            None => Offer::None,
        }
    }
}

/// Tells one peer what we hold of one circle: all of it once, then what changes.
#[derive(Clone, Debug)]
pub struct Teller {
    circle: CircleId,
    changed: BTreeMap<InfoHash, Offer>,
    /// Not before.
    due: Instant,
    /// Torrents told one by one since the last full telling.
    told: usize,
}

impl Teller {
    /// One that has told nothing yet.
    pub fn new(circle: CircleId) -> Self {
        Self { circle, changed: BTreeMap::new(), due: Instant(0), told: 0 }
    }

    /// The messages that tell everything and replace what was told before. `upto` are the summaries; `gone`, `whole` and
    /// `partial` are what they do not tell. Of more than 49,152 the rest is kept back and not asked of us;
    /// `gone` is told first.
    pub fn full(
        &mut self,
        upto: Vec<Dot>,
        gone: impl IntoIterator<Item = InfoHash>,
        whole: impl IntoIterator<Item = InfoHash>,
        partial: impl IntoIterator<Item = InfoHash>,
    ) -> Vec<control::Holdings> {
        self.changed.clear();
        let gone = gone.into_iter().map(|id| (id, Offer::None));
        let whole = whole.into_iter().map(|id| (id, Offer::Whole));
        let partial = partial.into_iter().map(|id| (id, Offer::Partial));
        let told: Vec<(InfoHash, Offer)> = gone.chain(whole).chain(partial).take(FULL_MAX).collect();
        self.told = told.len();
        let mut messages = vec![control::Holdings { reset: 1, upto, ..self.message(&[]) }];
        for (n, part) in told.chunks(HOLDINGS_MESSAGE).enumerate() {
            let message = self.message(part);
            match messages.first_mut().filter(|_| n == 0) {
                Some(first) => {
                    *first = control::Holdings { reset: 1, upto: std::mem::take(&mut first.upto), ..message }
                }
                None => messages.push(message),
            }
        }
        messages
    }

    /// Something of what we hold has changed.
    pub fn changed(&mut self, info_hash: InfoHash, offer: Offer) {
        self.changed.insert(info_hash, offer);
    }

    /// The next message of changes, at most one in 50 ms and of [`HOLDINGS_MESSAGE`] torrents.
    pub fn poll(&mut self, now: Instant) -> Option<control::Holdings> {
        if self.changed.is_empty() || now < self.due || self.is_worn() {
            return None;
        }
        let part: Vec<(InfoHash, Offer)> =
            std::iter::from_fn(|| self.changed.pop_first()).take(HOLDINGS_MESSAGE).collect();
        self.due = now + TELL_EVERY;
        self.told += part.len();
        Some(self.message(&part))
    }

    /// When to poll again.
    pub fn timeout(&self) -> Option<Instant> {
        (!self.changed.is_empty() && !self.is_worn()).then_some(self.due)
    }

    /// True when the peer would refuse to hear of more changes: tell it everything anew.
    pub fn is_worn(&self) -> bool {
        self.told + self.changed.len().min(HOLDINGS_MESSAGE) > HOLDINGS
    }

    fn message(&self, part: &[(InfoHash, Offer)]) -> control::Holdings {
        let of = |kind: Offer| part.iter().filter(|(_, offer)| *offer == kind).map(|(id, _)| *id).collect();
        control::Holdings {
            circle: self.circle,
            gone: of(Offer::None),
            whole: of(Offer::Whole),
            partial: of(Offer::Partial),
            reset: 0,
            upto: Vec::new(),
            wanted: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MemberKey, Rng};

    fn id(n: usize) -> InfoHash {
        let mut id = InfoHash([0; 20]);
        id.0[..8].copy_from_slice(&n.to_be_bytes());
        id
    }

    fn dot(author: u8, sequence: u64) -> Dot {
        Dot { author: MemberKey([author; 32]), incarnation: 0, sequence }
    }

    fn blank() -> control::Holdings {
        Teller::new(CircleId([7; 32])).message(&[])
    }

    #[test]
    fn what_is_told_one_by_one_counts_more_than_the_summary() {
        let mut holdings = Holdings::default();
        assert_eq!(holdings.offer(&id(1), &[dot(1, 1)]), Offer::None);
        let first = control::Holdings {
            upto: vec![dot(1, 5)],
            gone: vec![id(1)],
            partial: vec![id(2)],
            whole: vec![id(3)],
            ..blank()
        };
        holdings.apply(&first).unwrap();
        assert_eq!(holdings.offer(&id(1), &[dot(1, 1)]), Offer::None);
        assert_eq!(holdings.offer(&id(2), &[dot(1, 1)]), Offer::Partial);
        assert_eq!(holdings.offer(&id(3), &[]), Offer::Whole);
        assert_eq!(holdings.offer(&id(4), &[dot(1, 5)]), Offer::Whole);
        assert_eq!(holdings.offer(&id(4), &[dot(1, 6), dot(2, 1)]), Offer::None);
        assert_eq!(holdings.offer(&id(4), &[dot(1, 6), dot(1, 4)]), Offer::Whole);
        assert_eq!(holdings.offer(&id(4), &[Dot { incarnation: 1, ..dot(1, 1) }]), Offer::None);

        holdings.apply(&control::Holdings { whole: vec![id(1)], gone: vec![id(3)], ..blank() }).unwrap();
        assert_eq!(holdings.offer(&id(1), &[]), Offer::Whole);
        assert_eq!(holdings.offer(&id(3), &[dot(1, 1)]), Offer::None);
        holdings.apply(&control::Holdings { reset: 1, ..blank() }).unwrap();
        assert_eq!(holdings, Holdings::default());
    }

    #[test]
    fn a_peer_that_tells_too_much_is_refused() {
        let mut holdings = Holdings::default();
        let whole: Vec<InfoHash> = (0..HOLDINGS).map(id).collect();
        holdings.apply(&control::Holdings { whole: whole.clone(), ..blank() }).unwrap();
        holdings.apply(&control::Holdings { gone: whole.clone(), ..blank() }).unwrap();
        let more = control::Holdings { partial: vec![id(HOLDINGS)], ..blank() };
        assert!(matches!(holdings.apply(&more), Err(KeepError::Protocol(_, HOLDINGS))));
        let mut holdings = Holdings::default();
        let upto = |n: usize| Dot { incarnation: n as u32, ..dot(1, 1) };
        holdings.apply(&control::Holdings { upto: (0..CHAINS).map(upto).collect(), ..blank() }).unwrap();
        let more = control::Holdings { upto: vec![upto(CHAINS)], ..blank() };
        assert!(matches!(holdings.apply(&more), Err(KeepError::Protocol(_, CHAINS))));
    }

    #[test]
    fn everything_is_told_in_parts_of_which_the_first_replaces() {
        let mut teller = Teller::new(CircleId([7; 32]));
        let empty = teller.full(vec![], [], [], []);
        assert_eq!(empty, [control::Holdings { reset: 1, ..blank() }]);
        let messages = teller.full(vec![dot(1, 9)], (0..1_500).map(id), (2_000..5_000).map(id), (9_000..9_010).map(id));
        assert_eq!(messages.iter().map(|m| m.reset).collect::<Vec<_>>(), [1, 0, 0]);
        let mut holdings = Holdings::default();
        holdings.apply(&control::Holdings { whole: vec![id(1), id(77_777)], ..blank() }).unwrap();
        for message in &messages {
            assert!(message.gone.len() + message.whole.len() + message.partial.len() <= HOLDINGS_MESSAGE);
            holdings.apply(message).unwrap();
        }
        for (n, offer) in [
            (0, Offer::None),
            (1_499, Offer::None),
            (1_500, Offer::Whole),
            (4_999, Offer::Whole),
            (9_009, Offer::Partial),
            (77_777, Offer::Whole),
        ] {
            assert_eq!(holdings.offer(&id(n), &[dot(1, 9)]), offer, "{n}");
        }
        assert_eq!(holdings.offer(&id(77_777), &[dot(1, 10)]), Offer::None, "what was told before is replaced");
    }

    #[test]
    fn changes_are_told_together_and_not_too_often() {
        let mut teller = Teller::new(CircleId([7; 32]));
        assert_eq!((teller.timeout(), teller.poll(Instant(0))), (None, None));
        teller.changed(id(1), Offer::Partial);
        let now = Instant(1_000);
        assert_eq!(teller.poll(now).unwrap().partial, [id(1)]);
        teller.changed(id(1), Offer::Whole);
        teller.changed(id(2), Offer::Partial);
        teller.changed(id(2), Offer::None);
        assert_eq!(teller.poll(now), None);
        assert_eq!(teller.timeout(), Some(now + TELL_EVERY));
        let later = teller.poll(now + TELL_EVERY).unwrap();
        assert_eq!((later.whole, later.gone, later.partial), (vec![id(1)], vec![id(2)], vec![]));
        assert_eq!(teller.timeout(), None);
    }

    /// A node whose holdings change at random for a long time, and a peer that hears of it: the peer always knows the
    /// truth in the end, and is never told more than it takes.
    #[test]
    fn a_peer_knows_the_truth_after_any_changes() {
        for seed in 0..5 {
            let mut rng = Rng::new(seed);
            let (mut teller, mut peer) = (Teller::new(CircleId([7; 32])), Holdings::default());
            let mut truth: BTreeMap<InfoHash, Offer> = BTreeMap::new();
            let mut fulls = 0;
            for step in 0..150_000 {
                let id = id(rng.below(20_000) as usize);
                let offer = [Offer::None, Offer::Partial, Offer::Whole][rng.below(3) as usize];
                truth.insert(id, offer);
                teller.changed(id, offer);
                if step % 100 == 0 {
                    tell(&mut teller, &mut peer, Instant(step * 1_000), &truth, &mut fulls);
                }
            }
            let mut now = Instant(1 << 40);
            while teller.timeout().is_some() || teller.is_worn() {
                tell(&mut teller, &mut peer, now, &truth, &mut fulls);
                now = now + TELL_EVERY;
            }
            assert!(truth.iter().all(|(id, offer)| peer.offer(id, &[]) == *offer), "seed {seed}");
            assert!((1..6).contains(&fulls), "{fulls}");
        }
    }

    fn tell(
        teller: &mut Teller,
        peer: &mut Holdings,
        now: Instant,
        truth: &BTreeMap<InfoHash, Offer>,
        fulls: &mut usize,
    ) {
        if teller.is_worn() {
            let of = |kind| truth.iter().filter(move |(_, offer)| **offer == kind).map(|(id, _)| *id);
            *fulls += 1;
            for message in teller.full(vec![], [], of(Offer::Whole), of(Offer::Partial)) {
                peer.apply(&message).unwrap();
            }
        }
        if let Some(message) = teller.poll(now) {
            peer.apply(&message).unwrap();
        }
    }
}

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
        }
    }
}

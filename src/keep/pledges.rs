//! Letting a body go without its copies becoming too few: enough others first pledge, durably, to keep theirs.
//!
//! Who lets a body go asks those that hold it whole, in a *round* whose number was never used before. A pledge binds whoever
//! gave it until the evictor says 'gone' or 'kept', or is removed. The invariant: whoever lets go has pledges of enough others,
//! none of which lets go meanwhile, since
//! - who is asking for a body pledges it to nobody, and who has pledged it does not ask;
//! - a pledge counts for the round in which it was asked for alone, and a release ends that round's alone, so what comes late,
//!   twice or in another order says nothing about another round;
//! - a pledge is durable before it is told.
//!
//! Two that ask at once refuse each other, and try again at random. What was lost on the way is mended by
//! [`Pledges::reminders`]: a pledger tells what it is bound by, and an evictor that waits for nothing releases it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::limits::{PLEDGE_ROUNDS, PLEDGERS, PLEDGES, PLEDGES_EACH};
use crate::base::{InfoHash, Instant, TransportKey};

/// Other nodes that have to pledge a body unless it is said otherwise.
pub const COPIES: usize = 2;
/// A round that has not come to enough pledges by then has failed.
pub const ROUND_TIME: Duration = Duration::from_secs(10);

/// A step of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Asks for a pledge.
    Ask,
    /// Gives it.
    Pledged,
    /// Refuses it.
    Refused,
    /// Ends it: the sender has let the body go.
    Gone,
    /// Ends it: the sender keeps the body.
    Kept,
}

impl Step {
    /// Its number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Step::Ask => 1,
            Step::Pledged => 2,
            Step::Refused => 3,
            Step::Gone => 4,
            Step::Kept => 5,
        }
    }

    /// The step of a number, if it is known.
    pub fn from_number(number: u8) -> Option<Self> {
        let all = [Step::Ask, Step::Pledged, Step::Refused, Step::Gone, Step::Kept];
        all.into_iter().find(|step| step.number() == number)
    }
}

/// A step to be told to somebody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Message {
    /// To whom.
    pub to: TransportKey,
    /// What.
    pub step: Step,
    /// Of which body.
    pub body: InfoHash,
    /// In which round.
    pub round: u64,
}

/// Why a round does not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is under way already, or was pledged to somebody: try again.
    Busy,
    /// So many others hold it, which is too few.
    TooFew(usize),
}

/// What an answer makes of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on.
    Waiting,
    /// Enough have pledged: the body may go now. These are to be told 'gone' once that is durable, or 'kept'.
    Enough(Vec<Message>),
    /// Too few will: the body stays. These are to be told.
    Failed(Vec<Message>),
    /// A pledge that nothing here waits for: it is to be released, by 'gone' or 'kept' as it is.
    Stray,
}

/// What is answered to who asks for a pledge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Write it, then call [`Pledges::durable`].
    Write,
    /// It is given already.
    Given,
    /// It is being written.
    Writing,
    /// No.
    Refused,
}

/// Both sides of one node: the rounds in which it asks, and what it pledged.
#[derive(Clone, Debug)]
pub struct Pledges {
    copies: usize,
    rounds: BTreeMap<InfoHash, Round>,
    /// By body, to whom, and round.
    given: BTreeMap<(InfoHash, TransportKey, u64), Given>,
    /// How many of them bind this node to whom.
    binding: BTreeMap<TransportKey, usize>,
}

#[derive(Clone, Debug)]
struct Round {
    number: u64,
    asked: BTreeSet<TransportKey>,
    pledged: BTreeSet<TransportKey>,
    refused: BTreeSet<TransportKey>,
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Given {
    Writing,
    Durable,
    /// Its evictor has let go: this copy stands for that one.
    Relied,
}

impl Round {
    /// What ends the round for all that were asked.
    fn end(&self, body: InfoHash, step: Step) -> Vec<Message> {
        self.asked.iter().map(|to| Message { to: *to, step, body, round: self.number }).collect()
    }
}

impl Default for Pledges {
    fn default() -> Self {
        Self::new(COPIES)
    }
}

impl Pledges {
    /// Lets nothing go that not so many others pledge, at least one.
    pub fn new(copies: usize) -> Self {
        Self { copies: copies.max(1), rounds: BTreeMap::new(), given: BTreeMap::new(), binding: BTreeMap::new() }
    }

    /// How many others have to pledge.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// What was pledged before a restart; `relied` as [`Self::released`] told then.
    pub fn load(&mut self, body: InfoHash, to: TransportKey, round: u64, relied: bool) {
        self.given.insert((body, to, round), if relied { Given::Relied } else { Given::Durable });
        if !relied {
            self.bind(to);
        }
    }

    fn bind(&mut self, to: TransportKey) {
        *self.binding.entry(to).or_default() += 1;
    }

    fn unbind(&mut self, to: &TransportKey) {
        if let Some(bound) = self.binding.get_mut(to) {
            *bound = bound.saturating_sub(1);
            if *bound == 0 {
                self.binding.remove(to);
            }
        }
    }

    /// Begins a round for a body that this node holds: `holders` are others that told that they hold it whole. `round` is a
    /// number that was never drawn before. Returns who is to be asked.
    pub fn begin(
        &mut self,
        now: Instant,
        body: InfoHash,
        round: u64,
        holders: impl IntoIterator<Item = TransportKey>,
    ) -> Result<Vec<Message>, Refusal> {
        if self.is_pledged(&body) || self.rounds.contains_key(&body) {
            return Err(Refusal::Busy);
        }
        let asked: BTreeSet<TransportKey> = holders.into_iter().take(PLEDGERS).collect();
        if asked.len() < self.copies {
            return Err(Refusal::TooFew(asked.len()));
        }
        let (pledged, refused) = Default::default();
        let begun = Round { number: round, asked, pledged, refused, until: now + ROUND_TIME };
        let messages = begun.end(body, Step::Ask);
        self.rounds.insert(body, begun);
        Ok(messages)
    }

    /// Somebody pledged, or refused to.
    pub fn answered(&mut self, from: TransportKey, body: InfoHash, number: u64, pledged: bool) -> Verdict {
        let current = self.rounds.get_mut(&body).filter(|round| round.number == number && round.asked.contains(&from));
        let Some(round) = current else {
            return if pledged { Verdict::Stray } else { Verdict::Waiting };
        };
        if pledged {
            round.pledged.insert(from);
        } else if !round.pledged.contains(&from) {
            round.refused.insert(from);
        }
        if round.pledged.len() >= self.copies {
            let messages = round.end(body, Step::Gone);
            self.rounds.remove(&body);
            return Verdict::Enough(messages);
        }
        if round.asked.len() - round.refused.len() < self.copies {
            return Verdict::Failed(self.give_up(&body));
        }
        Verdict::Waiting
    }

    /// The body stays after all. Returns who is to be told.
    pub fn give_up(&mut self, body: &InfoHash) -> Vec<Message> {
        self.rounds.remove(body).map(|round| round.end(*body, Step::Kept)).unwrap_or_default()
    }

    /// Rounds whose time is over, with who is to be told.
    pub fn expired(&mut self, now: Instant) -> Vec<(InfoHash, Vec<Message>)> {
        let over: Vec<InfoHash> =
            self.rounds.iter().filter(|(_, round)| round.until <= now).map(|(body, _)| *body).collect();
        over.into_iter().map(|body| (body, self.give_up(&body))).collect()
    }

    /// When the next round's time is over.
    pub fn timeout(&self) -> Option<Instant> {
        self.rounds.values().map(|round| round.until).min()
    }

    /// True while this node asks for a body's pledges.
    pub fn is_asking(&self, body: &InfoHash) -> bool {
        self.rounds.contains_key(body)
    }

    /// Somebody asks for a pledge. `may` says whether the body is here, whole and durable, and is to stay.
    pub fn asked(&mut self, from: TransportKey, body: InfoHash, round: u64, may: bool) -> Reply {
        match self.given.get(&(body, from, round)) {
            Some(Given::Writing) => return Reply::Writing,
            Some(Given::Durable | Given::Relied) => return Reply::Given,
            None => {}
        }
        let rounds = self.given.range((body, from, 0)..=(body, from, u64::MAX));
        let rounds = rounds.filter(|(_, given)| **given != Given::Relied).count();
        // Who asks without end takes nothing from others.
        let bound = self.binding.get(&from).copied().unwrap_or(0);
        let all: usize = self.binding.values().sum();
        let full = rounds >= PLEDGE_ROUNDS || bound >= PLEDGES_EACH || all >= PLEDGES;
        if !may || self.rounds.contains_key(&body) || full {
            return Reply::Refused;
        }
        self.given.insert((body, from, round), Given::Writing);
        self.bind(from);
        Reply::Write
    }

    /// A pledge is durable. True where it is to be told: it may have ended meanwhile.
    pub fn durable(&mut self, to: TransportKey, body: InfoHash, round: u64) -> bool {
        match self.given.get_mut(&(body, to, round)) {
            Some(given @ Given::Writing) => {
                *given = Given::Durable;
                true
            }
            Some(Given::Durable) => true,
            Some(Given::Relied) | None => false,
        }
    }

    /// The evictor ends a pledge. Where this node would let the body go without asking anybody, as caches do, it is to `rely`
    /// on it. True where something changed that is to be written.
    pub fn released(&mut self, from: TransportKey, body: InfoHash, round: u64, rely: bool) -> bool {
        let key = (body, from, round);
        let Some(given) = self.given.get(&key).copied() else { return false };
        if rely && given == Given::Relied {
            return false;
        }
        if given != Given::Relied {
            self.unbind(&from);
        }
        // One is enough to remember.
        if rely && !self.is_relied_on(&body) {
            self.given.insert(key, Given::Relied);
        } else {
            self.given.remove(&key);
        }
        true
    }

    /// True where this pledge of somebody's is what is remembered of a body that others rely on.
    pub fn is_reliance(&self, to: TransportKey, body: InfoHash, round: u64) -> bool {
        self.given.get(&(body, to, round)) == Some(&Given::Relied)
    }

    /// True while a body is pledged to somebody, and so must stay here.
    pub fn is_pledged(&self, body: &InfoHash) -> bool {
        self.of(body).any(|given| given != Given::Relied)
    }

    /// True where others have let a body go because it is here.
    pub fn is_relied_on(&self, body: &InfoHash) -> bool {
        self.of(body).any(|given| given == Given::Relied)
    }

    fn of(&self, body: &InfoHash) -> impl Iterator<Item = Given> {
        let (from, to) = (TransportKey([0; 32]), TransportKey([0xff; 32]));
        self.given.range((*body, from, 0)..=(*body, to, u64::MAX)).map(|(_, given)| *given)
    }

    /// What binds this node to somebody: told whenever they meet.
    pub fn reminders(&self, to: &TransportKey) -> Vec<Message> {
        let bound = self.given.iter().filter(|((_, evictor, _), given)| evictor == to && **given == Given::Durable);
        bound
            .map(|((body, to, round), _)| Message { to: *to, step: Step::Pledged, body: *body, round: *round })
            .collect()
    }

    /// Ends all that was pledged to those of whom `is_removed` is true. Returns what.
    pub fn forget(
        &mut self,
        is_removed: impl Fn(&InfoHash, &TransportKey) -> bool,
    ) -> Vec<(InfoHash, TransportKey, u64)> {
        let binds = self.given.iter().filter(|(_, given)| **given != Given::Relied);
        let over: Vec<_> = binds.map(|(key, _)| *key).filter(|(body, to, _)| is_removed(body, to)).collect();
        for key in &over {
            self.given.remove(key);
            self.unbind(&key.1);
        }
        over
    }

    /// Nobody relies on a body any more: it may go, or went. Returns what was pledged of it.
    pub fn forget_relied(&mut self, body: &InfoHash) -> Vec<(InfoHash, TransportKey, u64)> {
        let (from, to) = (TransportKey([0; 32]), TransportKey([0xff; 32]));
        let of_body = self.given.range((*body, from, 0)..=(*body, to, u64::MAX));
        let over: Vec<_> = of_body.filter(|(_, given)| **given == Given::Relied).map(|(key, _)| *key).collect();
        for key in &over {
            self.given.remove(key);
        }
        over
    }

    /// Pledges that bind this node now.
    pub fn given(&self) -> usize {
        self.given.values().filter(|given| **given != Given::Relied).count()
    }
}

#[cfg(test)]
mod tests;

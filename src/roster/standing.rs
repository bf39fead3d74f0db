//! What follows from a set of statements: who is in, as what, and which statements have lost their effect.
//!
//! Equal sets give equal states, whatever the order in which they came:
//! 1. What strikes (a removal, or a change to less than the member had) is taken in the order of its author's
//!    admission. Each, unless it has been struck itself, strikes what its subject said without its having seen it, and
//!    all that rests on that. So of two keepers that strike each other the longer serving stays, and a strike yields
//!    only to a longer serving keeper's.
//! 2. What is left takes effect in the order of depth and hash.
//! 3. A recovery sheet, which is a keeper without a box, says one thing in its life: whom it admits as keeper. With that
//!    it is out. The box that it admits removes it: so whoever has the sheet and an older roster, by which it could be
//!    used still, admits nobody by it where that removal is known. Of two boxes that it admits at once, and that both
//!    remove it, the one stays whose admission has the more before it. It never counts as a keeper of whom one must be
//!    left.
//! 4. Were no keeper left, then of those who were keepers the one that was struck last would stay.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::RosterError;
use super::history::{Basis, History, Who};
use super::past::Past;
use crate::base::limits::{MEMBERS, SHEETS};
use crate::base::{MemberKey, TransportKey};
use crate::wire::statement::{Device, KeyFor, Role, Saying, Statement};

/// What holds for one key.
#[derive(Clone, Default, Debug)]
pub(super) struct Standing {
    /// The statement that admitted it.
    pub(super) admit: Option<usize>,
    /// The role changes that no other has seen; the lowest holds.
    pub(super) roles: Vec<usize>,
    /// All role changes and removals, in order.
    pub(super) said: Vec<usize>,
    /// The highest role that it ever had.
    pub(super) peak: Option<Role>,
    /// Removed for ever.
    pub(super) removed: bool,
    /// Of a recovery sheet: the admissions that it said.
    pub(super) spent: Vec<usize>,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(super) struct State {
    standings: Vec<Standing>,
    transports: BTreeSet<TransportKey>,
    members: usize,
    /// Statements without effect.
    void: Past,
    /// Strikes that were put aside so that a keeper is left.
    spared: BTreeSet<usize>,
    /// The greatest number of an epoch, void ones included.
    pub(super) number: u64,
}

impl Standing {
    /// The last role, of removed keys too.
    pub(super) fn role(&self, history: &History) -> Option<Role> {
        let lowest = self.roles.iter().filter_map(|at| history.granted(*at)).min();
        lowest.or_else(|| history.granted(self.admit?)).filter(|_| self.admit.is_some())
    }

    /// True for a recovery sheet.
    pub(super) fn is_sheet(&self, history: &History) -> bool {
        self.admit.is_some_and(|at| history.admits_sheet(at))
    }

    /// True for a key that was removed, and for a sheet that was used.
    pub(super) fn is_out(&self) -> bool {
        self.removed || !self.spent.is_empty()
    }
}

impl State {
    /// The state that follows from the statements `within`, or from all.
    pub(super) fn of(history: &History, within: Option<&Past>) -> Self {
        let mut spared = BTreeSet::new();
        loop {
            let state = Self::replay(history, within, spared);
            if state.keepers(history).next().is_some() {
                return state;
            }
            let Some(last) = state.struck_last(history) else { return state };
            spared = state.spared;
            spared.extend(last);
        }
    }

    fn replay(history: &History, within: Option<&Past>, spared: BTreeSet<usize>) -> Self {
        let inside = |at: usize| within.is_none_or(|past| past.contains(at));
        let mut state = State { spared, ..Self::default() };
        let mut taken = Past::default();
        for &strike in history.strikes() {
            if !inside(strike) || state.void.contains(strike) || state.spared.contains(&strike) {
                continue;
            }
            taken.insert(strike);
            let subject = history.line(strike).subject.expect("what strikes has a subject");
            for &at in history.authored(subject) {
                if inside(at) && hits(history, strike, at) {
                    state.void_with_dependents(history, &inside, &taken, at);
                }
            }
        }
        for &at in history.order() {
            if inside(at) {
                state.apply(history, at);
            }
        }
        state
    }

    fn void_with_dependents(&mut self, history: &History, inside: &impl Fn(usize) -> bool, taken: &Past, at: usize) {
        let mut waiting = vec![at];
        while let Some(at) = waiting.pop() {
            if inside(at) && !taken.contains(at) && !self.void.contains(at) {
                self.void.insert(at);
                waiting.extend(history.dependents(at));
            }
        }
    }

    /// Adds the effect of a statement that comes after all that were applied in the order of depth and hash.
    pub(super) fn apply(&mut self, history: &History, at: usize) {
        if let Saying::Epoch { number, .. } = history.saying(at) {
            self.number = self.number.max(*number);
        }
        if !self.effective(at) {
            return;
        }
        let Some(who) = history.line(at).subject else { return };
        if self.standings.len() <= who.0 {
            self.standings.resize_with(who.0 + 1, Standing::default);
        }
        if let Some(device) = history.device(at) {
            self.spend(history, at);
            self.admit(history, at, who, device);
            return;
        }
        let standing = &mut self.standings[who.0];
        standing.said.push(at);
        match history.granted(at) {
            None => standing.removed = true,
            granted => {
                standing.roles.retain(|seen| !history.line(at).past.contains(*seen));
                standing.roles.push(at);
                standing.peak = standing.peak.max(granted);
            }
        }
    }

    /// A sheet that admits is used.
    fn spend(&mut self, history: &History, at: usize) {
        let author = history.who(&history.line(at).signed.statement.author);
        if let Some(sheet) = author.and_then(|author| self.standings.get_mut(author.0))
            && sheet.is_sheet(history)
        {
            sheet.spent.push(at);
        }
    }

    /// The first admission of a key and of a transport key counts.
    fn admit(&mut self, history: &History, at: usize, who: Who, device: &Device) {
        let standing = &mut self.standings[who.0];
        if standing.admit.is_some() || self.transports.contains(&device.transport) || self.members >= MEMBERS {
            return;
        }
        self.members += 1;
        standing.admit = Some(at);
        standing.peak = standing.peak.max(history.granted(at));
        self.transports.insert(device.transport);
    }

    /// False for a statement that was struck or put aside.
    pub(super) fn effective(&self, at: usize) -> bool {
        !self.void.contains(at) && !self.spared.contains(&at)
    }

    /// True when a later statement may be added by [`State::apply`] alone.
    pub(super) fn is_plain(&self) -> bool {
        self.spared.is_empty()
    }

    pub(super) fn standing(&self, who: Who) -> Option<&Standing> {
        self.standings.get(who.0)
    }

    pub(super) fn admitted(&self) -> impl Iterator<Item = (Who, &Standing)> {
        self.standings.iter().enumerate().filter(|(_, s)| s.admit.is_some()).map(|(i, s)| (Who(i), s))
    }

    /// The role of a key that is in.
    pub(super) fn role(&self, history: &History, who: Who) -> Option<Role> {
        self.standing(who).filter(|standing| !standing.is_out())?.role(history)
    }

    fn keepers<'a>(&'a self, history: &'a History) -> impl Iterator<Item = Who> + 'a {
        let boxes = self.admitted().filter(|(_, standing)| !standing.is_sheet(history));
        boxes.map(|(who, _)| who).filter(|who| self.role(history, *who) == Some(Role::Keeper))
    }

    /// Those strikes that took from a keeper its role, of the keeper that was struck last; of equal ones the longer
    /// serving.
    fn struck_last(&self, history: &History) -> Option<Vec<usize>> {
        let strikes = |standing: &Standing| -> Vec<usize> {
            standing.said.iter().copied().filter(|at| history.line(*at).basis.strikes).collect()
        };
        self.admitted()
            .filter(|(_, standing)| standing.peak == Some(Role::Keeper) && !standing.is_sheet(history))
            .filter_map(|(_, standing)| Some((strikes(standing), standing.admit?)))
            .filter(|(strikes, _)| !strikes.is_empty())
            .max_by_key(|(strikes, admit)| (history.line(strikes[0]).depth, Reverse(history.age(*admit))))
            .map(|(strikes, _)| strikes)
    }

    /// Whether a statement that has seen just what this state follows from may be said, and by what. The answer is the
    /// same on every node for ever.
    pub(super) fn check(&self, history: &History, past: &Past, statement: &Statement) -> Result<Basis, RosterError> {
        let need = needs(&statement.saying);
        let author = history.who(&statement.author).filter(|who| self.role(history, *who) >= Some(need));
        let Some(standing) = author.and_then(|who| self.standing(who)) else {
            return Err(RosterError::NotEntitled(statement.author, need));
        };
        if standing.is_sheet(history) && !takes_its_place(&statement.saying) {
            return Err(RosterError::Sheet("all that a recovery sheet says is which box takes its place"));
        }
        let strikes = match &statement.saying {
            Saying::Found { .. } => return Err(RosterError::Malformed("a circle is founded once")),
            Saying::Admit { device, role, .. } => {
                self.check_admit(history, device)?;
                if device.is_guest() && *role == Role::Keeper && self.sheets(history) >= SHEETS {
                    return Err(RosterError::TooManySheets);
                }
                false
            }
            Saying::Role { member, role, .. } => {
                let who = history.who(member).filter(|who| self.role(history, *who).is_some());
                let who = who.ok_or(RosterError::UnknownMember(*member))?;
                if self.standing(who).is_some_and(|standing| standing.is_sheet(history)) {
                    return Err(RosterError::Sheet("a recovery sheet has one role: remove it instead"));
                }
                self.check_keepers(history, who, Some(*role))?;
                self.standing(who).is_some_and(|standing| Some(*role) < standing.peak)
            }
            Saying::Remove { member, .. } => {
                let known = |who: &Who| history.admits(*who).iter().any(|admit| past.contains(*admit));
                let who = history.who(member).filter(known).ok_or(RosterError::UnknownMember(*member))?;
                self.check_keepers(history, who, None)?;
                true
            }
            Saying::Epoch { number, keys, .. } => {
                self.check_epoch(history, *number, keys)?;
                false
            }
            Saying::Release { member, .. } => {
                let admit = history.who(member).and_then(|who| self.standing(who)?.admit);
                admit.ok_or(RosterError::UnknownMember(*member))?;
                false
            }
        };
        let admit = standing.admit.expect("who has a role was admitted");
        Ok(Basis { admit, roles: standing.roles.clone(), strikes })
    }

    fn check_admit(&self, history: &History, device: &Device) -> Result<(), RosterError> {
        let standing = history.who(&device.member).and_then(|who| self.standing(who));
        if standing.is_some_and(|standing| standing.admit.is_some() || standing.removed) {
            return Err(RosterError::KeyUsed(device.member));
        }
        if self.transports.contains(&device.transport) {
            return Err(RosterError::TransportUsed(device.transport));
        }
        if self.members >= MEMBERS {
            return Err(RosterError::TooManyMembers);
        }
        Ok(())
    }

    /// Sheets that were ever admitted.
    fn sheets(&self, history: &History) -> usize {
        self.admitted().filter(|(_, standing)| standing.is_sheet(history)).count()
    }

    fn check_keepers(&self, history: &History, who: Who, after: Option<Role>) -> Result<(), RosterError> {
        if after == Some(Role::Keeper) || self.keepers(history).any(|keeper| keeper != who) {
            return Ok(());
        }
        // Whoever says it is a keeper, so the subject is that one.
        Err(RosterError::LastKeeper)
    }

    fn check_epoch(&self, history: &History, number: u64, keys: &[KeyFor]) -> Result<(), RosterError> {
        if Some(number) != self.number.checked_add(1) {
            return Err(RosterError::Epoch("its number is not one more than the greatest that its author knew"));
        }
        let named: BTreeSet<MemberKey> = keys.iter().map(|key| key.member).collect();
        if named.len() != keys.len() || !named.into_iter().eq(self.readers(history)) {
            return Err(RosterError::Epoch("it must hold one key for each member that reads, and no other"));
        }
        Ok(())
    }

    /// The member keys that are given epoch keys, in order.
    pub(super) fn readers(&self, history: &History) -> BTreeSet<MemberKey> {
        self.admitted()
            .filter(|(who, _)| self.role(history, *who).is_some_and(Role::reads))
            .filter_map(|(_, standing)| Some(history.device(standing.admit?)?.member))
            .collect()
    }
}

/// The least role that may say this.
fn needs(saying: &Saying) -> Role {
    match saying {
        Saying::Epoch { .. } => Role::Member,
        _ => Role::Keeper,
    }
}

/// True for the one thing that a recovery sheet says.
fn takes_its_place(saying: &Saying) -> bool {
    matches!(saying, Saying::Admit { device, role: Role::Keeper, .. } if !device.is_guest())
}

/// True when `strike` takes the effect from `at`, which its subject said: it leaves too little of a role, has not seen
/// `at`, and was not answered by a role change on which `at` rests. A removal cannot be answered.
fn hits(history: &History, strike: usize, at: usize) -> bool {
    let line = history.line(strike);
    let left = history.granted(strike);
    if left >= Some(needs(history.saying(at))) || line.past.contains(at) {
        return false;
    }
    left.is_none() || !history.line(at).basis.roles.iter().any(|role| history.line(*role).past.contains(strike))
}

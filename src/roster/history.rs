//! The statements of one circle as a graph: who said what, having seen what. What follows from them is `standing`.
//!
//! Positions are of arrival and differ from node to node; whatever decides goes by depth and hash instead, which do not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::past::Past;
use crate::base::{MemberKey, StatementHash};
use crate::wire::statement::{Device, Role, Saying, SignedStatement};

/// A member key that some statement names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Who(pub(super) usize);

/// Depth and hash of a statement.
type Age = (u32, StatementHash);

/// One statement and what it rests on, all of it a function of its past alone.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The statement.
    pub(super) signed: SignedStatement,
    /// Whom it admits, changes or removes.
    pub(super) subject: Option<Who>,
    /// Statements on the longest path from the founding one, which has 0.
    pub(super) depth: u32,
    /// All that it has seen, itself left out.
    pub(super) past: Past,
    /// By what the author may say it.
    pub(super) basis: Basis,
    /// Those that rest on it.
    dependents: Vec<usize>,
}

/// By what an author may say a statement, as its past has it.
#[derive(Clone, Default, Debug)]
pub(super) struct Basis {
    /// The admission of the author.
    pub(super) admit: usize,
    /// The role changes that gave the author its role; none when the admission did.
    pub(super) roles: Vec<usize>,
    /// True when the statement takes a role or a key away.
    pub(super) strikes: bool,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(super) struct History {
    lines: Vec<Line>,
    positions: BTreeMap<StatementHash, usize>,
    heads: BTreeSet<StatementHash>,
    keys: BTreeMap<MemberKey, Who>,
    /// By key: the statements that it signed.
    authored: Vec<Vec<usize>>,
    /// By key: the statements that admit it.
    admits: Vec<Vec<usize>>,
    /// By depth, then hash: each after all that it has seen, the same on every node.
    order: Vec<usize>,
    /// What strikes, the longer serving author's first.
    strikes: Vec<usize>,
}

impl History {
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn line(&self, at: usize) -> &Line {
        &self.lines[at]
    }

    pub(super) fn position(&self, hash: &StatementHash) -> Option<usize> {
        self.positions.get(hash).copied()
    }

    pub(super) fn who(&self, key: &MemberKey) -> Option<Who> {
        self.keys.get(key).copied()
    }

    pub(super) fn heads(&self) -> &BTreeSet<StatementHash> {
        &self.heads
    }

    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    pub(super) fn strikes(&self) -> &[usize] {
        &self.strikes
    }

    pub(super) fn authored(&self, who: Who) -> &[usize] {
        &self.authored[who.0]
    }

    pub(super) fn admits(&self, who: Who) -> &[usize] {
        &self.admits[who.0]
    }

    pub(super) fn dependents(&self, at: usize) -> &[usize] {
        &self.lines[at].dependents
    }

    pub(super) fn saying(&self, at: usize) -> &Saying {
        &self.lines[at].signed.statement.saying
    }

    /// By depth, then hash.
    pub(super) fn age(&self, at: usize) -> Age {
        (self.lines[at].depth, self.lines[at].signed.hash)
    }

    /// The role that a statement gives to its subject.
    pub(super) fn granted(&self, at: usize) -> Option<Role> {
        match self.saying(at) {
            Saying::Found { .. } => Some(Role::Keeper),
            Saying::Admit { role, .. } | Saying::Role { role, .. } => Some(*role),
            Saying::Remove { .. } | Saying::Epoch { .. } | Saying::Release { .. } => None,
        }
    }

    /// The device that a statement admits.
    pub(super) fn device(&self, at: usize) -> Option<&Device> {
        match self.saying(at) {
            Saying::Found { device, .. } | Saying::Admit { device, .. } => Some(device),
            _ => None,
        }
    }

    /// All that a statement with these heads has seen; `None` when one of them is not here.
    pub(super) fn past(&self, heads: &[StatementHash]) -> Option<Past> {
        let mut past = Past::default();
        for head in heads {
            let at = self.position(head)?;
            past.join(&self.lines[at].past);
            past.insert(at);
        }
        Some(past)
    }

    /// Adds a statement that is not here, all of whose past is. Returns its position.
    pub(super) fn push(&mut self, signed: SignedStatement, past: Past, basis: Basis) -> usize {
        let at = self.lines.len();
        let author = self.intern(signed.statement.author);
        let subject = match &signed.statement.saying {
            Saying::Found { device, .. } | Saying::Admit { device, .. } => Some(self.intern(device.member)),
            Saying::Role { member, .. } | Saying::Remove { member, .. } => Some(self.intern(*member)),
            Saying::Epoch { .. } | Saying::Release { .. } => None,
        };
        let mut depth = 0;
        for head in &signed.statement.heads {
            depth = depth.max(self.lines[self.positions[head]].depth + 1);
            self.heads.remove(head);
        }
        self.heads.insert(signed.hash);
        self.positions.insert(signed.hash, at);
        self.authored[author.0].push(at);
        if let (Saying::Found { .. } | Saying::Admit { .. }, Some(who)) = (&signed.statement.saying, subject) {
            self.admits[who.0].push(at);
        }
        if at > 0 {
            for support in basis.roles.iter().chain([&basis.admit]) {
                self.lines[*support].dependents.push(at);
            }
        }
        let strikes = basis.strikes;
        self.lines.push(Line { signed, subject, depth, past, basis, dependents: Vec::new() });
        let place = self.order.partition_point(|other| self.age(*other) < self.age(at));
        self.order.insert(place, at);
        if strikes {
            let place = self.strikes.partition_point(|other| self.rank(*other) < self.rank(at));
            self.strikes.insert(place, at);
        }
        at
    }

    /// In which order strikes are taken: by their author's admission. A box that took the place of a recovery sheet, and
    /// strikes that, does so with the sheet's age, before any other that the sheet admits; of two such boxes the one
    /// whose admission has the more before it goes first.
    fn rank(&self, strike: usize) -> (Age, Reverse<u32>, Age) {
        let admit = self.lines[strike].basis.admit;
        match self.took_place_of(admit) {
            Some(sheet) if self.lines[strike].subject == self.lines[sheet].subject => {
                (self.age(sheet), Reverse(self.lines[admit].depth), self.age(strike))
            }
            _ => (self.age(admit), Reverse(0), self.age(strike)),
        }
    }

    /// The admission of the recovery sheet that said this admission, if one did.
    fn took_place_of(&self, admit: usize) -> Option<usize> {
        let by = self.lines[admit].basis.admit;
        (admit > 0 && self.admits_sheet(by)).then_some(by)
    }

    /// True for a statement that admits a recovery sheet.
    pub(super) fn admits_sheet(&self, at: usize) -> bool {
        matches!(self.saying(at), Saying::Admit { device, role: Role::Keeper, .. } if device.is_guest())
    }

    fn intern(&mut self, key: MemberKey) -> Who {
        let next = Who(self.keys.len());
        let who = *self.keys.entry(key).or_insert(next);
        if who == next {
            self.authored.push(Vec::new());
            self.admits.push(Vec::new());
        }
        who
    }
}

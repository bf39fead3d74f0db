//! Who is in a circle: members, roles and epochs by the keepers' statements; addresses, and whom to dial when.
//!
//! A [`Roster`] is a set of verified statements. What follows from it is a function of the set (`standing` has the
//! rules), so nodes that hold the same statements agree, whatever the order in which these came:
//! - Only keepers admit, change roles and remove; whoever reads and writes may start an epoch. Whether an author may say
//!   a statement is judged by what the statement itself has seen. One that its author never could say is refused, on
//!   every node for ever; one whose author lost the right concurrently is kept and has no effect.
//! - A removal is final and beats whatever is concurrent; coming back takes a new key. Of two keepers that strike each
//!   other the longer serving stays. Of concurrent role changes the lowest holds. Of concurrent admissions of one key or
//!   one transport key the first by depth and hash counts.
//! - A recovery sheet is a keeper's key on paper, of a device whose two keys are one. It admits the box that takes its
//!   place, and is out with that; it is no keeper that one could be left with.
//! - The last keeper can neither be removed nor leave, so that no circle is ever without one.

pub mod address;
pub mod dial;
mod history;
pub mod lan;
mod past;
mod standing;
#[cfg(test)]
mod tests;
mod view;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use history::{Basis, History};
use standing::State;
use view::View;

use crate::base::limits::{MEMBERS, SHEETS, STATEMENTS};
use crate::base::{CircleId, CommitHash, EpochId, MemberKey, StatementHash, TransportKey};
use crate::wire::record::{Bytes2, Chain, Dot};
use crate::wire::statement::{Cut, Device, Role, Saying, SignedStatement, Statement};

pub use address::{AddressBook, SignedAddress};
pub use dial::DialPlan;
pub use view::{EpochView, Member, Verdict};

/// The statements of one circle and what follows from them.
#[derive(Clone, Debug)]
pub struct Roster {
    circle: CircleId,
    name: String,
    root: Bytes,
    history: History,
    state: State,
    /// The state lacks statements of the history.
    stale: bool,
    view: View,
}

/// What became of a statement that was not refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It was new, and is to be stored and told to others. It may have no effect.
    New,
    /// It was here.
    Known,
    /// It names heads that are not here, and was not kept: ask its sender for all that is missing.
    Waiting,
}

/// Why a statement is refused. But for [`RosterError::Full`] every node refuses it, for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RosterError {
    /// It says what no statement may: why.
    Malformed(&'static str),
    /// It is of another circle.
    OtherCircle(CircleId),
    /// Its author was not entitled by what it had seen: who, and the least role that is.
    NotEntitled(MemberKey, Role),
    /// It names a member that its author could not know, or that had been removed.
    UnknownMember(MemberKey),
    /// It admits a key that was admitted or removed before.
    KeyUsed(MemberKey),
    /// It admits a transport key that another member has.
    TransportUsed(TransportKey),
    /// It admits one more than [`MEMBERS`].
    TooManyMembers,
    /// It takes the role of the only keeper.
    LastKeeper,
    /// It starts an epoch wrongly: why.
    Epoch(&'static str),
    /// It admits one more than [`SHEETS`].
    TooManySheets,
    /// It says of a recovery sheet, or for one, what cannot be: why.
    Sheet(&'static str),
    /// This roster holds [`STATEMENTS`].
    Full,
}

impl fmt::Display for RosterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RosterError::Malformed(why) => write!(f, "a statement is malformed: {why}"),
            RosterError::OtherCircle(circle) => write!(f, "a statement is of another circle, {circle}"),
            RosterError::NotEntitled(author, need) => {
                write!(f, "{author} is no {} and may not say this: ask a keeper", need.word())
            }
            RosterError::UnknownMember(member) => write!(f, "{member} is not in the circle"),
            RosterError::KeyUsed(member) => {
                write!(f, "{member} was in the circle before: a device comes back with a new key")
            }
            RosterError::TransportUsed(transport) => {
                write!(f, "the transport key {transport} belongs to another member")
            }
            RosterError::TooManyMembers => {
                write!(f, "the circle has {MEMBERS} members, removed ones included, which is the limit")
            }
            RosterError::TooManySheets => {
                write!(f, "the circle has had {SHEETS} recovery sheets, which is the limit: keep the one that is valid")
            }
            RosterError::Sheet(why) => f.write_str(why),
            RosterError::LastKeeper => {
                f.write_str("the only keeper cannot be removed or demoted: make another member keeper first")
            }
            RosterError::Epoch(why) => write!(f, "an epoch is malformed: {why}"),
            RosterError::Full => {
                write!(f, "the circle has {STATEMENTS} statements, which is the limit: found a new one")
            }
        }
    }
}

impl std::error::Error for RosterError {}

impl Roster {
    /// The roster of the circle that this statement founds.
    pub fn new(founding: SignedStatement) -> Result<Self, RosterError> {
        let statement = &founding.statement;
        let Saying::Found { name, root, device } = &statement.saying else {
            return Err(RosterError::Malformed("a circle begins with the statement that founds it"));
        };
        if statement.circle.0 != [0; 32] || !statement.heads.is_empty() {
            return Err(RosterError::Malformed("nothing comes before the statement that founds a circle"));
        }
        if statement.author != device.member {
            return Err(RosterError::Malformed("a circle's founder signs its founding"));
        }
        let mut roster = Self {
            circle: CircleId(founding.hash.0),
            name: name.clone(),
            root: Bytes::copy_from_slice(root),
            history: History::default(),
            state: State::default(),
            stale: true,
            view: View::default(),
        };
        roster.history.push(founding, Default::default(), Basis::default());
        roster.refresh();
        Ok(roster)
    }

    /// The roster of these statements, in any order. The second part tells which of them are not in it and why: that
    /// is none as long as the ledger is whole; `None` stands for those whose past is missing.
    pub fn load(statements: Vec<SignedStatement>) -> Result<(Self, Vec<Refusal>), RosterError> {
        let is_founding = |s: &SignedStatement| matches!(s.statement.saying, Saying::Found { .. });
        let founding = statements.iter().find(|s| is_founding(s)).cloned();
        let founding = founding.ok_or(RosterError::Malformed("the statement that founds the circle is missing"))?;
        let mut roster = Self::new(founding)?;
        let refusals = roster.extend(statements).1;
        Ok((roster, refusals))
    }

    /// Adds verified statements in any order. Returns the new ones in the order in which they were added, and those that
    /// were refused or, with `None`, name heads that are not here.
    pub fn extend(&mut self, statements: Vec<SignedStatement>) -> (Vec<SignedStatement>, Vec<Refusal>) {
        let mut ready = VecDeque::new();
        let mut waiting: BTreeMap<StatementHash, (usize, SignedStatement)> = BTreeMap::new();
        let mut waited_for: BTreeMap<StatementHash, Vec<StatementHash>> = BTreeMap::new();
        let (mut new, mut refused) = (Vec::new(), Vec::new());
        for statement in statements {
            let absent = |head: &&StatementHash| self.history.position(head).is_none();
            let missing: BTreeSet<StatementHash> = statement.statement.heads.iter().filter(absent).copied().collect();
            if missing.is_empty() {
                ready.push_back(statement);
            } else if let Entry::Vacant(place) = waiting.entry(statement.hash) {
                missing.iter().for_each(|head| waited_for.entry(*head).or_default().push(statement.hash));
                place.insert((missing.len(), statement));
            }
        }
        while let Some(statement) = ready.pop_front() {
            let hash = statement.hash;
            match self.take(statement.clone()) {
                Ok(Added::New) => new.push(statement),
                Ok(Added::Known) => continue,
                Ok(Added::Waiting) => refused.push((hash, None)),
                Err(error) => refused.push((hash, Some(error))),
            }
            for next in waited_for.remove(&hash).unwrap_or_default() {
                let Some((missing, _)) = waiting.get_mut(&next) else { continue };
                *missing -= 1;
                if *missing == 0 {
                    ready.extend(waiting.remove(&next).map(|(_, statement)| statement));
                }
            }
        }
        refused.extend(waiting.into_keys().map(|hash| (hash, None)));
        if !new.is_empty() {
            self.refresh();
        }
        (new, refused)
    }

    /// Adds one verified statement.
    pub fn add(&mut self, statement: SignedStatement) -> Result<Added, RosterError> {
        let added = self.take(statement)?;
        if added == Added::New {
            self.refresh();
        }
        Ok(added)
    }

    fn take(&mut self, signed: SignedStatement) -> Result<Added, RosterError> {
        if self.history.position(&signed.hash).is_some() {
            return Ok(Added::Known);
        }
        let statement = &signed.statement;
        if statement.circle != self.circle {
            return Err(RosterError::OtherCircle(statement.circle));
        }
        if !statement.heads.is_sorted_by(|a, b| a < b) {
            return Err(RosterError::Malformed("its heads are not in order"));
        }
        let Some(past) = self.history.past(&statement.heads) else { return Ok(Added::Waiting) };
        if self.history.len() >= STATEMENTS {
            return Err(RosterError::Full);
        }
        let has_seen_all = past.count() == self.history.len();
        let basis = if has_seen_all {
            self.restate();
            self.state.check(&self.history, &past, statement)?
        } else {
            State::of(&self.history, Some(&past)).check(&self.history, &past, statement)?
        };
        let at = self.history.push(signed, past, basis);
        if has_seen_all && self.state.is_plain() {
            self.state.apply(&self.history, at);
        } else {
            self.stale = true;
        }
        Ok(Added::New)
    }

    fn restate(&mut self) {
        if self.stale {
            self.state = State::of(&self.history, None);
            self.stale = false;
        }
    }

    fn refresh(&mut self) {
        self.restate();
        self.view = View::new(&self.history, &self.state);
    }

    /// The circle's id.
    pub fn circle(&self) -> CircleId {
        self.circle
    }

    /// The circle's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The signed statement that founded the circle.
    pub fn founding(&self) -> &Bytes {
        &self.history.line(0).signed.bytes
    }

    /// The circle's self-signed root certificate, DER.
    pub fn root_der(&self) -> &Bytes {
        &self.root
    }

    /// All that were ever members, removed ones included, the longer serving first.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.view.members.iter()
    }

    /// Those that are in now, the longer serving first.
    pub fn current(&self) -> impl Iterator<Item = &Member> {
        self.members().filter(|member| !member.removed)
    }

    /// The member with this key, also if it was removed.
    pub fn member(&self, key: &MemberKey) -> Option<&Member> {
        self.view.by_key.get(key).map(|at| &self.view.members[*at])
    }

    /// The role of a key that is in.
    pub fn role_of(&self, key: &MemberKey) -> Option<Role> {
        self.member(key).filter(|member| !member.removed).map(|member| member.role)
    }

    /// The device of a key that is or was in.
    pub fn device(&self, key: &MemberKey) -> Option<&Device> {
        self.member(key).map(|member| &member.device)
    }

    /// A member's name as shown, also if it was removed: no two are alike.
    pub fn name_of(&self, key: &MemberKey) -> Option<&str> {
        self.member(key).map(|member| member.name.as_str())
    }

    /// The device that is in with this transport key, and its role. A recovery sheet is on paper: whoever connects with its
    /// key is nobody.
    pub fn member_by_transport(&self, transport: &TransportKey) -> Option<(&Device, Role)> {
        let member = &self.view.members[*self.view.by_transport.get(transport)?];
        (!member.sheet).then_some((&member.device, member.role))
    }

    /// Those of them that are nodes or stock clients: all but recovery sheets, which neither hold nor acknowledge
    /// anything, and are never online.
    pub fn present(&self) -> impl Iterator<Item = &Member> {
        self.current().filter(|member| !member.sheet)
    }

    /// The recovery sheets that can be used.
    pub fn sheets(&self) -> impl Iterator<Item = &Member> {
        self.current().filter(|member| member.sheet)
    }

    /// What the statement that admitted a recovery sheet carries for it.
    pub fn parcel_of(&self, sheet: &MemberKey) -> Option<&[u8]> {
        let member = self.member(sheet).filter(|member| member.sheet)?;
        match self.history.saying(self.history.position(&member.admitted)?) {
            Saying::Admit { parcel, .. } => parcel.as_ref().map(|parcel| &parcel[..]),
            _ => None,
        }
    }

    /// Transport keys of all nodes that are in.
    pub fn allowed_transports(&self) -> BTreeSet<TransportKey> {
        self.transports(|member| !member.device.is_guest())
    }

    /// Transport keys of all stock clients that are in.
    pub fn guest_transports(&self) -> BTreeSet<TransportKey> {
        self.transports(|member| member.device.is_guest() && !member.sheet)
    }

    /// Keys of all recovery sheets that can be used.
    pub fn sheet_transports(&self) -> BTreeSet<TransportKey> {
        self.transports(|member| member.sheet)
    }

    fn transports(&self, fits: impl Fn(&Member) -> bool) -> BTreeSet<TransportKey> {
        let by_transport = self.view.by_transport.iter();
        by_transport.filter(|(_, at)| fits(&self.view.members[**at])).map(|(key, _)| *key).collect()
    }

    /// Transport keys of all that were removed.
    pub fn removed_transports(&self) -> BTreeSet<TransportKey> {
        self.members().filter(|member| member.removed).map(|member| member.device.transport).collect()
    }

    /// Whether a commit with this dot and hash counts.
    pub fn accepts(&self, dot: &Dot, hash: &CommitHash) -> Verdict {
        self.view.accepts(dot, hash)
    }

    /// Where the chains of one that wrote and no longer does end, by incarnation; chains not named end before their
    /// first commit. `None` for one that writes or never did.
    pub fn cuts_of(&self, key: &MemberKey) -> Option<Vec<Cut>> {
        Some(self.view.cuts.get(key)?.values().copied().collect())
    }

    /// By chain, the first and the last of the commits whose mass changes a keeper has released.
    pub fn released(&self) -> &BTreeMap<Chain, Vec<(u64, u64)>> {
        &self.view.released
    }

    /// All epochs by number and hash, those whose author lost the right to start them included: what was sealed under
    /// them is still to be read.
    pub fn epochs(&self) -> impl Iterator<Item = EpochView<'_>> {
        self.view.epochs.iter().filter_map(|at| view::epoch(&self.history, &self.state, *at))
    }

    /// The epochs whose key a member that reads was not given, newest first: neither as a recipient, nor with its
    /// admission by one that knew it, nor with a later epoch. An epoch that was started while it was being admitted, or
    /// by one that took it for removed, is such a one.
    pub fn not_given(&self, member: &MemberKey) -> Vec<EpochView<'_>> {
        let admits = self.state.admitted().filter_map(|(_, standing)| standing.admit);
        let mut own = admits.filter(|at| self.history.device(*at).is_some_and(|device| device.member == *member));
        let admit = own.next().filter(|at| self.history.granted(*at).is_some_and(Role::reads));
        let names = |at: usize| match self.history.saying(at) {
            Saying::Epoch { keys, .. } => keys.iter().any(|key| key.member == *member),
            _ => false,
        };
        let epochs = &self.view.epochs;
        let gifts: Vec<usize> = epochs.iter().copied().filter(|at| names(*at)).chain(admit).collect();
        let given = |at: usize| gifts.iter().any(|gift| *gift == at || self.history.line(*gift).past.contains(at));
        let missed = epochs.iter().rev().filter(|at| !given(**at));
        missed.filter_map(|at| view::epoch(&self.history, &self.state, *at)).collect()
    }

    /// One epoch.
    pub fn epoch(&self, id: &EpochId) -> Option<EpochView<'_>> {
        view::epoch(&self.history, &self.state, self.history.position(id)?)
    }

    /// The epoch to seal under: of the usable ones that with the greatest number, then hash. One is usable while
    /// nobody has lost the right to read that might know its key, and all that read were given it: as its recipients, or
    /// with their admission by one that knew it.
    pub fn current_epoch(&self) -> Option<EpochId> {
        self.view.current_epoch
    }

    /// True when no epoch is usable: whoever reads and writes starts one.
    pub fn needs_epoch(&self) -> bool {
        self.view.current_epoch.is_none()
    }

    /// Member keys of all that read, in order: whom a new epoch's key is sealed to.
    pub fn recipients(&self) -> Vec<MemberKey> {
        self.state.readers(&self.history).into_iter().collect()
    }

    /// The number of the next epoch.
    pub fn next_epoch_number(&self) -> u64 {
        self.state.number.saturating_add(1)
    }

    /// The statements that no other has seen, in order.
    pub fn heads(&self) -> Vec<StatementHash> {
        self.history.heads().iter().copied().collect()
    }

    /// All statements' hashes, each after those that it has seen.
    pub fn hashes(&self) -> Vec<StatementHash> {
        self.statements().map(|signed| signed.hash).collect()
    }

    /// A statement's bytes.
    pub fn bytes_of(&self, hash: &StatementHash) -> Option<&Bytes> {
        Some(&self.history.line(self.history.position(hash)?).signed.bytes)
    }

    /// The bytes of all statements that are not among `have`, each after those that it has seen.
    pub fn missing_from(&self, have: &[StatementHash]) -> Vec<Bytes> {
        let have: BTreeSet<&StatementHash> = have.iter().collect();
        self.statements().filter(|signed| !have.contains(&signed.hash)).map(|signed| signed.bytes.clone()).collect()
    }

    /// All statements, each after those that it has seen.
    pub fn statements(&self) -> impl Iterator<Item = &SignedStatement> {
        self.history.order().iter().map(|at| &self.history.line(*at).signed)
    }

    /// A statement of this circle's that has seen all that is here, to be signed and added.
    pub fn say(&self, author: MemberKey, nonce: [u8; 16], saying: Saying) -> Statement {
        Statement { circle: self.circle, author, heads: self.heads(), nonce, saying }
    }
}

/// A statement that was not added, and why; `None` when it names heads that are not here.
pub type Refusal = (StatementHash, Option<RosterError>);

/// The statement that founds a circle with `device` as its first keeper, to be signed. `root_der` is its root
/// certificate.
pub fn found(nonce: [u8; 16], name: String, root_der: &[u8], device: Device) -> Statement {
    Statement {
        circle: CircleId([0; 32]),
        author: device.member,
        heads: Vec::new(),
        nonce,
        saying: Saying::Found { name, root: Bytes2::from(root_der), device },
    }
}

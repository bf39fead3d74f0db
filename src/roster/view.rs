//! The answers that a roster keeps at hand: members with their names for people, cuts, epochs.

use std::collections::{BTreeMap, BTreeSet};

use super::history::History;
use super::past::Past;
use super::standing::{Standing, State};
use crate::base::{CommitHash, EpochId, MemberKey, StatementHash, TransportKey};
use crate::wire::record::{Chain, Dot};
use crate::wire::statement::{Cut, Device, KeyFor, Role, Saying};

/// One that is or was in the circle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its keys, and the name that it came with.
    pub device: Device,
    /// Its name as shown: the later of two that came with one name has ` (2)` behind it.
    pub name: String,
    /// Its role; its last one if it was removed.
    pub role: Role,
    /// True for a recovery sheet: a keeper's key on paper, which no node has.
    pub sheet: bool,
    /// True when its key was removed, for ever, or it is a sheet that was used.
    pub removed: bool,
    /// The statement that admitted it.
    pub admitted: StatementHash,
    /// Who said that.
    pub by: MemberKey,
}

/// Whether a commit counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Its author writes, or did up to there.
    Accepted,
    /// Its author was removed or demoted, and it lies above the last commit that is accepted.
    AboveCut,
    /// Its author was removed or demoted, and the last commit that is accepted is another of its number.
    WrongHash,
    /// Its author never could write.
    NotAllowed,
}

/// One epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochView<'a> {
    /// Its id.
    pub id: EpochId,
    /// From 1.
    pub number: u64,
    /// Chunk cipher: 1 AES-256-GCM, 2 ChaCha20-Poly1305.
    pub suite: u8,
    /// The sealed key, once for each recipient.
    pub keys: &'a [KeyFor],
    /// Who started it.
    pub author: MemberKey,
    /// False when its author lost the right to start it concurrently: it is never the current one.
    pub effective: bool,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(super) struct View {
    pub(super) members: Vec<Member>,
    pub(super) by_key: BTreeMap<MemberKey, usize>,
    /// Only those that are in.
    pub(super) by_transport: BTreeMap<TransportKey, usize>,
    /// For each that wrote and no longer does, by incarnation.
    pub(super) cuts: BTreeMap<MemberKey, BTreeMap<u32, Cut>>,
    /// Those that wrote or write.
    wrote: BTreeMap<MemberKey, bool>,
    /// By number and hash.
    pub(super) epochs: Vec<usize>,
    pub(super) current_epoch: Option<EpochId>,
    /// By chain, the first and the last of the commits whose changes are known to be meant.
    pub(super) released: BTreeMap<Chain, Vec<(u64, u64)>>,
}

impl View {
    pub(super) fn new(history: &History, state: &State) -> Self {
        let mut view = View::default();
        let mut admitted: Vec<(usize, &Standing)> =
            state.admitted().filter_map(|(_, standing)| Some((standing.admit?, standing))).collect();
        admitted.sort_by_key(|(admit, _)| history.age(*admit));
        let mut names = Names::default();
        for (admit, standing) in admitted {
            view.add_member(history, admit, standing, &mut names);
        }
        let epochs = history.order().iter().filter_map(|at| epoch(history, state, *at).map(|epoch| (epoch, *at)));
        let mut epochs: Vec<(EpochView<'_>, usize)> = epochs.collect();
        epochs.sort_by_key(|(epoch, _)| (epoch.number, epoch.id));
        let usable = Usable::new(history, state);
        let current = epochs.iter().rev().find(|(epoch, at)| epoch.effective && usable.holds(history, *at, epoch.keys));
        view.current_epoch = current.map(|(epoch, _)| epoch.id);
        view.epochs = epochs.into_iter().map(|(_, at)| at).collect();
        for at in history.order().iter().filter(|at| state.effective(**at)) {
            let Saying::Release { member, incarnation, from, sequence } = history.saying(*at) else { continue };
            let released = view.released.entry(Chain { author: *member, incarnation: *incarnation }).or_default();
            released.push((*from, *sequence));
        }
        view
    }

    fn add_member(&mut self, history: &History, admit: usize, standing: &Standing, names: &mut Names) {
        let (Some(device), Some(role)) = (history.device(admit), standing.role(history)) else { return };
        let (sheet, removed) = (standing.is_sheet(history), standing.is_out());
        let writes = !removed && role.writes();
        if standing.peak.is_some_and(Role::writes) && !sheet {
            self.wrote.insert(device.member, writes);
            if !writes {
                self.cuts.insert(device.member, cuts(history, standing));
            }
        }
        let at = self.members.len();
        self.by_key.insert(device.member, at);
        if !removed {
            self.by_transport.insert(device.transport, at);
        }
        let line = history.line(admit);
        self.members.push(Member {
            name: names.free(&device.name),
            device: device.clone(),
            role,
            sheet,
            removed,
            admitted: line.signed.hash,
            by: line.signed.statement.author,
        });
    }

    pub(super) fn accepts(&self, dot: &Dot, hash: &CommitHash) -> Verdict {
        match self.wrote.get(&dot.author) {
            None => return Verdict::NotAllowed,
            Some(true) => return Verdict::Accepted,
            Some(false) => {}
        }
        let Some(cut) = self.cuts.get(&dot.author).and_then(|cuts| cuts.get(&dot.incarnation)) else {
            return Verdict::AboveCut;
        };
        match dot.sequence.cmp(&cut.sequence) {
            std::cmp::Ordering::Less => Verdict::Accepted,
            std::cmp::Ordering::Equal if *hash == cut.hash => Verdict::Accepted,
            std::cmp::Ordering::Equal => Verdict::WrongHash,
            std::cmp::Ordering::Greater => Verdict::AboveCut,
        }
    }
}

/// Names shown so far, each with the number that the next of that name tries first.
#[derive(Default)]
struct Names(BTreeMap<String, u32>);

impl Names {
    fn free(&mut self, name: &str) -> String {
        let Some(first) = self.0.get(name).copied() else {
            self.0.insert(name.into(), 2);
            return name.into();
        };
        let mut numbered = (first..).map(|n| (n, format!("{name} ({n})")));
        let (n, free) = numbered.find(|(_, name)| !self.0.contains_key(name)).expect("numbers outlast members");
        self.0.insert(name.into(), n + 1);
        self.0.insert(free.clone(), 2);
        free
    }
}

/// The lowest cut of each chain, of all removals and of those demotions that no promotion has answered. A chain that one
/// of them does not name has none.
fn cuts(history: &History, standing: &Standing) -> BTreeMap<u32, Cut> {
    let writes = |at: usize| history.granted(at).is_some_and(Role::writes);
    let answered = |at: usize| {
        history.granted(at).is_some()
            && standing.said.iter().any(|later| writes(*later) && history.line(*later).past.contains(at))
    };
    let mut lowest: Option<BTreeMap<u32, Cut>> = None;
    for at in standing.said.iter().copied().filter(|at| !writes(*at) && !answered(*at)) {
        let (Saying::Role { cuts: named, .. } | Saying::Remove { cuts: named, .. }) = history.saying(at) else {
            continue;
        };
        let mut cuts: BTreeMap<u32, Cut> = BTreeMap::new();
        for cut in named {
            let held = cuts.entry(cut.incarnation).or_insert(*cut);
            *held = lower(*held, *cut);
        }
        lowest = Some(match lowest {
            None => cuts,
            Some(old) => {
                let both = old.into_iter().filter_map(|(chain, cut)| Some((chain, lower(cut, *cuts.get(&chain)?))));
                both.collect()
            }
        });
    }
    lowest.unwrap_or_default()
}

fn lower(a: Cut, b: Cut) -> Cut {
    if (b.sequence, b.hash) < (a.sequence, a.hash) { b } else { a }
}

/// The epoch that a statement starts.
pub(super) fn epoch<'a>(history: &'a History, state: &State, at: usize) -> Option<EpochView<'a>> {
    let Saying::Epoch { number, suite, keys } = history.saying(at) else { return None };
    let signed = &history.line(at).signed;
    Some(EpochView {
        id: signed.hash,
        number: *number,
        suite: *suite,
        keys,
        author: signed.statement.author,
        effective: state.effective(at),
    })
}

/// What an epoch is held against.
#[derive(Default)]
struct Usable {
    /// Those that read, each with its admission if that came with the right to read.
    readers: BTreeMap<MemberKey, Option<usize>>,
    /// Statements by which somebody who had read lost the right.
    losses: Past,
    /// What the admissions of those that do not read had seen: they may have been given those epochs' keys.
    leaked: Past,
}

impl Usable {
    fn new(history: &History, state: &State) -> Self {
        let mut usable = Self::default();
        for (who, standing) in state.admitted() {
            let reads = |at: usize| history.granted(at).is_some_and(Role::reads);
            if standing.peak.is_some_and(Role::reads) {
                standing.said.iter().filter(|at| !reads(**at)).for_each(|at| usable.losses.insert(*at));
                standing.spent.iter().for_each(|at| usable.losses.insert(*at));
            }
            let Some((admit, device)) = standing.admit.and_then(|at| Some((at, history.device(at)?))) else { continue };
            if state.role(history, who).is_some_and(Role::reads) {
                usable.readers.insert(device.member, Some(admit).filter(|at| reads(*at)));
            }
        }
        for at in history.order() {
            let Saying::Admit { device, role, .. } = history.saying(*at) else { continue };
            if role.reads() && !usable.readers.contains_key(&device.member) {
                usable.leaked.join(&history.line(*at).past);
            }
        }
        usable
    }

    fn holds(&self, history: &History, at: usize, keys: &[KeyFor]) -> bool {
        let named: BTreeSet<&MemberKey> = keys.iter().map(|key| &key.member).collect();
        let given = |(key, admit): (&MemberKey, &Option<usize>)| {
            named.contains(key) || admit.is_some_and(|admit| history.line(admit).past.contains(at))
        };
        !self.leaked.contains(at)
            && history.line(at).past.covers(&self.losses)
            && named.iter().all(|key| self.readers.contains_key(*key))
            && self.readers.iter().all(given)
    }
}

//! Two histories of one chain: a node that was set back to an older state wrote other commits under numbers that it had
//! used before.
//!
//! Only the author can say which history counts. When it is shown one that it does not know, that one stays, since
//! others hold it; what it wrote apart is taken out of the chain and written anew in a new one, whose first commit
//! ([`Branch`]) says so and depends on nothing, so that everybody can take it. Who holds the other history drops it then.
//! Dependencies and contexts are numbers, which cannot tell two histories apart: so who wrote on top of the dropped one
//! closes that chain and writes anew what it wrote since, as if it had never seen what was dropped. A conflict that
//! shows is the worst that comes of it.
//!
//! Invariant: what is dropped and what is written in its place go into one batch: after a cut all of it is durable or
//! nothing, and then it is found out again.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::circle::{Circle, Tip};
use super::moved::Moved;
use super::sync::PULL_TIME;
use super::{Effect, Node};
use crate::base::{CircleId, CommitHash, ConnId, ObjectId, RecordHash, Snapshot, Table};
use crate::ledger::keys;
use crate::roster::Verdict;
use crate::wire::commit::{Branch, Commit, SignedCommit};
use crate::wire::control::{Commits, Control, Heads};
use crate::wire::record::{Bytes2, Chain, Context, Dot, Outer, PublicInfo, Value};
use crate::wire::statement::Role;

/// Asking for the own chain from further and further back, until it is found where it forked.
#[derive(Clone, Copy)]
pub struct Recall {
    conn: ConnId,
    chain: Chain,
    /// The peer was told that this much is here.
    from: u64,
    step: u64,
}

/// Somebody else's chain of which two histories were seen.
pub struct Fork {
    /// For people.
    pub words: String,
    /// The number of the commit that is not the one held.
    sequence: u64,
    /// That commit, as a message with its records. Whoever had it may have lost it since: its author is shown it.
    message: Bytes,
    /// The author's connection on which that was done.
    shown: Option<ConnId>,
}

/// What counts of a chain: its commit of this number is the one with this hash, or it ends before.
type Said = (Chain, u64, CommitHash);

/// A record of our own that is taken out and written anew.
struct Lost {
    dot: Dot,
    lamport: u64,
    object: ObjectId,
    context: Context,
    value: Value,
    info: Option<PublicInfo>,
}

impl Circle {
    /// How the author of a forked chain judges a commit of it, if it said so.
    pub fn branch_verdict(&self, dot: &Dot, hash: &CommitHash) -> Option<Verdict> {
        let said = self.branches.get(&dot.chain())?;
        if said.iter().any(|(sequence, chosen)| *chosen == CommitHash::NONE && *sequence <= dot.sequence) {
            return Some(Verdict::AboveCut);
        }
        said.get(&dot.sequence).filter(|chosen| *chosen != hash).map(|_| Verdict::WrongHash)
    }

    /// How the roster and its author judge a commit.
    pub fn verdict(&self, commit: &SignedCommit) -> Verdict {
        self.judge(&commit.commit.dot, &commit.hash)
    }

    fn judge(&self, dot: &Dot, hash: &CommitHash) -> Verdict {
        self.branch_verdict(dot, hash).unwrap_or_else(|| self.roster.accepts(dot, hash))
    }

    /// True when this commit lies above the cut of an author that lost the right to write, or that closed this chain:
    /// nobody waits for it.
    pub fn is_cut_off(&self, dot: &Dot) -> bool {
        self.judge(dot, &CommitHash::NONE) == Verdict::AboveCut
    }

    /// True when the roster may accept a commit of this chain after the one held.
    pub fn may_advance(&self, chain: &Chain, held: u64) -> bool {
        let next = Dot { author: chain.author, incarnation: chain.incarnation, sequence: held + 1 };
        let verdict = self.judge(&next, &CommitHash::NONE);
        matches!(verdict, Verdict::Accepted | Verdict::WrongHash)
    }

    /// True when the author has said which history counts at this number: the other may still come from those who have
    /// not heard of it. A fork before all that it spoke of is another.
    fn is_settled(&self, dot: &Dot) -> bool {
        let said = self.branches.get(&dot.chain());
        said.is_some_and(|said| said.range(..=dot.sequence).next().is_some())
    }

    /// True when a dependency may name either of two histories, of which one counts: nobody waits for it. Who remembers
    /// having written on the other takes that back; what somebody wrote on it and forgot stays as it is.
    pub fn is_ambiguous(&self, dot: &Dot) -> bool {
        let said = self.branches.get(&dot.chain());
        said.is_some_and(|said| said.range(..=dot.sequence).any(|(_, chosen)| *chosen != CommitHash::NONE))
    }

    /// Takes what a commit says of its author's earlier chains. Of two that contradict each other, which takes an author
    /// that was set back twice, the lower hash counts.
    pub fn learn_branches(&mut self, commit: &Commit) {
        for (chain, sequence, hash) in said_by(commit) {
            let chosen = self.branches.entry(chain).or_default().entry(sequence).or_insert(hash);
            *chosen = hash.min(*chosen);
            self.forks.remove(&chain);
        }
    }
}

fn said_by(commit: &Commit) -> Vec<Said> {
    let chain = |incarnation| Chain { author: commit.dot.author, incarnation };
    commit.branches.iter().map(|branch| (chain(branch.incarnation), branch.sequence, branch.hash)).collect()
}

impl<S: Snapshot> Node<S> {
    /// A verified commit, about to be taken, of our own: one that we do not know proves that memory was lost here.
    pub(super) fn check_own(&mut self, conn: ConnId, id: &CircleId, signed: &SignedCommit) -> Result<(), String> {
        let dot = signed.commit.dot;
        let chain = dot.chain();
        let Some(circle) = self.circles.get(id) else { return Ok(()) };
        let settled = circle.is_settled(&dot) || circle.verdict(signed) != Verdict::Accepted;
        if chain.author != self.me.device.member || settled || self.hash_at(id, &dot) == Some(signed.hash) {
            return Ok(());
        }
        // What gathers has a number of this chain too.
        self.close_commit(id);
        let held = self.circles[id].chains.get(&chain).map_or(0, |tip| tip.sequence);
        if dot.sequence > held + 1 {
            return Ok(());
        }
        let before = match dot.sequence {
            1 => Some(CommitHash::NONE),
            sequence => self.hash_at(id, &Dot { sequence: sequence - 1, ..dot }),
        };
        if before != Some(signed.commit.previous) {
            self.recall(conn, id, chain, dot.sequence);
            return Ok(());
        }
        if dot.sequence <= held {
            // What to do about it needs the keys; who told it tells it again once they are here.
            if self.is_locked() {
                return Ok(());
            }
            return self.settle_fork(id, &[(chain, dot.sequence, signed.hash)], true);
        }
        if self.circles[id].chain() == chain {
            log::warn!("a commit of this node's own came back that it does not know: it starts a new chain");
            self.begin_incarnation(id);
        }
        Ok(())
    }

    fn hash_at(&self, id: &CircleId, dot: &Dot) -> Option<CommitHash> {
        match self.circles.get(id)?.chains.get(&dot.chain()) {
            Some(tip) if tip.sequence == dot.sequence => Some(tip.hash),
            Some(tip) if tip.sequence > dot.sequence => {
                self.stored_commit(id, &dot.chain(), dot.sequence).map(|signed| signed.hash)
            }
            _ => None,
        }
    }

    /// Our own chain forked before `sequence`: the peer is asked for it from further back, each time twice as far.
    fn recall(&mut self, conn: ConnId, id: &CircleId, chain: Chain, sequence: u64) {
        let Some(circle) = self.circles.get_mut(id) else { return };
        let step = match circle.recall.filter(|recall| recall.conn == conn && recall.chain == chain) {
            Some(recall) if sequence > recall.from + 1 => return,
            Some(recall) => recall.step.saturating_mul(2),
            None => 1,
        };
        let from = (sequence - 1).saturating_sub(step);
        circle.recall = Some(Recall { conn, chain, from, step });
        self.pull_from(conn, id, chain, from);
    }

    /// Asks a peer for what it has, as if of one chain no more were here than up to `from`.
    fn pull_from(&mut self, conn: ConnId, id: &CircleId, chain: Chain, from: u64) {
        let mut heads = self.heads(id);
        for head in heads.heads.iter_mut().filter(|head| head.dot.chain() == chain) {
            head.dot.sequence = from.min(head.dot.sequence);
        }
        heads.heads.retain(|head| head.dot.sequence > 0);
        if let Some(circle) = self.circles.get_mut(id) {
            circle.pull = Some((conn, self.now.instant + PULL_TIME));
        }
        self.tell(conn, &Control::Pull(heads));
    }

    /// The peer shows another commit than we have under its number: it is asked for the commit itself, which proves a
    /// fork. A lie costs a message.
    pub(super) fn pull_where_different(&mut self, conn: ConnId, heads: &Heads) {
        let Some(circle) = self.circles.get(&heads.circle) else { return };
        let mine = self.me.device.member;
        let different = heads.heads.iter().find(|head| {
            let chain = head.dot.chain();
            let noted = circle.forks.contains_key(&chain) && chain.author != mine;
            let known = noted || circle.is_settled(&head.dot);
            !known && self.hash_at(&heads.circle, &head.dot).is_some_and(|held| held != head.hash)
        });
        if let Some(dot) = different.map(|head| head.dot) {
            self.pull_from(conn, &heads.circle, dot.chain(), dot.sequence - 1);
        }
    }

    /// Somebody else's chain has two histories: until its author says which counts, the first that was seen stays.
    pub(super) fn note_fork(&mut self, id: &CircleId, other: &SignedCommit, records: &BTreeMap<RecordHash, Bytes>) {
        let Some(circle) = self.circles.get_mut(id) else { return };
        let dot = other.commit.dot;
        let chain = dot.chain();
        let known = circle.is_settled(&dot) || circle.forks.contains_key(&chain);
        if known || circle.forks.len() >= FORKS_SHOWN {
            return;
        }
        let name = circle.roster.name_of(&dot.author).unwrap_or("somebody").to_string();
        log::warn!("{name} ({}) has two histories from commit {} on: the first seen stays", dot.author, dot.sequence);
        let named = other.commit.entries.iter().filter_map(|entry| records.get(&entry.record));
        let records: Vec<Bytes2> = named.map(|record| Bytes2::from(&record[..])).collect();
        // Without its records, too, it shows its author that there is another history.
        let fits = records.iter().map(|record| record.len()).sum::<usize>() <= FORK_BYTES;
        let records = if fits { records } else { Vec::new() };
        let commits = vec![Bytes2::from(&other.bytes[..])];
        let message = Control::Commits(Commits { circle: *id, commits, records, last: 0 }).encode().into();
        let words = format!("{name} wrote commit {} twice", dot.sequence);
        circle.forks.insert(chain, Fork { words, sequence: dot.sequence, message, shown: None });
        self.show_forks(id);
    }

    /// Shows authors whose chains have two histories the one that is not held here, once they have all that comes
    /// before: nobody else may be left who can, and only they can say which counts.
    pub(super) fn show_forks(&mut self, id: &CircleId) {
        let Some(circle) = self.circles.get_mut(id).filter(|circle| !circle.forks.is_empty()) else { return };
        let mut shows = Vec::new();
        for (chain, fork) in &mut circle.forks {
            let author = circle.roster.device(&chain.author).map(|device| device.transport);
            let Some((conn, peer)) = author.and_then(|author| self.peers.by_key(&author)) else { continue };
            let theirs = peer.circles.get(id).and_then(|shared| shared.theirs.get(chain)).copied().unwrap_or(0);
            if fork.shown != Some(conn) && peer.shares(id) && theirs + 1 >= fork.sequence {
                fork.shown = Some(conn);
                shows.push((conn, fork.message.clone()));
            }
        }
        for (conn, message) in shows {
            self.send(conn, 0, message, Bytes::new());
        }
    }

    /// A commit that is about to be taken says what counts of its author's earlier chains.
    pub(super) fn settle_by(&mut self, id: &CircleId, commit: &Commit) -> Result<(), String> {
        if commit.branches.is_empty() {
            return Ok(());
        }
        self.settle_fork(id, &said_by(commit), false)?;
        if let Some(circle) = self.circles.get_mut(id) {
            circle.learn_branches(commit);
        }
        Ok(())
    }

    /// Drops what does not count, and writes anew what of our own goes with it. `chosen` when it is this node that says
    /// so. An error changes nothing: it is tried again with the next connection.
    fn settle_fork(&mut self, id: &CircleId, said: &[Said], chosen: bool) -> Result<(), String> {
        self.close_commit(id);
        let Some(circle) = self.circles.get(id) else { return Ok(()) };
        let (mine, current) = (self.me.device.member, circle.chain());
        let writes = circle.role().is_some_and(Role::writes);
        let mut drops: BTreeMap<Chain, u64> = BTreeMap::new();
        let mut branches: Vec<Branch> = Vec::new();
        let branch = |(chain, sequence, hash): Said| Branch { incarnation: chain.incarnation, sequence, hash };
        for (chain, sequence, hash) in said.iter().copied().filter(|said| said.0.author != mine || writes) {
            let known = circle.branches.get(&chain).and_then(|said| said.get(&sequence));
            let hash = known.map_or(hash, |known| hash.min(*known));
            let held = self.hash_at(id, &Dot { author: chain.author, incarnation: chain.incarnation, sequence });
            if chosen {
                branches.push(branch((chain, sequence, hash)));
            }
            if held.is_none_or(|held| held == hash) {
                continue;
            }
            lower(&mut drops, chain, sequence);
            if hash != CommitHash::NONE && writes {
                for (own, from) in self.written_on(id, &chain, sequence) {
                    lower(&mut drops, own, from);
                    branches.push(branch((own, from, CommitHash::NONE)));
                }
            }
        }
        let own = drops.keys().any(|chain| chain.author == mine) || !branches.is_empty();
        let leaves = own || (writes && said.iter().any(|said| said.0 == current));
        if own && let Err(error) = self.may_write(id) {
            return Err(format!(
                "what this node wrote on a history that does not count cannot be written anew: {error}"
            ));
        }
        if leaves {
            self.begin_incarnation(id);
            self.say_branches(id, branches);
        }
        if drops.is_empty() {
            // What had to wait for this can be taken now.
            self.ask_everybody(id, &drops);
        } else {
            self.replace(id, drops);
        }
        Ok(())
    }

    /// Of our own chains but `chain`, from where on each was written by one that had seen commit `sequence` of `chain`.
    fn written_on(&self, id: &CircleId, chain: &Chain, sequence: u64) -> Vec<(Chain, u64)> {
        let mut found: BTreeMap<Chain, u64> = BTreeMap::new();
        for commit in self.own_commits(id) {
            let saw = commit.deps.iter().any(|dep| dep.chain() == *chain && dep.sequence >= sequence);
            if saw && commit.chain() != *chain {
                lower(&mut found, commit.chain(), commit.dot.sequence);
            }
        }
        found.into_iter().collect()
    }

    /// All commits of ours, as the ledger has them.
    fn own_commits(&self, id: &CircleId) -> Vec<Commit> {
        let author = self.me.device.member;
        let from = keys::commit(id, &Dot { author, incarnation: 0, sequence: 0 });
        let to = keys::commit(id, &Dot { author, incarnation: u32::MAX, sequence: u64::MAX });
        let mut found = Vec::new();
        let read = self.ledger.range(Table::Commits, &from, &to, &mut |_, bytes| {
            let signed = SignedCommit::decode(Bytes::copy_from_slice(bytes), |_, _, _| true);
            found.extend(signed.ok().map(|signed| signed.commit));
            true
        });
        if let Err(error) = read {
            log::error!("our own commits could not be read: {error}");
        }
        found
    }

    /// A new chain of ours, with a number that none of ours is likely to have had, whatever was forgotten.
    fn begin_incarnation(&mut self, id: &CircleId) {
        let seed = self.fresh();
        let drawn = u32::from_be_bytes([seed[0], seed[1], seed[2], seed[3]]);
        if let Some(circle) = self.circles.get_mut(id) {
            let author = circle.chain().author;
            let taken = |number: &u32| {
                *number == circle.incarnation || circle.chains.contains_key(&Chain { author, incarnation: *number })
            };
            let free = (0..).map(|more| drawn.wrapping_add(more)).find(|number| !taken(number));
            circle.incarnation = free.expect("chains are fewer than numbers");
            circle.durable = 0;
            circle.named.clear();
            circle.recall = None;
        }
        self.save_circle(id);
    }

    /// Signs the first commit of a new chain, which says what counts of the earlier ones and needs nothing else.
    fn say_branches(&mut self, id: &CircleId, branches: Vec<Branch>) {
        let Ok(member) = self.me.member() else { return };
        let Some(circle) = self.circles.get_mut(id).filter(|_| !branches.is_empty()) else { return };
        let chain = circle.chain();
        let commit = Commit {
            circle: *id,
            dot: Dot { author: chain.author, incarnation: chain.incarnation, sequence: 1 },
            previous: CommitHash::NONE,
            lamport: 1,
            deps: Vec::new(),
            wall: self.now.wall,
            entries: Vec::new(),
            branches,
        };
        circle.learn_branches(&commit);
        let signed = commit.sign(|bytes| member.sign(bytes));
        let dot = signed.commit.dot;
        circle.chains.insert(chain, Tip { sequence: 1, hash: signed.hash, lamport: 1 });
        self.ledger.put(Table::Commits, keys::commit(id, &dot), signed.bytes);
        self.after_commit(Effect::Push(*id, dot));
    }

    /// Takes commits out, builds the tree without them, and writes anew what of them was ours.
    fn replace(&mut self, id: &CircleId, drops: BTreeMap<Chain, u64>) {
        let lost = self.lost_records(id, &drops);
        let is_out = |_: &Circle, dot: &Dot| drops.get(&dot.chain()).is_some_and(|from| dot.sequence >= *from);
        let places = self.places_said(id, is_out);
        for (chain, from) in &drops {
            let tip = self.circles[id].chains.get(chain).map_or(0, |tip| tip.sequence);
            log::warn!("commits {from} to {tip} of {} do not count: they are taken out", chain.author);
            for sequence in *from..=tip {
                let dot = Dot { author: chain.author, incarnation: chain.incarnation, sequence };
                self.ledger.delete(Table::Commits, keys::commit(id, &dot));
            }
        }
        self.forget_introductions(id, &drops);
        self.reload_tree(id);
        let mut moved = Moved::new(drops);
        for Lost { dot, object, context, value, info, .. } in lost {
            let context = moved.context(&object, value.register(), &context);
            let value = moved.value(&object, value);
            let register = value.register();
            match self.author(id, object, value, context, info) {
                Ok((new, changes)) => {
                    moved.note(object, register, dot, new);
                    self.tree_changed(id, changes);
                }
                Err(error) => log::error!("what was written as {dot:?} could not be written anew: {error}"),
            }
        }
        self.move_drafts(id, &moved);
        self.name_unplaced(id, &places);
        self.ask_everybody(id, moved.drops());
        self.flush_soon();
    }

    /// The records of our own among the commits to be dropped, in the order in which they were written.
    fn lost_records(&self, id: &CircleId, drops: &BTreeMap<Chain, u64>) -> Vec<Lost> {
        let mut lost = Vec::new();
        let Some(circle) = self.circles.get(id) else { return lost };
        let ours = |commit: &Commit| drops.get(&commit.chain()).is_some_and(|from| commit.dot.sequence >= *from);
        for commit in self.own_commits(id).iter().filter(|commit| ours(commit)) {
            for (at, entry) in commit.entries.iter().enumerate() {
                let Some(bytes) = self.record_bytes(id, &entry.record) else { continue };
                match circle.open_record(commit, at, &bytes) {
                    Ok(Some(version)) => lost.push(Lost {
                        dot: version.dot,
                        lamport: version.lamport,
                        object: version.object,
                        context: version.context,
                        value: version.value,
                        info: Outer::decode(&bytes).ok().and_then(|outer| outer.info),
                    }),
                    Ok(None) => log::error!("a record of our own is sealed under a key that is not here"),
                    Err(why) => log::error!("a record of our own does not open: {why}"),
                }
            }
        }
        lost.sort_by_key(|lost| lost.lamport);
        lost
    }

    /// What was known of the others' heads in the dropped chains meant other commits: everybody is told anew what is
    /// here, and asked for what is not.
    fn ask_everybody(&mut self, id: &CircleId, drops: &BTreeMap<Chain, u64>) {
        let heads = self.heads(id);
        let conns: Vec<_> = self.peers.in_circle(id).map(|(conn, _)| conn).collect();
        for conn in conns {
            if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) {
                shared.forget_chains(drops);
            }
            self.tell(conn, &Control::Pull(heads.clone()));
            self.tell_holdings(conn, id);
        }
        if let Some(circle) = self.circles.get_mut(id) {
            (circle.pull, circle.recall) = (None, None);
        }
        self.announce_later(id);
    }
}

fn lower(drops: &mut BTreeMap<Chain, u64>, chain: Chain, sequence: u64) {
    let from = drops.entry(chain).or_insert(sequence);
    *from = sequence.min(*from);
}

/// Forks that are kept in mind.
const FORKS_SHOWN: usize = 64;
/// Bytes of the records that are kept of one of them.
const FORK_BYTES: usize = 65_536;

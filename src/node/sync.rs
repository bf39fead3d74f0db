//! Anti-entropy: statements, commits and records flow until both sides hold the same; holdings tell who has which torrent.
//!
//! A commit is pushed by its author as soon as it is durable; everything else is pulled. Each side tells its heads; who
//! sees that it is behind pulls from one peer at a time, and is sent what it lacks in the order of Lamport times, in
//! which each commit comes after all that it depends on.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Node;
use super::author::COMMIT_BYTES;
use super::circle::Tip;
use crate::base::limits::{CHAINS, COMMIT_RECORDS, INCARNATIONS, RECORD_MAX, SEND_QUEUE, STATEMENT_MAX, STATEMENTS};
use crate::base::{CircleId, CommitHash, ConnId, InfoHash, Instant, RecordHash, Snapshot, StatementHash, Table};
use crate::keep::holdings::Holdings;
use crate::ledger::keys;
use crate::roster::{Added, Verdict};
use crate::seal::member::verify;
use crate::wire::commit::{Commit, SignedCommit};
use crate::wire::control::{Commits, Control, Head, Heads, Roster, Statements};
use crate::wire::record::{Bytes2, Chain, Dot, record_hash};

/// What is known of a peer in one circle.
#[derive(Default)]
pub struct Shared {
    /// The last commit of each chain that the peer is known to have.
    pub theirs: BTreeMap<Chain, u64>,
    pub holdings: Holdings,
    /// A pull that is being answered: the next sequence of each chain.
    serving: Option<BTreeMap<Chain, u64>>,
    /// Torrents that became whole, or went, and were not told yet.
    pub untold: Vec<InfoHash>,
    /// Torrents that came to be wanted here, which a cache is told.
    pub lacked: Vec<InfoHash>,
    /// Torrents told by name since the last summary, with those of that.
    pub told: usize,
}

impl Shared {
    /// Numbers of these chains, from some on, mean other commits than they did.
    pub(super) fn forget_chains(&mut self, from: &BTreeMap<Chain, u64>) {
        self.theirs.retain(|chain, _| !from.contains_key(chain));
        for (chain, from) in from {
            if let Some(next) = self.serving.as_mut().and_then(|cursor| cursor.get_mut(chain)) {
                *next = (*next).min(*from);
            }
        }
    }
}

/// A pull without an answer is asked of somebody else after this time.
pub(super) const PULL_TIME: Duration = Duration::from_secs(20);
/// Heads and holdings wait this long for more.
const TELL_TIME: Duration = Duration::from_millis(50);
/// Bytes of commits and records in one message, unless a single commit is larger.
const MESSAGE_BYTES: usize = 262_144;
/// Bytes of the records of one commit: with the commit they fit one frame.
const COMMIT_RECORD_BYTES: usize = COMMIT_BYTES + RECORD_MAX;
/// Statements in one message.
const STATEMENTS_AT_ONCE: usize = 16;

impl<S: Snapshot> Node<S> {
    /// What each side tells first about a circle.
    pub fn greet_circle(&mut self, conn: ConnId, id: &CircleId) {
        let Some(circle) = self.circles.get(id) else { return };
        let have = circle.roster.hashes();
        self.tell(conn, &Control::Roster(Roster { circle: *id, have }));
        let heads = self.heads(id);
        self.tell(conn, &Control::Heads(heads));
        self.tell_holdings(conn, id);
        self.tell_clients(conn, id);
        self.remind_pledges(conn, id);
    }

    pub(super) fn heads(&self, id: &CircleId) -> Heads {
        let mut heads = Vec::new();
        let Some(circle) = self.circles.get(id) else { return Heads { circle: *id, heads } };
        for (chain, tip) in &circle.chains {
            let sequence = circle.told_upto(chain);
            let hash = match sequence {
                0 => continue,
                _ if sequence == tip.sequence => Some(tip.hash),
                _ => self.stored_commit(id, chain, sequence).map(|signed| signed.hash),
            };
            let dot = Dot { author: chain.author, incarnation: chain.incarnation, sequence };
            heads.extend(hash.map(|hash| Head { dot, hash }));
        }
        Heads { circle: *id, heads }
    }

    /// The peer has these statements: it is sent the others.
    pub fn on_roster(&mut self, conn: ConnId, roster: Roster) {
        if !self.shares(conn, &roster.circle) {
            return;
        }
        if roster.have.len() > STATEMENTS {
            return self.close(conn, "it names more statements than the limit".into());
        }
        let missing = self.circles[&roster.circle].roster.missing_from(&roster.have);
        // Of the largest statements so many fit one frame.
        for part in missing.chunks(STATEMENTS_AT_ONCE) {
            let statements = part.iter().map(|bytes| Bytes2::from(&bytes[..])).collect();
            self.tell(conn, &Control::Statements(Statements { circle: roster.circle, statements }));
        }
        // What was told of the addresses of those whom the peer did not know it has dropped.
        if !missing.is_empty() {
            self.tell_addresses(conn);
        }
    }

    /// Statements came.
    pub fn on_statements(&mut self, conn: ConnId, message: Statements) {
        let id = message.circle;
        if !self.shares(conn, &id) && !self.is_certified(conn, &id) {
            return;
        }
        let mut waiting = false;
        for bytes in message.statements {
            if bytes.len() > STATEMENT_MAX {
                return self.close(conn, "a statement is over the limit".into());
            }
            let learned = Self::decode_statement(&bytes)
                .map_err(|error| error.to_string())
                .and_then(|statement| self.learn_statement(&id, statement, Some(conn)));
            match learned {
                Ok(added) => waiting |= added == Added::Waiting,
                Err(why) => return self.close(conn, format!("a roster statement is refused: {why}")),
            }
        }
        if waiting {
            let have = self.circles[&id].roster.hashes();
            self.tell(conn, &Control::Roster(Roster { circle: id, have }));
        }
        self.pull_where_behind();
    }

    /// Tells a new statement to everybody else in the circle.
    pub fn spread_statement(&mut self, id: &CircleId, hash: &StatementHash, from: Option<ConnId>) {
        let Some(bytes) = self.circles.get(id).and_then(|circle| circle.roster.bytes_of(hash)).cloned() else { return };
        let statements = vec![Bytes2::from(&bytes[..])];
        let message = Control::Statements(Statements { circle: *id, statements });
        let others: Vec<_> =
            self.peers.in_circle(id).map(|(conn, _)| conn).filter(|conn| Some(*conn) != from).collect();
        for conn in others {
            self.tell(conn, &message);
        }
    }

    pub(super) fn shares(&self, conn: ConnId, id: &CircleId) -> bool {
        self.circles.contains_key(id) && self.peers.get(conn).is_some_and(|peer| peer.shares(id))
    }

    /// The peer's heads.
    pub fn on_heads(&mut self, conn: ConnId, heads: Heads) {
        if !self.take_heads(conn, &heads) {
            return;
        }
        self.pull_where_different(conn, &heads);
        self.pull_where_behind();
        self.show_forks(&heads.circle);
    }

    fn take_heads(&mut self, conn: ConnId, heads: &Heads) -> bool {
        if !self.shares(conn, &heads.circle) {
            return false;
        }
        if heads.heads.len() > CHAINS {
            self.close(conn, "it names more chains than the limit".into());
            return false;
        }
        let Some(roster) = self.circles.get(&heads.circle).map(|circle| &circle.roster) else { return false };
        if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(&heads.circle)) {
            for head in &heads.heads {
                // Chains of people who were never in the circle are none, whatever a peer says.
                if roster.member(&head.dot.author).is_some() && shared.theirs.len() < CHAINS {
                    shared.theirs.insert(head.dot.chain(), head.dot.sequence);
                }
            }
        }
        self.safety_soon();
        true
    }

    /// Pulls, in each circle where no pull is under way, from a peer that has more.
    pub fn pull_where_behind(&mut self) {
        let mut pulls = Vec::new();
        for circle in self.circles.values().filter(|circle| circle.pull.is_none()) {
            let ahead = self.peers.in_circle(&circle.id).find(|(_, peer)| {
                peer.circles[&circle.id].theirs.iter().any(|(chain, sequence)| {
                    let held = circle.chains.get(chain).map_or(0, |tip| tip.sequence);
                    *sequence > held && circle.may_advance(chain, held)
                })
            });
            if let Some((conn, _)) = ahead {
                pulls.push((circle.id, conn));
            }
        }
        for (id, conn) in pulls {
            let heads = self.heads(&id);
            if let Some(circle) = self.circles.get_mut(&id) {
                circle.pull = Some((conn, self.now.instant + PULL_TIME));
            }
            self.tell(conn, &Control::Pull(heads));
        }
    }

    /// The peer asks for what it lacks.
    pub fn on_pull(&mut self, conn: ConnId, heads: Heads) {
        if !self.take_heads(conn, &heads) {
            return;
        }
        let cursor = heads.heads.iter().map(|head| (head.dot.chain(), head.dot.sequence + 1)).collect();
        if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(&heads.circle)) {
            shared.serving = Some(cursor);
        }
        self.serve_pulls(conn);
    }

    /// Sends the next commits of pulls that are being answered, as long as the connection takes them.
    pub fn serve_pulls(&mut self, conn: ConnId) {
        loop {
            let Some(peer) = self.peers.get_mut(conn) else { return };
            if peer.queued > SEND_QUEUE / 2 {
                return;
            }
            let next = peer.circles.iter_mut().find_map(|(id, shared)| Some((*id, shared.serving.take()?)));
            let Some((id, mut cursor)) = next else { return };
            let message = self.next_commits(&id, &mut cursor);
            let last = message.last == 1;
            for commit in &message.commits {
                self.note_theirs(conn, &id, commit);
            }
            if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(&id)) {
                shared.serving = (!last).then_some(cursor);
            }
            self.tell(conn, &Control::Commits(message));
        }
    }

    fn note_theirs(&mut self, conn: ConnId, id: &CircleId, bytes: &[u8]) {
        let Ok(signed) = SignedCommit::decode(Bytes::copy_from_slice(bytes), |_, _, _| true) else { return };
        if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) {
            let theirs = shared.theirs.entry(signed.commit.chain()).or_default();
            *theirs = (*theirs).max(signed.commit.dot.sequence);
        }
    }

    /// The next message of commits above `cursor`, lowest Lamport time first.
    fn next_commits(&self, id: &CircleId, cursor: &mut BTreeMap<Chain, u64>) -> Commits {
        let mut message = Commits { circle: *id, commits: Vec::new(), records: Vec::new(), last: 1 };
        let Some(circle) = self.circles.get(id) else { return message };
        let mut bytes = 0;
        let mut next: BTreeMap<(u64, Chain), SignedCommit> = BTreeMap::new();
        for chain in circle.chains.keys() {
            let sequence = cursor.get(chain).copied().unwrap_or(1);
            if sequence <= circle.told_upto(chain)
                && let Some(signed) = self.stored_commit(id, chain, sequence)
            {
                next.insert((signed.commit.lamport, *chain), signed);
            }
        }
        while let Some(((_, chain), signed)) = next.pop_first() {
            let mut next_message = Commits { circle: *id, commits: Vec::new(), records: Vec::new(), last: 0 };
            let more = self.append(&mut next_message, id, &signed);
            if bytes > 0 && bytes + more > MESSAGE_BYTES {
                message.last = 0;
                break;
            }
            let sequence = signed.commit.dot.sequence + 1;
            cursor.insert(chain, sequence);
            bytes += more;
            message.commits.append(&mut next_message.commits);
            message.records.append(&mut next_message.records);
            if sequence <= circle.told_upto(&chain)
                && let Some(signed) = self.stored_commit(id, &chain, sequence)
            {
                next.insert((signed.commit.lamport, chain), signed);
            }
        }
        message
    }

    fn append(&self, message: &mut Commits, id: &CircleId, signed: &SignedCommit) -> usize {
        let mut bytes = signed.bytes.len();
        message.commits.push(Bytes2::from(&signed.bytes[..]));
        for entry in &signed.commit.entries {
            if let Some(record) = self.record_bytes(id, &entry.record) {
                bytes += record.len();
                message.records.push(Bytes2::from(&record[..]));
            }
        }
        bytes
    }

    pub(super) fn stored_commit(&self, id: &CircleId, chain: &Chain, sequence: u64) -> Option<SignedCommit> {
        let dot = Dot { author: chain.author, incarnation: chain.incarnation, sequence };
        let bytes = self.ledger.get(Table::Commits, &keys::commit(id, &dot)).ok()??;
        SignedCommit::decode(bytes, |_, _, _| true).ok()
    }

    /// A commit of ours is durable: whoever had all before it is sent it at once.
    pub fn push(&mut self, id: &CircleId, dot: &Dot) {
        if let Some(circle) = self.circles.get_mut(id).filter(|circle| circle.chain() == dot.chain()) {
            circle.durable = circle.durable.max(dot.sequence);
        }
        let Some(signed) = self.stored_commit(id, &dot.chain(), dot.sequence) else { return };
        let mut message = Commits { circle: *id, commits: Vec::new(), records: Vec::new(), last: 0 };
        self.append(&mut message, id, &signed);
        let ready: Vec<_> = self
            .peers
            .in_circle(id)
            .filter(|(_, peer)| {
                let shared = &peer.circles[id];
                shared.serving.is_none()
                    && peer.queued < SEND_QUEUE
                    && shared.theirs.get(&dot.chain()).copied().unwrap_or(0) + 1 == dot.sequence
            })
            .map(|(conn, _)| conn)
            .collect();
        let message = Bytes::from(Control::Commits(message).encode());
        for conn in ready {
            if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) {
                shared.theirs.insert(dot.chain(), dot.sequence);
            }
            self.send(conn, 0, message.clone(), Bytes::new());
        }
        // Whoever was not ready learns of it by the heads.
        self.announce_later(id);
        self.safety_soon();
    }

    /// Tells the heads of a circle soon, to those who are not known to have them.
    pub fn announce_later(&mut self, id: &CircleId) {
        let at = self.now.instant + TELL_TIME;
        if let Some(circle) = self.circles.get_mut(id) {
            circle.announce.get_or_insert(at);
        }
    }

    /// Commits came, asked for or pushed.
    pub fn on_commits(&mut self, conn: ConnId, message: Commits) {
        let id = message.circle;
        if !self.shares(conn, &id) {
            return;
        }
        if message.records.len() > COMMIT_RECORDS * message.commits.len().max(1) {
            return self.close(conn, "it sent records that no commit names".into());
        }
        let records: BTreeMap<RecordHash, Bytes> = message
            .records
            .into_iter()
            .map(|bytes| {
                let bytes = Bytes::from(bytes.into_vec());
                (record_hash(&bytes), bytes)
            })
            .collect();
        let mut gap = false;
        let mut applied = false;
        for bytes in message.commits {
            match SignedCommit::decode(bytes.into_vec().into(), verify) {
                Ok(signed) => match self.take_commit(conn, &id, signed, &records) {
                    Ok(Taken::Applied) => applied = true,
                    Ok(Taken::Known) => {}
                    Ok(Taken::Gap) => gap = true,
                    Err(why) => {
                        log::warn!("a commit is refused: {why}");
                        return self.close(conn, why);
                    }
                },
                Err(error) => return self.close(conn, error.to_string()),
            }
        }
        if applied {
            self.after_commit(super::Effect::Announce(id));
            self.flush_soon();
        }
        if let Some(circle) = self.circles.get_mut(&id) {
            if let Some((from, until)) = circle.pull.filter(|(from, _)| *from == conn) {
                // Who sends nothing that counts is given no more time by it.
                let until = if applied { self.now.instant + PULL_TIME } else { until };
                circle.pull = (message.last == 0).then_some((from, until));
            }
            if message.last == 1 || gap {
                if message.last == 1 && !applied {
                    // The peer has nothing that we can take: what it told of is not believed until it tells anew.
                    self.forget_claims(conn, &id);
                }
                self.pull_where_behind();
            }
        }
    }

    fn forget_claims(&mut self, conn: ConnId, id: &CircleId) {
        let Some(circle) = self.circles.get(id) else { return };
        let held: BTreeMap<Chain, u64> = circle.chains.iter().map(|(chain, tip)| (*chain, tip.sequence)).collect();
        if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) {
            for (chain, theirs) in &mut shared.theirs {
                *theirs = (*theirs).min(held.get(chain).copied().unwrap_or(0));
            }
        }
    }

    fn take_commit(
        &mut self,
        conn: ConnId,
        id: &CircleId,
        signed: SignedCommit,
        records: &BTreeMap<RecordHash, Bytes>,
    ) -> Result<Taken, String> {
        let commit = &signed.commit;
        let (dot, chain) = (commit.dot, commit.chain());
        if commit.circle != *id {
            return Err("a commit belongs to another circle".into());
        }
        if let Some(shared) = self.peers.get_mut(conn).and_then(|peer| peer.circles.get_mut(id)) {
            let theirs = shared.theirs.entry(chain).or_default();
            *theirs = (*theirs).max(dot.sequence);
        }
        self.check_own(conn, id, &signed)?;
        let circle = self.circles.get(id).ok_or("it is of a circle that is not here")?;
        let tip = circle.chains.get(&chain).copied();
        let held = tip.map_or(0, |tip| tip.sequence);
        if dot.sequence <= held {
            let same = match tip {
                Some(tip) if tip.sequence == dot.sequence => tip.hash == signed.hash,
                _ => self.stored_commit(id, &chain, dot.sequence).is_some_and(|stored| stored.hash == signed.hash),
            };
            if !same {
                self.note_fork(id, &signed, records);
            }
            return Ok(Taken::Known);
        }
        match circle.verdict(&signed) {
            Verdict::Accepted => {}
            // What a removed author wrote above the cut is no fault of the one who passes it on: it may not know yet.
            Verdict::AboveCut | Verdict::WrongHash => return Ok(Taken::Known),
            Verdict::NotAllowed => return Err(format!("{} may not write in this circle", dot.author)),
        }
        let lacks_dep = |circle: &super::circle::Circle, dep: &Dot| {
            let lacks = circle.chains.get(&dep.chain()).is_none_or(|tip| tip.sequence < dep.sequence);
            lacks && !circle.is_cut_off(dep) && !circle.is_ambiguous(dep)
        };
        if dot.sequence > held + 1 || commit.deps.iter().any(|dep| lacks_dep(circle, dep)) {
            return Ok(Taken::Gap);
        }
        if tip.is_none() && circle.chains.keys().filter(|known| known.author == chain.author).count() >= INCARNATIONS {
            return Err(format!("{} has more than {INCARNATIONS} chains", dot.author));
        }
        if tip.is_some_and(|tip| tip.hash != commit.previous) {
            self.note_fork(id, &signed, records);
            return Ok(Taken::Known);
        }
        let seen =
            commit.deps.iter().filter_map(|dep| self.lamport_of(id, dep)).chain(tip.map(|tip| tip.lamport)).max();
        let next = seen.unwrap_or(0) + 1;
        let ambiguous = commit.deps.iter().any(|dep| self.circles[id].is_ambiguous(dep));
        let least = if ambiguous { tip.map_or(1, |tip| tip.lamport.saturating_add(1)) } else { next };
        if !(least..=next.saturating_add(self.cut_off_steps(id, commit))).contains(&commit.lamport) {
            // What it names may be of another history than the one that is here, and a closed connection would hide that.
            if !commit.deps.is_empty() {
                log::debug!("a commit of {} waits: what it names has another Lamport time here", dot.author);
                return Ok(Taken::Gap);
            }
            return Err(format!("a commit of {} has a Lamport time that is not one more than what it saw", dot.author));
        }
        let mut bytes = Vec::with_capacity(commit.entries.len());
        for entry in &commit.entries {
            let found = records.get(&entry.record).cloned().or_else(|| self.record_bytes(id, &entry.record));
            let Some(found) = found else { return Ok(Taken::Gap) };
            bytes.push(found);
        }
        let total: usize = bytes.iter().map(Bytes::len).sum();
        if total > COMMIT_RECORD_BYTES {
            return Err(format!("a commit's records have {total} bytes, the limit is {COMMIT_RECORD_BYTES}"));
        }
        self.close_commit(id);
        self.settle_by(id, commit)?;
        if self.circles.get(id).and_then(|circle| circle.chains.get(&chain)).map_or(0, |tip| tip.sequence) != held {
            return Ok(Taken::Gap);
        }
        self.ledger.put(Table::Commits, keys::commit(id, &dot), signed.bytes.clone());
        for (entry, bytes) in commit.entries.iter().zip(&bytes) {
            self.ledger.put(Table::Records, keys::record(id, &entry.record), bytes.clone());
        }
        if let Some(circle) = self.circles.get_mut(id) {
            let tip = Tip { sequence: dot.sequence, hash: signed.hash, lamport: commit.lamport };
            circle.chains.insert(chain, tip);
        }
        for (at, bytes) in bytes.iter().enumerate() {
            self.apply_record(id, commit, at, bytes);
        }
        Ok(Taken::Applied)
    }

    /// How far a commit's Lamport time may be ahead of what it names, because its author had also seen commits that were
    /// cut off since: each of them was one ahead at most.
    fn cut_off_steps(&self, id: &CircleId, commit: &Commit) -> u64 {
        let Some(circle) = self.circles.get(id) else { return 0 };
        let closed = |dep: &Dot| circle.branch_verdict(dep, &CommitHash::NONE) == Some(Verdict::AboveCut);
        if commit.deps.iter().any(|dep| closed(dep) || circle.is_ambiguous(dep)) {
            // It had seen a history that is gone, of which nobody knows how long it was.
            return CUT_OFF_STEPS;
        }
        let steps = commit.deps.iter().filter(|dep| circle.is_cut_off(dep)).map(|dep| {
            let held = circle.chains.get(&dep.chain()).map_or(0, |tip| tip.sequence);
            dep.sequence.saturating_sub(held)
        });
        steps.fold(0, u64::saturating_add).min(CUT_OFF_STEPS)
    }

    /// The Lamport time of a commit that is held; of one that was cut off, that of the last before the cut.
    fn lamport_of(&self, id: &CircleId, dot: &Dot) -> Option<u64> {
        let tip = self.circles.get(id)?.chains.get(&dot.chain())?;
        if tip.sequence <= dot.sequence {
            return Some(tip.lamport);
        }
        self.stored_commit(id, &dot.chain(), dot.sequence).map(|signed| signed.commit.lamport)
    }

    /// When something here is due.
    pub fn sync_timeout(&self) -> Option<Instant> {
        let pulls = self.circles.values().filter_map(|circle| circle.pull.map(|(_, at)| at));
        let tells = self.circles.values().filter_map(|circle| circle.announce);
        let mints = self.circles.values().filter_map(|circle| circle.mint);
        pulls.chain(tells).chain(mints).chain(self.retry_starved_at).min()
    }

    /// Tells heads and holdings that have waited, gives up pulls that were not answered.
    pub fn sync_due(&mut self) {
        let now = self.now.instant;
        self.mint_due();
        if self.retry_starved_at.is_some_and(|at| at <= now) {
            self.retry_starved_at = None;
            self.feed_starved();
        }
        let mut late = Vec::new();
        let mut due = Vec::new();
        for circle in self.circles.values_mut() {
            if let Some((conn, _)) = circle.pull.filter(|(_, at)| *at <= now) {
                (circle.pull, circle.recall) = (None, None);
                late.push((circle.id, conn));
            }
            if circle.announce.is_some_and(|at| at <= now) {
                circle.announce = None;
                due.push(circle.id);
            }
        }
        let any_late = !late.is_empty();
        for (id, conn) in late {
            self.forget_claims(conn, &id);
        }
        if any_late {
            self.pull_where_behind();
        }
        for id in due {
            self.tell_heads(&id);
            self.tell_untold(&id);
        }
    }

    fn tell_heads(&mut self, id: &CircleId) {
        let Some(circle) = self.circles.get(id) else { return };
        let behind: Vec<_> = self
            .peers
            .in_circle(id)
            .filter(|(_, peer)| {
                let theirs = &peer.circles[id].theirs;
                circle.chains.keys().any(|chain| theirs.get(chain).copied().unwrap_or(0) < circle.told_upto(chain))
            })
            .map(|(conn, _)| conn)
            .collect();
        let message = Control::Heads(self.heads(id));
        for conn in behind {
            self.tell(conn, &message);
        }
    }
}

/// What was cut off makes a Lamport time run ahead by so much at most, whatever a commit says that it saw.
const CUT_OFF_STEPS: u64 = 65_536;

/// What became of a commit that came.
#[derive(PartialEq, Eq)]
enum Taken {
    Applied,
    Known,
    /// Something before it is missing.
    Gap,
}

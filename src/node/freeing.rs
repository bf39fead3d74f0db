//! Letting bodies go that others hold: what may go, from whom pledges are asked, and pledging to others.
//!
//! How many pledges it takes, and when a pledge ends, is decided by [`keep::pledges`](crate::keep::pledges); here its facts are
//! gathered, its messages sent and its pledges written. A body goes as in a cache: the ledger first, then whoever pledged is
//! told, and only then is the space given back. That it went is durable, so nothing is fetched again but what is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::io::{Answer, OpError, Reply};
use super::read::torrent_of;
use super::vault::{State, Torrent};
use super::{Asked, Effect, Node, StartError};
use crate::base::limits::HOLDINGS_MESSAGE;
use crate::base::{CircleId, ConnId, InfoHash, Instant, Snapshot, Table, Ticket, TransportKey};
use crate::keep::Pledges;
use crate::keep::holdings::Offer;
use crate::keep::pledges::{self, Message, Refusal, Step, Verdict};
use crate::ledger::keys;
use crate::ledger::values::torrent_key;
use crate::tree::Seen;
use crate::wire::control::{self, Control};
use crate::wire::record::Kind;
use crate::wire::statement::Role;

/// A try that came to nothing is followed by another after a time up to this, drawn at random.
const AGAIN_MS: u64 = 3_000;
/// Whoever asked is answered when nothing went for so long,
const JOB_TIME: Duration = Duration::from_secs(20);
/// and after so long in any case.
const JOB_LONGEST: Duration = Duration::from_secs(120);
/// What is in use is waited for so long.
const IN_USE_TIME: Duration = Duration::from_secs(2);
/// Bodies whose pledges are asked for at once.
const ROUNDS: usize = 1_000;
/// Fewer nodes than these keep all that they have.
const NODES_LEAST: usize = 3;

/// What came of letting bodies go.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Freed {
    /// Bodies that went.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that stay, by why.
    pub stay: BTreeMap<Stay, u64>,
}

impl Freed {
    /// Why nothing went, in words.
    fn refusal(&self) -> String {
        let why = |(stay, files): (&Stay, &u64)| match files {
            1 => format!("1 file is {}", stay.words()),
            files => format!("{files} files are {}", stay.words()),
        };
        format!("nothing is let go: {}", self.stay.iter().map(why).collect::<Vec<_>>().join("; "))
    }
}

/// Why a body stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stay {
    /// Its owner wants it here.
    Pinned,
    /// It is open, being written, or being sent to somebody.
    InUse,
    /// The circle has fewer than three nodes.
    TooFewNodes,
    /// Too few others that are online hold it whole.
    TooFewHolders,
    /// Others let it go at the same time, or did not answer.
    Contended,
}

impl Stay {
    /// In words, after '3 files are'.
    pub fn words(self) -> &'static str {
        match self {
            Stay::Pinned => "pinned: `dustfs unpin` first",
            Stay::InUse => "open, or being written",
            Stay::TooFewNodes => "in a circle of fewer than three boxes, and two keep everything",
            Stay::TooFewHolders => "held whole by too few friends who are online: try again when more are",
            Stay::Contended => "let go by friends at the same time, or friends did not answer: try again",
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Freeing {
    pub(super) pledges: Pledges,
    /// What is to be told, until the end of this turn.
    out: BTreeMap<(TransportKey, CircleId, Step), Vec<control::Pledged>>,
    jobs: Vec<Job>,
    /// When a body is tried next. It is in no round then.
    tries: BTreeMap<InfoHash, Instant>,
    /// Counts bodies that went since the start.
    went: u64,
}

/// Somebody who waits for bodies to go.
struct Job {
    /// Of who asked; `None` where it is for room.
    ticket: Option<Ticket>,
    left: BTreeSet<InfoHash>,
    stays: Vec<InfoHash>,
    freed: Freed,
    begun: Instant,
    /// It is answered then, unless something goes before.
    until: Instant,
    ends: Instant,
}

impl Freeing {
    pub(super) fn new(copies: Option<usize>) -> Self {
        Self { pledges: Pledges::new(copies.unwrap_or(pledges::COPIES)), ..Self::default() }
    }

    /// A body is tried as soon as there is room for a round.
    fn want(&mut self, info_hash: InfoHash, at: Instant) {
        if !self.pledges.is_asking(&info_hash) {
            self.tries.entry(info_hash).or_insert(at);
        }
    }

    /// A body went, or stays for good.
    fn settled(&mut self, now: Instant, info_hash: &InfoHash, result: Result<u64, Stay>) {
        self.tries.remove(info_hash);
        for job in self.jobs.iter_mut().filter(|job| job.left.contains(info_hash)) {
            job.left.remove(info_hash);
            match result {
                Ok(bytes) => {
                    job.freed.files += 1;
                    job.freed.bytes += bytes;
                    job.until = now + JOB_TIME;
                }
                Err(stay) => {
                    *job.freed.stay.entry(stay).or_default() += 1;
                    job.stays.push(*info_hash);
                }
            }
        }
    }

    fn is_wanted(&self, info_hash: &InfoHash) -> bool {
        self.jobs.iter().any(|job| job.left.contains(info_hash))
    }

    /// True where it was asked for just now.
    fn is_fresh(&self, info_hash: &InfoHash, now: Instant) -> bool {
        self.jobs.iter().any(|job| job.left.contains(info_hash) && now < job.begun + IN_USE_TIME)
    }

    fn timeout(&self) -> Option<Instant> {
        let jobs = self.jobs.iter().map(|job| job.until.min(job.ends));
        jobs.chain(self.tries.values().copied()).chain(self.pledges.timeout()).min()
    }
}

impl<S: Snapshot> Node<S> {
    /// Reads what was pledged.
    pub(super) fn load_pledges(&mut self) -> Result<(), StartError> {
        let pledges = &mut self.freeing.pledges;
        self.ledger.range(Table::Pledges, &[], &[0xff; 61], &mut |key, value| {
            if let Some((info_hash, to, round)) = keys::pledge_of(key) {
                pledges.load(info_hash, to, round, value == RELIED);
            }
            true
        })?;
        let ids: Vec<CircleId> = self.circles.keys().copied().collect();
        ids.iter().for_each(|id| self.forget_pledges(id));
        Ok(())
    }

    /// Who was removed binds nobody.
    pub(super) fn forget_pledges(&mut self, id: &CircleId) {
        let Some(circle) = self.circles.get(id) else { return };
        let removed = circle.roster.removed_transports();
        let torrents = &self.vault.torrents;
        let of_circle = |body: &InfoHash| torrents.get(body).is_some_and(|torrent| torrent.circle == *id);
        let over = self.freeing.pledges.forget(|body, to| removed.contains(to) && of_circle(body));
        self.delete_pledges(&over);
    }

    fn delete_pledges(&mut self, over: &[(InfoHash, TransportKey, u64)]) {
        for (info_hash, to, round) in over {
            self.ledger.delete(Table::Pledges, keys::pledge(info_hash, to, *round));
            self.flush_soon();
        }
    }

    /// True for what this node may not let go, since others were told that it stays.
    pub(super) fn is_pledged(&self, info_hash: &InfoHash) -> bool {
        self.freeing.pledges.is_pledged(info_hash)
    }

    /// Nobody relies on a body any more.
    pub(super) fn end_reliance(&mut self, info_hash: &InfoHash) {
        let over = self.freeing.pledges.forget_relied(info_hash);
        self.delete_pledges(&over);
    }

    /// Lets the bodies of a file go, or of all files below a directory, as far as enough others hold them.
    pub(super) fn free(&mut self, ticket: Ticket, path: &str) -> Option<Reply> {
        let (id, seen) = match self.at_path(path) {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let here = self.bodies_here(&id, seen);
        self.begin_job(Some(ticket), here);
        None
    }

    fn begin_job(&mut self, ticket: Option<Ticket>, left: BTreeSet<InfoHash>) {
        let now = self.now.instant;
        for info_hash in &left {
            self.freeing.want(*info_hash, now);
        }
        let (freed, stays) = Default::default();
        self.freeing.jobs.push(Job {
            ticket,
            left,
            stays,
            freed,
            begun: now,
            until: now + JOB_TIME,
            ends: now + JOB_LONGEST,
        });
    }

    /// These go for others, as far as they can.
    pub(super) fn free_for_room(&mut self, bodies: impl IntoIterator<Item = InfoHash>) {
        self.begin_job(None, bodies.into_iter().collect());
    }

    /// True while some go for others.
    pub(super) fn frees_for_room(&self) -> bool {
        self.freeing.jobs.iter().any(|job| job.ticket.is_none())
    }

    /// What a path in the tree leads to, as `Friends/film`.
    pub(super) fn at_path(&self, path: &str) -> Result<(CircleId, Seen), OpError> {
        let mut names = path.split('/').filter(|name| !name.is_empty() && *name != ".");
        let circle = match self.only_circle() {
            Some(circle) => circle,
            None => {
                let name = names.next().ok_or_else(|| OpError::Invalid("name a circle, or a path in one".into()))?;
                let id = self.circle_named(name).ok_or(OpError::NotFound)?;
                self.circles.get(&id).filter(|circle| circle.readable()).ok_or(OpError::NotFound)?
            }
        };
        let mut at = Seen::of(circle.tree.root());
        for name in names {
            at = circle.tree.lookup(&at.object, name.as_bytes()).ok_or(OpError::NotFound)?;
        }
        Ok((circle.id, at))
    }

    /// The torrents of what is at a place, or below it.
    pub(super) fn bodies_below(&self, id: &CircleId, seen: Seen) -> BTreeSet<InfoHash> {
        let mut bodies = BTreeSet::new();
        let Some(circle) = self.circles.get(id) else { return bodies };
        let mut open = vec![seen];
        while let Some(seen) = open.pop() {
            let is_root = seen.object == circle.tree.root();
            match circle.tree.attributes(&seen).map(|attributes| attributes.kind) {
                _ if is_root => {}
                Some(Kind::Directory) => {}
                Some(Kind::File) => {
                    bodies.extend(circle.tree.body(&seen).and_then(|version| torrent_of(&version.body)));
                    continue;
                }
                Some(Kind::Symlink) | None => continue,
            }
            open.extend(circle.tree.list(&seen.object, None, usize::MAX).into_iter().map(|(_, seen, _)| seen));
        }
        bodies
    }

    fn bodies_here(&self, id: &CircleId, seen: Seen) -> BTreeSet<InfoHash> {
        let mut bodies = self.bodies_below(id, seen);
        let torrents = &self.vault.torrents;
        bodies.retain(|body| torrents.get(body).is_some_and(|torrent| !matches!(torrent.state, State::Absent)));
        bodies
    }

    /// When [`Self::freeing_due`] has something to do.
    pub(super) fn freeing_timeout(&self) -> Option<Instant> {
        self.freeing.timeout()
    }

    /// Begins rounds, ends those that took too long, answers who waits, and tells what is to be told.
    pub(super) fn freeing_due(&mut self) {
        let now = self.now.instant;
        if self.freeing.timeout().is_some_and(|at| at <= now) || self.stopping.is_some() {
            for (info_hash, messages) in self.freeing.pledges.expired(now) {
                self.round_failed(&info_hash, messages);
            }
            self.begin_rounds();
        }
        self.answer_jobs();
        self.tell_steps();
    }

    fn begin_rounds(&mut self) {
        let now = self.now.instant;
        let due = self.freeing.tries.iter().filter(|(_, at)| **at <= now).map(|(info_hash, _)| *info_hash);
        let due: Vec<InfoHash> = due.take(ROUNDS).collect();
        if due.is_empty() {
            return;
        }
        let in_use = self.in_use();
        for info_hash in due {
            if !self.freeing.is_wanted(&info_hash) {
                self.freeing.tries.remove(&info_hash);
                continue;
            }
            match self.may_free(&info_hash, &in_use) {
                Ok(true) => self.begin_round(&info_hash),
                Ok(false) => self.try_again(&info_hash),
                // The kernel tells that a file was closed a moment later.
                Err(Stay::InUse) if self.freeing.is_fresh(&info_hash, now) => self.try_again(&info_hash),
                Err(stay) => self.freeing.settled(now, &info_hash, Err(stay)),
            }
        }
    }

    fn begin_round(&mut self, info_hash: &InfoHash) {
        let Some(circle) = self.vault.torrents.get(info_hash).map(|torrent| torrent.circle) else { return };
        let round = self.rng.next_u64() >> 1;
        let holders = self.whole_elsewhere(info_hash);
        match self.freeing.pledges.begin(self.now.instant, *info_hash, round, holders) {
            Ok(messages) => {
                self.freeing.tries.remove(info_hash);
                self.tell_all(&circle, messages);
            }
            Err(Refusal::Busy) => self.try_again(info_hash),
            Err(Refusal::TooFew(_)) => {
                self.freeing.settled(self.now.instant, info_hash, Err(Stay::TooFewHolders));
            }
        }
    }

    fn try_again(&mut self, info_hash: &InfoHash) {
        let after = Duration::from_millis(self.rng.below(AGAIN_MS) + 1);
        self.freeing.tries.insert(*info_hash, self.now.instant + after);
    }

    fn round_failed(&mut self, info_hash: &InfoHash, messages: Vec<Message>) {
        if let Some(circle) = self.vault.torrents.get(info_hash).map(|torrent| torrent.circle) {
            self.tell_all(&circle, messages);
        }
        if self.freeing.is_wanted(info_hash) {
            self.try_again(info_hash);
        }
    }

    /// The torrents that something here reads from or lies on.
    fn in_use(&self) -> BTreeSet<InfoHash> {
        let drafts = self.files.drafts.values().filter_map(|draft| draft.base.as_ref());
        let pins = self.files.pins.values().filter_map(|pin| pin.view.as_ref());
        drafts.chain(pins).filter_map(|view| torrent_of(&view.body)).chain(self.awaited()).collect()
    }

    /// Whether pledges may be asked for a body now; false where it may be later.
    fn may_free(&self, info_hash: &InfoHash, in_use: &BTreeSet<InfoHash>) -> Result<bool, Stay> {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return Err(Stay::Contended) };
        let Some(circle) = self.circles.get(&torrent.circle) else { return Err(Stay::Contended) };
        let nodes = circle.roster.present().filter(|member| !member.device.is_guest()).count();
        if nodes < NODES_LEAST || circle.role().is_none() {
            return Err(Stay::TooFewNodes);
        }
        if self.is_pinned_body(&torrent.circle, info_hash) {
            return Err(Stay::Pinned);
        }
        if torrent.length == 0 || in_use.contains(info_hash) || self.files.unread.contains(&torrent.circle) {
            return Err(Stay::InUse);
        }
        let storing = self.asked.values().any(|asked| matches!(asked, Asked::Piece(id, _) if id == info_hash));
        Ok(!storing && !self.swarm.serves(*info_hash))
    }

    /// Others that have told that they hold a body whole.
    pub(super) fn whole_elsewhere(&self, info_hash: &InfoHash) -> Vec<TransportKey> {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return Vec::new() };
        let Some(circle) = self.circles.get(&torrent.circle) else { return Vec::new() };
        // Of a chain with two histories nobody knows which one a summary means.
        let mut introduced = torrent.introductions();
        introduced.retain(|dot| !circle.forks.contains_key(&dot.chain()));
        let holders = self.peers.in_circle(&torrent.circle).filter(|(conn, peer)| {
            let told = peer.holdings(&torrent.circle).map(|holdings| holdings.offer(info_hash, &introduced));
            told == Some(Offer::Whole) && self.role_of_peer(*conn, &torrent.circle).is_some()
        });
        holders.map(|(_, peer)| peer.transport).collect()
    }

    /// A step of somebody's, or of our own.
    pub(super) fn on_pledge(&mut self, conn: ConnId, message: control::Pledge) {
        let id = message.circle;
        if !self.shares(conn, &id) {
            return;
        }
        if message.bodies.len() > HOLDINGS_MESSAGE {
            return self.close(conn, "it names more bodies to pledge at once than the limit".into());
        }
        let Some(from) = self.peers.get(conn).map(|peer| peer.transport) else { return };
        // Later versions may have other steps.
        let Some(step) = Step::from_number(message.step) else { return };
        let reads = self.role_of_peer(conn, &id).is_some_and(Role::reads);
        let undurable = if step == Step::Ask { self.undurable() } else { BTreeSet::new() };
        for control::Pledged { info_hash, round } in message.bodies {
            let known = self.vault.torrents.get(&info_hash).is_none_or(|torrent| torrent.circle == id);
            let answer = match step {
                _ if !known => None,
                Step::Ask => {
                    let may = reads && self.may_pledge(&info_hash, &undurable);
                    self.asked_to_pledge(from, &id, info_hash, round, may)
                }
                Step::Pledged | Step::Refused => self.pledge_answered(from, info_hash, round, step == Step::Pledged),
                Step::Gone | Step::Kept => {
                    self.pledge_ended(from, &id, info_hash, round, step == Step::Gone);
                    None
                }
            };
            if let Some(step) = answer {
                self.tell_all(&id, vec![Message { to: from, step, body: info_hash, round }]);
            }
        }
    }

    /// True for a body that is here, whole and durable, and that nothing here lets go unasked.
    fn may_pledge(&self, info_hash: &InfoHash, undurable: &BTreeSet<InfoHash>) -> bool {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return false };
        let whole = matches!(torrent.state, State::Whole) && !undurable.contains(info_hash);
        // An older version goes when its time is over; what files show a locked node does not know.
        let stays = torrent.wanted || self.is_locked();
        let cache = &self.vault.cache;
        let crowded = self.is_cached(&torrent.circle) && cache.used() > cache.quota();
        whole && stays && !crowded && self.stopping.is_none() && self.trouble.is_none()
    }

    fn asked_to_pledge(
        &mut self,
        from: TransportKey,
        id: &CircleId,
        info_hash: InfoHash,
        round: u64,
        may: bool,
    ) -> Option<Step> {
        match self.freeing.pledges.asked(from, info_hash, round, may) {
            pledges::Reply::Write => {
                self.ledger.put(Table::Pledges, keys::pledge(&info_hash, &from, round), BINDING);
                let told = Message { to: from, step: Step::Pledged, body: info_hash, round };
                self.after_commit(Effect::Pledged(*id, told));
                None
            }
            pledges::Reply::Given => Some(Step::Pledged),
            pledges::Reply::Refused => Some(Step::Refused),
            pledges::Reply::Writing => None,
        }
    }

    /// A pledge is durable.
    pub(super) fn pledged(&mut self, id: &CircleId, told: Message) {
        if self.freeing.pledges.durable(told.to, told.body, told.round) {
            self.tell_all(id, vec![told]);
        }
    }

    fn pledge_answered(&mut self, from: TransportKey, info_hash: InfoHash, round: u64, pledged: bool) -> Option<Step> {
        match self.freeing.pledges.answered(from, info_hash, round, pledged) {
            Verdict::Waiting => None,
            Verdict::Stray => {
                let whole = |torrent: &Torrent| matches!(torrent.state, State::Whole);
                let kept = self.vault.torrents.get(&info_hash).is_some_and(whole);
                Some(if kept { Step::Kept } else { Step::Gone })
            }
            Verdict::Failed(messages) => {
                self.round_failed(&info_hash, messages);
                None
            }
            Verdict::Enough(messages) => {
                self.enough(&info_hash, messages);
                None
            }
        }
    }

    /// Enough others keep it: the body goes, unless somebody needs it now.
    fn enough(&mut self, info_hash: &InfoHash, messages: Vec<Message>) {
        let stopping = self.stopping.is_some() || self.trouble.is_some();
        let may = if stopping { Ok(false) } else { self.may_free(info_hash, &self.in_use()) };
        // Who pledged and was removed since keeps nothing for anybody.
        let circle = self.vault.torrents.get(info_hash).and_then(|torrent| self.circles.get(&torrent.circle));
        let removed = circle.map(|circle| circle.roster.removed_transports()).unwrap_or_default();
        let may = may.map(|may| may && messages.iter().all(|message| !removed.contains(&message.to)));
        let length = match may {
            Ok(true) => self.drop_body(info_hash, &messages),
            Ok(false) => Ok(None),
            Err(stay) => Err(stay),
        };
        match length {
            Ok(Some(length)) => self.freeing.settled(self.now.instant, info_hash, Ok(length)),
            kept => {
                let messages = messages.into_iter().map(|message| Message { step: Step::Kept, ..message }).collect();
                self.round_failed(info_hash, messages);
                if let Err(stay) = kept {
                    self.freeing.settled(self.now.instant, info_hash, Err(stay));
                }
            }
        }
    }

    /// Returns the bytes that the body had; `None` where it stays.
    fn drop_body(&mut self, info_hash: &InfoHash, messages: &[Message]) -> Result<Option<u64>, Stay> {
        let Some(extents) = self.layout(info_hash) else {
            log::error!("where a body lies is not known: it stays");
            return Ok(None);
        };
        let Some(torrent) = self.vault.torrents.get_mut(info_hash) else { return Ok(None) };
        (torrent.asked, torrent.freed) = (false, true);
        let (circle, length) = (torrent.circle, torrent.length);
        self.freeing.went += 1;
        self.quota.used = self.quota.used.saturating_sub(length);
        self.quota_soon();
        self.vault.drop(info_hash);
        self.vault.kept.forget(info_hash);
        self.swarm.evict(self.now.instant, *info_hash);
        self.put_torrent(info_hash, &[], Some(Vec::new()));
        if !self.shows(info_hash) {
            self.forget_freed(info_hash);
        }
        self.after_commit(Effect::LetGo(circle, messages.to_vec()));
        self.give_up(&extents, length);
        self.tell_changed(info_hash);
        Ok(Some(length))
    }

    fn pledge_ended(&mut self, from: TransportKey, id: &CircleId, info_hash: InfoHash, round: u64, gone: bool) {
        // A cache lets go without asking: it remembers whose copy its own stands for.
        let caches = self.circles.get(id).is_some_and(|circle| circle.kept_role() == Some(Role::Cache));
        let rely = gone && (caches || self.is_cached(id));
        if self.freeing.pledges.released(from, info_hash, round, rely) {
            let key = keys::pledge(&info_hash, &from, round);
            match self.freeing.pledges.is_reliance(from, info_hash, round) {
                true => self.ledger.put(Table::Pledges, key, RELIED),
                false => self.ledger.delete(Table::Pledges, key),
            }
            self.flush_soon();
            self.mirror_soon();
        }
    }

    /// What binds this node to a peer, in a circle: it is told whether that still waits for it.
    pub(super) fn remind_pledges(&mut self, conn: ConnId, id: &CircleId) {
        let Some(to) = self.peers.get(conn).map(|peer| peer.transport) else { return };
        let mut messages = self.freeing.pledges.reminders(&to);
        let torrents = &self.vault.torrents;
        messages.retain(|message| torrents.get(&message.body).is_some_and(|torrent| torrent.circle == *id));
        self.tell_all(id, messages);
    }

    pub(super) fn tell_all(&mut self, id: &CircleId, messages: Vec<Message>) {
        for Message { to, step, body, round } in messages {
            let told = control::Pledged { info_hash: body, round };
            self.freeing.out.entry((to, *id, step)).or_default().push(told);
        }
    }

    /// What is told to who is not there is told when they meet: whoever is bound asks.
    fn tell_steps(&mut self) {
        for ((to, circle, step), bodies) in std::mem::take(&mut self.freeing.out) {
            let Some(conn) = self.peers.by_key(&to).filter(|(_, peer)| peer.shares(&circle)).map(|(conn, _)| conn)
            else {
                continue;
            };
            for part in bodies.chunks(HOLDINGS_MESSAGE) {
                let step = step.number();
                self.tell(conn, &Control::Pledge(control::Pledge { circle, bodies: part.to_vec(), step }));
            }
        }
    }

    fn answer_jobs(&mut self) {
        if self.freeing.jobs.is_empty() {
            return;
        }
        let (now, stopping) = (self.now.instant, self.stopping.is_some());
        let over = |job: &Job| job.left.is_empty() || job.until.min(job.ends) <= now || stopping;
        let (ended, jobs) = std::mem::take(&mut self.freeing.jobs).into_iter().partition(over);
        self.freeing.jobs = jobs;
        for job in ended {
            let Job { ticket, left, stays, mut freed, .. } = job;
            if !left.is_empty() {
                freed.stay.insert(Stay::Contended, freed.stay.get(&Stay::Contended).unwrap_or(&0) + left.len() as u64);
            }
            for info_hash in &left {
                if !self.freeing.is_wanted(info_hash) {
                    self.freeing.tries.remove(info_hash);
                    let messages = self.freeing.pledges.give_up(info_hash);
                    self.round_failed(info_hash, messages);
                }
            }
            let Some(ticket) = ticket else {
                self.rest_for_room(stays.into_iter().chain(left));
                continue;
            };
            let nothing = freed.files == 0 && !freed.stay.is_empty();
            if stopping {
                self.reply(ticket, Err(OpError::Stopping));
            } else if nothing {
                self.reply(ticket, Err(OpError::NotPermitted(freed.refusal())));
            } else {
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Freed(freed))));
            }
        }
    }

    /// No file shows a body any more: that it went is forgotten.
    pub(super) fn forget_freed(&mut self, info_hash: &InfoHash) {
        if let Some(torrent) = self.vault.torrents.get_mut(info_hash).filter(|torrent| torrent.freed)
            && matches!(torrent.state, State::Absent)
        {
            torrent.freed = false;
            self.ledger.delete(Table::Torrents, torrent_key(info_hash));
            self.flush_soon();
        }
    }

    /// Bodies that this node's owner, or its quota, has let go.
    pub fn freed_bodies(&self) -> impl Iterator<Item = InfoHash> {
        let freed = self.vault.torrents.iter().filter(|(_, torrent)| torrent.freed);
        freed.map(|(info_hash, _)| *info_hash)
    }

    /// Bodies that went since the start because enough others hold them.
    pub fn let_go_count(&self) -> u64 {
        self.freeing.went
    }
}

/// What stands in `pledges` beside a pledge that binds, and beside one whose evictor has let go.
const BINDING: &[u8] = b"";
const RELIED: &[u8] = b"relied";

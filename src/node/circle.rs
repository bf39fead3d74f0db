//! One circle as a node holds it: roster, epoch keys, tree and chains; founding it, loading it, learning statements.

use std::collections::BTreeMap;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::author::OpenCommit;
use super::io::OpError;
use super::read::{torrent_in, torrent_of};
use super::{Node, StartError};
use crate::base::limits::{CIRCLES, RECORD_MAX, STATEMENT_MAX};
use crate::base::{CircleId, CommitHash, ConnId, EpochId, Instant, RecordHash, Snapshot, Table};
use crate::ledger::keys;
use crate::ledger::values::{CIRCLE_LABEL, CircleEntry, CircleSecrets, Value as _};
use crate::roster::{Added, Roster};
use crate::seal::chunk::sealed_length;
use crate::seal::member::verify;
use crate::seal::{CircleKey, EpochKeys, Suite};
use crate::tree::{Changes, Seen, Tree, Version};
use crate::wire::commit::Commit;
use crate::wire::record::{Bytes2, Chain, Inner, Outer, Value};
use crate::wire::statement::{Role, Saying, SignedStatement};

/// The name of the circle that every node founds for its owner.
pub const HOME: &str = "Home";

/// See the module.
pub struct Circle {
    pub id: CircleId,
    pub home: bool,
    /// The owner left it: what is here is the owner's to go on with, and nothing is shared.
    pub left: bool,
    pub roster: Roster,
    pub root_der: Bytes,
    pub root_pem: String,
    /// The root key's seed, on keepers.
    pub root_seed: Option<Zeroizing<[u8; 32]>>,
    pub leaf: Bytes,
    pub incarnation: u32,
    pub epochs: BTreeMap<EpochId, Epoch>,
    /// Stays empty where this node may not read.
    pub tree: Tree,
    /// The last commit of each chain up to which all are held.
    pub chains: BTreeMap<Chain, Tip>,
    /// The dependencies that our own chain has named already.
    pub named: BTreeMap<Chain, u64>,
    /// The last commit of our own chain that is durable: none above it is told of.
    pub durable: u64,
    /// The commit that is gathering.
    pub open: Option<OpenCommit>,
    /// From whom commits are being pulled, and when that is given up.
    pub pull: Option<(ConnId, Instant)>,
    /// When heads are to be told to the others.
    pub announce: Option<Instant>,
    /// When this node starts an epoch, if nobody else did before.
    pub mint: Option<Instant>,
    /// Chains of which two histories were seen, until their author says which counts.
    pub forks: BTreeMap<Chain, super::fork::Fork>,
    /// What authors said of their forked chains, by number.
    pub branches: BTreeMap<Chain, BTreeMap<u64, CommitHash>>,
    pub recall: Option<super::fork::Recall>,
    /// What was deleted or overwritten of late, and is held back.
    pub mass: crate::keep::Mass,
    /// A record waits for its epoch's key: what torrents it names is not known.
    pub unopened: bool,
    /// While the node is locked: the keys as they are kept, which go back as they came.
    pub(super) sealed: Option<Bytes2>,
    pub(super) me: crate::base::MemberKey,
}

/// One epoch whose key is held.
pub struct Epoch {
    pub number: u64,
    pub key: CircleKey,
    pub keys: EpochKeys,
}

/// See [`Circle::chains`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    pub sequence: u64,
    pub hash: CommitHash,
    pub lamport: u64,
}

impl Circle {
    /// A circle of which nothing is held but the roster and our leaf.
    pub fn new(roster: Roster, home: bool, leaf: Bytes, me: crate::base::MemberKey) -> Self {
        let id = roster.circle();
        let root_der = roster.root_der().clone();
        Self {
            id,
            home,
            left: false,
            root_pem: crate::cert::pem(&root_der),
            root_der,
            roster,
            root_seed: None,
            leaf,
            incarnation: 0,
            epochs: BTreeMap::new(),
            tree: Tree::new(&id),
            chains: BTreeMap::new(),
            named: BTreeMap::new(),
            durable: 0,
            open: None,
            pull: None,
            announce: None,
            mint: None,
            forks: BTreeMap::new(),
            branches: BTreeMap::new(),
            recall: None,
            mass: crate::keep::Mass::default(),
            unopened: false,
            sealed: None,
            me,
        }
    }

    /// This node's role, if it is in the circle and has not left it.
    pub fn role(&self) -> Option<Role> {
        self.kept_role().filter(|_| !self.left)
    }

    /// The role that the roster gives this node, also after it left: what it may do with what is here.
    pub fn kept_role(&self) -> Option<Role> {
        self.roster.role_of(&self.me)
    }

    /// True when this node may read what is here, and has the keys for it.
    pub fn readable(&self) -> bool {
        !self.is_locked() && self.kept_role().is_some_and(Role::reads)
    }

    /// True while the node is locked: whatever its role, it is here as a cache is, and lets nothing go.
    pub fn is_locked(&self) -> bool {
        self.sealed.is_some()
    }

    /// True when both this node and the device are in the circle.
    pub fn admits(&self, transport: &crate::base::TransportKey) -> bool {
        self.role().is_some() && self.roster.member_by_transport(transport).is_some()
    }

    /// Our own chain.
    pub fn chain(&self) -> Chain {
        Chain { author: self.me, incarnation: self.incarnation }
    }

    /// How far a chain may be told of: of our own, what is durable, lest a cut make us number another commit like it.
    pub fn told_upto(&self, chain: &Chain) -> u64 {
        let held = self.chains.get(chain).map_or(0, |tip| tip.sequence);
        if *chain == self.chain() { held.min(self.durable) } else { held }
    }

    /// The greatest Lamport time seen.
    pub fn lamport(&self) -> u64 {
        self.chains.values().map(|tip| tip.lamport).max().unwrap_or(0)
    }

    /// The epoch under which is sealed now, if its key is held.
    pub fn current(&self) -> Option<(EpochId, &Epoch)> {
        let id = self.roster.current_epoch()?;
        self.epochs.get(&id).map(|epoch| (id, epoch))
    }

    /// The chunk cipher of the newest epoch that is held.
    pub fn latest_suite(&self) -> Suite {
        let newest = self.epochs.values().max_by_key(|epoch| epoch.number);
        newest.map_or(Suite::ChaCha20Poly1305, |epoch| epoch.keys.suite())
    }

    /// The keys by which registers are tagged: the first epoch's, so that tags outlive epochs.
    pub fn tag_keys(&self) -> Option<&EpochKeys> {
        self.epochs.iter().min_by_key(|(id, epoch)| (epoch.number, **id)).map(|(_, epoch)| &epoch.keys)
    }

    /// Opens a record of an accepted commit. `Ok(None)` when its epoch's key is not held; an error when it is not what
    /// its author should have written, which every node sees alike and leaves out.
    pub fn open_record(&self, commit: &Commit, at: usize, bytes: &[u8]) -> Result<Option<Version>, String> {
        let outer = Outer::decode(bytes).map_err(|error| error.to_string())?;
        let Some(epoch) = self.epochs.get(&outer.epoch) else { return Ok(None) };
        let plain = epoch.keys.open_record(&outer.sealed).map_err(|error| error.to_string())?;
        let inner = Inner::decode(&plain).map_err(|error| error.to_string())?;
        let entry = &commit.entries[at];
        if inner.circle != self.id || inner.dot != commit.dot {
            return Err("a record belongs to another commit".into());
        }
        let tag = self.tag_keys().map(|keys| keys.register_tag(&inner.object, inner.value.register()));
        if tag != Some(entry.tag) {
            return Err("a record has another register than its commit says".into());
        }
        if let Value::Body(body) = &inner.value {
            check_torrent(self, &outer, body)?;
        }
        Ok(Some(Version {
            dot: inner.dot,
            lamport: commit.lamport,
            object: inner.object,
            context: inner.context,
            value: inner.value,
            wall: commit.wall,
            record: entry.record,
        }))
    }

    /// What the ledger keeps of this circle, with its secrets as they are sealed.
    pub(super) fn entry(&self, secrets: Bytes2) -> CircleEntry {
        CircleEntry {
            home: self.home.into(),
            left: self.left.into(),
            incarnation: self.incarnation,
            leaf: Bytes2::from(&self.leaf[..]),
            secrets,
        }
    }
}

/// A body's info-hash must be that of the torrent that its public part describes, in this circle.
fn check_torrent(circle: &Circle, outer: &Outer, body: &crate::wire::record::Body) -> Result<(), String> {
    let Some(torrent) = torrent_in(body) else { return Ok(()) };
    let info = outer.info.as_ref().ok_or("a body with a torrent describes none")?;
    let metainfo = crate::wire::metainfo::Metainfo::from_public(info).map_err(|error| error.to_string())?;
    if metainfo.length != sealed_length(body.size) {
        return Err("a torrent's length does not fit its body's size".into());
    }
    if metainfo.info_hash(&circle.root_pem) != torrent.info_hash {
        return Err("a torrent's info-hash is not that of its description".into());
    }
    Ok(())
}

/// Entropy for a new circle, as `Op` hands it over: epoch key, envelope and root key.
pub struct CircleEntropy {
    pub key: [u8; 32],
    pub envelope: [u8; 32],
    pub root: [u8; 32],
}

impl From<[u8; 96]> for CircleEntropy {
    fn from(bytes: [u8; 96]) -> Self {
        let part = |at: usize| {
            let mut part = [0; 32];
            part.copy_from_slice(&bytes[at..at + 32]);
            part
        };
        Self { key: part(0), envelope: part(32), root: part(64) }
    }
}

impl<S: Snapshot> Node<S> {
    /// Founds a circle whose first keeper this node is. Returns its id.
    pub fn found(&mut self, name: &str, home: bool, suite: Suite, entropy: [u8; 96]) -> Result<CircleId, OpError> {
        crate::wire::statement::check_label(name).map_err(|error| OpError::Invalid(error.to_string()))?;
        if self.circles.len() >= CIRCLES {
            return Err(OpError::Invalid(format!("a node has at most {CIRCLES} circles")));
        }
        if self.circle_named(name).is_some() {
            return Err(OpError::Exists);
        }
        let entropy = CircleEntropy::from(entropy);
        let failed = |error: crate::cert::CertError| OpError::Io(error.to_string());
        let root = crate::cert::create_root(entropy.root, self.fresh_nonce()).map_err(failed)?;
        let serial = self.fresh_nonce();
        let leaf =
            crate::cert::issue_leaf(&entropy.root, &root.der, &self.me.device.transport, serial).map_err(failed)?;
        let nonce = self.fresh_nonce();
        let founding = crate::roster::found(nonce, name.into(), &root.der, self.me.device.clone());
        let member = self.me.member()?;
        let founding = founding.sign(|bytes| member.sign(bytes));
        let roster = Roster::new(founding.clone()).map_err(|error| OpError::Invalid(error.to_string()))?;
        let id = roster.circle();
        self.ledger.put(Table::Statements, keys::statement(&id, &founding.hash), founding.bytes);
        let mut circle = Circle::new(roster, home, leaf.into(), self.me.device.member);
        circle.root_seed = Some(Zeroizing::new(entropy.root));
        self.circles.insert(id, circle);
        self.mint_epoch(&id, suite, CircleKey(entropy.key), entropy.envelope)?;
        self.name_authors(&id);
        self.tell_trust();
        self.root_changed();
        Ok(id)
    }

    /// The circle of that name.
    pub fn circle_named(&self, name: &str) -> Option<CircleId> {
        self.circles.values().find(|circle| self.shown_name(circle) == name).map(|circle| circle.id)
    }

    /// Takes a verified statement, stores it, and does what follows. An error is final for this statement.
    pub fn learn_statement(
        &mut self,
        id: &CircleId,
        statement: SignedStatement,
        from: Option<ConnId>,
    ) -> Result<Added, String> {
        let who = |roster: &Roster| {
            let sheets = roster.sheet_transports();
            (roster.allowed_transports(), roster.guest_transports(), sheets, roster.current_epoch())
        };
        let circle = self.circles.get_mut(id).ok_or("it is of a circle that is not here")?;
        let before = who(&circle.roster);
        if statement.bytes.len() > STATEMENT_MAX {
            return Err(format!("it has {} bytes, the limit is {STATEMENT_MAX}", statement.bytes.len()));
        }
        let (hash, bytes) = (statement.hash, statement.bytes.clone());
        let saying = statement.statement.saying.clone();
        let added = circle.roster.add(statement).map_err(|error| error.to_string())?;
        if added != Added::New {
            return Ok(added);
        }
        self.ledger.put(Table::Statements, keys::statement(id, &hash), bytes);
        self.flush_soon();
        if let Saying::Epoch { number, suite, keys } = &saying {
            self.open_epoch(id, hash, *number, *suite, keys);
        }
        self.spread_statement(id, &hash, from);
        if matches!(saying, Saying::Remove { .. } | Saying::Role { .. }) {
            self.reload_tree(id);
        }
        self.name_authors(id);
        if let (Saying::Release { .. }, Some(circle)) = (&saying, self.circles.get_mut(id)) {
            circle.mass.release(circle.roster.released());
            self.look_at_kept();
        }
        // After a removal nothing can be written until there is a new epoch.
        if matches!(saying, Saying::Remove { .. } | Saying::Role { .. } | Saying::Epoch { .. }) {
            self.name_what_was_cut(id);
        }
        self.plan_epoch(id);
        let circle = &self.circles[id];
        if before != who(&circle.roster) {
            self.tell_trust();
            self.roster_changed(id);
        }
        Ok(added)
    }

    /// Tells the tree what people are called, for the names of conflicts.
    pub fn name_authors(&mut self, id: &CircleId) {
        if let Some(circle) = self.circles.get_mut(id) {
            let mut stale = Vec::new();
            for member in circle.roster.members() {
                stale.push(circle.tree.set_author_name(member.device.member, &member.name));
            }
            for changes in stale {
                self.tree_changed(id, changes);
            }
        }
    }

    /// Reads everything of the ledger that lives in memory.
    pub fn load(&mut self) -> Result<(), StartError> {
        let mut entries = Vec::new();
        self.ledger.range(Table::Circles, &[], &[0xff; 40], &mut |key, value| {
            entries.push((CircleId::from_slice(key), CircleEntry::decode(value)));
            true
        })?;
        for (id, entry) in entries {
            let id = id.ok_or_else(|| StartError::Broken("a circle's id is not 32 bytes".into()))?;
            self.load_circle(id, entry?)?;
        }
        self.load_addresses()?;
        self.load_uptime()?;
        self.load_torrents()?;
        self.load_frontier()?;
        self.load_pledges()?;
        self.load_pins()?;
        let ids: Vec<_> = self.circles.keys().copied().collect();
        for id in ids {
            self.load_chains(&id)?;
            if let Some(circle) = self.circles.get_mut(&id) {
                circle.durable = circle.chains.get(&circle.chain()).map_or(0, |tip| tip.sequence);
            }
            if !self.is_locked() {
                self.load_drafts(&id)?;
                self.name_what_was_cut(&id);
            }
            self.plan_epoch(&id);
        }
        self.loaded();
        self.start_vault();
        self.reclaim();
        self.load_scrub()?;
        self.tell_trust();
        self.plan_dials();
        self.starting = false;
        Ok(())
    }

    fn load_circle(&mut self, id: CircleId, entry: CircleEntry) -> Result<(), StartError> {
        let broken = |why: String| StartError::Broken(format!("circle {id}: {why}"));
        let (from, to) = keys::of_circle(&id);
        let mut statements = Vec::new();
        self.ledger.range(Table::Statements, &from, &to, &mut |_, value| {
            // The signature was verified before the statement was stored.
            statements.push(SignedStatement::decode(Bytes::copy_from_slice(value), |_, _, _| true));
            true
        })?;
        let statements = statements.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (roster, refusals) = Roster::load(statements).map_err(|error| broken(error.to_string()))?;
        if let Some((hash, why)) = refusals.first() {
            log::warn!("statement {hash} in the ledger is left out: {why:?}");
        }
        if roster.circle() != id {
            return Err(broken("its founding statement is missing".into()));
        }
        let mut circle = Circle::new(roster, entry.home != 0, entry.leaf.into_vec().into(), self.me.device.member);
        circle.left = entry.left != 0;
        circle.incarnation = entry.incarnation;
        let mut missed = false;
        match &self.me.secrets {
            Some(secrets) => {
                let opened = secrets.state.open(CIRCLE_LABEL, &entry.secrets);
                let opened = opened.map_err(|error| broken(error.to_string()))?;
                circle.take_secrets(CircleSecrets::decode(&opened)?).map_err(broken)?;
                missed = circle.open_missed(&secrets.member);
            }
            None => circle.sealed = Some(entry.secrets),
        }
        self.circles.insert(id, circle);
        if missed {
            self.save_circle(&id);
        }
        self.name_authors(&id);
        Ok(())
    }

    /// Builds the tree anew from the ledger: after a removal, which cuts chains, or a new key, which opens records.
    pub fn reload_tree(&mut self, id: &CircleId) {
        // What gathers is in the ledger only once it is signed.
        self.close_commit(id);
        let Some(circle) = self.circles.get_mut(id) else { return };
        let old = std::mem::replace(&mut circle.tree, Tree::new(id));
        circle.chains.clear();
        circle.unopened = false;
        let nested = self.vault.loading.is_some();
        self.begin_loading();
        let removed: Vec<_> = old.torrents().map(|(info_hash, ..)| info_hash).collect();
        self.name_authors(id);
        for info_hash in removed {
            self.release_torrent(&info_hash);
        }
        if let Err(error) = self.load_chains(id) {
            log::error!("the tree could not be read again: {error}");
        }
        if !nested {
            self.loaded();
        }
        self.restage(id);
        self.root_changed();
    }

    /// Applies one record of an accepted commit to the tree and to what is wanted.
    pub fn apply_record(&mut self, id: &CircleId, commit: &Commit, at: usize, bytes: &[u8]) {
        let Some(circle) = self.circles.get_mut(id) else { return };
        let reads = circle.readable();
        let record = commit.entries[at].record;
        if !reads {
            self.note_public_torrent(id, commit, record, bytes);
            return;
        }
        match circle.open_record(commit, at, bytes) {
            Ok(Some(version)) => {
                let torrent = match &version.value {
                    Value::Body(body) => torrent_of(body).map(|info_hash| (info_hash, sealed_length(body.size))),
                    Value::Place(_) => None,
                };
                if let Some((info_hash, length)) = torrent {
                    let before = circle.tree.body(&Seen { object: version.object, version: None });
                    let base = before.and_then(|before| torrent_of(&before.body));
                    self.introduce_torrent(id, info_hash, record, commit.dot, length);
                    if let Some(torrent) = self.vault.torrents.get_mut(&info_hash) {
                        torrent.base = base.filter(|base| *base != info_hash);
                    }
                }
                let changes = match self.circles.get_mut(id) {
                    Some(circle) => circle.apply(version),
                    None => return,
                };
                self.tree_changed(id, changes);
            }
            Ok(None) => {
                circle.unopened = true;
                log::debug!("a record waits for its epoch's key");
            }
            Err(why) => log::warn!("a record of {} is left out: {why}", commit.dot.author),
        }
    }

    /// Does what follows from a change of the tree.
    pub fn tree_changed(&mut self, id: &CircleId, changes: Changes) {
        for info_hash in &changes.torrents_added {
            self.refer_torrent(info_hash);
        }
        for info_hash in &changes.torrents_removed {
            self.release_torrent(info_hash);
        }
        if !changes.entries.is_empty() {
            self.look_at_pins();
        }
        // At the start the kernel knows nothing yet.
        if !self.starting {
            let stale = self.stale_of(id, &changes);
            self.stale(stale);
        }
    }

    /// Founds `Home` if this node has none; called once by `init`.
    pub fn found_home(&mut self, suite: Suite, entropy: [u8; 96]) -> Result<CircleId, OpError> {
        self.found(HOME, true, suite, entropy)
    }

    /// Founds a circle of friends.
    pub fn found_for_friends(&mut self, name: &str, entropy: [u8; 96]) -> Result<String, OpError> {
        let suite = self.preferred_suite();
        self.found(name, false, suite, entropy)?;
        Ok(name.to_string())
    }

    /// The chunk cipher of the newest circle: the one that was measured to be faster here.
    pub fn preferred_suite(&self) -> Suite {
        let home = self.circles.values().find(|circle| circle.home);
        home.and_then(|circle| circle.current()).map_or(Suite::ChaCha20Poly1305, |(_, epoch)| epoch.keys.suite())
    }

    /// Checks a statement's signature.
    pub fn decode_statement(bytes: &[u8]) -> Result<SignedStatement, crate::wire::WireError> {
        SignedStatement::decode(Bytes::copy_from_slice(bytes), verify)
    }

    /// A record's bytes.
    pub fn record_bytes(&self, id: &CircleId, hash: &RecordHash) -> Option<Bytes> {
        let bytes = self.ledger.get(Table::Records, &keys::record(id, hash)).ok().flatten();
        debug_assert!(bytes.as_ref().is_none_or(|bytes| bytes.len() <= RECORD_MAX));
        bytes
    }
}

//! Mass changes of a circle: counted as they are applied, told to people, and released or undone by a keeper.
//!
//! Undoing is like putting versions back: a body by reference on top of each that was replaced, a file at its last path for
//! each that was deleted. What somebody has written since stays, and so does what the mass change made anew.

use sha2::{Digest, Sha256};

use super::circle::Circle;
use super::files::DraftKey;
use super::io::{Answer, OpError, Reply};
use super::status::HeldChange;
use super::{Effect, Node};
use crate::base::{CircleId, InfoHash, ObjectId, Snapshot, Ticket};
use crate::keep::{Change, Mass, MassChange};
use crate::tree::{Changes, Older, Seen, Version};
use crate::wire::record::{Dot, Kind, Value};
use crate::wire::statement::{Role, Saying};

/// So many files are put back at once: the rest when it is asked for again.
const UNDONE_MAX: usize = 10_000;

impl Circle {
    /// Applies a version to the tree, and counts what it took from sight.
    pub(super) fn apply(&mut self, version: Version) -> Changes {
        let Version { dot, wall, object, .. } = version;
        let before = self.tree.shown_mark(&object).filter(|(kind, size, _)| *kind != Kind::Directory && *size > 0);
        let replaced = self.tree.replaced_count();
        let changes = self.tree.apply(version);
        let Some(before) = before else { return changes };
        let after = self.tree.shown_mark(&object);
        // Of a conflict the loser shows beside the winner: nothing went.
        if after.is_none() || after != Some(before) && self.tree.replaced_count() > replaced {
            let torrent = changes.torrents_removed.first().copied();
            self.mass.note(Change { dot, wall, object, torrent }, self.tree.len());
        }
        changes
    }

    /// Counts anew: the tree is about to be built from its commits.
    pub(super) fn begin_mass(&mut self) {
        self.mass = Mass::default();
        self.mass.release(self.roster.released());
    }

    fn is_of(&self, held: &MassChange, dot: &Dot) -> bool {
        dot.chain() == held.chain && (held.from..=held.to).contains(&dot.sequence)
    }

    /// The newest version of a file from before a mass change, where that change is what shows now, or what hides it.
    fn before(&self, held: &MassChange, object: &ObjectId) -> Option<Older> {
        let hidden = match self.tree.body(&Seen::of(*object)).filter(|_| self.tree.is_alive(object)) {
            Some(shown) => shown.dot.is_some_and(|dot| self.is_of(held, &dot)),
            None => self.tree.deletion(object).is_some_and(|deletion| deletion.author == held.chain.author),
        };
        let older = hidden.then(|| self.tree.older(object)).into_iter().flatten();
        older.filter(|older| !self.is_of(held, &older.dot) && older.size > 0).max_by_key(|older| older.lamport)
    }
}

impl<S: Snapshot> Node<S> {
    /// True for what a mass change replaced, until a keeper has released that.
    pub(super) fn is_held_back(&self, id: &CircleId, info_hash: &InfoHash) -> bool {
        self.circles.get(id).is_some_and(|circle| circle.mass.holds(info_hash))
    }

    /// The mass changes that wait for a keeper, by circle.
    pub fn held_changes(&self) -> Vec<HeldChange> {
        let circles = self.circles.values().filter(|circle| circle.readable());
        let all = circles.flat_map(|circle| circle.mass.held().iter().map(move |held| (circle, held)));
        let tell = |(circle, held): (&Circle, &MassChange)| HeldChange {
            id: id_of(&circle.id, held),
            circle: self.shown_name(circle),
            author: circle.tree.author_name(&held.chain.author),
            date: super::history::date_of(held.wall),
            files: held.objects.len() as u64,
            mine_to_settle: circle.role() == Some(Role::Keeper),
        };
        all.map(tell).collect()
    }

    /// A keeper says what becomes of a mass change: what it replaced may go with time, or comes back. Answers
    /// [`Answer::Restored`] with the files that came back when that would survive a power cut.
    pub(super) fn settle_held(&mut self, ticket: Ticket, which: &str, undo: bool) -> Option<Reply> {
        match self.settle_now(which, undo) {
            Ok(files) => {
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Restored(files))));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn settle_now(&mut self, which: &str, undo: bool) -> Result<u64, OpError> {
        let circles = self.circles.values().flat_map(|circle| circle.mass.held().iter().map(|held| (circle.id, held)));
        let found = circles.filter(|(id, held)| id_of(id, held) == which).map(|(id, held)| (id, held.clone())).next();
        let (id, held) = found.ok_or_else(|| {
            OpError::Invalid(format!("no change '{which}' is held back: `dustfs held` lists those that are"))
        })?;
        if self.circles[&id].role() != Some(Role::Keeper) {
            return Err(OpError::NotPermitted(
                "only a keeper of the circle says what becomes of it: ask one to".into(),
            ));
        }
        let (files, all) = if undo { self.undo(&id, &held)? } else { (0, true) };
        if all {
            self.close_commit(&id);
            self.say_released(&id, held.chain, held.to)?;
            // What was put back replaced much in its turn.
            let own = self.circles[&id].chain();
            let upto = self.circles[&id].chains.get(&own).map(|tip| tip.sequence);
            if let Some(upto) = upto.filter(|_| files > 0) {
                self.say_released(&id, own, upto)?;
            }
        }
        Ok(files)
    }

    fn say_released(&mut self, id: &CircleId, chain: crate::wire::record::Chain, sequence: u64) -> Result<(), OpError> {
        let nonce = self.fresh_nonce();
        let saying = Saying::Release { member: chain.author, incarnation: chain.incarnation, sequence };
        let statement = self.circles[id].roster.say(self.me.device.member, nonce, saying);
        let member = self.me.member()?;
        let statement = statement.sign(|bytes| member.sign(bytes));
        self.learn_statement(id, statement, None).map_err(OpError::NotPermitted)?;
        Ok(())
    }

    /// Puts back what a mass change took away. Returns how many files, and whether none is left to be.
    fn undo(&mut self, id: &CircleId, held: &MassChange) -> Result<(u64, bool), OpError> {
        let circle = &self.circles[id];
        let found: Vec<Older> = held.objects.iter().filter_map(|object| circle.before(held, object)).collect();
        let mut files = 0;
        for older in found.iter().take(UNDONE_MAX) {
            match self.put_object_back(id, older) {
                Ok(()) => files += 1,
                // Something else has the name now, or is being written: that stays.
                Err(OpError::Exists | OpError::NotDirectory) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((files, found.len() <= UNDONE_MAX))
    }

    fn put_object_back(&mut self, id: &CircleId, older: &Older) -> Result<(), OpError> {
        let seen = Seen::of(older.object);
        let tree = &self.circles[id].tree;
        if !tree.is_alive(&older.object) {
            let path = tree.last_path(&older.object).ok_or(OpError::NotFound)?;
            return self.put_back(id, older, &path, true);
        }
        let context = tree.body_context(&seen);
        let key = DraftKey { circle: *id, object: older.object, version: None };
        if self.files.drafts.get(&key).is_some_and(|draft| draft.dirty) {
            return Err(OpError::Exists);
        }
        let (body, record) =
            self.older_body(id, older).ok_or_else(|| OpError::Io("its record cannot be read".into()))?;
        let info = self.public_info(id, &record);
        let (dot, changes) = self.author(id, older.object, Value::Body(body), context, info)?;
        self.tree_changed(id, changes);
        self.go_on_from(&key, dot);
        Ok(())
    }
}

/// By what people name a mass change: it stays as the change goes on.
fn id_of(circle: &CircleId, held: &MassChange) -> String {
    let name = Sha256::new().chain_update(circle.0).chain_update(held.chain.author.0);
    let name = name.chain_update(held.chain.incarnation.to_be_bytes()).chain_update(held.from.to_be_bytes());
    data_encoding::HEXLOWER.encode(&name.finalize()[..4])
}

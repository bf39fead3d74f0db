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
use crate::wire::record::{Chain, Dot, Kind, Value};
use crate::wire::statement::{Role, Saying};

/// So many files are put back at once: the rest when it is asked for again.
const UNDONE_MAX: u64 = 10_000;

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
            let torrents = changes.torrents_removed.clone();
            self.mass.note(Change { dot, wall, object, torrents }, self.tree.len());
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
        if !undo {
            return self.say_released(&id, held.chain, (held.from, held.to)).map(|()| 0);
        }
        let own = self.circles[&id].chain();
        let tip = |node: &Self| node.circles[&id].chains.get(&own).map_or(0, |tip| tip.sequence);
        self.close_commit(&id);
        let before = tip(self);
        let Undone { files, left } = self.undo(&id, &held)?;
        self.close_commit(&id);
        // What was put back replaced much in its turn.
        if files > 0 {
            self.say_released(&id, own, (before + 1, tip(self)))?;
        }
        match (files, left) {
            (_, 0) => self.say_released(&id, held.chain, (held.from, held.to))?,
            (0, left) => return Err(not_undone(left)),
            _ => {}
        }
        Ok(files)
    }

    fn say_released(&mut self, id: &CircleId, chain: Chain, (from, sequence): (u64, u64)) -> Result<(), OpError> {
        let nonce = self.fresh_nonce();
        let saying = Saying::Release { member: chain.author, incarnation: chain.incarnation, from, sequence };
        let statement = self.circles[id].roster.say(self.me.device.member, nonce, saying);
        let member = self.me.member()?;
        let statement = statement.sign(|bytes| member.sign(bytes));
        self.learn_statement(id, statement, None).map_err(OpError::NotPermitted)?;
        Ok(())
    }

    /// Puts back what a mass change took away, as far as it is not back yet.
    fn undo(&mut self, id: &CircleId, held: &MassChange) -> Result<Undone, OpError> {
        self.may_write(id)?;
        let circle = &self.circles[id];
        let found: Vec<Older> = held.objects.iter().filter_map(|object| circle.before(held, object)).collect();
        let mut undone = Undone::default();
        for older in found {
            if undone.files >= UNDONE_MAX {
                undone.left += 1;
                continue;
            }
            match self.put_object_back(id, held, &older) {
                Ok(true) => undone.files += 1,
                Ok(false) => {}
                Err(error) => {
                    log::warn!("object {} could not be put back: {error}", older.object);
                    undone.left += 1;
                }
            }
        }
        Ok(undone)
    }

    /// False where it is back already.
    fn put_object_back(&mut self, id: &CircleId, held: &MassChange, older: &Older) -> Result<bool, OpError> {
        let circle = &self.circles[id];
        if !circle.tree.is_alive(&older.object) {
            let path = circle.tree.last_path(&older.object).ok_or(OpError::NotFound)?;
            let there = self.file_at(id, &path);
            if there
                .is_some_and(|seen| circle.tree.shown_mark(&seen.object) == Some((older.kind, older.size, older.mark)))
            {
                return Ok(false);
            }
            // As after a save by a new file that is renamed over the old one: what took the name is part of the change.
            let body = there.and_then(|seen| circle.tree.body(&seen)?.dot);
            let took = body.is_some_and(|dot| dot.chain() == held.chain && dot.sequence <= held.to);
            return self.put_back(id, older, &path, !took).map(|()| true);
        }
        let seen = Seen::of(older.object);
        let context = circle.tree.body_context(&seen);
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
        Ok(true)
    }

    fn file_at(&self, id: &CircleId, path: &[Vec<u8>]) -> Option<Seen> {
        let (name, directories) = path.split_last()?;
        let mut at = self.circles.get(id)?.tree.root();
        for directory in directories {
            at = self.entry(id, &at, directory)?.object;
        }
        self.entry(id, &at, name)
    }
}

/// What became of an undoing.
#[derive(Default)]
struct Undone {
    files: u64,
    /// So many are to be put back still.
    left: u64,
}

fn not_undone(left: u64) -> OpError {
    OpError::NotPermitted(format!(
        "{left} files could not be put back: something else has their names, or is being written; move it away and undo \
         again, put single ones back by `dustfs restore PATH --to PATH`, or accept the change"
    ))
}

/// By what people name a mass change: it stays as the change goes on.
fn id_of(circle: &CircleId, held: &MassChange) -> String {
    let name = Sha256::new().chain_update(circle.0).chain_update(held.chain.author.0);
    let name = name.chain_update(held.chain.incarnation.to_be_bytes()).chain_update(held.from.to_be_bytes());
    data_encoding::HEXLOWER.encode(&name.finalize()[..4])
}

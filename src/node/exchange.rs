//! Two entries change places: renameat2(2) with RENAME_EXCHANGE.

use super::Node;
use super::files::{DraftKey, refused};
use super::io::{Answer, Inode, Op, OpError, Reply};
use crate::base::{CircleId, ObjectId, Snapshot, Ticket};
use crate::wire::record::{Context, Kind, Name, Place, Value};

/// An entry: its directory, and its name there.
type Entry<'a> = (Inode, &'a [u8]);

impl<S: Snapshot> Node<S> {
    pub(super) fn exchange(&mut self, one: Entry<'_>, other: Entry<'_>) -> Reply {
        let ((id, one_dir), (other_id, other_dir)) = (self.directory(one.0)?, self.directory(other.0)?);
        self.may_write(&id)?;
        let first = self.entry(&id, &one_dir, one.1).ok_or(OpError::NotFound)?;
        let second = self.entry(&other_id, &other_dir, other.1).ok_or(OpError::NotFound)?;
        if id != other_id {
            return Err(OpError::CrossCircle);
        }
        if first == second {
            return Ok(Answer::Done);
        }
        if first.version.is_some() || second.version.is_some() {
            let why = "the loser of a conflict has no name to exchange: rename it first";
            return Err(OpError::Invalid(why.into()));
        }
        for (seen, into) in [(&first, &other_dir), (&second, &one_dir)] {
            if self.kind(&id, seen)? == Kind::Directory && self.is_below(&id, into, &seen.object) {
                return Err(OpError::Invalid("a directory cannot be moved into itself".into()));
            }
            self.check_depth(&id, into)?;
        }
        let (one_name, other_name) = (Name::new(one.1).map_err(refused)?, Name::new(other.1).map_err(refused)?);
        let known = [one, other];
        // Two directories would show as one between the two steps, and go on together.
        let tree = &self.circles.get(&id).ok_or(OpError::NotFound)?.tree;
        let (first, second) = (tree.merged(&first.object), tree.merged(&second.object));
        // Neither must come without the other: the commit that has both begins here.
        self.close_commit(&id);
        self.put(&id, &first, other_dir, other_name, &known)?;
        self.put(&id, &second, one_dir, one_name, &known)?;
        Ok(Answer::Done)
    }

    /// Gives something another place: an object, or the directories that show as one.
    pub(super) fn put(
        &mut self,
        id: &CircleId,
        objects: &[ObjectId],
        parent: ObjectId,
        name: Name,
        known: &[Entry<'_>],
    ) -> Result<(), OpError> {
        for object in objects {
            let circle = self.circles.get_mut(id).ok_or(OpError::NotFound)?;
            let changes = if let Some((_, body)) = circle.tree.staged(object) {
                let body = body.clone();
                let place = Place { parent, name: name.clone(), deleted: None };
                let key = DraftKey { circle: *id, object: *object, version: None };
                if let Some(draft) = self.files.drafts.get_mut(&key) {
                    draft.staged = Some(place.clone());
                }
                circle.tree.stage(*object, place, body)
            } else {
                let (context, dead) = circle.tree.place_context(object);
                let deleted = (dead != Context::default()).then_some(dead);
                let place = Place { parent, name: name.clone(), deleted };
                self.author(id, *object, Value::Place(place), context, None)?.1
            };
            self.changed_here(id, changes, known);
        }
        Ok(())
    }

    /// A file that was never published is published before it is exchanged, as before it is renamed over another.
    pub(super) fn exchange_waits(&mut self, ticket: Ticket, op: &Op, one: Entry<'_>, other: Entry<'_>) -> bool {
        for (parent, name) in [one, other] {
            let Ok((id, dir)) = self.directory(parent) else { return false };
            let Some(seen) = self.entry(&id, &dir, name) else { return false };
            let key = DraftKey { circle: id, object: seen.object, version: seen.version };
            let staged = self.circles.get(&id).is_some_and(|circle| circle.tree.is_staged(&seen.object));
            if let Some(draft) = self.files.drafts.get_mut(&key)
                && staged
                && draft.failed.is_none()
            {
                draft.renames.push((ticket, op.clone()));
                self.publish(key);
                return true;
            }
        }
        false
    }
}

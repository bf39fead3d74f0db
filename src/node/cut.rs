//! What hangs on commits that do not count: a file that this node wrote to keeps the name that it had.
//!
//! Such a file was made by somebody who is removed since, or was set back to an older state. What this node wrote to it
//! counts, but nothing names it any more. Who wrote it says the name anew, so that one node does it and no two.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Node;
use super::circle::Circle;
use super::files::DraftKey;
use crate::base::{CircleId, ObjectId, Snapshot, Table};
use crate::ledger::keys;
use crate::wire::commit::SignedCommit;
use crate::wire::record::{Context, Dot, Name, Place, Value};

/// Where commits that do not count said that objects are, and when.
pub(super) type Places = BTreeMap<ObjectId, (u64, Place)>;

impl<S: Snapshot> Node<S> {
    /// Names anew what this node wrote to, published or not, and no commit that counts gives a name to, after a removal.
    pub(super) fn name_what_was_cut(&mut self, id: &CircleId) {
        if self.unplaced(id).next().is_some() {
            let places = self.places_said(id, |circle, dot| circle.is_cut_off(dot));
            self.name_unplaced(id, &places);
        }
    }

    /// Gives what this node wrote to, and nothing names, the place that it had, or one in the root.
    pub(super) fn name_unplaced(&mut self, id: &CircleId, places: &Places) {
        let objects: BTreeSet<ObjectId> = self.unplaced(id).collect();
        if objects.is_empty() || self.may_write(id).is_err() {
            return;
        }
        for object in objects {
            let Some(circle) = self.circles.get(id) else { return };
            let place = match places.get(&object) {
                Some((_, place)) => place.clone(),
                None => Place { parent: circle.tree.root(), name: unknown_name(&object), deleted: None },
            };
            log::warn!("object {object} was made in a commit that does not count: what was written to it is kept");
            if !circle.tree.is_unplaced(&object) {
                let drafts = self.files.drafts.iter_mut();
                let of_it = drafts.filter(|(key, _)| key.circle == *id && key.object == object);
                of_it.for_each(|(_, draft)| draft.staged = Some(place.clone()));
                continue;
            }
            match self.author(id, object, Value::Place(place), Context::default(), None) {
                Ok((_, changes)) => self.tree_changed(id, changes),
                Err(error) => log::error!("a file that was cut off could not be named anew: {error}"),
            }
        }
        self.restage(id);
        self.flush_soon();
    }

    /// What was open to be written to when it lost its name, and was not written to, is gone with its last handle.
    pub(super) fn forget_what_was_cut(&mut self, key: &DraftKey) {
        if let Some(circle) = self.circles.get_mut(&key.circle) {
            let changes = circle.tree.unstage(key.object);
            self.tree_changed(&key.circle, changes);
        }
    }

    /// Objects that this node wrote to, published or not, and nothing names. None while some records wait for a key.
    fn unplaced(&self, id: &CircleId) -> impl Iterator<Item = ObjectId> {
        let circle = self.circles.get(id).filter(|circle| !circle.unopened);
        let published = circle.into_iter().flat_map(|circle| circle.tree.unplaced_by(&circle.me));
        let drafts = self.files.drafts.iter().filter(move |(key, draft)| {
            let named = || circle.is_none_or(|circle| circle.tree.is_placed(&key.object));
            key.circle == *id && !draft.orphan && draft.staged.is_none() && !named()
        });
        published.chain(drafts.map(|(key, _)| key.object))
    }

    /// The newest places that commits in the ledger which do not count gave to objects.
    pub(super) fn places_said(&self, id: &CircleId, is_out: impl Fn(&Circle, &Dot) -> bool) -> Places {
        let mut places = Places::new();
        let Some(circle) = self.circles.get(id) else { return places };
        let (from, to) = keys::of_circle(id);
        let mut out = Vec::new();
        let read = self.ledger.range(Table::Commits, &from, &to, &mut |_, value| {
            // Its signature was verified before it was stored.
            let signed = SignedCommit::decode(Bytes::copy_from_slice(value), |_, _, _| true).ok();
            let signed = signed.filter(|signed| is_out(circle, &signed.commit.dot));
            out.extend(signed.map(|signed| signed.commit));
            true
        });
        if let Err(error) = read {
            log::error!("commits that do not count could not be read: {error}");
        }
        for commit in out {
            for (at, entry) in commit.entries.iter().enumerate() {
                let version = self.record_bytes(id, &entry.record).map(|bytes| circle.open_record(&commit, at, &bytes));
                let Some(Ok(Some(version))) = version else { continue };
                let Value::Place(place) = version.value else { continue };
                let newer = places.get(&version.object).is_none_or(|(lamport, _)| *lamport <= version.lamport);
                if newer && place.deleted.is_none() {
                    places.insert(version.object, (version.lamport, place));
                }
            }
        }
        places
    }
}

fn unknown_name(object: &ObjectId) -> Name {
    let name = format!("found {}", data_encoding::HEXLOWER.encode(&object.0[..4]));
    Name::new(name.as_bytes()).expect("it is short, and of letters and digits")
}

//! Names of versions that changed, because the commits that they were in do not count: what was written on them, and what
//! is still being written, says the new names.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::draft::View;
use super::files::DraftKey;
use super::{Asked, Node};
use crate::base::{CircleId, ObjectId, Snapshot, Table};
use crate::ledger::keys;
use crate::wire::record::{Chain, Context, Dot, Register, Value};

/// What was taken out of the chains, and under which names what was ours of it was written anew.
pub struct Moved {
    /// From which number on each chain was cut.
    drops: BTreeMap<Chain, u64>,
    /// Of each register, the old names with the new ones, in the order in which they were written.
    versions: BTreeMap<(ObjectId, Register), Vec<(Dot, Dot)>>,
}

impl Moved {
    pub fn new(drops: BTreeMap<Chain, u64>) -> Self {
        Self { drops, versions: BTreeMap::new() }
    }

    pub fn drops(&self) -> &BTreeMap<Chain, u64> {
        &self.drops
    }

    /// A version was written anew.
    pub fn note(&mut self, object: ObjectId, register: Register, old: Dot, new: Dot) {
        self.versions.entry((object, register)).or_default().push((old, new));
    }

    fn is_dropped(&self, dot: &Dot) -> bool {
        self.drops.get(&dot.chain()).is_some_and(|from| dot.sequence >= *from)
    }

    /// What a context of a register supersedes, by the new names. It covers nothing of what stands under the old ones.
    pub fn context(&self, object: &ObjectId, register: Register, context: &Context) -> Context {
        let mut now = Context::default();
        for dot in &context.upto {
            match self.drops.get(&dot.chain()) {
                Some(from) if dot.sequence >= *from && *from == 1 => {}
                Some(from) if dot.sequence >= *from => now.upto.push(Dot { sequence: from - 1, ..*dot }),
                _ => now.upto.push(*dot),
            }
        }
        now.except = context.except.iter().filter(|dot| !self.is_dropped(dot)).copied().collect();
        let versions = self.versions.get(&(*object, register)).map(Vec::as_slice).unwrap_or_default();
        for (_, new) in versions.iter().filter(|(old, _)| context.covers(old)) {
            now.add(*new);
        }
        let spared = versions.iter().filter(|(old, new)| !context.covers(old) && now.covers(new));
        let spared: Vec<Dot> = spared.map(|(_, new)| *new).collect();
        now.except.extend(spared);
        now.except.sort_unstable();
        now
    }

    /// A value whose contexts say the new names.
    pub fn value(&self, object: &ObjectId, mut value: Value) -> Value {
        if let Value::Place(place) = &mut value {
            place.deleted = place.deleted.take().map(|dead| self.context(object, Register::Body, &dead));
        }
        value
    }

    /// The name of a body now; the same where it was not moved.
    fn body(&self, object: &ObjectId, dot: &Dot) -> Dot {
        let versions = self.versions.get(&(*object, Register::Body)).map(Vec::as_slice).unwrap_or_default();
        versions.iter().find(|(old, _)| old == dot).map_or(*dot, |(_, new)| *new)
    }

    fn view(&self, object: &ObjectId, view: &mut View) {
        view.dot = self.body(object, &view.dot);
        view.context = self.context(object, Register::Body, &view.context);
    }

    /// What a draft or a pin is of now. What lost a conflict and is gone was of the object.
    fn key(&self, key: &DraftKey) -> DraftKey {
        let version = key.version.map(|dot| self.body(&key.object, &dot)).filter(|dot| !self.is_dropped(dot));
        DraftKey { version, ..*key }
    }
}

impl<S: Snapshot> Node<S> {
    /// Drafts and open files go on from the new names; what is stored of them too.
    pub(super) fn move_drafts(&mut self, id: &CircleId, moved: &Moved) {
        for (key, draft) in self.files.drafts.iter_mut().filter(|(key, _)| key.circle == *id) {
            draft.context = moved.context(&key.object, Register::Body, &draft.context);
            draft.base.iter_mut().for_each(|view| moved.view(&key.object, view));
        }
        for (key, pin) in self.files.pins.iter_mut().filter(|(key, _)| key.circle == *id) {
            pin.view.iter_mut().for_each(|view| moved.view(&key.object, view));
        }
        self.move_stored_drafts(id, moved);
        let open = self.files.drafts.keys().chain(self.files.pins.keys());
        let mut keys: Vec<DraftKey> = open.filter(|key| key.circle == *id).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        for from in keys {
            let to = moved.key(&from);
            if to != from && !self.files.drafts.contains_key(&to) && !self.files.pins.contains_key(&to) {
                self.rename_draft(&from, to);
            }
        }
    }

    fn move_stored_drafts(&mut self, id: &CircleId, moved: &Moved) {
        let (from, to) = keys::of_circle(id);
        let mut stored = Vec::new();
        let read = self.ledger.range(Table::Drafts, &from, &to, &mut |at, value| {
            stored.push((at.to_vec(), Bytes::copy_from_slice(value)));
            true
        });
        if let Err(error) = read {
            log::error!("stored drafts could not be read: {error}");
        }
        for (at, value) in stored {
            let Some((object, version)) = keys::draft_of(&at) else { continue };
            let key = DraftKey { circle: *id, object, version };
            let Some(mut entry) = self.open_draft_entry(id, &value) else { continue };
            let context = moved.context(&object, Register::Body, &entry.context);
            let now = moved.key(&key);
            let free = now == key || !self.is_stored(&now);
            if free && (now != key || context != entry.context) {
                entry.context = context;
                self.ledger.delete(Table::Drafts, at);
                self.put_draft(&now, &entry);
            }
        }
    }

    /// A draft, its handles and what the disk does for it go by another name.
    fn rename_draft(&mut self, from: &DraftKey, to: DraftKey) {
        if let Some(draft) = self.files.drafts.remove(from) {
            self.files.drafts.insert(to, draft);
        }
        if let Some(pin) = self.files.pins.remove(from) {
            self.files.pins.insert(to, pin);
        }
        let handles = self.files.handles.values_mut().map(|open| &mut open.key);
        let inodes = self.files.by_inode.values_mut();
        let asked = self.asked.values_mut().filter_map(|asked| match asked {
            Asked::Chunk(key, ..)
            | Asked::Fold(key, ..)
            | Asked::Fill(key, ..)
            | Asked::Hash(key, ..)
            | Asked::Compare(key, ..) => Some(key),
            _ => None,
        });
        let waiting = self.files.fetches.iter_mut().filter_map(|waiting| waiting.draft());
        for key in handles.chain(inodes).chain(asked).chain(waiting).filter(|key| *key == from) {
            *key = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberKey;

    fn dot(author: u8, incarnation: u32, sequence: u64) -> Dot {
        Dot { author: MemberKey([author; 32]), incarnation, sequence }
    }

    /// Chain 1 was cut from 5 on; of one register, what had been written as 5, 6 and 8 is 2, 3 and 7 of a new chain.
    fn moved() -> Moved {
        let mut moved = Moved::new(BTreeMap::from([(dot(1, 0, 1).chain(), 5), (dot(2, 0, 1).chain(), 1)]));
        for (old, new) in [(5, 2), (6, 3), (8, 7)] {
            moved.note(ObjectId([1; 16]), Register::Body, dot(1, 0, old), dot(1, 9, new));
        }
        moved
    }

    fn context(upto: Vec<Dot>, except: Vec<Dot>) -> Context {
        Context { upto, except }
    }

    #[test]
    fn a_context_covers_what_it_covered_by_the_new_names() {
        let (moved, object) = (moved(), ObjectId([1; 16]));
        let now = moved.context(&object, Register::Body, &context(vec![dot(1, 0, 7), dot(3, 0, 4)], vec![]));
        assert_eq!(now, context(vec![dot(1, 0, 4), dot(1, 9, 3), dot(3, 0, 4)], vec![]));
        assert!(!now.covers(&dot(1, 0, 5)), "what stands under the old number is another version");
        let now =
            moved.context(&object, Register::Body, &context(vec![dot(1, 0, 8)], vec![dot(1, 0, 3), dot(1, 0, 6)]));
        assert_eq!(now, context(vec![dot(1, 0, 4), dot(1, 9, 7)], vec![dot(1, 0, 3), dot(1, 9, 3)]));
        let all = context(vec![dot(1, 0, 8)], vec![]);
        assert_eq!(moved.context(&ObjectId([2; 16]), Register::Body, &all), context(vec![dot(1, 0, 4)], vec![]));
        assert_eq!(moved.context(&object, Register::Place, &all), context(vec![dot(1, 0, 4)], vec![]));
    }

    #[test]
    fn what_was_seen_of_somebody_elses_dropped_history_is_seen_no_more() {
        let (moved, object) = (moved(), ObjectId([1; 16]));
        let now =
            moved.context(&object, Register::Body, &context(vec![dot(1, 0, 4), dot(2, 0, 3)], vec![dot(2, 0, 1)]));
        assert_eq!(now, context(vec![dot(1, 0, 4)], vec![]));
    }

    #[test]
    fn a_draft_goes_on_from_the_new_name() {
        let (moved, object) = (moved(), ObjectId([1; 16]));
        let key = |version| DraftKey { circle: CircleId([0; 32]), object, version };
        assert_eq!(moved.key(&key(Some(dot(1, 0, 6)))), key(Some(dot(1, 9, 3))));
        assert_eq!(moved.key(&key(Some(dot(1, 0, 4)))), key(Some(dot(1, 0, 4))));
        assert_eq!(moved.key(&key(Some(dot(2, 0, 1)))), key(None), "nobody shows that version any more");
        assert_eq!(moved.key(&key(None)), key(None));
    }
}

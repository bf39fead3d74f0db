//! The circle's tree: objects with two registers each, merged alike on every node, and the view that paths walk.
//!
//! State is the set of versions applied; everything shown is a function of it and of what is staged here, never of the
//! order of arrival. The winner of a register is the sibling with the greatest (Lamport time, author, incarnation,
//! sequence). All siblings are kept; of conflicting bodies at most the 64 newest show. Applying costs a step for each
//! sibling of that register, and O(log n) in the size of the tree; merging two directories of one name, or parting
//! them, costs a step for each of their entries. Walks are loops, so depth costs time and never stack.
//!
//! The caller hands in versions whose commit and record were verified, at most one for each dot and register (the hash
//! chain of commits sees to it), and writes only on what it has applied in causal order; then a context covers exactly
//! what its writer saw.

mod census;
mod directory;
mod history;
mod names;
mod object;
mod path;
mod register;
mod slab;
mod view;

#[cfg(test)]
mod model;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::directory::Table;
use self::history::{Had, History};
use self::object::{Object, PackedBody, PackedContent, PackedTorrent, PlaceVersion, Runs, Staged};
use self::register::Stamp;
use self::slab::{Slab, Slot, TableSlot};
use crate::base::{CircleId, EpochId, InfoHash, MemberKey, ObjectId, RecordHash, WallTime};
use crate::wire::record::{Body, Chain, Content, Context, Dot, Place, Value, root_of};

pub use self::history::{Deletion, Older, Trace};
pub use self::path::{Attributes, BodyVersion};

/// One version of one register, as its record and its commit tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its name.
    pub dot: Dot,
    /// Lamport time of its commit.
    pub lamport: u64,
    /// Of which object.
    pub object: ObjectId,
    /// What it supersedes.
    pub context: Context,
    /// The value, which also names the register.
    pub value: Value,
    /// Clock of its commit; stands in the names of conflicts and clashes, and decides nothing.
    pub wall: WallTime,
    /// Its record.
    pub record: RecordHash,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seen {
    /// The object.
    pub object: ObjectId,
    /// The body that lost a conflict and shows beside the object; `None` is the object itself.
    pub version: Option<Dot>,
}

impl Seen {
    /// The object itself.
    pub fn of(object: ObjectId) -> Self {
        Self { object, version: None }
    }
}

/// What may look different than before. It may tell too much, never too little.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Changes {
    /// Names that may lead elsewhere, by the inode of their directory.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Inodes whose attributes or content may differ, or that are new or gone.
    pub inodes: Vec<u64>,
    /// Torrents that no living body named before.
    pub torrents_added: Vec<InfoHash>,
    /// Torrents that no living body names any more.
    pub torrents_removed: Vec<InfoHash>,
}

/// How often concurrency showed, as applied here.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Moves closed a cycle of directories.
    pub move_cycles: u64,
    /// An object came to a name that another claims.
    pub name_clashes: u64,
    /// A body came to live beside another that it did not see.
    pub edit_edit: u64,
    /// A body lived on though its object was deleted.
    pub edit_delete: u64,
}

/// See the module.
pub struct Tree {
    ids: BTreeMap<ObjectId, Slot>,
    objects: Slab<Slot, Object>,
    tables: Slab<TableSlot, Table>,
    /// By the place that they name, objects that show under the root until it is a directory.
    orphans: BTreeSet<(Slot, Slot)>,
    /// By inode, the bodies that show beside their objects.
    conflicts: BTreeMap<u64, (Slot, Dot)>,
    torrents: BTreeSet<(InfoHash, Slot)>,
    history: History,
    authors: BTreeMap<MemberKey, String>,
    epochs: Vec<EpochId>,
    epoch_numbers: BTreeMap<EpochId, u32>,
    chains: BTreeMap<Chain, Arc<Chain>>,
    last_stamp: Option<Arc<Stamp>>,
    alive: usize,
    known: usize,
    counts: Counts,
    work: Work,
}

/// What one change has still to do, and what it has changed so far.
#[derive(Default)]
struct Work {
    queue: Vec<Slot>,
    entries: Vec<(u64, Arc<[u8]>)>,
    changes: Changes,
}

impl Tree {
    /// The empty tree of a circle: its root, which always lives and has no registers.
    pub fn new(circle: &CircleId) -> Self {
        let mut tree = Self {
            ids: BTreeMap::new(),
            objects: Slab::new(),
            tables: Slab::new(),
            orphans: BTreeSet::new(),
            conflicts: BTreeMap::new(),
            torrents: BTreeSet::new(),
            history: History::default(),
            authors: BTreeMap::new(),
            epochs: Vec::new(),
            epoch_numbers: BTreeMap::new(),
            chains: BTreeMap::new(),
            last_stamp: None,
            alive: 0,
            known: 0,
            counts: Counts::default(),
            work: Work::default(),
        };
        let root = tree.intern(root_of(circle));
        let table = tree.tables.insert(Table { primary: Some(root), ..Table::default() });
        tree.objects[root].table = Some(table);
        tree
    }

    /// Names an author in the names of conflicts and clashes; until then eight digits of the key do.
    pub fn set_author_name(&mut self, author: MemberKey, name: &str) -> Changes {
        let name = names::author(name);
        if self.authors.get(&author) == Some(&name) {
            return Changes::default();
        }
        self.authors.insert(author, name);
        self.shade_anew();
        self.finish()
    }

    /// Takes in a version, from anybody, in any order, any number of times.
    ///
    /// Ignored are versions of the root, of an object whose inode number would be 0 or 1, and those with contexts that
    /// name more than [`CHAINS`](crate::base::limits::CHAINS) chains or exceptions.
    pub fn apply(&mut self, version: Version) -> Changes {
        let Version { dot, lamport, object, context, value, wall, record } = version;
        let bounded = register::is_bounded(&context)
            && match &value {
                Value::Place(place) => place.deleted.as_ref().is_none_or(register::is_bounded),
                Value::Body(_) => true,
            };
        if !bounded || !self.admits(&object) {
            return Changes::default();
        }
        let stamp = self.stamp(dot, lamport, wall);
        let slot = self.intern(object);
        match value {
            Value::Place(place) => {
                let parent = self.intern(place.parent);
                let version = PlaceVersion::new(stamp, parent, place.name.as_bytes(), context, place.deleted);
                if !self.objects[slot].place.knows(&version) {
                    self.change(slot, |object| {
                        object.place.apply(version);
                        object.unstage_place();
                    });
                }
                self.forget(parent);
            }
            Value::Body(body) => {
                let content = self.pack(&body.content);
                let version = PackedBody::new(stamp, record, context, &body, content);
                let had = Had::of(&self.objects[slot], &version);
                if !self.objects[slot].body.knows(&version) {
                    self.change(slot, |object| {
                        object.body.apply(version);
                        object.unstage_body();
                    });
                }
                self.remember(slot, had);
                self.note_gone(slot);
                self.note_orphan(slot);
            }
        }
        self.finish_with(slot)
    }

    /// Shows what is not published yet, here only: newer than all that is. Staging again replaces it; a published
    /// version replaces the part that is its register's.
    pub fn stage(&mut self, object: ObjectId, place: Place, body: Body) -> Changes {
        if !self.admits(&object) {
            return Changes::default();
        }
        let slot = self.intern(object);
        let parent = self.intern(place.parent);
        let chain = Arc::new(Chain { author: MemberKey([0; 32]), incarnation: 0 });
        let stamp = Arc::new(Stamp { staged: true, lamport: u64::MAX, chain, sequence: 0, wall: body.mtime });
        let place_version =
            PlaceVersion::new(stamp.clone(), parent, place.name.as_bytes(), Context::default(), place.deleted.clone());
        let content = self.pack(&body.content);
        let body_version = PackedBody::new(stamp, RecordHash([0; 32]), Context::default(), &body, content);
        self.change(slot, |object| {
            object.staged = Some(Box::new(Staged {
                place,
                body,
                place_version: Some(place_version),
                body_version: Some(body_version),
            }));
        });
        self.finish_with(slot)
    }

    /// Forgets what was staged.
    pub fn unstage(&mut self, object: ObjectId) -> Changes {
        let Some(slot) = self.slot(&object).filter(|slot| self.objects[*slot].staged.is_some()) else {
            return Changes::default();
        };
        self.change(slot, |object| object.staged = None);
        self.finish_with(slot)
    }

    /// Objects that show, without the root; directories that show as one are counted each.
    pub fn len(&self) -> usize {
        self.alive
    }

    /// True when nothing shows.
    pub fn is_empty(&self) -> bool {
        self.alive == 0
    }

    /// Objects of which a version is known, the dead included.
    pub fn object_count(&self) -> usize {
        self.known
    }

    /// See [`Counts`].
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Tree {
    fn admits(&self, object: &ObjectId) -> bool {
        *object != self.root() && object.inode() > 1
    }

    fn slot(&self, object: &ObjectId) -> Option<Slot> {
        self.ids.get(object).copied()
    }

    fn intern(&mut self, object: ObjectId) -> Slot {
        let objects = &mut self.objects;
        *self.ids.entry(object).or_insert_with(|| objects.insert(Object::new(object)))
    }

    /// Gives back what was kept for an object of which nothing is known and that no place names.
    fn forget(&mut self, slot: Slot) {
        if slot != Slot::ROOT
            && self.ids.get(&self.objects[slot].id) == Some(&slot)
            && self.objects[slot].is_forgettable()
        {
            let object = self.objects.remove(slot);
            self.ids.remove(&object.id);
            if let Some(table) = object.table {
                self.tables.remove(table);
            }
        }
    }

    /// The stamp of a commit; the versions of one commit come together and share it.
    fn stamp(&mut self, dot: Dot, lamport: u64, wall: WallTime) -> Arc<Stamp> {
        let last = self.last_stamp.as_ref();
        if let Some(last) = last.filter(|last| last.dot() == dot && last.lamport == lamport && last.wall == wall) {
            return last.clone();
        }
        let chain = self.chains.entry(dot.chain()).or_insert_with(|| Arc::new(dot.chain())).clone();
        let stamp = Arc::new(Stamp { staged: false, lamport, chain, sequence: dot.sequence, wall });
        self.last_stamp = Some(stamp.clone());
        stamp
    }

    fn pack(&mut self, content: &Content) -> PackedContent {
        match content {
            Content::None => PackedContent::None,
            Content::Inline(bytes) => PackedContent::Inline(Box::new(bytes.clone())),
            Content::Torrent(torrent) => {
                let runs = match torrent.runs[..] {
                    [(chunks, epoch)] => Runs::One(chunks, self.epoch_number(&epoch)),
                    _ => Runs::Many(torrent.runs.iter().map(|(chunks, e)| (*chunks, self.epoch_number(e))).collect()),
                };
                PackedContent::Torrent(Box::new(PackedTorrent {
                    info_hash: torrent.info_hash,
                    tags: torrent.tags,
                    runs,
                }))
            }
        }
    }

    fn epoch_number(&mut self, epoch: &EpochId) -> u32 {
        if let Some(number) = self.epoch_numbers.get(epoch) {
            return *number;
        }
        let number = u32::try_from(self.epochs.len()).expect("memory ends before 2^32 epochs");
        self.epochs.push(*epoch);
        self.epoch_numbers.insert(*epoch, number);
        number
    }

    /// Changes an object's registers by `mutate`, and the view with them.
    fn change(&mut self, slot: Slot, mutate: impl FnOnce(&mut Object)) {
        let key = self.objects[slot].winner().map(|winner| (winner.name.clone(), winner.stamp.clone()));
        let parent = self.objects[slot].winner().map(|winner| winner.parent);
        if let Some(key) = &key {
            self.hide_conflicts(slot, key);
        }
        let before = Before::of(&self.objects[slot]);
        self.unnote_gone(slot);
        let cycle = self.mend_cycle(slot);
        let parents = self.objects[slot].parents();
        for parent in &parents {
            self.objects[*parent].pointed -= 1;
        }
        mutate(&mut self.objects[slot]);
        for parent in self.objects[slot].parents() {
            self.objects[parent].pointed += 1;
        }
        let now = self.objects[slot].winner().map(|winner| (winner.parent, &winner.name, &winner.stamp));
        if now != parent.zip(key.as_ref()).map(|(parent, (name, stamp))| (parent, name, stamp)) {
            if let Some(key) = &key {
                self.detach(slot, key);
            }
            if let Some(parent) = parent {
                self.orphans.remove(&(parent, slot));
            }
        }
        if before.takes_others != self.objects[slot].is_place_for_others() {
            self.queue_children(slot);
        }
        if self.cut_cycle(slot) && !cycle {
            self.counts.move_cycles += 1;
        }
        self.work.queue.push(slot);
        self.settle_all();
        self.show_conflicts(slot);
        self.touch_inode(slot);
        let after = Before::of(&self.objects[slot]);
        self.tell(slot, &before, &after);
        for parent in parents.into_iter().filter(|parent| *parent != slot) {
            self.forget(parent);
        }
    }

    /// Counts, and tells which torrents came and went.
    fn tell(&mut self, slot: Slot, before: &Before, after: &Before) {
        self.known = self.known + usize::from(after.known) - usize::from(before.known);
        self.counts.edit_edit += u64::from(after.visible > 1 && after.visible > before.visible);
        self.counts.edit_delete += u64::from(after.outlives && !before.outlives);
        for torrent in after.torrents.difference(&before.torrents) {
            if self.holders_of(torrent) == 0 {
                self.work.changes.torrents_added.push(*torrent);
            }
            self.torrents.insert((*torrent, slot));
        }
        for torrent in before.torrents.difference(&after.torrents) {
            self.torrents.remove(&(*torrent, slot));
            if self.holders_of(torrent) == 0 {
                self.work.changes.torrents_removed.push(*torrent);
            }
        }
    }

    /// 0 or 1: whether any object holds the torrent.
    fn holders_of(&self, torrent: &InfoHash) -> usize {
        self.torrents.range((*torrent, Slot::ROOT)..=(*torrent, Slot::LAST)).take(1).count()
    }

    /// A name may lead elsewhere. It is told for every directory that shows as this one, since each may be open.
    fn touch(&mut self, table: TableSlot, name: &Arc<[u8]>) {
        let Some(primary) = self.tables[table].primary else { return };
        let others = self.siblings_of(primary).into_iter().filter(|slot| *slot != primary).take(TOLD_MERGED);
        for slot in others.chain([primary]) {
            self.work.entries.push((self.objects[slot].id.inode(), name.clone()));
        }
    }

    fn touch_inode(&mut self, slot: Slot) {
        self.work.changes.inodes.push(self.objects[slot].id.inode());
    }

    fn finish_with(&mut self, slot: Slot) -> Changes {
        let changes = self.finish();
        self.forget(slot);
        changes
    }

    /// What the change came to.
    fn finish(&mut self) -> Changes {
        let Work { mut entries, mut changes, .. } = std::mem::take(&mut self.work);
        entries.sort_unstable();
        entries.dedup();
        changes.entries = entries.into_iter().map(|(inode, name)| (inode, name.to_vec())).collect();
        changes.inodes.sort_unstable();
        changes.inodes.dedup();
        changes
    }

    fn author_of(&self, stamp: &Stamp) -> String {
        if stamp.staged {
            return "unpublished".into();
        }
        let author = &stamp.chain.author;
        self.authors.get(author).cloned().unwrap_or_else(|| author.to_string())
    }
}

/// What a change compares of an object.
struct Before {
    known: bool,
    takes_others: bool,
    visible: usize,
    outlives: bool,
    torrents: BTreeSet<InfoHash>,
}

impl Before {
    fn of(object: &Object) -> Self {
        let visible = object.visible().count();
        Self {
            known: !object.place.is_empty() || !object.body.is_empty() || object.staged.is_some(),
            takes_others: object.is_place_for_others(),
            visible,
            outlives: visible > 0
                && object
                    .place
                    .siblings()
                    .iter()
                    .any(|place| place.deleted().is_some_and(|d| *d != Context::default())),
            torrents: object.visible().filter_map(PackedBody::info_hash).collect(),
        }
    }
}

/// Of more directories that show as one than this, names that change are told for the oldest only.
const TOLD_MERGED: usize = 64;

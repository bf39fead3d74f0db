//! What no longer shows: bodies that were replaced or deleted, and the places where deleted objects last were.
//!
//! A body of a file or a symlink that was applied is in exactly one of two places: it shows (the object's own or the loser
//! of a conflict), or it is here. Like what shows, this is a function of the versions applied, whatever their order. A
//! replaced body takes 56 bytes and its part of the map's nodes; its value stays in its record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Tree;
use super::names;
use super::object::{Object, PackedBody, PackedContent};
use super::slab::Slot;
use crate::base::limits::DEPTH_MAX;
use crate::base::{MemberKey, ObjectId, WallTime};
use crate::wire::record::{Chain, Context, Dot, Kind};

/// A body that no longer shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Older {
    /// Of which object.
    pub object: ObjectId,
    /// Its name.
    pub dot: Dot,
    /// Lamport time of its commit.
    pub lamport: u64,
    /// Clock of its commit.
    pub wall: WallTime,
    /// Bytes of plaintext.
    pub size: u64,
    /// File or symlink.
    pub kind: Kind,
    /// Equal for equal contents, and but for chance for no others.
    pub mark: u64,
}

/// What a path leads to, and ever led to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Directories, those that show first.
    pub directories: Vec<ObjectId>,
    /// Files and symlinks, those that show first.
    pub files: Vec<ObjectId>,
}

/// How an object came to show no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deletion {
    /// Who deleted it.
    pub author: MemberKey,
    /// Clock of the commit that did.
    pub wall: WallTime,
}

/// What is kept of replaced bodies, and where deleted objects last were.
#[derive(Default)]
pub(super) struct History {
    replaced: BTreeMap<(Slot, u32, u64), Fact>,
    chains: Vec<Chain>,
    numbers: BTreeMap<Chain, u32>,
    /// Objects that do not show, by the directory and the name of their newest place.
    gone: BTreeSet<(Slot, Arc<[u8]>, Slot)>,
}

/// What is remembered of a replaced body.
#[derive(Clone, Copy)]
struct Fact {
    lamport: u64,
    wall: WallTime,
    size: u64,
    mark: u64,
    kind: Kind,
}

impl Fact {
    /// What is known of a body at no cost: of an inline one the mark is to come.
    fn unmarked(body: &PackedBody) -> Self {
        Self {
            lamport: body.stamp.lamport,
            wall: body.stamp.wall,
            size: body.size,
            mark: match &body.content {
                PackedContent::None | PackedContent::Inline(_) => 0,
                PackedContent::Torrent(torrent) => start(&torrent.info_hash.0),
            },
            kind: body.kind,
        }
    }

    fn of(body: &PackedBody) -> Self {
        let inline = if let PackedContent::Inline(bytes) = &body.content { Some(bytes.as_ref()) } else { None };
        Self::unmarked(body).marked(inline)
    }

    fn marked(self, inline: Option<&Bytes>) -> Self {
        Self { mark: inline.map_or(self.mark, |bytes| start(&Sha256::digest(bytes))), ..self }
    }

    fn older(&self, object: ObjectId, dot: Dot) -> Older {
        let Fact { lamport, wall, size, mark, kind } = *self;
        Older { object, dot, lamport, wall, size, kind, mark }
    }
}

/// The number that the first eight bytes of a hash are.
fn start(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The bodies that a register had before a version came, and that one.
pub(super) struct Had(Vec<(Dot, Fact, Option<Bytes>)>);

impl Had {
    /// Those of `object`, and the one that comes. Directories have nothing to go back to.
    pub(super) fn of(object: &Object, comes: &PackedBody) -> Self {
        let bodies = object.body.siblings().iter().chain([comes]).filter(|body| body.kind != Kind::Directory);
        let had = bodies.map(|body| {
            let inline =
                if let PackedContent::Inline(bytes) = &body.content { Some(bytes.as_ref().clone()) } else { None };
            (body.stamp.dot(), Fact::unmarked(body), inline)
        });
        Self(had.collect())
    }
}

impl Tree {
    /// Remembers those that the register has no more.
    pub(super) fn remember(&mut self, slot: Slot, had: Had) {
        for (dot, fact, inline) in had.0 {
            if self.objects[slot].body_at(&dot).is_some() {
                continue;
            }
            let fact = fact.marked(inline.as_ref());
            let history = &mut self.history;
            let number = *history.numbers.entry(dot.chain()).or_insert_with(|| {
                history.chains.push(dot.chain());
                u32::try_from(history.chains.len() - 1).expect("chains are limited")
            });
            history.replaced.insert((slot, number, dot.sequence), fact);
        }
    }

    /// Takes an object out of what is gone, by the place that it has now.
    pub(super) fn unnote_gone(&mut self, slot: Slot) {
        let Some(winner) = self.objects[slot].winner().filter(|_| !self.history.gone.is_empty()) else { return };
        for parent in [winner.parent, Slot::ROOT] {
            self.history.gone.remove(&(parent, winner.name.clone(), slot));
        }
    }

    /// Notes where an object was that does not show.
    pub(super) fn note_gone(&mut self, slot: Slot) {
        self.unnote_gone(slot);
        if self.is_gone(slot)
            && let (Some(parent), Some(winner)) = (self.parent_of(slot), self.objects[slot].winner())
        {
            let key = (parent, winner.name.clone(), slot);
            self.history.gone.insert(key);
        }
    }

    /// True for what had a place and a body, and does not show.
    pub(super) fn is_gone(&self, slot: Slot) -> bool {
        let object = &self.objects[slot];
        let known = object.kind().is_some() || self.has_replaced(slot);
        slot != Slot::ROOT && object.attached.is_none() && object.winner().is_some() && known
    }

    /// What is gone from an object that begins or ceases to be a directory.
    pub(super) fn gone_children(&self, slot: Slot) -> Vec<Slot> {
        self.gone_in(slot).map(|(_, child)| child).collect()
    }

    fn gone_in(&self, slot: Slot) -> impl Iterator<Item = (&Arc<[u8]>, Slot)> {
        let from = (slot, Arc::from(&[][..]), Slot::ROOT);
        self.history.gone.range(from..).take_while(move |key| key.0 == slot).map(|key| (&key.1, key.2))
    }

    fn has_replaced(&self, slot: Slot) -> bool {
        self.history.replaced.range((slot, 0, 0)..=(slot, u32::MAX, u64::MAX)).next().is_some()
    }

    fn older_in(&self, slot: Slot) -> impl Iterator<Item = Older> {
        let object = &self.objects[slot];
        let replaced = self.history.replaced.range((slot, 0, 0)..=(slot, u32::MAX, u64::MAX));
        let replaced = replaced.map(move |((_, number, sequence), fact)| {
            let Chain { author, incarnation } = self.history.chains[*number as usize];
            fact.older(object.id, Dot { author, incarnation, sequence: *sequence })
        });
        let shown: Vec<Dot> = object.visible().map(|body| body.stamp.dot()).collect();
        let dead = object.body.siblings().iter().filter(|body| body.kind != Kind::Directory);
        let dead = dead.filter(move |body| !shown.contains(&body.stamp.dot()));
        replaced.chain(dead.map(move |body| Fact::of(body).older(object.id, body.stamp.dot())))
    }

    fn has_older(&self, slot: Slot) -> bool {
        self.older_in(slot).next().is_some()
    }

    /// The bodies of an object that no longer show, oldest first.
    pub fn older(&self, object: &ObjectId) -> Vec<Older> {
        let mut found: Vec<Older> = self.slot(object).into_iter().flat_map(|slot| self.older_in(slot)).collect();
        found.sort_by_key(|older| (older.lamport, older.dot));
        found
    }

    /// True when an object shows a body, as its own or as the loser of a conflict.
    pub fn holds(&self, object: &ObjectId, dot: &Dot) -> bool {
        let slot = self.slot(object).filter(|slot| self.shows(*slot));
        slot.is_some_and(|slot| self.objects[slot].visible().any(|body| body.stamp.dot() == *dot))
    }

    /// Bodies that were replaced, over all objects; those of deleted objects come besides.
    pub fn replaced_count(&self) -> usize {
        self.history.replaced.len()
    }

    /// The mark of what shows under an object's own name, as [`Older::mark`], with its size and kind.
    pub fn shown_mark(&self, object: &ObjectId) -> Option<(Kind, u64, u64)> {
        let slot = self.slot(object).filter(|slot| self.shows(*slot))?;
        let fact = Fact::of(self.objects[slot].shown_body()?);
        Some((fact.kind, fact.size, fact.mark))
    }

    /// The circle's root, to walk from.
    pub fn trace_root(&self) -> Trace {
        Trace { directories: vec![self.root()], files: Vec::new() }
    }

    /// What had `name` in these directories, and what has it now.
    pub fn trace(&self, directories: &[ObjectId], name: &[u8]) -> Trace {
        let mut trace = Trace::default();
        let mut seen = BTreeSet::new();
        let slots: Vec<Slot> = directories.iter().filter_map(|directory| self.slot(directory)).collect();
        let live = slots.iter().filter_map(|slot| self.objects[*slot].table);
        let live = live.filter_map(|table| self.tables[table].claims.get(name)).flat_map(|claim| claim.slots());
        let name: Arc<[u8]> = name.into();
        let gone = slots.iter().flat_map(|slot| {
            let (from, to) = ((*slot, name.clone(), Slot::ROOT), (*slot, name.clone(), Slot::LAST));
            self.history.gone.range(from..=to).map(|key| key.2)
        });
        for slot in live.chain(gone).filter(|slot| seen.insert(*slot)) {
            let object = &self.objects[slot];
            let among = if object.is_directory() { &mut trace.directories } else { &mut trace.files };
            among.push(object.id);
        }
        trace
    }

    /// Up to `limit` names after `after`, in byte order, of what these directories have or had: directories, and what has
    /// a body that no longer shows.
    pub fn trace_names(&self, directories: &[ObjectId], after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        let mut names = BTreeSet::new();
        for slot in directories.iter().filter_map(|directory| self.slot(directory)) {
            let later = |name: &Arc<[u8]>| after.is_none_or(|after| **name > *after);
            let claims = self.objects[slot].table.map(|table| &self.tables[table].claims);
            let live = claims.into_iter().flatten().filter(|(name, _)| later(name)).filter(|(_, claim)| {
                claim.slots().iter().any(|slot| self.objects[*slot].as_directory || self.has_older(*slot))
            });
            names.extend(live.take(limit).map(|(name, _)| name.to_vec()));
            let mut last: Option<&Arc<[u8]>> = None;
            let gone = self.gone_in(slot).filter(|(name, child)| {
                let full = !self.objects[*child].is_directory() || self.gone_in(*child).next().is_some();
                let shown = later(name) && full && (self.objects[*child].is_directory() || self.has_older(*child));
                // Of one name there may be thousands.
                shown && last.replace(*name) != Some(*name)
            });
            names.extend(gone.take(limit).map(|(name, _)| name.to_vec()));
        }
        names.into_iter().take(limit).collect()
    }

    /// The names from the root to an object, by the newest places of all on the way; what shows may show elsewhere, where
    /// names clash. `None` for what never had a place.
    pub fn last_path(&self, object: &ObjectId) -> Option<Vec<Vec<u8>>> {
        let mut slot = self.slot(object)?;
        let mut path = Vec::new();
        while slot != Slot::ROOT {
            if path.len() > DEPTH_MAX * 2 {
                return None;
            }
            path.push(self.objects[slot].winner()?.name.to_vec());
            slot = self.parent_of(slot)?;
        }
        path.reverse();
        Some(path)
    }

    /// Files and symlinks that do not show and have bodies.
    pub fn gone(&self) -> impl Iterator<Item = ObjectId> {
        let gone = self.history.gone.iter().map(|key| key.2).filter(|slot| !self.objects[*slot].is_directory());
        gone.filter(|slot| self.has_older(*slot)).map(|slot| self.objects[slot].id)
    }

    /// Who deleted an object that does not show; `None` when it shows, or nobody deleted it by its newest place.
    pub fn deletion(&self, object: &ObjectId) -> Option<Deletion> {
        let slot = self.slot(object).filter(|slot| !self.shows(*slot))?;
        let winner = self.objects[slot].winner()?;
        winner.deleted().filter(|deleted| **deleted != Context::default())?;
        Some(Deletion { author: winner.stamp.chain.author, wall: winner.stamp.wall })
    }

    /// What an author is called in names.
    pub fn author_name(&self, author: &MemberKey) -> String {
        self.authors.get(author).cloned().unwrap_or_else(|| author.to_string())
    }

    /// The inode number of the view of what has, or had, the place of this object.
    pub fn trace_inode(object: &ObjectId) -> u64 {
        object.inode() ^ TRACE_SALT
    }

    /// The inode number of a body that no longer shows.
    pub fn older_inode(object: &ObjectId, dot: &Dot) -> u64 {
        let hash = names::conflict_inode(object, dot);
        (object.inode() & PREFIX | hash & !PREFIX) ^ OLDER_SALT
    }

    /// The object whose place has this inode number in the view.
    pub fn by_trace_inode(&self, inode: u64) -> Option<ObjectId> {
        self.between(inode ^ TRACE_SALT, inode ^ TRACE_SALT).next().map(|(id, _)| id)
    }

    /// The body that no longer shows and has this inode number.
    pub fn by_older_inode(&self, inode: u64) -> Option<Older> {
        let prefix = (inode ^ OLDER_SALT) & PREFIX;
        let mut found = self.between(prefix, prefix | !PREFIX).flat_map(|(_, slot)| self.older_in(slot));
        found.find(|older| Self::older_inode(&older.object, &older.dot) == inode)
    }

    fn between(&self, low: u64, high: u64) -> impl Iterator<Item = (ObjectId, Slot)> {
        let (mut from, mut to) = ([0; 16], [0xff; 16]);
        from[..8].copy_from_slice(&low.to_be_bytes());
        to[..8].copy_from_slice(&high.to_be_bytes());
        self.ids.range(ObjectId(from)..=ObjectId(to)).map(|(id, slot)| (*id, *slot))
    }
}

/// Part of an object's inode number that the numbers of its older bodies share: few others have it.
const PREFIX: u64 = 0xffff_ff00_0000_0000;
/// Keep the view's numbers apart from those of the tree, but for chance.
const TRACE_SALT: u64 = 0x9e37_79b9_7f4a_7c15;
const OLDER_SALT: u64 = 0xc2b2_ae3d_27d4_eb4f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_body_is_small() {
        assert!(size_of::<((Slot, u32, u64), Fact)>() <= 56);
    }
}

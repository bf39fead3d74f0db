//! The view, kept up to date: which objects live, which directory each is attached to, and where cycles are cut.
//!
//! An object is attached to the directory that its newest move names; to the root when that is no directory that is
//! known, or when the move is the newest of a cycle. What lives is attached; what is attached makes its directory live.

use super::Tree;
use super::directory::{Key, Table};
use super::names::conflict_inode;
use super::register::Sibling;
use super::slab::Slot;

impl Tree {
    /// Brings the view up to date with all queued objects, and with what follows for their directories.
    pub(super) fn settle_all(&mut self) {
        while let Some(slot) = self.work.queue.pop() {
            self.settle(slot);
        }
    }

    fn settle(&mut self, slot: Slot) {
        if slot == Slot::ROOT {
            return;
        }
        let object = &self.objects[slot];
        let directory = object.is_directory();
        let alive = object.has_visible() || (directory && object.live > 0);
        let wanted = if alive { self.parent_of(slot) } else { None };
        if object.attached != wanted || (wanted.is_some() && object.as_directory != directory) {
            if object.attached.is_some() {
                let key = self.key(slot);
                self.detach(slot, &key);
            }
            if let Some(parent) = wanted {
                self.attach(slot, parent, directory);
            }
        }
        self.note_gone(slot);
        self.note_orphan(slot);
        let object = &self.objects[slot];
        if object.attached.is_none()
            && object.live == 0
            && let Some(table) = self.objects[slot].table.take()
        {
            self.tables.remove(table);
        }
    }

    /// The directory that an object belongs in, if it has a place.
    pub(super) fn parent_of(&self, slot: Slot) -> Option<Slot> {
        let object = &self.objects[slot];
        let parent = object.winner()?.parent;
        Some(if object.cut || !self.takes_others(parent) { Slot::ROOT } else { parent })
    }

    fn takes_others(&self, slot: Slot) -> bool {
        slot == Slot::ROOT || self.objects[slot].is_place_for_others()
    }

    fn attach(&mut self, slot: Slot, parent: Slot, directory: bool) {
        if directory && self.objects[slot].table.is_none() {
            self.objects[slot].table = Some(self.tables.insert(Table { primary: Some(slot), ..Table::default() }));
        }
        if self.objects[parent].table.is_none() {
            self.objects[parent].table = Some(self.tables.insert(Table { primary: Some(parent), ..Table::default() }));
        }
        let table = self.table_of(parent);
        let object = &mut self.objects[slot];
        object.attached = Some(parent);
        object.as_directory = directory;
        self.objects[parent].live += 1;
        self.objects[parent].live_directories += u32::from(directory);
        self.alive += 1;
        self.claim(table, slot);
        self.objects[slot].was_shown = true;
        self.show_conflicts(slot);
        self.work.queue.push(parent);
        self.touch_inode(slot);
    }

    /// Takes an object out of the directory where it was by `key`.
    pub(super) fn detach(&mut self, slot: Slot, key: &Key) {
        let Some(parent) = self.objects[slot].attached else { return };
        self.hide_conflicts(slot, key);
        let table = self.table_of(parent);
        self.unclaim(table, slot, key);
        self.objects[slot].attached = None;
        let directory = std::mem::take(&mut self.objects[slot].as_directory);
        self.objects[parent].live -= 1;
        self.objects[parent].live_directories -= u32::from(directory);
        self.alive -= 1;
        self.work.queue.push(parent);
        self.touch_inode(slot);
    }

    /// Shows the losers of a conflict beside the winner, where the object is attached.
    pub(super) fn show_conflicts(&mut self, slot: Slot) {
        let object = &self.objects[slot];
        let (Some(parent), false) = (object.attached, object.shaded) else { return };
        let dots: Vec<_> = object.losers().map(|body| body.stamp.dot()).collect();
        if dots.is_empty() {
            return;
        }
        self.objects[slot].shaded = true;
        let table = self.table_of(parent);
        self.shade_conflicts(table, slot, &self.key(slot), true);
        for dot in dots {
            let inode = conflict_inode(&self.objects[slot].id, &dot);
            self.conflicts.insert(inode, (slot, dot));
            self.work.changes.inodes.push(inode);
        }
    }

    /// Hides what [`Self::show_conflicts`] showed, before anything changes.
    pub(super) fn hide_conflicts(&mut self, slot: Slot, key: &Key) {
        let object = &self.objects[slot];
        let (Some(parent), true) = (object.attached, object.shaded) else { return };
        let dots: Vec<_> = object.losers().map(|body| body.stamp.dot()).collect();
        let table = self.table_of(parent);
        self.shade_conflicts(table, slot, key, false);
        self.objects[slot].shaded = false;
        for dot in dots {
            let inode = conflict_inode(&self.objects[slot].id, &dot);
            self.conflicts.remove(&inode);
            self.work.changes.inodes.push(inode);
        }
    }

    /// Remembers who shows, or was last seen, under the root only until its directory is known.
    pub(super) fn note_orphan(&mut self, slot: Slot) {
        let object = &self.objects[slot];
        let Some(parent) = object.winner().map(|winner| winner.parent) else { return };
        if (object.attached.is_some() || self.is_gone(slot)) && !self.takes_others(parent) {
            self.orphans.insert((parent, slot));
        } else {
            self.orphans.remove(&(parent, slot));
        }
    }

    /// Queues everything that is or should be attached to an object that begins or ceases to be a directory.
    pub(super) fn queue_children(&mut self, slot: Slot) {
        self.work.queue.extend(self.orphans.range((slot, Slot::ROOT)..=(slot, Slot::LAST)).map(|(_, child)| *child));
        self.work.queue.extend(self.gone_children(slot));
        if let Some(table) = self.objects[slot].table {
            let claimants = self.tables[table].claims.values().flat_map(|claim| claim.slots());
            self.work.queue.extend(claimants.filter(|child| self.objects[*child].attached == Some(slot)));
        }
    }

    /// Mends the cut of the cycle that an object is in, before the object changes. True when it is in one.
    pub(super) fn mend_cycle(&mut self, slot: Slot) -> bool {
        let cycle = self.cycle_of(slot);
        for member in &cycle {
            if self.objects[*member].cut {
                self.objects[*member].cut = false;
                self.work.queue.push(*member);
            }
        }
        !cycle.is_empty()
    }

    /// Cuts the cycle that an object is in, after it changed, at the newest move. True when it is in one.
    pub(super) fn cut_cycle(&mut self, slot: Slot) -> bool {
        let newest = |member: &Slot| {
            let object = &self.objects[*member];
            (object.winner().map(|winner| winner.stamp().clone()), object.id)
        };
        let Some(member) = self.cycle_of(slot).into_iter().max_by_key(newest) else { return false };
        self.objects[member].cut = true;
        self.work.queue.push(member);
        true
    }

    /// The cycle that an object is in; empty when it is in none.
    ///
    /// Every other cycle is cut at one member, so a walk that comes to a cut member twice has gone around one of those.
    fn cycle_of(&self, slot: Slot) -> Vec<Slot> {
        let mut path = Vec::new();
        let (mut at, mut passed) = (slot, None);
        if self.objects[slot].pointed == 0 {
            return path;
        }
        while at != Slot::ROOT && self.takes_others(at) {
            path.push(at);
            if self.objects[at].cut && at != slot {
                if passed == Some(at) {
                    break;
                }
                passed.get_or_insert(at);
            }
            let Some(winner) = self.objects[at].winner() else { break };
            at = winner.parent;
            if at == slot {
                return path;
            }
        }
        Vec::new()
    }
}

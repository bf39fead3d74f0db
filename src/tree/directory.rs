//! Directories as tables of names: who claims which name, which directories show as one, and the names that nobody gave.
//!
//! A table belongs to all directories that show as one. It holds the attached objects by the name that they claim, and
//! beside them, by every name that it may come to show under, each thing that cannot have its own name (its shade).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Tree;
use super::names;
use super::register::Stamp;
use super::slab::{Slot, TableSlot};
use crate::base::ObjectId;

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    /// The directory that stands for all that show as one.
    pub(super) primary: Option<Slot>,
    pub(super) claims: BTreeMap<Arc<[u8]>, Claim>,
    /// Few directories have any.
    pub(super) shades: Option<Box<Shades>>,
}

/// By each name on its list, every thing that cannot have its own name.
pub(super) type Shades = BTreeMap<Arc<[u8]>, Vec<Shade>>;

/// An object that another keeps from its name, or, with a stamp, a body of it that lost a conflict.
pub(super) type Shade = (Slot, Option<Arc<Stamp>>);

/// The objects that claim one name.
pub(super) enum Claim {
    One(Slot),
    Many(Box<Claimants>),
}

/// Oldest move first.
#[derive(Default)]
pub(super) struct Claimants {
    files: BTreeSet<Claimant>,
    directories: BTreeSet<Claimant>,
}

/// Two objects may be named in one commit; their ids decide then.
type Claimant = (Arc<Stamp>, ObjectId, Slot);

/// The name, and when it was claimed.
pub(super) type Key = (Arc<[u8]>, Arc<Stamp>);

impl Claim {
    /// Who shows under the plain name.
    pub(super) fn holder(&self) -> Slot {
        match self {
            Claim::One(slot) => *slot,
            Claim::Many(many) => {
                let first = many.files.first().into_iter().chain(many.directories.first()).min();
                first.expect("a claim that is kept has claimants").2
            }
        }
    }

    /// Those that a coming or going claimant can give the name to or take it from.
    fn heads(&self) -> Vec<Slot> {
        match self {
            Claim::One(slot) => vec![*slot],
            Claim::Many(many) => {
                many.files.iter().take(2).chain(many.directories.iter().take(2)).map(|claimant| claimant.2).collect()
            }
        }
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        match self {
            Claim::One(slot) => vec![*slot],
            Claim::Many(many) => many.files.iter().chain(&many.directories).map(|claimant| claimant.2).collect(),
        }
    }
}

impl Claimants {
    fn insert(&mut self, claimant: Claimant, directory: bool) {
        let set = if directory { &mut self.directories } else { &mut self.files };
        set.insert(claimant);
    }

    fn into_claim(mut self) -> Option<Claim> {
        match self.files.len() + self.directories.len() {
            0 => None,
            1 => self.files.pop_first().or(self.directories.pop_first()).map(|claimant| Claim::One(claimant.2)),
            _ => Some(Claim::Many(Box::new(self))),
        }
    }
}

impl Tree {
    /// The name that an attached object claims, and since when.
    pub(super) fn key(&self, slot: Slot) -> Key {
        let winner = self.objects[slot].winner().expect("only objects with a place are attached");
        (winner.name.clone(), winner.stamp.clone())
    }

    /// The table of an attached directory.
    pub(super) fn table_of(&self, directory: Slot) -> TableSlot {
        self.objects[directory].table.expect("a directory is given its table before it is attached")
    }

    /// The directory that stands for all that claim this name.
    pub(super) fn primary(&self, claim: &Claim) -> Option<Slot> {
        match claim {
            Claim::One(slot) => self.objects[*slot].as_directory.then_some(*slot),
            Claim::Many(many) => many.directories.first().map(|claimant| claimant.2),
        }
    }

    /// The directories that claim this name and so show as one, the standing one first.
    pub(super) fn directories(&self, claim: &Claim) -> Vec<Slot> {
        match claim {
            Claim::One(slot) => self.objects[*slot].as_directory.then_some(*slot).into_iter().collect(),
            Claim::Many(many) => many.directories.iter().map(|claimant| claimant.2).collect(),
        }
    }

    /// Enters an attached object into `table`.
    pub(super) fn claim(&mut self, table: TableSlot, slot: Slot) {
        let key = self.key(slot);
        let before = self.tables[table].claims.remove(&key.0);
        self.touch(table, &key.0);
        if before.is_some() {
            self.counts.name_clashes += 1;
        } else {
            self.touch_shades_at(table, &key.0);
        }
        let group = before.as_ref().and_then(|claim| self.primary(claim));
        let watched = before.as_ref().map(Claim::heads).unwrap_or_default();
        let was: Vec<bool> = watched.iter().map(|x| before.as_ref().is_some_and(|c| self.clashes(c, *x))).collect();
        let after = match before {
            None => Claim::One(slot),
            Some(claim) => {
                let mut many = self.unfold(claim);
                many.insert(self.claimant(slot), self.objects[slot].as_directory);
                Claim::Many(Box::new(many))
            }
        };
        for (x, was) in watched.into_iter().zip(was).chain([(slot, false)]) {
            let is = self.clashes(&after, x);
            if is != was {
                self.set_shade(table, (x, None), &self.key(x), is);
            }
        }
        let primary = self.primary(&after);
        self.tables[table].claims.insert(key.0, after);
        if self.objects[slot].as_directory
            && let (Some(group), Some(primary)) = (group, primary)
        {
            let (from, into) = (self.table_of(slot), self.table_of(group));
            self.touch_inode(group);
            self.touch_inode(slot);
            self.objects[slot].table = Some(into);
            self.tables[into].primary = Some(primary);
            if self.objects[slot].was_shown || !self.tables[from].claims.is_empty() {
                self.merge_tables(from, into);
            } else {
                // Nobody ever looked into it, and it brings nothing: the names of a great directory are left alone.
                self.tables.remove(from);
            }
        }
    }

    /// Takes an object out of `table`, where it was by `key`.
    pub(super) fn unclaim(&mut self, table: TableSlot, slot: Slot, key: &Key) {
        let (name, stamp) = key;
        self.touch(table, name);
        let Some(before) = self.tables[table].claims.remove(name) else { return };
        // The one that goes comes first, so that no name of its is looked up once it may have another place.
        let mut watched = vec![slot];
        watched.extend(before.heads().into_iter().filter(|x| *x != slot));
        let was: Vec<bool> = watched.iter().map(|x| self.clashes(&before, *x)).collect();
        let after = match before {
            Claim::One(_) => None,
            Claim::Many(mut many) => {
                let claimant = (stamp.clone(), self.objects[slot].id, slot);
                many.files.remove(&claimant);
                many.directories.remove(&claimant);
                many.into_claim()
            }
        };
        for (x, was) in watched.into_iter().zip(was) {
            let is = x != slot && after.as_ref().is_some_and(|claim| self.clashes(claim, x));
            if is != was {
                let key = if x == slot { key.clone() } else { self.key(x) };
                self.set_shade(table, (x, None), &key, is);
            }
        }
        let Some(after) = after else {
            self.touch_shades_at(table, name);
            return;
        };
        let primary = self.primary(&after);
        self.tables[table].claims.insert(name.clone(), after);
        if self.objects[slot].as_directory
            && let Some(primary) = primary
        {
            let shared = self.table_of(slot);
            let own = self.tables.insert(Table { primary: Some(slot), ..Table::default() });
            self.objects[slot].table = Some(own);
            self.touch_inode(slot);
            self.touch_inode(primary);
            self.tables[shared].primary = Some(primary);
            self.split_table(shared, own, BTreeSet::from([slot]));
        }
    }

    /// Moves all of `from` into `into`, and frees `from`; below, directories of one name are merged in turn.
    fn merge_tables(&mut self, from: TableSlot, into: TableSlot) {
        let mut pending = vec![(from, into)];
        while let Some((from, into)) = pending.pop() {
            self.touch_union(from, into);
            let mut small = self.tables.remove(from);
            let large = &mut self.tables[into];
            if small.claims.len() > large.claims.len() {
                std::mem::swap(&mut small.claims, &mut large.claims);
                std::mem::swap(&mut small.shades, &mut large.shades);
            }
            for (name, claim) in small.claims {
                self.shade_conflicts_of(into, &claim, true);
                let Some(other) = self.tables[into].claims.remove(&name) else {
                    self.shade_claim(into, &claim, true);
                    self.tables[into].claims.insert(name, claim);
                    continue;
                };
                self.counts.name_clashes += 1;
                self.shade_claim(into, &other, false);
                let (theirs, ours) = (self.directories(&claim), self.primary(&other));
                let mut many = self.unfold(other);
                for slot in claim.slots() {
                    many.insert(self.claimant(slot), self.objects[slot].as_directory);
                }
                let union = Claim::Many(Box::new(many));
                self.shade_claim(into, &union, true);
                let primary = self.primary(&union);
                self.tables[into].claims.insert(name, union);
                if let (Some(their), Some(our)) = (theirs.first(), ours) {
                    let (theirs_table, ours_table) = (self.table_of(*their), self.table_of(our));
                    self.touch_inode(*their);
                    self.touch_inode(our);
                    for slot in theirs {
                        self.objects[slot].table = Some(ours_table);
                    }
                    self.tables[ours_table].primary = primary;
                    pending.push((theirs_table, ours_table));
                }
            }
        }
    }

    /// Moves what is attached to `leaving` from `shared` to `own`; below, directories are parted in turn.
    fn split_table(&mut self, shared: TableSlot, own: TableSlot, leaving: BTreeSet<Slot>) {
        let mut pending = vec![(shared, own, leaving)];
        while let Some((shared, own, leaving)) = pending.pop() {
            self.touch_union(shared, own);
            if leaving.iter().all(|directory| self.objects[*directory].live == 0) {
                continue;
            }
            let leaves = |slot: &Slot| self.objects[*slot].attached.is_some_and(|parent| leaving.contains(&parent));
            let names = self.tables[shared].claims.iter();
            let names: Vec<Arc<[u8]>> = names
                .filter(|(_, claim)| match claim {
                    Claim::One(slot) => leaves(slot),
                    Claim::Many(_) => claim.slots().iter().any(leaves),
                })
                .map(|(name, _)| name.clone())
                .collect();
            for name in names {
                let Some(claim) = self.tables[shared].claims.remove(&name) else { continue };
                self.shade_claim(shared, &claim, false);
                let (mut go, mut stay) = (Claimants::default(), Claimants::default());
                for slot in claim.slots() {
                    let object = &self.objects[slot];
                    let side = if object.attached.is_some_and(|p| leaving.contains(&p)) { &mut go } else { &mut stay };
                    side.insert(self.claimant(slot), object.as_directory);
                }
                let gone: BTreeSet<Slot> = go.directories.iter().map(|claimant| claimant.2).collect();
                let (first, rest) = (go.directories.first(), stay.directories.first());
                if let (Some(&(.., first)), Some(&(.., rest))) = (first, rest) {
                    let shared_below = self.table_of(rest);
                    let own_below = self.tables.insert(Table { primary: Some(first), ..Table::default() });
                    for slot in &gone {
                        self.objects[*slot].table = Some(own_below);
                    }
                    self.tables[shared_below].primary = Some(rest);
                    self.touch_inode(first);
                    self.touch_inode(rest);
                    pending.push((shared_below, own_below, gone));
                }
                for (table, side) in [(own, go), (shared, stay)] {
                    if let Some(claim) = side.into_claim() {
                        if table == own {
                            self.shade_conflicts_of(shared, &claim, false);
                            self.shade_conflicts_of(own, &claim, true);
                        }
                        self.shade_claim(table, &claim, true);
                        self.tables[table].claims.insert(name.clone(), claim);
                    }
                }
            }
        }
    }

    fn unfold(&self, claim: Claim) -> Claimants {
        match claim {
            Claim::One(slot) => {
                let mut many = Claimants::default();
                many.insert(self.claimant(slot), self.objects[slot].as_directory);
                many
            }
            Claim::Many(many) => *many,
        }
    }

    fn claimant(&self, slot: Slot) -> Claimant {
        (self.key(slot).1, self.objects[slot].id, slot)
    }

    /// True when `slot`, one of the claimants, cannot have the name, and does not show as one with who has it.
    fn clashes(&self, claim: &Claim, slot: Slot) -> bool {
        slot != claim.holder() && (!self.objects[slot].as_directory || self.primary(claim) == Some(slot))
    }

    /// Adds or removes the shades of all claimants that clash.
    fn shade_claim(&mut self, table: TableSlot, claim: &Claim, add: bool) {
        if matches!(claim, Claim::One(_)) {
            return;
        }
        for slot in claim.slots() {
            if self.clashes(claim, slot) {
                self.set_shade(table, (slot, None), &self.key(slot), add);
            }
        }
    }

    /// Adds or removes the shades of all claimants' conflicts.
    fn shade_conflicts_of(&mut self, table: TableSlot, claim: &Claim, add: bool) {
        match claim {
            Claim::One(slot) if !self.objects[*slot].shaded => {}
            _ => {
                for slot in claim.slots().into_iter().filter(|slot| self.objects[*slot].shaded).collect::<Vec<_>>() {
                    self.shade_conflicts(table, slot, &self.key(slot), add);
                }
            }
        }
    }

    /// Adds or removes the shades of one object's conflicts.
    pub(super) fn shade_conflicts(&mut self, table: TableSlot, slot: Slot, key: &Key, add: bool) {
        let losers: Vec<Arc<Stamp>> = self.objects[slot].losers().map(|body| body.stamp.clone()).collect();
        for stamp in losers {
            self.set_shade(table, (slot, Some(stamp)), key, add);
        }
    }

    /// The names that a shade may show under, the best first.
    pub(super) fn shade_names(&self, shade: &Shade, key: &Key) -> Vec<Arc<[u8]>> {
        let id = &self.objects[shade.0].id;
        match &shade.1 {
            None => names::clash(&key.0, &key.1, &self.author_of(&key.1), id),
            Some(stamp) => names::conflict(&key.0, stamp, &self.author_of(stamp), id),
        }
    }

    fn set_shade(&mut self, table: TableSlot, shade: Shade, key: &Key, add: bool) {
        for name in self.shade_names(&shade, key) {
            self.touch(table, &name);
            let shades = self.tables[table].shades.get_or_insert_default();
            let list = shades.entry(name.clone()).or_default();
            let place = list.binary_search(&shade);
            let other = match (add, place) {
                (true, Err(at)) => {
                    list.insert(at, shade.clone());
                    // A name with two contenders shows neither.
                    (list.len() == 2).then(|| list[1 - at].clone())
                }
                (false, Ok(at)) => {
                    list.remove(at);
                    (list.len() == 1).then(|| list[0].clone())
                }
                _ => None,
            };
            if list.is_empty() {
                shades.remove(&name);
            }
            if shades.is_empty() {
                self.tables[table].shades = None;
            }
            if let Some(other) = other {
                self.touch_shade(table, &other);
            }
        }
    }

    /// The name that a shade shows under.
    pub(super) fn shade_name(&self, table: TableSlot, shade: &Shade) -> Option<Arc<[u8]>> {
        let Table { claims, shades, .. } = &self.tables[table];
        let shades = shades.as_ref()?;
        self.shade_names(shade, &self.key(shade.0))
            .into_iter()
            .find(|name| !claims.contains_key(name) && shades.get(name).is_some_and(|list| list[..] == [shade.clone()]))
    }

    /// The shade that shows under `name`, which no object claims.
    pub(super) fn shade_at(&self, table: TableSlot, name: &[u8]) -> Option<&Shade> {
        let [shade] = &self.tables[table].shades.as_ref()?.get(name)?[..] else { return None };
        (self.shade_name(table, shade)?[..] == *name).then_some(shade)
    }

    /// Makes the shades of all tables anew, since an author's name changed.
    pub(super) fn shade_anew(&mut self) {
        let shaded = self.tables.iter().filter(|(_, table)| table.shades.is_some()).map(|(slot, _)| slot);
        for table in shaded.collect::<Vec<_>>() {
            let shades = self.tables[table].shades.take();
            for name in shades.iter().flat_map(|shades| shades.keys()) {
                self.touch(table, name);
            }
            let claims = std::mem::take(&mut self.tables[table].claims);
            for claim in claims.values() {
                self.shade_claim(table, claim, true);
                self.shade_conflicts_of(table, claim, true);
            }
            self.tables[table].claims = claims;
        }
    }

    /// A real name comes or goes: the thing that has it on its list may show under another.
    fn touch_shades_at(&mut self, table: TableSlot, name: &[u8]) {
        let shades = self.tables[table].shades.as_ref();
        if let Some([shade]) = shades.and_then(|shades| shades.get(name)).map(Vec::as_slice) {
            let shade = shade.clone();
            self.touch_shade(table, &shade);
        }
    }

    fn touch_shade(&mut self, table: TableSlot, shade: &Shade) {
        for name in self.shade_names(shade, &self.key(shade.0)) {
            self.touch(table, &name);
        }
    }

    /// All names of both tables may change in the directories of both.
    fn touch_union(&mut self, one: TableSlot, other: TableSlot) {
        let mut names = BTreeSet::new();
        for table in [one, other] {
            let Table { claims, shades, .. } = &self.tables[table];
            names.extend(claims.keys().chain(shades.iter().flat_map(|shades| shades.keys())).cloned());
        }
        for name in names {
            self.touch(one, &name);
            self.touch(other, &name);
        }
    }
}

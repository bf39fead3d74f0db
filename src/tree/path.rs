//! What paths lead to, and what a writer needs to know of it: all that reads the tree.

use std::ops::Bound;

use super::directory::{Claim, Shade, Table};
use super::names;
use super::object::{Object, PackedBody, PackedContent};
use super::register::Sibling;
use super::slab::{Slot, TableSlot};
use super::{Seen, Tree};
use crate::base::{InfoHash, MemberKey, ObjectId, RecordHash, WallTime};
use crate::wire::record::{Body, Content, Context, Dot, Kind, Name, Place, TorrentRef, Xattrs};

/// A version of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyVersion {
    /// Its name; `None` while it is staged.
    pub dot: Option<Dot>,
    /// Lamport time of its commit; 0 while it is staged.
    pub lamport: u64,
    /// What it superseded.
    pub context: Context,
    /// The value.
    pub body: Body,
    /// Its record; zeros while it is staged.
    pub record: RecordHash,
    /// Clock of its commit.
    pub wall: WallTime,
}

/// What stat(2) needs of a body, without its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Last modification.
    pub mtime: WallTime,
    /// Bytes of plaintext.
    pub size: u64,
}

impl Tree {
    /// True while a part of what was staged is not published.
    pub fn is_staged(&self, object: &ObjectId) -> bool {
        self.staged(object).is_some()
    }

    /// What was staged, while a part of it is not published.
    pub fn staged(&self, object: &ObjectId) -> Option<(&Place, &Body)> {
        let staged = self.objects[self.slot(object)?].staged.as_ref()?;
        Some((&staged.place, &staged.body))
    }

    /// True when it has bodies, and nothing ever said where it is.
    pub fn is_unplaced(&self, object: &ObjectId) -> bool {
        self.slot(object).is_some_and(|slot| self.objects[slot].is_unplaced())
    }

    /// True when something says where it is, or was before it was deleted.
    pub fn is_placed(&self, object: &ObjectId) -> bool {
        self.slot(object).is_some_and(|slot| self.objects[slot].winner().is_some())
    }

    /// What nothing ever said the place of, and this author wrote a body of that counts.
    pub fn unplaced_by(&self, author: &MemberKey) -> impl Iterator<Item = ObjectId> {
        let unplaced = self.objects.iter().map(|(_, object)| object).filter(|object| object.is_unplaced());
        let by = |object: &&Object| object.body.siblings().iter().any(|body| body.stamp.dot().author == *author);
        unplaced.filter(by).map(|object| object.id)
    }

    /// The root directory.
    pub fn root(&self) -> ObjectId {
        self.objects[Slot::ROOT].id
    }

    /// What `name` leads to in `directory`.
    pub fn lookup(&self, directory: &ObjectId, name: &[u8]) -> Option<Seen> {
        let table = self.table(directory)?;
        if let Some(claim) = self.tables[table].claims.get(name) {
            return Some(Seen::of(self.objects[claim.holder()].id));
        }
        self.shade_at(table, name).map(|shade| self.seen(shade))
    }

    /// Up to `limit` entries of `directory` after the name `after`, in byte order of the names that they show under.
    pub fn list(&self, directory: &ObjectId, after: Option<&[u8]>, limit: usize) -> Vec<(Box<[u8]>, Seen, Kind)> {
        let Some(table) = self.table(directory) else { return Vec::new() };
        let from: (Bound<&[u8]>, Bound<&[u8]>) = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let Table { claims, shades, .. } = &self.tables[table];
        let named = claims.range::<[u8], _>(from).map(|(name, claim)| (name, (claim.holder(), None)));
        let shaded = shades.iter().flat_map(|shades| shades.range::<[u8], _>(from));
        let shaded = shaded.filter_map(|(name, _)| {
            let free = !claims.contains_key(name);
            free.then(|| self.shade_at(table, name)).flatten().map(|shade| (name, shade.clone()))
        });
        let (mut named, mut shaded) = (named.peekable(), shaded.peekable());
        let next = std::iter::from_fn(|| match (named.peek(), shaded.peek()) {
            (Some((name, _)), Some((shade, _))) if shade < name => shaded.next(),
            (None, _) => shaded.next(),
            _ => named.next(),
        });
        next.take(limit)
            .map(|(name, shade)| {
                let kind = self.objects[shade.0].kind().unwrap_or(Kind::File);
                (Box::from(&name[..]), self.seen(&shade), kind)
            })
            .collect()
    }

    /// What has this inode number and shows. Of two objects with one number the lower id answers.
    pub fn by_inode(&self, inode: u64) -> Option<Seen> {
        let (mut low, mut high) = ([0; 16], [0xff; 16]);
        low[..8].copy_from_slice(&inode.to_be_bytes());
        high[..8].copy_from_slice(&inode.to_be_bytes());
        let mut objects = self.ids.range(ObjectId(low)..=ObjectId(high));
        if let Some((id, _)) = objects.find(|(_, slot)| self.shows(**slot)) {
            return Some(Seen::of(*id));
        }
        self.conflicts.get(&inode).map(|(slot, dot)| Seen { object: self.objects[*slot].id, version: Some(*dot) })
    }

    /// The inode number of what a path led to.
    pub fn inode(&self, seen: &Seen) -> u64 {
        match &seen.version {
            None => seen.object.inode(),
            Some(dot) => names::conflict_inode(&seen.object, dot),
        }
    }

    /// The body of what a path led to; also of what is dead, while its register keeps it.
    pub fn body(&self, seen: &Seen) -> Option<BodyVersion> {
        let body = self.packed(seen)?;
        let staged = body.stamp.staged;
        let content = match &body.content {
            PackedContent::None => Content::None,
            PackedContent::Inline(bytes) => Content::Inline(bytes.as_ref().clone()),
            PackedContent::Torrent(torrent) => Content::Torrent(TorrentRef {
                info_hash: torrent.info_hash,
                runs: torrent.runs.iter().map(|(chunks, epoch)| (chunks, self.epochs[epoch as usize])).collect(),
                tags: torrent.tags,
            }),
        };
        Some(BodyVersion {
            dot: (!staged).then_some(body.stamp.dot()),
            lamport: if staged { 0 } else { body.stamp.lamport },
            context: body.context().cloned().unwrap_or_default(),
            body: Body {
                kind: body.kind,
                mode: body.mode.into(),
                mtime: body.mtime,
                size: body.size,
                content,
                xattrs: body.xattrs(),
            },
            record: body.record,
            wall: body.stamp.wall,
        })
    }

    /// What stat(2) needs, cheaper than [`Self::body`].
    pub fn attributes(&self, seen: &Seen) -> Option<Attributes> {
        let body = self.packed(seen)?;
        Some(Attributes { kind: body.kind, mode: body.mode.into(), mtime: body.mtime, size: body.size })
    }

    /// The extended attributes of what a path led to.
    pub fn xattrs(&self, seen: &Seen) -> Option<Xattrs> {
        self.packed(seen).map(PackedBody::xattrs)
    }

    /// The directory and the name that something shows under; `None` for the root and for what does not show.
    pub fn location(&self, seen: &Seen) -> Option<(ObjectId, Vec<u8>)> {
        let slot = self.slot(&seen.object)?;
        let object = &self.objects[slot];
        let table = self.table_of(object.attached?);
        let parent = self.objects[self.tables[table].primary?].id;
        let loser = seen.version.filter(|dot| object.shown_body().is_none_or(|body| body.stamp.dot() != *dot));
        let shade: Shade = match loser {
            Some(dot) => (slot, Some(object.body_at(&dot)?.stamp.clone())),
            None => {
                let name = &object.winner()?.name;
                let claim = self.tables[table].claims.get(name)?;
                let stands = if object.as_directory { self.primary(claim)? } else { slot };
                if claim.holder() == stands {
                    return Some((parent, name.to_vec()));
                }
                (stands, None)
            }
        };
        self.shade_name(table, &shade).map(|name| (parent, name.to_vec()))
    }

    /// True when it shows: it has a place, and a body that lives or, as a directory, something in it that does.
    pub fn is_alive(&self, object: &ObjectId) -> bool {
        self.slot(object).is_some_and(|slot| self.shows(slot))
    }

    /// Directories that show in a directory.
    pub fn subdirectories(&self, directory: &ObjectId) -> u32 {
        let merged = self.merged(directory);
        let counts = merged.iter().filter_map(|id| self.slot(id)).map(|slot| self.objects[slot].live_directories);
        counts.fold(0, u32::saturating_add)
    }

    /// True when nothing shows in it.
    pub fn is_empty_dir(&self, directory: &ObjectId) -> bool {
        self.table(directory).is_none_or(|table| self.tables[table].claims.is_empty())
    }

    /// Directories above it, the root included; `limit` when they are as many or more.
    pub fn depth(&self, object: &ObjectId, limit: usize) -> usize {
        let mut at = self.slot(object).and_then(|slot| self.objects[slot].attached);
        let mut depth = 0;
        while let Some(parent) = at.filter(|_| depth < limit) {
            depth += 1;
            at = self.objects[parent].attached;
        }
        depth
    }

    /// For a new place of `object`: a context that covers all places seen now, and the dead bodies to carry on in
    /// [`Place::deleted`].
    pub fn place_context(&self, object: &ObjectId) -> (Context, Context) {
        let Some(slot) = self.slot(object) else { return Default::default() };
        let object = &self.objects[slot];
        (object.place.everything(), object.dead())
    }

    /// For a new body in place of exactly this one: covers it and what it superseded, and excepts the other survivors.
    /// A directory shows no losers, so all its bodies are covered.
    pub fn body_context(&self, seen: &Seen) -> Context {
        let Some(slot) = self.slot(&seen.object) else { return Context::default() };
        let object = &self.objects[slot];
        if object.is_directory() {
            return object.body.everything();
        }
        match seen.version.or(object.newest_published()) {
            Some(dot) => object.body.only(&dot),
            None => Context::default(),
        }
    }

    /// For a new body in place of all that there are.
    pub fn all_bodies_context(&self, object: &ObjectId) -> Context {
        self.slot(object).map(|slot| self.objects[slot].body.everything()).unwrap_or_default()
    }

    /// The place that deletes this: only the body that it leads to, so that of a conflict the next one takes the name.
    /// Its context is [`Self::place_context`]'s. `None` when it has no place.
    pub fn delete_place(&self, seen: &Seen) -> Option<Place> {
        let object = &self.objects[self.slot(&seen.object)?];
        let winner = object.winner()?;
        let mut deleted = object.dead();
        deleted.join(&self.body_context(seen));
        let name = Name::new(&winner.name).expect("it was checked when it came");
        Some(Place { parent: self.objects[winner.parent].id, name, deleted: Some(deleted) })
    }

    /// All directories that show as this one, itself first.
    pub fn merged(&self, directory: &ObjectId) -> Vec<ObjectId> {
        let others = self.slot(directory).map(|slot| self.siblings_of(slot)).unwrap_or_default();
        let others = others.into_iter().map(|slot| self.objects[slot].id).filter(|id| id != directory);
        std::iter::once(*directory).chain(others).collect()
    }

    /// The torrents of all bodies that live, those beyond the 64 that show included.
    pub fn torrents(&self) -> impl Iterator<Item = (InfoHash, ObjectId, Dot)> {
        self.objects.iter().flat_map(|(_, object)| {
            object.visible().filter_map(|body| Some((body.info_hash()?, object.id, body.stamp.dot())))
        })
    }

    /// The living bodies that are this torrent.
    pub fn holders(&self, torrent: &InfoHash) -> impl Iterator<Item = (ObjectId, Dot)> {
        let torrent = *torrent;
        self.torrents.range((torrent, Slot::ROOT)..=(torrent, Slot::LAST)).flat_map(move |(_, slot)| {
            let object = &self.objects[*slot];
            let bodies = object.visible().filter(move |body| body.info_hash() == Some(torrent));
            bodies.map(|body| (object.id, body.stamp.dot()))
        })
    }
}

impl Tree {
    pub(super) fn seen(&self, (slot, stamp): &Shade) -> Seen {
        Seen { object: self.objects[*slot].id, version: stamp.as_ref().map(|stamp| stamp.dot()) }
    }

    pub(super) fn shows(&self, slot: Slot) -> bool {
        slot == Slot::ROOT || self.objects[slot].attached.is_some()
    }

    pub(super) fn table(&self, directory: &ObjectId) -> Option<TableSlot> {
        self.objects[self.slot(directory)?].table
    }

    /// The directories that show as one with this one, itself among them; none when it alone shows so.
    pub(super) fn siblings_of(&self, slot: Slot) -> Vec<Slot> {
        let object = &self.objects[slot];
        let (Some(parent), true, Some(winner)) = (object.attached, object.as_directory, object.winner()) else {
            return Vec::new();
        };
        let claim = self.tables[self.table_of(parent)].claims.get(&winner.name);
        match claim {
            Some(claim @ Claim::Many(_)) => self.directories(claim),
            _ => Vec::new(),
        }
    }

    pub(super) fn packed(&self, seen: &Seen) -> Option<&PackedBody> {
        let object = &self.objects[self.slot(&seen.object)?];
        match &seen.version {
            Some(dot) => object.body_at(dot),
            None => object.shown_body(),
        }
    }
}

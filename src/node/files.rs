//! File operations on names and attributes, which the tree shows at once; bytes are `writing`'s, handles `handles`'.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Node;
use super::draft::{Change, Draft, Link, View};
use super::handles::{Open, Pin};
use super::io::{Answer, Handle, Inode, OpError, Reply, Stale};
use super::read::Spot;
use super::waiting::Waiting;
use crate::base::limits::{DEPTH_MAX, FILE_MAX, SYMLINK_MAX};
use crate::base::{CircleId, ObjectId, Snapshot, Ticket};
use crate::tree::{Changes, Seen};
use crate::wire::WireError;
use crate::wire::record::{Body, Content, Context, Dot, Kind, Name, Place, Value, Xattrs};

/// What a draft or a pin is of: an object, or the loser of a conflict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DraftKey {
    pub circle: CircleId,
    pub object: ObjectId,
    pub version: Option<Dot>,
}

impl DraftKey {
    pub fn of(circle: &CircleId, seen: &Seen) -> Self {
        Self { circle: *circle, object: seen.object, version: seen.version }
    }

    pub fn seen(&self) -> Seen {
        Seen { object: self.object, version: self.version }
    }
}

/// Open files, drafts, and reads that wait.
#[derive(Default)]
pub struct Files {
    pub(super) drafts: BTreeMap<DraftKey, Draft>,
    pub(super) handles: BTreeMap<Handle, Open>,
    pub(super) next_handle: u64,
    last_draft: u64,
    pub(super) pins: BTreeMap<DraftKey, Pin>,
    pub(super) by_inode: BTreeMap<Inode, DraftKey>,
    pub(super) fetches: Vec<Waiting>,
    /// Circles of which the ledger has a draft that was not read: what it lies on is not known.
    pub(super) unread: BTreeSet<CircleId>,
    /// Chunks on their way to be sealed, and their bytes.
    pub(super) sealing: usize,
    pub(super) sealing_bytes: usize,
    /// Counts what was asked of the disk to compare.
    pub(super) compared: u64,
    /// Bodies that were opened or published last, the latest first.
    pub(super) recent: VecDeque<(CircleId, View)>,
    /// Writers that wait for them to become fewer.
    pub(super) throttled: VecDeque<(DraftKey, Ticket, Reply)>,
}

/// Open handles of a node.
pub(super) const HANDLES_MAX: usize = 65_536;

impl Files {
    pub(super) fn draft(&self, key: &DraftKey) -> Option<&Draft> {
        self.drafts.get(key)
    }

    pub(super) fn pinned(&self, key: &DraftKey) -> Option<&View> {
        self.pins.get(key).and_then(|pin| pin.view.as_ref())
    }

    pub(super) fn by_inode(&self, inode: Inode) -> Option<&DraftKey> {
        self.by_inode.get(&inode)
    }

    /// The first number of a new draft: no other draft's answers can be taken for its own.
    pub(super) fn draft_number(&mut self) -> u64 {
        self.last_draft += 1;
        self.last_draft << 32
    }
}

pub(super) fn refused(error: WireError) -> OpError {
    match error {
        WireError::OverLimit(..) => OpError::NameTooLong,
        other => OpError::Invalid(other.to_string()),
    }
}

impl<S: Snapshot> Node<S> {
    /// An operation on files.
    pub(super) fn file_op(&mut self, ticket: Ticket, op: super::Op) -> Option<Reply> {
        use super::Op;
        Some(match op {
            Op::Create { parent, name, mode } => self.create(parent, &name, mode),
            Op::Unnamed { directory, mode } => self.unnamed(directory, mode),
            Op::Link { handle, parent, name, no_replace } => {
                return self.link(handle, Link { ticket, parent, name, no_replace });
            }
            Op::Mkdir { parent, name, mode } => self.make(parent, &name, Kind::Directory, mode, None),
            Op::Symlink { parent, name, target } => self.make(parent, &name, Kind::Symlink, 0o777, Some(target)),
            Op::Unlink { parent, name } => self.remove(parent, &name, false),
            Op::Rmdir { parent, name } => self.remove(parent, &name, true),
            Op::Rename { parent, ref name, new_parent, ref new_name, .. }
                if self.waits_for_publishing(ticket, &op, (parent, name), (new_parent, new_name)) =>
            {
                return None;
            }
            Op::Rename { parent, name, new_parent, new_name, no_replace } => {
                self.rename(parent, &name, new_parent, &new_name, no_replace)
            }
            Op::Exchange { parent, ref name, new_parent, ref new_name }
                if self.exchange_waits(ticket, &op, (parent, name), (new_parent, new_name)) =>
            {
                return None;
            }
            Op::Exchange { parent, name, new_parent, new_name } => {
                self.exchange((parent, &name), (new_parent, &new_name))
            }
            Op::SetXattr { inode, name, value, expect } => self.set_xattr(inode, &name, value, expect),
            Op::Zero { handle, offset, length, grow } => return self.zero(ticket, handle, offset, length, grow),
            Op::Grow { handle, size } => return self.grow(ticket, handle, size),
            Op::CopyRange { from, from_offset, to, to_offset, length } => {
                self.copy_range((from, from_offset), (to, to_offset), length)
            }
            Op::SetAttr { inode, size, mode, mtime } => return self.set_attr(ticket, inode, size, mode, mtime),
            Op::Open { inode, write, truncate } => return self.open(ticket, inode, write, truncate),
            Op::Write { handle, offset, data } => return self.write(ticket, handle, offset, data),
            Op::Flush { handle } => match self.files.handles.get(&handle).map(|open| open.key) {
                Some(key) => {
                    let failed = self.files.drafts.get_mut(&key).and_then(|draft| {
                        let lost = std::mem::take(&mut draft.lost).then(|| super::io::DiskError::Corrupt.into());
                        lost.or_else(|| draft.failed.clone())
                    });
                    failed.map_or(Ok(Answer::Done), Err)
                }
                None => Err(OpError::BadHandle),
            },
            Op::Release { handle } => self.release(handle),
            Op::Fsync { inode } => return self.fsync(ticket, inode),
            Op::Held { id, undo } => return self.settle_held(ticket, &id, undo),
            Op::Restore { path, version, to } => return self.restore(ticket, &path, version, to.as_deref()),
            Op::Doubt { inode, offset, length } => return self.doubt(ticket, inode, offset, length),
            Op::Pin { path, pinned } => return self.pin(ticket, &path, pinned),
            Op::Free { path } => return self.free(ticket, &path),
            Op::Fetch { inode, offset, length } => return self.fetch(ticket, inode, offset, length),
            _ => Err(OpError::Invalid("it is no operation on files".into())),
        })
    }

    /// The entry of a name, if there is one.
    pub(super) fn entry(&self, id: &CircleId, directory: &ObjectId, name: &[u8]) -> Option<Seen> {
        self.circles.get(id)?.tree.lookup(directory, name)
    }

    /// Applies what a local change did to the kernel's caches; the named entry is known to the kernel already.
    pub(super) fn changed_here(&mut self, id: &CircleId, changes: Changes, known: &[(Inode, &[u8])]) {
        for info_hash in &changes.torrents_added {
            self.refer_torrent(info_hash);
        }
        for info_hash in &changes.torrents_removed {
            self.release_torrent(info_hash);
        }
        self.look_at_pins();
        let mut stale = self.stale_of(id, &changes);
        stale.retain(|stale| match stale {
            Stale::Entry(dir, name) => !known.iter().any(|(at, known)| at == dir && *known == name.as_slice()),
            Stale::Inode(_) => false,
        });
        self.stale(stale);
    }

    pub(super) fn check_depth(&self, id: &CircleId, directory: &ObjectId) -> Result<(), OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        if circle.tree.depth(directory, DEPTH_MAX) >= DEPTH_MAX {
            return Err(OpError::Invalid(format!("directories are nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    pub(super) fn create(&mut self, parent: Inode, name: &[u8], mode: u32) -> Reply {
        let (id, directory) = self.directory(parent)?;
        self.may_write(&id)?;
        if self.files.handles.len() >= HANDLES_MAX {
            return Err(OpError::Busy);
        }
        let name = Name::new(name).map_err(refused)?;
        self.may_name(&id, &directory, name.as_bytes())?;
        if self.entry(&id, &directory, name.as_bytes()).is_some() {
            return Err(OpError::Exists);
        }
        self.check_depth(&id, &directory)?;
        let object = self.fresh_object();
        let place = Place { parent: directory, name: name.clone(), deleted: None };
        let mut draft = Draft::new(self.now.instant, mode & 0o7777, self.now.wall);
        let body = draft.body(Content::None);
        draft.number = self.files.draft_number();
        draft.staged = Some(place.clone());
        draft.dirty = true;
        let key = DraftKey { circle: id, object, version: None };
        self.files.drafts.insert(key, draft);
        let circle = self.circles.get_mut(&id).ok_or(OpError::NotFound)?;
        let changes = circle.tree.stage(object, place, body);
        self.changed_here(&id, changes, &[(parent, name.as_bytes())]);
        let attr = self.attr_of(&id, &key.seen())?;
        let handle = self.open_handle(key, attr.inode, true);
        Ok(Answer::Created(attr, handle))
    }

    /// Makes a directory or a symlink, which is published at once.
    pub(super) fn make(&mut self, parent: Inode, name: &[u8], kind: Kind, mode: u32, target: Option<Vec<u8>>) -> Reply {
        let (id, directory) = self.directory(parent)?;
        self.may_write(&id)?;
        let name = Name::new(name).map_err(refused)?;
        self.may_name(&id, &directory, name.as_bytes())?;
        if self.entry(&id, &directory, name.as_bytes()).is_some() {
            return Err(OpError::Exists);
        }
        self.check_depth(&id, &directory)?;
        let size = target.as_ref().map_or(0, |target| target.len() as u64);
        let content = match target {
            Some(target) if target.is_empty() || target.contains(&0) => {
                return Err(OpError::Invalid("a symbolic link's target is empty or has a NUL".into()));
            }
            Some(target) if target.len() > SYMLINK_MAX => return Err(OpError::NameTooLong),
            Some(target) => Content::Inline(target.into()),
            None => Content::None,
        };
        let (mode, mtime, xattrs) = (mode & 0o7777, self.now.wall, Xattrs::default());
        let body = Body { kind, mode, mtime, size, content, xattrs };
        let object = self.fresh_object();
        let place = Place { parent: directory, name: name.clone(), deleted: None };
        let known = [(parent, name.as_bytes())];
        let (_, changes) = self.author(&id, object, Value::Place(place), Context::default(), None)?;
        self.changed_here(&id, changes, &known);
        let (_, changes) = self.author(&id, object, Value::Body(body), Context::default(), None)?;
        self.changed_here(&id, changes, &known);
        self.attr_of(&id, &Seen { object, version: None }).map(Answer::Entry)
    }

    pub(super) fn remove(&mut self, parent: Inode, name: &[u8], directory: bool) -> Reply {
        let (id, dir) = self.directory(parent)?;
        self.may_write(&id)?;
        let seen = self.entry(&id, &dir, name).ok_or(OpError::NotFound)?;
        match (self.kind(&id, &seen)?, directory) {
            (Kind::Directory, false) => return Err(OpError::IsDirectory),
            (Kind::File | Kind::Symlink, true) => return Err(OpError::NotDirectory),
            (Kind::Directory, true) if !self.circles[&id].tree.is_empty_dir(&seen.object) => {
                return Err(OpError::NotEmpty);
            }
            _ => {}
        }
        self.delete(&id, &seen, (parent, name))?;
        Ok(Answer::Done)
    }

    /// Deletes what is shown there, published or staged; an open draft of it goes on unseen.
    pub(super) fn delete(&mut self, id: &CircleId, seen: &Seen, known: (Inode, &[u8])) -> Result<(), OpError> {
        let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.orphan = true;
            let renames = std::mem::take(&mut draft.renames);
            self.drop_if_done(&key);
            for (ticket, _) in renames {
                self.reply(ticket, Err(OpError::NotFound));
            }
        }
        let circle = self.circles.get_mut(id).ok_or(OpError::NotFound)?;
        if circle.tree.is_staged(&seen.object) {
            let changes = circle.tree.unstage(seen.object);
            self.forget_stored_draft(&key);
            self.changed_here(id, changes, &[known]);
            return Ok(());
        }
        let objects = match seen.version {
            None => circle.tree.merged(&seen.object),
            Some(_) => vec![seen.object],
        };
        for object in objects {
            let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
            let (context, _) = circle.tree.place_context(&object);
            let Some(place) = circle.tree.delete_place(&Seen { object, version: seen.version }) else { continue };
            let (_, changes) = self.author(id, object, Value::Place(place), context, None)?;
            self.changed_here(id, changes, &[known]);
        }
        self.forget_stored_draft(&key);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        parent: Inode,
        name: &[u8],
        new_parent: Inode,
        new_name: &[u8],
        no_replace: bool,
    ) -> Reply {
        let (id, dir) = self.directory(parent)?;
        let (new_id, new_dir) = self.directory(new_parent)?;
        self.may_write(&id)?;
        let seen = self.entry(&id, &dir, name).ok_or(OpError::NotFound)?;
        if id != new_id {
            return Err(OpError::CrossCircle);
        }
        let new = Name::new(new_name).map_err(refused)?;
        self.may_name(&id, &new_dir, new_name)?;
        let kind = self.kind(&id, &seen)?;
        let target = self.entry(&id, &new_dir, new_name);
        if target == Some(seen) {
            return Ok(Answer::Done);
        }
        if kind == Kind::Directory && self.is_below(&id, &new_dir, &seen.object) {
            return Err(OpError::Invalid("a directory cannot be moved into itself".into()));
        }
        self.check_depth(&id, &new_dir)?;
        if let Some(target) = target {
            if no_replace {
                return Err(OpError::Exists);
            }
            match (kind, self.kind(&id, &target)?) {
                (Kind::Directory, Kind::Directory) if !self.circles[&id].tree.is_empty_dir(&target.object) => {
                    return Err(OpError::NotEmpty);
                }
                (Kind::Directory, Kind::Directory) => {}
                (Kind::Directory, _) => return Err(OpError::NotDirectory),
                (_, Kind::Directory) => return Err(OpError::IsDirectory),
                _ => {}
            }
            self.delete(&id, &target, (new_parent, new_name))?;
        }
        let known = [(parent, name), (new_parent, new_name)];
        if seen.version.is_some() {
            self.materialize(&id, &seen, new_dir, new, &known)?;
            return Ok(Answer::Done);
        }
        let objects = self.circles.get(&id).map(|circle| circle.tree.merged(&seen.object)).unwrap_or_default();
        self.put(&id, &objects, new_dir, new, &known)?;
        Ok(Answer::Done)
    }

    /// A file that was never published and is renamed over another, or was synced, is published first: a cut in between
    /// must neither take the other away nor bring the file back under its old name.
    pub(super) fn waits_for_publishing(
        &mut self,
        ticket: Ticket,
        op: &super::Op,
        (parent, name): (Inode, &[u8]),
        (new_parent, new_name): (Inode, &[u8]),
    ) -> bool {
        let (Ok((id, dir)), Ok((new_id, new_dir))) = (self.directory(parent), self.directory(new_parent)) else {
            return false;
        };
        let Some(seen) = self.entry(&id, &dir, name) else { return false };
        let key = DraftKey { circle: id, object: seen.object, version: seen.version };
        let replaces = self.entry(&new_id, &new_dir, new_name).is_some_and(|target| target != seen);
        let waits = id == new_id && (replaces || self.is_stored(&key));
        let waits = waits && self.circles.get(&id).is_some_and(|circle| circle.tree.is_staged(&seen.object));
        match self.files.drafts.get_mut(&key) {
            Some(draft) if waits && draft.failed.is_none() => draft.renames.push((ticket, op.clone())),
            _ => return false,
        }
        self.publish(key);
        true
    }

    /// Renames that waited for a file to be published are done now, or refused if it is gone.
    pub(super) fn rename_waiting(&mut self, renames: Vec<(Ticket, super::Op)>) {
        for (ticket, op) in renames {
            if let Some(reply) = self.file_op(ticket, op) {
                self.reply(ticket, reply);
            }
        }
    }

    /// Renames of a file that is written to all the time do not wait for an end of it.
    pub(super) fn rename_unpublished(&mut self, renames: Vec<(Ticket, super::Op)>) {
        for (ticket, op) in renames {
            let reply = match op {
                super::Op::Rename { parent, name, new_parent, new_name, no_replace } => {
                    self.rename(parent, &name, new_parent, &new_name, no_replace)
                }
                super::Op::Exchange { parent, name, new_parent, new_name } => {
                    self.exchange((parent, &name), (new_parent, &new_name))
                }
                _ => continue,
            };
            self.reply(ticket, reply);
        }
    }

    pub(super) fn is_below(&self, id: &CircleId, directory: &ObjectId, above: &ObjectId) -> bool {
        let Some(circle) = self.circles.get(id) else { return false };
        let mut at = *directory;
        for _ in 0..=DEPTH_MAX {
            if at == *above {
                return true;
            }
            match circle.tree.location(&Seen { object: at, version: None }) {
                Some((parent, _)) if at != circle.tree.root() => at = parent,
                _ => return false,
            }
        }
        true
    }

    /// The loser of a conflict becomes a file of its own under a new name, and leaves the conflict.
    pub(super) fn materialize(
        &mut self,
        id: &CircleId,
        seen: &Seen,
        parent: ObjectId,
        name: Name,
        known: &[(Inode, &[u8])],
    ) -> Result<ObjectId, OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        let version = circle.tree.body(seen).ok_or(OpError::NotFound)?;
        let (body, record) = (version.body.clone(), version.record);
        let info = self.public_info(id, &record);
        let object = self.fresh_object();
        let place = Place { parent, name, deleted: None };
        let (_, changes) = self.author(id, object, Value::Place(place), Context::default(), None)?;
        self.changed_here(id, changes, known);
        let (_, changes) = self.author(id, object, Value::Body(body), Context::default(), info)?;
        self.changed_here(id, changes, known);
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        let (context, _) = circle.tree.place_context(&seen.object);
        if let Some(place) = circle.tree.delete_place(seen) {
            let (_, changes) = self.author(id, seen.object, Value::Place(place), context, None)?;
            self.changed_here(id, changes, known);
        }
        Ok(object)
    }

    pub(super) fn set_attr(
        &mut self,
        ticket: Ticket,
        inode: Inode,
        size: Option<u64>,
        mode: Option<u32>,
        mtime: Option<crate::base::WallTime>,
    ) -> Option<Reply> {
        // An older version that is open is pinned as if it had lost a conflict.
        if self.part(inode).is_some() {
            return Some(Err(super::view::read_only()));
        }
        let spot = match self.spot(inode) {
            Ok(spot) => spot,
            Err(error) => return Some(Err(error)),
        };
        let Spot::In(id, seen) = spot else {
            return Some(Err(OpError::NotPermitted("the root of the mount has no attributes to set".into())));
        };
        if let Err(error) = self.may_write(&id) {
            return Some(Err(error));
        }
        let key = DraftKey { circle: id, object: seen.object, version: seen.version };
        if let Some(size) = size {
            if size > FILE_MAX {
                return Some(Err(OpError::TooLarge));
            }
            if let Err(error) = self.file_key(inode) {
                return Some(Err(error));
            }
            self.ensure_draft(&key);
        }
        let mut seen = seen;
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.mode = mode.map_or(draft.mode, |mode| mode & 0o7777);
            draft.mtime = mtime.unwrap_or(draft.mtime);
            draft.dirty |= mode.is_some() || mtime.is_some();
            draft.touched = self.now.instant;
        } else {
            let set = |body: &mut Body| {
                body.mode = mode.map_or(body.mode, |mode| mode & 0o7777);
                body.mtime = mtime.unwrap_or(body.mtime);
            };
            match self.set_published(&id, &seen, set) {
                Ok(now) => seen = now,
                Err(error) => return Some(Err(error)),
            }
        }
        match size {
            Some(size) => {
                let reply = self.change(Some(ticket), key, Change::Truncate(size));
                if self.files.drafts.get(&key).is_some_and(|draft| draft.handles == 0) {
                    self.publish(key);
                }
                reply
            }
            None => {
                if self.files.drafts.get(&key).is_some_and(|draft| draft.handles == 0) {
                    self.publish(key);
                }
                Some(self.attr_of(&id, &seen).map(Answer::Entry))
            }
        }
    }

    /// New mode, time or extended attributes of a body that is published: a body with the same content. The loser of a conflict becomes a
    /// file of its own by it, lest it win. Returns where the body is now.
    pub(super) fn set_published(
        &mut self,
        id: &CircleId,
        seen: &Seen,
        change: impl FnOnce(&mut Body),
    ) -> Result<Seen, OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        if seen.object == circle.tree.root() {
            return Err(OpError::NotPermitted("the root of a circle has no attributes to set".into()));
        }
        let version = circle.tree.body(seen).ok_or(OpError::NotFound)?;
        let mut body = version.body.clone();
        let record = version.record;
        change(&mut body);
        if body == version.body {
            return Ok(*seen);
        }
        let context = circle.tree.body_context(seen);
        let info = self.public_info(id, &record);
        let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
        if seen.version.is_some() {
            let (now, dot) = self.publish_beside(&key, body, info)?;
            self.move_handles(&key, now, dot);
            return Ok(now.seen());
        }
        let (dot, changes) = self.author(id, seen.object, Value::Body(body), context, info)?;
        self.changed_here(id, changes, &[]);
        self.repin(&key, dot);
        Ok(*seen)
    }
}

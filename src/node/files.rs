//! File operations that change something: names at once in the tree, bytes in drafts.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::draft::{Change, Data, Draft, Publishing, View};
use super::io::{Answer, Attr, DiskError, DiskRequest, Handle, Inode, OpError, Reply, Stale};
use super::read::{Spot, torrent_of};
use super::{Asked, Effect, Node};
use crate::base::limits::{
    CHUNK_PLAIN, DEPTH_MAX, DIRTY_MAX, FILE_MAX, INLINE_MAX, QUIET_TIME, READ_TIME, SYMLINK_MAX,
};
use crate::base::{CircleId, InfoHash, Instant, ObjectId, Snapshot, Ticket};
use crate::seal::chunk::sealed_chunk_length;
use crate::tree::{Changes, Seen};
use crate::wire::WireError;
use crate::wire::record::{Body, Content, Context, Dot, Kind, Name, Place, Value};

/// What a draft or a pin is of: an object, or the loser of a conflict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DraftKey {
    pub circle: CircleId,
    pub object: ObjectId,
    pub version: Option<Dot>,
}

impl DraftKey {
    pub fn seen(&self) -> Seen {
        Seen { object: self.object, version: self.version }
    }
}

/// Open files, drafts, and reads that wait.
#[derive(Default)]
pub struct Files {
    pub(super) drafts: BTreeMap<DraftKey, Draft>,
    handles: BTreeMap<Handle, Open>,
    next_handle: u64,
    last_draft: u64,
    pins: BTreeMap<DraftKey, Pin>,
    by_inode: BTreeMap<Inode, DraftKey>,
    fetches: Vec<Waiting>,
    /// Chunks on their way to be sealed, and their bytes.
    sealing: usize,
    sealing_bytes: usize,
    /// Writers that wait for them to become fewer.
    throttled: VecDeque<(Ticket, Reply)>,
}

struct Open {
    key: DraftKey,
    write: bool,
}

/// The body that open handles are shown.
struct Pin {
    handles: u32,
    view: Option<View>,
}

/// A read, or a change of a draft, that waits for chunks to come from friends.
struct Waiting {
    who: Waiter,
    info_hash: InfoHash,
    chunks: std::ops::RangeInclusive<u32>,
    deadline: Instant,
    /// When it ends if nobody who has it is online.
    alone_until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiter {
    Read(Ticket),
    Fill(DraftKey, u32),
}

/// So long a read waits for somebody who has the bytes to come online.
const ALONE_TIME: std::time::Duration = std::time::Duration::from_secs(8);
/// Reads that may wait at once.
const WAITING_MAX: usize = 4_096;
/// Chunks of one draft that may lie partly written in memory.
const OPEN_CHUNKS: usize = 16;
/// Open handles of a node.
const HANDLES_MAX: usize = 65_536;

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

    /// True when no draft is on its way to being published.
    pub(super) fn is_quiet(&self) -> bool {
        self.drafts
            .values()
            .all(|draft| draft.orphan || !draft.dirty || (draft.publishing == Publishing::No && !draft.keep))
    }
}

fn refused(error: WireError) -> OpError {
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
            Op::SetAttr { inode, size, mode, mtime } => return self.set_attr(ticket, inode, size, mode, mtime),
            Op::Open { inode, write, truncate } => return self.open(ticket, inode, write, truncate),
            Op::Write { handle, offset, data } => return self.write(ticket, handle, offset, data),
            Op::Flush { handle } => match self.files.handles.get(&handle).map(|open| open.key) {
                Some(key) => {
                    let failed = self.files.drafts.get(&key).and_then(|draft| draft.failed.clone());
                    self.publish(key);
                    failed.map_or(Ok(Answer::Done), Err)
                }
                None => Err(OpError::BadHandle),
            },
            Op::Release { handle } => self.release(handle),
            Op::Fsync { inode } => return self.fsync(ticket, inode),
            Op::Fetch { inode, offset, length } => return self.fetch(ticket, inode, offset, length),
            _ => Err(OpError::Invalid("it is no operation on files".into())),
        })
    }

    /// The entry of a name, if there is one.
    fn entry(&self, id: &CircleId, directory: &ObjectId, name: &[u8]) -> Option<Seen> {
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
        let mut stale = self.stale_of(id, &changes);
        stale.retain(|stale| match stale {
            Stale::Entry(dir, name) => !known.iter().any(|(at, known)| at == dir && *known == name.as_slice()),
            Stale::Inode(_) => false,
        });
        self.stale(stale);
    }

    fn check_depth(&self, id: &CircleId, directory: &ObjectId) -> Result<(), OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        if circle.tree.depth(directory, DEPTH_MAX) >= DEPTH_MAX {
            return Err(OpError::Invalid(format!("directories are nested deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    fn create(&mut self, parent: Inode, name: &[u8], mode: u32) -> Reply {
        let (id, directory) = self.directory(parent)?;
        self.may_write(&id)?;
        if self.files.handles.len() >= HANDLES_MAX {
            return Err(OpError::Busy);
        }
        let name = Name::new(name).map_err(refused)?;
        if self.entry(&id, &directory, name.as_bytes()).is_some() {
            return Err(OpError::Exists);
        }
        self.check_depth(&id, &directory)?;
        let object = self.fresh_object();
        let place = Place { parent: directory, name: name.clone(), deleted: None };
        let body =
            Body { kind: Kind::File, mode: mode & 0o7777, mtime: self.now.wall, size: 0, content: Content::None };
        let mut draft = Draft::new(self.now.instant, body.mode, body.mtime);
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
    fn make(&mut self, parent: Inode, name: &[u8], kind: Kind, mode: u32, target: Option<Vec<u8>>) -> Reply {
        let (id, directory) = self.directory(parent)?;
        self.may_write(&id)?;
        let name = Name::new(name).map_err(refused)?;
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
        let body = Body { kind, mode: mode & 0o7777, mtime: self.now.wall, size, content };
        let object = self.fresh_object();
        let place = Place { parent: directory, name: name.clone(), deleted: None };
        let known = [(parent, name.as_bytes())];
        let (_, changes) = self.author(&id, object, Value::Place(place), Context::default(), None)?;
        self.changed_here(&id, changes, &known);
        let (_, changes) = self.author(&id, object, Value::Body(body), Context::default(), None)?;
        self.changed_here(&id, changes, &known);
        self.attr_of(&id, &Seen { object, version: None }).map(Answer::Entry)
    }

    fn remove(&mut self, parent: Inode, name: &[u8], directory: bool) -> Reply {
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
    fn delete(&mut self, id: &CircleId, seen: &Seen, known: (Inode, &[u8])) -> Result<(), OpError> {
        let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.orphan = true;
            let renames = std::mem::take(&mut draft.renames);
            if draft.handles == 0 {
                self.drop_draft(&key);
            }
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

    fn rename(&mut self, parent: Inode, name: &[u8], new_parent: Inode, new_name: &[u8], no_replace: bool) -> Reply {
        let (id, dir) = self.directory(parent)?;
        let (new_id, new_dir) = self.directory(new_parent)?;
        self.may_write(&id)?;
        let seen = self.entry(&id, &dir, name).ok_or(OpError::NotFound)?;
        if id != new_id {
            return Err(OpError::CrossCircle);
        }
        let new = Name::new(new_name).map_err(refused)?;
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
        let circle = self.circles.get_mut(&id).ok_or(OpError::NotFound)?;
        if let Some((_, body)) = circle.tree.staged(&seen.object) {
            let body = body.clone();
            let place = Place { parent: new_dir, name: new, deleted: None };
            let changes = circle.tree.stage(seen.object, place.clone(), body);
            let key = DraftKey { circle: id, object: seen.object, version: None };
            if let Some(draft) = self.files.drafts.get_mut(&key) {
                draft.staged = Some(place);
            }
            self.changed_here(&id, changes, &known);
            return Ok(Answer::Done);
        }
        for object in circle.tree.merged(&seen.object) {
            let circle = self.circles.get(&id).ok_or(OpError::NotFound)?;
            let (context, dead) = circle.tree.place_context(&object);
            let deleted = (dead != Context::default()).then_some(dead);
            let place = Place { parent: new_dir, name: new.clone(), deleted };
            let (_, changes) = self.author(&id, object, Value::Place(place), context, None)?;
            self.changed_here(&id, changes, &known);
        }
        Ok(Answer::Done)
    }

    /// A file that was never published and is renamed over another, or was synced, is published first: a cut in between
    /// must neither take the other away nor bring the file back under its old name.
    fn waits_for_publishing(
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
            if let super::Op::Rename { parent, name, new_parent, new_name, no_replace } = op {
                let reply = self.rename(parent, &name, new_parent, &new_name, no_replace);
                self.reply(ticket, reply);
            }
        }
    }

    fn is_below(&self, id: &CircleId, directory: &ObjectId, above: &ObjectId) -> bool {
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
    fn materialize(
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

    fn open_handle(&mut self, key: DraftKey, inode: Inode, write: bool) -> Handle {
        self.files.next_handle += 1;
        let handle = Handle(self.files.next_handle);
        self.files.handles.insert(handle, Open { key, write });
        self.files.by_inode.insert(inode, key);
        let view = self.view(&key);
        let pin = self.files.pins.entry(key).or_insert(Pin { handles: 0, view: None });
        pin.handles += 1;
        // A new reader sees the newest body, and so do the others from now on.
        pin.view = view;
        if write {
            if let Some(draft) = self.files.drafts.get_mut(&key) {
                draft.handles += 1;
            }
        }
        handle
    }

    /// The body as it is published now.
    fn view(&self, key: &DraftKey) -> Option<View> {
        let tree = &self.circles.get(&key.circle)?.tree;
        if tree.is_staged(&key.object) {
            return None;
        }
        let version = tree.body(&key.seen())?;
        let context = tree.body_context(&key.seen());
        Some(View { dot: version.dot?, body: version.body, record: version.record, context })
    }

    /// This version of an object's body, whether it won or lost.
    fn view_of(&self, key: &DraftKey, dot: Dot) -> Option<View> {
        let won = self.view(key).filter(|view| view.dot == dot);
        won.or_else(|| self.view(&DraftKey { version: Some(dot), ..*key }))
    }

    fn open(&mut self, ticket: Ticket, inode: Inode, write: bool, truncate: bool) -> Option<Reply> {
        let key = match self.file_key(inode) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        if self.files.handles.len() >= HANDLES_MAX {
            return Some(Err(OpError::Busy));
        }
        if write || truncate {
            if let Err(error) = self.may_write(&key.circle) {
                return Some(Err(error));
            }
        }
        let handle = self.open_handle(key, inode, write);
        if write || truncate {
            self.ensure_draft(&key);
        }
        if truncate {
            // A truncation to nothing needs no chunk of the base, so it is applied at once.
            self.change(None, key, Change::Truncate(0));
        }
        let _ = ticket;
        Some(Ok(Answer::Opened(handle)))
    }

    fn file_key(&self, inode: Inode) -> Result<DraftKey, OpError> {
        match self.spot(inode)? {
            Spot::Top => Err(OpError::IsDirectory),
            Spot::In(circle, seen) => match self.kind(&circle, &seen)? {
                Kind::File => Ok(DraftKey { circle, object: seen.object, version: seen.version }),
                Kind::Directory => Err(OpError::IsDirectory),
                Kind::Symlink => Err(OpError::Invalid("it is a symbolic link".into())),
            },
        }
    }

    /// A draft over the published body, if there is none yet.
    pub(super) fn ensure_draft(&mut self, key: &DraftKey) {
        if self.files.drafts.contains_key(key) {
            return;
        }
        let Some(view) = self.view(key).or_else(|| self.files.pinned(key).cloned()) else { return };
        let mut draft = Draft::new(self.now.instant, view.body.mode, view.body.mtime);
        draft.number = self.files.draft_number();
        draft.context = view.context.clone();
        draft.size = view.body.size;
        draft.base_size = view.body.size;
        if let Content::Inline(bytes) = &view.body.content {
            let chunk = super::draft::Chunk { data: Some(Data::Shared(bytes.clone())), ..Default::default() };
            draft.chunks.insert(0, chunk);
            draft.base_size = 0;
        }
        draft.base = Some(view);
        draft.handles = self.files.handles.values().filter(|open| open.write && open.key == *key).count() as u32;
        self.files.drafts.insert(*key, draft);
    }

    fn write(&mut self, ticket: Ticket, handle: Handle, offset: Option<u64>, data: Bytes) -> Option<Reply> {
        let Some(open) = self.files.handles.get(&handle).filter(|open| open.write) else {
            return Some(Err(OpError::BadHandle));
        };
        let key = open.key;
        if let Err(error) = self.may_write(&key.circle) {
            return Some(Err(error));
        }
        if data.is_empty() {
            return Some(Ok(Answer::Written(0)));
        }
        self.ensure_draft(&key);
        let Some(draft) = self.files.drafts.get(&key) else { return Some(Err(OpError::BadHandle)) };
        if let Some(error) = draft.failed.clone() {
            // What could not be stored stays in memory, and is tried again: nothing more is taken until it could.
            self.publish(key);
            return Some(Err(error));
        }
        let end = offset.unwrap_or(draft.size).saturating_add(data.len() as u64);
        if end > FILE_MAX {
            return Some(Err(OpError::TooLarge));
        }
        self.change(Some(ticket), key, Change::Write(offset, data))
    }

    /// Applies a change, now or when the chunks that it needs are in memory.
    fn change(&mut self, ticket: Option<Ticket>, key: DraftKey, change: Change) -> Option<Reply> {
        let Some(draft) = self.files.drafts.get_mut(&key) else { return Some(Err(OpError::BadHandle)) };
        if draft.parked.is_empty() {
            let needs = draft.needs(&change);
            if needs.is_empty() {
                return self.apply_change(ticket, key, &change);
            }
            draft.parked.push_back((ticket, change));
            self.fill_chunks(key, &needs);
        } else if draft.parked.len() >= PARKED_MAX {
            return Some(Err(OpError::Busy));
        } else {
            draft.parked.push_back((ticket, change));
        }
        None
    }

    fn apply_change(&mut self, ticket: Option<Ticket>, key: DraftKey, change: &Change) -> Option<Reply> {
        let now = self.now;
        let draft = self.files.drafts.get_mut(&key)?;
        if draft.handles > 0 && draft.publishing == Publishing::Sealing && draft.renames.is_empty() {
            // Somebody writes on before the last close was published: what they leave is published, not a half of it.
            draft.publishing = Publishing::No;
        }
        let (full, written) = draft.apply(now.instant, now.wall, change);
        for chunk in full {
            self.seal_chunk(key, chunk);
        }
        self.seal_surplus(key);
        let reply = Ok(match change {
            Change::Write(..) => Answer::Written(written as u32),
            Change::Truncate(_) => match self.attr_of(&key.circle, &key.seen()) {
                Ok(attr) => Answer::Entry(attr),
                Err(error) => return Some(Err(error)),
            },
        });
        match ticket {
            Some(ticket) if self.files.sealing_bytes > DIRTY_MAX => {
                self.files.throttled.push_back((ticket, reply));
                None
            }
            _ => Some(reply),
        }
    }

    /// Parked changes whose chunks have come are applied.
    fn apply_parked(&mut self, key: DraftKey) {
        loop {
            let Some(draft) = self.files.drafts.get_mut(&key) else { return };
            let Some((ticket, change)) = draft.parked.front().cloned() else { break };
            let needs = draft.needs(&change);
            if !needs.is_empty() {
                self.fill_chunks(key, &needs);
                return;
            }
            draft.parked.pop_front();
            let reply = self.apply_change(ticket, key, &change);
            if let (Some(ticket), Some(reply)) = (ticket, reply) {
                self.reply(ticket, reply);
            }
        }
        self.go_on(key);
    }

    /// Brings the first chunk of a file that has become small into memory; whatever waits goes on then.
    pub(super) fn want_first_chunk(&mut self, key: DraftKey) {
        self.fill_chunks(key, &[0]);
    }

    fn fill_chunks(&mut self, key: DraftKey, chunks: &[u32]) {
        for chunk in chunks {
            let Some(draft) = self.files.drafts.get_mut(&key) else { return };
            if !draft.filling.insert(*chunk) {
                continue;
            }
            self.fill_chunk(key, *chunk);
        }
    }

    fn fill_chunk(&mut self, key: DraftKey, chunk: u32) {
        use super::draft::Source;
        let Some(draft) = self.files.drafts.get(&key) else { return };
        let found = match draft.source(chunk) {
            Source::Placed(placed) => {
                let epoch = self.circles.get(&key.circle).and_then(|circle| circle.epochs.get(&placed.epoch));
                epoch.map(|epoch| (placed.segment, epoch.keys.chunk_key()))
            }
            Source::Base => draft.base.as_ref().and_then(|view| self.torrent_chunk(&key.circle, view, chunk)),
            Source::Memory(_) | Source::Zeros => return,
        };
        if let Some((segment, chunk_key)) = found {
            self.ask(Asked::Fill(key, chunk), DiskRequest::Unseal { segment, key: chunk_key });
            return;
        }
        match draft.base.as_ref().and_then(|view| torrent_of(&view.body)) {
            Some(info_hash) => match self.wait_for(Waiter::Fill(key, chunk), info_hash, chunk..=chunk) {
                None => {}
                Some(Err(error)) => self.fill_failed(key, chunk, error),
                Some(Ok(_)) => self.fill_failed(key, chunk, OpError::Io("a chunk that is here does not open".into())),
            },
            None => self.fill_failed(key, chunk, OpError::Io("a chunk of the file is nowhere".into())),
        }
    }

    /// The disk read a chunk for a draft.
    pub(super) fn chunk_filled(&mut self, key: DraftKey, chunk: u32, result: Result<Bytes, DiskError>) {
        match result {
            Ok(plain) => {
                if let Some(draft) = self.files.drafts.get_mut(&key) {
                    draft.fill(chunk, &plain);
                }
                self.apply_parked(key);
            }
            Err(error) => {
                log::error!("a chunk of a file being written could not be read: {error}");
                self.fill_failed(key, chunk, OpError::Io(error.to_string()));
            }
        }
    }

    /// Changes that needed the chunk fail; the draft stays as it was.
    fn fill_failed(&mut self, key: DraftKey, chunk: u32, error: OpError) {
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        draft.filling.remove(&chunk);
        let failed: Vec<_> = std::mem::take(&mut draft.parked).into_iter().collect();
        let fsyncs = std::mem::take(&mut draft.fsyncs);
        draft.forget_fills();
        for ticket in failed.into_iter().filter_map(|(ticket, _)| ticket).chain(fsyncs) {
            self.reply(ticket, Err(error.clone()));
        }
        self.publishing_failed(&key, &error);
        self.drop_if_done(&key);
    }

    /// Seals what lies in memory beyond what a draft may keep there, lowest first.
    fn seal_surplus(&mut self, key: DraftKey) {
        let Some(draft) = self.files.drafts.get(&key) else { return };
        let surplus = draft.unsealed.len().saturating_sub(OPEN_CHUNKS);
        let surplus: Vec<u32> = draft.unsealed.iter().copied().take(surplus).collect();
        for chunk in surplus {
            self.seal_chunk(key, chunk);
        }
    }

    /// Sends a chunk to be sealed and written to a place of its own.
    pub(super) fn seal_chunk(&mut self, key: DraftKey, at: u32) {
        let Some(circle) = self.circles.get(&key.circle) else { return };
        let Some((epoch_id, chunk_key)) = circle.current().map(|(id, epoch)| (id, epoch.keys.chunk_key())) else {
            return;
        };
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        let plain = draft.plain_length(at);
        let number = draft.number;
        let Some(chunk) = draft.chunks.get_mut(&at) else { return };
        let Some(data) = chunk.data.as_mut() else { return };
        let plaintext = data.share();
        let segment = self.vault.take_chunk(sealed_chunk_length(plain) as u32);
        // A chunk that is still being written must not be punched under the writer's hands: it stays.
        draft.garbage.extend(chunk.placed.filter(|_| chunk.sealing.is_none()).map(|placed| placed.segment));
        chunk.dirty = false;
        draft.unsealed.remove(&at);
        draft.sealing += usize::from(chunk.sealing.is_none());
        chunk.sealing = Some(number);
        chunk.placed = Some(super::draft::Placed { segment, epoch: epoch_id, plain: plain as u32 });
        self.files.sealing += 1;
        self.files.sealing_bytes += plaintext.len();
        self.ask(Asked::Chunk(key, at, number), DiskRequest::Seal { segment, key: chunk_key, plaintext });
    }

    /// The disk sealed a chunk.
    pub(super) fn chunk_sealed(&mut self, key: DraftKey, at: u32, number: u64, result: Result<(), DiskError>) {
        let mut bytes = CHUNK_PLAIN;
        if let Some(draft) = self.files.drafts.get_mut(&key)
            && let Some(chunk) = draft.chunks.get_mut(&at).filter(|chunk| chunk.sealing == Some(number))
        {
            chunk.sealing = None;
            draft.sealing -= 1;
            bytes = chunk.placed.map_or(bytes, |placed| placed.plain as usize);
            match &result {
                Ok(()) if !chunk.dirty && bytes == CHUNK_PLAIN => chunk.data = None,
                Ok(()) => {}
                Err(_) => {
                    chunk.dirty = true;
                    chunk.placed = None;
                }
            }
            if chunk.dirty {
                draft.unsealed.insert(at);
            }
        }
        self.files.sealing = self.files.sealing.saturating_sub(1);
        self.files.sealing_bytes = self.files.sealing_bytes.saturating_sub(bytes);
        if self.files.sealing == 0 {
            self.files.sealing_bytes = 0;
        }
        if let Err(error) = result {
            self.seal_failed(key, error);
            return;
        }
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.failed = None;
        }
        while self.files.sealing_bytes <= DIRTY_MAX {
            let Some((ticket, reply)) = self.files.throttled.pop_front() else { break };
            self.reply(ticket, reply);
        }
        self.go_on(key);
    }

    fn seal_failed(&mut self, key: DraftKey, error: DiskError) {
        let refused = OpError::from(error.clone());
        for (ticket, _) in std::mem::take(&mut self.files.throttled) {
            self.reply(ticket, Err(refused.clone()));
        }
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            if draft.failed.replace(refused.clone()).is_none() {
                log::error!("a file being written could not be stored: {error}");
            }
        }
        self.publishing_failed(&key, &refused);
    }

    fn release(&mut self, handle: Handle) -> Reply {
        let Open { key, write } = self.files.handles.remove(&handle).ok_or(OpError::BadHandle)?;
        if write {
            if let Some(draft) = self.files.drafts.get_mut(&key) {
                draft.handles = draft.handles.saturating_sub(1);
            }
            self.publish(key);
            self.drop_if_done(&key);
        }
        if let Some(pin) = self.files.pins.get_mut(&key) {
            pin.handles -= 1;
            if pin.handles == 0 {
                let shown = pin.view.as_ref().map(|view| view.dot);
                self.files.pins.remove(&key);
                self.files.by_inode.retain(|_, open| *open != key);
                if self.view(&key).map(|view| view.dot) != shown {
                    let inode = self.inode_of(&key.circle, &key.seen());
                    self.stale(vec![Stale::Inode(inode)]);
                }
            }
        }
        Ok(Answer::Done)
    }

    /// What was open as the loser of a conflict is open as a file of its own from now on.
    pub(super) fn move_handles(&mut self, from: &DraftKey, to: DraftKey, dot: Dot) {
        for open in self.files.handles.values_mut().filter(|open| open.key == *from) {
            open.key = to;
        }
        for key in self.files.by_inode.values_mut().filter(|key| *key == from) {
            *key = to;
        }
        if let Some(pin) = self.files.pins.remove(from) {
            self.files.pins.insert(to, pin);
            self.repin(&to, dot);
        }
    }

    /// The pinned view of a file that was published here moves on with it.
    pub(super) fn repin(&mut self, key: &DraftKey, dot: Dot) {
        let view = self.view_of(key, dot);
        if let Some(pin) = self.files.pins.get_mut(key) {
            pin.view = view;
        }
    }

    fn set_attr(
        &mut self,
        ticket: Ticket,
        inode: Inode,
        size: Option<u64>,
        mode: Option<u32>,
        mtime: Option<crate::base::WallTime>,
    ) -> Option<Reply> {
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
            match self.set_published(&id, &seen, mode, mtime) {
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

    /// New mode and time of a body that is published: a body with the same content. The loser of a conflict becomes a
    /// file of its own by it, lest it win. Returns where the body is now.
    fn set_published(
        &mut self,
        id: &CircleId,
        seen: &Seen,
        mode: Option<u32>,
        mtime: Option<crate::base::WallTime>,
    ) -> Result<Seen, OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        if seen.object == circle.tree.root() {
            return Err(OpError::NotPermitted("the root of a circle has no attributes to set".into()));
        }
        let version = circle.tree.body(seen).ok_or(OpError::NotFound)?;
        let mut body = version.body.clone();
        let record = version.record;
        body.mode = mode.map_or(body.mode, |mode| mode & 0o7777);
        body.mtime = mtime.unwrap_or(body.mtime);
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

    /// Waits until a span of a file is here.
    fn fetch(&mut self, ticket: Ticket, inode: Inode, offset: u64, length: u32) -> Option<Reply> {
        let spot = self.spot(inode).and_then(|spot| match spot {
            Spot::Top => Err(OpError::IsDirectory),
            Spot::In(id, seen) => Ok((id, seen)),
        });
        let (id, seen) = match spot {
            Ok(spot) => spot,
            Err(error) => return Some(Err(error)),
        };
        let key = DraftKey { circle: id, object: seen.object, version: seen.version };
        let body = match self.files.draft(&key) {
            Some(draft) => draft.base.as_ref().map(|base| base.body.clone()),
            None => self.body(&id, &seen).ok(),
        };
        let Some((body, info_hash)) = body.and_then(|body| Some((torrent_of(&body)?, body)).map(|(h, b)| (b, h)))
        else {
            return Some(Ok(Answer::Done));
        };
        let last = body.size.saturating_sub(1).min(offset.saturating_add(u64::from(length).max(1)) - 1);
        let chunks = (offset / CHUNK_PLAIN as u64) as u32..=(last / CHUNK_PLAIN as u64) as u32;
        self.wait_for(Waiter::Read(ticket), info_hash, chunks)
    }

    fn wait_for(&mut self, who: Waiter, info_hash: InfoHash, chunks: std::ops::RangeInclusive<u32>) -> Option<Reply> {
        if chunks.clone().all(|chunk| self.has_chunk(&info_hash, chunk)) {
            return Some(Ok(Answer::Done));
        }
        if self.files.fetches.len() >= WAITING_MAX {
            return Some(Err(OpError::Busy));
        }
        let now = self.now.instant;
        self.fetch_now(&info_hash, chunks.clone(), now + READ_TIME);
        self.files.fetches.push(Waiting {
            who,
            info_hash,
            chunks,
            deadline: now + READ_TIME,
            alone_until: now + ALONE_TIME,
        });
        None
    }

    /// A piece of this torrent has come: reads that have all they wait for go on, the others are given time anew.
    pub(super) fn wake_fetches(&mut self, info_hash: &InfoHash) {
        let waiting = std::mem::take(&mut self.files.fetches);
        let deadline = self.now.instant + READ_TIME;
        for mut fetch in waiting {
            if fetch.info_hash != *info_hash {
                self.files.fetches.push(fetch);
            } else if fetch.chunks.clone().all(|chunk| self.has_chunk(info_hash, chunk)) {
                match fetch.who {
                    Waiter::Read(ticket) => self.reply(ticket, Ok(Answer::Done)),
                    Waiter::Fill(key, chunk) => self.fill_chunk(key, chunk),
                }
            } else {
                fetch.deadline = deadline;
                self.files.fetches.push(fetch);
            }
        }
    }

    /// Reads that have waited too long end.
    pub(super) fn end_fetches(&mut self) {
        let now = self.now.instant;
        let waiting = std::mem::take(&mut self.files.fetches);
        for mut fetch in waiting {
            let alone = !self.is_offered(&fetch.info_hash);
            if !alone {
                fetch.alone_until = now + ALONE_TIME;
            }
            let error = match (fetch.deadline <= now, alone && fetch.alone_until <= now) {
                (_, true) => OpError::Unreachable,
                (true, false) => OpError::TimedOut,
                (false, false) => {
                    self.files.fetches.push(fetch);
                    continue;
                }
            };
            match fetch.who {
                Waiter::Read(ticket) => self.reply(ticket, Err(error)),
                Waiter::Fill(key, chunk) => self.fill_failed(key, chunk, error),
            }
        }
    }

    /// Somebody no longer waits.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        let before = self.files.fetches.len();
        self.files.fetches.retain(|fetch| fetch.who != Waiter::Read(ticket));
        if self.files.fetches.len() != before {
            self.reply(ticket, Err(OpError::Interrupted));
        }
    }

    fn fsync(&mut self, ticket: Ticket, inode: Inode) -> Option<Reply> {
        let key = match self.spot(inode) {
            Ok(Spot::In(circle, seen)) => DraftKey { circle, object: seen.object, version: seen.version },
            Ok(Spot::Top) => {
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Done)));
                return None;
            }
            Err(error) => return Some(Err(error)),
        };
        if let Some(error) = &self.trouble {
            return Some(Err(error.clone().into()));
        }
        match self.files.drafts.get_mut(&key) {
            Some(draft) if draft.dirty && !draft.orphan => {
                draft.fsyncs.push(ticket);
                self.seal_for_fsync(key);
                self.go_on(key);
            }
            _ => self.when_durable(Effect::Reply(ticket, Ok(Answer::Done))),
        }
        None
    }

    pub(super) fn seal_for_fsync(&mut self, key: DraftKey) {
        let Some(draft) = self.files.drafts.get(&key) else { return };
        if draft.size > INLINE_MAX as u64 {
            for chunk in draft.unsealed.clone() {
                self.seal_chunk(key, chunk);
            }
        }
    }

    /// When something here is due.
    pub(super) fn files_timeout(&self) -> Option<Instant> {
        let reads = self.files.fetches.iter().map(|fetch| fetch.deadline.min(fetch.alone_until));
        let quiet = self
            .files
            .drafts
            .values()
            .filter(|draft| {
                draft.dirty && !draft.orphan && draft.publishing == Publishing::No && draft.parked.is_empty()
            })
            .map(|draft| draft.touched + QUIET_TIME);
        reads.chain(quiet).min()
    }

    /// What stat tells of a handle's file, for tests and the simulator.
    pub fn attr_of_handle(&self, handle: Handle) -> Result<Attr, OpError> {
        let open = self.files.handles.get(&handle).ok_or(OpError::BadHandle)?;
        self.attr_of(&open.key.circle, &open.key.seen())
    }
}

/// Changes of one draft that may wait for a chunk.
const PARKED_MAX: usize = 256;

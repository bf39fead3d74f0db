//! Older versions for people: what a path held, what was deleted below a directory, and putting it back.
//!
//! Putting back is a copy by reference: a new body names the torrent, or carries the few bytes, of the older one. Nothing is
//! sealed or sent again, and what it replaces becomes an older version itself.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{DraftKey, refused};
use super::io::{Answer, OpError, Reply};
use super::read::torrent_of;
use super::status::{DeletedFile, FileVersion, Place as Held, Versions};
use super::vault::State;
use super::{Effect, Node};
use crate::base::{CircleId, ObjectId, RecordHash, Snapshot, Ticket, WallTime};
use crate::tree::{Older, Seen, Trace, Version};
use crate::wire::record::{Body, Content, Context, Dot, Inner, Kind, Name, Outer, Place, Register, Value, Xattrs};

/// Deleted files that one answer names.
const DELETED_TOLD: usize = 10_000;
/// Files that are put back at once.
const RESTORED_MAX: usize = 10_000;

/// What somebody means by a path in the tree.
struct Meant {
    circle: CircleId,
    names: Vec<Vec<u8>>,
    trace: Trace,
}

impl<S: Snapshot> Node<S> {
    /// The value and the record of a body, also where it no longer shows.
    pub(super) fn older_body(&self, id: &CircleId, older: &Older) -> Option<(Body, RecordHash)> {
        let circle = self.circles.get(id)?;
        // What was deleted in a commit that still gathers is in no commit of the ledger.
        if let Some(version) = circle.tree.body(&Seen { object: older.object, version: Some(older.dot) }) {
            return Some((version.body, version.record));
        }
        let commit = self.stored_commit(id, &older.dot.chain(), older.dot.sequence)?.commit;
        let tag = circle.tag_keys()?.register_tag(&older.object, Register::Body);
        let record = commit.entries.iter().find(|entry| entry.tag == tag)?.record;
        let outer = Outer::decode(&self.record_bytes(id, &record)?).ok()?;
        let epoch = circle.epochs.get(&outer.epoch)?;
        let inner = Inner::decode(&epoch.keys.open_record(&outer.sealed).ok()?).ok()?;
        match inner.value {
            Value::Body(body) if inner.object == older.object => Some((body, record)),
            _ => None,
        }
    }

    /// What the names lead to, and ever led to, from a circle's root.
    pub(super) fn trace_of(&self, id: &CircleId, names: &[Vec<u8>]) -> Option<Trace> {
        let tree = &self.circles.get(id)?.tree;
        let mut trace = tree.trace_root();
        for name in names {
            trace = tree.trace(&trace.directories, name);
        }
        Some(trace)
    }

    /// The older versions of the files of a trace, oldest first. A body that says nothing new is left out: one whose
    /// content the next of its object has as well, as after chmod(2), and the empty one that a file began with.
    pub(super) fn versions_in(&self, id: &CircleId, trace: &Trace) -> Vec<Older> {
        let Some(circle) = self.circles.get(id) else { return Vec::new() };
        let mut found = Vec::new();
        for object in &trace.files {
            let older = circle.tree.older(object);
            let same = |older: &Older| (older.kind, older.size, older.mark);
            for (at, one) in older.iter().enumerate() {
                let next = older.get(at + 1).map(same).or_else(|| circle.tree.shown_mark(object));
                let empty = one.kind == Kind::File && one.size == 0 && next.is_some();
                if next != Some(same(one)) && !empty {
                    found.push(*one);
                }
            }
        }
        found.sort_by_key(|older| (older.lamport, older.dot, older.object));
        found
    }

    fn meant(&self, path: &str) -> Result<Meant, OpError> {
        let mut names = path.split('/').filter(|name| !name.is_empty() && *name != ".");
        let circle = match self.only_circle() {
            Some(circle) => circle.id,
            None => {
                let name = names.next().ok_or_else(|| OpError::Invalid("name a circle, or a path in one".into()))?;
                self.circle_named(name).ok_or(OpError::NotFound)?
            }
        };
        let names: Vec<Vec<u8>> = names.map(|name| name.as_bytes().to_vec()).collect();
        let trace = self.trace_of(&circle, &names).ok_or(OpError::NotFound)?;
        if trace == Trace::default() {
            return Err(OpError::NotFound);
        }
        Ok(Meant { circle, names, trace })
    }

    /// The older versions of what a path leads or led to, and the files that were deleted below it. An empty path means all
    /// circles.
    ///
    /// # Errors
    /// `NotFound` where nothing ever was.
    pub fn versions(&self, path: &str) -> Result<Versions, OpError> {
        let everything = path.split('/').all(|name| name.is_empty() || name == ".");
        let mut told = Versions::default();
        if everything && self.only_circle().is_none() {
            for (_, circle) in self.shown_circles() {
                self.tell_deleted(&circle.id, &[], &mut told);
            }
            return Ok(told);
        }
        let Meant { circle, names, trace } = self.meant(path)?;
        for (at, older) in self.versions_in(&circle, &trace).iter().enumerate().rev() {
            told.versions.push(FileVersion {
                number: at as u64 + 1,
                date: date_of(older.wall),
                author: self.circles[&circle].tree.author_name(&older.dot.author),
                size: older.size,
                place: self.place_of(&circle, older),
            });
        }
        if !trace.directories.is_empty() {
            self.tell_deleted(&circle, &names, &mut told);
        }
        Ok(told)
    }

    /// Adds what was deleted below a directory, the last first.
    fn tell_deleted(&self, id: &CircleId, below: &[Vec<u8>], told: &mut Versions) {
        let Some(circle) = self.circles.get(id) else { return };
        let prefix = self.only_circle().is_none().then(|| self.shown_name(circle).into_bytes());
        let mut lines = Vec::new();
        for path in self.deleted_below(id, below) {
            let Some(trace) = self.trace_of(id, &path) else { continue };
            let versions = self.versions_in(id, &trace);
            let deleted = trace.files.iter().filter_map(|file| circle.tree.deletion(file));
            let Some(last) = versions.last() else { continue };
            let (wall, author) = deleted
                .max_by_key(|deletion| deletion.wall)
                .map_or((last.wall, last.dot.author), |deletion| (deletion.wall, deletion.author));
            let names: Vec<_> = prefix.iter().chain(&path).map(|name| String::from_utf8_lossy(name)).collect();
            let line = DeletedFile {
                path: names.join("/"),
                date: date_of(wall),
                author: circle.tree.author_name(&author),
                size: last.size,
                versions: versions.len() as u64,
                place: self.place_of(id, last),
            };
            lines.push((wall, line));
        }
        lines.sort_by(|a, b| (b.0, &a.1.path).cmp(&(a.0, &b.1.path)));
        let room = DELETED_TOLD - told.deleted.len().min(DELETED_TOLD);
        told.more |= lines.len() > room;
        told.deleted.extend(lines.into_iter().take(room).map(|(_, line)| line));
    }

    /// The paths below `below` at which there was a file and is none.
    fn deleted_below(&self, id: &CircleId, below: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
        let Some(circle) = self.circles.get(id) else { return Vec::new() };
        let mut paths = BTreeMap::new();
        for object in circle.tree.gone() {
            let Some(path) = circle.tree.last_path(&object).filter(|path| path.starts_with(below)) else { continue };
            paths.entry(path).or_insert(());
        }
        let lives = |path: &Vec<Vec<u8>>| {
            let trace = self.trace_of(id, path).unwrap_or_default();
            trace.files.iter().any(|file| circle.tree.is_alive(file))
        };
        paths.into_keys().filter(|path| !lives(path)).collect()
    }

    /// Where the bytes of an older body are.
    fn place_of(&self, id: &CircleId, older: &Older) -> Held {
        let Some((body, _)) = self.older_body(id, older) else { return Held::Gone };
        let Some(info_hash) = torrent_of(&body) else { return Held::Here };
        match self.vault.torrents.get(&info_hash).map(|torrent| &torrent.state) {
            Some(State::Whole) => Held::Here,
            _ if self.is_offered(&info_hash) => Held::Friends,
            Some(State::Partial(_)) => Held::Partly,
            Some(State::Absent) | None => Held::Gone,
        }
    }

    /// Puts an older version back: at its path, or at another that is free. Of a deleted directory, all that was below it.
    pub(super) fn restore(
        &mut self,
        ticket: Ticket,
        path: &str,
        number: Option<u64>,
        to: Option<&str>,
    ) -> Option<Reply> {
        match self.restore_now(path, number, to) {
            Ok(files) => {
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Restored(files))));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn restore_now(&mut self, path: &str, number: Option<u64>, to: Option<&str>) -> Result<u64, OpError> {
        let Meant { circle: id, names, trace } = self.meant(path)?;
        self.may_write(&id)?;
        let versions = self.versions_in(&id, &trace);
        let chosen = match number {
            None => versions.last().copied(),
            Some(number) => {
                let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                let chosen = at.and_then(|at| versions.get(at)).copied();
                let count = versions.len();
                Some(chosen.ok_or_else(|| OpError::Invalid(format!("it has no version {number}, but {count}")))?)
            }
        };
        let target = match to {
            None => names.clone(),
            Some(to) => self.target(&id, to)?,
        };
        match chosen {
            Some(older) => self.put_back(&id, &older, &target, to.is_some()).map(|()| 1),
            None if to.is_some() || trace.directories.is_empty() => {
                Err(OpError::Invalid("no older version of it is known".into()))
            }
            None => self.restore_below(&id, &names, &trace),
        }
    }

    /// The names of a path to write at, in the same circle.
    fn target(&self, id: &CircleId, to: &str) -> Result<Vec<Vec<u8>>, OpError> {
        let mut names = to.split('/').filter(|name| !name.is_empty() && *name != ".");
        if self.only_circle().is_none() && names.next().and_then(|name| self.circle_named(name)) != Some(*id) {
            return Err(OpError::CrossCircle);
        }
        Ok(names.map(|name| name.as_bytes().to_vec()).collect())
    }

    /// Puts back the newest version of all that was deleted below a directory that is gone, where nothing is now.
    fn restore_below(&mut self, id: &CircleId, names: &[Vec<u8>], trace: &Trace) -> Result<u64, OpError> {
        let lives = |directory: &ObjectId| self.circles.get(id).is_some_and(|circle| circle.tree.is_alive(directory));
        if names.is_empty() || trace.directories.iter().any(lives) {
            return Err(OpError::Invalid("the directory is there: name what was deleted in it".into()));
        }
        let mut files = 0;
        for path in self.deleted_below(id, names).into_iter().take(RESTORED_MAX) {
            let trace = self.trace_of(id, &path).unwrap_or_default();
            if let Some(older) = self.versions_in(id, &trace).pop() {
                self.put_back(id, &older, &path, true)?;
                files += 1;
            }
        }
        Ok(files)
    }

    pub(super) fn put_back(
        &mut self,
        id: &CircleId,
        older: &Older,
        target: &[Vec<u8>],
        fresh: bool,
    ) -> Result<(), OpError> {
        let (name, directories) = target.split_last().ok_or(OpError::IsDirectory)?;
        let name = Name::new(name).map_err(refused)?;
        let (body, record) =
            self.older_body(id, older).ok_or_else(|| OpError::Io("its record cannot be read".into()))?;
        let info = self.public_info(id, &record);
        let parent = self.make_path(id, directories)?;
        self.may_name(id, &parent, name.as_bytes())?;
        let (object, context) = match self.entry(id, &parent, name.as_bytes()) {
            Some(_) if fresh => return Err(OpError::Exists),
            Some(seen) => {
                let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
                if self.files.drafts.get(&key).is_some_and(|draft| draft.dirty) {
                    return Err(OpError::NotPermitted("it is being written: close it first".into()));
                }
                if self.kind(id, &seen)? != body.kind || seen.version.is_some() {
                    return Err(OpError::Exists);
                }
                (seen.object, self.circles[id].tree.body_context(&seen))
            }
            None => {
                self.check_depth(id, &parent)?;
                let (object, place) = (self.fresh_object(), Place { parent, name, deleted: None });
                let (_, changes) = self.author(id, object, Value::Place(place), Context::default(), None)?;
                self.tree_changed(id, changes);
                (object, Context::default())
            }
        };
        let (dot, changes) = self.author(id, object, Value::Body(body), context, info)?;
        self.tree_changed(id, changes);
        self.go_on_from(&DraftKey { circle: *id, object, version: None }, dot);
        Ok(())
    }

    /// Whoever has a file open for writing, and has written nothing, goes on from what is there now.
    pub(super) fn go_on_from(&mut self, key: &DraftKey, dot: Dot) {
        if let Some(draft) = self.files.drafts.remove(key) {
            self.repin(key, dot);
            if draft.handles > 0 {
                self.ensure_draft(key);
            }
        }
    }

    /// The directory of this path; those on the way that are not there are made.
    fn make_path(&mut self, id: &CircleId, names: &[Vec<u8>]) -> Result<ObjectId, OpError> {
        let mut at = self.circles.get(id).ok_or(OpError::NotFound)?.tree.root();
        for name in names {
            at = match self.entry(id, &at, name) {
                Some(seen) if self.kind(id, &seen)? == Kind::Directory => seen.object,
                Some(_) => return Err(OpError::NotDirectory),
                None => {
                    let name = Name::new(name).map_err(refused)?;
                    self.may_name(id, &at, name.as_bytes())?;
                    self.check_depth(id, &at)?;
                    self.make_directory(id, at, name)?
                }
            };
        }
        Ok(at)
    }

    fn make_directory(&mut self, id: &CircleId, parent: ObjectId, name: Name) -> Result<ObjectId, OpError> {
        let object = self.fresh_object();
        let place = Value::Place(Place { parent, name, deleted: None });
        let (content, xattrs) = (Content::None, Xattrs::default());
        let body = Body { kind: Kind::Directory, mode: 0o755, mtime: self.now.wall, size: 0, content, xattrs };
        for value in [place, Value::Body(body)] {
            let (_, changes) = self.author(id, object, value, Context::default(), None)?;
            self.tree_changed(id, changes);
        }
        Ok(object)
    }

    /// Every older body of a circle, with what its content is known by: equal on nodes that agree.
    pub fn older_listing(&self, circle: &str) -> Vec<Older> {
        let Some(circle) = self.circle_named(circle).and_then(|id| self.circles.get(&id)) else { return Vec::new() };
        let mut all = Vec::new();
        let mut open = vec![circle.tree.trace_root().directories];
        while let Some(directories) = open.pop() {
            for name in circle.tree.trace_names(&directories, None, usize::MAX) {
                let trace = circle.tree.trace(&directories, &name);
                all.extend(trace.files.iter().flat_map(|file| circle.tree.older(file)));
                open.extend(Some(trace.directories).filter(|directories| !directories.is_empty()));
            }
        }
        all.sort_by_key(|older| (older.object, older.dot));
        all
    }

    /// Bodies in the commits of a circle that neither show nor are found among the older ones, of objects that ever had a
    /// place; for the simulator, which wants none.
    pub fn lost_bodies(&self, circle: &str) -> Vec<(ObjectId, Dot)> {
        let found: BTreeSet<_> = self.older_listing(circle).iter().map(|older| (older.object, older.dot)).collect();
        let Some(circle) = self.circle_named(circle).and_then(|id| self.circles.get(&id)) else { return Vec::new() };
        let mut lost = Vec::new();
        for (chain, tip) in &circle.chains {
            let commits = (1..=tip.sequence).filter_map(|sequence| self.stored_commit(&circle.id, chain, sequence));
            for signed in commits {
                for (at, entry) in signed.commit.entries.iter().enumerate() {
                    let bytes = self.record_bytes(&circle.id, &entry.record);
                    let version = bytes.and_then(|bytes| circle.open_record(&signed.commit, at, &bytes).ok()?);
                    let Some(Version { object, dot, value: Value::Body(body), .. }) = version else { continue };
                    let shows = || circle.tree.holds(&object, &dot);
                    let placed = circle.tree.last_path(&object).is_some();
                    if body.kind != Kind::Directory && placed && !found.contains(&(object, dot)) && !shows() {
                        lost.push((object, dot));
                    }
                }
            }
        }
        lost
    }
}

/// As people and programs read it, in UTC (RFC 3339).
pub(super) fn date_of(wall: WallTime) -> String {
    let ((year, month, day), (hour, minute, second)) = (wall.date(), wall.time_of_day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

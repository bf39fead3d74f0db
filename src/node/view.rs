//! `.dustfs` in the root of the mount: a view that nobody writes to. Below `versions` stand the tree's directories, those
//! that are gone included; what is a file in the tree is a directory there, in which each older version is a file named by
//! its date and author.
//!
//! It is found by its name and not listed, so that whoever copies, counts or removes a whole tree does not walk through all
//! that it ever was. Nothing of it is kept: an inode number leads to an object, and the object to its path.

use std::collections::BTreeMap;

use super::Node;
use super::draft::View as BodyView;
use super::files::DraftKey;
use super::handles::{Open, Pin};
use super::io::{Answer, Attr, DirEntry, Handle, Inode, OpError, Reply};
use super::read::torrent_of;
use crate::base::{CircleId, ObjectId, Snapshot};
use crate::tree::{Older, Trace, Tree};
use crate::wire::record::{Body, Context, Dot, Kind};

/// The name of the view in the root of the mount, and of nothing else in the root of a circle.
pub const VIEW: &[u8] = b".dustfs";
const VERSIONS: &[u8] = b"versions";
const VIEW_INODE: Inode = Inode(0xd057_f500_0000_0001);
const VERSIONS_INODE: Inode = Inode(0xd057_f500_0000_0002);
/// Longer endings are taken for a part of the name, as in the names of conflicts.
const EXTENSION_MAX: usize = 32;

/// Something of the view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `.dustfs`.
    View,
    /// `.dustfs/versions`, where there are several circles.
    Versions,
    /// What has, or had, the place of an object.
    Trace(CircleId, ObjectId),
    /// An older body.
    Older(CircleId, ObjectId, Dot),
}

impl<S: Snapshot> Node<S> {
    /// What an inode of the view is.
    pub(super) fn part(&self, inode: Inode) -> Option<Part> {
        match inode {
            VIEW_INODE => return Some(Part::View),
            VERSIONS_INODE => return Some(Part::Versions),
            _ => {}
        }
        let mut circles = self.circles.values().filter(|circle| circle.readable());
        circles.find_map(|circle| {
            let trace = || circle.tree.by_trace_inode(inode.0).map(|object| Part::Trace(circle.id, object));
            let older = circle.tree.by_older_inode(inode.0);
            older.map(|older| Part::Older(circle.id, older.object, older.dot)).or_else(trace)
        })
    }

    /// Refuses the view's name in the root of a circle: where the circle is the only one, nobody could see it.
    pub(super) fn may_name(&self, id: &CircleId, directory: &ObjectId, name: &[u8]) -> Result<(), OpError> {
        let root = self.circles.get(id).map(|circle| circle.tree.root());
        if name == VIEW && root == Some(*directory) {
            return Err(OpError::NotPermitted("'.dustfs' is the name of the view of older versions".into()));
        }
        Ok(())
    }

    fn directory_attr(&self, inode: Inode) -> Attr {
        Attr { mode: 0o555, ..self.root_attr(inode) }
    }

    /// The older body that a part is, with its value.
    pub(super) fn older_part(&self, id: &CircleId, object: &ObjectId, dot: &Dot) -> Result<(Older, Body), OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        let older = circle.tree.older(object).into_iter().find(|older| older.dot == *dot).ok_or(OpError::NotFound)?;
        let (body, _) = self.older_body(id, &older).ok_or(OpError::NotFound)?;
        Ok((older, body))
    }

    pub(super) fn part_attr(&self, part: &Part) -> Result<Attr, OpError> {
        Ok(match part {
            Part::View => self.directory_attr(VIEW_INODE),
            Part::Versions => self.directory_attr(VERSIONS_INODE),
            Part::Trace(_, object) => self.directory_attr(Inode(Tree::trace_inode(object))),
            Part::Older(id, object, dot) => {
                let (_, body) = self.older_part(id, object, dot)?;
                let inode = Inode(Tree::older_inode(object, dot));
                let Body { kind, size, mode, mtime, .. } = body;
                Attr { inode, kind, size, mode: mode & 0o555, mtime, links: 1 }
            }
        })
    }

    /// The part that stands under `versions`.
    fn versions_part(&self) -> Part {
        match self.only_circle() {
            Some(circle) => Part::Trace(circle.id, circle.tree.root()),
            None => Part::Versions,
        }
    }

    pub(super) fn part_lookup(&self, part: &Part, name: &[u8]) -> Result<Attr, OpError> {
        let found = match part {
            Part::View if name == VERSIONS => self.versions_part(),
            Part::View => return Err(OpError::NotFound),
            Part::Versions => {
                let found = self.shown_circles().into_iter().find(|(shown, _)| shown.as_bytes() == name);
                let (_, circle) = found.ok_or(OpError::NotFound)?;
                Part::Trace(circle.id, circle.tree.root())
            }
            Part::Trace(id, object) => self.entry_of_trace(id, object, name).ok_or(OpError::NotFound)?,
            Part::Older(..) => return Err(OpError::NotDirectory),
        };
        self.part_attr(&found)
    }

    fn entry_of_trace(&self, id: &CircleId, object: &ObjectId, name: &[u8]) -> Option<Part> {
        let trace = self.whole_trace(id, object)?;
        let below = self.circles.get(id)?.tree.trace(&trace.directories, name);
        if let Some(first) = below.directories.first().or(below.files.first()) {
            return Some(Part::Trace(*id, *first));
        }
        let older = *self.named_versions(id, &trace).get(name)?;
        Some(Part::Older(*id, older.object, older.dot))
    }

    /// All that has, or had, the place of an object.
    fn whole_trace(&self, id: &CircleId, object: &ObjectId) -> Option<Trace> {
        self.trace_of(id, &self.trace_path(id, object)?)
    }

    fn trace_path(&self, id: &CircleId, object: &ObjectId) -> Option<Vec<Vec<u8>>> {
        let tree = &self.circles.get(id)?.tree;
        if *object == tree.root() { Some(Vec::new()) } else { tree.last_path(object) }
    }

    /// The older versions of a file by the names under which the view shows them.
    fn named_versions(&self, id: &CircleId, trace: &Trace) -> BTreeMap<Vec<u8>, Older> {
        let Some(circle) = self.circles.get(id) else { return BTreeMap::new() };
        let name = trace.files.first().and_then(|file| circle.tree.last_path(file)).and_then(|mut path| path.pop());
        let name = name.unwrap_or_default();
        let mut named = BTreeMap::new();
        for older in self.versions_in(id, trace) {
            let author = circle.tree.author_name(&older.dot.author);
            let mut names = (1..).map(|nth| version_name(&name, &older, &author, nth));
            if let Some(free) = names.find(|name| !named.contains_key(name)) {
                named.insert(free, older);
            }
        }
        named
    }

    pub(super) fn part_list(&self, part: &Part, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        let directory = |inode, name: &[u8]| DirEntry { inode, kind: Kind::Directory, name: name.to_vec() };
        let mut entries = match part {
            Part::View => vec![directory(self.part_attr(&self.versions_part())?.inode, VERSIONS)],
            Part::Versions => {
                let circles = self.shown_circles();
                let inode = |object| Inode(Tree::trace_inode(&object));
                circles.iter().map(|(name, c)| directory(inode(c.tree.root()), name.as_bytes())).collect()
            }
            Part::Trace(id, object) => {
                let trace = self.whole_trace(id, object).ok_or(OpError::NotFound)?;
                let tree = &self.circles.get(id).ok_or(OpError::NotFound)?.tree;
                let named = self.named_versions(id, &trace);
                let older = named.iter().map(|(name, older)| DirEntry {
                    inode: Inode(Tree::older_inode(&older.object, &older.dot)),
                    kind: older.kind,
                    name: name.clone(),
                });
                let mut entries: BTreeMap<Vec<u8>, DirEntry> = older.map(|entry| (entry.name.clone(), entry)).collect();
                for name in tree.trace_names(&trace.directories, after, limit) {
                    let below = tree.trace(&trace.directories, &name);
                    if let Some(first) = below.directories.first().or(below.files.first()) {
                        entries.insert(name.clone(), directory(Inode(Tree::trace_inode(first)), &name));
                    }
                }
                entries.into_values().collect()
            }
            Part::Older(..) => return Err(OpError::NotDirectory),
        };
        entries.retain(|entry| after.is_none_or(|after| entry.name.as_slice() > after));
        entries.truncate(limit);
        Ok(entries)
    }

    pub(super) fn part_parent(&self, part: &Part) -> Inode {
        match part {
            Part::View => Inode::ROOT,
            Part::Versions => VIEW_INODE,
            Part::Trace(id, object) | Part::Older(id, object, _) => {
                let Some(mut path) = self.trace_path(id, object) else { return VIEW_INODE };
                let is_root = path.pop().is_none();
                match self.trace_of(id, &path).and_then(|trace| trace.directories.first().copied()) {
                    Some(parent) if !is_root => Inode(Tree::trace_inode(&parent)),
                    _ if self.only_circle().is_some() => VIEW_INODE,
                    _ => VERSIONS_INODE,
                }
            }
        }
    }

    /// Opens an older version; nobody writes to it.
    pub(super) fn open_part(&mut self, part: &Part, inode: Inode, write: bool) -> Reply {
        let Part::Older(id, object, dot) = part else { return Err(OpError::IsDirectory) };
        if write {
            return Err(read_only());
        }
        let (older, body) = self.older_part(id, object, dot)?;
        if body.kind != Kind::File {
            return Err(OpError::Invalid("it is a symbolic link".into()));
        }
        let (_, record) = self.older_body(id, &older).ok_or(OpError::NotFound)?;
        if let Some(info_hash) = torrent_of(&body) {
            self.keep_layout(&info_hash);
        }
        let key = DraftKey { circle: *id, object: *object, version: Some(*dot) };
        self.files.next_handle += 1;
        let handle = Handle(self.files.next_handle);
        self.files.handles.insert(handle, Open { key, write: false });
        self.files.by_inode.insert(inode, key);
        let pin = self.files.pins.entry(key).or_insert(Pin { handles: 0, view: None });
        pin.handles += 1;
        pin.view = Some(BodyView { dot: *dot, body, record, context: Context::default() });
        Ok(Answer::Opened(handle))
    }
}

/// Why nothing of the view changes.
pub(super) fn read_only() -> OpError {
    OpError::NotPermitted("it shows what was: `dustfs restore` puts it back, a copy can be changed".into())
}

/// `2026-11-22 18.03.11 anna.ext`, in UTC; of several in one second the later ones as `18.03.11-2`, in their order.
fn version_name(name: &[u8], older: &Older, author: &str, nth: usize) -> Vec<u8> {
    let ((year, month, day), (hour, minute, second)) = (older.wall.date(), older.wall.time_of_day());
    let nth = if nth > 1 { format!("-{nth}") } else { String::new() };
    let plain = format!("{year:04}-{month:02}-{day:02} {hour:02}.{minute:02}.{second:02}{nth} {author}");
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let extension = dot.filter(|at| *at > 0 && at + 1 < name.len() && name.len() - at <= EXTENSION_MAX);
    [plain.as_bytes(), extension.map_or(&[][..], |at| &name[at..])].concat()
}

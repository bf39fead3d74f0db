//! A tree in memory that answers as the node does, at once or from a thread, and whose files may be far away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::base::limits::CHUNK_PLAIN;
use crate::base::{CircleId, Ticket, WallTime};
use crate::node::io::{
    Answer, Attr, DirEntry, DiskError, Handle, Inode, Op, OpError, ReadPart, ReadPlan, Reply, Segment,
};
use crate::os::fuse::{Files, lock};
use crate::seal::{ChunkKey, CircleKey, EpochKeys, Suite};
use crate::wire::record::Kind;

type Done = Box<dyn FnOnce(Reply) + Send>;

#[derive(Default)]
pub(super) struct Fake {
    tree: Mutex<Tree>,
    tickets: AtomicUsize,
    freed: AtomicUsize,
    /// Answers from a thread when it is set.
    node: Option<Mutex<mpsc::Sender<(Done, Reply)>>>,
    /// Chunks opened.
    pub(super) unsealed: AtomicUsize,
    /// How many of the next chunks have been overwritten when they are read.
    pub(super) overwritten: AtomicUsize,
}

struct Tree {
    last: u64,
    nodes: BTreeMap<Inode, Node>,
    handles: BTreeMap<Handle, Inode>,
    fetching: BTreeMap<Ticket, (Inode, Done)>,
    cancelled: Vec<Ticket>,
    /// A name that shows from the second lookup on.
    late: Option<Vec<u8>>,
    synced: Vec<Inode>,
    flushed: usize,
}

struct Node {
    attr: Attr,
    parent: Inode,
    entries: BTreeMap<Vec<u8>, Inode>,
    data: Vec<u8>,
    stored: Stored,
    open: usize,
    named: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    Plain,
    Sealed,
    Remote,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree = Self {
            last: Inode::ROOT.0,
            nodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            fetching: BTreeMap::new(),
            cancelled: Vec::new(),
            late: None,
            synced: Vec::new(),
            flushed: 0,
        };
        tree.nodes.insert(Inode::ROOT, Node::new(Inode::ROOT, Inode::ROOT, Kind::Directory, 0o755));
        tree
    }
}

impl Node {
    fn new(inode: Inode, parent: Inode, kind: Kind, mode: u32) -> Self {
        let links = if kind == Kind::Directory { 2 } else { 1 };
        Self {
            attr: Attr { inode, kind, size: 0, mode, mtime: now(), links },
            parent,
            entries: BTreeMap::new(),
            data: Vec::new(),
            stored: Stored::Plain,
            open: 0,
            named: true,
        }
    }
}

impl Fake {
    /// Answers operations from a thread of its own, as the node does when it waits for its disk.
    pub(super) fn later() -> Self {
        let (node, answers) = mpsc::channel::<(Done, Reply)>();
        thread::spawn(move || answers.iter().for_each(|(done, reply)| done(reply)));
        Self { node: Some(Mutex::new(node)), ..Self::default() }
    }

    /// Makes or replaces a file of the root as a friend's change does.
    pub(super) fn put(&self, name: &str, stored: Stored, data: Vec<u8>) -> Inode {
        let mut tree = lock(&self.tree);
        let inode = match tree.nodes[&Inode::ROOT].entries.get(name.as_bytes()) {
            Some(inode) => *inode,
            None => tree.add(Inode::ROOT, name.as_bytes(), Kind::File, 0o644).expect("the name is free").inode,
        };
        let node = tree.nodes.get_mut(&inode).expect("it was just made");
        node.attr.size = data.len() as u64;
        node.attr.mtime = now();
        (node.data, node.stored) = (data, stored);
        inode
    }

    /// Removes a name of the root as a friend's change does.
    pub(super) fn remove(&self, name: &str) {
        lock(&self.tree).remove(Inode::ROOT, name.as_bytes(), Kind::File).expect("it is there");
    }

    /// Has a name be there, but not for the first lookup.
    pub(super) fn show_late(&self, name: &str) {
        lock(&self.tree).late = Some(name.into());
    }

    /// The bytes of a remote file come, and whoever waits for them is told.
    pub(super) fn arrive(&self, inode: Inode) {
        let mut tree = lock(&self.tree);
        tree.nodes.get_mut(&inode).expect("it is there").stored = Stored::Sealed;
        let waiting: Vec<Ticket> =
            tree.fetching.iter().filter(|(_, (of, _))| *of == inode).map(|(ticket, _)| *ticket).collect();
        let waiting: Vec<Done> = waiting.iter().filter_map(|ticket| Some(tree.fetching.remove(ticket)?.1)).collect();
        drop(tree);
        waiting.into_iter().for_each(|done| done(Ok(Answer::Done)));
    }

    /// All fetches fail.
    pub(super) fn fail(&self, error: &OpError) {
        let waiting = std::mem::take(&mut lock(&self.tree).fetching);
        waiting.into_values().for_each(|(_, done)| done(Err(error.clone())));
    }

    pub(super) fn fetching(&self) -> usize {
        lock(&self.tree).fetching.len()
    }

    pub(super) fn cancelled(&self) -> usize {
        lock(&self.tree).cancelled.len()
    }

    pub(super) fn synced(&self) -> Vec<Inode> {
        lock(&self.tree).synced.clone()
    }

    pub(super) fn flushed(&self) -> usize {
        lock(&self.tree).flushed
    }

    pub(super) fn open(&self) -> usize {
        lock(&self.tree).handles.len()
    }

    pub(super) fn data(&self, inode: Inode) -> Vec<u8> {
        lock(&self.tree).nodes[&inode].data.clone()
    }
}

impl Files for Fake {
    fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Attr, OpError> {
        let mut tree = lock(&self.tree);
        if tree.late.take_if(|late| late == name).is_some() {
            return Err(OpError::NotFound);
        }
        if name.len() > 255 {
            return Err(OpError::NameTooLong);
        }
        let inode = *tree.directory(parent)?.entries.get(name).ok_or(OpError::NotFound)?;
        Ok(tree.nodes[&inode].attr)
    }

    fn attr(&self, inode: Inode) -> Result<Attr, OpError> {
        lock(&self.tree).nodes.get(&inode).map(|node| node.attr).ok_or(OpError::NotFound)
    }

    fn list(&self, inode: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        use std::ops::Bound;
        let mut tree = lock(&self.tree);
        let entries = tree.directory(inode)?.entries.clone();
        let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let entry = |(name, inode): (&Vec<u8>, &Inode)| DirEntry {
            inode: *inode,
            kind: tree.nodes[inode].attr.kind,
            name: name.clone(),
        };
        Ok(entries.range::<[u8], _>(range).take(limit).map(entry).collect())
    }

    fn readlink(&self, inode: Inode) -> Result<Bytes, OpError> {
        let tree = lock(&self.tree);
        tree.nodes.get(&inode).map(|node| node.data.clone().into()).ok_or(OpError::NotFound)
    }

    fn plan(&self, inode: Inode, offset: u64, length: u32) -> Result<ReadPlan, OpError> {
        let tree = lock(&self.tree);
        let node = tree.nodes.get(&inode).ok_or(OpError::NotFound)?;
        let end = node.data.len().min(offset as usize + length as usize);
        let mut at = offset as usize;
        let mut parts = Vec::new();
        while at < end {
            match node.stored {
                Stored::Plain => {
                    parts.push(ReadPart::Bytes(Bytes::copy_from_slice(&node.data[at..end])));
                    at = end;
                }
                Stored::Sealed => {
                    let (chunk, skip) = (at / CHUNK_PLAIN, at % CHUNK_PLAIN);
                    let take = (CHUNK_PLAIN - skip).min(end - at);
                    let segment = Segment { slab: inode.0 as u32, offset: chunk as u64, length: 65_536 };
                    parts.push(ReadPart::Chunk { segment, key: key(), skip, take });
                    at += take;
                }
                Stored::Remote => {
                    parts.push(ReadPart::Missing);
                    break;
                }
            }
        }
        Ok(ReadPlan { parts })
    }

    fn parent(&self, inode: Inode) -> Inode {
        lock(&self.tree).nodes.get(&inode).map_or(Inode::ROOT, |node| node.parent)
    }

    fn freed(&self) -> u64 {
        self.freed.load(Ordering::SeqCst) as u64
    }

    fn op(&self, op: Op, done: Done) -> Ticket {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::SeqCst) as u64 + 1);
        let mut tree = lock(&self.tree);
        if let Op::Fetch { inode, .. } = op
            && tree.nodes.get(&inode).is_some_and(|node| node.stored == Stored::Remote)
        {
            tree.fetching.insert(ticket, (inode, done));
            return ticket;
        }
        let reply = tree.apply(op);
        drop(tree);
        match &self.node {
            Some(node) => lock(node).send((done, reply)).expect("the thread listens"),
            None => done(reply),
        }
        ticket
    }

    /// Never answers what is cancelled.
    fn cancel(&self, ticket: Ticket) {
        let mut tree = lock(&self.tree);
        tree.fetching.remove(&ticket);
        tree.cancelled.push(ticket);
    }

    fn unseal(&self, segment: Segment, _: &ChunkKey, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        self.unsealed.fetch_add(1, Ordering::SeqCst);
        if self.overwritten.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            self.freed.fetch_add(1, Ordering::SeqCst);
            return Err(DiskError::Corrupt);
        }
        let tree = lock(&self.tree);
        let file = tree.nodes.values().find(|node| node.attr.inode.0 as u32 == segment.slab);
        let data = &file.ok_or(DiskError::Corrupt)?.data;
        let start = segment.offset as usize * CHUNK_PLAIN;
        buffer.clear();
        buffer.extend_from_slice(&data[start..data.len().min(start + CHUNK_PLAIN)]);
        buffer.resize(buffer.len().next_multiple_of(4_096).min(CHUNK_PLAIN), 0);
        Ok(())
    }

    fn space(&self) -> (u64, u64) {
        (1 << 30, 1 << 29)
    }
}

impl Tree {
    fn directory(&mut self, inode: Inode) -> Result<&mut Node, OpError> {
        let node = self.nodes.get_mut(&inode).ok_or(OpError::NotFound)?;
        if node.attr.kind == Kind::Directory { Ok(node) } else { Err(OpError::NotDirectory) }
    }

    fn add(&mut self, parent: Inode, name: &[u8], kind: Kind, mode: u32) -> Result<Attr, OpError> {
        if name.len() > 255 {
            return Err(OpError::NameTooLong);
        }
        let inode = Inode(self.last + 1);
        let directory = self.directory(parent)?;
        if directory.entries.contains_key(name) {
            return Err(OpError::Exists);
        }
        directory.entries.insert(name.to_vec(), inode);
        directory.attr.mtime = now();
        self.last += 1;
        let node = Node::new(inode, parent, kind, mode);
        let attr = node.attr;
        self.nodes.insert(inode, node);
        Ok(attr)
    }

    fn remove(&mut self, parent: Inode, name: &[u8], kind: Kind) -> Result<(), OpError> {
        let inode = *self.directory(parent)?.entries.get(name).ok_or(OpError::NotFound)?;
        let node = &self.nodes[&inode];
        match (kind, node.attr.kind) {
            (Kind::Directory, Kind::Directory) if !node.entries.is_empty() => return Err(OpError::NotEmpty),
            (Kind::Directory, Kind::File | Kind::Symlink) => return Err(OpError::NotDirectory),
            (Kind::File | Kind::Symlink, Kind::Directory) => return Err(OpError::IsDirectory),
            _ => {}
        }
        self.directory(parent)?.entries.remove(name);
        let node = self.nodes.get_mut(&inode).expect("its name was there");
        node.named = false;
        node.attr.links = 0;
        self.sweep(inode);
        Ok(())
    }

    fn sweep(&mut self, inode: Inode) {
        if self.nodes.get(&inode).is_some_and(|node| !node.named && node.open == 0) {
            self.nodes.remove(&inode);
        }
    }

    fn open(&mut self, inode: Inode) -> Handle {
        self.last += 1;
        let handle = Handle(self.last);
        self.handles.insert(handle, inode);
        self.nodes.get_mut(&inode).expect("it is there").open += 1;
        handle
    }

    fn rename(&mut self, from: (Inode, &[u8]), to: (Inode, &[u8]), no_replace: bool) -> Result<(), OpError> {
        let inode = *self.directory(from.0)?.entries.get(from.1).ok_or(OpError::NotFound)?;
        if let Some(there) = self.directory(to.0)?.entries.get(to.1).copied() {
            if no_replace {
                return Err(OpError::Exists);
            }
            if there == inode {
                return Ok(());
            }
            self.remove(to.0, to.1, self.nodes[&inode].attr.kind)?;
        }
        self.directory(from.0)?.entries.remove(from.1);
        self.directory(to.0)?.entries.insert(to.1.to_vec(), inode);
        self.nodes.get_mut(&inode).expect("its name was there").parent = to.0;
        Ok(())
    }

    fn exchange(&mut self, one: (Inode, &[u8]), other: (Inode, &[u8])) -> Result<(), OpError> {
        let first = *self.directory(one.0)?.entries.get(one.1).ok_or(OpError::NotFound)?;
        let second = *self.directory(other.0)?.entries.get(other.1).ok_or(OpError::NotFound)?;
        for ((parent, name), inode) in [(one, second), (other, first)] {
            self.directory(parent)?.entries.insert(name.to_vec(), inode);
            self.nodes.get_mut(&inode).expect("its name was there").parent = parent;
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Reply {
        Ok(match op {
            Op::Create { parent, name, mode } => {
                let attr = self.add(parent, &name, Kind::File, mode)?;
                Answer::Created(attr, self.open(attr.inode))
            }
            Op::Mkdir { parent, name, mode } => Answer::Entry(self.add(parent, &name, Kind::Directory, mode)?),
            Op::Symlink { parent, name, target } => {
                let inode = self.add(parent, &name, Kind::Symlink, 0o777)?.inode;
                let node = self.nodes.get_mut(&inode).expect("it was just made");
                node.attr.size = target.len() as u64;
                node.data = target;
                Answer::Entry(node.attr)
            }
            Op::Unlink { parent, name } => {
                self.remove(parent, &name, Kind::File)?;
                Answer::Done
            }
            Op::Rmdir { parent, name } => {
                self.remove(parent, &name, Kind::Directory)?;
                Answer::Done
            }
            Op::Rename { parent, name, new_parent, new_name, no_replace } => {
                self.rename((parent, &name), (new_parent, &new_name), no_replace)?;
                Answer::Done
            }
            Op::Exchange { parent, name, new_parent, new_name } => {
                self.exchange((parent, &name), (new_parent, &new_name))?;
                Answer::Done
            }
            Op::Grow { handle, size } => {
                let inode = self.handles.get(&handle).ok_or(OpError::BadHandle)?;
                let node = self.nodes.get_mut(inode).ok_or(OpError::NotFound)?;
                node.data.resize(node.data.len().max(size as usize), 0);
                node.attr.size = node.data.len() as u64;
                Answer::Entry(node.attr)
            }
            Op::SetAttr { inode, size, mode, mtime } => {
                let node = self.nodes.get_mut(&inode).ok_or(OpError::NotFound)?;
                if let Some(size) = size {
                    node.data.resize(size as usize, 0);
                    node.attr.size = size;
                }
                node.attr.mode = mode.unwrap_or(node.attr.mode);
                node.attr.mtime = mtime.unwrap_or(node.attr.mtime);
                Answer::Entry(node.attr)
            }
            Op::Open { inode, truncate, .. } => {
                let node = self.nodes.get_mut(&inode).ok_or(OpError::NotFound)?;
                if truncate {
                    node.data.clear();
                    node.attr.size = 0;
                }
                Answer::Opened(self.open(inode))
            }
            Op::Write { handle, offset, data } => {
                let inode = self.handles.get(&handle).ok_or(OpError::BadHandle)?;
                let node = self.nodes.get_mut(inode).ok_or(OpError::NotFound)?;
                let start = offset.map_or(node.data.len(), |offset| offset as usize);
                if start + data.len() > 1 << 30 {
                    return Err(OpError::TooLarge);
                }
                let end = node.data.len().max(start + data.len());
                node.data.resize(end, 0);
                node.data[start..start + data.len()].copy_from_slice(&data);
                node.attr.size = end as u64;
                node.attr.mtime = now();
                Answer::Written(data.len() as u32)
            }
            Op::Flush { handle } => {
                self.handles.get(&handle).ok_or(OpError::BadHandle)?;
                self.flushed += 1;
                Answer::Done
            }
            Op::Release { handle } => {
                let inode = self.handles.remove(&handle).ok_or(OpError::BadHandle)?;
                self.nodes.get_mut(&inode).expect("it was open").open -= 1;
                self.sweep(inode);
                Answer::Done
            }
            Op::Fsync { inode } => {
                self.synced.push(inode);
                Answer::Done
            }
            Op::Fetch { .. } => Answer::Done,
            other => return Err(OpError::Invalid(format!("the mount does not ask for {other:?}"))),
        })
    }
}

/// Never used: the fake seals nothing.
fn key() -> Arc<ChunkKey> {
    EpochKeys::derive(&CircleId([0; 32]), 0, Suite::Aes256Gcm, &CircleKey([0; 32])).chunk_key()
}

fn now() -> WallTime {
    WallTime(SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos() as i64)
}

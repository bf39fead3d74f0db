//! What is read by `&self`: names, attributes, and plans by which data is read without the node's lock.

use std::sync::Arc;

use bytes::Bytes;

use super::Node;
use super::draft::{Chunk, Draft, Source, View, length_in, spans};
use super::files::DraftKey;
use super::io::{Attr, DirEntry, Inode, OpError, ReadPart, ReadPlan, Stale};
use super::vault::segments;
use super::view::{Part, VIEW, read_only};
use crate::base::limits::{CHUNK_SEALED, NAME_MAX};
use crate::base::{CircleId, InfoHash, ObjectId, Snapshot};
use crate::ledger::values::Extent;
use crate::seal::ChunkKey;
use crate::seal::chunk::sealed_chunk_length;
use crate::tree::{Attributes, Changes, Seen};
use crate::wire::record::{Body, Content, Kind, TorrentRef};

/// What an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spot {
    /// The root of the mount where there are several circles.
    Top,
    /// Something in a circle.
    In(CircleId, Seen),
    /// Something of the view of what was.
    View(Part),
}

/// Bytes that one plan covers at most.
const PLAN_MAX: u32 = 1 << 24;

impl<S: Snapshot> Node<S> {
    /// Circles that this node may read, by name.
    pub(super) fn shown_circles(&self) -> Vec<(String, &super::circle::Circle)> {
        let readable = self.circles.values().filter(|circle| circle.readable());
        let mut shown: Vec<_> = readable.map(|circle| (self.shown_name(circle), circle)).collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        shown
    }

    /// The name that a circle goes by here: of two that were founded under one name, each with a piece of its id.
    pub(super) fn shown_name(&self, circle: &super::circle::Circle) -> String {
        let name = circle.roster.name();
        let twins = self.circles.values().filter(|other| other.roster.name() == name).count();
        if twins > 1 { format!("{name} ({})", circle.id) } else { name.to_string() }
    }

    pub(super) fn only_circle(&self) -> Option<&super::circle::Circle> {
        let mut readable = self.circles.values().filter(|circle| circle.readable());
        readable.next().filter(|_| readable.next().is_none())
    }

    /// What the inode is.
    pub(super) fn spot(&self, inode: Inode) -> Result<Spot, OpError> {
        if inode == Inode::ROOT {
            return Ok(match self.only_circle() {
                Some(circle) => Spot::In(circle.id, Seen { object: circle.tree.root(), version: None }),
                None => Spot::Top,
            });
        }
        if let Some(key) = self.files.by_inode(inode) {
            return Ok(Spot::In(key.circle, Seen { object: key.object, version: key.version }));
        }
        // Roots come first: no object of one circle can stand before the root of another.
        if let Some(circle) = self.circles.values().find(|circle| circle.tree.root().inode() == inode.0) {
            return Ok(Spot::In(circle.id, Seen::of(circle.tree.root())));
        }
        let found = self.circles.values().find_map(|circle| Some((circle.id, circle.tree.by_inode(inode.0)?)));
        let found = found.map(|(id, seen)| Spot::In(id, seen));
        found.or_else(|| self.part(inode).map(Spot::View)).ok_or(OpError::NotFound)
    }

    /// The inode under which something is shown.
    pub(super) fn inode_of(&self, id: &CircleId, seen: &Seen) -> Inode {
        let Some(circle) = self.circles.get(id) else { return Inode(0) };
        let root = circle.tree.root();
        if seen.object == root {
            let only = self.only_circle().is_some_and(|only| only.id == *id);
            return if only { Inode::ROOT } else { Inode(root.inode()) };
        }
        Inode(circle.tree.inode(seen))
    }

    /// A directory by its inode.
    pub(super) fn directory(&self, inode: Inode) -> Result<(CircleId, ObjectId), OpError> {
        match self.spot(inode)? {
            Spot::Top => Err(OpError::NotPermitted("this directory holds the circles: work inside one of them".into())),
            Spot::In(id, seen) => match self.kind(&id, &seen)? {
                Kind::Directory => Ok((id, seen.object)),
                _ => Err(OpError::NotDirectory),
            },
            Spot::View(_) => Err(read_only()),
        }
    }

    pub(super) fn kind(&self, id: &CircleId, seen: &Seen) -> Result<Kind, OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        if seen.object == circle.tree.root() {
            return Ok(Kind::Directory);
        }
        let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
        match self.files.pinned(&key) {
            Some(view) => Ok(view.body.kind),
            // A file that was unlinked before it was published lives in its draft alone.
            None if self.files.draft(&key).is_some() => Ok(Kind::File),
            None => circle.tree.attributes(seen).map(|attributes| attributes.kind).ok_or(OpError::NotFound),
        }
    }

    /// The body as it is published or pinned; a draft may be newer.
    pub(super) fn body(&self, id: &CircleId, seen: &Seen) -> Result<Body, OpError> {
        let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
        if let Some(view) = self.files.pinned(&key) {
            return Ok(view.body.clone());
        }
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        circle.tree.body(seen).map(|version| version.body).ok_or(OpError::NotFound)
    }

    pub(super) fn root_attr(&self, inode: Inode) -> Attr {
        Attr { inode, kind: Kind::Directory, size: 0, mode: 0o755, mtime: self.started, links: 2 }
    }

    /// lookup: the entry of that name.
    pub fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Attr, OpError> {
        if name.len() > NAME_MAX {
            return Err(OpError::NameTooLong);
        }
        if parent == Inode::ROOT && name == VIEW {
            return self.part_attr(&Part::View);
        }
        match self.spot(parent)? {
            Spot::View(part) => self.part_lookup(&part, name),
            Spot::Top => {
                let found = self.shown_circles().into_iter().find(|(shown, _)| shown.as_bytes() == name);
                let (_, circle) = found.ok_or(OpError::NotFound)?;
                Ok(self.root_attr(Inode(circle.tree.root().inode())))
            }
            Spot::In(id, seen) => {
                let circle = self.circles.get(&id).ok_or(OpError::NotFound)?;
                let found = circle.tree.lookup(&seen.object, name).ok_or(OpError::NotFound)?;
                self.attr_of(&id, &found)
            }
        }
    }

    /// stat(2).
    pub fn attr(&self, inode: Inode) -> Result<Attr, OpError> {
        match self.spot(inode)? {
            Spot::Top => Ok(self.root_attr(Inode::ROOT)),
            Spot::View(part) => self.part_attr(&part),
            Spot::In(id, seen) => self.attr_of(&id, &seen),
        }
    }

    pub(super) fn attr_of(&self, id: &CircleId, seen: &Seen) -> Result<Attr, OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        let inode = self.inode_of(id, seen);
        if seen.object == circle.tree.root() {
            return Ok(self.root_attr(inode));
        }
        let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
        let attributes = match (self.files.draft(&key), self.files.pinned(&key).map(|view| &view.body)) {
            (Some(draft), _) => Attributes { kind: Kind::File, mode: draft.mode, mtime: draft.mtime, size: draft.size },
            (None, Some(body)) => Attributes { kind: body.kind, mode: body.mode, mtime: body.mtime, size: body.size },
            (None, None) => circle.tree.attributes(seen).ok_or(OpError::NotFound)?,
        };
        Ok(Attr {
            inode,
            kind: attributes.kind,
            size: attributes.size,
            mode: attributes.mode,
            mtime: attributes.mtime,
            links: match attributes.kind {
                Kind::Directory => circle.tree.subdirectories(&seen.object).saturating_add(2),
                // A file that is open and has no name any more has none.
                _ => u32::from(circle.tree.is_alive(&seen.object)),
            },
        })
    }

    /// Whether names in a directory may be made and taken away by this node.
    ///
    /// # Errors
    /// What an operation that tries it would answer: the root of several circles is nobody's, and readers only read.
    pub fn may_change(&self, directory: Inode) -> Result<(), OpError> {
        let (circle, _) = self.directory(directory)?;
        self.may_write(&circle)
    }

    /// A page of a directory in the order of names, after the name `after`.
    pub fn list(&self, inode: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        match self.spot(inode)? {
            Spot::View(part) => self.part_list(&part, after, limit),
            Spot::Top => Ok(self
                .shown_circles()
                .into_iter()
                .map(|(name, circle)| DirEntry {
                    inode: Inode(circle.tree.root().inode()),
                    kind: Kind::Directory,
                    name: name.into_bytes(),
                })
                .filter(|entry| after.is_none_or(|after| entry.name.as_slice() > after))
                .take(limit)
                .collect()),
            Spot::In(id, seen) => {
                if self.kind(&id, &seen)? != Kind::Directory {
                    return Err(OpError::NotDirectory);
                }
                let circle = self.circles.get(&id).ok_or(OpError::NotFound)?;
                let entries = circle.tree.list(&seen.object, after, limit);
                Ok(entries
                    .into_iter()
                    .map(|(name, seen, kind)| DirEntry { inode: self.inode_of(&id, &seen), kind, name: name.into() })
                    .collect())
            }
        }
    }

    /// The directory that holds this one; the root holds itself.
    pub fn parent(&self, inode: Inode) -> Inode {
        match self.spot(inode) {
            Ok(Spot::In(id, seen)) => {
                let Some(circle) = self.circles.get(&id) else { return Inode::ROOT };
                match circle.tree.location(&seen) {
                    Some((parent, _)) => self.inode_of(&id, &Seen { object: parent, version: None }),
                    None => Inode::ROOT,
                }
            }
            Ok(Spot::View(part)) => self.part_parent(&part),
            _ => Inode::ROOT,
        }
    }

    /// readlink(2).
    pub fn readlink(&self, inode: Inode) -> Result<Bytes, OpError> {
        let body = match self.spot(inode)? {
            Spot::In(id, seen) => self.body(&id, &seen)?,
            Spot::View(Part::Older(id, object, dot)) => self.older_part(&id, &object, &dot)?.1,
            Spot::Top | Spot::View(_) => return Err(OpError::Invalid("it is not a symbolic link".into())),
        };
        match body {
            Body { kind: Kind::Symlink, content: Content::Inline(target), .. } => Ok(target),
            _ => Err(OpError::Invalid("it is not a symbolic link".into())),
        }
    }

    /// How to read a span of a file from what is here.
    pub fn plan(&self, inode: Inode, offset: u64, length: u32) -> Result<ReadPlan, OpError> {
        let (id, draft, body, kind) = match self.spot(inode)? {
            Spot::In(id, seen) => {
                let key = DraftKey { circle: id, object: seen.object, version: seen.version };
                let (draft, kind) = (self.files.draft(&key), self.kind(&id, &seen)?);
                (id, draft, if draft.is_some() { None } else { Some(self.body(&id, &seen)?) }, kind)
            }
            Spot::View(Part::Older(id, object, dot)) => {
                let (_, body) = self.older_part(&id, &object, &dot)?;
                let kind = body.kind;
                (id, None, Some(body), kind)
            }
            Spot::Top | Spot::View(_) => return Err(OpError::IsDirectory),
        };
        match kind {
            Kind::File => {}
            Kind::Directory => return Err(OpError::IsDirectory),
            Kind::Symlink => return Err(OpError::Invalid("it is a symbolic link".into())),
        }
        let size = draft.map(|draft| draft.size).or(body.as_ref().map(|body| body.size)).unwrap_or(0);
        let length = u64::from(length.min(PLAN_MAX)).min(size.saturating_sub(offset)) as usize;
        let mut plan = ReadPlan::default();
        let sealed = draft.map_or(body.as_ref(), |draft| draft.base.as_ref().map(|base| &base.body));
        let mut torrent = TorrentReader::of(self, &id, sealed);
        for (chunk, from, to) in spans(offset, length) {
            let part = match (draft, body.as_ref().map(|body| &body.content)) {
                (Some(draft), _) => {
                    if self.draft_parts(&id, draft, &mut torrent, (chunk, from, to), &mut plan.parts) {
                        continue;
                    }
                    ReadPart::Missing
                }
                (None, Some(Content::Inline(bytes))) => ReadPart::Bytes(bytes.slice(from..to)),
                (None, _) => torrent.part(self, size, chunk, from, to),
            };
            let missing = matches!(part, ReadPart::Missing);
            plan.parts.push(part);
            if missing {
                break;
            }
        }
        Ok(plan)
    }

    /// The parts of a span of a draft's chunk, with what is written over the chunk between them; false where one is missing.
    fn draft_parts(
        &self,
        id: &CircleId,
        draft: &Draft,
        base: &mut TorrentReader<'_>,
        (chunk, from, to): (u32, usize, usize),
        parts: &mut Vec<ReadPart>,
    ) -> bool {
        let mut at = from;
        let mut below = |from, to, parts: &mut Vec<ReadPart>| {
            let part = (from < to).then(|| self.draft_part(id, draft, base, chunk, from, to));
            let missing = matches!(part, Some(ReadPart::Missing));
            parts.extend(part.filter(|_| !missing));
            !missing
        };
        let overlay = draft.chunks.get(&chunk).and_then(Chunk::overlay);
        for (begin, bytes) in overlay.iter().flat_map(|overlay| overlay.within(from, to)) {
            if !below(at, begin, parts) {
                return false;
            }
            parts.push(ReadPart::Bytes(Bytes::copy_from_slice(bytes)));
            at = begin + bytes.len();
        }
        below(at, to, parts)
    }

    fn draft_part(
        &self,
        id: &CircleId,
        draft: &Draft,
        base: &mut TorrentReader<'_>,
        chunk: u32,
        from: usize,
        to: usize,
    ) -> ReadPart {
        match draft.source(chunk) {
            Source::Memory(data) => {
                // A draft's buffer is as long as the file made it when it was last written.
                let have = data.get(from..to.min(data.len())).unwrap_or_default();
                let mut bytes = have.to_vec();
                bytes.resize(to - from, 0);
                ReadPart::Bytes(bytes.into())
            }
            Source::Placed(placed) => {
                let key = self.circles.get(id).and_then(|circle| circle.epochs.get(&placed.epoch));
                match key {
                    Some(epoch) => ReadPart::Chunk {
                        segment: placed.segment,
                        key: epoch.keys.chunk_key(),
                        skip: from,
                        take: to - from,
                    },
                    None => ReadPart::Missing,
                }
            }
            Source::Zeros => ReadPart::Zeros(to - from),
            Source::Base => match draft.base.as_ref().map(|base| &base.body) {
                Some(Body { content: Content::Inline(bytes), .. }) => {
                    ReadPart::Bytes(bytes.slice(from.min(bytes.len())..to.min(bytes.len())))
                }
                Some(body) => base.part(self, body.size, chunk, from, to),
                None => ReadPart::Zeros(to - from),
            },
        }
    }

    /// The sealed place of a torrent's chunk and the key that opens it, if the chunk is here.
    pub(super) fn chunk_finder<'a>(
        &'a self,
        id: &CircleId,
        view: &'a View,
    ) -> impl FnMut(u32) -> Option<(super::io::Segment, Arc<ChunkKey>)> + 'a {
        let mut reader = TorrentReader::of(self, id, Some(&view.body));
        move |chunk| reader.find(self, view.body.size, chunk)
    }

    /// One chunk by [`Self::chunk_finder`].
    pub(super) fn torrent_chunk(
        &self,
        id: &CircleId,
        view: &View,
        chunk: u32,
    ) -> Option<(super::io::Segment, Arc<ChunkKey>)> {
        let mut reader = TorrentReader::of(self, id, Some(&view.body));
        reader.find(self, view.body.size, chunk)
    }

    /// The kernel's names for what changed in a tree.
    pub(super) fn stale_of(&self, id: &CircleId, changes: &Changes) -> Vec<Stale> {
        let Some(circle) = self.circles.get(id) else { return Vec::new() };
        let root = circle.tree.root().inode();
        let only = self.only_circle().is_some_and(|only| only.id == *id);
        let inode = |inode: u64| if only && inode == root { Inode::ROOT } else { Inode(inode) };
        let entries = changes.entries.iter().map(|(dir, name)| Stale::Entry(inode(*dir), name.clone()));
        let inodes = changes.inodes.iter().map(|at| Stale::Inode(inode(*at)));
        entries.chain(inodes).collect()
    }

    /// Everything that the kernel knows below the root may have changed.
    pub(super) fn root_changed(&mut self) {
        let mut stale: Vec<Stale> = vec![Stale::Inode(Inode::ROOT)];
        for (shown, circle) in self.shown_circles() {
            stale.push(Stale::Entry(Inode::ROOT, shown.into_bytes()));
            for (name, ..) in circle.tree.list(&circle.tree.root(), None, ROOT_ENTRIES) {
                stale.push(Stale::Entry(Inode::ROOT, name.to_vec()));
            }
        }
        self.stale(stale);
    }
}

/// Entries of a circle's root that are told to be stale when the root itself changes its meaning.
const ROOT_ENTRIES: usize = 10_000;

/// Finds the chunks of one torrent, its layout read once.
struct TorrentReader<'a> {
    circle: CircleId,
    torrent: Option<&'a TorrentRef>,
    layout: Option<Arc<Vec<Extent>>>,
    looked: bool,
}

impl<'a> TorrentReader<'a> {
    fn of<S: Snapshot>(_node: &Node<S>, circle: &CircleId, body: Option<&'a Body>) -> Self {
        let torrent = body.and_then(torrent_in);
        Self { circle: *circle, torrent, layout: None, looked: false }
    }

    fn part<S: Snapshot>(&mut self, node: &Node<S>, size: u64, chunk: u32, from: usize, to: usize) -> ReadPart {
        match self.find(node, size, chunk) {
            Some((segment, key)) => ReadPart::Chunk { segment, key, skip: from, take: to - from },
            None => ReadPart::Missing,
        }
    }

    fn find<S: Snapshot>(
        &mut self,
        node: &Node<S>,
        size: u64,
        chunk: u32,
    ) -> Option<(super::io::Segment, Arc<ChunkKey>)> {
        let torrent = self.torrent?;
        if !self.looked {
            self.looked = true;
            self.layout = node.layout(&torrent.info_hash);
        }
        if !node.has_chunk(&torrent.info_hash, chunk) {
            return None;
        }
        let sealed = sealed_chunk_length(length_in(size, chunk)) as u64;
        let segment = *segments(self.layout.as_ref()?, u64::from(chunk) * CHUNK_SEALED as u64, sealed)?.first()?;
        let epoch = epoch_of(torrent, chunk)?;
        let key = node.circles.get(&self.circle)?.epochs.get(&epoch)?.keys.chunk_key();
        Some((segment, key))
    }
}

/// The epoch that sealed a chunk.
pub fn epoch_of(torrent: &TorrentRef, chunk: u32) -> Option<crate::base::EpochId> {
    let mut end = 0u64;
    for (chunks, epoch) in &torrent.runs {
        end += u64::from(*chunks);
        if u64::from(chunk) < end {
            return Some(*epoch);
        }
    }
    None
}

/// The info-hash of a body's torrent.
pub fn torrent_of(body: &Body) -> Option<InfoHash> {
    torrent_in(body).map(|torrent| torrent.info_hash)
}

/// The torrent that a body is in.
pub fn torrent_in(body: &Body) -> Option<&TorrentRef> {
    match &body.content {
        Content::Torrent(torrent) => Some(torrent),
        _ => None,
    }
}

//! An object as it lies in memory: two registers, what is staged over them, and where it is attached in the view.

use std::sync::Arc;

use bytes::Bytes;

use super::register::{Register, Sibling, Stamp};
use super::slab::{Slot, TableSlot};
use crate::base::{InfoHash, ObjectId, RecordHash, WallTime};
use crate::wire::record::{Body, Context, Dot, Kind, Place, Xattrs};

/// A version of a place register.
pub(super) struct PlaceVersion {
    pub(super) stamp: Arc<Stamp>,
    pub(super) parent: Slot,
    pub(super) name: Arc<[u8]>,
    contexts: Option<Box<PlaceContexts>>,
}

/// What only places that were moved or deleted have.
struct PlaceContexts {
    context: Context,
    deleted: Context,
}

impl PlaceVersion {
    pub(super) fn new(
        stamp: Arc<Stamp>,
        parent: Slot,
        name: &[u8],
        context: Context,
        deleted: Option<Context>,
    ) -> Self {
        let deleted = deleted.unwrap_or_default();
        let plain = context == Context::default() && deleted == Context::default();
        let contexts = (!plain).then(|| Box::new(PlaceContexts { context, deleted }));
        Self { stamp, parent, name: name.into(), contexts }
    }

    /// The body versions that this place declares dead.
    pub(super) fn deleted(&self) -> Option<&Context> {
        self.contexts.as_ref().map(|contexts| &contexts.deleted)
    }
}

impl Sibling for PlaceVersion {
    fn stamp(&self) -> &Arc<Stamp> {
        &self.stamp
    }

    fn context(&self) -> Option<&Context> {
        self.contexts.as_ref().map(|contexts| &contexts.context)
    }
}

/// A version of a body register.
pub(super) struct PackedBody {
    pub(super) stamp: Arc<Stamp>,
    pub(super) record: RecordHash,
    pub(super) mtime: WallTime,
    pub(super) size: u64,
    pub(super) content: PackedContent,
    rare: Option<Box<Rare>>,
    pub(super) mode: u16,
    pub(super) kind: Kind,
}

/// What only bodies that were written over others, or have extended attributes, have.
struct Rare {
    context: Context,
    xattrs: Xattrs,
}

/// A body's content with its epochs as numbers.
pub(super) enum PackedContent {
    None,
    Inline(Box<Bytes>),
    Torrent(Box<PackedTorrent>),
}

pub(super) struct PackedTorrent {
    pub(super) info_hash: InfoHash,
    pub(super) tags: [u8; 32],
    pub(super) runs: Runs,
}

/// Which epoch, by number, sealed how many chunks. Most files are sealed once.
pub(super) enum Runs {
    One(u32, u32),
    Many(Box<[(u32, u32)]>),
}

impl Runs {
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let (one, many): (_, &[_]) = match self {
            Runs::One(chunks, epoch) => (Some((*chunks, *epoch)), &[]),
            Runs::Many(runs) => (None, runs),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

impl PackedBody {
    pub(super) fn new(
        stamp: Arc<Stamp>,
        record: RecordHash,
        context: Context,
        body: &Body,
        content: PackedContent,
    ) -> Self {
        let plain = context == Context::default() && body.xattrs.is_empty();
        Self {
            stamp,
            record,
            mtime: body.mtime,
            size: body.size,
            content,
            rare: (!plain).then(|| Box::new(Rare { context, xattrs: body.xattrs.clone() })),
            mode: (body.mode & 0o7777) as u16,
            kind: body.kind,
        }
    }

    pub(super) fn xattrs(&self) -> Xattrs {
        self.rare.as_ref().map(|rare| rare.xattrs.clone()).unwrap_or_default()
    }

    pub(super) fn info_hash(&self) -> Option<InfoHash> {
        match &self.content {
            PackedContent::Torrent(torrent) => Some(torrent.info_hash),
            PackedContent::None | PackedContent::Inline(_) => None,
        }
    }
}

impl Sibling for PackedBody {
    fn stamp(&self) -> &Arc<Stamp> {
        &self.stamp
    }

    fn context(&self) -> Option<&Context> {
        self.rare.as_ref().map(|rare| &rare.context)
    }
}

/// What this node shows and nobody else knows yet. A part is gone when its register's published version came.
pub(super) struct Staged {
    pub(super) place: Place,
    pub(super) body: Body,
    pub(super) place_version: Option<PlaceVersion>,
    pub(super) body_version: Option<PackedBody>,
}

/// See the module.
pub(super) struct Object {
    pub(super) id: ObjectId,
    pub(super) place: Register<PlaceVersion>,
    pub(super) body: Register<PackedBody>,
    pub(super) staged: Option<Box<Staged>>,
    /// The directory in whose table it is claimed; `None` when it does not show.
    pub(super) attached: Option<Slot>,
    /// Its names in the table, when it is a directory or once was.
    pub(super) table: Option<TableSlot>,
    /// Objects attached to it.
    pub(super) live: u32,
    /// Directories among them.
    pub(super) live_directories: u32,
    /// Objects whose winning place names it as parent.
    pub(super) pointed: u32,
    /// It was attached as a directory.
    pub(super) as_directory: bool,
    /// It was attached before, so somebody may have it open.
    pub(super) was_shown: bool,
    /// It is the newest move of a cycle, and so shows under the root.
    pub(super) cut: bool,
    /// Names of its conflicts stand in the table.
    pub(super) shaded: bool,
}

impl Default for Object {
    fn default() -> Self {
        Self::new(ObjectId([0; 16]))
    }
}

impl Object {
    pub(super) fn new(id: ObjectId) -> Self {
        Self {
            id,
            place: Register::default(),
            body: Register::default(),
            staged: None,
            attached: None,
            table: None,
            live: 0,
            live_directories: 0,
            pointed: 0,
            as_directory: false,
            was_shown: false,
            cut: false,
            shaded: false,
        }
    }

    /// The newest move.
    pub(super) fn winner(&self) -> Option<&PlaceVersion> {
        let staged = self.staged.as_ref().and_then(|staged| staged.place_version.as_ref());
        staged.or_else(|| self.place.siblings().last())
    }

    /// True when it has bodies, and nothing ever said where it is.
    pub(super) fn is_unplaced(&self) -> bool {
        self.winner().is_none() && !self.body.siblings().is_empty()
    }

    fn staged_body(&self) -> Option<&PackedBody> {
        self.staged.as_ref().and_then(|staged| staged.body_version.as_ref())
    }

    /// That of the oldest surviving body, since an honest object never changes it.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.body.siblings().first().or(self.staged_body()).map(|body| body.kind)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == Some(Kind::Directory)
    }

    /// True when other objects may lie in it.
    pub(super) fn is_place_for_others(&self) -> bool {
        self.is_directory() && self.winner().is_some()
    }

    /// True when a surviving place declares the body at `dot` dead.
    fn is_dead(&self, dot: &Dot) -> bool {
        let places = self.place.siblings().iter();
        let staged = self.staged.as_ref().and_then(|staged| staged.place_version.as_ref());
        places.chain(staged).filter_map(PlaceVersion::deleted).any(|deleted| deleted.covers(dot))
    }

    /// All that surviving places declare dead.
    pub(super) fn dead(&self) -> Context {
        let mut dead = Context::default();
        let staged = self.staged.as_ref().and_then(|staged| staged.place_version.as_ref());
        for deleted in self.place.siblings().iter().chain(staged).filter_map(PlaceVersion::deleted) {
            dead.join(deleted);
        }
        dead
    }

    /// Published bodies that live, oldest first. A body of another kind than the object's never shows.
    pub(super) fn visible(&self) -> impl DoubleEndedIterator<Item = &PackedBody> {
        let kind = self.kind();
        self.body.siblings().iter().filter(move |body| Some(body.kind) == kind && !self.is_dead(&body.stamp.dot()))
    }

    /// True when it lives by itself, whatever lies in it.
    pub(super) fn has_visible(&self) -> bool {
        self.staged_body().is_some_and(|body| Some(body.kind) == self.kind()) || self.visible().next().is_some()
    }

    /// The body that shows under the object's own name. A directory that lives only by what lies in it keeps its last.
    pub(super) fn shown_body(&self) -> Option<&PackedBody> {
        let kind = self.kind();
        let staged = self.staged_body().filter(|body| Some(body.kind) == kind);
        let newest = || self.visible().next_back();
        let last = || self.body.siblings().iter().rev().find(|body| Some(body.kind) == kind && self.is_directory());
        staged.or_else(newest).or_else(last)
    }

    /// Bodies that show beside the winner, newest first. A directory's attributes are not shown twice.
    pub(super) fn losers(&self) -> impl Iterator<Item = &PackedBody> {
        let shown = if self.is_directory() { 0 } else { LOSERS_SHOWN };
        self.visible().rev().skip(1).take(shown)
    }

    /// The surviving body at `dot`.
    pub(super) fn body_at(&self, dot: &Dot) -> Option<&PackedBody> {
        self.body.siblings().iter().find(|body| body.stamp.dot() == *dot)
    }

    /// The newest living body that is published.
    pub(super) fn newest_published(&self) -> Option<Dot> {
        self.visible().next_back().map(|body| body.stamp.dot())
    }

    /// The parents that its places name.
    pub(super) fn parents(&self) -> Vec<Slot> {
        let staged = self.staged.as_ref().and_then(|staged| staged.place_version.as_ref());
        self.place.siblings().iter().chain(staged).map(|place| place.parent).collect()
    }

    /// A place was published.
    pub(super) fn unstage_place(&mut self) {
        if let Some(staged) = &mut self.staged {
            staged.place_version = None;
        }
        self.drop_published();
    }

    /// A body was published.
    pub(super) fn unstage_body(&mut self) {
        if let Some(staged) = &mut self.staged {
            staged.body_version = None;
        }
        self.drop_published();
    }

    fn drop_published(&mut self) {
        if self.staged.as_ref().is_some_and(|staged| staged.place_version.is_none() && staged.body_version.is_none()) {
            self.staged = None;
        }
    }

    /// True when nothing is known of it but its id.
    pub(super) fn is_forgettable(&self) -> bool {
        self.place.is_empty() && self.body.is_empty() && self.staged.is_none() && self.pointed == 0 && self.live == 0
    }
}

/// Of more conflicting bodies than this only the newest show; all are kept, and a write that sees one supersedes it.
const LOSERS_SHOWN: usize = 63;

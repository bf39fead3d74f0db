//! Open files: handles, and the body that each open file is shown.

use super::Node;
use super::draft::{Change, Data, Draft, View};
use super::files::{DraftKey, HANDLES_MAX};
use super::io::{Answer, Attr, Handle, Inode, OpError, Reply, Stale};
use super::read::{Spot, torrent_of};
use crate::base::{Snapshot, Ticket};
use crate::wire::record::{Content, Dot, Kind};

/// An open file.
pub struct Open {
    pub key: DraftKey,
    pub write: bool,
}

/// The body that open handles are shown.
pub struct Pin {
    pub handles: u32,
    pub view: Option<View>,
}

impl<S: Snapshot> Node<S> {
    pub(super) fn open_handle(&mut self, key: DraftKey, inode: Inode, write: bool) -> Handle {
        self.files.next_handle += 1;
        let handle = Handle(self.files.next_handle);
        self.files.handles.insert(handle, Open { key, write });
        self.files.by_inode.insert(inode, key);
        let view = self.view(&key);
        if let Some(view) = &view {
            self.note_recent(&key.circle, view);
            if let Some(info_hash) = torrent_of(&view.body) {
                self.keep_layout(&info_hash);
            }
        }
        let pin = self.files.pins.entry(key).or_insert(Pin { handles: 0, view: None });
        pin.handles += 1;
        // A new reader sees the newest body, and so do the others from now on.
        pin.view = view;
        if write && let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.handles += 1;
        }
        handle
    }

    /// The body as it is published now.
    pub(super) fn view(&self, key: &DraftKey) -> Option<View> {
        let tree = &self.circles.get(&key.circle)?.tree;
        if tree.is_staged(&key.object) {
            return None;
        }
        let version = tree.body(&key.seen())?;
        let context = tree.body_context(&key.seen());
        Some(View { dot: version.dot?, body: version.body, record: version.record, context })
    }

    /// This version of an object's body, whether it won or lost.
    pub(super) fn view_of(&self, key: &DraftKey, dot: Dot) -> Option<View> {
        let won = self.view(key).filter(|view| view.dot == dot);
        won.or_else(|| self.view(&DraftKey { version: Some(dot), ..*key }))
    }

    pub(super) fn open(&mut self, ticket: Ticket, inode: Inode, write: bool, truncate: bool) -> Option<Reply> {
        if let Ok(Spot::View(part)) = self.spot(inode) {
            return Some(self.open_part(&part, inode, write || truncate));
        }
        let key = match self.file_key(inode) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        if self.files.handles.len() >= HANDLES_MAX {
            return Some(Err(OpError::Busy));
        }
        if (write || truncate)
            && let Err(error) = self.may_write(&key.circle)
        {
            return Some(Err(error));
        }
        let handle = self.open_handle(key, inode, write);
        self.note_opened(&key);
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

    pub(super) fn file_key(&self, inode: Inode) -> Result<DraftKey, OpError> {
        match self.spot(inode)? {
            Spot::Top | Spot::View(_) => Err(OpError::IsDirectory),
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
        draft.xattrs = view.body.xattrs.clone();
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

    pub(super) fn release(&mut self, handle: Handle) -> Reply {
        let Open { key, write } = self.files.handles.remove(&handle).ok_or(OpError::BadHandle)?;
        if write && let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.handles = draft.handles.saturating_sub(1);
        }
        // Before it is published: what is published beside a winner is another file, and takes the pin of who still has it open.
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
        if write {
            self.publish(key);
        }
        self.drop_if_done(&key);
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

    /// What stat tells of a handle's file, for tests and the simulator.
    pub fn attr_of_handle(&self, handle: Handle) -> Result<Attr, OpError> {
        let open = self.files.handles.get(&handle).ok_or(OpError::BadHandle)?;
        self.attr_of(&open.key.circle, &open.key.seen())
    }
}

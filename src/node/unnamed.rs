//! Files without a name: written where nobody sees them, and published whole under a name or not at all.

use super::Node;
use super::draft::{Draft, Link};
use super::files::{DraftKey, HANDLES_MAX, refused};
use super::io::{Answer, Attr, Handle, Inode, OpError, Reply};
use crate::base::{CircleId, Snapshot};
use crate::tree::Seen;
use crate::wire::record::{Kind, Name, Place};

impl<S: Snapshot> Node<S> {
    /// A draft that has no name, in the circle of a directory.
    pub(super) fn unnamed(&mut self, directory: Inode, mode: u32) -> Reply {
        let (circle, _) = self.directory(directory)?;
        self.may_write(&circle)?;
        if self.files.handles.len() >= HANDLES_MAX {
            return Err(OpError::Busy);
        }
        let key = DraftKey { circle, object: self.fresh_object(), version: None };
        let mut draft = Draft::new(self.now.instant, mode & 0o7777, self.now.wall);
        draft.number = self.files.draft_number();
        draft.dirty = true;
        draft.orphan = true;
        self.files.drafts.insert(key, draft);
        let inode = Inode(key.object.inode());
        let handle = self.open_handle(key, inode, true);
        let attr = Attr { inode, kind: Kind::File, size: 0, mode: mode & 0o7777, mtime: self.now.wall, links: 0 };
        Ok(Answer::Created(attr, handle))
    }

    /// Publishes an unnamed file; its name is given in the turn in which its body is named, so that one commit has both.
    pub(super) fn link(&mut self, handle: Handle, link: Link) -> Option<Reply> {
        let Some(key) = self.files.handles.get(&handle).map(|open| open.key) else {
            return Some(Err(OpError::BadHandle));
        };
        // What can be refused now is, before everything is sealed and hashed.
        if let Err(error) = self.place_for(&key.circle, &link) {
            return Some(Err(error));
        }
        let Some(draft) = self.files.drafts.get_mut(&key) else { return Some(Err(OpError::BadHandle)) };
        if !draft.orphan || draft.base.is_some() || draft.link.is_some() {
            return Some(Err(OpError::Invalid("it has a name already".into())));
        }
        if let Some(error) = draft.failed.clone() {
            return Some(Err(error));
        }
        draft.link = Some(link);
        draft.orphan = false;
        self.publish(key);
        None
    }

    /// The place that a link names, made free.
    pub(super) fn make_place(&mut self, id: &CircleId, link: &Link) -> Result<Place, OpError> {
        let (place, target) = self.place_for(id, link)?;
        if let Some(target) = target {
            // What replaces and what is replaced must not come apart: the commit that has both begins here.
            self.close_commit(id);
            self.delete(id, &target, (link.parent, &link.name))?;
        }
        Ok(place)
    }

    fn place_for(&self, id: &CircleId, link: &Link) -> Result<(Place, Option<Seen>), OpError> {
        let (circle, directory) = self.directory(link.parent)?;
        if circle != *id {
            return Err(OpError::CrossCircle);
        }
        let name = Name::new(&link.name).map_err(refused)?;
        self.may_name(id, &directory, name.as_bytes())?;
        self.check_depth(id, &directory)?;
        let target = self.entry(id, &directory, name.as_bytes());
        match target.map(|target| self.kind(id, &target)).transpose()? {
            Some(Kind::Directory) => Err(OpError::IsDirectory),
            Some(_) if link.no_replace => Err(OpError::Exists),
            _ => Ok((Place { parent: directory, name, deleted: None }, target)),
        }
    }
}

//! Extended attributes of files and directories: part of a body, shared and versioned with it.

use bytes::Bytes;

use super::Node;
use super::files::DraftKey;
use super::io::{Answer, Inode, OpError, Reply};
use super::pins::RESERVED;
use super::read::Spot;
use crate::base::Snapshot;
use crate::wire::WireError;
use crate::wire::record::{Body, Xattrs};

impl<S: Snapshot> Node<S> {
    /// listxattr(2) and getxattr(2): all of them.
    pub fn xattrs(&self, inode: Inode) -> Result<Xattrs, OpError> {
        let Spot::In(id, seen) = self.spot(inode)? else { return Ok(Xattrs::default()) };
        let key = DraftKey { circle: id, object: seen.object, version: seen.version };
        if let Some(draft) = self.files.draft(&key) {
            return Ok(draft.xattrs.clone());
        }
        if let Some(view) = self.files.pinned(&key) {
            return Ok(view.body.xattrs.clone());
        }
        let tree = &self.circles.get(&id).ok_or(OpError::NotFound)?.tree;
        if seen.object == tree.root() {
            return Ok(Xattrs::default());
        }
        tree.xattrs(&seen).ok_or(OpError::NotFound)
    }

    pub(super) fn set_xattr(&mut self, inode: Inode, name: &[u8], value: Option<Bytes>, expect: Option<bool>) -> Reply {
        if name.starts_with(RESERVED) {
            return self.set_told_xattr(inode, name, value.as_deref());
        }
        let Spot::In(id, seen) = self.spot(inode)? else {
            return Err(OpError::NotPermitted("the root of the mount has no attributes to set".into()));
        };
        self.may_write(&id)?;
        let mut xattrs = self.xattrs(inode)?;
        match (expect, xattrs.value(name).is_some()) {
            (Some(true), false) => return Err(OpError::NoData),
            (Some(false), true) => return Err(OpError::Exists),
            _ => {}
        }
        match value {
            Some(value) => xattrs.set(name, value).map_err(refused)?,
            None if xattrs.remove(name) => {}
            None => return Err(OpError::NoData),
        }
        let key = DraftKey { circle: id, object: seen.object, version: seen.version };
        match self.files.drafts.get_mut(&key) {
            Some(draft) => {
                draft.xattrs = xattrs;
                draft.dirty = true;
                draft.touched = self.now.instant;
                if draft.handles == 0 {
                    self.publish(key);
                }
            }
            None => {
                self.set_published(&id, &seen, |body: &mut Body| body.xattrs = xattrs)?;
            }
        }
        Ok(Answer::Done)
    }
}

/// As ext4 has it: no room for what is more than fits beside a file.
fn refused(error: WireError) -> OpError {
    match error {
        WireError::OverLimit(..) => OpError::NoSpace,
        other => OpError::Invalid(other.to_string()),
    }
}

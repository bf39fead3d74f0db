//! The answer to a `PROPFIND`: a piece for the resource itself, and then one for every so many of those in it, so that a
//! directory of any length takes no more memory than a short one.

use super::super::path::FilePath;
use super::property::{BEGIN, END, Entry, Wanted};
use super::{Dav, View};
use crate::base::Instant;
use crate::node::io::{Attr, Inode, OpError};
use crate::wire::record::Kind;

/// See the module.
#[derive(Debug)]
pub struct Listing {
    wanted: Wanted,
    path: FilePath,
    /// Itself, until it is told.
    own: Option<Attr>,
    /// The directory whose entries are told as well, until all are.
    members: Option<Inode>,
    /// The last name that was told.
    after: Option<Vec<u8>>,
    ended: bool,
}

impl Listing {
    /// Of one resource, and with `members` of what is in it.
    pub fn new(wanted: Wanted, path: FilePath, own: Attr, members: bool) -> Self {
        let members = (members && own.kind == Kind::Directory).then_some(own.inode);
        Self { wanted, path, own: Some(own), members, after: None, ended: false }
    }

    /// The next piece; `None` at the end. `space` is what the disk has, and has free, in bytes.
    ///
    /// # Errors
    /// What the tree answers: the directory is gone, most likely.
    pub fn next(
        &mut self,
        now: Instant,
        dav: &Dav,
        view: &impl View,
        space: (u64, u64),
    ) -> Result<Option<String>, OpError> {
        if self.ended {
            return Ok(None);
        }
        let mut out = String::new();
        let tell = |path: &FilePath, attr: &Attr, out: &mut String| {
            self.wanted.write(now, &Entry { path, attr, space }, &dav.locks, &dav.kept, out);
        };
        if let Some(own) = self.own.take() {
            out.push_str(BEGIN);
            tell(&self.path, &own, &mut out);
        } else if let Some(directory) = self.members {
            let listed = view.list(directory, self.after.as_deref(), TOLD)?;
            // A link leads nowhere here; what is gone since it was listed is left out.
            for entry in listed.iter().filter(|entry| entry.kind != Kind::Symlink) {
                if let Ok(attr) = view.attr(entry.inode) {
                    tell(&self.path.child(&entry.name), &attr, &mut out);
                }
            }
            if listed.len() < TOLD {
                self.members = None;
            }
            self.after = listed.into_iter().last().map(|entry| entry.name);
        }
        if self.members.is_none() {
            out.push_str(END);
            self.ended = true;
        }
        Ok(Some(out))
    }
}

/// Entries of one piece.
const TOLD: usize = 100;

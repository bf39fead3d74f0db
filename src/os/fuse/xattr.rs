//! Extended attributes: which names are taken, and how the kernel is told of them.
//!
//! `user.` names are the people's, and shared with friends. Those below `user.dustfs.` the node answers by itself; they are
//! not listed, so that what copies a file leaves them.
//! Others mean something to one machine alone (access lists, capabilities, labels): EOPNOTSUPP.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use fuser::{Errno, ReplyEmpty, ReplyXattr};
use nix::libc::{XATTR_CREATE, XATTR_REPLACE};

use crate::node::RESERVED;
use crate::node::io::{Inode, Op};

use super::answer::errno;
use super::requests::Requests;

impl Requests {
    pub(super) fn answer_getxattr(&self, inode: Inode, name: &OsStr, room: u32, reply: ReplyXattr) {
        let name = name.as_bytes();
        if !name.starts_with(OURS) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        if name.starts_with(RESERVED) {
            return match self.files().told_xattr(inode, name) {
                Ok(value) => fill(&value, room, reply),
                Err(error) => reply.error(errno(&error)),
            };
        }
        match self.files().xattrs(inode) {
            Ok(xattrs) => match xattrs.value(name) {
                Some(value) => fill(value, room, reply),
                None => reply.error(Errno::ENODATA),
            },
            Err(error) => reply.error(errno(&error)),
        }
    }

    pub(super) fn answer_listxattr(&self, inode: Inode, room: u32, reply: ReplyXattr) {
        match self.files().xattrs(inode) {
            Ok(xattrs) => {
                let names = xattrs.names().filter(|name| name.starts_with(OURS) && !name.starts_with(RESERVED));
                let list: Vec<u8> = names.flat_map(|name| name.iter().copied().chain([0])).collect();
                fill(&list, room, reply);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    pub(super) fn answer_setxattr(&self, inode: Inode, name: &OsStr, value: &[u8], flags: i32, reply: ReplyEmpty) {
        let expect = match flags {
            0 => None,
            XATTR_CREATE => Some(false),
            XATTR_REPLACE => Some(true),
            _ => return reply.error(Errno::EINVAL),
        };
        self.change_xattr(inode, name, Some(Bytes::copy_from_slice(value)), expect, reply);
    }

    pub(super) fn answer_removexattr(&self, inode: Inode, name: &OsStr, reply: ReplyEmpty) {
        self.change_xattr(inode, name, None, None, reply);
    }

    fn change_xattr(&self, inode: Inode, name: &OsStr, value: Option<Bytes>, expect: Option<bool>, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        if !name.starts_with(OURS) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        if name.starts_with(RESERVED) {
            return self.ask_done(Op::SetXattr { inode, name, value, expect: None }, reply, || {});
        }
        let attr = self.files().attr(inode);
        let stats = self.stats().clone();
        self.ask_done(Op::SetXattr { inode, name, value, expect }, reply, move || {
            if let Ok(attr) = attr {
                stats.changed(&attr, None, false);
            }
        });
    }
}

/// Answers with the bytes, or with their number where the caller has no room yet.
fn fill(bytes: &[u8], room: u32, reply: ReplyXattr) {
    match room {
        0 => reply.size(bytes.len() as u32),
        room if bytes.len() > room as usize => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}

const OURS: &[u8] = b"user.";

//! fallocate(2), lseek(2) for holes, and copy_file_range(2).

use std::sync::Arc;

use fuser::{Errno, ReplyEmpty, ReplyLseek, ReplyWrite};
use nix::libc::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, SEEK_DATA, SEEK_HOLE};

use crate::base::limits::FILE_MAX;
use crate::node::io::{Answer, Handle, Inode, Op};

use super::Files;
use super::answer::{errno, unexpected};
use super::read::Reads;
use super::requests::Requests;

impl Requests {
    pub(super) fn answer_fallocate(
        &self,
        inode: Inode,
        handle: Handle,
        (offset, length): (u64, u64),
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let keep = mode & FALLOC_FL_KEEP_SIZE != 0;
        let end = offset.saturating_add(length);
        match mode & !FALLOC_FL_KEEP_SIZE {
            0 | FALLOC_FL_ZERO_RANGE if !keep && end > FILE_MAX => reply.error(Errno::EFBIG),
            0 => {
                // Nothing is set aside, but what cannot fit is refused at once, as people who ask beforehand expect.
                let size = match self.files().attr(inode) {
                    Ok(attr) => attr.size,
                    Err(error) => return reply.error(errno(&error)),
                };
                if end.saturating_sub(size.max(offset)) > self.files().space().1 {
                    return reply.error(Errno::ENOSPC);
                }
                if keep {
                    return reply.ok();
                }
                self.ask(Op::Grow { handle, size: end }, move |answer| match answer {
                    Ok(Answer::Entry(_)) => reply.ok(),
                    Ok(other) => reply.error(unexpected(&other)),
                    Err(error) => reply.error(errno(&error)),
                });
            }
            FALLOC_FL_PUNCH_HOLE if keep => self.zero(handle, offset, end, false, reply),
            FALLOC_FL_ZERO_RANGE => self.zero(handle, offset, end, !keep, reply),
            _ => reply.error(Errno::EOPNOTSUPP),
        }
    }

    fn zero(&self, handle: Handle, offset: u64, end: u64, grow: bool, reply: ReplyEmpty) {
        zero(self.files().clone(), self.reads(), Zeros { handle, offset, end, grow }, reply);
    }

    pub(super) fn answer_lseek(&self, inode: Inode, offset: i64, whence: i32, reply: ReplyLseek) {
        let data = match whence {
            SEEK_DATA => true,
            SEEK_HOLE => false,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        match self.files().seek(inode, offset, data) {
            Ok(Some(found)) => reply.offset(found as i64),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(error) => reply.error(errno(&error)),
        }
    }

    pub(super) fn answer_copy(&self, from: (Inode, u64), to: (Handle, u64), length: u64, reply: ReplyWrite) {
        let op = Op::CopyRange { from: from.0, from_offset: from.1, to: to.0, to_offset: to.1, length };
        self.ask(op, move |answer| match answer {
            Ok(Answer::Written(bytes)) => reply.written(bytes),
            Ok(other) => reply.error(unexpected(&other)),
            // The kernel copies by itself where it hears EOPNOTSUPP.
            Err(error) => reply.error(errno(&error)),
        });
    }
}

struct Zeros {
    handle: Handle,
    offset: u64,
    end: u64,
    grow: bool,
}

/// Puts zeros into a file step by step, so that no more of them wait in memory than of other writes.
fn zero(files: Arc<dyn Files>, reads: Arc<Reads>, zeros: Zeros, reply: ReplyEmpty) {
    let Zeros { handle, offset, end, grow } = zeros;
    let length = (end - offset).min(Op::ZERO_MAX);
    let next = files.clone();
    let done = move |answer| match answer {
        Ok(Answer::Done) if offset + length == end => reply.ok(),
        Ok(Answer::Done) => {
            let again = reads.clone();
            reads.pool().run(move || zero(next, again, Zeros { offset: offset + length, ..zeros }, reply));
        }
        Ok(other) => reply.error(unexpected(&other)),
        Err(error) => reply.error(errno(&error)),
    };
    files.op(Op::Zero { handle, offset, length, grow }, Box::new(done));
}

//! The kernel's requests, one by one.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use nix::libc::{O_APPEND, O_EXCL, S_IFMT, S_IFREG, S_ISGID, S_ISUID, S_IXGRP};

use crate::base::limits::NAME_MAX;
use crate::node::io::{Answer, Attr, DirEntry, Handle, Inode, Op, OpError, Reply};
use crate::wire::record::Kind;

use super::answer::{Owner, PERMISSIONS, errno, file_type, unexpected, wall_time};
use super::directory::{Directories, Place};
use super::read::{Read, Reads};
use super::stale::StaleSender;
use super::stat::Stats;
use super::{End, Files, MountConfig, lock};

/// What answers the kernel.
pub(super) struct Requests {
    files: Arc<dyn Files>,
    stats: Arc<Stats>,
    reads: Arc<Reads>,
    directories: Directories,
    stale: StaleSender,
    end: Arc<End>,
}

impl Requests {
    pub(super) fn new(files: Arc<dyn Files>, config: &MountConfig, stale: StaleSender, end: Arc<End>) -> Self {
        Self {
            reads: Arc::new(Reads::new(files.clone())),
            files,
            stats: Arc::new(Stats::new(Owner { uid: config.uid, gid: config.gid })),
            directories: Directories::default(),
            stale,
            end,
        }
    }

    pub(super) fn reads(&self) -> Arc<Reads> {
        self.reads.clone()
    }

    pub(super) fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    pub(super) fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    pub(super) fn ask(&self, op: Op, done: impl FnOnce(Reply) + Send + 'static) {
        let _answering = self.stale.answering();
        self.files.op(op, Box::new(done));
    }

    /// Asks, and does `then` before the kernel hears that it went well.
    pub(super) fn ask_done(&self, op: Op, reply: ReplyEmpty, then: impl FnOnce() + Send + 'static) {
        self.ask(op, |answer| match answer {
            Ok(Answer::Done) => {
                then();
                reply.ok();
            }
            Ok(other) => reply.error(unexpected(&other)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn ask_entry(&self, op: Op, reply: ReplyEntry, then: impl FnOnce() + Send + 'static) {
        let stats = self.stats.clone();
        self.ask(op, move |answer| match answer {
            Ok(Answer::Entry(attr)) => {
                then();
                reply.entry(&KEPT, &stats.show(&attr), GENERATION);
            }
            Ok(other) => reply.error(unexpected(&other)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    /// What notes that the entries of a directory changed.
    fn note_entries(&self, directory: Inode) -> impl FnOnce() + Send + use<> {
        let (stats, attr) = (self.stats.clone(), self.files.attr(directory));
        move || attr.iter().for_each(|attr| stats.entries_changed(attr))
    }

    /// What notes that an entry got another place.
    fn note_moved(&self, parent: Inode, name: &[u8]) -> impl FnOnce() + Send + use<> {
        let (stats, attr) = (self.stats.clone(), self.files.lookup(parent, name));
        move || attr.iter().for_each(|attr| stats.changed(attr, None, false))
    }

    /// Whoever writes to a file does not leave it with its writer's rights: the kernel leaves that to us.
    fn kill_privileges(&self, inode: Inode) {
        if let Ok(Attr { kind: Kind::File, mode, .. }) = self.files.attr(inode)
            && let Some(mode) = without_privileges(mode)
        {
            self.files.op(Op::SetAttr { inode, size: None, mode: Some(mode), mtime: None }, Box::new(drop));
        }
    }

    /// Hands the lines of a directory from an offset on to `add`, with the offset of the next, until it says 'full'.
    fn lines(
        &self,
        inode: Inode,
        handle: FileHandle,
        offset: u64,
        mut add: impl FnMut(&DirEntry, u64) -> bool,
    ) -> Result<(), OpError> {
        let places = self.directories.places(handle.0)?;
        let mut places = lock(&places);
        let mut place = places.at(offset)?;
        let directory = |inode, name: &[u8]| DirEntry { inode, kind: Kind::Directory, name: name.to_vec() };
        if place == Place::Start {
            if add(&directory(inode, b"."), Place::PARENT) {
                return Ok(());
            }
            place = Place::Parent;
        }
        if place == Place::Parent && add(&directory(self.files.parent(inode), b".."), Place::NAMES) {
            return Ok(());
        }
        let mut after = if let Place::After(name) = place { Some(name) } else { None };
        loop {
            let mut entries = self.files.list(inode, after.as_deref(), LISTED)?;
            for entry in &entries {
                if add(entry, places.next()) {
                    return Ok(());
                }
                places.push(&entry.name);
            }
            if entries.len() < LISTED {
                return Ok(());
            }
            after = entries.pop().map(|entry| entry.name);
        }
    }
}

impl Filesystem for Requests {
    /// FUSE_ATOMIC_O_TRUNC is not among the capabilities: with it the kernel truncates a program that runs, and only then
    /// says ETXTBSY.
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in [
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            // Without it each write would be preceded by a question for the file's capabilities.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            // An older kernel does without.
            let _ = config.add_capabilities(capability);
        }
        let refused = |nearest| io::Error::other(format!("fuser refuses a limit: {nearest} would do"));
        config.set_max_write(WRITE_MAX).map_err(|nearest| refused(u64::from(nearest)))?;
        config.set_max_background(BACKGROUND).map_err(|nearest| refused(u64::from(nearest)))?;
        Ok(())
    }

    fn destroy(&mut self) {
        self.reads.close();
        self.stale.close();
        self.end.come();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _answering = self.stale.answering();
        match self.files.lookup(Inode(parent.0), name.as_bytes()) {
            Ok(attr) => reply.entry(&KEPT, &self.stats.show(&attr), GENERATION),
            // Not kept, so that a friend's new file shows at once.
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let _answering = self.stale.answering();
        match self.files.attr(Inode(inode.0)) {
            Ok(attr) => reply.attr(&KEPT, &self.stats.show(&attr)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // All files have one owner, so nothing but what is so already can be asked for.
        let owner = self.stats.owner();
        if uid.is_some_and(|uid| uid != owner.uid) || gid.is_some_and(|gid| gid != owner.gid) {
            return reply.error(Errno::EPERM);
        }
        let inode = Inode(inode.0);
        let before = self.files.attr(inode).ok();
        // A kernel that leaves it to us says with a new owner, but not with a new size, that a file loses privileges.
        let file = before.filter(|attr| attr.kind == Kind::File && (size.is_some() || uid.is_some() || gid.is_some()));
        let mode = mode.map(|mode| mode & PERMISSIONS).or(file.and_then(|attr| without_privileges(attr.mode)));
        let stats = self.stats.clone();
        let told = move |attr: &Attr| {
            stats.changed(attr, atime, mtime.is_some());
            stats.show(attr)
        };
        if let (None, None, None, Some(attr)) = (mode, size, mtime, before) {
            return reply.attr(&KEPT, &told(&attr));
        }
        let op = Op::SetAttr { inode, size, mode, mtime: mtime.map(wall_time) };
        self.ask(op, move |answer| match answer {
            Ok(Answer::Entry(attr)) => reply.attr(&KEPT, &told(&attr)),
            Ok(other) => reply.error(unexpected(&other)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        match self.files.readlink(Inode(inode.0)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: u32, reply: ReplyEntry) {
        if mode & S_IFMT != S_IFREG {
            return reply.error(Errno::EPERM);
        }
        let op = Op::Create { parent: Inode(parent.0), name: bytes_of(name), mode: mode & PERMISSIONS };
        let (stats, files, reads) = (self.stats.clone(), self.files.clone(), self.reads.clone());
        let then = self.note_entries(Inode(parent.0));
        self.ask(op, move |answer| match answer {
            Ok(Answer::Created(attr, handle)) => {
                then();
                reply.entry(&KEPT, &stats.show(&attr), GENERATION);
                reads.pool().run(move || {
                    files.op(Op::Release { handle }, Box::new(drop));
                });
            }
            Ok(other) => reply.error(unexpected(&other)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let op = Op::Mkdir { parent: Inode(parent.0), name: bytes_of(name), mode: mode & PERMISSIONS };
        self.ask_entry(op, reply, self.note_entries(Inode(parent.0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let parent = Inode(parent.0);
        self.ask_done(Op::Unlink { parent, name: bytes_of(name) }, reply, self.note_entries(parent));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let parent = Inode(parent.0);
        self.ask_done(Op::Rmdir { parent, name: bytes_of(name) }, reply, self.note_entries(parent));
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = bytes_of(target.as_os_str());
        let parent = Inode(parent.0);
        let op = Op::Symlink { parent, name: bytes_of(name), target };
        self.ask_entry(op, reply, self.note_entries(parent));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (parent, new_parent) = (Inode(parent.0), Inode(new_parent.0));
        let (name, new_name) = (bytes_of(name), bytes_of(new_name));
        let exchange = flags == RenameFlags::RENAME_EXCHANGE;
        let no_replace = flags == RenameFlags::RENAME_NOREPLACE;
        if !exchange && !no_replace && !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let moved = self.note_moved(parent, &name);
        let other = exchange.then(|| self.note_moved(new_parent, &new_name));
        let (from, to) = (self.note_entries(parent), self.note_entries(new_parent));
        let op = match exchange {
            true => Op::Exchange { parent, name, new_parent, new_name },
            false => Op::Rename { parent, name, new_parent, new_name, no_replace },
        };
        self.ask_done(op, reply, move || {
            moved();
            other.into_iter().for_each(|other| other());
            from();
            to();
        });
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.ask(open_op(Inode(inode.0), flags), move |answer| match answer {
            Ok(Answer::Opened(handle)) => reply.opened(FileHandle(handle.0), open_flags(flags)),
            Ok(other) => reply.error(unexpected(&other)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, flags: i32, reply: ReplyCreate) {
        let (stats, then) = (self.stats.clone(), self.note_entries(Inode(parent.0)));
        let op = Op::Create { parent: Inode(parent.0), name: bytes_of(name), mode: mode & PERMISSIONS };
        self.ask(op, move |answer| match answer {
            Ok(Answer::Created(attr, handle)) => {
                then();
                created(reply, &stats, &attr, handle, OpenFlags(flags));
            }
            // It came from a friend after the kernel had looked: the kernel looks again, opens it, and truncates it if need be.
            Err(OpError::Exists) if flags & O_EXCL == 0 => reply.error(Errno::ESTALE),
            Ok(other) => reply.error(unexpected(&other)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.reads.serve(Read { inode: Inode(inode.0), offset, length, process: request.pid(), reply });
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if write.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            self.kill_privileges(Inode(inode.0));
        }
        // What was written through a mapping belongs where it was, and comes by any handle.
        let append = flags.0 & O_APPEND != 0 && !write.contains(WriteFlags::FUSE_WRITE_CACHE);
        let (handle, offset) = (Handle(handle.0), (!append).then_some(offset));
        let data = Bytes::copy_from_slice(data);
        let _answering = self.stale.answering();
        let done = move |answer| match answer {
            Ok(Answer::Written(bytes)) => reply.written(bytes),
            Ok(other) => reply.error(unexpected(&other)),
            Err(error) => reply.error(errno(&error)),
        };
        self.files.op(Op::Write { handle, offset, data }, Box::new(done));
    }

    fn flush(&self, _: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.ask_done(Op::Flush { handle: Handle(handle.0) }, reply, || ());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.ask_done(Op::Release { handle: Handle(handle.0) }, reply, || ());
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.ask_done(Op::Fsync { inode: Inode(inode.0) }, reply, || ());
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.ask_done(Op::Fsync { inode: Inode(inode.0) }, reply, || ());
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.directories.open()), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, inode: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.lines(Inode(inode.0), handle, offset, |entry, next| {
            reply.add(INodeNo(entry.inode.0), next, file_type(entry.kind), OsStr::from_bytes(&entry.name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdirplus(&self, _: &Request, inode: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let _answering = self.stale.answering();
        let listed = self.lines(Inode(inode.0), handle, offset, |entry, next| {
            // What is gone since it was listed is left out.
            let Ok(attr) = self.files.attr(entry.inode) else { return false };
            let name = OsStr::from_bytes(&entry.name);
            reply.add(INodeNo(entry.inode.0), next, name, &KEPT, &self.stats.show(&attr), GENERATION)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.directories.release(handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (total, free) = self.files.space();
        let blocks = |bytes: u64| bytes / u64::from(STATFS_BLOCK);
        let free = blocks(free);
        reply.statfs(blocks(total), free, free, 0, 0, STATFS_BLOCK, NAME_MAX as u32, STATFS_BLOCK);
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        self.answer_getxattr(Inode(inode.0), name, room, reply);
    }

    fn listxattr(&self, _: &Request, inode: INodeNo, room: u32, reply: ReplyXattr) {
        self.answer_listxattr(Inode(inode.0), room, reply);
    }

    fn setxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, value: &[u8], flags: i32, _: u32, reply: ReplyEmpty) {
        self.answer_setxattr(Inode(inode.0), name, value, flags, reply);
    }

    fn removexattr(&self, _: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer_removexattr(Inode(inode.0), name, reply);
    }

    fn lseek(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        self.answer_lseek(Inode(inode.0), offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        from: INodeNo,
        _: FileHandle,
        from_offset: u64,
        _: INodeNo,
        to: FileHandle,
        to_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.answer_copy((Inode(from.0), from_offset), (Handle(to.0), to_offset), length, reply);
    }

    // ENOSYS makes the kernel answer it by itself from then on.
    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.answer_fallocate(Inode(inode.0), Handle(handle.0), (offset, length), mode, reply);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}

fn open_op(inode: Inode, flags: OpenFlags) -> Op {
    Op::Open { inode, write: flags.acc_mode() != OpenAccMode::O_RDONLY, truncate: false }
}

/// Pages stay in the kernel's cache until the file's size or time changes or it is told stale; a reader's close has
/// nothing to publish.
fn open_flags(flags: OpenFlags) -> FopenFlags {
    match flags.acc_mode() {
        OpenAccMode::O_RDONLY => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
        _ => FopenFlags::FOPEN_KEEP_CACHE,
    }
}

fn created(reply: ReplyCreate, stats: &Stats, attr: &Attr, handle: Handle, flags: OpenFlags) {
    reply.created(&KEPT, &stats.show(attr), GENERATION, FileHandle(handle.0), open_flags(flags));
}

/// The mode that a file is left with whose writer is not its owner; `None` when it is the one that it has. Without the bit
/// for the group to run it, the other one means something else.
fn without_privileges(mode: u32) -> Option<u32> {
    let group = if mode & S_IXGRP != 0 { S_ISGID } else { 0 };
    let left = mode & !(S_ISUID | group);
    (left != mode).then_some(left)
}

fn bytes_of(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// How long the kernel keeps entries and attributes. They are told stale when a friend changes them.
const KEPT: Duration = Duration::from_secs(60);
/// Inode numbers are never used again.
const GENERATION: Generation = Generation(0);
/// Bytes of one write.
const WRITE_MAX: u32 = 1 << 18;
/// Reads ahead that the kernel lets wait: parked ones must not keep others out.
const BACKGROUND: u16 = 512;
/// Entries listed at a time.
const LISTED: usize = 128;
/// Bytes in a block of statfs(2).
const STATFS_BLOCK: u32 = 4_096;

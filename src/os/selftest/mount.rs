//! A tree of one file, mounted and read through the kernel.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Held, equal, words};
use crate::base::{Ticket, WallTime};
use crate::node::io::{
    Answer, Attr, DirEntry, DiskError, Handle, Inode, Op, OpError, ReadPart, ReadPlan, Reply, Segment,
};
use crate::os::fuse::{Files, Mount, MountConfig, MountError};
use crate::seal::ChunkKey;
use crate::wire::record::Kind;

/// Mounts, lists, reads, unmounts.
pub(super) fn mount(place: &Path) -> Result<Held, String> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let directory = place.join("mount");
    fs::create_dir(&directory).map_err(words("making a directory"))?;
    let config =
        MountConfig { directory: directory.clone(), threads: 1, read_only: true, allow_other: false, uid, gid };
    let mounted = match Mount::new(config, Arc::new(OneFile)) {
        Ok(mounted) => mounted,
        Err(error @ (MountError::NoDevice | MountError::NoHelper | MountError::Refused(_))) => {
            return Ok(Held::Skipped(error.to_string()));
        }
        Err(error) => return Err(format!("mounting: {error}")),
    };
    let names: Vec<_> = fs::read_dir(&directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect())
        .map_err(words("listing the mount"))?;
    equal("what the mount lists", names, vec![NAME.into()])?;
    let path = directory.join(NAME);
    let modified = path.metadata().and_then(|metadata| metadata.modified()).map_err(words("stat in the mount"))?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).map_err(words("the file's date"))?;
    equal("the file's date", since.as_nanos(), DATE.0 as u128)?;
    equal("the file", &fs::read(path).map_err(words("reading in the mount"))?[..], CONTENT)?;
    mounted.unmount().map_err(words("unmounting"))?;
    Ok(Held::Yes("a file was read through the kernel".into()))
}

/// A root with one file in it, which is always here.
struct OneFile;

impl OneFile {
    fn file(&self) -> Attr {
        let size = CONTENT.len() as u64;
        Attr { inode: FILE, kind: Kind::File, size, mode: 0o444, mtime: DATE, links: 1 }
    }
}

impl Files for OneFile {
    fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Attr, OpError> {
        if parent == Inode::ROOT && name == NAME.as_bytes() { Ok(self.file()) } else { Err(OpError::NotFound) }
    }

    fn attr(&self, inode: Inode) -> Result<Attr, OpError> {
        match inode {
            Inode::ROOT => Ok(Attr { inode, kind: Kind::Directory, size: 0, mode: 0o555, mtime: DATE, links: 2 }),
            FILE => Ok(self.file()),
            _ => Err(OpError::NotFound),
        }
    }

    fn list(&self, inode: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        let file = DirEntry { inode: FILE, kind: Kind::File, name: NAME.into() };
        let comes = inode == Inode::ROOT && after.is_none_or(|after| after < NAME.as_bytes());
        Ok(Some(file).filter(|_| comes).into_iter().take(limit).collect())
    }

    fn readlink(&self, _: Inode) -> Result<Bytes, OpError> {
        Err(OpError::Invalid("it is no symlink".into()))
    }

    fn plan(&self, _: Inode, offset: u64, length: u32) -> Result<ReadPlan, OpError> {
        let from = CONTENT.len().min(offset as usize);
        let to = CONTENT.len().min(from + length as usize);
        Ok(ReadPlan { parts: vec![ReadPart::Bytes(Bytes::from_static(&CONTENT[from..to]))] })
    }

    fn parent(&self, _: Inode) -> Inode {
        Inode::ROOT
    }

    fn freed(&self) -> u64 {
        0
    }

    fn op(&self, op: Op, done: Box<dyn FnOnce(Reply) + Send>) -> Ticket {
        done(match op {
            Op::Open { .. } => Ok(Answer::Opened(Handle(1))),
            Op::Flush { .. } | Op::Release { .. } => Ok(Answer::Done),
            _ => Err(OpError::ReadOnly),
        });
        Ticket(1)
    }

    fn cancel(&self, _: Ticket) {}

    fn unseal(&self, _: Segment, _: &ChunkKey, _: &mut Vec<u8>) -> Result<(), DiskError> {
        Err(DiskError::Io("nothing is sealed here".into()))
    }

    fn space(&self) -> (u64, u64) {
        (0, 0)
    }
}

const NAME: &str = "file";
const FILE: Inode = Inode(2);
const CONTENT: &[u8] = b"read through the kernel";
/// 1 January 2040.
const DATE: WallTime = WallTime(2_208_988_800_000_000_000);

//! The mount's view of the node: names and plans by the read lock, data by the slabs, everything else as operations.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::Ticket;
use crate::node::io::{Attr, DirEntry, DiskError, Inode, Input, Op, OpError, ReadPlan, Reply, Segment};
use crate::os::core::Core;
use crate::os::fuse::Files;
use crate::seal::ChunkKey;
use crate::wire::record::Xattrs;

/// See the module.
pub struct CoreFiles(pub Arc<Core>);

impl Files for CoreFiles {
    fn lookup(&self, parent: Inode, name: &[u8]) -> Result<Attr, OpError> {
        self.0.read(|node| node.lookup(parent, name))
    }

    fn attr(&self, inode: Inode) -> Result<Attr, OpError> {
        self.0.read(|node| node.attr(inode))
    }

    fn list(&self, inode: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        self.0.read(|node| node.list(inode, after, limit))
    }

    fn readlink(&self, inode: Inode) -> Result<Bytes, OpError> {
        self.0.read(|node| node.readlink(inode))
    }

    fn plan(&self, inode: Inode, offset: u64, length: u32) -> Result<ReadPlan, OpError> {
        self.0.read(|node| node.plan(inode, offset, length))
    }

    fn parent(&self, inode: Inode) -> Inode {
        self.0.read(|node| node.parent(inode))
    }

    fn freed(&self) -> u64 {
        self.0.read(|node| node.freed())
    }

    fn xattrs(&self, inode: Inode) -> Result<Xattrs, OpError> {
        self.0.read(|node| node.xattrs(inode))
    }

    fn told_xattr(&self, inode: Inode, name: &[u8]) -> Result<Bytes, OpError> {
        self.0.read(|node| node.told_xattr(inode, name))
    }

    fn seek(&self, inode: Inode, offset: u64, data: bool) -> Result<Option<u64>, OpError> {
        self.0.read(|node| node.seek(inode, offset, data))
    }

    fn op(&self, op: Op, done: Box<dyn FnOnce(Reply) + Send>) -> Ticket {
        self.0.op(op, done)
    }

    fn cancel(&self, ticket: Ticket) {
        self.0.input(Input::Cancel { ticket });
    }

    fn unseal(&self, segment: Segment, key: &ChunkKey, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
        self.0.slabs().unseal(segment, key, buffer)
    }

    fn space(&self) -> (u64, u64) {
        self.0.slabs().space()
    }
}

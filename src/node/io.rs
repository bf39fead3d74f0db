//! What goes into the node and what comes out: inputs are facts, actions are requests, a ticket ties the two.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use core::net::SocketAddr;

use crate::base::{Batch, CircleId, ConnId, Location, Ticket, TransportKey, WallTime};
use crate::seal::ChunkKey;
use crate::wire::record::Kind;
use crate::wire::statement::Role;

/// A fact that the node is told.
#[derive(Debug)]
pub enum Input {
    /// The time of `poll_timeout` has come.
    Tick,
    /// A TLS connection is up; the certificate was checked against [`Trust`].
    Connected(Connected),
    /// A dial ended without a connection.
    DialFailed {
        /// Of the dial.
        ticket: Ticket,
        /// For people.
        why: String,
    },
    /// A frame came.
    Frame {
        /// From whom.
        conn: ConnId,
        /// 0 is control.
        channel: u32,
        /// What follows the frame's header.
        payload: Bytes,
    },
    /// Bytes of frames, headers left out, were handed to the kernel.
    Sent {
        /// Where.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// A connection is gone. Told once for each `Connected`.
    Closed {
        /// Which.
        conn: ConnId,
        /// For people.
        why: String,
    },
    /// The disk answers.
    Disk {
        /// Of the request.
        ticket: Ticket,
        /// The answer.
        done: Done,
    },
    /// Somebody asks for something.
    Op {
        /// Answered exactly once, by the return of `handle` or by [`Action::Reply`].
        ticket: Ticket,
        /// What.
        op: Op,
    },
    /// Whoever asked no longer waits; the ticket is answered with [`OpError::Interrupted`] if it still can be.
    Cancel {
        /// Of the operation.
        ticket: Ticket,
    },
}

/// See [`Input::Connected`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connected {
    /// The connection.
    pub conn: ConnId,
    /// What was negotiated by ALPN.
    pub protocol: Protocol,
    /// The key of the peer's certificate.
    pub transport: TransportKey,
    /// 32 bytes of the TLS exporter, equal on both sides and nowhere else.
    pub exporter: [u8; 32],
    /// The ticket of our dial; `None` when the peer dialled.
    pub dialed: Option<Ticket>,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// The application protocol of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// `dustfs/1`, on a certificate chain of this circle.
    Dustfs(CircleId),
    /// `dustfs-invite/1`: the peer's key is known to nobody yet.
    Invite,
}

/// A span of bytes in a slab.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Segment {
    /// Number of the slab.
    pub slab: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl Segment {
    /// The span of `length` bytes at `location`.
    pub fn at(location: Location, length: u32) -> Self {
        Self { slab: location.slab, offset: location.offset_bytes(), length }
    }
}

/// A request to the disk. Each is answered once with the [`Done`] of the same name.
#[derive(Debug)]
pub enum DiskRequest {
    /// Seal a chunk's plaintext (zero-padded to what the length needs) and write it.
    Seal {
        /// Where; its length is the sealed length.
        segment: Segment,
        /// With what.
        key: Arc<ChunkKey>,
        /// At most [`CHUNK_PLAIN`](crate::base::limits::CHUNK_PLAIN) bytes.
        plaintext: Bytes,
    },
    /// Check a piece's SHA-1 and write it if it is right.
    Store {
        /// What it must hash to.
        sha1: [u8; 20],
        /// The piece, in order.
        blocks: Vec<Bytes>,
        /// Where, in order, as long together as the piece.
        segments: Vec<Segment>,
    },
    /// Read sealed bytes.
    Read {
        /// From where, in order.
        segments: Vec<Segment>,
    },
    /// Read a chunk and open it.
    Unseal {
        /// The whole sealed chunk.
        segment: Segment,
        /// With what.
        key: Arc<ChunkKey>,
    },
    /// Hash a draft's sealed chunks into pieces.
    Hash {
        /// All chunks in order, whole.
        chunks: Vec<Segment>,
        /// Bytes per piece, a multiple of a chunk's.
        piece_length: u32,
        /// The SHA-1 of each piece where it is known already; such pieces are not read, their tags are.
        known: Vec<Option<[u8; 20]>>,
    },
    /// Sync the slabs, then commit the batch durably. Commits are made in the order in which they were asked for.
    Commit {
        /// The writes.
        batch: Batch,
        /// Slabs whose bytes the batch refers to.
        sync: BTreeSet<u32>,
    },
    /// Give the space back. Asked only when the commit that dropped it is durable.
    Punch {
        /// Which.
        segments: Vec<Segment>,
    },
}

/// The disk's answer.
#[derive(Debug)]
pub enum Done {
    /// The sealed chunk was written.
    Sealed(Result<(), DiskError>),
    /// True when the piece hashed right and was written; false when it did not and was not.
    Stored(Result<bool, DiskError>),
    /// As many bytes as were asked for.
    Read(Result<Bytes, DiskError>),
    /// The chunk's plaintext with its padding.
    Unsealed(Result<Bytes, DiskError>),
    /// See [`Hashed`].
    Hashed(Result<Hashed, DiskError>),
    /// The batch is durable.
    Committed(Result<(), DiskError>),
    /// The space was given back.
    Punched(Result<(), DiskError>),
}

/// The hashes of a body's sealed bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hashed {
    /// SHA-1 of each piece, 20 bytes each.
    pub pieces: Vec<u8>,
    /// SHA-256 over the last 16 bytes of each chunk.
    pub tags: [u8; 32],
}

/// Why the disk could not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// No space is left.
    Full,
    /// The bytes are not what was written: a chunk does not open.
    Corrupt,
    /// The operating system's words.
    Io(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Full => f.write_str("the disk is full: free some space on it"),
            DiskError::Corrupt => f.write_str("the disk gave back other bytes than were written: check it"),
            DiskError::Io(why) => write!(f, "the disk failed: {why}"),
        }
    }
}

/// What a listener and a dialler must know to check certificates; the whole replaces what was told before.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Trust {
    /// One for each circle.
    pub circles: Vec<TrustedCircle>,
    /// True while an invite is open, and so its protocol is answered.
    pub invites: bool,
}

/// See [`Trust`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedCircle {
    /// The circle.
    pub circle: CircleId,
    /// The SNI by which a dialler names it: 40 lower-case hex digits.
    pub server_name: String,
    /// The self-signed root, DER.
    pub root: Bytes,
    /// Our own leaf, DER.
    pub leaf: Bytes,
    /// Keys of the devices that are in the circle: they may connect, and are dialled.
    pub allowed: BTreeSet<TransportKey>,
    /// Keys of those that were removed. Whoever is neither, and shows a certificate that the root issued, was admitted by a
    /// keeper of whom this node has not heard: it may connect, to hand in the statement that says so.
    pub removed: BTreeSet<TransportKey>,
}

/// A request of the node's.
#[derive(Debug)]
pub enum Action {
    /// Connect; answered by `Connected` with this ticket, or by `DialFailed`.
    Dial {
        /// Of the answer.
        ticket: Ticket,
        /// Where.
        address: SocketAddr,
        /// As what.
        protocol: Protocol,
        /// The key that the peer must have.
        expect: TransportKey,
    },
    /// Send a frame whose payload is `head` and then `body`.
    Send {
        /// To whom.
        conn: ConnId,
        /// 0 is control.
        channel: u32,
        /// The first part.
        head: Bytes,
        /// The rest, often empty.
        body: Bytes,
    },
    /// Close after what was sent has gone out, or at once when it does not go.
    Close {
        /// Which.
        conn: ConnId,
        /// For people.
        why: String,
    },
    /// Replace the trust.
    Trust(Trust),
    /// Ask the disk.
    Disk {
        /// Of the answer.
        ticket: Ticket,
        /// What.
        request: DiskRequest,
    },
    /// Answer an operation.
    Reply {
        /// Of the operation.
        ticket: Ticket,
        /// The answer.
        reply: Reply,
    },
    /// The kernel's caches are out of date.
    Invalidate(Vec<Stale>),
}

/// What a kernel cache must forget.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stale {
    /// The entry of this name in this directory.
    Entry(Inode, Vec<u8>),
    /// Attributes and pages.
    Inode(Inode),
}

/// Inode number in the mount; [`Inode::ROOT`] is the root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Inode(pub u64);

impl Inode {
    /// FUSE_ROOT_ID.
    pub const ROOT: Inode = Inode(1);
}

/// An open file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub u64);

/// What stat(2) tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub inode: Inode,
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Last modification; also shown as the other times.
    pub mtime: WallTime,
    /// Links: 1, or 2 for a directory.
    pub links: u32,
}

/// One line of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// Inode number.
    pub inode: Inode,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Vec<u8>,
}

/// What somebody asks the node to do. Looking up, stat and reading local data go by `&self` instead.
#[derive(Clone, Debug)]
pub enum Op {
    /// creat(2): a new file, opened for reading and writing. Answers [`Answer::Created`].
    Create {
        /// Directory.
        parent: Inode,
        /// Name.
        name: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// open(2) with O_TMPFILE: a new file that has no name until [`Op::Link`] gives it one. Nobody sees it, and nothing
    /// of it outlives its handle. Answers [`Answer::Created`].
    Unnamed {
        /// A directory of the circle that it is to be in.
        directory: Inode,
        /// Permission bits.
        mode: u32,
    },
    /// Publishes an unnamed file under a name, in the place of the file that has it, if one has. A reader of the name
    /// sees the old file or the whole new one. Answers [`Answer::Done`] when that would survive a power cut.
    Link {
        /// The unnamed file, as it was opened.
        handle: Handle,
        /// Directory.
        parent: Inode,
        /// Name.
        name: Vec<u8>,
        /// Refuse to replace a file.
        no_replace: bool,
    },
    /// mkdir(2). Answers [`Answer::Entry`].
    Mkdir {
        /// Directory.
        parent: Inode,
        /// Name.
        name: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// symlink(2). Answers [`Answer::Entry`].
    Symlink {
        /// Directory.
        parent: Inode,
        /// Name.
        name: Vec<u8>,
        /// What it points to.
        target: Vec<u8>,
    },
    /// unlink(2). Answers [`Answer::Done`].
    Unlink {
        /// Directory.
        parent: Inode,
        /// Name.
        name: Vec<u8>,
    },
    /// rmdir(2). Answers [`Answer::Done`].
    Rmdir {
        /// Directory.
        parent: Inode,
        /// Name.
        name: Vec<u8>,
    },
    /// rename(2). Answers [`Answer::Done`].
    Rename {
        /// From this directory.
        parent: Inode,
        /// This name.
        name: Vec<u8>,
        /// To this directory.
        new_parent: Inode,
        /// This name.
        new_name: Vec<u8>,
        /// RENAME_NOREPLACE.
        no_replace: bool,
    },
    /// truncate(2), chmod(2), utimensat(2). Answers [`Answer::Entry`].
    SetAttr {
        /// Which.
        inode: Inode,
        /// New size.
        size: Option<u64>,
        /// New permission bits.
        mode: Option<u32>,
        /// New time.
        mtime: Option<WallTime>,
    },
    /// open(2) of a file. Answers [`Answer::Opened`].
    Open {
        /// Which.
        inode: Inode,
        /// For writing.
        write: bool,
        /// O_TRUNC.
        truncate: bool,
    },
    /// pwrite(2); `offset` `None` appends (O_APPEND). Answers [`Answer::Written`].
    Write {
        /// The open file.
        handle: Handle,
        /// Where.
        offset: Option<u64>,
        /// What.
        data: Bytes,
    },
    /// close(2) of one descriptor: publishes what was written. Answers [`Answer::Done`] at once.
    Flush {
        /// The open file.
        handle: Handle,
    },
    /// The last descriptor is closed. Answers [`Answer::Done`].
    Release {
        /// The open file.
        handle: Handle,
    },
    /// fsync(2): answers [`Answer::Done`] when what was written would survive a power cut.
    Fsync {
        /// The file or directory.
        inode: Inode,
    },
    /// Waits until these bytes are here. Answers [`Answer::Done`]; the caller then plans its read anew.
    Fetch {
        /// The file.
        inode: Inode,
        /// First byte.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// Somebody who opened the page asks to sign in. Answers [`Answer::Done`] when a press at the box allows it; it is
    /// refused with words when nobody does, or another question is pending.
    SignIn {
        /// Two digits, none of them 0, that the page and the LED show.
        code: u8,
    },
    /// Founds a circle of friends. Answers [`Answer::Circle`].
    Found {
        /// Its name.
        name: String,
        /// Entropy of the operating system, for keys and nonces.
        entropy: [u8; 96],
    },
    /// Opens an invite. Answers [`Answer::Invite`].
    Invite {
        /// To which circle, by name; `None` means the only one with friends, or a new one called `Friends`.
        circle: Option<String>,
        /// As what.
        role: Role,
        /// How long it is open.
        time: Duration,
        /// Entropy of the operating system.
        entropy: [u8; 96],
    },
    /// Joins by an invite's text. Answers [`Answer::Circle`].
    Join {
        /// The text.
        invite: String,
        /// Entropy of the operating system.
        entropy: [u8; 96],
    },
    /// Removes a member from a circle. Answers [`Answer::Done`].
    Remove {
        /// The circle's name.
        circle: Option<String>,
        /// The member's name or the start of its device id in hex.
        member: String,
        /// Entropy of the operating system.
        entropy: [u8; 96],
    },
    /// Leaves a circle with friends: nothing is shared any more, what is here stays and can be read, and pairing again
    /// takes it back. Answers [`Answer::Done`].
    Leave {
        /// The circle's name; `None` means all of them.
        circle: Option<String>,
    },
    /// Publishes all drafts and makes everything durable; nothing is accepted after it. Answers [`Answer::Done`].
    Shutdown,
}

/// The answer to an operation.
pub type Reply = Result<Answer, OpError>;

/// What an operation answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// The entry, or the inode as it is now.
    Entry(Attr),
    /// The new file and its handle.
    Created(Attr, Handle),
    /// The handle.
    Opened(Handle),
    /// Bytes written.
    Written(u32),
    /// The circle's name.
    Circle(String),
    /// The invite's text.
    Invite(String),
}

/// Why an operation failed. `os::fuse` maps each to an errno, `lan` to words and a status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpError {
    /// ENOENT.
    NotFound,
    /// EEXIST.
    Exists,
    /// ENOTEMPTY.
    NotEmpty,
    /// ENOTDIR.
    NotDirectory,
    /// EISDIR.
    IsDirectory,
    /// EINVAL, with the reason.
    Invalid(String),
    /// ENAMETOOLONG.
    NameTooLong,
    /// EFBIG.
    TooLarge,
    /// ENOSPC.
    NoSpace,
    /// EIO, with the reason.
    Io(String),
    /// EROFS: this node's role in the circle does not write.
    ReadOnly,
    /// EXDEV: a move from one circle to another.
    CrossCircle,
    /// EPERM, with the reason.
    NotPermitted(String),
    /// EBADF.
    BadHandle,
    /// EHOSTUNREACH: nobody who holds it is online.
    Unreachable,
    /// ETIMEDOUT: somebody holds it, but nothing came in time.
    TimedOut,
    /// EINTR.
    Interrupted,
    /// EAGAIN: a queue is full.
    Busy,
    /// ESHUTDOWN: the node is stopping.
    Stopping,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpError::NotFound => f.write_str("there is no such file"),
            OpError::Exists => f.write_str("it exists already"),
            OpError::NotEmpty => f.write_str("the directory is not empty"),
            OpError::NotDirectory => f.write_str("it is not a directory"),
            OpError::IsDirectory => f.write_str("it is a directory"),
            OpError::Invalid(why) | OpError::NotPermitted(why) | OpError::Io(why) => f.write_str(why),
            OpError::NameTooLong => f.write_str("the name is longer than 255 bytes"),
            OpError::TooLarge => f.write_str("the file would be too large"),
            OpError::NoSpace => f.write_str("the disk is full: free some space on it"),
            OpError::ReadOnly => {
                f.write_str("this node may not write in this circle: ask a keeper for the role 'member'")
            }
            OpError::CrossCircle => f.write_str("it would move from one circle to another: copy it instead"),
            OpError::BadHandle => f.write_str("the file is not open"),
            OpError::Unreachable => f.write_str("nobody who has it is online: try again when a friend is"),
            OpError::TimedOut => f.write_str("friends who have it sent nothing in time: try again"),
            OpError::Interrupted => f.write_str("it was interrupted"),
            OpError::Busy => f.write_str("too much is waiting: try again"),
            OpError::Stopping => f.write_str("the node is stopping"),
        }
    }
}

impl std::error::Error for OpError {}

impl From<DiskError> for OpError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full => OpError::NoSpace,
            other => OpError::Io(other.to_string()),
        }
    }
}

/// How to read a span of a file from what is here, without the node's lock.
#[derive(Clone, Debug, Default)]
pub struct ReadPlan {
    /// In order; empty at the end of the file.
    pub parts: Vec<ReadPart>,
}

/// One part of a [`ReadPlan`].
#[derive(Clone, Debug)]
pub enum ReadPart {
    /// These bytes.
    Bytes(Bytes),
    /// So many zeros.
    Zeros(usize),
    /// A span of a sealed chunk's plaintext.
    Chunk {
        /// The whole sealed chunk.
        segment: Segment,
        /// Opens it.
        key: Arc<ChunkKey>,
        /// Bytes of plaintext to leave out.
        skip: usize,
        /// Bytes of plaintext to take.
        take: usize,
    },
    /// Not here: ask for it by [`Op::Fetch`], then plan anew. The last part of a plan.
    Missing,
}

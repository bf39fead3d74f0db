//! What goes into the node and what comes out: inputs are facts, actions are requests, a ticket ties the two.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};

use crate::base::{Batch, CircleId, ConnId, InfoHash, Location, Ticket, TransportKey, WallTime};
use crate::seal::{ChunkKey, TransportSecret};
use crate::wire::beacon::{Pairing, Presence};
use crate::wire::record::Kind;

pub use super::op::{Answer, Op, OpError, Reply};
pub use super::patches::Patches;

/// A fact that the node is told.
#[derive(Debug)]
pub enum Input {
    /// The time of `poll_timeout` has come.
    Tick,
    /// Somebody moved a key of the panel.
    #[cfg(feature = "panel")]
    Panel(crate::panel::Input),
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
    /// Another node said something on the LAN; nothing of it is proved.
    Heard {
        /// What.
        said: Said,
        /// Where it takes connections: the sender's address and the port that it names.
        address: SocketAddr,
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
    /// `dustfs-pair/1`: two boxes whose buttons were pressed.
    Pair,
    /// `dustfs-recover/1`: the dialler has the key of a recovery sheet.
    Recover,
    /// A stock client's connection for one torrent of this circle (BEP 3 inside TLS): its messages are told as frames of
    /// the channel [`Protocol::STOCK_CHANNEL`], and there are no others.
    Torrent(CircleId, InfoHash),
}

impl Protocol {
    /// The one channel of a stock client's connection, numbered as if the client had opened it.
    pub const STOCK_CHANNEL: u32 = 1;

    /// True for those whose peer need not be in any circle.
    pub fn is_guest(self) -> bool {
        matches!(self, Protocol::Invite | Protocol::Pair | Protocol::Recover)
    }
}

/// A stock client that announces itself to this node's tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced {
    /// The circle whose root issued its certificate.
    pub circle: CircleId,
    /// Its key.
    pub transport: TransportKey,
    /// Its address.
    pub from: IpAddr,
    /// Where it reached this node.
    pub here: SocketAddr,
}

/// What a node hears on the LAN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// A node that may be a friend's.
    Presence(Presence),
    /// A box whose button was pressed.
    Pairing(Pairing),
}

/// What a node says on the LAN.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// The port at which it takes connections.
    pub port: u16,
    /// To friends.
    pub presence: Option<Presence>,
    /// To the other box in the window; while it is said, others that say it are looked for.
    pub pairing: Option<Pairing>,
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
        /// The answer has the sealed chunk's hash, as for a file whose pieces are its chunks.
        hash: bool,
    },
    /// Open a sealed chunk, write over parts of it, and seal it to another place; answered like `Seal`.
    Patch {
        /// The chunk as it lies.
        from: Segment,
        /// What opens it.
        opener: Arc<ChunkKey>,
        /// What is written over it.
        patches: Arc<Patches>,
        /// Where the new one goes, as long as the old one.
        segment: Segment,
        /// With what it is sealed.
        key: Arc<ChunkKey>,
        /// The answer has the sealed chunk's hash, as for a file whose pieces are its chunks.
        hash: bool,
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
    /// Tell which chunks of a draft are those of another body.
    Compare {
        /// Each is compared by itself; one that cannot be read is like no other.
        pairs: Vec<Pair>,
    },
    /// Sync the slabs, then commit the batch durably. Commits are made in the order in which they were asked for.
    Commit {
        /// The writes.
        batch: Batch,
        /// Slabs whose bytes the batch refers to.
        sync: BTreeSet<u32>,
    },
    /// Tell how large these slabs are.
    Measure {
        /// Which.
        slabs: BTreeSet<u32>,
    },
    /// Give the space back. Asked only when the commit that dropped it is durable.
    Punch {
        /// Which.
        segments: Vec<Segment>,
    },
}

/// See [`DiskRequest::Compare`].
#[derive(Clone, Debug)]
pub struct Pair {
    /// The draft's sealed chunk.
    pub mine: Segment,
    /// The other body's, equally long.
    pub theirs: Segment,
    /// What opens mine, and what sealed theirs, where that is not one key: equal plaintexts are looked for then.
    pub keys: Option<(Arc<ChunkKey>, Arc<ChunkKey>)>,
}

/// What a file's hashes need of a sealed chunk that is a piece by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkHash {
    /// SHA-1 of the sealed bytes.
    pub sha1: [u8; 20],
    /// Their tag.
    pub tag: [u8; 16],
}

impl ChunkHash {
    /// Of a sealed chunk; `None` when it is too short to have a tag.
    pub fn of(sealed: &[u8]) -> Option<Self> {
        Some(Self { sha1: crate::seal::piece::sha1([sealed]), tag: *sealed.last_chunk()? })
    }
}

/// The disk's answer.
#[derive(Debug)]
pub enum Done {
    /// The sealed chunk was written; its hash where that was asked for.
    Sealed(Result<Option<ChunkHash>, DiskError>),
    /// True when the piece hashed right and was written; false when it did not and was not.
    Stored(Result<bool, DiskError>),
    /// As many bytes as were asked for.
    Read(Result<Bytes, DiskError>),
    /// The chunk's plaintext with its padding.
    Unsealed(Result<Bytes, DiskError>),
    /// See [`Hashed`].
    Hashed(Result<Hashed, DiskError>),
    /// For each pair, in order, whether its chunks are alike.
    Compared(Vec<bool>),
    /// The batch is durable.
    Committed(Result<(), DiskError>),
    /// The size of each; `None` where there is no such slab.
    Measured(Result<BTreeMap<u32, Option<SlabSize>>, DiskError>),
    /// The space was given back.
    Punched(Result<(), DiskError>),
}

/// How large a slab is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabSize {
    /// Bytes to its end.
    pub length: u64,
    /// Bytes that it takes of the disk.
    pub allocated: u64,
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
    /// True while the button's window is open, and so the protocol of pairing is answered.
    pub pairing: bool,
    /// Keys of the recovery sheets that can be used in some circle: who proves one is told what it needs.
    pub sheets: BTreeSet<TransportKey>,
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
    /// Keys of stock clients.
    pub guests: BTreeSet<TransportKey>,
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
    /// Connect with a recovery sheet's key, as [`Protocol::Recover`], to whoever is there; answered as [`Action::Dial`] is.
    DialSheet {
        /// Of the answer.
        ticket: Ticket,
        /// Where.
        address: SocketAddr,
        /// The key, whose public half the listener must know.
        key: TransportSecret,
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
    /// Replace what is said on the LAN.
    Announce(Announcement),
    /// Ask the disk.
    Disk {
        /// Of the answer.
        ticket: Ticket,
        /// What.
        request: DiskRequest,
    },
    /// The LED plays this from now on.
    #[cfg(feature = "panel")]
    Show(Box<crate::panel::Light>),
    /// Somebody held the button for 5 s: whoever is signed in to the page has to sign in again, and the password for WebDAV
    /// is forgotten.
    #[cfg(feature = "panel")]
    ForgetSessions,
    /// The power key went down: end in order, and turn the box off.
    #[cfg(feature = "panel")]
    PowerOff,
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

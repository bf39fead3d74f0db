//! Operations: what somebody asks the node to do, and what it answers.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use core::net::SocketAddr;
use zeroize::Zeroizing;

use super::Freed;
use super::io::{Attr, DiskError, Handle, Inode};
use super::recovery::PrintedSheet;
use super::status::Recovered;
use crate::base::{TransportKey, WallTime};
use crate::wire::statement::Role;

/// What somebody asks the node to do. Looking up, stat and reading local data go by `&self` instead.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// rename(2) with RENAME_EXCHANGE: each of two entries takes the other's place. Answers [`Answer::Done`].
    Exchange {
        /// In this directory.
        parent: Inode,
        /// This name,
        name: Vec<u8>,
        /// and in this directory
        new_parent: Inode,
        /// this name.
        new_name: Vec<u8>,
    },
    /// setxattr(2), removexattr(2). Answers [`Answer::Done`].
    SetXattr {
        /// Which.
        inode: Inode,
        /// The attribute's name.
        name: Vec<u8>,
        /// Its value; `None` removes it.
        value: Option<Bytes>,
        /// Refuse unless it is there (XATTR_REPLACE), or is not (XATTR_CREATE).
        expect: Option<bool>,
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
    /// fallocate(2) with FALLOC_FL_ZERO_RANGE: bytes become zeros, those beyond the end with `grow` alone. Takes
    /// [`Op::ZERO_MAX`] bytes at most. Answers [`Answer::Done`].
    Zero {
        /// The open file.
        handle: Handle,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
        /// The file grows to hold them all.
        grow: bool,
    },
    /// fallocate(2): the file gets this size if it is smaller. No room is set aside. Answers [`Answer::Entry`].
    Grow {
        /// The open file.
        handle: Handle,
        /// Bytes.
        size: u64,
    },
    /// copy_file_range(2) without copying: what is written refers to the sealed bytes of another file. Answers
    /// [`Answer::Written`], often with less than was asked for, or [`OpError::NotSupported`] where bytes have to be copied.
    CopyRange {
        /// From this file.
        from: Inode,
        /// Its first byte.
        from_offset: u64,
        /// To this open file.
        to: Handle,
        /// Its first byte.
        to_offset: u64,
        /// How many.
        length: u64,
    },
    /// close(2) of one descriptor, also of one that a child inherited and its exec(2) closes: tells why what was written could
    /// not be stored, if so. Answers [`Answer::Done`] at once.
    Flush {
        /// The open file.
        handle: Handle,
    },
    /// The last descriptor is closed: publishes what was written. Answers [`Answer::Done`] at once.
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
    /// A read of these bytes failed although they are here. Answers [`Answer::Done`] when they were hashed: what is damaged
    /// is missing from then on, and the caller plans its read anew.
    Doubt {
        /// The file.
        inode: Inode,
        /// First byte.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// Looks over the vault: the ledger against the slabs, and with `full` every piece by its hash. Answers [`Answer::Done`]
    /// when it has begun; [`Node::check_status`](crate::node::Node::check_status) tells how it stands.
    Check {
        /// Hash everything.
        full: bool,
    },
    /// Puts an older version back, by reference. Answers [`Answer::Restored`] when that would survive a power cut.
    Restore {
        /// The file, or the deleted directory, in the tree as `Friends/film`.
        path: String,
        /// The version by its number; `None` means the newest.
        version: Option<u64>,
        /// Another path in the same circle, where nothing is yet; `None` means where it was.
        to: Option<String>,
    },
    /// A keeper says what becomes of a mass change that is held back, see [`super::status::HeldChange`]. Answers
    /// [`Answer::Restored`] when that would survive a power cut.
    Held {
        /// Which.
        id: String,
        /// What it replaced comes back; else it may go with time.
        undo: bool,
    },
    /// Pins a file or a directory, so that all of it is fetched and stays, or takes the pin away. Answers
    /// [`Answer::Done`] when that would survive a power cut.
    Pin {
        /// In the tree, as `Friends/film`; a circle's name means all of it.
        path: String,
        /// False takes it away.
        pinned: bool,
    },
    /// Lets the bodies of a file go, or of all files below a directory, as far as enough others hold them. Answers
    /// [`Answer::Freed`], within two minutes.
    Free {
        /// In the tree, as `Friends/film`.
        path: String,
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
    /// Prints a recovery sheet for all circles that this node keeps and somebody else is in; the one that it printed before
    /// is valid no more. Answers [`Answer::Sheet`] when that would survive a power cut.
    PrintSheet {
        /// The sheet's secret: entropy of the operating system, kept nowhere.
        secret: [u8; 16],
    },
    /// Takes the place of a recovery sheet. Answers [`Answer::Recovered`] when that would survive a power cut.
    Recover {
        /// Its words, or its text.
        sheet: Zeroizing<String>,
        /// Where somebody of the circle may be, besides what the text says.
        at: Vec<SocketAddr>,
    },
    /// Admits a stock client as a cache, or renews the certificate of one. Answers [`Answer::Certificate`].
    Guest {
        /// The circle's name; `None` means the only one with friends, or else the owner's own.
        circle: Option<String>,
        /// Its name for people.
        name: String,
        /// Its key.
        key: TransportKey,
    },
    /// Moves a key of the panel as [`Input::Panel`] does. Answers [`Answer::Done`], or why what was meant is refused.
    #[cfg(feature = "panel")]
    Panel(crate::panel::Input),
    /// Leaves a circle with friends: nothing is shared any more, what is here stays the owner's, and pairing again
    /// takes it back. Answers [`Answer::Done`].
    Leave {
        /// The circle's name; `None` means all of them.
        circle: Option<String>,
    },
    /// A short press of the button: opens the window for pairing. Answers [`Answer::Done`].
    Press {
        /// Entropy of the operating system, for nonces.
        entropy: [u8; 48],
    },
    /// The button was held for 2 to 4 s: the codes on both boxes are equal. Answers [`Answer::Done`].
    Confirm {
        /// Entropy of the operating system, for a circle that may have to be founded.
        entropy: [u8; 96],
    },
    /// Publishes all drafts and makes everything durable; nothing is accepted after it. Answers [`Answer::Done`].
    Shutdown,
}

impl Op {
    /// Bytes that one [`Op::Zero`] takes.
    pub const ZERO_MAX: u64 = 1 << 22;
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
    /// A certificate in PEM.
    Certificate(String),
    /// A recovery sheet.
    Sheet(Box<PrintedSheet>),
    /// What a recovery sheet brought.
    Recovered(Recovered),
    /// So many files were put back.
    Restored(u64),
    /// What went, and what stays.
    Freed(Freed),
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
    /// ENODATA: there is no such extended attribute.
    NoData,
    /// EOPNOTSUPP: it has to be done another way.
    NotSupported,
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
    /// ENOKEY: the box waits for its passphrase.
    Locked,
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
            OpError::NoData => f.write_str("the file has no such extended attribute"),
            OpError::NotSupported => f.write_str("it cannot be done this way"),
            OpError::Unreachable => f.write_str("nobody who has it is online: try again when a friend is"),
            OpError::TimedOut => f.write_str("friends who have it sent nothing in time: try again"),
            OpError::Interrupted => f.write_str("it was interrupted"),
            OpError::Busy => f.write_str("too much is waiting: try again"),
            OpError::Stopping => f.write_str("the node is stopping"),
            OpError::Locked => f.write_str("the box is locked: give its passphrase on its page, or by `dustfs unlock`"),
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

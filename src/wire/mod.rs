//! Formats: what stands on the wire and in the ledger, with the version of each, and nothing about what it is for.

pub mod announce;
pub mod beacon;
pub mod bencode;
mod bitfield;
mod body;
pub mod commit;
mod context;
pub mod control;
pub mod dns;
pub mod frame;
pub mod metainfo;
pub mod peer;
pub mod record;
pub mod statement;
mod xattr;

use std::fmt;

/// Outside bytes that do not have the form that they should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WireError {
    /// Not bencode, or not the dictionary that was expected: what, and why.
    Malformed(&'static str, String),
    /// Longer, deeper or more than the limit: what, how much, the limit.
    OverLimit(&'static str, usize, usize),
    /// A version that this node does not know: of what, which.
    Version(&'static str, u32),
    /// A signature that its key did not make: on what.
    Signature(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Malformed(what, why) => write!(f, "{what} is malformed: {why}"),
            WireError::OverLimit(what, size, limit) => write!(f, "{what} is {size}, the limit is {limit}"),
            WireError::Version(what, version) => {
                write!(f, "{what} has version {version}, which this node does not know: update it")
            }
            WireError::Signature(what) => write!(f, "the signature on {what} is wrong"),
        }
    }
}

impl std::error::Error for WireError {}

//! What to fetch, mirror, pin and evict: what each peer holds, what it is told that we hold, and what a cache keeps.

pub mod cache;
pub mod holdings;
mod mass;
pub mod pledges;
mod retention;
mod shares;

use std::fmt;

pub use cache::Cache;
pub use holdings::{Holdings, Offer, Teller};
pub use mass::{Change, Mass, MassChange};
pub use pledges::Pledges;
pub use retention::{KEEP_TIME, Retention};
pub use shares::Shares;

/// What a peer did wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeepError {
    /// The peer told more than the limit: of what, the limit. Its connection is to be closed.
    Protocol(&'static str, usize),
}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeepError::Protocol(what, limit) => {
                write!(f, "the peer told of more than {limit} {what}, which is the limit")
            }
        }
    }
}

impl std::error::Error for KeepError {}

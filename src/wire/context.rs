//! The names of versions, and what a version supersedes.

use serde::{Deserialize, Serialize};

use super::WireError;
use crate::base::MemberKey;
use crate::base::limits::CHAINS;

/// The name of one version: a place in one author's chain. The order is by author, incarnation and sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// Who wrote it.
    #[serde(rename = "a")]
    pub author: MemberKey,
    /// Which of the author's chains.
    #[serde(rename = "i")]
    pub incarnation: u32,
    /// Number of the commit in that chain, from 1.
    #[serde(rename = "q")]
    pub sequence: u64,
}

impl Dot {
    /// The chain that this dot is in.
    pub fn chain(&self) -> Chain {
        Chain { author: self.author, incarnation: self.incarnation }
    }
}

/// One author's commits between two losses of memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// Whose.
    #[serde(rename = "a")]
    pub author: MemberKey,
    /// Which, from 0.
    #[serde(rename = "i")]
    pub incarnation: u32,
}

/// What a version supersedes: in each chain all versions of its register up to a sequence, except some.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Context {
    /// The greatest superseded dot of each chain, in order, at most one per chain.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    pub upto: Vec<Dot>,
    /// Survivors below those that were not superseded, in order.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Dot>,
}

impl Context {
    /// True when the version at `dot` is superseded.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.upto.iter().any(|u| u.chain() == dot.chain() && dot.sequence <= u.sequence) && !self.except.contains(dot)
    }

    /// Adds `dot` to what is superseded.
    pub fn add(&mut self, dot: Dot) {
        self.except.retain(|x| *x != dot);
        match self.upto.iter_mut().find(|u| u.chain() == dot.chain()) {
            Some(u) => u.sequence = u.sequence.max(dot.sequence),
            None => self.upto.push(dot),
        }
        self.upto.sort_unstable();
    }

    /// Adds all that `other` supersedes. An exception of one side that the other covers is covered.
    pub fn join(&mut self, other: &Context) {
        let mut except: Vec<Dot> =
            self.except.iter().chain(&other.except).filter(|x| !self.covers(x) && !other.covers(x)).copied().collect();
        except.sort_unstable();
        except.dedup();
        for dot in &other.upto {
            self.add(*dot);
        }
        self.except = except;
    }

    /// Refuses a context of outside that is longer than any that a circle can need.
    pub(super) fn check(&self) -> Result<(), WireError> {
        match self.upto.len().max(self.except.len()) {
            count if count > CHAINS => Err(WireError::OverLimit("a context's list", count, CHAINS)),
            _ => Ok(()),
        }
    }
}

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

    /// Adds `dot` to what is superseded, and with it all below it in its chain: survivors there that the writer did not
    /// see go into `except` besides.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAINS_TRIED: u8 = 3;
    const SEQUENCES_TRIED: u64 = 6;

    fn dot(author: u8, sequence: u64) -> Dot {
        Dot { author: MemberKey([author; 32]), incarnation: 0, sequence }
    }

    fn universe() -> impl Iterator<Item = Dot> {
        (0..CHAINS_TRIED).flat_map(|author| (1..=SEQUENCES_TRIED).map(move |sequence| dot(author, sequence)))
    }

    fn covered(context: &Context) -> Vec<Dot> {
        universe().filter(|dot| context.covers(dot)).collect()
    }

    /// Any context over the dots that are tried, as the bits of its exceptions and one bound for each chain.
    fn contexts() -> impl Strategy<Value = Context> {
        (any::<u32>(), proptest::collection::vec(0..=SEQUENCES_TRIED, CHAINS_TRIED as usize)).prop_map(
            |(exceptions, bounds)| {
                let upto: Vec<Dot> =
                    (0..).zip(bounds).filter(|(_, bound)| *bound > 0).map(|(a, bound)| dot(a, bound)).collect();
                let below = |x: &Dot| upto.iter().any(|u| u.chain() == x.chain() && x.sequence < u.sequence);
                let except = universe()
                    .enumerate()
                    .filter(|(at, x)| exceptions >> at & 1 == 1 && below(x))
                    .map(|(_, x)| x)
                    .collect();
                Context { upto, except }
            },
        )
    }

    fn in_order(context: &Context) -> bool {
        context.upto.is_sorted_by(|a, b| a.chain() < b.chain()) && context.except.is_sorted_by(|a, b| a < b)
    }

    #[test]
    fn all_below_is_superseded_but_the_exceptions() {
        let context = Context { upto: vec![dot(0, 5)], except: vec![dot(0, 3)] };
        assert_eq!(covered(&context), [dot(0, 1), dot(0, 2), dot(0, 4), dot(0, 5)]);
        assert!(!context.covers(&Dot { incarnation: 1, ..dot(0, 1) }), "another incarnation is another chain");
        assert!(covered(&Context::default()).is_empty());
    }

    #[test]
    fn a_list_over_its_limit_is_refused() {
        let most = vec![dot(0, 1); CHAINS];
        assert!(Context { upto: most.clone(), except: most.clone() }.check().is_ok());
        let over = [most, vec![dot(0, 1)]].concat();
        assert!(Context { upto: over.clone(), except: vec![] }.check().is_err());
        assert!(Context { upto: vec![], except: over }.check().is_err());
    }

    proptest! {
        #[test]
        fn joining_supersedes_what_either_did(a in contexts(), b in contexts(), c in contexts()) {
            let join = |a: &Context, b: &Context| {
                let mut joined = a.clone();
                joined.join(b);
                joined
            };
            let either: Vec<Dot> = universe().filter(|dot| a.covers(dot) || b.covers(dot)).collect();
            let joined = join(&a, &b);
            prop_assert_eq!(covered(&joined), either);
            prop_assert!(in_order(&joined));
            prop_assert_eq!(&joined, &join(&b, &a), "in any order");
            prop_assert_eq!(join(&joined, &c), join(&a, &join(&b, &c)), "in any grouping");
            prop_assert_eq!(join(&joined, &joined), joined, "and again");
        }

        #[test]
        fn adding_supersedes_the_dot_and_what_is_below_but_the_exceptions(
            context in contexts(), author in 0..CHAINS_TRIED, sequence in 1..=SEQUENCES_TRIED
        ) {
            let added = dot(author, sequence);
            let expected: Vec<Dot> = universe()
                .filter(|d| {
                    let below = d.chain() == added.chain() && d.sequence <= added.sequence;
                    context.covers(d) || *d == added || below && !context.except.contains(d)
                })
                .collect();
            let mut after = context.clone();
            after.add(added);
            prop_assert_eq!(covered(&after), expected);
            prop_assert!(in_order(&after));
        }
    }
}

//! A register: the versions that nothing applied has superseded, and what was superseded besides.
//!
//! The survivors are a function of the set of applied versions: a version survives when no applied version's context
//! covers its dot. Contexts that honest nodes write hold those of all that they supersede, so the survivors' contexts
//! tell all; what a strange context leaves out is kept beside them.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::base::WallTime;
use crate::base::limits::CHAINS;
use crate::wire::record::{Chain, Context, Dot};

/// Where and when a version was written; shared by all versions of one commit.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    /// Not published yet: later than all that is.
    pub(super) staged: bool,
    pub(super) lamport: u64,
    /// Few chains write all versions.
    pub(super) chain: Arc<Chain>,
    pub(super) sequence: u64,
    pub(super) wall: WallTime,
}

impl Stamp {
    pub(super) fn dot(&self) -> Dot {
        Dot { author: self.chain.author, incarnation: self.chain.incarnation, sequence: self.sequence }
    }

    fn order(&self) -> (bool, u64, &Chain, u64) {
        (self.staged, self.lamport, &self.chain, self.sequence)
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Stamp {}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Stamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// A version as a register sees it.
pub(super) trait Sibling {
    fn stamp(&self) -> &Arc<Stamp>;
    /// `None` is the empty context.
    fn context(&self) -> Option<&Context>;
}

/// Versions of one register that did not see each other, oldest first.
enum Siblings<V> {
    None,
    One(V),
    Many(Vec<V>),
}

/// See the module.
pub(super) struct Register<V> {
    siblings: Siblings<V>,
    /// What versions covered that did not survive and whose context no survivor includes.
    beside: Option<Box<Context>>,
}

impl<V> Default for Register<V> {
    fn default() -> Self {
        Self { siblings: Siblings::None, beside: None }
    }
}

impl<V: Sibling> Register<V> {
    /// The survivors, oldest first.
    pub(super) fn siblings(&self) -> &[V] {
        match &self.siblings {
            Siblings::None => &[],
            Siblings::One(version) => std::slice::from_ref(version),
            Siblings::Many(versions) => versions,
        }
    }

    /// True when no version was ever applied.
    pub(super) fn is_empty(&self) -> bool {
        self.beside.is_none() && self.siblings().is_empty()
    }

    /// True when `version` would change nothing.
    pub(super) fn knows(&self, version: &V) -> bool {
        let dot = &version.stamp().dot();
        if self.siblings().iter().any(|s| s.stamp().dot() == *dot) {
            return true;
        }
        self.covers(dot) && version.context().is_none_or(|context| self.includes(context))
    }

    /// Takes `version` in. Costs a step for each sibling.
    pub(super) fn apply(&mut self, version: V) {
        if self.knows(&version) {
            return;
        }
        let empty = Context::default();
        let context = version.context().unwrap_or(&empty);
        let survives = !self.covers(&version.stamp().dot()) && !context.covers(&version.stamp().dot());
        let mut beside = Context::default();
        let mut siblings: Vec<V> = match std::mem::replace(&mut self.siblings, Siblings::None) {
            Siblings::None => Vec::new(),
            Siblings::One(version) => vec![version],
            Siblings::Many(versions) => versions,
        };
        siblings.retain(|s| {
            let superseded = context.covers(&s.stamp().dot());
            if superseded && let Some(theirs) = s.context().filter(|theirs| !includes(context, theirs)) {
                beside.join(theirs);
            }
            !superseded
        });
        if survives {
            let at = siblings.partition_point(|s| s.stamp() < version.stamp());
            siblings.insert(at, version);
        } else {
            beside.join(context);
        }
        self.siblings = match siblings.len() {
            0 => Siblings::None,
            1 => siblings.pop().map_or(Siblings::None, Siblings::One),
            _ => Siblings::Many(siblings),
        };
        if beside != Context::default() {
            self.beside.get_or_insert_default().join(&beside);
        }
    }

    /// A context that covers all siblings and all that was ever superseded.
    pub(super) fn everything(&self) -> Context {
        let mut context = self.beside.as_deref().cloned().unwrap_or_default();
        for sibling in self.siblings() {
            context.join(&whole(sibling));
        }
        context
    }

    /// A context that covers the sibling at `dot` and what it superseded, and no other sibling.
    pub(super) fn only(&self, dot: &Dot) -> Context {
        let Some(sibling) = self.siblings().iter().find(|s| s.stamp().dot() == *dot) else {
            return Context::default();
        };
        let mut context = whole(sibling);
        for other in self.siblings().iter().map(|s| s.stamp().dot()).filter(|other| other != dot) {
            if context.covers(&other) {
                context.except.push(other);
            }
        }
        context.except.sort_unstable();
        context
    }

    fn covers(&self, dot: &Dot) -> bool {
        self.beside.as_ref().is_some_and(|context| context.covers(dot))
            || self.siblings().iter().filter_map(V::context).any(|context| context.covers(dot))
    }

    fn includes(&self, inner: &Context) -> bool {
        self.beside.as_ref().is_some_and(|context| includes(context, inner))
            || self.siblings().iter().filter_map(V::context).any(|context| includes(context, inner))
    }
}

/// What a version stands for: itself and all that it superseded.
fn whole<V: Sibling>(version: &V) -> Context {
    let mut context = version.context().cloned().unwrap_or_default();
    let dot = version.stamp().dot();
    // `add` raises the chain's bound over versions between; those that are siblings are excepted by the caller, and
    // those that are not were superseded before this one was applied.
    context.add(dot);
    context
}

/// True when `outer` covers all that `inner` covers.
pub(super) fn includes(outer: &Context, inner: &Context) -> bool {
    inner.upto.iter().all(|u| outer.upto.iter().any(|o| o.chain() == u.chain() && o.sequence >= u.sequence))
        && !outer.except.iter().any(|x| inner.covers(x))
}

/// True when a context is of a size that honest nodes can come to.
pub(super) fn is_bounded(context: &Context) -> bool {
    context.upto.len() <= CHAINS && context.except.len() <= CHAINS
}

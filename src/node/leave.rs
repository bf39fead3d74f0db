//! Leaving circles by their owner's wish: nothing is shared any more, and nothing that is here goes.
//!
//! Leaving is this node's own affair and can be taken back: the roster goes on naming it, so that pairing with one of
//! the circle's keepers again brings it back, with what it held and what was written to it since. A removal by a keeper
//! is final and is told to all.

use super::io::{Answer, OpError, Reply};
use super::{Effect, Node};
use crate::base::{CircleId, Snapshot, Ticket};

impl<S: Snapshot> Node<S> {
    /// Leaves by an operation: answered when it is durable.
    pub(super) fn leave(&mut self, ticket: Ticket, name: Option<&str>) -> Option<Reply> {
        match self.leave_circles(name) {
            Ok(()) => {
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Done)));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Leaves the circle of that name; `None` means all circles with friends. What is here stays, to be read and written.
    pub(super) fn leave_circles(&mut self, name: Option<&str>) -> Result<(), OpError> {
        let leaving = match name {
            Some(name) => {
                let named = self.circle_named(name);
                vec![named.ok_or_else(|| OpError::Invalid(format!("there is no circle called '{name}'")))?]
            }
            None => self.circles_with_friends(),
        };
        if leaving.iter().any(|id| self.circles[id].home) {
            return Err(OpError::Invalid("the owner's own circle cannot be left".into()));
        }
        if leaving.is_empty() {
            return Err(OpError::Invalid("this node is in no circle with friends".into()));
        }
        for id in leaving {
            self.close_commit(&id);
            if let Some(circle) = self.circles.get_mut(&id) {
                circle.left = true;
            }
            self.save_circle(&id);
            self.roster_changed(&id);
        }
        self.tell_trust();
        self.flush_at = Some(self.now.instant);
        Ok(())
    }

    /// A name that no circle has here: that of one that was left, and goes on being shown, is taken as well.
    pub(super) fn free_name(&self, wanted: &str) -> String {
        let numbered = (2..).map(|number| format!("{wanted} {number}"));
        let mut names = std::iter::once(wanted.to_string()).chain(numbered);
        names.find(|name| self.circle_named(name).is_none()).unwrap_or_default()
    }

    /// The circles with friends that this node is in.
    pub(super) fn circles_with_friends(&self) -> Vec<CircleId> {
        let circles = self.circles.values().filter(|circle| !circle.home && circle.role().is_some());
        circles.map(|circle| circle.id).collect()
    }
}

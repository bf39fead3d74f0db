//! One key's edges and strokes -> presses with a begin and an end.

use std::time::Duration;

use super::{BOUNCE, STROKE_GAP};
use crate::base::Instant;

/// A key's change that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    /// It went down.
    Down,
    /// It was let go; it had gone down at `since`.
    Up { since: Instant, until: Instant },
    /// A stroke came and nothing after it: a press of unknown length.
    Tap { since: Instant },
}

/// Debounce, and the runs of strokes.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Contact {
    /// What was told last, bounces included.
    level: bool,
    /// Since when it has been told.
    level_since: Instant,
    /// Since when the key counts as down.
    down: Option<Instant>,
    /// Until when edges are bounces.
    bounces: Option<Instant>,
    run: Option<Run>,
}

/// Strokes less than [`STROKE_GAP`] apart.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Instant,
    last: Instant,
    /// What it stands for was done at its first stroke.
    spent: bool,
}

impl Contact {
    /// An edge, as the device tells it.
    pub(super) fn edge(&mut self, now: Instant, down: bool) -> Option<Edge> {
        if self.level != down {
            self.level = down;
            self.level_since = now;
        }
        if self.bounces.is_some() { None } else { self.settle(now) }
    }

    /// A stroke; `Down` for the first of a run.
    pub(super) fn stroke(&mut self, now: Instant) -> Option<Edge> {
        match &mut self.run {
            Some(run) => {
                run.last = now;
                None
            }
            None => {
                self.run = Some(Run { first: now, last: now, spent: false });
                Some(Edge::Down)
            }
        }
    }

    /// The run that goes on has no more to tell.
    pub(super) fn spend(&mut self) {
        if let Some(run) = &mut self.run {
            run.spent = true;
        }
    }

    /// Since when the key is down, by either way.
    pub(super) fn since(&self) -> Option<Instant> {
        self.down.or(self.run.filter(|run| !run.spent).map(|run| run.first))
    }

    /// When [`Contact::expire`] is due.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let run = self.run.map(|run| run.last + STROKE_GAP);
        self.bounces.into_iter().chain(run).min()
    }

    /// What the end of bounces or of a run tells.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Edge> {
        if self.bounces.is_some_and(|end| end <= now) {
            self.bounces = None;
            return self.settle(now);
        }
        let run = self.run.filter(|run| run.last + STROKE_GAP <= now)?;
        self.run = None;
        if run.spent {
            return None;
        }
        if run.last.since(run.first) == Duration::ZERO {
            return Some(Edge::Tap { since: run.first });
        }
        Some(Edge::Up { since: run.first, until: run.last })
    }

    /// Takes the level as it is, from when it came: a hold that begins among the bounces of the press before it is no
    /// shorter for them.
    fn settle(&mut self, now: Instant) -> Option<Edge> {
        let edge = match (self.down, self.level) {
            (None, true) => {
                self.down = Some(self.level_since);
                Edge::Down
            }
            (Some(since), false) => {
                self.down = None;
                Edge::Up { since, until: self.level_since }
            }
            _ => return None,
        };
        self.bounces = Some(now + BOUNCE);
        Some(edge)
    }
}

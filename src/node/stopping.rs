//! The end of a node: drafts are published or kept, everything is made durable; what the disk does not take is named.

use std::collections::BTreeSet;

use super::draft::{Draft, Publishing};
use super::io::{Answer, DiskError, OpError, Reply};
use super::{Effect, Node};
use crate::base::{CircleId, Snapshot, Ticket};
use crate::tree::Seen;
use crate::wire::record::Dot;

/// Stands for the shutdown's ticket once its answer only waits for the ledger.
const STOPPED: Ticket = Ticket(u64::MAX);
/// Files that an error names.
const NAMED: usize = 8;

/// True when a draft that is to be kept is neither durable nor on its way: the disk did not take it.
fn is_stuck(draft: &Draft) -> bool {
    let moves = draft.is_sealing() || !draft.filling.is_empty() || draft.publishing != Publishing::No;
    draft.keep && draft.dirty && !draft.orphan && !moves
}

impl<S: Snapshot> Node<S> {
    /// Asks for a clean end.
    pub(super) fn shutdown(&mut self, ticket: Ticket) -> Option<Reply> {
        match self.stopping {
            None => {}
            Some(STOPPED) => {
                self.when_durable(Effect::Stopped(ticket));
                return None;
            }
            // Whoever asked first is told when it is done.
            Some(_) => return Some(Err(OpError::Stopping)),
        }
        self.stopping = Some(ticket);
        self.publish_all();
        self.shutdown_due();
        None
    }

    /// Ends the shutdown once no draft is on its way.
    pub(super) fn shutdown_due(&mut self) {
        let done = self.files.drafts.values().all(|draft| draft.is_quiet() || is_stuck(draft));
        if let Some(ticket) = self.stopping.filter(|ticket| done && *ticket != STOPPED) {
            self.stopping = Some(STOPPED);
            self.flush_at = Some(self.now.instant);
            self.when_durable(Effect::Stopped(ticket));
        }
    }

    /// The ledger took all that it was given, or failed to: the end is answered.
    pub(super) fn stopped(&mut self, ticket: Ticket, failed: Option<&DiskError>) {
        let drafts = self.files.drafts.iter().filter(|(_, draft)| match failed {
            Some(_) => draft.dirty && !draft.orphan,
            None => is_stuck(draft),
        });
        let why = failed.cloned().map(OpError::from).or(drafts.clone().find_map(|(_, draft)| draft.failed.clone()));
        let mut lost: BTreeSet<String> = drafts
            .map(|(key, _)| self.shown_path(&key.circle, &key.seen()).unwrap_or("a file without a name".into()))
            .collect();
        if failed.is_some() {
            let commits = self.effects.iter().chain(&self.flying_effects).filter_map(|effect| match effect {
                Effect::Push(circle, dot) => Some((*circle, *dot)),
                _ => None,
            });
            lost.extend(commits.flat_map(|(circle, dot)| self.paths_of(&circle, &dot)).collect::<Vec<_>>());
        }
        let reply = match (&why, lost.is_empty()) {
            (None, true) => Ok(Answer::Done),
            (Some(why), true) => Err(why.clone()),
            (why, false) => {
                let named: Vec<&str> = lost.iter().take(NAMED).map(String::as_str).collect();
                let more = match lost.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let why = why.as_ref().map_or("it could not be stored".into(), ToString::to_string);
                Err(OpError::Io(format!("{why}: what was written last to {}{more} is not durable", named.join(", "))))
            }
        };
        self.reply(ticket, reply);
    }

    /// The files that a commit of ours is about.
    fn paths_of(&self, id: &CircleId, dot: &Dot) -> Vec<String> {
        let Some(commit) = self.stored_commit(id, &dot.chain(), dot.sequence).map(|signed| signed.commit) else {
            return Vec::new();
        };
        let objects = (0..commit.entries.len().min(NAMED)).filter_map(|at| {
            let bytes = self.record_bytes(id, &commit.entries[at].record)?;
            self.circles.get(id)?.open_record(&commit, at, &bytes).ok()?.map(|version| version.object)
        });
        objects.filter_map(|object| self.shown_path(id, &Seen::of(object))).collect()
    }

    /// Where something shows, from the name of its circle on.
    pub(super) fn shown_path(&self, id: &CircleId, seen: &Seen) -> Option<String> {
        let circle = self.circles.get(id)?;
        let mut names = Vec::new();
        let mut at = *seen;
        while at.object != circle.tree.root() {
            let (parent, name) = circle.tree.location(&at)?;
            names.push(String::from_utf8_lossy(&name).into_owned());
            at = Seen::of(parent);
        }
        names.push(self.shown_name(circle));
        names.reverse();
        Some(names.join("/"))
    }
}

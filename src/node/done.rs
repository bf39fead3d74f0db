//! What the disk has done: its answers go to who asked, and what waited for a batch to be durable follows.

use super::io::{DiskError, DiskRequest, Done, OpError};
use super::{Asked, Effect, FLUSH_TIME, GATHER_TIME, GATHER_TIMES, Node, RETRY_TIME};
use crate::base::{Snapshot, Ticket};

impl<S: Snapshot> Node<S> {
    fn committed(&mut self, result: Result<(), DiskError>) {
        let took = self.now.instant.since(self.flushed);
        self.gather_time = (took * GATHER_TIMES).clamp(GATHER_TIME, FLUSH_TIME);
        match result {
            Ok(()) => {
                self.trouble = None;
                self.ledger.committed();
                for effect in std::mem::take(&mut self.flying_effects) {
                    self.take_effect(effect);
                }
            }
            Err(error) => {
                log::error!("the ledger could not be written: {error}");
                self.ledger.failed();
                let refused = OpError::from(error.clone());
                // Whoever waits is told now; what is to be told to others waits for the write that succeeds.
                let (mut kept, mut stopped) = (Vec::new(), Vec::new());
                for effect in std::mem::take(&mut self.flying_effects) {
                    match effect {
                        Effect::Reply(ticket, Ok(_)) => self.reply(ticket, Err(refused.clone())),
                        Effect::Stopped(ticket) => stopped.push(ticket),
                        other => kept.push(other),
                    }
                }
                kept.append(&mut self.effects);
                self.effects = kept;
                for ticket in stopped {
                    self.stopped(ticket, Some(&error));
                }
                self.trouble = Some(error);
                // Who stops is told of the first failure of what it waits for.
                let stops = self.effects.iter().any(|effect| matches!(effect, Effect::Stopped(_)));
                self.flush_at = Some(if stops { self.now.instant } else { self.now.instant + RETRY_TIME });
            }
        }
    }

    pub(super) fn disk_done(&mut self, ticket: Ticket, done: Done) {
        let Some(asked) = self.asked.remove(&ticket) else {
            log::error!("the disk answered a ticket that nobody holds: {ticket:?}");
            return;
        };
        match (asked, done) {
            (Asked::Commit, Done::Committed(result)) => self.committed(result),
            (Asked::Upload(upload), Done::Read(result)) => self.upload_read(upload, result),
            (Asked::Piece(info_hash, piece), Done::Stored(result)) => self.piece_stored(&info_hash, piece, result),
            (Asked::Chunk(key, chunk, number), Done::Sealed(result)) => self.chunk_sealed(key, chunk, number, result),
            (Asked::Fold(key, chunk, number, placed), Done::Sealed(result)) => {
                self.chunk_folded(key, chunk, number, placed, result);
            }
            (Asked::Fill(key, chunk), Done::Unsealed(result)) => self.chunk_filled(key, chunk, result),
            (Asked::Hash(key, number), Done::Hashed(result)) => self.draft_hashed(key, number, result),
            (Asked::Compare(key, number, request), Done::Compared(same)) => {
                self.draft_compared(key, number, request, &same);
            }
            (Asked::Anew(info_hash, from), Done::Hashed(result)) => self.hashed_anew(info_hash, from, result),
            (Asked::Punch, Done::Punched(_)) => {}
            (Asked::Measure, Done::Measured(measured)) => self.measured(measured),
            (Asked::Verify(doubted), Done::Hashed(result)) => self.verified(&doubted, &result),
            (_, done) => log::error!("the disk gave an answer of another kind than was asked: {done:?}"),
        }
        self.punch_due();
    }

    /// Punches what nothing that was asked of the disk before may still read.
    pub(super) fn punch_due(&mut self) {
        while let Some((asked_by_then, _)) = self.punches.front() {
            let reads = |asked: &Asked| {
                use Asked::{Anew, Compare, Fill, Fold, Hash, Upload, Verify};
                matches!(asked, Upload(_) | Fill(..) | Fold(..) | Hash(..) | Compare(..) | Anew(..) | Verify(_))
            };
            if self.asked.range(..=*asked_by_then).any(|(_, asked)| reads(asked)) {
                return;
            }
            if let Some((_, segments)) = self.punches.pop_front() {
                self.vault.freed += 1;
                self.ask(Asked::Punch, DiskRequest::Punch { segments });
            }
        }
    }
}

//! Reads and changes that wait for chunks to come from friends, each for a bounded time.

use super::Node;
use super::draft::{Draft, Publishing};
use super::files::DraftKey;
use super::io::{Answer, Inode, OpError, Reply};
use super::read::{Spot, torrent_of};
use super::view::Part;
use crate::base::limits::{CHUNK_PLAIN, QUIET_TIME, READ_TIME, REWRITE_TIME};
use crate::base::{InfoHash, Instant, Snapshot, Ticket};

/// A read, or a change of a draft, that waits for chunks to come from friends.
pub struct Waiting {
    who: Waiter,
    info_hash: InfoHash,
    chunks: std::ops::RangeInclusive<u32>,
    deadline: Instant,
    /// When it ends if nobody who has it is online.
    alone_until: Instant,
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    Read(Ticket),
    Fill(DraftKey, u32),
}

impl Waiting {
    /// The draft that waits, if one does.
    pub(super) fn draft(&mut self) -> Option<&mut DraftKey> {
        match &mut self.who {
            Waiter::Read(_) => None,
            Waiter::Fill(key, _) => Some(key),
        }
    }
}

/// So long a read waits for somebody who has the bytes to come online.
const ALONE_TIME: std::time::Duration = std::time::Duration::from_secs(8);
/// Reads that may wait at once.
const WAITING_MAX: usize = 4_096;

impl<S: Snapshot> Node<S> {
    /// Waits until a span of a file is here.
    pub(super) fn fetch(&mut self, ticket: Ticket, inode: Inode, offset: u64, length: u32) -> Option<Reply> {
        let body = match self.spot(inode) {
            Ok(Spot::In(circle, seen)) => {
                let key = DraftKey { circle, object: seen.object, version: seen.version };
                match self.files.draft(&key) {
                    Some(draft) => draft.base.as_ref().map(|base| base.body.clone()),
                    None => self.body(&circle, &seen).ok(),
                }
            }
            Ok(Spot::View(Part::Older(id, object, dot))) => {
                self.older_part(&id, &object, &dot).ok().map(|(_, body)| body)
            }
            Ok(Spot::Top | Spot::View(_)) => return Some(Err(OpError::IsDirectory)),
            Err(error) => return Some(Err(error)),
        };
        let Some((body, info_hash)) = body.and_then(|body| Some((torrent_of(&body)?, body)).map(|(h, b)| (b, h)))
        else {
            return Some(Ok(Answer::Done));
        };
        let last = body.size.saturating_sub(1).min(offset.saturating_add(u64::from(length).max(1)) - 1);
        let chunks = (offset / CHUNK_PLAIN as u64) as u32..=(last / CHUNK_PLAIN as u64) as u32;
        self.wait_for(Waiter::Read(ticket), info_hash, chunks)
    }

    pub(super) fn wait_for(
        &mut self,
        who: Waiter,
        info_hash: InfoHash,
        chunks: std::ops::RangeInclusive<u32>,
    ) -> Option<Reply> {
        if chunks.clone().all(|chunk| self.has_chunk(&info_hash, chunk)) {
            return Some(Ok(Answer::Done));
        }
        if self.files.fetches.len() >= WAITING_MAX {
            return Some(Err(OpError::Busy));
        }
        let now = self.now.instant;
        self.fetch_now(&info_hash, chunks.clone(), now + READ_TIME);
        self.files.fetches.push(Waiting {
            who,
            info_hash,
            chunks,
            deadline: now + READ_TIME,
            alone_until: now + ALONE_TIME,
        });
        None
    }

    /// The torrents that somebody waits for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = InfoHash> {
        self.files.fetches.iter().map(|waiting| waiting.info_hash)
    }

    /// A piece of this torrent has come: reads that have all they wait for go on, the others are given time anew.
    pub(super) fn wake_fetches(&mut self, info_hash: &InfoHash) {
        let waiting = std::mem::take(&mut self.files.fetches);
        let deadline = self.now.instant + READ_TIME;
        for mut fetch in waiting {
            if fetch.info_hash != *info_hash {
                self.files.fetches.push(fetch);
            } else if fetch.chunks.clone().all(|chunk| self.has_chunk(info_hash, chunk)) {
                match fetch.who {
                    Waiter::Read(ticket) => self.reply(ticket, Ok(Answer::Done)),
                    Waiter::Fill(key, chunk) => self.fill_chunk(key, chunk),
                }
            } else {
                fetch.deadline = deadline;
                self.files.fetches.push(fetch);
            }
        }
    }

    /// Reads that have waited too long end.
    pub(super) fn end_fetches(&mut self) {
        let now = self.now.instant;
        let waiting = std::mem::take(&mut self.files.fetches);
        for mut fetch in waiting {
            let alone = !self.is_offered(&fetch.info_hash);
            if !alone {
                fetch.alone_until = now + ALONE_TIME;
            }
            let error = match (fetch.deadline <= now, alone && fetch.alone_until <= now) {
                (_, true) => self.unreachable(&fetch.info_hash),
                (true, false) => OpError::TimedOut,
                (false, false) => {
                    self.files.fetches.push(fetch);
                    continue;
                }
            };
            match fetch.who {
                Waiter::Read(ticket) => self.reply(ticket, Err(error)),
                Waiter::Fill(key, chunk) => self.fill_failed(key, chunk, error),
            }
        }
    }

    /// Somebody no longer waits.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        let before = self.files.fetches.len();
        self.files.fetches.retain(|fetch| fetch.who != Waiter::Read(ticket));
        if self.files.fetches.len() != before || self.question.withdraw(ticket) {
            self.reply(ticket, Err(OpError::Interrupted));
        }
    }

    /// When something here is due.
    pub(super) fn files_timeout(&self) -> Option<Instant> {
        let reads = self.files.fetches.iter().map(|fetch| fetch.deadline.min(fetch.alone_until));
        reads.chain(self.files.drafts.values().filter_map(Draft::due_at)).min()
    }
}

impl Draft {
    /// When it is published because nobody writes to it, if that is what it waits for.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let waits = self.dirty && !self.orphan && self.publishing == Publishing::No && self.parked.is_empty();
        waits.then(|| self.quiet_at())
    }

    /// When it is published though it is still open. One who saves a large file by writing it anew may pause: half of it is
    /// of no use to friends, and what comes after is no longer compared with the version before.
    fn quiet_at(&self) -> Instant {
        let before = self.base.as_ref().is_some_and(|view| torrent_of(&view.body).is_some());
        let anew = self.handles > 0 && self.base_size == 0 && (before || self.size > CHUNK_PLAIN as u64);
        self.touched + if anew { REWRITE_TIME } else { QUIET_TIME }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::draft::Change;
    use super::*;
    use crate::base::WallTime;

    #[test]
    fn a_large_file_that_is_written_from_its_begin_is_not_published_in_a_short_pause() {
        let mut draft = Draft::new(Instant(0), 0o644, WallTime(0));
        draft.handles = 1;
        let write = |draft: &mut Draft, bytes: usize| {
            draft.apply(Instant(7), WallTime(0), &Change::Write(None, Bytes::from(vec![1; bytes])));
        };
        write(&mut draft, 100);
        assert_eq!(draft.quiet_at(), Instant(7) + QUIET_TIME, "a note that stays open");
        write(&mut draft, CHUNK_PLAIN);
        assert_eq!(draft.quiet_at(), Instant(7) + REWRITE_TIME, "a film that is being copied");
        draft.handles = 0;
        assert_eq!(draft.quiet_at(), Instant(7) + QUIET_TIME, "it was closed");
        (draft.handles, draft.base_size) = (1, draft.size);
        write(&mut draft, CHUNK_PLAIN);
        assert_eq!(draft.quiet_at(), Instant(7) + QUIET_TIME, "it is written on");
    }
}

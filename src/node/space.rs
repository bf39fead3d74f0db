//! Where a file has bytes: zeros put in, holes found, and copies that refer to what is sealed already.

use super::Node;
use super::draft::{Change, Draft, Source, View};
use super::files::DraftKey;
use super::io::{Answer, Handle, Inode, Op, OpError, Reply};
use super::read::{Spot, torrent_of};
use crate::base::limits::{CHUNK_PLAIN, FILE_MAX};
use crate::base::{Snapshot, Ticket};

impl<S: Snapshot> Node<S> {
    pub(super) fn zero(
        &mut self,
        ticket: Ticket,
        handle: Handle,
        offset: u64,
        length: u64,
        grow: bool,
    ) -> Option<Reply> {
        let key = match self.writable(handle) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        let size = self.files.drafts.get(&key).map_or(0, |draft| draft.size);
        let end = offset.saturating_add(length);
        if end > FILE_MAX && grow {
            return Some(Err(OpError::TooLarge));
        }
        let end = if grow { end } else { end.min(size) };
        if end <= offset {
            return Some(Ok(Answer::Done));
        }
        if end - offset > Op::ZERO_MAX {
            return Some(Err(OpError::Invalid(format!("more than {} bytes at once", Op::ZERO_MAX))));
        }
        self.change(Some(ticket), key, Change::Zero(offset, end))
    }

    pub(super) fn grow(&mut self, ticket: Ticket, handle: Handle, size: u64) -> Option<Reply> {
        let key = match self.writable(handle) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        if size > FILE_MAX {
            return Some(Err(OpError::TooLarge));
        }
        match self.files.drafts.get(&key) {
            Some(draft) if draft.size < size => self.change(Some(ticket), key, Change::Truncate(size)),
            _ => Some(self.attr_of(&key.circle, &key.seen()).map(Answer::Entry)),
        }
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE: the first byte of data, or of a hole, from `offset` on; `None` beyond the end
    /// (ENXIO). What is published has no holes but its end.
    pub fn seek(&self, inode: Inode, offset: u64, data: bool) -> Result<Option<u64>, OpError> {
        let Spot::In(id, seen) = self.spot(inode)? else { return Err(OpError::IsDirectory) };
        let key = DraftKey { circle: id, object: seen.object, version: seen.version };
        Ok(match (self.files.draft(&key), data) {
            (Some(draft), true) => draft.data_from(offset),
            (Some(draft), false) => draft.hole_from(offset),
            (None, data) => {
                let size = self.attr_of(&id, &seen)?.size;
                (offset < size).then_some(if data { offset } else { size })
            }
        })
    }

    /// Takes whole chunks of a published file into an empty one, or into one that has taken all before them; the last may
    /// be short where it is the last of both.
    pub(super) fn copy_range(&mut self, from: (Inode, u64), to: (Handle, u64), length: u64) -> Reply {
        let Spot::In(id, seen) = self.spot(from.0)? else { return Err(OpError::IsDirectory) };
        let source = DraftKey { circle: id, object: seen.object, version: seen.version };
        let view = match self.files.draft(&source) {
            // Who reads is shown what writers have, which may be another version than is published or open.
            Some(draft) => draft.base.clone().filter(|base| draft.is_as(base)),
            None => self.files.pinned(&source).cloned().or_else(|| self.view(&source)),
        };
        let view = view.ok_or(OpError::NotSupported)?;
        let key = self.writable(to.0)?;
        let now = self.now;
        let draft = self.files.drafts.get_mut(&key).ok_or(OpError::BadHandle)?;
        let follows = from.1 == to.1 && to.1 == draft.size && to.1 == draft.base_size;
        let same = draft.base.as_ref().is_some_and(|base| base.record == view.record) || draft.size == 0;
        let quiet = draft.chunks.is_empty() && draft.parked.is_empty() && draft.filling.is_empty();
        if key == source || id != key.circle || torrent_of(&view.body).is_none() || !follows || !same || !quiet {
            return Err(OpError::NotSupported);
        }
        let size = view.body.size;
        // An answer has 32 bits.
        let end = to.1.saturating_add(length.min(COPY_MAX)).min(size);
        let end = if end == size { end } else { end - end % CHUNK_PLAIN as u64 };
        if end <= to.1 {
            return Err(OpError::NotSupported);
        }
        draft.base = Some(view);
        (draft.size, draft.base_size) = (end, end);
        draft.number += 1;
        draft.dirty = true;
        draft.touched = now.instant;
        draft.mtime = now.wall;
        Ok(Answer::Written((end - to.1) as u32))
    }
}

impl Draft {
    /// True where nothing differs from the base.
    fn is_as(&self, base: &View) -> bool {
        let size = base.body.size;
        !self.dirty && self.chunks.is_empty() && self.size == size && self.base_size == size
    }

    fn is_hole(&self, chunk: u32) -> bool {
        matches!(self.source(chunk), Source::Zeros)
    }

    /// The first byte from `offset` on that is in no hole.
    fn data_from(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let chunk = chunk_of(offset);
        if !self.is_hole(chunk) {
            return Some(offset);
        }
        // Beyond the base whatever is not a hole is a chunk of the draft's own.
        let (next, _) = self.chunks.range(chunk..).next()?;
        Some(u64::from(*next) * CHUNK_PLAIN as u64).filter(|at| *at < self.size)
    }

    /// The first byte from `offset` on that is in a hole: the end of the file is one.
    fn hole_from(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let based = self.base_size.div_ceil(CHUNK_PLAIN as u64) as u32;
        let mut chunk = chunk_of(offset).max(based.min(self.chunk_count()));
        if chunk_of(offset) >= chunk && self.is_hole(chunk) {
            return Some(offset);
        }
        for (own, _) in self.chunks.range(chunk..) {
            if *own != chunk {
                break;
            }
            chunk += 1;
        }
        Some((u64::from(chunk) * CHUNK_PLAIN as u64).min(self.size))
    }
}

fn chunk_of(offset: u64) -> u32 {
    (offset / CHUNK_PLAIN as u64) as u32
}

/// Bytes that one copy takes at most.
const COPY_MAX: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Instant, Rng, WallTime};

    /// Holes and data are where a walk over all chunks finds them.
    #[test]
    fn holes_and_data_are_told_as_they_are() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut draft = Draft::new(Instant(0), 0o644, WallTime(0));
            draft.base_size = rng.below(4 * CHUNK_PLAIN as u64);
            draft.size = draft.base_size + rng.below(6 * CHUNK_PLAIN as u64);
            for chunk in 0..draft.chunk_count() {
                if rng.chance(1, 3) {
                    draft.fill_hole(chunk);
                }
            }
            let size = draft.size;
            let hole = |at: u64| draft.is_hole(chunk_of(at));
            for _ in 0..20 {
                let from = rng.below(size + 2);
                let starts = (chunk_of(from) + 1..draft.chunk_count()).map(|c| u64::from(c) * CHUNK_PLAIN as u64);
                let mut places = std::iter::once(from).chain(starts).filter(|at| *at < size);
                let data = places.clone().find(|at| !hole(*at));
                let empty = places.find(|at| hole(*at)).or((from < size).then_some(size));
                assert_eq!((draft.data_from(from), draft.hole_from(from)), (data, empty), "seed {seed} from {from}");
            }
        }
    }
}

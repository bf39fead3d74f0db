//! Writing into drafts: changes are applied when the chunks that they need are in memory, full chunks go to be sealed,
//! and fsync waits until what was written would survive a power cut.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::draft::{Change, Placed, Publishing, Source};
use super::files::DraftKey;
use super::io::{Answer, ChunkHash, DiskError, DiskRequest, Handle, Inode, OpError, Reply, Segment};
use super::read::{Spot, torrent_of};
use super::waiting::Waiter;
use super::{Asked, Effect, Node};
use crate::base::limits::{CHUNK_PLAIN, DIRTY_MAX, FILE_MAX, INLINE_MAX, PATCHES_MEMORY};
use crate::base::{Snapshot, Ticket};
use crate::seal::ChunkKey;
use crate::seal::chunk::sealed_chunk_length;

/// Chunks of one draft that may lie partly written in memory.
const OPEN_CHUNKS: usize = 16;
/// Chunks with patches that are folded at once.
const FOLDS_MAX: usize = DIRTY_MAX / CHUNK_PLAIN;
/// Changes of one draft that may wait for a chunk.
const PARKED_MAX: usize = 256;

impl<S: Snapshot> Node<S> {
    pub(super) fn write(&mut self, ticket: Ticket, handle: Handle, offset: Option<u64>, data: Bytes) -> Option<Reply> {
        if data.is_empty() {
            return Some(Ok(Answer::Written(0)));
        }
        let key = match self.writable(handle) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        let Some(draft) = self.files.drafts.get(&key) else { return Some(Err(OpError::BadHandle)) };
        let end = offset.unwrap_or(draft.size).saturating_add(data.len() as u64);
        if end > FILE_MAX {
            return Some(Err(OpError::TooLarge));
        }
        self.change(Some(ticket), key, Change::Write(offset, data))
    }

    /// The draft of a file that is open for writing and takes what is written.
    pub(super) fn writable(&mut self, handle: Handle) -> Result<DraftKey, OpError> {
        let key = self.files.handles.get(&handle).filter(|open| open.write).ok_or(OpError::BadHandle)?.key;
        self.may_write(&key.circle)?;
        self.ensure_draft(&key);
        let draft = self.files.drafts.get(&key).ok_or(OpError::BadHandle)?;
        if let Some(error) = draft.failed.clone() {
            // What could not be stored stays in memory, and is tried again: nothing more is taken until it could.
            self.publish(key);
            return Err(error);
        }
        Ok(key)
    }

    /// Applies a change, now or when the chunks that it needs are in memory.
    pub(super) fn change(&mut self, ticket: Option<Ticket>, key: DraftKey, change: Change) -> Option<Reply> {
        let Some(draft) = self.files.drafts.get_mut(&key) else { return Some(Err(OpError::BadHandle)) };
        if draft.parked.is_empty() {
            let needs = self.needs(&key, &change);
            if needs.is_empty() && !self.is_filling(&key) {
                return self.apply_change(ticket, key, &change);
            }
            self.files.drafts.get_mut(&key)?.parked.push_back((ticket, change));
            self.fill_chunks(key, &needs);
        } else if draft.parked.len() >= PARKED_MAX {
            return Some(Err(OpError::Busy));
        } else {
            draft.parked.push_back((ticket, change));
        }
        None
    }

    /// True while a chunk of the draft is being read: what comes must be older than any change that is applied to it.
    fn is_filling(&self, key: &DraftKey) -> bool {
        self.files.drafts.get(key).is_some_and(|draft| !draft.filling.is_empty())
    }

    /// The chunks that must be in memory before the change can be applied; the others that it meets are patched.
    fn needs(&self, key: &DraftKey, change: &Change) -> Vec<u32> {
        let Some(draft) = self.files.drafts.get(key) else { return Vec::new() };
        let lies = |chunk| {
            let whole = sealed_chunk_length(draft.plain_length(chunk));
            self.place_of_chunk(key, chunk).is_some_and(|(segment, _)| segment.length as usize == whole)
        };
        let mut needs = draft.needs(change);
        needs.retain(|chunk| !(draft.takes_patch(change, *chunk) && lies(*chunk)));
        needs
    }

    pub(super) fn apply_change(&mut self, ticket: Option<Ticket>, key: DraftKey, change: &Change) -> Option<Reply> {
        let now = self.now;
        let draft = self.files.drafts.get_mut(&key)?;
        if draft.handles > 0 && draft.publishing == Publishing::Sealing && draft.renames.is_empty() {
            // Somebody writes on before the last close was published: what they leave is published, not a half of it.
            draft.publishing = Publishing::No;
        }
        let (full, written) = draft.apply(now.instant, now.wall, change);
        for chunk in full {
            self.seal_chunk(key, chunk, true);
        }
        self.seal_surplus(key);
        let reply = Ok(match change {
            Change::Write(..) => Answer::Written(written as u32),
            Change::Zero(..) => Answer::Done,
            Change::Truncate(_) => match self.attr_of(&key.circle, &key.seen()) {
                Ok(attr) => Answer::Entry(attr),
                Err(error) => return Some(Err(error)),
            },
        });
        match ticket {
            Some(ticket) if self.files.sealing_bytes > DIRTY_MAX => {
                self.files.throttled.push_back((key, ticket, reply));
                None
            }
            _ => Some(reply),
        }
    }

    /// Parked changes whose chunks have come are applied.
    pub(super) fn apply_parked(&mut self, key: DraftKey) {
        loop {
            let Some(draft) = self.files.drafts.get_mut(&key) else { return };
            let Some((ticket, change)) = draft.parked.front().cloned() else { break };
            let needs = self.needs(&key, &change);
            if !needs.is_empty() || self.is_filling(&key) {
                self.fill_chunks(key, &needs);
                return;
            }
            self.files.drafts.get_mut(&key).and_then(|draft| draft.parked.pop_front());
            let reply = self.apply_change(ticket, key, &change);
            if let (Some(ticket), Some(reply)) = (ticket, reply) {
                self.reply(ticket, reply);
            }
        }
        self.go_on(key);
    }

    /// Brings the first chunk of a file that has become small into memory; whatever waits goes on then.
    pub(super) fn want_first_chunk(&mut self, key: DraftKey) {
        self.fill_chunks(key, &[0]);
    }

    pub(super) fn fill_chunks(&mut self, key: DraftKey, chunks: &[u32]) {
        for chunk in chunks {
            let Some(draft) = self.files.drafts.get_mut(&key) else { return };
            if !draft.filling.insert(*chunk) {
                continue;
            }
            self.fill_chunk(key, *chunk);
        }
    }

    pub(super) fn fill_chunk(&mut self, key: DraftKey, chunk: u32) {
        let Some(draft) = self.files.drafts.get(&key) else { return };
        if matches!(draft.source(chunk), Source::Memory(_) | Source::Zeros) {
            return;
        }
        if let Some((segment, chunk_key)) = self.place_of_chunk(&key, chunk) {
            self.ask(Asked::Fill(key, chunk), DiskRequest::Unseal { segment, key: chunk_key });
            return;
        }
        match draft.base.as_ref().and_then(|view| torrent_of(&view.body)) {
            Some(info_hash) => match self.wait_for(Waiter::Fill(key, chunk), info_hash, chunk..=chunk) {
                None => {}
                Some(Err(error)) => self.fill_failed(key, chunk, error),
                Some(Ok(_)) => self.fill_failed(key, chunk, OpError::Io("a chunk that is here does not open".into())),
            },
            None => self.fill_failed(key, chunk, OpError::Io("a chunk of the file is nowhere".into())),
        }
    }

    /// Where a draft's chunk lies that is not in memory, if it is here.
    fn place_of_chunk(&self, key: &DraftKey, chunk: u32) -> Option<(Segment, Arc<ChunkKey>)> {
        let draft = self.files.drafts.get(key)?;
        match draft.source(chunk) {
            Source::Placed(placed) => {
                let epoch = self.circles.get(&key.circle)?.epochs.get(&placed.epoch)?;
                Some((placed.segment, epoch.keys.chunk_key()))
            }
            Source::Base => self.torrent_chunk(&key.circle, draft.base.as_ref()?, chunk),
            Source::Memory(_) | Source::Zeros => None,
        }
    }

    /// The disk read a chunk for a draft.
    pub(super) fn chunk_filled(&mut self, key: DraftKey, chunk: u32, result: Result<Bytes, DiskError>) {
        match result {
            Ok(plain) => {
                if let Some(draft) = self.files.drafts.get_mut(&key) {
                    draft.fill(chunk, &plain);
                }
                self.apply_parked(key);
            }
            Err(error) => {
                log::error!("a chunk of a file being written could not be read: {error}");
                self.fill_failed(key, chunk, OpError::Io(error.to_string()));
            }
        }
    }

    /// Changes that needed the chunk fail; the draft stays as it was.
    pub(super) fn fill_failed(&mut self, key: DraftKey, chunk: u32, error: OpError) {
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        draft.filling.remove(&chunk);
        let failed: Vec<_> = std::mem::take(&mut draft.parked).into_iter().collect();
        let fsyncs = std::mem::take(&mut draft.fsyncs);
        draft.forget_fills();
        for ticket in failed.into_iter().filter_map(|(ticket, _)| ticket).chain(fsyncs) {
            self.reply(ticket, Err(error.clone()));
        }
        self.publishing_failed(&key, &error);
        self.drop_if_done(&key);
    }

    /// Seals what lies in memory beyond what a draft may keep there, lowest first.
    pub(super) fn seal_surplus(&mut self, key: DraftKey) {
        let Some(draft) = self.files.drafts.get(&key) else { return };
        let surplus = draft.unsealed.len().saturating_sub(OPEN_CHUNKS);
        let surplus: Vec<u32> = draft.unsealed.iter().copied().take(surplus).collect();
        for chunk in surplus {
            // What is written here and there is likely to be written again.
            self.seal_chunk(key, chunk, false);
        }
        let all: usize = self.files.drafts.values().map(|draft| draft.patched_bytes).sum();
        let limit = self.config.patches_memory.unwrap_or(PATCHES_MEMORY);
        let mut over = all.saturating_sub(limit);
        while over > 0 {
            let Some(draft) = self.files.drafts.get_mut(&key) else { return };
            let before = draft.patched_bytes;
            let Some(chunk) = draft.next_patched() else { return };
            self.fold_chunk(key, chunk, false);
            let now = self.files.drafts.get(&key).map_or(0, |draft| draft.patched_bytes);
            if now == before {
                // It has to be fetched first.
                return;
            }
            over = over.saturating_sub(before - now);
        }
    }

    /// Sends what is in memory to be sealed, and as many chunks with patches as may be on their way at once.
    pub(super) fn seal_unsealed(&mut self, key: DraftKey) {
        let Some(draft) = self.files.drafts.get(&key) else { return };
        // Its own seal that ends is what a draft goes on by: it always has one on its way.
        let least = usize::from(!draft.is_sealing());
        let (unsealed, room) = (draft.unsealed.clone(), FOLDS_MAX.saturating_sub(self.files.sealing).max(least));
        let patched: Vec<u32> = draft.patched.iter().take(room).copied().collect();
        for chunk in unsealed {
            self.seal_chunk(key, chunk, true);
        }
        for chunk in patched {
            self.fold_chunk(key, chunk, true);
        }
    }

    /// Has the disk open a chunk, write its patches over it, and seal it to a place of its own.
    fn fold_chunk(&mut self, key: DraftKey, at: u32, hash: bool) {
        let Some((from, opener)) = self.place_of_chunk(&key, at) else {
            // It is not here any more, and comes into memory.
            return self.fill_chunks(key, &[at]);
        };
        let Some(circle) = self.circles.get(&key.circle) else { return };
        let Some((epoch, chunk_key)) = circle.current().map(|(id, epoch)| (id, epoch.keys.chunk_key())) else {
            return;
        };
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        let (number, plain) = (draft.number, draft.plain_length(at) as u32);
        let hash = hash && draft.chunks_are_pieces();
        let Some(patches) = draft.fold(at, number) else { return };
        let segment = self.vault.take_chunk(from.length);
        self.files.sealing += 1;
        self.files.sealing_bytes += CHUNK_PLAIN;
        let placed = Placed { segment, epoch, plain, hash: None };
        let request = DiskRequest::Patch { from, opener, patches, segment, key: chunk_key, hash };
        self.ask(Asked::Fold(key, at, number, placed), request);
    }

    /// The disk folded a chunk's patches into it.
    pub(super) fn chunk_folded(
        &mut self,
        key: DraftKey,
        at: u32,
        number: u64,
        placed: Placed,
        result: Result<Option<ChunkHash>, DiskError>,
    ) {
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.folded(at, number, result.as_ref().map(|hash| Placed { hash: *hash, ..placed }));
        }
        if result == Err(DiskError::Corrupt) {
            // What it was written over does not open: no other file is the worse for it.
            log::error!("what was written over a damaged chunk of a file is lost");
            self.publishing_failed(&key, &DiskError::Corrupt.into());
            return self.seal_ended(key, CHUNK_PLAIN, None);
        }
        self.seal_ended(key, CHUNK_PLAIN, result.err());
    }

    /// Sends a chunk to be sealed and written to a place of its own; `hash` says that it is thought to stay as it is, and
    /// so is hashed while it is at hand.
    pub(super) fn seal_chunk(&mut self, key: DraftKey, at: u32, hash: bool) {
        let Some(circle) = self.circles.get(&key.circle) else { return };
        let Some((epoch_id, chunk_key)) = circle.current().map(|(id, epoch)| (id, epoch.keys.chunk_key())) else {
            return;
        };
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        let plain = draft.plain_length(at);
        let number = draft.number;
        let hash = hash && draft.chunks_are_pieces();
        let Some(chunk) = draft.chunks.get_mut(&at) else { return };
        let Some(data) = chunk.data.as_mut() else { return };
        let plaintext = data.share();
        let segment = self.vault.take_chunk(sealed_chunk_length(plain) as u32);
        // A chunk that is still being written must not be punched under the writer's hands: it stays.
        draft.garbage.extend(chunk.placed.filter(|_| chunk.sealing.is_none()).map(|placed| placed.segment));
        chunk.dirty = false;
        draft.unsealed.remove(&at);
        draft.sealing += usize::from(chunk.sealing.is_none());
        chunk.sealing = Some(number);
        chunk.placed = Some(Placed { segment, epoch: epoch_id, plain: plain as u32, hash: None });
        self.files.sealing += 1;
        self.files.sealing_bytes += plaintext.len();
        self.ask(Asked::Chunk(key, at, number), DiskRequest::Seal { segment, key: chunk_key, plaintext, hash });
    }

    /// The disk sealed a chunk.
    pub(super) fn chunk_sealed(
        &mut self,
        key: DraftKey,
        at: u32,
        number: u64,
        result: Result<Option<ChunkHash>, DiskError>,
    ) {
        let mut bytes = CHUNK_PLAIN;
        if let Some(draft) = self.files.drafts.get_mut(&key)
            && let Some(chunk) = draft.chunks.get_mut(&at).filter(|chunk| chunk.sealing == Some(number))
        {
            chunk.sealing = None;
            draft.sealing -= 1;
            bytes = chunk.placed.map_or(bytes, |placed| placed.plain as usize);
            match &result {
                Ok(hash) => {
                    if let Some(placed) = &mut chunk.placed {
                        placed.hash = *hash;
                    }
                    if !chunk.dirty && bytes == CHUNK_PLAIN {
                        chunk.data = None;
                    }
                }
                Err(_) => {
                    chunk.dirty = true;
                    chunk.placed = None;
                }
            }
            if chunk.dirty {
                draft.unsealed.insert(at);
            }
        }
        self.seal_ended(key, bytes, result.err());
    }

    /// A chunk of so many bytes is no longer on its way.
    fn seal_ended(&mut self, key: DraftKey, bytes: usize, failed: Option<DiskError>) {
        self.files.sealing = self.files.sealing.saturating_sub(1);
        self.files.sealing_bytes = self.files.sealing_bytes.saturating_sub(bytes);
        if self.files.sealing == 0 {
            self.files.sealing_bytes = 0;
        }
        match failed {
            Some(error) => self.seal_failed(key, error),
            None => {
                if let Some(draft) = self.files.drafts.get_mut(&key) {
                    draft.failed = None;
                }
                // What somebody waits for goes on first: writers wait until there is little of it.
                self.go_on(key);
            }
        }
        while self.files.sealing_bytes <= DIRTY_MAX {
            let Some((_, ticket, reply)) = self.files.throttled.pop_front() else { break };
            self.reply(ticket, reply);
        }
    }

    fn seal_failed(&mut self, key: DraftKey, error: DiskError) {
        let refused = OpError::from(error.clone());
        // Who writes to another file hears of it when that one cannot be stored either.
        let (mine, others): (VecDeque<_>, VecDeque<_>) =
            self.files.throttled.drain(..).partition(|(of, ..)| *of == key);
        self.files.throttled = others;
        for (_, ticket, _) in mine {
            self.reply(ticket, Err(refused.clone()));
        }
        if let Some(draft) = self.files.drafts.get_mut(&key)
            && draft.failed.replace(refused.clone()).is_none()
        {
            log::error!("a file being written could not be stored: {error}");
        }
        self.publishing_failed(&key, &refused);
    }

    pub(super) fn fsync(&mut self, ticket: Ticket, inode: Inode) -> Option<Reply> {
        let key = match self.spot(inode) {
            Ok(Spot::In(circle, seen)) => DraftKey { circle, object: seen.object, version: seen.version },
            Ok(Spot::Top | Spot::View(_)) => {
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Done)));
                return None;
            }
            Err(error) => return Some(Err(error)),
        };
        if let Some(error) = &self.trouble {
            return Some(Err(error.clone().into()));
        }
        if self.files.drafts.get_mut(&key).is_some_and(|draft| std::mem::take(&mut draft.lost)) {
            return Some(Err(DiskError::Corrupt.into()));
        }
        match self.files.drafts.get_mut(&key) {
            Some(draft) if draft.dirty && !draft.orphan => {
                draft.fsyncs.push(ticket);
                self.seal_for_fsync(key);
                self.go_on(key);
            }
            _ => self.when_durable(Effect::Reply(ticket, Ok(Answer::Done))),
        }
        None
    }

    pub(super) fn seal_for_fsync(&mut self, key: DraftKey) {
        if self.files.drafts.get(&key).is_some_and(|draft| draft.size > INLINE_MAX as u64) {
            self.seal_unsealed(key);
        }
    }
}

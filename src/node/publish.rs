//! From draft to version: what is written is sealed, hashed into a torrent, and named by a record.

use bytes::Bytes;

use super::alike::{hashed_chunks, known_pieces};
use super::draft::{Draft, Placed, Publishing, Source, View};
use super::files::DraftKey;
use super::io::{Answer, DiskError, DiskRequest, Hashed, OpError, Segment};
use super::vault::push_extent;
use super::{Asked, Effect, Node, StartError};
use crate::base::limits::{CHUNK_SEALED, INLINE_MAX, QUIET_TIME, UNIT};
use crate::base::{CircleId, EpochId, InfoHash, Location, RecordHash, Snapshot, Table, WallTime};
use crate::ledger::keys;
use crate::ledger::values::{DraftEntry, Extent, Value as _};
use crate::seal::chunk::sealed_length;
use crate::tree::Seen;
use crate::wire::metainfo::{Metainfo, piece_length_for};
use crate::wire::record::{
    Body, Bytes2, Content, Context, Dot, Inner, Name, Outer, Place, PublicInfo, TorrentRef, Value,
};

/// Chunks of zeros that are sealed at once for a file's holes.
const HOLES_AT_ONCE: usize = 64;

impl<S: Snapshot> Node<S> {
    /// Publishes a draft if there is something to publish; called at close, after quiet seconds, and at the end.
    pub(super) fn publish(&mut self, key: DraftKey) {
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        if !draft.dirty || draft.orphan {
            return;
        }
        if draft.publishing == Publishing::No {
            draft.publishing = Publishing::Sealing;
        }
        if let Err(error) = self.may_write(&key.circle) {
            return self.publishing_failed(&key, &error);
        }
        self.go_on(key);
    }

    /// Publishes every draft.
    pub(super) fn publish_all(&mut self) {
        let keys: Vec<_> = self.files.drafts.keys().copied().collect();
        for key in keys {
            if let Some(draft) = self.files.drafts.get_mut(&key).filter(|draft| draft.dirty && !draft.orphan) {
                // Whatever hinders publishing, it is there at the next start: what has its name already.
                draft.keep = draft.link.is_none();
                self.seal_for_fsync(key);
            }
            self.publish(key);
            self.go_on(key);
        }
    }

    /// Publishes what was quiet for long enough, ends reads that waited for too long.
    pub(super) fn publish_due(&mut self) {
        self.end_fetches();
        let now = self.now.instant;
        let quiet: Vec<_> = self
            .files
            .drafts
            .iter()
            .filter(|(_, draft)| draft.due_at().is_some_and(|at| at <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in quiet {
            self.publish(key);
        }
        if self.stopping.is_some() {
            self.shutdown_due();
        }
    }

    /// Takes the next step of a draft that is being synced or published: called whenever one was done.
    pub(super) fn go_on(&mut self, key: DraftKey) {
        let Some(draft) = self.files.drafts.get(&key) else { return };
        if !draft.parked.is_empty() {
            return;
        }
        let waited_for = draft.keep || !draft.fsyncs.is_empty();
        if waited_for {
            self.seal_for_fsync(key);
        }
        if waited_for && self.files.drafts.get(&key).is_some_and(|draft| !draft.is_sealing()) {
            self.store_draft(key);
        }
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        if draft.publishing != Publishing::Sealing {
            return;
        }
        if draft.orphan {
            draft.publishing = Publishing::No;
            return;
        }
        if draft.size <= INLINE_MAX as u64 {
            self.publish_inline(key);
            return;
        }
        if let Some(view) = draft.unwritten().cloned()
            && let Some(info) = self.public_info(&key.circle, &view.record)
        {
            return self.publish_body(key, view.body.content, Some(info), None);
        }
        self.seal_unsealed(key);
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        if draft.is_sealing() {
            return;
        }
        if !draft.patched.is_empty() {
            if draft.filling.is_empty() {
                // Nothing is on its way that it would go on by.
                draft.publishing = Publishing::No;
                draft.touched = self.now.instant;
            }
            return;
        }
        // A large file of holes is sealed by and by: its zeros are never in memory all at once.
        let holes = draft.holes();
        if holes.is_empty() {
            return self.hash_draft(key);
        }
        for hole in holes.into_iter().take(HOLES_AT_ONCE) {
            if let Some(draft) = self.files.drafts.get_mut(&key) {
                draft.fill_hole(hole);
            }
            self.seal_chunk(key, hole, true);
        }
    }

    /// A small file's bytes, if they are all in memory; otherwise they are asked for.
    fn small_content(&mut self, key: DraftKey) -> Option<Bytes> {
        let draft = self.files.drafts.get(&key)?;
        if draft.size == 0 {
            return Some(Bytes::new());
        }
        match draft.source(0) {
            Source::Memory(data) => {
                let mut bytes = data.to_vec();
                bytes.resize(draft.size as usize, 0);
                Some(bytes.into())
            }
            Source::Zeros => Some(vec![0; draft.size as usize].into()),
            Source::Placed(_) | Source::Base => {
                // A change that changes nothing: it waits for the chunk like any other, and then this is tried again.
                self.want_first_chunk(key);
                None
            }
        }
    }

    fn publish_inline(&mut self, key: DraftKey) {
        let Some(bytes) = self.small_content(key) else { return };
        let content = if bytes.is_empty() { Content::None } else { Content::Inline(bytes) };
        self.publish_body(key, content, None, None);
    }

    /// The places of all chunks of a draft, in order, with the epoch of each; `None` if the base is not here.
    fn places(&self, key: &DraftKey) -> Option<Vec<(Segment, EpochId)>> {
        let draft = self.files.drafts.get(key)?;
        let before = draft.predecessor();
        let mut find = before.map(|view| self.chunk_finder(&key.circle, view));
        let torrent = before.and_then(|view| super::read::torrent_in(&view.body));
        (0..draft.chunk_count())
            .map(|chunk| match draft.source(chunk) {
                source if matches!(source, Source::Base) || draft.is_alike(chunk) => {
                    let (segment, _) = find.as_mut()?(chunk)?;
                    Some((segment, super::read::epoch_of(torrent?, chunk)?))
                }
                _ => draft.chunks.get(&chunk)?.placed.map(|placed| (placed.segment, placed.epoch)),
            })
            .collect()
    }

    fn hash_draft(&mut self, key: DraftKey) {
        if self.look_for_alike(key) {
            return;
        }
        if self.alike_is_gone(&key) {
            self.forget_alike(&key);
        }
        let Some(places) = self.places(&key) else {
            if self.forget_alike(&key) {
                return self.hash_draft(key);
            }
            // Part of the base is at friends only: it is fetched, and this is tried again after the quiet time.
            self.fetch_base(key);
            return;
        };
        let Some(draft) = self.files.drafts.get(&key) else { return };
        let old = draft.predecessor().and_then(|view| self.metainfo(&key.circle, &view.record));
        let piece_length = piece_length_for(sealed_length(draft.size), old.as_ref().map(|old| old.piece_length));
        let known = known_pieces(draft, old.as_ref(), piece_length);
        let number = draft.number;
        let hashed = hashed_chunks(draft, piece_length);
        let chunks = places.into_iter().map(|(segment, _)| segment).collect();
        if let Some(draft) = self.files.drafts.get_mut(&key) {
            draft.publishing = Publishing::Hashing(number);
        }
        if let Some(hashed) = hashed {
            return self.draft_hashed(key, number, Ok(hashed));
        }
        self.ask(Asked::Hash(key, number), DiskRequest::Hash { chunks, piece_length, known });
    }

    fn fetch_base(&mut self, key: DraftKey) {
        let now = self.now.instant;
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        draft.publishing = Publishing::No;
        draft.touched = now;
        let last = draft.chunk_count().saturating_sub(1);
        if let Some(info_hash) = draft.base.as_ref().and_then(|view| super::read::torrent_of(&view.body)) {
            self.fetch_now(&info_hash, 0..=last, now + QUIET_TIME);
        }
    }

    /// True when the disk's answer is about the draft as it is. Otherwise what follows is done.
    pub(super) fn is_as_asked(&mut self, key: DraftKey, number: u64) -> bool {
        let Some(draft) = self.files.drafts.get_mut(&key) else { return false };
        if draft.publishing != Publishing::Hashing(number) {
            return false;
        }
        draft.publishing = Publishing::Sealing;
        if draft.orphan {
            self.go_on(key);
            return false;
        }
        if draft.number == number && draft.parked.is_empty() {
            return true;
        }
        // It was written to meanwhile: whoever writes closes it, until then it is half of a file.
        let renames = std::mem::take(&mut draft.renames);
        if draft.handles > 0 {
            draft.publishing = Publishing::No;
        } else {
            self.go_on(key);
        }
        self.rename_unpublished(renames);
        false
    }

    /// The disk hashed a draft's pieces.
    pub(super) fn draft_hashed(&mut self, key: DraftKey, number: u64, result: Result<Hashed, DiskError>) {
        if !self.is_as_asked(key, number) {
            return;
        }
        let hashed = match result {
            Ok(hashed) => hashed,
            Err(error) => {
                log::error!("a file could not be published: {error}");
                return self.publishing_failed(&key, &error.into());
            }
        };
        if self.alike_is_gone(&key) {
            self.forget_alike(&key);
            return self.hash_draft(key);
        }
        let Some(places) = self.places(&key) else { return self.fetch_base(key) };
        let (Some(draft), Some(circle)) = (self.files.drafts.get(&key), self.circles.get(&key.circle)) else { return };
        let length = sealed_length(draft.size);
        let old = draft.predecessor().and_then(|view| self.metainfo(&key.circle, &view.record));
        let piece_length = piece_length_for(length, old.map(|old| old.piece_length));
        let mut info = PublicInfo { base: None, length, piece_length, pieces: Bytes2::from(hashed.pieces) };
        let info_hash = match Metainfo::from_public(&info) {
            Ok(metainfo) => metainfo.info_hash(&circle.root_pem),
            Err(error) => {
                log::error!("a file could not be published: {error}");
                return self.publishing_failed(&key, &OpError::Io(error.to_string()));
            }
        };
        info.base = self.told_base(&key, &info_hash, &info);
        let mut runs: Vec<(u32, EpochId)> = Vec::new();
        let mut extents = Vec::new();
        for (chunk, (segment, epoch)) in places.iter().enumerate() {
            match runs.last_mut() {
                Some((count, last)) if last == epoch => *count += 1,
                _ => runs.push((1, *epoch)),
            }
            let unit = (segment.offset / UNIT as u64) as u32;
            let location = Location { slab: segment.slab, unit };
            push_extent(&mut extents, Extent { chunk: chunk as u32, chunks: 1, location });
        }
        let content = Content::Torrent(TorrentRef { info_hash, runs, tags: hashed.tags });
        self.publish_body(key, content, Some(info), Some((info_hash, extents)));
    }

    /// Names the content by a record: the body is published.
    fn publish_body(
        &mut self,
        key: DraftKey,
        content: Content,
        info: Option<PublicInfo>,
        torrent: Option<(InfoHash, Vec<Extent>)>,
    ) {
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        draft.publishing = Publishing::No;
        let body = draft.body(content);
        let (mut staged, context) = (draft.staged.clone(), draft.context.clone());
        let link = draft.link.clone();
        if let Some(link) = &link {
            match self.make_place(&key.circle, link) {
                Ok(place) => staged = Some(place),
                Err(error) => return self.publishing_failed(&key, &error),
            }
        }
        let published = match key.version {
            None => self.publish_records(&key, staged, body, context, info, link.is_none()).map(|dot| (key, dot)),
            Some(_) => self.publish_beside(&key, body, info),
        };
        match published {
            Ok((now, dot)) => {
                if let Some((info_hash, extents)) = torrent {
                    self.own_torrent(&info_hash, extents);
                    if let Some(draft) = self.files.drafts.get_mut(&key) {
                        let spare: Vec<_> = draft.spare().map(|placed| placed.segment).collect();
                        self.vault.alike += spare.len() as u64;
                        draft.garbage.extend(spare);
                    }
                    if let Some(view) = self.view_of(&now, dot) {
                        self.note_recent(&now.circle, &view);
                    }
                }
                if let Some(link) = link {
                    self.after_commit(Effect::Reply(link.ticket, Ok(Answer::Done)));
                }
                self.rebase(&key, &now, dot);
            }
            Err(error) => {
                log::warn!("a file could not be published: {error}");
                self.publishing_failed(&key, &error);
            }
        }
    }

    /// `as_staged` says that the kernel has the name already, from when it was staged: to tell it stale would cost a lock of its
    /// directory and looking everything up again, for each new file.
    fn publish_records(
        &mut self,
        key: &DraftKey,
        staged: Option<Place>,
        body: Body,
        context: Context,
        info: Option<PublicInfo>,
        as_staged: bool,
    ) -> Result<Dot, OpError> {
        if let Some(place) = staged {
            let (parent, name) = (Seen { object: place.parent, version: None }, place.name.clone());
            let parent = self.inode_of(&key.circle, &parent);
            let known = [(parent, name.as_bytes())];
            let (_, changes) = self.author(&key.circle, key.object, Value::Place(place), Context::default(), None)?;
            // Where more names changed, another file claims it, and may have it now.
            let as_before = as_staged && changes.entries.len() <= 1;
            self.changed_here(&key.circle, changes, if as_before { &known } else { &[] });
        }
        let (dot, changes) = self.author(&key.circle, key.object, Value::Body(body), context, info)?;
        self.changed_here(&key.circle, changes, &[]);
        Ok(dot)
    }

    /// What was written to the loser of a conflict becomes a file of its own, under the name that the loser showed, so
    /// that the winner keeps its name.
    pub(super) fn publish_beside(
        &mut self,
        key: &DraftKey,
        body: Body,
        info: Option<PublicInfo>,
    ) -> Result<(DraftKey, Dot), OpError> {
        let circle = self.circles.get(&key.circle).ok_or(OpError::NotFound)?;
        let (parent, name) = circle.tree.location(&key.seen()).ok_or(OpError::NotFound)?;
        let name = Name::new(&name).map_err(|error| OpError::Invalid(error.to_string()))?;
        let now = DraftKey { circle: key.circle, object: self.fresh_object(), version: None };
        let place = Place { parent, name, deleted: None };
        let dot = self.publish_records(&now, Some(place), body, Context::default(), info, false)?;
        let circle = self.circles.get(&key.circle).ok_or(OpError::NotFound)?;
        let (context, _) = circle.tree.place_context(&key.object);
        if let Some(place) = circle.tree.delete_place(&key.seen()) {
            let (_, changes) = self.author(&key.circle, key.object, Value::Place(place), context, None)?;
            self.changed_here(&key.circle, changes, &[]);
        }
        Ok((now, dot))
    }

    /// A draft that was published goes on from what it published, as `now`, or ends with its last handle. What it
    /// published is its base also where a friend's body won: a writer's bytes never come to lie in another's file.
    fn rebase(&mut self, key: &DraftKey, now: &DraftKey, dot: Dot) {
        let Some(draft) = self.files.drafts.remove(key) else { return };
        self.forget_stored_draft(key);
        for ticket in draft.fsyncs {
            self.after_commit(Effect::Reply(ticket, Ok(Answer::Done)));
        }
        self.punch_later(draft.garbage);
        if now == key {
            self.repin(key, dot);
        } else {
            self.move_handles(key, *now, dot);
        }
        if draft.handles > 0 {
            self.ensure_draft(now);
            self.files.drafts.entry(*now).and_modify(|next| next.lost |= draft.lost);
        }
        self.rename_waiting(draft.renames);
    }

    /// Gives space back once everything written so far is durable, and so names it no more.
    fn punch_later(&mut self, garbage: Vec<Segment>) {
        if !garbage.is_empty() {
            self.after_commit(Effect::Punch(garbage));
        }
    }

    /// Publishing is tried again after the quiet time; whoever waits for it is told now.
    pub(super) fn publishing_failed(&mut self, key: &DraftKey, error: &OpError) {
        let Some(draft) = self.files.drafts.get_mut(key) else { return };
        draft.publishing = Publishing::No;
        draft.touched = self.now.instant;
        let waiting = std::mem::take(&mut draft.renames).into_iter().map(|(ticket, _)| ticket);
        let link = draft.link.take().map(|link| link.ticket);
        draft.orphan |= link.is_some();
        let waiting = waiting.chain(link);
        let waiting: Vec<_> = waiting.chain(std::mem::take(&mut draft.fsyncs)).collect();
        for ticket in waiting {
            self.reply(ticket, Err(error.clone()));
        }
    }

    /// Removes a draft whose handles are all closed and that has nothing to publish.
    pub(super) fn drop_if_done(&mut self, key: &DraftKey) {
        let Some(draft) = self.files.drafts.get(key) else { return };
        // Who reads a file without a name reads it from its draft.
        let read = draft.orphan && self.files.pins.contains_key(key);
        if draft.handles == 0 && !read && (draft.orphan || !draft.dirty) {
            let cut_off = !draft.orphan && draft.staged.is_some();
            self.drop_draft(key);
            if cut_off {
                self.forget_what_was_cut(key);
            }
        }
    }

    pub(super) fn drop_draft(&mut self, key: &DraftKey) {
        let Some(mut draft) = self.files.drafts.remove(key) else { return };
        self.forget_stored_draft(key);
        let sealed = draft.chunks.values().filter(|chunk| chunk.sealing.is_none()).filter_map(|chunk| chunk.placed);
        draft.garbage.extend(sealed.map(|placed| placed.segment));
        self.punch_later(draft.garbage);
        let renames = draft.renames.into_iter().map(|(ticket, _)| ticket);
        let parked = draft.parked.into_iter().filter_map(|(ticket, _)| ticket);
        let link = draft.link.map(|link| link.ticket);
        for ticket in parked.chain(draft.fsyncs).chain(renames).chain(link) {
            self.reply(ticket, Err(OpError::NotFound));
        }
    }

    /// True when the ledger has an entry of this draft.
    pub(super) fn is_stored(&self, key: &DraftKey) -> bool {
        let at = keys::draft(&key.circle, &key.object, key.version.as_ref());
        matches!(crate::base::Snapshot::get(&self.ledger, Table::Drafts, &at), Ok(Some(_)))
    }

    /// The ledger's entry of a draft goes with the next batch.
    pub(super) fn forget_stored_draft(&mut self, key: &DraftKey) {
        if self.is_stored(key) {
            self.ledger.delete(Table::Drafts, keys::draft(&key.circle, &key.object, key.version.as_ref()));
            self.flush_soon();
        }
    }

    /// Makes a draft durable as it is, for those who wait in fsync.
    fn store_draft(&mut self, key: DraftKey) {
        let unsealed = |draft: &Draft| !draft.unsealed.is_empty() || !draft.patched.is_empty();
        if self.files.drafts.get(&key).is_some_and(|draft| draft.size > INLINE_MAX as u64 && unsealed(draft)) {
            return;
        }
        let inline = match self.files.drafts.get(&key) {
            Some(draft) if draft.size <= INLINE_MAX as u64 => match self.small_content(key) {
                Some(bytes) => Some(bytes),
                None => return,
            },
            Some(_) => None,
            None => return,
        };
        let Some(draft) = self.files.drafts.get(&key) else { return };
        let mut epochs: Vec<EpochId> = Vec::new();
        let mut chunks = Vec::new();
        if inline.is_none() {
            for (at, chunk) in &draft.chunks {
                let Some(Placed { segment, epoch, plain, .. }) = chunk.placed else { continue };
                let index = epochs.iter().position(|known| *known == epoch).unwrap_or_else(|| {
                    epochs.push(epoch);
                    epochs.len() - 1
                });
                let unit = (segment.offset / UNIT as u64) as u32;
                for word in [*at, segment.slab, unit, plain, index as u32] {
                    chunks.extend_from_slice(&word.to_be_bytes());
                }
                self.ledger.sync(segment.slab);
            }
        }
        let entry = DraftEntry {
            context: draft.context.clone(),
            chunks: Bytes2::from(chunks),
            epochs,
            inline: inline.map(|bytes| Bytes2::from(&bytes[..])),
            base: draft.base.as_ref().map(|base| base.record),
            base_size: draft.base_size,
            mode: draft.mode,
            mtime: draft.mtime.0,
            name: draft.staged.as_ref().map(|place| Bytes2::from(place.name.as_bytes())),
            parent: draft.staged.as_ref().map(|place| place.parent),
            size: draft.size,
            xattrs: draft.xattrs.clone(),
        };
        let stored = self.put_draft(&key, &entry);
        let Some(draft) = self.files.drafts.get_mut(&key) else { return };
        let fsyncs = std::mem::take(&mut draft.fsyncs);
        if !stored {
            for ticket in fsyncs {
                self.reply(ticket, Err(OpError::ReadOnly));
            }
            return;
        }
        let garbage = std::mem::take(&mut draft.garbage);
        draft.keep = false;
        self.punch_later(garbage);
        for ticket in fsyncs {
            self.after_commit(Effect::Reply(ticket, Ok(Answer::Done)));
        }
    }

    /// Writes a draft's entry, sealed; false where no key is held to seal it with.
    pub(super) fn put_draft(&mut self, key: &DraftKey, entry: &DraftEntry) -> bool {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.fresh()[..12]);
        let Some((epoch, held)) = self.circles.get(&key.circle).and_then(|circle| circle.current()) else {
            return false;
        };
        let mut bytes = epoch.0.to_vec();
        bytes.extend(held.keys.seal_draft(nonce, &entry.encode()));
        self.ledger.put(Table::Drafts, keys::draft(&key.circle, &key.object, key.version.as_ref()), bytes);
        let frontier = self.vault.frontier();
        let frontier = [frontier.slab.to_be_bytes(), frontier.unit.to_be_bytes()].concat();
        self.ledger.put(Table::Meta, keys::FRONTIER.to_vec(), frontier);
        true
    }

    /// What drafts lie on is taken, also while they cannot be opened.
    pub(super) fn load_frontier(&mut self) -> Result<(), StartError> {
        let frontier = self.ledger.get(Table::Meta, keys::FRONTIER)?.unwrap_or_default();
        if let Some((slab, unit)) = frontier.split_first_chunk::<4>()
            && let Ok(unit) = <[u8; 4]>::try_from(unit)
        {
            let end = Location { slab: u32::from_be_bytes(*slab), unit: u32::from_be_bytes(unit) };
            self.vault.occupy(end, 0);
        }
        Ok(())
    }

    /// Takes up the drafts that an fsync made durable before the last end, and publishes them.
    pub(super) fn load_drafts(&mut self, id: &CircleId) -> Result<(), StartError> {
        let (from, to) = keys::of_circle(id);
        let mut found = Vec::new();
        self.ledger.range(Table::Drafts, &from, &to, &mut |key, value| {
            found.push((key.to_vec(), Bytes::copy_from_slice(value)));
            true
        })?;
        for (at, value) in found {
            let Some((object, version)) = keys::draft_of(&at) else { continue };
            let key = DraftKey { circle: *id, object, version };
            let Some(entry) = self.open_draft_entry(id, &value) else {
                log::warn!("a draft in the ledger does not open: it is left there");
                self.files.unread.insert(*id);
                continue;
            };
            let Some(mut draft) = self.draft_from(&key, entry) else {
                log::warn!("a draft in the ledger has lost what it was written over: it is left there");
                self.files.unread.insert(*id);
                continue;
            };
            draft.number = self.files.draft_number();
            self.stage_draft(&key, &draft);
            self.files.drafts.insert(key, draft);
        }
        Ok(())
    }

    /// Opens a stored draft. What it says it lies on is taken, whatever becomes of it.
    pub(super) fn open_draft_entry(&mut self, id: &CircleId, value: &[u8]) -> Option<DraftEntry> {
        let circle = self.circles.get(id)?;
        let epoch = EpochId::from_slice(value.get(..32)?)?;
        let plain = circle.epochs.get(&epoch)?.keys.open_draft(&value[32..]).ok()?;
        let entry = DraftEntry::decode(&plain).ok()?;
        for line in entry.chunks.chunks_exact(20) {
            let location = Location { slab: word(line, 1), unit: word(line, 2) };
            self.vault.occupy(location, (CHUNK_SEALED / UNIT) as u32);
        }
        Some(entry)
    }

    fn draft_from(&self, key: &DraftKey, entry: DraftEntry) -> Option<Draft> {
        let mut draft = Draft::new(self.now.instant, entry.mode, WallTime(entry.mtime));
        draft.context = entry.context;
        draft.size = entry.size;
        draft.base_size = entry.base_size;
        draft.xattrs = entry.xattrs;
        draft.dirty = true;
        if let (Some(name), Some(parent)) = (entry.name, entry.parent) {
            draft.staged = Some(Place { parent, name: Name::new(&name).ok()?, deleted: None });
        }
        if let Some(record) = entry.base {
            draft.base = self.view_of_record(key, record, &draft.context);
            if draft.base.is_none() && draft.base_size > 0 {
                return None;
            }
        }
        if let Some(bytes) = entry.inline {
            let data = Some(super::draft::Data::Shared(bytes.into_vec().into()));
            draft.chunks.insert(0, super::draft::Chunk { data, dirty: true, ..Default::default() });
            draft.unsealed.insert(0);
            draft.base_size = 0;
        }
        for line in entry.chunks.chunks_exact(20) {
            let sealed = crate::seal::chunk::sealed_chunk_length(word(line, 3) as usize) as u32;
            let segment = Segment::at(Location { slab: word(line, 1), unit: word(line, 2) }, sealed);
            let epoch = *entry.epochs.get(word(line, 4) as usize)?;
            let placed = Placed { segment, epoch, plain: word(line, 3), hash: None };
            draft.chunks.insert(word(line, 0), super::draft::Chunk { placed: Some(placed), ..Default::default() });
        }
        Some(draft)
    }

    /// A body version by its record, also where somebody superseded it since. `context` is what is superseded by what is
    /// written over it.
    fn view_of_record(&self, key: &DraftKey, record: RecordHash, context: &Context) -> Option<View> {
        let outer = Outer::decode(&self.record_bytes(&key.circle, &record)?).ok()?;
        let epoch = self.circles.get(&key.circle)?.epochs.get(&outer.epoch)?;
        let inner = Inner::decode(&epoch.keys.open_record(&outer.sealed).ok()?).ok()?;
        match inner.value {
            // A copy lies on the body of what it is a copy of.
            Value::Body(body) => Some(View { dot: inner.dot, body, record, context: context.clone() }),
            _ => None,
        }
    }

    fn stage_draft(&mut self, key: &DraftKey, draft: &Draft) {
        let Some(place) = draft.staged.clone() else { return };
        let body = draft.body(Content::None);
        if let Some(circle) = self.circles.get_mut(&key.circle) {
            circle.tree.stage(key.object, place, body);
        }
    }

    /// Stages the unpublished files again, in a tree that was built anew.
    pub(super) fn restage(&mut self, id: &CircleId) {
        let staged: Vec<_> = self
            .files
            .drafts
            .iter()
            .filter(|(key, draft)| key.circle == *id && draft.staged.is_some() && !draft.orphan)
            .map(|(key, draft)| (key.object, draft.staged.clone(), draft.body(Content::None)))
            .collect();
        if let Some(circle) = self.circles.get_mut(id) {
            for (object, place, body) in staged {
                if let Some(place) = place {
                    circle.tree.stage(object, place, body);
                }
            }
        }
    }

    /// A record's public description of its torrent.
    pub(super) fn public_info(&self, id: &CircleId, record: &RecordHash) -> Option<PublicInfo> {
        Outer::decode(&self.record_bytes(id, record)?).ok()?.info
    }
}

/// A 32-bit number of a stored draft's line.
fn word(line: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(line[at * 4..at * 4 + 4].try_into().expect("a line has five words of four bytes"))
}

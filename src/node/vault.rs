//! Torrents of this node: where their chunks lie, which are wanted, which are being fetched; glue between swarm and disk.
//!
//! Invariant: slabs only grow. An extent that a durable entry names is never written again, but for pieces of it that
//! the entry's bitfield does not have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::io::{DiskError, DiskRequest, Segment};
use super::layout::Anew;
use super::layouts::Layouts;
use super::{Asked, Effect, Node};
use crate::base::limits::{CHUNK_SEALED, SLAB_UNITS, UNIT};
use crate::base::{CircleId, ConnId, InfoHash, Instant, Location, PieceIndex, RecordHash, Snapshot, Table, Ticket};
use crate::keep::{Cache, Retention, Shares};
use crate::ledger::values::{Extent, TorrentEntry, torrent_key};
use crate::swarm::{Event, Layout, Offer, Stored};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::Bitfield;
use crate::wire::record::{Chain, Dot, Outer};

/// Units that a full chunk takes.
pub(super) const CHUNK_UNITS: u32 = (CHUNK_SEALED / UNIT) as u32;
/// Torrents that the swarm is given at once.
pub(super) const ACTIVE: usize = 256;
/// Commits beside the first that a torrent is known by.
const ALSO_MAX: usize = 7;
/// Bytes of a torrent whose layout is kept decoded: of a shorter one there is little to decode.
const KEPT_LENGTH: u64 = 1 << 20;
/// Torrents of which blocks are sent and whose piece length is remembered.
const PIECE_LENGTHS: usize = 256;

/// See the module.
#[derive(Default)]
pub struct Vault {
    pub torrents: BTreeMap<InfoHash, Torrent>,
    /// Where the next chunk goes.
    next: Location,
    /// Candidates for fetching, oldest first.
    pub(super) queue: VecDeque<InfoHash>,
    /// Wanted, but nobody online holds them.
    pub(super) starved: BTreeSet<InfoHash>,
    pub active: BTreeMap<InfoHash, Metainfo>,
    /// Partial torrents whose bitfield is newer than the ledger's.
    pub(super) dirty: BTreeSet<InfoHash>,
    pub(super) layouts: Layouts,
    piece_lengths: BTreeMap<InfoHash, u32>,
    /// Counts what was punched.
    pub freed: u64,
    /// What is kept of circles in which this node is a cache.
    pub cache: Cache,
    /// How many torrents refer to each stretch.
    pub(super) shares: Shares,
    /// What is here though no file shows it any more.
    pub(super) kept: Retention,
    /// While the tree is read from the ledger, what it showed in between says nothing: since when no file shows a torrent,
    /// as it was known before.
    pub(super) loading: Option<BTreeMap<InfoHash, u64>>,
    /// Counts torrents whose keep time was over, or for which there was no room.
    pub(super) collected: u64,
    /// Torrents for which the body before is, or was, hashed by another piece length.
    pub(super) anew: BTreeMap<InfoHash, Anew>,
    /// Counts chunks that were published and are another body's.
    pub(super) alike: u64,
    /// When it is looked at what may go.
    pub(super) collect_at: Option<Instant>,
    /// Whole torrents whose number of a want is newer than the ledger's.
    pub(super) renumbered: BTreeSet<InfoHash>,
}

/// One torrent that a commit introduced.
pub struct Torrent {
    pub circle: CircleId,
    pub record: RecordHash,
    pub introduced: Dot,
    /// Bytes; 0 where that cannot be told.
    pub length: u64,
    /// Further commits that named it, mostly none: who tells what it holds by a summary may know it by any of them.
    pub(super) also: Vec<Dot>,
    /// Some surviving body is in it; for caches, always.
    pub wanted: bool,
    /// A reader asked for it, whatever the policy.
    pub asked: bool,
    /// Pieces that were here stopped to hash, and have not come anew.
    pub damaged: bool,
    /// Its owner let it go: it is fetched when it is opened, whatever the policy.
    pub freed: bool,
    /// When it was last opened, or came, in powered-on milliseconds; 0 where that is not known.
    pub opened: u64,
    /// The torrent of the body before, whose pieces may serve again.
    pub base: Option<InfoHash>,
    pub state: State,
}

/// How much of a torrent is here.
pub enum State {
    Absent,
    Partial(Box<Partial>),
    Whole,
}

/// See [`State::Partial`].
pub struct Partial {
    pub have: Bitfield,
    pub extents: Arc<Vec<Extent>>,
}

impl Torrent {
    /// The commits that named it.
    pub fn introductions(&self) -> Vec<Dot> {
        let mut dots = [&[self.introduced], &self.also[..]].concat();
        dots.retain(|dot| dot.sequence > 0);
        dots
    }
}

impl Vault {
    /// An empty vault; a cache's may hold so many bytes, and older versions are kept so.
    pub fn new(quota: Option<u64>, kept: Retention) -> Self {
        Self { cache: Cache::new(quota), kept, ..Self::default() }
    }

    /// Takes `units` in a row that nobody else has.
    fn take(&mut self, units: u32) -> Location {
        if SLAB_UNITS - self.next.unit < units {
            self.next = Location { slab: self.next.slab + 1, unit: 0 };
        }
        let taken = self.next;
        self.next.unit += units;
        taken
    }

    /// Takes room for one sealed chunk of `length` bytes.
    pub fn take_chunk(&mut self, length: u32) -> Segment {
        Segment::at(self.take(length.div_ceil(UNIT as u32)), length)
    }

    /// Takes room for a run of chunks of a torrent of `length` bytes, in as few extents as slabs allow.
    pub(super) fn take_chunks(&mut self, first: u32, chunks: u32, length: u64, extents: &mut Vec<Extent>) {
        let (mut chunk, end) = (first, first + chunks);
        while chunk < end {
            let left = (SLAB_UNITS - self.next.unit) / CHUNK_UNITS;
            let fit = if left == 0 { SLAB_UNITS / CHUNK_UNITS } else { left };
            let run = fit.min(end - chunk);
            let bytes = (length - u64::from(chunk) * CHUNK_SEALED as u64).min(u64::from(run) * CHUNK_SEALED as u64);
            let location = self.take(bytes.div_ceil(UNIT as u64) as u32);
            push_extent(extents, Extent { chunk, chunks: run, location });
            chunk += run;
        }
    }

    /// Where nothing lies yet.
    pub fn frontier(&self) -> Location {
        self.next
    }

    /// Notes that everything below the end of `extents` is taken.
    pub fn occupy(&mut self, location: Location, units: u32) {
        let end = Location { slab: location.slab, unit: (location.unit + units).min(SLAB_UNITS) };
        self.next = self.next.max(end);
    }
}

/// Appends an extent, joined to the last where they touch.
pub fn push_extent(extents: &mut Vec<Extent>, next: Extent) {
    if let Some(last) = extents.last_mut() {
        let touches = last.chunk + last.chunks == next.chunk
            && last.location.slab == next.location.slab
            && last.location.unit + last.chunks * CHUNK_UNITS == next.location.unit;
        if touches {
            last.chunks += next.chunks;
            return;
        }
    }
    extents.push(next);
}

/// The segments of `length` bytes from byte `from` of a torrent.
pub fn segments(extents: &[Extent], from: u64, length: u64) -> Option<Vec<Segment>> {
    let mut found = Vec::with_capacity(1);
    let (mut at, end) = (from, from + length);
    let mut index = extents.partition_point(|e| u64::from(e.chunk + e.chunks) * CHUNK_SEALED as u64 <= from);
    while at < end {
        let extent = extents.get(index)?;
        let start = u64::from(extent.chunk) * CHUNK_SEALED as u64;
        let stop = (start + u64::from(extent.chunks) * CHUNK_SEALED as u64).min(end);
        if at < start {
            return None;
        }
        let length = u32::try_from(stop - at).ok()?;
        found.push(Segment {
            slab: extent.location.slab,
            offset: extent.location.offset_bytes() + (at - start),
            length,
        });
        at = stop;
        index += 1;
    }
    Some(found)
}

impl<S: Snapshot> Node<S> {
    /// What a record's public part says of its torrent.
    pub fn metainfo(&self, circle: &CircleId, record: &RecordHash) -> Option<Metainfo> {
        let outer = Outer::decode(&self.record_bytes(circle, record)?).ok()?;
        Metainfo::from_public(&outer.info?).ok()
    }

    /// A record named this torrent.
    pub fn introduce_torrent(
        &mut self,
        circle: &CircleId,
        info_hash: InfoHash,
        record: RecordHash,
        dot: Dot,
        length: u64,
    ) {
        let torrent = self.vault.torrents.entry(info_hash).or_insert(Torrent {
            circle: *circle,
            record,
            introduced: dot,
            length,
            also: Vec::new(),
            wanted: false,
            asked: false,
            damaged: false,
            freed: false,
            opened: 0,
            base: None,
            state: State::Absent,
        });
        if torrent.length == 0 {
            torrent.length = length;
        }
        if torrent.introduced.sequence == 0 {
            (torrent.introduced, torrent.record) = (dot, record);
            self.rename_stored_torrent(&info_hash);
            return;
        }
        if torrent.introduced != dot && torrent.also.len() < ALSO_MAX && !torrent.also.contains(&dot) {
            torrent.also.push(dot);
        }
    }

    /// Commits were taken out: what they introduced is known by others, or by none until one names it again.
    pub fn forget_introductions(&mut self, circle: &CircleId, drops: &BTreeMap<Chain, u64>) {
        let gone = |dot: &Dot| drops.get(&dot.chain()).is_some_and(|from| dot.sequence >= *from);
        let mut renamed = Vec::new();
        for (info_hash, torrent) in self.vault.torrents.iter_mut().filter(|(_, torrent)| torrent.circle == *circle) {
            torrent.also.retain(|dot| !gone(dot));
            if gone(&torrent.introduced) {
                let nobody = Dot { sequence: 0, ..torrent.introduced };
                torrent.introduced = torrent.also.pop().unwrap_or(nobody);
                renamed.push(*info_hash);
            }
        }
        for info_hash in renamed {
            self.rename_stored_torrent(&info_hash);
        }
    }

    fn rename_stored_torrent(&mut self, info_hash: &InfoHash) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let stored = self.ledger.get(Table::Torrents, &torrent_key(info_hash)).ok().flatten();
        if let Some(Ok(mut entry)) = stored.map(|bytes| TorrentEntry::decode(&bytes)) {
            (entry.introduced, entry.record) = (torrent.introduced, torrent.record);
            self.ledger.put(Table::Torrents, torrent_key(info_hash), entry.encode());
        }
    }

    /// A reader asks for pieces: the torrent is fetched whatever the policy, these pieces first.
    pub fn fetch_now(&mut self, info_hash: &InfoHash, chunks: std::ops::RangeInclusive<u32>, by: Instant) {
        let Some(torrent) = self.vault.torrents.get_mut(info_hash) else { return };
        let news = !std::mem::replace(&mut torrent.asked, true);
        torrent.freed = false;
        if news {
            self.tell_lack(info_hash);
        }
        self.ask_stock();
        if !self.vault.active.contains_key(info_hash) {
            self.activate(*info_hash, true);
        }
        if let Some(meta) = self.vault.active.get(info_hash) {
            let per_piece = meta.piece_length / CHUNK_SEALED as u32;
            let pieces: Vec<PieceIndex> = (chunks.start() / per_piece..=chunks.end() / per_piece)
                .filter_map(|piece| meta.piece(piece))
                .filter(|piece| !self.has_piece(info_hash, *piece))
                .collect();
            self.swarm.urgent(self.now.instant, *info_hash, &pieces, by);
        }
    }

    pub(super) fn has_piece(&self, info_hash: &InfoHash, piece: PieceIndex) -> bool {
        match self.vault.torrents.get(info_hash).map(|torrent| &torrent.state) {
            Some(State::Whole) => true,
            Some(State::Partial(partial)) => partial.have.has(piece),
            Some(State::Absent) | None => false,
        }
    }

    /// Gives the swarm what is wanted, as long as it has room and somebody online holds it.
    pub fn feed_swarm(&mut self) {
        while self.vault.active.len() < ACTIVE {
            let Some(info_hash) = self.vault.queue.pop_front() else { break };
            self.activate(info_hash, false);
        }
        self.mirror_due();
    }

    /// Those that nobody held are looked at again: somebody came, or told of new holdings.
    pub fn feed_starved(&mut self) {
        let starved = std::mem::take(&mut self.vault.starved);
        self.vault.queue.extend(starved);
    }

    /// Torrents that nobody online holds any more make room for others.
    pub fn rest_unoffered(&mut self) {
        let alone: Vec<_> = self.vault.active.keys().filter(|info_hash| !self.is_offered(info_hash)).copied().collect();
        for info_hash in alone {
            self.vault.active.remove(&info_hash);
            self.swarm.forget(self.now.instant, info_hash);
            self.vault.starved.insert(info_hash);
        }
    }

    /// One that nobody held is looked at again.
    pub fn feed_if_starved(&mut self, info_hash: &InfoHash) {
        if self.vault.starved.remove(info_hash) {
            self.vault.queue.push_back(*info_hash);
        }
    }

    pub(super) fn activate(&mut self, info_hash: InfoHash, reader: bool) {
        let Some(torrent) = self.vault.torrents.get(&info_hash) else { return };
        if matches!(torrent.state, State::Whole)
            || !(reader || self.is_to_be_fetched(&info_hash, torrent))
            || self.vault.active.contains_key(&info_hash)
        {
            return;
        }
        let absent = matches!(torrent.state, State::Absent);
        if absent && (self.waits_for_room(&info_hash) || !reader && !self.has_room(&info_hash)) {
            return;
        }
        let Some(torrent) = self.vault.torrents.get(&info_hash) else { return };
        let offers = self.offers(&info_hash, torrent);
        if offers.is_empty() && !reader {
            self.vault.starved.insert(info_hash);
            return;
        }
        let Some(meta) = self.metainfo(&torrent.circle, &torrent.record) else {
            log::error!("the record that describes a torrent is gone");
            return;
        };
        if matches!(torrent.state, State::Absent) {
            if self.hashes_anew(&info_hash, &meta, reader) {
                return;
            }
            self.lay_out(&info_hash, &meta);
            self.quota.used += meta.length;
        }
        let Some(Torrent { state: State::Partial(partial), .. }) = self.vault.torrents.get(&info_hash) else { return };
        let have = partial.have.clone();
        let layout = Layout { length: meta.length, piece_length: meta.piece_length };
        self.vault.active.insert(info_hash, meta);
        if have.is_full() {
            self.complete(&info_hash);
            self.wake_fetches(&info_hash);
        } else {
            self.swarm.want(self.now.instant, info_hash, layout, have, offers);
        }
    }

    /// Where a whole or partial torrent's chunks lie.
    pub fn layout(&self, info_hash: &InfoHash) -> Option<Arc<Vec<Extent>>> {
        match &self.vault.torrents.get(info_hash)?.state {
            State::Absent => None,
            State::Partial(partial) => Some(partial.extents.clone()),
            State::Whole => {
                if let Some(extents) = self.vault.layouts.get(info_hash) {
                    return Some(extents.clone());
                }
                let bytes = self.ledger.get(Table::Torrents, &torrent_key(info_hash)).ok()??;
                Some(Arc::new(TorrentEntry::decode(&bytes).ok()?.extents))
            }
        }
    }

    /// Keeps the layout of a torrent decoded, of which blocks are about to be read, where that is worth it.
    pub(super) fn keep_layout(&mut self, info_hash: &InfoHash) {
        let worth = |torrent: &Torrent| matches!(torrent.state, State::Whole) && torrent.length >= KEPT_LENGTH;
        if self.vault.torrents.get(info_hash).is_some_and(worth)
            && !self.vault.layouts.renew(info_hash)
            && let Some(extents) = self.layout(info_hash)
        {
            self.vault.layouts.keep(info_hash, extents);
        }
    }

    /// Bytes of a torrent's pieces, remembered for the next time.
    fn piece_length(&mut self, info_hash: &InfoHash) -> Option<u32> {
        if let Some(length) = self.vault.piece_lengths.get(info_hash) {
            return Some(*length);
        }
        let torrent = self.vault.torrents.get(info_hash)?;
        let length = self.metainfo(&torrent.circle, &torrent.record)?.piece_length;
        if self.vault.piece_lengths.len() >= PIECE_LENGTHS {
            self.vault.piece_lengths.pop_first();
        }
        self.vault.piece_lengths.insert(*info_hash, length);
        Some(length)
    }

    /// True when the chunk of a torrent is here.
    pub fn has_chunk(&self, info_hash: &InfoHash, chunk: u32) -> bool {
        match self.vault.torrents.get(info_hash).map(|torrent| (&torrent.state, torrent)) {
            Some((State::Whole, _)) => true,
            Some((State::Partial(partial), torrent)) => {
                let piece_length = match self.vault.active.get(info_hash) {
                    Some(meta) => Some(meta.piece_length),
                    None => self.metainfo(&torrent.circle, &torrent.record).map(|meta| meta.piece_length),
                };
                piece_length.is_some_and(|length| {
                    let piece = PieceIndex(chunk / (length / CHUNK_SEALED as u32));
                    piece.0 < partial.have.len() && partial.have.has(piece)
                })
            }
            Some((State::Absent, _)) | None => false,
        }
    }

    /// Carries the swarm's events out.
    pub fn drain_swarm(&mut self) {
        while let Some(event) = self.swarm.poll() {
            match event {
                Event::Send { conn, channel, head, body } => self.send(conn, channel, head, body),
                Event::Open { conn, channel, info_hash } => self.send_open(conn, channel, info_hash),
                Event::Shut { conn, channel } => self.send_shut(conn, channel),
                Event::Read { ticket, info_hash, piece, begin, length } => {
                    self.upload(ticket, &info_hash, piece, begin, length);
                }
                Event::Store { info_hash, piece, blocks } => self.store_piece(&info_hash, piece, blocks),
                // What is complete was noticed when its last piece was stored.
                Event::Complete { .. } => {}
                Event::Misbehaved { conn, why } => self.close(conn, why),
            }
        }
    }

    fn upload(&mut self, ticket: Ticket, info_hash: &InfoHash, piece: PieceIndex, begin: u32, length: u32) {
        // It may have been lost since it was asked for, and come to lie where nothing is yet.
        if !self.has_piece(info_hash, piece) {
            return self.swarm.read_done(self.now.instant, ticket, None);
        }
        self.keep_layout(info_hash);
        let found = self.piece_length(info_hash).zip(self.layout(info_hash)).and_then(|(piece_length, extents)| {
            let from = u64::from(piece.0) * u64::from(piece_length) + u64::from(begin);
            segments(&extents, from, u64::from(length))
        });
        match found {
            Some(segments) => self.ask(Asked::Upload(ticket), DiskRequest::Read { segments }),
            None => self.swarm.read_done(self.now.instant, ticket, None),
        }
    }

    /// The disk read a block for an upload.
    pub fn upload_read(&mut self, upload: Ticket, result: Result<Bytes, DiskError>) {
        if let Err(error) = &result {
            log::error!("a block could not be read for a friend: {error}");
        }
        self.swarm.read_done(self.now.instant, upload, result.ok());
    }

    fn store_piece(&mut self, info_hash: &InfoHash, piece: PieceIndex, blocks: Vec<Bytes>) {
        match self.piece_place(info_hash, piece) {
            Some((sha1, segments)) => {
                self.ask(Asked::Piece(*info_hash, piece), DiskRequest::Store { sha1, blocks, segments });
            }
            None => self.swarm.stored(self.now.instant, *info_hash, piece, Stored::Failed),
        }
    }

    /// A piece of a torrent: its hash, and where it lies or will lie. Also of one that rests: a piece of it may have been
    /// on its way to the disk when another failed.
    pub(super) fn piece_place(&self, info_hash: &InfoHash, piece: PieceIndex) -> Option<([u8; 20], Vec<Segment>)> {
        let meta = match self.vault.active.get(info_hash) {
            Some(meta) => meta.clone(),
            None => {
                let torrent = self.vault.torrents.get(info_hash)?;
                self.metainfo(&torrent.circle, &torrent.record)?
            }
        };
        let from = u64::from(piece.0) * u64::from(meta.piece_length);
        let segments = segments(&self.layout(info_hash)?, from, u64::from(meta.piece_size(piece)))?;
        Some((meta.piece_hash(piece), segments))
    }

    /// The disk stored a piece, or found that it is not what it should be.
    pub fn piece_stored(&mut self, info_hash: &InfoHash, piece: PieceIndex, result: Result<bool, DiskError>) {
        let stored = match result {
            Ok(true) => {
                let place = self.piece_place(info_hash, piece);
                if let Some(Torrent { state: State::Partial(partial), .. }) = self.vault.torrents.get_mut(info_hash) {
                    partial.have.set(piece);
                    self.vault.dirty.insert(*info_hash);
                    for segment in place.into_iter().flat_map(|(_, segments)| segments) {
                        self.ledger.sync(segment.slab);
                    }
                }
                self.flush_soon();
                Stored::Good
            }
            Ok(false) => Stored::Bad,
            Err(error) => {
                log::error!("a piece could not be stored: {error}");
                Stored::Failed
            }
        };
        self.swarm.stored(self.now.instant, *info_hash, piece, stored);
        match stored {
            Stored::Good => {
                if let Some(Torrent { state: State::Partial(partial), .. }) = self.vault.torrents.get(info_hash)
                    && partial.have.is_full()
                {
                    self.complete(info_hash);
                }
                self.wake_fetches(info_hash);
            }
            Stored::Bad => {}
            Stored::Failed => {
                self.vault.active.remove(info_hash);
                self.swarm.forget(self.now.instant, *info_hash);
                self.vault.starved.insert(*info_hash);
                self.retry_starved_at = Some(self.now.instant + DISK_RETRY);
            }
        }
    }

    fn complete(&mut self, info_hash: &InfoHash) {
        self.vault.active.remove(info_hash);
        self.vault.dirty.remove(info_hash);
        let now = self.uptime_ms();
        let Some(torrent) = self.vault.torrents.get_mut(info_hash) else { return };
        torrent.opened = now;
        let State::Partial(partial) = std::mem::replace(&mut torrent.state, State::Whole) else { return };
        torrent.damaged = false;
        self.put_torrent(info_hash, &partial.extents, None);
        self.after_commit(Effect::Whole(*info_hash));
        self.vault.cache.stir(self.now.instant);
    }

    /// Who of the peers holds a torrent, as far as they told.
    fn offers(&self, info_hash: &InfoHash, torrent: &Torrent) -> Vec<(ConnId, Offer)> {
        self.peers
            .in_circle(&torrent.circle)
            .map(|(conn, peer)| (conn, self.offer_of(peer, info_hash, torrent)))
            .filter(|(_, offer)| *offer != Offer::None)
            .chain(self.stock_conns(info_hash).map(|conn| (conn, Offer::Partial)))
            .collect()
    }

    /// What a peer is believed to hold of a torrent: what it told, and that authors hold what they wrote.
    pub fn offer_of(&self, peer: &super::peers::Peer, info_hash: &InfoHash, torrent: &Torrent) -> Offer {
        use crate::keep::holdings::Offer as Told;
        let told = peer.holdings(&torrent.circle).map(|h| h.offer(info_hash, &torrent.introductions()));
        match told {
            Some(Told::Whole) => Offer::Whole,
            Some(Told::Partial) => Offer::Partial,
            // Authors hold what they wrote, though their telling of it may still be on its way; unless they told that it went.
            Some(Told::None) if peer.member == Some(torrent.introduced.author) => {
                let went = peer.holdings(&torrent.circle).is_some_and(|h| h.denies(info_hash));
                if went { Offer::None } else { Offer::Whole }
            }
            Some(Told::None) | None => Offer::None,
        }
    }

    /// True when some peer that is connected holds at least a part of it.
    pub fn is_offered(&self, info_hash: &InfoHash) -> bool {
        self.vault.torrents.get(info_hash).is_some_and(|torrent| !self.offers(info_hash, torrent).is_empty())
    }

    /// A peer opened a channel for a torrent: what is here of it, if the peer is in its circle.
    pub fn share_of(&self, conn: ConnId, info_hash: &InfoHash) -> Option<(Layout, Bitfield)> {
        let torrent = self.vault.torrents.get(info_hash)?;
        self.peers.get(conn).filter(|peer| peer.shares(&torrent.circle))?;
        let layout = |meta: &Metainfo| Layout { length: meta.length, piece_length: meta.piece_length };
        let meta = match self.vault.active.get(info_hash) {
            Some(meta) => meta.clone(),
            None => self.metainfo(&torrent.circle, &torrent.record)?,
        };
        match &torrent.state {
            State::Absent => None,
            State::Partial(partial) => Some((layout(&meta), partial.have.clone())),
            State::Whole => Some((layout(&meta), Bitfield::full(meta.piece_count()))),
        }
    }

    /// Nothing was fetched before the first settle; whatever the loaded trees want is in the queue.
    pub fn start_vault(&mut self) {
        let next = self.vault.next;
        log::debug!("the next chunk goes to slab {} at unit {}", next.slab, next.unit);
    }
}

/// After the disk failed to store a piece, the torrent rests so long.
const DISK_RETRY: Duration = Duration::from_secs(30);

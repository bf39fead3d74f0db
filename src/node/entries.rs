//! Torrents as the ledger has them: read at the start, written when a piece came, when a body was published, and when what
//! is known of them changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::vault::{CHUNK_UNITS, Partial, State, Torrent};
use super::{Effect, Node, StartError};
use crate::base::{InfoHash, Snapshot, Table};
use crate::ledger::values::{Extent, TorrentEntry, torrent_key};
use crate::wire::peer::Bitfield;

impl<S: Snapshot> Node<S> {
    /// Reads the layouts' states; where the next chunk goes follows from them.
    pub fn load_torrents(&mut self) -> Result<(), StartError> {
        let (mut entries, mut since_stored) = (Vec::new(), BTreeMap::new());
        self.ledger.range(Table::Torrents, &[], &[0xff; 21], &mut |key, value| {
            entries.push((InfoHash::from_slice(key), TorrentEntry::decode(value)));
            true
        })?;
        for (info_hash, entry) in entries {
            let Some(info_hash) = info_hash else {
                return Err(StartError::Broken("a torrent's key is not an info-hash".into()));
            };
            let entry = entry?;
            for extent in &entry.extents {
                self.vault.occupy(extent.location, extent.chunks * CHUNK_UNITS);
            }
            let known = (entry.length > 0).then_some(entry.length);
            let length = known.or_else(|| Some(self.metainfo(&entry.circle, &entry.record)?.length)).unwrap_or(0);
            self.vault.share(&entry.extents, length);
            if let Some(since) = entry.kept {
                since_stored.insert(info_hash, since);
            }
            self.load_cached(&info_hash, &entry);
            let freed = entry.extents.is_empty() && !self.is_cached(&entry.circle);
            let state = match entry.have {
                None => State::Whole,
                Some(_) if entry.extents.is_empty() => State::Absent,
                Some(bytes) => {
                    let pieces = self.metainfo(&entry.circle, &entry.record).map_or(0, |meta| meta.piece_count());
                    match Bitfield::from_bytes(&bytes, pieces) {
                        Ok(have) => State::Partial(Box::new(Partial { have, extents: Arc::new(entry.extents) })),
                        Err(_) => State::Absent,
                    }
                }
            };
            if entry.damaged {
                self.vault.queue.push_back(info_hash);
            }
            self.vault.torrents.insert(
                info_hash,
                Torrent {
                    circle: entry.circle,
                    record: entry.record,
                    introduced: entry.introduced,
                    length,
                    also: Vec::new(),
                    wanted: false,
                    asked: entry.damaged,
                    damaged: entry.damaged,
                    freed,
                    opened: entry.wanted,
                    base: None,
                    state,
                },
            );
        }
        self.vault.loading = Some(since_stored);
        Ok(())
    }

    /// A body of ours was published: its torrent is whole.
    pub fn own_torrent(&mut self, info_hash: &InfoHash, extents: Vec<Extent>) {
        let Some(torrent) = self.vault.torrents.get_mut(info_hash) else { return };
        let length = torrent.length;
        self.vault.share(&extents, length);
        let now = self.uptime_ms();
        let Some(torrent) = self.vault.torrents.get_mut(info_hash) else { return };
        torrent.opened = now;
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let before = match &torrent.state {
            // It was here already, and who knows how its bytes have fared since: those that were just written count.
            State::Whole => match self.layout(info_hash) {
                Some(before) => Some(before),
                None => return self.give_up(&extents, length),
            },
            State::Partial(partial) => Some(partial.extents.clone()),
            State::Absent => None,
        };
        if let Some(torrent) = self.vault.torrents.get_mut(info_hash) {
            (torrent.state, torrent.damaged, torrent.freed) = (State::Whole, false, false);
        }
        if let Some(before) = before {
            self.give_up(&before, length);
        }
        self.vault.dirty.remove(info_hash);
        if self.vault.active.remove(info_hash).is_some() {
            self.swarm.forget(self.now.instant, *info_hash);
        }
        self.put_torrent(info_hash, &extents, None);
        self.keep_layout(info_hash);
        self.after_commit(Effect::Whole(*info_hash));
        self.note_kept(info_hash);
    }

    pub(super) fn put_torrent(&mut self, info_hash: &InfoHash, extents: &[Extent], have: Option<Vec<u8>>) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let entry = TorrentEntry {
            circle: torrent.circle,
            record: torrent.record,
            introduced: torrent.introduced,
            extents: extents.to_vec(),
            have,
            wanted: if self.is_cached(&torrent.circle) { self.vault.cache.number(info_hash) } else { torrent.opened },
            length: torrent.length,
            kept: self.vault.kept.since(info_hash),
            damaged: torrent.damaged,
        };
        // Of a torrent that is partly here each piece has its slab synced; the others may lie in slabs yet to be made.
        if entry.have.is_none() {
            for extent in extents {
                self.ledger.sync(extent.location.slab);
            }
        }
        self.ledger.put(Table::Torrents, torrent_key(info_hash), entry.encode());
        self.vault.layouts.forget(info_hash);
    }

    /// Writes the bitfields that changed into the gathering batch.
    pub fn store_partials(&mut self) {
        self.store_numbers();
        for info_hash in std::mem::take(&mut self.vault.dirty) {
            let Some(Torrent { state: State::Partial(partial), .. }) = self.vault.torrents.get(&info_hash) else {
                continue;
            };
            let (extents, have) = (partial.extents.clone(), partial.have.as_bytes().to_vec());
            self.put_torrent(&info_hash, &extents, Some(have));
        }
    }
}

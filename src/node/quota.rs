//! A member's quota: what was opened last stays, and what others hold goes first by when it was last opened.
//!
//! The quota counts the bodies that files show now; older versions have room of their own. Unasked, only what fits is fetched;
//! what is opened, pinned or written here comes in all the same, and others go for it as [`freeing`](super::freeing) lets them:
//! never drafts, what is open or pinned, or what too few others hold.

use std::collections::BTreeMap;
use std::time::Duration;

use super::files::DraftKey;
use super::read::torrent_of;
use super::status::RoomStatus;
use super::vault::{State, Torrent};
use super::{Fetch, Node};
use crate::base::{InfoHash, Instant, Snapshot};

/// After something changed it is looked what is to go, no more often.
const LOOK: Duration = Duration::from_secs(1);
/// What could not go is not tried again before.
const REST: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub struct Quota {
    bytes: Option<u64>,
    /// Bytes of the bodies that are here, as it was last counted.
    pub(super) used: u64,
    look_at: Option<Instant>,
    rests: BTreeMap<InfoHash, Instant>,
    /// Something was not fetched, since there was no room.
    waiting: bool,
}

impl Quota {
    pub(super) fn new(bytes: Option<u64>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

impl<S: Snapshot> Node<S> {
    /// A file is opened: of what is here its body is wanted last.
    pub(super) fn note_opened(&mut self, key: &DraftKey) {
        if self.quota.bytes.is_none() {
            return;
        }
        let Some(info_hash) = self.view(key).and_then(|view| torrent_of(&view.body)) else { return };
        let now = self.uptime_ms();
        if let Some(torrent) = self.vault.torrents.get_mut(&info_hash) {
            torrent.opened = now;
            // It is written with what is to be written anyway.
            self.note_number(&info_hash);
        }
    }

    /// Something came or went.
    pub(super) fn quota_soon(&mut self) {
        if self.quota.bytes.is_some() {
            self.quota.look_at.get_or_insert(self.now.instant + LOOK);
        }
    }

    pub(super) fn quota_timeout(&self) -> Option<Instant> {
        self.quota.look_at
    }

    /// True for a body that counts for the quota.
    fn counts(&self, torrent: &Torrent) -> bool {
        let here = torrent.wanted && !matches!(torrent.state, State::Absent);
        here && self.circles.get(&torrent.circle).is_some_and(|circle| circle.readable())
    }

    /// True where a body may be fetched though nobody asked for it.
    pub(super) fn has_room(&mut self, info_hash: &InfoHash) -> bool {
        let (Some(bytes), Some(torrent)) = (self.quota.bytes, self.vault.torrents.get(info_hash)) else { return true };
        // What files show is not known, and so not what takes how much.
        if self.is_locked() && !torrent.asked {
            return false;
        }
        if torrent.asked || self.mirrors(&torrent.circle) || self.is_pinned_body(&torrent.circle, info_hash) {
            return true;
        }
        let fits = self.quota.used + torrent.length <= bytes;
        self.quota.waiting |= !fits;
        fits
    }

    /// Lets go what is too much, and fetches what there is room for again.
    pub(super) fn quota_due(&mut self) {
        let (now, Some(bytes)) = (self.now.instant, self.quota.bytes) else { return };
        if self.quota.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.quota.look_at = None;
        if self.is_locked() || self.stopping.is_some() {
            return;
        }
        self.quota.rests.retain(|_, until| *until > now);
        let here = || self.vault.torrents.iter().filter(|(_, torrent)| self.counts(torrent));
        let used: u64 = here().map(|(_, torrent)| torrent.length).sum();
        let mut oldest = Vec::new();
        if used > bytes && !self.frees_for_room() {
            oldest.extend(here().map(|(info_hash, torrent)| (torrent.opened, *info_hash, torrent.length)));
            oldest.retain(|(_, info_hash, _)| !self.quota.rests.contains_key(info_hash));
            oldest.sort_unstable();
        }
        self.quota.used = used;
        let mut over = used.saturating_sub(bytes);
        let mut goes = Vec::new();
        for (_, info_hash, length) in oldest {
            let Some(torrent) = self.vault.torrents.get(&info_hash).filter(|_| over > 0) else { break };
            if !self.is_pinned_body(&torrent.circle, &info_hash) {
                over = over.saturating_sub(length);
                goes.push(info_hash);
            }
        }
        if !goes.is_empty() {
            return self.free_for_room(goes);
        }
        if used > bytes {
            // What could not go may be able to then.
            self.quota.look_at = Some(now + REST);
        } else if std::mem::take(&mut self.quota.waiting) && self.config.fetch == Fetch::Everything {
            self.fetch_what_fits(bytes - used);
        }
    }

    /// How full it is, where one is set.
    pub(super) fn room_status(&self) -> Option<RoomStatus> {
        self.quota.bytes.map(|quota_bytes| RoomStatus { held_bytes: self.quota.used, quota_bytes })
    }

    /// These could not go.
    pub(super) fn rest_for_room(&mut self, stay: impl IntoIterator<Item = InfoHash>) {
        let until = self.now.instant + REST;
        self.quota.rests.extend(stay.into_iter().map(|info_hash| (info_hash, until)));
        self.quota_soon();
    }

    /// Somebody told what it holds: what could not go may be able to now.
    pub(super) fn quota_news(&mut self) {
        if !self.quota.rests.is_empty() {
            self.quota.rests.clear();
            self.quota.look_at = Some(self.now.instant + LOOK);
        }
    }

    fn fetch_what_fits(&mut self, room: u64) {
        let absent = self.vault.torrents.iter().filter(|(_, torrent)| {
            torrent.wanted && !torrent.freed && torrent.length <= room && matches!(torrent.state, State::Absent)
        });
        let absent: Vec<InfoHash> = absent.map(|(info_hash, _)| *info_hash).collect();
        self.vault.queue.extend(absent);
    }
}

//! What the node tells about itself: status, friends and transfers, for the API.

use super::Node;
use super::status::{
    CacheStatus, CircleStatus, Friend, OwnersDisk, PairingStatus, SignInStatus, Source, State, Status, Traffic,
    Transfer, Transfers,
};
use super::vault::State as Held;
use crate::base::{CircleId, ConnId, InfoHash, Snapshot};
use crate::keep::cache::Standing;
use crate::swarm::Offer;
use crate::tree::Seen;
use crate::wire::record::Kind;
use crate::wire::statement::Role;

impl<S: Snapshot> Node<S> {
    /// The node's part of the status; `os` adds the mount, the disk and the memory.
    pub fn status(&self) -> Status {
        let mut circles: Vec<_> =
            self.circles.values().filter(|circle| circle.role().is_some() || circle.left).collect();
        circles.sort_by_key(|circle| (!circle.home, circle.roster.name().to_string()));
        let mut problems: Vec<String> = self.config.problem.iter().cloned().collect();
        if let Some(trouble) = &self.trouble {
            problems.push(trouble.to_string());
        }
        problems.extend(self.damage_words());
        let reads = circles.iter().any(|circle| circle.readable());
        Status {
            name: self.me.device.name.clone(),
            device: self.me.device.id().hex(),
            version: env!("CARGO_PKG_VERSION").into(),
            state: match reads {
                _ if self.is_locked() => State::Locked,
                true => State::Full,
                false => State::Cache,
            },
            led: self.led(),
            mount: None,
            listen: self.listening.iter().map(ToString::to_string).collect(),
            circles: circles.into_iter().map(|circle| self.circle_status(circle)).collect(),
            connections: self.peers.all().filter(|(_, peer)| !peer.protocol.is_guest()).count() as u64,
            uptime_s: self.now.instant.0 / 1_000_000,
            disk_total: 0,
            disk_free: 0,
            memory: None,
            passphrase: None,
            cache: self.cache_status(),
            scrub: self.scrub_status(),
            room: self.room_status().filter(|_| reads),
            safety: self.safety_status().filter(|_| reads),
            sign_in: self.sign_in_pending().map(|code| SignInStatus { code, shown: self.code_shown() }),
            pairing: PairingStatus { shown: self.code_shown(), ..self.pairing_status() },
            problems,
            held: self.held_changes(),
            disks: self.disks.clone(),
        }
    }

    /// These disks of their owner's are here now: `os` tells it when that changes.
    pub fn disks(&mut self, now: crate::base::Now, disks: Vec<OwnersDisk>) {
        (self.now, self.disks) = (now, disks);
        self.settle();
    }

    /// What is damaged here and cannot be fetched just now.
    fn damage_words(&self) -> Option<String> {
        let lost = self.lost_for_now();
        let named: Vec<&str> = lost.iter().take(FILES_NAMED).map(String::as_str).collect();
        let more = match lost.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!lost.is_empty()).then(|| {
            let named = named.join(", ");
            format!("damaged on this disk, and nobody who is online has it: {named}{more}; it is fetched when a friend who has it is online")
        })
    }

    #[cfg(feature = "panel")]
    fn led(&self) -> Option<String> {
        Some(self.front_state().words().into())
    }

    #[cfg(not(feature = "panel"))]
    fn code_shown(&self) -> bool {
        false
    }

    #[cfg(not(feature = "panel"))]
    fn led(&self) -> Option<String> {
        None
    }

    fn cache_status(&self) -> Option<CacheStatus> {
        let cache = &self.vault.cache;
        self.caches_any().then(|| CacheStatus {
            held_bytes: cache.used(),
            quota_bytes: Some(cache.quota()).filter(|quota| *quota < u64::MAX),
            evicted_torrents: cache.evicted(),
            evictions: cache.evictions(),
        })
    }

    fn circle_status(&self, circle: &super::circle::Circle) -> CircleStatus {
        let torrents = self.vault.torrents.iter().filter(|(_, torrent)| torrent.circle == circle.id);
        let (mut wanted, mut held) = (0, 0);
        for (info_hash, torrent) in torrents {
            match torrent.state {
                Held::Whole => held += 1,
                _ if torrent.wanted
                    && !torrent.freed
                    && self.vault.cache.standing(info_hash) != Some(Standing::Gone) =>
                {
                    wanted += 1
                }
                _ => {}
            }
        }
        let drafts = self.files.drafts.iter().filter(|(key, _)| key.circle == circle.id);
        let mut sheets = self.own_sheets(circle);
        CircleStatus {
            name: self.shown_name(circle),
            id: circle.id.hex(),
            role: circle.kept_role().unwrap_or(Role::Cache),
            left: circle.left,
            members: circle.roster.present().count() as u64,
            online: self.peers.in_circle(&circle.id).count() as u64,
            objects: circle.tree.len() as u64,
            bytes: circle.tree.bytes(),
            unpublished: drafts.filter(|(_, draft)| draft.dirty && !draft.orphan).count() as u64,
            wanted_torrents: wanted,
            held_torrents: held,
            epoch_number: circle.current().map_or(0, |(_, epoch)| epoch.number),
            forks: circle.forks.values().map(|fork| fork.words.clone()).collect(),
            conflicts: circle.tree.conflicts() as u64,
            lacks_sheet: self.prints_sheet(circle) && sheets.is_empty(),
            older_sheets: sheets.len().saturating_sub(1) as u64,
            sheet: sheets.pop(),
        }
    }

    /// Every member of every circle but this node.
    pub fn friends(&self) -> Vec<Friend> {
        let mut friends = Vec::new();
        for circle in self.circles.values() {
            let torrents = self.vault.torrents.values().filter(|torrent| torrent.circle == circle.id).count();
            for member in circle.roster.members() {
                if member.device.member == self.me.device.member {
                    continue;
                }
                let guest = member.device.is_guest();
                let online = self
                    .peers
                    .all()
                    .find(|(_, peer)| peer.transport == member.device.transport && (guest || peer.shares(&circle.id)));
                let traffic = self.traffic_with(&member.device.transport);
                friends.push(Friend {
                    circle: self.shown_name(circle),
                    name: member.name.clone(),
                    device: member.device.id().hex(),
                    role: member.role,
                    online: online.is_some(),
                    address: online.map(|(_, peer)| peer.remote.to_string()),
                    uploaded: traffic.0,
                    downloaded: traffic.1,
                    last_seen_s: online.map(|_| 0).or_else(|| {
                        let seen = self.past.get(&member.device.transport)?.seen;
                        Some(self.now.instant.since(seen).as_secs())
                    }),
                    removed: member.removed,
                    sheet: member.sheet,
                    holds_torrents: online
                        .filter(|_| torrents <= TORRENTS_COUNTED)
                        .map(|(_, peer)| self.held_by(peer, &circle.id)),
                    all_torrents: torrents as u64,
                });
            }
        }
        friends.sort_by(|a, b| (&a.circle, &a.name).cmp(&(&b.circle, &b.name)));
        friends
    }

    /// Torrents of a circle that a peer has whole.
    fn held_by(&self, peer: &super::peers::Peer, circle: &CircleId) -> u64 {
        let of_circle = self.vault.torrents.iter().filter(|(_, torrent)| torrent.circle == *circle);
        of_circle.filter(|(info_hash, torrent)| self.offer_of(peer, info_hash, torrent) == Offer::Whole).count() as u64
    }

    /// Bytes that went to and came from a device since the start, connections that ended included.
    fn traffic_with(&self, transport: &crate::base::TransportKey) -> (u64, u64) {
        let past = self.past.get(transport).map_or((0, 0), |past| (past.uploaded, past.downloaded));
        let conns = self.peers.all().filter(|(_, peer)| peer.transport == *transport);
        let now = conns.map(|(conn, _)| self.swarm.traffic(self.now.instant, conn));
        now.fold(past, |sum, now| (sum.0 + now.uploaded, sum.1 + now.downloaded))
    }

    /// What is being fetched, and from whom.
    pub fn transfers(&self) -> Transfers {
        let now = self.now.instant;
        let transfers = self.swarm.progress(now).into_iter().map(|progress| {
            let torrent = self.vault.torrents.get(&progress.info_hash);
            let circle = torrent.and_then(|torrent| self.circles.get(&torrent.circle));
            let length = self.vault.active.get(&progress.info_hash).map_or(0, |meta| meta.length);
            Transfer {
                info_hash: progress.info_hash.hex(),
                circle: circle.map(|circle| self.shown_name(circle)).unwrap_or_default(),
                name: circle.and_then(|circle| file_name(circle, &progress.info_hash)),
                have_bytes: length.saturating_sub(progress.missing_bytes),
                total_bytes: length,
                rate_down: progress.rate,
                sources: progress
                    .sources
                    .into_iter()
                    .map(|(conn, bytes)| Source { name: self.name_of_conn(conn), bytes })
                    .collect(),
            }
        });
        let mut traffic = Vec::new();
        let mut told = std::collections::BTreeSet::new();
        for member in self.circles.values().flat_map(|circle| circle.roster.members()) {
            let transport = member.device.transport;
            if member.sheet {
                continue;
            }
            if transport == self.me.device.transport || !told.insert(transport) {
                continue;
            }
            let (uploaded, downloaded) = self.traffic_with(&transport);
            let live = self.peers.by_key(&transport).map(|(conn, _)| self.swarm.traffic(now, conn));
            traffic.push(Traffic {
                name: member.name.clone(),
                device: member.device.id().hex(),
                uploaded,
                downloaded,
                rate_up: live.as_ref().map_or(0, |live| live.upload_rate),
                rate_down: live.as_ref().map_or(0, |live| live.download_rate),
            });
        }
        Transfers { transfers: transfers.collect(), traffic }
    }

    fn name_of_conn(&self, conn: ConnId) -> String {
        let Some(peer) = self.peers.get(conn) else { return "somebody who left".into() };
        let named = self.circles.values().find_map(|circle| {
            let (device, _) = circle.roster.member_by_transport(&peer.transport)?;
            circle.roster.name_of(&device.member).map(str::to_string)
        });
        named.unwrap_or_else(|| peer.transport.to_string())
    }

    /// How often each kind of conflict occurred, over all circles; the simulator wants none to be zero.
    pub fn conflict_counts(&self) -> crate::tree::Counts {
        let mut all = crate::tree::Counts::default();
        for circle in self.circles.values() {
            let counts = circle.tree.counts();
            all.move_cycles += counts.move_cycles;
            all.name_clashes += counts.name_clashes;
            all.edit_edit += counts.edit_edit;
            all.edit_delete += counts.edit_delete;
        }
        all
    }

    /// Everything that a circle shows, as path, kind and content's identity: equal on nodes that agree.
    pub fn listing(&self, circle: &str) -> Vec<(Vec<u8>, Kind, String)> {
        let Some(circle) = self.circle_named(circle).and_then(|id| self.circles.get(&id)) else { return Vec::new() };
        let mut all = Vec::new();
        let mut open = vec![(Vec::new(), circle.tree.root())];
        while let Some((path, directory)) = open.pop() {
            for (name, seen, kind) in circle.tree.list(&directory, None, usize::MAX) {
                let path = [&path[..], b"/", &name].concat();
                let body = circle.tree.body(&seen).map(|version| format!("{:?}", version.body)).unwrap_or_default();
                if kind == Kind::Directory {
                    open.push((path.clone(), seen.object));
                }
                all.push((path, kind, body));
            }
        }
        all.sort();
        all
    }
}

/// The name of some file whose body is in this torrent.
fn file_name(circle: &super::circle::Circle, info_hash: &InfoHash) -> Option<String> {
    let (object, _) = circle.tree.holders(info_hash).next()?;
    let (_, name) = circle.tree.location(&Seen::of(object))?;
    Some(String::from_utf8_lossy(&name).into_owned())
}

/// Damaged files that the status names.
const FILES_NAMED: usize = 8;
/// Torrents of a circle that are counted for each friend: beyond that it takes too long.
const TORRENTS_COUNTED: usize = 10_000;

//! Caches with little room: what must hold of them in every world, and scenes of who meets whom.

use std::time::Duration;

use bytes::Bytes;
use dustfs::base::{InfoHash, Snapshot as _, Table};
use dustfs::ledger::values::{TorrentEntry, torrent_key};
use dustfs::node::status::CacheStatus;
use dustfs::wire::control::Control;
use dustfs::wire::statement::Role;

use super::model;
use super::set_back::Scene;
use super::work::MARK;
use super::world::World;

/// Pieces that a disk refused are tried again within this time, and what just went rests so long.
const GRACE_US: u64 = 600_000_000;
/// What goes is told within this time.
const TELL_US: u64 = 200_000;
/// So long nobody wants anything of a cache.
const QUIET_US: u64 = 3_600_000_000;

impl World {
    /// How much a cache may keep: half of them have little room.
    pub fn draw_quota(&mut self) -> Option<u64> {
        self.rng.chance(2, 3).then(|| 70_000 + self.rng.below(3_000_000))
    }

    /// True when a file of somebody's shows a torrent.
    pub fn is_shown(&self, info_hash: &InfoHash) -> bool {
        let readers = self.machines.iter().filter(|machine| machine.role.is_some_and(Role::reads));
        readers.filter_map(|machine| machine.node.as_ref()).any(|node| node.shows(info_hash))
    }

    /// True when somebody who may read has all of it.
    pub fn is_held(&self, info_hash: &InfoHash) -> bool {
        let readers = self.machines.iter().filter(|machine| machine.role.is_some_and(Role::reads));
        readers.map(|machine| &machine.disk.store).any(|store| is_whole(store, info_hash))
    }

    fn cache(&self, at: usize) -> Option<CacheStatus> {
        self.machines[at].node.as_ref()?.status().cache
    }

    /// Whom a cache can ask, as far as it knows.
    pub fn note_met(&mut self, at: usize) {
        if self.machines[at].role == Some(Role::Cache) {
            let ends = self.machines[at].conns.values().map(|(link, side)| self.links[link].ends[1 - side].machine);
            let there: Vec<usize> = ends.collect();
            let now = self.now;
            self.machines[at].met.extend(there.into_iter().map(|other| (other, now)));
        }
    }

    /// What a cache had whole and lets go is whole and durable on the disk of a member that it was connected to.
    pub fn check_gone(&mut self, at: usize, payload: &Bytes) {
        if self.machines[at].role != Some(Role::Cache) || self.lost_anything() || self.chaos_state.lies {
            return;
        }
        let Ok(Some(Control::Holdings(holdings))) = Control::decode(payload) else { return };
        self.machines[at].told_whole.extend(&holdings.whole);
        self.machines[at].told_whole.retain(|info_hash| !holdings.partial.contains(info_hash));
        if holdings.reset == 1 {
            return;
        }
        for info_hash in &holdings.gone {
            // Of what it began to fetch again nothing may be here.
            if !self.machines[at].told_whole.remove(info_hash) {
                continue;
            }
            *self.counts.entry("evictions told".into()).or_default() += 1;
            let met = self.machines[at].met.iter().filter(|(_, when)| **when + TELL_US >= self.now);
            let members = met.map(|(at, _)| &self.machines[*at]).filter(|other| other.role.is_some_and(Role::reads));
            // An older version is not kept for ever by anybody.
            if !self.is_shown(info_hash) {
                continue;
            }
            if !members.map(|member| &member.disk.store).any(|store| is_whole(store, info_hash)) {
                self.broken(&format!("{} lets the last copy of {info_hash} go", self.machines[at].name));
            }
        }
    }

    /// When all is well, caches keep their quota and come to rest.
    pub fn check_quotas(&mut self) {
        let bounded = |at: &usize| self.machines[*at].config.quota.is_some();
        let caches: Vec<usize> = self.caches().into_iter().filter(bounded).collect();
        if caches.is_empty() {
            return;
        }
        let end = self.now + GRACE_US;
        self.run_until(end);
        let before: Vec<u64> = caches.iter().map(|at| self.cache(*at).map_or(0, |cache| cache.evictions)).collect();
        *self.counts.entry("caches with a quota".into()).or_default() += caches.len() as u64;
        *self.counts.entry("evictions".into()).or_default() += before.iter().sum::<u64>();
        let end = self.now + QUIET_US;
        self.run_until(end);
        for (at, before) in caches.iter().zip(before) {
            let Some(cache) = self.cache(*at) else { continue };
            let machine = &self.machines[*at];
            let (name, quota) = (&machine.name, machine.config.quota.unwrap_or(u64::MAX));
            if cache.evictions > before {
                self.broken(&format!("{name} goes on letting things go: {before}, then {}", cache.evictions));
            }
            // What only a removed member had stays.
            if cache.held_bytes > quota && !self.lost_anything() {
                self.broken(&format!("{name} holds {} bytes of {quota}", cache.held_bytes));
            }
            // A power cut between the ledger and the slabs leaves bytes that nobody names.
            if machine.run == 1 && machine.disk.bytes() > cache.held_bytes {
                self.broken(&format!("{name} has {} bytes on its disk: {cache:?}", machine.disk.bytes()));
            }
        }
    }
}

pub(super) fn is_whole(store: &super::disk::Store, info_hash: &InfoHash) -> bool {
    let stored = store.get(Table::Torrents, &torrent_key(info_hash)).ok().flatten();
    stored.is_some_and(|bytes| TorrentEntry::decode(&bytes).is_ok_and(|entry| entry.have.is_none()))
}

const MINUTE: Duration = Duration::from_secs(60);
/// Who was away is dialled again within this time.
const MEETING: Duration = Duration::from_secs(400);
/// Bytes of a file of the scenes, plain and sealed.
const FILE: usize = 200_000;
const SEALED: u64 = 200_704;

pub(super) fn put(scene: &mut Scene, at: usize, name: &str) {
    let mut content = vec![0; FILE];
    scene.0.rng.fill(&mut content);
    content[..MARK.len()].copy_from_slice(MARK);
    let root = scene.root(at);
    scene.0.put(at, root, name, content);
    scene.pass(Duration::from_secs(2));
}

/// The names of the files that a machine can read to their ends.
fn readable(scene: &Scene, at: usize) -> Vec<String> {
    let machine = &scene.0.machines[at];
    let node = machine.node.as_ref().expect("it runs");
    let files = scene.0.files(at).into_iter();
    let here = files.filter(|(_, inode)| matches!(model::read_whole(node, &machine.disk, *inode), Ok(Ok(_))));
    here.map(|(path, _)| String::from_utf8_lossy(&path[1..]).into_owned()).collect()
}

fn cache(scene: &Scene, at: usize) -> CacheStatus {
    scene.0.cache(at).expect("it is a cache")
}

/// A member, another that is never awake with it, and a cache; nothing is on demand.
fn strangers(seed: u64, quota: Option<u64>) -> Scene {
    let mut scene = Scene::with_quota(seed, &[Role::Keeper, Role::Member, Role::Cache], quota);
    for at in 0..2 {
        scene.0.machines[at].config.fetch = dustfs::node::Fetch::Everything;
        scene.restart(at);
    }
    scene.settle();
    scene
}

#[test]
fn two_that_are_never_awake_together_converge_through_a_cache() {
    for seed in 0..6 {
        let mut scene = strangers(seed, None);
        scene.meet(&[0, 2]);
        put(&mut scene, 0, "of-the-keeper");
        scene.pass(MINUTE);
        scene.meet(&[1, 2]);
        scene.pass(MEETING);
        assert_eq!(readable(&scene, 1), ["of-the-keeper"], "seed {seed}");
        put(&mut scene, 1, "of-the-member");
        scene.pass(MINUTE);
        scene.meet(&[0, 2]);
        scene.pass(MEETING);
        assert_eq!(readable(&scene, 0), ["of-the-keeper", "of-the-member"], "seed {seed}");
    }
}

/// The cache has room for two files of six: what a member still lacks is fetched for it while the other is there, and what
/// nobody who is there has stays, though newer files have no room for it.
#[test]
fn they_converge_also_through_a_cache_that_holds_a_third_of_it() {
    for seed in 0..6 {
        let mut scene = strangers(seed, Some(2 * SEALED + 4_096));
        scene.meet(&[0, 2]);
        let names = ["a", "b", "c", "d", "e", "f"];
        for name in names {
            put(&mut scene, 0, name);
        }
        scene.pass(MINUTE);
        let full = cache(&scene, 2);
        assert_eq!((full.held_bytes, full.evicted_torrents), (2 * SEALED, 4), "seed {seed}");
        // What the member took was wanted last: the rest has its turn when it was missed once more.
        for _ in 0..6 {
            scene.meet(&[1, 2]);
            scene.pass(MEETING);
            scene.meet(&[0, 2]);
            scene.pass(MEETING);
            assert_eq!(cache(&scene, 2).held_bytes, 2 * SEALED, "seed {seed}");
        }
        assert_eq!(readable(&scene, 1), names, "seed {seed}");
    }
}

/// A member publishes and is gone: the cache has the only copy, and keeps it however much is published after.
#[test]
fn what_a_vanished_member_left_stays() {
    for seed in 0..6 {
        let mut scene = strangers(seed, Some(2 * SEALED + 4_096));
        scene.meet(&[0, 2]);
        put(&mut scene, 0, "last");
        put(&mut scene, 0, "words");
        scene.pass(MINUTE);
        // The other one does not fetch it, and has much to say.
        scene.0.machines[1].config.fetch = dustfs::node::Fetch::OnDemand;
        scene.restart(1);
        scene.meet(&[1, 2]);
        scene.pass(MEETING);
        for name in ["1", "2", "3"] {
            put(&mut scene, 1, name);
        }
        scene.pass(MINUTE);
        assert_eq!(cache(&scene, 2).evictions, 0, "seed {seed}");
        scene.restart(2);
        scene.pass(MEETING);
        assert_eq!(cache(&scene, 2).evictions, 0, "seed {seed}");
        scene.0.machines[1].config.fetch = dustfs::node::Fetch::Everything;
        scene.restart(1);
        scene.pass(MEETING);
        assert_eq!(readable(&scene, 1), ["1", "2", "3", "last", "words"], "seed {seed}");
        // Now a member that is there has them: there is room for what is newer, if only for one.
        put(&mut scene, 1, "4");
        scene.pass(MINUTE);
        let now = cache(&scene, 2);
        assert_eq!((now.held_bytes, now.evictions), (2 * SEALED, 1), "seed {seed}");
    }
}

/// The power of a cache is cut again and again while things come and go: it keeps its quota, and forgets nothing of what
/// went.
#[test]
fn a_cut_while_things_come_and_go_loses_nothing() {
    for seed in 0..6 {
        let mut scene = strangers(seed, Some(2 * SEALED + 4_096));
        for number in 0..12 {
            put(&mut scene, 0, &format!("{number:02}"));
            scene.pass(Duration::from_millis(150 * number));
            scene.restart(2);
        }
        scene.pass(MEETING);
        let now = cache(&scene, 2);
        assert_eq!(now.held_bytes, 2 * SEALED, "seed {seed}");
        let before = now.evictions;
        scene.restart(2);
        scene.pass(MEETING);
        let now = cache(&scene, 2);
        assert_eq!((now.held_bytes, now.evictions), (2 * SEALED, 0), "seed {seed}: {before} before");
        // But for what was written last, and noted by nobody before a cut.
        let bytes = scene.0.machines[2].disk.bytes();
        assert!(bytes <= 3 * SEALED, "seed {seed}: {bytes} bytes are on the disk");
    }
}

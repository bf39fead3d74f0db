//! Bytes that rot at rest: a full check finds them all, and friends bring them anew.

use std::collections::{BTreeMap, BTreeSet};

use dustfs::base::{InfoHash, Snapshot, Table};
use dustfs::ledger::values::TorrentEntry;
use dustfs::node::io::Op;
use dustfs::wire::statement::Role;

use super::work::What;
use super::world::World;

/// Torrents that rot in one world.
const ROTTEN: usize = 12;

impl World {
    /// Lets bytes rot of what two machines at least have whole and show, on one of them, and has all machines checked. None
    /// may be found damaged a second time.
    pub fn rot_at_rest(&mut self) {
        if self.lost_anything() || self.rng.chance(1, 2) {
            return;
        }
        let rotten = self.rot();
        let found: BTreeMap<usize, u64> = self.check_all();
        for (at, torrents) in &rotten {
            let damaged = found.get(at).copied().unwrap_or(0);
            if damaged != torrents.len() as u64 {
                let of = torrents.len();
                self.broken(&format!("{} found {damaged} damaged torrents of {of}", self.machines[*at].name));
            }
        }
        self.settle();
        if let Some((at, damaged)) = self.check_all().into_iter().find(|(_, damaged)| *damaged > 0) {
            self.broken(&format!("{} has {damaged} damaged torrents after all was mended", self.machines[at].name));
        }
        for machine in &self.machines {
            let problems = machine.node.as_ref().map(|node| node.status().problems).unwrap_or_default();
            if problems.iter().any(|problem| problem.contains("damaged")) {
                self.broken(&format!("{}: {problems:?}", machine.name));
            }
        }
        *self.counts.entry("torrents that rotted".into()).or_default() +=
            rotten.values().map(BTreeSet::len).sum::<usize>() as u64;
    }

    /// Who has what whole and shows it, with a place of its bytes.
    fn whole(&self) -> BTreeMap<InfoHash, Vec<(usize, (u32, u64))>> {
        let mut whole: BTreeMap<InfoHash, Vec<(usize, (u32, u64))>> = BTreeMap::new();
        for (at, machine) in self.machines.iter().enumerate() {
            let sure = !machine.removed && (machine.role != Some(Role::Cache) || machine.config.quota.is_none());
            let Some(node) = machine.node.as_ref().filter(|_| sure) else { continue };
            let read = machine.disk.store.range(Table::Torrents, &[], &[0xff; 21], &mut |key, value| {
                let (Some(id), Ok(entry)) = (InfoHash::from_slice(key), TorrentEntry::decode(value)) else {
                    return true;
                };
                let place = entry.extents.first().map(|extent| (extent.location.slab, u64::from(extent.location.unit)));
                if let Some(place) = place.filter(|_| entry.have.is_none() && node.shows(&id)) {
                    whole.entry(id).or_default().push((at, place));
                }
                true
            });
            read.expect("memory can be read");
        }
        whole.retain(|_, holders| holders.len() > 1);
        whole
    }

    /// What rotted, by machine: each torrent whose bytes lie where it did.
    fn rot(&mut self) -> BTreeMap<usize, BTreeSet<InfoHash>> {
        let whole: Vec<_> = self.whole().into_iter().collect();
        let mut rotten: BTreeMap<usize, BTreeSet<InfoHash>> = BTreeMap::new();
        let mut left = ROTTEN;
        for (id, holders) in whole {
            if left == 0 || !self.rng.chance(1, 3) {
                continue;
            }
            let (at, place) = holders[self.rng.below(holders.len() as u64) as usize];
            // Versions share pieces: what rots once rots for all of them, and somebody else must have each.
            let sharing = self.sharing(at, place);
            if sharing.len() != 1 || rotten.values().any(|torrents| torrents.contains(&id)) {
                continue;
            }
            left -= 1;
            let bit = self.rng.below(8 * 4_096);
            self.machines[at].disk.rot(place, bit as usize);
            rotten.entry(at).or_default().extend(sharing);
        }
        rotten
    }

    /// The torrents of a machine that have bytes at a place.
    fn sharing(&self, at: usize, (slab, unit): (u32, u64)) -> BTreeSet<InfoHash> {
        let mut sharing = BTreeSet::new();
        let store = &self.machines[at].disk.store;
        let read = store.range(Table::Torrents, &[], &[0xff; 21], &mut |key, value| {
            let (Some(id), Ok(entry)) = (InfoHash::from_slice(key), TorrentEntry::decode(value)) else { return true };
            let covers = entry.extents.iter().any(|extent| {
                let from = u64::from(extent.location.unit);
                extent.location.slab == slab && (from..from + u64::from(extent.chunks) * 16).contains(&unit)
            });
            if covers {
                sharing.insert(id);
            }
            true
        });
        read.expect("memory can be read");
        sharing
    }

    /// Has every machine checked in full. How many damaged torrents each found.
    fn check_all(&mut self) -> BTreeMap<usize, u64> {
        for at in 0..self.machines.len() {
            let task = self.new_task(at, What::Once);
            self.ask(at, task, Op::Check { full: true });
        }
        let until = self.now + 60_000_000;
        self.run_until(until);
        let mut found = BTreeMap::new();
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(status) = machine.node.as_ref().and_then(|node| node.check_status()) else { continue };
            if status.running || !status.notes.is_empty() {
                self.broken(&format!("{}: the check has not ended well: {status:?}", machine.name));
            }
            found.insert(at, status.damaged.len() as u64);
        }
        found
    }
}

//! What must hold in the end: nodes agree, every body reads back, nothing is lost, caches hold all and can read nothing.

use std::collections::BTreeMap;

use dustfs::base::Table;
use dustfs::ledger::values::{CIRCLE_LABEL, CircleEntry, CircleSecrets, Value};
use dustfs::node::Node;
use dustfs::node::io::Inode;
use dustfs::tree::Counts;
use dustfs::wire::record::Kind;
use dustfs::wire::statement::Role;

use super::chaos::FORGED;
use super::disk::Store;
use super::model::{self, Missing};
use super::work::{CIRCLE, MARK, NAME_MARK, What};
use super::world::World;

/// After everything is well, nodes agree within this time: the longest wait between dials is 300 s.
const AGREE_US: u64 = 1_500_000_000;
/// How often that is looked at.
const LOOK_US: u64 = 5_000_000;
/// So often in a row: a file that could not be published is tried again after some seconds.
const LOOKS: u32 = 6;

impl World {
    fn readers(&self) -> Vec<usize> {
        let reads = |at: &usize| !self.machines[*at].removed && self.machines[*at].role.is_some_and(Role::reads);
        (0..self.machines.len()).filter(reads).collect()
    }

    pub fn caches(&self) -> Vec<usize> {
        let caches = |at: &usize| !self.machines[*at].removed && self.machines[*at].role == Some(Role::Cache);
        (0..self.machines.len()).filter(caches).collect()
    }

    /// What only a removed member had, or one whose backup was put back, may be gone for good.
    pub fn lost_anything(&self) -> bool {
        self.machines.iter().any(|machine| machine.removed || machine.restored)
    }

    /// Lets time pass until all agree.
    pub fn settle(&mut self) {
        let end = self.now + AGREE_US;
        let mut agreed = 0;
        loop {
            let until = self.now + LOOK_US;
            self.run_until(until);
            self.check_waiting();
            self.look_who_is_removed();
            let Some(why) = self.disagreement() else {
                agreed += 1;
                if agreed >= LOOKS {
                    return;
                }
                continue;
            };
            agreed = 0;
            if self.now > end {
                self.broken(&format!("no agreement: {why}"));
            }
        }
    }

    fn disagreement(&self) -> Option<String> {
        if let Some((_, task)) = self.tasks.first_key_value() {
            return Some(format!("{} still does {:?}", self.machines[task.machine].name, task.kind));
        }
        if let Some(machine) = self.machines.iter().find(|machine| machine.node.is_none()) {
            return Some(format!("{} is down", machine.name));
        }
        if let Some(fork) = self.open_fork() {
            return Some(fork);
        }
        let readers = self.readers();
        let first = *readers.first()?;
        let listing = |at: usize| self.machines[at].node.as_ref().map(|node| node.listing(CIRCLE)).unwrap_or_default();
        let expected = listing(first);
        for at in &readers[1..] {
            let other = listing(*at);
            if other != expected {
                let names = format!("{} and {}", self.machines[first].name, self.machines[*at].name);
                return Some(format!("{names} differ: {}", difference(&expected, &other)));
            }
        }
        for at in 0..self.machines.len() {
            let machine = &self.machines[at];
            let node = machine.node.as_ref()?;
            // A cache with a quota takes what fits.
            let wants_all = match machine.role {
                Some(Role::Cache) => machine.config.quota.is_none(),
                _ => machine.config.quota.is_none() && machine.config.fetch == dustfs::node::Fetch::Everything,
            };
            // What only a removed member had may be gone for good.
            if machine.removed || !wants_all || self.lost_anything() {
                continue;
            }
            // What everybody has let go is nowhere; keep times of seconds are over before somebody who was cut off, and holds
            // nothing of a file, has changed its mode.
            let lacking = node.lacking().into_iter();
            let lacking = lacking.filter(|id| self.is_held(id) || !self.lets_go && self.is_shown(id));
            let wanted = lacking.count();
            if wanted > 0 {
                return Some(format!("{} still wants {wanted} torrents: {:?}", machine.name, node.transfers()));
            }
        }
        None
    }

    /// Looks at everything, once all agree.
    pub fn check_end(&mut self) {
        self.check_reads();
        self.check_closed();
        self.check_secrecy();
        self.check_versions();
        self.check_restart();
    }

    /// No body that anybody wrote disappears from both the tree and the older versions, which are the same on all.
    fn check_versions(&mut self) {
        let mut expected = None;
        for at in self.readers() {
            let machine = &self.machines[at];
            let Some(node) = &machine.node else { continue };
            let lost = node.lost_bodies(CIRCLE);
            if !lost.is_empty() {
                self.broken(&format!("{} shows {lost:?} neither in the tree nor among older versions", machine.name));
            }
            let older = node.older_listing(CIRCLE);
            let (count, gone, alike) = (older.len() as u64, node.collected(), node.alike());
            if *expected.get_or_insert_with(|| older.clone()) != older {
                self.broken(&format!("{} has other older versions than others", machine.name));
            }
            *self.counts.entry("older versions".into()).or_default() += count;
            *self.counts.entry("older versions let go".into()).or_default() += gone;
            *self.counts.entry("chunks published that were another body's".into()).or_default() += alike;
        }
    }

    /// Every file reads back, the same on all.
    fn check_reads(&mut self) {
        let readers = self.readers();
        let mut expected: BTreeMap<Vec<u8>, model::Hash> = BTreeMap::new();
        for at in readers {
            for (path, inode) in self.files(at) {
                self.read_file(at, inode);
                let end = self.now + 400_000_000;
                while !self.tasks.is_empty() && self.step(end) {}
                let machine = &self.machines[at];
                let Some(node) = &machine.node else { continue };
                let shown = String::from_utf8_lossy(&path).into_owned();
                let content = match model::read_whole(node, &machine.disk, inode) {
                    Ok(Ok(content)) => content,
                    Ok(Err(Missing::After(_))) if self.lost_anything() => continue,
                    // What everybody has let go is nowhere.
                    Ok(Err(Missing::After(_))) if self.lets_go && !self.anybody_holds(node, inode) => continue,
                    Ok(Err(Missing::After(at))) => {
                        let torrent = node.torrent_at(Inode(inode));
                        self.broken(&format!("{} cannot fetch {shown}, {torrent:?}, from byte {at} on", machine.name))
                    }
                    Ok(Err(Missing::Broken(why))) => self.broken(&format!("{}: {shown}: {why}", machine.name)),
                    Err(error) => self.broken(&format!("{} cannot read {shown}: {error}", machine.name)),
                };
                if !self.model.is_known(&content) {
                    self.broken(&format!("{}: nobody ever wrote what {shown} holds", machine.name));
                }
                let hash = model::hash(&content);
                // Who changed a file's mode before it knew of the removal has published those bytes anew.
                let late = self.model.cut_off_by(&hash).filter(|by| !self.model.is_republished_beside(*by, &hash));
                if late.is_some_and(|by| self.machines[by].removed) {
                    self.broken(&format!("{}: {shown} was written by a member after its removal", machine.name));
                }
                if self.model.unnamed.contains(&inode) {
                    self.broken(&format!("{}: {shown} was never given a name", machine.name));
                }
                if path.ends_with(FORGED) {
                    self.broken(&format!("{} shows what a reader forged", machine.name));
                }
                if *expected.entry(path).or_insert(hash) != hash {
                    self.broken(&format!("{}: {shown} holds other bytes than elsewhere", machine.name));
                }
            }
        }
    }

    fn anybody_holds(&self, node: &Node<Store>, inode: u64) -> bool {
        node.torrent_at(Inode(inode)).is_none_or(|info_hash| self.is_held(&info_hash))
    }

    /// The files of a machine by path.
    pub fn files(&self, at: usize) -> Vec<(Vec<u8>, u64)> {
        self.all_of(at, &[Kind::File])
    }

    /// What there is of these kinds on a machine, by path.
    pub fn all_of(&self, at: usize, kinds: &[Kind]) -> Vec<(Vec<u8>, u64)> {
        let (Some(node), Some(root)) = (&self.machines[at].node, self.root_of(at)) else { return Vec::new() };
        let mut files = Vec::new();
        let mut open = vec![(Vec::new(), root)];
        while let Some((path, directory)) = open.pop() {
            for entry in node.list(directory, None, usize::MAX).unwrap_or_default() {
                let path = [&path[..], b"/", &entry.name].concat();
                if entry.kind == Kind::Directory {
                    open.push((path, entry.inode));
                } else if kinds.contains(&entry.kind) {
                    files.push((path, entry.inode.0));
                }
            }
        }
        files.sort();
        files
    }

    /// What one machine alone wrote, and closed well, is what everybody has.
    fn check_closed(&mut self) {
        let Some(at) = self.readers().first().copied() else { return };
        let machine = &self.machines[at];
        let Some(node) = &machine.node else { return };
        let contents = |(_, inode): &(Vec<u8>, u64)| match model::read_whole(node, &machine.disk, *inode) {
            Ok(Ok(content)) => Some(model::hash(&content)),
            _ => None,
        };
        let shown: Vec<Option<model::Hash>> = self.files(at).iter().map(contents).collect();
        for (inode, closed) in &self.model.closed {
            let author = &self.machines[closed.machine];
            let who = &author.name;
            if author.removed || !self.model.is_private(closed.machine, *inode) {
                // Of two pasts one shows beside the other; what is not here cannot be compared.
                let two = !author.removed && self.model.is_of_two_pasts(closed.machine, *inode);
                if two && !shown.contains(&None) && !shown.contains(&Some(closed.hash)) {
                    self.broken(&format!("{inode:x}, which {who} wrote after it was set back, is lost"));
                }
                continue;
            }
            match model::read_whole(node, &machine.disk, *inode) {
                Err(error) => self.broken(&format!("{inode:x}, which {who} wrote and closed, is lost: {error}")),
                Ok(Ok(content)) if model::hash(&content) != closed.hash => {
                    self.broken(&format!("{inode:x} is not what {who} wrote and closed, but {} bytes", content.len()));
                }
                _ => {}
            }
        }
    }

    /// No plaintext, no name and no key lies on any disk.
    fn check_secrecy(&mut self) {
        let (mut keys, mut sealed) = (Vec::new(), Vec::new());
        for at in self.readers() {
            let machine = &self.machines[at];
            for entry in machine.disk.store.values(Table::Circles) {
                let Ok(entry) = CircleEntry::decode(&entry) else { continue };
                let opened = machine.state.open(CIRCLE_LABEL, &entry.secrets).ok();
                let secrets = opened.and_then(|opened| CircleSecrets::decode(&opened).ok());
                keys.extend(secrets.into_iter().flat_map(|secrets| secrets.keys).map(|epoch| epoch.key.to_vec()));
                sealed.push((at, entry.secrets));
            }
        }
        for at in 0..self.machines.len() {
            let machine = &self.machines[at];
            let mut secrets: Vec<&[u8]> = vec![MARK, NAME_MARK.as_bytes()];
            secrets.extend(keys.iter().map(Vec::as_slice));
            for secret in secrets {
                if machine.disk.contains(secret) {
                    self.broken(&format!("the disk of {} holds {:?}", machine.name, String::from_utf8_lossy(secret)));
                }
            }
        }
        // The search finds what is there to be found.
        if keys.is_empty() || sealed.iter().any(|(at, sealed)| !self.machines[*at].disk.contains(sealed)) {
            self.broken("the search for secrets is blind");
        }
    }

    /// Who was set back has said which of its histories counts, to everybody.
    fn open_fork(&self) -> Option<String> {
        // Of two that were set back, one may have been the last to have the other's lost history.
        if self.machines.iter().filter(|machine| machine.restored).count() > 1 {
            return None;
        }
        self.machines.iter().filter(|machine| !machine.removed).find_map(|machine| {
            let circles = machine.node.as_ref()?.status().circles;
            let forks = circles.into_iter().flat_map(|circle| circle.forks).next()?;
            Some(format!("{} saw forks: {forks}", machine.name))
        })
    }

    /// Everybody ends cleanly, and starts alone with the same tree.
    fn check_restart(&mut self) {
        let readers = self.readers();
        let before: Vec<_> =
            readers.iter().map(|at| self.machines[*at].node.as_ref().map(|n| n.listing(CIRCLE))).collect();
        for group in 0..self.groups.len() {
            self.groups[group] = group as u32;
        }
        for at in &readers {
            let task = self.new_task(*at, What::Shutdown);
            self.ask(*at, task, dustfs::node::io::Op::Shutdown);
        }
        let end = self.now + 60_000_000;
        self.run_until(end);
        for (at, before) in readers.iter().zip(before) {
            let after = self.machines[*at].node.as_ref().map(|node| node.listing(CIRCLE));
            if before != after {
                let difference = difference(&before.unwrap_or_default(), &after.unwrap_or_default());
                self.broken(&format!("{} shows another tree after a restart: {difference}", self.machines[*at].name));
            }
        }
        self.check_waiting();
    }

    /// How often concurrency showed, wherever it showed most.
    pub fn conflicts(&self) -> Counts {
        let mut most = Counts::default();
        for node in self.machines.iter().filter_map(|machine| machine.node.as_ref()) {
            let counts = node.conflict_counts();
            most.move_cycles = most.move_cycles.max(counts.move_cycles);
            most.name_clashes = most.name_clashes.max(counts.name_clashes);
            most.edit_edit = most.edit_edit.max(counts.edit_edit);
            most.edit_delete = most.edit_delete.max(counts.edit_delete);
        }
        most
    }

    /// How much there is in the end, for people.
    pub fn count_end(&mut self) {
        let Some(at) = self.readers().first().copied() else { return };
        let files = self.files(at).len() as u64;
        *self.counts.entry("files at the end".into()).or_default() += files;
        if let Some(node) = &self.machines[at].node {
            debug_assert!(node.attr(Inode::ROOT).is_ok());
        }
    }
}

type Listing = Vec<(Vec<u8>, Kind, String)>;

fn difference(one: &Listing, other: &Listing) -> String {
    let only = |these: &Listing, those: &Listing| {
        let mut words = String::new();
        let times = |line: &&(Vec<u8>, Kind, String), all: &Listing| all.iter().filter(|other| *other == *line).count();
        let more = |line: &&(Vec<u8>, Kind, String)| times(line, these) > times(line, those);
        for (path, kind, body) in these.iter().filter(more).take(6) {
            words += &format!("\n      {} {kind:?} {body:.300}", String::from_utf8_lossy(path));
        }
        words
    };
    format!("only here:{}\n   only there:{}", only(one, other), only(other, one))
}

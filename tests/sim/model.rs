//! What was ever written, by whom and in which order: every read must show one of these contents, whole.

use std::collections::{BTreeMap, BTreeSet};

use dustfs::node::Node;
use dustfs::node::io::{Inode, OpError, ReadPart, ReadPlan};

use super::disk::{Disk, Store};
use super::world::World;

pub type Hash = [u8; 32];

/// See the module.
#[derive(Default)]
pub struct Model {
    known: BTreeSet<Hash>,
    /// Of each inode, the contents in the order in which they were written, with the machine.
    versions: BTreeMap<u64, Vec<(Hash, usize)>>,
    /// The last version that an fsync covers, of each machine and inode.
    fsynced: BTreeMap<(usize, u64), usize>,
    /// Inodes that somebody tried to delete or to replace.
    pub deleted: BTreeSet<u64>,
    /// Who changed attributes, which is a version with the content that was seen.
    pub touched: BTreeSet<(u64, usize)>,
    /// What a machine wrote last and closed, where nothing went wrong.
    pub closed: BTreeMap<u64, Closed>,
    /// Files that were never given a name, which nobody may see.
    pub unnamed: BTreeSet<u64>,
    /// Directories and links that an fsync covers.
    pub made: BTreeMap<(usize, u64), bool>,
    /// Who was removed, and what they wrote after it.
    removed: BTreeSet<usize>,
    cut_off: BTreeSet<(Hash, usize)>,
}

/// See [`Model::closed`].
pub struct Closed {
    pub machine: usize,
    pub hash: Hash,
    pub durable: bool,
}

pub fn hash(content: &[u8]) -> Hash {
    *blake3::hash(content).as_bytes()
}

impl Model {
    /// A content that is about to be written. Returns its number.
    pub fn write(&mut self, machine: usize, inode: u64, content: &[u8]) -> usize {
        let hash = hash(content);
        // What comes of this write is known when it is closed.
        self.closed.remove(&inode);
        match self.removed.contains(&machine) {
            true if !content.is_empty() && !self.known.contains(&hash) => self.cut_off.insert((hash, machine)),
            // Others may well come to the same bytes, by cutting a file short.
            false => {
                self.cut_off.retain(|(known, _)| *known != hash);
                false
            }
            true => false,
        };
        self.known.insert(hash);
        let versions = self.versions.entry(inode).or_default();
        versions.push((hash, machine));
        versions.len() - 1
    }

    pub fn is_known(&self, content: &[u8]) -> bool {
        content.is_empty() || self.known.contains(&hash(content))
    }

    /// What this machine writes from now on must show nowhere else.
    pub fn cut_off(&mut self, machine: usize) {
        self.removed.insert(machine);
    }

    /// Who wrote this after its removal, if somebody did.
    pub fn cut_off_by(&self, hash: &Hash) -> Option<usize> {
        self.cut_off.range((*hash, 0)..=(*hash, usize::MAX)).next().map(|(_, machine)| *machine)
    }

    pub fn fsynced(&mut self, machine: usize, inode: u64, version: usize) {
        let known = self.fsynced.entry((machine, inode)).or_default();
        *known = (*known).max(version);
        let hash = self.versions[&inode][version].0;
        if let Some(closed) = self.closed.get_mut(&inode).filter(|closed| closed.machine == machine) {
            closed.durable |= closed.hash == hash;
        }
    }

    /// A file was closed with this content, and every step of writing it went well.
    pub fn closed(&mut self, machine: usize, inode: u64, content: &[u8]) {
        self.closed.insert(inode, Closed { machine, hash: hash(content), durable: false });
    }

    /// What a machine had closed and not made durable may be lost.
    pub fn crashed(&mut self, machine: usize) {
        self.closed.retain(|_, closed| closed.machine != machine || closed.durable);
        self.made.retain(|(at, _), durable| *at != machine || *durable);
    }

    /// A machine has forgotten what it had written and what it had promised: what others have of it comes back as if
    /// somebody else had written it.
    pub fn forget(&mut self, machine: usize) {
        for (_, by) in self.versions.values_mut().flatten() {
            if *by == machine {
                *by = past_of(machine);
            }
        }
        let touched: Vec<u64> = self.touched.iter().filter(|(_, by)| *by == machine).map(|(inode, _)| *inode).collect();
        self.touched.extend(touched.into_iter().map(|inode| (inode, past_of(machine))));
        self.fsynced.retain(|(at, _), _| *at != machine);
        self.made.retain(|(at, _), _| *at != machine);
        self.closed.retain(|_, closed| closed.machine != machine);
    }

    /// What a machine does not show when it ends, it need not show when it starts: others may have deleted it, or it
    /// went with a directory that showed as one with another.
    pub fn forget_unseen(&mut self, machine: usize, shows: impl Fn(u64) -> bool) {
        self.fsynced.retain(|(at, inode), _| *at != machine || shows(*inode));
        self.made.retain(|(at, inode), _| *at != machine || shows(*inode));
    }

    /// Everything that a machine had acknowledged is durable: it was shut down.
    pub fn shut_down(&mut self, machine: usize) {
        for closed in self.closed.values_mut().filter(|closed| closed.machine == machine) {
            closed.durable = true;
        }
        let made = self.made_by(machine);
        self.made_durable(machine, &made);
    }

    /// The directories and links that a machine has made.
    pub fn made_by(&self, machine: usize) -> Vec<u64> {
        self.made.range((machine, 0)..(machine + 1, 0)).map(|((_, inode), _)| *inode).collect()
    }

    pub fn made_durable(&mut self, machine: usize, made: &[u64]) {
        for inode in made {
            // It may have been forgotten meanwhile.
            if let Some(durable) = self.made.get_mut(&(machine, *inode)) {
                *durable = true;
            }
        }
    }

    /// Somebody else changed the attributes of a file that held this once, also where it shows beside another now.
    pub fn is_republished_beside(&self, machine: usize, hash: &Hash) -> bool {
        let held = self.versions.iter().filter(|(_, versions)| versions.iter().any(|version| version.0 == *hash));
        held.into_iter().any(|(inode, _)| self.is_touched_beside(machine, *inode))
    }

    /// Somebody else changed the file's attributes.
    pub fn is_touched_beside(&self, machine: usize, inode: u64) -> bool {
        self.touched.range((inode, 0)..=(inode, usize::MAX)).any(|(_, by)| *by != machine)
    }

    /// Only this machine wrote the file, and nobody tried to delete it.
    pub fn is_private(&self, machine: usize, inode: u64) -> bool {
        !self.deleted.contains(&inode)
            && !self.is_touched_beside(machine, inode)
            && self.versions.get(&inode).is_some_and(|versions| versions.iter().all(|(_, by)| *by == machine))
    }

    /// The same, but that it had also written it, or changed its attributes, before it was set back.
    pub fn is_of_two_pasts(&self, machine: usize, inode: u64) -> bool {
        let own = |by: usize| by == machine || by == past_of(machine);
        let versions = self.versions.get(&inode);
        !self.deleted.contains(&inode)
            && self.touched.range((inode, 0)..=(inode, usize::MAX)).all(|(_, by)| own(*by))
            && versions.is_some_and(|versions| versions.iter().all(|(_, by)| own(*by)))
    }
}

/// Stands for what a machine was before it was set back.
fn past_of(machine: usize) -> usize {
    usize::MAX - machine
}

/// What a plan reads from the disk, or that something is missing after so many bytes.
pub fn gather(disk: &Disk, plan: &ReadPlan) -> Result<Vec<u8>, Missing> {
    let mut out = Vec::new();
    for part in &plan.parts {
        match part {
            ReadPart::Bytes(bytes) => out.extend_from_slice(bytes),
            ReadPart::Zeros(zeros) => out.resize(out.len() + zeros, 0),
            ReadPart::Chunk { segment, key, skip, take } => {
                let plain =
                    disk.unseal(*segment, key).map_err(|error| Missing::Broken(format!("{segment:?}: {error}")))?;
                let span = plain.get(*skip..skip + take).ok_or(Missing::Broken("a chunk is too short".into()))?;
                out.extend_from_slice(span);
            }
            ReadPart::Missing => return Err(Missing::After(out.len())),
        }
    }
    Ok(out)
}

/// Why a plan gave no bytes.
pub enum Missing {
    /// What follows so many bytes is not here.
    After(usize),
    Broken(String),
}

/// All bytes of a file, if they are here.
pub fn read_whole(node: &Node<Store>, disk: &Disk, inode: u64) -> Result<Result<Vec<u8>, Missing>, OpError> {
    let plan = node.plan(Inode(inode), 0, u32::MAX)?;
    Ok(gather(disk, &plan))
}

impl World {
    /// A machine has just started: what its fsyncs covered must be there.
    pub fn check_durable(&mut self, at: usize) {
        let machine = &self.machines[at];
        let (Some(node), false) = (&machine.node, machine.removed) else { return };
        for ((_, inode), version) in self.model.fsynced.range((at, 0)..(at + 1, 0)) {
            if self.model.deleted.contains(inode) || self.model.is_touched_beside(at, *inode) {
                continue;
            }
            let versions = &self.model.versions[inode];
            match read_whole(node, &machine.disk, *inode) {
                Err(error) => self.broken(&format!("{} lost file {inode:x}: {error}", machine.name)),
                Ok(Err(Missing::Broken(why))) => self.broken(&format!("{}: file {inode:x}: {why}", machine.name)),
                Ok(Err(Missing::After(_))) => {}
                Ok(Ok(content)) => {
                    let hash = hash(&content);
                    let mut fits = versions.iter().enumerate();
                    if !fits.any(|(number, (known, by))| *known == hash && (number >= *version || *by != at)) {
                        let older = versions.iter().position(|(known, _)| *known == hash);
                        self.broken(&format!(
                            "{} shows version {older:?} of {inode:x}, {} bytes, though an fsync covered version {version}",
                            machine.name,
                            content.len()
                        ));
                    }
                }
            }
        }
        for ((_, inode), _) in self.model.made.range((at, 0)..(at + 1, 0)).filter(|(_, durable)| **durable) {
            if !self.model.deleted.contains(inode) && node.attr(Inode(*inode)).is_err() {
                self.broken(&format!("{} lost directory or link {inode:x}, which an fsync covered", machine.name));
            }
        }
    }
}

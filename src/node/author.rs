//! Writing: records of ours gather in an open commit, which is closed and signed when the disk is free for it, when a
//! register would stand in it twice, or when a commit of somebody else's is about to be applied.
//!
//! Invariant: an open commit's dot, Lamport time and dependencies are those of the moment when it was opened, and
//! nothing that it does not name has been applied since.

use std::collections::BTreeSet;

use super::circle::Tip;
use super::io::OpError;
use super::{Effect, Node};
use crate::base::limits::COMMIT_RECORDS;
use crate::base::{CircleId, ObjectId, Snapshot, Table, WallTime};
use crate::ledger::keys;
use crate::tree::{Changes, Version};
use crate::wire::commit::{Commit, Entry};
use crate::wire::record::{Bytes2, Context, Dot, Inner, Outer, PublicInfo, Register, Value, record_hash};
use crate::wire::statement::Role;

/// A commit that gathers records.
pub struct OpenCommit {
    dot: Dot,
    lamport: u64,
    deps: Vec<Dot>,
    wall: WallTime,
    entries: Vec<Entry>,
    registers: BTreeSet<(ObjectId, Register)>,
    /// Bytes of its records: a commit and its records must fit one frame.
    bytes: usize,
}

impl OpenCommit {
    fn is_full(&self) -> bool {
        self.entries.len() >= COMMIT_RECORDS || self.bytes >= COMMIT_BYTES
    }
}

/// A commit takes no further record once its records have so many bytes.
pub const COMMIT_BYTES: usize = 262_144;

impl<S: Snapshot> Node<S> {
    /// Refuses where this node may not write, or has no key to write with.
    pub fn may_write(&self, id: &CircleId) -> Result<(), OpError> {
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        if !circle.kept_role().is_some_and(Role::writes) {
            return Err(OpError::ReadOnly);
        }
        if circle.current().is_none() {
            return Err(OpError::NotPermitted(
                "this circle's key is not here yet: wait until a keeper is online".into(),
            ));
        }
        if self.trouble == Some(super::DiskError::Full) {
            return Err(OpError::NoSpace);
        }
        Ok(())
    }

    /// Writes one register of one object. The tree shows it at once; the record goes out with the open commit.
    pub fn author(
        &mut self,
        id: &CircleId,
        object: ObjectId,
        value: Value,
        context: Context,
        info: Option<PublicInfo>,
    ) -> Result<(Dot, Changes), OpError> {
        self.may_write(id)?;
        let register = (object, value.register());
        let full =
            self.circles[id].open.as_ref().is_some_and(|open| open.registers.contains(&register) || open.is_full());
        if full {
            self.close_commit(id);
        }
        self.open_commit(id);
        let nonce_seed = self.fresh();
        let circle = self.circles.get_mut(id).ok_or(OpError::NotFound)?;
        let (epoch_id, epoch) = circle.current().ok_or(OpError::ReadOnly)?;
        let tag_keys = circle.tag_keys().ok_or(OpError::ReadOnly)?;
        let tag = tag_keys.register_tag(&object, register.1);
        let open = circle.open.as_ref().ok_or(OpError::Busy)?;
        let (dot, lamport, wall) = (open.dot, open.lamport, open.wall);
        let inner = Inner { circle: *id, dot, object, context: context.clone(), value: value.clone() };
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&nonce_seed[..12]);
        let sealed = epoch.keys.seal_record(nonce, &inner.encode());
        let bytes = Outer { version: 1, epoch: epoch_id, info, sealed: Bytes2::from(sealed) }.encode();
        let record = record_hash(&bytes);
        let length = bytes.len();
        self.ledger.put(Table::Records, keys::record(id, &record), bytes);
        if let Some(open) = circle.open.as_mut() {
            open.bytes += length;
            open.registers.insert(register);
            open.entries.push(Entry { record, tag });
        }
        if let Value::Body(crate::wire::record::Body {
            content: crate::wire::record::Content::Torrent(torrent),
            size,
            ..
        }) = &value
        {
            let (info_hash, length) = (torrent.info_hash, crate::seal::chunk::sealed_length(*size));
            self.introduce_torrent(id, info_hash, record, dot, length);
        }
        let version = Version { dot, lamport, object, context, value, wall, record };
        let changes = self.circles.get_mut(id).ok_or(OpError::NotFound)?.apply(version);
        Ok((dot, changes))
    }

    fn open_commit(&mut self, id: &CircleId) {
        let wall = self.now.wall;
        let Some(circle) = self.circles.get_mut(id) else { return };
        if circle.open.is_some() {
            return;
        }
        let mine = circle.chain();
        let deps: Vec<Dot> = circle
            .chains
            .iter()
            .filter(|(chain, tip)| **chain != mine && circle.named.get(chain) != Some(&tip.sequence))
            .map(|(chain, tip)| Dot { author: chain.author, incarnation: chain.incarnation, sequence: tip.sequence })
            .collect();
        let sequence = circle.chains.get(&mine).map_or(1, |tip| tip.sequence + 1);
        circle.open = Some(OpenCommit {
            dot: Dot { author: mine.author, incarnation: mine.incarnation, sequence },
            lamport: circle.lamport() + 1,
            deps,
            wall,
            entries: Vec::new(),
            registers: BTreeSet::new(),
            bytes: 0,
        });
    }

    /// Signs the open commit, which is durable and sent after the next batch.
    pub fn close_commit(&mut self, id: &CircleId) {
        let Ok(member) = self.me.member() else { return };
        let Some(circle) = self.circles.get_mut(id) else { return };
        let Some(open) = circle.open.take() else { return };
        if open.entries.is_empty() {
            return;
        }
        let mine = circle.chain();
        let previous = circle.chains.get(&mine).map_or(crate::base::CommitHash::NONE, |tip| tip.hash);
        circle.named.extend(open.deps.iter().map(|dep| (dep.chain(), dep.sequence)));
        let commit = Commit {
            circle: *id,
            dot: open.dot,
            previous,
            lamport: open.lamport,
            deps: open.deps,
            wall: open.wall,
            entries: open.entries,
            branches: Vec::new(),
        };
        let signed = commit.sign(|bytes| member.sign(bytes));
        circle.chains.insert(mine, Tip { sequence: open.dot.sequence, hash: signed.hash, lamport: open.lamport });
        self.ledger.put(Table::Commits, keys::commit(id, &open.dot), signed.bytes);
        self.after_commit(Effect::Push(*id, open.dot));
    }

    /// Closes the open commits of all circles.
    pub fn close_commits(&mut self) {
        let open: Vec<_> =
            self.circles.values().filter(|circle| circle.open.is_some()).map(|circle| circle.id).collect();
        for id in open {
            self.close_commit(&id);
        }
    }

    /// True while some commit is gathering.
    pub fn has_open_commit(&self) -> bool {
        self.circles.values().any(|circle| circle.open.as_ref().is_some_and(|open| !open.entries.is_empty()))
    }
}

//! The ledger: what must survive. Reads go to the durable snapshot under an overlay of what is being written; writes
//! gather in one batch until the disk is free, so that syncs are grouped by themselves.
//!
//! Invariant: a read sees every `put` made before it, durable or not; at most one batch is on its way to the disk.

pub mod key;
pub mod keys;
pub mod values;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::base::{Batch, Snapshot, StoreError, Table};

/// See the module.
pub struct Ledger<S> {
    store: S,
    /// Writes that are not durable yet, with the generation of the batch that they are in.
    overlay: BTreeMap<(Table, Vec<u8>), (u64, Option<Bytes>)>,
    generation: u64,
    pending: Batch,
    pending_sync: BTreeSet<u32>,
    flying: Option<(Batch, BTreeSet<u32>)>,
}

impl<S: Snapshot> Ledger<S> {
    /// A ledger over what is durable.
    pub fn new(store: S) -> Self {
        Self {
            store,
            overlay: BTreeMap::new(),
            generation: 1,
            pending: Batch::default(),
            pending_sync: BTreeSet::new(),
            flying: None,
        }
    }

    /// Writes `value` at `key` with the next batch.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: impl Into<Bytes>) {
        let value = value.into();
        self.overlay.insert((table, key.clone()), (self.generation, Some(value.clone())));
        self.pending.put(table, key, value);
    }

    /// Removes what is at `key` with the next batch.
    pub fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.overlay.insert((table, key.clone()), (self.generation, None));
        self.pending.delete(table, key);
    }

    /// The next batch refers to bytes of this slab that may not be synced.
    pub fn sync(&mut self, slab: u32) {
        self.pending_sync.insert(slab);
    }

    /// True when something waits for [`Ledger::begin`].
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// True between [`Ledger::begin`] and its end.
    pub fn is_flying(&self) -> bool {
        self.flying.is_some()
    }

    /// Takes all that waits, to be made durable; `None` when nothing waits or a batch is on its way.
    pub fn begin(&mut self) -> Option<(Batch, BTreeSet<u32>)> {
        if self.flying.is_some() || self.pending.is_empty() {
            return None;
        }
        let taken = (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_sync));
        self.generation += 1;
        self.flying = Some(taken.clone());
        Some(taken)
    }

    /// The batch on its way is durable.
    pub fn committed(&mut self) {
        if let Some((batch, _)) = self.flying.take() {
            for key in batch.writes.into_keys() {
                if self.overlay.get(&key).is_some_and(|(generation, _)| *generation < self.generation) {
                    self.overlay.remove(&key);
                }
            }
        }
    }

    /// The batch on its way did not become durable: it goes before what waits, and is tried again with it.
    pub fn failed(&mut self) {
        if let Some((mut batch, mut sync)) = self.flying.take() {
            batch.extend(std::mem::take(&mut self.pending));
            sync.append(&mut self.pending_sync);
            self.pending = batch;
            self.pending_sync = sync;
        }
    }
}

impl<S: Snapshot> Snapshot for Ledger<S> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if !self.overlay.is_empty()
            && let Some((_, value)) = self.overlay.get(&(table, key.to_vec()))
        {
            return Ok(value.clone());
        }
        self.store.get(table, key)
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        let mut over = self.overlay.range((table, from.to_vec())..(table, to.to_vec())).peekable();
        let mut going = true;
        self.store.range(table, from, to, &mut |key, value| {
            while going {
                let Some(((_, over_key), (_, over_value))) = over.peek() else { break };
                if over_key.as_slice() > key {
                    break;
                }
                let same = over_key.as_slice() == key;
                if let Some(over_value) = over_value {
                    going = visit(over_key, over_value);
                }
                over.next();
                if same {
                    return going;
                }
            }
            going = going && visit(key, value);
            going
        })?;
        for ((_, key), (_, value)) in over {
            if !going {
                break;
            }
            if let Some(value) = value {
                going = visit(key, value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemoryStore;

    fn all(ledger: &Ledger<MemoryStore>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut seen = Vec::new();
        ledger
            .range(Table::Meta, b"", b"~", &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()));
                true
            })
            .unwrap();
        seen
    }

    fn pairs(text: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        text.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn reads_see_what_waits_flies_and_lies() {
        let mut store = MemoryStore::default();
        let mut batch = Batch::default();
        for key in ["b", "d", "f"] {
            batch.put(Table::Meta, key, &b"old"[..]);
        }
        store.apply(&batch);
        let mut ledger = Ledger::new(store);
        ledger.put(Table::Meta, b"a".to_vec(), &b"new"[..]);
        ledger.delete(Table::Meta, b"d".to_vec());
        let (flying, _) = ledger.begin().unwrap();
        assert!(ledger.begin().is_none());
        ledger.put(Table::Meta, b"a".to_vec(), &b"newer"[..]);
        ledger.put(Table::Meta, b"g".to_vec(), &b"new"[..]);
        let expected = pairs(&[("a", "newer"), ("b", "old"), ("f", "old"), ("g", "new")]);
        assert_eq!(all(&ledger), expected);
        ledger.store.apply(&flying);
        ledger.committed();
        assert_eq!(all(&ledger), expected);
        assert_eq!(ledger.overlay.len(), 2);
        let mut first = Vec::new();
        ledger
            .range(Table::Meta, b"", b"~", &mut |key, _| {
                first.push(key.to_vec());
                first.len() < 2
            })
            .unwrap();
        assert_eq!(first, [b"a".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn a_failed_batch_is_tried_again_under_what_came_later() {
        let mut ledger = Ledger::new(MemoryStore::default());
        ledger.put(Table::Meta, b"a".to_vec(), &b"1"[..]);
        ledger.put(Table::Meta, b"b".to_vec(), &b"1"[..]);
        ledger.sync(7);
        ledger.begin().unwrap();
        ledger.put(Table::Meta, b"a".to_vec(), &b"2"[..]);
        ledger.failed();
        let (batch, sync) = ledger.begin().unwrap();
        assert_eq!(batch.writes.len(), 2);
        assert_eq!(batch.writes[&(Table::Meta, b"a".to_vec())], Some(Bytes::from_static(b"2")));
        assert_eq!(sync, BTreeSet::from([7]));
    }
}

//! The snapshot trait through which the core reads what is durable, and the batch by which it writes.
//!
//! redb stands behind it in `os::disk`; [`MemoryStore`] stands behind it in tests and in the simulator.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use bytes::Bytes;

/// The tables of the ledger. Keys and values are drawn in `ledger`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    /// Format version, device keys, one value per name.
    Meta,
    /// Circles that this node is in.
    Circles,
    /// Roster statements, by circle and hash.
    Statements,
    /// Signed commits, by circle, author, incarnation and sequence.
    Commits,
    /// Sealed records, by circle and hash.
    Records,
    /// Layout of torrents in the slabs, by info-hash.
    Torrents,
    /// Drafts that an fsync made durable, sealed.
    Drafts,
    /// Address records, by device.
    Addresses,
    /// What was pledged to others that let bodies go, by info-hash, device and round.
    Pledges,
    /// What this node's owner wants here, by circle and object.
    Pins,
}

impl Table {
    /// All tables, in the order of their names in the database.
    pub const ALL: [Table; 10] = [
        Table::Meta,
        Table::Circles,
        Table::Statements,
        Table::Commits,
        Table::Records,
        Table::Torrents,
        Table::Drafts,
        Table::Addresses,
        Table::Pledges,
        Table::Pins,
    ];

    /// The table's name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Circles => "circles",
            Table::Statements => "statements",
            Table::Commits => "commits",
            Table::Records => "records",
            Table::Torrents => "torrents",
            Table::Drafts => "drafts",
            Table::Addresses => "addresses",
            Table::Pledges => "pledges",
            Table::Pins => "pins",
        }
    }
}

/// The durable store could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger cannot be read: {}", self.0)
    }
}

impl std::error::Error for StoreError {}

/// A consistent view of what is durable.
pub trait Snapshot {
    /// The value at `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Calls `visit` for each pair with `from <= key < to` in key order, until it returns false.
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError>;
}

/// Writes that become durable together or not at all. `None` deletes.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The last write to a key wins.
    pub writes: BTreeMap<(Table, Vec<u8>), Option<Bytes>>,
}

impl Batch {
    /// Sets the value at `key`.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) {
        self.writes.insert((table, key.into()), Some(value.into()));
    }

    /// Removes the value at `key`.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.writes.insert((table, key.into()), None);
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds the writes of `other`, which come later.
    pub fn extend(&mut self, other: Batch) {
        self.writes.extend(other.writes);
    }
}

/// A store in memory.
#[derive(Clone, Default, Debug)]
pub struct MemoryStore {
    values: BTreeMap<(Table, Vec<u8>), Bytes>,
}

impl MemoryStore {
    /// Makes `batch` durable.
    pub fn apply(&mut self, batch: &Batch) {
        for ((table, key), value) in &batch.writes {
            match value {
                Some(value) => self.values.insert((*table, key.clone()), value.clone()),
                None => self.values.remove(&(*table, key.clone())),
            };
        }
    }
}

impl Snapshot for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.values.get(&(table, key.to_vec())).cloned())
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
        let range = (Bound::Included((table, from.to_vec())), Bound::Excluded((table, to.to_vec())));
        for ((_, key), value) in self.values.range(range) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

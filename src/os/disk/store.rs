//! Reading the ledger: a snapshot that is renewed by each commit, with its tables open.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageError, TableDefinition, TableError};

use super::ledger::Ledger;
use crate::base::{Snapshot, StoreError, Table};
use crate::os::state::StateLock;

/// What is durable, as of the newest commit. Clones share one view; each read is a look into a B-tree.
///
/// The state directory stays this process's own until the disk and all clones are dropped.
#[derive(Clone)]
pub struct RedbStore {
    ledger: Arc<Ledger>,
    /// Dropped after the ledger, which writes when it is closed.
    _lock: Option<Arc<StateLock>>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedbStore").field(&self.ledger.path).finish()
    }
}

impl RedbStore {
    pub(super) fn new(ledger: Arc<Ledger>, lock: Option<Arc<StateLock>>) -> Self {
        Self { ledger, _lock: lock }
    }

    #[cfg(test)]
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Reads by `read`, and once more when the database had to be opened again.
    fn read<T>(&self, mut read: impl FnMut(&View) -> Result<T, StorageError>) -> Result<T, StoreError> {
        let view = self.ledger.view();
        if let Some(Ok(value)) = view.as_deref().map(&mut read) {
            return Ok(value);
        }
        let reopened = self.ledger.recover(view.as_ref()).map_err(|error| StoreError(error.to_string()))?;
        read(&reopened).map_err(|error| StoreError(format!("{}: {error}", self.ledger.path.display())))
    }
}

impl Snapshot for RedbStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(|view| match view.table(table) {
            Some(table) => Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value()))),
            None => Ok(None),
        })
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        // Kept so that a second try goes on after what was visited in the first.
        let mut last: Option<AccessGuard<'static, &'static [u8]>> = None;
        self.read(|view| {
            let from = last.as_ref().map_or(Bound::Included(from), |last| Bound::Excluded(last.value()));
            let (Bound::Included(start) | Bound::Excluded(start)) = from else { return Ok(()) };
            let Some(table) = view.table(table).filter(|_| start < to) else { return Ok(()) };
            let mut pairs = table.range::<&[u8]>((from, Bound::Excluded(to)))?;
            for pair in &mut pairs {
                let (key, value) = pair?;
                if !visit(key.value(), value.value()) {
                    break;
                }
                last = Some(key);
            }
            Ok(())
        })
    }
}

/// A snapshot with its tables open.
pub(super) struct View {
    /// Of the transaction that made it.
    pub(super) number: u64,
    /// In the order of [`Table`]; `None` for a table to which nothing was ever written.
    tables: [Option<Pairs>; Table::ALL.len()],
}

pub(super) type Pairs = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl View {
    pub(super) fn of(database: &impl ReadableDatabase) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        let number = match open_table(&transaction, OWN)? {
            Some(own) => own.get(NUMBER_KEY)?.and_then(|number| number.value().try_into().ok()),
            None => None,
        };
        let mut tables = [const { None }; Table::ALL.len()];
        for table in Table::ALL {
            tables[table as usize] = open_table(&transaction, definition(table))?;
        }
        Ok(Self { number: number.map_or(0, u64::from_be_bytes), tables })
    }

    pub(super) fn table(&self, table: Table) -> Option<&Pairs> {
        self.tables[table as usize].as_ref()
    }
}

fn open_table(transaction: &ReadTransaction, definition: Definition) -> Result<Option<Pairs>, redb::Error> {
    match transaction.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(super) fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

/// What the ledger notes for itself.
pub(super) const OWN: Definition = TableDefinition::new("ledger");
/// In [`OWN`]: the number of the newest transaction, 8 bytes big-endian.
pub(super) const NUMBER_KEY: &[u8] = b"number";

//! The ledger's database: a redb file that is opened with care, written by whole batches, and read through a snapshot.
//!
//! redb shuts itself after any failed read or write. The ledger then closes it and opens it again, so that a full disk
//! stops only what had to be written: reads go on, and later commits are tried anew.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    AccessGuard, Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase,
    StorageBackend, StorageError, TableDefinition, TableError, WriteTransaction,
};

use super::counters::Counters;
use super::disk_error;
use crate::base::{Batch, Snapshot, StoreError, Table};
use crate::node::io::DiskError;
use crate::os::state::{private_file, sync_parent};

/// What is durable, as of the newest commit. Clones share one view; each read is a look into a B-tree.
#[derive(Clone)]
pub struct RedbStore(Arc<Ledger>);

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedbStore").field(&self.0.path).finish()
    }
}

impl RedbStore {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self(ledger)
    }

    /// Reads by `read`, and once more when the database had to be opened again.
    fn read<T>(&self, mut read: impl FnMut(&View) -> Result<T, StorageError>) -> Result<T, StoreError> {
        let view = self.0.view();
        if let Some(Ok(value)) = view.as_deref().map(&mut read) {
            return Ok(value);
        }
        let reopened = self.0.recover(view.as_ref()).map_err(|error| StoreError(error.to_string()))?;
        read(&reopened).map_err(|error| StoreError(format!("{}: {error}", self.0.path.display())))
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

/// The one writer, and the view that readers share.
pub(super) struct Ledger {
    path: PathBuf,
    cache_bytes: usize,
    counters: Arc<Counters>,
    storage: OpenStorage,
    writer: Mutex<Writer>,
    view: RwLock<Option<Arc<View>>>,
}

/// Opens, or makes, the file that lies under redb.
pub(super) type OpenStorage = fn(&Path) -> io::Result<Box<dyn StorageBackend>>;

#[derive(Default)]
struct Writer {
    /// `None` while the file cannot be opened.
    database: Option<Database>,
    /// Of the newest transaction.
    number: u64,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes it when nothing has that name.
    pub(super) fn open(path: &Path, cache_bytes: usize, counters: Arc<Counters>) -> Result<Self, LedgerError> {
        Self::open_on(path, cache_bytes, counters, open_file)
    }

    fn open_on(
        path: &Path,
        cache_bytes: usize,
        counters: Arc<Counters>,
        storage: OpenStorage,
    ) -> Result<Self, LedgerError> {
        let ledger = Self {
            path: path.to_owned(),
            cache_bytes,
            counters,
            storage,
            writer: Mutex::default(),
            view: RwLock::default(),
        };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => ledger.check()?,
            Ok(_) => return Err(ledger.broken("it is not a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ledger.make()?,
            Err(error) => return Err(ledger.unusable(&error)),
        }
        ledger.reopen(&mut ledger.writer())?;
        Ok(ledger)
    }

    /// Makes `batch` durable, whole or not at all. When it fails the ledger stays usable.
    pub(super) fn commit(&self, batch: &Batch) -> Result<(), DiskError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer();
        if writer.database.is_none() {
            self.reopen(&mut writer).map_err(LedgerError::into_disk_error)?;
        }
        let number = writer.number + 1;
        let database = writer.database.as_ref().expect("it was opened above");
        let error = match write(database, batch, number).and_then(|()| View::of(database)) {
            Ok(view) => {
                writer.number = number;
                self.show(Some(Arc::new(view)));
                return Ok(());
            }
            Err(error) => error,
        };
        // The last sync may have failed after the transaction was whole: the file itself tells.
        match self.reopen(&mut writer) {
            Ok(_) if writer.number == number => Ok(()),
            _ => Err(self.refused(error).into_disk_error()),
        }
    }

    /// The view after the database was opened again, if that has not happened since `seen`.
    fn recover(&self, seen: Option<&Arc<View>>) -> Result<Arc<View>, LedgerError> {
        // Whoever holds the writer while the database is shut opens it again before letting go.
        let mut writer = self.writer();
        match self.view() {
            Some(view) if seen.is_none_or(|seen| !Arc::ptr_eq(&view, seen)) => Ok(view),
            _ => self.reopen(&mut writer),
        }
    }

    fn reopen(&self, writer: &mut Writer) -> Result<Arc<View>, LedgerError> {
        self.show(None);
        writer.database = None;
        let storage = self.storage(&self.path)?;
        let database = self.builder().create_with_backend(storage).map_err(|error| self.refused(error.into()))?;
        let view = Arc::new(View::of(&database).map_err(|error| self.refused(error))?);
        writer.number = view.number;
        writer.database = Some(database);
        self.show(Some(view.clone()));
        Ok(view)
    }

    /// Makes an empty ledger under another name first: a cut leaves a whole one or none.
    fn make(&self) -> Result<(), LedgerError> {
        let draft = self.path.with_extension("new");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.unusable(&error)),
            _ => {}
        }
        let storage = self.storage(&draft)?;
        let database = self.builder().create_with_backend(storage).map_err(|error| self.refused(error.into()))?;
        let mut batch = Batch::default();
        batch.put(Table::Meta, FORMAT_KEY, FORMAT.to_string().into_bytes());
        write(&database, &batch, 0).map_err(|error| self.refused(error))?;
        database.close().map_err(|error| self.refused(error.into()))?;
        fs::rename(&draft, &self.path).and_then(|()| sync_parent(&self.path)).map_err(|error| self.unusable(&error))
    }

    /// Looks at a ledger before it is opened for writing, so that one that is not ours stays as it is.
    fn check(&self) -> Result<(), LedgerError> {
        let storage = self.storage(&self.path)?;
        let database = match self.builder().open_read_only_with_backend(storage) {
            Ok(database) => database,
            // Only a repair, which writes, can tell.
            Err(DatabaseError::RepairAborted) => return Ok(()),
            Err(error) => return Err(self.refused(error.into())),
        };
        let view = View::of(&database).map_err(|error| self.refused(error))?;
        let format = match view.table(Table::Meta) {
            Some(meta) => meta.get(FORMAT_KEY).map_err(|error| self.refused(error.into()))?,
            None => None,
        };
        let Some(format) = format else { return Err(self.broken("it is another program's database")) };
        match std::str::from_utf8(format.value()).ok().and_then(|format| format.parse::<u32>().ok()) {
            Some(FORMAT) => Ok(()),
            Some(format) if format > FORMAT => Err(LedgerError::Newer { path: self.path.clone(), format }),
            _ => Err(self.broken("its format is unknown")),
        }
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes);
        builder
    }

    fn storage(&self, path: &Path) -> Result<Counted, LedgerError> {
        match (self.storage)(path) {
            Ok(storage) => Ok(Counted { storage, counters: self.counters.clone() }),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> Option<Arc<View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, view: Option<Arc<View>>) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    fn refused(&self, error: redb::Error) -> LedgerError {
        match error {
            redb::Error::Io(error) => match error.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => self.broken(&error.to_string()),
                _ => self.unusable(&error),
            },
            error => self.broken(&error.to_string()),
        }
    }

    fn unusable(&self, error: &io::Error) -> LedgerError {
        LedgerError::Unusable(disk_error(&self.path, error))
    }

    fn broken(&self, why: &str) -> LedgerError {
        LedgerError::Broken { path: self.path.clone(), why: why.to_owned() }
    }
}

/// Why a ledger cannot be opened. It is left as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LedgerError {
    /// It is not what a node wrote.
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer node wrote it.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// The operating system refuses.
    Unusable(DiskError),
}

impl LedgerError {
    fn into_disk_error(self) -> DiskError {
        match self {
            LedgerError::Unusable(error) => error,
            error => DiskError::Io(error.to_string()),
        }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::Broken { path, why } => write!(
                f,
                "the ledger {} is broken: {why}: put a backup of it in its place, or start anew with another --state",
                path.display()
            ),
            LedgerError::Newer { path, format } => write!(
                f,
                "the ledger {} has format {format}, and this version knows up to {FORMAT}: run a newer version",
                path.display()
            ),
            LedgerError::Unusable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LedgerError {}

/// A snapshot with its tables open.
struct View {
    /// Of the transaction that made it.
    number: u64,
    /// In the order of [`Table`]; `None` for a table to which nothing was ever written.
    tables: [Option<Pairs>; Table::ALL.len()],
}

type Pairs = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl View {
    fn of(database: &impl ReadableDatabase) -> Result<Self, redb::Error> {
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

    fn table(&self, table: Table) -> Option<&Pairs> {
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

fn write(database: &Database, batch: &Batch, number: u64) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // Without it, opening after a cut walks the whole file.
    transaction.set_quick_repair(true);
    write_tables(&transaction, batch)?;
    transaction.open_table(OWN)?.insert(NUMBER_KEY, &number.to_be_bytes()[..])?;
    Ok(transaction.commit()?)
}

fn write_tables(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut writes = batch.writes.iter().peekable();
    while let Some(((table, _), _)) = writes.peek() {
        let table = *table;
        let mut pairs = transaction.open_table(definition(table))?;
        while let Some(((_, key), value)) = writes.next_if(|((next, _), _)| *next == table) {
            match value {
                Some(value) => pairs.insert(key.as_slice(), value.as_ref())?,
                None => pairs.remove(key.as_slice())?,
            };
        }
    }
    Ok(())
}

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

fn open_file(path: &Path) -> io::Result<Box<dyn StorageBackend>> {
    let file = private_file().create(true).open(path)?;
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// Counts syncs. The state directory's lock already keeps others out, so it offers redb none.
#[derive(Debug)]
struct Counted {
    storage: Box<dyn StorageBackend>,
    counters: Arc<Counters>,
}

impl StorageBackend for Counted {
    fn len(&self) -> io::Result<u64> {
        self.storage.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.storage.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counters.synced();
        self.storage.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.storage.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.storage.close()
    }
}

/// What the ledger notes for itself.
const OWN: Definition = TableDefinition::new("ledger");
/// In [`OWN`]: the number of the newest transaction, 8 bytes big-endian.
const NUMBER_KEY: &[u8] = b"number";
/// In [`Table::Meta`]: the format in decimal digits.
const FORMAT_KEY: &[u8] = b"format";
/// The format of all tables together.
const FORMAT: u32 = 1;

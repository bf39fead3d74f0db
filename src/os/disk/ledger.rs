//! The ledger's database: a redb file that is opened with care, written by whole batches, and read through a snapshot.
//!
//! redb shuts itself after any failed read or write. The ledger then closes it and opens it again, so that a full disk
//! stops only what had to be written: reads go on, and later commits are tried anew.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Bound;
use std::panic::PanicHookInfo;
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
use crate::os::state::{StateDir, private_file, sync_parent};

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
type OpenStorage = Box<dyn Fn(&Path) -> io::Result<Box<dyn StorageBackend>> + Send + Sync>;

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
        Self::open_on(path, cache_bytes, counters, Box::new(open_file))
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
        let view = ledger.reopen(&mut ledger.writer())?;
        ledger.check_format(&view)?;
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
            // It was not closed; only opening it for writing can tell.
            Err(DatabaseError::RepairAborted) => return Ok(()),
            Err(error) => return Err(self.refused(error.into())),
        };
        self.check_format(&View::of(&database).map_err(|error| self.refused(error))?)
    }

    fn check_format(&self, view: &View) -> Result<(), LedgerError> {
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
    /// It is gone, and what it described is not.
    Gone {
        /// The file.
        path: PathBuf,
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
            LedgerError::Gone { path } => write!(
                f,
                "the ledger {} is gone, but the slabs beside it are not: put it back, or move the slabs away to start anew",
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

/// What a panic means that came out of the database: redb takes a page that is not what it wrote for a fault of its
/// own, and checking each page at opening would read the whole file. For the program's panic hook.
pub fn ledger_panic(directory: &StateDir, panic: &PanicHookInfo<'_>) -> Option<LedgerError> {
    let location = panic.location().filter(|location| location.file().contains("redb"))?;
    let why = format!("a page of it is damaged ({}:{})", location.file(), location.line());
    Some(LedgerError::Broken { path: directory.ledger(), why })
}

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

#[cfg(test)]
mod tests {
    use std::env;
    use std::panic;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use nix::errno::Errno;

    use super::*;
    use crate::os::state::tests::Scratch;

    #[test]
    fn batches_read_back_and_survive_reopening() {
        let scratch = Scratch::new();
        let path = scratch.path().join("ledger.redb");
        let store = open(&path).unwrap();
        store
            .0
            .commit(&batch(&[(Table::Records, "b", "2"), (Table::Records, "a", "1"), (Table::Drafts, "a", "x")]))
            .unwrap();
        let mut second = batch(&[(Table::Records, "c", "3")]);
        second.delete(Table::Records, "a");
        store.0.commit(&second).unwrap();
        for store in [store.clone(), {
            drop(store);
            open(&path).unwrap()
        }] {
            assert_eq!(get(&store, Table::Records, "a"), None);
            assert_eq!(get(&store, Table::Records, "b"), Some("2".into()));
            assert_eq!(get(&store, Table::Drafts, "a"), Some("x".into()));
            assert_eq!(get(&store, Table::Addresses, "a"), None);
            assert_eq!(list(&store, "a", "d", 9), ["b=2", "c=3"]);
            assert_eq!(list(&store, "b", "c", 9), ["b=2"]);
            assert_eq!(list(&store, "a", "d", 1), ["b=2"]);
            assert!(list(&store, "d", "a", 9).is_empty() && list(&store, "b", "b", 9).is_empty());
            drop(store);
        }
        assert!(Table::ALL.iter().enumerate().all(|(index, table)| *table as usize == index));
    }

    #[test]
    fn what_is_no_ledger_of_ours_is_refused_and_left_as_it_is() {
        let scratch = Scratch::new();
        let whole = scratch.path().join("whole");
        drop(open(&whole).unwrap());
        let whole = fs::read(whole).unwrap();
        let foreign = scratch.path().join("foreign");
        drop(Database::create(&foreign).unwrap());
        let mut scrambled = whole.clone();
        scrambled[64..320].fill(0xa5);
        let cases: [(&str, Vec<u8>); 6] = [
            ("empty", Vec::new()),
            ("short", whole[..5].to_vec()),
            ("text", b"this is not a database\n".repeat(400)),
            ("foreign", fs::read(&foreign).unwrap()),
            ("cut", whole[..whole.len() / 2].to_vec()),
            ("scrambled", scrambled),
        ];
        for (name, bytes) in cases {
            let path = scratch.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let error = open(&path).expect_err(name);
            assert!(matches!(error, LedgerError::Broken { .. }), "{name}: {error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{name}: {error}");
            assert!(fs::read(&path).unwrap() == bytes, "{name} was changed");
        }
        assert!(matches!(open(scratch.path()), Err(LedgerError::Broken { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_and_left_as_it_is() {
        let scratch = Scratch::new();
        let path = scratch.path().join("ledger.redb");
        let store = open(&path).unwrap();
        assert_eq!(get(&store, Table::Meta, "format"), Some("1".into()));
        store.0.commit(&batch(&[(Table::Meta, "format", "2")])).unwrap();
        let cut = scratch.path().join("cut");
        fs::copy(&path, &cut).unwrap();
        assert_eq!(open(&cut).unwrap_err(), LedgerError::Newer { path: cut, format: 2 });
        drop(store);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(open(&path).unwrap_err(), LedgerError::Newer { path: path.clone(), format: 2 });
        assert!(fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn a_cut_while_it_is_made_leaves_nothing_in_the_way() {
        let scratch = Scratch::new();
        fs::write(scratch.path().join("ledger.new"), b"half").unwrap();
        let store = open(&scratch.path().join("ledger.redb")).unwrap();
        assert_eq!(get(&store, Table::Meta, "format"), Some("1".into()));
        assert!(!scratch.path().join("ledger.new").exists());
    }

    #[test]
    fn after_a_cut_it_opens_without_a_walk_through_the_file() {
        let scratch = Scratch::new();
        let path = scratch.path().join("ledger.redb");
        let store = open(&path).unwrap();
        for number in ["1", "2", "3"] {
            store.0.commit(&batch(&[(Table::Records, "key", number)])).unwrap();
            let cut = scratch.path().join(number);
            fs::copy(&path, &cut).unwrap();
            let mut builder = Builder::new();
            builder.set_repair_callback(|_| panic!("the whole file is read"));
            let database = builder.open(&cut).unwrap();
            assert_eq!(View::of(&database).unwrap().number, number.parse::<u64>().unwrap());
            drop(database);
            assert_eq!(get(&open(&cut).unwrap(), Table::Records, "key"), Some(number.into()));
        }
    }

    /// redb panics on a page that it did not write; the release build then aborts, so only the hook can speak.
    #[test]
    fn a_damaged_page_is_told_with_the_file_and_the_remedy() {
        if let Some(directory) = env::var_os("DUSTFS_TEST_DAMAGED") {
            let state = StateDir::open(directory).unwrap();
            let damaged = state.clone();
            panic::set_hook(Box::new(move |panic| {
                eprintln!("{}", ledger_panic(&damaged, panic).unwrap());
            }));
            let _ = open(&state.ledger()).map(|store| list(&store, "", "~", 9));
            return;
        }
        let scratch = Scratch::new();
        let path = scratch.path().join("ledger.redb");
        drop(open(&path).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes[4_096..].fill(0);
        fs::write(&path, bytes).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "os::disk::ledger::tests::a_damaged_page_is_told_with_the_file_and_the_remedy",
            ])
            .env("DUSTFS_TEST_DAMAGED", scratch.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(said.contains(&format!("the ledger {} is broken", path.display())), "{said}");
        assert!(said.contains("put a backup of it in its place"), "{said}");
    }

    /// Fails each access of a commit in turn, once before and once after it took place.
    #[test]
    fn a_commit_that_fails_anywhere_is_whole_or_absent_and_the_next_succeeds() {
        for (errno, full) in [(Errno::ENOSPC, true), (Errno::EIO, false)] {
            for after in [false, true] {
                let (mut failed, mut saved) = (0, 0);
                for access in 1.. {
                    let scratch = Scratch::new();
                    let (store, fault) = open_faulty(&scratch.path().join("ledger.redb"));
                    store.0.commit(&batch(&[(Table::Records, "kept", "1")])).unwrap();
                    let stop = Arc::new(AtomicBool::new(false));
                    let reader = read_until(stop.clone(), store.clone());
                    fault.arm(access, errno, after);
                    let committed =
                        store.0.commit(&batch(&[(Table::Records, "new", "1"), (Table::Commits, "new", "1")]));
                    let fired = fault.disarm();
                    let landed = get(&store, Table::Records, "new").is_some();
                    assert_eq!(get(&store, Table::Commits, "new").is_some(), landed, "access {access}");
                    match &committed {
                        Ok(()) => {
                            assert!(landed, "access {access}");
                            saved += usize::from(fired);
                        }
                        Err(error) => {
                            assert!(fired && !landed, "access {access}");
                            assert_eq!(*error == DiskError::Full, full, "{error}");
                            failed += 1;
                        }
                    }
                    store.0.commit(&batch(&[(Table::Records, "later", "1")])).unwrap();
                    stop.store(true, Ordering::Relaxed);
                    assert!(reader.join().unwrap() > 0);
                    drop(store);
                    let store = open(&scratch.path().join("ledger.redb")).unwrap();
                    for (key, there) in [("kept", true), ("later", true), ("new", landed)] {
                        assert_eq!(get(&store, Table::Records, key).is_some(), there, "{key}, access {access}");
                    }
                    if !fired {
                        break;
                    }
                }
                assert!(failed >= 3, "only {failed} accesses of a commit could fail it");
                // All but the last sync was made, and opening the file again makes up for that.
                assert!(saved > 0, "no failure came after the transaction was whole");
            }
        }
    }

    #[test]
    fn a_read_that_fails_is_tried_again_and_reading_goes_on() {
        let scratch = Scratch::new();
        let (store, fault) = open_faulty(&scratch.path().join("ledger.redb"));
        let mut many = Batch::default();
        for number in 0..200_u32 {
            many.put(Table::Records, format!("{number:04}"), vec![7; 3_000]);
        }
        store.0.commit(&many).unwrap();
        store.0.recover(store.0.view().as_ref()).unwrap();
        for access in 1..60 {
            fault.arm_reads(access);
            let mut seen = 0;
            let read = store.range(Table::Records, b"", b"~", &mut |key, value| {
                assert_eq!((key, value.len()), (format!("{seen:04}").as_bytes(), 3_000));
                seen += 1;
                true
            });
            assert_eq!((read, seen), (Ok(()), 200), "access {access}");
            fault.disarm();
            store.0.recover(store.0.view().as_ref()).unwrap();
        }
    }

    fn open(path: &Path) -> Result<RedbStore, LedgerError> {
        Ok(RedbStore::new(Arc::new(Ledger::open(path, 1 << 20, Arc::default())?)))
    }

    fn open_faulty(path: &Path) -> (RedbStore, Arc<Fault>) {
        let fault = Arc::new(Fault::default());
        let armed = fault.clone();
        let storage: OpenStorage = Box::new(move |path| {
            Ok(Box::new(Faulty { storage: open_file(path)?, fault: armed.clone() }) as Box<dyn StorageBackend>)
        });
        let ledger = Ledger::open_on(path, 1 << 20, Arc::default(), storage).unwrap();
        (RedbStore::new(Arc::new(ledger)), fault)
    }

    fn batch(writes: &[(Table, &'static str, &'static str)]) -> Batch {
        let mut batch = Batch::default();
        for (table, key, value) in writes {
            batch.put(*table, *key, *value);
        }
        batch
    }

    fn get(store: &RedbStore, table: Table, key: &str) -> Option<Bytes> {
        store.get(table, key.as_bytes()).unwrap()
    }

    fn list(store: &RedbStore, from: &str, to: &str, most: usize) -> Vec<String> {
        let mut found = Vec::new();
        store
            .range(Table::Records, from.as_bytes(), to.as_bytes(), &mut |key, value| {
                found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
                found.len() < most
            })
            .unwrap();
        found
    }

    /// Reads without a pause; how often.
    fn read_until(stop: Arc<AtomicBool>, store: RedbStore) -> thread::JoinHandle<usize> {
        let (started, start) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(get(&store, Table::Records, "kept"), Some("1".into()));
                reads += 1;
                let _ = started.send(());
            }
            reads
        });
        start.recv().unwrap();
        reader
    }

    /// Fails one access to the file.
    #[derive(Default, Debug)]
    struct Fault(Mutex<Option<Armed>>);

    #[derive(Debug)]
    struct Armed {
        left: usize,
        errno: Errno,
        after: bool,
        reads: bool,
        fired: bool,
    }

    impl Fault {
        /// The access from now on that fails, of writes and syncs.
        fn arm(&self, access: usize, errno: Errno, after: bool) {
            *self.0.lock().unwrap() = Some(Armed { left: access, errno, after, reads: false, fired: false });
        }

        fn arm_reads(&self, access: usize) {
            *self.0.lock().unwrap() =
                Some(Armed { left: access, errno: Errno::EIO, after: false, reads: true, fired: false });
        }

        fn disarm(&self) -> bool {
            self.0.lock().unwrap().take().is_some_and(|armed| armed.fired)
        }

        fn strike(&self, read: bool, access: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
            let strike = self.0.lock().unwrap().as_mut().filter(|armed| armed.reads == read).and_then(|armed| {
                armed.left = armed.left.saturating_sub(usize::from(!armed.fired));
                (armed.left == 0 && !std::mem::replace(&mut armed.fired, armed.left == 0))
                    .then_some((armed.errno, armed.after))
            });
            match strike {
                Some((errno, after)) => {
                    if after {
                        access()?;
                    }
                    Err(errno.into())
                }
                None => access(),
            }
        }
    }

    #[derive(Debug)]
    struct Faulty {
        storage: Box<dyn StorageBackend>,
        fault: Arc<Fault>,
    }

    impl StorageBackend for Faulty {
        fn len(&self) -> io::Result<u64> {
            self.storage.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.fault.strike(true, || self.storage.read(offset, out))
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.fault.strike(false, || self.storage.set_len(len))
        }

        fn sync_data(&self) -> io::Result<()> {
            self.fault.strike(false, || self.storage.sync_data())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.fault.strike(false, || self.storage.write(offset, data))
        }

        fn close(&self) -> io::Result<()> {
            self.storage.close()
        }
    }
}

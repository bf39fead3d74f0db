//! The ledger's database: a redb file that is opened with care, written by whole batches, and read through a snapshot.
//!
//! redb shuts itself after any failed read or write. The ledger then closes it and opens it again, so that a full disk
//! stops only what had to be written: reads go on, and later commits are tried anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Builder, Database, DatabaseError, Durability, WriteTransaction};

use super::counters::Counters;
use super::error::{LedgerError, disk_error};
use super::files::{Files, System};
use super::storage::Storage;
use super::store::{NUMBER_KEY, OWN, View, definition};
use crate::base::{Batch, Table};
use crate::node::io::DiskError;
use crate::os::state::parent_of;

/// The one writer, and the view that readers share.
pub(super) struct Ledger {
    pub(super) path: PathBuf,
    cache_bytes: usize,
    counters: Arc<Counters>,
    files: Arc<dyn Files>,
    writer: Mutex<Writer>,
    view: RwLock<Option<Arc<View>>>,
}

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
        Self::open_on(path, cache_bytes, counters, Arc::new(System))
    }

    /// The same on these files.
    pub(super) fn open_on(
        path: &Path,
        cache_bytes: usize,
        counters: Arc<Counters>,
        files: Arc<dyn Files>,
    ) -> Result<Self, LedgerError> {
        let ledger = Self {
            path: path.to_owned(),
            cache_bytes,
            counters,
            files,
            writer: Mutex::default(),
            view: RwLock::default(),
        };
        match ledger.files.is_file(path) {
            Ok(true) => ledger.check()?,
            Ok(false) => return Err(ledger.broken("it is not a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ledger.make()?,
            Err(error) => return Err(ledger.unusable(&error)),
        }
        // A start reads nearly all of it, in no order: a disk that turns would seek for each page.
        if let Ok(file) = ledger.files.open(path) {
            file.read_soon();
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
            self.reopen(&mut writer).map_err(|error| match error {
                LedgerError::Unusable(error) => error,
                error => DiskError::Io(error.to_string()),
            })?;
        }
        let mut result = self.try_commit(&mut writer, batch);
        // A reader came upon an error before, and the database had shut itself.
        if matches!(result, Err(redb::Error::PreviousIo)) && writer.database.is_some() {
            result = self.try_commit(&mut writer, batch);
        }
        result.map_err(|error| match error {
            redb::Error::Io(error) => disk_error(&self.path, &error),
            error => DiskError::Io(format!("{}: {error}", self.path.display())),
        })
    }

    fn try_commit(&self, writer: &mut Writer, batch: &Batch) -> Result<(), redb::Error> {
        let number = writer.number + 1;
        let database = writer.database.as_ref().expect("whoever commits opens it first");
        let error = match write(database, batch, number).and_then(|()| View::of(database)) {
            Ok(view) => {
                writer.number = number;
                self.show(Some(Arc::new(view)));
                return Ok(());
            }
            Err(error) => error,
        };
        // The last sync may have failed after the transaction was whole: the file itself tells.
        match self.reopen(writer) {
            Ok(_) if writer.number == number => Ok(()),
            _ => Err(error),
        }
    }

    /// The view after the database was opened again, if that has not happened since `seen`.
    pub(super) fn recover(&self, seen: Option<&Arc<View>>) -> Result<Arc<View>, LedgerError> {
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
        self.check_format(&view)?;
        writer.number = view.number;
        writer.database = Some(database);
        self.show(Some(view.clone()));
        Ok(view)
    }

    /// Makes an empty ledger under another name first: a cut leaves a whole one or none.
    fn make(&self) -> Result<(), LedgerError> {
        let draft = self.path.with_extension("new");
        match self.files.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.unusable(&error)),
            _ => {}
        }
        self.files.make(&draft).map_err(|error| self.unusable(&error))?;
        let storage = self.storage(&draft)?;
        let database = self.builder().create_with_backend(storage).map_err(|error| self.refused(error.into()))?;
        let mut batch = Batch::default();
        batch.put(Table::Meta, FORMAT_KEY, FORMAT.to_string().into_bytes());
        write(&database, &batch, 0).map_err(|error| self.refused(error))?;
        database.close().map_err(|error| self.refused(error.into()))?;
        let renamed = self.files.rename(&draft, &self.path);
        let renamed = renamed.and_then(|()| self.files.sync_directory(parent_of(&self.path)));
        renamed.map_err(|error| self.unusable(&error))
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
        #[cfg(test)]
        builder.set_repair_callback(|_| super::cuts::repaired());
        builder
    }

    fn storage(&self, path: &Path) -> Result<Storage, LedgerError> {
        match self.files.open(path) {
            Ok(file) => Ok(Storage { file, counters: self.counters.clone() }),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of the newest commit; `None` while the file cannot be opened.
    pub(super) fn view(&self) -> Option<Arc<View>> {
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

/// The format of all tables together.
pub(super) const FORMAT: u32 = 1;
/// In [`Table::Meta`]: the format in decimal digits.
const FORMAT_KEY: &[u8] = b"format";

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::panic;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use bytes::Bytes;
    use nix::errno::Errno;

    use super::super::error::ledger_panic;
    use super::super::storage::faults::{Fault, Faulty};
    use super::super::store::RedbStore;
    use super::*;
    use crate::base::Snapshot;
    use crate::os::state::StateDir;
    use crate::os::state::tests::Scratch;

    #[test]
    fn batches_read_back_and_survive_reopening() {
        let scratch = Scratch::new();
        let path = scratch.path().join("ledger.redb");
        let store = open(&path).unwrap();
        store
            .ledger()
            .commit(&batch(&[(Table::Records, "b", "2"), (Table::Records, "a", "1"), (Table::Drafts, "a", "x")]))
            .unwrap();
        let mut second = batch(&[(Table::Records, "c", "3")]);
        second.delete(Table::Records, "a");
        store.ledger().commit(&second).unwrap();
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
        store.ledger().commit(&batch(&[(Table::Meta, "format", "2")])).unwrap();
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
            store.ledger().commit(&batch(&[(Table::Records, "key", number)])).unwrap();
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
                    store.ledger().commit(&batch(&[(Table::Records, "kept", "1")])).unwrap();
                    let stop = Arc::new(AtomicBool::new(false));
                    let reader = read_until(stop.clone(), store.clone());
                    fault.arm(access, errno, after);
                    let committed =
                        store.ledger().commit(&batch(&[(Table::Records, "new", "1"), (Table::Commits, "new", "1")]));
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
                    store.ledger().commit(&batch(&[(Table::Records, "later", "1")])).unwrap();
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
    fn a_ledger_that_vanishes_is_not_made_anew() {
        let scratch = Scratch::new();
        let path = scratch.path().join("ledger.redb");
        let (store, fault) = open_faulty(&path);
        let aside = scratch.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        fault.arm(1, Errno::EIO, false);
        for _ in 0..2 {
            assert!(store.ledger().commit(&batch(&[(Table::Records, "new", "1")])).is_err());
            assert!(store.get(Table::Records, b"new").is_err());
            assert!(!path.exists());
        }
        fs::rename(&aside, &path).unwrap();
        assert_eq!(get(&store, Table::Records, "new"), None);
        store.ledger().commit(&batch(&[(Table::Records, "new", "1")])).unwrap();
    }

    #[test]
    fn a_commit_after_a_readers_error_succeeds() {
        let scratch = Scratch::new();
        let (store, fault) = open_faulty(&scratch.path().join("ledger.redb"));
        commit_many(&store);
        fault.arm_reads(1);
        // Not by way of the store, which would open the database again.
        let view = store.ledger().view().unwrap();
        assert!(view.table(Table::Records).unwrap().get(b"0100".as_slice()).is_err());
        store.ledger().commit(&batch(&[(Table::Records, "new", "1")])).unwrap();
        assert_eq!(get(&store, Table::Records, "new"), Some("1".into()));
    }

    #[test]
    fn a_read_that_fails_is_tried_again_and_reading_goes_on() {
        let scratch = Scratch::new();
        let (store, fault) = open_faulty(&scratch.path().join("ledger.redb"));
        commit_many(&store);
        for access in 1..60 {
            fault.arm_reads(access);
            let mut seen = 0;
            let read = store.range(Table::Records, b"", b"~", &mut |key, value| {
                assert_eq!((key, value.len()), (format!("{seen:04}").as_bytes(), 3_000));
                seen += 1;
                true
            });
            assert_eq!((read, seen), (Ok(()), 200), "access {access}");
            assert!(fault.disarm(), "access {access} was never made");
        }
    }

    fn open(path: &Path) -> Result<RedbStore, LedgerError> {
        Ok(RedbStore::new(Arc::new(Ledger::open(path, 1 << 20, Arc::default())?), None))
    }

    fn open_faulty(path: &Path) -> (RedbStore, Arc<Fault>) {
        let fault = Arc::new(Fault::default());
        let files = Arc::new(Faulty { under: Arc::new(System), fault: fault.clone() });
        let ledger = Ledger::open_on(path, 1 << 16, Arc::default(), files).unwrap();
        (RedbStore::new(Arc::new(ledger), None), fault)
    }

    /// Commits more than the cache holds.
    fn commit_many(store: &RedbStore) {
        let mut many = Batch::default();
        for number in 0..200_u32 {
            many.put(Table::Records, format!("{number:04}"), vec![7; 3_000]);
        }
        store.ledger().commit(&many).unwrap();
        store.ledger().recover(store.ledger().view().as_ref()).unwrap();
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
}

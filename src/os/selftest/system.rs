//! What the operating system and the C library must do: threads that wait for each other, files after 2038 and beyond
//! 4 GiB, a database that is there after it was closed.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::{Held, equal, words};
use crate::base::{Batch, CircleId, Snapshot, Table, Ticket};
use crate::node::io::{DiskRequest, Done, Segment};
use crate::os::disk::{Disk, DiskConfig, RedbStore};
use crate::seal::{CircleKey, EpochKeys, Suite};

/// Threads that wait for their turn: each adds one, THREADS after the other, ROUNDS times.
pub(super) fn threads(_: &Path) -> Result<Held, String> {
    let turn = Arc::new((Mutex::new(0_u64), Condvar::new()));
    let mut running = Vec::new();
    for number in 0..THREADS {
        let turn = turn.clone();
        let thread = Builder::new().name(format!("turn {number}")).spawn(move || {
            let (count, changed) = &*turn;
            for _ in 0..ROUNDS {
                let mut count = changed
                    .wait_while(count.lock().unwrap_or_else(PoisonError::into_inner), |count| {
                        *count % THREADS != number
                    })
                    .unwrap_or_else(PoisonError::into_inner);
                *count += 1;
                changed.notify_all();
            }
        });
        running.push(thread.map_err(words("starting a thread"))?);
    }
    for thread in running {
        thread.join().map_err(|_| "a thread panicked".to_owned())?;
    }
    let count = *turn.0.lock().unwrap_or_else(PoisonError::into_inner);
    equal("the count", count, THREADS * ROUNDS)?;
    Ok(Held::Yes(format!("{THREADS} threads took {count} turns")))
}

/// A file dated 2040 of more than 4 GiB, all but its ends a hole.
pub(super) fn files(place: &Path) -> Result<Held, String> {
    let path = place.join("far");
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(words("making a file"))?;
    let mut end = [0; FAR_BYTES.len()];
    file.write_all_at(FAR_BYTES, FAR_OFFSET).map_err(words("writing at 5 GiB"))?;
    file.read_exact_at(&mut end, FAR_OFFSET).map_err(words("reading at 5 GiB"))?;
    equal("what stands at 5 GiB", &end, FAR_BYTES)?;
    file.set_modified(UNIX_EPOCH + YEAR_2040).map_err(words("dating a file"))?;
    drop(file);

    let metadata = path.metadata().map_err(words("stat"))?;
    equal("the file's length", metadata.len(), FAR_OFFSET + FAR_BYTES.len() as u64)?;
    let modified = metadata.modified().map_err(words("stat's date"))?;
    equal("its date by the standard library", modified.duration_since(UNIX_EPOCH).ok(), Some(YEAR_2040))?;
    equal("its date in seconds", metadata.mtime(), YEAR_2040.as_secs() as i64)?;
    let stat = nix::sys::stat::stat(&path).map_err(words("nix's stat"))?;
    // What the type is differs from one libc to the next, and that it is 64 bits wide is what is tested.
    equal("its date by the C library", i128::from(stat.st_mtime), i128::from(YEAR_2040.as_secs()))?;
    Ok(Held::Yes(format!("dated 1 January 2040 ({} s), {} bytes long", stat.st_mtime, metadata.len())))
}

/// A chunk and the ledger's entries, written, closed, and read again.
pub(super) fn ledger(place: &Path) -> Result<Held, String> {
    let directory = place.join("state");
    let segment = Segment { slab: 0, offset: 0, length: 8_192 };
    let epoch = EpochKeys::derive(&CircleId([1; 32]), 1, Suite::ChaCha20Poly1305, &CircleKey([2; 32]));
    let plaintext = Bytes::from(vec![0xA5; 5_000]);

    let (disk, _, answers) = open(&directory)?;
    disk.submit(
        Ticket(1),
        DiskRequest::Seal { segment, key: epoch.chunk_key(), plaintext: plaintext.clone(), hash: false },
    );
    let Done::Sealed(Ok(None)) = next(&answers)? else { return Err("sealing a chunk into a slab failed".into()) };
    let mut batch = Batch::default();
    for number in 0..ENTRIES {
        batch.put(Table::Records, number.to_be_bytes(), number.to_string());
    }
    disk.submit(Ticket(2), DiskRequest::Commit { batch, sync: BTreeSet::from([segment.slab]) });
    let Done::Committed(committed) = next(&answers)? else { return Err("a commit had another's answer".into()) };
    committed.map_err(words("committing"))?;
    disk.stop();

    let (disk, store, answers) = open(&directory)?;
    disk.submit(Ticket(3), DiskRequest::Unseal { segment, key: epoch.chunk_key() });
    let Done::Unsealed(opened) = next(&answers)? else { return Err("opening had another's answer".into()) };
    let opened = opened.map_err(words("opening a chunk"))?;
    if !opened.starts_with(&plaintext) {
        return Err("a chunk opens to other bytes than were sealed".into());
    }
    let mut expected = 0_u32;
    let mut visit = |key: &[u8], value: &[u8]| {
        let right = key == expected.to_be_bytes() && value == expected.to_string().as_bytes();
        expected += u32::from(right);
        right
    };
    store.range(Table::Records, &[], &[0xFF; 4], &mut visit).map_err(words("reading"))?;
    equal("the entries in order", expected, ENTRIES)?;
    disk.stop();
    Ok(Held::Yes(format!("{ENTRIES} entries and a sealed chunk are there after closing")))
}

fn open(directory: &Path) -> Result<(Disk, RedbStore, Receiver<Done>), String> {
    let (mut disk, store) = Disk::open(DiskConfig::new(directory)).map_err(words("opening a state directory"))?;
    let (sender, answers) = mpsc::channel();
    let told = move |_, done| {
        // Where nobody listens any more the test has failed and said why.
        let _ = sender.send(done);
    };
    disk.start(Arc::new(told)).map_err(words("starting the disk"))?;
    Ok((disk, store, answers))
}

fn next(answers: &Receiver<Done>) -> Result<Done, String> {
    answers.recv_timeout(PATIENCE).map_err(|_| format!("the disk did not answer within {} s", PATIENCE.as_secs()))
}

const THREADS: u64 = 4;
const ROUNDS: u64 = 250;
const FAR_BYTES: &[u8; 12] = b"beyond 4 GiB";
const FAR_OFFSET: u64 = 5 << 30;
/// 1 January 2040, which 31 bits of seconds do not reach.
const YEAR_2040: Duration = Duration::from_secs(2_208_988_800);
const ENTRIES: u32 = 1_000;
/// More than a slow emulator takes.
const PATIENCE: Duration = Duration::from_secs(60);

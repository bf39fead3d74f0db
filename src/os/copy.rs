//! Copies a node's state to another directory, for a larger disk: while no node runs, holes stay holes, and what an
//! interrupted copy has done is not done again.
//!
//! The ledger comes last: a copy that is not whole has slabs and no ledger, which no node starts from.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use super::state::{DIRECTORY_MODE, StateDir, StateError, private_file, sync_parent};

/// Why a state was not copied.
#[derive(Debug)]
pub enum CopyError {
    /// One of the two directories.
    State(StateError),
    /// The new directory is somebody's already.
    Taken(PathBuf),
    /// The one that is to be copied holds no node.
    Empty(PathBuf),
    /// A file, and the operating system's words.
    File(PathBuf, String),
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::State(error) => error.fmt(f),
            CopyError::Taken(path) => {
                write!(f, "{} holds a node already: name a directory that is empty", path.display())
            }
            CopyError::Empty(path) => {
                write!(f, "{} holds no node: name the one to copy with --state", path.display())
            }
            CopyError::File(path, why) => {
                write!(f, "{} cannot be copied: {why}: mend that, and run the same command again", path.display())
            }
        }
    }
}

impl std::error::Error for CopyError {}

impl From<StateError> for CopyError {
    fn from(error: StateError) -> Self {
        CopyError::State(error)
    }
}

/// Copies the state at `from` to `to`, whose parent is there; `told` hears how many bytes of how many are done. The copy
/// is durable when it returns. Returns the bytes of all files.
pub fn copy_state(from: &Path, to: &Path, told: &mut dyn FnMut(u64, u64)) -> Result<u64, CopyError> {
    let from = StateDir::open(from)?;
    let _here = from.lock()?;
    if !from.ledger().exists() {
        return Err(CopyError::Empty(from.path().to_owned()));
    }
    let to = StateDir::open_or_create(to)?;
    let _there = to.lock()?;
    if to.ledger().exists() {
        return Err(CopyError::Taken(to.path().to_owned()));
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(to.slabs()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&to.slabs(), &error)),
        _ => {}
    }
    let own = [from.ledger(), from.lock_file(), from.socket()];
    let mut files = listed(&from.slabs())?;
    files.extend(listed(from.path())?.into_iter().filter(|path| !own.contains(path)));
    files.push(from.ledger());
    let size = |path: &PathBuf| fs::metadata(path).map(|metadata| metadata.len()).map_err(|error| failed(path, &error));
    let sizes: Vec<u64> = files.iter().map(size).collect::<Result<_, _>>()?;
    let (total, mut done) = (sizes.iter().sum(), 0);
    for (path, size) in files.iter().zip(sizes) {
        told(done, total);
        let below = path.strip_prefix(from.path()).expect("it was listed below it");
        copy_file(path, &to.path().join(below)).map_err(|error| failed(path, &error))?;
        done += size;
    }
    told(done, total);
    Ok(total)
}

/// The files in a directory, in order; none where there is no directory.
fn listed(directory: &Path) -> Result<Vec<PathBuf>, CopyError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(directory, &error))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(directory, &error))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Copies one file durably, unless it is there as it is here.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let metadata = source.metadata()?;
    let modified = metadata.modified()?;
    let same = |there: &fs::Metadata| there.len() == metadata.len() && there.modified().is_ok_and(|at| at == modified);
    if fs::metadata(to).is_ok_and(|there| same(&there)) {
        return Ok(());
    }
    // Under another name until it is whole.
    let mut draft = to.as_os_str().to_owned();
    draft.push(".copying");
    let draft = PathBuf::from(draft);
    let target = private_file().create(true).open(&draft)?;
    target.set_len(0)?;
    target.set_len(metadata.len())?;
    let (mut at, mut buffer) = (0, vec![0; BUFFER]);
    while let Some((data, hole)) = next_data(&source, at, metadata.len())? {
        at = data;
        while at < hole {
            let part = buffer.len().min(usize::try_from(hole - at).unwrap_or(usize::MAX));
            source.read_exact_at(&mut buffer[..part], at)?;
            target.write_all_at(&buffer[..part], at)?;
            at += part as u64;
        }
    }
    target.sync_all()?;
    target.set_modified(modified)?;
    target.sync_all()?;
    fs::rename(&draft, to)?;
    sync_parent(to)
}

/// Where the next data begins and ends from a place on (lseek(2)); where holes cannot be told, all is data.
fn next_data(file: &File, from: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= end {
        return Ok(None);
    }
    let seek = |at: u64, whence| lseek(file.as_fd(), at.try_into().map_err(|_| Errno::EFBIG)?, whence);
    match seek(from, Whence::SeekData) {
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some((from, end))),
        Err(errno) => Err(errno.into()),
        Ok(data) => {
            let data = u64::try_from(data).map_err(io::Error::other)?;
            let hole = seek(data, Whence::SeekHole)?;
            Ok(Some((data, u64::try_from(hole).map_err(io::Error::other)?.min(end))))
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> CopyError {
    CopyError::File(path.to_owned(), error.to_string())
}

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::os::state::tests::Scratch;

    fn read(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// A state with a slab of 8 MiB that holds two pieces.
    fn state() -> (Scratch, PathBuf) {
        let scratch = Scratch::new();
        let state = scratch.path().join("old");
        fs::create_dir_all(state.join("slabs")).unwrap();
        let slab = private_file().create(true).open(state.join("slabs/00000000")).unwrap();
        slab.set_len(8 << 20).unwrap();
        slab.write_all_at(&[7; 70_000], 0).unwrap();
        slab.write_all_at(&[8; 70_000], 4 << 20).unwrap();
        fs::write(state.join("slabs/00000001"), [9; 5_000]).unwrap();
        fs::write(state.join("key"), b"key").unwrap();
        fs::write(state.join("ledger.redb"), b"ledger").unwrap();
        (scratch, state)
    }

    #[test]
    fn all_is_copied_and_holes_stay_holes() {
        let (scratch, old) = state();
        let new = scratch.path().join("new");
        let mut told = Vec::new();
        let total = copy_state(&old, &new, &mut |done, total| told.push((done, total))).unwrap();
        assert_eq!(told.last(), Some(&(total, total)));
        for name in ["slabs/00000000", "slabs/00000001", "key", "ledger.redb"] {
            assert!(read(&old.join(name)) == read(&new.join(name)), "{name}");
        }
        let blocks = |path: &Path| fs::metadata(path.join("slabs/00000000")).unwrap().blocks();
        assert!(blocks(&new) <= blocks(&old).max(1_000), "{} {}", blocks(&new), blocks(&old));
        let mut names: Vec<_> = listed(&new).unwrap();
        names.extend(listed(&new.join("slabs")).unwrap());
        assert!(names.iter().all(|name| name.extension().is_none_or(|extension| extension != "copying")));
        assert!(matches!(copy_state(&old, &new, &mut |_, _| {}), Err(CopyError::Taken(_))));
    }

    #[test]
    fn an_interrupted_copy_starts_no_node_and_goes_on() {
        let (scratch, old) = state();
        let new = scratch.path().join("new");
        fs::create_dir_all(new.join("slabs/00000001.copying")).unwrap();
        let error = copy_state(&old, &new, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("run the same command again"), "{error}");
        assert!(!new.join("ledger.redb").exists() && new.join("slabs/00000000").exists());
        // Of what is whole already nothing is read again: it is not even opened for reading.
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let first = inode(&new.join("slabs/00000000"));
        fs::remove_dir(new.join("slabs/00000001.copying")).unwrap();
        copy_state(&old, &new, &mut |_, _| {}).unwrap();
        assert_eq!(inode(&new.join("slabs/00000000")), first);
        assert!(read(&new.join("slabs/00000001")) == [9; 5_000]);
    }

    #[test]
    fn what_changed_since_is_copied_again() {
        let (scratch, old) = state();
        let new = scratch.path().join("new");
        copy_state(&old, &new, &mut |_, _| {}).unwrap();
        fs::remove_file(new.join("ledger.redb")).unwrap();
        let slab = private_file().open(old.join("slabs/00000001")).unwrap();
        slab.write_all_at(&[1; 5_000], 0).unwrap();
        slab.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        copy_state(&old, &new, &mut |_, _| {}).unwrap();
        assert!(read(&new.join("slabs/00000001")) == [1; 5_000]);
    }

    #[test]
    fn a_running_node_and_an_empty_directory_are_refused() {
        let (scratch, old) = state();
        let new = scratch.path().join("new");
        let held = StateDir::open(&old).unwrap().lock().unwrap();
        assert!(matches!(copy_state(&old, &new, &mut |_, _| {}), Err(CopyError::State(StateError::InUse { .. }))));
        drop(held);
        fs::remove_file(old.join("ledger.redb")).unwrap();
        assert!(matches!(copy_state(&old, &new, &mut |_, _| {}), Err(CopyError::Empty(_))));
        assert!(!new.exists());
    }
}

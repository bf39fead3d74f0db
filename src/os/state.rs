//! The state directory: everything that a node keeps, readable by its owner alone, used by one node at a time.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// A directory that is there and that nobody else can look into.
///
/// ```text
/// ledger.redb   the database
/// slabs/        sealed pieces
/// key           under which the ledger's secrets are sealed, or the slot that a passphrase opens
/// socket        the API, while a node runs
/// password      hashes of the password for WebDAV, once there is one, sealed
/// lock          held by the node that runs; its pid
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory, or makes it; its parent must be there. Others' permissions on it are taken away.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, StateError> {
        let path = path.as_ref();
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Ok(()) => {
                sync_parent(path)
                    .map_err(|why| StateError::Unusable { path: path.to_owned(), why: why.to_string() })?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StateError::Uncreatable { path: path.to_owned(), why: error.to_string() }),
        }
        Self::open(path)
    }

    /// Opens a directory that is there already. Others' permissions on it are taken away.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StateError> {
        let path = path.as_ref().to_owned();
        let unusable = |error: io::Error| StateError::Unusable { path: path.clone(), why: error.to_string() };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StateError::Missing { path }),
            Err(error) => return Err(unusable(error)),
        };
        if !metadata.is_dir() {
            return Err(StateError::NotDirectory { path });
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&path, PermissionsExt::from_mode(DIRECTORY_MODE)).map_err(unusable)?;
        }
        Ok(Self { path })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.redb")
    }

    /// The directory of the slabs.
    pub fn slabs(&self) -> PathBuf {
        self.path.join("slabs")
    }

    /// The state key.
    pub fn key(&self) -> PathBuf {
        self.path.join("key")
    }

    /// The API's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.path.join("socket")
    }

    /// Held by the node that uses the directory.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Takes the directory for this process, until the answer is dropped or the process ends, however it ends.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        let path = self.lock_file();
        let unusable = |error: io::Error| StateError::Unusable { path: path.clone(), why: error.to_string() };
        let mut file = private_file().create(true).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let read = file.take(20).read_to_string(&mut owner);
                let pid = read.ok().and_then(|_| owner.trim().parse().ok());
                return Err(StateError::InUse { path: self.path.clone(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(StateLock { _file: file })
    }

    /// True while another process holds the directory: a node that runs.
    pub fn is_held(&self) -> bool {
        matches!(self.lock(), Err(StateError::InUse { .. }))
    }

    /// True while the node that holds the directory was killed and cannot end, since the kernel holds one of its threads.
    pub fn holder_is_dying(&self) -> bool {
        let Err(StateError::InUse { pid: Some(pid), .. }) = self.lock() else { return false };
        // proc(5): the state follows the name, which stands in parentheses and may hold any.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    }

    /// Waits until nobody holds the directory, for at most `time`.
    pub fn wait_until_free(&self, time: Duration) {
        let Ok(file) = private_file().open(self.lock_file()) else { return };
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let locked = file.lock();
            // Free again before it is told.
            drop(file);
            let _ = tell.send(locked);
        });
        let _ = told.recv_timeout(time);
    }
}

/// Keeps other nodes out of a state directory while it lives.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why a state directory cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateError {
    /// It is not there.
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be made.
    Uncreatable {
        /// The directory.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
    /// Something else has its name.
    NotDirectory {
        /// What was named.
        path: PathBuf,
    },
    /// Another node runs on it.
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other node, where it could be told.
        pid: Option<u32>,
    },
    /// The operating system refuses.
    Unusable {
        /// The directory or the file in it.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Missing { path } => {
                write!(
                    f,
                    "there is no state directory {}: make a node with init, or name another with --state",
                    path.display()
                )
            }
            StateError::Uncreatable { path, why } => {
                write!(f, "the state directory {} cannot be made: {why}: name another with --state", path.display())
            }
            StateError::NotDirectory { path } => {
                write!(f, "{} is not a directory: name another with --state", path.display())
            }
            StateError::InUse { path, pid: Some(pid) } => {
                write!(f, "a node runs on {} already, process {pid}: stop it first", path.display())
            }
            StateError::InUse { path, pid: None } => {
                write!(f, "a node runs on {} already: stop it first", path.display())
            }
            StateError::Unusable { path, why } => {
                write!(f, "{} cannot be used: {why}: check its owner and its permissions", path.display())
            }
        }
    }
}

impl std::error::Error for StateError {}

/// How a file that holds what is ours is opened: for reading and writing, and when it is made, for its owner alone.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).truncate(false).mode(FILE_MODE);
    options
}

/// Makes a name in the directory above `path` survive a power cut.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent_of(path))?.sync_all()
}

/// The directory above `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// For its owner alone.
pub(crate) const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

#[cfg(test)]
pub(crate) mod tests {
    use std::env;
    use std::process;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A directory of a test's own, removed with all in it when it is dropped.
    #[derive(Debug)]
    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("dustfs-test-{}-{number}", process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn it_is_made_for_its_owner_alone() {
        let scratch = Scratch::new();
        let path = scratch.path().join("state");
        assert_eq!(StateDir::open(&path), Err(StateError::Missing { path: path.clone() }));
        StateDir::open_or_create(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let state = StateDir::open_or_create(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let lock = state.lock().unwrap();
        assert_eq!(mode(&state.lock_file()), 0o600);
        drop(lock);
        assert!([state.ledger(), state.slabs(), state.socket()].iter().all(|file| file.starts_with(&path)));
    }

    #[test]
    fn what_cannot_be_a_state_directory_is_refused_by_name() {
        let scratch = Scratch::new();
        let file = scratch.path().join("file");
        fs::write(&file, b"").unwrap();
        assert_eq!(StateDir::open_or_create(&file), Err(StateError::NotDirectory { path: file.clone() }));
        for path in [scratch.path().join("no/parent"), file.join("below a file"), PathBuf::from("/proc/dustfs")] {
            let error = StateDir::open_or_create(&path).unwrap_err();
            assert!(matches!(error, StateError::Uncreatable { .. }), "{error:?}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn one_node_uses_it_at_a_time() {
        let scratch = Scratch::new();
        let state = StateDir::open_or_create(scratch.path()).unwrap();
        let lock = state.lock().unwrap();
        let error = state.lock().unwrap_err();
        assert_eq!(error, StateError::InUse { path: scratch.path().to_owned(), pid: Some(process::id()) });
        assert!(error.to_string().contains(&process::id().to_string()), "{error}");
        drop(lock);
        state.lock().unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }
}

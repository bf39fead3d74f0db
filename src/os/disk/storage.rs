//! The file under redb, with its syncs counted; in tests, files that fail when they are told to.

use std::io::{self, IoSlice};
use std::sync::Arc;

use redb::StorageBackend;

use super::counters::Counters;
use super::files::VaultFile;

/// Counts syncs. The state directory's lock already keeps others out, so it offers redb none.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) file: Arc<dyn VaultFile>,
    pub(super) counters: Arc<Counters>,
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counters.synced();
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(&mut [IoSlice::new(data)], offset)
    }
}

#[cfg(test)]
pub(super) mod faults {
    use std::path::Path;
    use std::sync::Mutex;

    use nix::errno::Errno;

    use super::super::files::Files;
    use super::*;

    /// Fails one access to a file.
    #[derive(Default, Debug)]
    pub(in crate::os::disk) struct Fault(Mutex<Option<Armed>>);

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
        pub(in crate::os::disk) fn arm(&self, access: usize, errno: Errno, after: bool) {
            *self.0.lock().unwrap() = Some(Armed { left: access, errno, after, reads: false, fired: false });
        }

        pub(in crate::os::disk) fn arm_reads(&self, access: usize) {
            *self.0.lock().unwrap() =
                Some(Armed { left: access, errno: Errno::EIO, after: false, reads: true, fired: false });
        }

        pub(in crate::os::disk) fn disarm(&self) -> bool {
            self.0.lock().unwrap().take().is_some_and(|armed| armed.fired)
        }

        fn strike<T>(&self, read: bool, access: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            let strike = self.0.lock().unwrap().as_mut().filter(|armed| armed.reads == read).and_then(|armed| {
                armed.left = armed.left.saturating_sub(1);
                let strikes = armed.left == 0 && !armed.fired;
                armed.fired |= strikes;
                strikes.then_some((armed.errno, armed.after))
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

    /// Files of which one access fails.
    #[derive(Debug)]
    pub(in crate::os::disk) struct Faulty {
        pub(in crate::os::disk) under: Arc<dyn Files>,
        pub(in crate::os::disk) fault: Arc<Fault>,
    }

    #[derive(Debug)]
    struct FaultyFile {
        under: Arc<dyn VaultFile>,
        fault: Arc<Fault>,
    }

    impl Faulty {
        fn file(&self, opened: io::Result<Arc<dyn VaultFile>>) -> io::Result<Arc<dyn VaultFile>> {
            Ok(Arc::new(FaultyFile { under: opened?, fault: self.fault.clone() }))
        }
    }

    impl Files for Faulty {
        fn open(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>> {
            self.file(self.under.open(path))
        }

        fn make(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>> {
            self.file(self.fault.strike(false, || self.under.make(path)))
        }

        fn make_directory(&self, path: &Path) -> io::Result<()> {
            self.under.make_directory(path)
        }

        fn is_file(&self, path: &Path) -> io::Result<bool> {
            self.under.is_file(path)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            self.fault.strike(false, || self.under.remove(path))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.fault.strike(false, || self.under.rename(from, to))
        }

        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            self.fault.strike(false, || self.under.sync_directory(path))
        }

        fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
            self.under.space(path)
        }
    }

    impl VaultFile for FaultyFile {
        fn len(&self) -> io::Result<u64> {
            self.under.len()
        }

        fn allocated(&self) -> io::Result<u64> {
            self.under.allocated()
        }

        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
            self.fault.strike(true, || self.under.read_at(out, offset))
        }

        fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
            self.fault.strike(false, || self.under.write_at(parts, offset))
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.fault.strike(false, || self.under.set_len(length))
        }

        fn sync(&self) -> io::Result<()> {
            self.fault.strike(false, || self.under.sync())
        }

        fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
            self.fault.strike(false, || self.under.punch(offset, length))
        }
    }
}

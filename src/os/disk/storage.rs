//! The file under redb, with its syncs counted; in tests, one that fails when it is told to.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::counters::Counters;
use crate::os::state::private_file;

/// Opens a file that is there.
pub(super) fn open_file(path: &Path) -> io::Result<Box<dyn StorageBackend>> {
    let file = private_file().open(path)?;
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}

/// Counts syncs. The state directory's lock already keeps others out, so it offers redb none.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) storage: Box<dyn StorageBackend>,
    pub(super) counters: Arc<Counters>,
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

#[cfg(test)]
pub(super) mod faults {
    use std::mem;
    use std::sync::Mutex;

    use nix::errno::Errno;

    use super::*;

    /// Fails one access to the file.
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

        fn strike(&self, read: bool, access: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
            let strike = self.0.lock().unwrap().as_mut().filter(|armed| armed.reads == read).and_then(|armed| {
                armed.left = armed.left.saturating_sub(usize::from(!armed.fired));
                (armed.left == 0 && !mem::replace(&mut armed.fired, armed.left == 0))
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
    pub(in crate::os::disk) struct Faulty {
        pub(in crate::os::disk) storage: Box<dyn StorageBackend>,
        pub(in crate::os::disk) fault: Arc<Fault>,
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

//! A directory for one test, removed with all that is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of a test's own; removed when it is dropped, after everything that is mounted below it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory whose name tells the test.
    pub fn new(test: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dustfs-{}-{}-{test}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the temporary directory can be written");
        Self(path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing may be removed through a mount.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(mount).starts_with(&self.0) {
                let _ = super::system(&["umount", "-l", mount]);
            }
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

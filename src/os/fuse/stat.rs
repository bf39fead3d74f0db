//! What stat(2) shows: what the tree tells, and the times that this mount keeps beside it.
//!
//! The tree has one time, that of a file's content, which friends share. When an entry of a directory came or went, when a
//! file's attributes changed, and an access time that somebody set, are this mount's own: in memory, bounded, and gone
//! with it. Telling them to friends would cost a record for each.

use std::collections::BTreeMap;
use std::sync::Mutex;

use fuser::{FileAttr, TimeOrNow};

use crate::base::WallTime;
use crate::node::io::{Attr, Inode};
use crate::wire::record::Kind;

use super::answer::{Owner, system_time, wall_time};
use super::lock;

/// See the module.
pub(super) struct Stats {
    owner: Owner,
    times: Mutex<Table>,
}

/// Two generations: what was not touched while the younger one filled is forgotten.
#[derive(Default)]
struct Table {
    young: BTreeMap<Inode, Times>,
    old: BTreeMap<Inode, Times>,
}

#[derive(Clone, Copy)]
struct Times {
    /// What the tree told as the time of modification when this was noted.
    told: WallTime,
    /// Of a directory whose entries changed: shown for as long as the tree tells the same.
    modified: Option<WallTime>,
    accessed: Option<WallTime>,
    changed: WallTime,
}

impl Stats {
    pub(super) fn new(owner: Owner) -> Self {
        Self { owner, times: Mutex::default() }
    }

    /// Who owns all files.
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// What stat(2) shows.
    pub(super) fn show(&self, attr: &Attr) -> FileAttr {
        let mut shown = self.owner.attr(attr);
        if let Some(times) = lock(&self.times).times(attr.inode) {
            let as_noted = times.told == attr.mtime;
            let modified = times.modified.filter(|_| as_noted).unwrap_or(attr.mtime);
            let changed = if as_noted { times.changed } else { times.changed.max(attr.mtime) };
            shown.mtime = system_time(modified);
            shown.ctime = system_time(changed);
            shown.atime = system_time(times.accessed.unwrap_or(modified));
        }
        shown
    }

    /// Attributes of this changed now. `accessed` is the access time that was set, `modified` says that the tree's time was.
    pub(super) fn changed(&self, attr: &Attr, accessed: Option<TimeOrNow>, modified: bool) {
        let mut table = lock(&self.times);
        let before = table.times(attr.inode);
        let still = before.filter(|times| !modified && times.told == attr.mtime);
        table.note(
            attr.inode,
            Times {
                told: attr.mtime,
                modified: still.and_then(|times| times.modified),
                accessed: accessed.map(wall_time).or(before.and_then(|times| times.accessed)),
                changed: wall_time(TimeOrNow::Now),
            },
        );
    }

    /// An entry of this directory came, went, or became another, now.
    pub(super) fn entries_changed(&self, directory: &Attr) {
        if directory.kind != Kind::Directory {
            return;
        }
        let mut table = lock(&self.times);
        let accessed = table.times(directory.inode).and_then(|times| times.accessed);
        let now = wall_time(TimeOrNow::Now);
        table.note(directory.inode, Times { told: directory.mtime, modified: Some(now), accessed, changed: now });
    }
}

impl Table {
    fn times(&self, inode: Inode) -> Option<Times> {
        self.young.get(&inode).or_else(|| self.old.get(&inode)).copied()
    }

    fn note(&mut self, inode: Inode, times: Times) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(inode, times);
    }
}

/// Inodes of one generation; both take at most 8 MiB.
const GENERATION_MAX: usize = 32_768;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn attr(inode: u64, kind: Kind, mtime: i64) -> Attr {
        Attr { inode: Inode(inode), kind, size: 0, mode: 0o755, mtime: WallTime(mtime), links: 1 }
    }

    #[test]
    fn a_directory_shows_when_its_entries_changed_until_its_time_is_set() {
        let stats = Stats::new(Owner { uid: 0, gid: 0 });
        let directory = attr(2, Kind::Directory, 5);
        assert_eq!(stats.show(&directory).mtime, UNIX_EPOCH + Duration::from_nanos(5));
        stats.entries_changed(&directory);
        let shown = stats.show(&directory);
        assert!(shown.mtime > UNIX_EPOCH + Duration::from_secs(1) && shown.ctime == shown.mtime);
        stats.changed(&directory, None, false);
        assert_eq!(stats.show(&directory).mtime, shown.mtime, "chmod leaves the time of modification alone");
        // A friend set another.
        assert_eq!(stats.show(&attr(2, Kind::Directory, 6)).mtime, UNIX_EPOCH + Duration::from_nanos(6));
        // Somebody here set the very one that the tree had.
        stats.changed(&directory, Some(TimeOrNow::SpecificTime(UNIX_EPOCH)), true);
        let shown = stats.show(&directory);
        assert_eq!((shown.mtime, shown.atime), (UNIX_EPOCH + Duration::from_nanos(5), UNIX_EPOCH));
        assert!(shown.ctime > shown.mtime);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest() {
        let stats = Stats::new(Owner { uid: 0, gid: 0 });
        for inode in 0..3 * GENERATION_MAX as u64 {
            stats.changed(&attr(inode, Kind::File, 0), None, false);
        }
        let table = lock(&stats.times);
        assert!(table.young.len() + table.old.len() <= 2 * GENERATION_MAX);
        assert!(table.times(Inode(3 * GENERATION_MAX as u64 - 1)).is_some() && table.times(Inode(0)).is_none());
    }
}

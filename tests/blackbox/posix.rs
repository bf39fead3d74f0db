//! What the mount does is what POSIX says: names, sizes, times, renames, links, open files that are deleted.

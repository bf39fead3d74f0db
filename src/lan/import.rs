//! What is told of an import: files of the machine's that are brought into the tree.

use serde::{Deserialize, Serialize};

/// How an import gets on, or went.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImportStatus {
    /// Where it goes, in the tree.
    pub into: String,
    /// It is over.
    pub ended: bool,
    /// Why it was given up, when not everything was tried.
    pub stopped: Option<String>,
    /// Everything was counted: the totals are no longer growing.
    pub counted: bool,
    /// Files, directories and symbolic links that were found so far.
    pub total: u64,
    /// Bytes of the files among them.
    pub total_bytes: u64,
    /// Those of them that are done with, well or not.
    pub done: u64,
    /// Bytes of the files that are done with, and of what is here of those under way.
    pub done_bytes: u64,
    /// Files that were brought in.
    pub files: u64,
    /// Bytes that were brought in.
    pub bytes: u64,
    /// Directories and symbolic links that were made.
    pub others: u64,
    /// What was there already.
    pub there: u64,
    /// Files of which the tree has a newer version, which stays.
    pub newer: u64,
    /// What could not be brought in, in number.
    pub failed: u64,
    /// The first of them, told at the end.
    pub failures: Vec<Failure>,
    /// Time that it takes or took, in milliseconds.
    pub time_ms: u64,
}

/// Something that was not brought in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Where it lies.
    pub path: String,
    /// Why.
    pub why: String,
}

/// Failures that are told of one by one.
pub const FAILURES_TOLD: usize = 1_000;

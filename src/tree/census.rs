//! Counting what a tree shows, for the status.

use super::Tree;

impl Tree {
    /// Bytes of all bodies that live.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().flat_map(|(_, object)| object.visible()).map(|body| body.size).sum()
    }

    /// Bodies that show beside the one that won.
    pub fn conflicts(&self) -> usize {
        self.conflicts.len()
    }
}

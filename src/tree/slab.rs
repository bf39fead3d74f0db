//! Objects and directories by small numbers, in blocks that never move, so that growing copies nothing.

use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};

/// Number of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    /// The root's: it comes first.
    pub(super) const ROOT: Slot = Slot(NonZeroU32::MIN);
    /// Sorts after all that are in use.
    pub(super) const LAST: Slot = Slot(NonZeroU32::MAX);
}

/// Number of a directory's table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TableSlot(NonZeroU32);

/// A number that a slab hands out.
pub(super) trait Number: Copy {
    /// From a position.
    fn mint(position: usize) -> Self;
    /// The position.
    fn position(self) -> usize;
}

impl Number for Slot {
    fn mint(position: usize) -> Self {
        Self(mint(position))
    }

    fn position(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Number for TableSlot {
    fn mint(position: usize) -> Self {
        Self(mint(position))
    }

    fn position(self) -> usize {
        self.0.get() as usize - 1
    }
}

fn mint(position: usize) -> NonZeroU32 {
    u32::try_from(position + 1).ok().and_then(NonZeroU32::new).expect("memory ends before 2^32 objects")
}

/// Values by number; freed numbers are used again.
pub(super) struct Slab<N, T> {
    blocks: Vec<Vec<T>>,
    free: Vec<N>,
}

impl<N: Number, T: Default> Slab<N, T> {
    pub(super) fn new() -> Self {
        Self { blocks: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> N {
        if let Some(number) = self.free.pop() {
            self[number] = value;
            return number;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let whole = (self.blocks.len() - 1) * BLOCK;
        let block = self.blocks.last_mut().expect("pushed above");
        block.push(value);
        N::mint(whole + block.len() - 1)
    }

    /// Takes the value out; its number may come again.
    pub(super) fn remove(&mut self, number: N) -> T {
        self.free.push(number);
        std::mem::take(&mut self[number])
    }

    /// All values, freed ones as their default.
    pub(super) fn iter(&self) -> impl Iterator<Item = (N, &T)> {
        self.blocks.iter().flatten().enumerate().map(|(position, value)| (N::mint(position), value))
    }
}

impl<N: Number, T> Index<N> for Slab<N, T> {
    type Output = T;

    fn index(&self, number: N) -> &T {
        &self.blocks[number.position() / BLOCK][number.position() % BLOCK]
    }
}

impl<N: Number, T> IndexMut<N> for Slab<N, T> {
    fn index_mut(&mut self, number: N) -> &mut T {
        &mut self.blocks[number.position() / BLOCK][number.position() % BLOCK]
    }
}

/// Values in one block.
const BLOCK: usize = 128;

//! Where readers of directories are: offsets that stay right while the directory changes.
//!
//! A directory is listed in the order of its names, so that what was there all the time is neither repeated nor left
//! out, whatever comes and goes. The kernel knows a place by a number alone; each entry gets one that this open
//! directory never uses again, and the names behind the newest numbers are kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::node::io::OpError;

use super::lock;

/// The open directories.
#[derive(Default)]
pub(super) struct Directories(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: u64,
    open: BTreeMap<u64, Arc<Mutex<Places>>>,
}

impl Directories {
    /// A new handle.
    pub(super) fn open(&self) -> u64 {
        let mut table = lock(&self.0);
        table.last += 1;
        let handle = table.last;
        table.open.insert(handle, Arc::default());
        handle
    }

    /// The places of an open directory.
    pub(super) fn places(&self, handle: u64) -> Result<Arc<Mutex<Places>>, OpError> {
        lock(&self.0).open.get(&handle).cloned().ok_or(OpError::BadHandle)
    }

    /// Forgets a handle.
    pub(super) fn release(&self, handle: u64) {
        lock(&self.0).open.remove(&handle);
    }
}

/// What the offsets of one open directory mean.
pub(super) struct Places {
    /// The number of the first name kept.
    first: u64,
    names: VecDeque<Box<[u8]>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { first: Place::FIRST_NAME, names: VecDeque::new() }
    }
}

/// Where to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// At `.`.
    Start,
    /// At `..`.
    Parent,
    /// At the first name.
    Names,
    /// After this name.
    After(Vec<u8>),
}

impl Place {
    /// The offset that follows `.`.
    pub(super) const PARENT: u64 = 1;
    /// The offset that follows `..`.
    pub(super) const NAMES: u64 = 2;
    const FIRST_NAME: u64 = 3;
}

impl Places {
    /// The place at an offset that was handed out.
    ///
    /// # Errors
    /// EINVAL for an offset that was not, or so long ago that its name is forgotten (seekdir(3) far back).
    pub(super) fn at(&self, offset: u64) -> Result<Place, OpError> {
        match offset {
            0 => Ok(Place::Start),
            Place::PARENT => Ok(Place::Parent),
            Place::NAMES => Ok(Place::Names),
            _ => offset
                .checked_sub(self.first)
                .and_then(|index| self.names.get(usize::try_from(index).ok()?))
                .map(|name| Place::After(name.to_vec()))
                .ok_or_else(|| OpError::Invalid("this place of the directory is no longer known".into())),
        }
    }

    /// The offset that the next [`Places::push`] will give.
    pub(super) fn next(&self) -> u64 {
        self.first + self.names.len() as u64
    }

    /// Remembers the name of an entry that was handed out.
    pub(super) fn push(&mut self, name: &[u8]) {
        if self.names.len() == NAMES_KEPT {
            self.names.pop_front();
            self.first += 1;
        }
        self.names.push_back(name.into());
    }
}

/// Names remembered for each open directory, at most 4 MiB of them; readers go back by one buffer of the kernel's.
const NAMES_KEPT: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_means_one_place_until_it_is_forgotten() {
        let mut places = Places::default();
        assert_eq!(places.at(0), Ok(Place::Start));
        assert_eq!(places.at(1), Ok(Place::Parent));
        assert_eq!(places.at(2), Ok(Place::Names));
        assert!(places.at(3).is_err());
        let last = Place::FIRST_NAME + 2 * NAMES_KEPT as u64;
        for number in Place::FIRST_NAME..=last {
            assert_eq!(places.next(), number);
            places.push(number.to_string().as_bytes());
            assert_eq!(places.at(number), Ok(Place::After(number.to_string().into_bytes())));
        }
        let oldest = last + 1 - NAMES_KEPT as u64;
        assert_eq!(places.at(oldest), Ok(Place::After(oldest.to_string().into_bytes())));
        assert!(places.at(oldest - 1).is_err());
        assert!(places.at(last + 1).is_err());
        assert!(places.at(u64::MAX).is_err());
        assert_eq!(places.at(0), Ok(Place::Start));
    }

    #[test]
    fn handles_are_not_used_again() {
        let directories = Directories::default();
        let first = directories.open();
        directories.release(first);
        assert!(directories.places(first).is_err());
        let second = directories.open();
        assert_ne!(first, second);
        assert!(directories.places(second).is_ok());
    }
}

//! Where whole torrents' chunks lie, as the ledger has it, kept decoded: those asked for last, as many as there is room
//! for. A file that was changed in many places has an extent for each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::InfoHash;
use crate::ledger::values::Extent;

/// See the module. Readers beside each other share it.
#[derive(Default)]
pub struct Layouts(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    layouts: BTreeMap<InfoHash, Layout>,
    /// Extents of all of them.
    extents: usize,
    /// Counts what was asked for.
    turn: u64,
}

struct Layout {
    extents: Arc<Vec<Extent>>,
    /// When it was asked for last.
    turn: u64,
}

impl Layouts {
    /// The layout, if it is kept.
    pub(super) fn get(&self, info_hash: &InfoHash) -> Option<Arc<Vec<Extent>>> {
        let mut kept = self.lock();
        kept.turn += 1;
        let turn = kept.turn;
        let layout = kept.layouts.get_mut(info_hash)?;
        layout.turn = turn;
        Some(layout.extents.clone())
    }

    /// Keeps a layout, for which those go that were not asked for the longest.
    pub(super) fn keep(&self, info_hash: &InfoHash, extents: &Arc<Vec<Extent>>) {
        let mut kept = self.lock();
        kept.remove(info_hash);
        let fits = |kept: &Kept| kept.layouts.len() < LAYOUTS && kept.extents + extents.len() <= EXTENTS;
        while !fits(&kept) {
            let Some(oldest) = kept.layouts.iter().min_by_key(|(_, layout)| layout.turn).map(|(key, _)| *key) else {
                break;
            };
            kept.remove(&oldest);
        }
        kept.turn += 1;
        let turn = kept.turn;
        kept.extents += extents.len();
        kept.layouts.insert(*info_hash, Layout { extents: extents.clone(), turn });
    }

    /// It lies elsewhere, or nowhere any more.
    pub(super) fn forget(&self, info_hash: &InfoHash) {
        self.lock().remove(info_hash);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, info_hash: &InfoHash) {
        if let Some(layout) = self.layouts.remove(info_hash) {
            self.extents -= layout.extents.len();
        }
    }
}

/// Layouts kept.
const LAYOUTS: usize = 64;
/// Extents of all layouts kept: 1 MiB, or the last one alone when it is longer.
const EXTENTS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Location;

    fn layout(extents: usize) -> Arc<Vec<Extent>> {
        let extent = |chunk| Extent { chunk, chunks: 1, location: Location { slab: 0, unit: chunk * 16 } };
        Arc::new((0..extents as u32).map(extent).collect())
    }

    fn hash(number: usize) -> InfoHash {
        InfoHash([number as u8; 20])
    }

    #[test]
    fn what_was_asked_for_last_stays() {
        let layouts = Layouts::default();
        for number in 0..LAYOUTS {
            layouts.keep(&hash(number), &layout(1));
        }
        assert!(layouts.get(&hash(0)).is_some());
        layouts.keep(&hash(LAYOUTS), &layout(1));
        assert!(layouts.get(&hash(0)).is_some() && layouts.get(&hash(LAYOUTS)).is_some());
        assert!(layouts.get(&hash(1)).is_none());
        layouts.forget(&hash(0));
        assert!(layouts.get(&hash(0)).is_none());
    }

    #[test]
    fn room_is_bounded_and_one_always_fits() {
        let layouts = Layouts::default();
        for number in 0..3 {
            layouts.keep(&hash(number), &layout(EXTENTS / 2));
        }
        assert_eq!([0, 1, 2].map(|number| layouts.get(&hash(number)).is_some()), [false, true, true]);
        layouts.keep(&hash(2), &layout(EXTENTS / 2));
        assert!(layouts.get(&hash(1)).is_some(), "kept again, it takes no more");
        layouts.keep(&hash(3), &layout(EXTENTS + 1));
        assert_eq!([1, 2, 3].map(|number| layouts.get(&hash(number)).is_some()), [false, false, true]);
        assert_eq!(layouts.lock().extents, EXTENTS + 1);
    }
}

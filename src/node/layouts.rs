//! Where whole torrents' chunks lie, as the ledger has it, kept decoded: those that were opened, stored or sent last, as
//! many as there is room for. A file that was changed in many places has an extent for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::InfoHash;
use crate::ledger::values::Extent;

/// See the module.
#[derive(Default)]
pub struct Layouts {
    kept: BTreeMap<InfoHash, Layout>,
    /// Extents of all of them.
    extents: usize,
    /// Counts what was kept.
    turn: u64,
}

struct Layout {
    extents: Arc<Vec<Extent>>,
    /// When it was last to be kept.
    turn: u64,
}

impl Layouts {
    /// The layout, if it is kept.
    pub(super) fn get(&self, info_hash: &InfoHash) -> Option<&Arc<Vec<Extent>>> {
        self.kept.get(info_hash).map(|layout| &layout.extents)
    }

    /// Keeps it on, if it is kept.
    pub(super) fn renew(&mut self, info_hash: &InfoHash) -> bool {
        self.turn += 1;
        self.kept.get_mut(info_hash).map(|layout| layout.turn = self.turn).is_some()
    }

    /// Keeps a layout, for which those go that were kept before all others.
    pub(super) fn keep(&mut self, info_hash: &InfoHash, extents: Arc<Vec<Extent>>) {
        self.forget(info_hash);
        while self.kept.len() >= LAYOUTS || self.extents + extents.len() > EXTENTS {
            let Some(oldest) = self.kept.iter().min_by_key(|(_, layout)| layout.turn).map(|(key, _)| *key) else {
                break;
            };
            self.forget(&oldest);
        }
        self.turn += 1;
        self.extents += extents.len();
        self.kept.insert(*info_hash, Layout { extents, turn: self.turn });
    }

    /// It lies elsewhere, or nowhere any more.
    pub(super) fn forget(&mut self, info_hash: &InfoHash) {
        if let Some(layout) = self.kept.remove(info_hash) {
            self.extents -= layout.extents.len();
        }
    }
}

/// Layouts kept.
const LAYOUTS: usize = 1024;
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
        let mut hash = [0; 20];
        hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
        InfoHash(hash)
    }

    #[test]
    fn what_was_kept_last_stays() {
        let mut layouts = Layouts::default();
        for number in 0..LAYOUTS {
            layouts.keep(&hash(number), layout(1));
        }
        assert!(layouts.renew(&hash(0)) && !layouts.renew(&hash(LAYOUTS)));
        layouts.keep(&hash(LAYOUTS), layout(1));
        assert!(layouts.get(&hash(0)).is_some() && layouts.get(&hash(LAYOUTS)).is_some());
        assert!(layouts.get(&hash(1)).is_none());
        layouts.forget(&hash(0));
        assert!(layouts.get(&hash(0)).is_none());
    }

    #[test]
    fn room_is_bounded_and_one_always_fits() {
        let mut layouts = Layouts::default();
        for number in 0..3 {
            layouts.keep(&hash(number), layout(EXTENTS / 2));
        }
        assert_eq!([0, 1, 2].map(|number| layouts.get(&hash(number)).is_some()), [false, true, true]);
        layouts.keep(&hash(2), layout(EXTENTS / 2));
        assert!(layouts.get(&hash(1)).is_some(), "kept again, it takes no more");
        layouts.keep(&hash(3), layout(EXTENTS + 1));
        assert_eq!([1, 2, 3].map(|number| layouts.get(&hash(number)).is_some()), [false, false, true]);
        assert_eq!(layouts.extents, EXTENTS + 1);
    }
}

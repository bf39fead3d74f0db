//! The ledger held against the slabs without reading them: every extent lies inside its slab, no two overlap but for
//! pieces that are alike, and references are counted right.

use std::collections::{BTreeMap, BTreeSet};

use super::care::NAMED;
use super::io::SlabSize;
use super::keeping::{share_in, units_of as extent_units};
use super::reclaim::units_of;
use super::vault::{CHUNK_UNITS, State, segments};
use super::{Asked, Node};
use crate::base::limits::{CHUNK_SEALED, SLAB_UNITS, UNIT};
use crate::base::{InfoHash, Location, PieceIndex, Snapshot};
use crate::keep::Shares;

/// Sizes by slab; a slab that is not there has none.
pub type Measured = BTreeMap<u32, Option<SlabSize>>;

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    /// Pieces that lie where no slab is.
    pub(super) damaged: BTreeSet<(InfoHash, PieceIndex)>,
    /// In words.
    pub(super) notes: Vec<String>,
    /// Where something lies is not known: what is counted is too little.
    pub(super) unread: bool,
    /// Bytes that the slabs take beyond what is named.
    pub(super) unnamed_bytes: u64,
}

impl Findings {
    fn note(&mut self, words: String) {
        if self.notes.len() < NAMED {
            self.notes.push(words);
        }
    }
}

impl<S: Snapshot> Node<S> {
    /// The slabs in which anything lies.
    pub(super) fn slabs_in_use(&self) -> BTreeSet<u32> {
        let shared = self.vault.shares.stretches().map(|(at, _)| at.slab);
        shared.chain(self.draft_places().map(|segment| segment.slab)).collect()
    }

    /// Holds everything that is here against the slabs.
    pub(super) fn quick(&mut self, measured: &Measured) -> Findings {
        let mut findings = Findings::default();
        let (mut counted, mut alike) = (Shares::default(), BTreeMap::new());
        let held = self.vault.torrents.iter().filter(|(_, torrent)| !matches!(torrent.state, State::Absent));
        let held: Vec<InfoHash> = held.map(|(info_hash, _)| *info_hash).collect();
        for info_hash in held {
            self.quick_torrent(&info_hash, measured, &mut counted, &mut alike, &mut findings);
        }
        for ((one, (.., units)), next) in alike.iter().zip(alike.keys().skip(1)) {
            if one.slab == next.slab && next.unit < one.unit + units {
                findings.note(format!("two chunks overlap at unit {} of slab {:08x}", next.unit, next.slab));
            }
        }
        self.quick_drafts(&counted, measured, &mut findings);
        if counted != self.vault.shares && !findings.unread {
            findings.note("references were counted wrong: they are counted right now".into());
            self.vault.shares = counted;
        }
        let named: u64 = self.vault.shares.stretches().map(|(_, units)| u64::from(units)).sum();
        let drafts: u64 = self.draft_places().map(|segment| u64::from(units_of(segment).1)).sum();
        let taken: u64 = measured.values().flatten().map(|size| size.allocated).sum();
        findings.unnamed_bytes = taken.saturating_sub((named + drafts) * UNIT as u64);
        findings
    }

    fn quick_torrent(
        &self,
        info_hash: &InfoHash,
        measured: &Measured,
        counted: &mut Shares,
        alike: &mut BTreeMap<Location, ([u8; 20], u32, u32)>,
        findings: &mut Findings,
    ) {
        let Some(torrent) = self.vault.torrents.get(info_hash) else { return };
        let Some(extents) = self.layout(info_hash) else {
            findings.unread = true;
            return findings.note(format!("where torrent {info_hash} lies cannot be read from the ledger"));
        };
        share_in(counted, &extents, torrent.length);
        let end = |extent: &crate::ledger::values::Extent| {
            extent.location.unit.saturating_add(extent_units(extent, torrent.length))
        };
        let outside = extents.iter().any(|extent| {
            let size = measured.get(&extent.location.slab).copied().flatten();
            u64::from(end(extent)) * UNIT as u64 > size.map_or(0, |size| size.length) || end(extent) > SLAB_UNITS
        });
        let shared = extents
            .iter()
            .any(|extent| self.vault.shares.is_shared(extent.location, extent_units(extent, torrent.length)));
        if !outside && !shared {
            return;
        }
        let Some(meta) = self.metainfo(&torrent.circle, &torrent.record) else {
            return findings.note(format!("the record that describes torrent {info_hash} is gone from the ledger"));
        };
        for piece in (0..meta.piece_count()).filter_map(|number| meta.piece(number)) {
            if !self.has_piece(info_hash, piece) {
                continue;
            }
            let from = u64::from(piece.0) * u64::from(meta.piece_length);
            let Some(places) = segments(&extents, from, u64::from(meta.piece_size(piece))) else {
                findings.note(format!("piece {} of torrent {info_hash} lies nowhere", piece.0));
                findings.damaged.insert((*info_hash, piece));
                continue;
            };
            let inside = |slab, end| measured.get(&slab).copied().flatten().is_some_and(|size| end <= size.length);
            if !places.iter().all(|at| inside(at.slab, at.offset + u64::from(at.length))) {
                findings.damaged.insert((*info_hash, piece));
            }
            // Of a longer piece most chunks may be those of a piece that was changed elsewhere.
            if !shared || meta.piece_length as usize != CHUNK_SEALED {
                continue;
            }
            let mut chunk = 0;
            for (at, units) in places.into_iter().map(units_of) {
                let end = at.unit + units;
                for unit in (at.unit..end).step_by(CHUNK_UNITS as usize) {
                    let (at, units) = (Location { unit, ..at }, CHUNK_UNITS.min(end - unit));
                    let here = (meta.piece_hash(piece), chunk, units);
                    chunk += 1;
                    if self.vault.shares.is_shared(at, units) && *alike.entry(at).or_insert(here) != here {
                        findings.note(format!(
                            "two different pieces, one of torrent {info_hash}, lie at unit {unit} of slab {:08x}",
                            at.slab
                        ));
                    }
                }
            }
        }
    }

    /// Below this all that a place was taken for is written by now.
    pub(super) fn written_up_to(&self) -> Location {
        let chunks = self.files.drafts.values().flat_map(|draft| draft.chunks.values());
        let flying = chunks.filter(|chunk| chunk.sealing.is_some()).filter_map(|chunk| chunk.placed);
        let folds = self.asked.values().filter_map(|asked| match asked {
            Asked::Fold(.., placed) => Some(*placed),
            _ => None,
        });
        let flying = flying.chain(folds).map(|placed| units_of(placed.segment).0);
        flying.chain([self.vault.frontier()]).min().unwrap_or_else(|| self.vault.frontier())
    }

    fn quick_drafts(&self, counted: &Shares, measured: &Measured, findings: &mut Findings) {
        for segment in self.draft_places() {
            let (at, units) = units_of(segment);
            if at >= self.care.written {
                continue;
            }
            let size = measured.get(&segment.slab).copied().flatten().map_or(0, |size| size.length);
            let taken = (at.unit..at.unit + units).any(|unit| counted.count(Location { unit, ..at }) > 0);
            if taken || segment.offset + u64::from(segment.length) > size {
                findings.note(format!(
                    "a file that is being written lost bytes at unit {} of slab {:08x}: write them again",
                    at.unit, at.slab
                ));
            }
        }
    }
}

//! The oracle of the tree's tests: everything that shows, computed slowly and from scratch from a bag of versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::register::Stamp;
use super::{Seen, Tree, Version, names};
use crate::base::{MemberKey, ObjectId};
use crate::wire::record::{Body, Chain, Context, Kind, Place, Value};

/// Every shown path, and what it leads to.
pub(super) type Listing = BTreeMap<Vec<Vec<u8>>, (Seen, Kind)>;

/// The versions applied, and the names of authors.
#[derive(Clone, Default)]
pub(super) struct Oracle {
    pub(super) versions: Vec<Version>,
    pub(super) staged: BTreeMap<ObjectId, (Place, Body)>,
    pub(super) authors: BTreeMap<MemberKey, String>,
}

/// What the oracle knows of one object.
#[derive(Default)]
struct Facts {
    /// Order of the newest move, parent, name.
    place: Option<(Stamp, ObjectId, Vec<u8>)>,
    kind: Option<Kind>,
    lives_alone: bool,
    losers: Vec<Stamp>,
    cut: bool,
    alive: bool,
}

/// The names that something may come to show under, and the directories below it.
type Shaded = (Vec<Arc<[u8]>>, Seen, BTreeSet<ObjectId>);

impl Oracle {
    /// The whole tree.
    pub(super) fn listing(&self, root: ObjectId) -> Listing {
        let mut facts = self.facts();
        cut_cycles(&mut facts, root);
        raise(&mut facts, root);
        let mut listing = Listing::new();
        let mut open = vec![(Vec::new(), BTreeSet::from([root]))];
        while let Some((path, group)) = open.pop() {
            for (name, seen, below) in self.entries(&facts, root, &group) {
                let path: Vec<Vec<u8>> = path.iter().cloned().chain([name]).collect();
                let kind = facts[&seen.object].kind.expect("what lives has a kind");
                assert!(listing.insert(path.clone(), (seen, kind)).is_none(), "the oracle shows a name twice");
                if !below.is_empty() {
                    open.push((path, below));
                }
            }
        }
        listing
    }

    fn facts(&self) -> BTreeMap<ObjectId, Facts> {
        let survivors = self.versions.iter().filter(|v| {
            let same = |w: &&Version| w.object == v.object && w.value.register() == v.value.register();
            !self.versions.iter().filter(same).any(|w| w.context.covers(&v.dot))
        });
        let mut sorted: Vec<(Stamp, &Version)> = survivors.map(|v| (stamp(v), v)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|a, b| {
            a.1.dot == b.1.dot && a.1.object == b.1.object && a.1.value.register() == b.1.value.register()
        });
        let ids = self.versions.iter().map(|v| v.object).chain(self.staged.keys().copied());
        ids.collect::<BTreeSet<_>>().into_iter().map(|id| (id, self.fact(id, &sorted))).collect()
    }

    fn fact(&self, id: ObjectId, sorted: &[(Stamp, &Version)]) -> Facts {
        let mut fact = Facts::default();
        let mut deleted: Vec<&Context> = Vec::new();
        for (stamp, version) in sorted.iter().filter(|(_, v)| v.object == id) {
            if let Value::Place(place) = &version.value {
                fact.place = Some((stamp.clone(), place.parent, place.name.as_bytes().to_vec()));
                deleted.extend(&place.deleted);
            }
        }
        let bodies = sorted.iter().filter(|(_, v)| v.object == id);
        let bodies: Vec<(&Stamp, &Body)> = bodies
            .filter_map(|(stamp, v)| match &v.value {
                Value::Body(body) => Some((stamp, body)),
                Value::Place(_) => None,
            })
            .collect();
        fact.kind = bodies.first().map(|(_, body)| body.kind);
        let mut visible: Vec<Stamp> = bodies
            .iter()
            .filter(|(stamp, body)| Some(body.kind) == fact.kind && !deleted.iter().any(|d| d.covers(&stamp.dot())))
            .map(|(stamp, _)| (*stamp).clone())
            .collect();
        fact.lives_alone = !visible.is_empty();
        visible.pop();
        fact.losers = visible;
        if let Some((place, body)) = self.staged.get(&id) {
            let stamp = Stamp {
                staged: true,
                lamport: u64::MAX,
                chain: Arc::new(Chain { author: MemberKey([0; 32]), incarnation: 0 }),
                sequence: 0,
                wall: body.mtime,
            };
            fact.place = Some((stamp, place.parent, place.name.as_bytes().to_vec()));
            fact.kind = fact.kind.or(Some(body.kind));
            fact.lives_alone |= fact.kind == Some(body.kind);
        }
        fact
    }

    /// The shown entries of the directories that show as one, with the directories below each.
    fn entries(
        &self,
        facts: &BTreeMap<ObjectId, Facts>,
        root: ObjectId,
        group: &BTreeSet<ObjectId>,
    ) -> Vec<(Vec<u8>, Seen, BTreeSet<ObjectId>)> {
        let mut claims: BTreeMap<&[u8], Vec<(&Stamp, ObjectId)>> = BTreeMap::new();
        for (id, fact) in facts {
            if let (true, Some((stamp, _, name))) = (fact.alive, &fact.place)
                && group.contains(&parent(facts, root, id))
            {
                claims.entry(name).or_default().push((stamp, *id));
            }
        }
        let mut entries = Vec::new();
        let mut shades: Vec<Shaded> = Vec::new();
        for (name, claimants) in &mut claims {
            claimants.sort();
            let is_directory = |id: &ObjectId| facts[id].kind == Some(Kind::Directory);
            let directories: BTreeSet<ObjectId> = claimants.iter().map(|c| c.1).filter(is_directory).collect();
            let mut merged = false;
            for (at, (stamp, id)) in claimants.iter().enumerate() {
                let directory = is_directory(id);
                let below = if directory { directories.clone() } else { BTreeSet::new() };
                if directory && std::mem::replace(&mut merged, true) {
                    continue;
                }
                if at == 0 {
                    entries.push((name.to_vec(), Seen::of(*id), below));
                } else {
                    shades.push((names::clash(name, stamp, &self.author(stamp), id), Seen::of(*id), below));
                }
            }
            for (_, id) in claimants.iter().filter(|(_, id)| !is_directory(id)) {
                for loser in facts[id].losers.iter().rev().take(63) {
                    let seen = Seen { object: *id, version: Some(loser.dot()) };
                    shades.push((names::conflict(name, loser, &self.author(loser), id), seen, BTreeSet::new()));
                }
            }
        }
        let mut contenders: BTreeMap<&[u8], usize> = BTreeMap::new();
        for name in shades.iter().flat_map(|(names, ..)| names) {
            *contenders.entry(name).or_default() += 1;
        }
        for (names, seen, below) in &shades {
            if let Some(name) = names.iter().find(|name| !claims.contains_key(&name[..]) && contenders[&name[..]] == 1)
            {
                entries.push((name.to_vec(), *seen, below.clone()));
            }
        }
        entries
    }

    fn author(&self, stamp: &Stamp) -> String {
        if stamp.staged {
            return "unpublished".into();
        }
        let author = &stamp.chain.author;
        self.authors.get(author).cloned().unwrap_or_else(|| author.to_string())
    }
}

fn stamp(version: &Version) -> Stamp {
    let chain = Arc::new(version.dot.chain());
    Stamp { staged: false, lamport: version.lamport, chain, sequence: version.dot.sequence, wall: version.wall }
}

fn is_directory(facts: &BTreeMap<ObjectId, Facts>, id: &ObjectId) -> bool {
    facts.get(id).is_some_and(|fact| fact.kind == Some(Kind::Directory) && fact.place.is_some())
}

/// The directory that an object with a place belongs in.
fn parent(facts: &BTreeMap<ObjectId, Facts>, root: ObjectId, id: &ObjectId) -> ObjectId {
    match &facts[id].place {
        Some((_, parent, _)) if !facts[id].cut && is_directory(facts, parent) => *parent,
        _ => root,
    }
}

fn cut_cycles(facts: &mut BTreeMap<ObjectId, Facts>, root: ObjectId) {
    let mut cuts = BTreeSet::new();
    for id in facts.keys().filter(|id| is_directory(facts, id)) {
        let mut cycle = vec![*id];
        for _ in 0..facts.len() {
            let next = parent(facts, root, &cycle[cycle.len() - 1]);
            if next == *id {
                let order = |id: &&ObjectId| (facts[*id].place.as_ref().map(|place| place.0.clone()), **id);
                cuts.extend(cycle.iter().max_by_key(order));
            }
            if next == *id || next == root {
                break;
            }
            cycle.push(next);
        }
    }
    for id in cuts {
        facts.get_mut(&id).expect("it is a member").cut = true;
    }
}

/// What lives, and the directories above it.
fn raise(facts: &mut BTreeMap<ObjectId, Facts>, root: ObjectId) {
    let alone = facts.iter().filter(|(_, fact)| fact.lives_alone && fact.place.is_some());
    for id in alone.map(|(id, _)| *id).collect::<Vec<_>>() {
        let mut at = id;
        while at != root && !facts[&at].alive {
            facts.get_mut(&at).expect("parents are known").alive = true;
            at = parent(facts, root, &at);
        }
    }
}

/// All that a tree shows, read through its pages, with every way of reading held against the others.
pub(super) fn listing_of(tree: &Tree, page: usize) -> Listing {
    let mut listing = Listing::new();
    let mut open = vec![(Vec::new(), tree.root())];
    while let Some((path, directory)) = open.pop() {
        let mut after: Option<Box<[u8]>> = None;
        loop {
            let entries = tree.list(&directory, after.as_deref(), page);
            for (name, seen, kind) in &entries {
                assert!(after.as_deref().is_none_or(|after| after < &name[..]), "entries come in order");
                assert_eq!(tree.lookup(&directory, name), Some(*seen), "lookup finds what list shows");
                assert_eq!(tree.location(seen), Some((directory, name.to_vec())), "location is lookup's inverse");
                assert_eq!(tree.by_inode(tree.inode(seen)), Some(*seen), "an inode leads back");
                assert_eq!(tree.attributes(seen).map(|a| a.kind), Some(*kind), "what shows has attributes");
                assert!(tree.is_alive(&seen.object));
                let path: Vec<Vec<u8>> = path.iter().cloned().chain([name.to_vec()]).collect();
                if *kind == Kind::Directory {
                    open.push((path.clone(), seen.object));
                }
                listing.insert(path, (*seen, *kind));
                after = Some(name.clone());
            }
            if entries.len() < page {
                break;
            }
        }
    }
    listing
}

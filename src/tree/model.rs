//! Several replicas that write what they see and exchange it in any order: all must come to what the oracle shows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::oracle::{Listing, Oracle, listing_of};
use super::{Changes, Seen, Tree, Version};
use crate::base::{CircleId, InfoHash, MemberKey, ObjectId, RecordHash, Rng, WallTime};
use crate::wire::record::{Body, Content, Context, Dot, Kind, Name, Place, TorrentRef, Value, Xattrs};

/// One node's tree with all that it was told.
struct Replica {
    tree: Tree,
    oracle: Oracle,
    author: MemberKey,
    incarnation: u32,
    sequence: u64,
    lamport: u64,
    /// Open files: what is written through one supersedes what it saw, and that alone.
    handles: Vec<Handle>,
    shown: Shown,
    /// Each step is held against the oracle, and not the end alone.
    watched: bool,
}

struct Handle {
    object: ObjectId,
    context: Context,
    seen: BTreeSet<Dot>,
}

/// What a kernel could have cached.
#[derive(Default)]
struct Shown {
    directories: BTreeSet<u64>,
    entries: BTreeMap<(u64, Vec<u8>), u64>,
    bodies: BTreeMap<u64, Body>,
    torrents: BTreeSet<InfoHash>,
}

const NAMES: [&[u8]; 5] = [b"a", b"b", b"c.txt", b"c (conflict 1970-01-01 Ann).txt", b"d"];

impl Replica {
    fn new(number: u8) -> Self {
        let mut replica = Self {
            tree: Tree::new(&CircleId([1; 32])),
            oracle: Oracle::default(),
            author: MemberKey([number; 32]),
            incarnation: 0,
            sequence: 0,
            lamport: 0,
            handles: Vec::new(),
            shown: Shown::default(),
            watched: true,
        };
        // Two of a name, so that names alone do not tell authors apart.
        for (author, name) in [(1, "Ann"), (2, "Bob"), (3, "Ann")] {
            replica.tree.set_author_name(MemberKey([author; 32]), name);
            replica.oracle.authors.insert(MemberKey([author; 32]), name.into());
        }
        replica
    }

    fn apply(&mut self, version: &Version) {
        let known = self.oracle.versions.contains(version);
        let changes = self.tree.apply(version.clone());
        if known {
            assert_eq!(changes, Changes::default(), "what is known changes nothing");
            return;
        }
        self.lamport = self.lamport.max(version.lamport);
        self.oracle.versions.push(version.clone());
        self.oracle.staged.remove(&version.object);
        self.check(&changes);
    }

    /// Makes one commit of all these values.
    fn commit(&mut self, wall: WallTime, values: Vec<(ObjectId, Context, Value)>) {
        self.sequence += 1;
        let lamport = self.lamport + 1;
        let dot = Dot { author: self.author, incarnation: self.incarnation, sequence: self.sequence };
        let record = RecordHash([self.sequence as u8; 32]);
        for (object, context, value) in values {
            self.apply(&Version { dot, lamport, object, context, value, wall, record });
        }
    }

    /// Everything that differs from before must have been told.
    fn check(&mut self, changes: &Changes) {
        if !self.watched {
            return;
        }
        let mut shown = Shown::default();
        for id in self.directories() {
            shown.directories.insert(id.inode());
            for (name, seen, _) in self.tree.list(&id, None, usize::MAX) {
                shown.entries.insert((id.inode(), name.to_vec()), self.tree.inode(&seen));
                let body = self.tree.body(&seen).expect("what shows has a body").body;
                shown.bodies.insert(self.tree.inode(&seen), body);
            }
        }
        shown.torrents = self.tree.torrents().map(|(torrent, ..)| torrent).collect();
        let before = std::mem::replace(&mut self.shown, shown);
        let keys = before.entries.keys().chain(self.shown.entries.keys());
        for key in keys.filter(|key| before.entries.get(key) != self.shown.entries.get(key)) {
            // What is in a directory that comes or goes is nothing that a kernel could have cached and could still ask.
            let stays = before.directories.contains(&key.0) && self.shown.directories.contains(&key.0);
            let told = changes.entries.contains(key) || !stays;
            assert!(told, "a changed entry was not told: {:?}", String::from_utf8_lossy(&key.1));
        }
        let inodes = before.bodies.keys().chain(self.shown.bodies.keys());
        for inode in inodes.filter(|inode| before.bodies.get(inode) != self.shown.bodies.get(inode)) {
            assert!(changes.inodes.contains(inode), "a changed inode was not told");
        }
        let added: BTreeSet<_> = self.shown.torrents.difference(&before.torrents).copied().collect();
        let removed: BTreeSet<_> = before.torrents.difference(&self.shown.torrents).copied().collect();
        assert_eq!(changes.torrents_added.iter().copied().collect::<BTreeSet<_>>(), added);
        assert_eq!(changes.torrents_removed.iter().copied().collect::<BTreeSet<_>>(), removed);
        for torrent in &self.shown.torrents {
            let all: BTreeSet<_> = self.tree.torrents().filter(|(t, ..)| t == torrent).map(|t| (t.1, t.2)).collect();
            assert_eq!(self.tree.holders(torrent).collect::<BTreeSet<_>>(), all);
        }
    }

    /// All directories that live, those that show as another included.
    fn directories(&self) -> Vec<ObjectId> {
        let ids: BTreeSet<ObjectId> = self.oracle.versions.iter().map(|v| v.object).collect();
        let ids = ids.into_iter().chain(self.oracle.staged.keys().copied()).filter(|id| self.tree.is_alive(id));
        ids.filter(|id| self.tree.attributes(&Seen::of(*id)).is_some_and(|a| a.kind == Kind::Directory))
            .chain([self.tree.root()])
            .collect()
    }

    fn listing(&self) -> Listing {
        self.oracle.listing(self.tree.root())
    }

    fn random_directory(&self, rng: &mut Rng) -> ObjectId {
        let mut all = self.directories();
        all.retain(|id| !self.tree.is_staged(id));
        all[rng.below(all.len() as u64) as usize]
    }

    fn random_entry(&self, rng: &mut Rng) -> Option<(Seen, Kind)> {
        let published = |id: ObjectId| self.tree.merged(&id).iter().all(|id| !self.tree.is_staged(id));
        let all: Vec<_> = self.listing().into_values().filter(|(seen, _)| published(seen.object)).collect();
        (!all.is_empty()).then(|| all[rng.below(all.len() as u64) as usize])
    }

    fn act(&mut self, rng: &mut Rng) {
        let wall = WallTime(rng.below(2) as i64 * 86_400_000_000_000);
        match rng.below(16) {
            0..=2 => self.create(rng, wall),
            3..=4 => self.rename(rng, wall, |_| true),
            5..=8 => self.rename(rng, wall, |kind| kind == Kind::Directory),
            9..=10 => self.open(rng),
            11..=12 => self.write(rng, wall),
            13..=14 => self.delete(rng, wall),
            _ => self.stage(rng),
        }
    }

    fn create(&mut self, rng: &mut Rng, wall: WallTime) {
        let place = Place { parent: self.random_directory(rng), name: name(rng), deleted: None };
        let (id, body) = (new_id(rng), new_body(rng));
        let values = [(id, Context::default(), Value::Place(place)), (id, Context::default(), Value::Body(body))];
        self.commit(wall, values.into());
    }

    fn rename(&mut self, rng: &mut Rng, wall: WallTime, what: fn(Kind) -> bool) {
        let Some((seen, kind)) = self.random_entry(rng).filter(|(_, kind)| what(*kind)) else { return };
        let parent = self.random_directory(rng);
        let mut above = Some(parent);
        while let Some(id) = above {
            if self.tree.merged(&seen.object).contains(&id) {
                return;
            }
            above = self.tree.location(&Seen::of(id)).map(|location| location.0);
        }
        let name = name(rng);
        let objects = if kind == Kind::Directory { self.tree.merged(&seen.object) } else { vec![seen.object] };
        let values = objects.into_iter().map(|id| {
            let (context, dead) = self.tree.place_context(&id);
            let deleted = (dead != Context::default()).then_some(dead);
            (id, context, Value::Place(Place { parent, name: name.clone(), deleted }))
        });
        self.commit(wall, values.collect());
    }

    fn open(&mut self, rng: &mut Rng) {
        let Some((seen, kind)) = self.random_entry(rng) else { return };
        if kind == Kind::File {
            let slot = self.tree.slot(&seen.object).expect("it shows");
            let opened = self.tree.body(&seen).and_then(|body| body.dot);
            let siblings = self.tree.objects[slot].body.siblings().iter().map(|sibling| sibling.stamp.dot());
            let others: BTreeSet<Dot> = siblings.filter(|dot| Some(*dot) != opened).collect();
            let dots = self.oracle.versions.iter().filter(|v| v.object == seen.object).map(|v| v.dot);
            let dots = dots.filter(|dot| !others.contains(dot)).collect();
            self.handles.push(Handle { object: seen.object, context: self.tree.body_context(&seen), seen: dots });
        }
    }

    fn write(&mut self, rng: &mut Rng, wall: WallTime) {
        if self.handles.is_empty() {
            return;
        }
        let at = rng.below(self.handles.len() as u64) as usize;
        let Handle { object, context, seen } = self.handles.swap_remove(at);
        let slot = self.tree.slot(&object).expect("it was opened");
        for sibling in self.tree.objects[slot].body.siblings() {
            let dot = sibling.stamp.dot();
            assert!(seen.contains(&dot) || !context.covers(&dot), "a write kills what its handle did not see");
        }
        let body = Body { kind: Kind::File, ..file(rng) };
        self.commit(wall, vec![(object, context, Value::Body(body))]);
        // The handle goes on: what it wrote is what it now sees.
        let dot = Dot { author: self.author, incarnation: self.incarnation, sequence: self.sequence };
        let context = self.tree.body_context(&Seen { object, version: Some(dot) });
        self.handles.push(Handle { object, context, seen: seen.into_iter().chain([dot]).collect() });
    }

    fn delete(&mut self, rng: &mut Rng, wall: WallTime) {
        let Some((seen, kind)) = self.random_entry(rng) else { return };
        if kind == Kind::Directory && !self.tree.is_empty_dir(&seen.object) {
            return;
        }
        let all = if kind == Kind::Directory { self.tree.merged(&seen.object) } else { vec![seen.object] };
        let values: Vec<_> = all
            .into_iter()
            .map(|object| {
                let place = self.tree.delete_place(&Seen { object, ..seen }).expect("it shows, so it has a place");
                (object, self.tree.place_context(&object).0, Value::Place(place))
            })
            .collect();
        self.commit(wall, values);
        assert!(self.tree.location(&seen).is_none() || self.tree.is_staged(&seen.object) || seen.version.is_none());
    }

    fn stage(&mut self, rng: &mut Rng) {
        match self.oracle.staged.pop_first() {
            Some((id, (place, body))) if rng.chance(1, 2) => {
                self.oracle.staged.insert(id, (place.clone(), body.clone()));
                let context = Context::default();
                let place = (id, context.clone(), Value::Place(place));
                // The other half is staged still, while the first is published.
                self.sequence += 1;
                let dot = Dot { author: self.author, incarnation: self.incarnation, sequence: self.sequence };
                let (lamport, wall) = (self.lamport + 1, WallTime(0));
                let record = RecordHash([0; 32]);
                for (object, context, value) in [place, (id, context, Value::Body(body))] {
                    let version = Version { dot, lamport, object, context, value, wall, record };
                    let changes = self.tree.apply(version.clone());
                    self.lamport = lamport;
                    self.oracle.versions.push(version);
                    if let Value::Body(_) = self.oracle.versions[self.oracle.versions.len() - 1].value {
                        self.oracle.staged.remove(&object);
                        assert!(!self.tree.is_staged(&object));
                    }
                    self.check(&changes);
                }
            }
            Some((id, _)) => {
                let changes = self.tree.unstage(id);
                self.check(&changes);
            }
            None => {
                let place = Place { parent: self.random_directory(rng), name: name(rng), deleted: None };
                let (id, body) = (new_id(rng), new_body(rng));
                let changes = self.tree.stage(id, place.clone(), body.clone());
                self.oracle.staged.insert(id, (place, body));
                self.check(&changes);
            }
        }
    }

    fn assert_right(&self) {
        let right = self.listing();
        assert_eq!(listing_of(&self.tree, 3), right);
        self.assert_nothing_lost();
    }

    /// No body that anybody wrote disappears from both the tree and what no longer shows; and what no longer shows is
    /// found under the root, if it ever had a place. What is now a file and now a directory, nobody honest wrote.
    fn assert_nothing_lost(&self) {
        let found = history_of(&self.tree);
        let mut places = BTreeSet::new();
        let mut written = BTreeSet::new();
        let mut kinds = BTreeMap::new();
        for version in &self.oracle.versions {
            match &version.value {
                Value::Place(_) => drop(places.insert(version.object)),
                Value::Body(body) if *kinds.entry(version.object).or_insert(body.kind) != body.kind => return,
                Value::Body(body) if body.kind != Kind::Directory => {
                    written.insert((version.object, version.dot));
                }
                Value::Body(_) => {}
            }
        }
        for (object, dot) in &written {
            let slot = self.tree.slot(object).expect("it was applied");
            let shows = self.tree.objects[slot].visible().any(|body| body.stamp.dot() == *dot);
            let older = self.tree.older(object).iter().any(|older| older.dot == *dot);
            assert_eq!(older, !shows, "a body either shows or is an older one");
            let staged = self.tree.is_staged(object);
            if older && self.tree.objects[slot].winner().is_some() && places.contains(object) && !staged {
                assert!(found.contains_key(&(*object, *dot)), "an older body is found from the root");
            }
        }
        assert!(found.keys().all(|key| written.contains(key)), "what nobody wrote is no older body");
        for (object, dot) in found.keys() {
            let older = self.tree.by_older_inode(Tree::older_inode(object, dot)).expect("its number leads to it");
            assert_eq!((older.object, older.dot), (*object, *dot));
            assert_eq!(self.tree.by_trace_inode(Tree::trace_inode(object)), Some(*object));
        }
    }
}

/// All older bodies that a walk from the root finds, with their paths.
fn history_of(tree: &Tree) -> BTreeMap<(ObjectId, Dot), Vec<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![(Vec::new(), tree.trace_root().directories)];
    while let Some((path, directories)) = open.pop() {
        let names = tree.trace_names(&directories, None, usize::MAX);
        let (mut paged, mut after) = (Vec::new(), None);
        while let Some(next) = tree.trace_names(&directories, after.as_deref(), 1).pop() {
            after = Some(next.clone());
            paged.push(next);
        }
        assert_eq!(paged, names, "pages are parts of the whole");
        for name in names {
            let trace = tree.trace(&directories, &name);
            let path: Vec<Vec<u8>> = path.iter().cloned().chain([name]).collect();
            for older in trace.files.iter().flat_map(|file| tree.older(file)) {
                found.insert((older.object, older.dot), path.clone());
            }
            for object in trace.files.iter().chain(&trace.directories) {
                assert_eq!(tree.last_path(object).as_ref(), Some(&path));
            }
            if !trace.directories.is_empty() {
                open.push((path, trace.directories));
            }
        }
    }
    found
}

fn name(rng: &mut Rng) -> Name {
    Name::new(NAMES[rng.below(NAMES.len() as u64) as usize]).expect("a good name")
}

fn new_id(rng: &mut Rng) -> ObjectId {
    let mut id = [0; 16];
    rng.fill(&mut id);
    ObjectId(id)
}

fn new_body(rng: &mut Rng) -> Body {
    if rng.chance(1, 2) {
        let (content, xattrs) = (Content::None, Xattrs::default());
        return Body { kind: Kind::Directory, mode: 0o755, mtime: WallTime(0), size: 0, content, xattrs };
    }
    file(rng)
}

fn file(rng: &mut Rng) -> Body {
    let info_hash = InfoHash([rng.below(6) as u8; 20]);
    let content = Content::Torrent(TorrentRef { info_hash, runs: Vec::new(), tags: [0; 32] });
    let (size, xattrs) = (1 + rng.below(9), Xattrs::default());
    Body { kind: Kind::File, mode: 0o644, mtime: WallTime(0), size, content, xattrs }
}

fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, rng.below(at as u64 + 1) as usize);
    }
}

/// So many replicas act and exchange; the end is held against the oracle, and each step where they are watched. Returns how
/// often concurrency showed.
fn replicas_converge(seed: u64, count: u8, steps: usize, watched: bool) -> super::Counts {
    let mut rng = Rng::new(seed);
    let mut replicas: Vec<Replica> = (1..=count).map(Replica::new).collect();
    replicas.iter_mut().for_each(|replica| replica.watched = watched);
    let count = usize::from(count);
    // What all know before they part, so that what they do meets.
    for _ in 0..6 {
        replicas[0].create(&mut rng, WallTime(0));
    }
    let log = replicas[0].oracle.versions.clone();
    replicas[1..].iter_mut().for_each(|replica| log.iter().for_each(|version| replica.apply(version)));
    for _ in 0..steps {
        let at = rng.below(count as u64) as usize;
        if rng.chance(4, 5) {
            replicas[at].act(&mut rng);
        } else {
            // A log is in causal order, so any start of it is what a friend may have heard.
            let log = replicas[(at + 1 + rng.below(count as u64 - 1) as usize) % count].oracle.versions.clone();
            let some = if rng.chance(1, 2) { log.len() } else { rng.below(log.len() as u64 + 1) as usize };
            log[..some].iter().for_each(|version| replicas[at].apply(version));
        }
        if watched {
            replicas[at].assert_right();
        }
        if rng.chance(1, 20) {
            replicas[at].incarnation += 1;
            replicas[at].sequence = 0;
        }
    }
    for replica in &mut replicas {
        while let Some((id, _)) = replica.oracle.staged.pop_first() {
            replica.tree.unstage(id);
        }
    }
    let logs: Vec<Vec<Version>> = replicas.iter().map(|replica| replica.oracle.versions.clone()).collect();
    for replica in &mut replicas {
        replica.shown = Shown::default();
        for version in logs.iter().flatten() {
            if !replica.oracle.versions.contains(version) {
                replica.tree.apply(version.clone());
                replica.oracle.versions.push(version.clone());
            }
        }
        replica.assert_right();
    }
    let right = listing_of(&replicas[0].tree, 7);
    let history = history_of(&replicas[0].tree);
    let mut all = replicas[0].oracle.versions.clone();
    for _ in 0..2 {
        shuffle(&mut rng, &mut all);
        let mut fresh = Replica::new(9);
        for version in all.iter().chain(&all[..all.len() / 2]) {
            fresh.tree.apply(version.clone());
        }
        assert_eq!(listing_of(&fresh.tree, 2), right, "another order of arrival shows another tree");
        assert_eq!(history_of(&fresh.tree), history, "another order of arrival remembers otherwise");
        assert_eq!(fresh.tree.len(), replicas[0].tree.len());
        assert_eq!(fresh.tree.object_count(), replicas[0].tree.object_count());
    }
    replicas.iter().fold(super::Counts::default(), |sum, replica| {
        let counts = replica.tree.counts();
        super::Counts {
            move_cycles: sum.move_cycles + counts.move_cycles,
            name_clashes: sum.name_clashes + counts.name_clashes,
            edit_edit: sum.edit_edit + counts.edit_edit,
            edit_delete: sum.edit_delete + counts.edit_delete,
        }
    })
}

/// Versions that no honest node writes: any context, any parent, any kind, any order.
fn nonsense_converges(seed: u64, count: usize) {
    let mut rng = Rng::new(seed);
    let ids: Vec<ObjectId> = (0..6).map(|_| new_id(&mut rng)).chain([ObjectId([1; 16])]).collect();
    let mut dots = BTreeSet::new();
    let random_dot = |rng: &mut Rng| Dot {
        author: MemberKey([1 + rng.below(3) as u8; 32]),
        incarnation: rng.below(2) as u32,
        sequence: 1 + rng.below(12),
    };
    let context = |rng: &mut Rng| {
        let mut context = Context::default();
        for _ in 0..rng.below(3) {
            context.add(random_dot(rng));
        }
        for _ in 0..rng.below(2) {
            context.except.push(random_dot(rng));
        }
        context
    };
    let mut versions: Vec<Version> = Vec::new();
    for _ in 0..count {
        let object = ids[rng.below(ids.len() as u64) as usize];
        let value = if rng.chance(1, 2) {
            let parent = ids[rng.below(ids.len() as u64) as usize];
            let deleted = rng.chance(1, 3).then(|| context(&mut rng));
            Value::Place(Place { parent, name: name(&mut rng), deleted })
        } else {
            Value::Body(new_body(&mut rng))
        };
        let (context, dot) = (context(&mut rng), {
            let author = MemberKey([1 + rng.below(3) as u8; 32]);
            Dot { author, incarnation: rng.below(2) as u32, sequence: 1 + rng.below(12) }
        });
        if dots.insert((object, value.register(), dot)) {
            let wall = WallTime(0);
            versions.push(Version {
                dot,
                lamport: dot.sequence,
                object,
                context,
                value,
                wall,
                record: RecordHash([0; 32]),
            });
        }
    }
    let root = Tree::new(&CircleId([1; 32])).root();
    versions.retain(|version| version.object != root);
    let mut right = None;
    for _ in 0..3 {
        let mut replica = Replica::new(1);
        for version in &versions {
            replica.apply(version);
            replica.assert_right();
        }
        let listing = (replica.listing(), history_of(&replica.tree));
        assert_eq!(right.get_or_insert_with(|| listing.clone()), &listing);
        shuffle(&mut rng, &mut versions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_that_exchange_in_any_order_show_what_the_oracle_shows(seed in any::<u64>()) {
        replicas_converge(seed, 3, 60, true);
    }

    #[test]
    fn nonsense_shows_alike_in_any_order(seed in any::<u64>()) {
        nonsense_converges(seed, 40);
    }
}

/// Convergence, and no body that anybody wrote is in neither the tree nor its older versions, over very many histories.
#[test]
fn ten_thousand_histories_of_three_to_five_nodes_lose_nothing() {
    for seed in 0..10_000 {
        replicas_converge(seed, 3 + (seed % 3) as u8, 60, false);
    }
}

#[test]
fn every_kind_of_concurrency_comes_up() {
    let mut sum = super::Counts::default();
    for seed in 0..12 {
        let counts = replicas_converge(seed, 3, 80, true);
        sum.move_cycles += counts.move_cycles;
        sum.name_clashes += counts.name_clashes;
        sum.edit_edit += counts.edit_edit;
        sum.edit_delete += counts.edit_delete;
    }
    assert!(sum.move_cycles > 0 && sum.name_clashes > 0 && sum.edit_edit > 0 && sum.edit_delete > 0, "{sum:?}");
}

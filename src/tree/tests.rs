//! The tree's rules one by one, each by its story.

use super::oracle::listing_of;
use super::*;
use crate::wire::record::{Kind, Name, Xattrs};

const ANN: MemberKey = MemberKey([1; 32]);
const BOB: MemberKey = MemberKey([2; 32]);

fn tree() -> Tree {
    let mut tree = Tree::new(&CircleId([9; 32]));
    tree.set_author_name(ANN, "Ann");
    tree.set_author_name(BOB, "Bob");
    tree
}

fn root() -> ObjectId {
    root_of(&CircleId([9; 32]))
}

fn id(number: u8) -> ObjectId {
    ObjectId([number; 16])
}

fn dot(author: MemberKey, sequence: u64) -> Dot {
    Dot { author, incarnation: 0, sequence }
}

fn saw(dots: &[Dot]) -> Context {
    let mut context = Context::default();
    dots.iter().for_each(|dot| context.add(*dot));
    context
}

fn place(parent: ObjectId, name: &str) -> Place {
    Place { parent, name: Name::new(name.as_bytes()).expect("a good name"), deleted: None }
}

fn body(kind: Kind, size: u64) -> Body {
    Body { kind, mode: 0o644, mtime: WallTime(0), size, content: Content::None, xattrs: Xattrs::default() }
}

fn version(dot: Dot, object: u8, context: Context, value: Value) -> Version {
    let record = RecordHash([dot.sequence as u8; 32]);
    Version { dot, lamport: dot.sequence, object: id(object), context, value, wall: WallTime(0), record }
}

/// The two versions of a new object.
fn new(dot: Dot, object: u8, parent: ObjectId, name: &str, kind: Kind) -> [Version; 2] {
    let none = Context::default();
    [
        version(dot, object, none.clone(), Value::Place(place(parent, name))),
        version(dot, object, none, Value::Body(body(kind, 0))),
    ]
}

fn moved(dot: Dot, object: u8, seen: &[Dot], parent: ObjectId, name: &str) -> Version {
    version(dot, object, saw(seen), Value::Place(place(parent, name)))
}

fn edit(dot: Dot, object: u8, seen: &[Dot], size: u64) -> Version {
    version(dot, object, saw(seen), Value::Body(body(Kind::File, size)))
}

fn apply(tree: &mut Tree, versions: impl IntoIterator<Item = Version>) {
    for version in versions {
        tree.apply(version);
    }
}

/// All shown paths, with what is a directory ending in a slash.
fn paths(tree: &Tree) -> Vec<String> {
    listing_of(tree, 2)
        .into_iter()
        .map(|(path, (_, kind))| {
            let path = String::from_utf8(path.join(&b'/')).expect("names of these tests are UTF-8");
            if kind == Kind::Directory { path + "/" } else { path }
        })
        .collect()
}

/// Applies in this order and in reverse, and checks that both show the same.
fn shown(versions: &[Version]) -> Vec<String> {
    let (mut forth, mut back) = (tree(), tree());
    apply(&mut forth, versions.iter().cloned());
    apply(&mut back, versions.iter().rev().cloned());
    assert_eq!(paths(&forth), paths(&back));
    paths(&forth)
}

#[test]
fn two_directories_moved_into_each_other_show_the_newest_move_under_the_root() {
    let versions: Vec<_> = [
        new(dot(ANN, 1), 1, root(), "a", Kind::Directory),
        new(dot(ANN, 2), 2, root(), "b", Kind::Directory),
        [moved(dot(ANN, 3), 1, &[dot(ANN, 1)], id(2), "a"), moved(dot(BOB, 3), 2, &[dot(ANN, 2)], id(1), "b")],
    ]
    .concat();
    assert_eq!(shown(&versions), ["b/", "b/a/"]);
    let mut tree = tree();
    apply(&mut tree, versions);
    assert_eq!(tree.counts().move_cycles, 1);
    // Moving either out of the other mends it.
    tree.apply(moved(dot(ANN, 4), 1, &[dot(ANN, 3)], root(), "a"));
    assert_eq!(paths(&tree), ["a/", "a/b/"]);
}

#[test]
fn of_two_files_of_one_name_the_later_shows_with_date_author_and_a_piece_of_its_id() {
    let versions: Vec<_> = [
        new(dot(ANN, 1), 1, root(), "cat.jpg", Kind::File),
        new(dot(BOB, 2), 2, root(), "cat.jpg", Kind::File),
        new(dot(BOB, 3), 3, root(), "cat.jpg", Kind::File),
    ]
    .concat();
    let later = ["cat (1970-01-01 Bob 02020202).jpg", "cat (1970-01-01 Bob 03030303).jpg", "cat.jpg"];
    assert_eq!(shown(&versions), later);
    let mut tree = tree();
    apply(&mut tree, versions);
    assert_eq!(tree.lookup(&root(), b"cat.jpg"), Some(Seen::of(id(1))));
    // The first goes, so the next takes the name.
    tree.apply(moved(dot(ANN, 4), 1, &[dot(ANN, 1)], root(), "dog.jpg"));
    assert_eq!(paths(&tree), ["cat (1970-01-01 Bob 03030303).jpg", "cat.jpg", "dog.jpg"]);
    // A friend's name may be learnt late.
    let changes = tree.set_author_name(BOB, "Bob/by");
    assert_eq!(paths(&tree), ["cat (1970-01-01 Bob_by 03030303).jpg", "cat.jpg", "dog.jpg"]);
    let gone = b"cat (1970-01-01 Bob 03030303).jpg".to_vec();
    assert!(changes.entries.contains(&(root().inode(), gone)));
}

#[test]
fn two_directories_of_one_name_show_as_one_all_the_way_down_until_one_moves() {
    let versions: Vec<_> = [
        new(dot(ANN, 1), 1, root(), "photos", Kind::Directory),
        new(dot(BOB, 1), 2, root(), "photos", Kind::Directory),
        new(dot(ANN, 2), 3, id(1), "2026", Kind::Directory),
        new(dot(BOB, 2), 4, id(2), "2026", Kind::Directory),
        new(dot(ANN, 3), 5, id(3), "a", Kind::File),
        new(dot(BOB, 3), 6, id(4), "a", Kind::File),
        new(dot(BOB, 4), 7, id(4), "b", Kind::File),
    ]
    .concat();
    let clash = "photos/2026/a (1970-01-01 Bob 06060606)";
    assert_eq!(shown(&versions), ["photos/", "photos/2026/", "photos/2026/a", clash, "photos/2026/b"]);
    let mut tree = tree();
    apply(&mut tree, versions);
    assert_eq!(tree.merged(&id(2)), [id(2), id(1)]);
    assert_eq!(tree.lookup(&id(4), b"a"), Some(Seen::of(id(5))), "any of them leads to what all hold");
    assert_eq!(tree.location(&Seen::of(id(4))), Some((id(1), b"2026".to_vec())));
    assert!(!tree.is_empty_dir(&id(2)));
    let changes = tree.apply(moved(dot(BOB, 5), 2, &[dot(BOB, 1)], root(), "bob"));
    assert_eq!(
        paths(&tree),
        ["bob/", "bob/2026/", "bob/2026/a", "bob/2026/b", "photos/", "photos/2026/", "photos/2026/a"]
    );
    assert!(changes.entries.contains(&(id(1).inode(), b"2026".to_vec())));
    assert!(changes.entries.contains(&(id(3).inode(), b"b".to_vec())));
    assert_eq!(tree.merged(&id(2)), [id(2)]);
}

#[test]
fn of_a_file_and_directories_of_one_name_the_earliest_has_it_and_the_directories_stay_one() {
    let versions: Vec<_> = [
        new(dot(ANN, 1), 1, root(), "x", Kind::File),
        new(dot(ANN, 2), 2, root(), "x", Kind::Directory),
        new(dot(ANN, 3), 3, root(), "x", Kind::Directory),
        new(dot(ANN, 4), 4, id(3), "in", Kind::File),
    ]
    .concat();
    let directory = "x (1970-01-01 Ann 02020202)/";
    assert_eq!(shown(&versions), ["x", directory, "x (1970-01-01 Ann 02020202)/in"]);
}

#[test]
fn the_loser_of_a_conflict_shows_beside_the_winner_until_a_write_saw_both() {
    let versions: Vec<_> = [
        &new(dot(ANN, 1), 1, root(), "plan.txt", Kind::File)[..],
        &[edit(dot(ANN, 2), 1, &[dot(ANN, 1)], 0), edit(dot(BOB, 2), 1, &[dot(ANN, 1)], 0)],
    ]
    .concat();
    assert_eq!(shown(&versions), ["plan (conflict 1970-01-01 Ann).txt", "plan.txt"]);
    let mut tree = tree();
    apply(&mut tree, versions);
    assert_eq!(tree.counts().edit_edit, 1);
    let loser = tree.lookup(&root(), b"plan (conflict 1970-01-01 Ann).txt").expect("it shows");
    assert_eq!(loser, Seen { object: id(1), version: Some(dot(ANN, 2)) });
    assert_eq!(tree.body(&loser).and_then(|body| body.dot), Some(dot(ANN, 2)));
    assert_ne!(tree.inode(&loser), id(1).inode());

    // A write to the winner leaves the loser; a write to the loser leaves the winner.
    let winner = tree.body_context(&Seen::of(id(1)));
    assert!(winner.covers(&dot(BOB, 2)) && !winner.covers(&dot(ANN, 2)));
    let losing = tree.body_context(&loser);
    assert!(losing.covers(&dot(ANN, 2)) && losing.covers(&dot(ANN, 1)) && !losing.covers(&dot(BOB, 2)));
    let all = tree.all_bodies_context(&id(1));
    assert!(all.covers(&dot(ANN, 2)) && all.covers(&dot(BOB, 2)));
    tree.apply(version(dot(ANN, 3), 1, all, Value::Body(body(Kind::File, 0))));
    assert_eq!(paths(&tree), ["plan.txt"]);
    assert_eq!(tree.by_inode(tree.inode(&loser)), None);
}

/// Two programs on one node had the file open, each wrote, and a third opened the winner: the loser is below it in the
/// same chain, and must not be taken for superseded.
#[test]
fn a_write_spares_an_earlier_conflicting_one_of_the_same_author() {
    let mut tree = tree();
    apply(&mut tree, new(dot(ANN, 1), 1, root(), "a", Kind::File));
    apply(&mut tree, [edit(dot(ANN, 2), 1, &[dot(ANN, 1)], 2), edit(dot(ANN, 3), 1, &[dot(ANN, 1)], 3)]);
    let context = tree.body_context(&Seen::of(id(1)));
    assert!(context.covers(&dot(ANN, 3)) && !context.covers(&dot(ANN, 2)) && context.covers(&dot(ANN, 1)));
    tree.apply(version(dot(ANN, 4), 1, context, Value::Body(body(Kind::File, 4))));
    assert_eq!(paths(&tree), ["a", "a (conflict 1970-01-01 Ann)"]);
    let place = tree.delete_place(&Seen::of(id(1))).expect("it has a place");
    tree.apply(version(dot(ANN, 5), 1, tree.place_context(&id(1)).0, Value::Place(place)));
    assert_eq!(tree.attributes(&Seen::of(id(1))).map(|a| a.size), Some(2));
}

#[test]
fn names_that_nobody_gave_make_way_for_real_ones_and_for_each_other() {
    let mut versions: Vec<_> = [
        &new(dot(ANN, 1), 1, root(), "a", Kind::File)[..],
        &[edit(dot(BOB, 2), 1, &[dot(ANN, 1)], 0), edit(dot(ANN, 3), 1, &[dot(ANN, 1)], 0)],
        &new(dot(ANN, 4), 2, root(), "a (conflict 1970-01-01 Bob)", Kind::File),
    ]
    .concat();
    let names = shown(&versions);
    assert_eq!(names.len(), 3);
    let piece = names.iter().find(|name| name.starts_with("a (conflict 1970-01-01 Bob ")).expect("a piece was added");
    assert_eq!(piece.len(), "a (conflict 1970-01-01 Bob 01234567)".len());
    // The real one goes: the plain name is free.
    versions.push(moved(dot(ANN, 5), 2, &[dot(ANN, 4)], root(), "z"));
    assert_eq!(shown(&versions), ["a", "a (conflict 1970-01-01 Bob)", "z"]);
    // Two losers of one author and day: which is which is told by the piece, of both.
    versions.push(edit(Dot { incarnation: 1, ..dot(BOB, 2) }, 1, &[dot(ANN, 1)], 0));
    let names = shown(&versions);
    assert_eq!(names.len(), 4);
    assert!(names[1..3].iter().all(|name| name.starts_with("a (conflict 1970-01-01 Bob ")), "{names:?}");
}

#[test]
fn an_edit_that_a_delete_did_not_see_lives_at_the_tombstones_name() {
    let mut ann = tree();
    apply(&mut ann, new(dot(ANN, 1), 1, root(), "a", Kind::File));
    let delete = ann.delete_place(&Seen::of(id(1))).expect("it has a place");
    let tombstone = version(dot(ANN, 2), 1, ann.place_context(&id(1)).0, Value::Place(delete));
    let versions: Vec<_> =
        [&new(dot(ANN, 1), 1, root(), "a", Kind::File)[..], std::slice::from_ref(&tombstone)].concat();
    assert_eq!(shown(&versions), [""; 0]);
    let versions: Vec<_> = [&versions[..], &[edit(dot(BOB, 2), 1, &[dot(ANN, 1)], 5)]].concat();
    assert_eq!(shown(&versions), ["a"]);
    apply(&mut ann, versions);
    assert_eq!(ann.counts().edit_delete, 1);
    // Bob moves what lived; what Ann deleted stays dead, since the new place carries it on.
    let (context, dead) = ann.place_context(&id(1));
    assert!(dead.covers(&dot(ANN, 1)) && !dead.covers(&dot(BOB, 2)));
    let place = Place { deleted: Some(dead), ..place(root(), "b") };
    ann.apply(version(dot(BOB, 3), 1, context, Value::Place(place)));
    assert_eq!(paths(&ann), ["b"]);
    ann.apply(edit(dot(ANN, 1), 1, &[], 0));
    assert_eq!(paths(&ann), ["b"]);
}

#[test]
fn deleting_the_winner_gives_its_name_to_the_loser_and_deleting_the_loser_leaves_the_winner() {
    let versions: Vec<_> = [
        &new(dot(ANN, 1), 1, root(), "a", Kind::File)[..],
        &[edit(dot(ANN, 2), 1, &[dot(ANN, 1)], 2), edit(dot(BOB, 2), 1, &[dot(ANN, 1)], 3)],
    ]
    .concat();
    for (loser, left) in [(None, 2), (Some(dot(ANN, 2)), 3)] {
        let mut tree = tree();
        apply(&mut tree, versions.clone());
        let place = tree.delete_place(&Seen { object: id(1), version: loser }).expect("it has a place");
        tree.apply(version(dot(ANN, 3), 1, tree.place_context(&id(1)).0, Value::Place(place)));
        assert_eq!(paths(&tree), ["a"]);
        assert_eq!(tree.attributes(&Seen::of(id(1))).map(|a| a.size), Some(left));
    }
}

#[test]
fn a_deleted_directory_lives_while_something_in_it_does() {
    let mut versions: Vec<_> =
        [new(dot(ANN, 1), 1, root(), "d", Kind::Directory), new(dot(ANN, 2), 2, id(1), "e", Kind::Directory)].concat();
    for (object, parent, name) in [(2, id(1), "e"), (1, root(), "d")] {
        let created = dot(ANN, 3 - u64::from(object % 2) - u64::from(object == 2));
        let place = Place { deleted: Some(saw(&[dot(ANN, 2)])), ..place(parent, name) };
        versions.push(version(dot(ANN, 9), object, saw(&[created, dot(ANN, 2)]), Value::Place(place)));
    }
    assert_eq!(shown(&versions), [""; 0]);
    // Bob, who had not heard, put a file in the inner one.
    versions.extend(new(dot(BOB, 3), 3, id(2), "f", Kind::File));
    assert_eq!(shown(&versions), ["d/", "d/e/", "d/e/f"]);
    let mut tree = tree();
    apply(&mut tree, versions);
    assert_eq!(tree.attributes(&Seen::of(id(1))).map(|a| a.mode), Some(0o644));
    tree.apply(moved(dot(BOB, 4), 3, &[dot(BOB, 3)], root(), "f"));
    assert_eq!(paths(&tree), ["f"]);
    assert_eq!((tree.len(), tree.object_count()), (1, 3));
}

#[test]
fn what_was_superseded_twice_does_not_come_back_late() {
    let [created, first] = new(dot(ANN, 1), 1, root(), "a", Kind::File);
    let mut bob = tree();
    apply(&mut bob, [created.clone(), first.clone()]);
    let mut versions = vec![first];
    for (sequence, size) in [(2, 20), (3, 30)] {
        let context = bob.body_context(&Seen::of(id(1)));
        let next = version(dot(BOB, sequence), 1, context, Value::Body(body(Kind::File, size)));
        bob.apply(next.clone());
        versions.push(next);
    }
    // The newest comes alone, and what it stands for afterwards: it must be known for dead without the one between.
    let mut late = tree();
    apply(&mut late, [created, versions[2].clone(), versions[0].clone(), versions[1].clone()]);
    assert_eq!(paths(&late), ["a"]);
    assert_eq!(late.attributes(&Seen::of(id(1))).map(|a| a.size), Some(30));
    assert_eq!(late.apply(versions[0].clone()), Changes::default());
}

#[test]
fn what_lies_in_something_unknown_shows_under_the_root_until_that_comes() {
    let inside = new(dot(ANN, 2), 2, id(1), "f", Kind::File);
    let outside = new(dot(ANN, 1), 1, root(), "d", Kind::Directory);
    let mut tree = tree();
    apply(&mut tree, inside);
    assert_eq!(paths(&tree), ["f"]);
    assert_eq!(tree.object_count(), 1);
    apply(&mut tree, outside);
    assert_eq!(paths(&tree), ["d/", "d/f"]);
    tree.apply(moved(dot(ANN, 3), 2, &[dot(ANN, 2)], id(5), "f"));
    tree.apply(moved(dot(ANN, 4), 2, &[dot(ANN, 3)], root(), "f"));
    assert_eq!((paths(&tree), tree.ids.len()), (vec!["d/".into(), "f".into()], 3), "what never came is forgotten");
}

#[test]
fn what_is_staged_shows_here_and_gives_way_to_what_is_published() {
    let mut tree = tree();
    tree.stage(id(1), place(root(), "a"), body(Kind::File, 7));
    assert_eq!(paths(&tree), ["a"]);
    assert_eq!((tree.len(), tree.object_count()), (1, 1));
    let seen = Seen::of(id(1));
    assert_eq!(tree.body(&seen).map(|body| (body.dot, body.body.size)), Some((None, 7)));
    assert_eq!(tree.body_context(&seen), Context::default());
    // A friend's file of that name keeps the name, since it is published.
    apply(&mut tree, new(dot(BOB, 1), 2, root(), "a", Kind::File));
    assert_eq!(tree.lookup(&root(), b"a"), Some(Seen::of(id(2))));
    assert_eq!(paths(&tree), ["a", "a (1970-01-01 unpublished 01010101)"]);
    tree.stage(id(1), place(root(), "b"), body(Kind::File, 8));
    assert_eq!(paths(&tree), ["a", "b"]);
    assert_eq!(tree.staged(&id(1)).map(|(_, body)| body.size), Some(8));
    let [place, published] = new(dot(ANN, 2), 1, root(), "b", Kind::File);
    tree.apply(place);
    assert!(tree.is_staged(&id(1)), "its body is not published yet");
    tree.apply(published);
    assert!(!tree.is_staged(&id(1)));
    assert_eq!(paths(&tree), ["a", "b"]);

    tree.stage(id(3), super::tests::place(id(4), "c"), body(Kind::File, 0));
    tree.unstage(id(3));
    assert_eq!(paths(&tree), ["a", "b"]);
    assert_eq!((tree.object_count(), tree.ids.len()), (2, 3), "nothing is kept of what was never published");
}

#[test]
fn a_torrent_comes_with_its_first_living_body_and_goes_with_its_last() {
    let torrent = InfoHash([7; 20]);
    let content = Content::Torrent(crate::wire::record::TorrentRef {
        info_hash: torrent,
        runs: vec![(1, crate::base::StatementHash([3; 32]))],
        tags: [4; 32],
    });
    let file = Body { content, size: 9, ..body(Kind::File, 9) };
    let mut tree = tree();
    let write = |dot: Dot, object: u8| version(dot, object, Context::default(), Value::Body(file.clone()));
    assert_eq!(tree.apply(write(dot(ANN, 1), 1)).torrents_added, [torrent]);
    assert_eq!(tree.body(&Seen::of(id(1))).map(|body| body.body), Some(file.clone()));
    assert_eq!(tree.apply(write(dot(ANN, 2), 2)).torrents_added, []);
    assert_eq!(tree.holders(&torrent).collect::<Vec<_>>(), [(id(1), dot(ANN, 1)), (id(2), dot(ANN, 2))]);
    assert_eq!(tree.apply(edit(dot(ANN, 3), 1, &[dot(ANN, 1)], 0)).torrents_removed, []);
    let delete = Place { deleted: Some(saw(&[dot(ANN, 2)])), ..place(root(), "b") };
    let changes = tree.apply(version(dot(ANN, 4), 2, Context::default(), Value::Place(delete)));
    assert_eq!(changes.torrents_removed, [torrent]);
    assert_eq!(tree.torrents().count(), 0);
}

#[test]
fn what_no_honest_node_writes_harms_nothing() {
    let mut tree = tree();
    let none = Context::default();
    for object in [root(), ObjectId([0; 16])] {
        let value = Value::Place(place(id(1), "x"));
        let mut bad = version(dot(BOB, 1), 1, none.clone(), value);
        bad.object = object;
        assert_eq!(tree.apply(bad), Changes::default());
    }
    let huge = Context { upto: (0..5_000).map(|n| dot(BOB, n)).collect(), except: Vec::new() };
    assert_eq!(tree.apply(version(dot(BOB, 3), 1, huge, Value::Body(body(Kind::File, 0)))), Changes::default());

    let kinds = [(2, 2, "own parent"), (3, 4, "in a file"), (4, 4, "file in itself")];
    for (object, parent, name) in kinds {
        let kind = if object == 4 { Kind::File } else { Kind::Directory };
        apply(&mut tree, new(dot(BOB, 4), object, id(parent), name, kind));
    }
    assert_eq!(paths(&tree), ["file in itself", "in a file/", "own parent/"]);
    // A body of another kind than the object's never shows, be it as winner or as loser.
    tree.apply(version(dot(BOB, 9), 4, Context::default(), Value::Body(body(Kind::Directory, 0))));
    assert_eq!(paths(&tree), ["file in itself", "in a file/", "own parent/"]);
    // A version that covers itself is dead on arrival.
    tree.apply(version(dot(BOB, 10), 4, saw(&[dot(BOB, 10)]), Value::Body(body(Kind::File, 0))));
    assert_eq!(paths(&tree), ["in a file/", "own parent/"]);
}

#[test]
fn of_very_many_conflicts_the_newest_show_and_all_are_kept() {
    let mut tree = tree();
    apply(&mut tree, new(dot(ANN, 1), 1, root(), "a", Kind::File));
    for sequence in 2..=200 {
        tree.apply(edit(dot(BOB, sequence), 1, &[], sequence));
    }
    assert_eq!(listing_of(&tree, 5).len(), 64);
    assert_eq!(tree.attributes(&Seen::of(id(1))).map(|a| a.size), Some(200));
    tree.apply(version(dot(ANN, 201), 1, tree.all_bodies_context(&id(1)), Value::Body(body(Kind::File, 0))));
    assert_eq!(paths(&tree), ["a"]);
}

fn many(number: u32) -> ObjectId {
    let mut id = [0xcc; 16];
    id[4..8].copy_from_slice(&number.to_be_bytes());
    ObjectId(id)
}

fn many_new(number: u32, parent: ObjectId, name: &str, kind: Kind) -> [Version; 2] {
    new(dot(ANN, u64::from(number) + 1), 0, parent, name, kind).map(|v| Version { object: many(number), ..v })
}

/// Were a create, a move or a page to cost a step for each entry of its directory, this would take minutes.
#[test]
fn a_directory_of_50_000_entries_costs_each_create_and_each_page_no_more_than_a_small_one() {
    let mut tree = tree();
    for number in 0..50_000 {
        apply(&mut tree, many_new(number, root(), &format!("file {number}"), Kind::File));
    }
    assert_eq!(tree.len(), 50_000);
    let mut after: Option<Box<[u8]>> = None;
    let mut count = 0;
    loop {
        let page = tree.list(&root(), after.as_deref(), 10);
        count += page.len();
        let Some((name, ..)) = page.into_iter().next_back() else { break };
        after = Some(name);
    }
    assert_eq!(count, 50_000);
}

#[test]
fn thousands_of_one_name_and_thousands_below_each_other_are_shown_without_recursion() {
    let mut tree = tree();
    for number in 0..5_000 {
        let kind = if number % 2 == 0 { Kind::File } else { Kind::Directory };
        apply(&mut tree, many_new(number, root(), "same", kind));
    }
    assert_eq!(tree.list(&root(), None, usize::MAX).len(), 2_501);
    assert_eq!(tree.merged(&many(1)).len(), 2_500);

    // Deeper than any stack, the innermost first.
    for number in (10_000..30_000).rev() {
        apply(&mut tree, many_new(number, many(number - 1), "down", Kind::Directory));
    }
    assert_eq!(tree.depth(&many(29_999), 512), 512);
    assert_eq!(tree.depth(&many(29_999), usize::MAX), 20_000);
    // The ends joined are one great cycle; it is cut at the newest move, which is the innermost's.
    apply(&mut tree, many_new(9_999, many(29_999), "top", Kind::Directory));
    assert_eq!(tree.depth(&many(29_999), 512), 1);
    assert_eq!(tree.depth(&many(29_998), usize::MAX), 20_001);
    assert_eq!(tree.counts().move_cycles, 1);
}

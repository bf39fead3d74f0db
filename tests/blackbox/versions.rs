//! Older versions: listed, looked at in the mount, put back, on the node that wrote them and on a friend's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Node, Random, World, seed, wait_until, write};

const LIMIT: Duration = Duration::from_secs(20);
/// Linux's number.
const EPERM: i32 = 1;

/// What `dustfs versions` lists, as sizes, the newest first.
fn sizes(node: &Node, path: &str) -> Vec<u64> {
    let versions = node.json(&["versions", path]);
    let versions = versions["versions"].as_array().expect("versions");
    versions.iter().map(|version| version["size"].as_u64().expect("a size")).collect()
}

fn deleted(node: &Node, path: &str) -> Vec<String> {
    let versions = node.json(&["versions", path]);
    let deleted = versions["deleted"].as_array().expect("deleted files");
    let mut paths: Vec<String> = deleted.iter().map(|file| file["path"].as_str().expect("a path").to_owned()).collect();
    paths.sort();
    paths
}

fn listed(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).expect("a listing").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_replaced_or_deleted_is_listed_seen_and_put_back_on_every_node() {
    let Some(world) = World::new("versions_are_put_back") else { return };
    let mut random = Random::new(seed("versions_are_put_back"));
    let mut a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    fs::create_dir_all(a.friends("music/drafts")).expect("directories");
    let contents: Vec<Vec<u8>> = [300_000, 200_000, 3_000].map(|length| random.bytes(length)).into();
    let song = a.friends("music/song.bin");
    for content in &contents {
        write(&song, content);
        // Each is published before the next: a file that is written again at once is one version.
        wait_until("B reads it", LIMIT, || fs::read(b.friends("music/song.bin")).is_ok_and(|read| read == *content));
    }
    // As editors save: a new file, renamed over the old one.
    let last = random.bytes(150_000);
    write(&a.friends("music/song.tmp"), &last);
    fs::rename(a.friends("music/song.tmp"), &song).expect("a rename");
    write(&a.friends("music/drafts/one"), &contents[0]);
    write(&a.friends("music/drafts/two"), b"two");
    wait_until("B has all", LIMIT, || b.holds_all(5));

    let friends_song = "Friends/music/song.bin";
    for node in [&a, &b] {
        wait_until("the versions are known", LIMIT, || sizes(node, friends_song) == [3_000, 200_000, 300_000]);
    }
    let words = a.ok(&["versions", &song.to_string_lossy()]);
    assert!(words.starts_with("VERSION  WRITTEN (UTC)") && words.contains("292.9 KiB  here"), "{words}");

    // The view: the paths of the mount, and for each file a directory of its versions.
    let view = b.mount().join(".dustfs/versions/Friends/music/song.bin");
    let versions = listed(&view);
    assert_eq!(versions.len(), 3, "{versions:?}");
    for (version, content) in versions.iter().zip(&contents) {
        let name = version.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.ends_with(" A.bin") && name.starts_with("20"), "{name}");
        assert!(fs::read(version).expect("an older version is read") == *content, "{name}");
    }
    assert!(!listed(&b.mount()).iter().any(|path| path.ends_with(".dustfs")), "the view is not listed");
    let refused = [
        ("write", fs::write(&versions[0], b"x")),
        ("create", fs::write(view.join("new"), b"x")),
        ("unlink", fs::remove_file(&versions[0])),
        ("mkdir", fs::create_dir(b.mount().join(".dustfs/x"))),
        ("the view's name", fs::create_dir(b.friends(".dustfs"))),
        ("chmod", fs::set_permissions(&versions[0], std::os::unix::fs::PermissionsExt::from_mode(0o600))),
    ];
    for (what, result) in refused {
        assert_eq!(result.map_err(|error| error.raw_os_error()), Err(Some(EPERM)), "{what}");
    }

    // The friend puts an older one back, beside and in place; nothing goes over the wire for it.
    let before = b.json(&["friends"])[0]["downloaded"].clone();
    let copy = b.friends("music/old song.bin");
    b.ok(&["restore", friends_song, "1", "--to", &copy.to_string_lossy()]);
    assert!(fs::read(&copy).expect("the copy is read") == contents[0]);
    assert!(fs::read(b.friends("music/song.bin")).expect("it is read") == last);
    let open = fs::File::open(&song).expect("A has it open");
    b.ok(&["restore", friends_song, "2"]);
    assert!(fs::read(b.friends("music/song.bin")).expect("it is read") == contents[1]);
    wait_until("A sees what B put back", LIMIT, || fs::read(&song).is_ok_and(|read| read == contents[1]));
    drop(open);
    assert_eq!(b.json(&["friends"])[0]["downloaded"], before);
    wait_until("what was there is a version now", LIMIT, || sizes(&a, friends_song).first() == Some(&150_000));

    // A directory is deleted with all that is in it, and comes back by one command.
    fs::remove_dir_all(a.friends("music/drafts")).expect("a removal");
    let gone = ["Friends/music/drafts/one", "Friends/music/drafts/two"];
    wait_until("B knows", LIMIT, || deleted(&b, "Friends") == gone);
    assert_eq!(deleted(&b, ""), gone);
    let words = b.ok(&["versions", "Friends/music/drafts"]);
    assert!(words.starts_with("DELETED (UTC)") && words.contains("Friends/music/drafts/one"), "{words}");
    let seen = b.mount().join(".dustfs/versions/Friends/music/drafts");
    assert_eq!(listed(&seen).len(), 2);
    assert_eq!(fs::read(&listed(&seen.join("two"))[0]).expect("it is read"), b"two");
    assert_eq!(b.ok(&["restore", "Friends/music/drafts"]), "put back 2 files\n");
    wait_until("A has it again", LIMIT, || {
        fs::read(a.friends("music/drafts/one")).is_ok_and(|read| read == contents[0])
    });
    assert!(deleted(&b, "").is_empty());

    // All of it is known again after a start.
    a.stop();
    a.start();
    assert_eq!(sizes(&a, friends_song), sizes(&b, friends_song));
    let again = listed(&a.mount().join(".dustfs/versions/Friends/music/song.bin"));
    assert!(fs::read(&again[0]).expect("it is read") == contents[0]);
    for (arguments, why) in [
        (&["restore", "Friends/nothing"][..], "there is no such file"),
        (&["restore", friends_song, "9"], "it has no version 9"),
        (&["restore", friends_song, "1", "--to", "Friends/music"], "it exists already"),
        (&["restore", "Friends/music"], "the directory is there"),
        (&["restore", friends_song, "--to", "Home/song"], "from one circle to another"),
        (&["versions", "Nowhere/x"], "there is no such file"),
    ] {
        let ran = a.run(arguments);
        assert!(ran.code == Some(1) && ran.err.contains(why), "{arguments:?}: {ran:?}");
    }
}

/// Bytes that a node's slabs take on the disk, holes left out.
pub(super) fn slab_bytes(node: &Node) -> u64 {
    let mut open = vec![node.state()];
    let mut bytes = 0;
    while let Some(directory) = open.pop() {
        for path in listed(&directory) {
            let told = fs::metadata(&path).expect("it is there");
            if told.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().contains("slab") {
                bytes += std::os::unix::fs::MetadataExt::blocks(&told) * 512;
            }
        }
    }
    bytes
}

/// A node whose keep time is short lets older versions go, and their space with them; a friend's stay, and can be read and
/// put back from there.
#[test]
fn older_versions_go_when_their_time_is_over_and_their_space_comes_back() {
    const SIZE: usize = 6_000_000;
    let Some(world) = World::new("older_versions_go") else { return };
    let mut random = Random::new(seed("older_versions_go"));
    let mut a = world.node("A");
    fs::create_dir_all(a.state()).expect("a state directory");
    fs::write(a.state().join("config.toml"), "versions_time = \"3 s\"\n").expect("a config");
    a.start();
    let b = world.started("B");
    b.join(&a.invite("member"));
    let mut content = random.bytes(SIZE);
    let film = a.friends("film.bin");
    write(&film, &content);
    wait_until("B has it", LIMIT, || b.holds_all(1));
    let one = slab_bytes(&a);
    assert!(one > SIZE as u64 && one < SIZE as u64 * 3 / 2, "{one} bytes");

    // A change in the middle shares all other pieces: of the older version little goes, and nothing that is needed.
    let first = content.clone();
    content[3_000_000..3_000_100].copy_from_slice(&random.bytes(100));
    let mut file = fs::OpenOptions::new().write(true).open(&film).expect("it opens");
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(3_000_000)).expect("a seek");
    std::io::Write::write_all(&mut file, &content[3_000_000..3_000_100]).expect("a write");
    drop(file);
    wait_until("B reads the change", LIMIT, || fs::read(b.friends("film.bin")).is_ok_and(|read| read == content));
    let gone = |node: &Node, path: &str, place: &str| {
        let versions = node.json(&["versions", path]);
        versions["versions"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|v| v["place"] == place))
    };
    wait_until("A has let it go", LIMIT, || gone(&a, "Friends/film.bin", "friends"));
    assert!(gone(&b, "Friends/film.bin", "here"));
    assert!(fs::read(&film).expect("it is read") == content);

    // A deleted file's space comes back, and the file from the friend who keeps it.
    let other = a.friends("other.bin");
    let second = random.bytes(SIZE);
    write(&other, &second);
    wait_until("B has it", LIMIT, || b.holds_all(2));
    let two = slab_bytes(&a);
    fs::remove_file(&other).expect("a removal");
    wait_until("the space comes back", LIMIT, || slab_bytes(&a) + SIZE as u64 * 9 / 10 < two);
    assert!(fs::read(&film).expect("it is read") == content);
    wait_until("it is with the friend alone", LIMIT, || gone(&a, "Friends/other.bin", "friends"));
    let seen = listed(&a.mount().join(".dustfs/versions/Friends/other.bin"));
    // A machine that is busy may have published a part of it before.
    let read = fs::read(seen.last().expect("a version")).expect("it is read from the friend");
    assert!(read == second, "{} of {} bytes are read of {seen:?}", read.len(), second.len());
    a.ok(&["restore", "Friends/other.bin"]);
    assert!(fs::read(&other).expect("it is read") == second);
    a.ok(&["restore", "Friends/film.bin", "1"]);
    assert!(fs::read(&film).expect("it is read") == first);

    // Through a cut, too: what was let go is not taken for there, and what is shown is.
    wait_until("what was replaced is let go", LIMIT, || {
        let versions = a.json(&["versions", "Friends/film.bin"]);
        versions["versions"].as_array().is_some_and(|all| all.len() == 2 && all[0]["place"] == "friends")
    });
    a.kill();
    a.start();
    assert!(fs::read(&film).expect("it is read") == first);
    assert!(fs::read(&other).expect("it is read") == second);
}

#[test]
fn older_versions_take_no_more_room_than_they_may() {
    const SIZE: usize = 3_000_000;
    let Some(world) = World::new("older_versions_room") else { return };
    let mut random = Random::new(seed("older_versions_room"));
    let mut a = world.node("A");
    fs::create_dir_all(a.state()).expect("a state directory");
    // The pace at which it is looked at follows the keep time.
    fs::write(a.state().join("config.toml"), "versions = \"7 MB\"\nversions_time = \"20 s\"\n").expect("a config");
    a.start();
    let file = a.mount().join("song.bin");
    for number in 1..=5 {
        write(&file, &random.bytes(SIZE + number));
        wait_until("it is published", LIMIT, || a.json(&["status"])["circles"][0]["bytes"] == SIZE + number);
    }
    let here = || {
        let versions = a.json(&["versions", "song.bin"]);
        let versions = versions["versions"].as_array().expect("versions").clone();
        versions.iter().map(|version| version["place"] == "here").collect::<Vec<_>>()
    };
    wait_until("the oldest went", LIMIT, || here()[..4] == [true, true, false, false]);
}

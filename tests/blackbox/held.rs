//! Mass changes: what they replaced is held back on every node, until a keeper undoes them or says that they were meant.

use std::fs;
use std::time::Duration;

use crate::harness::{Node, Random, World, seed, wait_until, write};
use crate::versions::slab_bytes;

const LIMIT: Duration = Duration::from_secs(30);
const FILES: usize = 130;

/// The changes that a node holds back, as it lists them.
fn held(node: &Node) -> Vec<serde_json::Value> {
    node.json(&["status"])["held"].as_array().expect("what is held").clone()
}

#[test]
fn a_mass_change_is_held_back_and_undone_or_accepted_by_a_keeper() {
    let Some(world) = World::new("a_mass_change") else { return };
    let mut random = Random::new(seed("a_mass_change"));
    let mut a = world.node("A");
    fs::create_dir_all(a.state()).expect("a state directory");
    fs::write(a.state().join("config.toml"), "versions_time = \"2 s\"\n").expect("a config");
    a.start();
    let b = world.started("B");
    b.join(&a.invite("member"));
    let name = |at: usize| format!("photos/{at:03}.jpg");
    fs::create_dir(a.friends("photos")).expect("a directory");
    let mut contents = Vec::new();
    for at in 0..FILES {
        // Small ones lie in their records, others in torrents.
        contents.push(random.bytes(if at % 3 == 0 { 900 } else { 40_000 }));
        write(&a.friends(&name(at)), &contents[at]);
    }
    wait_until("B has all", LIMIT, || b.holds_all(FILES as u64 + 1));
    assert!(held(&a).is_empty() && held(&b).is_empty(), "new files replace nothing");
    let full = slab_bytes(&a);

    // A program takes hostages on B: it overwrites some, deletes others beside files of its own, and renames over the rest.
    for at in 0..FILES {
        let (file, other) = (b.friends(&name(at)), b.friends(&format!("{}.locked", name(at))));
        match at % 3 {
            0 => fs::write(file, random.bytes(30_000)).expect("it is overwritten"),
            1 => {
                fs::write(other, random.bytes(20_000)).expect("a new file");
                fs::remove_file(file).expect("it is deleted");
            }
            _ => {
                fs::write(&other, random.bytes(20_000)).expect("a new file");
                fs::rename(other, file).expect("it takes the name");
            }
        }
    }
    for node in [&a, &b] {
        wait_until(
            "it is held back whole",
            LIMIT,
            || matches!(&held(node)[..], [one] if one["files"].as_u64() == Some(FILES as u64) && one["author"] == "B"),
        );
    }
    let change = held(&a)[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(held(&b)[0]["id"], held(&a)[0]["id"]);
    let words = a.ok(&["held"]);
    assert!(words.contains(&change) && words.contains(" 130  Friends") && words.contains("--undo"), "{words}");
    assert!(a.ok(&["status"]).contains("held back: much was deleted or overwritten at once"));

    // Who is no keeper has no say; the keep time lets nothing of it go, and it is known again after a cut.
    let ran = b.run(&["held", &change, "--accept"]);
    assert!(ran.code == Some(1) && ran.err.contains("only a keeper"), "{ran:?}");
    let ran = a.run(&["held", "00000000", "--undo"]);
    assert!(ran.code == Some(1) && ran.err.contains("no change '00000000' is held back"), "{ran:?}");
    let spare = a.friends("spare.bin");
    write(&spare, &random.bytes(400_000));
    wait_until("B has the spare file", LIMIT, || fs::metadata(b.friends("spare.bin")).is_ok());
    fs::remove_file(&spare).expect("a single removal");
    wait_until("what was deleted singly goes after its time", LIMIT, || {
        let versions = a.json(&["versions", "Friends/spare.bin"]);
        versions["versions"].as_array().is_some_and(|all| all.iter().any(|one| one["place"] != "here"))
    });
    a.kill();
    a.start();
    assert_eq!(held(&a)[0]["id"], *change);
    let place = a.json(&["versions", "Friends/photos/001.jpg"])["versions"][0]["place"].clone();
    assert_eq!(place, "here", "what is held back is still here");

    // Somebody has taken a name meanwhile: that stays, and so does the change, until all of it is undone.
    write(&a.friends(&name(1)), b"another photo");
    assert!(a.ok(&["held", &change, "--undo"]).starts_with("put back 129 files\n"));
    assert_eq!(held(&a)[0]["id"], *change);
    let ran = a.run(&["held", &change, "--undo"]);
    assert!(ran.code == Some(1) && ran.err.contains("1 files could not be put back"), "{ran:?}");
    assert_eq!(fs::read(a.friends(&name(1))).expect("it is read"), b"another photo");
    fs::rename(a.friends(&name(1)), a.friends("another.jpg")).expect("it is moved away");
    assert_eq!(a.ok(&["held", &change, "--undo"]), "put back 1 file\n");
    for node in [&a, &b] {
        wait_until("all is back", LIMIT, || {
            (0..FILES).all(|at| fs::read(node.friends(&name(at))).is_ok_and(|read| read == contents[at]))
        });
        wait_until("nothing is held back", LIMIT, || held(node).is_empty());
    }
    assert!(b.friends("photos/001.jpg.locked").exists(), "what was made anew stays");

    // The same again, meant this time: its space comes back.
    b.ok(&["status"]);
    fs::remove_dir_all(b.friends("photos")).expect("a removal");
    wait_until("it is held back", LIMIT, || held(&a).len() == 1 && held(&b).len() == 1);
    let change = held(&a)[0]["id"].as_str().expect("an id").to_owned();
    a.ok(&["held", &change, "--accept"]);
    for node in [&a, &b] {
        wait_until("nothing is held back", LIMIT, || held(node).is_empty());
    }
    wait_until("the space comes back", LIMIT, || slab_bytes(&a) < full / 4);
}

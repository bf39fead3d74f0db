//! The command line against running nodes: what it prints for people and for scripts, and how it exits.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{World, must, wait_until, write};

const LIMIT: Duration = Duration::from_secs(20);
/// Linux's number.
const EROFS: i32 = 30;

#[test]
fn exit_codes_tell_what_is_wrong() {
    let Some(world) = World::new("exit_codes_tell_what_is_wrong") else { return };
    let mut a = world.node("A");
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["help", "node"], 0),
        (&["--version"], 0),
        (&["stauts"], 2),
        (&["node", "--cache=yes"], 2),
        (&["invite", "--role", "owner"], 2),
        (&["status"], 3),
        (&["friends"], 3),
        (&["transfers"], 3),
        (&["invite"], 3),
        (&["unmount"], 3),
        (&["stop"], 3),
        (&["init", "--name", "A"], 0),
        (&["join", "nonsense"], 1),
        (&["status"], 3),
    ] {
        let ran = a.run(arguments);
        assert_eq!(ran.code, Some(code), "dustfs {arguments:?}: {ran:?}");
        assert_eq!(ran.err.is_empty(), code == 0, "dustfs {arguments:?}: {ran:?}");
        assert_eq!(ran.out.is_empty(), code != 0, "dustfs {arguments:?}: {ran:?}");
    }
    a.start();
    for (arguments, code) in [
        (&["status"][..], 0),
        (&["found", "Skiers"], 0),
        (&["found", "Skiers"], 1),
        (&["invite", "--circle", "Nobody"], 1),
        (&["remove", "nobody"], 1),
        (&["join", "nonsense"], 1),
        (&["join", "-"], 1),
        (&["unmount"], 0),
        (&["unmount"], 1),
        (&["status"], 0),
    ] {
        let ran = a.run(arguments);
        assert_eq!(ran.code, Some(code), "dustfs {arguments:?}: {ran:?}");
        if code != 0 {
            let told = ran.err.trim_end();
            assert!(told.starts_with("dustfs: ") && !told.contains('\n'), "one line tells it: {told}");
            let json = a.run(&[arguments, &["--json"]].concat());
            let error: serde_json::Value = serde_json::from_str(&json.err).unwrap_or_default();
            assert!(error["error"].is_string(), "--json tells it as JSON: {json:?}");
        }
    }
}

#[test]
fn status_friends_and_transfers_tell_the_same_to_people_and_scripts() {
    let Some(world) = World::new("status_friends_and_transfers") else { return };
    let a = world.started("A");
    let b = world.started("B");
    assert!(b.ok(&["friends"]).starts_with("no friends yet"));
    b.join(&a.invite("member"));
    write(&a.friends("film"), &vec![7; 5_000_000]);
    wait_until("B has it", LIMIT, || b.holds_all(1));

    let status = b.json(&["status"]);
    assert_eq!(status["name"], "B");
    assert_eq!(status["state"], "full");
    assert_eq!(status["mount"], b.mount().to_string_lossy().as_ref());
    assert_eq!(status["connections"], 1);
    let listens = status["listen"].as_array().expect("addresses");
    assert!(listens.iter().any(|at| at == &format!("{}:47470", b.address())), "{listens:?}");
    let circle = b.circle();
    assert_eq!((&circle["role"], &circle["members"], &circle["online"]), (&"member".into(), &2.into(), &1.into()));
    assert_eq!((&circle["bytes"], &circle["held_torrents"]), (&5_000_000.into(), &1.into()));
    let words = b.ok(&["status"]);
    for part in ["node", "B (", "full, up", "Friends", "1 of 2", "4.7 MiB", "1 of 1"] {
        assert!(words.contains(part), "{part}: {words}");
    }

    let friends = b.json(&["friends"]);
    let friend = &friends.as_array().expect("friends")[0];
    assert_eq!((&friend["name"], &friend["role"], &friend["online"]), (&"A".into(), &"keeper".into(), &true.into()));
    assert!(friend["downloaded"].as_u64() >= Some(5_000_000), "{friend}");
    let words = b.ok(&["friends"]);
    assert!(words.starts_with("CIRCLE") && words.contains("online") && words.contains("MiB"), "{words}");

    let transfers = b.json(&["transfers"]);
    assert_eq!(transfers["transfers"].as_array().map(Vec::len), Some(0), "{transfers}");
    assert_eq!(transfers["traffic"][0]["name"], "A");
    assert!(b.ok(&["transfers"]).starts_with("nothing is being fetched"));
}

#[test]
fn the_mount_goes_and_the_node_stays() {
    let Some(world) = World::new("the_mount_goes_and_the_node_stays") else { return };
    let mut a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    write(&a.friends("file"), b"text");
    a.ok(&["unmount"]);
    assert!(!a.is_mounted());
    assert!(a.json(&["status"])["mount"].is_null());
    wait_until("B has it from a node without a mount", LIMIT, || b.holds_all(1));
    a.stop();
    assert_eq!(a.run(&["status"]).code, Some(3));
    a.start();
    assert_eq!(fs::read(a.friends("file")).expect("it is read"), b"text");

    // Somebody else takes the mount away: the node notices.
    must(&["umount", &a.mount().to_string_lossy()]);
    wait_until("the node knows that it is not mounted", LIMIT, || a.json(&["status"])["mount"].is_null());
    a.signal("TERM");
    assert!(a.wait(LIMIT).success());
    assert!(!a.state().join("socket").exists(), "a node that ended in order leaves no socket");

    // A killed node leaves a dead mount and a dead socket: neither is in the way of the next.
    a.start();
    a.kill();
    assert!(a.is_mounted());
    assert_eq!(a.run(&["unmount"]).code, Some(3));
    a.start();
    assert_eq!(fs::read(a.friends("file")).expect("it is read"), b"text");
    a.stop();
    assert!(!a.is_mounted());
}

#[test]
fn a_stop_publishes_what_is_written() {
    let Some(world) = World::new("a_stop_publishes_what_is_written") else { return };
    let mut a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    for number in 0..50 {
        write(&a.friends(&format!("{number}")), format!("text {number}").as_bytes());
    }
    let begun = Instant::now();
    a.stop();
    println!("a_stop_publishes_what_is_written: the stop took {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    a.start();
    for number in 0..50 {
        let text = fs::read_to_string(a.friends(&format!("{number}"))).expect("it is read");
        assert_eq!(text, format!("text {number}"));
    }
    wait_until("B has all", LIMIT, || b.holds_all(50));
}

#[test]
fn a_node_joins_while_it_does_not_run() {
    let Some(world) = World::new("a_node_joins_while_it_does_not_run") else { return };
    let a = world.started("A");
    let mut b = world.node("B");
    b.ok(&["init", "--name", "B"]);
    let invite = a.invite("member");
    write(&a.mount().join("Home").join("private"), b"mine");
    let ran = b.run_with_input(&["join", "-"], format!("{invite}\n").as_bytes());
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "joined the circle Friends\n"), "{}", ran.err);
    write(&a.friends("file"), b"text");
    b.start();
    wait_until("B has it", LIMIT, || b.holds_all(1));
    assert_eq!(fs::read_dir(b.mount().join("Home")).expect("a listing").count(), 0, "A's Home is A's alone");
    let again = b.run(&["join", &invite]);
    assert_eq!(again.code, Some(1), "{again:?}");
}

#[test]
fn a_reader_reads_and_does_not_write() {
    let Some(world) = World::new("a_reader_reads_and_does_not_write") else { return };
    let a = world.started("A");
    let r = world.started("R");
    r.join(&a.invite("reader"));
    write(&a.friends("file"), b"text");
    wait_until("R has it", LIMIT, || r.holds_all(1));
    assert_eq!(fs::read(r.friends("file")).expect("a reader reads"), b"text");
    assert_eq!(r.circle()["role"], "reader");
    let refused = [
        ("create", fs::write(r.friends("new"), b"x")),
        ("overwrite", fs::write(r.friends("file"), b"x")),
        ("mkdir", fs::create_dir(r.friends("directory"))),
        ("unlink", fs::remove_file(r.friends("file"))),
        ("rename", fs::rename(r.friends("file"), r.friends("other"))),
        ("symlink", std::os::unix::fs::symlink("x", r.friends("link"))),
    ];
    for (what, result) in refused {
        assert_eq!(result.map_err(|error| error.raw_os_error()), Err(Some(EROFS)), "{what}");
    }
    assert_eq!(fs::read(a.friends("file")).expect("it is read"), b"text");
    let ran = r.run(&["invite"]);
    assert_eq!(ran.code, Some(1), "a reader does not invite: {ran:?}");
    // Its own Home is its own.
    write(&r.mount().join("Home").join("mine"), b"x");
}

#[test]
fn who_is_removed_gets_nothing_new() {
    let Some(world) = World::new("who_is_removed_gets_nothing_new") else { return };
    let a = world.started("A");
    let mut b = world.started("B");
    let c = world.started("C");
    b.join(&a.invite("member"));
    c.join(&a.invite("member"));
    write(&a.friends("before"), b"for all three");
    wait_until("B and C have it", LIMIT, || b.holds_all(1) && c.holds_all(1));
    let ran = c.run(&["remove", "B"]);
    assert_eq!(ran.code, Some(1), "only keepers remove: {ran:?}");
    let epoch = a.circle()["epoch_number"].clone();
    a.ok(&["remove", "B"]);
    wait_until("nobody is connected to B", LIMIT, || b.json(&["status"])["connections"] == 0);
    wait_until("C knows", LIMIT, || c.circle()["members"] == 2);
    assert_ne!(a.circle()["epoch_number"], epoch, "a removal starts an epoch");
    write(&a.friends("after"), b"for A and C");
    write(&a.friends("large"), &vec![9; 300_000]);
    wait_until("C has it", LIMIT, || c.holds_all(3));
    assert_eq!(fs::read(c.friends("after")).expect("it is read"), b"for A and C");
    // It comes back and asks again.
    b.stop();
    b.start();
    let friend = |told: serde_json::Value| told.as_array().expect("friends").iter().find(|f| f["name"] == "B").cloned();
    assert!(friend(a.json(&["friends"])).is_none_or(|b| b["removed"] == true && b["online"] == false));
    assert!(fs::metadata(b.friends("after")).is_err(), "B was removed before it was written");
    assert!(fs::metadata(b.friends("large")).is_err());
    assert_eq!(b.json(&["status"])["connections"], 0);
    // What B writes from now on reaches nobody.
    let _ = fs::write(b.friends("from B"), b"x");
    write(&a.friends("last"), b"x");
    wait_until("C has it", LIMIT, || c.holds_all(4));
    assert!(fs::metadata(c.friends("from B")).is_err());
    assert!(fs::metadata(a.friends("from B")).is_err());
}

#[test]
fn who_leaves_keeps_what_is_there_and_may_come_back() {
    let Some(world) = World::new("who_leaves_keeps_what_is_there_and_may_come_back") else { return };
    let a = world.started("A");
    let mut b = world.started("B");
    b.join(&a.invite("member"));
    write(&a.friends("before"), &vec![5; 300_000]);
    wait_until("B has it", LIMIT, || b.holds_all(1));
    assert_eq!(b.run(&["leave", "Home"]).code, Some(1));
    b.ok(&["leave", "Friends"]);
    wait_until("nobody is connected to B", LIMIT, || a.json(&["status"])["connections"] == 0);
    write(&a.friends("after"), b"for who is there");
    b.stop();
    b.start();
    assert_eq!(b.circle()["left"], true);
    assert_eq!(fs::read(b.friends("before")).expect("it is read"), vec![5; 300_000]);
    write(&b.friends("alone"), b"B goes on by itself");
    assert!(fs::metadata(b.friends("after")).is_err());
    assert_eq!(b.json(&["status"])["connections"], 0);
    b.join(&a.invite("member"));
    wait_until("B has what was written meanwhile", LIMIT, || b.holds_all(3));
    wait_until("A has what B wrote by itself", LIMIT, || a.holds_all(3));
    assert_eq!(fs::read(a.friends("alone")).expect("it is read"), b"B goes on by itself");
}

//! A box with a passphrase: after a power cut it serves what it cannot read, nothing in its memory, on its disk or in its
//! answers tells what that is, and the passphrase brings everything back.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use crate::browser::sign_in;
use crate::harness::browser::Browser;
use crate::harness::web::{Web, is_relay};
use crate::harness::{Node, Random, World, seed, wait_until, write};
use crate::secrecy::{Marks, epoch_keys, in_directory, in_memory, search};

const LIMIT: Duration = Duration::from_secs(60);
/// `dustfs:for the drive`.
const DRIVE: &str = "Authorization: Basic ZHVzdGZzOmZvciB0aGUgZHJpdmU=";
const PASSPHRASE: &[u8] = b"correct horse battery\n";

fn state_of(node: &Node) -> String {
    let ran = node.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_default();
    status["state"].as_str().unwrap_or_default().to_owned()
}

/// Starts a node that is locked.
fn start_locked(node: &mut Node, more: &[&str]) {
    let mount = node.mount();
    node.spawn(&[&["--mount", mount.to_str().expect("text")], more].concat());
    wait_until("it is up, and locked", LIMIT, || state_of(node) == "locked");
    assert!(!node.is_mounted());
}

fn unlock(node: &Node) {
    let ran = node.run_with_input(&["unlock"], PASSPHRASE);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "unlocked\n"), "{}", ran.err);
    wait_until("it is mounted", LIMIT, || node.is_mounted());
}

fn mark(random: &mut Random) -> Vec<u8> {
    random.bytes(40).iter().map(|byte| b'a' + byte % 26).collect()
}

#[test]
fn a_locked_box_serves_what_it_cannot_read() {
    let test = "a_locked_box_serves_what_it_cannot_read";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let marks: Marks = [
        "a text in a torrent",
        "an inline text",
        "a directory's name",
        "a file's name",
        "a draft",
        "a friend's text",
        "a friend's file's name",
    ]
    .into_iter()
    .map(|what| (what, mark(&mut random)))
    .collect();
    let name = |at: usize| String::from_utf8(marks[at].1.clone()).expect("marks are text");
    let text = |at: usize, length: usize, random: &mut Random| {
        let mut text = Vec::new();
        while text.len() < length {
            text.extend_from_slice(&marks[at].1);
            text.extend(random.bytes(20).iter().map(|byte| b' ' + byte % 64));
        }
        text
    };
    let mut a = world.started("A");
    let (mut b, mut c) = (world.node("B"), world.node("C"));
    b.start_with(&["--fetch", "ondemand"]);
    b.join(&a.invite("member"));
    c.start();
    c.join(&a.invite("member"));
    wait_until("they are connected", LIMIT, || a.circle()["online"] == 2);
    c.stop();

    fs::create_dir(a.friends(&name(2))).expect("a directory");
    let large = format!("{}/{}", name(2), name(3));
    let large_text = text(0, 3_000_000, &mut random);
    write(&a.friends(&large), &large_text);
    let small_text = text(1, 600, &mut random);
    write(&a.friends("small"), &small_text);
    wait_until("B sees both", LIMIT, || b.friends(&large).exists() && b.friends("small").exists());

    let keys = epoch_keys(&a);
    assert!(keys.len() >= 2, "those of Home and of Friends");

    // A passphrase is set, and locks; the same passphrase unlocks, another does not.
    let ran = a.run_with_input(&["lock"], b"short\n");
    assert!(ran.code == Some(1) && ran.err.contains("8 to 256 bytes"), "{ran:?}");
    assert_eq!(state_of(&a), "full");
    let ran = a.run_with_input(&["lock"], PASSPHRASE);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "locked\n"), "{}", ran.err);
    assert!(!a.is_mounted());
    let ran = a.run_with_input(&["unlock"], b"correct horse\n");
    assert!(ran.code == Some(1) && ran.err.contains("not the passphrase"), "{ran:?}");
    assert_eq!(state_of(&a), "locked");
    unlock(&a);
    assert!(fs::read(a.friends(&large)).expect("A reads it") == large_text);

    // The power goes in the middle of a file that fsync acknowledged.
    let draft_text = text(4, 400_000, &mut random);
    let mut draft = File::create(a.friends("draft")).expect("a file");
    draft.write_all(&draft_text).expect("it is written");
    draft.sync_all().expect("it is safe");
    a.kill();
    drop(draft);
    start_locked(&mut a, &[]);

    // B, which holds nothing, fetches from it, and writes; the locked box takes that, and brings it to C, which B never meets.
    wait_until("B has found it", LIMIT, || b.circle()["online"] == 1);
    assert!(fs::read(b.friends(&large)).expect("B reads what A serves") == large_text);
    let friend_text = text(5, 500_000, &mut random);
    write(&b.friends(&name(6)), &friend_text);
    wait_until("A has it whole", LIMIT, || {
        let circle = a.circle();
        circle["held_torrents"] == 2 && circle["wanted_torrents"] == 0
    });
    b.stop();
    c.start();
    wait_until("C has what B wrote", LIMIT, || fs::read(c.friends(&name(6))).is_ok_and(|read| read == friend_text));
    assert!(fs::read(c.friends(&large)).expect("C reads it") == large_text);
    assert!(fs::read(c.friends("small")).expect("C reads it") == small_text);

    // Nothing that A has tells what it serves.
    let mut sought = marks.clone();
    sought.extend(keys.into_iter().map(|key| ("an epoch key", key)));
    assert_eq!(in_memory(a.pid(), &sought), Vec::<&str>::new(), "in the locked box's memory");
    assert_eq!(in_directory(&a.state(), &sought), Vec::<&str>::new(), "on its disk");
    let mut told = a.log().into_bytes();
    for command in [&["status"][..], &["friends"], &["transfers"], &["status", "--json"], &["transfers", "--json"]] {
        told.extend(a.run(command).out.into_bytes());
    }
    let mut found = Vec::new();
    search(&told, &sought, &mut found);
    assert_eq!(found, Vec::<&str>::new(), "in its answers");
    for refused in [&["invite"][..], &["press"], &["found", "Skiers"]] {
        let ran = a.run(refused);
        assert!(ran.code == Some(1) && ran.err.contains("the box is locked"), "{refused:?}: {ran:?}");
    }

    // The passphrase brings everything back, the draft and what friends wrote meanwhile as well.
    unlock(&a);
    let found = in_memory(a.pid(), &sought);
    assert!(
        found.contains(&"a file's name") && found.contains(&"an epoch key"),
        "the search finds them now: {found:?}"
    );
    assert!(fs::read(a.friends(&large)).expect("A reads it") == large_text);
    assert!(fs::read(a.friends("small")).expect("A reads it") == small_text);
    assert!(fs::read(a.friends(&name(6))).expect("A reads what B wrote") == friend_text);
    assert!(fs::read(a.friends("draft")).expect("A reads what it had fsynced") == draft_text);
    write(&a.friends("after"), b"and goes on");
    wait_until("C has both", LIMIT, || {
        fs::read(c.friends("after")).is_ok_and(|read| read == b"and goes on")
            && fs::read(c.friends("draft")).is_ok_and(|read| read == draft_text)
    });

    // Changed, and taken away.
    let ran = a.run_with_input(&["lock", "--change"], b"another horse\nnew passphrase\n");
    assert!(ran.code == Some(1) && ran.err.contains("not the passphrase"), "{ran:?}");
    let changed = [PASSPHRASE, b"new passphrase\n"].concat();
    let ran = a.run_with_input(&["lock", "--change"], &changed);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "the passphrase is set\n"), "{}", ran.err);
    a.stop();
    start_locked(&mut a, &[]);
    assert_eq!(a.run_with_input(&["unlock"], PASSPHRASE).code, Some(1), "the old one is none any more");
    let ran = a.run_with_input(&["unlock", "--always"], b"new passphrase\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    a.stop();
    a.start();
    assert_eq!(state_of(&a), "full");
    assert!(fs::read(a.friends(&large)).expect("A reads it") == large_text);
}

#[test]
fn the_page_of_a_locked_box_takes_the_passphrase_alone() {
    if is_relay() {
        return;
    }
    let test = "the_page_of_a_locked_box_takes_the_passphrase_alone";
    let Some(world) = World::new(test) else { return };
    let (mut a, b) = (world.node("A"), world.started("B"));
    a.start_with(&["--page", "0.0.0.0:80"]);
    let mut web = Web::new(&b, &a, &format!("locked::{test}"));
    web.sign_in(&a);
    assert_eq!(web.put("/files/file", b"text"), 201);
    let post = |web: &Web, path: &str, body: &str| {
        let answer = web.ask("POST", path, &["Content-Type: application/json"], body.as_bytes());
        (answer.status, answer)
    };
    assert_eq!(post(&web, "/v1/lock", "{}").0, 409, "there is no passphrase");
    assert_eq!(post(&web, "/v1/unlock", "{\"passphrase\":\"correct horse\"}").0, 403, "it is not for the signed in");
    assert_eq!(post(&web, "/v1/passphrase", "{\"old\":null,\"new\":\"short\"}").0, 400);
    assert_eq!(post(&web, "/v1/passphrase", "{\"old\":null,\"new\":\"correct horse\"}").0, 200);
    assert_eq!(post(&web, "/v1/passphrase", "{\"old\":null,\"new\":\"another horse\"}").0, 403);
    assert_eq!(web.get("/v1/status").json()["passphrase"], true);
    let ran = a.run_with_input(&["password"], b"for the drive\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let drive = |web: &Web| web.ask("PROPFIND", "/dav/", &["Depth: 0", DRIVE], b"").status;
    assert_eq!(drive(&web), 207);
    assert_eq!(post(&web, "/v1/lock", "{}").0, 200);
    wait_until("it is locked", LIMIT, || web.get("/v1/status").status == 423);

    let shown = web.get("/");
    assert!(shown.status == 200 && String::from_utf8_lossy(&shown.body).contains("This box is locked"));
    for path in ["/files/file", "/files/", "/v1/friends", "/v1/transfers", "/dav/", "/page.js", "/v1/password"] {
        assert_eq!(web.get(path).status, 423, "{path}");
    }
    assert_eq!(web.ask("POST", "/v1/signin", &[], b"").status, 423);
    let foreign = web.raw(&[
        b"POST /v1/unlock HTTP/1.1\r\nHost: ",
        a.address().as_bytes(),
        b"\r\nOrigin: http://evil.example\r\nContent-Length: 30\r\n\r\n{\"passphrase\":\"correct horse\"}",
    ]);
    assert_eq!(foreign.status, 403, "another page cannot try");
    assert_eq!(post(&web, "/v1/unlock", "{\"passphrase\":\"correct hors\"}").0, 403);
    assert_eq!(post(&web, "/v1/unlock", "{}").0, 400);
    let (status, answer) = post(&web, "/v1/unlock", "{\"passphrase\":\"correct horse\"}");
    assert_eq!(status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a cookie").split(';').next().expect("a part").to_owned();
    web.cookie = Some(format!("Cookie: {cookie}"));
    wait_until("it is back, and who unlocked is signed in", LIMIT, || web.get("/v1/status").status == 200);
    assert_eq!(web.get("/files/file").body, b"text");
    assert_eq!(drive(&web), 207, "the drive's password is there again");

    // Guesses are bounded, also with the right one among them.
    assert_eq!(post(&web, "/v1/lock", "{}").0, 200);
    wait_until("it is locked", LIMIT, || web.get("/v1/status").status == 423);
    for _ in 0..10 {
        assert_eq!(post(&web, "/v1/unlock", "{\"passphrase\":\"another horse\"}").0, 403);
    }
    assert_eq!(post(&web, "/v1/unlock", "{\"passphrase\":\"correct horse\"}").0, 429);
    let ran = a.run_with_input(&["password"], b"for a thief\n");
    assert!(ran.code == Some(1) && ran.err.contains("the box is locked"), "{ran:?}");
    let ran = a.run_with_input(&["unlock"], b"correct horse\n");
    assert_eq!(ran.code, Some(0), "who is at the box is not kept out: {ran:?}");
    assert!(File::open(a.mount().join("file")).is_ok());
}

#[test]
fn a_phone_locks_and_unlocks() {
    if is_relay() {
        return;
    }
    let test = "a_phone_locks_and_unlocks";
    let Some(world) = World::new(test) else { return };
    let (mut a, b) = (world.node("A"), world.started("B"));
    a.start_with(&["--page", "0.0.0.0:80"]);
    write(&a.mount().join("diary"), b"dear diary");
    let Some(browser) = Browser::new(&b, &format!("locked::{test}")) else { return };
    sign_in(&browser, &a);
    browser.run("location.hash = '#box'");
    browser.wait("!document.querySelector('#lock-card').hidden");
    browser.give("#passphrase-new", "correct horse");
    browser.click("#passphrase-set");
    browser.wait("!document.querySelector('#lock').hidden");
    browser.run("document.querySelector('#lock-card').scrollIntoView()");
    browser.shoot("20-passphrase");
    browser.click("#lock");
    browser.wait("document.title === 'DustFS: locked'");
    browser.shoot("21-locked");
    browser.give("#passphrase", "correct hors");
    browser.click("#go");
    browser.wait("/not the passphrase/.test(document.querySelector('#words').textContent)");
    browser.shoot("22-wrong");
    browser.give("#passphrase", "correct horse");
    browser.click("#go");
    browser.wait("document.title === 'A' && document.querySelector('#list b')");
    assert_eq!(fs::read(a.mount().join("diary")).expect("it is mounted"), b"dear diary");
}

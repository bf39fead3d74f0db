//! Boxes that are gone: one whose place a new box takes by the recovery sheet, with nobody but a cache left; sheets that
//! are used, replaced or removed; and one that a friend replaces by an invite.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::browser::sign_in;
use crate::harness::browser::Browser;
use crate::harness::web::is_relay;
use crate::harness::{Node, Random, World, digest, must, seed, system, wait_until, write};

const MIB: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(90);

/// What is on the sheet that this node prints.
fn print(node: &Node) -> Value {
    node.json(&["sheet", "--print"])
}

fn words(sheet: &Value) -> String {
    sheet["words"].as_str().expect("twelve words").to_owned()
}

/// True once the node has heard that the member is out.
fn knows_gone(node: &Node, name: &str) -> bool {
    let friends = node.json(&["friends"]);
    let friends = friends.as_array().expect("friends");
    friends.iter().any(|friend| friend["name"] == name && friend["removed"] == true)
}

/// A recovery that must come to nothing; why.
fn refused(node: &Node, sheet: &str, at: &str) -> String {
    let ran = node.run_with_input(&["recover", "--at", at], sheet.as_bytes());
    assert_ne!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert_eq!(node.circle(), Value::Null, "nothing came");
    ran.err
}

#[test]
fn a_new_box_takes_the_place_of_one_that_burned_down() {
    let test = "a_new_box_takes_the_place_of_one_that_burned_down";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let (mut a, mut d) = (world.started("A"), world.node("D"));
    let alone = a.run(&["sheet", "--print"]);
    assert!(alone.code == Some(1) && alone.err.contains("nobody else is in a circle"), "{}{}", alone.out, alone.err);
    d.start_cache();
    d.join(&a.invite("cache"));
    write(&a.friends("before"), &random.bytes(3 * MIB));
    assert!(a.ok(&["sheet"]).contains("Friends: no recovery sheet"), "{}", a.ok(&["sheet"]));
    let first = words(&print(&a));
    let sheet = print(&a);
    assert!(sheet["older"] == true && sheet["circles"][0] == "Friends" && sheet["alone"][0] == "Home", "{sheet}");
    let name = sheet["name"].as_str().expect("a name").to_owned();
    let told = a.ok(&["sheet"]);
    assert!(told.contains(&name) && told.contains("1 printed before can be used, too"), "{told}");
    a.ok(&["sheet", "--written"]);
    let told = a.ok(&["sheet"]);
    assert!(told.contains(&name) && !told.contains("before"), "{told}");
    // The second one ended an epoch: what is written now is sealed under a key that was made after the sheet.
    write(&a.friends("after"), &random.bytes(2 * MIB));
    fs::create_dir(a.friends("deep")).expect("a directory");
    write(&a.friends("deep/small"), &random.bytes(1_000));
    wait_until("the cache has everything", PATIENCE, || d.circle()["held_torrents"] == 2);
    wait_until("the last change is elsewhere", PATIENCE, || a.json(&["status"])["safety"]["changes"] == false);
    assert!(!a.circle()["online"].is_null() && a.circle()["members"] == 2, "paper is no member that could be online");
    let truth = digest(&a.friends("")).expect("A's tree is read");
    for file in ["ledger.redb", "key"] {
        let bytes = fs::read(a.state().join(file)).expect("A's state");
        let said = words(&sheet);
        assert!(!bytes.windows(said.len()).any(|window| window == said.as_bytes()), "the words are in {file}");
    }
    a.kill();
    fs::remove_dir_all(a.state()).expect("A burns down");

    let mut n = world.started("N");
    let mistyped = words(&sheet).replacen(' ', " x", 1);
    assert!(refused(&n, &mistyped, d.address()).contains("word 2"), "the wrong word is named");
    let swapped: Vec<String> = words(&sheet).split(' ').rev().map(str::to_owned).collect();
    refused(&n, &swapped.join(" "), d.address());
    let none = n.run_with_input(&["recover"], words(&sheet).as_bytes());
    assert!(none.code != Some(0) && none.err.contains("name no address"), "{}", none.err);
    assert!(refused(&n, &first, d.address()).contains("knows no such sheet"), "it was replaced");

    let ran = n.run_with_input(&["recover", "--at", d.address()], words(&sheet).as_bytes());
    assert_eq!(ran.code, Some(0), "{}{}\n{}", ran.out, ran.err, d.log());
    assert!(ran.out.contains("keeper of Friends") && ran.out.contains("dustfs remove 'A'"), "{}", ran.out);
    wait_until("every byte is there", PATIENCE, || {
        n.holds_all(4) && digest(&n.friends("")).is_ok_and(|tree| tree == truth)
    });
    assert!(n.circle()["role"] == "keeper" && n.circle()["lacks_sheet"] == true, "{}", n.circle());
    n.ok(&["remove", "A"]);
    write(&n.friends("by N"), &random.bytes(MIB));
    let b = world.started("B");
    b.join(&n.invite("member"));
    let all = digest(&n.friends("")).expect("N's tree is read");
    wait_until("B reads everything", PATIENCE, || digest(&b.friends("")).is_ok_and(|tree| tree == all));

    // The sheet was used; and N keeps what it has over a restart.
    wait_until("the cache has heard", PATIENCE, || knows_gone(&d, &name));
    let m = world.started("M");
    assert!(refused(&m, &words(&sheet), d.address()).contains("knows no such sheet"), "it was used");
    n.stop();
    n.start();
    assert_eq!(digest(&n.friends("")).expect("N's tree is read"), all);
    n.json(&["sheet", "--print"]);
    assert_eq!(n.circle()["lacks_sheet"], false);
}

#[test]
fn a_sheet_that_is_removed_gets_nothing_and_goes_with_who_printed_it() {
    let test = "a_sheet_that_is_removed_gets_nothing_and_goes_with_who_printed_it";
    let Some(world) = World::new(test) else { return };
    let (b, a, n) = (world.started("B"), world.started("A"), world.started("N"));
    a.join(&b.invite("keeper"));
    wait_until("they are connected", PATIENCE, || b.circle()["online"] == 1);
    write(&a.friends("secret"), b"what nobody may read who is out");

    let lost = print(&a);
    let name = lost["name"].as_str().expect("a name");
    wait_until("B sees it among its friends", PATIENCE, || b.ok(&["friends"]).contains(name));
    b.ok(&["remove", name]);
    assert!(refused(&n, &words(&lost), b.address()).contains("knows no such sheet"));
    wait_until("A has heard", PATIENCE, || knows_gone(&a, name));
    assert!(refused(&n, lost["text"].as_str().expect("a line"), a.address()).contains("knows no such sheet"));

    let second = print(&a);
    let name = second["name"].as_str().expect("a name");
    wait_until("B has heard", PATIENCE, || b.ok(&["friends"]).contains(name));
    b.ok(&["remove", "A"]);
    assert!(knows_gone(&b, "A"));
    assert!(refused(&n, &words(&second), b.address()).contains("knows no such sheet"), "it went with A");
    assert_eq!(b.circle()["members"], 1);
}

#[test]
fn a_friend_replaces_a_box_that_died_and_its_old_key_gets_nothing() {
    let test = "a_friend_replaces_a_box_that_died_and_its_old_key_gets_nothing";
    let Some(world) = World::new(test) else { return };
    let mut random = Random::new(seed(test));
    let (mut a, b) = (world.started("A"), world.started("B"));
    a.join(&b.invite("keeper"));
    wait_until("they are connected", PATIENCE, || b.circle()["online"] == 1);
    write(&a.friends("of A"), &random.bytes(2 * MIB));
    wait_until("B has it", PATIENCE, || b.holds_all(1) && b.friends("of A").exists());
    let truth = digest(&a.friends("")).expect("A's tree is read");
    a.kill();

    let new = world.started("A2");
    new.join(&b.invite("keeper"));
    b.ok(&["remove", "A"]);
    wait_until("the new box has all of the old one's", PATIENCE, || {
        digest(&new.friends("")).is_ok_and(|tree| tree == truth)
    });
    write(&new.friends("since"), &random.bytes(MIB));
    wait_until("B has it", PATIENCE, || b.holds_all(2) && b.friends("since").exists());

    // The old box was not dead.
    a.start();
    wait_until("it has tried to come in", PATIENCE, || b.log().contains("its key is not on the circle's roster"));
    assert!(!a.friends("since").exists(), "what was written since is not for it");
    assert_eq!(a.circle()["online"], 0);
    assert_eq!(digest(&a.friends("")).expect("A's tree is read"), truth, "what it had it has");
}

/// The sheet is made on the page of one box, read off the screen by a camera, and used on the page of another.
#[test]
fn the_page_makes_a_sheet_and_takes_one() {
    const TEST: &str = "recovery::the_page_makes_a_sheet_and_takes_one";
    if is_relay() {
        return;
    }
    let Some(world) = World::new("the_page_makes_a_sheet_and_takes_one") else { return };
    if system(&["zbarimg", "--version"]).is_err() {
        println!("SKIPPED {TEST}: there is no zbarimg");
        return;
    }
    let (b, mut a, mut d) = (world.started("B"), world.node("A"), world.node("D"));
    a.start_with(&["--page", "0.0.0.0:80"]);
    d.start_cache();
    let Some(browser) = Browser::new(&b, TEST) else { return };
    d.join(&a.invite("cache"));
    wait_until("they are connected", PATIENCE, || a.circle()["online"] == 1);
    write(&a.friends("file"), b"what is to come back");
    wait_until("the cache has it", PATIENCE, || a.json(&["status"])["safety"]["changes"] == false);
    sign_in(&browser, &a);
    browser.run("location.hash = '#box'");
    browser.wait("!document.querySelector('#sheet').hidden");
    browser.run("document.querySelector('#sheet').scrollIntoView()");
    browser.shoot("11-no-sheet");
    browser.click("#sheet");
    browser.wait("document.querySelectorAll('#paper-words li').length === 12");
    browser.run("document.querySelector('#paper-qr').scrollIntoView()");
    let picture = browser.shoot("12-sheet").to_string_lossy().into_owned();
    let line = must(&["zbarimg", "-q", "--raw", &picture]).trim().to_owned();
    assert_eq!(browser.text("#paper-text"), line, "what a camera reads");
    browser.run("document.querySelector('#paper-words').scrollIntoView()");
    browser.shoot("13-words");
    browser.click("#paper-written");
    assert_eq!(browser.run("return document.querySelector('#paper').textContent.indexOf('sheet1-')"), -1);
    wait_until("the cache has it", PATIENCE, || d.ok(&["friends"]).contains("recovery sheet"));
    let name = a.circle()["sheet"].as_str().expect("a sheet").to_owned();
    a.kill();
    fs::remove_dir_all(a.state()).expect("A burns down");

    // The same host has another box, and another page.
    a.start_with(&["--page", "0.0.0.0:80"]);
    write(&a.mount().join("of the new box"), b"that is there already");
    sign_in(&browser, &a);
    browser.run("location.hash = '#box'");
    browser.wait("!document.querySelector('#box').hidden");
    browser.give("#recover-text", &line);
    browser.click("#recover");
    browser.wait("document.querySelector('#recovered button')");
    browser.run("document.querySelector('#recovered').scrollIntoView()");
    browser.shoot("14-recovered");
    wait_until("the file is there", PATIENCE, || {
        fs::read(a.friends("file")).is_ok_and(|is| is == b"what is to come back")
    });
    browser.run("window.confirm = function () { return true; }");
    browser.click("#recovered button");
    wait_until("the lost box is removed", PATIENCE, || {
        let friends = a.json(&["friends"]);
        let gone = |friend: &Value| friend["removed"] == true && friend["name"] != name.as_str();
        friends.as_array().is_some_and(|friends| friends.iter().any(gone))
    });
}

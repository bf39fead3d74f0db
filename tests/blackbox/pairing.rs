//! Pairing by the button on one LAN, through the command line of real nodes; and friends who find each other there.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Node, World, long, wait_for, wait_until, write};

/// The window's opening, the gathering and the exchange take a few seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the node says of pairing; its LED must say the same.
fn pairing(node: &Node) -> Value {
    let status = node.json(&["status"]);
    let pairing = &status["pairing"];
    let led = status["led"].as_str().expect("words");
    let expected = match pairing["state"].as_str().expect("a state") {
        "window" => "pairing: press the other box's button",
        "exchanging" | "joining" => "pairing: the boxes have found each other",
        "code" if pairing["confirmed_here"] == true => "pairing: confirmed here",
        "code" => "pairing: if the other box shows the same code, hold",
        "choose" => "pairing: both boxes have friends",
        "paused" => "pairing: failed three times",
        // It is over: the LED shows what there is again.
        "closed" | "overlap" | "done" | "failed" => match &status["circles"].as_array().expect("circles")[..] {
            [_home] => "no friend yet",
            _ => "ready",
        },
        other => panic!("no state of pairing: {other}"),
    };
    assert!(led.starts_with(expected), "{}: {pairing}, and the LED says '{led}'", node.name());
    pairing.clone()
}

fn is_in(node: &Node, state: &str) -> bool {
    pairing(node)["state"] == state
}

/// Presses on all, and waits until each shows a code.
fn codes(nodes: &[&Node]) -> Vec<String> {
    for node in nodes {
        node.ok(&["press"]);
    }
    let shown = |node: &&Node| {
        wait_for(&format!("{} shows a code", node.name()), PATIENCE, || {
            pairing(node)["code"].as_str().map(str::to_owned)
        })
    };
    nodes.iter().map(shown).collect()
}

/// Holds the button, once the LED has shown the code to its end.
fn hold(node: &Node) {
    wait_until(&format!("{}'s LED has shown the code", node.name()), PATIENCE, || pairing(node)["shown"] == true);
    node.ok(&["press", "2.5"]);
}

/// Confirms on both, and waits until both say that they are paired.
fn confirm(nodes: &[&Node]) {
    for node in nodes {
        hold(node);
    }
    for node in nodes {
        wait_until(&format!("{} is paired", node.name()), PATIENCE, || is_in(node, "done"));
    }
}

#[test]
fn two_presses_and_two_holds_make_a_circle() {
    let test = "two_presses_and_two_holds_make_a_circle";
    let Some(world) = World::new(test) else { return };
    let (a, b) = (world.started("A"), world.started("B"));
    let begun = Instant::now();
    let shown = codes(&[&a, &b]);
    println!("{test}: from the presses to the codes: {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(shown[0], shown[1]);
    assert!(shown[0].len() == 4 && shown[0].bytes().all(|digit| digit.is_ascii_digit()), "{shown:?}");
    assert!(a.ok(&["status"]).contains(&format!("B, code {}", shown[0])));
    // An impatient press confirms nothing, and neither does one hold alone.
    let ran = a.run(&["press"]);
    assert!(ran.code == Some(1) && ran.err.contains("a code waits to be confirmed"), "{ran:?}");
    // So does a hold before the LED has shown the code to its end.
    let ran = a.run(&["press", "2.5"]);
    assert!(ran.code == Some(1) && ran.err.contains("not shown to its end"), "{ran:?}");
    hold(&a);
    wait_until("B hears of it", PATIENCE, || pairing(&b)["confirmed_there"] == true);
    assert_eq!((pairing(&a)["state"].as_str(), pairing(&b)["state"].as_str()), (Some("code"), Some("code")));
    assert_eq!((a.circle(), b.circle()), (Value::Null, Value::Null));
    hold(&b);
    for (node, friend) in [(&a, "B"), (&b, "A")] {
        wait_until("both are paired", PATIENCE, || is_in(node, "done"));
        assert_eq!((&pairing(node)["friend"], &pairing(node)["circle"]), (&friend.into(), &"Friends".into()));
        assert_eq!(node.circle()["role"], "keeper");
    }
    write(&a.friends("photo"), b"1");
    write(&b.friends("letter"), b"2");
    wait_until("both have both", PATIENCE, || a.holds_all(2) && b.holds_all(2));
    assert_eq!(fs::read(b.friends("photo")).expect("it is read"), b"1");

    // A third box joins by a press on a keeper's, whoever of the two dials; as a member.
    let c = world.started("C");
    let shown = codes(&[&c, &b]);
    assert_eq!(shown[0], shown[1]);
    confirm(&[&c, &b]);
    assert_eq!(c.circle()["role"], "member");
    wait_until("C has all, and A knows it", PATIENCE, || c.holds_all(2) && a.circle()["online"] == 2);
    // Two that are in a circle have nothing to agree by a code, and a member's box lets nobody in.
    for (one, other, ends) in [(&a, &b, ["choose", "choose"]), (&c, &world.started("D"), ["failed", "failed"])] {
        one.ok(&["press"]);
        other.ok(&["press"]);
        wait_until("it says so", PATIENCE, || is_in(one, ends[0]) && is_in(other, ends[1]));
    }
    assert!(pairing(&c)["why"].as_str().is_some_and(|why| why.contains("may not invite")));
}

#[test]
fn three_boxes_in_the_window_all_give_up() {
    let Some(world) = World::new("three_boxes_in_the_window_all_give_up") else { return };
    let nodes = [world.started("A"), world.started("B"), world.started("C")];
    for node in &nodes {
        node.ok(&["press"]);
    }
    for node in &nodes {
        wait_until(&format!("{} gives up", node.name()), PATIENCE, || is_in(node, "overlap"));
    }
    let ran = nodes[0].run(&["press"]);
    assert!(ran.code == Some(1) && ran.err.contains("several boxes were pressed: wait"), "{ran:?}");
    assert!(nodes.iter().all(|node| node.circle() == Value::Null));
    for node in &nodes {
        wait_until("the cool-down ends", PATIENCE, || is_in(node, "closed"));
    }
    let shown = codes(&[&nodes[0], &nodes[1]]);
    assert_eq!(shown[0], shown[1]);
    confirm(&[&nodes[1], &nodes[0]]);
}

#[test]
fn a_third_press_ends_a_code_that_is_shown() {
    let Some(world) = World::new("a_third_press_ends_a_code_that_is_shown") else { return };
    let (a, b, c) = (world.started("A"), world.started("B"), world.started("C"));
    codes(&[&a, &b]);
    c.ok(&["press"]);
    for node in [&a, &b, &c] {
        wait_until(&format!("{} gives up", node.name()), PATIENCE, || !is_in(node, "code") && !is_in(node, "window"));
    }
    assert_eq!((a.circle(), b.circle(), c.circle()), (Value::Null, Value::Null, Value::Null));
}

#[test]
fn a_code_without_a_hold_on_both_fails() {
    let test = "a_code_without_a_hold_on_both_fails";
    if !long() {
        println!("{test}: takes two minutes: DUSTFS_LONG=1 runs it");
        return;
    }
    let Some(world) = World::new(test) else { return };
    let (a, b) = (world.started("A"), world.started("B"));
    codes(&[&a, &b]);
    hold(&a);
    for node in [&a, &b] {
        wait_until("it fails", Duration::from_secs(130), || is_in(node, "failed"));
        assert_eq!(node.circle(), Value::Null);
    }
}

/// Both get other addresses while they are down, and their network late: nothing but the LAN tells where the other is.
#[test]
fn friends_with_new_addresses_meet_on_the_lan() {
    let Some(world) = World::new("friends_with_new_addresses_meet_on_the_lan") else { return };
    let (mut a, mut b) = (world.started("A"), world.started("B"));
    codes(&[&a, &b]);
    confirm(&[&a, &b]);
    a.stop();
    b.stop();
    world.readdress(&a, None);
    world.readdress(&b, Some("10.77.0.202"));
    a.start();
    b.start();
    let ran = a.run(&["press"]);
    assert!(ran.code == Some(1) && ran.err.contains("listens on no network"), "{ran:?}");
    assert_eq!(b.circle()["online"], 0);
    world.readdress(&a, Some("10.77.0.201"));
    wait_until("they meet", PATIENCE, || a.circle()["online"] == 1 && b.circle()["online"] == 1);
    let listen = a.json(&["status"])["listen"].to_string();
    assert!(listen.contains("10.77.0.201"), "{listen}");
}

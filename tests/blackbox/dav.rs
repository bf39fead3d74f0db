//! WebDAV from outside, by the clients that people use.

use std::process::{Command, Output};

use crate::harness::web::{Web, is_relay};
use crate::harness::{Node, World};

/// This test can be the relay of all.
const RELAY: &str = "dav::litmus_passes";
const PASSWORD: &str = "correct horse 7";

/// A node with a page and a password for WebDAV.
fn boxed(world: &World, name: &str) -> Node {
    let mut node = world.node(name);
    node.start_with(&["--page", "0.0.0.0:80"]);
    let mut web = Web::new(&node, &node, RELAY);
    web.sign_in(&node);
    let body = serde_json::json!({ "password": PASSWORD }).to_string();
    assert_eq!(web.ask("PUT", "/v1/password", &[], body.as_bytes()).status, 200);
    node
}

/// Runs a client on the node's host, in bounded time.
#[track_caller]
fn client(node: &Node, line: &[&str]) -> Output {
    let network = format!("--net=/run/netns/{}", node.namespace());
    let mut command = Command::new("timeout");
    command
        .args(["-s", "KILL", "240", "nsenter", &network])
        .args(line)
        .current_dir(node.state().parent().expect("it is in one"));
    command.output().expect("timeout can be run")
}

#[test]
fn litmus_passes() {
    if is_relay() {
        return;
    }
    let Some(world) = World::new("litmus_passes") else { return };
    let a = boxed(&world, "A");
    let url = format!("http://{}/dav/", a.address());
    let ran = client(&a, &["litmus", "-k", &url, "dustfs", PASSWORD]);
    let told = String::from_utf8_lossy(&ran.stdout);
    println!("{told}");
    assert!(ran.status.success() && !told.contains("FAIL"), "{told}");
    for suite in ["basic", "copymove", "props", "locks", "http"] {
        let summary = format!("<- summary for `{suite}': of ");
        let line = told.lines().find(|line| line.starts_with(&summary)).unwrap_or_else(|| panic!("{suite}: {told}"));
        assert!(line.contains(" 0 failed"), "{line}");
    }
}

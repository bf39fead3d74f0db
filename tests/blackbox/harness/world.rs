//! A world for one test: a directory, a bridge in a network namespace, and around it a namespace for each node.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::node::Node;
use super::scratch::Scratch;
use super::watchdog::Watchdog;
use super::{long, must, system};

/// See the module. Drop the nodes first: declare them after it.
pub struct World {
    scratch: Scratch,
    watchdog: Watchdog,
    /// Of the bridge; those of nodes are it with `-` and the node's name.
    namespace: String,
    hosts: std::cell::Cell<u8>,
}

impl World {
    /// A world without nodes. `None`, having told why, where this machine cannot have one.
    pub fn new(test: &str) -> Option<Self> {
        // Tests begin at once: two that try the same namespace would each take the other's for a refusal.
        static MISSING: OnceLock<Option<String>> = OnceLock::new();
        if let Some(why) = MISSING.get_or_init(missing) {
            println!("SKIPPED {test}: {why}");
            return None;
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let namespace = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let limit = Duration::from_secs(if long() { 7_200 } else { 300 });
        must(&["ip", "netns", "add", &namespace]);
        let world = Self {
            scratch: Scratch::new(test),
            watchdog: Watchdog::new(limit),
            namespace,
            hosts: std::cell::Cell::new(0),
        };
        must(&["ip", "-n", &world.namespace, "link", "add", BRIDGE, "type", "bridge"]);
        must(&["ip", "-n", &world.namespace, "link", "set", BRIDGE, "up"]);
        Some(world)
    }

    /// The test's directory.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A host of its own, `10.77.0.N`, with the state of a node to be: nothing runs yet. The name is a few letters.
    pub fn node(&self, name: &str) -> Node {
        self.hosts.set(self.hosts.get() + 1);
        let host = format!("{}-{name}", self.namespace);
        let port = format!("to{name}");
        let address = format!("10.77.0.{}", self.hosts.get());
        let with_mask = format!("{address}/24");
        must(&["ip", "netns", "add", &host]);
        let (bridge, device) = (self.namespace.as_str(), "eth0");
        must(&["ip", "-n", bridge, "link", "add", &port, "type", "veth", "peer", "name", device, "netns", &host]);
        must(&["ip", "-n", bridge, "link", "set", &port, "master", BRIDGE, "up"]);
        must(&["ip", "-n", &host, "addr", "add", &with_mask, "dev", device]);
        must(&["ip", "-n", &host, "link", "set", device, "up"]);
        must(&["ip", "-n", &host, "link", "set", "lo", "up"]);
        Node::new(name, host, address, &self.path().join(name), self.watchdog.watch())
    }

    /// A node that has found its state and been started with a mount.
    pub fn started(&self, name: &str) -> Node {
        let mut node = self.node(name);
        node.start();
        node
    }

    /// A capture of all that goes over the bridge, from now until it is dropped.
    pub fn capture(&self, file: &Path) -> Capture {
        let net = format!("--net=/run/netns/{}", self.namespace);
        // 32 MiB of room, so that nothing is missed while the machine is busy.
        let line = [&net, "setpriv", "--pdeathsig", "KILL", "tcpdump", "-i", BRIDGE, "-s", "0", "-B", "32768", "-w"];
        let child = std::process::Command::new("nsenter")
            .args(line)
            .arg(file)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("tcpdump can be run");
        let mut capture = Capture(child);
        capture.listening();
        capture
    }

    /// Bounds what a node's host sends, in bits per second, as its uplink would; false where the kernel cannot.
    pub fn shape(&self, node: &Node, rate_bits: u64) -> bool {
        let (host, rate) = (format!("{}-{}", self.namespace, node.name()), rate_bits.to_string());
        let line = ["tc", "-n", &host, "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", &rate];
        let line = [&line[..], &["burst", "256kb", "latency", "50ms"]].concat();
        system(&line).is_ok_and(|output| output.status.success())
    }

    /// Takes the bound away.
    pub fn unshape(&self, node: &Node) {
        let host = format!("{}-{}", self.namespace, node.name());
        must(&["tc", "-n", &host, "qdisc", "del", "dev", "eth0", "root"]);
    }

    /// Gives a node's host another IPv4 address on the bridge, or none.
    pub fn readdress(&self, node: &Node, address: Option<&str>) {
        let host = format!("{}-{}", self.namespace, node.name());
        must(&["ip", "-n", &host, "-4", "addr", "flush", "dev", "eth0"]);
        if let Some(address) = address {
            must(&["ip", "-n", &host, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        }
    }

    /// Cuts a node's host off, or joins it to the others again.
    pub fn link(&self, node: &Node, up: bool) {
        let port = format!("to{}", node.name());
        must(&["ip", "-n", &self.namespace, "link", "set", &port, if up { "up" } else { "down" }]);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        remove(&self.namespace);
    }
}

/// A running tcpdump.
pub struct Capture(std::process::Child);

impl Capture {
    /// Returns when packets are being taken.
    fn listening(&mut self) {
        use std::io::{BufRead, BufReader};
        let told = self.0.stderr.take().expect("piped");
        let line = BufReader::new(told).lines().map_while(Result::ok).find(|line| line.contains("listening on"));
        assert!(line.is_some(), "tcpdump did not start");
    }

    /// Ends it in order, with everything written.
    pub fn end(mut self) {
        let _ = system(&["kill", "-INT", &self.0.id().to_string()]);
        let _ = self.0.wait();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// What this machine lacks, if anything.
fn missing() -> Option<String> {
    if must(&["id", "-u"]).trim() != "0" {
        return Some("network namespaces need root".into());
    }
    if !Path::new("/dev/fuse").exists() {
        return Some("/dev/fuse is missing".into());
    }
    for (tool, asked) in [("ip", "-V"), ("nsenter", "-V"), ("setpriv", "-V"), ("timeout", "--version")] {
        if !system(&[tool, asked]).is_ok_and(|output| output.status.success()) {
            return Some(format!("the command {tool} is missing"));
        }
    }
    let name = format!("{PREFIX}{}-try", std::process::id());
    let made = system(&["ip", "netns", "add", &name]).is_ok_and(|output| output.status.success());
    remove(&name);
    (!made).then(|| "network namespaces cannot be made here".into())
}

/// Removes a world's namespaces.
fn remove(namespace: &str) {
    for name in namespaces() {
        if name == namespace || name.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('-')) {
            let _ = system(&["ip", "netns", "del", &name]);
        }
    }
}

/// Removes what test processes left that were killed.
fn sweep() {
    for name in namespaces() {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = system(&["ip", "netns", "del", &name]);
        }
    }
}

fn namespaces() -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

const PREFIX: &str = "dusttest-";
const BRIDGE: &str = "br0";

//! One node of the built binary: its state, its mount, its process, and what its command line says.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::watchdog::Watch;
use super::{must, system, wait_for};

/// See the module. Killed and unmounted when it is dropped; its log is shown when a test fails.
pub struct Node {
    name: String,
    namespace: String,
    address: String,
    directory: PathBuf,
    watch: Watch,
    process: Option<Child>,
    /// Killed ones that had not ended: a request in the mount may keep them until the next start.
    dying: Vec<Child>,
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Node {
    pub(super) fn new(name: &str, namespace: String, address: String, directory: &Path, watch: Watch) -> Self {
        fs::create_dir(directory).expect("a node's directory");
        fs::create_dir(directory.join("mount")).expect("a mount point");
        let (name, directory) = (name.to_owned(), directory.to_owned());
        Self { name, namespace, address, directory, watch, process: None, dying: Vec::new() }
    }

    /// Its name, which friends see as well.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network namespace of its host.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its IPv4 address on the bridge.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The mount point.
    pub fn mount(&self) -> PathBuf {
        self.directory.join("mount")
    }

    /// A path in the circle `Friends`.
    pub fn friends(&self, path: &str) -> PathBuf {
        self.mount().join("Friends").join(path)
    }

    /// What the node wrote to standard error since the first start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    /// The running node's process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// Starts it with its mount, and waits until it is up.
    #[track_caller]
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more arguments.
    #[track_caller]
    pub fn start_with(&mut self, arguments: &[&str]) {
        let mount = self.mount();
        let mount = mount.to_string_lossy();
        self.run_as(&[&["--mount", &mount], arguments].concat());
    }

    /// Starts it as a cache, and waits until it is up.
    #[track_caller]
    pub fn start_cache(&mut self) {
        self.run_as(&["--cache"]);
    }

    /// Starts `dustfs node` with exactly these arguments, and waits until its API answers and its mount, where it was
    /// asked for one, is there. Start it from the test's own thread: it ends with the thread that started it.
    #[track_caller]
    pub fn run_as(&mut self, arguments: &[&str]) {
        self.spawn(arguments);
        let mounts = arguments.contains(&"--mount");
        wait_for(&format!("{} is up", self.name), START, || {
            let ended = self.process.as_mut().and_then(|child| child.try_wait().expect("a child"));
            assert!(ended.is_none(), "{} ended at its start: {ended:?}\n{}", self.name, self.log());
            let up = self.run(&["status"]).code == Some(0);
            (up && (!mounts || self.is_mounted())).then_some(())
        });
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self, arguments: &[&str]) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let path = self.directory.join("log");
        let log = File::options().create(true).append(true).open(path).expect("a log file");
        let child = self
            .command(&[&["node", "--name", &self.name], arguments].concat())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more descriptor"))
            .stderr(log)
            .spawn()
            .expect("nsenter can be run");
        self.watch.started(child.id(), self.mount());
        self.process = Some(child);
    }

    /// True while something is mounted at its mount point, dead or alive.
    pub fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("proc(5)");
        let path = self.mount();
        mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|mount| Path::new(mount) == path))
    }

    /// A `dustfs` command on this node's state, in its namespace; `exec`s all the way, so that its pid is the child's.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(binary())
            .args(arguments)
            .arg("--state")
            .arg(self.state())
            .env_remove("DUSTFS_STATE");
        command
    }

    /// Runs a command to its end, in bounded time.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, b"")
    }

    /// The same with this on standard input.
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let exact = self.command(arguments);
        let mut bounded = Command::new("timeout");
        bounded.args(["-s", "KILL", COMMAND_LIMIT_S]).arg(exact.get_program()).args(exact.get_args());
        bounded.env_remove("DUSTFS_STATE").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = bounded.spawn().expect("timeout can be run");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that does not read its input ends before all is written.
        let _ = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().expect("a child");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs a command that must go well; what it printed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{}: dustfs {arguments:?}: {}{}", self.name, ran.out, ran.err);
        ran.out
    }

    /// Runs a command with `--json` that must go well; what it printed.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let out = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("dustfs {arguments:?} --json: {error}: {out}"))
    }

    /// The text of an invite to its circle of friends.
    #[track_caller]
    pub fn invite(&self, role: &str) -> String {
        self.ok(&["invite", "--role", role]).trim().to_owned()
    }

    /// Joins by an invite, through the node where it runs.
    #[track_caller]
    pub fn join(&self, invite: &str) {
        self.ok(&["join", invite]);
    }

    /// What `status` tells of the circle of friends.
    #[track_caller]
    pub fn circle(&self) -> Value {
        let status = self.json(&["status"]);
        let circles = status["circles"].as_array().expect("circles");
        circles.iter().find(|circle| circle["name"] == "Friends").cloned().unwrap_or(Value::Null)
    }

    /// True when the circle has at least so many objects and nothing of it is missing here.
    #[track_caller]
    pub fn holds_all(&self, objects: u64) -> bool {
        let circle = self.circle();
        circle["objects"].as_u64() >= Some(objects) && circle["wanted_torrents"].as_u64() == Some(0)
    }

    /// Sends a signal by name.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        must(&["kill", &format!("-{signal}"), &self.pid().to_string()]);
    }

    /// SIGKILL. A mount stays behind, dead; the next start takes it away.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let end = std::time::Instant::now() + KILL;
            while matches!(child.try_wait(), Ok(None)) && std::time::Instant::now() < end {
                super::pause();
            }
            self.watch.ended(child.id());
            self.dying.push(child);
        }
        self.dying.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        let pid = child.id();
        let name = self.name.clone();
        let end = std::time::Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                self.watch.ended(pid);
                return status;
            }
            if std::time::Instant::now() > end {
                self.process = Some(child);
                panic!("{name} did not end within {} s", limit.as_secs());
            }
            super::pause();
        }
    }

    /// `dustfs stop`, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self) {
        self.ok(&["stop"]);
        let status = self.wait(Duration::from_secs(10));
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Bytes of the running node in memory (`VmRSS`).
    #[track_caller]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("proc(5)");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if self.is_mounted() {
            let _ = system(&["umount", "-f", "-l", &self.mount().to_string_lossy()]);
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!("-- the log of {} ends with:", self.name);
            for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                println!("   {line}");
            }
        }
    }
}

/// What is tested: `DUSTFS_BINARY`, as a benchmark sets it, else what cargo built for the tests.
fn binary() -> OsString {
    std::env::var_os("DUSTFS_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_dustfs").into())
}

const START: Duration = Duration::from_secs(30);
const KILL: Duration = Duration::from_millis(500);
const COMMAND_LIMIT_S: &str = "90";
const LOG_LINES: usize = 60;

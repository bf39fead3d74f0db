//! A browser of few words: plain HTTP to a node's page, from inside the node's namespace by way of a relay.
//!
//! A socket belongs to the namespace of the process that made it, so the relay is this program once more, inside: it
//! takes connections on a Unix socket, and hands each on to the page.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Node, wait_for, wait_until};

/// See the module. Speaks for one browser: it keeps the cookie.
pub struct Web {
    socket: PathBuf,
    /// What goes into `Host`, and into `Origin` after `http://`.
    pub host: String,
    /// The cookie, once signed in.
    pub cookie: Option<String>,
    _relay: Relay,
}

struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// 0 when the connection ended without an answer.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As far as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
        Self { status: status.unwrap_or(0), headers: lines.filter_map(header).collect(), body }
    }
}

impl Web {
    /// A browser on `from`'s host that opens the page of `to`, which listens on [`PORT`]. `test` is the path of a test
    /// that begins with [`is_relay`].
    #[track_caller]
    pub fn new(from: &Node, to: &Node, test: &str) -> Self {
        Self::to(from, format!("{}:{PORT}", to.address()), test)
    }

    /// The same to any server of plain HTTP.
    #[track_caller]
    pub fn to(from: &Node, host: String, test: &str) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let socket = from.state().with_file_name(format!("web-{number}"));
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", from.namespace()))
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", test])
            .env(RELAY[0], &socket)
            .env(RELAY[1], &host)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this program runs once more");
        let relay = Relay(child);
        wait_for("the relay listens", LIMIT, || socket.exists().then_some(()));
        Self { socket, host, cookie: None, _relay: relay }
    }

    /// A connection to the page.
    #[track_caller]
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the relay takes it");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream
    }

    /// Sends bytes as they are, and reads until the end of the connection.
    #[track_caller]
    pub fn raw(&self, parts: &[&[u8]]) -> Answer {
        let mut stream = self.connect();
        for part in parts {
            // It may answer and close before it has read everything.
            if stream.write_all(part).is_err() {
                break;
            }
        }
        Self::answer(&mut stream)
    }

    /// Reads an answer to the end of the connection.
    pub fn answer(stream: &mut UnixStream) -> Answer {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::read(&bytes)
    }

    /// The head of a request as the page itself sends it; `more` are header lines without their ends.
    pub fn head(&self, method: &str, path: &str, more: &[&str]) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\n", self.host);
        for line in more.iter().copied().chain(self.cookie.as_deref()) {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head + "\r\n"
    }

    /// Asks with more headers and a body.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, more: &[&str], body: &[u8]) -> Answer {
        let length = format!("Content-Length: {}", body.len());
        let head = self.head(method, path, &[more, &[length.as_str()]].concat());
        self.raw(&[head.as_bytes(), body])
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// PUT of a file; its status.
    #[track_caller]
    pub fn put(&self, path: &str, body: &[u8]) -> u16 {
        self.ask("PUT", path, &[], body).status
    }

    /// The names in a directory.
    #[track_caller]
    pub fn names(&self, path: &str) -> Vec<String> {
        let listing = self.get(path).json();
        let entries = listing["entries"].as_array().unwrap_or_else(|| panic!("{path}: {listing}"));
        entries.iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Presses the button of `node` once its LED has shown the code, as the page goes on to ask for what became of it.
    #[track_caller]
    pub fn press(&self, node: &Node, path: &str) {
        wait_until("the LED has shown the code", LIMIT, || {
            assert_eq!(self.get(path).json()["state"], "waiting");
            node.json(&["status"])["sign_in"]["shown"] == true
        });
        node.ok(&["press"]);
    }

    /// Asks to sign in, presses the button of `node`, and keeps the cookie.
    #[track_caller]
    pub fn sign_in(&mut self, node: &Node) {
        let asked = self.ask("POST", "/v1/signin", &[], b"");
        assert_eq!(asked.status, 200, "{asked:?}");
        let path = format!("/v1/signin/{}", asked.json()["id"].as_str().expect("an id"));
        self.press(node, &path);
        let allowed = wait_for("the press is heard of", LIMIT, || {
            let answer = self.get(&path);
            (answer.json()["state"] != "waiting").then_some(answer)
        });
        assert_eq!(allowed.json()["state"], "allowed");
        let cookie = allowed.header("set-cookie").expect("a cookie").split(';').next().expect("a first part");
        self.cookie = Some(format!("Cookie: {cookie}"));
    }
}

/// Where the page listens in these tests.
pub const PORT: u16 = 80;

/// True when this process was started to be the relay, and has been until it was killed.
pub fn is_relay() -> bool {
    let [Some(socket), Some(host)] = RELAY.map(std::env::var_os) else { return false };
    relay(Path::new(&socket), &host.to_string_lossy());
    true
}

fn relay(socket: &Path, host: &str) {
    let listener = UnixListener::bind(socket).expect("a socket of its own");
    for near in listener.incoming() {
        let (Ok(near), Ok(far)) = (near, TcpStream::connect(host)) else { continue };
        let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
        std::thread::spawn(move || {
            // Whichever end goes, the other is told.
            let _ = io::copy(&mut &near, &mut &far);
            let _ = far.shutdown(Shutdown::Both);
        });
        std::thread::spawn(move || {
            let _ = io::copy(&mut &far_too, &mut &near_too);
            let _ = near_too.shutdown(Shutdown::Both);
        });
    }
}

const RELAY: [&str; 2] = ["DUSTFS_TEST_RELAY", "DUSTFS_TEST_RELAY_TO"];
const LIMIT: Duration = Duration::from_secs(30);

//! The CLI's side: one call, one connection, waited for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout};

use super::{ShortPath, socket_path};
use crate::lan::api::{Call, ErrorAnswer};

/// Speaks to the node of a state directory.
#[derive(Debug)]
pub struct Client {
    state: PathBuf,
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// No node runs with this state directory.
    NoNode(PathBuf),
    /// The socket is there and may not be used, or the system failed.
    Unreachable(PathBuf, io::Error),
    /// The node refused: the status, its words, and what to do.
    Refused(u16, String, Option<String>),
    /// The node's answer makes no sense to this program.
    Strange(String),
    /// The node did not answer in time.
    Late,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoNode(state) => {
                let state = state.display();
                write!(f, "no node runs with the state directory {state}: start it with `dustfs node --state {state}`")
            }
            ClientError::Unreachable(socket, _) => {
                write!(f, "the node's socket {} cannot be used: run this as the node's user", socket.display())
            }
            ClientError::Refused(_, error, None) => f.write_str(error),
            ClientError::Refused(_, error, Some(remedy)) => write!(f, "{error}: {remedy}"),
            ClientError::Strange(why) => {
                write!(f, "the node's answer is not understood ({why}): are program and node of one version?")
            }
            ClientError::Late => write!(f, "the node did not answer within {} s", ANSWER_TIME.as_secs()),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::Unreachable(_, why) => Some(why),
            _ => None,
        }
    }
}

impl Client {
    /// For the node with this state directory.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), socket: socket_path(state) }
    }

    /// Asks, and waits for the answer's JSON.
    pub fn ask(&self, call: &Call) -> Result<Value, ClientError> {
        let (method, path) = call.endpoint();
        self.call(method, path, call.body().as_ref())
    }

    /// Sends any request, and waits for the answer's JSON.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.runtime()?.block_on(async {
            let stream = self.connect().await?;
            exchange(stream, method, path, body).await
        })
    }

    /// Asks the node to stop, and waits up to `patience` until its process has ended. True when it has.
    pub fn stop(&self, patience: Duration) -> Result<bool, ClientError> {
        self.runtime()?.block_on(async {
            let stream = self.connect().await?;
            let node = stream.peer_cred().ok().and_then(|peer| peer.pid());
            let (method, path) = Call::Stop.endpoint();
            // A node that is gone before its answer was read has stopped all the same: only a refusal counts.
            if let Err(refused @ ClientError::Refused(..)) = exchange(stream, method, path, None).await {
                return Err(refused);
            }
            let deadline = Instant::now() + patience;
            while self.answers().await || node.is_some_and(runs) {
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                sleep(STOP_POLL).await;
            }
            Ok(true)
        })
    }

    fn runtime(&self) -> Result<Runtime, ClientError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| ClientError::Unreachable(self.socket.clone(), why))
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let connected = match ShortPath::new(&self.socket) {
            Ok(short) => UnixStream::connect(&short.path).await,
            Err(why) => Err(why),
        };
        connected.map_err(|why| match why.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoNode(self.state.clone()),
            _ => ClientError::Unreachable(self.socket.clone(), why),
        })
    }

    async fn answers(&self) -> bool {
        !matches!(self.connect().await, Err(ClientError::NoNode(_)))
    }
}

async fn exchange(stream: UnixStream, method: &str, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
    timeout(ANSWER_TIME, exchange_unbounded(stream, method, path, body)).await.unwrap_or(Err(ClientError::Late))
}

async fn exchange_unbounded(
    mut stream: UnixStream,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, ClientError> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: dustfs\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    // A node that refuses a request by its head may close before it took the rest: its answer tells.
    let sent = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_MAX as u64 + 1).read_to_end(&mut answer).await;
    if answer.is_empty() {
        sent.and(read).map_err(strange)?;
    }
    let Answer { status, body } = Answer::read(&answer).map_err(strange)?;
    if (200..300).contains(&status) {
        return serde_json::from_slice(body).map_err(strange);
    }
    match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(ErrorAnswer { error, remedy }) => Err(ClientError::Refused(status, error, remedy)),
        Err(_) => Err(ClientError::Strange(format!("status {status}"))),
    }
}

/// An answer in HTTP/1.1 (RFC 9112) of the form that our server gives: with its length, and whole.
#[derive(PartialEq, Eq, Debug)]
struct Answer<'a> {
    status: u16,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads it from all bytes of a connection.
    fn read(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.len() > ANSWER_MAX {
            return Err("it is too long");
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("its head is cut short")?;
        let (head, body) = (&bytes[..end], &bytes[end + 4..]);
        let mut lines = std::str::from_utf8(head).map_err(|_| "its head is no text")?.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse::<u16>().ok());
        let status = status.ok_or("it has no status")?;
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        match length {
            Some(length) if body.len() == length => Ok(Self { status, body }),
            Some(_) => Err("it has another length than it tells"),
            None => Err("it does not tell its length"),
        }
    }
}

fn strange(why: impl fmt::Display) -> ClientError {
    ClientError::Strange(why.to_string())
}

/// The process is there, is not this one, and is more than an entry that its parent has yet to collect (proc(5)).
fn runs(pid: i32) -> bool {
    if u32::try_from(pid) == Ok(std::process::id()) {
        return false;
    }
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Longer than the server's own limits, so that its words are heard.
const ANSWER_TIME: Duration = Duration::from_secs(180);
const ANSWER_MAX: usize = 64 << 20;
const STOP_POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_refused() {
        let read = |text: &'static str| Answer::read(text.as_bytes());
        let whole = Ok(Answer { status: 200, body: b"[]" });
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\ndate: x\r\n\r\n[]"), whole);
        assert_eq!(read("HTTP/1.1 200\r\ncontent-length:2\r\n\r\n[]"), whole);
        for (text, why) in [
            ("", "its head is cut short"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", "its head is cut short"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[", "it has another length than it tells"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]]", "it has another length than it tells"),
            ("HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n[]", "it does not tell its length"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "it does not tell its length"),
            ("HTTP/1.1 \u{e9}00 OK\r\n\r\n", "it has no status"),
            ("HTTP/9 200 OK\r\n\r\n", "it has no status"),
            ("\r\n\r\n", "it has no status"),
        ] {
            assert_eq!(read(text), Err(why), "{text:?}");
        }
        assert_eq!(Answer::read(b"HTTP/1.1 200 OK\r\nx: \xff\r\n\r\n"), Err("its head is no text"));
    }

    #[test]
    fn a_process_runs_until_it_is_a_zombie() {
        assert!(!runs(i32::try_from(std::process::id()).unwrap()), "this process does not wait for itself");
        assert!(!runs(i32::MAX));
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(runs(pid));
        drop(child.stdin.take());
        // Ends by itself now; nobody has collected it, so its entry stays.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while runs(pid) {
            assert!(std::time::Instant::now() < deadline, "the zombie counts as running");
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}

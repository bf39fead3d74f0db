//! The API over HTTP/1.1 on the state directory's Unix socket: the node's server and the CLI's client; and the page's
//! listener.

pub mod client;
#[cfg(feature = "lan")]
mod dav;
#[cfg(feature = "lan")]
mod files;
#[cfg(feature = "lan")]
pub mod page;
pub mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

pub use client::{Client, ClientError};
#[cfg(feature = "lan")]
pub use dav::DavSite;
#[cfg(feature = "lan")]
pub use page::{PageConfig, PageError, PageServer};
pub use server::{Answering, Handler, Server, ServerError};

/// The socket of the node with this state directory.
pub fn socket_path(state: &Path) -> PathBuf {
    state.join("socket")
}

/// A path to a socket that fits `sockaddr_un`, whose 108 bytes many a state directory exceeds: the long ones go through
/// the directory's descriptor, which must stay open while the path is used.
struct ShortPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl ShortPath {
    fn new(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        if path.as_os_str().len() <= SUN_PATH_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let directory = File::open(parent)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

/// `sockaddr_un::sun_path` has 108 bytes (unix(7)), a NUL among them.
const SUN_PATH_MAX: usize = 107;

#[cfg(test)]
pub(in crate::os) mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use serde_json::json;
    use tokio::sync::{Notify, oneshot};

    use super::*;
    use crate::lan::api::{ApiError, BODY_MAX, Call, Outcome};
    use crate::os::http::server::CONNECTIONS;
    use crate::wire::statement::Role;

    /// A directory of this test's own, removed at its end.
    pub(in crate::os) struct State(pub(in crate::os) PathBuf);

    impl State {
        pub(in crate::os) fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("dustfs-http-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for State {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A server on a thread of its own, stopped and waited for when dropped.
    pub(in crate::os) struct Running {
        stop: Arc<Notify>,
        thread: Option<JoinHandle<()>>,
    }

    impl Running {
        fn start(state: &Path) -> Self {
            let stop = Arc::new(Notify::new());
            Self::with(state, stop.clone(), handler(stop))
        }

        pub(in crate::os) fn with(state: &Path, stop: Arc<Notify>, handler: Handler) -> Self {
            let (bound, is_bound) = oneshot::channel();
            let (state, stopped) = (state.to_owned(), stop.clone());
            let thread = std::thread::spawn(move || {
                runtime().block_on(async {
                    let server = Server::bind(&state).await.unwrap();
                    bound.send(()).unwrap();
                    server.run(handler, stopped.notified()).await;
                });
            });
            is_bound.blocking_recv().expect("the server is bound");
            Self { stop, thread: Some(thread) }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stop.notify_one();
            self.thread.take().expect("dropped once").join().expect("the server ended well");
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn bind(state: &Path) -> Result<Server, ServerError> {
        let runtime = runtime();
        let _inside = runtime.enter();
        runtime.block_on(Server::bind(state))
    }

    fn handler(stop: Arc<Notify>) -> Handler {
        Arc::new(move |call| {
            let stop = stop.clone();
            Box::pin(async move {
                match call {
                    Call::Friends => Ok(Outcome::Friends(Vec::new())),
                    Call::Invite { role, minutes, .. } => Ok(Outcome::Invite(format!("{}-{minutes}", role.word()))),
                    Call::Found { name } => Ok(Outcome::Circle(name)),
                    Call::Unmount => Err(ApiError::new(409, "nothing is mounted").with_remedy("mount it")),
                    Call::Stop => {
                        stop.notify_one();
                        Ok(Outcome::Done)
                    }
                    _ => Err(ApiError::new(500, "the test's handler does not know this")),
                }
            })
        })
    }

    /// Sends bytes as they are, and reads until the server closes.
    fn raw(state: &Path, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(socket_path(state)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn calls_go_there_and_answers_come_back() {
        let state = State::new();
        let _running = Running::start(&state.0);
        let client = Client::new(&state.0);
        assert_eq!(client.ask(&Call::Friends).unwrap(), json!([]));
        let invite = Call::Invite { circle: None, role: Role::Cache, minutes: 7 };
        assert_eq!(client.ask(&invite).unwrap(), json!({ "invite": "cache-7" }));
        assert_eq!(client.ask(&Call::Found { name: "Skiläufer".into() }).unwrap(), json!({ "circle": "Skiläufer" }));
        match client.ask(&Call::Unmount).unwrap_err() {
            ClientError::Refused(409, error, Some(remedy)) => {
                assert_eq!((error.as_str(), remedy.as_str()), ("nothing is mounted", "mount it"));
            }
            other => panic!("{other}"),
        }
        let unknown = client.call("POST", "/v1/found", Some(&json!({ "name": "a", "colour": 1 }))).unwrap_err();
        assert!(unknown.to_string().contains("colour"), "{unknown}");
        let large = client.call("POST", "/v1/join", Some(&json!({ "invite": "a".repeat(BODY_MAX) }))).unwrap_err();
        assert!(matches!(large, ClientError::Refused(413, ..)), "{large}");
    }

    #[test]
    fn the_socket_is_the_owners_alone_and_goes_with_the_node() {
        let state = State::new();
        let running = Running::start(&state.0);
        let mode = std::fs::metadata(socket_path(&state.0)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(running);
        assert_eq!(std::fs::read_dir(&state.0).unwrap().count(), 0);
        assert!(matches!(Client::new(&state.0).ask(&Call::Status), Err(ClientError::NoNode(_))));
    }

    #[test]
    fn a_dead_nodes_socket_is_replaced_and_a_live_ones_is_not() {
        let state = State::new();
        drop(UnixListener::bind(socket_path(&state.0)).unwrap());
        assert!(socket_path(&state.0).exists());
        assert!(matches!(Client::new(&state.0).ask(&Call::Status), Err(ClientError::NoNode(_))));
        let _running = Running::start(&state.0);
        assert!(matches!(bind(&state.0), Err(ServerError::Running(_))));
        assert!(Client::new(&state.0).ask(&Call::Friends).is_ok());
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let state = State::new();
        std::fs::write(socket_path(&state.0), "precious").unwrap();
        assert!(matches!(bind(&state.0), Err(ServerError::Obstructed(_))));
        assert_eq!(std::fs::read(socket_path(&state.0)).unwrap(), b"precious");
    }

    #[test]
    fn a_directory_that_is_not_there_is_told() {
        let state = State::new();
        let missing = state.0.join("none");
        assert!(matches!(bind(&missing), Err(ServerError::Io(..))));
        assert!(matches!(Client::new(&missing).ask(&Call::Status), Err(ClientError::NoNode(_))));
    }

    #[test]
    fn a_path_that_no_socket_address_holds_is_used_all_the_same() {
        let state = State::new();
        let long = state.0.join("d".repeat(200));
        std::fs::create_dir(&long).unwrap();
        let _running = Running::start(&long);
        assert!(Client::new(&long).ask(&Call::Friends).is_ok());
        assert!(matches!(bind(&long), Err(ServerError::Running(_))));
    }

    #[test]
    fn a_stop_is_answered_and_waited_for() {
        let state = State::new();
        let mut running = Running::start(&state.0);
        assert!(Client::new(&state.0).stop(Duration::from_secs(30)).unwrap());
        assert!(!socket_path(&state.0).exists());
        running.thread.take().expect("it ran").join().expect("it ended well");
        running.thread = Some(std::thread::spawn(|| {}));
    }

    #[test]
    fn bad_http_is_refused() {
        let state = State::new();
        let _running = Running::start(&state.0);
        let refused = |request: &str, status: &str| {
            let answer = raw(&state.0, request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80} -> {answer}");
            answer
        };
        refused("nonsense\r\n\r\n", "400");
        refused("GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n", "404");
        let answer = refused("GET /v1/stop HTTP/1.1\r\nhost: x\r\n\r\n", "405");
        assert!(answer.to_lowercase().contains("\r\nallow: post\r\n"), "{answer}");
        refused(&format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(40_000)), "431");
        refused(&format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(40_000)), "431");
        refused(&format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(100)), "431");
        refused("POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: 65537\r\n\r\n", "413");
        refused("POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999\r\n\r\n", "413");
        refused("POST /v1/join HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", "400");
        let chunk = format!("10001\r\n{}\r\n0\r\n\r\n", "a".repeat(0x10001));
        refused(&format!("POST /v1/join HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"), "413");
    }

    #[test]
    fn connections_beyond_the_limit_wait_for_their_turn() {
        let state = State::new();
        let _running = Running::start(&state.0);
        let mut idle: Vec<UnixStream> =
            (0..CONNECTIONS).map(|_| UnixStream::connect(socket_path(&state.0)).unwrap()).collect();
        let mut late = UnixStream::connect(socket_path(&state.0)).unwrap();
        late.write_all(b"GET /v1/friends HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut answer = String::new();
        assert!(late.read_to_string(&mut answer).is_err() && answer.is_empty(), "{answer}");
        idle.pop();
        late.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("[]"), "{answer}");
    }
}

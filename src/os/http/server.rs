//! The node's side: requests off the socket, bounded in number, bytes and time, into [`api::route`]; a handler's
//! outcome back through [`api::render`].

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{ShortPath, socket_path};
use crate::lan::api::{self, ApiError, BODY_MAX, Call, Outcome};

/// What the node does with a call. Dropped unfinished when the caller goes away or [`CALL_TIME`] is over.
pub type Handler = Arc<dyn Fn(Call) -> Answering + Send + Sync>;
/// What a [`Handler`] returns.
pub type Answering = Pin<Box<dyn Future<Output = Result<Outcome, ApiError>> + Send>>;

/// Connections at a time; those beyond wait in the kernel's backlog.
pub const CONNECTIONS: usize = 16;
/// Time that a call may take.
pub const CALL_TIME: Duration = Duration::from_secs(120);

const HEADER_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
const CONNECTION_TIME: Duration = Duration::from_secs(160);
const DRAIN_TIME: Duration = Duration::from_secs(3);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const HEADERS: usize = 32;
const HEADER_BYTES: usize = 16_384;

/// The listening socket of a state directory; its file goes when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

/// Why the socket cannot be listened on.
#[derive(Debug)]
pub enum ServerError {
    /// Another node answers there.
    Running(PathBuf),
    /// Something that is no socket lies there.
    Obstructed(PathBuf),
    /// The operating system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Running(path) => write!(
                f,
                "a node runs with this state directory already (it answers at {}): stop it with `dustfs stop`, or \
                 choose another directory with --state",
                path.display()
            ),
            ServerError::Obstructed(path) => {
                write!(f, "{} is in the way and is no socket: move it elsewhere", path.display())
            }
            ServerError::Io(path, _) => write!(f, "the socket {} cannot be made", path.display()),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServerError::Io(_, why) => Some(why),
            ServerError::Running(_) | ServerError::Obstructed(_) => None,
        }
    }
}

impl Server {
    /// Listens at the socket of `state`, which must exist; the socket is the owner's alone. What a dead node left there
    /// is replaced. Must be called inside a tokio runtime.
    pub async fn bind(state: &Path) -> Result<Self, ServerError> {
        let path = socket_path(state);
        match occupied(&path).await {
            Ok(None) => {}
            Ok(Some(error)) => return Err(error),
            Err(why) => return Err(ServerError::Io(path, why)),
        }
        // Bound beside, made private, then renamed: nobody ever finds it with the modes that the umask gave.
        let beside = path.with_extension("new");
        let listener = bind_private(&beside)
            .and_then(|listener| std::fs::rename(&beside, &path).map(|()| listener))
            .map_err(|why| ServerError::Io(path.clone(), why))?;
        Ok(Self { listener, path })
    }

    /// Answers calls until `stop` is ready; then takes no more, and gives those that are being answered three seconds.
    pub async fn run(self, handler: Handler, stop: impl Future<Output = ()>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                (permit, stream) = accept(&self.listener, &permits) => {
                    let handler = handler.clone();
                    connections.spawn(async move {
                        serve(stream, handler).await;
                        drop(permit);
                    });
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(self);
        let drained = timeout(DRAIN_TIME, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            log::debug!("{} calls were cut off by the stop", connections.len());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(why) = std::fs::remove_file(&self.path) {
            log::debug!("{} cannot be removed: {why}", self.path.display());
        }
    }
}

/// Why nothing can be bound at `path`, if so.
async fn occupied(path: &Path) -> io::Result<Option<ServerError>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Ok(Some(ServerError::Obstructed(path.to_owned()))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    }
    match UnixStream::connect(&ShortPath::new(path)?.path).await {
        Ok(_) => Ok(Some(ServerError::Running(path.to_owned()))),
        // A full backlog: somebody listens, however busy.
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(Some(ServerError::Running(path.to_owned()))),
        Err(why) if matches!(why.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(None),
        Err(why) => Err(why),
    }
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    let listener = UnixListener::bind(&ShortPath::new(path)?.path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: &UnixListener, permits: &Arc<Semaphore>) -> (OwnedSemaphorePermit, UnixStream) {
    let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (permit, stream),
            Err(why) => {
                // Out of descriptors, most likely: a loop without a pause would burn the processor.
                log::warn!("the API's socket cannot accept: {why}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the one request of a connection.
async fn serve(stream: UnixStream, handler: Handler) {
    let service = service_fn(move |request| answer(handler.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => log::debug!("a connection to the API ended: {why}"),
        Err(_) => log::debug!("a connection to the API took too long"),
    }
}

async fn answer(handler: Handler, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let result = perform(handler, head.method.as_str(), target, body).await;
    let (status, text) = api::render(&result);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let (StatusCode::METHOD_NOT_ALLOWED, Some(method)) = (response.status(), api::allowed(target)) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    }
    Ok(response)
}

async fn perform(handler: Handler, method: &str, target: &str, body: Incoming) -> Result<Outcome, ApiError> {
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(ApiError::body_too_large());
    }
    let body = match timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(why)) if why.is::<LengthLimitError>() => return Err(ApiError::body_too_large()),
        Ok(Err(why)) => return Err(ApiError::bad(format!("the body broke off: {why}"))),
        Err(_) => return Err(ApiError::new(408, "the body did not come in time")),
    };
    let call = api::route(method, target, &body)?;
    match timeout(CALL_TIME, handler(call)).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::new(503, format!("the node did not answer within {} s", CALL_TIME.as_secs()))),
    }
}

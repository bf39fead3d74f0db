//! The page's listener: TCP connections, bounded in number, by address, in bytes and in time, into the machines of
//! `lan`, and their answers back.
//!
//! One request a connection, but for WebDAV's clients, which send many. A connection has to get on: each piece of a file that goes or comes gives it time anew, and
//! one that does not is closed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderName, HeaderValue,
    IF_NONE_MATCH, IF_RANGE, ORIGIN, RANGE,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response as HttpResponse, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Handler;
use super::dav::DavSite;
use super::files::{Pieces, Tree};
use super::server::CALL_TIME;
use crate::lan::api::{ApiError, BODY_MAX};
use crate::lan::dav;
use crate::lan::host::{Names, Source, host_of};
use crate::lan::page::{self, Head, Page, Step};
use crate::lan::response::Response;
use crate::lan::session::{Token, set_cookie};
use crate::lan::signin;
use crate::node::io::Op;
use crate::os::core::Core;

/// What the page is to know of its box.
pub struct PageConfig {
    /// The names that it answers under.
    pub names: Names,
    /// What answers WebDAV.
    pub dav: Arc<DavSite>,
    /// The box waits for its passphrase.
    pub locked: bool,
    /// Who is signed in from the start on.
    pub session: Option<Token>,
}

/// Where the page is listened for.
#[derive(Debug)]
pub struct PageServer {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the page cannot be listened for.
#[derive(Debug)]
pub struct PageError {
    address: SocketAddr,
    why: io::Error,
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, why } = self;
        let remedy = match why.kind() {
            io::ErrorKind::PermissionDenied => "ports below 1024 are root's: choose another with --page",
            io::ErrorKind::AddrInUse => "something listens there already: choose another with --page",
            _ => "choose another address with --page",
        };
        write!(f, "the page cannot be opened at {address}: {why}: {remedy}")
    }
}

impl std::error::Error for PageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

impl PageServer {
    /// Listens at an address; port 0 takes a free one. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the operating system refused, with its remedy.
    pub async fn bind(address: SocketAddr) -> Result<Self, PageError> {
        let refused = |why| PageError { address, why };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` is ready; then takes no more, and gives those that are being answered three
    /// seconds. `api` carries out calls.
    pub async fn run(self, core: Arc<Core>, api: Handler, config: PageConfig, stop: impl Future<Output = ()>) {
        let mut page = Page::new(config.names);
        if config.locked {
            page = page.locked();
        }
        if let Some(token) = config.session {
            page.keep_signed_in(core.now().instant, token);
        }
        let mut wishes = core.wishes();
        // Dropped when connections are to take no more requests.
        let (open, ending) = watch::channel(());
        let site = Arc::new(Site {
            page: Mutex::new(page),
            dav: config.dav,
            tree: Tree::new(core.clone()),
            core,
            api,
            ending,
            asking: Mutex::default(),
            by_address: Mutex::default(),
        });
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut forgotten = wishes.borrow_and_update().forget_sessions;
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                (permit, stream, remote) = self.accept(&permits) => {
                    let site = site.clone();
                    connections.spawn(async move {
                        site.serve(stream, remote).await;
                        drop(permit);
                    });
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                Ok(()) = wishes.changed() => {
                    let times = wishes.borrow_and_update().forget_sessions;
                    if times != forgotten {
                        forgotten = times;
                        site.forget();
                        site.dav.forgotten().await;
                    }
                }
            }
        }
        drop((self, open));
        let drained = timeout(DRAIN_TIME, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            log::debug!("{} requests to the page were cut off by the stop", connections.len());
        }
    }

    async fn accept(&self, permits: &Arc<Semaphore>) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, remote)) => return (permit, stream, remote),
                Err(why) => {
                    // Out of descriptors, most likely: a loop without a pause would burn the processor.
                    log::warn!("the page cannot accept: {why}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What all connections share.
struct Site {
    page: Mutex<Page>,
    dav: Arc<DavSite>,
    tree: Tree,
    core: Arc<Core>,
    api: Handler,
    /// Waits for the answer to the question to sign in.
    asking: Mutex<Option<JoinHandle<()>>>,
    /// Connections of each host.
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
    ending: watch::Receiver<()>,
}

type Sent = Either<Full<Bytes>, Pieces>;

impl Site {
    /// Answers the requests of a connection.
    async fn serve(self: Arc<Self>, stream: TcpStream, remote: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        let Some(_place) = Place::take(&self.by_address, host_of(remote.ip())) else {
            return log::debug!("{remote} has too many connections to the page");
        };
        let pulse = Pulse::new();
        let beats = pulse.clone();
        let service = service_fn(|request| self.answer(request, remote.ip(), local.ip(), &beats));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_headers(HEADERS)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut ending = self.ending.clone();
        let mut ends = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(why) = ended {
                        log::debug!("a connection of {remote} to the page ended: {why}");
                    }
                    return;
                }
                () = pulse.stopped() => {
                    return log::debug!("a connection of {remote} to the page did not get on");
                }
                Err(_) = ending.changed(), if !ends => {
                    connection.as_mut().graceful_shutdown();
                    ends = true;
                }
            }
        }
    }

    /// What a hold of the button forgets.
    fn forget(&self) {
        let times = self.core.wishes().borrow().forget_sessions;
        lock(&self.page).forget(times);
        self.dav.forget(times);
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        remote: IpAddr,
        local: IpAddr,
        pulse: &Pulse,
    ) -> Result<HttpResponse<Sent>, Infallible> {
        let (parts, mut body) = request.into_parts();
        pulse.beat();
        self.forget();
        let step = match head(&parts, remote, local) {
            Ok(head) => lock(&self.page).head(self.core.now().instant, &head),
            Err(error) => Step::Answer(error.into()),
        };
        let mut pieces = None;
        let is_dav = matches!(step, Step::Dav);
        let response = match step {
            Step::Dav => match self.dav(&parts, &mut body, remote, pulse).await {
                Ok((response, body)) => {
                    pieces = body;
                    response
                }
                Err(response) => response,
            },
            Step::Password(change) => self.dav.password(change, &mut body).await.unwrap_or_else(Response::from),
            Step::Answer(response) => response,
            Step::Call => page::told(&self.call(&parts, &mut body).await),
            Step::Unlock => self.unlock(remote, &mut body).await.unwrap_or_else(Response::from),
            Step::SignIn => self.sign_in(remote).unwrap_or_else(Response::from),
            Step::Read { path, after, conditions } => {
                match self.tree.read(&path, after.as_deref(), &conditions, pulse).await {
                    Ok((response, body)) => {
                        pieces = body;
                        response
                    }
                    Err(error) => error.into(),
                }
            }
            Step::Write { path, no_replace, length } => {
                self.tree.write(&path, no_replace, length, &mut body, pulse).await
            }
            Step::Delete(path) => self.tree.delete(&path).await.unwrap_or_else(Response::from),
            Step::Mkdir(path) => self.tree.mkdir(&path).await.unwrap_or_else(Response::from),
        };
        if response.status >= 400 && !parts.headers.contains_key(EXPECT) {
            hear_out(&mut body).await;
        }
        let mut carried = carry(response, pieces);
        if !is_dav {
            carried.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(carried)
    }

    async fn dav(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        remote: IpAddr,
        pulse: &Pulse,
    ) -> Result<(Response, Option<Pieces>), Response> {
        // A header that is there and not understood must not count as one that is not there.
        let header = |name| parts.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
        let request = self.dav.head(
            &self.tree,
            &dav::Head {
                method: parts.method.as_str(),
                target: parts.uri.path_and_query().map_or("", |target| target.as_str()),
                host: header("host").unwrap_or_default(),
                remote,
                length: header("content-length").and_then(|length| length.parse().ok()),
                has_body: !body.is_end_stream(),
                header: &header,
            },
        );
        self.dav.answer(&self.tree, request, body, pulse).await
    }

    async fn call(&self, parts: &Parts, body: &mut Incoming) -> Result<crate::lan::api::Outcome, ApiError> {
        let target = parts.uri.path();
        let body = whole(body, BODY_MAX).await?;
        let call = page::call(parts.method.as_str(), target, &body)?;
        let answered = timeout(CALL_TIME, (self.api)(call)).await;
        answered.unwrap_or_else(|_| {
            Err(ApiError::new(503, format!("the node did not answer within {} s", CALL_TIME.as_secs())))
        })
    }

    /// Gives the box its passphrase; who gave the right one is signed in when it is back.
    async fn unlock(&self, remote: IpAddr, body: &mut Incoming) -> Result<Response, ApiError> {
        let body = whole(body, UNLOCK_BODY_MAX).await?;
        let mut token = Token::default();
        getrandom::fill(&mut token)
            .map_err(|error| ApiError::new(500, format!("the system gives no randomness: {error}")))?;
        let answered = (self.api)(page::unlock(&body, token)?).await;
        if answered.as_ref().is_err_and(|error| error.status == 403) {
            lock(&self.page).guessed_wrong(self.core.now().instant, remote);
        }
        answered?;
        Ok(Response::json(200, "{}").with("set-cookie", set_cookie(&token)))
    }

    /// Asks the box whether somebody may sign in; the answer is waited for beside this request.
    fn sign_in(self: &Arc<Self>, from: IpAddr) -> Result<Response, ApiError> {
        let mut entropy = [0; 18];
        getrandom::fill(&mut entropy)
            .map_err(|error| ApiError::new(500, format!("the system gives no randomness: {error}")))?;
        let mut id = signin::Id::default();
        id.copy_from_slice(&entropy[..16]);
        let code = signin::code([entropy[16], entropy[17]]);
        let response = lock(&self.page).ask_sign_in(self.core.now().instant, from, id, code)?;
        let site = self.clone();
        // The question before this one is withdrawn first, so that the node is asked one at a time.
        let before = lock(&self.asking).take();
        let asking = tokio::spawn(async move {
            if let Some(before) = before {
                before.abort();
                let _ = before.await;
            }
            let asked = site.tree.ask(Op::SignIn { code });
            let mut asked = pin!(asked);
            let answer = loop {
                tokio::select! {
                    answer = &mut asked => break answer,
                    () = sleep(ABANDONED_CHECK) => {
                        if lock(&site.page).is_abandoned(site.core.now().instant, &id) {
                            return;
                        }
                    }
                }
            };
            let answer = answer.map(drop).map_err(|error| error.to_string());
            lock(&site.page).answered(site.core.now().instant, &id, answer);
        });
        *lock(&self.asking) = Some(asking);
        Ok(response)
    }
}

/// A body that is read before it is looked at.
pub(super) async fn whole(body: &mut Incoming, limit: usize) -> Result<Bytes, ApiError> {
    match timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(why)) if why.is::<LengthLimitError>() => {
            Err(ApiError::new(413, format!("the body is longer than {limit} bytes")))
        }
        Ok(Err(why)) => Err(ApiError::bad(format!("the body broke off: {why}"))),
        Err(_) => Err(ApiError::new(408, "the body did not come in time")),
    }
}

/// The request's head, as far as the machine looks at it.
fn head(parts: &Parts, remote: IpAddr, local: IpAddr) -> Result<Head<'_>, ApiError> {
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if parts.uri.authority().is_some() {
        return Err(ApiError::bad("this box is no proxy"));
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
    let length =
        text(CONTENT_LENGTH).map(|length| length.parse().map_err(|_| ApiError::bad("the length is no number")));
    // A header that is there and not understood must not count as one that is not there.
    let told = |name: HeaderName| parts.headers.contains_key(&name).then(|| text(name).unwrap_or("?"));
    Ok(Head {
        method: parts.method.as_str(),
        target: parts.uri.path_and_query().map_or("", |target| target.as_str()),
        remote,
        local,
        host,
        source: Source {
            origin: told(ORIGIN),
            fetch_site: told(HeaderName::from_static("sec-fetch-site")),
            content_type: text(CONTENT_TYPE),
        },
        cookie: text(COOKIE).unwrap_or_default(),
        length: length.transpose()?,
        has_content_range: parts.headers.contains_key(CONTENT_RANGE),
        range: text(RANGE),
        if_range: text(IF_RANGE),
        if_none_match: text(IF_NONE_MATCH),
    })
}

/// The machine's answer in hyper's words.
fn carry(response: Response, pieces: Option<Pieces>) -> HttpResponse<Sent> {
    let body = match pieces {
        Some(pieces) => Either::Right(pieces),
        None => Either::Left(Full::new(response.body)),
    };
    let mut carried = HttpResponse::new(body);
    *carried.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => drop(carried.headers_mut().append(HeaderName::from_static(name), value)),
            Err(_) => log::error!("the header {name} cannot be sent: {value:?}"),
        }
    }
    carried
}

/// A browser that still sends hears no answer when the connection ends: what is under way is taken, for a while.
async fn hear_out(body: &mut Incoming) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever sends more than that will see the end of the connection.
    let _ = timeout(HEAR_OUT_TIME, rest).await;
}

/// A connection's place among those of its host.
struct Place<'a> {
    taken: &'a Mutex<BTreeMap<IpAddr, usize>>,
    host: IpAddr,
}

impl<'a> Place<'a> {
    /// `None` when the host has too many.
    fn take(taken: &'a Mutex<BTreeMap<IpAddr, usize>>, host: IpAddr) -> Option<Self> {
        let mut places = lock(taken);
        let count = places.entry(host).or_default();
        if *count >= CONNECTIONS_EACH {
            return None;
        }
        *count += 1;
        Some(Self { taken, host })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut places = lock(self.taken);
        if let Some(count) = places.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.host);
            }
        }
    }
}

/// A connection's life: it ends when it was not beaten for long.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + STILL_TIME)))
    }

    /// The connection got on.
    pub(super) fn beat(&self) {
        *lock(&self.0) = Instant::now() + STILL_TIME;
    }

    async fn stopped(&self) {
        loop {
            let until = *lock(&self.0);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// What a mutex holds; a thread that panicked leaves nothing half done in this file's.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections at a time, of all and of one host; those beyond wait in the kernel's backlog, or are closed.
/// Bytes of the body that gives the passphrase.
const UNLOCK_BODY_MAX: usize = 4_096;
const CONNECTIONS: usize = 32;
const CONNECTIONS_EACH: usize = 12;
const HEADER_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
/// Longer than a call may take, and than a friend may take to send the next piece of a file.
const STILL_TIME: Duration = Duration::from_secs(150);
const HEAR_OUT_TIME: Duration = Duration::from_secs(10);
const DRAIN_TIME: Duration = Duration::from_secs(3);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const ABANDONED_CHECK: Duration = Duration::from_secs(2);
const HEADERS: usize = 48;
/// Bytes of a head, and of what is read ahead of a body.
const BUFFER_BYTES: usize = 65_536;

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_host_has_so_many_places() {
        let taken = Mutex::default();
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let places: Vec<_> = (0..CONNECTIONS_EACH).map(|_| Place::take(&taken, host).expect("free")).collect();
        assert!(Place::take(&taken, host).is_none());
        assert!(Place::take(&taken, IpAddr::V4(Ipv4Addr::BROADCAST)).is_some());
        drop(places);
        assert!(lock(&taken).is_empty());
    }
}

//! WebDAV (RFC 4918, class 1 and 2) over the tree, below `/dav/`: a request's head comes in, then the body of those that
//! have one in XML, and what is to be done comes out. Whoever drives it (`os::http`) does that, and settles it here.
//!
//! Locks and the properties that clients make up are in memory; files are those of the tree and nothing beside.

mod answer;
mod change;
mod condition;
mod listing;
mod lock;
mod property;
mod request;
#[cfg(test)]
mod tests;
mod xml;

pub use change::{Change, Want};
pub use listing::Listing;
pub use request::{Head, Request};

use bytes::Bytes;

use self::answer::{exists, locked, locks_told, multistatus, refused};
use self::change::{Spot, Task};
use self::condition::State;
use self::lock::{Lock, Locks, Refused};
use self::property::{Edits, Kept};
use self::request::{Depth, Method};
use self::xml::Element;
use super::api::ApiError;
use super::auth::{Auth, Claim};
use super::download::{self, Conditions, entity_tag};
use super::password::Password;
use super::path::FilePath;
use super::response::Response;
use super::upload::Upload;
use crate::base::limits::FILE_MAX;
use crate::base::{Instant, Snapshot};
use crate::node::Node;
use crate::node::io::{Attr, DirEntry, Inode, OpError};
use crate::wire::record::Kind;

/// See the module.
pub struct Dav {
    auth: Auth,
    locks: Locks,
    kept: Kept,
    /// How often the password was to be forgotten.
    forgotten: u32,
}

/// The tree as it is at one moment.
pub trait View {
    /// What an inode is.
    fn attr(&self, inode: Inode) -> Result<Attr, OpError>;
    /// The entry of a name.
    fn lookup(&self, directory: Inode, name: &[u8]) -> Result<Attr, OpError>;
    /// Entries in the order of names, after this name.
    fn list(&self, directory: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError>;
    /// Whether names in a directory may be made and taken away.
    fn may_change(&self, directory: Inode) -> Result<(), OpError>;
    /// Where a symbolic link leads.
    fn readlink(&self, inode: Inode) -> Result<Bytes, OpError>;
}

impl<S: Snapshot> View for Node<S> {
    fn attr(&self, inode: Inode) -> Result<Attr, OpError> {
        Node::attr(self, inode)
    }

    fn lookup(&self, directory: Inode, name: &[u8]) -> Result<Attr, OpError> {
        Node::lookup(self, directory, name)
    }

    fn list(&self, directory: Inode, after: Option<&[u8]>, limit: usize) -> Result<Vec<DirEntry>, OpError> {
        Node::list(self, directory, after, limit)
    }

    fn may_change(&self, directory: Inode) -> Result<(), OpError> {
        Node::may_change(self, directory)
    }

    fn readlink(&self, inode: Inode) -> Result<Bytes, OpError> {
        Node::readlink(self, inode)
    }
}

/// What is to be done for a request.
#[derive(Debug)]
pub enum Job {
    /// This is the answer.
    Answer(Response),
    /// Send a file.
    Send(Attr, Conditions),
    /// Take a file from the body.
    Take(Upload),
    /// Tell properties.
    List(Response, Listing),
    /// Change the tree; then [`Dav::settle`].
    Change(Change, Effect),
}

/// What a change means for locks and properties.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// What was there is gone.
    Removed(FilePath),
    /// What was there is here as well.
    Copied(FilePath, FilePath),
    /// What was there is here.
    Moved(FilePath, FilePath),
    /// A lock was taken on what is made; it ends if that is not.
    Locked(FilePath, String),
    /// Properties are set.
    Edited(FilePath, Edits),
}

/// What the tree has where a request points to.
struct Found {
    /// The entry, if there is one.
    entry: Option<Attr>,
    /// The directory that it is in, or comes to be in, if that is there, and the name; the root has none.
    spot: Option<Spot>,
    /// Why names in that directory stay as they are, if they do.
    refused: Option<OpError>,
}

impl Dav {
    /// Knows this password, or none; `key` is the operating system's entropy.
    pub fn new(password: Option<Password>, key: [u8; 32]) -> Self {
        Self { auth: Auth::new(password, key), locks: Locks::default(), kept: Kept::default(), forgotten: 0 }
    }

    /// Replaces the password, or takes it away.
    pub fn set_password(&mut self, password: Option<Password>) {
        self.auth.set(password);
    }

    /// True when there is a password.
    pub fn has_password(&self) -> bool {
        self.auth.password().is_some()
    }

    /// The password was to be forgotten so often: where that is news, it is.
    pub fn forget(&mut self, times: u32) {
        if times != self.forgotten {
            self.forgotten = times;
            self.auth.set(None);
        }
    }

    /// Takes a request's head.
    ///
    /// # Errors
    /// The answer, where nothing is left to do.
    pub fn head(&mut self, now: Instant, head: &Head<'_>) -> Result<Request, Response> {
        // Clients ask what there is before they are asked who they are.
        if head.method == "OPTIONS" {
            return Err(answer::options());
        }
        let authorization = (head.header)("authorization");
        let claim = Claim { remote: head.remote, method: head.method, target: head.target, authorization };
        self.auth.check(now, &claim)?;
        Request::read(head)
    }

    /// What to do for a request, whose body is here if it has one in XML. `entropy` is the operating system's; `space` is
    /// what the disk has, and has free, in bytes.
    pub fn begin(
        &mut self,
        now: Instant,
        request: &Request,
        body: &[u8],
        entropy: [u8; 16],
        view: &impl View,
        space: (u64, u64),
    ) -> Job {
        self.route(now, request, body, entropy, view, space).unwrap_or_else(Job::Answer)
    }

    fn route(
        &mut self,
        now: Instant,
        request: &Request,
        body: &[u8],
        entropy: [u8; 16],
        view: &impl View,
        space: (u64, u64),
    ) -> Result<Job, Response> {
        let document = if body.is_empty() { None } else { Some(Element::parse(body)?) };
        let found = find(&request.path, view)?;
        self.check_conditions(now, request, &found, view)?;
        match request.method {
            Method::Get => self.get(request, &found),
            Method::Put => self.put(now, request, found, space),
            Method::Delete => self.delete(now, request, found),
            Method::Mkcol => self.mkcol(now, request, found),
            Method::Copy | Method::Move => self.copy_or_move(now, request, found, view),
            Method::Propfind => propfind(request, found, document.as_ref()),
            Method::Proppatch => self.proppatch(now, request, found, document.as_ref()),
            Method::Lock => self.lock(now, request, found, document.as_ref(), entropy),
            Method::Unlock => self.unlock(now, request),
        }
    }

    /// What was begun is done, well or not.
    pub fn settle(&mut self, now: Instant, effect: Effect, done: bool) {
        match effect {
            Effect::Locked(path, token) if !done => drop(self.locks.release(now, &path, &token)),
            Effect::Removed(path) if done => {
                self.locks.removed(&path);
                self.kept.removed(&path);
            }
            Effect::Copied(from, to) if done => self.kept.copied(&from, &to),
            Effect::Moved(from, to) if done => {
                self.kept.copied(&from, &to);
                self.kept.removed(&from);
                self.locks.removed(&from);
            }
            Effect::Edited(path, edits) if done => self.kept.edit(&path, &edits),
            _ => {}
        }
    }

    fn check_conditions(
        &self,
        now: Instant,
        request: &Request,
        found: &Found,
        view: &impl View,
    ) -> Result<(), Response> {
        let holds = request.named.holds(|on| {
            let path = match on {
                None => &request.path,
                Some(Target::Here(path)) => path,
                Some(Target::Elsewhere) => return State { tokens: Vec::new(), tag: None },
            };
            let entry = find(path, view).ok().and_then(|found| found.entry);
            State { tokens: self.locks.tokens(now, path), tag: entry.as_ref().and_then(tag_of) }
        });
        let tag = found.entry.as_ref().and_then(tag_of);
        let is = |tags: &str| match tags.trim() {
            "*" => found.entry.is_some(),
            tags => tag.as_ref().is_some_and(|tag| download::matches(tags, tag)),
        };
        let matched = request.if_match.as_deref().is_none_or(is);
        // Of a GET, the download knows the better answer.
        let unmatched = request.method == Method::Get || !request.conditions.if_none_match.as_deref().is_some_and(is);
        match holds && matched && unmatched {
            true => Ok(()),
            false => Err(ApiError::new(412, "it is not as the request takes it to be").into()),
        }
    }

    /// Nobody else holds a lock on what the request changes.
    fn allow(&self, now: Instant, path: &FilePath, change: lock::Change, request: &Request) -> Result<(), Response> {
        self.locks.allow(now, path, change, &request.named).map_err(|root| locked(&root))
    }

    fn get(&self, request: &Request, found: &Found) -> Result<Job, Response> {
        let entry = found.shown()?;
        Ok(match entry.kind {
            Kind::File => Job::Send(entry, request.conditions.clone()),
            _ => Job::Answer(answer::directory(request.conditions.head_only)),
        })
    }

    fn put(&self, now: Instant, request: &Request, found: Found, space: (u64, u64)) -> Result<Job, Response> {
        if is_directory(found.entry) {
            return Err(exists("there is a directory of that name"));
        }
        let (entry, spot) = found.place(405)?;
        if request.is_part {
            return Err(ApiError::bad("a part of a file cannot be put: send all of it").into());
        }
        self.allow(now, &request.path, lock::Change { directory: entry.is_none(), deep: false }, request)?;
        let length = request.length.unwrap_or(0);
        if length > FILE_MAX {
            return Err(ApiError::from(OpError::TooLarge).into());
        }
        if space.0 > 0 && length > space.1 {
            return Err(ApiError::from(OpError::NoSpace).into());
        }
        let no_replace = request.conditions.if_none_match.as_deref() == Some("*");
        let upload = Upload::new(spot.directory, &spot.name, entry.is_none(), no_replace);
        Ok(Job::Take(match request.mtime {
            Some(mtime) => upload.with_mtime(mtime),
            None => upload,
        }))
    }

    fn delete(&self, now: Instant, request: &Request, found: Found) -> Result<Job, Response> {
        let (entry, spot) = found.place(403)?;
        entry.ok_or_else(missing)?;
        if !matches!(request.depth, None | Some(Depth::Infinity)) && is_directory(entry) {
            return Err(ApiError::bad("a directory is deleted with all that is in it").into());
        }
        self.allow(now, &request.path, lock::Change { directory: true, deep: true }, request)?;
        let directory = spot.directory;
        let tasks = vec![Task::Remove(spot), Task::Sync(directory)];
        Ok(Job::Change(Change::new(tasks, Response::new(204)), Effect::Removed(request.path.clone())))
    }

    fn mkcol(&self, now: Instant, request: &Request, found: Found) -> Result<Job, Response> {
        if request.has_body {
            return Err(ApiError::new(415, "a directory is made without a body").into());
        }
        if found.entry.is_some() {
            return Err(exists("there is something of that name already"));
        }
        let (_, spot) = found.place(405)?;
        self.allow(now, &request.path, lock::Change { directory: true, deep: false }, request)?;
        let directory = spot.directory;
        let tasks = vec![Task::Mkdir(spot), Task::Sync(directory)];
        Ok(Job::Change(Change::new(tasks, Response::new(201)), Effect::None))
    }

    fn copy_or_move(&self, now: Instant, request: &Request, found: Found, view: &impl View) -> Result<Job, Response> {
        let moves = request.method == Method::Move;
        let to = match &request.destination {
            Some(Target::Here(to)) => to,
            Some(Target::Elsewhere) => return Err(ApiError::new(502, "the destination is not on this box").into()),
            None => return Err(ApiError::bad("the header 'Destination' is missing, or cannot be read").into()),
        };
        let from = &request.path;
        let entry = found.shown()?;
        let deep = match request.depth {
            None | Some(Depth::Infinity) => true,
            Some(Depth::Zero) if !moves => false,
            Some(_) => return Err(ApiError::bad("the header 'Depth' does not fit").into()),
        };
        if to.is_in(from) && (to == from || deep) || from.is_in(to) {
            return Err(ApiError::new(403, "one of the two is in the other, or is it").into());
        }
        let (target, spot) = find(to, view)?.place(403)?;
        if target.is_some() && !request.overwrite {
            return Err(ApiError::new(412, "there is something at the destination already").into());
        }
        let whole = lock::Change { directory: true, deep: true };
        if moves {
            self.allow(now, from, whole, request)?;
        }
        self.allow(now, to, lock::Change { directory: target.is_none(), deep: true }, request)?;
        let (mut tasks, mut directories) = (Vec::new(), vec![spot.directory]);
        if target.is_some() && (is_directory(target) || entry.kind == Kind::Directory) {
            tasks.push(Task::Remove(spot.clone()));
        }
        if moves {
            let (_, here) = found.place(403)?;
            directories.push(here.directory);
            tasks.push(Task::Rename(here, spot));
        } else {
            tasks.push(Task::Copy { from: entry.inode, to: spot, deep });
        }
        directories.dedup();
        tasks.extend(directories.into_iter().map(Task::Sync));
        let answer = Response::new(if target.is_some() { 204 } else { 201 });
        let (from, to) = (from.clone(), to.clone());
        let effect = if moves { Effect::Moved(from, to) } else { Effect::Copied(from, to) };
        Ok(Job::Change(Change::new(tasks, answer), effect))
    }

    fn proppatch(
        &self,
        now: Instant,
        request: &Request,
        found: Found,
        document: Option<&Element>,
    ) -> Result<Job, Response> {
        let entry = found.shown()?;
        let document = document.ok_or_else(|| ApiError::bad("the body is missing"))?;
        let edits = Edits::read(document)?;
        self.allow(now, &request.path, lock::Change { directory: false, deep: false }, request)?;
        let answer = multistatus(edits.write(&request.path, entry.kind == Kind::Directory));
        if edits.is_refused() {
            return Ok(Job::Answer(answer));
        }
        let mode = edits.executable.map(|runs| if runs { entry.mode | 0o111 } else { entry.mode & !0o111 });
        let mut tasks = Vec::new();
        if edits.mtime.is_some() || mode.is_some() {
            tasks.extend([Task::Set(entry.inode, edits.mtime, mode), Task::Sync(entry.inode)]);
        }
        Ok(Job::Change(Change::new(tasks, answer), Effect::Edited(request.path.clone(), edits)))
    }

    fn lock(
        &mut self,
        now: Instant,
        request: &Request,
        found: Found,
        document: Option<&Element>,
        entropy: [u8; 16],
    ) -> Result<Job, Response> {
        let Some(document) = document else { return self.refresh(now, request) };
        let wanted = lock::Wanted::read(document)?;
        let deep = match request.depth {
            None | Some(Depth::Infinity) => true,
            Some(Depth::Zero) => false,
            Some(Depth::One) => return Err(ApiError::bad("a lock's depth is 0 or infinity").into()),
        };
        let creates = match &found.entry {
            Some(_) => None,
            None => {
                self.allow(now, &request.path, lock::Change { directory: true, deep: false }, request)?;
                Some(found.place(405)?.1)
            }
        };
        let (token, time) = (token(entropy), request.time);
        let root = request.path.clone();
        let lock::Wanted { shared, owner } = wanted;
        let lock = Lock { token: token.clone(), root, deep, shared, owner, time, until: now + time };
        self.locks.take(now, lock).map_err(|why| match why {
            Refused::Held(root) => refused(423, "no-conflicting-lock", Some(&root)),
            Refused::Full => ApiError::new(503, "there are too many locks").with_remedy("try again later").into(),
        })?;
        let status = if creates.is_some() { 201 } else { 200 };
        let answer = self.told(now, &request.path, status).with("lock-token", format!("<{token}>"));
        let Some(spot) = creates else { return Ok(Job::Answer(answer)) };
        let directory = spot.directory;
        let tasks = vec![Task::Empty(spot), Task::Sync(directory)];
        Ok(Job::Change(Change::new(tasks, answer), Effect::Locked(request.path.clone(), token)))
    }

    fn refresh(&mut self, now: Instant, request: &Request) -> Result<Job, Response> {
        let token = request.named.token().ok_or_else(|| ApiError::bad("the lock to refresh is not named by 'If'"))?;
        match self.locks.refresh(now, &request.path, token, request.time) {
            Some(_) => Ok(Job::Answer(self.told(now, &request.path, 200))),
            None => Err(refused(412, "lock-token-matches-request-uri", None)),
        }
    }

    fn unlock(&mut self, now: Instant, request: &Request) -> Result<Job, Response> {
        let token = request.token.as_deref().ok_or_else(|| ApiError::bad("the header 'Lock-Token' is missing"))?;
        match self.locks.release(now, &request.path, token) {
            true => Ok(Job::Answer(Response::new(204))),
            false => Err(refused(409, "lock-token-matches-request-uri", None)),
        }
    }

    /// An answer that tells the locks on a resource.
    fn told(&self, now: Instant, path: &FilePath, status: u16) -> Response {
        let mut locks = String::new();
        self.locks.write(now, path, &mut locks);
        locks_told(status, &locks)
    }
}

fn propfind(request: &Request, found: Found, document: Option<&Element>) -> Result<Job, Response> {
    let wanted = property::Wanted::read(document)?;
    let own = found.shown()?;
    let members = match request.depth {
        Some(Depth::Zero) => false,
        Some(Depth::One) => true,
        // A file has nothing below it.
        _ if own.kind != Kind::Directory => false,
        None | Some(Depth::Infinity) => return Err(refused(403, "propfind-finite-depth", None)),
    };
    if request.is_host {
        return Ok(Job::Answer(answer::host(members)));
    }
    Ok(Job::List(multistatus(String::new()), Listing::new(wanted, request.path.clone(), own, members)))
}

impl Found {
    /// What can be read. A symbolic link leads nowhere here.
    fn shown(&self) -> Result<Attr, Response> {
        Ok(self.entry.filter(|entry| entry.kind != Kind::Symlink).ok_or_else(missing)?)
    }

    /// The place of something that is changed or made, and what is there. The root is refused with `status`; what cannot
    /// be done is refused here, before anything in a directory is lost by trying.
    fn place(self, status: u16) -> Result<(Option<Attr>, Spot), Response> {
        if let Some(error) = self.refused {
            return Err(ApiError::from(error).into());
        }
        match (self.entry, self.spot) {
            (entry, Some(spot)) => Ok((entry, spot)),
            (Some(_), None) => Err(ApiError::new(status, "this is the root of the tree").into()),
            (None, None) => Err(ApiError::new(409, "its directory is not there: make that first").into()),
        }
    }
}

fn find(path: &FilePath, view: &impl View) -> Result<Found, ApiError> {
    let resolve = |path: &FilePath| match path.resolve(|i| view.attr(i), |parent, name| view.lookup(parent, name)) {
        Ok(attr) => Ok(Some(attr)),
        Err(OpError::NotFound | OpError::NotDirectory) => Ok(None),
        Err(error) => Err(ApiError::from(error)),
    };
    let Some((above, name)) = path.split() else {
        return Ok(Found { entry: resolve(path)?, spot: None, refused: None });
    };
    let Some(directory) = resolve(&above)?.filter(|above| above.kind == Kind::Directory) else {
        return Ok(Found { entry: None, spot: None, refused: None });
    };
    let entry = match view.lookup(directory.inode, name) {
        Ok(attr) => Some(attr),
        Err(OpError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let spot = Spot { directory: directory.inode, name: name.to_vec() };
    Ok(Found { entry, spot: Some(spot), refused: view.may_change(directory.inode).err() })
}

fn missing() -> ApiError {
    OpError::NotFound.into()
}

fn is_directory(entry: Option<Attr>) -> bool {
    entry.is_some_and(|entry| entry.kind == Kind::Directory)
}

fn tag_of(entry: &Attr) -> Option<String> {
    (entry.kind == Kind::File).then(|| entity_tag(entry))
}

/// A URN that nobody else makes (RFC 9562, version 4).
fn token(mut entropy: [u8; 16]) -> String {
    entropy[6] = entropy[6] & 0x0f | 0x40;
    entropy[8] = entropy[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&entropy);
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Where an address leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Into this tree.
    Here(FilePath),
    /// Elsewhere.
    Elsewhere,
}

/// Reads an absolute address or the path of one; `None` when it is neither.
fn target_of(address: &str, host: &str) -> Option<Target> {
    let after = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
    let path = match after {
        Some(rest) => {
            let (named, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let plain = |host: &str| host.strip_suffix(":80").unwrap_or(host).to_ascii_lowercase();
            if plain(named) != plain(host) {
                return Some(Target::Elsewhere);
            }
            path
        }
        None => Some(address).filter(|address| address.starts_with('/'))?,
    };
    match below(path) {
        Some(inside) => FilePath::parse(inside).ok().map(Target::Here),
        None => Some(Target::Elsewhere),
    }
}

/// What follows the prefix of all paths.
fn below(path: &str) -> Option<&str> {
    path.strip_prefix("/dav").and_then(|rest| if rest.is_empty() { Some("") } else { rest.strip_prefix('/') })
}

/// The path of an entry, with a slash after a directory's.
fn href(path: &FilePath, is_directory: bool) -> String {
    let slash = if is_directory && !path.name().is_empty() { "/" } else { "" };
    format!("/dav/{}{slash}", path.encode())
}

/// True when a request's path is WebDAV's.
pub fn is_target(path: &str) -> bool {
    below(path).is_some()
}

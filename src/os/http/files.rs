//! The page's files: what the machines of `lan` want of the tree, asked of the node; data is read and opened on threads
//! for that, a body's pieces are handed on one at a time, and whoever goes away is waited for no longer.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::page::Pulse;
use crate::base::{Instant, Ticket};
use crate::lan::api::ApiError;
use crate::lan::download::{Conditions, Download};
use crate::lan::listing::{self, LISTED, Told};
use crate::lan::path::FilePath;
use crate::lan::response::Response;
use crate::lan::upload::{self, Upload, Want};
use crate::node::Node;
use crate::node::io::{Attr, Inode, Input, Op, OpError, Reply};
use crate::os::core::Core;
use crate::os::disk::RedbStore;
use crate::wire::record::Kind;

/// The tree, as requests see it.
#[derive(Clone)]
pub(super) struct Tree {
    core: Arc<Core>,
    /// Threads that may read at once.
    readers: Arc<Semaphore>,
}

impl Tree {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// The clock that requests are timed by.
    pub(super) fn now(&self) -> Instant {
        self.core.now().instant
    }

    /// Bytes that the disk has, and has free.
    pub(super) fn space(&self) -> (u64, u64) {
        self.core.slabs().space()
    }

    /// Looks at the tree as it is at one moment.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Node<RedbStore>, Instant) -> R) -> R {
        let now = self.now();
        self.core.read(|node| look(node, now))
    }

    /// Lists a directory, or sends a file. Its first piece is read before its head is answered, so that what cannot be
    /// had is refused in words.
    pub(super) async fn read(
        &self,
        path: &FilePath,
        after: Option<&[u8]>,
        conditions: &Conditions,
        pulse: &Pulse,
    ) -> Result<(Response, Option<Pieces>), ApiError> {
        let found = self.resolve(path)?;
        match found.kind {
            Kind::Directory => Ok((self.list(found.inode, after)?, None)),
            Kind::Symlink => Err(ApiError::new(409, "it is a symbolic link, which leads nowhere here")),
            Kind::File => {
                let (response, download) = Download::new(path.name(), found, conditions);
                let Some(download) = download else { return Ok((response, None)) };
                Ok((response, Some(self.begin(download, pulse).await?)))
            }
        }
    }

    pub(super) async fn begin(&self, mut download: Download, pulse: &Pulse) -> Result<Pieces, OpError> {
        let left = download.left();
        let first = working(self.next(&mut download), pulse).await?;
        let (give, pieces) = mpsc::channel(1);
        tokio::spawn(self.clone().send(download, give, pulse.clone()));
        Ok(Pieces { first: Some(first), pieces, left: Some(left) })
    }

    pub(super) fn resolve(&self, path: &FilePath) -> Result<Attr, OpError> {
        self.core.read(|node| path.resolve(|inode| node.attr(inode), |parent, name| node.lookup(parent, name)))
    }

    /// The directory that something is in or comes to be in, and its name.
    fn directory<'a>(&self, path: &'a FilePath) -> Result<(Inode, &'a [u8]), ApiError> {
        let (above, name) = path.split().ok_or_else(|| ApiError::new(409, "this is the root of the tree"))?;
        let directory = match self.resolve(&above) {
            Err(OpError::NotFound) => Err(ApiError::new(409, "its directory is not there: make that first")),
            found => Ok(found?),
        }?;
        match directory.kind {
            Kind::Directory => Ok((directory.inode, name)),
            _ => Err(OpError::NotDirectory.into()),
        }
    }

    fn list(&self, directory: Inode, after: Option<&[u8]>) -> Result<Response, ApiError> {
        let (entries, more) = self.core.read(|node| {
            let mut listed = node.list(directory, after, LISTED + 1)?;
            let more = listed.len() > LISTED;
            listed.truncate(LISTED);
            let entries = listed.into_iter().filter_map(|entry| {
                let (presence, pinned) = node.presence(entry.inode).unwrap_or_default();
                Some(Told { attr: node.attr(entry.inode).ok()?, name: entry.name, presence, pinned })
            });
            Ok::<_, OpError>((entries.collect::<Vec<_>>(), more))
        })?;
        Ok(listing::render(&entries, more))
    }

    /// Hands a file on piece by piece, until it is all there or nobody takes it any more.
    async fn send(self, mut download: Download, give: Sender<io::Result<Bytes>>, pulse: Pulse) {
        while download.left() > 0 {
            let piece = tokio::select! {
                piece = self.next(&mut download) => piece,
                () = give.closed() => return,
            };
            let piece = piece.map_err(|error| {
                // The head is gone already, so that the connection's end is all that can tell.
                log::warn!("a file on its way to the page broke off: {error}");
                io::Error::other(error)
            });
            let ends = piece.is_err();
            if give.send(piece).await.is_err() || ends {
                return;
            }
            pulse.beat();
        }
    }

    /// The next piece of a file that has one.
    async fn next(&self, download: &mut Download) -> Result<Bytes, OpError> {
        let (offset, length) = download.next().ok_or(OpError::Interrupted)?;
        let piece = self.piece(*download, offset, length).await?;
        if piece.is_empty() {
            return Err(OpError::Interrupted);
        }
        download.took(piece.len());
        Ok(piece)
    }

    /// The bytes from `offset`, fetched first where they are not here.
    async fn piece(&self, download: Download, offset: u64, length: u32) -> Result<Bytes, OpError> {
        for attempt in 0..FETCHES {
            let core = self.core.clone();
            let permit = self.readers.acquire().await;
            let read = spawn_blocking(move || {
                core.read_here(download.inode(), offset, length, |file| download.is_still(file))
            })
            .await;
            drop(permit);
            match read {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(piece))) => return Ok(piece),
                // What cannot be read may be damaged here, and whole with friends.
                Ok(Err(OpError::Io(_))) if attempt == 0 => {
                    self.ask(Op::Doubt { inode: download.inode(), offset, length }).await?;
                    continue;
                }
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(OpError::Io(error.to_string())),
            }
            self.ask(Op::Fetch { inode: download.inode(), offset, length }).await?;
        }
        Err(OpError::TimedOut)
    }

    /// Asks the node; it is told when nobody waits for the answer any more, and the kernel what names have changed.
    pub(super) async fn ask(&self, op: Op) -> Reply {
        let (tell, told) = oneshot::channel();
        let names = names_of(&op);
        let ticket = self.core.op(op, Box::new(move |reply| drop(tell.send(reply))));
        let mut asked = Asked { core: &self.core, ticket: Some(ticket) };
        let reply = told.await.unwrap_or(Err(OpError::Stopping));
        asked.ticket = None;
        if reply.is_ok() {
            names.iter().for_each(|(directory, name)| self.core.forget_entry(*directory, name));
        }
        reply
    }

    /// Takes a file. The answer comes when all of it would survive a power cut; where it does not come to that, nothing
    /// of it stays.
    pub(super) async fn write(
        &self,
        path: &FilePath,
        no_replace: bool,
        length: Option<u64>,
        body: &mut Incoming,
        pulse: &Pulse,
    ) -> Response {
        match self.upload(path, no_replace, length) {
            Ok(upload) => self.take(upload, &mut Source::Body(body), pulse).await,
            Err(error) => error.into(),
        }
    }

    /// Carries an upload out.
    pub(super) async fn take(&self, upload: Upload, source: &mut Source<'_>, pulse: &Pulse) -> Response {
        Writing { tree: self, upload }.run(source, pulse).await
    }

    fn upload(&self, path: &FilePath, no_replace: bool, length: Option<u64>) -> Result<Upload, ApiError> {
        let (directory, name) = self.directory(path)?;
        let known = match self.core.read(|node| node.lookup(directory, name)) {
            Ok(attr) if attr.kind == Kind::Directory => return Err(OpError::IsDirectory.into()),
            Ok(_) if no_replace => return Err(upload::exists()),
            Ok(_) => true,
            Err(OpError::NotFound) => false,
            Err(error) => return Err(error.into()),
        };
        let (size, free) = self.core.slabs().space();
        if size > 0 && length.is_some_and(|length| length > free) {
            return Err(OpError::NoSpace.into());
        }
        Ok(Upload::new(directory, name, !known, no_replace))
    }

    /// Deletes a file, a symlink or an empty directory, durably.
    pub(super) async fn delete(&self, path: &FilePath) -> Result<Response, ApiError> {
        let (parent, label) = self.directory(path)?;
        let found = self.core.read(|node| node.lookup(parent, label))?;
        let name = label.to_vec();
        self.ask(match found.kind {
            Kind::Directory => Op::Rmdir { parent, name },
            Kind::File | Kind::Symlink => Op::Unlink { parent, name },
        })
        .await?;
        self.ask(Op::Fsync { inode: parent }).await?;
        Ok(Response::new(204))
    }

    /// Makes a directory, durably.
    pub(super) async fn mkdir(&self, path: &FilePath) -> Result<Response, ApiError> {
        let (parent, name) = self.directory(path)?;
        self.ask(Op::Mkdir { parent, name: name.to_vec(), mode: 0o755 }).await?;
        self.ask(Op::Fsync { inode: parent }).await?;
        Ok(Response::new(201))
    }
}

/// The names that an operation changes.
fn names_of(op: &Op) -> Vec<(Inode, Vec<u8>)> {
    match op {
        Op::Link { parent, name, .. }
        | Op::Mkdir { parent, name, .. }
        | Op::Symlink { parent, name, .. }
        | Op::Unlink { parent, name }
        | Op::Rmdir { parent, name } => vec![(*parent, name.clone())],
        Op::Rename { parent, name, new_parent, new_name, .. } => {
            vec![(*parent, name.clone()), (*new_parent, new_name.clone())]
        }
        _ => Vec::new(),
    }
}

/// While the node is at work, it is not the client that keeps the connection.
pub(super) async fn working<T>(asked: impl Future<Output = T>, pulse: &Pulse) -> T {
    let mut asked = pin!(asked);
    loop {
        pulse.beat();
        tokio::select! {
            answer = &mut asked => return answer,
            () = sleep(BEAT) => {}
        }
    }
}

/// An operation that is waited for.
struct Asked<'a> {
    core: &'a Core,
    ticket: Option<Ticket>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.core.input(Input::Cancel { ticket });
        }
    }
}

/// An upload that is carried out; when it is dropped unfinished, nothing of it stays.
struct Writing<'a> {
    tree: &'a Tree,
    upload: Upload,
}

impl Writing<'_> {
    async fn run(&mut self, source: &mut Source<'_>, pulse: &Pulse) -> Response {
        loop {
            match self.upload.want() {
                Want::Done(response) => return response,
                Want::Ask(op) => {
                    let reply = working(self.tree.ask(op), pulse).await;
                    self.upload.answered(reply);
                }
                Want::Body => match source.next(self.tree, pulse).await {
                    Ok(None) => self.upload.end(),
                    Ok(Some(piece)) => self.upload.piece(&piece),
                    Err(error) => self.upload.broken(error),
                },
            }
        }
    }
}

/// Where what is uploaded comes from.
pub(super) enum Source<'a> {
    /// The body of a request.
    Body(&'a mut Incoming),
    /// A file that is copied; an empty one has nothing to be read.
    File(Option<Download>),
}

impl Source<'_> {
    async fn next(&mut self, tree: &Tree, pulse: &Pulse) -> Result<Option<Bytes>, ApiError> {
        match self {
            Source::Body(body) => loop {
                match timeout(FRAME_TIME, body.frame()).await {
                    Ok(None) => return Ok(None),
                    // Trailers are nobody's.
                    Ok(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                    Ok(Some(Err(why))) => return Err(ApiError::bad(format!("the body broke off: {why}"))),
                    Err(_) => return Err(ApiError::new(408, "the body did not come in time")),
                }
            },
            Source::File(Some(download)) if download.left() > 0 => Ok(Some(working(tree.next(download), pulse).await?)),
            Source::File(_) => Ok(None),
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.upload.handle() {
            self.tree.core.op(Op::Release { handle }, Box::new(drop));
        }
    }
}

/// A body that is sent: one piece waits to be taken while the next is made.
pub(super) struct Pieces {
    pub(super) first: Option<Bytes>,
    pub(super) pieces: Receiver<io::Result<Bytes>>,
    /// Bytes that are left, where that is known.
    pub(super) left: Option<u64>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => std::task::ready!(self.pieces.poll_recv(cx)),
        };
        Poll::Ready(piece.map(|piece| {
            piece.map(|piece| {
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                Frame::data(piece)
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

const READERS: usize = 4;
/// Time without a byte of a body that is being taken.
const FRAME_TIME: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_secs(30);
/// Fetches for one piece: more than one when what came is gone again.
const FETCHES: usize = 16;

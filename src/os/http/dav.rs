//! WebDAV over the page's listener: what its machine wants of the tree, asked of the node; and the file that holds what is
//! kept of the password.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::body::Incoming;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::files::{Pieces, Source, Tree, working};
use super::page::{Pulse, lock, whole};
use crate::base::limits::XML_MAX;
use crate::lan::api::ApiError;
use crate::lan::dav::{Dav, Head, Job, Listing, Request, Want};
use crate::lan::download::{Download, entity_tag};
use crate::lan::page::{self, Change};
use crate::lan::password::Password;
use crate::lan::response::Response;
use crate::node::io::OpError;
use crate::os::state::{private_file, sync_parent};
use crate::seal::StateKey;
use crate::wire::record::Kind;

/// WebDAV's part of the page's listener.
pub struct DavSite {
    dav: Mutex<Dav>,
    /// The file of the password, or of what is kept of it, sealed.
    file: PathBuf,
    /// Seals it; `None` while the box is locked, and WebDAV closed.
    key: Option<StateKey>,
    /// One change of the file at a time.
    writing: tokio::sync::Mutex<()>,
    /// Whether there is a password.
    is_open: watch::Sender<bool>,
}

/// As which the state key seals the file.
const LABEL: &str = "the password for WebDAV";

impl DavSite {
    /// Reads what is kept in the state directory.
    pub fn open(state: &Path, state_key: Option<StateKey>) -> Self {
        let file = state.join("password");
        let password = match fs::read(&file) {
            _ if state_key.is_none() => None,
            Ok(kept) => {
                let opened = state_key.as_ref().and_then(|key| key.open(LABEL, &kept).ok());
                let password = opened.and_then(|opened| Password::from_file(&opened));
                if password.is_none() {
                    log::error!("{} is damaged: set the password anew on the page", file.display());
                }
                password
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => None,
            Err(why) => {
                log::error!("{} cannot be read: {why}", file.display());
                None
            }
        };
        let mut key = [0; 32];
        // Without randomness there are no nonces, and nobody gets in.
        let password = password.filter(|_| getrandom::fill(&mut key).is_ok());
        let is_open = watch::Sender::new(password.is_some());
        let (dav, writing) = (Mutex::new(Dav::new(password, key)), tokio::sync::Mutex::default());
        Self { dav, file, key: state_key, writing, is_open }
    }

    /// Whether there is a password, without which nobody gets in; follows every change.
    pub fn is_open(&self) -> watch::Receiver<bool> {
        self.is_open.subscribe()
    }

    fn show(&self) {
        let now = lock(&self.dav).has_password();
        self.is_open.send_if_modified(|told| std::mem::replace(told, now) != now);
    }

    /// Somebody held the button, so often by now: the password is forgotten, at once.
    pub(super) fn forget(&self, times: u32) {
        lock(&self.dav).forget(times);
        self.show();
    }

    /// The file is as the machine has it.
    pub(super) async fn forgotten(&self) {
        let _one = self.writing.lock().await;
        if !lock(&self.dav).has_password()
            && let Err(why) = self.keep(None).await
        {
            log::error!("{} cannot be removed: {why}", self.file.display());
        }
    }

    /// Sets the password, takes it away, or tells whether there is one.
    pub(super) async fn password(&self, change: Change, body: &mut Incoming) -> Result<Response, ApiError> {
        match change {
            Change::None => {}
            Change::Set => {
                let text = page::password(&whole(body, page::PASSWORD_BODY_MAX).await?)?;
                self.change(Some(&text)).await?;
            }
            Change::Remove => self.change(None).await?,
        }
        Ok(page::password_told(lock(&self.dav).has_password()))
    }

    /// Sets the password, or takes it away.
    ///
    /// # Errors
    /// 400 for one that is refused, 423 while the box is locked, 500 when it cannot be kept.
    pub async fn change(&self, text: Option<&str>) -> Result<(), ApiError> {
        let failed = |why: io::Error| ApiError::new(500, format!("the password cannot be kept: {why}"));
        let _one = self.writing.lock().await;
        match text {
            Some(text) => {
                let key = self.key.as_ref().ok_or(OpError::Locked)?;
                let password = Password::new(text, entropy()?)?;
                let sealed = key.seal(LABEL, entropy()?, &password.to_file());
                self.keep(Some(sealed)).await.map_err(failed)?;
                lock(&self.dav).set_password(Some(password));
            }
            None => {
                lock(&self.dav).set_password(None);
                self.show();
                self.keep(None).await.map_err(failed)?;
            }
        }
        self.show();
        Ok(())
    }

    /// Makes the file hold this, or be gone, durably.
    async fn keep(&self, kept: Option<Vec<u8>>) -> io::Result<()> {
        let file = self.file.clone();
        let write = move || match kept {
            Some(kept) => {
                let beside = file.with_extension("new");
                let mut new = private_file().create(true).open(&beside)?;
                new.set_len(0)?;
                new.write_all(&kept)?;
                new.sync_all()?;
                fs::rename(&beside, &file)?;
                sync_parent(&file)
            }
            None => match fs::remove_file(&file) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
                _ => sync_parent(&file),
            },
        };
        spawn_blocking(write).await.map_err(io::Error::other)?
    }

    /// Answers one request.
    pub(super) async fn answer(
        self: &Arc<Self>,
        tree: &Tree,
        head: Result<Request, Response>,
        body: &mut Incoming,
        pulse: &Pulse,
    ) -> Result<(Response, Option<Pieces>), Response> {
        let request = head?;
        let xml = if request.has_xml() { whole(body, XML_MAX).await? } else { Bytes::new() };
        let entropy = entropy()?;
        let space = tree.space();
        let job = tree.look(|node, now| lock(&self.dav).begin(now, &request, &xml, entropy, node, space));
        match job {
            Job::Answer(response) => Ok((response, None)),
            Job::Send(file, conditions) => {
                let (response, download) = Download::new(request.path.name(), file, &conditions);
                let Some(download) = download else { return Ok((response, None)) };
                Ok((response, Some(tree.begin(download, pulse).await.map_err(ApiError::from)?)))
            }
            Job::Take(upload) => {
                let response = tree.take(upload, &mut Source::Body(body), pulse).await;
                Ok((tagged(tree, &request, response), None))
            }
            Job::List(response, listing) => self.list(tree, response, listing, pulse).await,
            Job::Change(mut change, effect) => {
                let response = loop {
                    match tree.look(|node, _| change.want(node)) {
                        Want::Ask(op) => change.answered(working(tree.ask(op), pulse).await),
                        Want::Copy(file, upload) => {
                            let mut source = Source::File(Download::whole(file));
                            change.copied(tree.take(upload, &mut source, pulse).await);
                        }
                        Want::Done(response) => break response,
                    }
                };
                tree.look(|_, now| lock(&self.dav).settle(now, effect, response.status < 300));
                Ok((response, None))
            }
        }
    }

    /// Takes a request's head.
    pub(super) fn head(&self, tree: &Tree, head: &Head<'_>) -> Result<Request, Response> {
        lock(&self.dav).head(tree.now(), head)
    }

    /// What fits one piece is answered with its length, the rest as it is made.
    async fn list(
        self: &Arc<Self>,
        tree: &Tree,
        mut response: Response,
        mut listing: Listing,
        pulse: &Pulse,
    ) -> Result<(Response, Option<Pieces>), Response> {
        let mut begun = String::new();
        while let Some(piece) = self.piece(tree, &mut listing).map_err(ApiError::from)? {
            begun.push_str(&piece);
            if begun.len() >= PIECE {
                let (give, pieces) = mpsc::channel(1);
                tokio::spawn(self.clone().tell(tree.clone(), listing, give, pulse.clone()));
                return Ok((response, Some(Pieces { first: Some(begun.into()), pieces, left: None })));
            }
        }
        response.body = begun.into();
        Ok((response, None))
    }

    fn piece(&self, tree: &Tree, listing: &mut Listing) -> Result<Option<String>, OpError> {
        let space = tree.space();
        tree.look(|node, now| listing.next(now, &lock(&self.dav), node, space))
    }

    async fn tell(self: Arc<Self>, tree: Tree, mut listing: Listing, give: Sender<io::Result<Bytes>>, pulse: Pulse) {
        while let Some(piece) = self.piece(&tree, &mut listing).transpose() {
            let ends = piece.is_err();
            if give.send(piece.map(Bytes::from).map_err(io::Error::other)).await.is_err() || ends {
                return;
            }
            pulse.beat();
        }
    }
}

/// An upload's answer tells the version that it made, unless another is there already.
fn tagged(tree: &Tree, request: &Request, response: Response) -> Response {
    match tree.resolve(&request.path) {
        Ok(file) if response.status < 300 && file.kind == Kind::File => response.with("etag", entity_tag(&file)),
        _ => response,
    }
}

fn entropy<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut entropy = [0; N];
    getrandom::fill(&mut entropy)
        .map_err(|error| ApiError::new(500, format!("the system gives no randomness: {error}")))?;
    Ok(entropy)
}

/// Bytes of a listing that are sent together.
const PIECE: usize = 65_536;

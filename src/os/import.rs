//! Brings a directory of the machine's into the tree: one thread walks it and makes directories, several read files and
//! write them where nobody sees them until they are whole.
//!
//! What is in the tree with the same size and time is left alone, and so is what has the same bytes, so that an import that
//! was broken off goes on where it was when it is given again. It ends by itself when nobody asks for its progress any more.

mod source;

use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant as SystemInstant};

use crate::base::WallTime;
use crate::base::limits::CHUNK_PLAIN;
use crate::lan::api::{ApiError, Outcome};
use crate::lan::import::{FAILURES_TOLD, Failure, ImportStatus};
use crate::node::io::{Answer, Attr, Handle, Inode, Op, OpError, Reply};
use crate::os::core::Core;
use crate::wire::record::{Kind, Xattrs};

use source::{mode_of, mtime_of, words};

/// The node's imports, one at a time.
#[derive(Clone)]
pub struct Imports {
    ours: Arc<[PathBuf]>,
    last: Arc<Mutex<Option<Arc<Job>>>>,
}

/// One import.
struct Job {
    core: Arc<Core>,
    status: Mutex<ImportStatus>,
    begun: SystemInstant,
    /// When somebody last asked for its progress; `None` where nobody needs to.
    asked: Mutex<Option<SystemInstant>>,
    /// Files that are written and have no name yet.
    naming: Mutex<usize>,
    named: Condvar,
    /// The directory of the tree that everything comes into.
    target: OnceLock<Inode>,
    /// What nothing is brought in from.
    ours: Vec<PathBuf>,
}

/// What a directory is to have when everything is in it.
struct Dated {
    inode: Inode,
    mode: u32,
    mtime: WallTime,
}

/// A file to be brought in.
struct Task {
    path: PathBuf,
    parent: Inode,
    name: Vec<u8>,
}

/// A file that was written, and waits for its name.
struct Written {
    handle: Handle,
    bytes: u64,
}

/// Why something was not brought in.
enum Trouble {
    /// It alone: why.
    This(String),
    /// Nothing else would fare better: why.
    All(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Imports {
    /// None yet. `ours` is what nothing is brought in from: where this node's tree is mounted, and its state.
    pub fn new<'a>(ours: impl Iterator<Item = &'a PathBuf>) -> Self {
        Self { ours: ours.cloned().collect(), last: Arc::default() }
    }

    /// Begins to bring what is in the directory `from` to `into` in the tree; without one, to a directory of this name or
    /// of the same name in the owner's own circle. It goes on only while somebody asks, or unattended.
    ///
    /// # Errors
    /// 400 or 404 for a directory that cannot be read, 409 while an import runs, and what the tree answers.
    pub fn start(
        &self,
        core: &Arc<Core>,
        from: &str,
        into: Option<String>,
        name: Option<String>,
        unattended: bool,
    ) -> Result<(), ApiError> {
        let from = Path::new(from);
        let unreadable =
            |why: &io::Error| ApiError::new(404, format!("the node cannot read {}: {}", from.display(), words(why)));
        let from = &from.canonicalize().map_err(|why| unreadable(&why))?;
        let ours: Vec<_> = self.ours.iter().filter_map(|ours| ours.canonicalize().ok()).collect();
        if ours.iter().any(|ours| from.starts_with(ours)) {
            return Err(ApiError::bad("it is the node's own: copy within the tree instead"));
        }
        let mut entries = fs::read_dir(from).map_err(|why| unreadable(&why))?.peekable();
        if let Some(Err(why)) = entries.peek() {
            return Err(unreadable(why));
        }
        let mut last = lock(&self.last);
        if last.as_ref().is_some_and(|job| !lock(&job.status).ended) {
            return Err(ApiError::new(409, "an import runs already").with_remedy("wait until it has ended"));
        }
        let into = match into {
            Some(into) => into.trim_matches('/').to_owned(),
            None => in_own_circle(core, from, name)?,
        };
        let now = SystemInstant::now();
        let status = ImportStatus { into: into.clone(), ..ImportStatus::default() };
        let job = Arc::new(Job {
            core: core.clone(),
            status: Mutex::new(status),
            begun: now,
            asked: Mutex::new((!unattended).then_some(now)),
            naming: Mutex::default(),
            named: Condvar::default(),
            target: OnceLock::new(),
            ours,
        });
        let target = job.target(&into)?;
        let _ = job.target.set(target);
        *last = Some(job.clone());
        let (counting, from) = (job.clone(), from.to_owned());
        let started = spawn(move || job.run(&from, target, &counting));
        started.map_err(|why| ApiError::new(500, format!("no thread can be started: {why}")))?;
        Ok(())
    }

    /// How the import gets on, or how the last one went.
    ///
    /// # Errors
    /// 404 when there was none since the node's start.
    pub fn progress(&self) -> Result<Outcome, ApiError> {
        let job = lock(&self.last).clone().ok_or_else(|| ApiError::new(404, "there is no import"))?;
        if let Some(asked) = &mut *lock(&job.asked) {
            *asked = SystemInstant::now();
        }
        let mut status = lock(&job.status).clone();
        if !status.ended {
            status.time_ms = job.time_ms();
            status.failures.clear();
        }
        Ok(Outcome::Import(Box::new(status)))
    }
}

/// The directory of that name in the owner's own circle.
fn in_own_circle(core: &Core, from: &Path, name: Option<String>) -> Result<String, ApiError> {
    let of_path = || fs::canonicalize(from).ok().and_then(|path| path.file_name()?.to_str().map(str::to_owned));
    let name = name.or_else(of_path);
    let name = name.ok_or_else(|| ApiError::bad("its name cannot be used: say where it is to go, as Home/NAME"))?;
    match core.read(|node| node.home_name()) {
        Some(home) if home.is_empty() => Ok(name),
        Some(home) => Ok(format!("{home}/{name}")),
        None => Err(ApiError::new(409, "a cache has no tree")),
    }
}

impl Job {
    /// Walks, and ends when everything is durable.
    fn run(self: Arc<Self>, from: &Path, target: Inode, counting: &Arc<Self>) {
        let (counter, root) = (counting.clone(), from.to_owned());
        let counting = spawn(move || counter.count(&root));
        let (give, tasks) = mpsc::sync_channel(QUEUED);
        let tasks = Arc::new(Mutex::new(tasks));
        let workers: Vec<_> = (0..WORKERS)
            .filter_map(|_| {
                let (job, tasks) = (self.clone(), tasks.clone());
                spawn(move || job.work(&tasks)).ok()
            })
            .collect();
        let mut dated = Vec::new();
        if workers.is_empty() {
            self.give_up("no thread can be started".into());
        } else {
            self.walk(from, target, &give, &mut dated);
        }
        drop(give);
        workers.into_iter().for_each(|worker| drop(worker.join()));
        self.wait_for_names(0);
        // What is put into a directory would change its time.
        for Dated { inode, mode, mtime } in dated.into_iter().rev() {
            if !self.is_over() {
                let _ = self.set(inode, Some(mode), Some(mtime));
            }
        }
        if let Err(error) = self.ask(Op::Fsync { inode: target }) {
            self.give_up(error.to_string());
        }
        let _ = counting.map(thread::JoinHandle::join);
        let time_ms = self.time_ms();
        let mut status = lock(&self.status);
        (status.ended, status.time_ms) = (true, time_ms);
        log::info!("imported {} files to {}, {} failed", status.files, status.into, status.failed);
    }

    /// Counts what there is to do, ahead of those who do it.
    fn count(&self, from: &Path) {
        let mut left = vec![from.to_owned()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if self.is_over() {
                    return;
                }
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() && self.ours.contains(&entry.path()) {
                    continue;
                }
                let mut status = lock(&self.status);
                status.total += 1;
                status.total_bytes += if metadata.is_file() { metadata.len() } else { 0 };
                drop(status);
                if metadata.is_dir() {
                    left.push(entry.path());
                }
            }
        }
        lock(&self.status).counted = true;
    }

    /// The directory that a path in the tree names; it and those above it are made where they are missing.
    fn target(&self, into: &str) -> Result<Inode, ApiError> {
        let mut at = Inode::ROOT;
        for name in into.split('/').filter(|name| !name.is_empty()) {
            at = match self.directory(at, name.as_bytes(), 0o755) {
                Ok((inode, _)) => inode,
                Err(Trouble::This(why) | Trouble::All(why)) => {
                    return Err(ApiError::new(409, format!("nothing can be put into {into}: {why}")));
                }
            };
        }
        match self.core.read(|node| node.may_change(at)) {
            Ok(()) => Ok(at),
            Err(_) if at == Inode::ROOT => {
                Err(ApiError::bad("the root of the tree holds the circles: name one, as Home/photos"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A directory of the tree, made where it is missing; and whether it was.
    fn directory(&self, parent: Inode, name: &[u8], mode: u32) -> Result<(Inode, bool), Trouble> {
        match self.core.read(|node| node.lookup(parent, name)) {
            Ok(Attr { kind: Kind::Directory, inode, .. }) => Ok((inode, false)),
            Ok(_) => Err(Trouble::This("the tree has something else of that name".into())),
            Err(OpError::NotFound) => {
                match self.ask(Op::Mkdir { parent, name: name.to_vec(), mode }).map_err(trouble)? {
                    Answer::Entry(attr) => {
                        self.core.forget_entry(parent, name);
                        Ok((attr.inode, true))
                    }
                    _ => Err(strange()),
                }
            }
            Err(error) => Err(trouble(error)),
        }
    }

    /// Goes through all directories, and hands their files on.
    fn walk(&self, from: &Path, target: Inode, give: &SyncSender<Task>, dated: &mut Vec<Dated>) {
        let mut left = vec![(from.to_owned(), target)];
        while let Some((directory, parent)) = left.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(why) => {
                    self.fail(&directory, words(&why));
                    continue;
                }
            };
            for entry in entries {
                if self.is_over() {
                    return;
                }
                match entry {
                    Ok(entry) => self.enter(&entry, parent, give, &mut left, dated),
                    Err(why) => {
                        self.fail(&directory, words(&why));
                        break;
                    }
                }
            }
        }
    }

    fn enter(
        &self,
        entry: &DirEntry,
        parent: Inode,
        give: &SyncSender<Task>,
        left: &mut Vec<(PathBuf, Inode)>,
        dated: &mut Vec<Dated>,
    ) {
        let (path, name) = (entry.path(), entry.file_name().into_vec());
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(why) => return self.done(&path, Err(Trouble::This(words(&why)))),
        };
        let kind = metadata.file_type();
        if kind.is_file() {
            // It fails only when every worker has ended, which they do when the import is given up.
            let _ = give.send(Task { path, parent, name });
            return;
        }
        let brought = if kind.is_dir() {
            self.enter_directory(&path, parent, &name, &metadata).map(|(dates, made)| {
                left.push((path.clone(), dates.inode));
                dated.push(dates);
                made
            })
        } else if kind.is_symlink() {
            self.symlink(&path, parent, &name, &metadata)
        } else {
            let what = source::kind(&metadata);
            Err(Trouble::This(format!("it is {what}, of which a tree of files can hold nothing")))
        };
        let count = |status: &mut ImportStatus, made| if made { status.others += 1 } else { status.there += 1 };
        self.done(&path, brought.map(|made| count(&mut lock(&self.status), made)));
    }

    fn enter_directory(
        &self,
        path: &Path,
        parent: Inode,
        name: &[u8],
        metadata: &Metadata,
    ) -> Result<(Dated, bool), Trouble> {
        if self.ours.iter().any(|ours| ours == path) {
            return Err(Trouble::This("it is the node's own".into()));
        }
        let (inode, made) = self.directory(parent, name, mode_of(metadata))?;
        if let Ok(directory) = source::open(path) {
            self.set_xattrs(inode, &source::xattrs(&directory).map_err(Trouble::This)?)?;
        }
        Ok((Dated { inode, mode: mode_of(metadata), mtime: mtime_of(metadata) }, made))
    }

    fn symlink(&self, path: &Path, parent: Inode, name: &[u8], metadata: &Metadata) -> Result<bool, Trouble> {
        let target = fs::read_link(path).map_err(|why| Trouble::This(words(&why)))?;
        let target = target.as_os_str().as_bytes();
        match self.core.read(|node| node.lookup(parent, name)) {
            Ok(Attr { kind: Kind::Symlink, inode, .. })
                if self.core.read(|node| node.readlink(inode)).is_ok_and(|there| there == target) =>
            {
                return Ok(false);
            }
            Ok(_) => return Err(Trouble::This("the tree has something else of that name".into())),
            Err(OpError::NotFound) => {}
            Err(error) => return Err(trouble(error)),
        }
        let made = self.ask(Op::Symlink { parent, name: name.to_vec(), target: target.to_vec() }).map_err(trouble)?;
        let Answer::Entry(attr) = made else { return Err(strange()) };
        self.core.forget_entry(parent, name);
        self.set(attr.inode, None, Some(mtime_of(metadata)))?;
        Ok(true)
    }

    /// Brings files in until there are no more.
    fn work(self: &Arc<Self>, tasks: &Mutex<Receiver<Task>>) {
        loop {
            let Ok(task) = lock(tasks).recv() else { return };
            // What is left is taken all the same, so that the walk does not wait for room.
            if self.is_over() {
                continue;
            }
            match self.file(&task) {
                Ok(Some(written)) => self.name(task, written),
                Ok(None) => self.done(&task.path, Ok(())),
                Err(why) => self.done(&task.path, Err(why)),
            }
        }
    }

    /// Writes a file that has no name yet; `None` when there is nothing to do.
    fn file(&self, task: &Task) -> Result<Option<Written>, Trouble> {
        let here = |why: io::Error| Trouble::This(words(&why));
        let mut file = source::open(&task.path).map_err(here)?;
        let before = file.metadata().map_err(here)?;
        if !before.is_file() {
            return Err(Trouble::This("it is no file any more".into()));
        }
        match self.core.read(|node| node.lookup(task.parent, &task.name)) {
            Ok(there) if there.kind != Kind::File => {
                return Err(Trouble::This("the tree has something else of that name".into()));
            }
            Ok(there) if there.size == before.len() && self.is_same(&file, &before, &there) => {
                self.set_xattrs(there.inode, &source::xattrs(&file).map_err(Trouble::This)?)?;
                let mode = Some(mode_of(&before)).filter(|mode| *mode != there.mode & 0o7777);
                let mtime = Some(mtime_of(&before)).filter(|mtime| *mtime > there.mtime);
                if mode.is_some() || mtime.is_some() {
                    self.set(there.inode, mode, mtime)?;
                }
                let mut status = lock(&self.status);
                status.there += 1;
                status.done_bytes += before.len();
                return Ok(None);
            }
            Ok(there) if there.mtime > mtime_of(&before) => {
                let mut status = lock(&self.status);
                status.newer += 1;
                status.done_bytes += before.len();
                return Ok(None);
            }
            Ok(_) | Err(OpError::NotFound) => {}
            Err(error) => return Err(trouble(error)),
        }
        let opened = self.ask(Op::Unnamed { directory: task.parent, mode: mode_of(&before) }).map_err(trouble)?;
        let Answer::Created(attr, handle) = opened else { return Err(strange()) };
        let mut written = Written { handle, bytes: 0 };
        match self.fill(&mut file, &before, attr.inode, &mut written) {
            Ok(()) => Ok(Some(written)),
            Err(why) => {
                let _ = self.ask(Op::Release { handle });
                let mut status = lock(&self.status);
                status.done_bytes = status.done_bytes.saturating_add(before.len());
                self.taken_back(&mut status, &written);
                Err(why)
            }
        }
    }

    /// What was taken of a file is not there after all.
    fn taken_back(&self, status: &mut ImportStatus, written: &Written) {
        status.bytes = status.bytes.saturating_sub(written.bytes);
        status.done_bytes = status.done_bytes.saturating_sub(written.bytes);
    }

    /// Gives a file its name. That is answered when it would survive a power cut, which many wait for together: the worker
    /// goes on meanwhile.
    fn name(self: &Arc<Self>, task: Task, written: Written) {
        self.wait_for_names(NAMING - 1);
        *lock(&self.naming) += 1;
        let Task { path, parent, name } = task;
        let op = Op::Link { handle: written.handle, parent, name: name.clone(), no_replace: false };
        let job = self.clone();
        self.core.op(
            op,
            Box::new(move |reply| {
                job.core.op(Op::Release { handle: written.handle }, Box::new(drop));
                match reply {
                    Ok(_) => {
                        job.core.forget_entry(parent, &name);
                        lock(&job.status).files += 1;
                        job.done(&path, Ok(()));
                    }
                    Err(error) => {
                        let mut status = lock(&job.status);
                        status.done_bytes = status.done_bytes.saturating_add(written.bytes);
                        job.taken_back(&mut status, &written);
                        drop(status);
                        job.done(&path, Err(trouble(error)));
                    }
                }
                *lock(&job.naming) -= 1;
                job.named.notify_all();
            }),
        );
    }

    /// Waits until no more than so many files wait for their name; what is ready is made durable meanwhile.
    fn wait_for_names(&self, most: usize) {
        while *lock(&self.naming) > most {
            if let Some(target) = self.target.get() {
                let _ = self.ask(Op::Fsync { inode: *target });
            }
            let waits = |naming: &mut usize| *naming > most;
            let waited = self.named.wait_timeout_while(lock(&self.naming), NAMING_PAUSE, waits);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Writes the file's bytes and its time.
    fn fill(&self, file: &mut File, before: &Metadata, inode: Inode, written: &mut Written) -> Result<(), Trouble> {
        let here = |why: io::Error| Trouble::This(words(&why));
        // Whether there is more than it had is seen below.
        while written.bytes < before.len() {
            let length = (before.len() - written.bytes).min(WRITE);
            let mut data = Vec::with_capacity(length as usize);
            let length = file.take(length).read_to_end(&mut data).map_err(here)?;
            if length == 0 {
                break;
            }
            if self.is_over() {
                return Err(Trouble::This("the import was given up".into()));
            }
            let data = data.into();
            let (handle, offset) = (written.handle, Some(written.bytes));
            self.ask(Op::Write { handle, offset, data }).map_err(trouble)?;
            written.bytes += length as u64;
            let mut status = lock(&self.status);
            status.bytes += length as u64;
            status.done_bytes += length as u64;
        }
        // Some file systems tell no size of what they make up as it is read.
        if file.read(&mut [0]).map_err(here)? != 0 {
            return Err(Trouble::This("it has more bytes than its size tells".into()));
        }
        let after = file.metadata().map_err(here)?;
        if written.bytes != before.len() || (after.len(), mtime_of(&after)) != (before.len(), mtime_of(before)) {
            return Err(Trouble::This("it changed while it was read: import it again".into()));
        }
        self.set_xattrs(inode, &source::xattrs(file).map_err(Trouble::This)?)?;
        let mtime = Some(mtime_of(before));
        self.ask(Op::SetAttr { inode, size: None, mode: None, mtime }).map(drop).map_err(trouble)
    }

    /// True when the tree has this file: by its time, and where that differs by its bytes.
    fn is_same(&self, file: &File, before: &Metadata, there: &Attr) -> bool {
        if there.mtime == mtime_of(before) {
            return true;
        }
        let mut theirs = vec![0; COMPARED];
        let mut at = 0;
        while at < before.len() && !self.is_over() {
            let length = (before.len() - at).min(COMPARED as u64) as usize;
            let theirs = &mut theirs[..length];
            let ours = self.core.read_here(there.inode, at, length as u32, |now| now == there);
            match (ours, file.read_exact_at(theirs, at)) {
                (Ok(Some(ours)), Ok(())) if ours == theirs[..] => at += length as u64,
                _ => return false,
            }
        }
        at == before.len()
    }

    /// Sets the extended attributes that the tree's file has not, or has otherwise.
    fn set_xattrs(&self, inode: Inode, xattrs: &Xattrs) -> Result<(), Trouble> {
        if xattrs.is_empty() {
            return Ok(());
        }
        let there = self.core.read(|node| node.xattrs(inode)).map_err(trouble)?;
        for (name, value) in xattrs.names().filter_map(|name| Some((name, xattrs.value(name)?))) {
            if there.value(name) != Some(value) {
                let (name, value) = (name.to_vec(), Some(value.clone()));
                self.ask(Op::SetXattr { inode, name, value, expect: None }).map_err(trouble)?;
            }
        }
        Ok(())
    }

    /// Sets modes and time of what the tree has, which the kernel may know already.
    fn set(&self, inode: Inode, mode: Option<u32>, mtime: Option<WallTime>) -> Result<(), Trouble> {
        self.ask(Op::SetAttr { inode, size: None, mode, mtime }).map_err(trouble)?;
        self.core.forget_attributes(inode);
        Ok(())
    }

    /// Asks the node, and waits on this thread; a node that has too much to do is asked again.
    fn ask(&self, op: Op) -> Reply {
        loop {
            let (tell, told) = mpsc::channel();
            self.core.op(op.clone(), Box::new(move |reply| drop(tell.send(reply))));
            match told.recv().unwrap_or(Err(OpError::Stopping)) {
                Err(OpError::Busy) if !self.is_over() => thread::park_timeout(BUSY_PAUSE),
                reply => return reply,
            }
        }
    }

    /// One more is done with.
    fn done(&self, path: &Path, brought: Result<(), Trouble>) {
        lock(&self.status).done += 1;
        match brought {
            Ok(()) => {}
            Err(Trouble::This(why)) => self.fail(path, why),
            Err(Trouble::All(why)) => self.give_up(why),
        }
    }

    fn fail(&self, path: &Path, why: String) {
        let mut status = lock(&self.status);
        status.failed += 1;
        if status.failures.len() < FAILURES_TOLD {
            status.failures.push(Failure { path: path.to_string_lossy().into_owned(), why });
        }
    }

    fn give_up(&self, why: String) {
        lock(&self.status).stopped.get_or_insert(why);
    }

    /// True when nothing more is to be done.
    fn is_over(&self) -> bool {
        if lock(&self.asked).is_some_and(|asked| asked.elapsed() > PATIENCE) {
            self.give_up("nobody waits for it any more".into());
        }
        lock(&self.status).stopped.is_some()
    }

    fn time_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("import".into()).stack_size(STACK_BYTES).spawn(work)
}

/// The rest would fail by the same.
fn trouble(error: OpError) -> Trouble {
    match error {
        OpError::NoSpace | OpError::ReadOnly | OpError::Stopping | OpError::NotPermitted(_) => {
            Trouble::All(error.to_string())
        }
        OpError::NotFound => Trouble::This("its directory is not in the tree any more".into()),
        error => Trouble::This(error.to_string()),
    }
}

fn strange() -> Trouble {
    Trouble::This("the node gave another answer than was asked for".into())
}

/// Files that are read at once.
const WORKERS: usize = 4;
/// Files that wait for their name at once, and share one wait for the disk.
const NAMING: usize = 1_024;
/// Bytes of a file that are compared at once.
const COMPARED: usize = 4 * CHUNK_PLAIN;
/// Files that wait for a worker.
const QUEUED: usize = 256;
/// Bytes that are read and written at once.
const WRITE: u64 = 4 * CHUNK_PLAIN as u64;
/// How long files that are hashed yet are waited for, before what is ready is made durable without them.
const NAMING_PAUSE: Duration = Duration::from_millis(20);
const STACK_BYTES: usize = 256 * 1024;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// An import ends when nobody has asked how it gets on for so long.
const PATIENCE: Duration = Duration::from_secs(5);

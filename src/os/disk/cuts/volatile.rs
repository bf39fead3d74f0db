//! A disk in memory that writes down what is done to it, and can say what a power cut at any moment would leave of it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;

use super::super::files::{Files, VaultFile};
use crate::base::Rng;
use crate::os::state::parent_of;

/// Bytes of a page, which is what is shared between images.
const PAGE: usize = 4_096;
/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What a disk holds. Cloning it shares the pages.
#[derive(Clone, Default, Debug)]
pub(super) struct Image {
    names: BTreeMap<PathBuf, Entry>,
    files: Vec<Content>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    Directory,
    File(usize),
}

#[derive(Clone, Default, Debug)]
struct Content {
    length: u64,
    /// `None` is a hole.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

/// One thing that was done.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Write(usize, u64, Arc<[u8]>),
    SetLen(usize, u64),
    Punch(usize, u64, u64),
    Sync(usize),
    /// Names that came, changed or went together.
    Names(Vec<(PathBuf, Option<Entry>)>),
    SyncDirectory(PathBuf),
}

/// What of the writes that were not synced a cut leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Variant {
    Dropped,
    Kept,
    /// Each write is there or not, whatever their order was.
    Some,
    /// Each sector of each write is there or not.
    Torn,
}

/// See the module. Clones are the same disk.
#[derive(Clone, Default, Debug)]
pub(super) struct Volatile(Arc<Mutex<State>>);

#[derive(Default, Debug)]
struct State {
    image: Image,
    log: Vec<Event>,
    /// So many writes may still take new space.
    room: Option<usize>,
    /// One was refused.
    refused: bool,
}

#[derive(Debug)]
struct Opened {
    disk: Volatile,
    file: usize,
}

impl Volatile {
    /// A disk that holds this durably.
    pub(super) fn new(image: Image) -> Self {
        Self(Arc::new(Mutex::new(State { image, ..State::default() })))
    }

    /// After so many writes that take new space there is none left; `None` makes room again. Whether one was refused.
    pub(super) fn limit(&self, room: Option<usize>) -> bool {
        let mut state = self.state();
        state.room = room;
        std::mem::take(&mut state.refused)
    }

    /// Takes new space, if there is any.
    fn take_room(&self) -> io::Result<()> {
        let mut state = self.state();
        match &mut state.room {
            Some(0) => {
                state.refused = true;
                Err(Errno::ENOSPC.into())
            }
            Some(room) => {
                *room -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// How many things were done.
    pub(super) fn events(&self) -> usize {
        self.state().log.len()
    }

    /// What was done.
    pub(super) fn log(&self) -> Vec<Event> {
        self.state().log.clone()
    }

    /// One bit of a file is not what it was.
    pub(super) fn flip(&self, path: &Path, at: u64) {
        self.state().image.flip(path, at);
    }

    /// What it holds, synced or not.
    pub(super) fn image(&self) -> Image {
        self.state().image.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn act(&self, event: Event) {
        let mut state = self.state();
        state.image.apply(&event);
        state.log.push(event);
    }
}

impl Image {
    /// An image with one directory.
    pub(super) fn with_directory(path: &Path) -> Self {
        Self { names: BTreeMap::from([(path.to_owned(), Entry::Directory)]), files: Vec::new() }
    }

    /// Flips one bit of a file.
    fn flip(&mut self, path: &Path, at: u64) {
        let Some(Entry::File(file)) = self.names.get(path).copied() else { panic!("there is no {path:?}") };
        let page = self.files[file].pages[at as usize / PAGE].as_mut().expect("there are bytes");
        Arc::make_mut(page)[at as usize % PAGE] ^= 1;
    }

    /// The pages of a file that take space, by their numbers.
    pub(super) fn allocated(&self, path: &Path) -> Vec<u64> {
        let Some(Entry::File(file)) = self.names.get(path) else { return Vec::new() };
        let pages = self.files[*file].pages.iter().enumerate();
        pages.filter(|(_, page)| page.is_some()).map(|(number, _)| number as u64).collect()
    }

    /// The files whose names begin with this.
    pub(super) fn names(&self, under: &Path) -> Vec<PathBuf> {
        let files = self.names.iter().filter(|(path, entry)| path.starts_with(under) && **entry != Entry::Directory);
        files.map(|(path, _)| path.clone()).collect()
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Write(file, offset, bytes) => self.file(*file).write(*offset, bytes),
            Event::SetLen(file, length) => self.file(*file).set_len(*length),
            Event::Punch(file, offset, length) => self.file(*file).punch(*offset, *length),
            Event::Names(names) => {
                for (path, entry) in names {
                    if let Some(Entry::File(file)) = entry {
                        self.file(*file);
                    }
                    match entry {
                        Some(entry) => self.names.insert(path.clone(), *entry),
                        None => self.names.remove(path),
                    };
                }
            }
            Event::Sync(_) | Event::SyncDirectory(_) => {}
        }
    }

    fn file(&mut self, file: usize) -> &mut Content {
        if self.files.len() <= file {
            self.files.resize(file + 1, Content::default());
        }
        &mut self.files[file]
    }
}

impl Content {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (at, part) in parts(offset, out.len()) {
            let page = self.pages.get(at.0).and_then(Option::as_ref);
            match page {
                Some(page) => out[part.clone()].copy_from_slice(&page[at.1..at.1 + part.len()]),
                None => out[part].fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len() as u64);
        for (at, part) in parts(offset, bytes.len()) {
            if self.pages.len() <= at.0 {
                self.pages.resize(at.0 + 1, None);
            }
            let page = self.pages[at.0].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[at.1..at.1 + part.len()].copy_from_slice(&bytes[part]);
        }
    }

    /// True for a write that takes pages which are not there.
    fn grows(&self, offset: u64, length: usize) -> bool {
        parts(offset, length).any(|(at, _)| self.pages.get(at.0).is_none_or(Option::is_none))
    }

    fn set_len(&mut self, length: u64) {
        if length < self.length {
            self.punch(length, self.length - length);
            self.pages.truncate(length.div_ceil(PAGE as u64) as usize);
        }
        self.length = length;
    }

    fn punch(&mut self, offset: u64, length: u64) {
        let end = (offset + length).min(self.pages.len() as u64 * PAGE as u64);
        let length = end.saturating_sub(offset) as usize;
        for (at, part) in parts(offset, length) {
            let Some(page) = &mut self.pages[at.0] else { continue };
            if part.len() == PAGE {
                self.pages[at.0] = None;
            } else {
                Arc::make_mut(page)[at.1..at.1 + part.len()].fill(0);
            }
        }
    }
}

/// The pages of a span: number of the page and first byte in it, with the part of the span that lies there.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = ((usize, usize), std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % PAGE as u64) as usize;
        let take = (PAGE - inside).min(length - done);
        done += take;
        (take > 0).then(|| (((at / PAGE as u64) as usize, inside), done - take..done))
    })
}

impl Files for Volatile {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>> {
        match self.state().image.names.get(path) {
            Some(Entry::File(file)) => Ok(Arc::new(Opened { disk: self.clone(), file: *file })),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make(&self, path: &Path) -> io::Result<Arc<dyn VaultFile>> {
        if !self.state().image.names.contains_key(path) {
            self.take_room()?;
            let file = {
                let mut state = self.state();
                state.image.files.push(Content::default());
                state.image.files.len() - 1
            };
            self.act(Event::Names(vec![(path.to_owned(), Some(Entry::File(file)))]));
        }
        self.open(path)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        if self.state().image.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.act(Event::Names(vec![(path.to_owned(), Some(Entry::Directory))]));
        Ok(())
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        let entry = self.state().image.names.get(path).copied();
        entry.map(|entry| entry != Entry::Directory).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.is_file(path)? {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.act(Event::Names(vec![(path.to_owned(), None)]));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let entry = self.state().image.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        self.act(Event::Names(vec![(from.to_owned(), None), (to.to_owned(), Some(entry))]));
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.act(Event::SyncDirectory(path.to_owned()));
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<(u64, u64)> {
        Ok((1 << 30, 1 << 29))
    }
}

impl VaultFile for Opened {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().image.file(self.file).length)
    }

    fn allocated(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        let pages = state.image.file(self.file).pages.iter().flatten().count();
        Ok((pages * PAGE) as u64)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.state().image.file(self.file).read(offset, out)
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len()).sum();
        // What overwrites takes no new space.
        if self.disk.state().image.file(self.file).grows(offset, length) {
            self.disk.take_room()?;
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.disk.act(Event::Write(self.file, offset, bytes.into()));
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.act(Event::SetLen(self.file, length));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.act(Event::Sync(self.file));
        Ok(())
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk.act(Event::Punch(self.file, offset, length));
        Ok(())
    }
}

/// Goes through what was done, and knows at each step what is durable and what is not.
pub(super) struct Cutter {
    durable: Image,
    pending: Vec<Event>,
}

impl Cutter {
    /// Before anything was done to this.
    pub(super) fn new(durable: Image) -> Self {
        Self { durable, pending: Vec::new() }
    }

    /// The next thing was done.
    pub(super) fn pass(&mut self, event: &Event) {
        let synced = |pending: &Event| match (event, pending) {
            (Event::Sync(file), Event::Write(of, ..) | Event::SetLen(of, _) | Event::Punch(of, ..)) => file == of,
            (Event::SyncDirectory(path), Event::Names(names)) => names.iter().all(|(name, _)| parent_of(name) == path),
            _ => false,
        };
        match event {
            Event::Sync(_) | Event::SyncDirectory(_) => {
                for done in self.pending.extract_if(.., |pending| synced(pending)) {
                    self.durable.apply(&done);
                }
            }
            event => self.pending.push(event.clone()),
        }
    }

    /// True when a cut now leaves one thing only.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// What a cut now leaves.
    pub(super) fn cut(&self, variant: Variant, rng: &mut Rng) -> Image {
        let mut image = self.durable.clone();
        // A journal keeps the order of names.
        let mut names = true;
        for event in &self.pending {
            let keep = match variant {
                Variant::Dropped => false,
                Variant::Kept => true,
                Variant::Some | Variant::Torn => rng.chance(1, 2),
            };
            match event {
                Event::Names(_) => {
                    names &= keep;
                    if names {
                        image.apply(event);
                    }
                }
                Event::Write(file, offset, bytes) if variant == Variant::Torn => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let end = (at + SECTOR - (*offset as usize + at) % SECTOR).min(bytes.len());
                        if rng.chance(1, 2) {
                            image.file(*file).write(offset + at as u64, &bytes[at..end]);
                        }
                        at = end;
                    }
                }
                event if keep => image.apply(event),
                _ => {}
            }
        }
        image
    }
}

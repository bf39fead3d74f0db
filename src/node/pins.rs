//! What this node's owner wants here, and what it tells of each file: where its bytes are, and who holds them all.
//!
//! A pin is this node's own matter: it is in its ledger, and no friend learns of it. It follows its object, whatever that comes
//! to be called, and counts for all that is below a directory; on the directory of a circle, for all of the circle.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::files::DraftKey;
use super::io::{Answer, Inode, OpError, Reply};
use super::read::{Spot, torrent_of};
use super::vault::State;
use super::{Effect, Node, StartError};
use crate::base::limits::DEPTH_MAX;
use crate::base::{CircleId, InfoHash, Instant, ObjectId, Snapshot, Table, Ticket};
use crate::ledger::keys;
use crate::tree::Seen;

/// Names of extended attributes that the node answers itself begin so.
pub const RESERVED: &[u8] = b"user.dustfs.";
const PINNED: &[u8] = b"user.dustfs.pinned";
const STATE: &[u8] = b"user.dustfs.state";
const HOLDERS: &[u8] = b"user.dustfs.holders";
/// After something changed, what came to be below a pin is looked for, no more often.
const LOOK: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Default)]
pub struct Pins {
    set: BTreeSet<(CircleId, ObjectId)>,
    look_at: Option<Instant>,
}

/// Where the bytes of a file are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// All of them on this node.
    Here,
    /// Some of them.
    Partly,
    /// None of them: they come from friends when it is opened.
    Remote,
}

impl Presence {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Presence::Here => "here",
            Presence::Partly => "partly",
            Presence::Remote => "remote",
        }
    }
}

impl<S: Snapshot> Node<S> {
    pub(super) fn load_pins(&mut self) -> Result<(), StartError> {
        let set = &mut self.pins.set;
        self.ledger.range(Table::Pins, &[], &[0xff; 49], &mut |key, _| {
            set.extend(keys::pin_of(key));
            true
        })?;
        Ok(())
    }

    /// Pins what is at a path, or takes its pin away. Answered when that is durable.
    pub(super) fn pin(&mut self, ticket: Ticket, path: &str, pinned: bool) -> Option<Reply> {
        let set = self.at_path(path).and_then(|(id, seen)| self.set_pin(&id, &seen.object, pinned));
        match set {
            Ok(()) => {
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Done)));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    pub(super) fn set_pin(&mut self, id: &CircleId, object: &ObjectId, pinned: bool) -> Result<(), OpError> {
        let key = (*id, *object);
        match (pinned, self.pins.set.contains(&key)) {
            (true, false) => {
                self.pins.set.insert(key);
                self.ledger.put(Table::Pins, keys::pin(id, object), Bytes::new());
                self.flush_soon();
                self.fetch_pinned(id, object);
                Ok(())
            }
            (false, true) => {
                self.pins.set.remove(&key);
                self.ledger.delete(Table::Pins, keys::pin(id, object));
                self.flush_soon();
                Ok(())
            }
            (true, true) => Ok(()),
            (false, false) if self.is_pinned(id, object) => {
                Err(OpError::NotPermitted("a directory above it is pinned: unpin that one".into()))
            }
            (false, false) => Err(OpError::Invalid("it is not pinned".into())),
        }
    }

    /// What of a pinned place is not here is fetched.
    fn fetch_pinned(&mut self, id: &CircleId, object: &ObjectId) {
        for info_hash in self.bodies_below(id, Seen::of(*object)) {
            let Some(torrent) = self.vault.torrents.get_mut(&info_hash) else { continue };
            if !matches!(torrent.state, State::Whole) && !self.vault.active.contains_key(&info_hash) {
                torrent.freed = false;
                self.vault.queue.push_back(info_hash);
                self.tell_lack(&info_hash);
            }
        }
    }

    /// True for an object that is pinned, or below one that is.
    pub(super) fn is_pinned(&self, id: &CircleId, object: &ObjectId) -> bool {
        if self.pins.set.is_empty() {
            return false;
        }
        let Some(circle) = self.circles.get(id) else { return false };
        let mut at = *object;
        for _ in 0..=DEPTH_MAX {
            if self.pins.set.contains(&(*id, at)) {
                return true;
            }
            match circle.tree.location(&Seen::of(at)) {
                Some((parent, _)) if at != circle.tree.root() => at = parent,
                _ => return false,
            }
        }
        false
    }

    /// True for a torrent that some pinned file shows.
    pub(super) fn is_pinned_body(&self, id: &CircleId, info_hash: &InfoHash) -> bool {
        if self.pins.set.is_empty() {
            return false;
        }
        let holders = self.circles.get(id).into_iter().flat_map(|circle| circle.tree.holders(info_hash));
        holders.into_iter().any(|(object, _)| self.is_pinned(id, &object))
    }

    /// Something moved: it may be below a pin now.
    pub(super) fn look_at_pins(&mut self) {
        if !self.pins.set.is_empty() {
            self.pins.look_at.get_or_insert(self.now.instant + LOOK);
        }
    }

    pub(super) fn pins_timeout(&self) -> Option<Instant> {
        self.pins.look_at
    }

    pub(super) fn pins_due(&mut self) {
        if self.pins.look_at.is_some_and(|at| at <= self.now.instant) {
            self.pins.look_at = None;
            for (id, object) in self.pins.set.clone() {
                self.fetch_pinned(&id, &object);
            }
        }
    }

    /// Where the bytes of a file are, and whether it is pinned; of a directory the second alone.
    pub fn presence(&self, inode: Inode) -> Option<(Option<Presence>, bool)> {
        let Ok(Spot::In(id, seen)) = self.spot(inode) else { return None };
        let pinned = self.is_pinned(&id, &seen.object);
        Some((self.file_body(&id, &seen).map(|body| self.presence_of(body.as_ref())), pinned))
    }

    /// A file's torrent, if it has one; `None` for what is no file.
    fn file_body(&self, id: &CircleId, seen: &Seen) -> Option<Option<InfoHash>> {
        if self.kind(id, seen).ok()? != crate::wire::record::Kind::File {
            return None;
        }
        let key = DraftKey { circle: *id, object: seen.object, version: seen.version };
        match self.files.draft(&key) {
            Some(draft) => Some(draft.base.as_ref().and_then(|base| torrent_of(&base.body))),
            None => Some(self.body(id, seen).ok().and_then(|body| torrent_of(&body))),
        }
    }

    fn presence_of(&self, info_hash: Option<&InfoHash>) -> Presence {
        let Some(info_hash) = info_hash else { return Presence::Here };
        match self.vault.torrents.get(info_hash).map(|torrent| &torrent.state) {
            Some(State::Whole) => Presence::Here,
            Some(State::Partial(_)) => Presence::Partly,
            Some(State::Absent) | None => Presence::Remote,
        }
    }

    /// getxattr(2) of a name that begins with [`RESERVED`].
    ///
    /// # Errors
    /// `NoData` for what it does not have.
    pub fn told_xattr(&self, inode: Inode, name: &[u8]) -> Result<Bytes, OpError> {
        let Spot::In(id, seen) = self.spot(inode)? else { return Err(OpError::NoData) };
        let text = match name {
            PINNED => u8::from(self.is_pinned(&id, &seen.object)).to_string(),
            STATE => {
                let body = self.file_body(&id, &seen).ok_or(OpError::NoData)?;
                self.presence_of(body.as_ref()).word().into()
            }
            HOLDERS => self.holders_of(&id, self.file_body(&id, &seen).ok_or(OpError::NoData)?),
            _ => return Err(OpError::NoData),
        };
        Ok(Bytes::from(text))
    }

    /// The names of those who hold a body whole, as far as they are online: this node first.
    fn holders_of(&self, id: &CircleId, body: Option<InfoHash>) -> String {
        let Some(info_hash) = body else { return "everybody".into() };
        let Some(circle) = self.circles.get(id) else { return String::new() };
        let name = |key: &crate::base::MemberKey| circle.roster.name_of(key).map(str::to_owned);
        let here = matches!(self.presence_of(Some(&info_hash)), Presence::Here);
        let others = self.whole_elsewhere(&info_hash).into_iter();
        let mut others: Vec<String> =
            others.filter_map(|transport| name(&circle.roster.member_by_transport(&transport)?.0.member)).collect();
        others.sort();
        let me = here.then(|| name(&self.me.device.member)).flatten();
        me.into_iter().chain(others).collect::<Vec<_>>().join(", ")
    }

    /// setxattr(2) and removexattr(2) of such a name: pins, and takes pins away.
    pub(super) fn set_told_xattr(&mut self, inode: Inode, name: &[u8], value: Option<&[u8]>) -> Reply {
        let Spot::In(id, seen) = self.spot(inode)? else {
            return Err(OpError::NotPermitted("the root of the mount holds the circles: pin one of them".into()));
        };
        let pinned = match (name, value) {
            (PINNED, Some(b"1")) => true,
            (PINNED, Some(b"0") | None) => false,
            (PINNED, Some(_)) => return Err(OpError::Invalid("it is 1 or 0".into())),
            _ => return Err(OpError::NotPermitted("the node tells it, and nobody sets it".into())),
        };
        if !pinned && value.is_some() && !self.is_pinned(&id, &seen.object) {
            return Ok(Answer::Done);
        }
        match self.set_pin(&id, &seen.object, pinned) {
            Err(OpError::Invalid(_)) => Err(OpError::NoData),
            set => set.map(|()| Answer::Done),
        }
    }
}

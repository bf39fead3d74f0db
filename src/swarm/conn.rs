//! One connection: its channels, whose numbers are never reused, its request window and its way out.

use std::collections::{BTreeMap, BTreeSet};

use super::meter::Meter;
use super::session::Session;
use super::upload::Upload;
use super::window::Window;
use crate::base::limits::CHANNELS;
use crate::base::{InfoHash, Instant};

/// The state of one connection.
#[derive(Debug)]
pub struct Conn {
    /// Open channels.
    pub sessions: BTreeMap<u32, Session>,
    /// The channel of each torrent that has one.
    pub channels: BTreeMap<InfoHash, u32>,
    /// Channels that may have a block to ask for, in the order in which their torrents were wanted.
    pub ready: BTreeSet<(u64, u32)>,
    /// Torrents that the peer offers and that need another source, in the order in which they were wanted.
    pub waiting: BTreeSet<(u64, InfoHash)>,
    /// Requests.
    pub window: Window,
    /// Answers.
    pub upload: Upload,
    /// Bytes of blocks that we sent.
    pub up: Meter,
    /// Bytes of blocks that we got, needed or not.
    pub down: Meter,
    /// Bytes of blocks that we had not asked for.
    pub unasked: u64,
    /// The peer misbehaved; nothing more is taken from it.
    pub condemned: bool,
    /// The peer is a stock client.
    pub stock: bool,
    dialer: bool,
    next: Option<u32>,
    highest: u32,
    ours: usize,
    theirs: usize,
}

impl Conn {
    /// A connection without channels. The side that dialled numbers its channels odd, the other even, from 2.
    pub fn new(now: Instant, dialer: bool) -> Self {
        Self {
            sessions: BTreeMap::new(),
            channels: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            window: Window::new(now),
            upload: Upload::default(),
            up: Meter::default(),
            down: Meter::default(),
            unasked: 0,
            condemned: false,
            stock: false,
            dialer,
            next: Some(if dialer { 1 } else { 2 }),
            highest: 0,
            ours: 0,
            theirs: 0,
        }
    }

    /// A stock client's connection: we open no channel on it.
    pub fn stock(now: Instant) -> Self {
        Self { stock: true, next: None, ..Self::new(now, false) }
    }

    /// Channels that we opened and did not shut.
    pub fn ours(&self) -> usize {
        self.ours
    }

    /// True when another channel may be opened for fetching. Readers may use all of our half of the channels.
    pub fn has_slot(&self, urgent: bool) -> bool {
        !self.condemned && self.next.is_some() && self.ours < if urgent { CHANNELS / 2 } else { FETCHES }
    }

    /// True when the peer may open another channel.
    pub fn has_slot_for_peer(&self) -> bool {
        self.theirs < CHANNELS / 2
    }

    /// The number of our next channel.
    pub fn number(&mut self) -> Option<u32> {
        let number = self.next?;
        self.next = number.checked_add(2);
        Some(number)
    }

    /// Takes note of a number by which the peer opens a channel; false when it may not use it.
    pub fn takes(&mut self, channel: u32) -> bool {
        let valid = !self.is_ours(channel) && channel > self.highest;
        self.highest = self.highest.max(if valid { channel } else { 0 });
        valid
    }

    /// True when a channel of this number was once opened by either side.
    pub fn was_open(&self, channel: u32) -> bool {
        match (self.is_ours(channel), self.next) {
            (true, Some(next)) => channel < next,
            (true, None) => true,
            (false, _) => channel > 0 && channel <= self.highest,
        }
    }

    /// A channel begins.
    pub fn insert(&mut self, channel: u32, session: Session) {
        *if session.ours { &mut self.ours } else { &mut self.theirs } += 1;
        self.channels.insert(session.info_hash, channel);
        self.sessions.insert(channel, session);
    }

    /// A channel ends: what it had asked for is no longer in flight.
    pub fn remove(&mut self, channel: u32) -> Option<Session> {
        let session = self.sessions.remove(&channel)?;
        *if session.ours { &mut self.ours } else { &mut self.theirs } -= 1;
        self.channels.remove(&session.info_hash);
        for block in session.asked.keys() {
            self.window.refused(block.length);
        }
        Some(session)
    }

    fn is_ours(&self, channel: u32) -> bool {
        channel > 0 && (channel % 2 == 1) == self.dialer
    }
}

/// Channels that may be open for fetching before any reader waits.
const FETCHES: usize = 64;

//! What one connection is still to be sent: whose turn it is, and how much is on its way.

use std::collections::VecDeque;
use std::time::Duration;

use super::meter::Meter;
use crate::base::Instant;
use crate::base::limits::SEND_QUEUE;

/// The way out of one connection, shared by its channels block by block in turn.
#[derive(Debug, Default)]
pub struct Upload {
    /// Channels with requests that wait, each once. A channel that was shut meanwhile is passed over.
    pub turns: VecDeque<u32>,
    reading: usize,
    unsent: usize,
    refusals: usize,
    credited: Meter,
}

impl Upload {
    /// True while another block may be read: what is being read or waits in the connection's queue would go out in
    /// [`AHEAD`], and is below [`SEND_QUEUE`]. A short queue lets a channel that is opened later have its turn soon.
    pub fn has_room(&self, now: Instant) -> bool {
        let goes_out = self.credited.rate(now) as u128 * AHEAD.as_millis() / 1_000;
        self.backlog() < usize::try_from(goes_out).unwrap_or(SEND_QUEUE).clamp(START, SEND_QUEUE)
    }

    /// Bytes that are being read, or were sent and not credited.
    pub fn backlog(&self) -> usize {
        self.reading + self.unsent
    }

    /// A block is being read.
    pub fn reads(&mut self, bytes: u32) {
        self.reading += bytes as usize;
    }

    /// A block was read, or could not be.
    pub fn read(&mut self, bytes: u32) {
        self.reading = self.reading.saturating_sub(bytes as usize);
    }

    /// Bytes were put on the connection.
    pub fn put(&mut self, bytes: usize) {
        self.unsent += bytes;
    }

    /// Bytes were handed to the kernel.
    pub fn credit(&mut self, now: Instant, bytes: usize) {
        self.unsent = self.unsent.saturating_sub(bytes);
        self.credited.add(now, bytes as u64);
        if self.unsent < SEND_QUEUE {
            self.refusals = 0;
        }
    }

    /// A request is being refused. False when the peer goes on asking while it does not read our answers.
    pub fn refuse(&mut self) -> bool {
        self.refusals += 1;
        self.refusals <= REFUSALS
    }
}

/// How long what is queued should take to go out.
const AHEAD: Duration = Duration::from_millis(250);
/// Bytes that may always be queued.
const START: usize = 262_144;
/// Refusals that may wait to be read.
const REFUSALS: usize = 4_096;

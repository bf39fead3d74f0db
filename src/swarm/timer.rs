//! What time brings: silent peers are snubbed, late blocks are asked of a second peer, pauses end.

use std::time::Duration;

use super::Swarm;
use super::picker::{Block, Pending};
use super::torrent::{Fetch, Torrent};
use crate::base::limits::{BLOCK, READ_TIME};
use crate::base::{ConnId, InfoHash, Instant};

impl Swarm {
    /// The time of [`Swarm::timeout`] has come. Earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|tick| now < tick) {
            return;
        }
        self.next_tick = None;
        self.snub(now);
        self.end_pauses(now);
        let fetched = self.torrents.iter().filter(|(_, torrent)| torrent.fetch.is_some());
        let fetched: Vec<InfoHash> = fetched.map(|(info_hash, _)| *info_hash).collect();
        let is_review = now >= self.next_review;
        if is_review {
            self.next_review = now + REVIEW;
        }
        for info_hash in fetched {
            self.hurry(now, info_hash);
            if is_review {
                self.expire(now, info_hash);
                self.spare(info_hash);
                if self.recruit(now, info_hash) {
                    self.wake(now, info_hash);
                }
            }
        }
        if is_review {
            self.fill_all(now);
        }
        let is_busy = self.conns.values().any(|conn| conn.window.in_flight() > 0);
        let waits = |torrent: &Torrent| {
            torrent.fetch.as_ref().is_some_and(|fetch| !fetch.offers.is_empty() || !torrent.channels.is_empty())
        };
        if is_busy {
            self.arm(now);
        } else if self.next_tick.is_none() && self.torrents.values().any(waits) {
            self.next_tick = Some(now + REVIEW);
        }
    }

    /// Something is under way that time may change.
    pub(super) fn arm(&mut self, now: Instant) {
        let tick = now + TICK;
        self.next_tick = Some(self.next_tick.map_or(tick, |earlier| earlier.min(tick)));
    }

    /// Others go on with what was asked of peers that give nothing.
    fn snub(&mut self, now: Instant) {
        let (mut snubbed, mut silent) = (Vec::new(), Vec::new());
        for (id, conn) in &mut self.conns {
            if conn.window.snub(now) {
                snubbed.extend(conn.channels.keys().map(|info_hash| (*id, *info_hash)));
            }
            // A stock client's connection has one channel, and ends with it.
            if !conn.stock && conn.window.gave_up(now) {
                let asked = conn.sessions.iter().filter(|(_, session)| !session.asked.is_empty());
                silent.extend(asked.map(|(channel, _)| (*id, *channel)));
            }
        }
        // It may have lost them, and be the only one to ask: on a new channel they are asked anew.
        for (id, channel) in silent {
            self.close(now, id, channel, true);
        }
        for (id, info_hash) in snubbed {
            let fetch = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut());
            if let Some(fetch) = fetch {
                fetch.picker.abandon(id, &mut self.budget);
                self.recruit(now, info_hash);
                self.wake(now, info_hash);
            }
        }
    }

    fn end_pauses(&mut self, now: Instant) {
        let mut ended = Vec::new();
        let mut is_paused = false;
        for (id, conn) in &mut self.conns {
            for (channel, session) in &mut conn.sessions {
                is_paused |= session.paused.is_some();
                if session.paused.is_some_and(|until| until <= now) {
                    session.paused = None;
                    ended.push((*id, *channel));
                }
            }
        }
        for (id, channel) in ended {
            self.review_interest(now, id, channel);
        }
        if is_paused {
            self.arm(now);
        }
    }

    /// Asks a second peer for blocks that are late, or that another would bring sooner when there is nothing else to
    /// ask for.
    fn hurry(&mut self, now: Instant, info_hash: InfoHash) {
        let Some(torrent) = self.torrents.get(&info_hash) else { return };
        let Some(fetch) = &torrent.fetch else { return };
        let is_end = fetch.picker.is_exhausted();
        let late: Vec<(Pending, Duration)> = fetch
            .picker
            .pending()
            .filter_map(|pending| Some((pending, self.patience(now, &pending, is_end)?)))
            .collect();
        for (pending, patience) in late {
            let Some((id, channel)) = self.second(info_hash, &pending, patience) else { continue };
            let fetch = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut());
            if let Some(Fetch { picker, .. }) = fetch {
                picker.duplicate(now, id, pending.block);
                self.ask(now, id, channel, pending.block);
            }
        }
    }

    /// `None` while a block is not late; else the time in which a second peer must be expected to bring it.
    fn patience(&self, now: Instant, pending: &Pending, is_end: bool) -> Option<Duration> {
        let latency = self.conns.get(&pending.source).map(|conn| conn.window.latency())?;
        let waited = now.since(pending.at);
        let is_late = if pending.urgent {
            waited > (latency * 2).clamp(URGENT_LEAST, URGENT_MOST)
        } else if is_end {
            waited > latency * 2 + END_SLACK
        } else {
            waited > (latency * 4).max(LATE)
        };
        let remains = latency.saturating_sub(waited);
        if is_late {
            Some(Duration::MAX)
        } else if is_end && remains > END_SLACK {
            Some(remains / 2)
        } else {
            None
        }
    }

    /// The fastest other source of a block, if it has room for one more request.
    fn second(&self, info_hash: InfoHash, pending: &Pending, patience: Duration) -> Option<(ConnId, u32)> {
        let Pending { block: Block { piece, length, .. }, source, urgent, .. } = *pending;
        let channels = &self.torrents.get(&info_hash)?.channels;
        let others = channels.iter().filter_map(|(id, channel)| {
            let conn = self.conns.get(id)?;
            let session = conn.sessions.get(channel)?;
            let latency = conn.window.latency();
            let can = *id != source
                && session.can_ask()
                && session.has.has(piece)
                && !(conn.stock && length > BLOCK)
                && !conn.window.is_snubbed()
                && conn.window.has_room(urgent)
                && latency < patience;
            can.then_some((latency, *id, *channel))
        });
        others.min().map(|(_, id, channel)| (id, channel))
    }

    /// Frees the memory of pieces that nobody can go on with, when it is short.
    fn spare(&mut self, info_hash: InfoHash) {
        let Some(Torrent { fetch: Some(fetch), channels, .. }) = self.torrents.get_mut(&info_hash) else { return };
        let conns = &self.conns;
        fetch.picker.drop_unreachable(&mut self.budget, |piece| {
            channels.iter().any(|(id, channel)| {
                let conn = conns.get(id).filter(|conn| !conn.window.is_snubbed());
                conn.and_then(|conn| conn.sessions.get(channel)).is_some_and(|session| session.has.has(piece))
            })
        });
    }

    /// Readers that waited long after their deadline are gone.
    fn expire(&mut self, now: Instant, info_hash: InfoHash) {
        let fetch = self.torrents.get_mut(&info_hash).and_then(|torrent| torrent.fetch.as_mut());
        let Some(fetch) = fetch else { return };
        fetch.picker.expire(Instant(now.0.saturating_sub(READ_TIME.as_micros() as u64)));
        if !fetch.picker.is_urgent() {
            self.urgent.remove(&info_hash);
        }
    }
}

/// How often late blocks are looked for while blocks are out.
const TICK: Duration = Duration::from_millis(100);
/// How often torrents look for more sources.
const REVIEW: Duration = Duration::from_secs(1);
/// A block that a reader waits for is late after twice its source's time, within these bounds.
const URGENT_LEAST: Duration = Duration::from_millis(250);
const URGENT_MOST: Duration = Duration::from_secs(2);
/// Time that a block of the end may take beyond what its source takes.
const END_SLACK: Duration = Duration::from_millis(200);
/// A block that nobody waits for is late after four times its source's time, and at least this.
const LATE: Duration = Duration::from_secs(10);

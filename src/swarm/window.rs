//! How many bytes may be asked of one connection before they are answered.
//!
//! The window is rate x time without measuring a rate: by Little's law the bytes in flight are the rate times the
//! time that a block takes, so the window grows while blocks take less than [`AIM`] and shrinks when they take more.

use std::time::Duration;

use crate::base::Instant;
use crate::base::limits::BLOCK;

/// The request window of one connection.
#[derive(Clone, Debug)]
pub struct Window {
    limit: u64,
    in_flight: u64,
    latency: Option<Duration>,
    quiet_since: Instant,
    snubbed: bool,
}

impl Window {
    /// A window in slow start.
    pub fn new(now: Instant) -> Self {
        Self { limit: START, in_flight: 0, latency: None, quiet_since: now, snubbed: false }
    }

    /// True when one more block may be asked for; the last one may overshoot the window. For a reader the window is
    /// [`START`] larger, so that it need not wait for room.
    pub fn has_room(&self, urgent: bool) -> bool {
        match (self.snubbed, urgent) {
            (true, _) => self.in_flight == 0,
            (false, true) => self.in_flight < self.limit + START,
            (false, false) => self.in_flight < self.limit,
        }
    }

    /// Bytes that were asked for and neither came nor were refused.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// A block was asked for.
    pub fn asked(&mut self, now: Instant, bytes: u32) {
        if self.in_flight == 0 {
            self.quiet_since = now;
        }
        self.in_flight += u64::from(bytes);
    }

    /// A block came that had been asked for at `asked_at`.
    pub fn answered(&mut self, now: Instant, asked_at: Instant, bytes: u32) {
        let took = now.since(asked_at);
        let bytes = u64::from(bytes);
        let was_full = self.in_flight >= self.limit - self.limit / 4;
        if took > AIM {
            // What would have taken just that long; blocks that were asked for before the window shrank say it again.
            let right = u128::from(self.in_flight) * AIM.as_micros() / took.as_micros();
            self.limit = self.limit.saturating_sub(bytes / 2).max(right as u64).clamp(LOWEST, HIGHEST);
        } else if was_full && took < AIM / 2 {
            self.limit = (self.limit + bytes).min(HIGHEST);
        } else if was_full {
            self.limit = (self.limit + bytes / 8).min(HIGHEST);
        }
        self.latency = Some(self.latency.map_or(took, |latency| (latency * 7 + took) / 8));
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.quiet_since = now;
        self.snubbed = false;
    }

    /// A block was refused, or its channel was shut.
    pub fn refused(&mut self, bytes: u32) {
        self.in_flight = self.in_flight.saturating_sub(bytes.into());
    }

    /// The peer's queue was full: ask for less.
    pub fn halve(&mut self) {
        self.limit = (self.limit / 2).max(LOWEST);
    }

    /// How long a block takes of late; a second while nothing is known.
    pub fn latency(&self) -> Duration {
        self.latency.unwrap_or(AIM)
    }

    /// True when nothing came for [`SNUB_TIME`] though something was asked. Then one request at a time may be out,
    /// until a block comes. Told once.
    pub fn snub(&mut self, now: Instant) -> bool {
        let snubs = !self.snubbed && self.in_flight > 0 && now.since(self.quiet_since) >= SNUB_TIME;
        if snubs {
            self.snubbed = true;
            self.limit = LOWEST;
        }
        snubs
    }

    /// True when a snubbed peer stayed silent for as long again: what was asked of it does not come. Told once in that time.
    pub fn gave_up(&mut self, now: Instant) -> bool {
        let gave_up = self.snubbed && self.in_flight > 0 && now.since(self.quiet_since) >= 2 * SNUB_TIME;
        if gave_up {
            self.quiet_since = now;
        }
        gave_up
    }

    /// See [`Window::snub`].
    pub fn is_snubbed(&self) -> bool {
        self.snubbed
    }
}

/// The time that a block should take from request to arrival when the window is full.
const AIM: Duration = Duration::from_secs(1);
/// Time without a block after which a peer is snubbed.
const SNUB_TIME: Duration = Duration::from_secs(30);
/// Bytes to start with, at least, and at most.
const START: u64 = 16 * BLOCK as u64;
const LOWEST: u64 = 4 * BLOCK as u64;
const HIGHEST: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Plays a link of `rate` bytes per second and `delay` round trip for `seconds` and returns the window and the
    /// bytes that came in the last second.
    fn play(window: &mut Window, rate: u64, delay: Duration, seconds: u64) -> u64 {
        let mut queue: VecDeque<(Instant, Instant)> = VecDeque::new();
        let mut now = Instant(0);
        let mut free = Instant(0);
        let end = Instant(seconds * 1_000_000);
        let mut last = 0;
        while now < end {
            while window.has_room(false) {
                window.asked(now, BLOCK);
                free = (now + delay).max(free) + Duration::from_micros(u64::from(BLOCK) * 1_000_000 / rate);
                queue.push_back((now, free));
            }
            let (asked, arrives) = queue.pop_front().expect("a window has room for a block");
            now = arrives;
            window.answered(now, asked, BLOCK);
            if now.0 > end.0 - 1_000_000 {
                last += u64::from(BLOCK);
            }
        }
        for _ in queue {
            window.refused(BLOCK);
        }
        last
    }

    #[test]
    fn it_fills_links_fast_and_slow_near_and_far() {
        for (rate, delay_ms) in
            [(50_000, 10), (200_000, 400), (1_000_000, 20), (1_000_000, 300), (5_000_000, 150), (10_000_000, 600)]
        {
            let mut window = Window::new(Instant(0));
            let last = play(&mut window, rate, Duration::from_millis(delay_ms), 20);
            assert!(last as f64 > 0.95 * rate as f64 - f64::from(BLOCK), "{rate} B/s, {delay_ms} ms: {last}");
            let most = (rate * 2).max(LOWEST);
            assert!(window.limit <= most, "{rate} B/s, {delay_ms} ms: the window is {}", window.limit);
        }
    }

    #[test]
    fn slow_start_doubles_each_round_trip() {
        let mut window = Window::new(Instant(0));
        play(&mut window, 1_000_000_000, Duration::from_millis(100), 1);
        assert!(window.limit > 4 << 20, "{}", window.limit);
    }

    #[test]
    fn it_shrinks_when_the_link_slows_and_stays_within_bounds() {
        let mut window = Window::new(Instant(0));
        play(&mut window, 1_000_000_000, Duration::from_millis(1), 2);
        assert_eq!(window.limit, HIGHEST);
        play(&mut window, 10_000, Duration::from_millis(1), 3_000);
        assert_eq!(window.limit, LOWEST);
    }

    #[test]
    fn it_does_not_grow_while_it_is_not_used() {
        let mut window = Window::new(Instant(0));
        for millis in 0..1_000 {
            window.asked(Instant(millis * 10_000), BLOCK);
            window.answered(Instant(millis * 10_000 + 5_000), Instant(millis * 10_000), BLOCK);
        }
        assert_eq!(window.limit, START);
    }

    #[test]
    fn a_silent_peer_is_snubbed_until_it_answers() {
        let mut window = Window::new(Instant(0));
        assert!(!window.snub(Instant(60_000_000)), "nothing was asked");
        window.asked(Instant(60_000_000), BLOCK);
        window.asked(Instant(60_000_000), BLOCK);
        assert!(!window.snub(Instant(89_000_000)));
        assert!(window.snub(Instant(90_000_000)));
        assert!(!window.snub(Instant(91_000_000)), "told once");
        assert!(!window.gave_up(Instant(119_000_000)));
        assert!(window.gave_up(Instant(120_000_000)));
        assert!(!window.gave_up(Instant(121_000_000)), "told once");
        assert!(!window.has_room(false));
        window.refused(BLOCK);
        window.refused(BLOCK);
        assert!(window.has_room(false));
        window.asked(Instant(92_000_000), BLOCK);
        assert!(!window.has_room(false), "one at a time");
        window.answered(Instant(93_000_000), Instant(92_000_000), BLOCK);
        assert!(window.has_room(false) && !window.is_snubbed());
    }
}

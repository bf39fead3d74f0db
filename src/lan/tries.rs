//! How often somebody may guess: wrong tries, counted by where they come from, for ten minutes.

use std::collections::VecDeque;
use std::time::Duration;

use core::net::IpAddr;

use super::host::host_of;
use crate::base::Instant;

/// See the module.
#[derive(Default)]
pub struct Tries(VecDeque<(Instant, IpAddr)>);

/// A try is forgotten after this.
pub const TRIES_TIME: Duration = Duration::from_secs(600);
/// Tries in that time from one host, and from all.
const EACH: usize = 10;
const ALL: usize = 40;

impl Tries {
    /// True when somebody there may try now. Whoever has not tried yet is not kept out by those who did.
    pub fn may(&mut self, now: Instant, from: IpAddr) -> bool {
        while self.0.front().is_some_and(|(at, _)| now.since(*at) >= TRIES_TIME) {
            self.0.pop_front();
        }
        let from = host_of(from);
        let own = self.0.iter().filter(|(_, by)| *by == from).count();
        own < EACH && (own == 0 || self.0.len() < ALL)
    }

    /// Somebody there tried, and was wrong.
    pub fn wrong(&mut self, now: Instant, from: IpAddr) {
        if self.0.len() >= ALL * 4 {
            self.0.pop_front();
        }
        self.0.push_back((now, host_of(from)));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn guesses_are_bounded_by_host_and_forgotten() {
        let from = |host: u32| IpAddr::V4(Ipv4Addr::from(host));
        let mut tries = Tries::default();
        for _ in 0..EACH {
            assert!(tries.may(Instant(1), from(1)));
            tries.wrong(Instant(1), from(1));
        }
        assert!(!tries.may(Instant(2), from(1)) && tries.may(Instant(2), from(2)));
        for host in 100..100 + ALL as u32 {
            tries.wrong(Instant(2), from(host));
        }
        assert!(!tries.may(Instant(3), from(100)), "there were too many of all");
        assert!(tries.may(Instant(3), from(2)), "who has not tried yet is not kept out");
        assert!(tries.may(Instant(2) + TRIES_TIME, from(1)));
        for host in 0..ALL as u32 * 8 {
            tries.wrong(Instant(4) + TRIES_TIME, from(host));
        }
        assert!(tries.0.len() <= ALL * 4);
    }
}

//! Time as a value: the core is told what time it is and never looks.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Monotonic time since the node started, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// What the box believes the date to be: nanoseconds since 1970, negative before. Never trusted for order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallTime(pub i64);

impl WallTime {
    /// Year, month and day in UTC. The conversion counts years from March, so that the leap day is a year's last.
    pub fn date(self) -> (i64, i64, i64) {
        let days = self.0.div_euclid(DAY_NS) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        (era * 400 + year_of_era + next, month, day)
    }

    /// Hour, minute and second of the day in UTC.
    pub fn time_of_day(self) -> (i64, i64, i64) {
        let seconds = self.0.rem_euclid(DAY_NS) / 1_000_000_000;
        (seconds / 3_600, seconds / 60 % 60, seconds % 60)
    }
}

/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

/// The two clocks, as handed to every `handle`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For waiting.
    pub instant: Instant,
    /// For showing to people.
    pub wall: WallTime,
}

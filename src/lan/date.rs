//! A time as HTTP tells it (IMF-fixdate, RFC 9110, section 5.6.7), and as WebDAV does where it tells more (RFC 3339).

use crate::base::WallTime;

/// `Sun, 06 Nov 1994 08:49:37 GMT`; `None` before 1970, which is no date but a clock that nobody set, and after 9999.
pub fn http_date(time: WallTime) -> Option<String> {
    let seconds = u64::try_from(time.0).ok()? / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let month = MONTHS[month as usize];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    (year <= 9_999).then(|| format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT"))
}

/// `1994-11-06T08:49:37Z`, where [`http_date`] has a date as well.
pub fn iso_date(time: WallTime) -> Option<String> {
    let seconds = u64::try_from(time.0).ok()? / 1_000_000_000;
    let ((year, month, day), second) = (civil(seconds / 86_400), seconds % 86_400);
    let (month, hour, minute, second) = (month + 1, second / 3_600, second / 60 % 60, second % 60);
    (year <= 9_999).then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Reads what [`http_date`] writes; `None` when it is something else.
pub fn parse_http_date(text: &str) -> Option<WallTime> {
    let words: Vec<&str> = text.trim().split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = words[..] else { return None };
    let number = |word: &str, most: u64| word.parse::<u64>().ok().filter(|number| *number <= most);
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    let (year, day) = (number(year, 9_999).filter(|year| *year >= 1_970)?, number(day, 31)?);
    let (hour, minute, second) = (number(hour, 23)?, number(minute, 59)?, number(second, 60)?);
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let before = (year - 1_970) * 365 + leaps(year - 1) - leaps(1_969);
    let days = (before..before + 366).find(|days| civil(*days) == (year, month, day))?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(WallTime(i64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?))
}

/// Year, month from 0, and day of the month, so many days after 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1_970 + days / CYCLE_DAYS * CYCLE_YEARS;
    days %= CYCLE_DAYS;
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// Days that a year has over 365.
fn leap(year: u64) -> u64 {
    u64::from(year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// The Gregorian calendar repeats itself after so many days, which are so many years.
const CYCLE_DAYS: u64 = 146_097;
const CYCLE_YEARS: u64 = 400;
/// 1970 began on the first.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Option<String> {
        http_date(WallTime(seconds * 1_000_000_000 + 999_999_999))
    }

    #[test]
    fn dates_are_told() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (2_147_483_648, "Tue, 19 Jan 2038 03:14:08 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        ] {
            assert_eq!(at(seconds).as_deref(), Some(date));
            assert_eq!(parse_http_date(date), Some(WallTime(seconds * 1_000_000_000)));
        }
        assert_eq!(iso_date(WallTime(951_782_399_000_000_000)).as_deref(), Some("2000-02-28T23:59:59Z"));
        for text in [
            "",
            "Sun, 06 Nov 1994",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "a b c d e f g GMT",
        ] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
        assert_eq!(http_date(WallTime(-1)), None);
        assert_eq!(http_date(WallTime(i64::MIN)), None);
        assert!(http_date(WallTime(i64::MAX)).is_some());
    }

    proptest! {
        #[test]
        fn the_next_day_follows(days in 0u64..100_000) {
            let (year, month, day) = civil(days);
            let next = civil(days + 1);
            let follows = next == (year, month, day + 1) || next == (year, month + 1, 1) || next == (year + 1, 0, 1);
            prop_assert!(follows, "{:?} after {:?}", next, (year, month, day));
            prop_assert!((1..=31).contains(&day) && month < 12);
        }
    }
}

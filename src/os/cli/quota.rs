//! Sizes and times as people write them: `20GB`, `1.5 TiB`, `30 d`.

use std::str::FromStr;
use std::time::Duration;

/// Reads a time: a whole number above 0 and its unit, with or without a space between: seconds (`s`), minutes (`min`),
/// hours (`h`) or days (`d`, `days`), at most 100 years.
pub fn span(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no time: write a number and s, min, h or d, as 30 d");
    let number = text.trim();
    let unit = number.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(number.len());
    let (number, unit) = number.split_at(unit);
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" | "day" | "days" => 86_400,
        _ => return Err(refused()),
    };
    let number = u64::from_str(number.trim_end()).ok().and_then(|number| number.checked_mul(seconds));
    let whole = number.filter(|seconds| (1..=LONGEST_S).contains(seconds));
    whole.map(Duration::from_secs).ok_or_else(refused)
}

/// Reads a cache's quota, in bytes: a number above 0 and its unit, with or without a space between. `kB` to `TB` are powers
/// of 1000, `KiB` to `TiB` powers of 1024; the letters' case says nothing.
pub fn quota(text: &str) -> Result<u64, String> {
    let refused = |why: &str| format!("{text:?} is no size for a quota: {why}, as 20GB or 500 MiB");
    let number = text.trim();
    let unit = number.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(number.len());
    let (number, unit) = number.split_at(unit);
    let number = number.trim_end();
    if number.starts_with('-') {
        return Err(refused("write one above 0"));
    }
    // Of what `f64` reads, a size has digits and at most one point.
    let plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let amount = f64::from_str(number).ok().filter(|_| plain).ok_or_else(|| refused("write a number and its unit"))?;
    let found = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, factor) = found.ok_or_else(|| refused("write the unit, one of kB, MB, GB, TB, KiB, MiB, GiB and TiB"))?;
    let bytes = amount * *factor as f64;
    if bytes < 1.0 {
        return Err(refused("write one above 0"));
    }
    if bytes > MOST {
        return Err(refused("write one below 1000000 TB"));
    }
    Ok(bytes as u64)
}

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
/// A hundred years.
const LONGEST_S: u64 = 100 * 366 * 86_400;
/// More than any disk has.
const MOST: f64 = 1e18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        let table = [
            ("20GB", 20_000_000_000),
            ("20 GB", 20_000_000_000),
            (" 1.5 TiB ", 3 << 39),
            ("500mb", 500_000_000),
            ("64 KiB", 65_536),
            ("1 B", 1),
            ("0.5kB", 500),
        ];
        for (text, bytes) in table {
            assert_eq!(quota(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, seconds) in [("30 d", 2_592_000), ("30 days", 2_592_000), ("2s", 2), ("5 min", 300), (" 1h ", 3_600)]
        {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "d", "0 s", "-1 s", "1.5 h", "1 month", "99999999999999999999 d", "40000 d"] {
            assert!(span(text).is_err_and(|why| why.starts_with(&format!("{text:?} is no time"))), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_reason() {
        let table = [
            ("-5 GB", "write one above 0"),
            ("0 GB", "write one above 0"),
            ("0.0001 kB", "write one above 0"),
            ("20", "write the unit"),
            ("20 GBit", "write the unit"),
            ("20 XB", "write the unit"),
            ("20 €", "write a number and its unit"),
            ("", "write a number and its unit"),
            ("GB", "write a number and its unit"),
            ("all", "write a number and its unit"),
            ("1e9 GB", "write the unit"),
            ("inf", "write a number and its unit"),
            ("1.2.3 GB", "write a number and its unit"),
            ("+5 GB", "write a number and its unit"),
            ("99999999999 TB", "write one below 1000000 TB"),
        ];
        for (text, why) in table {
            let error = quota(text).expect_err(text);
            assert!(error.starts_with(&format!("{text:?} is no size for a quota: {why}")), "{error}");
        }
    }
}

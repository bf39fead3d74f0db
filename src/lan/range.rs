//! One range of bytes (RFC 9110, section 14); what asks for several, or is no range of bytes, gets the whole.

/// What a `Range` header asks for, of a file of known size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Range {
    /// All of it.
    Whole,
    /// From the first byte, to the one after the last.
    Part(u64, u64),
    /// Nothing that the file has.
    Beyond,
}

/// Reads the header's value.
pub fn parse(value: &str, size: u64) -> Range {
    let Some((unit, spec)) = value.split_once('=') else { return Range::Whole };
    let spec = spec.trim();
    let Some((first, last)) = spec.split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes")) else {
        return Range::Whole;
    };
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (Some(first), Some(last), ..) if first > last => Range::Whole,
        (Some(first), ..) if first >= size && !(last.is_empty() || number(last).is_some()) => Range::Whole,
        (Some(first), Some(_), ..) | (Some(first), None, _, true) if first >= size => Range::Beyond,
        (Some(first), Some(last), ..) => Range::Part(first, last.saturating_add(1).min(size)),
        (Some(first), None, _, true) => Range::Part(first, size),
        (None, Some(0), true, _) => Range::Beyond,
        (None, Some(_), true, _) if size == 0 => Range::Beyond,
        (None, Some(length), true, _) => Range::Part(size.saturating_sub(length), size),
        _ => Range::Whole,
    }
}

/// Digits alone; more than there are in any file count as the most.
fn number(digits: &str) -> Option<u64> {
    let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read() {
        for (value, size, range) in [
            ("bytes=0-0", 10, Range::Part(0, 1)),
            ("bytes=0-9", 10, Range::Part(0, 10)),
            ("bytes=3-", 10, Range::Part(3, 10)),
            ("bytes=9-99", 10, Range::Part(9, 10)),
            ("bytes=-4", 10, Range::Part(6, 10)),
            ("bytes=-99", 10, Range::Part(0, 10)),
            ("Bytes= 3-4 ", 10, Range::Part(3, 5)),
            ("bytes=0-18446744073709551615", 10, Range::Part(0, 10)),
            ("bytes=0-99999999999999999999999", 10, Range::Part(0, 10)),
            ("bytes=-99999999999999999999999", 10, Range::Part(0, 10)),
            ("bytes=10-", 10, Range::Beyond),
            ("bytes=99999999999999999999999-", 10, Range::Beyond),
            ("bytes=10-20", 10, Range::Beyond),
            ("bytes=-0", 10, Range::Beyond),
            ("bytes=0-", 0, Range::Beyond),
            ("bytes=-1", 0, Range::Beyond),
            ("bytes=4-3", 10, Range::Whole),
            ("bytes=0-1,3-4", 10, Range::Whole),
            ("bytes=0-1,", 10, Range::Whole),
            ("bytes=-", 10, Range::Whole),
            ("bytes=", 10, Range::Whole),
            ("bytes", 10, Range::Whole),
            ("lines=0-1", 10, Range::Whole),
            ("bytes=a-b", 10, Range::Whole),
            ("bytes=1-b", 10, Range::Whole),
            ("bytes=99-b", 10, Range::Whole),
            ("bytes=+1-2", 10, Range::Whole),
            ("bytes=0--1", 10, Range::Whole),
            ("bytes=0x1-2", 10, Range::Whole),
            ("", 10, Range::Whole),
        ] {
            assert_eq!(parse(value, size), range, "{value} of {size}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_in_the_file(value in "(bytes)?=?[0-9]{0,21}-?[0-9]{0,21}.{0,3}", size: u64) {
            if let Range::Part(first, end) = parse(&value, size) {
                prop_assert!(first < end && end <= size);
            }
        }

        #[test]
        fn a_good_range_is_that_part(size in 1u64.., first: u64, length in 1u64..) {
            let first = first % size;
            let last = first.saturating_add(length - 1);
            prop_assert_eq!(parse(&format!("bytes={first}-{last}"), size), Range::Part(first, last.saturating_add(1).min(size)));
            prop_assert_eq!(parse(&format!("bytes={first}-"), size), Range::Part(first, size));
            prop_assert_eq!(parse(&format!("bytes=-{length}"), size), Range::Part(size.saturating_sub(length), size));
        }
    }
}

//! Names that nobody gave: of the later of two objects that claim one name, and of the loser of a conflict.
//!
//! Each thing has a short list of names, from plain to certain. It shows under the first that is no real name in its
//! directory and on no other thing's list, so that names follow from what is there, and not from who came first.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::register::Stamp;
use crate::base::limits::{LABEL_MAX, NAME_MAX};
use crate::base::{ObjectId, WallTime};
use crate::wire::record::Dot;

/// Names for an object whose own name another holds: `name (DATE AUTHOR ID).ext`, with eight digits of its id, or all.
pub(super) fn clash(name: &[u8], stamp: &Stamp, author: &str, id: &ObjectId) -> Vec<Arc<[u8]>> {
    let hex = id.hex();
    [&hex[..8], &hex].iter().map(|piece| derive(name, &format!("{} {author} {piece}", date(stamp.wall)))).collect()
}

/// Names for a body that lost a conflict: `name (conflict DATE AUTHOR).ext`, then with a piece of its hash.
pub(super) fn conflict(name: &[u8], stamp: &Stamp, author: &str, id: &ObjectId) -> Vec<Arc<[u8]>> {
    let hex = data_encoding::HEXLOWER.encode(&conflict_hash(id, &stamp.dot()));
    ["", &hex[..8], &hex[..32]]
        .iter()
        .map(|piece| {
            let space = if piece.is_empty() { "" } else { " " };
            derive(name, &format!("conflict {} {author}{space}{piece}", date(stamp.wall)))
        })
        .collect()
}

/// Inode number of a body that lost a conflict: the start of its hash; never 0, nor 1, which is the mount's root.
pub(super) fn conflict_inode(id: &ObjectId, dot: &Dot) -> u64 {
    let hash = conflict_hash(id, dot);
    let number = hash.chunks_exact(8).map(|bytes| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
    number.into_iter().find(|n| *n > 1).unwrap_or(u64::MAX)
}

/// An author's name as it may stand in a file's name.
pub(super) fn author(name: &str) -> String {
    let mut clean: String = name.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    clean.truncate(boundary(clean.as_bytes(), LABEL_MAX));
    clean
}

/// SHA-256 over object and dot.
fn conflict_hash(id: &ObjectId, dot: &Dot) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(id.0);
    hash.update(dot.author.0);
    hash.update(dot.incarnation.to_be_bytes());
    hash.update(dot.sequence.to_be_bytes());
    hash.finalize().into()
}

/// `name` with ` (note)` before its extension, its stem cut so that the whole fits.
fn derive(name: &[u8], note: &str) -> Arc<[u8]> {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let at = match dot {
        Some(at) if at > 0 && at + 1 < name.len() && name.len() - at <= EXTENSION_MAX => at,
        _ => name.len(),
    };
    let (stem, extension) = name.split_at(at);
    let room = NAME_MAX.saturating_sub(note.len() + 3 + extension.len());
    let stem = &stem[..boundary(stem, room)];
    [stem, b" (", note.as_bytes(), b")", extension].concat().into()
}

/// The longest cut of at most `room` bytes that leaves UTF-8 whole where it is UTF-8.
fn boundary(bytes: &[u8], room: usize) -> usize {
    if bytes.len() <= room {
        return bytes.len();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0),
        Err(_) => room,
    }
}

/// YYYY-MM-DD in UTC.
fn date(wall: WallTime) -> String {
    let (year, month, day) = wall.date();
    format!("{year:04}-{month:02}-{day:02}")
}

/// Longer endings, in bytes with their dot, are taken for a part of the name.
const EXTENSION_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::MemberKey;
    use crate::wire::record::Chain;

    /// Nanoseconds of a day.
    const DAY_NS: i64 = 86_400_000_000_000;

    fn stamp(wall: i64) -> Stamp {
        let chain = Arc::new(Chain { author: MemberKey([7; 32]), incarnation: 0 });
        Stamp { staged: false, lamport: 3, chain, sequence: 3, wall: WallTime(wall) }
    }

    fn text(name: &[u8]) -> String {
        String::from_utf8(name.to_vec()).expect("names of these tests are UTF-8")
    }

    #[test]
    fn dates_are_right_around_leap_days_and_before_1970() {
        let day = |days: i64| date(WallTime(days * DAY_NS));
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(-1), "1969-12-31");
        assert_eq!(date(WallTime(-1)), "1969-12-31");
        assert_eq!(day(11_016), "2000-02-29");
        assert_eq!(day(11_017), "2000-03-01");
        assert_eq!(day(20_779), "2026-11-22");
        assert_eq!(date(WallTime(i64::MAX)), "2262-04-11");
        assert_eq!(date(WallTime(i64::MIN)), "1677-09-21");
    }

    #[test]
    fn the_extension_stays_last() {
        let id = ObjectId([0xab; 16]);
        let names = |name: &[u8]| text(&clash(name, &stamp(0), "Ann", &id)[0]);
        assert_eq!(names(b"cat.jpg"), "cat (1970-01-01 Ann abababab).jpg");
        assert_eq!(names(b"a.tar.gz"), "a.tar (1970-01-01 Ann abababab).gz");
        assert_eq!(names(b".bashrc"), ".bashrc (1970-01-01 Ann abababab)");
        assert_eq!(names(b"README"), "README (1970-01-01 Ann abababab)");
        assert_eq!(names(b"dot."), "dot. (1970-01-01 Ann abababab)");
        let plain = &conflict(b"cat.jpg", &stamp(0), "Ann", &id)[0];
        assert_eq!(text(plain), "cat (conflict 1970-01-01 Ann).jpg");
    }

    #[test]
    fn a_long_name_is_cut_between_letters_and_stays_within_the_limit() {
        let id = ObjectId([0xab; 16]);
        let long = "é".repeat(127);
        for name in clash(long.as_bytes(), &stamp(0), "Ann", &id) {
            assert!(name.len() <= NAME_MAX && name.len() >= NAME_MAX - 1);
            assert!(text(&name).ends_with("b)"));
        }
        let bytes = [0xff; 255];
        assert_eq!(clash(&bytes, &stamp(0), "Ann", &id)[0].len(), NAME_MAX);
        let author = author(&"ö/\n".repeat(80));
        for name in conflict(format!("{long}.x").as_bytes(), &stamp(0), &author, &id) {
            assert!(name.len() <= NAME_MAX && !name.contains(&b'/') && !name.contains(&b'\n'));
        }
    }
}

//! What nodes say of themselves on the LAN, as the strings of a TXT record (RFC 6763, section 6).
//!
//! ```text
//! presence (_dustfs._tcp):     "v=1", "n=" nonce(16), and for each circle "c=" mark(16)
//! pairing (_dustfs-pair._tcp): "v=1", "n=" nonce(16), "k=" transport key(32), and "o=1" after an overlap
//! ```

use super::WireError;
use crate::base::TransportKey;
use crate::base::limits::{BEACON_STRINGS, CIRCLES};

/// By this a node's friends, and nobody else, recognise it; `roster::lan` makes the marks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presence {
    /// Random for each start.
    pub nonce: [u8; 16],
    /// One for each circle, at most [`CIRCLES`].
    pub marks: Vec<[u8; 16]>,
}

/// What a box says while its window is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pairing {
    /// Random for each press.
    pub nonce: [u8; 16],
    /// The key of its TLS certificate.
    pub key: TransportKey,
    /// It saw several others in the window and gave up, as whoever hears this should.
    pub overlap: bool,
}

impl Presence {
    /// The record's strings, each under 256 bytes.
    pub fn strings(&self) -> Vec<Vec<u8>> {
        let marks = self.marks.iter().map(|mark| [b"c=", &mark[..]].concat());
        [VERSION.to_vec(), [b"n=", &self.nonce[..]].concat()].into_iter().chain(marks).collect()
    }

    /// Reads the strings of a record.
    pub fn read(strings: &[&[u8]]) -> Result<Self, WireError> {
        let fields = Fields::new(strings)?;
        let marks: Result<Vec<_>, _> = fields.all(b"c=").map(exactly).collect();
        let marks = marks?;
        if marks.len() > CIRCLES {
            return Err(WireError::OverLimit("the circles of a beacon", marks.len(), CIRCLES));
        }
        Ok(Self { nonce: fields.one(b"n=")?, marks })
    }
}

impl Pairing {
    /// The record's strings, each under 256 bytes.
    pub fn strings(&self) -> Vec<Vec<u8>> {
        let overlap = self.overlap.then(|| b"o=1".to_vec());
        let known = [VERSION.to_vec(), [b"n=", &self.nonce[..]].concat(), [b"k=", &self.key.0[..]].concat()];
        known.into_iter().chain(overlap).collect()
    }

    /// Reads the strings of a record.
    pub fn read(strings: &[&[u8]]) -> Result<Self, WireError> {
        let fields = Fields::new(strings)?;
        let overlap = fields.all(b"o=").next() == Some(b"1");
        Ok(Self { nonce: fields.one(b"n=")?, key: TransportKey(fields.one(b"k=")?), overlap })
    }
}

/// Strings `key=value`, bounded in number; unknown keys are for later versions.
struct Fields<'a>(&'a [&'a [u8]]);

impl<'a> Fields<'a> {
    fn new(strings: &'a [&'a [u8]]) -> Result<Self, WireError> {
        if strings.len() > BEACON_STRINGS {
            return Err(WireError::OverLimit("the strings of a beacon", strings.len(), BEACON_STRINGS));
        }
        if !strings.contains(&VERSION) {
            return Err(WireError::Malformed(WHAT, "it is of another version".into()));
        }
        Ok(Self(strings))
    }

    fn all(&self, key: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter_map(move |string| string.strip_prefix(key))
    }

    fn one<const N: usize>(&self, key: &'static [u8]) -> Result<[u8; N], WireError> {
        exactly(self.all(key).next().unwrap_or_default())
    }
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], WireError> {
    bytes.try_into().map_err(|_| WireError::Malformed(WHAT, format!("a field is not {N} bytes")))
}

const WHAT: &str = "a beacon";
const VERSION: &[u8] = b"v=1";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slices(strings: &[Vec<u8>]) -> Vec<&[u8]> {
        strings.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn bad_beacons_are_refused() {
        let good = Pairing { nonce: [1; 16], key: TransportKey([2; 32]), overlap: false }.strings();
        let good = slices(&good);
        assert!(Pairing::read(&good).is_ok());
        assert!(Pairing::read(&good[1..]).is_err(), "no version");
        assert!(Pairing::read(&good[..2]).is_err(), "no key");
        assert!(Pairing::read(&[good[0], good[1], b"k=short"]).is_err());
        assert!(Presence::read(&vec![&b"v=1"[..]; BEACON_STRINGS + 1]).is_err());
        let marks = vec![[3; 16]; CIRCLES + 1];
        assert!(Presence::read(&slices(&Presence { nonce: [1; 16], marks }.strings())).is_err());
        let later = [&good[..], &[b"z=new".as_slice()]].concat();
        assert!(Pairing::read(&later).is_ok(), "a later version may say more");
    }

    proptest! {
        #[test]
        fn beacons_read_back(nonce: [u8; 16], key: [u8; 32], overlap: bool,
            marks in proptest::collection::vec(any::<[u8; 16]>(), 0..=CIRCLES)) {
            let pairing = Pairing { nonce, key: TransportKey(key), overlap };
            prop_assert_eq!(Pairing::read(&slices(&pairing.strings())), Ok(pairing));
            let presence = Presence { nonce, marks };
            let strings = presence.strings();
            prop_assert!(strings.iter().all(|string| string.len() < 256));
            prop_assert_eq!(Presence::read(&slices(&strings)), Ok(presence));
        }

        #[test]
        fn garbage_never_panics(strings: Vec<Vec<u8>>) {
            let _ = Pairing::read(&slices(&strings));
            let _ = Presence::read(&slices(&strings));
        }
    }
}

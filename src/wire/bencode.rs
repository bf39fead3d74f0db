//! Bencode (BEP 3) through serde, with the limits that serde_bencode does not have.
//!
//! Length and nesting are scanned before anything is decoded, so that no input can exhaust the stack or the memory.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WireError;
use crate::base::limits::BENCODE_DEPTH;

/// Encodes a value of ours. Our own types always can be.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_bencode::to_bytes(value).expect("our own types have a bencoded form")
}

/// Decodes all of `bytes`, which are `what`, if they are at most `limit` bytes and well nested.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::OverLimit(what, bytes.len(), limit));
    }
    scan(what, bytes)?;
    serde_bencode::from_bytes(bytes).map_err(|error| WireError::Malformed(what, error.to_string()))
}

/// Walks the bytes once: every string within bounds, depth within the limit, one value and nothing after it.
fn scan(what: &'static str, bytes: &[u8]) -> Result<(), WireError> {
    let refuse = |why: &str| Err(WireError::Malformed(what, why.into()));
    let mut at = 0;
    let mut depth = 0;
    loop {
        match bytes.get(at) {
            None => return refuse("it is cut short"),
            Some(b'd' | b'l') => {
                depth += 1;
                if depth > BENCODE_DEPTH {
                    return Err(WireError::OverLimit(what, depth, BENCODE_DEPTH));
                }
                at += 1;
                continue;
            }
            Some(b'i') => {
                let Some(length) = bytes[at..].iter().take(24).position(|b| *b == b'e') else {
                    return refuse("an integer has no end");
                };
                at += length + 1;
            }
            Some(b'e') if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            Some(b'0'..=b'9') => {
                let Some(colon) = bytes[at..].iter().take(11).position(|b| *b == b':') else {
                    return refuse("a string has no ':'");
                };
                let length = std::str::from_utf8(&bytes[at..at + colon]).ok().and_then(|text| text.parse().ok());
                let end = length.and_then(|length: usize| (at + colon + 1).checked_add(length));
                match end {
                    Some(end) if end <= bytes.len() => at = end,
                    _ => return refuse("a string is longer than what is there"),
                }
            }
            Some(_) => return refuse("it is not bencode"),
        }
        if depth == 0 {
            return if at == bytes.len() { Ok(()) } else { refuse("something follows it") };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_and_lies_are_refused() {
        let deep = [vec![b'l'; 1_000_000], vec![b'e'; 1_000_000]].concat();
        assert!(matches!(decode::<Vec<u8>>("x", &deep, 4_000_000), Err(WireError::OverLimit("x", ..))));
        for bad in
            [&b""[..], b"i1", b"5:abc", b"99999999999999999999:a", b"-1:a", b"le1:a", b"e", b"i1ei2e", b"x", b"d"]
        {
            assert!(matches!(decode::<i64>("x", bad, 100), Err(WireError::Malformed("x", _))), "{bad:?}");
        }
        assert!(matches!(decode::<i64>("x", b"i1e", 2), Err(WireError::OverLimit("x", 3, 2))));
        assert_eq!(decode::<i64>("x", b"i-7e", 9), Ok(-7));
    }
}

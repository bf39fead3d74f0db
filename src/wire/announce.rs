//! A tracker's side of HTTP: what a stock client asks (BEP 3), and the peers that it is told of (BEP 3, 7, 23).

use core::net::SocketAddr;
use serde::Serialize;

use super::record::Bytes2;
use super::{WireError, bencode};
use crate::base::InfoHash;

/// Bytes of a request's head.
pub const REQUEST_MAX: usize = 4_096;

/// What a client says of itself and asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Where the client takes connections; 0 where it takes none.
    pub port: u16,
    /// It goes away.
    pub stopped: bool,
    /// Peers are told in BEP 23's form.
    pub compact: bool,
}

impl Announce {
    /// Reads the head of a request, of which only the first line counts. A client that says nothing of a form is told
    /// BEP 23's.
    pub fn of_request(head: &[u8]) -> Result<Self, WireError> {
        let refuse = |why: &str| WireError::Malformed("an announce", why.into());
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let query = line.strip_prefix(b"GET /announce?").ok_or_else(|| refuse("it does not ask for /announce"))?;
        let query = query.split(|byte| *byte == b' ').next().unwrap_or_default();
        let mut asked = Self { info_hash: InfoHash([0; 20]), port: 0, stopped: false, compact: true };
        let mut named = false;
        for pair in query.split(|byte| *byte == b'&') {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let (key, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
            match key {
                b"info_hash" => {
                    asked.info_hash = unescape(value)
                        .and_then(|bytes| InfoHash::from_slice(&bytes))
                        .ok_or_else(|| refuse("its info_hash is not 20 bytes"))?;
                    named = true;
                }
                b"port" => {
                    let port = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    asked.port = port.ok_or_else(|| refuse("its port is none"))?;
                }
                b"event" => asked.stopped = value == b"stopped",
                b"compact" => asked.compact = value != b"0",
                _ => {}
            }
        }
        if named { Ok(asked) } else { Err(refuse("it names no torrent")) }
    }
}

/// Undoes percent-encoding (RFC 3986, 2.1).
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

#[derive(Serialize)]
struct Told {
    interval: u64,
    #[serde(rename = "min interval")]
    least: u64,
    peers: Peers,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers6: Option<Bytes2>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Peers {
    Compact(Bytes2),
    Listed(Vec<Peer>),
}

#[derive(Serialize)]
struct Peer {
    ip: String,
    port: u16,
}

#[derive(Serialize)]
struct Failure<'a> {
    #[serde(rename = "failure reason")]
    why: &'a str,
}

/// The whole response that tells `peers`, or why there are none to tell. `interval_s` is when to ask again.
pub fn response(peers: Result<&[SocketAddr], &str>, compact: bool, interval_s: u64) -> Vec<u8> {
    let body = match peers {
        Err(why) => bencode::encode(&Failure { why }),
        Ok(peers) if compact => {
            let (mut four, mut six) = (Vec::new(), Vec::new());
            for peer in peers {
                match peer {
                    SocketAddr::V4(v4) => four.extend([&v4.ip().octets()[..], &v4.port().to_be_bytes()].concat()),
                    SocketAddr::V6(v6) => six.extend([&v6.ip().octets()[..], &v6.port().to_be_bytes()].concat()),
                }
            }
            let peers6 = (!six.is_empty()).then(|| Bytes2::from(six));
            bencode::encode(&Told {
                interval: interval_s,
                least: LEAST_S,
                peers: Peers::Compact(Bytes2::from(four)),
                peers6,
            })
        }
        Ok(peers) => {
            let listed = peers.iter().map(|peer| Peer { ip: peer.ip().to_string(), port: peer.port() }).collect();
            bencode::encode(&Told { interval: interval_s, least: LEAST_S, peers: Peers::Listed(listed), peers6: None })
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// Seconds that a client that has reason to hurry waits.
const LEAST_S: u64 = 30;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "%01%23E%67%89%ab%CD%ef%01%23E%67%89%ab%CD%ef%00%ff%20Z";

    fn asked(query: &str) -> Result<Announce, WireError> {
        Announce::of_request(format!("GET /announce?{query} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
    }

    #[test]
    fn what_libtorrent_asks_is_read() {
        let query =
            format!("info_hash={HASH}&peer_id=-LT2080-abc&port=4501&uploaded=0&left=65536&event=started&compact=1");
        let announce = asked(&query).unwrap();
        assert_eq!(announce.info_hash.hex(), "0123456789abcdef0123456789abcdef00ff205a");
        assert_eq!((announce.port, announce.stopped, announce.compact), (4_501, false, true));
        assert!(asked(&format!("info_hash={HASH}&event=stopped&compact=0")).is_ok_and(|a| a.stopped && !a.compact));
    }

    #[test]
    fn what_is_no_announce_is_refused() {
        let long = format!("info_hash={HASH}%00&port=1");
        for query in ["", "port=1", "info_hash=%0", "info_hash=%zz", "info_hash=abc", &long] {
            assert!(asked(query).is_err(), "{query}");
        }
        assert!(asked(&format!("info_hash={HASH}&port=65536")).is_err());
        assert!(Announce::of_request(b"GET /scrape?info_hash=a HTTP/1.1\r\n\r\n").is_err());
        assert!(Announce::of_request(b"POST /announce?info_hash=a HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn peers_are_told_in_both_forms() {
        let peers = ["10.0.0.1:258".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap()];
        let body = |bytes: Vec<u8>| {
            let at = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            assert!(String::from_utf8_lossy(&bytes).contains(&format!("Content-Length: {}\r", bytes.len() - at - 4)));
            bytes[at + 4..].to_vec()
        };
        let compact = body(response(Ok(&peers), true, 600));
        assert!(
            compact.starts_with(b"d8:intervali600e12:min intervali30e5:peers6:\x0a\0\0\x01\x01\x026:peers618:\x20\x01")
        );
        let listed = body(response(Ok(&peers[..1]), false, 600));
        assert!(listed.ends_with(b"5:peersld2:ip8:10.0.0.14:porti258eeee"));
        assert_eq!(body(response(Err("no"), true, 1)), b"d14:failure reason2:noe");
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_read(bytes: Vec<u8>, query in "[%&=a-z0-9]{0,80}") {
            let _ = Announce::of_request(&bytes);
            let _ = asked(&query);
        }
    }
}

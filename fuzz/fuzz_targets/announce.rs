//! What stock clients ask the tracker, and what they are answered: never a panic, and an answer is a response of HTTP.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use dustfs::wire::announce::{Announce, response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let announce = Announce::of_request(bytes);
    let peers: Vec<SocketAddr> = bytes
        .chunks_exact(18)
        .map(|peer| {
            let mut ip = [0; 16];
            ip.copy_from_slice(&peer[..16]);
            let port = u16::from_be_bytes([peer[16], peer[17]]);
            SocketAddr::new(IpAddr::from(ip).to_canonical(), port)
        })
        .collect();
    let compact = announce.as_ref().is_ok_and(|announce| announce.compact);
    let told = match &announce {
        Ok(_) => response(Ok(&peers), compact, 600),
        Err(error) => response(Err(&error.to_string()), compact, 0),
    };
    let end = told.windows(4).position(|four| four == b"\r\n\r\n").expect("a head has an end") + 4;
    let head = std::str::from_utf8(&told[..end]).expect("a head is text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    assert_eq!(length.parse(), Ok(told.len() - end));
    assert_eq!((told[end], told.last()), (b'd', Some(&b'e')));
});

//! Peer messages on channels and streams, and extended handshakes.
#![no_main]

use bytes::{Bytes, BytesMut};
use dustfs::wire::peer::{ExtendedHandshake, PeerMessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match PeerMessage::decode(&Bytes::copy_from_slice(bytes)) {
        Ok(PeerMessage::Unknown(id)) => assert_eq!(id, bytes[0]),
        Ok(message) => assert_eq!([message.encode_head(), message.body()].concat(), bytes),
        Err(_) => {}
    }
    let mut stream = BytesMut::from(bytes);
    while let Ok(Some(message)) = PeerMessage::take(&mut stream) {
        if let PeerMessage::Extended { payload, .. } = message {
            let _ = ExtendedHandshake::decode(&payload);
        }
    }
});

//! What others say on the LAN: never a panic, and what was read can be written.
#![no_main]

use dustfs::wire::beacon::{Pairing, Presence};
use dustfs::wire::dns::{Data, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::decode(bytes) else { return };
    let _ = message.encode();
    for record in &message.records {
        if let Data::Txt(strings) = &record.data {
            let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
            if let Ok(pairing) = Pairing::read(&strings) {
                assert!(pairing.strings().iter().all(|string| string.len() < 256));
            }
            let _ = Presence::read(&strings);
        }
    }
});

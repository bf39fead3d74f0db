//! Control messages, and with them bencode: what is decoded comes back from its own bytes.
#![no_main]

use dustfs::wire::control::Control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(message)) = Control::decode(bytes) {
        assert_eq!(Control::decode(&message.encode()), Ok(Some(message)));
    }
});

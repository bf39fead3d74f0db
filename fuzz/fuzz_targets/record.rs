//! Records, inside and outside, and the torrents in their public parts.
#![no_main]

use dustfs::wire::metainfo::Metainfo;
use dustfs::wire::record::{Inner, Outer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(inner) = Inner::decode(bytes) {
        assert_eq!(Inner::decode(&inner.encode()), Ok(inner));
    }
    if let Ok(outer) = Outer::decode(bytes)
        && let Some(Ok(metainfo)) = outer.info.as_ref().map(Metainfo::from_public)
    {
        let last = metainfo.piece(metainfo.piece_count() - 1).expect("there is a last piece");
        assert!(metainfo.piece_size(last) > 0);
    }
});

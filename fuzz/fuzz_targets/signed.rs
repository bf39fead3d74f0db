//! Commits and statements, as if every signature were right: what is decoded has one form.
#![no_main]

use bytes::Bytes;
use dustfs::wire::commit::SignedCommit;
use dustfs::wire::statement::SignedStatement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(signed) = SignedCommit::decode(bytes.clone(), |_, _, _| true) {
        assert_eq!(signed.bytes, bytes);
    }
    if let Ok(signed) = SignedStatement::decode(bytes.clone(), |_, _, _| true) {
        assert_eq!(signed.bytes, bytes);
    }
});

//! Known answers of hashes, ciphers and formats, computed by other implementations from what the rooms' docs say.

use std::path::Path;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{Held, equal, words};
use crate::base::{CircleId, CommitHash, RecordHash, RegisterTag, WallTime};
use crate::seal::{CircleKey, EpochKeys, MemberSecret, Suite, member, piece};
use crate::wire::commit::{Commit, Entry, SignedCommit};
use crate::wire::frame::Header;
use crate::wire::record::Dot;

/// SHA-1, SHA-256 and BLAKE3 with a key, of more bytes than any of them takes at once.
pub(super) fn hashes(_: &Path) -> Result<Held, String> {
    let bytes = pattern(100_000);
    equal("SHA-1", &HEXLOWER.encode(&piece::sha1([&bytes[..]]))[..], "db6498cdec44effeaa7284401972c6af8645d842")?;
    let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
    equal("SHA-256", &sha256[..], "931030b89f42c06dcdda12a43dfcd601d745d11bbb5fcd1a00fea442e8405157")?;
    let blake3 = blake3::keyed_hash(b"whats the Elvish word for friend", &bytes).to_hex();
    equal("BLAKE3", &blake3[..], "91ab65fa206e9c1756b20ba9bba33b08bc387f3826f5c4babcf24464f24d994e")?;
    Ok(Held::Yes("SHA-1, SHA-256 and BLAKE3 as they must be".into()))
}

/// Chunks of both suites and a record under keys that HKDF derived; all open again, and none that was altered.
pub(super) fn seal(_: &Path) -> Result<Held, String> {
    for (suite, answers) in CHUNKS {
        let epoch = EpochKeys::derive(&CircleId([2; 32]), 3, suite, &CircleKey([1; 32]));
        for (length, answer) in answers {
            let plaintext = pattern(length);
            let mut sealed = Vec::new();
            epoch.chunk_key().seal(&plaintext, (length + 28).next_multiple_of(4_096), &mut sealed);
            equal("a chunk's SHA-1", &HEXLOWER.encode(&piece::sha1([&sealed[..]]))[..], answer)?;
            let mut altered = sealed.clone();
            altered[20] ^= 1;
            if epoch.chunk_key().open(&mut altered).is_ok() {
                return Err(format!("an altered chunk of {suite:?} opens"));
            }
            let opened = epoch.chunk_key().open(&mut sealed).map_err(words("opening a chunk"))?;
            if !opened.starts_with(&plaintext) {
                return Err(format!("a chunk of {suite:?} opens to other bytes"));
            }
        }
    }
    let epoch = EpochKeys::derive(&CircleId([2; 32]), 3, Suite::Aes256Gcm, &CircleKey([1; 32]));
    let record = epoch.seal_record([4; 12], b"inner");
    let answer = "040404040404040404040404c8571a795640683bad26ff458e2aff80e7a55eb1b7";
    equal("a sealed record", &HEXLOWER.encode(&record)[..], answer)?;
    equal("the record opened", &epoch.open_record(&record).map_err(words("opening a record"))?[..], b"inner")?;
    Ok(Held::Yes("chunks of AES-256-GCM and of ChaCha20-Poly1305, and a record, as they must be".into()))
}

/// A frame's header, and a commit with large numbers in it, signed.
pub(super) fn formats(_: &Path) -> Result<Held, String> {
    equal("a frame's header", Header::new(0x0102_0304, 0x0010_0000).encode(), [0, 0x10, 0, 0, 1, 2, 3, 4])?;
    let secret = MemberSecret::from_seed([4; 32]);
    let commit = Commit {
        circle: CircleId([3; 32]),
        dot: Dot { author: secret.public(), incarnation: 0x0102_0304, sequence: 0x0102_0304_0506_0708 },
        previous: CommitHash([5; 32]),
        lamport: 0x1122_3344_5566_7788,
        deps: vec![Dot { author: crate::base::MemberKey([7; 32]), incarnation: 1, sequence: 8 }],
        wall: WallTime(2_208_988_800_000_000_000),
        entries: vec![Entry { record: RecordHash([8; 32]), tag: RegisterTag([9; 16]) }],
        branches: Vec::new(),
    };
    let signed = commit.clone().sign(|message| secret.sign(message));
    equal("a commit's hash", &HEXLOWER.encode(&signed.hash.0)[..], COMMIT)?;
    let decoded = SignedCommit::decode(signed.bytes, member::verify).map_err(words("decoding a commit"))?;
    equal("the commit decoded", decoded.commit, commit)?;
    Ok(Held::Yes("a frame and a signed commit as they must be".into()))
}

/// `length` bytes that are not all alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7) as u8).collect()
}

/// Lengths of plaintext, and the SHA-1 of what they seal to.
const CHUNKS: [(Suite, [(usize, &str); 2]); 2] = [
    (
        Suite::Aes256Gcm,
        [(1_000, "e529bc1a6a08f8d3f8503205e2c87277f5198cc6"), (65_508, "5afc43e469f6cf3d4a71b34b92c301414bfe4bc9")],
    ),
    (
        Suite::ChaCha20Poly1305,
        [(1_000, "ba68fdf5bca9f5bd23bbdc9067c6690855c89985"), (65_508, "1af8cc3b303e128e744e20c67302889270814986")],
    ),
];
const COMMIT: &str = "d2e1cf20bcc9c175fd63889104b9239a3f31e8ee5f8c0345e2b630f33dc43b6b";

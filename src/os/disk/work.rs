//! What a worker does with a request: sealing, hashing, reading and writing, on buffers that it keeps.

use std::io::IoSlice;
use std::thread;

use bytes::Bytes;

use super::slabs::{Slabs, TAG};
use crate::base::limits::CHUNK_SEALED;
use crate::node::io::{ChunkHash, DiskError, DiskRequest, Done, Hashed, Pair, Patches, Segment};
use crate::seal::ChunkKey;
use crate::seal::piece::{self, PieceHash, TagsHash};

/// Whole pieces of a file to be hashed.
struct Part<'a> {
    chunks: &'a [Segment],
    known: &'a [Option<[u8; 20]>],
    per_piece: usize,
}

/// One worker's hands.
pub(super) struct Worker {
    slabs: Slabs,
    buffer: Vec<u8>,
    /// A chunk to be compared with the one in `buffer`.
    other: Vec<u8>,
}

impl Worker {
    pub(super) fn new(slabs: Slabs) -> Self {
        Self { slabs, buffer: Vec::new(), other: Vec::new() }
    }

    /// Does what is asked. Commits are not a worker's.
    pub(super) fn work(&mut self, request: DiskRequest) -> Done {
        match request {
            DiskRequest::Seal { segment, key, plaintext, hash } => {
                let sealed = self.seal(segment, &key, &plaintext);
                Done::Sealed(sealed.map(|()| if hash { ChunkHash::of(&self.buffer) } else { None }))
            }
            DiskRequest::Patch { from, opener, patches, segment, key, hash } => {
                let sealed = self.patch(from, &opener, &patches, segment, &key);
                Done::Sealed(sealed.map(|()| if hash { ChunkHash::of(&self.buffer) } else { None }))
            }
            DiskRequest::Store { sha1, blocks, segments } => Done::Stored(self.store(sha1, &blocks, &segments)),
            DiskRequest::Read { segments } => Done::Read(self.read(&segments)),
            DiskRequest::Unseal { segment, key } => Done::Unsealed(self.unseal(segment, &key)),
            DiskRequest::Hash { chunks, piece_length, known } => Done::Hashed(self.hash(&chunks, piece_length, &known)),
            DiskRequest::Compare { pairs } => {
                Done::Compared(pairs.iter().map(|pair| self.is_alike(pair).unwrap_or(false)).collect())
            }
            DiskRequest::Punch { segments } => Done::Punched(self.punch(&segments)),
            DiskRequest::Measure { slabs } => Done::Measured(self.slabs.measure(&slabs)),
            DiskRequest::Commit { .. } => unreachable!("the queue hands commits to their own thread"),
        }
    }

    fn seal(&mut self, segment: Segment, key: &ChunkKey, plaintext: &[u8]) -> Result<(), DiskError> {
        self.buffer.clear();
        key.seal(plaintext, segment.length as usize, &mut self.buffer);
        self.slabs.write_at(segment.slab, segment.offset, &self.buffer)
    }

    fn patch(
        &mut self,
        from: Segment,
        opener: &ChunkKey,
        patches: &Patches,
        segment: Segment,
        key: &ChunkKey,
    ) -> Result<(), DiskError> {
        self.slabs.read(from, &mut self.buffer)?;
        patches.apply(opener.open(&mut self.buffer).map_err(|_| DiskError::Corrupt)?);
        key.seal_in_place(&mut self.buffer);
        self.slabs.write_at(segment.slab, segment.offset, &self.buffer)
    }

    /// Equal chunks begin with equal nonces under one key, so that mostly few bytes tell that two are not alike.
    fn is_alike(&mut self, pair: &Pair) -> Result<bool, DiskError> {
        let mut nonces = [[0; NONCE]; 2];
        if pair.keys.is_none() {
            for (nonce, segment) in nonces.iter_mut().zip([pair.mine, pair.theirs]) {
                self.slabs.read_at(segment.slab, segment.offset, nonce)?;
            }
        }
        if pair.mine.length != pair.theirs.length || nonces[0] != nonces[1] {
            return Ok(false);
        }
        match &pair.keys {
            None => self.slabs.read(pair.mine, &mut self.buffer)?,
            Some((opens, seals)) => {
                self.slabs.unseal(pair.mine, opens, &mut self.other)?;
                self.buffer.clear();
                seals.seal(&self.other, pair.theirs.length as usize, &mut self.buffer);
            }
        }
        self.slabs.read(pair.theirs, &mut self.other)?;
        Ok(self.buffer == self.other)
    }

    fn store(&self, sha1: [u8; 20], blocks: &[Bytes], segments: &[Segment]) -> Result<bool, DiskError> {
        if piece::sha1(blocks.iter().map(Bytes::as_ref)) != sha1 {
            return Ok(false);
        }
        self.write_blocks(blocks, segments).map(|()| true)
    }

    fn read(&self, segments: &[Segment]) -> Result<Bytes, DiskError> {
        let mut out = vec![0; bytes_in(segments)];
        let mut rest = &mut out[..];
        for run in runs(segments) {
            let (part, after) = rest.split_at_mut(bytes_in(run));
            self.slabs.read_at(run[0].slab, run[0].offset, part)?;
            rest = after;
        }
        Ok(out.into())
    }

    fn unseal(&self, segment: Segment, key: &ChunkKey) -> Result<Bytes, DiskError> {
        let mut plaintext = Vec::new();
        self.slabs.unseal(segment, key, &mut plaintext)?;
        Ok(plaintext.into())
    }

    fn punch(&self, segments: &[Segment]) -> Result<(), DiskError> {
        runs(segments).try_for_each(|run| self.slabs.punch(run[0].slab, run[0].offset, bytes_in(run) as u64))
    }

    fn write_blocks(&self, blocks: &[Bytes], segments: &[Segment]) -> Result<(), DiskError> {
        let (piece, space) = (blocks.iter().map(Bytes::len).sum::<usize>(), bytes_in(segments));
        if piece != space {
            return Err(DiskError::Io(format!("a piece of {piece} bytes was given {space} bytes of space")));
        }
        let mut blocks = blocks.iter();
        let mut block: &[u8] = &[];
        for run in runs(segments) {
            let mut parts = Vec::new();
            let mut missing = bytes_in(run);
            while missing > 0 {
                while block.is_empty() {
                    block = blocks.next().expect("blocks and segments are equally long");
                }
                let (part, after) = block.split_at(block.len().min(missing));
                parts.push(IoSlice::new(part));
                missing -= part.len();
                block = after;
            }
            self.slabs.write_parts_at(run[0].slab, run[0].offset, &mut parts)?;
        }
        Ok(())
    }

    /// A large file is hashed on as many threads as there are processors: whoever closed it waits, and so do its friends.
    fn hash(&mut self, chunks: &[Segment], piece_length: u32, known: &[Option<[u8; 20]>]) -> Result<Hashed, DiskError> {
        let per_piece = (piece_length as usize / CHUNK_SEALED).max(1);
        let threads = match chunks.len() {
            0..CHUNKS_SHARED => 1,
            _ => thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX),
        };
        let share = chunks.len().div_ceil(per_piece).div_ceil(threads).max(1);
        let parts: Vec<Part> = chunks
            .chunks(share * per_piece)
            .enumerate()
            .map(|(part, chunks)| Part { chunks, known: known.get(part * share..).unwrap_or_default(), per_piece })
            .collect();
        let hashed: Vec<_> = match &parts[..] {
            [part] => vec![self.hash_part(part)],
            parts => thread::scope(|scope| {
                let lost = || DiskError::Io("a thread that hashes could not do its work".into());
                let mut threads = Vec::new();
                for part in parts {
                    let mut worker = Worker::new(self.slabs.clone());
                    threads.push(thread::Builder::new().spawn_scoped(scope, move || worker.hash_part(part)));
                }
                let joined = threads.into_iter().map(|thread| thread.ok().and_then(|thread| thread.join().ok()));
                joined.map(|part| part.unwrap_or_else(|| Err(lost()))).collect()
            }),
        };
        let (mut pieces, mut all) = (Vec::new(), TagsHash::default());
        for part in hashed {
            let (some, tags) = part?;
            pieces.extend(some);
            tags.iter().for_each(|tag| all.update(tag));
        }
        Ok(Hashed { pieces, tags: all.finish() })
    }

    /// SHA-1 of each piece, and the tag of each chunk.
    fn hash_part(&mut self, part: &Part) -> Result<(Vec<u8>, Vec<[u8; TAG]>), DiskError> {
        let mut pieces = Vec::new();
        let mut tags = Vec::with_capacity(part.chunks.len());
        for (index, piece) in part.chunks.chunks(part.per_piece).enumerate() {
            let sha1 = match part.known.get(index).copied().flatten() {
                Some(sha1) => self.read_tags(piece, &mut tags).map(|()| sha1)?,
                None => self.read_piece(piece, &mut tags)?,
            };
            pieces.extend_from_slice(&sha1);
        }
        Ok((pieces, tags))
    }

    fn read_tags(&self, chunks: &[Segment], tags: &mut Vec<[u8; TAG]>) -> Result<(), DiskError> {
        for chunk in chunks {
            let mut tag = [0; TAG];
            let end = chunk.offset + u64::from(chunk.length);
            self.slabs.read_at(chunk.slab, end.saturating_sub(TAG as u64), &mut tag)?;
            tags.push(tag);
        }
        Ok(())
    }

    fn read_piece(&mut self, chunks: &[Segment], tags: &mut Vec<[u8; TAG]>) -> Result<[u8; 20], DiskError> {
        let mut hash = PieceHash::default();
        for part in runs(chunks).flat_map(|run| run.chunks(CHUNKS_PER_READ)) {
            self.buffer.resize(bytes_in(part), 0);
            self.slabs.read_at(part[0].slab, part[0].offset, &mut self.buffer)?;
            hash.update(&self.buffer);
            let mut rest = &self.buffer[..];
            for chunk in part {
                let (sealed, after) = rest.split_at(chunk.length as usize);
                let short = || DiskError::Io(format!("a chunk of {} bytes has no tag", chunk.length));
                tags.push(*sealed.last_chunk().ok_or_else(short)?);
                rest = after;
            }
        }
        Ok(hash.finish())
    }
}

/// The segments in stretches that follow each other in one slab.
fn runs(segments: &[Segment]) -> impl Iterator<Item = &[Segment]> {
    segments.chunk_by(|one, next| one.slab == next.slab && one.offset + u64::from(one.length) == next.offset)
}

fn bytes_in(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.length as usize).sum()
}

/// Bytes of the nonce that a sealed chunk begins with.
const NONCE: usize = 12;
/// Chunks that are read at once for hashing: 256 KiB.
const CHUNKS_PER_READ: usize = 4;
/// A file of so many chunks is hashed on several threads: 16 MiB.
const CHUNKS_SHARED: usize = 256;
/// Threads that hash one file.
const THREADS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::{CircleId, Rng};
    use crate::os::state::tests::Scratch;
    use crate::seal::{CircleKey, EpochKeys, Suite};

    #[test]
    fn a_chunk_is_sealed_padded_and_opened() {
        let (_scratch, mut worker) = worker();
        let key = key();
        for (length, plain) in [(4_096, 0), (4_096, 4_068), (65_536, 65_508), (65_536, 61_500)] {
            let segment = Segment { slab: 1, offset: 8_192, length };
            let plaintext = Bytes::from(vec![b'p'; plain]);
            let seal = |hash| DiskRequest::Seal { segment, key: key.clone(), plaintext: plaintext.clone(), hash };
            assert!(matches!(worker.work(seal(false)), Done::Sealed(Ok(None))));
            let Done::Sealed(Ok(Some(told))) = worker.work(seal(true)) else { panic!("{length} bytes have no hash") };
            let Done::Read(Ok(sealed)) = worker.work(DiskRequest::Read { segments: vec![segment] }) else { panic!() };
            assert_eq!(Some(told), ChunkHash::of(&sealed));
            assert_eq!(told.sha1, piece::sha1([&sealed[..]]));
            let Done::Unsealed(Ok(opened)) = worker.work(DiskRequest::Unseal { segment, key: key.clone() }) else {
                panic!("{length} bytes do not open")
            };
            assert_eq!(opened.len(), length as usize - 28);
            assert!(opened[..plain] == plaintext && opened[plain..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_piece_is_written_only_if_it_hashes_right() {
        let (_scratch, mut worker) = worker();
        let mut rng = Rng::new(3);
        for round in 0..60 {
            let segments = segments(&mut rng, round);
            let mut bytes = vec![0; bytes_in(&segments)];
            rng.fill(&mut bytes);
            let bytes = Bytes::from(bytes);
            let blocks = blocks(&mut rng, &bytes);
            let sha1 = piece::sha1([&bytes[..]]);
            let store = |sha1| DiskRequest::Store { sha1, blocks: blocks.clone(), segments: segments.clone() };
            assert!(matches!(worker.work(store([0; 20])), Done::Stored(Ok(false))));
            let Done::Read(before) = worker.work(DiskRequest::Read { segments: segments.clone() }) else { panic!() };
            assert!(before.is_err(), "a wrong piece was written");
            assert!(matches!(worker.work(store(sha1)), Done::Stored(Ok(true))));
            let Done::Read(read) = worker.work(DiskRequest::Read { segments: segments.clone() }) else { panic!() };
            assert!(read.unwrap() == bytes, "round {round}");
        }
    }

    #[test]
    fn a_piece_that_does_not_fit_its_space_is_an_error() {
        let (_scratch, mut worker) = worker();
        let blocks = vec![Bytes::from_static(b"longer")];
        let segments = vec![Segment { slab: 1, offset: 0, length: 5 }];
        let done = worker.work(DiskRequest::Store { sha1: piece::sha1([&b"longer"[..]]), blocks, segments });
        let Done::Stored(Err(error)) = done else { panic!("{done:?}") };
        assert!(error.to_string().contains("6 bytes"), "{error}");
    }

    #[test]
    fn pieces_and_tags_are_those_of_the_chunks_in_order() {
        let (_scratch, mut worker) = worker();
        let mut rng = Rng::new(4);
        for count in [0, 1, 2, 3, 9, 17, 261] {
            let mut at = 0;
            let chunks: Vec<Segment> = (0..count)
                .map(|index| {
                    at += 65_536 + 4_096 * rng.below(2);
                    let length = if index + 1 == count { 8_192 } else { 65_536 };
                    Segment { slab: 1 + index / 6, offset: at, length }
                })
                .collect();
            let mut file = vec![0; bytes_in(&chunks)];
            rng.fill(&mut file);
            let mut rest = &file[..];
            for chunk in &chunks {
                let (sealed, after) = rest.split_at(chunk.length as usize);
                worker.slabs.write_at(chunk.slab, chunk.offset, sealed).unwrap();
                rest = after;
            }
            let mut tags = TagsHash::default();
            assert!(file.chunks(65_536).all(|chunk| tags.update_chunk(chunk)));
            let tags = tags.finish();
            let sha1s: Vec<[u8; 20]> = file.chunks(131_072).map(|piece| piece::sha1([piece])).collect();
            for known in [Vec::new(), vec![None; sha1s.len()]] {
                let done = worker.work(DiskRequest::Hash { chunks: chunks.clone(), piece_length: 131_072, known });
                let Done::Hashed(Ok(hashed)) = done else { panic!("{done:?}") };
                assert_eq!(hashed, Hashed { pieces: sha1s.concat(), tags }, "{count} chunks");
            }
            // What is known is taken as it is, and only its tags are read.
            let known = (0..sha1s.len()).map(|index| (index % 2 == 1).then_some([7; 20])).collect();
            let done = worker.work(DiskRequest::Hash { chunks, piece_length: 131_072, known });
            let Done::Hashed(Ok(hashed)) = done else { panic!("{done:?}") };
            assert_eq!(hashed.tags, tags);
            for (index, (sha1, told)) in sha1s.iter().zip(hashed.pieces.chunks(20)).enumerate() {
                assert_eq!(told, if index % 2 == 1 { &[7; 20] } else { sha1 });
            }
        }
    }

    #[test]
    fn chunks_are_alike_by_their_bytes_or_under_another_key_by_their_plaintext() {
        let (_scratch, mut worker) = worker();
        let (key, older) = (key(), key_of([3; 32]));
        let at = |unit: u64, length| Segment { slab: 1, offset: unit * 4_096, length };
        let text = vec![b't'; 60_000];
        let mut seal = |key: &Arc<ChunkKey>, segment, plaintext: &[u8]| {
            let plaintext = Bytes::copy_from_slice(plaintext);
            let done = worker.work(DiskRequest::Seal { segment, key: key.clone(), plaintext, hash: false });
            assert!(matches!(done, Done::Sealed(Ok(None))));
        };
        let (mine, same, older_same) = (at(0, 61_440), at(16, 61_440), at(32, 61_440));
        let (other, longer, older_other) = (at(48, 61_440), at(64, 65_536), at(80, 61_440));
        seal(&key, mine, &text);
        seal(&key, same, &text);
        seal(&older, older_same, &text);
        seal(&key, other, &text[1..]);
        seal(&key, longer, &text);
        seal(&older, older_other, &text[1..]);
        let keys = || Some((key.clone(), older.clone()));
        let pair = |theirs, keys| Pair { mine, theirs, keys };
        let mut pairs = vec![pair(same, None), pair(older_same, keys()), pair(other, None), pair(longer, None)];
        pairs.extend([pair(older_other, keys()), pair(older_same, None), pair(same, keys())]);
        // What cannot be read is like nothing.
        pairs.extend([pair(Segment { slab: 7, ..same }, None), pair(Segment { slab: 7, ..same }, keys())]);
        let expected = [true, true, false, false, false, false, false, false, false];
        let Done::Compared(alike) = worker.work(DiskRequest::Compare { pairs }) else { panic!() };
        assert_eq!(alike, expected);
        // A byte that the disk lost in the middle is seen.
        worker.slabs.write_at(same.slab, same.offset + 30_000, b"?").unwrap();
        let pairs = vec![pair(same, None)];
        assert!(matches!(worker.work(DiskRequest::Compare { pairs }), Done::Compared(alike) if alike == [false]));
    }

    #[test]
    fn punching_reaches_every_segment() {
        let (_scratch, mut worker) = worker();
        let segments = vec![
            Segment { slab: 1, offset: 0, length: 65_536 },
            Segment { slab: 1, offset: 65_536, length: 4_096 },
            Segment { slab: 2, offset: 69_632, length: 4_096 },
        ];
        for segment in &segments {
            worker.slabs.write_at(segment.slab, segment.offset, &vec![1; segment.length as usize]).unwrap();
        }
        assert!(matches!(worker.work(DiskRequest::Punch { segments: segments.clone() }), Done::Punched(Ok(()))));
        let Done::Read(Ok(read)) = worker.work(DiskRequest::Read { segments }) else { panic!() };
        assert!(read.iter().all(|byte| *byte == 0) || read.iter().all(|byte| *byte == 1));
    }

    /// Some that follow each other and some that do not, in slabs of their own for each round.
    fn segments(rng: &mut Rng, round: u32) -> Vec<Segment> {
        let mut offset = 0;
        (0..1 + rng.below(9))
            .map(|index| {
                let length = 4_096 * (1 + rng.below(16)) as u32;
                let at = offset + 4_096 * rng.below(2);
                offset = at + u64::from(length);
                Segment { slab: round * 2 + u32::from(index > 4), offset: at, length }
            })
            .collect()
    }

    fn blocks(rng: &mut Rng, bytes: &Bytes) -> Vec<Bytes> {
        let mut rest = bytes.clone();
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            blocks.push(rest.split_to(rest.len().min(rng.below(20_000) as usize)));
        }
        blocks
    }

    fn worker() -> (Scratch, Worker) {
        let scratch = Scratch::new();
        let slabs = Slabs::open(&scratch.path().join("slabs"), Arc::default()).unwrap();
        (scratch, Worker::new(slabs))
    }

    fn key() -> Arc<ChunkKey> {
        key_of([2; 32])
    }

    fn key_of(circle_key: [u8; 32]) -> Arc<ChunkKey> {
        EpochKeys::derive(&CircleId([1; 32]), 1, Suite::ChaCha20Poly1305, &CircleKey(circle_key)).chunk_key()
    }
}

//! What a worker does with a request: sealing, hashing, reading and writing, on buffers that it keeps.

use std::io::IoSlice;

use bytes::Bytes;

use super::slabs::{Slabs, TAG};
use crate::base::limits::CHUNK_SEALED;
use crate::node::io::{DiskError, DiskRequest, Done, Hashed, Segment};
use crate::seal::ChunkKey;
use crate::seal::piece::{self, PieceHash, TagsHash};

/// One worker's hands.
pub(super) struct Worker {
    slabs: Slabs,
    buffer: Vec<u8>,
}

impl Worker {
    pub(super) fn new(slabs: Slabs) -> Self {
        Self { slabs, buffer: Vec::new() }
    }

    /// Does what is asked. Commits are not a worker's.
    pub(super) fn work(&mut self, request: DiskRequest) -> Done {
        match request {
            DiskRequest::Seal { segment, key, plaintext } => Done::Sealed(self.seal(segment, &key, &plaintext)),
            DiskRequest::Store { sha1, blocks, segments } => Done::Stored(self.store(sha1, &blocks, &segments)),
            DiskRequest::Read { segments } => Done::Read(self.read(&segments)),
            DiskRequest::Unseal { segment, key } => Done::Unsealed(self.unseal(segment, &key)),
            DiskRequest::Hash { chunks, piece_length, known } => Done::Hashed(self.hash(&chunks, piece_length, &known)),
            DiskRequest::Punch { segments } => Done::Punched(self.punch(&segments)),
            DiskRequest::Commit { .. } => unreachable!("the queue hands commits to their own thread"),
        }
    }

    fn seal(&mut self, segment: Segment, key: &ChunkKey, plaintext: &[u8]) -> Result<(), DiskError> {
        self.buffer.clear();
        key.seal(plaintext, segment.length as usize, &mut self.buffer);
        self.slabs.write_at(segment.slab, segment.offset, &self.buffer)
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
                if block.is_empty() {
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

    fn hash(&mut self, chunks: &[Segment], piece_length: u32, known: &[Option<[u8; 20]>]) -> Result<Hashed, DiskError> {
        let per_piece = (piece_length as usize / CHUNK_SEALED).max(1);
        let mut pieces = Vec::with_capacity(chunks.len().div_ceil(per_piece) * 20);
        let mut tags = TagsHash::default();
        for (index, piece) in chunks.chunks(per_piece).enumerate() {
            let sha1 = match known.get(index).copied().flatten() {
                Some(sha1) => self.read_tags(piece, &mut tags).map(|()| sha1)?,
                None => self.read_piece(piece, &mut tags)?,
            };
            pieces.extend_from_slice(&sha1);
        }
        Ok(Hashed { pieces, tags: tags.finish() })
    }

    fn read_tags(&self, chunks: &[Segment], tags: &mut TagsHash) -> Result<(), DiskError> {
        for chunk in chunks {
            let mut tag = [0; TAG];
            let end = chunk.offset + u64::from(chunk.length);
            self.slabs.read_at(chunk.slab, end.saturating_sub(TAG as u64), &mut tag)?;
            tags.update(&tag);
        }
        Ok(())
    }

    fn read_piece(&mut self, chunks: &[Segment], tags: &mut TagsHash) -> Result<[u8; 20], DiskError> {
        let mut hash = PieceHash::default();
        for part in runs(chunks).flat_map(|run| run.chunks(CHUNKS_PER_READ)) {
            self.buffer.resize(bytes_in(part), 0);
            self.slabs.read_at(part[0].slab, part[0].offset, &mut self.buffer)?;
            hash.update(&self.buffer);
            let mut rest = &self.buffer[..];
            for chunk in part {
                let (sealed, after) = rest.split_at(chunk.length as usize);
                if !tags.update_chunk(sealed) {
                    return Err(DiskError::Io(format!("a chunk of {} bytes has no tag", chunk.length)));
                }
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

/// Chunks that are read at once for hashing: 256 KiB.
const CHUNKS_PER_READ: usize = 4;

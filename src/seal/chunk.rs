//! Placeholder until its room is written.

/// The keys by which an epoch's chunks are sealed.
#[derive(Debug)]
pub struct ChunkKey;

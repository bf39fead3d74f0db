//! Ciphers of ours: chunks, records, the key schedule, SHA-1 of pieces.

pub mod chunk;

pub use chunk::ChunkKey;

//! What every room shares: ids, time as a value, seeded randomness, limits, and the snapshot trait.

pub mod ids;
pub mod limits;
pub mod rng;
pub mod store;
pub mod time;

pub use ids::*;
pub use rng::Rng;
pub use store::{Batch, MemoryStore, Snapshot, StoreError, Table};
pub use time::{Instant, Now, WallTime};

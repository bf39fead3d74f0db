//! The composed machine: circles, trees, vault and swarm as one `handle` and one queue of actions.

pub mod io;
pub mod status;

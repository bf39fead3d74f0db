//! Arguments and the config file -> checked types.
pub mod config;
mod nearest;

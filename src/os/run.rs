//! Starts a node and owns its threads and its shutdown.

use std::fmt;
use std::path::Path;

use crate::os::cli::config::NodeConfig;

/// Why a node could not be started.
#[derive(Debug)]
pub struct RunError(pub String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

/// Runs the node until it is stopped.
pub fn node(config: NodeConfig) -> Result<(), RunError> {
    Err(RunError(format!("the node in {} cannot be started by this build", config.state.display())))
}

/// Makes the state of a new node.
pub fn init(state: &Path, name: &str) -> Result<(), RunError> {
    Err(RunError(format!("the state of {name} in {} cannot be made by this build", state.display())))
}

/// Joins while no node runs; the answer is the circle's name.
pub fn join_offline(state: &Path, _invite: &str) -> Result<String, RunError> {
    Err(RunError(format!("no node runs with {} and this build cannot join without one", state.display())))
}

//! What the check of an option needs to know of a node, beside the pool's configuration.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Processors online.
    pub cores: u32,
    /// Those of the paths asked about that are directories.
    pub directories: Vec<String>,
    /// A local brick of the volume already has the wanted trash directory, or cannot be looked at.
    pub trash_dir_exists: bool,
    /// A local brick of the (started) volume does not run.
    pub brick_down: bool,
    /// The hook script that makes the shared storage, if it is missing or cannot be run.
    pub shared_storage_hook_missing: Option<String>,
    /// A connected client of the volume that does not understand the op-version asked about.
    pub old_client: Option<OldClient>,
}

/// As texts name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldClient {
    /// `HOST:ID` as the client introduced itself.
    pub identifier: String,
    pub op_version_max: u32,
}

//! Quota's own questions to a node.

use serde::{Deserialize, Serialize};

/// Paths are the volume's, with a leading slash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaAsk {
    /// The directory's id on each local brick that has it. Answer: `Text`, an id a line.
    Gfids { path: String },
    /// Mount for the CLI, which lists through it and unmounts it. Answer: `Done`.
    MountForList,
    /// Set the limit's attribute through a mount of its own. Answer: `Done`.
    SetLimit {
        path: String,
        objects: bool,
        hard: i64,
        /// Percent; the one that is there stays without it.
        soft: Option<i64>,
    },
    /// Take the attribute away. Answer: `Done`.
    RemoveLimit {
        path: String,
        objects: bool,
        /// The list still has it: an attribute that has gone before is fine.
        listed: bool,
    },
    /// Visit every file of the local bricks once quota is in the state said: to count them, or to
    /// remove the counts. Answer: `Done`, before the visit.
    Crawl { enabled: bool },
    /// Detach what mounts are left. Answer: `Done`.
    EndMounts,
}

//! Long work on a volume: rebalance and brick removal.
//!
//! Numbers: cli1-xdr.x `gf_defrag_status_t` (v10.3).

use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    Rebalance,
    FixLayout,
    RemoveBrick,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefragStatus {
    #[default]
    NotStarted,
    Started,
    Stopped,
    Complete,
    Failed,
}

impl DefragStatus {
    pub fn code(self) -> u32 {
        match self {
            DefragStatus::NotStarted => 0,
            DefragStatus::Started => 1,
            DefragStatus::Stopped => 2,
            DefragStatus::Complete => 3,
            DefragStatus::Failed => 4,
        }
    }

    pub fn from_code(code: u32) -> Option<DefragStatus> {
        use DefragStatus::*;
        [NotStarted, Started, Stopped, Complete, Failed].into_iter().find(|s| s.code() == code)
    }
}

/// What runs, or last ran, on a volume. Per-node progress is observed, not part of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: Uuid,
    pub kind: TaskKind,
    /// Defrag command number given to the processes: 1 start, 4 fix-layout, 5 start force.
    pub command: u32,
    pub commit_hash: u32,
    pub status: DefragStatus,
    /// Removed bricks, `HOST:PATH`, for a removal.
    pub bricks: Vec<String>,
}

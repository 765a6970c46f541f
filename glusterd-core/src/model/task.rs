//! Long work on a volume: rebalance and brick removal.
//!
//! Numbers: cli1-xdr.x `gf_defrag_status_t` (v10.3).

use super::names::NodeId;
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
    /// What was counted no longer holds: a brick was replaced.
    ResetByReplace,
    ResetByReset,
}

/// Of several nodes' states the first of these that occurs is the whole task's.
/// Source: glusterd-utils.c `glusterd_volume_status_aggregate_tasks_status` (v10.3).
const PRECEDENCE: [DefragStatus; 4] =
    [DefragStatus::Started, DefragStatus::Failed, DefragStatus::Stopped, DefragStatus::Complete];

impl DefragStatus {
    pub fn code(self) -> u32 {
        match self {
            DefragStatus::NotStarted => 0,
            DefragStatus::Started => 1,
            DefragStatus::Stopped => 2,
            DefragStatus::Complete => 3,
            DefragStatus::Failed => 4,
            DefragStatus::ResetByReplace => 9,
            DefragStatus::ResetByReset => 10,
        }
    }

    pub fn from_code(code: u32) -> Option<DefragStatus> {
        use DefragStatus::*;
        let all = [NotStarted, Started, Stopped, Complete, Failed, ResetByReplace, ResetByReset];
        all.into_iter().find(|s| s.code() == code)
    }

    /// A process that says so has nothing more to do.
    pub fn is_final(self) -> bool {
        matches!(self, DefragStatus::Stopped | DefragStatus::Complete | DefragStatus::Failed)
    }

    /// The state of a task from its nodes' states.
    pub fn of_all(nodes: &[DefragStatus]) -> DefragStatus {
        let found = PRECEDENCE.into_iter().find(|status| nodes.contains(status));
        found.unwrap_or(DefragStatus::NotStarted)
    }
}

/// What runs, or last ran, on a volume. What each node achieved is [`Progress`].
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
    /// Ended by a command (stop, commit): nobody is told its id any more, and it cannot be
    /// stopped or asked for. Its traces stay in `node_state.info`.
    pub over: bool,
}

impl Task {
    /// Processes work on it.
    pub fn is_running(&self) -> bool {
        self.status == DefragStatus::Started && !self.over
    }

    /// A removal that was neither committed nor stopped.
    pub fn is_open_removal(&self) -> bool {
        self.kind == TaskKind::RemoveBrick && !self.over
    }
}

/// What a node counted during a task.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub files: u64,
    pub bytes: u64,
    pub scanned: u64,
    pub failures: u64,
    pub skipped: u64,
    pub seconds: f64,
}

/// How a task ended on one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub task: Uuid,
    pub node: NodeId,
    /// [`DefragStatus::is_final`].
    pub status: DefragStatus,
    pub counts: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_decides_for_all() {
        use DefragStatus::*;
        let check = |nodes: &[DefragStatus], want| assert_eq!(DefragStatus::of_all(nodes), want);
        check(&[], NotStarted);
        check(&[Complete, NotStarted], Complete);
        check(&[Complete, Stopped], Stopped);
        check(&[Stopped, Failed, Complete], Failed);
        check(&[Failed, Started], Started);
    }
}

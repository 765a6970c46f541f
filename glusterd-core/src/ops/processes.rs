//! What operations need of a node's processes: brought in line, looked at, called into.

use super::question::NodeStatus;
use crate::model::{Counts, NodeId, Refusal, VolumeName};
use crate::rpc::Dict;
use crate::store::View;
use crate::supervise::ObservedRebalance;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// The processes of this node, as `supervise` keeps them.
#[async_trait]
pub trait Processes: fmt::Debug + Send + Sync + 'static {
    /// Starts and stops until the processes of these volumes are as the view says; a volume that
    /// is not in the view has none. Returns what failed, in words for the log and the user.
    async fn converge(&self, view: Arc<View>, volumes: &[VolumeName]) -> Vec<(VolumeName, String)>;

    /// Brick and service rows of a volume, as observed.
    async fn status(&self, view: &View, volume: &str) -> NodeStatus;

    /// The port that a brick of this node listens on, if it runs.
    fn brick_port(&self, volume: &VolumeName, path: &str) -> Option<u16>;

    /// Rebalance processes, running or ended.
    fn rebalances(&self) -> Vec<(VolumeName, ObservedRebalance)>;

    /// Counts changes of what runs.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Stops one brick of a started volume; it stays down until its epoch grows.
    async fn retire_brick(&self, view: &View, volume: &str, path: &str) -> Result<(), String>;

    /// Starts the process of a running task once more, if the one that an earlier daemon left is gone.
    async fn resume_rebalance(&self, view: &Arc<View>, volume: &VolumeName) -> Result<(), String>;

    /// What this node has counted for a volume's task, over all processes that worked on it; `said`:
    /// what the last one says of itself now. Kept, and never less than before.
    async fn count(
        &self,
        me: NodeId,
        volume: &VolumeName,
        task: Uuid,
        said: Option<Counts>,
    ) -> Counts;

    fn snapd_port(&self, volume: &VolumeName) -> Option<u16>;

    /// `BRICK_DOWN` is the number of a brick or service that does not run. The text is the process's
    /// own, perhaps empty, if it answered.
    async fn call_brick(
        &self,
        volume: &str,
        path: &str,
        procedure: u32,
        name: &str,
        input: &Dict,
        bound: Duration,
    ) -> Result<Dict, Refusal>;

    async fn call_service(
        &self,
        service: &str,
        volume: &str,
        procedure: u32,
        name: &str,
        input: &Dict,
        bound: Duration,
    ) -> Result<Dict, Refusal>;
}

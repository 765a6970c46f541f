//! The supervisor as operations see it.

use super::processes::Processes;
use super::question::{BrickStatus, NodeStatus, ServiceStatus};
use crate::model::{Counts, NodeId, Refusal, VolumeName, errno};
use crate::rpc::Dict;
use crate::rpc::brick::{BrickAnswer, BrickProc};
use crate::store::View;
use crate::supervise::{CallFailed, ObservedRebalance, Running, Supervisor};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

#[async_trait]
impl Processes for Supervisor {
    async fn converge(&self, view: Arc<View>, volumes: &[VolumeName]) -> Vec<(VolumeName, String)> {
        let report = Supervisor::converge(self, view, volumes).await;
        let mut failed = Vec::new();
        for failure in report.failures {
            match failure.volume {
                Some(volume) => failed.push((volume, failure.text)),
                None => {
                    tracing::error!(failure.text, "a daemon of this node is not as it should be")
                }
            }
        }
        failed
    }

    async fn status(&self, view: &View, volume: &str) -> NodeStatus {
        let Some(volume) = view.volume(volume) else { return NodeStatus::default() };
        let observed = self.bricks();
        let row = |path: &str| {
            let found = observed.iter().find(|b| b.volume == volume.name && b.path == path);
            let running = found.and_then(|brick| brick.process.as_ref());
            let online = running.is_some() && found.is_some_and(|brick| brick.port_registered);
            BrickStatus {
                path: path.to_owned(),
                port: running.map_or(0, |running| running.port),
                pid: running.filter(|_| online).and_then(pid),
                online,
                detail: None,
            }
        };
        let services = self.services(volume).into_iter().map(|service| ServiceStatus {
            title: service.title.to_owned(),
            port: service.process.as_ref().map_or(0, |running| running.port),
            pid: service.process.as_ref().and_then(pid),
            online: service.process.is_some(),
        });
        NodeStatus {
            bricks: volume.local_bricks(view.me).map(|(_, brick)| row(&brick.path)).collect(),
            services: services.collect(),
        }
    }

    fn brick_port(&self, volume: &VolumeName, path: &str) -> Option<u16> {
        Some(self.brick(volume, path)?.port)
    }

    fn rebalances(&self) -> Vec<(VolumeName, ObservedRebalance)> {
        Supervisor::rebalances(self)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        Supervisor::changes(self)
    }

    async fn retire_brick(&self, view: &View, volume: &str, path: &str) -> Result<(), String> {
        let volume = VolumeName::parse(volume).ok_or("no such volume")?;
        Supervisor::retire_brick(self, view, &volume, path).await
    }

    async fn resume_rebalance(&self, view: &Arc<View>, volume: &VolumeName) -> Result<(), String> {
        Supervisor::resume_rebalance(self, view, volume).await
    }

    async fn count(
        &self,
        me: NodeId,
        volume: &VolumeName,
        task: Uuid,
        said: Option<Counts>,
    ) -> Counts {
        Supervisor::count(self, me, volume, task, said).await
    }

    fn snapd_port(&self, volume: &VolumeName) -> Option<u16> {
        Some(self.service("snapd", volume)?.port)
    }

    async fn call_brick(
        &self,
        volume: &str,
        path: &str,
        procedure: u32,
        name: &str,
        input: &Dict,
        bound: Duration,
    ) -> Result<Dict, Refusal> {
        let volume = VolumeName::parse(volume).ok_or_else(|| Refusal::staged("no such volume"))?;
        let call = Supervisor::call_brick(self, &volume, path, BrickProc(procedure), name, input);
        outcome(tokio::time::timeout(bound, call).await)
    }

    async fn call_service(
        &self,
        service: &str,
        volume: &str,
        procedure: u32,
        name: &str,
        input: &Dict,
        bound: Duration,
    ) -> Result<Dict, Refusal> {
        let volume = VolumeName::parse(volume).ok_or_else(|| Refusal::staged("no such volume"))?;
        let call =
            Supervisor::call_service(self, service, &volume, BrickProc(procedure), name, input);
        outcome(tokio::time::timeout(bound, call).await)
    }
}

fn pid(running: &Running) -> Option<u32> {
    u32::try_from(running.pid).ok()
}

/// What a process answered, or why there is no answer.
fn outcome(
    called: Result<Result<BrickAnswer, CallFailed>, tokio::time::error::Elapsed>,
) -> Result<Dict, Refusal> {
    let answer = match called {
        Err(_) => return Err(Refusal::staged("the process did not answer in time")),
        Ok(Err(failed @ CallFailed::NotRunning(_))) => {
            return Err(Refusal::staged(failed.to_string()).with_errno(errno::BRICK_DOWN));
        }
        Ok(Err(failed)) => return Err(Refusal::staged(failed.to_string())),
        Ok(Ok(answer)) => answer,
    };
    match answer.op_ret {
        0.. => Ok(answer.output),
        _ => Err(Refusal::staged(answer.op_errstr)),
    }
}

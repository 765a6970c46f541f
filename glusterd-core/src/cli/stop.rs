//! `volume stop V [force]`.
//!
//! Facts: glusterd-volume-ops.c:1389-1470, 2477 (v10.3).

use super::args::Args;
use super::start::echo_id;
use crate::model::{Refusal, Status, TaskKind, Volume};
use crate::ops::{Ask, Commit, Cx, Hooks, Operation, Outcome, Question, QuotaAsk, Step};
use crate::rpc::Dict;
use crate::store::Edit;

/// STOP_VOLUME.
pub struct Stop {
    volume: String,
    force: bool,
}

impl Stop {
    pub fn parse(dict: &Dict) -> Result<Stop, Refusal> {
        Ok(Stop { volume: Args(dict).volname()?, force: Args(dict).force() })
    }
}

impl Operation for Stop {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = super::args::volume(cx.view, &self.volume)?;
        if !self.force {
            self.check(volume)?;
        }
        let mut after = volume.as_ref().clone();
        after.status = Status::Stopped;
        after.version += 1;
        let others = cx.view.started().any(|v| v.name != volume.name);
        let last = |yes: bool| {
            vec![
                format!("--volname={}", volume.name),
                format!("--last={}", if yes { "yes" } else { "no" }),
            ]
        };
        Ok(Step::commit(Commit {
            edits: vec![Edit::PutVolume(Box::new(after))],
            first: end_quota_mounts(cx, volume),
            settle: vec![volume.name.clone()],
            hooks: Some(Hooks {
                event: "stop",
                pre: last(!others && volume.is_started()),
                post: last(!others),
            }),
            ..Commit::default()
        }))
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        echo_id(outcome, &self.volume, reply);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some(self.volume.clone())
    }

    fn changes(&self) -> bool {
        true
    }
}

/// A mount that `quota list` left would hang without its bricks.
fn end_quota_mounts(cx: &Cx<'_>, volume: &Volume) -> Vec<Ask> {
    if volume.options.flag("features.quota") != Some(true) {
        return vec![];
    }
    let ask = QuotaAsk::EndMounts;
    let question = Question::Quota { volume: volume.name.to_string(), ask };
    cx.view.alive.iter().map(|node| Ask::new(*node, question.clone())).collect()
}

impl Stop {
    fn check(&self, volume: &Volume) -> Result<(), Refusal> {
        if !volume.is_started() {
            let text = format!("Volume {} is not in the started state", self.volume);
            return Err(Refusal::staged(text));
        }
        let rebalancing = volume
            .task
            .as_ref()
            .is_some_and(|task| task.kind != TaskKind::RemoveBrick && task.is_running());
        if rebalancing {
            let text = format!("rebalance session is in progress for the volume '{}'", self.volume);
            return Err(Refusal::staged(text));
        }
        Ok(())
    }
}

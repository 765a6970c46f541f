//! `volume delete V`.
//!
//! Facts: glusterd-volume-ops.c:1474-1560, 2508 (v10.3).

use super::args::Args;
use crate::model::{Refusal, Volume};
use crate::ops::{Commit, Cx, Hooks, Operation, Outcome, Step};
use crate::rpc::Dict;
use crate::store::Edit;

/// DELETE_VOLUME.
pub struct Delete {
    volume: String,
}

impl Delete {
    pub fn parse(dict: &Dict) -> Result<Delete, Refusal> {
        Ok(Delete { volume: Args(dict).volname()? })
    }
}

impl Operation for Delete {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = super::args::volume(cx.view, &self.volume)?;
        if volume.is_started() {
            return Err(Refusal::staged(format!(
                "Volume {} has been started.Volume needs to be stopped before deletion.",
                self.volume
            )));
        }
        if cx.view.others().any(|peer| !cx.view.alive.contains(&peer.id)) {
            return Err(Refusal::staged("Some of the peers are down"));
        }
        Ok(Step::commit(commit(volume)))
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some(self.volume.clone())
    }

    fn changes(&self) -> bool {
        true
    }
}

fn commit(volume: &Volume) -> Commit {
    let args = vec![format!("--volname={}", volume.name)];
    Commit {
        edits: vec![Edit::DeleteVolume(volume.name.clone())],
        settle: vec![volume.name.clone()],
        hooks: Some(Hooks { event: "delete", pre: args.clone(), post: args }),
        ..Commit::default()
    }
}

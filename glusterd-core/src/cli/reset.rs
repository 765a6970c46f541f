//! `volume reset`.
//!
//! Decided in `options`. Facts: glusterd-handler.c:2020; glusterd-hooks.c:215 (v10.3).

use super::args::Args;
use super::set::{commit, pool, target};
use super::start::echo_id;
use crate::model::Refusal;
use crate::ops::{Commit, Cx, Hooks, Operation, Outcome, Step};
use crate::options::{Change, ResetRequest, reset};
use crate::rpc::Dict;

/// RESET_VOLUME.
pub struct ResetVolume {
    volume: String,
    key: String,
    force: bool,
}

impl ResetVolume {
    pub fn parse(dict: &Dict) -> Result<ResetVolume, Refusal> {
        Ok(ResetVolume {
            volume: Args(dict).text("volname", "Failed to get volume name")?,
            key: Args(dict).text("key", "Operation failed")?,
            force: dict.int::<i32>("force") == Some(1),
        })
    }
}

impl Operation for ResetVolume {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let request = ResetRequest {
            target: target(cx.view, &self.volume)?,
            key: (self.key != "all").then_some(self.key.as_str()),
            force: self.force,
        };
        let reset = reset(&pool(cx.view), &request)?;
        if reset.change == Change::default() {
            return Ok(Step::Done);
        }
        let arguments = vec![
            format!("--volname={}", self.volume),
            "--version=1".to_owned(),
            "--volume-op=reset".to_owned(),
            format!("--gd-workdir={}", cx.site.workdir.display()),
        ];
        let hooks = Hooks { event: "reset", pre: arguments.clone(), post: arguments };
        Ok(Step::commit(Commit {
            hooks: Some(hooks),
            note: reset.note.map(str::to_owned),
            ..commit(cx, reset.change)
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

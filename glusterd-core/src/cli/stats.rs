//! `volume profile` and `volume top`: one procedure, counters kept by the bricks.
//!
//! Facts: glusterd-op-sm.c:1937-2040, 3254-3340, `glusterd_bricks_select_profile_volume`;
//! glusterd-utils.c `glusterd_profile_volume_brick_rsp` (v10.3).

use super::args::{self, Args};
use crate::model::{Brick, BrickSpec, Refusal, Volume};
use crate::ops::{Answer, Ask, Commit, Cx, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::Edit;

const XLATOR_INFO: u32 = 2;

/// What profiling is made of: two options of io-stats.
const COUNTERS: [&str; 2] = ["diagnostics.latency-measurement", "diagnostics.count-fop-hits"];

/// The pool's op-version from which a refusal has a number of its own.
const NUMBERED_SINCE: u32 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Start,
    Stop,
    Info,
    Top,
}

/// PROFILE_VOLUME.
pub struct Stats {
    volume: String,
    form: Form,
    brick: Option<String>,
    request: Dict,
}

impl Stats {
    pub fn parse(dict: &Dict) -> Result<Stats, Refusal> {
        let form = match Args(dict).number::<u32>("op", "Volume profile op get failed")? {
            1 => Form::Start,
            2 => Form::Stop,
            3 => Form::Info,
            4 => Form::Top,
            other => return Err(Refusal::handler(format!("Invalid profile op: {other}"))),
        };
        Ok(Stats {
            volume: Args(dict).volname()?,
            form,
            brick: dict.str("brick").map(str::to_owned),
            request: dict.clone(),
        })
    }

    fn check(&self, volume: &Volume) -> Result<(), Refusal> {
        let on = COUNTERS.iter().all(|key| volume.options.flag(key) == Some(true));
        let no = |text: String| Err(Refusal::staged(text));
        match self.form {
            Form::Start if on => {
                no(format!("Profile on Volume {} is already started", volume.name))
            }
            Form::Stop | Form::Info if !on => {
                no(format!("Profile on Volume {} is not started", volume.name))
            }
            Form::Info | Form::Top if !volume.is_started() => {
                no(format!("Volume {} is not started.", volume.name))
            }
            _ => Ok(()),
        }
    }

    fn commit(&self, volume: &Volume) -> Commit {
        let mut after = volume.clone();
        for key in COUNTERS {
            match self.form {
                Form::Start => after.options.set(key, "on"),
                _ => drop(after.options.remove(key)),
            }
        }
        after.version += 1;
        Commit {
            edits: vec![Edit::PutVolume(Box::new(after))],
            settle: vec![volume.name.clone()],
            ..Commit::default()
        }
    }

    /// The bricks the form is about.
    fn bricks<'v>(&self, volume: &'v Volume) -> Result<Vec<&'v Brick>, Refusal> {
        let Some(wanted) = self.brick.as_ref().filter(|_| self.form == Form::Top) else {
            return Ok(volume.bricks.iter().collect());
        };
        let spec = BrickSpec::parse(wanted);
        let found = spec.and_then(|spec| volume.position(&spec.host, &spec.path));
        found.map(|i| vec![&volume.bricks[i]]).ok_or_else(brick_ops_failed)
    }

    fn live_asks(&self, cx: &Cx<'_>, volume: &Volume) -> Result<Vec<Ask>, Refusal> {
        let online = |brick: &&Brick| {
            cx.answers.iter().any(|a| match &a.answer {
                Answer::Status(status) if a.node == brick.node => {
                    status.bricks.iter().any(|row| row.path == brick.path && row.online)
                }
                _ => false,
            })
        };
        let ask = |brick: &Brick| {
            let mut input = self.request.clone();
            input.set_str("vol-id", volume.id.to_string());
            Ask::new(
                brick.node,
                Question::BrickOp {
                    volume: volume.name.to_string(),
                    path: brick.path.clone(),
                    procedure: XLATOR_INFO,
                    name: brick.path.clone(),
                    input: input.encode(),
                },
            )
        };
        Ok(self.bricks(volume)?.into_iter().filter(online).map(ask).collect())
    }

    fn decide(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        self.check(volume)?;
        if matches!(self.form, Form::Start | Form::Stop) {
            return Ok(Step::commit(self.commit(volume)));
        }
        if cx.answers.is_empty() {
            self.bricks(volume)?;
            let question = Question::Status { volume: self.volume.clone(), detail: false };
            let nodes = super::start::nodes_of(volume);
            let live = nodes.into_iter().filter(|node| cx.view.alive.contains(node));
            return Ok(Step::Ask(live.map(|node| Ask::new(node, question.clone())).collect()));
        }
        let mut live = cx.answers.iter().filter(|a| matches!(a.question, Question::BrickOp { .. }));
        if live.clone().next().is_some() {
            return match live.any(|a| !matches!(a.answer, Answer::Dict(_))) {
                true => Err(brick_ops_failed()),
                false => Ok(Step::Done),
            };
        }
        let asks = self.live_asks(cx, volume)?;
        Ok(if asks.is_empty() { Step::Done } else { Step::Ask(asks) })
    }
}

fn brick_ops_failed() -> Refusal {
    Refusal::staged("Brick ops failed on localhost. Please check log file for details")
}

impl Operation for Stats {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let numberless = cx.view.op_version() < NUMBERED_SINCE;
        self.decide(cx).map_err(|no| if numberless { no.with_errno(0) } else { no })
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        let volume = args::volume(outcome.view, &self.volume)?;
        reply.set_str("vol-id", volume.id.to_string());
        if matches!(self.form, Form::Start | Form::Stop) {
            return Ok(());
        }
        let mut count = 0u32;
        for answered in outcome.answers {
            let (Question::BrickOp { path, .. }, Answer::Dict(bytes)) =
                (&answered.question, &answered.answer)
            else {
                continue;
            };
            let brick = volume.bricks.iter().find(|b| b.node == answered.node && b.path == *path);
            let (Some(brick), Ok(dict)) = (brick, Dict::decode_or_empty(bytes)) else { continue };
            count += 1;
            reply.set_str(format!("{count}-brick"), brick.spec().to_string());
            reply.set_all(&format!("{count}-"), &dict);
        }
        if count > 0 {
            reply.set_int("count", count);
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        matches!(self.form, Form::Start | Form::Stop).then(|| self.volume.clone())
    }

    fn changes(&self) -> bool {
        matches!(self.form, Form::Start | Form::Stop)
    }
}

//! `volume log rotate`, `statedump`, `barrier`, `clear-locks`: commands to running bricks.
//!
//! Facts: glusterd-log-ops.c, glusterd-volume-ops.c:1721-1850, 2554-2990; glusterd-brick-ops.c:2598
//! (v10.3).

use super::args::{self, Args};
use super::bricks::staging_failed;
use crate::model::{BrickSpec, NodeId, Refusal, Volume, errno};
use crate::ops::{Answer, Answered, Ask, Commit, Cx, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::{Edit, View};

const BRICK_BARRIER: u32 = 10;

/// Live nodes with bricks of the volume.
fn live_nodes(view: &View, volume: &Volume) -> Vec<NodeId> {
    super::start::nodes_of(volume).into_iter().filter(|node| view.alive.contains(node)).collect()
}

/// The first answer that is a refusal.
fn refuse_first(view: &View, answers: &[Answered]) -> Result<(), Refusal> {
    let refused =
        answers.iter().find(|a| matches!(a.answer, Answer::Refused { .. } | Answer::Silent(_)));
    refused.map_or(Ok(()), |a| Err(staging_failed(view, a.node, &a.answer)))
}

/// LOG_ROTATE.
pub struct LogRotate {
    volume: String,
    brick: Option<String>,
}

impl LogRotate {
    pub fn parse(dict: &Dict) -> Result<LogRotate, Refusal> {
        let brick = dict.str("brick").map(str::to_owned);
        Ok(LogRotate { volume: Args(dict).volname()?, brick })
    }
}

impl Operation for LogRotate {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        if !volume.is_started() {
            let text = format!("Volume {} needs to be started before log rotate.", self.volume);
            return Err(Refusal::staged(text));
        }
        let brick = match &self.brick {
            None => None,
            Some(text) => {
                let known = BrickSpec::parse(text)
                    .filter(|spec| volume.position(&spec.host, &spec.path).is_some());
                let wrong = || format!("Incorrect brick {text} for volume {}", self.volume);
                let spec = known.ok_or_else(|| Refusal::staged(wrong()))?;
                Some((spec.host, spec.path))
            }
        };
        if cx.answers.is_empty() {
            let volume_name = self.volume.clone();
            let question = Question::RotateLog { volume: volume_name, brick };
            let ask = |node| Ask::new(node, question.clone());
            return Ok(Step::Ask(live_nodes(cx.view, volume).into_iter().map(ask).collect()));
        }
        refuse_first(cx.view, cx.answers)?;
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some(self.volume.clone())
    }

    fn changes(&self) -> bool {
        false
    }
}

/// STATEDUMP_VOLUME.
pub struct Statedump {
    volume: String,
    options: String,
    count: u32,
}

impl Statedump {
    pub fn parse(dict: &Dict) -> Result<Statedump, Refusal> {
        Ok(Statedump {
            volume: Args(dict).volname()?,
            options: Args(dict).text("options", "Unable to get options")?,
            count: Args(dict).number("option_cnt", "Unable to get option count")?,
        })
    }
}

impl Operation for Statedump {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        if !volume.is_started() {
            let text = format!("Volume {} is not in the started state", self.volume);
            return Err(Refusal::staged(text));
        }
        let quotad = self.options.contains("quotad");
        if quotad && volume.options.flag("features.quota") != Some(true) {
            let text = format!("Quota is not enabled on volume {}", self.volume);
            return Err(Refusal::staged(text));
        }
        if cx.answers.is_empty() {
            let question = Question::Statedump {
                volume: self.volume.clone(),
                options: self.options.clone(),
                count: self.count,
            };
            let nodes: Vec<NodeId> = cx.view.alive.iter().copied().collect();
            let ask = |node| Ask::new(node, question.clone());
            return Ok(Step::Ask(nodes.into_iter().map(ask).collect()));
        }
        refuse_first(cx.view, cx.answers)?;
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some(self.volume.clone())
    }

    fn changes(&self) -> bool {
        false
    }
}

/// CLRLOCKS_VOLUME.
pub struct ClearLocks {
    volume: String,
    path: String,
    kind: String,
    lock_type: String,
    opts: String,
}

impl ClearLocks {
    pub fn parse(dict: &Dict) -> Result<ClearLocks, Refusal> {
        let args = Args(dict);
        Ok(ClearLocks {
            volume: args.volname()?,
            path: args.text("path", "Failed to get path")?,
            kind: args.text("kind", "Failed to get kind")?,
            lock_type: args.text("type", "Failed to get type")?,
            opts: dict.str("opts").unwrap_or("").to_owned(),
        })
    }
}

impl Operation for ClearLocks {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        if !volume.is_started() {
            return Err(Refusal::staged("Couldn't get port numbers of local bricks"));
        }
        if cx.answers.is_empty() {
            let question = Question::ClearLocks {
                volume: self.volume.clone(),
                path: self.path.clone(),
                kind: self.kind.clone(),
                lock_type: self.lock_type.clone(),
                opts: self.opts.clone(),
            };
            return Ok(Step::Ask(vec![Ask::new(cx.view.me, question)]));
        }
        refuse_first(cx.view, cx.answers)?;
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        let text = outcome.answers.iter().find_map(|a| match &a.answer {
            Answer::Text(text) => Some(text.as_str()),
            _ => None,
        });
        reply.set_str("lk-summary", text.unwrap_or("No locks cleared."));
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some(self.volume.clone())
    }

    fn changes(&self) -> bool {
        false
    }
}

/// BARRIER_VOLUME.
pub struct Barrier {
    volume: String,
    value: String,
}

impl Barrier {
    pub fn parse(dict: &Dict) -> Result<Barrier, Refusal> {
        Ok(Barrier {
            volume: Args(dict).volname()?,
            value: Args(dict).text("barrier", "Unable to get barrier option")?,
        })
    }

    fn asks(&self, view: &View, volume: &Volume) -> Vec<Ask> {
        let ask = |brick: &crate::model::Brick| {
            let mut input = Dict::new();
            input.set_str("volname", volume.name.as_str());
            input.set_str("barrier", &self.value);
            input.set_str("vol-id", volume.id.to_string());
            Ask::new(
                brick.node,
                Question::BrickOp {
                    volume: self.volume.clone(),
                    path: brick.path.clone(),
                    procedure: BRICK_BARRIER,
                    name: brick.path.clone(),
                    input: input.encode(),
                },
            )
        };
        volume.bricks.iter().filter(|brick| view.alive.contains(&brick.node)).map(ask).collect()
    }
}

/// A brick that does not run holds nothing back and is passed over; the last one that says no has
/// the word.
fn not_reconfigured(answers: &[Answered]) -> Option<Refusal> {
    let text = answers.iter().rev().find_map(|answered| match &answered.answer {
        Answer::Dict(_) | Answer::Refused { errno: errno::BRICK_DOWN, .. } => None,
        Answer::Refused { text, .. } => Some(text.as_str()),
        _ => Some(""),
    })?;
    let text = if text.is_empty() { "Failed to reconfigure barrier." } else { text };
    Some(Refusal::staged(text))
}

impl Operation for Barrier {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        if !volume.is_started() {
            return Err(Refusal::staged(format!("Volume {} is not started", self.volume)));
        }
        let asks = self.asks(cx.view, volume);
        if cx.answers.is_empty() && !asks.is_empty() {
            return Ok(Step::Ask(asks));
        }
        if let Some(no) = not_reconfigured(cx.answers) {
            return Err(no);
        }
        let mut after = volume.as_ref().clone();
        after.options.set("features.barrier", &self.value);
        after.version += 1;
        crate::options::refresh_op_versions(&mut after);
        Ok(Step::commit(Commit {
            edits: vec![Edit::PutVolume(Box::new(after))],
            settle: vec![volume.name.clone()],
            ..Commit::default()
        }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn bricks_that_are_down_have_no_say_in_barriers() {
        let check = |answers: &[Answer], expected: Option<&str>| {
            let question = Question::BrickOp {
                volume: "v".into(),
                path: "/b".into(),
                procedure: BRICK_BARRIER,
                name: "/b".into(),
                input: Vec::new(),
            };
            let answered = |answer: &Answer| Answered {
                node: NodeId(Uuid::nil()),
                question: question.clone(),
                answer: answer.clone(),
            };
            let answers: Vec<Answered> = answers.iter().map(answered).collect();
            let no = not_reconfigured(&answers).map(|no| no.text);
            assert_eq!(no.as_deref(), expected, "{answers:?}");
        };
        let no = |text: &str, errno| Answer::Refused { text: text.into(), errno };
        let (done, down) = (Answer::Dict(Vec::new()), no("/b does not run", errno::BRICK_DOWN));
        let usual = Some("Failed to reconfigure barrier.");
        check(&[], None);
        check(&[done.clone(), down.clone()], None);
        check(
            &[no("changelog notify failed", errno::INTERNAL), done.clone()],
            Some("changelog notify failed"),
        );
        check(&[no("first", errno::INTERNAL), no("last", errno::INTERNAL), down], Some("last"));
        check(&[no("", errno::INTERNAL)], usual);
        check(&[done, Answer::Silent("away".into())], usual);
    }
}

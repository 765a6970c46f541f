//! `volume start V [force]`.
//!
//! Facts: glusterd-volume-ops.c:1189-1385, 2306 (v10.3).

use super::args::{self, Args};
use crate::model::{NodeId, Refusal, Status, Volume, errno};
use crate::ops::{Answer, Ask, Commit, Cx, Hooks, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::Edit;
use std::collections::BTreeSet;

/// START_VOLUME.
pub struct Start {
    volume: String,
    force: bool,
}

impl Start {
    pub fn parse(dict: &Dict) -> Result<Start, Refusal> {
        Ok(Start { volume: Args(dict).volname()?, force: Args(dict).force() })
    }
}

impl Operation for Start {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        if volume.is_started() && !self.force {
            return Err(Refusal::staged(format!("Volume {} already started", self.volume)));
        }
        if cx.answers.is_empty() {
            let question = Question::CheckStart { volume: self.volume.clone(), force: self.force };
            let ask = |node| Ask::new(node, question.clone());
            let up = nodes_of(volume).into_iter().filter(|node| cx.view.alive.contains(node));
            let asks: Vec<Ask> = up.map(ask).collect();
            if !asks.is_empty() {
                return Ok(Step::Ask(asks));
            }
        }
        refuse_if_any_refused(cx)?;
        Ok(Step::commit(self.commit(cx, volume)))
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

impl Start {
    fn commit(&self, cx: &Cx<'_>, volume: &Volume) -> Commit {
        let mut after = volume.clone();
        after.start_epoch += 1;
        if volume.status != Status::Started {
            after.status = Status::Started;
            after.version += 1;
        }
        let back = Volume { start_epoch: after.start_epoch + 1, ..volume.clone() };
        let others = cx.view.started().filter(|v| v.name != volume.name).count();
        let first = |yes: bool| {
            vec![
                format!("--volname={}", volume.name),
                format!("--first={}", if yes { "yes" } else { "no" }),
                "--version=1".to_owned(),
                "--volume-op=start".to_owned(),
                format!("--gd-workdir={}", cx.site.workdir.display()),
            ]
        };
        Commit {
            edits: vec![Edit::PutVolume(Box::new(after))],
            settle: vec![volume.name.clone()],
            hooks: Some(Hooks {
                event: "start",
                pre: first(others == 0 && !volume.is_started()),
                post: first(others == 0),
            }),
            if_unsettled: match self.force {
                true => vec![],
                false => vec![Edit::PutVolume(Box::new(back))],
            },
            ..Commit::default()
        }
    }
}

/// Nodes that hold bricks of the volume.
pub fn nodes_of(volume: &Volume) -> BTreeSet<NodeId> {
    volume.bricks.iter().map(|brick| brick.node).collect()
}

/// The first refusal among the answers, in the order asked; another node's names the node.
pub fn refuse_if_any_refused(cx: &Cx<'_>) -> Result<(), Refusal> {
    for answered in cx.answers {
        let (text, errno) = match &answered.answer {
            Answer::Refused { text, errno } => (text, *errno),
            Answer::Silent(text) => (text, errno::INTERNAL),
            _ => continue,
        };
        let peer = cx.view.peers.get(&answered.node).filter(|peer| peer.id != cx.view.me);
        let text = match peer.and_then(|peer| peer.hostnames.first()) {
            Some(host) => format!("Pre Validation failed on {host}. {text}"),
            None => text.clone(),
        };
        return Err(Refusal::staged(text).with_errno(errno));
    }
    Ok(())
}

/// `vol-id`, which the CLI prints in its XML.
pub fn echo_id(outcome: &Outcome<'_>, name: &str, reply: &mut Dict) {
    if let Some(volume) = outcome.before.volume(name).or(outcome.view.volume(name)) {
        reply.set_str("vol-id", volume.id.to_string());
    }
}

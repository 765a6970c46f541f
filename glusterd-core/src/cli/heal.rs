//! `volume heal` but for what `glfsheal` does itself (info, split-brain resolution).
//!
//! Facts: glusterd-volume-ops.c:645-756, 1560-1720; glusterd-op-sm.c `glusterd_bricks_select_heal_volume`;
//! glusterd-utils.c `_heal_volume_add_shd_rsp` (v10.3).

use super::args::{self, Args};
use super::set::SetVolume;
use super::status::self_heal_enabled;
use crate::model::{Kind, NodeId, Refusal, Volume};
use crate::ops::{Answer, Ask, Cx, Operation, Outcome, Question, Step};
use crate::rpc::Dict;

const XLATOR_OP: u32 = 3;

/// `gf_xl_afr_op_t` (libglusterfs/src/glusterfs/glusterfs.h).
mod op {
    pub const INDEX: u32 = 1;
    pub const FULL: u32 = 2;
    pub const INDEX_SUMMARY: u32 = 3;
    pub const HEALED: u32 = 4;
    pub const FAILED: u32 = 5;
    pub const SPLIT_BRAIN: u32 = 6;
    pub const STATISTICS: u32 = 7;
    pub const COUNT: u32 = 8;
    pub const COUNT_PER_REPLICA: u32 = 9;
    pub const ENABLE: u32 = 12;
    pub const DISABLE: u32 = 13;
    pub const GRANULAR_ENABLE: u32 = 15;
    pub const GRANULAR_DISABLE: u32 = 16;
}

/// HEAL_VOLUME.
pub struct Heal {
    volume: String,
    op: u32,
    /// Path of the brick whose replica set is asked about.
    replica_of: Option<String>,
    request: Dict,
}

impl Heal {
    pub fn parse(dict: &Dict) -> Result<Heal, Refusal> {
        Ok(Heal {
            volume: Args(dict).text("volname", "Unable to find volume name")?,
            op: Args(dict).number("heal-op", "operation failed")?,
            replica_of: dict.str("per-replica-cmd-path").map(str::to_owned),
            request: dict.clone(),
        })
    }

    /// The option that the enable and disable forms set.
    fn switch(&self, volume: &Volume) -> Option<Result<(&'static str, &'static str), Refusal>> {
        let wrong_type = || Err(Refusal::handler("operation failed"));
        let value = |on: bool| if on { "enable" } else { "disable" };
        match self.op {
            op::ENABLE | op::DISABLE => Some(match volume.layout.kind {
                Kind::Replicate => Ok(("cluster.self-heal-daemon", value(self.op == op::ENABLE))),
                Kind::Disperse => {
                    Ok(("cluster.disperse-self-heal-daemon", value(self.op == op::ENABLE)))
                }
                Kind::Distribute => wrong_type(),
            }),
            op::GRANULAR_ENABLE | op::GRANULAR_DISABLE => Some(match volume.layout.kind {
                Kind::Replicate => {
                    Ok(("cluster.granular-entry-heal", value(self.op == op::GRANULAR_ENABLE)))
                }
                _ => wrong_type(),
            }),
            _ => None,
        }
    }

    fn check(&self, volume: &Volume) -> Result<(), Refusal> {
        let no = |text: String| Err(Refusal::staged(text));
        if !volume.is_started() {
            return no(format!("Volume {} is not started.", volume.name));
        }
        if !self_heal_enabled(volume) && volume.layout.kind != Kind::Distribute {
            return no(format!(
                "Self-heal-daemon is disabled. Heal will not be triggered on volume {}",
                volume.name
            ));
        }
        match self.op {
            op::INDEX | op::FULL if volume.layout.kind == Kind::Distribute => {
                no(format!("Volume {} is not of type replicate or disperse", volume.name))
            }
            op::INDEX | op::FULL => Ok(()),
            op::INDEX_SUMMARY
            | op::SPLIT_BRAIN
            | op::STATISTICS
            | op::COUNT
            | op::COUNT_PER_REPLICA => match volume.layout.kind {
                Kind::Replicate => Ok(()),
                _ => no(format!(
                    "This command is supported for only volume of replicated type. Volume {} is \
                     not of type replicate",
                    volume.name
                )),
            },
            op::HEALED | op::FAILED => no(format!(
                "Command not supported. Please use \"gluster volume heal {} info\" and logs to \
                 find the heal information.",
                volume.name
            )),
            _ => no("Invalid heal-op".to_owned()),
        }
    }

    /// Subvolumes that `node` is asked about.
    fn subvolumes(&self, cx: &Cx<'_>, volume: &Volume, node: NodeId) -> Vec<usize> {
        let leaf = volume.layout.leaf();
        let groups = volume.bricks.chunks(leaf).enumerate();
        let local = |group: &[crate::model::Brick]| group.iter().any(|b| b.node == node);
        match self.op {
            // One node of each subvolume crawls everything: the live one with the highest id.
            op::FULL => groups
                .filter(|(_, group)| {
                    let live = group.iter().map(|b| b.node).filter(|n| cx.view.alive.contains(n));
                    live.max() == Some(node)
                })
                .map(|(i, _)| i)
                .collect(),
            op::COUNT_PER_REPLICA => {
                let path = self.replica_of.as_deref().unwrap_or("");
                let wanted = |b: &crate::model::Brick| b.node == node && b.path.starts_with(path);
                volume.bricks.iter().position(wanted).map(|i| i / leaf).into_iter().collect()
            }
            _ => groups.filter(|(_, group)| local(group)).map(|(i, _)| i).collect(),
        }
    }

    fn ask(&self, cx: &Cx<'_>, volume: &Volume, node: NodeId) -> Option<Ask> {
        let subvolumes = self.subvolumes(cx, volume, node);
        if subvolumes.is_empty() {
            return None;
        }
        let kind = if volume.layout.kind == Kind::Disperse { "disperse" } else { "replicate" };
        let mut input = self.request.clone();
        add_bricks(volume, &mut input);
        input.set_str("vol-id", volume.id.to_string());
        for (i, subvolume) in subvolumes.iter().enumerate() {
            let xlator = format!("{}-{kind}-{subvolume}", volume.name);
            input.set_str(format!("xl-{i}"), &xlator);
            input.set_int(xlator, *subvolume as u64);
        }
        input.set_int("xl-op", self.op);
        input.set_int("count", subvolumes.len() as u64);
        let question = Question::ServiceOp {
            service: "glustershd".to_owned(),
            volume: volume.name.to_string(),
            procedure: XLATOR_OP,
            name: String::new(),
            input: input.encode(),
        };
        Some(Ask::new(node, question))
    }
}

fn add_bricks(volume: &Volume, dict: &mut Dict) {
    for (i, brick) in volume.bricks.iter().enumerate() {
        dict.set_str(format!("{i}-hostname"), &brick.host);
        dict.set_str(format!("{i}-path"), &brick.path);
    }
}

impl Operation for Heal {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume).map_err(|no| no.with_errno(0))?;
        if let Some(switch) = self.switch(volume) {
            let (key, value) = switch?;
            return SetVolume::switch(&self.volume, key, value).plan(cx);
        }
        self.check(volume)?;
        let nodes = super::start::nodes_of(volume).into_iter();
        let nodes: Vec<NodeId> = nodes.filter(|node| cx.view.alive.contains(node)).collect();
        if cx.answers.is_empty() {
            let question = Question::Status { volume: self.volume.clone(), detail: false };
            let ask = |node| Ask::new(node, question.clone());
            return Ok(Step::Ask(nodes.into_iter().map(ask).collect()));
        }
        refuse_without_daemon(cx)?;
        let asked = cx.answers.iter().any(|a| matches!(a.question, Question::ServiceOp { .. }));
        if asked {
            return refuse_failed(cx).map(|()| Step::Done);
        }
        let asks: Vec<Ask> = nodes.into_iter().filter_map(|n| self.ask(cx, volume, n)).collect();
        Ok(if asks.is_empty() { Step::Done } else { Step::Ask(asks) })
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        let Some(volume) = outcome.view.volume(&self.volume) else { return Ok(()) };
        add_bricks(volume, reply);
        reply.set_int("count", volume.bricks.len() as u64);
        for answered in outcome.answers {
            let (node, Answer::Dict(bytes)) = (answered.node, &answered.answer) else { continue };
            let Ok(dict) = Dict::decode_or_empty(bytes) else { continue };
            for (key, value) in dict.iter() {
                if let Some(key) = self.reply_key(volume, node, key) {
                    reply.set_bytes(key, value);
                }
            }
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        (self.op >= op::ENABLE).then(|| self.volume.clone())
    }

    fn changes(&self) -> bool {
        self.op >= op::ENABLE
    }
}

impl Heal {
    /// A daemon counts bricks by subvolume and child; users by place in the volume.
    fn reply_key(&self, volume: &Volume, node: NodeId, key: &str) -> Option<String> {
        let (head, rest) = match self.op {
            op::STATISTICS => key.split_once('-')?,
            _ => ("", key),
        };
        let (subvolume, rest) = rest.split_once('-')?;
        let (child, field) = rest.split_once('-')?;
        let subvolume: usize = subvolume.parse().ok()?;
        let child: usize = child.parse().ok()?;
        let index = subvolume.checked_mul(volume.layout.leaf())?.checked_add(child)?;
        let of_node = volume.bricks.get(index).is_some_and(|brick| brick.node == node);
        if !of_node && (self.op == op::STATISTICS || field == "status") {
            return None;
        }
        Some(match head {
            "" => format!("{index}-{field}"),
            head => format!("{head}-{index}-{field}"),
        })
    }
}

/// Stock refuses where the answering node's daemon is down.
fn refuse_without_daemon(cx: &Cx<'_>) -> Result<(), Refusal> {
    let runs = cx.answers.iter().filter(|a| a.node == cx.view.me).any(|a| match &a.answer {
        Answer::Status(status) => {
            status.services.iter().any(|row| row.title == "Self-heal Daemon" && row.online)
        }
        _ => false,
    });
    let asked_here = cx.answers.iter().any(|a| a.node == cx.view.me);
    if asked_here && !runs {
        let text = "Self-heal daemon is not running. Check self-heal daemon log file.";
        return Err(Refusal::staged(text));
    }
    Ok(())
}

fn refuse_failed(cx: &Cx<'_>) -> Result<(), Refusal> {
    let failed = cx.answers.iter().any(|a| {
        matches!(a.question, Question::ServiceOp { .. }) && !matches!(a.answer, Answer::Dict(_))
    });
    if failed {
        return Err(Refusal::staged(
            "Glusterd Syncop Mgmt brick op 'Heal' failed. Please check glustershd log file for \
             details.",
        ));
    }
    Ok(())
}

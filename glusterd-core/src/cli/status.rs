//! `volume status` in all its forms.
//!
//! Facts: glusterd-op-sm.c:1730-1935 (staging), :3508-3760 (rows), glusterd-utils.c:10480-10700
//! (merging), cli1-xdr.x `gf_cli_status_type` (v10.3).

use super::args::{self, Args};
use crate::model::{BrickSpec, Kind, NodeId, Refusal, TaskKind, Volume};
use crate::ops::{Answer, Ask, BrickStatus, Cx, NodeStatus, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::View;

mod bit {
    pub const MEM: u32 = 0x1;
    pub const CLIENTS: u32 = 0x2;
    pub const INODE: u32 = 0x4;
    pub const FD: u32 = 0x8;
    pub const CALLPOOL: u32 = 0x10;
    pub const DETAIL: u32 = 0x20;
    pub const TASKS: u32 = 0x40;
    pub const CLIENT_LIST: u32 = 0x80;
    pub const FORM: u32 = 0xff;
    pub const ALL: u32 = 0x200;
    pub const BRICK: u32 = 0x400;
    pub const NFS: u32 = 0x800;
    /// Answered by the processes themselves.
    pub const LIVE: u32 = MEM | CLIENTS | INODE | FD | CALLPOOL | CLIENT_LIST;
}

/// Brick-op procedures (rpc/rpc-lib/src/protocol-common.h).
const BRICK_STATUS: u32 = 4;
const NODE_STATUS: u32 = 8;

/// A per-node daemon with a row of its own, in the order of the rows.
struct Service {
    bit: u32,
    title: &'static str,
    /// As [`Question::ServiceOp`] names it.
    name: &'static str,
    wanted: fn(&Volume) -> bool,
    /// Why the form that asks for it alone is refused.
    refused: fn(&Volume) -> String,
}

const SERVICES: &[Service] = &[
    Service {
        bit: 0x4000,
        title: "Snapshot Daemon",
        name: "snapd",
        wanted: |v| v.options.flag("features.uss") == Some(true),
        refused: |v| format!("Volume {} does not have uss enabled", v.name),
    },
    Service {
        bit: 0x1000,
        title: "Self-heal Daemon",
        name: "glustershd",
        wanted: self_heal_enabled,
        refused: |v| match v.layout.kind {
            Kind::Distribute => format!("Volume {} is not Self-heal compatible", v.name),
            _ => format!("Self-heal Daemon is disabled for volume {}", v.name),
        },
    },
    Service {
        bit: 0x2000,
        title: "Quota Daemon",
        name: "quotad",
        wanted: |v| v.options.flag("features.quota") == Some(true),
        refused: |v| format!("Volume {} does not have quota enabled", v.name),
    },
    Service {
        bit: 0x8000,
        title: "Bitrot Daemon",
        name: "bitd",
        wanted: |v| v.options.flag("features.bitrot") == Some(true),
        refused: |v| format!("Volume {} does not have bitrot enabled", v.name),
    },
    Service {
        bit: 0x10000,
        title: "Scrubber Daemon",
        name: "scrub",
        wanted: |v| v.options.flag("features.bitrot") == Some(true),
        refused: |v| {
            format!(
                "Volume {} does not have bitrot enabled. Scrubber will be enabled automatically \
                 if bitrot is enabled",
                v.name
            )
        },
    },
];

/// Whether the self-heal daemon serves the volume while it is started.
pub fn self_heal_enabled(volume: &Volume) -> bool {
    match volume.layout.kind {
        Kind::Distribute => false,
        Kind::Replicate => volume.options.flag("cluster.self-heal-daemon") != Some(false),
        Kind::Disperse => volume.options.flag("cluster.disperse-self-heal-daemon") != Some(false),
    }
}

/// STATUS_VOLUME.
pub struct Status {
    cmd: u32,
    /// `None`: the names of all volumes.
    volume: Option<String>,
    brick: Option<String>,
}

impl Status {
    pub fn parse(dict: &Dict) -> Result<Status, Refusal> {
        let args = Args(dict);
        let cmd: u32 = args.number("cmd", "Unable to get status type")?;
        let volume = match cmd & bit::ALL {
            0 => Some(args.volname()?),
            _ => None,
        };
        let brick = match cmd & bit::BRICK {
            0 => None,
            _ => Some(args.text("brick", "Unable to get brick")?),
        };
        Ok(Status { cmd, volume, brick })
    }

    fn service(&self) -> Option<&'static Service> {
        SERVICES.iter().find(|service| self.cmd & service.bit != 0)
    }

    /// Rows of bricks and services, or the brick or service asked for.
    fn is_plain(&self) -> bool {
        self.cmd & bit::FORM == 0
    }

    fn check(&self, volume: &Volume) -> Result<(), Refusal> {
        if !volume.is_started() {
            return Err(Refusal::staged(format!("Volume {} is not started", volume.name)));
        }
        if self.cmd & bit::NFS != 0 {
            let text = format!("NFS server is disabled for volume {}", volume.name);
            return Err(Refusal::staged(text));
        }
        if let Some(service) = self.service()
            && !(service.wanted)(volume)
        {
            return Err(Refusal::staged((service.refused)(volume)));
        }
        if let Some(brick) = &self.brick
            && self.wanted_brick(volume).is_none()
        {
            return Err(Refusal::staged(format!("No brick {brick} in volume {}", volume.name)));
        }
        Ok(())
    }

    fn wanted_brick(&self, volume: &Volume) -> Option<usize> {
        let spec = BrickSpec::parse(self.brick.as_deref()?)?;
        volume.position(&spec.host, &spec.path)
    }

    fn wants(&self, volume: &Volume, index: usize) -> bool {
        self.brick.is_none() || self.wanted_brick(volume) == Some(index)
    }

    /// Calls into the running processes the form is about.
    fn live_asks(&self, cx: &Cx<'_>, volume: &Volume) -> Vec<Ask> {
        if let Some(service) = self.service() {
            return self.service_asks(cx, volume, service);
        }
        let online = |i: usize, brick: &crate::model::Brick| {
            let status = node_status(cx.answers, brick.node)?;
            let row = status.bricks.iter().find(|row| row.path == brick.path)?;
            (row.online && self.wants(volume, i)).then_some(())
        };
        let ask = |(i, brick): (usize, &crate::model::Brick)| {
            online(i, brick)?;
            let mut input = self.input(volume);
            input.set_str("brick-name", &brick.path);
            Some(Ask::new(
                brick.node,
                Question::BrickOp {
                    volume: volume.name.to_string(),
                    path: brick.path.clone(),
                    procedure: BRICK_STATUS,
                    name: String::new(),
                    input: input.encode(),
                },
            ))
        };
        volume.bricks.iter().enumerate().filter_map(ask).collect()
    }

    fn service_asks(&self, cx: &Cx<'_>, volume: &Volume, service: &Service) -> Vec<Ask> {
        let runs = |node: &NodeId| {
            let status = node_status(cx.answers, *node);
            let rows = status.into_iter().flat_map(|status| &status.services);
            rows.clone().any(|row| row.title == service.title && row.online)
        };
        let ask = |node| {
            Ask::new(
                node,
                Question::ServiceOp {
                    service: service.name.to_owned(),
                    volume: volume.name.to_string(),
                    procedure: NODE_STATUS,
                    name: String::new(),
                    input: self.input(volume).encode(),
                },
            )
        };
        nodes(cx.view).into_iter().filter(runs).map(ask).collect()
    }

    fn input(&self, volume: &Volume) -> Dict {
        let mut input = Dict::new();
        input.set_int("cmd", self.cmd);
        input.set_str("volname", volume.name.as_str());
        input.set_str("vol-id", volume.id.to_string());
        if let Some(brick) = &self.brick {
            input.set_str("brick", brick);
        }
        input
    }
}

impl Operation for Status {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let Some(name) = &self.volume else { return Ok(Step::Done) };
        let volume = args::volume(cx.view, name)?;
        self.check(volume)?;
        if cx.answers.is_empty() && self.cmd & bit::TASKS == 0 {
            let question =
                Question::Status { volume: name.clone(), detail: self.cmd & bit::DETAIL != 0 };
            let ask = |node| Ask::new(node, question.clone());
            return Ok(Step::Ask(nodes(cx.view).into_iter().map(ask).collect()));
        }
        let asked_live = cx.answers.iter().any(|a| !matches!(a.question, Question::Status { .. }));
        if self.cmd & bit::LIVE != 0 && !asked_live {
            let asks = self.live_asks(cx, volume);
            if !asks.is_empty() {
                return Ok(Step::Ask(asks));
            }
        }
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        let Some(name) = &self.volume else {
            for (i, name) in outcome.view.volumes.keys().enumerate() {
                reply.set_str(format!("vol{i}"), name.as_str());
            }
            reply.set_int("vol_count", outcome.view.volumes.len() as u64);
            return Ok(());
        };
        let volume = args::volume(outcome.view, name)?;
        reply.set_str("vol-id", volume.id.to_string());
        if self.cmd & bit::TASKS == 0 {
            self.rows(outcome, volume, reply);
        }
        if self.is_plain() && self.service().is_none() && self.brick.is_none()
            || self.cmd & bit::TASKS != 0
        {
            tasks(volume, reply);
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        None
    }

    fn changes(&self) -> bool {
        false
    }
}

impl Status {
    fn rows(&self, outcome: &Outcome<'_>, volume: &Volume, reply: &mut Dict) {
        let mut shown: u64 = 0;
        let mut index_max: i64 = -1;
        if self.service().is_none() {
            for (i, brick) in volume.bricks.iter().enumerate() {
                if !self.wants(volume, i) {
                    continue;
                }
                let index = if self.brick.is_some() { 0 } else { i };
                index_max = index_max.max(index as i64);
                let Some(status) = node_status(outcome.answers, brick.node) else { continue };
                let row = status.bricks.iter().find(|row| row.path == brick.path);
                brick_row(brick, row.unwrap_or(&BrickStatus::default()), index, reply);
                shown += 1;
            }
        }
        let services = self.service_rows(outcome, volume, index_max + 1, reply);
        let live = self.merge_live(outcome, volume, reply);
        reply.set_int("brick-index-max", index_max);
        reply.set_int("other-count", services);
        reply.set_int("count", shown + services + live.saturating_sub(1));
        reply.set_int("hot_brick_count", -1);
        reply.set_int("type", -1);
    }

    /// Rows of the daemons of each node that answered; returns how many.
    fn service_rows(
        &self,
        outcome: &Outcome<'_>,
        volume: &Volume,
        first: i64,
        reply: &mut Dict,
    ) -> u64 {
        let one = self.service();
        if one.is_none() && (!self.is_plain() || self.brick.is_some()) {
            return 0;
        }
        let mut index = first;
        for node in nodes(outcome.view) {
            let Some(status) = node_status(outcome.answers, node) else { continue };
            for service in SERVICES {
                let asked = one.map_or((service.wanted)(volume), |one| one.bit == service.bit);
                if !asked {
                    continue;
                }
                let row = status.services.iter().find(|row| row.title == service.title);
                let key = |field: &str| format!("brick{index}.{field}");
                reply.set_str(key("hostname"), service.title);
                reply.set_str(key("path"), shown_host(outcome.view, node));
                reply.set_str(key("peerid"), node.to_string());
                reply.set_int(key("port"), row.map_or(0, |row| row.port));
                reply.set_int(key("pid"), row.and_then(|row| row.pid).map_or(-1, i64::from));
                reply.set_int(key("status"), u32::from(row.is_some_and(|row| row.online)));
                index += 1;
            }
        }
        (index - first) as u64
    }

    /// What the processes answered; returns how many did.
    fn merge_live(&self, outcome: &Outcome<'_>, volume: &Volume, reply: &mut Dict) -> u64 {
        let mut answered = 0;
        for (question, dict) in live_answers(outcome) {
            answered += 1;
            if self.cmd & bit::CLIENT_LIST != 0 {
                client_list(&dict, reply);
                continue;
            }
            let index = match question {
                Question::BrickOp { path, .. } if self.brick.is_none() => {
                    volume.bricks.iter().position(|b| b.path == *path).unwrap_or(0)
                }
                _ => 0,
            };
            for (key, value) in dict.iter() {
                reply.set_bytes(format!("brick{index}.{key}"), value);
            }
        }
        answered
    }
}

fn live_answers<'a>(outcome: &'a Outcome<'_>) -> impl Iterator<Item = (&'a Question, Dict)> {
    outcome.answers.iter().filter_map(|answered| match &answered.answer {
        Answer::Dict(bytes) => Some((&answered.question, Dict::decode_or_empty(bytes).ok()?)),
        _ => None,
    })
}

/// This node first, then the other live members.
fn nodes(view: &View) -> Vec<NodeId> {
    let others = view.others().map(|peer| peer.id).filter(|id| view.alive.contains(id));
    std::iter::once(view.me).chain(others).collect()
}

fn node_status(answers: &[crate::ops::Answered], node: NodeId) -> Option<&NodeStatus> {
    answers.iter().find_map(|answered| match &answered.answer {
        Answer::Status(status) if answered.node == node => Some(status),
        _ => None,
    })
}

/// The name a node goes by in this node's answers.
pub fn shown_host(view: &View, node: NodeId) -> &str {
    match view.peers.get(&node).and_then(|peer| peer.hostnames.first()) {
        Some(name) if node != view.me => name,
        _ => "localhost",
    }
}

fn brick_row(brick: &crate::model::Brick, row: &BrickStatus, index: usize, reply: &mut Dict) {
    let key = |field: &str| format!("brick{index}.{field}");
    reply.set_str(key("hostname"), &brick.host);
    reply.set_str(key("path"), &brick.path);
    reply.set_str(key("peerid"), brick.node.to_string());
    reply.set_int(key("port"), row.port);
    reply.set_int(key("rdma_port"), 0);
    reply.set_int(key("pid"), row.pid.map_or(-1, i64::from));
    reply.set_int(key("status"), u32::from(row.online));
    let Some(detail) = &row.detail else { return };
    reply.set_int(key("block_size"), detail.block_size);
    reply.set_int(key("free"), detail.free);
    reply.set_int(key("total"), detail.total);
    for (field, count) in
        [("total_inodes", detail.total_inodes), ("free_inodes", detail.free_inodes)]
    {
        if count != 0 {
            reply.set_int(key(field), count);
        }
    }
    reply.set_str(key("device"), &detail.device);
    reply.set_str(key("mnt_options"), &detail.mount_options);
    reply.set_str(key("fs_name"), &detail.fs_name);
    // Without the key the CLI says N/A in text and nothing in XML.
    if !detail.inode_size.is_empty() {
        reply.set_str(key("inode_size"), &detail.inode_size);
    }
}

/// Names and counts by kind of client; the last brick's answer stands, as in stock.
fn client_list(dict: &Dict, reply: &mut Dict) {
    let count: u32 = dict.int("clientcount").unwrap_or(0);
    reply.set_int("client-count", count);
    let mut kinds = [
        ("fuse", 0),
        ("gfapi", 0),
        ("rebalance", 0),
        ("glustershd", 0),
        ("quotad", 0),
        ("snapd", 0),
    ];
    for i in 0..count {
        let key = format!("client{i}.name");
        let Some(name) = dict.str(&key) else { return };
        if let Some(kind) = kinds.iter_mut().find(|(kind, _)| name.starts_with(kind)) {
            kind.1 += 1;
        }
        reply.set_str(key, name);
    }
    for (kind, count) in kinds.into_iter().filter(|(_, count)| *count > 0) {
        reply.set_int(format!("{kind}-count"), count);
    }
}

fn tasks(volume: &Volume, reply: &mut Dict) {
    let Some(task) = volume.task.as_ref().filter(|task| !task.over) else {
        reply.set_int("tasks", 0);
        return;
    };
    let removing = task.kind == TaskKind::RemoveBrick;
    reply.set_str("task0.type", if removing { "Remove brick" } else { "Rebalance" });
    reply.set_str("task0.id", task.id.to_string());
    reply.set_int("task0.status", task.status.code());
    if removing {
        reply.set_int("task0.count", task.bricks.len() as u64);
        for (i, brick) in task.bricks.iter().enumerate() {
            reply.set_str(format!("task0.brick{}", i + 1), brick);
        }
    }
    reply.set_int("tasks", 1);
}

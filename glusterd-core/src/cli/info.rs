//! `volume list`, `volume info`.
//!
//! Facts: cli-rpc-ops.c:715; glusterd-handler.c:358 (v10.3); the order of keys is the sender's
//! insertion order, which the CLI shows for options (newest first).

use super::args::Args;
use crate::model::{Refusal, Volume, errno};
use crate::ops::{Cx, Operation, Outcome, Step};
use crate::rpc::Dict;
use crate::store::View;

/// LIST_VOLUME.
pub struct List;

impl List {
    pub fn parse(_: &Dict) -> Result<List, Refusal> {
        Ok(List)
    }
}

impl Operation for List {
    fn plan(&self, _: &Cx<'_>) -> Result<Step, Refusal> {
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        for (i, name) in outcome.view.volumes.keys().enumerate() {
            reply.set_str(format!("volume{i}"), name.as_str());
        }
        reply.set_int("count", outcome.view.volumes.len() as u64);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        None
    }

    fn changes(&self) -> bool {
        false
    }
}

/// GET_VOLUME: one by name, or the one that follows a name.
pub enum Info {
    One(String),
    After(Option<String>),
}

impl Info {
    pub fn parse(args: &Dict) -> Result<Info, Refusal> {
        let flags: u32 = Args(args).number("flags", "Unable to get flags")?;
        match flags {
            2 => Ok(Info::One(Args(args).volname()?)),
            3 => Ok(Info::After(args.str("volname").map(str::to_owned))),
            _ => Ok(Info::After(None)),
        }
    }
}

impl Operation for Info {
    fn plan(&self, _: &Cx<'_>) -> Result<Step, Refusal> {
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        let view = outcome.view;
        *reply = Dict::new();
        let found = match self {
            Info::One(name) => view.volume(name),
            Info::After(None) => view.volumes.values().next(),
            Info::After(Some(name)) => {
                view.volumes.values().find(|v| v.name.as_str() > name.as_str())
            }
        };
        if let Some(volume) = found {
            describe(view, volume, "volume0.", reply);
        }
        reply.set_int("count", u32::from(found.is_some()));
        match (self, found) {
            (Info::One(_), None) => {
                Err(Refusal::handler("Volume does not exist").with_errno(errno::NO_VOLUME))
            }
            _ => Ok(()),
        }
    }

    fn queue(&self) -> Option<String> {
        None
    }

    fn changes(&self) -> bool {
        false
    }
}

/// The CLI makes "Distributed-Replicate" and the like of type and counts.
fn describe(view: &View, volume: &Volume, prefix: &str, reply: &mut Dict) {
    let layout = &volume.layout;
    let mut int = |key: &str, value: u64| reply.set_int(format!("{prefix}{key}"), value);
    int("type", layout.kind.code().into());
    int("status", volume.status.code().into());
    int("brick_count", volume.bricks.len() as u64);
    int("dist_count", layout.leaf() as u64);
    int("replica_count", layout.replica.into());
    int("disperse_count", layout.disperse.into());
    int("redundancy_count", layout.redundancy.into());
    int("arbiter_count", layout.arbiter.into());
    int("transport", volume.transport.code().into());
    int("thin_arbiter_count", layout.thin_arbiter.into());
    let mut text = |key: &str, value: &str| reply.set_str(format!("{prefix}{key}"), value);
    text("name", volume.name.as_str());
    text("volume_id", &volume.id.to_string());
    let rebalance = volume.task.as_ref().map_or(0, |task| task.command);
    reply.set_int(format!("{prefix}rebalance"), rebalance);
    reply.set_int(format!("{prefix}snap_count"), 0u32);
    for (i, brick) in volume.bricks.iter().enumerate() {
        let n = i + 1;
        reply.set_str(format!("{prefix}brick{n}"), brick.spec().to_string());
        reply.set_str(format!("{prefix}brick{n}.uuid"), brick.node.to_string());
        if layout.is_arbiter(i) {
            reply.set_int(format!("{prefix}brick{n}.isArbiter"), 1u32);
        }
    }
    if let Some(ta) = &volume.thin_arbiter {
        reply.set_str(format!("{prefix}thin_arbiter_brick"), format!("{}:{}", ta.host, ta.path));
    }
    let shown = shown_options(view, volume);
    for (key, value) in &shown {
        reply.set_str(format!("{prefix}option.{key}"), value);
    }
    reply.set_int(format!("{prefix}opt_count"), shown.len() as u64);
}

/// The volume's own options, then the pool's; without what never shows.
/// Source: glusterd-handler.c:358-560 (v10.3).
fn shown_options<'a>(view: &'a View, volume: &'a Volume) -> Vec<(&'a str, &'a str)> {
    let own = volume
        .options
        .iter()
        .filter(|(key, _)| *key != "features.limit-usage" && *key != "features.soft-limit");
    let global = view.global.options.iter().filter(|(key, _)| {
        *key != "global-option-version"
            && !key.starts_with("snap-max-")
            && !volume.options.contains(key)
    });
    own.chain(global).collect()
}

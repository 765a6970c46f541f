//! The self-heal daemon: one process per node that serves every started replicate and disperse volume.
//!
//! Pure. The first volume launches it, further ones are attached; the process ends with its last.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-shd-svc.c:265-785, glusterd-svc-helper.c:473-1060,
//! glusterd-utils.c:8898-8912 (v10.3).

use super::launch::{Cx, GLUSTERFS};
use super::record::State;
use super::service::{Stamp, stamp};
use crate::host::Command;
use crate::model::{Kind, Volume, VolumeName};
use crate::store::View;
use std::collections::BTreeMap;

/// Every node heals for every such volume, with or without bricks of it. The volume options that
/// switch healing off work inside the process.
pub fn is_served(volume: &Volume) -> bool {
    volume.is_started() && matches!(volume.layout.kind, Kind::Replicate | Kind::Disperse)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShdRecord {
    pub state: State,
    /// Attached volumes and the shape of the volfile each was attached with.
    pub served: BTreeMap<VolumeName, u64>,
    pub stamp: Stamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShdMove {
    /// Ends whatever process a pid file of these volumes names; the first thing a new daemon does.
    EndOld,
    /// Starts the process for this volume.
    Launch(VolumeName),
    Attach(VolumeName),
    Detach(VolumeName),
    /// Ends the process; nobody needs it any more.
    Stop,
}

/// `topologies`: the volfile shapes of all volumes to be served, in name order.
pub fn decide(
    topologies: &BTreeMap<VolumeName, u64>,
    stamp: &Stamp,
    record: Option<&ShdRecord>,
) -> Vec<ShdMove> {
    let mut moves = Vec::new();
    match record.map(|record| (record, &record.state)) {
        None => moves.push(ShdMove::EndOld),
        Some((record, State::Running(_))) => return changes(topologies, record),
        Some((record, State::Dead)) if record.stamp == *stamp => return moves,
        Some(_) => {}
    }
    let mut names = topologies.keys().cloned();
    moves.extend(names.next().map(ShdMove::Launch));
    moves.extend(names.map(ShdMove::Attach));
    moves
}

/// For a process that runs.
fn changes(topologies: &BTreeMap<VolumeName, u64>, record: &ShdRecord) -> Vec<ShdMove> {
    if topologies.is_empty() {
        return vec![ShdMove::Stop];
    }
    let current = |name: &VolumeName, topology: &u64| topologies.get(name) == Some(topology);
    let stale = record.served.iter().filter(|(name, topology)| !current(name, topology));
    let detach = stale.map(|(name, _)| name.clone());
    let missing =
        topologies.iter().filter(|(name, topology)| record.served.get(*name) != Some(*topology));
    let attach = missing.map(|(name, _)| name.clone());
    // Attach first where that keeps the process from losing its last volume, unless it is the same
    // volume in a new shape: the process knows it by name.
    let (renewed, added): (Vec<_>, Vec<_>) =
        attach.partition(|name| record.served.contains_key(name));
    let detach: Vec<VolumeName> = detach.collect();
    if detach.len() == record.served.len() && added.is_empty() {
        // A process without a volume is no use; its successor starts with the new shape.
        let launch = renewed.split_first().map(|(first, rest)| {
            let rest = rest.iter().cloned().map(ShdMove::Attach);
            std::iter::once(ShdMove::Launch(first.clone())).chain(rest)
        });
        return std::iter::once(ShdMove::Stop).chain(launch.into_iter().flatten()).collect();
    }
    let added = added.into_iter().map(ShdMove::Attach);
    let detach = detach.into_iter().map(ShdMove::Detach);
    added.chain(detach).chain(renewed.into_iter().map(ShdMove::Attach)).collect()
}

pub fn served_stamp(view: &View) -> Stamp {
    stamp(view.volumes.values().map(AsRef::as_ref).filter(|volume| is_served(volume)))
}

pub fn command(cx: Cx<'_>, volume: &VolumeName) -> Command {
    let Cx { dirs, view, .. } = cx;
    cx.program(GLUSTERFS, "valgrind-glustershd.log")
        .args(["-s", cx.server(), "--volfile-id", &format!("shd/{volume}")])
        .args(["-p", &dirs.shd_pid_file(volume), "-l", &format!("{}/glustershd.log", dirs.log)])
        .args(["-S", &dirs.shd_socket(volume, view.me)])
        .args(cx.global_threading(false))
        .args(cx.localtime())
        .args(cx.log_level())
        .args(cx.io_engine())
        .args(["--xlator-option", &format!("*replicate*.node-uuid={}", view.me)])
        .args(["--process-name", "glustershd", "--client-pid=-6"])
}

#[cfg(test)]
#[path = "shd_tests.rs"]
mod tests;

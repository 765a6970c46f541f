//! Bricks: which should run, in which process, with which command line.
//!
//! Pure. A start is acted on once: a brick that dies under a start epoch this node has acted on stays
//! dead until the epoch grows (start force) or the daemon is new.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-utils.c:2077-2385 (command line), :2430-2495 and
//! :6267-6495 (multiplexing), :6934-7070 (restart) (v10.3).

use super::launch::{Cx, GLUSTERFSD};
use super::record::{BrickKey, BrickRecords, Running, State, bricks_of};
use crate::host::{Command, Dirs, Process};
use crate::model::{Brick, OptionList, Volume, VolumeName, strip_dash_path};
use crate::store::View;
use std::collections::BTreeSet;

/// Never shares a process with bricks of other volumes.
const SHARED_STORAGE: &str = "gluster_shared_storage";
/// `cluster.max-bricks-per-process` where it is not set; 0 is no limit.
const MUX_BRICKS_MAX: usize = 250;

/// What to do about one brick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    Stop(BrickKey),
    /// The record of a brick that is no longer of this node.
    Forget(BrickKey),
    /// Runs already under this newer start.
    Renew(BrickKey, u64),
    /// Adopt it if it runs, else attach or spawn it.
    Start(BrickKey),
}

/// Moves for one volume, stops first. `blocked`: volumes without server quorum.
pub fn plan(
    view: &View,
    blocked: &BTreeSet<VolumeName>,
    records: &BrickRecords,
    name: &VolumeName,
) -> Vec<Move> {
    let volume = view.volumes.get(name);
    let wanted = |volume: &Volume, brick: &Brick| {
        volume.is_started() && brick.snap_status != -1 && brick.node == view.me
    };
    let (mut stops, mut starts) = (Vec::new(), Vec::new());
    for (key, record) in records.iter().filter(|(key, _)| key.volume == *name) {
        let still = volume.filter(|volume| volume.id == record.volume_id).is_some_and(|volume| {
            volume.local_bricks(view.me).any(|(_, brick)| brick.path == key.path)
        });
        if !still {
            if record.state != State::Stopped {
                stops.push(Move::Stop(key.clone()));
            }
            stops.push(Move::Forget(key.clone()));
        }
    }
    for (_, brick) in volume.iter().flat_map(|volume| volume.local_bricks(view.me)) {
        let volume = volume.expect("its bricks are looked at");
        let key = BrickKey::new(name, &brick.path);
        let record = records.get(&key).filter(|record| record.volume_id == volume.id);
        let epoch = volume.epoch_of(brick);
        let (wanted, blocked) = (wanted(volume, brick), blocked.contains(name));
        if wanted && blocked && !view.counted {
            continue;
        }
        match (wanted && !blocked, record.map(|record| (&record.state, record.epoch))) {
            (true, None | Some((State::Stopped, _))) => starts.push(Move::Start(key)),
            (true, Some((State::Dead, acted))) if epoch > acted => starts.push(Move::Start(key)),
            (true, Some((State::Running(_), acted))) if epoch != acted => {
                starts.push(Move::Renew(key, epoch));
            }
            (true, Some(_)) | (false, Some((State::Stopped, _))) => {}
            // Without a record too: it may run from before this daemon.
            (false, _) => stops.push(Move::Stop(key)),
        }
    }
    stops.extend(starts);
    stops
}

pub fn command(cx: Cx<'_>, volume: &Volume, brick: &Brick, port: u16) -> Command {
    let Cx { settings, dirs, view } = cx;
    let flag = |key: &str| volume.options.flag(key) == Some(true);
    let name = &volume.name;
    let (me, path) = (view.me, &brick.path);
    let valgrind_log = format!("bricks/valgrind-{name}-{}.log", strip_dash_path(path));
    let mut command = cx
        .program(GLUSTERFSD, &valgrind_log)
        .args(["-s", &brick.host, "--volfile-id", &Dirs::brick_volfile_id(name, brick)])
        .args(["-p", &dirs.brick_pid_file(name, brick), "-S", &dirs.brick_socket(name, brick)])
        .args(["--brick-name", path, "-l", &dirs.brick_log(path)])
        .args(["--xlator-option", &format!("*-posix.glusterd-uuid={me}")])
        .args(["--process-name", "brick"])
        .args(cx.localtime())
        .args(["--brick-port", &port.to_string()])
        .args(cx.global_threading(flag("config.global-threading")))
        .args(cx.io_engine());
    if settings.syslog {
        command = command.arg("--logger=syslog");
    }
    command = command.args(["--xlator-option", &format!("{name}-server.listen-port={port}")]);
    if let Some(address) = &settings.bind_address {
        let option = format!("transport.socket.bind-address={address}");
        command = command.args(["--xlator-option", &option]);
    }
    if let Some(family) = &settings.address_family {
        let option = format!("transport.address-family={family}");
        command = command.args(["--xlator-option", &option]);
    }
    if flag("config.memory-accounting") {
        command = command.arg("--mem-accounting");
    }
    if multiplexed(view) {
        command = command.arg("--brick-mux");
    }
    command
}

/// Whether a live process is this brick's: launched for it, or multiplexed and holding it open.
pub fn is_adoptable(process: &Process, pid_file: &str, path: &str, holds_open: bool) -> bool {
    let launched_for_it = process.has(pid_file) && process.option("--brick-name") == Some(path);
    match process.has("--brick-mux") {
        // The brick it was launched for may have been detached since.
        true => holds_open,
        false => launched_for_it,
    }
}

/// The live process as a record; `None` if its command line tells no port or socket.
pub fn adopted(process: &Process) -> Option<Running> {
    let port = process.option("--brick-port")?.split(',').next()?.parse().ok()?;
    Some(Running { pid: process.pid, port, socket: process.option("-S")?.to_owned() })
}

pub fn multiplexed(view: &View) -> bool {
    view.global.options.flag("cluster.brick-multiplex") == Some(true)
}

/// Whether bricks are asked to end instead of being told by a signal.
pub fn graceful(view: &View) -> bool {
    view.global.options.flag("cluster.brick-graceful-cleanup") == Some(true)
}

fn mux_limit(view: &View) -> usize {
    let set = view.global.options.value("cluster.max-bricks-per-process");
    match set.and_then(|text| text.parse().ok()).unwrap_or(MUX_BRICKS_MAX) {
        0 => usize::MAX,
        limit => limit,
    }
}

/// A running brick whose process may carry this one too: first of the same volume, then of others
/// with equal options.
pub fn companion(
    view: &View,
    volume: &Volume,
    path: &str,
    records: &BrickRecords,
) -> Option<(BrickKey, Running)> {
    if !multiplexed(view) {
        return None;
    }
    let limit = mux_limit(view);
    let in_volume = |other: &Volume| {
        other.local_bricks(view.me).find_map(|(_, brick)| {
            let key = BrickKey::new(&other.name, &brick.path);
            let record = records.get(&key).filter(|record| record.volume_id == other.id)?;
            let running = record.state.running()?;
            let fits = bricks_of(records, running) < limit
                && !(other.id == volume.id && brick.path == path);
            fits.then(|| (key, running.clone()))
        })
    };
    let shared = |volume: &Volume| volume.name.as_str() == SHARED_STORAGE;
    let others = view
        .volumes
        .values()
        .filter(|other| other.id != volume.id && shared(other) == shared(volume))
        .filter(|other| agree(&other.options, &volume.options));
    in_volume(volume).or_else(|| others.into_iter().find_map(|other| in_volume(other)))
}

/// Equal, apart from options that a shared process handles per brick.
fn agree(a: &OptionList, b: &OptionList) -> bool {
    let covered = |a: &OptionList, b: &OptionList| {
        a.iter()
            .filter(|(key, _)| !is_harmless(key))
            .all(|(key, value)| b.value(key) == Some(value))
    };
    covered(a, b) && covered(b, a)
}

fn is_harmless(key: &str) -> bool {
    key.contains("auth")
        || key.ends_with("event-threads")
        || key.contains("diagnostics.brick-log")
        || key.contains("diagnostics.client-log")
        || key.starts_with("user.")
}

#[cfg(test)]
#[path = "brick_tests.rs"]
mod tests;

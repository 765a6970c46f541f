//! `volume set`: what changes once nothing was refused.
//!
//! Pure. All pairs are laid over the stored options at once; versions are counted up here.
//!
//! Facts: glusterd_op_set_volume, glusterd_op_set_all_volume_options,
//! xlators/mgmt/glusterd/src/glusterd-op-sm.c:2400-3100 (v10.3).

use super::creation::refresh_op_versions;
use super::lookup::{find, resolve};
use super::number;
use super::opt::{Opt, Scope};
use super::set::{Graphs, Pool, Set, Target, ganesha_is_on};
use super::sweep::{RECORDS_MAX, raise};
use crate::model::{Global, Refusal, SweepChange, Transport, Volume, boolean};

const COMMIT_FAILED: &str =
    "Commit failed on localhost. Please check the log file for more details.";

/// Outcome of a change: records to replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// With their versions counted up.
    pub volumes: Vec<Volume>,
    pub global: Option<Global>,
}

/// What a staged request makes true.
///
/// # Errors
/// What stock finds only now: odd values of four odd keys, graphs that cannot be built.
pub fn apply_set(pool: &Pool<'_>, set: &Set<'_>, graphs: &dyn Graphs) -> Result<Change, Refusal> {
    match set.target {
        Target::Volume(volume) => apply_to_volume(pool, set, volume, graphs),
        Target::Pool => apply_to_pool(pool, set),
    }
}

fn apply_to_volume(
    pool: &Pool<'_>,
    set: &Set<'_>,
    volume: &Volume,
    graphs: &dyn Graphs,
) -> Result<Change, Refusal> {
    let mut volumes = vec![volume.clone()];
    // Bitrot's options do not raise the pool's when they are set; the next `volume set` does.
    let mut op_version = pool.global.op_version.max(volume.op_version);
    for (typed, value) in set.pairs {
        let opt = find_any(typed);
        let key = opt.map_or(typed.as_str(), |opt| opt.key);
        let target = &mut volumes[0];
        match key {
            "config.memory-accounting" | "config.gfproxyd" if boolean(value).is_none() => {
                return Err(Refusal::staged(COMMIT_FAILED));
            }
            "config.transport" => target.transport = transport(value, target.transport),
            "ganesha.enable" => ganesha(pool, target, value)?,
            _ => {}
        }
        if opt.is_some_and(|opt| opt.scope == Scope::EveryVolume) && volumes.len() == 1 {
            let others = pool.volumes.values().filter(|other| other.name != volume.name);
            volumes.extend(others.map(|other| Volume::clone(other)));
        }
        let reached = match opt {
            Some(opt) if opt.scope == Scope::EveryVolume => volumes.len(),
            _ => 1,
        };
        for volume in &mut volumes[..reached] {
            volume.options.set(key, value.as_str());
        }
        op_version = op_version.max(opt.map_or(0, |opt| opt.op_version));
    }
    volumes.retain(|after| after.name == volume.name || moved(pool, after));
    for volume in &mut volumes {
        refresh_op_versions(volume);
        volume.version += 1;
        if !graphs.can_build(volume) {
            return Err(Refusal::staged(COMMIT_FAILED));
        }
    }
    let raised = op_version > pool.global.op_version;
    let mut global = raised.then(|| Global { op_version, ..pool.global.clone() });
    if volumes.len() > RECORDS_MAX {
        volumes.truncate(1);
        let global = global.get_or_insert_with(|| pool.global.clone());
        global.sweep(SweepChange::Set(everywhere(set)));
    }
    Ok(Change { volumes, global })
}

/// The pairs that every volume takes.
fn everywhere(set: &Set<'_>) -> Vec<(String, String)> {
    let pair = |(typed, value): &(String, String)| {
        let opt = find_any(typed).filter(|opt| opt.scope == Scope::EveryVolume)?;
        Some((opt.key.to_owned(), value.clone()))
    };
    set.pairs.iter().filter_map(pair).collect()
}

/// A volume that stays as it is needs no record: one change has room for a hundred.
fn moved(pool: &Pool<'_>, after: &Volume) -> bool {
    pool.volumes.get(&after.name).is_none_or(|before| before.options != after.options)
}

fn find_any(typed: &str) -> Option<&'static Opt> {
    find(typed).or_else(|| resolve(typed).ok())
}

fn transport(value: &str, now: Transport) -> Transport {
    Transport::parse(&value.to_ascii_lowercase()).unwrap_or(now)
}

fn ganesha(pool: &Pool<'_>, volume: &Volume, value: &str) -> Result<(), Refusal> {
    match value {
        "off" => Ok(()),
        "on" if volume.options.value("ganesha.enable") == Some("on") => {
            Err(Refusal::staged("ganesha.enable is already 'on'."))
        }
        "on" => ganesha_is_on(pool).map_err(Refusal::staged),
        _ => Err(Refusal::staged("Invalid value for volume set command. Use on/off only.")),
    }
}

/// Only the first pair counts; the others have been judged.
fn apply_to_pool(pool: &Pool<'_>, set: &Set<'_>) -> Result<Change, Refusal> {
    let (typed, value) = set.pairs.first().ok_or_else(|| Refusal::staged(COMMIT_FAILED))?;
    let opt = find_any(typed).ok_or_else(|| Refusal::staged(COMMIT_FAILED))?;
    let mut global = pool.global.clone();
    if opt.key == "cluster.op-version" {
        global.op_version = number::unsigned32(value).unwrap_or(global.op_version);
        let volumes = pool.volumes.values().map(|v| raised(v, global.op_version));
        let mut volumes: Vec<Volume> = volumes.filter(|after| moved(pool, after)).collect();
        if volumes.len() > RECORDS_MAX {
            volumes.clear();
            global.sweep(SweepChange::OpVersion(global.op_version));
        }
        return Ok(Change { volumes, global: Some(global) });
    }
    global.options.set(opt.key, value.as_str());
    global.version += 1;
    Ok(Change { volumes: vec![], global: Some(global) })
}

/// A volume as it is after the pool's op-version was raised.
fn raised(volume: &Volume, op_version: u32) -> Volume {
    let mut volume = volume.clone();
    raise(&mut volume, op_version);
    volume.version += 1;
    volume
}

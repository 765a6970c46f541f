//! `volume reset`: back to defaults.
//!
//! Pure. Facts: glusterd_op_stage_reset_volume, glusterd_op_reset_volume,
//! glusterd_options_reset, xlators/mgmt/glusterd/src/glusterd-op-sm.c:1500-1620, 2040-2400;
//! glusterd_enable_default_options, glusterd-utils.c:12980 (v10.3).

use super::apply::Change;
use super::creation::refresh_op_versions;
use super::lookup::{find, resolve, suggestion};
use super::opt::Reset;
use super::set::{Pool, Target, scope};
use crate::model::{Kind, Refusal, Status, Transport, Volume};

/// A request of `volume reset`.
#[derive(Clone, Copy, Debug)]
pub struct ResetRequest<'a> {
    pub target: Target<'a>,
    /// As typed; `None` for all of them.
    pub key: Option<&'a str>,
    pub force: bool,
}

/// What changes, and what is said although it succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetChange {
    pub change: Change,
    pub note: Option<&'static str>,
}

/// # Errors
/// Unknown and misplaced keys, and a protected key that stands alone; op_errno 30800.
pub fn reset(pool: &Pool<'_>, request: &ResetRequest<'_>) -> Result<ResetChange, Refusal> {
    let key = request.key.map(|typed| stage(request.target, typed)).transpose()?;
    match request.target {
        Target::Pool => Ok(ResetChange { change: reset_pool(pool, key), note: None }),
        Target::Volume(volume) => reset_volume(pool, volume, key, request.force),
    }
}

/// The full key.
fn stage(target: Target<'_>, typed: &str) -> Result<&'static str, Refusal> {
    let opt = resolve(typed).map_err(|hint| {
        Refusal::staged(format!("Option {typed} does not exist{}", suggestion(hint)))
    })?;
    if opt.reset == Reset::Never {
        return Err(Refusal::staged(format!(
            "'gluster volume reset <VOLNAME> {}' is deprecated. Use 'gluster volume quota \
             <VOLNAME> disable' instead.",
            opt.key
        )));
    }
    scope(target, opt).map_err(Refusal::staged)?;
    Ok(opt.key)
}

fn reset_pool(pool: &Pool<'_>, key: Option<&str>) -> Change {
    let mut global = pool.global.clone();
    match key {
        Some(key) => drop(global.options.remove(key)),
        None => global.options = Default::default(),
    }
    global.version += 1;
    Change { volumes: vec![], global: Some(global) }
}

fn reset_volume(
    pool: &Pool<'_>,
    volume: &Volume,
    key: Option<&str>,
    force: bool,
) -> Result<ResetChange, Refusal> {
    let mut after = volume.clone();
    let keys: Vec<String> = match key {
        Some(key) if !volume.options.contains(key) => return Ok(ResetChange::default()),
        Some(key) => vec![key.to_owned()],
        None => volume.options.iter().map(|(key, _)| key.to_owned()).collect(),
    };
    let (mut kept, mut removed) = (false, false);
    for key in &keys {
        match find(key).map_or(Reset::Free, |opt| opt.reset) {
            Reset::Never => kept |= !force,
            Reset::Forced if !force => kept = true,
            Reset::Free | Reset::Forced => {
                removed = true;
                after.options.remove(key);
                if key == "features.bitrot" {
                    after.options.remove("features.scrub");
                }
            }
        }
    }
    if kept && !removed {
        let shown = key.unwrap_or("all");
        return Err(Refusal::staged(format!("'{shown}' is protected. To reset use 'force'.")));
    }
    set_defaults(&mut after, pool.global.op_version, key);
    refresh_op_versions(&mut after);
    after.version += 1;
    let note = kept.then_some(
        "All unprotected fields were reset. To reset the protected fields, use 'force'.",
    );
    Ok(ResetChange { change: Change { volumes: vec![after], global: None }, note })
}

/// What a reset of `key`, or of all, puts back. Two of them come back after any reset, as stock
/// has it.
fn set_defaults(volume: &mut Volume, op_version: u32, key: Option<&str>) {
    let asked = |name: &str| key.is_none_or(|key| key == name);
    let quota = volume.options.flag("features.quota") == Some(true);
    let tcp = volume.transport == Transport::Tcp;
    let young = volume.status == Status::Created && volume.layout.kind == Kind::Replicate;
    let rows = [
        (30_800, asked("nfs.disable"), "nfs.disable", "on"),
        (30_700, quota && asked("features.quota-deem-statfs"), "features.quota-deem-statfs", "on"),
        (30_900, tcp && asked("transport.address-family"), "transport.address-family", "inet"),
        (70_000, true, "storage.fips-mode-rchecksum", "on"),
        (90_000, young, "cluster.granular-entry-heal", "on"),
    ];
    for (from, wanted, key, value) in rows {
        if wanted && op_version >= from {
            volume.options.set(key, value);
        }
    }
}

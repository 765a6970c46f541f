//! One change of all volumes: what it makes of each.
//!
//! Pure. A pool may have more volumes than one change of the coordinator has room for, so the change
//! is one record beside them: see docs/decisions/0022.

use super::creation::refresh_op_versions;
use crate::model::{Sweep, SweepChange, Transport, Volume};

/// Volumes that are written themselves when all change; from here on a sweep is made.
pub const RECORDS_MAX: usize = 40;

/// Puts the sweeps after number `level` on top. Whether the volume has changed.
pub fn take_in(volume: &mut Volume, level: u64, sweeps: &[Sweep]) -> bool {
    let mut changed = false;
    for sweep in sweeps.iter().filter(|sweep| sweep.number > level) {
        let before = volume.options.clone();
        match &sweep.change {
            SweepChange::Set(pairs) => {
                for (key, value) in pairs {
                    volume.options.set(key, value);
                }
                if volume.options != before {
                    refresh_op_versions(volume);
                }
            }
            SweepChange::OpVersion(op_version) => raise(volume, *op_version),
        }
        if volume.options != before {
            volume.version += 1;
            changed = true;
        }
    }
    changed
}

/// What stock sets in volumes that have not made up their mind, when the pool's op-version rises.
pub fn raise(volume: &mut Volume, op_version: u32) {
    if op_version < 30_900 {
        return;
    }
    if volume.options.flag("nfs.disable") != Some(false) {
        volume.options.set("nfs.disable", "on");
    }
    let family = "transport.address-family";
    if volume.transport == Transport::Tcp && !volume.options.contains(family) {
        volume.options.set(family, "inet");
    }
}

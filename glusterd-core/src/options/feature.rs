//! Options that other commands set: quota and bit-rot detection.
//!
//! As in stock these leave the volume's op-versions alone until the next set or reset; counting up
//! `version` is the caller's, with everything else it changes. Facts: glusterd-quota.c:490-760, glusterd-bitrot.c:180-420 (v10.3).

use crate::model::{QuotaList, Volume};

/// `volume quota V enable`.
pub fn enable_quota(volume: &mut Volume) {
    let on = ["features.quota", "features.inode-quota", "features.quota-deem-statfs"];
    on.iter().for_each(|key| volume.options.set(*key, "on"));
    volume.quota_version += 1;
}

/// `volume inode-quota V enable`.
pub fn enable_inode_quota(volume: &mut Volume) {
    volume.options.set("features.inode-quota", "on");
}

/// `volume quota V disable`; the list of limits goes with it.
pub fn disable_quota(volume: &mut Volume) {
    volume.options.set("features.quota", "off");
    volume.options.set("features.inode-quota", "off");
    let gone = [
        "soft-timeout",
        "hard-timeout",
        "alert-time",
        "default-soft-limit",
        "quota-deem-statfs",
        "quota-timeout",
    ];
    for name in gone {
        volume.options.remove(&format!("features.{name}"));
    }
    volume.quota = QuotaList::default();
}

/// `volume bitrot V enable`.
pub fn enable_bitrot(volume: &mut Volume) {
    volume.options.set("features.bitrot", "on");
    volume.options.set("features.scrub", "Active");
}

/// `volume bitrot V disable`; the other bit-rot options stay.
pub fn disable_bitrot(volume: &mut Volume) {
    volume.options.set("features.bitrot", "off");
    volume.options.set("features.scrub", "Inactive");
}

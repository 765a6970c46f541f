//! Options a new volume starts with, and the op-versions a volume needs.
//!
//! Facts: glusterd-volume-ops.c:1924, glusterd-utils.c:12512, :12980 (v10.3).

use super::lookup::find;
use super::opt::{Declared, Opt, Value};
use crate::model::{Kind, Transport, Volume, boolean};

const CLIENT_THREADS: &str = "performance.client-io-threads";
const CLIENT_THREADS_SINCE: u32 = 31_202;

/// Stores what stock stores at create, oldest first, and the op-versions that follow from it.
/// `family` is the daemon's own `transport.address-family`.
pub fn set_creation_defaults(volume: &mut Volume, op_version: u32, family: Option<&str>) {
    let replicate = volume.layout.kind == Kind::Replicate;
    let tcp = volume.transport == Transport::Tcp;
    let mut set = |from: u32, wanted: bool, key: &str, value: &str| {
        if wanted && op_version >= from {
            volume.options.set(key, value);
        }
    };
    set(CLIENT_THREADS_SINCE, replicate, CLIENT_THREADS, "off");
    set(30800, true, "nfs.disable", "on");
    set(30900, tcp, "transport.address-family", "inet");
    set(70000, true, "storage.fips-mode-rchecksum", "on");
    set(90000, replicate, "cluster.granular-entry-heal", "on");
    if let Some(family) = family {
        volume.options.set("transport.address-family", family);
    } else if tcp && op_version >= 30800 {
        volume.options.set("transport.address-family", "inet");
    }
    refresh_op_versions(volume);
}

/// What follows from a kind of volume that bricks which came or went have changed, or might have.
pub fn set_client_threads(volume: &mut Volume, on: bool, op_version: u32) {
    if op_version >= CLIENT_THREADS_SINCE {
        volume.options.set(CLIENT_THREADS, if on { "on" } else { "off" });
    }
}

/// Recomputes `op_version` and `client_op_version` from the options in use. As in stock only commands
/// that set or reset options do so; others leave the numbers as they are, whatever they switch.
pub fn refresh_op_versions(volume: &mut Volume) {
    let (mut server, mut client) = (1, 1);
    for (key, value) in volume.options.iter() {
        let Some(opt) = find(key) else { continue };
        if is_switch(opt) && boolean(value) != Some(true) {
            continue;
        }
        server = server.max(opt.op_version);
        if opt.client {
            client = client.max(opt.op_version);
        }
    }
    if volume.options.flag("performance.open-behind") != Some(false) {
        (server, client) = (server.max(2), client.max(2));
    }
    if volume.layout.kind == Kind::Disperse {
        (server, client) = (server.max(30600), client.max(30600));
    }
    (volume.op_version, volume.client_op_version) = (server, client);
}

/// Counts only while it is on.
fn is_switch(opt: &Opt) -> bool {
    opt.switch || matches!(opt.declared, Some(Declared { value: Value::Bool, .. }))
}

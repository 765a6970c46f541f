//! The texts of stock's store files: what is written under the working directory, volfiles apart.
//!
//! Pure. Values go out as they are: the format knows no quoting. A new file is a function here, its
//! reader in `parse`.
//!
//! Facts: glusterd-store.c:340-560 (bricks), 765-1060 (info), 1273 (node state), 2080 (glusterd.info);
//! order and conditions as recorded from 10.3.

use crate::model::{
    Brick, Counts, DefragStatus, Global, NodeId, OP_VERSION_MAX, Peer, Progress, Task, TaskKind,
    ThinArbiter, Volume, dash_path,
};
use std::fmt::Write;
use uuid::Uuid;

/// `vols/V/info`; `op_version` is the pool's.
pub fn info(volume: &Volume, op_version: u32) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{key}={value}");
    };
    let layout = &volume.layout;
    line("type", &layout.kind.code());
    line("count", &volume.bricks.len());
    line("status", &volume.status.code());
    line("sub_count", &layout.sub_count());
    line("replica_count", &layout.replica.max(1));
    if op_version < 100_000 {
        line("stripe_count", &1);
    }
    if op_version >= 30_706 && layout.arbiter > 0 {
        line("arbiter_count", &layout.arbiter);
    }
    if op_version >= 30_600 {
        line("disperse_count", &layout.disperse);
        line("redundancy_count", &layout.redundancy);
    }
    line("version", &volume.version);
    line("transport-type", &volume.transport.code());
    line("volume-id", &volume.id);
    line("username", &volume.credentials.username);
    line("password", &volume.credentials.password);
    line("op-version", &volume.op_version);
    line("client-op-version", &volume.client_op_version);
    if op_version >= 30_706 {
        line("quota-version", &volume.quota_version);
    }
    if op_version >= 31_000 {
        line("tier-enabled", &0);
    }
    if op_version >= 70_000 && layout.thin_arbiter > 0 {
        line("thin_arbiter_count", &layout.thin_arbiter);
    }
    if op_version >= 30_600 {
        line("parent_volname", &"N/A");
        line("restored_from_snap", &volume.restored_from_snap);
        line("snap-max-hard-limit", &volume.snap_max_hard_limit);
    }
    for (key, value) in volume.options.iter() {
        line(key, &value);
    }
    for (number, brick) in volume.bricks.iter().enumerate() {
        line(&format!("brick-{number}"), &file_of(&brick.host, &brick.path));
    }
    if let Some(arbiter) = &volume.thin_arbiter {
        line("ta-brick-0", &file_of(&arbiter.host, &arbiter.path));
    }
    out
}

/// `HOST:-PATH`: name of a brick's file, and what `brick-N` in `info` says.
pub fn file_of(host: &str, path: &str) -> String {
    format!("{host}:{}", dash_path(path))
}

/// `vols/V/bricks/HOST:-PATH`. `port`: what the brick listens on here; 0 when it does not run or is
/// another node's.
pub fn brick(brick: &Brick, port: u16) -> String {
    let mut out = head(brick.node.0, &brick.host, &brick.path, port);
    let _ = writeln!(out, "decommissioned={}", u8::from(brick.decommissioned));
    let _ = writeln!(out, "brick-id={}", brick.id);
    if !brick.mount_dir.is_empty() {
        let _ = writeln!(out, "mount_dir={}", brick.mount_dir);
    }
    let _ = writeln!(out, "snap-status={}\nbrick-fsid={}", brick.snap_status, brick.fsid);
    out
}

/// The thin arbiter's file among the bricks'; it belongs to no node of the pool.
pub fn thin_arbiter(volume: &Volume, arbiter: &ThinArbiter) -> String {
    let mut out = head(Uuid::nil(), &arbiter.host, &arbiter.path, 0);
    let first = volume.layout.leaf();
    let _ = writeln!(out, "decommissioned=0\nbrick-id={}-ta-{first}", volume.name);
    out.push_str("snap-status=0\nbrick-fsid=0\n");
    out
}

fn head(node: Uuid, host: &str, path: &str, port: u16) -> String {
    // `real_path` is the path as given: stock writes it so.
    format!(
        "uuid={node}\nhostname={host}\npath={path}\nreal_path={path}\nlisten-port={port}\n\
         rdma.listen-port=0\n"
    )
}

/// `vols/V/node_state.info`: never the same on two nodes. `progress`: how the task ended here.
pub fn node_state(task: Option<&Task>, progress: Option<&Progress>) -> String {
    let (op, id) = match task {
        Some(task) if task.over => (0, Uuid::nil()),
        Some(task) if task.kind == TaskKind::RemoveBrick => (OP_REMOVE_BRICK, task.id),
        Some(task) => (OP_REBALANCE, task.id),
        None => (0, Uuid::nil()),
    };
    let reset = [DefragStatus::ResetByReplace, DefragStatus::ResetByReset];
    let status = |task: &Task| match progress {
        Some(here) if !reset.contains(&task.status) => here.status.code(),
        _ => task.status.code(),
    };
    let (command, status) = task.map_or((0, 0), |task| (task.command, status(task)));
    let counts = progress.map_or_else(Counts::default, |here| here.counts);
    let mut out = format!(
        "rebalance_status={command}\nstatus={status}\nrebalance_op={op}\nrebalance-id={id}\n\
         rebalanced-files={}\nsize={}\nscanned={}\nfailures={}\nskipped={}\nrun-time={:.6}\n",
        counts.files, counts.bytes, counts.scanned, counts.failures, counts.skipped, counts.seconds
    );
    if let Some(task) = task.filter(|task| !task.bricks.is_empty()) {
        for (at, brick) in task.bricks.iter().enumerate().rev() {
            let _ = writeln!(out, "brick{}={brick}", at + 1);
        }
        let _ = writeln!(out, "count={}", task.bricks.len());
    }
    out
}

/// `rebalance_op` values; glusterd.h `glusterd_op_t`.
pub(super) const OP_REBALANCE: u32 = 19;
pub(super) const OP_REMOVE_BRICK: u32 = 9;

/// `vols/V/cksum`.
pub fn cksum(info: &str, op_version: u32) -> String {
    format!("info={}\n", checksum(info, op_version))
}

/// From here on the last block of a checksum counts with its own length.
const CHECKSUM_EXACT: u32 = 50_400;
const BLOCK: usize = 1024;

/// Sum over the lines of an `info` file in byte order, as stock's peers compare it.
///
/// Below op-version 50400 the last block counts as a full one, with what the block before left
/// behind it.
///
/// Source: libglusterfs/src/common-utils.c:2043; glusterd-utils.c:2820 (v10.3).
pub fn checksum(info: &str, op_version: u32) -> u32 {
    let mut lines: Vec<&str> = info.split_inclusive('\n').collect();
    lines.sort_unstable();
    checksum_in_order(lines.concat().as_bytes(), op_version)
}

pub(super) fn checksum_in_order(bytes: &[u8], op_version: u32) -> u32 {
    let mut state = [0u8; 4];
    let mut buffer = [0u8; BLOCK];
    for block in bytes.chunks(BLOCK) {
        buffer[..block.len()].copy_from_slice(block);
        let len = if op_version < CHECKSUM_EXACT { BLOCK } else { block.len() };
        mix(&mut state, &buffer[..len]);
    }
    u32::from_le_bytes(state)
}

fn mix(state: &mut [u8; 4], block: &[u8]) {
    if *state == [0; 4] {
        *state = [0xba, 0xbe, 0xb0, 0x0b];
    }
    let Some(tail) = block.len().checked_sub(4) else { return };
    for four in (0..tail).step_by(4) {
        for (shift, cell) in state.iter_mut().enumerate() {
            *cell ^= block[four + shift] << shift;
        }
    }
    for shift in 0..=block.len() % 4 {
        state[shift] ^= block[tail + shift] << shift;
    }
}

/// `glusterd.info`.
pub fn glusterd_info(me: NodeId, op_version: u32) -> String {
    format!("UUID={me}\noperating-version={op_version}\n")
}

/// `glusterd.upgrade`: keeps a stock daemon from writing all volfiles anew at its next start.
pub fn glusterd_upgrade() -> String {
    format!("maximum-operating-version={OP_VERSION_MAX}\n")
}

/// `options`: oldest key first, unlike a volume's (recorded so).
pub fn options(global: &Global) -> String {
    let mut out = format!("global-option-version={}\n", global.version);
    for (key, value) in global.options.iter().rev() {
        let _ = writeln!(out, "{key}={value}");
    }
    out
}

/// `peers/UUID`.
pub fn peer(peer: &Peer) -> String {
    let mut out = format!("uuid={}\nstate={}\n", peer.id, peer.state.code());
    for (number, host) in peer.hostnames.iter().enumerate() {
        let _ = writeln!(out, "hostname{}={host}", number + 1);
    }
    out
}

/// `vols/V/snapd.info`.
pub fn snapd_info(port: u16) -> String {
    format!("snapd-port={port}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `info` and `cksum` files of a stock 10.3, of one block and of two, before and after 50400.
    #[test]
    fn checksums_are_stocks() {
        let check = |info: &str, op_version: u32, want: &str| {
            assert_eq!(cksum(info, op_version), want);
        };
        macro_rules! recorded {
            ($name:literal, $end:literal) => {
                include_str!(concat!("../../tests/fixtures/checksum/", $name, $end))
            };
        }
        check(recorded!("v1-100000", ".info"), 100_000, recorded!("v1-100000", ".cksum"));
        check(recorded!("r3-100000", ".info"), 100_000, recorded!("r3-100000", ".cksum"));
        check(recorded!("v1-50000", ".info"), 50_000, recorded!("v1-50000", ".cksum"));
        check(recorded!("r3-50000", ".info"), 50_000, recorded!("r3-50000", ".cksum"));
    }

    #[test]
    fn short_texts_have_a_sum() {
        assert_eq!(checksum("", 100_000), 0);
        assert_eq!(checksum("a=", 100_000), 0x0bb0_beba);
        assert_eq!(checksum("b=1\na=2\n", 100_000), checksum("a=2\nb=1\n", 100_000));
    }
}

//! Where things lie on a node: the names of pid files, sockets, logs and volfiles.
//!
//! Names only; nothing here looks at the disk. Facts: processes of 10.3 as observed, and
//! xlators/mgmt/glusterd/src/glusterd.h:600-740, glusterd-utils.c:1964, glusterd-conn-mgmt.c:131
//! (v10.3).

use crate::model::{Brick, NodeId, VolumeName, strip_dash_path};
use xxhash_rust::xxh64::xxh64;

/// Compiled into stock's programs: neither follows the daemon's options.
const SOCKET_DIR: &str = "/var/run/gluster";
/// The default working directory, also the one that no brick may lie in.
pub const WORK_DEFAULT: &str = "/var/lib/glusterd";
pub const RUN_DEFAULT: &str = "/var/run/gluster";
pub const LOG_DEFAULT: &str = "/var/log/glusterfs";

/// The three roots: `working-directory`, `run-directory`, `logging-directory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    pub work: String,
    pub run: String,
    pub log: String,
}

impl Default for Dirs {
    fn default() -> Dirs {
        Dirs { work: WORK_DEFAULT.into(), run: RUN_DEFAULT.into(), log: LOG_DEFAULT.into() }
    }
}

impl Dirs {
    /// `WORK/vols/VOL`.
    pub fn volume(&self, volume: &VolumeName) -> String {
        format!("{}/vols/{volume}", self.work)
    }

    /// `RUN/vols/VOL`: pid files of the volume's bricks and daemons.
    pub fn volume_run(&self, volume: &VolumeName) -> String {
        format!("{}/vols/{volume}", self.run)
    }

    pub fn brick_pid_file(&self, volume: &VolumeName, brick: &Brick) -> String {
        format!("{}/{}.pid", self.volume_run(volume), brick.host_path())
    }

    pub fn brick_socket(&self, volume: &VolumeName, brick: &Brick) -> String {
        socket(&format!("{}/run/{}", self.volume_run(volume), brick.host_path()))
    }

    pub fn brick_log(&self, path: &str) -> String {
        format!("{}/bricks/{}.log", self.log, strip_dash_path(path))
    }

    /// `VOL.HOST.PATH-`: what a brick asks its volfile under.
    pub fn brick_volfile_id(volume: &VolumeName, brick: &Brick) -> String {
        format!("{volume}.{}.{}", brick.host, strip_dash_path(&brick.path))
    }

    pub fn brick_volfile(&self, volume: &VolumeName, brick: &Brick) -> String {
        format!("{}/{}.vol", self.volume(volume), Dirs::brick_volfile_id(volume, brick))
    }

    /// Options for one statedump of process `pid`; the directory is compiled into glusterfsd.
    pub fn statedump_options(pid: i32) -> String {
        format!("{SOCKET_DIR}/glusterdump.{pid}.options")
    }

    pub fn shd_volfile(&self, volume: &VolumeName) -> String {
        format!("{}/{volume}-shd.vol", self.volume(volume))
    }

    pub fn shd_pid_file(&self, volume: &VolumeName) -> String {
        format!("{}/shd/{volume}/{volume}-shd.pid", self.run)
    }

    /// The socket of the self-heal daemon that was launched for `volume`.
    pub fn shd_socket(&self, volume: &VolumeName, me: NodeId) -> String {
        socket(&format!("{}/shd/{volume}/run-{me}", self.run))
    }

    /// The socket of a daemon of which a node has one: quotad, bitd, scrub.
    pub fn node_service_socket(&self, name: &str, me: NodeId) -> String {
        socket(&format!("{}/{name}/run-{me}", self.run))
    }

    /// The socket of snapd, and of gfproxyd, of one volume.
    ///
    /// Stock hashes the same string for both, so that the second to start takes the first one's
    /// socket away. `daemon` tells them apart here; snapd keeps stock's name.
    pub fn volume_service_socket(&self, volume: &VolumeName, daemon: &str, me: NodeId) -> String {
        let suffix = if daemon == "snapd" { String::new() } else { format!("-{daemon}") };
        socket(&format!("{}/run-{me}{suffix}", self.volume_run(volume)))
    }

    pub fn rebalance_socket(&self, volume: &VolumeName, me: NodeId) -> String {
        socket(&format!("{SOCKET_DIR}/gluster-rebalance-{volume}-{me}.sock"))
    }

    pub fn rebalance_pid_file(&self, volume: &VolumeName, me: NodeId) -> String {
        format!("{}/rebalance/{me}.pid", self.volume(volume))
    }

    /// What the processes of a volume's task have counted on this node.
    pub fn rebalance_counts_file(&self, volume: &VolumeName, me: NodeId) -> String {
        format!("{}/rebalance/{me}.counts", self.volume(volume))
    }

    pub fn hooks(&self, event: &str, phase: &str) -> String {
        format!("{}/hooks/1/{event}/{phase}", self.work)
    }
}

/// `/var/run/gluster/` and 16 hex digits: XXH64, seed 0, of `text`. A path in `sun_path` may have
/// 107 bytes, which the readable names would exceed.
fn socket(text: &str) -> String {
    format!("{SOCKET_DIR}/{:016x}.socket", xxh64(text.as_bytes(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;

    fn brick(host: &str, path: &str) -> Brick {
        Brick {
            node: node("eaa995d6-1421-4f9c-a5c9-5641697cf3c5"),
            host: host.into(),
            path: path.into(),
            real_path: path.into(),
            id: String::new(),
            mount_dir: String::new(),
            fsid: 0,
            decommissioned: false,
            snap_status: 0,
            resets: 0,
        }
    }

    fn node(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    fn name(text: &str) -> VolumeName {
        VolumeName::parse(text).unwrap()
    }

    fn check(got: String, hash: &str) {
        assert_eq!(got, format!("/var/run/gluster/{hash}.socket"));
    }

    /// The names that a stock daemon was seen to use.
    #[test]
    fn sockets_are_named_as_stock_names_them() {
        let d = Dirs::default();
        let (v1, v2) = (name("v1"), name("v2"));
        let me = node("78610efc-a063-4d99-b602-ada52b8f546f");
        check(d.brick_socket(&v1, &brick("vm", "/d/backends/b0")), "0c638a9c85d5b864");
        check(d.brick_socket(&v2, &brick("vm", "/d/backends/b3")), "bc0e73e9d13b599f");
        let shd = node("eaa995d6-1421-4f9c-a5c9-5641697cf3c5");
        check(d.shd_socket(&v1, shd), "ad54522aff2c3542");
        check(d.volume_service_socket(&v1, "snapd", me), "f701776ba380a623");
        check(d.node_service_socket("quotad", me), "dccb87183704f6de");
        check(d.node_service_socket("bitd", me), "755109aa3eec4ada");
        check(d.node_service_socket("scrub", me), "482562b4cf8be0b5");
        check(d.rebalance_socket(&v2, me), "4789f03fd5414296");
        let gfproxyd = d.volume_service_socket(&v1, "gfproxyd", me);
        assert_ne!(gfproxyd, d.volume_service_socket(&v1, "snapd", me));
    }

    #[test]
    fn files() {
        let d = Dirs::default();
        let (v, b) = (name("v1"), brick("h", "/d/b0"));
        assert_eq!(d.brick_pid_file(&v, &b), "/var/run/gluster/vols/v1/h-d-b0.pid");
        assert_eq!(d.brick_volfile(&v, &b), "/var/lib/glusterd/vols/v1/v1.h.d-b0.vol");
        assert_eq!(d.brick_log(&b.path), "/var/log/glusterfs/bricks/d-b0.log");
        assert_eq!(d.shd_pid_file(&v), "/var/run/gluster/shd/v1/v1-shd.pid");
    }
}

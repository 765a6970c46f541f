//! Daemons beside the bricks, one row each: quotad, bitd, scrub per node; snapd, gfproxyd per volume.
//!
//! Pure. The self-heal daemon serves many volumes in one process and has a file of its own (`shd`).
//! A new daemon is a row in `KINDS`.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-svc-mgmt.c:145-250, glusterd-{quotad,bitd,scrub,snapd,
//! gfproxyd}-svc.c (v10.3).

use super::launch::{Cx, GLUSTERFS, GLUSTERFSD};
use super::record::State;
use crate::host::{Command, Dirs};
use crate::model::{NodeId, Volume, VolumeId};
use crate::store::View;
use xxhash_rust::xxh64::xxh64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One process on the node for all volumes that need it; a new daemon replaces it.
    Node,
    /// One process per volume, with a port; a new daemon adopts it.
    Volume,
}

#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// Its row in `volume status`; `None` has none.
    pub title: Option<&'static str>,
    pub scope: Scope,
    /// Whether a started volume needs it.
    pub needs: fn(&Volume) -> bool,
    /// Node scope: below the working directory. Volume scope: after the volume's name.
    pub volfile: &'static str,
    pub pid_file: &'static str,
    /// Last words of the command line.
    pub tail: &'static [&'static str],
}

/// In the order in which `volume status` lists them.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "snapd",
        title: Some("Snapshot Daemon"),
        scope: Scope::Volume,
        needs: |volume| volume.options.flag("features.uss") == Some(true),
        volfile: "-snapd.vol",
        pid_file: "-snapd.pid",
        tail: &["--no-mem-accounting"],
    },
    Kind {
        name: "quotad",
        title: Some("Quota Daemon"),
        scope: Scope::Node,
        needs: |volume| volume.options.flag("features.quota") == Some(true),
        volfile: "quotad/quotad.vol",
        pid_file: "quotad.pid",
        tail: &["--process-name", "quotad"],
    },
    Kind {
        name: "bitd",
        title: Some("Bitrot Daemon"),
        scope: Scope::Node,
        needs: bitrot,
        volfile: "bitd/bitd-server.vol",
        pid_file: "bitd.pid",
        tail: &["--global-timer-wheel", "--process-name", "bitd"],
    },
    Kind {
        name: "scrub",
        title: Some("Scrubber Daemon"),
        scope: Scope::Node,
        needs: bitrot,
        volfile: "scrub/scrub-server.vol",
        pid_file: "scrub.pid",
        tail: &["--global-timer-wheel", "--process-name", "scrub"],
    },
    Kind {
        name: "gfproxyd",
        title: None,
        scope: Scope::Volume,
        needs: |volume| volume.options.flag("config.gfproxyd") == Some(true),
        volfile: ".gfproxyd.vol",
        pid_file: ".gfproxyd.pid",
        tail: &[],
    },
];

/// Daemons beside the bricks that a volume needs, on every node.
pub fn daemons_of(volume: &Volume) -> Vec<&'static str> {
    let kinds = KINDS.iter().filter(|kind| volume.is_started() && (kind.needs)(volume));
    let shd = super::shd::is_served(volume).then_some("glustershd");
    kinds.map(|kind| kind.name).chain(shd).collect()
}

fn bitrot(volume: &Volume) -> bool {
    volume.options.flag("features.bitrot") == Some(true)
}

/// One daemon: a row, and its volume where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    pub kind: &'static Kind,
    pub volume: Option<&'a str>,
}

impl Service<'_> {
    pub fn volfile(&self, dirs: &Dirs) -> String {
        match self.volume {
            Some(name) => format!("{}/vols/{name}/{name}{}", dirs.work, self.kind.volfile),
            None => format!("{}/{}", dirs.work, self.kind.volfile),
        }
    }

    pub fn pid_file(&self, dirs: &Dirs) -> String {
        match self.volume {
            Some(name) => format!("{}/vols/{name}/{name}{}", dirs.run, self.kind.pid_file),
            None => format!("{}/{}/{}", dirs.run, self.kind.name, self.kind.pid_file),
        }
    }

    /// Folders that must exist before it starts.
    pub fn folders(&self, dirs: &Dirs) -> Vec<String> {
        match self.volume {
            Some(name) => {
                vec![
                    format!("{}/vols/{name}", dirs.run),
                    format!("{}/{}/{name}", dirs.log, self.log()),
                ]
            }
            None => vec![format!("{}/{}", dirs.run, self.kind.name)],
        }
    }

    /// Folder of the logs of a volume's daemon.
    fn log(&self) -> &'static str {
        if self.kind.name == "snapd" { "snaps" } else { "gfproxy" }
    }

    pub fn socket(&self, dirs: &Dirs, me: NodeId) -> String {
        match self.volume.and_then(crate::model::VolumeName::parse) {
            Some(volume) => dirs.volume_service_socket(&volume, self.kind.name, me),
            None => dirs.node_service_socket(self.kind.name, me),
        }
    }

    /// `port` is for daemons of a volume.
    pub fn command(&self, cx: Cx<'_>, port: u16) -> Command {
        let Cx { dirs, view, .. } = cx;
        let name = self.kind.name;
        let (pid_file, socket) = (self.pid_file(dirs), self.socket(dirs, view.me));
        let Some(volume) = self.volume else {
            return cx
                .program(GLUSTERFS, &format!("valgrind-{name}.log"))
                .args(["-s", cx.server(), "--volfile-id", &format!("gluster/{name}")])
                .args(["-p", &pid_file, "-l", &format!("{}/{name}.log", dirs.log), "-S", &socket])
                .args(cx.global_threading(false))
                .args(cx.localtime())
                .args(cx.log_level())
                .args(cx.io_engine())
                .args(self.kind.tail.iter().copied());
        };
        let log = format!("{}/{}/{volume}/{name}.log", dirs.log, self.log());
        let process_name: &[&str] = if name == "snapd" { &["--process-name", name] } else { &[] };
        cx.program(GLUSTERFSD, &format!("valgrind-{volume}-{name}.log"))
            .args(["-s", cx.server(), "--volfile-id", &format!("{name}/{volume}")])
            .args(["-p", &pid_file, "-l", &log, "--brick-name", &format!("{name}-{volume}")])
            .args(["-S", &socket])
            .args(process_name.iter().copied())
            .args(cx.localtime())
            .args(["--brick-port", &port.to_string()])
            .args(["--xlator-option", &format!("{volume}-server.listen-port={port}")])
            .args(self.kind.tail.iter().copied())
    }
}

/// Versions of the volumes a daemon serves: a dead one is started again when this changes.
pub type Stamp = Vec<(VolumeId, u32, u64)>;

pub fn stamp<'a>(volumes: impl IntoIterator<Item = &'a Volume>) -> Stamp {
    volumes.into_iter().map(|v| (v.id, v.version, v.start_epoch)).collect()
}

/// The volumes that need this daemon now; none, and it must not run.
pub fn wanted(view: &View, service: Service<'_>) -> Stamp {
    let needs = |volume: &&Volume| volume.is_started() && (service.kind.needs)(volume);
    match service.volume {
        Some(name) => stamp(view.volume(name).map(AsRef::as_ref).filter(needs)),
        None => stamp(view.volumes.values().map(AsRef::as_ref).filter(needs)),
    }
}

/// What a volfile is made of, without option values: daemons reload those by themselves.
///
/// Where a client connects counts as shape: a replaced brick is another brick.
pub fn topology(text: &[u8]) -> u64 {
    let shape = |line: &&[u8]| {
        let line = line.trim_ascii_start();
        const WORDS: [&[u8]; 6] = [
            b"volume ",
            b"type ",
            b"subvolumes ",
            b"end-volume",
            b"option remote-host ",
            b"option remote-subvolume ",
        ];
        WORDS.iter().any(|word| line.starts_with(word))
    };
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(shape).collect();
    xxh64(&lines.join(&b'\n'), 0)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    pub state: State,
    pub stamp: Stamp,
    pub topology: u64,
    pub pid_file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceMove {
    Nothing,
    /// Runs and may go on; note the new versions.
    Note,
    /// End what runs, if anything does, then start.
    Replace,
    /// Take over what runs, else start.
    Adopt,
    Start,
    Stop,
}

/// `topology` is that of the volfile on disk.
pub fn decide(
    scope: Scope,
    stamp: &Stamp,
    topology: u64,
    record: Option<&ServiceRecord>,
) -> ServiceMove {
    use ServiceMove::*;
    let state = record.map(|record| &record.state);
    if stamp.is_empty() {
        return if state == Some(&State::Stopped) { Nothing } else { Stop };
    }
    match (record, state) {
        (Some(record), Some(State::Running(_))) if record.topology != topology => Replace,
        (Some(_), Some(State::Running(_))) => Note,
        (Some(record), Some(State::Dead)) if record.stamp == *stamp => Nothing,
        (Some(_), _) => Start,
        (None, _) => match scope {
            Scope::Node => Replace,
            Scope::Volume => Adopt,
        },
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;

//! Keeps the tree like the cluster image.
//!
//! Blocking; one caller at a time. A file is written only when it differs, beside its place and
//! then renamed over it, so a reader sees the old or the new text. No fsync on the way: the tree is
//! a cache of the coordinator, a restart writes it anew, and waiting for the disk would slow every
//! command; [`Mirror::sync`] flushes a burst of changes once, behind the answer. A file that a
//! power cut emptied is found by `load`, which says so and goes on.
//!
//! Facts: processes.md 12 (layout, delete); libglusterfs/src/store.c (modes, rename) (v10.3).

use super::quota;
use super::text;
use crate::model::{BrickRef, Progress, Volume, VolumeName};
use crate::store::{Freshness, View};
use crate::volgen::{self, Facts, Service};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Names};

/// What this node knows of a volume's processes and the coordinator does not.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub brick_ports: HashMap<BrickRef, u16>,
    pub snapd_port: Option<u16>,
    /// How the volume's task ended on this node.
    pub progress: Option<Progress>,
}

/// A file that could not be written or understood; the others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub reason: String,
}

/// What a call changed on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Volumes with a volfile that is new, different or gone.
    pub volumes: BTreeSet<VolumeName>,
    pub services: Vec<Service>,
    pub damage: Vec<Damage>,
    /// Volumes that some of the damage is in.
    pub damaged: BTreeSet<VolumeName>,
}

impl Report {
    /// Whether anyone must be told to fetch volfiles again.
    pub fn changed_volfiles(&self) -> bool {
        !self.volumes.is_empty() || !self.services.is_empty()
    }

    pub(super) fn note<T>(
        &mut self,
        path: &Path,
        done: Result<T, impl std::fmt::Display>,
    ) -> Option<T> {
        match done {
            Ok(value) => Some(value),
            Err(error) => {
                self.damage.push(Damage { path: path.to_owned(), reason: error.to_string() });
                None
            }
        }
    }
}

/// The tree of one working directory.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(super) work: PathBuf,
    bind_address: Option<String>,
}

/// Volumes whose folders are ours: others' folders are never touched.
const OWN: &str = "coordination/mirror.info";

impl Mirror {
    /// `work`: the working directory; `bind_address`: the daemon's own, if it was given one.
    pub fn new(work: impl Into<PathBuf>, bind_address: Option<String>) -> Mirror {
        Mirror { work: work.into(), bind_address }
    }

    /// What volgen needs to know of this node, for graphs like the ones written here.
    pub fn facts<'a>(&'a self, view: &View) -> Facts<'a> {
        Facts {
            me: view.me,
            op_version: view.op_version(),
            bind_address: self.bind_address.as_deref(),
            workdir: &self.work,
        }
    }

    /// Brings the tree from `old` (`None`: whatever is there) to `new`. What a current `old` shares
    /// with it is not looked at: an earlier call has written it. A stale image changes nothing: it
    /// came from here.
    pub fn apply(
        &self,
        old: Option<&View>,
        new: &View,
        observed: impl Fn(&Volume) -> Observed,
    ) -> Report {
        let mut report = Report::default();
        if new.freshness == Freshness::Stale {
            return report;
        }
        let written = old.filter(|old| old.freshness == Freshness::Current);
        self.pool_files(written, new, &mut report);
        let same_names = written.is_some_and(|old| old.volumes.keys().eq(new.volumes.keys()));
        let own = (!same_names).then(|| self.own());
        if let Some(own) = &own {
            self.keep_names(own, new, &mut report);
        }
        let ours = |name: &VolumeName| own.as_ref().is_none_or(|own| own.contains(name));
        let same = |name: &VolumeName, volume: &Arc<Volume>| {
            old.filter(|old| old.op_version() == new.op_version() && ours(name))
                .and_then(|old| old.volumes.get(name))
                .is_some_and(|before| Arc::ptr_eq(before, volume))
        };
        let changed: Vec<_> =
            new.volumes.iter().filter(|(name, volume)| !same(name, volume)).collect();
        for (_, volume) in &changed {
            let before = report.damage.len();
            self.volume(new, volume, &observed(volume), &mut report);
            if report.damage.len() > before {
                report.damaged.insert(volume.name.clone());
            }
        }
        let names = own.is_some_and(|own| own.len() != new.volumes.len());
        if written.is_none() || names || !changed.is_empty() {
            self.services(new, &mut report);
        }
        report
    }

    /// Writes what depends on this node's processes, for one volume: ports and counters.
    pub fn observe(&self, volume: &Volume, observed: &Observed) -> Report {
        let mut report = Report::default();
        self.state_files(volume, observed, &mut report);
        report
    }

    /// Flushes everything written so far to disk.
    ///
    /// # Errors
    /// As syncfs(2).
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(fs::File::open(&self.work)?)?)
    }

    /// Notes the volumes' names, and discards what none of them has any more.
    fn keep_names(&self, own: &BTreeSet<VolumeName>, view: &View, report: &mut Report) {
        self.remember(view.volumes.keys(), own.iter(), report);
        let gone = own.iter().filter(|name| !view.volumes.contains_key(*name));
        let left: Vec<_> = gone.filter(|name| !self.discard(name, report)).collect();
        self.remember(view.volumes.keys(), left.into_iter(), report);
    }

    fn pool_files(&self, written: Option<&View>, view: &View, report: &mut Report) {
        let mut put = |name: &str, text: String| {
            let path = self.work.join(name);
            let done = disk::put(&path, &text);
            report.note(&path, done);
        };
        let written = written.filter(|old| old.me == view.me);
        if written.is_none_or(|old| old.global != view.global) {
            put("glusterd.info", text::glusterd_info(view.me, view.op_version()));
            put("glusterd.upgrade", text::glusterd_upgrade());
            put("options", text::options(&view.global));
        }
        for peer in view.others() {
            if written.is_none_or(|old| old.peers.get(&peer.id) != Some(peer)) {
                put(&format!("peers/{}", peer.id), text::peer(peer));
            }
        }
        let stay = |old: &View| old.peers.keys().all(|id| view.peers.contains_key(id));
        if !written.is_some_and(stay) {
            let keep = view.others().map(|peer| peer.id.to_string()).collect();
            let done = disk::sweep(&self.work.join("peers"), &keep, |_| true);
            report.note(&self.work.join("peers"), done);
        }
    }

    fn volume(&self, view: &View, volume: &Volume, observed: &Observed, report: &mut Report) {
        self.state_files(volume, observed, report);
        let dir = self.folder(&volume.name);
        let info = text::info(volume, view.op_version());
        let cksum = text::cksum(&info, view.op_version());
        for (name, text) in [("info", info), ("cksum", cksum)] {
            let done = disk::put(&dir.join(name), &text);
            report.note(&dir.join(name), done);
        }
        let done = disk::sweep(&dir.join("bricks"), &brick_files(volume), |_| true);
        report.note(&dir.join("bricks"), done);
        self.marker(volume, report);
        self.quota(view, volume, report);
        match volgen::files(volume, &self.facts(view)) {
            Ok(files) => self.volfiles(volume, &files, report),
            // The old ones stay: they describe a graph that worked.
            Err(error) => drop(report.note::<()>(&dir, Err(error))),
        }
    }

    /// Bricks' files before `info`, which names them.
    fn state_files(&self, volume: &Volume, observed: &Observed, report: &mut Report) {
        let dir = self.folder(&volume.name);
        let mut put = |name: String, text: String| {
            let done = disk::put(&dir.join(&name), &text);
            report.note(&dir.join(&name), done);
        };
        for brick in &volume.bricks {
            let port = observed.brick_ports.get(&brick.reference()).copied().unwrap_or(0);
            let name = format!("bricks/{}", text::file_of(&brick.host, &brick.path));
            put(name, text::brick(brick, port));
        }
        if let Some(arbiter) = &volume.thin_arbiter {
            let name = format!("bricks/{}", text::file_of(&arbiter.host, &arbiter.path));
            put(name, text::thin_arbiter(volume, arbiter));
        }
        let progress = observed.progress.as_ref();
        put("node_state.info".into(), text::node_state(volume.task.as_ref(), progress));
        let port = observed.snapd_port.unwrap_or(0);
        put("snapd.info".into(), text::snapd_info(port));
    }

    fn volfiles(&self, volume: &Volume, files: &[(String, String)], report: &mut Report) {
        let dir = self.folder(&volume.name);
        let mut changed = false;
        // As stock: written for a snapd that is to run, and left alone while the volume is stopped.
        let snapd = volgen::file_name(volume, volgen::Spec::Snapd);
        for (name, text) in files {
            if *name == snapd && !volume.is_started() {
                continue;
            }
            let done = disk::put(&dir.join(name), text);
            changed |= report.note(&dir.join(name), done).unwrap_or(false);
        }
        let keep: Names = files.iter().map(|(name, _)| name.clone()).collect();
        let gone = disk::sweep(&dir, &keep, |name| name.ends_with(".vol"));
        changed |= report.note(&dir, gone).unwrap_or(false);
        if changed {
            report.volumes.insert(volume.name.clone());
        }
    }

    /// An empty file whose time tells geo-replication when it was set up: made once, kept as it is.
    fn marker(&self, volume: &Volume, report: &mut Report) {
        let path = self.folder(&volume.name).join("marker.tstamp");
        let wanted = volume.options.flag("geo-replication.indexing") == Some(true);
        let done = match (wanted, path.exists()) {
            (true, false) => disk::put(&path, "").map(drop),
            (false, true) => fs::remove_file(&path),
            _ => Ok(()),
        };
        report.note(&path, done);
    }

    /// Quota's list while quota is on.
    fn quota(&self, view: &View, volume: &Volume, report: &mut Report) {
        let dir = self.folder(&volume.name);
        let on = volume.options.flag("features.quota") == Some(true);
        let files = [
            (quota::CONF, quota::conf(&volume.quota)),
            (quota::CKSUM, quota::cksum(&volume.quota, view.op_version()).into_bytes()),
        ];
        for (name, bytes) in files {
            let path = dir.join(name);
            let done = if on { disk::put(&path, bytes) } else { disk::remove(&path) };
            report.note(&path, done);
        }
    }

    fn services(&self, view: &View, report: &mut Report) {
        let facts = self.facts(view);
        for service in Service::ALL {
            let path = self.work.join(service.path());
            let done = if view.volumes.values().any(|volume| service.serves(volume)) {
                match volgen::service_graph(&view.volumes, service, &facts) {
                    Ok(graph) => disk::put(&path, graph.text()),
                    Err(error) => Err(io::Error::other(error)),
                }
            } else {
                disk::remove(&path)
            };
            if report.note(&path, done) == Some(true) {
                report.services.push(service);
            }
        }
    }

    /// Out of sight by one rename, then gone; what a crash left in the trash goes too. Whether
    /// there is no such folder any more.
    fn discard(&self, name: &VolumeName, report: &mut Report) -> bool {
        let dir = self.folder(name);
        let info = fs::read_to_string(dir.join("info")).unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("volume-id="));
        let trash = self.work.join("trash");
        let grave = trash.join(format!("{}.deleted", id.unwrap_or(name.as_str())));
        let done = match fs::symlink_metadata(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => disk::bury(&dir, &grave),
        };
        let gone = report.note(&dir, done).is_some();
        if gone {
            report.volumes.insert(name.clone());
        }
        let done = disk::clear(&trash);
        report.note(&trash, done);
        gone
    }

    pub(super) fn folder(&self, name: &VolumeName) -> PathBuf {
        self.work.join("vols").join(name.as_str())
    }

    fn own(&self) -> BTreeSet<VolumeName> {
        let text = fs::read_to_string(self.work.join(OWN)).unwrap_or_default();
        text.lines().filter_map(|line| VolumeName::parse(line.strip_prefix("volume=")?)).collect()
    }

    /// Written before a folder is made and after one has gone: a crash between forgets none.
    fn remember<'a>(
        &self,
        names: impl Iterator<Item = &'a VolumeName>,
        also: impl Iterator<Item = &'a VolumeName>,
        report: &mut Report,
    ) {
        let names: BTreeSet<_> = names.chain(also).collect();
        let text: String = names.iter().map(|name| format!("volume={name}\n")).collect();
        let path = self.work.join(OWN);
        let done = disk::put(&path, &text);
        report.note(&path, done);
    }
}

fn brick_files(volume: &Volume) -> Names {
    let bricks = volume.bricks.iter().map(|brick| text::file_of(&brick.host, &brick.path));
    let arbiter = volume.thin_arbiter.iter().map(|a| text::file_of(&a.host, &a.path));
    bricks.chain(arbiter).collect()
}

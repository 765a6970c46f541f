//! Brings this node in line with the cluster image: files first, then clients told, then processes;
//! of subvolumes that join a running volume clients are told once they run (`held`).
//!
//! Takes no input but the image, so a restart, a missed event and a retry are one path. Volumes
//! converge side by side; one volume's changes in order.

use super::held::{HELD_MAX, Held, joined};
use super::processes::Processes;
use crate::mirror::{Mirror, Observed, Report};
use crate::model::{Brick, Volume, VolumeName};
use crate::store::{Freshness, Store, View};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Tells everyone connected to fetch volfiles again.
pub type Announce = Box<dyn Fn() + Send + Sync>;

/// How far this node has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Revision whose files are written.
    pub files: u64,
    /// Revision each volume's processes were last brought in line with, and what failed.
    pub volumes: BTreeMap<VolumeName, (u64, Option<String>)>,
}

impl Progress {
    /// Whether the volumes have been acted on at `revision`.
    pub fn reached(&self, revision: u64, volumes: &[VolumeName]) -> bool {
        let volume = |name| self.volumes.get(name).is_some_and(|(at, _)| *at >= revision);
        self.files >= revision && volumes.iter().all(volume)
    }
}

pub struct Converger {
    store: Arc<Store>,
    mirror: Mirror,
    processes: Arc<dyn Processes>,
    announce: Announce,
    progress: watch::Sender<Progress>,
    /// Volumes with a worker, and the newest image it has yet to act on.
    busy: parking_lot::Mutex<BTreeMap<VolumeName, Option<Arc<View>>>>,
    held: Held,
    /// The mirror takes one writer at a time.
    writing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Converger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Converger").finish_non_exhaustive()
    }
}

impl Converger {
    pub fn new(
        store: Arc<Store>,
        mirror: Mirror,
        processes: Arc<dyn Processes>,
        announce: Announce,
    ) -> Arc<Converger> {
        Arc::new(Converger {
            store,
            mirror,
            processes,
            announce,
            progress: watch::Sender::default(),
            busy: Default::default(),
            held: Default::default(),
            writing: Default::default(),
        })
    }

    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether nothing is under way for what has been written so far.
    pub fn is_idle(&self) -> bool {
        self.busy.lock().is_empty()
    }

    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Follows the image for ever. `first` is what the files on disk already say, if anything.
    ///
    /// Until `settled`, only the last known image is acted on: a pool that has not taken over what
    /// is on disk would look as if every volume had been deleted.
    pub async fn run(
        self: Arc<Self>,
        first: Option<Arc<View>>,
        mut settled: watch::Receiver<bool>,
    ) {
        let mut sights = self.store.subscribe();
        let mut last = first.clone();
        let mut written = first;
        let mut started = false;
        loop {
            let mut view = sights.borrow_and_update().view.clone();
            if view.freshness == Freshness::Current {
                if settled.wait_for(|settled| *settled).await.is_err() {
                    return;
                }
                view = sights.borrow_and_update().view.clone();
            }
            let changed = match (&last, started) {
                (Some(old), true) => changed_volumes(old, &view),
                (old, _) => all_volumes(old.as_deref(), &view),
            };
            started = true;
            let report = self.write(written.clone(), &view).await;
            if last.as_ref().is_some_and(|last| last.revision > view.revision) {
                // Another store counts anew: what was reached in the old one says nothing.
                self.progress.send_modify(|progress| progress.volumes.clear());
            }
            if view.freshness == Freshness::Current {
                self.progress.send_modify(|progress| progress.files = view.revision);
            }
            written = on_disk(written, &view, report);
            for volume in changed {
                self.bring_in_line(volume, view.clone());
            }
            last = Some(view);
            if sights.changed().await.is_err() {
                return;
            }
        }
    }

    /// Files of the image; everyone is told only once they can be read. `None`: nobody knows which
    /// were written.
    async fn write(self: &Arc<Self>, old: Option<Arc<View>>, view: &Arc<View>) -> Option<Report> {
        let _one_writer = self.writing.lock().await;
        let held = joined(old.as_deref(), view);
        let (this, new) = (self.clone(), view.clone());
        let written = tokio::task::spawn_blocking(move || {
            this.mirror.apply(old.as_deref(), &new, |volume| this.observed(&new, volume))
        });
        match written.await {
            Ok(report) => {
                self.after_writing(&report, &held);
                Some(report)
            }
            Err(error) => {
                tracing::error!(%error, "the files of the configuration were not written");
                None
            }
        }
    }

    /// `held`: volumes, and their versions, whose new bricks have yet to start.
    fn after_writing(&self, report: &Report, held: &BTreeMap<VolumeName, u32>) {
        for damage in &report.damage {
            tracing::error!(path = %damage.path.display(), reason = damage.reason, "file not written");
        }
        match (report.changed_volfiles(), held.is_empty()) {
            (true, true) => (self.announce)(),
            (true, false) => self.held.add(held.clone()),
            (false, _) => {}
        }
    }

    fn observed(&self, view: &View, volume: &Volume) -> Observed {
        let port = |(_, brick): (usize, &Brick)| {
            Some((brick.reference(), self.processes.brick_port(&volume.name, &brick.path)?))
        };
        let task = volume.task.as_ref();
        Observed {
            brick_ports: volume.local_bricks(view.me).filter_map(port).collect(),
            snapd_port: self.processes.snapd_port(&volume.name),
            progress: task.and_then(|task| view.progress.get(&(task.id, view.me))).copied(),
        }
    }

    /// Hands the image to the volume's worker, starting one if there is none.
    fn bring_in_line(self: &Arc<Self>, volume: VolumeName, view: Arc<View>) {
        let mut busy = self.busy.lock();
        if let Some(waiting) = busy.get_mut(&volume) {
            *waiting = Some(view);
            return;
        }
        busy.insert(volume.clone(), None);
        tokio::spawn(self.clone().work(volume, view));
    }

    async fn work(self: Arc<Self>, volume: VolumeName, mut view: Arc<View>) {
        loop {
            let failed = self.processes.converge(view.clone(), std::slice::from_ref(&volume)).await;
            let failure =
                failed.into_iter().find(|(name, _)| *name == volume).map(|(_, text)| text);
            if let Some(text) = &failure {
                tracing::error!(
                    volume = volume.as_str(),
                    text,
                    "processes are not as they should be"
                );
            }
            self.write_ports(&volume, &view).await;
            self.tell_at_last(&volume, &view);
            let gone = !view.volumes.contains_key(&volume);
            self.progress.send_modify(|progress| {
                progress.volumes.insert(volume.clone(), (view.revision, failure));
            });
            let mut busy = self.busy.lock();
            match busy.get_mut(&volume).and_then(Option::take) {
                Some(newer) => view = newer,
                None => {
                    busy.remove(&volume);
                    if gone {
                        self.forget_later(volume, view.revision);
                    }
                    return;
                }
            }
        }
    }

    /// The version at which a volume grew of whose new bricks clients do not know yet.
    pub fn untold(&self, volume: &VolumeName) -> Option<u32> {
        self.held.version(volume)
    }

    /// The new bricks that the volume has had since `version` run, wherever they are.
    pub fn tell_clients(&self, volume: &VolumeName, version: u32) {
        if self.held.release(volume, version) {
            (self.announce)();
        }
    }

    /// Should nobody else say so.
    fn tell_at_last(self: &Arc<Self>, volume: &VolumeName, view: &View) {
        let now = view.volumes.get(volume).map_or(u32::MAX, |volume| volume.version);
        let Some(version) = self.held.version(volume).filter(|at| *at <= now) else { return };
        let (this, volume) = (self.clone(), volume.clone());
        tokio::spawn(async move {
            tokio::time::sleep(HELD_MAX).await;
            this.tell_clients(&volume, version);
        });
    }

    /// Keeps the trace of a deleted volume long enough for whoever waits on it.
    fn forget_later(self: &Arc<Self>, volume: VolumeName, revision: u64) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(300)).await;
            this.progress.send_if_modified(|progress| {
                let old = progress.volumes.get(&volume).is_some_and(|(at, _)| *at <= revision);
                old && progress.volumes.remove(&volume).is_some()
            });
        });
    }

    /// Clients of a restarted daemon find bricks by the stored ports.
    async fn write_ports(self: &Arc<Self>, volume: &VolumeName, view: &Arc<View>) {
        let _one_writer = self.writing.lock().await;
        // The newest image: one that this worker has yet to see may have taken the folder away.
        let Some(volume) = self.store.view().volumes.get(volume).cloned() else { return };
        let (this, observed) = (self.clone(), self.observed(view, &volume));
        let written = tokio::task::spawn_blocking(move || this.mirror.observe(&volume, &observed));
        if let Ok(report) = written.await {
            self.after_writing(&report, &BTreeMap::new());
        }
    }
}

/// What the files say after `seen`. A stale image is not written, and the next current one may share
/// its records: a change and the loss of the service, seen as one, would never reach the disk. What
/// could not be written is left out, so that it is tried again with the next image.
fn on_disk(
    before: Option<Arc<View>>,
    seen: &Arc<View>,
    report: Option<Report>,
) -> Option<Arc<View>> {
    let report = report?;
    if seen.freshness == Freshness::Stale {
        return before;
    }
    if report.damage.is_empty() {
        return Some(seen.clone());
    }
    let mut rest = View { freshness: Freshness::Stale, ..(**seen).clone() };
    Arc::make_mut(&mut rest.volumes).retain(|name, _| !report.damaged.contains(name));
    Some(Arc::new(rest))
}

fn all_volumes(old: Option<&View>, new: &View) -> BTreeSet<VolumeName> {
    let old = old.into_iter().flat_map(|view| view.volumes.keys());
    old.chain(new.volumes.keys()).cloned().collect()
}

/// Volumes that differ, came or went; all of them if something of the pool has changed.
fn changed_volumes(old: &View, new: &View) -> BTreeSet<VolumeName> {
    let quorum = |view: &View| (view.counted, view.has_server_quorum());
    if old.global != new.global || old.freshness != new.freshness || quorum(old) != quorum(new) {
        return all_volumes(Some(old), new);
    }
    let differs = |name: &&VolumeName| match (old.volumes.get(*name), new.volumes.get(*name)) {
        (Some(a), Some(b)) => {
            let ended =
                |view: &View| Some(view.progress.contains_key(&(b.task.as_ref()?.id, view.me)));
            !Arc::ptr_eq(a, b) && a != b || ended(old) != ended(new)
        }
        _ => true,
    };
    let both = old.volumes.keys().chain(new.volumes.keys());
    both.filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Volume;
    use crate::supervise::sample::{view, volume};

    fn seen(freshness: Freshness, volume: &Arc<Volume>) -> Arc<View> {
        let mut seen = view(vec![]);
        seen.freshness = freshness;
        Arc::make_mut(&mut seen.volumes).insert(volume.name.clone(), volume.clone());
        Arc::new(seen)
    }

    /// The change and the loss of the service came as one image; the next one is current again.
    #[test]
    fn a_change_seen_first_when_stale_reaches_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(folder.path(), None);
        let old = Arc::new(volume("v", &["/b"]));
        let new = Arc::new(Volume { version: 7, ..(*old).clone() });
        let mut written = None;
        for image in [
            seen(Freshness::Current, &old),
            seen(Freshness::Stale, &new),
            seen(Freshness::Current, &new),
        ] {
            let report = mirror.apply(written.as_deref(), &image, |_| Observed::default());
            written = on_disk(written, &image, Some(report));
        }
        let info = std::fs::read_to_string(folder.path().join("vols/v/info")).unwrap();
        assert!(info.lines().any(|line| line == "version=7"), "{info}");
    }

    /// A file that stood in the way has gone; nothing of the volume has changed since.
    #[test]
    fn what_could_not_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(folder.path(), None);
        std::fs::create_dir_all(folder.path().join("vols")).unwrap();
        let (path, here) = (folder.path().join("vols/v"), Arc::new(volume("v", &["/b"])));
        std::fs::write(&path, "").unwrap();
        let mut written = None;
        let mut apply = || {
            let image = seen(Freshness::Current, &here);
            let report = mirror.apply(written.as_deref(), &image, |_| Observed::default());
            written = on_disk(written.take(), &image, Some(report));
        };
        apply();
        assert!(path.is_file());
        std::fs::remove_file(&path).unwrap();
        apply();
        assert!(path.join("info").exists());
    }
}

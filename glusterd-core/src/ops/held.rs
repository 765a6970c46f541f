//! News that clients are not told yet: subvolumes whose bricks have still to start.
//!
//! A client that looks for a brick before it runs comes back after seconds only, and creates nothing
//! there meanwhile. Whoever made the change says when every node has acted on it; should that word never
//! come, because the one who would say it is gone, the news goes out a while after this node's own
//! bricks are there.

use crate::model::{Volume, VolumeName};
use crate::store::View;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// From this node's own bricks on. Other nodes start theirs at the same time.
pub(super) const HELD_MAX: Duration = Duration::from_secs(20);

/// Volumes, and the version of each at which it grew.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<BTreeMap<VolumeName, u32>>);

impl Held {
    pub(super) fn add(&self, news: BTreeMap<VolumeName, u32>) {
        self.0.lock().extend(news);
    }

    pub(super) fn version(&self, volume: &VolumeName) -> Option<u32> {
        self.0.lock().get(volume).copied()
    }

    /// True if clients are to be told now; only once, and not of what came after `version`.
    pub(super) fn release(&self, volume: &VolumeName, version: u32) -> bool {
        let mut held = self.0.lock();
        let due = held.get(volume).is_some_and(|at| *at <= version);
        due && held.remove(volume).is_some()
    }
}

/// Running volumes that grow by whole subvolumes, wherever the bricks are. Of a new copy clients are
/// told at once: what they write without knowing it, it misses, and nobody would remember.
pub(super) fn joined(old: Option<&View>, new: &View) -> BTreeMap<VolumeName, u32> {
    let grows = |volume: &&Arc<Volume>| {
        let before = old.and_then(|old| old.volumes.get(&volume.name));
        before.filter(|old| old.is_started()).is_some_and(|old| {
            volume.layout == old.layout && volume.bricks.len() > old.bricks.len()
        })
    };
    new.started().filter(grows).map(|volume| (volume.name.clone(), volume.version)).collect()
}

//! Notes of brick marks whose volume may yet be taken back.
//!
//! Marks are set after the commit, and a create that fails there is taken back. A crash in between
//! would leave directories that no later create accepts. So the node notes a volume's bricks before
//! it marks them, forgets the note when the volume has settled, and at start clears the marks of
//! noted bricks that the pool does not have. Volumes deleted and bricks removed by a user keep their
//! marks, as in stock: they have no note any more.

use crate::host::Host;
use crate::store::{Freshness, Store, View};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// A volume's bricks on one node, as a note; thousands of them fit.
const NOTE_BYTES_MAX: u64 = 4 << 20;
const SWEEP_BOUND: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Marks {
    host: Arc<dyn Host>,
    /// Notes this process has written.
    noted: Mutex<BTreeSet<Uuid>>,
    /// Notes of an earlier one are dealt with.
    swept: watch::Sender<bool>,
}

impl Marks {
    pub fn new(host: Arc<dyn Host>) -> Marks {
        Marks { host, noted: Mutex::default(), swept: watch::Sender::new(false) }
    }

    fn folder(&self) -> String {
        format!("{}/coordination/marks", self.host.dirs().work)
    }

    fn note(&self, volume: Uuid) -> String {
        format!("{}/{volume}", self.folder())
    }

    /// # Errors
    /// The note cannot be written; nothing may be marked then.
    pub async fn write(&self, volume: Uuid, paths: &[&str]) -> io::Result<()> {
        self.host.make_dirs(&self.folder()).await?;
        self.host.write(&self.note(volume), paths.join("\n").as_bytes()).await?;
        self.noted.lock().insert(volume);
        Ok(())
    }

    /// The volume's marks are here to stay, or gone.
    pub async fn forget(&self, volume: Uuid) {
        let noted = self.noted.lock().remove(&volume);
        if noted {
            self.remove(volume).await;
        }
    }

    async fn remove(&self, volume: Uuid) {
        if let Err(error) = self.host.unlink(&self.note(volume)).await {
            tracing::warn!(%volume, %error, "a note of brick marks stays");
        }
    }

    /// Notes of an earlier run; to be listed before anything new is marked.
    pub async fn left_over(&self) -> Vec<Uuid> {
        let names = self.host.list(&self.folder()).await.unwrap_or_default();
        names.iter().filter_map(|name| Uuid::try_parse(name).ok()).collect()
    }

    /// Clears what `left_over` notes speak of, once the pool is known.
    pub async fn sweep(self: Arc<Marks>, store: Arc<Store>, notes: Vec<Uuid>) {
        let mut sights = store.subscribe();
        let current = sights.wait_for(|sight| sight.view.freshness == Freshness::Current).await;
        let Ok(view) = current.map(|sight| sight.view.clone()) else { return };
        for volume in notes {
            self.clear(&view, volume).await;
            self.remove(volume).await;
        }
        self.swept.send_replace(true);
    }

    /// Until left-over marks are cleared: a mark may be found, or set, in their place. Not for long:
    /// without the coordinator nothing is known, and nothing is changed either.
    pub async fn swept(&self) {
        let mut swept = self.swept.subscribe();
        let done = swept.wait_for(|swept| *swept);
        let _either_way_the_directory_is_looked_at = tokio::time::timeout(SWEEP_BOUND, done).await;
    }

    async fn clear(&self, view: &View, volume: Uuid) {
        let Ok(bytes) = self.host.read(&self.note(volume), NOTE_BYTES_MAX).await else { return };
        let known = view.volumes.values().find(|known| known.id.0 == volume);
        let has = |path: &str| {
            known.is_some_and(|known| known.local_bricks(view.me).any(|(_, b)| b.path == path))
        };
        for path in String::from_utf8_lossy(&bytes).lines().filter(|path| !has(path)) {
            match self.host.unmark_brick(path, volume).await {
                Ok(()) => tracing::info!(path, %volume, "mark of a volume taken back cleared"),
                Err(why) => tracing::warn!(path, why, "a brick mark stays"),
            }
        }
    }
}

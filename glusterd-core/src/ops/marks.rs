//! Notes of brick marks whose volume may yet be taken back.
//!
//! Marks are set after the commit, and a create that fails there is taken back. A crash in between
//! would leave directories that no later create accepts. So the node notes a volume's bricks before
//! it marks them, forgets the note when the volume has settled or started, and clears the marks of
//! noted bricks that the pool does not have: whoever took the volume back may not have reached this
//! node, or have died meanwhile. Volumes deleted and bricks removed by a user keep their marks, as in
//! stock: they have no note any more.

use crate::host::Host;
use crate::model::Volume;
use crate::store::{Freshness, Store, View};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// A volume's bricks on one node, as a note; thousands of them fit.
const NOTE_BYTES_MAX: u64 = 4 << 20;
const SWEEP_BOUND: Duration = Duration::from_secs(5);

/// A brick is marked before, or soon after, it becomes part of a volume: what a command of two
/// minutes has not made so is not to be. Bounds how long a mark stays that nobody took away.
const UNBORN_MAX: Duration = Duration::from_secs(180);
/// Between looks at notes of bricks that no image has shown yet.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// What is known of a note.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Noted {
    since: Instant,
    /// An image has shown the volume with all of the bricks.
    was_seen: bool,
    /// Of an earlier process, with which the command that wanted it has failed.
    left_over: bool,
}

/// What is to be done about a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    /// The bricks are there to stay.
    Forget,
    /// They are not to be.
    Clear,
}

/// `known`: the volume, if there is one; `has_all`: whether it has the noted bricks.
fn fate(noted: Noted, known: Option<&Volume>, has_all: bool, now: Instant) -> Fate {
    match known {
        // Nothing that has run is taken back.
        Some(volume) if has_all && volume.start_epoch > 0 => Fate::Forget,
        Some(_) if has_all => Fate::Keep,
        _ if noted.was_seen || noted.left_over => Fate::Clear,
        _ if now.duration_since(noted.since) >= UNBORN_MAX => Fate::Clear,
        _ => Fate::Keep,
    }
}

#[derive(Debug)]
pub struct Marks {
    host: Arc<dyn Host>,
    noted: Mutex<BTreeMap<Uuid, Noted>>,
    written: Notify,
    /// Notes of an earlier one are dealt with.
    swept: watch::Sender<bool>,
}

impl Marks {
    pub fn new(host: Arc<dyn Host>) -> Marks {
        let swept = watch::Sender::new(false);
        Marks { host, noted: Mutex::default(), written: Notify::new(), swept }
    }

    fn folder(&self) -> String {
        format!("{}/coordination/marks", self.host.dirs().work)
    }

    fn note(&self, volume: Uuid) -> String {
        format!("{}/{volume}", self.folder())
    }

    /// `was_seen`: an image shows the bricks as part of the volume.
    ///
    /// # Errors
    /// The note cannot be written; nothing may be marked then.
    pub async fn write(&self, volume: Uuid, paths: &[&str], was_seen: bool) -> io::Result<()> {
        self.host.make_dirs(&self.folder()).await?;
        self.host.write(&self.note(volume), paths.join("\n").as_bytes()).await?;
        let noted = Noted { since: Instant::now(), was_seen, left_over: false };
        self.noted.lock().insert(volume, noted);
        self.written.notify_one();
        Ok(())
    }

    /// The volume's marks are here to stay, or gone.
    pub async fn forget(&self, volume: Uuid) {
        let noted = self.noted.lock().remove(&volume);
        if noted.is_some() {
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

    /// Clears the marks of bricks that are not to be, for ever; `left_over` ones as soon as the pool
    /// is known.
    pub async fn keep(self: Arc<Marks>, store: Arc<Store>, left_over: Vec<Uuid>) {
        let since = Instant::now();
        let old = Noted { since, was_seen: false, left_over: true };
        self.noted.lock().extend(left_over.into_iter().map(|volume| (volume, old)));
        let mut sights = store.subscribe();
        loop {
            let view = sights.borrow_and_update().view.clone();
            if view.freshness == Freshness::Current {
                self.look(&view).await;
                self.swept.send_replace(true);
            }
            let some_unseen = self.noted.lock().values().any(|noted| !noted.was_seen);
            let again = async {
                match some_unseen {
                    true => tokio::time::sleep(LOOK_AGAIN).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = sights.changed() => if changed.is_err() { return },
                () = self.written.notified() => {}
                () = again => {}
            }
        }
    }

    async fn look(&self, view: &View) {
        let all: Vec<(Uuid, Noted)> = self.noted.lock().iter().map(|(id, n)| (*id, *n)).collect();
        for (volume, noted) in all {
            // Without its text there is nothing that could be cleared.
            let bytes =
                self.host.read(&self.note(volume), NOTE_BYTES_MAX).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let known = view.volumes.values().find(|known| known.id.0 == volume);
            let has = |path: &str| {
                known.is_some_and(|known| known.local_bricks(view.me).any(|(_, b)| b.path == path))
            };
            let missing: Vec<&str> = text.lines().filter(|path| !has(path)).collect();
            let has_all = missing.is_empty();
            match fate(noted, known.map(AsRef::as_ref), has_all, Instant::now()) {
                Fate::Keep => self.see(volume, known.is_some() && has_all),
                Fate::Forget => self.forget(volume).await,
                Fate::Clear => {
                    self.clear(volume, &missing).await;
                    self.forget(volume).await;
                }
            }
        }
    }

    fn see(&self, volume: Uuid, is_there: bool) {
        if let Some(noted) = self.noted.lock().get_mut(&volume) {
            noted.was_seen |= is_there;
        }
    }

    /// Until left-over marks are cleared: a mark may be found, or set, in their place. Not for long:
    /// without the coordinator nothing is known, and nothing is changed either.
    pub async fn swept(&self) {
        let mut swept = self.swept.subscribe();
        let done = swept.wait_for(|swept| *swept);
        let _either_way_the_directory_is_looked_at = tokio::time::timeout(SWEEP_BOUND, done).await;
    }

    async fn clear(&self, volume: Uuid, paths: &[&str]) {
        for path in paths {
            match self.host.unmark_brick(path, volume).await {
                Ok(()) => {
                    tracing::info!(path, %volume, "mark of a brick that is not to be cleared")
                }
                Err(why) => tracing::warn!(path, why, "a brick mark stays"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::sample;

    /// `epoch`: starts of the volume, if it is known.
    fn check(noted: (bool, bool), age_s: u64, epoch: Option<u64>, has_all: bool, want: Fate) {
        let since = Instant::now();
        let (was_seen, left_over) = noted;
        let noted = Noted { since, was_seen, left_over };
        let volume =
            epoch.map(|start_epoch| Volume { start_epoch, ..sample::volume("v", &["/a"]) });
        let now = since + Duration::from_secs(age_s);
        assert_eq!(fate(noted, volume.as_ref(), has_all, now), want);
    }

    const FRESH: (bool, bool) = (false, false);
    const SEEN: (bool, bool) = (true, false);
    const LEFT: (bool, bool) = (false, true);

    #[test]
    fn what_was_taken_back_is_cleared() {
        check(SEEN, 0, None, false, Fate::Clear);
        check(SEEN, 0, Some(1), false, Fate::Clear);
        check(LEFT, 0, None, false, Fate::Clear);
        check(LEFT, 0, Some(1), false, Fate::Clear);
    }

    /// Create marks after its change, add-brick before.
    #[test]
    fn what_is_still_to_come_is_waited_for_but_not_for_ever() {
        for epoch in [None, Some(0), Some(1)] {
            check(FRESH, 100, epoch, false, Fate::Keep);
            check(FRESH, 200, epoch, false, Fate::Clear);
        }
    }

    /// Until it has settled or started a volume may be taken back, also after a restart of this node.
    #[test]
    fn what_is_there_stays() {
        for noted in [FRESH, SEEN, LEFT] {
            check(noted, 900, Some(0), true, Fate::Keep);
            check(noted, 0, Some(2), true, Fate::Forget);
        }
    }
}

//! A handle whose cluster can be exchanged under those who use it.
//!
//! A node that joins or leaves a pool of the built-in store goes to another cluster while it runs.
//! Its rooms hold one [`Moving`] for life: between two clusters calls fail with `Unavailable` and
//! nothing written, watches say `Lost` and begin anew with a snapshot of the next cluster, sessions
//! are lost. Spaces that were declared are there in the next cluster before anyone looks.
//!
//! Revisions and versions of two clusters have nothing to do with each other: whoever keeps one
//! compares [`Info::cluster_id`] too.

use crate::coordinator::{Coordinator, Health, Info};
use crate::entry::{ReadOpts, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::names::{Key, Prefix, Space, SpaceKind};
use crate::session::{Session, SessionOpts};
use crate::txn::{Txn, TxnOutcome};
use crate::watch::{LostReason, WatchEvent, WatchOpts};
use crate::{BoxStream, Result};
use async_trait::async_trait;
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Ending politely may not hold up a move.
const FAREWELL: Duration = Duration::from_secs(2);
/// Between attempts at a watch that ends at once.
const PAUSE: Duration = Duration::from_millis(200);

/// See the file's head. It begins without a cluster.
pub struct Moving {
    scheme: &'static str,
    place: watch::Sender<Place>,
    health: watch::Sender<Health>,
    spaces: Mutex<Vec<(Space, SpaceKind)>>,
    sessions: Mutex<Vec<Weak<dyn Session>>>,
    telling: Mutex<Option<AbortHandle>>,
}

#[derive(Clone)]
enum Place {
    Nowhere,
    At(Arc<dyn Coordinator>),
    Closed,
}

impl Moving {
    pub fn new(scheme: &'static str) -> Arc<Moving> {
        Arc::new(Moving {
            scheme,
            place: watch::Sender::new(Place::Nowhere),
            health: watch::Sender::new(Health::Unreachable { since: Instant::now() }),
            spaces: Mutex::default(),
            sessions: Mutex::default(),
            telling: Mutex::default(),
        })
    }

    /// Leaves the cluster: sessions end, calls under way finish or fail, later ones fail.
    pub async fn vacate(&self) {
        let mut left = None;
        self.place.send_if_modified(|place| match place {
            Place::At(handle) => {
                left = Some(handle.clone());
                *place = Place::Nowhere;
                true
            }
            _ => false,
        });
        let Some(left) = left else { return };
        if let Some(task) = self.telling.lock().take() {
            task.abort();
        }
        self.tell(Health::Unreachable { since: Instant::now() });
        let sessions = std::mem::take(&mut *self.sessions.lock());
        let farewell = async {
            for session in sessions.iter().filter_map(Weak::upgrade) {
                session.close().await.ok();
            }
            left.close().await.ok();
        };
        tokio::time::timeout(FAREWELL, farewell).await.ok();
    }

    /// Is on this cluster from here on.
    ///
    /// # Errors
    /// Those of declaring the spaces there; then it is nowhere. `Closed`.
    pub async fn occupy(&self, handle: Arc<dyn Coordinator>) -> Result<()> {
        let spaces = self.spaces.lock().clone();
        for (space, kind) in spaces {
            handle.ensure_space(&space, kind).await?;
        }
        let mut closed = false;
        self.place.send_if_modified(|place| {
            closed = matches!(place, Place::Closed);
            if !closed {
                *place = Place::At(handle.clone());
            }
            !closed
        });
        if closed {
            handle.close().await.ok();
            return Err(ErrorKind::Closed.into());
        }
        let (mut inner, told) = (handle.health(), self.health.clone());
        let task = tokio::spawn(async move {
            loop {
                let now = inner.borrow_and_update().clone();
                if now != Health::Closed {
                    told.send_if_modified(|health| replace(health, now));
                }
                if inner.changed().await.is_err() {
                    return;
                }
            }
        });
        if let Some(old) = self.telling.lock().replace(task.abort_handle()) {
            old.abort();
        }
        Ok(())
    }

    /// The cluster it is on.
    pub fn inner(&self) -> Option<Arc<dyn Coordinator>> {
        self.now().ok()
    }

    fn tell(&self, health: Health) {
        self.health.send_if_modified(|now| replace(now, health));
    }

    fn now(&self) -> Result<Arc<dyn Coordinator>> {
        match &*self.place.borrow() {
            Place::At(handle) => Ok(handle.clone()),
            Place::Nowhere => Err(Error::none(ErrorKind::Unavailable).because("between stores")),
            Place::Closed => Err(ErrorKind::Closed.into()),
        }
    }

    /// A cluster that was left is no end for those who use this handle.
    fn left(&self, error: Error) -> Error {
        match error.kind {
            ErrorKind::Closed if !matches!(&*self.place.borrow(), Place::Closed) => {
                Error { kind: ErrorKind::Unavailable, ..error }
            }
            _ => error,
        }
    }
}

/// Nothing moves on from `Closed`.
fn replace(now: &mut Health, next: Health) -> bool {
    let news = *now != Health::Closed && *now != next;
    if news {
        *now = next;
    }
    news
}

#[async_trait]
impl Coordinator for Moving {
    fn info(&self) -> Info {
        match self.now() {
            Ok(inner) => inner.info(),
            Err(_) => Info::unknown(self.scheme),
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        self.now()?.ensure_space(space, kind).await.map_err(|error| self.left(error))?;
        let mut spaces = self.spaces.lock();
        if !spaces.iter().any(|(known, _)| known == space) {
            spaces.push((space.clone(), kind));
        }
        Ok(())
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        self.now()?.get_many(keys, opts).await.map_err(|error| self.left(error))
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        let page = self.now()?.list_page(prefix, after, limit, opts).await;
        page.map_err(|error| self.left(error))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.now()?.txn(txn).await.map_err(|error| self.left(error))
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        let stay =
            Stay { places: self.place.subscribe(), prefix, opts, events: None, ended: false };
        Box::pin(futures_util::stream::unfold(stay, |mut stay| async move {
            let event = stay.next().await?;
            Some((event, stay))
        }))
    }

    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>> {
        let session = self.now()?.session(opts).await.map_err(|error| self.left(error))?;
        let mut sessions = self.sessions.lock();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(&session));
        Ok(session)
    }

    async fn close(&self) -> Result<()> {
        let place = self.place.send_replace(Place::Closed);
        self.health.send_replace(Health::Closed);
        match place {
            Place::At(handle) => handle.close().await,
            _ => Ok(()),
        }
    }
}

/// One watch, from cluster to cluster.
struct Stay {
    places: watch::Receiver<Place>,
    prefix: Prefix,
    opts: WatchOpts,
    events: Option<BoxStream<WatchEvent>>,
    ended: bool,
}

impl Stay {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if self.ended {
                return None;
            }
            let Some(events) = &mut self.events else {
                if let Some(end) = self.begin().await {
                    return Some(end);
                }
                continue;
            };
            let event = tokio::select! {
                biased;
                moved = self.places.changed() => {
                    if moved.is_err() || matches!(&*self.places.borrow(), Place::Closed) {
                        return self.end();
                    }
                    None
                }
                event = events.next() => event,
            };
            return match event {
                Some(WatchEvent::Closed(error)) if error.kind != ErrorKind::Closed => {
                    self.ended = true;
                    Some(WatchEvent::Closed(error))
                }
                Some(event) if !matches!(event, WatchEvent::Closed(_)) => Some(event),
                // The cluster was left, or is about to be.
                _ => {
                    self.events = None;
                    // What was known of the old cluster says nothing about the next one.
                    self.opts.start_after = None;
                    Some(WatchEvent::Lost { reason: LostReason::ClusterReplaced })
                }
            };
        }
    }

    /// Waits for a cluster; the event is the stream's last.
    async fn begin(&mut self) -> Option<WatchEvent> {
        let somewhere = |place: &Place| !matches!(place, Place::Nowhere);
        let there = self.places.wait_for(somewhere).await.map(|place| place.clone());
        let Ok(Place::At(handle)) = there else { return self.end() };
        if *handle.health().borrow() == Health::Closed {
            tokio::time::sleep(PAUSE).await;
            return None;
        }
        self.events = Some(handle.watch(self.prefix.clone(), self.opts.clone()));
        None
    }

    fn end(&mut self) -> Option<WatchEvent> {
        self.ended = true;
        Some(WatchEvent::Closed(ErrorKind::Closed.into()))
    }
}

impl fmt::Debug for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.place.borrow() {
            Place::At(handle) => write!(f, "Moving({handle:?})"),
            Place::Nowhere => write!(f, "Moving({}, nowhere)", self.scheme),
            Place::Closed => write!(f, "Moving({}, closed)", self.scheme),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::CoordinatorExt;
    use crate::mem::Mem;

    fn space() -> Space {
        Space::new("config").unwrap()
    }

    fn key(name: &str) -> Key {
        Key::new(&space(), name).unwrap()
    }

    #[tokio::test]
    async fn a_watch_goes_from_cluster_to_cluster() {
        let (one, two) = (Mem::new(), Mem::new());
        let moving = Moving::new("local");
        let waiting = moving.watch(Prefix::all(&space()), WatchOpts::default());
        assert_eq!(moving.txn(Txn::new()).await.unwrap_err().kind, ErrorKind::Unavailable);
        moving.occupy(one.connect("a")).await.unwrap();
        moving.ensure_space(&space(), SpaceKind::Persistent).await.unwrap();
        moving.txn(Txn::new().put(&key("a"), "1")).await.unwrap();
        drop(waiting);
        let mut watch = moving.watch(Prefix::all(&space()), WatchOpts::default());
        let names = |event: Option<WatchEvent>| match event {
            Some(WatchEvent::Snapshot { entries, .. }) => {
                entries.iter().map(|entry| entry.key.name().to_owned()).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(names(watch.next().await), ["a"]);
        assert!(matches!(watch.next().await, Some(WatchEvent::Synced { .. })));

        moving.vacate().await;
        assert!(matches!(*moving.health().borrow(), Health::Unreachable { .. }));
        assert!(matches!(watch.next().await, Some(WatchEvent::Lost { .. })));
        // The space is declared by the move itself.
        moving.occupy(two.connect("a")).await.unwrap();
        moving.health().wait_for(|health| *health == Health::Ok).await.unwrap();
        assert_eq!(names(watch.next().await), Vec::<String>::new());
        moving.txn(Txn::new().put(&key("b"), "1")).await.unwrap();
        loop {
            match watch.next().await.unwrap() {
                WatchEvent::Changes { changes, .. } => {
                    assert_eq!(changes[0].key(), &key("b"));
                    break;
                }
                WatchEvent::Synced { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        moving.close().await.unwrap();
        assert!(matches!(watch.next().await, Some(WatchEvent::Closed(_))));
        assert!(watch.next().await.is_none());
        assert!(moving.occupy(one.connect("b")).await.is_err());
    }

    #[tokio::test]
    async fn a_session_ends_with_the_stay() {
        let (one, two) = (Mem::new(), Mem::new());
        let alive = Space::new("alive").unwrap();
        let moving = Moving::new("local");
        moving.occupy(one.connect("a")).await.unwrap();
        moving.ensure_space(&alive, SpaceKind::Ephemeral).await.unwrap();
        let opts = SessionOpts { ttl: Duration::from_secs(10), name: "n".into() };
        let session = moving.session(opts).await.unwrap();
        let mine = Key::ephemeral(&alive, "n", session.id(), 0).unwrap();
        session.txn(Txn::new().put_ephemeral(&mine, "x")).await.unwrap();
        moving.vacate().await;
        assert!(session.state().borrow().is_lost());
        // Gone at once there, not after its time.
        let other = one.connect("a");
        assert!(other.get(&mine, ReadOpts::default()).await.unwrap().0.is_none());
        moving.occupy(two.connect("a")).await.unwrap();
        assert!(session.txn(Txn::new().put_ephemeral(&mine, "x")).await.is_err());
    }
}

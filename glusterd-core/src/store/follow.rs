//! The live end of the store: follows the coordinator, publishes cluster images, commits changes.
//!
//! One task folds the watch; everybody else reads the last published [`Sight`] without waiting.

use super::edit::{Edit, guarded};
use super::image::{Image, Sight};
use super::keys::{ALIVE, CONFIG, Pool, RECEIPTS};
use super::view::{Freshness, View};
use crate::model::NodeId;
use coord_api::{
    Change, Coordinator, Effect, Entry, ErrorKind, Health, Receipts, Resolved, Revision, SpaceKind,
    WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, watch};

/// Why a change did not take effect, as far as the user can act on it.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Something it relied on has moved: look again, decide again.
    #[error("the configuration changed meanwhile")]
    Conflict,
    /// The coordinator said no, or cannot be reached; certainly nothing was written.
    #[error("the coordination service refused the change")]
    Refused(#[source] coord_api::Error),
    /// The connection broke after sending: it may or may not be written.
    #[error("the coordination service did not answer")]
    Unknown(#[source] coord_api::Error),
}

/// Changes that this node can have under way at a time; more wait their turn.
const RECEIPTS_MAX: usize = 4;
/// How long the fate of a change is looked for after its answer was lost. With the change's own
/// time-out this stays below the patience of a command.
const FIND_OUT: Duration = Duration::from_secs(60);
/// Attempts at a change that was lost on its way and certainly never arrived.
const ATTEMPTS_MAX: usize = 3;

/// One pool's records in one coordinator.
#[derive(Debug)]
pub struct Store {
    coordinator: Arc<dyn Coordinator>,
    pool: Pool,
    sights: watch::Sender<Sight>,
    me: watch::Sender<NodeId>,
    receipts: OnceCell<Receipts>,
}

impl Store {
    /// Declares the spaces and starts following the pool. `last_known` is served until the first
    /// snapshot has arrived.
    pub fn open(coordinator: Arc<dyn Coordinator>, pool: Pool, last_known: View) -> Arc<Store> {
        let me = last_known.me;
        let first = Sight { view: Arc::new(last_known), versions: Arc::default() };
        let store = Arc::new(Store {
            coordinator,
            pool,
            sights: watch::Sender::new(first),
            me: watch::Sender::new(me),
            receipts: OnceCell::new(),
        });
        tokio::spawn(follow(store.clone()));
        store
    }

    pub fn coordinator(&self) -> &Arc<dyn Coordinator> {
        &self.coordinator
    }

    /// How long the coordinator has been out of reach, if it is.
    pub fn away_for(&self) -> Option<Duration> {
        match *self.coordinator.health().borrow() {
            Health::Unreachable { since } | Health::Degraded { since, .. } => Some(since.elapsed()),
            Health::Ok | Health::Closed => None,
        }
    }

    pub fn pool(&self) -> Pool {
        self.pool
    }

    pub fn sight(&self) -> Sight {
        self.sights.borrow().clone()
    }

    pub fn view(&self) -> Arc<View> {
        self.sights.borrow().view.clone()
    }

    pub fn subscribe(&self) -> watch::Receiver<Sight> {
        self.sights.subscribe()
    }

    /// Who this node is; it changes by `system:: uuid reset` alone.
    pub fn me(&self) -> watch::Receiver<NodeId> {
        self.me.subscribe()
    }

    /// Is another node from now on, in every image.
    pub fn be(&self, node: NodeId) {
        self.me.send_replace(node);
        self.sights.send_modify(|sight| Arc::make_mut(&mut sight.view).me = node);
    }

    /// The identity is read with the image locked, so that none with the old one comes after.
    fn publish(&self, sight: Sight) {
        self.sights.send_modify(|shown| {
            *shown = sight;
            Arc::make_mut(&mut shown.view).me = *self.me.borrow();
        });
    }

    /// Waits until an image with a live watch, at `revision` or later, is published.
    pub async fn wait_for(&self, revision: Revision, at_most: Duration) -> Option<Sight> {
        let mut sights = self.subscribe();
        let reached = sights
            .wait_for(|s| s.view.freshness == Freshness::Current && s.view.revision >= revision.0);
        Some(tokio::time::timeout(at_most, reached).await.ok()?.ok()?.clone())
    }

    /// All of `edits`, or none if anything they rely on has changed since `sight`.
    ///
    /// A lost answer is followed up: an error other than [`CommitError::Unknown`] means that nothing
    /// was or will be written, and that one only comes when the service stayed away for a minute.
    ///
    /// # Errors
    /// As [`CommitError`].
    pub async fn commit(&self, sight: &Sight, edits: &[Edit]) -> Result<Revision, CommitError> {
        let receipts = self.receipts().await.map_err(CommitError::Refused)?;
        let txn = guarded(self.pool, sight, edits);
        for _ in 0..ATTEMPTS_MAX {
            match receipts.txn(txn.clone()).await {
                Ok(Resolved::Committed { revision }) => return Ok(revision),
                Ok(Resolved::Conflict { .. }) => return Err(CommitError::Conflict),
                Ok(Resolved::NotCommitted) => tracing::warn!("a change was lost on its way"),
                Err(error) if error.effect == Effect::Unknown => {
                    return Err(CommitError::Unknown(error));
                }
                Err(error) => return Err(CommitError::Refused(error)),
            }
        }
        Err(CommitError::Refused(ErrorKind::Timeout.into()))
    }

    /// Opened once per process; that also ends what an earlier process of this node left under way.
    async fn receipts(&self) -> coord_api::Result<&Receipts> {
        let open = || {
            let owner = format!("{}.{}", self.pool.0, *self.me.borrow());
            let coordinator = self.coordinator.clone();
            async move { Receipts::open(&coordinator, &RECEIPTS, &owner, RECEIPTS_MAX, FIND_OUT).await }
        };
        self.receipts.get_or_try_init(open).await
    }
}

/// Pause before the spaces are declared again; the coordinator itself paces reconnects.
const RETRY: Duration = Duration::from_millis(500);
/// Pause before watches that have ended are begun again.
const REOPEN: Duration = Duration::from_secs(5);

/// A watch that ends while the handle is open (a missing permission, say) is begun again.
async fn follow(store: Arc<Store>) {
    loop {
        declare_spaces(&store).await;
        follow_watches(&store).await;
        publish_stale(&store);
        if *store.coordinator.health().borrow() == Health::Closed {
            return;
        }
        tokio::time::sleep(REOPEN).await;
    }
}

/// Until one of the watches has ended.
async fn follow_watches(store: &Store) {
    let me = *store.me.borrow();
    let mut image = Image::new(store.pool, me);
    let mut config = store.coordinator.watch(store.pool.prefix(), WatchOpts::default());
    let mut alive = store.coordinator.watch(store.pool.alive_prefix(), WatchOpts::default());
    let mut present = Present::default();
    let mut revision = None;
    loop {
        tokio::select! {
            event = config.next() => match event {
                Some(event) => fold(&mut image, &mut revision, event),
                None => return,
            },
            event = alive.next() => match event {
                Some(event) => present.fold(event),
                None => return,
            },
        }
        let Some(revision) = revision else {
            publish_stale(store);
            continue;
        };
        if present.synced {
            image.set_alive(present.nodes(store.pool), *store.me.borrow());
            store.publish(image.sight(revision, Freshness::Current));
        }
    }
}

async fn declare_spaces(store: &Store) {
    let mut said = false;
    loop {
        let config = store.coordinator.ensure_space(&CONFIG, SpaceKind::Persistent).await;
        let alive = store.coordinator.ensure_space(&ALIVE, SpaceKind::Ephemeral).await;
        match config.and(alive) {
            Ok(()) => return,
            Err(error) if error.kind == ErrorKind::Closed => return,
            Err(error) if !said => {
                tracing::warn!(%error, "waiting for the coordination service");
                said = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Folds one event; `revision` is `None` while the stream has a gap.
fn fold(image: &mut Image, revision: &mut Option<Revision>, event: WatchEvent) {
    let put = |image: &mut Image, entry: &Entry| {
        if let Err(error) = image.put(entry) {
            tracing::error!(key = entry.key.name(), %error, "a record cannot be read; keeping what was known");
        }
    };
    match event {
        WatchEvent::Snapshot { entries, .. } => {
            if revision.take().is_some() {
                image.clear();
            }
            entries.iter().for_each(|entry| put(image, entry));
        }
        WatchEvent::Synced { revision: at, .. } => *revision = Some(at),
        WatchEvent::Changes { revision: at, changes } => {
            for change in &changes {
                match change {
                    Change::Put(entry) => put(image, entry),
                    Change::Delete { key } => image.delete(key),
                }
            }
            *revision = Some(at);
        }
        WatchEvent::Progress { revision: at } => *revision = Some(at),
        WatchEvent::Lost { reason } => {
            tracing::warn!(?reason, "lost the watch on the configuration");
            *revision = None;
            image.clear();
        }
        WatchEvent::Closed(error) => {
            tracing::warn!(%error, "the watch on the configuration ended");
            *revision = None;
        }
    }
}

fn publish_stale(store: &Store) {
    store.sights.send_if_modified(|sight| {
        let was_current = sight.view.freshness == Freshness::Current;
        if was_current {
            let mut view = View::clone(&sight.view);
            view.freshness = Freshness::Stale;
            sight.view = Arc::new(view);
        }
        was_current
    });
}

/// Announcements of running daemons.
#[derive(Default)]
struct Present {
    names: HashMap<coord_api::Key, ()>,
    synced: bool,
}

impl Present {
    fn fold(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Snapshot { entries, .. } => {
                if std::mem::take(&mut self.synced) {
                    self.names.clear();
                }
                self.names.extend(entries.into_iter().map(|entry| (entry.key, ())));
            }
            WatchEvent::Synced { .. } => self.synced = true,
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => self.names.insert(entry.key, ()),
                        Change::Delete { key } => self.names.remove(&key),
                    };
                }
            }
            WatchEvent::Progress { .. } => {}
            WatchEvent::Lost { .. } | WatchEvent::Closed(_) => {
                self.names.clear();
                self.synced = false;
            }
        }
    }

    /// `POOL.NODE@session-counter`, so a node is up as long as one of its sessions is.
    fn nodes(&self, pool: Pool) -> BTreeSet<NodeId> {
        let pool = format!("{}.", pool.0);
        let id = |name: &str| {
            let rest = name.strip_prefix(&pool)?;
            NodeId::parse(rest.split('@').next()?)
        };
        self.names.keys().filter_map(|key| id(key.name())).collect()
    }
}

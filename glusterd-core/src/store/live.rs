//! The live end of the store: the last published cluster image, and changes of it.
//!
//! One task (`follow`) folds the watches; everybody else reads the last [`Sight`] without waiting.

use super::edit::{Edit, guarded};
use super::follow::follow;
use super::image::Sight;
use super::keys::{Pool, RECEIPTS};
use super::view::{Freshness, View};
use crate::model::NodeId;
use coord_api::{
    ClusterId, Coordinator, CoordinatorExt, Effect, ErrorKind, Health, ReadOpts, Receipts,
    Resolved, Revision,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

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

/// Members in this node's reach, as it has counted itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads {
    pub up: BTreeSet<NodeId>,
    /// The coordinator has no say in it now.
    pub are_all: bool,
}

/// One pool's records in one coordinator.
#[derive(Debug)]
pub struct Store {
    coordinator: Arc<dyn Coordinator>,
    sights: watch::Sender<Sight>,
    place: watch::Sender<Place>,
    /// What this node has counted itself of who is up.
    heads: watch::Sender<Heads>,
    /// Of the cluster they were opened in.
    receipts: Mutex<Option<(ClusterId, Arc<Receipts>)>>,
}

/// Who this node is and where it belongs. The first changes by `system:: uuid reset`, the second
/// when the node is taken into another pool or sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub node: NodeId,
    pub pool: Pool,
}

impl Store {
    /// Declares the spaces and starts following the pool. `last_known` is served until the first
    /// snapshot has arrived.
    ///
    /// `pool` is where the node belongs as far as it knows itself: if the coordinator knows
    /// better, the store follows that one.
    pub fn open(coordinator: Arc<dyn Coordinator>, pool: Pool, last_known: View) -> Arc<Store> {
        let place = Place { node: last_known.me, pool };
        let first = Sight {
            view: Arc::new(last_known),
            versions: Arc::default(),
            member: None,
            behind: Arc::default(),
            pool,
        };
        let store = Arc::new(Store {
            coordinator,
            sights: watch::Sender::new(first),
            place: watch::Sender::new(place),
            heads: watch::Sender::new(Heads::default()),
            receipts: Mutex::default(),
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
        self.place.borrow().pool
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

    pub fn place(&self) -> watch::Receiver<Place> {
        self.place.subscribe()
    }

    /// Is another node from now on, in every image.
    pub fn be(&self, node: NodeId) {
        self.place.send_modify(|place| place.node = node);
        self.sights.send_modify(|sight| Arc::make_mut(&mut sight.view).me = node);
    }

    pub(super) fn belong(&self, pool: Pool) {
        self.place.send_modify(|place| place.pool = pool);
    }

    /// The identity is read with the image locked, so that none with the old one comes after.
    pub(super) fn publish(&self, sight: Sight) {
        self.sights.send_modify(|shown| {
            *shown = sight;
            Arc::make_mut(&mut shown.view).me = self.place.borrow().node;
        });
    }

    pub(super) fn publish_stale(&self) {
        self.sights.send_if_modified(|sight| {
            let was_current = sight.view.freshness == Freshness::Current;
            if was_current {
                let mut view = View::clone(&sight.view);
                view.freshness = Freshness::Stale;
                sight.view = Arc::new(view);
            }
            was_current
        });
    }

    /// Shows `heads` as those who are up, in an image that is not current.
    pub fn count(&self, heads: BTreeSet<NodeId>) {
        self.heads.send_replace(Heads { up: heads.clone(), are_all: true });
        self.sights.send_if_modified(|sight| {
            let known = &sight.view;
            let is_shown =
                known.freshness == Freshness::Stale && known.counted && known.alive == heads;
            if !is_shown {
                let view = Arc::make_mut(&mut sight.view);
                (view.freshness, view.counted, view.alive) = (Freshness::Stale, true, heads);
            }
            !is_shown
        });
    }

    /// From here on it is again what the coordinator says, and with it whoever was counted last: they
    /// may be slower in coming back to it.
    pub fn stop_counting(&self) {
        self.heads.send_modify(|heads| heads.are_all = false);
    }

    /// Nobody counts any more but whom the coordinator names.
    pub fn forget_heads(&self) {
        self.heads.send_replace(Heads::default());
    }

    pub(super) fn heads(&self) -> watch::Receiver<Heads> {
        self.heads.subscribe()
    }

    /// Waits until an image with a live watch, at `revision` or later, is published.
    pub async fn wait_for(&self, revision: Revision, at_most: Duration) -> Option<Sight> {
        let mut sights = self.subscribe();
        let reached = sights
            .wait_for(|s| s.view.freshness == Freshness::Current && s.view.revision >= revision.0);
        Some(tokio::time::timeout(at_most, reached).await.ok()?.ok()?.clone())
    }

    /// An image with every change in it that any node had finished before the call: commands wait
    /// for the nodes they concern only, and the next one may come by another node. `None`: not in
    /// that time, or the coordinator cannot say.
    pub async fn caught_up(&self, at_most: Duration) -> Option<Sight> {
        if self.away_for().is_some() {
            return None;
        }
        let until = Instant::now() + at_most;
        let opts = ReadOpts { timeout: Some(at_most), ..ReadOpts::default() };
        let read = self.coordinator.get(&self.pool().changed(), opts).await;
        let unknown =
            |error: &_| tracing::warn!(%error, "not known what other nodes have finished");
        let (changed, _) = read.inspect_err(unknown).ok()?;
        let revision = changed.map_or(Revision(0), |entry| entry.modified);
        self.wait_for(revision, until.saturating_duration_since(Instant::now())).await
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
        let txn = guarded(self.pool(), sight, edits);
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

    /// Opened once per process and cluster; that also ends what an earlier process of this node left
    /// under way.
    async fn receipts(&self) -> coord_api::Result<Arc<Receipts>> {
        let mut receipts = self.receipts.lock().await;
        if let Some((cluster, receipts)) = &*receipts
            && *cluster == self.coordinator.info().cluster_id
        {
            return Ok(receipts.clone());
        }
        let owner = self.place.borrow().node.to_string();
        let opened =
            Receipts::open(&self.coordinator, &RECEIPTS, &owner, RECEIPTS_MAX, FIND_OUT).await?;
        let opened = Arc::new(opened);
        *receipts = Some((self.coordinator.info().cluster_id, opened.clone()));
        Ok(opened)
    }
}

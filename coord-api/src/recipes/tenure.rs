//! The queue of candidates under election and lock: who is oldest holds, as long as its session
//! is confirmed and its key is there.
//!
//! Correctness comes from the fence; validity in time only bounds what a holder may believe.

use crate::entry::{Entry, Revision};
use crate::error::{Error, ErrorKind};
use crate::names::{Key, Prefix, Space, SpaceKind};
use crate::session::{Session, SessionState, StrictHold};
use crate::txn::{Fence, Txn, TxnOutcome};
use crate::watch::{Change, LostReason, WatchEvent, WatchOpts};
use crate::{BoxStream, Coordinator, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until};

/// Tells the candidates of one process apart; never repeats (L5, S3).
static COUNTER: AtomicU64 = AtomicU64::new(1);

/// Why a holder holds no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderLoss {
    SessionLost,
    /// `valid_until` passed without a confirmed heartbeat.
    NotConfirmed,
    /// Somebody deleted the candidate key, the holder itself included.
    CandidateDeleted,
    ClusterReplaced,
}

/// One queue: a name within a space.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub coordinator: Arc<dyn Coordinator>,
    pub session: Arc<dyn Session>,
    space: Space,
    name: String,
}

/// Candidates as a watch shows them.
#[derive(Default)]
pub(super) struct Line {
    candidates: HashMap<Key, Entry>,
    incoming: Vec<Entry>,
    /// `None`: the watch is lost or has not begun.
    pub revision: Option<Revision>,
}

impl Line {
    /// True when the line is whole and consistent after the event.
    pub fn fold(&mut self, event: WatchEvent) -> Result<bool> {
        match event {
            WatchEvent::Snapshot { entries, .. } => self.incoming.extend(entries),
            WatchEvent::Synced { revision, resumed } => {
                let incoming = std::mem::take(&mut self.incoming);
                if !resumed {
                    self.candidates = incoming.into_iter().map(|e| (e.key.clone(), e)).collect();
                }
                self.revision = Some(revision);
            }
            WatchEvent::Changes { revision, changes } => {
                self.revision = Some(revision);
                for change in changes {
                    match change {
                        Change::Put(entry) => {
                            self.candidates.insert(entry.key.clone(), entry);
                        }
                        Change::Delete { key } => drop(self.candidates.remove(&key)),
                    }
                }
            }
            WatchEvent::Progress { revision } => self.revision = Some(revision),
            WatchEvent::Lost { reason } => {
                self.revision = None;
                self.incoming.clear();
                if reason == LostReason::ClusterReplaced {
                    return Err(ErrorKind::ClusterReplaced.into());
                }
            }
            WatchEvent::Closed(error) => return Err(error),
        }
        Ok(self.revision.is_some())
    }

    pub fn contains(&self, fence: &Fence) -> bool {
        self.candidates.get(&fence.key).is_some_and(|entry| entry.created == fence.token)
    }

    pub fn first(&self) -> Option<&Entry> {
        oldest(self.candidates.values())
    }
}

/// First come, first served (E4, L2); keys decide only what revisions cannot.
pub(super) fn oldest<'a>(candidates: impl Iterator<Item = &'a Entry>) -> Option<&'a Entry> {
    candidates.min_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)))
}

impl Queue {
    pub fn new(
        coordinator: &Arc<dyn Coordinator>,
        session: &Arc<dyn Session>,
        space: &'static str,
        name: &str,
    ) -> Result<Queue> {
        if name.is_empty() || name.contains('@') {
            return Err(ErrorKind::InvalidKey("a name has no @ and at least one byte").into());
        }
        let space = Space::new(space)?;
        Key::ephemeral(&space, name, session.id(), u64::MAX)?;
        let (coordinator, session) = (coordinator.clone(), session.clone());
        Ok(Queue { coordinator, session, space, name: name.to_owned() })
    }

    pub fn prefix(&self) -> Prefix {
        Prefix::new(&self.space, &format!("{}@", self.name)).expect("checked by new")
    }

    pub fn watch(&self) -> BoxStream<WatchEvent> {
        self.coordinator.watch(self.prefix(), WatchOpts::default())
    }

    pub async fn declare(&self) -> Result<()> {
        self.coordinator.ensure_space(&self.space, SpaceKind::Ephemeral).await
    }

    /// Joins the end of the queue. Whatever becomes of the call, a key without a live [`Place`]
    /// is deleted (E5).
    pub async fn join(&self, value: Bytes) -> Result<Place> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let key = Key::ephemeral(&self.space, &self.name, self.session.id(), number)?;
        let mut withdrawal = Withdrawal { queue: self.clone(), key: key.clone(), armed: true };
        let joined = self.session.txn(Txn::new().absent(&key).put_ephemeral(&key, value)).await;
        match joined {
            Ok(TxnOutcome::Committed { revision, .. }) => {
                let fence = Fence { key, token: revision };
                Ok(Place { fence, withdrawal })
            }
            // Session ids and the counter never repeat, so nobody can have taken the key.
            Ok(TxnOutcome::Conflict { .. }) => Err(ErrorKind::Internal.into()),
            Err(error) => {
                withdrawal.armed = error.is_unknown();
                Err(error)
            }
        }
    }

    /// Waits in the queue until the own candidate is the oldest in a consistent state that holds
    /// it, and the session is confirmed after that (E6).
    pub async fn hold(&self, value: Bytes) -> Result<Tenure> {
        self.declare().await?;
        let mut place = self.join(value.clone()).await?;
        let mut events = self.watch();
        let mut line = Line::default();
        let mut session = self.session.state();
        loop {
            let event = tokio::select! {
                event = events.next() => event.ok_or(ErrorKind::Closed)?,
                lost = session.wait_for(SessionState::is_lost) => {
                    drop(lost);
                    return Err(ErrorKind::SessionLost.into());
                }
            };
            // An older state cannot know of the own candidate.
            let whole = line.fold(event)? && line.revision >= Some(place.fence.token);
            if whole && !line.contains(&place.fence) {
                // Deleted from outside: back to the end of the queue.
                place.withdrawal.armed = false;
                place = self.join(value.clone()).await?;
            } else if whole && line.first().is_some_and(|first| first.key == place.fence.key) {
                let strict = self.session.hold_strict();
                confirm(&*self.session).await?;
                return Ok(Tenure::begin(self.clone(), place, strict, line, events));
            }
        }
    }

    /// Holds if the own candidate is first as soon as it exists; else leaves none behind (L3).
    pub async fn hold_at_once(&self, value: Bytes) -> Result<Option<Tenure>> {
        let place = self.join(value).await?;
        let mut events = self.watch();
        let mut line = Line::default();
        while let Some(event) = events.next().await {
            if !line.fold(event)? || line.revision < Some(place.fence.token) {
                continue;
            }
            if line.first().is_none_or(|first| first.key != place.fence.key) {
                place.withdraw().await?;
                return Ok(None);
            }
            let strict = self.session.hold_strict();
            confirm(&*self.session).await?;
            return Ok(Some(Tenure::begin(self.clone(), place, strict, line, events)));
        }
        Err(ErrorKind::Closed.into())
    }

    /// The present oldest candidate, from one read.
    pub async fn first(&self, opts: crate::ReadOpts) -> Result<(Option<Entry>, Revision)> {
        use crate::CoordinatorExt;
        self.declare().await?;
        let snapshot = self.coordinator.list(&self.prefix(), opts).await?;
        Ok((oldest(snapshot.entries.iter()).cloned(), snapshot.revision))
    }
}

/// A confirmed heartbeat, through whatever passes within the session's life.
async fn confirm(session: &dyn Session) -> Result<Instant> {
    loop {
        match session.confirm().await {
            Ok(valid_until) => return Ok(valid_until),
            Err(error) if session.state().borrow().is_lost() => return Err(error),
            Err(error) if error.retry() != crate::Retry::SameHandle => return Err(error),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A candidate key that exists, and the promise to delete it.
pub(super) struct Place {
    pub fence: Fence,
    withdrawal: Withdrawal,
}

impl Place {
    /// Completes after the key is gone; on an error it is deleted in the background.
    async fn withdraw(mut self) -> Result<()> {
        let key = &self.fence.key;
        let gone = self.withdrawal.queue.coordinator.txn(Txn::new().delete(key)).await;
        self.withdrawal.armed = gone.is_err();
        gone.map(drop)
    }
}

/// Deletes a candidate when dropped, as long as its session lives.
struct Withdrawal {
    queue: Queue,
    key: Key,
    armed: bool,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (true, Ok(runtime)) = (self.armed, runtime) {
            runtime.spawn(withdraw(self.queue.clone(), self.key.clone()));
        }
    }
}

/// A write of unknown outcome may still arrive after a first delete, so there is a second one a
/// TTL later; then the key is gone with certainty or with its session (S6).
async fn withdraw(queue: Queue, key: Key) {
    let (session, mut pause) = (queue.session, Duration::from_millis(10));
    let ttl = session.ttl();
    let last = tokio::time::Instant::now() + ttl;
    drop((queue.name, queue.space));
    let mut state = session.state();
    loop {
        let done = match queue.coordinator.txn(Txn::new().delete(&key)).await {
            Ok(_) => Some(last),
            Err(error) if error.retry() == crate::Retry::SameHandle => None,
            Err(_) => return,
        };
        pause = (pause * 2).min(Duration::from_secs(1));
        let next = match done {
            Some(_) if tokio::time::Instant::now() >= last => return,
            Some(last) => last,
            None => tokio::time::Instant::now() + pause,
        };
        tokio::select! {
            _ = state.wait_for(SessionState::is_lost) => return,
            () = sleep_until(next) => {}
        }
    }
}

/// Being the holder, and what ends it.
pub(super) struct Tenure {
    pub queue: Queue,
    fence: Fence,
    /// Taken when released.
    place: Option<Place>,
    lost: watch::Receiver<Option<HolderLoss>>,
    ended: Arc<watch::Sender<Option<HolderLoss>>>,
    monitor: AbortHandle,
    _strict: StrictHold,
}

impl Tenure {
    fn begin(
        queue: Queue,
        place: Place,
        strict: StrictHold,
        line: Line,
        events: BoxStream<WatchEvent>,
    ) -> Tenure {
        let (ended, lost) = watch::channel(None);
        let ended = Arc::new(ended);
        let watching = watch_candidate(events, line, place.fence.clone());
        let session = queue.session.state();
        let report = ended.clone();
        let monitor = tokio::spawn(async move {
            let loss = tokio::select! {
                loss = watching => loss,
                loss = watch_session(session) => loss,
            };
            end(&report, loss);
        });
        let monitor = monitor.abort_handle();
        let fence = place.fence.clone();
        Tenure { queue, fence, place: Some(place), lost, ended, monitor, _strict: strict }
    }

    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    pub fn valid_until(&self) -> Instant {
        let until = self.queue.session.state().borrow().valid_until();
        until.unwrap_or_else(Instant::now)
    }

    /// Once false, false for ever (E9).
    pub fn is_valid(&self) -> bool {
        if self.lost.borrow().is_some() {
            return false;
        }
        let until = self.queue.session.state().borrow().valid_until();
        let loss = match until {
            None => HolderLoss::SessionLost,
            Some(until) if until <= Instant::now() => HolderLoss::NotConfirmed,
            Some(_) => return true,
        };
        end(&self.ended, loss);
        false
    }

    pub async fn lost(&self) -> HolderLoss {
        let mut lost = self.lost.clone();
        let loss = lost.wait_for(Option::is_some).await;
        loss.map_or(HolderLoss::CandidateDeleted, |loss| loss.unwrap_or(HolderLoss::SessionLost))
    }

    /// # Errors
    /// `Fenced` when it has passed on; those of [`Session::txn`].
    pub async fn proclaim(&self, value: Bytes) -> Result<()> {
        let key = &self.fence.key;
        let txn = Txn::new().fence(&self.fence).put_ephemeral(key, value);
        match self.queue.session.txn(txn).await? {
            TxnOutcome::Committed { .. } => Ok(()),
            TxnOutcome::Conflict { .. } => Err(ErrorKind::Fenced.into()),
        }
    }

    /// Completes after the key is gone. On an error it is deleted in the background (L6).
    pub async fn release(mut self) -> Result<()> {
        end(&self.ended, HolderLoss::CandidateDeleted);
        match self.place.take() {
            Some(place) => place.withdraw().await,
            None => Ok(()),
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        // Not valid before the key is deleted, which the place's drop does next.
        end(&self.ended, HolderLoss::CandidateDeleted);
        self.monitor.abort();
    }
}

/// The first reason stays.
fn end(ended: &watch::Sender<Option<HolderLoss>>, loss: HolderLoss) {
    ended.send_if_modified(|known| {
        let first = known.is_none();
        known.get_or_insert(loss);
        first
    });
}

/// Resolves when the candidate is gone from a consistent state.
async fn watch_candidate(
    mut events: BoxStream<WatchEvent>,
    mut line: Line,
    fence: Fence,
) -> HolderLoss {
    while let Some(event) = events.next().await {
        match line.fold(event) {
            Ok(whole) if whole && !line.contains(&fence) => return HolderLoss::CandidateDeleted,
            Ok(_) => {}
            Err(Error { kind: ErrorKind::ClusterReplaced, .. }) => {
                return HolderLoss::ClusterReplaced;
            }
            Err(_) => break,
        }
    }
    // The session alone decides from here.
    std::future::pending().await
}

/// Resolves when the session is lost, or not confirmed in time.
async fn watch_session(mut state: watch::Receiver<SessionState>) -> HolderLoss {
    loop {
        let now = *state.borrow_and_update();
        let Some(until) = now.valid_until() else { return HolderLoss::SessionLost };
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return HolderLoss::SessionLost;
                }
            }
            () = sleep_until(until.into()) => {
                let later = state.borrow().valid_until();
                match later {
                    None => return HolderLoss::SessionLost,
                    Some(later) if later <= Instant::now() => return HolderLoss::NotConfirmed,
                    Some(_) => {}
                }
            }
        }
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fence = self.fence();
        write!(f, "{} since {}, lost: {:?}", fence.key, fence.token, *self.lost.borrow())
    }
}

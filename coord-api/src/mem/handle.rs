//! A client of the in-memory cluster: the kernel's methods as exchanges over a connection that
//! may fail on either way.

use super::TxnFault;
use super::bug::Bug;
use super::server::{Cluster, HandleRec, Parked, Route, State, Watcher};
use crate::entry::{Consistency, ReadOpts, Snapshot};
use crate::error::{Effect, Error, ErrorKind};
use crate::feed::{Signal, feed};
use crate::names::{Key, Prefix, Space, SpaceKind};
use crate::session::{Session, SessionId, SessionOpts, SessionState, StrictHold};
use crate::txn::{Txn, TxnOutcome};
use crate::watch::{WatchEvent, WatchOpts};
use crate::{
    BoxStream, Caps, ClusterId, Coordinator, Health, Info, Limits, Member, OpenOpts, Result,
};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout_at;

/// TTLs small enough for tests; the largest as in the contract.
const LIMITS: Limits =
    Limits { ttl: (Duration::from_millis(50), Duration::from_secs(40)), ..Limits::CONTRACT };

#[derive(Debug)]
pub(super) struct Handle {
    connection: Connection,
    cluster_id: ClusterId,
}

/// What a handle shares with its sessions.
#[derive(Clone, Debug)]
struct Connection {
    cluster: Arc<Cluster>,
    handle: u64,
    ns: Arc<str>,
    client: usize,
    request_timeout: Duration,
    health: watch::Receiver<Health>,
}

impl Handle {
    pub fn open(cluster: &Arc<Cluster>, ns: &str, client: usize, opts: &OpenOpts) -> Handle {
        let (health, receiver) = watch::channel(Health::Ok);
        let (handle, cluster_id) = cluster.with(|state| {
            let handle = state.fresh();
            let rec = HandleRec {
                ns: ns.to_owned(),
                client,
                detect: opts.detect,
                health,
                up: true,
                reconnects: 0,
                replaced: false,
                dropped: false,
            };
            state.handles.insert(handle, rec);
            state.refresh_all(Instant::now());
            (handle, state.cluster_id)
        });
        let connection = Connection {
            cluster: cluster.clone(),
            handle,
            ns: ns.into(),
            client,
            request_timeout: opts.request_timeout,
            health: receiver,
        };
        Handle { connection, cluster_id }
    }
}

/// Whether a lost answer leaves doubt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

impl Connection {
    fn check(&self, state: &State) -> Result<()> {
        match state.handles.get(&self.handle) {
            None => Err(ErrorKind::Closed.into()),
            Some(rec) if rec.replaced => Err(ErrorKind::ClusterReplaced.into()),
            Some(_) => Ok(()),
        }
    }

    /// One exchange: `serve` runs on the server if the request arrives.
    async fn exchange<R>(
        &self,
        timeout: Option<Duration>,
        kind: Kind,
        park: Option<Parked>,
        serve: impl FnOnce(&mut State) -> Result<R>,
    ) -> Result<R> {
        let deadline = tokio::time::Instant::now() + timeout.unwrap_or(self.request_timeout);
        let delay = {
            let state = self.cluster.state.lock();
            self.check(&state)?;
            state.links.get(&self.client).map_or(Duration::ZERO, |link| link.delay)
        };
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else if timeout_at(deadline, tokio::time::sleep(delay)).await.is_err() {
            return Err(ErrorKind::Timeout.into());
        }
        let answer = self.cluster.with(|state| {
            self.check(state)?;
            match state.route(self.client) {
                Route::Through => return serve(state).map(Some),
                Route::Refused => return Err(ErrorKind::Unavailable.into()),
                // Applied all the same; only the answer is lost.
                Route::NoReply => drop(serve(state)),
                Route::Parked => state.parked.extend(park),
                Route::Silent => {}
            }
            Ok(None)
        })?;
        match answer {
            Some(answer) => Ok(answer),
            None => Err(self.wait_in_vain(deadline, kind).await),
        }
    }

    /// The end of a call without answer: its timeout, or the connection's end before.
    async fn wait_in_vain(&self, deadline: tokio::time::Instant, kind: Kind) -> Error {
        let mut health = self.health.clone();
        let down = health.wait_for(|health| *health != Health::Ok);
        let reason = match timeout_at(deadline, down).await {
            Err(_) => ErrorKind::Timeout,
            Ok(Ok(now)) if *now == Health::Closed => ErrorKind::Closed, // a second look could hang
            Ok(_) => ErrorKind::Unavailable,
        };
        match kind {
            Kind::Read => Error::none(reason),
            Kind::Write => Error::unknown(reason),
        }
    }

    async fn txn(&self, txn: Txn, author: Option<SessionId>) -> Result<TxnOutcome> {
        txn.check(&LIMITS, author)?;
        let timeout = txn.timeout;
        let request = Parked { ns: self.ns.to_string(), txn, author };
        let (fault, bug) = self.cluster.with(|state| {
            let link = state.links.get_mut(&self.client);
            (link.and_then(|link| link.next_txns.pop_front()), state.bug)
        });
        match fault {
            Some(TxnFault::Refused) => return Err(ErrorKind::Unavailable.into()),
            Some(TxnFault::RequestLost) => return Err(Error::unknown(ErrorKind::Unavailable)),
            Some(TxnFault::ReplyLost) => {
                self.exchange(timeout, Kind::Write, None, |state| state.commit(&request)).await?;
                return Err(Error::unknown(ErrorKind::Unavailable));
            }
            None => {}
        }
        if bug == Some(Bug::TornMulti) && request.txn.ops.len() > 1 {
            return self.torn(timeout, &request).await;
        }
        let park = Some(request.clone());
        let again = (bug == Some(Bug::RetryOfUnknownWrite)).then(|| request.clone());
        let outcome = self
            .exchange(timeout, Kind::Write, park, |state| match bug {
                Some(Bug::ReplyBeforeCommit) => state.commit_late(request),
                _ => state.commit(&request),
            })
            .await;
        match (again, outcome) {
            (Some(request), Err(error)) if error.effect == Effect::Unknown => {
                self.insist(&request).await
            }
            (_, outcome) => outcome,
        }
    }

    /// `Bug::TornMulti`: each operation by itself.
    async fn torn(&self, timeout: Option<Duration>, request: &Parked) -> Result<TxnOutcome> {
        let (mut at, mut all) = (crate::Revision(0), Vec::new());
        for part in State::tear(request) {
            match self.exchange(timeout, Kind::Write, None, |state| state.commit(&part)).await? {
                TxnOutcome::Committed { revision, versions } => {
                    at = revision;
                    all.extend(versions);
                }
                conflict => return Ok(conflict),
            }
            tokio::task::yield_now().await;
        }
        Ok(TxnOutcome::Committed { revision: at, versions: all })
    }

    /// `Bug::RetryOfUnknownWrite`: sends until something answers.
    async fn insist(&self, request: &Parked) -> Result<TxnOutcome> {
        let mut health = self.health.clone();
        let up = health.wait_for(|health| *health == Health::Ok);
        drop(tokio::time::timeout(self.request_timeout, up).await);
        self.exchange(None, Kind::Write, None, |state| state.commit(request)).await
    }

    async fn read<R>(
        &self,
        opts: ReadOpts,
        serve: impl FnOnce(&mut State) -> Result<R>,
    ) -> Result<R> {
        self.exchange(opts.timeout, Kind::Read, None, |state| {
            if let Consistency::NotOlderThan(revision) = opts.consistency
                && revision > state.store.revision
            {
                return Err(ErrorKind::FutureRevision.into());
            }
            serve(state)
        })
        .await
    }
}

#[async_trait]
impl Coordinator for Handle {
    fn info(&self) -> Info {
        Info {
            backend: "mem",
            cluster_id: self.cluster_id,
            server_version: env!("CARGO_PKG_VERSION").into(),
            members: vec![Member { name: "mem".into(), leader: Some(true) }],
            limits: LIMITS,
            caps: Caps {
                full_history: true,
                strict_validity: true,
                exact_conflict: true,
                resume_after_restart: !self.connection.cluster.state.lock().never_resume,
                native_watch: true,
                native_sessions: true,
            },
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.connection.health.clone()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        let ns = &self.connection.ns;
        let serve = |state: &mut State| state.store.ensure_space(ns, space, kind);
        self.connection.exchange(None, Kind::Write, None, serve).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        let ns = &self.connection.ns;
        self.connection.read(opts, |state| state.store.get_many(ns, keys)).await
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        let ns = &self.connection.ns;
        self.connection.read(opts, |state| state.store.list(ns, prefix, after, limit)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.connection.txn(txn, None).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        let cluster = self.connection.cluster.clone();
        let handle = self.connection.handle;
        let id = cluster.state.lock().fresh();
        let (feed, stream) = feed(prefix, &opts, {
            let cluster = cluster.clone();
            move |signal| {
                cluster.with(|state| match signal {
                    Signal::WantSnapshot => state.snapshot_wanted(id),
                    Signal::Dropped => state.drop_watch(id),
                });
            }
        });
        cluster.with(|state| {
            if let Err(error) = self.connection.check(state) {
                return feed.close(error);
            }
            let every = opts.progress_every;
            let watcher = Watcher {
                feed,
                handle,
                start_after: opts.start_after,
                progress_every: every,
                next_progress: Instant::now() + every.unwrap_or_default(),
                started: false,
                missed: false,
                delayed: VecDeque::new(),
            };
            state.watchers.insert(id, watcher);
            state.start_watch(id);
        });
        Box::pin(stream)
    }

    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>> {
        let (least, most) = LIMITS.ttl;
        if opts.ttl > most {
            return Err(ErrorKind::Unsupported("a TTL above the limit").into());
        }
        let (ttl, handle) = (opts.ttl.max(least), self.connection.handle);
        let serve = |state: &mut State| state.open_session(handle, ttl);
        let (id, state) = self.connection.exchange(None, Kind::Write, None, serve).await?;
        let connection = self.connection.clone();
        Ok(Arc::new(MemSession { connection, id, ttl, state, name: opts.name }))
    }

    async fn close(&self) -> Result<()> {
        let handle = self.connection.handle;
        self.connection.cluster.with(|state| state.close_handle(handle));
        Ok(())
    }
}

impl Drop for Handle {
    /// Streams and sessions live on by themselves; without any the record goes.
    fn drop(&mut self) {
        let handle = self.connection.handle;
        self.connection.cluster.with(|state| state.handle_dropped(handle));
    }
}

#[derive(Debug)]
struct MemSession {
    connection: Connection,
    id: SessionId,
    ttl: Duration,
    state: watch::Receiver<SessionState>,
    /// For logs: `Debug` shows it.
    #[expect(dead_code, reason = "shown by Debug")]
    name: String,
}

#[async_trait]
impl Session for MemSession {
    fn id(&self) -> SessionId {
        self.id
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let outcome = self.connection.txn(txn, Some(self.id)).await;
        // A commit that comes to light after the loss was reported stays in doubt (S8).
        match outcome {
            Ok(TxnOutcome::Committed { .. }) if self.state.borrow().is_lost() => {
                Err(Error::unknown(ErrorKind::SessionLost))
            }
            outcome => outcome,
        }
    }

    async fn confirm(&self) -> Result<Instant> {
        if self.state.borrow().is_lost() {
            return Err(ErrorKind::SessionLost.into());
        }
        let id = self.id;
        let serve = |state: &mut State| state.beat(id, Instant::now());
        self.connection.exchange(None, Kind::Read, None, serve).await
    }

    fn hold_strict(&self) -> StrictHold {
        let (cluster, id) = (self.connection.cluster.clone(), self.id);
        cluster.with(|state| state.sessions.change_strict(id, 1));
        StrictHold::new(move || cluster.with(|state| state.sessions.change_strict(id, -1)))
    }

    async fn close(&self) -> Result<()> {
        let id = self.id;
        let serve = |state: &mut State| {
            state.end_session(id);
            Ok(())
        };
        let ended = self.connection.exchange(None, Kind::Write, None, serve).await;
        self.connection.cluster.with(|state| state.abandon_session(id));
        ended
    }
}

impl Drop for MemSession {
    fn drop(&mut self) {
        let id = self.id;
        self.connection.cluster.with(|state| state.abandon_session(id));
    }
}

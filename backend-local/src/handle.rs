//! The `Coordinator` on a member of this process.

use crate::command::{Command, Compare, Home, Reply, Write};
use crate::node::Node;
use crate::session::{Keeper, LocalSession};
use crate::talk::Fresh;
use crate::watching::Watching;
use async_trait::async_trait;
use coord_api::{
    BoxStream, Caps, Consistency, Coordinator, Error, ErrorKind, Health, Info, Key, Limits, Member,
    OpenOpts, Prefix, ReadOpts, Result, Revision, Session, SessionOpts, Snapshot, Space, SpaceKind,
    Txn, TxnOutcome, WatchEvent, WatchOpts,
};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The contract; sessions may be shorter and longer lived than elsewhere.
pub const LIMITS: Limits =
    Limits { ttl: (Duration::from_secs(2), Duration::from_secs(3600)), ..Limits::CONTRACT };

pub const CAPS: Caps = Caps {
    full_history: true,
    strict_validity: true,
    exact_conflict: true,
    resume_after_restart: true,
    native_watch: true,
    native_sessions: true,
};

/// How long closing waits for sessions to end; they end by themselves later.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One handle; independent of all others on the same member.
#[derive(Debug)]
pub struct LocalHandle(pub Arc<Core>);

/// What a handle shares with its sessions and streams.
#[derive(Debug)]
pub struct Core {
    pub node: Arc<Node>,
    pub closed: CancellationToken,
    request_timeout: Duration,
    /// The newest revision this handle has shown to anybody (R3).
    seen: AtomicU64,
    health: watch::Sender<Health>,
    /// The sessions' heartbeats.
    pub tasks: TaskTracker,
}

impl LocalHandle {
    pub fn new(node: Arc<Node>, opts: &OpenOpts) -> LocalHandle {
        let closed = node.child_token();
        let from = node.health();
        let health = watch::Sender::new(from.borrow().clone());
        node.spawn(forward_health(from, health.clone(), closed.clone()));
        let request_timeout = opts.request_timeout;
        let seen = AtomicU64::new(0);
        let tasks = TaskTracker::new();
        LocalHandle(Arc::new(Core { node, closed, request_timeout, seen, health, tasks }))
    }
}

/// The last of handle, sessions and streams ends what is left.
impl Drop for Core {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

pub async fn forward_health(
    mut from: watch::Receiver<Health>,
    to: watch::Sender<Health>,
    closed: CancellationToken,
) {
    loop {
        tokio::select! {
            () = closed.cancelled() => break,
            changed = from.changed() => if changed.is_err() { break },
        }
        to.send_replace(from.borrow_and_update().clone());
    }
    to.send_replace(Health::Closed);
}

impl Core {
    pub fn limits(&self) -> Limits {
        LIMITS
    }

    pub fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.request_timeout)
    }

    fn open(&self) -> Result<()> {
        if self.closed.is_cancelled() { Err(Error::none(ErrorKind::Closed)) } else { Ok(()) }
    }

    /// Proposes through the member; a handle closed meanwhile leaves the outcome unknown.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Reply> {
        self.open()?;
        tokio::select! {
            reply = self.node.propose(command, deadline) => reply,
            () = self.closed.cancelled() => Err(Error::unknown(ErrorKind::Closed)),
        }
    }

    pub async fn txn(&self, txn: Txn, session: Option<u64>) -> Result<TxnOutcome> {
        self.open()?;
        let deadline = self.deadline(txn.timeout);
        txn.check(&self.limits(), session.map(coord_api::SessionId))?;
        self.check_spaces(&txn, deadline).await?;
        let command = Command::Txn {
            session,
            compares: txn.compares.iter().map(Compare::from).collect(),
            ops: txn.ops.iter().map(Write::from).collect(),
        };
        let reply = self.propose(command, deadline).await?;
        let outcome = reply.outcome().unwrap_or(Err(Error::unknown(ErrorKind::Internal)))?;
        self.saw(outcome.committed().unwrap_or_default());
        Ok(outcome)
    }

    /// Refuses early; a member that lags asks again once it has caught up.
    async fn check_spaces(&self, txn: &Txn, deadline: Instant) -> Result<()> {
        let check = || {
            let state = self.node.shared.state.read();
            txn.check_spaces(|space| state.kind(space).map(SpaceKind::from))
        };
        match check() {
            Err(error) if error.kind == ErrorKind::UnknownSpace && !self.node.is_alone() => {
                let index = self.node.read_index(deadline).await?;
                self.node.wait_applied(index, deadline).await?;
                check()
            }
            checked => checked,
        }
    }

    /// What a caller's options ask of the state, for this handle.
    fn fresh(&self, opts: ReadOpts) -> Fresh {
        match opts.consistency {
            Consistency::Linearizable => Fresh::Linearizable,
            Consistency::Session => Fresh::Reaches(self.seen.load(Ordering::SeqCst)),
            Consistency::NotOlderThan(revision) => Fresh::NotOlderThan(revision.0),
        }
    }

    /// Makes the member's state fresh enough for a read.
    async fn catch_up(&self, fresh: Fresh, deadline: Instant) -> Result<()> {
        self.open()?;
        let caught_up = async {
            match fresh {
                Fresh::Linearizable => {
                    let index = self.node.read_index(deadline).await?;
                    self.node.wait_applied(index, deadline).await
                }
                Fresh::Reaches(revision) => self.node.wait_applied(revision, deadline).await,
                Fresh::NotOlderThan(revision) => self.reach(revision, deadline).await,
            }
        };
        tokio::select! {
            caught_up = caught_up => caught_up,
            () = self.closed.cancelled() => Err(Error::none(ErrorKind::Closed)),
        }
    }

    /// See [`Coordinator::get_many`].
    pub async fn read(&self, keys: &[Key], fresh: Fresh, deadline: Instant) -> Result<Snapshot> {
        self.catch_up(fresh, deadline).await?;
        let mut wanted: Vec<&Key> = keys.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let state = self.node.shared.state.read();
        if wanted.iter().any(|key| state.kind(key.space()).is_none()) {
            return Err(Error::none(ErrorKind::UnknownSpace));
        }
        let entries = wanted.into_iter().filter_map(|key| state.entry(key).cloned()).collect();
        Ok(Snapshot { entries, revision: self.saw(Revision(state.applied)) })
    }

    /// See [`Coordinator::list_page`].
    pub async fn page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        fresh: Fresh,
        deadline: Instant,
    ) -> Result<(Snapshot, bool)> {
        self.catch_up(fresh, deadline).await?;
        let state = self.node.shared.state.read();
        if state.kind(prefix.space()).is_none() {
            return Err(Error::none(ErrorKind::UnknownSpace));
        }
        let mut range = state.range(prefix, after);
        let entries = range.by_ref().take(limit).cloned().collect();
        let more = range.next().is_some();
        let revision = self.saw(Revision(state.applied));
        Ok((Snapshot { entries, revision }, more))
    }

    async fn reach(&self, revision: u64, deadline: Instant) -> Result<()> {
        if self.node.shared.state.read().applied >= revision {
            return Ok(());
        }
        if self.node.read_index(deadline).await? < revision {
            return Err(Error::none(ErrorKind::FutureRevision));
        }
        self.node.wait_applied(revision, deadline).await
    }

    fn saw(&self, revision: Revision) -> Revision {
        self.seen.fetch_max(revision.0, Ordering::SeqCst);
        revision
    }
}

#[async_trait]
impl Coordinator for LocalHandle {
    fn info(&self) -> Info {
        let node = &self.0.node;
        let leader = node.leader();
        let member = |(id, member): (u64, crate::raft::Member)| Member {
            name: if member.address.is_empty() { member.name } else { member.address },
            leader: leader.map(|leader| leader == id),
        };
        Info {
            backend: "local",
            cluster_id: node.identity.cluster_id(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            members: node.members().into_iter().map(member).collect(),
            limits: self.0.limits(),
            caps: CAPS,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        self.0.open()?;
        let known = self.0.node.shared.state.read().kind(space);
        match known.map(SpaceKind::from) {
            Some(known) if known == kind => return Ok(()),
            Some(_) => return Err(Error::none(ErrorKind::WrongSpaceKind)),
            None => {}
        }
        let command = Command::EnsureSpace { space: space.clone(), kind: kind.into() };
        match self.0.propose(command, self.0.deadline(None)).await? {
            Reply::Done { revision } => {
                let seen = self.0.saw(Revision(revision));
                self.0.node.wait_applied(seen.0, self.0.deadline(None)).await
            }
            Reply::WrongSpaceKind => Err(Error::none(ErrorKind::WrongSpaceKind)),
            _ => Err(Error::unknown(ErrorKind::Internal)),
        }
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        self.0.read(keys, self.0.fresh(opts), self.0.deadline(opts.timeout)).await
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        let deadline = self.0.deadline(opts.timeout);
        self.0.page(prefix, after, limit, self.0.fresh(opts), deadline).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.0.txn(txn, None).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        let core = &self.0;
        let (shared, closed) = (core.node.shared.clone(), core.closed.clone());
        let watching = Watching::new(shared, prefix, opts, closed);
        let start = (watching, core.clone());
        Box::pin(futures_util::stream::unfold(start, |(mut watching, core)| async move {
            let event = watching.next().await?;
            if let Some(revision) = revision_of(&event) {
                core.saw(revision);
            }
            Some((event, (watching, core)))
        }))
    }

    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>> {
        Ok(Arc::new(LocalSession::open(self.0.clone(), opts).await?))
    }

    async fn close(&self) -> Result<()> {
        self.0.closed.cancel();
        self.0.health.send_replace(Health::Closed);
        self.0.tasks.close();
        tokio::time::timeout(CLOSE_TIMEOUT, self.0.tasks.wait()).await.ok();
        Ok(())
    }
}

#[async_trait]
impl Keeper for Core {
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Reply> {
        Core::propose(self, command, deadline).await
    }

    async fn txn(&self, txn: Txn, session: Option<u64>) -> Result<TxnOutcome> {
        Core::txn(self, txn, session).await
    }

    async fn touch(&self, session: u64, deadline: Instant) -> Result<()> {
        self.node.touch(session, deadline).await
    }

    async fn beat(&self, session: u64, deadline: Instant) -> Result<()> {
        self.node.beat(session, deadline).await
    }

    async fn end(&self, session: u64, deadline: Instant) -> Result<()> {
        if self.node.shared.state.read().session(session).is_none() && self.node.is_alone() {
            return Ok(());
        }
        self.node.propose(Command::CloseSession { id: session }, deadline).await.map(drop)
    }

    fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Core::deadline(self, timeout)
    }

    fn home(&self) -> Option<Home> {
        Some(Home { node: self.node.identity.node, incarnation: self.node.incarnation })
    }

    fn bell(&self) -> watch::Receiver<u64> {
        self.node.shared.sessions()
    }

    /// A member that follows may not know of a session that was just opened, so only what it has
    /// applied counts.
    fn has_ended(&self, session: u64, opened: u64) -> bool {
        let state = self.node.shared.state.read();
        state.applied >= opened && state.session(session).is_none()
    }

    /// The member asks whoever leads; only trying tells.
    fn is_reachable(&self) -> bool {
        true
    }

    fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    fn run(&self, task: BoxFuture<'static, ()>) {
        self.node.spawn(self.tasks.track_future(task));
    }
}

pub fn revision_of(event: &WatchEvent) -> Option<Revision> {
    match event {
        WatchEvent::Synced { revision, .. }
        | WatchEvent::Changes { revision, .. }
        | WatchEvent::Progress { revision } => Some(*revision),
        WatchEvent::Snapshot { .. } | WatchEvent::Lost { .. } | WatchEvent::Closed(_) => None,
    }
}

//! The `Coordinator` of a node that is a client of the masters.

use super::stream::Following;
use super::{Remote, Shared};
use crate::command::{Command, Compare, Home, Proposal, Reply, Write};
use crate::handle::{CAPS, CLOSE_TIMEOUT, LIMITS};
use crate::session::{Keeper, LocalSession};
use crate::talk::{Answer, Ask, Fresh, KeyForm, PrefixForm, SnapshotForm};
use async_trait::async_trait;
use coord_api::{
    BoxStream, Consistency, Coordinator, Error, ErrorKind, Health, Info, Key, Member, OpenOpts,
    Prefix, ReadOpts, Result, Revision, Session, SessionId, SessionOpts, Snapshot, Space,
    SpaceKind, Txn, TxnOutcome, WatchEvent, WatchOpts,
};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One handle; independent of all others over the same connection.
#[derive(Debug)]
pub struct RemoteHandle(Arc<Core>);

/// What a handle shares with its sessions and streams.
#[derive(Debug)]
pub struct Core {
    remote: Arc<Remote>,
    pub closed: CancellationToken,
    request_timeout: Duration,
    /// The newest revision this handle has shown to anybody (R3).
    seen: AtomicU64,
    health: watch::Sender<Health>,
    tasks: TaskTracker,
}

impl RemoteHandle {
    pub fn new(remote: Arc<Remote>, opts: &OpenOpts) -> RemoteHandle {
        let closed = remote.shared().over.child_token();
        let from = remote.shared().health();
        let health = watch::Sender::new(from.borrow().clone());
        remote.spawn(crate::handle::forward_health(from, health.clone(), closed.clone()));
        let request_timeout = opts.request_timeout;
        let (seen, tasks) = (AtomicU64::new(0), TaskTracker::new());
        RemoteHandle(Arc::new(Core { remote, closed, request_timeout, seen, health, tasks }))
    }
}

impl RemoteHandle {
    /// Ends a session that is not this handle's.
    pub async fn end(&self, session: u64, deadline: Instant) -> Result<()> {
        Keeper::end(&*self.0, session, deadline).await
    }
}

/// The last of handle, sessions and streams ends what is left.
impl Drop for Core {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Core {
    pub fn remote(&self) -> &Arc<Shared> {
        self.remote.shared()
    }

    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    pub fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::SeqCst);
    }

    fn open(&self) -> Result<()> {
        if self.closed.is_cancelled() { Err(Error::none(ErrorKind::Closed)) } else { Ok(()) }
    }

    fn until(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.request_timeout)
    }

    /// Puts a command into the log; `again` only for one that may be there twice.
    async fn order(&self, command: Command, deadline: Instant, again: bool) -> Result<Reply> {
        let command = Proposal(Arc::new(command));
        let ask = |timeout_ms| Ask::Propose { command: command.clone(), timeout_ms };
        match self.remote().ask(deadline, again, ask).await? {
            Answer::Proposed(done) => done.map_err(Error::from),
            _ => Err(Error::unknown(ErrorKind::Internal)),
        }
    }

    async fn read(
        &self,
        timeout: Option<Duration>,
        ask: impl Fn(u64) -> Ask,
    ) -> Result<SnapshotForm> {
        self.open()?;
        let deadline = self.until(timeout);
        let asked = tokio::select! {
            answer = self.remote().ask(deadline, true, ask) => answer?,
            () = self.closed.cancelled() => return Err(Error::none(ErrorKind::Closed)),
        };
        let Answer::Read(read) = asked else { return Err(Error::none(ErrorKind::Internal)) };
        // Whatever becomes of a read, it writes nothing.
        let form =
            read.map_err(|refusal| Error { effect: coord_api::Effect::None, ..refusal.into() })?;
        self.saw(Revision(form.revision));
        Ok(form)
    }

    fn fresh(&self, opts: ReadOpts) -> Fresh {
        match opts.consistency {
            Consistency::Linearizable => Fresh::Linearizable,
            Consistency::Session => Fresh::Reaches(self.seen()),
            Consistency::NotOlderThan(revision) => Fresh::NotOlderThan(revision.0),
        }
    }

    async fn beaten(&self, deadline: Instant, again: bool, ask: impl Fn(u64) -> Ask) -> Result<()> {
        let asked = self.remote().ask(deadline, again, ask).await;
        let beaten = match asked {
            Ok(Answer::Beaten(beaten)) => beaten.map_err(Error::from),
            Ok(_) => Err(Error::none(ErrorKind::Internal)),
            Err(error) => Err(error),
        };
        beaten.map_err(|error| Error { effect: coord_api::Effect::None, ..error })
    }
}

#[async_trait]
impl Keeper for Core {
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Reply> {
        self.open()?;
        // A session opened twice is one that nobody beats for: it ends by itself.
        let again = matches!(command, Command::OpenSession { .. } | Command::EnsureSpace { .. });
        tokio::select! {
            reply = self.order(command, deadline, again) => reply,
            () = self.closed.cancelled() => Err(Error::unknown(ErrorKind::Closed)),
        }
    }

    async fn txn(&self, txn: Txn, session: Option<u64>) -> Result<TxnOutcome> {
        self.open()?;
        txn.check(&LIMITS, session.map(SessionId))?;
        let deadline = self.until(txn.timeout);
        let command = Command::Txn {
            session,
            compares: txn.compares.iter().map(Compare::from).collect(),
            ops: txn.ops.iter().map(Write::from).collect(),
        };
        let reply = Keeper::propose(self, command, deadline).await?;
        let outcome = reply.outcome().unwrap_or(Err(Error::unknown(ErrorKind::Internal)))?;
        self.saw(outcome.committed().unwrap_or_default());
        Ok(outcome)
    }

    async fn touch(&self, session: u64, deadline: Instant) -> Result<()> {
        self.beaten(deadline, true, |timeout_ms| Ask::Touch { session, timeout_ms }).await
    }

    async fn beat(&self, session: u64, deadline: Instant) -> Result<()> {
        self.beaten(deadline, false, |timeout_ms| Ask::Beat { session, timeout_ms }).await
    }

    async fn end(&self, session: u64, deadline: Instant) -> Result<()> {
        self.order(Command::CloseSession { id: session }, deadline, true).await.map(drop)
    }

    fn deadline(&self, timeout: Option<Duration>) -> Instant {
        self.until(timeout)
    }

    /// Its process is no member, so nobody knows of its restarts.
    fn home(&self) -> Option<Home> {
        None
    }

    fn bell(&self) -> watch::Receiver<u64> {
        self.remote().bell()
    }

    fn has_ended(&self, _session: u64, _opened: u64) -> bool {
        false
    }

    fn is_reachable(&self) -> bool {
        self.remote().is_connected()
    }

    fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    fn run(&self, task: BoxFuture<'static, ()>) {
        self.remote.spawn(self.tasks.track_future(task));
    }
}

#[async_trait]
impl Coordinator for RemoteHandle {
    fn info(&self) -> Info {
        let shared = self.0.remote();
        let standing = shared.standing().borrow().clone();
        let member = |form: &crate::talk::MemberForm| Member {
            name: if form.member.address.is_empty() {
                form.member.name.clone()
            } else {
                form.member.address.clone()
            },
            leader: standing.leader.map(|leader| leader == form.node),
        };
        Info {
            backend: "local",
            cluster_id: shared.cluster(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            members: standing.members.iter().map(member).collect(),
            limits: LIMITS,
            caps: CAPS,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        let command = Command::EnsureSpace { space: space.clone(), kind: kind.into() };
        match Keeper::propose(&*self.0, command, self.0.until(None)).await? {
            Reply::Done { revision } => {
                self.0.saw(Revision(revision));
                Ok(())
            }
            Reply::WrongSpaceKind => Err(Error::none(ErrorKind::WrongSpaceKind)),
            _ => Err(Error::unknown(ErrorKind::Internal)),
        }
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        let keys: Vec<KeyForm> = keys.iter().cloned().map(KeyForm).collect();
        let fresh = self.0.fresh(opts);
        let ask = |timeout_ms| Ask::Read { keys: keys.clone(), fresh, timeout_ms };
        let read: (Snapshot, bool) = self.0.read(opts.timeout, ask).await?.into();
        Ok(read.0)
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        let fresh = self.0.fresh(opts);
        let ask = |timeout_ms| Ask::List {
            prefix: PrefixForm::from(prefix),
            after: after.cloned().map(KeyForm),
            limit: limit as u64,
            fresh,
            timeout_ms,
        };
        Ok(self.0.read(opts.timeout, ask).await?.into())
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        Keeper::txn(&*self.0, txn, None).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        let following = Following::new(self.0.clone(), prefix, opts);
        Box::pin(futures_util::stream::unfold(following, |mut following| async move {
            let event = following.next().await?;
            Some((event, following))
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

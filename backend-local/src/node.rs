//! One member: its log, machine and consensus core on threads of their own, and what it does for
//! handles in this process and for other members.
//!
//! The core runs on a runtime of one worker thread, so that neither a blocked caller nor the
//! caller's runtime can delay it (S16). A lone member has no ticks and no heartbeats: idle, it
//! does nothing at all.

use crate::command::{Command, Proposal, Reply};
use crate::config::LocalConfig;
use crate::deadlines::Deadlines;
use crate::disk::Disk;
use crate::layout::{Identity, Layout};
use crate::log::Log;
use crate::machine::Machine;
use crate::network::{self, Network};
use crate::raft::{self, LogId, Member, Raft};
use crate::shared::Shared;
use crate::wire::{CallError, Lane, PeerReply, PeerRequest, RefusalKind, Transport};
use coord_api::{Error, ErrorKind, Health, Result};
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to look for a leader again after one was refused or not there.
const LEADER_RETRY: Duration = Duration::from_millis(50);

/// How long a change of the members may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);

/// Beyond this many bytes of commands under way new ones are refused (X8).
const WAITING_BYTES_MAX: usize = 64 << 20;

pub struct Node {
    pub identity: Identity,
    pub incarnation: u64,
    pub shared: Arc<Shared>,
    pub disk: Arc<Disk>,
    raft: Raft,
    transport: Arc<dyn Transport>,
    deadlines: Deadlines,
    /// No other voter exists or is about to: what is applied here is all there is.
    alone: AtomicBool,
    health: watch::Sender<Health>,
    stopping: CancellationToken,
    log_thread: Mutex<Option<JoinHandle<()>>>,
    runtime: Mutex<Option<Background>>,
    /// Bytes of commands that callers wait for.
    waiting: AtomicUsize,
    handle: tokio::runtime::Handle,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:x})", self.identity.node)
    }
}

impl Node {
    /// Opens the directory and brings the member up; a lone one is ready to serve on return.
    ///
    /// # Errors
    /// `Unavailable` while another process has the directory, `Corrupt`, `StorageFull`.
    pub async fn open(config: &LocalConfig, transport: Arc<dyn Transport>) -> Result<Arc<Node>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("coord-local")
            .enable_all()
            .build()
            .map_err(storage)?;
        let handle = runtime.handle().clone();
        let runtime = Background(Some(runtime));
        let built = handle.spawn(Node::build(config.clone(), transport, handle.clone())).await;
        let node = Arc::new(built.map_err(|_| Error::none(ErrorKind::Internal)).flatten()?);
        *node.runtime.lock() = Some(runtime);
        let starting = node.clone();
        let started = handle.spawn(async move { starting.start().await }).await;
        started.map_err(|_| Error::none(ErrorKind::Internal)).flatten()?;
        Ok(node)
    }

    async fn build(
        config: LocalConfig,
        transport: Arc<dyn Transport>,
        handle: tokio::runtime::Handle,
    ) -> Result<Node> {
        let layout = Layout::new(&config.dir);
        let lock = Arc::new(layout.lock(config.lock_wait).await?);
        let disk = Disk::new();
        disk.inject(config.faults);
        let cluster = config.cluster;
        let found = || Identity::draw(cluster);
        let opened = Log::open(&layout.store(), lock.clone(), disk.clone(), found);
        let (log, identity, log_thread) = opened.map_err(storage)?;
        let shared = Arc::new(Shared::default());
        let machine =
            Machine::open(&config.dir, lock, shared.clone(), disk.clone()).map_err(storage)?;
        let raft_config =
            raft::config(&identity.cluster_text(), config.timing, config.snapshot_every)
                .map_err(|why| Error::none(ErrorKind::Internal).because(why))?;
        check_whole(log.purged(), machine.snapshot_last())?;
        let fresh = log.is_empty();
        let grown = log.grown();
        let network = Network(transport.clone());
        let raft = Raft::new(identity.node, raft_config, network, log, machine)
            .await
            .map_err(|fatal| fatal_error(&fatal))?;
        if fresh && !config.join {
            let me = Member { name: config.name.clone(), address: config.address.clone() };
            let members = BTreeMap::from([(identity.node, me)]);
            raft.initialize(members)
                .await
                .map_err(|error| Error::none(ErrorKind::Internal).because(error))?;
        }
        handle.spawn(keep_small(raft.clone(), grown));
        Ok(Node {
            incarnation: Identity::random_id().map_err(storage)?,
            identity,
            shared,
            disk,
            raft,
            transport,
            deadlines: Deadlines::default(),
            alone: AtomicBool::new(false),
            health: watch::Sender::new(Health::Ok),
            stopping: CancellationToken::new(),
            log_thread: Mutex::new(Some(log_thread)),
            runtime: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            handle,
        })
    }

    /// A lone member elects itself at once; one of several starts its clock.
    async fn start(self: Arc<Self>) -> Result<()> {
        let me = self.identity.node;
        // Asked of the core itself: its metrics may lag behind a cluster founded just now.
        let voters = self.raft.with_raft_state(|state| {
            state.membership_state.effective().voter_ids().collect::<Vec<u64>>()
        });
        let alone = voters.await.map_err(|fatal| fatal_error(&fatal))? == [me];
        self.alone.store(alone, Ordering::SeqCst);
        if alone {
            self.raft.trigger().elect(false).await.map_err(|fatal| fatal_error(&fatal))?;
            let ready = self.raft.wait(Some(Duration::from_secs(10)));
            let ready = ready.state(openraft::ServerState::Leader, "the lone member leads").await;
            ready.map_err(|error| Error::none(ErrorKind::Unavailable).because(error))?;
            let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
            read.map_err(|error| Error::none(ErrorKind::Unavailable).because(error))?;
        } else {
            self.raft.runtime_config().tick(true);
        }
        let node = Arc::downgrade(&self);
        self.spawn(crate::expiry::run(node.clone(), self.stopping.clone()));
        if alone {
            self.end_own_ghosts().await;
        } else {
            self.spawn(async move {
                if let Some(node) = node.upgrade() {
                    node.end_own_ghosts().await;
                }
            });
        }
        Ok(())
    }

    /// Sessions of an earlier life of this very process have no holder any more.
    async fn end_own_ghosts(&self) {
        let own = |home: &crate::command::Home| {
            home.node == self.identity.node && home.incarnation != self.incarnation
        };
        let sessions: Vec<(u64, u64)> = {
            let state = self.shared.state.read();
            let ghosts = state.sessions().filter(|(_, s)| s.home.as_ref().is_some_and(own));
            ghosts.map(|(id, session)| (id, session.epoch)).collect()
        };
        if !sessions.is_empty() {
            let deadline = Instant::now() + Duration::from_secs(5);
            let ended = self.propose(Command::Expire { sessions }, deadline).await;
            if let Err(error) = ended {
                tracing::info!(%error, "sessions of the last run end by their TTL");
            }
        }
    }

    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handle.spawn(task);
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// A token that is cancelled when the member stops.
    pub fn child_token(&self) -> CancellationToken {
        self.stopping.child_token()
    }

    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst)
    }

    /// The leader as far as this member knows.
    pub fn leader(&self) -> Option<u64> {
        if self.is_alone() {
            return Some(self.identity.node);
        }
        self.raft.server_metrics().borrow_watched().current_leader
    }

    /// Rings when leadership or membership may have changed; keeps nothing alive.
    pub fn leadership(&self) -> Leadership {
        let mut metrics = self.raft.server_metrics();
        // A clone counts everything since the core's start as unseen.
        drop(metrics.borrow_and_update());
        Leadership(metrics)
    }

    /// All members, and whether each leads.
    pub fn members(&self) -> Vec<(u64, Member)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes.map(|(id, member)| (*id, member.clone())).collect()
    }

    fn member(&self, id: u64) -> Option<Member> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.get_node(&id).cloned()
    }

    /// Puts a command into the log, here or through the leader, and waits until it is applied
    /// where it was put in.
    ///
    /// # Errors
    /// Effect None until the command was handed to a leader's log, Unknown after.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Reply> {
        let proposal = Proposal(Arc::new(command));
        loop {
            match self.propose_here(proposal.clone(), deadline).await? {
                Ok(reply) => return Ok(reply),
                Err(leader) => {
                    let ask = PeerRequest::Propose {
                        command: proposal.clone(),
                        timeout_ms: left(deadline).as_millis() as u64,
                    };
                    let asked = self.ask_leader(leader, ask, deadline, true).await?;
                    if let Some(PeerReply::Proposed(answer)) = asked {
                        match answer {
                            Err(refusal)
                                if refusal.kind == RefusalKind::NotLeader && !refusal.unknown => {}
                            answer => return answer.map_err(Error::from),
                        }
                    }
                }
            }
            self.pause_for_leader(deadline).await?;
        }
    }

    /// `Err` inside: certainly not proposed, and who leads instead.
    async fn propose_here(
        &self,
        proposal: Proposal,
        deadline: Instant,
    ) -> Result<std::result::Result<Reply, Option<u64>>> {
        if self.stopping.is_cancelled() {
            return Err(Error::none(ErrorKind::Closed));
        }
        if self.disk.is_full() {
            return Err(Error::none(ErrorKind::StorageFull));
        }
        let _waiting = self.admit(proposal.0.weight())?;
        let mut full = self.disk.full();
        let written = tokio::select! {
            written = self.raft.client_write(proposal) => written,
            _ = full.wait_for(|full| *full) => {
                return Err(Error::unknown(ErrorKind::StorageFull));
            }
            () = tokio::time::sleep_until(deadline.into()) => {
                return Err(Error::unknown(ErrorKind::Timeout));
            }
        };
        match written {
            Ok(response) => Ok(Ok(response.data)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Ok(Err(to.leader_id))
            }
            Err(RaftError::APIError(error)) => {
                Err(Error::unknown(ErrorKind::Unavailable).because(error))
            }
            Err(RaftError::Fatal(fatal)) => Err(self.broken(&fatal)),
        }
    }

    fn admit(&self, bytes: usize) -> Result<Waiting<'_>> {
        let before = self.waiting.fetch_add(bytes, Ordering::SeqCst);
        let waiting = Waiting(&self.waiting, bytes);
        if before > WAITING_BYTES_MAX {
            return Err(Error::none(ErrorKind::Overloaded));
        }
        Ok(waiting)
    }

    /// Up to where a reader must have applied to see all that completed before the call.
    pub async fn read_index(&self, deadline: Instant) -> Result<u64> {
        if self.is_alone() {
            return self.shared_applied();
        }
        loop {
            match self.read_index_here(deadline).await? {
                Ok(index) => return Ok(index),
                Err(leader) => {
                    let timeout_ms = left(deadline).as_millis() as u64;
                    let ask = PeerRequest::ReadIndex { timeout_ms };
                    let asked = self.ask_leader(leader, ask, deadline, false).await?;
                    if let Some(PeerReply::ReadIndex(Ok(index))) = asked {
                        return Ok(index);
                    }
                }
            }
            self.pause_for_leader(deadline).await?;
        }
    }

    fn shared_applied(&self) -> Result<u64> {
        if self.stopping.is_cancelled() {
            return Err(Error::none(ErrorKind::Closed));
        }
        Ok(self.shared.state.read().applied)
    }

    async fn read_index_here(
        &self,
        deadline: Instant,
    ) -> Result<std::result::Result<u64, Option<u64>>> {
        let read = self.raft.get_read_log_id(ReadPolicy::ReadIndex);
        let read = tokio::time::timeout_at(deadline.into(), read).await;
        let Ok(read) = read else {
            self.feel(Some("no quorum has answered in time"));
            return Err(Error::none(ErrorKind::Timeout));
        };
        if let Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) = &read {
            self.feel(Some("no quorum"));
        }
        match read {
            Ok((read, _)) => {
                self.feel(None);
                Ok(Ok(read.index()))
            }
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Ok(Err(to.leader_id))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Ok(Err(None)),
            Err(RaftError::Fatal(fatal)) => {
                Err(Error { effect: coord_api::Effect::None, ..self.broken(&fatal) })
            }
        }
    }

    /// Waits until this member has applied a revision.
    ///
    /// # Errors
    /// `Timeout`, effect None.
    pub async fn wait_applied(&self, revision: u64, deadline: Instant) -> Result<()> {
        let mut applied = self.shared.applied();
        let reached = applied.wait_for(|applied| *applied >= revision);
        match tokio::time::timeout_at(deadline.into(), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::none(ErrorKind::Closed)),
            Err(_) => Err(Error::none(ErrorKind::Timeout)),
        }
    }

    /// A heartbeat that is not logged: the leader proves that it leads, then moves the deadline.
    pub async fn touch(&self, session: u64, deadline: Instant) -> Result<()> {
        loop {
            let index = if self.is_alone() {
                Ok(self.shared_applied()?)
            } else {
                self.read_index_here(deadline).await?
            };
            match index {
                Ok(index) => return self.touch_here(session, index, deadline).await,
                Err(leader) => {
                    let timeout_ms = left(deadline).as_millis() as u64;
                    let ask = PeerRequest::Touch { session, timeout_ms };
                    let asked = self.ask_leader(leader, ask, deadline, false).await?;
                    if let Some(PeerReply::Touched(answer)) = asked {
                        match answer {
                            Err(refusal) if refusal.kind == RefusalKind::NotLeader => {}
                            answer => return answer.map_err(Error::from),
                        }
                    }
                }
            }
            self.pause_for_leader(deadline).await?;
        }
    }

    async fn touch_here(&self, session: u64, index: u64, deadline: Instant) -> Result<()> {
        self.wait_applied(index, deadline).await?;
        let ttl = self.shared.state.read().session(session).map(|s| s.ttl_ms);
        let ttl = ttl.map(Duration::from_millis).ok_or(ErrorKind::SessionLost)?;
        if self.deadlines.touch(session, ttl, Instant::now()) {
            return Ok(());
        }
        self.beat(session, deadline).await
    }

    /// A heartbeat in the log: once it is applied the session certainly lived (S17).
    pub async fn beat(&self, session: u64, deadline: Instant) -> Result<()> {
        let ids = vec![session];
        match self.propose(Command::Heartbeat { ids }, deadline).await? {
            Reply::Beaten { gone } if gone.is_empty() => {
                let ttl = self.shared.state.read().session(session).map(|s| s.ttl_ms);
                if let Some(ttl) = ttl.map(Duration::from_millis) {
                    self.deadlines.confirm(session, ttl, Instant::now());
                }
                Ok(())
            }
            Reply::Beaten { .. } => Err(Error::none(ErrorKind::SessionLost)),
            _ => Err(Error::none(ErrorKind::Internal)),
        }
    }

    /// Asks the leader; `None` if it is unknown or there was no answer and asking again is safe.
    async fn ask_leader(
        &self,
        leader: Option<u64>,
        request: PeerRequest,
        deadline: Instant,
        writes: bool,
    ) -> Result<Option<PeerReply>> {
        let Some(leader) = leader.filter(|leader| *leader != self.identity.node) else {
            return Ok(None);
        };
        let Some(member) = self.member(leader) else { return Ok(None) };
        let call = self.transport.call(leader, &member, Lane::Forward, request, left(deadline));
        match call.await {
            Ok(PeerReply::Failed(why)) | Err(CallError::Lost(why)) if writes => {
                Err(Error::unknown(ErrorKind::Unavailable).because(why))
            }
            Ok(PeerReply::Failed(_)) | Err(_) => Ok(None),
            Ok(reply) => Ok(Some(reply)),
        }
    }

    async fn pause_for_leader(&self, deadline: Instant) -> Result<()> {
        if left(deadline).is_zero() {
            return Err(Error::none(ErrorKind::Unavailable).because("no leader"));
        }
        let pause = LEADER_RETRY.min(left(deadline));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Serves another member.
    pub async fn serve(&self, request: PeerRequest) -> PeerReply {
        let until = |ms: u64| Instant::now() + Duration::from_millis(ms.min(60_000));
        match request {
            PeerRequest::Propose { command, timeout_ms } => {
                let done = self.propose_here(command, until(timeout_ms)).await;
                PeerReply::Proposed(led(done))
            }
            PeerRequest::ReadIndex { timeout_ms } => {
                PeerReply::ReadIndex(led(self.read_index_here(until(timeout_ms)).await))
            }
            PeerRequest::Touch { session, timeout_ms } => {
                let deadline = until(timeout_ms);
                PeerReply::Touched(match led(self.read_index_here(deadline).await) {
                    Ok(index) => {
                        let touched = self.touch_here(session, index, deadline).await;
                        touched.map_err(|error| (&error).into())
                    }
                    Err(refusal) => Err(refusal),
                })
            }
            consensus => network::serve(&self.raft, consensus).await,
        }
    }

    /// Notes whether linearizable reads work; a stopped core stays stopped.
    pub fn feel(&self, trouble: Option<&str>) {
        self.health.send_if_modified(|health| {
            let next = match (&health, trouble) {
                (Health::Ok, Some(why)) => {
                    Health::Degraded { since: Instant::now(), why: why.to_owned() }
                }
                (Health::Degraded { .. }, None) => Health::Ok,
                _ => return false,
            };
            *health = next;
            true
        });
    }

    /// The core has stopped for good: say so, here and in the health.
    fn broken(&self, fatal: &Fatal<raft::Types>) -> Error {
        if self.stopping.is_cancelled() {
            return Error::unknown(ErrorKind::Closed);
        }
        self.health.send_if_modified(|health| {
            let was_ok = !matches!(health, Health::Unreachable { .. } | Health::Closed);
            if was_ok {
                *health = Health::Unreachable { since: Instant::now() };
            }
            was_ok
        });
        Error::unknown(ErrorKind::Unavailable).because(fatal)
    }

    /// Makes a running, empty member of this cluster's id a voter. Only the leader can.
    ///
    /// # Errors
    /// `Unavailable` if this member does not lead or the new one cannot be reached; the change
    /// may be half way then, and is finished by asking again.
    pub async fn add_member(&self, id: u64, member: Member) -> Result<()> {
        // From here on others may commit; being told so late would be fatal, too early is not.
        self.alone.store(false, Ordering::SeqCst);
        self.raft.runtime_config().tick(true);
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            match self.raft.add_learner(id, member.clone(), true).await {
                Ok(_) => break,
                Err(error) => self.pause_for_change(error, deadline).await?,
            }
        }
        let mut voters: BTreeSet<u64> = self.raft.voter_ids().collect();
        voters.insert(id);
        self.change_voters(voters).await
    }

    /// Takes a voter out; the leader itself last of all, after which it follows nobody.
    ///
    /// # Errors
    /// As [`Node::add_member`].
    pub async fn remove_member(&self, id: u64) -> Result<()> {
        let mut voters: BTreeSet<u64> = self.raft.voter_ids().collect();
        voters.remove(&id);
        let alone = voters.len() == 1 && voters.contains(&self.identity.node);
        self.change_voters(voters).await?;
        if alone {
            self.raft.runtime_config().tick(false);
            self.alone.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn change_voters(&self, voters: BTreeSet<u64>) -> Result<()> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            match self.raft.change_membership(voters.clone(), false).await {
                Ok(_) => return Ok(()),
                Err(error) => self.pause_for_change(error, deadline).await?,
            }
        }
    }

    /// A leader whose quorum is slow, or a change still under way: a little later it may work.
    async fn pause_for_change(
        &self,
        error: RaftError<raft::Types, ClientWriteError<raft::Types>>,
        deadline: Instant,
    ) -> Result<()> {
        let other = error.forward_to_leader().and_then(|to| to.leader_id);
        let led_elsewhere = other.is_some_and(|leader| leader != self.identity.node);
        let hopeless = led_elsewhere || error.fatal().is_some() || left(deadline).is_zero();
        if hopeless {
            return Err(Error::unknown(ErrorKind::Unavailable).because(error));
        }
        tokio::time::sleep(LEADER_RETRY).await;
        Ok(())
    }

    /// Takes a snapshot now.
    pub async fn snapshot(&self) -> Result<()> {
        self.raft.trigger().snapshot().await.map_err(|fatal| fatal_error(&fatal))
    }

    /// Stops everything; on return the directory can be opened again.
    pub async fn shut_down(&self) {
        if self.stopping.is_cancelled() {
            return;
        }
        self.stopping.cancel();
        self.disk.close();
        self.health.send_replace(Health::Closed);
        self.raft.shutdown().await.ok();
        drop(self.runtime.lock().take());
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// The thread whose end lets the directory's lock go.
    pub fn take_log_thread(&self) -> Option<JoinHandle<()>> {
        self.log_thread.lock().take()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.disk.close();
    }
}

/// A runtime that may be dropped anywhere, also on a thread of its own or another runtime's.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A command's share of what may wait; given back when dropped.
struct Waiting<'a>(&'a AtomicUsize, usize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::SeqCst);
    }
}

fn led<T>(
    done: Result<std::result::Result<T, Option<u64>>>,
) -> std::result::Result<T, crate::wire::Refusal> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(crate::wire::Refusal {
            kind: RefusalKind::NotLeader,
            unknown: false,
            detail: String::new(),
        }),
        Err(error) => Err((&error).into()),
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Takes a snapshot whenever the log has grown by many bytes, not only by many entries, and lets
/// go of what the one before covers. Ends with the log.
async fn keep_small(raft: Raft, mut grown: watch::Receiver<u64>) {
    let mut covered = None;
    while grown.changed().await.is_ok() {
        if let Some(upto) = covered {
            raft.trigger().purge_log(upto).await.ok();
        }
        covered = raft.data_metrics().borrow_watched().last_applied.map(|id| id.index);
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

/// What the log has let go of must be in the snapshot.
fn check_whole(purged: Option<LogId>, snapshot: Option<LogId>) -> Result<()> {
    if purged <= snapshot {
        return Ok(());
    }
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
    let text = format!(
        "the log begins after entry {}, the snapshot ends at {}",
        index(purged),
        index(snapshot)
    );
    Err(Error::none(ErrorKind::Corrupt).because(text))
}

/// What the file system said, as a caller can act on it.
pub fn storage(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unavailable,
    };
    Error::none(kind).because(error)
}

fn fatal_error(fatal: &Fatal<raft::Types>) -> Error {
    Error::none(ErrorKind::Unavailable).because(fatal)
}

/// See [`Node::leadership`].
pub struct Leadership(WatchReceiverOf<raft::Types, RaftServerMetrics<raft::Types>>);

impl Leadership {
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

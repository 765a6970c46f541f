//! One member: its log, machine and consensus core on threads of their own, and what it does for
//! handles in this process and for other members.
//!
//! The core runs on a runtime of its own, so that neither a blocked caller nor the
//! caller's runtime can delay it (S16). A lone member has no ticks and no heartbeats: idle, it
//! does nothing at all.

use crate::command::Command;
use crate::config::LocalConfig;
use crate::deadlines::Deadlines;
use crate::disk::Disk;
use crate::heir::Heir;
use crate::layout::{Identity, Layout};
use crate::log::Log;
use crate::machine::Machine;
use crate::net::door::Door;
use crate::network::Network;
use crate::raft::{self, LogId, Member, Raft};
use crate::shared::Shared;
use crate::wire::Transport;
use coord_api::{Error, ErrorKind, Health, Result};
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod health;
mod hurry;
mod members;
mod work;

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
    /// Where others come in; closes with the member.
    door: Mutex<Option<Door>>,
    /// Of a founder, which has no way to masters to ask.
    heir: OnceLock<Arc<Heir>>,
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
            .worker_threads(if config.listen.is_some() { 2 } else { 1 })
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
            door: Mutex::new(None),
            heir: OnceLock::new(),
        })
    }

    /// A lone member elects itself at once; one of several starts its clock.
    async fn start(self: Arc<Self>) -> Result<()> {
        let me = self.identity.node;
        // Asked of the core itself: its metrics may lag behind a cluster founded just now.
        let members = self.raft.with_raft_state(|state| {
            let members = state.membership_state.effective();
            (members.voter_ids().collect::<Vec<u64>>(), members.nodes().count())
        });
        let (voters, members) = members.await.map_err(|fatal| fatal_error(&fatal))?;
        let alone = voters == [me];
        self.alone.store(alone, Ordering::SeqCst);
        if alone {
            self.raft.trigger().elect(false).await.map_err(|fatal| fatal_error(&fatal))?;
            let ready = self.raft.wait(Some(Duration::from_secs(10)));
            let ready = ready.state(openraft::ServerState::Leader, "the lone member leads").await;
            ready.map_err(|error| Error::none(ErrorKind::Unavailable).because(error))?;
            let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
            read.map_err(|error| Error::none(ErrorKind::Unavailable).because(error))?;
        }
        // One that votes alone still beats for those who follow it.
        if !alone || members > 1 {
            self.raft.runtime_config().tick(true);
        }
        if !alone {
            self.feel_alone();
            self.spawn(hurry::run(Arc::downgrade(&self), self.incarnation));
        }
        self.spawn(health::keep_true(Arc::downgrade(&self), self.health.subscribe()));
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

    /// Where it listens.
    pub fn door(&self) -> Option<std::net::SocketAddr> {
        self.door.lock().as_ref().map(|door| door.address)
    }

    pub fn keep_door(&self, door: Door) {
        *self.door.lock() = Some(door);
    }

    /// Whom it asks whether another store took this one's place.
    pub fn heir(&self) -> Option<Arc<Heir>> {
        self.heir.get().cloned()
    }

    pub fn keep_heir(&self, heir: Arc<Heir>) {
        // Kept once, by whoever opened it.
        self.heir.set(heir).ok();
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

    pub fn term(&self) -> u64 {
        self.raft.server_metrics().borrow_watched().vote.leader_id.term
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

//! The handle: the kernel's methods, each handed to the room that does it.

use crate::conn::{Access, Conn};
use crate::core::{Core, found};
use crate::follow::follow;
use crate::layout::Layout;
use crate::link::{Link, first};
use crate::probe::probe;
use crate::session::{ZkSession, wanted};
use async_trait::async_trait;
use coord_api::{
    BoxStream, Caps, Coordinator, Error, ErrorKind, Health, Hub, Info, Key, OpenOpts, Prefix,
    ReadOpts, Result, Session, SessionOpts, Snapshot, Space, SpaceKind, Txn, TxnOutcome,
    WatchEvent, WatchOpts, Worker,
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How often members and version are looked up again.
const INFO_EVERY: Duration = Duration::from_secs(60);
/// Between two attempts to open a session.
const RETRY: Duration = Duration::from_millis(100);

pub(crate) struct ZkHandle {
    core: Arc<Core>,
    owner: Arc<Owner>,
}

/// Holds the threads; gone when the last handle, session and stream is.
pub(crate) struct Owner {
    link: Arc<Link>,
    worker: tokio::sync::Mutex<Worker>,
    runtime: tokio::runtime::Handle,
    /// Thread of the sessions, started with the first.
    beats: tokio::sync::Mutex<Option<Beats>>,
    hubs: Mutex<HashMap<Space, Hub>>,
    info: Mutex<Info>,
}

struct Beats {
    worker: Worker,
    tasks: Vec<(JoinHandle<()>, watch::Sender<bool>)>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl ZkHandle {
    pub async fn open(access: Access, layout: Layout, opts: OpenOpts) -> Result<ZkHandle> {
        let worker = Worker::start("zookeeper").map_err(no_thread)?;
        let (link, driver) = Link::new(access, layout);
        let opening = {
            let link = link.clone();
            // The crate drives a client on the runtime it is made in.
            worker.spawn(async move {
                let conn = first(&link.access).await?;
                let (cluster, witness) = found(&conn, &link).await?;
                conn.settle(&link.access, &link.layout, "").await?;
                Ok((conn, cluster, witness))
            })
        };
        let (conn, cluster, witness) = timeout(opts.connect_timeout * 2, opening)
            .await
            .map_err(|_| ErrorKind::Unavailable)?
            .map_err(|_| ErrorKind::Internal)?
            .map_err(|error| refusal(error, &link.access))?;
        if opts.expect_cluster.is_some_and(|expected| expected != cluster) {
            return Err(ErrorKind::ClusterReplaced.into());
        }
        check_features(&conn, &link.layout, opts.connect_timeout).await?;
        link.adopt(conn, witness);
        worker.spawn(driver.run());
        let core = Arc::new(Core::new(link.clone(), opts, cluster));
        core.learn_spaces().await?;
        let (server_version, members) = probe(&link.access.hosts).await;
        let info = Info {
            backend: "zk",
            cluster_id: cluster,
            server_version,
            members,
            limits: crate::LIMITS,
            caps: Caps {
                full_history: false,
                strict_validity: true,
                exact_conflict: true,
                resume_after_restart: false,
                native_watch: true,
                native_sessions: true,
            },
        };
        let runtime = worker.handle().clone();
        let owner = Arc::new(Owner {
            link: link.clone(),
            worker: tokio::sync::Mutex::new(worker),
            runtime: runtime.clone(),
            beats: tokio::sync::Mutex::default(),
            hubs: Mutex::default(),
            info: Mutex::new(info),
        });
        let weak = Arc::downgrade(&owner);
        let hosts = link.access.hosts.clone();
        runtime.spawn(async move {
            loop {
                sleep(INFO_EVERY).await;
                let (version, members) = probe(&hosts).await;
                let Some(owner) = weak.upgrade() else { return };
                if !version.is_empty() {
                    let mut info = owner.info.lock();
                    info.server_version = version;
                    info.members = members;
                }
            }
        });
        Ok(ZkHandle { core, owner })
    }

    fn open_check(&self) -> Result<()> {
        if self.core.link.is_closed() { Err(ErrorKind::Closed.into()) } else { Ok(()) }
    }
}

#[async_trait]
impl Coordinator for ZkHandle {
    fn info(&self) -> Info {
        self.owner.info.lock().clone()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.core.link.health()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        self.open_check()?;
        self.core.ensure_space(space, kind).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        self.open_check()?;
        self.core.get_many(keys, opts).await
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        self.open_check()?;
        self.core.list_page(prefix, after, limit, opts).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.open_check()?;
        self.core.txn(txn, None).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        if let Err(error) = self.open_check() {
            return futures_util::stream::iter([WatchEvent::Closed(error)]).boxed();
        }
        let floor = self.core.highest().max(opts.start_after.unwrap_or_default());
        let space = prefix.space().clone();
        let mut hubs = self.owner.hubs.lock();
        let known =
            hubs.get(&space).map(|hub| (hub.clone(), hub.open(prefix.clone(), &opts, floor)));
        let stream = match known {
            // A hub closes when nobody looks any more, or on an error that may be over by now.
            Some((hub, stream)) if !hub.is_closed() => stream,
            _ => {
                let hub = Hub::default();
                let stream = hub.open(prefix, &opts, floor);
                hubs.insert(space.clone(), hub.clone());
                self.owner.runtime.spawn(follow(self.core.clone(), space, hub));
                stream
            }
        };
        let owner = self.owner.clone();
        let keep = move |event| {
            let _keep = &owner;
            event
        };
        stream.map(keep).boxed()
    }

    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>> {
        self.open_check()?;
        let ttl = wanted(&opts);
        let core = self.core.clone();
        let note: String = opts.name.chars().take(200).collect();
        let opening = {
            let mut beats = self.owner.beats.lock().await;
            if beats.is_none() {
                let worker = Worker::start("zookeeper-beat").map_err(no_thread)?;
                *beats = Some(Beats { worker, tasks: Vec::new() });
            }
            let beats = beats.as_ref().ok_or(ErrorKind::Internal)?;
            beats.worker.spawn(async move { connect(&core, ttl, &note).await })
        };
        let conn = opening.await.map_err(|_| ErrorKind::Closed)??;
        let (session, beat, ending) =
            ZkSession::new(self.core.clone(), conn, self.owner.clone(), ttl)?;
        let mut beats = self.owner.beats.lock().await;
        let beats = beats.as_mut().ok_or(ErrorKind::Closed)?;
        beats.tasks.retain(|(task, _)| !task.is_finished());
        beats.tasks.push((beats.worker.spawn(beat.run()), ending));
        Ok(Arc::new(session))
    }

    async fn close(&self) -> Result<()> {
        let beats = self.owner.beats.lock().await.take();
        if let Some(mut beats) = beats {
            for (task, ending) in beats.tasks.drain(..) {
                ending.send_replace(true);
                let _ = timeout(Duration::from_secs(1), task).await;
            }
            // The clients say good-bye before their thread ends.
            sleep(Duration::from_millis(50)).await;
            beats.worker.stop().await;
        }
        self.core.link.close();
        let hubs: Vec<Hub> = self.owner.hubs.lock().drain().map(|(_, hub)| hub).collect();
        hubs.iter().for_each(|hub| hub.close(ErrorKind::Closed.into()));
        self.owner.worker.lock().await.stop().await;
        Ok(())
    }
}

impl fmt::Debug for ZkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZkHandle({})", self.core.cluster)
    }
}

/// A new ZooKeeper session, tried until the request timeout: the last outage may just be over
/// (S12). An attempt that fails leaves at most a session without keys, which ends by itself.
async fn connect(core: &Core, ttl: Duration, note: &str) -> Result<Conn> {
    let deadline = core.deadline(None);
    loop {
        let attempt = async {
            let conn = Conn::open(&core.link.access, ttl).await?;
            conn.settle(&core.link.access, &core.link.layout, note).await?;
            Ok::<_, Error>(conn)
        };
        match timeout_at(deadline, attempt).await {
            Ok(Err(error)) if error.kind == ErrorKind::Unavailable => {
                if Instant::now() + RETRY >= deadline || core.link.is_closed() {
                    return Err(error);
                }
                sleep(RETRY).await;
            }
            Ok(other) => return other,
            Err(_) => return Err(ErrorKind::Timeout.into()),
        }
    }
}

fn no_thread(error: std::io::Error) -> Error {
    Error::none(ErrorKind::Internal).because(error)
}

/// The digest scheme accepts everybody; a wrong password shows when the nodes do not open.
fn refusal(error: Error, access: &Access) -> Error {
    match error.kind {
        ErrorKind::PermissionDenied if access.digest.is_some() => {
            Error { kind: ErrorKind::Unauthenticated, ..error }
        }
        _ => error,
    }
}

/// Multi-reads and persistent watches came with 3.6.
async fn check_features(conn: &Conn, layout: &Layout, limit: Duration) -> Result<()> {
    let id = layout.id();
    let asking = async {
        let mut reader = conn.client.new_multi_reader();
        reader.add_get_data(&id)?;
        reader.commit().await?;
        conn.client.watch(&id, zookeeper_client::AddWatchMode::PersistentRecursive).await?;
        Ok::<_, zookeeper_client::Error>(())
    };
    match timeout(limit, asking).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(raw)) => Err(crate::fault::of_read(&raw)),
        Err(_) => Err(ErrorKind::Unavailable.into()),
    }
}

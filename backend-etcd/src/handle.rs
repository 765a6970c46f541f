//! The handle: the kernel's methods, each handed to the room that does it.

use crate::core::Core;
use crate::follow::follow;
use crate::layout::Layout;
use crate::pool::{Access, Kind, Pool};
use crate::session::EtcdSession;
use async_trait::async_trait;
use coord_api::{
    BoxStream, Caps, Coordinator, Error, ErrorKind, Health, Hub, Info, Key, Member, OpenOpts,
    Prefix, ReadOpts, Result, Session, SessionOpts, Snapshot, Space, SpaceKind, Txn, TxnOutcome,
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
use tokio::time::{Instant, sleep, timeout};

/// How often members and version are looked up again.
const INFO_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct EtcdHandle {
    core: Arc<Core>,
    owner: Arc<Owner>,
}

/// Holds the threads; gone when the last handle, session and stream is.
pub(crate) struct Owner {
    pool: Arc<Pool>,
    access: Access,
    worker: tokio::sync::Mutex<Worker>,
    runtime: tokio::runtime::Handle,
    /// Thread and connections of the heartbeats, started with the first session.
    beats: tokio::sync::Mutex<Option<Beats>>,
    hubs: Mutex<HashMap<Space, Hub>>,
    info: Mutex<Info>,
}

struct Beats {
    worker: Worker,
    core: Arc<Core>,
    tasks: Vec<JoinHandle<()>>,
    /// True asks every session to end.
    ending: watch::Sender<bool>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.pool.close();
        if let Some(beats) = self.beats.get_mut() {
            beats.core.pool.close();
        }
    }
}

impl EtcdHandle {
    pub async fn open(access: Access, layout: Layout, opts: OpenOpts) -> Result<EtcdHandle> {
        let worker = Worker::start("etcd").map_err(no_thread)?;
        let pool = Pool::new(access.clone(), worker.handle().clone());
        let core = Arc::new(Core::open(pool.clone(), layout, opts).await?);
        pool.health().send_replace(Health::Ok);
        let (server_version, members) = look_up(&pool, core.deadline(None)).await;
        let info = Info {
            backend: "etcd",
            cluster_id: core.cluster,
            server_version,
            members,
            limits: crate::LIMITS,
            caps: Caps {
                // Each revision is told while connected, but none of before.
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
            pool: pool.clone(),
            access,
            worker: tokio::sync::Mutex::new(worker),
            runtime: runtime.clone(),
            beats: tokio::sync::Mutex::default(),
            hubs: Mutex::default(),
            info: Mutex::new(info),
        });
        runtime.spawn(pool.clone().watch_health());
        let weak = Arc::downgrade(&owner);
        runtime.spawn(async move {
            loop {
                sleep(INFO_EVERY).await;
                let (version, members) = look_up(&pool, Instant::now() + INFO_EVERY / 6).await;
                let Some(owner) = weak.upgrade() else { return };
                if !members.is_empty() {
                    let mut info = owner.info.lock();
                    info.server_version = version;
                    info.members = members;
                }
            }
        });
        Ok(EtcdHandle { core, owner })
    }

    fn open_check(&self) -> Result<()> {
        if self.core.pool.is_closed() { Err(ErrorKind::Closed.into()) } else { Ok(()) }
    }
}

#[async_trait]
impl Coordinator for EtcdHandle {
    fn info(&self) -> Info {
        self.owner.info.lock().clone()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.core.pool.health().subscribe()
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
        let mut beats = self.owner.beats.lock().await;
        if beats.is_none() {
            let worker = Worker::start("etcd-beat").map_err(no_thread)?;
            let pool = Pool::new(self.owner.access.clone(), worker.handle().clone());
            let core = Arc::new(self.core.with_pool(pool));
            let ending = watch::Sender::new(false);
            *beats = Some(Beats { worker, core, tasks: Vec::new(), ending });
        }
        let (core, ending) = match beats.as_ref() {
            Some(beats) => (beats.core.clone(), beats.ending.subscribe()),
            None => return Err(ErrorKind::Internal.into()),
        };
        drop(beats);
        let (session, beat) =
            EtcdSession::open(self.core.clone(), core, self.owner.clone(), ending, &opts).await?;
        let mut beats = self.owner.beats.lock().await;
        let beats = beats.as_mut().ok_or(ErrorKind::Closed)?;
        beats.tasks.retain(|task| !task.is_finished());
        beats.tasks.push(beats.worker.spawn(beat.run()));
        Ok(Arc::new(session))
    }

    async fn close(&self) -> Result<()> {
        let beats = self.owner.beats.lock().await.take();
        if let Some(mut beats) = beats {
            // Sessions end with their handle: each task revokes what it holds.
            beats.ending.send_replace(true);
            let ends = futures_util::future::join_all(beats.tasks.drain(..));
            let _ = timeout(self.core.opts.request_timeout, ends).await;
            beats.core.pool.close();
            beats.worker.stop().await;
        }
        self.core.pool.close();
        let hubs: Vec<Hub> = self.owner.hubs.lock().drain().map(|(_, hub)| hub).collect();
        hubs.iter().for_each(|hub| hub.close(ErrorKind::Closed.into()));
        self.owner.worker.lock().await.stop().await;
        Ok(())
    }
}

impl fmt::Debug for EtcdHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdHandle({})", self.core.cluster)
    }
}

fn no_thread(error: std::io::Error) -> Error {
    Error::none(ErrorKind::Internal).because(error)
}

/// Version and members, as far as they can be told.
async fn look_up(pool: &Pool, deadline: Instant) -> (String, Vec<Member>) {
    let look = |mut client: etcd_client::Client| async move {
        let status = client.status().await.map_err(crate::fault::Fault::from)?;
        let members = client.member_list().await.map_err(crate::fault::Fault::from)?;
        Ok((status, members))
    };
    let Ok((status, members)) = pool.call(Kind::Read, deadline, look).await else {
        return (String::new(), Vec::new());
    };
    let member = |m: &etcd_client::Member| Member {
        name: if m.name().is_empty() { format!("{:x}", m.id()) } else { m.name().to_owned() },
        leader: (status.leader() != 0).then_some(status.leader() == m.id()),
    };
    (status.version().to_owned(), members.members().iter().map(member).collect())
}

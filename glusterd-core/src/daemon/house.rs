//! A daemon without its listeners: everything between a coordinator and a machine.
//!
//! What it stands on is handed in, so a whole pool can live in one process on a coordinator and
//! machines in memory. Nothing here may open a socket or look at the environment.

use super::takeover::Takeover;
use crate::boot::{self, Settings};
use crate::host::{HookQueue, Host};
use crate::membership::{self, Announced, Announcement, Guest, Homecoming, Identity, OwnStore};
use crate::mirror::Mirror;
use crate::ops::{Clients, Converger, Engine, LocalNode, Marks, PoolNodes, Post, Processes, Site};
use crate::rpc::Xdr;
use crate::rpc::callback::{CallbackProc, StatedumpReq};
use crate::serve::Connections;
use crate::serve::specs::{CatchUp, MirrorSpecs};
use crate::store::{Pool, Store, View};
use crate::supervise::ports::Ports;
use crate::supervise::{self, Lines, Supervisor};
use crate::tasks::Keeper;
use coord_api::Coordinator;
use gluster_tls::Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Reports of rebalance processes that may wait for whoever keeps tasks.
const REPORTS_MAX: usize = 256;

/// What a daemon stands on.
#[derive(Debug)]
pub struct Ground {
    pub host: Arc<dyn Host>,
    /// Calls into the node's processes.
    pub lines: Arc<dyn Lines>,
    pub coordinator: Arc<dyn Coordinator>,
    pub identity: Identity,
    /// The way into and out of the coordination service, if it is the daemons' own.
    pub own_store: Option<Arc<dyn OwnStore>>,
    /// For calls to daemons elsewhere, if management is encrypted.
    pub tls: Option<Tls>,
}

/// The rooms behind the listeners.
#[derive(Debug)]
pub struct House {
    pub store: Arc<Store>,
    pub converger: Arc<Converger>,
    pub engine: Arc<Engine>,
    pub connections: Arc<Connections>,
    pub processes: Arc<dyn Processes>,
    pub ports: Ports,
    pub specs: Arc<MirrorSpecs>,
    /// Whether the pool agrees with what an administrator changed on disk while the daemon was down.
    pub settled: watch::Receiver<bool>,
    /// What the files said at the start.
    files: Arc<View>,
    /// Calls from other nodes' commands end here too.
    local: Arc<LocalNode>,
    post: Arc<Post>,
    announced: Arc<Announced>,
    /// The pool that stands in this node's own file.
    pool: Pool,
    bind_address: Option<String>,
}

impl House {
    /// Follows the coordinator from here on; files and processes are left alone until
    /// [`Converger::run`].
    ///
    /// # Errors
    /// The last known configuration cannot be looked at.
    pub async fn assemble(settings: &Settings, ground: Ground) -> anyhow::Result<House> {
        let Ground { host, lines, coordinator, identity, own_store, tls } = ground;
        let mirror = Mirror::new(settings.workdir.clone(), settings.bind_address.clone());
        let loaded = {
            let mirror = mirror.clone();
            tokio::task::spawn_blocking(move || mirror.load(identity.node)).await?
        };
        for damage in &loaded.damage {
            tracing::warn!(path = %damage.path.display(), reason = damage.reason, "unusable file");
        }
        let store = Store::open(coordinator, identity.pool, loaded.view.clone());
        let connections = Arc::new(Connections::default());
        let ports = Ports::default();
        let processes = processes(settings, &host, lines, &ports);
        let announced = connections.clone();
        let converger = Converger::new(
            store.clone(),
            mirror,
            processes.clone(),
            Box::new(move || announced.push(CallbackProc::FETCHSPEC, b"")),
        );
        let marks = Arc::new(Marks::new(host.clone()));
        let site = site(settings, own_store.is_some());
        let local = Arc::new(LocalNode {
            store: store.clone(),
            host: host.clone(),
            processes: processes.clone(),
            converger: converger.clone(),
            post_hooks: HookQueue::start(host.clone()),
            clients: Arc::new(Connected(connections.clone())),
            marks: marks.clone(),
            partings: Arc::default(),
            bind_address: settings.bind_address.clone(),
            own_store,
            tls,
        });
        let announced = Arc::new(Announced::default());
        let post = Post::new(store.clone(), announced.clone());
        let nodes = Arc::new(PoolNodes { local: local.clone(), post: post.clone() });
        let (done, settled) = watch::channel(false);
        let engine = Engine::new(store.clone(), nodes, site).not_before(settled.clone());
        let engine = Arc::new(match local.own_store.clone() {
            Some(own) => engine.explained_by(Box::new(move || own.trouble())),
            None => engine,
        });
        let notes = marks.left_over().await;
        let homecoming = local.own_store.is_some().then(|| Homecoming {
            store: store.clone(),
            host: host.clone(),
            tls: local.tls.clone(),
        });
        let files = Arc::new(loaded.view);
        let takeover =
            Takeover { store: store.clone(), identity, on_disk: files.clone(), homecoming };
        takeover.begin(done).await;
        tokio::spawn(marks.keep(store.clone(), notes));
        let (reports, unread) = mpsc::channel(REPORTS_MAX);
        tokio::spawn(Keeper::new(store.clone(), processes.clone()).run(unread));
        let view = {
            let (store, settled, files) = (store.clone(), settled.clone(), files.clone());
            Arc::new(move || {
                let view = store.view();
                // What is on disk and not in the store yet looks as if it had been deleted.
                let is_early = view.revision != 0 && !*settled.borrow();
                if is_early { files.clone() } else { view }
            })
        };
        let catch_up: CatchUp = {
            let local = local.clone();
            Arc::new(move || {
                let local = local.clone();
                Box::pin(async move { local.catch_up().await })
            })
        };
        let specs = Arc::new(MirrorSpecs::new(view, catch_up, host, reports));
        Ok(House {
            store,
            converger,
            engine,
            connections,
            processes,
            ports,
            specs,
            settled,
            files,
            local,
            post,
            announced,
            pool: identity.pool,
            bind_address: settings.bind_address.clone(),
        })
    }

    /// This node for those who would like to take it in.
    pub fn guest(&self) -> Guest {
        Guest {
            store: self.store.clone(),
            own: self.local.own_store.clone(),
            host: self.local.host.clone(),
            bind_address: self.bind_address.clone(),
            tls: self.local.tls.clone(),
            files: self.files.clone(),
            settled: self.settled.clone(),
        }
    }

    /// Is a member among others from here on: announced, answering questions, moving when it is
    /// moved. The task that is returned ends after `stop`, when the others have seen the node go.
    pub fn take_part(&self, ttl: Duration, stop: CancellationToken) -> JoinHandle<()> {
        let host = &self.local.host;
        tokio::spawn(membership::keep_pool(host.clone(), self.pool, self.store.place()));
        if let Some(own) = &self.local.own_store {
            tokio::spawn(membership::keep_home(self.store.clone(), own.clone(), self.pool));
            tokio::spawn(membership::keep_masters(self.store.clone(), own.clone()));
            tokio::spawn(membership::tell_outages(self.store.clone(), own.clone()));
        }
        tokio::spawn(self.local.partings.clone().watch(self.store.subscribe()));
        tokio::spawn(self.post.clone().run(self.local.clone()));
        let announced = self.announced.clone();
        tokio::spawn(membership::count_heads(self.store.clone(), host.clone(), announced));
        let announcement = Announcement {
            store: self.store.clone(),
            host: host.clone(),
            bind_address: self.bind_address.clone(),
            ttl,
        };
        tokio::spawn(announcement.keep_up(self.announced.clone(), stop))
    }
}

fn site(settings: &Settings, built_in_store: bool) -> Site {
    Site {
        workdir: settings.workdir.clone(),
        rundir: settings.rundir.clone(),
        logdir: settings.logdir.clone(),
        bind_address: settings.bind_address.clone(),
        address_family: settings.address_family.map(|family| family.name().to_owned()),
        base_port: settings.base_port,
        built_in_store,
    }
}

#[derive(Debug)]
struct Connected(Arc<Connections>);

impl Clients for Connected {
    fn older_than(&self, volume: &str, op_version: u32) -> Option<(String, u32)> {
        self.0.list().into_iter().find_map(|connection| {
            let facts = connection.facts();
            let max = u32::try_from(facts.max_op_version).unwrap_or(0);
            let asked = facts.volname.as_deref() == Some(volume);
            (asked && max < op_version).then(|| (connection.peer().to_string(), max))
        })
    }

    fn dump_state(&self, volume: &str, host: &str, pid: u32) {
        let body = StatedumpReq { pid }.to_bytes();
        self.0.push_to(CallbackProc::STATEDUMP, &body, |connection| {
            let named = connection.facts().volname.as_deref() == Some(volume);
            named && connection.peer().ip().is_some_and(|ip| ip.to_string() == host)
        });
    }
}

fn processes(
    settings: &Settings,
    host: &Arc<dyn Host>,
    lines: Arc<dyn Lines>,
    ports: &Ports,
) -> Arc<dyn Processes> {
    let shown = supervise::Settings {
        bind_address: settings.bind_address.clone(),
        address_family: settings.address_family.map(|family| family.name().to_owned()),
        ports: settings.base_port..=settings.max_port,
        global_threading: settings.global_threading,
        io_engine: settings.io_engine.clone(),
        syslog: settings.logger == boot::Logger::Syslog,
        valgrind: match settings.valgrind {
            boot::Valgrind::No => None,
            boot::Valgrind::Memcheck => Some(supervise::Valgrind::Memcheck),
            boot::Valgrind::Drd => Some(supervise::Valgrind::Drd),
        },
    };
    Arc::new(Supervisor::new(host.clone(), lines, ports.clone(), shown))
}

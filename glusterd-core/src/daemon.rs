//! The rooms put together: a coordinator, the view, the listeners, the loops.
//!
//! Start order: identity, coordinator, last known configuration, listeners, then ready; bricks and
//! daemons come up behind it, as in stock.

use crate::boot::{self, CmdHistory, Lifecycle, Settings};
use crate::host::{Dirs, HookQueue, Host, RealHost};
use crate::membership::{self, Identity};
use crate::mirror::Mirror;
use crate::model::OP_VERSION_MAX;
use crate::ops::{Clients, Converger, Engine, LocalNode, Processes, Site};
use crate::rpc::Xdr;
use crate::rpc::callback::{CallbackProc, StatedumpReq};
use crate::serve::cli::{CliProgram, CommandLog};
use crate::serve::handshake::Handshake;
use crate::serve::listener::{Family, Plain};
use crate::serve::portmap::Portmap;
use crate::serve::specs::MirrorSpecs;
use crate::serve::{Connections, Limits, Listener, TcpEndpoint, tables};
use crate::store::{Edit, Store, View};
use crate::supervise::ports::Ports;
use crate::supervise::{self, SocketLines, Supervisor};
use anyhow::Context;
use coord_api::Coordinator;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A small local store answers in milliseconds; a distant one may take longer than a start should.
const FIRST_VIEW: Duration = Duration::from_secs(2);
/// Reports of rebalance processes that may wait for whoever keeps tasks.
const REPORTS_MAX: usize = 256;

/// Opens the coordinator that the settings name, for this node.
pub type Open =
    fn(
        Settings,
        Identity,
    ) -> futures_util::future::BoxFuture<'static, coord_api::Result<Arc<dyn Coordinator>>>;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What kept it from starting; the user sees it.
pub async fn run(settings: Settings, lifecycle: Lifecycle, open: Open) -> anyhow::Result<()> {
    let dirs = Dirs {
        work: settings.workdir.display().to_string(),
        run: settings.rundir.display().to_string(),
        log: settings.logdir.display().to_string(),
    };
    let host: Arc<dyn Host> = Arc::new(RealHost::new(dirs));
    let identity = membership::load_or_create(&*host).await?;
    let coordinator = open(settings.clone(), identity).await.context("the coordination service")?;
    tracing::info!(node = %identity.node, pool = %identity.pool.0, info = ?coordinator.info());
    let daemon = Daemon::assemble(settings, lifecycle, host, identity, coordinator).await?;
    daemon.serve().await
}

struct Daemon {
    settings: Settings,
    lifecycle: Lifecycle,
    identity: Identity,
    store: Arc<Store>,
    converger: Arc<Converger>,
    engine: Arc<Engine>,
    connections: Arc<Connections>,
    ports: Ports,
    specs: Arc<MirrorSpecs>,
}

impl Daemon {
    async fn assemble(
        settings: Settings,
        lifecycle: Lifecycle,
        host: Arc<dyn Host>,
        identity: Identity,
        coordinator: Arc<dyn Coordinator>,
    ) -> anyhow::Result<Daemon> {
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
        let processes = processes(&settings, &host, &ports);
        let announced = connections.clone();
        let converger = Converger::new(
            store.clone(),
            mirror,
            processes.clone(),
            Box::new(move || announced.push(CallbackProc::FETCHSPEC, b"")),
        );
        let engine = engine(&settings, &host, &store, &processes, &converger, &connections);
        settle_pool(&store, &identity, &loaded.view).await;
        let (reports, _unread) = mpsc::channel(REPORTS_MAX);
        let view = {
            let store = store.clone();
            Arc::new(move || store.view())
        };
        let specs = Arc::new(MirrorSpecs::new(view, host, reports));
        Ok(Daemon {
            settings,
            lifecycle,
            identity,
            store,
            converger,
            engine,
            connections,
            ports,
            specs,
        })
    }

    async fn serve(self) -> anyhow::Result<()> {
        let log = Arc::new(History(self.lifecycle.history.clone()));
        let cli = Arc::new(CliProgram::new(self.engine.clone(), log));
        let portmap = Arc::new(Portmap::new(self.ports.clone()));
        let handshake = Arc::new(Handshake::new(self.specs.clone()));
        let unix = Listener::unix(&self.settings.sockfile).await?;
        let tcp = Listener::tcp(endpoint(&self.settings), Arc::new(Plain)).await?;
        let stop = self.lifecycle.stop.clone();
        let unix_table = Arc::new(tables::unix(cli.clone(), handshake.clone()));
        let tcp_table = Arc::new(tables::tcp(cli, portmap, handshake));
        unix.serve(unix_table, self.connections.clone(), Limits::default(), stop.clone());
        tcp.serve(tcp_table, self.connections.clone(), Limits::default(), stop.clone());

        let mut progress = self.converger.progress();
        tokio::spawn(self.converger.clone().run(None));
        let written = async { drop(progress.wait_for(|progress| progress.files > 0).await) };
        if tokio::time::timeout(FIRST_VIEW, written).await.is_err() {
            tracing::warn!("volfiles are served as the last run left them until they are written");
        }
        let ttl = Duration::from_secs(self.settings.coordinator.session_ttl_s.into());
        let announced = tokio::spawn(membership::announce(
            self.store.coordinator().clone(),
            self.identity.pool,
            self.identity.node,
            ttl,
            stop.clone(),
        ));
        self.lifecycle.ready.signal()?;
        tracing::info!("ready");

        stop.cancelled().await;
        let _ended = tokio::time::timeout(Duration::from_secs(2), announced).await;
        self.connections.close_all();
        let closed = self.store.coordinator().close();
        let _bounded = tokio::time::timeout(Duration::from_secs(2), closed).await;
        Ok(())
    }
}

fn engine(
    settings: &Settings,
    host: &Arc<dyn Host>,
    store: &Arc<Store>,
    processes: &Arc<dyn Processes>,
    converger: &Arc<Converger>,
    connections: &Arc<Connections>,
) -> Arc<Engine> {
    let node = LocalNode {
        me: store.view().me,
        store: store.clone(),
        host: host.clone(),
        processes: processes.clone(),
        converger: converger.clone(),
        post_hooks: HookQueue::start(host.clone()),
        clients: Arc::new(Connected(connections.clone())),
        bind_address: settings.bind_address.clone(),
    };
    let site = Site {
        workdir: settings.workdir.clone(),
        rundir: settings.rundir.clone(),
        logdir: settings.logdir.clone(),
        bind_address: settings.bind_address.clone(),
        address_family: settings.address_family.map(|family| family.name().to_owned()),
        base_port: settings.base_port,
    };
    Arc::new(Engine::new(store.clone(), Arc::new(node), site))
}

/// Waits for the first image and makes the pool agree with what an administrator changed on disk
/// while the daemon was down: a configuration of stock's daemon, or another op-version.
async fn settle_pool(store: &Arc<Store>, identity: &Identity, on_disk: &View) {
    let Some(sight) = store.wait_for(coord_api::Revision(0), FIRST_VIEW).await else {
        tracing::warn!("the coordination service has not answered; serving the last known state");
        return;
    };
    let alone = sight.view.peers.len() <= 1;
    let mut edits = Vec::new();
    let fresh = sight.versions.is_empty();
    if fresh && !on_disk.volumes.is_empty() {
        tracing::info!(volumes = on_disk.volumes.len(), "taking over the configuration on disk");
        edits.extend(on_disk.volumes.values().map(|v| Edit::PutVolume(Box::new((**v).clone()))));
    }
    let mut global = match fresh {
        true => (*on_disk.global).clone(),
        false => (*sight.view.global).clone(),
    };
    if alone && global.op_version != identity.op_version {
        global.op_version = identity.op_version.min(OP_VERSION_MAX);
    }
    if fresh || global != *sight.view.global {
        edits.push(Edit::PutGlobal(global));
    }
    if edits.is_empty() {
        return;
    }
    match store.commit(&sight, &edits).await {
        Ok(revision) => {
            store.wait_for(revision, FIRST_VIEW).await;
        }
        Err(error) => tracing::error!(%error, "the configuration on disk was not taken over"),
    }
}

fn endpoint(settings: &Settings) -> TcpEndpoint {
    TcpEndpoint {
        bind_address: settings.bind_address.clone(),
        family: match settings.address_family.map(|family| family.name()) {
            Some("inet6") => Family::Inet6,
            _ => Family::Inet,
        },
        port: settings.listen_port,
        ..TcpEndpoint::default()
    }
}

#[derive(Debug)]
struct History(CmdHistory);

impl CommandLog for History {
    fn record(&self, command: &str, outcome: Result<(), &str>) {
        if let Err(error) = self.0.record(command, outcome) {
            tracing::warn!(%error, command, "not written into the command history");
        }
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

fn processes(settings: &Settings, host: &Arc<dyn Host>, ports: &Ports) -> Arc<dyn Processes> {
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
    let lines = Arc::new(SocketLines::default());
    Arc::new(Supervisor::new(host.clone(), lines, ports.clone(), shown))
}

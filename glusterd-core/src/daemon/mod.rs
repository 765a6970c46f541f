//! The rooms put together: listeners in front of a [`House`], and its life from start to stop.
//!
//! Start order: identity, coordinator, last known configuration, listeners, then ready; bricks and
//! daemons come up behind it, as in stock.

mod address;
mod force;
mod house;
mod own_store;
mod relocate;
mod security;
mod takeover;
mod volfile;

pub use address::{address, store_address, store_listens};
pub use house::{Ground, House};
pub use own_store::BuiltIn;
pub use relocate::{OpenUrl, relocate};
pub use volfile::volfile;

use crate::boot::{self, CmdHistory, Lifecycle, Settings};
use crate::host::{Dirs, Host, RealHost};
use crate::membership::{self, Identity, OwnStore};
use crate::serve::cli::{CliProgram, CommandLog};
use crate::serve::handshake::Handshake;
use crate::serve::join::Join;
use crate::serve::listener::Family;
use crate::serve::portmap::Portmap;
use crate::serve::statedump::{self, Online};
use crate::serve::{Limits, Listener, Program, TcpEndpoint, tables};
use crate::supervise::SocketLines;
use anyhow::Context;
use coord_api::Coordinator;
use futures_util::future::BoxFuture;
use gluster_tls::Tls;
use std::sync::Arc;
use std::time::Duration;

/// The files of the first image are written in milliseconds.
const FIRST_FILES: Duration = Duration::from_secs(2);

/// The coordinator, and the way into and out of it if it is the daemons' own.
#[derive(Debug)]
pub struct Opened {
    pub coordinator: Arc<dyn Coordinator>,
    pub own_store: Option<Arc<dyn OwnStore>>,
}

/// Opens the coordinator that the settings name, for this node.
pub type Open =
    fn(Settings, Identity, Option<Tls>) -> BoxFuture<'static, coord_api::Result<Opened>>;

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
    let tls = security::tls(&settings)?;
    let opened =
        open(settings.clone(), identity, tls.clone()).await.context("the coordination service")?;
    let Opened { coordinator, own_store } = opened;
    tracing::info!(node = %identity.node, pool = %identity.pool.0, info = ?coordinator.info());
    let lines = Arc::new(SocketLines::default());
    let (host_too, tls_too) = (host.clone(), tls.clone());
    let ground = Ground { host: host_too, lines, coordinator, identity, own_store, tls: tls_too };
    let house = House::assemble(&settings, ground).await?;
    Daemon { settings, lifecycle, host, house, tls }.serve().await
}

struct Daemon {
    settings: Settings,
    lifecycle: Lifecycle,
    host: Arc<dyn Host>,
    house: House,
    tls: Option<Tls>,
}

impl Daemon {
    async fn serve(self) -> anyhow::Result<()> {
        let house = &self.house;
        let log = Arc::new(History(self.lifecycle.history.clone()));
        let cli: Arc<dyn Program> = Arc::new(CliProgram::new(house.engine.clone(), log));
        let portmap = Arc::new(Portmap::new(house.ports.clone()));
        let handshake = Arc::new(Handshake::new(house.specs.clone()));
        let join = Arc::new(Join::new(house.guest()));
        let unix = Listener::unix(&self.settings.sockfile).await?;
        let tcp =
            Listener::tcp(endpoint(&self.settings), security::security(self.tls.clone())).await?;
        let stop = self.lifecycle.stop.clone();
        let unix_table = Arc::new(tables::unix(cli.clone(), handshake.clone()));
        let remote = self.settings.remote_commands.then_some(cli);
        let tcp_table = Arc::new(tables::tcp(remote, portmap, handshake, join));
        unix.serve(unix_table, house.connections.clone(), Limits::default(), stop.clone());
        tcp.serve(tcp_table, house.connections.clone(), Limits::default(), stop.clone());

        let mut progress = house.converger.progress();
        tokio::spawn(house.converger.clone().run(None, house.settled.clone()));
        let written = async { drop(progress.wait_for(|progress| progress.files > 0).await) };
        let settled = *house.settled.borrow();
        if !settled || tokio::time::timeout(FIRST_FILES, written).await.is_err() {
            tracing::warn!("volfiles are served as the last run left them until they are written");
        }
        let ttl = Duration::from_secs(self.settings.coordinator.session_ttl_s.into());
        let announced = house.take_part(ttl, stop.clone());
        self.lifecycle.ready.signal()?;
        tracing::info!("ready");

        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.lifecycle.dump.notified() => self.dump().await,
            }
        }
        let _ended = tokio::time::timeout(Duration::from_secs(2), announced).await;
        house.connections.close_all();
        let closed = house.store.coordinator().close();
        let _bounded = tokio::time::timeout(Duration::from_secs(2), closed).await;
        Ok(())
    }

    /// SIGUSR1.
    async fn dump(&self) {
        let (view, dirs) = (self.house.store.view(), self.host.dirs());
        let mut online = Online::default();
        for volume in view.started() {
            let status = self.house.processes.status(&view, volume.name.as_str()).await;
            let up = |title| status.services.iter().any(|row| row.title == title && row.online);
            online.quotad |= up("Quota Daemon");
            online.bitd |= up("Bitrot Daemon");
            online.scrub |= up("Scrubber Daemon");
        }
        let (ports, connections) = (&self.house.ports, &self.house.connections);
        let stamp = boot::stamp(std::time::SystemTime::now(), false);
        let text = statedump::text(&view, &dirs.work, online, ports, connections, &stamp);
        let path = statedump::file_name(&dirs.run, std::process::id(), self.host.unix_time_s());
        if let Err(error) = self.host.overwrite(&path, text.as_bytes()).await {
            tracing::error!(path, %error, "the state dump is not written");
        }
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

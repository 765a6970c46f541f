//! `glusterd`: the program. The only place that names a backend.

use coord_api::{Backend, Coordinator, OpenOpts};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gluster_tls::Tls;
use glusterd_core::boot::{CoordinatorSettings, Settings};
use glusterd_core::daemon::{self, BuiltIn, Opened};
use glusterd_core::membership::Identity;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match daemon::volfile(&words) {
        Some(Ok(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Some(Err(text)) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
        None => {}
    }
    glusterd_core::boot::start(
        &words,
        |settings, lifecycle| daemon::run(settings, lifecycle, open),
        |settings, command| daemon::relocate(settings, command, open_url),
    )
}

/// A start does not wait longer for a service on the network: the mirror serves meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nor for the other masters of the built-in store: those that are there answer at once, and when a
/// whole pool comes up one node after the other, the first ones have nobody to wait for.
const PATIENCE_OWN: Duration = Duration::from_millis(250);

fn open(
    settings: Settings,
    identity: Identity,
    tls: Option<Tls>,
) -> BoxFuture<'static, coord_api::Result<Opened>> {
    async move {
        let url = daemon::address(&settings.coordinator)?;
        let connect_timeout = Duration::from_secs(settings.coordinator.connect_timeout_s.into());
        let opts = OpenOpts { connect_timeout, ..OpenOpts::default() };
        if url == "local:" {
            let place = settings.workdir.join("coordination/local");
            let local = backend_local::LocalConfig {
                name: identity.node.to_string(),
                listen: Some(daemon::store_listens(&settings)),
                address: daemon::store_address(&settings).unwrap_or_default(),
                open: opts,
                tls,
                ..backend_local::LocalConfig::new(place)
            };
            let seat = backend_local::Seat::open(local, PATIENCE_OWN).await?;
            let coordinator = seat.handle();
            return Ok(Opened { coordinator, own_store: Some(Arc::new(BuiltIn(seat))) });
        }
        let opened = match url.split(':').next() {
            Some("local") => backend_local::LocalBackend.open(&url, opts).await,
            #[cfg(feature = "etcd")]
            Some("etcd") => coord_api::late(backend_etcd::Etcd, url, opts, PATIENCE).await,
            #[cfg(feature = "zookeeper")]
            Some("zk") => coord_api::late(backend_zk::ZooKeeper, url, opts, PATIENCE).await,
            _ => Err(coord_api::Error::none(coord_api::ErrorKind::Unsupported(
                "this glusterd is built without a backend for that URL",
            ))),
        };
        Ok(Opened { coordinator: opened?, own_store: None })
    }
    .boxed()
}

/// For a command: a service that cannot be reached is an error, nothing to wait for.
fn open_url(
    settings: Settings,
    url: String,
) -> BoxFuture<'static, coord_api::Result<Arc<dyn Coordinator>>> {
    async move {
        let connect_timeout = Duration::from_secs(settings.coordinator.connect_timeout_s.into());
        let opts = OpenOpts { connect_timeout, ..OpenOpts::default() };
        if url == "local:" {
            let place = settings.workdir.join("coordination/local");
            let local =
                backend_local::LocalConfig { open: opts, ..backend_local::LocalConfig::new(place) };
            return backend_local::offline(&local).await;
        }
        // The settings' certificates and user, unless the URL has its own.
        let url = match url.starts_with("local:") || url.contains('?') {
            true => url,
            false => daemon::address(&CoordinatorSettings { url, ..settings.coordinator })?,
        };
        let backend: Box<dyn Backend> = match url.split(':').next() {
            Some("local") => Box::new(backend_local::LocalBackend),
            #[cfg(feature = "etcd")]
            Some("etcd") => Box::new(backend_etcd::Etcd),
            #[cfg(feature = "zookeeper")]
            Some("zk") => Box::new(backend_zk::ZooKeeper),
            _ => return Err(coord_api::ErrorKind::Unsupported("no backend for that URL").into()),
        };
        backend.open(&url, opts).await
    }
    .boxed()
}

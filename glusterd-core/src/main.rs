//! `glusterd`: the program. The only place that names a backend.

use coord_api::{Backend, Coordinator, OpenOpts};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use glusterd_core::boot::Settings;
use glusterd_core::membership::Identity;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    glusterd_core::boot::start(&words, |settings, lifecycle| {
        glusterd_core::daemon::run(settings, lifecycle, open)
    })
}

fn open(
    settings: Settings,
    identity: Identity,
) -> BoxFuture<'static, coord_api::Result<Arc<dyn Coordinator>>> {
    async move {
        let url = &settings.coordinator.url;
        match url.split(':').next() {
            _ if url == "local:" => {
                let mut local =
                    backend_local::LocalConfig::new(settings.workdir.join("coordination/local"));
                local.name = identity.node.to_string();
                Ok(backend_local::LocalStore::open(&local).await?.handle())
            }
            Some("local") => backend_local::LocalBackend.open(url, OpenOpts::default()).await,
            #[cfg(feature = "etcd")]
            Some("etcd") => backend_etcd::Etcd.open(url, OpenOpts::default()).await,
            #[cfg(feature = "zookeeper")]
            Some("zk") => backend_zk::ZooKeeper.open(url, OpenOpts::default()).await,
            _ => Err(coord_api::Error::none(coord_api::ErrorKind::Unsupported(
                "this glusterd is built without a backend for that URL",
            ))),
        }
    }
    .boxed()
}

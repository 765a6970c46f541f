//! The suite on a lone member. A namespace is a store of its own, its handles share the member.

use async_trait::async_trait;
use backend_local::{LocalConfig, LocalStore};
use conformance::{Fault, Harness, Hooks, Timing};
use coord_api::{ClusterId, Coordinator, Error, ErrorKind, OpenOpts, Result};
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

struct Lone {
    /// All stores are taken for one cluster.
    cluster: ClusterId,
    dir: tempfile::TempDir,
    stores: Mutex<HashMap<String, LocalStore>>,
}

#[async_trait]
impl Harness for Lone {
    fn name(&self) -> &'static str {
        "local, one member"
    }

    /// A handle lives in the member's process, so there is no connection to cut and no server
    /// that a handle could survive.
    fn hooks(&self) -> Hooks {
        Hooks { servers: 1, expire: true, compact: true, ..Hooks::default() }
    }

    fn timing(&self) -> Timing {
        Timing { ttl: Duration::from_secs(2), ..Timing::default() }
    }

    async fn connect(&self, ns: &str, _client: usize) -> Result<Arc<dyn Coordinator>> {
        let mut stores = self.stores.lock().await;
        if let Some(store) = stores.get(ns) {
            return Ok(store.handle());
        }
        let timing = self.timing();
        let open = OpenOpts {
            detect: timing.detect,
            request_timeout: timing.request,
            ..OpenOpts::default()
        };
        // The directory of a namespace must not be another's parent, and `/` is no separator.
        let name: String = ns.bytes().map(|byte| format!("{byte:02x}")).collect();
        let dir = self.dir.path().join(name);
        let cluster = Some(self.cluster);
        let config = LocalConfig { open, cluster, ..LocalConfig::new(dir) };
        let store = LocalStore::open(&config).await?;
        stores.insert(ns.to_owned(), store.clone());
        Ok(store.handle())
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        let stores: Vec<LocalStore> = self.stores.lock().await.values().cloned().collect();
        match fault {
            Fault::SessionExpiry(session) => {
                for store in stores {
                    // Another case, at its end, may have shut its store down meanwhile.
                    match store.expire(*session).await {
                        Err(error) if matches!(error.kind, ErrorKind::Closed) => {}
                        outcome => outcome?,
                    }
                }
            }
            Fault::Compact => stores.iter().for_each(LocalStore::compact),
            other => {
                let error = Error::none(ErrorKind::Unsupported("this fault"));
                return Err(error.because(format!("{other:?}")));
            }
        }
        Ok(())
    }

    async fn destroy(&self, ns: &str) -> Result<()> {
        let store = self.stores.lock().await.remove(ns);
        if let Some(store) = store {
            store.shut_down().await;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let dir = tempfile::tempdir().expect("a directory for the stores");
    let cluster = ClusterId(*b"one cluster only");
    conformance::main(Lone { cluster, dir, stores: Mutex::default() })
}

//! Real server processes under test: [`Cluster`] with a backend's handles, behind proxies.

use crate::harness::{Fault, Hooks, Timing};
use crate::network::Network;
use crate::proxy::{ProxyHarness, Tcp};
use crate::servers::Cluster;
use async_trait::async_trait;
use coord_api::{Backend, Coordinator, Error, ErrorKind, OpenOpts, Result};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;

/// Servers that can be killed, stopped and started again, and a backend that talks to them.
pub struct ProcessHarness<B> {
    name: &'static str,
    cluster: Arc<Mutex<Cluster>>,
    backend: B,
    url: fn(hosts: &str, ns: &str) -> String,
    timing: Timing,
}

impl<B: Backend> ProcessHarness<B> {
    /// `url` makes the backend's address of `HOST:PORT,...` and a namespace.
    pub fn new(
        name: &'static str,
        cluster: Cluster,
        backend: B,
        timing: Timing,
        url: fn(hosts: &str, ns: &str) -> String,
    ) -> ProxyHarness<ProcessHarness<B>> {
        let cluster = Arc::new(Mutex::new(cluster));
        ProxyHarness::new(ProcessHarness { name, cluster, backend, url, timing })
    }

    /// Starting a server waits for it, so it happens beside the runtime.
    async fn on_cluster(
        &self,
        act: impl FnOnce(&mut Cluster) -> std::io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let cluster = self.cluster.clone();
        let done = tokio::task::spawn_blocking(move || act(&mut cluster.lock())).await;
        let internal = |text: String| Error::from(ErrorKind::Internal).because(text);
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(internal(error.to_string())),
            Err(error) => Err(internal(error.to_string())),
        }
    }

    async fn on_network(
        &self,
        act: impl FnOnce(&Network) -> std::io::Result<()> + Send + 'static,
    ) -> Result<()> {
        self.on_cluster(|cluster| match cluster.network() {
            Some(network) => act(network),
            None => Err(std::io::ErrorKind::Unsupported.into()),
        })
        .await
    }
}

#[async_trait]
impl<B: Backend> Tcp for ProcessHarness<B> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn servers(&self) -> Vec<SocketAddr> {
        self.cluster.lock().addresses()
    }

    async fn connect(
        &self,
        ns: &str,
        servers: &[SocketAddr],
        timing: Timing,
    ) -> Result<Arc<dyn Coordinator>> {
        let hosts: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
        let opts = OpenOpts {
            request_timeout: timing.request,
            detect: timing.detect,
            ..OpenOpts::default()
        };
        self.backend.open(&(self.url)(&hosts.join(","), ns), opts).await
    }

    fn hooks(&self) -> Hooks {
        let cluster = self.cluster.lock();
        let (servers, partition) =
            (cluster.len(), cluster.len() > 1 && cluster.network().is_some());
        Hooks { servers, kill: true, pause: true, wipe: true, partition, ..Hooks::default() }
    }

    fn timing(&self) -> Timing {
        self.timing
    }

    async fn leader(&self) -> Option<usize> {
        let cluster = self.cluster.clone();
        tokio::task::spawn_blocking(move || cluster.lock().leader()).await.ok()?
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        if let Fault::PartitionServers(sets) = fault {
            let sets = sets.clone();
            return self.on_network(move |network| network.partition(&sets)).await;
        }
        match *fault {
            Fault::KillServer(at) => {
                self.on_cluster(move |cluster| {
                    cluster.kill(at);
                    Ok(())
                })
                .await
            }
            Fault::PauseServer(at) => {
                self.on_cluster(move |cluster| {
                    cluster.pause(at);
                    Ok(())
                })
                .await
            }
            Fault::WipeCluster => self.on_cluster(Cluster::wipe).await,
            _ => Err(Error::none(ErrorKind::Unsupported("this fault"))),
        }
    }

    async fn heal(&self, fault: &Fault) -> Result<()> {
        if let Fault::PartitionServers(sets) = fault {
            let sets = sets.clone();
            return self.on_network(move |network| network.join(&sets)).await;
        }
        match *fault {
            Fault::KillServer(at) => self.on_cluster(move |cluster| cluster.restart(at)).await,
            Fault::PauseServer(at) => {
                self.on_cluster(move |cluster| {
                    cluster.resume(at);
                    Ok(())
                })
                .await
            }
            _ => Ok(()),
        }
    }
}

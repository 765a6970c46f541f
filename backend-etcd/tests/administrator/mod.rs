//! What an administrator of etcd can do to it, and the suite with that.

use async_trait::async_trait;
use backend_etcd::Etcd;
use conformance::network::{self, Network};
use conformance::servers::{Cluster, EtcdOpts, Place};
use conformance::{Admin, Administered, ProcessHarness, Timing};
use coord_api::{Error, ErrorKind, Result, SessionId};
use etcd_client::Client;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

struct Etcdctl {
    endpoints: Vec<String>,
}

fn failed(error: etcd_client::Error) -> Error {
    Error::none(ErrorKind::Internal).because(error)
}

#[async_trait]
impl Admin for Etcdctl {
    async fn expire(&self, session: SessionId) -> Result<()> {
        let mut client = Client::connect(&self.endpoints, None).await.map_err(failed)?;
        client.lease_revoke(session.0.cast_signed()).await.map(|_| ()).map_err(failed)
    }

    fn compacts(&self) -> bool {
        true
    }

    async fn compact(&self) -> Result<()> {
        let mut client = Client::connect(&self.endpoints, None).await.map_err(failed)?;
        let now = client.get("x", None).await.map_err(failed)?;
        let revision = now.header().map_or(0, |header| header.revision());
        match client.compact(revision, None).await {
            // Somebody else has done it at this revision.
            Err(error) if error.to_string().contains("has been compacted") => Ok(()),
            other => other.map(|_| ()).map_err(failed),
        }
    }
}

pub fn conformance(name: &'static str, members: usize) -> ExitCode {
    network::enter().expect("a network of its own");
    let network = Arc::new(Network::of(members).expect("machines"));
    let opts = EtcdOpts { place: Place::on(network), ..EtcdOpts::default() };
    let cluster = Cluster::etcd(members, &opts).expect("etcd starts");
    let endpoints = cluster.addresses().iter().map(SocketAddr::to_string).collect();
    let url = |hosts: &str, ns: &str| format!("etcd://{hosts}/{ns}");
    let harness = ProcessHarness::new(name, cluster, Etcd, Timing::default(), url);
    conformance::main(Administered::new(harness, Etcdctl { endpoints }))
}

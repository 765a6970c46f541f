//! A node as another one finds it that would like to take it in: what it says of itself, and how it
//! follows an invitation.

use super::invite::Stranger;
use super::own_store::{Luggage, OwnStore, is_free};
use crate::host::Host;
use crate::model::{DAEMON_PORT, NodeId, OP_VERSION_MAX};
use crate::rpc::join::{JoinReq, JoinRsp, LookReq, LookRsp};
use crate::store::{Freshness, Store, View};
use gluster_tls::Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A daemon that has just started may need that long to know its own pool.
const READY: Duration = Duration::from_secs(5);
const FAILED: i32 = -1;

/// Answers for this node.
#[derive(Debug)]
pub struct Guest {
    pub store: Arc<Store>,
    /// `None`: a coordination service that nobody is invited to.
    pub own: Option<Arc<dyn OwnStore>>,
    pub host: Arc<dyn Host>,
    pub bind_address: Option<String>,
    pub tls: Option<Tls>,
    /// What this node's files said when it started.
    pub files: Arc<View>,
    /// Whether this node's pool has taken that over.
    pub settled: watch::Receiver<bool>,
}

impl Guest {
    pub async fn look(&self, _: &LookReq) -> LookRsp {
        let sight = self.store.wait_for(coord_api::Revision(0), READY).await;
        let sight = sight.unwrap_or_else(|| self.store.sight());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        LookRsp {
            node: sight.view.me.to_string(),
            op_version_max: OP_VERSION_MAX,
            ready: u32::from(sight.view.freshness == Freshness::Current),
            invitable: u32::from(self.own.is_some()),
            peers: count(sight.view.others().count()),
            volumes: count(sight.view.volumes.len()),
        }
    }

    /// A member says that it has lost its store. Nothing is handed to who says so: whoever is found at
    /// the member's own address, with its uuid, alone and empty, is invited as by a probe.
    pub async fn knock(&self, asked: &LookReq) -> JoinRsp {
        match self.fetch(&asked.node).await {
            Ok(()) => JoinRsp::default(),
            Err(text) => {
                tracing::info!(node = asked.node, text, "a member that asks to be fetched is not");
                JoinRsp { op_ret: FAILED, op_errstr: text }
            }
        }
    }

    async fn fetch(&self, node: &str) -> Result<(), String> {
        let own = self.own.as_ref().ok_or("the coordination service is not the built-in store")?;
        let view = self.store.view();
        let lost = NodeId::parse(node).and_then(|id| view.others().find(|peer| peer.id == id));
        let lost = lost.ok_or("it is not a member of this pool")?;
        if !*self.settled.borrow() {
            return Err("this node has yet to take over what is on disk".to_owned());
        }
        if view.freshness != Freshness::Current || view.alive.contains(&lost.id) {
            return Err("it is here".to_owned());
        }
        for name in &lost.hostnames {
            let Ok(addresses) = self.host.addresses(name).await else { continue };
            let Some(address) = addresses.first().copied() else { continue };
            let met =
                Stranger::meet((address, DAEMON_PORT).into(), view.me, self.tls.as_ref()).await;
            let Ok(Some(stranger)) = met else { continue };
            if stranger.node() != Some(lost.id) || !stranger.is_free() {
                continue;
            }
            let mine = match &self.bind_address {
                Some(bound) => bound.clone(),
                None => {
                    let mine = self.host.address_towards(address).await;
                    mine.map_err(|error| error.to_string())?.to_string()
                }
            };
            let brought = stranger.bring(&**own, view.me, &mine, name).await;
            return brought.map_err(|error| error.to_string());
        }
        Err("it is not found where this pool knows it to be".to_owned())
    }

    pub async fn join(&self, asked: &JoinReq) -> JoinRsp {
        let no = |text: String| JoinRsp { op_ret: FAILED, op_errstr: text };
        let Some(own) = &self.own else {
            return no("the coordination service is not the built-in store".to_owned());
        };
        let sight = self.store.sight();
        let is_known = self.files.others().any(|peer| peer.id.to_string() == asked.node);
        if !*self.settled.borrow() && !is_known {
            return no("it has yet to take over what is on disk".to_owned());
        }
        if sight.view.freshness != Freshness::Current || !is_free(&sight.view) {
            return no("it is not alone and empty".to_owned());
        }
        let place = *self.store.place().borrow();
        tracing::info!(from = asked.node, "invited into a pool's store");
        let luggage = Luggage::of(place, &sight.view.global);
        match own.join(&asked.invitation, &asked.host, luggage).await {
            Ok(()) => JoinRsp::default(),
            Err(error) => {
                tracing::error!(%error, "an invitation was not followed");
                no(error.to_string())
            }
        }
    }
}

//! Nodes of one pool that find themselves each in a built-in store of its own: on their first start
//! with it. One of them stays where it is, the others have themselves fetched there.
//!
//! Whoever has begun a pool with this node in it is gone to. While nobody has, the node with the
//! lowest uuid of those that are up begins, and the others wait for it. Nodes that all start at once
//! find each other: one that does not answer is waited for a little, and a node looks twice before
//! it begins, the second time when others have long been able to find it.

use super::invite::Stranger;
use super::own_store::is_free;
use crate::host::Host;
use crate::model::{DAEMON_PORT, NodeId, Peer};
use crate::store::{Store, View};
use futures_util::StreamExt;
use futures_util::stream;
use gluster_tls::Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Waiting for one that begins, and for one that has begun to let this node in.
const PATIENCE: Duration = Duration::from_secs(30);
/// Waiting for one that does not answer.
const GRACE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(500);
/// A node that was fetched sees the others by then.
const ARRIVAL: Duration = Duration::from_secs(20);
/// Nodes looked for at a time.
const VISITS: usize = 32;

#[derive(Debug)]
pub struct Homecoming {
    pub store: Arc<Store>,
    pub host: Arc<dyn Host>,
    pub tls: Option<Tls>,
}

/// A peer as this node finds it.
enum Found {
    /// No daemon of this kind with the peer's uuid, by this name.
    Nobody(String),
    /// Alone and empty, or not ready yet: it may be where this node is.
    New(NodeId),
    /// It is in a pool with others, or has volumes.
    Begun(Stranger),
}

impl Homecoming {
    /// Looks for the peers that the files name. Whether this node has come to them; otherwise it is
    /// the one to begin.
    pub async fn run(&self, files: &View) -> bool {
        let begun = Instant::now();
        let mut ready = false;
        loop {
            // The answer to a knock may be lost while the node is fetched.
            if !is_free(&self.store.view()) {
                return true;
            }
            let found = self.visits(files).await;
            let (mut waits, mut missed) = (false, None);
            for found in &found {
                let (why, at_most) = match found {
                    Found::Nobody(name) => (format!("{name} does not answer"), GRACE),
                    Found::New(node) if *node < files.me => {
                        (format!("{node} does not begin"), PATIENCE)
                    }
                    Found::New(_) => continue,
                    Found::Begun(stranger) => match stranger.knock(files.me).await {
                        Ok(()) if self.arrived().await => return true,
                        Ok(()) => ("the store of the others has not come".to_owned(), PATIENCE),
                        Err(error) => (error.to_string(), PATIENCE),
                    },
                };
                waits |= begun.elapsed() < at_most;
                missed = Some(why);
            }
            if !waits && ready {
                if let Some(why) = missed {
                    tracing::warn!(why, "this node begins by itself with what its files say");
                }
                return false;
            }
            ready = !waits;
            sleep(AGAIN).await;
        }
    }

    async fn visits(&self, files: &View) -> Vec<Found> {
        let peers: Vec<Peer> = files.others().cloned().collect();
        let visits = stream::iter(peers).map(|peer| self.visit(files.me, peer));
        visits.buffer_unordered(VISITS).collect().await
    }

    async fn visit(&self, me: NodeId, peer: Peer) -> Found {
        for name in &peer.hostnames {
            let addresses = self.host.addresses(name).await.unwrap_or_default();
            let Some(address) = addresses.first() else { continue };
            let at = (*address, DAEMON_PORT).into();
            let Ok(Some(stranger)) = Stranger::meet(at, me, self.tls.as_ref()).await else {
                continue;
            };
            if stranger.node() != Some(peer.id) || stranger.about.invitable != 1 {
                continue;
            }
            let is_new = stranger.is_free() || stranger.about.ready != 1;
            return if is_new { Found::New(peer.id) } else { Found::Begun(stranger) };
        }
        Found::Nobody(peer.hostnames.into_iter().next().unwrap_or_default())
    }

    async fn arrived(&self) -> bool {
        let mut sights = self.store.subscribe();
        let there = sights.wait_for(|sight| !is_free(&sight.view));
        timeout(ARRIVAL, there).await.is_ok_and(|seen| seen.is_ok())
    }
}

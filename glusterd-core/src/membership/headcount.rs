//! Who is up, when the coordination service does not say: counted by this node itself.
//!
//! A node whose session is gone, as the others see it too by then, may be cut off from the pool, or
//! the service may be down for all. It finds out as stock does: by how many members it can reach.
//! What it counts stands in the image for the cluster map until there is a session again, and server
//! quorum is judged from it. See docs/decisions/0052.

use super::alive::Announced;
use crate::host::Host;
use crate::model::{DAEMON_PORT, NodeId, Peer};
use crate::store::Store;
use coord_api::Health;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Beyond the end of the session: a leader is chosen, a connection made anew.
const GRACE: Duration = Duration::from_secs(3);
/// The others hear of the service's return later than this node, and need a session as well. Whom it
/// reached just before is not gone meanwhile: bricks would stop for nothing.
const RETURN: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(2);
/// Members that are tried at a time.
const DIALS_MAX: usize = 64;

/// Runs until the store is closed.
pub async fn count_heads(store: Arc<Store>, host: Arc<dyn Host>, announced: Arc<Announced>) {
    let mut session = announced.subscribe();
    let health = store.coordinator().health();
    while *health.borrow() != Health::Closed {
        if session.wait_for(Option::is_none).await.is_err() {
            return;
        }
        if timeout(GRACE, session.wait_for(Option::is_some)).await.is_ok() {
            continue;
        }
        tracing::warn!("no session with the coordination service: counting the members in reach");
        let mut counted = Reached::default();
        while session.borrow().is_none() && *health.borrow() != Health::Closed {
            let view = store.view();
            let dials: Vec<_> =
                view.others().map(|peer| reached(host.clone(), peer.clone())).collect();
            let up = stream::iter(dials).buffer_unordered(DIALS_MAX).collect::<Vec<_>>().await;
            store.count(counted.count(up.into_iter().flatten().chain([view.me]).collect()));
            drop(timeout(PAUSE, session.wait_for(Option::is_some)).await);
        }
        store.stop_counting();
        drop(timeout(RETURN, session.wait_for(Option::is_none)).await);
        store.forget_heads();
    }
}

/// The peer, if it answers by any of its names.
async fn reached(host: Arc<dyn Host>, peer: Peer) -> Option<NodeId> {
    let dials = peer.hostnames.iter().map(|name| host.reaches(name, DAEMON_PORT));
    join_all(dials).await.contains(&true).then_some(peer.id)
}

/// Counts one after the other.
#[derive(Default)]
struct Reached {
    last: Option<BTreeSet<NodeId>>,
}

impl Reached {
    /// Who is up: one that was missed once is not gone yet. The first count is taken as it is.
    fn count(&mut self, reached: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let before = self.last.replace(reached.clone()).unwrap_or_default();
        &reached | &before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_missed_once_is_not_gone_yet() {
        let nodes = [NodeId::fresh(), NodeId::fresh(), NodeId::fresh()];
        let set = |some: &[usize]| some.iter().map(|n| nodes[*n]).collect::<BTreeSet<_>>();
        let mut counted = Reached::default();
        let mut check = |reached: &[usize], want: &[usize]| {
            assert_eq!(counted.count(set(reached)), set(want));
        };
        check(&[0, 1, 2], &[0, 1, 2]);
        check(&[0, 1], &[0, 1, 2]);
        check(&[0], &[0, 1]);
        check(&[0], &[0]);
        check(&[0, 2], &[0, 2]);
    }
}

//! When a daemon was last seen to go. Its clients then look for another one, and until they have it
//! they do not hear of new bricks: files that move there meanwhile are lost from their sight.

use crate::model::NodeId;
use crate::store::{Sight, View};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A client tries the next daemon on its list after three seconds (rpc/rpc-lib/src/rpc-clnt.c:843,
/// v10.3), then fetches a volfile and changes its graph. Starting a rebalance of two nodes takes stock
/// as long.
const FINDING_ANOTHER: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Partings {
    last: Mutex<Option<Instant>>,
}

impl Partings {
    /// Runs until the store is closed. With volumes, this daemon was away itself until now.
    pub async fn watch(self: Arc<Partings>, mut sights: watch::Receiver<Sight>) {
        let mut there: Option<BTreeSet<NodeId>> = None;
        loop {
            let view = sights.borrow_and_update().view.clone();
            if view.counted {
                let went = match &there {
                    None => !view.volumes.is_empty(),
                    Some(before) => someone_went(before, &view),
                };
                if went {
                    *self.last.lock() = Some(Instant::now());
                }
                there = Some(view.alive.clone());
            }
            if sights.changed().await.is_err() {
                return;
            }
        }
    }

    /// Completes when the clients of whoever went have had time to find another daemon.
    pub async fn clients_have_settled(&self) {
        loop {
            let last = *self.last.lock();
            let Some(settled) = last.map(|last| last + FINDING_ANOTHER) else { return };
            if settled <= Instant::now() {
                return;
            }
            sleep_until(settled).await;
        }
    }
}

/// A member that has left the pool leaves no clients that could be waited for.
fn someone_went(before: &BTreeSet<NodeId>, now: &View) -> bool {
    before.difference(&now.alive).any(|node| now.peers.contains_key(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Peer, PeerState};
    use crate::supervise::sample::{ME, OTHER};

    #[test]
    fn who_is_gone_and_who_has_left() {
        let mut now = View::alone(ME);
        for id in [ME, OTHER] {
            Arc::make_mut(&mut now.peers)
                .insert(id, Peer { id, hostnames: vec![], state: PeerState::Befriended });
        }
        let check = |before: &[NodeId], now: &View, want: bool| {
            assert_eq!(someone_went(&before.iter().copied().collect(), now), want);
        };
        now.alive = [ME, OTHER].into();
        check(&[ME], &now, false);
        check(&[ME, OTHER], &now, false);
        now.alive = [ME].into();
        check(&[ME, OTHER], &now, true);
        check(&[ME], &now, false);
        Arc::make_mut(&mut now.peers).remove(&OTHER);
        check(&[ME, OTHER], &now, false);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_is_not_waited_for() {
        let partings = Partings::default();
        let start = Instant::now();
        partings.clients_have_settled().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        *partings.last.lock() = Some(start);
        tokio::time::advance(Duration::from_secs(3)).await;
        partings.clients_have_settled().await;
        assert_eq!(start.elapsed(), FINDING_ANOTHER);
        partings.clients_have_settled().await;
        assert_eq!(start.elapsed(), FINDING_ANOTHER);
    }
}

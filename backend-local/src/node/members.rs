//! Who the members are, who leads, and changes of both.

use super::Node;
use super::work::{LEADER_RETRY, left};
use crate::raft::{self, Member};
use coord_api::{Error, ErrorKind, Result};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a change of the members may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(20);

impl Node {
    /// Rings when leadership or membership may have changed; keeps nothing alive.
    pub fn leadership(&self) -> Leadership {
        let mut metrics = self.raft.server_metrics();
        // A clone counts everything since the core's start as unseen.
        drop(metrics.borrow_and_update());
        Leadership(metrics)
    }

    /// All members, and whether each leads.
    pub fn members(&self) -> Vec<(u64, Member)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes.map(|(id, member)| (*id, member.clone())).collect()
    }

    pub(super) fn member(&self, id: u64) -> Option<Member> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.get_node(&id).cloned()
    }

    /// Makes a running, empty member of this cluster's id a voter. Only the leader can.
    ///
    /// # Errors
    /// `Unavailable` if this member does not lead or the new one cannot be reached; the change
    /// may be half way then, and is finished by asking again.
    pub async fn add_member(&self, id: u64, member: Member) -> Result<()> {
        // From here on others may commit; being told so late would be fatal, too early is not.
        self.alone.store(false, Ordering::SeqCst);
        self.raft.runtime_config().tick(true);
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            match self.raft.add_learner(id, member.clone(), true).await {
                Ok(_) => break,
                Err(error) => self.pause_for_change(error, deadline).await?,
            }
        }
        let mut voters: BTreeSet<u64> = self.raft.voter_ids().collect();
        voters.insert(id);
        self.change_voters(voters).await
    }

    /// Takes a voter out; the leader itself last of all, after which it follows nobody.
    ///
    /// # Errors
    /// As [`Node::add_member`].
    pub async fn remove_member(&self, id: u64) -> Result<()> {
        let mut voters: BTreeSet<u64> = self.raft.voter_ids().collect();
        voters.remove(&id);
        let alone = voters.len() == 1 && voters.contains(&self.identity.node);
        self.change_voters(voters).await?;
        if alone {
            self.raft.runtime_config().tick(false);
            self.alone.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn change_voters(&self, voters: BTreeSet<u64>) -> Result<()> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            match self.raft.change_membership(voters.clone(), false).await {
                Ok(_) => return Ok(()),
                Err(error) => self.pause_for_change(error, deadline).await?,
            }
        }
    }

    /// A leader whose quorum is slow, or a change still under way: a little later it may work.
    async fn pause_for_change(
        &self,
        error: RaftError<raft::Types, ClientWriteError<raft::Types>>,
        deadline: Instant,
    ) -> Result<()> {
        let other = error.forward_to_leader().and_then(|to| to.leader_id);
        let led_elsewhere = other.is_some_and(|leader| leader != self.identity.node);
        let hopeless = led_elsewhere || error.fatal().is_some() || left(deadline).is_zero();
        if hopeless {
            return Err(Error::unknown(ErrorKind::Unavailable).because(error));
        }
        tokio::time::sleep(LEADER_RETRY).await;
        Ok(())
    }
}

/// See [`Node::leadership`].
pub struct Leadership(WatchReceiverOf<raft::Types, RaftServerMetrics<raft::Types>>);

impl Leadership {
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

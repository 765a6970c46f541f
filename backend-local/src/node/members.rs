//! Who the members are, who leads, and changes of both.

use super::Node;
use super::work::{LEADER_RETRY, left};
use crate::raft::{self, Member};
use crate::wire::{PeerReply, PeerRequest};
use coord_api::{Error, ErrorKind, Result};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use std::collections::{BTreeMap, BTreeSet};
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

    /// All members, and whether each votes.
    pub fn members_and_voters(&self) -> Vec<(u64, Member, bool)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let nodes = metrics.membership_config.nodes();
        nodes.map(|(id, member)| (*id, member.clone(), voters.contains(id))).collect()
    }

    /// Takes in a running, empty member of this cluster's id, as a voter or as one that only
    /// follows; of a known one, notes its new name and address. A member of the same name under
    /// another id, whose data was lost, is let go in the same change. Through any member.
    ///
    /// # Errors
    /// `Unavailable` if there is no leader or the new one cannot be reached; the change may be
    /// half way then, and is finished by asking again.
    pub async fn admit_member(&self, id: u64, member: Member, voter: bool) -> Result<()> {
        self.change(PeerRequest::Admit { node: id, member, voter }).await
    }

    /// Lets a member go; the leader itself last of all, after which it follows nobody.
    ///
    /// # Errors
    /// As [`Node::admit_member`].
    pub async fn remove_member(&self, id: u64) -> Result<()> {
        self.change(PeerRequest::Dismiss { node: id }).await
    }

    /// Changes may be asked for twice: the second finds nothing to do.
    async fn change(&self, request: PeerRequest) -> Result<()> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            let leader = self.leader();
            if leader == Some(self.identity.node) {
                let done = match request.clone() {
                    PeerRequest::Admit { node, member, voter } => {
                        self.admit_here(node, member, voter).await
                    }
                    PeerRequest::Dismiss { node } => self.dismiss_here(node).await,
                    _ => Err(Error::none(ErrorKind::Internal)),
                };
                // One that lets itself go ends as no leader; the next one finishes the change.
                if done.is_ok() || self.leads_still() || left(deadline).is_zero() {
                    return done;
                }
                self.pause_for_leader(deadline).await?;
                continue;
            }
            let asked = self.ask_leader(leader, request.clone(), deadline, false).await?;
            if let Some(PeerReply::Changed(answer)) = asked {
                return answer.map_err(Error::from);
            }
            self.pause_for_leader(deadline).await?;
        }
    }

    fn leads_still(&self) -> bool {
        self.leader() == Some(self.identity.node)
    }

    pub(super) async fn admit_here(&self, id: u64, member: Member, voter: bool) -> Result<()> {
        let before = self.members_and_voters();
        let known = before.iter().find(|(known, ..)| *known == id);
        if known.is_some_and(|(_, is, votes)| *is == member && *votes >= voter) {
            return Ok(());
        }
        if let Some((_, is, votes)) = known
            && *is != member
        {
            let nodes = BTreeMap::from([(id, member.clone())]);
            self.change_members(ChangeMembers::SetNodes(nodes), true).await?;
            if *votes >= voter {
                return Ok(());
            }
        }
        // From here on others may commit; being told so late would be fatal, too early is not.
        self.alone.store(false, Ordering::SeqCst);
        self.raft.runtime_config().tick(true);
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            match self.raft.add_learner(id, member.clone(), voter).await {
                Ok(_) => break,
                Err(error) => self.pause_for_change(error, deadline).await?,
            }
        }
        let replaced = |(old, is, _): &&(u64, Member, bool)| {
            *old != id && !is.name.is_empty() && is.name == member.name
        };
        let replaced: BTreeSet<u64> =
            before.iter().filter(replaced).map(|(old, ..)| *old).collect();
        let mut changes = Vec::new();
        if voter {
            changes.push(ChangeMembers::AddVoterIds(BTreeSet::from([id])));
        }
        if !replaced.is_empty() {
            tracing::info!(name = %member.name, new = id, old = ?replaced, "a member is replaced");
            changes.push(ChangeMembers::RemoveVoters(replaced.clone()));
        }
        if !changes.is_empty() {
            self.change_members(ChangeMembers::Batch(changes), false).await?;
        }
        self.forget_learners(&replaced).await
    }

    pub(super) async fn dismiss_here(&self, id: u64) -> Result<()> {
        let gone = BTreeSet::from([id]);
        let voters: BTreeSet<u64> = self.raft.voter_ids().collect();
        if voters.contains(&id) {
            self.change_members(ChangeMembers::RemoveVoters(gone.clone()), false).await?;
        }
        self.forget_learners(&gone).await?;
        let me = self.identity.node;
        // Asked of the core itself: its metrics may lag behind.
        let left = self.raft.with_raft_state(|state| {
            let members = state.membership_state.effective();
            members.nodes().map(|(id, _)| *id).collect::<Vec<u64>>()
        });
        if left.await.is_ok_and(|left| left == [me]) {
            self.raft.runtime_config().tick(false);
            self.alone.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Takes a voter's vote; it follows on. Only the leader can.
    pub async fn retire(&self, id: u64) -> Result<()> {
        let ids = BTreeSet::from([id]);
        self.change_members(ChangeMembers::RemoveVoters(ids), true).await
    }

    /// Takes those out that are members still, without a vote.
    async fn forget_learners(&self, ids: &BTreeSet<u64>) -> Result<()> {
        let members = self.members_and_voters();
        let left = members.iter().filter(|(id, _, votes)| ids.contains(id) && !votes);
        let left: BTreeSet<u64> = left.map(|(id, ..)| *id).collect();
        if left.is_empty() {
            return Ok(());
        }
        self.change_members(ChangeMembers::RemoveNodes(left), false).await
    }

    async fn change_members(&self, change: ChangeMembers<u64, Member>, retain: bool) -> Result<()> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        loop {
            match self.raft.change_membership(change.clone(), retain).await {
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

//! The consensus crate's types filled in, its configuration, and our own forms of what it sends
//! and stores. Its structs are never serialized: only the ones here are.

use crate::command::{Proposal, Reply};
use openraft::{Config, EntryPayload, Membership, SnapshotPolicy, StoredMembership};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

openraft::declare_raft_types!(
    pub Types:
        D = Proposal,
        R = Reply,
        Node = Member,
);

pub type Leader = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub type LogId = openraft::LogId<Leader>;
pub type Vote = openraft::Vote<Leader>;
pub type Payload = EntryPayload<Proposal, u64, Member>;
pub type LogEntry = openraft::Entry<Leader, Payload>;
pub type Members = Membership<u64, Member>;
pub type StoredMembers = StoredMembership<Leader, u64, Member>;
pub type Raft = openraft::Raft<Types, crate::machine::Machine>;

/// A member as the cluster knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// For people.
    pub name: String,
    /// `host:port` of its store's door; empty while it has no door.
    pub address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdForm {
    pub term: u64,
    pub node: u64,
    pub index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteForm {
    pub term: u64,
    pub node: u64,
    pub committed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryForm {
    pub id: LogIdForm,
    pub payload: PayloadForm,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PayloadForm {
    Blank,
    Command(Proposal),
    Members(MembersForm),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MembersForm {
    pub configs: Vec<BTreeSet<u64>>,
    pub nodes: BTreeMap<u64, Member>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredMembersForm {
    pub at: Option<LogIdForm>,
    pub members: MembersForm,
}

impl From<&LogId> for LogIdForm {
    fn from(id: &LogId) -> LogIdForm {
        LogIdForm { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdForm> for LogId {
    fn from(form: LogIdForm) -> LogId {
        LogId { leader_id: Leader { term: form.term, node_id: form.node }, index: form.index }
    }
}

impl From<&Vote> for VoteForm {
    fn from(vote: &Vote) -> VoteForm {
        let Leader { term, node_id } = vote.leader_id;
        VoteForm { term, node: node_id, committed: vote.committed }
    }
}

impl From<VoteForm> for Vote {
    fn from(form: VoteForm) -> Vote {
        let leader_id = Leader { term: form.term, node_id: form.node };
        Vote { leader_id, committed: form.committed }
    }
}

impl From<&Members> for MembersForm {
    fn from(members: &Members) -> MembersForm {
        MembersForm {
            configs: members.get_joint_config().clone(),
            nodes: members.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }
}

impl TryFrom<MembersForm> for Members {
    type Error = String;

    fn try_from(form: MembersForm) -> Result<Members, String> {
        if form.configs.is_empty() && form.nodes.is_empty() {
            return Ok(Members::default());
        }
        Membership::new(form.configs, form.nodes).map_err(|error| error.to_string())
    }
}

impl From<&StoredMembers> for StoredMembersForm {
    fn from(stored: &StoredMembers) -> StoredMembersForm {
        let at = stored.log_id().as_ref().map(LogIdForm::from);
        StoredMembersForm { at, members: stored.membership().into() }
    }
}

impl TryFrom<StoredMembersForm> for StoredMembers {
    type Error = String;

    fn try_from(form: StoredMembersForm) -> Result<StoredMembers, String> {
        Ok(StoredMembership::new(form.at.map(LogId::from), form.members.try_into()?))
    }
}

impl From<&LogEntry> for EntryForm {
    fn from(entry: &LogEntry) -> EntryForm {
        let payload = match &entry.payload {
            EntryPayload::Blank => PayloadForm::Blank,
            EntryPayload::Normal(proposal) => PayloadForm::Command(proposal.clone()),
            EntryPayload::Membership(members) => PayloadForm::Members(members.into()),
        };
        EntryForm { id: (&entry.log_id).into(), payload }
    }
}

impl TryFrom<EntryForm> for LogEntry {
    type Error = String;

    fn try_from(form: EntryForm) -> Result<LogEntry, String> {
        let payload = match form.payload {
            PayloadForm::Blank => EntryPayload::Blank,
            PayloadForm::Command(proposal) => EntryPayload::Normal(proposal),
            PayloadForm::Members(members) => EntryPayload::Membership(members.try_into()?),
        };
        Ok(LogEntry { log_id: form.id.into(), payload })
    }
}

/// About what an entry costs in memory and on disk, in bytes.
pub fn weight(entry: &LogEntry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.weight() + 64,
        EntryPayload::Blank | EntryPayload::Membership(_) => 128,
    }
}

/// Times of the election among several members; a lone member never ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_ms: (u64, u64),
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { heartbeat_ms: 150, election_ms: (900, 1800) }
    }
}

/// A snapshot each `snapshot_every` entries; as many entries again stay for members behind.
pub fn config(cluster: &str, timing: Timing, snapshot_every: u64) -> Result<Arc<Config>, String> {
    let config = Config {
        cluster_name: cluster.to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_ms.0,
        election_timeout_max: timing.election_ms.1,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        max_in_snapshot_log_to_keep: snapshot_every / 5,
        replication_lag_threshold: snapshot_every + snapshot_every / 5,
        install_snapshot_timeout: 30_000,
        max_payload_entries: 512,
        enable_tick: false,
        enable_pre_vote: Some(true),
        // A restarted leader proves itself by an election: its unacknowledged tail is then
        // committed through an entry of its own term.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| error.to_string())
}

//! What members say to each other, in our own forms, and the seam they say it through.
//!
//! These are wire types: only append variants, never reorder.

use crate::codec;
use crate::command::{Proposal, Reply};
use crate::raft::{EntryForm, LogIdForm, Member, VoteForm};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// Carries a request to another member and its answer back.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// `lane` keeps heartbeats and snapshots from waiting behind the rest.
    async fn call(
        &self,
        to: u64,
        member: &Member,
        lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> Result<PeerReply, CallError>;

    /// Since when there has been no way to a member, if so.
    fn silence(&self, of: u64) -> Option<Silence>;
}

/// The moment at which a member could not be reached any more.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    pub since: Instant,
    pub time: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    Log,
    Heartbeat,
    Snapshot,
    Forward,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Certainly not delivered.
    NotSent(String),
    /// Perhaps delivered.
    Lost(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NotSent(why) | CallError::Lost(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerRequest {
    Append {
        vote: VoteForm,
        prev: Option<LogIdForm>,
        entries: Vec<EntryForm>,
        commit: Option<LogIdForm>,
    },
    Vote {
        vote: VoteForm,
        last: Option<LogIdForm>,
        transfer: bool,
        pre: bool,
    },
    Snapshot {
        vote: VoteForm,
        #[serde(with = "codec::blob")]
        image: Bytes,
    },
    TransferLeader {
        from: VoteForm,
        to: u64,
        last: Option<LogIdForm>,
    },
    /// To the leader: put this into the log.
    Propose {
        command: Proposal,
        timeout_ms: u64,
    },
    /// To the leader: up to where must a member have applied to read linearizably?
    ReadIndex {
        timeout_ms: u64,
    },
    /// To the leader: this session is alive.
    Touch {
        session: u64,
        timeout_ms: u64,
    },
    /// To the leader: take this running, empty member in, or note its new address.
    Admit {
        node: u64,
        member: Member,
        voter: bool,
    },
    /// To the leader: let this member go.
    Dismiss {
        node: u64,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerReply {
    Append(AppendReply),
    Vote {
        vote: VoteForm,
        granted: bool,
        last: Option<LogIdForm>,
    },
    Snapshot {
        vote: VoteForm,
    },
    Transferred(bool),
    Proposed(Result<Reply, Refusal>),
    ReadIndex(Result<u64, Refusal>),
    Touched(Result<(), Refusal>),
    /// The request could not be served at all.
    Failed(String),
    /// What became of a change of the members.
    Changed(Result<(), Refusal>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum AppendReply {
    Success,
    Partial(Option<LogIdForm>),
    Conflict,
    HigherVote(VoteForm),
}

/// The errors of [`coord_api::ErrorKind`] that a leader can give a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub unknown: bool,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalKind {
    Unavailable,
    Timeout,
    Overloaded,
    StorageFull,
    SessionLost,
    Closed,
    Internal,
    /// Asked the wrong member; ask again.
    NotLeader,
    UnknownSpace,
    FutureRevision,
    /// Not on this connection.
    PermissionDenied,
}

impl From<&coord_api::Error> for Refusal {
    fn from(error: &coord_api::Error) -> Refusal {
        use coord_api::ErrorKind;
        let kind = match error.kind {
            ErrorKind::Unavailable => RefusalKind::Unavailable,
            ErrorKind::Timeout => RefusalKind::Timeout,
            ErrorKind::Overloaded => RefusalKind::Overloaded,
            ErrorKind::StorageFull => RefusalKind::StorageFull,
            ErrorKind::SessionLost => RefusalKind::SessionLost,
            ErrorKind::Closed => RefusalKind::Closed,
            ErrorKind::UnknownSpace => RefusalKind::UnknownSpace,
            ErrorKind::FutureRevision => RefusalKind::FutureRevision,
            ErrorKind::PermissionDenied => RefusalKind::PermissionDenied,
            _ => RefusalKind::Internal,
        };
        let detail = error.detail.as_deref().unwrap_or_default().to_owned();
        Refusal { kind, unknown: error.is_unknown(), detail }
    }
}

impl From<Refusal> for coord_api::Error {
    fn from(refusal: Refusal) -> coord_api::Error {
        use coord_api::{Error, ErrorKind};
        let kind = match refusal.kind {
            RefusalKind::Unavailable | RefusalKind::Closed | RefusalKind::NotLeader => {
                ErrorKind::Unavailable
            }
            RefusalKind::Timeout => ErrorKind::Timeout,
            RefusalKind::Overloaded => ErrorKind::Overloaded,
            RefusalKind::StorageFull => ErrorKind::StorageFull,
            RefusalKind::SessionLost => ErrorKind::SessionLost,
            RefusalKind::Internal => ErrorKind::Internal,
            RefusalKind::UnknownSpace => ErrorKind::UnknownSpace,
            RefusalKind::FutureRevision => ErrorKind::FutureRevision,
            RefusalKind::PermissionDenied => ErrorKind::PermissionDenied,
        };
        let error = if refusal.unknown { Error::unknown(kind) } else { Error::none(kind) };
        if refusal.detail.is_empty() { error } else { error.because(refusal.detail) }
    }
}

//! The consensus crate's network over our [`Transport`]: its messages into our forms and back.

use crate::machine::{Snapshot, SnapshotMeta};
use crate::raft::{EntryForm, LogEntry, LogId, LogIdForm, Member, Raft, Types, Vote};
use crate::wire::{AppendReply, CallError, Lane, PeerReply, PeerRequest, Transport};
use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// For entries to be taken and written by another member, beyond a second for each megabyte.
const CARRYING: Duration = Duration::from_secs(2);

type RpcResult<T> = Result<T, RPCError<Types>>;

pub struct Network(pub Arc<dyn Transport>);

/// The way to one member on one lane.
pub struct Peer {
    transport: Arc<dyn Transport>,
    id: u64,
    member: Member,
    lane: Lane,
}

impl Network {
    fn peer(&self, id: u64, member: &Member, lane: Lane) -> Peer {
        Peer { transport: self.0.clone(), id, member: member.clone(), lane }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Lane::Snapshot)
    }
}

impl Peer {
    async fn call(&self, request: PeerRequest, timeout: Duration) -> RpcResult<PeerReply> {
        let call = self.transport.call(self.id, &self.member, self.lane, request, timeout);
        match call.await {
            Ok(PeerReply::Failed(why)) => Err(NetworkError::from_string(why).into()),
            Ok(reply) => Ok(reply),
            Err(CallError::NotSent(why)) => Err(Unreachable::from_string(why).into()),
            Err(CallError::Lost(why)) => Err(NetworkError::from_string(why).into()),
        }
    }
}

fn unexpected<T>(reply: &PeerReply) -> RpcResult<T> {
    Err(NetworkError::from_string(format!("an answer to another question: {reply:?}")).into())
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<Types>> {
        let request = PeerRequest::Append {
            vote: (&rpc.vote).into(),
            prev: rpc.prev_log_id.as_ref().map(LogIdForm::from),
            entries: rpc.entries.iter().map(EntryForm::from).collect(),
            commit: rpc.leader_commit.as_ref().map(LogIdForm::from),
        };
        let bytes: usize = rpc.entries.iter().map(crate::raft::weight).sum();
        // The option's time is a heartbeat's; entries take as long as they take, else a large
        // one could never be replicated over a slow line.
        let carrying = if bytes == 0 { Duration::ZERO } else { CARRYING };
        let limit = option.soft_ttl() + carrying + Duration::from_micros(bytes as u64);
        match self.call(request, limit).await? {
            PeerReply::Append(reply) => Ok(match reply {
                AppendReply::Success => AppendEntriesResponse::Success,
                AppendReply::Partial(upto) => {
                    AppendEntriesResponse::PartialSuccess(upto.map(LogId::from))
                }
                AppendReply::Conflict => AppendEntriesResponse::Conflict,
                AppendReply::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
            }),
            other => unexpected(&other),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<Types>> {
        self.ask_vote(rpc, false, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<Types>> {
        self.ask_vote(rpc, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let request = PeerRequest::Snapshot { vote: (&vote).into(), image: snapshot.snapshot };
        let reply = tokio::select! {
            closed = cancel => return Err(closed.into()),
            reply = self.call(request, option.hard_ttl()) => reply?,
        };
        match reply {
            PeerReply::Snapshot { vote } => Ok(SnapshotResponse::new(vote.into())),
            other => Ok(unexpected(&other)?),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<Types>> {
        let request = PeerRequest::TransferLeader {
            from: req.from_leader().into(),
            to: *req.to_node_id(),
            last: req.last_log_id().map(LogIdForm::from),
        };
        match self.call(request, option.soft_ttl()).await? {
            // A refusal is retried by the leader's own timing, as a silence is.
            PeerReply::Transferred(true) => Ok(Ok(())),
            PeerReply::Transferred(false) => {
                Err(NetworkError::from_string("leadership was not taken over").into())
            }
            other => unexpected(&other),
        }
    }
}

impl Peer {
    async fn ask_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        pre: bool,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<Types>> {
        let request = PeerRequest::Vote {
            vote: (&rpc.vote).into(),
            last: rpc.last_log_id.as_ref().map(LogIdForm::from),
            transfer: rpc.leadership_transfer,
            pre,
        };
        match self.call(request, option.soft_ttl()).await? {
            PeerReply::Vote { vote, granted, last } => {
                Ok(VoteResponse::new(Vote::from(vote), last.map(LogId::from), granted))
            }
            other => unexpected(&other),
        }
    }
}

/// Serves a member's consensus message; forwarded client work is the node's.
pub async fn serve(raft: &Raft, request: PeerRequest) -> PeerReply {
    match serve_consensus(raft, request).await {
        Ok(reply) => reply,
        Err(why) => PeerReply::Failed(why),
    }
}

async fn serve_consensus(raft: &Raft, request: PeerRequest) -> Result<PeerReply, String> {
    match request {
        PeerRequest::Append { vote, prev, entries, commit } => {
            let entries: Result<Vec<LogEntry>, String> =
                entries.into_iter().map(LogEntry::try_from).collect();
            let rpc = AppendEntriesRequest {
                vote: vote.into(),
                prev_log_id: prev.map(LogId::from),
                entries: entries?,
                leader_commit: commit.map(LogId::from),
            };
            let reply = raft.append_entries(rpc).await.map_err(text)?;
            Ok(PeerReply::Append(match reply {
                AppendEntriesResponse::Success => AppendReply::Success,
                AppendEntriesResponse::PartialSuccess(upto) => {
                    AppendReply::Partial(upto.as_ref().map(LogIdForm::from))
                }
                AppendEntriesResponse::Conflict => AppendReply::Conflict,
                AppendEntriesResponse::HigherVote(vote) => AppendReply::HigherVote((&vote).into()),
            }))
        }
        PeerRequest::Vote { vote, last, transfer, pre } => {
            let mut rpc = VoteRequest::new(vote.into(), last.map(LogId::from));
            rpc.leadership_transfer = transfer;
            let asked = if pre { raft.pre_vote(rpc).await } else { raft.vote(rpc).await };
            let reply = asked.map_err(text)?;
            Ok(PeerReply::Vote {
                vote: (&reply.vote).into(),
                granted: reply.vote_granted,
                last: reply.last_log_id.as_ref().map(LogIdForm::from),
            })
        }
        PeerRequest::Snapshot { vote, image } => {
            let meta: SnapshotMeta = crate::machine::meta_of(&image).map_err(text)?;
            let snapshot = Snapshot { meta, snapshot: image };
            let reply = raft.install_full_snapshot(vote.into(), snapshot).await.map_err(text)?;
            Ok(PeerReply::Snapshot { vote: (&reply.vote).into() })
        }
        PeerRequest::TransferLeader { from, to, last } => {
            let request = TransferLeaderRequest::new(from.into(), to, last.map(LogId::from));
            let taken = raft.handle_transfer_leader(request).await.map_err(text)?;
            Ok(PeerReply::Transferred(taken.is_ok()))
        }
        PeerRequest::Propose { .. }
        | PeerRequest::ReadIndex { .. }
        | PeerRequest::Touch { .. }
        | PeerRequest::Admit { .. }
        | PeerRequest::Dismiss { .. } => Err("not a message of consensus".into()),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

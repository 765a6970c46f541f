//! What a member does for handles and for other members: proposing, reading, heartbeats.
//!
//! What only the leader can do goes to the leader; a caller cannot tell which member it is on.
//! Nothing is proposed twice unless the first try certainly had no effect (X3).

use super::Node;
use crate::command::{Command, Proposal, Reply};
use crate::network;
use crate::wire::{CallError, Lane, PeerReply, PeerRequest, Refusal, RefusalKind};
use coord_api::{Error, ErrorKind, Result};
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long to look for a leader again after one was refused or not there.
pub(super) const LEADER_RETRY: Duration = Duration::from_millis(50);

/// Beyond this many bytes of commands under way new ones are refused (X8).
const WAITING_BYTES_MAX: usize = 64 << 20;

impl Node {
    /// Puts a command into the log, here or through the leader, and waits until it is applied
    /// where it was put in.
    ///
    /// # Errors
    /// Effect None until the command was handed to a leader's log, Unknown after.
    pub async fn propose(&self, command: Command, deadline: Instant) -> Result<Reply> {
        let proposal = Proposal(Arc::new(command));
        loop {
            match self.propose_here(proposal.clone(), deadline).await? {
                Ok(reply) => return Ok(reply),
                Err(leader) => {
                    let ask = PeerRequest::Propose {
                        command: proposal.clone(),
                        timeout_ms: left(deadline).as_millis() as u64,
                    };
                    let asked = self.ask_leader(leader, ask, deadline, true).await?;
                    if let Some(PeerReply::Proposed(answer)) = asked {
                        match answer {
                            Err(refusal)
                                if refusal.kind == RefusalKind::NotLeader && !refusal.unknown => {}
                            answer => return answer.map_err(Error::from),
                        }
                    }
                }
            }
            self.pause_for_leader(deadline).await?;
        }
    }

    /// `Err` inside: certainly not proposed, and who leads instead.
    async fn propose_here(
        &self,
        proposal: Proposal,
        deadline: Instant,
    ) -> Result<std::result::Result<Reply, Option<u64>>> {
        if self.stopping.is_cancelled() {
            return Err(Error::none(ErrorKind::Closed));
        }
        if self.disk.is_full() {
            return Err(Error::none(ErrorKind::StorageFull));
        }
        let _waiting = self.admit(proposal.0.weight())?;
        let mut full = self.disk.full();
        let written = tokio::select! {
            written = self.raft.client_write(proposal.clone()) => written,
            _ = full.wait_for(|full| *full) => {
                return Err(Error::unknown(ErrorKind::StorageFull));
            }
            () = tokio::time::sleep_until(deadline.into()) => {
                return Err(Error::unknown(ErrorKind::Timeout));
            }
        };
        match written {
            Ok(response) => {
                self.confirm_beaten(&proposal, &response.data);
                Ok(Ok(response.data))
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Ok(Err(to.leader_id))
            }
            Err(RaftError::APIError(error)) => {
                Err(Error::unknown(ErrorKind::Unavailable).because(error))
            }
            Err(RaftError::Fatal(fatal)) => Err(self.broken(&fatal)),
        }
    }

    /// The deadlines that count are the leader's, whichever member the heartbeat came through.
    fn confirm_beaten(&self, proposal: &Proposal, reply: &Reply) {
        let (Command::Heartbeat { ids }, Reply::Beaten { gone }) = (&*proposal.0, reply) else {
            return;
        };
        let state = self.shared.state.read();
        for id in ids.iter().filter(|id| !gone.contains(id)) {
            if let Some(session) = state.session(*id) {
                let ttl = Duration::from_millis(session.ttl_ms);
                self.deadlines.confirm(*id, ttl, Instant::now());
            }
        }
    }

    fn admit(&self, bytes: usize) -> Result<Waiting<'_>> {
        let before = self.waiting.fetch_add(bytes, Ordering::SeqCst);
        let waiting = Waiting(&self.waiting, bytes);
        if before > WAITING_BYTES_MAX {
            return Err(Error::none(ErrorKind::Overloaded));
        }
        Ok(waiting)
    }

    /// Up to where a reader must have applied to see all that completed before the call.
    pub async fn read_index(&self, deadline: Instant) -> Result<u64> {
        if self.is_alone() {
            return self.shared_applied();
        }
        loop {
            match self.read_index_here(deadline).await? {
                Ok(index) => return Ok(index),
                Err(leader) => {
                    let timeout_ms = left(deadline).as_millis() as u64;
                    let ask = PeerRequest::ReadIndex { timeout_ms };
                    let asked = self.ask_leader(leader, ask, deadline, false).await?;
                    if let Some(PeerReply::ReadIndex(Ok(index))) = asked {
                        return Ok(index);
                    }
                }
            }
            self.pause_for_leader(deadline).await?;
        }
    }

    fn shared_applied(&self) -> Result<u64> {
        if self.stopping.is_cancelled() {
            return Err(Error::none(ErrorKind::Closed));
        }
        Ok(self.shared.state.read().applied)
    }

    async fn read_index_here(
        &self,
        deadline: Instant,
    ) -> Result<std::result::Result<u64, Option<u64>>> {
        let read = self.raft.get_read_log_id(ReadPolicy::ReadIndex);
        let read = tokio::time::timeout_at(deadline.into(), read).await;
        let Ok(read) = read else {
            self.feel_alone();
            return Err(Error::none(ErrorKind::Timeout));
        };
        if let Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) = &read {
            self.feel_alone();
        }
        match read {
            Ok((read, _)) => {
                self.feel_well();
                Ok(Ok(read.index()))
            }
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Ok(Err(to.leader_id))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Ok(Err(None)),
            Err(RaftError::Fatal(fatal)) => {
                Err(Error { effect: coord_api::Effect::None, ..self.broken(&fatal) })
            }
        }
    }

    /// Waits until this member has applied a revision.
    ///
    /// # Errors
    /// `Timeout`, effect None.
    pub async fn wait_applied(&self, revision: u64, deadline: Instant) -> Result<()> {
        let mut applied = self.shared.applied();
        let reached = applied.wait_for(|applied| *applied >= revision);
        match tokio::time::timeout_at(deadline.into(), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::none(ErrorKind::Closed)),
            Err(_) => Err(Error::none(ErrorKind::Timeout)),
        }
    }

    /// A heartbeat that is not logged: the leader proves that it leads, then moves the deadline.
    pub async fn touch(&self, session: u64, deadline: Instant) -> Result<()> {
        loop {
            let index = if self.is_alone() {
                Ok(self.shared_applied()?)
            } else {
                self.read_index_here(deadline).await?
            };
            match index {
                Ok(index) => return self.touch_here(session, index, deadline).await,
                Err(leader) => {
                    let timeout_ms = left(deadline).as_millis() as u64;
                    let ask = PeerRequest::Touch { session, timeout_ms };
                    let asked = self.ask_leader(leader, ask, deadline, false).await?;
                    if let Some(PeerReply::Touched(answer)) = asked {
                        match answer {
                            Err(refusal) if refusal.kind == RefusalKind::NotLeader => {}
                            answer => return answer.map_err(Error::from),
                        }
                    }
                }
            }
            self.pause_for_leader(deadline).await?;
        }
    }

    async fn touch_here(&self, session: u64, index: u64, deadline: Instant) -> Result<()> {
        self.wait_applied(index, deadline).await?;
        let ttl = self.shared.state.read().session(session).map(|s| s.ttl_ms);
        let ttl = ttl.map(Duration::from_millis).ok_or(ErrorKind::SessionLost)?;
        if self.deadlines.touch(session, ttl, Instant::now()) {
            return Ok(());
        }
        self.beat(session, deadline).await
    }

    /// A heartbeat in the log: once it is applied the session certainly lived (S17).
    pub async fn beat(&self, session: u64, deadline: Instant) -> Result<()> {
        let ids = vec![session];
        match self.propose(Command::Heartbeat { ids }, deadline).await? {
            Reply::Beaten { gone } if gone.is_empty() => Ok(()),
            Reply::Beaten { .. } => Err(Error::none(ErrorKind::SessionLost)),
            _ => Err(Error::none(ErrorKind::Internal)),
        }
    }

    /// Asks the leader; `None` if it is unknown or there was no answer and asking again is safe.
    pub(super) async fn ask_leader(
        &self,
        leader: Option<u64>,
        request: PeerRequest,
        deadline: Instant,
        writes: bool,
    ) -> Result<Option<PeerReply>> {
        let Some(leader) = leader.filter(|leader| *leader != self.identity.node) else {
            return Ok(None);
        };
        let Some(member) = self.member(leader) else { return Ok(None) };
        let call = self.transport.call(leader, &member, Lane::Forward, request, left(deadline));
        match call.await {
            Ok(PeerReply::Failed(why)) | Err(CallError::Lost(why)) if writes => {
                Err(Error::unknown(ErrorKind::Unavailable).because(why))
            }
            Ok(PeerReply::Failed(_)) | Err(_) => Ok(None),
            Ok(reply) => Ok(Some(reply)),
        }
    }

    pub(super) async fn pause_for_leader(&self, deadline: Instant) -> Result<()> {
        if left(deadline).is_zero() {
            // Whoever it believes to lead has not answered all the time.
            self.feel_alone();
            return Err(Error::none(ErrorKind::Unavailable).because("no leader"));
        }
        let pause = LEADER_RETRY.min(left(deadline));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Serves another member.
    pub async fn serve(&self, request: PeerRequest) -> PeerReply {
        let until = |ms: u64| Instant::now() + Duration::from_millis(ms.min(60_000));
        match request {
            PeerRequest::Propose { command, timeout_ms } => {
                let done = self.propose_here(command, until(timeout_ms)).await;
                PeerReply::Proposed(led(done))
            }
            PeerRequest::ReadIndex { timeout_ms } => {
                PeerReply::ReadIndex(led(self.read_index_here(until(timeout_ms)).await))
            }
            PeerRequest::Touch { session, timeout_ms } => {
                let deadline = until(timeout_ms);
                PeerReply::Touched(match led(self.read_index_here(deadline).await) {
                    Ok(index) => {
                        let touched = self.touch_here(session, index, deadline).await;
                        touched.map_err(|error| (&error).into())
                    }
                    Err(refusal) => Err(refusal),
                })
            }
            PeerRequest::Admit { node, member, voter } => {
                let admitted = self.admit_here(node, member, voter).await;
                PeerReply::Changed(admitted.map_err(|error| (&error).into()))
            }
            PeerRequest::Dismiss { node } => {
                let dismissed = self.dismiss_here(node).await;
                PeerReply::Changed(dismissed.map_err(|error| (&error).into()))
            }
            consensus => network::serve(&self.raft, consensus).await,
        }
    }
}

/// A command's share of what may wait; given back when dropped.
struct Waiting<'a>(&'a AtomicUsize, usize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::SeqCst);
    }
}

fn led<T>(done: Result<std::result::Result<T, Option<u64>>>) -> std::result::Result<T, Refusal> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => {
            Err(Refusal { kind: RefusalKind::NotLeader, unknown: false, detail: String::new() })
        }
        Err(error) => Err((&error).into()),
    }
}

pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

//! The watch of one space: a snapshot at a revision, then everything after it, for all streams of
//! the handle.
//!
//! One etcd watch per space and handle, from the revision after the snapshot's. Etcd 3.4 can
//! neither tell reliably how far a watch has come (progress notifications before 3.4.25) nor name
//! a reason when history is compacted; so progress is proven by a read that finds nothing newer
//! than the copy, and everything that ends the watch means a new snapshot.

use crate::core::{ANSWER_MAX, Core, raw, revision};
use crate::fault::Fault;
use crate::pool::{Kind, Line};
use coord_api::{
    Change, Entry, Error, ErrorKind, Hub, Key, LostReason, Prefix, ReadOpts, Result, Revision,
    Space, Ticket,
};
use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{GetOptions, TxnOp, WatchOptions, WatchStream};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Between two attempts to begin the watch.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Between two proofs while events are under way.
const PROOF_PAUSE: Duration = Duration::from_millis(20);

/// Runs the watch of `space` until no stream is left or the hub is closed.
pub(crate) async fn follow(core: Arc<Core>, space: Space, hub: Hub) {
    let mut pause = PAUSE.0;
    loop {
        if hub.is_closed() || hub.retire(ErrorKind::Closed.into()) {
            return;
        }
        match (Follower { core: &core, space: &space, hub: &hub, junk: HashSet::new() }).run().await
        {
            Ok(End::Idle) => continue,
            Ok(End::Lost(reason)) => {
                pause = PAUSE.0;
                hub.lost(reason);
            }
            Err(error) if is_final(&error) => {
                if error.kind == ErrorKind::ClusterReplaced {
                    hub.lost(LostReason::ClusterReplaced);
                }
                hub.close(error);
                return;
            }
            Err(error) => {
                tracing::debug!(%space, %error, "watch of etcd not begun");
                tokio::select! {
                    () = sleep(pause) => {}
                    () = hub.changed() => {}
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

fn is_final(error: &Error) -> bool {
    use ErrorKind::*;
    matches!(
        error.kind,
        ClusterReplaced | PermissionDenied | Unauthenticated | UnknownSpace | Closed | Corrupt
    )
}

enum End {
    Idle,
    Lost(LostReason),
}

struct Follower<'a> {
    core: &'a Arc<Core>,
    space: &'a Space,
    hub: &'a Hub,
    /// Keys in our range that this layer did not write; they count on the server.
    junk: HashSet<Vec<u8>>,
}

/// A read that asks whether anything is newer than the copy.
struct Proof {
    ticket: Option<Ticket>,
    /// Revision of the copy when it was begun.
    base: Revision,
    begun: Instant,
}

/// What it found: the store's revision, the number of keys, whether any is newer.
type Found = (Revision, usize, bool);

impl Follower<'_> {
    async fn run(&mut self) -> Result<End> {
        let line = self.core.pool.line().await.map_err(Fault::of_read)?;
        let (entries, start) = self.snapshot().await?;
        let mut stream = self.open(&line, start).await?;
        self.core.saw(start);
        self.hub.reset(entries, start);
        let mut watch = Events::new(start);
        let mut proofs = Proofs::new(self.core.pool.detect());
        loop {
            let wants = self.hub.wants();
            if wants.idle && self.hub.retire(ErrorKind::Closed.into()) || self.hub.is_closed() {
                return Ok(End::Idle);
            }
            proofs.plan(wants.proof, wants.progress, self.hub);
            let message = tokio::select! {
                message = stream.message() => message,
                () = line.broken() => return Ok(End::Lost(LostReason::Disconnected)),
                () = self.hub.changed() => continue,
                found = proofs.next(self.core, self.space) => {
                    if self.judge(&mut proofs, found)? {
                        continue;
                    }
                    return Ok(End::Lost(LostReason::Disconnected));
                }
            };
            match message {
                Ok(Some(message)) => {
                    if let Some(end) = self.take(&mut watch, message.0)? {
                        return Ok(end);
                    }
                }
                Ok(None) => return Ok(End::Lost(LostReason::Disconnected)),
                Err(error) => {
                    tracing::debug!(space = %self.space, %error, "watch of etcd ended");
                    return Ok(End::Lost(LostReason::Disconnected));
                }
            }
        }
    }

    async fn snapshot(&mut self) -> Result<(BTreeMap<Key, Entry>, Revision)> {
        let all = Prefix::all(self.space);
        let (snapshot, _) =
            self.core.list_page(&all, None, usize::MAX, ReadOpts::linearizable()).await?;
        let entries = snapshot.entries.into_iter().map(|e| (e.key.clone(), e)).collect();
        self.junk.clear();
        Ok((entries, snapshot.revision))
    }

    /// A watch on everything after `start`, acknowledged by the server.
    async fn open(&self, line: &Line, start: Revision) -> Result<WatchStream> {
        let (from, end) = self.core.layout.range(&Prefix::all(self.space));
        let options = WatchOptions::new()
            .with_range(end)
            .with_start_revision(raw(start.0) + 1)
            .with_fragment();
        let mut client = line.leading.watch_client().max_decoding_message_size(ANSWER_MAX);
        let opening = async {
            let mut stream = client.watch(from, Some(options)).await.map_err(Fault::from)?;
            let first = stream.message().await.map_err(Fault::from)?;
            Ok::<_, Fault>((stream, first))
        };
        let until = Instant::now() + self.core.pool.detect();
        let opened = tokio::select! {
            opened = timeout_at(until, opening) => opened.unwrap_or_else(|_| Err(Fault::timeout())),
            () = line.broken() => Err(Fault::silence()),
        };
        let (stream, first) = opened.map_err(Fault::of_read)?;
        match first.map(|first| first.0) {
            Some(first) if first.created && !first.canceled => Ok(stream),
            Some(first) if first.cancel_reason.contains("permission denied") => {
                Err(Error::none(ErrorKind::PermissionDenied).because(first.cancel_reason))
            }
            _ => Err(Fault::silence().of_read()),
        }
    }

    /// One message of the watch; `Some` when it is the last useful one.
    fn take(&mut self, watch: &mut Events, message: PbWatchResponse) -> Result<Option<End>> {
        if message.canceled || message.compact_revision > 0 {
            let denied = message.cancel_reason.contains("permission denied");
            if denied {
                return Err(Error::none(ErrorKind::PermissionDenied).because(message.cancel_reason));
            }
            // The compacted revision is the sole sign, the reason is empty.
            let compacted = message.compact_revision > 0;
            let reason = if compacted { LostReason::Compacted } else { LostReason::Disconnected };
            return Ok(Some(End::Lost(reason)));
        }
        for (revision, events) in watch.complete(message.events, message.fragment) {
            let changes = events.into_iter().filter_map(|event| self.change(event)).collect();
            self.core.saw(revision);
            self.hub.changes(revision, changes);
        }
        Ok(None)
    }

    fn change(&mut self, event: PbEvent) -> Option<Change> {
        // Types: 0 put, 1 delete (mvccpb, kv.proto).
        let is_delete = event.r#type == 1;
        let kv = event.kv?;
        match self.core.layout.parse(self.space, &kv.key) {
            Some(key) if is_delete => Some(Change::Delete { key }),
            Some(_) => self.core.entry(self.space, kv).map(Change::Put),
            None if is_delete => {
                self.junk.remove(&kv.key);
                None
            }
            None => {
                self.junk.insert(kv.key);
                None
            }
        }
    }

    /// Whether the watch is sound as far as the finished proof can tell.
    fn judge(&mut self, proofs: &mut Proofs, found: Result<(Proof, Found)>) -> Result<bool> {
        let (proof, (now, count, newer)) = match found {
            Ok(found) => found,
            Err(error) if is_final(&error) => return Err(error),
            Err(_) => {
                proofs.again(Instant::now() + PROOF_PAUSE * 5);
                return Ok(true);
            }
        };
        let Some((copy, known)) = self.hub.extent() else { return Ok(false) };
        let known = known + self.junk.len();
        if now <= copy {
            self.hub.proven(proof.ticket, copy);
            proofs.done();
        } else if copy == proof.base && !newer && count == known {
            self.core.saw(now);
            self.hub.proven(proof.ticket, now);
            proofs.done();
        } else if proofs.overdue(copy) {
            // The server has changes that it does not tell: do not trust this watch.
            tracing::warn!(space = %self.space, "watch of etcd lags behind; beginning anew");
            return Ok(false);
        } else {
            proofs.again(Instant::now() + PROOF_PAUSE);
        }
        Ok(true)
    }
}

/// When to prove, and the proof under way.
struct Proofs {
    running: Option<(Proof, BoxFuture<'static, Result<Found>>)>,
    due: Option<Instant>,
    last: Instant,
    patience: Duration,
    /// The copy's revision at the first of a row of unsuccessful proofs, and when that was.
    waiting: Option<(Revision, Instant)>,
    base: Revision,
    ticket: Option<Ticket>,
}

impl Proofs {
    fn new(patience: Duration) -> Proofs {
        Proofs {
            running: None,
            due: None,
            last: Instant::now(),
            patience,
            waiting: None,
            base: Revision(0),
            ticket: None,
        }
    }

    fn plan(&mut self, ticket: Option<Ticket>, progress: Option<Duration>, hub: &Hub) {
        self.base = hub.extent().map_or(Revision(0), |(revision, _)| revision);
        self.ticket = ticket;
        if ticket.is_some() && self.due.is_none() {
            self.due = Some(Instant::now());
        }
        if self.due.is_none() {
            self.due = progress.map(|every| self.last + every);
        }
    }

    /// Completes with the next finished proof; never if none is wanted.
    async fn next(&mut self, core: &Arc<Core>, space: &Space) -> Result<(Proof, Found)> {
        if self.running.is_none() {
            match self.due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
            let proof = Proof { ticket: self.ticket, base: self.base, begun: Instant::now() };
            let read = look(core.clone(), space.clone(), self.base);
            self.running = Some((proof, Box::pin(read)));
        }
        let Some((_, read)) = &mut self.running else { return std::future::pending().await };
        let found = read.await;
        let (proof, _) = self.running.take().expect("a proof is running");
        self.last = proof.begun;
        Ok((proof, found?))
    }

    fn done(&mut self) {
        self.due = None;
        self.waiting = None;
    }

    fn again(&mut self, at: Instant) {
        self.due = Some(at);
    }

    /// Nothing has come in for long although there is something.
    fn overdue(&mut self, copy: Revision) -> bool {
        match self.waiting {
            Some((since, at)) if since == copy => at.elapsed() > self.patience,
            _ => {
                self.waiting = Some((copy, Instant::now()));
                false
            }
        }
    }
}

/// Reads how many keys the space has and whether any is newer than `base`.
async fn look(core: Arc<Core>, space: Space, base: Revision) -> Result<Found> {
    let (start, end) = core.layout.range(&Prefix::all(&space));
    let options = GetOptions::new()
        .with_range(end)
        .with_keys_only()
        .with_limit(1)
        .with_min_mod_revision(raw(base.0) + 1);
    let deadline = core.deadline(None);
    let answer = core
        .pool
        .call(Kind::Read, deadline, |mut client| {
            let get = TxnOp::get(start.clone(), Some(options.clone()));
            let txn = etcd_client::Txn::new().when([core.same_cluster()]).and_then([get]);
            async move { client.txn(txn).await.map_err(Fault::from) }
        })
        .await?
        .0;
    if !answer.succeeded {
        return Err(ErrorKind::ClusterReplaced.into());
    }
    let now = answer.header.map_or(Revision(0), |header| revision(header.revision));
    let range = answer.responses.into_iter().find_map(|response| match response.response {
        Some(etcd_client::proto::PbTxnOpResponse::ResponseRange(range)) => Some(range),
        _ => None,
    });
    let range = range.unwrap_or_default();
    Ok((now, usize::try_from(range.count).unwrap_or(0), !range.kvs.is_empty()))
}

/// Puts the events of a watch together by revision.
///
/// A large answer comes in fragments, which may end within a transaction: the newest revision is
/// held back until it is complete (W3). Revisions told before are dropped.
struct Events {
    last: Revision,
    held: Vec<PbEvent>,
}

impl Events {
    fn new(start: Revision) -> Events {
        Events { last: start, held: Vec::new() }
    }

    fn complete(&mut self, events: Vec<PbEvent>, fragment: bool) -> Vec<(Revision, Vec<PbEvent>)> {
        let mut groups: Vec<(Revision, Vec<PbEvent>)> = Vec::new();
        for event in self.held.drain(..).chain(events) {
            let at = event.kv.as_ref().map_or(Revision(0), |kv| revision(kv.mod_revision));
            match groups.last_mut() {
                _ if at <= self.last => {}
                Some((revision, group)) if *revision == at => group.push(event),
                _ => groups.push((at, vec![event])),
            }
        }
        if fragment {
            self.held = groups.pop().map(|(_, group)| group).unwrap_or_default();
        }
        if let Some((revision, _)) = groups.last() {
            self.last = *revision;
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::proto::PbKeyValue;

    fn event(revision: i64) -> PbEvent {
        let kv = PbKeyValue { mod_revision: revision, ..PbKeyValue::default() };
        PbEvent { kv: Some(kv), ..PbEvent::default() }
    }

    fn check(events: &mut Events, message: &[i64], fragment: bool, expected: &[(u64, usize)]) {
        let groups = events.complete(message.iter().map(|at| event(*at)).collect(), fragment);
        let got: Vec<_> = groups.into_iter().map(|(at, group)| (at.0, group.len())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_transaction_comes_whole_and_once() {
        let mut events = Events::new(Revision(4));
        check(&mut events, &[4, 5, 5, 6], false, &[(5, 2), (6, 1)]);
        check(&mut events, &[6, 7, 8, 8], true, &[(7, 1)]);
        check(&mut events, &[8, 8], true, &[]);
        check(&mut events, &[8, 9], false, &[(8, 5), (9, 1)]);
        check(&mut events, &[], false, &[]);
    }
}

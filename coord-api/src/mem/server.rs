//! The one server of an in-memory cluster, and every client's connection to it.
//!
//! All state behind one lock; a timer thread runs only while something is due. Sessions are in
//! `sessions`, data in `store`, connections in `wires`.

use super::bug::Bug;
use super::sessions::Sessions;
use super::store::{Cut, Store};
use crate::entry::Revision;
use crate::error::{Error, ErrorKind};
use crate::feed::Feed;
use crate::session::SessionId;
use crate::txn::{Txn, TxnOutcome};
use crate::watch::LostReason;
use crate::{ClusterId, Health, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The shortest wait of the timer, so that a due time just missed does not spin.
const TICK: Duration = Duration::from_millis(1);
/// How late `Bug::ReplyBeforeCommit` applies what it has answered.
const LATE: Duration = Duration::from_millis(30);

pub(super) struct Cluster {
    pub state: Mutex<State>,
    timer: Condvar,
}

pub(super) struct State {
    pub store: Store,
    pub cluster_id: ClusterId,
    pub bug: Option<Bug>,
    pub power: Power,
    pub links: HashMap<usize, Link>,
    pub handles: HashMap<u64, HandleRec>,
    pub sessions: Sessions,
    pub watchers: BTreeMap<u64, Watcher>,
    /// Requests a paused server has in its socket and will serve when it goes on (X2).
    pub parked: Vec<Parked>,
    /// For `Bug::ReplyBeforeCommit`: answered, not yet applied.
    pub late: Vec<(Instant, Parked)>,
    /// The server's wall clock is off by this, in ms; nothing but a seeded defect looks at it.
    pub clock_step_ms: i64,
    /// Watches come back by snapshot only.
    pub never_resume: bool,
    next_id: u64,
    timer_runs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Off,
    Paused { since: Instant },
}

/// What stands between one client and the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// Connections are reset and refused.
    pub cut: bool,
    pub drop_requests: bool,
    pub drop_replies: bool,
    pub silent_since: Option<Instant>,
    pub delay: Duration,
    /// What happens to the next transactions, in order.
    pub next_txns: VecDeque<super::TxnFault>,
}

pub(super) struct HandleRec {
    pub ns: String,
    pub client: usize,
    pub detect: Duration,
    pub health: watch::Sender<Health>,
    pub up: bool,
    pub reconnects: u32,
    /// The cluster this handle was opened on is no more (G6).
    pub replaced: bool,
    pub dropped: bool,
}

pub(super) struct Watcher {
    pub feed: Feed,
    pub handle: u64,
    pub start_after: Option<Revision>,
    pub progress_every: Option<Duration>,
    pub next_progress: Instant,
    /// The stream has had its first snapshot or resumption.
    pub started: bool,
    /// Something was sent that did not arrive.
    pub missed: bool,
    pub delayed: VecDeque<(Instant, Cut)>,
}

#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub ns: String,
    pub txn: Txn,
    pub author: Option<SessionId>,
}

/// How far one exchange gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Through,
    /// The request arrives, its answer does not.
    NoReply,
    /// Swallowed on the way.
    Silent,
    /// Kept by a paused server.
    Parked,
    Refused,
}

impl Cluster {
    pub fn new(bug: Option<Bug>, never_resume: bool) -> Arc<Cluster> {
        let state = State {
            store: Store::new(bug),
            cluster_id: fresh_id(),
            bug,
            power: Power::On,
            links: HashMap::new(),
            handles: HashMap::new(),
            sessions: Sessions::default(),
            watchers: BTreeMap::new(),
            parked: Vec::new(),
            late: Vec::new(),
            clock_step_ms: 0,
            never_resume,
            next_id: 1,
            timer_runs: false,
        };
        Arc::new(Cluster { state: Mutex::new(state), timer: Condvar::new() })
    }

    /// Runs `act` on the state; whatever became due or undue by it is noticed.
    pub fn with<R>(self: &Arc<Self>, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = act(&mut state);
        if !state.is_idle() {
            if state.timer_runs {
                self.timer.notify_one();
            } else {
                state.timer_runs = true;
                let cluster = self.clone();
                std::thread::Builder::new()
                    .name("mem-coordinator".into())
                    .spawn(move || cluster.run_timer())
                    .expect("a thread can be started");
            }
        }
        result
    }

    fn run_timer(&self) {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let Some(due) = state.tick(now) else {
                state.timer_runs = false;
                return;
            };
            self.timer.wait_until(&mut state, due.max(now + TICK));
        }
    }
}

pub(super) fn fresh_id() -> ClusterId {
    ClusterId(*uuid::Uuid::new_v4().as_bytes())
}

impl State {
    pub fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Nothing will ever be due without a further call.
    fn is_idle(&self) -> bool {
        let link_silent = self.links.values().any(|link| link.silent_since.is_some());
        self.sessions.is_empty()
            && self.late.is_empty()
            && !link_silent
            && !matches!(self.power, Power::Paused { .. })
            && self.watchers.values().all(|w| w.progress_every.is_none() && w.delayed.is_empty())
    }

    /// Does everything due at `now`; returns when to look again.
    fn tick(&mut self, now: Instant) -> Option<Instant> {
        let mut due = self.apply_late(now);
        due.extend(self.refresh_all(now));
        due.extend(self.tick_sessions(now));
        let revision = self.store.revision;
        for id in self.watchers.keys().copied().collect::<Vec<_>>() {
            let watcher = self.watchers.get_mut(&id).expect("listed above");
            while watcher.delayed.front().is_some_and(|(at, _)| *at <= now) {
                let (_, cut) = watcher.delayed.pop_front().expect("looked at");
                watcher.feed.changes(cut.revision, &cut.changes);
            }
            due.extend(watcher.delayed.front().map(|(at, _)| *at));
            let Some(every) = watcher.progress_every else { continue };
            if watcher.next_progress <= now {
                watcher.next_progress = now + every;
                let (handle, quiet) = (watcher.handle, watcher.delayed.is_empty());
                if quiet && self.reaches(handle) {
                    self.watchers[&id].feed.progress(revision);
                }
            }
            due.push(self.watchers[&id].next_progress);
        }
        if self.is_idle() { None } else { due.into_iter().min().or(Some(now + LATE)) }
    }

    // ---- transactions ----------------------------------------------------------------------

    /// One transaction on the server: the session's life, the compares, the writes, the watchers.
    pub fn commit(&mut self, request: &Parked) -> Result<TxnOutcome> {
        if let Some(author) = request.author
            && !self.sessions.lives(author)
        {
            return Err(ErrorKind::SessionLost.into());
        }
        let (outcome, cut) = self.store.apply(&request.ns, &request.txn, request.author)?;
        if let Some(cut) = cut {
            self.deliver(&request.ns, &cut);
        }
        Ok(outcome)
    }

    /// `Bug::ReplyBeforeCommit`: the answer now, the effect later.
    pub fn commit_late(&mut self, request: Parked) -> Result<TxnOutcome> {
        let probe = Txn { compares: request.txn.compares.clone(), ..Txn::default() };
        if let TxnOutcome::Conflict { failed } = self.store.apply(&request.ns, &probe, None)?.0 {
            return Ok(TxnOutcome::Conflict { failed });
        }
        let revision = Revision(self.store.revision.0 + 1);
        let version = crate::Version([revision.0, 0, 0]);
        let is_put = |op: &crate::Op| !matches!(op, crate::Op::Delete { .. });
        let versions = request.txn.ops.iter().map(|op| is_put(op).then_some(version)).collect();
        self.late.push((Instant::now() + LATE, request));
        Ok(TxnOutcome::Committed { revision, versions })
    }

    fn apply_late(&mut self, now: Instant) -> Vec<Instant> {
        let (ready, rest) = std::mem::take(&mut self.late).into_iter().partition(|l| l.0 <= now);
        self.late = rest;
        let ready: Vec<(Instant, Parked)> = ready;
        ready.iter().for_each(|(_, request)| drop(self.commit(request)));
        self.late.iter().map(|(at, _)| *at).collect()
    }

    pub fn power_on(&mut self, now: Instant) {
        if self.power != Power::On {
            self.power = Power::On;
            self.grant_full_ttl(now);
            self.serve_parked();
        }
    }

    /// What a paused server had in its socket takes effect when it goes on.
    fn serve_parked(&mut self) {
        for request in std::mem::take(&mut self.parked) {
            drop(self.commit(&request));
        }
    }

    // ---- handles ---------------------------------------------------------------------------

    pub fn drop_watch(&mut self, id: u64) {
        if let Some(watcher) = self.watchers.remove(&id) {
            self.forget_unused(watcher.handle);
        }
    }

    /// Nobody can call it any more; its streams and sessions live on by themselves.
    pub fn handle_dropped(&mut self, handle: u64) {
        if let Some(rec) = self.handles.get_mut(&handle) {
            rec.dropped = true;
        }
        self.forget_unused(handle);
    }

    pub fn forget_unused(&mut self, handle: u64) {
        let dropped = self.handles.get(&handle).is_some_and(|rec| rec.dropped);
        let used = self.sessions.has(handle) || self.watchers.values().any(|w| w.handle == handle);
        if dropped && !used {
            self.handles.remove(&handle);
        }
    }

    /// Ends everything a handle has started; its sessions end on the server if reachable.
    pub fn close_handle(&mut self, handle: u64) {
        self.close_sessions_of(handle);
        self.close_watches(handle, ErrorKind::Closed.into());
        if let Some(rec) = self.handles.remove(&handle) {
            rec.health.send_replace(Health::Closed);
        }
    }

    fn close_watches(&mut self, handle: u64, error: Error) {
        self.watchers.retain(|_, watcher| {
            let mine = watcher.handle == handle;
            if mine {
                watcher.feed.close(error.clone());
            }
            !mine
        });
    }

    /// Same address, other cluster.
    pub fn replace_cluster(&mut self, now: Instant) {
        self.cluster_id = fresh_id();
        self.store = Store::new(self.bug);
        self.parked.clear();
        self.late.clear();
        self.lose_all_sessions();
        for id in self.handles.keys().copied().collect::<Vec<_>>() {
            let rec = self.handles.get_mut(&id).expect("listed above");
            rec.replaced = true;
            rec.health.send_replace(Health::Unreachable { since: now });
            for watcher in self.watchers.values().filter(|w| w.handle == id) {
                watcher.feed.lost(LostReason::ClusterReplaced);
            }
            self.close_watches(id, ErrorKind::ClusterReplaced.into());
        }
    }

    /// What `Bug::TornMulti` makes of one transaction: its first part, and the rest.
    pub fn tear(request: &Parked) -> Vec<Parked> {
        let part = |compares: Vec<crate::Compare>, op: &crate::Op| Parked {
            txn: Txn { compares, ops: vec![op.clone()], timeout: None },
            ..request.clone()
        };
        let mut compares = Some(request.txn.compares.clone());
        request.txn.ops.iter().map(|op| part(compares.take().unwrap_or_default(), op)).collect()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cluster")
    }
}

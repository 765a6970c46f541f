//! A session as its holder has it: heartbeats on the member's own thread, and an honest clock.
//!
//! The holder never believes longer than the leader: each heartbeat that was answered moves
//! `valid_until` to its send instant plus 99 % of the TTL, and at that instant the session is
//! lost here whatever the servers think.

use crate::clock::Clock;
use crate::command::{Command, Home, Reply, session_id};
use crate::handle::LIMITS;
use async_trait::async_trait;
use coord_api::{
    Error, ErrorKind, Result, Session, SessionId, SessionOpts, SessionState, StrictHold, Txn,
    TxnOutcome,
};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What a session needs of the handle it is opened on.
#[async_trait]
pub trait Keeper: std::fmt::Debug + Send + Sync + 'static {
    /// As the handle's own calls: refused once it is closed.
    async fn propose(&self, command: Command, deadline: Instant) -> Result<Reply>;

    async fn txn(&self, txn: Txn, session: Option<u64>) -> Result<TxnOutcome>;

    /// A heartbeat that is not logged, and one that is; neither minds a closed handle.
    async fn touch(&self, session: u64, deadline: Instant) -> Result<()>;

    async fn beat(&self, session: u64, deadline: Instant) -> Result<()>;

    /// Ends it in the store, closed handle or not; harmless if it has ended.
    async fn end(&self, session: u64, deadline: Instant) -> Result<()>;

    fn deadline(&self, timeout: Option<Duration>) -> Instant;

    /// Set where the process is a member itself.
    fn home(&self) -> Option<Home>;

    /// Rings when [`Keeper::has_ended`] or [`Keeper::is_reachable`] may answer otherwise.
    fn bell(&self) -> watch::Receiver<u64>;

    /// Whether the store is known to have ended the session opened at that revision.
    fn has_ended(&self, session: u64, opened: u64) -> bool;

    /// Whether heartbeats have a way to go.
    fn is_reachable(&self) -> bool;

    fn closed(&self) -> &CancellationToken;

    /// Runs heartbeats, on a thread that is not the caller's.
    fn run(&self, task: BoxFuture<'static, ()>);
}

/// The session object; dropping it ends the session, best effort at once.
#[derive(Debug)]
pub struct LocalSession(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    /// The revision at which it came into being.
    opened: u64,
    ttl: Duration,
    core: Arc<dyn Keeper>,
    state: watch::Sender<SessionState>,
    /// Living guards that ask for logged heartbeats.
    strict: AtomicUsize,
    strict_changed: Notify,
    /// The object is gone or closed: heartbeats end.
    over: CancellationToken,
    /// Whoever closes it ends it in the store.
    closing: AtomicBool,
}

impl LocalSession {
    pub async fn open(core: Arc<dyn Keeper>, opts: SessionOpts) -> Result<LocalSession> {
        let limits = LIMITS.ttl;
        if opts.ttl > limits.1 {
            return Err(ErrorKind::Unsupported("a TTL above the limit").into());
        }
        let ttl = opts.ttl.max(limits.0);
        let salt = uuid::Uuid::new_v4().as_fields().0;
        let open = Command::OpenSession {
            salt,
            ttl_ms: ttl.as_millis() as u64,
            name: opts.name,
            home: core.home(),
        };
        let sent = Instant::now();
        let Reply::Done { revision } = core.propose(open, core.deadline(None)).await? else {
            return Err(Error::none(ErrorKind::Internal));
        };
        let valid_until = sent + valid_for(ttl);
        let inner = Arc::new(Inner {
            id: session_id(salt, revision),
            opened: revision,
            ttl,
            state: watch::Sender::new(SessionState::Alive { valid_until }),
            strict: AtomicUsize::new(0),
            strict_changed: Notify::new(),
            over: core.closed().child_token(),
            closing: AtomicBool::new(false),
            core,
        });
        inner.core.run(Box::pin(keep_alive(inner.clone())));
        Ok(LocalSession(inner))
    }
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.0.over.cancel();
    }
}

/// How long an answered heartbeat can be trusted, with a margin for clocks of different speed.
fn valid_for(ttl: Duration) -> Duration {
    ttl * 99 / 100
}

/// Beats until the session is lost or let go, then ends it in the store.
async fn keep_alive(inner: Arc<Inner>) {
    let mut clock = Clock::start();
    let mut bell = inner.core.bell();
    let mut next = Instant::now() + inner.ttl / 3;
    loop {
        tokio::select! {
            () = inner.over.cancelled() => break,
            () = tokio::time::sleep_until(next.min(inner.valid_until()).into()) => {}
            rung = bell.changed() => if rung.is_err() { break },
            () = inner.strict_changed.notified() => {}
        }
        inner.discount(clock.slept());
        let ended = inner.core.has_ended(inner.id, inner.opened);
        if ended || inner.valid_until() <= Instant::now() {
            break;
        }
        if !inner.core.is_reachable() {
            inner.suspend();
            next = Instant::now();
        }
        let period = inner.ttl / if inner.is_strict() { 6 } else { 3 };
        if Instant::now() < next && next <= Instant::now() + period {
            continue;
        }
        next = Instant::now() + if inner.beat().await { period } else { inner.ttl / 12 };
    }
    inner.lose();
    if inner.closing.load(Ordering::SeqCst) {
        return;
    }
    inner.core.end(inner.id, inner.core.deadline(None)).await.ok();
}

impl Inner {
    fn valid_until(&self) -> Instant {
        self.state.borrow().valid_until().unwrap_or_else(Instant::now)
    }

    fn is_strict(&self) -> bool {
        self.strict.load(Ordering::SeqCst) > 0
    }

    /// Time that the monotonic clock did not count has passed all the same.
    fn discount(&self, slept: Duration) {
        if slept.is_zero() {
            return;
        }
        self.state.send_if_modified(|state| {
            let valid_until = match state {
                SessionState::Alive { valid_until } | SessionState::Suspended { valid_until } => {
                    valid_until
                }
                SessionState::Lost => return false,
            };
            *valid_until = valid_until.checked_sub(slept).unwrap_or_else(Instant::now);
            true
        });
    }

    /// One heartbeat; whether it was answered.
    async fn beat(&self) -> bool {
        let sent = Instant::now();
        let deadline = sent + self.ttl / 3;
        let beaten = tokio::select! {
            () = self.over.cancelled() => return false,
            beaten = async {
                if self.is_strict() {
                    self.core.beat(self.id, deadline).await
                } else {
                    self.core.touch(self.id, deadline).await
                }
            } => beaten,
        };
        match beaten {
            Ok(()) => {
                self.renew(sent);
                true
            }
            Err(error) if error.kind == ErrorKind::SessionLost => {
                self.lose();
                false
            }
            Err(_) => {
                self.suspend();
                false
            }
        }
    }

    fn suspend(&self) {
        self.state.send_if_modified(|state| match *state {
            SessionState::Alive { valid_until } => {
                *state = SessionState::Suspended { valid_until };
                true
            }
            _ => false,
        });
    }

    /// A heartbeat sent at `sent` was answered; returns the new `valid_until`.
    fn renew(&self, sent: Instant) -> Instant {
        let fresh = sent + valid_for(self.ttl);
        self.state.send_if_modified(|state| match *state {
            SessionState::Alive { valid_until } | SessionState::Suspended { valid_until }
                if valid_until > Instant::now() =>
            {
                *state = SessionState::Alive { valid_until: fresh.max(valid_until) };
                true
            }
            _ => false,
        });
        fresh
    }

    fn lose(&self) {
        self.state.send_if_modified(|state| {
            let first = !state.is_lost();
            *state = SessionState::Lost;
            first
        });
    }

    fn is_lost(&self) -> bool {
        self.state.borrow().valid_until().is_none_or(|until| until <= Instant::now())
    }
}

#[async_trait]
impl Session for LocalSession {
    fn id(&self) -> SessionId {
        SessionId(self.0.id)
    }

    fn ttl(&self) -> Duration {
        self.0.ttl
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.0.state.subscribe()
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        if self.0.is_lost() {
            return Err(Error::none(ErrorKind::SessionLost));
        }
        match self.0.core.txn(txn, Some(self.0.id)).await {
            // Whoever has been told of the loss must not hear of a success after it (S8).
            Ok(TxnOutcome::Committed { .. }) if self.0.is_lost() => {
                Err(Error::unknown(ErrorKind::SessionLost))
            }
            Err(error) if error.kind == ErrorKind::SessionLost => {
                self.0.lose();
                Err(error)
            }
            done => done,
        }
    }

    async fn confirm(&self) -> Result<Instant> {
        if self.0.is_lost() {
            return Err(Error::none(ErrorKind::SessionLost));
        }
        let sent = Instant::now();
        let deadline = self.0.core.deadline(None);
        match self.0.core.beat(self.0.id, deadline).await {
            Ok(()) => {
                let fresh = self.0.renew(sent);
                let lost = self.0.is_lost();
                if lost { Err(Error::none(ErrorKind::SessionLost)) } else { Ok(fresh) }
            }
            Err(error) => {
                if error.kind == ErrorKind::SessionLost {
                    self.0.lose();
                }
                Err(error)
            }
        }
    }

    fn hold_strict(&self) -> StrictHold {
        self.0.strict.fetch_add(1, Ordering::SeqCst);
        self.0.strict_changed.notify_one();
        let inner = self.0.clone();
        StrictHold::new(move || {
            inner.strict.fetch_sub(1, Ordering::SeqCst);
        })
    }

    async fn close(&self) -> Result<()> {
        self.0.closing.store(true, Ordering::SeqCst);
        self.0.over.cancel();
        self.0.lose();
        self.0.core.end(self.0.id, self.0.core.deadline(None)).await
    }
}

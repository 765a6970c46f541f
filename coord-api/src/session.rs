//! Sessions: keys that vanish with their writer, and how long that writer may trust itself.

use crate::Result;
use crate::txn::{Txn, TxnOutcome};
use async_trait::async_trait;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Never reused in a cluster (S2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What a session knows of itself. `valid_until` is on the monotonic clock, with time spent in
/// suspend counted as elapsed (G4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Alive {
        valid_until: Instant,
    },
    /// Heartbeats do not get through; the session may yet survive (S5).
    Suspended {
        valid_until: Instant,
    },
    /// Final, and reached at the latest at `valid_until` (S8, S9).
    Lost,
}

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOpts {
    /// The server grants at least this, and at most 1 s more than the greater of this and its
    /// lower limit (S1).
    pub ttl: Duration,
    /// For logs and status pages.
    pub name: String,
}

/// A live session. Its heartbeats run on a thread of their own (S16); dropping it stops them
/// (S15). Everything it wrote with `PutEphemeral` is gone within 3 x TTL + 5 s of its death (S6).
#[async_trait]
pub trait Session: Send + Sync + fmt::Debug + 'static {
    fn id(&self) -> SessionId;

    /// What the server granted (S1).
    fn ttl(&self) -> Duration;

    /// The present state and all to come; `Lost` is the last (S8, S10). States between two looks
    /// may be skipped, `Lost` never is.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// As [`crate::Coordinator::txn`], and refused by the server once the session is dead there,
    /// in which case it can never take effect later (T15). Alone may write ephemeral keys.
    ///
    /// # Errors
    /// `SessionLost` (effect None when the server refused, Unknown when it was in flight) and
    /// those of [`crate::Coordinator::txn`].
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome>;

    /// One heartbeat confirmed by the quorum after the call began (S17): the new `valid_until`.
    /// With `caps.strict_validity` no other client can see the keys gone before it (S11).
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, `SessionLost`.
    async fn confirm(&self) -> Result<Instant>;

    /// Asks for confirmed heartbeats each TTL/6 while the guard lives.
    fn hold_strict(&self) -> StrictHold;

    /// Ends the session; all its keys are gone when this completes (S7).
    async fn close(&self) -> Result<()>;
}

/// Keeps a session's heartbeats strict until dropped.
#[must_use = "strict heartbeats end when the guard is dropped"]
pub struct StrictHold(Option<Box<dyn FnOnce() + Send + Sync>>);

impl StrictHold {
    /// `release` runs once, when the guard is dropped; it must not block.
    pub fn new(release: impl FnOnce() + Send + Sync + 'static) -> StrictHold {
        StrictHold(Some(Box::new(release)))
    }
}

impl Drop for StrictHold {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for StrictHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StrictHold")
    }
}

impl SessionState {
    /// Until when the session may be trusted; `None` once lost.
    pub fn valid_until(&self) -> Option<Instant> {
        match self {
            SessionState::Alive { valid_until } | SessionState::Suspended { valid_until } => {
                Some(*valid_until)
            }
            SessionState::Lost => None,
        }
    }

    pub fn is_lost(&self) -> bool {
        *self == SessionState::Lost
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

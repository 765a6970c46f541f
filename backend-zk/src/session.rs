//! Sessions: a ZooKeeper session of its own each, so that a busy handle cannot delay heartbeats
//! and the server itself refuses what comes after the end (T15).

use crate::beat::{Beat, Holds, Touch, Waiter};
use crate::conn::Conn;
use crate::core::Core;
use crate::handle::Owner;
use async_trait::async_trait;
use coord_api::{
    Error, ErrorKind, Result, Session, SessionId, SessionOpts, SessionState, StrictHold, Txn,
    TxnOutcome,
};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use zookeeper_client::Error as Raw;

/// Confirmations waiting for the heartbeat task.
const CONFIRMS: usize = 64;

/// Emptied when the session is over: with the last clone the client stops, and a session given up
/// for lost must not be kept alive by it.
pub(crate) type Slot = Arc<Mutex<Option<Arc<Conn>>>>;

pub(crate) struct ZkSession {
    core: Arc<Core>,
    conn: Slot,
    id: SessionId,
    ttl: Duration,
    states: watch::Receiver<SessionState>,
    confirms: mpsc::Sender<Waiter>,
    holds: Arc<Holds>,
    ending: watch::Sender<bool>,
    _owner: Arc<Owner>,
}

impl ZkSession {
    /// A session over `conn`, which the servers know, and its heartbeats.
    pub fn new(
        core: Arc<Core>,
        conn: Conn,
        owner: Arc<Owner>,
        asked: Duration,
    ) -> Result<(ZkSession, Beat, watch::Sender<bool>)> {
        let ttl = conn.client.session_timeout();
        if ttl < asked {
            let greatest = "a TTL beyond the server's maxSessionTimeout";
            return Err(ErrorKind::Unsupported(greatest).into());
        }
        let conn = Arc::new(conn);
        let slot: Slot = Arc::new(Mutex::new(Some(conn.clone())));
        let id = SessionId(conn.id().cast_unsigned());
        // The session was made by the quorum after it was asked for.
        let born = Touch::since(conn.asked);
        let valid_until = born.until(ttl).into_std();
        let (states, seen) = watch::channel(SessionState::Alive { valid_until });
        let (confirms, inbox) = mpsc::channel(CONFIRMS);
        let holds = Arc::new(Holds::default());
        let ending = watch::Sender::new(false);
        let beat = Beat {
            core: core.clone(),
            conn,
            slot: slot.clone(),
            ttl,
            states,
            confirms: inbox,
            holds: holds.clone(),
            ending: ending.subscribe(),
            renewed: born,
            confirmed: born,
            touches: VecDeque::from([born]),
        };
        let session = ZkSession {
            core,
            conn: slot,
            id,
            ttl,
            states: seen,
            confirms,
            holds,
            ending: ending.clone(),
            _owner: owner,
        };
        Ok((session, beat, ending))
    }

    fn is_lost(&self) -> bool {
        self.states.borrow().is_lost()
    }
}

/// What to ask the server for; the protocol counts in milliseconds.
pub(crate) fn wanted(opts: &SessionOpts) -> Duration {
    let ttl = opts.ttl.max(crate::LIMITS.ttl.0).min(Duration::from_secs(1 << 20));
    Duration::from_millis(ttl.as_nanos().div_ceil(1_000_000) as u64)
}

#[async_trait]
impl Session for ZkSession {
    fn id(&self) -> SessionId {
        self.id
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.states.clone()
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let conn = self.conn.lock().clone();
        let Some(conn) = conn.filter(|_| !self.is_lost()) else {
            return Err(ErrorKind::SessionLost.into());
        };
        let deadline = self.core.deadline(txn.timeout);
        let patience = deadline.min(tokio::time::Instant::now() + self.core.opts.detect);
        match tokio::time::timeout_at(patience, conn.connected()).await {
            Ok(true) => {}
            Ok(false) => return Err(ErrorKind::SessionLost.into()),
            Err(_) => return Err(Error::none(ErrorKind::Unavailable).because("not connected")),
        }
        let result = self.core.txn(txn, Some(&conn)).await;
        match result {
            // After `Lost` nobody may hear of a success (S8).
            Ok(TxnOutcome::Committed { .. }) if self.is_lost() => {
                Err(Error::unknown(ErrorKind::SessionLost))
            }
            Err(error) if conn.is_over() && error.kind == ErrorKind::Unavailable => {
                Err(Error { kind: ErrorKind::SessionLost, ..error })
            }
            other => other,
        }
    }

    async fn confirm(&self) -> Result<Instant> {
        let (answer, answered) = oneshot::channel();
        let ask = async {
            self.confirms.send(answer).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(self.core.opts.request_timeout, ask).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(ErrorKind::SessionLost.into()),
            Err(_) => Err(ErrorKind::Timeout.into()),
        }
    }

    fn hold_strict(&self) -> StrictHold {
        self.holds.add();
        let holds = self.holds.clone();
        StrictHold::new(move || holds.remove())
    }

    /// Completes when the session's own node is gone, which goes with all the others.
    async fn close(&self) -> Result<()> {
        if self.is_lost() {
            return Ok(());
        }
        self.ending.send_replace(true);
        drop(self.conn.lock().take());
        let deadline = self.core.deadline(None);
        let path = self.core.link.layout.live(self.id.0.cast_signed());
        loop {
            let (conn, _) =
                self.core.link.barrier(deadline).await.map_err(|e| Error::unknown(e.kind))?;
            let reading = async { conn.client.check_stat(&path).await };
            match Conn::wait(deadline, reading).await {
                Ok(Ok(None)) => return Ok(()),
                Ok(Ok(Some(_)) | Err(Raw::ConnectionLoss)) => {}
                Ok(Err(raw)) => return Err(Error::unknown(crate::fault::of_read(&raw).kind)),
                Err(_) => return Err(Error::unknown(ErrorKind::Timeout)),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl fmt::Debug for ZkSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZkSession({}, {:?})", self.id, *self.states.borrow())
    }
}

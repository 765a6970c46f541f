//! Sessions: a lease with a random id, a marker key bound to it, and a heartbeat task.

use crate::beat::{Beat, Holds, Order, Renewal};
use crate::core::{Core, corrupt, take_apart};
use crate::fault::Fault;
use crate::handle::Owner;
use crate::pool::Kind;
use crate::txn::Author;
use async_trait::async_trait;
use coord_api::{
    Error, ErrorKind, Result, Session, SessionId, SessionOpts, SessionState, StrictHold, Txn,
    TxnOutcome,
};
use etcd_client::{LeaseGrantOptions, PutOptions, Txn as RawTxn, TxnOp};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Orders waiting for the heartbeat task.
const ORDERS: usize = 64;

pub(crate) struct EtcdSession {
    /// The calls' connections; heartbeats have their own.
    core: Arc<Core>,
    author: Author,
    ttl: Duration,
    states: watch::Receiver<SessionState>,
    orders: mpsc::Sender<Order>,
    holds: Arc<Holds>,
    _owner: Arc<Owner>,
}

impl EtcdSession {
    /// A session the servers know of, and its heartbeats over `beats`, to be run on their thread.
    pub async fn open(
        core: Arc<Core>,
        beats: Arc<Core>,
        owner: Arc<Owner>,
        ending: watch::Receiver<bool>,
        opts: &SessionOpts,
    ) -> Result<(EtcdSession, Beat)> {
        let (lease, ttl, renewal) = grant(&core, opts.ttl).await?;
        let id = SessionId(lease.cast_unsigned());
        let marker = mark(&core, id, &opts.name).await?;
        let author = Author { id, marker };
        let valid_until = renewal.until(ttl).into_std();
        let (states, seen) = watch::channel(SessionState::Alive { valid_until });
        let (orders, inbox) = mpsc::channel(ORDERS);
        let holds = Arc::new(Holds::default());
        let beat = Beat {
            core: beats,
            lease,
            ttl,
            states,
            orders: inbox,
            holds: holds.clone(),
            ending,
            renewed: renewal,
            // Granted by the quorum after it was asked for.
            confirmed: renewal,
        };
        Ok((EtcdSession { core, author, ttl, states: seen, orders, holds, _owner: owner }, beat))
    }

    async fn order<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T>>) -> Order,
        limit: Duration,
        late: Error,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let ask = async {
            self.orders.send(make(answer)).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(limit, ask).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(ErrorKind::SessionLost.into()),
            Err(_) => Err(late),
        }
    }
}

#[async_trait]
impl Session for EtcdSession {
    fn id(&self) -> SessionId {
        self.author.id
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.states.clone()
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        if self.states.borrow().is_lost() {
            return Err(ErrorKind::SessionLost.into());
        }
        let outcome = self.core.txn(txn, Some(self.author)).await?;
        match outcome {
            // After `Lost` nobody may hear of a success (S8).
            TxnOutcome::Committed { .. } if self.states.borrow().is_lost() => {
                Err(Error::unknown(ErrorKind::SessionLost))
            }
            outcome => Ok(outcome),
        }
    }

    async fn confirm(&self) -> Result<Instant> {
        let limit = self.core.opts.request_timeout;
        self.order(Order::Confirm, limit, ErrorKind::Timeout.into()).await
    }

    fn hold_strict(&self) -> StrictHold {
        self.holds.add();
        let holds = self.holds.clone();
        StrictHold::new(move || holds.remove())
    }

    async fn close(&self) -> Result<()> {
        if self.states.borrow().is_lost() {
            return Ok(());
        }
        let limit = self.core.opts.request_timeout;
        match self.order(Order::Close, limit, Error::unknown(ErrorKind::Timeout)).await {
            Err(error) if error.kind == ErrorKind::SessionLost => Ok(()),
            other => other,
        }
    }
}

impl fmt::Debug for EtcdSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdSession({}, {:?})", self.author.id, *self.states.borrow())
    }
}

/// A lease of at least `ttl`. An attempt of unknown outcome leaves a lease nobody knows of, which
/// ends by itself; the next one draws another id (S2).
async fn grant(core: &Core, ttl: Duration) -> Result<(i64, Duration, Renewal)> {
    let ttl = ttl.max(crate::LIMITS.ttl.0);
    let seconds = i64::try_from(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0))
        .map_err(|_| ErrorKind::Unsupported("a TTL beyond all measure"))?;
    core.pool
        .call(Kind::Read, core.deadline(None), |mut client| async move {
            let id = (uuid::Uuid::new_v4().as_u64_pair().0 >> 1).cast_signed().max(1);
            let options = LeaseGrantOptions::new().with_id(id);
            let renewal = Renewal::now();
            let granted = client.lease_grant(seconds, Some(options)).await.map_err(Fault::from)?;
            let ttl = Duration::from_secs(granted.ttl().unsigned_abs());
            Ok((granted.id(), ttl, renewal))
        })
        .await
}

/// Writes the key that lives as long as the lease and that every transaction of the session
/// compares; its value is for people.
async fn mark(core: &Core, id: SessionId, name: &str) -> Result<coord_api::Revision> {
    let key = core.layout.session(id);
    let options = PutOptions::new().with_lease(id.0.cast_signed());
    let name: String = name.chars().take(200).collect();
    // Whoever writes it twice writes the same: creation revision is what counts.
    let txn = RawTxn::new()
        .when([
            core.same_cluster(),
            etcd_client::Compare::create_revision(key.clone(), etcd_client::CompareOp::Equal, 0),
        ])
        .and_then([TxnOp::put(key.clone(), name, Some(options))])
        .or_else([TxnOp::get(key.clone(), None), TxnOp::get(core.id_key.clone(), None)]);
    let answer = core
        .pool
        .call(Kind::Read, core.deadline(None), |mut client| {
            let txn = txn.clone();
            async move { client.txn(txn).await.map_err(Fault::from) }
        })
        .await?;
    let (succeeded, revision, responses) = take_apart(answer)?;
    if succeeded {
        return Ok(revision);
    }
    let mut found = responses.into_iter().map(|response| response.range().into_iter().next());
    let (marker, identity) = (found.next().flatten(), found.next().flatten());
    if identity.map(|kv| kv.create_revision) != Some(core.id_created) {
        return Err(ErrorKind::ClusterReplaced.into());
    }
    let marker = marker.ok_or_else(|| corrupt("the marker is neither absent nor present"))?;
    Ok(crate::core::revision(marker.create_revision))
}

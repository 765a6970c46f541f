//! Says to the pool that this node is up, for as long as its session lives.
//!
//! Losing the session stops nothing here: bricks run on, and a new session is taken.

use crate::model::NodeId;
use crate::store::{Pool, keys::ALIVE};
use coord_api::{Coordinator, ErrorKind, Key, Session, SessionOpts, Txn};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between attempts to get a session; the coordinator paces its own reconnects.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until `stop`, then ends the session so that others see the node go at once.
pub async fn announce(
    coordinator: Arc<dyn Coordinator>,
    pool: Pool,
    mut identity: watch::Receiver<NodeId>,
    ttl: Duration,
    stop: CancellationToken,
) {
    let mut said = false;
    while !stop.is_cancelled() {
        let me = *identity.borrow_and_update();
        let opts = SessionOpts { ttl, name: me.to_string() };
        match coordinator.session(opts).await {
            Ok(session) => {
                said = false;
                let end = tokio::select! {
                    () = hold(&*session, pool, me, &stop) => stop.is_cancelled(),
                    Ok(()) = identity.changed() => true,
                };
                if end {
                    let _ = tokio::time::timeout(RETRY, session.close()).await;
                    continue;
                }
            }
            Err(error) if error.kind == ErrorKind::Closed => return,
            // Once in an outage, however long.
            Err(error) if !std::mem::replace(&mut said, true) => {
                tracing::warn!(%error, "no session with the coordination service");
            }
            Err(error) => tracing::debug!(%error, "still no session"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn hold(session: &dyn Session, pool: Pool, me: NodeId, stop: &CancellationToken) {
    let name = pool.alive_name(me);
    let key = match Key::ephemeral(&ALIVE, &name, session.id(), 0) {
        Ok(key) => key,
        Err(error) => return tracing::error!(%error, "this node cannot be announced"),
    };
    if let Err(error) = session.txn(Txn::new().put_ephemeral(&key, "{}")).await {
        return tracing::warn!(%error, "this node could not be announced");
    }
    let mut states = session.state();
    tokio::select! {
        lost = states.wait_for(|state| state.is_lost()) => {
            drop(lost);
            tracing::warn!("the session with the coordination service was lost");
        }
        () = stop.cancelled() => {}
    }
}

//! Says that this node is up, to its pool and to the ensemble, for as long as its session lives.
//!
//! Losing the session stops nothing here: bricks run on, and a new session is taken. The session
//! is shown to whoever writes under it.

use super::registry::Registered;
use crate::host::Host;
use crate::store::keys::{ALIVE, REGISTRY};
use crate::store::{Place, Store};
use coord_api::{ErrorKind, Key, Session, SessionOpts, Txn};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between attempts to get a session; the coordinator paces its own reconnects.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_LEAST: Duration = Duration::from_millis(20);

/// The session under which this node is announced; `None` between two.
pub type Announced = watch::Sender<Option<Arc<dyn Session>>>;

/// How a node is announced.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub store: Arc<Store>,
    pub host: Arc<dyn Host>,
    pub bind_address: Option<String>,
    pub ttl: Duration,
}

impl Announcement {
    /// Runs until `stop`, then ends the session so that others see the node go at once.
    pub async fn keep_up(self, shown: Arc<Announced>, stop: CancellationToken) {
        let mut places = self.store.place();
        let mut said = false;
        while !stop.is_cancelled() {
            let place = *places.borrow_and_update();
            let mut health = self.store.coordinator().health();
            health.mark_unchanged();
            let opts = SessionOpts { ttl: self.ttl, name: place.node.to_string() };
            match self.store.coordinator().session(opts).await {
                Ok(session) => {
                    said = false;
                    let end = tokio::select! {
                        () = self.hold(&session, place, &shown, &stop) => stop.is_cancelled(),
                        Ok(()) = places.changed() => true,
                    };
                    shown.send_replace(None);
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
            let pause = async {
                // Another store, or the same again, may be there at once.
                tokio::time::sleep(RETRY_LEAST).await;
                drop(tokio::time::timeout(RETRY, health.changed()).await);
            };
            tokio::select! {
                () = pause => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn hold(
        &self,
        session: &Arc<dyn Session>,
        place: Place,
        shown: &Announced,
        stop: &CancellationToken,
    ) {
        let about = Registered::of(&*self.host, self.bind_address.as_deref(), place).await;
        let about = serde_json::to_vec(&about).expect("text and numbers");
        let alive = Key::ephemeral(&ALIVE, &place.pool.alive_name(place.node), session.id(), 0);
        let name = place.node.to_string();
        let registered = Key::ephemeral(&REGISTRY, &name, session.id(), 0);
        let (Ok(alive), Ok(registered)) = (alive, registered) else {
            return tracing::error!("this node cannot be announced");
        };
        let txn = Txn::new().put_ephemeral(&alive, "{}").put_ephemeral(&registered, about);
        if let Err(error) = session.txn(txn).await {
            return tracing::warn!(%error, "this node could not be announced");
        }
        shown.send_replace(Some(session.clone()));
        let mut states = session.state();
        tokio::select! {
            lost = states.wait_for(|state| state.is_lost()) => {
                drop(lost);
                tracing::warn!("the session with the coordination service was lost");
            }
            () = stop.cancelled() => {}
        }
    }
}

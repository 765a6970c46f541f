//! Says in the log that the nodes' own store cannot be used, whom it misses and what can be done.

use super::own_store::OwnStore;
use crate::store::Store;
use coord_api::Health;
use std::sync::Arc;
use std::time::Duration;

/// An election takes less.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the store is closed; one line for an outage, one for its end.
pub async fn tell_outages(store: Arc<Store>, own: Arc<dyn OwnStore>) {
    let mut health = store.coordinator().health();
    loop {
        let away = health.wait_for(|health| *health != Health::Ok).await;
        if away.is_ok_and(|health| *health == Health::Closed) {
            return;
        }
        let back = health.wait_for(|health| matches!(health, Health::Ok | Health::Closed));
        if tokio::time::timeout(PATIENCE, back).await.is_ok() {
            continue;
        }
        let why = own.trouble().unwrap_or_default();
        tracing::warn!(
            "the configuration cannot be changed, volumes stay available; the built-in store: {why}"
        );
        let back = health.wait_for(|health| matches!(health, Health::Ok | Health::Closed));
        match back.await {
            Ok(health) if *health == Health::Ok => {
                tracing::warn!("the built-in store can be used again");
            }
            _ => return,
        }
    }
}

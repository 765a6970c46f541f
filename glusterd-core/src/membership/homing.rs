//! Goes home: a node that was sent away, or was invited and never taken in, does not stay in the
//! store of others.
//!
//! It looks at where it is whenever that changes; doing it twice is harmless.

use super::own_store::{Luggage, OwnStore, is_free};
use crate::store::{Freshness, Pool, Sight, Store};
use std::sync::Arc;
use std::time::Duration;

/// Between invitation and being taken in there are a few round trips.
const TAKEN_IN: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

/// Runs for ever. `was`: the pool this node was in when it started.
pub async fn keep_home(store: Arc<Store>, own: Arc<dyn OwnStore>, mut was: Pool) {
    let mut sights = store.subscribe();
    loop {
        let sight = sights.borrow_and_update().clone();
        let pause = match look(&sight, &mut was) {
            Look::Company => None,
            Look::SentAway => Some(Duration::ZERO),
            Look::Alone if own.is_guest() => Some(TAKEN_IN),
            Look::Alone => None,
        };
        let Some(pause) = pause else {
            if sights.changed().await.is_err() {
                return;
            }
            continue;
        };
        if !pause.is_zero() {
            let company = sights.wait_for(|sight| !is_free(&sight.view));
            if tokio::time::timeout(pause, company).await.is_ok() {
                continue;
            }
        }
        let sight = store.sight();
        if sight.view.freshness != Freshness::Current || !is_free(&sight.view) {
            tokio::time::sleep(RETRY).await;
            continue;
        }
        let place = *store.place().borrow();
        match own.leave(Luggage::of(place, &sight.view.global)).await {
            Ok(true) => tracing::info!("this node is alone in a store of its own"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "this node cannot leave the store of its former pool yet");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        was = place.pool;
    }
}

enum Look {
    Company,
    /// Alone in another pool than the one it had company in.
    SentAway,
    Alone,
}

fn look(sight: &Sight, was: &mut Pool) -> Look {
    match (sight.view.freshness == Freshness::Current, is_free(&sight.view)) {
        (false, _) => Look::Company,
        (true, false) => {
            *was = sight.pool;
            Look::Company
        }
        (true, true) if sight.pool != *was => Look::SentAway,
        (true, true) => Look::Alone,
    }
}

//! A member that has just started asks for votes before its time: after a restart of all, nobody would
//! serve for an election timeout otherwise.
//!
//! It asks first whether others would vote, which they would not while they hear of a leader, so a
//! leader that there is stays.

use super::Node;
use coord_api::Health;
use std::sync::Weak;
use std::time::Duration;

/// Before the first attempt; a leader's heartbeat may come first.
const FIRST: Duration = Duration::from_millis(30);
/// Members that start at the same moment should not ask at the same moment; added to each pause.
const SPREAD_MS: u64 = 60;
/// Doubled for each attempt: answers from afar take their time.
const PAUSE: Duration = Duration::from_millis(100);
/// After that the election timeout is no longer than the next pause.
const ATTEMPTS: u32 = 5;

pub async fn run(node: Weak<Node>, chance: u64) {
    for attempt in 0..ATTEMPTS {
        let pause = if attempt == 0 { FIRST } else { PAUSE * (1 << (attempt - 1)) };
        // Another share of the process's random number each time.
        let spread = (chance >> (8 * attempt)) % SPREAD_MS;
        tokio::time::sleep(pause + Duration::from_millis(spread)).await;
        let Some(node) = node.upgrade().filter(|node| !node.is_stopping()) else { return };
        let is_well = *node.health().borrow() == Health::Ok;
        if is_well || node.raft.trigger().elect(true).await.is_err() {
            return;
        }
    }
}

//! The masters' way to each other: a connection per member and lane, dialed when needed.
//!
//! Lanes keep heartbeats from waiting behind snapshots. A member that could not be reached is not
//! dialed again at once; a changed address is.

use super::Road;
use super::link::Link;
use crate::raft::Member;
use crate::secure::{Purpose, Refused};
use crate::talk::{Answer, Ask};
use crate::wire::{CallError, Lane, PeerReply, PeerRequest, Silence, Transport};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// How long dialing may take out of a call's time.
const DIAL: Duration = Duration::from_secs(2);
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(100);

type Slot = Arc<tokio::sync::Mutex<Way>>;

/// See the file's head.
#[derive(Default)]
pub struct Mesh {
    road: OnceLock<Road>,
    slots: Mutex<HashMap<(u64, Lane), Slot>>,
    silent: Mutex<HashMap<u64, Silence>>,
}

#[derive(Default)]
struct Way {
    address: String,
    link: Option<Arc<Link>>,
    failed: Option<(Instant, String)>,
}

impl Mesh {
    /// From now on members can be reached; before, every call is `NotSent`.
    pub fn open(&self, road: Road) {
        // Opened once, by whoever made it.
        self.road.set(road).ok();
    }

    async fn link(&self, to: u64, address: &str, lane: Lane) -> Result<Arc<Link>, CallError> {
        let not_sent = |why: String| CallError::NotSent(format!("{address}: {why}"));
        let road = self.road.get().ok_or_else(|| not_sent("not listening yet".into()))?;
        let slot = self.slots.lock().entry((to, lane)).or_default().clone();
        let mut way = slot.lock().await;
        if way.address != address {
            *way = Way { address: address.to_owned(), ..Way::default() };
        }
        if let Some(link) = way.link.as_ref().filter(|link| !link.is_over()) {
            return Ok(link.clone());
        }
        if let Some((at, why)) = &way.failed
            && at.elapsed() < PAUSE
        {
            return Err(not_sent(why.clone()));
        }
        match Link::dial(road, address, Purpose::Member, DIAL).await {
            Ok(link) => {
                let link = Arc::new(link);
                self.silent.lock().remove(&to);
                way.link = Some(link.clone());
                way.failed = None;
                Ok(link)
            }
            Err(refused) => {
                if matches!(refused, Refused::Stranger) {
                    let (road, address) = (road.clone(), address.to_owned());
                    tokio::spawn(async move { road.heir.is_at(&road, &address).await });
                }
                let now = Silence { since: Instant::now(), time: SystemTime::now() };
                self.silent.lock().entry(to).or_insert(now);
                way.failed = Some((now.since, refused.to_string()));
                Err(not_sent(refused.to_string()))
            }
        }
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mesh({} ways)", self.slots.lock().len())
    }
}

#[async_trait]
impl Transport for Mesh {
    async fn call(
        &self,
        to: u64,
        member: &Member,
        lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> Result<PeerReply, CallError> {
        let deadline = Instant::now() + timeout;
        let dialing = self.link(to, &member.address, lane);
        let link = match tokio::time::timeout_at(deadline.into(), dialing).await {
            Ok(link) => link?,
            Err(_) => return Err(CallError::NotSent(format!("{}: no way", member.address))),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match link.call(Ask::Peer { to, request }, left).await? {
            Answer::Peer(reply) => Ok(reply),
            Answer::Refused(_) => {
                let now = Silence { since: Instant::now(), time: SystemTime::now() };
                self.silent.lock().entry(to).or_insert(now);
                Err(CallError::NotSent("another member listens there by now".to_owned()))
            }
            other => Err(CallError::Lost(format!("an answer to another question: {other:?}"))),
        }
    }

    fn silence(&self, of: u64) -> Option<Silence> {
        self.silent.lock().get(&of).copied()
    }
}

//! Lock: first come first served, with the holder's note and a fence (L1-L9).

use super::election::LeaderView;
use super::tenure::{HolderLoss, Queue, Tenure};
use crate::entry::ReadOpts;
use crate::error::ErrorKind;
use crate::session::Session;
use crate::txn::{Fence, Txn};
use crate::{Coordinator, Result};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SPACE: &str = "lock";

/// A lock by name, as one session sees it. Not re-entrant (L5).
#[derive(Clone, Debug)]
pub struct Lock {
    queue: Queue,
}

/// Holding a lock. Dropping it releases, best effort (L6).
#[derive(Debug)]
pub struct LockGuard {
    tenure: Tenure,
}

impl Lock {
    /// # Errors
    /// `InvalidKey` unless the name is a key's and holds no `@`.
    pub fn new(
        coordinator: &Arc<dyn Coordinator>,
        session: &Arc<dyn Session>,
        name: &str,
    ) -> Result<Lock> {
        Ok(Lock { queue: Queue::new(coordinator, session, SPACE, name)? })
    }

    /// Waits for its turn, `wait` at most. `note` is what [`Lock::holder`] shows of this holder.
    ///
    /// # Errors
    /// `Timeout` after `wait`, with no candidate left behind (L4); `SessionLost`; those of
    /// [`Session::txn`].
    pub async fn acquire(&self, wait: Option<Duration>, note: Bytes) -> Result<LockGuard> {
        let held = self.queue.hold(note);
        let tenure = match wait {
            None => held.await?,
            Some(wait) => {
                tokio::time::timeout(wait, held).await.map_err(|_| ErrorKind::Timeout)??
            }
        };
        Ok(LockGuard { tenure })
    }

    /// `None` if it is held or waited for (L3).
    pub async fn try_acquire(&self, note: Bytes) -> Result<Option<LockGuard>> {
        if self.queue.first(ReadOpts::default()).await?.0.is_some() {
            return Ok(None);
        }
        Ok(self.queue.hold_at_once(note).await?.map(|tenure| LockGuard { tenure }))
    }

    /// The holder's note and token (L9); never `Unknown`.
    pub async fn holder(&self, opts: ReadOpts) -> Result<LeaderView> {
        let (first, revision) = self.queue.first(opts).await?;
        Ok(LeaderView::of(first, revision))
    }
}

impl LockGuard {
    pub fn fence(&self) -> &Fence {
        self.tenure.fence()
    }

    /// Until when no other can hold it (L1), as far as confirmed.
    pub fn valid_until(&self) -> Instant {
        self.tenure.valid_until()
    }

    /// Once false, false for ever.
    pub fn is_valid(&self) -> bool {
        self.tenure.is_valid()
    }

    /// The transaction, committing only while the lock is held (L7).
    pub fn guard(&self, txn: Txn) -> Txn {
        txn.fence(self.fence())
    }

    /// Resolves when the lock is no longer held.
    pub async fn lost(&self) -> HolderLoss {
        self.tenure.lost().await
    }

    /// Completes after the key is gone (L6).
    pub async fn release(self) -> Result<()> {
        self.tenure.release().await
    }
}

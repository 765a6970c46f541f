//! Election: one leader a name, a token that guards its writes (E1-E12).

use super::tenure::{HolderLoss, Line, Queue, Tenure};
use crate::entry::{Entry, ReadOpts, Revision};
use crate::names::Key;
use crate::session::Session;
use crate::txn::{Fence, Txn};
use crate::{BoxStream, Coordinator, Result};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::time::Instant;

const SPACE: &str = "elect";

/// An election by name, as one session sees it.
#[derive(Clone, Debug)]
pub struct Election {
    queue: Queue,
}

/// Being the leader. Dropping it resigns, best effort.
#[derive(Debug)]
pub struct Leadership {
    tenure: Tenure,
}

/// Who leads, as of some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderView {
    /// Not known: the watch has not begun or is lost (E7).
    Unknown,
    None {
        revision: Revision,
    },
    Leader {
        entry: Entry,
        token: Revision,
    },
}

impl LeaderView {
    pub(super) fn of(first: Option<Entry>, revision: Revision) -> LeaderView {
        match first {
            None => LeaderView::None { revision },
            Some(entry) => LeaderView::Leader { token: entry.created, entry },
        }
    }

    /// The leader's candidate key.
    pub fn key(&self) -> Option<&Key> {
        match self {
            LeaderView::Leader { entry, .. } => Some(&entry.key),
            _ => None,
        }
    }
}

impl Election {
    /// # Errors
    /// `InvalidKey` unless the name is a key's and holds no `@`.
    pub fn new(
        coordinator: &Arc<dyn Coordinator>,
        session: &Arc<dyn Session>,
        name: &str,
    ) -> Result<Election> {
        Ok(Election { queue: Queue::new(coordinator, session, SPACE, name)? })
    }

    /// Waits for its turn, in the order of calls (E4). Dropping the future leaves no candidate
    /// behind (E5). A candidate deleted from outside goes back to the end of the queue.
    ///
    /// A new leader may have to let the clocks' tolerance pass before it acts outside the store.
    ///
    /// # Errors
    /// `SessionLost`; `Closed`; those of [`Session::txn`].
    pub async fn campaign(&self, value: Bytes) -> Result<Leadership> {
        Ok(Leadership { tenure: self.queue.hold(value).await? })
    }

    /// Who leads now; never `Unknown`.
    pub async fn leader(&self, opts: ReadOpts) -> Result<LeaderView> {
        let (first, revision) = self.queue.first(opts).await?;
        Ok(LeaderView::of(first, revision))
    }

    /// `Unknown`, then each change of leader or of its value; `Unknown` again whenever the watch
    /// is lost. Tokens never decrease (E7). Ends with the handle.
    pub fn observe(&self) -> BoxStream<LeaderView> {
        let queue = self.queue.clone();
        let declared = async move {
            drop(queue.declare().await);
            queue.watch()
        };
        let events = stream::once(declared).flatten();
        let views = events.scan((Line::default(), true), |(line, open), event| {
            let view = match line.fold(event) {
                Ok(true) => Some(Some(LeaderView::of(
                    line.first().cloned(),
                    line.revision.unwrap_or_default(),
                ))),
                Ok(false) => Some(Some(LeaderView::Unknown)),
                Err(_) if *open => {
                    *open = false;
                    Some(Some(LeaderView::Unknown))
                }
                Err(_) => None,
            };
            std::future::ready(view)
        });
        let news = stream::once(std::future::ready(Some(LeaderView::Unknown))).chain(views).scan(
            None,
            |last: &mut Option<LeaderView>, view| {
                let same = match (last.as_ref(), view.as_ref()) {
                    (Some(LeaderView::None { .. }), Some(LeaderView::None { .. })) => true,
                    (last, view) => last == view,
                };
                last.clone_from(&view);
                std::future::ready(Some(view.filter(|_| !same)))
            },
        );
        Box::pin(news.filter_map(std::future::ready))
    }
}

impl Leadership {
    pub fn fence(&self) -> &Fence {
        self.tenure.fence()
    }

    /// Until when no other can lead (E1), as far as confirmed.
    pub fn valid_until(&self) -> Instant {
        self.tenure.valid_until()
    }

    /// Once false, false for ever (E9).
    pub fn is_valid(&self) -> bool {
        self.tenure.is_valid()
    }

    /// One heartbeat confirmed now: the new `valid_until`.
    pub async fn confirm(&self) -> Result<Instant> {
        self.tenure.queue.session.confirm().await
    }

    /// The transaction, committing only while this is the leader (E3).
    pub fn guard(&self, txn: Txn) -> Txn {
        txn.fence(self.fence())
    }

    /// Resolves when leadership is over, at the latest at `valid_until` (E9).
    pub async fn lost(&self) -> HolderLoss {
        self.tenure.lost().await
    }

    /// Changes the value others see, not the token (E10).
    ///
    /// # Errors
    /// `Fenced` when leadership has passed on; those of [`Session::txn`].
    pub async fn proclaim(&self, value: Bytes) -> Result<()> {
        self.tenure.proclaim(value).await
    }

    /// Completes after the candidate is gone; the next one leads promptly (E8).
    pub async fn resign(self) -> Result<()> {
        self.tenure.release().await
    }
}

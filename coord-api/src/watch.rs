//! Watches: consistent cuts of a prefix, loss as an event, the final state always (W1-W22).
//!
//! What is promised is convergence of state. History per revision is a capability
//! (`caps.full_history`) that no consumer may need.

use crate::entry::{Entry, Revision};
use crate::error::Error;
use crate::names::Key;
use std::time::Duration;

/// The net effect on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The full entry as of that revision (W10).
    Put(Entry),
    /// Only for a key the folded state has (W5).
    Delete { key: Key },
}

/// What a stream says. The order:
/// `(Snapshot{more}* Snapshot{!more} Synced | Synced{resumed}) (Changes | Progress)* Lost ...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A part of the present state, sorted by key; the last part has `more: false` (W1).
    Snapshot { entries: Vec<Entry>, more: bool },
    /// The folded state equals the prefix's content at `revision` (W2). `resumed`: no snapshot
    /// was needed, the state from before still holds.
    Synced { revision: Revision, resumed: bool },
    /// The net effect of everything up to `revision`; all of one transaction together (W3).
    Changes { revision: Revision, changes: Vec<Change> },
    /// Nothing of the prefix has changed up to `revision` (W20).
    Progress { revision: Revision },
    /// Changes may have been missed; a new snapshot or a proven resumption follows (W9, W13).
    Lost { reason: LostReason },
    /// The stream's end (G5, W16).
    Closed(Error),
}

/// Why a stream must begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LostReason {
    Disconnected,
    Compacted,
    /// The consumer was so slow that more than 8 x buffer keys had changed (W15).
    Overflow,
    ClusterReplaced,
}

/// Options of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOpts {
    /// Resume from here; a hint, which may be answered by a snapshot.
    pub start_after: Option<Revision>,
    /// Values stay empty, versions are valid (W19).
    pub keys_only: bool,
    /// At least one event each two intervals while connected (W20).
    pub progress_every: Option<Duration>,
    /// Events kept for a slow consumer before changes are merged per key (W15).
    pub buffer: Option<usize>,
}

impl WatchOpts {
    /// `buffer` when the caller names none, in events.
    pub const BUFFER: usize = 256;
}

impl Change {
    pub fn key(&self) -> &Key {
        match self {
            Change::Put(entry) => &entry.key,
            Change::Delete { key } => key,
        }
    }
}

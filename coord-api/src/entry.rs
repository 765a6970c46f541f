//! The store's own time, what it holds, and how it is read.

use crate::names::Key;
use crate::session::SessionId;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// A place in the total order of writes of one cluster id. Gaps are normal: compare, never count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// Identity of one state of one key; for equality only. Never repeats, not even after the key
/// was deleted and written again (T4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub [u64; 3]);

/// One key as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Bytes,
    pub version: Version,
    /// When the key came into being; replacing keeps it (T5).
    pub created: Revision,
    /// When this value was written.
    pub modified: Revision,
    /// The session whose end removes it; `None` in persistent spaces (R10).
    pub owner: Option<SessionId>,
}

/// Entries sorted by key, all as of `revision` (R5, R6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub entries: Vec<Entry>,
    pub revision: Revision,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Reflects every transaction, of any handle, that completed before the call (R2).
    #[default]
    Linearizable,
    /// Read-your-writes and monotonic for this handle; may lag other handles (R3).
    Session,
    /// At least as new as the revision; waits for it until the timeout (R4).
    NotOlderThan(Revision),
}

/// Options of a read; the default is linearizable within the handle's request timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOpts {
    pub consistency: Consistency,
    /// `None`: the handle's request timeout.
    pub timeout: Option<Duration>,
}

impl ReadOpts {
    pub fn linearizable() -> ReadOpts {
        ReadOpts::default()
    }

    pub fn session() -> ReadOpts {
        ReadOpts { consistency: Consistency::Session, timeout: None }
    }

    pub fn not_older_than(revision: Revision) -> ReadOpts {
        ReadOpts { consistency: Consistency::NotOlderThan(revision), timeout: None }
    }

    pub fn within(mut self, timeout: Duration) -> ReadOpts {
        self.timeout = Some(timeout);
        self
    }
}

impl Snapshot {
    /// Looks a key up by binary search.
    pub fn entry(&self, key: &Key) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.key.cmp(key)).ok()?;
        self.entries.get(at)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

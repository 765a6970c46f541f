//! One space as a backend follows it, and every stream that looks at it.
//!
//! A backend runs one watch per space, whatever the number of streams; the [`Hub`] keeps the copy
//! of the space that the watch maintains and shows it to the [`Feed`]s. No I/O and no task here:
//! the backend's driver owns the watch, waits on [`Hub::changed`] beside it and does what
//! [`Hub::wants`] says.

use crate::entry::{Entry, Revision};
use crate::error::Error;
use crate::feed::{Feed, FeedStream, Signal, feed};
use crate::names::{Key, Prefix};
use crate::watch::{Change, LostReason, WatchOpts};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Shared by the driver and the handle that opens streams; cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// What the streams want of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// No stream is left: end the watch.
    pub idle: bool,
    /// Streams wait for proof that the copy is recent enough: find out the store's present
    /// revision, bring the copy up to it, then call [`Hub::proven`] with this ticket.
    pub proof: Option<Ticket>,
    /// A proof at least each such interval, for streams that asked for progress (W20).
    pub progress: Option<Duration>,
}

/// Names the streams that were open when a proof began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

struct Shared {
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Default)]
struct State {
    /// `None` while the watch is lost or has not begun.
    copy: Option<Held>,
    rows: HashMap<u64, Row>,
    next: u64,
    closed: Option<Error>,
}

struct Held {
    entries: BTreeMap<Key, Entry>,
    revision: Revision,
}

struct Row {
    feed: Feed,
    waits: bool,
    /// The stream may not begin with an older state (W4, W7).
    floor: Revision,
    progress: Option<Duration>,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub(Arc::new(Shared { state: Mutex::default(), bell: Notify::new() }))
    }
}

impl Hub {
    /// A stream that begins no older than `floor`, the newest revision its handle has seen (W7).
    pub fn open(&self, prefix: Prefix, opts: &WatchOpts, floor: Revision) -> FeedStream {
        let mut state = self.0.state.lock();
        let id = state.next;
        state.next += 1;
        let weak = Arc::downgrade(&self.0);
        let (feed, stream) = feed(prefix, opts, move |signal| {
            if let Some(shared) = weak.upgrade() {
                Hub(shared).signalled(id, signal);
            }
        });
        if let Some(error) = &state.closed {
            feed.close(error.clone());
        } else {
            let progress = opts.progress_every.map(|every| every.max(Duration::from_millis(50)));
            let row = Row { feed, waits: true, floor, progress };
            state.rows.insert(id, row);
            state.serve(|row| row.floor);
        }
        drop(state);
        self.0.bell.notify_one();
        stream
    }

    /// The watch has begun (again): the whole space as of `revision`, from a linearizable read.
    pub fn reset(&self, entries: BTreeMap<Key, Entry>, revision: Revision) {
        let mut state = self.0.state.lock();
        state.copy = Some(Held { entries, revision });
        state.serve(|_| Revision(0));
    }

    /// Everything that happened after the last call, up to `revision`. Revisions told before are
    /// ignored.
    pub fn changes(&self, revision: Revision, changes: Vec<Change>) {
        let mut state = self.0.state.lock();
        let Some(copy) = &mut state.copy else { return };
        if revision <= copy.revision {
            return;
        }
        copy.revision = revision;
        for change in &changes {
            match change {
                Change::Put(entry) => {
                    copy.entries.insert(entry.key.clone(), entry.clone());
                }
                Change::Delete { key } => {
                    copy.entries.remove(key);
                }
            }
        }
        state.rows.values().for_each(|row| row.feed.changes(revision, &changes));
        state.serve(|row| row.floor);
    }

    /// The copy holds at `revision`, which was the store's present one at some moment after the
    /// ticket was given out.
    pub fn proven(&self, ticket: Option<Ticket>, revision: Revision) {
        let mut state = self.0.state.lock();
        let Some(copy) = &mut state.copy else { return };
        copy.revision = copy.revision.max(revision);
        let asked = state.rows.values().filter(|row| row.progress.is_some() && !row.waits);
        asked.for_each(|row| row.feed.progress(revision));
        let before = ticket.map_or(0, |ticket| ticket.0);
        state.rows.iter_mut().filter(|(id, _)| **id < before).for_each(|(_, row)| {
            row.floor = Revision(0);
        });
        state.serve(|row| row.floor);
    }

    /// Changes may be missed from here on, until [`Hub::reset`].
    pub fn lost(&self, reason: LostReason) {
        let mut state = self.0.state.lock();
        state.copy = None;
        for row in state.rows.values_mut() {
            row.waits = true;
            row.feed.lost(reason);
        }
    }

    /// Ends every stream, and every one opened later.
    pub fn close(&self, error: Error) {
        let mut state = self.0.state.lock();
        state.rows.drain().for_each(|(_, row)| row.feed.close(error.clone()));
        state.copy = None;
        state.closed = Some(error);
        drop(state);
        self.0.bell.notify_one();
    }

    /// True once, when no stream is left: the hub is then closed to new streams, so that a driver
    /// that ends on it misses nobody.
    pub fn retire(&self, error: Error) -> bool {
        let mut state = self.0.state.lock();
        let idle = state.rows.is_empty();
        if idle {
            state.closed = Some(error);
        }
        idle
    }

    pub fn is_closed(&self) -> bool {
        self.0.state.lock().closed.is_some()
    }

    pub fn wants(&self) -> Wants {
        let state = self.0.state.lock();
        let waits = state.copy.is_some() && state.rows.values().any(|row| row.waits);
        Wants {
            idle: state.rows.is_empty(),
            proof: waits.then_some(Ticket(state.next)),
            progress: state.rows.values().filter_map(|row| row.progress).min(),
        }
    }

    /// Completes after the answer of [`Hub::wants`] may have changed; for one driver.
    pub async fn changed(&self) {
        self.0.bell.notified().await;
    }

    /// Revision of the copy and the number of its keys; `None` while lost.
    pub fn extent(&self) -> Option<(Revision, usize)> {
        let state = self.0.state.lock();
        state.copy.as_ref().map(|copy| (copy.revision, copy.entries.len()))
    }

    /// The copy's entry of a key.
    pub fn entry(&self, key: &Key) -> Option<Entry> {
        self.0.state.lock().copy.as_ref()?.entries.get(key).cloned()
    }

    /// All keys of the copy.
    pub fn keys(&self) -> Vec<Key> {
        let state = self.0.state.lock();
        state.copy.as_ref().map_or_else(Vec::new, |copy| copy.entries.keys().cloned().collect())
    }

    fn signalled(&self, id: u64, signal: Signal) {
        let mut state = self.0.state.lock();
        match signal {
            Signal::Dropped => {
                state.rows.remove(&id);
            }
            Signal::WantSnapshot => {
                if let Some(row) = state.rows.get_mut(&id) {
                    row.waits = true;
                    row.floor = row.feed.last();
                }
                state.serve(|row| row.floor);
            }
        }
        drop(state);
        self.0.bell.notify_one();
    }
}

impl State {
    /// Shows the copy to every waiting stream for which it is new enough.
    fn serve(&mut self, floor: impl Fn(&Row) -> Revision) {
        let Some(copy) = &self.copy else { return };
        for row in self.rows.values_mut().filter(|row| row.waits) {
            if copy.revision < floor(row) {
                continue;
            }
            let prefix = row.feed.prefix();
            let entries = copy.entries.values().filter(|entry| prefix.matches(&entry.key));
            row.waits = !row.feed.snapshot(entries.cloned().collect(), copy.revision);
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        let revision = state.copy.as_ref().map(|copy| copy.revision);
        write!(f, "Hub({} streams at {revision:?})", state.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Version;
    use crate::names::Space;
    use crate::watch::WatchEvent;
    use bytes::Bytes;
    use futures_util::{FutureExt, StreamExt};

    fn entry(name: &str, modified: u64) -> Entry {
        Entry {
            key: Key::new(&Space::new("s").unwrap(), name).unwrap(),
            value: Bytes::new(),
            version: Version([modified, 0, 0]),
            created: Revision(modified),
            modified: Revision(modified),
            owner: None,
        }
    }

    fn copy(names: &[&str]) -> BTreeMap<Key, Entry> {
        names.iter().map(|name| entry(name, 1)).map(|e| (e.key.clone(), e)).collect()
    }

    fn open(hub: &Hub, prefix: &str, floor: u64) -> FeedStream {
        let prefix = Prefix::new(&Space::new("s").unwrap(), prefix).unwrap();
        hub.open(prefix, &WatchOpts::default(), Revision(floor))
    }

    fn check(stream: &mut FeedStream, expected: &[&str]) {
        let mut words = Vec::new();
        while let Some(Some(event)) = stream.next().now_or_never() {
            words.push(match event {
                WatchEvent::Snapshot { entries, .. } => format!("snapshot of {}", entries.len()),
                WatchEvent::Synced { revision, .. } => format!("synced {revision}"),
                WatchEvent::Changes { revision, changes } => {
                    format!("{} at {revision}", changes.len())
                }
                other => format!("{other:?}"),
            });
        }
        assert_eq!(words, expected);
    }

    #[test]
    fn late_streams_begin_with_the_copy() {
        let hub = Hub::default();
        let mut first = open(&hub, "", 0);
        hub.reset(copy(&["a", "b"]), Revision(3));
        hub.changes(Revision(4), vec![Change::Put(entry("bb", 4))]);
        check(&mut first, &["snapshot of 2", "synced 3", "1 at 4"]);
        check(&mut open(&hub, "b", 4), &["snapshot of 2", "synced 4"]);
    }

    #[test]
    fn a_stream_waits_for_a_copy_as_new_as_its_handle() {
        let hub = Hub::default();
        let _first = open(&hub, "", 0);
        hub.reset(copy(&["a"]), Revision(3));
        let mut late = open(&hub, "", 9);
        check(&mut late, &[]);
        let ticket = hub.wants().proof;
        let mut later = open(&hub, "", 9);
        hub.proven(ticket, Revision(8));
        check(&mut late, &["snapshot of 1", "synced 8"]);
        check(&mut later, &[]);
        hub.changes(Revision(9), vec![]);
        check(&mut later, &["snapshot of 1", "synced 9"]);
        assert_eq!(hub.wants().proof, None);
    }

    #[test]
    fn a_loss_ends_in_a_new_copy() {
        let hub = Hub::default();
        let mut stream = open(&hub, "", 0);
        hub.reset(copy(&["a"]), Revision(3));
        check(&mut stream, &["snapshot of 1", "synced 3"]);
        hub.lost(LostReason::Disconnected);
        hub.changes(Revision(4), vec![Change::Put(entry("b", 4))]);
        hub.reset(copy(&["a", "b"]), Revision(5));
        check(&mut stream, &["Lost { reason: Disconnected }", "snapshot of 2", "synced 5"]);
    }

    #[test]
    fn it_knows_when_nobody_looks() {
        let hub = Hub::default();
        let stream = open(&hub, "", 0);
        assert!(!hub.wants().idle && !hub.retire(crate::ErrorKind::Closed.into()));
        drop(stream);
        assert!(hub.wants().idle && hub.retire(crate::ErrorKind::Closed.into()));
        assert!(hub.is_closed());
    }
}

//! The consumer's end of a watch, the same for every backend: filter, buffer, merge, overflow.
//!
//! A backend tells a [`Feed`] what happened to a space, in the order of revisions; the
//! [`FeedStream`] gives the consumer a stream that keeps W1, W4, W5, W9, W15 and W19. No I/O, no
//! clock, no task: it never calls the backend but through `signal`, and never while locked.

use crate::entry::{Entry, Revision};
use crate::error::Error;
use crate::names::{Key, Prefix};
use crate::watch::{Change, LostReason, WatchEvent, WatchOpts};
use bytes::Bytes;
use futures_core::Stream;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Entries of one `Snapshot` event.
const CHUNK: usize = 512;
/// Keys kept merged, in multiples of `buffer`, before the stream overflows (W15).
const MERGE_FACTOR: usize = 8;

/// What the consumer's side asks of the backend. May be called from any thread that polls or
/// drops the stream; must not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The stream has overflowed and reads again: call [`Feed::snapshot`].
    WantSnapshot,
    /// The stream is dropped: forget the feed.
    Dropped,
}

/// The backend's end. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<Inner>>);

/// The consumer's end.
pub struct FeedStream {
    inner: Arc<Mutex<Inner>>,
    signal: Box<dyn Fn(Signal) + Send + Sync>,
}

/// Starts a stream that is empty until the backend calls [`Feed::snapshot`] or
/// [`Feed::resume_from`].
pub fn feed(
    prefix: Prefix,
    opts: &WatchOpts,
    signal: impl Fn(Signal) + Send + Sync + 'static,
) -> (Feed, FeedStream) {
    let inner = Arc::new(Mutex::new(Inner {
        prefix,
        keys_only: opts.keys_only,
        buffer: opts.buffer.unwrap_or(WatchOpts::BUFFER).max(1),
        queue: VecDeque::new(),
        merged: None,
        known: HashSet::new(),
        last: Revision(0),
        phase: Phase::Gap,
        has_state: false,
        told: false,
        waker: None,
    }));
    (Feed(inner.clone()), FeedStream { inner, signal: Box::new(signal) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Needs a snapshot or a resumption; changes are ignored.
    Gap,
    Synced,
    /// The consumer fell behind; it must read once before it gets a snapshot.
    Overflowed,
    /// `Closed` is queued or delivered.
    Ended,
}

struct Inner {
    prefix: Prefix,
    keys_only: bool,
    buffer: usize,
    queue: VecDeque<WatchEvent>,
    /// What follows `queue`, merged per key.
    merged: Option<Merged>,
    /// Keys of the folded state once everything queued and merged is consumed.
    known: HashSet<Key>,
    /// Revision of that state.
    last: Revision,
    phase: Phase,
    /// The consumer holds (or has queued) a state that `last` belongs to.
    has_state: bool,
    /// The consumer has received something, so a loss concerns it.
    told: bool,
    waker: Option<Waker>,
}

struct Merged {
    revision: Revision,
    changes: BTreeMap<Key, Pending>,
}

struct Pending {
    /// The folded state before the merged changes has the key.
    had: bool,
    change: Change,
}

impl Feed {
    /// The whole space, or at least the prefix, as of `revision`; entries in any order.
    ///
    /// False if `revision` is older than what the stream has already shown: read again, the
    /// state must not go back (W4).
    #[must_use = "an older snapshot is refused and must be read again"]
    pub fn snapshot(&self, entries: Vec<Entry>, revision: Revision) -> bool {
        let mut inner = self.0.lock();
        match inner.phase {
            Phase::Ended | Phase::Overflowed => return true,
            _ if revision < inner.last => return false,
            Phase::Synced => inner.lose(LostReason::Disconnected),
            Phase::Gap => {}
        }
        inner.show(entries, revision);
        inner.wake();
        true
    }

    /// Continues without snapshot after [`Feed::lost`]: the backend proves that it will tell every
    /// change after [`Feed::last`].
    ///
    /// False if there is no state to continue from (nothing shown yet, or overflowed since): a
    /// snapshot is needed.
    #[must_use = "where nothing can be resumed a snapshot is needed"]
    pub fn resume(&self) -> bool {
        let mut inner = self.0.lock();
        match inner.phase {
            Phase::Gap if !inner.has_state => return false,
            Phase::Gap => {
                inner.phase = Phase::Synced;
                let revision = inner.last;
                inner.queue.push_back(WatchEvent::Synced { revision, resumed: true });
                inner.wake();
            }
            Phase::Synced | Phase::Overflowed | Phase::Ended => {}
        }
        true
    }

    /// Begins without snapshot: the consumer has the state of `start`, whose keys are `known`.
    pub fn resume_from(&self, start: Revision, known: impl IntoIterator<Item = Key>) {
        {
            let mut inner = self.0.lock();
            let prefix = inner.prefix.clone();
            inner.known = known.into_iter().filter(|key| prefix.matches(key)).collect();
            inner.last = start;
            inner.has_state = true;
        }
        let resumed = self.resume();
        debug_assert!(resumed, "the state was just given");
    }

    /// The net effect of everything after [`Feed::last`] up to `revision`. Foreign keys and
    /// revisions told before are ignored.
    pub fn changes(&self, revision: Revision, changes: &[Change]) {
        let mut inner = self.0.lock();
        if inner.phase != Phase::Synced || revision <= inner.last {
            return;
        }
        inner.last = revision;
        inner.add(revision, changes);
        inner.wake();
    }

    /// Nothing of the space happened after [`Feed::last`] up to `revision` (W20).
    pub fn progress(&self, revision: Revision) {
        let mut inner = self.0.lock();
        if inner.phase != Phase::Synced || revision < inner.last || inner.merged.is_some() {
            return;
        }
        inner.last = revision;
        if let Some(WatchEvent::Progress { revision: queued }) = inner.queue.back_mut() {
            *queued = revision;
        } else if inner.queue.len() < inner.buffer {
            inner.queue.push_back(WatchEvent::Progress { revision });
        }
        inner.wake();
    }

    /// Changes may be missed from here on.
    pub fn lost(&self, reason: LostReason) {
        let mut inner = self.0.lock();
        inner.lose(reason);
        inner.wake();
    }

    /// The last event of the stream.
    pub fn close(&self, error: Error) {
        let mut inner = self.0.lock();
        if inner.phase != Phase::Ended {
            inner.flush();
            inner.phase = Phase::Ended;
            inner.queue.push_back(WatchEvent::Closed(error));
            inner.wake();
        }
    }

    /// Up to here everything has been told.
    pub fn last(&self) -> Revision {
        self.0.lock().last
    }

    /// Lost, and neither resumed nor shown a snapshot since.
    pub fn in_gap(&self) -> bool {
        self.0.lock().phase == Phase::Gap
    }

    pub fn prefix(&self) -> Prefix {
        self.0.lock().prefix.clone()
    }

    /// An event past all rules, for the seeded defects of the in-memory model.
    pub(crate) fn force(&self, event: WatchEvent) {
        let mut inner = self.0.lock();
        inner.queue.push_back(event);
        inner.wake();
    }
}

impl Inner {
    fn show(&mut self, mut entries: Vec<Entry>, revision: Revision) {
        // Whatever is unread is superseded; that something was lost is not.
        let lost = self.queue.drain(..).rev().find(|e| matches!(e, WatchEvent::Lost { .. }));
        self.queue.extend(lost);
        self.merged = None;
        entries.retain(|entry| self.prefix.matches(&entry.key));
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        self.known = entries.iter().map(|entry| entry.key.clone()).collect();
        if self.keys_only {
            entries.iter_mut().for_each(|entry| entry.value = Bytes::new());
        }
        let mut rest = entries.into_iter();
        loop {
            let part: Vec<Entry> = rest.by_ref().take(CHUNK).collect();
            let more = rest.len() > 0;
            self.queue.push_back(WatchEvent::Snapshot { entries: part, more });
            if !more {
                break;
            }
        }
        self.queue.push_back(WatchEvent::Synced { revision, resumed: false });
        self.last = revision;
        self.has_state = true;
        self.phase = Phase::Synced;
    }

    fn add(&mut self, revision: Revision, changes: &[Change]) {
        let mut net: BTreeMap<Key, Pending> = BTreeMap::new();
        for change in changes.iter().filter(|change| self.prefix.matches(change.key())) {
            let had = match change {
                Change::Put(entry) => !self.known.insert(entry.key.clone()),
                Change::Delete { key } => self.known.remove(key),
            };
            let change = self.strip(change);
            net.entry(change.key().clone())
                .and_modify(|pending| pending.change = change.clone())
                .or_insert(Pending { had, change });
        }
        match &mut self.merged {
            None if self.queue.len() < self.buffer => {
                let changes = visible(net);
                if !changes.is_empty() {
                    self.queue.push_back(WatchEvent::Changes { revision, changes });
                }
            }
            None => self.merged = Some(Merged { revision, changes: net }),
            Some(merged) => merged.take_in(revision, net),
        }
        let keys = self.merged.as_ref().map_or(0, |merged| merged.changes.len());
        if keys > MERGE_FACTOR * self.buffer {
            self.overflow();
        }
    }

    fn strip(&self, change: &Change) -> Change {
        match change {
            Change::Put(entry) if self.keys_only => {
                Change::Put(Entry { value: Bytes::new(), ..entry.clone() })
            }
            other => other.clone(),
        }
    }

    fn lose(&mut self, reason: LostReason) {
        if self.phase != Phase::Synced && self.phase != Phase::Gap {
            return;
        }
        self.flush();
        if reason == LostReason::ClusterReplaced {
            self.last = Revision(0);
            self.has_state = false;
        }
        self.phase = Phase::Gap;
        // A stream that has said nothing yet simply begins later (W1).
        let silent = reason == LostReason::Disconnected && !self.told && self.queue.is_empty();
        let event = WatchEvent::Lost { reason };
        if !silent && self.queue.back() != Some(&event) {
            self.queue.push_back(event);
        }
        if self.queue.len() > MERGE_FACTOR * self.buffer.max(8) {
            self.overflow();
        }
    }

    fn flush(&mut self) {
        if let Some(merged) = self.merged.take() {
            let changes = visible(merged.changes);
            if !changes.is_empty() {
                self.queue.push_back(WatchEvent::Changes { revision: merged.revision, changes });
            }
        }
    }

    fn overflow(&mut self) {
        self.queue.clear();
        self.merged = None;
        self.known = HashSet::new();
        self.has_state = false;
        self.phase = Phase::Overflowed;
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Merged {
    fn take_in(&mut self, revision: Revision, net: BTreeMap<Key, Pending>) {
        self.revision = revision;
        for (key, later) in net {
            match self.changes.get_mut(&key) {
                Some(pending) => pending.change = later.change,
                None => {
                    self.changes.insert(key, later);
                }
            }
        }
    }
}

/// A key created and deleted meanwhile leaves nothing (W5).
fn visible(net: BTreeMap<Key, Pending>) -> Vec<Change> {
    let shown = |p: &Pending| p.had || matches!(p.change, Change::Put(_));
    net.into_values().filter(shown).map(|pending| pending.change).collect()
}

impl Stream for FeedStream {
    type Item = WatchEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        let mut inner = self.inner.lock();
        if inner.queue.is_empty() {
            inner.flush();
        }
        if let Some(event) = inner.queue.pop_front() {
            inner.told = true;
            return Poll::Ready(Some(event));
        }
        match inner.phase {
            Phase::Ended => Poll::Ready(None),
            Phase::Overflowed => {
                inner.phase = Phase::Gap;
                inner.told = true;
                drop(inner);
                (self.signal)(Signal::WantSnapshot);
                Poll::Ready(Some(WatchEvent::Lost { reason: LostReason::Overflow }))
            }
            Phase::Gap | Phase::Synced => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for FeedStream {
    fn drop(&mut self) {
        (self.signal)(Signal::Dropped);
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed({})", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Version;
    use crate::names::Space;
    use futures_util::FutureExt;
    use futures_util::StreamExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn entry(name: &str, created: u64, modified: u64) -> Entry {
        Entry {
            key: Key::new(&Space::new("s").unwrap(), name).unwrap(),
            value: Bytes::from_static(b"v"),
            version: Version([modified, 0, 0]),
            created: Revision(created),
            modified: Revision(modified),
            owner: None,
        }
    }

    fn put(name: &str, created: u64, modified: u64) -> Change {
        Change::Put(entry(name, created, modified))
    }

    fn delete(name: &str) -> Change {
        Change::Delete { key: entry(name, 1, 1).key }
    }

    fn new(buffer: usize) -> (Feed, FeedStream, Arc<AtomicUsize>) {
        let wanted = Arc::new(AtomicUsize::new(0));
        let count = wanted.clone();
        let opts = WatchOpts { buffer: Some(buffer), ..WatchOpts::default() };
        let prefix = Prefix::all(&Space::new("s").unwrap());
        let (feed, stream) = feed(prefix, &opts, move |signal| {
            count.fetch_add(usize::from(signal == Signal::WantSnapshot), Ordering::SeqCst);
        });
        (feed, stream, wanted)
    }

    /// One word an event: `S2`/`s2` snapshot (last/more) with so many entries, `=7` synced,
    /// `~7` resumed, `7:+a-b` changes, `.7` progress, `!Reason` lost, `X` closed.
    fn check(stream: &mut FeedStream, expected: &str) {
        let mut words = Vec::new();
        while let Some(Some(event)) = stream.next().now_or_never() {
            words.push(match event {
                WatchEvent::Snapshot { entries, more } => {
                    format!("{}{}", if more { 's' } else { 'S' }, entries.len())
                }
                WatchEvent::Synced { revision, resumed } => {
                    format!("{}{revision}", if resumed { '~' } else { '=' })
                }
                WatchEvent::Changes { revision, changes } => {
                    let word = |c: &Change| match c {
                        Change::Put(entry) => format!("+{}", entry.key.name()),
                        Change::Delete { key } => format!("-{}", key.name()),
                    };
                    format!("{revision}:{}", changes.iter().map(word).collect::<String>())
                }
                WatchEvent::Progress { revision } => format!(".{revision}"),
                WatchEvent::Lost { reason } => format!("!{reason:?}"),
                WatchEvent::Closed(_) => "X".into(),
            });
        }
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn a_stream_begins_with_a_snapshot_and_goes_on() {
        let (feed, mut stream, _) = new(4);
        feed.lost(LostReason::Disconnected);
        check(&mut stream, "");
        assert!(feed.snapshot(vec![entry("b", 1, 1), entry("a", 2, 2)], Revision(5)));
        feed.changes(Revision(5), &[delete("a")]);
        feed.changes(Revision(6), &[delete("a"), delete("x"), put("c", 6, 6)]);
        feed.changes(Revision(7), &[delete("x")]);
        feed.progress(Revision(8));
        feed.close(crate::ErrorKind::Closed.into());
        check(&mut stream, "S2 =5 6:-a+c .8 X");
    }

    #[test]
    fn a_loss_is_followed_by_a_resumption_or_a_newer_snapshot() {
        let (feed, mut stream, _) = new(4);
        assert!(feed.snapshot(vec![], Revision(5)));
        check(&mut stream, "S0 =5");
        feed.lost(LostReason::Disconnected);
        feed.lost(LostReason::Disconnected);
        feed.changes(Revision(6), &[put("a", 6, 6)]);
        check(&mut stream, "!Disconnected");
        assert!(feed.resume());
        feed.changes(Revision(6), &[put("a", 6, 6)]);
        check(&mut stream, "~5 6:+a");
        feed.lost(LostReason::Compacted);
        assert!(!feed.snapshot(vec![], Revision(5)), "the state must not go back");
        assert!(feed.snapshot(vec![], Revision(7)));
        check(&mut stream, "!Compacted S0 =7");
    }

    #[test]
    fn a_slow_consumer_gets_net_effects() {
        let (feed, mut stream, _) = new(3);
        assert!(feed.snapshot(vec![entry("old", 1, 1)], Revision(1)));
        feed.changes(Revision(2), &[put("a", 2, 2)]);
        feed.changes(Revision(3), &[put("b", 3, 3), delete("old")]);
        feed.changes(Revision(4), &[delete("b"), put("old", 4, 4)]);
        feed.changes(Revision(5), &[put("ghost", 5, 5), put("a", 2, 5)]);
        feed.changes(Revision(6), &[delete("ghost")]);
        check(&mut stream, "S1 =1 2:+a 6:+a+old");
    }

    #[test]
    fn a_consumer_far_behind_starts_anew_when_it_reads() {
        let (feed, mut stream, wanted) = new(1);
        assert!(feed.snapshot(vec![], Revision(1)));
        for i in 2..20 {
            feed.changes(Revision(i), &[put(&format!("k{i}"), i, i)]);
        }
        assert_eq!(wanted.load(Ordering::SeqCst), 0);
        check(&mut stream, "!Overflow");
        assert_eq!(wanted.load(Ordering::SeqCst), 1);
        assert!(feed.snapshot(vec![entry("k", 19, 19)], Revision(19)));
        check(&mut stream, "S1 =19");
    }

    #[test]
    fn an_unread_stream_stays_bounded_through_many_losses() {
        let (feed, mut stream, _) = new(2);
        assert!(feed.snapshot(vec![], Revision(1)));
        check(&mut stream, "S0 =1");
        for _ in 0..10_000 {
            feed.lost(LostReason::Disconnected);
            assert!(feed.resume());
        }
        check(&mut stream, "!Overflow");
        assert!(!feed.resume(), "the state is gone");
    }

    #[test]
    fn large_snapshots_come_in_chunks() {
        let (feed, mut stream, _) = new(4);
        let entries = (0..1100).map(|i| entry(&format!("k{i}"), 1, 1)).collect();
        assert!(feed.snapshot(entries, Revision(1)));
        check(&mut stream, "s512 s512 S76 =1");
    }
}

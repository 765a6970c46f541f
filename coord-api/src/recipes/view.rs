//! A local copy of a prefix, kept current by a watch.
//!
//! State, not history: readers take an [`Image`], followers get the difference between the image
//! they last saw and the present one, however many events lie between.

use crate::coordinator::CoordinatorExt;
use crate::entry::{Entry, ReadOpts, Revision, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::names::{Key, Prefix};
use crate::watch::{Change, WatchEvent, WatchOpts};
use crate::{BoxStream, Coordinator, Result};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

/// How long [`View::wait_for`] trusts that an event is under way before it reads by itself.
const EVENT_WAIT: Duration = Duration::from_millis(50);

/// A prefix as last seen, and how fresh that is. Looking never waits.
///
/// Complete from [`View::open`] on; it only moves from one consistent cut to a later one. Dropping
/// the view ends its watch.
pub struct View {
    coordinator: Arc<dyn Coordinator>,
    prefix: Prefix,
    published: Arc<watch::Sender<Published>>,
    task: AbortHandle,
}

/// The entries of a prefix as of one revision, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    entries: BTreeMap<Key, Entry>,
    revision: Revision,
}

/// How far a view can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing seen yet; only inside [`View::open`].
    Initial,
    /// The watch stands: the image is as new as the last event.
    Current,
    /// The watch was lost then: the image is from before.
    StaleSince(Instant),
    /// The watch has ended for good.
    Ended(Error),
}

/// From one image to a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewDiff {
    pub revision: Revision,
    pub added: Vec<Entry>,
    /// Before and after. A key deleted and written again has another `created`.
    pub changed: Vec<(Entry, Entry)>,
    pub removed: Vec<Entry>,
    /// The watch was lost between the two.
    pub after_gap: bool,
}

/// Steps through the states of a view. See [`View::follow`].
pub struct Follow {
    receiver: watch::Receiver<Published>,
    seen: Option<Arc<Image>>,
    gaps_seen: u64,
}

#[derive(Clone)]
struct Published {
    image: Arc<Image>,
    freshness: Freshness,
    gaps: u64,
}

impl View {
    /// Completes when the first consistent image is there.
    ///
    /// # Errors
    /// `Timeout` if there is none `within` that time; what ended the watch otherwise
    /// (`UnknownSpace`, `PermissionDenied`, `Closed`, ...).
    pub async fn open(
        coordinator: &Arc<dyn Coordinator>,
        prefix: &Prefix,
        within: Duration,
    ) -> Result<View> {
        let events = coordinator.watch(prefix.clone(), WatchOpts::default());
        let first = Published { image: Arc::default(), freshness: Freshness::Initial, gaps: 0 };
        let (published, mut receiver) = watch::channel(first);
        let published = Arc::new(published);
        let task = tokio::spawn(keep(events, published.clone())).abort_handle();
        let view =
            View { coordinator: coordinator.clone(), prefix: prefix.clone(), published, task };
        let usable = receiver
            .wait_for(|now| matches!(now.freshness, Freshness::Current | Freshness::Ended(_)));
        match tokio::time::timeout(within, usable).await {
            Err(_) => return Err(ErrorKind::Timeout.into()),
            Ok(Err(_)) => return Err(ErrorKind::Internal.into()),
            Ok(Ok(_)) => {}
        }
        match view.freshness() {
            Freshness::Ended(error) => Err(error),
            _ => Ok(view),
        }
    }

    pub fn image(&self) -> Arc<Image> {
        self.published.borrow().image.clone()
    }

    pub fn freshness(&self) -> Freshness {
        self.published.borrow().freshness.clone()
    }

    pub fn entry(&self, key: &Key) -> Option<Entry> {
        self.published.borrow().image.entry(key).cloned()
    }

    /// Completes when the image is at least as new as `revision`, which need not have touched the
    /// prefix.
    ///
    /// # Errors
    /// `Timeout` after `within`; `FutureRevision`; what ended the watch.
    pub async fn wait_for(&self, revision: Revision, within: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + within;
        let mut receiver = self.published.subscribe();
        let mut patience = EVENT_WAIT;
        loop {
            let arrived = receiver.wait_for(|now| {
                now.image.revision >= revision || matches!(now.freshness, Freshness::Ended(_))
            });
            let next_look = deadline.min(tokio::time::Instant::now() + patience);
            if timeout_at(next_look, arrived).await.is_ok() {
                return match self.freshness() {
                    Freshness::Ended(error) if self.image().revision < revision => Err(error),
                    _ => Ok(()),
                };
            }
            if next_look == deadline {
                return Err(ErrorKind::Timeout.into());
            }
            // No event may be due at all: the revision may concern other keys only.
            let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
            let opts = ReadOpts::not_older_than(revision).within(rest);
            match self.coordinator.list(&self.prefix, opts).await {
                Ok(snapshot) => self.confirm(&snapshot),
                Err(error) if error.kind == ErrorKind::FutureRevision => return Err(error),
                Err(_) => {}
            }
            patience *= 2;
        }
    }

    /// The image holds what the store held at a later revision: then it is the image of that one.
    fn confirm(&self, snapshot: &Snapshot) {
        self.published.send_if_modified(|now| {
            let newer = now.image.revision < snapshot.revision;
            let same = now.image.entries.values().map(|e| (&e.key, e.version));
            let equal = newer && same.eq(snapshot.entries.iter().map(|e| (&e.key, e.version)));
            if equal {
                Arc::make_mut(&mut now.image).revision = snapshot.revision;
            }
            equal
        });
    }

    /// Every later state, as differences; the first difference is from nothing to the present.
    pub fn follow(&self) -> Follow {
        Follow { receiver: self.published.subscribe(), seen: None, gaps_seen: 0 }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follow {
    /// Waits until the image differs from the one last told; `None` when the view has ended.
    pub async fn next(&mut self) -> Option<ViewDiff> {
        loop {
            let now = self.receiver.borrow_and_update().clone();
            if let Some(diff) = self.advance(&now) {
                return Some(diff);
            }
            if matches!(now.freshness, Freshness::Ended(_)) {
                return None;
            }
            self.receiver.changed().await.ok()?;
        }
    }

    fn advance(&mut self, now: &Published) -> Option<ViewDiff> {
        let first = self.seen.is_none();
        let before = self.seen.replace(now.image.clone()).unwrap_or_default();
        if Arc::ptr_eq(&before, &now.image) {
            return None;
        }
        let mut diff = diff(&before, &now.image);
        let empty = diff.added.is_empty() && diff.changed.is_empty() && diff.removed.is_empty();
        if empty && !first {
            return None;
        }
        diff.after_gap = !first && self.gaps_seen != now.gaps;
        self.gaps_seen = now.gaps;
        Some(diff)
    }
}

impl Image {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn entry(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All entries in key order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.values()
    }

    /// The entries of a narrower prefix, in key order.
    pub fn under<'a>(&'a self, prefix: &'a Prefix) -> impl Iterator<Item = &'a Entry> {
        let from = self.entries.range(prefix.start()..);
        from.map(|(_, entry)| entry).take_while(|entry| prefix.matches(&entry.key))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Both maps are walked once, side by side.
fn diff(before: &Image, after: &Image) -> ViewDiff {
    let mut diff = ViewDiff { revision: after.revision, ..ViewDiff::default() };
    let (mut old, mut new) = (before.entries.values(), after.entries.values());
    let (mut left, mut right) = (old.next(), new.next());
    loop {
        match (left, right) {
            (None, None) => return diff,
            (Some(was), Some(is)) if was.key == is.key => {
                if was.version != is.version {
                    diff.changed.push((was.clone(), is.clone()));
                }
                (left, right) = (old.next(), new.next());
            }
            (Some(was), is) if is.is_none_or(|is| was.key < is.key) => {
                diff.removed.push(was.clone());
                left = old.next();
            }
            (_, is) => {
                diff.added.extend(is.cloned());
                right = new.next();
            }
        }
    }
}

/// Folds the events into the image and publishes every consistent state.
async fn keep(mut events: BoxStream<WatchEvent>, published: Arc<watch::Sender<Published>>) {
    let mut incoming: BTreeMap<Key, Entry> = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            WatchEvent::Snapshot { entries, .. } => {
                incoming.extend(entries.into_iter().map(|entry| (entry.key.clone(), entry)));
            }
            WatchEvent::Synced { revision, resumed } => {
                let snapshot = std::mem::take(&mut incoming);
                published.send_modify(|now| {
                    if !resumed {
                        now.image = Arc::new(Image { entries: snapshot, revision });
                    }
                    now.freshness = Freshness::Current;
                });
            }
            WatchEvent::Changes { revision, changes } => {
                published.send_if_modified(|now| fold(now, revision, changes));
            }
            WatchEvent::Progress { revision } => {
                published.send_if_modified(|now| fold(now, revision, Vec::new()));
            }
            WatchEvent::Lost { .. } => {
                incoming.clear();
                published.send_modify(|now| {
                    now.gaps += 1;
                    if now.freshness == Freshness::Current {
                        now.freshness = Freshness::StaleSince(Instant::now());
                    }
                });
            }
            WatchEvent::Closed(error) => {
                published.send_modify(|now| now.freshness = Freshness::Ended(error));
                return;
            }
        }
    }
    let ended = Freshness::Ended(ErrorKind::Closed.into());
    published.send_modify(|now| now.freshness = ended);
}

/// False for what [`View::confirm`] has shown to be contained already.
fn fold(now: &mut Published, revision: Revision, changes: Vec<Change>) -> bool {
    if revision <= now.image.revision {
        return false;
    }
    let image = Arc::make_mut(&mut now.image);
    image.revision = revision;
    for change in changes {
        match change {
            Change::Put(entry) => drop(image.entries.insert(entry.key.clone(), entry)),
            Change::Delete { key } => drop(image.entries.remove(&key)),
        }
    }
    true
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.published.borrow();
        let (len, at) = (now.image.len(), now.image.revision);
        write!(f, "View({}, {len} keys at {at}, {:?})", self.prefix, now.freshness)
    }
}

//! A watch's consumer that checks every rule of order while it folds the events.

use coord_api::{
    BoxStream, Change, CoordinatorExt, Entry, Key, LostReason, Prefix, ReadOpts, Revision, Version,
    WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::case::{Client, slack, within};

/// The folded state of one stream; panics when W1, W4, W5 or W9 is broken.
pub struct Fold {
    events: BoxStream<WatchEvent>,
    prefix: Prefix,
    pub state: BTreeMap<Key, Entry>,
    pub revision: Revision,
    incoming: Option<BTreeMap<Key, Entry>>,
    phase: Phase,
    patience: Duration,
    /// What has come so far, for assertions and messages.
    pub log: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begin,
    InSnapshot,
    SnapshotDone,
    Synced,
    Lost,
    Closed,
}

impl Fold {
    pub fn new(client: &Client, prefix: Prefix, patience: Duration) -> Fold {
        Fold::with(client, prefix, WatchOpts::default(), patience)
    }

    pub fn with(client: &Client, prefix: Prefix, opts: WatchOpts, patience: Duration) -> Fold {
        Fold {
            events: client.watch(prefix.clone(), opts),
            prefix,
            state: BTreeMap::new(),
            revision: Revision(0),
            incoming: None,
            phase: Phase::Begin,
            patience,
            log: Vec::new(),
        }
    }

    /// Folds what the consumer is taken to know already, for resumptions.
    pub fn knowing(mut self, entries: Vec<Entry>, revision: Revision) -> Fold {
        self.state = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        self.revision = revision;
        self
    }

    /// The next event, within the stream's patience.
    pub async fn next(&mut self) -> WatchEvent {
        let what = format!("an event on {} after {:?}", self.prefix, self.recent());
        let event = within(self.patience, &what, self.events.next()).await;
        let event = event.unwrap_or_else(|| panic!("the stream has ended: {:?}", self.recent()));
        self.fold(&event);
        event
    }

    /// `None` at the stream's end.
    pub async fn next_or_end(&mut self) -> Option<WatchEvent> {
        let event = within(self.patience, "an event or the end", self.events.next()).await?;
        self.fold(&event);
        Some(event)
    }

    fn recent(&self) -> &[String] {
        &self.log[self.log.len().saturating_sub(8)..]
    }

    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Fold) -> bool) {
        let patience = self.patience * slack();
        let all = async {
            while !(matches!(self.phase, Phase::Synced) && holds(self)) {
                let event = self.events.next().await;
                let event = event.unwrap_or_else(|| panic!("{what}: ended: {:?}", self.recent()));
                self.fold(&event);
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            panic!("{what}: not within {patience:?}; {:?}", self.recent());
        }
    }

    pub async fn synced(&mut self) {
        self.until("synced", |_| true).await;
    }

    /// Folds until the state is as new as `revision`, then compares with a read (W2).
    pub async fn settle(&mut self, client: &Client) -> Result<(), coord_api::Error> {
        let now = client.list(&self.prefix, ReadOpts::default()).await?;
        let (versions, seen) = (versions(&now.entries), |f: &Fold| f.versions());
        let what = format!("the state of revision {}", now.revision);
        self.until(&what, |fold| seen(fold) == versions).await;
        let values: Vec<&Entry> = self.state.values().collect();
        assert_eq!(values, now.entries.iter().collect::<Vec<_>>());
        Ok(())
    }

    pub fn versions(&self) -> Vec<(Key, Version)> {
        self.state.values().map(|entry| (entry.key.clone(), entry.version)).collect()
    }

    pub fn value(&self, key: &Key) -> Option<&[u8]> {
        self.state.get(key).map(|entry| &*entry.value)
    }

    pub fn is_synced(&self) -> bool {
        self.phase == Phase::Synced
    }

    fn fold(&mut self, event: &WatchEvent) {
        self.log.push(word(event));
        let log = self.recent().to_vec();
        let phase = self.phase;
        assert_ne!(phase, Phase::Closed, "G5: an event after Closed: {log:?}");
        match event {
            WatchEvent::Snapshot { entries, more } => {
                assert!(!matches!(phase, Phase::Synced | Phase::SnapshotDone), "W1: {log:?}");
                self.take_part(entries);
                self.phase = if *more { Phase::InSnapshot } else { Phase::SnapshotDone };
            }
            WatchEvent::Synced { revision, resumed: false } => {
                assert_eq!(phase, Phase::SnapshotDone, "W1: {log:?}");
                assert!(*revision >= self.revision, "W4: back to {revision}: {log:?}");
                self.state = self.incoming.take().expect("a snapshot was taken");
                let newest = self.state.values().map(|entry| entry.modified).max();
                assert!(newest <= Some(*revision), "R6: {log:?}");
                (self.revision, self.phase) = (*revision, Phase::Synced);
            }
            WatchEvent::Synced { revision, resumed: true } => {
                assert!(matches!(phase, Phase::Begin | Phase::Lost), "W1: {log:?}");
                assert!(*revision >= self.revision, "W4: back to {revision}: {log:?}");
                (self.revision, self.phase) = (*revision, Phase::Synced);
            }
            WatchEvent::Changes { revision, changes } => {
                assert_eq!(phase, Phase::Synced, "W9: {log:?}");
                assert!(*revision > self.revision, "W4: {revision} again: {log:?}");
                self.apply(*revision, changes);
                self.revision = *revision;
            }
            WatchEvent::Progress { revision } => {
                assert_eq!(phase, Phase::Synced, "W9: {log:?}");
                assert!(*revision >= self.revision, "W4: back to {revision}: {log:?}");
                self.revision = *revision;
            }
            WatchEvent::Lost { reason } => {
                if *reason == LostReason::ClusterReplaced {
                    self.revision = Revision(0);
                }
                self.incoming = None;
                self.phase = Phase::Lost;
            }
            WatchEvent::Closed(_) => self.phase = Phase::Closed,
        }
    }

    fn take_part(&mut self, entries: &[Entry]) {
        let incoming = self.incoming.get_or_insert_default();
        for entry in entries {
            assert!(self.prefix.matches(&entry.key), "K4: {}", entry.key);
            let last = incoming.last_key_value().map(|(key, _)| key);
            assert!(last.is_none_or(|last| *last < entry.key), "K3: {} out of order", entry.key);
            incoming.insert(entry.key.clone(), entry.clone());
        }
    }

    fn apply(&mut self, revision: Revision, changes: &[Change]) {
        assert!(!changes.is_empty(), "W5: empty Changes at {revision}");
        let mut touched = std::collections::BTreeSet::new();
        for change in changes {
            let key = change.key();
            assert!(self.prefix.matches(key), "K4: {key}");
            assert!(touched.insert(key.clone()), "W5: {key} twice at {revision}");
            match change {
                Change::Put(entry) => {
                    assert!(entry.modified <= revision, "W10: {key} is of {}", entry.modified);
                    let before = self.state.insert(key.clone(), entry.clone());
                    let news = before.is_none_or(|old| old.version != entry.version);
                    assert!(news, "W4: {key} told again at {revision}");
                }
                Change::Delete { .. } => {
                    let had = self.state.remove(key).is_some();
                    assert!(had, "W5: {key} deleted at {revision} but not there");
                }
            }
        }
    }
}

pub fn versions(entries: &[Entry]) -> Vec<(Key, Version)> {
    entries.iter().map(|entry| (entry.key.clone(), entry.version)).collect()
}

/// One word an event, for messages.
fn word(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Snapshot { entries, more } => format!("snapshot({}, {more})", entries.len()),
        WatchEvent::Synced { revision, resumed } => format!("synced({revision}, {resumed})"),
        WatchEvent::Changes { revision, changes } => {
            let one = |change: &Change| match change {
                Change::Put(entry) => format!("+{}", entry.key.name()),
                Change::Delete { key } => format!("-{}", key.name()),
            };
            let some = changes.iter().take(4).map(one).collect::<Vec<_>>().join(" ");
            format!("changes({revision}: {} {some})", changes.len())
        }
        WatchEvent::Progress { revision } => format!("progress({revision})"),
        WatchEvent::Lost { reason } => format!("lost({reason:?})"),
        WatchEvent::Closed(error) => format!("closed({error})"),
    }
}

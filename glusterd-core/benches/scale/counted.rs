//! A coordinator's handle that counts what goes through it: calls and their payload on the way up,
//! watch events and entries on the way down. Heartbeats are the backend's own and not seen here.

use async_trait::async_trait;
use coord_api::{
    BoxStream, Change, Coordinator, Entry, Health, Info, Key, Prefix, ReadOpts, Session, SessionId,
    SessionOpts, SessionState, Snapshot, Space, SpaceKind, StrictHold, Txn, TxnOutcome, WatchEvent,
    WatchOpts,
};
use futures_util::StreamExt;
use std::ops::Sub;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Of all handles together.
#[derive(Debug, Default)]
pub struct Counter {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What has gone over the wire up to a moment, or between two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub messages: u64,
    pub bytes: u64,
}

impl Sub for Traffic {
    type Output = Traffic;

    fn sub(self, past: Traffic) -> Traffic {
        Traffic { messages: self.messages - past.messages, bytes: self.bytes - past.bytes }
    }
}

impl Counter {
    pub fn now(&self) -> Traffic {
        Traffic { messages: self.messages.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    fn add(&self, messages: u64, bytes: usize) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// A question and its answer.
    fn answered(&self, snapshot: &coord_api::Result<Snapshot>) {
        self.add(2, snapshot.as_ref().map_or(0, |snapshot| entries(&snapshot.entries)));
    }

    fn event(&self, event: &WatchEvent) {
        let bytes = match event {
            WatchEvent::Snapshot { entries: some, .. } => entries(some),
            WatchEvent::Changes { changes, .. } => changes.iter().map(change).sum(),
            _ => 0,
        };
        self.add(1, bytes);
    }
}

fn entry(entry: &Entry) -> usize {
    entry.key.name().len() + entry.value.len()
}

fn entries(entries: &[Entry]) -> usize {
    entries.iter().map(entry).sum()
}

fn change(change: &Change) -> usize {
    match change {
        Change::Put(put) => entry(put),
        Change::Delete { key } => key.name().len(),
    }
}

#[derive(Debug)]
pub struct Counted {
    pub inner: Arc<dyn Coordinator>,
    pub counter: Arc<Counter>,
}

#[async_trait]
impl Coordinator for Counted {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> coord_api::Result<()> {
        self.counter.add(2, 0);
        self.inner.ensure_space(space, kind).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> coord_api::Result<Snapshot> {
        let snapshot = self.inner.get_many(keys, opts).await;
        self.counter.answered(&snapshot);
        snapshot
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> coord_api::Result<(Snapshot, bool)> {
        let page = self.inner.list_page(prefix, after, limit, opts).await;
        self.counter.add(2, page.as_ref().map_or(0, |(page, _)| entries(&page.entries)));
        page
    }

    async fn txn(&self, txn: Txn) -> coord_api::Result<TxnOutcome> {
        self.counter.add(2, txn.bytes());
        self.inner.txn(txn).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        let counter = self.counter.clone();
        self.inner.watch(prefix, opts).inspect(move |event| counter.event(event)).boxed()
    }

    async fn session(&self, opts: SessionOpts) -> coord_api::Result<Arc<dyn Session>> {
        self.counter.add(2, 0);
        let inner = self.inner.session(opts).await?;
        Ok(Arc::new(CountedSession { inner, counter: self.counter.clone() }))
    }

    async fn close(&self) -> coord_api::Result<()> {
        self.inner.close().await
    }
}

#[derive(Debug)]
struct CountedSession {
    inner: Arc<dyn Session>,
    counter: Arc<Counter>,
}

#[async_trait]
impl Session for CountedSession {
    fn id(&self) -> SessionId {
        self.inner.id()
    }

    fn ttl(&self) -> Duration {
        self.inner.ttl()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.inner.state()
    }

    async fn txn(&self, txn: Txn) -> coord_api::Result<TxnOutcome> {
        self.counter.add(2, txn.bytes());
        self.inner.txn(txn).await
    }

    async fn confirm(&self) -> coord_api::Result<Instant> {
        self.counter.add(2, 0);
        self.inner.confirm().await
    }

    fn hold_strict(&self) -> StrictHold {
        self.inner.hold_strict()
    }

    async fn close(&self) -> coord_api::Result<()> {
        self.counter.add(2, 0);
        self.inner.close().await
    }
}

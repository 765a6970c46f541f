//! Namespaces for a backend that has none: a handle whose spaces are hidden from all others'.
//!
//! For harnesses, so that the cases of a run can share one cluster. A space of a namespace is a
//! space of the store under a name drawn from both by hash; keys keep their names, so no limit
//! moves.

use async_trait::async_trait;
use coord_api::{
    BoxStream, Change, Compare, Coordinator, Entry, Fence, Health, Info, Key, Op, Prefix, ReadOpts,
    Result, Session, SessionId, SessionOpts, SessionState, Snapshot, Space, SpaceKind, StrictHold,
    Txn, TxnOutcome, WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A handle on one namespace of the store behind `inner`.
#[derive(Debug)]
pub struct Namespaced {
    inner: Arc<dyn Coordinator>,
    names: Arc<Names>,
}

/// Spaces as the user has them and as the store has them.
#[derive(Debug)]
struct Names {
    namespace: String,
    /// By the store's name.
    known: Mutex<HashMap<Space, Space>>,
}

#[derive(Debug)]
struct NamespacedSession {
    inner: Arc<dyn Session>,
    names: Arc<Names>,
}

impl Namespaced {
    pub fn new(inner: Arc<dyn Coordinator>, namespace: &str) -> Namespaced {
        let names = Names { namespace: namespace.to_owned(), known: Mutex::default() };
        Namespaced { inner, names: Arc::new(names) }
    }
}

impl Names {
    fn inward(&self, space: &Space) -> Space {
        let mut hasher = DefaultHasher::new();
        (&self.namespace, space.as_str()).hash(&mut hasher);
        let name = format!("{:x}", hasher.finish());
        // A letter first and sixteen in all.
        let name = format!("n{}", &name[..name.len().min(15)]);
        let inside = Space::new(&name).expect("a letter and hex digits");
        self.known.lock().insert(inside.clone(), space.clone());
        inside
    }

    fn key_in(&self, key: &Key) -> Key {
        Key::new(&self.inward(key.space()), key.name()).expect("the name is as it was")
    }

    fn prefix_in(&self, prefix: &Prefix) -> Prefix {
        Prefix::new(&self.inward(prefix.space()), prefix.name()).expect("the name is as it was")
    }

    fn key_out(&self, key: &Key) -> Key {
        let space = self.known.lock().get(key.space()).cloned();
        let space = space.unwrap_or_else(|| key.space().clone());
        Key::new(&space, key.name()).expect("the name is as it was")
    }

    fn entry_out(&self, entry: Entry) -> Entry {
        Entry { key: self.key_out(&entry.key), ..entry }
    }

    fn snapshot_out(&self, snapshot: Snapshot) -> Snapshot {
        let entries = snapshot.entries.into_iter().map(|entry| self.entry_out(entry));
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Snapshot { entries, revision: snapshot.revision }
    }

    fn event_out(&self, event: WatchEvent) -> WatchEvent {
        match event {
            WatchEvent::Snapshot { entries, more } => WatchEvent::Snapshot {
                entries: entries.into_iter().map(|entry| self.entry_out(entry)).collect(),
                more,
            },
            WatchEvent::Changes { revision, changes } => {
                let change = |change| match change {
                    Change::Put(entry) => Change::Put(self.entry_out(entry)),
                    Change::Delete { key } => Change::Delete { key: self.key_out(&key) },
                };
                let changes = changes.into_iter().map(change).collect();
                WatchEvent::Changes { revision, changes }
            }
            other => other,
        }
    }

    fn txn_in(&self, txn: Txn) -> Txn {
        let compare = |compare: Compare| match compare {
            Compare::Absent(key) => Compare::Absent(self.key_in(&key)),
            Compare::Exists(key) => Compare::Exists(self.key_in(&key)),
            Compare::Version(key, version) => Compare::Version(self.key_in(&key), version),
            Compare::Fence(fence) => {
                Compare::Fence(Fence { key: self.key_in(&fence.key), token: fence.token })
            }
        };
        let op = |op: Op| match op {
            Op::Put { key, value } => Op::Put { key: self.key_in(&key), value },
            Op::PutEphemeral { key, value } => Op::PutEphemeral { key: self.key_in(&key), value },
            Op::Delete { key } => Op::Delete { key: self.key_in(&key) },
        };
        Txn {
            compares: txn.compares.into_iter().map(compare).collect(),
            ops: txn.ops.into_iter().map(op).collect(),
            timeout: txn.timeout,
        }
    }
}

#[async_trait]
impl Coordinator for Namespaced {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        self.inner.ensure_space(&self.names.inward(space), kind).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        let keys: Vec<Key> = keys.iter().map(|key| self.names.key_in(key)).collect();
        Ok(self.names.snapshot_out(self.inner.get_many(&keys, opts).await?))
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        let (prefix, after) =
            (self.names.prefix_in(prefix), after.map(|key| self.names.key_in(key)));
        let (page, more) = self.inner.list_page(&prefix, after.as_ref(), limit, opts).await?;
        Ok((self.names.snapshot_out(page), more))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.inner.txn(self.names.txn_in(txn)).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        let names = self.names.clone();
        let stream = self.inner.watch(self.names.prefix_in(&prefix), opts);
        Box::pin(stream.map(move |event| names.event_out(event)))
    }

    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>> {
        let inner = self.inner.session(opts).await?;
        Ok(Arc::new(NamespacedSession { inner, names: self.names.clone() }))
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Session for NamespacedSession {
    fn id(&self) -> SessionId {
        self.inner.id()
    }

    fn ttl(&self) -> Duration {
        self.inner.ttl()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.inner.state()
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.inner.txn(self.names.txn_in(txn)).await
    }

    async fn confirm(&self) -> Result<Instant> {
        self.inner.confirm().await
    }

    fn hold_strict(&self) -> StrictHold {
        self.inner.hold_strict()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_api::CoordinatorExt;
    use coord_api::mem::Mem;

    #[tokio::test]
    async fn two_namespaces_of_one_store_do_not_meet() {
        let store = Mem::new().connect("one");
        let (a, b) = (Namespaced::new(store.clone(), "a"), Namespaced::new(store, "b"));
        let space = Space::new("config").unwrap();
        a.ensure_space(&space, SpaceKind::Persistent).await.unwrap();
        b.ensure_space(&space, SpaceKind::Ephemeral).await.unwrap();
        let key = Key::new(&space, "k").unwrap();
        a.txn(Txn::new().absent(&key).put(&key, "v")).await.unwrap();
        let found = a.get(&key, ReadOpts::default()).await.unwrap().0.unwrap();
        assert_eq!((found.key, &found.value[..]), (key.clone(), &b"v"[..]));
        assert_eq!(b.get(&key, ReadOpts::default()).await.unwrap().0, None);
    }
}

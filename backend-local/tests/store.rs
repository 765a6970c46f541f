//! A lone member through its public door.

use backend_local::{LocalConfig, LocalStore};
use bytes::Bytes;
use coord_api::{
    Coordinator, CoordinatorExt, Key, Prefix, ReadOpts, SessionOpts, Space, SpaceKind, Txn,
    TxnOutcome, WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn space(name: &str) -> Space {
    Space::new(name).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(&space("config"), name).unwrap()
}

async fn open(dir: &Path) -> (LocalStore, Arc<dyn Coordinator>) {
    let store = LocalStore::open(&LocalConfig::new(dir)).await.unwrap();
    let handle = store.handle();
    handle.ensure_space(&space("config"), SpaceKind::Persistent).await.unwrap();
    handle.ensure_space(&space("alive"), SpaceKind::Ephemeral).await.unwrap();
    (store, handle)
}

async fn value(c: &Arc<dyn Coordinator>, name: &str) -> Option<Bytes> {
    c.get(&key(name), ReadOpts::linearizable()).await.unwrap().0.map(|entry| entry.value)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (store, c) = open(dir.path()).await;
    let cluster = c.info().cluster_id;
    for n in 0..10 {
        let done = c.txn(Txn::new().put(&key("a"), format!("{n}"))).await.unwrap();
        assert!(matches!(done, TxnOutcome::Committed { .. }));
    }
    let before = c.barrier(None).await.unwrap();
    store.shut_down().await;
    drop((store, c));

    let begin = Instant::now();
    let (store, c) = open(dir.path()).await;
    println!("reopened in {:?}", begin.elapsed());
    assert_eq!(value(&c, "a").await.unwrap(), "9");
    assert_eq!(c.info().cluster_id, cluster);
    assert!(c.barrier(None).await.unwrap() >= before);
    store.shut_down().await;
}

#[tokio::test]
async fn a_watch_sees_snapshot_and_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, c) = open(dir.path()).await;
    c.txn(Txn::new().put(&key("a"), "1")).await.unwrap();
    let mut watch = c.watch(Prefix::all(&space("config")), WatchOpts::default());
    let first = watch.next().await.unwrap();
    assert!(matches!(&first, WatchEvent::Snapshot { entries, more: false } if entries.len() == 1));
    assert!(matches!(watch.next().await.unwrap(), WatchEvent::Synced { resumed: false, .. }));
    let done = c.txn(Txn::new().put(&key("b"), "2").delete(&key("a"))).await.unwrap();
    match watch.next().await.unwrap() {
        WatchEvent::Changes { revision, changes } => {
            assert_eq!((Some(revision), changes.len()), (done.committed(), 2));
        }
        other => panic!("{other:?}"),
    }
    c.close().await.unwrap();
    assert!(matches!(watch.next().await, Some(WatchEvent::Closed(_))));
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_session_takes_its_keys_along() {
    let dir = tempfile::tempdir().unwrap();
    let (store, c) = open(dir.path()).await;
    let opts = SessionOpts { ttl: Duration::from_secs(10), name: "t".into() };
    let session = c.session(opts.clone()).await.unwrap();
    let mine = Key::ephemeral(&space("alive"), "n", session.id(), 0).unwrap();
    session.txn(Txn::new().put_ephemeral(&mine, "x")).await.unwrap();
    session.confirm().await.unwrap();
    let all = Prefix::all(&space("alive"));
    let list = || c.list(&all, ReadOpts::default());
    assert_eq!(list().await.unwrap().entries[0].owner, Some(session.id()));
    session.close().await.unwrap();
    assert_eq!(list().await.unwrap().entries, []);

    let left_behind = c.session(opts).await.unwrap();
    let ghost = Key::ephemeral(&space("alive"), "n", left_behind.id(), 0).unwrap();
    left_behind.txn(Txn::new().put_ephemeral(&ghost, "x")).await.unwrap();
    store.shut_down().await;
    drop((store, c, left_behind));
    let (_store, c) = open(dir.path()).await;
    assert_eq!(c.list(&all, ReadOpts::default()).await.unwrap().entries, [], "its holder is dead");
}

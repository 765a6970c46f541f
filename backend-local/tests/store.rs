//! A lone member through its public door.

use backend_local::{Faults, LocalBackend, LocalConfig, LocalStore};
use bytes::Bytes;
use coord_api::{
    Backend, ClusterId, Coordinator, CoordinatorExt, Effect, ErrorKind, Health, Key, OpenOpts,
    Prefix, ReadOpts, SessionOpts, Space, SpaceKind, Txn, TxnOutcome, WatchEvent, WatchOpts,
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

/// Two years of heartbeats would fill any disk: log and file stay bounded.
#[tokio::test]
async fn snapshots_keep_the_disk_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalConfig { snapshot_every: 100, ..LocalConfig::new(dir.path()) };
    let store = LocalStore::open(&config).await.unwrap();
    let c = store.handle();
    c.ensure_space(&space("config"), SpaceKind::Persistent).await.unwrap();
    for n in 0..200u32 {
        let writes = (0..16).map(|w| {
            let c = c.clone();
            let txn = Txn::new().put(&key(&format!("k{w}")), vec![n as u8; 4096]);
            tokio::spawn(async move { c.txn(txn).await.unwrap() })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap();
        }
    }
    // 3,200 entries of 4 KiB went through: 13 MB.
    let size = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
    assert!(size("snapshot") < 3 << 20, "{}", size("snapshot"));
    assert!(size("store.redb") < 8 << 20, "{}", size("store.redb"));
    let before = c.list(&Prefix::all(&space("config")), ReadOpts::default()).await.unwrap();
    store.shut_down().await;
    drop((store, c));
    let (store, c) = open(dir.path()).await;
    let after = c.list(&Prefix::all(&space("config")), ReadOpts::default()).await.unwrap();
    assert_eq!(before.entries, after.entries);
    store.shut_down().await;
}

/// A watch that was at a revision before the restart goes on from there.
#[tokio::test]
async fn a_watch_resumes_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, c) = open(dir.path()).await;
    let first = c.txn(Txn::new().put(&key("a"), "1")).await.unwrap().committed().unwrap();
    store.snapshot().await.unwrap();
    let second = c.txn(Txn::new().put(&key("a"), "2")).await.unwrap().committed();
    store.shut_down().await;
    drop((store, c));
    let (store, c) = open(dir.path()).await;
    let opts = WatchOpts { start_after: Some(first), ..WatchOpts::default() };
    let mut watch = c.watch(Prefix::all(&space("config")), opts);
    let synced = WatchEvent::Synced { revision: first, resumed: true };
    assert_eq!(watch.next().await, Some(synced));
    match watch.next().await {
        Some(WatchEvent::Changes { revision, .. }) => assert_eq!(Some(revision), second),
        other => panic!("{other:?}"),
    }
    store.shut_down().await;
}

/// What waits for room is of unknown outcome and commits once there is some; what comes later is
/// refused for certain; reads go on.
#[tokio::test]
async fn a_full_disk_is_told_truthfully_and_recovered_from() {
    let dir = tempfile::tempdir().unwrap();
    let (store, c) = open(dir.path()).await;
    c.txn(Txn::new().put(&key("a"), "1")).await.unwrap();
    store.inject(Faults { full: true, ..Faults::default() });
    let caught = c.txn(Txn::new().put(&key("a"), "2")).await.unwrap_err();
    assert_eq!((caught.kind, caught.effect), (ErrorKind::StorageFull, Effect::Unknown));
    let refused = c.txn(Txn::new().put(&key("a"), "3")).await.unwrap_err();
    assert_eq!((refused.kind, refused.effect), (ErrorKind::StorageFull, Effect::None));
    assert_eq!(value(&c, "a").await.unwrap(), "1");
    store.inject(Faults::default());
    let deadline = Instant::now() + Duration::from_secs(10);
    while value(&c, "a").await.unwrap() != "2" {
        assert!(Instant::now() < deadline, "the write that waited for room never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    c.txn(Txn::new().put(&key("a"), "4")).await.unwrap();
    store.shut_down().await;
}

/// A sync that failed may have lost anything: the store stops, says so, and lies to nobody.
#[tokio::test]
async fn a_failed_sync_stops_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, c) = open(dir.path()).await;
    c.txn(Txn::new().put(&key("a"), "1")).await.unwrap();
    store.inject(Faults { sync_fails: true, ..Faults::default() });
    let error = c.txn(Txn::new().put(&key("a"), "2")).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::Unknown));
    let mut health = c.health();
    let down = health.wait_for(|health| matches!(health, Health::Unreachable { .. }));
    tokio::time::timeout(Duration::from_secs(5), down).await.unwrap().unwrap();
    store.shut_down().await;
    drop((store, c));
    let (store, c) = open(dir.path()).await;
    let found = value(&c, "a").await.unwrap();
    assert!(found == "1" || found == "2", "{found:?}");
    store.shut_down().await;
}

#[tokio::test]
async fn damage_to_the_snapshot_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalConfig { snapshot_every: 10, ..LocalConfig::new(dir.path()) };
    let store = LocalStore::open(&config).await.unwrap();
    let c = store.handle();
    c.ensure_space(&space("config"), SpaceKind::Persistent).await.unwrap();
    for n in 0..30 {
        c.txn(Txn::new().put(&key("a"), format!("{n}"))).await.unwrap();
    }
    let path = dir.path().join("snapshot");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !path.exists() {
        assert!(Instant::now() < deadline, "no snapshot");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.shut_down().await;
    drop((store, c));
    let whole = std::fs::read(&path).unwrap();
    for at in [0, 1, 20, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = LocalStore::open(&config).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "byte {at}: {error}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = LocalStore::open(&config).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "the log alone is not enough: {error}");
}

#[tokio::test]
async fn the_directory_has_one_process_and_many_handles() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("local:?dir={}", dir.path().display());
    let open = || LocalBackend.open(&url, OpenOpts::default());
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    one.ensure_space(&space("config"), SpaceKind::Persistent).await.unwrap();
    one.txn(Txn::new().put(&key("a"), "1")).await.unwrap();
    one.close().await.unwrap();
    assert_eq!(value(&two, "a").await.unwrap(), "1");
    let lock = std::fs::File::open(dir.path().join("lock")).unwrap();
    assert!(lock.try_lock().is_err());
    let other = OpenOpts { expect_cluster: Some(ClusterId([7; 16])), ..OpenOpts::default() };
    let error = LocalBackend.open(&url, other).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ClusterReplaced);
    drop((one, two));
    let deadline = Instant::now() + Duration::from_secs(5);
    while lock.try_lock().is_err() {
        assert!(Instant::now() < deadline, "nobody uses the directory any more");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = LocalStore::open(&LocalConfig::new(dir.path())).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
}

/// Few entries, but large ones: the log is cut by bytes too.
#[tokio::test]
async fn large_values_do_not_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, c) = open(dir.path()).await;
    for n in 0..400u32 {
        let txn = Txn::new().put(&key(&format!("k{}", n % 3)), vec![n as u8; 500 << 10]);
        c.txn(txn).await.unwrap();
    }
    // 200 MB went through; the live data are 1.5 MB.
    let size = std::fs::metadata(dir.path().join("store.redb")).unwrap().len();
    assert!(size < 150 << 20, "{size}");
    store.shut_down().await;
}

//! Whoever invites stands among the nodes before its first guest does, however busy it is.

use backend_local::{LocalConfig, LocalStore, Timing};
use coord_api::{CoordinatorExt, OpenOpts, Prefix, ReadOpts, Space};
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

fn config(dir: &Path, name: &str) -> LocalConfig {
    LocalConfig {
        name: name.to_owned(),
        listen: Some("127.1.3.1:0".to_owned()),
        timing: Timing { heartbeat_ms: 100, election_ms: (600, 1200) },
        lock_wait: SOON,
        open: OpenOpts::default(),
        ..LocalConfig::new(dir.to_owned())
    }
}

/// Keys of the nodes, first come first.
async fn nodes(store: &LocalStore) -> Vec<String> {
    let prefix = Prefix::new(&Space::new("coordlocal").unwrap(), "node/").unwrap();
    let listed = store.handle().list(&prefix, ReadOpts::linearizable()).await;
    let mut entries = listed.map(|listed| listed.entries).unwrap_or_default();
    entries.sort_by_key(|entry| entry.created);
    entries.iter().map(|entry| entry.key.name().to_owned()).collect()
}

/// Under its name of today: a guest that counted it twice would take itself for one of three.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_noted_before_its_guests() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&config(dir.path(), "old")).await.unwrap();
    store.invite().await.unwrap();
    assert_eq!(nodes(&store).await, ["node/old"]);
    // Until the store itself knows it under that name.
    let deadline = Instant::now() + SOON;
    while !store.members().await.unwrap().iter().any(|m| m.name == "old" && m.master) {
        assert!(Instant::now() < deadline, "{:?}", store.members().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.shut_down().await;
    drop(store);
    let store = LocalStore::open(&config(dir.path(), "new")).await.unwrap();
    store.invite().await.unwrap();
    assert_eq!(nodes(&store).await, ["node/new"]);
    store.shut_down().await;
}

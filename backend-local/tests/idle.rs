//! A store nobody talks to does nothing. Alone in its process, so that the clock is its own.

use backend_local::{LocalConfig, LocalStore};
use coord_api::{Prefix, Space, SpaceKind, Txn, WatchOpts};
use futures_util::StreamExt;
use std::time::Duration;

#[tokio::test]
async fn an_idle_store_uses_no_processor_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&LocalConfig::new(dir.path())).await.unwrap();
    let c = store.handle();
    let space = Space::new("config").unwrap();
    c.ensure_space(&space, SpaceKind::Persistent).await.unwrap();
    let key = coord_api::Key::new(&space, "a").unwrap();
    c.txn(Txn::new().put(&key, "1")).await.unwrap();
    let mut watch = c.watch(Prefix::all(&space), WatchOpts::default());
    watch.next().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (time, switches) = used();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (later, more) = used();
    assert!(later - time <= 2, "{} ms of 3 s", (later - time) * 10);
    assert!(more - switches <= 30, "{} wake-ups in 3 s", more - switches);
}

/// Processor time in 1/100 s, and how often any thread went to sleep of its own will.
fn used() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    let switches = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    });
    (ticks(11) + ticks(12), switches.sum())
}

//! Watches through faults (W9, W12, W13, W17, W21).

use crate::case::{Client, cases, key, within};
use crate::harness::Fault;
use crate::{Ctx, Dice, Fold};
use coord_api::{
    CoordinatorExt, Error, ErrorKind, Key, LostReason, Prefix, ReadOpts, Revision, Space, Txn,
    WatchEvent, WatchOpts,
};
use std::time::Duration;

async fn put(client: &Client, key: &Key, value: &str) -> Result<Revision, Error> {
    let outcome = client.txn(Txn::new().put(key, value.to_owned())).await?;
    Ok(outcome.committed().expect("no compare, no conflict"))
}

async fn delete(client: &Client, key: &Key) -> Result<(), Error> {
    client.txn(Txn::new().delete(key)).await.map(drop)
}

/// A watcher whose connection faults act on, and a writer.
struct Pair {
    watcher: Client,
    writer: Client,
    space: Space,
    fold: Fold,
}

async fn pair(cx: &Ctx) -> Result<Pair, Error> {
    let (writer, space) = cx.start().await?;
    let watcher = cx.open().await?;
    put(&writer, &key(&space, "first"), "v").await?;
    let mut fold = Fold::new(&watcher, Prefix::all(&space), patience(cx));
    fold.settle(&writer).await?;
    Ok(Pair { watcher, writer, space, fold })
}

/// For a loss to be noticed and a connection to come back.
fn patience(cx: &Ctx) -> Duration {
    cx.timing.detect + 4 * cx.timing.short
}

impl Pair {
    fn key(&self, name: &str) -> Key {
        key(&self.space, name)
    }

    /// W12: the stream says so in time.
    async fn lost(&mut self, cx: &Ctx) {
        let limit = cx.timing.detect + cx.timing.short;
        let noticed = async {
            loop {
                if let WatchEvent::Lost { reason } = self.fold.next().await {
                    assert_eq!(reason, LostReason::Disconnected);
                    return;
                }
            }
        };
        within(limit, "W12: Lost", noticed).await;
    }

    async fn cut(&mut self, cx: &Ctx) -> Result<(), Error> {
        cx.inject(Fault::CutClient(self.watcher.id)).await?;
        self.lost(cx).await;
        Ok(())
    }

    /// W13: back to a state equal to a read, and changes come again.
    async fn recovers(&mut self, cx: &Ctx) -> Result<(), Error> {
        cx.heal().await?;
        self.fold.settle(&self.writer).await?;
        let after = self.key("after");
        put(&self.writer, &after, "v").await?;
        self.fold.settle(&self.writer).await?;
        delete(&self.writer, &after).await?;
        self.fold.settle(&self.writer).await
    }
}

cases! { resync;
    [W12 W13] needs [Proxy] fn cut_and_heal_no_change(cx) {
        let mut pair = pair(&cx).await?;
        for _ in 0..3 {
            pair.cut(&cx).await?;
            cx.heal().await?;
            pair.fold.synced().await;
        }
        pair.recovers(&cx).await?;
    }

    [W9 W21] needs [Proxy] fn cut_changes_missed_are_made_up(cx) {
        let mut pair = pair(&cx).await?;
        pair.cut(&cx).await?;
        for i in 0..10 {
            put(&pair.writer, &pair.key(&format!("k{i}")), "v").await?;
        }
        delete(&pair.writer, &pair.key("first")).await?;
        pair.recovers(&cx).await?;
        assert_eq!(pair.fold.state.len(), 10);
    }

    [W21 W5] needs [Proxy] fn cut_created_and_deleted_meanwhile(cx) {
        let mut pair = pair(&cx).await?;
        pair.cut(&cx).await?;
        let ghost = pair.key("ghost");
        put(&pair.writer, &ghost, "v").await?;
        delete(&pair.writer, &ghost).await?;
        pair.recovers(&cx).await?;
        assert!(!pair.fold.state.contains_key(&ghost));
    }

    [W6 W21] needs [Proxy] fn cut_delete_recreate_meanwhile(cx) {
        let mut pair = pair(&cx).await?;
        let first = pair.key("first");
        let before = pair.fold.state[&first].clone();
        pair.cut(&cx).await?;
        delete(&pair.writer, &first).await?;
        let created = put(&pair.writer, &first, "v").await?;
        pair.recovers(&cx).await?;
        let after = &pair.fold.state[&first];
        assert_eq!(after.created, created);
        assert_ne!(after.version, before.version);
    }

    [W2 W4 W8 W13] needs [Proxy] fn cut_50_times_under_writes(cx) {
        let mut pair = pair(&cx).await?;
        let keys: Vec<Key> = (0..5).map(|i| pair.key(&format!("k{i}"))).collect();
        let mut dice = Dice::new(cx.seed);
        for round in 0..50 {
            cx.inject(Fault::CutClient(pair.watcher.id)).await?;
            for i in 0..dice.below(4) {
                let k = &keys[dice.below(5)];
                let txn = if dice.chance(30) { Txn::new().delete(k) } else { Txn::new().put(k, format!("{round}.{i}")) };
                pair.writer.txn(txn).await?;
            }
            cx.heal().await?;
            put(&pair.writer, &keys[dice.below(5)], &round.to_string()).await?;
            if round % 5 == 0 {
                pair.fold.settle(&pair.writer).await?;
            }
        }
        pair.recovers(&cx).await?;
    }

    /// A large snapshot is on its way when the connection goes.
    [W1 W9] needs [Proxy] fn cut_during_snapshot(cx) {
        let (writer, space) = cx.start().await?;
        let watcher = cx.open().await?;
        for from in (0..2000).step_by(100) {
            let names = (from..from + 100).map(|i| key(&space, &format!("k{i:04}")));
            writer.txn(names.fold(Txn::new(), |txn, k| txn.put(&k, vec![0; 500]))).await?;
        }
        for _ in 0..5 {
            let mut fold = Fold::new(&watcher, Prefix::all(&space), patience(&cx));
            cx.inject(Fault::CutClient(watcher.id)).await?;
            cx.heal().await?;
            fold.settle(&writer).await?;
            assert_eq!(fold.state.len(), 2000);
        }
    }

    /// The watch is asked for while there is no connection.
    [W7 W13] needs [Proxy] fn watch_begun_while_cut(cx) {
        let mut pair = pair(&cx).await?;
        pair.cut(&cx).await?;
        put(&pair.writer, &pair.key("meanwhile"), "v").await?;
        let mut late = Fold::new(&pair.watcher, Prefix::all(&pair.space), patience(&cx));
        cx.heal().await?;
        late.settle(&pair.writer).await?;
        assert_eq!(late.state.len(), 2);
    }

    [W12] needs [Proxy] fn blackhole_detected(cx) {
        let mut pair = pair(&cx).await?;
        cx.inject(Fault::BlackholeClient(pair.watcher.id)).await?;
        put(&pair.writer, &pair.key("unseen"), "v").await?;
        pair.lost(&cx).await;
        pair.recovers(&cx).await?;
    }

    /// Shorter than it takes to notice: nothing may be missing all the same.
    [W8 W12] needs [Proxy] fn short_silence_loses_nothing(cx) {
        let mut pair = pair(&cx).await?;
        for i in 0..5 {
            cx.inject(Fault::BlackholeClient(pair.watcher.id)).await?;
            put(&pair.writer, &pair.key("k"), &i.to_string()).await?;
            tokio::time::sleep(cx.timing.detect / 10).await;
            cx.heal().await?;
        }
        pair.recovers(&cx).await?;
    }

    [W12] needs [Pause] fn frozen_server_detected(cx) {
        let mut pair = pair(&cx).await?;
        cx.pause_servers(cx.servers()).await?;
        pair.lost(&cx).await;
        pair.recovers(&cx).await?;
    }

    [W8] needs [Compact] fn compaction_while_connected_is_invisible(cx) {
        let mut pair = pair(&cx).await?;
        let before = pair.fold.log.len();
        for i in 0..5 {
            put(&pair.writer, &pair.key("k"), &i.to_string()).await?;
            cx.inject(Fault::Compact).await?;
        }
        pair.fold.settle(&pair.writer).await?;
        let since = &pair.fold.log[before..];
        assert!(since.iter().all(|word| word.starts_with("changes")), "{since:?}");
    }

    [W17 W21] needs [Proxy Compact] fn compaction_while_disconnected(cx) {
        let mut pair = pair(&cx).await?;
        pair.cut(&cx).await?;
        put(&pair.writer, &pair.key("k"), "v").await?;
        delete(&pair.writer, &pair.key("first")).await?;
        cx.inject(Fault::Compact).await?;
        pair.recovers(&cx).await?;
        assert_eq!(pair.fold.state.len(), 1);
    }

    /// The newest thing that happened is a delete, and history begins after it.
    [W17 W8] needs [Proxy Compact] fn compaction_at_delete_revision(cx) {
        let mut pair = pair(&cx).await?;
        pair.cut(&cx).await?;
        delete(&pair.writer, &pair.key("first")).await?;
        cx.inject(Fault::Compact).await?;
        cx.heal().await?;
        pair.fold.settle(&pair.writer).await?;
        assert!(pair.fold.state.is_empty());
    }

    [W17] needs [Compact] fn start_after_compacted(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let old = put(&client, &k, "0").await?;
        for i in 1..5 {
            put(&client, &k, &i.to_string()).await?;
        }
        cx.inject(Fault::Compact).await?;
        let opts = WatchOpts { start_after: Some(old), ..WatchOpts::default() };
        let mut fold = Fold::with(&client, Prefix::all(&space), opts, patience(&cx));
        fold.settle(&client).await?;
        let resumed = fold.log.iter().any(|word| word.ends_with("true)") && word.starts_with("synced"));
        assert!(!resumed, "W17: resumed from history that is gone: {:?}", fold.log);
    }

    [W1 W4] fn start_after_future(cx) {
        let (client, space) = cx.start().await?;
        let at = put(&client, &key(&space, "k"), "v").await?;
        let opts = WatchOpts {
            start_after: Some(Revision(at.0 + (1 << 40))),
            ..WatchOpts::default()
        };
        let mut fold = Fold::with(&client, Prefix::all(&space), opts, patience(&cx));
        fold.settle(&client).await?;
        put(&client, &key(&space, "l"), "v").await?;
        fold.settle(&client).await?;
    }

    [W13 W4] needs [Kill] fn server_restart(cx) {
        let mut pair = pair(&cx).await?;
        for i in 0..2 {
            cx.inject(Fault::KillServer(0)).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            cx.heal().await?;
            let (writer, k) = (pair.writer.clone(), pair.key("k"));
            within(patience(&cx) * 2, "the writer again", async {
                while put(&writer, &k, &i.to_string()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
            pair.fold.settle(&pair.writer).await?;
        }
        pair.recovers(&cx).await?;
    }

    /// An empty cluster behind the same address must never look like an empty configuration.
    [G6 W4] needs [Wipe] fn cluster_replaced(cx) {
        let mut pair = pair(&cx).await?;
        let before = pair.writer.info().cluster_id;
        cx.inject(Fault::WipeCluster).await?;
        let end = async {
            loop {
                match pair.fold.next().await {
                    WatchEvent::Closed(error) => return error,
                    WatchEvent::Lost { .. } | WatchEvent::Synced { .. } => {}
                    // Servers go one by one; who is left may have shown the old state again.
                    WatchEvent::Snapshot { entries, .. } if !entries.is_empty() => {}
                    other => panic!("G6: {other:?}"),
                }
            }
        };
        let error = within(patience(&cx), "the end of the watch", end).await;
        assert_eq!(error.kind, ErrorKind::ClusterReplaced);
        let answer = pair.writer.get(&pair.key("first"), ReadOpts::default()).await;
        assert_eq!(answer.map_err(|e| e.kind), Err(ErrorKind::ClusterReplaced));
        let answer = put(&pair.writer, &pair.key("k"), "v").await;
        let answer = answer.map_err(|e| (e.kind.clone(), e.is_unknown()));
        assert_eq!(answer, Err((ErrorKind::ClusterReplaced, false)));
        let fresh = cx.open().await?;
        assert_ne!(fresh.info().cluster_id, before);
        fresh.ensure_space(&pair.space, coord_api::SpaceKind::Persistent).await?;
        let all = fresh.list(&Prefix::all(&pair.space), ReadOpts::default()).await?;
        assert_eq!(all.entries, [], "G6: no write was sent");
    }

    [W4 W9] needs [Proxy] fn delayed_events_after_reconnect_dropped(cx) {
        let mut pair = pair(&cx).await?;
        for i in 0..5 {
            cx.inject(Fault::DelayClient(pair.watcher.id, Duration::from_millis(60))).await?;
            put(&pair.writer, &pair.key("k"), &format!("{i}.old")).await?;
            cx.inject(Fault::CutClient(pair.watcher.id)).await?;
            put(&pair.writer, &pair.key("k"), &format!("{i}.new")).await?;
            cx.heal().await?;
            pair.fold.settle(&pair.writer).await?;
        }
        pair.recovers(&cx).await?;
    }
}

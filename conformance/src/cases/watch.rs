//! Watches while connected (W1-W22).

use crate::case::{Client, cases, ephemeral, key, persistent, prefix};
use crate::{Dice, Fold};
use coord_api::{
    CoordinatorExt, Error, ErrorKind, Key, Prefix, ReadOpts, Revision, Txn, WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use std::time::Duration;

async fn put(client: &Client, key: &Key, value: &str) -> Result<Revision, Error> {
    let outcome = client.txn(Txn::new().put(key, value.to_owned())).await?;
    Ok(outcome.committed().expect("no compare, no conflict"))
}

async fn delete(client: &Client, key: &Key) -> Result<(), Error> {
    client.txn(Txn::new().delete(key)).await.map(drop)
}

/// Puts and deletes of a few keys, drawn from the seed.
async fn churn(client: &Client, keys: &[Key], rounds: usize, dice: &mut Dice) -> Result<(), Error> {
    for i in 0..rounds {
        let first = dice.below(keys.len());
        let txn = (0..1 + dice.below(3)).fold(Txn::new(), |txn, n| {
            let k = &keys[(first + n) % keys.len()];
            if dice.chance(30) { txn.delete(k) } else { txn.put(k, format!("{i}.{n}")) }
        });
        client.txn(txn).await?;
    }
    Ok(())
}

cases! { watch;
    [W1] fn snapshot_then_synced_empty(cx) {
        let (client, space) = cx.start().await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        assert_eq!(fold.next().await, WatchEvent::Snapshot { entries: vec![], more: false });
        assert!(matches!(fold.next().await, WatchEvent::Synced { resumed: false, .. }));
    }

    [W1] fn snapshot_then_synced_chunks(cx) {
        let (client, space) = cx.start().await?;
        for from in (0..1500).step_by(100) {
            let names = (from..from + 100).map(|i| key(&space, &format!("k{i:04}")));
            client.txn(names.fold(Txn::new(), |txn, k| txn.put(&k, "v"))).await?;
        }
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.settle(&client).await?;
        assert_eq!(fold.state.len(), 1500);
    }

    /// Writers never rest while watches begin.
    [W2 W7] fn no_gap_between_snapshot_and_changes(cx) {
        let (client, space) = cx.start().await?;
        let other = cx.open().await?;
        let keys: Vec<Key> = (0..6).map(|i| key(&space, &format!("k{i}"))).collect();
        let (seed, moved) = (cx.seed, keys.clone());
        let writer = tokio::spawn(async move {
            churn(&other, &moved, 300, &mut Dice::new(seed)).await
        });
        let mut folds = Vec::new();
        for i in 0..20 {
            let own = key(&space, &format!("own{i}"));
            put(&client, &own, "v").await?;
            let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
            fold.synced().await;
            assert!(fold.value(&own).is_some(), "W7: {own} completed before the watch");
            folds.push(fold);
        }
        writer.await.expect("the writer does not panic")?;
        for mut fold in folds {
            fold.settle(&client).await?;
        }
    }

    [W2 W5 W10] fn put_replace_delete(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        let created = put(&client, &k, "1").await?;
        fold.until("1", |f| f.value(&k) == Some(b"1")).await;
        let modified = put(&client, &k, "2").await?;
        fold.until("2", |f| f.value(&k) == Some(b"2")).await;
        let entry = fold.state[&k].clone();
        assert_eq!((entry.created, entry.modified), (created, modified));
        assert_eq!(client.get(&k, ReadOpts::default()).await?.0, Some(entry));
        delete(&client, &k).await?;
        fold.until("gone", |f| f.state.is_empty()).await;
    }

    [W3] fn txn_in_one_batch(cx) {
        let (client, space) = cx.start().await?;
        let (x, y, z) = (key(&space, "x"), key(&space, "y"), key(&space, "z"));
        put(&client, &z, "0").await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        for i in 0..40 {
            let (value, txn) = (i.to_string(), Txn::new());
            let txn = txn.put(&x, value.clone()).put(&y, value.clone());
            client.txn(if i % 2 == 0 { txn.delete(&z) } else { txn.put(&z, value) }).await?;
        }
        loop {
            fold.next().await;
            let (a, b) = (fold.value(&x), fold.value(&y));
            assert_eq!(a, b, "W3: torn at {}", fold.revision);
            let round: usize = String::from_utf8_lossy(a.unwrap_or(b"0")).parse().unwrap_or(0);
            assert_eq!(fold.state.contains_key(&z), round % 2 == 1, "W3: torn at round {round}");
            if round == 39 {
                break;
            }
        }
    }

    [W3 K4] fn txn_across_prefix_only_inside_seen(cx) {
        let (client, space) = cx.start().await?;
        let (inside, outside) = (key(&space, "in/k"), key(&space, "inn"));
        let mut fold = Fold::new(&client, prefix(&space, "in/"), cx.timing.short);
        fold.synced().await;
        client.txn(Txn::new().put(&inside, "1").put(&outside, "1")).await?;
        put(&client, &outside, "2").await?;
        client.txn(Txn::new().delete(&inside).delete(&outside)).await?;
        put(&client, &key(&space, "in/last"), "").await?;
        fold.settle(&client).await?;
    }

    [W4] fn revisions_strictly_increase(cx) {
        let (client, space) = cx.start().await?;
        let other = persistent(&client, "jobs").await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        for i in 0..50 {
            let at = put(&client, &key(&space, &format!("k{}", i % 3)), &i.to_string()).await?;
            put(&client, &key(&other, "elsewhere"), "").await?;
            fold.until("the change", |f| f.revision >= at).await;
        }
        fold.settle(&client).await?;
    }

    [W6] fn delete_recreate_equal_value(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        put(&client, &k, "same").await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        delete(&client, &k).await?;
        let created = put(&client, &k, "same").await?;
        fold.until("re-creation", |f| f.state.get(&k).is_some_and(|e| e.created == created)).await;
    }

    [W5 W21] fn create_delete_fast_no_ghost(cx) {
        let (client, space) = cx.start().await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        for i in 0..50 {
            let k = key(&space, &format!("k{i}"));
            put(&client, &k, "v").await?;
            delete(&client, &k).await?;
        }
        put(&client, &key(&space, "last"), "v").await?;
        fold.settle(&client).await?;
        assert_eq!(fold.state.len(), 1);
    }

    [W8] fn last_version_wins_when_quiet(cx) {
        let (client, space) = cx.start().await?;
        let others = [cx.open().await?, cx.open().await?];
        let k = key(&space, "hot");
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        let writers = others.map(|other| {
            let k = k.clone();
            tokio::spawn(async move {
                for i in 0..100 {
                    put(&other, &k, &i.to_string()).await?;
                }
                Ok::<(), Error>(())
            })
        });
        for writer in writers {
            writer.await.expect("no writer panics")?;
        }
        fold.settle(&client).await?;
    }

    [W2 W8] fn folded_state_equals_list_random_writes(cx) {
        let (client, space) = cx.start().await?;
        let writer = cx.open().await?;
        let keys: Vec<Key> =
            ["a", "a/b", "ab", "b", "b/a", "c"].map(|name| key(&space, name)).to_vec();
        let mut dice = Dice::new(cx.seed);
        let mut folds = ["", "a", "a/", "b"]
            .map(|name| Fold::new(&client, prefix(&space, name), cx.timing.short));
        for _ in 0..10 {
            churn(&writer, &keys, 20, &mut dice).await?;
            for fold in &mut folds {
                fold.settle(&client).await?;
            }
        }
    }

    [W10] fn put_entry_usable_in_compare(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        for i in 0..10 {
            put(&client, &k, &i.to_string()).await?;
            fold.until("the put", |f| f.value(&k) == Some(i.to_string().as_bytes())).await;
            let seen = fold.state[&k].clone();
            let outcome = client.txn(Txn::new().unchanged(&seen).put(&k, "next")).await?;
            assert!(outcome.committed().is_some(), "{outcome:?}");
            fold.until("the next", |f| f.value(&k) == Some(b"next")).await;
        }
    }

    [W11] fn read_after_event(cx) {
        let (client, space) = cx.start().await?;
        let writer = cx.open().await?;
        let k = key(&space, "k");
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        for i in 0..30 {
            let at = put(&writer, &k, &i.to_string()).await?;
            fold.until("the event", |f| f.revision >= at).await;
            for opts in [ReadOpts::session(), ReadOpts::not_older_than(fold.revision)] {
                let (found, revision) = client.get(&k, opts).await?;
                assert!(revision >= fold.revision, "{opts:?}");
                assert_eq!(found.as_ref(), fold.state.get(&k), "{opts:?}");
            }
        }
    }

    [W14] fn two_streams_same_prefix_independent(cx) {
        let (client, space) = cx.start().await?;
        let keys: Vec<Key> = (0..3).map(|i| key(&space, &format!("k{i}"))).collect();
        let mut fast = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fast.synced().await;
        let mut slow = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        let mut dice = Dice::new(cx.seed);
        for _ in 0..5 {
            churn(&client, &keys, 20, &mut dice).await?;
            fast.settle(&client).await?;
        }
        slow.settle(&client).await?;
    }

    [W14] fn drop_one_keep_other(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let mut kept = Fold::new(&client, prefix(&space, "k"), cx.timing.short);
        kept.synced().await;
        for i in 0..20 {
            let mut dropped = Fold::new(&client, Prefix::all(&space), cx.timing.short);
            dropped.synced().await;
            drop(dropped);
            put(&client, &k, &i.to_string()).await?;
            kept.settle(&client).await?;
        }
    }

    [W14 W15] fn unread_stream_leaves_others_undisturbed(cx) {
        let (client, space) = cx.start().await?;
        let keys: Vec<Key> = (0..50).map(|i| key(&space, &format!("k{i}"))).collect();
        let opts = WatchOpts { buffer: Some(2), ..WatchOpts::default() };
        let unread = client.watch(Prefix::all(&space), opts);
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        churn(&client, &keys, 300, &mut Dice::new(cx.seed)).await?;
        fold.settle(&client).await?;
        drop(unread);
    }

    /// One handle, a thousand streams: they must share what they can.
    [W14] fn thousand_streams_one_handle(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let streams = (0..1000).map(|_| client.watch(Prefix::all(&space), WatchOpts::default()));
        let mut streams: Vec<_> = streams.collect();
        let put_all = async {
            for stream in &mut streams {
                while !matches!(stream.next().await, Some(WatchEvent::Synced { .. })) {}
            }
            put(&client, &k, "v").await?;
            for stream in &mut streams {
                let event = stream.next().await;
                assert!(matches!(event, Some(WatchEvent::Changes { .. })), "{event:?}");
            }
            Ok::<(), Error>(())
        };
        crate::case::within(cx.timing.short * 5, "a thousand events", put_all).await?;
    }

    [W15] fn slow_consumer_merges(cx) {
        let (client, space) = cx.start().await?;
        let keys: Vec<Key> = (0..4).map(|i| key(&space, &format!("k{i}"))).collect();
        let opts = WatchOpts { buffer: Some(4), ..WatchOpts::default() };
        let mut fold = Fold::with(&client, Prefix::all(&space), opts, cx.timing.short);
        fold.synced().await;
        churn(&client, &keys, 200, &mut Dice::new(cx.seed)).await?;
        fold.settle(&client).await?;
        assert!(fold.log.len() < 60, "{} events for a buffer of 4", fold.log.len());
        assert!(!fold.log.iter().any(|word| word.contains("Overflow")), "{:?}", fold.log);
    }

    [W15] fn slow_consumer_overflow(cx) {
        let (client, space) = cx.start().await?;
        let opts = WatchOpts { buffer: Some(2), ..WatchOpts::default() };
        let mut fold = Fold::with(&client, Prefix::all(&space), opts, cx.timing.short);
        fold.synced().await;
        for i in 0..100 {
            put(&client, &key(&space, &format!("k{i}")), "v").await?;
        }
        // The stream has been told when another one on the same handle has.
        Fold::new(&client, Prefix::all(&space), cx.timing.short).settle(&client).await?;
        put(&client, &key(&space, "k0"), "w").await?;
        fold.settle(&client).await?;
        assert!(fold.log.contains(&"lost(Overflow)".into()), "{:?}", fold.log);
    }

    [W18] fn ephemeral_expiry_delivered(cx) {
        let client = cx.open().await?;
        let space = ephemeral(&client, "alive").await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        let session = cx.session(&client).await?;
        let k = Key::ephemeral(&space, "n", session.id(), 0)?;
        session.txn(Txn::new().put_ephemeral(&k, "v")).await?;
        fold.until("the key", |f| f.state.contains_key(&k)).await;
        assert_eq!(fold.state[&k].owner, Some(session.id()));
        session.close().await?;
        fold.until("its end", |f| f.state.is_empty()).await;
    }

    [W19] fn keys_only(cx) {
        let (client, space) = cx.start().await?;
        let (k, l) = (key(&space, "k"), key(&space, "l"));
        put(&client, &k, "in the snapshot").await?;
        let opts = WatchOpts { keys_only: true, ..WatchOpts::default() };
        let mut fold = Fold::with(&client, Prefix::all(&space), opts, cx.timing.short);
        fold.synced().await;
        put(&client, &l, "in the changes").await?;
        fold.until("both", |f| f.state.len() == 2).await;
        assert_eq!((fold.value(&k), fold.value(&l)), (Some(&b""[..]), Some(&b""[..])));
        let (k, l) = (fold.state[&k].clone(), fold.state[&l].clone());
        let outcome = client.txn(Txn::new().unchanged(&k).unchanged(&l).delete(&k.key)).await?;
        assert!(outcome.committed().is_some(), "{outcome:?}");
    }

    [W20] fn progress_on_idle(cx) {
        let (client, space) = cx.start().await?;
        let other = persistent(&client, "jobs").await?;
        let every = Duration::from_millis(200);
        let opts = WatchOpts { progress_every: Some(every), ..WatchOpts::default() };
        let mut fold = Fold::with(&client, Prefix::all(&space), opts, 2 * every + cx.timing.short);
        fold.synced().await;
        let at = put(&client, &key(&other, "elsewhere"), "v").await?;
        for _ in 0..3 {
            assert!(matches!(fold.next().await, WatchEvent::Progress { .. }), "{:?}", fold.log);
        }
        fold.until("progress past the foreign write", |f| f.revision >= at).await;
    }

    /// Either a resumption, or a snapshot; never a gap.
    [W1] fn resume_from_revision(cx) {
        let (client, space) = cx.start().await?;
        let keys: Vec<Key> = (0..5).map(|i| key(&space, &format!("k{i}"))).collect();
        let mut dice = Dice::new(cx.seed);
        churn(&client, &keys, 20, &mut dice).await?;
        let before = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        churn(&client, &keys, 20, &mut dice).await?;
        let opts = WatchOpts { start_after: Some(before.revision), ..WatchOpts::default() };
        let fold = Fold::with(&client, Prefix::all(&space), opts, cx.timing.short);
        let mut fold = fold.knowing(before.entries, before.revision);
        fold.settle(&client).await?;
        if client.info().caps.full_history {
            assert!(fold.log[0].ends_with("true)"), "full history, yet {:?}", fold.log[0]);
        }
    }

    /// Declared: each revision for itself. Not declared: net effects, which every other case asks.
    [W22] fn full_history_when_declared(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        let mut revisions = Vec::new();
        for i in 0..30 {
            revisions.push(put(&client, &k, &i.to_string()).await?);
        }
        let mut seen = Vec::new();
        while seen.last() != revisions.last() {
            fold.next().await;
            seen.push(fold.revision);
        }
        if client.info().caps.full_history {
            assert_eq!(seen, revisions);
        }
        assert!(seen.iter().all(|revision| revisions.contains(revision)));
    }

    [G5] fn close_gives_closed_once(cx) {
        let (client, space) = cx.start().await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        client.close().await?;
        let mut last = None;
        while let Some(event) = fold.next_or_end().await {
            last = Some(event);
        }
        assert_eq!(last, Some(WatchEvent::Closed(ErrorKind::Closed.into())));
        let mut late = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        assert_eq!(late.next().await, WatchEvent::Closed(ErrorKind::Closed.into()));
        assert_eq!(late.next_or_end().await, None);
    }

    [T12 W10] fn value_of_512_kib(cx) {
        let (client, space) = cx.start().await?;
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short * 3);
        fold.synced().await;
        for i in 0..6 {
            let k = key(&space, &format!("k{i}"));
            client.txn(Txn::new().put(&k, vec![i; 512 << 10])).await?;
        }
        fold.settle(&client).await?;
        let mut late = Fold::new(&client, Prefix::all(&space), cx.timing.short * 3);
        late.settle(&client).await?;
    }

    [K4] fn prefix_of_one_exact_key(cx) {
        let (client, space) = cx.start().await?;
        let (k, longer) = (key(&space, "k"), key(&space, "kk"));
        let mut fold = Fold::new(&client, prefix(&space, "k"), cx.timing.short);
        fold.synced().await;
        for name in [&k, &longer, &key(&space, "j"), &key(&space, "K")] {
            put(&client, name, "v").await?;
        }
        fold.settle(&client).await?;
        assert_eq!(Vec::from_iter(fold.state.keys()), [&k, &longer]);
    }

    /// A stream is freed by dropping it, so that thousands may come and go.
    [W14 G3] fn streams_come_and_go(cx) {
        let (client, space) = cx.start().await?;
        for i in 0..500 {
            let mut stream = client.watch(Prefix::all(&space), WatchOpts::default());
            if i % 3 == 0 {
                cx.promptly("a first event", stream.next()).await;
            }
        }
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        put(&client, &key(&space, "k"), "v").await?;
        fold.settle(&client).await?;
        assert!(!fold.log.iter().any(|word| word.starts_with("lost")), "{:?}", fold.log);
    }
}

//! Outcome, errors and receipts (X1-X8, G2).

use crate::Ctx;
use crate::case::{Client, cases, eventually, key, within};
use crate::harness::Fault;
use coord_api::{
    CoordinatorExt, Effect, Error, ErrorKind, Key, Prefix, ReadOpts, Receipts, Resolved, Retry,
    Space, Txn, TxnOutcome,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn value(client: &Client, key: &Key) -> Result<Option<String>, Error> {
    let (entry, _) = client.get(key, ReadOpts::default()).await?;
    Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}

async fn put(client: &Client, key: &Key, value: &str) -> Result<(), Error> {
    client.txn(Txn::new().put(key, value.to_owned())).await.map(drop)
}

/// A client to be hurt, a witness, and a space.
async fn pair(cx: &Ctx) -> Result<(Client, Client, Space), Error> {
    let (witness, space) = cx.start().await?;
    let client = cx.open().await?;
    client.barrier(None).await?;
    Ok((client, witness, space))
}

/// Ends all faults and waits until the handle works again (X6: SameHandle).
async fn healed(cx: &Ctx, client: &Client) -> Result<(), Error> {
    cx.heal().await?;
    let works = || async { client.barrier(Some(cx.timing.short)).await.is_ok() };
    eventually(cx.timing.detect + 4 * cx.timing.short, "the handle works again", works).await;
    Ok(())
}

async fn receipts(cx: &Ctx, client: &Client) -> Result<Receipts, Error> {
    let patience = cx.timing.detect + cx.timing.request + 6 * cx.timing.short;
    Receipts::open(&client.c, &Space::new("receipts")?, "node", 2, patience).await
}

cases! { error;
    [X1 X2] needs [Proxy] fn refused_connect_effect_none(cx) {
        let (client, witness, space) = pair(&cx).await?;
        let k = key(&space, "k");
        cx.inject(Fault::CutClient(client.id)).await?;
        // The first call may still meet the dying connection.
        drop(put(&client, &key(&space, "first"), "v").await);
        let mut certain = 0;
        for _ in 0..5 {
            let txn = Txn::new().put(&k, "v").within(cx.timing.short / 2);
            let Err(error) = client.txn(txn).await else { panic!("nobody could answer") };
            assert_eq!(error.retry(), Retry::SameHandle, "{error}");
            certain += usize::from(error.effect == Effect::None);
        }
        if certain == 5 {
            assert_eq!(value(&witness, &k).await?, None, "X1");
        }
        healed(&cx, &client).await?;
        if certain == 5 {
            assert_eq!(value(&witness, &k).await?, None, "X1: nor later");
        }
        put(&client, &k, "again").await?;
    }

    [X2 X3] needs [Proxy] fn reply_dropped_is_unknown_and_applied(cx) {
        let (client, witness, space) = pair(&cx).await?;
        let k = key(&space, "k");
        cx.inject(Fault::DropReplies(client.id)).await?;
        let txn = Txn::new().absent(&k).put(&k, "mine").within(cx.timing.short);
        let call = client.txn(txn);
        let limit = cx.timing.detect + 2 * cx.timing.short;
        let answer = within(limit, "G2: an end", call).await;
        let Err(error) = answer else { panic!("X2: {answer:?} without an answer") };
        assert_eq!(error.effect, Effect::Unknown, "{error}");
        let applied = || async { value(&witness, &k).await == Ok(Some("mine".into())) };
        eventually(cx.timing.short, "applied", applied).await;
        put(&witness, &k, "theirs").await?;
        healed(&cx, &client).await?;
        put(&client, &key(&space, "marker"), "v").await?;
        assert_eq!(value(&witness, &k).await?, Some("theirs".into()), "X3: sent twice");
    }

    /// An unconditional write would be applied twice without anybody noticing, but for this.
    [X3] needs [Proxy] fn no_write_is_sent_twice(cx) {
        let (client, witness, space) = pair(&cx).await?;
        let k = key(&space, "k");
        for i in 0..8 {
            let fault = if i % 2 == 0 { Fault::DropReplies(client.id) } else { Fault::BlackholeClient(client.id) };
            cx.inject(fault).await?;
            let (writer, txn) = (client.clone(), Txn::new().put(&k, format!("mine{i}")));
            let txn = txn.within(cx.timing.short / 4);
            let call = tokio::spawn(async move { writer.txn(txn).await });
            tokio::time::sleep(cx.timing.short / 20).await;
            put(&witness, &k, &format!("theirs{i}")).await?;
            healed(&cx, &client).await?;
            let answer = call.await.expect("no panic");
            put(&client, &key(&space, "marker"), "v").await?;
            let now = value(&witness, &k).await?;
            if answer.is_err_and(|error| error.is_unknown()) && i % 2 == 0 {
                assert_eq!(now, Some(format!("theirs{i}")), "X3: sent again after round {i}");
            }
        }
    }

    [X4 G2] needs [Proxy] fn reads_always_none(cx) {
        let (client, _witness, space) = pair(&cx).await?;
        let (k, all) = (key(&space, "k"), Prefix::all(&space));
        for fault in [
            Fault::CutClient(client.id),
            Fault::DropReplies(client.id),
            Fault::BlackholeClient(client.id),
        ] {
            cx.inject(fault.clone()).await?;
            let opts = ReadOpts::default().within(cx.timing.short / 4);
            for error in [client.get(&k, opts).await.err(), client.list(&all, opts).await.err()] {
                let error = error.unwrap_or_else(|| panic!("{fault:?}: nobody could answer"));
                assert_eq!(error.effect, Effect::None, "{fault:?}: {error}");
                assert_eq!(error.retry(), Retry::SameHandle, "{fault:?}: {error}");
            }
            healed(&cx, &client).await?;
            client.get(&k, ReadOpts::default()).await?;
        }
    }

    [G2] needs [Pause] fn timeout_is_kept_frozen_server(cx) {
        let (client, _witness, space) = pair(&cx).await?;
        let k = key(&space, "k");
        cx.pause_servers(cx.servers()).await?;
        let asked = Duration::from_millis(300);
        for write in [true, false] {
            let begun = Instant::now();
            let error = if write {
                client.txn(Txn::new().put(&k, "v").within(asked)).await.err()
            } else {
                client.get(&k, ReadOpts::default().within(asked)).await.err()
            };
            assert!(error.is_some(), "a frozen server answered");
            assert!(begun.elapsed() < asked + cx.timing.short, "G2: {:?}", begun.elapsed());
        }
        healed(&cx, &client).await?;
    }

    [R12 X4] needs [Kill] fn reads_fail_without_servers(cx) {
        let (client, _witness, space) = pair(&cx).await?;
        let k = key(&space, "k");
        put(&client, &k, "v").await?;
        cx.inject(Fault::KillServer(0)).await?;
        let opts = ReadOpts::default().within(cx.timing.short / 2);
        if cx.servers() == 1 {
            let Err(error) = client.get(&k, opts).await else { panic!("R12: nobody could answer") };
            assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
            assert_eq!(error.effect, Effect::None);
        }
        healed(&cx, &client).await?;
        assert_eq!(value(&client, &k).await?, Some("v".into()));
    }

    /// A call that has timed out while waiting for a connection is not sent after all.
    [G2 X1] needs [Proxy] fn no_late_send_after_timeout(cx) {
        let (client, witness, space) = pair(&cx).await?;
        let k = key(&space, "k");
        cx.inject(Fault::CutClient(client.id)).await?;
        drop(put(&client, &key(&space, "first"), "v").await);
        let txn = Txn::new().put(&k, "late").within(Duration::from_millis(100));
        let Err(error) = client.txn(txn).await else { panic!("nobody could answer") };
        healed(&cx, &client).await?;
        put(&client, &key(&space, "marker"), "v").await?;
        if error.effect == Effect::None {
            assert_eq!(value(&witness, &k).await?, None, "G2: sent after its time");
        }
    }

    [X6] needs [Proxy] fn retry_hint_is_right(cx) {
        let (client, _witness, space) = pair(&cx).await?;
        let k = key(&space, "k");
        let never = client.txn(Txn::new().put(&k, "1").delete(&k)).await.expect_err("twice");
        assert_eq!(never.retry(), Retry::Never);
        cx.inject(Fault::CutClient(client.id)).await?;
        let error = client.get(&k, ReadOpts::default().within(cx.timing.short / 4)).await;
        assert_eq!(error.map(drop).map_err(|e| e.retry()), Err(Retry::SameHandle));
        healed(&cx, &client).await?;
        put(&client, &k, "v").await?;
    }

    [X5 T9] fn conflict_is_an_outcome(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let outcome = client.txn(Txn::new().exists(&k).put(&k, "v")).await?;
        assert!(matches!(outcome, TxnOutcome::Conflict { .. }), "{outcome:?}");
    }

    /// More at once than any window, and nothing hangs.
    [X8 G1] needs [Alone] fn overload_is_bounded(cx) {
        let (client, space) = cx.start().await?;
        let calls = (0..2000).map(|i| {
            let (client, k) = (client.clone(), key(&space, &format!("k{}", i % 50)));
            tokio::spawn(async move { put(&client, &k, "v").await })
        });
        let all = futures_util::future::join_all(calls.collect::<Vec<_>>());
        let limit = cx.timing.request + cx.timing.short * 3;
        let mut done = 0;
        for answer in within(limit, "X8: all answers", all).await {
            match answer.expect("no panic") {
                Ok(()) => done += 1,
                Err(error) => assert!(
                    matches!(error.kind, ErrorKind::Overloaded | ErrorKind::Timeout),
                    "{error}"
                ),
            }
        }
        assert!(done > 0);
    }

    [X7] fn receipt_tells_plain_outcomes(cx) {
        let (client, space) = cx.start().await?;
        let receipts = receipts(&cx, &client).await?;
        let k = key(&space, "k");
        for i in 0..10 {
            let resolved = receipts.txn(Txn::new().put(&k, i.to_string())).await?;
            assert!(matches!(resolved, Resolved::Committed { .. }), "{resolved:?}");
        }
        let resolved = receipts.txn(Txn::new().absent(&k).put(&k, "no")).await?;
        assert!(matches!(resolved, Resolved::Conflict { .. }), "{resolved:?}");
        let resolved = receipts.txn(Txn::new().exists(&k).put(&k, "yes")).await?;
        assert!(matches!(resolved, Resolved::Committed { .. }), "{resolved:?}");
        assert_eq!(value(&client, &k).await?, Some("yes".into()));
    }

    [X7 T2] fn receipts_from_many_tasks(cx) {
        let (client, space) = cx.start().await?;
        let receipts = Arc::new(receipts(&cx, &client).await?);
        let tasks = (0..40).map(|i| {
            let (receipts, k) = (receipts.clone(), key(&space, &format!("k{i}")));
            tokio::spawn(async move { receipts.txn(Txn::new().absent(&k).put(&k, "v")).await })
        });
        for task in futures_util::future::join_all(tasks.collect::<Vec<_>>()).await {
            let resolved = task.expect("no panic")?;
            assert!(matches!(resolved, Resolved::Committed { .. }), "{resolved:?}");
        }
        let all = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert_eq!(all.entries.len(), 40);
    }

    [X7] needs [Proxy] fn receipt_resolves_applied(cx) {
        let (client, witness, space) = pair(&cx).await?;
        let receipts = receipts(&cx, &client).await?;
        let k = key(&space, "k");
        cx.inject(Fault::DropReplies(client.id)).await?;
        let call = tokio::spawn({
            let txn = Txn::new().put(&k, "mine").within(cx.timing.short / 4);
            async move { receipts.txn(txn).await }
        });
        let applied = || async { value(&witness, &k).await == Ok(Some("mine".into())) };
        eventually(cx.timing.short, "applied", applied).await;
        // Its answer is lost before the doubt can be ended.
        tokio::time::sleep(cx.timing.short / 3).await;
        cx.heal().await?;
        let limit = cx.timing.detect + cx.timing.request + 7 * cx.timing.short;
        let resolved = within(limit, "X7: an end", call).await.expect("no panic")?;
        let (entry, _) = witness.get(&k, ReadOpts::default()).await?;
        let at = entry.expect("applied").modified;
        assert_eq!(resolved, Resolved::Committed { revision: at });
    }

    [X7] needs [Proxy] fn receipt_resolves_not_applied(cx) {
        let (client, witness, space) = pair(&cx).await?;
        let receipts = receipts(&cx, &client).await?;
        let k = key(&space, "k");
        cx.inject(Fault::BlackholeClient(client.id)).await?;
        let call = tokio::spawn({
            let txn = Txn::new().put(&k, "mine").within(cx.timing.short / 4);
            async move { receipts.txn(txn).await }
        });
        tokio::time::sleep(cx.timing.detect + cx.timing.short / 2).await;
        cx.heal().await?;
        let limit = cx.timing.detect + cx.timing.request + 7 * cx.timing.short;
        let resolved = within(limit, "X7: an end", call).await.expect("no panic")?;
        let found = value(&witness, &k).await?;
        // A proxy may hold the bytes and pass them on; what counts is that the answer is true.
        match resolved {
            Resolved::Committed { .. } => assert_eq!(found, Some("mine".into())),
            Resolved::NotCommitted => assert_eq!(found, None),
            Resolved::Conflict { .. } => panic!("no compare of its own"),
        }
    }

    /// Requests and voids meet faults at random; each answer must be true.
    [X7 X2 X3] needs [Proxy] fn receipts_are_truthful_under_faults(cx) {
        let (client, witness, space) = pair(&cx).await?;
        let receipts = Arc::new(receipts(&cx, &client).await?);
        let mut dice = crate::Dice::new(cx.seed);
        for i in 0..12 {
            let k = key(&space, &format!("k{i}"));
            cx.inject(match dice.below(3) {
                0 => Fault::DropReplies(client.id),
                1 => Fault::BlackholeClient(client.id),
                _ => Fault::CutClient(client.id),
            })
            .await?;
            let (mine, txn) = (receipts.clone(), Txn::new().put(&k, "mine"));
            let txn = txn.within(cx.timing.short / 20);
            let call = tokio::spawn(async move { mine.txn(txn).await });
            tokio::time::sleep(Duration::from_millis(dice.roll() % 150)).await;
            healed(&cx, &client).await?;
            let answer = call.await.expect("no panic");
            let there = value(&witness, &k).await?.is_some();
            match answer {
                Ok(Resolved::Committed { .. }) => assert!(there, "X7: round {i}"),
                Ok(_) => assert!(!there, "X7: round {i}"),
                Err(error) if error.effect == Effect::None => assert!(!there, "X1: round {i}"),
                Err(error) => panic!("X7: round {i} stays in doubt: {error}"),
            }
        }
    }

    /// A process that starts again learns what its last life has done.
    [X7 C3] fn receipt_after_restart_of_client(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let before = receipts(&cx, &client).await?;
        assert_eq!(before.found(), [""; 0]);
        before.txn_as("config-change-7", Txn::new().put(&k, "v")).await?;
        drop(before);
        let after = receipts(&cx, &client).await?;
        assert_eq!(after.found(), ["config-change-7"]);
        assert!(matches!(after.txn(Txn::new().put(&k, "w")).await?, Resolved::Committed { .. }));
    }

    /// Dropped at every await: the slots come back, and nothing commits behind the owner's back.
    [C3 X7] fn receipt_slots_survive_cancellation(cx) {
        let (client, space) = cx.start().await?;
        let receipts = receipts(&cx, &client).await?;
        for i in 0..30 {
            let k = key(&space, &format!("k{i}"));
            let call = receipts.txn(Txn::new().put(&k, "v"));
            drop(tokio::time::timeout(Duration::from_micros(40 * i), call).await);
        }
        for i in 0..4 {
            let last = receipts.txn(Txn::new().put(&key(&space, "last"), i.to_string()));
            let resolved = cx.promptly("a slot", last).await?;
            assert!(matches!(resolved, Resolved::Committed { .. }), "{resolved:?}");
        }
    }
}

//! Transactions (T1-T16).

use crate::case::{Client, cases, ephemeral, key, persistent, refused};
use coord_api::{
    CoordinatorExt, Entry, Error, ErrorKind, Fence, Key, Limits, Prefix, ReadOpts, Revision, Space,
    Txn, TxnOutcome, Version,
};
use futures_util::future::join_all;
use std::collections::BTreeSet;

async fn put(client: &Client, key: &Key, value: &str) -> Result<Revision, Error> {
    committed(client.txn(Txn::new().put(key, value.to_owned())).await?)
}

fn committed(outcome: TxnOutcome) -> Result<Revision, Error> {
    outcome.committed().ok_or_else(|| Error::from(ErrorKind::Fenced).because("a conflict"))
}

async fn entry(client: &Client, key: &Key) -> Result<Option<Entry>, Error> {
    Ok(client.get(key, ReadOpts::default()).await?.0)
}

async fn present(client: &Client, key: &Key) -> Result<Entry, Error> {
    Ok(entry(client, key).await?.unwrap_or_else(|| panic!("{key} is there")))
}

/// The transaction must conflict, and name compare `at` where the backend can.
async fn conflicts(client: &Client, txn: Txn, at: usize) -> Result<(), Error> {
    let outcome = client.txn(txn).await?;
    let exact = client.info().caps.exact_conflict;
    let TxnOutcome::Conflict { failed } = outcome else { panic!("a conflict, not {outcome:?}") };
    match failed {
        Some(failed) => assert_eq!(failed, at),
        None => assert!(!exact, "exact_conflict is declared"),
    }
    Ok(())
}

fn many(space: &Space, n: usize, step: impl Fn(Txn, &Key) -> Txn) -> Txn {
    (0..n).fold(Txn::new(), |txn, i| step(txn, &key(space, &format!("k{i:03}"))))
}

/// Adds one to a decimal counter, again and again until it has done so `rounds` times.
async fn count_up(client: Client, k: Key, rounds: usize) -> Result<(), Error> {
    let mut done = 0;
    while done < rounds {
        let now = entry(&client, &k).await?;
        let count: u64 = now.as_ref().map_or(0, |e| {
            String::from_utf8_lossy(&e.value).parse().expect("only numbers are written")
        });
        let txn = Txn::new().as_read(&k, now.as_ref()).put(&k, (count + 1).to_string());
        done += usize::from(client.txn(txn).await?.committed().is_some());
    }
    Ok(())
}

cases! { txn;
    [T5] fn put_create_then_replace(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let first = put(&client, &k, "1").await?;
        let created = present(&client, &k).await?;
        assert_eq!((created.created, created.modified), (first, first));
        let second = put(&client, &k, "2").await?;
        let replaced = present(&client, &k).await?;
        assert_eq!((replaced.created, replaced.modified), (first, second));
        assert_ne!(replaced.version, created.version);
    }

    [T6] fn put_equal_value_new_version(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        put(&client, &k, "same").await?;
        let before = present(&client, &k).await?;
        let mut fold = crate::Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        let at = put(&client, &k, "same").await?;
        let after = present(&client, &k).await?;
        assert_ne!(after.version, before.version);
        fold.until("an event", |f| f.state[&k].version == after.version).await;
        assert_eq!(after.modified, at);
    }

    [T7] fn delete_present_absent(cx) {
        let (client, space) = cx.start().await?;
        let (k, l) = (key(&space, "k"), key(&space, "l"));
        put(&client, &k, "v").await?;
        let outcome = client.txn(Txn::new().delete(&k).delete(&l)).await?;
        let TxnOutcome::Committed { versions, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(versions, [None, None]);
        assert_eq!(entry(&client, &k).await?, None);
        committed(client.txn(Txn::new().delete(&k)).await?)?;
    }

    [T3 T9] fn absent_holds_and_fails(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        committed(client.txn(Txn::new().absent(&k).put(&k, "1")).await?)?;
        conflicts(&client, Txn::new().absent(&k).put(&k, "2"), 0).await?;
        committed(client.txn(Txn::new().delete(&k)).await?)?;
        committed(client.txn(Txn::new().absent(&k).put(&k, "3")).await?)?;
    }

    /// A backend that proves absence by creating and deleting shows itself.
    [T3 W5] fn absent_without_put_has_no_side_events(cx) {
        let (client, space) = cx.start().await?;
        let (k, gone) = (key(&space, "k"), key(&space, "gone"));
        let mut fold = crate::Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        committed(client.txn(Txn::new().absent(&gone).put(&k, "1")).await?)?;
        committed(client.txn(Txn::new().absent(&gone)).await?)?;
        committed(client.txn(Txn::new().absent(&gone).put(&k, "2")).await?)?;
        fold.until("the second value", |f| f.value(&k) == Some(b"2")).await;
        assert!(fold.log.iter().all(|word| !word.contains("gone")), "{:?}", fold.log);
        put(&client, &gone, "v").await?;
        conflicts(&client, Txn::new().absent(&gone).put(&k, "3"), 0).await?;
    }

    [T3] fn exists_holds_and_fails(cx) {
        let (client, space) = cx.start().await?;
        let (k, l) = (key(&space, "k"), key(&space, "l"));
        conflicts(&client, Txn::new().exists(&k).put(&l, "1"), 0).await?;
        put(&client, &k, "").await?;
        committed(client.txn(Txn::new().exists(&k).put(&l, "1")).await?)?;
        committed(client.txn(Txn::new().exists(&k).delete(&k)).await?)?;
        conflicts(&client, Txn::new().exists(&k), 0).await?;
    }

    [T3 T9] fn version_holds_and_fails(cx) {
        let (client, space) = cx.start().await?;
        let (k, l) = (key(&space, "k"), key(&space, "l"));
        put(&client, &k, "1").await?;
        let first = present(&client, &k).await?;
        committed(client.txn(Txn::new().unchanged(&first).put(&l, "l")).await?)?;
        committed(client.txn(Txn::new().unchanged(&first).put(&k, "2")).await?)?;
        conflicts(&client, Txn::new().unchanged(&first).put(&k, "3"), 0).await?;
        committed(client.txn(Txn::new().delete(&k)).await?)?;
        conflicts(&client, Txn::new().unchanged(&first).put(&k, "4"), 0).await?;
        assert_eq!(entry(&client, &k).await?, None);
    }

    /// Stores count a key's changes from 0, and 0 must not mean "none".
    [T3] fn version_zero_is_a_version(cx) {
        let (client, space) = cx.start().await?;
        let (k, none) = (key(&space, "k"), Version([0; 3]));
        conflicts(&client, Txn::new().version(&k, none).put(&k, "1"), 0).await?;
        put(&client, &k, "1").await?;
        let first = present(&client, &k).await?;
        committed(client.txn(Txn::new().unchanged(&first).put(&k, "2")).await?)?;
        if first.version != none {
            conflicts(&client, Txn::new().version(&k, none).put(&k, "3"), 0).await?;
        }
    }

    [T4] fn aba_delete_recreate(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        put(&client, &k, "same").await?;
        let before = present(&client, &k).await?;
        committed(client.txn(Txn::new().delete(&k)).await?)?;
        put(&client, &k, "same").await?;
        conflicts(&client, Txn::new().unchanged(&before).put(&k, "stale"), 0).await?;
        assert_eq!(present(&client, &k).await?.value, "same");
    }

    [T4] fn aba_same_number_of_changes(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        for value in ["1", "2", "3"] {
            put(&client, &k, value).await?;
        }
        let before = present(&client, &k).await?;
        committed(client.txn(Txn::new().delete(&k)).await?)?;
        for value in ["1", "2", "3"] {
            put(&client, &k, value).await?;
        }
        conflicts(&client, Txn::new().unchanged(&before).delete(&k), 0).await?;
        assert!(entry(&client, &k).await?.is_some());
    }

    /// What guards against ABA must not make neighbours conflict.
    [T3 T9] fn unrelated_create_in_space_no_conflict(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        put(&client, &k, "v").await?;
        for i in 0..20 {
            let now = present(&client, &k).await?;
            put(&client, &key(&space, &format!("new{i}")), "").await?;
            client.txn(Txn::new().delete(&key(&space, &format!("new{}", i / 2)))).await?;
            committed(client.txn(Txn::new().unchanged(&now).put(&k, i.to_string())).await?)?;
        }
    }

    [T1 T9] fn conflict_writes_nothing(cx) {
        let (client, space) = cx.start().await?;
        let (k, guard) = (key(&space, "k"), key(&space, "guard"));
        put(&client, &k, "v").await?;
        let before = client.list(&Prefix::all(&space), ReadOpts::default()).await?.entries;
        let txn = Txn::new().exists(&guard).put(&key(&space, "a"), "").delete(&k);
        conflicts(&client, txn.put(&key(&space, "z"), ""), 0).await?;
        let after = client.list(&Prefix::all(&space), ReadOpts::default()).await?.entries;
        assert_eq!(after, before);
    }

    [T9] fn conflict_index_exact(cx) {
        let (client, space) = cx.start().await?;
        let keys: Vec<Key> = (0..6).map(|i| key(&space, &format!("k{i}"))).collect();
        for k in &keys {
            put(&client, k, "v").await?;
        }
        for wrong in 0..keys.len() {
            let txn = keys.iter().enumerate().fold(Txn::new(), |txn, (i, k)| {
                if i == wrong { txn.absent(k) } else { txn.exists(k) }
            });
            conflicts(&client, txn.put(&keys[0], "bad"), wrong).await?;
        }
    }

    [T1] fn multi_key_multi_space_atomic(cx) {
        let (client, space) = cx.start().await?;
        let other = persistent(&client, "jobs").await?;
        let (a, b, c) = (key(&space, "a"), key(&other, "b"), key(&space, "c"));
        put(&client, &c, "old").await?;
        let txn = Txn::new().absent(&b).put(&a, "1").put(&b, "2").delete(&c);
        let at = committed(client.txn(txn).await?)?;
        let found = client.get_many(&[a, b, c], ReadOpts::default()).await?;
        let when: Vec<_> = found.entries.iter().map(|entry| entry.modified).collect();
        assert_eq!(when, [at, at]);
    }

    [T1 R5] fn no_partial_view_under_readers(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        let other = persistent(&a, "jobs").await?;
        let keys = [key(&space, "x"), key(&other, "y"), key(&space, "z")];
        let written = keys.clone();
        let writer = tokio::spawn(async move {
            for i in 0..150 {
                let txn = if i % 3 == 2 {
                    written.iter().fold(Txn::new(), |txn, k| txn.delete(k))
                } else {
                    written.iter().fold(Txn::new(), |txn, k| txn.put(k, i.to_string()))
                };
                a.txn(txn).await?;
            }
            Ok::<(), Error>(())
        });
        while !writer.is_finished() {
            let found = b.get_many(&keys, ReadOpts::default()).await?;
            let values: BTreeSet<_> = found.entries.iter().map(|entry| &entry.value).collect();
            let whole = matches!(found.entries.len(), 0 | 3) && values.len() <= 1;
            assert!(whole, "torn: {:?}", found.entries);
        }
        writer.await.expect("the writer does not panic")?;
    }

    [T8] fn duplicate_key_refused_locally(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        refused(client.txn(Txn::new().put(&k, "1").delete(&k)).await, ErrorKind::DuplicateKey);
        refused(client.txn(Txn::new().absent(&k).exists(&k)).await, ErrorKind::DuplicateKey);
        assert_eq!(entry(&client, &k).await?, None);
        committed(client.txn(Txn::new().absent(&k).put(&k, "1")).await?)?;
    }

    [T12] fn ops_limit_100_ok_101_refused(cx) {
        let (client, space) = cx.start().await?;
        committed(client.txn(many(&space, 100, |txn, k| txn.put(k, "v"))).await?)?;
        let over = client.txn(many(&space, 101, |txn, k| txn.delete(k))).await;
        refused(over, ErrorKind::TooManyOps { limit: 100 });
        let all = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert_eq!(all.entries.len(), 100);
        committed(client.txn(many(&space, 100, |txn, k| txn.delete(k))).await?)?;
    }

    [T12] fn compares_limit_100_ok_101_refused(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        committed(client.txn(many(&space, 100, |txn, k| txn.absent(k)).put(&k, "")).await?)?;
        let over = client.txn(many(&space, 101, |txn, k| txn.absent(k)).put(&k, "")).await;
        refused(over, ErrorKind::TooManyOps { limit: 100 });
    }

    [T12] fn full_100_plus_100(cx) {
        let (client, space) = cx.start().await?;
        committed(client.txn(many(&space, 100, |txn, k| txn.absent(k).put(k, "1"))).await?)?;
        let now = client.list(&Prefix::all(&space), ReadOpts::default()).await?.entries;
        let txn = now.iter().fold(Txn::new(), |txn, e| txn.unchanged(e).put(&e.key, "2"));
        committed(client.txn(txn.clone()).await?)?;
        conflicts(&client, txn, 0).await?;
    }

    [T12] fn value_limit_exact(cx) {
        let (client, space) = cx.start().await?;
        let (k, limit) = (key(&space, "k"), Limits::CONTRACT.value);
        committed(client.txn(Txn::new().put(&k, vec![7; limit])).await?)?;
        assert_eq!(present(&client, &k).await?.value.len(), limit);
        let over = client.txn(Txn::new().put(&k, vec![7; limit + 1])).await;
        refused(over, ErrorKind::TooLarge { limit, got: limit + 1 });
    }

    [T12] fn txn_bytes_limit_exact(cx) {
        let (client, space) = cx.start().await?;
        let (a, b, limit) = (key(&space, "a"), key(&space, "b"), Limits::CONTRACT.txn_bytes);
        let most = Txn::new().put(&a, vec![7; limit / 2]).put(&b, vec![7; limit / 2 - 2]);
        assert_eq!(most.bytes(), limit);
        committed(client.txn(most).await?)?;
        let over = Txn::new().put(&a, vec![7; limit / 2]).put(&b, vec![7; limit / 2 - 1]);
        refused(client.txn(over).await, ErrorKind::TooLarge { limit, got: limit + 1 });
    }

    /// On some stores a request too large costs the connection, and every call in flight.
    [T12 C4] fn too_large_leaves_others_undisturbed(cx) {
        let (client, space) = cx.start().await?;
        let calls = (0..60).map(|i| {
            let (client, k) = (client.clone(), key(&space, &format!("k{i}")));
            async move {
                if i % 6 == 5 {
                    let over = client.txn(Txn::new().put(&k, vec![0; 2 << 20])).await;
                    refused(over, ErrorKind::TooLarge { limit: 512 << 10, got: 2 << 20 });
                    Ok(())
                } else {
                    put(&client, &k, "v").await.map(drop)
                }
            }
        });
        for call in join_all(calls).await {
            call?;
        }
        assert!(*client.health().borrow() == coord_api::Health::Ok);
    }

    [T13] fn empty_txn_compares_only(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let at = put(&client, &k, "v").await?;
        let held = client.txn(Txn::new().exists(&k)).await?;
        assert!(held.committed() >= Some(at), "{held:?}");
        conflicts(&client, Txn::new().absent(&k), 0).await?;
        assert!(client.txn(Txn::new()).await?.committed() >= Some(at));
        let later = put(&client, &k, "w").await?;
        assert!(Some(later) > held.committed());
    }

    [T14] fn ephemeral_op_outside_session(cx) {
        let client = cx.open().await?;
        let space = ephemeral(&client, "alive").await?;
        let session = cx.session(&client).await?;
        let k = Key::ephemeral(&space, "n", session.id(), 0)?;
        let bare = client.txn(Txn::new().put_ephemeral(&k, "")).await;
        refused(bare, ErrorKind::WrongSpaceKind);
        refused(client.txn(Txn::new().put(&k, "")).await, ErrorKind::WrongSpaceKind);
        refused(session.txn(Txn::new().put(&k, "")).await, ErrorKind::WrongSpaceKind);
        let plain = persistent(&client, "conf").await?;
        let misplaced = Key::ephemeral(&plain, "n", session.id(), 0)?;
        let wrong = session.txn(Txn::new().put_ephemeral(&misplaced, "")).await;
        refused(wrong, ErrorKind::WrongSpaceKind);
        session.close().await?;
    }

    [T14 E11] fn delete_foreign_ephemeral(cx) {
        let (a, b) = (cx.open().await?, cx.open().await?);
        let space = ephemeral(&a, "alive").await?;
        let session = cx.session(&a).await?;
        let k = Key::ephemeral(&space, "n", session.id(), 0)?;
        let outcome = session.txn(Txn::new().put_ephemeral(&k, "v")).await?;
        let fence = Fence::from(&present(&b, &k).await?);
        assert_eq!(outcome.committed(), Some(fence.token));
        committed(a.txn(Txn::new().fence(&fence)).await?)?;
        committed(b.txn(Txn::new().exists(&k).delete(&k)).await?)?;
        conflicts(&a, Txn::new().fence(&fence), 0).await?;
        assert_eq!(entry(&a, &k).await?, None);
        // The same name again is another candidate.
        session.txn(Txn::new().put_ephemeral(&k, "v")).await?;
        conflicts(&a, Txn::new().fence(&fence), 0).await?;
        session.close().await?;
    }

    [T10] fn revision_increases_across_handles(cx) {
        let (a, space) = cx.start().await?;
        let (b, mut last) = (cx.open().await?, Revision(0));
        let other = persistent(&b, "jobs").await?;
        for i in 0..30 {
            let (client, space) = if i % 2 == 0 { (&a, &space) } else { (&b, &other) };
            let at = put(client, &key(space, &format!("k{}", i % 5)), "v").await?;
            assert!(at > last, "{at} after {last}");
            last = at;
        }
    }

    [T10] fn delete_only_has_revision(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        let before = put(&client, &k, "v").await?;
        let at = committed(client.txn(Txn::new().delete(&k)).await?)?;
        assert!(at > before);
        let after = put(&client, &k, "v").await?;
        assert!(after > at);
    }

    [T11] fn versions_match_following_read(cx) {
        let (client, space) = cx.start().await?;
        let (a, b, c) = (key(&space, "a"), key(&space, "b"), key(&space, "c"));
        put(&client, &b, "old").await?;
        put(&client, &c, "old").await?;
        let outcome = client.txn(Txn::new().put(&a, "1").delete(&b).put(&c, "3")).await?;
        let TxnOutcome::Committed { versions, .. } = outcome else { panic!("{outcome:?}") };
        let read = [present(&client, &a).await?.version, present(&client, &c).await?.version];
        assert_eq!(versions, [Some(read[0]), None, Some(read[1])]);
        let next = Txn::new().version(&a, read[0]).version(&c, read[1]).delete(&a);
        committed(client.txn(next).await?)?;
    }

    [T2] fn cas_counter_50_tasks_4_handles(cx) {
        let (first, space) = cx.start().await?;
        let clients = [first, cx.open().await?, cx.open().await?, cx.open().await?];
        let k = key(&space, "count");
        let tasks = (0..50).map(|i| tokio::spawn(count_up(clients[i % 4].clone(), k.clone(), 2)));
        for task in join_all(tasks).await {
            task.expect("no task panics")?;
        }
        assert_eq!(present(&clients[0], &k).await?.value, "100");
    }

    /// Each transaction reads both keys and writes one: at most one of a pair may win.
    [T2] fn write_skew_impossible(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        for round in 0..30 {
            let (x, y) = (key(&space, &format!("x{round}")), key(&space, &format!("y{round}")));
            let one = a.txn(Txn::new().absent(&x).absent(&y).put(&x, ""));
            let two = b.txn(Txn::new().absent(&x).absent(&y).put(&y, ""));
            let (one, two) = futures_util::future::join(one, two).await;
            let winners = [one?, two?].iter().filter(|o| o.committed().is_some()).count();
            assert_eq!(winners, 1, "round {round}");
        }
    }

    [T1 T2 R5] fn bank_transfer_sum_constant(cx) {
        let (first, space) = cx.start().await?;
        let clients = [first, cx.open().await?, cx.open().await?];
        let accounts: Vec<Key> = (0..5).map(|i| key(&space, &format!("a{i}"))).collect();
        let open = accounts.iter().fold(Txn::new(), |txn, k| txn.put(k, "100"));
        committed(clients[0].txn(open).await?)?;
        let tasks = (0..3).map(|n| {
            let (client, accounts) = (clients[n].clone(), accounts.clone());
            tokio::spawn(transfers(client, accounts, cx.seed.wrapping_add(n as u64)))
        });
        let tasks: Vec<_> = tasks.collect();
        while !tasks.iter().all(|task| task.is_finished()) {
            let all = clients[0].list(&Prefix::all(&space), ReadOpts::default()).await?;
            assert_eq!(total(&all.entries), 500, "at {}", all.revision);
        }
        for task in tasks {
            task.await.expect("no task panics")?;
        }
    }

    [T16] fn unawaited_pair_any_order(cx) {
        let (client, space) = cx.start().await?;
        for round in 0..20 {
            let k = key(&space, &format!("k{round}"));
            let one = client.txn(Txn::new().put(&k, "1"));
            let two = client.txn(Txn::new().put(&k, "2"));
            let (one, two) = futures_util::future::join(one, two).await;
            let (one, two) = (committed(one?)?, committed(two?)?);
            assert_ne!(one, two);
            let last = if one > two { "1" } else { "2" };
            assert_eq!(present(&client, &k).await?.value, last);
        }
    }
}

fn total(entries: &[Entry]) -> i64 {
    let value = |e: &Entry| String::from_utf8_lossy(&e.value).parse::<i64>().expect("a number");
    entries.iter().map(value).sum()
}

/// Forty transfers between two accounts drawn from the seed.
async fn transfers(client: Client, accounts: Vec<Key>, seed: u64) -> Result<(), Error> {
    let mut dice = crate::dice::Dice::new(seed);
    for _ in 0..40 {
        let (from, to) = (dice.below(5), dice.below(5));
        if from == to {
            continue;
        }
        let pair = [accounts[from].clone(), accounts[to].clone()];
        let now = client.get_many(&pair, ReadOpts::default()).await?;
        let [a, b] = &now.entries[..] else { panic!("both accounts are there") };
        let less = total(std::slice::from_ref(a)) - 1;
        let more = total(std::slice::from_ref(b)) + 1;
        let txn = Txn::new().unchanged(a).unchanged(b);
        client.txn(txn.put(&a.key, less.to_string()).put(&b.key, more.to_string())).await?;
    }
    Ok(())
}

//! Reads (R1-R13).

use crate::case::{Client, cases, ephemeral, key, persistent, prefix, refused, within};
use crate::fold::versions;
use coord_api::{
    CoordinatorExt, Error, ErrorKind, Key, Prefix, ReadOpts, Revision, Space, Txn, TxnOutcome,
};
use std::collections::BTreeSet;
use std::time::Duration;

async fn put(client: &Client, key: &Key, value: &str) -> Result<Revision, Error> {
    let outcome = client.txn(Txn::new().put(key, value.to_owned())).await?;
    Ok(outcome.committed().expect("no compare, no conflict"))
}

async fn value(client: &Client, key: &Key, opts: ReadOpts) -> Result<Option<String>, Error> {
    let (entry, _) = client.get(key, opts).await?;
    Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}

/// Writes `n` keys `k00000`... of `size` bytes, as few transactions as the limits allow.
async fn fill(client: &Client, space: &Space, n: usize, size: usize) -> Result<(), Error> {
    let per_txn = (700 * 1024 / (size + 8)).clamp(1, 100);
    let body = vec![b'x'; size];
    for from in (0..n).step_by(per_txn) {
        let txn = (from..n.min(from + per_txn))
            .fold(Txn::new(), |txn, i| txn.put(&key(space, &format!("k{i:05}")), body.clone()));
        client.txn(txn).await?;
    }
    Ok(())
}

/// Two keys written together, over and over; `done` stops it.
async fn write_pairs(client: Client, keys: [Key; 2], rounds: usize) -> Result<(), Error> {
    for i in 0..rounds {
        let value = i.to_string();
        client.txn(Txn::new().put(&keys[0], value.clone()).put(&keys[1], value)).await?;
    }
    Ok(())
}

cases! { kv;
    [R1] fn get_absent(cx) {
        let (client, space) = cx.start().await?;
        let at = put(&client, &key(&space, "other"), "v").await?;
        let (found, revision) = client.get(&key(&space, "k"), ReadOpts::default()).await?;
        assert_eq!(found, None);
        assert!(revision >= at);
    }

    [R2 R3] fn read_after_write_same_handle(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        for i in 0..50 {
            let at = put(&client, &k, &i.to_string()).await?;
            for opts in [ReadOpts::default(), ReadOpts::session(), ReadOpts::not_older_than(at)] {
                assert_eq!(value(&client, &k, opts).await?, Some(i.to_string()), "{opts:?}");
            }
        }
    }

    [R2] fn read_after_write_other_handle_linearizable(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        let k = key(&space, "k");
        for i in 0..50 {
            let at = put(&a, &k, &i.to_string()).await?;
            let (found, revision) = b.get(&k, ReadOpts::default()).await?;
            assert_eq!(found.map(|entry| entry.value), Some(i.to_string().into()));
            assert!(revision >= at);
        }
    }

    [R3] fn session_read_monotonic(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        let k = key(&space, "k");
        let writer = tokio::spawn(write_pairs(a.clone(), [k.clone(), key(&space, "l")], 100));
        let mut last = Revision(0);
        while !writer.is_finished() {
            let (_, revision) = b.get(&k, ReadOpts::session()).await?;
            assert!(revision >= last, "back from {last} to {revision}");
            last = revision;
        }
        writer.await.expect("the writer does not panic")?;
    }

    [R3] fn session_read_sees_own_sessions_txn(cx) {
        let client = cx.open().await?;
        let space = ephemeral(&client, "alive").await?;
        let session = cx.session(&client).await?;
        for i in 0..20 {
            let k = Key::ephemeral(&space, "n", session.id(), i)?;
            session.txn(Txn::new().put_ephemeral(&k, "v")).await?;
            assert_eq!(value(&client, &k, ReadOpts::session()).await?, Some("v".into()));
        }
    }

    [R4] fn not_older_than_waits(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        let k = key(&space, "k");
        for i in 0..30 {
            let at = put(&a, &k, &i.to_string()).await?;
            let (found, revision) = b.get(&k, ReadOpts::not_older_than(at)).await?;
            assert!(revision >= at);
            assert_eq!(found.map(|entry| entry.value), Some(i.to_string().into()));
        }
    }

    [R4] fn not_older_than_future_revision(cx) {
        let (client, space) = cx.start().await?;
        let at = put(&client, &key(&space, "k"), "v").await?;
        let future = Revision(at.0 + (1 << 40));
        let opts = ReadOpts::not_older_than(future);
        refused(client.get(&key(&space, "k"), opts).await, ErrorKind::FutureRevision);
        refused(client.list(&Prefix::all(&space), opts).await, ErrorKind::FutureRevision);
    }

    [R5 R6] fn get_many_is_one_cut(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        let keys = [key(&space, "x"), key(&space, "y")];
        let writer = tokio::spawn(write_pairs(a.clone(), keys.clone(), 200));
        let (mut rounds, all) = (0, [keys[1].clone(), key(&space, "absent"), keys[0].clone()]);
        while !writer.is_finished() {
            let found = b.get_many(&all, ReadOpts::default()).await?;
            let values: BTreeSet<_> = found.entries.iter().map(|entry| &entry.value).collect();
            assert!(values.len() <= 1, "torn: {values:?} at {}", found.revision);
            assert!(found.entries.iter().all(|entry| entry.modified <= found.revision));
            assert!(found.entries.is_sorted_by_key(|entry| &entry.key));
            rounds += 1;
        }
        writer.await.expect("the writer does not panic")?;
        assert!(rounds > 0);
    }

    [R5] fn list_is_one_cut_under_writes(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        let keys = [key(&space, "x"), key(&space, "y")];
        let writer = tokio::spawn(write_pairs(a.clone(), keys, 200));
        while !writer.is_finished() {
            let found = b.list(&Prefix::all(&space), ReadOpts::default()).await?;
            let values: BTreeSet<_> = found.entries.iter().map(|entry| &entry.value).collect();
            assert!(values.len() <= 1, "torn: {values:?} at {}", found.revision);
        }
        writer.await.expect("the writer does not panic")?;
    }

    [R6 K3] fn list_sorted_complete(cx) {
        let (client, space) = cx.start().await?;
        fill(&client, &space, 300, 4).await?;
        let other = persistent(&client, "confx").await?;
        put(&client, &key(&other, "k1"), "").await?;
        let found = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        let names: Vec<_> = found.entries.iter().map(|e| e.key.name().to_owned()).collect();
        assert_eq!(names, Vec::from_iter((0..300).map(|i| format!("k{i:05}"))));
    }

    [R6 R7] fn list_revision_bounds_entries(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        put(&client, &k, "1").await?;
        let found = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert!(found.entries.iter().all(|entry| entry.modified <= found.revision));
        let later = put(&client, &k, "2").await?;
        assert!(later > found.revision, "R7");
        let gone = client.txn(Txn::new().delete(&k)).await?;
        assert!(gone.committed() > Some(later), "R7: {gone:?}");
    }

    [R6] fn list_empty_prefix_and_no_match(cx) {
        let (client, space) = cx.start().await?;
        let at = put(&client, &key(&space, "k"), "v").await?;
        let all = client.list(&prefix(&space, ""), ReadOpts::default()).await?;
        assert_eq!(all.entries.len(), 1);
        let none = client.list(&prefix(&space, "kk"), ReadOpts::default()).await?;
        assert_eq!(none.entries, []);
        assert!(none.revision >= at);
        let none = client.get_many(&[], ReadOpts::default()).await?;
        assert!(none.entries.is_empty() && none.revision >= at);
    }

    [R8] fn equal_reads_equal_entries(cx) {
        let (client, space) = cx.start().await?;
        let other = cx.open().await?;
        fill(&client, &space, 20, 30).await?;
        let all = Prefix::all(&space);
        let first = client.list(&all, ReadOpts::default()).await?;
        let second = other.list(&all, ReadOpts::default()).await?;
        assert_eq!(first.entries, second.entries);
        let keys: Vec<Key> = first.entries.iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(client.get_many(&keys, ReadOpts::default()).await?.entries, first.entries);
    }

    [R9] fn pages_complete_no_repeat(cx) {
        let (client, space) = cx.start().await?;
        fill(&client, &space, 95, 4).await?;
        let (all, mut after, mut names) = (prefix(&space, "k000"), None::<Key>, Vec::new());
        for _ in 0..20 {
            let page = client.list_page(&all, after.as_ref(), 10, ReadOpts::default()).await?;
            let (page, more) = page;
            assert!(page.entries.len() <= 10);
            names.extend(page.entries.iter().map(|entry| entry.key.name().to_owned()));
            after = page.entries.last().map(|entry| entry.key.clone()).or(after);
            if !more {
                break;
            }
        }
        assert_eq!(names, Vec::from_iter((0..95).map(|i| format!("k{i:05}"))));
    }

    [R9] fn pages_under_concurrent_writes(cx) {
        let (a, space) = cx.start().await?;
        let b = cx.open().await?;
        fill(&a, &space, 60, 4).await?;
        let busy = [key(&space, "k00010x"), key(&space, "k00040x")];
        let writer = tokio::spawn(async move {
            for _ in 0..40 {
                a.txn(Txn::new().put(&busy[0], "").put(&busy[1], "")).await?;
                a.txn(Txn::new().delete(&busy[0]).delete(&busy[1])).await?;
            }
            Ok::<(), Error>(())
        });
        while !writer.is_finished() {
            let (mut after, mut names) = (None::<Key>, Vec::new());
            loop {
                let opts = ReadOpts::default();
                let page = b.list_page(&Prefix::all(&space), after.as_ref(), 7, opts).await?;
                names.extend(page.0.entries.iter().map(|entry| entry.key.name().to_owned()));
                after = page.0.entries.last().map(|entry| entry.key.clone()).or(after);
                if !page.1 {
                    break;
                }
            }
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
            let steady = names.iter().filter(|name| !name.ends_with('x')).count();
            assert_eq!(steady, 60, "a key present throughout is in exactly one page");
        }
        writer.await.expect("the writer does not panic")?;
    }

    [R9] fn page_limit_one(cx) {
        let (client, space) = cx.start().await?;
        fill(&client, &space, 3, 4).await?;
        let all = Prefix::all(&space);
        let mut after = None;
        for (i, more) in [(0, true), (1, true), (2, false)] {
            let page = client.list_page(&all, after.as_ref(), 1, ReadOpts::default()).await?;
            assert_eq!((page.0.entries.len(), page.1), (1, more));
            assert_eq!(page.0.entries[0].key.name(), format!("k{i:05}"));
            after = Some(page.0.entries[0].key.clone());
        }
        let past = key(&space, "z");
        let page = client.list_page(&all, Some(&past), 1, ReadOpts::default()).await?;
        assert_eq!((page.0.entries.len(), page.1), (0, false));
    }

    [R10] fn owner_only_on_ephemerals(cx) {
        let (client, space) = cx.start().await?;
        let alive = ephemeral(&client, "alive").await?;
        let session = cx.session(&client).await?;
        let (plain, bound) = (key(&space, "k"), Key::ephemeral(&alive, "n", session.id(), 0)?);
        session.txn(Txn::new().put(&plain, "").put_ephemeral(&bound, "")).await?;
        let found = client.get_many(&[plain, bound], ReadOpts::default()).await?;
        let owners: Vec<_> = found.entries.iter().map(|entry| entry.owner).collect();
        assert_eq!(owners, [Some(session.id()), None], "alive sorts before conf");
        session.close().await?;
    }

    [R13] needs [Alone] fn list_10000_keys(cx) {
        let (client, space) = cx.start().await?;
        fill(&client, &space, 10_000, 100).await?;
        let limit = cx.timing.request;
        let all = Prefix::all(&space);
        let list = client.list(&all, ReadOpts::default());
        let found = within(limit, "10,000 keys", list).await?;
        assert_eq!(found.entries.len(), 10_000);
    }

    [R13] fn list_4_mib(cx) {
        let (client, space) = cx.start().await?;
        fill(&client, &space, 8, 512 << 10).await?;
        let found = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert_eq!(found.entries.iter().map(|e| e.value.len()).sum::<usize>(), 4 << 20);
    }

    [T5 R8] fn binary_values_and_empty_value(cx) {
        let (client, space) = cx.start().await?;
        let every: Vec<u8> = (0..=255).collect();
        for (name, bytes) in [("all", every), ("empty", vec![]), ("nul", vec![0]), ("ff", vec![255])] {
            let k = key(&space, name);
            client.txn(Txn::new().put(&k, bytes.clone())).await?;
            let (found, _) = client.get(&k, ReadOpts::default()).await?;
            assert_eq!(found.map(|entry| entry.value), Some(bytes.into()), "{name}");
        }
    }

    [R11] fn conflicted_values_never_seen(cx) {
        let (client, space) = cx.start().await?;
        let reader = cx.open().await?;
        let (k, guard) = (key(&space, "k"), key(&space, "guard"));
        put(&client, &k, "good").await?;
        for i in 0..40 {
            let refused = client.txn(Txn::new().exists(&guard).put(&k, format!("bad{i}"))).await?;
            assert!(matches!(refused, TxnOutcome::Conflict { .. }));
            for opts in [ReadOpts::default(), ReadOpts::session()] {
                assert_eq!(value(&reader, &k, opts).await?, Some("good".into()));
            }
        }
    }

    /// A read within no time at all ends at once and in a way the caller can tell.
    [G2 X4] fn timeout_is_kept(cx) {
        let (client, space) = cx.start().await?;
        let opts = ReadOpts::default().within(Duration::ZERO);
        let k = key(&space, "k");
        let read = client.get(&k, opts);
        if let Err(error) = cx.promptly("a read with no time", read).await {
            assert_eq!((error.kind.clone(), error.is_unknown()), (ErrorKind::Timeout, false));
        }
        put(&client, &k, "v").await?;
        let found = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert_eq!(versions(&found.entries).len(), 1);
    }
}

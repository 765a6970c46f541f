//! Lock (L1-L9).

use crate::Ctx;
use crate::case::{Client, cases, ephemeral, eventually, key, persistent, within};
use crate::harness::Fault;
use coord_api::{
    CoordinatorExt, Error, ErrorKind, LeaderView, Lock, LockGuard, Prefix, ReadOpts, Session, Txn,
    TxnOutcome,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

async fn lock(cx: &Ctx, name: &str) -> Result<(Client, Arc<dyn Session>, Lock), Error> {
    let client = cx.open().await?;
    let session = cx.session(&client).await?;
    let lock = Lock::new(&client.c, &session, name)?;
    Ok((client, session, lock))
}

async fn waiting(client: &Client) -> Result<usize, Error> {
    let space = ephemeral(client, "lock").await?;
    Ok(client.list(&Prefix::all(&space), ReadOpts::default()).await?.entries.len())
}

async fn in_line(cx: &Ctx, client: &Client, n: usize) {
    let there = || async { waiting(client).await.is_ok_and(|found| found == n) };
    eventually(cx.timing.short, "candidates in line", there).await;
}

async fn acquire(cx: &Ctx, lock: &Lock) -> Result<LockGuard, Error> {
    let limit = cx.death() + cx.timing.short;
    within(limit, "the lock", lock.acquire(None, "me".into())).await
}

cases! { lock;
    [L1] needs [Alone] fn mutual_exclusion_50_tasks(cx) {
        let locks = [lock(&cx, "l").await?, lock(&cx, "l").await?, lock(&cx, "l").await?];
        let (inside, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..50).map(|i| {
            let (lock, inside, turns) = (locks[i % 3].2.clone(), inside.clone(), turns.clone());
            tokio::spawn(async move {
                let guard = lock.acquire(None, "x".into()).await?;
                assert!(!inside.swap(true, Ordering::SeqCst), "L1: two inside");
                tokio::task::yield_now().await;
                inside.store(false, Ordering::SeqCst);
                turns.fetch_add(1, Ordering::SeqCst);
                guard.release().await
            })
        });
        let all = futures_util::future::join_all(tasks.collect::<Vec<_>>());
        for task in within(cx.timing.short * 10, "fifty turns", all).await {
            task.expect("no panic")?;
        }
        assert_eq!(turns.load(Ordering::SeqCst), 50);
    }

    [L2] fn fifo(cx) {
        let (client, _session, first) = lock(&cx, "l").await?;
        let guard = acquire(&cx, &first).await?;
        let (send, mut got) = tokio::sync::mpsc::unbounded_channel();
        let mut kept = Vec::new();
        for i in 0..6 {
            let (other, session, lock) = lock(&cx, "l").await?;
            kept.push((other, session));
            let send = send.clone();
            tokio::spawn(async move {
                let guard = lock.acquire(None, "x".into()).await?;
                send.send(i).expect("the case listens");
                guard.release().await
            });
            in_line(&cx, &client, i + 2).await;
        }
        guard.release().await?;
        for i in 0..6 {
            assert_eq!(cx.promptly("the next holder", got.recv()).await, Some(i));
        }
    }

    [L3] fn try_on_held(cx) {
        let ((a, _sa, one), (_b, _sb, two)) = (lock(&cx, "l").await?, lock(&cx, "l").await?);
        let guard = one.try_acquire("a".into()).await?.expect("free");
        assert!(two.try_acquire("b".into()).await?.is_none());
        assert!(one.try_acquire("a".into()).await?.is_none(), "L5");
        assert_eq!(waiting(&a).await?, 1);
        guard.release().await?;
        let guard = two.try_acquire("b".into()).await?.expect("free again");
        guard.release().await?;
    }

    [L4] fn wait_timeout_leaves_nothing(cx) {
        let ((a, _sa, one), (_b, _sb, two)) = (lock(&cx, "l").await?, lock(&cx, "l").await?);
        let guard = acquire(&cx, &one).await?;
        for _ in 0..3 {
            let late = two.acquire(Some(Duration::from_millis(60)), "b".into()).await;
            assert_eq!(late.map(drop).map_err(|e| e.kind), Err(ErrorKind::Timeout));
        }
        in_line(&cx, &a, 1).await;
        guard.release().await?;
        acquire(&cx, &two).await?.release().await?;
    }

    [L5] fn not_reentrant(cx) {
        let (client, _session, one) = lock(&cx, "l").await?;
        let guard = acquire(&cx, &one).await?;
        let again = one.clone();
        let second = tokio::spawn(async move { again.acquire(None, "again".into()).await });
        in_line(&cx, &client, 2).await;
        assert!(!second.is_finished());
        guard.release().await?;
        cx.promptly("the second", second).await.expect("no panic")?.release().await?;
    }

    [L6] fn release_and_drop(cx) {
        let (client, _session, one) = lock(&cx, "l").await?;
        acquire(&cx, &one).await?.release().await?;
        assert_eq!(waiting(&client).await?, 0, "release completes after the key is gone");
        drop(acquire(&cx, &one).await?);
        in_line(&cx, &client, 0).await;
    }

    [L7] needs [Expire] fn lost_session_guard_conflicts(cx) {
        let (client, session, one) = lock(&cx, "l").await?;
        let space = persistent(&client, "conf").await?;
        let guard = acquire(&cx, &one).await?;
        cx.inject(Fault::SessionExpiry(session.id())).await?;
        let txn = guard.guard(Txn::new().put(&key(&space, "k"), "stale"));
        let outcome = client.txn(txn).await?;
        assert!(matches!(outcome, TxnOutcome::Conflict { .. }), "{outcome:?}");
        within(cx.timing.ttl + cx.timing.short, "L7: lost", guard.lost()).await;
        assert!(!guard.is_valid());
    }

    [L8] fn invisible_elsewhere(cx) {
        let (client, _session, one) = lock(&cx, "l").await?;
        let space = persistent(&client, "conf").await?;
        let alive = ephemeral(&client, "alive").await?;
        let guard = acquire(&cx, &one).await?;
        for space in [space, alive] {
            let all = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
            assert_eq!(all.entries, []);
        }
        guard.release().await?;
    }

    [L9] fn holder_note(cx) {
        let ((_a, _sa, one), (_b, _sb, two)) = (lock(&cx, "l").await?, lock(&cx, "l").await?);
        let none = two.holder(ReadOpts::default()).await?;
        assert!(matches!(none, LeaderView::None { .. }), "{none:?}");
        let guard = acquire(&cx, &one).await?;
        let held = two.holder(ReadOpts::default()).await?;
        let LeaderView::Leader { entry, token } = held else { panic!("{held:?}") };
        assert_eq!((entry.value, token), ("me".into(), guard.fence().token));
    }

    /// `a` must not wait for `ab`, nor for an election of its name.
    [L8] fn names_are_whole(cx) {
        let (client, session, one) = lock(&cx, "a").await?;
        let two = Lock::new(&client.c, &session, "ab")?;
        let guard = acquire(&cx, &one).await?;
        let other = cx.promptly("another lock", two.acquire(None, "x".into())).await?;
        let election = coord_api::Election::new(&client.c, &session, "a")?;
        let lead = cx.promptly("an election", election.campaign("x".into())).await?;
        assert!(guard.is_valid() && other.is_valid() && lead.is_valid());
        assert!(Lock::new(&client.c, &session, "a@b").is_err());
        assert!(Lock::new(&client.c, &session, "").is_err());
    }

    /// Elements added by read and guarded write under the lock, by clients cut now and then: none
    /// acknowledged is lost.
    [L1 E3] needs [Proxy] fn set_protected_by_lock_with_fence(cx) {
        let witness = cx.open().await?;
        let space = persistent(&witness, "conf").await?;
        let k = key(&space, "set");
        let mut tasks = Vec::new();
        let mut ids = Vec::new();
        for i in 0..5 {
            let (client, cx, k) = (cx.open().await?, cx.clone(), k.clone());
            ids.push(client.id);
            tasks.push(tokio::spawn(async move {
                let mut sure = Vec::new();
                for n in 0..4 {
                    let word = format!("{i}.{n}");
                    if add(&cx, &client, &k, &word).await == Ok(true) {
                        sure.push(word);
                    }
                }
                sure
            }));
        }
        let mut dice = crate::Dice::new(cx.seed);
        while !tasks.iter().all(|task| task.is_finished()) {
            cx.inject(Fault::CutClient(ids[dice.below(5)])).await?;
            tokio::time::sleep(cx.timing.ttl / 4).await;
            cx.heal().await?;
            tokio::time::sleep(cx.timing.ttl / 4).await;
        }
        let (found, _) = witness.get(&k, ReadOpts::default()).await?;
        let text = found.map(|e| String::from_utf8_lossy(&e.value).into_owned());
        let text = text.unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        for task in tasks {
            for word in task.await.expect("no panic") {
                assert!(words.contains(&word.as_str()), "{word} is lost: {text}");
            }
        }
    }
}

/// Adds a word to a list under the lock; true only if it is certainly there.
async fn add(cx: &Ctx, client: &Client, k: &coord_api::Key, word: &str) -> Result<bool, Error> {
    let session = cx.session(client).await?;
    let lock = Lock::new(&client.c, &session, "set")?;
    let guard = lock.acquire(Some(cx.death()), "x".into()).await?;
    let (now, _) = client.get(k, ReadOpts::default()).await?;
    let mut text = now.map_or_else(Vec::new, |entry| entry.value.to_vec());
    text.extend(format!(" {word}").bytes());
    let outcome = client.txn(guard.guard(Txn::new().put(k, text))).await?;
    guard.release().await?;
    Ok(outcome.committed().is_some())
}

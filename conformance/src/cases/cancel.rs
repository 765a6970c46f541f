//! Cancellation (C1-C4).

use crate::Fold;
use crate::case::{Client, cases, ephemeral, eventually, key, prefix};
use coord_api::{
    CoordinatorExt, Election, Error, Key, Lock, Prefix, ReadOpts, SessionOpts, Txn, WatchOpts,
};
use futures_util::StreamExt;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Polls a future up to so many times, then drops it. True when it completed.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        let ready = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready()));
        if ready.await {
            return true;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    false
}

async fn put(client: &Client, key: &Key) -> Result<(), Error> {
    client.txn(Txn::new().put(key, "v")).await.map(drop)
}

cases! { cancel;
    [C1] fn unpolled_future_no_effect(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "never");
        for _ in 0..20 {
            drop(client.txn(Txn::new().put(&k, "v")));
            drop(client.session(SessionOpts { ttl: cx.timing.ttl, name: "never".into() }));
        }
        put(&client, &key(&space, "marker")).await?;
        let all = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert_eq!(all.entries.len(), 1, "{:?}", all.entries);
    }

    /// A write dropped after n polls has happened or has not, as a whole.
    [C2 C3 T1] fn drop_at_every_poll_txn(cx) {
        let (client, space) = cx.start().await?;
        for times in 1..30 {
            let (a, b) = (key(&space, &format!("a{times}")), key(&space, &format!("b{times}")));
            polled(times, client.txn(Txn::new().put(&a, "v").put(&b, "v"))).await;
            // In order behind it on the same handle.
            put(&client, &key(&space, "marker")).await?;
            let pair = client.get_many(&[a, b], ReadOpts::default()).await?;
            assert!(pair.entries.len() != 1, "torn after {times} polls");
        }
        let mut fold = Fold::new(&client, Prefix::all(&space), cx.timing.short);
        fold.settle(&client).await?;
    }

    [C3 E5] fn drop_at_every_poll_campaign_lock(cx) {
        let client = cx.open().await?;
        let session = cx.session(&client).await?;
        let election = Election::new(&client.c, &session, "boss")?;
        let lock = Lock::new(&client.c, &session, "l")?;
        for times in 1..25 {
            polled(times, election.campaign("x".into())).await;
            polled(times, lock.acquire(None, "x".into())).await;
        }
        for name in ["elect", "lock"] {
            let space = ephemeral(&client, name).await?;
            let none = || async {
                let all = client.list(&Prefix::all(&space), ReadOpts::default()).await;
                all.is_ok_and(|all| all.entries.is_empty())
            };
            eventually(cx.timing.ttl + cx.timing.short, "E5: nothing left", none).await;
        }
        let lead = cx.promptly("leadership", election.campaign("y".into())).await?;
        let guard = cx.promptly("the lock", lock.acquire(None, "y".into())).await?;
        assert!(lead.is_valid() && guard.is_valid());
    }

    [C3 S6] fn drop_at_every_poll_session_watch(cx) {
        let (client, space) = cx.start().await?;
        let alive = ephemeral(&client, "alive").await?;
        for times in 1..20 {
            let opts = SessionOpts { ttl: cx.timing.ttl, name: "dropped".into() };
            polled(times, client.session(opts)).await;
            let mut stream = client.watch(Prefix::all(&space), WatchOpts::default());
            polled(times, stream.next()).await;
        }
        let session = cx.session(&client).await?;
        let k = Key::ephemeral(&alive, "n", session.id(), 0)?;
        session.txn(Txn::new().put_ephemeral(&k, "v")).await?;
        let mut fold = Fold::new(&client, Prefix::all(&alive), cx.timing.short);
        fold.settle(&client).await?;
        session.close().await?;
        fold.settle(&client).await?;
    }

    [C2 C4 G1] fn others_unaffected(cx) {
        let (client, space) = cx.start().await?;
        let calls = (0..200).map(|i| {
            let (client, k) = (client.clone(), key(&space, &format!("k{i:03}")));
            tokio::spawn(async move {
                if i % 2 == 0 {
                    polled(i % 9 + 1, client.txn(Txn::new().put(&k, i.to_string()))).await;
                    return Ok(true);
                }
                client.txn(Txn::new().put(&k, i.to_string())).await?;
                let (found, _) = client.get(&k, ReadOpts::default()).await?;
                Ok::<bool, Error>(found.is_some_and(|e| e.value == i.to_string()))
            })
        });
        for call in futures_util::future::join_all(calls.collect::<Vec<_>>()).await {
            assert!(call.expect("no panic")?, "C4: an answer of another call");
        }
        let all = client.list(&prefix(&space, "k"), ReadOpts::default()).await?;
        for entry in &all.entries {
            let number: usize = entry.key.name()[1..].parse().expect("a number");
            assert_eq!(entry.value, number.to_string(), "C4: {}", entry.key);
        }
    }
}

//! The view recipe: a copy that is always one state, and never older than before (W2-W13).

use crate::Dice;
use crate::case::{Client, cases, eventually, key, persistent, within};
use crate::harness::Fault;
use coord_api::{
    CoordinatorExt, Error, ErrorKind, Freshness, Key, Prefix, ReadOpts, Revision, Space, Txn, View,
};
use std::collections::BTreeMap;

async fn put(client: &Client, key: &Key, value: &str) -> Result<Revision, Error> {
    let outcome = client.txn(Txn::new().put(key, value.to_owned())).await?;
    Ok(outcome.committed().expect("no compare, no conflict"))
}

async fn equals_list(view: &View, client: &Client, space: &Space) -> Result<bool, Error> {
    let all = client.list(&Prefix::all(space), ReadOpts::default()).await?;
    Ok(view.image().entries().eq(all.entries.iter()))
}

cases! { view;
    [W1 W7] fn opens_with_a_whole_state(cx) {
        let (client, space) = cx.start().await?;
        for i in 0..1200 / 100 {
            let names = (0..100).map(|n| key(&space, &format!("k{i:02}.{n:02}")));
            client.txn(names.fold(Txn::new(), |txn, k| txn.put(&k, "v"))).await?;
        }
        let view = View::open(&client.c, &Prefix::all(&space), cx.timing.short).await?;
        assert_eq!((view.image().len(), view.freshness()), (1200, Freshness::Current));
        let narrow = Prefix::new(&space, "k03.")?;
        assert_eq!(view.image().under(&narrow).count(), 100);
    }

    [K6] fn undeclared_space_is_an_error(cx) {
        let client = cx.open().await?;
        let nowhere = Prefix::all(&Space::new("nowhere")?);
        let answer = View::open(&client.c, &nowhere, cx.timing.short).await;
        assert_eq!(answer.map(drop).map_err(|e| e.kind), Err(ErrorKind::UnknownSpace));
    }

    /// Own writes are seen after waiting for them, foreign spaces' revisions too.
    [W11 R4] fn waits_for_a_revision(cx) {
        let (client, space) = cx.start().await?;
        let writer = cx.open().await?;
        let other = persistent(&client, "jobs").await?;
        let view = View::open(&client.c, &Prefix::all(&space), cx.timing.short).await?;
        let k = key(&space, "k");
        for i in 0..10 {
            let at = put(&writer, &k, &i.to_string()).await?;
            view.wait_for(at, cx.timing.short).await?;
            assert_eq!(view.entry(&k).map(|e| e.value), Some(i.to_string().into()));
            let at = put(&writer, &key(&other, "elsewhere"), "v").await?;
            view.wait_for(at, cx.timing.short).await?;
            assert!(view.image().revision() >= at);
        }
        let future = Revision(view.image().revision().0 + (1 << 40));
        let answer = view.wait_for(future, cx.timing.short).await;
        assert_eq!(answer.map_err(|e| e.kind), Err(ErrorKind::FutureRevision));
    }

    /// Whatever a follower skips, the differences add up.
    [W2 W8] fn differences_add_up(cx) {
        let (client, space) = cx.start().await?;
        let writer = cx.open().await?;
        let view = View::open(&client.c, &Prefix::all(&space), cx.timing.short).await?;
        let (mut follow, mut state) = (view.follow(), BTreeMap::new());
        let moved = space.clone();
        let seed = cx.seed;
        let writing = tokio::spawn(async move {
            let mut dice = Dice::new(seed);
            for i in 0..200 {
                let k = key(&moved, &format!("k{}", dice.below(6)));
                let txn = if dice.chance(30) { Txn::new().delete(&k) } else { Txn::new().put(&k, i.to_string()) };
                writer.txn(txn).await?;
            }
            put(&writer, &key(&moved, "last"), "v").await
        });
        let mut last = Revision(0);
        while !state.contains_key("last") {
            let diff = within(cx.timing.short, "a difference", follow.next()).await;
            let diff = diff.expect("the view goes on");
            assert!(diff.revision >= last && !diff.after_gap);
            last = diff.revision;
            for entry in diff.removed {
                assert!(state.remove(entry.key.name()).is_some(), "{} was not there", entry.key);
            }
            for (before, after) in diff.changed {
                let old = state.insert(after.key.name().to_owned(), after.version);
                assert_eq!(old, Some(before.version), "{}", after.key);
            }
            for entry in diff.added {
                let old = state.insert(entry.key.name().to_owned(), entry.version);
                assert_eq!(old, None, "{} was there", entry.key);
            }
        }
        writing.await.expect("no panic")?;
        let all = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        let listed = all.entries.iter().map(|e| (e.key.name().to_owned(), e.version)).collect();
        assert_eq!(state, listed);
    }

    [W3 T1] fn images_are_whole(cx) {
        let (client, space) = cx.start().await?;
        let writer = cx.open().await?;
        let view = View::open(&client.c, &Prefix::all(&space), cx.timing.short).await?;
        let (x, y) = (key(&space, "x"), key(&space, "y"));
        let pair = (x.clone(), y.clone());
        let writing = tokio::spawn(async move {
            for i in 0..100 {
                let value = i.to_string();
                writer.txn(Txn::new().put(&pair.0, value.clone()).put(&pair.1, value)).await?;
            }
            Ok::<(), Error>(())
        });
        while !writing.is_finished() {
            let image = view.image();
            let (a, b) = (image.entry(&x), image.entry(&y));
            assert_eq!(a.map(|e| &e.value), b.map(|e| &e.value), "at {}", image.revision());
            tokio::task::yield_now().await;
        }
        writing.await.expect("no panic")?;
    }

    [W12 W13] needs [Proxy] fn goes_stale_and_recovers(cx) {
        let (writer, space) = cx.start().await?;
        let client = cx.open().await?;
        let k = key(&space, "k");
        let before = put(&writer, &k, "before").await?;
        let view = View::open(&client.c, &Prefix::all(&space), cx.timing.short).await?;
        // Another handle's write: its server may have it later than the writer's (W7).
        view.wait_for(before, cx.timing.short).await?;
        let mut follow = view.follow();
        follow.next().await;
        cx.inject(Fault::CutClient(client.id)).await?;
        let limit = cx.timing.detect + cx.timing.short;
        let stale = || async { matches!(view.freshness(), Freshness::StaleSince(_)) };
        eventually(limit, "stale", stale).await;
        put(&writer, &k, "meanwhile").await?;
        assert_eq!(view.entry(&k).map(|e| e.value), Some("before".into()), "kept while stale");
        cx.heal().await?;
        let limit = limit + 3 * cx.timing.short;
        let diff = within(limit, "the difference", follow.next()).await.expect("goes on");
        assert_eq!(diff.changed.len(), 1);
        assert!(diff.after_gap);
        let same = || async { equals_list(&view, &writer, &space).await.unwrap_or(false) };
        eventually(limit, "current again", same).await;
        assert_eq!(view.freshness(), Freshness::Current);
    }

    [G5] fn ends_with_its_handle(cx) {
        let (client, space) = cx.start().await?;
        put(&client, &key(&space, "k"), "v").await?;
        let view = View::open(&client.c, &Prefix::all(&space), cx.timing.short).await?;
        let mut follow = view.follow();
        follow.next().await;
        client.close().await?;
        assert_eq!(within(cx.timing.short, "the end", follow.next()).await, None);
        assert!(matches!(view.freshness(), Freshness::Ended(_)));
        assert_eq!(view.image().len(), 1, "the last state stays");
    }
}

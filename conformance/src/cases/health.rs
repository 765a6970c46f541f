//! Health and the life of a handle (H1, H2, G1, G3, G5, G6).

use crate::case::{cases, eventually, key, refused, within};
use crate::harness::Fault;
use coord_api::{CoordinatorExt, ErrorKind, Health, Prefix, ReadOpts, SessionOpts, SpaceKind, Txn};
use futures_util::future::join_all;

cases! { health;
    [H1] needs [Proxy] fn transitions(cx) {
        let (client, _space) = cx.start().await?;
        let mut health = client.health();
        assert_eq!(*health.borrow_and_update(), Health::Ok);
        let limit = cx.timing.detect + cx.timing.short;
        for fault in [Fault::CutClient(client.id), Fault::BlackholeClient(client.id)] {
            cx.inject(fault).await?;
            let down = health.wait_for(|now| *now != Health::Ok);
            let now = within(limit, "H1: down", down).await.expect("open").clone();
            assert!(!matches!(now, Health::Closed), "{now:?}");
            cx.heal().await?;
            let up = health.wait_for(|now| *now == Health::Ok);
            drop(within(limit + 3 * cx.timing.short, "H1: up", up).await.expect("open"));
        }
        client.close().await?;
        let closed = health.wait_for(|now| *now == Health::Closed);
        drop(within(cx.timing.short, "G5: Closed", closed).await.expect("the last state"));
    }

    [G5] fn closed_handle_refuses_everything(cx) {
        let (client, space) = cx.start().await?;
        let session = cx.session(&client).await?;
        let (k, opts) = (key(&space, "k"), ReadOpts::default());
        client.close().await?;
        refused(client.get(&k, opts).await, ErrorKind::Closed);
        refused(client.list(&Prefix::all(&space), opts).await, ErrorKind::Closed);
        refused(client.txn(Txn::new().put(&k, "v")).await, ErrorKind::Closed);
        refused(client.ensure_space(&space, SpaceKind::Persistent).await, ErrorKind::Closed);
        let again = client.session(SessionOpts { ttl: cx.timing.ttl, name: "late".into() }).await;
        refused(again.map(drop), ErrorKind::Closed);
        let mut state = session.state();
        let lost = state.wait_for(coord_api::SessionState::is_lost);
        drop(within(cx.timing.ttl + cx.timing.short, "its sessions end", lost).await.expect("open"));
        client.close().await?;
        assert_eq!(*client.health().borrow(), Health::Closed);
        // Other handles do not notice.
        let other = cx.open().await?;
        other.get(&k, opts).await?;
    }

    [G5 C4] fn close_while_busy(cx) {
        let (client, space) = cx.start().await?;
        let calls = (0..100).map(|i| {
            let (client, k) = (client.clone(), key(&space, &format!("k{i}")));
            tokio::spawn(async move { client.txn(Txn::new().put(&k, "v")).await })
        });
        let calls: Vec<_> = calls.collect();
        tokio::task::yield_now().await;
        client.close().await?;
        let other = cx.open().await?;
        for (i, call) in within(cx.timing.short, "G5: ends", join_all(calls)).await.into_iter().enumerate() {
            let answer = call.expect("no panic");
            let (found, _) = other.get(&key(&space, &format!("k{i}")), ReadOpts::default()).await?;
            match answer {
                Ok(_) => assert!(found.is_some(), "acknowledged and lost"),
                Err(error) if !error.is_unknown() => assert!(found.is_none(), "X1: {error}"),
                Err(_) => {}
            }
        }
    }

    [G1] fn many_tasks_share_one_handle(cx) {
        let (client, space) = cx.start().await?;
        let tasks = (0..64).map(|i| {
            let (client, k) = (client.clone(), key(&space, &format!("k{i}")));
            tokio::spawn(async move {
                for n in 0..5 {
                    client.txn(Txn::new().put(&k, n.to_string())).await?;
                    let (found, _) = client.get(&k, ReadOpts::session()).await?;
                    assert_eq!(found.map(|e| e.value), Some(n.to_string().into()));
                }
                Ok::<(), coord_api::Error>(())
            })
        });
        for task in join_all(tasks.collect::<Vec<_>>()).await {
            task.expect("no panic")?;
        }
    }

    [G6] fn cluster_id_is_shared(cx) {
        let (a, b) = (cx.open().await?, cx.open_in("-other").await?);
        assert_eq!(a.info().cluster_id, b.info().cluster_id);
        assert_eq!(a.info().backend, b.info().backend);
        assert!(!a.info().server_version.is_empty());
    }

    [G6] needs [Kill] fn cluster_id_survives_restart(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        client.txn(Txn::new().put(&k, "v")).await?;
        let before = client.info().cluster_id;
        cx.inject(Fault::KillServer(0)).await?;
        cx.heal().await?;
        let works = || async { client.barrier(Some(cx.timing.short)).await.is_ok() };
        let limit = cx.timing.detect + 10 * cx.timing.short;
        eventually(limit, "the handle works again", works).await;
        assert_eq!(cx.open().await?.info().cluster_id, before);
        assert!(client.get(&k, ReadOpts::default()).await?.0.is_some(), "acknowledged and lost");
    }

    /// Handles come and go, and nothing of them stays.
    [G3] fn no_leak_after_close(cx) {
        let (client, space) = cx.start().await?;
        let mut kept = Vec::new();
        for i in 0..30 {
            let other = cx.open().await?;
            let stream = other.watch(Prefix::all(&space), coord_api::WatchOpts::default());
            let session = cx.session(&other).await?;
            if i % 2 == 0 {
                other.close().await?;
            }
            kept.push((std::sync::Arc::downgrade(&other.c), std::sync::Arc::downgrade(&session)));
            drop((other, stream, session));
        }
        let gone = || async {
            kept.iter().all(|(c, s)| c.strong_count() == 0 && s.strong_count() == 0)
        };
        eventually(cx.timing.short, "G3: nothing holds them", gone).await;
        client.txn(Txn::new().put(&key(&space, "k"), "v")).await?;
    }
}

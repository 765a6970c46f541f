//! Random histories and whether an order explains them; random streams against the model.

use crate::case::{Client, cases, eventually, key, persistent};
use crate::harness::Fault;
use crate::history::{Call, Tally, check};
use crate::load::{Budget, Load, marks};
use crate::{Ctx, Dice};
use coord_api::mem::Mem;
use coord_api::{
    Coordinator, CoordinatorExt, Error, Key, Prefix, ReadOpts, Revision, Space, SpaceKind, Txn,
    TxnOutcome,
};
use parking_lot::Mutex;
use std::time::Duration;

/// Runs some clients while `disturb` goes on and hands out their calls, heals, and checks the
/// whole history. `timeout` is each call's own.
async fn run<F: Future<Output = Result<(), Error>>>(
    cx: &Ctx,
    calls: usize,
    timeout: Duration,
    disturb: impl FnOnce(Ctx, Vec<usize>, Budget) -> F,
) -> Result<Tally, Error> {
    let (first, space) = cx.start().await?;
    let marked = persistent(&first, "marks").await?;
    let keys: Vec<Key> = (0..4).map(|i| key(&space, &format!("k{i}"))).collect();
    let mut tasks = Vec::new();
    let mut ids = Vec::new();
    let budget = Budget::new(0);
    for n in 0..4 {
        let client = cx.open().await?;
        ids.push(client.id);
        let (keys, marks, budget) = (keys.clone(), marked.clone(), budget.clone());
        let load = Load { client: n, calls, timeout, keys, marks, budget };
        tasks.push(tokio::spawn(load.run(client, Dice::new(cx.seed.wrapping_add(n as u64)))));
    }
    let all = futures_util::future::join_all(tasks);
    let (histories, disturbed) = tokio::join!(
        async {
            let done = all.await;
            done.into_iter().map(|h| h.expect("no panic")).collect::<Vec<_>>()
        },
        async {
            let outcome = disturb(cx.clone(), ids, budget.clone()).await;
            budget.grant(4 * calls);
            outcome
        },
    );
    disturbed?;
    cx.heal().await?;
    let last = cx.open().await?;
    let works = || async { last.barrier(Some(cx.timing.short)).await.is_ok() };
    eventually(cx.timing.detect + 10 * cx.timing.short, "all is healed", works).await;
    let unread: usize = histories.iter().map(|(_, unread)| unread).sum();
    let history: Vec<Call> = histories.into_iter().flat_map(|(history, _)| history).collect();
    let marks = marks(&last, &marked).await?;
    match check(&history, &marks) {
        Ok(tally) => {
            let tally = Tally { unread, ..tally };
            TOTALS.lock().add(&tally);
            Ok(tally)
        }
        Err(violation) => panic!("not linearizable: {}", violation.told(&history)),
    }
}

/// The cases that make a history under faults.
pub(crate) const FAMILIES: &[&str] = &[
    "random::histories_under_cuts_have_an_order",
    "random::histories_under_kills_and_pauses_have_an_order",
    "random::histories_under_partitions_have_an_order",
];

/// All histories of this process that had an order.
static TOTALS: Mutex<Tally> = Mutex::new(Tally::EMPTY);

/// What they held, in words.
pub(crate) fn totals() -> String {
    let all = *TOTALS.lock();
    format!(
        "{} calls: {} committed, {} conflicts, {} reads, {} refused; unknown: {} applied, {} lost",
        all.calls(),
        all.committed,
        all.conflicts,
        all.reads,
        all.refused,
        all.unknown_applied,
        all.unknown_lost
    )
}

/// The run was worth something.
fn meaningful(tally: Tally) {
    let least = (tally.committed + tally.unknown_applied, tally.conflicts, tally.reads);
    assert!(least.0 >= 20 && least.1 >= 5 && least.2 >= 20, "too little happened: {tally:?}");
}

/// Injects and heals, with some calls to make while a fault comes, under it and after it. Now and then
/// one lasts several pauses: on a busy machine no call may be answered within one. The first outlasts
/// every call's time, so that at least one call has felt a fault.
async fn disturb(
    cx: Ctx,
    faults: Vec<Fault>,
    rounds: usize,
    pause: Duration,
    budget: Budget,
) -> Result<(), Error> {
    let mut dice = Dice::new(cx.seed ^ 0xd157);
    for round in 0..rounds {
        budget.grant(8);
        cx.inject(faults[dice.below(faults.len())].clone()).await?;
        budget.grant(8);
        let pauses = [1, 1, 2, 6][dice.below(4)];
        tokio::time::sleep(pause * if round == 0 { 24 } else { pauses }).await;
        cx.heal().await?;
        budget.grant(8);
        budget.spent().await;
    }
    Ok(())
}

/// The same transaction on both; every outcome and all contents must agree.
async fn step(one: &dyn Coordinator, two: &dyn Coordinator, txn: &Txn) -> Result<(), Error> {
    let (a, b) = (one.txn(txn.clone()).await?, two.txn(txn.clone()).await?);
    match (&a, &b) {
        (TxnOutcome::Committed { versions: a, .. }, TxnOutcome::Committed { versions: b, .. }) => {
            let slots = |v: &[Option<_>]| v.iter().map(Option::is_some).collect::<Vec<_>>();
            assert_eq!(slots(a), slots(b), "{txn:?}");
        }
        (TxnOutcome::Conflict { failed: a }, TxnOutcome::Conflict { failed: b }) => {
            assert!(a.is_none() || b.is_none() || a == b, "{a:?}, {b:?}: {txn:?}");
        }
        _ => panic!("{a:?}, the model says {b:?}: {txn:?}"),
    }
    Ok(())
}

/// Contents with times as ranks, which is how revisions of two clusters compare.
async fn contents(
    c: &dyn Coordinator,
    space: &Space,
) -> Result<Vec<(Key, Vec<u8>, usize, usize)>, Error> {
    let all = c.list(&Prefix::all(space), ReadOpts::default()).await?.entries;
    let mut times: Vec<Revision> = all.iter().flat_map(|e| [e.created, e.modified]).collect();
    times.sort();
    times.dedup();
    let rank = |at: Revision| times.partition_point(|t| *t < at);
    let row =
        |e: &coord_api::Entry| (e.key.clone(), e.value.to_vec(), rank(e.created), rank(e.modified));
    Ok(all.iter().map(row).collect())
}

cases! { random;
    [T1 T2 T3 T9 T10 R2 R3 R5] fn histories_have_an_order(cx) {
        let tally = run(&cx, 150, cx.timing.request, |_, _, _| async { Ok(()) }).await?;
        meaningful(tally);
        assert_eq!((tally.unknown_applied, tally.unknown_lost, tally.refused), (0, 0, 0));
    }

    [T2 X1 X2 X3 R2] needs [Proxy] fn histories_under_cuts_have_an_order(cx) {
        let pause = cx.timing.short / 80;
        let tally = run(&cx, 120, cx.timing.short / 4, |cx, ids, budget| async move {
            let faults = ids.iter().flat_map(|id| {
                [Fault::CutClient(*id), Fault::DropReplies(*id), Fault::BlackholeClient(*id)]
            });
            disturb(cx, faults.collect(), 15, pause, budget).await
        })
        .await?;
        meaningful(tally);
        let writes = tally.unknown_applied + tally.unknown_lost + tally.refused;
        let disturbed = writes + tally.unread;
        assert!(disturbed > 0, "no fault was effective: {tally:?}");
    }

    [T2 X2 R2 R12] needs [Kill Pause] fn histories_under_kills_and_pauses_have_an_order(cx) {
        let pause = cx.timing.short / 40;
        let tally = run(&cx, 120, cx.timing.short / 4, |cx, _, budget| async move {
            let faults = (0..cx.servers()).flat_map(|at| [Fault::KillServer(at), Fault::PauseServer(at)]);
            disturb(cx, faults.collect(), 5, pause, budget).await
        })
        .await?;
        meaningful(tally);
    }

    [T2 X2 R2 R12 W4] needs [Partition ThreeServers] fn histories_under_partitions_have_an_order(cx) {
        let pause = cx.timing.short / 4;
        let tally = run(&cx, 120, cx.timing.short / 4, |cx, _, budget| async move {
            let servers = 0..cx.servers();
            let faults = servers.clone().map(|at| {
                let others = servers.clone().filter(|other| *other != at).collect();
                Fault::PartitionServers(vec![vec![at], others])
            });
            disturb(cx, faults.collect(), 5, pause, budget).await
        })
        .await?;
        meaningful(tally);
    }

    /// One stream of transactions, the model beside it.
    [T1 T3 T4 T5 T7 T9 K3 R6] fn differs_nowhere_from_the_model(cx) {
        let (client, space) = cx.start().await?;
        let model = Mem::new().connect("model");
        model.ensure_space(&space, SpaceKind::Persistent).await?;
        let names = ["a", "a/b", "ab", "B", "_", "%41", "-", "z"];
        let keys: Vec<Key> = names.iter().map(|name| key(&space, name)).collect();
        let mut dice = Dice::new(cx.seed);
        for n in 0..250 {
            let mut txn = Txn::new();
            for k in &keys {
                match dice.below(12) {
                    0 => txn = txn.absent(k),
                    1 => txn = txn.exists(k),
                    2 | 3 => txn = txn.put(k, n.to_string()),
                    4 => txn = txn.delete(k),
                    _ => {}
                }
            }
            step(&*client, &*model, &txn).await?;
            if n % 10 == 0 {
                assert_eq!(contents(&*client, &space).await?, contents(&*model, &space).await?);
            }
        }
        assert_eq!(contents(&*client, &space).await?, contents(&*model, &space).await?);
    }

    /// Nothing acknowledged is lost when the servers go down at any moment (T1, X1).
    [T1 X1 G6] needs [Kill] fn appended_elements_survive_kills(cx) {
        let (client, space) = cx.start().await?;
        let moved = (client.clone(), space.clone());
        let writer = tokio::spawn(async move { append(moved.0, moved.1, 60).await });
        for i in 0..4 {
            tokio::time::sleep(cx.timing.short / 40).await;
            cx.inject(Fault::KillServer(i % cx.servers())).await?;
            cx.heal().await?;
        }
        let sure = writer.await.expect("no panic");
        let works = || async { client.barrier(Some(cx.timing.short)).await.is_ok() };
        eventually(cx.timing.detect + 10 * cx.timing.short, "all is healed", works).await;
        let all = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        let lost = sure.iter().filter(|k| all.entry(k).is_none()).count();
        assert_eq!(lost, 0, "of {} acknowledged", sure.len());
    }
}

/// The keys whose writes were acknowledged.
async fn append(client: Client, space: Space, n: usize) -> Vec<Key> {
    let mut sure = Vec::new();
    for i in 0..n {
        let k = key(&space, &format!("e{i}"));
        if client.txn(Txn::new().put(&k, "")).await.is_ok() {
            sure.push(k);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    sure
}

//! Election (E1-E12).

use crate::case::{Client, cases, ephemeral, eventually, key, persistent, within};
use crate::harness::Fault;
use crate::{Ctx, Dice};
use coord_api::{
    CoordinatorExt, Election, Error, ErrorKind, HolderLoss, LeaderView, Leadership, Prefix,
    ReadOpts, Revision, Session, Space, Txn, TxnOutcome,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A client with a session and its view of the election.
struct Candidate {
    client: Client,
    session: Arc<dyn Session>,
    election: Election,
}

async fn candidate(cx: &Ctx) -> Result<Candidate, Error> {
    let client = cx.open().await?;
    let session = cx.session(&client).await?;
    let election = Election::new(&client.c, &session, "boss")?;
    Ok(Candidate { client, session, election })
}

impl Candidate {
    async fn lead(&self, cx: &Ctx, note: &str) -> Result<Leadership, Error> {
        let campaign = self.election.campaign(note.to_owned().into());
        within(cx.death() + cx.timing.short, "leadership", campaign).await
    }
}

async fn candidates(client: &Client) -> Result<usize, Error> {
    let space = ephemeral(client, "elect").await?;
    let all = client.list(&Prefix::all(&space), ReadOpts::default()).await?;
    Ok(all.entries.len())
}

/// Waits until so many candidates stand in line.
async fn in_line(cx: &Ctx, client: &Client, n: usize) {
    let there = || async { candidates(client).await.is_ok_and(|found| found == n) };
    eventually(cx.timing.short, "candidates in line", there).await;
}

async fn commits(client: &Client, txn: Txn) -> Result<bool, Error> {
    Ok(matches!(client.txn(txn).await?, TxnOutcome::Committed { .. }))
}

async fn conf(client: &Client) -> Result<Space, Error> {
    persistent(client, "conf").await
}

cases! { elect;
    [E1 E6] fn single_candidate(cx) {
        let one = candidate(&cx).await?;
        let lead = one.lead(&cx, "me").await?;
        assert!(lead.is_valid());
        assert!(lead.valid_until() > Instant::now());
        let view = one.election.leader(ReadOpts::default()).await?;
        let LeaderView::Leader { entry, token } = view else { panic!("{view:?}") };
        assert_eq!((entry.value, token), ("me".into(), lead.fence().token));
        assert_eq!(entry.owner, Some(one.session.id()));
        lead.confirm().await?;
        lead.resign().await?;
        let view = one.election.leader(ReadOpts::default()).await?;
        assert!(matches!(view, LeaderView::None { .. }), "{view:?}");
    }

    [E4] fn order_of_candidates(cx) {
        let all = [candidate(&cx).await?, candidate(&cx).await?, candidate(&cx).await?, candidate(&cx).await?];
        let first = all[0].lead(&cx, "0").await?;
        let (send, mut led) = tokio::sync::mpsc::unbounded_channel();
        for (i, one) in all.iter().enumerate().skip(1) {
            let (election, send) = (one.election.clone(), send.clone());
            tokio::spawn(async move {
                let lead = election.campaign(i.to_string().into()).await?;
                send.send(i).expect("the case listens");
                lead.resign().await
            });
            in_line(&cx, &all[0].client, i + 1).await;
        }
        first.resign().await?;
        for i in 1..4 {
            assert_eq!(cx.promptly("the next leader", led.recv()).await, Some(i));
        }
    }

    [E2] fn token_increases(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let mut last = Revision(0);
        for i in 0..10 {
            let lead = if i % 2 == 0 { &a } else { &b }.lead(&cx, "x").await?;
            let token = lead.fence().token;
            assert!(token > last, "{token} after {last}");
            last = token;
            lead.resign().await?;
        }
    }

    [E8] fn resign_hands_over(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let first = a.lead(&cx, "a").await?;
        let waiting = b.election.clone();
        let second = tokio::spawn(async move { waiting.campaign("b".into()).await });
        in_line(&cx, &a.client, 2).await;
        assert!(!second.is_finished());
        first.resign().await?;
        let second = cx.promptly("the next leader", second).await.expect("no panic")?;
        assert!(second.is_valid());
    }

    [E8 E9] needs [Proxy] fn leader_death_hands_over(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let first = a.lead(&cx, "a").await?;
        cx.inject(Fault::BlackholeClient(a.client.id)).await?;
        let second = b.lead(&cx, "b").await?;
        assert!(!first.is_valid(), "E1: two leaders");
        assert!(second.is_valid());
        let loss = cx.promptly("E9: lost", first.lost()).await;
        assert!(matches!(loss, HolderLoss::SessionLost | HolderLoss::NotConfirmed), "{loss:?}");
    }

    [E5] fn campaign_drop_leaves_nothing(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let first = a.lead(&cx, "a").await?;
        let waiting = b.election.clone();
        let second = tokio::spawn(async move { waiting.campaign("b".into()).await });
        in_line(&cx, &a.client, 2).await;
        second.abort();
        in_line(&cx, &a.client, 1).await;
        first.resign().await?;
        in_line(&cx, &a.client, 0).await;
    }

    [E5] needs [Proxy] fn campaign_drop_while_disconnected(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let first = a.lead(&cx, "a").await?;
        let waiting = b.election.clone();
        let second = tokio::spawn(async move { waiting.campaign("b".into()).await });
        in_line(&cx, &a.client, 2).await;
        cx.inject(Fault::CutClient(b.client.id)).await?;
        second.abort();
        drop(b.election);
        drop(b.session);
        let gone = || async { candidates(&a.client).await.is_ok_and(|n| n == 1) };
        eventually(cx.death(), "S6: the candidate is gone", gone).await;
        first.resign().await?;
    }

    /// It goes back into the line instead of leading unseen.
    [E6 E11] fn candidate_deleted_while_waiting(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let first = a.lead(&cx, "a").await?;
        let waiting = b.election.clone();
        let second = tokio::spawn(async move { waiting.campaign("b".into()).await });
        in_line(&cx, &a.client, 2).await;
        let space = Space::new("elect")?;
        let all = a.client.list(&Prefix::all(&space), ReadOpts::default()).await?;
        let theirs = all.entries.iter().find(|e| e.owner == Some(b.session.id()));
        let theirs = theirs.expect("in line").clone();
        a.client.txn(Txn::new().delete(&theirs.key)).await?;
        in_line(&cx, &a.client, 2).await;
        first.resign().await?;
        let second = cx.promptly("the next leader", second).await.expect("no panic")?;
        assert!(second.fence().token > theirs.created);
        assert_ne!(second.fence().key, theirs.key);
    }

    [E11 E9] fn leader_key_deleted(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let space = conf(&b.client).await?;
        let first = a.lead(&cx, "a").await?;
        b.client.txn(Txn::new().delete(&first.fence().key)).await?;
        let guarded = first.guard(Txn::new().put(&key(&space, "k"), "stale"));
        assert!(!commits(&a.client, guarded).await?, "E3: at once");
        assert_eq!(cx.promptly("E11: lost", first.lost()).await, HolderLoss::CandidateDeleted);
        assert!(!first.is_valid());
        assert_eq!(first.proclaim("late".into()).await.map_err(|e| e.kind), Err(ErrorKind::Fenced));
        let second = b.lead(&cx, "b").await?;
        assert!(second.is_valid() && !first.is_valid());
    }

    [E3] fn guard_commits_only_for_leader(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let space = conf(&a.client).await?;
        let k = key(&space, "k");
        let first = a.lead(&cx, "a").await?;
        assert!(commits(&a.client, first.guard(Txn::new().put(&k, "first"))).await?);
        // Whoever holds the fence may use it, on any handle.
        assert!(commits(&b.client, first.guard(Txn::new().put(&k, "by proxy"))).await?);
        let stale = first.fence().clone();
        first.resign().await?;
        assert!(!commits(&a.client, Txn::new().fence(&stale).put(&k, "stale")).await?);
        let second = b.lead(&cx, "b").await?;
        assert!(!commits(&a.client, Txn::new().fence(&stale).put(&k, "stale")).await?);
        assert!(commits(&b.client, second.guard(Txn::new().put(&k, "second"))).await?);
    }

    /// The old leader has slept through its end and does not know yet.
    [E3 E1] needs [Proxy] fn old_leader_guard_conflicts_after_takeover(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let space = conf(&b.client).await?;
        let k = key(&space, "k");
        let first = a.lead(&cx, "a").await?;
        cx.inject(Fault::CutClient(a.client.id)).await?;
        let second = b.lead(&cx, "b").await?;
        assert!(commits(&b.client, second.guard(Txn::new().put(&k, "second"))).await?);
        cx.heal().await?;
        let stale = first.guard(Txn::new().put(&k, "stale"));
        let answer = || async { a.client.barrier(None).await.is_ok() };
        eventually(cx.timing.ttl + 3 * cx.timing.short, "a reconnect", answer).await;
        assert!(!commits(&a.client, stale).await?);
        assert!(!first.is_valid() && second.is_valid());
    }

    [E7] fn observer_sequence(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let mut views = b.election.observe();
        assert_eq!(views.next().await, Some(LeaderView::Unknown));
        let view = cx.promptly("none", views.next()).await;
        assert!(matches!(view, Some(LeaderView::None { .. })), "{view:?}");
        let mut last = Revision(0);
        for note in ["1", "2"] {
            let lead = a.lead(&cx, note).await?;
            let view = cx.promptly("a leader", views.next()).await;
            let Some(LeaderView::Leader { entry, token }) = view else { panic!("{view:?}") };
            assert_eq!((entry.value, token), (note.into(), lead.fence().token));
            assert!(token > last, "E7: tokens never decrease");
            last = token;
            lead.resign().await?;
            let view = cx.promptly("none", views.next()).await;
            assert!(matches!(view, Some(LeaderView::None { .. })), "{view:?}");
        }
    }

    [E7] needs [Proxy] fn observer_through_reconnect(cx) {
        let (a, b) = (candidate(&cx).await?, candidate(&cx).await?);
        let mut views = b.election.observe();
        let first = a.lead(&cx, "1").await?;
        while !matches!(cx.promptly("1", views.next()).await, Some(LeaderView::Leader { .. })) {}
        cx.inject(Fault::CutClient(b.client.id)).await?;
        let limit = cx.timing.detect + cx.timing.short;
        assert_eq!(within(limit, "Unknown", views.next()).await, Some(LeaderView::Unknown));
        first.resign().await?;
        let second = a.lead(&cx, "2").await?;
        cx.heal().await?;
        loop {
            let view = within(cx.timing.ttl + cx.timing.short, "the new leader", views.next()).await;
            match view.expect("the stream goes on") {
                LeaderView::Leader { token, .. } if token == second.fence().token => break,
                LeaderView::Leader { token, .. } => assert!(token < second.fence().token),
                LeaderView::Unknown | LeaderView::None { .. } => {}
            }
        }
    }

    [E10] fn proclaim_keeps_token(cx) {
        let one = candidate(&cx).await?;
        let lead = one.lead(&cx, "before").await?;
        lead.proclaim("after".into()).await?;
        let view = one.election.leader(ReadOpts::default()).await?;
        let LeaderView::Leader { entry, token } = view else { panic!("{view:?}") };
        assert_eq!((entry.value, token), ("after".into(), lead.fence().token));
        let space = conf(&one.client).await?;
        assert!(commits(&one.client, lead.guard(Txn::new().put(&key(&space, "k"), ""))).await?);
        assert!(lead.is_valid());
    }

    /// Twenty candidates, connections cut at random; whoever leads looks for a second one.
    [E1 E2 E3] needs [Proxy] fn no_two_valid_20_candidates_cuts(cx) {
        let witness = cx.open().await?;
        let space = conf(&witness).await?;
        let (leading, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut ids = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let client = cx.open().await?;
            ids.push(client.id);
            let (cx, k) = (cx.clone(), key(&space, "log"));
            let (leading, turns) = (leading.clone(), turns.clone());
            tasks.push(tokio::spawn(async move {
                loop {
                    // A cut client fails, and tries again.
                    drop(lead_once(&cx, &client, &k, &leading, &turns).await);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }));
        }
        let mut dice = Dice::new(cx.seed);
        let end = Instant::now() + (cx.timing.ttl * 6).max(Duration::from_secs(3));
        while Instant::now() < end {
            cx.inject(Fault::CutClient(ids[dice.below(20)])).await?;
            tokio::time::sleep(cx.timing.ttl / 3).await;
            if dice.chance(40) {
                cx.heal().await?;
            }
        }
        cx.heal().await?;
        let so_far = turns.load(Ordering::SeqCst);
        let more = || async { turns.load(Ordering::SeqCst) > so_far + 3 };
        eventually(cx.death() + cx.timing.short, "leaders after heal", more).await;
        for task in tasks {
            task.abort();
            let broken = task.await.is_err_and(|error| error.is_panic());
            assert!(!broken, "E1: two leaders at once");
        }
    }

    [E9] needs [Proxy] fn lost_resolves_at_valid_until(cx) {
        let one = candidate(&cx).await?;
        let lead = one.lead(&cx, "me").await?;
        cx.inject(Fault::BlackholeClient(one.client.id)).await?;
        let until = lead.valid_until();
        let left = until.saturating_duration_since(Instant::now());
        within(left + cx.timing.ttl + cx.timing.short, "E9: lost", lead.lost()).await;
        assert!(!lead.is_valid());
        cx.heal().await?;
        tokio::time::sleep(cx.timing.ttl / 2).await;
        assert!(!lead.is_valid(), "E9: for ever");
    }

    [E12 E4] needs [Alone] fn hundred_candidates(cx) {
        let one = candidate(&cx).await?;
        let (election, turns) = (one.election.clone(), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..100).map(|_| {
            let (election, turns) = (election.clone(), turns.clone());
            tokio::spawn(async move {
                let lead = election.campaign("x".into()).await?;
                turns.fetch_add(1, Ordering::SeqCst);
                lead.resign().await
            })
        });
        let all = futures_util::future::join_all(tasks.collect::<Vec<_>>());
        for task in within(cx.timing.short * 10, "a hundred turns", all).await {
            task.expect("no panic")?;
        }
        assert_eq!(turns.load(Ordering::SeqCst), 100);
        in_line(&cx, &one.client, 0).await;
    }
}

/// One turn; panics if somebody else is valid at the same time.
async fn lead_once(
    cx: &Ctx,
    client: &Client,
    log: &coord_api::Key,
    leading: &AtomicUsize,
    turns: &AtomicUsize,
) -> Result<(), Error> {
    let session = cx.session(client).await?;
    let election = Election::new(&client.c, &session, "boss")?;
    let lead = election.campaign("x".into()).await?;
    if !lead.is_valid() {
        return Ok(());
    }
    let others = leading.fetch_add(1, Ordering::SeqCst);
    // Counted as leading only while surely valid.
    let until = lead.valid_until().min(Instant::now() + Duration::from_millis(10));
    tokio::time::sleep(until.saturating_duration_since(Instant::now()) / 2).await;
    leading.fetch_sub(1, Ordering::SeqCst);
    assert_eq!(others, 0, "E1: two leaders at once");
    turns.fetch_add(1, Ordering::SeqCst);
    client.txn(lead.guard(Txn::new().put(log, "x"))).await?;
    lead.resign().await
}

//! Sessions and ephemeral keys (S1-S17).

use crate::case::{Client, cases, ephemeral, eventually, key, refused, within};
use crate::harness::Fault;
use crate::{Ctx, Fold};
use coord_api::{
    Coordinator, CoordinatorExt, Effect, Error, ErrorKind, Key, Prefix, ReadOpts, Session,
    SessionOpts, SessionState, Space, Txn, TxnOutcome,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn announce(session: &Arc<dyn Session>, space: &Space, n: u64) -> Result<Key, Error> {
    let k = Key::ephemeral(space, "n", session.id(), n)?;
    let outcome = session.txn(Txn::new().put_ephemeral(&k, "v")).await?;
    assert!(outcome.committed().is_some(), "{outcome:?}");
    Ok(k)
}

async fn is_there(client: &Client, key: &Key) -> Result<bool, Error> {
    Ok(client.get(key, ReadOpts::default()).await?.0.is_some())
}

async fn becomes_lost(session: &Arc<dyn Session>, limit: Duration) {
    let mut state = session.state();
    let lost = state.wait_for(SessionState::is_lost);
    within(limit, "the session is lost", lost).await.expect("Lost is never skipped");
}

/// A client that faults will act on, another that looks on, and the first one's session.
async fn start(cx: &Ctx) -> Result<(Client, Client, Space, Arc<dyn Session>), Error> {
    let (holder, witness) = (cx.open().await?, cx.open().await?);
    let space = ephemeral(&witness, "alive").await?;
    let session = cx.session(&holder).await?;
    Ok((holder, witness, space, session))
}

cases! { session;
    [S1] fn ttl_granted_bounds(cx) {
        let client = cx.open().await?;
        let (least, most) = client.info().limits.ttl;
        for asked in [Duration::from_millis(1), least, (least + cx.timing.ttl).min(most)] {
            let opts = SessionOpts { ttl: asked, name: "ttl".into() };
            let session = client.session(opts).await?;
            let granted = session.ttl();
            let bound = asked.max(least) + Duration::from_secs(1);
            assert!(granted >= asked && granted <= bound, "asked {asked:?}, got {granted:?}");
            session.close().await?;
        }
    }

    [S2] fn ids_never_reused(cx) {
        let clients = [cx.open().await?, cx.open().await?];
        let mut seen = std::collections::HashSet::new();
        for i in 0..20 {
            let session = cx.session(&clients[i % 2]).await?;
            assert!(seen.insert(session.id()), "{} again", session.id());
            session.close().await?;
        }
    }

    [S3] fn name_suffix_enforced(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let other = cx.session(&witness).await?;
        let foreign = Key::ephemeral(&space, "n", other.id(), 0)?;
        for bad in [key(&space, "n"), key(&space, &format!("n@{}", session.id())), foreign] {
            let answer = session.txn(Txn::new().put_ephemeral(&bad, "v")).await;
            let Err(error) = answer else { panic!("{bad} was written") };
            assert!(matches!(error.kind, ErrorKind::InvalidKey(_)), "{bad}: {error}");
            assert_eq!(error.effect, Effect::None);
        }
        announce(&session, &space, 1).await?;
    }

    [R10 S6] fn ephemeral_visible_with_owner(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        let (found, _) = witness.get(&k, ReadOpts::default()).await?;
        assert_eq!(found.map(|entry| entry.owner), Some(Some(session.id())));
    }

    [S4] fn idle_survives_10_ttl(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        tokio::time::sleep(session.ttl() * if session.ttl() < Duration::from_secs(2) { 10 } else { 3 }).await;
        assert!(is_there(&witness, &k).await?);
        assert!(!session.state().borrow().is_lost());
        session.close().await?;
    }

    [S7] fn close_removes_keys(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let keys = [announce(&session, &space, 0).await?, announce(&session, &space, 1).await?];
        session.close().await?;
        assert_eq!(witness.get_many(&keys, ReadOpts::default()).await?.entries, []);
        assert!(session.state().borrow().is_lost());
        refused(session.txn(Txn::new()).await, ErrorKind::SessionLost);
    }

    [S15] fn drop_removes_keys(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        drop(session);
        let mut fold = Fold::new(&witness, Prefix::all(&space), cx.death());
        fold.until("its end", |f| !f.state.contains_key(&k)).await;
    }

    [S6] needs [Proxy] fn keys_vanish_after_holder_death(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        cx.inject(Fault::BlackholeClient(holder.id)).await?;
        let mut fold = Fold::new(&witness, Prefix::all(&space), cx.death());
        fold.until("its end", |f| !f.state.contains_key(&k)).await;
        // The clock says it before the task that turns the state has had its turn.
        let until = session.state().borrow().valid_until();
        assert!(until.is_none_or(|until| until <= Instant::now()), "S9: nobody may see it sooner");
    }

    /// The holder stops trusting itself before anybody sees its keys gone.
    [S6 S11] needs [Proxy] fn not_before_valid_until(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let strict = holder.info().caps.strict_validity;
        let _hold = session.hold_strict();
        for round in 0..3 {
            let session = if round == 0 { session.clone() } else { cx.session(&holder).await? };
            let k = announce(&session, &space, round).await?;
            let confirmed = session.confirm().await?;
            cx.inject(Fault::CutClient(holder.id)).await?;
            let mut fold = Fold::new(&witness, Prefix::all(&space), cx.death());
            fold.until("its end", |f| !f.state.contains_key(&k)).await;
            let gone = Instant::now();
            assert!(!strict || gone >= confirmed, "S11: {:?} early", confirmed - gone);
            becomes_lost(&session, cx.timing.short).await;
            cx.heal().await?;
        }
    }

    [S5] needs [Proxy] fn reconnect_within_ttl_keeps(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        let mut state = session.state();
        cx.inject(Fault::CutClient(holder.id)).await?;
        let suspended = state.wait_for(|s| matches!(s, SessionState::Suspended { .. }));
        within(cx.timing.detect + cx.timing.short, "S10: Suspended", suspended).await.expect("open");
        cx.heal().await?;
        let alive = state.wait_for(|s| !matches!(s, SessionState::Suspended { .. }));
        let now = *within(cx.timing.ttl + cx.timing.short, "S5: Alive", alive).await.expect("open");
        assert!(matches!(now, SessionState::Alive { .. }), "{now:?}");
        assert!(is_there(&witness, &k).await?);
        announce(&session, &space, 1).await?;
    }

    [S4 S5] needs [Proxy] fn reconnect_20_times_keeps(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        for _ in 0..20 {
            cx.inject(Fault::CutClient(holder.id)).await?;
            tokio::time::sleep(cx.timing.ttl / 20).await;
            cx.heal().await?;
            let confirmed = || async { session.confirm().await.is_ok() };
            eventually(cx.timing.ttl + cx.timing.short, "a heartbeat", confirmed).await;
        }
        assert!(is_there(&witness, &k).await?);
    }

    [S9] needs [Expire] fn server_side_expiry_is_seen(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        cx.inject(Fault::SessionExpiry(session.id())).await?;
        becomes_lost(&session, session.ttl() + cx.timing.short).await;
        let gone = || async { !is_there(&witness, &k).await.unwrap_or(true) };
        eventually(cx.death(), "the key is gone", gone).await;
    }

    [T15 S8] needs [Expire] fn txn_after_expiry_refused(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let plain = crate::case::persistent(&holder, "conf").await?;
        let (k, p) = (announce(&session, &space, 0).await?, key(&plain, "p"));
        cx.inject(Fault::SessionExpiry(session.id())).await?;
        for txn in [Txn::new().put(&p, "v"), Txn::new().put_ephemeral(&k, "v")] {
            // The end may not be known here yet: a connection lost on the way leaves a doubt.
            let Err(error) = session.txn(txn).await else { panic!("T15: committed") };
            assert!(error.kind == ErrorKind::SessionLost || error.is_unknown(), "{error}");
        }
        becomes_lost(&session, session.ttl() + cx.timing.short).await;
        refused(session.confirm().await, ErrorKind::SessionLost);
        refused(session.txn(Txn::new().put(&p, "v")).await, ErrorKind::SessionLost);
        assert!(!is_there(&witness, &p).await? && !is_there(&witness, &k).await?);
        // A new one starts at once.
        announce(&cx.session(&holder).await?, &space, 0).await?;
    }

    [T15 X2] needs [Proxy Expire] fn inflight_txn_at_expiry_never_later(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        let late = Key::ephemeral(&space, "late", session.id(), 1)?;
        cx.inject(Fault::BlackholeClient(holder.id)).await?;
        let txn = Txn::new().put_ephemeral(&late, "v").within(cx.timing.short / 2);
        let answer = session.txn(txn).await;
        assert!(answer.as_ref().is_err_and(Error::is_unknown), "{answer:?}");
        cx.inject(Fault::SessionExpiry(session.id())).await?;
        cx.heal().await?;
        becomes_lost(&session, cx.death()).await;
        let mut fold = Fold::new(&witness, Prefix::all(&space), cx.death());
        fold.until("both gone", |f| f.state.is_empty()).await;
        // A marker after everything that could still be under way.
        let marker = cx.session(&holder).await?;
        let m = announce(&marker, &space, 9).await?;
        fold.until("the marker alone", |f| f.state.keys().eq([&m])).await;
        assert!(!is_there(&witness, &k).await? && !is_there(&witness, &late).await?);
    }

    [S9 S8] needs [Proxy] fn local_lost_without_servers(cx) {
        let (holder, _witness, space, session) = start(&cx).await?;
        announce(&session, &space, 0).await?;
        cx.inject(Fault::BlackholeClient(holder.id)).await?;
        let until = session.state().borrow().valid_until().expect("alive");
        let left = until.saturating_duration_since(Instant::now());
        becomes_lost(&session, left + cx.timing.short).await;
        let answer = session.txn(Txn::new()).await;
        assert!(answer.is_err(), "S8: {answer:?}");
        cx.heal().await?;
        let alive = || async { holder.barrier(None).await.is_ok() };
        eventually(cx.timing.ttl + 3 * cx.timing.short, "the handle works again", alive).await;
        tokio::time::sleep(cx.timing.ttl / 2).await;
        assert!(session.state().borrow().is_lost(), "S8: Lost is final");
        refused(session.confirm().await, ErrorKind::SessionLost);
    }

    /// Nobody takes an old session's keys for the new one's.
    [S12 S13] needs [Proxy] fn ghost_then_new_session(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let ghost = announce(&session, &space, 0).await?;
        cx.inject(Fault::CutClient(holder.id)).await?;
        becomes_lost(&session, cx.timing.ttl + cx.timing.short).await;
        cx.heal().await?;
        let again = cx.session(&holder).await?;
        let mine = announce(&again, &space, 0).await?;
        assert_ne!(again.id(), session.id());
        let mut fold = Fold::new(&witness, Prefix::all(&space), cx.death());
        fold.until("only the new one's", |f| !f.state.contains_key(&ghost)).await;
        assert_eq!(fold.state.get(&mine).and_then(|e| e.owner), Some(again.id()));
    }

    [S14] needs [Kill] fn full_restart(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        cx.inject(Fault::KillServer(0)).await?;
        tokio::time::sleep(cx.timing.ttl / 4).await;
        cx.heal().await?;
        let mut state = session.state();
        let settled = async {
            loop {
                let lost = state.borrow_and_update().is_lost();
                if lost || session.confirm().await.is_ok() {
                    return lost;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let limit = cx.timing.ttl + Duration::from_secs(5) + cx.timing.short;
        let lost = within(limit, "Alive or Lost", settled).await;
        if lost {
            let gone = || async { !is_there(&witness, &k).await.unwrap_or(true) };
            eventually(cx.death(), "the key is gone", gone).await;
        } else {
            let there = || async { is_there(&witness, &k).await.unwrap_or(false) };
            eventually(cx.death(), "the key is still there", there).await;
        }
    }

    [S10 S8] needs [Proxy] fn states_sequence_complete(cx) {
        let (holder, _witness, _space, session) = start(&cx).await?;
        let mut state = session.state();
        assert!(matches!(*state.borrow_and_update(), SessionState::Alive { .. }));
        let mut words = vec!["alive"];
        let watcher = async {
            while state.changed().await.is_ok() {
                let word = match *state.borrow_and_update() {
                    SessionState::Alive { .. } => "alive",
                    SessionState::Suspended { .. } => "suspended",
                    SessionState::Lost => "lost",
                };
                if words.last() != Some(&word) {
                    words.push(word);
                }
                if word == "lost" {
                    break;
                }
            }
        };
        cx.inject(Fault::CutClient(holder.id)).await?;
        within(cx.timing.ttl + cx.timing.short, "the end", watcher).await;
        assert!(words.ends_with(&["suspended", "lost"]), "{words:?}");
    }

    /// The executor that opened the session is stuck; the session is not.
    [S16] fn caller_executor_blocked(cx) {
        let witness = cx.open().await?;
        let space = ephemeral(&witness, "alive").await?;
        let (blocked, held) = (cx.clone(), space.clone());
        let (send, receive) = tokio::sync::oneshot::channel();
        let (release, looked) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be started").block_on(async {
                let holder = blocked.open().await?;
                let session = blocked.session(&holder).await?;
                let k = announce(&session, &held, 0).await?;
                std::thread::sleep(session.ttl() * 2);
                let lost = session.state().borrow().is_lost();
                drop(send.send((k, lost)));
                // Blocked until the witness has looked, or is gone.
                let _ended_or_told = looked.recv();
                Ok::<(), Error>(())
            })
        });
        let (k, lost) = within(cx.death() + cx.timing.ttl * 3, "the blocked executor", receive)
            .await
            .expect("the thread sends");
        assert!(!lost, "S16: lost while its executor was blocked");
        let there = is_there(&witness, &k).await;
        drop(release);
        assert!(there?, "S16: gone while its executor was blocked");
        tokio::task::spawn_blocking(|| thread.join()).await.expect("joined").expect("no panic")?;
    }

    [S16 C2] fn caller_future_cancelled_heartbeats_go_on(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        for _ in 0..50 {
            drop(tokio::time::timeout(Duration::from_micros(50), session.confirm()).await);
        }
        tokio::time::sleep(session.ttl() * 2).await;
        assert!(is_there(&witness, &k).await?);
        session.confirm().await?;
    }

    [S17] needs [Pause] fn confirm_fails_without_quorum(cx) {
        let (_holder, _witness, _space, session) = start(&cx).await?;
        session.confirm().await?;
        cx.pause_servers(cx.servers() / 2 + 1).await?;
        let answer = session.confirm().await;
        cx.heal().await?;
        let Err(error) = answer else { panic!("S17: confirmed by nobody") };
        assert_eq!(error.effect, Effect::None);
    }

    /// Clocks are for people: a step of an hour changes no session.
    [G4] needs [Clock] fn clock_step_server(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        let k = announce(&session, &space, 0).await?;
        for step in [3_600_000, -3_600_000] {
            cx.inject(Fault::ClockStep(0, step)).await?;
            tokio::time::sleep(session.ttl() / 2).await;
            session.confirm().await?;
            assert!(is_there(&witness, &k).await?, "after a step of {step} ms");
            cx.heal().await?;
        }
    }

    [S6] needs [Proxy Alone] fn hundred_sessions_die_together(cx) {
        let (holder, witness) = (cx.open().await?, cx.open().await?);
        let space = ephemeral(&witness, "alive").await?;
        let mut sessions = Vec::new();
        for _ in 0..100 {
            let session = cx.session(&holder).await?;
            announce(&session, &space, 0).await?;
            sessions.push(session);
        }
        let all = witness.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert_eq!(all.entries.len(), 100);
        cx.inject(Fault::CutClient(holder.id)).await?;
        let mut fold = Fold::new(&witness, Prefix::all(&space), cx.death());
        fold.until("all gone", |f| f.state.is_empty()).await;
    }

    [S6 S7] needs [Alone] fn thousand_keys_one_session(cx) {
        let (_holder, witness, space, session) = start(&cx).await?;
        for from in (0..1000).step_by(100) {
            let names = (from..from + 100).map(|n| Key::ephemeral(&space, "n", session.id(), n));
            let names = names.collect::<Result<Vec<_>, _>>()?;
            let txn = names.iter().fold(Txn::new(), |txn, k| txn.put_ephemeral(k, "v"));
            assert!(matches!(session.txn(txn).await?, TxnOutcome::Committed { .. }));
        }
        let mut fold = Fold::new(&witness, Prefix::all(&space), cx.timing.short);
        fold.until("all there", |f| f.state.len() == 1000).await;
        session.close().await?;
        let left = witness.list(&Prefix::all(&space), ReadOpts::default()).await?;
        assert_eq!(left.entries, []);
        fold.until("all gone", |f| f.state.is_empty()).await;
    }

    /// One client writes persistent and ephemeral keys in one transaction.
    [T1 S7] fn mixed_txn_is_atomic(cx) {
        let (holder, witness, space, session) = start(&cx).await?;
        let plain = crate::case::persistent(&holder, "conf").await?;
        let (p, k) = (key(&plain, "p"), Key::ephemeral(&space, "n", session.id(), 0)?);
        let txn = Txn::new().absent(&k).put(&p, "1").put_ephemeral(&k, "1");
        let at = session.txn(txn.clone()).await?.committed();
        assert!(matches!(session.txn(txn).await?, TxnOutcome::Conflict { .. }));
        let both = witness.get_many(&[p.clone(), k], ReadOpts::default()).await?;
        assert!(both.entries.iter().all(|e| Some(e.modified) == at), "{:?}", both.entries);
        session.close().await?;
        let both: &dyn Coordinator = &*witness;
        assert!(both.get(&p, ReadOpts::default()).await?.0.is_some(), "only its own keys go");
    }
}

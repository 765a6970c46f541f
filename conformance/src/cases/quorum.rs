//! Three servers of which some are cut off, stopped or gone: who may still believe what.

use crate::case::{Client, cases, ephemeral, eventually, key, persistent, slack, within};
use crate::harness::Fault;
use crate::{Ctx, Fold};
use coord_api::{
    Coordinator, CoordinatorExt, Effect, Election, Error, ErrorKind, HolderLoss, Key, Leadership,
    Prefix, ReadOpts, Session, SessionOpts, SessionState, Space, StrictHold, Txn, TxnOutcome,
    WatchOpts,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session on one server alone, with a key of its own, confirmed and relied upon; and somebody
/// who looks on through any server.
struct Scene {
    holder: Client,
    held: Held,
    fold: Fold,
}

struct Held {
    session: Arc<dyn Session>,
    key: Key,
    _strictly: StrictHold,
}

async fn scene(cx: &Ctx, server: usize) -> Result<Scene, Error> {
    let (holder, witness) = (pinned(cx, server).await?, open(cx).await?);
    let space = steadily(cx, || ephemeral(&witness, "alive")).await?;
    let held = steadily(cx, || held(cx, &holder, &space)).await?;
    let mut fold = Fold::new(&witness, Prefix::all(&space), gone(cx));
    fold.until("its key", |fold| fold.state.contains_key(&held.key)).await;
    Ok(Scene { holder, held, fold })
}

async fn held(cx: &Ctx, holder: &Client, space: &Space) -> Result<Held, Error> {
    let session = cx.session(holder).await?;
    let key = Key::ephemeral(space, "n", session.id(), 0)?;
    let outcome = session.txn(Txn::new().put_ephemeral(&key, "v")).await?;
    assert!(outcome.committed().is_some(), "{outcome:?}");
    let _strictly = session.hold_strict();
    session.confirm().await?;
    Ok(Held { session, key, _strictly })
}

impl Scene {
    /// Others see the key gone; the holder must have stopped trusting itself by then.
    async fn key_goes_and_the_holder_knew(&mut self) {
        let key = self.held.key.clone();
        self.fold.until("the key is gone", |fold| !fold.state.contains_key(&key)).await;
        let now = Instant::now();
        let until = self.held.session.state().borrow().valid_until();
        let beyond = until.map(|until| until.saturating_duration_since(now));
        assert!(
            beyond.is_none_or(|beyond| beyond.is_zero()),
            "S11: the key is gone, the holder trusts itself for {beyond:?} more"
        );
    }
}

/// A handle that reaches one server alone, and works there.
async fn pinned(cx: &Ctx, server: usize) -> Result<Client, Error> {
    let client = steadily(cx, || cx.open()).await?;
    cx.inject(Fault::PinClient(client.id, server)).await?;
    works(cx, &client).await;
    Ok(client)
}

/// A handle on a cluster that has found together after the last fault.
async fn open(cx: &Ctx) -> Result<Client, Error> {
    let client = steadily(cx, || cx.open()).await?;
    works(cx, &client).await;
    Ok(client)
}

async fn works(cx: &Ctx, client: &Client) {
    let answers = || async { client.barrier(Some(cx.timing.short)).await.is_ok() };
    eventually(cx.timing.detect + 5 * cx.timing.short, "the handle works", answers).await;
}

/// Repeats what sets a scene: a server that was just healed may bring one more election with it, and
/// servers that are short of time several. Nothing is judged before.
async fn steadily<T, F>(cx: &Ctx, mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + FINDING_TOGETHER.max(gone(cx));
    let passes = |kind: &ErrorKind| {
        matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::SessionLost)
    };
    loop {
        match call().await {
            Err(error) if passes(&error.kind) && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
}

/// A session of somebody whom no fault shall reach: it outlives what servers need to find together.
async fn lasting(client: &Client) -> Result<Arc<dyn Session>, Error> {
    client.session(long()).await
}

fn long() -> SessionOpts {
    SessionOpts { ttl: LONGEST, name: "lasting".into() }
}

/// Beside many others on few cores.
const FINDING_TOGETHER: Duration = Duration::from_secs(60);

/// As long as any service grants.
const LONGEST: Duration = Duration::from_secs(40);

/// Repeats a harmless transaction until it is answered: the server asked first may be the one that
/// is gone.
async fn decided(cx: &Ctx, client: &Client, txn: Txn) -> TxnOutcome {
    let mut last = None;
    let answer = async {
        loop {
            match client.txn(txn.clone()).await {
                Ok(outcome) => return outcome,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let limit = gone(cx) * slack();
    match tokio::time::timeout(limit, answer).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("no answer within {limit:?}: {last:?}"),
    }
}

/// A new leader, and then the longest time a dead session's keys may stay.
fn gone(cx: &Ctx) -> Duration {
    cx.death() + cx.timing.ttl
}

/// A server that leads and one that does not; any two where nobody tells.
async fn leader_and_follower(cx: &Ctx) -> (usize, usize) {
    let leader = cx.leader().await.unwrap_or(0);
    (leader, (leader + 1) % cx.servers())
}

fn alone(cx: &Ctx, server: usize) -> Fault {
    let others = (0..cx.servers()).filter(|at| *at != server).collect();
    Fault::PartitionServers(vec![vec![server], others])
}

/// Two candidates, the first of whom leads through `server` alone and the second waits.
async fn contest(cx: &Ctx, server: usize) -> Result<Contest, Error> {
    let (a, b) = (pinned(cx, server).await?, open(cx).await?);
    let (first, leads) = steadily(cx, || leading(cx, &a)).await?;
    let second = steadily(cx, || lasting(&b)).await?;
    let space = steadily(cx, || persistent(&b, "conf")).await?;
    let next = tokio::spawn(standing(b.c.clone(), second));
    let queue = steadily(cx, || ephemeral(&b, "elect")).await?;
    let mut line = Fold::new(&b, Prefix::all(&queue), gone(cx));
    line.until("both are in line", |fold| fold.state.len() == 2).await;
    Ok(Contest { a, b, leads, next, log: key(&space, "log"), _first: first })
}

/// Stands until it leads. Its own server may be the one that goes: whoever is told of an error stands
/// again, and whoever waits for servers longer than any session lasts does so with a new one.
async fn standing(
    c: Arc<dyn Coordinator>,
    mut session: Arc<dyn Session>,
) -> (Leadership, Arc<dyn Session>) {
    loop {
        if let Ok(standing) = Election::new(&c, &session, "boss")
            && let Ok(leads) = standing.campaign("b".into()).await
        {
            return (leads, session);
        }
        if session.state().borrow().is_lost()
            && let Ok(another) = c.session(long()).await
        {
            session = another;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn leading(cx: &Ctx, a: &Client) -> Result<(Arc<dyn Session>, Leadership), Error> {
    let session = cx.session(a).await?;
    let election = Election::new(&a.c, &session, "boss")?;
    let leads = within(gone(cx), "leadership", election.campaign("a".into())).await?;
    Ok((session, leads))
}

struct Contest {
    a: Client,
    b: Client,
    leads: Leadership,
    next: tokio::task::JoinHandle<(Leadership, Arc<dyn Session>)>,
    log: Key,
    _first: Arc<dyn Session>,
}

impl Contest {
    /// When the second leads, the first does not believe any more that it does, says so, and can
    /// write nothing once it is back.
    async fn second_takes_over(self, cx: &Ctx) -> Result<(), Error> {
        let end = within(gone(cx), "the second leader", self.next).await;
        let (second, _session) = end.expect("no panic");
        assert!(!self.leads.is_valid(), "E1: two leaders");
        let won = decided(cx, &self.b, second.guard(Txn::new().put(&self.log, "b"))).await;
        assert!(matches!(won, TxnOutcome::Committed { .. }), "{won:?}");
        let loss = within(cx.timing.short, "E9: lost", self.leads.lost()).await;
        assert!(matches!(loss, HolderLoss::SessionLost | HolderLoss::NotConfirmed), "{loss:?}");
        let stale = self.leads.guard(Txn::new().put(&self.log, "a"));
        cx.heal().await?;
        works(cx, &self.a).await;
        let refused = decided(cx, &self.a, stale).await;
        assert!(matches!(refused, TxnOutcome::Conflict { .. }), "E3: {refused:?}");
        Ok(())
    }
}

cases! { quorum;
    /// The server goes on answering its client for a while, from what it knew (ZooKeeper 3.8: its
    /// own copy shows the key six seconds after the others have deleted it).
    [S11 S17 S6] needs [Partition Proxy ThreeServers] fn holder_on_a_cut_follower(cx) {
        let (_, follower) = leader_and_follower(&cx).await;
        let mut scene = scene(&cx, follower).await?;
        cx.inject(alone(&cx, follower)).await?;
        scene.key_goes_and_the_holder_knew().await;
        let answer = scene.held.session.confirm().await;
        assert!(answer.is_err(), "S17: confirmed by a server without a quorum: {answer:?}");
    }

    /// The leader's own clients learn no later than others that it leads no more.
    [S11 S17 S6] needs [Partition Proxy ThreeServers] fn holder_on_a_cut_leader(cx) {
        let (leader, _) = leader_and_follower(&cx).await;
        let mut scene = scene(&cx, leader).await?;
        cx.inject(alone(&cx, leader)).await?;
        scene.key_goes_and_the_holder_knew().await;
        let answer = scene.held.session.confirm().await;
        assert!(answer.is_err(), "S17: confirmed by a server without a quorum: {answer:?}");
    }

    /// A heartbeat waits in the stopped leader's socket; resumed, it answers in its old term (etcd
    /// 3.4: for a whole TTL more, while its successor counts from its own election).
    [S11 S17 S6] needs [Pause Proxy ThreeServers] fn leader_paused_just_under_the_ttl(cx) {
        let (leader, _) = leader_and_follower(&cx).await;
        let mut scene = scene(&cx, leader).await?;
        let mut states = scene.held.session.state();
        let until = states.borrow_and_update().valid_until().expect("just confirmed");
        cx.inject(Fault::PauseServer(leader)).await?;
        let rest = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(rest.mul_f64(0.9)).await;
        states.borrow_and_update();
        cx.heal().await?;
        cx.inject(Fault::PinClient(scene.holder.id, leader)).await?;
        // The late answer, if one comes: then the holder is heard no more.
        let newer = states.wait_for(|state| state.valid_until() > Some(until));
        drop(tokio::time::timeout(cx.timing.ttl / 4, newer).await);
        cx.inject(Fault::BlackholeClient(scene.holder.id)).await?;
        scene.key_goes_and_the_holder_knew().await;
    }

    [E1 E3 E9 S11] needs [Partition Proxy ThreeServers] fn no_two_leaders_when_a_server_is_cut_off(cx) {
        let (leader, follower) = leader_and_follower(&cx).await;
        for server in [follower, leader] {
            let contest = contest(&cx, server).await?;
            cx.inject(alone(&cx, server)).await?;
            contest.second_takes_over(&cx).await?;
        }
    }

    [E1 E3 E9 S11] needs [Pause Proxy ThreeServers] fn no_two_leaders_when_a_server_is_stopped(cx) {
        let (leader, _) = leader_and_follower(&cx).await;
        let contest = contest(&cx, leader).await?;
        cx.inject(Fault::PauseServer(leader)).await?;
        contest.second_takes_over(&cx).await?;
    }

    /// Whoever is on the smaller side is told nothing old as new, and writes nothing.
    [R12 X4 S17 W4] needs [Partition Proxy ThreeServers] fn minority_server(cx) {
        let (_, follower) = leader_and_follower(&cx).await;
        let (client, other) = (pinned(&cx, follower).await?, open(&cx).await?);
        let space = steadily(&cx, || persistent(&other, "conf")).await?;
        let k = key(&space, "k");
        steadily(&cx, || other.txn(Txn::new().put(&k, "before"))).await?;
        let mut fold = Fold::with(&client, Prefix::all(&space), WatchOpts::default(), gone(&cx));
        fold.synced().await;
        cx.inject(alone(&cx, follower)).await?;
        let write = Txn::new().put(&k, "after");
        decided(&cx, &other, write).await;
        let opts = ReadOpts::default().within(cx.timing.short);
        match client.get(&k, opts).await {
            Err(error) => {
                assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
                assert_eq!(error.effect, Effect::None);
            }
            Ok(found) => panic!("R12: read without a quorum: {found:?}"),
        }
        let late = client.txn(Txn::new().put(&key(&space, "lone"), "v").within(cx.timing.short)).await;
        assert!(late.is_err(), "written without a quorum: {late:?}");
        cx.heal().await?;
        works(&cx, &client).await;
        fold.settle(&other).await?;
        assert_eq!(fold.state.get(&k).map(|entry| &*entry.value), Some(&b"after"[..]));
    }

    /// Neither the session nor what a watch has shown depends on the server it began with.
    [S4 S5 W4 R3] needs [Kill Proxy ThreeServers] fn moves_between_servers_and_never_back_in_time(cx) {
        let (holder, witness) = (open(&cx).await?, open(&cx).await?);
        let plain = steadily(&cx, || persistent(&witness, "conf")).await?;
        let live = steadily(&cx, || ephemeral(&witness, "alive")).await?;
        let session = steadily(&cx, || lasting(&holder)).await?;
        let mine = Key::ephemeral(&live, "n", session.id(), 0)?;
        steadily(&cx, || session.txn(Txn::new().put_ephemeral(&mine, "v"))).await?;
        let k = key(&plain, "k");
        let mut fold = Fold::new(&holder, Prefix::all(&plain), gone(&cx));
        let mut seen = steadily(&cx, || holder.get(&k, ReadOpts::session())).await?.1;
        for server in 0..cx.servers() {
            cx.inject(Fault::KillServer(server)).await?;
            decided(&cx, &witness, Txn::new().put(&k, server.to_string())).await;
            fold.settle(&witness).await?;
            works(&cx, &holder).await;
            let now = steadily(&cx, || holder.get(&k, ReadOpts::session())).await?.1;
            assert!(now >= seen, "R3: {now} after {seen}");
            seen = now;
            cx.heal().await?;
        }
        steadily(&cx, || session.confirm()).await?;
        assert!(matches!(*session.state().borrow(), SessionState::Alive { .. }));
        let found = steadily(&cx, || witness.get(&mine, ReadOpts::default())).await?.0;
        assert!(found.is_some(), "S4");
    }

    [G2 R12 X4] needs [Kill ThreeServers] fn timeout_is_kept_without_quorum(cx) {
        let (client, space) = cx.start().await?;
        let k = key(&space, "k");
        for server in 0..cx.servers() / 2 + 1 {
            cx.inject(Fault::KillServer(server)).await?;
        }
        let asked = cx.timing.short / 4;
        for write in [true, false] {
            let begun = Instant::now();
            let error = if write {
                client.txn(Txn::new().put(&k, "v").within(asked)).await.err()
            } else {
                client.get(&k, ReadOpts::default().within(asked)).await.err()
            };
            let error = error.expect("too few are left to agree on anything");
            assert!(write || error.effect == Effect::None, "X4: {error}");
            assert!(begun.elapsed() < asked + cx.timing.short, "G2: {:?}", begun.elapsed());
        }
        cx.heal().await?;
        works(&cx, &client).await;
    }
}

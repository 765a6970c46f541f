//! Several members in one process, over a switchboard that can cut them apart.

use crate::config::LocalConfig;
use crate::handle::LocalHandle;
use crate::node::Node;
use crate::raft::{Member, Timing};
use crate::wire::{CallError, Lane, PeerReply, PeerRequest, Silence, Transport};
use async_trait::async_trait;
use coord_api::{
    Coordinator, CoordinatorExt, ErrorKind, Health, Key, OpenOpts, Prefix, ReadOpts, SessionOpts,
    Space, SpaceKind, Txn, WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// Who can be reached; calls travel through the bytes of their wire form.
#[derive(Debug, Default)]
struct Switchboard {
    nodes: Mutex<HashMap<u64, Weak<Node>>>,
    cut_off: Mutex<HashSet<u64>>,
}

#[derive(Debug)]
struct Line {
    board: Arc<Switchboard>,
    from: Arc<Mutex<Option<u64>>>,
}

#[async_trait]
impl Transport for Line {
    async fn call(
        &self,
        to: u64,
        _member: &Member,
        _lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> Result<PeerReply, CallError> {
        let from = *self.from.lock();
        let open = || {
            let cut = self.board.cut_off.lock();
            !cut.contains(&to) && from.is_none_or(|from| !cut.contains(&from))
        };
        let node = self.board.nodes.lock().get(&to).and_then(Weak::upgrade);
        let Some(node) = node.filter(|_| open()) else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Err(CallError::NotSent("no way there".into()));
        };
        let bytes = postcard::to_stdvec(&request).expect("every request can be written");
        let request = postcard::from_bytes(&bytes).expect("and read");
        let served = tokio::time::timeout(timeout, node.serve(request)).await;
        let reply = served.map_err(|_| CallError::Lost("no answer".into()))?;
        if !open() {
            return Err(CallError::Lost("cut meanwhile".into()));
        }
        let bytes = postcard::to_stdvec(&reply).expect("every reply can be written");
        Ok(postcard::from_bytes(&bytes).expect("and read"))
    }

    fn silence(&self, _of: u64) -> Option<Silence> {
        None
    }
}

struct Cluster {
    dir: TempDir,
    board: Arc<Switchboard>,
    nodes: Vec<Arc<Node>>,
    timing: Timing,
}

impl Cluster {
    fn config(&self, n: usize, cluster: Option<coord_api::ClusterId>) -> LocalConfig {
        LocalConfig {
            name: format!("m{n}"),
            join: cluster.is_some(),
            cluster,
            snapshot_every: 50,
            timing: self.timing,
            ..LocalConfig::new(self.dir.path().join(format!("m{n}")))
        }
    }

    async fn open_member(&self, n: usize, cluster: Option<coord_api::ClusterId>) -> Arc<Node> {
        let from = Arc::new(Mutex::new(None));
        let line = Line { board: self.board.clone(), from: from.clone() };
        let config = self.config(n, cluster);
        let node = Node::open(&config, Arc::new(line)).await.unwrap();
        *from.lock() = Some(node.identity.node);
        self.board.nodes.lock().insert(node.identity.node, Arc::downgrade(&node));
        node
    }

    /// A founder and others that it takes in one after the other.
    async fn start(members: usize) -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let timing = Timing { heartbeat_ms: 100, election_ms: (800, 1600) };
        let mut cluster = Cluster { dir, board: Arc::default(), nodes: Vec::new(), timing };
        let founder = cluster.open_member(0, None).await;
        cluster.nodes.push(founder.clone());
        for n in 1..members {
            let node = cluster.open_member(n, Some(founder.identity.cluster_id())).await;
            let member = Member { name: format!("m{n}"), address: String::new() };
            founder.admit_member(node.identity.node, member, true).await.unwrap();
            cluster.nodes.push(node);
        }
        let c = cluster.handle(0);
        c.ensure_space(&space("config"), SpaceKind::Persistent).await.unwrap();
        c.ensure_space(&space("alive"), SpaceKind::Ephemeral).await.unwrap();
        cluster
    }

    fn handle(&self, n: usize) -> Arc<dyn Coordinator> {
        Arc::new(LocalHandle::new(self.nodes[n].clone(), &OpenOpts::default()))
    }

    fn cut(&self, n: usize) {
        self.board.cut_off.lock().insert(self.nodes[n].identity.node);
    }

    fn heal(&self) {
        self.board.cut_off.lock().clear();
    }

    /// The one all of these members agree to follow.
    async fn leader_among(&self, among: &[usize]) -> usize {
        let deadline = Instant::now() + SOON;
        loop {
            let leaders: HashSet<_> = among.iter().map(|n| self.nodes[*n].leader()).collect();
            let leader = leaders.iter().next().copied().flatten();
            let found = among.iter().find(|n| Some(self.nodes[**n].identity.node) == leader);
            if let (1, Some(found)) = (leaders.len(), found) {
                return *found;
            }
            assert!(Instant::now() < deadline, "no leader among {among:?}: {leaders:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(&mut self) {
        for node in self.nodes.drain(..) {
            end(node).await;
        }
    }

    async fn restart(&mut self, n: usize) {
        end(self.nodes.remove(n)).await;
        let node = self.open_member(n, None).await;
        self.nodes.insert(n, node);
    }
}

/// Lets its directory go.
async fn end(node: Arc<Node>) {
    node.shut_down().await;
    let thread = node.take_log_thread();
    drop(node);
    if let Some(thread) = thread {
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    }
}

fn space(name: &str) -> Space {
    Space::new(name).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(&space("config"), name).unwrap()
}

async fn put(c: &Arc<dyn Coordinator>, name: &str, value: &str) {
    c.txn(Txn::new().put(&key(name), value.to_owned())).await.unwrap();
}

async fn value(c: &Arc<dyn Coordinator>, name: &str, opts: ReadOpts) -> Option<String> {
    let entry = c.get(&key(name), opts).await.unwrap().0?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

/// Through any member: what one handle was told, all others see, and oneself in any mode.
#[tokio::test(flavor = "multi_thread")]
async fn every_member_serves() {
    let mut cluster = Cluster::start(3).await;
    let all: Vec<_> = (0..3).map(|n| cluster.handle(n)).collect();
    for round in 0..20 {
        let (writer, reader) = (&all[round % 3], &all[(round + 1) % 3]);
        let text = format!("{round}");
        put(writer, "a", &text).await;
        assert_eq!(value(writer, "a", ReadOpts::session()).await.as_ref(), Some(&text));
        assert_eq!(value(reader, "a", ReadOpts::linearizable()).await, Some(text));
    }
    let members = all[1].info().members;
    assert_eq!(members.len(), 3);
    assert_eq!(members.iter().filter(|m| m.leader == Some(true)).count(), 1);
    cluster.stop().await;
}

/// The leader is cut off: the others go on, it says that it cannot, and comes back in line.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_leader_is_replaced_and_knows_it() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader_among(&[0, 1, 2]).await;
    let rest: Vec<usize> = (0..3).filter(|n| *n != old).collect();
    let (cut, other) = (cluster.handle(old), cluster.handle(rest[0]));
    put(&cut, "a", "1").await;
    let mut watch = cut.watch(Prefix::all(&space("config")), WatchOpts::default());
    while !matches!(watch.next().await.unwrap(), WatchEvent::Synced { .. }) {}

    cluster.cut(old);
    cluster.leader_among(&rest).await;
    put(&other, "a", "2").await;
    let within = |ms| ReadOpts::linearizable().within(Duration::from_millis(ms));
    let blind = cut.get(&key("a"), within(1500)).await.unwrap_err();
    let told = matches!(blind.kind, ErrorKind::Unavailable | ErrorKind::Timeout);
    assert!(told && !blind.is_unknown(), "{blind}");
    let mut health = cut.health();
    let degraded = health.wait_for(|health| matches!(health, Health::Degraded { .. }));
    tokio::time::timeout(SOON, degraded).await.expect("reads fail").unwrap();
    let stale = cut.get(&key("a"), ReadOpts::session()).await.unwrap().0.unwrap();
    assert_eq!(stale.value, "1", "what it has, it shows to who asks for no more");

    cluster.heal();
    let mut health = cut.health();
    tokio::time::timeout(SOON, health.wait_for(|h| *h == Health::Ok)).await.unwrap().unwrap();
    assert_eq!(value(&cut, "a", ReadOpts::linearizable()).await.as_deref(), Some("2"));
    match tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap() {
        WatchEvent::Changes { changes, .. } => assert_eq!(changes.len(), 1),
        other => panic!("{other:?}"),
    }
    cluster.stop().await;
}

/// A member that was away for longer than the log reaches back gets a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_far_behind_gets_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let away = (leader + 1) % 3;
    let (c, behind) = (cluster.handle(leader), cluster.handle(away));
    cluster.cut(away);
    for n in 0..200 {
        put(&c, &format!("k{}", n % 7), &format!("{n}")).await;
    }
    cluster.heal();
    let revision = c.barrier(None).await.unwrap();
    let fresh = ReadOpts::not_older_than(revision).within(SOON);
    let all = Prefix::all(&space("config"));
    let (there, here) = (behind.list(&all, fresh).await.unwrap(), c.list(&all, fresh).await);
    assert_eq!(there.entries, here.unwrap().entries);
    let states = |n: usize| {
        let state = cluster.nodes[n].shared.state.read();
        let entries: Vec<_> = state.range(&all, None).cloned().collect();
        (state.kind(all.space()).map(|kind| format!("{kind:?}")), entries)
    };
    assert_eq!(states(leader), states(away));
    cluster.stop().await;
}

/// Sessions outlive their leader, and end when nobody beats for them any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_a_change_of_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let rest: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    let (holder, witness) = (cluster.handle(rest[0]), cluster.handle(rest[1]));
    let opts = SessionOpts { ttl: Duration::from_secs(4), name: "t".into() };
    let session = holder.session(opts).await.unwrap();
    let mine = Key::ephemeral(&space("alive"), "n", session.id(), 0).unwrap();
    session.txn(Txn::new().put_ephemeral(&mine, "x")).await.unwrap();
    cluster.cut(leader);
    cluster.leader_among(&rest).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(session.state().borrow().valid_until().is_some(), "it beats through the new leader");
    let is_there =
        || async { witness.get(&mine, ReadOpts::linearizable()).await.unwrap().0.is_some() };
    assert!(is_there().await);
    let valid = session.confirm().await.unwrap();
    // The holder is cut off too, so one of three is left: heal the old leader for a quorum.
    cluster.heal();
    cluster.cut(rest[0]);
    let mut state = session.state();
    tokio::time::timeout(SOON, state.wait_for(|s| s.is_lost())).await.unwrap().unwrap();
    assert!(Instant::now() + Duration::from_millis(50) >= valid);
    let deadline = Instant::now() + SOON;
    while is_there().await {
        assert!(Instant::now() < deadline, "its keys never went");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(Instant::now() >= valid, "gone before the holder could know");
    cluster.heal();
    cluster.stop().await;
}

/// All off, all on: nothing is lost; then back to one member, which idles again.
#[tokio::test(flavor = "multi_thread")]
async fn all_restart_and_shrink_to_one() {
    let mut cluster = Cluster::start(3).await;
    put(&cluster.handle(0), "a", "1").await;
    cluster.stop().await;
    for n in [2, 0, 1] {
        let node = cluster.open_member(n, None).await;
        cluster.nodes.push(node);
    }
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let c = cluster.handle(leader);
    assert_eq!(value(&c, "a", ReadOpts::linearizable()).await.as_deref(), Some("1"));
    for n in (0..3).filter(|n| *n != leader) {
        let id = cluster.nodes[n].identity.node;
        cluster.nodes[leader].remove_member(id).await.unwrap();
    }
    assert!(cluster.nodes[leader].is_alone());
    put(&c, "a", "2").await;
    assert_eq!(c.info().members.len(), 1);
    cluster.stop().await;
}

/// Who has just started need not wait for its election timeout.
#[tokio::test(flavor = "multi_thread")]
async fn all_restart_and_serve_at_once() {
    let mut cluster = Cluster::start(3).await;
    put(&cluster.handle(0), "a", "1").await;
    cluster.stop().await;
    cluster.timing.election_ms = (60_000, 120_000);
    for n in 0..3 {
        let node = cluster.open_member(n, None).await;
        cluster.nodes.push(node);
    }
    let soon = ReadOpts::linearizable().within(SOON);
    assert_eq!(value(&cluster.handle(1), "a", soon).await.as_deref(), Some("1"));
    cluster.stop().await;
}

/// One that has just started and hears of no leader yet does not unseat the one that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_member_leaves_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader_among(&[0, 1, 2]).await;
    let term = cluster.nodes[leader].term();
    for _ in 0..5 {
        let other = (leader + 1) % 3;
        cluster.restart(other).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let soon = ReadOpts::linearizable().within(SOON);
        assert_eq!(value(&cluster.handle(other), "a", soon).await, None);
    }
    assert_eq!(
        (cluster.nodes[leader].term(), cluster.leader_among(&[0, 1, 2]).await),
        (term, leader)
    );
    cluster.stop().await;
}

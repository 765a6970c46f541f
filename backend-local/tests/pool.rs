//! A pool over real connections on the loopback: it grows, loses masters, shrinks.

use backend_local::{Invitation, LocalConfig, LocalStore, StoreMember, Timing};
use coord_api::{
    Coordinator, CoordinatorExt, ErrorKind, Key, OpenOpts, Prefix, ReadOpts, SessionOpts, Space,
    SpaceKind, Txn, WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

struct Pool {
    dir: tempfile::TempDir,
    lost_after: Duration,
    stores: Vec<Option<LocalStore>>,
    addresses: Vec<String>,
}

fn config(dir: &Path, n: usize, listen: &str) -> LocalConfig {
    LocalConfig {
        name: format!("n{n}"),
        listen: Some(listen.to_owned()),
        timing: Timing { heartbeat_ms: 100, election_ms: (600, 1200) },
        lock_wait: SOON,
        open: OpenOpts { connect_timeout: SOON, ..OpenOpts::default() },
        ..LocalConfig::new(dir.join(format!("n{n}")))
    }
}

impl Pool {
    /// A founder and others that join one after the other.
    async fn start(nodes: usize) -> Pool {
        Pool::start_impatient(nodes, Duration::from_secs(600)).await
    }

    /// Masters are given up after so long.
    async fn start_impatient(nodes: usize, lost_after: Duration) -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = Pool { dir, lost_after, stores: Vec::new(), addresses: Vec::new() };
        let founder = LocalStore::open(&pool.config(0, "127.0.0.1:0")).await.unwrap();
        pool.stores.push(Some(founder));
        pool.masters(1).await;
        for _ in 1..nodes {
            pool.grow().await;
        }
        pool
    }

    fn config(&self, n: usize, listen: &str) -> LocalConfig {
        LocalConfig { lost_after: self.lost_after, ..config(self.dir.path(), n, listen) }
    }

    async fn grow(&mut self) {
        let n = self.stores.len();
        let joined = self.join(n).await;
        self.stores.push(Some(joined));
    }

    /// With a new invitation as long as there is no leader to take one.
    async fn join(&self, n: usize) -> LocalStore {
        let config = self.config(n, "127.0.0.1:0");
        let deadline = Instant::now() + SOON;
        loop {
            let joined = match self.store(0).invite().await {
                // What the other node reads is text.
                Ok(invitation) => {
                    let invitation = Invitation::parse(&invitation.to_text()).unwrap();
                    LocalStore::join(&config, &invitation).await
                }
                Err(error) => Err(error),
            };
            match joined {
                Ok(joined) => return joined,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn store(&self, n: usize) -> &LocalStore {
        self.stores[n].as_ref().expect("it runs")
    }

    fn handle(&self, n: usize) -> Arc<dyn Coordinator> {
        self.store(n).handle()
    }

    fn any(&self) -> &LocalStore {
        self.stores.iter().flatten().next().expect("one runs")
    }

    /// Waits until so many vote and one of them leads.
    async fn masters(&mut self, count: usize) -> Vec<StoreMember> {
        let deadline = Instant::now() + SOON;
        loop {
            let members = self.any().members().await;
            if let Ok(members) = &members {
                let masters = members.iter().filter(|member| member.master).count();
                let led = members.iter().any(|member| member.leader);
                if masters == count && led {
                    let at = |n| members.iter().find(|m| m.name == format!("n{n}"));
                    let known = (0..self.stores.len()).filter_map(at);
                    self.addresses = known.map(|member| member.address.clone()).collect();
                    return members.clone();
                }
            }
            assert!(Instant::now() < deadline, "{count} masters: {members:?}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn wish(&self, through: usize, names: &[&str]) {
        let deadline = Instant::now() + SOON;
        while let Err(error) = self.store(through).set_masters(names).await {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(&mut self, n: usize) {
        if let Some(store) = self.stores[n].take() {
            store.shut_down().await;
        }
    }

    async fn open(&mut self, n: usize, listen: &str) {
        let store = LocalStore::open(&self.config(n, listen)).await.unwrap();
        self.stores[n] = Some(store);
    }

    async fn end(mut self) {
        for n in 0..self.stores.len() {
            self.stop(n).await;
        }
    }
}

fn key(name: &str) -> Key {
    Key::new(&Space::new("config").unwrap(), name).unwrap()
}

/// Writes again and again until it is told of success; the same value may be there already.
async fn put(c: &Arc<dyn Coordinator>, name: &str, value: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        match c.txn(Txn::new().put(&key(name), value.to_owned())).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn value(c: &Arc<dyn Coordinator>, name: &str) -> Option<String> {
    let deadline = Instant::now() + SOON;
    loop {
        match c.get(&key(name), ReadOpts::linearizable()).await {
            Ok((entry, _)) => {
                return entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap());
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn declare(c: &Arc<dyn Coordinator>) {
    c.ensure_space(&Space::new("config").unwrap(), SpaceKind::Persistent).await.unwrap();
}

/// The first three become masters by themselves; the fourth is a client and sees everything.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_three_become_masters() {
    let mut pool = Pool::start(4).await;
    let members = pool.masters(3).await;
    let masters: Vec<&str> =
        members.iter().filter(|m| m.master).map(|member| member.name.as_str()).collect();
    assert_eq!(masters, ["n0", "n1", "n2"]);
    let (first, last) = (pool.handle(0), pool.handle(3));
    declare(&first).await;
    put(&first, "a", "1").await;
    assert_eq!(value(&last, "a").await.as_deref(), Some("1"));
    let mut watch = last.watch(Prefix::all(key("a").space()), WatchOpts::default());
    while !matches!(watch.next().await.unwrap(), WatchEvent::Synced { .. }) {}
    put(&first, "a", "2").await;
    let event = tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Changes { .. }), "{event:?}");
    pool.end().await;
}

/// A client's session and its writes outlive the master it is connected to, whichever it is.
#[tokio::test(flavor = "multi_thread")]
async fn clients_outlive_their_master() {
    let mut pool = Pool::start(4).await;
    pool.masters(3).await;
    let c = pool.handle(3);
    declare(&c).await;
    let alive = Space::new("alive").unwrap();
    c.ensure_space(&alive, SpaceKind::Ephemeral).await.unwrap();
    let opts = SessionOpts { ttl: Duration::from_secs(30), name: "t".into() };
    let session = c.session(opts).await.unwrap();
    let mine = Key::ephemeral(&alive, "n3", session.id(), 0).unwrap();
    session.txn(Txn::new().put_ephemeral(&mine, "x")).await.unwrap();
    let addresses = pool.addresses.clone();
    for (n, address) in addresses.iter().enumerate().take(3) {
        put(&c, "round", &format!("{n}")).await;
        pool.stop(n).await;
        put(&c, "round", &format!("{n} down")).await;
        assert_eq!(value(&c, "round").await, Some(format!("{n} down")));
        pool.open(n, address).await;
        pool.masters(3).await;
    }
    assert!(session.state().borrow().valid_until().is_some());
    let there = c.get(&mine, ReadOpts::linearizable()).await.unwrap().0;
    assert!(there.is_some(), "the session's key is there");
    pool.end().await;
}

/// All off, all on, in another order and at other addresses: nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn all_restart_in_any_order_and_may_move() {
    let mut pool = Pool::start(3).await;
    pool.masters(3).await;
    let c = pool.handle(1);
    declare(&c).await;
    put(&c, "a", "1").await;
    let addresses = pool.addresses.clone();
    for n in 0..3 {
        pool.stop(n).await;
    }
    // Two come back where they were, the third somewhere else.
    let (last, first) = (addresses[2].clone(), addresses[0].clone());
    pool.open(2, &last).await;
    pool.open(0, &first).await;
    assert_eq!(value(&pool.handle(2), "a").await.as_deref(), Some("1"));
    pool.open(1, "127.0.0.1:0").await;
    put(&pool.handle(1), "a", "2").await;
    let deadline = Instant::now() + SOON;
    loop {
        let members = pool.masters(3).await;
        let moved = members.iter().find(|member| member.name == "n1").unwrap();
        if moved.address != addresses[1] {
            break;
        }
        assert!(Instant::now() < deadline, "{members:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pool.end().await;
}

/// A master whose directory is gone joins again under its name and takes its old place.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_master_comes_back_as_another() {
    let mut pool = Pool::start(3).await;
    pool.masters(3).await;
    let c = pool.handle(0);
    declare(&c).await;
    put(&c, "a", "1").await;
    pool.stop(2).await;
    std::fs::remove_dir_all(pool.dir.path().join("n2")).unwrap();
    let back = pool.join(2).await;
    pool.stores[2] = Some(back);
    let deadline = Instant::now() + SOON;
    let old = pool.addresses[2].clone();
    loop {
        let members = pool.masters(3).await;
        let third = members.iter().find(|member| member.name == "n2").unwrap();
        if third.address != old {
            break;
        }
        assert!(Instant::now() < deadline, "{members:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It counts: without another one, two of three are a quorum.
    pool.stop(1).await;
    put(&pool.handle(2), "a", "2").await;
    assert_eq!(value(&pool.handle(0), "a").await.as_deref(), Some("2"));
    pool.end().await;
}

/// A disk that was emptied has forgotten its votes: its node comes back under another id, also
/// where the rest of the directory is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_disk_does_not_vote_under_its_old_id() {
    let mut pool = Pool::start(3).await;
    pool.masters(3).await;
    let c = pool.handle(0);
    declare(&c).await;
    for (n, name) in [(1, "store.redb"), (2, "all but the pool")] {
        put(&c, "a", name).await;
        let listen = pool.addresses[n].clone();
        pool.stop(n).await;
        let dir = pool.dir.path().join(format!("n{n}"));
        match name {
            "store.redb" => std::fs::write(dir.join(name), "").unwrap(),
            _ => {
                for name in ["store.redb", "snapshot", "joined"] {
                    std::fs::remove_file(dir.join(name)).ok();
                }
            }
        }
        pool.open(n, &listen).await;
        // It counts again: without another one, two of three are a quorum.
        let other = 3 - n;
        let listen = pool.addresses[other].clone();
        let deadline = Instant::now() + SOON;
        loop {
            let members = pool.store(n).members().await.unwrap_or_default();
            let masters = members.iter().filter(|member| member.master).count();
            // While it replaces the one it was, both count.
            if pool.store(n).votes() && masters == 3 {
                break;
            }
            assert!(Instant::now() < deadline, "{n}: {members:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Who votes is told as soon as it is decided by one; this write is behind it in the log.
        put(&pool.handle(n), "b", name).await;
        pool.stop(other).await;
        put(&pool.handle(n), "c", name).await;
        assert_eq!(value(&pool.handle(0), "c").await.as_deref(), Some(name));
        pool.open(other, &listen).await;
        pool.masters(3).await;
    }
    pool.end().await;
}

/// A master that stays away is replaced by a node that is there; when it returns it stays one of
/// the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_stays_away_is_replaced() {
    let mut pool = Pool::start_impatient(4, Duration::from_secs(2)).await;
    pool.masters(3).await;
    let c = pool.handle(3);
    declare(&c).await;
    put(&c, "a", "1").await;
    let listen = pool.addresses[1].clone();
    pool.stop(1).await;
    until_masters(&mut pool, ["n0", "n2", "n3"]).await;
    put(&pool.handle(0), "a", "2").await;
    pool.open(1, &listen).await;
    assert_eq!(value(&pool.handle(1), "a").await.as_deref(), Some("2"));
    put(&pool.handle(1), "a", "3").await;
    until_masters(&mut pool, ["n0", "n2", "n3"]).await;
    // One that is away again is replaced by the one that came back.
    pool.stop(3).await;
    until_masters(&mut pool, ["n0", "n1", "n2"]).await;
    put(&pool.handle(1), "a", "4").await;
    pool.end().await;
}

async fn until_masters(pool: &mut Pool, names: [&str; 3]) {
    let deadline = Instant::now() + SOON;
    loop {
        let members = pool.masters(3).await;
        let masters = members.iter().filter(|m| m.master).map(|member| member.name.as_str());
        if masters.eq(names) {
            return;
        }
        assert!(Instant::now() < deadline, "{members:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One takes the invitation, the second and a stranger get nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_good_once() {
    let pool = Pool::start(1).await;
    let invitation = pool.store(0).invite().await.unwrap();
    // A client only, so that the founder stays alone and nothing else is under way.
    let guest = LocalConfig { listen: None, ..config(pool.dir.path(), 1, "") };
    let guest = LocalStore::join(&guest, &invitation).await.unwrap();
    declare(&guest.handle()).await;
    put(&guest.handle(), "a", "1").await;
    assert_eq!(value(&pool.handle(0), "a").await.as_deref(), Some("1"));
    let again = config(pool.dir.path(), 7, "127.0.0.1:0");
    let error = LocalStore::join(&again, &invitation).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
    pool.end().await;
}

/// Masters are as wished, and a pool shrinks down to one that is alone.
#[tokio::test(flavor = "multi_thread")]
async fn wishes_and_leaving() {
    let mut pool = Pool::start(3).await;
    pool.masters(3).await;
    let c = pool.handle(0);
    declare(&c).await;
    put(&c, "a", "1").await;
    pool.wish(2, &["n0"]).await;
    pool.masters(1).await;
    put(&c, "a", "2").await;
    pool.wish(0, &[]).await;
    pool.masters(3).await;
    for n in [2, 1] {
        let leaving = pool.stores[n].take().unwrap();
        leaving.leave().await.unwrap();
        // Of two one follows.
        pool.masters(1).await;
    }
    assert_eq!(value(&c, "a").await.as_deref(), Some("2"));
    put(&c, "a", "3").await;
    let members = pool.store(0).members().await.unwrap();
    assert_eq!(members.len(), 1, "{members:?}");
    pool.end().await;
}

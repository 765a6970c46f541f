//! The majority is lost for good: a node is forced to go on alone, and the others come over to it
//! when they return, whatever they have.

mod seats;

use backend_local::{LocalConfig, Seat, force, offline, prospect};
use coord_api::{Coordinator, ErrorKind, Txn};
use seats::{SOON, config, free_port, invited, key, masters, members, opened, put, value};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Pool {
    dir: tempfile::TempDir,
    port: u16,
    seats: Vec<Option<Arc<Seat>>>,
}

impl Pool {
    async fn start(nodes: u8) -> Pool {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = Pool { dir, port: free_port(), seats: Vec::new() };
        for n in 1..=nodes {
            let seat = opened(&pool.config(n)).await;
            if n > 1 {
                invited(pool.seat(1), &seat, n).await;
            }
            pool.seats.push(Some(seat));
            members(pool.seat(1), n.into()).await;
        }
        pool
    }

    fn config(&self, n: u8) -> LocalConfig {
        config(self.dir.path(), n, self.port)
    }

    fn path(&self, n: u8) -> std::path::PathBuf {
        self.config(n).dir
    }

    fn seat(&self, n: u8) -> &Arc<Seat> {
        self.seats[usize::from(n) - 1].as_ref().expect("it runs")
    }

    fn handle(&self, n: u8) -> Arc<dyn Coordinator> {
        self.seat(n).handle()
    }

    async fn stop(&mut self, n: u8) {
        let seat = self.seats[usize::from(n) - 1].take().expect("it ran");
        seat.shut_down().await;
    }

    async fn open(&mut self, n: u8) {
        let seat = Seat::open(self.config(n), Duration::from_millis(200)).await.unwrap();
        self.seats[usize::from(n) - 1] = Some(seat);
    }

    /// Stops both of two when the second has everything that the first has.
    async fn follows(&mut self) {
        let deadline = Instant::now() + 2 * SOON;
        // Only a directory at rest tells what it has.
        for pause in (1..).map(Duration::from_secs) {
            tokio::time::sleep(pause).await;
            for n in [2, 1] {
                self.stop(n).await;
            }
            let (first, second) =
                (prospect(&self.config(1)).await, prospect(&self.config(2)).await);
            let first = first.unwrap();
            if second.as_ref().is_ok_and(|second| second.changes == first.changes) {
                return;
            }
            assert!(Instant::now() < deadline, "{first:?} {second:?}");
            for n in [1, 2] {
                self.open(n).await;
            }
            masters(self.seat(1), 1).await;
        }
    }

    /// All that run see the same value under the key.
    async fn agree(&self, key: &str) {
        for seat in self.seats.iter().flatten() {
            let deadline = Instant::now() + SOON;
            while value(&seat.handle(), key).await.is_none() {
                assert!(Instant::now() < deadline, "{seat:?} does not know {key}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn end(mut self) {
        for n in 1..=self.seats.len() {
            if self.seats[n - 1].is_some() {
                self.stop(n as u8).await;
            }
        }
    }
}

async fn refused(config: &LocalConfig, kind: impl Fn(&ErrorKind) -> bool, text: &str) {
    let config = LocalConfig { lock_wait: Duration::ZERO, ..config.clone() };
    for done in [prospect(&config).await, force(&config).await] {
        let error = done.unwrap_err();
        assert!(kind(&error.kind) && error.to_string().contains(text), "{error}");
    }
}

/// Of two: the master is lost, the follower goes on; the master returns with what it had.
#[tokio::test(flavor = "multi_thread")]
async fn the_follower_of_two_goes_on() {
    let mut pool = Pool::start(2).await;
    put(&pool.handle(2), "before").await;
    let in_use = |kind: &ErrorKind| *kind == ErrorKind::Unavailable;
    refused(&pool.config(2), in_use, "in use by another process").await;
    pool.follows().await;
    let denied = |kind: &ErrorKind| *kind == ErrorKind::PermissionDenied;
    pool.open(1).await;
    refused(&pool.config(2), denied, "nothing has to be forced").await;
    pool.stop(1).await;
    let sole = force(&pool.config(1)).await.unwrap();
    assert!(sole.is_sole && sole.voted, "{sole:?}");
    let done = force(&pool.config(2)).await.unwrap();
    assert!(!done.is_sole && !done.voted && done.reached.is_empty(), "{done:?}");
    assert_eq!((done.members.len(), done.me.as_str()), (2, "n2"), "{done:?}");
    pool.open(2).await;
    assert!(value(&pool.handle(2), "before").await.is_some());
    put(&pool.handle(2), "alone").await;

    // Its old store has its quorum: the one vote. It gives way all the same.
    pool.open(1).await;
    pool.agree("alone").await;
    members(pool.seat(1), 2).await;
    put(&pool.handle(1), "together").await;
    pool.agree("together").await;
    assert!(pool.path(1).join("before/store.redb").exists(), "what it had is kept");
    for n in [1, 2] {
        pool.stop(n).await;
    }
    for n in [1, 2] {
        pool.open(n).await;
    }
    pool.agree("together").await;
    pool.end().await;
}

/// Of three masters two are lost; a client and, later, both masters at once come over.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_goes_on_and_all_come_over() {
    let mut pool = Pool::start(4).await;
    masters(pool.seat(1), 3).await;
    put(&pool.handle(4), "before").await;
    pool.stop(3).await;
    let denied = |kind: &ErrorKind| *kind == ErrorKind::PermissionDenied;
    refused(&pool.config(3), denied, "nothing has to be forced").await;
    let no_data = |kind: &ErrorKind| matches!(kind, ErrorKind::Unsupported(_));
    pool.stop(2).await;
    // One of the others is up: with this one it is a majority.
    let deadline = Instant::now() + SOON;
    while pool.seat(1).trouble().is_none() {
        assert!(Instant::now() < deadline, "the master alone feels well");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refused(&pool.config(3), denied, "which is a majority: start glusterd").await;
    let why = pool.seat(1).trouble().unwrap();
    assert!(why.contains("2 of 3 masters are needed, missing: 127.1.2."), "{why}");
    assert!(why.contains("not reached since 20"), "{why}");

    pool.stop(1).await;
    // Without its daemons the pool can be read, not changed.
    let at_rest = offline(&pool.config(3)).await.unwrap();
    assert!(value(&at_rest, "before").await.is_some());
    let denied = at_rest.txn(Txn::new().put(&key("x"), "y")).await.unwrap_err();
    assert_eq!(denied.kind, ErrorKind::PermissionDenied, "{denied}");
    at_rest.close().await.unwrap();
    drop(at_rest);
    assert!(!pool.path(3).join("offline").exists());
    refused(&pool.config(4), |k| no_data(k) || *k == ErrorKind::Unavailable, "").await;
    let done = force(&pool.config(3)).await.unwrap();
    assert!(done.voted && !done.is_sole, "{done:?}");
    // A store with one vote can be changed, too.
    let at_rest = offline(&pool.config(3)).await.unwrap();
    put(&at_rest, "at-rest").await;
    at_rest.close().await.unwrap();
    drop(at_rest);
    pool.open(3).await;
    for key in ["before", "at-rest"] {
        assert!(value(&pool.handle(3), key).await.is_some(), "{key}");
    }
    put(&pool.handle(3), "alone").await;
    // It has not been stopped since.
    pool.agree("alone").await;
    put(&pool.handle(4), "client").await;

    pool.open(1).await;
    pool.open(2).await;
    pool.agree("client").await;
    for n in 1..=4 {
        masters(pool.seat(n), 3).await;
        members(pool.seat(n), 4).await;
    }
    put(&pool.handle(2), "together").await;
    pool.agree("together").await;
    pool.end().await;
}

/// What has nothing to force, or nothing to force it with.
#[tokio::test(flavor = "multi_thread")]
async fn not_everything_can_be_forced() {
    let dir = tempfile::tempdir().unwrap();
    let unsupported = |kind: &ErrorKind| matches!(kind, ErrorKind::Unsupported(_));
    let nothing = config(dir.path(), 9, 1);
    refused(&nothing, unsupported, "no store is there").await;
    let mut pool = Pool::start(1).await;
    pool.stop(1).await;
    let config = LocalConfig { listen: None, ..pool.config(1) };
    refused(&config, unsupported, "never had other nodes").await;
    pool.end().await;
}

//! The handle's own client for reads, transactions and watches: replaced when its session ends,
//! asked for the present revision by many at once, and looked after for health.

use crate::conn::{Access, Conn};
use crate::fault;
use crate::layout::Layout;
use coord_api::{Error, ErrorKind, Health, Result, Revision};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// Session timeout of this client: nothing hangs on it but its own node.
const TTL: Duration = Duration::from_secs(10);
/// What a client gets to reconnect by itself before another one is tried beside it.
const RECONNECT: Duration = Duration::from_secs(1);
/// Between two attempts to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Barriers waiting for the one under way.
const BARRIERS: usize = 4096;

pub(crate) struct Link {
    pub access: Access,
    pub layout: Layout,
    current: watch::Sender<Option<Arc<Conn>>>,
    health: watch::Sender<Health>,
    closed: watch::Sender<bool>,
    barriers: mpsc::Sender<Ask>,
    /// The node that exists in our cluster alone; known once the handle is open.
    witness: OnceLock<String>,
    /// Another cluster answers at the address (G6).
    replaced: AtomicBool,
}

type Ask = oneshot::Sender<Result<(Arc<Conn>, Revision)>>;

/// What drives a link, to be spawned on its thread.
pub(crate) struct Driver {
    link: Arc<Link>,
    asked: mpsc::Receiver<Ask>,
}

impl Link {
    pub fn new(access: Access, layout: Layout) -> (Arc<Link>, Driver) {
        let (barriers, asked) = mpsc::channel(BARRIERS);
        let link = Arc::new(Link {
            access,
            layout,
            current: watch::Sender::new(None),
            health: watch::Sender::new(Health::Unreachable { since: std::time::Instant::now() }),
            closed: watch::Sender::new(false),
            barriers,
            witness: OnceLock::new(),
            replaced: AtomicBool::new(false),
        });
        (link.clone(), Driver { link, asked })
    }

    /// Takes over a client that is connected and settled.
    pub fn adopt(&self, conn: Conn, witness: String) {
        self.witness.get_or_init(|| witness);
        self.current.send_replace(Some(Arc::new(conn)));
        self.note(Health::Ok);
    }

    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub fn close(&self) {
        self.closed.send_replace(true);
        self.current.send_replace(None);
        self.health.send_replace(Health::Closed);
    }

    /// Completes when the handle is closed.
    pub async fn closing(&self) {
        // An error is a dropped sender, which `self` holds.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// The client, connected. Waits out a reconnect, not a known outage.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`; nothing was sent.
    pub async fn ready(&self, deadline: Instant) -> Result<Arc<Conn>> {
        if self.replaced.load(Ordering::Acquire) {
            return Err(ErrorKind::ClusterReplaced.into());
        }
        let now = Instant::now();
        let patience = match &*self.health.borrow() {
            Health::Unreachable { since } if since.elapsed() > self.access.detect => {
                now + self.access.detect / 6
            }
            _ => now + self.access.detect,
        };
        tokio::select! {
            biased;
            () = self.closing() => Err(ErrorKind::Closed.into()),
            conn = timeout_at(patience.min(deadline), self.connected()) => {
                conn.map_err(|_| Error::none(ErrorKind::Unavailable).because("not connected"))
            }
        }
    }

    async fn connected(&self) -> Arc<Conn> {
        let mut current = self.current.subscribe();
        loop {
            let conn = current.borrow_and_update().clone();
            match conn {
                Some(conn) => tokio::select! {
                    connected = conn.connected() => {
                        if connected {
                            return conn;
                        }
                        drop(current.changed().await);
                    }
                    _ = current.changed() => {}
                },
                None => drop(current.changed().await),
            }
        }
    }

    /// The store's present revision and the client that has seen it: everything this client reads
    /// from now on is at least as new. Whoever asks meanwhile shares one write.
    ///
    /// # Errors
    /// Effect None: `Unavailable`, `Timeout`, `Closed`, `ClusterReplaced`.
    pub async fn barrier(&self, deadline: Instant) -> Result<(Arc<Conn>, Revision)> {
        let (answer, answered) = oneshot::channel();
        let ask = async {
            self.barriers.send(answer).await.map_err(|_| ErrorKind::Closed)?;
            answered.await.map_err(|_| ErrorKind::Closed)?
        };
        tokio::select! {
            biased;
            () = self.closing() => Err(ErrorKind::Closed.into()),
            result = timeout_at(deadline, ask) => match result {
                Ok(result) => result,
                Err(_) => Err(ErrorKind::Timeout.into()),
            },
        }
    }

    /// A client opened later must find the cluster it was opened on.
    async fn recognise(&self, conn: &Conn) -> Result<()> {
        let Some(witness) = self.witness.get() else { return Ok(()) };
        let deadline = Instant::now() + self.access.connect_timeout;
        // A server that lags behind could miss it: ask after a round to the leader.
        let asking = async {
            conn.client.sync("/").await?;
            conn.client.check_stat(witness).await
        };
        match Conn::wait(deadline, asking).await {
            Ok(Ok(Some(_))) => {
                self.replaced.store(false, Ordering::Release);
                Ok(())
            }
            Ok(Ok(None)) => Err(ErrorKind::ClusterReplaced.into()),
            Ok(Err(raw)) => Err(fault::of_read(&raw)),
            Err(_) => Err(ErrorKind::Timeout.into()),
        }
    }

    /// The node whose existence every transaction checks.
    pub fn witness(&self) -> &str {
        self.witness.get().map_or("", String::as_str)
    }

    fn note(&self, now: Health) {
        self.health.send_if_modified(|was| {
            let same = std::mem::discriminant(was) == std::mem::discriminant(&now);
            if same || *was == Health::Closed {
                return false;
            }
            tracing::info!(was = ?was, now = ?now, "health of ZooKeeper");
            *was = now;
            true
        });
    }
}

impl Driver {
    /// Until the link is closed.
    pub async fn run(self) {
        let Driver { link, asked } = self;
        tokio::select! {
            () = link.closing() => {}
            () = keep_connected(&link) => {}
            () = serve_barriers(&link, asked) => {}
            () = watch_health(&link) => {}
        }
    }
}

/// Replaces the client whenever its session has ended, or it stays disconnected: its own attempts
/// come ever more seldom, so it may be away as long again as the servers were.
async fn keep_connected(link: &Link) {
    let mut pause = PAUSE.0;
    loop {
        let conn = link.current.borrow().clone().filter(|conn| !conn.is_over());
        if let Some(conn) = &conn {
            conn.disconnected().await;
            if timeout(RECONNECT, conn.connected()).await == Ok(true) {
                pause = PAUSE.0;
                continue;
            }
        }
        let back = async {
            match &conn {
                Some(conn) if conn.connected().await => {}
                _ => std::future::pending().await,
            }
        };
        let fresh = tokio::select! {
            biased;
            () = back => continue,
            fresh = fresh(link) => fresh,
        };
        match fresh {
            Ok(conn) => {
                link.current.send_replace(Some(Arc::new(conn)));
            }
            Err(error) => {
                if error.kind == ErrorKind::ClusterReplaced {
                    link.replaced.store(true, Ordering::Release);
                }
                tracing::debug!(%error, "no new session with ZooKeeper");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

async fn fresh(link: &Link) -> Result<Conn> {
    let conn = Conn::open(&link.access, TTL).await?;
    link.recognise(&conn).await?;
    conn.settle(&link.access, &link.layout, "").await?;
    Ok(conn)
}

/// The first client of a handle, with the namespace's nodes still to be made.
pub(crate) async fn first(access: &Access) -> Result<Conn> {
    Conn::open(access, TTL).await
}

async fn serve_barriers(link: &Link, mut asked: mpsc::Receiver<Ask>) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, BARRIERS).await > 0 {
        waiting.retain(|ask| !ask.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let result = barrier(link, &waiting).await;
        waiting.drain(..).for_each(|ask| drop(ask.send(result.clone())));
    }
}

/// One write, repeated on another connection if the first is lost: it has no effect to double.
async fn barrier(link: &Link, waiting: &[Ask]) -> Result<(Arc<Conn>, Revision)> {
    let deadline = Instant::now() + link.access.detect * 2;
    let mut result = Err(ErrorKind::Unavailable.into());
    while Instant::now() < deadline && waiting.iter().any(|ask| !ask.is_closed()) {
        let conn = link.ready(deadline).await?;
        result = tokio::select! {
            revision = conn.tick(&link.layout, deadline) => revision.map(|r| (conn.clone(), r)),
            _ = conn.disconnected() => Err(ErrorKind::Unavailable.into()),
        };
        match &result {
            Err(error) if error.kind == ErrorKind::Unavailable => {}
            _ => break,
        }
    }
    result
}

/// Asks the leader for a sign of life, which costs it no write (H1, H2).
async fn watch_health(link: &Link) {
    let every = link.access.detect / 4;
    loop {
        sleep(every).await;
        let since = std::time::Instant::now();
        let conn = link.current.borrow().clone();
        let now = match conn.filter(|conn| conn.is_connected()) {
            None => {
                let grace = Instant::now() + every;
                tokio::select! {
                    _ = link.connected() => continue,
                    () = sleep_until(grace) => Health::Unreachable { since },
                }
            }
            Some(conn) => {
                let id = link.layout.id();
                let asking = async { conn.client.sync(&id).await };
                match timeout(link.access.detect * 3 / 5, asking).await {
                    Ok(Ok(())) => Health::Ok,
                    Ok(Err(_)) => continue,
                    Err(_) => {
                        let why = "the leader does not answer".to_owned();
                        Health::Degraded { since, why }
                    }
                }
            }
        };
        link.note(now);
    }
}

//! The servers: one connection each, used one at a time, and what to do when one fails.
//!
//! The client crate balances over all addresses and keeps choosing a dead one; so each address
//! gets a client of its own, calls stay on one that works and move on when it does not. Its
//! HTTP/2 keepalive cannot be had below etcd's limit of one ping each five seconds (the server
//! ends the connection); so each connection has a pulse: a small read, whose silence breaks
//! everything that runs on the connection.

use crate::fault::Fault;
use crate::pulse::{Heard, pulse};
use coord_api::{Error, ErrorKind, Health, Result};
use etcd_client::{Client, ConnectOptions, GetOptions};
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// What a connection needs.
#[derive(Clone)]
pub(crate) struct Access {
    /// `http://h:p` or `https://h:p` each.
    pub endpoints: Vec<String>,
    pub options: ConnectOptions,
    pub connect_timeout: Duration,
    /// A silent connection is given up after this.
    pub detect: Duration,
    /// Read by the pulse; permission for it comes with the namespace's.
    pub pulse_key: String,
}

pub(crate) struct Pool {
    access: Access,
    runtime: Handle,
    slots: Vec<tokio::sync::Mutex<Option<Arc<Line>>>>,
    current: AtomicUsize,
    health: watch::Sender<Health>,
    closed: watch::Sender<bool>,
    /// Last success of a call that needs the quorum.
    quorum_at: Mutex<Option<Instant>>,
}

/// Connections to one server: with and without the demand for a leader.
pub(crate) struct Line {
    at: usize,
    /// Refused at once by a server that knows no leader.
    pub leading: Client,
    /// For reads that a server may answer alone.
    pub local: Client,
    broken: watch::Sender<bool>,
    pulse: AbortHandle,
    heard: Heard,
}

/// What a call is, for the decision whether to repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// May be repeated anywhere.
    Read,
    /// A read that needs no quorum.
    Local,
    /// Repeated only when it certainly had no effect (X3).
    Write,
}

impl Pool {
    pub fn new(access: Access, runtime: Handle) -> Arc<Pool> {
        let slots = access.endpoints.iter().map(|_| tokio::sync::Mutex::default()).collect();
        let start = std::process::id() as usize % access.endpoints.len();
        Arc::new(Pool {
            access,
            runtime,
            slots,
            current: AtomicUsize::new(start),
            health: watch::Sender::new(Health::Unreachable { since: std::time::Instant::now() }),
            closed: watch::Sender::new(false),
            quorum_at: Mutex::new(None),
        })
    }

    pub fn detect(&self) -> Duration {
        self.access.detect
    }

    pub fn health(&self) -> &watch::Sender<Health> {
        &self.health
    }

    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Ends every call under way and refuses new ones.
    pub fn close(&self) {
        self.closed.send_replace(true);
        self.health.send_replace(Health::Closed);
    }

    /// Runs `op` on one server after the other, as `kind` allows, until `deadline`.
    ///
    /// `op` gets the connection to use and is called once for each attempt.
    pub async fn call<T, F, Fut>(&self, kind: Kind, deadline: Instant, op: F) -> Result<T>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = std::result::Result<T, Fault>>,
    {
        let mut closed = self.closed.subscribe();
        let attempts = self.attempts(kind, deadline, op);
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(match kind {
                Kind::Write => Fault::closed().of_write(),
                _ => ErrorKind::Closed.into(),
            }),
            result = attempts => result,
        }
    }

    async fn attempts<T, F, Fut>(&self, kind: Kind, deadline: Instant, op: F) -> Result<T>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = std::result::Result<T, Fault>>,
    {
        let give_up = self.patience().min(deadline);
        let mut pause = Duration::from_millis(20);
        let mut refreshed = false;
        for tried in 1.. {
            let (line, fault) = match self.attempt(kind, deadline, &op).await {
                Ok(done) => {
                    if kind != Kind::Local {
                        *self.quorum_at.lock() = Some(Instant::now());
                    }
                    return Ok(done);
                }
                Err(failed) => failed,
            };
            if fault.stale_token && fault.harmless && !refreshed {
                refreshed = true;
                if let Some(line) = &line {
                    line.refresh(deadline).await;
                    continue;
                }
            }
            if !fault.elsewhere {
                return Err(finish(kind, fault));
            }
            self.leave(line).await;
            let repeatable = kind != Kind::Write || fault.harmless;
            let round_done = tried % self.slots.len() == 0;
            if !repeatable
                || Instant::now() >= deadline
                || (round_done && Instant::now() >= give_up)
            {
                return Err(finish(kind, fault));
            }
            if round_done {
                sleep_until((Instant::now() + pause).min(deadline)).await;
                pause = (pause * 2).min(Duration::from_millis(250));
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Until when a call goes round among servers that refuse it: an election or a restart is
    /// waited out, a known outage is not.
    fn patience(&self) -> Instant {
        let now = Instant::now();
        match &*self.health.borrow() {
            Health::Unreachable { since } if since.elapsed() > self.access.detect => now,
            _ => now + self.access.detect,
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        kind: Kind,
        deadline: Instant,
        op: &F,
    ) -> std::result::Result<T, (Option<Arc<Line>>, Fault)>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = std::result::Result<T, Fault>>,
    {
        let line = match timeout_at(deadline, self.line()).await {
            Ok(Ok(line)) => line,
            Ok(Err(fault)) => return Err((None, fault)),
            Err(_) => return Err((None, Fault::timeout().harmless())),
        };
        let client = if kind == Kind::Local { line.local.clone() } else { line.leading.clone() };
        // A read does not wait for one server while another may answer.
        let until = match kind {
            Kind::Read | Kind::Local if self.slots.len() > 1 => {
                deadline.min(Instant::now() + self.access.detect)
            }
            _ => deadline,
        };
        let result = tokio::select! {
            biased;
            result = op(client) => result,
            () = line.broken() => Err(Fault::silence()),
            () = sleep_until(until) => Err(Fault::timeout()),
        };
        if result.is_ok() && kind != Kind::Local {
            line.heard.again();
        }
        result.map_err(|fault| (Some(line), fault))
    }

    /// The connection in use; established now if there is none.
    pub async fn line(&self) -> std::result::Result<Arc<Line>, Fault> {
        let at = self.current.load(Ordering::Relaxed);
        let mut slot = self.slots[at].lock().await;
        if let Some(line) = slot.as_ref().filter(|line| !line.is_broken()) {
            return Ok(line.clone());
        }
        match Line::connect(at, &self.access, &self.runtime).await {
            Ok(line) => Ok(slot.insert(line).clone()),
            Err(fault) => {
                *slot = None;
                drop(slot);
                self.move_on(at);
                Err(fault)
            }
        }
    }

    /// Turns away from a connection that failed; what still runs on it may end in peace.
    pub async fn leave(&self, line: Option<Arc<Line>>) {
        let Some(line) = line else { return };
        let mut slot = self.slots[line.at].lock().await;
        if slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, &line)) {
            *slot = None;
            drop(slot);
            self.move_on(line.at);
        }
    }

    fn move_on(&self, from: usize) {
        let to = (from + 1) % self.slots.len();
        // Somebody else may have moved on already.
        let _ = self.current.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Looks after `health` until the pool is closed (H1, H2).
    pub async fn watch_health(self: Arc<Pool>) {
        let every = self.access.detect / 4;
        let patience = self.access.detect * 3 / 5;
        loop {
            let fresh = self.quorum_at.lock().is_some_and(|at| at.elapsed() < every);
            let now = if fresh { Health::Ok } else { self.probe(patience).await };
            if self.is_closed() {
                return;
            }
            self.note_health(now);
            sleep(every).await;
        }
    }

    async fn probe(&self, patience: Duration) -> Health {
        let since = std::time::Instant::now();
        let read = |serializable: bool| {
            let key = self.access.pulse_key.clone();
            move |mut client: Client| {
                let mut options = GetOptions::new().with_count_only();
                if serializable {
                    options = options.with_serializable();
                }
                let key = key.clone();
                async move { client.get(key, Some(options)).await.map_err(Fault::from) }
            }
        };
        let until = Instant::now() + patience;
        let Err(error) = self.call(Kind::Read, until, read(false)).await else {
            return Health::Ok;
        };
        let until = Instant::now() + patience / 3;
        match self.call(Kind::Local, until, read(true)).await {
            Ok(_) => Health::Degraded { since, why: error.to_string() },
            Err(_) => Health::Unreachable { since },
        }
    }

    /// Keeps `since` while the kind of health stays the same.
    fn note_health(&self, now: Health) {
        self.health.send_if_modified(|was| {
            let same = std::mem::discriminant(was) == std::mem::discriminant(&now);
            if same || *was == Health::Closed {
                return false;
            }
            tracing::info!(was = ?was, now = ?now, "health of etcd");
            *was = now;
            true
        });
    }
}

impl Line {
    async fn connect(
        at: usize,
        access: &Access,
        runtime: &Handle,
    ) -> std::result::Result<Arc<Line>, Fault> {
        let open = |leader: bool| {
            let options = access.options.clone().with_require_leader(leader);
            let endpoint = access.endpoints[at].clone();
            // The crate spawns the connection's tasks on the runtime it finds itself in.
            let opening = runtime.spawn(async move {
                Client::connect([endpoint], Some(options)).await.map_err(Fault::from)
            });
            async {
                match timeout(access.connect_timeout * 2, opening).await {
                    Ok(Ok(result)) => result.map_err(|fault| Fault { harmless: true, ..fault }),
                    Ok(Err(_)) => Err(Fault::closed().harmless()),
                    Err(_) => Err(Fault::timeout().harmless()),
                }
            }
        };
        let (leading, local) = (open(true).await?, open(false).await?);
        let (broken, heard) = (watch::Sender::new(false), Heard::now());
        let key = access.pulse_key.clone();
        let pulse = pulse(leading.clone(), key, access.detect, broken.clone(), heard.clone());
        let pulse = runtime.spawn(pulse).abort_handle();
        Ok(Arc::new(Line { at, leading, local, broken, pulse, heard }))
    }

    /// Completes when the server has fallen silent or the connection has ended.
    pub async fn broken(&self) {
        // An error is a dropped sender, which `self` holds.
        let _ = self.broken.subscribe().wait_for(|broken| *broken).await;
    }

    pub fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }

    async fn refresh(&self, deadline: Instant) {
        for client in [&self.leading, &self.local] {
            // A failure shows in the call that follows.
            let _ = timeout_at(deadline, client.refresh_token()).await;
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.pulse.abort();
    }
}

fn finish(kind: Kind, fault: Fault) -> Error {
    if kind == Kind::Write { fault.of_write() } else { fault.of_read() }
}

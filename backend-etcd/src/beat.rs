//! Heartbeats of one session, on the session thread: keeps the lease alive, knows until when the
//! session may be trusted, and says so.
//!
//! A keepalive is answered from the memory of a member that believes itself leader, so an answer
//! alone proves nothing (seen on 3.4.23: answered 5 s before others saw the keys gone). Confirmed
//! is a keepalive between two linearizable reads on one member with one term: then the leader
//! that renewed the lease still had its quorum afterwards, and a later leader only lengthens.

use crate::core::Core;
use crate::fault::Fault;
use crate::pool::{Kind, Line};
use coord_api::{Error, ErrorKind, Result, SessionState, time_asleep};
use etcd_client::{Client, GetOptions};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What is left of a TTL after the rate error that two clocks may have (1 %).
pub(crate) fn trusted(ttl: Duration) -> Duration {
    ttl * 99 / 100
}

/// Suspend shorter than this is the noise of reading two clocks.
const NOISE: Duration = Duration::from_millis(50);

/// Instructions from the session's owner.
pub(crate) enum Order {
    Confirm(oneshot::Sender<Result<std::time::Instant>>),
    Close(oneshot::Sender<Result<()>>),
}

/// Guards that ask for confirmed heartbeats.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    count: AtomicUsize,
    bell: Notify,
}

impl Holds {
    pub fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.bell.notify_one();
    }

    pub fn remove(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }
}

/// A renewal: when it was sent, and how long the machine had slept by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    sent: Instant,
    asleep: Duration,
}

impl Renewal {
    pub fn now() -> Renewal {
        Renewal { sent: Instant::now(), asleep: time_asleep() }
    }

    /// Until when it holds, with suspend counted as elapsed (G4).
    pub fn until(&self, ttl: Duration) -> Instant {
        let slept = time_asleep().saturating_sub(self.asleep);
        let slept = if slept < NOISE { Duration::ZERO } else { slept };
        let end = self.sent + trusted(ttl);
        end.checked_sub(slept).unwrap_or(self.sent)
    }
}

pub(crate) struct Beat {
    pub core: Arc<Core>,
    pub lease: i64,
    pub ttl: Duration,
    pub states: watch::Sender<SessionState>,
    pub orders: mpsc::Receiver<Order>,
    pub holds: Arc<Holds>,
    /// True when the handle is being closed.
    pub ending: watch::Receiver<bool>,
    /// The newest renewal, confirmed or not, and the newest confirmed one.
    pub renewed: Renewal,
    pub confirmed: Renewal,
}

type Waiter = oneshot::Sender<Result<std::time::Instant>>;
type Running = BoxFuture<'static, Result<Renewal>>;

enum Event {
    Order(Option<Order>),
    Renewed(Result<Renewal>),
    Due,
    Broken,
    Held,
}

impl Beat {
    /// Until the session is closed, dropped, lost, or the thread ends.
    pub async fn run(mut self) {
        let mut waiting: Vec<Waiter> = Vec::new();
        let mut served: Vec<Waiter> = Vec::new();
        let mut running: Option<(bool, Running)> = None;
        let mut next = Instant::now() + self.ttl / 6;
        // Confirmed since the first of the present holds.
        let mut strict = false;
        let mut line = self.line().await;
        loop {
            strict &= self.holds.any();
            if running.is_none() && (!waiting.is_empty() || Instant::now() >= next) {
                let confirm = !waiting.is_empty() || self.holds.any();
                served.append(&mut waiting);
                running = Some((confirm, self.renewal(confirm)));
            }
            let expires = self.expires(strict);
            let event = tokio::select! {
                biased;
                // At least each second, because a suspend moves the end nearer.
                () = sleep_until(expires.min(Instant::now() + Duration::from_secs(1))) => Event::Due,
                result = finished(&mut running) => Event::Renewed(result),
                order = self.orders.recv() => Event::Order(order),
                _ = self.ending.wait_for(|ending| *ending) => Event::Order(None),
                () = broken(&line) => Event::Broken,
                () = self.holds.bell.notified() => Event::Held,
                () = sleep_until(next), if running.is_none() => Event::Due,
            };
            match event {
                Event::Due if Instant::now() >= self.expires(strict) => {
                    return self.lose(served, waiting).await;
                }
                Event::Due => {}
                Event::Held => next = Instant::now(),
                Event::Broken => {
                    line = None;
                    self.publish(false, strict);
                    next = Instant::now();
                }
                Event::Order(Some(Order::Confirm(waiter))) => waiting.push(waiter),
                Event::Order(Some(Order::Close(done))) => {
                    return self.close(Some(done)).await;
                }
                Event::Order(None) => return self.close(None).await,
                Event::Renewed(result) => {
                    let confirmed = running.take().is_some_and(|(confirmed, _)| confirmed);
                    match result {
                        Ok(renewal) => {
                            self.renewed = renewal;
                            if confirmed {
                                self.confirmed = renewal;
                                strict = self.holds.any();
                            }
                            self.publish(true, strict);
                            let until = self.confirmed.until(self.ttl).into_std();
                            served.drain(..).for_each(|waiter| drop(waiter.send(Ok(until))));
                            line = self.line().await;
                            next = renewal.sent + self.pace();
                        }
                        Err(error) if error.kind == ErrorKind::SessionLost => {
                            return self.lose(served, waiting).await;
                        }
                        Err(error) => {
                            tracing::debug!(%error, "heartbeat to etcd failed");
                            self.publish(false, strict);
                            let fail = |waiter: Waiter| drop(waiter.send(Err(error.clone())));
                            served.drain(..).for_each(fail);
                            next = Instant::now() + Duration::from_millis(100);
                        }
                    }
                }
            }
        }
    }

    /// The connection whose end means that heartbeats do not get through.
    async fn line(&self) -> Option<Arc<Line>> {
        timeout(Duration::from_millis(100), self.core.pool.line()).await.ok()?.ok()
    }

    fn pace(&self) -> Duration {
        if self.holds.any() { self.ttl / 6 } else { self.ttl / 3 }
    }

    /// While somebody relies on confirmed heartbeats, no others count.
    fn expires(&self, strict: bool) -> Instant {
        let renewal = if strict { self.confirmed } else { self.renewed };
        renewal.until(self.ttl)
    }

    fn publish(&self, alive: bool, strict: bool) {
        let valid_until = self.expires(strict || self.holds.any()).into_std();
        let state = if alive {
            SessionState::Alive { valid_until }
        } else {
            SessionState::Suspended { valid_until }
        };
        self.states.send_if_modified(|was| {
            let changed = *was != state && !was.is_lost();
            if changed {
                *was = state;
            }
            changed
        });
    }

    /// One heartbeat, on whichever server answers.
    fn renewal(&self, confirm: bool) -> Running {
        let (core, lease, ttl) = (self.core.clone(), self.lease, self.ttl);
        let marker = core.layout.session(coord_api::SessionId(lease.cast_unsigned()));
        Box::pin(async move {
            let deadline = Instant::now() + (ttl / 3).min(core.opts.request_timeout);
            core.pool
                .call(Kind::Read, deadline, |client| {
                    let marker = marker.clone();
                    async move {
                        if confirm {
                            confirmed(client, lease, marker).await
                        } else {
                            renew(client, lease).await
                        }
                    }
                })
                .await
        })
    }

    /// Lost for good, by the server's word or by our own clock.
    async fn lose(self, served: Vec<Waiter>, waiting: Vec<Waiter>) {
        self.states.send_replace(SessionState::Lost);
        for waiter in served.into_iter().chain(waiting) {
            drop(waiter.send(Err(ErrorKind::SessionLost.into())));
        }
        // Its keys should not outlive it longer than they must; nobody waits for this.
        let _ = self.revoke(Instant::now() + self.ttl).await;
    }

    async fn close(mut self, done: Option<oneshot::Sender<Result<()>>>) {
        let result = self.revoke(self.core.deadline(None)).await;
        self.states.send_replace(SessionState::Lost);
        if let Some(done) = done {
            drop(done.send(result));
        }
        self.orders.close();
    }

    /// Ends the lease; its keys are gone when this succeeds.
    async fn revoke(&self, deadline: Instant) -> Result<()> {
        loop {
            let lease = self.lease;
            let result = self
                .core
                .pool
                .call(Kind::Read, deadline, |mut client| async move {
                    client.lease_revoke(lease).await.map_err(Fault::from)
                })
                .await;
            match result {
                Err(error) if error.kind == ErrorKind::SessionLost => return Ok(()),
                Err(error) if error.kind == ErrorKind::Unavailable && Instant::now() < deadline => {
                    sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(Error::unknown(error.kind)),
                Ok(_) => return Ok(()),
            }
        }
    }
}

async fn finished(running: &mut Option<(bool, Running)>) -> Result<Renewal> {
    match running {
        Some((_, running)) => running.await,
        None => std::future::pending().await,
    }
}

async fn broken(line: &Option<Arc<Line>>) {
    match line {
        Some(line) => line.broken().await,
        None => std::future::pending().await,
    }
}

async fn renew(mut client: Client, lease: i64) -> std::result::Result<Renewal, Fault> {
    let renewal = Renewal::now();
    client.lease_keep_alive(lease).await.map_err(Fault::from)?;
    Ok(renewal)
}

async fn confirmed(
    mut client: Client,
    lease: i64,
    marker: String,
) -> std::result::Result<Renewal, Fault> {
    let before = witness(&mut client, &marker).await?;
    let renewal = renew(client.clone(), lease).await?;
    let after = witness(&mut client, &marker).await?;
    if before == after {
        Ok(renewal)
    } else {
        Err(Fault::new(ErrorKind::Unavailable, "the leader changed meanwhile").elsewhere())
    }
}

/// A linearizable read: member and term that served it. The session's marker must be there.
async fn witness(client: &mut Client, marker: &str) -> std::result::Result<(u64, u64), Fault> {
    let options = GetOptions::new().with_count_only();
    let answer = client.get(marker, Some(options)).await.map_err(Fault::from)?;
    if answer.count() == 0 {
        return Err(Fault::new(ErrorKind::SessionLost, "its marker is gone").harmless());
    }
    let header = answer.header().ok_or_else(|| Fault::new(ErrorKind::Corrupt, "no header"))?;
    Ok((header.member_id(), header.raft_term()))
}

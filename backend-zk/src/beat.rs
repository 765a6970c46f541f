//! Heartbeats of one session, on the session thread: knows until when the session may be trusted,
//! and says so. The client crate keeps the session alive by pings; what it does not do is tell
//! the truth about its end: it declares expiry only at 7/5 of the timeout.
//!
//! Unconfirmed heartbeats are reads: any request touches the session in the table of the server
//! we are connected to. Confirmed ones are two writes in a row. A forwarded write proves that the
//! leader had the session, but does not renew it; renewals travel with the server's answers to the
//! leader's pings, one each half tick. So a touch that was answered half a tick before the first
//! write was sent has reached the leader when the second one is answered: the leader's ping, the
//! answer with the touch and both writes follow each other on ordered connections. Half a tick is
//! at most TTL/4, since no session is granted less than two ticks. Valid is then: when that touch
//! was sent, plus TTL. A reconnect makes earlier touches worthless, not earlier validity.
//!
//! Assumes ZooKeeper 3.8's order of these messages, and a leader whose ping thread is not starved
//! for a quarter of the TTL.

use crate::conn::Conn;
use crate::core::Core;
use crate::session::Slot;
use coord_api::{ErrorKind, Result, SessionState, time_asleep};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use zookeeper_client::SessionState as RawState;

/// Touches remembered; four a TTL would do.
const TOUCHES: usize = 64;
/// Suspend shorter than this is the noise of reading two clocks.
const NOISE: Duration = Duration::from_millis(50);

/// What is left of a TTL after the rate error that two clocks may have (1 %).
fn trusted(ttl: Duration) -> Duration {
    ttl * 99 / 100
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

/// A request that touched the session at a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touch {
    pub sent: Instant,
    pub answered: Instant,
    asleep: Duration,
}

impl Touch {
    pub fn since(sent: Instant) -> Touch {
        Touch { sent, answered: Instant::now(), asleep: time_asleep() }
    }

    /// Until when it holds, with suspend counted as elapsed (G4).
    pub fn until(&self, ttl: Duration) -> Instant {
        let slept = time_asleep().saturating_sub(self.asleep);
        let slept = if slept < NOISE { Duration::ZERO } else { slept };
        (self.sent + trusted(ttl)).checked_sub(slept).unwrap_or(self.sent)
    }
}

pub(crate) type Waiter = oneshot::Sender<Result<std::time::Instant>>;

pub(crate) struct Beat {
    pub core: Arc<Core>,
    pub conn: Arc<Conn>,
    pub slot: Slot,
    pub ttl: Duration,
    pub states: watch::Sender<SessionState>,
    pub confirms: mpsc::Receiver<Waiter>,
    pub holds: Arc<Holds>,
    /// True when the session is being closed.
    pub ending: watch::Receiver<bool>,
    /// The newest touch, confirmed or not, and the newest confirmed one.
    pub renewed: Touch,
    pub confirmed: Touch,
    pub touches: VecDeque<Touch>,
}

enum Event {
    End,
    State(RawState),
    Beaten(Result<Vec<Touch>>),
    Confirm(Waiter),
    Held,
    Due,
}

type Running = BoxFuture<'static, Result<Vec<Touch>>>;

impl Beat {
    /// Until the session is closed, dropped or lost, or the thread ends.
    pub async fn run(mut self) {
        let mut waiting: Vec<Waiter> = Vec::new();
        let mut running: Option<(bool, Running)> = None;
        let mut next = Instant::now();
        let mut strict = false;
        let mut raw_states = self.conn.client.state_watcher();
        loop {
            strict &= self.holds.any();
            waiting.retain(|waiter| !waiter.is_closed());
            if running.is_none() && Instant::now() >= next {
                let wanted = !waiting.is_empty() || self.holds.any();
                running = Some((wanted, self.beat(wanted)));
            }
            let look = self.expires(strict).min(Instant::now() + Duration::from_secs(1));
            let event = tokio::select! {
                biased;
                _ = self.ending.wait_for(|ending| *ending) => Event::End,
                state = raw_states.changed() => Event::State(state),
                result = finished(&mut running) => Event::Beaten(result),
                waiter = self.confirms.recv() => waiter.map_or(Event::End, Event::Confirm),
                () = self.holds.bell.notified() => Event::Held,
                () = sleep_until(look) => Event::Due,
                () = sleep_until(next), if running.is_none() => Event::Due,
            };
            match event {
                Event::End => return self.end("on demand", waiting),
                Event::Due if Instant::now() >= self.expires(strict) => {
                    return self.end("unconfirmed for its TTL", waiting);
                }
                Event::Due => {}
                Event::Held => next = Instant::now(),
                Event::State(state) if state.is_terminated() => {
                    tracing::debug!(?state, "ZooKeeper's client has ended");
                    return self.end("by the client's word", waiting);
                }
                Event::State(state) => {
                    self.touches.clear();
                    running = None;
                    next = Instant::now();
                    if state != RawState::SyncConnected {
                        self.publish(false, strict);
                        // Nothing can be sent before the next change.
                        next += self.ttl;
                    }
                }
                Event::Confirm(waiter) => {
                    waiting.push(waiter);
                    next = Instant::now();
                    // What is under way began before the call (S17).
                    if running.as_ref().is_some_and(|(confirmed, _)| *confirmed) {
                        running = None;
                    }
                }
                Event::Beaten(result) => {
                    let confirmed = running.take().is_some_and(|(confirmed, _)| confirmed);
                    next = match result {
                        Ok(touches) => self.take(touches, confirmed, &mut strict, &mut waiting),
                        Err(error) if error.kind == ErrorKind::SessionLost => {
                            return self.end("by the server's word", waiting);
                        }
                        Err(error) => {
                            tracing::debug!(%error, "heartbeat to ZooKeeper failed");
                            self.publish(false, strict);
                            Instant::now() + Duration::from_millis(100)
                        }
                    };
                }
            }
        }
    }

    /// Notes the touches of a finished heartbeat; says when the next one is due.
    fn take(
        &mut self,
        touches: Vec<Touch>,
        confirmed: bool,
        strict: &mut bool,
        waiting: &mut Vec<Waiter>,
    ) -> Instant {
        let Some(first) = touches.first().copied() else { return Instant::now() };
        self.renewed = *touches.last().unwrap_or(&first);
        let settled = self.touches.iter().rev().find(|t| t.answered + self.ttl / 4 <= first.sent);
        if let Some(touch) = settled.filter(|_| confirmed) {
            self.confirmed = *touch;
        }
        self.touches.extend(touches);
        while self.touches.len() > TOUCHES {
            self.touches.pop_front();
        }
        let until = self.confirmed.until(self.ttl);
        let useful = confirmed && until > Instant::now() + self.ttl / 10;
        *strict |= useful && self.holds.any();
        self.publish(true, *strict);
        if useful {
            waiting.drain(..).for_each(|waiter| drop(waiter.send(Ok(until.into_std()))));
        }
        match (useful, confirmed) {
            // Not yet old enough a touch since the last reconnect: soon there is.
            (false, true) => {
                let oldest = self.touches.front().map_or(first.answered, |touch| touch.answered);
                (oldest + self.ttl / 4).max(Instant::now() + Duration::from_millis(20))
            }
            _ => first.sent + self.ttl / 6,
        }
    }

    /// While somebody relies on confirmed heartbeats, no others count.
    fn expires(&self, strict: bool) -> Instant {
        let touch = if strict { self.confirmed } else { self.renewed };
        touch.until(self.ttl).max(self.confirmed.until(self.ttl))
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

    fn beat(&self, confirm: bool) -> Running {
        let (core, conn, ttl) = (self.core.clone(), self.conn.clone(), self.ttl);
        Box::pin(async move {
            let deadline = Instant::now() + ttl / 3;
            if !timeout_at(deadline, conn.connected()).await.map_err(|_| ErrorKind::Timeout)? {
                return Err(ErrorKind::SessionLost.into());
            }
            let sent = Instant::now();
            if !confirm {
                let path = core.link.layout.live(conn.id());
                let reading = async { conn.client.check_stat(&path).await };
                return match Conn::wait(deadline, reading).await {
                    Ok(Ok(_)) => Ok(vec![Touch::since(sent)]),
                    Ok(Err(raw)) => Err(crate::fault::of_read(&raw)),
                    Err(_) => Err(ErrorKind::Timeout.into()),
                };
            }
            conn.tick(&core.link.layout, deadline).await?;
            let first = Touch::since(sent);
            let sent = Instant::now();
            conn.tick(&core.link.layout, deadline).await?;
            Ok(vec![first, Touch::since(sent)])
        })
    }

    /// Over for good, by the server's word, our own clock, or on demand. The client goes with us.
    fn end(self, why: &str, waiting: Vec<Waiter>) {
        tracing::info!(session = self.conn.id(), why, ttl = ?self.ttl, "ZooKeeper session over");
        self.states.send_replace(SessionState::Lost);
        drop(self.slot.lock().take());
        for waiter in waiting {
            drop(waiter.send(Err(ErrorKind::SessionLost.into())));
        }
    }
}

async fn finished(running: &mut Option<(bool, Running)>) -> Result<Vec<Touch>> {
    match running {
        Some((_, running)) => running.await,
        None => std::future::pending().await,
    }
}

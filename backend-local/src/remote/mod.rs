//! A node that is no master: one connection to one of them, and another when that ends.
//!
//! The keeper runs on a thread of its own (S16). It dials all masters, each when the one before has
//! failed or takes long, and takes the first that serves; it learns of new masters from the one it is
//! connected to, and leaves one that has lost its quorum when another has not.

pub mod handle;
mod stream;

use crate::net::Road;
use crate::net::link::Link;
use crate::node::Node;
use crate::secure::{Purpose, Refused};
use crate::talk::{Answer, Ask, Standing};
use crate::wire::CallError;
use coord_api::{Error, ErrorKind, Health, Result, Worker};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long one attempt may take.
const DIAL: Duration = Duration::from_secs(2);
/// Between the attempts of one round, if the earlier one says nothing.
const STAGGER: Duration = Duration::from_millis(150);
/// The same where the order matters.
const STAGGER_FIXED: Duration = Duration::from_secs(1);
/// Between rounds: from the first, doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// Before a call is tried on the next connection.
const RETRY: Duration = Duration::from_millis(5);

/// The way to the masters, shared by the handles of one process.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    worker: Worker,
    /// The master that lives in this process too.
    serving: Mutex<Option<Arc<Node>>>,
}

#[derive(Debug)]
pub struct Shared {
    road: Road,
    state: watch::Sender<State>,
    /// Where masters were last known to be, the best first.
    masters: Mutex<Vec<String>>,
    /// Whether masters that are heard of are masters to go to.
    learns: bool,
    standing: watch::Sender<Standing>,
    health: watch::Sender<Health>,
    /// Counts comings and goings of the connection.
    bell: watch::Sender<u64>,
    over: CancellationToken,
    /// Whether the last round that found no master which serves has found less than half of them.
    too_few: AtomicBool,
}

#[derive(Clone, Debug)]
enum State {
    Connected(Arc<Link>),
    Looking,
    /// Nobody would have us, and why.
    Refused(ErrorKind),
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shared.over.cancel();
    }
}

impl Remote {
    /// Connects to the first of these masters that serves.
    ///
    /// # Errors
    /// Within `limit`: `ClusterReplaced`, `Unauthenticated`, `Unavailable`.
    pub async fn open(road: Road, masters: Vec<String>, limit: Duration) -> Result<Arc<Remote>> {
        Remote::start(road, masters, limit, true).await
    }

    /// The same, and never goes anywhere else.
    ///
    /// # Errors
    /// As [`Remote::open`].
    pub async fn open_fixed(
        road: Road,
        masters: Vec<String>,
        limit: Duration,
    ) -> Result<Arc<Remote>> {
        Remote::start(road, masters, limit, false).await
    }

    async fn start(
        road: Road,
        masters: Vec<String>,
        limit: Duration,
        learns: bool,
    ) -> Result<Arc<Remote>> {
        let worker = Worker::start("coord-remote")
            .map_err(|error| Error::none(ErrorKind::Internal).because(error))?;
        let since = Instant::now();
        let shared = Arc::new(Shared {
            road,
            state: watch::Sender::new(State::Looking),
            masters: Mutex::new(masters),
            learns,
            standing: watch::Sender::default(),
            health: watch::Sender::new(Health::Unreachable { since }),
            bell: watch::Sender::default(),
            over: CancellationToken::new(),
            too_few: AtomicBool::new(false),
        });
        let keeping = shared.clone();
        worker.spawn(async move {
            tokio::select! {
                () = keeping.keep() => {}
                () = keeping.over.cancelled() => {}
            }
            keeping.set(State::Looking);
            keeping.health.send_replace(Health::Closed);
        });
        let remote = Remote { shared, worker, serving: Mutex::new(None) };
        remote.shared.link(since + limit).await?;
        Ok(Arc::new(remote))
    }

    pub fn serving(&self) -> Option<Arc<Node>> {
        self.serving.lock().clone()
    }

    /// Keeps a master of this process while the way to the masters is kept.
    pub fn keep_serving(&self, node: Arc<Node>) {
        *self.serving.lock() = Some(node);
    }

    pub fn close(&self) {
        self.shared.over.cancel();
    }

    pub fn is_closed(&self) -> bool {
        self.shared.over.is_cancelled()
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.worker.spawn(task);
    }
}

impl Shared {
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// What was last heard of the cluster.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    pub fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    pub fn road(&self) -> &Road {
        &self.road
    }

    pub fn cluster(&self) -> coord_api::ClusterId {
        self.road.cluster
    }

    /// Whether it would take masters that were not there when they were last looked for.
    pub fn lacks_masters(&self) -> bool {
        self.too_few.load(Ordering::SeqCst)
    }

    pub fn is_connected(&self) -> bool {
        matches!(&*self.state.borrow(), State::Connected(_))
    }

    /// A connection, waited for until `deadline`.
    ///
    /// # Errors
    /// Effect None.
    pub async fn link(&self, deadline: Instant) -> Result<Arc<Link>> {
        let mut state = self.state.subscribe();
        let found = async {
            loop {
                match &*state.borrow_and_update() {
                    State::Connected(link) => return Ok(link.clone()),
                    State::Refused(kind) => return Err(Error::none(kind.clone())),
                    State::Looking => {}
                }
                if state.changed().await.is_err() {
                    return Err(Error::none(ErrorKind::Closed));
                }
            }
        };
        match tokio::time::timeout_at(deadline.into(), found).await {
            Ok(found) => found,
            Err(_) => Err(Error::none(ErrorKind::Unavailable).because("no master answers")),
        }
    }

    /// Asks a master; `again`: whether an answer that was lost may be asked for once more.
    ///
    /// # Errors
    /// Effect Unknown only without `again`, if the request may have arrived.
    pub async fn ask(
        &self,
        deadline: Instant,
        again: bool,
        ask: impl Fn(u64) -> Ask,
    ) -> Result<Answer> {
        loop {
            let link = self.link(deadline).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = link.call(ask(left.as_millis() as u64), left).await;
            let late = Instant::now() >= deadline;
            let kind = if late { ErrorKind::Timeout } else { ErrorKind::Unavailable };
            match answer {
                Ok(Answer::Refused(refusal)) => return Err(refusal.into()),
                Ok(answer) => return Ok(answer),
                Err(CallError::Lost(why)) if !again => {
                    return Err(Error::unknown(kind).because(why));
                }
                Err(why) if late => return Err(Error::none(kind).because(why)),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    fn set(&self, state: State) {
        self.state.send_replace(state);
        self.bell.send_modify(|count| *count += 1);
    }

    /// Looks for a master, stays with it until it goes, for ever.
    async fn keep(&self) {
        let mut pause = PAUSES.0;
        loop {
            match self.round().await {
                Ok(link) => {
                    pause = PAUSES.0;
                    self.follow(link).await;
                }
                Err(state) => {
                    self.fell_out();
                    self.set(state);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    fn fell_out(&self) {
        self.health.send_if_modified(|health| {
            let news = !matches!(health, Health::Unreachable { .. });
            if news {
                *health = Health::Unreachable { since: Instant::now() };
            }
            news
        });
    }

    /// Stays with this connection, or with a better one, until it ends.
    async fn follow(&self, mut link: Arc<Link>) {
        self.set(State::Connected(link.clone()));
        let mut standing = link.standing();
        loop {
            let now = standing.borrow_and_update().clone();
            self.learn(&link, &now);
            let better = async {
                if now.trouble.is_none() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(self.road.detect).await;
            };
            tokio::select! {
                () = link.over() => break,
                changed = standing.changed() => if changed.is_err() { break },
                () = better => if let Ok(other) = self.round().await
                    && other.standing().borrow().trouble.is_none()
                {
                    link = other;
                    standing = link.standing();
                    self.set(State::Connected(link.clone()));
                },
            }
        }
        link.end();
        self.fell_out();
        self.set(State::Looking);
    }

    /// Takes up what a master says.
    fn learn(&self, link: &Link, now: &Standing) {
        self.health.send_if_modified(|health| {
            let next = match (&now.trouble, &health) {
                (None, Health::Ok) | (Some(_), Health::Degraded { .. }) => return false,
                (None, _) => Health::Ok,
                (Some(why), _) => Health::Degraded { since: Instant::now(), why: why.clone() },
            };
            *health = next;
            true
        });
        let said = now.members.iter().filter(|form| form.voter && self.learns);
        let said: Vec<&str> = said.map(|form| form.member.address.as_str()).collect();
        let mut masters = self.masters.lock();
        // One that is reached by another address than the members' own is kept.
        for address in said.into_iter().filter(|address| !address.is_empty()) {
            if !masters.iter().any(|known| known == address) {
                masters.push(address.to_owned());
            }
        }
        if let Some(at) = masters.iter().position(|known| known == link.address()) {
            masters[..=at].rotate_right(1);
        }
        self.standing.send_replace(now.clone());
    }

    /// The first of the masters that serves; one that lacks its quorum only if there is no other.
    async fn round(&self) -> std::result::Result<Arc<Link>, State> {
        let masters = self.masters.lock().clone();
        let stagger = if self.learns { STAGGER } else { STAGGER_FIXED };
        let dial = async |address: &String| {
            (Link::dial(&self.road, address, Purpose::Client, DIAL).await, address.clone())
        };
        let (mut next, mut dialing) = (masters.iter(), FuturesUnordered::new());
        let (mut second_best, mut reached, mut strangers, mut unproven) = (None, 0, 0, 0);
        loop {
            dialing.extend(next.next().map(dial));
            let (dialed, address) = tokio::select! {
                Some(dialed) = dialing.next() => dialed,
                () = tokio::time::sleep(stagger), if next.len() > 0 => continue,
                else => break,
            };
            match dialed {
                Ok(link) if link.standing().borrow().trouble.is_none() => {
                    return Ok(Arc::new(link));
                }
                Ok(link) => {
                    reached += 1;
                    second_best.get_or_insert_with(|| Arc::new(link));
                }
                Err(Refused::Stranger) => {
                    strangers += 1;
                    if self.road.heir.is_at(&self.road, &address).await {
                        return Err(State::Refused(ErrorKind::ClusterReplaced));
                    }
                }
                Err(Refused::Unproven) => unproven += 1,
                Err(Refused::Io(_) | Refused::Full) => {}
            }
        }
        self.too_few.store(reached * 2 <= masters.len(), Ordering::SeqCst);
        let most = |count: usize| count * 2 > masters.len();
        second_best.ok_or(match () {
            () if most(strangers) => State::Refused(ErrorKind::ClusterReplaced),
            () if most(unproven) => State::Refused(ErrorKind::Unauthenticated),
            () => State::Looking,
        })
    }
}

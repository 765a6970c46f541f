//! What a case is, and what it is given.

use crate::harness::{Fault, Harness, Need, Timing};
use coord_api::{
    Coordinator, CoordinatorExt, Effect, Error, ErrorKind, Key, Prefix, Session, SessionOpts,
    Space, SpaceKind,
};
use parking_lot::Mutex;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// One named claim about every backend.
#[derive(Clone, Copy)]
pub struct Case {
    /// `group::claim`.
    pub name: &'static str,
    /// The statements it proves, e.g. `T3`.
    pub statements: &'static [&'static str],
    pub needs: &'static [Need],
    pub run: fn(Ctx) -> Pin<Box<dyn Future<Output = Verdict> + Send>>,
}

/// How a case ends when no assertion fails.
pub type Verdict = std::result::Result<(), Stop>;

/// Why a case ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Failed(String),
    /// The backend does not claim what the case is about.
    Skipped(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(format!("unexpected error: {error}"))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Failed(why) => f.write_str(why),
            Stop::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

/// Connections are numbered through the whole run, so that no two cases share one.
static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// A case's own namespace, handles, seed and time. Cheap to clone.
#[derive(Clone)]
pub struct Ctx {
    harness: Arc<dyn Harness>,
    ns: Arc<str>,
    faults: Arc<Mutex<Vec<Fault>>>,
    pub timing: Timing,
    pub seed: u64,
}

/// A handle and the number its connection has for faults.
#[derive(Clone, Debug)]
pub struct Client {
    pub c: Arc<dyn Coordinator>,
    pub id: usize,
}

impl std::ops::Deref for Client {
    type Target = dyn Coordinator;

    fn deref(&self) -> &(dyn Coordinator + 'static) {
        &*self.c
    }
}

impl Ctx {
    pub fn new(harness: Arc<dyn Harness>, ns: &str, seed: u64) -> Ctx {
        let timing = harness.timing();
        Ctx { harness, ns: ns.into(), faults: Arc::default(), timing, seed }
    }

    /// A new handle with a connection of its own.
    pub async fn open(&self) -> Result<Client, Error> {
        self.open_in("").await
    }

    /// The same in a namespace whose name is the case's with this at its end.
    pub async fn open_in(&self, suffix: &str) -> Result<Client, Error> {
        let id = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let c = self.harness.connect(&format!("{}{suffix}", self.ns), id).await?;
        Ok(Client { c, id })
    }

    /// A handle and a declared persistent space.
    pub async fn start(&self) -> Result<(Client, Space), Error> {
        let client = self.open().await?;
        let space = persistent(&client, "conf").await?;
        Ok((client, space))
    }

    pub async fn session(&self, client: &Client) -> Result<Arc<dyn Session>, Error> {
        let opts = SessionOpts { ttl: self.timing.ttl, name: "conformance".into() };
        client.session(opts).await
    }

    pub async fn inject(&self, fault: Fault) -> Result<(), Error> {
        self.faults.lock().push(fault.clone());
        self.harness.inject(&fault).await
    }

    /// Stops so many servers that nothing can be agreed on; with all of them, nobody answers.
    pub async fn pause_servers(&self, servers: usize) -> Result<(), Error> {
        for at in 0..servers {
            self.inject(Fault::PauseServer(at)).await?;
        }
        Ok(())
    }

    pub async fn heal(&self) -> Result<(), Error> {
        let faults = std::mem::take(&mut *self.faults.lock());
        for fault in faults {
            self.harness.heal(&fault).await?;
        }
        Ok(())
    }

    /// After the case, whatever its end.
    /// `felt`: everybody has felt the faults, and the next case shall find a cluster that works.
    pub(crate) async fn clean_up(&self, felt: bool) {
        drop(self.heal().await);
        if felt {
            drop(tokio::time::timeout(RECOVERY, self.recovered()).await);
        }
        drop(self.harness.destroy(&self.ns).await);
    }

    async fn recovered(&self) {
        while !self.works().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn works(&self) -> bool {
        let Ok(client) = self.open().await else { return false };
        client.barrier(Some(self.timing.short)).await.is_ok()
    }

    /// The server that leads, if that can be told.
    pub async fn leader(&self) -> Option<usize> {
        self.harness.leader().await
    }

    /// Members of the cluster.
    pub fn servers(&self) -> usize {
        self.harness.hooks().servers.max(1)
    }

    /// The longest time a dead session's keys may stay (S6).
    pub fn death(&self) -> Duration {
        3 * self.timing.ttl + Duration::from_secs(5)
    }

    /// Runs a future that must end promptly.
    pub async fn promptly<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        within(self.timing.short, what, future).await
    }
}

/// Three ZooKeeper servers need a quarter of a minute for a new leader when the old one is silent.
const RECOVERY: Duration = Duration::from_secs(60);

/// How much longer than on a quiet machine everything may take: `CONFORMANCE_SLACK`, else 4. A factor
/// on limits alone, so that it costs nothing but the time of a failing run.
pub(crate) fn slack() -> u32 {
    static SLACK: OnceLock<u32> = OnceLock::new();
    let given = || std::env::var("CONFORMANCE_SLACK").ok()?.parse().ok();
    *SLACK.get_or_init(|| given().unwrap_or(4).max(1))
}

/// Runs a future that must end in time.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let limit = limit * slack();
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Polls a condition until it holds.
pub async fn eventually<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> F,
) {
    let limit = limit * slack();
    let deadline = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn persistent(client: &Client, name: &str) -> Result<Space, Error> {
    let space = Space::new(name)?;
    client.ensure_space(&space, SpaceKind::Persistent).await?;
    Ok(space)
}

pub async fn ephemeral(client: &Client, name: &str) -> Result<Space, Error> {
    let space = Space::new(name)?;
    client.ensure_space(&space, SpaceKind::Ephemeral).await?;
    Ok(space)
}

pub fn key(space: &Space, name: &str) -> Key {
    Key::new(space, name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn prefix(space: &Space, name: &str) -> Prefix {
    Prefix::new(space, name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The call must be refused with this kind and certainly without effect.
pub fn refused<T: fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) {
    match result {
        Err(error) => assert_eq!((error.kind, error.effect), (kind, Effect::None)),
        Ok(value) => panic!("{kind:?} expected, not {value:?}"),
    }
}

/// A namespace of its own for each run of each case: lower-case letters, digits and dashes.
pub(crate) fn namespace(case: &Case) -> String {
    let tail = uuid::Uuid::new_v4().simple().to_string();
    let name: String =
        case.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{name}-{}", &tail[..8])
}

/// Declares a group's cases: `[statements] needs [hooks] fn claim(cx) { ... }`.
macro_rules! cases {
    ($group:ident; $(
        $(#[$doc:meta])*
        [$($statement:ident)*] $(needs [$($need:ident)*])? fn $name:ident($cx:ident) $body:block
    )*) => {
        $(
            $(#[$doc])*
            async fn $name($cx: $crate::case::Ctx) -> $crate::case::Verdict {
                $body
                Ok(())
            }
        )*
        pub(crate) const CASES: &[$crate::case::Case] = &[$(
            $crate::case::Case {
                name: concat!(stringify!($group), "::", stringify!($name)),
                statements: &[$(stringify!($statement)),*],
                needs: &[$($($crate::harness::Need::$need),*)?],
                run: |cx| Box::pin($name(cx)),
            }
        ),*];
    };
}
pub(crate) use cases;

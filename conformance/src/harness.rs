//! What a backend's author supplies: a way to connect, and whatever faults can be done to it.
//!
//! Only `name` and `connect` are needed. A case whose hook is missing is reported as skipped with
//! that reason, and no backend is conformant with a skipped core case.

use async_trait::async_trait;
use coord_api::{Coordinator, Error, ErrorKind, Result, SessionId};
use std::sync::Arc;
use std::time::Duration;

/// Something done to servers or to one client's connections. Ended by [`Harness::heal`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// SIGKILL; `heal` starts it again on the same data.
    KillServer(usize),
    /// SIGSTOP; `heal` continues it.
    PauseServer(usize),
    /// Servers in different sets cannot talk.
    PartitionServers(Vec<Vec<usize>>),
    /// Reset every connection of that client and refuse new ones until `heal`.
    CutClient(usize),
    /// Keep the connections, drop every byte.
    BlackholeClient(usize),
    /// Requests pass, answers are lost.
    DropReplies(usize),
    DelayClient(usize, Duration),
    /// The client reaches this server only.
    PinClient(usize, usize),
    /// The server ends the session now. Needs no `heal`.
    SessionExpiry(SessionId),
    /// Drop all history before the current revision. Needs no `heal`.
    Compact,
    /// Milliseconds, wall clock of one server.
    ClockStep(usize, i64),
    /// Same address, other cluster id. Cannot be healed.
    WipeCluster,
}

/// Which faults a harness can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks {
    /// Members of the cluster; 0 is taken as 1.
    pub servers: usize,
    pub kill: bool,
    pub pause: bool,
    pub partition: bool,
    /// Cut, black hole, dropped replies, delay and pinning of one client.
    pub proxy: bool,
    pub expire: bool,
    pub compact: bool,
    pub clock: bool,
    pub wipe: bool,
}

/// What time means for a backend on this machine. Cases wait for events, so generous values cost
/// nothing but the time of a failing run.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// "Promptly".
    pub short: Duration,
    /// TTL of the suite's sessions.
    pub ttl: Duration,
    /// How soon a silent connection must be noticed, as given to `OpenOpts::detect`.
    pub detect: Duration,
    /// Request timeout the harness opens its handles with.
    pub request: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            short: Duration::from_secs(2),
            ttl: Duration::from_secs(6),
            detect: Duration::from_secs(3),
            request: Duration::from_secs(10),
        }
    }
}

/// One backend under test.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn hooks(&self) -> Hooks {
        Hooks::default()
    }

    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// A new independent handle on the empty namespace `ns`; `client` selects the connection that
    /// faults act on.
    async fn connect(&self, ns: &str, client: usize) -> Result<Arc<dyn Coordinator>>;

    /// The server that leads, if that can be told; cases that want it try every server otherwise.
    async fn leader(&self) -> Option<usize> {
        None
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        Err(Error::none(ErrorKind::Unsupported("this fault")).because(format!("{fault:?}")))
    }

    /// Ends a fault that was injected.
    async fn heal(&self, _fault: &Fault) -> Result<()> {
        Ok(())
    }

    /// Forgets a namespace after its case.
    async fn destroy(&self, _ns: &str) -> Result<()> {
        Ok(())
    }
}

/// What a case cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Proxy,
    Kill,
    Pause,
    Partition,
    Expire,
    Compact,
    Clock,
    Wipe,
    ThreeServers,
    /// It keeps the whole service busy, which would make others late.
    Alone,
}

impl Need {
    pub fn met_by(self, hooks: &Hooks) -> bool {
        match self {
            Need::Proxy => hooks.proxy,
            Need::Kill => hooks.kill,
            Need::Pause => hooks.pause,
            Need::Partition => hooks.partition,
            Need::Expire => hooks.expire,
            Need::Compact => hooks.compact,
            Need::Clock => hooks.clock,
            Need::Wipe => hooks.wipe,
            Need::ThreeServers => hooks.servers >= 3,
            Need::Alone => true,
        }
    }

    /// What a harness without it has to say.
    pub fn lacking(self) -> &'static str {
        match self {
            Need::Proxy => "no hook on a client's connections (proxy)",
            Need::Kill => "no hook to kill servers (kill)",
            Need::Pause => "no hook to stop servers (pause)",
            Need::Partition => "no hook on the network between servers (partition)",
            Need::Expire => "no hook to end a session (expire)",
            Need::Compact => "no history that could be dropped, or no hook to drop it (compact)",
            Need::Clock => "no hook on a server's own clock (clock)",
            Need::Wipe => "no hook to replace the cluster (wipe)",
            Need::ThreeServers => "fewer than three servers",
            Need::Alone => "",
        }
    }

    /// Felt by every client of the cluster, so the case runs alone.
    pub fn is_global(self) -> bool {
        !matches!(self, Need::Proxy | Need::Expire | Need::ThreeServers)
    }
}

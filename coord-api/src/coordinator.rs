//! The kernel: what every backend gives, and the small conveniences over it.
//!
//! The trait has no defaults, so that a wrapper cannot forget a method; what can be said in its
//! own terms is in [`CoordinatorExt`].

use crate::entry::{Entry, ReadOpts, Revision, Snapshot};
use crate::names::{Key, Prefix, Space, SpaceKind};
use crate::session::{Session, SessionOpts};
use crate::txn::{Txn, TxnOutcome};
use crate::watch::{WatchEvent, WatchOpts};
use crate::{BoxStream, Result};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One handle on one namespace of one cluster.
///
/// Every method may be called from any number of tasks (G1), ends within its timeout (G2), and
/// gives `Closed` after [`Coordinator::close`] (G5). A future that is never polled has no effect
/// (C1); dropping a polled write leaves that one call's outcome unknown and nothing else (C2).
#[async_trait]
pub trait Coordinator: Send + Sync + fmt::Debug + 'static {
    /// What this is. Never blocks.
    fn info(&self) -> Info;

    /// The present health and all to come; never blocks (H1). `Closed` is the last.
    fn health(&self) -> watch::Receiver<Health>;

    /// Declares a space; repeating it is harmless, also in parallel (K5).
    ///
    /// # Errors
    /// `WrongSpaceKind` if it exists with the other kind.
    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()>;

    /// The keys that exist among these, in key order, all as of one revision (R5, R6).
    ///
    /// Without keys it still gives a revision: linearizable, that is a barrier.
    ///
    /// # Errors
    /// Effect None always (X4). `FutureRevision`, `UnknownSpace`, `Timeout`, `Unavailable`, ...
    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot>;

    /// Up to `limit` keys of the prefix after `after`, and whether there are more. Each page is
    /// one state, two pages need not be the same one (R9). `usize::MAX`: all of them.
    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)>;

    /// All operations at one revision, or none (T1-T14).
    ///
    /// # Errors
    /// Effect None: certainly nothing was written. Effect Unknown: find out through
    /// receipts, never by repeating (X3).
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome>;

    /// Starts at once and reports everything, errors too, as events (W1-W22).
    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent>;

    /// Completes once the servers know the session (S1).
    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>>;

    /// Ends everything the handle has started (G3, G5). Sessions end too.
    async fn close(&self) -> Result<()>;
}

/// What a cluster and its backend are, for decisions, status pages and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The scheme of its URL.
    pub backend: &'static str,
    /// The same for all handles of one cluster, for ever (G6).
    pub cluster_id: ClusterId,
    pub server_version: String,
    /// As far as known; may be empty while disconnected.
    pub members: Vec<Member>,
    pub limits: Limits,
    pub caps: Caps,
}

impl Info {
    /// Of a service that has not answered: nothing is known but what it is called, and the contract.
    pub fn unknown(backend: &'static str) -> Info {
        Info {
            backend,
            cluster_id: ClusterId([0; 16]),
            server_version: String::new(),
            members: Vec::new(),
            limits: Limits::CONTRACT,
            caps: Caps::default(),
        }
    }
}

/// One server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name or address, as an administrator would write it.
    pub name: String,
    /// `None` where it cannot be told.
    pub leader: Option<bool>,
}

/// Drawn once per cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// Sizes in bytes, counts in pieces; enforced before sending (T12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub value: usize,
    pub txn_compares: usize,
    pub txn_ops: usize,
    /// Names and values of one transaction, as [`Txn::bytes`] counts them.
    pub txn_bytes: usize,
    /// Least and greatest TTL a session gets.
    pub ttl: (Duration, Duration),
}

impl Limits {
    /// The contract, the same for all backends; only the TTL may be narrower or wider.
    pub const CONTRACT: Limits = Limits {
        value: 512 << 10,
        txn_compares: 100,
        txn_ops: 100,
        txn_bytes: 768 << 10,
        ttl: (Duration::from_secs(4), Duration::from_secs(40)),
    };
}

/// What a backend gives beyond the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Every revision that touches a watched prefix comes as its own `Changes` (W22).
    pub full_history: bool,
    /// `confirm` bounds what other clients can see (S11).
    pub strict_validity: bool,
    /// `Conflict` names a compare (T9).
    pub exact_conflict: bool,
    /// `start_after` can be honoured by a new handle.
    pub resume_after_restart: bool,
    /// Watches are pushed, not polled.
    pub native_watch: bool,
    /// Sessions are ended by the servers, not by other clients.
    pub native_sessions: bool,
}

/// How the cluster looks from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// A server answers but linearizable reads fail (H2).
    Degraded {
        since: Instant,
        why: String,
    },
    Unreachable {
        since: Instant,
    },
    Closed,
}

/// Conveniences in terms of the kernel; implemented for every [`Coordinator`].
#[async_trait]
pub trait CoordinatorExt: Coordinator {
    /// One key, and the revision at which that was so (R1).
    async fn get(&self, key: &Key, opts: ReadOpts) -> Result<(Option<Entry>, Revision)> {
        let mut found = self.get_many(std::slice::from_ref(key), opts).await?;
        Ok((found.entries.pop(), found.revision))
    }

    /// All keys of a prefix as of one revision (R5).
    async fn list(&self, prefix: &Prefix, opts: ReadOpts) -> Result<Snapshot> {
        Ok(self.list_page(prefix, None, usize::MAX, opts).await?.0)
    }

    /// A revision not older than any transaction that completed before the call.
    async fn barrier(&self, timeout: Option<Duration>) -> Result<Revision> {
        let opts = ReadOpts { timeout, ..ReadOpts::default() };
        Ok(self.get_many(&[], opts).await?.revision)
    }
}

impl<C: Coordinator + ?Sized> CoordinatorExt for C {}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// Both traits are used as objects everywhere; this fails to compile if that is lost.
const _: fn(&dyn Coordinator, &dyn Session, &dyn crate::Backend) = |_, _, _| {};

//! `mem://`: the reference implementation of the Coordinator's semantics, inside one process.
//!
//! It is the model other backends are compared with, and the coordinator of tests that run
//! several daemons in one process: nothing is written to disk, everything else is real (TTLs,
//! losses, unknown outcomes). Faults are methods of [`Mem`].
//!
//! URL: `mem://CLUSTER[/NAMESPACE][?client=N][&bug=NAME][&resume=no]`. All handles of one process
//! that name the same cluster share it; `client` selects the connection that faults act on.

mod bug;
mod faults;
mod handle;
mod server;
mod sessions;
mod store;
mod wires;

pub use bug::Bug;
pub use faults::TxnFault;

use crate::coordinator::Coordinator;
use crate::error::{Error, ErrorKind};
use crate::{Backend, OpenOpts, Result};
use async_trait::async_trait;
use parking_lot::Mutex;
use server::Cluster;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Clusters by name; like servers they outlive their clients, until [`Mem::forget`].
static CLUSTERS: Mutex<Option<HashMap<String, Mem>>> = Mutex::new(None);
/// Connections that no test has numbered.
static NEXT_CLIENT: AtomicUsize = AtomicUsize::new(1 << 32);

/// One in-memory cluster. Clones are the same cluster.
#[derive(Clone, Debug)]
pub struct Mem {
    cluster: Arc<Cluster>,
}

impl Default for Mem {
    fn default() -> Mem {
        Mem::new()
    }
}

impl Mem {
    /// A cluster nobody else knows.
    pub fn new() -> Mem {
        Mem { cluster: Cluster::new(None, false) }
    }

    /// A cluster with one known defect, to measure a test suite by.
    pub fn with_bug(bug: Bug) -> Mem {
        Mem { cluster: Cluster::new(Some(bug), false) }
    }

    /// A cluster whose watches always come back by snapshot, never by resumption.
    pub fn without_history() -> Mem {
        Mem { cluster: Cluster::new(None, true) }
    }

    /// The cluster of that name in this process, made on first use.
    pub fn named(name: &str) -> Mem {
        Mem::named_or(name, Mem::new)
    }

    fn named_or(name: &str, make: impl FnOnce() -> Mem) -> Mem {
        let mut clusters = CLUSTERS.lock();
        clusters.get_or_insert_default().entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// Forgets a named cluster; open handles keep it until they are dropped.
    pub fn forget(name: &str) {
        if let Some(clusters) = CLUSTERS.lock().as_mut() {
            clusters.remove(name);
        }
    }

    /// A new independent handle. `client` selects the connection that faults act on; handles with
    /// the same number share it.
    pub fn open(&self, namespace: &str, client: usize, opts: &OpenOpts) -> Arc<dyn Coordinator> {
        Arc::new(handle::Handle::open(&self.cluster, namespace, client, opts))
    }

    /// A handle with a connection of its own and default options.
    pub fn connect(&self, namespace: &str) -> Arc<dyn Coordinator> {
        self.open(namespace, NEXT_CLIENT.fetch_add(1, Ordering::Relaxed), &OpenOpts::default())
    }
}

/// The door: `mem://`.
pub struct MemBackend;

#[async_trait]
impl Backend for MemBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["mem"]
    }

    async fn open(&self, url: &str, opts: OpenOpts) -> Result<Arc<dyn Coordinator>> {
        let place = Place::parse(url)?;
        let (bug, never_resume) = (place.bug, !place.resume);
        let mem = Mem::named_or(place.cluster, || Mem { cluster: Cluster::new(bug, never_resume) });
        let found = mem.cluster.state.lock().cluster_id;
        if opts.expect_cluster.is_some_and(|expected| expected != found) {
            return Err(ErrorKind::ClusterReplaced.into());
        }
        let client = place.client.unwrap_or_else(|| NEXT_CLIENT.fetch_add(1, Ordering::Relaxed));
        if mem.is_cut(client) {
            return Err(ErrorKind::Unavailable.into());
        }
        Ok(mem.open(place.namespace, client, &opts))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    cluster: &'a str,
    namespace: &'a str,
    client: Option<usize>,
    bug: Option<Bug>,
    resume: bool,
}

impl Place<'_> {
    fn parse(url: &str) -> Result<Place<'_>> {
        let bad = |what: &'static str| Error::none(ErrorKind::Unsupported(what));
        let rest = url.strip_prefix("mem://").ok_or_else(|| bad("a URL is mem://CLUSTER"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (cluster, namespace) = path.split_once('/').unwrap_or((path, ""));
        if cluster.is_empty() {
            return Err(bad("a URL is mem://CLUSTER"));
        }
        let mut place = Place { cluster, namespace, client: None, bug: None, resume: true };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("client", n)) => {
                    place.client = Some(n.parse().map_err(|_| bad("client is a number"))?);
                }
                Some(("bug", name)) => {
                    place.bug = Some(Bug::named(name).ok_or_else(|| bad("no such bug"))?);
                }
                Some(("resume", "no")) => place.resume = false,
                _ => return Err(bad("parameters are client=, bug= and resume=no")),
            }
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_cluster_namespace_and_switches() {
        let check = |url, cluster, namespace, client, bug| {
            let resume = !str::contains(url, "resume=no");
            let expected = Place { cluster, namespace, client, bug, resume };
            assert_eq!(Place::parse(url), Ok(expected));
        };
        check("mem://a", "a", "", None, None);
        check("mem://a/b/c?client=3", "a", "b/c", Some(3), None);
        check("mem://a?bug=aba&resume=no", "a", "", None, Some(Bug::Aba));
        for bad in ["etcd://a", "mem://", "mem://a?bug=none", "mem://a?client=x", "mem://a?b"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    /// One handle writes, another watches through a cut, a session's key goes with it. The rest
    /// is the conformance suite's.
    #[tokio::test]
    async fn a_change_and_a_sessions_end_arrive_through_a_cut() {
        use crate::*;
        use futures_util::StreamExt;
        use std::time::Duration;

        let mem = Mem::new();
        let (a, b) = (mem.connect("x"), mem.open("x", 7, &OpenOpts::default()));
        let space = Space::new("alive").unwrap();
        a.ensure_space(&space, SpaceKind::Ephemeral).await.unwrap();
        let opts = SessionOpts { ttl: Duration::from_millis(100), name: "t".into() };
        let session = a.session(opts).await.unwrap();
        let key = Key::ephemeral(&space, "n", session.id(), 0).unwrap();
        let mut events = b.watch(Prefix::all(&space), WatchOpts::default());
        let mut words = Vec::new();
        for step in 0..6 {
            match step {
                2 => mem.cut(7),
                3 => {
                    session.txn(Txn::new().put_ephemeral(&key, "v")).await.unwrap();
                    mem.heal();
                }
                5 => mem.expire(session.id()),
                _ => {}
            }
            let next = tokio::time::timeout(Duration::from_secs(5), events.next());
            words.push(match next.await.unwrap().unwrap() {
                WatchEvent::Snapshot { .. } => "snapshot",
                WatchEvent::Synced { resumed: false, .. } => "synced",
                WatchEvent::Synced { .. } => "resumed",
                WatchEvent::Changes { changes, .. } => match &changes[0] {
                    Change::Put(_) => "put",
                    Change::Delete { .. } => "delete",
                },
                WatchEvent::Lost { .. } => "lost",
                _ => "other",
            });
        }
        assert_eq!(words, ["snapshot", "synced", "lost", "resumed", "put", "delete"]);
        assert!(session.state().borrow().is_lost());
        let refused = session.txn(Txn::new().put_ephemeral(&key, "v")).await.unwrap_err();
        assert_eq!(refused, Error::none(ErrorKind::SessionLost));
        let left = b.list(&Prefix::all(&space), ReadOpts::default()).await.unwrap();
        assert_eq!(left.entries, []);
    }
}

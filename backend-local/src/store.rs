//! Opening: one member per directory and process, any number of handles on it.

use crate::config::LocalConfig;
use crate::disk::Faults;
use crate::handle::LocalHandle;
use crate::node::Node;
use crate::remote::Remote;
use crate::remote::handle::RemoteHandle;
use crate::{opening, tend};
use async_trait::async_trait;
use coord_api::{Backend, ClusterId, Coordinator, Error, ErrorKind, OpenOpts, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;
use tokio_util::sync::DropGuard;

/// What this process runs, by directory.
static OPEN: LazyLock<tokio::sync::Mutex<HashMap<PathBuf, WeakPart>>> =
    LazyLock::new(tokio::sync::Mutex::default);

/// The backend behind `local:` URLs.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalBackend;

/// A node's part in its store: all of it while the node is alone, a client of the masters and
/// perhaps one of them in a pool of several. Handles outlive it; what a pool needs done
/// meanwhile (who is a master, where they are) is done while this value lives.
#[derive(Clone, Debug)]
pub struct LocalStore {
    pub(crate) part: Part,
    pub(crate) config: Arc<LocalConfig>,
    pub(crate) tending: Arc<std::sync::OnceLock<DropGuard>>,
}

/// How handles reach the store.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// In this process: a node that is, or was when opened, alone.
    Member(Arc<Node>),
    /// Over the network, whether this process has a master too or not.
    Client(Arc<Remote>),
}

#[derive(Debug)]
enum WeakPart {
    Member(Weak<Node>),
    Client(Weak<Remote>),
}

impl WeakPart {
    fn upgrade(&self) -> Option<Part> {
        match self {
            WeakPart::Member(node) => {
                node.upgrade().filter(|node| !node.is_stopping()).map(Part::Member)
            }
            WeakPart::Client(remote) => {
                remote.upgrade().filter(|remote| !remote.is_closed()).map(Part::Client)
            }
        }
    }
}

impl Part {
    fn downgrade(&self) -> WeakPart {
        match self {
            Part::Member(node) => WeakPart::Member(Arc::downgrade(node)),
            Part::Client(remote) => WeakPart::Client(Arc::downgrade(remote)),
        }
    }

    fn cluster(&self) -> ClusterId {
        match self {
            Part::Member(node) => node.identity.cluster_id(),
            Part::Client(remote) => remote.shared().cluster(),
        }
    }
}

impl LocalStore {
    /// Opens the directory, or joins what this process already runs on it.
    ///
    /// # Errors
    /// `Unavailable` while another process has the directory, or no master of its pool answers;
    /// `Corrupt`; `StorageFull`; `ClusterReplaced` if it holds another cluster than
    /// `open.expect_cluster`.
    pub async fn open(config: &LocalConfig) -> Result<LocalStore> {
        let mut open = OPEN.lock().await;
        open.retain(|_, part| part.upgrade().is_some());
        let path = std::path::absolute(&config.dir).unwrap_or_else(|_| config.dir.clone());
        let part = match open.get(&path).and_then(WeakPart::upgrade) {
            Some(part) => part,
            None => {
                let part = opening::part(config).await?;
                open.insert(path, part.downgrade());
                part
            }
        };
        drop(open);
        let expected = config.open.expect_cluster;
        if expected.is_some_and(|expected| expected != part.cluster()) {
            return Err(Error::none(ErrorKind::ClusterReplaced));
        }
        let store = LocalStore { part, config: Arc::new(config.clone()), tending: Arc::default() };
        if config.listen.is_some() {
            tend::start(&store);
        }
        Ok(store)
    }

    /// A new handle, independent of all others.
    pub fn handle(&self) -> Arc<dyn Coordinator> {
        match &self.part {
            Part::Member(node) => Arc::new(LocalHandle::new(node.clone(), &self.config.open)),
            Part::Client(remote) => Arc::new(RemoteHandle::new(remote.clone(), &self.config.open)),
        }
    }

    /// The master of this process, if it has one.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        match &self.part {
            Part::Member(node) => Some(node.clone()),
            Part::Client(remote) => remote.serving(),
        }
    }

    /// Stops everything and lets the directory go, handles or not.
    pub async fn shut_down(&self) {
        let node = self.node();
        if let Part::Client(remote) = &self.part {
            remote.close();
        }
        let Some(node) = node else { return };
        node.shut_down().await;
        if let Some(thread) = node.take_log_thread() {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            tokio::time::timeout(Duration::from_secs(5), joined).await.ok();
        }
    }

    /// Takes a snapshot now, as is otherwise done each so many entries.
    ///
    /// # Errors
    /// `Unavailable` if the member has stopped.
    pub async fn snapshot(&self) -> Result<()> {
        match self.node() {
            Some(node) => node.snapshot().await,
            None => Ok(()),
        }
    }

    /// Forgets the history of changes; for tests.
    #[doc(hidden)]
    pub fn compact(&self) {
        if let Some(node) = self.node() {
            let mut state = node.shared.state.write();
            let now = state.applied;
            state.history.compact(now);
        }
    }

    /// Another client of the same pool that reaches its masters under these addresses only, and
    /// learns of no others; for tests.
    ///
    /// # Errors
    /// As [`LocalStore::open`]; `Unsupported` for a store that is alone.
    #[doc(hidden)]
    pub async fn client_through(
        &self,
        masters: Vec<String>,
        opts: &OpenOpts,
    ) -> Result<Arc<dyn Coordinator>> {
        let Part::Client(remote) = &self.part else {
            return Err(Error::none(ErrorKind::Unsupported("clients of a store that is alone")));
        };
        let road = crate::net::Road { detect: opts.detect, ..remote.shared().road().clone() };
        let remote = Remote::open_fixed(road, masters, opts.connect_timeout).await?;
        Ok(Arc::new(RemoteHandle::new(remote, opts)))
    }

    /// Damages the disk; for tests.
    #[doc(hidden)]
    pub fn inject(&self, faults: Faults) {
        if let Some(node) = self.node() {
            node.disk.inject(faults);
        }
    }

    /// Ends a session as if its holder had been silent; for tests.
    ///
    /// # Errors
    /// Those of a write.
    #[doc(hidden)]
    pub async fn expire(&self, session: coord_api::SessionId) -> Result<()> {
        let deadline = std::time::Instant::now() + self.config.open.request_timeout;
        match &self.part {
            Part::Member(node) => {
                let end = crate::command::Command::CloseSession { id: session.0 };
                node.propose(end, deadline).await.map(drop)
            }
            Part::Client(remote) => {
                let handle = RemoteHandle::new(remote.clone(), &self.config.open);
                handle.end(session.0, deadline).await
            }
        }
    }
}

#[async_trait]
impl Backend for LocalBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["local"]
    }

    async fn open(&self, url: &str, opts: OpenOpts) -> Result<Arc<dyn Coordinator>> {
        let config = LocalConfig { open: opts, ..LocalConfig::parse(url)? };
        let opening = LocalStore::open(&config);
        match tokio::time::timeout(config.open.connect_timeout, opening).await {
            Ok(store) => Ok(store?.handle()),
            Err(_) => Err(Error::none(ErrorKind::Timeout)
                .because(format!("opening {}", Path::display(&config.dir)))),
        }
    }
}

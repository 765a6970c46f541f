//! Opening: one member per directory and process, any number of handles on it.

use crate::config::LocalConfig;
use crate::disk::Faults;
use crate::handle::LocalHandle;
use crate::node::Node;
use crate::raft::Member;
use crate::wire::{CallError, Lane, PeerReply, PeerRequest, Transport};
use async_trait::async_trait;
use coord_api::{Backend, Coordinator, Error, ErrorKind, OpenOpts, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

/// The members this process runs, by directory.
static OPEN: LazyLock<tokio::sync::Mutex<HashMap<PathBuf, Weak<Node>>>> =
    LazyLock::new(tokio::sync::Mutex::default);

/// The backend behind `local:` URLs.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalBackend;

/// The member of one directory; lives until it and all handles on it are gone.
#[derive(Clone, Debug)]
pub struct LocalStore {
    node: Arc<Node>,
    opts: OpenOpts,
}

impl LocalStore {
    /// Opens the directory, or joins the member this process already runs on it.
    ///
    /// # Errors
    /// `Unavailable` while another process has the directory; `Corrupt`; `StorageFull`;
    /// `ClusterReplaced` if it holds another cluster than `open.expect_cluster`.
    pub async fn open(config: &LocalConfig) -> Result<LocalStore> {
        let mut open = OPEN.lock().await;
        open.retain(|_, node| node.strong_count() > 0);
        let path = std::path::absolute(&config.dir).unwrap_or_else(|_| config.dir.clone());
        let running = open.get(&path).and_then(Weak::upgrade).filter(|node| !node.is_stopping());
        let node = match running {
            Some(node) => node,
            None => {
                let node = Node::open(config, Arc::new(Nobody)).await?;
                open.insert(path, Arc::downgrade(&node));
                node
            }
        };
        let expected = config.open.expect_cluster;
        if expected.is_some_and(|expected| expected != node.identity.cluster_id()) {
            return Err(Error::none(ErrorKind::ClusterReplaced));
        }
        Ok(LocalStore { node, opts: config.open.clone() })
    }

    /// A new handle, independent of all others.
    pub fn handle(&self) -> Arc<dyn Coordinator> {
        Arc::new(LocalHandle::new(self.node.clone(), &self.opts))
    }

    /// Stops the member and lets the directory go, handles or not.
    pub async fn shut_down(&self) {
        self.node.shut_down().await;
        if let Some(thread) = self.node.take_log_thread() {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            tokio::time::timeout(Duration::from_secs(5), joined).await.ok();
        }
    }

    /// Takes a snapshot now, as is otherwise done each so many entries.
    ///
    /// # Errors
    /// `Unavailable` if the member has stopped.
    pub async fn snapshot(&self) -> Result<()> {
        self.node.snapshot().await
    }

    /// Forgets the history of changes; for tests.
    #[doc(hidden)]
    pub fn compact(&self) {
        let mut state = self.node.shared.state.write();
        let now = state.applied;
        state.history.compact(now);
    }

    /// Damages the disk; for tests.
    #[doc(hidden)]
    pub fn inject(&self, faults: Faults) {
        self.node.disk.inject(faults);
    }

    /// Ends a session as if its holder had been silent; for tests.
    ///
    /// # Errors
    /// Those of a write.
    #[doc(hidden)]
    pub async fn expire(&self, session: coord_api::SessionId) -> Result<()> {
        let deadline = std::time::Instant::now() + self.opts.request_timeout;
        let epoch = self.node.shared.state.read().session(session.0).map(|s| s.epoch);
        let Some(epoch) = epoch else { return Ok(()) };
        let end = crate::command::Command::Expire { sessions: vec![(session.0, epoch)] };
        self.node.propose(end, deadline).await.map(drop)
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

/// The transport of a member that is alone.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Transport for Nobody {
    async fn call(
        &self,
        _to: u64,
        _member: &Member,
        _lane: Lane,
        _request: PeerRequest,
        _timeout: Duration,
    ) -> std::result::Result<PeerReply, CallError> {
        Err(CallError::NotSent("this member has no others".into()))
    }
}

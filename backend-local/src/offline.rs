//! A directory's data for a command, while no daemon runs.
//!
//! A store that is alone is opened as it is, for reading and writing. Of a store of several nodes
//! there is a copy of what this node has, for reading: changing it takes a quorum, or `forced.rs`.

use crate::config::LocalConfig;
use crate::forced::{self, Old};
use crate::handle::LocalHandle;
use crate::net::mesh::Mesh;
use crate::node::{Node, storage};
use crate::opening;
use crate::pool::Pool;
use crate::store::LocalStore;
use async_trait::async_trait;
use coord_api::{
    BoxStream, Coordinator, Error, ErrorKind, Health, Info, Key, Prefix, ReadOpts, Result, Session,
    SessionOpts, Snapshot, Space, SpaceKind, Txn, TxnOutcome, WatchEvent, WatchOpts,
};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

const COPY: &str = "offline";

/// A handle on what the directory has. Closing it lets the directory go.
///
/// # Errors
/// Those of [`LocalStore::open`]; `Unsupported` for a node that keeps no data of its store.
pub async fn offline(config: &LocalConfig) -> Result<Arc<dyn Coordinator>> {
    let config = LocalConfig { listen: None, ..config.clone() };
    opening::go_over(&config).await?;
    if Pool::read(&config.dir).map_err(storage)?.is_none() {
        return Ok(LocalStore::open(&config).await?.handle());
    }
    let (lock, old) = forced::read(&config).await?;
    if old.is_sole() {
        drop((lock, old));
        let node = Node::open(&config, Arc::new(Mesh::default())).await?;
        return Ok(Arc::new(LocalHandle::new(node, &config.open)));
    }
    let folder = config.dir.join(COPY);
    let copy = copy(&folder, lock, old).await.map_err(storage);
    let copy = LocalConfig { dir: copy?, ..config };
    let node = Node::open(&copy, Arc::new(Mesh::default())).await?;
    let inner = LocalHandle::new(node.clone(), &copy.open);
    Ok(Arc::new(Reading { inner, node, folder }))
}

async fn copy(folder: &PathBuf, lock: std::fs::File, old: Old) -> std::io::Result<PathBuf> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir(folder)?,
    }
    let (me, index) = (old.me(), old.content.state.applied);
    forced::settle(folder, Arc::new(lock), old.content, old.vote, me, index).await?;
    Ok(folder.clone())
}

/// What is read and never written.
#[derive(Debug)]
struct Reading {
    inner: LocalHandle,
    node: Arc<Node>,
    folder: PathBuf,
}

fn refused<T>() -> Result<T> {
    Err(Error::none(ErrorKind::PermissionDenied).because(
        "this node's store is one of several nodes: it is changed through their daemons, or, if \
         most of them are lost, after this one was forced to go on alone",
    ))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Coordinator for Reading {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        self.inner.ensure_space(space, kind).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        self.inner.get_many(keys, opts).await
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        self.inner.list_page(prefix, after, limit, opts).await
    }

    async fn txn(&self, _: Txn) -> Result<TxnOutcome> {
        refused()
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        self.inner.watch(prefix, opts)
    }

    async fn session(&self, _: SessionOpts) -> Result<Arc<dyn Session>> {
        refused()
    }

    async fn close(&self) -> Result<()> {
        let closed = self.inner.close().await;
        self.node.shut_down().await;
        closed
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // One left over is removed by the next command.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

//! What a directory makes of the node that opens it, and how a node becomes a master.
//!
//! | the directory has | the node is |
//! |---|---|
//! | nothing | the founder of a store, alone |
//! | `store.redb`, no masters elsewhere in `pool` | alone, or the founder |
//! | `store.redb` and masters elsewhere | a master, and a client of all of them |
//! | `pool` alone | a client |
//!
//! A master of several uses the store through the network as everybody does, so that its handles
//! do not depend on its remaining one.

use crate::config::LocalConfig;
use crate::exchange;
use crate::heir::Heir;
use crate::layout::Layout;
use crate::net::Road;
use crate::net::door::{Door, Keys};
use crate::net::mesh::Mesh;
use crate::node::{Node, storage};
use crate::pool::Pool;
use crate::remote::Remote;
use crate::secure::Secret;
use crate::store::Part;
use coord_api::{ClusterId, Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

/// Empty; there in the directory of a node that was invited.
pub const JOINED: &str = "joined";

/// Brings up whatever the directory says this node is.
///
/// # Errors
/// Those of [`crate::LocalStore::open`].
pub async fn part(config: &LocalConfig) -> Result<Part> {
    go_over(config).await?;
    let heir = Heir::new(config.dir.clone());
    let Some(pool) = pool(config)? else {
        return Ok(Part::Member(alone(config, heir).await?));
    };
    let has_store = Layout::new(&config.dir).store().exists();
    let node = if has_store { Some(master(config, &pool, &heir).await?) } else { None };
    let mut masters = pool.masters.clone();
    if let Some(door) = node.as_ref().and_then(|node| node.door()) {
        let own = address(config, door);
        masters.retain(|at| *at != own);
        masters.insert(0, own);
    }
    let road = road(config, &pool, &heir);
    let remote = match Remote::open(road, masters, config.open.connect_timeout).await {
        Ok(remote) => remote,
        Err(error) => {
            if let Some(node) = node {
                node.shut_down().await;
            }
            return Err(error);
        }
    };
    if let Some(node) = node {
        remote.keep_serving(node);
    }
    Ok(Part::Client(remote))
}

/// Does what is left of going over to another store.
///
/// # Errors
/// As the system says; `Unavailable` while another process has the directory.
pub async fn go_over(config: &LocalConfig) -> Result<()> {
    if !exchange::is_decided(&config.dir) {
        return Ok(());
    }
    let _lock = Layout::new(&config.dir).lock(config.lock_wait).await?;
    if exchange::finish(&config.dir).map_err(storage)? {
        tracing::warn!(dir = %config.dir.display(), "gone over to another store; the former one is in its folder \"before\"");
    }
    Ok(())
}

/// Whether [`part`] will not depend on anybody else.
///
/// # Errors
/// The directory cannot be read.
pub fn is_alone(config: &LocalConfig) -> Result<bool> {
    pool(config).map(|pool| pool.is_none())
}

/// Whether the node came into its store by an invitation.
pub fn has_joined(dir: &Path) -> bool {
    dir.join(JOINED).exists()
}

/// The pool, if it has masters elsewhere.
fn pool(config: &LocalConfig) -> Result<Option<Pool>> {
    let pool = Pool::read(&config.dir).map_err(storage)?;
    let elsewhere = |pool: &Pool| pool.masters.iter().any(|at| *at != config.address);
    let has_store = Layout::new(&config.dir).store().exists();
    Ok(pool.filter(|pool| !has_store || elsewhere(pool)))
}

/// A founder's store, with a door if it is to listen.
async fn alone(config: &LocalConfig, heir: Arc<Heir>) -> Result<Arc<Node>> {
    let mesh = Arc::new(Mesh::default());
    let node = Node::open(config, mesh.clone()).await?;
    if config.listen.is_none() {
        return Ok(node);
    }
    let found = Pool::read(&config.dir).map_err(storage)?;
    let is_new = found.is_none();
    let pool = match found {
        Some(pool) => pool,
        None => {
            let secret = Secret::draw().map_err(storage)?;
            Pool { cluster: node.identity.cluster, secret, masters: Vec::new() }
        }
    };
    node.keep_heir(heir.clone());
    open_door(config, &node, &mesh, &pool, &heir).await?;
    if is_new {
        // Not before: a node whose port is taken stays alone.
        pool.write(&config.dir).map_err(storage)?;
    }
    Ok(node)
}

/// A master of the pool: its data as they are, or none yet, to be taken in.
///
/// # Errors
/// `Corrupt` if the directory holds another cluster's data; those of opening.
pub async fn master(config: &LocalConfig, pool: &Pool, heir: &Arc<Heir>) -> Result<Arc<Node>> {
    let cluster = ClusterId(pool.cluster);
    let config = LocalConfig { cluster: Some(cluster), join: true, ..config.clone() };
    let mesh = Arc::new(Mesh::default());
    let node = Node::open(&config, mesh.clone()).await?;
    if node.identity.cluster_id() != cluster {
        let text = format!("{} holds data of another cluster", config.dir.display());
        return Err(Error::none(ErrorKind::Corrupt).because(text));
    }
    open_door(&config, &node, &mesh, pool, heir).await?;
    Ok(node)
}

async fn open_door(
    config: &LocalConfig,
    node: &Arc<Node>,
    mesh: &Mesh,
    pool: &Pool,
    heir: &Arc<Heir>,
) -> Result<()> {
    mesh.open(road(config, pool, heir));
    let Some(listen) = &config.listen else {
        let text = "a store of several nodes must listen";
        return Err(Error::none(ErrorKind::Unsupported("no address to listen on")).because(text));
    };
    let keys = Keys { cluster: pool.cluster, secret: pool.secret.clone() };
    let door = Door::open(listen, node, keys, config.tls.clone()).await.map_err(|error| {
        Error::none(ErrorKind::Unavailable).because(format!("listening on {listen}: {error}"))
    })?;
    node.keep_door(door);
    Ok(())
}

/// Where others reach a node whose door is there.
pub fn address(config: &LocalConfig, door: std::net::SocketAddr) -> String {
    if config.address.is_empty() { door.to_string() } else { config.address.clone() }
}

/// The way to the other nodes of the pool.
pub fn road(config: &LocalConfig, pool: &Pool, heir: &Arc<Heir>) -> Road {
    Road {
        cluster: ClusterId(pool.cluster),
        secret: pool.secret.clone(),
        heir: heir.clone(),
        tls: config.tls.clone(),
        detect: config.open.detect,
    }
}

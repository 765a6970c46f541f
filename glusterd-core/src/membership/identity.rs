//! This node's identity: `glusterd.info`, and the pool in `coordination/pool.info`.
//!
//! The only things a node believes from its own disk. Facts: glusterd-store.c:2057-2200,
//! glusterd.c:141-200 (v10.3): a bare `UUID=` is no error, a missing op-version counts as 1.

use crate::host::Host;
use crate::model::{NodeId, OP_VERSION_MAX, OP_VERSION_MIN};
use crate::store::{Place, Pool};
use std::io;
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

const BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    pub pool: Pool,
    /// `operating-version` as the file says: an administrator may have changed it while the daemon
    /// was down.
    pub op_version: u32,
}

/// Why the node does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{path} cannot be used")]
    Io { path: String, source: io::Error },
    #[error("{path}: {text:?} is no uuid; restore the file or remove it to become a new node")]
    NoUuid { path: String, text: String },
}

/// Reads the identity, making up what is missing.
///
/// # Errors
/// [`IdentityError`]: a file that is there cannot be read, or holds no identity.
pub async fn load_or_create(host: &dyn Host) -> Result<Identity, IdentityError> {
    let info = format!("{}/glusterd.info", host.dirs().work);
    let text = read(host, &info).await?;
    let node = match text.as_deref().and_then(|text| value(text, "UUID")) {
        None | Some("") => None,
        Some(id) => Some(NodeId::parse(id).ok_or_else(|| no_uuid(&info, id))?),
    };
    let op_version = match &text {
        None => OP_VERSION_MAX,
        Some(text) => op_version(text),
    };
    let identity =
        Identity { node: node.unwrap_or_else(NodeId::fresh), pool: pool(host).await?, op_version };
    if node.is_none() {
        write_identity(host, identity.node, identity.op_version).await?;
    }
    Ok(identity)
}

/// Writes down who this node is from now on.
///
/// # Errors
/// The file cannot be written.
pub async fn write_identity(
    host: &dyn Host,
    node: NodeId,
    op_version: u32,
) -> Result<(), IdentityError> {
    let path = format!("{}/glusterd.info", host.dirs().work);
    // As stock writes it.
    write(host, &path, &format!("UUID={node}\noperating-version={op_version}\n")).await
}

fn op_version(text: &str) -> u32 {
    let known = value(text, "operating-version").and_then(|v| v.parse().ok());
    known.unwrap_or(OP_VERSION_MIN).clamp(OP_VERSION_MIN, OP_VERSION_MAX)
}

async fn pool(host: &dyn Host) -> Result<Pool, IdentityError> {
    let path = format!("{}/coordination/pool.info", host.dirs().work);
    if let Some(text) = read(host, &path).await? {
        let id = value(&text, "pool").unwrap_or("");
        return Uuid::try_parse(id).map(Pool).map_err(|_| no_uuid(&path, id));
    }
    let pool = Pool(Uuid::new_v4());
    write_pool(host, pool).await?;
    Ok(pool)
}

async fn write_pool(host: &dyn Host, pool: Pool) -> Result<(), IdentityError> {
    let folder = format!("{}/coordination", host.dirs().work);
    let failed = |source| IdentityError::Io { path: folder.clone(), source };
    host.make_dirs(&folder).await.map_err(failed)?;
    write(host, &format!("{folder}/pool.info"), &format!("pool={}\n", pool.0)).await
}

/// Writes down for ever which pool the node is in, whenever that changes.
pub async fn keep_pool(host: Arc<dyn Host>, written: Pool, mut place: watch::Receiver<Place>) {
    let mut written = written;
    loop {
        let Ok(now) = place.wait_for(|now| now.pool != written).await.map(|now| now.pool) else {
            return;
        };
        // Without the file the coordinator says at the next start where the node belongs.
        if let Err(error) = write_pool(&*host, now).await {
            tracing::error!(%error, "the pool this node is in now is not written down");
        }
        written = now;
    }
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.filter(|(k, _)| *k == key).map(|(_, v)| v.trim()).next_back()
}

fn no_uuid(path: &str, text: &str) -> IdentityError {
    IdentityError::NoUuid { path: path.to_owned(), text: text.to_owned() }
}

async fn read(host: &dyn Host, path: &str) -> Result<Option<String>, IdentityError> {
    match host.read(path, BYTES_MAX).await {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::Io { path: path.to_owned(), source }),
    }
}

async fn write(host: &dyn Host, path: &str, text: &str) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::Io { path: path.to_owned(), source };
    host.write(path, text.as_bytes()).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    async fn with(info: Option<&str>) -> Result<(Identity, String), IdentityError> {
        let host = FakeHost::new(1);
        let path = format!("{}/glusterd.info", host.dirs().work);
        if let Some(text) = info {
            host.write(&path, text.as_bytes()).await.unwrap();
        }
        let identity = load_or_create(&host).await?;
        let again = load_or_create(&host).await?;
        assert_eq!(identity, again);
        Ok((identity, read(&host, &path).await?.unwrap()))
    }

    #[tokio::test]
    async fn a_new_node_writes_down_who_it_is() {
        let (identity, text) = with(None).await.unwrap();
        assert_eq!(text, format!("UUID={}\noperating-version=100000\n", identity.node));
    }

    #[tokio::test]
    async fn a_file_is_believed() {
        let id = "1d0f3f6e-27b5-4c1b-9f62-4ff9f4e0d0aa";
        let (identity, _) = with(Some(&format!("UUID={id}\n"))).await.unwrap();
        assert_eq!((identity.node.to_string().as_str(), identity.op_version), (id, 1));
        let text = format!("UUID={id}\noperating-version=60000\n");
        assert_eq!(with(Some(&text)).await.unwrap().0.op_version, 60000);
        assert!(with(Some("UUID=x\n")).await.is_err());
    }
}

//! The Coordinator on ZooKeeper 3.6 and later: `zk://h1:2181,h2:2181/chroot?ca=FILE&...`.
//!
//! ZooKeeper offers less than the contract in four places; each is made good at a stated cost.
//! Compare-and-set that survives deletion and re-creation, and absence as a condition: by the
//! space's node in each multi ([`plan`]); costs a read before each write. Revisions of reads and
//! linearizable reads: by a write that changes nothing, shared by all who ask at one time
//! ([`link`]). Watches without loss: by reading changed keys again, and everything after a
//! reconnect ([`follow`]). Validity that others cannot outrun: by pairs of writes while somebody
//! needs it ([`beat`]). The client crate's defects are covered in [`conn`] and [`follow`].
//!
//! Parameters: `ca`, `cert`, `key` (PEM files), `credentials` (a file `USER:PASSWORD`; digest
//! scheme, and what we create is then for this user alone).

mod beat;
mod conn;
mod core;
mod fault;
mod follow;
mod handle;
mod known;
mod layout;
mod link;
mod plan;
mod probe;
mod read;
mod session;
mod txn;

use async_trait::async_trait;
use coord_api::{Backend, Coordinator, Error, ErrorKind, Limits, OpenOpts, Result, ServiceUrl};
use std::sync::Arc;
use zookeeper_client::TlsOptions;

/// The contract's; a request of ZooKeeper's may have 1 MiB, which leaves room for paths.
const LIMITS: Limits = Limits::CONTRACT;

/// The port of a server whose address names none.
const PORT: u16 = 2181;
/// Bytes a chroot may have: it is part of every path of a multi.
const CHROOT_MAX: usize = 128;

/// Opens `zk://` addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZooKeeper;

#[async_trait]
impl Backend for ZooKeeper {
    fn schemes(&self) -> &'static [&'static str] {
        &["zk"]
    }

    async fn open(&self, url: &str, opts: OpenOpts) -> Result<Arc<dyn Coordinator>> {
        let url = ServiceUrl::parse(url, PORT)?;
        if url.path.iter().map(|segment| segment.len() + 1).sum::<usize>() > CHROOT_MAX {
            return Err(ErrorKind::Unsupported("a chroot of more than 128 bytes").into());
        }
        if url.path.first().is_some_and(|first| first == "zookeeper") {
            return Err(ErrorKind::Unsupported("/zookeeper belongs to ZooKeeper").into());
        }
        let layout = layout::Layout::new(&url.path);
        let access = conn::Access {
            tls: tls(&url)?,
            files: url.tls()?,
            digest: url.credentials()?.map(|c| format!("{}:{}", c.user, c.password)),
            hosts: url.hosts,
            connect_timeout: opts.connect_timeout,
            detect: opts.detect,
        };
        Ok(Arc::new(handle::ZkHandle::open(access, layout, opts).await?))
    }
}

fn tls(url: &ServiceUrl) -> Result<Option<TlsOptions>> {
    let refuse = |raw| Error::none(ErrorKind::TlsFailed).because(raw);
    let Some(files) = url.tls()? else { return Ok(None) };
    let mut options = TlsOptions::new().with_pem_ca(&files.ca).map_err(refuse)?;
    if let Some((certificate, key)) = &files.identity {
        options = options.with_pem_identity(certificate, key).map_err(refuse)?;
    }
    Ok(Some(options))
}

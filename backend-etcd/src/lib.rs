//! The Coordinator on etcd 3.4 and later: `etcd://h1:2379,h2:2379/prefix?ca=FILE&...`.
//!
//! What etcd gives natively: multi-key transactions, revisions, leases. What is added here: calls
//! that move on from a dead or silent server ([`pool`]), one watch per space with resynchronisation
//! ([`follow`]), and heartbeats that the quorum has confirmed ([`beat`]). Costs beyond the plain
//! request: one compare in each transaction and read (the cluster's identity), one in those of a
//! session; a pulse of one small read each detect/4 on each connection in use.
//!
//! Parameters: `ca`, `cert`, `key` (PEM files), `credentials` (a file `USER:PASSWORD`).

mod beat;
mod core;
mod fault;
mod follow;
mod handle;
mod layout;
mod pool;
mod pulse;
mod read;
mod session;
mod txn;

use async_trait::async_trait;
use coord_api::{
    Backend, Coordinator, ErrorKind, Limits, OpenOpts, Result, ServiceUrl, TlsFiles, tls_or,
};
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use std::sync::Arc;

/// The contract's; etcd's own are 128 compares, 128 operations and 1.5 MiB.
const LIMITS: Limits = Limits::CONTRACT;

/// The port of a server whose address names none.
const PORT: u16 = 2379;

/// Opens `etcd://` addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Etcd;

#[async_trait]
impl Backend for Etcd {
    fn schemes(&self) -> &'static [&'static str] {
        &["etcd"]
    }

    async fn open(&self, url: &str, opts: OpenOpts) -> Result<Arc<dyn Coordinator>> {
        let url = ServiceUrl::parse(url, PORT)?;
        let layout = layout::Layout::new(&url.path);
        let files = url.tls()?;
        let access = access(&url, files.as_ref(), &opts, layout.id())?;
        match handle::EtcdHandle::open(access, layout, opts).await {
            Ok(handle) => Ok(Arc::new(handle)),
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                Err(tls_or(&url.hosts, files.as_ref(), error).await)
            }
            Err(error) => Err(error),
        }
    }
}

fn access(
    url: &ServiceUrl,
    files: Option<&TlsFiles>,
    opts: &OpenOpts,
    pulse_key: String,
) -> Result<pool::Access> {
    let mut options = ConnectOptions::new().with_connect_timeout(opts.connect_timeout);
    let scheme = if files.is_some() { "https" } else { "http" };
    if let Some(files) = files {
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(&files.ca));
        if let Some((certificate, key)) = &files.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        options = options.with_tls(tls);
    }
    if let Some(credentials) = url.credentials()? {
        options =
            options.with_user(credentials.user, credentials.password).with_auto_token_refresh(true);
    }
    Ok(pool::Access {
        endpoints: url.hosts.iter().map(|host| format!("{scheme}://{host}")).collect(),
        options,
        connect_timeout: opts.connect_timeout,
        detect: opts.detect,
        pulse_key,
    })
}

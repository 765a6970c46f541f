//! The door of a backend crate: a URL in, a handle out.

use crate::Result;
use crate::coordinator::{ClusterId, Coordinator};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// One value per backend crate; `main` holds the list.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The part of the URL before `:`, e.g. `["etcd"]`.
    fn schemes(&self) -> &'static [&'static str];

    /// Opens a handle on the namespace the URL names; TLS and credentials are query parameters
    /// naming files. Completes after the cluster has answered once.
    ///
    /// # Errors
    /// `Unavailable`, `Unauthenticated`, `TlsFailed`, `Incompatible`, `ClusterReplaced` within
    /// the connect timeout (A1, A3); `Unsupported` for a URL it cannot read.
    async fn open(&self, url: &str, opts: OpenOpts) -> Result<Arc<dyn Coordinator>>;
}

/// How to open a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOpts {
    pub connect_timeout: Duration,
    /// For calls that name no timeout of their own (G2).
    pub request_timeout: Duration,
    /// A silent connection counts as lost after this (W12, H1).
    pub detect: Duration,
    /// Refuse any other cluster (G6).
    pub expect_cluster: Option<ClusterId>,
}

impl Default for OpenOpts {
    fn default() -> OpenOpts {
        OpenOpts {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            detect: Duration::from_secs(3),
            expect_cluster: None,
        }
    }
}

//! Encrypted management: TLS on port 24007 and between the nodes of the built-in store.
//!
//! One switch for all, stock's: the file `secure-access`, or `--secure-mgmt`. The unix socket stays
//! in the clear, as stock's.

use crate::boot::Settings;
use crate::serve::listener::{Plain, Security, Stream};
use anyhow::Context;
use async_trait::async_trait;
use gluster_tls::Tls;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

/// What encrypts, if anything is to be encrypted.
///
/// # Errors
/// It is to be, and stock's certificates cannot be used.
pub fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    if !settings.secure_mgmt.unwrap_or_else(gluster_tls::is_switched_on) {
        return Ok(None);
    }
    let tls = Tls::of_stock().context("management is to be encrypted")?;
    tracing::info!("management connections are encrypted");
    Ok(Some(tls))
}

/// The listener's side of it.
pub fn security(tls: Option<Tls>) -> Arc<dyn Security> {
    match tls {
        Some(tls) => Arc::new(Encrypted(tls)),
        None => Arc::new(Plain),
    }
}

struct Encrypted(Tls);

#[async_trait]
impl Security for Encrypted {
    async fn secure(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.0.accept(stream).await?))
    }
}

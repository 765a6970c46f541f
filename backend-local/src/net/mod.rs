//! The store on the network: connections out ([`link`]), connections in ([`door`], [`desk`]),
//! and the masters' way to each other ([`mesh`]).
//!
//! What is said is in `talk.rs`, how it is proven in `secure.rs`. Nothing here decides anything
//! about keys, sessions or votes.

pub mod desk;
pub mod door;
pub mod link;
pub mod mesh;

use crate::heir::Heir;
use crate::secure::{Hello, Purpose, Refused, Secret};
use coord_api::ClusterId;
use gluster_tls::Tls;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How long the first words of a connection may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What it takes to reach any listener of the pool.
#[derive(Clone, Debug)]
pub struct Road {
    pub cluster: ClusterId,
    pub secret: Secret,
    /// Of whoever says that it has taken the cluster's place.
    pub heir: Arc<Heir>,
    pub tls: Option<Tls>,
    /// A listener that says nothing for so long is gone.
    pub detect: Duration,
}

impl Road {
    fn hello(&self, purpose: Purpose) -> Hello {
        Hello { purpose, scope: self.cluster.0 }
    }
}

/// A connection, encrypted or not.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Pipe for S {}

/// A connection to `host:port`, names looked up each time.
async fn connect(
    address: &str,
    tls: Option<&Tls>,
    deadline: Instant,
) -> Result<Box<dyn Pipe>, Refused> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // What is not sent when the connection is given up must not arrive later (X2).
        stream.set_zero_linger()?;
        Ok(match tls {
            Some(tls) => Box::new(tls.connect(stream).await?) as Box<dyn Pipe>,
            None => Box::new(stream),
        })
    };
    match tokio::time::timeout_at(deadline.into(), connecting).await {
        Ok(connected) => connected.map_err(Refused::Io),
        Err(_) => Err(late()),
    }
}

fn late() -> Refused {
    Refused::Io(std::io::ErrorKind::TimedOut.into())
}

//! Sockets that take connections in: the unix socket and TCP 24007.
//!
//! A listener is bound first and served later, so that a daemon that cannot have its sockets says so
//! before it does anything. Encryption is a [`Security`] between accepting and serving.
//!
//! Facts: rpc/rpc-transport/socket/src/socket.c:904-955, extras/glusterd.vol.in (v10.3).

use super::Limits;
use super::connection;
use super::dispatch::Table;
use super::registry::{Connections, Peer};
use crate::model::DAEMON_PORT;
use async_trait::async_trait;
use rustix::net::sockopt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{
    TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream, lookup_host,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

const BACKLOG: u32 = 1024;
const SOCKET_MODE: u32 = 0o755;
const BUSY_RETRY: Duration = Duration::from_secs(1);
const USER_TIMEOUT_MS: u32 = 42_000;
const SECURITY_TIMEOUT: Duration = Duration::from_secs(10);
/// After accepting failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("another process serves {}", .0.display())]
    Live(PathBuf),
    #[error("cannot listen at {place}")]
    Io { place: String, source: io::Error },
}

/// The address family to listen in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    #[default]
    Inet,
    Inet6,
}

/// Where and how to listen on TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpEndpoint {
    /// An address or a host name; `None` is every address of `family`.
    pub bind_address: Option<String>,
    pub family: Family,
    /// 0 takes any, for tests.
    pub port: u16,
    pub keepalive_idle: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_count: u32,
}

impl Default for TcpEndpoint {
    fn default() -> TcpEndpoint {
        TcpEndpoint {
            bind_address: None,
            family: Family::Inet,
            port: DAEMON_PORT,
            keepalive_idle: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(2),
            keepalive_count: 9,
        }
    }
}

/// A stream, whatever it is made of.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What makes a TCP connection trustworthy before the first record: nothing, or TLS.
#[async_trait]
pub trait Security: Send + Sync + 'static {
    async fn secure(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>>;
}

/// Records in the clear.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

#[async_trait]
impl Security for Plain {
    async fn secure(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(stream))
    }
}

/// A bound socket. The unix socket's path is left behind when it goes, as in stock.
pub struct Listener {
    socket: Socket,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener, TcpEndpoint, Arc<dyn Security>),
}

enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

impl Listener {
    /// Listens at `path`. A socket that nobody serves is replaced; one that someone serves, or any
    /// other file, is not.
    ///
    /// # Errors
    /// [`ListenError::Live`] if someone serves it.
    pub async fn unix(path: &Path) -> Result<Listener, ListenError> {
        match UnixStream::connect(path).await {
            Ok(_) => return Err(ListenError::Live(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let kind = fs::symlink_metadata(path).map(|metadata| metadata.file_type());
                if kind.is_ok_and(|kind| kind.is_socket()) {
                    let _bind_will_tell = fs::remove_file(path);
                }
            }
            Err(_bind_will_tell) => {}
        }
        let bound = bind_unix(path);
        let bound = bound.map_err(|source| failed(path.display().to_string(), source))?;
        Ok(Listener { socket: Socket::Unix(bound) })
    }

    /// Listens on TCP; a busy port is tried once more after a second.
    ///
    /// # Errors
    /// [`ListenError::Io`], also for a name that does not resolve in the family.
    pub async fn tcp(
        endpoint: TcpEndpoint,
        security: Arc<dyn Security>,
    ) -> Result<Listener, ListenError> {
        let place =
            format!("{}:{}", endpoint.bind_address.as_deref().unwrap_or("*"), endpoint.port);
        let address = match resolve(&endpoint).await {
            Ok(address) => address,
            Err(source) => return Err(failed(place, source)),
        };
        let bound = match bind_tcp(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                sleep(BUSY_RETRY).await;
                bind_tcp(address)
            }
            other => other,
        };
        let bound = bound.map_err(|source| failed(place, source))?;
        Ok(Listener { socket: Socket::Tcp(bound, endpoint, security) })
    }

    /// The TCP port; `None` for a unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.socket {
            Socket::Unix(_) => None,
            Socket::Tcp(listener, ..) => Some(listener.local_addr().ok()?.port()),
        }
    }

    /// Takes connections until `stop`; those taken live on.
    pub fn serve(
        self,
        table: Arc<Table>,
        connections: Arc<Connections>,
        limits: Limits,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        tokio::spawn(async move {
            tokio::select! {
                () = self.accept_all(table, connections, limits) => {}
                () = stop.cancelled() => {}
            }
        })
    }

    async fn accept_all(&self, table: Arc<Table>, connections: Arc<Connections>, limits: Limits) {
        let seats = Arc::new(Semaphore::new(limits.connections));
        let mut was_full = false;
        loop {
            let accepted = match self.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(seat) = seats.clone().try_acquire_owned() else {
                if !was_full {
                    warn!(limit = limits.connections, "too many connections, new ones are closed");
                }
                was_full = true;
                continue;
            };
            was_full = false;
            let opened = self.open(accepted);
            let (table, connections) = (table.clone(), connections.clone());
            tokio::spawn(async move {
                let _seat = seat;
                if let Some((stream, peer)) = opened.await {
                    connection::serve(stream, peer, table, connections, limits).await;
                }
            });
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| Accepted::Unix(stream))
            }
            Socket::Tcp(listener, ..) => {
                listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer))
            }
        }
    }

    /// What is left to do before records flow; done in the connection's own task.
    fn open(
        &self,
        accepted: Accepted,
    ) -> impl Future<Output = Option<(Box<dyn Stream>, Peer)>> + Send + use<> {
        let tcp = match &self.socket {
            Socket::Unix(_) => None,
            Socket::Tcp(_, endpoint, security) => Some((endpoint.clone(), security.clone())),
        };
        async move {
            match (accepted, tcp) {
                (Accepted::Tcp(stream, address), Some((endpoint, security))) => {
                    if let Err(error) = tune(&stream, &endpoint) {
                        debug!(peer = %address, %error, "connection gone before it was served");
                        return None;
                    }
                    match timeout(SECURITY_TIMEOUT, security.secure(stream)).await {
                        Ok(Ok(stream)) => Some((stream, Peer::Tcp(address))),
                        Ok(Err(error)) => {
                            warn!(peer = %address, %error, "a connection could not be secured");
                            None
                        }
                        Err(_) => None,
                    }
                }
                (Accepted::Unix(stream), _) => {
                    Some((Box::new(stream) as Box<dyn Stream>, Peer::Unix))
                }
                (Accepted::Tcp(..), None) => None,
            }
        }
    }
}

fn failed(place: String, source: io::Error) -> ListenError {
    ListenError::Io { place, source }
}

/// Nobody can connect between binding and the mode being set: it does not listen yet.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)
}

async fn resolve(endpoint: &TcpEndpoint) -> io::Result<SocketAddr> {
    let TcpEndpoint { bind_address, family, port, .. } = endpoint;
    let Some(name) = bind_address else {
        return Ok(match family {
            Family::Inet => (Ipv4Addr::UNSPECIFIED, *port).into(),
            Family::Inet6 => (Ipv6Addr::UNSPECIFIED, *port).into(),
        });
    };
    let mut found = lookup_host((name.as_str(), *port)).await?;
    let fits = |address: &SocketAddr| address.is_ipv6() == (*family == Family::Inet6);
    found.find(fits).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn tune(stream: &TcpStream, endpoint: &TcpEndpoint) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, endpoint.keepalive_idle)?;
    sockopt::set_tcp_keepintvl(stream, endpoint.keepalive_interval)?;
    sockopt::set_tcp_keepcnt(stream, endpoint.keepalive_count)?;
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS)?;
    Ok(())
}

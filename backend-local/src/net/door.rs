//! The listener of a master: lets in who proves the secret, and no more than it can serve.

use super::{Pipe, desk};
use crate::heir::former_key;
use crate::node::Node;
use crate::pool::Invitation;
use crate::secure::{self, Hello, Purpose, Refused, Secret, Verdict};
use gluster_tls::Tls;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections that have not proven anything yet.
const STRANGERS_MAX: usize = 64;
/// Connections in all.
const GUESTS_MAX: usize = 4096;
/// Pause after the system refused a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Whose proofs are taken.
#[derive(Clone, Debug)]
pub struct Keys {
    pub cluster: [u8; 16],
    pub secret: Secret,
}

impl Keys {
    /// What whoever says this must prove.
    fn of(&self, hello: &Hello, node: &Node) -> Option<Secret> {
        match hello.purpose {
            Purpose::Member | Purpose::Client => {
                (hello.scope == self.cluster).then(|| self.secret.clone())
            }
            Purpose::Join => {
                let state = node.shared.state.read();
                let former = || state.entry(&former_key(&hello.scope));
                let value = &state.entry(&Invitation::key(&hello.scope)).or_else(former)?.value;
                Some(Secret::new(value.as_ref().try_into().ok()?))
            }
        }
    }
}

/// An open door; closes when dropped.
#[derive(Debug)]
pub struct Door {
    pub address: SocketAddr,
    closing: CancellationToken,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Door {
    /// Listens on `address` (`host:port`, port 0 for any) on the member's own threads.
    ///
    /// # Errors
    /// Those of binding.
    pub async fn open(
        address: &str,
        node: &Arc<Node>,
        keys: Keys,
        tls: Option<Tls>,
    ) -> io::Result<Door> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let closing = node.child_token();
        let listener = listener.into_std()?;
        let house = House {
            node: Arc::downgrade(node),
            keys: Arc::new(keys),
            tls,
            closing: closing.clone(),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            guests: Arc::new(Semaphore::new(GUESTS_MAX)),
        };
        node.spawn(async move {
            // Registered anew: the runtime that served the caller may end before the member.
            match TcpListener::from_std(listener) {
                Ok(listener) => house.receive(listener).await,
                Err(error) => tracing::error!(%error, "the store's listener"),
            }
        });
        Ok(Door { address, closing })
    }
}

#[derive(Clone)]
struct House {
    node: Weak<Node>,
    keys: Arc<Keys>,
    tls: Option<Tls>,
    closing: CancellationToken,
    strangers: Arc<Semaphore>,
    guests: Arc<Semaphore>,
}

impl House {
    async fn receive(self, listener: TcpListener) {
        loop {
            // Those who wait for their turn wait in the system's queue.
            let room = tokio::select! {
                room = self.strangers.clone().acquire_owned() => room,
                () = self.closing.cancelled() => return,
            };
            let Ok(room) = room else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.closing.cancelled() => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    let (house, closing) = (self.clone(), self.closing.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = house.welcome(stream, from, room) => {}
                            () = closing.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the store's listener");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn welcome(
        self,
        stream: TcpStream,
        from: SocketAddr,
        room: tokio::sync::OwnedSemaphorePermit,
    ) {
        stream.set_nodelay(true).ok();
        let place = self.guests.clone().try_acquire_owned().ok();
        let full = place.is_none();
        let answering = async {
            let stream: Box<dyn Pipe> = match &self.tls {
                Some(tls) => Box::new(tls.accept(stream).await?),
                None => Box::new(stream),
            };
            let admit = async |hello: &Hello| {
                if full {
                    return Err(Verdict::Full);
                }
                let node = self.node.upgrade().ok_or(Verdict::Stranger)?;
                self.keys.of(hello, &node).ok_or(Verdict::Stranger)
            };
            secure::answer(stream, admit).await
        };
        let met = match tokio::time::timeout(super::HANDSHAKE, answering).await {
            Ok(met) => met,
            Err(_) => Err(super::late()),
        };
        drop(room);
        match met {
            Ok((hello, reader, writer)) => {
                if let Some(node) = self.node.upgrade() {
                    desk::serve(node, &self.keys, hello, reader, writer).await;
                }
            }
            Err(Refused::Io(error)) => tracing::debug!(%from, %error, "a connection to the store"),
            Err(refused) => tracing::info!(%from, %refused, "refused a connection to the store"),
        }
        drop(place);
    }
}

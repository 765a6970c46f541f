//! Who is connected, what is known of them, and calls down their connections.
//!
//! Callbacks carry no news, only "look again", so a peer that has one of a kind waiting needs no
//! second. A peer that lets many pile up is closed; it looks again when it comes back.
//!
//! Facts: wire order and xids of callbacks, rpc/rpc-lib/src/rpcsvc.c:1066 (v10.3); what is kept of a
//! client, xlators/mgmt/glusterd/src/glusterd-handshake.c:896-990.

use super::budget::Budget;
use crate::rpc::callback::CallbackProc;
use crate::supervise::ports::ConnectionId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Different callbacks that may wait for one peer.
const CALLBACKS_MAX: usize = 64;

/// Bytes all connections together may hold beyond their free share.
const BYTES_MAX: usize = 512 << 20;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The unix socket: this machine, and trusted.
    Unix,
    Tcp(SocketAddr),
}

impl Peer {
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Unix => None,
            Peer::Tcp(address) => Some(address.ip()),
        }
    }
}

/// As stock writes it: empty for the unix socket.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Unix => Ok(()),
            Peer::Tcp(address) => write!(f, "{}:{}", address.ip(), address.port()),
        }
    }
}

/// What a peer said of itself when it fetched a volfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFacts {
    /// The key of its last GETSPEC, without one leading slash; `None` before that.
    pub volname: Option<String>,
    pub min_op_version: i32,
    pub max_op_version: i32,
}

impl Default for ClientFacts {
    fn default() -> ClientFacts {
        ClientFacts { volname: None, min_op_version: 1, max_op_version: 1 }
    }
}

/// One accepted connection. Clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: ConnectionId,
    peer: Peer,
    facts: Mutex<ClientFacts>,
    callbacks: Mutex<VecDeque<(CallbackProc, Vec<u8>)>>,
    called: Notify,
    closing: CancellationToken,
}

impl Connection {
    pub fn new(id: ConnectionId, peer: Peer) -> Connection {
        Connection(Arc::new(Inner {
            id,
            peer,
            facts: Mutex::default(),
            callbacks: Mutex::default(),
            called: Notify::new(),
            closing: CancellationToken::new(),
        }))
    }

    pub fn id(&self) -> ConnectionId {
        self.0.id
    }

    pub fn peer(&self) -> Peer {
        self.0.peer
    }

    pub fn facts(&self) -> ClientFacts {
        self.0.facts.lock().clone()
    }

    pub fn set_facts(&self, facts: ClientFacts) {
        *self.0.facts.lock() = facts;
    }

    /// Queues a callback; the same one waiting already is enough.
    pub fn push(&self, procedure: CallbackProc, body: &[u8]) {
        let mut waiting = self.0.callbacks.lock();
        if waiting.iter().any(|(known, bytes)| *known == procedure && bytes == body) {
            return;
        }
        if waiting.len() == CALLBACKS_MAX {
            self.close();
            return;
        }
        waiting.push_back((procedure, body.to_vec()));
        self.0.called.notify_one();
    }

    /// The next callback to write; waits for one.
    pub async fn next_callback(&self) -> (CallbackProc, Vec<u8>) {
        loop {
            if let Some(callback) = self.0.callbacks.lock().pop_front() {
                return callback;
            }
            self.0.called.notified().await;
        }
    }

    /// Ends the connection soon.
    pub fn close(&self) {
        self.0.closing.cancel();
    }

    /// Waits until the connection ends.
    pub async fn closed(&self) {
        self.0.closing.cancelled().await;
    }
}

/// All connections of the daemon, whichever listener took them.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<BTreeMap<u64, Connection>>,
    next_id: AtomicU64,
    budget: Budget,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections::new(BYTES_MAX)
    }
}

impl Connections {
    /// `bytes_max`: what all connections may hold beyond their free share.
    pub fn new(bytes_max: usize) -> Connections {
        Connections {
            open: Mutex::default(),
            next_id: AtomicU64::new(1),
            budget: Budget::new(bytes_max),
        }
    }

    /// Everyone connected now, oldest first.
    pub fn list(&self) -> Vec<Connection> {
        self.open.lock().values().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls everyone, as stock does for FETCHSPEC and GET_SNAPS.
    pub fn push(&self, procedure: CallbackProc, body: &[u8]) {
        self.push_to(procedure, body, |_| true);
    }

    /// Calls those that `chosen` picks; how many they were.
    pub fn push_to(
        &self,
        procedure: CallbackProc,
        body: &[u8],
        chosen: impl Fn(&Connection) -> bool,
    ) -> usize {
        let chosen: Vec<_> = self.list().into_iter().filter(chosen).collect();
        chosen.iter().for_each(|connection| connection.push(procedure, body));
        chosen.len()
    }

    /// Ends every connection, for the daemon's own end.
    pub fn close_all(&self) {
        self.list().iter().for_each(Connection::close);
    }

    /// Takes in somebody who is connected from now on.
    pub fn enter(&self, peer: Peer) -> Connection {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(ConnectionId(id), peer);
        self.open.lock().insert(id, connection.clone());
        connection
    }

    pub(super) fn leave(&self, connection: &Connection) {
        connection.close();
        self.open.lock().remove(&connection.id().0);
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }
}

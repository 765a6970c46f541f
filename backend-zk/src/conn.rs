//! One ZooKeeper session as a client crate's `Client` gives it, with what the crate leaves open:
//! requests are not queued while disconnected, waits are bounded, sizes are the caller's matter.

use crate::fault;
use crate::layout::Layout;
use coord_api::{Error, ErrorKind, Result, Revision, TlsFiles, tls_or};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use zookeeper_client::{
    Acl, Acls, AuthId, Client, CreateMode, CreateOptions, Error as Raw, Permission, SessionState,
    Stat, TlsOptions,
};

/// Entries in the crate's list for a server that is alone: pauses of a second at most in the first
/// ten seconds of an outage, of four in the first half minute.
const SINGLE: usize = 20;
/// How often each of several servers stands in the list, where the session outlives asking a frozen one
/// so many times in a row.
const SEVERAL: usize = 3;

/// What a connection needs.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub hosts: Vec<String>,
    pub tls: Option<TlsOptions>,
    /// What `tls` was made of.
    pub files: Option<TlsFiles>,
    /// `USER:PASSWORD` of the digest scheme; what we create is then ours alone.
    pub digest: Option<String>,
    pub connect_timeout: Duration,
    /// A silent connection is given up after this.
    pub detect: Duration,
}

impl Access {
    pub fn create(&self, mode: CreateMode) -> CreateOptions<'static> {
        let private = self.digest.is_some();
        mode.with_acls(if private { Acls::creator_all() } else { Acls::anyone_all() })
    }

    /// For nodes that handles of other users need as well: they may read and add.
    pub fn shared(&self) -> Vec<Acl> {
        let anyone = if self.digest.is_some() {
            Permission::READ | Permission::CREATE
        } else {
            Permission::ALL
        };
        vec![Acl::new(anyone, AuthId::anyone())]
    }
}

/// A live client and how far it has seen.
#[derive(Debug)]
pub(crate) struct Conn {
    pub client: Client,
    /// The newest zxid any of its answers has shown; it never reads an older state, because it
    /// tells it to every server it connects to.
    seen: AtomicU64,
    /// When the connection was asked for: the servers know the session since later than that.
    pub asked: Instant,
}

impl Conn {
    /// Connects and opens a session of `ttl`; to be run on the thread that shall drive it.
    pub async fn open(access: &Access, ttl: Duration) -> Result<Conn> {
        let asked = Instant::now();
        let silence = (access.detect * 4 / 5).min(ttl * 2 / 5);
        let mut connector = Client::connector()
            .with_session_timeout(ttl)
            .with_connection_timeout(silence)
            .with_fail_eagerly();
        if let Some(digest) = &access.digest {
            connector = connector.with_auth("digest", digest.as_bytes());
        }
        let hosts = rotated(&access.hosts, patience(ttl, silence)).join(",");
        let secure = access.tls.is_some();
        if let Some(tls) = &access.tls {
            connector = connector.with_tls(tls.clone());
        }
        let connecting = async {
            if secure {
                connector.secure_connect(&hosts).await
            } else {
                connector.connect(&hosts).await
            }
        };
        let error = match timeout(access.connect_timeout, connecting).await {
            Ok(Ok(client)) => return Ok(Conn { client, seen: AtomicU64::new(0), asked }),
            Ok(Err(raw)) if fault::is_transient(&raw) => fault::of_read(&raw),
            Ok(Err(raw)) => return Err(fault::of_read(&raw)),
            Err(_) => Error::none(ErrorKind::Unavailable).because("no answer in time"),
        };
        Err(tls_or(&access.hosts, access.files.as_ref(), error).await)
    }

    pub fn id(&self) -> i64 {
        self.client.session_id().0
    }

    pub fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Acquire))
    }

    pub fn saw(&self, zxid: u64) {
        self.seen.fetch_max(zxid, Ordering::AcqRel);
    }

    pub fn is_over(&self) -> bool {
        self.client.state().is_terminated()
    }

    pub fn is_connected(&self) -> bool {
        self.client.state() == SessionState::SyncConnected
    }

    /// Completes when the client is connected, false when it never will be again.
    pub async fn connected(&self) -> bool {
        let mut watcher = self.client.state_watcher();
        let mut state = self.client.state();
        while state != SessionState::SyncConnected {
            if state.is_terminated() {
                return false;
            }
            state = watcher.changed().await;
        }
        true
    }

    /// Completes when the client is no longer connected.
    pub async fn disconnected(&self) -> SessionState {
        let mut watcher = self.client.state_watcher();
        let mut state = self.client.state();
        while state == SessionState::SyncConnected {
            state = watcher.changed().await;
        }
        state
    }

    /// Waits for an answer until `deadline`. The request must be made inside the future, so that
    /// one never polled has no effect (C1).
    pub async fn wait<T, E>(
        deadline: Instant,
        answer: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<std::result::Result<T, E>, Late> {
        timeout_at(deadline, answer).await.map_err(|_| Late)
    }

    /// Makes the client's own node, which ends with its session. Its creation is a write, so the
    /// client has then seen everything that was committed before.
    pub async fn settle(&self, access: &Access, layout: &Layout, note: &str) -> Result<()> {
        let options = access.create(CreateMode::Ephemeral);
        let deadline = Instant::now() + access.connect_timeout;
        let path = layout.live(self.id());
        let creating = self.client.create(&path, note.as_bytes(), &options);
        match Conn::wait(deadline, creating).await {
            Ok(Ok((stat, _))) => {
                self.saw(newest(&stat));
                Ok(())
            }
            // A repetition after a lost answer.
            Ok(Err(Raw::NodeExists)) => self.tick(layout, deadline).await.map(|_| ()),
            Ok(Err(raw)) => Err(fault::of_read(&raw)),
            Err(Late) => Err(ErrorKind::Timeout.into()),
        }
    }

    /// A write that changes nothing: its zxid is the store's present revision.
    pub async fn tick(&self, layout: &Layout, deadline: Instant) -> Result<Revision> {
        let path = layout.live(self.id());
        let writing = async { self.client.set_data(&path, b"", None).await };
        match Conn::wait(deadline, writing).await {
            Ok(Ok(stat)) => {
                self.saw(newest(&stat));
                Ok(Revision(newest(&stat)))
            }
            Ok(Err(Raw::NoNode)) => Err(ErrorKind::ClusterReplaced.into()),
            Ok(Err(raw)) => Err(fault::of_read(&raw)),
            Err(Late) => Err(ErrorKind::Timeout.into()),
        }
    }
}

/// No answer before the deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late;

/// The newest zxid a node's state shows; its own and its children's.
pub(crate) fn newest(stat: &Stat) -> u64 {
    u64::try_from(stat.czxid.max(stat.mzxid).max(stat.pzxid)).unwrap_or(0)
}

/// How often a frozen server may be asked in a row before half of the session is gone.
fn patience(ttl: Duration, silence: Duration) -> usize {
    let half = ttl.as_millis() / 2;
    half.checked_div(silence.as_millis())
        .map_or(1, |times| times.clamp(1, SEVERAL as u128) as usize)
}

/// The hosts from some place on, so that not all clients are on one server.
///
/// After a lost connection the crate tries all of a list, then pauses, each time twice as long: a
/// server that was away for seven seconds is looked for again after thirteen, and three that
/// are back after twenty seconds after thirty-eight. Within a list the pauses are
/// short, so each server is listed several times. The crate shuffles the list and could ask a
/// frozen one `patience` times in a row.
fn rotated(hosts: &[String], patience: usize) -> Vec<String> {
    let start = uuid::Uuid::new_v4().as_u64_pair().0 as usize % hosts.len().max(1);
    let times = if hosts.len() == 1 { SINGLE } else { patience };
    hosts.iter().cycle().skip(start).take(times * hosts.len()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_as_often_as_the_session_can_bear() {
        let hosts = ["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()];
        let times = |ttl: u64, silence: u64| {
            let list = rotated(
                &hosts,
                patience(Duration::from_millis(ttl), Duration::from_millis(silence)),
            );
            for host in &hosts {
                assert_eq!(list.iter().filter(|other| *other == host).count() * 3, list.len());
            }
            list.len() / 3
        };
        assert_eq!((times(6000, 2400), times(10_000, 2400), times(30_000, 2400)), (1, 2, 3));
        assert_eq!((times(0, 0), times(4000, 4000)), (1, 1));
        assert_eq!(rotated(&hosts[..1], 1).len(), SINGLE);
    }
}

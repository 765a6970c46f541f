//! The watch of one space: consistent cuts from events that carry no content and no revision.
//!
//! One persistent recursive watch per space and handle. Events name paths only; so changed keys
//! are read again, and the cut is taken when the events that came during the reading name no key
//! that was not read:
//! 1. D = keys named by events; read D and the space's node in one multi-read;
//! 2. E = keys named by events up to the answer. If E is within D the answer is a cut: events of a
//!    transaction are queued before any answer that shows it, a multi-read is answered between two
//!    commits, so keys outside D and E were unchanged when the answer was formed. D := E, because
//!    E may be younger than the answer. Otherwise D := D + E and again.
//!
//! A reconnect ends the watch for good: ZooKeeper loses what happens meanwhile (ZOOKEEPER-4698)
//! and the client crate does not renew persistent watches. So it is set anew, before reading.

use crate::conn::Conn;
use crate::core::{Core, Node};
use crate::fault;
use coord_api::{
    Change, Entry, Error, ErrorKind, Hub, Key, LostReason, Result, Revision, Space, Ticket,
};
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use zookeeper_client::{AddWatchMode, Error as Raw, EventType, PersistentWatcher, WatchedEvent};

/// Between two attempts to begin the watch.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Readings for one cut before all keys of the space are read.
const ROUNDS: usize = 4;
const ROUNDS_MAX: usize = 64;

/// Runs the watch of `space` until no stream is left or the hub is closed.
pub(crate) async fn follow(core: Arc<Core>, space: Space, hub: Hub) {
    let mut pause = PAUSE.0;
    // Kept until the next watch is set: its end must not take the server's watch with it.
    let mut old: Option<PersistentWatcher> = None;
    loop {
        if hub.is_closed() || hub.retire(ErrorKind::Closed.into()) {
            return;
        }
        match begin(&core, &space, &mut old).await {
            Ok((mut follower, entries, revision)) => {
                pause = PAUSE.0;
                core.saw(revision);
                hub.reset(entries, revision);
                match follower.run(&core, &space, &hub).await {
                    Ok(End::Idle) => return,
                    Ok(End::Lost) => {}
                    Err(error) if is_final(&error) => return end(&hub, error),
                    Err(error) => tracing::debug!(%space, %error, "watch of ZooKeeper ended"),
                }
                hub.lost(LostReason::Disconnected);
                old = Some(follower.watcher);
            }
            Err(error) if is_final(&error) => return end(&hub, error),
            Err(error) => {
                tracing::debug!(%space, %error, "watch of ZooKeeper not begun");
                tokio::select! {
                    () = sleep(pause) => {}
                    () = hub.changed() => {}
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

fn end(hub: &Hub, error: Error) {
    if error.kind == ErrorKind::ClusterReplaced {
        hub.lost(LostReason::ClusterReplaced);
    }
    hub.close(error);
}

fn is_final(error: &Error) -> bool {
    use ErrorKind::*;
    matches!(
        error.kind,
        ClusterReplaced | PermissionDenied | Unauthenticated | UnknownSpace | Closed | Corrupt
    )
}

enum End {
    Idle,
    Lost,
}

/// Sets the watch, then reads, in this order.
async fn begin(
    core: &Core,
    space: &Space,
    old: &mut Option<PersistentWatcher>,
) -> Result<(Follower, BTreeMap<Key, Entry>, Revision)> {
    let deadline = core.deadline(None);
    core.kind_of(space, deadline).await?;
    // A write first: the state shown is then as new as any this handle has shown (W4, W7).
    let (conn, now) = core.link.barrier(deadline).await?;
    let mut follower = Follower::watch(core, conn, space, deadline).await?;
    *old = None;
    let (entries, revision) = follower.snapshot(core, space, deadline).await?;
    Ok((follower, entries, revision.max(now)))
}

impl Core {
    /// A whole space as of one state when one answer cannot hold it.
    pub async fn watched_snapshot(
        &self,
        conn: &Arc<Conn>,
        space: &Space,
        deadline: Instant,
    ) -> Result<(BTreeMap<Key, Entry>, Revision)> {
        let mut follower = Follower::watch(self, conn.clone(), space, deadline).await?;
        follower.snapshot(self, space, deadline).await
    }
}

struct Follower {
    conn: Arc<Conn>,
    watcher: PersistentWatcher,
    /// Keys named by events and not read since.
    dirty: BTreeSet<Key>,
    /// The connection was lost: nothing more may be concluded.
    lost: bool,
}

impl Follower {
    async fn watch(
        core: &Core,
        conn: Arc<Conn>,
        space: &Space,
        deadline: Instant,
    ) -> Result<Follower> {
        let path = core.link.layout.space(space);
        let setting = async { conn.client.watch(&path, AddWatchMode::PersistentRecursive).await };
        let watcher = match Conn::wait(deadline, setting).await {
            Ok(Ok(watcher)) => watcher,
            Ok(Err(Raw::NoNode)) => return Err(ErrorKind::UnknownSpace.into()),
            Ok(Err(raw)) => return Err(fault::of_read(&raw)),
            Err(_) => return Err(ErrorKind::Timeout.into()),
        };
        Ok(Follower { conn, watcher, dirty: BTreeSet::new(), lost: false })
    }

    /// Everything as of one state: read in parts, then what changed meanwhile until nothing does.
    async fn snapshot(
        &mut self,
        core: &Core,
        space: &Space,
        deadline: Instant,
    ) -> Result<(BTreeMap<Key, Entry>, Revision)> {
        let (keys, _) = core.keys(&self.conn, space, deadline).await?;
        let (mut entries, mut revision) = core.read_in_parts(&self.conn, &keys, deadline).await?;
        self.drain(core, space);
        let (cut, at) = self.cut(core, space, deadline, || keys.clone()).await?;
        revision = revision.max(at);
        for (key, node) in cut {
            match node {
                Some(node) => drop(entries.insert(key.clone(), node.entry(key))),
                None => drop(entries.remove(&key)),
            }
        }
        Ok((entries, revision))
    }

    async fn run(&mut self, core: &Core, space: &Space, hub: &Hub) -> Result<End> {
        let mut last_proof = Instant::now();
        loop {
            let wants = hub.wants();
            if hub.is_closed() || wants.idle && hub.retire(ErrorKind::Closed.into()) {
                return Ok(End::Idle);
            }
            if !self.dirty.is_empty() {
                self.publish(core, space, hub, None).await?;
                continue;
            }
            if self.lost {
                return Ok(End::Lost);
            }
            let due = match (wants.proof, wants.progress) {
                (Some(_), _) => Some(Instant::now()),
                (None, Some(every)) => Some(last_proof + every),
                (None, None) => None,
            };
            let event = tokio::select! {
                biased;
                event = self.watcher.changed() => Some(event),
                () = hub.changed() => continue,
                () = until(due) => None,
            };
            match event {
                Some(event) => {
                    self.note(core, space, event);
                    self.drain(core, space);
                }
                None => {
                    last_proof = Instant::now();
                    self.prove(core, space, hub, wants.proof).await?;
                }
            }
        }
    }

    /// Finds out the present revision and brings the copy up to it.
    async fn prove(
        &mut self,
        core: &Core,
        space: &Space,
        hub: &Hub,
        ticket: Option<Ticket>,
    ) -> Result<()> {
        let (conn, now) = core.link.barrier(core.deadline(None)).await?;
        if !Arc::ptr_eq(&conn, &self.conn) {
            self.lost = true;
            return Ok(());
        }
        // Events of everything up to `now` were queued before its answer.
        self.drain(core, space);
        if self.lost {
            return Ok(());
        }
        core.saw(now);
        if self.dirty.is_empty() {
            hub.proven(ticket, now);
            return Ok(());
        }
        self.publish(core, space, hub, Some((ticket, now))).await
    }

    async fn publish(
        &mut self,
        core: &Core,
        space: &Space,
        hub: &Hub,
        proof: Option<(Option<Ticket>, Revision)>,
    ) -> Result<()> {
        let deadline = core.deadline(None);
        let (cut, revision) = self.cut(core, space, deadline, || hub.keys()).await?;
        if self.lost {
            return Ok(());
        }
        let changes = cut.into_iter().filter_map(|(key, node)| change(hub, key, node)).collect();
        core.saw(revision);
        hub.changes(revision, changes);
        if let Some((ticket, now)) = proof {
            hub.proven(ticket, now.max(revision));
        }
        Ok(())
    }

    /// The dirty keys' states in one cut with all others unchanged; leaves dirty what may be
    /// younger. `all` gives the space's keys when a few readings do not suffice.
    async fn cut(
        &mut self,
        core: &Core,
        space: &Space,
        deadline: Instant,
        all: impl Fn() -> Vec<Key>,
    ) -> Result<(Vec<(Key, Option<Node>)>, Revision)> {
        let mut wanted = std::mem::take(&mut self.dirty);
        for round in 1..=ROUNDS_MAX {
            let keys: Vec<Key> = wanted.iter().cloned().collect();
            let (nodes, revision) =
                core.read_with_space(&self.conn, space, &keys, deadline).await?;
            self.drain(core, space);
            if self.lost {
                return Err(ErrorKind::Unavailable.into());
            }
            if self.dirty.is_subset(&wanted) {
                return Ok((keys.into_iter().zip(nodes).collect(), revision));
            }
            wanted.append(&mut self.dirty);
            if round == ROUNDS {
                wanted.extend(all());
            }
        }
        Err(Error::none(ErrorKind::Overloaded).because("the space never comes to rest"))
    }

    /// Takes every event that is there.
    fn drain(&mut self, core: &Core, space: &Space) {
        while !self.lost {
            let Some(event) = self.watcher.changed().now_or_never() else { return };
            self.note(core, space, event);
        }
    }

    fn note(&mut self, core: &Core, space: &Space, event: WatchedEvent) {
        if event.event_type == EventType::Session {
            // Whatever the new state is: between two connections events are lost. After a
            // terminal one the watcher must not be asked again.
            self.lost = true;
            return;
        }
        self.dirty.extend(core.link.layout.parse(space, &event.path));
    }
}

fn change(hub: &Hub, key: Key, node: Option<Node>) -> Option<Change> {
    match node {
        Some(node) => {
            let entry = node.entry(key);
            let same = hub.entry(&entry.key).is_some_and(|old| old.version == entry.version);
            (!same).then_some(Change::Put(entry))
        }
        None => Some(Change::Delete { key }),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

//! Reads: several nodes as of one state by one multi-read, listings by two that agree.
//!
//! ZooKeeper tells no revision with a read. What a client has seen is a lower bound of the state
//! it reads next, on every server it may move to; so the revision of a read is that bound or the
//! newest zxid in the answer, and a caller that wants more gets a write first.

use crate::conn::{Conn, newest};
use crate::core::{Core, Node};
use crate::fault;
use coord_api::{
    Consistency, Entry, Error, ErrorKind, Key, Prefix, ReadOpts, Result, Revision, Snapshot, Space,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;
use zookeeper_client::{MultiReadResult, Stat};

/// Bytes of paths in one multi-read; the server refuses a request from 1 MiB on.
const REQUEST_MAX: usize = 512 << 10;
/// Attempts at a listing during which nothing is created or deleted, and at a read over lost
/// connections.
const ATTEMPTS: usize = 16;
/// Attempts at a listing by two reads that agree; after that it is read under a watch.
const TORN: usize = 4;

impl Core {
    pub async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        let deadline = self.deadline(opts.timeout);
        for key in keys {
            self.kind_of(key.space(), deadline).await?;
        }
        let mut sorted: Vec<Key> = keys.to_vec();
        sorted.sort();
        sorted.dedup();
        let paths: Vec<String> = sorted.iter().map(|key| self.link.layout.key(key)).collect();
        if request_bytes(&paths) > REQUEST_MAX {
            return Err(ErrorKind::TooManyOps { limit: REQUEST_MAX / 256 }.into());
        }
        for attempt in 1.. {
            let result = self.get_once(&sorted, &paths, opts.consistency, deadline).await;
            if let Some(done) = self.settled(attempt, result, deadline).await {
                return done;
            }
        }
        unreachable!("the last attempt is settled")
    }

    async fn get_once(
        &self,
        keys: &[Key],
        paths: &[String],
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Option<Snapshot>> {
        let (conn, floor) = self.fresh(consistency, deadline).await?;
        if paths.is_empty() {
            return Ok(Some(Snapshot { entries: Vec::new(), revision: floor }));
        }
        let spaces: BTreeSet<&Space> = keys.iter().map(|key| key.space()).collect();
        let mut all: Vec<String> = paths.to_vec();
        all.extend(spaces.iter().map(|space| self.link.layout.space(space)));
        let (mut nodes, revision) = self.read_nodes(&conn, &all, deadline).await?;
        for (space, marker) in spaces.iter().zip(nodes.split_off(paths.len())) {
            let marker = marker.ok_or(ErrorKind::ClusterReplaced)?;
            let here = keys.iter().zip(&nodes).filter(|(key, _)| key.space() == *space);
            self.learn(space, &marker, here);
        }
        let found = keys.iter().cloned().zip(nodes);
        let entries = found.filter_map(|(key, node)| Some(node?.entry(key))).collect();
        Ok(Some(Snapshot { entries, revision: revision.max(floor) }))
    }

    pub async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        let deadline = self.deadline(opts.timeout);
        self.kind_of(prefix.space(), deadline).await?;
        for attempt in 1.. {
            let fresh = self.fresh(opts.consistency, deadline).await;
            let result = match fresh {
                Ok((conn, floor)) => {
                    let calm = attempt <= TORN;
                    let page = self.page(&conn, prefix, after, limit, calm, deadline).await;
                    page.map(|page| page.map(|(snapshot, more)| (snapshot.at_least(floor), more)))
                }
                Err(error) => Err(error),
            };
            if let Some(done) = self.settled(attempt, result, deadline).await {
                return done;
            }
        }
        unreachable!("the last attempt is settled")
    }

    fn learn<'a>(
        &self,
        space: &Space,
        marker: &Node,
        keys: impl Iterator<Item = (&'a Key, &'a Option<Node>)>,
    ) {
        let created =
            keys.map(|(key, node)| (key.clone(), node.as_ref().map(|node| node.stat.czxid)));
        self.known.learn(space, marker.stat.version, created);
    }

    /// Whether a read is done: `None` when it came out torn or lost its connection, and may be
    /// tried again.
    async fn settled<T: Seen>(
        &self,
        attempt: usize,
        result: Result<Option<T>>,
        deadline: Instant,
    ) -> Option<Result<T>> {
        let last = attempt == ATTEMPTS;
        match result {
            Ok(Some(done)) => {
                self.saw(done.revision());
                Some(Ok(done))
            }
            Ok(None) if last => {
                Some(Err(Error::none(ErrorKind::Overloaded).because("changed while being read")))
            }
            Ok(None) => None,
            Err(error) if error.kind == ErrorKind::Unavailable && !last => {
                let again = Instant::now() < deadline && self.link.ready(deadline).await.is_ok();
                (!again).then_some(Err(error))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// A client whose reads are as fresh as asked for, and a revision they reach at least.
    async fn fresh(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<(Arc<Conn>, Revision)> {
        let floor = match consistency {
            Consistency::Linearizable => None,
            Consistency::Session => Some(self.highest()),
            Consistency::NotOlderThan(revision) => Some(revision),
        };
        if let Some(floor) = floor {
            let conn = self.link.ready(deadline).await?;
            if conn.seen() >= floor {
                let seen = conn.seen();
                return Ok((conn, seen));
            }
        }
        let (conn, now) = self.link.barrier(deadline).await?;
        match consistency {
            Consistency::NotOlderThan(wanted) if now < wanted => {
                Err(ErrorKind::FutureRevision.into())
            }
            _ => Ok((conn, now)),
        }
    }

    /// One page; `None` when keys came or went between the two reads, which is hoped not to happen
    /// where it is `calm`.
    async fn page(
        &self,
        conn: &Arc<Conn>,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        calm: bool,
        deadline: Instant,
    ) -> Result<Option<(Snapshot, bool)>> {
        let (mut keys, space) = self.keys(conn, prefix.space(), deadline).await?;
        keys.retain(|key| prefix.matches(key) && after.is_none_or(|after| key > after));
        let more = keys.len() > limit;
        keys.truncate(limit);
        let mut paths = vec![self.link.layout.space(prefix.space())];
        paths.extend(keys.iter().map(|key| self.link.layout.key(key)));
        if !calm || request_bytes(&paths) > REQUEST_MAX {
            // Too many for one state of one answer, or never twice the same: read under a watch.
            let (all, revision) = self.watched_snapshot(conn, prefix.space(), deadline).await?;
            let wanted = |key: &Key| prefix.matches(key) && after.is_none_or(|after| key > after);
            let mut entries: Vec<Entry> = all.into_values().filter(|e| wanted(&e.key)).collect();
            let more = entries.len() > limit;
            entries.truncate(limit);
            return Ok(Some((Snapshot { entries, revision }, more)));
        }
        let (nodes, revision) = self.read_nodes(conn, &paths, deadline).await?;
        let mut nodes = nodes.into_iter();
        let marker = nodes.next().flatten().ok_or(ErrorKind::ClusterReplaced)?;
        if !same_children(&marker.stat, &space) {
            return Ok(None);
        }
        let nodes: Vec<Option<Node>> = nodes.collect();
        self.learn(prefix.space(), &marker, keys.iter().zip(&nodes));
        let entries = keys.into_iter().zip(nodes).filter_map(|(key, n)| Some(n?.entry(key)));
        Ok(Some((Snapshot { entries: entries.collect(), revision }, more)))
    }

    /// The keys of a space in order, with the space's state at the same moment.
    pub async fn keys(
        &self,
        conn: &Conn,
        space: &Space,
        deadline: Instant,
    ) -> Result<(Vec<Key>, Stat)> {
        let path = self.link.layout.space(space);
        let reading = async {
            let mut reader = conn.client.new_multi_reader();
            reader.add_get_data(&path)?;
            reader.add_get_children(&path)?;
            reader.commit().await
        };
        let answers = match Conn::wait(deadline, reading).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(raw)) => return Err(fault::of_read(&raw)),
            Err(_) => return Err(ErrorKind::Timeout.into()),
        };
        let mut answers = answers.into_iter();
        match (answers.next(), answers.next()) {
            (
                Some(MultiReadResult::Data { stat, .. }),
                Some(MultiReadResult::Children { children }),
            ) => {
                conn.saw(newest(&stat));
                let child = |name: &String| self.link.layout.child(space, name);
                let mut keys: Vec<Key> = children.iter().filter_map(child).collect();
                keys.sort();
                Ok((keys, stat))
            }
            (Some(MultiReadResult::Error { err: zookeeper_client::Error::NoNode }), _) => {
                Err(ErrorKind::ClusterReplaced.into())
            }
            (Some(MultiReadResult::Error { err }), _) => Err(fault::of_read(&err)),
            _ => Err(ErrorKind::Corrupt.into()),
        }
    }

    /// Reads these keys in as many requests as their size needs; not one state.
    pub async fn read_in_parts(
        &self,
        conn: &Conn,
        keys: &[Key],
        deadline: Instant,
    ) -> Result<(BTreeMap<Key, Entry>, Revision)> {
        let mut entries = BTreeMap::new();
        let mut newest = Revision(0);
        for part in parts(keys, |key| self.link.layout.key(key)) {
            let paths: Vec<String> = part.iter().map(|(_, path)| path.clone()).collect();
            let (nodes, revision) = self.read_nodes(conn, &paths, deadline).await?;
            newest = newest.max(revision);
            let found = part.into_iter().zip(nodes);
            entries.extend(
                found.filter_map(|((key, _), node)| Some((key.clone(), node?.entry(key.clone())))),
            );
        }
        Ok((entries, newest))
    }

    /// Marker and keys as of one state, if one request can hold them.
    pub async fn read_with_space(
        &self,
        conn: &Conn,
        space: &Space,
        keys: &[Key],
        deadline: Instant,
    ) -> Result<(Vec<Option<Node>>, Revision)> {
        let mut paths = vec![self.link.layout.space(space)];
        paths.extend(keys.iter().map(|key| self.link.layout.key(key)));
        if request_bytes(&paths) > REQUEST_MAX * 3 / 2 {
            return Err(Error::none(ErrorKind::Overloaded).because("too much changes at once"));
        }
        let (mut nodes, revision) = self.read_nodes(conn, &paths, deadline).await?;
        let marker = nodes.remove(0).ok_or(ErrorKind::ClusterReplaced)?;
        self.learn(space, &marker, keys.iter().zip(&nodes));
        Ok((nodes, revision))
    }
}

/// Nobody created or deleted a child between the two readings.
fn same_children(a: &Stat, b: &Stat) -> bool {
    (a.czxid, a.version, a.cversion, a.pzxid) == (b.czxid, b.version, b.cversion, b.pzxid)
}

/// Each path costs its bytes and the headers of one operation.
fn request_bytes(paths: &[String]) -> usize {
    paths.iter().map(|path| path.len() + 16).sum()
}

fn parts(keys: &[Key], path: impl Fn(&Key) -> String) -> Vec<Vec<(&Key, String)>> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for key in keys {
        let path = path(key);
        bytes += path.len() + 16;
        part.push((key, path));
        if bytes > REQUEST_MAX - 512 {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

trait AtLeast {
    fn at_least(self, floor: Revision) -> Self;
}

impl AtLeast for Snapshot {
    fn at_least(mut self, floor: Revision) -> Snapshot {
        self.revision = self.revision.max(floor);
        self
    }
}

/// What a read has shown.
trait Seen {
    fn revision(&self) -> Revision;
}

impl Seen for Snapshot {
    fn revision(&self) -> Revision {
        self.revision
    }
}

impl Seen for (Snapshot, bool) {
    fn revision(&self) -> Revision {
        self.0.revision
    }
}

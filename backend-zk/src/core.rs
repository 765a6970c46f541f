//! What a handle, its sessions and its watches share: the link, names, identity and spaces.

use crate::conn::{Conn, newest};
use crate::fault;
use crate::known::Known;
use crate::layout::Layout;
use crate::link::Link;
use bytes::Bytes;
use coord_api::{
    ClusterId, Entry, Error, ErrorKind, Key, OpenOpts, Result, Revision, SessionId, Space,
    SpaceKind, Version,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use zookeeper_client::{CreateMode, Error as Raw, MultiReadResult, Stat};

pub(crate) struct Core {
    pub link: Arc<Link>,
    pub opts: OpenOpts,
    pub cluster: ClusterId,
    pub known: Known,
    spaces: Mutex<HashMap<Space, SpaceKind>>,
    highest: AtomicU64,
}

impl Core {
    pub fn new(link: Arc<Link>, opts: OpenOpts, cluster: ClusterId) -> Core {
        let (spaces, highest) = (Mutex::default(), AtomicU64::new(0));
        Core { link, opts, cluster, known: Known::default(), spaces, highest }
    }

    /// Looks up every declared space, so that calls need not.
    pub async fn learn_spaces(&self) -> Result<()> {
        let deadline = self.deadline(None);
        let (conn, _) = self.link.barrier(deadline).await?;
        let root = self.link.layout.root();
        let listing = async { conn.client.list_children(root).await };
        let names = match Conn::wait(deadline, listing).await {
            Ok(Ok(names)) => names,
            Ok(Err(raw)) => return Err(fault::of_read(&raw)),
            Err(_) => return Err(ErrorKind::Timeout.into()),
        };
        let spaces: Vec<Space> = names.iter().filter_map(|name| Space::new(name).ok()).collect();
        let paths: Vec<String> = spaces.iter().map(|s| self.link.layout.space(s)).collect();
        let (nodes, _) = self.read_nodes(&conn, &paths, deadline).await?;
        let kinds = nodes.into_iter().map(|node| parse_kind(&node?.data));
        let found = spaces.into_iter().zip(kinds).filter_map(|(space, kind)| Some((space, kind?)));
        self.spaces.lock().extend(found);
        Ok(())
    }

    pub fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.opts.request_timeout)
    }

    /// The newest revision this handle has shown to anybody (R3, W11).
    pub fn highest(&self) -> Revision {
        Revision(self.highest.load(Ordering::Acquire))
    }

    pub fn saw(&self, revision: Revision) {
        self.highest.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// The kind of a declared space.
    ///
    /// # Errors
    /// `UnknownSpace`, or those of a linearizable read.
    pub async fn kind_of(&self, space: &Space, deadline: Instant) -> Result<SpaceKind> {
        if let Some(kind) = self.spaces.lock().get(space) {
            return Ok(*kind);
        }
        let (conn, _) = self.link.barrier(deadline).await?;
        let path = self.link.layout.space(space);
        let reading = async { conn.client.get_data(&path).await };
        let data = match Conn::wait(deadline, reading).await {
            Ok(Ok((data, _))) => data,
            Ok(Err(Raw::NoNode)) => return Err(ErrorKind::UnknownSpace.into()),
            Ok(Err(raw)) => return Err(fault::of_read(&raw)),
            Err(_) => return Err(ErrorKind::Timeout.into()),
        };
        let kind = parse_kind(&data).ok_or(ErrorKind::Corrupt)?;
        self.spaces.lock().insert(space.clone(), kind);
        Ok(kind)
    }

    /// What the node of a space holds, for writing it again.
    pub fn known_kind(&self, space: &Space) -> &'static [u8] {
        let kind = self.spaces.lock().get(space).copied();
        kind_name(kind.unwrap_or(SpaceKind::Persistent)).as_bytes()
    }

    /// Declares a space; repeated until the outcome is known, which a declaration allows.
    pub async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        let deadline = self.deadline(None);
        let path = self.link.layout.space(space);
        loop {
            match self.kind_of(space, deadline).await {
                Ok(found) if found == kind => return Ok(()),
                Ok(_) => return Err(ErrorKind::WrongSpaceKind.into()),
                Err(error) if error.kind == ErrorKind::UnknownSpace => {}
                Err(error) => return Err(error),
            }
            let conn = self.link.ready(deadline).await?;
            let options = self.link.access.create(CreateMode::Persistent);
            let name = kind_name(kind).as_bytes();
            let creating = async { conn.client.create(&path, name, &options).await };
            match Conn::wait(deadline, creating).await {
                Ok(Ok(_) | Err(Raw::NodeExists)) => {}
                Ok(Err(raw)) if fault::is_transient(&raw) => {}
                Ok(Err(raw)) => return Err(fault::of_write(&raw)),
                Err(_) => return Err(Error::unknown(ErrorKind::Timeout)),
            }
        }
    }

    /// Several nodes' data as of one state, `None` for absent ones. The zxid is one that this
    /// state certainly has reached and that every later change of these nodes exceeds (R7).
    ///
    /// # Errors
    /// Effect None; `ClusterReplaced` is not noticed here.
    pub async fn read_nodes(
        &self,
        conn: &Conn,
        paths: &[String],
        deadline: Instant,
    ) -> Result<(Vec<Option<Node>>, Revision)> {
        let before = conn.seen();
        let reading = async {
            let mut reader = conn.client.new_multi_reader();
            for path in paths {
                reader.add_get_data(path)?;
            }
            reader.commit().await
        };
        let answers = match Conn::wait(deadline, reading).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(raw)) => return Err(fault::of_read(&raw)),
            Err(_) => return Err(ErrorKind::Timeout.into()),
        };
        let mut nodes = Vec::with_capacity(answers.len());
        let mut newest_seen = before.0;
        for answer in answers {
            nodes.push(match answer {
                MultiReadResult::Data { data, stat } => {
                    newest_seen = newest_seen.max(newest(&stat));
                    Some(Node { data, stat })
                }
                MultiReadResult::Error { err: Raw::NoNode } => None,
                MultiReadResult::Error { err } => return Err(fault::of_read(&err)),
                _ => return Err(ErrorKind::Corrupt.into()),
            });
        }
        conn.saw(newest_seen);
        Ok((nodes, Revision(newest_seen)))
    }
}

/// A node's content and state.
#[derive(Debug)]
pub(crate) struct Node {
    pub data: Vec<u8>,
    pub stat: Stat,
}

impl Node {
    pub fn entry(self, key: Key) -> Entry {
        Entry {
            key,
            value: Bytes::from(self.data),
            version: version(&self.stat),
            created: revision(self.stat.czxid),
            modified: revision(self.stat.mzxid),
            owner: (self.stat.ephemeral_owner != 0)
                .then(|| SessionId(self.stat.ephemeral_owner.cast_unsigned())),
        }
    }
}

/// Creation and number of changes: unique also after deletion and re-creation, where the number
/// alone starts again (T4).
pub(crate) fn version(stat: &Stat) -> Version {
    Version([stat.czxid.cast_unsigned(), u64::from(stat.version.cast_unsigned()), 0])
}

pub(crate) fn revision(zxid: i64) -> Revision {
    Revision(u64::try_from(zxid).unwrap_or(0))
}

fn kind_name(kind: SpaceKind) -> &'static str {
    match kind {
        SpaceKind::Persistent => "persistent",
        SpaceKind::Ephemeral => "ephemeral",
    }
}

fn parse_kind(value: &[u8]) -> Option<SpaceKind> {
    [SpaceKind::Persistent, SpaceKind::Ephemeral]
        .into_iter()
        .find(|kind| kind_name(*kind).as_bytes() == value)
}

/// Makes the namespace's nodes and finds the cluster's identity, or draws it. Every step may be
/// repeated and done by several openers at once: what exists already stays. A user who may not
/// write or read beyond the namespace has the namespace's own identity instead. The witness is
/// the node that exists in this cluster alone.
pub(crate) async fn found(conn: &Conn, link: &Link) -> Result<(ClusterId, String)> {
    let deadline = Instant::now() + link.access.connect_timeout;
    let shared = Layout::new(&[]);
    let readable = link.access.shared();
    let everybody = CreateMode::Persistent.with_acls(zookeeper_client::Acls::new(&readable));
    let identity = identify(conn, &shared, &everybody, deadline).await;
    let layout = &link.layout;
    let open = CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all());
    let ours = link.access.create(CreateMode::Persistent);
    let skeleton = layout.skeleton();
    if read(conn, &skeleton[skeleton.len() - 1], deadline).await?.is_none() {
        let ancestors = layout.ancestors().into_iter().map(|path| (path, &open));
        for (path, options) in ancestors.chain(skeleton.into_iter().map(|path| (path, &ours))) {
            make(conn, &path, b"", options, deadline).await?;
        }
    }
    match identity {
        Ok(cluster) => Ok((cluster, shared.witness(cluster))),
        Err(error) if error.kind == ErrorKind::PermissionDenied => {
            let cluster = identify(conn, layout, &ours, deadline).await?;
            Ok((cluster, layout.witness(cluster)))
        }
        Err(error) => Err(error),
    }
}

async fn identify(
    conn: &Conn,
    layout: &Layout,
    options: &zookeeper_client::CreateOptions<'_>,
    deadline: Instant,
) -> Result<ClusterId> {
    let id = layout.id();
    if read(conn, &id, deadline).await?.is_none() {
        let [root, sys] = layout.parents();
        for path in [&root, &sys] {
            make(conn, path, b"", options, deadline).await?;
        }
        let drawn = uuid::Uuid::new_v4().to_string();
        make(conn, &id, drawn.as_bytes(), options, deadline).await?;
    }
    let text = read(conn, &id, deadline).await?.ok_or(ErrorKind::Corrupt)?;
    let text = String::from_utf8(text).map_err(|_| ErrorKind::Corrupt)?;
    let id = uuid::Uuid::try_parse(&text).map_err(|_| ErrorKind::Corrupt)?;
    let cluster = ClusterId(*id.as_bytes());
    let witness = layout.witness(cluster);
    if read(conn, &witness, deadline).await?.is_none() {
        make(conn, &witness, b"", options, deadline).await?;
    }
    Ok(cluster)
}

async fn make(
    conn: &Conn,
    path: &str,
    data: &[u8],
    options: &zookeeper_client::CreateOptions<'_>,
    deadline: Instant,
) -> Result<()> {
    let creating = async { conn.client.create(path, data, options).await };
    match Conn::wait(deadline, creating).await {
        Ok(Ok(_) | Err(Raw::NodeExists)) => Ok(()),
        Ok(Err(raw)) => Err(fault::of_read(&raw)),
        Err(_) => Err(ErrorKind::Timeout.into()),
    }
}

async fn read(conn: &Conn, path: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
    let reading = async { conn.client.get_data(path).await };
    match Conn::wait(deadline, reading).await {
        Ok(Ok((data, _))) => Ok(Some(data)),
        Ok(Err(Raw::NoNode)) => Ok(None),
        Ok(Err(raw)) => Err(fault::of_read(&raw)),
        Err(_) => Err(ErrorKind::Timeout.into()),
    }
}

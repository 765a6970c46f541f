//! What a handle, its sessions and its watches share: connections, names, identity, and the
//! newest revision seen.

use crate::fault::Fault;
use crate::layout::Layout;
use crate::pool::{Kind, Pool};
use bytes::Bytes;
use coord_api::{
    ClusterId, Entry, Error, ErrorKind, Key, OpenOpts, Result, Revision, SessionId, Space,
    SpaceKind, Version,
};
use etcd_client::proto::{PbKeyValue, PbTxnOpResponse};
use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnResponse};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Longest answer taken from a server: a page of the largest values.
pub(crate) const ANSWER_MAX: usize = 96 << 20;

pub(crate) struct Core {
    pub pool: Arc<Pool>,
    pub layout: Layout,
    pub opts: OpenOpts,
    /// Where the identity is, and the revision at which it was written; compared by every
    /// transaction and read.
    pub id_key: String,
    pub id_created: i64,
    pub cluster: ClusterId,
    spaces: Mutex<HashMap<Space, SpaceKind>>,
    highest: AtomicU64,
}

/// The present keys of one range of an answer.
pub(crate) type Range = Vec<PbKeyValue>;

impl Core {
    /// Finds the cluster's identity, or draws one, and keeps it. A user who may not go beyond the
    /// namespace has the namespace's own instead.
    pub async fn open(pool: Arc<Pool>, layout: Layout, opts: OpenOpts) -> Result<Core> {
        let deadline = Instant::now() + opts.connect_timeout;
        let mut id_key = Layout::cluster_id();
        let mut identity = identify(&pool, &id_key, deadline).await;
        let denied = |error: &Error| error.kind == ErrorKind::PermissionDenied;
        if identity.as_ref().is_err_and(denied) {
            id_key = layout.id();
            identity = identify(&pool, &id_key, deadline).await;
        }
        let (cluster, id_created) = identity?;
        if opts.expect_cluster.is_some_and(|expected| expected != cluster) {
            return Err(ErrorKind::ClusterReplaced.into());
        }
        let (spaces, highest) = (Mutex::default(), AtomicU64::new(0));
        let core = Core { pool, layout, opts, id_key, id_created, cluster, spaces, highest };
        core.learn_spaces(deadline).await?;
        Ok(core)
    }

    /// Looks up every declared space, so that calls need not.
    async fn learn_spaces(&self, deadline: Instant) -> Result<()> {
        let (start, end) = self.layout.spaces();
        let all = TxnOp::get(start.clone(), Some(GetOptions::new().with_range(end)));
        let (ranges, revision) = self.read(Kind::Read, vec![all], deadline).await?;
        let mut spaces = self.spaces.lock();
        for kv in ranges.into_iter().flatten() {
            let name = kv.key.strip_prefix(start.as_bytes()).map(String::from_utf8_lossy);
            let space = name.and_then(|name| Space::new(&name).ok());
            if let (Some(space), Some(kind)) = (space, parse_kind(&kv.value)) {
                spaces.insert(space, kind);
            }
        }
        self.saw(revision);
        Ok(())
    }

    /// The same identity and names over other connections.
    pub fn with_pool(&self, pool: Arc<Pool>) -> Core {
        Core {
            pool,
            layout: self.layout.clone(),
            opts: self.opts.clone(),
            id_key: self.id_key.clone(),
            id_created: self.id_created,
            cluster: self.cluster,
            spaces: Mutex::new(self.spaces.lock().clone()),
            highest: AtomicU64::new(self.highest.load(Ordering::Acquire)),
        }
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

    /// Holds while the servers are the ones this handle was opened on (G6).
    pub fn same_cluster(&self) -> Compare {
        Compare::create_revision(self.id_key.clone(), CompareOp::Equal, self.id_created)
    }

    /// Runs a read-only transaction: all ranges at one revision.
    ///
    /// # Errors
    /// `ClusterReplaced` for [`Kind::Read`]; a [`Kind::Local`] read of a server that lags behind
    /// the namespace's creation gives `Unavailable`.
    pub async fn read(
        &self,
        kind: Kind,
        ranges: Vec<TxnOp>,
        deadline: Instant,
    ) -> Result<(Vec<Range>, Revision)> {
        let txn = Txn::new().when([self.same_cluster()]).and_then(ranges);
        let answer = self
            .pool
            .call(kind, deadline, |client| {
                let txn = txn.clone();
                let mut kv = client.kv_client().max_decoding_message_size(ANSWER_MAX);
                async move { kv.txn(txn).await.map_err(Fault::from) }
            })
            .await?;
        let (succeeded, revision, responses) = take_apart(answer)?;
        if !succeeded {
            let replaced = kind == Kind::Read;
            let kind = if replaced { ErrorKind::ClusterReplaced } else { ErrorKind::Unavailable };
            return Err(kind.into());
        }
        Ok((responses.into_iter().map(Response::range).collect(), revision))
    }

    /// The kind of a declared space.
    ///
    /// # Errors
    /// `UnknownSpace`, or those of a read.
    pub async fn kind_of(&self, space: &Space, deadline: Instant) -> Result<SpaceKind> {
        if let Some(kind) = self.spaces.lock().get(space) {
            return Ok(*kind);
        }
        let range = TxnOp::get(self.layout.space(space), None);
        let (ranges, _) = self.read(Kind::Read, vec![range], deadline).await?;
        let kv = ranges.into_iter().flatten().next().ok_or(ErrorKind::UnknownSpace)?;
        let kind = parse_kind(&kv.value).ok_or(ErrorKind::Corrupt)?;
        self.spaces.lock().insert(space.clone(), kind);
        Ok(kind)
    }

    /// The kinds of all these spaces, for checks that cannot wait.
    pub async fn kinds_of<'a>(
        &self,
        spaces: impl Iterator<Item = &'a Space>,
        deadline: Instant,
    ) -> Result<HashMap<Space, SpaceKind>> {
        let mut kinds = HashMap::new();
        for space in spaces {
            if !kinds.contains_key(space) {
                kinds.insert(space.clone(), self.kind_of(space, deadline).await?);
            }
        }
        Ok(kinds)
    }

    /// Declares a space; repeated until the outcome is known, which a declaration allows.
    pub async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        let deadline = self.deadline(None);
        match self.kind_of(space, deadline).await {
            Ok(found) if found == kind => return Ok(()),
            Ok(_) => return Err(ErrorKind::WrongSpaceKind.into()),
            Err(error) if error.kind == ErrorKind::UnknownSpace => {}
            Err(error) => return Err(error),
        }
        let key = self.layout.space(space);
        let txn = Txn::new()
            .when([self.same_cluster(), Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key, kind_name(kind), None)]);
        self.pool
            .call(Kind::Read, deadline, |mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await.map_err(Fault::from) }
            })
            .await?;
        match self.kind_of(space, deadline).await? {
            found if found == kind => Ok(()),
            _ => Err(ErrorKind::WrongSpaceKind.into()),
        }
    }

    /// The entry of a key-value pair; `None` for keys this layer did not write.
    pub fn entry(&self, space: &Space, kv: PbKeyValue) -> Option<Entry> {
        let key = self.layout.parse(space, &kv.key)?;
        Some(entry_of(key, kv))
    }
}

/// The entry a key-value pair is.
pub(crate) fn entry_of(key: Key, kv: PbKeyValue) -> Entry {
    Entry {
        key,
        value: Bytes::from(kv.value),
        version: version(kv.mod_revision),
        created: revision(kv.create_revision),
        modified: revision(kv.mod_revision),
        owner: (kv.lease != 0).then(|| SessionId(kv.lease.cast_unsigned())),
    }
}

pub(crate) fn version(mod_revision: i64) -> Version {
    Version([mod_revision.cast_unsigned(), 0, 0])
}

pub(crate) fn revision(raw: i64) -> Revision {
    Revision(raw.cast_unsigned())
}

/// Etcd counts from 1 in an i64; what is beyond it cannot have come from there.
pub(crate) fn raw(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// One part of a transaction's answer.
pub(crate) enum Response {
    Range(Range),
    Write,
}

impl Response {
    pub fn range(self) -> Range {
        match self {
            Response::Range(range) => range,
            Response::Write => Range::new(),
        }
    }
}

/// Whether it succeeded, at which revision, with which answers.
pub(crate) fn take_apart(answer: TxnResponse) -> Result<(bool, Revision, Vec<Response>)> {
    let answer = answer.0;
    let header = answer.header.ok_or_else(|| corrupt("an answer without header"))?;
    let part = |response: Option<PbTxnOpResponse>| match response {
        Some(PbTxnOpResponse::ResponseRange(range)) => Response::Range(range.kvs),
        _ => Response::Write,
    };
    let parts = answer.responses.into_iter().map(|r| part(r.response)).collect();
    Ok((answer.succeeded, revision(header.revision), parts))
}

pub(crate) fn corrupt(what: &str) -> Error {
    Error::none(ErrorKind::Corrupt).because(what)
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

/// The identity under `key` and when it was written; drawn now if there is none.
async fn identify(pool: &Pool, key: &str, deadline: Instant) -> Result<(ClusterId, i64)> {
    if let Some(found) = read_id(pool, key, deadline).await? {
        return Ok(found);
    }
    draw_id(pool, key, deadline).await?;
    read_id(pool, key, deadline).await?.ok_or_else(|| corrupt("no identity after writing one"))
}

async fn read_id(pool: &Pool, key: &str, deadline: Instant) -> Result<Option<(ClusterId, i64)>> {
    let read = |mut client: etcd_client::Client| async move {
        client.get(key, Some(GetOptions::new())).await.map_err(Fault::from)
    };
    let answer = pool.call(Kind::Read, deadline, read).await?;
    let Some(kv) = answer.0.kvs.into_iter().next() else { return Ok(None) };
    let text = std::str::from_utf8(&kv.value).ok();
    let id = text.and_then(|text| uuid::Uuid::try_parse(text).ok());
    let id = id.ok_or_else(|| corrupt("the identity is no UUID"))?;
    Ok(Some((ClusterId(*id.as_bytes()), kv.create_revision)))
}

/// Several openers may do this at once and again: the first one's identity stays.
async fn draw_id(pool: &Pool, key: &str, deadline: Instant) -> Result<()> {
    let txn = Txn::new()
        .when([Compare::create_revision(key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key, uuid::Uuid::new_v4().to_string(), None)]);
    let write = |mut client: etcd_client::Client| {
        let txn = txn.clone();
        async move { client.txn(txn).await.map_err(Fault::from) }
    };
    pool.call(Kind::Read, deadline, write).await.map(|_| ())
}

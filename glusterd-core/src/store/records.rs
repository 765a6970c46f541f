//! What is stored under a key: versioned JSON, one object per record; volumes here, the rest in
//! `pool_records`.
//!
//! A newer daemon reads an older one's records: fields are only added, with a default. JSON,
//! because a record is read far more often by people in trouble than it is written.

pub use super::pool_records::Member;
use crate::model::{
    Brick, Credentials, DefragStatus, Kind, Layout, LimitKind, NodeId, OptionList, QuotaLimit,
    QuotaList, Status, Task, TaskKind, ThinArbiter, Transport, Volume, VolumeId, VolumeName,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// Version written into records of this daemon.
const FORMAT: u32 = 1;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("not a record of this kind")]
    Json(#[from] serde_json::Error),
    #[error("written by a newer daemon (format {0}, known {FORMAT})")]
    Newer(u32),
    #[error("field {0} has no legal value")]
    Field(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    format: u32,
    #[serde(flatten)]
    body: T,
}

pub fn encode<T>(model: &T) -> Vec<u8>
where
    T: Record,
{
    let envelope = Envelope { format: FORMAT, body: T::Body::from(model) };
    serde_json::to_vec(&envelope).expect("records hold text and numbers only")
}

/// A volume that holds the pool's sweeps up to number `swept`.
pub fn encode_volume(volume: &Volume, swept: u64) -> Vec<u8> {
    let body = VolumeBody { swept, ..VolumeBody::from(volume) };
    serde_json::to_vec(&Envelope { format: FORMAT, body })
        .expect("records hold text and numbers only")
}

/// A volume, and the number of the last sweep that it holds.
///
/// # Errors
/// As [`decode`].
pub fn decode_volume(bytes: &[u8]) -> Result<(Volume, u64), RecordError> {
    let body: VolumeBody = body(bytes)?;
    let swept = body.swept;
    Ok((Volume::read(body)?, swept))
}

/// # Errors
/// [`RecordError`]: the bytes are no record, or one that this daemon does not understand.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T, RecordError> {
    T::read(body(bytes)?)
}

fn body<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, RecordError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(bytes)?;
    if format > FORMAT {
        return Err(RecordError::Newer(format));
    }
    let envelope: Envelope<B> = serde_json::from_slice(bytes)?;
    Ok(envelope.body)
}

/// A model type with a stored form.
pub trait Record: Sized {
    type Body: Serialize + DeserializeOwned + for<'a> From<&'a Self>;
    fn read(body: Self::Body) -> Result<Self, RecordError>;
}

#[derive(Serialize, Deserialize)]
pub struct VolumeBody {
    name: String,
    id: Uuid,
    kind: u32,
    replica: u32,
    arbiter: u32,
    thin_arbiter: u32,
    disperse: u32,
    redundancy: u32,
    status: u32,
    transport: u32,
    bricks: Vec<BrickBody>,
    ta_brick: Option<(String, String)>,
    options: Vec<(String, String)>,
    username: String,
    password: String,
    version: u32,
    op_version: u32,
    client_op_version: u32,
    quota_version: u32,
    snap_max_hard_limit: u64,
    #[serde(default)]
    restored_from_snap: Uuid,
    #[serde(default)]
    start_epoch: u64,
    #[serde(default)]
    task: Option<TaskBody>,
    #[serde(default)]
    quota: QuotaBody,
    /// Number of the last sweep of the pool that the record holds.
    #[serde(default)]
    swept: u64,
}

/// Each limit as `u` or `o`, then the id in hexadecimal.
#[derive(Default, Serialize, Deserialize)]
struct QuotaBody {
    version: u32,
    limits: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub struct BrickBody {
    node: Uuid,
    host: String,
    path: String,
    real_path: String,
    id: String,
    mount_dir: String,
    fsid: u64,
    #[serde(default)]
    decommissioned: bool,
    #[serde(default)]
    snap_status: i32,
    #[serde(default)]
    resets: u64,
}

#[derive(Serialize, Deserialize)]
pub struct TaskBody {
    id: Uuid,
    kind: String,
    command: u32,
    commit_hash: u32,
    status: u32,
    bricks: Vec<String>,
    #[serde(default)]
    over: bool,
}

impl From<&Volume> for VolumeBody {
    fn from(v: &Volume) -> VolumeBody {
        VolumeBody {
            name: v.name.to_string(),
            id: v.id.0,
            kind: v.layout.kind.code(),
            replica: v.layout.replica,
            arbiter: v.layout.arbiter,
            thin_arbiter: v.layout.thin_arbiter,
            disperse: v.layout.disperse,
            redundancy: v.layout.redundancy,
            status: v.status.code(),
            transport: v.transport.code(),
            bricks: v.bricks.iter().map(BrickBody::from).collect(),
            ta_brick: v.thin_arbiter.as_ref().map(|ta| (ta.host.clone(), ta.path.clone())),
            options: pairs(&v.options),
            username: v.credentials.username.clone(),
            password: v.credentials.password.clone(),
            version: v.version,
            op_version: v.op_version,
            client_op_version: v.client_op_version,
            quota_version: v.quota_version,
            snap_max_hard_limit: v.snap_max_hard_limit,
            restored_from_snap: v.restored_from_snap,
            start_epoch: v.start_epoch,
            task: v.task.as_ref().map(TaskBody::from),
            quota: QuotaBody {
                version: v.quota.version,
                limits: v.quota.limits.iter().map(limit_text).collect(),
            },
            swept: 0,
        }
    }
}

impl Record for Volume {
    type Body = VolumeBody;

    fn read(b: VolumeBody) -> Result<Volume, RecordError> {
        let layout = Layout {
            kind: Kind::from_code(b.kind).ok_or(RecordError::Field("kind"))?,
            replica: b.replica,
            arbiter: b.arbiter,
            thin_arbiter: b.thin_arbiter,
            disperse: b.disperse,
            redundancy: b.redundancy,
        };
        Ok(Volume {
            name: VolumeName::parse(&b.name).ok_or(RecordError::Field("name"))?,
            id: VolumeId(b.id),
            layout,
            status: Status::from_code(b.status).ok_or(RecordError::Field("status"))?,
            transport: Transport::from_code(b.transport).ok_or(RecordError::Field("transport"))?,
            bricks: b.bricks.into_iter().map(brick).collect(),
            thin_arbiter: b.ta_brick.map(|(host, path)| ThinArbiter { host, path }),
            options: OptionList::from_newest_first(b.options),
            credentials: Credentials { username: b.username, password: b.password },
            version: b.version,
            op_version: b.op_version,
            client_op_version: b.client_op_version,
            quota_version: b.quota_version,
            snap_max_hard_limit: b.snap_max_hard_limit,
            restored_from_snap: b.restored_from_snap,
            start_epoch: b.start_epoch,
            task: b.task.map(task).transpose()?,
            quota: quota(&b.quota)?,
        })
    }
}

fn limit_text(limit: &QuotaLimit) -> String {
    let kind = match limit.kind {
        LimitKind::Usage => 'u',
        LimitKind::Objects => 'o',
    };
    format!("{kind}{}", limit.gfid.simple())
}

fn quota(b: &QuotaBody) -> Result<QuotaList, RecordError> {
    let limit = |text: &String| {
        let (kind, gfid) = text.split_at_checked(1)?;
        let kind = match kind {
            "u" => LimitKind::Usage,
            "o" => LimitKind::Objects,
            _ => return None,
        };
        Some(QuotaLimit { gfid: Uuid::try_parse(gfid).ok()?, kind })
    };
    let limits: Option<_> = b.limits.iter().map(limit).collect();
    Ok(QuotaList { version: b.version, limits: limits.ok_or(RecordError::Field("quota"))? })
}

impl From<&Brick> for BrickBody {
    fn from(b: &Brick) -> BrickBody {
        BrickBody {
            node: b.node.0,
            host: b.host.clone(),
            path: b.path.clone(),
            real_path: b.real_path.clone(),
            id: b.id.clone(),
            mount_dir: b.mount_dir.clone(),
            fsid: b.fsid,
            decommissioned: b.decommissioned,
            snap_status: b.snap_status,
            resets: b.resets,
        }
    }
}

fn brick(b: BrickBody) -> Brick {
    Brick {
        node: NodeId(b.node),
        host: b.host,
        path: b.path,
        real_path: b.real_path,
        id: b.id,
        mount_dir: b.mount_dir,
        fsid: b.fsid,
        decommissioned: b.decommissioned,
        snap_status: b.snap_status,
        resets: b.resets,
    }
}

/// Names of task kinds in records.
const TASK_KINDS: [(TaskKind, &str); 3] = [
    (TaskKind::Rebalance, "rebalance"),
    (TaskKind::FixLayout, "fix-layout"),
    (TaskKind::RemoveBrick, "remove-brick"),
];

impl From<&Task> for TaskBody {
    fn from(t: &Task) -> TaskBody {
        let kind = TASK_KINDS.iter().find(|(kind, _)| *kind == t.kind).map(|(_, name)| *name);
        TaskBody {
            id: t.id,
            kind: kind.expect("every kind has a name").to_owned(),
            command: t.command,
            commit_hash: t.commit_hash,
            status: t.status.code(),
            bricks: t.bricks.clone(),
            over: t.over,
        }
    }
}

fn task(b: TaskBody) -> Result<Task, RecordError> {
    let kind = TASK_KINDS.iter().find(|(_, name)| *name == b.kind).map(|(kind, _)| *kind);
    Ok(Task {
        id: b.id,
        kind: kind.ok_or(RecordError::Field("task.kind"))?,
        command: b.command,
        commit_hash: b.commit_hash,
        status: DefragStatus::from_code(b.status).ok_or(RecordError::Field("task.status"))?,
        bricks: b.bricks,
        over: b.over,
    })
}

pub(super) fn pairs(options: &OptionList) -> Vec<(String, String)> {
    options.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Global, SweepChange};

    #[test]
    fn a_global_survives_the_round_trip_and_newer_formats_are_refused() {
        let mut global = Global::default();
        global.options.set("cluster.brick-multiplex", "on");
        global.sweep(SweepChange::Set(vec![("a".into(), "b".into())]));
        global.sweep(SweepChange::OpVersion(7));
        let bytes = encode(&global);
        assert_eq!(decode::<Global>(&bytes).unwrap(), global);

        let newer = String::from_utf8(bytes).unwrap().replace("\"format\":1", "\"format\":2");
        assert!(matches!(decode::<Global>(newer.as_bytes()), Err(RecordError::Newer(2))));
    }

    #[test]
    fn cut_records_are_errors() {
        let bytes = encode(&Global::default());
        for n in 0..bytes.len() {
            assert!(decode::<Global>(&bytes[..n]).is_err(), "{n}");
        }
    }
}

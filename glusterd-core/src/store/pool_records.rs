//! Records of the pool itself, and of its nodes: as `records`, which holds volumes.

use super::keys::Pool;
use super::records::{Record, RecordError, pairs};
use crate::model::{
    Counts, DefragStatus, Global, NodeId, OptionList, Peer, PeerState, Progress, Sweep, SweepChange,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a task ended on a node; times in seconds.
#[derive(Serialize, Deserialize)]
pub struct ProgressBody {
    task: Uuid,
    node: Uuid,
    status: u32,
    files: u64,
    bytes: u64,
    scanned: u64,
    failures: u64,
    skipped: u64,
    seconds: f64,
}

impl From<&Progress> for ProgressBody {
    fn from(p: &Progress) -> ProgressBody {
        let Counts { files, bytes, scanned, failures, skipped, seconds } = p.counts;
        let (task, node, status) = (p.task, p.node.0, p.status.code());
        ProgressBody { task, node, status, files, bytes, scanned, failures, skipped, seconds }
    }
}

impl Record for Progress {
    type Body = ProgressBody;

    fn read(b: ProgressBody) -> Result<Progress, RecordError> {
        let ProgressBody { files, bytes, scanned, failures, skipped, seconds, .. } = b;
        Ok(Progress {
            task: b.task,
            node: NodeId(b.node),
            status: DefragStatus::from_code(b.status).ok_or(RecordError::Field("status"))?,
            counts: Counts { files, bytes, scanned, failures, skipped, seconds },
        })
    }
}

#[derive(Serialize, Deserialize)]
pub struct PeerBody {
    id: Uuid,
    hostnames: Vec<String>,
    #[serde(default)]
    detaching: bool,
}

impl From<&Peer> for PeerBody {
    fn from(p: &Peer) -> PeerBody {
        let detaching = p.state == PeerState::Detaching;
        PeerBody { id: p.id.0, hostnames: p.hostnames.clone(), detaching }
    }
}

impl Record for Peer {
    type Body = PeerBody;

    fn read(b: PeerBody) -> Result<Peer, RecordError> {
        let state = if b.detaching { PeerState::Detaching } else { PeerState::Befriended };
        Ok(Peer { id: NodeId(b.id), hostnames: b.hostnames, state })
    }
}

#[derive(Serialize, Deserialize)]
pub struct GlobalBody {
    op_version: u32,
    version: u32,
    options: Vec<(String, String)>,
    #[serde(default)]
    swept: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sweeps: Vec<SweepBody>,
}

/// Either field is there.
#[derive(Serialize, Deserialize)]
pub struct SweepBody {
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<Vec<(String, String)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op_version: Option<u32>,
}

impl From<&Sweep> for SweepBody {
    fn from(sweep: &Sweep) -> SweepBody {
        let (set, op_version) = match &sweep.change {
            SweepChange::Set(pairs) => (Some(pairs.clone()), None),
            SweepChange::OpVersion(op_version) => (None, Some(*op_version)),
        };
        SweepBody { number: sweep.number, set, op_version }
    }
}

fn sweep(b: SweepBody) -> Result<Sweep, RecordError> {
    let change = match (b.set, b.op_version) {
        (Some(pairs), None) => SweepChange::Set(pairs),
        (None, Some(op_version)) => SweepChange::OpVersion(op_version),
        _ => return Err(RecordError::Field("sweeps")),
    };
    Ok(Sweep { number: b.number, change })
}

impl From<&Global> for GlobalBody {
    fn from(g: &Global) -> GlobalBody {
        GlobalBody {
            op_version: g.op_version,
            version: g.version,
            options: pairs(&g.options),
            swept: g.swept,
            sweeps: g.sweeps.iter().map(SweepBody::from).collect(),
        }
    }
}

impl Record for Global {
    type Body = GlobalBody;

    fn read(b: GlobalBody) -> Result<Global, RecordError> {
        Ok(Global {
            op_version: b.op_version,
            version: b.version,
            options: OptionList::from_newest_first(b.options),
            swept: b.swept,
            sweeps: b.sweeps.into_iter().map(sweep).collect::<Result<_, _>>()?,
        })
    }
}

/// Which pool a node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub pool: Pool,
}

#[derive(Serialize, Deserialize)]
pub struct MemberBody {
    pool: Uuid,
}

impl From<&Member> for MemberBody {
    fn from(m: &Member) -> MemberBody {
        MemberBody { pool: m.pool.0 }
    }
}

impl Record for Member {
    type Body = MemberBody;

    fn read(b: MemberBody) -> Result<Member, RecordError> {
        Ok(Member { pool: Pool(b.pool) })
    }
}

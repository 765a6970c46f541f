//! Model edits as one guarded change.
//!
//! Whoever plans an edit has read a [`Sight`]; the change holds only if nothing it relied on has
//! moved since: each record written is guarded by the version it was read at, and a change of the
//! set of bricks by the pool's brick marker as well.

use super::image::Sight;
use super::keys::{Pool, member};
use super::records::{self, Member};
use crate::model::{BrickRef, Global, NodeId, Peer, Progress, Volume, VolumeName};
use coord_api::{Key, Txn, Version};
use std::collections::BTreeSet;
use uuid::Uuid;

/// One record's new state.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Creates or replaces the volume of that name. `version` of the volume is the caller's.
    PutVolume(Box<Volume>),
    DeleteVolume(VolumeName),
    PutGlobal(Global),
    PutPeer(Peer),
    DeletePeer(NodeId),
    PutProgress(Progress),
    DeleteProgress {
        task: Uuid,
        node: NodeId,
    },
    /// Takes a node into the pool that is alone in its own, or in none yet; its peer record is an
    /// edit of its own.
    Adopt(Adoption),
    /// Sends a member without bricks away, to be alone with these pool-wide settings.
    Release {
        node: NodeId,
        to: Pool,
        global: Global,
    },
}

/// What whoever adopts a node has read of it: nothing of that may have moved since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    pub node: NodeId,
    /// Version of the node's member record, if it has one.
    pub member: Option<Version>,
    /// The pool it leaves, if it is in one, and every record of it: they go.
    pub from: Pool,
    pub leaves: Vec<(Key, Version)>,
}

/// The transaction for `edits` as seen from `sight`.
pub fn guarded(pool: Pool, sight: &Sight, edits: &[Edit]) -> Txn {
    let me = member(sight.view.me);
    let mut txn = match sight.member {
        Some(version) => Txn::new().version(&me, version),
        None => Txn::new().absent(&me),
    };
    let mut bricks_move = false;
    // A volume was planned from a view that has taken in every sweep of its pool.
    let of_edits = edits.iter().filter_map(|edit| match edit {
        Edit::PutGlobal(global) => Some(global.swept),
        _ => None,
    });
    let swept = of_edits.chain([sight.view.global.swept]).max().unwrap_or(0);
    for edit in edits {
        bricks_move |= match edit {
            Edit::PutVolume(volume) => moves_bricks(sight, &volume.name, Some(volume)),
            Edit::DeleteVolume(name) => moves_bricks(sight, name, None),
            // Against a volume that gets bricks there at the same time.
            Edit::Release { .. } => true,
            _ => false,
        };
        txn = written(pool, txn, sight, edit, swept);
    }
    if bricks_move {
        let key = pool.bricks();
        txn = as_seen(txn, sight, &key).put(&key, "{}");
    }
    txn.put(&pool.changed(), "{}")
}

fn written(pool: Pool, txn: Txn, sight: &Sight, edit: &Edit, swept: u64) -> Txn {
    let (key, value) = match edit {
        Edit::PutVolume(volume) => {
            (pool.volume(&volume.name), Some(records::encode_volume(volume, swept)))
        }
        Edit::DeleteVolume(name) => (pool.volume(name), None),
        Edit::PutGlobal(global) => (pool.global(), Some(records::encode(global))),
        Edit::PutPeer(peer) => (pool.peer(peer.id), Some(records::encode(peer))),
        Edit::DeletePeer(node) => (pool.peer(*node), None),
        Edit::PutProgress(progress) => {
            let key = pool.progress(progress.task, progress.node);
            (key, Some(records::encode(progress)))
        }
        Edit::DeleteProgress { task, node } => (pool.progress(*task, *node), None),
        Edit::Adopt(adoption) => return adopted(pool, txn, adoption),
        Edit::Release { node, to, global } => {
            let (record, global) =
                (records::encode(&Member { pool: *to }), records::encode(global));
            return txn.put(&member(*node), record).put(&to.global(), global);
        }
    };
    let txn = as_seen(txn, sight, &key);
    match value {
        Some(value) => txn.put(&key, value),
        None => txn.delete(&key),
    }
}

/// Guarded by what every change of the pool it leaves would touch: each of its records, and those
/// that its beginning, a first volume and a first peer would write.
fn adopted(pool: Pool, txn: Txn, adoption: &Adoption) -> Txn {
    let record = member(adoption.node);
    let txn = txn.put(&record, records::encode(&Member { pool }));
    let Some(version) = adoption.member else { return txn.absent(&record) };
    let mut txn = txn.version(&record, version);
    for (key, version) in &adoption.leaves {
        txn = txn.version(key, *version).delete(key);
    }
    let known = |key: &Key| adoption.leaves.iter().any(|(left, _)| left == key);
    let from = adoption.from;
    for key in [from.global(), from.bricks(), from.peer(adoption.node)] {
        if !known(&key) {
            txn = txn.absent(&key);
        }
    }
    txn
}

fn as_seen(txn: Txn, sight: &Sight, key: &Key) -> Txn {
    match sight.versions.get(key) {
        Some(version) => txn.version(key, *version),
        None => txn.absent(key),
    }
}

fn moves_bricks(sight: &Sight, name: &VolumeName, after: Option<&Volume>) -> bool {
    let set = |volume: Option<&Volume>| -> BTreeSet<BrickRef> {
        volume.into_iter().flat_map(|v| v.bricks.iter().map(|b| b.reference())).collect()
    };
    set(sight.view.volumes.get(name).map(|v| &**v)) != set(after)
}

//! Model edits as one guarded change.
//!
//! Whoever plans an edit has read a [`Sight`]; the change holds only if nothing it relied on has
//! moved since: each record written is guarded by the version it was read at, and a change of the
//! set of bricks by the pool's brick marker as well.

use super::image::Sight;
use super::keys::Pool;
use super::records;
use crate::model::{BrickRef, Global, NodeId, Peer, Volume, VolumeName};
use coord_api::{Key, Txn};
use std::collections::BTreeSet;

/// One record's new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Creates or replaces the volume of that name. `version` of the volume is the caller's.
    PutVolume(Box<Volume>),
    DeleteVolume(VolumeName),
    PutGlobal(Global),
    PutPeer(Peer),
    DeletePeer(NodeId),
}

/// The transaction for `edits` as seen from `sight`.
pub fn guarded(pool: Pool, sight: &Sight, edits: &[Edit]) -> Txn {
    let mut txn = Txn::new();
    let mut bricks_move = false;
    for edit in edits {
        let (key, value) = match edit {
            Edit::PutVolume(volume) => {
                bricks_move |= moves_bricks(sight, &volume.name, Some(volume));
                (pool.volume(&volume.name), Some(records::encode(&**volume)))
            }
            Edit::DeleteVolume(name) => {
                bricks_move |= moves_bricks(sight, name, None);
                (pool.volume(name), None)
            }
            Edit::PutGlobal(global) => (pool.global(), Some(records::encode(global))),
            Edit::PutPeer(peer) => (pool.peer(peer.id), Some(records::encode(peer))),
            Edit::DeletePeer(node) => (pool.peer(*node), None),
        };
        txn = as_seen(txn, sight, &key);
        txn = match value {
            Some(value) => txn.put(&key, value),
            None => txn.delete(&key),
        };
    }
    if bricks_move {
        let key = pool.bricks();
        txn = as_seen(txn, sight, &key).put(&key, "{}");
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

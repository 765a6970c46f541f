//! The cluster image: everything the daemon decides from, as of one revision.
//!
//! Immutable and cheap to share; a change makes a new image. Built by the follower from the
//! coordinator (or, while that is away, from the local mirror: see `Freshness`).

use crate::model::{Global, NodeId, Peer, Volume, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As of `View::revision` of the coordinator, with a live watch.
    Current,
    /// Last known: the coordinator cannot be reached, or has not been yet.
    Stale,
}

#[derive(Clone, Debug)]
pub struct View {
    /// The coordinator's revision; only ever compared within one cluster.
    pub revision: u64,
    pub freshness: Freshness,
    /// This node.
    pub me: NodeId,
    /// All members, this node included.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Members with a live session.
    pub alive: BTreeSet<NodeId>,
    /// In name order, as every listing shows them.
    pub volumes: BTreeMap<VolumeName, Arc<Volume>>,
    pub global: Arc<Global>,
}

impl View {
    /// A pool of this node alone, without volumes.
    pub fn alone(me: NodeId) -> View {
        View {
            revision: 0,
            freshness: Freshness::Stale,
            me,
            peers: BTreeMap::new(),
            alive: BTreeSet::from([me]),
            volumes: BTreeMap::new(),
            global: Arc::new(Global::default()),
        }
    }

    pub fn volume(&self, name: &str) -> Option<&Arc<Volume>> {
        self.volumes.get(name)
    }

    pub fn op_version(&self) -> u32 {
        self.global.op_version
    }

    /// Members other than this node, in id order.
    pub fn others(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|peer| peer.id != self.me)
    }

    pub fn started(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.values().filter(|volume| volume.is_started())
    }
}

//! The cluster image: everything the daemon decides from, as of one revision.
//!
//! Immutable and cheap to share; a change makes a new image, which has in common with the last one
//! what did not change. Built by the follower from the
//! coordinator (or, while that is away, from the local mirror: see `Freshness`).

use crate::model::{BrickRef, Global, NodeId, Peer, Progress, Volume, VolumeName, overlaps};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

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
    pub peers: Arc<BTreeMap<NodeId, Peer>>,
    /// Members with a live session; while the coordinator is away, those in this node's reach.
    pub alive: BTreeSet<NodeId>,
    /// `false`: nobody has told or counted yet who is up.
    pub counted: bool,
    /// In name order, as every listing shows them.
    pub volumes: Arc<BTreeMap<VolumeName, Arc<Volume>>>,
    pub global: Arc<Global>,
    /// How tasks have ended, by task and node; a node that still works on one has no row.
    pub progress: BTreeMap<(Uuid, NodeId), Progress>,
}

impl View {
    /// A pool of this node alone, without volumes.
    pub fn alone(me: NodeId) -> View {
        View {
            revision: 0,
            freshness: Freshness::Stale,
            me,
            peers: Arc::default(),
            alive: BTreeSet::from([me]),
            counted: true,
            volumes: Arc::default(),
            global: Arc::new(Global::default()),
            progress: BTreeMap::new(),
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

    /// Whether enough members are up: more than half of them, or the pool's own ratio.
    ///
    /// Source: glusterd-server-quorum.c:200-330 (v10.3).
    pub fn has_server_quorum(&self) -> bool {
        let members = self.peers.len().max(1);
        let ratio = self.global.options.value("cluster.server-quorum-ratio");
        let percent = ratio.and_then(|text| text.trim_end_matches('%').trim().parse::<f64>().ok());
        let needed = match percent {
            Some(percent) => (members as f64 * percent / 100.0).ceil() as usize,
            None => members / 2 + 1,
        };
        self.alive.len() >= needed
    }

    /// Volumes that want server quorum while there is none: their bricks stop, and they are not
    /// changed. Before anybody has `counted`, what runs is left alone and nothing starts.
    pub fn blocked(&self) -> BTreeSet<VolumeName> {
        if self.has_server_quorum() {
            return BTreeSet::new();
        }
        let wants = |volume: &&Arc<Volume>| {
            volume.options.value("cluster.server-quorum-type") == Some("server")
        };
        self.volumes.values().filter(wants).map(|volume| volume.name.clone()).collect()
    }

    /// The first of these real paths that contains, equals or lies inside a brick of its node, but
    /// for `instead_of`, or one before it.
    pub fn in_the_way(
        &self,
        places: &[(NodeId, &str)],
        instead_of: Option<&BrickRef>,
    ) -> Option<usize> {
        let bricks = || self.volumes.values().flat_map(|volume| &volume.bricks);
        let meets = |(node, place): (NodeId, &str), before: &[(NodeId, &str)]| {
            let taken = bricks().any(|brick| {
                brick.node == node
                    && overlaps(brick.place(), place)
                    && instead_of != Some(&brick.reference())
            });
            taken || before.iter().any(|(other, path)| *other == node && overlaps(path, place))
        };
        (0..places.len()).find(|i| meets(places[*i], &places[..*i]))
    }

    pub fn started(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.values().filter(|volume| volume.is_started())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PeerState;
    use crate::supervise::sample;

    #[test]
    fn places_that_meet() {
        let (me, other) = (sample::ME, sample::OTHER);
        let mut volume = sample::volume("v", &["/link"]);
        volume.bricks[0].real_path = "/b".into();
        let brick = volume.bricks[0].reference();
        let view = sample::view(vec![volume]);
        let check = |places: &[(NodeId, &str)], instead_of: Option<&BrickRef>, want| {
            assert_eq!(view.in_the_way(places, instead_of), want, "{places:?}");
        };
        check(&[(me, "/a"), (me, "/b/c")], None, Some(1));
        check(&[(me, "/link"), (other, "/b")], None, None);
        check(&[(me, "/b")], Some(&brick), None);
        check(&[(other, "/a/b"), (me, "/a"), (other, "/a")], None, Some(2));
    }

    #[test]
    fn quorum_is_a_majority_or_the_ratio() {
        let check = |members: usize, up: usize, ratio: Option<&str>, want: bool| {
            let nodes: Vec<NodeId> = (0..members).map(|_| NodeId::fresh()).collect();
            let mut view = View::alone(nodes[0]);
            for id in &nodes {
                let hostnames = vec![id.to_string()];
                let peer = Peer { id: *id, hostnames, state: PeerState::Befriended };
                Arc::make_mut(&mut view.peers).insert(*id, peer);
            }
            view.alive = nodes.iter().copied().take(up).collect();
            if let Some(ratio) = ratio {
                let mut global = Global::default();
                global.options.set("cluster.server-quorum-ratio", ratio);
                view.global = Arc::new(global);
            }
            assert_eq!(view.has_server_quorum(), want, "{members} {up} {ratio:?}");
        };
        check(1, 1, None, true);
        check(2, 1, None, false);
        check(3, 2, None, true);
        check(4, 2, None, false);
        check(4, 2, Some("50"), true);
        check(2, 1, Some("52"), false);
        check(3, 2, Some("80%"), false);
        check(3, 3, Some("100"), true);
    }
}

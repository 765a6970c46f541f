//! Whom a change concerns: the nodes that a command waits for.
//!
//! Every node acts on every change by itself. Waiting for all of them would make a change, or a node's
//! joining, cost what the pool is large; whoever is not waited for catches up before it serves the
//! next command, or gives a volfile of a volume that it does not know.

use crate::model::{NodeId, Volume};
use crate::store::{Edit, View};
use crate::supervise::daemons_of;
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// Every member.
    All,
    /// Those with bricks of what changes, and those that come.
    Some(BTreeSet<NodeId>),
}

impl Concerned {
    /// Pure. Daemons beside the bricks run on every node: where they come or go all are waited for.
    pub fn by(edits: &[Edit], before: &View) -> Concerned {
        let mut nodes = BTreeSet::new();
        for edit in edits {
            let (old, new) = match edit {
                Edit::PutVolume(new) => (before.volumes.get(&new.name), Some(&**new)),
                Edit::DeleteVolume(name) => (before.volumes.get(name), None),
                Edit::Adopt(adoption) => {
                    nodes.insert(adoption.node);
                    continue;
                }
                Edit::PutPeer(_) | Edit::DeletePeer(_) | Edit::Release { .. } => continue,
                Edit::PutGlobal(_) | Edit::PutProgress(_) | Edit::DeleteProgress { .. } => {
                    return Concerned::All;
                }
            };
            let old = old.map(|volume| &**volume);
            if starts_anew(old, new) || daemons(old) != daemons(new) {
                return Concerned::All;
            }
            let bricks = old.into_iter().chain(new).flat_map(|volume: &Volume| &volume.bricks);
            nodes.extend(bricks.map(|brick| brick.node));
        }
        Concerned::Some(nodes)
    }

    pub fn among(&self, alive: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        match self {
            Concerned::All => alive.clone(),
            Concerned::Some(nodes) => nodes & alive,
        }
    }
}

fn daemons(volume: Option<&Volume>) -> Vec<&'static str> {
    volume.map(daemons_of).unwrap_or_default()
}

/// A forced start brings back what has died, on every node.
fn starts_anew(old: Option<&Volume>, new: Option<&Volume>) -> bool {
    old.zip(new).is_some_and(|(old, new)| old.start_epoch != new.start_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Global, Peer, PeerState, Status};
    use crate::store::{Adoption, Pool};
    use crate::supervise::sample::{view, volume};
    use coord_api::Version;
    use uuid::Uuid;

    fn check(before: &Volume, after: Edit, want: Concerned) {
        let before = view(vec![before.clone()]);
        assert_eq!(Concerned::by(&[after], &before), want);
    }

    fn put(volume: &Volume) -> Edit {
        Edit::PutVolume(Box::new(volume.clone()))
    }

    #[test]
    fn who_is_waited_for() {
        let (here, other) = (volume("v", &["/a", "/b"]), NodeId::fresh());
        let me = here.bricks[0].node;
        let some = |nodes: &[NodeId]| Concerned::Some(nodes.iter().copied().collect());

        let mut set = here.clone();
        set.options.set("performance.stat-prefetch", "off");
        check(&here, put(&set), some(&[me]));
        let mut moved = here.clone();
        moved.bricks[0].node = other;
        check(&here, put(&moved), some(&[me, other]));
        check(&here, Edit::DeleteVolume(here.name.clone()), Concerned::All);
        let stopped = Volume { status: Status::Stopped, ..here.clone() };
        check(&here, put(&stopped), Concerned::All);
        check(&stopped, Edit::DeleteVolume(here.name.clone()), some(&[me]));
        let mut with_quota = here.clone();
        with_quota.options.set("features.quota", "on");
        check(&here, put(&with_quota), Concerned::All);
        check(&here, Edit::PutGlobal(Global::default()), Concerned::All);
        let peer = Peer { id: other, hostnames: vec![], state: PeerState::Befriended };
        check(&here, Edit::PutPeer(peer), some(&[]));
        check(&here, Edit::DeletePeer(other), some(&[]));
        let (from, leaves) = (Pool(Uuid::nil()), vec![]);
        let adoption = Adoption { node: other, member: Some(Version([1; 3])), from, leaves };
        check(&here, Edit::Adopt(adoption), some(&[other]));
    }

    #[test]
    fn only_who_is_up() {
        let (up, down) = (NodeId::fresh(), NodeId::fresh());
        let alive = BTreeSet::from([up]);
        assert_eq!(Concerned::Some([up, down].into()).among(&alive), alive);
        assert_eq!(Concerned::All.among(&alive), alive);
    }
}

//! The largest pools: nodes that know everything and write no files, all coming at once.
//!
//! The files of ten million volume folders fit nowhere, and a create for each of ten thousand volumes
//! says nothing that the other table does not. So members and volumes are written into the store in
//! bulk, and only the first node acts on what it knows. A volume has one brick: all images together
//! have to fit into memory.

use crate::World;
use glusterd_core::membership::Identity;
use glusterd_core::model::{NodeId, OP_VERSION_MAX, Peer, PeerState, Volume, VolumeId, VolumeName};
use glusterd_core::store::{Adoption, Edit};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Below the limits of every coordinator.
const AT_ONCE: usize = 20;
const COMMIT: Duration = Duration::from_secs(60);

impl World {
    pub fn tell_storm(mut self) {
        let (count, last) = (self.nodes.len(), self.nodes.len() - 1);
        self.start(0);
        self.create(0..1);
        self.fill();
        self.until("the first one has written all files", |world| {
            let (_, house) = world.nodes[0].life.as_ref().expect("it runs");
            let view = house.store.view();
            let written = house.converger.progress().borrow().files;
            view.volumes.len() == world.volumes
                && written >= view.revision
                && house.converger.is_idle()
        });
        let before = crate::resident_kib();
        self.step("all others join at once, until all are connected", 1, |world| {
            world.start_at_once();
            world.until("all are connected", World::all_connected);
        });
        let per_node = crate::resident_kib().saturating_sub(before) / last as u64;
        self.change_and_lose_one();
        println!(
            "| {count} x {} | resident KiB per node that joined: {per_node} | | | | |",
            self.volumes
        );
    }

    /// Members that have yet to start, and the volumes.
    fn fill(&mut self) {
        let (_, house) = self.nodes[0].life.as_ref().expect("it runs");
        let (store, pool) = (house.store.clone(), house.store.pool());
        let mut edits = vec![Edit::PutPeer(peer(store.view().me, "h1"))];
        for node in &mut self.nodes[1..] {
            let id = NodeId::fresh();
            let op_version = OP_VERSION_MAX;
            node.identity = Some(Identity { node: id, pool, op_version });
            edits.push(Edit::PutPeer(peer(id, &node.name)));
            let (member, leaves) = (None, Vec::new());
            edits.push(Edit::Adopt(Adoption { node: id, member, from: pool, leaves }));
        }
        let first = store.view().volume("v0").cloned().expect("made before");
        edits.extend((1..self.volumes).map(|n| Edit::PutVolume(Box::new(another(&first, n)))));
        self.beside.block_on(async {
            for some in edits.chunks(AT_ONCE) {
                let sight = store.sight();
                let revision = store.commit(&sight, some).await.expect("nobody else writes");
                store.wait_for(revision, COMMIT).await.expect("its own change");
            }
        });
    }
}

fn peer(id: NodeId, name: &str) -> Peer {
    Peer { id, hostnames: vec![name.to_owned()], state: PeerState::Befriended }
}

fn another(first: &Arc<Volume>, n: usize) -> Volume {
    let mut volume = (**first).clone();
    volume.name = VolumeName::parse(&format!("v{n}")).expect("a name");
    volume.id = VolumeId(Uuid::new_v4());
    volume.bricks.truncate(1);
    for (at, brick) in volume.bricks.iter_mut().enumerate() {
        brick.path = format!("/bricks/{n}-{at}");
        brick.real_path = brick.path.clone();
        brick.id = format!("v{n}-client-{at}");
    }
    volume
}

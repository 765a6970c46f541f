//! Folds the coordinator's entries into the cluster image.
//!
//! Pure. A record that cannot be read keeps its predecessor and is reported: one bad record must
//! not take the rest of the cluster image away.

use super::keys::{Holds, Pool};
use super::records::{self, Record, RecordError};
use super::view::{Freshness, View};
use crate::model::{Global, NodeId, Peer, Progress, Volume, VolumeName};
use coord_api::{Entry, Key, Revision, Version};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// The image under construction, with what guards need to know.
#[derive(Clone, Debug)]
pub struct Image {
    pool: Pool,
    view: View,
    versions: Arc<HashMap<Key, Version>>,
    /// Volume names and peer ids by key, to undo them when the key goes.
    names: HashMap<Key, String>,
    /// The last sweep that each volume's record, and the volume in the view, holds.
    levels: BTreeMap<VolumeName, (u64, u64)>,
}

/// A view and the versions it was read at: what a guarded change is built from.
#[derive(Clone, Debug)]
pub struct Sight {
    pub view: Arc<View>,
    pub versions: Arc<HashMap<Key, Version>>,
    /// Of the record that says this node belongs to the pool: a node that was moved elsewhere
    /// changes nothing here any more. `None`: not known.
    pub member: Option<Version>,
    /// Volumes whose record lacks sweeps that the view shows.
    pub behind: Arc<BTreeSet<VolumeName>>,
    /// Whose image it is.
    pub pool: Pool,
}

impl Image {
    pub fn new(pool: Pool, me: NodeId) -> Image {
        Image {
            pool,
            view: View::alone(me),
            versions: Arc::default(),
            names: HashMap::new(),
            levels: BTreeMap::new(),
        }
    }

    /// Starts again from nothing, as at a snapshot.
    pub fn clear(&mut self) {
        *self = Image::new(self.pool, self.view.me);
    }

    /// # Errors
    /// The record is unreadable; the image is as before but for the key's version.
    pub fn put(&mut self, entry: &Entry) -> Result<(), RecordError> {
        Arc::make_mut(&mut self.versions).insert(entry.key.clone(), entry.version);
        match self.pool.holds(&entry.key) {
            Holds::Volume => {
                let (volume, swept) = records::decode_volume(&entry.value)?;
                let name = volume.name.clone();
                self.names.insert(entry.key.clone(), name.to_string());
                Arc::make_mut(&mut self.view.volumes).insert(name.clone(), Arc::new(volume));
                self.levels.insert(name.clone(), (swept, swept));
                self.take_in(&name);
            }
            Holds::Peer => {
                let peer: Peer = read(entry)?;
                self.names.insert(entry.key.clone(), peer.id.to_string());
                Arc::make_mut(&mut self.view.peers).insert(peer.id, peer);
            }
            Holds::Global => {
                self.view.global = Arc::new(read(entry)?);
                let names: Vec<VolumeName> = self.levels.keys().cloned().collect();
                names.iter().for_each(|name| self.take_in(name));
            }
            Holds::Progress => {
                let progress: Progress = read(entry)?;
                self.names.insert(entry.key.clone(), progress.task.to_string());
                let key = (progress.task, progress.node);
                self.view.progress.insert(key, progress);
            }
            Holds::Bricks | Holds::Other => {}
        }
        Ok(())
    }

    pub fn delete(&mut self, key: &Key) {
        Arc::make_mut(&mut self.versions).remove(key);
        let name = self.names.remove(key);
        match (self.pool.holds(key), name) {
            (Holds::Volume, Some(name)) => {
                Arc::make_mut(&mut self.view.volumes).remove(name.as_str());
                self.levels.remove(name.as_str());
            }
            (Holds::Peer, Some(id)) => {
                if let Some(id) = NodeId::parse(&id) {
                    Arc::make_mut(&mut self.view.peers).remove(&id);
                }
            }
            (Holds::Progress, Some(task)) => {
                let known = |(task, node): &(Uuid, NodeId)| self.pool.progress(*task, *node);
                self.view.progress.retain(|at, _| at.0.to_string() != task || known(at) != *key);
            }
            (Holds::Global, _) => self.view.global = Arc::new(Global::default()),
            _ => {}
        }
    }

    /// Puts on top of a volume what the pool has swept since its record was written.
    fn take_in(&mut self, name: &VolumeName) {
        let global = &self.view.global;
        let Some((_, level)) = self.levels.get_mut(name) else { return };
        // Before the map is touched: images share it.
        if *level >= global.swept {
            return;
        }
        if let Some(volume) = Arc::make_mut(&mut self.view.volumes).get_mut(name) {
            let mut after = Volume::clone(volume);
            if crate::options::take_in(&mut after, *level, &global.sweeps) {
                *volume = Arc::new(after);
            }
            *level = global.swept;
        }
    }

    /// Who is up, this node in any case.
    pub fn set_alive(&mut self, alive: BTreeSet<NodeId>, me: NodeId) {
        self.view.me = me;
        self.view.alive = alive;
        self.view.alive.insert(me);
    }

    /// Only members are up: a node that has yet to leave, or to arrive, is none.
    pub fn sight(
        &self,
        revision: Revision,
        freshness: Freshness,
        member: Option<Version>,
    ) -> Sight {
        let mut view = self.view.clone();
        let (me, peers) = (view.me, &view.peers);
        view.alive.retain(|node| *node == me || peers.contains_key(node));
        view.revision = revision.0;
        view.freshness = freshness;
        let behind = |(name, (record, _)): (&VolumeName, &(u64, u64))| {
            let lacks = view.global.sweeps.iter().any(|sweep| sweep.number > *record);
            lacks.then(|| name.clone())
        };
        let behind = match view.global.sweeps.is_empty() {
            true => BTreeSet::new(),
            false => self.levels.iter().filter_map(behind).collect(),
        };
        Sight {
            behind: Arc::new(behind),
            view: Arc::new(view),
            versions: self.versions.clone(),
            member,
            pool: self.pool,
        }
    }
}

fn read<T: Record>(entry: &Entry) -> Result<T, RecordError> {
    records::decode(&entry.value)
}

//! Who is up: announcements of running daemons, folded from their watch.
//!
//! Pure. What an announcement says is of no interest here, only that it is there.

use super::keys::Pool;
use crate::model::NodeId;
use coord_api::{Change, WatchEvent};
use std::collections::{BTreeSet, HashMap};

/// Announcements of running daemons.
#[derive(Default)]
pub struct Present {
    names: HashMap<coord_api::Key, ()>,
    /// `false` while the stream has a gap.
    pub synced: bool,
    /// Parts of a snapshot are coming in.
    beginning: bool,
}

impl Present {
    pub fn fold(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Snapshot { entries, .. } => {
                if !std::mem::replace(&mut self.beginning, true) {
                    self.names.clear();
                }
                self.synced = false;
                self.names.extend(entries.into_iter().map(|entry| (entry.key, ())));
            }
            // Resumed, what was known before the gap still holds.
            WatchEvent::Synced { .. } => {
                self.beginning = false;
                self.synced = true;
            }
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => self.names.insert(entry.key, ()),
                        Change::Delete { key } => self.names.remove(&key),
                    };
                }
            }
            WatchEvent::Progress { .. } => {}
            WatchEvent::Lost { .. } | WatchEvent::Closed(_) => {
                self.beginning = false;
                self.synced = false;
            }
        }
    }

    /// `POOL.NODE@session-counter`, so a node is up as long as one of its sessions is.
    pub fn nodes(&self, pool: Pool) -> BTreeSet<NodeId> {
        let pool = format!("{}.", pool.0);
        let id = |name: &str| {
            let rest = name.strip_prefix(&pool)?;
            NodeId::parse(rest.split('@').next()?)
        };
        self.names.keys().filter_map(|key| id(key.name())).collect()
    }
}

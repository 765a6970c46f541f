//! The applied state as readers see it, and the bells that ring when it moves.

use crate::state::State;
use coord_api::Space;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, HashMap};
use tokio::sync::watch;

#[derive(Debug, Default)]
pub struct Shared {
    pub state: RwLock<State>,
    /// The last revision applied.
    applied: watch::Sender<u64>,
    /// The last revision that touched a space; a bell exists once somebody listens.
    spaces: Mutex<HashMap<Space, watch::Sender<u64>>>,
    /// Counts openings and endings of sessions.
    sessions: watch::Sender<u64>,
}

/// What an application of entries touched.
#[derive(Debug, Default)]
pub struct Touched {
    pub spaces: BTreeSet<Space>,
    pub sessions: bool,
    /// The state was replaced as a whole.
    pub everything: bool,
}

impl Shared {
    /// Tells the listeners; called after the state's lock is let go.
    pub fn ring(&self, touched: &Touched) {
        let now = self.state.read().applied;
        self.applied.send_replace(now);
        if !touched.spaces.is_empty() || touched.everything {
            let mut bells = self.spaces.lock();
            bells.retain(|space, bell| {
                if touched.everything || touched.spaces.contains(space) {
                    bell.send_replace(now);
                }
                bell.receiver_count() > 0
            });
        }
        if touched.sessions || touched.everything {
            self.sessions.send_modify(|count| *count += 1);
        }
    }

    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub fn space(&self, space: &Space) -> watch::Receiver<u64> {
        self.spaces.lock().entry(space.clone()).or_default().subscribe()
    }

    pub fn sessions(&self) -> watch::Receiver<u64> {
        self.sessions.subscribe()
    }
}

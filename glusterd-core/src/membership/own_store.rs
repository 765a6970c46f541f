//! A coordination service that the daemons keep themselves: nodes come into it and go, with pools.
//!
//! etcd and ZooKeeper are there whoever uses them; of the built-in store every node has its own
//! until it is invited into another's. Nothing here says how that is done.

use crate::model::{Global, NodeId};
use crate::store::records::{self, Member};
use crate::store::{Place, View, keys};
use async_trait::async_trait;
use bytes::Bytes;
use coord_api::{Key, Prefix, Result};
use std::fmt;

/// What a node that is alone takes along when it changes stores.
#[derive(Clone, Debug)]
pub struct Luggage {
    /// Nothing may lie there in the store that it leaves: it would be lost.
    pub empty: Vec<Prefix>,
    pub records: Vec<(Key, Bytes)>,
}

impl Luggage {
    /// Where the node belongs, and the settings of its pool.
    pub fn of(place: Place, global: &Global) -> Luggage {
        let pool = place.pool;
        let member = records::encode(&Member { pool });
        Luggage {
            empty: vec![pool.volumes_prefix(), pool.peers_prefix()],
            records: vec![
                (keys::member(place.node), member.into()),
                (pool.global(), records::encode(global).into()),
            ],
        }
    }
}

/// The way in and out; the coordinator's handle stays the same meanwhile.
///
/// Every call runs to its end, also when nobody waits for it any more.
#[async_trait]
pub trait OwnStore: fmt::Debug + Send + Sync + 'static {
    /// An invitation for one node, as text; `host`: where that one reaches this node.
    ///
    /// # Errors
    /// The store cannot be changed, or this node cannot listen.
    async fn invite(&self, host: &str) -> Result<String>;

    /// Goes where it is invited to; `host`: where others reach this node.
    ///
    /// # Errors
    /// `PermissionDenied` if there is something to lose, or the invitation is not good
    /// any more; those of the way there.
    async fn join(&self, invitation: &str, host: &str, luggage: Luggage) -> Result<()>;

    /// Is alone afterwards. `false`: it was.
    ///
    /// # Errors
    /// The store cannot be changed: nothing has happened.
    async fn leave(&self, luggage: Luggage) -> Result<bool>;

    /// Takes another node out, one that will not go by itself.
    ///
    /// # Errors
    /// The store cannot be changed.
    async fn remove(&self, node: NodeId) -> Result<()>;

    /// Everyone in the store, this node included.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn members(&self) -> Result<Vec<NodeId>>;

    /// Fixes who keeps the data; nobody: they are chosen.
    ///
    /// # Errors
    /// The store cannot be changed.
    async fn set_masters(&self, nodes: &[NodeId]) -> Result<()>;

    /// Why it cannot be used just now and what can be done, for people; `None` while it can.
    fn trouble(&self) -> Option<String>;

    /// Whether it was invited into the store, and has not founded it.
    fn is_guest(&self) -> bool;
}

/// Whether nothing keeps the node from going to another store.
pub fn is_free(view: &View) -> bool {
    view.others().next().is_none() && view.volumes.is_empty()
}

//! What every running daemon says of itself to the whole ensemble, whatever its pool: how a probe
//! finds the daemon behind a host name.

use crate::host::Host;
use crate::model::{NodeId, OP_VERSION_MAX};
use crate::store::keys::REGISTRY;
use crate::store::{Place, Pool};
use coord_api::{Coordinator, Key, Prefix, ReadOpts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Entries read at a time.
const PAGE: usize = 256;

/// One running daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    node: Uuid,
    pool: Uuid,
    /// Where it can be reached from elsewhere; loopback only if it was bound to that.
    pub addresses: Vec<IpAddr>,
    pub op_version_max: u32,
    /// Of the program, for people.
    pub version: String,
}

impl Registered {
    pub async fn of(host: &dyn Host, bind_address: Option<&str>, place: Place) -> Registered {
        let found = match bind_address {
            Some(bound) => host.addresses(bound).await,
            None => host.own_addresses(),
        };
        let addresses = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "the addresses of this node are not known");
            Vec::new()
        });
        Registered {
            node: place.node.0,
            pool: place.pool.0,
            addresses,
            op_version_max: OP_VERSION_MAX,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }

    pub fn pool(&self) -> Pool {
        Pool(self.pool)
    }
}

/// The daemons that run at one of the addresses, each once.
///
/// # Errors
/// Those of reading.
pub async fn registered_at(
    coordinator: &Arc<dyn Coordinator>,
    addresses: &[IpAddr],
) -> coord_api::Result<Vec<Registered>> {
    let mut found = BTreeMap::new();
    let mut after: Option<Key> = None;
    loop {
        let all = Prefix::all(&REGISTRY);
        let page = coordinator.list_page(&all, after.as_ref(), PAGE, ReadOpts::default()).await?;
        let (snapshot, more) = page;
        for entry in &snapshot.entries {
            let Ok(one) = serde_json::from_slice::<Registered>(&entry.value) else { continue };
            if one.addresses.iter().any(|address| addresses.contains(address)) {
                found.insert(one.node, one);
            }
        }
        after = snapshot.entries.last().map(|entry| entry.key.clone());
        if !more || after.is_none() {
            return Ok(found.into_values().collect());
        }
    }
}

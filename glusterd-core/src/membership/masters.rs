//! The masters that an administrator has named: their names into nodes, and into the store.
//!
//! The option is the truth, a record of the pool as all others; the store's own note of it follows,
//! whoever is up.

use super::own_store::{OwnStore, is_free};
use crate::model::{Global, NodeId};
use crate::options::MASTERS;
use crate::store::{Freshness, Store, View};
use std::sync::Arc;
use std::time::Duration;

const RETRY: Duration = Duration::from_secs(1);
/// A node that was behind may have noted an older wish since.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The member of the pool that has this name, or this uuid.
pub fn member(view: &View, name: &str) -> Option<NodeId> {
    let called = |hostnames: &[String]| hostnames.iter().any(|known| known == name);
    let named = view.peers.values().find(|peer| called(&peer.hostnames)).map(|peer| peer.id);
    named.or_else(|| NodeId::parse(name).filter(|id| view.peers.contains_key(id)))
}

/// The names in a value of the option.
pub fn names(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

/// The named masters that are members; nobody if the nodes choose them.
pub fn wanted(view: &View) -> Vec<NodeId> {
    let value = view.global.options.value(MASTERS).unwrap_or_default();
    names(value).filter_map(|name| member(view, name)).collect()
}

/// The pool's settings once the node is no member any more; `None` if it is not named. What is left
/// is chosen by the nodes where an even number would stay.
pub fn without(view: &View, node: NodeId) -> Option<Global> {
    let value = view.global.options.value(MASTERS)?;
    let left: Vec<&str> = names(value).filter(|name| member(view, name) != Some(node)).collect();
    if left.len() == names(value).count() {
        return None;
    }
    let mut global = (*view.global).clone();
    if left.len().is_multiple_of(2) {
        global.options.remove(MASTERS);
    } else {
        global.options.set(MASTERS, left.join(","));
    }
    global.version += 1;
    Some(global)
}

/// Runs for ever.
pub async fn keep_masters(store: Arc<Store>, own: Arc<dyn OwnStore>) {
    let mut sights = store.subscribe();
    let mut noted = None;
    loop {
        let view = sights.borrow_and_update().view.clone();
        let wish = wanted(&view);
        if view.freshness == Freshness::Current && noted.as_ref() != Some(&wish) {
            if let Err(error) = own.set_masters(&wish).await {
                tracing::debug!(%error, "the masters of the store are not noted yet");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            noted = Some(wish);
        }
        let again = async {
            match is_free(&view) {
                true => std::future::pending().await,
                false => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        tokio::select! {
            changed = sights.changed() => if changed.is_err() { return },
            () = again => noted = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Peer, PeerState};
    use uuid::Uuid;

    fn view(masters: &str) -> View {
        let node = |n: u8| NodeId(Uuid::from_u128(n.into()));
        let mut view = View::alone(node(1));
        for n in 1..=4 {
            let hostnames = vec![format!("h{n}"), format!("192.0.2.{n}")];
            let peer = Peer { id: node(n), hostnames, state: PeerState::Befriended };
            Arc::make_mut(&mut view.peers).insert(node(n), peer);
        }
        Arc::make_mut(&mut view.global).options.set(MASTERS, masters);
        view
    }

    #[test]
    fn names_are_hosts_or_uuids_of_members() {
        let check = |masters: &str, expected: &[u128]| {
            let got: Vec<u128> = wanted(&view(masters)).iter().map(|id| id.0.as_u128()).collect();
            assert_eq!(got, expected, "{masters}");
        };
        check("h1,h2,h3", &[1, 2, 3]);
        check("192.0.2.4, h2", &[4, 2]);
        check("00000000-0000-0000-0000-000000000003", &[3]);
        check("h9,h1", &[1]);
        check("", &[]);
    }

    #[test]
    fn who_leaves_is_named_no_more() {
        let check = |masters: &str, expected: Option<Option<&str>>| {
            let view = view(masters);
            let left = without(&view, NodeId(Uuid::from_u128(2)));
            let left = left.as_ref().map(|global| global.options.value(MASTERS));
            assert_eq!(left, expected, "{masters}");
        };
        check("h1,h2,h3", Some(None));
        check("h1,h2,h3,h4", Some(Some("h1,h3,h4")));
        check("192.0.2.2", Some(None));
        check("h1,h3,h4", None);
    }
}

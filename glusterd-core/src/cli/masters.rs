//! `volume set all cluster.coordination-masters h1,h2,h3`: what is refused.
//!
//! An option of our own, see `options/own.rs`; the texts are, too.

use crate::membership::{master_names, member};
use crate::model::Refusal;
use crate::options::{MASTERS, resolve};
use crate::store::View;
use std::collections::BTreeSet;

/// More make every change slower and survive nothing that seven do not.
const COUNT_MAX: usize = 7;

/// Judges the pairs of a `volume set all` that name masters; others pass.
///
/// # Errors
/// What is wrong with them, for the user.
pub fn check(view: &View, built_in: bool, pairs: &[(String, String)]) -> Result<(), Refusal> {
    for (key, value) in pairs {
        if resolve(key).is_ok_and(|opt| opt.key == MASTERS) {
            check_value(view, built_in, value).map_err(Refusal::staged)?;
        }
    }
    Ok(())
}

fn check_value(view: &View, built_in: bool, value: &str) -> Result<(), String> {
    if !built_in {
        return Err(format!(
            "{MASTERS} is for the built-in store (local:). The members of the coordination \
             service that this pool uses are chosen there."
        ));
    }
    let mut nodes = BTreeSet::new();
    for name in master_names(value) {
        let node = match (member(view, name), name) {
            (Some(node), _) => node,
            (None, "") => {
                return Err(format!(
                    "{MASTERS} takes names of peers like h1,h2,h3. 'volume reset all {MASTERS}' \
                     leaves the choice to the nodes."
                ));
            }
            (None, "localhost" | "127.0.0.1" | "::1") => return Err(not_localhost(view, name)),
            (None, _) => {
                return Err(format!(
                    "Host {name} is not a peer of this pool. Name masters as 'gluster pool list' \
                     on another node shows them."
                ));
            }
        };
        if !view.alive.contains(&node) {
            return Err(format!("Host {name} is down. A master has to be up when it is chosen."));
        }
        if !nodes.insert(node) {
            return Err(format!("Host {name} is named twice."));
        }
    }
    if nodes.len().is_multiple_of(2) || nodes.len() > COUNT_MAX {
        return Err(format!(
            "{} masters: name 1, 3, 5 or 7. An even number survives no more losses than one \
             master less would.",
            nodes.len()
        ));
    }
    Ok(())
}

/// Every node is localhost to itself.
fn not_localhost(view: &View, name: &str) -> String {
    let own = view.peers.get(&view.me).and_then(|peer| peer.hostnames.first());
    let hint = own.map(|own| format!(": {own}")).unwrap_or_default();
    format!("{name} is another node on each of them. Name this one as its peers do{hint}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeId, Peer, PeerState};
    use std::sync::Arc;
    use uuid::Uuid;

    fn pool() -> View {
        let node = |n: u8| NodeId(Uuid::from_u128(n.into()));
        let mut view = View::alone(node(1));
        for n in 1..=9 {
            let hostnames = vec![format!("h{n}"), format!("192.0.2.{n}")];
            let peer = Peer { id: node(n), hostnames, state: PeerState::Befriended };
            Arc::make_mut(&mut view.peers).insert(node(n), peer);
            if n != 4 {
                view.alive.insert(node(n));
            }
        }
        view
    }

    fn check(value: &str, refused: Option<&str>) {
        let pairs = [("coordination-masters".to_owned(), value.to_owned())];
        let got = super::check(&pool(), true, &pairs).err().map(|refusal| refusal.text);
        match refused {
            None => assert_eq!(got, None, "{value}"),
            Some(part) => assert!(got.as_ref().is_some_and(|t| t.contains(part)), "{got:?}"),
        }
    }

    #[test]
    fn masters_are_members_that_are_up() {
        check("h1,h2,h3", None);
        check("h2", None);
        check("192.0.2.1, h5 ,00000000-0000-0000-0000-000000000006", None);
        check("h1,h2,x", Some("Host x is not a peer of this pool."));
        check("h1,h2,h4", Some("Host h4 is down."));
        check("h1,h2,192.0.2.2", Some("Host 192.0.2.2 is named twice."));
        check("h1,h2", Some("2 masters: name 1, 3, 5 or 7."));
        check("h1,h2,h3,h5,h6,h7,h8,h9", Some("8 masters"));
        check("h1,localhost,h2", Some("Name this one as its peers do: h1."));
        check("", Some("takes names of peers"));
        check("h1,,h2", Some("takes names of peers"));
    }

    #[test]
    fn other_services_choose_their_own() {
        let pairs = [(MASTERS.to_owned(), "h1".to_owned())];
        let refused = super::check(&pool(), false, &pairs).unwrap_err();
        assert!(refused.text.contains("is for the built-in store"), "{refused:?}");
        let other = [("cluster.server-quorum-ratio".to_owned(), "51".to_owned())];
        super::check(&pool(), false, &other).unwrap();
    }
}

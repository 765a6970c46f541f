//! What a node finds out about another one before it takes it into the pool.
//!
//! Facts: glusterd-handler.c:1068-1180 (v10.3): a bind address alone decides who this node is.

use super::node::LocalNode;
use super::question::{Answer, Candidate, Found};
use crate::membership::{self, OwnStore, Registered, Stranger};
use crate::model::{DAEMON_PORT, NodeId, errno};
use crate::rpc::join::LookRsp;
use crate::store::keys::{self, Holds};
use crate::store::{Adoption, Pool, View, records};
use coord_api::{Coordinator, CoordinatorExt, Key, ReadOpts, Version};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A node that was told that it moved is seen by then, or is not well.
const ARRIVAL: Duration = Duration::from_secs(10);
/// A node that was sent away has left the store by then.
const DEPARTURE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl LocalNode {
    pub(super) async fn find_peer(&self, name: &str) -> Answer {
        let mut candidate = Candidate::default();
        let addresses = self.host.addresses(name).await.unwrap_or_default();
        candidate.addresses = addresses.iter().map(ToString::to_string).collect();
        candidate.is_me = self.is_bound_to(name, &addresses).await;
        if candidate.is_me || addresses.is_empty() {
            return Answer::Candidate(candidate);
        }
        candidate.reached = self.host.reaches(name, DAEMON_PORT).await;
        if !candidate.reached {
            return Answer::Candidate(candidate);
        }
        candidate.my_address = self.address_towards(&addresses).await;
        let looked = match &self.own_store {
            None => look(self.store.coordinator(), &addresses).await.map(Looked::Found),
            Some(own) => self.look_or_invite(&**own, name, &addresses, &candidate).await,
        };
        match looked {
            Ok(Looked::Found(found)) => candidate.found = found,
            Ok(Looked::CameHome) => candidate.came_home = true,
            Err(error) if self.store.away_for().is_none() => {
                tracing::warn!(%error, name, "a node could not be brought here");
                let text = format!("{name} cannot join the store of this pool: {error}");
                return Answer::Refused { text, errno: errno::INTERNAL };
            }
            Err(error) => {
                tracing::warn!(%error, name, "a node could not be looked up");
                let why = self.own_store.as_ref().and_then(|own| own.trouble());
                let why = why.map(|why| format!(" {why}.")).unwrap_or_default();
                let text = format!("The coordination service cannot be reached.{why}");
                return Answer::Refused { text, errno: errno::INTERNAL };
            }
        }
        Answer::Candidate(candidate)
    }

    /// Finds the daemon in the store, or brings it there if it can come. One that cannot is told
    /// of as far as it says why.
    async fn look_or_invite(
        &self,
        own: &dyn OwnStore,
        name: &str,
        addresses: &[IpAddr],
        candidate: &Candidate,
    ) -> coord_api::Result<Looked> {
        let coordinator = self.store.coordinator();
        let here = own.members().await?;
        let mut found = look(coordinator, addresses).await?;
        // One that has gone may still be announced for a while.
        found.retain(|found| here.contains(&found.node()));
        let view = self.store.view();
        let known = view.others().find(|peer| peer.hostnames.iter().any(|host| host == name));
        let nobody = Looked::Found(Vec::new());
        let Some(at) = addresses.first().map(|at| (*at, DAEMON_PORT).into()) else {
            return Ok(Looked::Found(found));
        };
        let tls = self.tls.as_ref();
        if known.is_some_and(|peer| view.alive.contains(&peer.id)) || !found.is_empty() {
            // What is known of it may be of before it lost its store: then it is alone.
            let met = Stranger::meet(at, view.me, tls).await.ok().flatten();
            let lost = known.zip(met).filter(|(peer, s)| s.node() == Some(peer.id) && s.is_free());
            let (Some((_, stranger)), Some(mine)) = (lost, &candidate.my_address) else {
                return Ok(Looked::Found(found));
            };
            stranger.bring(own, view.me, mine, name).await?;
            return look(coordinator, addresses).await.map(Looked::Found);
        }
        let Some(stranger) = Stranger::meet(at, view.me, tls).await? else {
            return Ok(nobody);
        };
        let Some(node) = stranger.node() else { return Ok(nobody) };
        // A member that has lost its store may come back, and nobody else under its name.
        if known.is_some_and(|peer| peer.id != node) {
            return Ok(nobody);
        }
        if self.came_home(&stranger, node, &view).await {
            return Ok(Looked::CameHome);
        }
        let about = &stranger.about;
        let fits = about.op_version_max >= view.op_version() && node != view.me;
        if !stranger.is_free() || !fits {
            let shown = about.invitable == 1 && about.ready == 1;
            return Ok(Looked::Found(shown.then(|| told(node, about)).into_iter().collect()));
        }
        let Some(mine) = &candidate.my_address else { return Ok(nobody) };
        stranger.bring(own, view.me, mine, name).await?;
        let until = Instant::now() + ARRIVAL;
        loop {
            let found = look(coordinator, addresses).await?;
            if found.iter().any(|found| found.node() == node) || Instant::now() >= until {
                return Ok(Looked::Found(found));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A node that has lost its store and got its uuid back is fetched by a member that knows it.
    async fn came_home(&self, stranger: &Stranger, node: NodeId, view: &View) -> bool {
        let LookRsp { ready, invitable, peers, .. } = stranger.about;
        if !membership::is_free(view) || (ready, invitable) != (1, 1) || peers == 0 {
            return false;
        }
        if let Err(error) = stranger.knock(view.me).await {
            tracing::debug!(%error, "this node is no member there");
            return false;
        }
        let mut sights = self.store.subscribe();
        let there = sights.wait_for(|sight| sight.view.others().any(|peer| peer.id == node));
        tokio::time::timeout(ARRIVAL, there).await.is_ok()
    }

    /// A node that is up goes by itself; it is waited for, and taken out of the store if it stays.
    pub(super) async fn await_gone(&self, node: NodeId, may_go: bool, until: Instant) -> Answer {
        let Some(own) = &self.own_store else { return Answer::Done };
        let until = until.min(Instant::now() + DEPARTURE);
        while may_go && Instant::now() < until {
            match own.members().await {
                Ok(members) if !members.contains(&node) => return Answer::Done,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "who is in the store is not known now"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if let Err(error) = own.remove(node).await {
            tracing::warn!(%node, %error, "a former member is still in the store of the pool");
        }
        Answer::Done
    }

    async fn is_bound_to(&self, name: &str, addresses: &[IpAddr]) -> bool {
        let Some(mine) = &self.bind_address else {
            return self.host.is_local(name).await.unwrap_or(false);
        };
        let own = self.host.addresses(mine).await.unwrap_or_default();
        mine == name || addresses.iter().any(|address| own.contains(address))
    }

    async fn address_towards(&self, addresses: &[IpAddr]) -> Option<String> {
        if let Some(mine) = &self.bind_address {
            return Some(mine.clone());
        }
        let found = self.host.address_towards(*addresses.first()?).await;
        found.ok().map(|address| address.to_string())
    }

    /// Returns once the node is seen in the pool, or after a while.
    pub(super) async fn await_peer(&self, node: NodeId, until: Instant) -> Answer {
        let mut sights = self.store.subscribe();
        let seen = sights.wait_for(|sight| sight.view.alive.contains(&node));
        let until = until.min(Instant::now() + ARRIVAL);
        if tokio::time::timeout_at(until, seen).await.is_err() {
            tracing::warn!(%node, "a new member has not shown itself yet");
        }
        Answer::Done
    }
}

enum Looked {
    Found(Vec<Found>),
    CameHome,
}

/// What a daemon elsewhere says of itself, enough to refuse it.
fn told(node: NodeId, about: &LookRsp) -> Found {
    Found {
        node: node.0,
        op_version_max: about.op_version_max,
        peers: about.peers as usize,
        volumes: about.volumes as usize,
        ..Found::default()
    }
}

async fn look(
    coordinator: &Arc<dyn Coordinator>,
    addresses: &[IpAddr],
) -> coord_api::Result<Vec<Found>> {
    let mut found = Vec::new();
    for registered in membership::registered_at(coordinator, addresses).await? {
        found.extend(look_at(coordinator, &registered).await?);
    }
    Ok(found)
}

/// `None`: the node is no member of anything yet.
async fn look_at(
    coordinator: &Arc<dyn Coordinator>,
    registered: &Registered,
) -> coord_api::Result<Option<Found>> {
    let node = registered.node();
    let (entry, _) = coordinator.get(&keys::member(node), ReadOpts::default()).await?;
    let Some(entry) = entry else { return Ok(None) };
    let Ok(member) = records::decode::<records::Member>(&entry.value) else { return Ok(None) };
    let pool = member.pool;
    let listed = coordinator.list(&pool.prefix(), ReadOpts::default()).await?;
    let of_kind = |kind: Holds| listed.entries.iter().filter(move |e| pool.holds(&e.key) == kind);
    Ok(Some(Found {
        node: node.0,
        pool: pool.0,
        op_version_max: registered.op_version_max,
        member: entry.version.0,
        peers: of_kind(Holds::Peer).filter(|e| e.key != pool.peer(node)).count(),
        volumes: of_kind(Holds::Volume).count(),
        records: listed.entries.iter().map(|e| (e.key.name().to_owned(), e.version.0)).collect(),
    }))
}

impl Found {
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }

    /// What it takes to move the node; `None`: a record's name is none of this daemon's.
    pub fn adoption(&self) -> Option<Adoption> {
        let leaf = |(name, version): &(String, [u64; 3])| {
            Some((Key::new(&keys::CONFIG, name).ok()?, Version(*version)))
        };
        Some(Adoption {
            node: self.node(),
            member: Some(Version(self.member)),
            from: Pool(self.pool),
            leaves: self.records.iter().map(leaf).collect::<Option<_>>()?,
        })
    }
}

//! The first start on a coordination service: what this node's files say and the service does not
//! know is taken over, as of stock's daemon or of another service that was used before.
//!
//! The nodes of one pool do so at about the same time, and one of them begins for all. On a shared
//! service it claims the others in the change by which it begins, so that only one can. Of built-in
//! stores every node has its own: one stays, the others come to it ([`Homecoming`]).

use crate::membership::{Homecoming, Identity};
use crate::model::{NodeId, OP_VERSION_MAX, Volume};
use crate::store::keys::{self, Pool};
use crate::store::records::{self, Member};
use crate::store::{Adoption, CommitError, Edit, Sight, Store, View};
use coord_api::{CoordinatorExt, Health, ReadOpts, Result, Retry, Revision, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A small local store answers in milliseconds; a distant one may take longer than a start should.
const FIRST_VIEW: Duration = Duration::from_secs(10);
/// Out of reach for so long, the coordination service is not waited for any more.
const AWAY: Duration = Duration::from_millis(50);
/// Between attempts to take over what is on disk.
const RETRY: Duration = Duration::from_secs(1);
/// Records taken over in one change, well below the limits of every coordinator.
const EDITS_AT_ONCE: usize = 20;

pub(super) struct Takeover {
    pub store: Arc<Store>,
    pub identity: Identity,
    /// What the files say.
    pub on_disk: Arc<View>,
    /// With the built-in store.
    pub homecoming: Option<Homecoming>,
}

impl Takeover {
    /// Begins, and waits until the pool agrees with the files. Not while the coordination service is
    /// not there, nor while other nodes are looked for, which may have to find this one: then the last
    /// known configuration is served meanwhile.
    pub async fn begin(self, done: watch::Sender<bool>) {
        let mut settled = done.subscribe();
        let health = self.store.coordinator().health();
        let searching = Arc::new(Notify::new());
        let search = searching.clone();
        tokio::spawn(async move { self.to_the_end(&search, &done).await });
        tokio::select! {
            biased;
            _ = settled.wait_for(|settled| *settled) => return,
            () = searching.notified() => return,
            () = away(health) => {}
            () = tokio::time::sleep(FIRST_VIEW) => {}
        }
        tracing::warn!("the coordination service has not answered; serving the last known state");
    }

    async fn to_the_end(&self, searching: &Notify, done: &watch::Sender<bool>) {
        let health = self.store.coordinator().health();
        let mut came_home = false;
        loop {
            match self.attempt(searching, &mut came_home).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the files are not taken over yet"),
            }
            if *health.borrow() == Health::Closed {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
        done.send_replace(true);
    }

    /// False: has to be tried again.
    async fn attempt(&self, searching: &Notify, came_home: &mut bool) -> Result<bool> {
        let Some(mut sight) = self.sight(Revision(0)).await else { return Ok(false) };
        if is_new(&sight) && self.on_disk.others().next().is_some() {
            if let Some(homecoming) = &self.homecoming {
                tracing::info!("looking for the other nodes that the files name");
                searching.notify_one();
                *came_home |= homecoming.run(&self.on_disk).await;
            }
            let Some(newer) = self.sight(Revision(0)).await else { return Ok(false) };
            sight = newer;
        }
        let edits = self.edits(&sight, *came_home).await?;
        for some in edits.chunks(EDITS_AT_ONCE) {
            match self.store.commit(&sight, some).await {
                Ok(revision) => match self.sight(revision).await {
                    Some(newer) => sight = newer,
                    None => return Ok(false),
                },
                Err(CommitError::Refused(error)) if error.retry() != Retry::SameHandle => {
                    tracing::error!(%error, "the configuration on disk was not taken over");
                    return Ok(true);
                }
                Err(error) => {
                    tracing::warn!(%error, "the configuration on disk is not taken over yet");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn sight(&self, revision: Revision) -> Option<Sight> {
        self.store.wait_for(revision, FIRST_VIEW).await
    }

    async fn edits(&self, sight: &Sight, came_home: bool) -> Result<Vec<Edit>> {
        if is_new(sight) {
            let mut edits = self.claims(sight).await?;
            edits.extend(takeover(sight, &self.identity, &self.on_disk));
            return Ok(edits);
        }
        let mut edits = self.unnamed(sight).await?;
        if sight.pool == self.identity.pool {
            edits.extend(op_version(sight, &self.identity));
        } else if came_home || self.was_claimed().await? {
            edits.extend(newer_here(&sight.view, &self.on_disk));
        }
        // Otherwise it was moved while it was down, out of a pool that had begun: the files tell of that.
        Ok(edits)
    }

    /// The nodes that the files name and that nobody has begun for, taken into the pool by the change
    /// that begins it.
    async fn claims(&self, sight: &Sight) -> Result<Vec<Edit>> {
        let mut claims = Vec::new();
        for peer in self.on_disk.others() {
            let (from, member) = match self.place(peer.id).await? {
                None => (sight.pool, None),
                Some((from, _)) if from == sight.pool || self.has_begun(from).await? => continue,
                Some((from, version)) => (from, Some(version)),
            };
            claims.push(Edit::Adopt(Adoption { node: peer.id, member, from, leaves: Vec::new() }));
        }
        Ok(claims)
    }

    /// Members without a record: whoever began knows all the names but its own.
    async fn unnamed(&self, sight: &Sight) -> Result<Vec<Edit>> {
        let mut edits = Vec::new();
        for peer in self.on_disk.others() {
            if !sight.view.peers.contains_key(&peer.id)
                && self.place(peer.id).await?.is_some_and(|(pool, _)| pool == sight.pool)
            {
                edits.push(Edit::PutPeer(peer.clone()));
            }
        }
        Ok(edits)
    }

    /// Into a pool that has begun, out of one that never did. A built-in store knows of its own pools
    /// only: a node of another one has come home, or was sent away from there.
    async fn was_claimed(&self) -> Result<bool> {
        Ok(self.homecoming.is_none() && !self.has_begun(self.identity.pool).await?)
    }

    async fn has_begun(&self, pool: Pool) -> Result<bool> {
        let (global, _) = self.store.coordinator().get(&pool.global(), ReadOpts::default()).await?;
        Ok(global.is_some())
    }

    /// Where a node belongs.
    async fn place(&self, node: NodeId) -> Result<Option<(Pool, Version)>> {
        let key = keys::member(node);
        let (entry, _) = self.store.coordinator().get(&key, ReadOpts::default()).await?;
        Ok(entry.and_then(|entry| {
            let member = records::decode::<Member>(&entry.value).ok()?;
            Some((member.pool, entry.version))
        }))
    }
}

/// Completes when the coordination service is out of reach for longer than a moment.
async fn away(mut health: watch::Receiver<Health>) {
    // A master of the built-in store that finds no quorum is degraded.
    let is_away =
        |health: &Health| matches!(health, Health::Unreachable { .. } | Health::Degraded { .. });
    loop {
        if health.wait_for(is_away).await.is_err() {
            return;
        }
        let back = health.wait_for(|health| !is_away(health));
        if tokio::time::timeout(AWAY, back).await.is_err() {
            return;
        }
    }
}

/// A pool without its global record, which is written last, has not taken over all that its nodes
/// know; with it the pool is right and the files follow.
fn is_new(sight: &Sight) -> bool {
    !sight.versions.contains_key(&sight.pool.global())
}

/// What a new pool does not know yet; an attempt that was cut short has written some of it.
fn takeover(sight: &Sight, identity: &Identity, on_disk: &View) -> Vec<Edit> {
    let mut edits = Vec::new();
    let missing = |volume: &&Arc<Volume>| !sight.view.volumes.contains_key(&volume.name);
    let volumes = on_disk.volumes.values().filter(missing);
    edits.extend(volumes.map(|volume| Edit::PutVolume(Box::new((**volume).clone()))));
    let peers = on_disk.others().filter(|peer| !sight.view.peers.contains_key(&peer.id));
    edits.extend(peers.cloned().map(Edit::PutPeer));
    if !edits.is_empty() {
        tracing::info!(records = edits.len(), "taking over the configuration on disk");
    }
    let mut global = (*on_disk.global).clone();
    if sight.view.peers.len() <= 1 && global.op_version != identity.op_version {
        global.op_version = identity.op_version.min(OP_VERSION_MAX);
    }
    edits.push(Edit::PutGlobal(global));
    edits
}

/// What an administrator changed while the daemon of a node that is alone was down.
fn op_version(sight: &Sight, identity: &Identity) -> Option<Edit> {
    let mut global = (*sight.view.global).clone();
    let alone = sight.view.peers.len() <= 1;
    if !alone || global.op_version == identity.op_version {
        return None;
    }
    global.op_version = identity.op_version.min(OP_VERSION_MAX);
    (global != *sight.view.global).then_some(Edit::PutGlobal(global))
}

/// Of nodes that come together with files of stock's the newer volume counts, as between stock's
/// daemons, and one that only some know is a volume of all.
fn newer_here(pool: &View, on_disk: &View) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (name, here) in on_disk.volumes.iter() {
        match pool.volumes.get(name) {
            Some(there) if there.id != here.id => {
                tracing::error!(
                    volume = name.as_str(),
                    "the files hold another volume of this name"
                );
            }
            Some(there) if there.version >= here.version => {}
            _ => {
                tracing::warn!(
                    volume = name.as_str(),
                    version = here.version,
                    "the files know more of it than the pool"
                );
                edits.push(Edit::PutVolume(Box::new((**here).clone())));
            }
        }
    }
    edits
}

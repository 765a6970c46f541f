//! What a node of a pool does by itself: notes where it is, becomes a master when its turn has
//! come, and, if it leads, lets those go whose turn is over. Decided in `masters.rs`.
//!
//! It takes no orders: it looks at what there is and does what is missing, when something has
//! changed and each half minute. Doing it twice is harmless.

use crate::node::Node;
use crate::opening;
use crate::pool::{Pool, own_key, own_space};
use crate::raft::Member;
use crate::store::{LocalStore, Part};
use crate::talk::{Answer, Ask};
use coord_api::{
    Coordinator, CoordinatorExt, Error, ErrorKind, Prefix, ReadOpts, Result, SpaceKind, Txn,
    WatchOpts,
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Without any news.
const LOOK: Duration = Duration::from_secs(30);
/// After something failed.
const RETRY: Duration = Duration::from_millis(500);
/// News come in swarms.
const SETTLE: Duration = Duration::from_millis(20);

/// Begins, until the last clone of the store is dropped.
pub fn start(store: &LocalStore) {
    let over = CancellationToken::new();
    let tender = Tender {
        // Without the guard, which the task must not keep alive.
        store: LocalStore { tending: Arc::default(), ..store.clone() },
        c: store.handle(),
        awaited: Mutex::default(),
    };
    let task = {
        let over = over.clone();
        async move {
            tokio::select! {
                () = tender.run() => {}
                () = over.cancelled() => {}
            }
        }
    };
    match &store.part {
        Part::Member(node) => node.spawn(task),
        Part::Client(remote) => remote.spawn(task),
    }
    // A store is tended once, by whoever opened it.
    store.tending.set(over.drop_guard()).ok();
}

struct Tender {
    store: LocalStore,
    c: Arc<dyn Coordinator>,
    /// Since when nodes that should be masters have not become any.
    awaited: Mutex<HashMap<String, Instant>>,
}

impl Tender {
    async fn run(self) {
        // The space must be there before it can be watched; and a master or follower that has moved
        // gets nothing to read before the others know.
        while self.tell_address().await.is_err() || self.note_self().await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        let mut news = self.c.watch(Prefix::all(&own_space()), WatchOpts::default());
        loop {
            let pause = match self.look().await {
                Ok(()) => LOOK.min(self.store.config.lost_after / 2),
                Err(error) => {
                    tracing::debug!(%error, "the pool's members are looked at again");
                    RETRY
                }
            };
            tokio::select! {
                event = news.next() => if event.is_none() { return },
                () = self.leader_changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    /// Leaders and members come and go without a word in the store.
    async fn leader_changed(&self) {
        match &self.store.part {
            Part::Member(node) => node.leadership().changed().await,
            Part::Client(remote) => {
                let mut standing = remote.shared().standing();
                standing.mark_unchanged();
                if standing.changed().await.is_err() {
                    std::future::pending().await
                }
            }
        }
    }

    fn name(&self) -> &str {
        &self.store.config.name
    }

    fn address(&self) -> String {
        self.store.own_address().unwrap_or_else(|| self.store.config.address.clone())
    }

    /// Tells the others where it is now, if it keeps data and they look elsewhere.
    async fn tell_address(&self) -> Result<()> {
        let Some(node) = self.store.node() else { return Ok(()) };
        let id = node.identity.node;
        match self.store.known().into_iter().find(|(known, ..)| *known == id) {
            Some((.., votes)) => self.serve(votes).await,
            None => Ok(()),
        }
    }

    /// Writes down under which address this node is, or will be, a master.
    async fn note_self(&self) -> Result<()> {
        self.c.ensure_space(&own_space(), SpaceKind::Persistent).await?;
        let (key, address) = (own_key("node", self.name())?, self.address());
        let (noted, _) = self.c.get(&key, ReadOpts::default()).await?;
        if noted.is_some_and(|noted| noted.value == address.as_bytes()) {
            return Ok(());
        }
        self.c.txn(Txn::new().put(&key, address)).await.map(drop)
    }

    async fn look(&self) -> Result<()> {
        self.keep_pool_file()?;
        let nodes = Prefix::new(&own_space(), "node/")?;
        let mut nodes = self.c.list(&nodes, ReadOpts::default()).await?.entries;
        nodes.sort_by_key(|entry| entry.created);
        let names: Vec<&str> =
            nodes.iter().filter_map(|entry| entry.key.name().strip_prefix("node/")).collect();
        let (wish, _) = self.c.get(&own_key("wish", "masters")?, ReadOpts::default()).await?;
        let wish = wish.map(|wish| String::from_utf8_lossy(&wish.value).into_owned());
        let wish: Vec<&str> = wish.as_deref().unwrap_or_default().lines().collect();
        let voters = self.store.voters();
        let current: Vec<&str> = voters.iter().map(|(_, member, _)| member.name.as_str()).collect();
        let marks = Prefix::new(&own_space(), "lost/")?;
        let marks = self.c.list(&marks, ReadOpts::default()).await?.entries;
        let lost: Vec<&str> =
            marks.iter().filter_map(|entry| entry.key.name().strip_prefix("lost/")).collect();
        if lost.contains(&self.name()) {
            self.c.txn(Txn::new().delete(&own_key("lost", self.name())?)).await?;
        }
        let target = crate::masters::masters(&names, &current, &lost, &wish);
        self.miss(&names, &target, &lost).await?;
        let among = |names: &[String]| names.iter().any(|name| name == self.name());
        if among(&target) {
            if !current.contains(&self.name()) {
                tracing::info!(?names, ?current, ?lost, ?wish, "this node is to be a master");
            }
            self.serve(true).await?;
        } else if among(&crate::masters::followers(&names, &target)) {
            self.serve(false).await?;
        }
        self.retire(&target).await
    }

    /// The file says where to look for masters after a restart.
    fn keep_pool_file(&self) -> Result<()> {
        let dir = &self.store.config.dir;
        let masters = self.store.voters().into_iter().map(|(_, member, _)| member.address);
        let masters: Vec<String> = masters.filter(|at| !at.is_empty()).collect();
        let read = Pool::read(dir).map_err(crate::node::storage)?;
        match read {
            Some(pool) if pool.masters != masters && !masters.is_empty() => {
                Pool { masters, ..pool }.write(dir).map_err(crate::node::storage)
            }
            _ => Ok(()),
        }
    }

    /// Is a master, or becomes one, or follows; one that has moved says so.
    async fn serve(&self, voter: bool) -> Result<()> {
        let node = self.own_node().await?;
        let Some(door) = node.door() else { return Ok(()) };
        let address = opening::address(&self.store.config, door);
        let member = Member { name: self.name().to_owned(), address };
        let id = node.identity.node;
        let known = self.store.known().into_iter().find(|(known, ..)| *known == id);
        if known.as_ref().is_some_and(|(_, is, votes)| *is == member && *votes >= voter) {
            return Ok(());
        }
        if let Some((_, was, _)) = known.filter(|(_, was, _)| was.name != member.name)
            && let Ok(key) = own_key("node", &was.name)
        {
            // It has another name now; under the old one there is nobody.
            self.c.txn(Txn::new().delete(&key)).await?;
        }
        match &self.store.part {
            Part::Member(node) => node.admit_member(id, member, voter).await,
            Part::Client(remote) => {
                let deadline = Instant::now() + Duration::from_secs(25);
                let ask = |_| Ask::Admit { node: id, member: member.clone(), voter };
                match remote.shared().ask(deadline, true, ask).await? {
                    Answer::Changed(done) => done.map_err(Error::from),
                    _ => Err(Error::none(ErrorKind::Internal)),
                }
            }
        }
    }

    async fn own_node(&self) -> Result<Arc<Node>> {
        if let Some(node) = self.store.node() {
            return Ok(node);
        }
        let Part::Client(remote) = &self.store.part else {
            return Err(Error::none(ErrorKind::Internal));
        };
        let pool = Pool::read(&self.store.config.dir).map_err(crate::node::storage)?;
        let pool = pool.ok_or(ErrorKind::Corrupt)?;
        let node = opening::master(&self.store.config, &pool, &remote.shared().road().heir).await?;
        tracing::info!(name = self.name(), "this node keeps the data of the store from here on");
        remote.keep_serving(node.clone());
        Ok(node)
    }

    /// The leader marks masters that have been away for too long, so that others take their place;
    /// only while there are others. Who comes back takes its mark away itself.
    async fn miss(&self, names: &[&str], target: &[String], lost: &[&str]) -> Result<()> {
        let Some(node) = self.store.node() else { return Ok(()) };
        let spare = |name: &&str| !lost.contains(name) && !target.iter().any(|t| t == name);
        if node.leader() != Some(node.identity.node) || !names.iter().any(spare) {
            self.awaited.lock().clear();
            return Ok(());
        }
        let known = self.store.known();
        let limit = self.store.config.lost_after;
        let away = |name: &String| match known.iter().find(|(_, member, _)| member.name == *name) {
            Some((id, ..)) => node.silence(*id).is_some_and(|s| s.since.elapsed() > limit),
            None => {
                let mut awaited = self.awaited.lock();
                awaited.entry(name.clone()).or_insert_with(Instant::now).elapsed() > limit
            }
        };
        self.awaited.lock().retain(|name, _| target.contains(name));
        let gone = target
            .iter()
            .find(|name| **name != self.name() && !lost.contains(&name.as_str()) && away(name));
        let Some(name) = gone else { return Ok(()) };
        tracing::warn!(name, "a master has been away for too long: another node takes its place");
        self.c.txn(Txn::new().put(&own_key("lost", name)?, "")).await.map(drop)
    }

    /// The leader takes the votes of those that are not to have one, once all others have theirs.
    async fn retire(&self, target: &[String]) -> Result<()> {
        let Some(node) = self.store.node() else { return Ok(()) };
        if node.leader() != Some(node.identity.node) {
            return Ok(());
        }
        let voters = self.store.voters();
        let votes = |name: &String| voters.iter().any(|(_, member, _)| member.name == *name);
        if target.is_empty() || !target.iter().all(votes) {
            return Ok(());
        }
        let surplus = voters.iter().find(|(_, member, _)| !target.contains(&member.name));
        match surplus {
            Some((id, member, _)) => {
                tracing::info!(name = %member.name, "is no master of the store any more");
                node.retire(*id).await
            }
            None => Ok(()),
        }
    }
}

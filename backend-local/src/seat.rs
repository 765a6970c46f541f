//! A node's place in the built-in store while its daemon runs: alone, or among others.
//!
//! It goes from one to the other under a handle that stays ([`Moving`]). Alone it listens nowhere;
//! the first invitation opens its door. A node whose pool does not answer goes on trying behind
//! the handle, with its master's door open, since the others wait for it as it waits for them.

use crate::baggage::Baggage;
use crate::config::LocalConfig;
use crate::heir::Heir;
use crate::layout::replace_file;
use crate::membership::StoreMember;
use crate::node::storage;
use crate::opening;
use crate::pool::{Invitation, Pool};
use crate::store::{LocalStore, Part};
use coord_api::{Coordinator, Error, ErrorKind, Health, Moving, Result};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

/// Where this node is reached, once it has been told: `host:port`.
const ADDRESS: &str = "address";
/// Longer is no address of ours.
const ADDRESS_MAX: u64 = 512;
/// Its own pool is waited for as long as it takes; after this it begins anew.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Masters that have just handed out an invitation answer sooner.
const JOIN: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(1);

/// See the file's head.
#[derive(Debug)]
pub struct Seat {
    config: LocalConfig,
    moving: Arc<Moving>,
    /// `None` while the pool does not answer.
    now: Mutex<Option<LocalStore>>,
}

impl Seat {
    /// Takes the place that the directory of `config` says. `config.listen` and, if it is not
    /// empty, `config.address` are for when the node is among others. Waits for `patience` for
    /// masters elsewhere, if enough of them are there; without them the handle says `Unavailable`
    /// until they answer.
    ///
    /// # Errors
    /// Those of [`LocalStore::open`] for a node that is alone.
    pub async fn open(config: LocalConfig, patience: Duration) -> Result<Arc<Seat>> {
        let moving = Moving::new("local");
        let seat = Arc::new(Seat { config, moving, now: Mutex::new(None) });
        opening::go_over(&seat.config).await?;
        let config = seat.present()?;
        if opening::is_alone(&config)? {
            let store = LocalStore::open(&config).await?;
            seat.moving.occupy(store.handle()).await?;
            seat.sit(&mut *seat.now.lock().await, store);
            return Ok(seat);
        }
        let health = seat.moving.health();
        tokio::spawn(come_back(Arc::downgrade(&seat), config));
        let _or_later = tokio::time::timeout(patience, seat.back(health)).await;
        Ok(seat)
    }

    /// Completes when the masters serve, or too few of them are there to be waited for.
    async fn back(&self, mut health: watch::Receiver<Health>) {
        let lacks = async || match self.now.lock().await.as_ref().map(|store| &store.part) {
            Some(Part::Client(remote)) => remote.shared().lacks_masters(),
            _ => false,
        };
        loop {
            let now = health.borrow_and_update().clone();
            let alone = matches!(now, Health::Degraded { .. }) && lacks().await;
            if now == Health::Ok || alone || health.changed().await.is_err() {
                return;
            }
        }
    }

    /// The handle that stays.
    pub fn handle(&self) -> Arc<dyn Coordinator> {
        self.moving.clone()
    }

    /// An invitation into this node's store, as text; `host` is where the guest reaches it.
    ///
    /// # Errors
    /// Those of [`LocalStore::invite`] and of opening the door.
    pub async fn invite(self: &Arc<Self>, host: &str) -> Result<String> {
        let mut now = self.now.lock().await;
        let store = now.as_ref().ok_or_else(away)?;
        if matches!(&store.part, Part::Member(node) if node.door().is_none()) {
            self.keep_address(host)?;
            self.moving.vacate().await;
            if let Some(store) = now.take() {
                store.shut_down().await;
            }
            match LocalStore::open(&self.listening()?).await {
                Ok(store) => {
                    self.moving.occupy(store.handle()).await?;
                    self.sit(&mut now, store);
                }
                Err(error) => {
                    self.wait_behind()?;
                    return Err(error);
                }
            }
        }
        let store = now.as_ref().ok_or_else(away)?;
        Ok(store.invite().await?.to_text())
    }

    /// Leaves its store for the one it is invited to; `host` is where others reach this node. Not
    /// if there is something to lose.
    ///
    /// # Errors
    /// `PermissionDenied` if the store holds something that would be lost; those of
    /// [`LocalStore::join`]. It is where it was then, or waits for the new masters.
    pub async fn join(self: &Arc<Self>, text: &str, host: &str, with: &Baggage) -> Result<()> {
        let invitation = Invitation::parse(text)?;
        let mut now = self.now.lock().await;
        let store = now.clone().ok_or_else(away)?;
        self.moving.vacate().await;
        let left = async {
            with.is_all_of(&store).await?;
            self.keep_address(host)?;
            if self.others(&store).await? { store.clone().leave().await } else { Ok(()) }
        };
        if let Err(error) = left.await {
            self.moving.occupy(store.handle()).await?;
            return Err(error);
        }
        store.shut_down().await;
        now.take();
        drop(store);
        let mut config = self.listening()?;
        config.open.connect_timeout = JOIN;
        let joined = async {
            let store = LocalStore::join(&config, &invitation).await?;
            with.put_into(&store).await?;
            Ok::<_, Error>(store)
        };
        match joined.await {
            Ok(store) => {
                self.moving.occupy(store.handle()).await?;
                self.sit(&mut now, store);
                Ok(())
            }
            Err(error) => {
                self.wait_behind()?;
                Err(error)
            }
        }
    }

    /// Is alone afterwards, in a new store with what it takes along. `false`: it was alone.
    ///
    /// # Errors
    /// Those of [`LocalStore::leave`]: it is where it was.
    pub async fn leave(self: &Arc<Self>, with: &Baggage) -> Result<bool> {
        let mut now = self.now.lock().await;
        let store = now.clone().ok_or_else(away)?;
        if !self.others(&store).await? {
            return Ok(false);
        }
        self.moving.vacate().await;
        let left = async {
            with.take_out_of(&store).await?;
            store.clone().leave().await
        };
        if let Err(error) = left.await {
            self.moving.occupy(store.handle()).await?;
            return Err(error);
        }
        now.take();
        drop(store);
        let fresh = async {
            let store = LocalStore::open(&self.present()?).await?;
            with.put_into(&store).await?;
            Ok::<_, Error>(store)
        };
        match fresh.await {
            Ok(store) => {
                self.moving.occupy(store.handle()).await?;
                self.sit(&mut now, store);
                Ok(true)
            }
            Err(error) => {
                self.wait_behind()?;
                Err(error)
            }
        }
    }

    /// Has this store from here on, until another takes its place.
    fn sit(self: &Arc<Self>, now: &mut Option<LocalStore>, store: LocalStore) {
        if let Some(heir) = store.heir() {
            tokio::spawn(give_way(Arc::downgrade(self), heir, store.over()));
        }
        *now = Some(store);
    }

    /// Goes on opening what the directory holds, whatever that is by now.
    fn wait_behind(self: &Arc<Self>) -> Result<()> {
        tokio::spawn(come_back(Arc::downgrade(self), self.present()?));
        Ok(())
    }

    /// Why the store cannot be used just now, for people; `None` while it can.
    pub fn trouble(&self) -> Option<String> {
        match &*self.moving.health().borrow() {
            Health::Ok | Health::Closed => None,
            Health::Degraded { why, .. } => Some(why.clone()),
            Health::Unreachable { .. } => {
                let pool = Pool::read(&self.config.dir).ok().flatten()?;
                Some(format!("no master answers: {}", pool.masters.join(", ")))
            }
        }
    }

    /// Whether it came into its store by an invitation, and is not its founder.
    pub fn is_guest(&self) -> bool {
        opening::has_joined(&self.config.dir)
    }

    /// The nodes of its store.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn members(&self) -> Result<Vec<StoreMember>> {
        self.store().await?.members().await
    }

    /// See [`LocalStore::remove`].
    ///
    /// # Errors
    /// As there.
    pub async fn remove(&self, name: &str) -> Result<()> {
        self.store().await?.remove(name).await
    }

    /// See [`LocalStore::set_masters`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_masters(&self, names: &[&str]) -> Result<()> {
        self.store().await?.set_masters(names).await
    }

    /// Stops everything and lets the directory go.
    pub async fn shut_down(&self) {
        self.moving.close().await.ok();
        if let Some(store) = self.now.lock().await.take() {
            store.shut_down().await;
        }
    }

    async fn store(&self) -> Result<LocalStore> {
        self.now.lock().await.clone().ok_or_else(away)
    }

    /// Whether there are other nodes in the store.
    async fn others(&self, store: &LocalStore) -> Result<bool> {
        if matches!(&store.part, Part::Member(node) if node.door().is_none()) {
            return Ok(false);
        }
        let members = store.members().await?;
        Ok(members.iter().any(|member| member.name != self.config.name))
    }

    /// The configuration for what the directory holds now.
    fn present(&self) -> Result<LocalConfig> {
        let has_pool = Pool::read(&self.config.dir).map_err(storage)?.is_some();
        if has_pool {
            return self.listening();
        }
        Ok(LocalConfig { listen: None, ..self.config.clone() })
    }

    fn listening(&self) -> Result<LocalConfig> {
        let mut config = self.config.clone();
        if config.address.is_empty() {
            config.address = read_address(&config.dir)?;
        }
        config.open.connect_timeout = PATIENCE;
        Ok(config)
    }

    /// Notes where this node is reached, if that is not known.
    fn keep_address(&self, host: &str) -> Result<()> {
        if !self.config.address.is_empty() || !read_address(&self.config.dir)?.is_empty() {
            return Ok(());
        }
        let listen = self.config.listen.as_deref().unwrap_or_default();
        let port = listen.rsplit_once(':').map_or("", |(_, port)| port);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let address = format!("{host}:{port}");
        replace_file(&self.config.dir, ADDRESS, address.as_bytes()).map_err(storage)
    }
}

fn away() -> Error {
    Error::none(ErrorKind::Unavailable).because("the pool does not answer")
}

fn read_address(dir: &Path) -> Result<String> {
    let file = match std::fs::File::open(dir.join(ADDRESS)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(storage(error)),
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, ADDRESS_MAX), &mut text)
        .map_err(storage)?;
    Ok(text.trim().to_owned())
}

/// Leaves a store whose place another has taken.
async fn give_way(seat: Weak<Seat>, heir: Arc<Heir>, over: CancellationToken) {
    tokio::select! {
        () = heir.known().cancelled() => {}
        () = over.cancelled() => return,
    }
    let Some(seat) = seat.upgrade() else { return };
    let mut now = seat.now.lock().await;
    let same = |store: &LocalStore| store.heir().is_some_and(|h| Arc::ptr_eq(&h, &heir));
    if !now.as_ref().is_some_and(same) {
        return;
    }
    seat.moving.vacate().await;
    if let Some(store) = now.take() {
        store.shut_down().await;
    }
    if let Err(error) = seat.wait_behind() {
        tracing::error!(%error, "the store that took this one's place");
    }
}

/// Opens the store again and again until it answers, for as long as somebody has the seat.
async fn come_back(seat: Weak<Seat>, config: LocalConfig) {
    let mut said = None;
    while seat.strong_count() > 0 {
        match LocalStore::open(&config).await {
            Ok(store) => {
                let Some(seat) = seat.upgrade() else { return };
                let mut now = seat.now.lock().await;
                match seat.moving.occupy(store.handle()).await {
                    Ok(()) => {
                        seat.sit(&mut now, store);
                        return;
                    }
                    Err(error) if error.kind == ErrorKind::Closed => return,
                    Err(error) => tracing::warn!(%error, "the pool's store"),
                }
            }
            Err(error) => {
                // Once for each kind of trouble, however long it lasts.
                if said.replace(error.kind.clone()) != Some(error.kind.clone()) {
                    tracing::warn!(%error, "waiting for the pool's store");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

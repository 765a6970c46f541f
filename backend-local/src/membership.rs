//! Who belongs to the store: inviting, joining, leaving, masters, and the last resort.
//!
//! A pool grows like this: any node [`LocalStore::invite`]s; the invitation travels to the new
//! node, which calls [`LocalStore::join`] and is a client of the masters from then on. Whether it
//! becomes a master too is decided by [`crate::masters`] and done by the nodes themselves.

use crate::config::LocalConfig;
use crate::heir::Heir;
use crate::layout::{Layout, remove_if_there, replace_file};
use crate::net::Road;
use crate::net::link::Link;
use crate::node::storage;
use crate::opening::JOINED;
use crate::pool::{Invitation, Pool, own_key, own_space};
use crate::secure::{Hello, Purpose, Refused};
use crate::store::{LocalStore, Part};
use crate::talk::{Answer, Ask};
use coord_api::{CoordinatorExt, Error, ErrorKind, Prefix, ReadOpts, Result, SpaceKind, Txn};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Invitations open at once; the oldest gives way.
const INVITATIONS_MAX: usize = 32;
/// Names in a wish.
const WISH_MAX: usize = 64;
const JOIN: Duration = Duration::from_secs(10);

/// A node of the pool as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreMember {
    /// As its configuration names it.
    pub name: String,
    /// `host:port` of its store; may be empty for a client.
    pub address: String,
    /// Whether it keeps the data and votes.
    pub master: bool,
    /// Whether it leads; at most one does.
    pub leader: bool,
}

impl LocalStore {
    /// An invitation for one node. It is good until it is used, or 32 later ones were made.
    ///
    /// # Errors
    /// Those of a write; `Unsupported` if this store listens nowhere.
    pub async fn invite(&self) -> Result<Invitation> {
        let mut masters: Vec<String> =
            self.voters().into_iter().map(|(_, member, _)| member.address).collect();
        // A founder may not have noted its address yet.
        masters.extend(self.own_address());
        masters.retain(|at| !at.is_empty());
        masters.sort_unstable();
        masters.dedup();
        if masters.is_empty() {
            return Err(Error::none(ErrorKind::Unsupported("a store that listens nowhere")));
        }
        let c = self.handle();
        c.ensure_space(&own_space(), SpaceKind::Persistent).await?;
        let invitation = Invitation::draw(c.info().cluster_id, masters).map_err(storage)?;
        let open = c.list(&Prefix::new(&own_space(), "invite/")?, ReadOpts::default()).await?;
        let mut open = open.entries;
        open.sort_by_key(|entry| entry.created);
        let key = Invitation::key(&invitation.id);
        let mut txn = Txn::new().put(&key, invitation.secret.bytes().to_vec());
        let surplus = (open.len() + 1).saturating_sub(INVITATIONS_MAX);
        for old in open.iter().take(surplus) {
            txn = txn.delete(&old.key);
        }
        c.txn(self.first_of_all(txn).await?).await?;
        Ok(invitation)
    }

    /// The host stands among the nodes before any guest does, under its present name alone: guests
    /// who saw themselves first, or one node more than there are, would take the host's place.
    async fn first_of_all(&self, mut txn: Txn) -> Result<Txn> {
        let Some(own) = self.node().map(|node| node.identity.node) else { return Ok(txn) };
        let name = &self.config.name;
        let key = own_key("node", name)?;
        let (noted, _) = self.handle().get(&key, ReadOpts::default()).await?;
        if noted.is_none() {
            txn = txn.put(&key, self.own_address().unwrap_or_default());
        }
        let known = self.known().into_iter().find(|(known, ..)| *known == own);
        if let Some((_, was, _)) = known.filter(|(_, was, _)| was.name != *name)
            && let Ok(key) = own_key("node", &was.name)
        {
            txn = txn.delete(&key);
        }
        Ok(txn)
    }

    /// Joins the pool that the invitation is from: the directory, which nobody may have open,
    /// holds no store of its own afterwards but is a client's. What it held is gone for good, so
    /// whoever calls this has made sure that it was nothing.
    ///
    /// Taken up once, an invitation is used: after an error a new one is needed.
    ///
    /// # Errors
    /// `Unavailable` if no master answers or the directory is in use; `PermissionDenied` if the
    /// invitation was used or withdrawn.
    pub async fn join(config: &LocalConfig, invitation: &Invitation) -> Result<LocalStore> {
        let layout = Layout::new(&config.dir);
        let lock = layout.lock(config.lock_wait).await?;
        let pool = take_up(config, invitation).await?;
        // In this order a crash leaves an empty directory at worst.
        clear(&config.dir).map_err(storage)?;
        replace_file(&config.dir, JOINED, b"").map_err(storage)?;
        pool.write(&config.dir).map_err(storage)?;
        drop(lock);
        LocalStore::open(config).await
    }

    /// All nodes of the pool, by name. A node that listens nowhere is not among them.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn members(&self) -> Result<Vec<StoreMember>> {
        let c = self.handle();
        let (voters, leader) = (self.voters(), self.leader());
        let mut members: Vec<StoreMember> = Vec::new();
        for (id, member, _) in &voters {
            members.push(StoreMember {
                name: member.name.clone(),
                address: member.address.clone(),
                master: true,
                leader: leader == Some(*id),
            });
        }
        let nodes = Prefix::new(&own_space(), "node/")?;
        let nodes = match c.list(&nodes, ReadOpts::default()).await {
            Ok(nodes) => nodes.entries,
            Err(error) if error.kind == ErrorKind::UnknownSpace => Vec::new(),
            Err(error) => return Err(error),
        };
        for entry in nodes {
            let name = entry.key.name().strip_prefix("node/").unwrap_or_default();
            if !members.iter().any(|member| member.name == name) {
                let address = String::from_utf8_lossy(&entry.value).into_owned();
                let name = name.to_owned();
                members.push(StoreMember { name, address, master: false, leader: false });
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    /// Fixes who the masters are, by name; an empty list leaves it to the nodes again. Names that
    /// are no nodes are ignored while they are none. Returns when the wish is noted, which it may be
    /// already; the nodes carry it out by themselves.
    ///
    /// # Errors
    /// Those of a write; `TooLarge` beyond 64 names.
    pub async fn set_masters(&self, names: &[&str]) -> Result<()> {
        if names.len() > WISH_MAX {
            let (limit, got) = (WISH_MAX, names.len());
            return Err(Error::none(ErrorKind::TooLarge { limit, got }));
        }
        let c = self.handle();
        let key = own_key("wish", "masters")?;
        let wish = names.join("\n");
        let noted = match c.get(&key, ReadOpts::linearizable()).await {
            Ok((noted, _)) => noted.map(|noted| noted.value).unwrap_or_default(),
            Err(error) if error.kind == ErrorKind::UnknownSpace => Default::default(),
            Err(error) => return Err(error),
        };
        if noted == wish.as_bytes() {
            return Ok(());
        }
        c.ensure_space(&own_space(), SpaceKind::Persistent).await?;
        let txn =
            if names.is_empty() { Txn::new().delete(&key) } else { Txn::new().put(&key, wish) };
        c.txn(txn).await.map(drop)
    }

    /// Takes a node out of the pool, dead or alive: it is no member any more and will not become
    /// a master. What it has in its directory is its own affair, see [`LocalStore::leave`].
    ///
    /// # Errors
    /// Those of a write; `Unavailable` if the masters that are left are no quorum.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let c = self.handle();
        c.ensure_space(&own_space(), SpaceKind::Persistent).await?;
        c.txn(Txn::new().delete(&own_key("node", name)?)).await?;
        let ids: Vec<u64> = self
            .known()
            .into_iter()
            .filter(|known| known.1.name == name)
            .map(|known| known.0)
            .collect();
        for id in ids {
            self.dismiss(id).await?;
        }
        Ok(())
    }

    /// Leaves the pool and forgets it: the next opening of the directory founds a new store.
    /// With `self` gone, all its handles are closed.
    ///
    /// # Errors
    /// Those of a write, with nothing changed here; a pool of one node cannot be left.
    pub async fn leave(self) -> Result<()> {
        let other = |member: &StoreMember| member.name != self.config.name;
        if !self.members().await?.iter().any(other) {
            return Err(Error::none(ErrorKind::Unsupported("leaving a pool of one node")));
        }
        self.remove(&self.config.name.clone()).await?;
        self.shut_down().await;
        let layout = Layout::new(&self.config.dir);
        let _lock = layout.lock(Duration::from_secs(5)).await?;
        clear(&self.config.dir).map_err(storage)
    }

    /// Whether this process keeps the data with a vote, as far as it has heard. What is written from
    /// then on is behind that decision.
    pub fn votes(&self) -> bool {
        let own = self.node().map(|node| node.identity.node);
        self.voters().iter().any(|(id, ..)| Some(*id) == own)
    }

    /// Where others reach the master of this process.
    pub(crate) fn own_address(&self) -> Option<String> {
        let door = self.node()?.door()?;
        Some(crate::opening::address(&self.config, door))
    }

    /// Of the store that takes this one's place; `None` for one that is alone.
    pub(crate) fn heir(&self) -> Option<Arc<Heir>> {
        match &self.part {
            Part::Member(node) => node.heir(),
            Part::Client(remote) => Some(remote.shared().road().heir.clone()),
        }
    }

    /// Completes when the store was shut down.
    pub(crate) fn over(&self) -> CancellationToken {
        match &self.part {
            Part::Member(node) => node.child_token(),
            Part::Client(remote) => remote.shared().over(),
        }
    }

    async fn dismiss(&self, node: u64) -> Result<()> {
        match &self.part {
            Part::Member(member) => member.remove_member(node).await,
            Part::Client(remote) => {
                let deadline = Instant::now() + Duration::from_secs(25);
                match remote.shared().ask(deadline, true, |_| Ask::Dismiss { node }).await? {
                    Answer::Changed(done) => done.map_err(Error::from),
                    _ => Err(Error::none(ErrorKind::Internal)),
                }
            }
        }
    }

    /// Masters and those that follow them, as last heard.
    pub(crate) fn known(&self) -> Vec<(u64, crate::raft::Member, bool)> {
        match &self.part {
            Part::Member(node) => node.members_and_voters(),
            Part::Client(remote) => {
                let standing = remote.shared().standing().borrow().clone();
                standing.members.into_iter().map(|m| (m.node, m.member, m.voter)).collect()
            }
        }
    }

    pub(crate) fn voters(&self) -> Vec<(u64, crate::raft::Member, bool)> {
        self.known().into_iter().filter(|(.., votes)| *votes).collect()
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        match &self.part {
            Part::Member(node) => node.leader(),
            Part::Client(remote) => remote.shared().standing().borrow().leader,
        }
    }
}

/// Asks each master in turn until one takes the invitation.
async fn take_up(config: &LocalConfig, invitation: &Invitation) -> Result<Pool> {
    let hello = Hello { purpose: Purpose::Join, scope: invitation.id };
    let road = Road {
        cluster: invitation.cluster(),
        secret: invitation.secret.clone(),
        heir: crate::heir::Heir::new(config.dir.clone()),
        tls: config.tls.clone(),
        detect: config.open.detect,
    };
    let deadline = Instant::now() + JOIN;
    let mut refused = Error::none(ErrorKind::Unavailable).because("no master answers");
    for address in &invitation.masters {
        let left = deadline.saturating_duration_since(Instant::now());
        let link = match Link::dial_as(&road, address, hello, left.min(JOIN / 3)).await {
            Ok(link) => link,
            Err(Refused::Stranger | Refused::Unproven) => {
                refused = Error::none(ErrorKind::PermissionDenied)
                    .because(format!("{address} does not know the invitation"));
                continue;
            }
            Err(why) => {
                refused = Error::none(ErrorKind::Unavailable).because(format!("{address}: {why}"));
                continue;
            }
        };
        match link.call(Ask::Join, deadline.saturating_duration_since(Instant::now())).await {
            Ok(Answer::Joined { cluster, salt, veiled, masters }) => {
                let secret = veiled.veiled(&invitation.secret, &salt);
                // A founder may not have noted its address yet.
                let known = masters.into_iter().chain(invitation.masters.iter().cloned());
                let mut masters: Vec<String> = known.filter(|at| !at.is_empty()).collect();
                masters.sort_unstable();
                masters.dedup();
                return Ok(Pool { cluster, secret, masters });
            }
            Ok(Answer::Refused(refusal)) => refused = refusal.into(),
            Ok(_) => refused = Error::none(ErrorKind::Internal),
            // It may be used up by now; the next master knows.
            Err(why) => refused = Error::none(ErrorKind::Unavailable).because(why),
        }
    }
    Err(refused)
}

/// Takes everything of a store out of the directory but its lock.
fn clear(dir: &Path) -> std::io::Result<()> {
    for name in [JOINED, "pool", "store.redb", "snapshot", "snapshot.new", "pool.new"] {
        remove_if_there(&dir.join(name))?;
    }
    std::fs::File::open(dir)?.sync_all()
}

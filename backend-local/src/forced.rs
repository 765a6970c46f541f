//! The last resort: a node goes on alone with the data it has when the majority is lost for good.
//!
//! Its directory then holds a new cluster, with a new secret and a new node id, whose one member
//! it is. The data are its own as far as its log goes, entries included that it had not heard to
//! be committed: it cannot ask, and leaving one out may undo what somebody was told. The new
//! store knows the old one's secret, so that the others come over when they return (`heir.rs`).

use crate::command::{Command, Kind, Write};
use crate::config::LocalConfig;
use crate::disk::Disk;
use crate::exchange;
use crate::heir::former_key;
use crate::layout::{Identity, Layout};
use crate::log::Log;
use crate::machine::Content;
use crate::membership::StoreMember;
use crate::net::link::Link;
use crate::node::storage;
use crate::opening;
use crate::pool::{Pool, own_key, own_space};
use crate::raft::{Leader, LogId, Member, Vote};
use crate::secure::{Purpose, Secret};
use bytes::Bytes;
use coord_api::{ClusterId, Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long another master has to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// What a directory would go on with, or goes on with.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// The store whose majority is lost.
    pub former: ClusterId,
    /// Its members, as this node knows them.
    pub members: Vec<StoreMember>,
    /// This node among them, by name.
    pub me: String,
    /// Whether it voted.
    pub voted: bool,
    /// How many changes it has.
    pub changes: u64,
    /// When its data were last written.
    pub written: Option<SystemTime>,
    /// Masters that answer; too few, or nothing would have to be forced.
    pub reached: Vec<String>,
    /// It is the only master already: there is nothing to force.
    pub is_sole: bool,
}

/// A store of several nodes as one of its directories has it.
pub struct Old {
    pub pool: Pool,
    pub identity: Identity,
    pub content: Content,
    pub vote: Option<Vote>,
}

impl Old {
    /// Whether it is the only one with a vote.
    pub fn is_sole(&self) -> bool {
        let members = self.content.members.membership();
        members.voter_ids().eq([self.identity.node])
    }

    /// This node as a member.
    pub fn me(&self) -> Member {
        let members = self.content.members.membership();
        members.get_node(&self.identity.node).cloned().unwrap_or_default()
    }
}

/// What [`force`] would do; changes nothing. The directory may not be open.
///
/// # Errors
/// `Unavailable` while a process has the directory; `Unsupported` if it holds no data of a store of
/// several nodes; `PermissionDenied` if the store has its quorum; `Corrupt`.
pub async fn prospect(config: &LocalConfig) -> Result<Prospect> {
    let (_lock, old) = read(config).await?;
    foresee(config, &old).await
}

/// Makes this node the only master of a store with its data. The directory may not be open.
///
/// # Errors
/// As [`prospect`]; the directory is as it was.
pub async fn force(config: &LocalConfig) -> Result<Prospect> {
    let (lock, old) = read(config).await?;
    let prospect = foresee(config, &old).await?;
    if prospect.is_sole {
        return Ok(prospect);
    }
    let next = exchange::prepare(&config.dir).map_err(storage)?;
    let lock = Arc::new(lock);
    write(&next, lock.clone(), old, &config.address).await.map_err(storage)?;
    exchange::decide(&config.dir).map_err(storage)?;
    exchange::finish(&config.dir).map_err(storage)?;
    drop(lock);
    Ok(prospect)
}

/// Reads a directory that nobody has open.
///
/// # Errors
/// As [`prospect`], whatever the quorum.
pub async fn read(config: &LocalConfig) -> Result<(std::fs::File, Old)> {
    let layout = Layout::new(&config.dir);
    if !config.dir.is_dir() {
        return Err(Error::none(ErrorKind::Unsupported("no store is there")));
    }
    let lock = layout.lock(config.lock_wait).await?;
    exchange::finish(&config.dir).map_err(storage)?;
    let Some(pool) = Pool::read(&config.dir).map_err(storage)? else {
        return Err(Error::none(ErrorKind::Unsupported("a store that never had other nodes")));
    };
    if !layout.store().exists() {
        return Err(Error::none(ErrorKind::Unsupported("a node that keeps no data of the store")));
    }
    let lock = Arc::new(lock);
    let founder = || Err(std::io::ErrorKind::InvalidData.into());
    let opened = Log::open(&layout.store(), lock.clone(), Disk::new(), founder);
    let (log, identity, thread) = opened.map_err(storage)?;
    let content =
        Content::read(&config.dir, &log).map_err(storage).and_then(|content| {
            match content.members.membership().voter_ids().count() {
                0 => Err(Error::none(ErrorKind::Unsupported("a node that has no data yet"))),
                _ => Ok(content),
            }
        });
    let vote = log.vote();
    drop(log);
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    joined.map_err(|error| Error::none(ErrorKind::Internal).because(error))?.ok();
    let lock = Arc::into_inner(lock).ok_or(ErrorKind::Internal)?;
    Ok((lock, Old { pool, identity, content: content?, vote }))
}

async fn foresee(config: &LocalConfig, old: &Old) -> Result<Prospect> {
    let members = old.content.members.membership();
    let voters: Vec<u64> = members.voter_ids().collect();
    let me = old.identity.node;
    let voted = voters.contains(&me);
    let heir = crate::heir::Heir::new(config.dir.clone());
    let road = opening::road(config, &old.pool, &heir);
    let mut reached = Vec::new();
    for (id, member) in members.nodes() {
        if *id == me || !voters.contains(id) {
            continue;
        }
        let Ok(link) = Link::dial(&road, &member.address, Purpose::Client, ANSWER).await else {
            continue;
        };
        let standing = link.standing().borrow().clone();
        if standing.trouble.is_none() && standing.leader.is_some() {
            let text = format!("{} serves the store: nothing has to be forced", member.address);
            return Err(Error::none(ErrorKind::PermissionDenied).because(text));
        }
        reached.push(member.address.clone());
    }
    // With this one they would be a majority, which only has to be started.
    if voted && (reached.len() + 1) * 2 > voters.len() && voters.len() > 1 {
        let text = format!(
            "{} of {} masters are within reach with this one, which is a majority: start glusterd",
            reached.len() + 1,
            voters.len()
        );
        return Err(Error::none(ErrorKind::PermissionDenied).because(text));
    }
    let told = |(id, member): (&u64, &Member)| StoreMember {
        name: member.name.clone(),
        address: member.address.clone(),
        master: voters.contains(id),
        leader: false,
    };
    let own = members.get_node(&me).map(|member| member.name.clone());
    let written = std::fs::metadata(Layout::new(&config.dir).store());
    Ok(Prospect {
        former: old.identity.cluster_id(),
        members: members.nodes().map(told).collect(),
        me: own.unwrap_or_else(|| config.name.clone()),
        voted,
        changes: old.content.state.applied,
        written: written.and_then(|about| about.modified()).ok(),
        reached,
        is_sole: voters == [me],
    })
}

/// The new store's files.
async fn write(next: &Path, lock: Arc<std::fs::File>, old: Old, at: &str) -> std::io::Result<()> {
    let own = old.me();
    let Old { pool, mut content, vote, .. } = old;
    let mut index = content.last.map_or(0, |last| last.index);
    let wish = own_key("wish", "masters").map_err(std::io::Error::other)?;
    let former = Bytes::copy_from_slice(pool.secret.bytes());
    let noted = vec![Write::Put(former_key(&pool.cluster), former), Write::Delete(wish)];
    for command in [
        Command::EnsureSpace { space: own_space(), kind: Kind::Persistent },
        Command::Txn { session: None, compares: Vec::new(), ops: noted },
    ] {
        index += 1;
        content.state.apply(index, &command);
        content.state.applied = index;
    }
    let address = if at.is_empty() { own.address.clone() } else { at.to_owned() };
    let new = settle(next, lock, content, vote, own, index).await?;
    let masters = vec![address];
    Pool { cluster: new.cluster, secret: Secret::draw()?, masters }.write(next)
}

/// Makes an empty folder the store of a new cluster's only member, with this content up to `index`.
///
/// # Errors
/// As the system says.
pub async fn settle(
    folder: &Path,
    lock: Arc<std::fs::File>,
    mut content: Content,
    vote: Option<Vote>,
    me: Member,
    index: u64,
) -> std::io::Result<Identity> {
    let new = Identity::draw(None)?;
    let term = vote.map_or(0, |vote| vote.leader_id.term);
    let term = term.max(content.last.map_or(0, |last| last.leader_id.term)) + 1;
    let leader = Leader { term, node_id: new.node };
    let last = LogId { leader_id: leader, index };
    content.last = Some(last);
    content.state.applied = index;
    content.elect(new.node, me, last);
    content.write(folder)?;
    let found = || Ok(new);
    let (log, _, thread) = Log::open(&folder.join("store.redb"), lock, Disk::new(), found)?;
    log.begin_after(last, Vote { leader_id: leader, committed: true }).await?;
    drop(log);
    tokio::task::spawn_blocking(move || thread.join()).await.map_err(std::io::Error::other)?.ok();
    Ok(new)
}

//! Follows the coordinator: this node's pool, its members that are up, and whether the node still
//! belongs there.
//!
//! A node that finds itself in another pool begins anew in that one; the image of the old pool
//! stands until the new one is whole.

use super::image::Image;
use super::keys::{ALIVE, ANSWERS, CONFIG, MEMBERS, QUESTIONS, REGISTRY, member, member_prefix};
use super::live::{Place, Store};
use super::present::Present;
use super::records::{self, Member};
use super::view::Freshness;
use coord_api::{
    Change, Entry, ErrorKind, Health, Revision, Space, SpaceKind, Txn, Version, WatchEvent,
    WatchOpts,
};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;

/// Pause before something is tried again; the coordinator itself paces reconnects.
const RETRY: Duration = Duration::from_millis(500);
/// Pause before watches that have ended are begun again.
const REOPEN: Duration = Duration::from_secs(5);

/// What ends the following of one pool.
#[derive(PartialEq, Eq)]
enum End {
    /// The node is somewhere else, or somebody else.
    Moved,
    /// A watch has ended.
    Closed,
}

/// A watch that ends while the handle is open (a missing permission, say) is begun again.
pub(super) async fn follow(store: Arc<Store>) {
    loop {
        declare_spaces(&store).await;
        let mut place = *store.place().borrow();
        while follow_pool(&store, place).await == End::Moved {
            place = *store.place().borrow();
        }
        store.publish_stale();
        if *store.coordinator().health().borrow() == Health::Closed {
            return;
        }
        tokio::time::sleep(REOPEN).await;
    }
}

async fn follow_pool(store: &Arc<Store>, place: Place) -> End {
    let image = Image::new(place.pool, place.node);
    let mut records = Records { image, revision: None, beginning: false };
    let watch = |prefix| store.coordinator().watch(prefix, WatchOpts::default());
    let mut own = watch(member_prefix(place.node));
    let mut config = watch(place.pool.prefix());
    let mut alive = watch(place.pool.alive_prefix());
    let mut places = store.place();
    let mut heads = store.heads();
    let mut present = Present::default();
    let mut belongs = Belongs::default();
    loop {
        let open = tokio::select! {
            event = own.next() => event.map(|event| belongs.fold(event)),
            event = config.next() => event.map(|event| records.fold(event)),
            event = alive.next() => event.map(|event| present.fold(event)),
            changed = heads.changed() => changed.ok(),
            changed = places.wait_for(|now| *now != place) => {
                return changed.map_or(End::Closed, |_| End::Moved);
            }
        };
        if open.is_none() {
            return End::Closed;
        }
        if belongs.is_unsaid() && !say_where(store, place).await {
            return End::Closed;
        }
        let Some((said, version)) = belongs.said else { continue };
        if said.pool != place.pool {
            tracing::info!(from = %place.pool.0, to = %said.pool.0, "this node is in another pool now");
            store.belong(said.pool);
            return End::Moved;
        }
        match records.revision {
            None => store.publish_stale(),
            Some(revision) if present.synced && !heads.borrow().are_all => {
                let alive = &present.nodes(place.pool) | &heads.borrow().up;
                records.image.set_alive(alive, place.node);
                store.publish(records.image.sight(revision, Freshness::Current, Some(version)));
            }
            Some(_) => {}
        }
    }
}

/// What the node's own record says.
#[derive(Default)]
struct Belongs {
    said: Option<(Member, Version)>,
    synced: bool,
}

impl Belongs {
    fn fold(&mut self, event: WatchEvent) {
        let read = |entry: &Entry| match records::decode::<Member>(&entry.value) {
            Ok(member) => Some((member, entry.version)),
            Err(error) => {
                tracing::error!(key = entry.key.name(), %error, "where this node belongs cannot be read");
                None
            }
        };
        match event {
            WatchEvent::Snapshot { entries, .. } => self.said = entries.first().and_then(read),
            WatchEvent::Synced { .. } => self.synced = true,
            WatchEvent::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        Change::Put(entry) => self.said = read(&entry).or(self.said),
                        Change::Delete { .. } => self.said = None,
                    }
                }
            }
            WatchEvent::Progress { .. } => {}
            WatchEvent::Lost { .. } | WatchEvent::Closed(_) => self.synced = false,
        }
    }

    /// The coordinator does not know the node.
    fn is_unsaid(&self) -> bool {
        self.synced && self.said.is_none()
    }
}

/// Until the coordinator has a record of the node, whoever wrote it: the watch tells what it says.
/// `false`: the coordinator is closed.
async fn say_where(store: &Store, place: Place) -> bool {
    let key = member(place.node);
    let record = records::encode(&Member { pool: place.pool });
    loop {
        let txn = Txn::new().absent(&key).put(&key, record.clone());
        match store.coordinator().txn(txn).await {
            Ok(_) => return true,
            Err(error) if error.kind == ErrorKind::Closed => return false,
            Err(error) => {
                tracing::warn!(%error, "this node is not known to the coordination service yet")
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn declare_spaces(store: &Store) {
    use SpaceKind::{Ephemeral, Persistent};
    let spaces: [(&Space, SpaceKind); 6] = [
        (&CONFIG, Persistent),
        (&MEMBERS, Persistent),
        (&ALIVE, Ephemeral),
        (&REGISTRY, Ephemeral),
        (&QUESTIONS, Ephemeral),
        (&ANSWERS, Ephemeral),
    ];
    let mut said = false;
    loop {
        let declare = |(space, kind)| store.coordinator().ensure_space(space, kind);
        match try_join_all(spaces.map(declare)).await {
            Ok(_) => return,
            Err(error) if error.kind == ErrorKind::Closed => return,
            Err(error) if !said => {
                tracing::warn!(%error, "waiting for the coordination service");
                said = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The pool's records as the watch tells them.
struct Records {
    image: Image,
    /// `None` while the stream has a gap.
    revision: Option<Revision>,
    /// Parts of a snapshot are coming in.
    beginning: bool,
}

impl Records {
    fn fold(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Snapshot { entries, .. } => {
                if !std::mem::replace(&mut self.beginning, true) {
                    self.image.clear();
                }
                self.revision = None;
                entries.iter().for_each(|entry| self.put(entry));
            }
            // Resumed, what was known before the gap still holds.
            WatchEvent::Synced { revision, .. } => {
                self.beginning = false;
                self.revision = Some(revision);
            }
            WatchEvent::Changes { revision, changes } => {
                for change in &changes {
                    match change {
                        Change::Put(entry) => self.put(entry),
                        Change::Delete { key } => self.image.delete(key),
                    }
                }
                self.revision = Some(revision);
            }
            WatchEvent::Progress { revision } => self.revision = Some(revision),
            WatchEvent::Lost { reason } => {
                tracing::warn!(?reason, "lost the watch on the configuration");
                self.beginning = false;
                self.revision = None;
            }
            WatchEvent::Closed(error) => {
                tracing::warn!(%error, "the watch on the configuration ended");
                self.revision = None;
            }
        }
    }

    fn put(&mut self, entry: &Entry) {
        if let Err(error) = self.image.put(entry) {
            tracing::error!(key = entry.key.name(), %error, "a record cannot be read; keeping what was known");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Pool;
    use super::*;
    use crate::model::{Global, NodeId};
    use coord_api::LostReason;
    use uuid::Uuid;

    fn entry(key: coord_api::Key, value: Vec<u8>) -> Entry {
        let (created, modified) = (Revision(1), Revision(1));
        Entry { key, value: value.into(), version: Version([1; 3]), created, modified, owner: None }
    }

    /// A short loss of the connection must not look as if everything had been deleted.
    #[test]
    fn what_was_known_holds_through_a_resumption() {
        let (pool, me) = (Pool(Uuid::nil()), NodeId(Uuid::nil()));
        let image = Image::new(pool, me);
        let mut records = Records { image, revision: None, beginning: false };
        let global = Global { version: 7, ..Global::default() };
        let entries = vec![entry(pool.global(), records::encode(&global))];
        let mut present = Present::default();
        let name = format!("{}@1-0", pool.alive_name(me));
        let alive = vec![entry(coord_api::Key::new(&ALIVE, &name).unwrap(), vec![])];
        let synced = |resumed| WatchEvent::Synced { revision: Revision(1), resumed };
        let lost = || WatchEvent::Lost { reason: LostReason::Disconnected };
        let known = |records: &Records| {
            let sight = records.image.sight(Revision(1), Freshness::Current, None);
            sight.view.global.version
        };
        let mut both = |config: WatchEvent, up: WatchEvent| {
            records.fold(config);
            present.fold(up);
            (known(&records), present.nodes(pool).len(), records.revision.is_some())
        };
        let first = |entries| WatchEvent::Snapshot { entries, more: false };
        both(first(entries), first(alive));
        assert_eq!(both(synced(false), synced(false)), (7, 1, true));
        assert_eq!(both(lost(), lost()), (7, 1, false));
        assert_eq!(both(synced(true), synced(true)), (7, 1, true));
        // What a new snapshot does not hold is gone.
        both(lost(), lost());
        both(first(vec![]), first(vec![]));
        assert_eq!(both(synced(false), synced(false)), (0, 0, true));
    }
}

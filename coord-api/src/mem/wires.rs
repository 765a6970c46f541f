//! Connections as clients see them, and the watches that depend on them.

use super::bug::Bug;
use super::server::{Power, Route, State, Watcher};
use super::store::Cut;
use crate::Health;
use crate::entry::Revision;
use crate::feed::Feed;
use crate::names::Prefix;
use crate::watch::{LostReason, WatchEvent};
use std::time::{Duration, Instant};

impl State {
    pub fn route(&self, client: usize) -> Route {
        let link = self.links.get(&client);
        match self.power {
            Power::Off => return Route::Refused,
            _ if link.is_some_and(|l| l.cut) => return Route::Refused,
            _ if link.is_some_and(|l| l.drop_requests) => return Route::Silent,
            Power::Paused { .. } => return Route::Parked,
            Power::On => {}
        }
        if link.is_some_and(|l| l.drop_replies) { Route::NoReply } else { Route::Through }
    }

    pub fn reaches(&self, handle: u64) -> bool {
        let rec = self.handles.get(&handle);
        rec.is_some_and(|rec| rec.up && self.route(rec.client) == Route::Through)
    }

    fn silent_since(&self, client: usize) -> Option<Instant> {
        let link = self.links.get(&client).and_then(|link| link.silent_since);
        match self.power {
            Power::Paused { since } => Some(link.map_or(since, |at| at.min(since))),
            _ => link,
        }
    }

    /// Brings every handle's idea of its connection up to date; when to look again.
    pub fn refresh_all(&mut self, now: Instant) -> Vec<Instant> {
        let ids: Vec<u64> = self.handles.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.refresh(id, now)).collect()
    }

    fn refresh(&mut self, id: u64, now: Instant) -> Option<Instant> {
        let rec = self.handles.get(&id)?;
        if rec.replaced {
            return None;
        }
        let (was_up, detect, client) = (rec.up, rec.detect, rec.client);
        match self.route(client) {
            Route::Through if was_up => self.catch_up(id),
            Route::Through => self.connected(id, now),
            Route::Refused => {
                if was_up {
                    self.disconnected(id, now);
                }
            }
            Route::NoReply | Route::Silent | Route::Parked => {
                let noticed = self.silent_since(client).unwrap_or(now) + detect;
                if was_up && noticed > now {
                    return Some(noticed);
                }
                if was_up {
                    self.disconnected(id, now);
                }
            }
        }
        None
    }

    /// The connection was silent for less than it takes to notice: what was held up arrives.
    fn catch_up(&mut self, handle: u64) {
        let late = |w: &Watcher| w.handle == handle && w.missed;
        let ids = self.watchers.iter().filter(|(_, w)| late(w)).map(|(id, _)| *id);
        for id in ids.collect::<Vec<_>>() {
            let watcher = self.watchers.get_mut(&id).expect("listed above");
            watcher.missed = false;
            watcher.feed.lost(LostReason::Disconnected);
            self.resync(id);
        }
    }

    fn disconnected(&mut self, handle: u64, now: Instant) {
        let Some(rec) = self.handles.get_mut(&handle) else { return };
        rec.up = false;
        rec.health.send_replace(Health::Unreachable { since: now });
        for watcher in self.watchers.values_mut().filter(|w| w.handle == handle) {
            watcher.delayed.clear();
            watcher.missed = false;
            watcher.feed.lost(LostReason::Disconnected);
        }
        self.suspend_sessions(handle);
    }

    fn connected(&mut self, handle: u64, now: Instant) {
        let Some(rec) = self.handles.get_mut(&handle) else { return };
        rec.up = true;
        rec.reconnects += 1;
        let deaf = self.bug == Some(Bug::WatchDeafAfterSecondReconnect) && rec.reconnects >= 2;
        rec.health.send_replace(Health::Ok);
        let mine = self.watchers.iter().filter(|(_, w)| w.handle == handle);
        for id in mine.map(|(id, _)| *id).collect::<Vec<_>>() {
            if !deaf {
                self.resync(id);
            }
        }
        self.wake_sessions(handle, now);
    }

    /// Starts a new watch, or lets it wait for the connection.
    pub fn start_watch(&mut self, id: u64) {
        let Some(handle) = self.watchers.get(&id).map(|w| w.handle) else { return };
        if self.reaches(handle) {
            self.resync(id);
        } else if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.missed = true;
        }
    }

    /// Resumption where history allows, else a snapshot.
    fn resync(&mut self, id: u64) {
        let Some(watcher) = self.watchers.get_mut(&id) else { return };
        let Some(ns) = self.handles.get(&watcher.handle).map(|rec| rec.ns.clone()) else { return };
        let feed = watcher.feed.clone();
        let first = !std::mem::replace(&mut watcher.started, true);
        let from = if first { watcher.start_after } else { Some(feed.last()) };
        let prefix = feed.prefix();
        if !first {
            match self.bug {
                Some(Bug::DroppedEventAfterReconnect) if feed.resume() => return,
                Some(Bug::BackwardSnapshot) => {
                    feed.force(WatchEvent::Snapshot { entries: Vec::new(), more: false });
                    feed.force(WatchEvent::Synced { revision: Revision(1), resumed: false });
                    feed.force(WatchEvent::Lost { reason: LostReason::Disconnected });
                }
                _ => {}
            }
        }
        match from.map(|from| (from, self.store.since(&ns, from))) {
            Some((_, Ok(cuts))) if !first && !self.never_resume && feed.resume() => {
                self.catch_up_feed(&feed, &cuts);
            }
            Some((from, Ok(cuts))) if first => match self.store.keys_at(&ns, &prefix, from) {
                Ok(keys) => {
                    feed.resume_from(from, keys);
                    cuts.iter().for_each(|cut| feed.changes(cut.revision, &cut.changes));
                }
                Err(error) => feed.close(error),
            },
            Some((from, Err(compacted))) if from < compacted => {
                feed.lost(LostReason::Compacted);
                self.show(&ns, &feed, &prefix);
            }
            _ => self.show(&ns, &feed, &prefix),
        }
    }

    fn catch_up_feed(&self, feed: &Feed, cuts: &[Cut]) {
        cuts.iter().for_each(|cut| feed.changes(cut.revision, &cut.changes));
        if let (Some(Bug::RepeatedEvent), Some(cut)) = (self.bug, cuts.last()) {
            let (revision, changes) = (cut.revision, cut.changes.clone());
            feed.force(WatchEvent::Changes { revision, changes });
        }
    }

    fn show(&self, ns: &str, feed: &Feed, prefix: &Prefix) {
        match self.store.list(ns, prefix, None, usize::MAX) {
            Ok((snapshot, _)) => {
                let newer = feed.snapshot(snapshot.entries, snapshot.revision);
                debug_assert!(newer, "the one server never goes back");
            }
            Err(error) => feed.close(error),
        }
    }

    /// A stream that overflowed reads again.
    pub fn snapshot_wanted(&mut self, id: u64) {
        let Some(watcher) = self.watchers.get(&id) else { return };
        let (handle, feed) = (watcher.handle, watcher.feed.clone());
        if self.reaches(handle) {
            let ns = self.handles[&handle].ns.clone();
            self.show(&ns, &feed, &feed.prefix());
        }
    }

    pub fn deliver(&mut self, ns: &str, cut: &Cut) {
        let now = Instant::now();
        for id in self.watchers.keys().copied().collect::<Vec<_>>() {
            let handle = self.watchers[&id].handle;
            let Some(rec) = self.handles.get(&handle).filter(|rec| rec.ns == ns) else { continue };
            if !rec.up {
                continue;
            }
            let through = self.route(rec.client) == Route::Through;
            let delay = self.links.get(&rec.client).map_or(Duration::ZERO, |link| link.delay);
            let watcher = self.watchers.get_mut(&id).expect("listed above");
            if !through || watcher.missed {
                watcher.missed = true;
            } else if !delay.is_zero() || !watcher.delayed.is_empty() {
                watcher.delayed.push_back((now + delay, cut.clone()));
            } else {
                watcher.feed.changes(cut.revision, &cut.changes);
            }
        }
    }
}

//! What the servers hold: spaces, keys and their history, by namespace. Pure, single-threaded.
//!
//! No sessions, no clients, no clock: those are in `server`. Each committed change is returned
//! as a [`Cut`], which is also what watches are fed with.

use super::bug::Bug;
use crate::Result;
use crate::entry::{Entry, Revision, Snapshot, Version};
use crate::error::ErrorKind;
use crate::names::{Key, Prefix, Space, SpaceKind};
use crate::session::SessionId;
use crate::txn::{Compare, Op, Txn, TxnOutcome};
use crate::watch::Change;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

/// Revisions kept for resuming watches, per namespace.
const HISTORY: usize = 4096;

/// Everything one transaction (or session end) did in one namespace.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub revision: Revision,
    pub changes: Vec<Change>,
}

#[derive(Debug)]
pub(super) struct Store {
    pub revision: Revision,
    pub bug: Option<Bug>,
    namespaces: HashMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    spaces: BTreeMap<Space, SpaceKind>,
    entries: BTreeMap<Key, Entry>,
    history: VecDeque<Cut>,
    /// Everything up to here may be missing from `history`.
    compacted: Revision,
    /// For `Bug::StaleRead`: the entries before the last change, and when that was.
    before: Option<(Instant, BTreeMap<Key, Entry>)>,
}

/// How long `Bug::StaleRead` lags behind.
const LAG: Duration = Duration::from_millis(20);

impl Store {
    pub fn new(bug: Option<Bug>) -> Store {
        Store { revision: Revision(1), bug, namespaces: HashMap::new() }
    }

    pub fn ensure_space(&mut self, ns: &str, space: &Space, kind: SpaceKind) -> Result<()> {
        let spaces = &mut self.namespaces.entry(ns.to_owned()).or_default().spaces;
        match *spaces.entry(space.clone()).or_insert(kind) {
            found if found == kind => Ok(()),
            _ => Err(ErrorKind::WrongSpaceKind.into()),
        }
    }

    fn namespace(&self, ns: &str, space: &Space) -> Result<&Namespace> {
        let found = self.namespaces.get(ns).filter(|n| n.spaces.contains_key(space));
        found.ok_or_else(|| ErrorKind::UnknownSpace.into())
    }

    pub fn get_many(&self, ns: &str, keys: &[Key]) -> Result<Snapshot> {
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            entries.extend(self.namespace(ns, key.space())?.shown().get(key).cloned());
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.dedup_by(|a, b| a.key == b.key);
        Ok(Snapshot { entries, revision: self.revision })
    }

    pub fn list(
        &self,
        ns: &str,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<(Snapshot, bool)> {
        let entries = &self.namespace(ns, prefix.space())?.entries;
        let start = prefix.start();
        let from = match after {
            Some(after) if *after >= start => Bound::Excluded(after),
            _ => Bound::Included(&start),
        };
        let mut found = entries
            .range((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(|entry| prefix.matches(&entry.key))
            .filter(|entry| self.bug != Some(Bug::PrefixByComponent) || component(prefix, entry));
        let page: Vec<Entry> = found.by_ref().take(limit).cloned().collect();
        let more = limit < usize::MAX && found.next().is_some();
        Ok((Snapshot { entries: page, revision: self.revision }, more))
    }

    /// Evaluates the compares, and if all hold applies the operations at one new revision. A
    /// transaction that changes nothing gets the present one.
    pub fn apply(
        &mut self,
        ns: &str,
        txn: &Txn,
        author: Option<SessionId>,
    ) -> Result<(TxnOutcome, Option<Cut>)> {
        let (revision, bug) = (Revision(self.revision.0 + 1), self.bug);
        let space = self.namespaces.entry(ns.to_owned()).or_default();
        txn.check_spaces(|name| space.spaces.get(name).copied())?;
        let looked_at = if bug == Some(Bug::LostGuard) { 1 } else { usize::MAX };
        let mut compares = txn.compares.iter().take(looked_at);
        if let Some(failed) = compares.position(|c| !space.holds(c, bug)) {
            return Ok((TxnOutcome::Conflict { failed: Some(failed) }, None));
        }
        if bug == Some(Bug::StaleRead) {
            space.before = Some((Instant::now(), space.entries.clone()));
        }
        let mut changes = Vec::with_capacity(txn.ops.len());
        let mut versions = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            let version = match op {
                Op::Put { key, value } => Some(space.put(key, value, revision, None, bug)),
                Op::PutEphemeral { key, value } => {
                    Some(space.put(key, value, revision, author, bug))
                }
                Op::Delete { key } => {
                    let gone = space.entries.remove(key);
                    changes.extend(gone.map(|entry| Change::Delete { key: entry.key }));
                    None
                }
            };
            if version.is_some() {
                changes.extend(space.entries.get(op.key()).cloned().map(Change::Put));
            }
            versions.push(version);
        }
        if changes.is_empty() {
            return Ok((TxnOutcome::Committed { revision: self.revision, versions }, None));
        }
        self.revision = revision;
        let cut = space.record(revision, changes);
        Ok((TxnOutcome::Committed { revision, versions }, Some(cut)))
    }

    /// Removes every key of a session at one revision.
    pub fn remove_owned(&mut self, ns: &str, owner: SessionId) -> Option<Cut> {
        let revision = Revision(self.revision.0 + 1);
        let space = self.namespaces.get_mut(ns)?;
        let keys: Vec<Key> = space
            .entries
            .values()
            .filter(|entry| entry.owner == Some(owner))
            .map(|entry| entry.key.clone())
            .collect();
        if keys.is_empty() {
            return None;
        }
        keys.iter().for_each(|key| drop(space.entries.remove(key)));
        self.revision = revision;
        Some(space.record(revision, keys.into_iter().map(|key| Change::Delete { key }).collect()))
    }

    /// Everything after `start`, or the oldest revision that can still be resumed from.
    pub fn since(&self, ns: &str, start: Revision) -> std::result::Result<Vec<Cut>, Revision> {
        let Some(space) = self.namespaces.get(ns) else { return Ok(Vec::new()) };
        if start < space.compacted || start > self.revision {
            return Err(space.compacted);
        }
        Ok(space.history.iter().filter(|cut| cut.revision > start).cloned().collect())
    }

    /// The keys of a space as of `start`, which must be resumable.
    pub fn keys_at(&self, ns: &str, prefix: &Prefix, start: Revision) -> Result<Vec<Key>> {
        let space = self.namespace(ns, prefix.space())?;
        let live = space.entries.keys().filter(|key| prefix.matches(key)).cloned();
        let mut keys: std::collections::BTreeSet<Key> = live.collect();
        for cut in space.history.iter().rev().take_while(|cut| cut.revision > start) {
            for change in cut.changes.iter().filter(|change| prefix.matches(change.key())) {
                match change {
                    Change::Delete { key } => drop(keys.insert(key.clone())),
                    Change::Put(entry) if entry.created == cut.revision => {
                        keys.remove(&entry.key);
                    }
                    Change::Put(_) => {}
                }
            }
        }
        Ok(keys.into_iter().collect())
    }

    /// Drops all history.
    pub fn compact(&mut self) {
        for space in self.namespaces.values_mut() {
            space.history.clear();
            space.compacted = self.revision;
        }
    }

    pub fn remove_namespace(&mut self, ns: &str) {
        self.namespaces.remove(ns);
    }
}

impl Namespace {
    /// What single reads see.
    fn shown(&self) -> &BTreeMap<Key, Entry> {
        match &self.before {
            Some((since, before)) if since.elapsed() < LAG => before,
            _ => &self.entries,
        }
    }

    fn holds(&self, compare: &Compare, bug: Option<Bug>) -> bool {
        if let (Some(Bug::StaleFence), Compare::Fence(fence)) = (bug, compare) {
            let stem = fence.key.stem();
            return self.entries.keys().any(|key| key.stem() == stem);
        }
        compare.holds(self.entries.get(compare.key()))
    }

    fn put(
        &mut self,
        key: &Key,
        value: &Bytes,
        revision: Revision,
        owner: Option<SessionId>,
        bug: Option<Bug>,
    ) -> Version {
        let before = self.entries.get(key);
        let version = match (bug, before) {
            (Some(Bug::Aba), Some(entry)) => Version([entry.version.0[0] + 1, 0, 0]),
            (Some(Bug::Aba), None) => Version([0; 3]),
            _ => Version([revision.0, 0, 0]),
        };
        let first = match (bug, owner) {
            (Some(Bug::LockWithoutQueue), Some(_)) => Revision(u64::MAX - revision.0),
            _ => revision,
        };
        let created = before.map_or(first, |entry| entry.created);
        let (key, value) = (key.clone(), value.clone());
        let entry = Entry { key, value, version, created, modified: revision, owner };
        self.entries.insert(entry.key.clone(), entry);
        version
    }

    fn record(&mut self, revision: Revision, changes: Vec<Change>) -> Cut {
        let cut = Cut { revision, changes };
        self.history.push_back(cut.clone());
        if self.history.len() > HISTORY {
            let gone = self.history.pop_front().expect("longer than HISTORY");
            self.compacted = gone.revision;
        }
        cut
    }
}

fn component(prefix: &Prefix, entry: &Entry) -> bool {
    let rest = &entry.key.name()[prefix.name().len()..];
    prefix.name().is_empty() || rest.is_empty() || rest.starts_with('/')
}

//! The state machine: keys, spaces, sessions and recent history; commands in, replies out.
//!
//! Pure and deterministic: the same entries give the same state on every member. The index of an
//! entry is its revision. No clock: when a session is to end is decided by the leader
//! (`deadlines.rs`) and comes in as a command.

use crate::codec;
use crate::command::{Command, Compare, Home, Kind, Reply, Write, session_id, version};
use crate::history::History;
use bytes::Bytes;
use coord_api::{Change, Entry, Key, Prefix, Revision, SessionId, Space};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

#[derive(Clone, Debug, Default)]
pub struct State {
    spaces: BTreeMap<Space, Keys>,
    sessions: BTreeMap<u64, SessionRecord>,
    pub history: History,
    /// The last entry applied, of whatever kind.
    pub applied: u64,
}

#[derive(Clone, Debug)]
struct Keys {
    kind: Kind,
    entries: BTreeMap<Key, Entry>,
}

#[derive(Clone, Debug)]
pub struct SessionRecord {
    pub ttl_ms: u64,
    pub epoch: u64,
    pub name: String,
    pub home: Option<Home>,
    keys: BTreeSet<Key>,
}

impl State {
    /// Applies the entry at `index`, greater than all before.
    pub fn apply(&mut self, index: u64, command: &Command) -> Reply {
        self.applied = index;
        match command {
            Command::EnsureSpace { space, kind } => self.ensure_space(index, space, *kind),
            Command::Txn { session, compares, ops } => self.txn(index, *session, compares, ops),
            Command::OpenSession { ttl_ms, name, home, salt } => {
                let record = SessionRecord {
                    ttl_ms: *ttl_ms,
                    epoch: 0,
                    name: name.clone(),
                    home: *home,
                    keys: BTreeSet::new(),
                };
                self.sessions.insert(session_id(*salt, index), record);
                Reply::Done { revision: index }
            }
            Command::CloseSession { id } => {
                self.end_sessions(index, &[*id]);
                Reply::Done { revision: index }
            }
            Command::Heartbeat { ids } => self.heartbeat(ids),
            Command::Expire { sessions } => {
                let stale = |(id, epoch): &&(u64, u64)| {
                    self.sessions.get(id).is_some_and(|s| s.epoch == *epoch)
                };
                let ended: Vec<u64> = sessions.iter().filter(stale).map(|(id, _)| *id).collect();
                self.end_sessions(index, &ended);
                Reply::Done { revision: index }
            }
        }
    }

    fn ensure_space(&mut self, index: u64, space: &Space, kind: Kind) -> Reply {
        let keys = self
            .spaces
            .entry(space.clone())
            .or_insert_with(|| Keys { kind, entries: BTreeMap::new() });
        if keys.kind == kind { Reply::Done { revision: index } } else { Reply::WrongSpaceKind }
    }

    fn txn(&mut self, at: u64, session: Option<u64>, compares: &[Compare], ops: &[Write]) -> Reply {
        if session.is_some_and(|id| !self.sessions.contains_key(&id)) {
            return Reply::SessionLost;
        }
        if let Some(refusal) = self.refusal(session, compares, ops) {
            return refusal;
        }
        if let Some(failed) = compares.iter().position(|compare| !self.holds(compare)) {
            return Reply::Conflict { failed: failed as u32 };
        }
        let mut changes = Vec::with_capacity(ops.len());
        let mut written = Vec::with_capacity(ops.len());
        for op in ops {
            written.push(!matches!(op, Write::Delete(_)));
            changes.extend(match op {
                Write::Put(key, value) => Some(self.put(at, key, value, None)),
                Write::PutEphemeral(key, value) => Some(self.put(at, key, value, session)),
                Write::Delete(key) => self.delete(key),
            });
        }
        if !changes.is_empty() {
            self.history.push(at, changes);
        }
        Reply::Committed { revision: at, written }
    }

    fn refusal(&self, session: Option<u64>, compares: &[Compare], ops: &[Write]) -> Option<Reply> {
        for key in compares.iter().map(Compare::key).chain(ops.iter().map(Write::key)) {
            if !self.spaces.contains_key(key.space()) {
                return Some(Reply::UnknownSpace);
            }
        }
        let fits = |op: &Write| match (op, self.kind(op.key().space())) {
            (Write::Put(..), kind) => kind == Some(Kind::Persistent),
            (Write::PutEphemeral(key, _), kind) => {
                kind == Some(Kind::Ephemeral)
                    && session.is_some()
                    && key.session() == session.map(SessionId)
            }
            (Write::Delete(_), _) => true,
        };
        (!ops.iter().all(fits)).then_some(Reply::WrongSpaceKind)
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = self.entry(compare.key());
        match compare {
            Compare::Absent(_) => entry.is_none(),
            Compare::Exists(_) => entry.is_some(),
            Compare::Modified(_, at) => entry.is_some_and(|e| e.modified.0 == *at),
            Compare::Created(_, at) => entry.is_some_and(|e| e.created.0 == *at),
            Compare::Never(_) => false,
        }
    }

    fn put(&mut self, at: u64, key: &Key, value: &Bytes, owner: Option<u64>) -> Change {
        let keys = self.spaces.get_mut(key.space()).expect("the space was looked up before");
        let created = keys.entries.get(key).map_or(Revision(at), |old| old.created);
        let entry = Entry {
            key: key.clone(),
            value: value.clone(),
            version: version(at),
            created,
            modified: Revision(at),
            owner: owner.map(SessionId),
        };
        keys.entries.insert(key.clone(), entry.clone());
        if let Some(session) = owner.and_then(|id| self.sessions.get_mut(&id)) {
            session.keys.insert(key.clone());
        }
        Change::Put(entry)
    }

    fn delete(&mut self, key: &Key) -> Option<Change> {
        let old = self.spaces.get_mut(key.space())?.entries.remove(key)?;
        if let Some(session) = old.owner.and_then(|id| self.sessions.get_mut(&id.0)) {
            session.keys.remove(key);
        }
        Some(Change::Delete { key: old.key })
    }

    /// Ends sessions and removes their keys, all at one revision.
    fn end_sessions(&mut self, at: u64, ids: &[u64]) {
        let mut changes = Vec::new();
        for id in ids {
            let Some(record) = self.sessions.remove(id) else { continue };
            changes.extend(record.keys.iter().filter_map(|key| self.delete(key)));
        }
        if !changes.is_empty() {
            self.history.push(at, changes);
        }
    }

    fn heartbeat(&mut self, ids: &[u64]) -> Reply {
        let mut gone = Vec::new();
        for id in ids {
            match self.sessions.get_mut(id) {
                Some(session) => session.epoch += 1,
                None => gone.push(*id),
            }
        }
        Reply::Beaten { gone }
    }

    pub fn kind(&self, space: &Space) -> Option<Kind> {
        self.spaces.get(space).map(|keys| keys.kind)
    }

    pub fn entry(&self, key: &Key) -> Option<&Entry> {
        self.spaces.get(key.space())?.entries.get(key)
    }

    pub fn session(&self, id: u64) -> Option<&SessionRecord> {
        self.sessions.get(&id)
    }

    pub fn sessions(&self) -> impl Iterator<Item = (u64, &SessionRecord)> {
        self.sessions.iter().map(|(id, record)| (*id, record))
    }

    /// The entries of a prefix in key order, from after `after` on; empty for an unknown space.
    pub fn range<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
    ) -> impl Iterator<Item = &'a Entry> {
        let first = Key::new(prefix.space(), prefix.name()).ok();
        // A prefix too long for a key has no keys; the empty one has all of its space.
        let keys = self.spaces.get(prefix.space());
        let keys = keys.filter(|_| first.is_some() || prefix.name().is_empty());
        let lower = match (&first, after) {
            (Some(first), Some(after)) if after < first => Bound::Included(first),
            (_, Some(after)) => Bound::Excluded(after),
            (Some(first), None) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let lower = lower.cloned();
        keys.into_iter()
            .flat_map(move |keys| keys.entries.range((lower.clone(), Bound::Unbounded)))
            .map(|(_, entry)| entry)
            .take_while(|entry| prefix.matches(&entry.key))
    }
}

/// The whole state as written into a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Dump {
    applied: u64,
    spaces: Vec<(String, Kind)>,
    entries: Vec<EntryDump>,
    sessions: Vec<SessionDump>,
    history_floor: u64,
    history: Vec<(u64, Vec<ChangeDump>)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryDump {
    #[serde(with = "codec::key")]
    key: Key,
    #[serde(with = "codec::blob")]
    value: Bytes,
    created: u64,
    modified: u64,
    owner: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionDump {
    id: u64,
    ttl_ms: u64,
    epoch: u64,
    name: String,
    home: Option<Home>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ChangeDump {
    Put(EntryDump),
    Delete(#[serde(with = "codec::key")] Key),
}

impl From<&Entry> for EntryDump {
    fn from(entry: &Entry) -> EntryDump {
        EntryDump {
            key: entry.key.clone(),
            value: entry.value.clone(),
            created: entry.created.0,
            modified: entry.modified.0,
            owner: entry.owner.map(|id| id.0),
        }
    }
}

impl From<EntryDump> for Entry {
    fn from(dump: EntryDump) -> Entry {
        Entry {
            key: dump.key,
            value: dump.value,
            version: version(dump.modified),
            created: Revision(dump.created),
            modified: Revision(dump.modified),
            owner: dump.owner.map(SessionId),
        }
    }
}

impl From<&Change> for ChangeDump {
    fn from(change: &Change) -> ChangeDump {
        match change {
            Change::Put(entry) => ChangeDump::Put(entry.into()),
            Change::Delete { key } => ChangeDump::Delete(key.clone()),
        }
    }
}

impl From<ChangeDump> for Change {
    fn from(dump: ChangeDump) -> Change {
        match dump {
            ChangeDump::Put(entry) => Change::Put(entry.into()),
            ChangeDump::Delete(key) => Change::Delete { key },
        }
    }
}

impl State {
    pub fn dump(&self) -> Dump {
        let entries = self.spaces.values().flat_map(|keys| keys.entries.values());
        let (history_floor, history) = self.history.tail();
        Dump {
            applied: self.applied,
            spaces: self.spaces.iter().map(|(s, k)| (s.as_str().to_owned(), k.kind)).collect(),
            entries: entries.map(EntryDump::from).collect(),
            sessions: self.sessions().map(|(id, s)| SessionDump::new(id, s)).collect(),
            history_floor,
            history: history
                .map(|b| (b.revision, b.changes.iter().map(ChangeDump::from).collect()))
                .collect(),
        }
    }

    /// The inverse of [`State::dump`].
    ///
    /// # Errors
    /// A text naming what cannot be: an illegal space, an entry outside of every space.
    pub fn restore(dump: Dump) -> Result<State, String> {
        let mut state = State { applied: dump.applied, ..State::default() };
        for (name, kind) in dump.spaces {
            let space = Space::new(&name).map_err(|e| e.to_string())?;
            state.spaces.insert(space, Keys { kind, entries: BTreeMap::new() });
        }
        for s in dump.sessions {
            let keys = BTreeSet::new();
            let (ttl_ms, epoch, name, home) = (s.ttl_ms, s.epoch, s.name, s.home);
            state.sessions.insert(s.id, SessionRecord { ttl_ms, epoch, name, home, keys });
        }
        for entry in dump.entries {
            let entry = Entry::from(entry);
            let key = entry.key.clone();
            if let Some(session) = entry.owner.and_then(|id| state.sessions.get_mut(&id.0)) {
                session.keys.insert(key.clone());
            }
            let keys = state.spaces.get_mut(key.space());
            keys.ok_or_else(|| format!("{key}: no such space"))?.entries.insert(key, entry);
        }
        state.history = History::starting_after(dump.history_floor);
        for (revision, changes) in dump.history {
            state.history.push(revision, changes.into_iter().map(Change::from).collect());
        }
        Ok(state)
    }
}

impl SessionDump {
    fn new(id: u64, record: &SessionRecord) -> SessionDump {
        let SessionRecord { ttl_ms, epoch, name, home, keys: _ } = record;
        SessionDump { id, ttl_ms: *ttl_ms, epoch: *epoch, name: name.clone(), home: *home }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

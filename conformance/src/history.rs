//! What clients did and saw, and whether one order of writes explains all of it.
//!
//! No search: answers carry revisions, so the order is given and only has to be checked. Each
//! recorded write also puts a mark nobody else touches; a last listing of the marks tells which
//! writes of unknown outcome took effect, and when. What is checked: T1, T2, T3, T9, T10, R2, R3, R5.

mod violation;

use coord_api::{Compare, Entry, Key, Op, Revision, Txn, Version};
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;
pub use violation::Violation;

/// One call of one client.
#[derive(Clone, Debug)]
pub struct Call {
    pub client: usize,
    pub begun: Instant,
    pub ended: Instant,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// A transaction with its mark, and what was answered.
    Write { txn: Txn, mark: Key, answer: Answer },
    /// The keys asked for and what was found.
    Read { keys: Vec<Key>, found: Vec<Entry>, revision: Revision, linearizable: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Committed {
        revision: Revision,
        versions: Vec<Option<Version>>,
    },
    Conflict {
        failed: Option<usize>,
    },
    /// An error with effect None.
    Refused,
    /// An error with effect Unknown.
    Unknown,
}

/// A key's state in the model; `version: None` where no answer has told it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    value: bytes::Bytes,
    created: Revision,
    modified: Revision,
    version: Option<Version>,
}

type State = BTreeMap<Key, Held>;
/// Committed writes by revision: who called, what, and the versions it was told.
type Writes<'a> = BTreeMap<Revision, (&'a Call, &'a Txn, Option<&'a [Option<Version>]>)>;

/// How often each outcome occurred, to judge whether a run was worth anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub committed: usize,
    pub conflicts: usize,
    pub unknown_applied: usize,
    pub unknown_lost: usize,
    pub refused: usize,
    pub reads: usize,
    /// Reads that failed; they stand in no history.
    pub unread: usize,
}

impl Tally {
    pub const EMPTY: Tally = Tally {
        committed: 0,
        conflicts: 0,
        unknown_applied: 0,
        unknown_lost: 0,
        refused: 0,
        reads: 0,
        unread: 0,
    };

    /// Calls in all; reads that failed tell nothing and are not among them.
    pub fn calls(&self) -> usize {
        let unknown = self.unknown_applied + self.unknown_lost;
        self.committed + self.conflicts + unknown + self.refused + self.reads
    }

    pub fn add(&mut self, other: &Tally) {
        self.committed += other.committed;
        self.conflicts += other.conflicts;
        self.unknown_applied += other.unknown_applied;
        self.unknown_lost += other.unknown_lost;
        self.refused += other.refused;
        self.reads += other.reads;
        self.unread += other.unread;
    }
}

/// Checks a whole history; `marks` is the last listing of all marks, after every fault was healed.
///
/// # Errors
/// What cannot be explained, in words.
pub fn check(history: &[Call], marks: &[Entry]) -> Result<Tally, Violation> {
    let marked: HashMap<&Key, Revision> = marks.iter().map(|e| (&e.key, e.created)).collect();
    let mut tally = Tally::default();
    let mut writes: Writes<'_> = BTreeMap::new();
    for (n, call) in history.iter().enumerate() {
        let shown = |why: String| Violation { why, call: Some(n) };
        let What::Write { txn, mark, answer } = &call.what else {
            tally.reads += 1;
            continue;
        };
        let there = marked.get(mark).copied();
        let (at, versions) = match (answer, there) {
            (Answer::Committed { revision, versions }, Some(at)) if at == *revision => {
                tally.committed += 1;
                (at, Some(versions.as_slice()))
            }
            (Answer::Committed { revision, .. }, there) => {
                let why = format!("{mark} committed at {revision}, its mark is of {there:?}");
                return Err(shown(why));
            }
            (Answer::Conflict { .. } | Answer::Refused, Some(at)) => {
                return Err(shown(format!("{mark}: {answer:?}, yet it took effect at {at}")));
            }
            (Answer::Unknown, Some(at)) => {
                tally.unknown_applied += 1;
                (at, None)
            }
            (Answer::Conflict { .. }, None) => {
                tally.conflicts += 1;
                continue;
            }
            (Answer::Refused, None) => {
                tally.refused += 1;
                continue;
            }
            (Answer::Unknown, None) => {
                tally.unknown_lost += 1;
                continue;
            }
        };
        if writes.insert(at, (call, txn, versions)).is_some() {
            return Err(shown(format!("two transactions at {at}")));
        }
    }
    let states = replay(&writes).map_err(|(at, why)| {
        let (call, ..) = writes[&at];
        Violation { why, call: history.iter().position(|other| std::ptr::eq(other, call)) }
    })?;
    let bounds = Bounds::of(history, &writes);
    for (n, call) in history.iter().enumerate() {
        let explained = bounds.explain(call, &states);
        explained.map_err(|why| Violation { why, call: Some(n) })?;
    }
    sessions_never_go_back(history)?;
    Ok(tally)
}

/// The state after each revision; every compare must have held just before its own.
fn replay(writes: &Writes<'_>) -> Result<BTreeMap<Revision, State>, (Revision, String)> {
    let mut state = State::new();
    let mut states = BTreeMap::from([(Revision(0), state.clone())]);
    for (at, (_, txn, versions)) in writes {
        if let Some(broken) = txn.compares.iter().find(|c| holds(c, &state) == Some(false)) {
            return Err((*at, format!("committed at {at} although {broken:?} did not hold")));
        }
        for (i, op) in txn.ops.iter().enumerate() {
            match op {
                Op::Delete { key } => drop(state.remove(key)),
                Op::Put { key, value } | Op::PutEphemeral { key, value } => {
                    let created = state.get(key).map_or(*at, |held| held.created);
                    let version = versions.and_then(|v| v.get(i).copied().flatten());
                    let held = Held { value: value.clone(), created, modified: *at, version };
                    state.insert(key.clone(), held);
                }
            }
        }
        states.insert(*at, state.clone());
    }
    Ok(states)
}

/// `None` where the model cannot tell.
fn holds(compare: &Compare, state: &State) -> Option<bool> {
    let held = state.get(compare.key());
    match compare {
        Compare::Absent(_) => Some(held.is_none()),
        Compare::Exists(_) => Some(held.is_some()),
        Compare::Version(_, version) => match held {
            None => Some(false),
            Some(held) => held.version.map(|known| known == *version),
        },
        Compare::Fence(fence) => Some(held.is_some_and(|held| held.created == fence.token)),
    }
}

/// Which revisions a call may have seen, by real time.
struct Bounds {
    /// (end of a call, highest revision seen by then), in order of time.
    ended: Vec<(Instant, Revision)>,
    /// (begin of a write, its revision), in order of time.
    begun: Vec<(Instant, Revision)>,
}

impl Bounds {
    fn of(history: &[Call], writes: &Writes<'_>) -> Bounds {
        let mut ended: Vec<(Instant, Revision)> = history
            .iter()
            .filter_map(|call| match &call.what {
                What::Write { answer: Answer::Committed { revision, .. }, .. } => {
                    Some((call.ended, *revision))
                }
                What::Write { .. } => None,
                What::Read { found, .. } => {
                    // The revision itself may be beyond any write; what was seen is certain.
                    let newest = found.iter().map(|entry| entry.modified).max();
                    Some((call.ended, newest.unwrap_or_default()))
                }
            })
            .collect();
        ended.sort();
        let mut newest = Revision(0);
        for (_, revision) in &mut ended {
            newest = newest.max(*revision);
            *revision = newest;
        }
        let mut begun: Vec<_> = writes.iter().map(|(at, (call, ..))| (call.begun, *at)).collect();
        begun.sort();
        Bounds { ended, begun }
    }

    /// Everything completed before the call began is at most this.
    fn floor(&self, call: &Call) -> Revision {
        let upto = self.ended.partition_point(|(at, _)| *at < call.begun);
        upto.checked_sub(1).map_or(Revision(0), |last| self.ended[last].1)
    }

    /// No write that began after the call had ended can be part of its answer.
    fn later<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = Revision> + 'a {
        let from = self.begun.partition_point(|(at, _)| *at <= call.ended);
        self.begun[from..].iter().map(|(_, revision)| *revision)
    }

    fn explain(&self, call: &Call, states: &BTreeMap<Revision, State>) -> Result<(), String> {
        let floor = self.floor(call);
        let ceiling = self.later(call).min().unwrap_or(Revision(u64::MAX));
        match &call.what {
            What::Write { answer: Answer::Committed { revision, .. }, mark, .. } => {
                if *revision <= floor || *revision >= ceiling {
                    let range = format!("after {floor} and before {ceiling}");
                    return Err(format!("T10: {mark} at {revision}, must be {range}"));
                }
            }
            What::Write { answer: Answer::Conflict { failed }, txn, mark } => {
                let start = states.range(..=floor).next_back().map_or(Revision(0), |s| *s.0);
                let reason = |state: &State| match failed {
                    Some(at) => holds(&txn.compares[*at], state) != Some(true),
                    None => txn.compares.iter().any(|c| holds(c, state) != Some(true)),
                };
                if !states.range(start..ceiling).any(|(_, state)| reason(state)) {
                    return Err(format!("T9: {mark}: no state explains the conflict {failed:?}"));
                }
            }
            What::Write { .. } => {}
            What::Read { keys, found, revision, linearizable } => {
                if *linearizable && *revision < floor {
                    return Err(format!("R2: read at {revision}, {floor} was complete before"));
                }
                let state = states.range(..=*revision).next_back().map(|(_, state)| state);
                let state = state.expect("there is a first state");
                compare_read(keys, found, state)
                    .map_err(|why| format!("R5: read at {revision} by {}: {why}", call.client))?;
            }
        }
        Ok(())
    }
}

fn compare_read(keys: &[Key], found: &[Entry], state: &State) -> Result<(), String> {
    for key in keys {
        let entry = found.iter().find(|entry| entry.key == *key);
        let same = match (entry, state.get(key)) {
            (None, None) => true,
            (Some(entry), Some(held)) => {
                let version = held.version.is_none_or(|version| version == entry.version);
                let times = (entry.created, entry.modified) == (held.created, held.modified);
                version && times && entry.value == held.value
            }
            _ => false,
        };
        if !same {
            return Err(format!("{key} is {entry:?}, must be {:?}", state.get(key)));
        }
    }
    Ok(())
}

/// R3: reads of one handle, one after the other, never go back.
fn sessions_never_go_back(history: &[Call]) -> Result<(), String> {
    let mut reads: HashMap<usize, Vec<(&Call, Revision)>> = HashMap::new();
    for call in history {
        if let What::Read { revision, .. } = call.what {
            reads.entry(call.client).or_default().push((call, revision));
        }
    }
    for mut calls in reads.into_values() {
        calls.sort_by_key(|(call, _)| call.begun);
        for pair in calls.windows(2) {
            let ((first, before), (second, after)) = (pair[0], pair[1]);
            if first.ended < second.begun && after < before {
                return Err(format!("R3: client {} went from {before} to {after}", first.client));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

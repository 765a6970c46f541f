//! The last changes, by revision: what watches follow and resume from.
//!
//! Bounded in revisions and bytes; what falls out is gone, and a watch that needs it gets a
//! snapshot instead. Pure.

use coord_api::{Change, Key, Prefix, Space};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const REVISIONS_MAX: usize = 8192;
const BYTES_MAX: usize = 8 << 20;
/// What goes into a snapshot, for watches that come back after a restart.
const DUMP_BYTES_MAX: usize = 2 << 20;

/// Everything one entry of the log changed.
#[derive(Clone, Debug)]
pub struct Batch {
    pub revision: u64,
    pub changes: Arc<[Change]>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// Nothing is known up to here.
    floor: u64,
    /// The last revision dropped that touched the space: a position at or after it has missed
    /// nothing there, however far the history as a whole has moved on.
    dropped: BTreeMap<Space, u64>,
    /// New streams cannot begin before; those that follow are not disturbed.
    closed_before: u64,
}

/// What happened under a prefix since a position.
#[derive(Debug, PartialEq)]
pub enum Since {
    /// One item per revision, in order.
    Each(Vec<(u64, Vec<Change>)>),
    /// More than `buffer` revisions: the net effect, at the last of them.
    Merged(u64, Vec<Change>),
    /// More keys than a merge may hold.
    Overflow,
    /// The position is older than the history.
    Compacted,
}

impl History {
    /// Takes up the changes of one revision, greater than all before.
    pub fn push(&mut self, revision: u64, changes: Vec<Change>) {
        self.bytes += weight(&changes);
        self.batches.push_back(Batch { revision, changes: changes.into() });
        while self.batches.len() > REVISIONS_MAX || self.bytes > BYTES_MAX {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.batches.pop_front() else { return false };
        self.bytes -= weight(&oldest.changes);
        for change in oldest.changes.iter() {
            self.dropped.insert(change.key().space().clone(), oldest.revision);
        }
        true
    }

    /// A history that knows nothing up to `floor`.
    pub fn starting_after(floor: u64) -> History {
        History { floor, ..History::default() }
    }

    /// The least position from which every space can be followed.
    pub fn floor(&self) -> u64 {
        self.dropped.values().copied().max().unwrap_or(0).max(self.floor).max(self.closed_before)
    }

    /// Whether nothing of the space after `position` is gone.
    pub fn reaches(&self, position: u64, space: &Space) -> bool {
        position >= self.floor && position >= self.dropped.get(space).copied().unwrap_or(0)
    }

    /// Whether a new stream may begin at `position`.
    pub fn resumes(&self, position: u64, space: &Space) -> bool {
        position >= self.closed_before && self.reaches(position, space)
    }

    /// Lets no new stream begin before `upto`.
    pub fn compact(&mut self, upto: u64) {
        self.closed_before = upto;
    }

    /// What the last revision changed, if it is this one.
    pub fn last_at(&self, revision: u64) -> Option<&Batch> {
        self.batches.back().filter(|batch| batch.revision == revision)
    }

    #[cfg(test)]
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }

    /// The newest part, as much as a snapshot takes, and the position from which it is whole.
    pub fn tail(&self) -> (u64, impl Iterator<Item = &Batch>) {
        let mut bytes = 0;
        let fits = |batch: &&Batch| {
            bytes += weight(&batch.changes);
            bytes <= DUMP_BYTES_MAX
        };
        let first = self.batches.len() - self.batches.iter().rev().take_while(fits).count();
        let omitted = first.checked_sub(1).map(|last| self.batches[last].revision);
        (omitted.unwrap_or_else(|| self.floor()), self.batches.range(first..))
    }

    /// The changes under `prefix` after `position`, one batch per revision while there are no
    /// more than `buffer` of them, merged per key beyond, given up beyond 8 x `buffer` keys (W15).
    pub fn since(&self, position: u64, prefix: &Prefix, buffer: usize) -> Since {
        if !self.reaches(position, prefix.space()) {
            return Since::Compacted;
        }
        let from = self.batches.partition_point(|batch| batch.revision <= position);
        let under = |batch: &&Batch| batch.changes.iter().any(|c| prefix.matches(c.key()));
        let touching: Vec<&Batch> = self.batches.range(from..).filter(under).collect();
        let matching = |batch: &Batch| -> Vec<Change> {
            batch.changes.iter().filter(|c| prefix.matches(c.key())).cloned().collect()
        };
        if touching.len() <= buffer {
            return Since::Each(touching.iter().map(|b| (b.revision, matching(b))).collect());
        }
        merge(touching.iter().map(|b| (b.revision, matching(b))), buffer.saturating_mul(8))
    }
}

fn merge(batches: impl Iterator<Item = (u64, Vec<Change>)>, keys_max: usize) -> Since {
    let mut net: BTreeMap<Key, (bool, Change)> = BTreeMap::new();
    let mut last = 0;
    for (revision, changes) in batches {
        last = revision;
        for change in changes {
            // Whether the reader's state may have the key is told by the first change seen: a
            // key born after the position has `created` beyond it.
            match net.get_mut(change.key()) {
                Some((_, newest)) => *newest = change,
                None => {
                    let born = matches!(&change, Change::Put(e) if e.created == e.modified);
                    net.insert(change.key().clone(), (born, change));
                }
            }
        }
        if net.len() > keys_max {
            return Since::Overflow;
        }
    }
    let ghost = |(born, change): &(bool, Change)| *born && matches!(change, Change::Delete { .. });
    let changes = net.into_values().filter(|c| !ghost(c)).map(|(_, change)| change).collect();
    Since::Merged(last, changes)
}

fn weight(changes: &[Change]) -> usize {
    let one = |change: &Change| match change {
        Change::Put(entry) => entry.key.name().len() + entry.value.len() + 160,
        Change::Delete { key } => key.name().len() + 80,
    };
    changes.iter().map(one).sum::<usize>() + 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::version;
    use coord_api::{Entry, Revision, Space};

    fn key(name: &str) -> Key {
        Key::new(&Space::new("config").unwrap(), name).unwrap()
    }

    fn put(name: &str, created: u64, modified: u64) -> Change {
        Change::Put(Entry {
            key: key(name),
            value: vec![0; 8].into(),
            version: version(modified),
            created: Revision(created),
            modified: Revision(modified),
            owner: None,
        })
    }

    fn all() -> Prefix {
        Prefix::all(&Space::new("config").unwrap())
    }

    #[test]
    fn each_revision_until_the_buffer_then_one_merge_then_overflow() {
        let mut history = History::default();
        history.push(5, vec![put("a", 5, 5), put("b", 5, 5)]);
        history.push(7, vec![put("a", 5, 7)]);
        history.push(9, vec![Change::Delete { key: key("b") }]);
        let (a, b) = (put("a", 5, 7), Change::Delete { key: key("b") });
        let each = Since::Each(vec![(7, vec![a.clone()]), (9, vec![b.clone()])]);
        assert_eq!(history.since(5, &all(), 2), each);
        assert_eq!(history.since(5, &all(), 1), Since::Merged(9, vec![a.clone(), b]));
        // `b` came and went unseen: no Delete for a key the reader never had.
        assert_eq!(history.since(0, &all(), 1), Since::Merged(9, vec![a]));
        assert_eq!(history.since(9, &all(), 1), Since::Each(vec![]));
        for n in 10..30 {
            history.push(n, vec![put(&format!("k{n}"), n, n)]);
        }
        assert_eq!(history.since(9, &all(), 1), Since::Overflow);
    }

    #[test]
    fn only_the_prefix_counts() {
        let mut history = History::default();
        history.push(1, vec![put("ab", 1, 1), put("b", 1, 1)]);
        history.push(2, vec![put("b", 1, 2)]);
        let prefix = Prefix::new(all().space(), "a").unwrap();
        let each = Since::Each(vec![(1, vec![put("ab", 1, 1)])]);
        assert_eq!(history.since(0, &prefix, 1), each);
    }

    #[test]
    fn it_is_bounded_and_says_what_is_gone() {
        let mut history = History::default();
        for n in 1..=REVISIONS_MAX as u64 + 10 {
            history.push(n, vec![put("k", n, n)]);
        }
        assert_eq!((history.batches.len(), history.floor()), (REVISIONS_MAX, 10));
        assert_eq!(history.since(9, &all(), 1), Since::Compacted);
        assert!(matches!(history.since(10, &all(), usize::MAX), Since::Each(_)));
        let quiet = Prefix::all(&Space::new("quiet").unwrap());
        assert_eq!(history.since(9, &quiet, 1), Since::Each(vec![]), "nothing was missed there");
        assert_eq!(history.tail().0, 10);
    }

    #[test]
    fn a_snapshot_takes_the_newest_part() {
        let mut history = History::default();
        let large = |n| match put("k", n, n) {
            Change::Put(entry) => Change::Put(Entry { value: vec![0; 1 << 20].into(), ..entry }),
            delete => delete,
        };
        for n in 1..=4 {
            history.push(n, vec![large(n)]);
        }
        let (floor, tail) = history.tail();
        assert_eq!((floor, tail.map(|b| b.revision).collect::<Vec<_>>()), (3, vec![4]));
    }
}

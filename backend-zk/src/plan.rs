//! What a transaction becomes on ZooKeeper: a pure function of the transaction and of what was
//! read just before.
//!
//! A multi can compare a node's data version and its existence, no more. Data versions start anew
//! when a node is made again, and absence cannot be compared at all. Both are made good by the
//! space's node: every creation and deletion of a key writes it in the same multi, so "its version
//! is still the one read" means that no key of the space came, or went by a transaction, since.
//! (Sessions' ends go past it; but a key that went with its session never comes again.)

use crate::core::{revision, version};
use coord_api::{Compare, Key, Op, Space, Txn};
use std::collections::{BTreeMap, BTreeSet};
use zookeeper_client::Stat;

/// What was read before: the spaces' data versions first, then the keys' states.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub spaces: BTreeMap<Space, i32>,
    pub keys: BTreeMap<Key, Option<Stat>>,
}

/// One operation of the multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The cluster is still ours.
    SameCluster,
    /// No key of the space came or went since it was read.
    Unmoved(Space, i32),
    /// The key exists, with this data version if one is given. For the compare of this index.
    Holds {
        key: Key,
        version: Option<i32>,
        compare: usize,
    },
    /// For the operation of this index. `compare`: the index of its `Absent`, if it has one.
    Create {
        op: usize,
        compare: Option<usize>,
    },
    Set {
        op: usize,
    },
    Delete {
        op: usize,
    },
    /// The space's keys change.
    Move(Space),
    /// Nothing else would tell the revision.
    Tick,
}

/// The steps in the order of the multi: all comparing before all writing.
///
/// # Errors
/// The index of a compare that does not hold as of what was read.
pub(crate) fn plan(txn: &Txn, before: &Before) -> Result<Vec<Step>, usize> {
    let stat = |key: &Key| before.keys.get(key).copied().flatten();
    let mut unmoved: BTreeSet<&Space> = BTreeSet::new();
    let mut moved: BTreeSet<&Space> = BTreeSet::new();
    let (mut compares, mut writes) = (Vec::new(), Vec::new());
    let created = |key: &Key| {
        let put = |op: &&Op| !matches!(op, Op::Delete { .. }) && op.key() == key;
        stat(key).is_none() && txn.ops.iter().any(|op| put(&op))
    };
    for (at, compare) in txn.compares.iter().enumerate() {
        let key = compare.key();
        if !holds(compare, stat(key)) {
            return Err(at);
        }
        let data_version = stat(key).map(|stat| stat.version);
        match compare {
            Compare::Absent(_) if created(key) => {}
            Compare::Absent(_) => {
                unmoved.insert(key.space());
            }
            Compare::Exists(_) => {
                compares.push(Step::Holds { key: key.clone(), version: None, compare: at });
            }
            Compare::Version(..) | Compare::Fence(_) => {
                unmoved.insert(key.space());
                let version = data_version.filter(|_| matches!(compare, Compare::Version(..)));
                compares.push(Step::Holds { key: key.clone(), version, compare: at });
            }
        }
    }
    for (at, op) in txn.ops.iter().enumerate() {
        let space = op.key().space();
        match (op, stat(op.key())) {
            (Op::Delete { .. }, None) => {
                unmoved.insert(space);
            }
            (Op::Delete { .. }, Some(_)) => {
                writes.push(Step::Delete { op: at });
                moved.insert(space);
            }
            (_, None) => {
                let absent = |c: &Compare| matches!(c, Compare::Absent(key) if key == op.key());
                let compare = txn.compares.iter().position(absent);
                writes.push(Step::Create { op: at, compare });
                moved.insert(space);
            }
            (_, Some(_)) => writes.push(Step::Set { op: at }),
        }
    }
    let mut steps = vec![Step::SameCluster];
    let read = |space: &Space| before.spaces.get(space).copied().unwrap_or(-2);
    steps.extend(unmoved.into_iter().map(|space| Step::Unmoved(space.clone(), read(space))));
    steps.extend(compares);
    let silent = moved.is_empty() && !writes.iter().any(|step| matches!(step, Step::Set { .. }));
    steps.extend(writes);
    steps.extend(moved.into_iter().map(|space| Step::Move(space.clone())));
    steps.extend(silent.then_some(Step::Tick));
    Ok(steps)
}

fn holds(compare: &Compare, stat: Option<Stat>) -> bool {
    match compare {
        Compare::Absent(_) => stat.is_none(),
        Compare::Exists(_) => stat.is_some(),
        Compare::Version(_, wanted) => stat.is_some_and(|stat| version(&stat) == *wanted),
        Compare::Fence(fence) => stat.is_some_and(|stat| revision(stat.czxid) == fence.token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_api::{Fence, Revision};

    fn key(name: &str) -> Key {
        Key::new(&Space::new("s").unwrap(), name).unwrap()
    }

    fn stat(czxid: i64, data_version: i32) -> Stat {
        Stat {
            czxid,
            mzxid: czxid,
            pzxid: czxid,
            ctime: 0,
            mtime: 0,
            version: data_version,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            data_length: 0,
            num_children: 0,
        }
    }

    /// `a` exists since 5 with data version 2, `b` does not; the space is at 7.
    fn check(txn: Txn, expected: Result<&str, usize>) {
        let keys = [(key("a"), Some(stat(5, 2))), (key("b"), None)].into_iter().collect();
        let spaces = [(Space::new("s").unwrap(), 7)].into_iter().collect();
        let word = |step: &Step| match step {
            Step::SameCluster => "same".into(),
            Step::Unmoved(_, version) => format!("unmoved{version}"),
            Step::Holds { key, version, compare } => {
                format!(
                    "{compare}:{}={}",
                    key.name(),
                    version.map_or("*".into(), |v| v.to_string())
                )
            }
            Step::Create { op, compare } => format!("create{op}{}", compare.map_or("", |_| "!")),
            Step::Set { op } => format!("set{op}"),
            Step::Delete { op } => format!("delete{op}"),
            Step::Move(_) => "move".into(),
            Step::Tick => "tick".into(),
        };
        let steps = plan(&txn, &Before { spaces, keys });
        let words = steps.map(|steps| steps.iter().map(word).collect::<Vec<_>>().join(" "));
        assert_eq!(words, expected.map(str::to_owned));
    }

    #[test]
    fn a_transaction_becomes_a_multi() {
        let (a, b) = (key("a"), key("b"));
        let seen = version(&stat(5, 2));
        let fence = |token| Fence { key: a.clone(), token: Revision(token) };
        check(Txn::new(), Ok("same tick"));
        check(Txn::new().put(&a, "x"), Ok("same set0"));
        check(Txn::new().put(&b, "x"), Ok("same create0 move"));
        check(Txn::new().absent(&b).put(&b, "x"), Ok("same create0! move"));
        check(Txn::new().absent(&b).put(&a, "x"), Ok("same unmoved7 set0"));
        check(Txn::new().absent(&b), Ok("same unmoved7 tick"));
        check(Txn::new().delete(&a).delete(&b), Ok("same unmoved7 delete0 move"));
        check(Txn::new().delete(&b), Ok("same unmoved7 tick"));
        check(Txn::new().exists(&a).put(&b, "x"), Ok("same 0:a=* create0 move"));
        check(Txn::new().version(&a, seen).put(&a, "x"), Ok("same unmoved7 0:a=2 set0"));
        check(Txn::new().fence(&fence(5)).put(&b, "x"), Ok("same unmoved7 0:a=* create0 move"));
    }

    #[test]
    fn a_false_compare_is_named() {
        let (a, b) = (key("a"), key("b"));
        let fence = Fence { key: a.clone(), token: Revision(4) };
        check(Txn::new().exists(&a).absent(&a), Err(1));
        check(Txn::new().exists(&b), Err(0));
        check(Txn::new().version(&a, version(&stat(4, 2))), Err(0));
        check(Txn::new().version(&a, version(&stat(5, 1))), Err(0));
        check(Txn::new().fence(&fence), Err(0));
    }
}

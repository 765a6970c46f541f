//! What the handle knows of a space's keys without asking: which exist since when, as of one
//! version of the space's node.
//!
//! A multi that checks this version and finds it unmoved proves the knowledge true, so a
//! transaction on known keys needs no read before it. Knowledge of an older version is dropped,
//! unless the move was our own and we know what it did.

use coord_api::{Compare, Key, Op, Space, Txn};
use parking_lot::Mutex;
use std::collections::HashMap;
use zookeeper_client::Stat;

/// Keys remembered in one space.
const KEYS: usize = 20_000;

#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<Space, Since>>);

struct Since {
    /// Data version of the space's node.
    moves: i32,
    /// Creation of each key; `None` for one that does not exist.
    created: HashMap<Key, Option<i64>>,
}

impl Known {
    /// These keys were so when the space's node had this version. Older news is ignored.
    pub fn learn(
        &self,
        space: &Space,
        moves: i32,
        keys: impl IntoIterator<Item = (Key, Option<i64>)>,
    ) {
        let mut spaces = self.0.lock();
        let since = spaces.entry(space.clone()).or_insert_with(|| Since::at(moves));
        if since.moves > moves {
            return;
        }
        if since.moves < moves {
            *since = Since::at(moves);
        }
        since.add(keys);
    }

    /// A transaction of ours was the space's move to this version.
    pub fn moved(
        &self,
        space: &Space,
        moves: i32,
        keys: impl IntoIterator<Item = (Key, Option<i64>)>,
    ) {
        let mut spaces = self.0.lock();
        let since = spaces.entry(space.clone()).or_insert_with(|| Since::at(moves));
        if since.moves >= moves {
            return;
        }
        if since.moves.checked_add(1) == Some(moves) {
            since.moves = moves;
        } else {
            *since = Since::at(moves);
        }
        since.add(keys);
    }

    /// What was believed of this space has turned out wrong.
    pub fn forget(&self, space: &Space) {
        self.0.lock().remove(space);
    }

    /// The states that a plan needs, if they can be had without reading. What is not known is
    /// guessed where the server's refusal of a wrong guess is clear.
    pub fn before(&self, txn: &Txn) -> Option<crate::plan::Before> {
        let spaces = self.0.lock();
        let mut before = crate::plan::Before::default();
        let known = |key: &Key| spaces.get(key.space())?.created.get(key).copied();
        for compare in &txn.compares {
            let key = compare.key();
            let put = |op: &Op| !matches!(op, Op::Delete { .. }) && op.key() == key;
            let state = match (compare, known(key)) {
                (Compare::Absent(_), Some(None)) => None,
                // Creating it compares.
                (Compare::Absent(_), None) if txn.ops.iter().any(put) => None,
                (Compare::Exists(_), Some(Some(czxid))) => Some(stat(czxid, 0)),
                (Compare::Version(_, version), Some(Some(czxid)))
                    if version.0[0] == czxid.cast_unsigned() =>
                {
                    Some(stat(czxid, i32::try_from(version.0[1]).ok()?))
                }
                (Compare::Fence(fence), Some(Some(czxid)))
                    if fence.token.0 == czxid.cast_unsigned() =>
                {
                    Some(stat(czxid, 0))
                }
                _ => return None,
            };
            before.keys.insert(key.clone(), state);
        }
        for op in &txn.ops {
            let key = op.key();
            if before.keys.contains_key(key) {
                continue;
            }
            let state = match (op, known(key)) {
                (_, Some(state)) => state.map(|czxid| stat(czxid, 0)),
                (Op::Delete { .. }, None) => return None,
                // A guess: creating refuses when it exists.
                (_, None) => None,
            };
            before.keys.insert(key.clone(), state);
        }
        for key in before.keys.keys() {
            if let Some(since) = spaces.get(key.space()) {
                before.spaces.insert(key.space().clone(), since.moves);
            }
        }
        Some(before)
    }
}

impl Since {
    fn at(moves: i32) -> Since {
        Since { moves, created: HashMap::new() }
    }

    fn add(&mut self, keys: impl IntoIterator<Item = (Key, Option<i64>)>) {
        for (key, created) in keys {
            if self.created.len() >= KEYS && !self.created.contains_key(&key) {
                self.created.clear();
            }
            self.created.insert(key, created);
        }
    }
}

/// As much of a state as a plan looks at.
fn stat(czxid: i64, version: i32) -> Stat {
    Stat {
        czxid,
        mzxid: czxid,
        pzxid: czxid,
        ctime: 0,
        mtime: 0,
        version,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length: 0,
        num_children: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_api::Version;

    fn key(name: &str) -> Key {
        Key::new(&Space::new("s").unwrap(), name).unwrap()
    }

    /// `+` exists, `-` does not, in the order of keys; with the space's version.
    fn check(known: &Known, txn: Txn, expected: Option<(&str, Option<i32>)>) {
        let before = known.before(&txn);
        let got = before.map(|before| {
            let word = |state: &Option<Stat>| if state.is_some() { '+' } else { '-' };
            let words: String = before.keys.values().map(word).collect();
            (words, before.spaces.get(key("a").space()).copied())
        });
        assert_eq!(got, expected.map(|(words, moves)| (words.to_owned(), moves)));
    }

    #[test]
    fn what_needs_no_reading() {
        let (a, b) = (key("a"), key("b"));
        let space = a.space().clone();
        let known = Known::default();
        check(&known, Txn::new().put(&a, ""), Some(("-", None)));
        check(&known, Txn::new().absent(&a).put(&a, ""), Some(("-", None)));
        check(&known, Txn::new().delete(&a), None);
        check(&known, Txn::new().absent(&a), None);
        check(&known, Txn::new().exists(&a).put(&b, ""), None);

        known.learn(&space, 4, [(a.clone(), Some(9)), (b.clone(), None)]);
        let is = |created| Version([created, 3, 0]);
        check(&known, Txn::new().version(&a, is(9)).put(&a, ""), Some(("+", Some(4))));
        check(&known, Txn::new().version(&a, is(8)).put(&a, ""), None);
        check(&known, Txn::new().absent(&b).delete(&a), Some(("+-", Some(4))));

        known.learn(&space, 3, [(a.clone(), None)]);
        known.moved(&space, 5, [(b.clone(), Some(11))]);
        check(&known, Txn::new().delete(&a).delete(&b), Some(("++", Some(5))));
        known.moved(&space, 7, [(b.clone(), None)]);
        check(&known, Txn::new().delete(&a), None);
        known.forget(&space);
        check(&known, Txn::new().delete(&b), None);
    }
}

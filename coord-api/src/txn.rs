//! Transactions: compares and operations, all or nothing at one revision (T1-T16).
//!
//! What can be refused without asking the store is refused here, once for all backends:
//! [`Txn::check`] and [`Txn::check_spaces`] are called before anything is sent.

use crate::Result;
use crate::coordinator::Limits;
use crate::entry::{Entry, Revision, Version};
use crate::error::{Error, ErrorKind};
use crate::names::{Key, Space, SpaceKind};
use crate::session::SessionId;
use bytes::Bytes;
use std::collections::HashSet;
use std::time::Duration;

/// A condition on the state just before the operations (T2, T3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    Absent(Key),
    Exists(Key),
    /// Exists, unchanged and not deleted and written again since that version was read (T4).
    Version(Key, Version),
    Fence(Fence),
}

/// One write. A key occurs in at most one operation (T8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates or replaces, in a persistent space (T5).
    Put { key: Key, value: Bytes },
    /// Creates or replaces a key named by [`Key::ephemeral`], through its session only (T14, S3).
    PutEphemeral { key: Key, value: Bytes },
    /// Absent already is no error (T7). Any ephemeral key may be deleted by anybody (T14).
    Delete { key: Key },
}

/// Proof of leadership or of a lock: holds while the candidate key exists with that creation
/// revision. Kept by whoever writes, compared by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub key: Key,
    /// Strictly greater than the token of every earlier holder (E2).
    pub token: Revision,
}

/// Compares and operations that take effect together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
    /// `None`: the handle's request timeout.
    pub timeout: Option<Duration>,
}

/// What became of a transaction whose outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// `versions` has one slot per operation: the new version, `None` for a delete (T7, T11).
    Committed { revision: Revision, versions: Vec<Option<Version>> },
    /// Nothing was written, now or later (T9). `failed`: the index of a compare that did not
    /// hold; `None` only where `caps.exact_conflict` is false.
    Conflict { failed: Option<usize> },
}

impl Txn {
    pub fn new() -> Txn {
        Txn::default()
    }

    pub fn absent(mut self, key: &Key) -> Txn {
        self.compares.push(Compare::Absent(key.clone()));
        self
    }

    pub fn exists(mut self, key: &Key) -> Txn {
        self.compares.push(Compare::Exists(key.clone()));
        self
    }

    pub fn version(mut self, key: &Key, version: Version) -> Txn {
        self.compares.push(Compare::Version(key.clone(), version));
        self
    }

    /// Holds while the entry is as it was read.
    pub fn unchanged(self, entry: &Entry) -> Txn {
        self.version(&entry.key, entry.version)
    }

    /// The key is as it was read: unchanged, or still absent.
    pub fn as_read(self, key: &Key, entry: Option<&Entry>) -> Txn {
        match entry {
            Some(entry) => self.unchanged(entry),
            None => self.absent(key),
        }
    }

    pub fn fence(mut self, fence: &Fence) -> Txn {
        self.compares.push(Compare::Fence(fence.clone()));
        self
    }

    pub fn put(mut self, key: &Key, value: impl Into<Bytes>) -> Txn {
        self.ops.push(Op::Put { key: key.clone(), value: value.into() });
        self
    }

    pub fn put_ephemeral(mut self, key: &Key, value: impl Into<Bytes>) -> Txn {
        self.ops.push(Op::PutEphemeral { key: key.clone(), value: value.into() });
        self
    }

    pub fn delete(mut self, key: &Key) -> Txn {
        self.ops.push(Op::Delete { key: key.clone() });
        self
    }

    pub fn within(mut self, timeout: Duration) -> Txn {
        self.timeout = Some(timeout);
        self
    }

    /// Names (without their spaces) and values of all compares and operations, in bytes.
    pub fn bytes(&self) -> usize {
        let compares: usize = self.compares.iter().map(|c| c.key().name().len()).sum();
        let ops: usize = self.ops.iter().map(|op| op.key().name().len() + op.value_len()).sum();
        compares + ops
    }

    /// Everything that can be refused without the store: limits (T12), doubled keys (T8) and,
    /// by `session` (`None` for `Coordinator::txn`), ephemeral writes (T14, S3).
    ///
    /// # Errors
    /// `TooManyOps`, `TooLarge`, `DuplicateKey`, `WrongSpaceKind`, `InvalidKey`; effect None.
    pub fn check(&self, limits: &Limits, session: Option<SessionId>) -> Result<()> {
        if self.compares.len() > limits.txn_compares {
            return refuse(ErrorKind::TooManyOps { limit: limits.txn_compares });
        }
        if self.ops.len() > limits.txn_ops {
            return refuse(ErrorKind::TooManyOps { limit: limits.txn_ops });
        }
        let largest = self.ops.iter().map(Op::value_len).max().unwrap_or(0);
        if largest > limits.value {
            return refuse(ErrorKind::TooLarge { limit: limits.value, got: largest });
        }
        let bytes = self.bytes();
        if bytes > limits.txn_bytes {
            return refuse(ErrorKind::TooLarge { limit: limits.txn_bytes, got: bytes });
        }
        if has_repeats(self.ops.iter().map(Op::key))
            || has_repeats(self.compares.iter().map(Compare::key))
        {
            return refuse(ErrorKind::DuplicateKey);
        }
        self.ops.iter().try_for_each(|op| op.check_author(session))
    }

    /// Every space is declared (K6) and every write fits its kind (T14). `kind_of` answers from
    /// what the backend knows of the cluster's spaces.
    ///
    /// # Errors
    /// `UnknownSpace`, `WrongSpaceKind`; effect None.
    pub fn check_spaces(&self, kind_of: impl Fn(&Space) -> Option<SpaceKind>) -> Result<()> {
        for compare in &self.compares {
            kind_of(compare.key().space()).ok_or(ErrorKind::UnknownSpace)?;
        }
        for op in &self.ops {
            let kind = kind_of(op.key().space()).ok_or(ErrorKind::UnknownSpace)?;
            let wanted = match op {
                Op::Put { .. } => SpaceKind::Persistent,
                Op::PutEphemeral { .. } => SpaceKind::Ephemeral,
                Op::Delete { .. } => kind,
            };
            if kind != wanted {
                return refuse(ErrorKind::WrongSpaceKind);
            }
        }
        Ok(())
    }
}

impl Compare {
    pub fn key(&self) -> &Key {
        match self {
            Compare::Absent(key) | Compare::Exists(key) | Compare::Version(key, _) => key,
            Compare::Fence(fence) => &fence.key,
        }
    }

    /// Whether the compare holds where `entry` is what the store has under [`Compare::key`].
    pub fn holds(&self, entry: Option<&Entry>) -> bool {
        match self {
            Compare::Absent(_) => entry.is_none(),
            Compare::Exists(_) => entry.is_some(),
            Compare::Version(_, version) => entry.is_some_and(|e| e.version == *version),
            Compare::Fence(fence) => entry.is_some_and(|e| e.created == fence.token),
        }
    }
}

impl Op {
    pub fn key(&self) -> &Key {
        match self {
            Op::Put { key, .. } | Op::PutEphemeral { key, .. } | Op::Delete { key } => key,
        }
    }

    fn value_len(&self) -> usize {
        match self {
            Op::Put { value, .. } | Op::PutEphemeral { value, .. } => value.len(),
            Op::Delete { .. } => 0,
        }
    }

    fn check_author(&self, session: Option<SessionId>) -> Result<()> {
        let Op::PutEphemeral { key, .. } = self else { return Ok(()) };
        match session {
            None => refuse(ErrorKind::WrongSpaceKind),
            Some(id) if key.session() == Some(id) => Ok(()),
            Some(_) => refuse(ErrorKind::InvalidKey("an ephemeral key ends in @SESSION-COUNTER")),
        }
    }
}

impl TxnOutcome {
    /// The revision if it committed.
    pub fn committed(&self) -> Option<Revision> {
        match self {
            TxnOutcome::Committed { revision, .. } => Some(*revision),
            TxnOutcome::Conflict { .. } => None,
        }
    }
}

impl From<&Entry> for Fence {
    /// The fence of whoever owns this candidate key.
    fn from(candidate: &Entry) -> Fence {
        Fence { key: candidate.key.clone(), token: candidate.created }
    }
}

fn has_repeats<'a>(mut keys: impl Iterator<Item = &'a Key>) -> bool {
    let mut seen = HashSet::new();
    keys.any(|key| !seen.insert(key))
}

fn refuse<T>(kind: ErrorKind) -> Result<T> {
    Err(Error::none(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(&Space::new("config").unwrap(), name).unwrap()
    }

    fn check(txn: Txn, session: Option<u64>, expected: std::result::Result<(), ErrorKind>) {
        let got = txn.check(&Limits::CONTRACT, session.map(SessionId));
        assert_eq!(got.map_err(|error| error.kind), expected);
    }

    fn many(n: usize, step: impl Fn(Txn, &Key) -> Txn) -> Txn {
        (0..n).fold(Txn::new(), |txn, i| step(txn, &key(&format!("k{i:03}"))))
    }

    #[test]
    fn limits_are_exact() {
        let too_many = Err(ErrorKind::TooManyOps { limit: 100 });
        check(many(100, |t, k| t.delete(k).absent(k)), None, Ok(()));
        check(many(101, |t, k| t.delete(k)), None, too_many.clone());
        check(many(101, |t, k| t.absent(k)), None, too_many);

        let value = |n: usize| vec![0; n];
        check(Txn::new().put(&key("a"), value(512 << 10)), None, Ok(()));
        let over = ErrorKind::TooLarge { limit: 512 << 10, got: (512 << 10) + 1 };
        check(Txn::new().put(&key("a"), value((512 << 10) + 1)), None, Err(over));

        let two = |second| Txn::new().put(&key("a"), value(512 << 10)).put(&key("b"), second);
        check(two(value((256 << 10) - 2)), None, Ok(()));
        let over = ErrorKind::TooLarge { limit: 768 << 10, got: (768 << 10) + 1 };
        check(two(value((256 << 10) - 1)), None, Err(over));
    }

    #[test]
    fn a_key_occurs_once_among_ops_and_once_among_compares() {
        let (a, b) = (key("a"), key("b"));
        check(Txn::new().absent(&a).put(&a, "1").delete(&b), None, Ok(()));
        check(Txn::new().put(&a, "1").delete(&a), None, Err(ErrorKind::DuplicateKey));
        check(Txn::new().absent(&a).exists(&a), None, Err(ErrorKind::DuplicateKey));
    }

    #[test]
    fn only_its_session_writes_an_ephemeral_key() {
        let space = Space::new("alive").unwrap();
        let mine =
            Txn::new().put_ephemeral(&Key::ephemeral(&space, "n", SessionId(7), 0).unwrap(), "");
        check(mine.clone(), Some(7), Ok(()));
        check(mine.clone(), None, Err(ErrorKind::WrongSpaceKind));
        let foreign = ErrorKind::InvalidKey("an ephemeral key ends in @SESSION-COUNTER");
        check(mine, Some(8), Err(foreign));
    }

    #[test]
    fn spaces_must_be_declared_and_of_the_right_kind() {
        let kinds = |space: &Space| match space.as_str() {
            "config" => Some(SpaceKind::Persistent),
            "alive" => Some(SpaceKind::Ephemeral),
            _ => None,
        };
        let at = |space: &str| Key::new(&Space::new(space).unwrap(), "k").unwrap();
        let cases = [
            (Txn::new().put(&at("config"), "").delete(&at("alive")), None),
            (Txn::new().put(&at("alive"), ""), Some(ErrorKind::WrongSpaceKind)),
            (Txn::new().put_ephemeral(&at("config"), ""), Some(ErrorKind::WrongSpaceKind)),
            (Txn::new().exists(&at("nowhere")), Some(ErrorKind::UnknownSpace)),
        ];
        for (txn, refused) in cases {
            assert_eq!(txn.check_spaces(kinds).err().map(|error| error.kind), refused);
        }
    }
}

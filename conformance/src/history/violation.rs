//! What a failing history is told as: the call that shows it, and the few others a reader needs.

use super::{Answer, Call, What};
use coord_api::{Compare, Entry, Key, Op};
use std::fmt;
use std::time::Instant;

/// What cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub why: String,
    /// The call that shows it, by its place in the history.
    pub call: Option<usize>,
}

impl From<String> for Violation {
    fn from(why: String) -> Violation {
        Violation { why, call: None }
    }
}

/// Lines of a failing history that are printed.
pub(super) const LINES: usize = 24;

impl Violation {
    /// In words, with the few calls that a reader needs: the one that shows it, and what concerns
    /// its keys just before and beside it.
    pub fn told(&self, history: &[Call]) -> String {
        let Some(shown) = self.call.and_then(|at| history.get(at)) else { return self.why.clone() };
        let keys = shown.keys();
        let mut near: Vec<&Call> = history
            .iter()
            .filter(|call| call.begun <= shown.ended)
            .filter(|call| call.keys().iter().any(|key| keys.contains(key)))
            .filter(|call| std::ptr::eq(*call, shown) || call.may_have_written())
            .collect();
        near.sort_by_key(|call| call.ended);
        let zero = history.iter().map(|call| call.begun).min().unwrap_or(shown.begun);
        let lines = near.iter().rev().take(LINES).rev().map(|call| {
            let at = |time: Instant| time.saturating_duration_since(zero).as_micros();
            let (begun, ended) = (at(call.begun), at(call.ended));
            format!("  {begun:>9}..{ended:<9} us  client {}  {}", call.client, call.what)
        });
        let lines: Vec<String> = lines.collect();
        format!("{}\n{}", self.why, lines.join("\n"))
    }
}

impl Call {
    fn keys(&self) -> Vec<&Key> {
        match &self.what {
            What::Read { keys, .. } => keys.iter().collect(),
            What::Write { txn, .. } => {
                let read = txn.compares.iter().map(Compare::key);
                read.chain(txn.ops.iter().map(Op::key)).collect()
            }
        }
    }

    fn may_have_written(&self) -> bool {
        let answer = |answer: &Answer| matches!(answer, Answer::Committed { .. } | Answer::Unknown);
        matches!(&self.what, What::Write { answer: given, .. } if answer(given))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Read { keys, found, revision, .. } => {
                let value = |entry: &Entry| {
                    let text = String::from_utf8_lossy(&entry.value).into_owned();
                    format!("{}={text}@{}", entry.key, entry.modified)
                };
                let keys: Vec<_> = keys.iter().map(Key::to_string).collect();
                let found: Vec<_> = found.iter().map(value).collect();
                write!(f, "read {} -> {} at {revision}", keys.join(" "), found.join(" "))
            }
            What::Write { txn, mark, answer } => {
                let ops: Vec<_> = txn.ops.iter().map(|op| format!("{op:?}")).collect();
                write!(f, "{mark}: if {:?} then {} -> {answer:?}", txn.compares, ops.join(" "))
            }
        }
    }
}

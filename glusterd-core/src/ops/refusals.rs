//! Why the engine refuses a command, in the words the user gets.

use super::engine::NodeFailed;
use super::step::Operation;
use crate::model::Refusal;
use crate::store::{CommitError, View};
use coord_api::Retry;
use std::time::Duration;

/// Before anything else is looked at, as in stock.
pub(super) fn refuse_without_quorum(op: &dyn Operation, view: &View) -> Result<(), Refusal> {
    let blocked = || op.queue().is_some_and(|name| view.blocked().contains(name.as_str()));
    match op.changes() && !op.ignores_quorum() && blocked() {
        true => Err(Refusal::staged("Quorum not met. Volume operation not allowed.")),
        false => Ok(()),
    }
}

pub(super) fn busy() -> Refusal {
    Refusal::staged("Another transaction is in progress. Please try again after some time.")
        .with_errno(crate::model::errno::ANOTHER_TRANSACTION)
}

/// Its files name nodes that it has not come together with yet.
pub(super) fn not_settled() -> Refusal {
    Refusal::staged(
        "This node is looking for the other nodes of its pool. Please try again after some time.",
    )
}

/// How long the coordination service has been out of reach, and what is known of it.
pub(super) struct Away {
    pub time: Option<Duration>,
    pub why: Option<String>,
}

pub(super) fn unreachable(away: Away) -> Refusal {
    let time = away.time.map(|time| format!(" (for {} s now)", time.as_secs()));
    let why = away.why.map(|why| format!(" {why}.")).unwrap_or_default();
    Refusal::staged(format!(
        "The coordination service cannot be reached{}. The configuration cannot be changed now; \
         volumes stay available.{why}",
        time.unwrap_or_default()
    ))
}

pub(super) fn refused(error: &CommitError, away: Away) -> Refusal {
    match error {
        CommitError::Unknown(_) => {
            let why = away.why.map(|why| format!(" {why}.")).unwrap_or_default();
            Refusal::staged(format!(
                "The coordination service went away before it answered. Whether the change was \
                 made shows once it is back.{why}"
            ))
        }
        CommitError::Refused(cause) if cause.retry() == Retry::SameHandle => unreachable(away),
        _ => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            Refusal::staged(format!("{error}{}", cause.unwrap_or_default()))
        }
    }
}

/// As stock begins it, and then what the node says of it.
pub(super) fn unsettled_text(view: &View, unsettled: &[NodeFailed]) -> String {
    let text = |(node, text): &NodeFailed| {
        let peer = view.peers.get(node).and_then(|peer| peer.hostnames.first()).cloned();
        let host = match *node == view.me {
            true => "localhost".to_owned(),
            false => peer.unwrap_or_else(|| node.to_string()),
        };
        format!("Commit failed on {host}. {text}")
    };
    unsettled.iter().map(text).collect::<Vec<_>>().join("\n")
}

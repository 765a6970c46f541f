//! The leader's task that ends sessions whose holders are silent.
//!
//! It sleeps until the next deadline and wakes when sessions come or go or leadership changes;
//! without sessions it does nothing.

use crate::command::Command;
use crate::node::Node;
use std::sync::Weak;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until the node stops or is gone.
pub async fn run(node: Weak<Node>, stopping: CancellationToken) {
    // The term led so far: a leadership lost and regained unseen is another one.
    let mut led = None;
    loop {
        let Some(strong) = node.upgrade() else { return };
        let mut sessions = strong.shared.sessions();
        sessions.mark_unchanged();
        if strong.leader().is_none() {
            strong.feel_alone();
        }
        let leads = strong.leader() == Some(strong.identity.node);
        let term = leads.then(|| strong.term());
        if leads && term != led {
            strong.deadlines().restart();
        }
        led = term;
        let next = if leads { end_silent(&strong).await } else { None };
        let mut leader = strong.leadership();
        drop(strong);
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = sessions.changed() => {}
            () = leader.changed() => {}
            () = timer => {}
        }
    }
}

/// Proposes the end of every session past its deadline; returns when to look again.
async fn end_silent(node: &Node) -> Option<Instant> {
    let due = node.deadlines().due(&node.shared.state.read(), Instant::now());
    if !due.end.is_empty() {
        tracing::info!(sessions = ?due.end, "sessions without heartbeat end");
        let deadline = Instant::now() + PROPOSE_TIMEOUT;
        let ended = node.propose(Command::Expire { sessions: due.end }, deadline).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "ending sessions failed; tried again");
        }
    }
    due.next
}

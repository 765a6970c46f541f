//! The built-in store as the rooms see it.
//!
//! Calls run on tasks of their own: whoever waited may go away in the middle of a move.

use crate::membership::{Luggage, OwnStore};
use crate::model::NodeId;
use async_trait::async_trait;
use backend_local::{Baggage, Seat};
use coord_api::{Error, ErrorKind, Result};
use std::sync::Arc;

/// This node's place in the built-in store.
#[derive(Clone, Debug)]
pub struct BuiltIn(pub Arc<Seat>);

impl BuiltIn {
    async fn run<T, F>(&self, act: impl FnOnce(Arc<Seat>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let done = tokio::spawn(act(self.0.clone())).await;
        done.map_err(|error| Error::unknown(ErrorKind::Internal).because(error))?
    }
}

fn baggage(luggage: Luggage) -> Baggage {
    let Luggage { empty, records } = luggage;
    Baggage { empty, records }
}

#[async_trait]
impl OwnStore for BuiltIn {
    async fn invite(&self, host: &str) -> Result<String> {
        let host = host.to_owned();
        self.run(|seat| async move { seat.invite(&host).await }).await
    }

    async fn join(&self, invitation: &str, host: &str, luggage: Luggage) -> Result<()> {
        let (invitation, host) = (invitation.to_owned(), host.to_owned());
        let with = baggage(luggage);
        self.run(|seat| async move { seat.join(&invitation, &host, &with).await }).await
    }

    async fn leave(&self, luggage: Luggage) -> Result<bool> {
        let with = baggage(luggage);
        self.run(|seat| async move { seat.leave(&with).await }).await
    }

    async fn remove(&self, node: NodeId) -> Result<()> {
        self.run(move |seat| async move { seat.remove(&node.to_string()).await }).await
    }

    async fn members(&self) -> Result<Vec<NodeId>> {
        let members = self.0.members().await?;
        Ok(members.iter().filter_map(|member| NodeId::parse(&member.name)).collect())
    }

    async fn set_masters(&self, nodes: &[NodeId]) -> Result<()> {
        let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let wish = move |seat: Arc<Seat>| async move {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            seat.set_masters(&names).await
        };
        self.run(wish).await
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble().map(|why| {
            format!(
                "{why}. If nodes that are missing are lost for good, see 'glusterd coordinator \
                 force-new-quorum'"
            )
        })
    }

    fn is_guest(&self) -> bool {
        self.0.is_guest()
    }
}

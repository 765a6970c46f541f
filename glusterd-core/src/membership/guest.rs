//! A node as another one finds it that would like to take it in: what it says of itself, and how it
//! follows an invitation.

use super::own_store::{Luggage, OwnStore, is_free};
use crate::model::OP_VERSION_MAX;
use crate::rpc::join::{JoinReq, JoinRsp, LookReq, LookRsp};
use crate::store::{Freshness, Store};
use std::sync::Arc;
use std::time::Duration;

/// A daemon that has just started may need that long to know its own pool.
const READY: Duration = Duration::from_secs(5);
const FAILED: i32 = -1;

/// Answers for this node.
#[derive(Debug)]
pub struct Guest {
    pub store: Arc<Store>,
    /// `None`: a coordination service that nobody is invited to.
    pub own: Option<Arc<dyn OwnStore>>,
}

impl Guest {
    pub async fn look(&self, _: &LookReq) -> LookRsp {
        let sight = self.store.wait_for(coord_api::Revision(0), READY).await;
        let sight = sight.unwrap_or_else(|| self.store.sight());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        LookRsp {
            node: sight.view.me.to_string(),
            op_version_max: OP_VERSION_MAX,
            ready: u32::from(sight.view.freshness == Freshness::Current),
            invitable: u32::from(self.own.is_some()),
            peers: count(sight.view.others().count()),
            volumes: count(sight.view.volumes.len()),
        }
    }

    pub async fn join(&self, asked: &JoinReq) -> JoinRsp {
        let no = |text: String| JoinRsp { op_ret: FAILED, op_errstr: text };
        let Some(own) = &self.own else {
            return no("the coordination service is not the built-in store".to_owned());
        };
        let sight = self.store.sight();
        if sight.view.freshness != Freshness::Current || !is_free(&sight.view) {
            return no("it is not alone and empty".to_owned());
        }
        let place = *self.store.place().borrow();
        tracing::info!(from = asked.node, "invited into a pool's store");
        let luggage = Luggage::of(place, &sight.view.global);
        match own.join(&asked.invitation, &asked.host, luggage).await {
            Ok(()) => JoinRsp::default(),
            Err(error) => {
                tracing::error!(%error, "an invitation was not followed");
                no(error.to_string())
            }
        }
    }
}

//! The join program: another node looks at this one, and hands it an invitation.
//!
//! Whoever reaches the port may invite a node that is alone and empty, as with a probe of stock's.

use super::dispatch::{Program, Reject};
use super::registry::Connection;
use crate::membership::Guest;
use crate::rpc::join::{JoinProc, JoinReq, LookReq};
use crate::rpc::{ProgramId, Xdr};
use async_trait::async_trait;
use bytes::Bytes;

#[derive(Debug)]
pub struct Join {
    guest: Guest,
}

impl Join {
    pub fn new(guest: Guest) -> Join {
        Join { guest }
    }
}

#[async_trait]
impl Program for Join {
    fn id(&self) -> ProgramId {
        ProgramId::JOIN
    }

    fn name(&self) -> &str {
        "Built-in store join"
    }

    fn serves(&self, procedure: u32) -> bool {
        matches!(JoinProc(procedure), JoinProc::LOOK | JoinProc::JOIN | JoinProc::KNOCK)
    }

    async fn call(
        &self,
        _: &Connection,
        procedure: u32,
        arguments: Bytes,
    ) -> Result<Vec<u8>, Reject> {
        Ok(match JoinProc(procedure) {
            JoinProc::LOOK => self.guest.look(&LookReq::from_bytes(&arguments)?).await.to_bytes(),
            JoinProc::JOIN => self.guest.join(&JoinReq::from_bytes(&arguments)?).await.to_bytes(),
            JoinProc::KNOCK => self.guest.knock(&LookReq::from_bytes(&arguments)?).await.to_bytes(),
            _ => return Err(Reject::ProcedureUnavailable),
        })
    }

    fn disconnected(&self, _: &Connection) {}
}

//! `system:: uuid get`.

use crate::model::Refusal;
use crate::ops::{Cx, Operation, Outcome, Step};
use crate::rpc::Dict;

/// UUID_GET.
pub struct UuidGet;

impl UuidGet {
    pub fn parse(_: &Dict) -> Result<UuidGet, Refusal> {
        Ok(UuidGet)
    }
}

impl Operation for UuidGet {
    fn plan(&self, _: &Cx<'_>) -> Result<Step, Refusal> {
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        reply.set_str("uuid", outcome.view.me.to_string());
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        None
    }

    fn changes(&self) -> bool {
        false
    }
}

//! `system:: uuid get`, `system:: uuid reset`.
//!
//! Facts: glusterd-handler.c:1492-1590 (v10.3): refusals have op_errno 0.

use crate::model::Refusal;
use crate::ops::{Answer, Ask, Cx, Operation, Outcome, Question, Step};
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

/// UUID_RESET. Only a node that shares nothing with anyone may become another one.
pub struct UuidReset;

impl UuidReset {
    pub fn parse(_: &Dict) -> Result<UuidReset, Refusal> {
        Ok(UuidReset)
    }
}

impl Operation for UuidReset {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        if !cx.view.volumes.is_empty() {
            return Err(Refusal::handler(
                "volumes are already present in the cluster. Resetting uuid is not allowed",
            ));
        }
        if cx.view.others().next().is_some() {
            return Err(Refusal::handler(
                "trusted storage pool has been already formed. Please detach this peer from the \
                 pool and reset its uuid.",
            ));
        }
        match cx.answers.first().map(|answered| &answered.answer) {
            None => {
                let question = Question::ChangeIdentity { node: cx.fresh[0] };
                Ok(Step::Ask(vec![Ask::new(cx.view.me, question)]))
            }
            Some(Answer::Refused { text, .. } | Answer::Silent(text)) => {
                Err(Refusal::handler(text.clone()))
            }
            Some(_) => Ok(Step::Done),
        }
    }

    fn reply(&self, _: &Outcome<'_>, _: &mut Dict) -> Result<(), Refusal> {
        Ok(())
    }

    /// One at a time: two would leave the answer of one untrue.
    fn queue(&self) -> Option<String> {
        Some("uuid reset".to_owned())
    }

    fn changes(&self) -> bool {
        true
    }
}

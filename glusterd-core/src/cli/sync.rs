//! `volume sync HOST [VOLUME]`: there is nothing to fetch from anybody.
//!
//! Every node follows the coordinator, so what the command is for has happened already; it still
//! refuses what stock refuses. Facts: glusterd-handler.c:2092-2190, glusterd-op-sm.c:1655 (v10.3).

use super::args::Args;
use crate::model::Refusal;
use crate::ops::{Answer, Ask, Cx, Operation, Outcome, Question, Step};
use crate::rpc::Dict;

/// SYNC_VOLUME.
pub struct SyncVolume {
    host: String,
}

impl SyncVolume {
    pub fn parse(dict: &Dict) -> Result<SyncVolume, Refusal> {
        let host = Args(dict).text("hostname", "Failed to get hostname")?;
        if !dict.contains("volname") && !dict.contains("flags") {
            return Err(Refusal::handler("Failed to get volume name or flags"));
        }
        Ok(SyncVolume { host })
    }
}

impl Operation for SyncVolume {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let Some(answered) = cx.answers.first() else {
            let question = Question::Locate { hosts: vec![self.host.clone()] };
            return Ok(Step::Ask(vec![Ask::new(cx.view.me, question)]));
        };
        if let Answer::Located(hosts) = &answered.answer
            && hosts.iter().any(|host| host.is_me)
        {
            return Err(Refusal::handler("sync from localhost not allowed"));
        }
        let peer = cx.view.others().find(|peer| peer.hostnames.contains(&self.host));
        match peer {
            None => Err(Refusal::staged(format!("{}, is not a friend", self.host))),
            Some(peer) if !cx.view.alive.contains(&peer.id) => {
                let text = format!("{}, is not connected at the moment", self.host);
                Err(Refusal::staged(text))
            }
            Some(_) => Ok(Step::Done),
        }
    }

    fn reply(&self, _: &Outcome<'_>, _: &mut Dict) -> Result<(), Refusal> {
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        None
    }

    fn changes(&self) -> bool {
        false
    }
}

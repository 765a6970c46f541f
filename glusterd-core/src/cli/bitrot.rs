//! `volume bitrot`: signing and scrubbing.
//!
//! Facts: glusterd-bitrot.c:20-830; glusterd-utils.c `glusterd_bitrot_volume_node_rsp` (v10.3).

use super::args::{self, Args};
use super::status::shown_host;
use crate::model::{NodeId, Refusal, Volume};
use crate::ops::{Answer, Ask, Commit, Cx, Operation, Outcome, Question, Step};
use crate::options::{disable_bitrot, enable_bitrot};
use crate::rpc::Dict;
use crate::store::Edit;

const NODE_BITROT: u32 = 11;

/// `gf_bitrot_type` (cli1-xdr.x).
mod op {
    pub const ENABLE: u32 = 1;
    pub const DISABLE: u32 = 2;
    pub const SCRUB: u32 = 5;
    pub const STATUS: u32 = 7;
    pub const ONDEMAND: u32 = 8;
}

/// Forms that store one value: number, key of the value in the request, option.
const TUNABLES: [(u32, &str, &str); 4] = [
    (3, "scrub-throttle-value", "features.scrub-throttle"),
    (4, "scrub-frequency-value", "features.scrub-freq"),
    (6, "expiry-time", "features.expiry-time"),
    (9, "signer-threads", "features.signer-threads"),
];

/// BITROT.
pub struct Bitrot {
    volume: String,
    op: u32,
    request: Dict,
}

impl Bitrot {
    pub fn parse(dict: &Dict) -> Result<Bitrot, Refusal> {
        Ok(Bitrot {
            volume: Args(dict).volname()?,
            op: Args(dict).number("type", "Unable to get type of command")?,
            request: dict.clone(),
        })
    }

    fn is_live(&self) -> bool {
        matches!(self.op, op::STATUS | op::ONDEMAND)
    }

    fn check(&self, volume: &Volume) -> Result<(), Refusal> {
        let no = |text: String| Err(Refusal::staged(text));
        if !volume.is_started() {
            let text = "Volume is stopped, start volume before executing bit rot command.";
            return no(text.to_owned());
        }
        let enabled = volume.options.flag("features.bitrot") == Some(true);
        if self.op == op::ENABLE {
            return if enabled { no("Bitrot is already enabled".to_owned()) } else { Ok(()) };
        }
        if !enabled {
            return no(format!("Bitrot is not enabled on volume {}", volume.name));
        }
        let (now, wanted) = (volume.options.value("features.scrub"), self.scrub());
        let same = now.is_some() && now == wanted;
        let resumed = now == Some("Active") && wanted == Some("resume");
        if self.op == op::SCRUB && (same || resumed) {
            let verb = wanted.unwrap_or_default();
            return no(format!("Scrub is already {verb}d for volume {}", volume.name));
        }
        Ok(())
    }

    fn scrub(&self) -> Option<&str> {
        self.request.str("scrub-value")
    }

    /// Op-versions stay as they are until the next set or reset, as in stock.
    fn commit(&self, volume: &Volume) -> Result<Commit, Refusal> {
        let missing = || Refusal::staged("Bitrot operation failed");
        let mut after = volume.clone();
        match self.op {
            op::ENABLE => enable_bitrot(&mut after),
            op::DISABLE => disable_bitrot(&mut after),
            op::SCRUB => after.options.set("features.scrub", self.scrub().ok_or_else(missing)?),
            other => {
                let row = TUNABLES.iter().find(|(number, ..)| *number == other);
                let wrong = || Refusal::staged("Bitrot command failed. Invalid opcode");
                let (_, key, option) = row.ok_or_else(wrong)?;
                after.options.set(*option, self.request.str(key).ok_or_else(missing)?);
            }
        }
        after.version += 1;
        Ok(Commit {
            edits: vec![Edit::PutVolume(Box::new(after))],
            settle: vec![volume.name.clone()],
            ..Commit::default()
        })
    }

    fn live_asks(&self, cx: &Cx<'_>, volume: &Volume) -> Vec<Ask> {
        let mut input = self.request.clone();
        let value = if self.op == op::STATUS { "status" } else { "ondemand" };
        input.set_str("scrub-value", value);
        let ask = |node: NodeId| {
            Ask::new(
                node,
                Question::ServiceOp {
                    service: "scrub".to_owned(),
                    volume: self.volume.clone(),
                    procedure: NODE_BITROT,
                    name: self.volume.clone(),
                    input: input.encode(),
                },
            )
        };
        let nodes = super::start::nodes_of(volume).into_iter();
        nodes.filter(|node| cx.view.alive.contains(node)).map(ask).collect()
    }
}

impl Operation for Bitrot {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        self.check(volume)?;
        if !self.is_live() {
            return self.commit(volume).map(Step::commit);
        }
        if cx.answers.is_empty() {
            return Ok(Step::Ask(self.live_asks(cx, volume)));
        }
        if cx.answers.iter().any(|a| !matches!(a.answer, Answer::Dict(_))) {
            return Err(Refusal::staged("Bitrot operation failed"));
        }
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        if self.op != op::STATUS {
            return Ok(());
        }
        let volume = args::volume(outcome.view, &self.volume)?;
        let option = |key, default| volume.options.value(key).unwrap_or(default).to_owned();
        reply.set_str("features.scrub", option("features.scrub", "Active"));
        reply.set_str("features.scrub-throttle", option("features.scrub-throttle", "lazy"));
        reply.set_str("features.scrub-freq", option("features.scrub-freq", "biweekly"));
        let log = |name: &str| format!("{}/{name}.log", outcome.site.logdir.display());
        reply.set_str("bitrot_log_file", log("bitd"));
        reply.set_str("scrub_log_file", log("scrub"));
        let mut count = 0u32;
        for answered in outcome.answers {
            let Answer::Dict(bytes) = &answered.answer else { continue };
            count += 1;
            let dict = Dict::decode_or_empty(bytes).unwrap_or_default();
            node_rows(&dict, count, reply);
            reply.set_str(format!("node-uuid-{count}"), answered.node.to_string());
            let name = shown_host(outcome.view, answered.node);
            reply.set_str(format!("node-name-{count}"), name);
        }
        reply.set_int("count", count);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        (!self.is_live()).then(|| self.volume.clone())
    }

    fn changes(&self) -> bool {
        !self.is_live()
    }
}

/// A scrubber's counters under the node's number.
fn node_rows(dict: &Dict, node: u32, reply: &mut Dict) {
    let texts =
        ["scrub-running", "scrubbed-files", "unsigned-files", "last-scrub-time", "scrub-duration"];
    for key in texts {
        if let Some(value) = dict.str(key) {
            reply.set_str(format!("{key}-{node}"), value);
        }
    }
    // A scrubber keeps what is damaged as total and as numbered entries.
    let errors: u32 = dict.int("total-count").or(dict.int("error-count")).unwrap_or(0);
    reply.set_int(format!("error-count-{node}"), errors);
    for at in 0..errors {
        if let Some(text) = dict.str(&format!("quarantine-{at}")) {
            reply.set_str(format!("quarantine-{at}-{node}"), text);
        }
    }
}

//! `peer status`, `pool list`, and what `peer probe` and `peer detach` say about single nodes.
//!
//! Pools of several nodes are not formed yet: a probe that would succeed says so.
//!
//! Facts: glusterd-handler.c `glusterd_list_friends`; cli-rpc-ops.c:412 (v10.3).

use super::args::Args;
use crate::model::{Refusal, errno};
use crate::ops::{Answer, Ask, Cx, HostFacts, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::View;

/// The `friends` dict. `with_self` adds the answering node as the last entry, as `pool list` wants.
pub fn friends(view: &View, with_self: bool) -> Dict {
    let mut dict = Dict::new();
    let mut count = 0u32;
    for peer in view.others() {
        count += 1;
        let key = |field: &str| format!("friend{count}.{field}");
        let first = peer.hostnames.first().map_or("", String::as_str);
        dict.set_str(key("uuid"), peer.id.to_string());
        dict.set_str(key("hostname"), first);
        dict.set_int(key("port"), 24007u32);
        dict.set_int(key("stateId"), peer.state.code());
        dict.set_str(key("state"), peer.state.text());
        dict.set_int(key("connected"), u32::from(view.alive.contains(&peer.id)));
        for (i, name) in peer.hostnames.iter().enumerate() {
            dict.set_str(format!("friend{count}.hostname{i}"), name);
        }
        dict.set_int(key("hostname_count"), peer.hostnames.len() as u64);
    }
    if with_self {
        count += 1;
        dict.set_str(format!("friend{count}.uuid"), view.me.to_string());
        dict.set_str(format!("friend{count}.hostname"), "localhost");
        dict.set_int(format!("friend{count}.connected"), 1u32);
    }
    dict.set_int("count", count);
    dict
}

const PORT: u16 = 24007;
/// `gf1_cli_probe_resp`, `gf1_cli_deprobe_resp` (cli1-xdr.x).
const LOCALHOST: i32 = 1;
const FRIEND: i32 = 2;
const NOT_FRIEND: i32 = 2;
const ENOTCONN: i32 = 107;

/// PROBE.
pub struct Probe(String);

impl Probe {
    pub fn parse(dict: &Dict) -> Result<Probe, Refusal> {
        Ok(Probe(Args(dict).text("hostname", "Failed to get hostname")?))
    }
}

impl Operation for Probe {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let said = |errno: i32, text: String| Refusal::handler(text).with_errno(errno);
        let Some(facts) = located(cx, &self.0) else { return Ok(locate(cx, &self.0)) };
        if facts.is_me {
            let text = "Probe on localhost not needed".to_owned();
            return Err(said(LOCALHOST, text).with_ret(0));
        }
        if cx.view.others().any(|peer| peer.hostnames.contains(&self.0)) {
            let text = format!("Host {} port {PORT} already in peer list", self.0);
            return Err(said(FRIEND, text).with_ret(0));
        }
        let reached = cx.answers.iter().find(|a| matches!(a.question, Question::Reach { .. }));
        match reached.map(|a| &a.answer) {
            None => {
                let question = Question::Reach { host: self.0.clone(), port: PORT };
                Ok(Step::Ask(vec![Ask::new(cx.view.me, question)]))
            }
            Some(Answer::Done) => {
                let text = "peer probe of another node is not supported by this glusterd yet";
                Err(said(errno::NOT_SUPPORTED, text.to_owned()))
            }
            Some(_) => {
                let text = "Probe returned with Transport endpoint is not connected";
                Err(said(ENOTCONN, text.to_owned()))
            }
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

/// DEPROBE.
pub struct Detach(String);

impl Detach {
    pub fn parse(dict: &Dict) -> Result<Detach, Refusal> {
        Ok(Detach(Args(dict).text("hostname", "Failed to get hostname")?))
    }
}

impl Operation for Detach {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let Some(facts) = located(cx, &self.0) else { return Ok(locate(cx, &self.0)) };
        if facts.is_me {
            let text = format!("{} is localhost", self.0);
            return Err(Refusal::handler(text).with_errno(LOCALHOST));
        }
        if cx.view.others().any(|peer| peer.hostnames.contains(&self.0)) {
            let text = "peer detach is not supported by this glusterd yet";
            return Err(Refusal::handler(text).with_errno(errno::NOT_SUPPORTED));
        }
        let text = format!("{} is not part of cluster", self.0);
        Err(Refusal::handler(text).with_errno(NOT_FRIEND))
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

fn locate(cx: &Cx<'_>, host: &str) -> Step {
    let question = Question::Locate { hosts: vec![host.to_owned()], paths: vec![] };
    Step::Ask(vec![Ask::new(cx.view.me, question)])
}

fn located<'a>(cx: &'a Cx<'_>, host: &str) -> Option<&'a HostFacts> {
    cx.answers.iter().find_map(|answered| match &answered.answer {
        Answer::Located(located) => located.hosts.iter().find(|facts| facts.name == host),
        _ => None,
    })
}

//! `peer detach HOST [force]`: sends a member without bricks away.
//!
//! It is alone afterwards in a pool of its own, with the settings it had; if it is down it learns
//! that when it comes back.
//!
//! Facts: glusterd-handler.c:1200-1340, :3986-4070 (v10.3); `gf1_cli_deprobe_resp` (cli1-xdr.x).

use super::args::Args;
use super::peers::NO_QUORUM;
use crate::membership::without_master;
use crate::model::{NodeId, PeerState, Refusal};
use crate::ops::{Answer, Ask, Commit, Cx, HostFacts, Operation, Outcome, Question, Step};
use crate::options::MASTERS;
use crate::rpc::Dict;
use crate::store::{Edit, Pool, View};

mod code {
    pub const QUORUM: i32 = 5;
    pub const LOCALHOST: i32 = 1;
    pub const NOT_FRIEND: i32 = 2;
    pub const BRICK_EXISTS: i32 = 3;
    pub const FRIEND_DOWN: i32 = 4;
}

/// DEPROBE.
pub struct Detach {
    host: String,
    force: bool,
}

impl Detach {
    pub fn parse(dict: &Dict) -> Result<Detach, Refusal> {
        let host = Args(dict).text("hostname", "Failed to get hostname")?;
        Ok(Detach { host, force: Args(dict).force() })
    }

    fn who(&self, view: &View, facts: &HostFacts) -> Result<NodeId, Refusal> {
        let host = &self.host;
        let named = view.others().find(|peer| peer.hostnames.contains(host));
        let known = |name: &String| facts.addresses.contains(name);
        let met = || view.others().find(|peer| peer.hostnames.iter().any(known));
        match named.or_else(met) {
            Some(peer) => Ok(peer.id),
            None if facts.is_me => {
                Err(Refusal::handler(format!("{host} is localhost")).with_errno(code::LOCALHOST))
            }
            None => Err(Refusal::handler(format!("{host} is not part of cluster"))
                .with_errno(code::NOT_FRIEND)),
        }
    }

    fn check(&self, view: &View, node: NodeId) -> Result<(), Refusal> {
        let well = |peer: &crate::model::Peer| {
            view.alive.contains(&peer.id) && peer.state == PeerState::Befriended
        };
        if !self.force && view.others().any(|peer| peer.id != node && !well(peer)) {
            let text = "One of the peers is probably down. Check with 'peer status'";
            return Err(Refusal::handler(text).with_errno(code::FRIEND_DOWN));
        }
        let bricks = view.volumes.values().flat_map(|volume| &volume.bricks);
        if bricks.clone().any(|brick| brick.node == node) {
            let text = format!(
                "Peer {} hosts one or more bricks. If the peer is in not recoverable state then \
                 use either replace-brick or remove-brick command with force to remove all bricks \
                 from the peer and attempt the peer detach again.",
                self.host
            );
            return Err(Refusal::handler(text).with_errno(code::BRICK_EXISTS).with_ret(1));
        }
        if !self.force && !view.blocked().is_empty() {
            return Err(Refusal::handler(NO_QUORUM).with_errno(code::QUORUM));
        }
        Ok(())
    }
}

impl Operation for Detach {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let Some(facts) = located(cx, &self.host) else {
            let question = Question::Locate { hosts: vec![self.host.clone()] };
            return Ok(Step::Ask(vec![Ask::new(cx.view.me, question)]));
        };
        let node = self.who(cx.view, facts)?;
        self.check(cx.view, node)?;
        let mut global = (*cx.view.global).clone();
        global.options.remove(MASTERS);
        let mut edits =
            vec![Edit::DeletePeer(node), Edit::Release { node, to: Pool(cx.fresh[0]), global }];
        edits.extend(without_master(cx.view, node).map(Edit::PutGlobal));
        let left = cx.view.others().filter(|peer| peer.id != node).count();
        if left == 0 && cx.view.peers.contains_key(&cx.view.me) {
            // Alone again: nobody needs a name for this node.
            edits.push(Edit::DeletePeer(cx.view.me));
        }
        let may_go = cx.view.alive.contains(&node);
        let then = vec![Question::AwaitGone { node: node.0, may_go }];
        Ok(Step::commit(Commit { edits, then, ..Commit::default() }))
    }

    fn reply(&self, _: &Outcome<'_>, _: &mut Dict) -> Result<(), Refusal> {
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some("peers".to_owned())
    }

    fn changes(&self) -> bool {
        true
    }
}

fn located<'a>(cx: &'a Cx<'_>, host: &str) -> Option<&'a HostFacts> {
    cx.answers.iter().find_map(|answered| match &answered.answer {
        Answer::Located(hosts) => hosts.iter().find(|facts| facts.name == host),
        _ => None,
    })
}

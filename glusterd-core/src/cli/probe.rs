//! `peer probe HOST`: takes a running daemon that is alone and empty into the pool.
//!
//! One guarded change moves it; its own watch tells it. The codes are told by op_errno, with an
//! op_ret of 0 where nothing had to be done.
//!
//! Facts: glusterd-handler.c:1068-1180, :3827-3985 (v10.3); `gf1_cli_probe_resp` (cli1-xdr.x).

use super::args::Args;
use super::peers::NO_QUORUM;
use crate::model::{DAEMON_PORT, NodeId, Peer, PeerState, Refusal};
use crate::ops::{Answer, Ask, Candidate, Commit, Cx, Found, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::{Edit, View};

mod code {
    pub const QUORUM: i32 = 8;
    pub const LOCALHOST: i32 = 1;
    pub const FRIEND: i32 = 2;
    pub const ANOTHER_CLUSTER: i32 = 3;
    pub const SAME_UUID: i32 = 5;
    pub const ADD_FAILED: i32 = 7;
}
const EAGAIN: i32 = 11;
const ENOTCONN: i32 = 107;

/// PROBE.
pub struct Probe(String);

impl Probe {
    pub fn parse(dict: &Dict) -> Result<Probe, Refusal> {
        Ok(Probe(Args(dict).text("hostname", "Failed to get hostname")?))
    }

    fn no(&self, errno: i32, text: String) -> Refusal {
        Refusal::handler(text).with_errno(errno)
    }

    /// The daemon behind the name, fit to be asked for.
    fn found<'a>(&self, view: &View, candidate: &'a Candidate) -> Result<&'a Found, Refusal> {
        let host = &self.0;
        let found = match candidate.found.as_slice() {
            _ if !candidate.reached => {
                let text = "Probe returned with Transport endpoint is not connected";
                return Err(self.no(ENOTCONN, text.to_owned()));
            }
            [] => {
                let text = format!(
                    "{host} runs no glusterd that uses this pool's coordination service; both \
                     need the same coordinator in their settings"
                );
                return Err(self.no(code::ADD_FAILED, text));
            }
            [found] => found,
            _ => {
                let text = format!(
                    "More than one glusterd of this coordination service says to be {host}"
                );
                return Err(self.no(code::ADD_FAILED, text));
            }
        };
        if found.node() == view.me {
            let text = format!("Peer uuid (host {host}) is same as local uuid");
            return Err(self.no(code::SAME_UUID, text));
        }
        Ok(found)
    }

    /// A further name of a member.
    fn name_again(&self, peer: &Peer) -> Commit {
        let mut peer = peer.clone();
        peer.hostnames.push(self.0.clone());
        Commit { edits: vec![Edit::PutPeer(peer)], ..Commit::default() }
    }

    fn take_in(&self, view: &View, candidate: &Candidate) -> Result<Commit, Refusal> {
        let found = self.found(view, candidate)?;
        if let Some(peer) = view.peers.get(&found.node()) {
            return Ok(self.name_again(peer));
        }
        if found.peers > 0 || found.volumes > 0 {
            let text = format!(
                "{} is either already part of another cluster or having volumes configured",
                self.0
            );
            return Err(self.no(code::ANOTHER_CLUSTER, text));
        }
        if found.op_version_max < view.op_version() {
            let text = format!("Peer {} does not support required op-version", self.0);
            return Err(self.no(code::ADD_FAILED, text));
        }
        let Some(adoption) = found.adoption() else {
            let text = format!("Failed to add peer information on {}", self.0);
            return Err(self.no(code::ADD_FAILED, text));
        };
        let node = found.node();
        let mut edits = vec![Edit::PutPeer(peer(node, self.0.clone())), Edit::Adopt(adoption)];
        if !view.peers.contains_key(&view.me) {
            let Some(mine) = candidate.my_address.clone() else {
                let text = "Probe returned with Resource temporarily unavailable".to_owned();
                return Err(self.no(EAGAIN, text));
            };
            edits.push(Edit::PutPeer(peer(view.me, mine)));
        }
        let then = vec![Question::AwaitPeer { node: node.0 }];
        Ok(Commit { edits, then, ..Commit::default() })
    }
}

fn peer(id: NodeId, name: String) -> Peer {
    Peer { id, hostnames: vec![name], state: PeerState::Befriended }
}

impl Operation for Probe {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let host = &self.0;
        if !cx.view.blocked().is_empty() {
            return Err(self.no(code::QUORUM, NO_QUORUM.to_owned()));
        }
        let candidate = match cx.answers.first().map(|answered| &answered.answer) {
            None => {
                let question = Question::FindPeer { host: host.clone() };
                return Ok(Step::Ask(vec![Ask::new(cx.view.me, question)]));
            }
            Some(Answer::Candidate(candidate)) => candidate,
            Some(Answer::Refused { text, errno }) => return Err(self.no(*errno, text.clone())),
            Some(_) => {
                let text = "Probe returned with Connection timed out".to_owned();
                return Err(self.no(110, text));
            }
        };
        if candidate.came_home {
            let text = format!("Host {host} port {DAEMON_PORT} already in peer list");
            return Err(self.no(code::FRIEND, text).with_ret(0));
        }
        if candidate.is_me {
            let text = "Probe on localhost not needed".to_owned();
            return Err(self.no(code::LOCALHOST, text).with_ret(0));
        }
        if cx.view.others().any(|peer| peer.hostnames.contains(host)) {
            let text = format!("Host {host} port {DAEMON_PORT} already in peer list");
            return Err(self.no(code::FRIEND, text).with_ret(0));
        }
        self.take_in(cx.view, candidate).map(Step::commit)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::peers::friends;
    use crate::ops::{Answered, Site};
    use std::sync::Arc;
    use uuid::Uuid;

    fn plan(view: &View, host: &str, candidate: Candidate) -> Result<Step, Refusal> {
        let answers = [Answered {
            node: view.me,
            question: Question::FindPeer { host: host.to_owned() },
            answer: Answer::Candidate(candidate),
        }];
        let fresh = [Uuid::nil(); 4];
        let site = Site::sample();
        Probe(host.to_owned()).plan(&Cx { view, site: &site, answers: &answers, fresh: &fresh })
    }

    fn check(view: &View, candidate: Candidate, ret: i32, errno: i32, text: &str) {
        let no = plan(view, "h2", candidate).unwrap_err();
        assert_eq!((no.ret, no.errno, no.text.as_str()), (ret, errno, text));
    }

    #[test]
    fn refusals() {
        let view = View::alone(NodeId::fresh());
        let found = |found: Vec<Found>| Candidate { reached: true, found, ..Candidate::default() };
        let stranger = Found { op_version_max: u32::MAX, ..Found::default() };
        let me = Candidate { is_me: true, ..Candidate::default() };
        check(&view, me, 0, 1, "Probe on localhost not needed");
        let silent = "Probe returned with Transport endpoint is not connected";
        check(&view, Candidate::default(), -1, 107, silent);
        let taken = "h2 is either already part of another cluster or having volumes configured";
        check(&view, found(vec![Found { volumes: 1, ..stranger.clone() }]), -1, 3, taken);
        check(&view, found(vec![Found { peers: 1, ..stranger.clone() }]), -1, 3, taken);
        let old = "Peer h2 does not support required op-version";
        check(&view, found(vec![Found::default()]), -1, 7, old);
        let two = "More than one glusterd of this coordination service says to be h2";
        check(&view, found(vec![stranger.clone(), stranger]), -1, 7, two);
    }

    #[test]
    fn a_second_name_joins_the_first() {
        let mut view = View::alone(NodeId::fresh());
        Arc::make_mut(&mut view.peers)
            .insert(NodeId(Uuid::nil()), peer(NodeId(Uuid::nil()), "192.0.2.7".into()));
        let candidate =
            Candidate { reached: true, found: vec![Found::default()], ..Candidate::default() };
        let Ok(Step::Commit(commit)) = plan(&view, "h2", candidate) else { panic!() };
        let [Edit::PutPeer(named)] = commit.edits.as_slice() else { panic!() };
        assert_eq!(named.hostnames, ["192.0.2.7", "h2"]);
        Arc::make_mut(&mut view.peers).insert(named.id, named.clone());
        let again = Candidate { reached: true, ..Candidate::default() };
        check(&view, again, 0, 2, "Host h2 port 24007 already in peer list");
        let listed = friends(&view, true);
        assert_eq!(listed.str("friend1.hostname1"), Some("h2"));
        assert_eq!(listed.int("friend1.connected"), Some(0));
        assert_eq!(listed.str("friend2.hostname"), Some("localhost"));
    }
}

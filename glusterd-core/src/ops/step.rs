//! What a command's plan says, and what it is told.

use super::question::{Answer, Question};
use crate::model::{NodeId, Refusal, VolumeName};
use crate::rpc::Dict;
use crate::store::{Edit, View};
use std::path::PathBuf;
use uuid::Uuid;

/// What a plan may look at. Everything in it is a value: the same input gives the same plan.
pub struct Cx<'a> {
    pub view: &'a View,
    pub site: &'a Site,
    /// Answers to the questions of earlier rounds, in the order asked; empty at first.
    pub answers: &'a [Answered],
    /// Fresh random ids, the same in every round and retry of one operation.
    pub fresh: &'a [Uuid; 4],
}

/// What this daemon was started with, as far as commands show it.
#[derive(Clone, Debug)]
pub struct Site {
    pub workdir: PathBuf,
    pub rundir: PathBuf,
    pub logdir: PathBuf,
    /// `transport.socket.bind-address`, if set.
    pub bind_address: Option<String>,
    /// `transport.address-family`, if set.
    pub address_family: Option<String>,
    /// First port for bricks.
    pub base_port: u16,
    /// Whether the nodes keep the coordination service themselves.
    pub built_in_store: bool,
}

#[cfg(test)]
impl Site {
    /// A daemon on the built-in store with folders of one letter.
    pub fn sample() -> Site {
        Site {
            workdir: "/w".into(),
            rundir: "/r".into(),
            logdir: "/l".into(),
            bind_address: None,
            address_family: None,
            base_port: 49152,
            built_in_store: true,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Answered {
    pub node: NodeId,
    pub question: Question,
    pub answer: Answer,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Ask, then plan again with the answers added.
    Ask(Vec<Ask>),
    /// Make it true, then let the nodes settle.
    Commit(Box<Commit>),
    /// Nothing to change: reply.
    Done,
}

impl Step {
    pub fn commit(commit: Commit) -> Step {
        Step::Commit(Box::new(commit))
    }
}

#[derive(Clone, Debug)]
pub struct Ask {
    pub node: NodeId,
    pub question: Question,
}

impl Ask {
    pub fn new(node: NodeId, question: Question) -> Ask {
        Ask { node, question }
    }
}

/// The one moment at which an operation becomes true.
#[derive(Debug, Default)]
pub struct Commit {
    pub edits: Vec<Edit>,
    /// What this node waits for before it asks any to settle.
    pub then: Vec<Question>,
    /// What nodes do first as they settle; a refusal counts as not settled.
    pub first: Vec<Ask>,
    /// Volumes whose processes and files the nodes must have brought in line before the reply.
    pub settle: Vec<VolumeName>,
    pub hooks: Option<Hooks>,
    /// Committed instead when a node reports that it could not settle: `volume start` whose brick
    /// does not come up leaves the volume as it was.
    pub if_unsettled: Vec<Edit>,
    /// Asked after a change was taken back.
    pub after_take_back: Vec<Ask>,
    /// Text that goes into op_errstr although the operation succeeds (stock does so for a few).
    pub note: Option<String>,
}

/// Hook scripts to run before and after the commit, on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Directory below `hooks/1`.
    pub event: &'static str,
    pub pre: Vec<String>,
    pub post: Vec<String>,
}

/// How an operation went that was not refused.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// What the last plan saw.
    pub before: &'a View,
    /// After the commit, or the same.
    pub view: &'a View,
    pub site: &'a Site,
    pub answers: &'a [Answered],
    pub fresh: &'a [Uuid; 4],
    /// Nodes that could not bring themselves in line, with stock's words.
    pub unsettled: &'a [(NodeId, String)],
}

/// One command under way: its request, parsed.
pub trait Operation: Send + Sync {
    /// Pure: called again with more answers, and from the start after a lost race.
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal>;

    /// Adds the results to `reply`, which starts as an echo of the request.
    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal>;

    /// Operations with the same key wait for each other here instead of racing.
    fn queue(&self) -> Option<String>;

    /// Changes the configuration: refused while the coordinator cannot be reached.
    fn changes(&self) -> bool;

    /// Done even while the volume is without server quorum: it is how an administrator gets out.
    fn ignores_quorum(&self) -> bool {
        false
    }
}

//! The pool as the engine reaches it: this node by a call, the others by the post.
//!
//! Every member that is up acts on a change; a command waits for those that it concerns. One that
//! goes away meanwhile has not failed; it converges when it comes back.

use super::engine::{Change, NodeFailed, Nodes};
use super::node::LocalNode;
use super::post::Post;
use super::question::{Answer, Question, RemoteHooks};
use super::step::{Ask, Hooks};
use crate::model::{NodeId, VolumeName};
use async_trait::async_trait;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

#[derive(Debug)]
pub struct PoolNodes {
    pub local: Arc<LocalNode>,
    pub post: Arc<Post>,
}

impl PoolNodes {
    /// Bricks that joined run on every node that is up: now clients hear of them, whichever node they
    /// listen to. A node that does not hear this tells its own a while later.
    async fn tell_clients(&self, volumes: &[VolumeName], until: Instant) {
        let untold =
            |name: &VolumeName| Some((name.to_string(), self.local.converger.untold(name)?));
        let volumes: Vec<(String, u32)> = volumes.iter().filter_map(untold).collect();
        if volumes.is_empty() {
            return;
        }
        self.local.tell_clients(&volumes);
        let others = self.others(&self.local.store.view().alive);
        self.post.tell(&Question::TellClients { volumes }, others, until).await;
    }

    fn others(&self, nodes: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let me = self.local.me();
        nodes.iter().copied().filter(|node| *node != me).collect()
    }
}

#[async_trait]
impl Nodes for PoolNodes {
    async fn ask(&self, asks: &[Ask], until: Instant) -> Vec<Answer> {
        let me = self.local.me();
        let own = asks.iter().filter(|ask| ask.node == me);
        let own = join_all(own.map(|ask| self.local.answer_within(&ask.question, until)));
        let others = asks.iter().filter(|ask| ask.node != me);
        let others: Vec<_> = others.map(|ask| (ask.node, &ask.question)).collect();
        let (own, others) = tokio::join!(own, self.post.ask(&others, until));
        let (mut own, mut others) = (own.into_iter(), others.into_iter());
        let answer = |ask: &Ask| if ask.node == me { own.next() } else { others.next() };
        asks.iter().map(answer).map(|answer| answer.expect("one for each")).collect()
    }

    async fn settle(&self, change: &Change<'_>, until: Instant) -> Vec<NodeFailed> {
        let view = self.local.store.view();
        let busy: BTreeSet<NodeId> = change.first.iter().map(|ask| ask.node).collect();
        let others = self.others(&(&change.concerned.among(&view.alive) | &busy));
        let question = Question::Settle {
            revision: change.revision.0,
            volumes: change.volumes.iter().map(ToString::to_string).collect(),
            hooks: change.hooks.map(|hooks| RemoteHooks {
                event: hooks.event.to_owned(),
                pre: hooks.pre.clone(),
                post: hooks.post.clone(),
            }),
            first: change.first.iter().map(|ask| (ask.node.0, ask.question.clone())).collect(),
        };
        let told = async {
            // Nobody else is there, or would do more than it does of itself.
            let nobody = others.is_empty() && (change.hooks.is_none() || view.alive.len() < 2);
            match nobody {
                true => vec![],
                false => self.post.tell(&question, others.clone(), until).await,
            }
        };
        let me = self.local.me();
        let own = change.first.iter().filter(|ask| ask.node == me).map(|ask| &ask.question);
        let own = self.local.settle(change.revision, change.volumes, own, until);
        let (mut failed, answers) = tokio::join!(own, told);
        let alive = &self.local.store.view().alive;
        for (node, answer) in others.into_iter().zip(answers) {
            match answer {
                Answer::Refused { text, .. } => failed.push((node, text)),
                Answer::Silent(why) if busy.contains(&node) => failed.push((node, why)),
                Answer::Silent(why) if alive.contains(&node) => {
                    tracing::warn!(why, "a node has not settled");
                    failed.push((node, "Please check log file for details.".to_owned()));
                }
                _ => {}
            }
        }
        self.tell_clients(change.volumes, until).await;
        failed
    }

    async fn pre_hooks(&self, hooks: &Hooks) {
        self.local.pre_hooks(hooks.event, &hooks.pre).await;
    }

    fn post_hooks(&self, hooks: &Hooks) {
        self.local.post_hooks(hooks.event, &hooks.post);
    }
}

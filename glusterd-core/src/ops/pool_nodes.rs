//! The pool as the engine reaches it: this node by a call, the others by the post.
//!
//! Settling concerns every member that is up: each writes the files of every volume. One that goes
//! away meanwhile has not failed; it converges when it comes back.

use super::engine::{NodeFailed, Nodes};
use super::node::LocalNode;
use super::post::Post;
use super::question::{Answer, Question, RemoteHooks};
use super::step::{Ask, Hooks};
use crate::model::{NodeId, VolumeName};
use async_trait::async_trait;
use coord_api::Revision;
use futures_util::future::join_all;
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
        let question = Question::TellClients { volumes };
        let view = self.local.store.view();
        let others = view.alive.iter().filter(|node| **node != view.me);
        let told = others.map(|node| self.post.ask(*node, &question, until));
        join_all(told).await;
    }
}

#[async_trait]
impl Nodes for PoolNodes {
    async fn ask(&self, ask: &Ask, until: Instant) -> Answer {
        if ask.node == self.local.me() {
            return self.local.answer_within(&ask.question, until).await;
        }
        self.post.ask(ask.node, &ask.question, until).await
    }

    async fn settle(
        &self,
        revision: Revision,
        volumes: &[VolumeName],
        hooks: Option<&Hooks>,
        until: Instant,
    ) -> Vec<NodeFailed> {
        let view = self.local.store.view();
        let question = Question::Settle {
            revision: revision.0,
            volumes: volumes.iter().map(ToString::to_string).collect(),
            hooks: hooks.map(|hooks| RemoteHooks {
                event: hooks.event.to_owned(),
                pre: hooks.pre.clone(),
                post: hooks.post.clone(),
            }),
        };
        let others: Vec<NodeId> =
            view.alive.iter().copied().filter(|node| *node != view.me).collect();
        let asked = join_all(others.iter().map(|node| self.post.ask(*node, &question, until)));
        let (mut failed, answers) =
            tokio::join!(self.local.settle(revision, volumes, until), asked);
        let alive = &self.local.store.view().alive;
        for (node, answer) in others.into_iter().zip(answers) {
            match answer {
                Answer::Refused { text, .. } => failed.push((node, text)),
                Answer::Silent(why) if alive.contains(&node) => {
                    tracing::warn!(why, "a node has not settled");
                    failed.push((node, "Please check log file for details.".to_owned()));
                }
                _ => {}
            }
        }
        self.tell_clients(volumes, until).await;
        failed
    }

    async fn pre_hooks(&self, hooks: &Hooks) {
        self.local.pre_hooks(hooks.event, &hooks.pre).await;
    }

    fn post_hooks(&self, hooks: &Hooks) {
        self.local.post_hooks(hooks.event, &hooks.post);
    }
}

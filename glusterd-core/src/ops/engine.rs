//! Drives one operation: plan, ask, commit, settle.
//!
//! Bounded throughout: rounds of questions, retries after a lost race, and the whole operation by
//! the CLI's own patience.

use super::concerned::Concerned;
use super::node::CATCH_UP;
use super::question::{Answer, Question};
use super::refusals::{
    Away, busy, not_settled, refuse_without_quorum, refused, unreachable, unsettled_text,
};
use super::step::{Answered, Ask, Commit, Cx, Hooks, Operation, Outcome, Site, Step};
use crate::model::{NodeId, Refusal, VolumeName};
use crate::rpc::Dict;
use crate::store::{CommitError, Freshness, Sight, Store};
use async_trait::async_trait;
use coord_api::{Health, Revision};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// Questions a command may ask one after the other.
const ROUNDS_MAX: usize = 8;
/// The CLI gives up after 120 s (cli/src/cli.c:77); an answer after that reaches nobody.
const PATIENCE: Duration = Duration::from_secs(110);

/// Finding the other nodes of a pool and coming together with them takes less.
const SETTLING: Duration = Duration::from_secs(45);
/// An event takes milliseconds.
const NEWER_BOUND: Duration = Duration::from_secs(5);
/// Losing a leader and finding another one takes less, on every service.
const ELECTION: Duration = Duration::from_secs(5);

/// The nodes of the pool as the engine reaches them.
#[async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// Of any number of nodes at the same time; answers in the order of `asks`.
    async fn ask(&self, asks: &[Ask], until: Instant) -> Vec<Answer>;

    /// Waits until every node that is concerned and up has acted on the change; all other nodes than
    /// this one run the hooks as well.
    async fn settle(&self, change: &Change<'_>, until: Instant) -> Vec<NodeFailed>;

    /// On this node.
    async fn pre_hooks(&self, hooks: &Hooks);

    /// On this node. Queues them; does not wait.
    fn post_hooks(&self, hooks: &Hooks);
}

/// What nodes settle after a commit.
#[derive(Debug)]
pub struct Change<'a> {
    pub revision: Revision,
    pub volumes: &'a [VolumeName],
    /// Who is waited for, beside those that have something to do `first`.
    pub concerned: Concerned,
    pub first: &'a [Ask],
    pub hooks: Option<&'a Hooks>,
}

/// A node that could not bring itself in line.
pub type NodeFailed = (NodeId, String);

pub struct Engine {
    store: Arc<Store>,
    nodes: Arc<dyn Nodes>,
    site: Site,
    queues: parking_lot::Mutex<HashMap<String, Weak<Mutex<()>>>>,
    trouble: Option<Trouble>,
    settled: Option<watch::Receiver<bool>>,
}

/// Why the coordination service cannot be used just now, for people.
pub type Trouble = Box<dyn Fn() -> Option<String> + Send + Sync>;

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("site", &self.site).finish_non_exhaustive()
    }
}

/// One operation's memory between rounds.
struct Run {
    fresh: [Uuid; 4],
    until: Instant,
}

/// What a finished plan leaves for the reply.
struct Finished {
    before: Sight,
    sight: Sight,
    answers: Vec<Answered>,
    unsettled: Vec<NodeFailed>,
    note: Option<String>,
}

impl Engine {
    pub fn new(store: Arc<Store>, nodes: Arc<dyn Nodes>, site: Site) -> Engine {
        Engine { store, nodes, site, queues: Default::default(), trouble: None, settled: None }
    }

    /// Before that, this node does not know its own pool.
    pub fn not_before(self, settled: watch::Receiver<bool>) -> Engine {
        Engine { settled: Some(settled), ..self }
    }

    /// With more to say when the coordination service is out of reach.
    pub fn explained_by(self, trouble: Trouble) -> Engine {
        Engine { trouble: Some(trouble), ..self }
    }

    fn away(&self) -> Away {
        let time = self.store.away_for();
        let why = self.trouble.as_ref().filter(|_| time.is_some()).and_then(|why| why());
        Away { time, why }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Runs to the end; `reply` holds the echoed request and receives the results. Returns the
    /// text for op_errstr of a success, mostly empty.
    ///
    /// # Errors
    /// [`Refusal`]: the text for the user; nothing was changed, or the text says what was.
    pub async fn run(&self, op: &dyn Operation, reply: &mut Dict) -> Result<String, Refusal> {
        let queue = op.queue().map(|name| self.queue(&name));
        let run = Run {
            fresh: std::array::from_fn(|_| Uuid::new_v4()),
            until: Instant::now() + PATIENCE,
        };
        let _turn = match &queue {
            Some(queue) => Some(wait_turn(queue, run.until).await?),
            None => None,
        };
        let done = self.to_the_end(op, &run).await?;
        let outcome = Outcome {
            before: &done.before.view,
            view: &done.sight.view,
            site: &self.site,
            answers: &done.answers,
            fresh: &run.fresh,
            unsettled: &done.unsettled,
        };
        op.reply(&outcome, reply)?;
        Ok(done.note.unwrap_or_default())
    }

    fn queue(&self, name: &str) -> Arc<Mutex<()>> {
        let mut queues = self.queues.lock();
        queues.retain(|_, queue| queue.strong_count() > 0);
        if let Some(queue) = queues.get(name).and_then(Weak::upgrade) {
            return queue;
        }
        let queue = Arc::new(Mutex::new(()));
        queues.insert(name.to_owned(), Arc::downgrade(&queue));
        queue
    }

    async fn to_the_end(&self, op: &dyn Operation, run: &Run) -> Result<Finished, Refusal> {
        let mut newest = self.caught_up(run).await;
        loop {
            let mut sight = newest.take().unwrap_or_else(|| self.store.sight());
            // Reads may show all there is where nothing can be written any more.
            let away = sight.view.freshness == Freshness::Stale || self.store.away_for().is_some();
            if op.changes() && away {
                let back = self.current_again(run).await;
                sight = back.ok_or_else(|| unreachable(self.away()))?;
            }
            if self.waited_to_settle(&sight, run).await? {
                sight = self.store.sight();
            }
            refuse_without_quorum(op, &sight.view)?;
            let mut answers = Vec::new();
            let decided = self.decide(op, run, &sight, &mut answers).await;
            if decided.is_err() {
                self.unmark(run, &answers).await;
            }
            let commit = decided?;
            let Some(commit) = commit else {
                let before = sight.clone();
                return Ok(Finished { before, sight, answers, unsettled: vec![], note: None });
            };
            if let Some(hooks) = &commit.hooks {
                self.nodes.pre_hooks(hooks).await;
            }
            match self.store.commit(&sight, &commit.edits).await {
                Ok(revision) => return self.settle(run, revision, commit, sight, answers).await,
                Err(CommitError::Conflict) => {
                    self.unmark(run, &answers).await;
                    if Instant::now() >= run.until {
                        return Err(busy());
                    }
                    self.newer_than(&sight, run).await;
                }
                Err(error) => {
                    if matches!(error, CommitError::Refused(_)) {
                        self.unmark(run, &answers).await;
                    }
                    return Err(refused(&error, self.away()));
                }
            }
        }
    }

    /// Until the files are taken over, if `sight` is of a coordinator that does not know them yet;
    /// without the coordinator they are what there is.
    async fn waited_to_settle(&self, sight: &Sight, run: &Run) -> Result<bool, Refusal> {
        let Some(mut settled) = self.settled.clone() else { return Ok(false) };
        if *settled.borrow() || sight.view.revision == 0 {
            return Ok(false);
        }
        let until = run.until.min(Instant::now() + SETTLING);
        let done = settled.wait_for(|settled| *settled);
        match tokio::time::timeout_at(until, done).await {
            Ok(Ok(_)) => Ok(true),
            _ => Err(not_settled()),
        }
    }

    /// With what commands on other nodes have done. A service that cannot say is not waited for long.
    async fn caught_up(&self, run: &Run) -> Option<Sight> {
        let left = run.until.saturating_duration_since(Instant::now());
        self.store.caught_up(left.min(CATCH_UP)).await
    }

    /// A service that has just gone may be choosing another leader; one that is away longer is not
    /// waited for.
    async fn current_again(&self, run: &Run) -> Option<Sight> {
        let left = ELECTION.checked_sub(self.store.away_for().unwrap_or_default())?;
        let until = run.until.min(Instant::now() + left);
        let mut health = self.store.coordinator().health();
        let well = health.wait_for(|health| *health == Health::Ok);
        tokio::time::timeout_at(until, well).await.ok()?.ok()?;
        self.store.wait_for(Revision(0), until.saturating_duration_since(Instant::now())).await
    }

    /// Rounds of questions up to a change, or `None` where nothing is to change.
    async fn decide(
        &self,
        op: &dyn Operation,
        run: &Run,
        sight: &Sight,
        answers: &mut Vec<Answered>,
    ) -> Result<Option<Commit>, Refusal> {
        for _ in 0..ROUNDS_MAX {
            let cx = Cx { view: &sight.view, site: &self.site, answers, fresh: &run.fresh };
            match op.plan(&cx)? {
                Step::Done => return Ok(None),
                Step::Commit(commit) => return Ok(Some(*commit)),
                Step::Ask(asks) => {
                    let got = self.nodes.ask(&asks, run.until).await;
                    answers.extend(asks.into_iter().zip(got).map(|(ask, answer)| Answered {
                        node: ask.node,
                        question: ask.question,
                        answer,
                    }));
                }
            }
        }
        Err(Refusal::staged("Operation failed"))
    }

    /// Bricks were marked for a change that is certainly not made: they would be in the way of the
    /// next attempt. Marked by force, they may have been marked before.
    async fn unmark(&self, run: &Run, answers: &[Answered]) {
        let undo = |answered: &Answered| match &answered.question {
            Question::MarkBricks { volume_id, bricks, force: false } => {
                let (volume_id, bricks) = (*volume_id, bricks.clone());
                Some(Ask::new(answered.node, Question::UnmarkBricks { volume_id, bricks }))
            }
            _ => None,
        };
        let asks: Vec<Ask> = answers.iter().filter_map(undo).collect();
        for (node, why) in self.ask_after(run, &asks).await {
            tracing::warn!(?node, why, "marks of bricks that were not added stay");
        }
    }

    async fn settle(
        &self,
        run: &Run,
        revision: Revision,
        commit: Commit,
        before: Sight,
        answers: Vec<Answered>,
    ) -> Result<Finished, Refusal> {
        let then = commit.then.iter().map(|question| Ask::new(before.view.me, question.clone()));
        self.nodes.ask(&then.collect::<Vec<_>>(), run.until).await;
        let change = Change {
            revision,
            volumes: &commit.settle,
            concerned: Concerned::by(&commit.edits, &before.view),
            first: &commit.first,
            hooks: commit.hooks.as_ref(),
        };
        let unsettled = self.nodes.settle(&change, run.until).await;
        let left = run.until.saturating_duration_since(Instant::now());
        let sight = self.store.wait_for(revision, left).await.unwrap_or_else(|| self.store.sight());
        if !unsettled.is_empty() && !commit.if_unsettled.is_empty() {
            self.take_back(run, &sight, &commit).await;
            return Err(Refusal::staged(unsettled_text(&sight.view, &unsettled)));
        }
        if let Some(hooks) = &commit.hooks {
            self.nodes.post_hooks(hooks);
        }
        Ok(Finished { before, sight, answers, unsettled, note: commit.note })
    }

    async fn ask_after(&self, run: &Run, asks: &[Ask]) -> Vec<NodeFailed> {
        let answers = self.nodes.ask(asks, run.until).await;
        let failed = |(ask, answer): (&Ask, Answer)| match answer {
            Answer::Refused { text, .. } | Answer::Silent(text) => Some((ask.node, text)),
            _ => None,
        };
        asks.iter().zip(answers).filter_map(failed).collect()
    }

    /// Commits the plan's way back. Losing a race here means somebody has changed the volume
    /// since, and theirs is the newer will.
    async fn take_back(&self, run: &Run, sight: &Sight, commit: &Commit) {
        match self.store.commit(sight, &commit.if_unsettled).await {
            Ok(revision) => {
                let change = Change {
                    revision,
                    volumes: &commit.settle,
                    concerned: Concerned::by(&commit.if_unsettled, &sight.view),
                    first: &[],
                    hooks: None,
                };
                self.nodes.settle(&change, run.until).await;
                self.ask_after(run, &commit.after_take_back).await;
            }
            Err(error) => {
                tracing::warn!(%error, "could not take back a change that did not settle")
            }
        }
    }

    /// Waits for the image that made a commit fail; its event may still be on the way. Not for long:
    /// a conflict that no image explains is tried again.
    async fn newer_than(&self, sight: &Sight, run: &Run) {
        let mut sights = self.store.subscribe();
        let seen = sight.view.revision;
        let newer = sights.wait_for(|s| s.view.revision > seen);
        let until = run.until.min(Instant::now() + NEWER_BOUND);
        let _either_way_the_plan_is_made_anew = tokio::time::timeout_at(until, newer).await;
    }
}

async fn wait_turn(
    queue: &Arc<Mutex<()>>,
    until: Instant,
) -> Result<tokio::sync::OwnedMutexGuard<()>, Refusal> {
    tokio::time::timeout_at(until, queue.clone().lock_owned()).await.map_err(|_| busy())
}

//! Keeps the pool informed of how tasks end on this node, and its records whole.
//!
//! Listens to the rebalance processes (their reports and their ends) and writes what `closing` finds
//! due. A report that was lost costs no more than a wrong cause: a process that is gone has ended.

use super::closing::{Seen, due};
use super::rewriting;
use crate::model::{Counts, DefragStatus, NodeId, Volume, VolumeName};
use crate::ops::{Processes, moving};
use crate::rpc::Dict;
use crate::store::{CommitError, Edit, Freshness, Store, View};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// The last report and the end of its process reach us on different ways.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Pause after a change that was not made; a newer image comes sooner as a rule.
const RETRY: Duration = Duration::from_secs(1);
/// The image shows our own change within milliseconds.
const OWN_CHANGE: Duration = Duration::from_secs(5);
/// Records in one change, well below the limits of every coordinator.
const EDITS_MAX: usize = 20;

pub struct Keeper {
    store: Arc<Store>,
    processes: Arc<dyn Processes>,
    told: HashMap<VolumeName, Told>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("told", &self.told).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Told {
    task: Uuid,
    status: DefragStatus,
    counts: Counts,
    gone_since: Option<Instant>,
    /// What it said may have been said to an earlier daemon.
    adopted: bool,
}

impl Told {
    fn is_gone(&self) -> bool {
        self.gone_since.is_some_and(|since| since.elapsed() >= LAST_WORDS)
    }
}

impl Keeper {
    pub fn new(store: Arc<Store>, processes: Arc<dyn Processes>) -> Keeper {
        Keeper { store, processes, told: HashMap::new() }
    }

    /// Until the process of the daemon ends. `reports`: what rebalance processes say.
    pub async fn run(mut self, mut reports: mpsc::Receiver<Dict>) {
        let (mut sights, mut changes) = (self.store.subscribe(), self.processes.changes());
        loop {
            self.look();
            let again = self.activate().await;
            let later = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                report = reports.recv() => match report {
                    Some(report) => {
                        self.look();
                        self.hear(&report).await;
                    }
                    None => return,
                },
                changed = sights.changed() => if changed.is_err() { return },
                changed = changes.changed() => if changed.is_err() { return },
                () = later => {}
            }
        }
    }

    /// Takes in which processes run, and for which tasks.
    fn look(&mut self) {
        let running = self.processes.rebalances();
        self.told.retain(|name, _| running.iter().any(|(known, _)| known == name));
        for (name, observed) in running {
            let fresh = Told {
                task: observed.task,
                status: DefragStatus::Started,
                counts: Counts::default(),
                gone_since: None,
                adopted: observed.adopted,
            };
            let told = self.told.entry(name).or_insert(fresh);
            if told.task != observed.task {
                *told = fresh;
            }
            told.adopted = observed.adopted;
            match observed.process.is_some() || observed.launching {
                true => told.gone_since = None,
                false => drop(told.gone_since.get_or_insert_with(Instant::now)),
            }
        }
    }

    /// `volname` is the id that the process fetched its volfile with.
    async fn hear(&mut self, report: &Dict) {
        let name = report
            .str("volname")
            .and_then(|id| VolumeName::parse(id.strip_prefix("rebalance/").unwrap_or(id)));
        let told = name.as_ref().and_then(|name| self.told.get_mut(name));
        let (Some(name), Some(told)) = (&name, told) else {
            return tracing::debug!("a report of a rebalance that is not known");
        };
        let said = moving(report);
        let me = self.store.view().me;
        told.counts = self.processes.count(me, name, told.task, Some(said.counts())).await;
        told.status = DefragStatus::from_code(said.status).unwrap_or(told.status);
        tracing::info!(volume = %name, status = ?told.status, "the rebalance process reports");
    }

    fn seen(&self, volume: &Volume) -> Option<Seen> {
        let told = self.told.get(&volume.name)?;
        let Told { task, status, counts, .. } = *told;
        Some(Seen { task, status, counts, is_gone: told.is_gone() && !told.adopted })
    }

    /// How a task ended that an earlier daemon's process worked on is not known: it goes on where
    /// that one was, which takes no longer than looking if nothing is left to do.
    async fn resume(&self, view: &Arc<View>) {
        for (name, told) in &self.told {
            let task = view.volumes.get(name).and_then(|volume| volume.task.as_ref());
            let due = task.is_some_and(|task| task.id == told.task && task.is_running())
                && !view.progress.contains_key(&(told.task, view.me));
            if due && told.adopted && told.is_gone() && !told.status.is_final() {
                tracing::info!(volume = %name, "the rebalance process left no word; once more");
                if let Err(error) = self.processes.resume_rebalance(view, name).await {
                    tracing::error!(volume = %name, error, "rebalance process");
                }
            }
        }
    }

    /// Of a process that has gone without a word what it said on the way counts.
    async fn recall(&mut self, me: NodeId) {
        let silent = |told: &Told| told.is_gone() && !told.status.is_final();
        for (name, told) in self.told.iter_mut().filter(|(_, told)| silent(told)) {
            told.counts = self.processes.count(me, name, told.task, None).await;
        }
    }

    /// Writes what is due. When to look again, if not woken before.
    async fn activate(&mut self) -> Option<Instant> {
        let sight = self.store.sight();
        if sight.view.freshness == Freshness::Stale {
            return None;
        }
        self.resume(&sight.view).await;
        self.recall(sight.view.me).await;
        let mut edits: Vec<Edit> = due(&sight.view, |volume| self.seen(volume));
        if edits.is_empty() {
            edits = rewriting::due(&sight, EDITS_MAX);
        }
        let Some(some) = edits.chunks(EDITS_MAX).next() else { return self.next_look() };
        match self.store.commit(&sight, some).await {
            Ok(revision) => {
                let _shown_or_late = self.store.wait_for(revision, OWN_CHANGE).await;
                Some(Instant::now())
            }
            Err(CommitError::Conflict) => Some(Instant::now() + RETRY),
            Err(error) => {
                tracing::warn!(%error, "the end of a task is not written yet");
                Some(Instant::now() + RETRY)
            }
        }
    }

    /// When the next process that ended without last words is given up.
    fn next_look(&self) -> Option<Instant> {
        let due = |told: &Told| Some(told.gone_since? + LAST_WORDS);
        self.told.values().filter_map(due).filter(|at| *at > Instant::now()).min()
    }
}

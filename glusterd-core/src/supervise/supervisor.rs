//! The supervisor as the rest of the daemon sees it: bring processes in line, look, call.

use super::launch::Settings;
use super::line::{LineCall, Lines};
use super::ports::Ports;
use super::process_work::LAUNCH_BOUND;
use super::rebalance::RebalanceRecord;
use super::record::{BrickKey, BrickRecords, Running, State};
use super::service::{KINDS, ServiceRecord};
use super::service_work::ServiceKey;
use super::serving::Serving;
use super::shd::{self, ShdRecord};
use super::tally::Tally;
use crate::host::Host;
use crate::model::{Counts, NodeId, Volume, VolumeName};
use crate::rpc::Dict;
use crate::rpc::brick::{BrickAnswer, BrickProc};
use crate::rpc::client::CallError;
use crate::store::{Freshness, View};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Launchers at a time: each is a program start and a handshake with us, mostly waiting.
const LAUNCHES_MAX: usize = 8;
/// Stock waits this long for an answer of a brick (rpc-clnt call timeout).
const CALL_BOUND: Duration = Duration::from_secs(100);

/// What could not be brought in line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvergeReport {
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `None`: a daemon that serves several.
    pub volume: Option<VolumeName>,
    /// For the log.
    pub text: String,
}

/// A local brick as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedBrick {
    pub volume: VolumeName,
    pub path: String,
    /// While it runs.
    pub process: Option<Running>,
    /// Clients can ask for its port.
    pub port_registered: bool,
}

/// A row of `volume status` below the bricks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedService {
    /// `glustershd`, `quotad`, ...
    pub name: &'static str,
    pub title: &'static str,
    pub process: Option<Running>,
}

/// What works, or worked, on a volume's task here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRebalance {
    pub task: Uuid,
    /// While it runs.
    pub process: Option<Running>,
    /// It was started and has not been seen yet.
    pub launching: bool,
    /// An earlier daemon started it: its last words may have gone there.
    pub adopted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CallFailed {
    #[error("{0} does not run")]
    NotRunning(String),
    #[error("the call into {who} failed")]
    Call {
        who: String,
        #[source]
        source: CallError,
    },
}

/// Owns this node's processes as far as they are wanted or not. Clones share it.
#[derive(Clone, Debug)]
pub struct Supervisor {
    core: Arc<Core>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub host: Arc<dyn Host>,
    pub lines: Arc<dyn Lines>,
    pub ports: Ports,
    pub settings: Settings,
    pub bricks: Mutex<BrickRecords>,
    pub services: Mutex<BTreeMap<ServiceKey, ServiceRecord>>,
    pub shd: Mutex<Option<ShdRecord>>,
    pub rebalances: Mutex<BTreeMap<VolumeName, RebalanceRecord>>,
    /// Held while one is written down.
    pub tallies: tokio::sync::Mutex<BTreeMap<VolumeName, Tally>>,
    /// Whether processes of volumes that are gone have been looked for.
    pub swept: AtomicBool,
    pub launching: Semaphore,
    pub launching_ports: Mutex<BTreeSet<u16>>,
    /// Held while a brick looks for a process to share.
    pub multiplexing: tokio::sync::Mutex<()>,
    pub serving: Serving,
    pub watched: Mutex<HashSet<Running>>,
    pub tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
    locks: Mutex<HashMap<VolumeName, Weak<tokio::sync::Mutex<()>>>>,
    changed: watch::Sender<u64>,
}

impl Core {
    pub(super) fn volume_lock(&self, name: &VolumeName) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(name.clone(), Arc::downgrade(&lock));
        lock
    }

    pub(super) fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Supervisor {
    /// Must be called inside a runtime. Nothing runs until the first [`Supervisor::converge`].
    pub fn new(
        host: Arc<dyn Host>,
        lines: Arc<dyn Lines>,
        ports: Ports,
        settings: Settings,
    ) -> Supervisor {
        let core = Arc::new(Core {
            host,
            lines,
            ports,
            settings,
            bricks: Mutex::default(),
            services: Mutex::default(),
            shd: Mutex::default(),
            rebalances: Mutex::default(),
            tallies: tokio::sync::Mutex::default(),
            swept: AtomicBool::new(false),
            launching: Semaphore::new(LAUNCHES_MAX),
            launching_ports: Mutex::default(),
            multiplexing: tokio::sync::Mutex::default(),
            serving: Serving::default(),
            watched: Mutex::default(),
            tasks: Mutex::default(),
            locks: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let follower = tokio::spawn(Core::follow_ports(Arc::downgrade(&core)));
        core.tasks.lock().push(AbortOnDropHandle::new(follower));
        Supervisor { core }
    }

    /// Starts and stops processes until they match `view`, for `volumes` or, if empty, for all that
    /// are in the view or known here.
    ///
    /// Volfiles must be on disk, and GETSPEC, SIGNIN and the brick's volfile-id served, before this is
    /// called. Bounded by the launches and stops of one volume; volumes go side by side. Calls for the
    /// same volume take turns; later ones must come with the same or a newer view.
    pub async fn converge(&self, view: Arc<View>, volumes: &[VolumeName]) -> ConvergeReport {
        if view.freshness == Freshness::Current && !self.core.swept.swap(true, Ordering::Relaxed) {
            self.core.sweep(&view).await;
        }
        let names: BTreeSet<VolumeName> = match volumes {
            [] => {
                let known = self.core.bricks.lock();
                let moving = self.core.rebalances.lock();
                let known = known.keys().map(|key| &key.volume).chain(moving.keys());
                view.volumes.keys().chain(known).cloned().collect()
            }
            some => some.iter().cloned().collect(),
        };
        let each = names.into_iter().map(async |name| {
            let mut failures = self.core.converge_bricks(&view, &name).await;
            failures.extend(self.core.converge_rebalance(&view, &name).await);
            failures.into_iter().map(|text| Failure { volume: Some(name.clone()), text }).collect()
        });
        let failures: Vec<Vec<Failure>> = futures_util::future::join_all(each).await;
        let mut failures = failures.concat();
        failures.extend(self.core.serve(view).await.iter().cloned());
        ConvergeReport { failures }
    }

    /// Every local brick this daemon has acted on.
    pub fn bricks(&self) -> Vec<ObservedBrick> {
        let observed = |(key, state): (&BrickKey, &State)| {
            let process = state.running().cloned();
            let port_registered = process
                .as_ref()
                .is_some_and(|process| self.core.ports.carries(&key.path, process.port));
            let BrickKey { volume, path } = key.clone();
            ObservedBrick { volume, path, process, port_registered }
        };
        self.core.bricks.lock().iter().map(|(key, record)| observed((key, &record.state))).collect()
    }

    /// The running process of one brick.
    pub fn brick(&self, volume: &VolumeName, path: &str) -> Option<Running> {
        let bricks = self.core.bricks.lock();
        bricks.get(&BrickKey::new(volume, path))?.state.running().cloned()
    }

    /// The services that `volume status` lists for this volume, in its order.
    pub fn services(&self, volume: &Volume) -> Vec<ObservedService> {
        let mut rows = Vec::new();
        let services = self.core.services.lock();
        for kind in KINDS {
            let Some(title) = kind.title else { continue };
            if volume.is_started() && (kind.needs)(volume) {
                let own = (kind.name, volume.name.as_str().to_owned());
                let record =
                    services.get(&own).or_else(|| services.get(&(kind.name, String::new())));
                let process = record.and_then(|record| record.state.running().cloned());
                rows.push(ObservedService { name: kind.name, title, process });
            }
            if kind.name == "snapd" && shd::is_served(volume) {
                let process = self.shd_of(&volume.name);
                rows.push(ObservedService {
                    name: "glustershd",
                    title: "Self-heal Daemon",
                    process,
                });
            }
        }
        rows
    }

    fn shd_of(&self, volume: &VolumeName) -> Option<Running> {
        let shd = self.core.shd.lock();
        let record = shd.as_ref().filter(|record| record.served.contains_key(volume))?;
        record.state.running().cloned()
    }

    /// Every rebalance process, running or ended, that this daemon has acted on.
    pub fn rebalances(&self) -> Vec<(VolumeName, ObservedRebalance)> {
        let names: Vec<VolumeName> = self.core.rebalances.lock().keys().cloned().collect();
        names.into_iter().filter_map(|name| Some((name.clone(), self.rebalance(&name)?))).collect()
    }

    /// The rebalance process of a volume, running or ended.
    pub fn rebalance(&self, volume: &VolumeName) -> Option<ObservedRebalance> {
        let record = self.core.rebalances.lock().get(volume)?.clone();
        let process = record.state.running().cloned();
        let RebalanceRecord { task, launching, adopted, .. } = record;
        Some(ObservedRebalance { task, process, launching, adopted })
    }

    /// Stops one brick of a started volume; it stays down until its epoch grows, or the daemon is
    /// a new one.
    ///
    /// # Errors
    /// A text for the log.
    pub async fn retire_brick(
        &self,
        view: &View,
        volume: &VolumeName,
        path: &str,
    ) -> Result<(), String> {
        self.core.retire_brick(view, &BrickKey::new(volume, path)).await
    }

    /// Starts the process of a running task once more, if the one that was found here is gone.
    ///
    /// # Errors
    /// A text for the log.
    pub async fn resume_rebalance(
        &self,
        view: &Arc<View>,
        volume: &VolumeName,
    ) -> Result<(), String> {
        self.core.resume_rebalance(view, volume).await
    }

    /// Takes in what the process of a task says, if it said something, and returns what this node
    /// has counted for the task over all its processes. That is kept and never becomes less.
    pub async fn count(
        &self,
        me: NodeId,
        volume: &VolumeName,
        task: Uuid,
        said: Option<Counts>,
    ) -> Counts {
        let heard = |tally: Tally| said.map_or(tally, |said| tally.heard(said));
        self.core.tally(me, volume, task, heard).await
    }

    /// The running process of a service: `glustershd`, `rebalance`, or a name of the table. Volume daemons are
    /// looked up by volume.
    pub fn service(&self, name: &str, volume: &VolumeName) -> Option<Running> {
        match name {
            "glustershd" => return self.shd_of(volume),
            "rebalance" => return self.rebalance(volume)?.process,
            _ => {}
        }
        let kind = KINDS.iter().find(|kind| kind.name == name)?;
        let services = self.core.services.lock();
        let own = services.get(&(kind.name, volume.as_str().to_owned()));
        let record = own.or_else(|| services.get(&(kind.name, String::new())))?;
        record.state.running().cloned()
    }

    /// # Errors
    /// [`CallFailed`]; a brick's "no" is an answer.
    pub async fn call_brick(
        &self,
        volume: &VolumeName,
        path: &str,
        procedure: BrickProc,
        name: &str,
        input: &Dict,
    ) -> Result<BrickAnswer, CallFailed> {
        self.call(self.brick(volume, path), path, procedure, name, input).await
    }

    /// Calls `glustershd`, `quotad`, `bitd`, `scrub`, ...
    ///
    /// # Errors
    /// [`CallFailed`].
    pub async fn call_service(
        &self,
        service: &str,
        volume: &VolumeName,
        procedure: BrickProc,
        name: &str,
        input: &Dict,
    ) -> Result<BrickAnswer, CallFailed> {
        self.call(self.service(service, volume), service, procedure, name, input).await
    }

    async fn call(
        &self,
        process: Option<Running>,
        who: &str,
        procedure: BrickProc,
        name: &str,
        input: &Dict,
    ) -> Result<BrickAnswer, CallFailed> {
        let process = process.ok_or_else(|| CallFailed::NotRunning(who.to_owned()))?;
        let call = LineCall::new(procedure, name, input.clone(), CALL_BOUND);
        let answer = self.core.lines.call(&process.socket, call).await;
        answer.map_err(|source| CallFailed::Call { who: who.to_owned(), source })
    }

    /// Counts changes of what runs.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.changed.subscribe()
    }

    /// The longest that bringing one brick up may take.
    pub fn launch_bound() -> Duration {
        LAUNCH_BOUND
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;

//! Acts on the moves of `rebalance`.

use super::launch::Cx;
use super::line::LineCall;
use super::process_work::LAUNCH_BOUND;
use super::rebalance::{self, COMMAND_STOP, RebalanceMove, RebalanceRecord};
use super::record::{Running, State};
use super::supervisor::Core;
use super::tally::Tally;
use crate::host::Exit;
use crate::model::{Task, Volume, VolumeName};
use crate::rpc::Dict;
use crate::rpc::brick::BrickProc;
use crate::store::View;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// It finishes the file it moves before it ends.
const STOP_BOUND: Duration = Duration::from_secs(10);

impl Core {
    pub(super) async fn converge_rebalance(
        self: &Arc<Core>,
        view: &Arc<View>,
        name: &VolumeName,
    ) -> Vec<String> {
        let lock = self.volume_lock(name);
        let _turn = lock.lock().await;
        let volume = view.volumes.get(name);
        let moves = rebalance::decide(
            volume.map(AsRef::as_ref),
            view.me,
            self.rebalances.lock().get(name),
            |task| view.progress.contains_key(&(task, view.me)),
        );
        let mut failures = Vec::new();
        for step in moves {
            let outcome = match (step, volume) {
                (RebalanceMove::Start, Some(volume)) => self.start_rebalance(view, volume).await,
                (RebalanceMove::Start, None) => Ok(()),
                (RebalanceMove::End, _) => self.end_rebalance(view, name).await,
                (RebalanceMove::Tell, Some(volume)) => self.tell_rebalance(view, volume).await,
                (RebalanceMove::Tell, None) => Ok(()),
                (RebalanceMove::Forget, _) => {
                    self.rebalances.lock().remove(name);
                    self.tallies.lock().await.remove(name);
                    Ok(())
                }
            };
            failures.extend(outcome.err());
        }
        failures
    }

    async fn start_rebalance(
        self: &Arc<Core>,
        view: &Arc<View>,
        volume: &Volume,
    ) -> Result<(), String> {
        let Some(task) = rebalance::task_of(volume, view.me) else { return Ok(()) };
        // Known before it runs: a short one says that it is through before we have seen its number.
        let launching = RebalanceRecord {
            task: task.id,
            state: State::Stopped,
            told: false,
            launching: true,
            adopted: false,
        };
        self.rebalances.lock().insert(volume.name.clone(), launching.clone());
        self.tell();
        let left = self.running_rebalance(view, &volume.name).await;
        let adopted = left.is_some();
        let found = match left {
            Some(running) => Ok(Some(running)),
            None => self.launch_rebalance(view, volume, task).await,
        };
        let state = match &found {
            Ok(Some(running)) => State::Running(running.clone()),
            Ok(None) | Err(_) => State::Dead,
        };
        let record = RebalanceRecord { state, launching: false, adopted, ..launching };
        self.rebalances.lock().insert(volume.name.clone(), record);
        self.tell();
        if let Some(running) = found? {
            self.watch(running);
        }
        Ok(())
    }

    pub(super) async fn resume_rebalance(
        self: &Arc<Core>,
        view: &Arc<View>,
        name: &VolumeName,
    ) -> Result<(), String> {
        let lock = self.volume_lock(name);
        let _turn = lock.lock().await;
        let is_left = self.rebalances.lock().get(name).is_some_and(|record| {
            record.adopted && !record.launching && record.state.running().is_none()
        });
        match view.volumes.get(name) {
            Some(volume) if is_left => self.start_rebalance(view, volume).await,
            _ => Ok(()),
        }
    }

    /// The process, or `None` when it is through already: with few files it takes less time than
    /// a look at it.
    async fn launch_rebalance(
        &self,
        view: &View,
        volume: &Volume,
        task: &Task,
    ) -> Result<Option<Running>, String> {
        let (name, dirs) = (&volume.name, self.host.dirs());
        let folder = format!("{}/rebalance", dirs.volume(name));
        self.host.make_dirs(&folder).await.map_err(|err| format!("{folder}: {err}"))?;
        self.unlink(&dirs.rebalance_pid_file(name, view.me)).await;
        self.tally(view.me, name, task.id, Tally::next_process).await;
        let cx = Cx { settings: &self.settings, dirs, view };
        let command = rebalance::command(cx, volume, task);
        let _place = self.launching.acquire().await.expect("never closed");
        let exit = self.host.run(&command, LAUNCH_BOUND).await;
        match exit.map_err(|err| format!("{}: {err}", command.program))? {
            Exit::Code(0) => Ok(self.running_rebalance(view, name).await),
            exit => Err(format!("the rebalance process of {name} did not start: {exit:?}")),
        }
    }

    async fn running_rebalance(&self, view: &View, name: &VolumeName) -> Option<Running> {
        let dirs = self.host.dirs();
        let process = self.host.process_of(&dirs.rebalance_pid_file(name, view.me)).await?;
        let socket = dirs.rebalance_socket(name, view.me);
        process.has(&socket).then_some(Running { pid: process.pid, port: 0, socket })
    }

    /// Asked to stop between two files, and left alone then.
    async fn tell_rebalance(self: &Arc<Core>, view: &View, volume: &Volume) -> Result<(), String> {
        let Some(running) = self.running_rebalance(view, &volume.name).await else {
            return Ok(());
        };
        let task = volume.task.as_ref().map_or(Uuid::nil(), |task| task.id);
        {
            let mut records = self.rebalances.lock();
            let state = State::Running(running.clone());
            let found =
                RebalanceRecord { task, state, told: true, launching: false, adopted: true };
            records.entry(volume.name.clone()).or_insert(found).told = true;
        }
        self.watch(running.clone());
        match self.call_to_stop(&running, &volume.name).await {
            true => Ok(()),
            // It does not listen: it is about to end, or hangs.
            false if self.host.exited(&running.reference(), Some(STOP_BOUND)).await => Ok(()),
            false => self.end_process(&running.reference()).await,
        }
    }

    async fn call_to_stop(&self, running: &Running, name: &VolumeName) -> bool {
        let mut input = Dict::new();
        input.set_int("rebalance-command", COMMAND_STOP);
        let dht = format!("{name}-dht");
        let call = LineCall::new(BrickProc::XLATOR_DEFRAG, &dht, input, STOP_BOUND);
        self.lines.call(&running.socket, call).await.is_ok()
    }

    /// Asked to end first: it stops between two files.
    async fn end_rebalance(&self, view: &View, name: &VolumeName) -> Result<(), String> {
        let known = {
            let mut records = self.rebalances.lock();
            let record = records.get_mut(name);
            record.and_then(|record| match std::mem::replace(&mut record.state, State::Stopped) {
                State::Running(running) => Some(running),
                _ => None,
            })
        };
        let running = match known {
            Some(running) => Some(running),
            None => self.running_rebalance(view, name).await,
        };
        let Some(running) = running else { return Ok(()) };
        let told = self.call_to_stop(&running, name).await;
        if !(told && self.host.exited(&running.reference(), Some(STOP_BOUND)).await) {
            self.end_process(&running.reference()).await?;
        }
        self.unlink(&self.host.dirs().rebalance_pid_file(name, view.me)).await;
        self.tell();
        Ok(())
    }

    pub(super) fn rebalance_ended(&self, process: &Running) {
        for (name, record) in self.rebalances.lock().iter_mut() {
            if record.state.running() == Some(process) {
                tracing::info!(volume = %name, pid = process.pid, "rebalance process ended");
                record.state = State::Dead;
            }
        }
    }
}

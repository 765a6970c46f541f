//! Acts on the moves of `brick`: adopts, attaches, spawns, stops; sees processes end.
//!
//! Every wait is bounded. A volume's moves run under its own lock, launches of all volumes share a
//! small number of places. Volfiles are on disk before, and served while, a launcher is waited for.

use super::brick::{self, Move};
use super::launch::Cx;
use super::line::{Input, LineCall};
use super::ports::PortEvent;
use super::record::{BrickKey, BrickRecord, Running, State, bricks_of};
use super::supervisor::Core;
use crate::host::{Process, VolumeIdCheck};
use crate::model::{Brick, Volume, VolumeName};
use crate::rpc::Dict;
use crate::rpc::brick::BrickProc;
use crate::rpc::client::CallError;
use crate::store::View;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

const TERMINATE_BOUND: Duration = Duration::from_secs(10);
/// The process loads a graph before it answers.
const ATTACH_BOUND: Duration = Duration::from_secs(30);
/// Stock's, one second apart: a process just started may not listen yet.
const ATTACH_TRIES: usize = 15;

impl Core {
    /// Brings the bricks of one volume in line. Returns what failed.
    pub(super) async fn converge_bricks(
        self: &Arc<Core>,
        view: &Arc<View>,
        name: &VolumeName,
    ) -> Vec<String> {
        let lock = self.volume_lock(name);
        let _turn = lock.lock().await;
        let moves = brick::plan(view, &view.blocked(), &self.bricks.lock(), name);
        let (starts, others): (Vec<_>, Vec<_>) =
            moves.into_iter().partition(|step| matches!(step, Move::Start(_)));
        let mut failures = Vec::new();
        // Stops side by side as well: each waits for a process to end.
        let stops = others.into_iter().map(|step| self.perform(view, step));
        failures.extend(futures_util::future::join_all(stops).await);
        if brick::multiplexed(view) {
            // One after another: the second brick goes into the process of the first.
            for step in starts {
                let _one = self.multiplexing.lock().await;
                failures.push(self.perform(view, step).await);
            }
        } else {
            let starts = starts.into_iter().map(|step| self.perform(view, step));
            failures.extend(futures_util::future::join_all(starts).await);
        }
        failures.into_iter().filter_map(Result::err).collect()
    }

    async fn perform(self: &Arc<Core>, view: &Arc<View>, step: Move) -> Result<(), String> {
        match step {
            Move::Forget(key) => {
                self.bricks.lock().remove(&key);
                Ok(())
            }
            Move::Renew(key, epoch) => {
                if let Some(record) = self.bricks.lock().get_mut(&key) {
                    record.epoch = epoch;
                }
                Ok(())
            }
            Move::Stop(key) => self.stop_brick(view, &key).await,
            Move::Start(key) => {
                let volume = view.volumes.get(&key.volume).cloned();
                let found = volume.as_ref().and_then(|volume| {
                    volume.local_bricks(view.me).find(|(_, brick)| brick.path == key.path)
                });
                let (Some(volume), Some((_, brick))) = (&volume, found) else { return Ok(()) };
                let outcome = self.start_brick(view, volume, brick, &key).await;
                if let Err(why) = &outcome {
                    tracing::error!(volume = %key.volume, path = key.path, why, "brick not started");
                    self.record_brick(volume, brick, &key, State::Dead);
                }
                outcome
            }
        }
    }

    fn record_brick(&self, volume: &Volume, brick: &Brick, key: &BrickKey, state: State) {
        let record = BrickRecord {
            volume_id: volume.id,
            pid_file: self.host.dirs().brick_pid_file(&volume.name, brick),
            epoch: volume.epoch_of(brick),
            state,
        };
        self.bricks.lock().insert(key.clone(), record);
        self.tell();
    }

    /// Adopts, attaches or spawns; on success the record says Running.
    async fn start_brick(
        self: &Arc<Core>,
        view: &Arc<View>,
        volume: &Arc<Volume>,
        brick: &Brick,
        key: &BrickKey,
    ) -> Result<(), String> {
        match self.host.check_volume_id(&brick.path, volume.id.0.as_bytes()).await {
            VolumeIdCheck::Ours => {}
            VolumeIdCheck::Missing(why) | VolumeIdCheck::Other(why) => return Err(why),
        }
        let pid_file = self.host.dirs().brick_pid_file(&volume.name, brick);
        let running = match self.running_brick(&pid_file, brick).await {
            Some((running, _)) => running,
            None => {
                let dir = self.host.dirs().volume_run(&volume.name);
                self.host.make_dirs(&dir).await.map_err(|err| format!("{dir}: {err}"))?;
                match self.attach_brick(view, volume, brick, &pid_file).await {
                    Some(running) => running,
                    None => self.spawn_brick(view, volume, brick, &pid_file).await?,
                }
            }
        };
        if let Err(err) = self.ports.enter(&brick.path, running.port) {
            tracing::warn!(path = brick.path, %err, "clients will not find a brick");
        }
        self.record_brick(volume, brick, key, State::Running(running.clone()));
        self.watch(running);
        Ok(())
    }

    /// The process that runs this brick already, from before this daemon started.
    async fn running_brick(&self, pid_file: &str, brick: &Brick) -> Option<(Running, Process)> {
        let process = self.host.process_of(pid_file).await?;
        let open = self.host.holds_open(process.pid, &brick.path).await;
        if !brick::is_adoptable(&process, pid_file, &brick.path, open) {
            return None;
        }
        let running = brick::adopted(&process)?;
        tracing::info!(path = brick.path, pid = running.pid, "discovered already-running brick");
        Some((running, process))
    }

    /// Puts the brick into a process that runs others. `None`: it needs one of its own.
    async fn attach_brick(
        &self,
        view: &View,
        volume: &Volume,
        brick: &Brick,
        pid_file: &str,
    ) -> Option<Running> {
        let (_, running) = brick::companion(view, volume, &brick.path, &self.bricks.lock())?;
        let volfile = self.host.dirs().brick_volfile(&volume.name, brick);
        match self.attach(&running, BrickProc::ATTACH, &volfile).await {
            Ok(()) => {}
            Err(why) => {
                tracing::warn!(path = brick.path, why, "attach failed, starting a process");
                return None;
            }
        }
        // What makes the brick look alive to tools that read pid files.
        let text = format!("{}\n", running.pid);
        if let Err(err) = self.host.write(pid_file, text.as_bytes()).await {
            tracing::warn!(pid_file, %err, "an attached brick has no pid file");
        }
        Some(running)
    }

    async fn attach(
        &self,
        process: &Running,
        procedure: BrickProc,
        name: &str,
    ) -> Result<(), String> {
        for _ in 0..ATTACH_TRIES {
            let call = LineCall::new(procedure, name, Dict::new(), ATTACH_BOUND);
            match self.lines.call(&process.socket, call).await {
                Ok(answer) if answer.op_ret == 0 => return Ok(()),
                Ok(answer) => return Err(format!("the process answers {}", answer.op_ret)),
                Err(CallError::Connect(_)) => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(err) => return Err(err.to_string()),
            }
        }
        Err("the process does not listen".into())
    }

    async fn spawn_brick(
        self: &Arc<Core>,
        view: &Arc<View>,
        volume: &Volume,
        brick: &Brick,
        pid_file: &str,
    ) -> Result<Running, String> {
        let dirs = self.host.dirs();
        let cx = Cx { settings: &self.settings, dirs, view };
        let make = |port| brick::command(cx, volume, brick, port);
        let (process, port) = self.launch_on_port(make, pid_file).await?;
        let socket = dirs.brick_socket(&volume.name, brick);
        Ok(Running { pid: process.pid, port, socket })
    }

    async fn stop_brick(self: &Arc<Core>, view: &View, key: &BrickKey) -> Result<(), String> {
        let known = self.bricks.lock().get(key).cloned();
        let Some(record) = known else { return self.stop_stray(view, key).await };
        if let Some(running) = record.state.running() {
            // Recorded first: whoever sees the process end now knows that it was meant to.
            let others = {
                let mut bricks = self.bricks.lock();
                if let Some(record) = bricks.get_mut(key) {
                    record.state = State::Stopped;
                }
                bricks_of(&bricks, running)
            };
            self.ports.purge(&key.path, running.port);
            let outcome = self.end_brick(view, key, running, others).await;
            if outcome.is_err() {
                if let Some(record) = self.bricks.lock().get_mut(key) {
                    record.state = record_after_failed_stop(&record.state, running);
                }
                return outcome;
            }
        } else if let Some(record) = self.bricks.lock().get_mut(key) {
            record.state = State::Stopped;
        }
        self.tell();
        self.unlink(&record.pid_file).await;
        Ok(())
    }

    pub(super) async fn retire_brick(
        self: &Arc<Core>,
        view: &View,
        key: &BrickKey,
    ) -> Result<(), String> {
        let lock = self.volume_lock(&key.volume);
        let _turn = lock.lock().await;
        self.stop_brick(view, key).await?;
        if let Some(record) = self.bricks.lock().get_mut(key) {
            record.state = State::Dead;
        }
        Ok(())
    }

    /// Ends one brick: the process, or in a shared process this brick alone.
    async fn end_brick(
        &self,
        view: &View,
        key: &BrickKey,
        running: &Running,
        others: usize,
    ) -> Result<(), String> {
        let graceful = brick::graceful(view);
        if others > 0 || graceful {
            match self.terminate(key, running, graceful).await {
                Ok(()) if others > 0 => return Ok(()),
                Ok(()) if self.host.exited(&running.reference(), Some(TERMINATE_BOUND)).await => {
                    return Ok(());
                }
                Ok(()) => {}
                Err(why) if others > 0 => return Err(why),
                Err(why) => tracing::warn!(path = key.path, why, "no graceful end"),
            }
        }
        self.end_process(&running.reference()).await
    }

    async fn terminate(
        &self,
        key: &BrickKey,
        process: &Running,
        graceful: bool,
    ) -> Result<(), String> {
        let mut dict = Dict::new();
        if graceful {
            dict.set_str("cluster.brick-graceful-cleanup", "enable");
        }
        let (procedure, name) = (BrickProc::TERMINATE, key.path.clone());
        let input = Input::Dict(Dict::new());
        let call = LineCall { procedure, name, input, dict, bound: TERMINATE_BOUND };
        match self.lines.call(&process.socket, call).await {
            Ok(answer) if answer.op_ret == 0 => Ok(()),
            Ok(answer) => Err(format!("{}: TERMINATE answers {}", key.path, answer.op_ret)),
            // It may be gone before its answer is read.
            Err(CallError::Disconnected) => Ok(()),
            Err(err) => Err(format!("{}: TERMINATE: {err}", key.path)),
        }
    }

    /// A brick that should not run and of which nothing is known: it may be from before this daemon.
    async fn stop_stray(&self, view: &View, key: &BrickKey) -> Result<(), String> {
        let Some(volume) = view.volumes.get(&key.volume) else { return Ok(()) };
        let found = volume.local_bricks(view.me).find(|(_, brick)| brick.path == key.path);
        let Some((_, brick)) = found else { return Ok(()) };
        let pid_file = self.host.dirs().brick_pid_file(&volume.name, brick);
        if let Some((running, process)) = self.running_brick(&pid_file, brick).await {
            // A shared process may carry bricks that stay; with its last brick it ends itself.
            let detached =
                process.has("--brick-mux") && self.terminate(key, &running, false).await.is_ok();
            if !detached {
                self.end_process(&running.reference()).await?;
            }
        }
        self.unlink(&pid_file).await;
        self.record_brick(volume, brick, key, State::Stopped);
        Ok(())
    }

    /// Ends processes of volumes that were deleted, and of bricks that left theirs, while no daemon
    /// looked. Done once, and only with a current view: on a stale one something might be missing
    /// that is there.
    pub(super) async fn sweep(&self, view: &View) {
        let run = format!("{}/vols", self.host.dirs().run);
        let folders = self.host.list(&run).await.unwrap_or_default();
        for folder in &folders {
            let files = self.host.list(&format!("{run}/{folder}")).await.unwrap_or_default();
            for file in files.iter().filter(|name| name.ends_with(".pid")) {
                let pid_file = format!("{run}/{folder}/{file}");
                if let Some(volume) = view.volume(folder)
                    && !self.has_left(view, volume, &pid_file).await
                {
                    continue;
                }
                tracing::warn!(pid_file, "its volume is gone, or has no such brick");
                // A brick that was attached to another volume's process has a copy of its number;
                // that process does not carry this file's name and is left alone.
                if let Err(err) = self.end_by_pid_file(&pid_file, &pid_file).await {
                    tracing::error!(pid_file, err, "a process that nothing wants stays");
                }
            }
        }
    }

    /// Whether a volume has no such brick here, and the process is one; some daemons that serve a
    /// volume have their files beside the bricks'.
    async fn has_left(&self, view: &View, volume: &Volume, pid_file: &str) -> bool {
        let dirs = self.host.dirs();
        let mut bricks = volume.local_bricks(view.me);
        if bricks.any(|(_, brick)| dirs.brick_pid_file(&volume.name, brick) == pid_file) {
            return false;
        }
        let process = self.host.process_of(pid_file).await;
        process.is_some_and(|process| {
            process.has(pid_file) && process.option("--brick-name").is_some()
        })
    }

    /// Nothing is restarted, pid files stay: as in stock, a dead brick waits for a start.
    pub(super) fn process_ended(&self, process: &Running) {
        for (key, record) in self.bricks.lock().iter_mut() {
            if record.state.running() == Some(process) {
                tracing::error!(volume = %key.volume, path = key.path, pid = process.pid, "brick died");
                record.state = State::Dead;
                self.ports.purge(&key.path, process.port);
            }
        }
        self.service_ended(process);
        self.rebalance_ended(process);
        self.tell();
    }

    /// Follows sign-outs until the supervisor is gone.
    pub(super) async fn follow_ports(core: Weak<Core>) {
        let Some(mut events) = core.upgrade().map(|core| core.ports.events()) else { return };
        loop {
            let event = events.recv().await;
            let Some(core) = core.upgrade() else { return };
            match event {
                Ok(PortEvent::SignedOut { name, port }) => core.signed_out(&name, port).await,
                Ok(PortEvent::SignedIn { .. }) => {}
                // The end of a process is seen anyway; only detached bricks could be missed.
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "sign-outs were missed"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// An orderly end, or a detach by somebody else: the brick is stopped and its pid file goes.
    async fn signed_out(&self, name: &str, port: u16) {
        let mut gone = BTreeSet::new();
        for (key, record) in self.bricks.lock().iter_mut() {
            if key.path == name && record.state.running().is_some_and(|live| live.port == port) {
                record.state = State::Dead;
                gone.insert(record.pid_file.clone());
            }
        }
        for pid_file in gone {
            self.unlink(&pid_file).await;
            self.tell();
        }
    }
}

/// Still running as far as we know, unless it was seen to end meanwhile.
fn record_after_failed_stop(now: &State, running: &Running) -> State {
    match now {
        State::Stopped => State::Running(running.clone()),
        other => other.clone(),
    }
}

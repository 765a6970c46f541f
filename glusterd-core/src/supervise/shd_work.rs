//! Acts on the moves of `shd`.

use super::launch::Cx;
use super::line::{Input, LineCall};
use super::process_work::Launched;
use super::record::{Running, State};
use super::service::topology;
use super::service_work::VOLFILE_BYTES_MAX;
use super::shd::{self, ShdMove, ShdRecord};
use super::supervisor::{Core, Failure};
use crate::model::VolumeName;
use crate::rpc::Dict;
use crate::rpc::brick::BrickProc;
use crate::rpc::client::CallError;
use crate::store::View;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const CALL_BOUND: Duration = Duration::from_secs(30);
const LAUNCH_TRIES: usize = 3;
const LAUNCH_PAUSE: Duration = Duration::from_millis(500);
/// Stock's, one second apart.
const ATTACH_TRIES: usize = 15;

impl Core {
    pub(super) async fn converge_shd(self: &Arc<Core>, view: &Arc<View>) -> Vec<Failure> {
        let mut failures = Vec::new();
        let (mut texts, mut shapes) = (BTreeMap::new(), BTreeMap::new());
        for volume in view.volumes.values().filter(|volume| shd::is_served(volume)) {
            let volfile = self.host.dirs().shd_volfile(&volume.name);
            match self.host.read(&volfile, VOLFILE_BYTES_MAX).await {
                Ok(text) => {
                    shapes.insert(volume.name.clone(), topology(&text));
                    texts.insert(volume.name.clone(), text);
                }
                Err(err) => {
                    let text = format!("{volfile}: {err}");
                    failures.push(Failure { volume: Some(volume.name.clone()), text });
                }
            }
        }
        let stamp = shd::served_stamp(view);
        let moves = shd::decide(&shapes, &stamp, self.shd.lock().as_ref());
        for step in moves {
            let volume = step.volume().cloned();
            if let Err(text) = self.perform_shd(view, step, &texts).await {
                tracing::error!(?volume, text, "self-heal daemon");
                failures.push(Failure { volume, text });
            }
        }
        let mut record = self.shd.lock();
        let record = record.get_or_insert_with(|| ShdRecord {
            state: State::Stopped,
            served: BTreeMap::new(),
            stamp: Vec::new(),
        });
        record.stamp = stamp;
        failures
    }

    async fn perform_shd(
        self: &Arc<Core>,
        view: &Arc<View>,
        step: ShdMove,
        texts: &BTreeMap<VolumeName, Vec<u8>>,
    ) -> Result<(), String> {
        match step {
            ShdMove::EndOld => self.end_old_shd(view).await,
            ShdMove::Launch(name) => self.launch_shd_alone(view, &name, texts).await,
            ShdMove::Attach(name) => self.attach_shd(&name, texts).await,
            ShdMove::Detach(name) => self.detach_shd(&name).await,
            ShdMove::Stop => self.stop_shd().await,
        }
    }

    /// A process of the daemon before this one may know volumes that are gone, and none that are new.
    async fn end_old_shd(&self, view: &View) -> Result<(), String> {
        for volume in view.volumes.keys() {
            self.end_by_pid_file(&self.host.dirs().shd_pid_file(volume), "glustershd").await?;
        }
        Ok(())
    }

    /// A daemon that was killed while it started one leaves a process that nobody knows until it has
    /// its pid file, and that lets no other one up.
    async fn launch_shd_alone(
        self: &Arc<Core>,
        view: &Arc<View>,
        name: &VolumeName,
        texts: &BTreeMap<VolumeName, Vec<u8>>,
    ) -> Result<(), String> {
        for _ in 1..LAUNCH_TRIES {
            let Err(text) = self.launch_shd(view, name, texts).await else { return Ok(()) };
            tracing::warn!(%name, text, "self-heal daemon, trying again");
            tokio::time::sleep(LAUNCH_PAUSE).await;
            self.end_old_shd(view).await?;
        }
        self.launch_shd(view, name, texts).await
    }

    async fn launch_shd(
        self: &Arc<Core>,
        view: &Arc<View>,
        name: &VolumeName,
        texts: &BTreeMap<VolumeName, Vec<u8>>,
    ) -> Result<(), String> {
        let dirs = self.host.dirs();
        self.make_shd_folder(name).await?;
        let cx = Cx { settings: &self.settings, dirs, view };
        let pid_file = dirs.shd_pid_file(name);
        let launched = self.launch(&shd::command(cx, name), &pid_file).await;
        let outcome = launched.and_then(|launched| match launched {
            Launched::Up(process) => Ok(process),
            Launched::PortTaken => Err("its socket is taken".to_owned()),
        });
        let (state, served) = match &outcome {
            Ok(process) => {
                let socket = dirs.shd_socket(name, view.me);
                let shape = texts.get(name).map_or(0, |text| topology(text));
                let running = Running { pid: process.pid, port: 0, socket };
                (State::Running(running), BTreeMap::from([(name.clone(), shape)]))
            }
            Err(_) => (State::Dead, BTreeMap::new()),
        };
        let running = state.running().cloned();
        *self.shd.lock() = Some(ShdRecord { state, served, stamp: Vec::new() });
        self.tell();
        if let Some(running) = running {
            self.watch(running);
        }
        outcome.map(drop)
    }

    async fn make_shd_folder(&self, name: &VolumeName) -> Result<(), String> {
        let folder = format!("{}/shd/{name}", self.host.dirs().run);
        self.host.make_dirs(&folder).await.map_err(|err| format!("{folder}: {err}"))
    }

    async fn attach_shd(
        &self,
        name: &VolumeName,
        texts: &BTreeMap<VolumeName, Vec<u8>>,
    ) -> Result<(), String> {
        let text = texts.get(name).ok_or("it has no volfile")?;
        let running = self.running_shd().ok_or("it does not run")?;
        self.make_shd_folder(name).await?;
        // The daemon itself writes its pid there.
        let mut dict = Dict::new();
        dict.set_str("pidfile", self.host.dirs().shd_pid_file(name));
        let call = LineCall {
            procedure: BrickProc::SVC_ATTACH,
            name: format!("shd/{name}"),
            input: Input::Text(text.clone()),
            dict,
            bound: CALL_BOUND,
        };
        self.call_shd_until_up(&running, call).await?;
        if let Some(record) = self.shd.lock().as_mut() {
            record.served.insert(name.clone(), topology(text));
        }
        self.tell();
        Ok(())
    }

    async fn call_shd_until_up(&self, shd: &Running, call: LineCall) -> Result<(), String> {
        for _ in 0..ATTACH_TRIES {
            match self.lines.call(&shd.socket, call.clone()).await {
                Ok(answer) if answer.op_ret == 0 => return Ok(()),
                Ok(answer) => return Err(format!("{} answers {}", call.name, answer.op_ret)),
                Err(CallError::Connect(_)) => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(err) => return Err(format!("{}: {err}", call.name)),
            }
        }
        Err("it does not listen".into())
    }

    async fn detach_shd(&self, name: &VolumeName) -> Result<(), String> {
        let running = self.running_shd().ok_or("it does not run")?;
        let call =
            LineCall::new(BrickProc::SVC_DETACH, &format!("shd/{name}"), Dict::new(), CALL_BOUND);
        let outcome = match self.lines.call(&running.socket, call).await {
            Ok(answer) if answer.op_ret == 0 => Ok(()),
            Ok(answer) => Err(format!("detach answers {}", answer.op_ret)),
            Err(err) => Err(format!("detach: {err}")),
        };
        if outcome.is_ok() {
            if let Some(record) = self.shd.lock().as_mut() {
                record.served.remove(name);
            }
            self.unlink(&self.host.dirs().shd_pid_file(name)).await;
            self.tell();
        }
        outcome
    }

    async fn stop_shd(&self) -> Result<(), String> {
        let Some(running) = self.running_shd() else { return Ok(()) };
        let served: Vec<VolumeName> = match self.shd.lock().as_mut() {
            Some(record) => {
                record.state = State::Stopped;
                std::mem::take(&mut record.served).into_keys().collect()
            }
            None => Vec::new(),
        };
        self.end_process(&running.reference()).await?;
        for name in served {
            self.unlink(&self.host.dirs().shd_pid_file(&name)).await;
        }
        self.unlink(&running.socket).await;
        self.tell();
        Ok(())
    }

    pub(super) fn running_shd(&self) -> Option<Running> {
        self.shd.lock().as_ref()?.state.running().cloned()
    }
}

impl ShdMove {
    fn volume(&self) -> Option<&VolumeName> {
        match self {
            ShdMove::Launch(name) | ShdMove::Attach(name) | ShdMove::Detach(name) => Some(name),
            ShdMove::EndOld | ShdMove::Stop => None,
        }
    }
}

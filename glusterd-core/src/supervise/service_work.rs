//! Acts on the moves of `service`: quotad, bitd, scrub, snapd, gfproxyd.

use super::launch::Cx;
use super::process_work::Launched;
use super::record::{Running, State};
use super::service::{
    KINDS, Kind, Scope, Service, ServiceMove, ServiceRecord, Stamp, decide, topology, wanted,
};
use super::supervisor::{Core, Failure};
use crate::host::ProcessRef;
use crate::model::VolumeName;
use crate::store::View;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A volfile of a daemon that serves a thousand volumes is a few MiB.
pub const VOLFILE_BYTES_MAX: u64 = 64 << 20;

/// Name of the daemon and of its volume, empty for one that serves all.
pub type ServiceKey = (&'static str, String);

fn key(service: Service<'_>) -> ServiceKey {
    (service.kind.name, service.volume.unwrap_or_default().to_owned())
}

impl Core {
    /// Brings all of them in line. One at a time: they share volfiles and are few.
    pub(super) async fn converge_services(self: &Arc<Core>, view: &Arc<View>) -> Vec<Failure> {
        let mut failures = Vec::new();
        for kind in KINDS {
            for name in self.volumes_of(kind, view) {
                let service = Service { kind, volume: name.as_deref() };
                if let Err(text) = self.converge_service(view, service).await {
                    tracing::error!(service = kind.name, volume = name, text, "service failed");
                    let volume = name.as_deref().and_then(VolumeName::parse);
                    failures.push(Failure { volume, text });
                }
            }
        }
        failures
    }

    /// The volumes that need one, and those of which a daemon is known; `None` for a node's daemon.
    fn volumes_of(&self, kind: &Kind, view: &View) -> BTreeSet<Option<String>> {
        match kind.scope {
            Scope::Node => BTreeSet::from([None]),
            Scope::Volume => {
                let services = self.services.lock();
                let known = services.keys().filter(|(name, _)| *name == kind.name);
                let known = known.map(|(_, volume)| volume.clone());
                let needed = view.started().filter(|volume| (kind.needs)(volume));
                let needed = needed.map(|volume| volume.name.as_str().to_owned());
                known.chain(needed).map(Some).collect()
            }
        }
    }

    async fn converge_service(
        self: &Arc<Core>,
        view: &Arc<View>,
        service: Service<'_>,
    ) -> Result<(), String> {
        let stamp = wanted(view, service);
        let volfile = service.volfile(self.host.dirs());
        let shape = match stamp.is_empty() {
            true => 0,
            false => {
                let text = self.host.read(&volfile, VOLFILE_BYTES_MAX).await;
                topology(&text.map_err(|err| format!("{volfile}: {err}"))?)
            }
        };
        let record = self.services.lock().get(&key(service)).cloned();
        match decide(service.kind.scope, &stamp, shape, record.as_ref()) {
            ServiceMove::Nothing => Ok(()),
            ServiceMove::Note => {
                if let Some(record) = self.services.lock().get_mut(&key(service)) {
                    record.stamp = stamp;
                }
                Ok(())
            }
            ServiceMove::Stop => self.stop_service(view, service, record).await,
            step => {
                if step == ServiceMove::Replace {
                    self.end_service(view, service, record.as_ref()).await?;
                }
                let found = match step {
                    ServiceMove::Adopt => self.running_service(view, service).await,
                    _ => None,
                };
                let outcome = match found {
                    Some(running) => Ok(running),
                    None => self.launch_service(view, service).await,
                };
                self.record_service(service, stamp, shape, outcome)
            }
        }
    }

    fn record_service(
        self: &Arc<Core>,
        service: Service<'_>,
        stamp: Stamp,
        topology: u64,
        outcome: Result<Running, String>,
    ) -> Result<(), String> {
        let state = match &outcome {
            Ok(running) => State::Running(running.clone()),
            Err(_) => State::Dead,
        };
        let pid_file = service.pid_file(self.host.dirs());
        let record = ServiceRecord { state, stamp, topology, pid_file };
        self.services.lock().insert(key(service), record);
        self.tell();
        outcome.map(|running| self.watch(running))
    }

    async fn launch_service(&self, view: &View, service: Service<'_>) -> Result<Running, String> {
        let dirs = self.host.dirs();
        for folder in service.folders(dirs) {
            self.host.make_dirs(&folder).await.map_err(|err| format!("{folder}: {err}"))?;
        }
        let cx = Cx { settings: &self.settings, dirs, view };
        let (pid_file, socket) = (service.pid_file(dirs), service.socket(dirs, view.me));
        let (pid, port) = match service.kind.scope {
            Scope::Volume => {
                let make = |port| service.command(cx, port);
                let (process, port) = self.launch_on_port(make, &pid_file).await?;
                (process.pid, port)
            }
            Scope::Node => match self.launch(&service.command(cx, 0), &pid_file).await? {
                Launched::Up(process) => (process.pid, 0),
                Launched::PortTaken => return Err("its socket is taken".into()),
            },
        };
        Ok(Running { pid, port, socket })
    }

    /// A live process of this service that a former daemon left.
    async fn running_service(&self, view: &View, service: Service<'_>) -> Option<Running> {
        let dirs = self.host.dirs();
        let process = self.host.process_of(&service.pid_file(dirs)).await?;
        let socket = service.socket(dirs, view.me);
        let port = process.option("--brick-port").and_then(|port| port.parse().ok());
        process.has(&socket).then(|| Running { pid: process.pid, port: port.unwrap_or(0), socket })
    }

    async fn stop_service(
        &self,
        view: &View,
        service: Service<'_>,
        record: Option<ServiceRecord>,
    ) -> Result<(), String> {
        self.end_service(view, service, record.as_ref()).await?;
        let pid_file = service.pid_file(self.host.dirs());
        let gone = service.volume.is_some_and(|name| view.volume(name).is_none());
        let stopped =
            ServiceRecord { state: State::Stopped, stamp: Vec::new(), topology: 0, pid_file };
        let mut services = self.services.lock();
        match gone {
            true => services.remove(&key(service)),
            false => services.insert(key(service), stopped),
        };
        drop(services);
        self.tell();
        Ok(())
    }

    /// Ends the recorded process, or one that an earlier daemon left, and takes its files away.
    async fn end_service(
        &self,
        view: &View,
        service: Service<'_>,
        record: Option<&ServiceRecord>,
    ) -> Result<(), String> {
        let known = record.and_then(|record| record.state.running().cloned());
        let running = match known {
            Some(running) => Some(running),
            None => self.running_service(view, service).await,
        };
        if let Some(record) = self.services.lock().get_mut(&key(service)) {
            record.state = State::Stopped;
        }
        let dirs = self.host.dirs();
        if let Some(running) = running {
            self.end_process(&running.reference()).await?;
            self.ports.purge(&format!("{}-{}", service.kind.name, key(service).1), running.port);
            self.unlink(&service.socket(dirs, view.me)).await;
        }
        self.unlink(&service.pid_file(dirs)).await;
        Ok(())
    }

    pub(super) fn service_ended(&self, process: &Running) {
        for ((name, volume), record) in self.services.lock().iter_mut() {
            if record.state.running() == Some(process) {
                tracing::error!(name, volume, pid = process.pid, "service died");
                record.state = State::Dead;
                self.ports.purge(&format!("{name}-{volume}"), process.port);
            }
        }
        if let Some(record) = self.shd.lock().as_mut()
            && record.state.running() == Some(process)
        {
            tracing::error!(pid = process.pid, "self-heal daemon died");
            record.state = State::Dead;
        }
    }

    /// Ends a process found through a pid file alone, if its command line has `marker`.
    pub(super) async fn end_by_pid_file(&self, pid_file: &str, marker: &str) -> Result<(), String> {
        if let Some(process) = self.host.process_of(pid_file).await {
            let target = ProcessRef { pid: process.pid, marker: marker.to_owned() };
            self.end_process(&target).await?;
        }
        self.unlink(pid_file).await;
        Ok(())
    }
}

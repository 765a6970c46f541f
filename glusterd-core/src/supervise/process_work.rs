//! One process: launched, ended, watched to its end. Which, and when, is decided elsewhere.

use super::ports::allocate;
use super::record::Running;
use super::supervisor::Core;
use crate::host::{Command, Exit, Process, ProcessRef, Signal};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// A launcher returns when its daemon has its volfile and has signed in: under a second, minutes on
/// a machine out of memory. The CLI gives up after two.
pub const LAUNCH_BOUND: Duration = Duration::from_secs(60);
/// Ports tried for one launch; each failure means that somebody else took one in between.
const PORT_TRIES: usize = 16;
/// A brick ends within milliseconds of TERM unless its file system hangs. Killing one that still
/// answers clients would be worse than waiting.
const STOP_BOUND: Duration = Duration::from_secs(30);
/// Nothing survives KILL but a process stuck in the kernel, and waiting longer does not free it.
const KILL_BOUND: Duration = Duration::from_secs(5);

impl Core {
    /// Launches a daemon on a free port; another one if somebody was faster.
    pub(super) async fn launch_on_port(
        &self,
        make: impl Fn(u16) -> Command,
        pid_file: &str,
    ) -> Result<(Process, u16), String> {
        for _ in 0..PORT_TRIES {
            let reserved = self
                .reserve_port()
                .ok_or("All the ports in the range are exhausted, can't start brick")?;
            match self.launch(&make(reserved.port), pid_file).await? {
                Launched::Up(process) => return Ok((process, reserved.port)),
                Launched::PortTaken => tracing::warn!(port = reserved.port, "port taken meanwhile"),
            }
        }
        Err(format!("no port was free in {PORT_TRIES} tries"))
    }

    fn reserve_port(&self) -> Option<Reserved<'_>> {
        let mut launching = self.launching_ports.lock();
        let free = |port| !launching.contains(&port) && self.host.port_is_free(port);
        let port = allocate(self.settings.ports.clone(), self.host.random(), free)?;
        launching.insert(port);
        Some(Reserved { port, launching: &self.launching_ports })
    }

    /// Runs a launcher to its end and finds the daemon it left.
    pub(super) async fn launch(
        &self,
        command: &Command,
        pid_file: &str,
    ) -> Result<Launched, String> {
        let _place = self.launching.acquire().await.expect("never closed");
        tracing::debug!(program = command.program, args = command.args.join(" "), "launching");
        let exit = self.host.run(command, LAUNCH_BOUND).await;
        match exit.map_err(|err| format!("{}: {err}", command.program))? {
            Exit::Code(0) => match self.host.process_of(pid_file).await {
                Some(process) => Ok(Launched::Up(process)),
                None => Err(format!("the daemon of {pid_file} ended at once")),
            },
            Exit::Code(nix::libc::EADDRINUSE) => Ok(Launched::PortTaken),
            Exit::TimedOut => {
                // The launcher is gone, what it forked may be there, waiting for its volfile.
                if let Some(process) = self.host.process_of(pid_file).await {
                    let target = ProcessRef { pid: process.pid, marker: pid_file.to_owned() };
                    let _ended = self.host.signal(&target, Signal::Kill).await;
                }
                Err(format!("{} did not come up within {LAUNCH_BOUND:?}", command.program))
            }
            Exit::Code(code) => Err(format!("{} ended with status {code}", command.program)),
            Exit::Signal(signal) => Err(format!("{} ended by signal {signal}", command.program)),
        }
    }

    /// TERM, and KILL if that does not help.
    pub(super) async fn end_process(&self, target: &ProcessRef) -> Result<(), String> {
        let text = |err: std::io::Error| format!("process {}: {err}", target.pid);
        if !self.host.signal(target, Signal::Term).await.map_err(text)? {
            return Ok(());
        }
        if self.host.exited(target, Some(STOP_BOUND)).await {
            return Ok(());
        }
        tracing::error!(pid = target.pid, "does not end on TERM within {STOP_BOUND:?}, killing it");
        self.host.signal(target, Signal::Kill).await.map_err(text)?;
        match self.host.exited(target, Some(KILL_BOUND)).await {
            true => Ok(()),
            false => Err(format!("process {} cannot be killed", target.pid)),
        }
    }

    pub(super) async fn unlink(&self, path: &str) {
        if let Err(err) = self.host.unlink(path).await {
            tracing::warn!(path, %err, "a file stays");
        }
    }

    /// Waits for the end of a process, once per process.
    pub(super) fn watch(self: &Arc<Core>, process: Running) {
        if !self.watched.lock().insert(process.clone()) {
            return;
        }
        let (host, core) = (self.host.clone(), Arc::downgrade(self));
        let task = tokio::spawn(async move {
            host.exited(&process.reference(), None).await;
            if let Some(core) = Weak::upgrade(&core) {
                core.watched.lock().remove(&process);
                core.process_ended(&process);
            }
        });
        self.tasks.lock().retain(|task| !task.is_finished());
        self.tasks.lock().push(AbortOnDropHandle::new(task));
    }
}

pub(super) enum Launched {
    Up(Process),
    PortTaken,
}

/// A port nobody else is launched on meanwhile.
struct Reserved<'a> {
    port: u16,
    launching: &'a parking_lot::Mutex<BTreeSet<u16>>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.launching.lock().remove(&self.port);
    }
}

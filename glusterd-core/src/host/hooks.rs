//! Hook scripts: what they are called with, and the queue that runs the ones after an operation.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-hooks.c:40-560 (v10.3). Scripts call `gluster`, so
//! nobody may run them while the command service is blocked.

use super::Host;
use crate::model::VolumeName;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Post scripts that may wait: one event each. A script that takes its full time for each of them
/// would hold the queue for days; past this the newest is dropped with an error in the log.
const QUEUE_MAX: usize = 4096;
/// The packaged scripts wait for mounts and for other nodes, minutes at most.
pub(super) const SCRIPT_BOUND: Duration = Duration::from_secs(600);
/// The events that have folders, made at start.
pub const EVENTS: &[&str] = &[
    "create",
    "delete",
    "start",
    "stop",
    "add-brick",
    "remove-brick",
    "set",
    "reset",
    "gsync-create",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pre,
    Post,
}

impl Phase {
    pub fn text(self) -> &'static str {
        match self {
            Phase::Pre => "pre",
            Phase::Post => "post",
        }
    }
}

/// The scripts of one event and phase, and their arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRun {
    pub event: &'static str,
    pub phase: Phase,
    pub args: Vec<String>,
}

impl HookRun {
    fn new(event: &'static str, phase: Phase, volume: &str) -> HookRun {
        HookRun { event, phase, args: vec![format!("--volname={volume}")] }
    }

    fn with(mut self, args: impl IntoIterator<Item = String>) -> HookRun {
        self.args.extend(args);
        self
    }

    /// `create`, `delete`, `remove-brick`: the name alone.
    pub fn plain(event: &'static str, phase: Phase, volume: &VolumeName) -> HookRun {
        HookRun::new(event, phase, volume.as_str())
    }

    /// `first`: before, no volume is started; after, this is the only one.
    pub fn start(phase: Phase, volume: &VolumeName, first: bool, work: &str) -> HookRun {
        HookRun::new("start", phase, volume.as_str()).with([
            format!("--first={}", yes_no(first)),
            "--version=1".to_owned(),
            "--volume-op=start".to_owned(),
            format!("--gd-workdir={work}"),
        ])
    }

    /// `last`: before, no other volume is started; after, none is.
    pub fn stop(phase: Phase, volume: &VolumeName, last: bool) -> HookRun {
        HookRun::new("stop", phase, volume.as_str()).with([format!("--last={}", yes_no(last))])
    }

    /// `volume` is `all` for cluster options; `pairs` as the user typed them; `extra` goes between
    /// the pairs and the working directory.
    pub fn set(
        phase: Phase,
        volume: &str,
        pairs: &[(String, String)],
        extra: &[String],
        work: &str,
    ) -> HookRun {
        HookRun::new("set", phase, volume)
            .with(["-o".to_owned()])
            .with(pairs.iter().map(|(key, value)| format!("{key}={value}")))
            .with(extra.iter().cloned())
            .with([format!("--gd-workdir={work}")])
    }

    /// `add-brick` and `reset`.
    pub fn versioned(
        event: &'static str,
        phase: Phase,
        volume: &VolumeName,
        work: &str,
    ) -> HookRun {
        HookRun::new(event, phase, volume.as_str()).with([
            "--version=1".to_owned(),
            format!("--volume-op={event}"),
            format!("--gd-workdir={work}"),
        ])
    }

    /// `gsync-create`: the session's own words.
    pub fn gsync_create(phase: Phase, volume: &VolumeName, hooks_args: &[String]) -> HookRun {
        HookRun::new("gsync-create", phase, volume.as_str()).with(hooks_args.iter().cloned())
    }
}

fn yes_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

/// Whether a file of the folder is run: `S…`, but nothing a package manager left.
pub(super) fn is_script(name: &str) -> bool {
    name.starts_with('S') && !name.ends_with(".rpmsave") && !name.ends_with(".rpmnew")
}

/// Post scripts run here, in order, after the command has been answered.
#[derive(Clone, Debug)]
pub struct HookQueue {
    queue: mpsc::Sender<HookRun>,
}

impl HookQueue {
    /// Starts the worker; it ends when the last handle is gone and the queue is empty.
    pub fn start(host: Arc<dyn Host>) -> HookQueue {
        let (queue, mut runs) = mpsc::channel::<HookRun>(QUEUE_MAX);
        tokio::spawn(async move {
            while let Some(run) = runs.recv().await {
                host.run_hooks(&run).await;
            }
        });
        HookQueue { queue }
    }

    pub fn push(&self, run: HookRun) {
        if let Err(err) = self.queue.try_send(run) {
            tracing::error!(%err, "hook scripts are not run");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_stocks() {
        let v = VolumeName::parse("v1").unwrap();
        let check = |run: HookRun, want: &str| assert_eq!(run.args.join(" "), want);
        check(HookRun::plain("create", Phase::Pre, &v), "--volname=v1");
        check(
            HookRun::start(Phase::Post, &v, true, "/w"),
            "--volname=v1 --first=yes --version=1 --volume-op=start --gd-workdir=/w",
        );
        check(HookRun::stop(Phase::Pre, &v, false), "--volname=v1 --last=no");
        let pairs = [("a.b".to_owned(), "on".to_owned()), ("c".to_owned(), "1".to_owned())];
        check(
            HookRun::set(Phase::Post, "all", &pairs, &[], "/w"),
            "--volname=all -o a.b=on c=1 --gd-workdir=/w",
        );
        check(
            HookRun::versioned("add-brick", Phase::Post, &v, "/w"),
            "--volname=v1 --version=1 --volume-op=add-brick --gd-workdir=/w",
        );
    }

    #[test]
    fn scripts() {
        let check = |name, want| assert_eq!(is_script(name), want, "{name}");
        check("S10x.sh", true);
        check("s10x.sh", false);
        check("K10x.sh", false);
        check("S10x.sh.rpmsave", false);
        check("S10x.sh.rpmnew", false);
    }
}

//! A node's part in moving bricks and data: how far a rebalance is, a brick retired, new copies
//! marked as empty.
//!
//! An empty copy must never be taken for the truth. Its root is marked dirty, and the other copies
//! remember that it lacks everything; both happen before the change that brings it in, through a
//! mount that knows the new brick already and finds it down.
//!
//! Facts: glusterd-utils.c `glusterd_handle_replicate_brick_ops`, `glusterd_defrag_volume_status_update`;
//! afr-inode-write.c:1104-1260 (v10.3).

use super::node::LocalNode;
use super::node_locks::{GLUSTERFS, MOUNT_BOUND, unmount};
use super::question::{Answer, Moving, Question};
use crate::host::{Command, Host};
use crate::model::{Counts, DefragStatus, Task, Volume, errno};
use crate::rpc::Dict;
use crate::store::View;
use crate::supervise::{COMMAND_STATUS, COMMAND_STOP, ObservedRebalance, task_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// A process that moves a large file answers late.
const CALL_BOUND: Duration = Duration::from_secs(30);
/// A daemon has found its processes, or started one, a moment after it is there.
const FIND_BOUND: Duration = Duration::from_secs(10);
/// The lock behind it is contended by clients at most.
const BLAME_BOUND: Duration = Duration::from_secs(30);
const XLATOR_DEFRAG: u32 = 6;
/// `GF_CLIENT_PID_ADD_REPLICA_MOUNT`: only a client with this number may blame a copy.
const CLIENT_PID: i32 = -12;
const DIRTY: &str = "trusted.afr.dirty";
/// Data, metadata and entry counters, big-endian: one entry operation is open.
const ENTRY_DIRTY: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn refused(text: impl Into<String>) -> Answer {
    Answer::Refused { text: text.into(), errno: errno::INTERNAL }
}

impl LocalNode {
    pub(super) async fn answer_motion(&self, question: &Question) -> Answer {
        match question {
            Question::Rebalance { volume, stop } => self.rebalance(volume, *stop).await,
            Question::RetireBrick { volume, path } => {
                match self.processes.retire_brick(&self.store.view(), volume, path).await {
                    Ok(()) => Answer::Done,
                    Err(text) => refused(text),
                }
            }
            Question::MarkEmpty { paths } => self.mark_empty(paths).await,
            Question::BlameEmpty { volume, volfile, ids, replaced } => {
                self.blame_empty(volume, volfile, ids, *replaced).await
            }
            other => refused(format!("This node cannot answer {other:?} yet")),
        }
    }

    async fn rebalance(&self, volume: &str, stop: bool) -> Answer {
        let (view, found) = self.found_process(volume).await;
        let Some(volume) = view.volume(volume) else { return refused("no such volume") };
        let Some(task) = &volume.task else { return Answer::Moving(Moving::default()) };
        if found != Found::Here {
            return Answer::Moving(self.last_known(&view, volume, task).await);
        }
        let name = volume.name.as_str();
        let mut input = Dict::new();
        input.set_int("rebalance-command", if stop { COMMAND_STOP } else { COMMAND_STATUS });
        let dht = format!("{name}-dht");
        let call =
            self.processes.call_service("rebalance", name, XLATOR_DEFRAG, &dht, &input, CALL_BOUND);
        Answer::Moving(match call.await {
            Ok(answer) => {
                let now = moving(&answer);
                let said = Some(now.counts());
                now.with(self.processes.count(view.me, &volume.name, task.id, said).await)
            }
            Err(why) => {
                tracing::debug!(
                    volume = name,
                    why = why.text,
                    "the rebalance process did not answer"
                );
                self.last_known(&view, volume, task).await
            }
        })
    }

    /// A daemon that has just come up answers before it has found the process that an earlier one
    /// started, or while it starts one: that is waited for.
    async fn found_process(&self, volume: &str) -> (Arc<View>, Found) {
        let mut changes = self.processes.changes();
        let until = Instant::now() + FIND_BOUND;
        loop {
            changes.mark_unchanged();
            let view = self.store.view();
            let known = self.processes.rebalances();
            let of_volume = known.iter().find(|(name, _)| name.as_str() == volume);
            let found = match view.volume(volume) {
                Some(volume) => find(&view, volume, of_volume.map(|(_, observed)| observed)),
                None => Found::Nowhere,
            };
            let waited = found == Found::NotYet
                && tokio::time::timeout_at(until, changes.changed()).await.is_ok_and(|c| c.is_ok());
            if !waited {
                return (view, found);
            }
        }
    }

    async fn last_known(&self, view: &View, volume: &Volume, task: &Task) -> Moving {
        let counted = self.processes.count(view.me, &volume.name, task.id, None).await;
        last_known(view, volume, task, counted)
    }

    async fn mark_empty(&self, paths: &[String]) -> Answer {
        for path in paths {
            if let Err(error) = self.host.set_xattr(path, DIRTY, &ENTRY_DIRTY).await {
                let why = crate::host::reason(&error);
                return refused(format!("Failed to set {DIRTY} on brick {path}, reason: {why}"));
            }
        }
        Answer::Done
    }

    async fn blame_empty(
        &self,
        volume: &str,
        volfile: &str,
        ids: &[String],
        replaced: bool,
    ) -> Answer {
        let dirs = self.host.dirs();
        let what = if replaced { "replace-brick" } else { "add-brick" };
        let folder = format!("{}/coordination", dirs.work);
        let path = format!("{folder}/{volume}-{}.vol", Uuid::new_v4());
        let written = async {
            self.host.make_dirs(&folder).await?;
            self.host.write(&path, volfile.as_bytes()).await
        };
        if let Err(error) = written.await {
            return refused(format!("The working directory cannot be written: {error}"));
        }
        let client = Command::new(GLUSTERFS)
            .args(["--volfile", &path, &format!("--client-pid={CLIENT_PID}")])
            .args(["-l", &format!("{}/{volume}-{what}-mount.log", dirs.log)]);
        let blames: Vec<(String, Vec<u8>)> = ids
            .iter()
            .map(|id| (format!("trusted.{what}"), [id.as_bytes(), b"\0"].concat()))
            .collect();
        // In a task of its own: whoever gives up on the answer must not leave a mount behind.
        let host = self.host.clone();
        let work = tokio::spawn(async move {
            let done = blame(&host, client, &blames).await;
            let _kept_is_harmless = host.unlink(&path).await;
            done
        });
        match work.await {
            Ok(Ok(())) => Answer::Done,
            Ok(Err(text)) => refused(text),
            Err(_) => refused("Marking the new bricks was broken off"),
        }
    }
}

async fn blame(
    host: &Arc<dyn Host>,
    client: Command,
    blames: &[(String, Vec<u8>)],
) -> Result<(), String> {
    let mount = host
        .make_temp_dir("/tmp/mnt")
        .await
        .map_err(|error| format!("Creating a directory for a maintenance mount failed: {error}"))?;
    let outcome = match host.run(&client.arg(&mount), MOUNT_BOUND).await {
        Ok(exit) if exit.is_success() => set_all(host, &mount, blames).await,
        outcome => {
            tracing::error!(?outcome, "the client that marks new bricks did not mount");
            Err("Failed to mount the volume to mark its new bricks.".to_owned())
        }
    };
    unmount(host, &mount).await;
    outcome
}

async fn set_all(
    host: &Arc<dyn Host>,
    mount: &str,
    blames: &[(String, Vec<u8>)],
) -> Result<(), String> {
    for (name, value) in blames {
        match tokio::time::timeout(BLAME_BOUND, host.set_xattr(mount, name, value)).await {
            Ok(Ok(())) => {}
            // The dirty mark alone is enough for a lookup to heal; stock goes on here too.
            Ok(Err(error)) => tracing::error!(name, %error, "copies do not blame the new brick"),
            Err(_) => return Err("Marking the new bricks timed out.".to_owned()),
        }
    }
    Ok(())
}

/// What a rebalance process says of itself.
pub fn moving(said: &Dict) -> Moving {
    let number = |key: &str| said.int::<u64>(key).unwrap_or(0);
    let seconds = said.str("run-time").and_then(|text| text.parse::<f64>().ok());
    Moving {
        status: said.int("status").unwrap_or(0),
        files: number("files"),
        bytes: number("size"),
        scanned: number("lookups"),
        failures: number("failures"),
        skipped: number("skipped"),
        seconds: seconds.filter(|s| s.is_finite() && *s >= 0.0).unwrap_or(0.0),
        seconds_left: number("time-left"),
    }
}

impl Moving {
    pub fn counts(&self) -> Counts {
        let Moving { files, bytes, scanned, failures, skipped, seconds, .. } = *self;
        Counts { files, bytes, scanned, failures, skipped, seconds }
    }

    fn with(self, counts: Counts) -> Moving {
        let Counts { files, bytes, scanned, failures, skipped, seconds } = counts;
        Moving { files, bytes, scanned, failures, skipped, seconds, ..self }
    }

    pub fn of(status: DefragStatus, counts: Counts) -> Moving {
        Moving { status: status.code(), ..Moving::default() }.with(counts)
    }
}

/// Where the process is that works on a volume's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Here,
    /// It has to be started, or to be found again.
    NotYet,
    /// It is through, or has nothing to do here.
    Nowhere,
}

/// `observed`: what is known of the volume's process, which may work on another task.
fn find(view: &View, volume: &Volume, observed: Option<&ObservedRebalance>) -> Found {
    let Some(task) = &volume.task else { return Found::Nowhere };
    let is_through = view.progress.contains_key(&(task.id, view.me));
    match observed.filter(|observed| observed.task == task.id) {
        Some(observed) if observed.process.is_some() => Found::Here,
        Some(observed) if observed.launching => Found::NotYet,
        Some(_) => Found::Nowhere,
        None if task_of(volume, view.me).is_some() && !is_through => Found::NotYet,
        None => Found::Nowhere,
    }
}

/// Without a process to ask: how it ended here, else what the task says and the node has `counted`.
fn last_known(view: &View, volume: &Volume, task: &Task, counted: Counts) -> Moving {
    let node = view.me;
    let reset = [DefragStatus::ResetByReplace, DefragStatus::ResetByReset].contains(&task.status);
    match view.progress.get(&(task.id, node)) {
        Some(here) if !reset => Moving::of(here.status, here.counts),
        Some(here) => Moving::of(task.status, here.counts),
        None if volume.nodes_of_task(task).contains(&node) => Moving::of(task.status, counted),
        None => Moving::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Progress, TaskKind};
    use crate::supervise::Running;
    use crate::supervise::sample;

    const TASK: Uuid = Uuid::from_u128(7);

    fn pool(status: DefragStatus) -> View {
        let (id, kind, bricks) = (TASK, TaskKind::Rebalance, vec![]);
        let task = Task { id, kind, command: 1, commit_hash: 1, status, bricks, over: false };
        let volume = Volume { task: Some(task), ..sample::volume("v", &["/a"]) };
        sample::view(vec![volume])
    }

    fn counts(files: u64) -> Counts {
        Counts { files, ..Counts::default() }
    }

    fn ended_here(view: &mut View, files: u64) {
        let (task, node) = (TASK, view.me);
        let ended = Progress { task, node, status: DefragStatus::Complete, counts: counts(files) };
        view.progress.insert((task, node), ended);
    }

    #[test]
    fn what_a_process_says() {
        let said: Dict = [
            ("status", "3"),
            ("files", "7"),
            ("size", "1024"),
            ("lookups", "9"),
            ("run-time", "1.500000"),
            ("time-left", "0"),
        ]
        .into_iter()
        .collect();
        let got = moving(&said);
        assert_eq!((got.status, got.files, got.bytes, got.scanned), (3, 7, 1024, 9));
        assert_eq!(Moving::of(DefragStatus::Complete, got.counts()), got);
        let odd: Dict = [("status", "x"), ("run-time", "nan")].into_iter().collect();
        assert_eq!(moving(&odd), Moving::default());
    }

    /// `observed`: the task of the process that is known, whether it is being launched, and runs.
    fn check_found(view: &View, observed: Option<(Uuid, bool, bool)>, want: Found) {
        let observed = observed.map(|(task, launching, runs)| ObservedRebalance {
            task,
            process: runs.then(|| Running { pid: 7, port: 0, socket: "/s".into() }),
            launching,
            adopted: false,
        });
        let volume = view.volume("v").unwrap();
        assert_eq!(find(view, volume, observed.as_ref()), want);
    }

    /// The process of the task before is not asked for this one.
    #[test]
    fn a_process_that_is_wanted_and_not_known_is_waited_for() {
        let mut view = pool(DefragStatus::Started);
        let other = Uuid::from_u128(8);
        check_found(&view, None, Found::NotYet);
        check_found(&view, Some((other, false, true)), Found::NotYet);
        check_found(&view, Some((TASK, true, false)), Found::NotYet);
        check_found(&view, Some((TASK, false, true)), Found::Here);
        check_found(&view, Some((TASK, false, false)), Found::Nowhere);
        check_found(&pool(DefragStatus::Stopped), None, Found::Nowhere);
        check_found(&pool(DefragStatus::Stopped), Some((TASK, false, true)), Found::Here);
        ended_here(&mut view, 3);
        check_found(&view, None, Found::Nowhere);
    }

    #[test]
    fn without_a_process_the_row_says_how_it_ended_else_the_tally_how_far_it_was() {
        let mut view = pool(DefragStatus::Started);
        let said = |view: &View| {
            let volume = view.volume("v").unwrap();
            last_known(view, volume, volume.task.as_ref().unwrap(), counts(5))
        };
        assert_eq!(said(&view), Moving::of(DefragStatus::Started, counts(5)));
        ended_here(&mut view, 9);
        assert_eq!(said(&view), Moving::of(DefragStatus::Complete, counts(9)));
    }
}

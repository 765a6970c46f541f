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
use crate::model::{Counts, DefragStatus, NodeId, Volume, errno};
use crate::rpc::Dict;
use crate::store::View;
use crate::supervise::{COMMAND_STATUS, COMMAND_STOP};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A process that moves a large file answers late.
const CALL_BOUND: Duration = Duration::from_secs(30);
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
        let view = self.store.view();
        let Some(volume) = view.volume(volume) else { return refused("no such volume") };
        let name = volume.name.as_str();
        let mut input = Dict::new();
        input.set_int("rebalance-command", if stop { COMMAND_STOP } else { COMMAND_STATUS });
        let dht = format!("{name}-dht");
        let call =
            self.processes.call_service("rebalance", name, XLATOR_DEFRAG, &dht, &input, CALL_BOUND);
        Answer::Moving(match call.await {
            Ok(answer) => moving(&answer),
            Err(why) => {
                tracing::debug!(volume = name, why, "no rebalance process to ask");
                last_known(&view, volume, view.me)
            }
        })
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

    pub fn of(status: DefragStatus, counts: Counts) -> Moving {
        let Counts { files, bytes, scanned, failures, skipped, seconds } = counts;
        let status = status.code();
        Moving { status, files, bytes, scanned, failures, skipped, seconds, seconds_left: 0 }
    }
}

/// Without a process to ask: how it ended here, else what the task says.
fn last_known(view: &View, volume: &Volume, node: NodeId) -> Moving {
    let Some(task) = &volume.task else { return Moving::default() };
    let reset = [DefragStatus::ResetByReplace, DefragStatus::ResetByReset].contains(&task.status);
    match view.progress.get(&(task.id, node)) {
        Some(here) if !reset => Moving::of(here.status, here.counts),
        Some(here) => Moving::of(task.status, here.counts),
        None if volume.nodes_of_task(task).contains(&node) => {
            Moving::of(task.status, Counts::default())
        }
        None => Moving::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

//! A node's answers to upkeep questions: dumps, logs, locks, facts behind option checks.
//!
//! Facts: glusterd-utils.c:8915-9205 (statedump), glusterd-log-ops.c (log rotate) (v10.3).

use super::node::LocalNode;
use super::node_locks::attribute;
use super::question::{Answer, BrickDetail, Question};
use crate::host::{Dirs, ProcessRef, Signal};
use crate::membership;
use crate::model::{Brick, NodeId, Volume, errno};
use crate::options::{NodeFacts, OldClient};
use std::time::Duration;

/// Bricks read the options file when the signal reaches them.
const DUMP_TIME: Duration = Duration::from_secs(1);

fn refused(text: impl Into<String>) -> Answer {
    Answer::Refused { text: text.into(), errno: errno::INTERNAL }
}

/// `glusterd_state_20261122_205532`, in local time.
fn state_file_name(unix_time_s: u64) -> String {
    let at = i64::try_from(unix_time_s).ok().and_then(|s| chrono::DateTime::from_timestamp(s, 0));
    let at = at.unwrap_or_default().with_timezone(&chrono::Local);
    at.format("glusterd_state_%Y%m%d_%H%M%S").to_string()
}

impl LocalNode {
    pub(super) async fn answer_upkeep(&self, question: &Question) -> Answer {
        match question {
            Question::Statedump { volume, options, count } => {
                self.statedump(volume, options, *count).await
            }
            Question::RotateLog { volume, brick } => self.rotate_log(volume, brick.as_ref()).await,
            Question::OptionFacts { volume, directories, trash_dir, client_op_version } => {
                let facts = self
                    .option_facts(
                        volume.as_deref(),
                        directories,
                        trash_dir.as_deref(),
                        *client_op_version,
                    )
                    .await;
                Answer::OptionFacts(facts)
            }
            Question::ClearLocks { volume, path, kind, lock_type, opts } => {
                let name = attribute(lock_type, kind, opts);
                self.clear_locks(volume, path, name).await
            }
            Question::WriteState { dir, file, text } => {
                self.write_state(dir, file.as_deref(), text).await
            }
            Question::ChangeIdentity { node } => self.change_identity(NodeId(*node)).await,
            other => self.answer_motion(other).await,
        }
    }

    pub(super) async fn detail(&self, path: &str) -> Option<BrickDetail> {
        let found = self.host.fs_detail(path).await.ok()?;
        Some(BrickDetail {
            total: found.total_bytes,
            free: found.free_bytes,
            block_size: found.block_size,
            total_inodes: found.total_inodes.unwrap_or(0),
            free_inodes: found.free_inodes.unwrap_or(0),
            device: found.device,
            fs_name: found.fs_name,
            mount_options: found.mount_options,
            inode_size: found.inode_size.unwrap_or_default(),
        })
    }

    /// The process that serves a local brick, if it runs.
    async fn brick_process(&self, volume: &Volume, brick: &Brick) -> Option<ProcessRef> {
        let pid_file = self.host.dirs().brick_pid_file(&volume.name, brick);
        let process = self.host.process_of(&pid_file).await?;
        let marker = process.option("-S").or(process.option("--brick-name"))?.to_owned();
        Some(ProcessRef { pid: process.pid, marker })
    }

    async fn statedump(&self, volume: &str, options: &str, count: u32) -> Answer {
        let view = self.store.view();
        let Some(volume) = view.volume(volume) else { return refused("no such volume") };
        let words: Vec<&str> = options.split_ascii_whitespace().collect();
        if let ["client", host, pid, ..] = words[..] {
            if let Ok(pid) = pid.parse() {
                self.clients.dump_state(volume.name.as_str(), host, pid);
            }
            return Answer::Done;
        }
        if words.contains(&"quotad") {
            let pid_file = format!("{}/quotad/quotad.pid", self.host.dirs().run);
            if let Some(process) = self.host.process_of(&pid_file).await {
                let marker = "gluster/quotad".to_owned();
                self.dump(ProcessRef { pid: process.pid, marker }, &words, count).await;
            }
            return Answer::Done;
        }
        for (_, brick) in volume.local_bricks(self.me()) {
            if let Some(process) = self.brick_process(volume, brick).await {
                self.dump(process, &words, count).await;
            }
        }
        Answer::Done
    }

    async fn dump(&self, process: ProcessRef, words: &[&str], count: u32) {
        let path = Dirs::statedump_options(process.pid);
        if count > 0 {
            let text: String = words.iter().map(|word| format!("{word}=yes\n")).collect();
            if let Err(error) = self.host.write(&path, text.as_bytes()).await {
                tracing::warn!(path, %error, "the dump's options are not written");
            }
        }
        if let Err(error) = self.host.signal(&process, Signal::Usr1).await {
            tracing::warn!(pid = process.pid, %error, "no state dump");
        }
        tokio::time::sleep(DUMP_TIME).await;
        if count > 0 {
            let _gone_is_fine = self.host.unlink(&path).await;
        }
    }

    async fn write_state(&self, dir: &str, file: Option<&str>, text: &str) -> Answer {
        use std::io::ErrorKind;
        if let Err(error) = self.host.check_dir(dir).await {
            return refused(match error.kind() {
                ErrorKind::NotFound => format!("Output directory {dir} does not exist."),
                ErrorKind::NotADirectory => {
                    format!("Output directory does not exist. {dir} points to a file.")
                }
                _ => format!("Output directory {dir} cannot be used: {error}"),
            });
        }
        let file = file.map_or_else(|| state_file_name(self.host.unix_time_s()), str::to_owned);
        let slash = if dir.ends_with('/') { "" } else { "/" };
        let path = format!("{dir}{slash}{file}");
        match self.host.overwrite(&path, text.as_bytes()).await {
            Ok(()) => Answer::Text(path),
            Err(error) => {
                tracing::warn!(path, %error, "the state is not written");
                refused(format!("Failed to open file at {path}"))
            }
        }
    }

    async fn change_identity(&self, node: NodeId) -> Answer {
        let op_version = self.store.view().op_version();
        match membership::write_identity(&*self.host, node, op_version).await {
            Ok(()) => {
                self.store.be(node);
                Answer::Done
            }
            Err(error) => {
                tracing::error!(%error, "the new uuid is not written");
                refused("uuid reset failed")
            }
        }
    }

    async fn rotate_log(&self, volume: &str, wanted: Option<&(String, String)>) -> Answer {
        let view = self.store.view();
        let Some(volume) = view.volume(volume) else { return refused("no such volume") };
        let stamp = self.host.unix_time_s();
        for (_, brick) in volume.local_bricks(self.me()) {
            if wanted.is_some_and(|(host, path)| *host != brick.host || *path != brick.path) {
                continue;
            }
            let log = self.host.dirs().brick_log(&brick.path);
            if let Err(error) = self.host.rename(&log, &format!("{log}.{stamp}")).await {
                tracing::warn!(log, %error, "log not rotated");
            }
            let Some(process) = self.brick_process(volume, brick).await else { continue };
            if let Err(error) = self.host.signal(&process, Signal::Hup).await {
                return refused(format!("{} was not told to reopen its log: {error}", brick.path));
            }
        }
        Answer::Done
    }

    async fn option_facts(
        &self,
        volume: Option<&str>,
        directories: &[String],
        trash_dir: Option<&str>,
        client_op_version: Option<u32>,
    ) -> NodeFacts {
        let view = self.store.view();
        let volume = volume.and_then(|name| view.volume(name));
        let mut facts = NodeFacts {
            cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            ..NodeFacts::default()
        };
        for path in directories {
            if self.host.is_directory(path).await {
                facts.directories.push(path.clone());
            }
        }
        let hook = format!(
            "{}/hooks/1/set/post/S32gluster_enable_shared_storage.sh",
            self.host.dirs().work
        );
        if self.host.read(&hook, 1 << 20).await.is_err() {
            facts.shared_storage_hook_missing = Some(hook);
        }
        let Some(volume) = volume else { return facts };
        if let Some(dir) = trash_dir {
            for (_, brick) in volume.local_bricks(self.me()) {
                let path = format!("{}/{}", brick.path, dir.trim_start_matches('/'));
                facts.trash_dir_exists |= self.host.is_directory(&path).await;
            }
        }
        if volume.is_started() {
            let status = self.processes.status(&view, volume.name.as_str()).await;
            facts.brick_down = status.bricks.iter().any(|row| !row.online);
        }
        if let Some(needed) = client_op_version {
            let older = self.clients.older_than(volume.name.as_str(), needed);
            facts.old_client = older.map(|(client, op_version)| OldClient {
                identifier: client,
                op_version_max: op_version,
            });
        }
        facts
    }
}

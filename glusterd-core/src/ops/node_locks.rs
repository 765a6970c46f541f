//! `volume clear-locks` on this node: a short-lived mount, one attribute read, and no trace left.
//!
//! The locks translator does the work when the attribute is read. Self-heal is off in the mount, or
//! it would queue behind the very locks that are to go.
//!
//! Facts: glusterd-volume-ops.c:2606-2990; xlators/features/locks/src/clear.h (v10.3).

use super::node::LocalNode;
use super::question::Answer;
use crate::host::{Command, Host};
use crate::model::{Volume, errno};
use std::sync::Arc;
use std::time::Duration;

pub(super) const GLUSTERFS: &str = "/usr/sbin/glusterfs";
/// The client ends when it is connected, or has given up.
pub(super) const MOUNT_BOUND: Duration = Duration::from_secs(45);
/// Past this the mount is torn away under the call.
const CLEAR_BOUND: Duration = Duration::from_secs(30);
const UNMOUNT_BOUND: Duration = Duration::from_secs(10);

const NO_SELF_HEAL: [&str; 3] = [
    "*replicate*.data-self-heal=off",
    "*replicate*.metadata-self-heal=off",
    "*replicate*.entry-self-heal=off",
];

/// The attribute whose reading clears locks.
pub(super) fn attribute(lock_type: &str, kind: &str, opts: &str) -> String {
    let opts = if opts.is_empty() { String::new() } else { format!(".{opts}") };
    format!("glusterfs.clrlk.t{lock_type}.k{kind}{opts}")
}

fn refused(text: impl Into<String>) -> Answer {
    Answer::Refused { text: text.into(), errno: errno::INTERNAL }
}

impl LocalNode {
    pub(super) async fn clear_locks(&self, volume: &str, path: &str, attribute: String) -> Answer {
        let view = self.store.view();
        let Some(volume) = view.volume(volume) else {
            return refused(format!("Volume {volume} doesn't exist."));
        };
        let Some(command) = self.locks_client(volume) else {
            return refused("Couldn't get port numbers of local bricks");
        };
        // In a task of its own: whoever gives up on the answer must not leave a mount behind.
        let (host, prefix) = (self.host.clone(), format!("/tmp/{}.", volume.name));
        let path = path.to_owned();
        let work = tokio::spawn(async move {
            match clear(&host, command, &prefix, &path, &attribute).await {
                Ok(summary) => Answer::Text(summary),
                Err(text) => refused(text),
            }
        });
        work.await.unwrap_or_else(|_| refused("Clearing locks was broken off"))
    }

    /// The client without its mount point; `None` if a local brick has no port.
    fn locks_client(&self, volume: &Volume) -> Option<Command> {
        let dirs = self.host.dirs();
        let trusted = crate::volgen::Spec::Client {
            trusted: true,
            wire: crate::volgen::Wire::of(volume.transport)[0],
        };
        let file = crate::volgen::file_name(volume, trusted);
        let mut command = Command::new(GLUSTERFS)
            .args(["-f".to_owned(), format!("{}/{file}", dirs.volume(&volume.name))])
            .args(["-l".to_owned(), format!("{}/{}-clearlocks-mnt.log", dirs.log, volume.name)]);
        if volume.options.flag("config.memory-accounting") == Some(true) {
            command = command.arg("--mem-accounting");
        }
        for (index, brick) in volume.local_bricks(self.me()) {
            let port = self.processes.brick_port(&volume.name, &brick.path)?;
            let option = format!("{}-client-{index}.remote-port={port}", volume.name);
            command = command.args(["--xlator-option".to_owned(), option]);
        }
        for option in NO_SELF_HEAL {
            command = command.args(["--xlator-option", option]);
        }
        Some(command)
    }
}

async fn clear(
    host: &Arc<dyn Host>,
    client: Command,
    prefix: &str,
    path: &str,
    attribute: &str,
) -> Result<String, String> {
    let made = host.make_temp_dir(prefix).await;
    let mount = made.map_err(|error| {
        tracing::warn!(%error, prefix, "no folder for a mount");
        "Creating mount directory for clear-locks failed.".to_owned()
    })?;
    let mounted = host.run(&client.arg(&mount), MOUNT_BOUND).await;
    let cleared = match mounted {
        Ok(exit) if exit.is_success() => read_attribute(host, &mount, path, attribute).await,
        outcome => {
            tracing::warn!(?outcome, "the client that clears locks did not mount");
            Err("Failed to mount clear-locks maintenance client.".to_owned())
        }
    };
    unmount(host, &mount).await;
    cleared
}

async fn read_attribute(
    host: &Arc<dyn Host>,
    mount: &str,
    path: &str,
    attribute: &str,
) -> Result<String, String> {
    let path = format!("{mount}/{path}");
    let failed = |reason: &str| format!("clear-locks getxattr command failed. Reason: {reason}");
    match tokio::time::timeout(CLEAR_BOUND, host.xattr(&path, attribute)).await {
        Err(_) => Err(failed("Connection timed out")),
        Ok(Err(error)) => Err(failed(&crate::host::reason(&error))),
        Ok(Ok(bytes)) => {
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok(String::from_utf8_lossy(text).into_owned())
        }
    }
}

/// By force first: that also frees a call that hangs in there.
pub(super) async fn unmount(host: &Arc<dyn Host>, mount: &str) {
    let command = Command::new("/bin/umount").args(["-f", mount]);
    match host.run(&command, UNMOUNT_BOUND).await {
        Ok(exit) if exit.is_success() => {}
        outcome => {
            tracing::debug!(?outcome, mount, "not unmounted");
            let _not_mounted_is_fine = host.unmount_lazily(mount).await;
        }
    }
    if let Err(error) = host.remove_empty_dir(mount).await {
        tracing::warn!(%error, mount, "the folder of a maintenance mount stays");
    }
}

#[cfg(test)]
mod tests {
    use super::attribute;

    #[test]
    fn attributes() {
        assert_eq!(attribute("posix", "all", ""), "glusterfs.clrlk.tposix.kall");
        assert_eq!(
            attribute("inode", "granted", "0,0-10"),
            "glusterfs.clrlk.tinode.kgranted.0,0-10"
        );
    }
}

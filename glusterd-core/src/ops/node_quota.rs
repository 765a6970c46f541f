//! Quota on this node: limits set through short-lived mounts, and the crawl over local bricks.
//!
//! Attributes of limits are written through a client, so that every brick gets them. The crawl makes
//! the marker translator see each file once; it goes on by itself, nobody waits for it.
//!
//! Facts: glusterd-quota.c:250-480 (crawl), 780-850 and 1160-1260 (limits), 1770-1850 (ids), 1930-2020
//! (mounts) (v10.3).

use super::node::LocalNode;
use super::question::Answer;
use super::quota::QuotaAsk;
use crate::host::{Command, Host, reason};
use crate::model::{Brick, Volume, VolumeName, errno, strip_dash_path};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const GLUSTERFS: &str = "/usr/sbin/glusterfs";
/// The client ends when it is connected, or has given up.
const MOUNT_BOUND: Duration = Duration::from_secs(45);
/// Past this the mount is torn away under the call.
const CALL_BOUND: Duration = Duration::from_secs(60);
/// Processes follow a change within seconds; a crawl without them would count nothing.
const CHANGE_BOUND: Duration = Duration::from_secs(60);

/// Tell translators that this client is quota's own (glusterfs.h).
const MOUNT_CLIENT: &str = "-5";
const CRAWL_CLIENT: &str = "-100";

/// Ends the crawl whose number stands in the file, if it still is one.
const END: &str = r#"p=$(cat "$0" 2>/dev/null) && [ "$p" -gt 1 ] && [ "$(cat /proc/$p/comm)" = find ] && kill -9 "$p"; rm -f "$0""#;

/// From inside the mount, which ends with its last user: this shell turned into `find`.
const CRAWL: &str = r#"cd "$0" || exit 1; echo $$ >"$1"; /bin/umount -l "$0"; rmdir "$0"; shift; exec /usr/bin/find . -exec "$@" {} ';'"#;

fn refused(text: impl Into<String>) -> Answer {
    Answer::Refused { text: text.into(), errno: errno::INTERNAL }
}

fn key(objects: bool) -> &'static str {
    if objects {
        "trusted.glusterfs.quota.limit-objects"
    } else {
        "trusted.glusterfs.quota.limit-set"
    }
}

/// The attribute: both numbers big-endian.
fn limit_bytes(hard: i64, soft: i64) -> [u8; 16] {
    ((u128::from(hard.cast_unsigned()) << 64) | u128::from(soft.cast_unsigned())).to_be_bytes()
}

/// The soft limit in an attribute; -1 (the volume's default) where there is none.
fn soft_of(found: io::Result<Vec<u8>>) -> io::Result<i64> {
    match found {
        Ok(bytes) => {
            let soft = bytes.get(8..16).and_then(|part| part.try_into().ok());
            Ok(soft.map_or(-1, i64::from_be_bytes))
        }
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODATA) => Ok(-1),
        Err(error) => Err(error),
    }
}

impl LocalNode {
    pub(super) async fn quota(&self, volume: &str, ask: &QuotaAsk) -> Answer {
        let view = self.store.view();
        let Some(volume) = view.volume(volume).cloned() else { return refused("no such volume") };
        match ask {
            QuotaAsk::Gfids { path } => self.gfids(&volume, path).await,
            QuotaAsk::MountForList => match self.quota_mount(&volume.name, "list").await {
                Ok(_) => Answer::Done,
                Err(text) => refused(text),
            },
            QuotaAsk::SetLimit { .. } | QuotaAsk::RemoveLimit { .. } => {
                self.change_limit(&volume.name, ask.clone()).await
            }
            QuotaAsk::Crawl { enabled } => {
                self.crawl(volume, *enabled);
                Answer::Done
            }
            QuotaAsk::EndMounts => {
                self.end_mounts(&volume.name).await;
                Answer::Done
            }
        }
    }

    async fn gfids(&self, volume: &Volume, path: &str) -> Answer {
        let mut ids = String::new();
        for (_, brick) in volume.local_bricks(self.me()) {
            let dir = format!("{}{path}", brick.path);
            if self.host.lstat_dir(&dir).await.is_err() {
                continue;
            }
            let found = self.host.xattr(&dir, "trusted.gfid").await;
            if let Some(id) = found.ok().and_then(|bytes| uuid::Uuid::from_slice(&bytes).ok()) {
                ids.push_str(&format!("{id}\n"));
            }
        }
        Answer::Text(ids)
    }

    fn quota_mount_dir(&self, volume: &VolumeName, purpose: &str) -> String {
        format!("{}/{volume}_quota_{purpose}", self.host.dirs().run)
    }

    /// Mounts the volume at quota's place for the purpose, and returns the place.
    async fn quota_mount(&self, volume: &VolumeName, purpose: &str) -> Result<String, String> {
        let dirs = self.host.dirs();
        let dir = self.quota_mount_dir(volume, purpose);
        let pid_file = format!("{dir}.pid");
        // What an earlier command has left there would hide this one.
        if self.host.unmount_lazily(&dir).await.is_ok() {
            tracing::info!(dir, "a mount that was left has been detached");
        }
        let failed = |what: &dyn std::fmt::Debug| {
            tracing::warn!(?what, dir, "quota's mount failed");
            "Failed to start aux mount".to_owned()
        };
        self.host.make_dirs(&dir).await.map_err(|error| failed(&error))?;
        let server = self.bind_address.as_deref().unwrap_or("localhost");
        let log = format!("{}/quota-mount-{volume}.log", dirs.log);
        let command = Command::new(GLUSTERFS)
            .args(["--volfile-server", server, "--volfile-id", volume.as_str(), "-l", &log])
            .args(["-p", &pid_file, "--client-pid", MOUNT_CLIENT, &dir]);
        match self.host.run(&command, MOUNT_BOUND).await {
            Ok(exit) if exit.is_success() => {}
            outcome => return Err(failed(&outcome)),
        }
        // Ready when it answers.
        match tokio::time::timeout(MOUNT_BOUND, self.host.lstat_dir(&dir)).await {
            Ok(Ok(())) => Ok(dir),
            outcome => {
                let _nothing_left_to_do = self.host.unmount_lazily(&dir).await;
                Err(failed(&outcome))
            }
        }
    }

    /// In a task of its own: whoever gives up on the answer must not leave a mount behind.
    async fn change_limit(&self, volume: &VolumeName, ask: QuotaAsk) -> Answer {
        let dir = match self.quota_mount(volume, "limit").await {
            Ok(dir) => dir,
            Err(text) => return refused(text),
        };
        let host = self.host.clone();
        let work = tokio::spawn(async move {
            let changed = tokio::time::timeout(CALL_BOUND, change(&host, &dir, &ask)).await;
            end_mount(&host, &dir).await;
            match changed {
                Ok(Ok(())) => Answer::Done,
                Ok(Err(text)) => refused(text),
                Err(_) => refused("The volume did not answer in time"),
            }
        });
        work.await.unwrap_or_else(|_| refused("Setting the limit was broken off"))
    }

    async fn end_mounts(&self, volume: &VolumeName) {
        for purpose in ["limit", "list"] {
            end_mount(&self.host, &self.quota_mount_dir(volume, purpose)).await;
        }
    }

    /// Waits for the change it belongs to, then sets off one visit a brick.
    fn crawl(&self, volume: Arc<Volume>, enabled: bool) {
        let server = self.bind_address.clone().unwrap_or_else(|| "localhost".to_owned());
        let (host, store, me) = (self.host.clone(), self.store.clone(), self.me());
        let converger = self.converger.clone();
        tokio::spawn(async move {
            let name = volume.name.clone();
            let mut sights = store.subscribe();
            let is_so = |sight: &crate::store::Sight| {
                let volume = sight.view.volumes.get(&name);
                volume.is_none_or(|v| (v.options.flag("features.quota") == Some(true)) == enabled)
            };
            let ready = async {
                let revision =
                    sights.wait_for(is_so).await.map(|sight| sight.view.revision).ok()?;
                let mut progress = converger.progress();
                let names = [name.clone()];
                progress.wait_for(|p| p.reached(revision, &names)).await.ok().map(drop)
            };
            if tokio::time::timeout(CHANGE_BOUND, ready).await.ok().flatten().is_none() {
                tracing::warn!(%name, "the volume's processes are late: its files are visited anyway");
            }
            for (_, brick) in volume.local_bricks(me) {
                if let Err(error) = crawl_brick(&host, &server, &volume, brick, enabled).await {
                    tracing::warn!(path = brick.path, %error, "quota's visit of a brick failed");
                }
            }
        });
    }
}

async fn change(host: &Arc<dyn Host>, mount: &str, ask: &QuotaAsk) -> Result<(), String> {
    let (QuotaAsk::SetLimit { path, objects, .. } | QuotaAsk::RemoveLimit { path, objects, .. }) =
        ask
    else {
        return Ok(());
    };
    let (dir, key) = (format!("{mount}{}", canonical(path)), key(*objects));
    let lost =
        |e: io::Error| format!("Failed to find the directory {dir}. Reason : {}", reason(&e));
    host.lstat_dir(&dir).await.map_err(lost)?;
    match ask {
        QuotaAsk::SetLimit { hard, soft, .. } => {
            let soft = match soft {
                Some(soft) => *soft,
                None => soft_of(host.xattr(&dir, key).await).map_err(|error| {
                    let why = reason(&error);
                    format!("Failed to get the xattr {key} from {dir}. Reason : {why}")
                })?,
            };
            host.set_xattr(&dir, key, &limit_bytes(*hard, soft)).await.map_err(|error| {
                format!("setxattr of {key} failed on {dir}. Reason : {}", reason(&error))
            })
        }
        QuotaAsk::RemoveLimit { listed, .. } => match host.remove_xattr(&dir, key).await {
            Err(error) if *listed && error.raw_os_error() == Some(nix::libc::ENODATA) => Ok(()),
            Err(error) => Err(format!("removexattr failed on {dir}. Reason : {}", reason(&error))),
            Ok(()) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// One slash between names, none at the end.
fn canonical(path: &str) -> String {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    format!("/{}", names.join("/"))
}

async fn end_mount(host: &Arc<dyn Host>, dir: &str) {
    let _not_mounted_is_fine = host.unmount_lazily(dir).await;
    let _not_there_is_fine = host.remove_empty_dir(dir).await;
    let _not_there_is_fine = host.unlink(&format!("{dir}.pid")).await;
}

async fn crawl_brick(
    host: &Arc<dyn Host>,
    server: &str,
    volume: &Volume,
    brick: &Brick,
    enabled: bool,
) -> io::Result<()> {
    let dirs = host.dirs();
    let stem = strip_dash_path(&brick.path);
    let logs = format!("{}/quota_crawl", dirs.log);
    let pids = |kind: &str| format!("{}/run/quota/{kind}", dirs.volume(&volume.name));
    let (temporary, own) =
        (format!("{}/tmp", dirs.run), if enabled { "enable" } else { "disable" });
    for dir in [&logs, &temporary, &pids(own)] {
        host.make_dirs(dir).await?;
    }
    // The files may go on being cleaned while they are counted anew, but not the other way round.
    for kind in if enabled { &["enable"][..] } else { &["enable", "disable"] } {
        let pid_file = format!("{}/{stem}.pid", pids(kind));
        host.run(&Command::new("/bin/sh").args(["-c", END, &pid_file]), MOUNT_BOUND).await?;
    }
    let mount = host.make_temp_dir(&format!("{temporary}/mnt")).await?;
    let id = format!("client_per_brick/{}.client.{}.{stem}.vol", volume.name, brick.host);
    let readdirp = if enabled { "--use-readdirp=yes" } else { "--use-readdirp=no" };
    let client = Command::new(GLUSTERFS)
        .args(["-s", server, "--volfile-id", &id, readdirp, "--client-pid", CRAWL_CLIENT])
        .args(["-l", &format!("{logs}/{stem}.log"), &mount]);
    let exit = host.run(&client, MOUNT_BOUND).await?;
    if !exit.is_success() {
        host.remove_empty_dir(&mount).await?;
        return Err(io::Error::other(format!("the client ended with {exit:?}")));
    }
    let visit: &[&str] = match enabled {
        true => &["/usr/bin/stat"],
        false => &["/usr/bin/setfattr", "-n", "glusterfs.quota-xattr-cleanup", "-v", "1"],
    };
    let pid_file = format!("{}/{stem}.pid", pids(own));
    let find = Command::new("/bin/sh").args(["-c", CRAWL, &mount, &pid_file]);
    host.spawn(&find.args(visit.iter().copied())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_hold_both_limits() {
        let bytes = limit_bytes(10 << 20, 70);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 70]);
        assert_eq!(soft_of(Ok(bytes.to_vec())).unwrap(), 70);
        assert_eq!(soft_of(Ok(limit_bytes(1, -1).to_vec())).unwrap(), -1);
        assert_eq!(soft_of(Ok(vec![1])).unwrap(), -1);
        let none = io::Error::from_raw_os_error(nix::libc::ENODATA);
        assert_eq!(soft_of(Err(none)).unwrap(), -1);
    }

    #[test]
    fn paths() {
        let check = |path: &str, want: &str| assert_eq!(canonical(path), want);
        check("/", "/");
        check("//a//b/", "/a/b");
    }
}

//! The machine itself.

use super::brick_dir::{
    BrickPlace, BrickReady, MarkBrick, PrepareBrick, StartBrick, VolumeIdCheck, check, check_start,
    check_volume_id, mark, mount_dir, mount_root, reason, unmark,
};
use super::fs::{BrickFs, RealFs};
use super::hooks::{SCRIPT_BOUND, is_script};
use super::process;
use super::{Command, Dirs, Exit, FsDetail, HookRun, Host, Process, ProcessRef, Signal};
use async_trait::async_trait;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// Scripts of one folder that are run; more than that is no folder of hooks.
const SCRIPTS_MAX: usize = 256;
/// The kernel's own bound (XATTR_SIZE_MAX).
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Entries of one folder that are listed; ours hold one per volume or brick.
const ENTRIES_MAX: usize = 100_000;

#[derive(Debug)]
pub struct RealHost {
    dirs: Dirs,
    env: Vec<(String, String)>,
}

impl RealHost {
    pub fn new(dirs: Dirs) -> RealHost {
        let env = [
            ("GLUSTERD_WORKDIR", dirs.work.as_str()),
            ("DEFAULT_VAR_RUN_DIRECTORY", dirs.run.as_str()),
            ("_GLUSTERD_CALLED_", "1"),
        ];
        let env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        RealHost { dirs, env }
    }
}

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work does not panic")
}

#[async_trait]
impl Host for RealHost {
    fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    async fn check_brick(&self, ask: &PrepareBrick) -> Result<BrickPlace, String> {
        let ask = ask.clone();
        blocking(move || {
            let overridden = check(&RealFs, &ask)?;
            let place = place(&ask.path).map_err(|err| {
                let (host, path, why) = (&ask.host, &ask.path, reason(&err));
                format!("Failed to find the mount of brick {host}:{path}. Reason : {why}")
            })?;
            Ok(BrickPlace { overridden, ..place })
        })
        .await
    }

    async fn mark_brick(&self, ask: &MarkBrick) -> Result<(), String> {
        let ask = ask.clone();
        blocking(move || mark(&RealFs, &ask)).await
    }

    async fn unmark_brick(&self, path: &str, volume_id: Uuid) -> Result<(), String> {
        let path = path.to_owned();
        blocking(move || unmark(&RealFs, &path, volume_id)).await
    }

    async fn check_brick_start(&self, ask: &StartBrick) -> Result<BrickReady, String> {
        let ask = ask.clone();
        blocking(move || check_start(&RealFs, &ask)).await
    }

    async fn check_volume_id(&self, path: &str, volume: &[u8; 16]) -> VolumeIdCheck {
        let (path, volume) = (path.to_owned(), *volume);
        blocking(move || check_volume_id(&RealFs, &path, &volume)).await
    }

    async fn real_path(&self, path: &str) -> io::Result<String> {
        let path = path.to_owned();
        blocking(move || real_path(&path)).await
    }

    async fn is_directory(&self, path: &str) -> bool {
        let path = path.to_owned();
        blocking(move || std::fs::metadata(path).is_ok_and(|found| found.is_dir())).await
    }

    async fn fs_detail(&self, path: &str) -> io::Result<FsDetail> {
        let path = path.to_owned();
        blocking(move || super::fs_detail::fs_detail(&path)).await
    }

    async fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let path = path.to_owned();
        blocking(move || {
            use std::io::Read;
            let mut bytes = Vec::new();
            std::fs::File::open(&path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
            match bytes.len() as u64 > bytes_max {
                true => Err(io::Error::new(io::ErrorKind::FileTooLarge, path)),
                false => Ok(bytes),
            }
        })
        .await
    }

    async fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, bytes) = (path.to_owned(), bytes.to_owned());
        blocking(move || {
            let beside = format!("{path}.tmp");
            std::fs::write(&beside, bytes)?;
            std::fs::rename(&beside, &path)
        })
        .await
    }

    async fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let path = path.to_owned();
        blocking(move || {
            let names = std::fs::read_dir(path)?.take(ENTRIES_MAX);
            let mut names: Vec<String> =
                names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    async fn make_dirs(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || std::fs::create_dir_all(path)).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        blocking(move || std::fs::rename(from, to)).await
    }

    async fn unlink(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || match std::fs::remove_file(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        })
        .await
    }

    async fn run(&self, command: &Command, bound: Duration) -> io::Result<Exit> {
        process::run(command, &self.env, bound).await
    }

    async fn spawn(&self, command: &Command) -> io::Result<()> {
        process::spawn(command, &self.env)
    }

    async fn process_of(&self, pid_file: &str) -> Option<Process> {
        let pid_file = pid_file.to_owned();
        blocking(move || process::look_by_pid_file(&pid_file)).await
    }

    async fn signal(&self, target: &ProcessRef, signal: Signal) -> io::Result<bool> {
        process::signal(target, signal)
    }

    async fn exited(&self, target: &ProcessRef, bound: Option<Duration>) -> bool {
        process::exited(target, bound).await
    }

    async fn holds_open(&self, pid: i32, path: &str) -> bool {
        let path = path.to_owned();
        blocking(move || holds_open(pid, &path)).await
    }

    fn port_is_free(&self, port: u16) -> bool {
        use rustix::net::{AddressFamily, SocketType, bind, socket};
        // Not the standard listener: that one sets SO_REUSEADDR, which bricks do not.
        let Ok(fd) = socket(AddressFamily::INET, SocketType::STREAM, None) else { return false };
        let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, port);
        bind(&fd, &any).is_ok()
    }

    fn random(&self) -> u64 {
        uuid::Uuid::new_v4().as_u64_pair().0
    }

    fn unix_time_s(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    async fn is_local(&self, host: &str) -> io::Result<bool> {
        super::address::is_local(host).await
    }

    async fn reaches(&self, host: &str, port: u16) -> bool {
        super::address::reaches(host, port).await
    }

    async fn addresses(&self, host: &str) -> io::Result<Vec<std::net::IpAddr>> {
        super::address::addresses(host).await
    }

    fn own_addresses(&self) -> io::Result<Vec<std::net::IpAddr>> {
        super::address::reachable()
    }

    async fn address_towards(&self, target: std::net::IpAddr) -> io::Result<std::net::IpAddr> {
        super::address::towards(target).await
    }

    async fn run_hooks(&self, run: &HookRun) {
        let folder = self.dirs.hooks(run.event, run.phase.text());
        let listed = folder.clone();
        for name in blocking(move || scripts(&listed)).await {
            let script = Command::new(format!("{folder}/{name}")).args(run.args.iter().cloned());
            // Stock's words, for whoever waits for them in the log.
            let said = format!("script: {} {}", script.program, script.args.join(" "));
            match process::run(&script, &self.env, SCRIPT_BOUND).await {
                Ok(exit) if exit.is_success() => tracing::info!("Ran {said}"),
                Ok(exit) => tracing::error!(?exit, "Failed to execute {said}"),
                Err(err) => tracing::error!(%err, "Failed to execute {said}"),
            }
        }
    }

    async fn unmount_lazily(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || Ok(rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH)?))
            .await
    }

    async fn check_dir(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || std::fs::read_dir(path).map(drop)).await
    }

    async fn lstat_dir(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || match std::fs::symlink_metadata(path)?.is_dir() {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR)),
        })
        .await
    }

    async fn overwrite(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, bytes) = (path.to_owned(), bytes.to_owned());
        blocking(move || std::fs::write(path, bytes)).await
    }

    async fn make_temp_dir(&self, prefix: &str) -> io::Result<String> {
        let template = format!("{prefix}XXXXXX");
        blocking(move || Ok(nix::unistd::mkdtemp(template.as_str())?.display().to_string())).await
    }

    async fn remove_empty_dir(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        blocking(move || std::fs::remove_dir(path)).await
    }

    async fn xattr(&self, path: &str, name: &str) -> io::Result<Vec<u8>> {
        let (path, name) = (path.to_owned(), name.to_owned());
        blocking(move || {
            let mut value = vec![0; XATTR_BYTES_MAX];
            let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
            value.truncate(length);
            Ok(value)
        })
        .await
    }

    async fn set_xattr(&self, path: &str, name: &str, value: &[u8]) -> io::Result<()> {
        let (path, name, value) = (path.to_owned(), name.to_owned(), value.to_owned());
        let flags = rustix::fs::XattrFlags::empty();
        blocking(move || Ok(rustix::fs::lsetxattr(path, name, &value, flags)?)).await
    }

    async fn remove_xattr(&self, path: &str, name: &str) -> io::Result<()> {
        let (path, name) = (path.to_owned(), name.to_owned());
        blocking(move || Ok(rustix::fs::lremovexattr(path, name)?)).await
    }
}

fn place(path: &str) -> io::Result<BrickPlace> {
    let root = mount_root(&RealFs, path)?;
    Ok(BrickPlace {
        real_path: real_path(path)?,
        mount_dir: mount_dir(path, &root),
        fsid: RealFs.fsid(path)?,
        overridden: None,
    })
}

fn real_path(path: &str) -> io::Result<String> {
    match std::fs::canonicalize(path) {
        Ok(real) => real
            .into_os_string()
            .into_string()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the path is not UTF-8")),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(err) => Err(err),
    }
}

/// Names of the folder's scripts in byte order. No folder, no scripts.
fn scripts(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_script(name))
        .take(SCRIPTS_MAX)
        .collect();
    names.sort_unstable();
    names
}

fn holds_open(pid: i32, path: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|target| target.as_os_str() == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HookQueue, Phase};
    use crate::model::VolumeName;
    use std::sync::Arc;

    fn host_in(dir: &std::path::Path) -> RealHost {
        let root = dir.to_str().unwrap();
        let sub = |name: &str| format!("{root}/{name}");
        RealHost::new(Dirs { work: sub("lib"), run: sub("run"), log: sub("log") })
    }

    #[tokio::test]
    async fn hooks_run_in_order_with_arguments_and_environment() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let host = host_in(dir.path());
        let folder = host.dirs().hooks("stop", "post");
        std::fs::create_dir_all(&folder).unwrap();
        let out = dir.path().join("out");
        let script = |name: &str, mode: u32, exit: i32| {
            let path = format!("{folder}/{name}");
            let out = out.display();
            let text =
                format!("#!/bin/sh\necho {name} $* $GLUSTERD_WORKDIR $PWD >> {out}\nexit {exit}\n");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        script("S20b", 0o755, 0);
        script("S10a", 0o755, 1);
        script("S15x", 0o644, 0);
        script("K05", 0o755, 0);
        let work = host.dirs().work.clone();
        let queue = HookQueue::start(Arc::new(host));
        queue.push(HookRun::stop(Phase::Post, &VolumeName::parse("v").unwrap(), true));
        let want =
            format!("S10a --volname=v --last=yes {work} /\nS20b --volname=v --last=yes {work} /\n");
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if std::fs::read_to_string(&out).is_ok_and(|text| text == want) {
                return;
            }
        }
        panic!("{:?}", std::fs::read_to_string(&out));
    }

    #[tokio::test]
    async fn files() {
        let dir = tempfile::tempdir().unwrap();
        let host = host_in(dir.path());
        let path = format!("{}/f", dir.path().display());
        host.write(&path, b"abc").await.unwrap();
        assert_eq!(host.read(&path, 3).await.unwrap(), b"abc");
        assert!(host.read(&path, 2).await.is_err());
        host.unlink(&path).await.unwrap();
        host.unlink(&path).await.unwrap();
        assert!(host.read(&path, 2).await.is_err());
    }

    #[test]
    fn a_port_in_use_is_not_free() {
        let host = RealHost::new(Dirs::default());
        let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(!host.port_is_free(port));
        drop(taken);
        assert!(host.port_is_free(port));
    }

    /// Only root may set trusted attributes, and not on every file system.
    #[tokio::test]
    async fn a_directory_becomes_a_brick_or_says_why_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = format!("{}/b", dir.path().display());
        let ask = PrepareBrick {
            volume: "v".into(),
            host: "h".into(),
            path: path.clone(),
            force: true,
            ignore_partition: false,
        };
        let host = host_in(dir.path());
        let volume_id = Uuid::from_u128(5);
        match host.check_brick(&ask).await {
            Ok(place) => {
                let (host_name, path) = (ask.host.clone(), path.clone());
                let mark = MarkBrick { volume_id, host: host_name, path, force: false };
                host.mark_brick(&mark).await.unwrap();
                let path = mark.path;
                assert_eq!(place.real_path, path);
                assert!(path.ends_with(&place.mount_dir));
                let ours = host.check_volume_id(&path, volume_id.as_bytes()).await;
                assert_eq!(ours, VolumeIdCheck::Ours);
            }
            Err(text) => {
                assert!(text.contains("Glusterfs is not supported on brick"), "{text}");
                assert!(!std::path::Path::new(&path).exists());
            }
        }
    }
}

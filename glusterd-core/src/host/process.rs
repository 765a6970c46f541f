//! Processes: what we start, how we recognise them again, how they are signalled and waited for.
//!
//! A daemon outlives us and is no child of ours, so it is known by its number and an argument of
//! its command line. Signals and waits go through a pidfd that is opened first and compared second:
//! a number that was reused is never signalled.

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longest `/proc/PID/cmdline` that is looked at, in bytes.
const CMDLINE_MAX: u64 = 128 * 1024;
const PID_FILE_MAX: u64 = 64;

/// A program and its arguments. Run in `/` with our environment, the directories of this daemon,
/// and nothing on its standard descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub program: String,
    pub args: Vec<String>,
}

impl Command {
    pub fn new(program: impl Into<String>) -> Command {
        Command { program: program.into(), args: Vec::new() }
    }

    pub fn arg(mut self, arg: impl Into<String>) -> Command {
        self.args.push(arg.into());
        self
    }

    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Command {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The word after `flag`.
    pub fn option(&self, flag: &str) -> Option<&str> {
        word_after(&self.args, flag)
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Not in time; it was killed.
    TimedOut,
}

impl Exit {
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }
}

/// A live process of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// With the program's name in front.
    pub args: Vec<String>,
}

impl Process {
    pub fn has(&self, arg: &str) -> bool {
        self.args.iter().any(|known| known == arg)
    }

    /// The word after `flag`: `-S` gives the socket, `--brick-port` the port.
    pub fn option(&self, flag: &str) -> Option<&str> {
        word_after(&self.args, flag)
    }
}

fn word_after<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == flag)?;
    args.get(at + 1).map(String::as_str)
}

/// A process by number, and an argument that tells it from whoever gets the number next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProcessRef {
    pub pid: i32,
    pub marker: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Term,
    Kill,
    Hup,
    Usr1,
}

impl Signal {
    fn raw(self) -> rustix::process::Signal {
        use rustix::process::Signal as Raw;
        match self {
            Signal::Term => Raw::TERM,
            Signal::Kill => Raw::KILL,
            Signal::Hup => Raw::HUP,
            Signal::Usr1 => Raw::USR1,
        }
    }
}

/// The process with this number if it is alive and a GlusterFS program.
pub(super) fn look(pid: i32) -> Option<Process> {
    let bytes = read_start(&format!("/proc/{pid}/cmdline"), CMDLINE_MAX).ok()?;
    let args: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect();
    // An interpreter or valgrind may stand in front of the program.
    let ours = args.iter().take(8).any(|arg| {
        matches!(arg.rsplit('/').next(), Some("glusterfsd" | "glusterfs" | "glusterfs-fuse"))
    });
    // A zombie has no command line.
    ours.then_some(Process { pid, args })
}

pub(super) fn look_by_pid_file(pid_file: &str) -> Option<Process> {
    let text = read_start(pid_file, PID_FILE_MAX).ok()?;
    let text = std::str::from_utf8(&text).ok()?;
    let pid: i32 = text.split_ascii_whitespace().next()?.parse().ok()?;
    (pid > 1).then(|| look(pid)).flatten()
}

fn read_start(path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A descriptor of `target`, or `None` when it has ended.
fn open(target: &ProcessRef) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(target.pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => {
            // Opened first: from here on the number cannot change hands unseen.
            let same = look(target.pid).is_some_and(|process| process.has(&target.marker));
            Ok(same.then_some(fd))
        }
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

pub(super) fn signal(target: &ProcessRef, signal: Signal) -> io::Result<bool> {
    let Some(fd) = open(target)? else { return Ok(false) };
    match pidfd_send_signal(&fd, signal.raw()) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

pub(super) async fn exited(target: &ProcessRef, bound: Option<Duration>) -> bool {
    let ended = async {
        match open(target) {
            Ok(None) => true,
            Ok(Some(fd)) => match registered(fd) {
                // Readable: the process has ended.
                Ok(fd) => fd.readable().await.is_ok(),
                Err(err) => poll_exit(target, &err).await,
            },
            Err(err) => poll_exit(target, &err).await,
        }
    };
    match bound {
        Some(bound) => tokio::time::timeout(bound, ended).await.unwrap_or(false),
        None => ended.await,
    }
}

// Deprecated for types that may lie about their descriptor; an OwnedFd does not.
#[allow(deprecated)]
fn registered(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Without a descriptor (none left, an old kernel) looking every second is what remains.
async fn poll_exit(target: &ProcessRef, err: &io::Error) -> bool {
    tracing::warn!(pid = target.pid, %err, "no descriptor for a process, polling it");
    while look(target.pid).is_some_and(|process| process.has(&target.marker)) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    true
}

pub(super) fn prepared(command: &Command, env: &[(String, String)]) -> tokio::process::Command {
    let mut prepared = tokio::process::Command::new(&command.program);
    prepared
        .args(&command.args)
        .envs(env.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own: an interrupt at our terminal is not for it, and a hook's children
        // can be ended with it.
        .process_group(0);
    prepared
}

pub(super) async fn run(
    command: &Command,
    env: &[(String, String)],
    bound: Duration,
) -> io::Result<Exit> {
    use std::os::unix::process::ExitStatusExt;
    let mut child = prepared(command, env).spawn()?;
    let status = match tokio::time::timeout(bound, child.wait()).await {
        Ok(status) => status?,
        Err(_) => {
            kill_group(&child);
            child.wait().await?;
            return Ok(Exit::TimedOut);
        }
    };
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    })
}

fn kill_group(child: &tokio::process::Child) {
    // Not reaped yet, so the number is still the child's, and the group's.
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    if let Err(err) = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL) {
        tracing::warn!(%err, "a program that took too long could not be killed");
    }
}

/// Starts it; a task collects its status.
pub(super) fn spawn(command: &Command, env: &[(String, String)]) -> io::Result<()> {
    let mut child = prepared(command, env).spawn()?;
    let program = command.program.clone();
    tokio::spawn(async move {
        match child.wait().await {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!(program, %status, "a program failed"),
            Err(err) => tracing::warn!(program, %err, "a program's status is lost"),
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let command = Command::new("/usr/sbin/glusterfsd").args(["-S", "/s", "-p"]);
        let check = |flag, want| assert_eq!(command.option(flag), want);
        check("-S", Some("/s"));
        check("-p", None);
        check("-x", None);
    }

    /// A stand-in that looks like a brick: `sh` under the name glusterfsd.
    fn stand_in(dir: &std::path::Path, seconds: &str) -> (std::process::Child, ProcessRef) {
        use std::os::unix::process::CommandExt;
        let child = std::process::Command::new("/bin/sh")
            .arg0("glusterfsd")
            .args(["-c", &format!("sleep {seconds}; :"), "-p", "/run/x.pid"])
            .current_dir(dir)
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        // Until exec the child still carries our own command line.
        let marker = "/run/x.pid".to_owned();
        while !look(pid).is_some_and(|process| process.has(&marker)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        (child, ProcessRef { pid, marker })
    }

    #[tokio::test]
    async fn a_process_is_found_signalled_and_seen_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, target) = stand_in(dir.path(), "60");
        let pid_file = dir.path().join("x.pid");
        std::fs::write(&pid_file, format!("{}\n", target.pid)).unwrap();
        let found = look_by_pid_file(pid_file.to_str().unwrap()).unwrap();
        assert_eq!(found.option("-p"), Some("/run/x.pid"));

        assert!(!exited(&target, Some(Duration::from_millis(20))).await);
        let stranger = ProcessRef { marker: "/run/y.pid".into(), ..target.clone() };
        assert!(!signal(&stranger, Signal::Kill).unwrap(), "another program has the number");
        assert!(exited(&stranger, None).await);
        assert!(signal(&target, Signal::Kill).unwrap());
        assert!(exited(&target, Some(Duration::from_secs(20))).await);
        // Not reaped: a zombie is no process any more.
        assert!(look(target.pid).is_none());
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_killed_with_its_children() {
        let sh = |text: &str| Command::new("/bin/sh").args(["-c", text]);
        let check = async |text: &str, want| {
            let got = run(&sh(text), &[("X".into(), "7".into())], Duration::from_secs(2)).await;
            assert_eq!(got.unwrap(), want, "{text}");
        };
        check("exit $X", Exit::Code(7)).await;
        check("kill -9 $$", Exit::Signal(9)).await;
        check("sleep 60 & wait", Exit::TimedOut).await;
        assert!(run(&Command::new("/no/such"), &[], Duration::from_secs(2)).await.is_err());
    }

    #[test]
    fn bad_pid_files_name_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str| {
            let path = dir.path().join("p");
            std::fs::write(&path, text).unwrap();
            assert_eq!(look_by_pid_file(path.to_str().unwrap()), None, "{text:?}");
        };
        for text in ["", "x", "0", "1", "-1", "99999999999999", "4194304"] {
            check(text);
        }
        assert_eq!(look_by_pid_file("/no/such"), None);
    }
}

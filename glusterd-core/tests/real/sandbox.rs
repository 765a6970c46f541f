//! A machine of its own for one test: namespaces, folders in memory, a daemon of either kind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Whose daemon is `glusterd` in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stock,
    Ours,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Exit status; 128 plus the signal's number when one killed it, 124 after a time-out.
    pub exit: i32,
    pub out: String,
    pub err: String,
}

/// One command never takes longer than this.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);
/// A sandbox nobody ends ends itself after this.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(1500);

/// PID 1 in there: it sets the scene, says so, and reaps what is orphaned. Its arguments: the name of the
/// machine and the text of /etc/hosts.
const SCENE: &str = r#"
exec 2>&1
set -e
mount --make-rprivate /
keep=$(mktemp -d); cp -a /var/lib/glusterd/hooks /var/lib/glusterd/groups $keep
for folder in /var/lib/glusterd /var/log/glusterfs /run /srv /mnt; do mount -t tmpfs tmpfs $folder; done
cp -a $keep/. /var/lib/glusterd; rm -rf $keep
mkdir -p /run/gluster /run/lock /srv/b /mnt/m
ip link set lo up
hostname $1
printf %s "$2" > /run/hosts
mount --bind /run/hosts /etc/hosts
cd /
echo set
set +e
while :; do sleep 1000 & wait $!; done
"#;

/// One machine under two names.
const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.1 node1\n127.0.0.2 node2\n";

const NAMESPACES: [&str; 5] = ["--mount", "--net", "--pid", "--ipc", "--uts"];

pub struct Sandbox {
    outer: Child,
    /// PID 1 of the sandbox, as seen from outside.
    init: u32,
    kind: Kind,
}

impl Sandbox {
    /// Sets the scene; no daemon runs yet.
    pub fn new(kind: Kind) -> Sandbox {
        Sandbox::lasting(kind, SANDBOX_TIMEOUT)
    }

    /// The same, for `limit` at most.
    pub fn lasting(kind: Kind, limit: Duration) -> Sandbox {
        assert!(nix::unistd::geteuid().is_root(), "real bricks and mounts need root");
        for program in
            ["/usr/sbin/glusterd", "/usr/sbin/gluster", "/usr/sbin/glusterfsd", "/dev/fuse"]
        {
            assert!(
                Path::new(program).exists(),
                "{program} is missing: scripts/debian-packages installs it"
            );
        }
        let mut outer = Command::new("timeout");
        outer.args(["--foreground", "--signal=KILL", &limit.as_secs().to_string()]);
        Sandbox::set(kind, outer, "node1", HOSTS)
    }

    /// A machine of its own inside this one: it ends with it, and no wire leads to it yet.
    pub fn inside(&self, name: &str, hosts: &str) -> Sandbox {
        let mut outer = Command::new("nsenter");
        outer.arg(format!("--target={}", self.init)).args(NAMESPACES).arg("--");
        Sandbox::set(self.kind, outer, name, hosts)
    }

    fn set(kind: Kind, mut outer: Command, name: &str, hosts: &str) -> Sandbox {
        let mut outer = outer
            .arg("unshare")
            .args(NAMESPACES)
            .args(["--fork", "--kill-child", "--mount-proc"])
            .args(["bash", "-c", SCENE, "_", name, hosts])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // unshare grumbles there; what the scene says goes to stdout.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(outer.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "set\n", "the sandbox could not be set up");
        let unshare = only_child(outer.id());
        let init = only_child(unshare);
        Sandbox { outer, init, kind }
    }

    /// Its PID 1 as it is called in the machine around it.
    pub fn init_outside(&self) -> u32 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.init)).unwrap();
        let names = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
        let names: Vec<&str> = names.split_whitespace().collect();
        names[names.len() - 2].parse().unwrap()
    }

    /// A sandbox in which the daemon answers.
    pub fn started(kind: Kind) -> Sandbox {
        let sandbox = Sandbox::new(kind);
        sandbox.start();
        sandbox
    }

    /// Runs a script in bash; `glusterd` is the daemon of the sandbox's kind.
    pub fn sh(&self, script: &str) -> Done {
        self.sh_within(COMMAND_TIMEOUT, script)
    }

    /// The same, killed after `limit`.
    pub fn sh_within(&self, limit: Duration, script: &str) -> Done {
        done(self.command(script, limit).output().unwrap())
    }

    /// Starts a script and leaves it running.
    pub fn spawn(&self, script: &str) -> Child {
        let mut command = self.command(script, COMMAND_TIMEOUT);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs a program with just these words; no shell reads them.
    pub fn exec(&self, words: &[&str]) -> Done {
        done(self.program(words, COMMAND_TIMEOUT).output().unwrap())
    }

    fn command(&self, script: &str, limit: Duration) -> Command {
        self.program(&["bash", "-c", script], limit)
    }

    fn program(&self, words: &[&str], limit: Duration) -> Command {
        let ours = our_folder();
        let stock = "/usr/sbin:/usr/bin:/sbin:/bin";
        let path =
            if self.kind == Kind::Ours { format!("{ours}:{stock}") } else { stock.to_owned() };
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init))
            .args(NAMESPACES)
            .args(["--", "timeout", "--kill-after=2", &limit.as_secs().to_string()])
            .args(words)
            .env_clear()
            .envs([("PATH", path.as_str()), ("TZ", "UTC"), ("HOME", "/root"), ("LC_ALL", "C")])
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs `gluster --mode=script LINE`.
    pub fn gluster(&self, line: &str) -> Done {
        self.sh(&format!("gluster --mode=script {line}"))
    }

    /// The same, and it has to work.
    pub fn must(&self, line: &str) -> String {
        let done = self.gluster(line);
        assert_eq!(done.exit, 0, "gluster {line}: {done:?}\n{}", self.log_tail());
        done.out
    }

    /// Starts the daemon; returns when its parent process has.
    pub fn start(&self) {
        let done = self.sh("glusterd --pid-file=/run/glusterd.pid");
        assert_eq!(done.exit, 0, "{done:?}\n{}", self.log_tail());
    }

    /// Sends the daemon a signal and waits until it is gone.
    pub fn end(&self, signal: &str) {
        let script = format!(
            "pid=$(cat /run/glusterd.pid); kill -{signal} $pid; \
             for i in $(seq 500); do [ -e /proc/$pid ] || exit 0; sleep 0.01; done; exit 1"
        );
        assert_eq!(self.sh(&script).exit, 0, "the daemon does not end on {signal}");
    }

    /// The last lines of the daemon's log, for a failure's message.
    pub fn log_tail(&self) -> String {
        self.sh("tail -n 25 /var/log/glusterfs/glusterd.log").out
    }

    /// A path in the sandbox, as seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// The text of a file in the sandbox.
    pub fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap_or_else(|error| panic!("{inside}: {error}"))
    }

    /// Asks again and again until the answer is yes, `limit` at most.
    pub fn until(&self, what: &str, limit: Duration, mut ask: impl FnMut(&Sandbox) -> bool) {
        let end = Instant::now() + limit;
        while !ask(self) {
            assert!(Instant::now() < end, "not within {limit:?}: {what}\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // PID 1 dead, the kernel ends everything else in there.
        let init = nix::unistd::Pid::from_raw(self.init.cast_signed());
        let _ = nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL);
        let _ = self.outer.wait();
    }
}

/// Where our daemon lies: the one this test was built with, or another build's, say a release's.
fn our_folder() -> String {
    std::env::var("GLUSTERD_BIN_DIR").unwrap_or_else(|_| {
        Path::new(env!("CARGO_BIN_EXE_glusterd")).parent().unwrap().display().to_string()
    })
}

fn done(output: Output) -> Done {
    Done {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn only_child(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    for _ in 0..200 {
        if let Ok(child) = fs::read_to_string(&path).unwrap_or_default().trim().parse() {
            return child;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("process {pid} has not one child");
}

//! The program itself: arguments, exit statuses, pid files, signals, the log; against stock's where it says something.

use std::time::{Duration, Instant};

use super::sandbox::{Done, Kind, Sandbox};

/// Command lines that end at once: same exit status, same first line on either stream.
const ENDING: &[&str] = &[
    "--version",
    "-V",
    "--no-d --versi",
    "--print-logdir",
    "--print-statedumpdir",
    "--print-xlatordir",
    "--print-libexecdir",
    "--nonsense",
    "-h",
    "--debug=1",
    "--help=x",
    "--print-logdir=1",
    "--mem-accounting",
    "--log-level=BOGUS",
    "-L_DEBUG_",
    "-L debug -V",
    "--xlator-option foo",
    "--xlator-option foo.bar",
    "--xlator-option foo=bar",
    "--xlator-option management.x=",
    "--xlator-option .a=b -V",
    "--log-buf-size=x",
    "--log-buf-size=-1",
    "--log-flush-timeout=x",
    "--logger=foo",
    "--log-format=foo",
    "--secure-mgmt=maybe",
    "--secure-mgmt -V",
    "--global-threading=x",
    "--volfile-server-port=x",
    "--oom-score-adj=99999",
    "--mac-compat=zz",
    "--client-pid=x",
    "--direct-io-mode=x",
    "--event-history=xx",
    "--io-engine=foo -V",
    "--read-only --worm --acl --selinux --fuse-mountopts=x --dump-fuse x --process-name x -V",
];

/// Command lines that fail later or say it in words of their own: same exit status.
const FAILING: &[&str] = &[
    "-p",
    "-L",
    "--log-level",
    "--log -V",
    "a b -V",
    "a -N",
    "-e /nonexistent",
    "--pid-file=/nonexistent/d/p",
    "-f /nonexistent.vol",
    "--xlator-option management.working-directory=/dev/null/x",
    "--xlator-option management.transport.socket.listen-port=foo",
];

fn first_line(done: &Done) -> String {
    let line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    format!("{} | {} | {}", done.exit, line(&done.out), line(&done.err))
}

#[test]
fn arguments_are_taken_as_stock_takes_them() {
    let (stock, ours) = (Sandbox::new(Kind::Stock), Sandbox::new(Kind::Ours));
    let mut faults = Vec::new();
    for line in ENDING {
        let script = format!("glusterd {line}");
        let (want, got) = (first_line(&stock.sh(&script)), first_line(&ours.sh(&script)));
        if want != got {
            faults.push(format!("glusterd {line}\n  stock: {want}\n  ours:  {got}"));
        }
    }
    for line in FAILING {
        let script = format!("glusterd {line}");
        let (want, got) = (stock.sh(&script).exit, ours.sh(&script).exit);
        if want != got {
            faults.push(format!("glusterd {line}\n  stock: {want}\n  ours:  {got}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_parent_leaves_when_the_cli_can_connect() {
    let sandbox = Sandbox::new(Kind::Ours);
    let begin = Instant::now();
    let done = sandbox.sh("glusterd -p /run/glusterd.pid && gluster volume list; cat /run/glusterd.pid /proc/$(cat /run/glusterd.pid)/comm");
    let took = begin.elapsed();
    assert_eq!(done.exit, 0, "{done:?}\n{}", sandbox.log_tail());
    assert!(done.out.ends_with("\nglusterd\n"), "{done:?}");
    // The CLI alone takes about 80 ms; a debug build is several times slower than a release.
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_signal_is_the_exit_status() {
    let sandbox = Sandbox::new(Kind::Ours);
    for (signal, status) in [("TERM", 15), ("INT", 2)] {
        let script = format!(
            "glusterd -N -p /run/n.pid & pid=$!; for i in $(seq 200); do [ -s /run/n.pid ] && break; sleep 0.02; done; \
             [ $(cat /run/n.pid) = $pid ] || exit 99; rm /run/n.pid; kill -{signal} $pid; wait $pid"
        );
        // A script in the background ignores INT unless told otherwise; job control tells it.
        let done = sandbox.sh(&format!("set -m; {script}"));
        assert_eq!(done.exit, status, "{signal}: {done:?}\n{}", sandbox.log_tail());
    }
}

#[test]
fn hangup_opens_the_log_anew() {
    let sandbox = Sandbox::started(Kind::Ours);
    sandbox.sh("mv /var/log/glusterfs/glusterd.log /var/log/glusterfs/old; kill -HUP $(cat /run/glusterd.pid)");
    let fresh = sandbox.path("/var/log/glusterfs/glusterd.log");
    sandbox.until("a new log", Duration::from_secs(5), |_| fresh.exists());
    sandbox.end("TERM");
    assert!(
        sandbox
            .read("/var/log/glusterfs/glusterd.log")
            .contains("received signum (15), shutting down")
    );
    assert!(sandbox.read("/var/log/glusterfs/old").contains("] I [MSGID: 100030] ["));
}

#[test]
fn a_failed_start_is_explained_by_the_parent() {
    let sandbox = Sandbox::new(Kind::Ours);
    for (line, want) in [
        ("glusterd --xlator-option management.working-directory=/dev/null/x", "/dev/null/x"),
        ("GLUSTERD_COORDINATOR__URLL=x glusterd", "GLUSTERD_COORDINATOR__URLL"),
        (
            "printf '[network]\\nlisten_prt = 1\\n' > /etc/glusterfs/glusterd.toml; glusterd",
            "listen_prt",
        ),
    ] {
        let done = sandbox.sh(&format!("mount -t tmpfs tmpfs /etc/glusterfs; {line}; code=$?; umount /etc/glusterfs; exit $code"));
        assert!(done.exit == 1 && done.err.contains(want), "{line}: {done:?}");
    }
}

/// A second daemon must not steal the first one's socket or port.
#[test]
fn a_second_daemon_is_refused() {
    let sandbox = Sandbox::started(Kind::Ours);
    let done = sandbox.sh("timeout 20 glusterd");
    assert!(done.exit == 1 && !done.err.is_empty(), "{done:?}");
    sandbox.must("volume list");
}

/// The upstream test clusters kill a daemon and start it again without a pause.
#[test]
fn it_starts_while_its_predecessor_is_still_dying() {
    let sandbox = Sandbox::started(Kind::Ours);
    for _ in 0..5 {
        let done = sandbox.sh("kill -9 $(cat /run/glusterd.pid); glusterd -p /run/glusterd.pid && gluster volume list");
        assert_eq!(done.exit, 0, "{done:?}\n{}", sandbox.log_tail());
    }
}

/// What `Type=notify` of the unit waits for.
#[test]
fn the_service_manager_is_told() {
    let sandbox = Sandbox::new(Kind::Ours);
    let socket = std::os::unix::net::UnixDatagram::bind(sandbox.path("/run/notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut daemon =
        sandbox.spawn("NOTIFY_SOCKET=/run/notify exec glusterd -N -p /run/glusterd.pid");
    let mut text = [0; 64];
    let length = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"READY=1\n");
    sandbox.must("volume list");
    sandbox.end("TERM");
    assert_eq!(daemon.wait().unwrap().code(), Some(15));
}

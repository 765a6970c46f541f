//! The daemon on a coordination service of its own, real servers beside it: absent at start, killed and
//! back while bricks run, away while the daemon starts again.
//!
//! One life for every service; a further one is a [`Service`] and a test that names it.

use std::time::{Duration, Instant};

use super::sandbox::{Kind, Sandbox};

/// Processes, files and a server that starts have this long on a busy machine.
const SETTLE: Duration = Duration::from_secs(60);
/// A daemon whose service is away is ready after this at the latest.
const READY: Duration = Duration::from_secs(9);

/// A server on loopback, with its data in the sandbox.
pub struct Service {
    program: &'static str,
    url: &'static str,
    /// Runs the server in the foreground, on the data it has left.
    run: &'static str,
}

pub const ETCD: Service = Service {
    program: "/usr/bin/etcd",
    url: "etcd://127.0.0.1:2379",
    run: "etcd --data-dir /run/etcd --listen-client-urls http://127.0.0.1:2379 \
          --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380",
};

pub const ZOOKEEPER: Service = Service {
    program: "/usr/share/java/zookeeper.jar",
    url: "zk://127.0.0.1:2181/gluster",
    run: "sh -c 'mkdir -p /run/zk && cd /run/zk && printf \"%s\\n\" tickTime=2000 dataDir=/run/zk/data \
          clientPort=2181 clientPortAddress=127.0.0.1 admin.enableServer=false > zoo.cfg && \
          exec java -Xmx128m -Dzookeeper.jmx.log4j.disable=true \
          -cp /usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar \
          org.apache.zookeeper.server.ZooKeeperServerMain zoo.cfg'",
};

impl Service {
    /// A sandbox whose daemon is configured for the service; nothing runs yet.
    fn sandbox(&self) -> Sandbox {
        assert!(
            std::path::Path::new(self.program).exists(),
            "{} is missing: scripts/debian-packages installs it",
            self.program
        );
        let sandbox = own_settings();
        configure(&sandbox, self.url);
        sandbox
    }

    pub fn url_at(&self, address: &str) -> String {
        self.url.replace("127.0.0.1", address)
    }

    pub fn start(&self, sandbox: &Sandbox) {
        self.start_at(sandbox, "127.0.0.1");
    }

    /// Listening on an address of the machine.
    pub fn start_at(&self, sandbox: &Sandbox, address: &str) {
        let run = self.run.replace("127.0.0.1", address);
        let done = sandbox
            .sh(&format!("setsid {run} >> /run/service.log 2>&1 & echo $! > /run/service.pid"));
        assert_eq!(done.exit, 0, "{done:?}");
    }

    fn kill(&self, sandbox: &Sandbox) {
        let done = sandbox.sh("kill -9 $(cat /run/service.pid)");
        assert_eq!(done.exit, 0, "{done:?}");
    }
}

/// A sandbox with an /etc/glusterfs of its own.
fn own_settings() -> Sandbox {
    let sandbox = Sandbox::new(Kind::Ours);
    let done = sandbox.sh("cp -a /etc/glusterfs /run/etc && mount --bind /run/etc /etc/glusterfs");
    assert_eq!(done.exit, 0, "{done:?}");
    sandbox
}

/// The one line of settings that chooses a service; read when the daemon starts.
fn configure(sandbox: &Sandbox, url: &str) {
    let done = sandbox.sh(&format!(
        "printf '[coordinator]\\nurl = \"%s\"\\n' {url} > /etc/glusterfs/glusterd.toml"
    ));
    assert_eq!(done.exit, 0, "{done:?}");
}

fn online(sandbox: &Sandbox) -> usize {
    sandbox.gluster("volume status v --xml").out.matches("<status>1</status>").count()
}

fn brick_pids(sandbox: &Sandbox) -> String {
    sandbox.sh("pgrep -x glusterfsd | sort -n").out
}

/// A change is refused in words; reads and volfiles go on.
fn without_the_service(sandbox: &Sandbox, mount: &str) {
    let refused = |sandbox: &Sandbox| {
        let done = sandbox.gluster("volume set v user.mark never");
        assert_ne!(done.exit, 0, "nothing can have been written: {done:?}");
        done.err.contains("The coordination service cannot be reached")
    };
    // A change that was under way when the server died may say that its fate is unknown.
    sandbox.until("a change refused for the right reason", SETTLE, refused);
    assert!(sandbox.must("volume info v").contains("Status: Started"));
    assert_eq!(sandbox.must("volume list"), "v\n");
    let script =
        format!("mkdir -p {mount} && mount -t glusterfs node1:/v {mount} && cat {mount}/file");
    let done = sandbox.sh(&script);
    assert_eq!(
        (done.exit, done.out.as_str()),
        (0, "text\n"),
        "GETSPEC without the service: {done:?}"
    );
    assert_eq!(sandbox.sh(&format!("umount {mount}")).exit, 0);
}

fn a_life(service: &Service) {
    let sandbox = service.sandbox();

    // Unreachable at start: ready all the same, and it says what it waits for.
    let begun = Instant::now();
    sandbox.start();
    assert!(begun.elapsed() < READY, "{:?}\n{}", begun.elapsed(), sandbox.log_tail());
    let waits = |sandbox: &Sandbox| {
        let log = sandbox.read("/var/log/glusterfs/glusterd.log");
        log.contains("waiting for the coordination service") && log.contains(service.url)
    };
    sandbox.until("a line in the log", SETTLE, waits);
    let create = "volume create v node1:/srv/b/1 node1:/srv/b/2 force";
    let done = sandbox.gluster(create);
    assert!(done.exit != 0 && done.err.contains("cannot be reached"), "{done:?}");

    // There: everything works, without a restart.
    service.start(&sandbox);
    sandbox.until("a volume created", SETTLE, |sandbox| sandbox.gluster(create).exit == 0);
    sandbox.must("volume start v");
    sandbox.must("volume set v user.mark 1");
    sandbox.until("both bricks online", SETTLE, |sandbox| online(sandbox) == 2);
    let done = sandbox.sh("mount -t glusterfs node1:/v /mnt/m && echo text > /mnt/m/file");
    assert_eq!(done.exit, 0, "{done:?}\n{}", sandbox.log_tail());
    let bricks = brick_pids(&sandbox);

    // Killed while bricks run.
    service.kill(&sandbox);
    without_the_service(&sandbox, "/mnt/one");
    assert_eq!(brick_pids(&sandbox), bricks, "bricks outlive the service");

    // The daemon starts again meanwhile: from the mirror, bricks adopted, a missing one started.
    sandbox.end("TERM");
    sandbox.sh("kill -9 $(pgrep -f -- '--brick-name [/]srv/b/1 ')");
    let begun = Instant::now();
    sandbox.start();
    assert!(begun.elapsed() < READY, "{:?}\n{}", begun.elapsed(), sandbox.log_tail());
    sandbox.until("both bricks online, one anew", SETTLE, |sandbox| online(sandbox) == 2);
    without_the_service(&sandbox, "/mnt/two");
    let bricks = brick_pids(&sandbox);

    // Back: it recovers by itself, with what was there before.
    service.start(&sandbox);
    let set = |sandbox: &Sandbox| sandbox.gluster("volume set v user.mark 2").exit == 0;
    sandbox.until("a change again", SETTLE, set);
    let info = sandbox.must("volume info v");
    assert!(info.contains("Status: Started") && info.contains("user.mark: 2"), "{info}");
    assert_eq!(brick_pids(&sandbox), bricks, "nothing is restarted by the way");
    assert_eq!(sandbox.sh("cat /mnt/m/file").out, "text\n");

    // A plain restart, and the end of the volume.
    sandbox.end("TERM");
    sandbox.start();
    assert!(sandbox.must("volume info v").contains("user.mark: 2"));
    assert_eq!(brick_pids(&sandbox), bricks);
    sandbox.sh("umount /mnt/m");
    sandbox.must("volume stop v");
    sandbox.must("volume delete v");
    assert_ne!(sandbox.must("volume list"), "v\n");
    sandbox.until("no brick left", SETTLE, |sandbox| brick_pids(sandbox).is_empty());
    sandbox.end("TERM");
}

#[test]
fn a_life_on_etcd() {
    a_life(&ETCD);
}

#[test]
fn a_life_on_zookeeper() {
    a_life(&ZOOKEEPER);
}

/// From service to service while the daemon is stopped; bricks and the mount do not notice.
#[test]
fn a_pool_moves() {
    let sandbox = own_settings();
    sandbox.start();
    sandbox.must("volume create v replica 2 node1:/srv/b/1 node1:/srv/b/2 force");
    sandbox.must("volume set v user.mark 0");
    sandbox.must("volume start v");
    sandbox.until("bricks and self-heal online", SETTLE, |sandbox| online(sandbox) == 3);
    let done = sandbox.sh("mount -t glusterfs node1:/v /mnt/m && echo text > /mnt/m/file");
    assert_eq!(done.exit, 0, "{done:?}\n{}", sandbox.log_tail());
    let (bricks, id) = (brick_pids(&sandbox), sandbox.must("system:: uuid get"));
    ETCD.start(&sandbox);
    ZOOKEEPER.start(&sandbox);

    let mut at = "local:";
    for (step, to) in [ETCD.url, ZOOKEEPER.url, "local:"].into_iter().enumerate() {
        let copy = format!("glusterd coordinator copy --replace {at} {to}");
        if at != "local:" {
            let done = sandbox.sh(&copy);
            assert_ne!(done.exit, 0, "a daemon of the pool runs: {done:?}");
        }
        sandbox.end("TERM");
        // The server may still be coming up.
        sandbox.until(&copy, SETTLE, |sandbox| {
            let done = sandbox.sh(&copy);
            done.exit == 0 && done.out.contains("compared: equal")
        });
        configure(&sandbox, to);
        sandbox.start();
        let mark = format!("user.mark: {step}");
        sandbox.until(to, SETTLE, |sandbox| {
            let info = sandbox.must("volume info v");
            info.contains("Status: Started") && info.contains(&mark)
        });
        let set = format!("volume set v user.mark {}", step + 1);
        sandbox.until(&set, SETTLE, |sandbox| sandbox.gluster(&set).exit == 0);
        assert_eq!(brick_pids(&sandbox), bricks, "{to}: bricks run on");
        assert_eq!(sandbox.must("system:: uuid get"), id, "{to}");
        assert_eq!(sandbox.sh("cat /mnt/m/file").out, "text\n", "{to}");
        at = to;
    }

    // A dump says what the copies said.
    sandbox.end("TERM");
    let done = sandbox.sh("glusterd coordinator dump local: /run/dump.json");
    assert_eq!(done.exit, 0, "{done:?}");
    sandbox.sh("rm -rf /var/lib/glusterd/coordination");
    let done = sandbox.sh("glusterd coordinator restore /run/dump.json local:");
    assert_eq!(done.exit, 0, "{done:?}");
    sandbox.start();
    assert!(sandbox.must("volume info v").contains("user.mark: 3"));
    assert_eq!(brick_pids(&sandbox), bricks);
    sandbox.sh("umount /mnt/m");
    sandbox.must("volume stop v");
    sandbox.must("volume delete v");
    sandbox.end("TERM");
}

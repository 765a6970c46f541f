//! Three daemons on the built-in store become a pool, lose each of them once under a client that
//! writes, lose all of them, and part again.
//!
//! They share one machine as in GlusterFS's own tests/cluster.rc: an address, folders and a socket
//! each.

use std::time::{Duration, Instant};

use super::sandbox::{Done, Kind, Sandbox};

/// Processes, elections and sessions have this long on a busy machine.
const SETTLE: Duration = Duration::from_secs(120);
const NODES: [u8; 3] = [1, 2, 3];

/// Writes without end, and notes each write that failed.
const WRITER: &str = "i=0; while [ ! -e /run/enough ]; do i=$((i+1)); \
    echo $i > /mnt/m/f$((i%20)) || echo $i >> /run/failed; echo $i > /run/count; sleep 0.02; done";

pub struct Pool(pub Sandbox);

pub fn host(node: u8) -> String {
    format!("127.1.1.{node}")
}

impl Pool {
    pub fn new() -> Pool {
        Pool::dressed("true")
    }

    /// The script runs before the daemons do.
    pub fn dressed(script: &str) -> Pool {
        let pool = Pool(Sandbox::new(Kind::Ours));
        let done = pool.0.sh(script);
        assert_eq!(done.exit, 0, "{done:?}");
        for node in NODES {
            let done = pool.0.sh(&format!("mkdir -p /srv/{node}/glusterd /srv/{node}/log"));
            assert_eq!(done.exit, 0, "{done:?}");
            pool.start(node);
        }
        pool
    }

    pub fn start(&self, node: u8) {
        let option = |key: &str, value: String| format!("--xlator-option management.{key}={value}");
        let options = [
            option("working-directory", format!("/srv/{node}/glusterd")),
            option("run-directory", format!("/srv/{node}/run")),
            option("transport.socket.bind-address", host(node)),
            option("glusterd-sockfile", format!("/srv/{node}/gd.sock")),
            option("logging-directory", format!("/srv/{node}/log")),
        ];
        let options = options.join(" ");
        let done = self.0.sh(&format!(
            "GLUSTERD_COORDINATOR__SESSION_TTL_S=4 glusterd {options} \
             --log-file=/srv/{node}/log/glusterd.log --pid-file=/srv/{node}/pid"
        ));
        assert_eq!(done.exit, 0, "{done:?}\n{}", self.logs());
    }

    pub fn kill(&self, node: u8) {
        let script = format!(
            "pid=$(cat /srv/{node}/pid); kill -9 $pid; \
             for i in $(seq 500); do [ -e /proc/$pid ] || exit 0; sleep 0.01; done; exit 1"
        );
        assert_eq!(self.0.sh(&script).exit, 0, "node {node} does not die");
    }

    pub fn gluster(&self, node: u8, line: &str) -> Done {
        self.0.gluster(&format!("--glusterd-sock=/srv/{node}/gd.sock {line}"))
    }

    pub fn must(&self, node: u8, line: &str) -> String {
        let done = self.gluster(node, line);
        assert_eq!(done.exit, 0, "{node}: gluster {line}: {done:?}\n{}", self.logs());
        done.out
    }

    fn logs(&self) -> String {
        self.0.sh("tail -n 15 /srv/*/log/glusterd.log").out
    }

    pub fn until(&self, what: &str, mut ask: impl FnMut(&Pool) -> bool) {
        let end = Instant::now() + SETTLE;
        while !ask(self) {
            assert!(Instant::now() < end, "not within {SETTLE:?}: {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn connected(&self, node: u8) -> usize {
        let status = self.gluster(node, "peer status").out;
        status.matches("State: Peer in Cluster (Connected)").count()
    }

    /// Everyone sees everyone, and the same volume with this mark.
    fn agrees(&self, mark: &str) {
        self.until(&format!("all agree on {mark}"), |pool| {
            NODES.iter().all(|node| {
                let info = pool.gluster(*node, "volume info v").out;
                pool.connected(*node) == 2 && info.contains(&format!("user.mark: {mark}\n"))
            })
        });
        for node in NODES {
            let stored = self.0.read(&format!("/srv/{node}/glusterd/vols/v/info"));
            assert!(stored.contains(&format!("user.mark={mark}\n")), "{node}: {stored}");
        }
    }

    fn written(&self) -> u64 {
        self.0.sh("cat /run/count").out.trim().parse().unwrap_or(0)
    }

    /// The client goes on writing.
    fn writes(&self) {
        let before = self.written();
        self.until("a write", |pool| pool.written() > before);
    }

    fn bricks(&self) -> String {
        self.0.sh("pgrep -x glusterfsd | sort -n").out
    }

    pub fn volume(&self) {
        let bricks = NODES.map(|node| format!("{}:/srv/{node}/b", host(node))).join(" ");
        self.must(2, &format!("volume create v replica 3 {bricks} force"));
        self.must(3, "volume start v");
        self.until("three bricks online", |pool| {
            pool.gluster(1, "volume status v --xml").out.matches("<status>1</status>").count() >= 3
        });
        let done = self.0.sh("mount -t glusterfs 127.1.1.1:/v /mnt/m");
        assert_eq!(done.exit, 0, "{done:?}\n{}", self.logs());
    }

    /// Each is killed once, so the one that leads is among them.
    fn each_dies(&self) {
        for node in NODES {
            let other = node % 3 + 1;
            self.kill(node);
            self.writes();
            let mark = format!("without-{node}");
            self.until("a change without one of three", |pool| {
                pool.gluster(other, &format!("volume set v user.mark {mark}")).exit == 0
            });
            self.start(node);
            self.agrees(&mark);
            self.writes();
        }
    }

    fn all_die(&self) {
        for node in NODES {
            self.kill(node);
        }
        self.writes();
        // One of three changes nothing, and says so.
        self.start(3);
        let refused = self.gluster(3, "volume set v user.mark alone");
        assert!(refused.err.contains("cannot be reached"), "{refused:?}");
        assert!(self.must(3, "volume info v").contains("user.mark: without-3"));
        self.start(1);
        self.start(2);
        self.agrees("without-3");
        self.until("a change again", |pool| {
            pool.gluster(1, "volume set v user.mark whole").exit == 0
        });
        self.agrees("whole");
    }

    fn parts(&self) {
        let taken = self.gluster(1, &format!("peer detach {}", host(3)));
        assert!(taken.err.contains("hosts one or more bricks"), "{taken:?}");
        self.must(1, "volume stop v");
        self.must(1, "volume delete v");
        self.must(1, &format!("peer detach {}", host(3)));
        // The founder of the store is a node as any other.
        self.must(2, &format!("peer detach {}", host(1)));
        for node in NODES {
            self.until("alone", |pool| {
                pool.gluster(node, "peer status").out == "Number of Peers: 0\n"
            });
        }
        self.until("a volume of its own", |pool| {
            pool.gluster(3, "volume create own 127.1.1.3:/srv/3/own force").exit == 0
        });
        let refused = self.gluster(1, &format!("peer probe {}", host(3)));
        let text = "127.1.1.3 is either already part of another cluster or having volumes";
        assert!(refused.exit != 0 && refused.err.contains(text), "{refused:?}");
        self.must(3, "volume delete own");
        self.must(1, &format!("peer probe {}", host(3)));
        self.until("two again", |pool| pool.connected(1) == 1 && pool.connected(3) == 1);
        assert_eq!(self.connected(2), 0);
    }
}

#[test]
fn three_daemons_become_a_pool_and_part_again() {
    let pool = Pool::new();
    pool.must(1, &format!("peer probe {}", host(2)));
    pool.must(1, &format!("peer probe {}", host(3)));
    pool.until("all connected", |pool| NODES.iter().all(|node| pool.connected(*node) == 2));
    let again = pool.gluster(1, &format!("peer probe {}", host(3)));
    assert!(again.out.contains("already in peer list"), "{again:?}");
    pool.volume();
    pool.must(2, "volume set v user.mark begin");
    pool.agrees("begin");
    let bricks = pool.bricks();
    let mut writer = pool.0.spawn(&format!("setsid bash -c '{WRITER}' > /dev/null 2>&1 &"));
    writer.wait().unwrap();
    pool.each_dies();
    pool.all_die();
    assert_eq!(pool.bricks(), bricks, "bricks outlive their daemons");
    pool.writes();
    pool.0.sh("touch /run/enough");
    let failed = pool.0.sh("cat /run/failed");
    assert_ne!(failed.exit, 0, "writes failed: {}", failed.out);
    pool.until("the mount is free", |pool| pool.0.sh("umount /mnt/m").exit == 0);
    pool.parts();
}

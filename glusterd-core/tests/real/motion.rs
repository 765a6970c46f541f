//! Bricks in motion with real processes: nothing that was in the volume is missing afterwards.

use std::time::Duration;

use super::sandbox::{Kind, Sandbox};

/// A few small files, on a machine that may be busy.
const MOVED: Duration = Duration::from_secs(60);

const SUMS: &str = "cd /mnt/m && find . -type f -print0 | sort -z | xargs -0 sha256sum";

fn filled(create: &str) -> Sandbox {
    let sandbox = Sandbox::started(Kind::Ours);
    sandbox.must(create);
    sandbox.must("volume start v");
    let mounted = sandbox.sh("mount -t glusterfs node1:/v /mnt/m");
    assert_eq!(mounted.exit, 0, "{mounted:?}");
    let script = "mkdir /mnt/m/d && for i in $(seq 40); do \
                  head -c $((i * 1000)) /dev/urandom > /mnt/m/d/file$i; done; sync -f /mnt/m";
    let done = sandbox.sh(script);
    assert_eq!(done.exit, 0, "{done:?}");
    sandbox
}

fn bricks(sandbox: &Sandbox) -> String {
    let info = sandbox.must("volume info v");
    let of_brick = |line: &&str| line.starts_with("Brick") && line.contains("/srv");
    info.lines()
        .filter(of_brick)
        .filter_map(|line| line.split(' ').nth(1))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Names of the data files in a brick: what is not a mark of where a file went.
fn left_in(sandbox: &Sandbox, brick: &str) -> String {
    sandbox.sh(&format!("find {brick}/d -type f ! -perm 1000 -printf '%f '")).out
}

/// The daemon restarts while files move: the task goes on and its end is known.
#[test]
fn a_removed_bricks_files_move_to_the_others() {
    let bricks_of_v = "node1:/srv/b/a node1:/srv/b/b node1:/srv/b/c";
    let sandbox = filled(&format!("volume create v {bricks_of_v} force"));
    let before = sandbox.sh(SUMS);
    assert_ne!(left_in(&sandbox, "/srv/b/b"), "", "nothing to move");

    let leaving = "volume remove-brick v node1:/srv/b/b";
    let started = sandbox.must(&format!("{leaving} start"));
    let id = started.lines().find_map(|line| line.strip_prefix("ID: ")).expect("a task id");
    sandbox.end("KILL");
    sandbox.start();
    sandbox.until("the files have moved", MOVED, |sandbox| {
        let status = sandbox.gluster(&format!("{leaving} status --xml")).out;
        assert!(!status.contains("<statusStr>failed"), "{status}");
        status.contains(id) && status.contains("<statusStr>completed</statusStr>")
    });
    let tasks = sandbox.must("volume status v tasks");
    assert!(tasks.contains(id) && tasks.contains("completed"), "{tasks}");
    sandbox.must(&format!("{leaving} commit"));

    assert_eq!(bricks(&sandbox), "node1:/srv/b/a node1:/srv/b/c");
    assert_eq!(left_in(&sandbox, "/srv/b/b"), "");
    assert_eq!(sandbox.sh(SUMS), before);
    assert!(!sandbox.must("volume status v tasks").contains(id));
}

#[test]
fn a_replaced_brick_is_healed() {
    let sandbox =
        filled("volume create v replica 3 node1:/srv/b/a node1:/srv/b/b node1:/srv/b/c force");
    let before = sandbox.sh(SUMS);
    sandbox.must("volume replace-brick v node1:/srv/b/b node1:/srv/b/new commit force");
    assert_eq!(bricks(&sandbox), "node1:/srv/b/a node1:/srv/b/new node1:/srv/b/c");
    let whole = |brick: &str| {
        format!(
            "cd {brick} && find . -path ./.glusterfs -prune -o -type f -print0 | sort -z | xargs -0 sha256sum"
        )
    };
    let wanted = sandbox.sh(&whole("/srv/b/a"));
    sandbox.until("the new brick holds everything", MOVED, |sandbox| {
        // What a lookup or the first crawl of the self-heal daemon starts; asked for again because
        // the daemon may not have reached the new brick yet.
        let _not_up_yet = sandbox.gluster("volume heal v");
        sandbox.sh(&whole("/srv/b/new")) == wanted
    });
    assert_eq!(sandbox.sh(SUMS), before);
    // The new copy can stand in for the others.
    let alone =
        "for brick in a c; do kill -9 $(cat /run/gluster/vols/v/node1-srv-b-$brick.pid); done";
    assert_eq!(sandbox.sh(alone).exit, 0);
    assert_eq!(sandbox.sh("sha256sum /srv/b/new/d/file7 | cut -c1-64").exit, 0);
}

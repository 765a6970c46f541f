//! Row 18: every node is a volfile server, and clients know all of them.

use super::super::field::{Backend, Field, Plan, SETTLE};

fn writes_behind(field: &Field) -> bool {
    field.client.sh("ls /mnt/m/.meta/graphs/active | grep -q write-behind").exit == 0
}

/// A client that knew one server only is told of the others, and outlives every one but the last.
#[test]
fn pain_18_any_one_daemon_serves_volfiles() {
    let plan = Plan { session_ttl_s: 4, ..Plan::of(Backend::Local, 4) };
    let field = Field::pool(plan, 3);
    field.must(1, "volume create v replica 3 node1:/srv/b/v node2:/srv/b/v node3:/srv/b/v");
    field.must(1, "volume start v");
    // Ports of bricks come from the daemon beside them.
    for node in [2, 3] {
        field.must(1, &format!("volume create only{node} node{node}:/srv/b/only"));
        field.must(1, &format!("volume start only{node}"));
    }
    field.agree(&[1, 2, 3]).unwrap();
    let mounted = field.client.sh("mount -t glusterfs node1:/v /mnt/m && echo x > /mnt/m/f");
    assert_eq!(mounted.exit, 0, "{mounted:?}\n{}", field.logs());

    // The pool moves on: a node more, and the one that the client came by is away.
    field.must(1, "peer probe node4");
    field.kill(1);
    assert!(writes_behind(&field));
    field.until("a change without node1", SETTLE, |field| {
        field.gluster(2, "volume set v performance.write-behind off").exit == 0
    });
    field.until("the client's graph follows", SETTLE, |field| !writes_behind(field));

    // Without a quorum, any one of them: mounts work from its mirror.
    for alone in [2, 3] {
        for node in [1, 2, 3] {
            let running = "kill -0 $(cat /run/glusterd.pid) 2> /dev/null";
            let runs = field.node(node).sh(running).exit == 0;
            match (node == alone, runs) {
                (true, false) => field.start(node),
                (false, true) => field.kill(node),
                _ => {}
            }
        }
        let mount = format!(
            "mkdir -p /mnt/n && mount -t glusterfs -o backup-volfile-servers=node2:node3 \
             node1:/only{alone} /mnt/n && echo x > /mnt/n/f && cat /mnt/n/f && umount /mnt/n"
        );
        let done = field.client.sh(&mount);
        assert_eq!((done.exit, done.out.as_str()), (0, "x\n"), "node{alone} alone: {done:?}");
        assert_eq!(field.client.sh("cat /mnt/m/f").out, "x\n");
    }
}

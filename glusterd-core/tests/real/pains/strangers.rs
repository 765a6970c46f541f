//! Row 21: who is no member changes nothing.

use super::super::field::{Backend, Field, Plan};

/// The stock CLI from a machine that is none of the pool, and from a daemon that is none of it.
#[test]
fn pain_21_a_stranger_changes_nothing() {
    let field = Field::pool(Plan::of(Backend::Local, 3), 2);
    field.must(1, "volume create v node1:/srv/b/v node2:/srv/b/v");
    field.must(1, "volume start v");
    field.agree(&[1, 2]).unwrap();
    let before = field.must(1, "volume info");
    let from = |machine: &super::super::sandbox::Sandbox, line: &str| {
        machine.sh(&format!("gluster --mode=script --remote-host=node1 {line}"))
    };
    for line in [
        "volume create w node1:/srv/b/w",
        "volume start v force",
        "volume stop v",
        "volume delete v",
        "volume set v user.mark 1",
        "volume reset v",
        "volume add-brick v node1:/srv/b/more",
        "volume remove-brick v node2:/srv/b/v start",
        "volume rebalance v start",
        "volume profile v start",
        "volume quota v enable",
        "peer probe node3",
        "peer detach node2",
    ] {
        for (name, machine) in [("a client", &field.client), ("another pool", field.node(3))] {
            let done = from(machine, line);
            assert_ne!(done.exit, 0, "{line} by {name}: {done:?}");
        }
    }
    assert_eq!(field.must(2, "volume info"), before);
    assert_eq!(field.connected(1), 1);
    // What stock lets anybody read, everybody may read.
    assert_eq!(from(&field.client, "volume list").out, "v\n");
    assert!(from(&field.client, "volume info v").out.contains("Status: Started"));
    // A member of a pool cannot be taken into another's.
    let taken = field.gluster(3, "peer probe node1");
    assert!(taken.exit != 0 && taken.err.contains("already part of another cluster"), "{taken:?}");
    // Who knows nothing of the pool cannot come into its store.
    let noise = "exec 3<> /dev/tcp/node1/24009 && head -c 65536 /dev/urandom >&3; sleep 0.2; echo";
    field.client.sh(noise);
    field.must(2, "volume set v user.mark calm");
    // A node that is told so does not let anybody read either; mounts and its own users go on.
    field.configure(2, "[network]\\nremote_commands = false\\n");
    field.kill(2);
    field.start(2);
    field.agree(&[1, 2]).unwrap();
    for line in ["volume list", "volume info", "volume status", "peer status", "pool list"] {
        let done = field.client.sh(&format!("gluster --mode=script --remote-host=node2 {line}"));
        assert!(done.exit != 0 && !done.out.contains('v'), "{line}: {done:?}");
    }
    assert!(field.must(2, "volume status v").contains("node1:/srv/b/v"));
    let mounted = field.client.sh("mount -t glusterfs node2:/v /mnt/m && echo 1 > /mnt/m/one");
    assert_eq!(mounted.exit, 0, "{mounted:?}");
}

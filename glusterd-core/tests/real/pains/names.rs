//! Row 12: a node gets another name and another address while clients write.

use std::time::Duration;

use super::super::field::{Backend, Field, Plan, SETTLE};
use super::super::writer::Writer;

const NODES: [usize; 3] = [1, 2, 3];

/// By stock's commands: the new name is made known by `peer probe`, and each brick moves to it in its
/// place by `reset-brick`. Then the old name may go, and the address change.
#[test]
fn pain_12_a_node_is_renamed_and_readdressed_under_io() {
    let field = Field::pool(Plan { session_ttl_s: 4, ..Plan::of(Backend::Local, 3) }, 3);
    let bricks: Vec<String> =
        (0..2).flat_map(|set| NODES.map(|node| format!("node{node}:/srv/b/{set}"))).collect();
    field.must(1, &format!("volume create v replica 3 {}", bricks.join(" ")));
    field.must(1, "volume set v network.ping-timeout 4");
    field.must(1, "volume start v");
    field.agree(&NODES).unwrap();
    field.mount("v");
    let writer = Writer::begin(&field.client);

    field.must(1, "peer probe other2");
    for set in 0..2 {
        let (old, new) = (format!("node2:/srv/b/{set}"), format!("other2:/srv/b/{set}"));
        field.must(3, &format!("volume reset-brick v {old} start"));
        field.must(3, &format!("volume reset-brick v {old} {new} commit force"));
        healed(&field, set);
    }
    for node in NODES {
        let info = field.must(node, "volume info v");
        assert!(info.contains("other2:/srv/b/1") && !info.contains("node2:"), "{info}");
        let old = field.node(node).sh("grep -rl 'node2' /var/lib/glusterd/vols/v | grep vol$");
        assert_eq!(old.out, "", "volfiles of node{node} with the old name");
    }
    let errors = Writer::errors(&field.client);
    assert!(errors.is_empty(), "{errors}");

    // The machine moves to another address; names lead there from now on.
    field.readdress(2, "10.9.2.7");
    field.until("connected under the new address", SETTLE, |field| {
        NODES.into_iter().all(|node| field.connected(node) == 2)
    });
    field.must(2, "volume set v user.mark moved");
    field.until("all of one mind", SETTLE, |field| field.connected(2) == 2);
    healed(&field, 0);
    let (rounds, longest) = writer.end(&field.client);
    println!("{rounds} rounds, the longest {longest:?}");
    assert!(longest < Duration::from_secs(30), "{longest:?}");
}

fn healed(field: &Field, set: usize) {
    field.until("healed", SETTLE, |field| {
        NODES.into_iter().all(|node| {
            let index = format!("ls /srv/b/{set}/.glusterfs/indices/xattrop | grep -vc xattrop-");
            field.node(node).sh(&index).out == "0\n"
        })
    });
}

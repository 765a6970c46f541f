//! Row 7: a create that was refused leaves nothing behind.

use super::super::field::{Backend, Field, Plan};

const NODES: [usize; 3] = [1, 2, 3];

const CREATE: &str = "volume create v node1:/srv/b/v node2:/srv/b/v node3:/srv/b/v";
const MARKS: &str =
    "getfattr -n trusted.glusterfs.volume-id -e hex /srv/b/v 2> /dev/null | grep -c 0x";

fn marked(field: &Field) -> Vec<usize> {
    let mark = |node: &usize| field.node(*node).sh(MARKS).out.trim() == "1";
    NODES.into_iter().filter(mark).collect()
}

/// A node is down: no create; it is back: the same create as it stands.
#[test]
fn pain_07_a_failed_create_leaves_no_marks() {
    let plan = Plan { session_ttl_s: 4, ..Plan::of(Backend::Local, 3) };
    let field = Field::pool(plan, 3);
    field.kill(3);
    for _ in 0..2 {
        let refused = field.gluster(1, CREATE);
        assert_ne!(refused.exit, 0, "{refused:?}");
    }
    assert_eq!(marked(&field), [0; 0]);
    field.start(3);
    field.agree(&NODES).unwrap();
    field.must(1, CREATE);
    field.must(2, "volume start v");
    field.agree(&NODES).unwrap();
    // In use, in the words of stock.
    let taken = field.gluster(2, "volume create w node1:/srv/b/v");
    assert!(
        taken.exit != 0 && taken.err.contains("Brick: node1:/srv/b/v not available"),
        "{taken:?}"
    );
}

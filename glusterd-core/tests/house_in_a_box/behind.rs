//! A node that hears late of what others do, and is asked right after they were.

use crate::growing::{CREATE, START, bricks};
use crate::members::{done, formed};
use glusterd_core::serve::Peer;
use glusterd_core::serve::handshake::Source;
use std::time::Duration;

/// Far less than a command takes to be answered by a node that is this slow.
const LATE: Duration = Duration::from_millis(600);

#[test]
fn a_command_knows_what_another_node_has_finished() {
    let pool = formed(3, 41);
    pool.mem.delay(2, LATE);
    done(bricks(&pool, CREATE, "h1:/bricks/a h2:/bricks/a"));
    done(pool.begin(2, START, &[("volname", "v"), ("flags", "0")]));
    pool.mem.heal();
    pool.settle();
    assert_eq!(pool.faults(), [""; 0]);
}

#[test]
fn a_volfile_is_there_once_its_volume_is() {
    let pool = formed(3, 42);
    pool.mem.delay(2, LATE);
    done(bricks(&pool, CREATE, "h1:/bricks/a h2:/bricks/a"));
    let specs = pool.house(2).specs.clone();
    let spec = async {
        specs.catch_up().await;
        specs.spec("v", Peer::Unix).await
    };
    assert!(pool.wait(spec).is_some());
}

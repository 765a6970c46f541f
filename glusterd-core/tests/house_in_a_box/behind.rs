//! Whom a change waits for; and a node that hears late of what others do, and is asked right after
//! they were.

use crate::growing::{CREATE, SET, START, bricks};
use crate::members::{done, formed};
use crate::pool::Pool;
use coord_api::{CoordinatorExt, Entry, Prefix, ReadOpts, Space};
use glusterd_core::model::NodeId;
use glusterd_core::serve::Peer;
use glusterd_core::serve::handshake::Source;
use glusterd_core::store::keys::{ALIVE, ANSWERS};
use std::collections::BTreeSet;
use std::time::Duration;

/// Far less than a command takes to be answered by a node that is this slow.
const LATE: Duration = Duration::from_millis(300);

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

fn all(pool: &Pool, space: &Space) -> Vec<Entry> {
    let reader = pool.mem.connect("");
    pool.wait(reader.list(&Prefix::all(space), ReadOpts::default())).unwrap().entries
}

/// Row 25: a change of a volume costs the nodes that have bricks of it, however many there are.
#[test]
fn only_nodes_with_bricks_are_waited_for() {
    let pool = formed(6, 43);
    done(bricks(&pool, CREATE, "h2:/bricks/a h3:/bricks/a h4:/bricks/a"));
    let who = |at: usize| {
        let me: NodeId = pool.view(at).me;
        let alive = all(&pool, &ALIVE);
        let own = alive.iter().find(|entry| entry.key.name().contains(&me.to_string()));
        own.and_then(|entry| entry.owner).unwrap()
    };
    let expected: BTreeSet<_> = (1..4).map(who).collect();
    let answer = |value: &str| {
        let before: BTreeSet<_> = all(&pool, &ANSWERS).into_iter().map(|entry| entry.key).collect();
        let pairs = [("volname", "v"), ("key1", "user.a"), ("value1", value), ("count", "1")];
        done(pool.begin(0, SET, &pairs));
        let answers = all(&pool, &ANSWERS);
        let answers = answers.iter().filter(|entry| !before.contains(&entry.key));
        answers.filter_map(|entry| entry.owner).collect::<BTreeSet<_>>()
    };
    // Answers lie for a second before they are thrown away; a machine under load may look too late.
    let owners = ["1", "2", "3", "4"].map(answer);
    assert!(owners.contains(&expected), "{owners:?}, not {expected:?}");
    assert!(owners.iter().all(|owners| owners.is_subset(&expected)), "{owners:?}");
}

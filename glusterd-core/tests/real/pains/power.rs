//! Row 8: the power goes everywhere at once, and files that were being written are cut short.

use std::time::{Duration, Instant};

use super::super::dice::{Random, setting};
use super::super::field::{Backend, Field, Plan};

const NODES: [usize; 3] = [1, 2, 3];
const SEED: u64 = 20_268;
const BACK_MAX: Duration = Duration::from_secs(60);

/// Files that can be written anew from the coordination service; the store's own data and the node's
/// identity are flushed to the disk and survive a power cut.
const CACHE: &str =
    "cd /var/lib/glusterd && find vols peers glustershd options -type f 2> /dev/null | sort";

fn truncate_some(field: &Field, random: &mut Random) -> Vec<String> {
    let mut cut = Vec::new();
    for node in NODES {
        let files = field.node(node).sh(CACHE).out;
        let files: Vec<&str> = files.lines().collect();
        for _ in 0..3 {
            let file = random.of(&files);
            let size = random.below(40);
            let script = format!("truncate -s {size} /var/lib/glusterd/'{file}'");
            assert_eq!(field.node(node).sh(&script).exit, 0);
            cut.push(format!("node{node}:{file} to {size}"));
        }
    }
    cut
}

/// Bricks are up when their ports answer, which is what `volume status` shows.
fn all_online(field: &Field) -> bool {
    let online = |node| {
        let status = field.gluster(node, "volume status all --xml").out;
        status.matches("<path>/srv").count() == 9
            && status.matches("<status>0</status>").count() == 0
            && status.matches("<status>1</status>").count() >= 9
    };
    NODES.into_iter().all(online)
}

#[test]
fn pain_08_a_power_cut_leaves_nothing_offline() {
    let cuts = setting("PAIN_08_CUTS", 2);
    let mut random = Random(setting("PAIN_08_SEED", SEED));
    let limit = Duration::from_secs(600 + cuts * 120);
    let field = Field::pool(Plan { limit, ..Plan::of(Backend::Local, 3) }, 3);
    for name in ["a", "b", "c"] {
        let brick = |node| format!("node{node}:/srv/b/{name}");
        let bricks = [brick(1), brick(2), brick(3)].join(" ");
        field.must(1, &format!("volume create {name} replica 3 {bricks}"));
        field.must(2, &format!("volume start {name}"));
    }
    field.until("nine bricks", BACK_MAX, all_online);
    let mut longest = Duration::ZERO;
    for _ in 0..cuts {
        field.each(&NODES, |node| field.cut_power(node));
        let damage = truncate_some(&field, &mut random);
        let begun = Instant::now();
        field.each(&NODES, |node| field.start(node));
        field.until(&format!("nine bricks after {damage:?}"), BACK_MAX, all_online);
        longest = longest.max(begun.elapsed());
        field.agree(&NODES).unwrap_or_else(|why| panic!("{damage:?}: {why}\n{}", field.logs()));
    }
    println!("{cuts} power cuts; all bricks online after {longest:?} at the latest");
}

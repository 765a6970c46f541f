//! Rows 6 and 7: a create that a crash cut short is whole or absent, and leaves nothing behind.

use std::time::Duration;

use super::super::dice::{Random, setting};
use super::super::field::{Backend, Field, Plan, SETTLE};
use super::super::sandbox::Done;

const NODES: [usize; 3] = [1, 2, 3];
const SEED: u64 = 20_266;
/// Marks of a volume that is not to be are gone by then.
const MARKS_MAX: Duration = Duration::from_secs(30);

const CREATE: &str = "volume create v node1:/srv/b/v node2:/srv/b/v node3:/srv/b/v";
const MARKS: &str =
    "getfattr -n trusted.glusterfs.volume-id -e hex /srv/b/v 2> /dev/null | grep -c 0x";

fn marked(field: &Field) -> Vec<usize> {
    let mark = |node: &usize| field.node(*node).sh(MARKS).out.trim() == "1";
    NODES.into_iter().filter(mark).collect()
}

/// A create, and a daemon killed somewhere in it; what the CLI said.
fn struck(field: &Field, server: usize, victim: usize, delay: Duration) -> Done {
    let said = std::thread::scope(|scope| {
        let create = scope.spawn(|| field.gluster(server, CREATE));
        std::thread::sleep(delay);
        field.kill(victim);
        create.join().unwrap()
    });
    field.start(victim);
    said
}

/// A change that the pool has made after all daemons were back: what a killed master had only begun
/// is true or lost for ever from here on.
fn barrier(field: &Field, point: u64) -> Result<(), String> {
    let change = format!("volume set w user.point {point}");
    field.until("a change", SETTLE, |field| field.gluster(2, &change).exit == 0);
    field.agree(&NODES)
}

/// SIGKILL to any daemon at any moment of a create. What was cut off can be done again as it stands.
#[test]
fn pain_06_a_create_cut_off_is_whole_or_absent() {
    let points = setting("PAIN_06_POINTS", 6);
    let seed = setting("PAIN_06_SEED", SEED);
    let field = Field::pool(
        Plan {
            session_ttl_s: 4,
            limit: Duration::from_secs(600 + points * 60),
            ..Plan::of(Backend::Local, 3)
        },
        3,
    );
    field.must(1, "volume create w node1:/srv/b/w");
    let mut random = Random(seed);
    let (mut window, mut whole) = (400_000, 0);
    for point in 0..points {
        let (server, victim) = (*random.of(&NODES), *random.of(&NODES));
        let delay = Duration::from_micros(window / 3 + random.below(window));
        let said = struck(&field, server, victim, delay);
        let place = format!(
            "seed {seed}, point {point}: node{server} asked, node{victim} killed at {delay:?}, {said:?}"
        );
        barrier(&field, point).unwrap_or_else(|why| panic!("{place}: {why}\n{}", field.logs()));
        let done = field.must(1, "volume info").contains("Volume Name: v\n");
        assert!(done || said.exit != 0, "{place}: reported as done, and is not");
        let open = server == victim || said.err.contains("Whether the change was made shows");
        assert!(!done || said.exit == 0 || open, "{place}: reported as failed, and was done");
        window = if done { window * 4 / 5 } else { window * 5 / 4 }.clamp(20_000, 2_000_000);
        if done {
            whole += 1;
            field.must(2, "volume start v");
            field.must(3, "volume stop v");
        } else {
            field.until(&format!("no mark left, {place}"), MARKS_MAX, |field| {
                marked(field).is_empty()
            });
            field.must(victim, CREATE);
        }
        assert_eq!(marked(&field), NODES, "{place}");
        field.must(1, "volume delete v");
        field.each(&NODES, |node| field.node(node).sh("rm -rf /srv/b/v"));
    }
    println!("{points} points, {whole} whole");
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

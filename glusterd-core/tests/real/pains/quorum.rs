//! Row 15: server quorum stops bricks on a cut-off minority alone, and they come back.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::dice::{Random, setting};
use super::super::field::{Backend, Field, Plan};

const NODES: [usize; 3] = [1, 2, 3];
const SESSION_TTL_S: u32 = 4;
/// The session ends, the members are counted, the brick is told to end.
const STOPPED_MAX: Duration = Duration::from_secs(20);
/// However soon the brick stops.
const CUT: Duration = Duration::from_secs(20);
const BACK_MAX: Duration = Duration::from_secs(15);

/// Process ids of a node's bricks, by path.
type Bricks = BTreeMap<String, String>;

fn bricks(field: &Field, node: usize) -> Bricks {
    let script = "ps -C glusterfsd -o pid=,args= | \
                  sed -n 's/^ *\\([0-9]*\\) .*--brick-name \\([^ ]*\\) .*/\\2 \\1/p'";
    let text = field.node(node).sh(script).out;
    let pair = |line: &str| line.split_once(' ').map(|(path, pid)| (path.into(), pid.into()));
    text.lines().filter_map(pair).collect()
}

/// One partition: how long the minority's brick ran on, and how long it took to be back.
fn partition(field: &Field, victim: usize, place: &str) -> (Duration, Duration) {
    let before: BTreeMap<usize, Bricks> =
        NODES.into_iter().map(|node| (node, bricks(field, node))).collect();
    let unharmed = |node: usize| {
        let (mut before, mut now) = (before[&node].clone(), bricks(field, node));
        if node == victim {
            before.remove("/srv/b/q");
            now.remove("/srv/b/q");
        }
        assert_eq!(now, before, "{place}: node{node}\n{}", field.logs());
    };
    field.cut_off(victim);
    let cut = Instant::now();
    let mut stopped = None;
    while stopped.is_none() || cut.elapsed() < CUT {
        NODES.into_iter().for_each(unharmed);
        if stopped.is_none() && !bricks(field, victim).contains_key("/srv/b/q") {
            stopped = Some(cut.elapsed());
        }
        let late = stopped.is_none() && cut.elapsed() > STOPPED_MAX;
        assert!(!late, "{place}: it runs after {:?}\n{}", cut.elapsed(), field.logs());
        sleep(Duration::from_millis(300));
    }
    field.heal();
    let healed = Instant::now();
    field.until(&format!("{place}: the brick is back"), BACK_MAX, |field| {
        bricks(field, victim).contains_key("/srv/b/q")
    });
    let back = healed.elapsed();
    NODES.into_iter().for_each(unharmed);
    (stopped.unwrap(), back)
}

/// Two volumes with a brick on each node; `q` wants server quorum.
fn pool(backend: Backend, limit: Duration) -> Field {
    let plan = Plan { session_ttl_s: SESSION_TTL_S, limit, ..Plan::of(backend, 3) };
    let field = Field::pool(plan, 3);
    for volume in ["q", "p"] {
        let brick = |node: &usize| format!("node{node}:/srv/b/{volume}");
        let bricks = NODES.iter().map(brick).collect::<Vec<_>>().join(" ");
        field.must(1, &format!("volume create {volume} replica 3 {bricks}"));
        field.must(1, &format!("volume start {volume}"));
    }
    field.must(1, "volume set q cluster.server-quorum-type server");
    field.agree(&NODES).unwrap();
    field
}

#[test]
fn pain_15_quorum_stops_bricks_on_the_minority_alone() {
    let cuts = setting("PAIN_15_CUTS", 2);
    let mut random = Random(setting("PAIN_15_SEED", 20_275));
    let field = pool(Backend::Local, Duration::from_secs(600 + 120 * cuts));
    let (mut stopped_max, mut back_max) = (Duration::ZERO, Duration::ZERO);
    for cut in 0..cuts {
        let victim = *random.of(&NODES);
        let (stopped, back) = partition(&field, victim, &format!("cut {cut} of node{victim}"));
        (stopped_max, back_max) = (stopped_max.max(stopped), back_max.max(back));
        field.agree(&NODES).unwrap_or_else(|why| panic!("cut {cut} of node{victim}: {why}"));
    }
    println!("{cuts} cuts: stopped within {stopped_max:?}, back within {back_max:?}");
}

/// All nodes lose the service, and not each other: nobody is a minority, also not who comes up then.
#[test]
fn pain_15_bricks_run_on_without_the_coordination_service() {
    let field = pool(Backend::Etcd, Duration::from_secs(900));
    let before = field.each(&NODES, |node| bricks(&field, node));
    field.cut_off_service();
    let cut = Instant::now();
    field.kill(2);
    field.start(2);
    while cut.elapsed() < CUT + STOPPED_MAX {
        assert_eq!(field.each(&NODES, |node| bricks(&field, node)), before, "{}", field.logs());
        sleep(Duration::from_millis(500));
    }
    // One that is cut off from all is a minority here too.
    field.cut_off(3);
    field.until("the brick of the cut-off node stops", STOPPED_MAX, |field| {
        !bricks(field, 3).contains_key("/srv/b/q")
    });
    let others = |node| bricks(&field, node);
    assert_eq!(field.each(&[1, 2], others), before[..2], "{}", field.logs());
    field.heal();
    field.agree(&NODES).unwrap_or_else(|why| panic!("{why}\n{}", field.logs()));
    assert_eq!(field.each(&[1, 2], others), before[..2], "{}", field.logs());
}

//! Rows 4 and 5: a node that falls silent blocks nobody, and changes nothing by itself.

use std::time::{Duration, Instant};

use super::super::field::{Backend, Field, Plan, SETTLE};
use super::super::sandbox::Done;

const NODES: [usize; 3] = [1, 2, 3];
const SILENT: usize = 3;

const STATUS_MAX: Duration = Duration::from_secs(20);
const SET_MAX: Duration = Duration::from_secs(45);
const DISCONNECTED_MAX: Duration = Duration::from_secs(45);

fn timed(field: &Field, node: usize, line: &str) -> (Done, Duration) {
    let begun = Instant::now();
    (field.gluster(node, line), begun.elapsed())
}

/// Stock lists an absent peer's bricks not at all, and the others as they are.
fn shown_bricks(status: &str) -> Vec<&str> {
    let brick = |line: &'_ str| line.starts_with("Brick node");
    status.lines().filter(|line| brick(line)).map(|line| &line[6..11]).collect()
}

/// At once, and again when the others know that it is gone.
fn others_go_on(field: &Field) {
    let begun = Instant::now();
    let (first_status, first_set) = std::thread::scope(|scope| {
        let status = scope.spawn(|| timed(field, 1, "volume status v"));
        let set = scope.spawn(|| timed(field, 2, "volume set v user.mark majority"));
        (status.join().unwrap(), set.join().unwrap())
    });
    assert_eq!(first_set.0.exit, 0, "{first_set:?}\n{}", field.logs());
    assert!(first_set.1 < SET_MAX, "{first_set:?}");
    assert_eq!(first_status.0.exit, 0, "{first_status:?}\n{}", field.logs());
    assert!(first_status.1 < STATUS_MAX, "{first_status:?}");
    let bricks = shown_bricks(&first_status.0.out);
    assert!(bricks.starts_with(&["node1", "node2"]), "{first_status:?}");
    field.until("Disconnected", DISCONNECTED_MAX, |field| {
        [1, 2].iter().all(|node| {
            field.gluster(*node, "peer status").out.contains("Peer in Cluster (Disconnected)")
        })
    });
    let seen = begun.elapsed();
    assert!(seen < DISCONNECTED_MAX, "Disconnected after {seen:?}");
    let (status, took) = timed(field, 2, "volume status v");
    assert_eq!((status.exit, shown_bricks(&status.out)), (0, vec!["node1", "node2"]), "{status:?}");
    println!(
        "status {:?}, set {:?}, Disconnected after {seen:?}, then status {took:?}",
        first_status.1, first_set.1
    );
}

/// The minority knows what it knew, serves it, and changes nothing.
fn the_silent_one(field: &Field) {
    let (refused, took) = timed(field, SILENT, "volume set v user.mark minority");
    assert_ne!(refused.exit, 0, "{refused:?}");
    assert!(refused.err.contains("The coordination service cannot be reached"), "{refused:?}");
    assert!(took < SET_MAX, "{took:?}: {refused:?}");
    let create = format!("volume create w node{SILENT}:/srv/b/w");
    assert_ne!(field.gluster(SILENT, &create).exit, 0);
    assert!(field.must(SILENT, "volume info v").contains("user.mark: before"));
    // Volfiles, and the ports of its own bricks.
    let got = field.node(SILENT).sh("gluster --mode=script system:: getspec v | grep -c node");
    assert_ne!(got.out, "0\n", "{got:?}");
}

fn silent_node(backend: Backend) {
    let field = Field::pool(Plan::of(backend, 3), 3);
    field.must(1, "volume create v replica 3 node1:/srv/b/v node2:/srv/b/v node3:/srv/b/v");
    field.must(1, "volume start v");
    field.must(2, "volume set v user.mark before");
    field.agree(&NODES).unwrap();
    field.cut_off(SILENT);
    others_go_on(&field);
    the_silent_one(&field);
    field.heal();
    let begun = Instant::now();
    field.until("the majority's value everywhere", SETTLE, |field| {
        field.disagreement(&NODES).is_none()
    });
    println!("of one mind {:?} after the wire was whole", begun.elapsed());
    for node in NODES {
        assert!(field.must(node, "volume info v").contains("user.mark: majority"), "node{node}");
    }
    field.must(SILENT, "volume set v user.mark healed");
}

#[test]
fn pain_04_and_05_a_silent_node_on_the_built_in_store() {
    silent_node(Backend::Local);
}

#[test]
fn pain_04_and_05_a_silent_node_on_etcd() {
    silent_node(Backend::Etcd);
}

#[test]
fn pain_04_and_05_a_silent_node_on_zookeeper() {
    silent_node(Backend::ZooKeeper);
}

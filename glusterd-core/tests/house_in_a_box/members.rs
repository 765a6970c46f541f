//! Pools of several nodes: formed, used from any node, hit by deaths and cuts, taken apart.

use crate::pool::{Answer, Pool};
use glusterd_core::host::BrickFs;
use glusterd_core::model::Refusal;
use glusterd_core::rpc::Dict;

const CREATE: u32 = 4;
const DELETE: u32 = 7;
const START: u32 = 8;
const STOP: u32 = 9;
const SET: u32 = 12;
const STATUS: u32 = 27;

pub fn create(pool: &Pool, at: usize, volume: &str) -> Answer {
    let brick = |n: usize| format!("h{n}:/bricks/{volume}");
    let bricks: Vec<String> = (1..=3).map(brick).collect();
    let pairs = [
        ("volname", volume),
        ("count", "3"),
        ("type", "2"),
        ("replica-count", "3"),
        ("transport", "tcp"),
        ("bricks", &bricks.join(" ")),
        ("force", "0"),
    ];
    pool.begin(at, CREATE, &pairs)
}

pub fn set(pool: &Pool, at: usize, volume: &str, value: &str) -> Answer {
    let key = "performance.cache-size";
    pool.begin(at, SET, &[("volname", volume), ("key1", key), ("value1", value), ("count", "1")])
}

pub fn simple(pool: &Pool, at: usize, procedure: u32, volume: &str) -> Answer {
    pool.begin(at, procedure, &[("volname", volume), ("flags", "0")])
}

pub fn done(answer: Answer) -> Dict {
    answer.wait().expect("nobody is killed").unwrap_or_else(|no| panic!("{no:?}"))
}

/// Three daemons, the first of which has taken in the others.
pub fn formed(nodes: usize, seed: u64) -> Pool {
    let pool = Pool::new(nodes, seed);
    for n in 2..=nodes {
        pool.until("the daemon registers", |pool| match pool.probe(0, &format!("h{n}")) {
            Ok(_) => true,
            Err(no) if no.text.contains("runs no glusterd that uses") => false,
            Err(no) => panic!("{no:?}"),
        });
    }
    whole(&pool, nodes);
    pool
}

pub fn whole(pool: &Pool, nodes: usize) {
    pool.until("everybody sees everybody", |pool| {
        (0..nodes).all(|at| {
            let peers = pool.peers(at);
            peers.len() == nodes - 1 && peers.values().all(|connected| *connected)
        })
    });
}

#[track_caller]
fn refused(answer: Result<Dict, Refusal>, errno: i32, text: &str) {
    let no = answer.unwrap_err();
    assert_eq!((no.errno, no.text.as_str()), (errno, text));
}

#[test]
fn a_pool_is_formed_and_taken_apart() {
    let mut pool = formed(3, 1);
    assert_eq!(pool.peers(1).keys().len(), 2);
    refused(pool.probe(0, "h1"), 1, "Probe on localhost not needed");
    refused(pool.probe(0, "h2"), 2, "Host h2 port 24007 already in peer list");
    let nobody = "Probe returned with Transport endpoint is not connected";
    refused(pool.probe(0, "h9"), 107, nobody);
    refused(pool.detach(0, "h1"), 1, "h1 is localhost");
    refused(pool.detach(0, "h9"), 2, "h9 is not part of cluster");

    done(create(&pool, 1, "v"));
    let bricks = "Peer h3 hosts one or more bricks. If the peer is in not recoverable state then \
                  use either replace-brick or remove-brick command with force to remove all bricks \
                  from the peer and attempt the peer detach again.";
    refused(pool.detach(1, "h3"), 3, bricks);
    done(simple(&pool, 2, DELETE, "v"));
    // A brick root keeps its mark when its volume is deleted, as in stock.
    for node in &pool.nodes {
        let _nothing = node.machine.fs.remove_xattr("/bricks/v", "trusted.glusterfs.volume-id");
    }

    pool.kill(1);
    pool.until("the death is seen", |pool| pool.peers(0).values().any(|connected| !connected));
    let down = "One of the peers is probably down. Check with 'peer status'";
    refused(pool.detach(0, "h3"), 4, down);
    pool.start(1);
    whole(&pool, 3);
    pool.detach(0, "h3").unwrap();
    pool.until("it is alone", |pool| pool.peers(2).is_empty() && pool.peers(1).len() == 1);
    // Sent away while it is down, it learns that when it comes back.
    pool.kill(1);
    pool.detach(0, "h2").unwrap();
    pool.start(1);
    pool.until("it is alone as well", |pool| pool.peers(1).is_empty() && pool.peers(0).is_empty());
    // One that has a volume, and one that is in a pool, cannot be had.
    pool.until("the daemon registers", |pool| pool.probe(2, "h2").is_ok());
    let taken = "h2 is either already part of another cluster or having volumes configured";
    refused(pool.probe(0, "h2"), 3, taken);
}

#[test]
fn every_node_serves_the_whole_pool() {
    let mut pool = formed(3, 2);
    done(create(&pool, 1, "v"));
    done(simple(&pool, 2, START, "v"));
    pool.settle();
    assert_eq!(pool.faults(), [""; 0]);
    for at in 0..3 {
        let status = done(pool.begin(at, STATUS, &[("volname", "v"), ("cmd", "256")]));
        let rows = (0..3).map(|n| status.int::<u32>(&format!("brick{n}.pid")));
        assert_eq!(rows.filter(Option::is_some).count(), 3, "from node {at}");
    }
    // Eight at a time on one volume wait for each other.
    let values: Vec<String> = (1..=8).map(|n| format!("{n}MB")).collect();
    let sets: Vec<Answer> =
        values.iter().enumerate().map(|(n, value)| set(&pool, n % 3, "v", value)).collect();
    sets.into_iter().for_each(|answer| drop(done(answer)));

    // One that is away is not shown, and catches up when it comes back.
    pool.kill(2);
    pool.until("the death is seen", |pool| pool.peers(0).values().any(|connected| !connected));
    let status = done(pool.begin(0, STATUS, &[("volname", "v"), ("cmd", "256")]));
    assert_eq!(status.int::<u32>("brick2.pid"), None);
    assert_eq!(status.str("brick1.hostname"), Some("h2"));
    done(set(&pool, 1, "v", "64MB"));
    refused(
        simple(&pool, 0, DELETE, "v").wait().unwrap(),
        30800,
        "Volume v has been started.Volume needs to be stopped before deletion.",
    );
    done(simple(&pool, 1, STOP, "v"));
    refused(simple(&pool, 0, DELETE, "v").wait().unwrap(), 30800, "Some of the peers are down");
    pool.start(2);
    whole(&pool, 3);
    pool.settle();
    assert_eq!(pool.faults(), [""; 0]);
    done(simple(&pool, 0, DELETE, "v"));
    pool.settle();
    assert_eq!(pool.faults(), [""; 0]);
}

/// A daemon killed while it takes another one in: either both are one pool afterwards or both are
/// alone, and the same probe works again.
#[test]
fn a_probe_that_dies_half_way_leaves_both_usable() {
    for step in 0..4u64 {
        let mut pool = Pool::new(2, 10 + step);
        pool.until("both daemons register", |pool| pool.registered() == 2);
        let answer = pool.begin(0, 1, &[("hostname", "h2"), ("port", "24007")]);
        std::thread::sleep(std::time::Duration::from_millis(step * 3));
        pool.kill(0);
        drop(answer);
        pool.start(0);
        pool.until("one pool in the end", |pool| {
            let _known_already = pool.probe(0, "h2");
            pool.peers(0).len() == 1 && pool.peers(1).len() == 1
        });
        whole(&pool, 2);
        pool.settle();
        assert_eq!(pool.faults(), [""; 0], "{step}");
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Commands to any node, while nodes die and are cut off: in the end all agree, and on each
/// machine runs what should.
fn storm(nodes: usize, seed: u64, steps: usize) {
    let mut pool = formed(nodes, seed);
    let mut chance = Chance(seed);
    let volumes = ["a", "b", "c"];
    for _ in 0..steps {
        let at = chance.below(nodes);
        if !pool.is_running(at) {
            pool.start(at);
            continue;
        }
        let volume = volumes[chance.below(volumes.len())];
        let value = format!("{}MB", 1 + chance.below(60));
        let answer = match chance.below(5) {
            0 => create(&pool, at, volume),
            1 => simple(&pool, at, START, volume),
            2 => simple(&pool, at, STOP, volume),
            _ => set(&pool, at, volume, &value),
        };
        match chance.below(6) {
            0 => {
                pool.kill(chance.below(nodes));
                drop(answer);
            }
            1 => {
                let cut = chance.below(nodes);
                if pool.is_running(cut) {
                    pool.cut(cut);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    pool.heal();
                }
                drop(answer);
            }
            2 => drop(answer),
            _ => drop(answer.wait()),
        }
    }
    pool.heal();
    (0..nodes)
        .filter(|at| !pool.is_running(*at))
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|at| pool.start(at));
    whole(&pool, nodes);
    // What was under way when the last step ended.
    pool.until(&format!("seed {seed}: all agree"), |pool| {
        pool.settle();
        pool.faults().is_empty()
    });
    // Everybody can still do everything.
    for (at, volume) in volumes.iter().enumerate() {
        let volume = format!("{volume}x");
        done(create(&pool, at, &volume));
        done(simple(&pool, (at + 1) % nodes, START, &volume));
    }
    pool.settle();
    assert_eq!(pool.faults(), [""; 0], "seed {seed}");
}

#[test]
fn three_nodes_in_a_storm() {
    (100..104).for_each(|seed| storm(3, seed, 25));
}

#[test]
fn eight_nodes_in_a_storm() {
    storm(8, 200, 30);
}

#[test]
fn sixty_four_nodes_in_a_storm() {
    storm(64, 300, 20);
}

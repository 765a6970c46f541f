//! Nodes of one pool that come to a service which has never heard of them, each with its files: out
//! of stock's daemon, or from a service whose data is gone. They are one pool there.

use crate::members::{create, done, formed, set, simple, whole};
use crate::pool::Pool;
use std::collections::BTreeMap;

const START: u32 = 8;
const KEY: &str = "performance.cache-size";

/// Three nodes with a running volume `v`; the last of them has missed its last change, and that a
/// volume `late` was made.
fn left() -> Pool {
    let mut pool = formed(3, 7);
    done(create(&pool, 0, "v"));
    done(simple(&pool, 0, START, "v"));
    done(set(&pool, 1, "v", "32MB"));
    pool.settle();
    pool.kill(2);
    done(set(&pool, 1, "v", "64MB"));
    let bricks = "h1:/bricks/late h2:/bricks/late";
    let pairs = [
        ("volname", "late"),
        ("count", "2"),
        ("type", "2"),
        ("replica-count", "2"),
        ("transport", "tcp"),
        ("bricks", bricks),
        ("force", "1"),
    ];
    done(pool.begin(0, 4, &pairs));
    pool.settle();
    (0..2).for_each(|at| pool.kill(at));
    pool.forget();
    pool
}

fn bricks(pool: &Pool) -> BTreeMap<String, Vec<i32>> {
    let pids = |node: &crate::pool::Node| {
        let bricks = node.machine.processes().into_iter();
        let bricks = bricks.filter(|process| process.option("--brick-name").is_some());
        (node.name.clone(), bricks.map(|process| process.pid).collect())
    };
    pool.nodes.iter().map(pids).collect()
}

fn check(start: impl Fn(&mut Pool)) {
    let mut pool = left();
    let ran = bricks(&pool);
    start(&mut pool);
    whole(&pool, 3);
    pool.until("all know the newest", |pool| {
        (0..3).all(|at| {
            let view = pool.view(at);
            let v = view.volume("v").and_then(|v| v.options.value(KEY).map(str::to_owned));
            v.as_deref() == Some("64MB") && view.volume("late").is_some()
        })
    });
    pool.settle();
    assert_eq!(pool.faults(), Vec::<String>::new());
    assert_eq!(bricks(&pool), ran, "bricks run on");
    done(set(&pool, 2, "v", "128MB"));
    pool.settle();
    assert_eq!(pool.faults(), Vec::<String>::new());
}

#[test]
fn the_one_that_knows_most_begins() {
    check(|pool| (0..3).for_each(|at| pool.start(at)));
}

#[test]
fn the_one_that_was_away_begins() {
    check(|pool| (0..3).rev().for_each(|at| pool.start(at)));
}

#[test]
fn all_begin_at_once() {
    for _ in 0..3 {
        check(Pool::start_all);
    }
}

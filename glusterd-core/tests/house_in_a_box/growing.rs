//! A volume grows by a brick of one node: clients hear of it when the brick runs, whichever node
//! they listen to.

use crate::members::{done, formed};
use crate::pool::Pool;
use glusterd_core::serve::{Connection, Peer};
use std::time::Duration;

pub const CREATE: u32 = 4;
pub const START: u32 = 8;
const ADD_BRICK: u32 = 13;
pub const SET: u32 = 12;

pub fn bricks(pool: &Pool, procedure: u32, bricks: &str) -> crate::pool::Answer {
    let count = bricks.split(' ').count().to_string();
    let fixed = [("volname", "v"), ("type", "0"), ("transport", "tcp"), ("force", "0")];
    let more = [("count", count.as_str()), ("bricks", bricks)];
    pool.begin(0, procedure, &[&fixed[..], &more].concat())
}

/// Three daemons, a started volume on the first two, and a client of each.
fn with_clients(seed: u64) -> (Pool, Vec<Connection>) {
    let pool = formed(3, seed);
    done(bricks(&pool, CREATE, "h1:/bricks/a h2:/bricks/a"));
    done(pool.begin(0, START, &[("volname", "v"), ("flags", "0")]));
    pool.settle();
    let clients = (0..3).map(|at| pool.house(at).connections.enter(Peer::Unix)).collect();
    (pool, clients)
}

/// Whether a client is told within that time to fetch its volfile again.
fn hears(pool: &Pool, client: &Connection, within: Duration) -> bool {
    pool.wait(async { tokio::time::timeout(within, client.next_callback()).await.is_ok() })
}

fn brick_count(pool: &Pool, at: usize) -> usize {
    pool.view(at).volume("v").map_or(0, |volume| volume.bricks.len())
}

#[test]
fn clients_hear_of_a_brick_once_it_runs() {
    let (pool, clients) = with_clients(31);
    pool.nodes[2].machine.hold(true);
    let answer = bricks(&pool, ADD_BRICK, "h3:/bricks/a");
    pool.until("every node knows of it", |pool| (0..3).all(|at| brick_count(pool, at) == 3));
    pool.until("the others have done their part", |pool| {
        (0..2).all(|at| pool.house(at).converger.is_idle())
    });
    for (at, client) in clients.iter().enumerate() {
        assert!(!hears(&pool, client, Duration::from_millis(200)), "client {at} hears too early");
    }
    pool.nodes[2].machine.hold(false);
    done(answer);
    // The answer comes after the news.
    for (at, client) in clients.iter().enumerate() {
        assert!(hears(&pool, client, Duration::from_millis(1)), "client {at} hears nothing");
    }
    pool.settle();
    assert_eq!(pool.faults(), [""; 0]);
}

/// Nobody is left to say that all bricks run: clients hear of them all the same.
#[test]
fn clients_hear_of_a_brick_although_the_asker_died() {
    let (mut pool, clients) = with_clients(32);
    pool.nodes[2].machine.hold(true);
    let answer = bricks(&pool, ADD_BRICK, "h3:/bricks/a");
    pool.until("every node knows of it", |pool| (0..3).all(|at| brick_count(pool, at) == 3));
    pool.kill(0);
    drop(answer);
    pool.nodes[2].machine.hold(false);
    for (at, client) in clients.iter().enumerate().skip(1) {
        assert!(hears(&pool, client, Duration::from_secs(100)), "client {at} hears nothing");
    }
    pool.start(0);
    // Who is up is no part of what settles.
    pool.until("all see it again", |pool| (0..3).all(|at| pool.view(at).alive.len() == 3));
    pool.settle();
    assert_eq!(pool.faults(), [""; 0]);
}

/// An option that no translator read before, with a value that the new kind's refuses.
#[test]
fn a_kind_that_its_options_do_not_fit_is_refused() {
    let (pool, _) = with_clients(33);
    let set = [("volname", "v"), ("key1", "cluster.heal-timeout"), ("value1", "4"), ("count", "1")];
    done(pool.begin(0, SET, &set));
    let fixed = [("volname", "v"), ("count", "2"), ("replica-count", "2"), ("force", "1")];
    let more = [("bricks", "h2:/bricks/b h1:/bricks/b"), ("type", "2")];
    let answer = pool.begin(0, ADD_BRICK, &[&fixed[..], &more].concat());
    let refused = answer.wait().expect("nobody is killed").unwrap_err();
    assert!(refused.text.contains("'option heal-timeout 4' is out of range"), "{refused:?}");
    assert_eq!(brick_count(&pool, 0), 2);
}

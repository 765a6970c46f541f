//! Rows 10 and 11: many volumes, and much polling.

use std::time::{Duration, Instant};

use super::super::dice::setting;
use super::super::field::{Backend, Field, Plan, SETTLE};
use super::super::sandbox::{Kind, Sandbox};

const NODES: [usize; 3] = [1, 2, 3];
const READY_MAX: Duration = Duration::from_secs(10);
const SET_MAX: Duration = Duration::from_secs(2);

fn received(field: &Field, node: usize) -> u64 {
    let text = field.node(node).sh("cat /sys/class/net/eth0/statistics/rx_bytes").out;
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?}"))
}

/// One node's restart, and one change, with many volumes.
#[test]
fn pain_10_many_volumes_slow_nothing_down() {
    let volumes = setting("PAIN_10_VOLUMES", 24);
    let limit = Duration::from_secs(900 + volumes * 2);
    let field = Field::pool(Plan { limit, ..Plan::of(Backend::Local, 3) }, 3);
    let begun = Instant::now();
    for volume in 0..volumes {
        let node = 1 + usize::try_from(volume % 3).unwrap();
        let brick = |node| format!("node{node}:/srv/b/{volume}");
        let bricks = [brick(1), brick(2), brick(3)].join(" ");
        field.must(node, &format!("volume create v{volume} {bricks}"));
    }
    let created = begun.elapsed();
    let begun = Instant::now();
    field.must(2, "volume set v0 user.mark 1");
    let set = begun.elapsed();
    field.node(3).end("TERM");
    let (before, begun) = (received(&field, 3), Instant::now());
    field.start(3);
    field.until("an answer", READY_MAX, |field| {
        field.gluster(3, "volume info v0").out.contains("user.mark: 1")
    });
    let ready = begun.elapsed();
    field.until("connected everywhere", SETTLE, |field| {
        NODES.into_iter().all(|node| field.connected(node) == 2)
    });
    let bytes = received(&field, 3) - before;
    let rss: Vec<u64> = NODES.map(|node| rss_kib(field.node(node))).to_vec();
    println!(
        "{volumes} volumes created in {created:?}; set {set:?}; a node ready {ready:?} after its \
         start, {bytes} bytes received until connected; resident KiB {rss:?}"
    );
    assert!(set < SET_MAX, "{set:?}");
    assert!(ready < READY_MAX, "{ready:?}");
    field.agree(&NODES).unwrap();
}

fn rss_kib(machine: &Sandbox) -> u64 {
    let script = "awk '/^VmRSS/ {print $2}' /proc/$(cat /run/glusterd.pid)/status";
    machine.sh(script).out.trim().parse().unwrap()
}

/// `status all detail` again and again: memory is level once everything has been asked for.
#[test]
fn pain_11_polling_does_not_grow_the_daemon() {
    let seconds = setting("PAIN_11_SECONDS", 24);
    let volumes = setting("PAIN_11_VOLUMES", 6);
    let machine = Sandbox::lasting(Kind::Ours, Duration::from_secs(900 + seconds));
    machine.start();
    for volume in 0..volumes {
        machine.must(&format!("volume create v{volume} node1:/srv/b/{volume} force"));
        machine.must(&format!("volume start v{volume}"));
    }
    let poll = |time: Duration| {
        let end = Instant::now() + time;
        let mut polls = 0;
        while Instant::now() < end {
            machine.must("volume status all detail");
            polls += 1;
        }
        polls
    };
    let third = Duration::from_secs(seconds / 3);
    poll(third);
    let (warm, begun) = (rss_kib(&machine), Instant::now());
    let polls = poll(third) + poll(third);
    let (end, hours) = (rss_kib(&machine), begun.elapsed().as_secs_f64() / 3600.0);
    let grown = end.saturating_sub(warm);
    println!("{polls} polls of {volumes} volumes in {hours:.3} h: {warm} KiB to {end} KiB");
    // 1 MiB an hour, and what an allocator's next arena may take in a short run.
    let allowed = 1024.0 * hours + 512.0;
    assert!((grown as f64) < allowed, "grown by {grown} KiB in {polls} polls, {warm} before");
}

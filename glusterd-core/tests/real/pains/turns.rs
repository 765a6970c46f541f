//! Rows 2 and 3: commands side by side take turns instead of failing, and watching costs nobody anything.

use std::time::{Duration, Instant};

use super::super::dice::setting;
use super::super::field::{Backend, Field, Plan, SETTLE};

const NODES: [usize; 3] = [1, 2, 3];
/// A dead node's session ends after ten seconds; the rest is the command's own.
const LEASE: Duration = Duration::from_secs(20);

fn field(backend: Backend) -> Field {
    let field = Field::pool(Plan::of(backend, 3), 3);
    field.must(1, "volume create v node1:/srv/b/v node2:/srv/b/v node3:/srv/b/v");
    field.must(2, "volume start v");
    field
}

/// Eight changes of one volume from three nodes at a time: every one is made, and none is lost.
fn eight_at_a_time(field: &Field, round: u32) {
    let eight = [1, 2, 3, 1, 2, 3, 1, 2];
    let numbers: Vec<usize> = (0..eight.len()).collect();
    let done = field.each(&numbers, |at| {
        field.gluster(eight[at], &format!("volume set v user.mark{at} {round}"))
    });
    for done in &done {
        assert_eq!(done.exit, 0, "round {round}: {done:?}\n{}", field.logs());
    }
    field.agree(&NODES).unwrap();
    let info = field.must(3, "volume info v");
    for at in numbers {
        assert!(info.contains(&format!("user.mark{at}: {round}")), "round {round}: {info}");
    }
}

/// A node that dies in the middle of a change is in nobody's way.
fn holder_dies(field: &Field) {
    let waited = std::thread::scope(|scope| {
        let cut_off = scope.spawn(|| field.gluster(1, "volume set v user.holder dead"));
        std::thread::sleep(Duration::from_millis(60));
        field.kill(1);
        let begun = Instant::now();
        let next = field.gluster(2, "volume set v user.next alive");
        assert_eq!(next.exit, 0, "{next:?}\n{}", field.logs());
        let _either_way = cut_off.join();
        begun.elapsed()
    });
    assert!(waited < LEASE, "the next change waited {waited:?} for a dead one");
    println!("the next change after the holder's death: {waited:?}");
    field.start(1);
    field.agree(&NODES).unwrap();
}

fn pain_02(backend: Backend) {
    let field = field(backend);
    for round in 0..2 {
        eight_at_a_time(&field, round);
    }
    holder_dies(&field);
}

#[test]
fn pain_02_eight_parallel_sets_on_the_built_in_store() {
    pain_02(Backend::Local);
}

#[test]
fn pain_02_eight_parallel_sets_on_etcd() {
    pain_02(Backend::Etcd);
}

#[test]
fn pain_02_eight_parallel_sets_on_zookeeper() {
    pain_02(Backend::ZooKeeper);
}

/// Fifteen status calls, five from each node at a time, while one change follows another.
#[test]
fn pain_03_watching_makes_no_command_fail() {
    let rounds = setting("PAIN_03_ROUNDS", 4);
    let field = field(Backend::Local);
    let enough = std::sync::atomic::AtomicBool::new(false);
    let sets = std::thread::scope(|scope| {
        let setter = scope.spawn(|| {
            let mut sets = 0;
            while !enough.load(std::sync::atomic::Ordering::Relaxed) {
                field.must(1 + sets % 3, &format!("volume set v user.mark {sets}"));
                sets += 1;
            }
            sets
        });
        let callers: Vec<usize> = (0..15).collect();
        for round in 0..rounds {
            let done = field.each(&callers, |at| field.gluster(1 + at % 3, "volume status v"));
            for done in done {
                assert_eq!(done.exit, 0, "round {round}: {done:?}\n{}", field.logs());
            }
        }
        enough.store(true, std::sync::atomic::Ordering::Relaxed);
        setter.join().unwrap()
    });
    println!("{rounds} rounds of 15 status calls beside {sets} changes");
    assert!(sets > 0);
    field.until("the last change everywhere", SETTLE, |field| field.disagreement(&NODES).is_none());
}

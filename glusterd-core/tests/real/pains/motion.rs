//! Row 17: a rebalance outlives every daemon, with one task and one end.

use std::time::Duration;

use super::super::dice::{Random, setting};
use super::super::field::{Backend, Field, Plan, SETTLE};

const NODES: [usize; 3] = [1, 2, 3];

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(inside, _)| inside)
}

/// What one node says of the task: its id, files moved so far, and its state as a whole.
fn status(field: &Field, node: usize) -> Option<(String, u64, String)> {
    let text = field.gluster(node, "volume rebalance v status --xml").out;
    let id = between(&text, "<task-id>", "</task-id>")?.to_owned();
    let aggregate = text.split_once("<aggregate>")?.1;
    let files = between(aggregate, "<files>", "</files>")?.parse().ok()?;
    let state = between(aggregate, "<statusStr>", "</statusStr>")?.to_owned();
    Some((id, files, state))
}

#[test]
fn pain_17_a_rebalance_outlives_its_daemons() {
    let restarts = setting("PAIN_17_RESTARTS", 3);
    let mut random = Random(setting("PAIN_17_SEED", 20_277));
    let limit = Duration::from_secs(900 + 30 * restarts);
    let field = Field::pool(Plan { session_ttl_s: 4, limit, ..Plan::of(Backend::Local, 3) }, 3);
    field.must(1, "volume create v node1:/srv/b/a node2:/srv/b/a");
    field.must(1, "volume start v");
    field.agree(&NODES).unwrap();
    field.mount("v");
    // Enough to be under way while daemons come and go; one thread at a time moves them.
    let files = 400 + 150 * restarts;
    let script =
        format!("cd /mnt/m && for i in $(seq {files}); do head -c 20000 /dev/zero > f$i; done");
    assert_eq!(field.client.sh_within(Duration::from_secs(600), &script).exit, 0);
    field.must(1, "volume add-brick v node3:/srv/b/a");
    field.must(2, "volume set v cluster.rebal-throttle lazy");
    field.must(2, "volume rebalance v start");
    let (id, mut moved, _) = status(&field, 1).expect("a task");
    let mut under_way = 0;
    for restart in 0..restarts {
        let node = *random.of(&NODES);
        if random.one_in(2) {
            field.kill(node);
        } else {
            field.node(node).end("TERM");
        }
        field.start(node);
        let asked = *random.of(&NODES);
        let mut seen = None;
        field.until("the task", SETTLE, |field| {
            seen = status(field, asked);
            seen.is_some()
        });
        let (now, files, state) = seen.unwrap();
        assert_eq!(now, id, "restart {restart} of node{node}: another task");
        assert!(state == "in progress" || state == "completed", "restart {restart}: {state}");
        assert!(
            files >= moved,
            "restart {restart} of node{node}: {moved} files moved, then {files}"
        );
        moved = files;
        under_way += u64::from(state == "in progress");
        std::thread::sleep(Duration::from_millis(random.below(500)));
    }
    for node in NODES {
        field.until("completed", SETTLE, |field| {
            status(field, node).is_some_and(|(now, _, state)| {
                assert!(now == id && state != "failed", "{now} {state}");
                state == "completed"
            })
        });
    }
    println!("{restarts} restarts, {under_way} of them under way, {moved} files moved then");
    assert!(under_way > 0, "the files had moved before the first restart");
    let count = field.client.sh("ls /mnt/m | grep -c f");
    assert_eq!(count.out.trim(), files.to_string());
}

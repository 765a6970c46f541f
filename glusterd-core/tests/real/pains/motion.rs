//! Row 17: a rebalance outlives every daemon, with one task, one count and one end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::dice::{Random, setting};
use super::super::field::{Backend, Field, Plan, SETTLE};

const NODES: [usize; 3] = [1, 2, 3];

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(inside, _)| inside)
}

/// What one node says of the task.
#[derive(Clone, Debug)]
struct Told {
    id: String,
    /// Files moved so far, by node id; nodes that are away have no row.
    rows: BTreeMap<String, u64>,
    total: u64,
    state: String,
}

fn status(field: &Field, node: usize) -> Option<Told> {
    let text = field.gluster(node, "volume rebalance v status --xml").out;
    let id = between(&text, "<task-id>", "</task-id>")?.to_owned();
    let (nodes, aggregate) = text.split_once("<aggregate>")?;
    let files = |part: &str| between(part, "<files>", "</files>")?.parse::<u64>().ok();
    let rows = nodes
        .split("<node>")
        .skip(1)
        .map(|row| Some((between(row, "<id>", "</id>")?.to_owned(), files(row)?)));
    let state = between(aggregate, "<statusStr>", "</statusStr>")?.to_owned();
    Some(Told { id, rows: rows.collect::<Option<_>>()?, total: files(aggregate)?, state })
}

/// The same once every node has its row again.
fn whole_status(field: &Field, node: usize) -> Told {
    let mut told = None;
    field.until("a row of every node", SETTLE, |field| {
        told = status(field, node);
        told.as_ref().is_some_and(|told| told.rows.len() == NODES.len())
    });
    told.unwrap()
}

#[test]
fn pain_17_a_rebalance_outlives_its_daemons() {
    let restarts = setting("PAIN_17_RESTARTS", 3);
    let mut random = Random(setting("PAIN_17_SEED", 20_277));
    // A few daemons should come and go while files move: how many that takes is up to the machine.
    let files = (1..=4).map(|times| times * times * (400 + 150 * restarts));
    let met = files.into_iter().any(|files| outlives(restarts, files, &mut random) > 0);
    assert!(met, "the files had moved before the first restart");
}

/// Restarts of daemons that met the rebalance under way.
fn outlives(restarts: u64, files: u64, random: &mut Random) -> u64 {
    let limit = Duration::from_secs(900 + 30 * restarts);
    let field = Field::pool(Plan { session_ttl_s: 4, limit, ..Plan::of(Backend::Local, 3) }, 3);
    field.must(1, "volume create v node1:/srv/b/a node2:/srv/b/a");
    field.must(1, "volume start v");
    field.agree(&NODES).unwrap();
    field.mount("v");
    // One thread at a time moves them.
    let script =
        format!("cd /mnt/m && for i in $(seq {files}); do head -c 20000 /dev/zero > f$i; done");
    assert_eq!(field.client.sh_within(Duration::from_secs(600), &script).exit, 0);
    field.must(1, "volume add-brick v node3:/srv/b/a");
    field.must(2, "volume set v cluster.rebal-throttle lazy");
    field.must(2, "volume rebalance v start");
    let mut before = whole_status(&field, 1);
    let mut under_way = 0;
    for restart in 0..restarts {
        let node = *random.of(&NODES);
        if random.one_in(2) {
            field.kill(node);
        } else {
            field.node(node).end("TERM");
        }
        field.start(node);
        let now = whole_status(&field, *random.of(&NODES));
        let place = format!("restart {restart} of node{node}: {before:?}, then {now:?}");
        assert_eq!(now.id, before.id, "{place}");
        assert!(now.state == "in progress" || now.state == "completed", "{place}");
        let fewer = now.rows.iter().find(|(id, files)| before.rows[*id] > **files);
        assert!(fewer.is_none() && now.total >= before.total, "{place}\n{}", field.logs());
        under_way += u64::from(now.state == "in progress");
        before = now;
        std::thread::sleep(Duration::from_millis(random.below(500)));
    }
    for node in NODES {
        field.until("completed", SETTLE, |field| {
            status(field, node).is_some_and(|now| {
                assert!(now.id == before.id && now.state != "failed", "{now:?}");
                now.state == "completed" && now.rows.len() == NODES.len()
            })
        });
        let end = whole_status(&field, node);
        assert!(end.total >= before.total, "{before:?}, then {end:?}");
    }
    println!(
        "{restarts} restarts, {under_way} of them under way, {} files moved then",
        before.total
    );
    let count = field.client.sh("ls /mnt/m | grep -c f");
    assert_eq!(count.out.trim(), files.to_string());
    under_way
}

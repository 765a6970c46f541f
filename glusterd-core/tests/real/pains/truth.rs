//! Rows 1 and 13: there is one truth, and it is not on any node's disk.

use std::time::{Duration, Instant};

use super::super::dice::{Random, setting};
use super::super::field::{Backend, Field, Plan, SETTLE};

const NODES: [usize; 3] = [1, 2, 3];
const SEED: u64 = 20_261;
/// All nodes agree after this.
const AGREED: Duration = Duration::from_secs(30);

const FILES: &str = "cd /var/lib/glusterd && find vols peers -type f | sort";

/// What befalls a file.
const HARMS: [&str; 5] = [
    "rm -f \"$f\"",
    ": > \"$f\"",
    "truncate -s $(($(stat -c %s \"$f\") / 2)) \"$f\"",
    "head -c 200 /dev/urandom > \"$f\"",
    "sed -i 's/1/2/g; s/node/nobody/g' \"$f\"",
];

fn field() -> Field {
    let plan =
        Plan { session_ttl_s: 4, limit: Duration::from_secs(7200), ..Plan::of(Backend::Local, 3) };
    let field = Field::pool(plan, 3);
    field.must(1, "volume create a replica 3 node1:/srv/b/a node2:/srv/b/a node3:/srv/b/a");
    field.must(2, "volume create b node1:/srv/b/b node2:/srv/b/b node3:/srv/b/b");
    field.must(3, "volume start a");
    field.agree(&NODES).unwrap();
    field
}

fn agreed(field: &Field, place: &str, mark: u64) {
    let begun = Instant::now();
    field.until(place, AGREED, |field| {
        assert!(
            !field.gluster(1, "peer status").out.contains("Rejected"),
            "{place}: Rejected\n{}",
            field.logs()
        );
        let disagreement = field.disagreement(&NODES);
        if let Some(why) = &disagreement
            && begun.elapsed() > AGREED - Duration::from_secs(3)
        {
            println!("{place}: {why}");
        }
        disagreement.is_none()
    });
    for node in NODES {
        let info = field.must(node, "volume info a");
        assert!(info.contains(&format!("user.mark: {mark}")), "{place}: node{node}: {info}");
    }
}

/// A file of a node is spoilt: while its daemon runs, or is down; then it starts again or somebody
/// changes that volume.
fn spoilt(field: &Field, random: &mut Random, case: u64) -> String {
    let node = *random.of(&NODES);
    let down = random.one_in(2);
    if down {
        field.kill(node);
    }
    let files = field.node(node).sh(FILES).out;
    let files: Vec<&str> = files.lines().collect();
    let (file, harm) = (*random.of(&files), *random.of(&HARMS));
    let place = format!("case {case}: node{node}, daemon down: {down}, {file}: {harm}");
    let done = field.node(node).sh(&format!("f=/var/lib/glusterd/'{file}'; {harm}"));
    assert_eq!(done.exit, 0, "{place}: {done:?}");
    let other = node % 3 + 1;
    if down && random.one_in(2) {
        field.must(other, &format!("volume set a user.mark {case}"));
        field.start(node);
    } else {
        if down {
            field.start(node);
            field.until(&place, AGREED, |field| field.connected(other) == 2);
        }
        field.must(other, &format!("volume set a user.mark {case}"));
        field.must(node, &format!("volume set b user.mark {case}"));
    }
    place
}

/// Each half of a partition is asked for a change.
fn both_sides(field: &Field, random: &mut Random, case: u64) -> String {
    let node = *random.of(&NODES);
    let other = node % 3 + 1;
    let place = format!("case {case}: node{node} cut off");
    field.cut_off(node);
    std::thread::scope(|scope| {
        let alone = scope.spawn(|| field.gluster(node, &format!("volume set a user.alone {case}")));
        field.must(other, &format!("volume set a user.mark {case}"));
        let alone = alone.join().unwrap();
        assert_ne!(alone.exit, 0, "{place}: the minority changed something: {alone:?}");
    });
    field.heal();
    place
}

#[test]
fn pain_01_spoilt_files_and_partitions_reject_nobody() {
    let cases = setting("PAIN_01_CASES", 6);
    let mut random = Random(setting("PAIN_01_SEED", SEED));
    let field = field();
    for case in 1..=cases {
        let place = match random.one_in(6) {
            true => both_sides(&field, &mut random, case),
            false => spoilt(&field, &mut random, case),
        };
        agreed(&field, &place, case);
        assert!(!field.must(1, "volume info a").contains("user.alone"), "{place}");
    }
    println!("{cases} cases");
}

/// The disk with `/var/lib/glusterd` is lost. A new daemon is given the old uuid, as stock's
/// procedure has it, and a member probes it by its name; everything else follows.
fn a_lost_node(backend: Backend) {
    let field = Field::pool(Plan::of(backend, 3), 3);
    field.must(1, "volume create a replica 3 node1:/srv/b/a node2:/srv/b/a node3:/srv/b/a");
    field.must(3, "volume start a");
    field.mount("a");
    assert_eq!(field.client.sh("for i in $(seq 20); do echo $i > /mnt/m/f$i; done").exit, 0);
    field.agree(&NODES).unwrap();
    let uuid = field.must(2, "system:: uuid get");
    field.cut_power(2);
    field.node(2).sh("find /var/lib/glusterd -mindepth 1 -delete; rm -rf /srv/b/a /run/gluster/*");
    assert_eq!(field.client.sh("for i in $(seq 20); do echo new > /mnt/m/g$i; done").exit, 0);

    let uuid = uuid.trim().trim_start_matches("UUID: ");
    let identity = format!(
        "printf 'UUID={uuid}\\noperating-version=100000\\n' > /var/lib/glusterd/glusterd.info"
    );
    assert_eq!(field.node(2).sh(&identity).exit, 0);
    field.start(2);
    field.must(1, "peer probe node2");
    field.until("three connected", SETTLE, |field| {
        NODES.into_iter().all(|node| field.connected(node) == 2)
    });
    assert!(field.must(2, "system:: uuid get").contains(uuid));
    // The brick's folder is new as well: it is made, marked and healed.
    field.must(1, "volume reset-brick a node2:/srv/b/a start");
    field.must(1, "volume reset-brick a node2:/srv/b/a node2:/srv/b/a commit force");
    field.agree(&NODES).unwrap_or_else(|why| panic!("{why}\n{}", field.logs()));
    field.until("healed", SETTLE, |field| {
        let _may_be_early = field.gluster(1, "volume heal a full");
        field.node(2).sh("cat /srv/b/a/g* 2> /dev/null | grep -c new; ls /srv/b/a/f* | wc -l").out
            == "20\n20\n"
    });
    field.must(2, "volume set a user.mark again");
}

#[test]
fn pain_13_a_lost_node_comes_back_on_the_built_in_store() {
    a_lost_node(Backend::Local);
}

#[test]
fn pain_13_a_lost_node_comes_back_on_etcd() {
    a_lost_node(Backend::Etcd);
}

//! Stock's own `glusterfsd` loads the graphs: it parses them, finds every translator and starts it
//! with its options.
//!
//! Needs root and the glusterfs-server package, as `./run-tests` installs it. Each process runs in
//! namespaces of its own, so no port, path or other process is touched.

use crate::configured;
use crate::sample::{LAYOUTS, facts, some_specs};
use glusterd_core::model::Volume;
use glusterd_core::options::TABLE;
use glusterd_core::volgen::{Service, Spec, file_name, graph, service_graph};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

/// Starts the program on every volfile in the folder; prints the name of each that it gives up,
/// with its log's errors. A program that is still there when its graph is printed has accepted it.
const SCRIPT: &str = r#"
set -u
mount -t tmpfs none /run && mount -t tmpfs none /mnt && ip link set lo up || exit 9
for name in node1 node2 node3 node9; do echo "127.0.0.1 $name"; done > /run/hosts
mount --bind /run/hosts /etc/hosts || exit 9
mkdir -p /run/work/bricks /run/gluster
mount -t tmpfs none /run/work/bricks || exit 9
for volfile in "$1"/*.vol; do
    brick=$(sed -n 's/^    option directory //p' "$volfile")
    if [ -n "$brick" ]; then
        mkdir -p "/run/work$brick/.glusterfs"
        sed -i "s,/bricks/,/run/work/bricks/,g" "$volfile"
        setfattr -n trusted.glusterfs.volume-id -v 0x00000000000000000000000000000002 "/run/work$brick"
    fi
    log=/run/log; rm -f $log
    glusterfsd -N -f "$volfile" -l $log -p /run/pid --log-level INFO > /dev/null 2>&1 &
    pid=$!
    for _ in $(seq 1200); do
        grep -q '^Final graph:' $log 2> /dev/null && break
        kill -0 $pid 2> /dev/null || break
        sleep 0.05
    done
    if kill -0 $pid 2> /dev/null && grep -q '^Final graph:' $log; then
        echo "accepted $(basename "$volfile")"
    else
        echo "refused $(basename "$volfile")"; grep ' [EC] ' $log | head -5
    fi
    kill -9 $pid 2> /dev/null; wait $pid 2> /dev/null
done
exit 0
"#;

fn load(folder: &Path) -> Output {
    let mut unshare = Command::new("timeout");
    unshare.args(["1200", "unshare", "-m", "-n", "-p", "-i", "--fork", "--kill-child"]);
    unshare.args(["--mount-proc", "bash", "-c", SCRIPT, "load"]).arg(folder);
    unshare.output().expect("timeout, unshare and bash are there")
}

/// Writes the volume's graphs and those of the services that it asks for; how many. The snapshot
/// daemon's is left out: it asks a running glusterd for its snapshots before it says that it starts.
fn write(folder: &Path, number: usize, volume: &Volume) -> usize {
    let mut texts: Vec<(String, String)> = some_specs(volume)
        .filter(|spec| *spec != Spec::Snapd)
        .map(|spec| (file_name(volume, spec), graph(volume, spec, &facts()).unwrap().text()))
        .collect();
    let volumes = [(volume.name.clone(), Arc::new(volume.clone()))].into();
    for service in Service::ALL.into_iter().filter(|service| service.serves(volume)) {
        let text = service_graph(&volumes, service, &facts()).unwrap().text();
        texts.push((format!("{}.vol", service.name()), text));
    }
    for (name, text) in &texts {
        fs::write(folder.join(format!("{number:02}-{name}")), text).unwrap();
    }
    texts.len()
}

/// Options that glusterfsd refuses although its own table allows the value, that need something on
/// the machine which a sample value cannot name, or that silence the log which says that a graph was
/// accepted.
fn loadable(key: &str) -> bool {
    let needs_more = ["features.cloudsync", "network.compression", "features.sdfs"];
    let logs = ["log-level", "-logger", "log-format"];
    !needs_more.contains(&key)
        && !key.starts_with("ssl.")
        && !key.ends_with(".ssl")
        && !logs.iter().any(|end| key.ends_with(end))
}

/// Loads everything the folder holds; all of it has to be accepted.
fn all_accepted(folder: &Path, count: usize) {
    let output = load(folder);
    let said = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{trouble}", output.status);
    let accepted = said.lines().filter(|line| line.starts_with("accepted ")).count();
    let refused = said.split_inclusive('\n').filter(|line| !line.starts_with("accepted "));
    assert_eq!(accepted, count, "{}{trouble}", refused.collect::<String>());
}

#[test]
fn stock_loads_what_we_generate() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<usize> = (0..TABLE.len()).filter(|&at| loadable(TABLE[at].key)).collect();
    let mut count = 0;
    for number in 0..6 {
        // Every row comes up once, spread over the volumes.
        let picks: Vec<_> = rows.iter().skip(number).step_by(6).map(|&row| (row, 0)).collect();
        count += write(folder.path(), number, &configured(number % LAYOUTS.len(), 2, &picks));
    }
    all_accepted(folder.path(), count);
}

/// Any legal values, on any kind of volume. `GRAPHS_VOLUMES=200 GRAPHS_SEED=7` makes it a big run.
#[test]
fn stock_loads_random_configurations() {
    let setting = |name: &str, default| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    };
    let (volumes, mut state): (usize, u64) =
        (setting("GRAPHS_VOLUMES", 2) as usize, setting("GRAPHS_SEED", 1));
    let mut below = |end: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    let rows: Vec<usize> = (0..TABLE.len()).filter(|&at| loadable(TABLE[at].key)).collect();
    for number in 0..volumes {
        let folder = tempfile::tempdir().unwrap();
        let picks: Vec<_> = (0..40).map(|_| (rows[below(rows.len())], below(7))).collect();
        let volume = configured(below(LAYOUTS.len()), 1 + below(3), &picks);
        let count = write(folder.path(), number, &volume);
        println!("volume {number}: {count} graphs, {:?}", volume.options);
        all_accepted(folder.path(), count);
    }
}

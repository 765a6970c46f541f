//! Stock's own `glusterfsd` loads the graphs: it parses them, finds every translator and starts it
//! with its options.
//!
//! Needs root and the glusterfs-server package, as `./run-tests` installs it. Each process runs in
//! namespaces of its own, so no port, path or other process is touched.

use crate::configured;
use crate::sample::{LAYOUTS, facts, some_specs};
use glusterd_core::model::Volume;
use glusterd_core::options::TABLE;
use glusterd_core::volgen::{Spec, file_name, graph};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

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
    for _ in $(seq 200); do
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
    unshare.args(["300", "unshare", "-m", "-n", "-p", "-i", "--fork", "--kill-child"]);
    unshare.args(["--mount-proc", "bash", "-c", SCRIPT, "load"]).arg(folder);
    unshare.output().expect("timeout, unshare and bash are there")
}

/// Writes the volume's graphs; how many.
fn write(folder: &Path, number: usize, volume: &Volume) -> usize {
    let wanted = |spec: &Spec| {
        matches!(
            spec,
            Spec::Brick(0) | Spec::Client { trusted: true, .. } | Spec::Shd | Spec::Gfproxyd
        )
    };
    let mut count = 0;
    for spec in some_specs(volume).filter(wanted) {
        let name = format!("{number:02}-{}", file_name(volume, spec));
        fs::write(folder.join(name), graph(volume, spec, &facts()).unwrap().text()).unwrap();
        count += 1;
    }
    count
}

/// Options that glusterfsd refuses although its own table allows the value, or that need something
/// on the machine which a sample value cannot name.
fn loadable(key: &str) -> bool {
    let needs_more = ["features.cloudsync", "network.compression", "features.sdfs"];
    !needs_more.contains(&key) && !key.starts_with("ssl.") && !key.ends_with(".ssl")
}

#[test]
fn stock_loads_what_we_generate() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<usize> = (0..TABLE.len()).filter(|&at| loadable(TABLE[at].key)).collect();
    let mut count = 0;
    for number in 0..12 {
        // Every row comes up once, spread over the volumes.
        let picks: Vec<_> = rows.iter().skip(number).step_by(12).map(|&row| (row, 0)).collect();
        count += write(folder.path(), number, &configured(number % LAYOUTS.len(), 2, &picks));
    }
    let output = load(folder.path());
    let said = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{trouble}", output.status);
    let accepted = said.lines().filter(|line| line.starts_with("accepted ")).count();
    assert_eq!(accepted, count, "{said}{trouble}");
}

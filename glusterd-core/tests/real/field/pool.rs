//! What every node of a pool shows, and whether they all show the same.

use super::Field;
use std::collections::BTreeMap;

/// One node's view and its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `volume info` of all volumes.
    pub info: String,
    /// The peers' states, without their names.
    pub peers: Vec<String>,
    /// Checksums of the files that are equal on all nodes of stock's, by name.
    pub files: String,
    /// Brick processes by brick.
    pub bricks: BTreeMap<String, usize>,
    /// Other processes by kind.
    pub services: BTreeMap<String, usize>,
}

const LOOK: &str = r"
part() { echo; echo @@@; }
gluster --mode=script volume info 2>&1; part
gluster --mode=script peer status 2>&1; part
cd /var/lib/glusterd/vols && find . -name info -exec sh -c 'echo $0 $(sort $0 | cksum)' {} \; -o -name quota.conf -exec cksum {} \; | sort; part
ps -C glusterfsd -o args= | sed -n 's/.*--brick-name \([^ ]*\) .*/\1/p'; part
ps -C glusterfs -o args= | grep -oE 'gluster/(glustershd|quotad|bitd|scrub)/[a-z]*\.pid'
";

impl Field {
    pub fn look(&self, node: usize) -> Shown {
        let text = self.node(node).sh(LOOK).out;
        let mut parts = text.split("\n@@@\n").map(str::trim_end);
        let mut part = || parts.next().unwrap_or_default();
        let (info, peers, files, bricks, services) = (part(), part(), part(), part(), part());
        Shown {
            info: info.trim().to_owned(),
            peers: peers
                .lines()
                .filter_map(|line| line.strip_prefix("State: "))
                .map(str::to_owned)
                .collect(),
            files: files.to_owned(),
            bricks: count(bricks),
            services: count(services),
        }
    }

    /// Why the members do not agree with each other, or with what should run; `None` when they do.
    pub fn disagreement(&self, members: &[usize]) -> Option<String> {
        let shown = self.each(members, |node| self.look(node));
        let first = &shown[0];
        for (node, shown) in members.iter().zip(&shown) {
            if shown.info != first.info {
                return Some(format!("node{node} shows\n{}\nand not\n{}", shown.info, first.info));
            }
            if shown.files != first.files {
                return Some(format!("node{node} has\n{}\nand not\n{}", shown.files, first.files));
            }
            let together = vec!["Peer in Cluster (Connected)".to_owned(); members.len() - 1];
            if shown.peers != together {
                return Some(format!("node{node} sees {:?}", shown.peers));
            }
            let wanted = wanted_bricks(&shown.info, *node);
            if shown.bricks != wanted {
                return Some(format!("node{node} runs {:?} and not {wanted:?}", shown.bricks));
            }
            if let Some((kind, count)) = shown.services.iter().find(|(_, count)| **count > 1) {
                return Some(format!("node{node} runs {kind} {count} times"));
            }
        }
        None
    }

    /// Brings the members to one mind, in time.
    pub fn agree(&self, members: &[usize]) -> Result<(), String> {
        let end = std::time::Instant::now() + super::SETTLE;
        loop {
            let Some(why) = self.disagreement(members) else { return Ok(()) };
            if std::time::Instant::now() > end {
                return Err(why);
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

fn count(lines: &str) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        *counted.entry(line.to_owned()).or_default() += 1;
    }
    counted
}

/// The bricks of started volumes on a node, each once.
fn wanted_bricks(info: &str, node: usize) -> BTreeMap<String, usize> {
    let mut wanted = BTreeMap::new();
    let mut started = false;
    let here = format!("node{node}:");
    for line in info.lines() {
        if let Some(status) = line.strip_prefix("Status: ") {
            started = status == "Started";
        }
        let brick = line.strip_prefix("Brick").and_then(|rest| rest.split_once(": "));
        if let Some((_, brick)) = brick
            && let Some(path) = brick.strip_prefix(&here)
            && started
        {
            let path = path.split(' ').next().unwrap_or_default();
            wanted.insert(path.to_owned(), 1);
        }
    }
    wanted
}

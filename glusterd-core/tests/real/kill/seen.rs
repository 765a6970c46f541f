//! What a node says the pool and the volume `v` are.

use std::collections::BTreeMap;

use super::super::field::Field;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Nodes of the pool.
    pub members: usize,
    /// Whether there is a volume `v`; the rest is about it, but for `keep`.
    pub exists: bool,
    pub started: bool,
    pub replicated: bool,
    pub bricks: Vec<String>,
    pub options: BTreeMap<String, String>,
    /// The last task that is known: its kind and id.
    pub task: Option<(String, String)>,
    /// Options of the volume that is written to.
    pub keep: BTreeMap<String, String>,
}

impl Seen {
    pub fn at(field: &Field, node: usize) -> Result<Seen, String> {
        let list = field.gluster(node, "pool list");
        let info = field.gluster(node, "volume info");
        if list.exit != 0 || info.exit != 0 {
            return Err(format!("{list:?}\n{info:?}"));
        }
        let mut seen = Seen { members: list.out.lines().count() - 1, ..Seen::default() };
        for volume in info.out.split("\nVolume Name: ").map(str::trim_start) {
            let volume = volume.trim_start_matches("Volume Name: ");
            match volume.lines().next() {
                Some("v") => seen.volume(volume),
                Some("keep") => seen.keep = options(volume),
                _ => {}
            }
        }
        if seen.started {
            seen.task = task(&field.gluster(node, "volume status v tasks").out);
        }
        Ok(seen)
    }

    fn volume(&mut self, text: &str) {
        let has = |line: &str| text.lines().any(|found| found.trim() == line);
        self.exists = true;
        self.started = has("Status: Started");
        self.replicated = has("Type: Replicate") || has("Type: Distributed-Replicate");
        let brick = |line: &str| {
            let (_, brick) = line.strip_prefix("Brick")?.split_once(": ")?;
            Some(brick.trim().to_owned())
        };
        self.bricks = text.lines().filter_map(brick).collect();
        self.options = options(text);
    }

    pub fn has(&self, option: &str, value: &str) -> bool {
        self.options.get(option).is_some_and(|found| found == value)
    }

    pub fn is_task(&self, kind: &str) -> bool {
        self.task.as_ref().is_some_and(|(found, _)| found == kind)
    }
}

fn options(text: &str) -> BTreeMap<String, String> {
    let (_, after) = text.split_once("Options Reconfigured:").unwrap_or_default();
    let pair = |line: &str| line.split_once(": ").map(|(k, v)| (k.to_owned(), v.trim().to_owned()));
    after.lines().filter_map(pair).collect()
}

fn task(text: &str) -> Option<(String, String)> {
    let value = |key: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(key));
        lines.find_map(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    Some((value("Task ")?, value("ID ")?))
}

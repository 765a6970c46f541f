//! Every changing command of the matrix: when it fits, how it is asked, how one sees that it was done.

use super::seen::Seen;

pub struct Operation {
    pub name: &'static str,
    pub when: fn(&Seen) -> bool,
    /// Arguments of `gluster`.
    line: fn(&Seen, &Point) -> String,
    /// Before the strike, arguments of `gluster`; empty: nothing.
    first: fn(&Seen) -> String,
    /// A script on the first node that succeeds before the strike may begin; empty: none.
    until: fn(&Seen) -> String,
    pub done: fn(&Seen, &Seen, &Asked) -> bool,
    /// After the strike until it succeeds, arguments of `gluster`, a line each; empty: nothing.
    then: fn(&Seen) -> String,
    /// Whether a node joins or leaves the pool by it.
    pub moves_guest: bool,
}

/// Numbers that make names.
pub struct Point {
    number: u64,
    life: u64,
}

/// A command as it is asked in one point.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub first: Option<String>,
    pub until: Option<(usize, String)>,
    mark: String,
}

const ROW: Operation = Operation {
    name: "",
    when: |_| false,
    line: |_, _| String::new(),
    first: |_| String::new(),
    until: |_| String::new(),
    done: |_, _, _| false,
    then: |_| String::new(),
    moves_guest: false,
};

impl Operation {
    pub fn asked(&self, seen: &Seen, number: u64, life: u64) -> Asked {
        let some = |text: String| (!text.is_empty()).then_some(text);
        Asked {
            line: (self.line)(seen, &Point { number, life }),
            first: some((self.first)(seen)),
            until: some((self.until)(seen)).map(|script| (1, script)),
            mark: number.to_string(),
        }
    }

    pub fn afterwards(&self, before: &Seen) -> Vec<String> {
        (self.then)(before).lines().map(str::to_owned).collect()
    }
}

/// A brick that is being reset is down; or runs still, or again, because nothing came of it.
fn brought_back(brick: &str) -> String {
    format!("volume reset-brick v {brick} start\nvolume reset-brick v {brick} {brick} commit force")
}

fn on_three_nodes(name: &str) -> String {
    (1..=3).map(|node| format!(" node{node}:/srv/b/{name}")).collect()
}

/// A started volume whose last task, if any, has ended by itself.
fn runs(seen: &Seen) -> bool {
    seen.started
}

fn spread(seen: &Seen) -> bool {
    seen.started && !seen.replicated
}

fn copied(seen: &Seen) -> bool {
    seen.started && seen.replicated
}

fn leaving(seen: &Seen) -> bool {
    spread(seen) && seen.is_task("Remove brick")
}

fn may_leave(seen: &Seen) -> bool {
    spread(seen) && seen.bricks.len() > 2 && !leaving(seen)
}

fn last(seen: &Seen) -> &str {
    seen.bricks.last().expect("a volume has bricks")
}

fn without_last(before: &Seen, after: &Seen) -> bool {
    after.bricks[..] == before.bricks[..before.bricks.len() - 1]
}

fn rebalanced() -> String {
    "gluster --mode=script volume rebalance v status | grep -q 'in progress' && exit 1; exit 0"
        .into()
}

fn left() -> String {
    // Of every node; the brick is the last of the list, whatever it is called.
    "brick=$(gluster volume info v | sed -n 's/^Brick[0-9]*: //p' | tail -n 1); \
     out=$(gluster --mode=script volume remove-brick v $brick status) || exit 1; \
     case $out in *'in progress'*|*'not started'*) exit 1;; esac; exit 0"
        .into()
}

fn option(before: &Seen, after: &Seen, name: &str, value: &str) -> bool {
    !before.has(name, value) && after.has(name, value)
}

fn new_task(before: &Seen, after: &Seen, kind: &str) -> bool {
    after.is_task(kind) && after.task != before.task
}

/// What changes nothing that is seen is done when nothing has changed.
fn unseen(before: &Seen, after: &Seen, _: &Asked) -> bool {
    before == after
}

pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "create",
        when: |seen| !seen.exists,
        line: |_, p| format!("volume create v{}", on_three_nodes(&format!("d{}", p.life))),
        done: |_, after, _| after.exists && !after.replicated && after.bricks.len() == 3,
        ..ROW
    },
    Operation {
        name: "create replica",
        when: |seen| !seen.exists,
        line: |_, p| {
            format!("volume create v replica 3{}", on_three_nodes(&format!("r{}", p.life)))
        },
        done: |_, after, _| after.exists && after.replicated && after.bricks.len() == 3,
        ..ROW
    },
    Operation {
        name: "start",
        when: |seen| seen.exists && !seen.started,
        line: |_, _| "volume start v".into(),
        done: |_, after, _| after.started,
        ..ROW
    },
    Operation {
        name: "start force",
        when: runs,
        line: |_, _| "volume start v force".into(),
        done: unseen,
        ..ROW
    },
    Operation {
        name: "stop",
        when: |seen| runs(seen) && !leaving(seen),
        until: |_| rebalanced(),
        line: |_, _| "volume stop v".into(),
        done: |_, after, _| after.exists && !after.started,
        ..ROW
    },
    Operation {
        name: "delete",
        when: |seen| seen.exists && !seen.started,
        line: |_, _| "volume delete v".into(),
        done: |_, after, _| !after.exists,
        ..ROW
    },
    Operation {
        name: "set",
        when: |seen| seen.exists,
        line: |_, p| format!("volume set v user.mark {}", p.number),
        done: |_, after, asked| after.has("user.mark", &asked.mark),
        ..ROW
    },
    Operation {
        name: "set under the client",
        when: |_| true,
        line: |seen, _| {
            let on = seen.keep.get("performance.read-ahead").is_some_and(|value| value == "on");
            format!("volume set keep performance.read-ahead {}", if on { "off" } else { "on" })
        },
        done: |before, after, _| before.keep != after.keep,
        ..ROW
    },
    Operation {
        name: "reset",
        when: |seen| seen.options.contains_key("user.mark"),
        line: |_, _| "volume reset v user.mark".into(),
        done: |_, after, _| !after.options.contains_key("user.mark"),
        ..ROW
    },
    Operation {
        name: "add-brick",
        when: |seen| spread(seen) && !leaving(seen) && seen.bricks.len() < 5,
        line: |_, p| format!("volume add-brick v node{}:/srv/b/a{}", p.number % 3 + 1, p.number),
        until: |_| rebalanced(),
        done: |before, after, asked| {
            after.bricks.len() == before.bricks.len() + 1 && asked.line.ends_with(last(after))
        },
        ..ROW
    },
    Operation {
        name: "add-brick of a set",
        when: |seen| copied(seen) && seen.bricks.len() < 6,
        line: |_, p| format!("volume add-brick v{}", on_three_nodes(&format!("a{}", p.number))),
        until: |_| rebalanced(),
        done: |before, after, asked| {
            after.bricks.len() == before.bricks.len() + 3 && asked.line.ends_with(last(after))
        },
        ..ROW
    },
    Operation {
        name: "remove-brick start",
        when: may_leave,
        until: |_| rebalanced(),
        line: |seen, _| format!("volume remove-brick v {} start", last(seen)),
        done: |before, after, _| new_task(before, after, "Remove brick"),
        ..ROW
    },
    Operation {
        name: "remove-brick stop",
        when: leaving,
        line: |seen, _| format!("volume remove-brick v {} stop", last(seen)),
        done: |_, after, _| !after.is_task("Remove brick"),
        ..ROW
    },
    Operation {
        name: "remove-brick commit",
        when: leaving,
        until: |_| left(),
        line: |seen, _| format!("volume remove-brick v {} commit", last(seen)),
        done: |before, after, _| without_last(before, after),
        ..ROW
    },
    Operation {
        name: "remove-brick force",
        when: may_leave,
        until: |_| rebalanced(),
        line: |seen, _| format!("volume remove-brick v {} force", last(seen)),
        done: |before, after, _| without_last(before, after),
        ..ROW
    },
    Operation {
        name: "replace-brick",
        when: copied,
        until: |_| rebalanced(),
        line: |seen, p| {
            let old = last(seen);
            let host = old.split(':').next().expect("HOST:PATH");
            format!("volume replace-brick v {old} {host}:/srv/b/n{} commit force", p.number)
        },
        done: |before, after, asked| {
            before.bricks != after.bricks && asked.line.contains(last(after))
        },
        ..ROW
    },
    Operation {
        name: "reset-brick start",
        when: copied,
        until: |_| rebalanced(),
        line: |seen, _| format!("volume reset-brick v {} start", last(seen)),
        done: unseen,
        then: |seen| brought_back(last(seen)),
        ..ROW
    },
    Operation {
        name: "reset-brick commit",
        when: copied,
        until: |_| rebalanced(),
        first: |seen| format!("volume reset-brick v {} start", last(seen)),
        line: |seen, _| format!("volume reset-brick v {0} {0} commit force", last(seen)),
        done: unseen,
        then: |seen| brought_back(last(seen)),
        ..ROW
    },
    Operation {
        name: "rebalance start",
        when: |seen| spread(seen) && seen.bricks.len() > 1 && !leaving(seen),
        until: |_| rebalanced(),
        line: |_, _| "volume rebalance v start".into(),
        done: |before, after, _| new_task(before, after, "Rebalance"),
        ..ROW
    },
    Operation {
        name: "rebalance fix-layout",
        when: |seen| spread(seen) && seen.bricks.len() > 1 && !leaving(seen),
        until: |_| rebalanced(),
        line: |_, _| "volume rebalance v fix-layout start".into(),
        done: |before, after, _| new_task(before, after, "Rebalance"),
        ..ROW
    },
    Operation {
        name: "profile start",
        when: |seen| runs(seen) && !seen.has("diagnostics.latency-measurement", "on"),
        line: |_, _| "volume profile v start".into(),
        done: |before, after, _| option(before, after, "diagnostics.latency-measurement", "on"),
        ..ROW
    },
    Operation {
        name: "profile stop",
        when: |seen| runs(seen) && seen.has("diagnostics.latency-measurement", "on"),
        line: |_, _| "volume profile v stop".into(),
        done: |_, after, _| !after.has("diagnostics.latency-measurement", "on"),
        ..ROW
    },
    Operation {
        name: "quota enable",
        when: |seen| runs(seen) && !seen.has("features.quota", "on"),
        line: |_, _| "volume quota v enable".into(),
        done: |before, after, _| option(before, after, "features.quota", "on"),
        ..ROW
    },
    Operation {
        name: "quota disable",
        when: |seen| runs(seen) && seen.has("features.quota", "on"),
        line: |_, _| "volume quota v disable".into(),
        done: |_, after, _| !after.has("features.quota", "on"),
        ..ROW
    },
    Operation {
        name: "bitrot enable",
        when: |seen| runs(seen) && !seen.has("features.bitrot", "on"),
        line: |_, _| "volume bitrot v enable".into(),
        done: |before, after, _| option(before, after, "features.bitrot", "on"),
        ..ROW
    },
    Operation {
        name: "bitrot disable",
        when: |seen| runs(seen) && seen.has("features.bitrot", "on"),
        line: |_, _| "volume bitrot v disable".into(),
        done: |_, after, _| !after.has("features.bitrot", "on"),
        ..ROW
    },
    Operation {
        name: "heal disable",
        when: |seen| copied(seen) && !seen.has("cluster.self-heal-daemon", "disable"),
        line: |_, _| "volume heal v disable".into(),
        done: |before, after, _| option(before, after, "cluster.self-heal-daemon", "disable"),
        ..ROW
    },
    Operation {
        name: "heal enable",
        when: |seen| copied(seen) && seen.has("cluster.self-heal-daemon", "disable"),
        line: |_, _| "volume heal v enable".into(),
        done: |before, after, _| option(before, after, "cluster.self-heal-daemon", "enable"),
        ..ROW
    },
    Operation {
        name: "heal",
        when: |seen| copied(seen) && !seen.has("cluster.self-heal-daemon", "disable"),
        line: |_, _| "volume heal v full".into(),
        done: unseen,
        ..ROW
    },
    Operation {
        name: "probe",
        when: |seen| seen.members == 3,
        line: |_, _| "peer probe node4".into(),
        done: |_, after, _| after.members == 4,
        moves_guest: true,
        ..ROW
    },
    Operation {
        name: "detach",
        when: |seen| seen.members == 4,
        line: |_, _| "peer detach node4".into(),
        done: |_, after, _| after.members == 3,
        moves_guest: true,
        ..ROW
    },
];

//! Bricks in motion: cases for the matrix of deaths, and a removal from its start to its commit.

use crate::matrix::{CREATE, Case, PLAIN, START};
use crate::mortal::Fuse;
use crate::world::{Command, Life, World};
use glusterd_core::model::DefragStatus;
use glusterd_core::rpc::Dict;
use glusterd_core::serve::handshake::Source;
use std::time::Duration;

const ADD: Command = Command {
    procedure: 13,
    pairs: &[("volname", "v"), ("count", "1"), ("bricks", " h:/bricks/c ")],
};
const ADD_COPY: Command = Command {
    procedure: 13,
    pairs: &[
        ("volname", "v"),
        ("count", "1"),
        ("replica-count", "3"),
        ("bricks", " h:/bricks/c "),
        ("force", "1"),
    ],
};
const REMOVE: Command = remove("1");
const REMOVE_COMMIT: Command = remove("2");
const REMOVE_FORCE: Command = remove("5");
const REMOVE_STOP: Command = Command {
    procedure: 11,
    pairs: &[
        ("volname", "v"),
        ("rebalance-command", "2"),
        ("cmd-str", "volume remove-brick v h:/bricks/b stop"),
        ("count", "1"),
        ("brick1", "h:/bricks/b"),
    ],
};
const REBALANCE: Command = rebalance("1");
const REBALANCE_STOP: Command = rebalance("2");
const FIX_LAYOUT: Command = rebalance("4");
const REPLACE: Command = Command {
    procedure: 15,
    pairs: &[
        ("volname", "v"),
        ("operation", "GF_REPLACE_OP_COMMIT_FORCE"),
        ("src-brick", "h:/bricks/b"),
        ("dst-brick", "h:/bricks/c"),
    ],
};

const fn remove(action: &'static str) -> Command {
    let pairs: &[(&str, &str)] = match action.as_bytes() {
        b"1" => &[("volname", "v"), ("count", "1"), ("command", "1"), ("brick1", "h:/bricks/b")],
        b"2" => &[("volname", "v"), ("count", "1"), ("command", "2"), ("brick1", "h:/bricks/b")],
        _ => &[("volname", "v"), ("count", "1"), ("command", "5"), ("brick1", "h:/bricks/b")],
    };
    Command { procedure: 14, pairs }
}

const fn rebalance(action: &'static str) -> Command {
    let pairs: &[(&str, &str)] = match action.as_bytes() {
        b"1" => &[("volname", "v"), ("rebalance-command", "1")],
        b"2" => &[("volname", "v"), ("rebalance-command", "2")],
        _ => &[("volname", "v"), ("rebalance-command", "4")],
    };
    Command { procedure: 11, pairs }
}

const TAKEN: &str = "Brick: h:/bricks/c not available. Brick may be containing or be contained by \
                     an existing brick.";

pub const CASES: &[Case] = &[
    Case { name: "add-brick", before: &[PLAIN, START], command: ADD, again: Some(TAKEN) },
    Case { name: "add-brick while stopped", before: &[PLAIN], command: ADD, again: Some(TAKEN) },
    Case {
        name: "add-brick of a copy",
        before: &[CREATE, START],
        command: ADD_COPY,
        // The number of bricks does not fit any more.
        again: Some("Operation failed"),
    },
    Case {
        name: "remove-brick start",
        before: &[PLAIN, START],
        command: REMOVE,
        again: Some(
            "An earlier remove-brick task exists for volume v. Either commit it or stop it before \
             starting a new task.",
        ),
    },
    Case {
        name: "remove-brick stop",
        before: &[PLAIN, START, REMOVE],
        command: REMOVE_STOP,
        again: Some("remove-brick not started for volume v."),
    },
    Case {
        name: "remove-brick force",
        before: &[PLAIN, START],
        command: REMOVE_FORCE,
        again: Some("Incorrect brick h:/bricks/b for volume v"),
    },
    Case {
        name: "rebalance start",
        before: &[PLAIN, START],
        command: REBALANCE,
        again: Some("Rebalance on v is already started"),
    },
    Case {
        name: "rebalance fix-layout",
        before: &[PLAIN, START],
        command: FIX_LAYOUT,
        again: Some("Rebalance on v is already started"),
    },
    Case {
        name: "rebalance stop",
        before: &[PLAIN, START, REBALANCE],
        command: REBALANCE_STOP,
        again: Some("Rebalance not started for volume v."),
    },
    Case {
        name: "replace-brick",
        before: &[CREATE, START],
        command: REPLACE,
        again: Some("brick: h:/bricks/b does not exist in volume: v"),
    },
];

/// How long a removal may take whose process is through at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets the process of a running task say that it is through, and end, until the pool knows.
async fn finish(life: &Life<'_>) {
    let done = async {
        loop {
            let view = life.view();
            let task = view.volume("v").and_then(|volume| volume.task.clone());
            if !task.is_some_and(|task| task.is_running()) {
                return;
            }
            for process in life.world.rebalances("v") {
                let mut report = Dict::new();
                report.set_str("volname", "rebalance/v");
                report.set_int("status", DefragStatus::Complete.code());
                report.set_int("files", 7);
                life.house.specs.rebalance_report(report);
                life.world.host.kill(process);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("the task ends");
}

/// Dead at any call between the start of a removal and its commit: it goes on, its end is written
/// once, and when it is committed nothing of it is left.
#[test]
fn a_removal_ends_once() {
    for n in 0.. {
        let world = World::new(n as u64);
        world.prepare(&[PLAIN, START]);
        let fuse = Fuse::new();
        let lived = world.live(&fuse, async |life| {
            fuse.arm(Some(n));
            life.run(REMOVE).await.unwrap();
            finish(life).await;
            life.settle().await;
        });
        world.live(&Fuse::new(), async |life| {
            let at = format!("dead at call {n}");
            assert_eq!(life.faults(), [""; 0], "{at}");
            if life.view().volume("v").is_some_and(|volume| volume.task.is_none()) {
                life.run(REMOVE).await.unwrap_or_else(|no| panic!("{at}: {no:?}"));
            }
            finish(life).await;
            let view = life.view();
            let task = view.volume("v").and_then(|v| v.task.clone()).expect("a removal");
            assert_eq!(task.status, DefragStatus::Complete, "{at}");
            let row = |row: &glusterd_core::model::Progress| (row.task, row.node);
            let rows: Vec<_> = view.progress.values().map(row).collect();
            assert_eq!(rows, [(task.id, view.me)], "{at}");
            // Each process moves seven; what was heard of one before the death counts as well.
            let files = view.progress.values().map(|row| row.counts.files).sum::<u64>();
            assert!([7, 14].contains(&files), "{at}: {files}");

            life.run(REMOVE_COMMIT).await.unwrap_or_else(|no| panic!("{at}: {no:?}"));
            life.settle().await;
            assert_eq!(life.faults(), [""; 0], "{at}");
            let mut sights = life.house.store.subscribe();
            let forgotten = sights.wait_for(|sight| sight.view.progress.is_empty());
            tokio::time::timeout(PATIENCE, forgotten).await.expect("rows go").unwrap();
            assert_eq!(life.view().volume("v").map(|v| v.bricks.len()), Some(1), "{at}");
            assert_eq!(world.rebalances("v"), [0; 0], "{at}");
        });
        if lived.is_some() {
            assert!(n > 10, "only {n} calls");
            return;
        }
    }
}

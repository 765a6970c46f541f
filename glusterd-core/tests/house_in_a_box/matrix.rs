//! Every operation, dead at every call: wholly done or wholly absent, and a retry is answered as
//! the state deserves.

use crate::mortal::Fuse;
use crate::world::{BRICKS, Command, World};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub const CREATE: Command = Command {
    procedure: 4,
    pairs: &[
        ("volname", "v"),
        ("count", "2"),
        ("type", "2"),
        ("replica-count", "2"),
        ("transport", "tcp"),
        ("bricks", " h:/bricks/a h:/bricks/b "),
        // Two copies on one node.
        ("force", "1"),
    ],
};
/// Without force: what an earlier attempt left would be in its way.
pub const PLAIN: Command = Command {
    procedure: 4,
    pairs: &[
        ("volname", "v"),
        ("count", "2"),
        ("type", "0"),
        ("transport", "tcp"),
        ("bricks", " h:/bricks/a h:/bricks/b "),
        ("force", "0"),
    ],
};
const OTHER: Command = Command {
    procedure: 4,
    pairs: &[
        ("volname", "w"),
        ("count", "1"),
        ("type", "0"),
        ("transport", "tcp"),
        ("bricks", " h:/bricks/c "),
        ("force", "0"),
    ],
};
pub const START: Command = Command { procedure: 8, pairs: &[("volname", "v"), ("flags", "0")] };
const START_OTHER: Command = Command { procedure: 8, pairs: &[("volname", "w"), ("flags", "0")] };
pub const STOP: Command = Command { procedure: 9, pairs: &[("volname", "v"), ("flags", "0")] };
pub const DELETE: Command = Command { procedure: 7, pairs: &[("volname", "v")] };
pub const SET: Command = Command {
    procedure: 12,
    pairs: &[
        ("volname", "v"),
        ("key1", "performance.cache-size"),
        ("value1", "64MB"),
        ("count", "1"),
    ],
};
/// Changes no volume.
pub const POOL_SET: Command = Command {
    procedure: 12,
    pairs: &[
        ("volname", "all"),
        ("key1", "cluster.daemon-log-level"),
        ("value1", "INFO"),
        ("count", "1"),
    ],
};
const RESET: Command =
    Command { procedure: 20, pairs: &[("volname", "v"), ("key", "all"), ("force", "0")] };
const PROFILE_ON: Command = Command { procedure: 23, pairs: &[("volname", "v"), ("op", "1")] };
const PROFILE_OFF: Command = Command { procedure: 23, pairs: &[("volname", "v"), ("op", "2")] };
const HEAL_ON: Command = Command { procedure: 31, pairs: &[("volname", "v"), ("heal-op", "12")] };
const HEAL_OFF: Command = Command { procedure: 31, pairs: &[("volname", "v"), ("heal-op", "13")] };

/// An operation, what comes before it, and how a second one is answered once it is done.
pub struct Case {
    pub name: &'static str,
    pub before: &'static [Command],
    pub command: Command,
    /// `None`: it succeeds again.
    pub again: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case { name: "create", before: &[], command: PLAIN, again: Some("Volume v already exists") },
    Case {
        name: "create by force",
        before: &[],
        command: CREATE,
        again: Some("Volume v already exists"),
    },
    Case {
        name: "start of a plain volume",
        before: &[PLAIN],
        command: START,
        again: Some("Volume v already started"),
    },
    Case {
        name: "create beside another",
        before: &[OTHER, START_OTHER],
        command: CREATE,
        again: Some("Volume v already exists"),
    },
    Case {
        name: "start",
        before: &[CREATE],
        command: START,
        again: Some("Volume v already started"),
    },
    Case {
        name: "start again",
        before: &[OTHER, START_OTHER, CREATE, START, STOP],
        command: START,
        again: Some("Volume v already started"),
    },
    Case { name: "set", before: &[CREATE, START], command: SET, again: None },
    Case { name: "set while stopped", before: &[CREATE], command: SET, again: None },
    Case { name: "reset", before: &[CREATE, START, SET], command: RESET, again: None },
    Case {
        name: "profile start",
        before: &[CREATE, START],
        command: PROFILE_ON,
        again: Some("Profile on Volume v is already started"),
    },
    Case {
        name: "profile stop",
        before: &[CREATE, START, PROFILE_ON],
        command: PROFILE_OFF,
        again: Some("Profile on Volume v is not started"),
    },
    Case { name: "heal disable", before: &[CREATE, START], command: HEAL_OFF, again: None },
    Case { name: "heal enable", before: &[CREATE, START, HEAL_OFF], command: HEAL_ON, again: None },
    Case {
        name: "stop",
        before: &[CREATE, START],
        command: STOP,
        again: Some("Volume v is not in the started state"),
    },
    Case {
        name: "stop beside another",
        before: &[OTHER, START_OTHER, CREATE, START],
        command: STOP,
        again: Some("Volume v is not in the started state"),
    },
    Case {
        name: "delete",
        before: &[CREATE, START, STOP],
        command: DELETE,
        again: Some("Volume v does not exist"),
    },
];

/// Every case, of this file and of those beside it.
pub fn cases() -> Vec<&'static Case> {
    CASES.iter().chain(crate::moving::CASES).collect()
}

pub type Summary = BTreeMap<String, String>;

/// How a case goes when nobody dies: before, after, and how many calls it takes.
pub fn undisturbed(case: &Case) -> (Summary, Summary, usize) {
    let world = World::new(0);
    world.prepare(case.before);
    let fuse = Fuse::new();
    let seen = world.live(&fuse, async |life| {
        let before = life.summary();
        fuse.arm(None);
        life.run(case.command).await.unwrap_or_else(|no| panic!("{}: {no:?}", case.name));
        life.settle().await;
        assert_eq!(life.faults(), [""; 0], "{}", case.name);
        (before, life.summary(), fuse.calls().len())
    });
    seen.expect("nobody dies")
}

/// What a power cut does to files that were written but not flushed.
fn lose_files(work: &Path, how: usize) {
    let mut folders = vec![work.join("vols")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match how {
                _ if path.is_dir() => folders.push(path),
                1 => fs::write(path, "").unwrap(),
                _ => fs::remove_file(path).unwrap(),
            }
        }
    }
}

/// Kills at call `n`, looks at what a new daemon makes of it, and tries again.
fn check(case: &Case, n: usize, before: &Summary, after: &Summary) {
    let at = |what: &str| format!("{}, dead at call {n}: {what}", case.name);
    let world = World::new(n as u64);
    world.prepare(case.before);
    let fuse = Fuse::new();
    world.live(&fuse, async |life| {
        fuse.arm(Some(n));
        drop(life.run(case.command).await);
        life.settle().await;
    });
    let died_at = fuse.calls().last().copied().unwrap_or("once settled");
    // Two of three deaths are power cuts: files are empty, or were never there.
    match n % 3 {
        0 => {}
        how => lose_files(world.work(), how),
    }
    world.live(&Fuse::new(), async |life| {
        let now = life.summary();
        assert!(now == *before || now == *after, "{}", at(&format!("{died_at}: {now:?}")));
        assert_eq!(life.faults(), [""; 0], "{}", at(died_at));
        let deleting = case.command.procedure == DELETE.procedure;
        if !deleting {
            assert_eq!(life.stray_marks(), [""; 0], "{}", at(died_at));
        }
        let retried = life.run(case.command).await;
        let same = before == after;
        match (&retried, case.again) {
            (Err(no), Some(text)) if now == *after && !same => assert_eq!(no.text, text),
            (Ok(()), None) => {}
            (Ok(()), Some(_)) if now == *before => {}
            _ => panic!("{}", at(&format!("{died_at}: retried from {now:?}: {retried:?}"))),
        }
        life.settle().await;
        assert_eq!((life.summary(), life.faults()), (after.clone(), vec![]), "{}", at("retried"));
    });
}

/// Lives wait more than they work.
const THREADS: usize = 4;

#[test]
fn an_operation_is_wholly_done_or_wholly_absent() {
    let cases = cases();
    let went: Vec<_> = cases.iter().map(|case| undisturbed(case)).collect();
    let points: Vec<(usize, usize)> = went
        .iter()
        .enumerate()
        .flat_map(|(at, (_, _, calls))| (0..=*calls).map(move |n| (at, n)))
        .collect();
    assert!(points.len() >= 200, "only {} places to die", points.len());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mine = points.iter().skip(thread).step_by(THREADS);
            let (went, cases) = (&went, &cases);
            scope.spawn(move || {
                for &(at, n) in mine {
                    let (before, after, _) = &went[at];
                    check(cases[at], n, before, after);
                }
            });
        }
    });
    println!("{} places to die", points.len());
}

/// The second brick cannot be marked, so the create is taken back: dead at any call of that, no
/// mark is left that a later create would stumble over.
#[test]
fn a_create_taken_back_leaves_no_marks() {
    for n in 0.. {
        let world = World::new(n as u64);
        world.prepare(&[]);
        *world.spoiled.lock() = Some(BRICKS[1]);
        let fuse = Fuse::new();
        let lived = world.live(&fuse, async |life| {
            fuse.arm(Some(n));
            let refused = life.run(PLAIN).await.unwrap_err();
            assert_eq!(refused.text, "Commit failed on localhost. No mark can be set");
            assert_eq!((life.summary(), life.stray_marks()), (Summary::new(), vec![]));
        });
        *world.spoiled.lock() = None;
        world.live(&Fuse::new(), async |life| {
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
            assert_eq!(life.faults(), [""; 0], "dead at call {n}");
            assert_eq!(life.stray_marks(), [""; 0], "dead at call {n}");
            match life.run(PLAIN).await {
                Ok(()) => {}
                Err(no) => {
                    assert_eq!(no.text, "Volume v already exists", "dead at call {n}");
                }
            }
            life.run(START).await.unwrap_or_else(|no| panic!("dead at call {n}: {no:?}"));
            assert_eq!(life.faults(), [""; 0], "dead at call {n}");
        });
        if lived.is_some() {
            assert!(n > 10, "only {n} calls");
            return;
        }
    }
}

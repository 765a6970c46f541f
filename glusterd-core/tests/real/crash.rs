//! The daemon killed at any moment: every operation wholly done or wholly absent, data served all the while.
//!
//! One volume is mounted and written to without a pause. On another, operations run one after the other and
//! the daemon gets SIGKILL somewhere in each. The moments come from a seed; a failure names it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::dice::Random;
use super::sandbox::{Kind, Sandbox};
use super::writer::Writer;

/// Kill points of one run.
const POINTS: u32 = 60;
const SEED: u64 = 20_261;
/// Processes and files have this long to follow what was decided.
const SETTLE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Stopped { mark: u32 },
    Started { mark: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Create,
    Start,
    Set(u32),
    Stop,
    Delete,
}

impl Op {
    fn command(self) -> String {
        match self {
            Op::Create => "volume create v node1:/srv/b/v1 node1:/srv/b/v2 force".to_owned(),
            Op::Start => "volume start v".to_owned(),
            Op::Set(mark) => format!("volume set v user.mark {mark}"),
            Op::Stop => "volume stop v".to_owned(),
            Op::Delete => "volume delete v".to_owned(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Op::Create => "create",
            Op::Start => "start",
            Op::Set(_) => "set",
            Op::Stop => "stop",
            Op::Delete => "delete",
        }
    }

    /// The state after it, done in `state`.
    fn after(self, state: &State) -> State {
        match (self, state) {
            (Op::Create, State::Absent) => State::Stopped { mark: 0 },
            (Op::Start, State::Stopped { mark }) => State::Started { mark: *mark },
            (Op::Set(mark), State::Started { .. }) => State::Started { mark },
            (Op::Stop, State::Started { mark }) => State::Stopped { mark: *mark },
            (Op::Delete, State::Stopped { .. }) => State::Absent,
            other => panic!("{other:?} is not a move"),
        }
    }
}

fn choose(state: &State, random: &mut Random, mark: u32) -> Op {
    match state {
        State::Absent => Op::Create,
        State::Stopped { .. } if random.below(2) == 0 => Op::Start,
        State::Stopped { .. } => Op::Delete,
        State::Started { .. } if random.below(2) == 0 => Op::Set(mark),
        State::Started { .. } => Op::Stop,
    }
}

/// What the daemon says the volume is.
fn state(sandbox: &Sandbox) -> State {
    let info = sandbox.gluster("volume info v");
    if info.exit != 0 {
        assert!(
            format!("{}{}", info.out, info.err).contains("Volume v does not exist"),
            "{info:?}\n{}",
            sandbox.log_tail()
        );
        return State::Absent;
    }
    let value = |key: &str| {
        info.out.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned())
    };
    let mark = value("user.mark:").map_or(0, |text| text.parse().unwrap());
    match value("Status:").as_deref() {
        Some("Started") => State::Started { mark },
        Some("Created" | "Stopped") => State::Stopped { mark },
        other => panic!("status {other:?}: {info:?}"),
    }
}

/// Bricks and files agree with the state.
fn agrees(sandbox: &Sandbox, state: &State) -> bool {
    let bricks = sandbox.sh("pgrep -fc -- '--volfile-id v[.]'").out.trim().to_owned();
    let folder = sandbox.path("/var/lib/glusterd/vols/v");
    let info = std::fs::read_to_string(folder.join("info")).unwrap_or_default();
    let has = |line: &str| info.lines().any(|found| found == line);
    match state {
        State::Absent => bricks == "0" && !Path::new(&folder).exists(),
        State::Stopped { .. } => bricks == "0" && (has("status=0") || has("status=2")),
        State::Started { mark } => {
            bricks == "2" && has("status=1") && (*mark == 0 || has(&format!("user.mark={mark}")))
        }
    }
}

/// Runs a command and kills the daemon `delay_us` after; the CLI's exit status.
fn struck(sandbox: &Sandbox, op: Op, delay_us: u64) -> i32 {
    let delay = format!("{}.{:06}", delay_us / 1_000_000, delay_us % 1_000_000);
    let command = op.command();
    sandbox
        .sh(&format!(
            "gluster --mode=script {command} > /run/cli.out 2>&1 & cli=$!; \
             sleep {delay}; kill -9 $(cat /run/glusterd.pid); wait $cli"
        ))
        .exit
}

/// How long each operation takes undisturbed, in microseconds.
fn durations(sandbox: &Sandbox) -> BTreeMap<&'static str, u64> {
    let mut took = BTreeMap::new();
    for op in [Op::Create, Op::Start, Op::Set(1), Op::Stop, Op::Delete] {
        let begin = Instant::now();
        sandbox.must(&op.command());
        took.insert(op.name(), u64::try_from(begin.elapsed().as_micros()).unwrap());
    }
    took
}

#[test]
fn killed_at_any_moment_every_operation_is_whole() {
    let sandbox = Sandbox::started(Kind::Ours);
    sandbox
        .must("volume create keep replica 3 node1:/srv/b/k1 node1:/srv/b/k2 node1:/srv/b/k3 force");
    sandbox.must("volume start keep");
    let mounted = sandbox
        .sh("mount -t glusterfs node1:/keep /mnt/m && echo x > /mnt/m/probe && cat /mnt/m/probe");
    assert_eq!(mounted.out, "x\n", "{mounted:?}");
    let mut aim = durations(&sandbox);
    let bricks = "pgrep -f -- '--volfile-id keep[.]' | sort";
    let keepers = sandbox.sh(bricks).out;
    assert_eq!(keepers.lines().count(), 3);
    let writer = Writer::begin(&sandbox);

    let mut random = Random(SEED);
    let mut before = State::Absent;
    let mut tally: BTreeMap<(&str, bool), u32> = BTreeMap::new();
    for point in 0..POINTS {
        let op = choose(&before, &mut random, point + 2);
        let window = aim.get_mut(op.name()).unwrap();
        let delay_us = *window / 2 + random.below(*window);
        let exit = struck(&sandbox, op, delay_us);
        sandbox.start();
        let place = format!(
            "seed {SEED}, point {point}: {op:?} struck after {delay_us} us, CLI exit {exit}"
        );
        let now = state(&sandbox);
        let done = now == op.after(&before);
        assert!(
            done || now == before,
            "{place}: neither done nor absent, {before:?} became {now:?}"
        );
        assert!(done || exit != 0, "{place}: reported as done, and is not");
        sandbox.until(&format!("{place}: bricks and files follow {now:?}"), SETTLE, |sandbox| {
            agrees(sandbox, &now)
        });
        assert_eq!(sandbox.sh(bricks).out, keepers, "{place}: bricks of the other volume");
        *tally.entry((op.name(), done)).or_default() += 1;
        // Struck before the commit: later next time; after it: sooner. So strikes gather about the commit.
        *window = (if done { *window * 3 / 4 } else { *window * 5 / 4 }).clamp(5_000, 3_000_000);
        before = now;
    }

    let (count, longest) = writer.end(&sandbox);
    assert!(longest < Duration::from_secs(5), "one round of writing and reading took {longest:?}");
    println!("{count} rounds, the longest {longest:?}; {tally:?}");
    // Strikes that never fall before or never after the commit would prove little.
    for done in [true, false] {
        assert!(tally.keys().any(|(_, whole)| *whole == done), "{tally:?}");
    }
}

/// Bricks and mounts outlive the daemon, and it knows them again.
#[test]
fn bricks_outlive_the_daemon_and_are_adopted() {
    let sandbox = Sandbox::started(Kind::Ours);
    sandbox.must("volume create v replica 3 node1:/srv/b/1 node1:/srv/b/2 node1:/srv/b/3 force");
    sandbox.must("volume start v");
    assert_eq!(sandbox.sh("mount -t glusterfs node1:/v /mnt/m && echo x > /mnt/m/f").exit, 0);
    // Stock starts a new self-heal daemon each time; whether ours does is not what clients notice.
    let pids = || sandbox.sh("pgrep -x glusterfsd | sort").out;
    let before = pids();
    assert!(before.lines().count() == 3, "{before}");
    for signal in ["TERM", "KILL"] {
        sandbox.end(signal);
        assert_eq!(pids(), before, "after {signal}");
        assert_eq!(sandbox.sh("cat /mnt/m/f && echo y >> /mnt/m/g").out, "x\n");
        sandbox.start();
        sandbox.until("the bricks are known again", SETTLE, |sandbox| {
            let status = sandbox.gluster("volume status v --xml").out;
            status.matches("<status>1</status>").count() == 4
        });
        assert_eq!(pids(), before, "after {signal} and start");
    }
    // A change reaches the adopted bricks and the mount.
    sandbox.must("volume set v performance.write-behind off");
    sandbox.must("volume stop v");
    sandbox
        .until("no brick left", SETTLE, |sandbox| sandbox.sh("pgrep -cx glusterfsd").out == "0\n");
}

/// A brick that died is noticed, stays dead, and `start force` revives it.
#[test]
fn a_dead_brick_is_seen_and_revived() {
    let sandbox = Sandbox::started(Kind::Ours);
    sandbox.must("volume create v node1:/srv/b/1 node1:/srv/b/2 force");
    sandbox.must("volume start v");
    let online = |sandbox: &Sandbox| {
        sandbox.gluster("volume status v --xml").out.matches("<status>1</status>").count()
    };
    sandbox.until("both bricks online", SETTLE, |sandbox| online(sandbox) == 2);
    sandbox.sh("kill -9 $(pgrep -f -- '--brick-name [/]srv/b/1 ')");
    sandbox.until("one brick offline", SETTLE, |sandbox| online(sandbox) == 1);
    sandbox.must("volume start v force");
    sandbox.until("both bricks online again", SETTLE, |sandbox| online(sandbox) == 2);
}

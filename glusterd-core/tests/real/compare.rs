//! The same commands on stock's daemon and ours: texts, `--xml`, exit statuses and files.

use std::time::{Duration, Instant};

use super::commands::SCRIPT;
use super::normal::Normaliser;
use super::sandbox::{Done, Kind, Sandbox};

/// Lines of `SCRIPT` where we differ on purpose, with the reason. A row that is not needed fails the test.
const ON_PURPOSE: &[(&str, &str)] = &[(
    "volume create bad node1:/srv/b/in node1:/srv/b/in/side force",
    "stock compares new bricks with those of other volumes only; one brick inside another serves its files twice",
)];

/// One step's result, normalised.
fn outcome(sandbox: &Sandbox, names: &mut Normaliser, line: &str) -> Option<String> {
    let done = match line.split_once(' ').unwrap_or((line, "")) {
        ("@online", _) => {
            online(sandbox);
            return None;
        }
        ("@restart", _) => {
            sandbox.end("TERM");
            sandbox.start();
            online(sandbox);
            return None;
        }
        ("@quiet", line) => {
            sandbox.gluster(line);
            return None;
        }
        ("@sh", script) => sandbox.sh(script),
        ("@files", volume) => sandbox.sh(&format!(
            "cd /var/lib/glusterd/vols/{volume} && ls | sort && for f in info bricks/*; do echo == $f; cat $f; done"
        )),
        _ => patiently(sandbox, line),
    };
    let (out, err) = (names.apply(&done.out), names.apply(&done.err));
    let out = if line.starts_with("volume info") { sorted_options(&out) } else { out };
    Some(format!("exit {}\n{out}\n{err}", done.exit))
}

/// Stock begins to work on a mount of its own before that has found its bricks; on a busy machine the
/// command then fails, and says so. `SCRIPT` leaves such lines out of the history.
fn patiently(sandbox: &Sandbox, line: &str) -> Done {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let done = sandbox.gluster(line);
        let unconnected = [&done.out, &done.err]
            .iter()
            .any(|text| text.contains("Transport endpoint is not connected"));
        if !unconnected || Instant::now() > end {
            return done;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// `Options Reconfigured:` come in the order of a hash table, which stock turns round at a restart.
fn sorted_options(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let is_option = |line: &str| {
        line.contains(": ") && line.split(": ").next().is_some_and(|key| key.contains('.'))
    };
    for run in lines.chunk_by_mut(|a, b| is_option(a) && is_option(b)) {
        run.sort_unstable();
    }
    lines.join("\n")
}

/// Waits until no process of a started volume is offline.
fn online(sandbox: &Sandbox) {
    let up = |sandbox: &Sandbox| {
        let done = sandbox.gluster("volume status all --xml");
        done.exit == 0
            && done.out.contains("<status>1</status>")
            && !done.out.contains("<status>0</status>")
    };
    sandbox.until("every process online", Duration::from_secs(30), up);
}

fn transcript(kind: Kind, script: &[&str]) -> Vec<Option<String>> {
    let sandbox = Sandbox::started(kind);
    let mut names = Normaliser::default();
    script.iter().map(|line| outcome(&sandbox, &mut names, line)).collect()
}

/// First lines that differ, stock's with `-`, ours with `+`.
fn difference(stock: &str, ours: &str) -> String {
    let (stock, ours): (Vec<&str>, Vec<&str>) = (stock.lines().collect(), ours.lines().collect());
    let mut shown: Vec<String> = Vec::new();
    for at in 0..stock.len().max(ours.len()) {
        let (want, got) = (stock.get(at), ours.get(at));
        if want != got && shown.len() < 12 {
            shown.extend(want.map(|line| format!("    - {line}")));
            shown.extend(got.map(|line| format!("    + {line}")));
        }
    }
    shown.join("\n")
}

#[test]
fn stock_and_ours_say_the_same() {
    let (stock, ours) = std::thread::scope(|scope| {
        let stock = scope.spawn(|| transcript(Kind::Stock, SCRIPT));
        let ours = scope.spawn(|| transcript(Kind::Ours, SCRIPT));
        (stock.join().unwrap(), ours.join().unwrap())
    });
    let mut faults = Vec::new();
    let mut same = 0;
    for ((line, stock), ours) in SCRIPT.iter().zip(&stock).zip(&ours) {
        let (Some(stock), Some(ours)) = (stock, ours) else { continue };
        let reason = ON_PURPOSE.iter().find(|(known, _)| known == line);
        match (stock == ours, reason) {
            (true, None) => same += 1,
            (false, Some(_)) => {}
            (true, Some((_, reason))) => {
                faults.push(format!("{line}\n    is the same after all: {reason}"))
            }
            (false, None) => faults.push(format!("{line}\n{}", difference(stock, ours))),
        }
    }
    assert!(
        faults.is_empty(),
        "\n{} the same, {} not:\n{}\n",
        same,
        faults.len(),
        faults.join("\n")
    );
    assert!(same >= 60, "{same} lines compared");
}

/// The comparison itself: stock against stock, where it must find nothing.
#[test]
fn stock_says_the_same_twice() {
    let script = [
        "volume create d1 node1:/srv/b/d1 force",
        "volume start d1",
        "@online",
        "volume status",
        "volume info",
        "volume status --xml",
        "@files d1",
        "volume set d1 x y",
    ];
    let (one, two) = (transcript(Kind::Stock, &script), transcript(Kind::Stock, &script));
    assert_eq!(one, two);
    assert!(one[0].as_deref().unwrap().contains("volume create: d1: success"), "{one:?}");
}

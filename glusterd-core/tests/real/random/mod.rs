//! Random sequences of commands on stock's daemon and ours, everything compared after each.
//!
//! Every sequence has a pair of daemons of its own, empty at first, so a seed says all about it.
//! Commands mostly wait, so several lanes run side by side. In the gate a few short sequences of
//! fixed seeds; a big run, on a release build, from any seed:
//! `RANDOM_SEQUENCES=1000 RANDOM_LENGTH=20 RANDOM_SEED=1 RANDOM_JOBS=6
//! cargo test --release -p glusterd-core --test real random_sequences -- --nocapture`
//! A difference is shrunk to the commands it needs; the sequences go on, and all are reported at
//! the end. What may differ is in docs/differences.md alone.

mod commands;
mod guest;
mod listed;
mod pair;
mod side;

use super::dice::setting;
use commands::{Dice, sequence};
use listed::Listed;
use pair::{Ended, Tally, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs of a shortened sequence, one difference.
const SHRINKS_MAX: usize = 40;
/// Differences after which a run ends.
const FOUND_MAX: usize = 12;

/// The shortest sequence found that still differs, and how it does: parts are left out, halves
/// first, then smaller ones.
fn shrunk(listed: &Listed, mut lines: Vec<String>, mut how: String) -> (Vec<String>, String) {
    let unheard = Tally::default();
    let (mut part, mut runs) = (lines.len().div_ceil(2), 0);
    while part > 0 {
        let mut at = 0;
        while at < lines.len() && runs < SHRINKS_MAX {
            let mut fewer = lines.clone();
            fewer.drain(at..(at + part).min(lines.len()));
            runs += 1;
            match run(listed, &unheard, &fewer) {
                Ended::Differs { after, how: still } => {
                    fewer.truncate(after + 1);
                    (lines, how) = (fewer, still);
                }
                Ended::Same { .. } => at += part,
            }
        }
        part /= 2;
    }
    (lines, how)
}

/// What one run is to do, and what its lanes have done.
struct Run {
    listed: Listed,
    length: u64,
    next: AtomicU64,
    end: u64,
    compared: AtomicU64,
    /// Sequences that a listed difference ended early.
    cut: AtomicU64,
    found: Mutex<Vec<String>>,
    tally: Tally,
}

impl Run {
    fn lane(&self) {
        while self.found.lock().unwrap().len() < FOUND_MAX {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                break;
            }
            self.one(seed);
        }
    }

    fn one(&self, seed: u64) {
        let mut lines = sequence(&mut Dice::new(seed), self.length);
        match run(&self.listed, &self.tally, &lines) {
            Ended::Same { steps } => {
                self.compared.fetch_add(steps as u64, Ordering::Relaxed);
                self.cut.fetch_add(u64::from(steps < lines.len()), Ordering::Relaxed);
            }
            Ended::Differs { after, how } => {
                println!("seed {seed} differs after {:?}:\n{how}", lines[after]);
                lines.truncate(after + 1);
                let (lines, how) = shrunk(&self.listed, lines, how);
                let text = format!("seed {seed}:\n  {}\n{how}", lines.join("\n  "));
                println!("{text}");
                self.found.lock().unwrap().push(text);
            }
        }
    }

    fn report(&self) {
        let (compared, cut) =
            (self.compared.load(Ordering::Relaxed), self.cut.load(Ordering::Relaxed));
        println!("{compared} commands compared; {cut} sequences ended at a listed difference");
        for (row, count) in self.tally.rows.lock().unwrap().iter() {
            println!("  {count:4} x {:?}", self.listed.rows[*row]);
        }
        for (side, spent) in ["stock", "ours"].iter().zip(self.tally.spent.lock().unwrap().iter()) {
            println!(
                "  {side}: {:.0?} starting, {:.0?} in commands, {:.0?} looking",
                spent.starting, spent.commands, spent.looking
            );
        }
    }
}

#[test]
fn random_sequences_end_the_same() {
    let sequences = setting("RANDOM_SEQUENCES", 2);
    let seed = setting("RANDOM_SEED", 1);
    let run = Run {
        listed: Listed::read(),
        length: setting("RANDOM_LENGTH", 8),
        next: AtomicU64::new(seed),
        end: seed + sequences,
        compared: AtomicU64::default(),
        cut: AtomicU64::default(),
        found: Mutex::default(),
        tally: Tally::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..setting("RANDOM_JOBS", 2) {
            scope.spawn(|| run.lane());
        }
    });
    run.report();
    let found = run.found.lock().unwrap();
    assert!(found.is_empty(), "{} sequences differ:\n{}", found.len(), found.join("\n\n"));
    let compared = run.compared.load(Ordering::Relaxed);
    assert!(compared >= sequences * run.length / 2, "{compared} commands compared");
}

#[test]
fn sequences_follow_from_their_seed() {
    let of = |seed| sequence(&mut Dice::new(seed), 50);
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
    let verbs: std::collections::BTreeSet<String> = (0..200)
        .flat_map(of)
        .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
        .collect();
    let all = ["create", "start", "stop", "delete", "set", "reset", "get", "quota", "bitrot"];
    for verb in all.into_iter().chain(["heal", "profile", "add-brick", "replace-brick"]) {
        assert!(verbs.contains(verb), "{verb} never comes up");
    }
}

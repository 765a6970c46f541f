//! Random sequences of commands on stock's daemon and ours, everything compared after each.
//!
//! In the gate a few short sequences of fixed seeds. A big run, from any seed:
//! `RANDOM_SEQUENCES=1000 RANDOM_LENGTH=20 RANDOM_SEED=7 cargo test -p glusterd-core --test real random`
//! A difference is shrunk to the commands it needs; the sequences go on, and all are reported at the end.

mod commands;
mod pair;

use commands::{Dice, sequence};
use pair::{Ended, Pair};

/// Runs of a shortened sequence, one difference.
const SHRINKS_MAX: usize = 60;
/// Differences after which a run ends.
const FOUND_MAX: usize = 12;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// The shortest sequence found that still differs, and how it does.
fn shrunk(pair: &mut Pair, mut lines: Vec<String>, mut how: String) -> (Vec<String>, String) {
    let (mut at, mut runs) = (0, 0);
    while at < lines.len() && runs < SHRINKS_MAX {
        let mut fewer = lines.clone();
        fewer.remove(at);
        runs += 1;
        match pair.run(&fewer) {
            Ended::Differs { after, how: still } => {
                fewer.truncate(after + 1);
                (lines, how) = (fewer, still);
            }
            Ended::Same { .. } => at += 1,
        }
    }
    (lines, how)
}

#[test]
fn random_sequences_end_the_same() {
    let sequences = setting("RANDOM_SEQUENCES", 2);
    let length = setting("RANDOM_LENGTH", 8);
    let seed = setting("RANDOM_SEED", 1);
    let mut pair = Pair::new();
    let (mut found, mut compared) = (Vec::new(), 0);
    for number in seed..seed + sequences {
        let mut lines = sequence(&mut Dice::new(number), length);
        match pair.run(&lines) {
            Ended::Same { steps } => compared += steps,
            Ended::Differs { after, how } => {
                lines.truncate(after + 1);
                let (lines, how) = shrunk(&mut pair, lines, how);
                let text = format!("seed {number}:\n  {}\n{how}", lines.join("\n  "));
                println!("{text}");
                found.push(text);
            }
        }
        if found.len() >= FOUND_MAX {
            break;
        }
    }
    println!("{compared} commands compared");
    assert!(found.is_empty(), "{} sequences differ:\n{}", found.len(), found.join("\n\n"));
    assert!(compared as u64 >= sequences * length / 2, "{compared} commands compared");
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
    for verb in ["create", "start", "stop", "delete", "set", "reset", "get", "quota", "bitrot"] {
        assert!(verbs.contains(verb), "{verb} never comes up");
    }
}

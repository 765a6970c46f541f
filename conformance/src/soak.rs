//! Many random histories under faults, each with a seed of its own, and what they held in all.

use crate::Case;
use crate::cases::random::{FAMILIES, totals};
use crate::run::{Outcome, Runner};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Histories whose faults only their own clients feel run side by side.
const SIDE_BY_SIDE: usize = 6;

/// `CONFORMANCE_HISTORIES`: how many are wanted instead of the suite.
pub(crate) fn wanted() -> Option<usize> {
    std::env::var("CONFORMANCE_HISTORIES").ok()?.parse().ok()
}

/// Runs `count` histories, shared out among the families that this harness has the faults for, and
/// prints a line of figures.
pub(crate) fn histories(runner: &Runner, count: usize) -> ExitCode {
    let begun = Instant::now();
    let mut failed = 0;
    let plan = shares(runner, count);
    for (case, share) in &plan {
        println!("{}: {share} histories", case.name);
        failed += family(runner, case, *share);
    }
    let (name, planned) =
        (runner.harness_name(), plan.iter().map(|(_, share)| share).sum::<usize>());
    println!(
        "{name}: {planned} histories, {failed} failed, seed {}, {:.0} s; {}",
        runner.seed(),
        begun.elapsed().as_secs_f64(),
        totals(),
    );
    if failed == 0 && planned > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One in ten for a family that stops servers, which takes long; the rest for the others.
fn shares(runner: &Runner, count: usize) -> Vec<(&'static Case, usize)> {
    let can: Vec<&'static Case> = crate::registry()
        .filter(|case| FAMILIES.contains(&case.name) && runner.obstacle(case).is_none())
        .collect();
    let slow = can.iter().filter(|case| is_slow(case)).count();
    let each = if slow == can.len() { count.div_ceil(slow.max(1)) } else { count / 10 };
    let rest = (count - (each * slow).min(count)).div_ceil((can.len() - slow).max(1));
    can.into_iter().map(|case| (case, if is_slow(case) { each } else { rest })).collect()
}

fn is_slow(case: &Case) -> bool {
    case.needs.iter().any(|need| need.is_global())
}

/// How many of the family's histories failed.
fn family(runner: &Runner, case: &'static Case, count: usize) -> usize {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..if is_slow(case) { 1 } else { SIDE_BY_SIDE } {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    // Each client draws from its own seed, a few beside the history's.
                    let seed = runner.seed().wrapping_add(1000 * n as u64);
                    if let Outcome::Failed(why) = runner.with_seed(seed).run(case) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("{}: {why}", case.name);
                    }
                }
            });
        }
    });
    failed.into_inner()
}

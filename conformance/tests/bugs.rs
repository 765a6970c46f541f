//! The suite's power, measured: each known defect of the in-memory model must make it fail.

use conformance::{Case, MemHarness, Outcome, Runner};
use coord_api::mem::Bug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs cases side by side until one fails; its name.
fn first_failure(bug: Bug) -> Option<&'static str> {
    let cases: Vec<&'static Case> = conformance::registry().collect();
    let runner = Runner::new(Arc::new(MemHarness::with_bug(bug)), conformance::seed());
    let (next, found) = (AtomicUsize::new(0), parking_lot::Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while found.lock().is_none() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    if let Outcome::Failed(_) = runner.run(case) {
                        found.lock().get_or_insert(case.name);
                    }
                }
            });
        }
    });
    found.into_inner()
}

#[test]
fn every_seeded_defect_is_found() {
    // The failures wanted here need not be read.
    std::panic::set_hook(Box::new(|_| {}));
    // Cases mostly wait, so the bugs are hunted side by side.
    let hunts: Vec<_> = std::thread::scope(|scope| {
        let hunt = |(bug, name)| (name, scope.spawn(move || first_failure(bug)));
        let hunts: Vec<_> = Bug::ALL.into_iter().map(hunt).collect();
        hunts.into_iter().map(|(name, hunt)| (name, hunt.join().expect("no panic"))).collect()
    });
    drop(std::panic::take_hook());
    for (name, case) in &hunts {
        println!("{name}: {}", case.unwrap_or("not found"));
    }
    let survivors: Vec<_> = hunts.iter().filter(|(_, case)| case.is_none()).collect();
    assert!(survivors.is_empty(), "the suite does not notice: {survivors:?}");
}

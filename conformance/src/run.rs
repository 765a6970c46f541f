//! Running cases: which of them, side by side or alone, and what became of them.

use crate::case::{Case, Ctx, Verdict, namespace};
use crate::harness::{Fault, Harness, Need};
use coord_api::ErrorKind;
use libtest_mimic::{Arguments, Failed, Trial};
use parking_lot::RwLock;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Longest life of one case.
const CASE_LIMIT: Duration = Duration::from_secs(180);
/// Cases mostly wait, so more of them run at once than there are processors.
const SIDE_BY_SIDE: usize = 8;

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// A harness with what is needed to run cases on it, from any thread.
#[derive(Clone)]
pub struct Runner {
    harness: Arc<dyn Harness>,
    runtime: Arc<tokio::runtime::Runtime>,
    /// Cases whose faults everybody feels run alone.
    alone: Arc<RwLock<()>>,
    seed: u64,
}

impl Runner {
    pub fn new(harness: Arc<dyn Harness>, seed: u64) -> Runner {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime can be started");
        Runner { harness, runtime: Arc::new(runtime), alone: Arc::default(), seed }
    }

    /// The same harness, with other random choices.
    pub(crate) fn with_seed(&self, seed: u64) -> Runner {
        Runner { seed, ..self.clone() }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn harness_name(&self) -> &'static str {
        self.harness.name()
    }

    /// Why the case cannot run here.
    pub fn obstacle(&self, case: &Case) -> Option<String> {
        let hooks = self.harness.hooks();
        let missing: Vec<&str> = case
            .needs
            .iter()
            .filter(|need| !need.met_by(&hooks))
            .map(|need| need.lacking())
            .collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    /// Runs one case; blocks.
    pub fn run(&self, case: &Case) -> Outcome {
        if let Some(why) = self.obstacle(case) {
            return Outcome::Skipped(why);
        }
        let global = case.needs.iter().any(|need| need.is_global());
        let _alone = global.then(|| self.alone.write());
        let _beside = (!global).then(|| self.alone.read());
        let cx = Ctx::new(self.harness.clone(), &namespace(case), self.seed);
        let future = (case.run)(cx.clone());
        let outcome = self.runtime.block_on(async {
            let task = tokio::spawn(tokio::time::timeout(CASE_LIMIT, future));
            let outcome = match task.await {
                Ok(Ok(verdict)) => judge(verdict),
                Ok(Err(_)) => Outcome::Failed(format!("still running after {CASE_LIMIT:?}")),
                Err(error) => Outcome::Failed(panic_text(error)),
            };
            cx.clean_up(global).await;
            outcome
        });
        match outcome {
            Outcome::Failed(why) => {
                let repeat = "repeat with CONFORMANCE_SEED=";
                Outcome::Failed(format!("{why}\n{repeat}{} and --exact {}", self.seed, case.name))
            }
            outcome => outcome,
        }
    }

    /// Faults the harness does not declare must be refused: a hook that works but is not declared
    /// would let cases be skipped that could run.
    fn undeclared_hooks_are_refused(&self) -> Outcome {
        let hooks = self.harness.hooks();
        // A connection number no case has, so that nobody is hurt.
        let probes = [
            (Need::Proxy, Fault::CutClient(usize::MAX)),
            (Need::Compact, Fault::Compact),
            (Need::Clock, Fault::ClockStep(usize::MAX, 0)),
        ];
        for (need, fault) in probes.into_iter().filter(|(need, _)| !need.met_by(&hooks)) {
            let answer = self.runtime.block_on(self.harness.inject(&fault));
            let refused =
                answer.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Unsupported(_)));
            if !refused {
                let text = format!("{need:?} is not declared, yet {fault:?} gives {answer:?}");
                return Outcome::Failed(text);
            }
        }
        Outcome::Passed
    }
}

fn judge(verdict: Verdict) -> Outcome {
    match verdict {
        Ok(()) => Outcome::Passed,
        Err(crate::case::Stop::Failed(why)) => Outcome::Failed(why),
        Err(crate::case::Stop::Skipped(why)) => Outcome::Skipped(why),
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "cancelled".into() };
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without text".into())
}

/// The seed of this run: `CONFORMANCE_SEED`, else drawn from the clock.
pub fn seed() -> u64 {
    let given = std::env::var("CONFORMANCE_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    })
}

/// The whole of a backend's test file: every case as a test of its own, with libtest's options.
/// A case without its hook shows as ignored, with the reason as its kind. With
/// `CONFORMANCE_HISTORIES=N` in the environment so many random histories under faults instead.
pub fn main(harness: impl Harness) -> ExitCode {
    tell();
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(SIDE_BY_SIDE);
    let runner = Runner::new(Arc::new(harness), seed());
    if let Some(count) = crate::soak::wanted().filter(|_| !args.list) {
        return crate::soak::histories(&runner, count);
    }
    let mut trials: Vec<Trial> = crate::registry().map(|case| trial(&runner, case)).collect();
    let probe = runner.clone();
    trials.push(Trial::test("suite::undeclared_hooks_are_refused", move || {
        to_result(probe.undeclared_hooks_are_refused())
    }));
    let begun = Instant::now();
    let conclusion = libtest_mimic::run(&args, trials);
    if !args.list {
        eprintln!(
            "{}: {} of {} cases skipped, {:.1} s, seed {}",
            runner.harness.name(),
            conclusion.num_ignored,
            crate::registry().count(),
            begun.elapsed().as_secs_f64(),
            runner.seed,
        );
    }
    conclusion.exit_code()
}

/// With `CONFORMANCE_LOG=debug` in the environment (or another level) everything logged goes to stderr.
fn tell() {
    let level: Option<tracing::Level> =
        std::env::var("CONFORMANCE_LOG").ok().and_then(|text| text.parse().ok());
    if let Some(level) = level {
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    }
}

fn trial(runner: &Runner, case: &'static Case) -> Trial {
    let obstacle = runner.obstacle(case);
    let runner = runner.clone();
    let trial = Trial::test(case.name, move || to_result(runner.run(case)));
    match obstacle {
        // `--ignored` must not turn a skipped case into a passed one either.
        Some(why) => trial.with_kind(why).with_ignored_flag(true),
        None => trial,
    }
}

fn to_result(outcome: Outcome) -> Result<(), Failed> {
    match outcome {
        Outcome::Passed => Ok(()),
        Outcome::Failed(why) => Err(why.into()),
        Outcome::Skipped(why) => Err(format!("skipped: {why}").into()),
    }
}

//! The `conformance` command: run, soak, bench and list, on any URL a given backend opens.

use crate::harness::Timing;
use crate::report::{Done, Files, report};
use crate::run::{Outcome, Runner};
use crate::url::{UrlHarness, is_shared};
use crate::{Case, bench, statements};
use clap::{Parser, Subcommand};
use coord_api::Backend;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Checks a coordination service against the contract, or measures it.
#[derive(Parser, Debug)]
#[command(name = "conformance", version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Runs the cases on the service at URL; namespaces of their own are made below it.
    Run {
        url: String,
        /// Only cases whose name contains this.
        #[arg(long, default_value = "")]
        filter: String,
        /// Called with `hooks`, `inject FAULT...` and `heal FAULT...`, so that a cluster of any
        /// kind can be driven. `hooks` prints the words kill, pause, expire, compact, ...
        #[arg(long)]
        hooks_cmd: Option<String>,
        #[arg(long)]
        seed: Option<u64>,
        /// Writes all outcomes as JSON.
        #[arg(long)]
        json: Option<std::path::PathBuf>,
        /// Writes all outcomes as JUnit XML.
        #[arg(long)]
        junit: Option<std::path::PathBuf>,
        /// TTL of the sessions, in seconds.
        #[arg(long, default_value_t = 6.0)]
        ttl: f64,
    },
    /// Repeats the random families with new seeds.
    Soak {
        url: String,
        /// How long: seconds, or a number with s, m or h.
        #[arg(long = "for", default_value = "10m", value_parser = duration)]
        time: Duration,
    },
    /// Measures the services side by side on this machine.
    Bench {
        #[arg(required = true)]
        urls: Vec<String>,
        /// A folder on the disk that the services write to.
        #[arg(long, default_value = ".")]
        disk: std::path::PathBuf,
    },
    /// Lists cases, or statements with their cases; fails on a statement without any.
    List {
        #[arg(long)]
        statements: bool,
    },
}

/// The whole command for these backends: 0 passed, 1 failed, 2 usage, 3 nothing failed but cases
/// were skipped.
pub fn cli(backends: Vec<Box<dyn Backend>>) -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help is printed this way too.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let backends: Arc<[Box<dyn Backend>]> = backends.into();
    match args.what {
        What::List { statements: false } => {
            for case in crate::registry() {
                println!("{}  {}  {:?}", case.name, case.statements.join(" "), case.needs);
            }
            ExitCode::SUCCESS
        }
        What::List { statements: true } => list_statements(),
        What::Run { ref url, .. } | What::Soak { ref url, .. } if !is_shared(url) => {
            eprintln!(
                "{url}: a store inside one process; its crate's own tests run the suite on it"
            );
            ExitCode::from(2)
        }
        What::Run { url, filter, hooks_cmd, seed, json, junit, ttl } => {
            let timing =
                Timing { ttl: Duration::from_secs_f64(ttl.clamp(0.05, 60.0)), ..Timing::default() };
            let harness = UrlHarness::new("url", backends, &url).timed(timing).driven_by(hooks_cmd);
            let runner = Runner::new(Arc::new(harness), seed.unwrap_or_else(crate::seed));
            let cases: Vec<_> = crate::registry().filter(|c| c.name.contains(&filter)).collect();
            let files = Files { json: json.as_deref(), junit: junit.as_deref() };
            report(&run_all(&runner, &cases), &files)
        }
        What::Soak { url, time } => soak(UrlHarness::new("url", backends, &url), time),
        What::Bench { urls, disk } => bench::run(&backends, &urls, &disk),
    }
}

fn list_statements() -> ExitCode {
    for (id, text) in statements::STATEMENTS {
        let names: Vec<&str> = statements::proofs(id).iter().map(|case| case.name).collect();
        let excuse = statements::UNPROVEN.iter().find(|(unproven, _)| unproven == id);
        println!("{id}  {text}");
        println!("    {}", excuse.map_or_else(|| names.join(" "), |(_, why)| format!("({why})")));
    }
    let gaps = statements::gaps();
    if gaps.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("without a case: {}", gaps.join(" "));
    ExitCode::FAILURE
}

/// Runs side by side; outcomes in the order of the cases.
fn run_all(runner: &Runner, cases: &[&'static Case]) -> Vec<Done> {
    let next = AtomicUsize::new(0);
    let done = parking_lot::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let outcome = runner.run(case);
                    let took = begun.elapsed();
                    let word = match &outcome {
                        Outcome::Passed => "ok".to_owned(),
                        Outcome::Failed(why) => format!("FAILED: {why}"),
                        Outcome::Skipped(why) => format!("skipped, {why}"),
                    };
                    println!("{:<52} {:>6.2} s  {word}", case.name, took.as_secs_f64());
                    done.lock().push(Done { case, outcome, took });
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|done| done.case.name);
    done
}

/// `90`, `90s`, `15m`, `1h`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let (number, factor) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let seconds = number.parse::<u32>().map_err(|_| "a number with s, m or h".to_owned())?;
    Ok(Duration::from_secs(u64::from(seconds) * factor))
}

fn soak(harness: UrlHarness, time: Duration) -> ExitCode {
    let (harness, end) = (Arc::new(harness), Instant::now() + time);
    let cases: Vec<_> = crate::registry().filter(|c| c.name.starts_with("random::")).collect();
    let mut round = 0;
    while Instant::now() < end {
        let runner = Runner::new(harness.clone(), crate::seed());
        for case in &cases {
            match runner.run(case) {
                Outcome::Failed(why) => {
                    eprintln!("round {round}: {}: {why}", case.name);
                    return ExitCode::FAILURE;
                }
                Outcome::Skipped(why) if round == 0 => println!("{}: skipped, {why}", case.name),
                _ => {}
            }
        }
        round += 1;
    }
    println!("{round} rounds passed");
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long() {
        let check = |text, seconds: Option<u64>| {
            assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs), "{text}");
        };
        check("90", Some(90));
        check("90s", Some(90));
        check("15m", Some(900));
        check("1h", Some(3600));
        check("h", None);
        check("1d", None);
        check("-1", None);
    }
}
